//! Housekeeping, one step at a time: log files and zeros in advance, snapshots and deletion behind.
//!
//! In: where the log ends. Out: files, snapshots, and whether sends are refused because the disk
//! is full. Follows `server/src/housekeeping.rs`; only how far ahead it works is the plan's.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kerolox_engine::keeper::{Keeper, KeeperError};
use kerolox_engine::turn::Closed;
use kerolox_engine::{Engine, State};
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::DiskFile;
use kerolox_log::files::Files;
use kerolox_log::identity::Identity;
use kerolox_log::index::block::BlockError;
use kerolox_log::index::lookup::AskError;
use kerolox_log::recover::RecoverError;

/// See the module's documentation.
pub(crate) struct Housekeeping {
    pub(crate) identity: Identity,
    pub(crate) keeper: Keeper,
    /// Not after damage was done: a block would hold what is left.
    pub(crate) makes_blocks: bool,
    pub(crate) data_dir: PathBuf,
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
        let next = PhysicalOffset(next);
        if self.keeper.position() < next {
            return Ok(false);
        }
        self.retired = self.retired.max(next.0);
        let mut state = |work: &mut dyn FnMut(&mut State)| work(&mut engine.state);
        self.keeper.retire(next, &mut state).map_err(io_error)?;
        files.delete(oldest)?;
        self.keeper.remove_blocks(next).map_err(io_error)?;
        Ok(true)
    }

    /// Makes the index block of the next stretch, if that is finished.
    pub(crate) fn make_block(&mut self, engine: &mut Engine) -> io::Result<()> {
        if !self.makes_blocks {
            return Ok(());
        }
        let synced = engine.log.flushed();
        let mut state = |work: &mut dyn FnMut(&mut State)| work(&mut engine.state);
        self.keeper.advance(synced, &mut state).map(drop).map_err(io_error)
    }
}

/// The disk's own error, where there is one.
fn io_error(error: KeeperError) -> io::Error {
    match error {
        KeeperError::Io { source, .. } => source,
        KeeperError::Ask(AskError::Block(BlockError::Io(_, source)))
        | KeeperError::Ask(AskError::Log(RecoverError::Io { source, .. })) => source,
        other => io::Error::other(other),
    }
}
