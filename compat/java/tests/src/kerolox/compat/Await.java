package kerolox.compat;

import java.time.Duration;
import java.util.concurrent.Callable;

/** Waits for conditions. */
final class Await {
    /** Enough for everything that should take a moment, on a busy machine. */
    static final Duration LIMIT = Duration.ofSeconds(30);

    private Await() {}

    static void until(String what, Callable<Boolean> condition) {
        until(what, LIMIT, condition);
    }

    /** Fails if the condition does not hold within the limit; what it throws last is the cause. */
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
            pause(20);
        }
    }

    /** Until a call answers without an exception. */
    static <T> T answer(String what, Callable<T> call) {
        Object[] answer = new Object[1];
        until(what, () -> {
            answer[0] = call.call();
            return true;
        });
        @SuppressWarnings("unchecked")
        T result = (T) answer[0];
        return result;
    }

    /** Only for where there is no condition to wait for. */
    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new AssertionError("interrupted", e);
        }
    }
}
