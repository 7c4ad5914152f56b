package kerolox.apache;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
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

/** One of both systems, with its clients, and what the tools print of it. */
final class Side implements AutoCloseable {
    static final String CLUSTER = "DefaultCluster";
    private static final Duration LIMIT = Duration.ofSeconds(60);

    /** mqadmin, or `kerolox admin`. */
    enum Tool {
        MQADMIN,
        KEROLOX
    }

    final String namesrv;
    final String broker;
    /** To the topic `orders`; the last one to `traced`. */
    final List<SendResult> sent = new ArrayList<>();
    private DefaultMQProducer producer;
    private DefaultMQPushConsumer consumer;

    Side(Program names, Program broker) {
        this.namesrv = names.namesrv();
        this.broker = broker.broker();
    }

    /** What a command printed, or why it failed. */
    String run(Tool tool, String... arguments) {
        String[] all = filled(tool, arguments);
        try {
            return tool == Tool.MQADMIN ? Mqadmin.run(namesrv, all) : Programs.admin(namesrv, all);
        } catch (IllegalStateException | AssertionError e) {
            return "FAILED " + e.getMessage();
        }
    }

    /** What mqadmin printed; it must succeed. */
    String mqadmin(String... arguments) {
        return Mqadmin.run(namesrv, filled(Tool.MQADMIN, arguments));
    }

    /** BROKER, CLIENT and the ids of messages are this system's; what a tool changes has TOOL in its name. */
    private String[] filled(Tool tool, String... arguments) {
        String[] all = arguments.clone();
        for (int i = 0; i < all.length; i++) {
            all[i] = all[i].replace("BROKER", broker).replace("TOOL", tool.name().toLowerCase());
            if (all[i].startsWith("UNIQUE")) {
                all[i] = sent.get(Integer.parseInt(all[i].substring(6))).getMsgId();
            } else if (all[i].startsWith("OFFSETID")) {
                all[i] = sent.get(Integer.parseInt(all[i].substring(8))).getOffsetMsgId();
            } else if (all[i].equals("CLIENT")) {
                all[i] = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
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
        for (Tool tool : Tool.values()) {
            plain = plain.replace("-" + tool.name().toLowerCase(), "-TOOL");
        }
        plain = plain.replaceAll("\\b1[78]\\d{11}\\b", "MS")
                .replaceAll("\\b20\\d{15}\\b", "TIME")
                .replaceAll("(CommitLog Offset: *|commitLogOffset=|physicOffset=)\\d+", "$1POSITION")
                .replaceAll("\\b[0-9A-F]{32,60}\\b", "ID")
                .replaceAll("(@UNIQUE\\d+@|@ID@)\\d+", "$1POSITION")
                .replaceAll("20\\d\\d-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d(,\\d{3})?", "TIME")
                .replaceAll("/?127\\.0\\.0\\.1:\\d+", "CLIENT")
                .replaceAll("[0-9a-f:]*[:.][0-9a-f.:]+@[-0-9A-Za-z#]+", "CLIENTID")
                .replaceAll("\\b\\d+\\.\\d+(E-?\\d+)?\\b", "RATE");
        return plain.lines().map(line -> line.replaceAll("\\s+", " ").trim()).filter(line -> !line.isEmpty())
                // What came in a day Apache's broker knows from its next look at its counters on.
                .map(line -> line.replaceAll("RATE RATE \\d+ \\d+$", "RATE RATE DAY DAY"))
                // Where `kerolox admin` prints a body, mqadmin writes it to a file.
                .filter(line -> !line.startsWith("Message Body"))
                .map(Side::propertiesSorted).sorted().collect(Collectors.joining("\n"));
    }

    /** Java prints maps in the order of hashes. */
    private static String propertiesSorted(String line) {
        return Pattern.compile("\\{([^{}]*)\\}").matcher(line).replaceAll(found -> Matcher.quoteReplacement("{"
                + Stream.of(found.group(1).split(", ")).sorted().collect(Collectors.joining(", ")) + "}"));
    }

    /** The same on both: topics, groups, messages with and without keys and traces, a consumer that stays. */
    void fill() throws Exception {
        Programs.until("the broker", LIMIT, () -> mqadmin("clusterList").contains(broker));
        mqadmin("updateTopic", "-b", "BROKER", "-t", "orders", "-r", "2", "-w", "2");
        mqadmin("updateTopic", "-c", CLUSTER, "-t", "audit", "-r", "4", "-w", "3", "-p", "4", "-a", "+message.type=NORMAL");
        mqadmin("updateTopic", "-b", "BROKER", "-t", "traced", "-r", "1", "-w", "1");
        mqadmin("updateTopic", "-b", "BROKER", "-t", TRACES, "-r", "1", "-w", "1");
        mqadmin("updateSubGroup", "-b", "BROKER", "-g", "group-a", "-r", "3", "-q", "1");
        mqadmin("updateKvConfig", "-s", "NS", "-k", "key", "-v", "value");
        mqadmin("updateOrderConf", "-t", "audit", "-m", "put", "-v", "broker-a:2");
        for (String topic : new String[] {"orders", "audit", "traced", TRACES}) {
            awaitRoute(topic);
        }
        producer = started(new DefaultMQProducer("group-p"));
        for (int i = 0; i < 10; i++) {
            Message message = new Message("orders", i % 2 == 0 ? "even" : "odd", "key-" + i, ("body-" + i).getBytes(StandardCharsets.UTF_8));
            sent.add(producer.send(message, new MessageQueue("orders", "broker-a", i % 2)));
        }
        AtomicInteger received = new AtomicInteger();
        consumer = started(new DefaultMQPushConsumer("group-a"), "orders", received);
        Programs.until("all is consumed", LIMIT, () -> received.get() == 10);
        Programs.until("the offsets are stored", LIMIT, () -> mqadmin("consumerProgress", "-g", "group-a").contains("Diff Total: 0"));
        trace();
    }

    private static final String TRACES = "traces";

    /** A message whose way clients note, for `queryMsgTraceById`. */
    private void trace() throws Exception {
        DefaultMQProducer traced = started(new DefaultMQProducer("group-t", true, TRACES));
        AtomicInteger received = new AtomicInteger();
        DefaultMQPushConsumer consumer = started(new DefaultMQPushConsumer("group-t", true, TRACES), "traced", received);
        try {
            sent.add(traced.send(new Message("traced", "tag", "key", "a body".getBytes(StandardCharsets.UTF_8))));
            Programs.until("it is consumed", LIMIT, () -> received.get() == 1);
            // They send what they noted a little later; what is noted while they end may be lost.
            Programs.until("the traces", LIMIT, () -> {
                String found = run(Tool.MQADMIN, "queryMsgTraceById", "-i", "UNIQUE10", "-t", TRACES);
                return found.contains("Pub ") && found.contains("Sub ");
            });
        } finally {
            traced.shutdown();
            consumer.shutdown();
        }
    }

    void awaitRoute(String topic) {
        Programs.until("the route of " + topic, LIMIT, () -> !mqadmin("topicRoute", "-t", topic).isEmpty());
    }

    private DefaultMQProducer started(DefaultMQProducer producer) throws Exception {
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(producer.getProducerGroup() + namesrv.hashCode());
        producer.setSendMsgTimeout(20_000);
        producer.start();
        return producer;
    }

    private DefaultMQPushConsumer started(DefaultMQPushConsumer consumer, String topic, AtomicInteger received) throws Exception {
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("c" + consumer.getConsumerGroup() + namesrv.hashCode());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, topic.equals("orders") ? "even || odd" : "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    @Override
    public void close() {
        if (producer != null) {
            producer.shutdown();
        }
        if (consumer != null) {
            consumer.shutdown();
        }
    }
}
