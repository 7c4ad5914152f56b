//! `kerolox demo`: what a message queue is for, in one minute.
//!
//! In: a few arguments. Out: an order system told live in three acts, and at the end a table of claims with
//! the figures that were counted. The broker is a whole one in this process, on free ports of the loopback
//! address, with its data in a folder that goes away; orders and services speak the real protocol with it.
//!
//! - [`args`]: what can be asked for. [`plan`]: how long and how fast each act is.
//! - [`broker`]: the embedded server. [`stage`]: all that plays, put together.
//! - [`orders`]: the producer, and its books of what was accepted. [`services`]: the three consumers, and
//!   their books of what was done. [`store`]: a store that refuses what is more than it can do.
//! - [`acts`]: the three acts, a file each.
//! - [`live`]: what is to be seen now. [`screen`]: on a terminal ([`block`]), or as plain lines; [`web`]:
//!   as a page.
//! - [`report`]: the figures, the table, JSON.

#![forbid(unsafe_code)]

mod acts;
mod args;
mod block;
mod broker;
mod error;
mod live;
mod orders;
mod plan;
mod report;
mod run;
mod screen;
mod services;
mod stage;
mod store;
mod web;

pub use args::DemoArgs;
pub use error::DemoError;
pub use run::run;
