//! The tasks of this repository: `cargo xtask <command>`.
//!
//! A command is one file or folder; `process`, `workspace`, `report`, `server`, `bench`, `proc` and
//! `first_send` are what they share. `ci` is the whole gate and never writes to the tree, `fix` is what writes.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the output of a command is what xtask is for")]

mod bursts;
mod ci;
mod compare;
mod figures;
mod kill;
mod overload;
mod test;
mod tidy;

mod bench;
mod first_send;
mod proc;
mod process;
mod report;
mod server;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of this repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the tests, all rings or those that are named
    Test(test::Options),
    /// The whole gate: fmt, clippy, tidy, doc, deny, then the tests. Never writes to the tree
    Ci(ci::Options),
    /// Format, and apply what clippy can fix by itself
    Fix,
    /// Check layering, banned calls, documents and the shape of the sources
    Tidy,
    /// Kill a loaded broker again and again; every acknowledged message must still be there
    Kill(kill::Options),
    /// Send four times what the broker can do, for a minute; then it must be as before
    Overload(overload::Options),
    /// Measure the release binary
    Figures(figures::Options),
    /// Whether a change is faster: two builds of the server, loaded in turn
    Bursts(bursts::Options),
    /// Measure beside Apache RocketMQ, on the same machine in the same run
    Compare(compare::Options),
}

fn main() -> Result<ExitCode> {
    process::end_children_on_signals()?;
    let passed = match Arguments::parse().command {
        Command::Test(options) => test::run(&options)?,
        Command::Ci(options) => ci::run(&options)?,
        Command::Fix => ci::fix()?,
        Command::Tidy => tidy::run()?,
        Command::Kill(options) => kill::run(&options)?,
        Command::Overload(options) => overload::run(&options)?,
        Command::Figures(options) => figures::run(&options)?,
        Command::Bursts(options) => bursts::run(&options)?,
        Command::Compare(options) => compare::run(&options)?,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
