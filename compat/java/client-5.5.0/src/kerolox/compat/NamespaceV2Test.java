package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.junit.jupiter.api.Test;

/** The newer kind of namespace is told in fields of its own, which a broker may pass over. */
class NamespaceV2Test extends CompatTest {
    @Test
    void messagesArrive() throws Exception {
        String topic = topic(2);
        DefaultMQProducer producer = new DefaultMQProducer(unique("producer"));
        producer.setNamespaceV2("space");
        started(producer);
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(unique("group")));
        consumer.setNamespaceV2("space");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.subscribe(topic, "*");
        Sink sink = new Sink();
        consumer.registerMessageListener(sink);
        consumer.start();
        closeLater(consumer::shutdown);
        List<String> bodies = names("m", 10);
        send(producer, topic, bodies);
        sink.awaitExactly(bodies);
        assertEquals(10, readAll(topic, 10).size());
    }
}
