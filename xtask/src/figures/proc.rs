//! What /proc tells about a process and the machine.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A field of /proc/PID/status that is given in kB, in MiB.
pub(super) fn memory_mib(pid: u32, field: &str) -> Result<f64> {
    Ok(status(pid, field)?.trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// A field of /proc/PID/status.
pub(super) fn status(pid: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("/proc/{pid}/status has no {field}"))?.trim().to_string())
}

/// CPU that all its threads have used, user and system, in seconds.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name, in parentheses, may hold spaces; utime and stime are 11 and 12 behind it.
    let (_, fields) = text.rsplit_once(") ").context("an unknown form of /proc/PID/stat")?;
    let ticks: Result<Vec<u64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    let ticks: u64 = ticks?.iter().sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// What a reader must know to compare the figures with others.
pub(super) fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_string())
    };
    json!({
        "cpu": value(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": value(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}
