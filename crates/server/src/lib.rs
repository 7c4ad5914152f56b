//! The shell around the state machine: listeners, shards, the log thread, disk readers,
//! housekeeping. The only place where sockets, files, clock and engine meet.
//!
//! - [`listen`]: sockets are bound, connections handed to shards.
//! - [`sniff`]: a connection's first bytes say what is spoken.
//! - [`shard`]: one per core; reads frames, hands batches to the core, writes replies.
//! - [`connection`]: one connection's bytes, in and out.
//! - [`decode`]: a frame becomes a request, or a refusal.
//! - [`core`]: engine and name server behind one lock; whoever has a batch runs the turn.
//! - [`pen`]: what writes the log, for whoever holds it.
//! - [`logger`]: the log thread: rounds, syncs, watermarks.
//! - [`readers`]: cold reads and other long work.
//! - [`housekeeping`]: files ahead, deletion behind, room on the disk.
//! - [`register`]: name servers of other processes are told of the broker.
//! - [`settings`]: the configuration, and its changes while the server runs.
//! - [`http`]: health, metrics, configuration, version.
//! - [`start`]: from a configuration to a running server; [`stop`]: and back.
//! - [`limits`]: every limit of the shell, with its reason.

#![forbid(unsafe_code)]

pub mod clock;
pub mod condition;
pub mod connection;
pub mod core;
pub mod decode;
pub mod housekeeping;
pub mod http;
pub mod limits;
pub mod listen;
pub mod logger;
pub mod metrics;
pub mod options;
pub mod pen;
pub mod readers;
pub mod register;
pub mod settings;
pub mod shard;
pub mod sniff;
pub mod start;
pub mod stop;
#[cfg(debug_assertions)]
pub mod trial;

pub use kerolox_engine::apache::leave::LeaveError;
pub use kerolox_log::limits::FILE_SIZE_DEFAULT;
pub use options::{Advertise, Durability, Options, Ports, Retention, Roles};
pub use start::{Server, StartError};
pub use stop::{HandOverError, StopError, hand_over};
