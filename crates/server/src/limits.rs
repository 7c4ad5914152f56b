//! Every limit of the shell, with its reason. Together they add up to the memory that the broker
//! takes under load:
//!
//! | what | bytes |
//! |---|---|
//! | read areas of each shard ([`READ_AREAS_MAX`]), and what unanswered requests keep of further ones | 2 MiB a shard + [`IN_FLIGHT_MAX`] |
//! | unfinished frames | [`UNFINISHED_MAX`] |
//! | recent rounds (`log::limits::TAIL_BYTES`), and areas that wait to be used again (`ARENAS_MAX`) | 24 MiB |
//! | what was read of the log for consumers (`log::limits::READ_CHUNKS_MAX`), and index entries ahead of them (`QUEUES_AHEAD_MAX`) | 11 MiB |
//! | replies that are not read | [`UNREAD_MAX`] for each connection; at the end of the log slices of recent rounds |
//! | the index of the open stretch (`log::limits::STRETCH`) | about 32 a message |

/// Bytes that a shard reads at once, from one connection or several.
pub const READ_AREA: usize = 256 << 10;
/// Room that a read has at least. What is left of an area is not used then.
pub const READ_MIN: usize = 32 << 10;
/// Full areas of a shard that are kept to be used again. A request holds its area only until its turn.
pub const READ_AREAS_MAX: usize = 8;
/// Memory in which a shard encodes replies, those of a round one behind the other.
pub const REPLY_AREA: usize = 64 << 10;
/// Bytes of requests of one connection that are not answered yet: then it is not read on.
pub const CONNECTION_IN_FLIGHT_MAX: usize = 8 << 20;
/// Requests of one connection that are not answered yet: then it is not read on.
pub const CONNECTION_REQUESTS_MAX: usize = 16 << 10;
/// Bytes of requests of all connections that are not answered yet: then none is read on.
pub const IN_FLIGHT_MAX: usize = 32 << 20;
/// How long that may last before sends are refused, in ms.
pub const OVERLOAD_MS: i64 = 1_000;
/// Bytes of frames that did not arrive completely yet, of all connections.
pub const UNFINISHED_MAX: usize = 64 << 20;
/// Bytes of replies that a client does not read: then its requests are not read on, either.
pub const UNREAD_MAX: usize = 4 << 20;
/// A client that does not read its replies for this long is closed, in s.
pub const UNREAD_SECONDS: u64 = 60;
/// A frame arrives completely within this time, in s.
pub const UNFINISHED_SECONDS: u64 = 60;
/// A connection without any traffic for this long is closed, in s (Apache's value).
pub const IDLE_SECONDS: u64 = 120;
/// Connections. Each takes about 2 KiB while idle.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Descriptors that are kept free for files when connections are accepted.
pub const DESCRIPTORS_RESERVED: u64 = 256;
/// How often connections are looked at, in s.
pub const SWEEP_SECONDS: u64 = 5;
/// The engine's tick, in ms: the precision of delays and waiting pulls.
pub const TICK_MS: u64 = 20;
/// The same while nothing waits for its time: a pull that comes then is that much less precise.
pub const IDLE_TICK_MS: u64 = 100;
/// Threads that read from the disk.
pub const READERS: usize = 2;
/// Answers that go over much of the state and wait for their thread.
pub const LISTS_MAX: usize = 1_000;
/// How long such an answer keeps the engine at a time, in µs.
pub const STEPS_US: u64 = 200;
/// Reads that wait for one client which does not read what is there for it.
pub const READS_HELD_MAX: usize = 1_024;
/// Reads that wait for a thread.
pub const READS_MAX: usize = 100_000;
/// Bytes of a round that a turn writes itself, where it may: more could make it wait for the disk.
pub const IN_TURN_MAX: usize = 64 << 10;
/// The log's sparse files get room on the disk this often, in ms.
pub const HOUSEKEEPING_MS: u64 = 100;
/// How long a stop waits for replies to leave, in ms.
pub const DRAIN_MS: u64 = 1_000;
/// Bytes of a change of the configuration (25, 318): it is read in a turn.
pub const CHANGE_MAX: usize = 64 << 10;
/// How long a name server of another process may take to answer, in ms (Apache's value).
pub const REGISTER_MS: u64 = 24_000;
/// A name server that hears nothing forgets a broker after two minutes: the period is no longer than this,
/// in ms (Apache's value).
pub const REGISTER_PERIOD_MS_MAX: u64 = 60_000;
/// The pause after the first failure, in ms; it doubles.
pub const REGISTER_RETRY_MS: u64 = 100;
/// It gets no longer than this, in ms: until a name server that is back is told, clients find no route there.
pub const REGISTER_RETRY_MS_MAX: u64 = 1_000;
/// How long a stop waits until a name server knows, in ms.
pub const UNREGISTER_MS: u64 = 500;
/// Bytes of the topics in one registration, about; a frame can hold 16 MiB.
pub const REGISTER_PART: usize = 8 << 20;
/// A list that is larger than one part is told as a whole in every so many periods only.
pub const REGISTER_WHOLE_EVERY: u32 = 10;
/// Topics of which `/metrics` tells, up to five series each. What is left out is counted there.
pub const METRICS_TOPICS_MAX: usize = 10_000;
/// Queues of groups of which it tells how far the group is behind.
pub const METRICS_LAGS_MAX: usize = 10_000;
/// Look-ups in index blocks for the ages of messages that were not consumed; further ages are not told.
pub const METRICS_LOOKUPS_MAX: usize = 1_000;
/// Messages and queues of a directory that a stop leaves to Apache's broker: it writes 20 bytes of each
/// message and a file of each queue, which must not take longer than whoever stops a server waits.
pub const LEAVE_MESSAGES_MAX: u64 = 10_000_000;
pub const LEAVE_QUEUES_MAX: u64 = 4_000;
