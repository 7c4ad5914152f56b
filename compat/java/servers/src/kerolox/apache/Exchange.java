package kerolox.apache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import kerolox.apache.Programs.Program;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One data directory, in turns Apache's broker's and Kerolox's. Each of them adds topics, groups, messages, delayed
 * messages and commits, and must find all that was there before.
 */
final class Exchange {
    private static final Duration LIMIT = Duration.ofSeconds(60);
    private static final String BROKER = "x";
    private static final int FILE_BYTES = 1 << 20;
    /** A topic whose only queue loses all its messages with the first files of the log. */
    private static final String EARLY = "early";
    private static final int EARLY_MESSAGES = 5;
    /** A topic that each step deletes and makes anew. */
    private static final String AGAIN = "again";
    private static final String LATER = "later";
    /** A topic that 5.5.0 compacts: consumers read it from files of its own. */
    private static final String COMPACT = "compact";
    private static final List<String> SETTINGS =
            List.of("mappedFileSizeCommitLog=" + FILE_BYTES, "maxMessageSize=262144", "fileReservedTime=10000");

    /** How a step ends. */
    enum End {
        STOP,
        KILL
    }

    private final Programs programs;
    private final String namesrv;
    private final Path dir;
    private final List<String> javaSettings;
    private final Random random = new Random();
    /** Bodies by topic and queue, in order. */
    private final Map<String, Map<Integer, List<String>>> stored = new TreeMap<>();
    /** One unique key a step, with its topic. */
    private final Map<String, String> keys = new TreeMap<>();
    private final Set<String> delayed = new HashSet<>();
    /** What a group may have committed in queue 0 of a topic: a broker that is killed may forget the last one. */
    private final Map<String, Set<Long>> committed = new TreeMap<>();
    /** Apache's broker keeps its tables and queues in RocksDB. */
    private final boolean databases;
    private int step;

    Exchange(Programs programs, boolean databases, String... javaSettings) {
        this.databases = databases;
        this.programs = programs;
        this.namesrv = programs.kerolox("namesrv").namesrv();
        this.dir = programs.newDir();
        this.javaSettings = new ArrayList<>(SETTINGS);
        this.javaSettings.addAll(List.of(javaSettings));
        this.javaSettings.add("flushConsumerOffsetInterval=500");
    }

    /** Apache's broker has the directory for a while. `ballast`: MiB that it stores before all else. */
    void java(End end, int ballast) throws Exception {
        if (step > 0) {
            killed(programs.apacheBrokerStarting(dir, BROKER, namesrv, lines()), 4000);
        }
        Program broker = programs.apacheBrokerOn(dir, BROKER, namesrv, lines());
        use(broker, ballast);
        end(broker, end);
        if (end == End.KILL) {
            // Where no offset is known a new group begins with the first message.
            committed.values().forEach(offsets -> offsets.add(0L));
        }
    }

    /** Kerolox has it. `retain`: bytes of the log that are kept. */
    void kerolox(End end, int retain) throws Exception {
        killed(programs.keroloxStarting(dir, "broker", keroloxArguments(retain)), 150);
        Program broker = programs.keroloxOn(dir, "broker", keroloxArguments(retain));
        use(broker, 0);
        end(broker, end);
        if (end == End.KILL) {
            refusesApache();
            programs.keroloxOn(dir, "broker", keroloxArguments(retain)).stop();
        }
    }

    /** What Kerolox has not handed over Apache's broker does not touch. */
    private void refusesApache() throws Exception {
        Process process = programs.apacheBrokerStarting(dir, BROKER, namesrv, lines());
        assertTrue(process.waitFor(60, TimeUnit.SECONDS), "Apache's broker runs on a directory that is not its own");
        assertNotEquals(0, process.exitValue());
    }

    private String[] lines() {
        return javaSettings.toArray(String[]::new);
    }

    private String[] keroloxArguments(int retain) {
        List<String> arguments = new ArrayList<>();
        List<String> settings = new ArrayList<>(SETTINGS);
        settings.addAll(List.of("brokerName=" + BROKER, "namesrvAddr=" + namesrv));
        if (retain > 0) {
            settings.add("kerolox.retention.bytes=" + retain);
        }
        settings.forEach(setting -> arguments.addAll(List.of("--set", setting)));
        return arguments.toArray(String[]::new);
    }

    /** kill -9 in the middle of a start. */
    private void killed(Process process, int withinMillis) throws InterruptedException {
        Programs.pause(1 + random.nextInt(withinMillis));
        process.destroyForcibly();
        assertTrue(process.waitFor(20, TimeUnit.SECONDS));
    }

    private static void end(Program broker, End end) {
        if (end == End.KILL) {
            broker.kill();
        } else {
            broker.stop();
        }
    }

    private void use(Program broker, int ballast) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("producers");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("p" + step);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("look");
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("c" + step);
        consumer.start();
        try {
            if (step > 0) {
                check(broker, consumer, producer);
            } else {
                early(broker, producer, ballast);
            }
            add(broker, consumer, producer);
        } finally {
            producer.shutdown();
            consumer.shutdown();
        }
        step++;
    }

    private void early(Program broker, DefaultMQProducer producer, int ballast) throws Exception {
        topic(broker, EARLY, 1);
        topic(broker, "ballast", 1);
        for (int i = 0; i < EARLY_MESSAGES; i++) {
            send(producer, EARLY, 0, "early " + i);
        }
        byte[] large = new byte[200_000];
        // What can be compressed is.
        random.nextBytes(large);
        for (int i = 0; i < ballast * 5; i++) {
            producer.send(new Message("ballast", large), queue("ballast", 0));
        }
    }

    private void check(Program broker, DefaultMQPullConsumer consumer, DefaultMQProducer producer) throws Exception {
        for (String topic : stored.keySet()) {
            until("the route of " + topic, () -> consumer.fetchSubscribeMessageQueues(topic).size()
                    == stored.get(topic).size());
        }
        MessageQueue early = queue(EARLY, 0);
        if (step == 1) {
            Programs.admin(namesrv, "deleteExpiredCommitLog", "-b", broker.broker());
            until("retention took the first messages", () -> consumer.minOffset(early) == EARLY_MESSAGES);
            stored.get(EARLY).put(0, new ArrayList<>());
        }
        for (var topic : stored.entrySet()) {
            for (var queue : topic.getValue().entrySet()) {
                MessageQueue at = queue(topic.getKey(), queue.getKey());
                long first = topic.getKey().equals(EARLY) ? EARLY_MESSAGES : 0;
                assertEquals(first + queue.getValue().size(), consumer.maxOffset(at), at + " in step " + step);
                assertEquals(queue.getValue(), pulled(consumer, at, first), at + " in step " + step);
            }
        }
        for (var commit : committed.entrySet()) {
            String[] at = commit.getKey().split(" ");
            long offset = offsets(at[0]).fetch(queue(at[1], 0));
            assertTrue(commit.getValue().contains(offset), commit + " is " + offset + " in step " + step);
            commit.setValue(new HashSet<>(Set.of(offset)));
        }
        for (int i = 0; i < step; i++) {
            String config = Programs.admin(namesrv, "getConsumerConfig", "-g", "g" + i, "--json");
            assertTrue(config.replace(" ", "").contains("\"retryMaxTimes\":" + (20 + i)), config);
        }
        for (var key : keys.entrySet()) {
            until(key + " is found", () -> consumer.viewMessage(key.getValue(), key.getKey()) != null);
        }
        until("the delayed messages of before are there", () -> bodies(consumer, LATER).containsAll(delayed));
    }

    private void add(Program broker, DefaultMQPullConsumer consumer, DefaultMQProducer producer) throws Exception {
        String own = "t" + step;
        topic(broker, own, 3);
        if (step == 0) {
            topic(broker, LATER, 1);
        }
        Programs.admin(namesrv, "updateSubGroup", "-b", broker.broker(), "-g", "g" + step, "-r", "" + (20 + step));
        // With databases 5.5.0 compacts none, and may show the messages of the earlier topic of a name.
        if (!databases) {
            compacted(broker, consumer, producer);
            again(broker, producer);
        }
        // Two brokers take it over while it is empty.
        if (step > 1) {
            send(producer, EARLY, 0, "early, in step " + step);
        }
        for (int of = 0; of <= step; of++) {
            for (int i = 0; i < 9; i++) {
                SendResult sent = send(producer, "t" + of, i % 3, "of " + step + " " + i);
                if (of == step && i == 0) {
                    keys.put(sent.getMsgId(), own);
                }
            }
            commit("g" + of, "t" + of, stored.get("t" + of).get(0).size() - 1);
        }
        // One is delivered here, one by whoever comes next.
        delay(producer, "soon " + step, 1);
        until("a delayed message is there", () -> bodies(consumer, LATER).contains("soon " + step));
        delay(producer, "late " + step, 3);
    }

    private void again(Program broker, DefaultMQProducer producer) throws Exception {
        if (step > 0) {
            Programs.admin(namesrv, "deleteTopic", "-c", "DefaultCluster", "-t", AGAIN);
            stored.remove(AGAIN);
        }
        topic(broker, AGAIN, 1);
        for (int i = 0; i <= step + 2; i++) {
            send(producer, AGAIN, 0, "again " + step + " " + i);
        }
    }

    private void compacted(Program broker, DefaultMQPullConsumer consumer, DefaultMQProducer producer) throws Exception {
        if (step == 0) {
            topic(broker, COMPACT, 1, "-a", "+cleanup.policy=COMPACTION");
        }
        for (int i = 0; i < 3; i++) {
            send(producer, COMPACT, 0, "compact " + step + " " + i);
        }
        MessageQueue queue = queue(COMPACT, 0);
        until("the messages of " + queue, () -> pulled(consumer, queue, 0).equals(stored.get(COMPACT).get(0)));
    }

    private void delay(DefaultMQProducer producer, String body, int level) throws Exception {
        Message message = new Message(LATER, bytes(body));
        message.setDelayTimeLevel(level);
        assertEquals(SendStatus.SEND_OK, producer.send(message).getSendStatus());
        delayed.add(body);
    }

    private SendResult send(DefaultMQProducer producer, String topic, int queue, String body) throws Exception {
        SendResult sent = producer.send(new Message(topic, "tag", "key", bytes(body)), queue(topic, queue));
        assertEquals(SendStatus.SEND_OK, sent.getSendStatus());
        List<String> bodies = stored.get(topic).computeIfAbsent(queue, n -> new ArrayList<>());
        long first = topic.equals(EARLY) && step > 0 ? EARLY_MESSAGES : 0;
        assertEquals(first + bodies.size(), sent.getQueueOffset(), topic + " in step " + step);
        bodies.add(body);
        return sent;
    }

    private void topic(Program broker, String topic, int queues, String... more) {
        List<String> arguments = new ArrayList<>(
                List.of("updateTopic", "-b", broker.broker(), "-t", topic, "-r", "" + queues, "-w", "" + queues));
        arguments.addAll(List.of(more));
        Programs.admin(namesrv, arguments.toArray(String[]::new));
        if (!topic.equals("ballast") && !topic.equals(LATER)) {
            Map<Integer, List<String>> bodies = new TreeMap<>();
            for (int queue = 0; queue < queues; queue++) {
                bodies.put(queue, new ArrayList<>());
            }
            stored.put(topic, bodies);
        }
        until("the route of " + topic, () -> isKnown(topic));
    }

    private boolean isKnown(String topic) {
        try {
            return Programs.admin(namesrv, "topicRoute", "-t", topic, "--json").contains(BROKER);
        } catch (AssertionError unknown) {
            return false;
        }
    }

    private void commit(String group, String topic, long offset) throws Exception {
        offsets(group).commit(queue(topic, 0), offset);
        Set<Long> may = committed.computeIfAbsent(group + " " + topic, n -> new HashSet<>());
        may.add(offset);
    }

    /** A member of a group, for its offsets. */
    private Offsets offsets(String group) {
        return new Offsets(group);
    }

    private final class Offsets {
        private final DefaultMQPullConsumer member;

        Offsets(String group) {
            member = new DefaultMQPullConsumer(group);
            member.setNamesrvAddr(namesrv);
            member.setInstanceName(group + System.nanoTime());
        }

        long fetch(MessageQueue queue) throws Exception {
            member.start();
            try {
                member.fetchSubscribeMessageQueues(queue.getTopic());
                return member.fetchConsumeOffset(queue, true);
            } finally {
                member.shutdown();
            }
        }

        void commit(MessageQueue queue, long offset) throws Exception {
            member.start();
            try {
                member.fetchSubscribeMessageQueues(queue.getTopic());
                member.getDefaultMQPullConsumerImpl().getOffsetStore().updateConsumeOffsetToBroker(queue, offset, false);
            } finally {
                member.shutdown();
            }
        }
    }

    private static Set<String> bodies(DefaultMQPullConsumer consumer, String topic) throws Exception {
        consumer.fetchSubscribeMessageQueues(topic);
        return new HashSet<>(pulled(consumer, queue(topic, 0), 0));
    }

    private static List<String> pulled(DefaultMQPullConsumer consumer, MessageQueue queue, long from) throws Exception {
        List<String> bodies = new ArrayList<>();
        long next = from;
        while (true) {
            PullResult result = consumer.pull(queue, "*", next, 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                return bodies;
            }
            for (var message : result.getMsgFoundList()) {
                assertEquals(next++, message.getQueueOffset(), queue.toString());
                bodies.add(new String(message.getBody(), StandardCharsets.UTF_8));
            }
        }
    }

    private static MessageQueue queue(String topic, int queue) {
        return new MessageQueue(topic, BROKER, queue);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void until(String what, java.util.concurrent.Callable<Boolean> condition) {
        Programs.until(what, LIMIT, condition);
    }
}
