//! SYNC_FLUSH, messages of 1 KiB: 64 connections and one, each with one send at a time; what was
//! acknowledged is read back. The broker's CPU and its peak of memory are taken along the way.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::{Bench, Figure, proc};
use crate::bench::{Load, Outcome};
use crate::server::Server;

const SIZE: u32 = 1024;

/// 64 × 1, for the rate and for the memory under load.
pub(super) fn many(bench: &Bench<'_>, rate: bool, memory: bool) -> Result<Vec<Figure>> {
    let measured = measure(bench, 64)?;
    let mut figures = Vec::new();
    if rate {
        figures.push(measured.figure("SYNC_FLUSH 1 KiB 64x1", "at least 40,000 messages/s"));
    }
    if memory {
        let Measured { rss_mib, peak_mib, .. } = measured;
        figures.push(Figure {
            name: "resident memory, after 64x1",
            text: format!("{rss_mib:.1} MiB, at its peak {peak_mib:.1} MiB"),
            to_reach: "at most 150 MiB at the peak",
            detail: json!({"mib": rss_mib, "peak_mib": peak_mib}),
        });
    }
    Ok(figures)
}

/// 1 × 1.
pub(super) fn one(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    Ok(vec![measure(bench, 1)?.figure("SYNC_FLUSH 1 KiB 1x1", "at least 3,000 messages/s")])
}

struct Measured {
    outcome: Outcome,
    /// Of the broker, per message, in microseconds.
    cpu_us: f64,
    rss_mib: f64,
    peak_mib: f64,
}

fn measure(bench: &Bench<'_>, connections: u32) -> Result<Measured> {
    let folder = bench.scratch.folder(&format!("load-{connections}"))?;
    let server = Server::start(bench.binary, &folder)?;
    let load = Load {
        binary: bench.binary,
        broker: server.address(),
        connections,
        in_flight: 1,
        size: SIZE,
        seconds: bench.load_seconds,
        warm_up_seconds: bench.warm_up_seconds,
        ledger: Some(folder.join("ledger")),
        verify: true,
    };
    let said = folder.join("bench.log");
    let running = load.start(&said)?;

    // Its CPU is taken from the middle of the load, where the rate is the load's.
    sleep(Duration::from_millis(bench.warm_up_seconds * 1000 + bench.load_seconds * 100));
    let (cpu_before, begin) = (proc::cpu_seconds(server.pid())?, Instant::now());
    sleep(Duration::from_millis(bench.load_seconds * 800));
    let cpu_per_second =
        (proc::cpu_seconds(server.pid())? - cpu_before) / begin.elapsed().as_secs_f64();
    let rss_mib = proc::memory_mib(server.pid(), "VmRSS")?;

    let outcome = load.finish(running, &said)?;
    let peak_mib = proc::memory_mib(server.pid(), "VmHWM")?;
    server.stop()?;
    let Some(books) = outcome.books else { bail!("the load did not read its messages back") };
    ensure!(
        books.balance(),
        "of {} acknowledged messages {} are missing, {} doubled, {} out of order",
        books.acknowledged,
        books.missing,
        books.doubled,
        books.out_of_order
    );
    let cpu_us = cpu_per_second / outcome.per_second * 1e6;
    Ok(Measured { outcome, cpu_us, rss_mib, peak_mib })
}

impl Measured {
    fn figure(&self, name: &'static str, to_reach: &'static str) -> Figure {
        let Outcome { acknowledged, per_second, p50_ms, p99_ms, p999_ms, .. } = self.outcome;
        let cpu_us = self.cpu_us;
        Figure {
            name,
            text: format!(
                "{per_second:.0} messages/s, p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, p99.9 \
                 {p999_ms:.2} ms, broker CPU {cpu_us:.1} µs a message; {acknowledged} acknowledged \
                 and found"
            ),
            to_reach,
            detail: json!({
                "per_second": per_second,
                "p50_ms": p50_ms,
                "p99_ms": p99_ms,
                "p999_ms": p999_ms,
                "broker_cpu_us": cpu_us,
                "acknowledged": acknowledged,
            }),
        }
    }
}
