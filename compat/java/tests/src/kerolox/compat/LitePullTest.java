package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

class LitePullTest extends CompatTest {
    @Test
    void subscribePollCommit() throws Exception {
        String topic = topic(4);
        String group = unique("group");
        List<String> old = names("old", 50);
        send(producer(), topic, old);

        DefaultLitePullConsumer first = subscribed(group, topic);
        assertEquals(old, poll(first, 50));
        first.commitSync();
        first.shutdown();

        List<String> fresh = names("fresh", 30);
        send(producer(), topic, fresh);
        DefaultLitePullConsumer uncommitted = subscribed(group, topic);
        assertEquals(fresh, poll(uncommitted, 30));
        uncommitted.shutdown();

        DefaultLitePullConsumer second = subscribed(group, topic);
        assertEquals(fresh, poll(second, 30));
        second.commitSync();
        long committed = 0;
        for (MessageQueue queue : second.fetchMessageQueues(topic)) {
            committed += second.committed(queue);
        }
        assertEquals(80, committed);
    }

    @Test
    void autoCommit() throws Exception {
        String topic = topic(1);
        String group = unique("group");
        send(producer(), topic, names("m", 10));
        DefaultLitePullConsumer consumer = liteConsumer(group);
        consumer.setAutoCommit(true);
        consumer.setAutoCommitIntervalMillis(1000);
        consumer.subscribe(topic, "*");
        consumer.start();
        poll(consumer, 10);
        MessageQueue queue = consumer.fetchMessageQueues(topic).iterator().next();
        Await.until("the commit", () -> {
            consumer.poll(10);
            return consumer.committed(queue) == 10;
        });
    }

    @Test
    void tagsAreFiltered() throws Exception {
        String topic = topic(2);
        var producer = producer();
        for (int i = 0; i < 20; i++) {
            String tag = i % 2 == 0 ? "A" : "B";
            assertSent(producer.send(message(topic, tag, "", tag + i / 2)));
        }
        DefaultLitePullConsumer consumer = liteConsumer(unique("group"));
        consumer.subscribe(topic, "A");
        consumer.start();
        assertEquals(names("A", 10), poll(consumer, 10));
    }

    @Test
    void assignAndSeek() throws Exception {
        String topic = topic(1);
        var producer = producer();
        send(producer, topic, names("m", 10));
        DefaultLitePullConsumer consumer = liteConsumer(unique("group"));
        consumer.setAutoCommit(false);
        consumer.start();
        List<MessageQueue> queues = List.copyOf(consumer.fetchMessageQueues(topic));
        consumer.assign(queues);
        MessageQueue queue = queues.get(0);

        consumer.seek(queue, 5);
        assertEquals(names("m", 10).subList(5, 10), poll(consumer, 5));
        consumer.seekToBegin(queue);
        assertEquals(names("m", 10), poll(consumer, 10));
        consumer.seekToEnd(queue);
        send(producer, topic, List.of("last"));
        assertEquals(List.of("last"), poll(consumer, 1));
    }

    @Test
    void offsetForTimestamp() throws Exception {
        String topic = topic(1);
        var producer = producer();
        send(producer, topic, names("old", 4));
        long last = readAll(topic, 4).get(3).getStoreTimestamp();
        Await.until("the clock", () -> System.currentTimeMillis() > last + 5);
        long between = last + 3;
        send(producer, topic, names("new", 4));
        readAll(topic, 8);
        DefaultLitePullConsumer consumer = liteConsumer(unique("group"));
        consumer.start();
        MessageQueue queue = consumer.fetchMessageQueues(topic).iterator().next();
        assertEquals(4, consumer.offsetForTimestamp(queue, between));
        assertEquals(0, consumer.offsetForTimestamp(queue, 0L));
    }

    private DefaultLitePullConsumer subscribed(String group, String topic) throws Exception {
        DefaultLitePullConsumer consumer = liteConsumer(group);
        consumer.setAutoCommit(false);
        consumer.subscribe(topic, "*");
        consumer.start();
        return consumer;
    }

    /** Polls so many messages and nothing more; their bodies sorted by number. */
    private static List<String> poll(DefaultLitePullConsumer consumer, int count) {
        List<MessageExt> messages = new ArrayList<>();
        Await.until(count + " messages", () -> {
            messages.addAll(consumer.poll(100));
            return messages.size() >= count;
        });
        messages.addAll(consumer.poll(200));
        return Sink.bodies(messages).stream().sorted((a, b) ->
                a.length() == b.length() ? a.compareTo(b) : a.length() - b.length()).toList();
    }
}
