//! `kerolox log`: a look at the data directory of a stopped server.
//!
//! In: the directory. Out: [`check`]: what is damaged, and what a start would cut; [`dump`]: the
//! records. Takes the directory's lock, so that no server writes meanwhile, and changes nothing.

mod check;
mod dump;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use kerolox_log::disk::Disk;
use kerolox_log::disk::read_only::ReadOnly;
use kerolox_log::disk::real::RealDisk;
use kerolox_log::files::{DIR, Files};
use kerolox_log::identity::{self, Identity};

use crate::exit::Failure;

/// What to do with it.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Verify every seal, chain and checksum; say what a start would cut or report as lost
    Check(CheckArgs),
    /// Print the records
    Dump(DumpArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The data directory of a stopped server
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The data directory of a stopped server
    dir: PathBuf,
    /// Begin at this position of the log
    #[arg(long, value_name = "POS", default_value_t = 0)]
    from: u64,
    /// Only this topic
    #[arg(long)]
    topic: Option<String>,
    /// No more lines than this
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print the state changes, too
    #[arg(long)]
    state: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(command: &LogCommand) -> Result<ExitCode, Failure> {
    match command {
        LogCommand::Check(args) => check::run(args),
        LogCommand::Dump(args) => dump::run(args),
    }
}

/// A directory that this process alone uses.
struct Stopped {
    identity: Identity,
    files: Files,
    _lock: Option<File>,
}

impl Stopped {
    fn open(dir: &Path) -> Result<Stopped, Failure> {
        let shown = dir.display();
        let unusable = |e: io::Error| Failure::unusable(format!("{shown}: {e}"));
        let lock = lock(dir)?;
        // A directory without it would be taken for a new one.
        for name in [identity::FILE_NAME, DIR] {
            if !dir.join(name).try_exists().map_err(unusable)? {
                let why = format!("{shown} is no data directory of Kerolox: it has no {name}");
                return Err(Failure::unusable(why));
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(ReadOnly(RealDisk));
        let nobody = Identity { number: [0; 16], writer: 0 };
        let (identity, file_size) =
            identity::open(&*disk, dir, None, nobody).map_err(Failure::unusable)?;
        let files = Files::open(disk, dir, file_size).map_err(unusable)?;
        Ok(Stopped { identity, files, _lock: lock })
    }
}

/// Takes the lock of a server, if one ever ran here. A copy of a directory may come without.
fn lock(dir: &Path) -> Result<Option<File>, Failure> {
    let shown = dir.display();
    let lock = match File::open(dir.join("lock")) {
        Ok(lock) => lock,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::unusable(format!("locking {shown}: {e}"))),
    };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::in_use(format!("{shown} is in use by another process; stop it first")))
        }
        Err(TryLockError::Error(e)) => Err(Failure::unusable(format!("locking {shown}: {e}"))),
    }
}

/// Whoever reads may have had enough; that is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::other(e)),
        _ => Ok(()),
    }
}
