//! Every limit of the log, with its reason.

/// Bytes of a commit log file unless the configuration says otherwise (Apache's default).
pub const FILE_SIZE_DEFAULT: u64 = 1 << 30;
/// Smallest file: it must hold the largest record, its seal and the blank. Large records are
/// refused by [`crate::append`] where a smaller file is configured.
pub const FILE_SIZE_MIN: u64 = 64 << 10;
/// A round is closed when it has grown to this many bytes: it bounds what one write takes, and
/// what recovery holds in memory at once.
pub const ROUND_BYTES_MAX: usize = 4 << 20;
/// A round is closed when it holds this many records: it bounds the seal (8 bytes a record).
pub const ROUND_RECORDS_MAX: usize = 64 << 10;
/// State changes of a round, in bytes: what exceeds it goes to the next round.
pub const ROUND_CHANGES_MAX: usize = 1 << 20;
/// Largest record: Apache's body limit can be raised by configuration, but never so far that a
/// frame of 16 MiB could not carry it.
pub const RECORD_MAX: usize = 16 << 20;
/// Bytes that recovery reads for one round at most.
pub const ROUND_READ_MAX: usize = ROUND_BYTES_MAX + RECORD_MAX + ROUND_RECORDS_MAX * 8 + (2 << 20);
/// Memory in which the open round grows; rounds share such an area until all are dropped.
pub const ARENA_BYTES: usize = 256 << 10;
/// Such areas that are kept to be used again, at most: those of the recent rounds and of what is on its
/// way to the disk.
pub const ARENAS_MAX: usize = TAIL_BYTES / ARENA_BYTES + 32;
/// Recent rounds that stay in memory, in bytes: tail reads never touch the disk.
pub const TAIL_BYTES: usize = 16 << 20;
/// Bytes that a read of the log for consumers takes: what is between their messages is mostly for others.
pub const READ_CHUNK: u64 = 256 << 10;
/// Such chunks that are kept: 8 MiB.
pub const READ_CHUNKS_MAX: usize = 32;
/// Entries of a queue that are read from an index block at once. What a pull does not take of them is kept
/// for the next.
pub const ENTRIES_AHEAD: usize = 256;
/// Queues of which such entries are kept: about 40 bytes each, 2.5 MiB in all.
pub const QUEUES_AHEAD_MAX: usize = 256;
/// Bytes that recovery copies of an unproven tail at most before it cuts it.
pub const SET_ASIDE_MAX: u64 = 64 << 20;
/// Room that messages leave when the disk is full: for seals and state changes.
pub const DISK_MARGIN: u64 = 256 << 10;
/// Zeros are written this far ahead of the tail: a sync then changes no metadata, and a full disk
/// is a refusal before the append, not a failed write after it.
pub const ZERO_AHEAD: u64 = 16 << 20;
/// Bytes of zeros in one write, during which the log thread may have to wait.
pub const ZERO_STEP: usize = 128 << 10;
/// Bytes of zeros between two syncs of them, which a round may have to wait for (decision 007).
pub const ZERO_SYNC: u64 = 512 << 10;
/// Files that a log may hold: the directory listing is read into memory.
pub const FILES_MAX: usize = 1 << 20;
/// Bytes of a stretch of the log that one index block covers. Its index is in memory until then:
/// 32 bytes a message, and a start reads so much of the log at most once the blocks are there.
pub const STRETCH: u64 = 64 << 20;
/// Bytes of a log file that are deleted at once. On one disk a sync beside steps of 64 MiB waited for up to
/// 36 ms, beside steps of 4 MiB with pauses for up to 10.
pub const DELETE_STEP: u64 = 4 << 20;
/// Bytes of a snapshot that are in memory while it is written or read; a start with a million queues reads
/// more than 100 MB.
pub const SNAPSHOT_STEP: usize = 256 << 10;
/// Largest index block that is read. One of a stretch of the smallest messages has about 40 MiB.
pub const BLOCK_BYTES_MAX: u64 = 1 << 30;
/// No queue gets there: what says more is not believed.
pub const QUEUE_OFFSET_MAX: i64 = 1 << 62;
/// Index blocks that are open at once while a new one is made: a descriptor and a page each.
pub const BLOCKS_OPEN_MAX: usize = 64;
/// Index blocks that one query by key reads at most, some five pages of each: 64 GiB of log. The newest
/// of the query's time range come first.
pub const KEY_BLOCKS_MAX: usize = 1024;
/// Queues of a topic at most: their numbers index a table.
pub const QUEUES_MAX: i32 = 65_536;
/// Lost messages of a queue at most for which it has entries.
pub const GAP_MAX: i64 = 1 << 20;
/// Topics that a line about a deleted file names; there may be a million.
pub const TOPICS_NAMED: usize = 10;
/// Bytes of one RocksDB database that are read, and that its entries become in memory. Those of RocketMQ's
/// settings and offsets have some MB.
pub const ROCKSDB_BYTES_MAX: usize = 1 << 30;
/// Largest block of a RocksDB table, and largest record of its logs: RocketMQ writes blocks of 32 KiB, larger
/// only by one value, and no value comes near.
pub const ROCKSDB_BLOCK_MAX: usize = 64 << 20;
/// Bytes of the file that names a RocksDB database's list of files.
pub const ROCKSDB_CURRENT_MAX: usize = 4 << 10;
