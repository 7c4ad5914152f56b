package kerolox.compat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * The broker under test: one process for each test class, on free ports, with a data directory of
 * its own. With KEROLOX_TEST_NAMESRV the tests use that running cluster instead.
 */
final class Broker
        implements BeforeAllCallback, AfterAllCallback, AfterTestExecutionCallback {
    private static final Duration START = Duration.ofSeconds(30);
    private static final List<String> PORTS =
            List.of("namesrv", "broker", "grpc", "proxy", "http");
    private static final String EXTERNAL = System.getenv("KEROLOX_TEST_NAMESRV");

    private final String[] settings;
    private Path dir;
    private Process process;
    private Thread killer;
    private Map<String, Integer> ports = Map.of();

    /** Settings are passed on as `--set KEY=VALUE`. */
    Broker(String... settings) {
        this.settings = settings;
    }

    /** Whether the tests run against a cluster that somebody else started. */
    static boolean external() {
        return EXTERNAL != null && !EXTERNAL.isBlank();
    }

    /** The address of the name server, as clients want it. */
    String namesrv() {
        return external() ? EXTERNAL : "127.0.0.1:" + ports.get("namesrv");
    }

    /** Skips the running test unless the broker is ours to stop and start. */
    void assumeRestartable() {
        Assumptions.assumeFalse(external(), "the cluster is not ours to restart");
    }

    /** kill -9, then a start on the same data directory and ports. */
    void crashAndRestart() {
        crash();
        start();
    }

    /** kill -9. */
    void crash() {
        process.destroyForcibly();
        awaitExit(Duration.ofSeconds(10));
    }

    /** SIGTERM, waits for the exit. */
    void stop() {
        process.destroy();
        awaitExit(Duration.ofSeconds(20));
    }

    /** Starts the broker; on the ports of the first start if there was one. */
    void start() {
        try {
            Path portsFile = dir.resolve("ports.json");
            Files.deleteIfExists(portsFile);
            List<String> command = new ArrayList<>(List.of(binary(), "server"));
            command.addAll(List.of("--data-dir", dir.resolve("data").toString()));
            for (String name : PORTS) {
                command.addAll(List.of("--" + name + "-port", "" + ports.getOrDefault(name, 0)));
            }
            command.addAll(List.of("--ports-file", portsFile.toString()));
            for (String setting : settings) {
                command.addAll(List.of("--set", setting));
            }
            process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.appendTo(log().toFile()))
                    .start();
            Await.until("the ports file of the broker", START, () -> {
                if (!process.isAlive()) {
                    throw new AssertionError("the broker ended at its start with code "
                            + process.exitValue() + ":\n" + logTail());
                }
                return Files.exists(portsFile);
            });
            ports = readPorts(Files.readString(portsFile));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void beforeAll(ExtensionContext context) throws IOException {
        if (external()) {
            return;
        }
        dir = Files.createTempDirectory("kerolox-compat-");
        ports = Map.of();
        killer = new Thread(() -> process.destroyForcibly());
        Runtime.getRuntime().addShutdownHook(killer);
        start();
    }

    @Override
    public void afterTestExecution(ExtensionContext context) {
        if (!external() && context.getExecutionException().isPresent()) {
            System.err.println("The log of the broker of " + context.getRequiredTestClass()
                    .getSimpleName() + "." + context.getDisplayName() + " ends:\n" + logTail());
        }
    }

    @Override
    public void afterAll(ExtensionContext context) throws IOException {
        if (external() || process == null) {
            return;
        }
        try {
            stop();
        } finally {
            process.destroyForcibly();
            Runtime.getRuntime().removeShutdownHook(killer);
            deleteDir();
        }
    }

    static String binary() {
        String binary = System.getenv("KEROLOX_TEST_BIN");
        if (binary == null || binary.isBlank()) {
            throw new IllegalStateException("set KEROLOX_TEST_BIN to the kerolox binary, or "
                    + "KEROLOX_TEST_NAMESRV to the host:port of a running name server");
        }
        return binary;
    }

    private static Map<String, Integer> readPorts(String json) {
        Map<String, Integer> found = new TreeMap<>();
        var field = Pattern.compile("\"(\\w+)\"\\s*:\\s*(\\d+)").matcher(json);
        while (field.find()) {
            found.put(field.group(1), Integer.valueOf(field.group(2)));
        }
        if (!found.keySet().containsAll(PORTS)) {
            throw new AssertionError("ports are missing in " + json);
        }
        return found;
    }

    private void awaitExit(Duration limit) {
        try {
            if (!process.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS)) {
                throw new AssertionError("the broker did not end within " + limit);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted", e);
        }
    }

    private Path log() {
        return dir.resolve("log");
    }

    private String logTail() {
        try {
            List<String> lines = new String(Files.readAllBytes(log())).lines().toList();
            return String.join("\n", lines.subList(Math.max(0, lines.size() - 60), lines.size()));
        } catch (IOException e) {
            return "(no log: " + e + ")";
        }
    }

    private void deleteDir() throws IOException {
        try (Stream<Path> paths = Files.walk(dir)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(path);
            }
        }
    }
}
