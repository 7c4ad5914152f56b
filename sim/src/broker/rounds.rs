//! What lies where in the log, noted while it was written: the measure for what recovery says of
//! damage.
//!
//! In: rounds, as the engine hands them over. Out: their places, their records, and what their
//! seals say of the flushed position.

use kerolox_log::PhysicalOffset;
use kerolox_log::append::Round;
use kerolox_protocol::record;

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
    pub(crate) records: Vec<Noted>,
    /// What the seal says.
    pub(crate) flushed: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    /// Only runs with damage look at it.
    wanted: bool,
    all: Vec<NotedRound>,
    flushed: u64,
}

impl Rounds {
    pub(crate) fn new(wanted: bool) -> Self {
        Rounds { wanted, ..Rounds::default() }
    }

    /// The log goes on at `end` after a start.
    pub(crate) fn recovered(&mut self, end: PhysicalOffset) {
        self.all.retain(|round| round.begin < end.0);
        self.flushed = end.0;
    }

    /// What later seals say.
    pub(crate) fn set_flushed(&mut self, flushed: PhysicalOffset) {
        self.flushed = flushed.0;
    }

    pub(crate) fn note(&mut self, round: &Round) {
        if !self.wanted {
            return;
        }
        let seal = round.end.0 - round.seal_bytes as u64;
        let records = record::walk(&round.bytes).take(round.records).map(|view| Noted {
            begin: view.physical_offset,
            end: view.physical_offset + view.bytes.len() as u64,
            topic: view.topic.to_owned(),
            queue: view.queue_id,
            offset: view.queue_offset,
        });
        self.all.push(NotedRound {
            begin: round.begin.0,
            seal,
            end: round.end.0,
            next: round.next.0,
            records: records.collect(),
            flushed: self.flushed,
        });
    }

    /// Rounds before a position are of no interest any more.
    pub(crate) fn forget_below(&mut self, position: u64) {
        self.all.retain(|round| round.begin >= position);
    }

    /// Every round, in order.
    pub(crate) fn all(&self) -> &[NotedRound] {
        &self.all
    }
}
