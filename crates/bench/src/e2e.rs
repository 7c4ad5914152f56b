//! `bench e2e`. In: arguments. Out: how long messages take from when they were to be sent until a
//! consumer has them, and whether each came once and in order.
//!
//! Producers send at a fixed rate (open loop), consumers pull with long polling, in one process: so
//! one clock tells both times, and the books need no file. When a message was to be sent follows
//! from its number, so its body needs no time.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kerolox_protocol::record::View;

use crate::body::Identity;
use crate::consume::{self, From, Until};
use crate::produce::{self, Job};
use crate::report::Output;
use crate::set::Set;
use crate::stats::Latencies;
use crate::target::Target;
use crate::{arguments, exit_code, runtime};

mod summary;

pub use summary::Summary;

/// How often the books are looked at while they run.
const LOOK: Duration = Duration::from_millis(50);

/// Arguments of `bench e2e`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    /// Created if it is missing.
    #[arg(long, default_value = "KeroloxBenchE2e")]
    pub topic: String,
    #[arg(long, default_value = "kerolox-bench-e2e")]
    pub group: String,
    /// Queues on each broker, if the topic has to be created.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..))]
    pub queues: i32,
    /// Messages per second in all.
    #[arg(long, default_value_t = 1000.0, value_parser = arguments::rate)]
    pub rate: f64,
    /// Producers' connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub connections: u32,
    /// Sends in flight on each of them; more wait, and their latency counts on.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Consumers' connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub consumers: u32,
    /// Messages asked for at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..))]
    pub pull_size: i32,
    /// Bytes of each body, at least 24.
    #[arg(long, default_value_t = 1024, value_parser = arguments::size)]
    pub size: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0, value_parser = arguments::some_seconds)]
    pub duration: f64,
    /// Seconds before those.
    #[arg(long, default_value_t = 2.0, value_parser = arguments::seconds)]
    pub warm_up: f64,
    /// For --surge-for seconds so many times as many messages, from --surge-from on.
    #[arg(long, value_name = "FACTOR", requires = "surge_for", value_parser = arguments::factor)]
    pub surge: Option<f64>,
    /// Seconds of the measured time before the surge.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, requires = "surge", value_parser = arguments::seconds)]
    pub surge_from: f64,
    /// Seconds that the surge lasts.
    #[arg(long, value_name = "SECONDS", requires = "surge", value_parser = arguments::seconds)]
    pub surge_for: Option<f64>,
    /// Seconds that the last messages may take.
    #[arg(long, default_value_t = 10.0, value_parser = arguments::seconds)]
    pub grace: f64,
    /// Binary headers instead of JSON.
    #[arg(long)]
    pub binary: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What consumers have seen.
#[derive(Debug, Default)]
struct Books {
    run: u64,
    seen: Set,
    /// Of each queue and producer.
    last: HashMap<(i32, u32), u64>,
    received: u64,
    doubled: u64,
    out_of_order: u64,
    /// Of other runs, or damaged.
    foreign: u64,
    latencies: Latencies,
    /// The same with a surge, of each second of the measured time.
    by_second: Option<Vec<Latencies>>,
    /// Those of the messages that were to be sent when times were not measured yet.
    measured: u64,
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(args.json);
    let summary = runtime()?.block_on(both(args, output))?;
    output.result(&summary)?;
    Ok(exit_code(summary.good()))
}

impl Args {
    fn produce(&self) -> produce::Args {
        let plain =
            produce::Args::plain(self.target.clone(), self.topic.clone(), self.queues, self.size);
        produce::Args {
            connections: self.connections,
            in_flight: self.in_flight,
            duration: self.duration,
            warm_up: self.warm_up,
            rate: Some(self.rate),
            surge: self.surge(),
            binary: self.binary,
            ..plain
        }
    }

    /// Whether the surge lies where it can be compared.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (Some(_), Some(length)) = (self.surge, self.surge_for) else { return Ok(()) };
        let is_time = |seconds: f64| seconds >= 1.0 && seconds < self.duration;
        if is_time(self.surge_from) && is_time(length) && is_time(self.surge_from + length) {
            return Ok(());
        }
        Err(format!(
            "the surge, from {} s on for {length} s, must lie within --duration {}, with a second or more before it",
            self.surge_from, self.duration
        ))
    }

    fn surge(&self) -> Option<produce::Surge> {
        let (factor, length) = (self.surge?, self.surge_for?);
        let seconds = Duration::from_secs_f64;
        let from = seconds(self.warm_up) + seconds(self.surge_from);
        Some(produce::Surge { from, length: seconds(length), factor })
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

async fn both(args: &Args, output: Output) -> anyhow::Result<Summary> {
    let (sending, reading) = (args.produce(), args.consume());
    let client = args.target.client(produce::form(&sending));
    let masters = args.target.masters_or_create(&client, &args.topic, args.queues).await?;
    let run = produce::run_id();
    let tally = consume::Shared::default();
    let by_second = args.surge.map(|_| Vec::new());
    let books = Arc::new(Mutex::new(Books { run, by_second, ..Books::default() }));

    // The consumers are there first; what comes before the producers' clock is known is kept.
    let clock: Arc<Mutex<Option<Job>>> = Arc::default();
    let sink: consume::Sink = {
        let (books, clock) = (books.clone(), clock.clone());
        Arc::new(move |message, now| {
            let clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
            let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
            books.see(message, now, clock.as_ref());
        })
    };
    let queues =
        consume::read_all(&reading, &masters, From::Last, Until::Dropped, &tally, sink).await?;
    // Consumers run on this thread alone, so none can see a message before its clock is there.
    *lock(&clock) = Some(Job::start(&sending, &masters, run, None, true)?);

    let mut next_line = Instant::now() + Duration::from_secs(1);
    let mut told = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        if Instant::now() >= next_line {
            next_line += Duration::from_secs(1);
            output.progress(|| lock(&books).line(&mut told));
        }
        let mut clock = lock(&clock);
        if clock.as_mut().map_or(Ok(true), |job| job.poll(Duration::ZERO))? {
            break;
        }
    }
    // The last messages are on their way; their times count as well.
    let sum = lock(&clock).as_ref().map_or(0, Job::acknowledged);
    let deadline = Instant::now() + Duration::from_secs_f64(args.grace);
    while lock(&books).received < sum && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    drop(queues);
    let job = lock(&clock).take();
    let Some(job) = job else { anyhow::bail!("the producers are gone") };
    let (sent, seconds) = job.finish(output)?;
    let books = lock(&books);
    let lost = sent.noted.as_ref().map_or(0, |noted| noted.acknowledged.count_beyond(&books.seen));
    let tally = consume::lock(&tally);
    Ok(Summary::new(args, &sent, &books, &tally, lost, seconds))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    fn see(&mut self, message: &View<'_>, now: Instant, clock: Option<&Job>) {
        let id = Identity::read(message.body).filter(|id| id.run == self.run);
        let Some(id) = id else {
            self.foreign += 1;
            return;
        };
        if !self.seen.insert(id.run, id.producer, id.sequence) {
            self.doubled += 1;
            return;
        }
        self.received += 1;
        let last = self.last.entry((message.queue_id, id.producer)).or_insert(id.sequence);
        if *last > id.sequence {
            self.out_of_order += 1;
        }
        *last = id.sequence.max(*last);
        let Some(job) = clock else { return };
        if let Some(due) = job.due(id.producer, id.sequence)
            && due >= job.measured_from()
        {
            self.measured += 1;
            let latency = now.saturating_duration_since(due);
            self.latencies.record(latency);
            if let Some(seconds) = &mut self.by_second {
                let second = (due - job.measured_from()).as_secs() as usize;
                if seconds.len() <= second {
                    seconds.resize_with(second + 1, Latencies::default);
                }
                seconds[second].record(latency);
            }
        }
    }

    fn line(&self, told: &mut u64) -> String {
        let rate = self.received - std::mem::replace(told, self.received);
        let so_far = self.latencies.summary();
        let doubled = self.doubled;
        format!(
            "{rate:>8} msg/s  p50 {} µs  p99 {} µs  p99.9 {} µs  doubled {doubled}",
            so_far.p50, so_far.p99, so_far.p99_9
        )
    }
}
