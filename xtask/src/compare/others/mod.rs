//! `cargo xtask compare --others`: products of other kinds, each with its own load tool, and Kerolox
//! with `kerolox bench`, for scale. In: what package managers get at the versions that `bench/others`
//! pins. Out: JSON for each product, and a table.
//!
//! One product runs at a time: twice, once with a sync before each acknowledgement and once without.
//! Loads and acknowledgements differ between products, so each says in words what its own are.

mod activemq;
mod kafka;
mod kerolox;
mod nats;
mod rabbitmq;
mod report;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::Value;

use super::Options;
use super::bound::{Probe, Shape};
use super::measure::{self, Metrics, Sample};
use crate::proc;
use crate::process::{self, Running};
use crate::server::Scratch;
use crate::workspace::{self, Workspace};

/// What must be free on the disk: a product's data of one durability, and some to spare.
const FREE_BYTES_MIN: u64 = 20 << 30;
/// A load tool that runs for longer is ended, and its row fails.
const TOOL_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of a body.
const SIZE: u32 = 1024;
/// The topic of the loads before the rounds, and how many there are at most.
const WARM_UP: &str = "warm-up";
const WARM_UPS_MAX: u32 = 6;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Name {
    Kerolox,
    Kafka,
    Rabbitmq,
    Activemq,
    Nats,
}

impl Name {
    fn key(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }
}

/// What an acknowledgement waits for, as far as the product can do both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Durability {
    /// The message is on the disk.
    Synced,
    /// It is in the page cache, or on its way there.
    Written,
}

impl Durability {
    const BOTH: [Durability; 2] = [Durability::Synced, Durability::Written];

    fn key(self) -> &'static str {
        match self {
            Durability::Synced => "synced",
            Durability::Written => "written",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sends {
    /// 64 connections, one message in flight on each, or what the tool has that is nearest.
    Single,
    /// Pipelined or batched, as the product does best.
    Best,
}

/// How long a tool sends.
struct Amount {
    /// Seconds that do not count, where the tool can leave some out.
    warm_up: u32,
    /// Seconds behind them.
    seconds: u32,
    /// What fits into both, for a tool that stops after a number of messages.
    messages: u64,
}

/// What a tool did.
struct Outcome {
    /// All of its messages, those of its warm-up too.
    messages: f64,
    /// Its rate, without its warm-up where it has one.
    per_second: f64,
}

/// Messages of a round, by how they were sent.
#[derive(Default)]
struct Stored {
    single: u64,
    best: u64,
}

/// What a reader must know of a product.
struct About {
    title: &'static str,
    tool: &'static str,
    /// How the broker is set up, beyond its defaults.
    broker: &'static str,
    single: &'static str,
    best: &'static str,
    consume: &'static str,
    /// What an acknowledgement means.
    synced: &'static str,
    written: &'static str,
}

/// A product whose packages are here.
trait Product {
    fn about(&self) -> About;
    /// Starts it on an empty folder, on loopback only.
    fn start(&self, folder: &Path, durability: Durability) -> Result<Broker>;
    /// Sends to what the product has for a topic; it is made if it is missing.
    fn produce(
        &self,
        broker: &Broker,
        topic: &str,
        sends: Sends,
        amount: &Amount,
    ) -> Result<Outcome>;
    /// Reads what was sent to it, from its beginning.
    fn consume(&self, broker: &Broker, topic: &str, stored: &Stored) -> Result<Outcome>;
}

/// A broker that runs. It is killed when this goes away.
struct Broker {
    process: Running,
    /// What runs beside it.
    beside: Vec<Running>,
    port: u16,
    folder: PathBuf,
    durability: Durability,
}

impl Broker {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a load tool to its end, and returns what it printed.
    fn tool(&self, command: &mut Command) -> Result<String> {
        let log = self.folder.join("tool.log");
        fs::write(&log, "")?;
        let mut running = Running::start_into(command, &log)?;
        let status = running.wait_for(TOOL_LIMIT)?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let tail: String = said.lines().rev().take(20).collect::<Vec<_>>().join("\n");
        match status {
            Some(status) if status.success() => Ok(said),
            Some(status) => bail!("the load tool ended with {status}; its last lines:\n{tail}"),
            None => bail!("the load tool does not end; its last lines:\n{tail}"),
        }
    }

    /// SIGTERM. What does not end in time is killed: its data is not needed any more.
    fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        if self.process.wait_for(STOP_LIMIT)?.is_none() {
            println!("the broker does not end within {STOP_LIMIT:?}, and is killed");
        }
        self.beside.clear();
        Ok(())
    }
}

/// A row of one durability: key, and a round's figures each.
type Rows = Vec<(&'static str, Vec<Metrics>)>;

struct Case {
    durability: Durability,
    rows: Rows,
}

/// Where and how long.
struct Run {
    /// Of Kerolox.
    binary: PathBuf,
    root: PathBuf,
    /// For what package managers get.
    packages: PathBuf,
    /// For data.
    dir: PathBuf,
    quick: bool,
    rounds: u32,
    seconds: u32,
    warm_up: u32,
}

pub(super) fn run(options: &Options, names: &[Name]) -> Result<bool> {
    let root = workspace::root();
    let target = Workspace::read(&root)?.target.join("others");
    let results =
        if options.quick { target.join("results") } else { root.join("bench/results/others") };
    let docs = (!options.quick).then(|| root.join("docs/performance.md"));
    if options.report {
        report::write(&results, docs.as_deref())?;
        return Ok(true);
    }
    let binary = workspace::release_binary(&root, false)?;
    let scratch = Scratch::below(options.dir.as_ref().unwrap_or(&target))?;
    let run = Run {
        binary,
        root,
        packages: target,
        dir: scratch.path().canonicalize()?,
        quick: options.quick,
        rounds: options.rounds.unwrap_or(if options.quick { 1 } else { 3 }),
        seconds: options.seconds.unwrap_or(if options.quick { 3 } else { 10 }),
        warm_up: if options.quick { 1 } else { 3 },
    };
    let mut failed = false;
    for name in if names.is_empty() { Name::value_variants() } else { names } {
        println!("\n== {}", name.key());
        match run.product(*name) {
            Ok(product) => match run.measure(&*product) {
                Ok(measured) => report::keep(&results, &run, *name, &product.about(), &measured)?,
                Err(error) => {
                    println!("{}: not measured: {error:#}", name.key());
                    failed = true;
                }
            },
            Err(error) => {
                println!("{}: not available: {error:#}", name.key());
                report::keep_absence(&results, &run, *name, &error.to_string())?;
            }
        }
        report::write(&results, docs.as_deref())?;
    }
    println!("\nwritten to {}", results.display());
    Ok(!failed)
}

/// Figures of a product, and of the machine meanwhile.
struct Measured {
    cases: Vec<Case>,
    load_average_before: f64,
    /// Before and behind.
    probes: Vec<Value>,
}

impl Run {
    /// Gets its packages. The outermost error is a short reason, for the table.
    fn product(&self, name: Name) -> Result<Box<dyn Product>> {
        let folder = self.packages.join(name.key());
        fs::create_dir_all(&folder)?;
        Ok(match name {
            Name::Kerolox => Box::new(kerolox::Kerolox::new(&self.binary)),
            Name::Kafka => Box::new(kafka::Kafka::get(&self.root, &folder)?),
            Name::Rabbitmq => Box::new(rabbitmq::RabbitMq::get(&self.root, &folder)?),
            Name::Activemq => Box::new(activemq::ActiveMq::get(&self.root, &folder)?),
            Name::Nats => Box::new(nats::Nats::get(&self.root, &folder)?),
        })
    }

    fn measure(&self, product: &dyn Product) -> Result<Measured> {
        let load_average_before = proc::load_average();
        let probe = || Probe::take(&self.binary, &self.dir, Shape::send(64, 1), self.quick);
        let mut probes = vec![probe()?.json];
        let mut cases = Vec::new();
        for durability in Durability::BOTH {
            cases.push(Case { durability, rows: self.case(product, durability)? });
        }
        probes.push(probe()?.json);
        Ok(Measured { cases, load_average_before, probes })
    }

    fn case(&self, product: &dyn Product, durability: Durability) -> Result<Rows> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        let free = (disk.f_bavail * disk.f_frsize) >> 30;
        ensure!(free >= FREE_BYTES_MIN >> 30, "{} has {free} GiB free", self.dir.display());
        let folder = self.dir.join("data");
        // What a failed product left behind.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let broker = product.start(&folder, durability)?;
        let mut rows = vec![("single", Vec::new()), ("best", Vec::new()), ("consume", Vec::new())];
        let mut stored = Stored::default();
        let mut rates = [0.0; 2];
        for (rate, sends) in rates.iter_mut().zip([Sends::Single, Sends::Best]) {
            *rate = warm_up(product, &broker, sends, &mut stored)?;
        }
        product.consume(&broker, WARM_UP, &stored)?;
        for round in 0..self.rounds {
            let topic = format!("round-{round}");
            let mut stored = Stored::default();
            for (index, sends) in [Sends::Single, Sends::Best].into_iter().enumerate() {
                let messages = rates[index] * f64::from(self.warm_up + self.seconds);
                let amount = Amount {
                    warm_up: self.warm_up,
                    seconds: self.seconds,
                    messages: messages as u64 + 1,
                };
                let (outcome, metrics) =
                    measured(&broker, || product.produce(&broker, &topic, sends, &amount))?;
                rates[index] = outcome.per_second;
                stored.add(sends, outcome.messages);
                rows[index].1.push(metrics);
            }
            let (_, metrics) = measured(&broker, || product.consume(&broker, &topic, &stored))?;
            rows[2].1.push(metrics);
            for (row, rounds) in &rows {
                let figures = rounds.last().map(super::report::line).unwrap_or_default();
                println!("{} {row} {figures}", durability.key());
            }
        }
        broker.stop()?;
        fs::remove_dir_all(&folder)?;
        Ok(rows)
    }
}

impl Stored {
    fn add(&mut self, sends: Sends, messages: f64) {
        match sends {
            Sends::Single => self.single += messages as u64,
            Sends::Best => self.best += messages as u64,
        }
    }
}

/// Sends until a run lasts for more than a second and a half: broker and disk are warm, and its rate
/// tells a tool that counts how many messages to send.
fn warm_up(
    product: &dyn Product,
    broker: &Broker,
    sends: Sends,
    stored: &mut Stored,
) -> Result<f64> {
    let mut amount = Amount { warm_up: 0, seconds: 2, messages: 5_000 };
    for _ in 0..WARM_UPS_MAX {
        let outcome = product.produce(broker, WARM_UP, sends, &amount)?;
        stored.add(sends, outcome.messages);
        if outcome.messages > outcome.per_second * 1.5 {
            return Ok(outcome.per_second);
        }
        amount.messages = (amount.messages * 4).max(outcome.per_second as u64 * 2);
    }
    bail!("no warm-up lasts for long enough to tell a rate")
}

/// Runs a load, and takes what it cost the broker: CPU over all of it, and memory at its end.
fn measured(broker: &Broker, load: impl FnOnce() -> Result<Outcome>) -> Result<(Outcome, Metrics)> {
    measure::settle(&broker.folder)?;
    let mut metrics = Metrics::new();
    let before = Sample::take(broker.process.pid())?;
    let outcome = load()?;
    ensure!(outcome.messages > 0.0 && outcome.per_second > 0.0, "the load tool moved no message");
    before.cost_of(broker.process.pid(), outcome.messages, &mut metrics)?;
    metrics.remove("write_ratio");
    metrics.insert("per_second", outcome.per_second);
    measure::memory(broker.process.pid(), &mut metrics)?;
    Ok((outcome, metrics))
}

/// A port below those that the kernel hands out to clients, another one each time.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    let mut ports = (0..10_000).map(|_| NEXT.fetch_add(1, Ordering::Relaxed));
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).context("there is no free port")
}

/// Builds programs at the versions that a Go module pins.
fn go_build(module: &Path, folder: &Path, programs: &[&str]) -> Result<()> {
    let out = format!("{}/", folder.display());
    let args = [&["build", "-o", &out][..], programs].concat();
    process::output(&mut process::command("go", &args, module))
        .with_context(|| format!("Go cannot build {}", programs.join(" and ")))?;
    Ok(())
}

/// `java` with the flags, on a class path; its home directory is the folder.
fn java(folder: &Path, flags: &str, class_path: &str, main: &str, args: &str) -> Command {
    let mut command = process::command("java", &[], folder);
    command.args(measure::words(flags)).arg(format!("-Duser.home={}", folder.display()));
    // Not among the arguments, so that an error shows a command that can be read.
    command.env("CLASSPATH", class_path).arg(main).args(measure::words(args));
    command
}

/// The number before a word, with or without commas between thousands: `1,234 msgs/sec`.
fn number_before(text: &str, word: &str) -> Option<f64> {
    let (before, _) = text.split_once(word)?;
    let number =
        before.trim_end().rsplit(|c: char| !c.is_ascii_digit() && !",.".contains(c)).next()?;
    number.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_words() {
        for (text, word, expected) in [
            ("PubSync stats: 1,234,567 msgs/sec ~ 1.2 GiB/sec", "msgs/sec", Some(1_234_567.0)),
            ("5000 records sent, 1234.5 records/sec (1.21 MB/sec)", "records/sec", Some(1234.5)),
            ("5000 records sent", "records sent", Some(5000.0)),
            ("nothing here", "records", None),
        ] {
            assert_eq!(number_before(text, word), expected, "{text}");
        }
    }
}
