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
use kerolox_log::index::block::{BlockError, Link, NewBlock, NewQueue};
use kerolox_log::index::build::{self, Older as OlderOf};
use kerolox_log::index::lookup::{AskError, Blocks};
use kerolox_log::index::queue::Older;
use kerolox_log::recover::{self, Lost, Origin};
use kerolox_log::snapshot::{self, Snapshot};

use crate::change::deleted_topic;
use crate::config::Config;
use crate::limits::{KEEPER_STEP, SNAPSHOT_AFTER};
use crate::state::State;

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
    Newer(BlockError),
    #[error("no snapshot holds the state before the oldest file; nothing is deleted")]
    NoState,
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> KeeperError {
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

impl Keeper {
    /// Takes over the newest snapshot and the blocks behind it. Where none is, a block is made of
    /// each proven stretch, so that what is in memory does not grow with the log.
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
        let (snapshot, mut oddities) = snapshot::read_newest(&**files.disk(), &data_dir, &identity)
            .map_err(failed("reading the snapshots"))?;
        let first = files.first().unwrap_or_default();
        if snapshot.is_none() && first.0 > 0 {
            oddities.push(
                "no snapshot holds the state before the oldest file: settings, offsets and delays of before are lost, topics get default settings".to_owned(),
            );
        }
        let mut found = Keeper::begin(files, data_dir, identity, config, snapshot)?;
        found.oddities.append(&mut oddities);
        // What cannot be made the walk keeps in memory; housekeeping tries it again, and says so. If
        // the log itself is the reason the walk finds that, too.
        let _unmade = found.take_over_blocks(watch)?;
        let Found { keeper, state, .. } = &mut found;
        // Files may have been deleted while nobody looked, or half-way.
        keeper.retire_blocks(first, &mut |work: &mut dyn FnMut(&mut State)| work(state))?;
        keeper.remove_blocks(first)?;
        Ok(found)
    }

    /// Makes all index blocks anew, of all that is proven, from the first log file on.
    pub fn rebuild(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        config: &Config,
        watch: &mut dyn Watch,
    ) -> Result<Found, KeeperError> {
        let mut found = Keeper::begin(files, data_dir, identity, config, None)?;
        let blocks = found.keeper.blocks.clone();
        for begin in blocks.begins() {
            blocks.remove(begin).map_err(failed("removing an index block"))?;
        }
        match found.take_over_blocks(watch)? {
            Some(unmade) => Err(unmade),
            None => Ok(found),
        }
    }

    fn begin(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        config: &Config,
        snapshot: Option<Snapshot>,
    ) -> Result<Found, KeeperError> {
        let next = Origin::file(files.first().unwrap_or_default());
        let blocks = Blocks::open(files, data_dir.clone(), identity, deleted_topic)
            .map_err(failed("opening the index"))?;
        let mut state = State::new(config);
        let mut keeper = Keeper {
            blocks: Arc::new(blocks),
            identity,
            data_dir,
            config: config.clone(),
            next,
            since_snapshot: 0,
            snapshot_bytes: 0,
            stuck_at: None,
        };
        if let Some(snapshot) = snapshot {
            state.restore(&snapshot.state);
            (keeper.next, keeper.snapshot_bytes) = (snapshot.origin, snapshot.state.len());
        }
        Ok(Found { keeper, state, origin: None, oddities: Vec::new() })
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
        if self.since_snapshot > SNAPSHOT_AFTER.max(self.snapshot_bytes) {
            self.write_snapshot(PhysicalOffset(0))?;
        }
        Ok(Some(new.lost))
    }

    /// Makes the block of the next stretch at a start, if that is finished and proven: `state` is as
    /// before it.
    fn make_block(
        &mut self,
        state: &mut State,
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
        // Before it is written: the next start does not walk there any more.
        watch.lost(&new.lost);
        if !new.lost.is_empty() {
            // Blocks behind it may have been led to places that are others now.
            self.blocks.forget_from(self.next.position.plus(1));
        }
        let mut engine = |work: &mut dyn FnMut(&mut State)| work(state);
        self.write_block(new, &mut engine)?;
        Ok(true)
    }

    /// Leads the queues of a stretch back to their older blocks, and writes its own.
    fn write_block(
        &self,
        new: NewBlock,
        engine: &mut impl WithState,
    ) -> Result<NewBlock, KeeperError> {
        let (mut older, unknown) = older(&new, engine);
        if !unknown.queues.is_empty() {
            older.append(&mut self.blocks.ask(|blocks| blocks.older(&unknown))?);
        }
        let new = self.blocks.ask(|blocks| {
            let mut led = new.clone();
            blocks.lead_back(&mut led, &older)?;
            Ok(led)
        })?;
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
            // Without it the queues' begins are found by whoever looks.
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
    /// then say; without the messages below `retired`.
    fn write_snapshot(&mut self, retired: PhysicalOffset) -> Result<(), KeeperError> {
        let disk = self.blocks.files().disk().clone();
        let (last, _) = snapshot::read_newest(&*disk, &self.data_dir, &self.identity)
            .map_err(failed("reading the snapshots"))?;
        let mut state = State::new(&self.config);
        let mut position = match last {
            Some(last) => {
                state.restore(&last.state);
                last.origin.position
            }
            None => PhysicalOffset(0),
        };
        while position < self.next.position {
            let readable = self.blocks.ask(|blocks| {
                let mut block = blocks.block(position.0)?;
                block.directory()?;
                block.changes().map(drop)
            });
            readable.map_err(|_| KeeperError::NoState)?;
            let mut block = self.blocks.block(position.0).map_err(AskError::from)?;
            state.restore_block(&mut block).map_err(AskError::from)?;
            position = PhysicalOffset(block.head.end);
        }
        self.retire_blocks(retired, &mut |work: &mut dyn FnMut(&mut State)| work(&mut state))?;
        let snapshot = Snapshot { origin: self.next, state: state.dump() };
        snapshot::write(&*disk, &self.data_dir, &self.identity, &snapshot)
            .map_err(failed("writing a snapshot"))?;
        (self.since_snapshot, self.snapshot_bytes) = (0, snapshot.state.len());
        Ok(())
    }
}

impl Found {
    /// Goes from block to block, and makes those that are not there or cannot be used, as long as
    /// the log has proven stretches; says where the walk begins then. Returns why the last one could
    /// not be made.
    fn take_over_blocks(
        &mut self,
        watch: &mut dyn Watch,
    ) -> Result<Option<KeeperError>, KeeperError> {
        let Found { keeper, state, origin, oddities } = self;
        let files = keeper.blocks.files().clone();
        let first = files.first().unwrap_or_default();
        let end = files.bases().last().map_or(0, |last| last + files.file_size());
        let (mut made, mut unmade) = (None, None);
        loop {
            let position = keeper.next.position;
            let restored = keeper.blocks.block(position.0).and_then(|mut block| {
                state.restore_block(&mut block)?;
                Ok((block.head.origin(), block.head.state_bytes()))
            });
            match restored {
                Ok((origin, bytes)) => {
                    keeper.next = origin;
                    keeper.since_snapshot += bytes;
                    continue;
                }
                Err(newer @ BlockError::Newer(_)) => return Err(KeeperError::Newer(newer)),
                Err(BlockError::Missing(_)) => {}
                Err(bad) => oddities.push(format!("{bad}: it is made again from the log")),
            }
            if position < first {
                oddities.push(format!(
                    "the log begins at {first}, but the state ends at {position}: what stood between is lost"
                ));
                keeper.blocks.forget_from(position);
                keeper.next = Origin { position: first, before: None, ..keeper.next };
                continue;
            }
            watch.progress(position.0 - first.0, end.saturating_sub(first.0));
            // One that was just made and cannot be read is left to the walk.
            if made.replace(position) == Some(position) {
                break;
            }
            match keeper.make_block(state, watch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    unmade = Some(error);
                    break;
                }
            }
        }
        keeper.blocks.forget_from(keeper.next.position);
        oddities.extend(holes(&files, keeper.next.position));
        *origin = Some(keeper.next);
        Ok(unmade)
    }
}

/// Log files before a position that are not there: nobody walks them, so somebody must look.
fn holes(files: &Files, until: PhysicalOffset) -> Vec<String> {
    let Some(first) = files.first() else { return Vec::new() };
    let size = files.file_size();
    let bases = (first.0..until.0).step_by(usize::try_from(size).unwrap_or(usize::MAX));
    let missing = bases.filter(|base| files.at(PhysicalOffset(*base)).is_none());
    let lost = |base| {
        format!(
            "lost to damage on the disk: the log file {base:020} is not there, its messages cannot be read"
        )
    };
    missing.map(lost).collect()
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
