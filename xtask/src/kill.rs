//! `cargo xtask kill`: a loaded broker is killed with SIGKILL, started again on its data, and so
//! on; at the end a consumer reads everything, and every acknowledged message must be there, once
//! and in the order in which it was sent.
//!
//! Each round has a producer of its own that never sends a message twice, so a message that is
//! there twice was doubled by the broker.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::bench::{self, Load};
use crate::server::{Scratch, Server};
use crate::workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// How often the broker is killed; 50 is the long form
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Whether a message is acknowledged before it is synced: kill -9 must not take it, either
    #[arg(long)]
    async_flush: bool,
}

/// The broker lives this long under load.
const LIFE_MS_MIN: u64 = 500;
const LIFE_MS_MAX: u64 = 2000;

/// The producer has this long to notice that its broker is gone.
const PRODUCER_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options) -> Result<bool> {
    let binary = workspace::release_binary(&workspace::root(), false)?;
    rounds(&binary, options.rounds, options.async_flush)
}

/// Prints the books and says whether they balance.
pub(crate) fn rounds(binary: &Path, rounds: u32, async_flush: bool) -> Result<bool> {
    let mut scratch = Scratch::new("kill")?;
    let flush = if async_flush { "ASYNC_FLUSH" } else { "SYNC_FLUSH" };
    println!("\nkill -9 under load, {rounds} rounds, {flush}");
    let set = ["--set", &format!("flushDiskType={flush}")];
    let result = rounds_in(binary, rounds, &set, &scratch);
    if !matches!(result, Ok(true)) {
        scratch.keep();
    }
    result
}

fn rounds_in(binary: &Path, rounds: u32, set: &[&str], scratch: &Scratch) -> Result<bool> {
    let mut ledgers = Vec::new();
    // The ledgers name the broker by its address: it stays the same.
    let mut port = 0;
    for round in 1..=rounds {
        let server = Server::start_with(binary, scratch.path(), port, set)?;
        port = server.broker_port;
        let ledger = scratch.path().join(format!("ledger-{round}"));
        let load = Load {
            binary,
            broker: server.address(),
            connections: 16,
            // Small rounds of the log and large ones: with `ASYNC_FLUSH` not the same thread writes them.
            in_flight: if round % 2 == 1 { 4 } else { 128 },
            size: 1024,
            seconds: 60,
            warm_up_seconds: 0,
            ledger: Some(ledger.clone()),
            verify: false,
        };
        let log = scratch.path().join(format!("producer-{round}.log"));
        let mut producer = load.start(&log)?;
        let life = Duration::from_millis(random(LIFE_MS_MIN, LIFE_MS_MAX));
        if let Some(status) = producer.wait_for(life)? {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("round {round}: the producer ended with {status} by itself\n{said}");
        }
        server.kill()?;
        println!("round {round}: killed after {} ms of load", life.as_millis());
        if producer.wait_for(PRODUCER_LIMIT)?.is_none() {
            producer.kill()?;
        }
        ledgers.push(ledger);
    }

    let server = Server::start_with(binary, scratch.path(), port, set)?;
    let books =
        bench::verify(binary, &server.address(), &ledgers, &scratch.path().join("verify.log"))?;
    server.stop()?;
    println!(
        "rounds {rounds}  acknowledged {}  missing {}  doubled {}  out of order {}",
        books.acknowledged, books.missing, books.doubled, books.out_of_order
    );
    // Nothing acknowledged in all rounds would prove nothing.
    Ok(books.balance() && books.acknowledged > 0)
}

fn random(min: u64, max: u64) -> u64 {
    // The standard library seeds each of these at random.
    min + RandomState::new().build_hasher().finish() % (max - min)
}
