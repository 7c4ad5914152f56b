//! What lies where in the log, noted while it was written: the measure for where recovery lets the
//! log end, and for what it says of damage.
//!
//! In: rounds, as the engine hands them over. Out: their places, their records, and what their
//! seals say of the flushed position.

use kerolox_log::PhysicalOffset;
use kerolox_log::append::Round;
use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{self, MAGIC_BLANK, View};

use crate::inspect::LogFiles;
use crate::violation::{Checked, Violation};

/// A record beside the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) begin: u64,
    pub(crate) end: u64,
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
    /// CRC32 of the whole round.
    crc: u32,
    /// Only in runs with damage.
    pub(crate) records: Vec<Noted>,
    /// What the seal says.
    pub(crate) flushed: u64,
    /// Bits of it were flipped.
    pub(crate) damaged: bool,
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

impl Rounds {
    pub(crate) fn new(with_records: bool) -> Self {
        Rounds { with_records, ..Rounds::default() }
    }

    /// What later seals say.
    pub(crate) fn set_flushed(&mut self, flushed: PhysicalOffset) {
        self.flushed = flushed.0;
    }

    pub(crate) fn note(&mut self, round: &Round) {
        let seal = round.end.0 - round.seal_bytes as u64;
        let wanted = if self.with_records { round.records } else { 0 };
        let records = record::walk(&round.bytes).take(wanted).map(|view| Noted {
            begin: view.physical_offset,
            end: view.physical_offset + view.bytes.len() as u64,
            topic: view.topic.to_owned(),
            queue: view.queue_id,
            offset: view.queue_offset,
        });
        let size = (round.end.0 - round.begin.0) as usize;
        self.all.push(NotedRound {
            begin: round.begin.0,
            seal,
            end: round.end.0,
            next: round.next.0,
            crc: crc32fast::hash(&round.bytes[..size]),
            records: records.collect(),
            flushed: self.flushed,
            damaged: false,
        });
    }

    /// How many rounds, one behind the other, are in these files as they were handed over. Those
    /// that were damaged on purpose count, too, and so do those that were deleted.
    pub(crate) fn intact(&self, log: &LogFiles) -> usize {
        let first = log.keys().next().copied().unwrap_or(0);
        let is_there = |round: &NotedRound| {
            if round.damaged || round.begin < first {
                return true;
            }
            let Some((base, content)) = log.range(..=round.begin).next_back() else { return false };
            let bytes = content.get((round.begin - base) as usize..(round.end - base) as usize);
            bytes.is_some_and(|bytes| crc32fast::hash(bytes) == round.crc)
        };
        self.all.iter().position(|round| !is_there(round)).unwrap_or(self.all.len())
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
                crc: crc32fast::hash(seal.bytes),
                records: Vec::new(),
                flushed: at,
                damaged: false,
            });
            at = next;
        }
        self.flushed = resume;
        Ok(())
    }

    /// Rounds before a position are of no interest any more.
    pub(crate) fn forget_below(&mut self, position: u64) {
        self.all.retain(|round| round.begin >= position);
        self.begin = self.all.first().map_or(position, |first| first.begin);
    }

    /// Bits of whatever stands at a position are flipped.
    pub(crate) fn damage(&mut self, position: u64) {
        let hit = |round: &&mut NotedRound| (round.begin..round.end).contains(&position);
        self.all.iter_mut().filter(hit).for_each(|round| round.damaged = true);
    }

    /// Every round, in order.
    pub(crate) fn all(&self) -> &[NotedRound] {
        &self.all
    }
}
