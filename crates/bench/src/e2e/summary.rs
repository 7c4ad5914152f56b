//! The result of `bench e2e`, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Args, Books};
use crate::stats::Latencies;
use crate::{consume, produce, report, stats};

/// How long messages took, and what became of them.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    pub topic: String,
    pub group: String,
    pub queues: i32,
    pub connections: u32,
    pub consumers: u32,
    pub size: usize,
    pub binary: bool,
    /// What was to be sent in a second.
    pub rate: f64,
    pub seconds: f64,
    /// Acknowledged in a second of the measured time.
    pub msg_per_s: f64,
    /// Received, of those that were to be sent in the measured time.
    pub messages: u64,
    /// From when a message was to be sent until the consumer had it.
    pub latency_us: stats::Summary,
    /// From when a message was to be sent until the producer had the answer.
    pub produce_latency_us: stats::Summary,
    /// With a surge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surge: Option<Surge>,
    /// From here on: the whole run, warm-up included.
    pub sent: u64,
    pub acknowledged: u64,
    pub unacknowledged: u64,
    pub not_sent: u64,
    pub received: u64,
    /// Acknowledged, but never received.
    pub lost: u64,
    pub doubled: u64,
    pub out_of_order: u64,
    pub foreign: u64,
    pub damaged: u64,
    /// Refusals of sends and of pulls, by response code.
    pub errors: BTreeMap<i32, u64>,
}

/// What a surge did to the latencies. A message counts for the time at which it was to be sent.
#[derive(Debug, Clone, Serialize)]
pub struct Surge {
    pub factor: f64,
    pub before_us: stats::Summary,
    pub during_us: stats::Summary,
    pub after_us: stats::Summary,
    /// Seconds from its end until the first second whose p99 is at most twice what it was before;
    /// none if there was no such second.
    pub recovered_s: Option<u64>,
}

impl Surge {
    fn new(args: &Args, by_second: &[Latencies]) -> Option<Self> {
        let (factor, length) = (args.surge?, args.surge_for?);
        let from = (args.surge_from as usize).min(by_second.len());
        let until = ((args.surge_from + length).ceil() as usize).min(by_second.len());
        let sum = |seconds: &[Latencies]| {
            let mut sum = Latencies::default();
            seconds.iter().for_each(|second| sum.add(second));
            sum.summary()
        };
        let before_us = sum(&by_second[..from]);
        let calm = |second: &Latencies| {
            let p99 = second.summary().p99;
            p99 > 0 && p99 <= before_us.p99 * 2
        };
        Some(Surge {
            factor,
            before_us,
            during_us: sum(&by_second[from..until]),
            after_us: sum(&by_second[until..]),
            recovered_s: by_second[until..].iter().position(calm).map(|second| second as u64),
        })
    }
}

impl Summary {
    pub(super) fn new(
        args: &Args,
        sent: &produce::Tally,
        books: &Books,
        pulled: &consume::Tally,
        lost: u64,
        seconds: f64,
    ) -> Self {
        let mut errors = sent.errors.clone();
        for (code, n) in &pulled.errors {
            *errors.entry(*code).or_default() += n;
        }
        Summary {
            workload: "e2e",
            topic: args.topic.clone(),
            group: args.group.clone(),
            queues: args.queues,
            connections: args.connections,
            consumers: args.consumers,
            size: args.size,
            binary: args.binary,
            rate: args.rate,
            seconds: report::round(seconds),
            msg_per_s: report::round(if seconds > 0.0 {
                sent.measured as f64 / seconds
            } else {
                0.0
            }),
            messages: books.measured,
            latency_us: books.latencies.summary(),
            produce_latency_us: sent.latencies.summary(),
            surge: books.by_second.as_ref().and_then(|seconds| Surge::new(args, seconds)),
            sent: sent.sent,
            acknowledged: sent.acknowledged,
            unacknowledged: sent.unacknowledged,
            not_sent: sent.not_sent,
            received: books.received,
            lost,
            doubled: books.doubled,
            out_of_order: books.out_of_order,
            foreign: books.foreign,
            damaged: pulled.damaged,
            errors,
        }
    }

    /// Whether messages were acknowledged, and each came once, in order and undamaged.
    pub fn good(&self) -> bool {
        self.acknowledged > 0 && self.lost + self.doubled + self.out_of_order + self.damaged == 0
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { topic, connections, consumers, size, queues, rate, .. } = self;
        writeln!(
            f,
            "e2e       {topic}, {queues} queues, {connections} producers, {consumers} consumers, {size} B, {rate} msg/s wanted"
        )?;
        writeln!(f, "rate      {} msg/s over {} s", self.msg_per_s, self.seconds)?;
        writeln!(f, "latency   {}", self.latency_us)?;
        writeln!(f, "produce   {}", self.produce_latency_us)?;
        if let Some(surge) = &self.surge {
            writeln!(f, "before    {}", surge.before_us)?;
            writeln!(f, "× {:<7} {}", surge.factor, surge.during_us)?;
            writeln!(f, "after     {}", surge.after_us)?;
            match surge.recovered_s {
                Some(seconds) => writeln!(f, "recovered {seconds} s after the surge")?,
                None => writeln!(f, "recovered not within the run")?,
            }
        }
        let Summary { sent, acknowledged, received, lost, doubled, out_of_order, damaged, .. } =
            self;
        writeln!(
            f,
            "all       {sent} sent, {acknowledged} acknowledged, {received} received, {lost} lost, {doubled} doubled, {out_of_order} out of order, {damaged} damaged, {} due but not sent",
            self.not_sent
        )?;
        write!(f, "errors    {}", report::codes(&self.errors))
    }
}
