//! The load generators that come with Apache RocketMQ, unmodified, against both.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::compare::measure::{self, Metrics, Sample};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, System};
use crate::process::Running;

/// They tell the rate of the last ten seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// Which of its tools; each tells what it did once a second or every ten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Producer,
    BatchProducer,
    /// Reads what a producer sends meanwhile.
    Consumer,
}

/// Messages of a batch, as is the tool's default.
const BATCH: &str = "16";

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Producer => "Producer",
            Tool::BatchProducer => "BatchProducer",
            Tool::Consumer => "Consumer",
        }
    }

    /// The figure that is messages a second.
    fn rate(self) -> &'static str {
        match self {
            Tool::Producer => "Send TPS:",
            Tool::BatchProducer => "Send MPS:",
            Tool::Consumer => " TPS:",
        }
    }

    fn title(self) -> String {
        let what = match self {
            Tool::Producer => "64 threads, 1 KiB".to_string(),
            Tool::BatchProducer => format!("64 threads, batches of {BATCH} × 1 KiB"),
            Tool::Consumer => "20 threads, while Producer sends 1 KiB by 64 threads".to_string(),
        };
        format!("org.apache.rocketmq.example.benchmark.{}, {what}", self.name())
    }

    /// Starts it on a topic.
    fn start(self, run: &Run, system: &System, topic: &str) -> Result<(Running, PathBuf)> {
        let folder = run.dir.join(format!("java-{}-{topic}-{}", system.name.key(), self.name()));
        fs::create_dir_all(&folder)?;
        let said = folder.join("said.log");
        let main = format!("org.apache.rocketmq.example.benchmark.{}", self.name());
        let mut command = run.setup.java(&folder, &["-Xms1g", "-Xmx1g"], &main);
        command.args(["-n", &system.namesrv(), "-t", topic]);
        match self {
            Tool::Producer => command.args(["-w", "64", "-s", "1024", "-ri", "1000"]),
            Tool::BatchProducer => command.args(["-w", "64", "-s", "1024", "-b", BATCH]),
            Tool::Consumer => command.args(["-g", topic, "-p", "false"]),
        };
        Ok((Running::start_into(&mut command, &said)?, said))
    }
}

pub(super) fn row(run: &Run, tool: Tool) -> Result<(String, Vec<Case>)> {
    let variants: &[Flush] = if run.all { &[Flush::Async, Flush::Sync] } else { &[Flush::Async] };
    let mut cases = Vec::new();
    for flush in variants {
        let mut pair = run.pair(*flush, 16 << 30)?;
        let mut case = Case::new(if run.all { flush.key() } else { "" }, *flush);
        case.notes.push(
            "the tool is a new JVM in each round; it keeps no books, so losses are not told"
                .to_string(),
        );
        // The broker's JVM gets a round that is not counted.
        if !run.quick {
            for index in 0..2 {
                one(run, pair.alone(index)?, tool, "WarmUp")?;
            }
        }
        run.case(&mut pair, &mut case, None, |system, round| {
            one(run, system, tool, &format!("Java{round}"))
        })?;
        pair.stop()?;
        run.clear()?;
        cases.push(case);
    }
    Ok((tool.title(), cases))
}

fn one(run: &Run, system: &System, tool: Tool, topic: &str) -> Result<Metrics> {
    // Its JVM takes a while.
    let warm_up = Duration::from_secs(if run.quick { 2 } else { 10 });
    let mut sender = match tool {
        Tool::Consumer => Some(Tool::Producer.start(run, system, topic)?.0),
        Tool::Producer | Tool::BatchProducer => None,
    };
    if sender.is_some() {
        // The topic is made by the producer.
        sleep(Duration::from_secs(3));
    }
    let (mut running, said) = tool.start(run, system, topic)?;
    // The report that counts comes after its window, which must begin behind the warm-up.
    sleep(warm_up);
    let before = Sample::take(system.pid())?;
    sleep(WINDOW + Duration::from_millis(1500));
    let mut metrics = Metrics::new();
    let last = last_report(tool, &said)?;
    metrics.insert("per_second", last.per_second);
    before.cost_at(system.pid(), last.per_second, &mut metrics)?;
    running.kill()?;
    if let Some(mut sender) = sender.take() {
        sender.kill()?;
    }
    metrics.insert("mean_us", last.average_ms * 1e3);
    metrics.insert("max_us", last.max_ms * 1e3);
    metrics.insert("errors", last.failed);
    measure::memory(system.pid(), &mut metrics)?;
    Ok(metrics)
}

struct Report {
    per_second: f64,
    max_ms: f64,
    average_ms: f64,
    failed: f64,
}

/// What it printed last.
fn last_report(tool: Tool, said: &Path) -> Result<Report> {
    let text = fs::read_to_string(said)?;
    let line = text.lines().rev().find(|line| line.contains(tool.rate()));
    let line = line.with_context(|| {
        let end: Vec<_> = text.lines().rev().take(10).collect();
        format!("{} has told no rate yet: {end:?}", tool.name())
    })?;
    parse(tool, line)
}

fn parse(tool: Tool, line: &str) -> Result<Report> {
    let number = |key: &str| {
        let (_, rest) = line.split_once(key).with_context(|| format!("no {key} in {line}"))?;
        let digits = rest.trim_start().split(|c: char| c != '.' && !c.is_ascii_digit()).next();
        digits.unwrap_or_default().parse::<f64>().with_context(|| format!("{key} in {line}"))
    };
    let (max, average, failed) = match tool {
        Tool::Producer => (
            "Max RT(ms):",
            "Average RT(ms):",
            number("Send Failed:")? + number("Response Failed:")?,
        ),
        Tool::BatchProducer => ("Max RT(ms):", "Average RT(ms):", number("Send Failed:")?),
        Tool::Consumer => ("MAX(B2C) RT(ms):", "AVG(B2C) RT(ms):", number("Consume Fail:")?),
    };
    Ok(Report {
        per_second: number(tool.rate())?,
        max_ms: number(max)?,
        average_ms: number(average)?,
        failed,
    })
}

#[cfg(test)]
mod tests {
    use super::{Tool, parse};

    #[test]
    fn a_report_is_read() {
        let line = "Current Time: 2026-01-02 03:04:05,678 | Send TPS: 12345 | Max RT(ms): 67 | Average RT(ms):   4.321 | Send Failed: 1 | Response Failed: 2";
        let report = parse(Tool::Producer, line).unwrap();
        assert_eq!((report.per_second, report.max_ms), (12345.0, 67.0));
        assert_eq!((report.average_ms, report.failed), (4.321, 3.0));
        let line = "Current Time: 2026-01-02 03:04:05,678 | Consume TPS: 26150 | AVG(B2C) RT(ms): 742.719 | AVG(S2C) RT(ms): 741.280 | MAX(B2C) RT(ms): 4562 | MAX(S2C) RT(ms): 4561 | Consume Fail: 5";
        let report = parse(Tool::Consumer, line).unwrap();
        assert_eq!((report.per_second, report.max_ms), (26150.0, 4562.0));
        assert_eq!((report.average_ms, report.failed), (742.719, 5.0));
    }
}
