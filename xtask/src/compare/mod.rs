//! `cargo xtask compare`: Kerolox beside Apache RocketMQ, on the same machine, in the same run, with
//! the same load and the same durability.
//!
//! Both stay up through a row, so that the JIT stays warm; the one that is not measured is frozen.
//! They take turns, and each round has topics of its own. `systems` starts them, `rows` loads them,
//! `measure` takes the figures, `bound` what the machine allows, `report` and `plot` write it down.
//! `others` is another comparison: with products that do not speak RocketMQ.

mod bound;
mod measure;
mod others;
mod plot;
mod report;
mod rows;
mod run;
mod systems;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::server::Scratch;
use crate::workspace::{self, Workspace};
use run::Run;
use systems::Setup;

#[derive(Args)]
pub(crate) struct Options {
    /// The rows to measure; all of them if none is named
    rows: Vec<Name>,
    /// Two short rounds: whether a row works, not what it says. Results go below target/
    #[arg(long)]
    quick: bool,
    /// The rows' further variants as well
    #[arg(long)]
    all: bool,
    /// Where both keep their data, on a disk; below target/ if none is named
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Rounds of each system
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: Option<u32>,
    /// Seconds of a round that are measured
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(2..=20))]
    seconds: Option<u32>,
    /// Instead of Apache RocketMQ: Kafka, RabbitMQ, ActiveMQ and NATS JetStream, each with its own load
    /// tool. Those that are named, or all
    #[arg(long, value_name = "PRODUCT", num_args = 0.., conflicts_with_all = ["rows", "all"])]
    others: Option<Vec<others::Name>>,
    /// Instead of Apache RocketMQ: an older build of Kerolox, to see what a change does to every row. Prints
    /// ratios, and keeps nothing
    #[arg(long, value_name = "BINARY", conflicts_with_all = ["others", "report"])]
    before: Option<PathBuf>,
    /// Measure nothing; write tables and plots again from the results that are there
    #[arg(long)]
    report: bool,
}

/// A row of the comparison, in the order of importance.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Name {
    /// 1 KiB, one connection, one send at a time, SYNC_FLUSH
    #[value(name = "sync-1x1")]
    Sync1x1,
    #[value(name = "sync-64x1")]
    Sync64x1,
    #[value(name = "sync-16x128")]
    Sync16x128,
    /// The same with ASYNC_FLUSH
    #[value(name = "async-1x1")]
    Async1x1,
    #[value(name = "async-64x1")]
    Async64x1,
    #[value(name = "async-16x128")]
    Async16x128,
    /// SYNC_FLUSH on a disk whose every sync takes 5 ms longer
    #[value(name = "slow-1x1")]
    Slow1x1,
    #[value(name = "slow-64x1")]
    Slow64x1,
    /// A backlog is read, 32 messages a request, 8 connections
    Pull,
    /// From the intended sending to receipt, both at 70 % of Apache's maximum
    E2e,
    /// The Java load generators of Apache's, unmodified: 64 threads
    JavaProducer,
    JavaBatch,
    JavaConsumer,
    /// Batches of 32
    Batch,
    /// Many queues in use
    Topics,
    /// A backlog is read from the disk while messages are sent
    Drain,
    /// A thousand producers, on one queue, and beside 5,000 idle connections
    FanIn,
    /// Five groups read what is sent
    FanOut,
    /// For a while twice as much comes as can be done
    Surge,
    /// Old log files are deleted while messages are sent and received
    Retention,
    /// Ten minutes of each, at a rate that both can do
    Soak,
    /// From kill -9 with data stored to the first accepted send
    KillStart,
    /// Start on an empty folder, and memory without load
    Idle,
}

impl Name {
    pub(crate) fn key(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    if let Some(names) = &options.others {
        return others::run(options, names);
    }
    let root = workspace::root();
    let target = Workspace::read(&root)?.target.join("compare");
    let results =
        if options.quick { target.join("results") } else { root.join("bench/results/compare") };
    let docs = (!options.quick).then(|| root.join("docs/performance.md"));
    if options.report {
        report::write(&results, docs.as_deref())?;
        return Ok(true);
    }
    let binary = workspace::release_binary(&root, false)?;
    if let Some(before) = &options.before {
        ensure!(before.is_file(), "{} is no file; build one, and name it", before.display());
    }
    let before = options.before.as_ref().map(|before| before.canonicalize()).transpose()?;
    let setup = Setup::new(binary, before, &root, &target)?;
    let scratch = Scratch::below(options.dir.as_ref().unwrap_or(&target))?;
    let run = Run {
        setup,
        dir: scratch.path().to_path_buf(),
        quick: options.quick,
        all: options.all,
        rounds: options.rounds.unwrap_or(if options.quick { 2 } else { 5 }),
        seconds: options.seconds.unwrap_or(if options.quick { 3 } else { 10 }).into(),
        warm_up: if options.quick { 1.0 } else { 3.0 },
    };
    let names = if options.rows.is_empty() { Name::value_variants() } else { &options.rows };
    let mut failed = false;
    for name in names {
        println!("\n== {}", name.key());
        match rows::measure(&run, *name) {
            Ok(row) if options.before.is_some() => report::print_ratios(&row),
            Ok(row) => report::keep(&results, &root, &run, &row)?,
            Err(error) => {
                println!("{}: not measured: {error:#}", name.key());
                failed = true;
            }
        }
        run.clear()?;
        if options.before.is_none() {
            report::write(&results, docs.as_deref())?;
        }
    }
    if options.before.is_none() {
        println!("\nwritten to {}", results.display());
    }
    Ok(!failed)
}
