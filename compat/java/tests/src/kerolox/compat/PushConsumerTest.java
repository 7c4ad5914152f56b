package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class PushConsumerTest extends CompatTest {
    @Test
    void consumesAllFromTheFirstOffset() throws Exception {
        String topic = topic(8);
        DefaultMQProducer producer = producer();
        List<String> before = names("before", 500);
        send(producer, topic, before);

        Sink sink = new Sink();
        consume(unique("group"), topic, "*", sink);
        sink.awaitExactly(before);
        List<String> after = names("after", 100);
        send(producer, topic, after);
        sink.awaitExactly(concat(before, after));
        assertEquals(8, sink.messages().stream().map(MessageExt::getQueueId).distinct().count());
    }

    @Test
    void messagesInBatches() throws Exception {
        String topic = topic(1);
        List<String> bodies = names("m", 100);
        send(producer(), topic, bodies);
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = pushConsumer(unique("group"), topic, "*");
        consumer.setConsumeMessageBatchMaxSize(32);
        consumer.registerMessageListener(sink);
        consumer.start();
        sink.awaitExactly(bodies);
    }

    @Test
    void tagFilter() throws Exception {
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        List<String> tags = List.of("A", "B", "C", "標籤");
        for (int i = 0; i < 80; i++) {
            String tag = tags.get(i % 4);
            assertSent(producer.send(message(topic, tag, "", tag + i / 4)));
        }
        assertSent(producer.send(message(topic, "no tag")));

        Sink both = new Sink();
        Sink unicode = new Sink();
        Sink none = new Sink();
        Sink all = new Sink();
        consume(unique("both"), topic, "A || B", both);
        consume(unique("unicode"), topic, "標籤", unicode);
        consume(unique("none"), topic, "D", none);
        consume(unique("all"), topic, "*", all);
        both.awaitAll(concat(names("A", 20), names("B", 20)));
        unicode.awaitExactly(names("標籤", 20));
        both.assertExactly(concat(names("A", 20), names("B", 20)));
        all.awaitAll(concat(names("C", 20), List.of("no tag")));
        assertEquals(81, all.size());
        none.assertExactly(List.of());

        // A later message with the tag still reaches the group that skipped all others.
        assertSent(producer.send(message(topic, "D", "", "late")));
        none.awaitExactly(List.of("late"));
    }

    @Test
    void eachGroupGetsAll() throws Exception {
        String topic = topic(4);
        List<String> bodies = names("m", 100);
        Sink first = new Sink();
        Sink second = new Sink();
        consume(unique("first"), topic, "*", first);
        consume(unique("second"), topic, "*", second);
        send(producer(), topic, bodies);
        first.awaitExactly(bodies);
        second.awaitExactly(bodies);
    }

    @Test
    void nextInstanceContinuesAtTheOffsetsOfTheGroup() throws Exception {
        String topic = topic(4);
        String group = unique("group");
        DefaultMQProducer producer = producer();
        Sink first = new Sink();
        List<String> old = names("old", 60);
        send(producer, topic, old);
        DefaultMQPushConsumer consumer = consume(group, topic, "*", first);
        first.awaitExactly(old);
        consumer.shutdown();

        List<String> fresh = names("fresh", 40);
        send(producer, topic, fresh);
        Sink second = new Sink();
        consume(group, topic, "*", second);
        second.awaitExactly(fresh);
        assertEquals(60, first.size());
    }

    /**
     * All messages since the time come. Those before it come too where the broker takes the first
     * message of a young topic as the start of all new groups, as Apache RocketMQ does.
     */
    @Test
    void consumesFromATimestamp() throws Exception {
        String topic = topic(2);
        DefaultMQProducer producer = producer();
        List<String> old = names("old", 20);
        send(producer, topic, old);
        long second = Instant.now().getEpochSecond() + 1;
        Await.until("the next second", () -> System.currentTimeMillis() > second * 1000);
        List<String> fresh = names("fresh", 20);
        send(producer, topic, fresh);

        DefaultMQPushConsumer consumer = pushConsumer(unique("group"), topic, "*");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
        consumer.setConsumeTimestamp(DateTimeFormatter.ofPattern("yyyyMMddHHmmss").format(
                LocalDateTime.ofInstant(Instant.ofEpochSecond(second), ZoneId.systemDefault())));
        Sink sink = new Sink();
        consumer.registerMessageListener(sink);
        consumer.start();
        sink.awaitAll(fresh);
        Await.pause(300);
        sink.assertExactly(sink.size() == fresh.size() ? fresh : concat(old, fresh));
    }

    /**
     * CONSUME_FROM_LAST_OFFSET, the default: a new group begins at the first message all the same
     * while the topic is so young that its first message is still at hand.
     */
    @Test
    void newGroupGetsAllOfAYoungTopic() throws Exception {
        String topic = topic(2);
        List<String> bodies = names("m", 20);
        send(producer(), topic, bodies);
        DefaultMQPushConsumer consumer = pushConsumer(unique("group"), topic, "*");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        Sink sink = new Sink();
        consumer.registerMessageListener(sink);
        consumer.start();
        sink.awaitExactly(bodies);
    }

    @Test
    void waitingPullIsAnsweredAtOnce() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        Sink sink = new Sink();
        consume(unique("group"), topic, "*", sink);
        send(producer, topic, List.of("first"));
        sink.awaitExactly(List.of("first"));
        for (int i = 1; i <= 4; i++) {
            Await.pause(500); // The pull after the last message is parked now.
            int count = i + 1;
            long sent = System.nanoTime();
            assertSent(producer.send(message(topic, "m" + i)));
            Await.until("message " + i, () -> sink.size() == count);
            long millis = (System.nanoTime() - sent) / 1_000_000;
            assertTrue(millis < 1000, "message " + i + " took " + millis + " ms");
        }
    }

    /** A pull with tags is woken only by its own tags. */
    @Test
    void waitingPullWithTagsIsAnsweredAtOnce() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        Sink sink = new Sink();
        consume(unique("group"), topic, "wanted", sink);
        assertSent(producer.send(message(topic, "wanted", "", "first")));
        sink.awaitExactly(List.of("first"));
        for (String tag : List.of("other", "other", "wanted")) {
            Await.pause(300);
            assertSent(producer.send(message(topic, tag, "", tag)));
        }
        long sent = System.nanoTime();
        sink.awaitAll(List.of("wanted"));
        assertTrue(System.nanoTime() - sent < 1_000_000_000L);
        sink.assertExactly(List.of("first", "wanted"));
    }

    @Test
    void suspendedConsumerGoesOn() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = consume(unique("group"), topic, "*", sink);
        send(producer, topic, List.of("first"));
        sink.awaitExactly(List.of("first"));
        consumer.suspend();
        Await.pause(200);
        consumer.resume();
        send(producer, topic, List.of("second"));
        sink.awaitExactly(List.of("first", "second"));
    }
}
