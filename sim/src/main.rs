//! A seeded simulation of the broker: the shipping log, recovery and engine code, on a disk that
//! loses what was not synced.
//!
//! In: seeds. Out: whether every promise was kept: no acknowledged message missing, nothing
//! invented, consumers never saw what is gone. One thread, a fake clock, one source of chance: the
//! same seed gives the same run on every machine.
//!
//! - [`campaign`]: many seeds; the command line.
//! - [`plan`]: what a seed means.
//! - [`world`]: one run, step by step. [`life`]: how a broker's lives begin and end. [`damage`]:
//!   flipped bits and unreadable pages in the log. [`spoil`]: damage to index blocks and snapshots.
//!   [`foresee`]: what a recovery must find. [`inspect`]: the
//!   files, after a start.
//! - [`broker`]: the broker as a shell drives it.
//! - [`seam`]: the disk.
//! - [`clients`]: producers, consumers, an administrator.
//! - [`books`]: what was promised, and whether it holds.

#![forbid(unsafe_code)]

mod books;
mod broker;
mod campaign;
mod clients;
mod clock;
mod damage;
mod events;
mod foresee;
mod inspect;
mod life;
mod plan;
mod seam;
mod spoil;
#[cfg(test)]
mod tests;
mod violation;
mod world;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let options = campaign::Options::parse();
    if campaign::run(&options) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
