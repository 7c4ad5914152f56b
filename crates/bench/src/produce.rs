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

use anyhow::{Context, bail, ensure};
use kerolox_client::{Form, Master};

use crate::ledger::{Header, Ledger, Writer};
use crate::report::Output;
use crate::target::Target;
use crate::template::{Common, Template};
use crate::{body, exit_code, report, runtime, stats, verify};

mod link;
mod pacer;
mod slots;
mod summary;
mod tally;
mod worker;

pub use summary::Summary;

use link::Link;
use tally::{Live, Tally};
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
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 2.0)]
    pub warm_up: f64,
    /// Messages per second in all (open loop): latency counts from when a message should have been
    /// sent. Without it each connection sends as soon as it may.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Binary headers instead of JSON.
    #[arg(long)]
    pub binary: bool,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Seconds after which a send counts as unacknowledged.
    #[arg(long, default_value_t = 10.0)]
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
    produce(args, Output::new(true))
}

fn produce(args: &Args, output: Output) -> anyhow::Result<Summary> {
    check(args)?;
    let masters = runtime()?.block_on(async {
        let client = args.target.client(form(args));
        args.target.masters_or_create(&client, &args.topic, args.queues).await
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
    let (tally, seconds) = load(args, output, &masters, &header, writer)?;
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

fn check(args: &Args) -> anyhow::Result<()> {
    let least = body::HEADER_SIZE;
    ensure!(
        args.size >= least,
        "--size {} is less than the {least} that tell messages apart",
        args.size
    );
    for (name, seconds) in
        [("duration", args.duration), ("warm-up", args.warm_up), ("timeout", args.timeout)]
    {
        ensure!((0.0..1e9).contains(&seconds), "--{name} {seconds} is no number of seconds");
    }
    if let Some(rate) = args.rate {
        ensure!(rate > 0.0 && rate < 1e9, "--rate {rate} is no number of messages per second");
    }
    Ok(())
}

fn form(args: &Args) -> Form {
    if args.binary { Form::Binary } else { Form::Json }
}

/// Random: two runs never share one.
fn run_id() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Where the ledger goes, if there is one.
fn ledger_path(args: &Args, run: u64) -> Option<PathBuf> {
    let own =
        || args.verify.then(|| std::env::temp_dir().join(format!("kerolox-ledger-{run:016x}")));
    args.ledger.clone().or_else(own)
}

/// Connects, lets the workers run, and adds up. Tells how many seconds were measured: fewer than
/// asked for if all connections were lost.
fn load(
    args: &Args,
    output: Output,
    masters: &[Master],
    header: &Header,
    writer: Option<Writer>,
) -> anyhow::Result<(Tally, f64)> {
    let links = connect(args, masters, header.run, writer.is_some())?;
    let threads = args.threads.min(args.connections) as usize;
    let live = Arc::new(Live::default());
    let start = Instant::now();
    let measured_from = start + Duration::from_secs_f64(args.warm_up);
    let plan = Plan {
        start,
        stop: measured_from + Duration::from_secs_f64(args.duration),
        timeout: Duration::from_secs_f64(args.timeout),
        reconnect: args.reconnect,
        // Worker t's messages are due one interval of its own apart, shifted against the others'.
        interval: args.rate.map(|rate| Duration::from_secs_f64(threads as f64 / rate)),
    };
    let mut shares: Vec<Vec<Link>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, link) in links.into_iter().enumerate() {
        shares[i % threads].push(link);
    }
    let (results, finished) = mpsc::channel();
    for (t, share) in shares.into_iter().enumerate() {
        let tally = Tally::new(measured_from, plan.stop, writer.as_ref().map(Writer::another));
        let mut plan = plan;
        plan.start += plan.interval.unwrap_or_default().mul_f64(t as f64 / threads as f64);
        let worker = Worker::new(plan, share, tally, live.clone())?;
        let results = results.clone();
        thread::Builder::new().name(format!("bench-{t}")).spawn(move || {
            // The receiver is gone only if another worker failed.
            let _ = results.send(worker.run());
        })?;
    }
    drop(results);
    let tally = watch(output, &live, &finished, start)?;
    let measured = Instant::now().min(plan.stop).saturating_duration_since(measured_from);
    Ok((tally, measured.as_secs_f64()))
}

/// Prints a line a second until all workers have sent their tallies.
fn watch(
    output: Output,
    live: &Live,
    finished: &mpsc::Receiver<anyhow::Result<Tally>>,
    start: Instant,
) -> anyhow::Result<Tally> {
    let mut sum: Option<Tally> = None;
    let mut next = start + Duration::from_secs(1);
    let mut before = 0;
    loop {
        match finished.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(tally) => {
                let mut tally = tally?;
                match &mut sum {
                    Some(sum) => sum.add(&mut tally),
                    None => sum = Some(tally),
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                next += Duration::from_secs(1);
                let line = live.line(start.elapsed(), &mut before);
                output.progress(|| line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    let mut sum = sum.context("a worker ended without a result")?;
    sum.latencies = live.latencies();
    Ok(sum)
}

/// Makes all connections, spread over the masters.
fn connect(args: &Args, masters: &[Master], run: u64, books: bool) -> anyhow::Result<Vec<Link>> {
    let addrs = masters.iter().map(|m| resolve(&m.addr)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut links = Vec::with_capacity(args.connections as usize);
    for producer in 0..args.connections {
        let broker = producer as usize % masters.len();
        let common = Common {
            form: form(args),
            topic: &args.topic,
            queues: masters[broker].write_queues,
            run,
            producer,
            size: args.size,
        };
        let stream = std::net::TcpStream::connect_timeout(&addrs[broker], CONNECT_TIMEOUT)
            .with_context(|| format!("cannot connect to {}", masters[broker].addr))?;
        let at = link::Place {
            producer,
            broker: broker as u16,
            addr: addrs[broker],
            queues: common.queues,
        };
        let template = Template::new(&common)?;
        links.push(Link::new(at, template, stream, args.in_flight, books)?);
    }
    Ok(links)
}

fn resolve(addr: &str) -> anyhow::Result<SocketAddr> {
    let mut found = addr.to_socket_addrs().with_context(|| format!("cannot resolve {addr}"))?;
    match found.next() {
        Some(addr) => Ok(addr),
        None => bail!("{addr} has no address"),
    }
}
