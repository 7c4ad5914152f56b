package kerolox.apache;

import kerolox.apache.Exchange.End;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A data directory changes hands: Apache's broker, Kerolox, Apache's broker, Kerolox. */
class ExchangeTest {
    private final Programs programs = new Programs();

    @AfterEach
    void close() {
        programs.close();
    }

    @Test
    void aDirectoryChangesHands() throws Exception {
        try {
            Exchange exchange = new Exchange(programs, false);
            // More files than 5.5.0 looks at by itself.
            exchange.java(End.KILL, 16);
            exchange.kerolox(End.KILL, 14 << 20);
            exchange.java(End.STOP, 0);
            exchange.kerolox(End.STOP, 0);
            exchange.java(End.KILL, 0);
        } catch (Throwable failed) {
            throw new AssertionError(programs.logs(), failed);
        }
    }
}
