package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.junit.jupiter.api.Test;

class NamespaceTest extends CompatTest {
    @Test
    void namespacesAreApart() throws Exception {
        String topic = unique("topic");
        String group = unique("group");
        String left = unique("left");
        String right = unique("right");
        createTopic(left + "%" + topic, 2);
        createTopic(right + "%" + topic, 2);
        createTopic(topic, 2);
        Sink leftSink = new Sink();
        Sink rightSink = new Sink();
        Sink plainSink = new Sink();
        start(namespaced(left, group, topic), leftSink);
        start(namespaced(right, group, topic), rightSink);
        consume(group, topic, "*", plainSink);

        DefaultMQProducer producer = new DefaultMQProducer(unique("producer"));
        producer.setNamespace(left);
        started(producer);
        List<String> bodies = names("left", 20);
        for (String body : bodies) {
            SendResult result = assertSent(producer.send(message(topic, body)));
            assertEquals(topic, result.getMessageQueue().getTopic());
        }
        send(producer(), topic, names("plain", 5));

        leftSink.awaitExactly(bodies);
        plainSink.awaitExactly(names("plain", 5));
        rightSink.assertExactly(List.of());
        leftSink.messages().forEach(m -> assertEquals(topic, m.getTopic()));
        assertEquals(20, readAll(left + "%" + topic, 20).size());
    }

    @Test
    void refusedMessageComesAgain() throws Exception {
        String namespace = unique("ns");
        String topic = unique("topic");
        createTopic(namespace + "%" + topic, 1);
        DefaultMQPushConsumer consumer = namespaced(namespace, unique("group"), topic);
        Sink sink = new Sink();
        AtomicInteger refused = new AtomicInteger();
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (batch.get(0).getReconsumeTimes() == 0) {
                refused.incrementAndGet();
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            sink.add(batch);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        findRetryTopic(consumer);
        DefaultMQProducer producer = new DefaultMQProducer(unique("producer"));
        producer.setNamespace(namespace);
        started(producer);
        assertSent(producer.send(message(topic, "m")));
        sink.awaitExactly(List.of("m"));
        assertEquals(1, refused.get());
        assertEquals(topic, sink.messages().get(0).getTopic());
    }

    private DefaultMQPushConsumer namespaced(String namespace, String group, String topic)
            throws Exception {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(group));
        consumer.setNamespace(namespace);
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        closeLater(consumer::shutdown);
        return consumer;
    }

    private static void start(DefaultMQPushConsumer consumer, Sink sink) throws Exception {
        consumer.registerMessageListener(sink);
        consumer.start();
    }
}
