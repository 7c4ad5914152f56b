//! From what a client asks for (queue offset, time, key) to a position in the log.
//!
//! In: every record that is appended or replayed. Out: places and numbers, never messages.
//!
//! For now all of it is in memory and rebuilt from the log at a start: about 32 bytes a message.
//! What stands behind this interface will change; the interface will not.

pub mod keys;
pub mod queue;
