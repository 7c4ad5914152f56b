package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class RetryTest extends CompatTest {
    private record Attempt(
            int times, long millis, String topic, String tags, String keys, String color,
            String body, String id) {}

    private final List<Attempt> attempts = Collections.synchronizedList(new ArrayList<>());

    @Test
    void refusedMessageComesAgain() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        DefaultMQPushConsumer consumer = retrying(group, topic, 2);
        consumer.start();
        findRetryTopic(consumer);
        SendResult sent = assertSent(producer().send(colored(topic)));

        Await.until("three attempts", () -> attempts.size() == 3);
        Await.pause(1500); // No fourth attempt.
        assertEquals(3, attempts.size());
        for (int i = 0; i < 3; i++) {
            Attempt attempt = attempts.get(i);
            assertEquals(new Attempt(i, attempt.millis, topic, "tag", "key", "red", "body",
                    sent.getMsgId()), attempt);
            if (i > 0) {
                long gap = attempt.millis - attempts.get(i - 1).millis;
                assertTrue(gap >= 950 && gap <= 4000, "came again after " + gap + " ms");
            }
        }
        assertEquals(0, readAll("%RETRY%" + group, 2).get(0).getQueueOffset());
    }

    @Test
    void othersAreNotHeldUp() throws Exception {
        String topic = topic(1);
        Sink sink = new Sink();
        Set<String> refused = Collections.synchronizedSet(new HashSet<>());
        DefaultMQPushConsumer consumer = pushConsumer(unique("group"), topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            String body = Sink.body(batch.get(0));
            if (Integer.parseInt(body) % 5 == 0 && refused.add(body)) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            sink.add(batch);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        findRetryTopic(consumer);
        List<String> bodies = names("", 50);
        send(producer(), topic, bodies);
        sink.awaitExactly(bodies);
        Set<String> again = sink.messages().stream().filter(m -> m.getReconsumeTimes() == 1)
                .map(Sink::body).collect(Collectors.toSet());
        assertEquals(refused, again);
        assertEquals(10, again.size());
    }

    @Test
    void refusedTooOftenGoesToTheDeadLetters() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        DefaultMQPushConsumer consumer = retrying(group, topic, Integer.MAX_VALUE);
        consumer.setMaxReconsumeTimes(2);
        consumer.start();
        findRetryTopic(consumer);
        SendResult sent = assertSent(producer().send(colored(topic)));

        Await.until("three attempts", () -> attempts.size() == 3);
        assertEquals(List.of(0, 1, 2), attempts.stream().map(Attempt::times).toList());
        awaitRoute("%DLQ%" + group);
        MessageExt dead = readAll("%DLQ%" + group, 1).get(0);
        assertEquals("body", Sink.body(dead));
        assertEquals("tag", dead.getTags());
        assertEquals("key", dead.getKeys());
        assertEquals("red", dead.getUserProperty("color"));
        assertEquals(topic, dead.getProperty("RETRY_TOPIC"));
        assertEquals(sent.getOffsetMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"));
        assertEquals(sent.getMsgId(), dead.getMsgId());
        assertEquals(0, dead.getQueueId());
        Await.pause(1500);
        assertEquals(3, attempts.size());
    }

    @Test
    void negativeDelayLevelIsTheDeadLettersAtOnce() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        DefaultMQPushConsumer consumer = pushConsumer(group, topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            record(batch.get(0));
            context.setDelayLevelWhenNextConsume(-1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        findRetryTopic(consumer);
        assertSent(producer().send(colored(topic)));
        awaitRoute("%DLQ%" + group);
        assertEquals(List.of("body"), Sink.bodies(readAll("%DLQ%" + group, 1)));
        assertEquals(1, attempts.size());
    }

    private static Message colored(String topic) {
        Message message = message(topic, "tag", "key", "body");
        message.putUserProperty("color", "red");
        return message;
    }

    private void record(MessageExt message) {
        attempts.add(new Attempt(message.getReconsumeTimes(), System.currentTimeMillis(),
                message.getTopic(), message.getTags(), message.getKeys(),
                message.getUserProperty("color"), Sink.body(message), message.getMsgId()));
    }

    /** Refuses a message so often; it is to come again after one second. */
    private DefaultMQPushConsumer retrying(String group, String topic, int refusals)
            throws Exception {
        DefaultMQPushConsumer consumer = pushConsumer(group, topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            record(batch.get(0));
            context.setDelayLevelWhenNextConsume(1);
            return batch.get(0).getReconsumeTimes() < refusals
                    ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                    : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return consumer;
    }
}
