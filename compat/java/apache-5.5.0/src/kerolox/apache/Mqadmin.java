package kerolox.apache;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/** Apache's own mqadmin, in this process: a JVM for each command would take a second. */
final class Mqadmin {
    private Mqadmin() {}

    private static List<?> known() {
        try {
            Field commands = MQAdminStartup.class.getDeclaredField("SUB_COMMANDS");
            commands.setAccessible(true);
            return (List<?>) commands.get(null);
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }

    /** The names of all commands. */
    static synchronized List<String> commands() {
        known().clear();
        MQAdminStartup.initCommand();
        List<String> names = known().stream().map(command -> ((SubCommand) command).commandName()).toList();
        if (names.size() < 90) {
            throw new AssertionError("only " + names);
        }
        return names;
    }

    /** A client that ends waits for its thread of events, which sleeps for three seconds if nothing wakes it. */
    private static void wakeSleepers() {
        try {
            while (true) {
                Thread.sleep(50);
                Thread.getAllStackTraces().keySet().stream().filter(thread -> thread.getName().equals("NettyEventExecutor"))
                        .forEach(Thread::interrupt);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** What a command printed. One that fails prints a stack trace to the error stream, which is an error here. */
    static synchronized String run(String namesrv, String... arguments) {
        return run(new ByteArrayOutputStream(), namesrv, arguments);
    }

    /** What a command that goes on for ever printed until it printed `text`. */
    static synchronized String runUntil(String text, String namesrv, String... arguments) {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        Thread caller = Thread.currentThread();
        Thread watcher = new Thread(() -> {
            Programs.until(text, Duration.ofSeconds(60), () -> printed.toString(StandardCharsets.UTF_8).contains(text));
            caller.interrupt();
        });
        watcher.start();
        try {
            throw new AssertionError("it ended: " + run(printed, namesrv, arguments));
        } catch (IllegalStateException e) {
            if (!e.getMessage().contains("InterruptedException")) {
                throw e;
            }
            return printed.toString(StandardCharsets.UTF_8);
        } finally {
            Thread.interrupted();
        }
    }

    private static String run(ByteArrayOutputStream printed, String namesrv, String... arguments) {
        List<String> all = new ArrayList<>(List.of(arguments));
        all.addAll(List.of("-n", namesrv));
        // Commands are objects that keep their first connection.
        known().clear();
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream failed = new ByteArrayOutputStream();
        Thread waker = new Thread(Mqadmin::wakeSleepers);
        waker.setDaemon(true);
        waker.start();
        try {
            System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(failed, true, StandardCharsets.UTF_8));
            MQAdminStartup.main0(all.toArray(new String[0]), null);
        } finally {
            waker.interrupt();
            System.setOut(out);
            System.setErr(err);
        }
        String error = failed.toString(StandardCharsets.UTF_8);
        if (error.contains("Exception")) {
            String why = error.lines().filter(line -> line.contains("Exception: "))
                    .collect(Collectors.joining(" "));
            throw new IllegalStateException(String.join(" ", arguments) + ": " + why);
        }
        return printed.toString(StandardCharsets.UTF_8);
    }
}
