//! What /proc tells about a process and the machine.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A field of /proc/PID/status that is given in kB, in MiB.
pub(crate) fn memory_mib(pid: u32, field: &str) -> Result<f64> {
    Ok(status(pid, field)?.trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// A field of /proc/PID/status.
pub(crate) fn status(pid: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("/proc/{pid}/status has no {field}"))?.trim().to_string())
}

/// CPU that all its threads have used, user and system, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name, in parentheses, may hold spaces; utime and stime are 11 and 12 behind it.
    let (_, fields) = text.rsplit_once(") ").context("an unknown form of /proc/PID/stat")?;
    let ticks: Result<Vec<u64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    let ticks: u64 = ticks?.iter().sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes that its writes have made dirty, in files on a disk.
pub(crate) fn written_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(value.with_context(|| format!("/proc/{pid}/io has no write_bytes"))?.parse()?)
}

/// Bytes that the device below this folder has written, for anybody; none if it does not tell.
pub(crate) fn device_written_bytes(folder: &std::path::Path) -> Option<u64> {
    let device = rustix::fs::stat(folder).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // Sectors of 512 bytes, whatever the device's own are.
    Some(text.split_whitespace().nth(6)?.parse::<u64>().ok()? * 512)
}

/// How many processes wanted a core in the last minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// What a reader must know to compare the figures with others.
pub(crate) fn machine() -> Value {
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
