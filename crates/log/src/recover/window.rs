//! The log as a walk reads it: in large reads, up to what the disk cannot read.

use std::io;

use kerolox_protocol::record::{MAGIC_V1, MAGIC_V2, SIZE_MIN, View, peek};

use super::{RecoverError, failed};
use crate::PhysicalOffset;
use crate::disk::{DiskFile, is_unreadable};
use crate::files::Files;
use crate::limits::ROUND_READ_MAX;

/// A stretch of one file in memory, which begins at the round under the walk.
pub(super) struct Window<'a> {
    files: &'a Files,
    begin: PhysicalOffset,
    bytes: Vec<u8>,
    /// Where `begin` is in `bytes`.
    skip: usize,
    /// The file has no more behind `bytes`.
    ended: bool,
}

/// Bytes of one read.
pub(super) const READ_SIZE: usize = 1 << 20;

impl<'a> Window<'a> {
    pub(super) fn new(files: &'a Files, begin: PhysicalOffset) -> Self {
        Window { files, begin, bytes: Vec::new(), skip: 0, ended: false }
    }

    fn held(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }

    /// Moves the window so that it begins at `begin`.
    fn seek(&mut self, begin: PhysicalOffset) {
        if begin == self.begin {
            return;
        }
        let file_size = self.files.file_size();
        let skip = begin.0.checked_sub(self.begin.0).and_then(|skip| usize::try_from(skip).ok());
        match skip.filter(|skip| *skip <= self.held().len()) {
            Some(skip) if begin.0 / file_size == self.begin.0 / file_size => self.skip += skip,
            _ => {
                self.bytes.clear();
                self.skip = 0;
                self.ended = false;
            }
        }
        // Moved only now and then: a round may be much smaller than a read.
        if self.skip > READ_SIZE {
            self.bytes.drain(..self.skip);
            self.skip = 0;
        }
        self.begin = begin;
    }

    /// Reads on until the window holds `size` bytes, or its file ends.
    fn fill(&mut self, size: usize) -> Result<(), RecoverError> {
        while self.held().len() < size && !self.ended {
            let held = self.held().len();
            let room = self.files.file_size() - self.begin.0 % self.files.file_size();
            let left = room - held as u64;
            let want = left.min(READ_SIZE.max(size - held) as u64) as usize;
            let Some((file, place)) = self.files.at(self.begin) else {
                self.ended = true;
                return Ok(());
            };
            let old = self.bytes.len();
            self.bytes.resize(old + want, 0);
            let (read, bad) = read_sound(&*file, &mut self.bytes[old..], place + held as u64)
                .map_err(|e| {
                    let at = self.begin.plus(held as u64);
                    failed(format!("reading the log at {at}"))(e)
                })?;
            self.bytes.truncate(old + read);
            self.ended = bad || read < want || left == want as u64;
        }
        Ok(())
    }

    /// The record `offset` bytes behind `round`, if there is one.
    pub(super) fn record(
        &mut self,
        round: PhysicalOffset,
        offset: usize,
    ) -> Result<Option<View<'_>>, RecoverError> {
        self.seek(round);
        self.fill(offset + 8)?;
        let Some((size, magic)) = self.held().get(offset..).and_then(peek) else { return Ok(None) };
        let size = size as usize;
        let sane = size >= SIZE_MIN && offset + size <= ROUND_READ_MAX;
        if (magic != MAGIC_V1 && magic != MAGIC_V2) || !sane {
            return Ok(None);
        }
        self.fill(offset + size)?;
        Ok(self.buffered(round, offset))
    }

    /// A record that was read before.
    pub(super) fn buffered(&self, round: PhysicalOffset, offset: usize) -> Option<View<'_>> {
        debug_assert_eq!(round, self.begin);
        View::parse(self.held().get(offset..)?).ok()
    }

    /// Bytes at a position; `None` if the file has fewer.
    pub(super) fn bytes(
        &mut self,
        at: PhysicalOffset,
        size: usize,
    ) -> Result<Option<&[u8]>, RecoverError> {
        self.seek(at);
        self.fill(size)?;
        Ok(self.held().get(..size))
    }
}

/// Reads as [`read_full`], but up to the first page that the disk cannot read; true if there is
/// one. Such a page is damage, not the end of the start, and what lies before it is sound.
pub(super) fn read_sound(
    file: &dyn DiskFile,
    buf: &mut [u8],
    at: u64,
) -> io::Result<(usize, bool)> {
    let mut done = 0;
    let mut most = buf.len();
    while done < buf.len() {
        let place = at + done as u64;
        let end = buf.len().min(done + most);
        match file.read_at(&mut buf[done..end], place) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if is_unreadable(&e) => {
                let page = PAGE - place as usize % PAGE;
                if most <= page {
                    return Ok((done, true));
                }
                // The call may have failed for a page far behind.
                most = page;
                continue;
            }
            Err(e) => return Err(e),
        }
        most = most.max(PAGE);
    }
    Ok((done, false))
}

pub(super) const PAGE: usize = 4096;

/// Where the page behind that of a place begins.
pub(super) fn behind_page(place: u64) -> u64 {
    (place / PAGE as u64 + 1) * PAGE as u64
}
