//! `kerolox bench` as a child: the one place that knows its options and its JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::Running;

/// How long it may take to read everything back.
const READ_BACK_LIMIT: Duration = Duration::from_secs(300);

/// A load of messages on the broker.
pub(crate) struct Load<'a> {
    pub(crate) binary: &'a Path,
    /// HOST:PORT of the broker.
    pub(crate) broker: String,
    pub(crate) connections: u32,
    /// Sends of one connection that wait for their reply at the same time.
    pub(crate) in_flight: u32,
    pub(crate) size: u32,
    pub(crate) seconds: u64,
    pub(crate) warm_up_seconds: u64,
    /// Where to note what was acknowledged.
    pub(crate) ledger: Option<PathBuf>,
    /// Whether to read everything back at the end and compare.
    pub(crate) verify: bool,
}

/// What a load says at its end.
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) books: Option<Books>,
}

/// What was acknowledged, against what a consumer finds.
#[derive(Clone, Copy)]
pub(crate) struct Books {
    pub(crate) acknowledged: u64,
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
}

impl Books {
    pub(crate) fn balance(self) -> bool {
        self.missing == 0 && self.doubled == 0 && self.out_of_order == 0
    }
}

impl Load<'_> {
    /// Starts it; what it prints goes to the file.
    pub(crate) fn start(&self, output: &Path) -> Result<Running> {
        let mut command = Command::new(self.binary);
        command.args(["bench", "produce", "--json", "--broker", &self.broker]);
        let numbers = [
            ("--connections", u64::from(self.connections)),
            ("--in-flight", self.in_flight.into()),
            ("--size", self.size.into()),
            ("--duration", self.seconds),
            ("--warm-up", self.warm_up_seconds),
        ];
        for (option, number) in numbers {
            command.arg(option).arg(number.to_string());
        }
        if let Some(ledger) = &self.ledger {
            command.arg("--ledger").arg(ledger);
        }
        if self.verify {
            command.arg("--verify");
        }
        Running::start_into(&mut command, output)
    }

    /// Waits for its end and understands what it printed.
    pub(crate) fn finish(&self, running: Running, output: &Path) -> Result<Outcome> {
        let json = end_of(running, self.seconds + self.warm_up_seconds, output)?;
        Ok(Outcome {
            acknowledged: number(&json, "acknowledged")? as u64,
            per_second: number(&json, "msg_per_s")?,
            p50_ms: number(&json["latency_us"], "p50")? / 1e3,
            p99_ms: number(&json["latency_us"], "p99")? / 1e3,
            p999_ms: number(&json["latency_us"], "p99_9")? / 1e3,
            books: if self.verify { Some(books(&json["verify"])?) } else { None },
        })
    }
}

/// Reads back what the ledgers say was acknowledged.
pub(crate) fn verify(
    binary: &Path,
    broker: &str,
    ledgers: &[PathBuf],
    output: &Path,
) -> Result<Books> {
    let mut command = Command::new(binary);
    command.args(["bench", "verify", "--json", "--broker", broker]);
    for ledger in ledgers {
        command.arg("--ledger").arg(ledger);
    }
    books(&end_of(Running::start_into(&mut command, output)?, 0, output)?)
}

/// Starts `kerolox bench` with these arguments; what it prints goes to the file.
pub(crate) fn start(binary: &Path, args: &[String], output: &Path) -> Result<Running> {
    let mut command = Command::new(binary);
    command.arg("bench").args(args).arg("--json");
    Running::start_into(&mut command, output)
}

/// What it printed, once it has ended. Books that do not balance may make its exit status
/// another than 0, so only a missing result is an error.
pub(crate) fn end_of(mut running: Running, seconds: u64, output: &Path) -> Result<Value> {
    let status = running.wait_for(Duration::from_secs(seconds) + READ_BACK_LIMIT)?;
    let said = fs::read_to_string(output)?;
    let Some(status) = status else { bail!("kerolox bench does not end\n{said}") };
    last_object(&said).with_context(|| format!("kerolox bench ended with {status}\n{said}"))
}

fn books(json: &Value) -> Result<Books> {
    let count = |key: &str| Ok::<_, anyhow::Error>(number(json, key)? as u64);
    Ok(Books {
        acknowledged: count("acknowledged")?,
        // Elsewhere, damaged, or a hole in the queue: not where it was acknowledged, as it was sent.
        missing: count("lost")? + count("misplaced")? + count("damaged")? + count("gaps")?,
        doubled: count("doubled")?,
        out_of_order: count("out_of_order")?,
    })
}

/// The last line that is a JSON object.
fn last_object(said: &str) -> Result<Value> {
    let line =
        said.lines().rev().find(|line| line.starts_with('{')).context("it printed no JSON")?;
    serde_json::from_str(line).with_context(|| format!("it printed {line}"))
}

pub(crate) fn number(json: &Value, key: &str) -> Result<f64> {
    json[key].as_f64().with_context(|| format!("kerolox bench prints no number {key}: {json}"))
}
