//! Damage in the log: flipped bits and unreadable pages.
//!
//! In: a log of known rounds ([`crate::broker::rounds`]). Out: whether recovery reports exactly
//! what is lost ([`crate::foresee`]), whether everything else is still there, and whether the
//! broker goes on.

use std::path::{Path, PathBuf};

use kerolox_log::files;

use crate::broker::start::DATA_DIR;
use crate::foresee::foresee;
use crate::seam::PAGE;
use crate::violation::Checked;
use crate::world::World;

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
        // From here on nothing is deleted: a snapshot would swallow the damage unseen.
        self.plan.log_bytes_max = 0;
        if let Some(broker) = &mut self.broker {
            broker.housekeeping.log_bytes_max = 0;
        }
        if self.rng.one_in(3) { self.damage_the_end() } else { self.damage_the_middle() }?;
        self.start()?;
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
            self.flipped_bits(self.books.floor, below);
        }
        // A broker that does not know yet serves nothing wrong.
        if self.rng.one_in(2) {
            let log = self.log_files();
            if let Some(broker) = &self.broker {
                self.books.damage = foresee(&broker.rounds, &log).damage;
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
        let few = 1 + self.rng.below(6) as usize;
        let from = noted.get(noted.len().saturating_sub(few)).map_or(0, |(begin, _)| *begin);
        let end = self.broker.as_ref().map_or(0, |broker| broker.watermarks().written.0);
        self.flipped_bits(from, end);
        self.crash(true);
        Ok(())
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

    fn flipped_bits(&mut self, from: u64, to: u64) {
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
        let floor = self.books.floor;
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
