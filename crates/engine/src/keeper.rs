//! Index blocks and snapshots: what keeps memory, start and the log's size within bounds.
//!
//! In: how far the log is synced; which files are to be deleted. Out: a block for each finished
//! stretch ([`kerolox_log::index`]), snapshots of the state, and a state at a start. Runs on
//! housekeeping; the engine is asked for a moment at a time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kerolox_log::PhysicalOffset;
use kerolox_log::files::Files;
use kerolox_log::identity::Identity;
use kerolox_log::index::block::{Link, NewBlock, NewQueue};
use kerolox_log::index::build::{self, Older as OlderOf};
use kerolox_log::index::lookup::{AskError, Blocks};
use kerolox_log::index::queue::Older;
use kerolox_log::recover::{self, Lost, Origin};
use kerolox_log::snapshot::{self, Put};

use crate::change::deleted_topic;
use crate::config::Config;
use crate::limits::{KEEPER_STEP, SNAPSHOT_AFTER, SNAPSHOT_PART};
use crate::lost_delays::LostDelays;
use crate::state::{Part, State};
use crate::takeover::Takeover;

/// See the module's documentation.
pub struct Keeper {
    pub blocks: Arc<Blocks>,
    identity: Identity,
    data_dir: PathBuf,
    config: Config,
    /// Where the next stretch begins.
    next: Origin,
    /// Bytes of directories and state changes in blocks since the last snapshot, and its size.
    since_snapshot: usize,
    snapshot_bytes: usize,
    /// From how many such bytes on one is written.
    pub snapshot_after: usize,
    /// Bytes of a snapshot whose state is in memory at once while it is made.
    pub snapshot_part: usize,
    /// The stretch could not be read whole when this much was synced.
    stuck_at: Option<PhysicalOffset>,
}

/// What a start finds before it walks the log.
pub struct Found {
    pub keeper: Keeper,
    pub state: State,
    /// Where the walk begins.
    pub origin: Option<Origin>,
    /// What could not be used, or is gone.
    pub oddities: Vec<String>,
}

/// Why a start or a step failed.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("the data directory was written by a newer release: {0}")]
    Newer(String),
    #[error("snapshots and index blocks do not tell the state; nothing is deleted")]
    NoState,
}

pub(crate) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> KeeperError {
    move |source| KeeperError::Io { what, source }
}

/// Runs something on the engine's state, between turns.
pub trait WithState {
    fn with_state(&mut self, work: &mut dyn FnMut(&mut State));
}

impl<F: FnMut(&mut dyn FnMut(&mut State))> WithState for F {
    fn with_state(&mut self, work: &mut dyn FnMut(&mut State)) {
        self(work);
    }
}

/// Is told how a start goes.
pub trait Watch {
    /// How far it is, in bytes of the log.
    fn progress(&mut self, done: u64, total: u64) {
        let _ = (done, total);
    }
    /// What is damaged of a stretch of which a block is made now: it is told once.
    fn lost(&mut self, lost: &[Lost]) {
        let _ = lost;
    }
}

/// Nobody.
impl Watch for () {}

/// Whether a block is made of a damaged stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    Too,
    /// Who walks there knows more of what is left.
    Not,
}

impl Keeper {
    /// Takes over the newest snapshot and the blocks behind it. Where none is, a block is made of
    /// each proven stretch up to the first that is damaged, so that what is in memory does not grow
    /// with the log.
    pub fn open(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        config: &Config,
    ) -> Result<Found, KeeperError> {
        Keeper::open_watched(files, data_dir, identity, config, &mut ())
    }

    /// As [`Keeper::open`], and tells how it goes.
    pub fn open_watched(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        config: &Config,
        watch: &mut dyn Watch,
    ) -> Result<Found, KeeperError> {
        let blocks = Blocks::open(files, data_dir.clone(), identity, deleted_topic)
            .map_err(failed("opening the index"))?;
        let until = PhysicalOffset(u64::MAX);
        let mut found = Takeover::run(&blocks, &data_dir, &identity, config, until, Part::ALL)?;
        let lost = blocks.take_lost();
        let lost = lost.into_iter().map(|lost| format!("lost to damage on the disk: {lost}"));
        found.oddities.extend(lost);
        let (mut keeper, mut found) = Keeper::begin(blocks, data_dir, identity, config, found);
        // What cannot be made the walk keeps in memory; housekeeping tries it again, and says so. If
        // the log itself is the reason the walk finds that, too.
        if found.stopped_by.is_none() {
            let _unmade = keeper.make_missing(&mut found, Damaged::Not, watch);
        }
        Ok(keeper.ready(found))
    }

    /// Makes all index blocks anew, of all that is proven, from the first log file on.
    pub fn rebuild(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        config: &Config,
        watch: &mut dyn Watch,
    ) -> Result<Found, KeeperError> {
        let blocks = Blocks::open(files, data_dir.clone(), identity, deleted_topic)
            .map_err(failed("opening the index"))?;
        for begin in blocks.begins() {
            blocks.remove(begin).map_err(failed("removing an index block"))?;
        }
        let found = Takeover::nothing(&blocks, config);
        let (mut keeper, mut found) = Keeper::begin(blocks, data_dir, identity, config, found);
        keeper.make_missing(&mut found, Damaged::Too, watch)?;
        Ok(keeper.ready(found))
    }

    /// A keeper behind what was found, in a log file that is there.
    fn begin(
        blocks: Blocks,
        data_dir: PathBuf,
        identity: Identity,
        config: &Config,
        mut found: Takeover,
    ) -> (Keeper, Takeover) {
        found.begin_in_log(blocks.files());
        blocks.reach_to(found.next.position);
        let keeper = Keeper {
            blocks: Arc::new(blocks),
            identity,
            data_dir,
            config: config.clone(),
            next: found.next,
            since_snapshot: 0,
            snapshot_bytes: 0,
            snapshot_after: SNAPSHOT_AFTER,
            snapshot_part: SNAPSHOT_PART,
            stuck_at: None,
        };
        (keeper, found)
    }

    fn ready(mut self, mut found: Takeover) -> Found {
        found.tell_holes(self.blocks.files());
        let Takeover { state, next, since_snapshot, snapshot_bytes, oddities, .. } = found;
        self.blocks.reach_to(next.position);
        (self.next, self.since_snapshot, self.snapshot_bytes) =
            (next, since_snapshot, snapshot_bytes);
        Found { keeper: self, state, origin: Some(next), oddities }
    }

    /// Makes the blocks that are not there, as long as the log has proven stretches.
    fn make_missing(
        &mut self,
        found: &mut Takeover,
        damaged: Damaged,
        watch: &mut dyn Watch,
    ) -> Result<(), KeeperError> {
        let files = self.blocks.files().clone();
        let first = files.first().unwrap_or_default();
        let end = files.bases().last().map_or(0, |last| last + files.file_size());
        loop {
            let position = found.next.position;
            self.next = found.next;
            watch.progress(position.0 - first.0, end.saturating_sub(first.0));
            if !self.make_block(&mut found.state, damaged, watch)? {
                return Ok(());
            }
            found.add(&self.blocks, position).map_err(AskError::from)?;
        }
    }

    /// After the walk: log files may have been deleted while nobody looked, or half-way. Their messages
    /// are no longer in the queues. Returns the delayed ones that were still to be delivered.
    pub fn settle(&mut self, state: &mut State) -> Result<LostDelays, KeeperError> {
        let first = self.blocks.files().first().unwrap_or_default();
        self.retire_blocks(first, &mut |work: &mut dyn FnMut(&mut State)| work(&mut *state))?;
        let lost = LostDelays::find(&self.blocks, first, state, &self.config.delay_levels_ms);
        if self.blocks.begins().first().is_some_and(|begin| *begin < first.0) {
            // What these blocks say of settings and offsets is said nowhere else.
            self.write_snapshot(first)?;
        }
        self.remove_blocks(first)?;
        Ok(lost)
    }

    /// Where the next stretch begins: what lies before it is in blocks.
    pub fn position(&self) -> PhysicalOffset {
        self.next.position
    }

    /// Makes the block of the next stretch, if that is finished and synced. Returns whether it did,
    /// and what of the stretch is damaged.
    pub fn advance(
        &mut self,
        synced: PhysicalOffset,
        engine: &mut impl WithState,
    ) -> Result<Option<Vec<Lost>>, KeeperError> {
        let wanted = build::stretch_end(self.blocks.files(), self.next.position);
        if synced < wanted
            || self.stuck_at.is_some_and(|at| synced < at.plus(SNAPSHOT_AFTER as u64))
        {
            return Ok(None);
        }
        let new = self.blocks.collect(self.next).map_err(AskError::from)?;
        if new.end < wanted.0 || new.end > synced.0 {
            self.stuck_at = Some(synced);
            return Ok(None);
        }
        self.stuck_at = None;
        let new = self.write_block(new, engine)?;
        adopt(&new, engine);
        self.next = new.origin();
        self.since_snapshot += new.state_bytes();
        if self.since_snapshot > self.snapshot_after.max(self.snapshot_bytes) {
            self.write_snapshot(PhysicalOffset(0))?;
        }
        Ok(Some(new.lost))
    }

    /// Makes the block of the next stretch at a start, if that is finished and proven: `state` is as
    /// before it.
    fn make_block(
        &mut self,
        state: &mut State,
        damaged: Damaged,
        watch: &mut dyn Watch,
    ) -> Result<bool, KeeperError> {
        let files = self.blocks.files();
        let wanted = build::stretch_end(files, self.next.position);
        let proven = |end| recover::is_proven(files, &self.identity, end);
        if !proven(wanted).map_err(AskError::from)? {
            return Ok(false);
        }
        let new = self.blocks.collect(self.next).map_err(AskError::from)?;
        let end = PhysicalOffset(new.end);
        if end < wanted || !proven(end).map_err(AskError::from)? {
            return Ok(false);
        }
        if damaged == Damaged::Not && !new.lost.is_empty() {
            return Ok(false);
        }
        // Before it is written: the next start does not walk there any more.
        watch.lost(&new.lost);
        let mut engine = |work: &mut dyn FnMut(&mut State)| work(state);
        self.write_block(new, &mut engine)?;
        Ok(true)
    }

    /// Leads the queues of a stretch back to their older blocks, and writes its own.
    fn write_block(
        &self,
        mut new: NewBlock,
        engine: &mut impl WithState,
    ) -> Result<NewBlock, KeeperError> {
        let (mut older, unknown) = older(&new, engine);
        if !unknown.queues.is_empty() {
            older.append(&mut self.blocks.ask(|blocks| blocks.older(&unknown))?);
        }
        self.blocks.ask(|blocks| blocks.lead_back(&mut new, &older))?;
        self.blocks.add(&new).map_err(failed("writing an index block"))?;
        Ok(new)
    }

    /// When the last record before a position was stored, in ms, by the index block that ends there.
    pub fn last_time(&self, before: PhysicalOffset) -> Result<i64, KeeperError> {
        let begins = self.blocks.begins();
        let below = begins.partition_point(|begin| *begin < before.0);
        let Some(begin) = below.checked_sub(1).map(|last| begins[last]) else { return Ok(0) };
        let head = self.blocks.ask(|blocks| Ok(blocks.block(begin)?.head))?;
        Ok(head.store_timestamp)
    }

    /// Prepares for the deletion of all log files below `next`. False if that must wait until the
    /// stretches before it are in blocks.
    pub fn retire(
        &mut self,
        next: PhysicalOffset,
        engine: &mut impl WithState,
    ) -> Result<bool, KeeperError> {
        if self.next.position < next {
            return Ok(false);
        }
        // What the blocks say is needed once more, and the log behind it is still there.
        self.blocks.ask(|blocks| blocks.check_directories(next))?;
        // Also for where the queues begin then: nothing else tells a start.
        self.write_snapshot(next)?;
        self.retire_blocks(next, engine)?;
        Ok(true)
    }

    /// The queues begin behind the blocks below a position.
    fn retire_blocks(
        &self,
        below: PhysicalOffset,
        engine: &mut impl WithState,
    ) -> Result<(), KeeperError> {
        for begin in self.blocks.begins().into_iter().take_while(|begin| *begin < below.0) {
            let directory = self.blocks.block(begin).and_then(|mut block| {
                let end = block.head.end;
                Ok((end, block.directory()?))
            });
            // Its log file is gone, too: a snapshot says where the queues begin.
            let Ok((end, directory)) = directory else { continue };
            for rows in directory.chunks(KEEPER_STEP) {
                engine.with_state(&mut |state| {
                    for (topic, row) in rows {
                        state.raise_min(topic, row.queue, row.end(), end);
                    }
                });
            }
        }
        Ok(())
    }

    /// Removes the blocks below a position: their log files are gone.
    pub fn remove_blocks(&mut self, below: PhysicalOffset) -> Result<(), KeeperError> {
        for begin in self.blocks.begins().into_iter().take_while(|begin| *begin < below.0) {
            self.blocks.remove(begin).map_err(failed("removing an index block"))?;
        }
        Ok(())
    }

    /// Writes the state at the end of the last block: the last snapshot, and what the blocks since
    /// then say; without the messages below `retired`. A part at a time, so that a large state is not
    /// in memory twice.
    fn write_snapshot(&mut self, retired: PhysicalOffset) -> Result<(), KeeperError> {
        let disk = self.blocks.files().disk().clone();
        let bytes = self.snapshot_bytes.max(self.since_snapshot);
        let of = (bytes / self.snapshot_part + 1) as u32;
        let mut unknown = None;
        let dump = |put: &mut Put<'_>| {
            (0..of).try_for_each(|index| match self.known_state(Part { index, of }, retired) {
                Ok(state) => state.dump(put),
                Err(why) => {
                    unknown = Some(why);
                    Err(io::ErrorKind::Other.into())
                }
            })
        };
        // Where the log before is about to go, one snapshot is not enough.
        let copies = if retired.0 > 0 { 2 } else { 1 };
        let (dir, identity) = (&self.data_dir, &self.identity);
        let written = snapshot::write(&*disk, dir, identity, &self.next, copies, dump);
        if let Some(why) = unknown {
            return Err(why);
        }
        let size = written.map_err(failed("writing a snapshot"))?;
        (self.since_snapshot, self.snapshot_bytes) = (0, size as usize);
        Ok(())
    }

    /// A part of the state at the end of the last block, without the messages below `retired`.
    fn known_state(&self, part: Part, retired: PhysicalOffset) -> Result<State, KeeperError> {
        let (blocks, dir, until) = (&self.blocks, &self.data_dir, self.next.position);
        let found = Takeover::run(blocks, dir, &self.identity, &self.config, until, part)?;
        // Where log files were deleted, the blocks alone do not tell the state; unless it was lost before.
        let all_is_there = blocks.files().first() == Some(PhysicalOffset(0));
        let is_known = all_is_there || found.snapshot_bytes > 0 || self.snapshot_bytes == 0;
        if found.next.position != until || !is_known {
            return Err(found.stopped_by.map_or(KeeperError::NoState, KeeperError::Ask));
        }
        let mut state = found.state;
        self.retire_blocks(retired, &mut |work: &mut dyn FnMut(&mut State)| work(&mut state))?;
        Ok(state)
    }
}

/// Asks the engine where the older entries of a block's queues are; and of which queues it does not
/// know.
fn older(new: &NewBlock, engine: &mut impl WithState) -> (OlderOf, NewBlock) {
    let mut older = OlderOf::new();
    let mut unknown = NewBlock { begin: new.begin, ..NewBlock::default() };
    let queues: Vec<&(String, i32)> = new.queues.keys().collect();
    for queues in queues.chunks(KEEPER_STEP) {
        engine.with_state(&mut |state| {
            for at in queues {
                match state.older(&at.0, at.1, new.begin) {
                    // A queue that begins here has nothing older.
                    _ if new.queues[*at].first == 0 => {}
                    Some(Some(found)) => drop(older.insert((*at).clone(), found)),
                    Some(None) => {}
                    None => {
                        let NewQueue { first, .. } = new.queues[*at];
                        let queue = NewQueue { first, ..NewQueue::default() };
                        unknown.queues.insert((*at).clone(), queue);
                    }
                }
            }
        });
    }
    (older, unknown)
}

/// Tells the engine that a block holds its entries now.
fn adopt(new: &NewBlock, engine: &mut impl WithState) {
    let rows: Vec<_> = (0..).zip(&new.queues).collect();
    for rows in rows.chunks(KEEPER_STEP) {
        engine.with_state(&mut |state| {
            for (slot, ((topic, queue), entries)) in rows {
                let link = Link { block: new.begin, slot: *slot, ordinal: entries.ordinal };
                let last_time = entries.entries.last().map_or(0, |entry| entry.store_timestamp);
                let older = Older { link, last_time };
                state.adopt(topic, *queue, entries.end(), older, new.end);
            }
        });
    }
    engine.with_state(&mut |state| state.keys.trim(PhysicalOffset(new.end)));
}
