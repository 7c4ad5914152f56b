package kerolox.compat;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What the tests have in common: a broker for each class, and clients that end with the test. */
abstract class CompatTest {
    @RegisterExtension
    static final Broker BROKER = new Broker();

    static final int READ_WRITE = 6;

    private final Deque<Runnable> closers = new ArrayDeque<>();
    private DefaultMQAdminExt admin;
    private DefaultMQPullConsumer reader;

    /** Without waiting: the shutdown of a client takes up to three seconds. */
    @AfterEach
    void closeClients() {
        while (!closers.isEmpty()) {
            Thread thread = new Thread(closers.pop(), "shutdown");
            thread.setDaemon(true);
            thread.start();
        }
    }

    final void closeLater(Runnable closer) {
        closers.push(closer);
    }

    static String unique(String prefix) {
        return prefix + "_" + System.nanoTime();
    }

    /** prefix0, prefix1, ... */
    static List<String> names(String prefix, int count) {
        return IntStream.range(0, count).mapToObj(i -> prefix + i).toList();
    }

    static <T> List<T> concat(List<T> a, List<T> b) {
        List<T> both = new ArrayList<>(a);
        both.addAll(b);
        return both;
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(UTF_8));
    }

    static Message message(String topic, String tags, String keys, String body) {
        return new Message(topic, tags, keys, body.getBytes(UTF_8));
    }

    // Clients.

    final <T extends ClientConfig> T configured(T client) {
        client.setNamesrvAddr(BROKER.namesrv());
        client.setClientIP("127.0.0.1");
        return client;
    }

    final DefaultMQProducer producer() throws Exception {
        return started(new DefaultMQProducer(unique("producer")));
    }

    final <T extends DefaultMQProducer> T started(T producer) throws Exception {
        configured(producer);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        closeLater(producer::shutdown);
        return producer;
    }

    /** A consumer that is to be given a listener and started, and begins at the first message. */
    final DefaultMQPushConsumer pushConsumer(String group, String topic, String tags)
            throws Exception {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // The client can fail to tell the broker of its newest subscription when it starts, and
        // Apache RocketMQ refuses its pulls then until the next heartbeat.
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.subscribe(topic, tags);
        closeLater(consumer::shutdown);
        return consumer;
    }

    /** The same, started. */
    final DefaultMQPushConsumer consume(String group, String topic, String tags, Sink sink)
            throws Exception {
        DefaultMQPushConsumer consumer = pushConsumer(group, topic, tags);
        consumer.registerMessageListener(sink);
        consumer.start();
        return consumer;
    }

    final DefaultLitePullConsumer liteConsumer(String group) {
        DefaultLitePullConsumer consumer = configured(new DefaultLitePullConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        closeLater(consumer::shutdown);
        return consumer;
    }

    final DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = configured(new DefaultMQPullConsumer(group));
        consumer.start();
        closeLater(consumer::shutdown);
        return consumer;
    }

    final DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            admin = configured(new DefaultMQAdminExt(10_000));
            admin.setInstanceName(unique("admin"));
            admin.start();
            closeLater(admin::shutdown);
        }
        return admin;
    }

    // Topics.

    /** Where the broker listens, as the name server tells. */
    final String brokerAddr() throws Exception {
        var cluster = Await.answer("a broker", () -> {
            var info = admin().examineBrokerClusterInfo();
            if (info.getBrokerAddrTable().isEmpty()) {
                throw new IllegalStateException("no broker is registered");
            }
            return info;
        });
        assertEquals(1, cluster.getBrokerAddrTable().size());
        return cluster.getBrokerAddrTable().values().iterator().next().selectBrokerAddr();
    }

    final String clusterName() throws Exception {
        return admin().examineBrokerClusterInfo().getClusterAddrTable().keySet().iterator().next();
    }

    /** A new topic that clients can find. */
    final String topic(int queues) throws Exception {
        String topic = unique("topic");
        createTopic(topic, queues);
        return topic;
    }

    final void createTopic(String topic, int queues) throws Exception {
        admin().createAndUpdateTopicConfig(
                brokerAddr(), new TopicConfig(topic, queues, queues, READ_WRITE));
        awaitRoute(topic);
    }

    final void awaitRoute(String topic) {
        Await.until("a route to " + topic,
                () -> !admin().examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
    }

    /**
     * Lets a started consumer find the retry topic of its group at once, which the broker made when
     * the consumer came: by itself it would look for it only after half a minute.
     */
    final void findRetryTopic(DefaultMQPushConsumer consumer) {
        awaitRoute("%RETRY%" + consumer.getConsumerGroup());
        var impl = consumer.getDefaultMQPushConsumerImpl();
        Await.until("the queue of the retry topic", () -> {
            impl.getmQClientFactory().updateTopicRouteInfoFromNameServer();
            impl.doRebalance();
            return impl.getRebalanceImpl().getProcessQueueTable().keySet().stream()
                    .anyMatch(queue -> queue.getTopic().startsWith("%RETRY%"));
        });
    }

    /** How many queues of the topic the consumer has been given. */
    static int queuesOf(DefaultMQPushConsumer consumer, String topic) {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl()
                .getProcessQueueTable().keySet().stream()
                .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    // Messages.

    final void send(DefaultMQProducer producer, String topic, List<String> bodies)
            throws Exception {
        for (String body : bodies) {
            assertSent(producer.send(message(topic, body)));
        }
    }

    static SendResult assertSent(SendResult result) {
        assertEquals(SendStatus.SEND_OK, result.getSendStatus());
        return result;
    }

    /** The code with which the broker or the client refuses; 0 if it does not. */
    static int codeOf(Callable<?> call) throws Exception {
        try {
            call.call();
            return 0;
        } catch (MQBrokerException e) {
            return e.getResponseCode();
        } catch (MQClientException e) {
            return e.getResponseCode();
        }
    }

    /** All messages of a topic, by queue and offset, read without a group. Waits for the count. */
    final List<MessageExt> readAll(String topic, int count) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        Await.until(count + " messages in " + topic, () -> {
            messages.clear();
            messages.addAll(readAll(topic));
            return messages.size() >= count;
        });
        assertEquals(count, messages.size(), "messages in " + topic);
        return messages;
    }

    final List<MessageExt> readAll(String topic) throws Exception {
        if (reader == null) {
            reader = pullConsumer(unique("reader"));
        }
        List<MessageExt> messages = new ArrayList<>();
        List<MessageQueue> queues = new ArrayList<>(reader.fetchSubscribeMessageQueues(topic));
        queues.sort(Comparator.comparing(MessageQueue::getQueueId));
        for (MessageQueue queue : queues) {
            long next = reader.minOffset(queue);
            long end = reader.maxOffset(queue);
            while (next < end) {
                var pulled = reader.pull(queue, "*", next, 32);
                if (pulled.getPullStatus() == PullStatus.FOUND) {
                    messages.addAll(pulled.getMsgFoundList());
                }
                next = pulled.getNextBeginOffset();
            }
        }
        return messages;
    }
}
