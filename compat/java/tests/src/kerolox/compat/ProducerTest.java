package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.LongStream;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

class ProducerTest extends CompatTest {
    private static final int MAX_BODY = 4 * 1024 * 1024;

    @Test
    void syncSendTellsWhereTheMessageIs() throws Exception {
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        Map<MessageQueue, List<Long>> offsets = new HashMap<>();
        Set<String> ids = new HashSet<>();
        Map<String, String> bodyById = new HashMap<>();
        InetSocketAddress broker = addressOf(brokerAddr());
        for (String body : names("m", 40)) {
            SendResult result = assertSent(producer.send(message(topic, body)));
            assertEquals(topic, result.getMessageQueue().getTopic());
            // 16 bytes in hex, 28 where the client's own address is one of IPv6.
            assertTrue(Set.of(32, 56).contains(result.getMsgId().length()), result.getMsgId());
            var id = MessageDecoder.decodeMessageId(result.getOffsetMsgId());
            assertEquals(broker, id.getAddress());
            assertTrue(ids.add(result.getMsgId()) && ids.add(result.getOffsetMsgId()));
            bodyById.put(result.getMsgId(), body);
            offsets.computeIfAbsent(result.getMessageQueue(), q -> new ArrayList<>())
                    .add(result.getQueueOffset());
        }
        assertEquals(4, offsets.size());
        offsets.forEach((queue, list) -> assertEquals(upTo(list.size()), list));

        for (MessageExt found : readAll(topic, 40)) {
            assertEquals(bodyById.remove(found.getMsgId()), Sink.body(found));
            assertTrue(ids.contains(((MessageClientExt) found).getOffsetMsgId()));
        }
    }

    @Test
    void asyncSendCallsBackForEachMessage() throws Exception {
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        var results = new ConcurrentLinkedQueue<SendResult>();
        var failures = new ConcurrentLinkedQueue<Throwable>();
        List<String> bodies = names("async", 200);
        for (String body : bodies) {
            producer.send(message(topic, body), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    results.add(result);
                }

                @Override
                public void onException(Throwable e) {
                    failures.add(e);
                }
            });
        }
        Await.until("all callbacks", () -> results.size() + failures.size() == 200);
        assertEquals(List.of(), List.copyOf(failures));
        Map<Integer, List<Long>> offsets = new TreeMap<>();
        for (SendResult result : results) {
            assertSent(result);
            offsets.computeIfAbsent(result.getMessageQueue().getQueueId(), q -> new ArrayList<>())
                    .add(result.getQueueOffset());
        }
        offsets.forEach((queue, list) ->
                assertEquals(upTo(list.size()), list.stream().sorted().toList()));
        assertEquals(bodies.stream().sorted().toList(),
                Sink.bodies(readAll(topic, 200)).stream().sorted().toList());
    }

    @Test
    void onewaySendArrives() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        List<String> bodies = names("oneway", 50);
        for (String body : bodies) {
            producer.sendOneway(message(topic, body));
        }
        assertEquals(new HashSet<>(bodies), new HashSet<>(Sink.bodies(readAll(topic, 50))));
    }

    @Test
    void batchIsManyMessages() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        for (int round = 0; round < 2; round++) {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                Message message =
                        message(topic, "tag" + i, "key" + round + i, "batch" + round + i);
                message.putUserProperty("number", "" + i);
                batch.add(message);
            }
            SendResult result = assertSent(producer.send(batch));
            assertEquals(round * 10, result.getQueueOffset());
            String[] ids = result.getMsgId().split(",");
            String[] offsetIds = result.getOffsetMsgId().split(",");
            assertEquals(10, new HashSet<>(Arrays.asList(ids)).size());
            assertEquals(10, new HashSet<>(Arrays.asList(offsetIds)).size());

            List<MessageExt> found = readAll(topic, (round + 1) * 10).subList(round * 10,
                    (round + 1) * 10);
            for (int i = 0; i < 10; i++) {
                MessageExt message = found.get(i);
                assertEquals(round * 10 + i, message.getQueueOffset());
                assertEquals("batch" + round + i, Sink.body(message));
                assertEquals("tag" + i, message.getTags());
                assertEquals("key" + round + i, message.getKeys());
                assertEquals("" + i, message.getUserProperty("number"));
                assertEquals(ids[i], message.getMsgId());
                MessageExt viewed = producer.viewMessage(topic, offsetIds[i]);
                assertEquals("batch" + round + i, Sink.body(viewed));
            }
        }
    }

    @Test
    void selectorChoosesTheQueue() throws Exception {
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        for (int i = 0; i < 16; i++) {
            SendResult result = assertSent(producer.send(message(topic, "s" + i),
                    (queues, m, arg) -> queues.get((Integer) arg % queues.size()), i));
            assertEquals(i % 4, result.getMessageQueue().getQueueId());
            assertEquals(i / 4, result.getQueueOffset());
        }
        for (MessageExt found : readAll(topic, 16)) {
            int i = Integer.parseInt(Sink.body(found).substring(1));
            assertEquals(i % 4, found.getQueueId());
            assertEquals(i / 4, found.getQueueOffset());
        }
    }

    @Test
    void givenQueueGetsTheMessage() throws Exception {
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            SendResult result = assertSent(
                    producer.send(message(topic, "to " + queue.getQueueId()), queue));
            assertEquals(queue, result.getMessageQueue());
            assertEquals(0, result.getQueueOffset());
        }
        assertEquals(List.of("to 0", "to 1", "to 2", "to 3"), Sink.bodies(readAll(topic, 4)));
    }

    @Test
    void bodyOfFourMebibytes() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        byte[] body = randomBytes(MAX_BODY);
        assertSent(producer.send(new Message(topic, body)));
        assertArrayEquals(body, readAll(topic, 1).get(0).getBody());
    }

    @Test
    void largerBodyIsRefused() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        Message message = new Message(topic, randomBytes(MAX_BODY + 1));
        var byClient = assertThrows(MQClientException.class, () -> producer.send(message));
        assertEquals(13, byClient.getResponseCode());

        producer.setMaxMessageSize(2 * MAX_BODY);
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        var byBroker = assertThrows(MQBrokerException.class, () -> producer.send(message, queue));
        assertEquals(13, byBroker.getResponseCode(), byBroker.getErrorMessage());
        assertEquals(0, readAll(topic).size());
    }

    @Test
    void compressedBodyArrivesEqual() throws Exception {
        String topic = topic(1);
        byte[] body = "all work and no play makes Jack a dull boy. ".repeat(4000).getBytes();
        assertSent(producer().send(new Message(topic, body)));
        MessageExt found = readAll(topic, 1).get(0);
        assertArrayEquals(body, found.getBody());
        assertTrue(found.getStoreSize() < body.length / 10, "stored " + found.getStoreSize());
        assertNotEquals(0, found.getBodyCRC());
    }

    @Test
    void tagsKeysAndPropertiesAreKept() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        Message plain = message(topic, "plain");
        Message emptyTags = message(topic, "", "", "empty tags");
        Message unicode = message(topic, "標籤", "ключ 鍵🔑", "тело 🚀");
        unicode.putUserProperty("имя", "значение 🎈");
        unicode.putUserProperty("sign", "a=b;c&d\\\"e\"");
        unicode.setFlag(77);
        for (Message message : List.of(plain, emptyTags, unicode)) {
            assertSent(producer.send(message));
        }

        List<MessageExt> found = readAll(topic, 3);
        assertNull(found.get(0).getTags());
        assertNull(found.get(0).getKeys());
        assertEquals("", found.get(1).getTags() == null ? "" : found.get(1).getTags());
        MessageExt kept = found.get(2);
        assertEquals("標籤", kept.getTags());
        assertEquals("ключ 鍵🔑", kept.getKeys());
        assertEquals("тело 🚀", Sink.body(kept));
        assertEquals("значение 🎈", kept.getUserProperty("имя"));
        assertEquals("a=b;c&d\\\"e\"", kept.getUserProperty("sign"));
        assertEquals(77, kept.getFlag());
        assertEquals(topic, kept.getTopic());
        assertTrue(kept.getBornTimestamp() <= kept.getStoreTimestamp());
        assertEquals(addressOf(brokerAddr()), kept.getStoreHost());
    }

    @Test
    void unknownTopicIsCreated() throws Exception {
        String topic = unique("auto");
        DefaultMQProducer producer = producer();
        List<String> bodies = names("auto", 8);
        send(producer, topic, bodies);
        awaitRoute(topic);
        var queues = admin().examineTopicRouteInfo(topic).getQueueDatas();
        assertEquals(1, queues.size());
        assertEquals(4, queues.get(0).getReadQueueNums());
        assertEquals(4, queues.get(0).getWriteQueueNums());
        assertEquals(READ_WRITE, queues.get(0).getPerm());
        assertEquals(bodies, Sink.bodies(readAll(topic, 8)).stream().sorted().toList());
    }

    private static InetSocketAddress addressOf(String hostPort) {
        String[] parts = hostPort.split(":");
        return new InetSocketAddress(parts[0], Integer.parseInt(parts[1]));
    }

    private static List<Long> upTo(int count) {
        return LongStream.range(0, count).boxed().toList();
    }

    private static byte[] randomBytes(int length) {
        byte[] bytes = new byte[length];
        new Random(length).nextBytes(bytes);
        return bytes;
    }
}
