//! The commit log: Apache RocketMQ's record format, written in sealed rounds, recovered by what
//! the seals prove.
//!
//! In: records and state changes of one turn ([`append`]). Out: positions, watermarks, and, at a
//! start, everything that may be believed, once more ([`recover`]).
//!
//! - [`handover`]: whether the directory is ours, or Apache's broker may have been there.
//! - [`adopted`]: which parts of the log that broker wrote.
//! - [`append`]: offsets are assigned, a round grows in memory; pure.
//! - [`seal`]: the internal record that closes a round.
//! - [`flush`]: rounds go to the files and are synced.
//! - [`tail`]: recent rounds stay in memory.
//! - [`files`]: the log's files, made ahead and deleted behind.
//! - [`recover`]: find the end of the log, replay it, cut what is not proven.
//! - [`survey`]: the same look at a log that nobody uses, without a change.
//! - [`retention`]: which files go, when, and why.
//! - [`read`]: records that are no longer in memory, checked before they are used.
//! - [`index`]: queue offset, time and key → position.
//! - [`rocksdb`]: the databases of Apache RocketMQ, read when its data directory is taken over.
//! - [`disk`]: the only way to files; real or simulated.
//! - [`rules`]: what the simulation may switch off, to prove that it would notice.

#![forbid(unsafe_code)]

pub mod adopted;
pub mod append;
pub mod arena;
pub mod disk;
pub mod files;
pub mod flush;
pub mod handover;
pub mod identity;
pub mod index;
pub mod limits;
pub mod read;
pub mod recover;
pub mod retention;
pub mod rocksdb;
pub mod rules;
pub mod seal;
pub mod snapshot;
pub mod survey;
pub mod tail;

/// A position in the commit log: bytes from the start of the log, not of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysicalOffset(pub u64);

impl PhysicalOffset {
    /// The position `bytes` further on.
    pub fn plus(self, bytes: u64) -> Self {
        PhysicalOffset(self.0 + bytes)
    }
}

impl std::fmt::Display for PhysicalOffset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// CRC32 of a whole record, as seals and index have it.
pub fn record_crc(record: &[u8]) -> u32 {
    crc32fast::hash(record)
}
