//! Load generator for any RocketMQ broker, over remoting.
//!
//! - [`produce`]: sends as fast as it can, or at a given rate, and keeps books of what was
//!   acknowledged (`ledger`).
//! - [`consume`]: pulls a topic from its beginning.
//! - [`verify`]: reads everything back and compares it with the books.
//!
//! A message's body says who sent it and as which one (`body`), so that loss, doubling and order
//! can be told from what a broker holds. The sender never sends anything twice.

#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod consume;
pub mod produce;
pub mod verify;

mod body;
mod ledger;
mod puller;
mod report;
mod stats;
mod target;
mod template;

/// `kerolox bench …`
#[derive(Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Send messages and measure; optionally keep a ledger, and read everything back.
    Produce(produce::Args),
    /// Pull a topic from its beginning and measure.
    Consume(consume::Args),
    /// Compare what brokers hold with the ledgers of earlier runs.
    Verify(verify::Args),
}

/// Runs one command to its end. The exit code is not 0 if messages were lost, doubled, damaged or
/// out of order.
pub fn run(command: BenchCommand) -> anyhow::Result<ExitCode> {
    match command {
        BenchCommand::Produce(args) => produce::run(&args),
        BenchCommand::Consume(args) => consume::run(&args),
        BenchCommand::Verify(args) => verify::run(&args),
    }
}

/// One thread for connections that are not measured to the microsecond.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn exit_code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
