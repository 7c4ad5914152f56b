//! The name server: which brokers there are, and which topics they hold.
//!
//! A synchronous state machine. In: a [`Request`], decoded from a frame by whoever has the
//! connection; who asks ([`Caller`]); the time. Out: an [`Answer`], and what must be in the
//! caller's log before that answer may leave ([`KvChange`]). It knows neither sockets nor clocks,
//! and nothing is stored here: brokers tell again what they hold, and the KV table is the log's.
//!
//! Reading order: `request` decodes, `names` applies, `table` is what it applies to; then a
//! file for each family of requests:
//!
//! | file | requests |
//! |---|---|
//! | `route.rs` | 105 |
//! | `topics.rs` | 106, 206, 216, 224 |
//! | `brokers.rs` | 103, 104, 217, 322, 904 |
//! | `permission.rs` | 205, 327 |
//! | `kv.rs` | 100, 101, 102, 219 |

#![forbid(unsafe_code)]

mod names;
mod request;
mod table;

mod brokers;
mod kv;
mod permission;
mod route;
mod topics;

mod bare_keys;
mod limits;
mod registration;
mod suggest;

#[cfg(test)]
mod testing;

pub use kv::KvChange;
pub use names::{Answer, Caller, LocalBroker, Names, Options};
pub use registration::Registration;
pub use request::{DecodeError, Request};
pub use table::{Advertised, Departed, Rival};
