package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class DelayTest extends CompatTest {
    /** Keeps also how long after its sending a message came. */
    private static final class Clock extends Sink {
        final Map<String, Long> delays = new ConcurrentHashMap<>();

        @Override
        public ConsumeConcurrentlyStatus consumeMessage(
                List<MessageExt> batch, ConsumeConcurrentlyContext context) {
            long now = System.currentTimeMillis();
            batch.forEach(m -> delays.put(Sink.body(m), now - m.getBornTimestamp()));
            return super.consumeMessage(batch, context);
        }

        void assertDelays(List<String> bodies, long min, long max) {
            for (String body : bodies) {
                long delay = delays.get(body);
                assertTrue(delay >= min && delay <= max, body + " came after " + delay + " ms");
            }
        }
    }

    @Test
    void delayLevels() throws Exception {
        String topic = topic(4);
        Clock clock = new Clock();
        consume(unique("group"), topic, "*", clock);
        DefaultMQProducer producer = producer();
        List<String> fiveSeconds = names("five", 10);
        List<String> oneSecond = names("one", 10);
        sendDelayed(producer, topic, 2, fiveSeconds);
        sendDelayed(producer, topic, 1, oneSecond);
        send(producer, topic, List.of("now"));

        clock.awaitExactly(concat(concat(fiveSeconds, oneSecond), List.of("now")));
        clock.assertDelays(List.of("now"), 0, 4000);
        clock.assertDelays(oneSecond, 1000, 4000);
        clock.assertDelays(fiveSeconds, 5000, 8000);
        MessageExt late = clock.messages().stream()
                .filter(m -> Sink.body(m).equals("five0")).findFirst().orElseThrow();
        assertEquals(topic, late.getTopic());
        assertEquals("tag", late.getTags());
        assertEquals("key", late.getKeys());
        assertEquals("red", late.getUserProperty("color"));
        assertEquals(0, late.getReconsumeTimes());
    }

    @Test
    void tagsAreFilteredAfterTheDelay() throws Exception {
        String topic = topic(1);
        Clock clock = new Clock();
        consume(unique("group"), topic, "tag", clock);
        Sink other = new Sink();
        consume(unique("group"), topic, "other", other);
        sendDelayed(producer(), topic, 1, List.of("m"));
        clock.awaitExactly(List.of("m"));
        clock.assertDelays(List.of("m"), 1000, 4000);
        other.assertExactly(List.of());
    }

    @Test
    void delaySurvivesACrashOfTheBroker() throws Exception {
        BROKER.assumeRestartable();
        String topic = topic(4);
        DefaultMQProducer producer = producer();
        List<String> bodies = names("m", 10);
        long sent = System.currentTimeMillis();
        sendDelayed(producer, topic, 2, bodies);
        BROKER.crashAndRestart();
        awaitRoute(topic);
        long back = System.currentTimeMillis() - sent;
        Clock clock = new Clock();
        consume(unique("group"), topic, "*", clock);
        clock.awaitExactly(bodies);
        clock.assertDelays(bodies, 5000, Math.max(5000, back) + 5000);
    }

    private static void sendDelayed(
            DefaultMQProducer producer, String topic, int level, List<String> bodies)
            throws Exception {
        for (String body : bodies) {
            Message message = message(topic, "tag", "key", body);
            message.putUserProperty("color", "red");
            message.setDelayTimeLevel(level);
            assertSent(producer.send(message));
        }
    }
}
