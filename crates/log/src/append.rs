//! The growing end of the log: offsets are assigned, record bytes are written to memory, and
//! rounds are closed with a seal. Pure: no I/O, no clock.
//!
//! In: records and state changes, from the engine's turn (`engine/src/turn.rs`). Out: closed
//! [`Round`]s, which the log thread fetches and writes ([`crate::flush`]).
//!
//! A round never spans files. Room for its seal and for the blank behind it is kept free from the
//! first record on, so closing a round always succeeds and never moves an offset.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kerolox_protocol::record::{BLANK_SIZE, NewRecord, write_blank};

use crate::PhysicalOffset;
use crate::arena::Arenas;
use crate::identity::Identity;
use crate::limits::{
    ARENA_BYTES, ARENAS_MAX, DISK_MARGIN, RECORD_MAX, ROUND_BYTES_MAX, ROUND_CHANGES_MAX,
    ROUND_READ_MAX, ROUND_RECORDS_MAX,
};
use crate::rules::{self, Rule};
use crate::seal::{self, FLAG_END_OF_FILE, FLAG_FIRST, Link, Listed, Seal};

/// A closed round: what one write takes to the file.
#[derive(Debug, Clone)]
pub struct Round {
    pub begin: PhysicalOffset,
    /// Records, the seal, and the blank's fields if the file ends here.
    pub bytes: Bytes,
    /// Behind the seal: what is confirmed once this round is.
    pub end: PhysicalOffset,
    /// Where the next round begins: [`Round::end`], or the start of the next file.
    pub next: PhysicalOffset,
    /// Records beside the seal.
    pub records: usize,
    /// Bytes of the seal: what the round costs beside its messages.
    pub seal_bytes: usize,
}

/// A record that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub offset: PhysicalOffset,
    pub size: u32,
    /// CRC32 of the whole record.
    pub crc: u32,
    /// Milliseconds; never less than that of the record before.
    pub store_timestamp: i64,
}

impl Appended {
    /// Behind the record: it is confirmed when the watermark is here or further.
    pub fn end(&self) -> PhysicalOffset {
        self.offset.plus(u64::from(self.size))
    }
}

/// Why a record was not appended. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the record has {size} bytes, the largest that fits a commit log file here is {max}")]
    TooLarge { size: usize, max: usize },
    /// The disk has no room behind this position.
    #[error("the disk is full: no room for the log behind position {0}")]
    DiskFull(PhysicalOffset),
}

/// Where the log goes on after recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Where the next round begins.
    pub next: PhysicalOffset,
    /// The last good seal.
    pub before: Link,
    /// The last store timestamp, ms.
    pub store_timestamp: i64,
    /// Number of this start.
    pub start: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Appender {
    identity: Identity,
    start: u64,
    file_size: u64,
    begin: PhysicalOffset,
    buf: BytesMut,
    arenas: Arenas,
    list: Vec<Listed>,
    changes: Vec<u8>,
    before: Link,
    flushed: PhysicalOffset,
    first: bool,
    store_timestamp: i64,
    closed: VecDeque<Round>,
    disk_end: Option<PhysicalOffset>,
}

/// The epoch of a single node; elections come with replication.
const EPOCH: u64 = 1;

impl Appender {
    /// Bytes of a commit log file.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// Goes on behind what recovery found. `file_size`: bytes of a commit log file.
    pub fn new(identity: Identity, file_size: u64, resume: Resume) -> Self {
        let arenas = Arenas::new(ARENA_BYTES, ARENAS_MAX);
        Appender {
            identity,
            start: resume.start,
            file_size,
            begin: resume.next,
            buf: arenas.first(),
            arenas,
            list: Vec::new(),
            changes: Vec::new(),
            before: resume.before,
            flushed: resume.next,
            first: true,
            store_timestamp: resume.store_timestamp,
            closed: VecDeque::new(),
            disk_end: None,
        }
    }

    /// Where the next record will stand.
    pub fn end(&self) -> PhysicalOffset {
        self.begin.plus(self.buf.len() as u64)
    }

    /// Where the open round begins.
    pub fn begin(&self) -> PhysicalOffset {
        self.begin
    }

    /// A position that is confirmed only with what was appended so far, state changes included.
    pub fn confirm_at(&self) -> PhysicalOffset {
        if self.is_open() {
            self.end().plus(1)
        } else {
            self.closed.back().map_or(self.begin, |round| round.end)
        }
    }

    /// Whether the open round holds anything.
    pub fn is_open(&self) -> bool {
        !self.list.is_empty() || !self.changes.is_empty()
    }

    /// Bytes of the open round so far, without those of its seal that are the same in all.
    pub fn open_bytes(&self) -> usize {
        self.buf.len() + self.changes.len()
    }

    /// The seal behind which the next round stands.
    pub fn before(&self) -> Link {
        self.before
    }

    /// Whether closed rounds wait to be fetched.
    pub fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// The last store timestamp given, in ms.
    pub fn store_timestamp(&self) -> i64 {
        self.store_timestamp
    }

    /// The log thread tells how far the disk is flushed; the next seal says so.
    pub fn set_flushed(&mut self, flushed: PhysicalOffset) {
        debug_assert!(flushed >= self.flushed, "the flushed watermark never goes back");
        self.flushed = flushed;
    }

    /// How far the disk is flushed.
    pub fn flushed(&self) -> PhysicalOffset {
        self.flushed
    }

    /// The disk is full behind `end`; `None`: there is room again.
    pub fn set_disk_end(&mut self, end: Option<PhysicalOffset>) {
        self.disk_end = end;
    }

    /// Where the disk ends, if it is full.
    pub fn disk_end(&self) -> Option<PhysicalOffset> {
        self.disk_end
    }

    /// The largest record that a file can hold beside its seal.
    pub fn record_max(&self) -> usize {
        let overhead = (seal::size(1, ROUND_CHANGES_MAX.min(4096)) + BLANK_SIZE) as u64;
        usize::try_from(self.file_size - overhead).map_or(RECORD_MAX, |max| max.min(RECORD_MAX))
    }

    /// Bytes that the file of the open round has behind the round's begin.
    fn room(&self) -> u64 {
        self.file_size - self.begin.0 % self.file_size
    }

    /// Whether `bytes` more, in `records` records and `changes` bytes of changes, leave room for
    /// the seal and the blank.
    fn fits(&self, bytes: usize, records: usize, changes: usize) -> bool {
        let seal = seal::size(self.list.len() + records, self.changes.len() + changes);
        let closing = if rules::holds(Rule::RoomForSeal) { seal + BLANK_SIZE } else { 0 };
        (self.buf.len() + bytes + closing) as u64 <= self.room()
    }

    /// Whether the disk can take `bytes` more and what closes a round behind them.
    fn check_disk(&self, bytes: usize) -> Result<(), AppendError> {
        match self.disk_end {
            Some(end) => {
                // Twice a seal's room: the round may roll into the next file first.
                let seal = seal::size(self.list.len() + 1, self.changes.len());
                let need = (bytes + 2 * (seal + BLANK_SIZE)) as u64 + DISK_MARGIN;
                let fits = self.end().plus(need) <= end && self.fits(bytes, 1, 0);
                if fits { Ok(()) } else { Err(AppendError::DiskFull(end)) }
            }
            None => Ok(()),
        }
    }

    /// Appends a record. `now`: milliseconds since 1970.
    pub fn append(
        &mut self,
        record: &NewRecord<'_>,
        queue_offset: i64,
        now: i64,
    ) -> Result<Appended, AppendError> {
        let size = record.size();
        let max = self.record_max();
        if size > max {
            return Err(AppendError::TooLarge { size, max });
        }
        self.check_disk(size)?;
        self.make_room(size, 1, 0);
        let least = if rules::holds(Rule::StoreTime) { self.store_timestamp } else { now };
        self.store_timestamp = now.max(least);
        let offset = self.end();
        let at = self.buf.len();
        self.reserve(size);
        record.write(queue_offset, offset.0, self.store_timestamp, &mut self.buf);
        let crc = crc32fast::hash(&self.buf[at..]);
        let size = size as u32;
        self.list.push(Listed { size, crc });
        Ok(Appended { offset, size, crc, store_timestamp: self.store_timestamp })
    }

    /// Closes the open round if it is full or its file is, so that what comes next fits.
    fn make_room(&mut self, bytes: usize, records: usize, changes: usize) {
        let seal = seal::size(self.list.len() + records, self.changes.len() + changes);
        let need = bytes + seal + BLANK_SIZE;
        // A round stays in one arena: growing it would copy what it holds again and again.
        let full = self.buf.capacity() - self.buf.len() < need
            || self.list.len() + records > ROUND_RECORDS_MAX
            || self.buf.len() + bytes > ROUND_BYTES_MAX
            || self.changes.len() + changes > ROUND_CHANGES_MAX;
        if (full && self.is_open()) || !self.fits(bytes, records, changes) {
            let closing = seal::size(self.list.len(), self.changes.len());
            let next_round = bytes + seal::size(records, changes) + BLANK_SIZE;
            let fits_behind = (self.buf.len() + closing + next_round) as u64 <= self.room();
            self.close_round_as(!fits_behind);
        }
    }

    /// Makes room in the arena. The open round moves to a fresh one if this is full.
    fn reserve(&mut self, size: usize) {
        if self.buf.capacity() - self.buf.len() < size {
            let open = self.buf.split();
            let full = std::mem::take(&mut self.buf);
            self.buf = self.arenas.next(full, open.len() + size);
            self.buf.extend_from_slice(&open);
        }
    }

    /// Adds a state change to the open round.
    pub fn change(&mut self, change: &[u8]) {
        self.make_room(0, 0, seal::change_size(change));
        seal::push_change(&mut self.changes, self.list.len() as u32, change);
    }

    /// Makes sure that `records` records of `bytes` bytes in all, and `changes` bytes of state
    /// changes, which follow now, will stand in one round: all are believed after a crash, or none.
    /// What is larger than a round may be is not kept together.
    pub fn keep_together(&mut self, bytes: usize, records: usize, changes: usize) {
        if !rules::holds(Rule::KeepTogether) {
            return;
        }
        self.make_room(bytes, records, changes);
        let seal = seal::size(self.list.len() + records, self.changes.len() + changes);
        self.reserve((bytes + seal + BLANK_SIZE).min(ROUND_READ_MAX));
    }

    /// Whether the disk has room for state changes. Messages leave some when it is full.
    pub fn has_room_for_changes(&self) -> bool {
        self.disk_end.is_none_or(|end| self.end().plus(DISK_MARGIN / 4) <= end)
    }

    /// Closes the open round, if it holds anything, and takes all closed rounds.
    pub fn take_rounds(&mut self) -> VecDeque<Round> {
        if self.is_open() {
            self.close_round_as(false);
        }
        std::mem::take(&mut self.closed)
    }

    /// Closes a round even if it is empty: its seal tells how far the disk is flushed.
    pub fn take_last_seal(&mut self) -> VecDeque<Round> {
        self.close_round_as(false);
        std::mem::take(&mut self.closed)
    }

    fn close_round_as(&mut self, end_of_file: bool) {
        let position = self.end();
        let seal_bytes = seal::size(self.list.len(), self.changes.len());
        let end = position.plus(seal_bytes as u64);
        let file_end = self.begin.plus(self.room());
        // No later round would fit: say that the blank follows.
        let left = file_end.0 - end.0;
        let end_of_file = end_of_file || left < (seal::SIZE_MIN + BLANK_SIZE) as u64;
        let mut flags = 0;
        if end_of_file && rules::holds(Rule::EndOfFile) {
            flags |= FLAG_END_OF_FILE;
        }
        if std::mem::take(&mut self.first) {
            flags |= FLAG_FIRST;
        }
        let seal = Seal {
            flags,
            writer: self.identity.writer,
            epoch: EPOCH,
            start: self.start,
            begin: self.begin,
            before: self.before,
            flushed: if rules::holds(Rule::HonestSeal) { self.flushed } else { position },
            list: std::mem::take(&mut self.list),
            changes: std::mem::take(&mut self.changes),
        };
        self.reserve(seal_bytes + BLANK_SIZE);
        seal.write(&self.identity, position, self.store_timestamp, &mut self.buf);
        if end_of_file {
            write_blank(left as usize, &mut self.buf);
        }
        let next = if end_of_file { file_end } else { end };
        self.closed.push_back(Round {
            begin: self.begin,
            bytes: self.buf.split().freeze(),
            end,
            next,
            records: seal.list.len(),
            seal_bytes,
        });
        self.before = Link { position: position.0, list_crc: seal::list_crc(&seal.list) };
        self.begin = next;
        // The lists' memory serves the next round.
        self.list = seal.list;
        self.list.clear();
        self.changes = seal.changes;
        self.changes.clear();
    }
}

const _: () = assert!(ROUND_BYTES_MAX < u32::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::record::{MAGIC_BLANK, View, peek};

    fn appender(file_size: u64) -> Appender {
        let resume =
            Resume { next: PhysicalOffset(0), before: Link::NONE, store_timestamp: 0, start: 1 };
        Appender::new(Identity { number: [1; 16], writer: 2 }, file_size, resume)
    }

    fn record(body: &[u8]) -> NewRecord<'_> {
        let host = "127.0.0.1:1".parse().unwrap();
        NewRecord {
            topic: "t",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: b"",
        }
    }

    #[test]
    fn rounds_stand_back_to_back_and_never_span_files() {
        let mut log = appender(64 << 10);
        let mut next = PhysicalOffset(0);
        let mut rolled = 0;
        for i in 0..400usize {
            let body = vec![7; i * 37 % 9000];
            let appended = log.append(&record(&body), i as i64, 5).unwrap();
            if i % 3 == 0 {
                log.change(&[1; 50]);
            }
            if i % 2 == 1 {
                continue;
            }
            for round in log.take_rounds() {
                assert_eq!(round.begin, next);
                assert_eq!(round.begin.0 >> 16, (round.end.0 - 1) >> 16, "spans files");
                let mut at = 0;
                let end = (round.end.0 - round.begin.0) as usize;
                while at < end {
                    let view = View::parse(&round.bytes[at..]).unwrap();
                    assert_eq!(view.physical_offset, round.begin.0 + at as u64);
                    at += view.bytes.len();
                }
                if round.next != round.end {
                    rolled += 1;
                    let (room, magic) = peek(&round.bytes[end..]).unwrap();
                    assert_eq!((u64::from(room), magic), (round.next.0 - round.end.0, MAGIC_BLANK));
                }
                next = round.next;
            }
            assert!(appended.end() <= next);
        }
        assert!(rolled > 10);
    }

    #[test]
    fn what_no_file_can_hold_is_refused() {
        let mut log = appender(64 << 10);
        let body = vec![0; 64 << 10];
        assert!(matches!(log.append(&record(&body), 0, 0), Err(AppendError::TooLarge { .. })));
        let end = PhysicalOffset(DISK_MARGIN + 3000);
        log.set_disk_end(Some(end));
        log.append(&record(&[0; 1000]), 0, 0).unwrap();
        let full = log.append(&record(&[0; 2000]), 1, 0).unwrap_err();
        assert_eq!(full, AppendError::DiskFull(end));
        assert!(log.has_room_for_changes());
        log.set_disk_end(None);
        log.append(&record(&[0; 2000]), 1, 0).unwrap();
    }

    #[test]
    fn what_is_kept_together_stands_in_one_round() {
        let mut log = appender(64 << 20);
        for (count, size) in [(1, 300 << 10), (700, 1500), (40, 100_000), (3, 10)] {
            // Something before it, so that the arena is never at its start.
            log.append(&record(&[1; 3000]), 0, 0).unwrap();
            let body = vec![7; size];
            let bytes = record(&body).size();
            log.keep_together(count * bytes, count, 50);
            let before = log.closed.len();
            for _ in 0..count {
                log.append(&record(&body), 0, 0).unwrap();
            }
            log.change(&[9; 40]);
            assert_eq!(log.closed.len(), before, "{count} records of {size} bytes");
        }
    }

    #[test]
    fn store_time_never_goes_back() {
        let mut log = appender(64 << 10);
        let times = [5, 9, 3].map(|now| log.append(&record(b"x"), 0, now).unwrap().store_timestamp);
        assert_eq!(times, [5, 9, 9]);
    }
}
