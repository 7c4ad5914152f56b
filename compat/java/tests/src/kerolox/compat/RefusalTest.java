package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

class RefusalTest extends CompatTest {
    @Test
    void transactionalMessage() throws Exception {
        Assumptions.assumeFalse(Broker.external(), "Apache RocketMQ has transactions");
        String topic = topic(1);
        TransactionMQProducer producer = new TransactionMQProducer(unique("producer"));
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        started(producer);
        var e = assertThrows(MQClientException.class,
                () -> producer.sendMessageInTransaction(message(topic, "m"), null));
        assertEquals(16, causeCode(e), "code of " + e);
        assertEquals(0, readAll(topic).size());
    }

    @Test
    void sql92() throws Exception {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(unique("group")));
        consumer.subscribe(topic(1), MessageSelector.bySql("a > 1"));
        consumer.registerMessageListener(new Sink());
        closeLater(consumer::shutdown);
        var e = assertThrows(MQClientException.class, consumer::start);
        assertEquals(1, e.getResponseCode());
        assertTrue(e.getMessage().contains(
                "The broker does not support consumer to filter message by SQL92"),
                e.getMessage());
    }

    @Test
    void illegalTopicName() throws Exception {
        DefaultMQProducer producer = producer();
        assertThrows(MQClientException.class, () -> producer.send(message("a b", "m")));
        assertThrows(MQClientException.class,
                () -> producer.send(message("SCHEDULE_TOPIC_XXXX", "m")));
        String addr = brokerAddr();
        for (String name : new String[] {"a b", "a".repeat(128), "TBW102"}) {
            var e = assertThrows(MQClientException.class, () -> admin()
                    .createAndUpdateTopicConfig(addr, new TopicConfig(name, 1, 1, READ_WRITE)));
            assertEquals(29, e.getResponseCode(), e.getErrorMessage());
        }
    }

    @Test
    void topicThatMayNotBeWritten() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        assertSent(producer.send(message(topic, "m"), queue));
        admin().createAndUpdateTopicConfig(brokerAddr(), new TopicConfig(topic, 1, 1, 4));
        // A producer that knows the queue still: Apache RocketMQ takes its message.
        int taken = 1;
        try {
            assertSent(producer.send(message(topic, "n"), queue));
            taken++;
        } catch (MQBrokerException e) {
            assertEquals(16, e.getResponseCode());
        }
        // Who asks for the route after that is not given a queue.
        Await.until("the change at the name server",
                () -> admin().examineTopicRouteInfo(topic).getQueueDatas().get(0).getPerm() == 4);
        assertThrows(MQClientException.class, () -> producer().send(message(topic, "o")));
        readAll(topic, taken);
    }

    @Test
    void topicThatMayNotBeRead() throws Exception {
        String topic = topic(1);
        send(producer(), topic, names("m", 1));
        var consumer = pullConsumer(unique("group"));
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
        admin().createAndUpdateTopicConfig(brokerAddr(), new TopicConfig(topic, 1, 1, 2));
        var e = assertThrows(MQBrokerException.class, () -> consumer.pull(queue, "*", 0, 1));
        assertEquals(16, e.getResponseCode());
    }

    @Test
    void queueThatDoesNotExist() throws Exception {
        String topic = topic(2);
        DefaultMQProducer producer = producer();
        String broker = producer.fetchPublishMessageQueues(topic).get(0).getBrokerName();
        MessageQueue queue = new MessageQueue(topic, broker, 99);
        var e = assertThrows(MQBrokerException.class,
                () -> producer.send(message(topic, "m"), queue));
        assertEquals(29, e.getResponseCode(), e.getErrorMessage());
        var p = assertThrows(MQBrokerException.class,
                () -> pullConsumer(unique("group")).pull(queue, "*", 0, 1));
        assertEquals(29, p.getResponseCode(), p.getErrorMessage());
    }

    @Test
    void propertiesThatAreTooLarge() throws Exception {
        String topic = topic(1);
        DefaultMQProducer producer = producer();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        Message message = message(topic, "m");
        message.putUserProperty("large", "x".repeat(32_768));
        var e = assertThrows(MQBrokerException.class, () -> producer.send(message, queue));
        assertEquals(13, e.getResponseCode(), e.getErrorMessage());
        message.putUserProperty("large", "x".repeat(30_000));
        assertSent(producer.send(message, queue));
        assertEquals(30_000, readAll(topic, 1).get(0).getUserProperty("large").length());
    }

    private static int causeCode(Throwable e) {
        for (Throwable t = e; t != null; t = t.getCause()) {
            if (t instanceof MQBrokerException broker) {
                return broker.getResponseCode();
            }
        }
        return e instanceof MQClientException client ? client.getResponseCode() : -1;
    }
}
