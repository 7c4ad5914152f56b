//! Housekeeping, one step at a time: log files and zeros in advance, snapshots and deletion behind.
//!
//! In: where the log ends. Out: files, snapshots, and whether sends are refused because the disk
//! is full. Follows `server/src/housekeeping.rs`; only how far ahead it works is the plan's.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kerolox_engine::turn::Closed;
use kerolox_engine::{Config, Engine, State};
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::DiskFile;
use kerolox_log::files::Files;
use kerolox_log::identity::Identity;
use kerolox_log::recover::{self, Origin, RecoverError};
use kerolox_log::snapshot::{self, Snapshot};

/// See the module's documentation.
pub(crate) struct Housekeeping {
    pub(crate) identity: Identity,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) full: bool,
    /// Bytes of zeros ahead of the log's end.
    pub(crate) zero_ahead: u64,
    /// Zeros that are not synced yet, and their end.
    pub(crate) unsynced: Option<(Arc<dyn DiskFile>, PhysicalOffset)>,
    /// Up to where zeros are synced.
    pub(crate) synced: PhysicalOffset,
    pub(crate) log_bytes_max: u64,
    /// Messages below may be gone: a file was about to be deleted.
    pub(crate) retired: u64,
}

/// Percent of the disk in use from which on sends are refused.
const WARNING_PERCENT: u64 = 90;

impl Housekeeping {
    /// Writes some zeros ahead of the log's end, or syncs those that were written: one step of what
    /// the server does in a loop. A full disk refuses sends before they touch the log.
    /// Any other error is the end.
    pub(crate) fn make_room(&mut self, engine: &mut Engine, files: &Files) -> io::Result<()> {
        let until = engine.log.end().plus(self.zero_ahead);
        match self.zero(files, until) {
            Ok(false) => {}
            Ok(true) => {
                if std::mem::take(&mut self.full) {
                    engine.log.set_disk_end(None);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                self.full = true;
                self.unsynced = None;
                engine.log.set_disk_end(Some(self.synced));
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Whether zeros are there and synced up to `until`.
    fn zero(&mut self, files: &Files, until: PhysicalOffset) -> io::Result<bool> {
        if let Some((file, zeroed)) = self.unsynced.take() {
            file.sync()?;
            self.synced = zeroed;
        } else if files.zeroed() < until {
            let file = files.zero_ahead()?;
            self.unsynced = Some((file, files.zeroed()));
        }
        Ok(self.unsynced.is_none() && files.zeroed() >= until)
    }

    /// Refuses sends while the disk is fuller than the warning level.
    pub(crate) fn watch_space(&self, engine: &mut Engine, files: &Files) {
        let Ok(space) = files.disk().space(&self.data_dir) else { return };
        let full = space.used_percent() >= WARNING_PERCENT;
        match (engine.closed(), full) {
            (None, true) => engine.set_closed(Some(Closed::DiskFull("the disk is full".into()))),
            (Some(Closed::DiskFull(_)), false) => engine.set_closed(None),
            _ => {}
        }
    }

    /// Deletes the oldest file if the log is larger than its limit. Returns whether it did.
    pub(crate) fn delete_oldest(
        &mut self,
        engine: &mut Engine,
        files: &Files,
        confirmed: PhysicalOffset,
    ) -> io::Result<bool> {
        let bases = files.bases();
        let [oldest, next, ..] = bases[..] else { return Ok(false) };
        // The file under the log's end and those behind it stay.
        let stored = confirmed.0.saturating_sub(oldest);
        if self.log_bytes_max == 0 || confirmed.0 <= next || stored <= self.log_bytes_max {
            return Ok(false);
        }
        self.retired = self.retired.max(next);
        self.fold(files, oldest, PhysicalOffset(next))?;
        let mut from = 0;
        while let Some(more) = engine.state.trim_some(PhysicalOffset(next), from, 64) {
            from = more;
        }
        files.delete(oldest)?;
        Ok(true)
    }

    /// Writes the state up to `until` into a snapshot: what the file before it holds may go.
    fn fold(&self, files: &Files, oldest: u64, until: PhysicalOffset) -> io::Result<()> {
        let disk = &**files.disk();
        let (last, _) = snapshot::read_newest(disk, &self.data_dir, &self.identity)?;
        let mut state = State::for_folding(&self.config);
        let origin = last.filter(|s| s.position.0 >= oldest).map(|snapshot| {
            state.restore(&snapshot.state);
            Origin { position: snapshot.position, before: snapshot.before }
        });
        let folded = match recover::fold(files, &self.identity, origin, until, &mut state) {
            Err(RecoverError::Io { source, .. }) => return Err(source),
            other => other.map_err(io::Error::other)?,
        };
        let snapshot =
            Snapshot { position: folded.position, before: folded.before, state: state.dump() };
        snapshot::write(disk, &self.data_dir, &self.identity, &snapshot)
    }
}
