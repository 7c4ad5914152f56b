//! What is fuzzed: for each target a function that takes any bytes, panics if something is wrong,
//! and returns otherwise.
//!
//! `fuzz/` runs them under libFuzzer; `tests/corpus.rs` replays the seeds there, and mutations of
//! them, in every test run.
//!
//! - [`frame`]: a frame as a connection reads it, every header, every body.
//! - [`message`]: stored messages, batches, bodies in fastjson's dialect.
//! - [`state`]: seals, state changes, snapshots and index blocks, with their checksums made right.
//! - [`rocksdb`]: databases of Apache RocketMQ.
//! - [`recovery`]: a whole log, arbitrary or damaged.

#![forbid(unsafe_code)]

mod frame;
mod message;
mod recovery;
mod rocksdb;
mod state;

pub use frame::frame;
pub use message::{batch, dialect, record};
pub use recovery::recovery;
pub use rocksdb::rocksdb;
pub use state::{block, seal, snapshot};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 9] = [
    ("frame", frame),
    ("record", record),
    ("batch", batch),
    ("dialect", dialect),
    ("seal", seal),
    ("snapshot", snapshot),
    ("block", block),
    ("recovery", recovery),
    ("rocksdb", rocksdb),
];
