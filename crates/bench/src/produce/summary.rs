//! The result of `bench produce`, for people and for programs.

use std::collections::BTreeMap;

use kerolox_client::Master;
use serde::Serialize;

use super::Args;
use super::tally::Tally;
use crate::{report, stats, verify};

/// What a run sent and what came of it. `sent` = `acknowledged` + `errors` + `unacknowledged`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    pub topic: String,
    pub brokers: Vec<String>,
    pub queues: i32,
    pub connections: u32,
    pub in_flight: u32,
    pub size: usize,
    pub binary: bool,
    /// Messages of a request.
    pub batch: u32,
    /// The open loop's rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Measured, without the warm-up.
    pub seconds: f64,
    /// Messages acknowledged in that time.
    pub messages: u64,
    pub msg_per_s: f64,
    /// Of bodies, in 10⁶ bytes.
    pub mb_per_s: f64,
    pub latency_us: stats::Summary,
    /// From here on: the whole run, warm-up included.
    pub sent: u64,
    pub acknowledged: u64,
    pub unacknowledged: u64,
    pub timed_out: u64,
    pub not_sent: u64,
    pub stray_replies: u64,
    /// By response code.
    pub errors: BTreeMap<i32, u64>,
    pub connections_lost: u64,
    pub reconnected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<String>,
    /// Processor seconds of the generator, over the whole run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<verify::Report>,
}

impl Summary {
    pub(crate) fn new(args: &Args, masters: &[Master], tally: &Tally, seconds: f64) -> Self {
        let per_second = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
        let messages = tally.measured as f64;
        Summary {
            workload: if args.batch > 1 { "batch" } else { "produce" },
            topic: args.topic.clone(),
            brokers: masters.iter().map(|m| m.addr.clone()).collect(),
            queues: masters.iter().map(|m| m.write_queues).sum(),
            connections: args.connections,
            in_flight: args.in_flight,
            size: args.size,
            binary: args.binary,
            batch: args.batch,
            rate: args.rate,
            seconds: report::round(seconds),
            messages: tally.measured,
            msg_per_s: report::round(per_second(messages)),
            mb_per_s: report::round(per_second(messages * args.size as f64 / 1e6)),
            latency_us: tally.latencies.summary(),
            sent: tally.sent,
            acknowledged: tally.acknowledged,
            unacknowledged: tally.unacknowledged,
            timed_out: tally.timed_out,
            not_sent: tally.not_sent,
            stray_replies: tally.stray_replies,
            errors: tally.errors.clone(),
            connections_lost: tally.connections_lost,
            reconnected: tally.reconnected,
            last_loss: tally.last_loss.clone(),
            generator_cpu_s: None,
            verify: None,
        }
    }

    /// Whether something was acknowledged, and nothing was wrong with that, as far as it was looked at.
    pub fn good(&self, allow_reorder: bool) -> bool {
        self.acknowledged > 0
            && self.verify.as_ref().is_none_or(|report| report.violations(allow_reorder) == 0)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { topic, connections, in_flight, size, queues, batch, .. } = self;
        writeln!(
            f,
            "produce   {topic}, {queues} queues, {connections} connections × {in_flight} in flight, {batch} × {size} B"
        )?;
        writeln!(
            f,
            "rate      {} msg/s, {} MB/s ({} messages in {} s)",
            self.msg_per_s, self.mb_per_s, self.messages, self.seconds
        )?;
        writeln!(f, "latency   {}", self.latency_us)?;
        writeln!(
            f,
            "all       {} sent, {} acknowledged, {} unacknowledged ({} timed out), {} due but not sent",
            self.sent, self.acknowledged, self.unacknowledged, self.timed_out, self.not_sent
        )?;
        write!(f, "errors    {}", report::codes(&self.errors))?;
        if let Some(why) = &self.last_loss {
            let Summary { connections_lost, reconnected, .. } = self;
            write!(
                f,
                "\nlost      {connections_lost} connections, {reconnected} made again; {why}"
            )?;
        }
        if let Some(seconds) = self.generator_cpu_s {
            write!(f, "\ncpu       {seconds} s of the generator")?;
        }
        if let Some(report) = &self.verify {
            write!(f, "\n{report}")?;
        }
        Ok(())
    }
}
