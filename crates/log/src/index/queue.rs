//! One queue's entries: queue offset → place, tag hash, store time.

use crate::PhysicalOffset;
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

/// A queue. Its offsets rise without gaps, unless damage took messages: then the entry of each
/// lost message has size 0.
#[derive(Debug, Default)]
pub struct Queue {
    /// Each chunk with the queue offset of its first entry; the oldest first.
    chunks: std::collections::VecDeque<(i64, Vec<Packed>)>,
    next: i64,
    /// Offsets below are no longer there.
    min: i64,
}

/// Which end of equal times is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    Lower,
    Upper,
}

impl Queue {
    /// A queue whose next message gets the offset `next`, and which holds none.
    pub fn starting_at(next: i64) -> Self {
        Queue { chunks: Default::default(), next, min: next }
    }

    /// The offset that the next message gets.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The lowest offset that is still there; [`Queue::next`] if none is.
    pub fn min(&self) -> i64 {
        self.min
    }

    /// Adds the message with the offset [`Queue::next`].
    pub fn push(&mut self, entry: &Entry) {
        let full = self.chunks.back().is_none_or(|(_, chunk)| chunk.len() == chunk.capacity());
        if full {
            let last = self.chunks.back().map_or(2, |(_, chunk)| chunk.capacity());
            let chunk = Vec::with_capacity((last * 4).min(CHUNK_MAX));
            self.chunks.push_back((self.next, chunk));
        }
        if let Some((_, chunk)) = self.chunks.back_mut() {
            chunk.push(Packed::new(entry));
            self.next += 1;
        }
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
        const GAP_MAX: i64 = 1 << 20;
        if offset > self.next && (self.chunks.is_empty() || offset - self.next > GAP_MAX) {
            // The queue's earlier messages are gone, deleted with their files.
            *self = Queue::starting_at(offset);
        }
        let lost = Entry { place: Place { size: 0, ..near.place }, ..*near };
        while self.next < offset {
            self.push(&lost);
        }
    }

    /// The newest entry.
    pub fn last(&self) -> Option<Entry> {
        self.get(self.next - 1)
    }

    /// The entry of an offset.
    pub fn get(&self, offset: i64) -> Option<Entry> {
        if offset < self.min || offset >= self.next {
            return None;
        }
        let (first, chunk) = self.chunk_of(offset)?;
        chunk.get((offset - first) as usize).map(Packed::unpack)
    }

    fn chunk_of(&self, offset: i64) -> Option<&(i64, Vec<Packed>)> {
        let behind = self.chunks.partition_point(|(first, _)| *first <= offset);
        self.chunks.get(behind.checked_sub(1)?)
    }

    /// Entries from an offset on, below `end`.
    pub fn range(&self, from: i64, end: i64) -> impl Iterator<Item = (i64, Entry)> {
        let from = from.max(self.min);
        let behind = self.chunks.partition_point(|(first, _)| *first <= from);
        let chunks = self.chunks.iter().skip(behind.saturating_sub(1));
        chunks
            .flat_map(move |(first, chunk)| {
                let skip = (from - first).clamp(0, chunk.len() as i64);
                let rows = chunk.iter().enumerate().skip(skip as usize);
                rows.map(move |(i, packed)| (first + i as i64, packed.unpack()))
            })
            .take_while(move |(offset, _)| *offset < end)
    }

    /// The offset that belongs to a time, as Apache's broker answers `searchOffset`: with
    /// [`Boundary::Lower`] the first message stored at or after `time`, [`Queue::next`] (or `end`)
    /// if there is none; with [`Boundary::Upper`] the last one stored at or before it.
    pub fn seek_time(&self, time: i64, boundary: Boundary, end: i64) -> i64 {
        let end = end.min(self.next);
        let (mut low, mut high) = (self.min, end);
        while low < high {
            let middle = low + (high - low) / 2;
            let stored = self.get(middle).map_or(i64::MIN, |entry| entry.store_timestamp);
            let before = match boundary {
                Boundary::Lower => stored < time,
                Boundary::Upper => stored <= time,
            };
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match boundary {
            Boundary::Lower => low,
            Boundary::Upper if low > self.min && low < end => low - 1,
            Boundary::Upper => low,
        }
    }

    /// Forgets the messages below a position of the log.
    pub fn trim(&mut self, first: PhysicalOffset) {
        while let Some((start, chunk)) = self.chunks.front() {
            let gone = chunk.partition_point(|packed| packed.offset() < first);
            self.min = self.min.max(start + gone as i64);
            if gone < chunk.len() {
                return;
            }
            self.chunks.pop_front();
        }
        self.min = self.next;
    }

    /// Bytes of memory that the entries take.
    pub fn memory(&self) -> usize {
        self.chunks.iter().map(|(_, chunk)| chunk.capacity() * size_of::<Packed>()).sum()
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
    fn entries_are_found_by_offset_and_trimmed_by_position() {
        let mut queue = Queue::default();
        for n in 0..10_000 {
            queue.push(&entry(n));
        }
        for n in [0, 1, 7, 8, 500, 9_999] {
            assert_eq!(queue.get(n), Some(entry(n)));
        }
        assert_eq!((queue.get(-1), queue.get(10_000)), (None, None));
        let range: Vec<i64> = queue.range(4095, 4099).map(|(offset, _)| offset).collect();
        assert_eq!(range, [4095, 4096, 4097, 4098]);
        queue.trim(PhysicalOffset(5_000 * 100));
        assert_eq!((queue.min(), queue.next()), (5_000, 10_000));
        assert_eq!((queue.get(4_999), queue.get(5_000)), (None, Some(entry(5_000))));
        queue.trim(PhysicalOffset(u64::MAX));
        assert_eq!((queue.min(), queue.next()), (10_000, 10_000));
        queue.push(&entry(10_000));
        assert_eq!(queue.get(10_000), Some(entry(10_000)));
    }

    #[test]
    fn times_are_found_at_both_boundaries() {
        let mut queue = Queue::default();
        for n in 0..100 {
            queue.push(&entry(n));
        }
        let seek = |n: i64, boundary| queue.seek_time(1_700_000_000_000 + n, boundary, 100);
        assert_eq!(seek(-1, Boundary::Lower), 0);
        assert_eq!(seek(0, Boundary::Lower), 0);
        assert_eq!(seek(50, Boundary::Lower), 50);
        assert_eq!(seek(51, Boundary::Lower), 60);
        assert_eq!(seek(91, Boundary::Lower), 100);
        assert_eq!(seek(50, Boundary::Upper), 59);
        assert_eq!(seek(55, Boundary::Upper), 59);
        assert_eq!(seek(-1, Boundary::Upper), 0);
        assert_eq!(seek(500, Boundary::Upper), 100);
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
        assert_eq!((queue.min(), queue.next(), queue.get(1)), (1, 2, Some(entry(9))));
    }
}
