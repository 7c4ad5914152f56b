//! Rounds go to the files: one write for all that are closed, one sync for all that are written.
//!
//! In: [`Round`]s from [`crate::append`]. Out: the watermarks `written` and `flushed`, which
//! release the waiting replies (`engine/src/watermark.rs`). Runs on the log thread.

use std::io;
use std::sync::Arc;

use crate::PhysicalOffset;
use crate::append::Round;
use crate::disk::DiskFile;
use crate::files::Files;

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

    /// Writes rounds that follow each other, with one call for each file.
    pub fn write<'a>(&mut self, rounds: impl IntoIterator<Item = &'a Round>) -> io::Result<()> {
        self.refuse_after_failure()?;
        let file_size = self.files.file_size();
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut begin = None;
        let mut rounds = rounds.into_iter().peekable();
        let mut follows = self.marks.written;
        while let Some(round) = rounds.next() {
            // A hole would end the log at the next start, whatever was acknowledged behind it.
            debug_assert_eq!(round.begin, follows, "the round follows what is written");
            follows = round.next;
            let start = *begin.get_or_insert(round.begin);
            parts.push(&round.bytes);
            let same_file =
                rounds.peek().is_some_and(|next| next.begin.0 / file_size == start.0 / file_size);
            if !same_file {
                let written = self.write_parts(&parts, start);
                self.failed |= written.is_err();
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

    /// Syncs what was written, the older file first.
    pub fn sync(&mut self) -> io::Result<()> {
        self.refuse_after_failure()?;
        for dirty in self.dirty.drain(..) {
            if let Err(e) = dirty.file.sync() {
                self.failed = true;
                return Err(e);
            }
        }
        self.marks.flushed = self.marks.written;
        Ok(())
    }

    fn refuse_after_failure(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write or sync of the log failed"));
        }
        Ok(())
    }
}
