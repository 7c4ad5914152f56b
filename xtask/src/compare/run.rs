//! How a row is run: both systems up, in turns, the other one frozen; and what comes of it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::bound::{Probe, Shape};
use super::measure::Metrics;
use super::systems::{Flush, Name, Setup, System};

/// What must stay free beside what a row writes.
const FREE_BYTES_MIN: u64 = 5 << 30;
/// Above this Apache RocketMQ deletes files before their time, and refuses sends a little later.
const DISK_SHARE_MAX: f64 = 0.84;
/// Frozen for longer, a broker would be given up by its name server.
const FROZEN_MAX: Duration = Duration::from_secs(60);

/// A machine whose bounds move by more between two probes had something else to do.
const PROBE_MOVES_MAX: f64 = 0.1;

/// Where and how long.
pub(super) struct Run {
    pub(super) setup: Setup,
    /// For all data.
    pub(super) dir: PathBuf,
    pub(super) quick: bool,
    pub(super) all: bool,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    /// Of each round, beside the row's own.
    pub(super) warm_up: f64,
}

/// What came of a row.
pub(super) struct Row {
    pub(super) name: super::Name,
    pub(super) title: String,
    pub(super) cases: Vec<Case>,
}

/// A row has one case or several, such as 1,000 and 10,000 queues.
pub(super) struct Case {
    /// Empty if it is the only one.
    pub(super) name: String,
    pub(super) flush: Flush,
    /// Messages a second that the machine allows.
    pub(super) bound: Option<f64>,
    /// What the probe found before and after.
    pub(super) probes: Vec<Value>,
    pub(super) rounds: Vec<(Name, Metrics)>,
    pub(super) notes: Vec<String>,
}

impl Case {
    pub(super) fn new(name: &str, flush: Flush) -> Self {
        let (rounds, notes, probes) = (Vec::new(), Vec::new(), Vec::new());
        Case { name: name.to_string(), flush, bound: None, probes, rounds, notes }
    }
}

/// What a probe allows a row.
pub(super) type BoundOf<'a> = &'a dyn Fn(&Probe) -> f64;

/// Both systems, running.
pub(super) struct Pair(pub(super) [System; 2]);

impl Run {
    /// Starts both on empty folders, if there is room for what they will write.
    pub(super) fn pair(&self, flush: Flush, bytes: u64) -> Result<Pair> {
        self.need(bytes)?;
        let start = |name: Name| {
            let system = System::start(&self.setup, name, &self.dir.join(name.key()), flush)?;
            println!("{} serves at {}", name.key(), system.broker());
            anyhow::Ok(system)
        };
        let [kerolox, other] = self.setup.both();
        Ok(Pair([start(kerolox)?, start(other)?]))
    }

    /// Whether so many bytes can be written.
    pub(super) fn need(&self, bytes: u64) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        let free = disk.f_bavail * disk.f_frsize;
        ensure!(
            free >= bytes + FREE_BYTES_MIN,
            "{} has {} GiB free; this needs {}, and {} must stay",
            self.dir.display(),
            free >> 30,
            bytes.div_ceil(1 << 30),
            FREE_BYTES_MIN >> 30
        );
        let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
        let share = (used + bytes) as f64 / (used + free) as f64;
        ensure!(
            share <= DISK_SHARE_MAX,
            "the disk of {} would be {:.0} % full; brokers delete or refuse then",
            self.dir.display(),
            share * 100.0
        );
        Ok(())
    }

    /// Takes the probe while both are frozen.
    pub(super) fn probe(&self, pair: &mut Pair, shape: Shape) -> Result<Probe> {
        for system in &mut pair.0 {
            system.freeze(true)?;
        }
        Probe::take(&self.setup.binary, &self.dir, shape, self.quick)
    }

    /// Two probes and between them the rounds. The higher bound counts.
    pub(super) fn case(
        &self,
        pair: &mut Pair,
        case: &mut Case,
        shape: Option<(Shape, BoundOf<'_>)>,
        mut round: impl FnMut(&System, u32) -> Result<Metrics>,
    ) -> Result<()> {
        let mut bounds = Vec::new();
        let mut probe = |run: &Run, pair: &mut Pair, case: &mut Case| {
            if let Some((shape, bound)) = shape {
                let probe = run.probe(pair, shape)?;
                bounds.push(bound(&probe));
                case.probes.push(probe.json);
            }
            anyhow::Ok(())
        };
        probe(self, pair, case)?;
        self.rounds(pair, case, self.rounds, &mut round)?;
        probe(self, pair, case)?;
        if let [before, after] = bounds[..]
            && (after / before - 1.0).abs() > PROBE_MOVES_MAX
        {
            case.notes.push(format!(
                "the bound was {before:.0} msg/s before the rounds and {after:.0} behind them: the machine was not alike throughout"
            ));
        }
        case.bound = bounds.into_iter().reduce(f64::max);
        Ok(())
    }

    /// So many rounds of each, in turns: A B A B.
    pub(super) fn rounds(
        &self,
        pair: &mut Pair,
        case: &mut Case,
        rounds: u32,
        round: &mut dyn FnMut(&System, u32) -> Result<Metrics>,
    ) -> Result<()> {
        for number in 0..rounds {
            // The estimate was one: a disk that fills up ends the row, not the machine.
            self.need(0)?;
            for index in 0..2 {
                let begin = Instant::now();
                let system = pair.alone(index)?;
                let metrics = round(system, number)?;
                println!("{} {}", system.name.key(), super::report::line(&metrics));
                case.rounds.push((system.name, metrics));
                if begin.elapsed() > FROZEN_MAX {
                    let seconds = begin.elapsed().as_secs();
                    let name = system.name.key();
                    case.notes.push(format!("round {number} of {name} took {seconds} s: the other was frozen for longer than it should be"));
                }
            }
        }
        Ok(())
    }

    /// Removes all data.
    pub(super) fn clear(&self) -> Result<()> {
        fs::remove_dir_all(&self.dir)?;
        fs::create_dir_all(&self.dir)?;
        Ok(())
    }
}

impl Pair {
    /// One runs, the other is frozen.
    pub(super) fn alone(&mut self, index: usize) -> Result<&mut System> {
        let [kerolox, apache] = &mut self.0;
        let (system, other) = if index == 0 { (kerolox, apache) } else { (apache, kerolox) };
        other.freeze(true)?;
        system.freeze(false)?;
        Ok(system)
    }

    /// Both run.
    pub(super) fn together(&mut self) -> Result<&mut [System; 2]> {
        for system in &mut self.0 {
            system.freeze(false)?;
        }
        Ok(&mut self.0)
    }

    pub(super) fn stop(self) -> Result<()> {
        let [kerolox, apache] = self.0;
        kerolox.stop()?;
        apache.stop()
    }
}
