package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The kinds of compression that only newer clients have: the kind is kept in the system flag. */
class CompressionTest extends CompatTest {
    @ParameterizedTest
    @EnumSource(CompressionType.class)
    void compressedBodyArrivesEqual(CompressionType type) throws Exception {
        String topic = topic(1);
        byte[] body = "all work and no play makes Jack a dull boy. ".repeat(1000).getBytes();
        DefaultMQProducer producer = producer();
        producer.setCompressType(type);
        assertSent(producer.send(new Message(topic, body)));
        MessageExt found = readAll(topic, 1).get(0);
        assertArrayEquals(body, found.getBody());
        assertTrue(found.getStoreSize() < body.length / 4, "stored " + found.getStoreSize());
        assertEquals(type, CompressionType.findByValue((found.getSysFlag() >> 8) & 7));
    }
}
