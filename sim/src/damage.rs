//! Damage in the log: flipped bits, unreadable pages, rounds that were cut long ago.
//!
//! In: a log of known rounds ([`crate::broker::rounds`]). Out: whether recovery reports exactly
//! what is lost ([`crate::foresee`]), whether everything else is still there, and whether the
//! broker goes on.

use std::path::{Path, PathBuf};

use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::{Disk, Open};
use kerolox_log::files;
use kerolox_protocol::record::NewRecord;

use crate::broker::rounds::NotedRound;
use crate::broker::start::DATA_DIR;
use crate::foresee::foresee;
use crate::seam::PAGE;
use crate::violation::{Checked, Violation};
use crate::world::World;

/// Room for a small round and what may stand behind it.
const ROUND_ROOM: u64 = 2_048;

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
        // From here on nothing is deleted, and no index block is made: it would hold what damage left.
        self.plan.log_bytes_max = 0;
        if let Some(broker) = &mut self.broker {
            broker.housekeeping.log_bytes_max = 0;
            broker.housekeeping.makes_blocks = false;
        }
        match self.rng.below(4) {
            0 => self.damage_the_end(),
            1 => self.bring_back_a_round(),
            _ => self.damage_the_middle(),
        }?;
        if self.rng.one_in(2) {
            self.spoil_some();
        }
        self.start()?;
        self.stands = self.broker.as_ref().map_or(0, |broker| broker.confirmed().0);
        if self.rng.one_in(2) {
            // What a start leaves must stand by itself, before the broker writes anything.
            let power = self.rng.one_in(2);
            self.crash(power);
            self.start()?;
        }
        self.some_steps()?;
        self.rest()?;
        self.stop_cleanly()?;
        self.start()?;
        self.rest()
    }

    pub(crate) fn some_steps(&mut self) -> Checked {
        for _ in 0..self.plan.steps {
            self.step()?;
        }
        Ok(())
    }

    /// Damage below what is proven, far from the end.
    fn damage_the_middle(&mut self) -> Checked {
        self.flush_all()?;
        self.clock.advance(1_100);
        self.flush_all()?;
        // The last seal proves what lies before it.
        let below = self.noted().last().map_or(0, |(begin, flushed)| *begin.min(flushed));
        if self.rng.one_in(4) {
            for _ in 0..1 + self.rng.below(2) {
                self.unreadable_page(below);
            }
        } else {
            self.flipped_bits(self.walked_from(), below);
            if self.rng.one_in(2) {
                self.spoil_with_log();
            }
        }
        // A broker that does not know yet serves nothing wrong.
        if self.rng.one_in(2) {
            let log = self.log_files();
            if let Some(broker) = &self.broker {
                let from = broker.housekeeping.keeper.position().0;
                self.books.damage = foresee(&broker.rounds, &log, from).damage;
            }
            self.some_steps()?;
        }
        let power = self.rng.one_in(2);
        self.crash(power);
        Ok(())
    }

    /// Damage in the last rounds, then a power cut that tears what is unsynced: what proves the
    /// damaged rounds may be cut together with the end.
    fn damage_the_end(&mut self) -> Checked {
        for _ in 0..self.rng.below(10) {
            self.step()?;
        }
        let noted = self.noted();
        if self.rng.one_in(2) && self.damage_under_a_cut() {
            self.crash(true);
            return Ok(());
        }
        let few = 1 + self.rng.below(6) as usize;
        let from = noted.get(noted.len().saturating_sub(few)).map_or(0, |(begin, _)| *begin);
        let from = from.max(self.walked_from());
        let end = self.broker.as_ref().map_or(0, |broker| broker.watermarks().written.0);
        self.flipped_bits(from, end);
        self.crash(true);
        Ok(())
    }

    /// A bad round that only one later round proves, and that one is bad, too, but above all proof:
    /// it is cut, and with it what the first one is believed by. False if there is no such pair.
    fn damage_under_a_cut(&mut self) -> bool {
        let all = self.broker.as_ref().map(|broker| broker.rounds.all()).unwrap_or_default();
        let walked = self.walked_from();
        let written = self.broker.as_ref().map_or(0, |broker| broker.watermarks().written.0);
        let all = &all[..all.partition_point(|round| round.end <= written)];
        let all = &all[all.partition_point(|round| round.begin < walked)..];
        let most = |rounds: &[NotedRound]| rounds.iter().map(|round| round.flushed).max();
        let pair = (1..all.len()).rev().find_map(|above| {
            let (cut, before) = (&all[above], most(&all[..above])?);
            let alone = most(&all[above + 1..]).is_none_or(|later| later <= cut.begin);
            let proven = (before..cut.flushed).contains(&all[above - 1].begin);
            let pair = (all[above - 1].begin..all[above - 1].end, cut.begin..cut.seal);
            (alone && proven && !pair.1.is_empty()).then_some(pair)
        });
        let Some((below, above)) = pair else { return false };
        for range in [below, above] {
            let position = range.start + self.rng.below(range.end - range.start);
            let bit = self.rng.below(8);
            let (path, place) = self.path_of(position);
            self.seam.flip(&path, place * 8 + bit);
            self.events.add(|| format!("bit {bit} of {position} is flipped, above and below"));
        }
        true
    }

    /// Behind the log's end stands a round of an earlier life, whole: the disk lost what cleared it.
    /// Either it follows another seal than the last one, or a start before the last one wrote it.
    fn bring_back_a_round(&mut self) -> Checked {
        self.flush_all()?;
        self.clock.advance(1_100);
        self.flush_all()?;
        let power = self.rng.one_in(2);
        self.crash(power);
        let last = self.rounds.all().last().map(|last| (last.next, last.link()));
        let (Some((end, mut before)), Some(identity)) = (last, self.identity) else {
            return Ok(());
        };
        let (path, place) = self.path_of(end);
        if place + ROUND_ROOM > self.plan.file_size || self.seam.content(&path).is_none() {
            return Ok(());
        }
        let mut start = self.last_start;
        if self.rng.one_in(2) {
            before.list_crc ^= 1;
        } else {
            start -= 1;
        }
        let store_timestamp = self.clock.now();
        let resume = Resume { next: PhysicalOffset(end), before, store_timestamp, start };
        let mut log = Appender::new(identity, self.plan.file_size, resume);
        let host = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let record = NewRecord {
            topic: "an-earlier-life",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: store_timestamp,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"cut long ago",
            properties: b"",
        };
        let broken = |e: &dyn std::fmt::Display| Violation(format!("an old round: {e}"));
        log.append(&record, 0, store_timestamp).map_err(|e| broken(&e))?;
        let file = self.seam.open(&path, Open::Write).map_err(|e| broken(&e))?;
        for round in log.take_rounds() {
            file.write_at(&[&round.bytes], place).map_err(|e| broken(&e))?;
        }
        file.sync().map_err(|e| broken(&e))?;
        self.events.add(|| format!("at {end} there is a round of start {start} behind {before:?}"));
        Ok(())
    }

    /// Where the next start begins to walk: nobody looks at what lies before until it is read.
    fn walked_from(&self) -> u64 {
        self.broker.as_ref().map_or(0, |broker| broker.housekeeping.keeper.position().0)
    }

    /// Begin and flushed position of each round.
    fn noted(&self) -> Vec<(u64, u64)> {
        let rounds = self.broker.as_ref().map(|broker| broker.rounds.all());
        rounds.unwrap_or_default().iter().map(|round| (round.begin, round.flushed)).collect()
    }

    fn path_of(&self, position: u64) -> (PathBuf, u64) {
        let place = position % self.plan.file_size;
        let name = format!("{:020}", position - place);
        (Path::new(DATA_DIR).join(files::DIR).join(name), place)
    }

    pub(crate) fn flipped_bits(&mut self, from: u64, to: u64) {
        let seals: Vec<_> = match &self.broker {
            Some(broker) => broker.rounds.all().iter().map(|round| round.seal..round.end).collect(),
            None => Vec::new(),
        };
        for _ in 0..1 + self.rng.below(6) {
            if from >= to {
                return;
            }
            let mut position = from + self.rng.below(to - from);
            if self.rng.one_in(3) {
                // A seal: most bytes of the log are records.
                let behind = seals.partition_point(|seal| seal.end <= position);
                let seal = seals.get(behind).cloned().filter(|seal| seal.end <= to);
                position = seal.map_or(position, |s| s.start + self.rng.below(s.end - s.start));
            }
            let bit = self.rng.below(8);
            let (path, place) = self.path_of(position);
            self.seam.flip(&path, place * 8 + bit);
            self.events.add(|| format!("bit {bit} of {position} is flipped"));
        }
    }

    fn unreadable_page(&mut self, below: u64) {
        let floor = self.walked_from();
        if below <= floor {
            return;
        }
        let position = (floor + self.rng.below(below - floor)) / PAGE * PAGE;
        if position + PAGE > below {
            return;
        }
        let (path, place) = self.path_of(position);
        self.seam.make_unreadable(&path, place / PAGE);
        self.events.add(|| format!("the page at {position} cannot be read"));
    }
}
