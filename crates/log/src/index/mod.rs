//! From what a client asks for (queue offset, time, key) to a position in the log.
//!
//! In: every record that is appended or replayed. Out: places and numbers, never messages.
//!
//! - [`queue`], [`keys`]: the open stretch of the log, in memory: 24 bytes a message and 8 a key.
//! - [`block`]: a finished stretch, in a file of its own. [`build`] makes it from the log.
//! - [`lookup`]: from block to block; [`ahead`] keeps what it read beyond what was asked for.
//! - [`verify`]: whether all of that agrees with the log.

pub mod ahead;
pub mod block;
pub mod build;
pub mod keys;
pub mod lookup;
pub mod queue;
pub mod verify;
