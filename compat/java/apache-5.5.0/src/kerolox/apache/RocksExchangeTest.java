package kerolox.apache;

import kerolox.apache.Exchange.End;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** As {@link ExchangeTest}, where Apache's broker keeps its tables and queues in RocksDB. */
class RocksExchangeTest {
    private final Programs programs = new Programs();

    @AfterEach
    void close() {
        programs.close();
    }

    @Test
    void aDirectoryWithDatabasesChangesHands() throws Exception {
        try {
            Exchange exchange = new Exchange(programs, true, "storeType=defaultRocksDB");
            // It looks at ten files at most for what its queues lack, and notes at a stop how long empty ones are.
            exchange.java(End.STOP, 4);
            exchange.kerolox(End.KILL, 3 << 20);
            exchange.java(End.KILL, 0);
            exchange.kerolox(End.STOP, 0);
        } catch (Throwable failed) {
            throw new AssertionError(programs.logs(), failed);
        }
    }
}
