//! `kerolox log`: a look at the data directory of a stopped server.
//!
//! In: the directory. Out: [`check`]: what is damaged, and what a start would cut; [`dump`]: the
//! records; [`plan`]: what retention will delete; [`repair`]: the index made anew; [`hand_over`]: all that
//! Apache's broker needs. They take the directory's lock, so that no server writes meanwhile, and but for
//! the last two change nothing; [`plan`] looks at a running server's directory, too.

mod check;
mod dump;
mod hand_over;
mod plan;
mod repair;
mod time;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use kerolox_engine::apache::adopt;
use kerolox_log::disk::Disk;
use kerolox_log::disk::read_only::ReadOnly;
use kerolox_log::disk::real::RealDisk;
use kerolox_log::files::{DIR, Files};
use kerolox_log::identity::{self, Identity};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::cli::data_dir;
use crate::exit::Failure;

/// What to do with it.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Verify every seal, chain and checksum, and the index; say what a start would cut or report as
    /// lost
    Check(CheckArgs),
    /// Print the records
    Dump(DumpArgs),
    /// Show which files retention will delete, when, by which rule, and the topics concerned; also
    /// of a running server
    Plan(PlanArgs),
    /// Make the index anew from the log
    RepairIndex(RepairArgs),
    /// Leave the directory of a stopped server to Apache's broker
    HandOver(OfServer),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The data directory of a stopped server
    #[arg(value_parser = data_dir())]
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The data directory of a stopped server
    #[arg(value_parser = data_dir())]
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

// A directory, and the settings of its server. (A doc comment would stand in the help of the commands.)
#[derive(Debug, Args)]
pub(crate) struct OfServer {
    /// The data directory
    #[arg(value_name = "DIR", value_parser = data_dir())]
    dir: Option<PathBuf>,
    /// The same, where DIR is not given [default: ./kerolox-data]
    #[arg(long, value_name = "DIR", env = "KEROLOX_DATA_DIR", value_parser = data_dir())]
    data_dir: Option<PathBuf>,
    /// Configuration file of the server
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "KEROLOX_CONFIG")]
    config: Option<PathBuf>,
    /// Set a configuration key
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    of: OfServer,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The data directory of a stopped server
    #[arg(value_name = "DIR", value_parser = data_dir())]
    dir: Option<PathBuf>,
    /// The same, where DIR is not given [default: ./kerolox-data]
    #[arg(long, value_name = "DIR", env = "KEROLOX_DATA_DIR", value_parser = data_dir())]
    data_dir: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(command: &LogCommand) -> Result<ExitCode, Failure> {
    match command {
        LogCommand::Check(args) => check::run(args),
        LogCommand::Dump(args) => dump::run(args),
        LogCommand::Plan(args) => plan::run(args),
        LogCommand::RepairIndex(args) => repair::run(args),
        LogCommand::HandOver(args) => hand_over::run(args),
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
        match lock(dir)? {
            Lock::Taken => Err(in_use(dir)),
            Lock::Free(lock) => {
                let (identity, files) = open(dir, Arc::new(ReadOnly(RealDisk)))?;
                Ok(Stopped { identity, files, _lock: lock })
            }
        }
    }
}

fn in_use(dir: &Path) -> Failure {
    Failure::in_use(format!("{} is in use by another process; stop it first", dir.display()))
}

/// Opens the log of a directory.
fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<(Identity, Files), Failure> {
    let shown = dir.display();
    let unusable = |e: io::Error| Failure::unusable(format!("{shown}: {e}"));
    if !dir.try_exists().map_err(unusable)? {
        return Err(Failure::unusable(format!("{shown} is not there")));
    }
    // A directory without it would be taken for a new one.
    for name in [identity::FILE_NAME, DIR] {
        if !dir.join(name).try_exists().map_err(unusable)? {
            let why = format!("{shown} is no data directory of Kerolox: it has no {name}");
            return Err(Failure::unusable(why));
        }
    }
    let nobody = Identity { number: [0; 16], writer: 0 };
    let (identity, file_size) =
        identity::open(&*disk, dir, None, nobody).map_err(Failure::unusable)?;
    let files = Files::open(disk, dir, file_size).map_err(unusable)?;
    if adopt::touched(&files, dir).map_err(Failure::unusable)?.is_some() {
        let why = format!(
            "Apache's broker had {shown} since Kerolox was stopped; start Kerolox once, which takes it over, then look"
        );
        return Err(Failure::unusable(why));
    }
    Ok((identity, files))
}

/// Who has the lock of a directory.
enum Lock {
    /// This process, if a server ever ran there. A copy of a directory may come without.
    Free(Option<File>),
    /// A server.
    Taken,
}

fn lock(dir: &Path) -> Result<Lock, Failure> {
    let shown = dir.display();
    let lock = match File::open(dir.join("lock")) {
        Ok(lock) => lock,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Lock::Free(None)),
        Err(e) => return Err(Failure::unusable(format!("locking {shown}: {e}"))),
    };
    match lock.try_lock() {
        // Apache's broker takes another kind of lock on the same file.
        Ok(()) => match fcntl_lock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Lock::Free(Some(lock))),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(Lock::Taken),
            Err(e) => Err(Failure::unusable(format!("locking {shown}: {e}"))),
        },
        Err(TryLockError::WouldBlock) => Ok(Lock::Taken),
        Err(TryLockError::Error(e)) => Err(Failure::unusable(format!("locking {shown}: {e}"))),
    }
}

/// Whoever reads may have had enough; that is no failure.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::other(e)),
        _ => Ok(()),
    }
}
