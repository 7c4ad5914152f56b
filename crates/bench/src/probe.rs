//! `bench probe`. In: arguments. Out: the bounds of this machine: what no broker here can surpass.
//!
//! `echo` sends frames of a send's size over loopback and gets frames of an answer's size, without
//! any work between; `disk` writes, syncs and reads; `memory` copies.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::arguments;
use crate::report::Output;

mod disk;
mod echo;
mod memory;

/// Arguments of `bench probe`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder on the disk in question. Without it the disk is left out.
    #[arg(long, value_name = "DIR", value_parser = arguments::folder)]
    pub dir: Option<PathBuf>,
    /// Connections and frames in flight on each; may be given more than once.
    #[arg(long, value_name = "CxF", default_values = ["1x1", "64x1", "16x128"])]
    pub shape: Vec<Shape>,
    /// Bytes of a frame to the echo.
    #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub request: u32,
    /// Bytes of a frame from it.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub reply: u32,
    /// Bytes between two fdatasyncs; may be given more than once.
    #[arg(long, default_values_t = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
          value_parser = clap::value_parser!(u32).range(1..=16 << 20))]
    pub sync_bytes: Vec<u32>,
    /// MiB that are written and read in one piece.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub file_mib: u64,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0, value_parser = arguments::probe_seconds)]
    pub seconds: f64,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Connections, and frames in flight on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub connections: u32,
    pub in_flight: u32,
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|n| (1..=4096).contains(n));
        let shape = text.split_once('x').and_then(|(connections, in_flight)| {
            Some(Shape { connections: number(connections)?, in_flight: number(in_flight)? })
        });
        shape.ok_or_else(|| {
            "not connections and frames in flight, 1 to 4096 each, as in 64x1".to_owned()
        })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.connections, self.in_flight)
    }
}

/// The bounds.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    /// Cores that broker and client share.
    pub cores: usize,
    pub request_bytes: u32,
    pub reply_bytes: u32,
    pub echo: Vec<echo::Echo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<disk::Disk>,
    /// In 10⁹ bytes.
    pub memcpy_gb_per_s: f64,
}

/// Runs to the end and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let output = Output::new(args.json);
    output.result(&probe(args, output)?)?;
    Ok(ExitCode::SUCCESS)
}

fn probe(args: &Args, output: Output) -> anyhow::Result<Summary> {
    let time = Duration::from_secs_f64(args.seconds);
    let mut echo = Vec::new();
    for shape in &args.shape {
        output.progress(|| format!("echo {shape}"));
        echo.push(echo::measure(*shape, args.request as usize, args.reply as usize, time)?);
    }
    let disk = match &args.dir {
        Some(dir) => Some(disk::measure(dir, &args.sync_bytes, args.file_mib, time, output)?),
        None => None,
    };
    output.progress(|| "memory".to_owned());
    Ok(Summary {
        workload: "probe",
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        request_bytes: args.request,
        reply_bytes: args.reply,
        echo,
        disk,
        memcpy_gb_per_s: memory::copy_rate(time.min(Duration::from_secs(1))),
    })
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "probe     {} cores, frames of {} B and back of {} B",
            self.cores, self.request_bytes, self.reply_bytes
        )?;
        for echo in &self.echo {
            writeln!(f, "{echo}")?;
        }
        if let Some(disk) = &self.disk {
            write!(f, "{disk}")?;
        }
        write!(f, "memcpy    {} GB/s", self.memcpy_gb_per_s)
    }
}
