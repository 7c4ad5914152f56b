package kerolox.compat;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.junit.jupiter.api.Test;

class BroadcastTest extends CompatTest {
    @Test
    void eachInstanceGetsAll() throws Exception {
        String topic = topic(4);
        String group = unique("group");
        Sink first = new Sink();
        Sink second = new Sink();
        String name = unique("first");
        DefaultMQPushConsumer consumer = broadcast(group, name, topic, first);
        broadcast(group, unique("second"), topic, second);
        List<String> bodies = names("m", 100);
        send(producer(), topic, bodies);
        first.awaitExactly(bodies);
        second.awaitExactly(bodies);

        // The offsets of an instance are in a file of its own.
        consumer.shutdown();
        List<String> more = names("more", 20);
        send(producer(), topic, more);
        Sink again = new Sink();
        broadcast(group, name, topic, again);
        again.awaitExactly(more);
        second.awaitExactly(concat(bodies, more));
    }

    private DefaultMQPushConsumer broadcast(String group, String name, String topic, Sink sink)
            throws Exception {
        DefaultMQPushConsumer consumer = pushConsumer(group, topic, "*");
        consumer.setInstanceName(name);
        Compat.broadcasting(consumer);
        consumer.registerMessageListener(sink);
        consumer.start();
        return consumer;
    }
}
