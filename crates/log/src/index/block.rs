//! An index block: what a finished stretch of the log holds, once and for all, in one file.
//!
//! In: what [`super::build`] collected from the stretch. Out: a file in pages, each with its own
//! checksum, of which a look-up reads only the pages that it needs ([`super::lookup`]).
//!
//! A page has 4,096 bytes: 4,092 of content and the CRC32 of the log's number, the block's begin,
//! the page's number and the content. The contents of all pages, one behind the other, integers
//! big-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | `KEROBLOK` |
//! | 2 + 2 | format version; flags: 1, the block was made again |
//! | 16 | the log's number |
//! | 8 + 8 | where the stretch begins and ends |
//! | 8 + 4 | the seal before the end: position, CRC32 of its list |
//! | 4 × 5 | number of queues q, entries n, keys k; bytes of names, of state changes |
//! | 8 + 8 | store time of the first and the last message |
//! | 8 + 8 | the highest start number and store time up to the end |
//! | 4 | 0 |
//! | 96 q | the directory, by topic and queue: see [`Row`] |
//! | 24 n | entries: position from the begin (4), size, CRC32, hash of the tag (4 each), store time (8) |
//! | 8 k | keys, rising: hash (4), position from the begin (4) |
//! | | names of topics |
//! | | state changes: position (8), size (4), content |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::PhysicalOffset;
use crate::disk::{Disk, DiskFile, Open, is_unreadable, read_full};
use crate::index::queue::Entry;
use crate::limits::{BLOCK_BYTES_MAX, QUEUE_OFFSET_MAX, QUEUES_MAX};
use crate::read::Place;
use crate::recover::{Lost, Origin};
use crate::rules::{self, Rule};
use crate::seal;

/// The folder in a data directory.
pub const DIR: &str = "blocks";
/// What it was called before it could stand beside the folders of Apache's broker.
const DIR_BEFORE: &str = "index";
const MAGIC: [u8; 8] = *b"KEROBLOK";
const FORMAT_VERSION: u16 = 1;
const PAGE: usize = 4096;
const CONTENT: usize = PAGE - 4;
const HEAD: usize = 112;
/// The block was made again.
const FLAG_AGAIN: u16 = 1;
const ROW: usize = 96;
const ENTRY: usize = 24;
const KEY: usize = 8;
/// No block.
const NOWHERE: u64 = u64::MAX;

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Its stretch was deleted, or the file was gone when the server started.
    #[error("the index block of position {0} is not there")]
    Missing(u64),
    #[error("the index block of position {0} is damaged")]
    Damaged(u64),
    #[error("the index block of position {0} has a newer format")]
    Newer(u64),
    #[error("reading the index block of position {0}: {1}")]
    Io(u64, io::Error),
}

/// The newest block that holds a queue, and where in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Where its stretch begins.
    pub block: u64,
    /// Place in the directory.
    pub slot: u32,
    /// How many blocks held the queue before.
    pub ordinal: u32,
}

/// The blocks that hold a queue, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    pub newest: Link,
    /// Position of the first message that the queue ever held. What is older than that is of an
    /// earlier topic with the same name.
    pub origin: u64,
}

/// An older block that holds the queue, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    pub block: u64,
    pub slot: u32,
    /// Behind the queue's last message there.
    pub end: i64,
    /// When that was stored.
    pub last_time: i64,
}

/// What a block says of one queue. In the file: place and size of the name (4 + 2), 0 (2), queue
/// (4), number of entries (4), offset of the first (8), its place among the entries (4), ordinal
/// (4), store time of the first and the last (8 + 8), position of the queue's very first message
/// (8); then `prev` and `jump`: slots (4 + 4), and for `jump` end (8) and last time (8); the blocks
/// of `prev` (8) and `jump` (8).
///
/// `prev` is the block that held the queue before. `jump` leads further back: over as many of the
/// queue's blocks as the lowest bit of the ordinal says, so that any offset is found in a number of
/// steps that grows with the logarithm of the number of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    name: (u32, u16),
    pub queue: i32,
    pub count: u32,
    pub first: i64,
    at: u32,
    pub ordinal: u32,
    pub first_time: i64,
    pub last_time: i64,
    /// Position of the first message that the queue ever held.
    pub origin: u64,
    pub prev: Option<(u64, u32)>,
    pub jump: Option<Back>,
}

impl Head {
    /// See [`NewBlock::state_bytes`].
    pub fn state_bytes(&self) -> usize {
        self.queues as usize * ROW + self.changes as usize
    }

    /// Where the log goes on behind the stretch.
    pub fn origin(&self) -> Origin {
        Origin {
            position: PhysicalOffset(self.end),
            before: Some(self.before),
            start: self.start,
            store_timestamp: self.store_timestamp,
        }
    }
}

impl Row {
    /// Behind the queue's last message in this block.
    pub fn end(&self) -> i64 {
        self.first.saturating_add(i64::from(self.count))
    }
}

/// One queue of a block to be written.
#[derive(Debug, Clone, Default)]
pub struct NewQueue {
    pub first: i64,
    pub entries: Vec<Entry>,
    pub ordinal: u32,
    pub origin: u64,
    pub prev: Option<(u64, u32)>,
    pub jump: Option<Back>,
}

/// A block to be written.
#[derive(Debug, Clone, Default)]
pub struct NewBlock {
    pub begin: u64,
    pub end: u64,
    /// The seal before the end.
    pub before: Option<seal::Link>,
    /// The highest start number and store timestamp up to the end.
    pub start: u64,
    pub store_timestamp: i64,
    /// By topic and queue.
    pub queues: std::collections::BTreeMap<(String, i32), NewQueue>,
    /// Hash and position.
    pub keys: Vec<(u32, u64)>,
    /// Encoded, each with its position.
    pub changes: Vec<u8>,
    /// It replaces one that was lost or damaged. If the log is damaged, too, it may hold fewer queues
    /// than links to it expect: their rows are found by name.
    pub again: bool,
    /// What of the stretch is damaged.
    pub lost: Vec<Lost>,
}

impl NewQueue {
    /// Behind the queue's last message.
    pub fn end(&self) -> i64 {
        self.first.saturating_add(self.entries.len() as i64)
    }
}

impl NewBlock {
    /// Bytes of the directory and the state changes: what a start reads of the block.
    pub fn state_bytes(&self) -> usize {
        self.queues.len() * ROW + self.changes.len()
    }

    /// Where the log goes on behind the stretch.
    pub fn origin(&self) -> Origin {
        Origin {
            position: PhysicalOffset(self.end),
            before: self.before,
            start: self.start,
            store_timestamp: self.store_timestamp,
        }
    }
}

/// What stands at a block's front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// See [`NewBlock::again`].
    pub again: bool,
    pub begin: u64,
    pub end: u64,
    pub before: seal::Link,
    pub queues: u32,
    entries: u32,
    keys: u32,
    names: u32,
    changes: u32,
    pub first_time: i64,
    pub last_time: i64,
    pub start: u64,
    pub store_timestamp: i64,
}

impl NewBlock {
    /// The file's bytes.
    pub fn encode(&self, number: &[u8; 16]) -> Vec<u8> {
        let mut names = Vec::new();
        let mut name_at = (String::new(), (0, 0));
        let (mut rows, mut entries) = (Vec::new(), Vec::new());
        let times = || self.queues.values().flat_map(|queue| &queue.entries);
        let first_time = times().map(|entry| entry.store_timestamp).min().unwrap_or(0);
        let last_time = times().map(|entry| entry.store_timestamp).max().unwrap_or(0);
        for ((topic, number), queue) in &self.queues {
            if name_at.0 != *topic || name_at.1.1 == 0 {
                name_at = (topic.clone(), (names.len() as u32, topic.len() as u16));
                names.extend_from_slice(topic.as_bytes());
            }
            let time = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.store_timestamp);
            let row = Row {
                name: name_at.1,
                queue: *number,
                count: queue.entries.len() as u32,
                first: queue.first,
                at: (entries.len() / ENTRY) as u32,
                ordinal: queue.ordinal,
                first_time: time(queue.entries.first()),
                last_time: time(queue.entries.last()),
                origin: queue.origin,
                prev: queue.prev,
                jump: queue.jump,
            };
            row.write(&mut rows);
            for entry in &queue.entries {
                let from_begin = (entry.place.offset.0 - self.begin) as u32;
                entries.extend_from_slice(&from_begin.to_be_bytes());
                entries.extend_from_slice(&entry.place.size.to_be_bytes());
                entries.extend_from_slice(&entry.place.crc.to_be_bytes());
                entries.extend_from_slice(&entry.tags_code.to_be_bytes());
                entries.extend_from_slice(&entry.store_timestamp.to_be_bytes());
            }
        }
        let keys = self.sorted_keys();
        let before = self.before.unwrap_or(seal::Link::NONE);
        let mut out = Vec::with_capacity(HEAD + rows.len() + entries.len() + keys.len() * KEY);
        out.extend_from_slice(&MAGIC);
        let flags = if self.again { FLAG_AGAIN } else { 0 };
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(number);
        out.extend_from_slice(&self.begin.to_be_bytes());
        out.extend_from_slice(&self.end.to_be_bytes());
        out.extend_from_slice(&before.position.to_be_bytes());
        out.extend_from_slice(&before.list_crc.to_be_bytes());
        let counts =
            [self.queues.len(), entries.len() / ENTRY, keys.len(), names.len(), self.changes.len()];
        counts.iter().for_each(|n| out.extend_from_slice(&(*n as u32).to_be_bytes()));
        out.extend_from_slice(&first_time.to_be_bytes());
        out.extend_from_slice(&last_time.to_be_bytes());
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&self.store_timestamp.to_be_bytes());
        out.resize(HEAD, 0);
        out.extend_from_slice(&rows);
        out.extend_from_slice(&entries);
        keys.iter().for_each(|key| out.extend_from_slice(&key.to_be_bytes()));
        out.extend_from_slice(&names);
        out.extend_from_slice(&self.changes);
        paginate(&out, number, self.begin)
    }
}

impl NewBlock {
    /// As the file has them.
    fn sorted_keys(&self) -> Vec<u64> {
        let key = |(hash, at): &(u32, u64)| {
            u64::from(*hash) << 32 | (at - self.begin) & u64::from(u32::MAX)
        };
        let mut keys: Vec<u64> = self.keys.iter().map(key).collect();
        keys.sort_unstable();
        keys
    }
}

fn paginate(content: &[u8], number: &[u8; 16], begin: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len().div_ceil(CONTENT) * PAGE);
    for (i, part) in content.chunks(CONTENT).enumerate() {
        let at = out.len();
        out.extend_from_slice(part);
        out.resize(at + CONTENT, 0);
        let crc = page_crc(&out[at..], number, begin, i as u64);
        out.extend_from_slice(&crc.to_be_bytes());
    }
    out
}

fn page_crc(content: &[u8], number: &[u8; 16], begin: u64, page: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(number);
    hasher.update(&begin.to_be_bytes());
    hasher.update(&page.to_be_bytes());
    hasher.update(content);
    hasher.finalize()
}

impl Row {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name.0.to_be_bytes());
        out.extend_from_slice(&self.name.1.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.queue.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
        out.extend_from_slice(&self.ordinal.to_be_bytes());
        out.extend_from_slice(&self.first_time.to_be_bytes());
        out.extend_from_slice(&self.last_time.to_be_bytes());
        out.extend_from_slice(&self.origin.to_be_bytes());
        let (prev, prev_slot) = self.prev.unwrap_or((NOWHERE, 0));
        let none = Back { block: NOWHERE, slot: 0, end: 0, last_time: 0 };
        let jump = self.jump.unwrap_or(none);
        out.extend_from_slice(&prev_slot.to_be_bytes());
        out.extend_from_slice(&jump.slot.to_be_bytes());
        out.extend_from_slice(&jump.end.to_be_bytes());
        out.extend_from_slice(&jump.last_time.to_be_bytes());
        out.extend_from_slice(&prev.to_be_bytes());
        out.extend_from_slice(&jump.block.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Row {
        let (prev, jump) = (word64(bytes, 80), word64(bytes, 88));
        let back = Back {
            block: jump,
            slot: word32(bytes, 60),
            end: word64(bytes, 64) as i64,
            last_time: word64(bytes, 72) as i64,
        };
        Row {
            name: (word32(bytes, 0), (word32(bytes, 4) >> 16) as u16),
            queue: word32(bytes, 8) as i32,
            count: word32(bytes, 12),
            first: word64(bytes, 16) as i64,
            at: word32(bytes, 24),
            ordinal: word32(bytes, 28),
            first_time: word64(bytes, 32) as i64,
            last_time: word64(bytes, 40) as i64,
            origin: word64(bytes, 48),
            prev: (prev != NOWHERE).then(|| (prev, word32(bytes, 56))),
            jump: (jump != NOWHERE).then_some(back),
        }
    }
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_be_bytes(*b))
}

/// Encoded state changes, each with its position; `None` if they are not whole.
pub(super) fn split_changes(mut rest: &[u8]) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (at, size) = (word64(rest, 0), word32(rest, 8) as usize);
        changes.push((at, rest.get(12..12 + size)?.to_vec()));
        rest = &rest[12 + size..];
    }
    Some(changes)
}

/// The folder of the blocks of a data directory, made if it is not there.
pub fn folder(disk: &dyn Disk, data_dir: &Path) -> io::Result<PathBuf> {
    let (dir, before) = (data_dir.join(DIR), data_dir.join(DIR_BEFORE));
    let names = |dir: &Path| match disk.list(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map(|entries| entries.into_iter().map(|e| e.name).collect()),
    };
    let is_before = names(&dir)?.is_empty() && names(&before)?.iter().any(|name| is_name(name));
    if is_before {
        match disk.rename(&before, &dir) {
            // A look that changes nothing.
            Err(why) if why.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(before),
            renamed => renamed?,
        }
    }
    disk.create_dir(&dir)?;
    disk.sync_dir(data_dir)?;
    Ok(dir)
}

/// Whether a file of this name is a block.
pub fn is_name(name: &str) -> bool {
    name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())
}

/// A block's path in their folder.
pub fn path(dir: &Path, begin: u64) -> PathBuf {
    dir.join(format!("{begin:020}"))
}

/// An open block.
pub struct BlockFile<'a> {
    file: Arc<dyn DiskFile>,
    begin: u64,
    number: &'a [u8; 16],
    reads: &'a AtomicU64,
    /// The page that was read last, with its number: a search ends in one page.
    page: Option<(u64, Vec<u8>)>,
    pub head: Head,
}

impl<'a> BlockFile<'a> {
    /// Opens the block in a folder whose stretch begins at `begin`. `reads` counts the reads of the disk.
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        number: &'a [u8; 16],
        begin: u64,
        reads: &'a AtomicU64,
    ) -> Result<Self, BlockError> {
        let file = match disk.open(&path(dir, begin), Open::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(BlockError::Missing(begin));
            }
            other => other.map_err(|e| BlockError::Io(begin, e))?,
        };
        let head = Head {
            again: false,
            begin,
            end: 0,
            before: seal::Link::NONE,
            queues: 0,
            entries: 0,
            keys: 0,
            names: 0,
            changes: 0,
            first_time: 0,
            last_time: 0,
            start: 0,
            store_timestamp: 0,
        };
        let mut block = BlockFile { file, begin, number, reads, page: None, head };
        let bytes = block.read(0, HEAD)?;
        let damaged = || BlockError::Damaged(begin);
        if bytes[..8] != MAGIC || bytes[12..28] != *number || word64(&bytes, 28) != begin {
            return Err(damaged());
        }
        if (word32(&bytes, 8) >> 16) as u16 > FORMAT_VERSION {
            return Err(BlockError::Newer(begin));
        }
        block.head = Head {
            again: word32(&bytes, 8) as u16 & FLAG_AGAIN != 0,
            begin,
            end: word64(&bytes, 36),
            before: seal::Link { position: word64(&bytes, 44), list_crc: word32(&bytes, 52) },
            queues: word32(&bytes, 56),
            entries: word32(&bytes, 60),
            keys: word32(&bytes, 64),
            names: word32(&bytes, 68),
            changes: word32(&bytes, 72),
            first_time: word64(&bytes, 76) as i64,
            last_time: word64(&bytes, 84) as i64,
            start: word64(&bytes, 92),
            store_timestamp: word64(&bytes, 100) as i64,
        };
        let size = block.file.size().map_err(|e| BlockError::Io(begin, e))?;
        let whole = block.changes_at() + block.head.changes as usize;
        if size != (whole.div_ceil(CONTENT) * PAGE) as u64 || size > BLOCK_BYTES_MAX {
            return Err(damaged());
        }
        Ok(block)
    }

    fn entries_at(&self) -> usize {
        HEAD + self.head.queues as usize * ROW
    }

    fn keys_at(&self) -> usize {
        self.entries_at() + self.head.entries as usize * ENTRY
    }

    fn names_at(&self) -> usize {
        self.keys_at() + self.head.keys as usize * KEY
    }

    fn changes_at(&self) -> usize {
        self.names_at() + self.head.names as usize
    }

    /// Reads content and checks the pages.
    fn read(&mut self, at: usize, size: usize) -> Result<Vec<u8>, BlockError> {
        if size == 0 {
            return Ok(Vec::new());
        }
        let (first, last) = (at / CONTENT, (at + size - 1) / CONTENT);
        if let Some((page, content)) = &self.page
            && first == last
            && *page == first as u64
        {
            let from = at - first * CONTENT;
            return Ok(content[from..from + size].to_vec());
        }
        let mut pages = vec![0; (last - first + 1) * PAGE];
        self.reads.fetch_add(1, Ordering::Relaxed);
        let read = match read_full(&*self.file, &mut pages, (first * PAGE) as u64) {
            // What the disk cannot read is no better than what it reads wrong.
            Err(e) if is_unreadable(&e) => return Err(BlockError::Damaged(self.begin)),
            other => other.map_err(|e| BlockError::Io(self.begin, e))?,
        };
        if read < pages.len() {
            return Err(BlockError::Damaged(self.begin));
        }
        let mut content = Vec::with_capacity((last - first + 1) * CONTENT);
        for (i, page) in pages.chunks(PAGE).enumerate() {
            let crc = page_crc(&page[..CONTENT], self.number, self.begin, (first + i) as u64);
            if crc != word32(page, CONTENT) && rules::holds(Rule::PageCrc) {
                return Err(BlockError::Damaged(self.begin));
            }
            content.extend_from_slice(&page[..CONTENT]);
        }
        let from = at - first * CONTENT;
        let wanted = content[from..from + size].to_vec();
        content.drain(..content.len() - CONTENT);
        self.page = Some((last as u64, content));
        Ok(wanted)
    }

    /// Reads every page.
    pub fn check(&mut self) -> Result<(), BlockError> {
        let size = self.changes_at() + self.head.changes as usize;
        (0..size)
            .step_by(64 * CONTENT)
            .try_for_each(|at| self.read(at, (size - at).min(64 * CONTENT)).map(drop))
    }

    /// The first page whose checksum is wrong, or that cannot be read.
    pub fn bad_page(&mut self) -> Option<usize> {
        // Page by page only where one is bad.
        if self.check().is_ok() {
            return None;
        }
        let size = self.changes_at() + self.head.changes as usize;
        (0..size.div_ceil(CONTENT)).find(|page| {
            let at = page * CONTENT;
            self.read(at, (size - at).min(CONTENT)).is_err()
        })
    }

    /// Whether the keys and the state changes are those of a block to be written.
    pub fn has_keys_and_changes_of(&mut self, new: &NewBlock) -> Result<bool, BlockError> {
        let keys = self.read(self.keys_at(), self.head.keys as usize * KEY)?;
        let changes = self.read(self.changes_at(), self.head.changes as usize)?;
        let same_keys = new.sorted_keys().iter().flat_map(|key| key.to_be_bytes()).eq(keys);
        Ok(same_keys && changes == new.changes)
    }

    /// A row of the directory.
    pub fn row(&mut self, slot: u32) -> Result<Row, BlockError> {
        if slot >= self.head.queues {
            return Err(BlockError::Damaged(self.begin));
        }
        let row = Row::read(&self.read(HEAD + slot as usize * ROW, ROW)?);
        self.sane(row)
    }

    /// A row that can be followed: within the block, and to older ones only.
    fn sane(&self, row: Row) -> Result<Row, BlockError> {
        let is_older = |block: u64| block < self.begin;
        let sane = (0..QUEUES_MAX).contains(&row.queue)
            && (0..=QUEUE_OFFSET_MAX).contains(&row.first)
            && u64::from(row.at) + u64::from(row.count) <= u64::from(self.head.entries)
            && row.prev.is_none_or(|(block, _)| is_older(block))
            && row.jump.is_none_or(|jump| is_older(jump.block));
        if sane { Ok(row) } else { Err(BlockError::Damaged(self.begin)) }
    }

    fn name(&mut self, row: &Row) -> Result<String, BlockError> {
        let (at, size) = (row.name.0 as usize, usize::from(row.name.1));
        if at + size > self.head.names as usize {
            return Err(BlockError::Damaged(self.begin));
        }
        let bytes = self.read(self.names_at() + at, size)?;
        String::from_utf8(bytes).map_err(|_| BlockError::Damaged(self.begin))
    }

    /// The row of a queue, if the block holds it.
    pub fn find(&mut self, topic: &str, queue: i32) -> Result<Option<(u32, Row)>, BlockError> {
        let (mut low, mut high) = (0, self.head.queues);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.row(middle)?;
            match (self.name(&row)?.as_str(), row.queue).cmp(&(topic, queue)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some((middle, row))),
            }
        }
        Ok(None)
    }

    /// The whole directory, in order: topic and row.
    pub fn directory(&mut self) -> Result<Vec<(String, Row)>, BlockError> {
        let all = self.directory_of(|_| true)?;
        Ok(all.into_iter().map(|(_, topic, row)| (topic, row)).collect())
    }

    /// The part of the directory that is of some topics, in order: place, topic and row.
    pub fn directory_of(
        &mut self,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Vec<(u32, String, Row)>, BlockError> {
        let names = self.read(self.names_at(), self.head.names as usize)?;
        let rows = self.read(HEAD, self.head.queues as usize * ROW)?;
        let mut found = Vec::new();
        for (slot, bytes) in (0..).zip(rows.chunks(ROW)) {
            let row = self.sane(Row::read(bytes))?;
            let (at, size) = (row.name.0 as usize, usize::from(row.name.1));
            let name = names.get(at..at + size).and_then(|n| std::str::from_utf8(n).ok());
            let name = name.ok_or(BlockError::Damaged(self.begin))?;
            if wanted(name) {
                found.push((slot, name.to_owned(), row));
            }
        }
        Ok(found)
    }

    /// The state changes of the stretch, each with its position.
    pub fn changes(&mut self) -> Result<Vec<(u64, Vec<u8>)>, BlockError> {
        let bytes = self.read(self.changes_at(), self.head.changes as usize)?;
        split_changes(&bytes).ok_or(BlockError::Damaged(self.begin))
    }

    /// Up to `count` entries of a queue from its offset `from` on.
    pub fn entries(
        &mut self,
        row: &Row,
        from: i64,
        count: usize,
    ) -> Result<Vec<Entry>, BlockError> {
        let skip = from.saturating_sub(row.first).clamp(0, i64::from(row.count)) as usize;
        let count = count.min(row.count as usize - skip);
        let first = row.at as usize + skip;
        if first + count > self.head.entries as usize {
            return Err(BlockError::Damaged(self.begin));
        }
        let bytes = self.read(self.entries_at() + first * ENTRY, count * ENTRY)?;
        let entries = bytes.chunks(ENTRY).map(|bytes| Entry {
            place: Place {
                offset: PhysicalOffset(self.begin + u64::from(word32(bytes, 0))),
                size: word32(bytes, 4),
                crc: word32(bytes, 8),
            },
            tags_code: word32(bytes, 12) as i32,
            store_timestamp: word64(bytes, 16) as i64,
        });
        Ok(entries.collect())
    }

    /// The lowest offset of a queue whose message was stored at or after `time`; the row says that
    /// there is one.
    pub fn seek_time(&mut self, row: &Row, time: i64) -> Result<i64, BlockError> {
        let (mut low, mut high) = (row.first, row.end());
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = self.entries(row, middle, 1)?;
            if stored.first().is_some_and(|entry| entry.store_timestamp < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Positions of records that may carry the key, the newest first, up to `max`.
    pub fn keys(&mut self, hash: u32, max: usize) -> Result<Vec<PhysicalOffset>, BlockError> {
        let count = self.head.keys as usize;
        let below = |key: u64| key >> 32 < u64::from(hash);
        let (mut low, mut high) = (0, count);
        // Hashes are spread evenly: it is near its share of the way.
        const NEAR: usize = 256;
        let guess = ((u64::from(hash) * count as u64) >> 32) as usize;
        if guess > NEAR && below(self.key(guess - NEAR)?) {
            low = guess - NEAR;
        }
        if guess + NEAR < count && !below(self.key(guess + NEAR)?) {
            high = guess + NEAR;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if below(self.key(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        while low < self.head.keys as usize {
            let key = self.key(low)?;
            if key >> 32 != u64::from(hash) {
                break;
            }
            found.push(PhysicalOffset(self.begin + (key & u64::from(u32::MAX))));
            low += 1;
        }
        found.reverse();
        found.truncate(max);
        Ok(found)
    }

    fn key(&mut self, i: usize) -> Result<u64, BlockError> {
        Ok(word64(&self.read(self.keys_at() + i * KEY, KEY)?, 0))
    }
}
