//! `bench consume`. In: arguments. Out: a topic's messages, pulled as fast as they come, and a
//! summary. One pull is in flight for each queue. `e2e` and `drain` read through it, too.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kerolox_client::{Connection, Error, Form, Master, Options};
use kerolox_protocol::record;
use kerolox_protocol::remoting::client::{ConsumerData, Heartbeat, SubscriptionData};
use tokio::task::JoinSet;

use crate::puller::{Puller, Step};
use crate::report::Output;
use crate::stats::Latencies;
use crate::target::Target;
use crate::{arguments, exit_code, report, runtime, stats};

mod summary;

pub use summary::Summary;

/// With --duration a broker may wait this long for a message.
const LONG_POLL: Duration = Duration::from_secs(1);

/// Arguments of `bench consume`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    #[arg(long, default_value = "KeroloxBench")]
    pub topic: String,
    #[arg(long, default_value = "kerolox-bench")]
    pub group: String,
    /// Messages asked for at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(i32).range(1..))]
    pub pull_size: i32,
    /// Connections to each broker; its queues are spread over them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub connections: u32,
    /// Seconds, waiting for new messages. Without it: until all queues are drained.
    #[arg(long, value_parser = arguments::some_seconds)]
    pub duration: Option<f64>,
    /// Binary headers instead of JSON.
    #[arg(long)]
    pub binary: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What all queues have brought so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    /// Of bodies.
    pub(crate) bytes: u64,
    pub(crate) pulls: u64,
    pub(crate) empty_pulls: u64,
    pub(crate) out_of_order: u64,
    pub(crate) gaps: u64,
    pub(crate) damaged: u64,
    pub(crate) errors: BTreeMap<i32, u64>,
    pub(crate) latencies: Latencies,
    pub(crate) last_message: Option<Instant>,
}

pub(crate) type Shared = Arc<Mutex<Tally>>;

pub(crate) fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(args.json);
    let summary = runtime()?.block_on(consume(args, output))?;
    output.result(&summary)?;
    Ok(exit_code(summary.good()))
}

/// Runs to the end.
pub fn measure(args: &Args) -> anyhow::Result<Summary> {
    runtime()?.block_on(consume(args, Output::silent()))
}

async fn consume(args: &Args, output: Output) -> anyhow::Result<Summary> {
    let masters = args.target.masters(&args.target.client(form(args)), &args.topic).await?;
    let cpu = stats::cpu_seconds();
    let tally = Shared::default();
    let start = Instant::now();
    let until = match args.duration {
        Some(seconds) => Until::Deadline(start + Duration::from_secs_f64(seconds)),
        None => Until::Drained,
    };
    let ignore = Arc::new(|_: &record::View<'_>, _: Instant| {});
    let mut queues = read_all(args, &masters, From::First, until, &tally, ignore).await?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    let mut before = 0;
    while !queues.is_empty() {
        tokio::select! {
            Some(ended) = queues.join_next() => ended??,
            _ = second.tick() => output.progress(|| line(&tally, start, &mut before)),
        }
    }
    let tally = lock(&tally);
    let end = if args.duration.is_some() { None } else { tally.last_message };
    let elapsed = end.unwrap_or_else(Instant::now).saturating_duration_since(start);
    let mut summary = Summary::new(args, &masters, &tally, elapsed);
    summary.consumer_cpu_s =
        cpu.zip(stats::cpu_seconds()).map(|(before, after)| report::round(after - before));
    Ok(summary)
}

fn form(args: &Args) -> Form {
    if args.binary { Form::Binary } else { Form::Json }
}

/// Where a reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    First,
    /// Behind what is there now.
    Last,
}

/// Where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Where a queue has no more.
    Drained,
    /// At what was the end when the reading began, though more may come.
    PresentEnd,
    Deadline(Instant),
    /// When its tasks are dropped.
    Dropped,
}

/// What is called with each message that arrives, and when it did.
pub(crate) type Sink = Arc<dyn Fn(&record::View<'_>, Instant) + Send + Sync>;

/// Starts to read all queues; each is a task. When this returns, each knows where it begins.
pub(crate) async fn read_all(
    args: &Args,
    masters: &[Master],
    from: From,
    until: Until,
    tally: &Shared,
    sink: Sink,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let form = form(args);
    let mut queues = JoinSet::new();
    for master in masters {
        let read_queues = u32::try_from(master.read_queues).unwrap_or(0);
        for c in 0..args.connections.min(read_queues) {
            let options = Options { form, in_flight_max: usize::MAX, ..Options::default() };
            let connection = Arc::new(Connection::connect_with(&master.addr, options).await?);
            connection.heartbeat(&heartbeat(&args.topic, &args.group, c)).await?;
            for queue in (c..read_queues).step_by(args.connections as usize) {
                let queue = queue as i32;
                let end = connection.max_offset(&args.topic, queue).await?.max(0);
                let first = connection.min_offset(&args.topic, queue).await?.max(0);
                let span = Span { first: if from == From::First { first } else { end }, end };
                let reading = Reading {
                    args: args.clone(),
                    connection: connection.clone(),
                    queue,
                    span,
                    until,
                    tally: tally.clone(),
                    sink: sink.clone(),
                };
                queues.spawn(reading.run());
            }
        }
    }
    Ok(queues)
}

fn line(tally: &Shared, start: Instant, before: &mut u64) -> String {
    let tally = lock(tally);
    let rate = tally.messages - std::mem::replace(before, tally.messages);
    let so_far = tally.latencies.summary();
    let seconds = start.elapsed().as_secs_f64();
    format!("{seconds:>4.0} s  {rate:>8} msg/s  pull p50 {} µs  p99 {} µs", so_far.p50, so_far.p99)
}

/// Makes the group known to the broker.
pub(crate) fn heartbeat(topic: &str, group: &str, connection: u32) -> Heartbeat {
    let subscription = SubscriptionData {
        topic: topic.to_owned(),
        sub_string: "*".to_owned(),
        expression_type: "TAG".to_owned(),
        ..SubscriptionData::default()
    };
    Heartbeat {
        client_id: format!("bench@{}#{connection}", std::process::id()),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            consume_type: "CONSUME_ACTIVELY".to_owned(),
            message_model: "CLUSTERING".to_owned(),
            consume_from_where: "CONSUME_FROM_FIRST_OFFSET".to_owned(),
            subscription_data_set: vec![subscription],
        }],
        ..Heartbeat::default()
    }
}

/// Offsets of a queue when its reading began.
struct Span {
    first: i64,
    end: i64,
}

/// One queue.
struct Reading {
    args: Args,
    connection: Arc<Connection>,
    queue: i32,
    span: Span,
    until: Until,
    tally: Shared,
    sink: Sink,
}

impl Reading {
    async fn run(self) -> anyhow::Result<()> {
        let Reading { args, connection, span, until, tally, .. } = &self;
        let waits = matches!(until, Until::Deadline(_) | Until::Dropped);
        let mut puller = Puller {
            connection,
            group: &args.group,
            topic: &args.topic,
            queue: self.queue,
            offset: span.first,
            batch: args.pull_size,
            wait: if waits { LONG_POLL } else { Duration::ZERO },
            stuck: 0,
        };
        let mut expected = puller.offset;
        loop {
            if *until == Until::PresentEnd && puller.offset >= span.end {
                return Ok(());
            }
            let asked = Instant::now();
            let step = match until {
                Until::Deadline(deadline) => {
                    match tokio::time::timeout_at((*deadline).into(), puller.next()).await {
                        Ok(step) => step,
                        Err(_) => return Ok(()),
                    }
                }
                _ => puller.next().await,
            };
            let now = Instant::now();
            let mut tally = lock(tally);
            match step {
                Ok(Step::Records(body)) => {
                    tally.latencies.record(now - asked);
                    tally.pulls += 1;
                    tally.last_message = Some(now);
                    for message in record::walk(&body) {
                        tally.take(&message, &mut expected);
                        (self.sink)(&message, now);
                    }
                }
                Ok(Step::Drained) if !waits => return Ok(()),
                Ok(_) => tally.empty_pulls += 1,
                // A refusal is a result; the queue is left.
                Err(e) => match e.downcast_ref::<Error>().and_then(Error::refused_with) {
                    Some(code) => {
                        *tally.errors.entry(code).or_default() += 1;
                        return Ok(());
                    }
                    None => return Err(e),
                },
            }
        }
    }
}

impl Tally {
    fn take(&mut self, message: &record::View<'_>, expected: &mut i64) {
        self.messages += 1;
        self.bytes += message.body.len() as u64;
        self.damaged += u64::from(!message.body_is_sound());
        match message.queue_offset.cmp(expected) {
            std::cmp::Ordering::Less => self.out_of_order += 1,
            std::cmp::Ordering::Greater => self.gaps += 1,
            std::cmp::Ordering::Equal => {}
        }
        *expected = message.queue_offset.max(*expected - 1) + 1;
    }
}
