//! Damage in the middle of the log: flipped bits and unreadable pages below the proof.
//!
//! In: a log of known rounds ([`crate::broker::rounds`]). Out: whether recovery reports exactly
//! what is lost, whether everything else is still there, and whether the broker goes on.

use std::collections::BTreeSet;
use std::path::Path;

use kerolox_log::PhysicalOffset;
use kerolox_log::files;
use kerolox_log::recover::Lost;

use crate::books::Damage;
use crate::broker::rounds::NotedRound;
use crate::broker::start::DATA_DIR;
use crate::seam::PAGE;
use crate::violation::{Checked, ensure};
use crate::world::World;

/// What is bad of a round.
#[derive(Debug, Clone, Default)]
struct Bad {
    seal: bool,
    records: BTreeSet<usize>,
}

impl World<'_> {
    /// The whole run of a seed with damage.
    pub(crate) fn run_damaged(&mut self) -> Checked {
        self.start()?;
        for _ in 0..self.rng.below(3) {
            self.some_steps()?;
            let power = self.rng.one_in(2);
            self.crash(power);
            self.start()?;
        }
        self.some_steps()?;
        self.rest()?;
        self.stop_cleanly()?;
        self.start()?;
        self.some_steps()?;
        // Everything that stands in the log now is below the proof of the next seal.
        self.flush_all()?;
        self.clock.advance(1_100);
        self.flush_all()?;
        // From here on nothing is deleted: a snapshot would swallow the damage unseen.
        self.plan.log_bytes_max = 0;
        if let Some(broker) = &mut self.broker {
            broker.housekeeping.log_bytes_max = 0;
        }
        let bad = self.damage();
        // A broker that does not know yet serves nothing wrong.
        if self.rng.one_in(2) {
            self.expect(&bad);
            self.some_steps()?;
        }
        let power = self.rng.one_in(2);
        self.crash(power);
        self.expect(&bad);
        self.start()?;
        self.some_steps()?;
        self.rest()?;
        self.stop_cleanly()?;
        self.start()?;
        self.rest()
    }

    fn some_steps(&mut self) -> Checked {
        for _ in 0..self.plan.steps {
            self.step()?;
        }
        Ok(())
    }

    /// Damages the log and says what is bad of each round.
    fn damage(&mut self) -> Vec<Bad> {
        let Some(broker) = &mut self.broker else { return Vec::new() };
        // What is older than the newest snapshot is not read again.
        broker.rounds.forget_below(self.books.floor);
        let rounds = broker.rounds.all().to_vec();
        let mut bad = vec![Bad::default(); rounds.len()];
        // The last seal proves what lies before it, and must stay to do so.
        let Some(limit) = rounds.last().map(|last| last.flushed.min(last.begin)) else {
            return bad;
        };
        if limit <= self.books.floor {
            return bad;
        }
        let pages = self.rng.one_in(4);
        for _ in 0..1 + self.rng.below(if pages { 2 } else { 6 }) {
            if pages {
                self.unreadable_page(limit, &rounds, &mut bad);
            } else {
                self.flipped_bit(limit, &rounds, &mut bad);
            }
        }
        bad
    }

    fn path_of(&self, position: u64) -> (std::path::PathBuf, u64) {
        let place = position % self.plan.file_size;
        let name = format!("{:020}", position - place);
        (Path::new(DATA_DIR).join(files::DIR).join(name), place)
    }

    fn flipped_bit(&mut self, limit: u64, rounds: &[NotedRound], bad: &mut [Bad]) {
        let position = if self.rng.one_in(3) {
            // A seal: most bytes of the log are records.
            let round = &rounds[self.rng.below(rounds.len() as u64) as usize];
            round.seal + self.rng.below(round.end - round.seal)
        } else {
            self.books.floor + self.rng.below(limit - self.books.floor)
        };
        let bit = self.rng.below(8);
        if position >= limit {
            return;
        }
        let (path, place) = self.path_of(position);
        self.seam.flip(&path, place * 8 + bit);
        self.events.add(|| format!("bit {bit} of {position} is flipped"));
        if let Some(broker) = &mut self.broker {
            broker.rounds.damage(position);
        }
        note(rounds, bad, (position, position + 1), |in_seal| noticed(in_seal, bit));
    }

    fn unreadable_page(&mut self, limit: u64, rounds: &[NotedRound], bad: &mut [Bad]) {
        let floor = self.books.floor;
        let position = (floor + self.rng.below(limit - floor)) / PAGE * PAGE;
        if position + PAGE > limit {
            return;
        }
        let (path, place) = self.path_of(position);
        self.seam.make_unreadable(&path, place / PAGE);
        self.events.add(|| format!("the page at {position} cannot be read"));
        note(rounds, bad, (position, position + PAGE), |_| true);
    }

    /// Tells the books what the next recovery must find lost.
    fn expect(&mut self, bad: &[Bad]) {
        let rounds = match &self.broker {
            Some(broker) => broker.rounds.all(),
            None => self.rounds.all(),
        };
        let (lost, damage) = consequences(rounds, bad);
        self.events.add(|| format!("lost are {lost:?}"));
        self.books.damage = damage;
        self.expected_loss = lost;
    }
}

/// Notes which parts of which rounds a range hits. `noticed`: whether damage at a place of a
/// seal's record can be noticed at all.
fn note(
    rounds: &[NotedRound],
    bad: &mut [Bad],
    (begin, end): (u64, u64),
    noticed: impl Fn(u64) -> bool,
) {
    for (round, bad) in rounds.iter().zip(bad) {
        for (i, record) in round.records.iter().enumerate() {
            if begin < record.end && record.begin < end {
                bad.records.insert(i);
            }
        }
        if begin < round.end && round.seal < end {
            bad.seal |= noticed(begin.saturating_sub(round.seal));
        }
    }
}

/// Whether a flipped bit at this place of a seal's record makes it another one. What stands in the
/// record for Apache's eyes only is not looked at.
fn noticed(place: u64, bit: u64) -> bool {
    match place {
        // Queue, flag, queue offset; hosts; reconsume times, prepared transaction.
        12..28 | 48..56 | 64..84 => false,
        // Of the sysFlag (big-endian) only the transaction type and the hosts' families.
        36..39 => false,
        39 => (2..6).contains(&bit),
        _ => true,
    }
}

/// What is lost, by the rules of the store's format.
fn consequences(rounds: &[NotedRound], bad: &[Bad]) -> (Vec<Lost>, Damage) {
    let mut lost = Vec::new();
    let mut damage = Damage::default();
    let at = PhysicalOffset;
    let is_good = |i: usize| !bad.get(i).is_some_and(|bad| bad.seal);
    let mut i = 0;
    while i < rounds.len() {
        let round = &rounds[i];
        let records = bad.get(i).map(|bad| bad.records.clone()).unwrap_or_default();
        if is_good(i) {
            for record in records {
                let noted = &round.records[record];
                lost.push(Lost { begin: at(noted.begin), end: at(noted.end), what: "record" });
                damage.lose(noted.begin, &noted.topic, noted.queue, noted.offset);
            }
            i += 1;
            continue;
        }
        // The walk goes on at the next round whose seal is good.
        let next = (i + 1..rounds.len()).find(|next| is_good(*next)).unwrap_or(rounds.len());
        let until = rounds.get(next).map_or(round.next, |next| next.begin);
        damage.state = true;
        // The records of a single round are proven by the seal behind it.
        let proven = next == i + 1 && records.is_empty();
        let what = if proven { "state changes" } else { "records and state changes" };
        lost.push(Lost { begin: at(round.begin), end: at(until), what });
        if !proven {
            for gone in rounds[i..next].iter().flat_map(|round| &round.records) {
                damage.lose(gone.begin, &gone.topic, gone.queue, gone.offset);
            }
        }
        i = next;
    }
    (lost, damage)
}

impl World<'_> {
    /// Recovery reports exactly the damage that was done, at every start.
    pub(crate) fn check_loss(&self, lost: &[Lost]) -> Checked {
        let expected = &self.expected_loss;
        ensure!(lost == expected, "recovery reports as lost {lost:?}, but lost is {expected:?}");
        Ok(())
    }
}
