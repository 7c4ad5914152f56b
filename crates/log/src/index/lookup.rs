//! Look-ups in index blocks: by queue offset, by time, by key.
//!
//! In: where a queue's newest block is, and what is asked for. Out: entries. Each look-up follows
//! the rows of its queue from block to block and reads a few pages of each. Runs on disk readers
//! and housekeeping, never in a turn.

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::PhysicalOffset;
use crate::disk::write_whole;
use crate::files::Files;
use crate::identity::Identity;
use crate::index::block::{self, Back, BlockError, BlockFile, Link, NewBlock, Row};
use crate::index::build::{self, DeletedTopic, Older};
use crate::index::queue::{Entry, Seek};
use crate::recover::{Origin, RecoverError};
use crate::seal;

/// All blocks of a log.
pub struct Blocks {
    files: Arc<Files>,
    data_dir: PathBuf,
    identity: Identity,
    deleted: DeletedTopic,
    begins: RwLock<BTreeSet<u64>>,
    reads: AtomicU64,
    mended: AtomicU64,
    /// Held while a block is made again.
    mending: Mutex<()>,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("data_dir", &self.data_dir).finish_non_exhaustive()
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

/// Blocks that one look-up opens at most for more entries: a sparse queue has few in each.
const BLOCKS_MAX: usize = 64;

impl Blocks {
    /// Finds the blocks in `data_dir/index`, which is made if it is not there. `deleted`: which
    /// topic a state change deletes.
    pub fn open(
        files: Arc<Files>,
        data_dir: PathBuf,
        identity: Identity,
        deleted: DeletedTopic,
    ) -> io::Result<Blocks> {
        let (disk, dir) = (files.disk().clone(), data_dir.join(block::DIR));
        disk.create_dir(&dir)?;
        disk.sync_dir(&data_dir)?;
        let is_name = |name: &String| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
        let names = disk.list(&dir)?.into_iter().map(|entry| entry.name);
        let begins = names.filter(is_name).filter_map(|name| name.parse().ok()).collect();
        Ok(Blocks {
            files,
            data_dir,
            identity,
            deleted,
            begins: RwLock::new(begins),
            reads: AtomicU64::new(0),
            mended: AtomicU64::new(0),
            mending: Mutex::default(),
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
        question: impl Fn(&Blocks) -> Result<T, BlockError>,
    ) -> Result<T, AskError> {
        let mut mended = BTreeSet::new();
        loop {
            match question(self) {
                Err(BlockError::Damaged(begin) | BlockError::Missing(begin))
                    if mended.insert(begin) =>
                {
                    self.mend(begin)?;
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// Makes a block again, and those before it in its file that are not there.
    fn mend(&self, begin: u64) -> Result<(), AskError> {
        let _one_at_a_time = self.mending.lock();
        // Somebody else may have done it meanwhile.
        if self.is_whole(begin) {
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
        if origin.position.0 == begin {
            self.make(origin)?;
            self.mended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn make(&self, origin: Origin) -> Result<Origin, AskError> {
        let mut new = self.collect(origin)?;
        let older = self.older(&new)?;
        self.lead_back(&mut new, &older)?;
        self.add(&new).map_err(|e| BlockError::Io(new.begin, e))?;
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

    /// What lies before is deleted.
    fn first(&self) -> u64 {
        self.begins.read().first().copied().unwrap_or(u64::MAX)
    }

    /// Opens a block.
    pub fn block(&self, begin: u64) -> Result<BlockFile<'_>, BlockError> {
        if !self.begins.read().contains(&begin) {
            return Err(BlockError::Missing(begin));
        }
        let (disk, number) = (&**self.files.disk(), &self.identity.number);
        BlockFile::open(disk, &self.data_dir, number, begin, &self.reads)
    }

    /// Writes a block: it is there completely or not at all.
    pub fn add(&self, new: &NewBlock) -> io::Result<()> {
        let bytes = new.encode(&self.identity.number);
        write_whole(&**self.files.disk(), &block::path(&self.data_dir, new.begin), &bytes)?;
        self.begins.write().insert(new.begin);
        Ok(())
    }

    /// Blocks from a position on count as not there: what they cover is replayed, and they are made
    /// once more.
    pub fn forget_from(&self, position: PhysicalOffset) {
        self.begins.write().split_off(&position.0);
    }

    /// Deletes a block.
    pub fn remove(&self, begin: u64) -> io::Result<()> {
        self.begins.write().remove(&begin);
        let disk = self.files.disk();
        match disk.remove(&block::path(&self.data_dir, begin)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => disk.sync_dir(&self.data_dir.join(block::DIR)),
        }
    }

    /// Leads each queue of a new block to its older ones.
    pub fn lead_back(&self, new: &mut NewBlock, older: &Older) -> Result<(), BlockError> {
        let mut open = None;
        for (at, queue) in &mut new.queues {
            let Some((link, origin)) = older.get(at) else { continue };
            let prev = match self.row(&mut open, link.block, link.slot) {
                // Its stretch was deleted.
                Err(BlockError::Missing(_)) => continue,
                row => row?,
            };
            queue.origin = *origin;
            queue.ordinal = link.ordinal + 1;
            queue.prev = Some((link.block, link.slot));
            let target = queue.ordinal & (queue.ordinal - 1);
            let mut back = Back {
                block: link.block,
                slot: link.slot,
                end: prev.end(),
                last_time: prev.last_time,
            };
            let (mut ordinal, mut row) = (link.ordinal, prev);
            while ordinal > target {
                let Some(jump) = row.jump else { break };
                back = jump;
                row = match self.row(&mut open, jump.block, jump.slot) {
                    Err(BlockError::Missing(_)) => break,
                    row => row?,
                };
                ordinal = row.ordinal;
            }
            queue.jump = Some(back);
        }
        Ok(())
    }

    fn row<'a>(
        &'a self,
        open: &mut Option<BlockFile<'a>>,
        begin: u64,
        slot: u32,
    ) -> Result<Row, BlockError> {
        if open.as_ref().is_none_or(|block| block.head.begin != begin) {
            *open = Some(self.block(begin)?);
        }
        match open {
            Some(block) => block.row(slot),
            None => Err(BlockError::Missing(begin)),
        }
    }

    /// The row of a queue that holds the offset `wanted`, or the first one behind it, if damage took
    /// that. `None`: it was deleted, or is newer than all blocks.
    fn follow(&self, link: Link, wanted: i64) -> Result<Option<(BlockFile<'_>, Row)>, BlockError> {
        let mut newer = None;
        let mut next = (link.block, link.slot);
        loop {
            let first = self.first();
            if next.0 < first {
                return Ok(newer);
            }
            let mut block = self.block(next.0)?;
            let row = block.row(next.1)?;
            if row.first <= wanted {
                return Ok(if row.end() > wanted { Some((block, row)) } else { newer });
            }
            next = match (row.jump, row.prev) {
                (Some(jump), _) if jump.end > wanted && jump.block >= first => {
                    (jump.block, jump.slot)
                }
                (_, Some(prev)) => prev,
                (_, None) => return Ok(Some((block, row))),
            };
            newer = Some((block, row));
        }
    }

    /// Up to `count` entries of a queue with offsets from `from` on, with their offsets. Damage may
    /// have left gaps; what was deleted is left out.
    pub fn entries(
        &self,
        link: Link,
        from: i64,
        count: usize,
    ) -> Result<Vec<(i64, Entry)>, BlockError> {
        let mut found = Vec::new();
        let mut next = from;
        for _ in 0..BLOCKS_MAX {
            let Some((mut block, row)) = self.follow(link, next)? else { break };
            let first = next.max(row.first);
            let entries = block.entries(&row, first, count - found.len())?;
            next = first.saturating_add(entries.len() as i64);
            found.extend((first..).zip(entries));
            if found.len() >= count || block.head.begin == link.block {
                break;
            }
        }
        Ok(found)
    }

    /// The entry of an offset.
    pub fn entry(&self, link: Link, offset: i64) -> Result<Option<Entry>, BlockError> {
        let found = self.entries(link, offset, 1)?;
        Ok(found.first().filter(|(at, _)| *at == offset).map(|(_, entry)| *entry))
    }

    /// The lowest offset whose message was stored at or after `time`; `None` if the blocks hold
    /// none.
    pub fn seek_time(&self, link: Link, time: i64) -> Result<Option<i64>, BlockError> {
        let mut block = self.block(link.block)?;
        let mut row = block.row(link.slot)?;
        if row.last_time < time {
            return Ok(None);
        }
        loop {
            let first = self.first();
            let next = match (row.jump, row.prev) {
                (Some(jump), _) if jump.last_time >= time && jump.block >= first => {
                    (jump.block, jump.slot)
                }
                (_, Some(prev)) if prev.0 >= first => prev,
                // The queue begins here, or what lies before was deleted.
                _ => break,
            };
            let mut older = self.block(next.0)?;
            let older_row = older.row(next.1)?;
            if older_row.last_time < time {
                break;
            }
            (block, row) = (older, older_row);
        }
        block.seek_time(&row, time).map(Some)
    }

    /// Ends a search by time.
    pub fn finish(&self, seek: &Seek) -> Result<i64, BlockError> {
        let older = match seek.older {
            Some(link) => self.seek_time(link, seek.first)?,
            None => None,
        };
        Ok(seek.finish(older))
    }

    /// Positions of records that may carry a key and were stored at these times, the newest first,
    /// up to `max`.
    pub fn keys(
        &self,
        hash: u32,
        times: &RangeInclusive<i64>,
        max: usize,
    ) -> Result<Vec<PhysicalOffset>, BlockError> {
        let mut found = Vec::new();
        for begin in self.begins().into_iter().rev() {
            let mut block = match self.block(begin) {
                Err(BlockError::Missing(_)) => continue,
                block => block?,
            };
            if block.head.last_time < *times.start() || found.len() >= max {
                break;
            }
            if block.head.first_time <= *times.end() {
                found.extend(block.keys(hash, max - found.len())?);
            }
        }
        Ok(found)
    }

    /// What the index knows of the record at a position, if a block covers it: its queue's entry.
    pub fn at(
        &self,
        position: PhysicalOffset,
        (topic, queue, offset): (&str, i32, i64),
    ) -> Result<Option<Entry>, BlockError> {
        let begin = self.begins.read().range(..=position.0).next_back().copied();
        let Some(begin) = begin else { return Ok(None) };
        let mut block = self.block(begin)?;
        if position.0 >= block.head.end {
            return Ok(None);
        }
        let Some((_, row)) = block.find(topic, queue)? else { return Ok(None) };
        if !(row.first..row.end()).contains(&offset) {
            return Ok(None);
        }
        Ok(block.entries(&row, offset, 1)?.first().copied())
    }

    /// For a block that is made again: the newest older block of each of its queues.
    pub fn older(&self, new: &NewBlock) -> Result<Older, BlockError> {
        let mut older = Older::new();
        let below: Vec<u64> = self.begins.read().range(..new.begin).rev().copied().collect();
        for begin in below {
            if older.len() == new.queues.len() {
                break;
            }
            let mut block = match self.block(begin) {
                Err(BlockError::Missing(_)) => continue,
                block => block?,
            };
            for (slot, (topic, row)) in block.directory()?.into_iter().enumerate() {
                let at = (topic, row.queue);
                // A topic that was made again begins anew.
                let follows = new.queues.get(&at).is_some_and(|queue| row.end() <= queue.first);
                if follows && !older.contains_key(&at) {
                    let link = Link { block: begin, slot: slot as u32, ordinal: row.ordinal };
                    older.insert(at, (link, row.origin));
                }
            }
        }
        Ok(older)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::fault::FaultDisk;
    use crate::disk::{Disk, Open};
    use crate::index::block::NewQueue;
    use crate::index::keys;
    use crate::read::Place;

    const DATA_DIR: &str = "/data";
    const STRETCH: u64 = 1 << 20;

    fn entry(block: u64, n: u64) -> Entry {
        let offset = PhysicalOffset(block * STRETCH + n * 100);
        let place = Place { offset, size: 100, crc: n as u32 };
        Entry { place, tags_code: 0, store_timestamp: (block * 1000 + n) as i64 }
    }

    /// Blocks as housekeeping makes them. Queue `q` of the one topic is in every block whose number
    /// `q` divides, with two messages each; a key in every block.
    fn sparse(disk: &FaultDisk, count: u64, queues: &[i32]) -> (Blocks, Older) {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let dir = Path::new(DATA_DIR);
        disk.create_dir(dir).unwrap();
        let files = Arc::new(Files::open(disk, dir, 1 << 30).unwrap());
        let identity = Identity { number: [1; 16], writer: 2 };
        let blocks = Blocks::open(files, dir.to_owned(), identity, |_| None).unwrap();
        let mut older = Older::new();
        for block in 0..count {
            let (begin, end) = (block * STRETCH, (block + 1) * STRETCH);
            let mut new = NewBlock { begin, end, ..NewBlock::default() };
            for queue in queues.iter().filter(|queue| block % **queue as u64 == 0) {
                let first = (block / *queue as u64) as i64 * 2;
                let entries = vec![entry(block, 0), entry(block, 1)];
                let queue_of = NewQueue { first, entries, origin: begin, ..NewQueue::default() };
                new.queues.insert(("t".to_owned(), *queue), queue_of);
            }
            new.keys.push((keys::hash("t", &format!("k{block}")), begin));
            blocks.lead_back(&mut new, &older).unwrap();
            blocks.add(&new).unwrap();
            for (slot, (at, queue)) in (0..).zip(&new.queues) {
                let link = Link { block: begin, slot, ordinal: queue.ordinal };
                older.insert(at.clone(), (link, queue.origin));
            }
        }
        (blocks, older)
    }

    fn link(older: &Older, queue: i32) -> Link {
        older[&("t".to_owned(), queue)].0
    }

    #[test]
    fn a_look_up_reads_a_few_pages_of_many_blocks() {
        let (blocks, older) = sparse(&FaultDisk::default(), 10_000, &[1, 7, 500]);
        let reads = |work: &mut dyn FnMut()| {
            let before = blocks.reads();
            work();
            blocks.reads() - before
        };
        for queue in [1, 7, 500] {
            let last = 9_999 / queue as u64;
            for number in (0..=last).step_by((last / 20).max(1) as usize) {
                let (offset, block) = (number as i64 * 2 + 1, number * queue as u64);
                let link = link(&older, queue);
                let needed = reads(&mut || {
                    assert_eq!(blocks.entry(link, offset).unwrap(), Some(entry(block, 1)));
                });
                // The head, a row and the entries of at most about the square of the logarithm.
                assert!(needed < 200, "{needed} reads for {queue}:{offset}");
                let time = entry(block, 1).store_timestamp;
                let needed = reads(&mut || {
                    assert_eq!(blocks.seek_time(link, time).unwrap(), Some(offset));
                });
                assert!(needed < 400, "{needed} reads for the time of {queue}:{offset}");
            }
        }
        let (hash, at) = (keys::hash("t", "k77"), PhysicalOffset(77 * STRETCH));
        let times = 77_000..=77_001;
        assert_eq!(blocks.keys(hash, &times, 10).unwrap(), [at]);
        assert_eq!(blocks.at(at, ("t", 7, 22)).unwrap(), Some(entry(77, 0)));
        assert_eq!(blocks.at(at, ("t", 500, 22)).unwrap(), None);
    }

    #[test]
    fn entries_go_on_over_blocks_and_begin_where_deletion_ended() {
        let (blocks, older) = sparse(&FaultDisk::default(), 40, &[1, 3]);
        let offsets = |queue, from, count| -> Vec<i64> {
            let found = blocks.entries(link(&older, queue), from, count).unwrap();
            found.into_iter().map(|(offset, _)| offset).collect()
        };
        assert_eq!(offsets(3, 5, 4), [5, 6, 7, 8]);
        assert_eq!(offsets(1, 77, 10), [77, 78, 79]);
        assert!(offsets(1, 80, 10).is_empty());
        // A row's jump may lead to what is deleted.
        for block in 0..10 {
            blocks.remove(block * STRETCH).unwrap();
        }
        for from in [0, 5, 19, 20] {
            assert_eq!(offsets(1, from, 2), [20, 21]);
        }
        assert_eq!(offsets(3, 0, 2), [8, 9]);
        assert_eq!(blocks.seek_time(link(&older, 1), 0).unwrap(), Some(20));
        assert_eq!(blocks.seek_time(link(&older, 1), 39_002).unwrap(), None);
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let disk = FaultDisk::default();
        let (blocks, older) = sparse(&disk, 2, &[1]);
        let path = block::path(Path::new(DATA_DIR), STRETCH);
        let whole = disk.content(&path).unwrap();
        let file = disk.open(&path, Open::Write).unwrap();
        for at in (0..whole.len()).step_by(37) {
            file.write_at(&[&[whole[at] ^ 4]], at as u64).unwrap();
            let read = blocks.entry(link(&older, 1), 3);
            assert!(matches!(read, Err(BlockError::Damaged(STRETCH))), "{at}: {read:?}");
            file.write_at(&[&whole[at..=at]], at as u64).unwrap();
        }
        assert_eq!(blocks.entry(link(&older, 1), 3).unwrap(), Some(entry(1, 1)));
        // Cut, and empty.
        for size in [4095, 0] {
            file.set_size(size).unwrap();
            assert!(matches!(blocks.entry(link(&older, 1), 3), Err(BlockError::Damaged(_))));
        }
    }
}
