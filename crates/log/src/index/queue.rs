//! One queue's entries: queue offset → place, tag hash, store time.

use std::collections::VecDeque;

use crate::PhysicalOffset;
use crate::index::block::{Chain, Link};
use crate::limits::GAP_MAX;
use crate::read::Place;

/// What the index knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    /// Hash of the tag, see `kerolox_protocol::tags`.
    pub tags_code: i32,
    /// Milliseconds since 1970.
    pub store_timestamp: i64,
}

/// An entry as it is kept: 24 bytes. Positions and times take 48 bits.
#[derive(Debug, Clone, Copy)]
struct Packed {
    offset_low: u32,
    time_low: u32,
    offset_high: u16,
    time_high: u16,
    size: u32,
    crc: u32,
    tags_code: i32,
}

const _: () = assert!(size_of::<Packed>() == 24);

impl Packed {
    fn new(entry: &Entry) -> Self {
        let (offset, time) = (entry.place.offset.0, entry.store_timestamp as u64);
        Packed {
            offset_low: offset as u32,
            time_low: time as u32,
            offset_high: (offset >> 32) as u16,
            time_high: (time >> 32) as u16,
            size: entry.place.size,
            crc: entry.place.crc,
            tags_code: entry.tags_code,
        }
    }

    fn offset(&self) -> PhysicalOffset {
        PhysicalOffset(u64::from(self.offset_high) << 32 | u64::from(self.offset_low))
    }

    fn time(&self) -> i64 {
        (u64::from(self.time_high) << 32 | u64::from(self.time_low)) as i64
    }

    fn unpack(&self) -> Entry {
        let place = Place { offset: self.offset(), size: self.size, crc: self.crc };
        Entry { place, tags_code: self.tags_code, store_timestamp: self.time() }
    }
}

/// Entries of a chunk: chunks grow up to here, so that a queue with few messages takes little.
const CHUNK_MAX: usize = 4096;

/// Each chunk with the queue offset of its first entry; the oldest first.
type Chunks = VecDeque<(i64, Vec<Packed>)>;

/// The entries that are in memory: the queue's last ones.
#[derive(Debug, Default)]
enum Here {
    #[default]
    None,
    /// All that a queue has which gets a message now and then.
    One(Packed),
    Many(Box<Chunks>),
}

/// A queue. Its offsets rise without gaps, unless damage took messages: then the entry of each
/// lost message has size 0. Entries of finished stretches are in blocks ([`super::lookup`]).
///
/// There may be a million of them.
#[derive(Debug)]
pub struct Queue {
    here: Here,
    next: i64,
    /// Offsets below are no longer there.
    min: i64,
    /// Where entries are that are no longer in memory; of block [`NOWHERE`]: none are.
    older: Older,
    /// Position of the first message that the queue ever held.
    origin: u64,
}

const _: () = assert!(size_of::<Queue>() == 80);

/// No block.
const NOWHERE: u64 = u64::MAX;

/// What is known of a queue's entries in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Older {
    pub link: Link,
    /// When the last one of them was stored, in ms.
    pub last_time: i64,
}

/// An answer, or where to look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look<T> {
    Here(T),
    /// In the blocks.
    Older(Chain),
}

/// A search by time that is done in memory; a part of it may be left for the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seek {
    /// What is sought is the first message stored at or after this, in ms.
    pub first: i64,
    /// The answer if the blocks hold none.
    low: i64,
    /// Where to look in the blocks.
    pub older: Option<Chain>,
    boundary: Boundary,
    min: i64,
    end: i64,
}

impl Seek {
    /// The offset, as Apache's broker answers `searchOffset`: with [`Boundary::Lower`] the first
    /// message stored at or after the time, or the end if there is none; with [`Boundary::Upper`]
    /// the last one stored at or before it. `older`: what the blocks hold.
    pub fn finish(&self, older: Option<i64>) -> i64 {
        let low = older.unwrap_or(self.low).clamp(self.min, self.end.max(self.min));
        match self.boundary {
            Boundary::Lower => low,
            Boundary::Upper if low > self.min => low - 1,
            Boundary::Upper => low,
        }
    }
}

/// Which end of equal times is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    Lower,
    Upper,
}

impl Default for Queue {
    fn default() -> Self {
        Queue::restored(0, 0, 0, None)
    }
}

impl Queue {
    /// A queue whose next message gets the offset `next`, and which holds none.
    pub fn starting_at(next: i64) -> Self {
        Queue::restored(next, next, 0, None)
    }

    /// A queue as blocks and snapshots tell of it.
    pub fn restored(next: i64, min: i64, origin: u64, older: Option<Older>) -> Self {
        let link = Link { block: NOWHERE, slot: 0, ordinal: 0 };
        let older = older.unwrap_or(Older { link, last_time: 0 });
        Queue { here: Here::None, next, min: min.min(next), older, origin }
    }

    /// The offset that the next message gets.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The lowest offset that is still there; [`Queue::next`] if none is.
    pub fn min(&self) -> i64 {
        self.min
    }

    /// The lowest offset whose entry is in memory; [`Queue::next`] if none is.
    pub fn first_here(&self) -> i64 {
        match &self.here {
            Here::None => self.next,
            Here::One(_) => self.next - 1,
            Here::Many(chunks) => chunks.front().map_or(self.next, |(first, _)| *first),
        }
    }

    /// Where older entries are.
    pub fn older(&self) -> Option<Older> {
        (self.older.link.block != NOWHERE).then_some(self.older)
    }

    /// Where they are, for who looks them up; `None` if none of them is still there.
    pub fn older_chain(&self) -> Option<Chain> {
        let older = self.older().filter(|_| self.min < self.first_here())?;
        Some(self.chain(older))
    }

    /// Position of the first message that the queue ever held.
    pub fn origin(&self) -> u64 {
        self.origin
    }

    fn chain(&self, older: Older) -> Chain {
        Chain { newest: older.link, origin: self.origin }
    }

    /// Adds the message with the offset [`Queue::next`].
    pub fn push(&mut self, entry: &Entry) {
        let packed = Packed::new(entry);
        match &mut self.here {
            Here::None => {
                if self.older().is_none() {
                    self.origin = entry.place.offset.0;
                }
                self.here = Here::One(packed);
            }
            Here::One(first) => {
                let mut chunk = Vec::with_capacity(4);
                chunk.extend([*first, packed]);
                self.here = Here::Many(Box::new([(self.next - 1, chunk)].into()));
            }
            Here::Many(chunks) => match chunks.back_mut() {
                Some((_, chunk)) if chunk.len() < chunk.capacity() => chunk.push(packed),
                last => {
                    let before = last.map_or(1, |(_, chunk)| chunk.capacity());
                    let mut chunk = Vec::with_capacity((before * 4).min(CHUNK_MAX));
                    chunk.push(packed);
                    chunks.push_back((self.next, chunk));
                }
            },
        }
        self.next += 1;
    }

    /// Adds a replayed message, which says its own offset. What is missing before it was lost.
    pub fn push_at(&mut self, offset: i64, entry: &Entry) {
        if offset < self.next {
            // The topic was deleted and made again, but the log does not tell any more.
            *self = Queue::starting_at(offset);
        }
        self.lose_until(offset, entry);
        self.push(entry);
    }

    /// Messages below an offset were there, and those that are missing were lost. `near`: some
    /// entry of the log thereabouts.
    pub fn lose_until(&mut self, offset: i64, near: &Entry) {
        let is_empty = matches!(self.here, Here::None);
        if offset > self.next && (is_empty || offset - self.next > GAP_MAX) {
            // A gap without entries; or the earlier messages were deleted with their files.
            let min = if self.older().is_some() { self.min } else { offset };
            *self = Queue::restored(offset, min, self.origin, self.older());
        }
        let lost = Entry { place: Place { size: 0, ..near.place }, ..*near };
        while self.next < offset {
            self.push(&lost);
        }
    }

    /// The newest entry, if it is in memory.
    pub fn last(&self) -> Option<Entry> {
        self.here(self.next - 1)
    }

    /// The entry of an offset, if it is in memory.
    pub fn here(&self, offset: i64) -> Option<Entry> {
        if offset < self.min || offset >= self.next {
            return None;
        }
        let packed = match &self.here {
            Here::None => None,
            Here::One(last) => (offset + 1 == self.next).then_some(last),
            Here::Many(chunks) => {
                let behind = chunks.partition_point(|(first, _)| *first <= offset);
                let (first, chunk) = chunks.get(behind.checked_sub(1)?)?;
                chunk.get((offset - first) as usize)
            }
        };
        packed.map(Packed::unpack)
    }

    /// The entry of an offset.
    pub fn look(&self, offset: i64) -> Look<Option<Entry>> {
        match self.older() {
            Some(older) if (self.min..self.first_here()).contains(&offset) => {
                Look::Older(self.chain(older))
            }
            _ => Look::Here(self.here(offset)),
        }
    }

    /// When the message before an offset was stored, in ms.
    pub fn time_before(&self, offset: i64) -> Look<Option<i64>> {
        match (self.older(), self.look(offset - 1)) {
            (Some(older), Look::Older(_)) if offset == self.first_here() => {
                Look::Here(Some(older.last_time))
            }
            (_, Look::Older(chain)) => Look::Older(chain),
            (_, Look::Here(entry)) => Look::Here(entry.map(|entry| entry.store_timestamp)),
        }
    }

    /// Entries from an offset on, below `end`, that are in memory.
    pub fn range(&self, from: i64, end: i64) -> impl Iterator<Item = (i64, Entry)> {
        let from = from.max(self.min);
        let (one, chunks) = match &self.here {
            Here::None => (None, None),
            Here::One(last) => (Some((self.next - 1, last)), None),
            Here::Many(chunks) => (None, Some(chunks)),
        };
        let one = one.filter(|(offset, _)| *offset >= from);
        let chunks = chunks.into_iter().flat_map(move |chunks| {
            let behind = chunks.partition_point(|(first, _)| *first <= from);
            chunks.iter().skip(behind.saturating_sub(1))
        });
        let many = chunks.flat_map(move |(first, chunk)| {
            let skip = (from - first).clamp(0, chunk.len() as i64);
            let rows = chunk.iter().enumerate().skip(skip as usize);
            rows.map(move |(i, packed)| (first + i as i64, packed))
        });
        let all = one.into_iter().chain(many).map(|(offset, packed)| (offset, packed.unpack()));
        all.take_while(move |(offset, _)| *offset < end)
    }

    /// The offset that belongs to a time, below `end` ([`Seek::finish`]).
    pub fn seek_time(&self, time: i64, boundary: Boundary, end: i64) -> Seek {
        let end = end.min(self.next);
        let first = match boundary {
            Boundary::Lower => time,
            Boundary::Upper => time.saturating_add(1),
        };
        let (mut low, mut high) = (self.first_here().max(self.min), end);
        let here = low;
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = self.here(middle).map_or(i64::MIN, |entry| entry.store_timestamp);
            if stored < first { low = middle + 1 } else { high = middle }
        }
        let low = low.min(end).max(self.min);
        let older = self.older().filter(|older| low == here && older.last_time >= first);
        let older = older.filter(|_| self.min < here).map(|older| self.chain(older));
        Seek { first, low, older, boundary, min: self.min, end }
    }

    /// A block holds the entries of this queue up to `end` now, the last one stored at
    /// `last_time`: they leave the memory. `below`: the end of the block's stretch, which tells
    /// whether it is still the same queue, and not one of a topic that was made again.
    pub fn adopt(&mut self, older: Older, end: i64, below: PhysicalOffset) {
        let same = self.here(end - 1).is_some_and(|entry| entry.place.offset < below);
        if !same && end > self.min {
            return;
        }
        self.older = older;
        if self.first_here() >= end {
            return;
        }
        let Here::Many(chunks) = &mut self.here else {
            self.here = Here::None;
            return;
        };
        while let Some((start, chunk)) = chunks.front_mut() {
            let gone = (end - *start).clamp(0, chunk.len() as i64) as usize;
            if gone < chunk.len() {
                if gone > 0 {
                    let rest = chunk.split_off(gone);
                    (*start, *chunk) = (end, rest);
                }
                return;
            }
            chunks.pop_front();
        }
        self.here = Here::None;
    }

    /// Messages below an offset were deleted.
    pub fn raise_min(&mut self, min: i64) {
        self.min = self.min.max(min.min(self.next));
        if self.min >= self.first_here() {
            self.older.link.block = NOWHERE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> Entry {
        let place = Place { offset: PhysicalOffset(n as u64 * 100), size: 100, crc: n as u32 };
        Entry { place, tags_code: n as i32, store_timestamp: 1_700_000_000_000 + n / 10 * 10 }
    }

    #[test]
    fn entries_are_found_by_offset_until_a_block_holds_them() {
        let mut queue = Queue::default();
        for n in 0..10_000 {
            queue.push(&entry(n));
        }
        for n in [0, 1, 7, 8, 500, 9_999] {
            assert_eq!(queue.here(n), Some(entry(n)));
        }
        assert_eq!((queue.here(-1), queue.here(10_000)), (None, None));
        let range: Vec<i64> = queue.range(4095, 4099).map(|(offset, _)| offset).collect();
        assert_eq!(range, [4095, 4096, 4097, 4098]);
        let link = Link { block: 0, slot: 0, ordinal: 0 };
        let older = Older { link, last_time: entry(4_999).store_timestamp };
        let chain = Chain { newest: link, origin: 0 };
        // A block of an earlier topic of this name.
        queue.adopt(older, 5_000, PhysicalOffset(4_999 * 100));
        assert_eq!(queue.look(4_999), Look::Here(Some(entry(4_999))));
        queue.adopt(older, 5_000, PhysicalOffset(5_000 * 100));
        assert_eq!((queue.min(), queue.first_here(), queue.next()), (0, 5_000, 10_000));
        assert_eq!(queue.look(4_999), Look::Older(chain));
        assert_eq!(queue.look(5_000), Look::Here(Some(entry(5_000))));
        assert_eq!(queue.time_before(5_000), Look::Here(Some(entry(4_999).store_timestamp)));
        assert_eq!(queue.time_before(4_999), Look::Older(chain));
        queue.raise_min(3_000);
        assert_eq!((queue.look(2_999), queue.look(3_000)), (Look::Here(None), Look::Older(chain)));
        queue.raise_min(20_000);
        assert_eq!((queue.min(), queue.next(), queue.older()), (10_000, 10_000, None));
        queue.push(&entry(10_000));
        assert_eq!(queue.here(10_000), Some(entry(10_000)));
    }

    #[test]
    fn times_are_found_at_both_boundaries() {
        let mut queue = Queue::default();
        for n in 0..100 {
            queue.push(&entry(n));
        }
        let seek =
            |n: i64, boundary| queue.seek_time(1_700_000_000_000 + n, boundary, 100).finish(None);
        assert_eq!(seek(-1, Boundary::Lower), 0);
        assert_eq!(seek(0, Boundary::Lower), 0);
        assert_eq!(seek(50, Boundary::Lower), 50);
        assert_eq!(seek(51, Boundary::Lower), 60);
        assert_eq!(seek(91, Boundary::Lower), 100);
        assert_eq!(seek(50, Boundary::Upper), 59);
        assert_eq!(seek(55, Boundary::Upper), 59);
        assert_eq!(seek(-1, Boundary::Upper), 0);
        assert_eq!(seek(500, Boundary::Upper), 99);
    }

    #[test]
    fn lost_messages_leave_entries_without_a_size() {
        let mut queue = Queue::default();
        queue.push_at(0, &entry(0));
        queue.push_at(3, &entry(3));
        assert_eq!(queue.next(), 4);
        let sizes: Vec<u32> = queue.range(0, 4).map(|(_, e)| e.place.size).collect();
        assert_eq!(sizes, [100, 0, 0, 100]);
        // The topic was deleted and made again, and only the second message of that is left.
        queue.push_at(1, &entry(9));
        assert_eq!((queue.min(), queue.next(), queue.here(1)), (1, 2, Some(entry(9))));
    }
}
