package kerolox.apache;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import kerolox.apache.Programs.Program;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
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
    private static final Duration LIMIT = Duration.ofSeconds(60);
    private static final String CLUSTER = "DefaultCluster";
    private final Programs programs = new Programs();
    private final List<System_> systems = new ArrayList<>();

    /** One of both systems, with its clients. */
    private static final class System_ {
        final String namesrv;
        final String broker;
        final List<SendResult> sent = new ArrayList<>();
        DefaultMQProducer producer;
        DefaultMQPushConsumer consumer;

        System_(Program names, Program broker) {
            this.namesrv = names.namesrv();
            this.broker = broker.broker();
        }

        String mqadmin(String... arguments) {
            return Mqadmin.run(namesrv, filled(arguments));
        }

        /** [`mqadmin`], or why it failed. */
        String mqadminOrWhy(String... arguments) {
            try {
                return mqadmin(arguments);
            } catch (IllegalStateException e) {
                return "FAILED " + e.getMessage();
            }
        }

        String kerolox(String... arguments) {
            return Programs.admin(namesrv, filled(arguments));
        }

        /** BROKER and the ids of messages are this system's. */
        String[] filled(String... arguments) {
            String[] all = arguments.clone();
            for (int i = 0; i < all.length; i++) {
                all[i] = all[i].replace("BROKER", broker);
                if (all[i].startsWith("UNIQUE")) {
                    all[i] = sent.get(Integer.parseInt(all[i].substring(6))).getMsgId();
                } else if (all[i].startsWith("OFFSETID")) {
                    all[i] = sent.get(Integer.parseInt(all[i].substring(8))).getOffsetMsgId();
                }
            }
            return all;
        }

        /** The lines of an output, sorted, without what differs by nature. */
        String plain(String text) {
            String plain = text.replace(broker, "BROKER").replace(namesrv, "NAMESRV");
            for (int i = 0; i < sent.size(); i++) {
                plain = plain.replace(sent.get(i).getMsgId(), "UNIQUE" + i).replace(sent.get(i).getOffsetMsgId(), "OFFSETID" + i);
            }
            plain = plain.replaceAll("\\b1[78]\\d{11}\\b", "MS")
                    .replaceAll("(CommitLog Offset: *|commitLogOffset=|physicOffset=)\\d+", "$1POSITION")
                    .replaceAll("(@UNIQUE\\d+@)\\d+", "$1POSITION")
                    .replaceAll("20\\d\\d-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d(,\\d{3})?", "TIME")
                    .replaceAll("/?127\\.0\\.0\\.1:\\d+", "CLIENT")
                    .replaceAll("[0-9a-f:]*[:.][0-9a-f.:]+@[-0-9A-Za-z#]+", "CLIENTID")
                    .replaceAll("\\b\\d+\\.\\d+(E-?\\d+)?\\b", "RATE");
            return plain.lines().map(line -> line.replaceAll("\\s+", " ").trim()).filter(line -> !line.isEmpty())
                    // What came in a day Apache's broker knows from its next look at its counters on.
                    .map(line -> line.replaceAll("RATE RATE \\d+ \\d+$", "RATE RATE DAY DAY"))
                    // Where `kerolox admin` prints a body, mqadmin writes it to a file.
                    .filter(line -> !line.startsWith("Message Body"))
                    .map(System_::propertiesSorted).sorted().collect(Collectors.joining("\n"));
        }

        /** Java prints maps in the order of hashes. */
        private static String propertiesSorted(String line) {
            return Pattern.compile("\\{([^{}]*)\\}").matcher(line).replaceAll(found -> Matcher.quoteReplacement("{"
                    + Stream.of(found.group(1).split(", ")).sorted().collect(Collectors.joining(", ")) + "}"));
        }
    }

    @BeforeAll
    void start() throws Exception {
        Program names = programs.apacheNamesrv();
        systems.add(new System_(names, programs.apacheBroker("broker-a", names.namesrv())));
        Program kerolox = programs.kerolox("server", "--set", "brokerName=broker-a");
        systems.add(new System_(kerolox, kerolox));
        for (System_ system : systems) {
            fill(system);
        }
        Programs.pause(11_000); // Apache's rates need eleven seconds
    }

    @AfterAll
    void close() {
        for (System_ system : systems) {
            if (system.producer != null) {
                system.producer.shutdown();
                system.consumer.shutdown();
            }
        }
        programs.close();
    }

    /** The same on both: two topics, two groups, messages with and without keys, a consumer that stays. */
    private static void fill(System_ system) throws Exception {
        Programs.until("the broker", LIMIT, () -> system.mqadmin("clusterList").contains(system.broker));
        system.mqadmin("updateTopic", "-b", "BROKER", "-t", "orders", "-r", "2", "-w", "2");
        system.mqadmin("updateTopic", "-c", CLUSTER, "-t", "audit", "-r", "4", "-w", "3", "-p", "4", "-a", "+message.type=NORMAL");
        system.mqadmin("updateSubGroup", "-b", "BROKER", "-g", "group-a", "-r", "3", "-q", "1");
        system.mqadmin("updateKvConfig", "-s", "NS", "-k", "key", "-v", "value");
        system.mqadmin("updateOrderConf", "-t", "audit", "-m", "put", "-v", "broker-a:2");
        for (String topic : new String[] {"orders", "audit"}) {
            Programs.until("the route", LIMIT, () -> !system.mqadmin("topicRoute", "-t", topic).isEmpty());
        }
        system.producer = new DefaultMQProducer("group-p");
        system.producer.setNamesrvAddr(system.namesrv);
        system.producer.setInstanceName("p" + system.namesrv.hashCode());
        system.producer.setSendMsgTimeout(20_000);
        system.producer.start();
        for (int i = 0; i < 10; i++) {
            Message message = new Message("orders", i % 2 == 0 ? "even" : "odd", "key-" + i, ("body-" + i).getBytes(StandardCharsets.UTF_8));
            system.sent.add(system.producer.send(message, new MessageQueue("orders", "broker-a", i % 2)));
        }
        AtomicInteger received = new AtomicInteger();
        system.consumer = new DefaultMQPushConsumer("group-a");
        system.consumer.setNamesrvAddr(system.namesrv);
        system.consumer.setInstanceName("c" + system.namesrv.hashCode());
        system.consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        system.consumer.subscribe("orders", "even || odd");
        system.consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        system.consumer.start();
        Programs.until("all is consumed", LIMIT, () -> received.get() == 10);
        Programs.until("the offsets are stored", LIMIT, () -> system
                .mqadmin("consumerProgress", "-g", "group-a").contains("Diff Total: 0"));
    }

    /** Apache's mqadmin says the same of both; then `kerolox admin` says the same of each. */
    private void same(String... arguments) {
        compare(arguments, line -> line);
    }

    /** What `kept` makes of each line; null leaves it out. */
    private void compare(String[] arguments, UnaryOperator<String> kept) {
        System_ apache = systems.get(0);
        System_ kerolox = systems.get(1);
        String command = String.join(" ", arguments);
        UnaryOperator<String> lines = text -> text.lines().map(kept).filter(Objects::nonNull).sorted()
                .collect(Collectors.joining("\n"));
        String expected = lines.apply(apache.plain(apache.mqadminOrWhy(arguments)));
        differences.add(difference("mqadmin " + command, expected, lines.apply(kerolox.plain(kerolox.mqadminOrWhy(arguments)))));
        for (System_ system : systems) {
            String own = lines.apply(system.plain(system.kerolox(arguments)));
            differences.add(difference("kerolox admin " + command + " -n " + (system == apache ? "apache" : "kerolox"), expected, own));
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
        same("clusterList");
        same("clusterList", "-m");
        same("producer", "-b", "BROKER");
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
            note("kerolox admin " + command[0], kerolox.toString(), values(systems.get(1).kerolox(command), "=").toString());
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
        UnaryOperator<String> form = value -> value.replaceAll("\\d+(\\.\\d+)?(E-?\\d+)?", "N").replaceAll("N [KMGT]?i?B", "SIZE").replaceAll("^N( N)+$", "RATES");
        for (var entry : kerolox.entrySet()) {
            if (apache.containsKey(entry.getKey())) {
                note("brokerStatus " + entry.getKey(), form.apply(apache.get(entry.getKey())), form.apply(entry.getValue()));
            }
        }
        note("kerolox admin brokerStatus", kerolox.keySet().toString(),
                values(systems.get(1).kerolox("brokerStatus", "-b", "BROKER"), ":").keySet().toString());
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
            for (System_ system : systems) {
                for (boolean own : new boolean[] {false, true}) {
                    Path dir = programs.newDir();
                    List<String> all = new ArrayList<>(List.of(command));
                    all.addAll(List.of("-f", dir.toString()));
                    String[] arguments = all.toArray(new String[0]);
                    String printed = own ? system.kerolox(arguments) : system.mqadmin(arguments);
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
