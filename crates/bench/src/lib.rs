//! Load generator for any RocketMQ broker, over remoting.
//!
//! - [`produce`]: sends as fast as it can, or at a given rate, and keeps books of what was
//!   acknowledged (`ledger`); [`batch`]: the same, many messages a request.
//! - [`consume`]: pulls a topic from its beginning.
//! - [`e2e`]: both in one process: how long a message takes; [`drain`]: a backlog is read while more
//!   is sent; [`topics`]: many queues.
//! - [`verify`]: reads everything back and compares it with the books.
//! - [`probe`]: what this machine can do at all.
//!
//! A message's body says who sent it and as which one (`body`), so that loss, doubling and order
//! can be told from what a broker holds. The sender never sends anything twice.

#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod batch;
pub mod consume;
pub mod drain;
pub mod e2e;
pub mod probe;
pub mod produce;
pub mod topics;
pub mod verify;

mod arguments;
mod body;
mod ledger;
mod puller;
mod report;
mod set;
mod stats;
mod target;
mod template;

/// `kerolox bench …`
#[derive(Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Send messages and measure; optionally keep a ledger, and read everything back.
    Produce(produce::Args),
    /// Send batches and measure; also fills a backlog fast.
    Batch(batch::Args),
    /// Pull a topic from its beginning and measure.
    Consume(consume::Args),
    /// Send at a rate and receive in the same process: how long a message takes.
    E2e(e2e::Args),
    /// Read a backlog while messages are sent at a rate.
    Drain(drain::Args),
    /// Make many topics, use each queue, and send to them all.
    Topics(topics::Args),
    /// Measure what this machine can do at all: loopback, disk, memory.
    Probe(probe::Args),
    /// Compare what brokers hold with the ledgers of earlier runs.
    Verify(verify::Args),
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum BenchError {
    /// Two arguments do not go together.
    Arguments(String),
    Other(anyhow::Error),
}

/// Runs one command to its end. The exit code is not 0 if messages were lost, doubled, damaged or
/// out of order, or none was acknowledged.
pub fn run(command: BenchCommand) -> Result<ExitCode, BenchError> {
    let result = match command {
        BenchCommand::Produce(args) => produce::run(&args),
        BenchCommand::Batch(args) => {
            arguments::batch_fits(args.batch, args.produce.size).map_err(BenchError::Arguments)?;
            batch::run(&args)
        }
        BenchCommand::Consume(args) => consume::run(&args),
        BenchCommand::E2e(args) => {
            args.check().map_err(BenchError::Arguments)?;
            e2e::run(&args)
        }
        BenchCommand::Drain(args) => drain::run(&args),
        BenchCommand::Topics(args) => topics::run(&args),
        BenchCommand::Probe(args) => probe::run(&args),
        BenchCommand::Verify(args) => verify::run(&args),
    };
    result.map_err(BenchError::Other)
}

/// One thread for connections that are not measured to the microsecond.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn exit_code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
