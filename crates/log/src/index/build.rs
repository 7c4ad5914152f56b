//! Makes index blocks of finished stretches of the log.
//!
//! In: a confirmed and synced stretch ([`crate::recover::fold`]), and where the queues' older
//! entries are. Out: a [`NewBlock`]. Runs on housekeeping.
//!
//! A stretch ends with the first round that ends [`STRETCH`] bytes behind its begin, or with its
//! file, or with what Apache's broker wrote: always at the same place, however often it is looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kerolox_protocol::record::{View, sys_flag};
use kerolox_protocol::{properties, tags};

use crate::PhysicalOffset;
use crate::files::Files;
use crate::identity::Identity;
use crate::index::block::{Chain, NewBlock, NewQueue};
use crate::index::keys;
use crate::index::queue::Entry;
use crate::limits::{GAP_MAX, QUEUES_MAX, STRETCH};
use crate::read::Place;
use crate::recover::{self, Origin, RecoverError, Replay};

/// Whether a record is a message of a queue. Half messages and what is of the log's own are not.
pub fn is_message(record: &View<'_>) -> bool {
    record.transaction_type() != sys_flag::PREPARED
        && record.transaction_type() != sys_flag::ROLLBACK
        && (0..QUEUES_MAX).contains(&record.queue_id)
}

/// What the index keeps of a message.
pub fn entry(record: &View<'_>, crc: u32) -> Entry {
    let tag = properties::get(record.properties, properties::TAGS).unwrap_or("");
    let place = Place {
        offset: PhysicalOffset(record.physical_offset),
        size: record.bytes.len() as u32,
        crc,
    };
    Entry { place, tags_code: tags::tags_code(tag), store_timestamp: record.store_timestamp }
}

/// Where the stretch that begins at `begin` has to reach, at least.
pub fn stretch_end(files: &Files, begin: PhysicalOffset) -> PhysicalOffset {
    let file_end = (begin.0 / files.file_size() + 1) * files.file_size();
    let run_end = files.adopted().behind(begin).map_or(u64::MAX, |run| run.end.0);
    PhysicalOffset(begin.0.saturating_add(STRETCH).min(file_end).min(run_end))
}

/// Which topic a state change deletes, if it does.
pub type DeletedTopic = fn(&[u8]) -> Option<Cow<'_, str>>;

struct Collector {
    block: NewBlock,
    /// Each topic's number here: a message finds its queue without a copy of the name.
    topics: BTreeMap<String, u32>,
    /// By number of the topic, and queue. Those of a topic that is gone from `topics` do not count.
    queues: BTreeMap<(u32, i32), NewQueue>,
    /// The number of the next topic.
    next: u32,
    deleted: DeletedTopic,
}

/// Reads a stretch. `origin`: where it begins, and the seal before it; without a seal what the
/// first one says is taken.
pub fn collect(
    files: &Files,
    identity: &Identity,
    origin: Origin,
    deleted: DeletedTopic,
) -> Result<NewBlock, RecoverError> {
    let begin = origin.position;
    let block = NewBlock { begin: begin.0, ..NewBlock::default() };
    let mut collector =
        Collector { block, topics: BTreeMap::new(), queues: BTreeMap::new(), next: 0, deleted };
    let until = stretch_end(files, begin);
    let (end, lost) = recover::fold(files, identity, Some(origin), until, &mut collector)?;
    let Collector { mut block, topics, mut queues, .. } = collector;
    for (topic, number) in topics {
        for ((_, queue), entries) in queues.range_mut((number, 0)..=(number, i32::MAX)) {
            block.queues.insert((topic.clone(), *queue), std::mem::take(entries));
        }
    }
    block.end = end.position.0;
    block.before = end.before;
    block.lost = lost;
    block.start = end.start;
    block.store_timestamp = end.store_timestamp;
    Ok(block)
}

impl Collector {
    fn add(&mut self, topic: &str, queue: i32, offset: i64, entry: Entry) {
        let number = match self.topics.get(topic) {
            Some(number) => *number,
            None => {
                self.next += 1;
                self.topics.insert(topic.to_owned(), self.next);
                self.next
            }
        };
        let queue = self.queues.entry((number, queue)).or_default();
        let next = queue.first + queue.entries.len() as i64;
        let follows = !queue.entries.is_empty() && (next..=next + GAP_MAX).contains(&offset);
        if !follows {
            let entries = Vec::with_capacity(1);
            let origin = entry.place.offset.0;
            *queue = NewQueue { first: offset, origin, entries, ..NewQueue::default() };
        }
        // Messages that damage took have entries without a size.
        let lost = Entry { place: Place { size: 0, ..entry.place }, ..entry };
        let missing = offset - (queue.first + queue.entries.len() as i64);
        queue.entries.extend(std::iter::repeat_n(lost, missing as usize));
        queue.entries.push(entry);
    }
}

impl Replay for Collector {
    fn record(&mut self, record: &View<'_>, crc: u32) {
        if !is_message(record) {
            return;
        }
        let entry = entry(record, crc);
        self.add(record.topic, record.queue_id, record.queue_offset, entry);
        for key in keys::of(record) {
            self.block.keys.push((keys::hash(record.topic, key), record.physical_offset));
        }
    }

    fn lost(&mut self, record: &View<'_>) {
        let number = self.topics.get(record.topic);
        let queue = number.and_then(|number| self.queues.get(&(*number, record.queue_id)));
        // What it says is believed where it fits exactly; its time cannot be.
        if let Some(queue) = queue
            && queue.end() == record.queue_offset
            && let Some(last) = queue.entries.last()
        {
            let place = Place { offset: PhysicalOffset(record.physical_offset), size: 0, crc: 0 };
            self.add(record.topic, record.queue_id, record.queue_offset, Entry { place, ..*last });
        }
    }

    fn change(&mut self, change: &[u8], at: PhysicalOffset) {
        self.block.changes.extend_from_slice(&at.0.to_be_bytes());
        self.block.changes.extend_from_slice(&(change.len() as u32).to_be_bytes());
        self.block.changes.extend_from_slice(change);
        if let Some(topic) = (self.deleted)(change) {
            self.topics.remove(&*topic);
        }
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// Where the older entries of queues are.
pub type Older = BTreeMap<(String, i32), Chain>;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use kerolox_protocol::record::NewRecord;

    use super::*;
    use crate::append::{Appender, Resume};
    use crate::disk::Disk;
    use crate::disk::fault::FaultDisk;
    use crate::files::DIR;
    use crate::flush::Writer;
    use crate::seal;

    const FILE_SIZE: u64 = 64 << 10;

    /// Seed 102373 of the simulation: a damaged record lied about its place.
    #[test]
    fn a_block_is_made_of_a_log_whose_records_lie() {
        let (disk, dir) = (FaultDisk::default(), Path::new("/data"));
        disk.create_dir(dir).unwrap();
        let files = Arc::new(Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).unwrap());
        let identity = Identity { number: [1; 16], writer: 2 };
        let before = seal::Link::NONE;
        let resume = Resume { next: PhysicalOffset(0), before, store_timestamp: 0, start: 1 };
        let mut log = Appender::new(identity, FILE_SIZE, resume);
        let mut writer = Writer::new(files.clone(), PhysicalOffset(0));
        let host = ([127, 0, 0, 1], 1).into();
        let mut places = Vec::new();
        for offset in 0..80 {
            let record = NewRecord {
                topic: "t",
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &[7; 1000],
                properties: b"",
            };
            places.push(log.append(&record, offset, 1000 + offset).unwrap());
            writer.write(&log.take_rounds()).unwrap();
            writer.sync().unwrap();
            log.set_flushed(writer.watermarks().flushed);
        }
        let path = |base: u64| dir.join(DIR).join(format!("{base:020}"));
        // In a record: physical offset from byte 28 on, store time from 56.
        let flips = [(20, 8 * 28 + 3), (30, 8 * 56), (40, 8 * 200), (70, 8 * 35 + 6)];
        for (number, bit) in flips {
            let at = places[number].offset.0;
            disk.flip(&path(at - at % FILE_SIZE), at % FILE_SIZE * 8 + bit);
        }
        let first = Origin {
            position: PhysicalOffset(0),
            before: Some(before),
            start: 0,
            store_timestamp: 0,
        };
        let block = collect(&files, &identity, first, |_| None).unwrap();
        assert_eq!(block.lost.len(), 3);
        assert!(!block.encode(&identity.number).is_empty());
        let queue = &block.queues[&("t".to_owned(), 0)];
        for (offset, entry) in (0..).zip(&queue.entries) {
            let is_lost = [20, 30, 40].contains(&offset);
            assert_eq!(entry.place.size == 0, is_lost, "{offset}");
        }
        let times: Vec<i64> = queue.entries.iter().map(|entry| entry.store_timestamp).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert!(queue.entries.iter().all(|entry| entry.place.offset.0 < block.end));
    }
}
