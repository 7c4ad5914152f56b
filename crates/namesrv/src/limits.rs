//! How much others may make this process remember. Registrations need no password, so each number
//! here bounds memory against a faulty or hostile peer; each is far above what real clusters have.

/// Broker names. The largest known clusters have a few hundred; a route question looks at each.
pub(crate) const BROKERS_MAX: usize = 2048;

/// Replicas of one broker name.
pub(crate) const REPLICAS_MAX: usize = 64;

/// Bytes of a broker's or cluster's name. Brokers make topics of both names, so what a topic's
/// name may have is enough.
pub(crate) const NAME_LENGTH_MAX: usize = 255;

/// Bytes of an address: a host name has at most 253, a colon and a port 6.
pub(crate) const ADDRESS_LENGTH_MAX: usize = 260;

/// Topics in one registration. A frame of 16 MiB holds some 90,000 as JSON; compressed, more.
pub(crate) const REGISTRATION_TOPICS_MAX: usize = 500_000;

/// Topics of all brokers of other processes together, at about 100 bytes each.
pub(crate) const TOPIC_ROWS_MAX: usize = 1_000_000;

/// Bytes of a registration after decompression: 500,000 topics at about 130 bytes.
pub(crate) const INFLATED_SIZE_MAX: usize = 64 * 1024 * 1024;

/// Bytes of all KV entries. A list of them fits in a frame even if JSON escapes each byte, to six.
pub(crate) const KV_SIZE_MAX: usize = 2 * 1024 * 1024;

/// Bytes of one entry: it is one state change in the log, where each of its texts has two bytes for
/// its length, and the smallest log file must hold it.
pub(crate) const KV_ENTRY_MAX: usize = 32 * 1024;

/// What an entry counts beside its texts, so that many empty ones are bounded too.
pub(crate) const KV_ENTRY_COST: usize = 64;

/// Bytes of a reply's body: a frame's, less a header.
pub(crate) const BODY_SIZE_MAX: usize =
    kerolox_protocol::remoting::frame::FRAME_LENGTH_MAX - 64 * 1024;

/// Topics above which no similar names are looked for: 10,000 comparisons are a millisecond or so.
pub(crate) const SUGGEST_TOPICS_MAX: usize = 10_000;

/// Bytes of a caller's text that a remark repeats.
pub(crate) const REMARK_ECHO_MAX: usize = 512;

const _: () = assert!(KV_SIZE_MAX * 6 < BODY_SIZE_MAX);
