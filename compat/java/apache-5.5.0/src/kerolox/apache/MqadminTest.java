package kerolox.apache;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import kerolox.apache.Programs.Program;
import kerolox.apache.Side.Tool;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * Apache's mqadmin and `kerolox admin` against Apache RocketMQ and against Kerolox, which hold the same
 * topics, groups and messages. What differs by nature (addresses, times, ids, rates) is made equal first.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class MqadminTest {
    private static final String CLUSTER = Side.CLUSTER;
    private final Programs programs = new Programs();
    private final List<Side> systems = new ArrayList<>();

    @BeforeAll
    void start() throws Exception {
        Program names = programs.apacheNamesrv();
        systems.add(new Side(names, programs.apacheBroker("broker-a", names.namesrv())));
        Program kerolox = programs.kerolox("server", "--set", "brokerName=broker-a");
        systems.add(new Side(kerolox, kerolox));
        for (Side system : systems) {
            system.fill();
        }
        Programs.pause(11_000); // Apache's rates need eleven seconds
    }

    @AfterAll
    void close() {
        for (Side system : systems) {
            system.close();
        }
        programs.close();
    }

    /** Apache's mqadmin says the same of both, and `kerolox admin` the same of each. */
    private void same(String... arguments) {
        compare(arguments, line -> line);
    }

    /** What `kept` makes of each line; null leaves it out. */
    private void compare(String[] arguments, UnaryOperator<String> kept) {
        String expected = null;
        for (Tool tool : Tool.values()) {
            for (Side system : systems) {
                String printed = system.plain(system.run(tool, arguments)).lines().map(kept).filter(Objects::nonNull)
                        .sorted().collect(Collectors.joining("\n"));
                if (expected == null) {
                    expected = printed;
                }
                note(tool + " " + String.join(" ", arguments) + " of system " + systems.indexOf(system), expected, printed);
            }
        }
    }

    private static String difference(String what, String expected, String found) {
        return expected.equals(found) ? "" : what + "\nexpected:\n" + expected + "\nfound:\n" + found;
    }

    private final List<String> differences = new ArrayList<>();

    @AfterEach
    void noDifference() {
        String all = differences.stream().filter(text -> !text.isEmpty()).collect(Collectors.joining("\n\n"));
        differences.clear();
        assertTrue(all.isEmpty(), all);
    }

    @Test
    void topics() {
        same("topicRoute", "-t", "orders");
        same("topicRoute", "-t", "audit", "-l");
        same("topicStatus", "-t", "orders");
        same("topicClusterList", "-t", "orders");
        same("updateOrderConf", "-t", "audit", "-m", "get");
        // Apache's broker makes further topics for what Kerolox does not have yet, or does in another way.
        compare(new String[] {"topicList"}, line -> APACHES_TOPICS.contains(line) ? null : line);
        compare(new String[] {"topicList", "-c"}, line -> APACHES_TOPICS.stream().anyMatch(line::contains) ? null : line);
    }

    /** Topics that Kerolox has not. */
    private static final Set<String> APACHES_TOPICS = Set.of(
            "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC",
            "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC", "CHECKPOINT_TOPIC",
            "DefaultCluster_REPLY_TOPIC", "rmq_sys_REVIVE_LOG_DefaultCluster", "rmq_sys_wheel_timer",
            "rmq_sys_SYNC_BROKER_MEMBER_broker-a");

    @Test
    void groups() {
        same("getConsumerConfig", "-g", "group-a");
        // A consumer notes offset 0 of its retry topic once its first wait there is over.
        compare(new String[] {"consumerProgress", "-g", "group-a"}, line -> line.startsWith("%RETRY%") ? null : line);
        same("consumerProgress", "-g", "group-a", "-t", "orders");
        same("consumerConnection", "-g", "group-a");
        same("producerConnection", "-g", "group-p", "-t", "orders");
        same("brokerConsumeStats", "-b", "BROKER");
        same("statsAll", "-t", "orders");
    }

    @Test
    void messages() {
        same("queryMsgById", "-t", "orders", "-i", "OFFSETID3");
        same("queryMsgByUniqueKey", "-t", "orders", "-i", "UNIQUE4");
        same("queryMsgByKey", "-t", "orders", "-k", "key-7");
        same("queryMsgByKey", "-t", "orders", "-k", "even", "-p", "T");
        same("queryMsgByOffset", "-t", "orders", "-b", "broker-a", "-i", "1", "-o", "2");
        same("printMsg", "-t", "orders");
        // Without bodies there are none in the messages' text, either.
        compare(new String[] {"printMsg", "-t", "orders", "-s", "even", "-d", "false"}, line -> line.replaceAll(" body=\\[[^]]*\\]", ""));
        same("printMsgByQueue", "-t", "orders", "-a", "broker-a", "-i", "0", "-p", "true", "-f", "true", "-d", "true");
        // mqadmin asks once more behind the end, and misspells a word.
        compare(new String[] {"consumeMessage", "-t", "orders", "-b", "broker-a", "-i", "1", "-o", "2", "-c", "2"},
                line -> line.contains("print msg finished") || line.startsWith("The old") ? null : line);
        same("queryCq", "-t", "orders", "-q", "0", "-i", "1", "-c", "3");
    }

    @Test
    void brokers() {
        // How far Apache's timers are behind changes from one moment to the next.
        compare(new String[] {"clusterList"}, line -> line.replaceAll("\\d+-\\d+\\(", "N-N("));
        same("clusterList", "-m");
        same("producer", "-b", "BROKER");
    }

    /** Java shares the queues in the order of its hashes: whose are which is compared for one client alone. */
    @Test
    void sharesOfQueues() {
        compare(new String[] {"allocateMQ", "-t", "audit", "-i", "one"}, line -> shares(line).toString());
        compare(new String[] {"allocateMQ", "-t", "audit", "-i", "one,two,three"}, line -> {
            Map<String, Integer> counts = new TreeMap<>();
            shares(line).forEach((client, queues) -> counts.put(client, queues.size()));
            return counts.toString();
        });
    }

    private static Map<String, List<String>> shares(String line) {
        Map<String, List<String>> shares = new TreeMap<>();
        JSON.parseObject(line).getJSONObject("result").forEach((client, queues) -> shares.put(client,
                ((List<?>) queues).stream().map(Object::toString).sorted().toList()));
        return shares;
    }

    /** What a client says of itself, and what was noted of a message's way. */
    @Test
    void clients() {
        // As in consumerProgress: it notes offset 0 of its retry topic after a while.
        compare(new String[] {"consumerStatus", "-g", "group-a", "-i", "CLIENT"},
                line -> line.startsWith("%RETRY%group-a broker-a") ? null : withoutHashes(line));
        compare(new String[] {"consumerStatus", "-g", "group-a"},
                // The file's name has the time at which it was written.
                line -> line.replaceAll("MS/CLIENTID", "FILE"));
        compare(new String[] {"queryMsgTraceById", "-i", "UNIQUE10", "-t", "traces"}, line -> line.replaceAll("\\b\\d+ms\\b", "SPAN"));
    }

    /** A client's properties are those of its Java object, with hashes and names of its own. */
    private static String withoutHashes(String line) {
        return line.replaceAll("@[0-9a-f]{5,8}$", "@HASH").replaceAll("^(consumeTimestamp|instanceName|messageListener) : .*", "$1");
    }

    /** What a command sends arrives, and it says the same of it. */
    @Test
    void sends() {
        for (Side system : systems) {
            system.mqadmin("updateTopic", "-b", "BROKER", "-t", "sent", "-r", "2", "-w", "2");
            system.awaitRoute("sent");
        }
        compare(new String[] {"sendMessage", "-t", "sent", "-p", "a body", "-k", "a b", "-c", "tag", "-b", "broker-a", "-i", "1"}, MqadminTest::withoutTimes);
        compare(new String[] {"checkMsgSendRT", "-t", "sent", "-a", "4", "-s", "100"}, MqadminTest::withoutTimes);
        compare(new String[] {"sendMsgStatus", "-b", "broker-a", "-c", "3"}, MqadminTest::withoutTimes);
        // mqadmin goes on for ever.
        for (Side system : systems) {
            String expected = Mqadmin.runUntil("broker-a", system.namesrv, "clusterRT", "-a", "3", "-c", CLUSTER);
            note("clusterRT", system.plain(expected), system.plain(system.run(Tool.KEROLOX, "clusterRT", "-a", "3", "-c", CLUSTER, "--rounds", "1")));
        }
        compare(new String[] {"topicStatus", "-t", "sent"}, MqadminTest::withoutTimes);
        compare(new String[] {"topicStatus", "-t", "broker-a"}, MqadminTest::withoutTimes);
        compare(new String[] {"queryMsgByKey", "-t", "sent", "-k", "b"}, MqadminTest::withoutTimes);
    }

    /** How long it took, and how many there were before. */
    private static String withoutTimes(String line) {
        return line.replaceAll("queueOffset=\\d+", "queueOffset=N").replaceAll("rt=\\d+ms", "rt=SPAN")
                .replaceAll(" true \\d+$", " true SPAN");
    }

    /** Each tool changes topics and groups of its own, in the same way; then both say the same of all of them. */
    @Test
    void changes() throws Exception {
        same("updateTopic", "-b", "BROKER", "-t", "moved-TOOL", "-r", "2", "-w", "2");
        for (Side system : systems) {
            for (Tool tool : Tool.values()) {
                system.awaitRoute("moved-" + tool.name().toLowerCase());
            }
        }
        same("updateTopicPerm", "-b", "BROKER", "-t", "moved-TOOL", "-p", "4");
        same("topicRoute", "-t", "moved-TOOL");
        same("updateTopicPerm", "-c", CLUSTER, "-t", "moved-TOOL", "-p", "6");
        Path lists = programs.newDir();
        for (Tool tool : Tool.values()) {
            String name = tool.name().toLowerCase();
            Files.writeString(lists.resolve("topics-" + name), "[{\"topicName\":\"listed-" + name + "\",\"readQueueNums\":3}]");
            Files.writeString(lists.resolve("groups-" + name), "[{\"groupName\":\"listed-" + name + "\",\"retryMaxTimes\":5}]");
        }
        same("updateTopicList", "-b", "BROKER", "-f", lists + "/topics-TOOL");
        same("updateSubGroupList", "-b", "BROKER", "-f", lists + "/groups-TOOL");
        same("updateSubGroup", "-c", CLUSTER, "-g", "group-TOOL", "-s", "true", "-r", "4");
        same("updateSubGroup", "-b", "BROKER", "-g", "clone-TOOL");
        same("getConsumerConfig", "-g", "group-TOOL");
        same("getConsumerConfig", "-g", "listed-TOOL");
        compare(new String[] {"checkMsgSendRT", "-t", "moved-TOOL", "-a", "6"}, MqadminTest::withoutTimes);
        same("resetOffsetByTime", "-g", "group-TOOL", "-t", "moved-TOOL", "-s", "now");
        same("consumerProgress", "-g", "group-TOOL", "-t", "moved-TOOL");
        same("resetOffsetByTime", "-g", "group-TOOL", "-t", "moved-TOOL", "-s", "0");
        same("resetOffsetByTime", "-g", "group-TOOL", "-t", "moved-TOOL", "-s", "now", "-b", "BROKER", "-q", "0", "-o", "2");
        same("consumerProgress", "-g", "group-TOOL", "-t", "moved-TOOL");
        same("cloneGroupOffset", "-s", "group-a", "-d", "clone-TOOL", "-t", "orders");
        same("consumerProgress", "-g", "clone-TOOL", "-t", "orders");
        same("skipAccumulatedMessage", "-g", "group-TOOL", "-t", "moved-TOOL");
        same("consumerProgress", "-g", "group-TOOL", "-t", "moved-TOOL");
        same("updateOrderConf", "-t", "moved-TOOL", "-m", "put", "-v", "broker-a:1");
        same("updateOrderConf", "-t", "moved-TOOL", "-m", "get");
        same("updateOrderConf", "-t", "moved-TOOL", "-m", "delete");
        same("updateKvConfig", "-s", "NS", "-k", "TOOL", "-v", "value");
        same("deleteKvConfig", "-s", "NS", "-k", "TOOL");
        compare(new String[] {"wipeWritePerm", "-b", "broker-a"}, MqadminTest::withoutCount);
        same("topicRoute", "-t", "moved-TOOL");
        compare(new String[] {"addWritePerm", "-b", "broker-a"}, MqadminTest::withoutCount);
        same("topicRoute", "-t", "moved-TOOL");
        same("updateBrokerConfig", "-b", "BROKER", "-k", "deleteWhen", "-v", "05");
        same("updateBrokerConfig", "-c", CLUSTER, "-k", "deleteWhen", "-v", "04");
        same("updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true");
        same("cleanExpiredCQ", "-b", "BROKER");
        same("cleanUnusedTopic", "-b", "BROKER");
        same("deleteExpiredCommitLog", "-b", "BROKER");
        same("deleteSubGroup", "-b", "BROKER", "-g", "clone-TOOL");
        same("deleteSubGroup", "-c", CLUSTER, "-g", "group-TOOL", "-r", "true");
        // mqadmin prints nothing; here it is an error that no broker has the group.
        for (Side system : systems) {
            note("a deleted group", "", system.mqadmin("getConsumerConfig", "-g", "group-TOOL"));
        }
        same("deleteTopic", "-c", CLUSTER, "-t", "moved-TOOL");
        compare(new String[] {"topicList"}, line -> line.startsWith("moved") || line.startsWith("listed") ? line : null);
    }

    /** Apache has further topics. */
    private static String withoutCount(String line) {
        return line.replaceAll("OK, \\d+$", "OK, N");
    }

    /** Each of mqadmin's commands is there, or says why it is not. */
    @Test
    void everyCommandIsKnown() throws Exception {
        for (String name : Mqadmin.commands()) {
            Process process = new ProcessBuilder(Programs.binary(), "admin", name, "--help").redirectErrorStream(true).start();
            String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            boolean isThere = process.waitFor() == 0 && printed.contains("Usage: kerolox admin " + name);
            boolean isLater = printed.startsWith("error: " + name + ": ");
            note(name, "known", isThere || isLater ? "known" : printed);
        }
    }

    /** What both systems list, they name and value alike; Kerolox lists what has an effect there. */
    @Test
    void configurations() {
        for (String[] command : new String[][] {{"getBrokerConfig", "-b", "BROKER"}, {"getNamesrvConfig"}}) {
            Map<String, String> apache = values(systems.get(0).mqadmin(command), "=");
            Map<String, String> kerolox = values(systems.get(1).mqadmin(command), "=");
            assertTrue(kerolox.size() > 8, kerolox.toString());
            for (var entry : kerolox.entrySet()) {
                String key = entry.getKey();
                if (!key.startsWith("kerolox.") && !DIFFERENT_KEYS.contains(key)) {
                    note(command[0] + " " + key, apache.get(key), entry.getValue());
                }
            }
            note("kerolox admin " + command[0], kerolox.toString(), values(systems.get(1).run(Tool.KEROLOX, command), "=").toString());
        }
    }

    /** Keys whose values differ by nature, or on purpose: see docs/compatibility.md. */
    private static final Set<String> DIFFERENT_KEYS = Set.of("listenPort", "bindAddress", "flushDiskType", "namesrvAddr",
            "storePathRootDir", "storePathCommitLog", "mappedFileSizeCommitLog", "diskMaxUsedSpaceRatio", "brokerIP1");

    /** brokerStatus: of what both tell, the form is the same. */
    @Test
    void runtime() {
        Map<String, String> apache = values(systems.get(0).mqadmin("brokerStatus", "-b", "BROKER"), ":");
        String printed = systems.get(1).mqadmin("brokerStatus", "-b", "BROKER");
        Map<String, String> kerolox = values(printed, ":");
        Set<String> missing = new TreeSet<>(apache.keySet());
        missing.removeAll(kerolox.keySet());
        missing.removeIf(key -> key.startsWith("commitLogDiskRatio_"));
        note("brokerStatus lacks", KEYS_OF_APACHE_ALONE.toString(), missing.toString());
        UnaryOperator<String> form = value -> value.replaceAll("\\d+(\\.\\d+)?(E-?\\d+)?", "N").replaceAll("N [KMGT]?i?B", "SIZE")
                // Apache's broker tells the rate of ten seconds alone in its first minute.
                .replaceAll("^N( N)*$", "N");
        for (var entry : kerolox.entrySet()) {
            if (apache.containsKey(entry.getKey())) {
                note("brokerStatus " + entry.getKey(), form.apply(apache.get(entry.getKey())), form.apply(entry.getValue()));
            }
        }
        note("kerolox admin brokerStatus", kerolox.keySet().toString(),
                values(systems.get(1).run(Tool.KEROLOX, "brokerStatus", "-b", "BROKER"), ":").keySet().toString());
    }

    /** What Kerolox does not measure, or has not. */
    private static final Set<String> KEYS_OF_APACHE_ALONE = new TreeSet<>(Set.of(
            "EndTransactionThreadPoolQueueCapacity", "ackThreadPoolQueueCapacity", "getMessageEntireTimeMax",
            "litePullThreadPoolQueueCapacity", "pullThreadPoolQueueCapacity", "putLatency99", "putLatency999",
            "putMessageDistributeTime", "putMessageEntireTimeMax", "putMessageFailedTimes",
            "queryThreadPoolQueueCapacity", "remainTransientStoreBufferNumbs", "sendThreadPoolQueueCapacity"));

    @Test
    void exports() throws Exception {
        for (String[] command : new String[][] {
            {"exportMetadata", "-c", CLUSTER}, {"exportMetadata", "-c", CLUSTER, "-t", "-s"}, {"exportConfigs", "-c", CLUSTER}, {"exportMetrics", "-c", CLUSTER}}) {
            List<String> found = new ArrayList<>();
            for (Side system : systems) {
                for (boolean own : new boolean[] {false, true}) {
                    Path dir = programs.newDir();
                    List<String> all = new ArrayList<>(List.of(command));
                    all.addAll(List.of("-f", dir.toString()));
                    String[] arguments = all.toArray(new String[0]);
                    String printed = own ? system.run(Tool.KEROLOX, arguments) : system.mqadmin(arguments);
                    assertTrue(printed.contains("success"), printed);
                    StringBuilder text = new StringBuilder();
                    try (Stream<Path> files = Files.list(dir)) {
                        for (Path file : files.sorted().toList()) {
                            text.append(file.getFileName()).append('\n')
                                    .append(system.plain(sortedJson(Files.readString(file)).replace("{}", "{"))).append('\n');
                        }
                    }
                    found.add(text.toString());
                }
            }
            for (int i = 1; i < found.size(); i++) {
                note(String.join(" ", command) + " " + i, found.get(0), found.get(i));
            }
        }
    }

    /**
     * Apache's broker takes the order flag over from the name server's order configuration; the next have no
     * effect in Kerolox, or another default.
     */
    private static final Set<String> EXPORTED_BY_APACHE_ALONE = Set.of(
            "\"order\":", "\"slaveReadEnable\":", "\"useTLS\":", "\"flushDiskType\":", "\"cpuNum\":");

    /** Indented, keys sorted. */
    private static String sortedJson(String json) {
        String sorted = JSON.toJSONString(JSON.parseObject(json), JSONWriter.Feature.PrettyFormat, JSONWriter.Feature.MapSortField);
        return sorted.lines().filter(line -> line.matches(".*\\w.*")).filter(line -> EXPORTED_BY_APACHE_ALONE.stream().noneMatch(line::contains))
                // The last of an object has no comma.
                .map(line -> line.replaceAll(",$", "")).collect(Collectors.joining("\n"));
    }

    /** `key VALUE` lines. */
    private static Map<String, String> values(String text, String separator) {
        Map<String, String> found = new TreeMap<>();
        text.lines().map(line -> line.split(separator, 2)).filter(pair -> pair.length == 2 && !pair[0].isBlank())
                .forEach(pair -> found.put(pair[0].trim(), pair[1].trim()));
        return found;
    }

    private void note(String what, String expected, String found) {
        differences.add(difference(what, String.valueOf(expected), String.valueOf(found)));
    }
}
