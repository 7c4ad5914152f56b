//! `bench produce`. In: arguments. Out: load on the brokers, and a summary.
//!
//! Each thread runs a [`worker`]: an event loop over its connections ([`link`]). This thread
//! watches, adds up, and at the end compares with what the brokers hold, if asked to.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kerolox_client::{Form, Master};

use crate::ledger::{Header, Ledger, Writer};
use crate::report::Output;
use crate::set::Set;
use crate::target::Target;
use crate::template::{Common, Template, numbered};
use crate::{arguments, exit_code, report, runtime, stats, verify};

mod link;
mod pace;
mod pacer;
mod slots;
mod summary;
mod tally;
mod worker;

pub(crate) use pace::Surge;
pub use summary::Summary;
pub(crate) use tally::Tally;

use link::Link;
use pace::Pace;
use tally::Live;
use worker::{Plan, Worker};

/// Connecting at the start may take this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `bench produce`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    /// Created if it is missing.
    #[arg(long, default_value = "KeroloxBench")]
    pub topic: String,
    /// Queues on each broker, if the topic has to be created.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..))]
    pub queues: i32,
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub connections: u32,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Bytes of each body, at least 24.
    #[arg(long, default_value_t = 1024, value_parser = arguments::size)]
    pub size: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0, value_parser = arguments::some_seconds)]
    pub duration: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 2.0, value_parser = arguments::seconds)]
    pub warm_up: f64,
    /// Messages per second in all (open loop): latency counts from when a message should have been
    /// sent. Without it each connection sends as soon as it may.
    #[arg(long, value_parser = arguments::rate)]
    pub rate: Option<f64>,
    /// Stop when so many messages were sent, if the time is not over before.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// Binary headers instead of JSON.
    #[arg(long)]
    pub binary: bool,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Seconds after which a send counts as unacknowledged.
    #[arg(long, default_value_t = 10.0, value_parser = arguments::some_seconds)]
    pub timeout: f64,
    /// Connect again after a loss. Nothing is sent twice.
    #[arg(long)]
    pub reconnect: bool,
    /// Write each acknowledged message to this file, for `bench verify`.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Read everything back at the end and compare.
    #[arg(long)]
    pub verify: bool,
    /// With --verify: messages of one connection may stand in another order.
    #[arg(long)]
    pub allow_reorder: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Messages of a request: `bench batch` sends more than one.
    #[arg(skip = 1u32)]
    pub batch: u32,
    /// Topics, each with its number behind its name: `bench topics` writes to many.
    #[arg(skip = 1u32)]
    pub topics: u32,
    /// With a rate: more for a while.
    #[arg(skip)]
    pub(crate) surge: Option<Surge>,
}

impl Args {
    /// One in flight on each of 64 connections, as fast as it goes.
    pub(crate) fn plain(target: Target, topic: String, queues: i32, size: usize) -> Self {
        Args {
            target,
            topic,
            queues,
            connections: 64,
            in_flight: 1,
            size,
            duration: 10.0,
            warm_up: 2.0,
            rate: None,
            messages: None,
            binary: false,
            threads: 1,
            timeout: 10.0,
            reconnect: false,
            ledger: None,
            verify: false,
            allow_reorder: false,
            json: false,
            batch: 1,
            topics: 1,
            surge: None,
        }
    }
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(args.json);
    let summary = produce(args, output)?;
    output.result(&summary)?;
    Ok(exit_code(summary.good(args.allow_reorder)))
}

/// Runs to the end.
pub fn measure(args: &Args) -> anyhow::Result<Summary> {
    produce(args, Output::silent())
}

pub(crate) fn produce(args: &Args, output: Output) -> anyhow::Result<Summary> {
    let masters = runtime()?.block_on(async {
        let client = args.target.client(form(args));
        let first = numbered(&args.topic, 0);
        let topic = if args.topics > 1 { &first } else { &args.topic };
        args.target.masters_or_create(&client, topic, args.queues).await
    })?;
    let header = Header {
        run: run_id(),
        topic: args.topic.clone(),
        size: args.size,
        brokers: masters.iter().map(|m| m.addr.clone()).collect(),
        queues: masters.iter().map(|m| m.write_queues).collect(),
    };
    let ledger = ledger_path(args, header.run);
    let writer = ledger.as_deref().map(|path| Writer::create(path, &header)).transpose()?;

    let cpu = stats::cpu_seconds();
    let (tally, seconds) = Job::start(args, &masters, header.run, writer, false)?.finish(output)?;
    let mut summary = Summary::new(args, &masters, &tally, seconds);
    summary.generator_cpu_s =
        cpu.zip(stats::cpu_seconds()).map(|(before, after)| report::round(after - before));

    if args.verify {
        let path = ledger.as_deref().context("--verify keeps a ledger")?;
        output.progress(|| "reading everything back".to_owned());
        let checked = verify::check(&[Ledger::read(path)?], &verify::Access::default());
        if args.ledger.is_none() {
            // It was made for this alone.
            let _ = std::fs::remove_file(path);
        }
        summary.verify = Some(checked?);
    }
    Ok(summary)
}

pub(crate) fn form(args: &Args) -> Form {
    if args.binary { Form::Binary } else { Form::Json }
}

/// Random: two runs never share one.
pub(crate) fn run_id() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Where the ledger goes, if there is one.
fn ledger_path(args: &Args, run: u64) -> Option<PathBuf> {
    let own =
        || args.verify.then(|| std::env::temp_dir().join(format!("kerolox-ledger-{run:016x}")));
    args.ledger.clone().or_else(own)
}

/// Workers that send, each in a thread of its own.
pub(crate) struct Job {
    live: Arc<Live>,
    finished: mpsc::Receiver<anyhow::Result<Tally>>,
    sum: Option<Tally>,
    start: Instant,
    measured_from: Instant,
    plan: Plan,
    connections: u32,
    /// Messages that a live line has told.
    told: u64,
}

impl Job {
    /// Connects, and starts them. With `note` the tally says at the end what was acknowledged.
    pub(crate) fn start(
        args: &Args,
        masters: &[Master],
        run: u64,
        writer: Option<Writer>,
        note: bool,
    ) -> anyhow::Result<Self> {
        let links = connect(args, masters, run)?;
        let threads = args.threads.min(args.connections) as usize;
        let live = Arc::new(Live::default());
        let start = Instant::now();
        let measured_from = start + Duration::from_secs_f64(args.warm_up);
        let plan = Plan {
            start,
            stop: measured_from + Duration::from_secs_f64(args.duration),
            timeout: Duration::from_secs_f64(args.timeout),
            reconnect: args.reconnect,
            // Worker t's requests are due one interval of its own apart, shifted against the others'.
            pace: args.rate.map(|rate| Pace {
                interval: Duration::from_secs_f64(threads as f64 * f64::from(args.batch) / rate),
                surge: args.surge,
            }),
        };
        let mut shares: Vec<Vec<Link>> = (0..threads).map(|_| Vec::new()).collect();
        for (i, link) in links.into_iter().enumerate() {
            shares[i % threads].push(link);
        }
        let (results, finished) = mpsc::channel();
        for (t, share) in shares.into_iter().enumerate() {
            let noted = note.then(|| tally::Noted { run, acknowledged: Set::default() });
            let writer = writer.as_ref().map(Writer::another);
            let tally = Tally::new(measured_from, plan.stop, writer, noted);
            let mut plan = plan;
            let interval = plan.pace.map_or(Duration::ZERO, |pace| pace.interval);
            plan.start += interval.mul_f64(t as f64 / threads as f64);
            let worker = Worker::new(plan, share, tally, live.clone())?;
            let results = results.clone();
            thread::Builder::new().name(format!("bench-{t}")).spawn(move || {
                // The receiver is gone only if another worker failed.
                let _ = results.send(worker.run());
            })?;
        }
        let connections = args.connections;
        Ok(Job { live, finished, sum: None, start, measured_from, plan, connections, told: 0 })
    }

    /// From when on latencies count.
    pub(crate) fn measured_from(&self) -> Instant {
        self.measured_from
    }

    /// When a message was to be sent, of an open loop of one thread without batches.
    pub(crate) fn due(&self, producer: u32, sequence: u64) -> Option<Instant> {
        let pace = self.plan.pace?;
        let n = sequence * u64::from(self.connections) + u64::from(producer);
        Some(pace.due_at(self.plan.start, n))
    }

    /// How much was acknowledged by the workers that have ended.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.sum.as_ref().map_or(0, |tally| tally.acknowledged)
    }

    /// Ends it before its time.
    pub(crate) fn stop(&self) {
        self.live.stop();
    }

    /// A line about the time since the last one.
    pub(crate) fn line(&mut self) -> String {
        self.live.line(self.start.elapsed(), &mut self.told)
    }

    /// Takes over what has come within `wait`; whether all workers have ended.
    pub(crate) fn poll(&mut self, wait: Duration) -> anyhow::Result<bool> {
        let until = Instant::now() + wait;
        loop {
            match self.finished.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(tally) => {
                    let mut tally = tally?;
                    match &mut self.sum {
                        Some(sum) => sum.add(&mut tally),
                        None => self.sum = Some(tally),
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(false),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(true),
            }
        }
    }

    /// Prints a line a second until all workers have ended. Tells how many seconds were measured,
    /// too: fewer than asked for if all connections were lost, or all that was wanted was sent.
    pub(crate) fn finish(mut self, output: Output) -> anyhow::Result<(Tally, f64)> {
        while !self.poll(Duration::from_secs(1))? {
            let line = self.line();
            output.progress(|| line);
        }
        let measured =
            Instant::now().min(self.plan.stop).saturating_duration_since(self.measured_from);
        let mut sum = self.sum.context("a worker ended without a result")?;
        sum.latencies = self.live.latencies();
        Ok((sum, measured.as_secs_f64()))
    }
}

/// Makes all connections, spread over the masters.
fn connect(args: &Args, masters: &[Master], run: u64) -> anyhow::Result<Vec<Link>> {
    let addrs = masters.iter().map(|m| resolve(&m.addr)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut links = Vec::with_capacity(args.connections as usize);
    for producer in 0..args.connections {
        let broker = producer as usize % masters.len();
        let common = Common {
            form: form(args),
            topic: &args.topic,
            topics: args.topics,
            queues: masters[broker].write_queues,
            run,
            producer,
            size: args.size,
            batch: args.batch,
        };
        let stream = std::net::TcpStream::connect_timeout(&addrs[broker], CONNECT_TIMEOUT)
            .with_context(|| format!("cannot connect to {}", masters[broker].addr))?;
        let at = link::Place {
            producer,
            broker: broker as u16,
            addr: addrs[broker],
            topics: args.topics,
            queues: common.queues,
            producers: args.connections,
            batch: args.batch,
            requests_max: share(args, producer),
        };
        let template = Template::new(&common)?;
        links.push(Link::new(at, template, stream, args.in_flight)?);
    }
    Ok(links)
}

/// How many requests a connection may send.
fn share(args: &Args, producer: u32) -> u64 {
    let Some(messages) = args.messages else { return u64::MAX };
    let (requests, connections) =
        (messages.div_ceil(args.batch.into()), u64::from(args.connections));
    requests / connections + u64::from(u64::from(producer) < requests % connections)
}

fn resolve(addr: &str) -> anyhow::Result<SocketAddr> {
    let mut found = addr.to_socket_addrs().with_context(|| format!("cannot resolve {addr}"))?;
    match found.next() {
        Some(addr) => Ok(addr),
        None => bail!("{addr} has no address"),
    }
}
