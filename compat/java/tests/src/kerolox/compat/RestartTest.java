package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class RestartTest extends CompatTest {
    @BeforeEach
    void assumeRestartable() {
        BROKER.assumeRestartable();
    }

    @Test
    void acknowledgedMessagesSurviveACrash() throws Exception {
        String topic = topic(4);
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = pushConsumer(unique("group"), topic, "*");
        consumer.registerMessageListener(sink);
        consumer.start();

        List<String> acknowledged = Collections.synchronizedList(new ArrayList<>());
        AtomicBoolean done = new AtomicBoolean();
        List<Thread> senders = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            DefaultMQProducer producer = producer();
            producer.setRetryTimesWhenSendFailed(0);
            String prefix = i + "-";
            Thread sender = new Thread(() -> {
                for (int n = 0; !done.get(); n++) {
                    try {
                        assertSent(producer.send(message(topic, prefix + n)));
                        acknowledged.add(prefix + n);
                    } catch (Exception e) {
                        Await.pause(20); // Not acknowledged.
                    }
                }
            });
            sender.start();
            senders.add(sender);
        }
        try {
            for (int crash = 1; crash <= 2; crash++) {
                int enough = acknowledged.size() + 300;
                Await.until("300 acknowledged sends", () -> acknowledged.size() >= enough);
                BROKER.crashAndRestart();
            }
            int enough = acknowledged.size() + 300;
            Await.until("300 more", () -> acknowledged.size() >= enough);
        } finally {
            done.set(true);
            for (Thread sender : senders) {
                sender.join(20_000);
            }
        }

        awaitRoute(topic);
        List<String> stored = Sink.bodies(readAll(topic));
        List<String> lost = new ArrayList<>(acknowledged);
        lost.removeAll(new HashSet<>(stored));
        assertEquals(List.of(), lost, "lost of " + acknowledged.size());
        assertEquals(stored.size(), new HashSet<>(stored).size(), "a message was stored twice");
        sink.awaitAll(acknowledged);
        // One send of each producer can have been stored but not answered at each crash.
        assertTrue(stored.size() <= acknowledged.size() + 3 * 2);
    }

    @Test
    void offsetsOfGroupsSurviveARestart() throws Exception {
        String topic = topic(4);
        String group = unique("group");
        send(producer(), topic, names("old", 50));
        Sink before = new Sink();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", before);
        before.awaitExactly(names("old", 50));
        consumer.shutdown();
        BROKER.stop();
        BROKER.start();

        awaitRoute(topic);
        assertEquals(50, readAll(topic).size());
        send(producer(), topic, names("fresh", 20));
        Sink after = new Sink();
        consume(group, topic, "*", after);
        after.awaitExactly(names("fresh", 20));
    }

    @Test
    void topicsAndGroupsSurviveACrash() throws Exception {
        String topic = topic(3);
        String group = unique("group");
        Compat.createGroup(admin(), brokerAddr(), group, 7);
        BROKER.crashAndRestart();
        awaitRoute(topic);
        var queues = admin().examineTopicRouteInfo(topic).getQueueDatas();
        assertEquals(3, queues.get(0).getWriteQueueNums());
        var config = admin().examineSubscriptionGroupConfig(brokerAddr(), group);
        assertEquals(7, config.getRetryMaxTimes());
    }
}
