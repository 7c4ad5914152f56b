//! The load generator that comes with Apache RocketMQ, unmodified, against both.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::compare::measure::{self, Metrics, Sample};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, System};
use crate::process::Running;

/// It tells the rate of the last ten seconds, once a second.
const WINDOW: Duration = Duration::from_secs(10);

pub(super) fn row(run: &Run) -> Result<(String, Vec<Case>)> {
    let variants: &[Flush] = if run.all { &[Flush::Async, Flush::Sync] } else { &[Flush::Async] };
    let mut cases = Vec::new();
    for flush in variants {
        let mut pair = run.pair(*flush, 12 << 30)?;
        let mut case = Case::new(if run.all { flush.key() } else { "" }, *flush);
        case.notes.push(
            "the tool is a new JVM in each round; it keeps no books, so losses are not told"
                .to_string(),
        );
        // Its JVM takes a while; the broker's gets a round that is not counted.
        let warm_up = Duration::from_secs(if run.quick { 2 } else { 10 });
        if !run.quick {
            for index in 0..2 {
                one(run, pair.alone(index)?, run.rounds, warm_up)?;
            }
        }
        run.case(&mut pair, &mut case, None, |system, round| one(run, system, round, warm_up))?;
        pair.stop()?;
        run.clear()?;
        cases.push(case);
    }
    let title = "org.apache.rocketmq.example.benchmark.Producer, 64 threads, 1 KiB".to_string();
    Ok((title, cases))
}

fn one(run: &Run, system: &System, round: u32, warm_up: Duration) -> Result<Metrics> {
    let folder = run.dir.join(format!("java-{}-{round}", system.name.key()));
    fs::create_dir_all(&folder)?;
    let said = folder.join("producer.log");
    let main = "org.apache.rocketmq.example.benchmark.Producer";
    let mut command = run.setup.java(&folder, &["-Xms1g", "-Xmx1g"], main);
    command.args(["-n", &system.namesrv(), "-t", &format!("Java{round}")]);
    command.args(["-w", "64", "-s", "1024", "-ri", "1000"]);
    let mut producer = Running::start_into(&mut command, &said)?;
    // The first report comes after its window, which must begin behind the warm-up.
    sleep(warm_up);
    let before = Sample::take(system.pid())?;
    sleep(WINDOW + Duration::from_millis(1500));
    let mut metrics = Metrics::new();
    let last = last_report(&said)?;
    metrics.insert("per_second", last.per_second);
    before.cost_at(system.pid(), last.per_second, &mut metrics)?;
    producer.kill()?;
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
fn last_report(said: &Path) -> Result<Report> {
    let text = fs::read_to_string(said)?;
    let line = text.lines().rev().find(|line| line.contains("Send TPS: "));
    let line = line.with_context(|| {
        let end: Vec<_> = text.lines().rev().take(10).collect();
        format!("the producer has told no rate yet: {end:?}")
    })?;
    parse(line)
}

fn parse(line: &str) -> Result<Report> {
    let number = |key: &str| {
        let (_, rest) = line.split_once(key).with_context(|| format!("no {key} in {line}"))?;
        let digits = rest.trim_start().split(|c: char| c != '.' && !c.is_ascii_digit()).next();
        digits.unwrap_or_default().parse::<f64>().with_context(|| format!("{key} in {line}"))
    };
    Ok(Report {
        per_second: number("Send TPS:")?,
        max_ms: number("Max RT(ms):")?,
        average_ms: number("Average RT(ms):")?,
        failed: number("Send Failed:")? + number("Response Failed:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_report_is_read() {
        let line = "Current Time: 2026-01-02 03:04:05,678 | Send TPS: 12345 | Max RT(ms): 67 | Average RT(ms):   4.321 | Send Failed: 1 | Response Failed: 2";
        let report = parse(line).unwrap();
        assert_eq!((report.per_second, report.max_ms), (12345.0, 67.0));
        assert_eq!((report.average_ms, report.failed), (4.321, 3.0));
    }
}
