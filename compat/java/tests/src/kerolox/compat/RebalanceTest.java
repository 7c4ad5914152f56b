package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

class RebalanceTest extends CompatTest {
    /** Well below the 20 s after which a consumer looks around without being told to. */
    private static final Duration SOON = Duration.ofSeconds(10);
    /** Well above it: a process that starts on busy cores may need to look twice. */
    private static final Duration IN_THE_END = Duration.ofSeconds(60);

    @Test
    void consumersShareTheQueues() throws Exception {
        String topic = topic(8);
        String group = unique("group");
        Sink sink = new Sink();
        DefaultMQPushConsumer first = consume(group, topic, "*", sink);
        Await.until("all queues", SOON, () -> queuesOf(first, topic) == 8);
        DefaultMQPushConsumer second = consume(group, topic, "*", sink);
        Await.until("half of the queues", SOON,
                () -> queuesOf(first, topic) == 4 && queuesOf(second, topic) == 4);
        DefaultMQPushConsumer third = consume(group, topic, "*", sink);
        Await.until("a third of the queues", SOON, () -> queuesOf(first, topic)
                + queuesOf(second, topic) + queuesOf(third, topic) == 8
                && queuesOf(third, topic) >= 2 && queuesOf(first, topic) <= 3);
        List<String> bodies = names("m", 80);
        send(producer(), topic, bodies);
        // A queue that changes hands may bring a message twice.
        sink.awaitAll(bodies);
        assertEquals(Set.copyOf(bodies), Set.copyOf(sink.bodies()));

        third.shutdown();
        second.shutdown();
        Await.until("all queues again", SOON, () -> queuesOf(first, topic) == 8);
        List<String> more = names("more", 40);
        send(producer(), topic, more);
        sink.awaitAll(more);
        assertEquals(Set.copyOf(concat(bodies, more)), Set.copyOf(sink.bodies()));
    }

    @Test
    void queuesOfAKilledConsumerAreTakenOver() throws Exception {
        String topic = topic(8);
        String group = unique("group");
        DefaultMQProducer producer = producer();
        Sink sink = new Sink();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", sink);
        try (Child child = new Child(group, topic)) {
            Await.until("half of the queues", IN_THE_END, () -> queuesOf(consumer, topic) == 4);
            sendToAll(producer, topic, "before", 10);
            Await.until("all messages", IN_THE_END, () -> sink.size() + child.bodies.size() >= 80);
            // How the queues are dealt out: whole queues to each.
            Await.until("messages of four queues", IN_THE_END, () -> child.bodies.size() == 40);
            assertEquals(40, sink.size());
        }
        Await.until("all queues", SOON, () -> queuesOf(consumer, topic) == 8);
        List<String> after = sendToAll(producer, topic, "after", 10);
        sink.awaitAll(after);
    }

    @Test
    void messagesInTheHandsOfAKilledConsumerComeAgain() throws Exception {
        String topic = topic(4);
        String group = unique("group");
        DefaultMQProducer producer = producer();
        List<String> bodies;
        try (Child child = new Child(group, topic, "stuck")) {
            bodies = sendToAll(producer, topic, "m", 10);
            Await.until("a message", () -> !child.bodies.isEmpty());
        }
        Sink sink = new Sink();
        consume(group, topic, "*", sink);
        sink.awaitExactly(bodies);
    }

    private static List<String> sendToAll(
            DefaultMQProducer producer, String topic, String prefix, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            for (String name : names(prefix + queue.getQueueId() + "-", count)) {
                assertSent(producer.send(message(topic, name), queue));
                bodies.add(name);
            }
        }
        return bodies;
    }

    /** A consumer in a process of its own, which close kills. */
    private static final class Child implements AutoCloseable {
        final List<String> bodies = Collections.synchronizedList(new ArrayList<>());
        private final Process process;

        Child(String... args) throws IOException {
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-Xmx128m", "-XX:TieredStopAtLevel=1",
                    "-cp", System.getProperty("java.class.path")));
            for (Object name : System.getProperties().keySet()) {
                if (name.toString().startsWith("rocketmq.") || name.equals("user.home")) {
                    command.add("-D" + name + "=" + System.getProperty(name.toString()));
                }
            }
            command.addAll(List.of(ConsumerProcess.class.getName(), BROKER.namesrv()));
            command.addAll(List.of(args));
            process = new ProcessBuilder(command)
                    .redirectError(ProcessBuilder.Redirect.INHERIT).start();
            Thread reader = new Thread(this::read);
            reader.setDaemon(true);
            reader.start();
        }

        private void read() {
            try (BufferedReader lines =
                    new BufferedReader(new InputStreamReader(process.getInputStream()))) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    if (line.startsWith("got ")) {
                        bodies.add(line.substring(4));
                    }
                }
            } catch (IOException e) {
                // The process is gone.
            }
        }

        @Override
        public void close() throws Exception {
            process.destroyForcibly();
            process.waitFor(10, TimeUnit.SECONDS);
        }
    }
}
