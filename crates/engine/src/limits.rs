//! Every limit of the engine, with its reason.

use kerolox_log::index::lookup::Effort;

/// Messages that one pull returns at most, whatever the client asks for (clients ask for 32).
pub const PULL_MESSAGES_MAX: usize = 1024;
/// Bytes that one pull returns unless the first message alone is larger (Apache's limit for what
/// is in memory).
pub const PULL_BYTES_MAX: usize = 256 << 10;
/// Entries that one pull looks at: a filter that matches little must not hold up a turn.
pub const PULL_SCAN_MAX: usize = 16_000;
/// Longest time that a pull may wait, in ms. Clients ask for 15 to 30 s.
pub const PARK_MS_MAX: i64 = 60_000;
/// Pulls that may wait at the same time: about 200 bytes each.
pub const PARKED_MAX: usize = 200_000;
/// Queues of a topic. Routes and rebalancing walk them.
pub use kerolox_log::limits::QUEUES_MAX;
/// Topics. Each takes about 500 bytes and a place in every full topic list.
pub const TOPICS_MAX: usize = 1_000_000;
/// Groups.
pub const GROUPS_MAX: usize = 1_000_000;
/// Clients of one group.
pub const MEMBERS_MAX: usize = 100_000;
/// Subscriptions of one group.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Encoded topic or group settings, in bytes: they must fit a round with room to spare.
pub const SETTINGS_BYTES_MAX: usize = 16 << 10;
/// Entries of the name server's KV configuration, and bytes of one.
pub const KV_MAX: usize = 10_000;
/// Requests that wait for the disk or for a client at the same time.
pub const PENDING_MAX: usize = 100_000;
/// Messages that a query by key returns at most.
pub const QUERY_MESSAGES_MAX: usize = 64;
/// Candidates that a query by key reads at most: hashes collide.
pub const QUERY_CANDIDATES_MAX: usize = 256;
/// What a query by tag looks through at most of its topic's queues in index blocks, the newest of its time range first:
/// 24 MiB of entries, and as many blocks as the most queues have, one each, at some five pages.
pub const QUERY_TAG_MAX: Effort = Effort { entries: 1 << 20, blocks: 1 << 16 };
/// Bytes that a query by key reads of candidates, and returns.
pub const QUERY_BYTES_MAX: usize = 8 << 20;
/// Delayed messages of one level that are delivered in one step.
pub const SCHEDULE_STEP_MAX: usize = 256;
/// Lost delayed messages of all levels that a start names one by one; the rest it counts.
pub const LOST_DELAYS_MAX: usize = 100;
/// Bytes of delayed messages that are delivered in one step.
pub const SCHEDULE_BYTES_MAX: usize = 4 << 20;
/// A client that is asked something (307, 309) answers within this time, in ms.
pub const FORWARD_MS_MAX: i64 = 10_000;
/// Consumer offsets are written to the log at least this often, in ms.
pub const OFFSETS_INTERVAL_MS: i64 = 1_000;
/// Offsets that are written in one step: what is left follows in the next.
pub const OFFSETS_STEP_MAX: usize = 4_096;
/// A queue lock that is not renewed is free after this time, in ms (Apache's value).
pub const LOCK_EXPIRY_MS: i64 = 60_000;
/// Locks of one group.
pub const LOCKS_MAX: usize = 100_000;
/// Topics, and topics that a group reads, of which it is known how much there was lately: about 1 KiB each.
/// Those beyond are not told of until others have been idle for a day.
pub const RATES_MAX: usize = 20_000;
/// Topics that are looked at in one turn, every ten seconds while there is no room, for whether they were
/// idle that long.
pub const IDLE_STEP: usize = 500;
/// Rows of an answer that tells of many queues: about as many as fit in a frame.
pub const ROWS_MAX: usize = 80_000;
/// Look-ups in index blocks for the times in such an answer; further times are 0.
pub const LOOKUPS_MAX: usize = 10_000;
/// Topics that a request may name.
pub const TOPICS_NAMED_MAX: usize = 10_000;
/// Topics (18) or groups (225) that one request makes or changes: they take effect in one turn.
pub const LIST_MAX: usize = 500;
/// Queues of which one request copies offsets (314), in one turn.
pub const CLONE_MAX: usize = 50_000;
/// Queues that housekeeping asks the engine about at once: the engine waits for that.
pub const KEEPER_STEP: usize = 256;
/// Bytes that a start reads of index blocks behind the last snapshot, unless that is larger itself.
pub const SNAPSHOT_AFTER: usize = 4 << 20;
/// Bytes of a snapshot whose state is in memory at once while it is made, beside the engine's own: about
/// twice as much. For each part the last snapshot and the blocks behind it are read once more.
pub const SNAPSHOT_PART: usize = 64 << 20;
/// Bytes of a table of Apache's broker that is read: it is in memory at once, at a take-over.
pub const TABLE_BYTES_MAX: usize = 1 << 30;
