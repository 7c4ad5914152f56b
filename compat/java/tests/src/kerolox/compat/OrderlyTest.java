package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class OrderlyTest extends CompatTest {
    private static final int KEYS = 8;

    @Test
    void orderByQueueAndByKey() throws Exception {
        String topic = topic(4);
        Sink sink = new Sink();
        Map<Integer, AtomicInteger> running = new ConcurrentHashMap<>();
        AtomicBoolean overlapped = new AtomicBoolean();
        consumeOrderly(unique("group"), topic, (batch, context) -> {
            AtomicInteger count = running.computeIfAbsent(
                    context.getMessageQueue().getQueueId(), q -> new AtomicInteger());
            if (count.incrementAndGet() != 1) {
                overlapped.set(true);
            }
            sink.add(batch);
            Thread.yield();
            count.decrementAndGet();
            return ConsumeOrderlyStatus.SUCCESS;
        });
        List<String> bodies = names("", 400);
        DefaultMQProducer producer = producer();
        for (String body : bodies) {
            sendByKey(producer, topic, body);
        }
        sink.awaitExactly(bodies);
        assertOrderByKey(sink);
        Map<Integer, Long> next = new HashMap<>();
        for (MessageExt message : sink.messages()) {
            long offset = next.merge(message.getQueueId(), 1L, Long::sum) - 1;
            assertEquals(offset, message.getQueueOffset());
        }
        assertEquals(Map.of(0, 100L, 1, 100L, 2, 100L, 3, 100L), next);
        assertTrue(!overlapped.get(), "a queue was consumed twice at a time");
    }

    @Test
    void suspendedQueueComesAgainInOrder() throws Exception {
        String topic = topic(1);
        Sink sink = new Sink();
        AtomicInteger refused = new AtomicInteger();
        consumeOrderly(unique("group"), topic, (batch, context) -> {
            if (Sink.body(batch.get(0)).equals("5") && refused.incrementAndGet() <= 2) {
                context.setSuspendCurrentQueueTimeMillis(100);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            sink.add(batch);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        List<String> bodies = names("", 10);
        send(producer(), topic, bodies);
        sink.awaitExactly(bodies);
        assertEquals(bodies, sink.bodies());
        assertEquals(3, refused.get());
    }

    @Test
    void otherConsumerTakesTheQueuesOver() throws Exception {
        String topic = topic(8);
        String group = unique("group");
        Sink firstSink = new Sink();
        Sink secondSink = new Sink();
        DefaultMQPushConsumer first = consumeOrderly(group, topic, firstSink.orderly());
        DefaultMQPushConsumer second = consumeOrderly(group, topic, secondSink.orderly());
        Await.until("four queues for each", () ->
                queuesOf(first, topic) == 4 && queuesOf(second, topic) == 4);

        DefaultMQProducer producer = producer();
        List<String> bodies = names("", 160);
        for (String body : bodies.subList(0, 80)) {
            sendByKey(producer, topic, body);
        }
        Await.until("the first half", () -> firstSink.size() + secondSink.size() == 80);
        assertEquals(40, firstSink.size());
        assertEquals(40, secondSink.size());
        first.shutdown();
        for (String body : bodies.subList(80, 160)) {
            sendByKey(producer, topic, body);
        }
        Await.until("the second half", () -> secondSink.size() == 120);
        assertEquals(8, queuesOf(second, topic));
        Sink all = new Sink();
        all.add(firstSink.messages());
        all.add(secondSink.messages());
        all.assertExactly(bodies);
        assertOrderByKey(all);
    }

    @Test
    void orderSurvivesACrashOfTheBroker() throws Exception {
        BROKER.assumeRestartable();
        String topic = topic(4);
        Sink sink = new Sink();
        consumeOrderly(unique("group"), topic, sink.orderly());
        DefaultMQProducer producer = producer();
        List<String> bodies = names("", 400);
        for (String body : bodies) {
            if (body.equals("200")) {
                BROKER.crashAndRestart();
            }
            // A send that failed may have been stored: the same message may come twice.
            Await.answer("an answer to the send of " + body, () -> {
                sendByKey(producer, topic, body);
                return true;
            });
        }
        // A 4.9 client may not notice that its connection is closed: its pull then lasts for 30 s.
        sink.awaitAll(bodies, Duration.ofSeconds(60));
        assertOrderByKey(sink);
    }

    private DefaultMQPushConsumer consumeOrderly(
            String group, String topic, MessageListenerOrderly listener) throws Exception {
        DefaultMQPushConsumer consumer = pushConsumer(group, topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    /** Bodies are numbers; the key is the remainder by KEYS. */
    private static void sendByKey(DefaultMQProducer producer, String topic, String body)
            throws Exception {
        Message message = message(topic, body);
        assertSent(producer.send(message,
                (queues, m, key) -> queues.get((Integer) key % queues.size()), keyOf(body)));
    }

    private static int keyOf(String body) {
        return Integer.parseInt(body) % KEYS;
    }

    /** The numbers of each key rise; one that came before may come again. */
    private static void assertOrderByKey(Sink sink) {
        Map<Integer, List<Integer>> byKey = new HashMap<>();
        for (String body : sink.bodies()) {
            List<Integer> seen = byKey.computeIfAbsent(keyOf(body), k -> new ArrayList<>());
            int number = Integer.parseInt(body);
            if (!seen.contains(number)) {
                seen.add(number);
            }
        }
        byKey.forEach((key, seen) -> assertEquals(seen.stream().sorted().toList(), seen));
        assertEquals(KEYS, byKey.size());
    }
}
