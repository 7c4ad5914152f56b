//! Look-ups in index blocks: by queue offset, by time, by key, by tag.
//!
//! In: where a queue's newest block is, and what is asked for. Out: entries. Each look-up follows
//! the rows of its queue from block to block and reads a few pages of each. Runs on disk readers
//! and housekeeping, never in a turn.

mod tags;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::PhysicalOffset;
use crate::disk::{remove_temporary, write_whole};
use crate::files::Files;
use crate::identity::Identity;
use crate::index::ahead::Ahead;
use crate::index::block::{
    self, Back, BlockError, BlockFile, Chain, Link, NewBlock, NewQueue, Row,
};
use crate::index::build::{self, DeletedTopic, Older};
use crate::index::queue::{Entry, Seek};
use crate::limits::{
    BLOCKS_OPEN_MAX, ENTRIES_AHEAD, KEY_BLOCKS_MAX, QUEUES_AHEAD_MAX, READ_CHUNKS_MAX,
};
use crate::read::Recent;
use crate::recover::{LOST_MAX, Lost, Origin, RecoverError};
use crate::rules::{self, Rule};
use crate::seal;

pub use tags::{Effort, Tagged, TaggedFound};

/// All blocks of a log.
pub struct Blocks {
    files: Arc<Files>,
    dir: PathBuf,
    identity: Identity,
    deleted: DeletedTopic,
    begins: RwLock<BTreeSet<u64>>,
    /// A block holds whatever lies below in a log file; if there is none, it was lost. Not known
    /// before [`Blocks::reach_to`].
    until: AtomicU64,
    lost: Mutex<Vec<Lost>>,
    reads: AtomicU64,
    mended: AtomicU64,
    /// Held while a block is made again.
    mending: Mutex<()>,
    ahead: Ahead,
    /// For who reads the log where the entries lead.
    pub recent: Recent,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Why the blocks give no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("an index block cannot be made again from the log: {0}")]
    Log(#[from] RecoverError),
}

impl AskError {
    /// The operating system's error behind this one, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            AskError::Block(BlockError::Io(_, source)) => Some(source),
            AskError::Block(_) => None,
            AskError::Log(why) => why.io(),
        }
    }
}

/// Blocks that one look-up opens at most for more entries: a sparse queue has few in each.
const BLOCKS_MAX: usize = 64;

/// A queue of a topic.
#[derive(Clone, Copy)]
struct Of<'a> {
    topic: &'a str,
    queue: i32,
    /// Position of its first message.
    origin: u64,
}

impl<'a> Of<'a> {
    fn new((topic, queue): (&'a str, i32), origin: u64) -> Of<'a> {
        Of { topic, queue, origin }
    }

    /// The queue's row in a block, found by its name. `None`, too, if that is the row of an earlier
    /// topic of this name: damage may have taken what was made later.
    fn find(&self, block: &mut BlockFile<'_>) -> Result<Option<(u32, Row)>, BlockError> {
        if block.head.end <= self.origin {
            return Ok(None);
        }
        let found = block.find(self.topic, self.queue)?;
        if let Some((_, row)) = &found
            && block.head.begin <= self.origin
        {
            let last = block.entries(row, row.end().saturating_sub(1), 1)?;
            let earlier = last.first().is_none_or(|last| last.place.offset.0 < self.origin);
            return Ok(found.filter(|_| !earlier));
        }
        Ok(found)
    }

    /// The row that a link leads to; `None` if this is not the block that the link was made for, and
    /// does not hold the queue.
    fn linked(
        &self,
        block: &mut BlockFile<'_>,
        slot: u32,
    ) -> Result<Option<(u32, Row)>, BlockError> {
        // A block that was made again may lead to one of an earlier topic.
        if block.head.end <= self.origin {
            return Ok(None);
        }
        if block.head.again && rules::holds(Rule::LinkByName) {
            return self.find(block);
        }
        Ok(Some((slot, block.row(slot)?)))
    }
}

impl Blocks {
    /// Finds the blocks in `data_dir/blocks`, which is made if it is not there. `deleted`: which
    /// topic a state change deletes.
    pub fn open(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        deleted: DeletedTopic,
    ) -> io::Result<Blocks> {
        let disk = files.disk().clone();
        let dir = block::folder(&*disk, &data_dir)?;
        remove_temporary(&*disk, &dir)?;
        let names = disk.list(&dir)?.into_iter().map(|entry| entry.name);
        let begins = names
            .filter(|name| block::is_name(name))
            .filter_map(|name| name.parse().ok())
            .collect();
        Ok(Blocks {
            files,
            dir,
            identity,
            deleted,
            begins: RwLock::new(begins),
            until: AtomicU64::new(u64::MAX),
            lost: Mutex::default(),
            reads: AtomicU64::new(0),
            mended: AtomicU64::new(0),
            mending: Mutex::default(),
            ahead: Ahead::new(QUEUES_AHEAD_MAX),
            recent: Recent::new(READ_CHUNKS_MAX),
        })
    }

    /// The log's files.
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// Blocks that were made again because they were lost or damaged.
    pub fn mended(&self) -> u64 {
        self.mended.load(Ordering::Relaxed)
    }

    /// Reads the stretch that begins at `origin` for a block.
    pub fn collect(&self, origin: Origin) -> Result<NewBlock, RecoverError> {
        build::collect(&self.files, &self.identity, origin, self.deleted)
    }

    /// Asks the blocks. One that is lost or damaged is made again from the log, and they are asked
    /// once more.
    pub fn ask<T>(
        &self,
        mut question: impl FnMut(&Blocks) -> Result<T, BlockError>,
    ) -> Result<T, AskError> {
        let mut mended = BTreeSet::new();
        loop {
            let mut bad = match question(self) {
                Err(BlockError::Damaged(begin) | BlockError::Missing(begin))
                    if mended.insert(begin) =>
                {
                    vec![begin]
                }
                answer => return Ok(answer?),
            };
            while let Some(begin) = bad.last() {
                match self.mend(*begin) {
                    // An older one to which it leads is bad, too.
                    Err(AskError::Block(
                        BlockError::Damaged(older) | BlockError::Missing(older),
                    )) if mended.insert(older) => {
                        bad.push(older);
                    }
                    done => {
                        done?;
                        bad.pop();
                    }
                }
            }
        }
    }

    /// What of the stretches of blocks that were made again is damaged, since the last question.
    pub fn take_lost(&self) -> Vec<Lost> {
        std::mem::take(&mut self.lost.lock())
    }

    /// Makes a block again, and those before it in its file that are not there.
    fn mend(&self, begin: u64) -> Result<(), AskError> {
        let _one_at_a_time = self.mending.lock();
        // Somebody else may have done it meanwhile. What is deleted is not made again.
        if begin < self.first() || self.is_whole(begin) {
            return Ok(());
        }
        let file = begin - begin % self.files.file_size();
        let mut origin = Origin {
            position: PhysicalOffset(file),
            before: (file == 0).then_some(seal::Link::NONE),
            start: 0,
            store_timestamp: 0,
        };
        while origin.position.0 < begin {
            match self.block(origin.position.0).map(|block| block.head) {
                Ok(head) => origin = head.origin(),
                Err(_) => origin = self.make(origin)?,
            }
        }
        if origin.position.0 > begin {
            // Damage to the log lies between: what the first seal says is taken.
            origin = Origin { position: PhysicalOffset(begin), before: None, ..origin };
        }
        self.make(origin)?;
        Ok(())
    }

    fn make(&self, origin: Origin) -> Result<Origin, AskError> {
        let mut new = self.collect(origin)?;
        if new.end < build::stretch_end(&self.files, origin.position).0 {
            // The log ends before.
            return Err(BlockError::Damaged(new.begin).into());
        }
        new.again = true;
        let older = self.older(&new)?;
        self.lead_back(&mut new, &older)?;
        self.add(&new).map_err(|e| BlockError::Io(new.begin, e))?;
        self.mended.fetch_add(1, Ordering::Relaxed);
        let mut lost = self.lost.lock();
        let room = LOST_MAX.saturating_sub(lost.len());
        lost.extend(new.lost.iter().take(room).cloned());
        Ok(new.origin())
    }

    fn is_whole(&self, begin: u64) -> bool {
        self.block(begin).and_then(|mut block| block.check()).is_ok()
    }

    /// Reads of the disk so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Where the blocks' stretches begin.
    pub fn begins(&self) -> Vec<u64> {
        self.begins.read().iter().copied().collect()
    }

    /// Where the first block behind a position begins.
    pub fn next_begin(&self, position: u64) -> Option<u64> {
        self.begins.read().range(position.saturating_add(1)..).next().copied()
    }

    /// Reads the directories of all blocks below a position, of which the log is there.
    pub fn check_directories(&self, below: PhysicalOffset) -> Result<(), BlockError> {
        self.below(below.0).try_for_each(|block| block?.directory().map(drop))
    }

    /// What lies before is deleted.
    fn first(&self) -> u64 {
        self.files.first().map_or(u64::MAX, |first| first.0)
    }

    /// Opens a block.
    pub fn block(&self, begin: u64) -> Result<BlockFile<'_>, BlockError> {
        let is_known = || self.begins.read().contains(&begin);
        if !is_known() {
            return Err(BlockError::Missing(begin));
        }
        let (disk, number) = (&**self.files.disk(), &self.identity.number);
        match BlockFile::open(disk, &self.dir, number, begin, &self.reads) {
            // It is gone, but nobody deleted it.
            Err(BlockError::Missing(begin)) if is_known() => Err(BlockError::Damaged(begin)),
            block => block,
        }
    }

    /// The blocks below a position, the newest first.
    fn below(&self, position: u64) -> Below<'_> {
        let until = position.min(self.until.load(Ordering::Acquire));
        let begins = self.begins.read().range(..until).copied().collect();
        Below { blocks: self, begins, covered: until }
    }

    /// Writes a block: it is there completely or not at all.
    pub fn add(&self, new: &NewBlock) -> io::Result<()> {
        let bytes = new.encode(&self.identity.number);
        write_whole(&**self.files.disk(), &block::path(&self.dir, new.begin), &bytes)?;
        self.begins.write().insert(new.begin);
        let _ =
            self.until.compare_exchange(new.begin, new.end, Ordering::AcqRel, Ordering::Relaxed);
        Ok(())
    }

    /// Everything below a position is in blocks. Those from there on count as not there: what they
    /// cover is replayed, and they are made once more.
    pub fn reach_to(&self, position: PhysicalOffset) {
        self.begins.write().split_off(&position.0);
        self.until.store(position.0, Ordering::Release);
    }

    /// Deletes a block.
    pub fn remove(&self, begin: u64) -> io::Result<()> {
        self.begins.write().remove(&begin);
        let disk = self.files.disk();
        match disk.remove(&block::path(&self.dir, begin)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => disk.sync_dir(&self.dir),
        }
    }

    /// Leads each queue of a new block to its older ones; all of them, or none if that fails.
    pub fn lead_back(&self, new: &mut NewBlock, older: &Older) -> Result<(), BlockError> {
        let mut opened = Opened { blocks: self, open: BTreeMap::new() };
        // Of a topic that was deleted in the stretch its queues are those that were made behind that.
        let changes = block::split_changes(&new.changes).unwrap_or_default();
        let deleted = self.deleted_by(&changes);
        let lead = |(at, queue): (&(String, i32), &NewQueue)| match older.get(at) {
            Some(chain) if !deleted.contains(&*at.0) => {
                let of = Of::new((&at.0, at.1), chain.origin);
                let lead = self.lead(&mut opened, of, chain.newest)?;
                // Damage may have taken what tells that this is another topic of the same name.
                Ok(lead.filter(|lead| lead.end <= queue.first))
            }
            _ => Ok(None),
        };
        let leads: Vec<Option<Lead>> = new.queues.iter().map(lead).collect::<Result<_, _>>()?;
        for (queue, lead) in new.queues.values_mut().zip(leads) {
            if let Some(Lead { origin, end: _, ordinal, prev, jump }) = lead {
                (queue.origin, queue.ordinal) = (origin, ordinal);
                (queue.prev, queue.jump) = (Some(prev), Some(jump));
            }
        }
        Ok(())
    }

    fn lead<'a>(
        &'a self,
        opened: &mut Opened<'a>,
        of: Of<'_>,
        link: Link,
    ) -> Result<Option<Lead>, BlockError> {
        let (mut block, mut found) = (link.block, opened.row(of, link.block, link.slot)?);
        if found.is_none()
            && let Some((older, slot, row)) = self.find_below(of, link.block)?
        {
            // Damage took the queue from the block that the link was made for.
            (block, found) = (older.head.begin, Some((slot, row)));
        }
        // Without a row its stretch was deleted.
        let Some((slot, mut row)) = found else { return Ok(None) };
        let (end, ordinal) = (row.end(), row.ordinal + 1);
        let target = ordinal & (ordinal - 1);
        let mut jump = Back { block, slot, end: row.end(), last_time: row.last_time };
        while row.ordinal > target {
            let Some(further) = row.jump else { break };
            jump = further;
            match opened.row(of, further.block, further.slot)? {
                Some((_, older)) => row = older,
                None => break,
            }
        }
        Ok(Some(Lead { origin: of.origin, end, ordinal, prev: (block, slot), jump }))
    }

    /// The block that a link leads to, with the queue's row; where damage took that, an older one.
    fn linked(
        &self,
        of: Of<'_>,
        (begin, slot): (u64, u32),
    ) -> Result<Option<(BlockFile<'_>, Row)>, BlockError> {
        let mut block = match self.block(begin) {
            Err(BlockError::Missing(_)) if begin < self.first() => return Ok(None),
            block => block?,
        };
        if let Some((_, row)) = of.linked(&mut block, slot)? {
            return Ok(Some((block, row)));
        }
        Ok(self.find_below(of, begin)?.map(|(block, _, row)| (block, row)))
    }

    /// The newest block below a position that holds a queue.
    fn find_below(
        &self,
        of: Of<'_>,
        position: u64,
    ) -> Result<Option<(BlockFile<'_>, u32, Row)>, BlockError> {
        for block in self.below(position) {
            let mut block = block?;
            if block.head.end <= of.origin {
                break;
            }
            if let Some((slot, row)) = of.find(&mut block)? {
                return Ok(Some((block, slot, row)));
            }
        }
        Ok(None)
    }

    /// The row of a queue that holds the offset `wanted`, or the first one behind it, if damage took
    /// that. `None`: it was deleted, or is newer than all blocks.
    fn follow(
        &self,
        of: Of<'_>,
        link: Link,
        wanted: i64,
    ) -> Result<Option<(BlockFile<'_>, Row)>, BlockError> {
        let Some((mut block, mut row)) = self.linked(of, (link.block, link.slot))? else {
            return Ok(None);
        };
        if row.end() <= wanted {
            return Ok(None);
        }
        while row.first > wanted {
            let reaches = |row: &Row| row.end() > wanted;
            match self.step_back(of, &row, |jump| jump.end > wanted, reaches)? {
                Some(older) => (block, row) = older,
                None => break,
            }
        }
        Ok(Some((block, row)))
    }

    /// One step to an older row that `reaches` what is sought: by the jump, if that says so and what
    /// it leads to still does, else to the block before.
    fn step_back(
        &self,
        of: Of<'_>,
        row: &Row,
        may_jump: impl Fn(&Back) -> bool,
        reaches: impl Fn(&Row) -> bool,
    ) -> Result<Option<(BlockFile<'_>, Row)>, BlockError> {
        let jump = row.jump.filter(may_jump).map(|jump| (jump.block, jump.slot));
        for target in [jump, row.prev].into_iter().flatten() {
            if let Some(older) = self.linked(of, target)?
                && older.1.end() <= row.first
                && reaches(&older.1)
            {
                return Ok(Some(older));
            }
        }
        Ok(None)
    }

    /// Up to `count` entries of a queue with offsets from `from` on, with their offsets. Damage may
    /// have left gaps; what was deleted is left out.
    pub fn entries(
        &self,
        of: (&str, i32),
        chain: Chain,
        from: i64,
        count: usize,
    ) -> Result<Vec<(i64, Entry)>, BlockError> {
        let mut found = self.ahead.take(chain, from);
        if found.len() < count {
            let next = found.last().map_or(from, |(last, _)| last + 1);
            let more = count - found.len();
            found.extend(self.read_entries(of, chain, next, more, ENTRIES_AHEAD)?);
        }
        if found.len() > count {
            self.ahead.keep(chain, found.split_off(count));
        }
        Ok(found)
    }

    /// At least `count` entries, if there are so many; up to `ahead` of a block in all.
    fn read_entries(
        &self,
        of: (&str, i32),
        Chain { newest: link, origin }: Chain,
        from: i64,
        count: usize,
        ahead: usize,
    ) -> Result<Vec<(i64, Entry)>, BlockError> {
        let of = Of::new(of, origin);
        let mut found = Vec::new();
        let mut next = from;
        for _ in 0..BLOCKS_MAX {
            let Some((mut block, row)) = self.follow(of, link, next)? else { break };
            let first = next.max(row.first);
            let entries = block.entries(&row, first, (count - found.len()).max(ahead))?;
            next = first.saturating_add(entries.len() as i64);
            // Where damage took what tells that a topic was made again, a row goes on from the earlier one.
            let owned = |(_, entry): &(i64, Entry)| entry.place.offset.0 >= origin;
            found.extend((first..).zip(entries).filter(owned));
            let is_last = block.head.begin == link.block && next >= row.end();
            if found.len() >= count || is_last {
                break;
            }
        }
        Ok(found)
    }

    /// The entry of an offset.
    pub fn entry(
        &self,
        of: (&str, i32),
        chain: Chain,
        offset: i64,
    ) -> Result<Option<Entry>, BlockError> {
        let found = self.read_entries(of, chain, offset, 1, 1)?;
        Ok(found.first().filter(|(at, _)| *at == offset).map(|(_, entry)| *entry))
    }

    /// The lowest offset whose message was stored at or after `time`; `None` if the blocks hold
    /// none.
    pub fn seek_time(
        &self,
        of: (&str, i32),
        Chain { newest: link, origin }: Chain,
        time: i64,
    ) -> Result<Option<i64>, BlockError> {
        let of = Of::new(of, origin);
        let Some((mut block, mut row)) = self.linked(of, (link.block, link.slot))? else {
            return Ok(None);
        };
        if row.last_time < time {
            return Ok(None);
        }
        let reaches = |row: &Row| row.last_time >= time;
        while let Some(older) = self.step_back(of, &row, |jump| jump.last_time >= time, reaches)? {
            (block, row) = older;
        }
        block.seek_time(&row, time).map(Some)
    }

    /// Ends a search by time.
    pub fn finish(&self, of: (&str, i32), seek: &Seek) -> Result<i64, BlockError> {
        let older = match seek.older {
            Some(chain) => self.seek_time(of, chain, seek.first)?,
            None => None,
        };
        Ok(seek.finish(older))
    }

    /// Positions of records that may carry a key and were stored at these times, the newest first,
    /// up to `max`. Of the blocks that may hold such records the newest [`KEY_BLOCKS_MAX`] are read.
    pub fn keys(
        &self,
        hash: u32,
        times: &RangeInclusive<i64>,
        max: usize,
    ) -> Result<Vec<PhysicalOffset>, BlockError> {
        let mut found = Vec::new();
        for block in self.below(self.stored_until(*times.end())?).take(KEY_BLOCKS_MAX) {
            let mut block = block?;
            // No message up to the block's end is younger than that.
            if block.head.store_timestamp < *times.start() || found.len() >= max {
                break;
            }
            found.extend(block.keys(hash, max - found.len())?);
        }
        Ok(found)
    }

    /// The end of the newest block that may hold messages stored at or before `time`, or more.
    fn stored_until(&self, time: i64) -> Result<u64, BlockError> {
        let begins = self.begins();
        let (mut low, mut high) = (0, begins.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match self.block(begins[middle]) {
                Err(BlockError::Missing(begin)) if begin < self.first() => true,
                block => block?.head.store_timestamp <= time,
            };
            if before { low = middle + 1 } else { high = middle }
        }
        Ok(begins.get(low + 1).copied().unwrap_or(u64::MAX))
    }

    /// What the index knows of the record at a position, if a block covers it: its queue's entry.
    pub fn at(
        &self,
        position: PhysicalOffset,
        (topic, queue, offset): (&str, i32, i64),
    ) -> Result<Option<Entry>, BlockError> {
        let first = self.first();
        if position.0 < first || position.0 >= self.until.load(Ordering::Acquire) {
            return Ok(None);
        }
        let begin = self.begins.read().range(..=position.0).next_back().copied();
        let begin = begin.filter(|begin| *begin >= first).ok_or(BlockError::Missing(first))?;
        let mut block = self.block(begin)?;
        if position.0 >= block.head.end {
            return Err(BlockError::Missing(block.head.end));
        }
        let Some((_, row)) = block.find(topic, queue)? else { return Ok(None) };
        if !(row.first..row.end()).contains(&offset) {
            return Ok(None);
        }
        Ok(block.entries(&row, offset, 1)?.first().copied())
    }

    /// Topics that state changes delete: what is older of their names is of earlier ones.
    fn deleted_by<'c>(&self, changes: &'c [(u64, Vec<u8>)]) -> BTreeSet<Cow<'c, str>> {
        changes.iter().filter_map(|(_, change)| (self.deleted)(change)).collect()
    }

    /// For a block that is made again: the newest older block of each of its queues.
    pub fn older(&self, new: &NewBlock) -> Result<Older, BlockError> {
        let mut older = Older::new();
        // A queue that begins here has nothing older.
        let firsts = new.queues.iter().map(|(at, queue)| (at.clone(), queue.first));
        let mut wanted: BTreeMap<(String, i32), i64> = firsts.collect();
        let changes = block::split_changes(&new.changes).unwrap_or_default();
        let deleted = self.deleted_by(&changes);
        wanted.retain(|(topic, _), first| *first > 0 && !deleted.contains(&**topic));
        for block in self.below(new.begin) {
            if wanted.is_empty() {
                break;
            }
            let mut block = block?;
            let begin = block.head.begin;
            for (slot, (topic, row)) in block.directory()?.into_iter().enumerate() {
                let at = (topic, row.queue);
                let Some(first) = wanted.get(&at) else { continue };
                if row.end() <= *first {
                    wanted.remove(&at);
                    let newest = Link { block: begin, slot: slot as u32, ordinal: row.ordinal };
                    older.insert(at, Chain { newest, origin: row.origin });
                } else if block.head.end <= new.begin {
                    // Where damage took the deletion, a topic that was made again begins anew all the same.
                    wanted.remove(&at);
                }
            }
            let changes = block.changes()?;
            let deleted = self.deleted_by(&changes);
            if !deleted.is_empty() {
                wanted.retain(|(topic, _), _| !deleted.contains(&**topic));
            }
        }
        Ok(older)
    }
}

/// Where a queue's older blocks are: see [`block::Row`].
struct Lead {
    origin: u64,
    /// Behind the last offset there.
    end: i64,
    ordinal: u32,
    prev: (u64, u32),
    jump: Back,
}

/// Older blocks of the queues of a new one, open: there may be many queues of few older blocks, and as
/// both go by name each page is read once.
struct Opened<'a> {
    blocks: &'a Blocks,
    /// `None`: its stretch was deleted.
    open: BTreeMap<u64, Option<BlockFile<'a>>>,
}

impl Opened<'_> {
    /// The row that a link leads to, if it is there.
    fn row(&mut self, of: Of<'_>, begin: u64, slot: u32) -> Result<Option<(u32, Row)>, BlockError> {
        if !self.open.contains_key(&begin) {
            if self.open.len() >= BLOCKS_OPEN_MAX {
                self.open.clear();
            }
            let block = match self.blocks.block(begin) {
                Err(BlockError::Missing(_)) if begin < self.blocks.first() => None,
                block => Some(block?),
            };
            self.open.insert(begin, block);
        }
        match self.open.get_mut(&begin) {
            Some(Some(block)) => of.linked(block, slot),
            _ => Ok(None),
        }
    }
}

/// Blocks from the newest to the oldest. What is covered by none, but should be, is an error: its
/// block can be made again.
struct Below<'a> {
    blocks: &'a Blocks,
    /// Those that are left, rising.
    begins: Vec<u64>,
    /// Where the block before begins.
    covered: u64,
}

impl<'a> Iterator for Below<'a> {
    type Item = Result<BlockFile<'a>, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.blocks.first();
        if self.covered <= first {
            return None;
        }
        let hole = std::mem::replace(&mut self.covered, 0);
        let notices = rules::holds(Rule::MissingBlock);
        let Some(begin) = self.begins.pop() else {
            return notices.then_some(Err(BlockError::Missing(first)));
        };
        let block = match self.blocks.block(begin) {
            // It was deleted meanwhile.
            Err(BlockError::Missing(_)) if begin < self.blocks.first() => return None,
            Ok(block) if block.head.end < hole && notices => {
                Err(BlockError::Missing(block.head.end))
            }
            block => block,
        };
        if block.is_ok() {
            self.covered = begin;
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests;
