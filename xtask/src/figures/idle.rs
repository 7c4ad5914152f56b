//! A broker that is ready and that nobody uses: its memory, then its CPU.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Bench, Figure, proc};
use crate::server::Server;

const SETTLE: Duration = Duration::from_secs(10);

pub(super) fn measure(bench: &Bench<'_>, memory: bool, cpu: bool) -> Result<Vec<Figure>> {
    let server = Server::start(bench.binary, &bench.scratch.folder("idle")?)?;
    sleep(SETTLE);
    let mut figures = Vec::new();
    if memory {
        let mib = proc::memory_mib(server.pid(), "VmRSS")?;
        figures.push(Figure {
            name: "resident memory, idle",
            text: format!("{mib:.1} MiB, {} s after it was ready", SETTLE.as_secs()),
            to_reach: "at most 20 MiB",
            detail: json!({"mib": mib}),
        });
    }
    if cpu {
        let before = proc::cpu_seconds(server.pid())?;
        sleep(bench.idle);
        let used = proc::cpu_seconds(server.pid())? - before;
        let percent = used / bench.idle.as_secs_f64() * 100.0;
        figures.push(Figure {
            name: "CPU, idle",
            text: format!("{percent:.2} % of a core over {} s", bench.idle.as_secs()),
            to_reach: "at most 0.5 %",
            detail: json!({"percent_of_a_core": percent, "seconds": bench.idle.as_secs()}),
        });
    }
    server.stop()?;
    Ok(figures)
}
