//! Makes index blocks of finished stretches of the log.
//!
//! In: a confirmed and synced stretch ([`crate::recover::fold`]), and where the queues' older
//! entries are. Out: a [`NewBlock`]. Runs on housekeeping.
//!
//! A stretch ends with the first round that ends [`STRETCH`] bytes behind its begin, or with its
//! file: always at the same place, however often it is looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kerolox_protocol::record::{View, sys_flag};
use kerolox_protocol::{properties, tags};

use crate::PhysicalOffset;
use crate::files::Files;
use crate::identity::Identity;
use crate::index::block::{Link, NewBlock, NewQueue};
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
    PhysicalOffset(begin.0.saturating_add(STRETCH).min(file_end))
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
        let next = queue.map(NewQueue::end);
        // What it says is believed where it fits exactly.
        if next == Some(record.queue_offset) {
            let mut entry = entry(record, 0);
            entry.place.size = 0;
            self.add(record.topic, record.queue_id, record.queue_offset, entry);
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

/// Older entries of the queues: the newest block of each, and its very first position.
pub type Older = BTreeMap<(String, i32), (Link, u64)>;
