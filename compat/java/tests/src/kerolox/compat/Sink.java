package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/** A listener that keeps what it is given. */
class Sink implements MessageListenerConcurrently {
    /** How long after the last expected message an unexpected one is still looked for. */
    private static final long SETTLE = 300;

    private final List<MessageExt> messages = new ArrayList<>();

    @Override
    public ConsumeConcurrentlyStatus consumeMessage(
            List<MessageExt> batch, ConsumeConcurrentlyContext context) {
        add(batch);
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    /** The same for an orderly consumer. */
    MessageListenerOrderly orderly() {
        return (List<MessageExt> batch, ConsumeOrderlyContext context) -> {
            add(batch);
            return ConsumeOrderlyStatus.SUCCESS;
        };
    }

    synchronized void add(Collection<MessageExt> batch) {
        messages.addAll(batch);
    }

    synchronized List<MessageExt> messages() {
        return List.copyOf(messages);
    }

    synchronized int size() {
        return messages.size();
    }

    List<String> bodies() {
        return bodies(messages());
    }

    static List<String> bodies(Collection<MessageExt> messages) {
        return messages.stream().map(Sink::body).toList();
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Waits until all of these bodies are here, once or more. */
    void awaitAll(Collection<String> bodies) {
        awaitAll(bodies, Await.LIMIT);
    }

    void awaitAll(Collection<String> bodies, Duration limit) {
        try {
            Await.until("all messages", limit, () -> bodies().containsAll(bodies));
        } catch (AssertionError e) {
            List<String> missing = new ArrayList<>(bodies);
            missing.removeAll(bodies());
            throw new AssertionError("missing " + missing.size() + " of " + bodies.size()
                    + " messages: " + missing.subList(0, Math.min(20, missing.size())), e);
        }
    }

    /** Waits for exactly these bodies, each once, in any order. */
    void awaitExactly(Collection<String> bodies) {
        awaitAll(bodies);
        assertExactly(bodies);
    }

    void assertExactly(Collection<String> bodies) {
        Await.pause(SETTLE);
        assertEquals(bodies.stream().sorted().toList(), bodies().stream().sorted().toList());
    }
}
