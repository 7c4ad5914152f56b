//! `cargo xtask bursts`: whether a change is faster, on a machine whose speed drifts by more than that.
//!
//! Two builds of the server are up at once. They are loaded in turn, for two seconds each, and the one
//! that is not is frozen. What counts is the median of the ratios within the pairs: a machine drifts
//! over minutes.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use rustix::process::Signal;

use crate::bench::Load;
use crate::server::{Scratch, Server};
use crate::{proc, workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// The server before the change: a `kerolox` of a release build
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The one behind it; without it the release binary of this tree, which is built
    #[arg(value_name = "AFTER")]
    after: Option<PathBuf>,
    /// How many bursts of each
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pairs: u32,
    /// A setting of both, such as flushDiskType=ASYNC_FLUSH
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Connections, and sends of each that are in flight.
const LOADS: [(u32, u32); 3] = [(1, 1), (64, 1), (16, 128)];
const SECONDS: u64 = 2;

/// What is measured in a burst.
const FIGURES: [&str; 4] = ["messages/s", "CPU a message, us", "p50, ms", "p99, ms"];

type Burst = [f64; FIGURES.len()];

pub(crate) fn run(options: &Options) -> Result<bool> {
    let after = match &options.after {
        Some(after) => after.clone(),
        None => workspace::release_binary(&workspace::root(), false)?,
    };
    for binary in [&options.before, &after] {
        ensure!(binary.is_file(), "{} is no file; build one, and name it", binary.display());
    }
    let scratch = Scratch::new("bursts")?;
    let start = |name: &str, binary: &Path| -> Result<Side> {
        let folder = scratch.folder(name)?;
        let set: Vec<_> = options.set.iter().flat_map(|set| ["--set", set]).collect();
        let server = Server::start_with(&binary.canonicalize()?, &folder, 0, &set)?;
        Ok(Side { server, folder })
    };
    let sides = [start("before", &options.before)?, start("after", &after)?];
    for load in LOADS {
        let mut pairs = Vec::new();
        for number in 0..options.pairs {
            let mut pair = [Burst::default(); 2];
            // Neither is always the one that comes second.
            for turn in [number % 2, (number + 1) % 2] {
                let (this, other) = (turn as usize, 1 - turn as usize);
                sides[other].server.signal(Signal::STOP)?;
                sides[this].server.signal(Signal::CONT)?;
                pair[this] = sides[this].burst(&after, load)?;
            }
            pairs.push(pair);
        }
        print(load, &pairs);
    }
    for side in sides {
        side.server.signal(Signal::CONT)?;
        side.server.stop()?;
    }
    Ok(true)
}

struct Side {
    server: Server,
    folder: PathBuf,
}

impl Side {
    fn burst(&self, generator: &Path, (connections, in_flight): (u32, u32)) -> Result<Burst> {
        let load = Load {
            binary: generator,
            broker: self.server.address(),
            connections,
            in_flight,
            size: 1024,
            seconds: SECONDS,
            warm_up_seconds: 1,
            ledger: None,
            verify: false,
        };
        let output = self.folder.join("bench.log");
        let before = proc::cpu_seconds(self.server.pid())?;
        let outcome = load.finish(load.start(&output)?, &output)?;
        let cpu = proc::cpu_seconds(self.server.pid())? - before;
        ensure!(outcome.acknowledged > 0, "nothing was acknowledged");
        let cpu_us = cpu * 1e6 / outcome.acknowledged as f64;
        Ok([outcome.per_second, cpu_us, outcome.p50_ms, outcome.p99_ms])
    }
}

fn print((connections, in_flight): (u32, u32), pairs: &[[Burst; 2]]) {
    println!("\n{connections} × {in_flight}: medians, and the middle half of the ratios");
    println!("{:20} {:>12} {:>12} {:>8}", "", "before", "after", "ratio");
    for (i, figure) in FIGURES.iter().enumerate() {
        let of = |side: usize| sorted(pairs.iter().map(|pair| pair[side][i]));
        let ratios = sorted(pairs.iter().map(|pair| pair[1][i] / pair[0][i]));
        let quantile = |values: &[f64], share: f64| {
            values[((values.len() - 1) as f64 * share).round() as usize]
        };
        println!(
            "{figure:20} {:12.2} {:12.2} {:8.3} ({:.3}–{:.3})",
            quantile(&of(0), 0.5),
            quantile(&of(1), 0.5),
            quantile(&ratios, 0.5),
            quantile(&ratios, 0.25),
            quantile(&ratios, 0.75),
        );
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
