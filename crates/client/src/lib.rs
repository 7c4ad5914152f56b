//! A small remoting client: for the load generator, for tests, and for the admin commands.
//!
//! In: typed headers and bodies of [`kerolox_protocol`]. Out: replies of any RocketMQ broker or
//! name server.
//!
//! - [`Connection`]: one TCP connection, any number of requests in flight, replies matched by
//!   opaque. [`Connection::call`] asks anything; `calls` has a method for each common request.
//! - [`Client`]: finds brokers through a name server and keeps one connection to each.
//!
//! Nothing is ever sent twice: who wants a retry does it himself.

#![forbid(unsafe_code)]

mod calls;
mod client;
mod connection;
mod error;
mod reply;
mod wire;

pub use calls::PullReply;
pub use client::{Client, Master, new_topic};
pub use connection::{Connection, Options};
pub use error::{Error, Result};
pub use kerolox_protocol::remoting::frame::Form;
pub use reply::{Incoming, OwnedReply};
