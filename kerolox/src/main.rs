//! The binary: command line, configuration, roles. In: arguments. Out: a running server, the load
//! generator, the demo, or a look at a stopped log, and an exit code that scripts may rely on ([`exit`]).

#![forbid(unsafe_code)]

mod advertise;
mod banner;
mod cli;
mod config;
mod exit;
mod log;
mod logging;
mod ports_file;
mod server;

use std::process::ExitCode;

/// Faster than the system's, and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let result = match cli.command {
        cli::Command::Server(args) => server::run(&(&args).into()),
        cli::Command::Broker(args) => server::run(&(&args).into()),
        cli::Command::Namesrv(args) => server::run(&(&args).into()),
        cli::Command::Admin(args) => kerolox_admin::run(args).map_err(exit::Failure::other),
        cli::Command::Completions { shell } => cli::completions(shell),
        cli::Command::Config(command) => config::run(command),
        cli::Command::Log(command) => log::run(&command),
        cli::Command::Demo(args) => {
            kerolox_demo::run(&args).map_err(|error| exit::Failure::demo(&error))
        }
        cli::Command::Bench(command) => kerolox_bench::run(command).map_err(exit::Failure::bench),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
