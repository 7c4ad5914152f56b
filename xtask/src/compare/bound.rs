//! What this machine allows: a probe in the same run, and the most that a row can reach by it.
//!
//! A message costs what the echo of its frames costs, and on each side 2.5 µs beyond that: a figure
//! that is fixed, so that shares of the bound can be compared between machines.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::measure;
use super::systems::Flush;
use crate::bench::number;

/// CPU beyond the echo, of broker and client together, per request.
const BOTH_ENDS_US: f64 = 5.0;
/// Stored bytes of a message of 1 KiB: record, properties, and 44 of index.
const STORED: f64 = 1247.0;
/// CPU of a message in a batch beyond its request: checksum, copy and index; and its making.
const RECORD_US: f64 = 1.5;

/// What a row's probe is to look like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) connections: u32,
    pub(super) in_flight: u32,
    /// Bytes of request and reply.
    pub(super) request: u32,
    pub(super) reply: u32,
}

impl Shape {
    /// A send of 1 KiB and its answer.
    pub(super) fn send(connections: u32, in_flight: u32) -> Self {
        Shape { connections, in_flight, request: 1200, reply: 150 }
    }
}

/// What the probe found.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) json: Value,
    cores: f64,
    /// Round trip of one frame, in seconds.
    round_trip: f64,
    /// Frames a second in the row's shape.
    echo: f64,
    /// Bytes between two syncs, and how long a write with its sync takes, in seconds.
    syncs: Vec<(f64, f64)>,
    /// Bytes a second.
    write: f64,
}

impl Probe {
    /// Measures it on the disk of `dir`.
    pub(super) fn take(binary: &Path, dir: &Path, shape: Shape, quick: bool) -> Result<Self> {
        let shapes = format!("{}x{}", shape.connections, shape.in_flight);
        let mut args = measure::words("probe --shape 1x1");
        if shapes != "1x1" {
            args.extend(["--shape".into(), shapes]);
        }
        let (seconds, mib) = if quick { ("0.3", "128") } else { ("1.5", "512") };
        for (option, value) in [
            ("--request", shape.request.to_string()),
            ("--reply", shape.reply.to_string()),
            ("--seconds", seconds.to_string()),
            ("--file-mib", mib.to_string()),
            ("--dir", dir.to_string_lossy().into_owned()),
        ] {
            args.extend([option.to_string(), value]);
        }
        let json = measure::bench(binary, &args, &dir.join("probe.log"))?;
        let list = |json: &Value| json.as_array().cloned().context("a probe without figures");
        let echo = list(&json["echo"])?;
        let rate = |echo: Option<&Value>| number(echo.context("no echo")?, "per_second");
        let mut syncs = Vec::new();
        for sync in list(&json["disk"]["sync"])? {
            syncs.push((number(&sync, "bytes")?, 1.0 / number(&sync, "per_second")?));
        }
        Ok(Probe {
            cores: number(&json, "cores")?.min(2.0),
            round_trip: 1.0 / rate(echo.first())?,
            echo: rate(echo.last())?,
            syncs,
            write: number(&json["disk"], "write_mb_per_s")? * 1e6,
            json,
        })
    }

    /// How long a write of so many bytes and its sync take: a line between what was measured.
    fn sync(&self, bytes: f64) -> f64 {
        let above = self.syncs.iter().position(|(size, _)| *size >= bytes);
        match (above, self.syncs.last()) {
            (Some(0), _) => self.syncs[0].1,
            (Some(i), _) => {
                let ((a, s), (b, t)) = (self.syncs[i - 1], self.syncs[i]);
                s + (t - s) * (bytes - a) / (b - a)
            }
            // Beyond the largest only the bytes count.
            (None, Some((size, time))) => time * bytes / size,
            (None, None) => 0.0,
        }
    }

    /// CPU-µs of a frame, both ends.
    fn frame_us(&self) -> f64 {
        self.cores * 1e6 / self.echo
    }

    /// Sends one by one, so many outstanding.
    pub(super) fn sends(&self, outstanding: f64, flush: Flush) -> f64 {
        let wait = self.round_trip + BOTH_ENDS_US / 1e6;
        let cpu = self.cores * 1e6 / (self.frame_us() + BOTH_ENDS_US);
        let sync = self.sync(outstanding * STORED) + f64::from(flush.added_ms()) / 1e3;
        let latency = match flush {
            Flush::Async => outstanding / wait,
            Flush::Sync | Flush::SlowSync if outstanding == 1.0 => 1.0 / (wait + sync),
            // It waits for the rest of the sync that runs, and for its own.
            Flush::Sync | Flush::SlowSync => outstanding / (wait + 1.5 * sync),
        };
        latency.min(cpu).min(self.write / STORED)
    }

    /// Batches of so many.
    pub(super) fn batches(&self, messages: f64) -> f64 {
        let cpu = self.cores * 1e6 / ((self.frame_us() + BOTH_ENDS_US) / messages + RECORD_US);
        cpu.min(self.write / STORED)
    }

    /// Pulls of so many, from memory: beyond the echo only a request costs, not each message.
    pub(super) fn pulls(&self, messages: f64) -> f64 {
        self.cores * 1e6 / (self.frame_us() + BOTH_ENDS_US) * messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_the_least_of_its_parts() {
        let probe = Probe {
            json: Value::Null,
            cores: 2.0,
            round_trip: 67e-6,
            echo: 119_000.0,
            syncs: vec![(1024.0, 115e-6), (65_536.0, 122e-6)],
            write: 1.8e9,
        };
        let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 0.02, "{a} {b}");
        near(probe.sends(1.0, Flush::Sync), 1e6 / (115.0 + 67.0 + 5.0));
        near(probe.sends(1.0, Flush::Async), 1e6 / 72.0);
        near(probe.sends(64.0, Flush::Async), 2e6 / (16.8 + 5.0));
        near(probe.sends(4.0, Flush::Sync), 4e6 / (1.5 * 115.4 + 72.0));
        near(probe.sends(64.0, Flush::SlowSync), 64e6 / (1.5 * 5122.0 + 72.0));
        near(probe.sync(32_768.0), 118.4e-6);
    }
}
