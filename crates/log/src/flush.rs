//! Rounds go to the files: one write for all that are closed, one sync for all that are written.
//!
//! In: [`Round`]s from [`crate::append`]. Out: the watermarks `written` and `flushed`, which
//! release the waiting replies (`engine/src/watermark.rs`). Runs on the log thread.

use std::io;
use std::sync::Arc;

use crate::PhysicalOffset;
use crate::append::Round;
use crate::disk::{DiskFile, is_full, is_short_of_descriptors};
use crate::files::Files;
use crate::rules::{self, Rule};

/// How far the log is. `flushed ≤ written`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Handed to the operating system: survives the process.
    pub written: PhysicalOffset,
    /// Synced to the disk: survives the machine.
    pub flushed: PhysicalOffset,
}

/// Writes and syncs. After an error nothing more is written: what the disk holds is unknown, and a
/// second fsync would call lost pages clean.
#[derive(Debug)]
pub struct Writer {
    files: Arc<Files>,
    marks: Watermarks,
    /// Files with unsynced bytes, the older first.
    dirty: Vec<DirtyFile>,
    failed: bool,
}

struct DirtyFile {
    base: u64,
    file: Arc<dyn DiskFile>,
}

impl std::fmt::Debug for DirtyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.base.fmt(f)
    }
}

impl Writer {
    /// Goes on at `end`, up to which everything is synced.
    pub fn new(files: Arc<Files>, end: PhysicalOffset) -> Self {
        let marks = Watermarks { written: end, flushed: end };
        Writer { files, marks, dirty: Vec::new(), failed: false }
    }

    /// How far the log is.
    pub fn watermarks(&self) -> Watermarks {
        self.marks
    }

    /// Whether housekeeping should write more zeros ahead, before the log is there.
    pub fn is_low(&self) -> bool {
        self.files.is_low(self.marks.written)
    }

    /// Whether a write may be tried again: the disk was full, or the next file could not be opened
    /// for want of descriptors; nothing else happened.
    pub fn can_try_again(&self) -> bool {
        !self.failed
    }

    /// Writes rounds that follow each other, with one call for each file. Where the disk is full
    /// they may be given once more: those that were written are left out then. A round that is
    /// missing fails the log.
    pub fn write<'a>(&mut self, rounds: impl IntoIterator<Item = &'a Round>) -> io::Result<()> {
        self.refuse_after_failure()?;
        let file_size = self.files.file_size();
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut begin = None;
        let written = self.marks.written;
        let mut rounds = rounds.into_iter().filter(|round| round.begin >= written).peekable();
        let mut follows = written;
        while let Some(round) = rounds.next() {
            // A hole would end the log at the next start, whatever was acknowledged behind it.
            if round.begin != follows {
                self.failed = true;
                let why = format!("the round at {} does not follow {follows}", round.begin);
                return Err(io::Error::other(why));
            }
            follows = round.next;
            let start = *begin.get_or_insert(round.begin);
            parts.push(&round.bytes);
            let same_file =
                rounds.peek().is_some_and(|next| next.begin.0 / file_size == start.0 / file_size);
            if !same_file {
                let written = self.write_parts(&parts, start);
                let passes = |e: &io::Error| is_full(e) || is_short_of_descriptors(e);
                self.failed |= written.as_ref().is_err_and(|e| !passes(e));
                written?;
                parts.clear();
                begin = None;
                debug_assert!(round.next >= self.marks.written);
                self.marks.written = round.next;
            }
        }
        Ok(())
    }

    fn write_parts(&mut self, parts: &[&[u8]], at: PhysicalOffset) -> io::Result<()> {
        let (file, place) = self.files.at_or_make(at)?;
        let base = at.0 - place;
        let size: usize = parts.iter().map(|part| part.len()).sum();
        self.files.claim(at.plus(size as u64));
        file.write_at(parts, place)?;
        if self.dirty.last().is_none_or(|last| last.base != base) {
            self.dirty.push(DirtyFile { base, file });
        }
        Ok(())
    }

    /// Syncs what was written.
    pub fn sync(&mut self) -> io::Result<()> {
        let unsynced = self.take_unsynced()?;
        let result = unsynced.sync();
        self.synced(unsynced, result)
    }

    /// What was written and is not synced yet. [`Unsynced::sync`] syncs it, while more may be written,
    /// and [`Writer::synced`] must be told how that went.
    pub fn take_unsynced(&mut self) -> io::Result<Unsynced> {
        self.refuse_after_failure()?;
        let mut files = std::mem::take(&mut self.dirty);
        if !rules::holds(Rule::SyncOlderFirst) {
            files.reverse();
        }
        if !rules::holds(Rule::SyncEveryFile) {
            files.drain(..files.len().saturating_sub(1));
        }
        Ok(Unsynced { files, end: self.marks.written })
    }

    /// Moves the watermark, if the sync succeeded.
    pub fn synced(&mut self, unsynced: Unsynced, result: io::Result<()>) -> io::Result<()> {
        self.failed |= result.is_err();
        result?;
        self.marks.flushed = unsynced.end;
        Ok(())
    }

    fn refuse_after_failure(&self) -> io::Result<()> {
        if self.failed && rules::holds(Rule::StopAfterFailure) {
            return Err(io::Error::other("an earlier write or sync of the log failed"));
        }
        Ok(())
    }
}

/// What a sync covers.
#[derive(Debug)]
#[must_use]
pub struct Unsynced {
    files: Vec<DirtyFile>,
    end: PhysicalOffset,
}

impl Unsynced {
    /// Syncs it, the older file first.
    pub fn sync(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|dirty| dirty.file.sync())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::append::{Appender, Resume};
    use crate::disk::fault::{FaultDisk, Faults};
    use crate::disk::{Disk, Open, read_full};
    use crate::identity::Identity;
    use crate::seal::Link;

    const FILE_SIZE: u64 = 64 << 10;

    #[test]
    fn what_a_full_disk_did_not_take_is_written_when_there_is_room() {
        let disk = FaultDisk::default();
        let dir = Path::new("/data");
        disk.create_dir(dir).unwrap();
        let files = Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).unwrap();
        let resume =
            Resume { next: PhysicalOffset(0), before: Link::NONE, store_timestamp: 0, start: 1 };
        let mut log = Appender::new(Identity { number: [1; 16], writer: 2 }, FILE_SIZE, resume);
        let mut writer = Writer::new(Arc::new(files), PhysicalOffset(0));
        let mut expected = Vec::new();
        for i in 0..60 {
            log.change(&vec![i; 5000]);
            log.take_last_seal().iter().for_each(|round| {
                expected.resize(round.begin.0 as usize, 0);
                expected.extend_from_slice(&round.bytes);
                // Room for a part of what is written, each time for some more.
                let mut room = 0;
                loop {
                    disk.set_faults(Faults { room: Some(room), ..Faults::default() });
                    match writer.write([round]) {
                        Ok(()) => break,
                        Err(e) => assert!(is_full(&e) && writer.can_try_again(), "{e}"),
                    }
                    room += 1500;
                }
                assert_eq!(writer.watermarks().written, round.next);
            });
        }
        writer.sync().unwrap();
        let mut found = Vec::new();
        for base in (0..expected.len() as u64).step_by(FILE_SIZE as usize) {
            let path = dir.join("commitlog").join(format!("{base:020}"));
            let mut bytes = vec![0; FILE_SIZE as usize];
            read_full(&*disk.open(&path, Open::Read).unwrap(), &mut bytes, 0).unwrap();
            found.extend(bytes);
        }
        assert!(expected.len() > 4 * FILE_SIZE as usize);
        assert!(found[..expected.len()] == expected);
    }
}
