//! `kerolox log hand-over`: the directory of a stopped or killed server is left to Apache's broker.
//!
//! In: the directory, and the settings of its server. Out: what that broker needs beside the log. A stop does
//! the same where it takes but a moment; here it may take as long as it takes.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{OfServer, written};
use crate::config;
use crate::exit::Failure;

/// Runs it.
pub(super) fn run(args: &OfServer) -> Result<ExitCode, Failure> {
    let given = args.dir.as_deref().or(args.data_dir.as_deref());
    let options = config::configure_hand_over(given, args.config.as_deref(), &args.set)
        .map_err(Failure::config)?;
    let dir = options.data_dir.display();
    // What is not there is not made.
    if !options.data_dir.exists() {
        return Err(Failure::unusable(format!("{dir} is not there")));
    }
    if !options.data_dir.join("kerolox").is_file() {
        return Err(Failure::unusable(format!("{dir} is no data directory of Kerolox")));
    }
    let left = kerolox_server::hand_over(&options).map_err(|why| Failure::hand_over(&why))?;
    let mut out = io::stdout().lock();
    written(match left {
        Some(amount) => writeln!(
            out,
            "{dir} is left to Apache's broker: {} messages in {} queues",
            amount.messages, amount.queues
        ),
        None => writeln!(out, "{dir} was left to Apache's broker before; nothing is changed"),
    })?;
    Ok(ExitCode::SUCCESS)
}
