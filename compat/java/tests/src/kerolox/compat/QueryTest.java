package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class QueryTest extends CompatTest {
    @Test
    void viewByOffsetId() throws Exception {
        String topic = topic(2);
        DefaultMQProducer producer = producer();
        Message message = message(topic, "tag", "one two", "body");
        message.putUserProperty("color", "red");
        SendResult sent = assertSent(producer.send(message));
        readAll(topic, 1);
        for (MessageExt found : List.of(
                producer.viewMessage(topic, sent.getOffsetMsgId()),
                Compat.viewByOffsetId(admin(), topic, sent.getOffsetMsgId()))) {
            assertEquals("body", Sink.body(found));
            assertEquals(topic, found.getTopic());
            assertEquals("tag", found.getTags());
            assertEquals("one two", found.getKeys());
            assertEquals("red", found.getUserProperty("color"));
            assertEquals(sent.getMsgId(), found.getMsgId());
            assertEquals(sent.getQueueOffset(), found.getQueueOffset());
            assertEquals(sent.getMessageQueue().getQueueId(), found.getQueueId());
        }
    }

    @Test
    void viewOfACompressedMessage() throws Exception {
        String topic = topic(1);
        byte[] body = "compress me ".repeat(1000).getBytes();
        DefaultMQProducer producer = producer();
        SendResult sent = assertSent(producer.send(new Message(topic, body)));
        assertArrayEquals(body, producer.viewMessage(topic, sent.getOffsetMsgId()).getBody());
    }

    @Test
    void viewByUniqueKey() throws Exception {
        String topic = topic(2);
        DefaultMQProducer producer = producer();
        SendResult sent = null;
        for (String body : names("m", 5)) {
            sent = assertSent(producer.send(message(topic, body)));
        }
        String id = sent.getMsgId();
        MessageExt found =
                Await.answer("the index", () -> producer.viewMessage(topic, id));
        assertEquals("m4", Sink.body(found));
        assertEquals(id, found.getMsgId());

        QueryResult result = Compat.queryByUniqueKey(admin(), clusterName(), topic, id);
        assertEquals(List.of("m4"), Sink.bodies(result.getMessageList()));
    }

    @Test
    void queryByKey() throws Exception {
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        for (int i = 0; i < 12; i++) {
            assertSent(producer.send(message(topic, "tag", "even" + i % 2 + " third" + i % 3,
                    "m" + (char) ('a' + i))));
        }
        assertSent(producer.send(message(topic, "", "ключ", "unicode")));
        long now = System.currentTimeMillis();
        assertFound(topic, "even0", now, "ma", "mc", "me", "mg", "mi", "mk");
        assertFound(topic, "third1", now, "mb", "me", "mh", "mk");
        assertFound(topic, "ключ", now, "unicode");

        assertEquals(208, codeOf(() ->
                admin().queryMessage(topic, "unknown", 32, now - 60_000, now + 60_000)));
        String other = topic(1);
        assertEquals(208, codeOf(() ->
                admin().queryMessage(other, "even0", 32, now - 60_000, now + 60_000)));
        assertEquals(208, codeOf(() ->
                admin().queryMessage(topic, "even0", 32, now - 120_000, now - 60_000)));
        assertEquals(3, admin().queryMessage(topic, "even0", 3, now - 60_000, now + 60_000)
                .getMessageList().size());
    }

    @Test
    void keysOfABatchAreIndexed() throws Exception {
        String topic = topic(1);
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            batch.add(message(topic, "", "key" + i, "m" + i));
        }
        assertSent(producer().send(batch));
        assertFound(topic, "key2", System.currentTimeMillis(), "m2");
    }

    @Test
    void unknownIdIsRefused() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        SendResult sent = assertSent(producer.send(message(topic, "m")));
        // The last 16 digits are the place in the log.
        String unknown = sent.getOffsetMsgId().substring(0, sent.getOffsetMsgId().length() - 16)
                + "00000FFFFFFFFFFF";
        assertEquals(Compat.UNKNOWN_OFFSET_ID,
                codeOf(() -> Compat.viewByOffsetId(admin(), topic, unknown)));
        assertEquals(208, codeOf(() ->
                producer.viewMessage(topic, "7F00000100002A139A9B3E5D00000000")));
    }

    private void assertFound(String topic, String key, long now, String... bodies) {
        Await.until(bodies.length + " messages with the key " + key, () -> {
            QueryResult result =
                    admin().queryMessage(topic, key, 32, now - 60_000, now + 60_000);
            return Sink.bodies(result.getMessageList()).stream().sorted().toList()
                    .equals(List.of(bodies));
        });
    }
}
