//! `cargo xtask figures`: what the release binary costs and does, beside what it is to reach.
//!
//! `start`, `idle`, `load`, `trace` and `admin` measure, each with a server of its own on an empty folder.

mod admin;
mod idle;
mod load;
mod start;
mod trace;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::proc;
use crate::server::Scratch;
use crate::workspace::{self, Workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// The figures to measure; all of them if none is named
    names: Vec<Name>,
    /// Shorter: loads of 5 s, 10 s idle
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Name {
    /// Exec to the first accepted send, on an empty folder
    Start,
    /// Resident memory without and with load
    Memory,
    /// 64 connections with one send each at a time, SYNC_FLUSH
    #[value(name = "sync-64x1")]
    Sync64x1,
    /// One connection with one send at a time, SYNC_FLUSH
    #[value(name = "sync-1x1")]
    Sync1x1,
    /// fdatasync calls, seen by strace: how many, and whether each comes before its reply
    Fdatasync,
    /// CPU of a broker that nobody uses
    IdleCpu,
    /// `kerolox admin`, exec to exit
    Admin,
    /// Bytes of the binary
    Size,
}

/// The name, how it is printed, and what is to be reached.
struct Figure {
    name: &'static str,
    text: String,
    to_reach: &'static str,
    detail: Value,
}

/// Where to measure, and for how long.
struct Bench<'a> {
    binary: &'a Path,
    scratch: &'a Scratch,
    load_seconds: u64,
    warm_up_seconds: u64,
    idle: Duration,
}

const NOTHING_SET: &str = "no figure is set";

pub(crate) fn run(options: &Options) -> Result<bool> {
    let root = workspace::root();
    let binary = workspace::release_binary(&root, false)?;
    let scratch = Scratch::new("figures")?;
    let quick = options.quick;
    let bench = Bench {
        binary: &binary,
        scratch: &scratch,
        load_seconds: if quick { 5 } else { 30 },
        warm_up_seconds: if quick { 1 } else { 5 },
        idle: Duration::from_secs(if quick { 10 } else { 60 }),
    };
    let wanted = |name: Name| options.names.is_empty() || options.names.contains(&name);

    let mut figures = Figures::default();
    if wanted(Name::Start) {
        figures.add("start", start::measure(&bench));
    }
    if wanted(Name::Memory) || wanted(Name::IdleCpu) {
        figures.add("idle", idle::measure(&bench, wanted(Name::Memory), wanted(Name::IdleCpu)));
    }
    if wanted(Name::Memory) || wanted(Name::Sync64x1) {
        let measured = load::many(&bench, wanted(Name::Sync64x1), wanted(Name::Memory));
        figures.add("sync 64x1", measured);
    }
    if wanted(Name::Sync1x1) {
        figures.add("sync 1x1", load::one(&bench));
    }
    if wanted(Name::Fdatasync) {
        figures.add("fdatasync, calls", trace::calls(&bench));
        figures.add("fdatasync, order", trace::order(&bench));
    }
    if wanted(Name::Admin) {
        figures.add("admin", admin::measure(&bench));
    }
    if wanted(Name::Size) {
        figures.add("size", size(&binary));
    }
    figures.write(&place(&root, options)?, quick)?;
    Ok(!figures.failed)
}

/// Only a whole run replaces the figures in the repository.
fn place(root: &Path, options: &Options) -> Result<PathBuf> {
    Ok(if options.quick || !options.names.is_empty() {
        Workspace::read(root)?.target.join("figures.json")
    } else {
        root.join("bench/results/figures.json")
    })
}

#[derive(Default)]
struct Figures {
    measured: Vec<Figure>,
    failed: bool,
}

impl Figures {
    /// Prints each; one that cannot be measured does not stop the others.
    fn add(&mut self, what: &str, figures: Result<Vec<Figure>>) {
        match figures {
            Ok(figures) => {
                for Figure { name, text, to_reach, .. } in &figures {
                    println!("{name}: {text} (to reach: {to_reach})");
                }
                self.measured.extend(figures);
            }
            Err(error) => {
                println!("{what}: not measured: {error:#}");
                self.failed = true;
            }
        }
    }

    fn write(&self, path: &Path, quick: bool) -> Result<()> {
        let figures: Vec<Value> = self
            .measured
            .iter()
            .map(|Figure { name, text, to_reach, detail }| {
                json!({"name": name, "value": text, "to_reach": to_reach, "detail": detail})
            })
            .collect();
        let measured_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let json = json!({
            "measured_at": measured_at,
            "quick": quick,
            "machine": proc::machine(),
            "figures": figures,
        });
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, format!("{json:#}\n"))?;
        println!("written to {}", path.display());
        Ok(())
    }
}

fn size(binary: &Path) -> Result<Vec<Figure>> {
    let bytes = fs::metadata(binary)?.len();
    Ok(vec![Figure {
        name: "binary size",
        text: format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        to_reach: NOTHING_SET,
        detail: json!({"bytes": bytes}),
    }])
}
