package kerolox.apache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import kerolox.apache.Programs.Program;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Brokers and name servers of both kinds side by side, with the Java client over all of them. */
class MixedClusterTest {
    private static final Duration LIMIT = Duration.ofSeconds(60);
    private final Programs programs = new Programs();

    @AfterEach
    void close() {
        programs.close();
    }

    @Test
    void keroloxBrokerWithApachesNameServer() throws Exception {
        Program names = programs.apacheNamesrv();
        Program broker = programs.kerolox("broker", "--set", "brokerName=k", "--set", "namesrvAddr=" + names.namesrv());
        createTopic(names.namesrv(), broker, "t", 4);
        assertEquals(Set.of("k"), exchange(names.namesrv(), "t", 100).keySet());
        assertTrue(Mqadmin.run(names.namesrv(), "clusterList").contains(broker.broker()));
        // A topic that a send makes, and one that is deleted.
        assertEquals(Set.of("k"), exchange(names.namesrv(), "made", 8).keySet());
        Mqadmin.run(names.namesrv(), "deleteTopic", "-c", "DefaultCluster", "-t", "t");
        until("the route of the deleted topic is gone", () -> brokersOf(names.namesrv(), "t").isEmpty());
        // It says so when it stops.
        broker.stop();
        until("the broker is gone", () -> brokersOf(names.namesrv(), "made").isEmpty());
    }

    @Test
    void apachesBrokerWithKeroloxNameServer() throws Exception {
        Program names = programs.kerolox("namesrv");
        Program broker = programs.apacheBroker("a", names.namesrv());
        createTopic(names.namesrv(), broker, "t", 4);
        assertEquals(Set.of("a"), exchange(names.namesrv(), "t", 100).keySet());
        assertEquals(Set.of("a"), exchange(names.namesrv(), "made", 8).keySet());
        Mqadmin.run(names.namesrv(), "wipeWritePerm", "-b", "a");
        assertTrue(Mqadmin.run(names.namesrv(), "topicRoute", "-t", "t").contains("\"perm\":4"));
        Mqadmin.run(names.namesrv(), "addWritePerm", "-b", "a");
        Mqadmin.run(names.namesrv(), "deleteTopic", "-c", "DefaultCluster", "-t", "t");
        until("the route of the deleted topic is gone", () -> brokersOf(names.namesrv(), "t").isEmpty());
        broker.stop();
        until("the broker is gone", () -> brokersOf(names.namesrv(), "made").isEmpty());
    }

    @Test
    void bothBrokersInOneClusterBehindBothNameServers() throws Exception {
        Program one = programs.apacheNamesrv();
        Program two = programs.kerolox("namesrv");
        String both = one.namesrv() + ";" + two.namesrv();
        Program kerolox = programs.kerolox("broker", "--set", "brokerName=k", "--set", "namesrvAddr=" + both);
        Program apache = programs.apacheBroker("a", both);
        for (Program broker : List.of(kerolox, apache)) {
            createTopic(both, broker, "t", 4);
        }
        for (Program names : List.of(one, two)) {
            until("both brokers are known", () -> brokersOf(names.namesrv(), "t").equals(Set.of("a", "k")));
        }
        Map<String, Set<Integer>> used = exchange(both, "t", 200);
        assertEquals(Map.of("a", Set.of(0, 1, 2, 3), "k", Set.of(0, 1, 2, 3)), used);
        String list = Mqadmin.run(both, "clusterList");
        assertTrue(list.contains(kerolox.broker()) && list.contains(apache.broker()), list);
        // One goes, the other one serves; it comes back by itself.
        kerolox.kill();
        until("the killed broker is gone", () -> brokersOf(one.namesrv(), "t").equals(Set.of("a"))
                && brokersOf(two.namesrv(), "t").equals(Set.of("a")));
        assertEquals(Set.of("a"), exchange(both, "t", 50).keySet());
    }

    @Test
    void aSenderFindsTheOtherBrokerWhileOneIsDown() throws Exception {
        Program names = programs.kerolox("namesrv");
        Program kerolox = programs.kerolox("broker", "--set", "brokerName=k", "--set", "namesrvAddr=" + names.namesrv());
        Program apache = programs.apacheBroker("a", names.namesrv());
        for (Program broker : List.of(kerolox, apache)) {
            createTopic(names.namesrv(), broker, "t", 2);
        }
        until("both brokers are known", () -> brokersOf(names.namesrv(), "t").equals(Set.of("a", "k")));
        DefaultMQProducer producer = producer(names.namesrv());
        producer.send(new Message("t", bytes("before")));
        apache.kill();
        for (int i = 0; i < 20; i++) {
            assertEquals(SendStatus.SEND_OK, producer.send(new Message("t", bytes("m" + i))).getSendStatus());
        }
        producer.shutdown();
    }

    private static void until(String what, java.util.concurrent.Callable<Boolean> condition) {
        Programs.until(what, LIMIT, condition);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void createTopic(String namesrv, Program broker, String topic, int queues) {
        Mqadmin.run(namesrv, "updateTopic", "-b", broker.broker(), "-t", topic, "-r", "" + queues, "-w", "" + queues);
        for (String one : namesrv.split(";")) {
            until("the route of " + topic, () -> !brokersOf(one, topic).isEmpty());
        }
    }

    /** The brokers that a name server knows for a topic. */
    private static Set<String> brokersOf(String namesrv, String topic) {
        Set<String> found = new TreeSet<>();
        String out = new String(runQuietly(namesrv, topic));
        var names = java.util.regex.Pattern.compile("\"brokerName\":\"([^\"]+)\",\"perm\"").matcher(out);
        while (names.find()) {
            found.add(names.group(1));
        }
        return found;
    }

    private static String runQuietly(String namesrv, String topic) {
        try {
            return Programs.admin(namesrv, "topicRoute", "-t", topic, "--json");
        } catch (AssertionError unknown) {
            return "";
        }
    }

    private static DefaultMQProducer producer(String namesrv) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("producers");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("p" + System.nanoTime());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        return producer;
    }

    /** Sends and receives; each message comes once. Gives the queues that were used, by broker. */
    private static Map<String, Set<Integer>> exchange(String namesrv, String topic, int count) throws Exception {
        String group = "g" + System.nanoTime();
        DefaultMQProducer producer = producer(namesrv);
        Map<String, Set<Integer>> used = new TreeMap<>();
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < count; i++) {
            String body = group + "-" + i;
            var result = producer.send(new Message(topic, "tag", "key" + i, bytes(body)));
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            MessageQueue queue = result.getMessageQueue();
            used.computeIfAbsent(queue.getBrokerName(), n -> new TreeSet<>()).add(queue.getQueueId());
            sent.add(body);
        }
        producer.shutdown();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("c" + System.nanoTime());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        Map<String, Integer> received = new ConcurrentHashMap<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(m -> received.merge(new String(m.getBody(), StandardCharsets.UTF_8), 1, Integer::sum));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        until("every message is received", () -> received.keySet().containsAll(sent));
        consumer.shutdown();
        assertTrue(sent.stream().allMatch(body -> received.get(body) == 1), "a message came twice");
        return used;
    }
}
