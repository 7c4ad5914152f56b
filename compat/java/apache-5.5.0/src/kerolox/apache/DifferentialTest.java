package kerolox.apache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import kerolox.apache.Calls.Reply;
import kerolox.apache.Programs.Program;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * The same calls against Apache RocketMQ and against Kerolox: every request code that both know, with good
 * input and with bad. Code, remark (there or not), header fields and what the body is made of must agree;
 * where they do not, {@link #ALLOWED} says why.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class DifferentialTest {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    /** Whom a call asks; OTHER is a second connection to the broker. */
    private enum Target { NAMES, BROKER, OTHER }

    /**
     * A call. Values and bodies may hold ADDRESS (the broker's), and @LABEL or @LABEL.id for the position and
     * the id of the message that the call with this label sent. With `awaited` it is repeated until it succeeds
     * with this field (`name=value`), or at all (""), or has this code (`code=N`).
     */
    private record Call(String name, Target target, int code, Map<String, String> fields, byte[] body, String label, String awaited) {}

    /** Differences that may be: why, what differs, and in which calls (patterns of the whole text). Each pattern of calls must be met. */
    private record Allowed(String why, String difference, String... calls) {}

    private static final List<Allowed> ALLOWED = List.of(
            // Bad input.
            new Allowed("a field that is needed is named when it is missing or no number; Apache's broker takes 0 or nothing",
                    "code (0|29) / 1 \\(.* / the custom field <\\w+> is (null|not a whole number in range)\\)", ".*"),
            new Allowed("Apache's broker fails on a field that is missing; here it counts as 0, empty or the default", "code 1 / 0 .*(Exception: |Cannot invoke ).*",
                    "(12|14|21|29|30|31|32|36|201|208|300|308|322|343|345|904) .* without \\w+", "(21|201) .*, (topic|group)Seq=x", "17 create without (perm|topicFilterType)"),
            new Allowed("a topic has a queue at least, 65,536 at most, and permissions that exist", "code 0 / 29 .*", "17 create, (read|write)QueueNums=.*", "17 create, perm=(9|-1)"),
            new Allowed("a body without what it must hold is refused", "code 0 / (1|29) .*", "(34|41) .*, body '\\{\\}'", "34 .*without a client id.*", "(41|42) lock without a client", "200 create, body ''"),
            new Allowed("a name that is illegal is refused", "code 0 / 29 .*", "207 delete, groupName=a/b"),
            new Allowed("an entry, or a topic, has a name and a value", "code 0 / 1 .*", "100 put elsewhere.*", "217 register a topic without topic"),
            new Allowed("refused, not passed over: a key that is unknown or without effect, a value that is none (configuration)", "code (0|16) / (1|16|29) .*", "(25|318) (change .*|broken)"),
            // Topics and queues that are not there.
            new Allowed("a topic or a queue that cannot be is refused; Apache's broker says that it is empty", "code 0 / (17|29) .*", "(29|30|31|32) .*, (topic=|topic=nosuch|queueId=-1)", "30 of a deleted topic"),
            new Allowed("asking for a queue does not make it", "code 0 / 1 .*is not exist!.*", "321 queue, (topic=nosuch|queueId=99|queueId=-1)"),
            new Allowed("a commit for a queue below 0 is refused", "code 0 / 29 .*", "15 commits, queueId=-1"),
            new Allowed("a commit for a queue that is not there is passed over", "code 0 / 22 .*", "14 after a commit for a queue that is not there"),
            new Allowed("a commit beyond the end is one to the end", "field offset=99 / -, field - / offset=0", "14 after a commit beyond"),
            new Allowed("a reset goes to an offset that the queue has", "code 0 / 1 .*is not within.*", "222 reset to an offset, (queueId=99|offset=99)"),
            // Groups.
            new Allowed("a consumer makes its group, not a message", "code 0 / 26 .*", "(10|310) send, \\w+=%RETRY%nosuch-10", "36 send back, group=nosuch-36"),
            new Allowed("offsets are copied to a group that is there", "code 0 / 26 .*", "314 clone of another(, destGroup=nosuch2| without destGroup)"),
            new Allowed("without a topic, offsets in all topics are copied", "body - / .groupList\\[\\]=workers4", "300 who consumes(, topic=spare)?"),
            new Allowed("queues are locked for members; locks end with their connection", "body .lockOKMQSet.*", "41 lock of an unknown group"),
            new Allowed("without force a reset goes back only, and says where it did; Apache's broker forces always", "(body .offsetTable\\.[^ ]*=0 / -(, )?)+", "222 reset.*(without isForce|isForce=x)", "222 reset, isForce=false"),
            new Allowed("the retry topic is listed before its first commit", "(body - / .offsetTable.*%RETRY%workers.*)", "208 consume stats without topic"),
            new Allowed("a pull is no subscription: only heartbeats are", "body .filterData=null / -, body .subscriptionData.*", "321 queue(, count=.*| without (count|index|queueId))?"),
            new Allowed("no text about a group without a name", "body .filterData=@orders is not online! / -", "321 queue, consumerGroup="),
            new Allowed("no pause after a restart: a pull before the heartbeat is answered", "code (24|25) / 0 .*", "(11|361) pull, sysFlag=0", "(11|361) pull by a member, subVersion=2"),
            new Allowed("the retry topic of a group that is there counts as empty", "code 17 / 19 .*", "(11|361) pull, topic=%RETRY%workers2"),
            new Allowed("a registration that is refused leaves nothing", "(body .(brokerAddrTable.broker-z|clusterAddrTable.cluster-z)[^ ]* / -(, )?)+", "106 cluster (with a broker elsewhere|without it)"),
            // Parts of answers that nobody reads.
            new Allowed("flags and a word that no client reads", "(remark FOUND / null, )?field groupSysFlag=0 / -, field topicSysFlag=0 / -", "(11|361) pull.*"),
            new Allowed("a refusal has no fields of a success", "field MSG_REGION=DefaultRegion / -, field TRACE_ON=true / -", "(10|310) send, .*", "320 batch to .*"),
            new Allowed("the ids that messages were given", "field - / transactionId=ID(,ID)*", "320 batch( of one| to an unknown topic)?", "10 batch by 10"),
            new Allowed("a success that needs no words", "remark Offset has been previously reset / null", "15 commit after a reset"),
            new Allowed("all at once, and no static topics", "field totalTopicNum=POSITION / -(, body .(mappingDataVersion|topicQueueMapping)[^ ]* / -)+", "21 all topics.*"),
            new Allowed("all at once: without the field clients know that no more comes", "field totalGroupNum=POSITION / -", "201 all groups.*"),
            new Allowed("the rest is for Apache's slaves", "(body .(dataVersion|groupTopicMap|pullOffsetTable)[^ ]* / -(, )?)+", "43 all offsets"),
            new Allowed("heartbeats of version 2 are not offered", "field IS_SUB_CHANGE=true / -, field IS_SUPPORT_HEART_BEAT_V2=true / -", "34 .*"),
            new Allowed("system topics of what is not here yet", "(body .topicList\\[\\]=(CHECKPOINT_TOPIC|DefaultCluster_REPLY_TOPIC|RMQ_SYS_[A-Z_]*|TRANS_CHECK_MAX_TIME_TOPIC|rmq_sys_[-\\w]*) / -(, )?)+", "305 system topics"),
            new Allowed("every port serves all requests", "code 3 / 0 .*", "\\d+ of (another kind|a name server)"));

    /** What Apache's broker answers when it fails on bad input; Kerolox refuses that with a code of its own. */
    private static final Pattern FAILED = Pattern.compile("((java|org|com)\\.[\\w.$]+(Exception|Error)|Cannot invoke \").*", Pattern.DOTALL);

    /** Codes whose bodies say the same in each run, times and addresses apart. */
    private static final Set<Integer> VALUES = Set.of(38, 41, 42, 105, 106, 202, 203, 204, 208, 219, 222, 300, 304, 305, 308, 311, 312, 313, 321,
            322, 328, 343, 345, 351, 352);

    private final Programs programs = new Programs();
    private final List<Call> calls = new ArrayList<>();

    /** One of both systems. */
    private static final class Side implements AutoCloseable {
        final String address;
        final Map<Target, Calls> connections;
        final Map<String, String> sent = new HashMap<>();

        Side(Program names, Program broker) {
            address = broker.broker();
            connections = Map.of(Target.NAMES, new Calls(names.namesrv()), Target.BROKER, new Calls(address),
                    Target.OTHER, new Calls(address));
        }

        Reply play(Call call) {
            Map<String, String> fields = call.fields == null ? null : new LinkedHashMap<>(call.fields);
            if (fields != null) {
                fields.replaceAll((name, value) -> filled(value));
            }
            byte[] body = call.body;
            if (body.length > 0 && (body[0] == '{' || body[0] == '[')) {
                body = bytes(filled(new String(body, StandardCharsets.UTF_8)));
            }
            long end = System.nanoTime() + LIMIT.toNanos();
            while (true) {
                Reply reply = connections.get(call.target).call(call.code, fields, body);
                if (call.label != null && reply.fields().containsKey("msgId")) {
                    String id = reply.fields().get("msgId");
                    sent.put(call.label + ".id", id);
                    sent.put(call.label, "" + Long.parseLong(id.substring(id.length() - 16), 16));
                }
                if (call.awaited == null || System.nanoTime() > end || call.awaited.equals("code=" + reply.code())
                        || reply.code() == 0 && (call.awaited.isEmpty() || reply.fields().entrySet().stream().anyMatch(field -> call.awaited.equals(field.getKey() + "=" + field.getValue())))) {
                    return reply;
                }
                Programs.pause(20);
            }
        }

        private String filled(String text) {
            String filled = text.replace("ADDRESS", address);
            if (filled.contains("@")) {
                for (String label : new TreeSet<>(sent.keySet()).descendingSet()) {
                    filled = filled.replace("@" + label, sent.get(label));
                }
            }
            return filled;
        }

        @Override
        public void close() {
            connections.values().forEach(Calls::close);
        }
    }

    private final List<Side> sides = new ArrayList<>();

    @BeforeAll
    void start() {
        Program names = programs.apacheNamesrv();
        sides.add(new Side(names, programs.apacheBroker("broker-a", names.namesrv())));
        Program kerolox = programs.kerolox("server", "--set", "brokerName=broker-a");
        sides.add(new Side(kerolox, kerolox));
    }

    @AfterAll
    void close() {
        sides.forEach(Side::close);
        programs.close();
    }

    @Test
    void sameAnswers() throws Exception {
        topics();
        sends();
        reads();
        offsets();
        clients();
        groups();
        names();
        statistics();
        unknownCodes();
        last();
        Set<String> seen = new HashSet<>();
        assertEquals(Set.of(), codesThatAreNotCalled());
        List<String> found = new ArrayList<>();
        Map<String, Integer> used = new LinkedHashMap<>();
        Set<String> met = new HashSet<>();
        int failed = 0;
        int same = 0;
        for (Call call : calls) {
            assertTrue(seen.add(call.name), "two calls are named " + call.name);
            Reply apache = sides.get(0).play(call);
            Reply kerolox = sides.get(1).play(call);
            String difference = difference(call, apache, kerolox);
            if (difference.isEmpty()) {
                same++;
                continue;
            }
            String line = call.name + ": " + difference;
            if (apache.code() == 1 && kerolox.code() > 0 && apache.remark() != null && FAILED.matcher(apache.remark()).matches()) {
                failed++;
                continue;
            }
            String why = null;
            for (Allowed allowed : ALLOWED) {
                for (String pattern : allowed.calls) {
                    if (why == null && call.name.matches(pattern) && difference.matches(allowed.difference)) {
                        why = allowed.why;
                        met.add(why + pattern);
                    }
                }
            }
            if (why == null) {
                found.add(line);
            } else {
                used.merge(why, 1, Integer::sum);
            }
        }
        System.out.printf("%d calls: %d are answered alike, Apache's broker fails in %d, %d differ as listed%n", calls.size(), same, failed,
                used.values().stream().mapToInt(Integer::intValue).sum());
        used.forEach((why, count) -> System.out.println(count + " " + why));
        for (Allowed allowed : ALLOWED) {
            for (String pattern : allowed.calls) {
                if (!met.contains(allowed.why + pattern)) {
                    found.add("differs no longer: " + pattern + " (" + allowed.why + ")");
                }
            }
        }
        if (!found.isEmpty()) {
            fail(found.size() + " differences:\n" + String.join("\n", found));
        }
    }

    /** What differs, Apache's first; empty for nothing. */
    private static String difference(Call call, Reply apache, Reply kerolox) {
        if (apache.code() != kerolox.code()) {
            return "code " + apache.code() + " / " + kerolox.code() + " (" + brief(apache.remark()) + " / " + brief(kerolox.remark()) + ")";
        }
        List<String> found = new ArrayList<>();
        if (hasRemark(apache) != hasRemark(kerolox)) {
            found.add("remark " + brief(apache.remark()) + " / " + brief(kerolox.remark()));
        }
        found.addAll(sets("field", fields(call, apache), fields(call, kerolox)));
        if (apache.body().length > 0 != kerolox.body().length > 0) {
            found.add("body " + apache.body().length + " / " + kerolox.body().length);
        } else {
            found.addAll(sets("body", shape(call, apache.body()), shape(call, kerolox.body())));
        }
        return String.join(", ", found);
    }

    private static List<String> sets(String what, Set<String> apache, Set<String> kerolox) {
        List<String> found = new ArrayList<>();
        apache.stream().filter(one -> !kerolox.contains(one)).forEach(one -> found.add(what + " " + one + " / -"));
        kerolox.stream().filter(one -> !apache.contains(one)).forEach(one -> found.add(what + " - / " + one));
        return found;
    }

    /** What Apache's broker says of a success that it has nothing to say of is none. */
    private static boolean hasRemark(Reply reply) {
        return reply.remark() != null && !reply.remark().isEmpty() && !reply.remark().equals("not set any response code");
    }

    private static Set<String> fields(Call call, Reply reply) {
        Set<String> found = new TreeSet<>();
        reply.fields().forEach((name, value) -> found.add(name + "=" + (Set.of("indexLastUpdatePhyoffset", "wipeTopicCount", "totalTopicNum", "totalGroupNum", "version").contains(name) || name.equals("queueOffset") && call.label == null
                ? "POSITION" : Calls.plain(value))));
        return found;
    }

    private static Set<String> shape(Call call, byte[] body) {
        if (body.length == 0) {
            return Set.of();
        }
        if (body[0] == '{' || body[0] == '[') {
            return Shape.of(new String(body, StandardCharsets.UTF_8), VALUES.contains(call.code));
        }
        if (Set.of(25, 26, 318, 319).contains(call.code)) {
            return Set.of("text");
        }
        return Set.of(body.length + " bytes");
    }

    private static String brief(String text) {
        String line = String.valueOf(text).replace('\n', ' ');
        return line.substring(0, Math.min(line.length(), 110));
    }

    /** Codes that docs/compatibility.md calls done. 40 and 220 are sent to clients. */
    private Set<Integer> codesThatAreNotCalled() throws Exception {
        Set<Integer> codes = new TreeSet<>();
        for (String line : Files.readAllLines(Path.of(System.getProperty("basedir"), "../../../docs/compatibility.md"))) {
            var row = Pattern.compile("\\| ([\\d, –]+) \\| [^|]* \\| done.*").matcher(line);
            if (row.matches()) {
                for (String part : row.group(1).split(",")) {
                    String[] ends = part.trim().split("–");
                    for (int code = Integer.parseInt(ends[0]); code <= Integer.parseInt(ends[ends.length - 1]); code++) {
                        codes.add(code);
                    }
                }
            }
        }
        assertTrue(codes.size() > 60, codes.toString());
        calls.forEach(call -> codes.remove(call.code));
        codes.removeAll(Set.of(40, 220));
        return codes;
    }

    // What is called.

    private static final String TOPIC = "defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=6 topicFilterType=SINGLE_TAG topicSysFlag=0 order=false";
    private static final String SEND = "defaultTopic=TBW102 defaultTopicQueueNums=4 queueId=0 sysFlag=0 bornTimestamp=1700000000000 flag=0 reconsumeTimes=0 unitMode=false";
    private static final String PULL = "queueId=0 queueOffset=0 maxMsgNums=32 sysFlag=4 commitOffset=0 suspendTimeoutMillis=0 subscription=* subVersion=0 expressionType=TAG";

    private void topics() {
        // The first registration of Apache's broker takes a moment.
        until(Target.NAMES, 105, "the broker is known", "topic=TBW102", "");
        for (String topic : List.of("orders", "sends", "spare", "goes")) {
            broker(17, "create " + topic, "topic=" + topic + " " + TOPIC, null);
            until(Target.NAMES, 105, topic + " is known", "topic=" + topic, "");
        }
        variants(Target.BROKER, 17, "create", "topic=orders2 " + TOPIC + " attributes=+message.type=NORMAL", null,
                "topic=a/b", "topic=" + "a".repeat(128), "topic=TBW102", "topic=DefaultCluster", "topic=SCHEDULE_TOPIC_XXXX",
                "readQueueNums=0", "writeQueueNums=-1", "readQueueNums=100000", "perm=0", "perm=9", "perm=-1", "topicFilterType=OTHER",
                "attributes=message.type=NORMAL", "attributes=+message.type=OTHER", "attributes=+other=1", "attributes=-message.type",
                "attributes=+message.type=MIXED", "attributes=+", "attributes=+message.type=DELAY", "topic=%RETRY%workers", "topic=%DLQ%workers");
        String list = "{\"topicConfigList\":[{\"topicName\":\"list-1\",\"readQueueNums\":2,\"writeQueueNums\":2,\"perm\":6}]}";
        variants(Target.BROKER, 18, "create list", "", list);
        broker(18, "empty list", "", "{\"topicConfigList\":[]}");
        broker(18, "bad name", "", list.replace("list-1", "a/b"));
        broker(18, "blank name", "", list.replace("list-1", ""));
        broker(18, "system topic", "", list.replace("list-1", "TBW102"));
        broker(18, "bad type", "", list.replace("\"perm\":6", "\"perm\":\"x\""));
        broker(18, "attribute", "", list.replace("\"perm\":6", "\"attributes\":{\"+other\":\"1\"}").replace("list-1", "list-2"));
        broker(18, "again", "", list);
        variants(Target.BROKER, 351, "config", "topic=orders", null, "topic=nosuch", "topic=list-1", "topic=spare");
        variants(Target.BROKER, 21, "all topics", "topicSeq=0 maxTopicNum=10000", null, "topicSeq=-1", "topicSeq=100000");
        broker(305, "system topics", "", null);
        for (String group : List.of("workers", "workers2", "workers3", "workers4")) {
            broker(200, "create " + group, "", "{\"groupName\":\"" + group + "\",\"retryQueueNums\":1,\"retryMaxTimes\":3}");
        }
    }

    private void sends() {
        String orders = "producerGroup=makers topic=orders " + SEND;
        send(10, "first", orders + " properties=KEYS\u0001k1\u0002TAGS\u0001a\u0002UNIQ_KEY\u00017F00000100000000000000000000AA01\u0002");
        send(10, "second", orders + " properties=KEYS\u0001k2\u0002TAGS\u0001b\u0002UNIQ_KEY\u00017F00000100000000000000000000AA02\u0002");
        send(310, "third", v2(orders + " properties=KEYS\u0001k3\u0002UNIQ_KEY\u00017F00000100000000000000000000AA03\u0002"));
        until(Target.BROKER, 30, "three are there", "topic=orders queueId=0", "offset=3");
        until(Target.BROKER, 12, "the index is there", "topic=orders key=k3 maxNum=32 beginTimestamp=0 endTimestamp=9000000000000", "");
        String bad = "producerGroup=makers topic=sends " + SEND + " properties=TAGS\u0001a\u0002";
        String[] values = {"topic=a/b", "topic=" + "a".repeat(128), "topic=made-DIGIT", "topic=TBW102", "topic=SCHEDULE_TOPIC_XXXX", "topic=RMQ_SYS_TRANS_HALF_TOPIC",
            "topic=OFFSET_MOVED_EVENT", "topic=DefaultCluster", "topic=%RETRY%workers", "topic=%DLQ%workers", "topic=%RETRY%nosuch-10",
            "queueId=1", "queueId=2", "queueId=99", "sysFlag=1", "sysFlag=1024", "sysFlag=8", "flag=7", "reconsumeTimes=-1", "defaultTopic=nosuch",
            "defaultTopicQueueNums=0", "defaultTopicQueueNums=-1", "properties=", "properties=broken", "properties=DELAY\u00012\u0002", "properties=DELAY\u0001x\u0002",
            "properties=DELAY\u000199\u0002", "properties=WAIT\u0001false\u0002", "properties=UNIQ_KEY\u0001short\u0002", "properties=KEYS\u0001" + "k".repeat(33000),
            "bornTimestamp=-1", "unitMode=true", "producerGroup="};
        for (int code : new int[] {10, 310}) {
            for (int i = 0; i < values.length; i++) {
                values[i] = values[i].replaceAll("made-.*", "made-" + code);
            }
            String[] chosen = values;
            String fields = bad;
            if (code == 310) {
                chosen = new String[values.length];
                for (int i = 0; i < values.length; i++) {
                    chosen[i] = v2(values[i]);
                }
                fields = v2(bad);
            }
            variants(Target.BROKER, code, "send", fields, "body", chosen);
        }
        String batched = "producerGroup=makers topic=sends " + SEND + " batch=true properties=TAGS\u0001a\u0002";
        call(Target.BROKER, 320, "batch", fields(v2(batched)), batch("one", "two", "three"), null, null);
        call(Target.BROKER, 320, "batch of one", fields(v2(batched)), batch("one"), null, null);
        call(Target.BROKER, 320, "batch without a body", fields(v2(batched)), new byte[0], null, null);
        call(Target.BROKER, 320, "batch of bytes", fields(v2(batched)), bytes("{broken"), null, null);
        call(Target.BROKER, 320, "batch cut off", fields(v2(batched)), Arrays.copyOf(batch("one", "two"), 40), null, null);
        call(Target.BROKER, 320, "batch to a retry topic", fields(v2(batched.replace("topic=sends", "topic=%RETRY%workers"))), batch("one"), null, null);
        call(Target.BROKER, 320, "batch to an unknown topic", fields(v2(batched.replace("topic=sends", "topic=made-320"))), batch("one"), null, null);
        call(Target.BROKER, 320, "batch to a queue that is not there", fields(v2(batched.replace("queueId=0", "queueId=9"))), batch("one"), null, null);
        call(Target.BROKER, 320, "batch without the mark", fields(v2(batched.replace("batch=true", "batch=false"))), bytes("plain"), null, null);
        call(Target.BROKER, 10, "batch by 10", fields(batched), batch("one", "two"), null, null);
        call(Target.BROKER, 10, "no header", null, bytes("body"), null, null);
        call(Target.BROKER, 310, "no header", null, bytes("body"), null, null);
        String back = "offset=@first group=workers delayLevel=1 originMsgId=@first.id originTopic=orders unitMode=false maxReconsumeTimes=3";
        variants(Target.BROKER, 36, "send back", back, null, "group=nosuch-36", "group=a/b", "offset=-1", "offset=1", "offset=99999999999", "delayLevel=0", "delayLevel=-1",
                "delayLevel=99", "maxReconsumeTimes=0", "maxReconsumeTimes=-1", "unitMode=true", "originTopic=nosuch", "originMsgId=bad");
    }

    private void reads() {
        for (int code : new int[] {11, 361}) {
            variants(Target.BROKER, code, "pull", "consumerGroup=workers topic=orders " + PULL, null, "topic=nosuch", "consumerGroup=nosuch-" + code, "consumerGroup=a/b",
                    "queueId=1", "queueId=2", "queueId=99", "queueId=-1", "queueOffset=3", "queueOffset=4", "queueOffset=2", "queueOffset=-1", "maxMsgNums=1", "maxMsgNums=0",
                    "maxMsgNums=-1", "maxMsgNums=100000", "sysFlag=0", "sysFlag=5", "sysFlag=12", "subscription=a", "subscription=a||b", "subscription=none", "subscription=",
                    "expressionType=SQL92", "expressionType=OTHER", "subVersion=-1", "topic=%RETRY%workers2", "commitOffset=-1", "maxMsgBytes=1");
            broker(code, "pull an empty level", "consumerGroup=workers topic=SCHEDULE_TOPIC_XXXX " + PULL.replace("queueId=0", "queueId=15"), null);
            call(Target.BROKER, code, "no header", null, new byte[0], null, null);
        }
        String query = "topic=orders key=k1 maxNum=32 beginTimestamp=0 endTimestamp=9000000000000";
        variants(Target.BROKER, 12, "query", query, null, "key=none", "key=", "topic=nosuch", "maxNum=0", "maxNum=-1", "beginTimestamp=-1", "endTimestamp=0",
                "endTimestamp=-1", "indexType=K", "indexType=U", "indexType=T", "indexType=OTHER", "key=k2");
        broker(12, "unique", query.replace("k1", "7F00000100000000000000000000AA01") + " _UNIQUE_KEY_QUERY=true", null);
        broker(12, "unique, none", query.replace("k1", "7F00000100000000000000000000AAFF") + " _UNIQUE_KEY_QUERY=true", null);
        variants(Target.BROKER, 12, "by tag", query.replace("k1", "a") + " indexType=T", null, "key=b", "key=none", "key=", "maxNum=1", "endTimestamp=0");
        variants(Target.BROKER, 33, "view", "offset=@first topic=orders", null, "offset=-1", "offset=1", "offset=99999999999", "topic=nosuch");
        for (int code : new int[] {30, 31, 32}) {
            variants(Target.BROKER, code, "offset", "topic=orders queueId=0" + (code == 30 ? " committed=true" : ""), null,
                    "topic=nosuch", "queueId=1", "queueId=2", "queueId=99", "queueId=-1", "topic=");
        }
        variants(Target.BROKER, 29, "search", "topic=orders queueId=0 timestamp=0 boundaryType=LOWER", null, "topic=nosuch", "queueId=1", "queueId=99", "queueId=-1",
                "timestamp=-1", "timestamp=9000000000000", "boundaryType=UPPER", "boundaryType=OTHER", "boundaryType=lower");
        broker(29, "search the upper end", "topic=orders queueId=0 timestamp=9000000000000 boundaryType=UPPER", null);
        variants(Target.BROKER, 321, "queue", "topic=orders queueId=0 index=0 count=10 consumerGroup=workers", null, "topic=nosuch", "queueId=1", "queueId=99", "queueId=-1",
                "index=-1", "index=3", "index=99", "count=0", "count=-1", "count=1", "consumerGroup=nosuch", "consumerGroup=");
    }

    private void offsets() {
        variants(Target.BROKER, 14, "offset of a group", "consumerGroup=workers topic=orders queueId=0 setZeroIfNotFound=false", null, "topic=nosuch", "consumerGroup=nosuch",
                "queueId=1", "queueId=99", "queueId=-1", "setZeroIfNotFound=true");
        String commit = "consumerGroup=workers topic=orders queueId=0 commitOffset=1";
        broker(15, "commit", commit, null);
        variants(Target.BROKER, 15, "commits", commit.replace("=workers", "=workers3").replace("orders", "sends"), null, "topic=nosuch", "consumerGroup=nosuch-2", "queueId=99", "queueId=-1",
                "commitOffset=-1", "commitOffset=99", "commitOffset=2");
        broker(14, "after the commit", "consumerGroup=workers topic=orders queueId=0", null);
        broker(14, "after a commit for a topic that is not there", "consumerGroup=workers3 topic=nosuch queueId=0", null);
        broker(14, "after a commit for a queue that is not there", "consumerGroup=workers3 topic=sends queueId=99", null);
        broker(15, "commit beyond", "consumerGroup=workers3 topic=spare queueId=0 commitOffset=99", null);
        broker(14, "after a commit beyond", "consumerGroup=workers3 topic=spare queueId=0", null);
        broker(15, "commit zero", "consumerGroup=workers3 topic=spare queueId=0 commitOffset=0", null);
        broker(14, "after zero", "consumerGroup=workers3 topic=spare queueId=0", null);
        broker(43, "all offsets", "", null);
        variants(Target.BROKER, 202, "topic stats", "topic=orders", null, "topic=nosuch", "topic=spare");
        variants(Target.BROKER, 208, "consume stats", "consumerGroup=workers topic=orders", null, "consumerGroup=nosuch", "topic=nosuch", "topic=spare", "topicList=orders;", "topicList=nosuch;");
        variants(Target.BROKER, 308, "correction", "compareGroup=workers topic=orders filterGroups=nosuch", null, "compareGroup=nosuch", "topic=nosuch", "topic=spare");
        variants(Target.BROKER, 222, "reset", "topic=orders group=workers timestamp=0 isForce=true", null, "topic=nosuch", "group=nosuch-3", "timestamp=-1", "timestamp=9000000000000",
                "timestamp=-2", "isForce=false");
        broker(222, "reset one queue to an offset", "topic=orders group=workers timestamp=-1 isForce=true queueId=0 offset=1", null);
        variants(Target.BROKER, 222, "reset to an offset", "topic=orders group=workers3 timestamp=-1 isForce=true queueId=0 offset=1", null, "queueId=99", "queueId=-1", "offset=-1",
                "offset=-2", "offset=99", "topic=nosuch", "group=nosuch-3");
        broker(14, "after a reset", "consumerGroup=workers topic=orders queueId=0", null);
        broker(15, "commit after a reset", "consumerGroup=workers topic=orders queueId=0 commitOffset=2", null);
        broker(314, "clone", "srcGroup=workers destGroup=workers2 topic=orders offline=true", null);
        variants(Target.BROKER, 314, "clone of another", "srcGroup=workers3 destGroup=workers4 topic=sends offline=true", null, "srcGroup=nosuch", "destGroup=nosuch2", "topic=nosuch", "offline=false");
        broker(14, "after a clone", "consumerGroup=workers2 topic=orders queueId=0", null);
    }

    private static final String HEARTBEAT = "{\"clientID\":\"c1\",\"consumerDataSet\":[{\"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\","
            + "\"groupName\":\"workers\",\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{\"classFilterMode\":false,\"codeSet\":[],\"expressionType\":\"TAG\","
            + "\"subString\":\"*\",\"subVersion\":1,\"tagsSet\":[],\"topic\":\"orders\"}],\"unitMode\":false}],\"heartbeatFingerprint\":0,"
            + "\"producerDataSet\":[{\"groupName\":\"makers\"}],\"withoutSub\":false}";

    private void clients() {
        variants(Target.BROKER, 38, "members before", "consumerGroup=workers", null, "consumerGroup=nosuch", "consumerGroup=");
        variants(Target.BROKER, 203, "consumers before", "consumerGroup=workers", null, "consumerGroup=nosuch");
        variants(Target.BROKER, 204, "producers before", "producerGroup=makers", null, "producerGroup=nosuch");
        broker(328, "all producers before", "", null);
        String direct = " clientId=c1 msgId=@first.id brokerName=broker-a topic=orders";
        variants(Target.BROKER, 307, "running info of nobody", "consumerGroup=workers clientId=c1 jstackEnable=false", null, "consumerGroup=nosuch", "clientId=");
        variants(Target.BROKER, 309, "consume by nobody", "consumerGroup=workers" + direct, null, "consumerGroup=nosuch", "clientId=", "msgId=bad", "msgId=", "topic=nosuch");
        heartbeat("heartbeat of another", HEARTBEAT);
        heartbeat("without groups", "{\"clientID\":\"c1\"}");
        heartbeat("bad group", HEARTBEAT.replace("workers", "a/b"));
        heartbeat("bad model", HEARTBEAT.replace("CLUSTERING", "OTHER"));
        heartbeat("bad expression", HEARTBEAT.replace("TAG", "OTHER"));
        heartbeat("sql", HEARTBEAT.replace("TAG", "SQL92"));
        heartbeat("unknown group", HEARTBEAT.replace("workers", "young").replace("makers", "makers2"));
        for (String body : List.of("", "{broken", "[]", "1", "{}", HEARTBEAT.replace("\"clientID\":\"c1\",", ""))) {
            heartbeat("heartbeat, body '" + (body.length() < 10 ? body : "without a client id") + "'", body);
        }
        broker(34, "heartbeat", "", HEARTBEAT);
        broker(34, "heartbeat once more", "", HEARTBEAT);
        variants(Target.BROKER, 38, "members", "consumerGroup=workers", null, "consumerGroup=young", "consumerGroup=nosuch");
        variants(Target.BROKER, 203, "consumers", "consumerGroup=workers", null, "consumerGroup=nosuch");
        variants(Target.BROKER, 204, "producers", "producerGroup=makers", null, "producerGroup=nosuch");
        broker(328, "all producers", "", null);
        broker(307, "running info of another", "consumerGroup=workers clientId=nosuch jstackEnable=false", null);
        broker(309, "consume by another", "consumerGroup=workers" + direct.replace("c1", "nosuch"), null);
        for (int code : new int[] {11, 361}) {
            variants(Target.BROKER, code, "pull by a member", "consumerGroup=workers topic=orders " + PULL.replace("sysFlag=4", "sysFlag=0").replace("subVersion=0", "subVersion=1"), null,
                    "subVersion=0", "subVersion=2", "topic=spare", "queueOffset=3", "queueOffset=99", "queueOffset=-1");
        }
        String lock = "{\"clientId\":\"c1\",\"consumerGroup\":\"workers\",\"mqSet\":[{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"orders\"}]}";
        for (int code : new int[] {41, 42}) {
            variants(Target.BROKER, code, "lock", "", lock);
            broker(code, "lock of another", "", lock.replace("c1", "c2"));
            broker(code, "lock without queues", "", "{\"clientId\":\"c1\",\"consumerGroup\":\"workers\",\"mqSet\":[]}");
            broker(code, "lock without a client", "", lock.replace("\"clientId\":\"c1\",", ""));
            broker(code, "lock without a group", "", lock.replace("\"consumerGroup\":\"workers\",", ""));
            broker(code, "lock of an unknown topic", "", lock.replace("orders", "nosuch"));
            broker(code, "lock of a queue that is not there", "", lock.replace(":0,", ":99,"));
            broker(code, "lock of an unknown group", "", lock.replace("workers", "nosuch"));
            broker(code, "lock of another broker's", "", lock.replace("broker-a", "broker-b"));
        }
        String check = "{\"clientId\":\"c1\",\"group\":\"workers\",\"subscriptionData\":{\"expressionType\":\"TAG\",\"subString\":\"*\",\"subVersion\":1,\"topic\":\"orders\"}}";
        variants(Target.BROKER, 46, "check", "", check);
        broker(46, "sql", "", check.replace("TAG", "SQL92").replace("*", "a = 1"));
        broker(46, "other", "", check.replace("TAG", "OTHER"));
        broker(46, "no type", "", check.replace("\"expressionType\":\"TAG\",", ""));
        broker(321, "queue of a member", "topic=orders queueId=0 index=0 count=10 consumerGroup=workers", null);
        variants(Target.BROKER, 300, "who consumes", "topic=orders", null, "topic=nosuch", "topic=spare");
        variants(Target.BROKER, 303, "time span", "topic=orders group=workers", null, "topic=nosuch", "group=nosuch", "topic=spare");
        variants(Target.BROKER, 343, "topics of a consumer", "group=workers", null, "group=nosuch");
        variants(Target.BROKER, 345, "subscription", "group=workers topic=orders", null, "group=nosuch", "topic=nosuch");
        variants(Target.BROKER, 222, "reset with a member", "topic=orders group=workers timestamp=0 isForce=true", null);
        variants(Target.BROKER, 35, "leave", "clientID=c1 producerGroup=makers consumerGroup=workers", null, "clientID=nosuch", "producerGroup=nosuch", "consumerGroup=nosuch");
        broker(38, "members after", "consumerGroup=workers", null);
        broker(204, "producers after", "producerGroup=makers", null);
    }

    private void groups() {
        String group = "{\"groupName\":\"group-1\",\"consumeEnable\":true,\"retryQueueNums\":1,\"retryMaxTimes\":16}";
        variants(Target.BROKER, 200, "create", "", group);
        broker(200, "bad name", "", group.replace("group-1", "a/b"));
        broker(200, "long name", "", group.replace("group-1", "g".repeat(256)));
        broker(200, "blank name", "", group.replace("group-1", ""));
        broker(200, "bad number", "", group.replace("16", "\"x\""));
        broker(200, "negative numbers", "", group.replace("16", "-1").replace("group-1", "group-2"));
        broker(200, "attribute", "", group.replace("16}", "16,\"attributes\":{\"+other\":\"1\"}}").replace("group-1", "group-3"));
        String list = "{\"groupConfigList\":[" + group.replace("group-1", "group-4") + "]}";
        variants(Target.BROKER, 225, "create list", "", list);
        broker(225, "empty list", "", "{\"groupConfigList\":[]}");
        broker(225, "bad name", "", list.replace("group-4", "a/b"));
        broker(225, "blank name", "", list.replace("group-4", ""));
        variants(Target.BROKER, 201, "all groups", "groupSeq=0 maxGroupNum=10000", null, "groupSeq=-1", "groupSeq=100000");
        variants(Target.BROKER, 352, "config", "group=group-1", null, "group=nosuch", "group=group-2", "group=group-4", "group=TOOLS_CONSUMER", "group=");
    }

    private void names() {
        String kv = "namespace=NS key=k value=v";
        names(100, "put", kv, null);
        variants(Target.NAMES, 100, "put elsewhere", kv.replace("NS", "NS2"), null, "value=", "key=", "namespace=");
        variants(Target.NAMES, 101, "get", "namespace=NS key=k", null, "namespace=none", "key=none");
        variants(Target.NAMES, 219, "list", "namespace=NS", null, "namespace=none");
        variants(Target.NAMES, 102, "delete", "namespace=NS key=k", null, "namespace=none", "key=none");
        variants(Target.NAMES, 105, "route", "topic=orders acceptStandardJsonOnly=true", null, "topic=nosuch", "topic=");
        names(105, "route in the old form", "topic=spare", null);
        names(106, "cluster", "", null);
        names(206, "topics", "", null);
        variants(Target.NAMES, 224, "topics of a cluster", "cluster=DefaultCluster", null, "cluster=none");
        names(304, "system topics", "", null);
        names(311, "unit topics", "", null);
        names(312, "unit subscriptions", "", null);
        names(313, "unit subscriptions of others", "", null);
        names(319, "configuration", "", null);
        call(Target.NAMES, 318, "change", Map.of(), bytes("orderMessageEnable=false\n"), null, null);
        call(Target.NAMES, 318, "change what has no effect", Map.of(), bytes("notifyMinBrokerIdChanged=false\n"), null, null);
        call(Target.NAMES, 318, "change nothing", Map.of(), new byte[0], null, null);
        call(Target.NAMES, 318, "change what is not", Map.of(), bytes("nosuch=1\n"), null, null);
        call(Target.NAMES, 318, "change a path", Map.of(), bytes("kvConfigPath=/tmp/x\n"), null, null);
        call(Target.NAMES, 318, "broken", Map.of(), bytes("{broken"), null, null);
        String broker = "brokerName=broker-x brokerAddr=127.0.0.2:10911 clusterName=cluster-x brokerId=0";
        String haServer = " haServerAddr=127.0.0.2:10912 compressed=false bodyCrc32=0";
        String body = "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":1,\"stateVersion\":0,\"timestamp\":1700000000000},"
                + "\"topicConfigTable\":{\"elsewhere\":{\"order\":false,\"perm\":6,\"readQueueNums\":4,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"elsewhere\",\"topicSysFlag\":1,\"writeQueueNums\":4},"
                + "\"further\":{\"order\":false,\"perm\":6,\"readQueueNums\":2,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"further\",\"topicSysFlag\":2,\"writeQueueNums\":3}}}}";
        names(103, "register with one topic", broker.replace("-x", "-z") + haServer, body.replaceAll(",\"further.*", "}}}"));
        names(103, "register", broker + haServer, body);
        names(103, "register once more", broker + haServer, body);
        names(105, "route of a broker elsewhere", "topic=elsewhere acceptStandardJsonOnly=true", null);
        names(106, "cluster with a broker elsewhere", "", null);
        for (int code : new int[] {311, 312, 313}) {
            names(code, "with unit topics", "", null);
        }
        String version = "{\"counter\":1,\"stateVersion\":0,\"timestamp\":1700000000000}";
        variants(Target.NAMES, 322, "version", broker, version, "brokerName=none", "brokerAddr=none", "clusterName=none");
        names(322, "another version", broker, version.replace("1,", "2,"));
        variants(Target.NAMES, 904, "heartbeat", broker, null, "brokerName=none", "brokerAddr=none", "clusterName=none");
        String register = "{\"brokerDatas\":[],\"filterServerTable\":{},\"queueDatas\":[{\"brokerName\":\"broker-x\",\"perm\":6,\"readQueueNums\":1,\"topicSysFlag\":0,\"writeQueueNums\":1}]}";
        variants(Target.NAMES, 217, "register a topic", "topic=registered", register);
        names(105, "route of a registered topic", "topic=registered acceptStandardJsonOnly=true", null);
        variants(Target.NAMES, 205, "read only", "brokerName=broker-x", null, "brokerName=none");
        names(105, "route of a broker that is read only", "topic=elsewhere acceptStandardJsonOnly=true", null);
        variants(Target.NAMES, 327, "to be written again", "brokerName=broker-x", null, "brokerName=none");
        names(105, "route of a broker that is written again", "topic=elsewhere acceptStandardJsonOnly=true", null);
        variants(Target.NAMES, 216, "delete a topic", "topic=registered", null, "topic=none");
        variants(Target.NAMES, 216, "delete a topic of a cluster", "topic=elsewhere clusterName=none", null, "clusterName=cluster-x");
        names(105, "route of a deleted topic", "topic=elsewhere acceptStandardJsonOnly=true", null);
        names(104, "unregister", broker, null);
        until(Target.NAMES, 105, "route of a broker that left", "topic=further acceptStandardJsonOnly=true", "code=17");
        names(106, "cluster without it", "", null);
        String young = broker.replace("-x", "-y");
        variants(Target.NAMES, 103, "register a young one", young + haServer, body, "bodyCrc32=7", "compressed=true", "heartbeatTimeoutMillis=120000");
        variants(Target.NAMES, 104, "unregister a young one", young, null, "brokerName=none", "brokerId=7");
    }

    private void statistics() {
        names(26, "of another kind", "", null);
        broker(319, "of another kind", "", null);
        broker(26, "configuration", "", null);
        broker(28, "runtime", "", null);
        call(Target.BROKER, 25, "change", Map.of(), bytes("maxMessageSize=4194304\n"), null, null);
        call(Target.BROKER, 25, "change nothing", Map.of(), new byte[0], null, null);
        call(Target.BROKER, 25, "change what is not", Map.of(), bytes("nosuch=1\n"), null, null);
        call(Target.BROKER, 25, "change to no number", Map.of(), bytes("maxMessageSize=x\n"), null, null);
        call(Target.BROKER, 25, "change a path", Map.of(), bytes("storePathRootDir=/tmp/x\n"), null, null);
        broker(306, "clean queues", "", null);
        broker(316, "clean topics", "", null);
        broker(329, "delete old files", "", null);
        variants(Target.BROKER, 315, "rates", "statsName=TOPIC_PUT_NUMS statsKey=orders", null, "statsName=nosuch", "statsKey=nosuch");
        broker(315, "rates of the broker", "statsName=BROKER_PUT_NUMS statsKey=DefaultCluster", null);
        broker(315, "rates of a group", "statsName=GROUP_GET_NUMS statsKey=orders@workers", null);
        variants(Target.BROKER, 317, "all groups", "isOrder=false", null, "isOrder=true");
    }

    private void unknownCodes() {
        for (int code : new int[] {-1, 0, 9, 13, 22, 23, 27, 47, 50, 209, 211, 301, 999, 5002, 123456}) {
            broker(code, "unknown", "", null);
            names(code, "unknown to the name server", "", null);
        }
        for (int code : new int[] {105, 106, 206}) {
            broker(code, "of a name server", "topic=orders", null);
        }
    }

    private void last() {
        variants(Target.BROKER, 207, "delete", "groupName=group-1 cleanOffset=true", null, "groupName=nosuch", "groupName=a/b");
        broker(352, "deleted", "group=group-1", null);
        variants(Target.BROKER, 215, "delete", "topic=goes", null, "topic=nosuch", "topic=TBW102", "topic=a/b", "topic=");
        broker(351, "deleted", "topic=goes", null);
        broker(30, "of a deleted topic", "topic=goes queueId=0", null);
        variants(Target.NAMES, 205, "last, read only", "brokerName=broker-a", null);
        names(105, "route, read only", "topic=orders acceptStandardJsonOnly=true", null);
    }

    // How calls are made.

    private void names(int code, String name, String fields, String body) {
        call(Target.NAMES, code, name, fields(fields), body == null ? new byte[0] : bytes(body), null, null);
    }

    private void broker(int code, String name, String fields, String body) {
        call(Target.BROKER, code, name, fields(fields), body == null ? new byte[0] : bytes(body), null, null);
    }

    private void heartbeat(String name, String body) {
        call(Target.OTHER, 34, name, Map.of(), bytes(body.replace("workers", "others").replace("makers", "others").replace("c1", "c9")), null, null);
    }

    private void send(int code, String label, String fields) {
        call(Target.BROKER, code, "send " + label, fields(fields), bytes("body of " + label), label, null);
    }

    private void until(Target target, int code, String name, String fields, String awaited) {
        call(target, code, name, fields(fields), new byte[0], null, awaited);
    }

    /** A good call; then each field is left out in turn, is no number where one belongs, and has each of `values`; then come bad bodies. */
    private void variants(Target target, int code, String name, String fields, String body, String... values) {
        Map<String, String> good = fields(fields);
        byte[] bytes = body == null ? new byte[0] : bytes(body);
        call(target, code, name, good, bytes, null, null);
        for (var field : good.entrySet()) {
            Map<String, String> without = new TreeMap<>(good);
            without.remove(field.getKey());
            call(target, code, name + " without " + field.getKey(), without, bytes, null, null);
            if (field.getValue().matches("-?\\d+|true|false|@\\w+")) {
                change(target, code, name, good, bytes, field.getKey() + "=x");
            }
        }
        for (String value : values) {
            change(target, code, name, good, bytes, value);
        }
        if (body != null && body.startsWith("{")) {
            for (String bad : new String[] {"", "{}", "{broken", "[]", "1"}) {
                call(target, code, name + ", body '" + bad + "'", good, bytes(bad), null, null);
            }
        } else if (body != null) {
            call(target, code, name + ", no body", good, new byte[0], null, null);
        }
    }

    private void change(Target target, int code, String name, Map<String, String> good, byte[] body, String value) {
        Map<String, String> changed = new TreeMap<>(good);
        changed.putAll(fields(value));
        String shown = value.replaceAll("[\u0001\u0002]", "^");
        call(target, code, name + ", " + shown.substring(0, Math.min(shown.length(), 40)), changed, body, null, null);
    }

    private void call(Target target, int code, String name, Map<String, String> fields, byte[] body, String label, String awaited) {
        calls.add(new Call(code + " " + name, target, code, fields, body, label, awaited));
    }

    private static Map<String, String> fields(String text) {
        Map<String, String> found = new TreeMap<>();
        for (String field : text.split(" ")) {
            if (!field.isEmpty()) {
                String[] pair = field.split("=", 2);
                found.put(pair[0], pair[1]);
            }
        }
        return found;
    }

    /** The names of the fields of 310 and 320. */
    private static String v2(String text) {
        List<String> names = List.of("producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp", "flag", "properties",
                "reconsumeTimes", "unitMode", "maxReconsumeTimes", "batch");
        List<String> found = new ArrayList<>();
        fields(text).forEach((name, value) -> found.add((char) ('a' + names.indexOf(name)) + "=" + value));
        return String.join(" ", found);
    }

    private static byte[] batch(String... bodies) {
        ByteBuffer all = ByteBuffer.allocate(1024);
        for (String body : bodies) {
            byte[] properties = bytes("TAGS\u0001a\u0002");
            all.putInt(22 + body.length() + properties.length).putInt(0).putInt(0).putInt(0).putInt(body.length()).put(bytes(body));
            all.putShort((short) properties.length).put(properties);
        }
        return Arrays.copyOf(all.array(), all.position());
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
