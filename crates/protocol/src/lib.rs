//! RocketMQ's bytes and nothing else: remoting frames, request and reply headers, JSON bodies,
//! stored messages, properties, ids, names and tag filters.
//!
//! Everything here is pure: no I/O, no clock, no logging. Bytes come from the network or from the
//! disk, so no decoder panics, and none allocates more than its input justifies.
//!
//! Reading order: a frame arrives ([`remoting::frame`]), its header is decoded into a typed
//! request ([`remoting`]), a message becomes a record ([`record`]) with properties
//! ([`properties`]).

#![forbid(unsafe_code)]

pub mod batch;
pub mod ids;
pub mod json;
pub mod names;
pub mod properties;
pub mod record;
pub mod remoting;
pub mod tags;
pub mod time;

pub use bytestring::ByteString;
