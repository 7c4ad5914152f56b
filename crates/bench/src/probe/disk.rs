//! What the disk does. In: a folder. Out: how often it syncs, how fast it writes and reads.
//!
//! Syncs are measured on a file whose blocks are written already, as a log that is prepared ahead
//! has them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::report::{self, Output};
use crate::stats::{self, Latencies};

/// Bytes of the file that syncs are measured on.
const PREPARED: u64 = 64 << 20;
/// Bytes of a piece of the sequential file.
const PIECE: usize = 1 << 20;

/// The disk's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Disk {
    pub sync: Vec<Sync>,
    /// In 10⁶ bytes, the last sync included.
    pub write_mb_per_s: f64,
    /// From the page cache.
    pub read_hot_mb_per_s: f64,
    /// After the page cache was told to drop the file, where that can be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_cold_mb_per_s: Option<f64>,
}

/// A write and an fdatasync.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sync {
    pub bytes: u32,
    pub per_second: f64,
    pub latency_us: stats::Summary,
}

pub(super) fn measure(
    dir: &Path,
    sizes: &[u32],
    file_mib: u64,
    time: Duration,
    output: Output,
) -> anyhow::Result<Disk> {
    let scratch = Scratch::new(dir)?;
    let sync = syncs(&scratch, sizes, time, output).context("measuring fdatasync failed")?;
    output.progress(|| format!("writing and reading {file_mib} MiB"));
    let mut disk = sequential(&scratch, file_mib).context("writing and reading failed")?;
    disk.sync = sync;
    Ok(disk)
}

fn syncs(
    scratch: &Scratch,
    sizes: &[u32],
    time: Duration,
    output: Output,
) -> std::io::Result<Vec<Sync>> {
    let mut file = scratch.open("prepared")?;
    let zeros = vec![0; PIECE];
    for _ in 0..PREPARED / PIECE as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let mut all = Vec::new();
    for &bytes in sizes {
        output.progress(|| format!("fdatasync of {bytes} B"));
        let data = vec![7; bytes as usize];
        let (begin, mut at, mut count) = (Instant::now(), 0, 0.0);
        let mut latencies = Latencies::default();
        while begin.elapsed() < time {
            if at + u64::from(bytes) > PREPARED {
                at = 0;
            }
            let start = Instant::now();
            file.write_all_at(&data, at)?;
            file.sync_data()?;
            latencies.record(start.elapsed());
            at += u64::from(bytes);
            count += 1.0;
        }
        let per_second = report::round(count / begin.elapsed().as_secs_f64());
        all.push(Sync { bytes, per_second, latency_us: latencies.summary() });
    }
    Ok(all)
}

fn sequential(scratch: &Scratch, mib: u64) -> std::io::Result<Disk> {
    let mut file = scratch.open("sequential")?;
    let mut piece = vec![7; PIECE];
    let rate = |begin: Instant| {
        report::round((mib * PIECE as u64) as f64 / 1e6 / begin.elapsed().as_secs_f64())
    };
    let begin = Instant::now();
    for _ in 0..mib {
        file.write_all(&piece)?;
    }
    file.sync_data()?;
    let write_mb_per_s = rate(begin);
    let mut read = |file: &mut File| {
        file.rewind()?;
        let begin = Instant::now();
        for _ in 0..mib {
            file.read_exact(&mut piece)?;
        }
        std::io::Result::Ok(rate(begin))
    };
    let read_hot_mb_per_s = read(&mut file)?;
    let read_cold_mb_per_s = if drop_cache(&file) { Some(read(&mut file)?) } else { None };
    Ok(Disk { sync: Vec::new(), write_mb_per_s, read_hot_mb_per_s, read_cold_mb_per_s })
}

#[cfg(target_os = "linux")]
fn drop_cache(file: &File) -> bool {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn drop_cache(_: &File) -> bool {
    false
}

/// Files of our own; removed when this goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> anyhow::Result<Self> {
        let folder = dir.join(format!("kerolox-probe-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Scratch(folder))
    }

    fn open(&self, name: &str) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).open(self.0.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is seen by whoever looks at the folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Sync { bytes, per_second, latency_us } in &self.sync {
            writeln!(f, "sync      {bytes} B: {per_second}/s, {latency_us}")?;
        }
        let cold = self.read_cold_mb_per_s.map_or("unknown".to_owned(), |rate| rate.to_string());
        writeln!(
            f,
            "disk      write {} MB/s, read {} MB/s from the cache, {cold} MB/s from the disk",
            self.write_mb_per_s, self.read_hot_mb_per_s
        )
    }
}
