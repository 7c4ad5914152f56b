//! `cargo xtask overload`: four times what the broker can do, for a while; then as before.
//!
//! Checked: memory stays within the budget, what is refused names the true cause, everything
//! acknowledged is there, and the rate is as before within a second of the end.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::Value;

use crate::bench::{self, number};
use crate::server::{Scratch, Server};
use crate::{proc, workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// How long the overload lasts
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: u32,
}

const FACTOR: f64 = 4.0;
/// MiB that the broker may have resident at any time.
const PEAK_MIB_MAX: f64 = 150.0;
/// What it must reach in the first second behind the overload, of what it reached before.
const SHARE_MIN: f64 = 0.8;
/// Rounds of a second each, before; the median counts.
const ROUNDS: usize = 5;
/// Refused for too many requests in flight (SYSTEM_BUSY).
const BUSY: &str = "2";

pub(crate) fn run(options: &Options) -> Result<bool> {
    let binary = workspace::release_binary(&workspace::root(), false)?;
    let mut scratch = Scratch::new("overload")?;
    let result = run_in(&binary, options.seconds, scratch.path());
    if !matches!(result, Ok(true)) {
        scratch.keep();
    }
    result
}

fn run_in(binary: &Path, seconds: u32, folder: &Path) -> Result<bool> {
    let server = Server::start(binary, folder)?;
    let load = |topic: &str, more: &str| -> Result<Value> {
        let args = format!("produce --broker {} --topic {topic} {more}", server.address());
        let args: Vec<_> = args.split_whitespace().map(str::to_string).collect();
        let output = folder.join(format!("{topic}.log"));
        bench::end_of(bench::start(binary, &args, &output)?, seconds.into(), &output)
    };
    let closed = "--connections 16 --in-flight 128 --warm-up 0 --duration 1";
    load("WarmUp", "--connections 16 --in-flight 128 --warm-up 0 --duration 5")?;
    let mut before = Vec::new();
    for _ in 0..ROUNDS {
        before.push(number(&load("Before", closed)?, "msg_per_s")?);
    }
    before.sort_by(f64::total_cmp);
    let sustained = before[ROUNDS / 2];
    let rate = sustained * FACTOR;
    println!("sustained: {sustained:.0} messages/s; now {rate:.0} for {seconds} s");
    let over = load(
        "Over",
        &format!(
            "--connections 64 --in-flight 4096 --rate {rate:.0} --warm-up 0 --duration {seconds} --verify"
        ),
    )?;
    let behind = number(&load("Behind", closed)?, "msg_per_s")?;
    let peak = proc::memory_mib(server.pid(), "VmHWM")?;
    server.stop()?;

    let books = &over["verify"];
    let wrong: f64 = ["lost", "misplaced", "damaged", "gaps", "doubled", "out_of_order"]
        .iter()
        .map(|key| number(books, key))
        .sum::<Result<f64>>()?;
    let errors = over["errors"].as_object().context("kerolox bench tells no errors")?;
    let others: Vec<_> = errors.iter().filter(|(code, _)| *code != BUSY).collect();
    println!(
        "acknowledged {:.0} messages/s; refused {errors:?}; not where they should be {wrong}",
        number(&over, "msg_per_s")?
    );
    println!("resident at most: {peak:.0} MiB (at most {PEAK_MIB_MAX})");
    println!(
        "first second behind: {behind:.0} messages/s, {:.2} of before (at least {SHARE_MIN})",
        behind / sustained
    );
    Ok(wrong == 0.0
        && others.is_empty()
        && peak <= PEAK_MIB_MAX
        && behind >= sustained * SHARE_MIN
        && number(&over, "acknowledged")? > 0.0)
}
