//! `bench topics`. In: arguments. Out: how a broker does with many queues.
//!
//! Topics of eight queues are made; each queue gets a message, and a group commits an offset in it,
//! so that each is a queue in use. Then messages go to all of them in turn, as fast as it goes or
//! at a rate.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use kerolox_client::{Connection, Options, new_topic};
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::offsets::UpdateConsumerOffset;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::consume::heartbeat;
use crate::produce;
use crate::report::Output;
use crate::target::Target;
use crate::template::numbered;
use crate::{arguments, exit_code, report, runtime};

/// Queues of a topic, unless there are fewer in all.
const QUEUES: u32 = 8;
/// Requests in flight while topics are made and offsets committed.
const IN_FLIGHT: usize = 64;
/// A broker that writes all its topics to a file for each new one may take long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// For the first messages; far more than they take.
const FIRST_MESSAGES_MAX: f64 = 3600.0;

/// Arguments of `bench topics`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    /// What the topics' names begin with.
    #[arg(long, default_value = "KeroloxBenchTopics")]
    pub topic: String,
    #[arg(long, default_value = "kerolox-bench-topics")]
    pub group: String,
    /// Queues in all: topics of eight, or one topic of fewer.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=8_000_000))]
    pub queues: u32,
    /// Seconds after which no more topics are made; the rest goes on with those that are there.
    #[arg(long, value_parser = arguments::seconds)]
    pub setup_limit: Option<f64>,
    /// End when every queue is in use.
    #[arg(long)]
    pub setup_only: bool,
    /// The queues are in use already.
    #[arg(long, conflicts_with = "setup_only")]
    pub skip_setup: bool,
    /// Messages per second in all. Without it: as fast as it goes.
    #[arg(long, value_parser = arguments::rate)]
    pub rate: Option<f64>,
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
    /// Binary headers instead of JSON.
    #[arg(long)]
    pub binary: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    /// Queues that were asked for.
    pub wanted: u32,
    /// Those that there are: fewer if the time was over.
    pub queues: u32,
    pub topics: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub produce: Option<produce::Summary>,
}

/// Seconds that each step took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Setup {
    pub topics_s: f64,
    pub messages_s: f64,
    pub offsets_s: f64,
    /// First messages that were refused or not answered.
    pub not_sent: u64,
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(args.json);
    let summary = topics(args, output)?;
    output.result(&summary)?;
    Ok(exit_code(summary.good()))
}

/// How queues are spread over topics.
#[derive(Debug, Clone, Copy)]
struct Shape {
    topics: u32,
    queues: u32,
}

impl Shape {
    fn of(queues: u32) -> Self {
        Shape { topics: (queues / QUEUES).max(1), queues: queues.min(QUEUES) }
    }

    fn all(self) -> u32 {
        self.topics * self.queues
    }
}

impl Args {
    fn load(&self, shape: Shape) -> produce::Args {
        let queues = shape.queues as i32;
        let plain =
            produce::Args::plain(self.target.clone(), self.topic.clone(), queues, self.size);
        produce::Args {
            topics: shape.topics,
            connections: self.connections,
            in_flight: self.in_flight,
            duration: self.duration,
            warm_up: self.warm_up,
            rate: self.rate,
            binary: self.binary,
            timeout: TIMEOUT.as_secs_f64(),
            ..plain
        }
    }

    fn name(&self, shape: Shape, topic: u32) -> String {
        if shape.topics > 1 { numbered(&self.topic, topic) } else { self.topic.clone() }
    }
}

fn topics(args: &Args, output: Output) -> anyhow::Result<Summary> {
    let mut shape = Shape::of(args.queues);
    let mut setup = None;
    if !args.skip_setup {
        let begin = Instant::now();
        shape.topics = runtime()?.block_on(make(args, shape, output))?;
        let made = begin.elapsed();
        let first = produce::Args {
            messages: Some(shape.all().max(args.connections).into()),
            in_flight: 16,
            duration: FIRST_MESSAGES_MAX,
            warm_up: 0.0,
            rate: None,
            ..args.load(shape)
        };
        let begin = Instant::now();
        let sent = produce::produce(&first, output)?;
        let messages = begin.elapsed();
        let begin = Instant::now();
        runtime()?.block_on(commit(args, shape, output))?;
        let seconds = |time: Duration| report::round(time.as_secs_f64());
        setup = Some(Setup {
            topics_s: seconds(made),
            messages_s: seconds(messages),
            offsets_s: seconds(begin.elapsed()),
            not_sent: sent.sent - sent.acknowledged,
        });
    }
    let produce =
        if args.setup_only { None } else { Some(produce::produce(&args.load(shape), output)?) };
    Ok(Summary {
        workload: "topics",
        wanted: args.queues,
        queues: shape.all(),
        topics: shape.topics,
        setup,
        produce,
    })
}

/// The one broker that all topics are made on.
async fn connect(args: &Args) -> anyhow::Result<Arc<Connection>> {
    let form = produce::form(&args.load(Shape::of(args.queues)));
    let addr = match &args.target.broker {
        Some(addr) => addr.clone(),
        None => {
            let brokers = args.target.client(form).brokers().await?;
            ensure!(brokers.len() <= 1, "there are {} brokers: name one", brokers.len());
            let broker = brokers.first().context("the name server knows no broker")?;
            broker.broker_addrs[&0].clone()
        }
    };
    let options = Options { form, timeout: TIMEOUT, ..Options::default() };
    Ok(Arc::new(Connection::connect_with(&addr, options).await?))
}

/// Makes the topics; tells how many there are when that, or the time, is over.
async fn make(args: &Args, shape: Shape, output: Output) -> anyhow::Result<u32> {
    let connection = connect(args).await?;
    let deadline =
        args.setup_limit.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let numbers = Numbers::new(shape.topics, deadline);
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (numbers, connection, args) = (numbers.clone(), connection.clone(), args.clone());
        tasks.spawn(async move {
            while let Some(number) = numbers.next() {
                let topic = new_topic(&args.name(shape, number), shape.queues as i32);
                connection.create_topic(&topic).await?;
            }
            anyhow::Ok(())
        });
    }
    finish(tasks, || output.progress(|| format!("{} topics", numbers.taken()))).await?;
    Ok(numbers.taken())
}

/// Commits the offset behind the first message of each queue.
async fn commit(args: &Args, shape: Shape, output: Output) -> anyhow::Result<()> {
    let connection = connect(args).await?;
    // The group must be known before it may commit.
    connection.heartbeat(&heartbeat(&args.name(shape, 0), &args.group, 0)).await?;
    let numbers = Numbers::new(shape.topics, None);
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (numbers, connection, args) = (numbers.clone(), connection.clone(), args.clone());
        tasks.spawn(async move {
            while let Some(number) = numbers.next() {
                let topic = args.name(shape, number);
                for queue in 0..shape.queues {
                    let header = UpdateConsumerOffset {
                        consumer_group: args.group.as_str().into(),
                        topic: topic.as_str().into(),
                        queue_id: Some(queue as i32),
                        commit_offset: Some(1),
                    };
                    let code = request::UPDATE_CONSUMER_OFFSET;
                    connection.call(code, &header, Bytes::new()).await?.success()?;
                }
            }
            anyhow::Ok(())
        });
    }
    finish(tasks, || output.progress(|| format!("offsets of {} topics", numbers.taken()))).await
}

/// Waits for all, with a line a second.
async fn finish(
    mut tasks: JoinSet<anyhow::Result<()>>,
    mut line: impl FnMut(),
) -> anyhow::Result<()> {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    while !tasks.is_empty() {
        tokio::select! {
            Some(ended) = tasks.join_next() => ended??,
            _ = second.tick() => line(),
        }
    }
    Ok(())
}

/// Numbers that several tasks take from, until they or the time are at an end.
#[derive(Debug, Clone)]
struct Numbers {
    left: Arc<Mutex<VecDeque<u32>>>,
    count: u32,
    deadline: Option<Instant>,
}

impl Numbers {
    fn new(count: u32, deadline: Option<Instant>) -> Self {
        Numbers { left: Arc::new(Mutex::new((0..count).collect())), count, deadline }
    }

    fn next(&self) -> Option<u32> {
        if self.taken() > 0 && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn taken(&self) -> u32 {
        self.count - self.left.lock().unwrap_or_else(PoisonError::into_inner).len() as u32
    }
}

impl Summary {
    /// Whether every queue could be brought into use, and the load as well.
    pub fn good(&self) -> bool {
        let acknowledged = self.produce.as_ref().is_none_or(|load| load.acknowledged > 0);
        acknowledged && self.setup.is_none_or(|setup| setup.not_sent == 0)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { wanted, queues, topics, .. } = self;
        write!(f, "topics    {queues} queues of {topics} topics, {wanted} queues wanted")?;
        if let Some(Setup { topics_s, messages_s, offsets_s, not_sent }) = self.setup {
            write!(
                f,
                "\nsetup     {topics_s} s for topics, {messages_s} s for first messages ({not_sent} failed), {offsets_s} s for offsets"
            )?;
        }
        match &self.produce {
            Some(produce) => write!(f, "\n{produce}"),
            None => Ok(()),
        }
    }
}
