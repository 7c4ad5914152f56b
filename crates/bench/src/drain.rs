//! `bench drain`. In: arguments. Out: how fast a backlog is read while messages are sent at a rate,
//! and what that does to the sends.
//!
//! Messages are sent alone, then while the backlog is read, then alone once more: the latencies are from
//! the same minutes, the same broker and the same rate.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kerolox_protocol::record::View;
use serde::Serialize;

use crate::consume::{self, From, Until};
use crate::produce::{self, Job};
use crate::report::Output;
use crate::target::Target;
use crate::{arguments, exit_code, report, runtime, stats};

/// The drain may take this long; then it is given up.
const DRAIN_MAX: f64 = 3600.0;

/// Arguments of `bench drain`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    /// Holds the backlog: see `bench batch --messages`.
    #[arg(long, default_value = "KeroloxBench")]
    pub topic: String,
    #[arg(long, default_value = "kerolox-bench-drain")]
    pub group: String,
    /// Where messages go meanwhile; created if it is missing. Without it: to the same topic.
    #[arg(long)]
    pub produce_topic: Option<String>,
    /// Messages per second that are sent meanwhile.
    #[arg(long, default_value_t = 1000.0, value_parser = arguments::rate)]
    pub produce_rate: f64,
    /// Producers' connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub connections: u32,
    /// Sends in flight on each of them.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Consumers' connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub consumers: u32,
    /// Messages asked for at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..))]
    pub pull_size: i32,
    /// Bytes of each body that is sent, at least 24.
    #[arg(long, default_value_t = 1024, value_parser = arguments::size)]
    pub size: usize,
    /// Seconds of sending alone, before the backlog is read and again behind.
    #[arg(long, default_value_t = 10.0, value_parser = arguments::some_seconds)]
    pub baseline: f64,
    /// Seconds of sending before those, not measured.
    #[arg(long, default_value_t = 2.0, value_parser = arguments::seconds)]
    pub warm_up: f64,
    /// Binary headers instead of JSON.
    #[arg(long)]
    pub binary: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What a drain was like.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    pub topic: String,
    pub produce_rate: f64,
    /// The drain alone.
    pub seconds: f64,
    /// Messages of the backlog, and a few behind it.
    pub messages: u64,
    pub msg_per_s: f64,
    /// Of bodies, in 10⁶ bytes.
    pub mb_per_s: f64,
    pub pull_latency_us: stats::Summary,
    /// Of sends, without the drain and with it.
    pub produce_alone_us: stats::Summary,
    pub produce_meanwhile_us: stats::Summary,
    pub produced_meanwhile_per_s: f64,
    /// Due meanwhile, but not sent.
    pub not_sent: u64,
    pub send_errors: u64,
    pub unacknowledged: u64,
    pub out_of_order: u64,
    pub gaps: u64,
    pub damaged: u64,
    pub pull_errors: u64,
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(args.json);
    let summary = drain(args, output)?;
    output.result(&summary)?;
    Ok(exit_code(summary.good()))
}

impl Args {
    fn produce(&self, duration: f64, warm_up: f64) -> produce::Args {
        let topic = self.produce_topic.as_ref().unwrap_or(&self.topic);
        let plain = produce::Args::plain(self.target.clone(), topic.clone(), 8, self.size);
        produce::Args {
            connections: self.connections,
            in_flight: self.in_flight,
            duration,
            warm_up,
            rate: Some(self.produce_rate),
            binary: self.binary,
            ..plain
        }
    }

    fn consume(&self) -> consume::Args {
        consume::Args {
            target: self.target.clone(),
            topic: self.topic.clone(),
            group: self.group.clone(),
            pull_size: self.pull_size,
            connections: self.consumers,
            duration: None,
            binary: self.binary,
            json: self.json,
        }
    }
}

fn drain(args: &Args, output: Output) -> anyhow::Result<Summary> {
    let before = args.produce(args.baseline, args.warm_up);
    let runtime = runtime()?;
    let client = args.target.client(produce::form(&before));
    let (masters, targets) = runtime.block_on(async {
        let masters = args.target.masters(&client, &args.topic).await?;
        let targets = args.target.masters_or_create(&client, &before.topic, before.queues).await?;
        anyhow::Ok((masters, targets))
    })?;
    let send_alone = |args: &produce::Args| {
        output.progress(|| "sending alone".to_owned());
        let job = Job::start(args, &targets, produce::run_id(), None, false)?;
        anyhow::Ok(job.finish(output)?.0.latencies)
    };
    let mut alone = send_alone(&before)?;

    output.progress(|| "reading the backlog".to_owned());
    let reading = args.consume();
    let tally = consume::Shared::default();
    let mut job = None;
    let begin = Instant::now();
    runtime.block_on(async {
        let ignore = Arc::new(|_: &View<'_>, _: Instant| {});
        let (from, until) = (From::First, Until::PresentEnd);
        let mut queues = consume::read_all(&reading, &masters, from, until, &tally, ignore).await?;
        let meanwhile = args.produce(DRAIN_MAX, 0.0);
        let job = job.insert(Job::start(&meanwhile, &targets, produce::run_id(), None, false)?);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.tick().await;
        while !queues.is_empty() {
            tokio::select! {
                Some(ended) = queues.join_next() => ended??,
                _ = second.tick() => output.progress(|| {
                    let read = consume::lock(&tally).messages;
                    format!("{}  {read} read", job.line())
                }),
            }
        }
        job.stop();
        anyhow::Ok(())
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let Some(job) = job else { anyhow::bail!("nothing was sent meanwhile") };
    let (meanwhile, sent_seconds) = job.finish(output)?;
    alone.add(&send_alone(&before)?);
    let tally = consume::lock(&tally);
    let per_second =
        |n: f64, seconds: f64| report::round(if seconds > 0.0 { n / seconds } else { 0.0 });
    Ok(Summary {
        workload: "drain",
        topic: args.topic.clone(),
        produce_rate: args.produce_rate,
        seconds: report::round(seconds),
        messages: tally.messages,
        msg_per_s: per_second(tally.messages as f64, seconds),
        mb_per_s: per_second(tally.bytes as f64 / 1e6, seconds),
        pull_latency_us: tally.latencies.summary(),
        produce_alone_us: alone.summary(),
        produce_meanwhile_us: meanwhile.latencies.summary(),
        produced_meanwhile_per_s: per_second(meanwhile.measured as f64, sent_seconds),
        not_sent: meanwhile.not_sent,
        send_errors: meanwhile.errors.values().sum(),
        unacknowledged: meanwhile.unacknowledged,
        out_of_order: tally.out_of_order,
        gaps: tally.gaps,
        damaged: tally.damaged,
        pull_errors: tally.errors.values().sum(),
    })
}

impl Summary {
    /// Whether the backlog was all there, in order, and could be read.
    pub fn good(&self) -> bool {
        self.out_of_order + self.gaps + self.damaged + self.pull_errors == 0
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "drain     {}, {} msg/s sent meanwhile", self.topic, self.produce_rate)?;
        writeln!(
            f,
            "rate      {} msg/s, {} MB/s ({} messages in {} s)",
            self.msg_per_s, self.mb_per_s, self.messages, self.seconds
        )?;
        writeln!(f, "pull      {}", self.pull_latency_us)?;
        writeln!(f, "alone     {}", self.produce_alone_us)?;
        writeln!(f, "meanwhile {}", self.produce_meanwhile_us)?;
        let Summary { out_of_order, gaps, damaged, not_sent, send_errors, .. } = self;
        write!(
            f,
            "checked   {out_of_order} out of order, {gaps} gaps, {damaged} damaged, {send_errors} sends refused, {not_sent} due but not sent"
        )
    }
}
