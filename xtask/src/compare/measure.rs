//! What is taken of a system while a load runs. In: its pid, before and after. Out: figures by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::systems::System;
use crate::bench;
use crate::proc;

/// Figures of one round, by name; `report` knows their units.
pub(super) type Metrics = BTreeMap<&'static str, f64>;

/// Bodies are of this size everywhere.
pub(super) const SIZE: f64 = 1024.0;

/// How long a load may take beside its own time.
const LIMIT: Duration = Duration::from_secs(300);

/// CPU and writes of a process at one time.
pub(super) struct Sample {
    at: Instant,
    cpu: f64,
    written: f64,
}

impl Sample {
    pub(super) fn take(pid: u32) -> Result<Self> {
        let (cpu, written) = (proc::cpu_seconds(pid)?, proc::written_bytes(pid)? as f64);
        Ok(Sample { at: Instant::now(), cpu, written })
    }

    /// Notes what a message has cost since then, if so many passed in a second.
    pub(super) fn cost_at(&self, pid: u32, per_second: f64, metrics: &mut Metrics) -> Result<()> {
        let messages = per_second * self.at.elapsed().as_secs_f64();
        self.cost_of(pid, messages, metrics)
    }

    /// The same, for so many messages.
    pub(super) fn cost_of(&self, pid: u32, messages: f64, metrics: &mut Metrics) -> Result<()> {
        let now = Sample::take(pid)?;
        self.until(&now, messages, metrics);
        Ok(())
    }

    fn until(&self, later: &Sample, messages: f64, metrics: &mut Metrics) {
        if messages > 0.0 {
            metrics.insert("cpu_us", (later.cpu - self.cpu) / messages * 1e6);
            metrics.insert("write_ratio", (later.written - self.written) / (messages * SIZE));
        }
    }
}

/// Notes what it has in memory.
pub(super) fn memory(pid: u32, metrics: &mut Metrics) -> Result<()> {
    metrics.insert("rss_mib", proc::memory_mib(pid, "VmRSS")?);
    metrics.insert("peak_mib", proc::memory_mib(pid, "VmHWM")?);
    Ok(())
}

/// A run of `kerolox bench` on a system.
pub(super) struct Load {
    pub(super) args: Vec<String>,
    pub(super) warm_up: f64,
    pub(super) seconds: f64,
}

impl Load {
    /// Runs it, and takes CPU from the middle of what is measured: its edges are the load's start
    /// and end. Writes are those of the whole run, since files are prepared in leaps.
    pub(super) fn run(
        &self,
        system: &System,
        binary: &std::path::Path,
        rate: impl Fn(&Value) -> Result<f64>,
    ) -> Result<(Value, Metrics)> {
        let output = output(system);
        let mut args = self.args.clone();
        args.extend(["--broker".into(), system.broker()]);
        args.extend(["--warm-up".into(), self.warm_up.to_string()]);
        args.extend(["--duration".into(), self.seconds.to_string()]);
        settle(system.folder())?;
        let begin = Sample::take(system.pid())?;
        let device = proc::device_written_bytes(system.folder());
        let log = system.log_and_seals()?;
        let running = bench::start(binary, &args, &output)?;
        sleep(Duration::from_secs_f64(self.warm_up + self.seconds * 0.1));
        let before = Sample::take(system.pid())?;
        sleep(Duration::from_secs_f64(self.seconds * 0.8));
        let after = Sample::take(system.pid())?;
        let json = bench::end_of(running, LIMIT.as_secs(), &output)?;
        let mut metrics = Metrics::new();
        let per_second = rate(&json)?;
        metrics.insert("per_second", per_second);
        let window = (after.at - before.at).as_secs_f64();
        before.until(&after, per_second * window, &mut metrics);
        let load = if json["produce"].is_object() { &json["produce"] } else { &json };
        let written = Sample::take(system.pid())?.written - begin.written;
        let payload = bench::number(load, "acknowledged")? * bench::number(load, "size")?;
        metrics.insert("write_ratio", written / payload.max(1.0));
        settle(system.folder())?;
        if let (Some(before), Some(after)) = (device, proc::device_written_bytes(system.folder())) {
            metrics.insert("device_ratio", (after - before) as f64 / payload.max(1.0));
        }
        if let (Some(before), Some(after)) = (log, system.log_and_seals()?) {
            metrics.insert("seal_percent", (after.1 - before.1) / (after.0 - before.0) * 100.0);
        }
        memory(system.pid(), &mut metrics)?;
        Ok((json, metrics))
    }
}

/// Has everything written that is dirty on the disk: one round's writes do not disturb the next, and
/// count for their own.
pub(super) fn settle(folder: &std::path::Path) -> Result<()> {
    rustix::fs::syncfs(std::fs::File::open(folder)?)?;
    Ok(())
}

/// Where the next load on this system prints to. The last word is its result, so one file does.
pub(super) fn output(system: &System) -> PathBuf {
    system.folder().join("bench.log")
}

/// Runs `kerolox bench` to its end.
pub(super) fn bench(
    binary: &std::path::Path,
    args: &[String],
    output: &std::path::Path,
) -> Result<Value> {
    bench::end_of(bench::start(binary, args, output)?, LIMIT.as_secs(), output)
}

/// Notes a summary of latencies.
pub(super) fn latencies(json: &Value, metrics: &mut Metrics) -> Result<()> {
    let names = [
        ("p50_us", "p50"),
        ("p95_us", "p95"),
        ("p99_us", "p99"),
        ("p99_9_us", "p99_9"),
        ("p99_99_us", "p99_99"),
        ("max_us", "max"),
    ];
    for (name, key) in names {
        metrics.insert(name, bench::number(json, key)?);
    }
    Ok(())
}

/// Notes what the books say.
pub(super) fn books(json: &Value, metrics: &mut Metrics) -> Result<()> {
    let count = |key: &str| bench::number(json, key);
    let lost = count("lost")? + count("misplaced")? + count("damaged")? + count("gaps")?;
    metrics.insert("lost", lost);
    metrics.insert("doubled", count("doubled")?);
    metrics.insert("out_of_order", count("out_of_order")?);
    Ok(())
}

/// Arguments from words.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_string).collect()
}

/// Sends that were refused or not answered.
pub(super) fn errors(json: &Value) -> Result<f64> {
    let refused = json["errors"].as_object().into_iter().flat_map(|codes| codes.values());
    let refused: f64 = refused.filter_map(Value::as_f64).sum();
    Ok(refused + bench::number(json, "unacknowledged")?)
}
