//! mqadmin's commands, against any cluster that speaks RocketMQ, and a few beside them.
//!
//! In: arguments with mqadmin's names. Out: its tables, or JSON. A command is a struct with its options and
//! what it does, in a file of its family in [`commands`]; the list of all is there, too.
//!
//! - [`arguments`]: where the command stands in them.
//! - [`admin`]: the connections of a run, and how brokers are found.
//! - [`out`]: text or JSON; [`endless`]: what goes on until it is ended.
//! - [`format`]: times, permissions, messages as mqadmin writes them.
//! - [`bodies`]: bodies of answers that only an admin client reads.
//! - [`consumers`]: what brokers know of a group, put together.
//! - [`running`]: what a consumer says of itself.
//! - [`tables`]: every topic or group of a broker.
//! - [`queues`]: the queues of a topic, and what stands in them.
//! - [`lookup`]: messages by id and key.
//! - [`track`]: who consumed a message.
//! - [`trace`]: what clients wrote about a message's way.

#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod admin;
pub mod arguments;
pub mod bodies;
pub mod commands;
pub mod consumers;
pub mod endless;
pub mod format;
pub mod lookup;
pub mod out;
pub mod queues;
pub mod running;
pub mod tables;
pub mod trace;
pub mod track;

pub use commands::AdminCommand;

use crate::admin::{Admin, Connect};
use crate::out::{Out, lines};

/// `kerolox admin …`
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct AdminArgs {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON, one value a line, instead of mqadmin's text
    #[arg(long, global = true, help_heading = "Common options")]
    json: bool,
    #[command(subcommand)]
    command: AdminCommand,
}

/// Runs one command to its end. An error says what failed, where, and what to do.
pub fn run(args: AdminArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = Out::new(args.json);
    let result = runtime.block_on(async {
        let admin = Admin::new(args.connect);
        args.command.run(&admin, &mut out).await
    });
    out.flush()?;
    // Servers write a part of it.
    result.map_err(|error| anyhow::anyhow!("{}", lines(&format!("{error:#}"))))?;
    Ok(ExitCode::SUCCESS)
}
