//! The result of `bench consume`, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use kerolox_client::Master;
use serde::Serialize;

use super::{Args, Tally};
use crate::{report, stats};

/// What a run read.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    pub topic: String,
    pub group: String,
    pub brokers: Vec<String>,
    pub queues: i32,
    pub pull_size: i32,
    /// Up to the last message, if the queues were drained.
    pub seconds: f64,
    pub messages: u64,
    pub msg_per_s: f64,
    /// Of bodies, in 10⁶ bytes.
    pub mb_per_s: f64,
    /// Pulls that brought messages, and their time.
    pub pulls: u64,
    pub pull_latency_us: stats::Summary,
    pub empty_pulls: u64,
    /// Offsets that went back.
    pub out_of_order: u64,
    /// Places where offsets were left out.
    pub gaps: u64,
    /// Bodies that do not agree with their CRC.
    pub damaged: u64,
    /// Refusals, by response code; each ended a queue.
    pub errors: BTreeMap<i32, u64>,
    /// Processor seconds of the consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_cpu_s: Option<f64>,
}

impl Summary {
    pub(super) fn new(args: &Args, masters: &[Master], tally: &Tally, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let per_second = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
        Summary {
            workload: "consume",
            topic: args.topic.clone(),
            group: args.group.clone(),
            brokers: masters.iter().map(|m| m.addr.clone()).collect(),
            queues: masters.iter().map(|m| m.read_queues).sum(),
            pull_size: args.pull_size,
            seconds: report::round(seconds),
            messages: tally.messages,
            msg_per_s: report::round(per_second(tally.messages as f64)),
            mb_per_s: report::round(per_second(tally.bytes as f64 / 1e6)),
            pulls: tally.pulls,
            pull_latency_us: tally.latencies.summary(),
            empty_pulls: tally.empty_pulls,
            out_of_order: tally.out_of_order,
            gaps: tally.gaps,
            damaged: tally.damaged,
            errors: tally.errors.clone(),
            consumer_cpu_s: None,
        }
    }

    /// Whether everything was there, in order, and could be read.
    pub fn good(&self) -> bool {
        self.out_of_order + self.gaps + self.damaged == 0 && self.errors.is_empty()
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { topic, group, queues, pull_size, out_of_order, gaps, damaged, .. } = self;
        writeln!(f, "consume   {topic} as {group}, {queues} queues, {pull_size} messages a pull")?;
        writeln!(
            f,
            "rate      {} msg/s, {} MB/s ({} messages in {} s, {} pulls)",
            self.msg_per_s, self.mb_per_s, self.messages, self.seconds, self.pulls
        )?;
        writeln!(f, "pull      {}", self.pull_latency_us)?;
        writeln!(f, "checked   {out_of_order} out of order, {gaps} gaps, {damaged} damaged")?;
        write!(f, "errors    {}", report::codes(&self.errors))?;
        match self.consumer_cpu_s {
            Some(seconds) => write!(f, "\ncpu       {seconds} s of the consumer"),
            None => Ok(()),
        }
    }
}
