//! `kerolox server`, `broker` and `namesrv`: from the arguments to a running server, until a signal.

use std::process::ExitCode;
use std::time::Duration;

use kerolox_server::Server;

use crate::exit::Failure;
use crate::ports_file::PortsFile;
use crate::{banner, config, logging};

/// How often a strict process looks whether its log has failed.
const FAILURE_LOOK: Duration = Duration::from_millis(20);

/// Runs until SIGTERM, SIGINT or SIGHUP; if it is strict, until the log fails.
pub(crate) fn run(args: &config::Given<'_>) -> Result<ExitCode, Failure> {
    let common = args.common;
    logging::start(common.log_level, common.log_format);
    let config::Configured { options, strict, warnings } =
        config::configure(args).map_err(Failure::config)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    // Signals are caught before anything starts, so that none is missed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(Failure::other)?;
    let ports_file = common.ports_file.as_deref().map(PortsFile::at).transpose()?;
    let server = Server::start(options.clone()).map_err(|e| Failure::start(&e))?;
    banner::show(&options, &server);
    if let Some(file) = ports_file
        && let Err(failure) = file.write(&server)
    {
        if let Err(why) = server.stop() {
            tracing::error!("{why}");
        }
        return Err(failure);
    }
    let why = runtime.block_on(async {
        tokio::select! {
            signal = signals.next() => signal,
            () = failure(&server), if strict => "the log failed, kerolox.strict=true",
        }
    });
    tracing::info!("{why}: stopping");
    server.stop().map_err(|why| Failure::stop(&why))?;
    tracing::info!("stopped, everything acknowledged is on the disk");
    Ok(ExitCode::SUCCESS)
}

/// Ends when the log has failed.
async fn failure(server: &Server) {
    while server.failed().is_none() {
        tokio::time::sleep(FAILURE_LOOK).await;
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = received(&mut self.hangup) => "SIGHUP",
        }
    }
}

/// Waits for a signal, if it is one that counts.
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether who started this process had it go on when the terminal closes, as `nohup` does. The kernel
/// shows the ignored signals as bits, and SIGHUP is the first.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & 1 != 0)
}
