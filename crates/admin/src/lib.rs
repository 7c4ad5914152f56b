//! mqadmin's commands, against any cluster that speaks RocketMQ, and a few beside them.
//!
//! In: arguments with mqadmin's names. Out: its tables, or JSON. A command is a struct with its options and
//! what it does, in a file of its family in [`commands`]; the list of all is there, too.
//!
//! - [`admin`]: the connections of a run, and how brokers are found.
//! - [`out`]: text or JSON.
//! - [`format`]: times, permissions, messages as mqadmin writes them.
//! - [`bodies`]: bodies of answers that only an admin client reads.
//! - [`consumers`]: what brokers know of a group, put together.
//! - [`running`]: what a consumer says of itself.
//! - [`queues`]: the queues of a topic, and what stands in them.
//! - [`lookup`]: messages by id and key.
//! - [`track`]: who consumed a message.
//! - [`trace`]: what clients wrote about a message's way.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

pub mod admin;
pub mod bodies;
pub mod commands;
pub mod consumers;
pub mod format;
pub mod lookup;
pub mod out;
pub mod queues;
pub mod running;
pub mod trace;
pub mod track;

pub use commands::AdminCommand;

use crate::admin::{Admin, Connect};
use crate::out::Out;

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
    result.map(|()| ExitCode::SUCCESS)
}

/// Does something that may go on for ever, until it is done, the process is asked to end, or nobody reads
/// what it prints.
pub(crate) async fn until_signal(
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = output_closed() => Ok(()),
    }
}

/// Waits until the reader of standard output is gone: a command that has nothing to print would not notice.
/// Never, if it is a file.
async fn output_closed() {
    use std::os::fd::AsFd as _;
    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;
    // Not the checked way: that one makes standard output non-blocking, for this and other processes.
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    if let Ok(output) = output.and_then(Sender::from_owned_fd_unchecked)
        && output.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Where the command stands behind `kerolox admin`: options that all have may stand before it.
pub fn command_at(arguments: &[OsString]) -> Option<usize> {
    let mut is_value = false;
    arguments.iter().position(|argument| {
        let text = argument.to_string_lossy();
        let is_option = text.starts_with('-');
        let is_command = !is_option && !is_value;
        is_value = matches!(&*text, "-n" | "--namesrvAddr" | "--timeout");
        is_command
    })
}

/// Writes a command's name as it is declared: mqadmin does not look at its case. Names that mqadmin has and
/// this release does not are an error that says why.
pub fn canonical(name: &str) -> Result<String, String> {
    if let Some(known) = commands::NAMES.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        return Ok((*known).to_owned());
    }
    let later = commands::LATER
        .iter()
        .find(|(names, _)| names.split(' ').any(|later| later.eq_ignore_ascii_case(name)));
    match later {
        Some((_, why)) => Err(format!("{name}: {why}")),
        None => Ok(name.to_owned()),
    }
}
