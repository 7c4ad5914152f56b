//! What lies where in the log, noted while it was written: the measure for what a recovery finds
//! ([`crate::foresee`]).
//!
//! In: rounds, as the engine hands them over. Out: their places, their records, and what their
//! seals say of the flushed position.

use kerolox_log::PhysicalOffset;
use kerolox_log::append::Round;
use kerolox_log::seal::{BODY_AT, Link, Listed, list_crc};
use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{self, MAGIC_BLANK, View};

use crate::inspect::LogFiles;
use crate::violation::{Checked, Violation, ensure};

/// A record beside the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    crc: u32,
    pub(crate) topic: String,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotedRound {
    pub(crate) begin: u64,
    pub(crate) seal: u64,
    /// Behind the seal.
    pub(crate) end: u64,
    /// Where the next round begins.
    pub(crate) next: u64,
    /// CRC32 of all records, and of what counts of the seal.
    records_crc: u32,
    seal_crc: u32,
    /// Only in runs with damage.
    pub(crate) records: Vec<Noted>,
    /// What the seal says.
    pub(crate) flushed: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    /// Records are wanted, too.
    with_records: bool,
    all: Vec<NotedRound>,
    /// Where the first of them begins.
    begin: u64,
    flushed: u64,
}

/// CRC32 of what anyone looks at of a seal's record. Some of its fields are there for Apache's eyes
/// only.
fn seal_crc(record: &[u8]) -> u32 {
    let mut counts = record.to_vec();
    // Queue, flag, queue offset; hosts; reconsume times, prepared transaction.
    for ignored in [12..28, 48..56, 64..84] {
        if let Some(bytes) = counts.get_mut(ignored) {
            bytes.fill(0);
        }
    }
    // Of the sysFlag (big-endian) only the transaction type and the hosts' families count.
    if let Some([rest @ .., last]) = counts.get_mut(36..40) {
        rest.fill(0);
        *last &= 0b11_1100;
    }
    crc32fast::hash(&counts)
}

/// How far its writer's disk was flushed, as a seal's record says (`docs/store-format.md`).
fn flushed_in(seal: &[u8]) -> u64 {
    const AT: usize = BODY_AT + 72;
    seal.get(AT..AT + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// The bytes of a range of the log, if its file has them.
fn bytes_of(log: &LogFiles, begin: u64, end: u64) -> Option<&[u8]> {
    let (base, content) = log.range(..=begin).next_back()?;
    content.get((begin - base) as usize..(end - base) as usize)
}

impl NotedRound {
    /// Whether its seal is what it was.
    pub(crate) fn seal_is_whole(&self, log: &LogFiles) -> bool {
        let bytes = bytes_of(log, self.seal, self.end);
        bytes.is_some_and(|bytes| seal_crc(bytes) == self.seal_crc)
    }

    /// Whether all of it is what it was.
    pub(crate) fn is_whole(&self, log: &LogFiles) -> bool {
        let records = bytes_of(log, self.begin, self.seal);
        records.is_some_and(|bytes| crc32fast::hash(bytes) == self.records_crc)
            && self.seal_is_whole(log)
    }

    /// What the next seal says of this one. Only in runs with damage.
    pub(crate) fn link(&self) -> Link {
        let size = |record: &Noted| (record.end - record.begin) as u32;
        let list = self.records.iter().map(|noted| Listed { size: size(noted), crc: noted.crc });
        Link { position: self.seal, list_crc: list_crc(&list.collect::<Vec<_>>()) }
    }
}

impl Noted {
    /// Whether it is what it was.
    pub(crate) fn is_whole(&self, log: &LogFiles) -> bool {
        let bytes = bytes_of(log, self.begin, self.end);
        bytes.is_some_and(|bytes| crc32fast::hash(bytes) == self.crc)
    }
}

impl Rounds {
    pub(crate) fn new(with_records: bool) -> Self {
        Rounds { with_records, ..Rounds::default() }
    }

    /// What later seals may say.
    pub(crate) fn set_flushed(&mut self, flushed: PhysicalOffset) {
        self.flushed = flushed.0;
    }

    pub(crate) fn note(&mut self, round: &Round) -> Checked {
        let seal = round.end.0 - round.seal_bytes as u64;
        let at = (seal - round.begin.0) as usize;
        let seal_record = &round.bytes[at..at + round.seal_bytes];
        // The round may have been closed long before it is written.
        let flushed = flushed_in(seal_record);
        ensure!(
            flushed <= self.flushed,
            "the seal at {seal} says that {flushed} is flushed, but {} is",
            self.flushed
        );
        let wanted = if self.with_records { round.records } else { 0 };
        let records = record::walk(&round.bytes).take(wanted).map(|view| Noted {
            begin: view.physical_offset,
            end: view.physical_offset + view.bytes.len() as u64,
            crc: crc32fast::hash(view.bytes),
            topic: view.topic.to_owned(),
            queue: view.queue_id,
            offset: view.queue_offset,
        });
        self.all.push(NotedRound {
            begin: round.begin.0,
            seal,
            end: round.end.0,
            next: round.next.0,
            records_crc: crc32fast::hash(&round.bytes[..at]),
            seal_crc: seal_crc(seal_record),
            records: records.collect(),
            flushed,
        });
        Ok(())
    }

    /// Where the log ends if only so many rounds are left.
    pub(crate) fn end_of(&self, count: usize) -> u64 {
        count.checked_sub(1).map_or(self.begin, |last| self.all[last].next)
    }

    /// A start let so many rounds stand, sealed their end perhaps, and goes on at `resume`.
    pub(crate) fn recovered(&mut self, count: usize, log: &LogFiles, resume: u64) -> Checked {
        self.all.truncate(count);
        let mut at = self.end_of(count);
        while at < resume {
            let file = log.range(..=at).next_back();
            let bytes = file.and_then(|(base, content)| content.get((at - base) as usize..));
            let seal = bytes.and_then(|bytes| View::parse(bytes).ok());
            let Some(seal) = seal.filter(|seal| seal.topic == STATE_TOPIC) else {
                let text = format!("recovery goes on at {resume}, but nothing it wrote is at {at}");
                return Err(Violation(text));
            };
            let end = at + seal.bytes.len() as u64;
            let blank = bytes.and_then(|bytes| record::peek(&bytes[seal.bytes.len()..]));
            let next = match blank {
                Some((room, MAGIC_BLANK)) => end + u64::from(room),
                _ => end,
            };
            self.all.push(NotedRound {
                begin: at,
                seal: at,
                end,
                next,
                records_crc: crc32fast::hash(&[]),
                seal_crc: seal_crc(seal.bytes),
                records: Vec::new(),
                flushed: flushed_in(seal.bytes),
            });
            at = next;
        }
        self.flushed = resume;
        Ok(())
    }

    /// Rounds before a position are of no interest any more.
    pub(crate) fn forget_below(&mut self, position: u64) {
        self.all.retain(|round| round.begin >= position);
        self.begin = self.all.first().map_or(self.begin.max(position), |first| first.begin);
    }

    /// Every round, in order.
    pub(crate) fn all(&self) -> &[NotedRound] {
        &self.all
    }
}
