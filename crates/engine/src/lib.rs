//! The broker's state machine: everything that a request can do, and nothing else. No sockets, no
//! files, no clock, no locks, no async: the shell (`server/`) hands in typed requests and the
//! time, and takes out replies and effects. In tests a simulator does.
//!
//! - [`request`]: the closed list of requests, decoded from frames.
//! - [`turn`]: [`Engine`], one turn after the other.
//! - [`requests`]: one file for each request, in the order parse → check → apply → reply.
//! - [`state`]: what survives a crash, changed only by what is in the log ([`change`]).
//! - [`topics`], [`groups`], [`offsets`], [`schedule`]: its parts.
//! - [`members`], [`locks`], [`park`], [`load`], [`rates`]: what is gone with the connection or the process.
//! - [`keeper`]: index blocks and snapshots of it, made beside the turns; what a start finds of
//!   them is in `takeover`; [`links`]: from these to those.
//! - [`apache`]: a data directory changes hands.
//! - [`watermark`]: what is confirmed becomes visible and wakes waiting pulls.

#![forbid(unsafe_code)]

pub mod apache;
pub mod change;
pub mod config;
pub mod groups;
pub mod keeper;
pub mod limits;
pub mod links;
pub mod load;
pub mod locks;
pub mod lost_delays;
pub mod members;
pub mod offsets;
pub mod output;
pub mod park;
pub mod rates;
pub mod request;
pub mod requests;
pub mod schedule;
pub mod state;
mod takeover;
pub mod topics;
pub mod turn;
pub mod watermark;

pub use config::Config;
pub use output::{
    Answer, ColdPull, Completion, ConnectionId, Load, LoadItem, Loaded, Message, Output, Push,
};
pub use request::{Incoming, Origin, Request};
pub use state::State;
pub use turn::Engine;
