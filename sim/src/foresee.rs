//! What a recovery must find: where the log ends, and what damage took.
//!
//! In: the rounds that were written, the bytes that are on the disk now, and where the walk begins.
//! Out: by the rules of
//! the store's format, how many rounds stand and what of them is lost.

use kerolox_log::PhysicalOffset;
use kerolox_log::recover::Lost;

use crate::books::Damage;
use crate::broker::rounds::{NotedRound, Rounds};
use crate::inspect::LogFiles;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreseen {
    /// Rounds that stand, those with damage included.
    pub(crate) left: usize,
    /// Where they end.
    pub(crate) end: u64,
    pub(crate) lost: Vec<Lost>,
    /// What lies before the walk is lost only if an index block there is lost, too.
    pub(crate) lost_below: Vec<Lost>,
    pub(crate) damage: Damage,
}

/// Foresees a recovery.
pub(crate) fn foresee(rounds: &Rounds, log: &LogFiles, from: u64) -> Foreseen {
    let all = rounds.all();
    let mut found = Foreseen::default();
    let begin = all.partition_point(|round| round.begin < from);
    let mut i = 0;
    while i < begin {
        i = if all[i].is_whole(log) { i + 1 } else { found.step_over(all, i, log) };
    }
    found.lost_below = std::mem::take(&mut found.lost);
    let mut proof = None;
    i = begin;
    while i < all.len() {
        if all[i].is_whole(log) {
            i += 1;
            continue;
        }
        // The highest position that any seal which is left calls flushed.
        let proof = *proof.get_or_insert_with(|| {
            let seals = all[begin..].iter().filter(|round| round.seal_is_whole(log));
            seals.map(|round| round.flushed).max().unwrap_or(0)
        });
        if all[i].begin >= proof {
            break;
        }
        i = found.step_over(all, i, log);
    }
    found.left = i;
    found.end = rounds.end_of(i);
    found
}

impl Foreseen {
    /// A bad round below the proof. Returns the round at which the walk goes on.
    fn step_over(&mut self, all: &[NotedRound], i: usize, log: &LogFiles) -> usize {
        let at = PhysicalOffset;
        let round = &all[i];
        let bad = || round.records.iter().filter(|record| !record.is_whole(log));
        if round.seal_is_whole(log) {
            for record in bad() {
                let (begin, end) = (at(record.begin), at(record.end));
                self.lost.push(Lost { begin, end, what: "record" });
                self.damage.lose(record.begin, &record.topic, record.queue, record.offset);
            }
            return i + 1;
        }
        let sealed = (i + 1..all.len()).find(|next| all[*next].seal_is_whole(log));
        let next = sealed.unwrap_or(all.len());
        let until = all.get(next).map_or(round.next, |next| next.begin);
        self.damage.state = true;
        // The records of a single round are proven by the seal behind it.
        let proven = next == i + 1 && bad().next().is_none();
        let what = if proven { "state changes" } else { "records and state changes" };
        self.lost.push(Lost { begin: at(round.begin), end: at(until), what });
        if !proven {
            for gone in all[i..next].iter().flat_map(|round| &round.records) {
                self.damage.lose(gone.begin, &gone.topic, gone.queue, gone.offset);
            }
        }
        next
    }
}
