//! The housekeeping thread: the next log file and zeros in it in advance, index blocks, snapshots
//! and deletion behind, and an eye on the disk.
//!
//! In: where the log ends. Out: files, and whether sends are refused because the disk is full.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kerolox_engine::State;
use kerolox_engine::keeper::Keeper;
use kerolox_engine::limits::KEEPER_STEP;
use kerolox_engine::turn::Closed;
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::{is_full, is_short_of_descriptors};
use kerolox_log::files::{Deleted, Files};
use kerolox_log::limits::{DELETE_STEP, ZERO_SYNC};
use kerolox_log::recover::{Lost, Origin};
use kerolox_log::retention::{self, Concerned, Fate, Held, Reason, Retention};

use crate::core::Shared;
use crate::limits::HOUSEKEEPING_MS;
use crate::settings;

/// See the module's documentation.
pub struct Housekeeping {
    pub shared: Arc<Shared>,
    pub files: Arc<Files>,
    pub keeper: Keeper,
    pub data_dir: std::path::PathBuf,
    pub retention: Retention,
    pub full: bool,
    /// The log file that was deleted last, until all of its room is given back; and where the log ended at
    /// the last step.
    pub dying: Option<(Deleted, PhysicalOffset)>,
    /// An index block could not be written: not before then it is tried again.
    pub blocks_failed: Option<Instant>,
}

/// How often retention looks.
const RETENTION_EVERY: Duration = Duration::from_secs(10);
/// Between two steps of zeros, where there is time: otherwise requests wait for the CPU that they take.
const ZERO_PAUSE: Duration = Duration::from_millis(1);
/// Between two steps of a deletion, in times of what the last one took; and no longer than this.
const DELETE_PAUSES: u32 = 4;
const DELETE_PAUSE_MAX: Duration = Duration::from_millis(100);
/// After a failure to make an index block.
const RETRY_BLOCKS_AFTER: Duration = Duration::from_secs(10);
/// How often the disk is asked how full it is.
const SPACE_EVERY: Duration = Duration::from_secs(1);

impl Housekeeping {
    /// Makes the first room, before anything is written: a start without it would fail at its first
    /// round.
    pub fn prepare(&self) -> io::Result<()> {
        let end = self.files.zeroed();
        self.zero(end.plus(ZERO_SYNC.min(self.files.file_size())), &mut { end })
    }

    /// Runs until the server stops.
    pub fn run(mut self) {
        let mut last_space = None::<Instant>;
        let mut last_retention = None::<Instant>;
        // Somebody asked for it (329).
        let mut any_hour = false;
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.make_room();
            self.make_blocks();
            let due = |last: Option<Instant>, every| last.is_none_or(|at| at.elapsed() >= every);
            if due(last_space, SPACE_EVERY) {
                last_space = Some(Instant::now());
                self.watch_space();
            }
            any_hour |= self.shared.delete_now.swap(false, Ordering::AcqRel);
            if self.dying.is_none() && (any_hour || due(last_retention, RETENTION_EVERY)) {
                // There may be another one.
                let more = match self.delete_oldest(any_hour) {
                    Ok(more) => more,
                    Err(error) => {
                        tracing::error!(%error, "old log files cannot be deleted");
                        false
                    }
                };
                last_retention = (!more).then(Instant::now);
                any_hour &= more;
            }
            let pause = self.shrink().unwrap_or(Duration::from_millis(HOUSEKEEPING_MS));
            std::thread::park_timeout(pause);
        }
    }

    /// Writes zeros ahead of the log's end: a later sync changes no metadata, and a full disk
    /// refuses sends before they touch the log.
    fn make_room(&mut self) {
        let end = self.shared.with_core(|core, _| core.engine.log.end());
        if !self.full && !self.files.is_low(end) {
            return;
        }
        let mut synced = self.files.zeroed();
        match self.zero(end.plus(self.files.ahead_wanted()), &mut synced) {
            Ok(()) => {
                if std::mem::take(&mut self.full) {
                    tracing::info!("the disk has room again: sends are taken");
                    self.shared.with_core(|core, _| core.engine.log.set_disk_end(None));
                }
            }
            Err(error) if is_full(&error) => {
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(%error, position = synced.0, "the disk has no room for the log: sends are refused once what is reserved is used up");
                }
                self.shared.with_core(|core, _| core.engine.log.set_disk_end(Some(synced)));
            }
            Err(error) if is_short_of_descriptors(&error) => {
                tracing::warn!(%error, "the log's next file cannot be opened yet");
            }
            Err(error) => {
                tracing::error!(%error, "the disk fails: nothing is acknowledged until a restart");
                let why = format!("Writing ahead of the commit log failed: {error}.");
                self.shared.fail(why);
            }
        }
    }

    /// Makes the index blocks of finished stretches, and says what was missing from the log where
    /// look-ups had one made again.
    fn make_blocks(&mut self) {
        report(&self.keeper.blocks.take_lost());
        if self.blocks_failed.is_some_and(|at| at.elapsed() < RETRY_BLOCKS_AFTER) {
            return;
        }
        let shared = self.shared.clone();
        let synced = shared.with_core(|core, _| core.engine.log.flushed());
        match self.keeper.advance(synced, &mut engine_of(&shared)) {
            Ok(lost) => {
                self.blocks_failed = None;
                report(&lost.unwrap_or_default());
            }
            Err(error) => {
                // Nothing is lost but memory and the time of a start.
                tracing::error!(%error, "no index block can be made");
                self.blocks_failed = Some(Instant::now());
            }
        }
    }

    fn zero(&self, until: PhysicalOffset, synced: &mut PhysicalOffset) -> io::Result<()> {
        while self.files.zeroed() < until {
            let file = self.files.zero_ahead()?;
            let zeroed = self.files.zeroed();
            let end_of_file = zeroed.0.is_multiple_of(self.files.file_size());
            if zeroed.0 - synced.0 >= ZERO_SYNC || end_of_file || zeroed >= until {
                file.sync()?;
                *synced = zeroed;
            }
            if self.files.has_time() {
                std::thread::sleep(ZERO_PAUSE);
            }
        }
        Ok(())
    }

    /// Refuses sends while the disk is fuller than the warning level.
    fn watch_space(&mut self) {
        self.take_settings();
        let space = match self.files.disk().space(&self.data_dir) {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "cannot ask how full the disk is");
                return;
            }
        };
        let (used, warning) = (space.used_percent(), self.retention.disk_warning_percent);
        let closed = (used >= warning).then(|| {
            Closed::DiskFull(format!(
                "{} is {used} % full, sends are refused from {warning} % on (diskSpaceWarningLevelRatio), {} MiB are free. Free some room; sends go on without a restart",
                self.data_dir.display(),
                space.free >> 20
            ))
        });
        self.shared.with_core(|core, _| match (core.engine.closed(), &closed) {
            (None, Some(_)) => {
                tracing::error!(used, warning, "the disk is too full: sends are refused");
                core.engine.set_closed(closed);
            }
            (Some(Closed::DiskFull(_)), None) => {
                tracing::info!(used, "the disk has room again: sends are taken");
                core.engine.set_closed(None);
            }
            (Some(Closed::DiskFull(_)), Some(_)) => core.engine.set_closed(closed),
            _ => {}
        });
    }

    /// Retention may have been changed.
    fn take_settings(&mut self) {
        let settings = self.shared.with_core(|core, _| core.settings.clone());
        self.retention = settings::retention(&settings.now());
    }

    /// Deletes the oldest file if it has served its time. Says whether it did: then the disk is asked again
    /// how full it is before the next one goes. `any_hour`: not only at those of `deleteWhen`.
    fn delete_oldest(&mut self, any_hour: bool) -> Result<bool, Box<dyn std::error::Error>> {
        self.take_settings();
        let bases = self.files.bases();
        let [oldest, next, ..] = bases[..] else { return Ok(false) };
        let (oldest, next) = (PhysicalOffset(oldest), PhysicalOffset(next));
        // The file under the log's end and those behind it stay.
        let confirmed = self.shared.confirmed();
        if confirmed <= next || self.keeper.position() < next {
            return Ok(false);
        }
        let held = Held {
            begin: oldest,
            bytes: self.files.file_size(),
            last_time: self.keeper.last_time(next)?,
            finished: true,
        };
        let space = self.files.disk().space(&self.data_dir)?;
        let now = self.shared.clock.now_ms();
        let mut retention = self.retention;
        if any_hour {
            retention.hours = retention::ANY_HOUR;
        }
        let fates = retention::plan(&[held], confirmed, now, &retention, space);
        let [Fate::Deleted { at, reason, expired }] = fates[..] else { return Ok(false) };
        if at > now {
            return Ok(false);
        }
        let contents = retention::contents(&self.keeper.blocks, Origin::file(oldest), next)?;
        let shared = self.shared.clone();
        if !self.keeper.retire(next, &mut engine_of(&shared))? {
            return Ok(false);
        }
        let deleted = self.files.delete(oldest.0)?;
        self.dying = Some((deleted, confirmed));
        self.tell_deleted(oldest, reason, expired, &contents.messages);
        self.keeper.remove_blocks(next)?;
        Ok(true)
    }

    /// Gives back some room of the file that was deleted last, and says how long the disk is left to others
    /// then: several times as long as that took, unless the log grows as fast as the file shrinks.
    fn shrink(&mut self) -> Option<Duration> {
        let (deleted, end) = self.dying.as_mut()?;
        let begin = Instant::now();
        match deleted.shrink() {
            Ok(true) => {
                let before = std::mem::replace(end, self.shared.confirmed());
                let keeps_up = end.0 - before.0 < DELETE_STEP;
                let pause = if keeps_up { begin.elapsed() * DELETE_PAUSES } else { Duration::ZERO };
                return Some(pause.min(DELETE_PAUSE_MAX));
            }
            Ok(false) => {}
            // All of it is given back when it is closed.
            Err(error) => tracing::warn!(%error, "a deleted log file cannot be shrunk"),
        }
        self.dying = None;
        Some(Duration::ZERO)
    }

    /// Says what went with a file: in the server's log, and in the metrics.
    fn tell_deleted(
        &self,
        file: PhysicalOffset,
        reason: Reason,
        expired: bool,
        messages: &BTreeMap<String, u64>,
    ) {
        let (file, why, topics) = (file.0, reason.name(), Concerned::new(messages));
        let count = topics.messages();
        if expired {
            tracing::info!(file, why, messages = count, %topics, "an old log file is deleted");
        } else {
            tracing::warn!(file, why, messages = count, %topics, "a log file is deleted before fileReservedTime: its messages are gone");
        }
        let counters = &self.shared.counters;
        counters.deleted_files[reason as usize].fetch_add(1, Ordering::Relaxed);
        counters.deleted_messages[reason as usize].fetch_add(count, Ordering::Relaxed);
        if expired {
            return;
        }
        let topics: Vec<_> = messages.iter().collect();
        for topics in topics.chunks(KEEPER_STEP) {
            self.shared.with_core(|core, _| {
                for (topic, messages) in topics {
                    core.engine.state.count_deleted_early(topic, **messages);
                }
            });
        }
    }
}

fn report(lost: &[Lost]) {
    for lost in lost {
        tracing::error!("lost to damage on the disk: {lost}");
    }
}

/// The engine's state, for a moment at a time.
fn engine_of(shared: &Shared) -> impl FnMut(&mut dyn FnMut(&mut State)) {
    |work| shared.with_core(|core, _| work(&mut core.engine.state))
}
