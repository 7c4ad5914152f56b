package kerolox.apache;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Servers of both kinds, on free ports of the loopback address, ended and deleted at the end. */
final class Programs implements AutoCloseable {
    private static final String BROKER = "org.apache.rocketmq.broker.BrokerStartup";
    private static final String NAMESRV = "org.apache.rocketmq.namesrv.NamesrvStartup";
    private static final Duration START = Duration.ofSeconds(120);
    /** What Apache's programs need from a JDK of today. */
    private static final List<String> JAVA_FLAGS = List.of(
            "-XX:+IgnoreUnrecognizedVMOptions",
            "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
            "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
            "--add-opens=java.base/java.nio=ALL-UNNAMED",
            "--add-opens=java.base/java.lang=ALL-UNNAMED");

    /** A running program. */
    static final class Program {
        final Process process;
        final Path dir;
        final int namesrvPort;
        final int brokerPort;

        private Program(Process process, Path dir, int namesrvPort, int brokerPort) {
            this.process = process;
            this.dir = dir;
            this.namesrvPort = namesrvPort;
            this.brokerPort = brokerPort;
        }

        String namesrv() {
            return "127.0.0.1:" + namesrvPort;
        }

        String broker() {
            return "127.0.0.1:" + brokerPort;
        }

        /** SIGTERM, and waits. */
        void stop() {
            process.destroy();
            await(60);
        }

        /** kill -9. */
        void kill() {
            process.destroyForcibly();
            await(20);
        }

        private void await(int seconds) {
            try {
                if (!process.waitFor(seconds, TimeUnit.SECONDS)) {
                    throw new AssertionError("it still runs after " + seconds + " s");
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new AssertionError("interrupted", e);
            }
        }
    }

    private final Path root;
    private final List<Program> programs = new ArrayList<>();
    private int dirs;

    Programs() {
        try {
            root = Files.createTempDirectory("kerolox-apache-");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> programs.forEach(p -> p.process.destroyForcibly())));
    }

    /** A folder of this test. */
    Path newDir() {
        try {
            return Files.createDirectories(root.resolve("" + dirs++));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** `kerolox ROLE` with further arguments. */
    Program kerolox(String role, String... more) {
        return keroloxOn(newDir(), role, more);
    }

    /** `kerolox ROLE` on a folder that another program may have had; the data directory is `store` in it. */
    Program keroloxOn(Path dir, String role, String... more) {
        Path ports = dir.resolve("ports.json");
        Process process = keroloxStarting(dir, role, more);
        until("the ports file", START, () -> alive(process, dir) && Files.exists(ports));
        try {
            String json = Files.readString(ports);
            return added(new Program(process, dir, port(json, "namesrv"), port(json, "broker")));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The same, as soon as the process is there. */
    Process keroloxStarting(Path dir, String role, String... more) {
        Path ports = dir.resolve("ports.json");
        delete(ports);
        List<String> command = new ArrayList<>(List.of(binary(), role, "--data-dir", dir.resolve("store").toString(),
                "--http-port=0", "--ports-file", ports.toString()));
        if (!role.equals("broker")) {
            command.add("--namesrv-port=0");
        }
        if (!role.equals("namesrv")) {
            command.addAll(List.of("--broker-port=0", "--grpc-port=0", "--proxy-port=0"));
        }
        command.addAll(List.of(more));
        return start(command, dir);
    }

    /** Apache's name server. */
    Program apacheNamesrv() {
        Path dir = newDir();
        int port = freePort(1);
        write(dir.resolve("namesrv.properties"), "listenPort=" + port + "\n");
        Process process = startJava(dir, "256m", NAMESRV, "-c", "namesrv.properties");
        awaitBoot(process, dir, NAMESRV);
        return added(new Program(process, dir, port, 0));
    }

    /** Apache's broker; `more` are further lines of its configuration. */
    Program apacheBroker(String name, String namesrv, String... more) {
        return apacheBrokerOn(newDir(), name, namesrv, more);
    }

    /** Apache's broker on a folder that another program may have had. */
    Program apacheBrokerOn(Path dir, String name, String namesrv, String... more) {
        int port = configure(dir, name, namesrv, more);
        Process process = startJava(dir, "1g", BROKER, "-c", "broker.conf");
        awaitBoot(process, dir, BROKER);
        return added(new Program(process, dir, 0, port));
    }

    /** The same, as soon as the process is there. */
    Process apacheBrokerStarting(Path dir, String name, String namesrv, String... more) {
        configure(dir, name, namesrv, more);
        return startJava(dir, "1g", BROKER, "-c", "broker.conf");
    }

    /** Writes a configuration, and returns the port in it. */
    private static int configure(Path dir, String name, String namesrv, String... more) {
        int port = freePort(3) + 2;
        Path store = dir.resolve("store");
        write(dir.resolve("broker.conf"), "brokerClusterName=DefaultCluster\nbrokerName=" + name
                + "\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort=" + port + "\nnamesrvAddr=" + namesrv
                + "\nstorePathRootDir=" + store + "\nstorePathCommitLog=" + store + "/commitlog\n"
                + "mappedFileSizeCommitLog=67108864\ndiskMaxUsedSpaceRatio=95\nwaitTimeMillsInSendQueue=20000\n"
                + String.join("\n", more) + "\n");
        return port;
    }

    @Override
    public void close() {
        programs.forEach(program -> program.process.destroyForcibly());
        programs.forEach(program -> program.await(20));
        try (Stream<Path> paths = Files.walk(root)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(path);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The end of what every program has logged. */
    String logs() {
        StringBuilder text = new StringBuilder();
        for (Program program : programs) {
            text.append(program.dir).append(" ends:\n").append(tail(program.dir)).append('\n');
        }
        return text.toString();
    }

    static String binary() {
        String binary = System.getenv("KEROLOX_TEST_BIN");
        if (binary == null || binary.isBlank()) {
            throw new IllegalStateException("set KEROLOX_TEST_BIN to the kerolox binary");
        }
        return binary;
    }

    /** Waits for a condition. */
    static void until(String what, Duration limit, Callable<Boolean> condition) {
        long end = System.nanoTime() + limit.toNanos();
        Exception last = null;
        while (true) {
            try {
                if (condition.call()) {
                    return;
                }
                last = null;
            } catch (Exception e) {
                last = e;
            }
            if (System.nanoTime() > end) {
                throw new AssertionError("waited " + limit + " in vain for: " + what, last);
            }
            pause(50);
        }
    }

    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted", e);
        }
    }

    private Program added(Program program) {
        programs.add(program);
        return program;
    }

    private static Process startJava(Path dir, String heap, String main, String... arguments) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx" + heap,
                "-XX:TieredStopAtLevel=1", "-Duser.home=" + dir, "-cp", System.getProperty("java.class.path")));
        command.addAll(JAVA_FLAGS);
        command.add(main);
        command.addAll(List.of(arguments));
        try {
            Files.createDirectories(dir.resolve("conf"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        // 4.9.8 wants a file that says what it logs.
        write(dir.resolve("conf/logback_broker.xml"), "<configuration><appender name='out'"
                + " class='ch.qos.logback.core.ConsoleAppender'><encoder><pattern>%d %p %t - %m%n</pattern></encoder>"
                + "</appender><root level='WARN'><appender-ref ref='out'/></root></configuration>\n");
        delete(dir.resolve("log"));
        return start(command, dir);
    }

    private static void awaitBoot(Process process, Path dir, String main) {
        until(main, START, () -> alive(process, dir) && log(dir).contains("boot success"));
    }

    private static void delete(Path path) {
        try {
            Files.deleteIfExists(path);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Process start(List<String> command, Path dir) {
        ProcessBuilder builder = new ProcessBuilder(command)
                .directory(dir.toFile())
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(dir.resolve("log").toFile()));
        builder.environment().put("ROCKETMQ_HOME", dir.toString());
        builder.environment().remove("NAMESRV_ADDR");
        try {
            return builder.start();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean alive(Process process, Path dir) {
        if (!process.isAlive()) {
            throw new AssertionError("it ended with " + process.exitValue() + ":\n" + tail(dir));
        }
        return true;
    }

    private static String log(Path dir) {
        try {
            return Files.readString(dir.resolve("log"));
        } catch (IOException e) {
            return "";
        }
    }

    private static String tail(Path dir) {
        List<String> lines = log(dir).lines().toList();
        return String.join("\n", lines.subList(Math.max(0, lines.size() - 40), lines.size()));
    }

    private static int port(String json, String name) {
        var field = Pattern.compile("\"" + name + "\"\\s*:\\s*(\\d+)").matcher(json);
        if (!field.find()) {
            throw new AssertionError(name + " is not in " + json);
        }
        return Integer.parseInt(field.group(1));
    }

    private static void write(Path path, String text) {
        try {
            Files.writeString(path, text);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The first of so many ports that are free, below those that the kernel gives to clients. */
    private static synchronized int freePort(int count) {
        for (int tries = 0; tries < 500; tries++) {
            next += 10;
            boolean free = true;
            for (int port = next; port < next + count + 1; port++) {
                try (ServerSocket socket = new ServerSocket(port, 1, InetAddress.getByName("0.0.0.0"))) {
                    free &= socket.isBound();
                } catch (IOException e) {
                    free = false;
                }
            }
            if (free) {
                return next;
            }
        }
        throw new AssertionError("there are no free ports");
    }

    private static int next = 21_000 + (int) (ProcessHandle.current().pid() % 500) * 10;

    /** Runs `kerolox admin` and gives its standard output; it must succeed. */
    static String admin(String namesrv, String... arguments) {
        List<String> command = new ArrayList<>(List.of(binary(), "admin", "-n", namesrv));
        command.addAll(List.of(arguments));
        try {
            Process process = new ProcessBuilder(command).start();
            String out = new String(process.getInputStream().readAllBytes());
            String err = new String(process.getErrorStream().readAllBytes());
            int code = process.waitFor();
            if (code != 0) {
                throw new AssertionError(command + " ended with " + code + ": " + out + err);
            }
            return out;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted", e);
        }
    }

}
