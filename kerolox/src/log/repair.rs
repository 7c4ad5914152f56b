//! `kerolox log repair-index`: all index blocks made anew from the log.
//!
//! In: a stopped directory, whose lock is held meanwhile. Out: a block for each finished stretch, by
//! the code with which a start makes them; snapshots that lead to these blocks. Damaged snapshots
//! are set aside: what they held is perhaps in no log file any more. Damaged blocks are deleted: all
//! of a block is in the log.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kerolox_engine::keeper::{Found, Keeper, Watch};
use kerolox_engine::{Config, links};
use kerolox_log::disk::Disk;
use kerolox_log::disk::read_only::ReadOnly;
use kerolox_log::disk::real::RealDisk;
use kerolox_log::identity::Identity;
use kerolox_log::index::lookup::Blocks;
use kerolox_log::recover::Lost;
use kerolox_log::snapshot::{self, Put};

use super::{Lock, RepairArgs, in_use, lock, open, written};
use crate::exit::Failure;

/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Runs it.
pub(super) fn run(args: &RepairArgs) -> Result<ExitCode, Failure> {
    let default = Path::new("./kerolox-data");
    let dir = args.dir.as_deref().or(args.data_dir.as_deref()).unwrap_or(default);
    let shown = dir.display();
    let unusable = |e: io::Error| Failure::unusable(format!("{shown}: {e}"));
    // It must be one of ours before anything is written to it.
    open(dir, Arc::new(ReadOnly(RealDisk)))?;
    // A copy may come without a lock; a server that starts now must find one.
    let mut options = File::options();
    options.create(true).truncate(false).write(true).open(dir.join("lock")).map_err(unusable)?;
    let Lock::Free(_lock) = lock(dir)? else { return Err(in_use(dir)) };
    let (identity, files) = open(dir, Arc::new(RealDisk))?;
    let set_aside = set_aside_snapshots(dir, &identity).map_err(unusable)?;
    let mut watch = Progress { told: Instant::now(), lost: Vec::new() };
    let (files, config) = (Arc::new(files), Config::default());
    let found = Keeper::rebuild(files, dir.to_owned(), identity, &config, &mut watch);
    let Found { keeper, oddities, .. } = found.map_err(Failure::unusable)?;
    let snapshots = relink(dir, &identity, &keeper.blocks)?;
    let mut out = io::stdout().lock();
    let shown = say(&mut out, &keeper, (&watch.lost, &oddities), &set_aside, snapshots);
    written(shown)?;
    Ok(ExitCode::SUCCESS)
}

/// What is told while blocks are made.
struct Progress {
    told: Instant,
    lost: Vec<Lost>,
}

impl Watch for Progress {
    fn progress(&mut self, done: u64, total: u64) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let (done, total) = (done >> 20, total >> 20);
            // Whoever does not listen does not want to know.
            let _ = writeln!(io::stderr(), "the index of {done} of {total} MiB is made");
        }
    }

    fn lost(&mut self, lost: &[Lost]) {
        self.lost.extend_from_slice(lost);
    }
}

/// Moves what cannot be read out of the way; returns the reasons.
fn set_aside_snapshots(dir: &Path, identity: &Identity) -> io::Result<Vec<String>> {
    let (from, to) = (dir.join(snapshot::DIR), dir.join("set-aside"));
    let mut damaged = Vec::new();
    for path in snapshot::paths(&RealDisk, dir)? {
        let why = match snapshot::read(&RealDisk, &path, identity) {
            Ok(_) => continue,
            // It is not for this release to say what it is worth.
            Err(newer) if newer.kind() == io::ErrorKind::Unsupported => return Err(newer),
            Err(why) => why,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        RealDisk.create_dir(&to)?;
        RealDisk.rename(&path, &to.join(format!("snapshot-{name}")))?;
        damaged.push(why.to_string());
    }
    if !damaged.is_empty() {
        [dir, &to, &from].into_iter().try_for_each(|dir| RealDisk.sync_dir(dir))?;
    }
    Ok(damaged)
}

/// Leads the snapshots to the new blocks; returns how many there are.
fn relink(dir: &Path, identity: &Identity, blocks: &Blocks) -> Result<usize, Failure> {
    let paths = snapshot::paths(&RealDisk, dir).map_err(Failure::unusable)?;
    for path in &paths {
        let old = snapshot::read(&RealDisk, path, identity).map_err(Failure::unusable)?;
        if let Some(new) = links::relinked(&old, blocks).map_err(Failure::unusable)? {
            let dump = |put: &mut Put<'_>| new.iter().try_for_each(|change| put(change));
            // Both of its copies, if there are two.
            snapshot::write(&RealDisk, dir, identity, &old.origin, 2, dump)
                .map_err(Failure::unusable)?;
        }
    }
    Ok(paths.len())
}

fn say(
    out: &mut impl Write,
    keeper: &Keeper,
    (lost, oddities): (&[Lost], &[String]),
    set_aside: &[String],
    snapshots: usize,
) -> io::Result<()> {
    let (count, end) = (keeper.blocks.begins().len(), keeper.position());
    writeln!(out, "index     {count} blocks, up to {end}; a server makes the next ones")?;
    for lost in lost {
        let (begin, end, bytes) = (lost.begin, lost.end, lost.bytes());
        writeln!(out, "damage    {begin} to {end}, {bytes} bytes: {}", lost.what)?;
    }
    for oddity in oddities {
        writeln!(out, "damage    {oddity}")?;
    }
    for why in set_aside {
        writeln!(out, "set aside {why}")?;
    }
    let first = keeper.blocks.files().first().unwrap_or_default();
    if snapshots == 0 && first.0 > 0 {
        writeln!(out, "lost      no snapshot is left: settings and offsets of before {first}")?;
    }
    Ok(())
}
