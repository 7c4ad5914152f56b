//! The durable state: topics, groups, offsets, delivery of delayed messages, KV configuration, and
//! the index over all messages. It changes only by what is in the log: records and [`Change`]s, in
//! a request's turn, and at a start once more ([`Replay`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::block::{BlockError, BlockFile, Chain, Link, Row};
use kerolox_log::index::build;
use kerolox_log::index::keys::{self, Keys};
use kerolox_log::index::queue::{Older, Queue};
use kerolox_log::limits::{QUEUE_OFFSET_MAX, QUEUES_MAX};
use kerolox_log::recover::Replay;
use kerolox_log::snapshot::Put;
use kerolox_protocol::names::{
    AUTO_CREATE_TOPIC, SCHEDULE_TOPIC, SYSTEM_GROUPS, check_topic, is_system_topic,
};
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::admin::{GroupConfig, TopicConfig, perm};

pub use crate::change::Setting;
use crate::change::{Change, QueueKnown};
use crate::config::Config;
use crate::groups::Groups;
use crate::offsets::Offsets;
use crate::topics::{Topic, TopicId, Topics};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct State {
    pub topics: Topics,
    pub groups: Groups,
    pub offsets: Offsets,
    pub keys: Keys,
    /// For each delay level how far its messages are delivered; level 1 first.
    pub delayed: Vec<i64>,
    pub kv: BTreeMap<(String, String), String>,
    /// Keys of the configuration that were changed while the server ran.
    pub settings: BTreeMap<String, Setting>,
    /// Which topics it holds.
    part: Part,
    /// A block or a snapshot is taken over: where queues end does not follow from its changes.
    restoring: bool,
    /// Changes that this release does not know.
    pub unknown_changes: u64,
    /// Called with progress during a replay.
    pub on_progress: Option<ProgressFn>,
}

/// A share of the state: the topics whose hash is one of `of` equal parts, with all that belongs to
/// them. What belongs to no topic is in the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub index: u32,
    pub of: u32,
}

impl Part {
    /// The whole state.
    pub const ALL: Part = Part { index: 0, of: 1 };

    fn holds(self, topic: &str) -> bool {
        self.of == 1 || keys::hash(topic, "") % self.of == self.index
    }
}

impl Default for Part {
    fn default() -> Self {
        Part::ALL
    }
}

/// A callback for `/readyz`.
pub struct ProgressFn(pub Box<dyn FnMut(u64, u64) + Send>);

impl std::fmt::Debug for ProgressFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProgressFn")
    }
}

impl State {
    /// The state of an empty log: the system's own topics and groups.
    pub fn new(config: &Config) -> State {
        let delayed = vec![0; config.delay_levels_ms.len()];
        let mut state = State { delayed, ..State::default() };
        let mut topic = |name: &str, queues: i32, perm: i32| {
            let config = TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm,
                ..TopicConfig::default()
            };
            let id = state.topics.put(config, 0, PhysicalOffset(0));
            if let Some(topic) = state.topics.get_mut(id) {
                topic.is_system = true;
            }
        };
        let (read_write, inherit) = (perm::READ | perm::WRITE, perm::INHERIT);
        if let Some(name) = &config.trace_topic {
            topic(name, 1, read_write);
        }
        topic(&config.cluster, 16, read_write | inherit);
        topic(&config.broker_name, 1, read_write | inherit);
        topic("SELF_TEST_TOPIC", 1, read_write);
        topic("OFFSET_MOVED_EVENT", 1, read_write);
        topic("BenchmarkTest", 1024, read_write);
        topic(SCHEDULE_TOPIC, config.delay_levels_ms.len() as i32, read_write);
        for group in SYSTEM_GROUPS {
            let config = GroupConfig { group_name: group.to_owned(), ..GroupConfig::default() };
            state.groups.put(config, 0);
        }
        if config.auto_create_topic {
            state.put_auto_create_topic(config, 0);
        }
        state
    }

    /// Makes the topic after which those are made that a send makes.
    pub(crate) fn put_auto_create_topic(&mut self, config: &Config, now: i64) {
        let queues = config.default_topic_queue_nums;
        let config = TopicConfig {
            topic_name: AUTO_CREATE_TOPIC.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: perm::READ | perm::WRITE | perm::INHERIT,
            ..TopicConfig::default()
        };
        self.topics.put(config, now, PhysicalOffset(0));
    }

    /// A part of the state of an empty log.
    pub fn part(config: &Config, part: Part) -> State {
        State { part, ..State::new(config) }
    }

    /// Applies a change. `now`: ms, for data versions. `at`: the round in which it stands.
    pub fn apply(&mut self, change: &Change<'_>, now: i64, at: PhysicalOffset) {
        if change.topic().is_some_and(|topic| !self.part.holds(topic)) {
            return;
        }
        match change {
            Change::TopicPut(config) => {
                self.topics.put(config.as_ref().clone(), now, at);
            }
            Change::TopicDelete { topic } => {
                self.topics.delete(topic, now);
                self.offsets.delete_topic(topic);
            }
            Change::GroupPut(config) => self.groups.put(config.as_ref().clone(), now),
            Change::GroupDelete { group, clean_offsets } => {
                self.groups.delete(group, now);
                if *clean_offsets {
                    self.offsets.delete_group(group);
                }
            }
            // The bytes on the disk say how much memory it takes.
            Change::Offset { queue, .. } if !(0..QUEUES_MAX).contains(queue) => {}
            Change::Offset { group, topic, queue, offset } => {
                self.offsets.restore(group, topic, *queue, *offset);
                // Nobody commits beyond the end: what is missing below was lost to damage.
                if !self.restoring {
                    self.lose_until(topic, *queue, *offset);
                }
            }
            Change::Delayed { level, offset } => {
                if let Some(at) = usize::from(*level).checked_sub(1)
                    && let Some(delivered) = self.delayed.get_mut(at)
                {
                    *delivered = *offset;
                }
            }
            Change::Kv { namespace, key, value } => {
                let at = (namespace.clone().into_owned(), key.clone().into_owned());
                match value {
                    Some(value) => drop(self.kv.insert(at, value.clone().into_owned())),
                    None => drop(self.kv.remove(&at)),
                }
            }
            Change::Setting { key, setting: Some(setting) } => {
                self.settings.insert(key.clone().into_owned(), setting.clone());
            }
            Change::Setting { key, setting: None } => drop(self.settings.remove(&**key)),
            Change::Recovered { .. } | Change::Adopted { .. } => {}
            Change::Queue { topic, queue, known } => {
                let sane = (0..QUEUES_MAX).contains(queue)
                    && (0..=QUEUE_OFFSET_MAX).contains(&known.next)
                    && (0..=known.next).contains(&known.min);
                if let Some(topic) = self.topic_mut(topic).filter(|_| sane) {
                    let QueueKnown { next, min, origin, older } = *known;
                    let state = topic.queue_mut(*queue);
                    state.index = Queue::restored(next, min, origin, older);
                    state.visible = next;
                }
            }
            Change::TopicBorn { topic, at } => {
                if let Some(topic) = self.topic_mut(topic) {
                    topic.born = PhysicalOffset(*at);
                }
            }
        }
    }

    fn topic_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.topics.find(name).and_then(|id| self.topics.get_mut(id))
    }

    /// Adds the keys of a message to the index.
    pub fn index_keys(&mut self, topic: &str, uniq_key: &str, keys: &str, at: PhysicalOffset) {
        for key in std::iter::once(uniq_key).chain(keys.split(' ')).filter(|key| !key.is_empty()) {
            self.keys.push(keys::hash(topic, key), at);
        }
    }

    /// A record's topic. One that no change made was lost with its round: the message is there all
    /// the same, so the topic is made again with default settings.
    /// So is one that was made again larger: it has at least the queues that its messages need.
    fn topic_of(
        &mut self,
        (name, queue): (&str, i32),
        time: i64,
        at: PhysicalOffset,
    ) -> Option<TopicId> {
        let queues = queue.clamp(0, QUEUES_MAX - 1) + 1;
        let mut config = TopicConfig { topic_name: name.to_owned(), ..Default::default() };
        if let Some(id) = self.topics.find(name) {
            let known = &self.topics.get(id)?.config;
            let enough = known.read_queue_nums.max(known.write_queue_nums) >= queues;
            if enough || is_system_topic(name) {
                return Some(id);
            }
            config = TopicConfig::clone(known);
        }
        check_topic(name).ok()?;
        (config.read_queue_nums, config.write_queue_nums) = (queues, queues);
        Some(self.topics.put(config, time, at))
    }

    /// Messages of a queue below an offset were there: the next one gets none of theirs.
    fn lose_until(&mut self, topic: &str, queue: i32, offset: i64) {
        let Some(topic) = self.topics.find(topic).and_then(|id| self.topics.get_mut(id)) else {
            return;
        };
        let next = topic.queue(queue).map_or(0, |state| state.index.next());
        if offset <= next || offset > QUEUE_OFFSET_MAX || !(0..QUEUES_MAX).contains(&queue) {
            return;
        }
        let state = topic.queue_mut(queue);
        match state.index.last() {
            Some(last) => state.index.lose_until(offset, &last),
            // A gap without entries.
            None => {
                let index = &state.index;
                let min = if index.older().is_some() { index.min() } else { offset };
                state.index = Queue::restored(offset, min, index.origin(), index.older());
            }
        }
        state.visible = state.index.next();
    }

    /// Takes over what a block says of its stretch: state changes, then queues. What is there
    /// already is older. If the block cannot be read nothing is changed.
    pub fn restore_block(&mut self, block: &mut BlockFile<'_>) -> Result<(), BlockError> {
        let part = self.part;
        let directory = block.directory_of(|topic| part.holds(topic))?;
        let changes = block.changes()?;
        let committed = committed_beyond(block, &directory, &changes)?;
        self.restoring = true;
        for (at, change) in &changes {
            self.change(change, PhysicalOffset(*at));
        }
        self.restoring = false;
        // A topic that was made smaller in this stretch stays so, whatever queues it had before.
        let put: std::collections::BTreeSet<String> = changes
            .iter()
            .filter_map(|(_, change)| match Change::decode(change) {
                Some(Change::TopicPut(config)) => Some(config.topic_name.clone()),
                _ => None,
            })
            .collect();
        for (slot, topic, row) in directory {
            let at = PhysicalOffset(block.head.begin);
            let known = put.contains(&topic).then(|| self.topics.find(&topic)).flatten();
            let id = known.or_else(|| self.topic_of((&topic, row.queue), row.last_time, at));
            let Some(id) = id else { continue };
            let Some(topic) = self.topics.get_mut(id) else { continue };
            // Where the change that made it was lost, a later one may have made it anew.
            topic.born = topic.born.min(PhysicalOffset(row.origin));
            let state = topic.queue_mut(row.queue);
            // Without a block before this one no look-up reaches what is older: it was given up once,
            // though its log file may still be there.
            let goes_on =
                row.prev.is_some() && state.index.next() > 0 && row.first >= state.index.next();
            let min = if goes_on { state.index.min() } else { row.first };
            let link = Link { block: block.head.begin, slot, ordinal: row.ordinal };
            let older = Some(Older { link, last_time: row.last_time });
            // A block that was made again may take an earlier topic's queue for this one's.
            let known = if goes_on { state.index.origin() } else { 0 };
            state.index = Queue::restored(row.end(), min, row.origin.max(known), older);
            state.visible = row.end();
        }
        for (topic, queue, offset) in committed {
            let next = self.topics.by_name(topic.as_ref()).and_then(|topic| topic.queue(queue));
            if next.is_some_and(|queue| offset > queue.index.next()) {
                self.lose_until(&topic, queue, offset);
            }
        }
        Ok(())
    }

    /// Where the older entries of a queue of a stretch that begins at `begin` are; inside, `None` if
    /// there are none. `None`: this is another topic of the same name, or there is none any more; but
    /// its end may not be durable yet.
    pub fn older(&self, topic: &str, queue: i32, begin: u64) -> Option<Option<Chain>> {
        let topic = self.topics.by_name(topic).filter(|topic| topic.born.0 < begin)?;
        let index = &topic.queue(queue)?.index;
        let older = index.older().filter(|older| older.link.block < begin);
        Some(older.map(|older| Chain { newest: older.link, origin: index.origin() }))
    }

    /// A block that ends at `end` holds the entries of a queue up to the offset `next`: they leave
    /// the memory.
    pub fn adopt(&mut self, topic: &str, queue: i32, next: i64, older: Older, end: u64) {
        let topic = self.topic_mut(topic).filter(|topic| topic.born.0 < end);
        if let Some(topic) = topic
            && topic.queue(queue).is_some()
        {
            topic.queue_mut(queue).index.adopt(older, next, PhysicalOffset(end));
        }
    }

    /// The messages of a queue in a stretch that ends at `end` were deleted: those below `next`.
    pub fn raise_min(&mut self, topic: &str, queue: i32, next: i64, end: u64) {
        let topic = self.topic_mut(topic).filter(|topic| topic.born.0 < end);
        if let Some(topic) = topic
            && topic.queue(queue).is_some()
        {
            topic.queue_mut(queue).index.raise_min(next);
        }
    }

    /// Retention deleted messages of a topic before their time.
    pub fn count_deleted_early(&mut self, topic: &str, messages: u64) {
        if let Some(topic) = self.topic_mut(topic) {
            topic.counters.messages_deleted_early += messages;
        }
    }

    /// The whole state as changes: the content of a snapshot. Ends with the first error of `put`.
    pub fn dump(&self, put: &mut Put<'_>) -> io::Result<()> {
        let mut put = |change: Change<'_>| put(&change.encode());
        for (_, topic) in self.topics.iter().filter(|(_, topic)| self.part.holds(topic.name())) {
            if !is_made_at_each_start(topic.name()) {
                put(Change::TopicPut(Cow::Borrowed(&topic.config)))?;
                put(Change::TopicBorn { topic: topic.name().into(), at: topic.born.0 })?;
            }
            for (queue, state) in topic.used_queues() {
                let index = &state.index;
                let known = QueueKnown {
                    next: index.next(),
                    min: index.min(),
                    origin: index.origin(),
                    older: index.older(),
                };
                put(Change::Queue { topic: topic.name().into(), queue, known })?;
            }
        }
        for (group, topic, queue, offset) in self.offsets.iter() {
            put(Change::Offset {
                group: (**group).into(),
                topic: (**topic).into(),
                queue,
                offset,
            })?;
        }
        if self.part.index > 0 {
            return Ok(());
        }
        for config in self.groups.view().values() {
            put(Change::GroupPut(Cow::Borrowed(config)))?;
        }
        for (i, offset) in self.delayed.iter().enumerate() {
            put(Change::Delayed { level: i as u8 + 1, offset: *offset })?;
        }
        self.kept_changes().try_for_each(put)
    }

    /// What of the state no table of Apache's broker holds.
    pub(crate) fn kept_changes(&self) -> impl Iterator<Item = Change<'_>> {
        let kv = self.kv.iter().map(|((namespace, key), value)| {
            let value = Some(value.into());
            Change::Kv { namespace: namespace.into(), key: key.into(), value }
        });
        let settings = self.settings.iter().map(|(key, setting)| Change::Setting {
            key: key.into(),
            setting: Some(setting.clone()),
        });
        kv.chain(settings)
    }

    /// Takes over one of the changes that [`State::dump`] wrote.
    pub fn restore(&mut self, change: &[u8]) {
        // A group's offset may lie behind the queue's end: of an earlier topic of the same name, whose
        // deletion was lost.
        self.restoring = true;
        self.change(change, PhysicalOffset(0));
        self.restoring = false;
    }
}

/// Whether [`State::new`] makes a topic whatever was before: its settings come from the configuration.
pub(crate) fn is_made_at_each_start(topic: &str) -> bool {
    let always = ["SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "BenchmarkTest"];
    always.contains(&topic) || matches!(topic, AUTO_CREATE_TOPIC | SCHEDULE_TOPIC)
}

/// Offsets that groups committed in a block's stretch, and that lie behind the block's messages:
/// topic, queue, offset.
fn committed_beyond<'a>(
    block: &mut BlockFile<'_>,
    directory: &[(u32, String, Row)],
    changes: &'a [(u64, Vec<u8>)],
) -> Result<Vec<(Cow<'a, str>, i32, i64)>, BlockError> {
    let mut committed = BTreeMap::new();
    for (at, change) in changes {
        match Change::decode(change) {
            Some(Change::Offset { topic, queue, offset, .. }) => {
                let max: &mut (i64, u64) = committed.entry((topic, queue)).or_default();
                *max = (offset, *at).max(*max);
            }
            Some(Change::TopicDelete { topic }) => committed.retain(|(t, _), _| *t != topic),
            _ => {}
        }
    }
    let mut beyond = Vec::new();
    for ((topic, queue), (offset, at)) in committed {
        let slot = directory
            .binary_search_by(|(_, name, row)| (name.as_str(), row.queue).cmp(&(&*topic, queue)));
        let row = slot.ok().and_then(|slot| directory.get(slot)).map(|(_, _, row)| row);
        if let Some(row) = row {
            if offset <= row.end() {
                continue;
            }
            // Where its messages are newer it speaks of an earlier topic of this name, whose end was
            // lost.
            let last = block.entries(row, row.end().saturating_sub(1), 1)?;
            if last.first().is_some_and(|last| last.place.offset.0 >= at) {
                continue;
            }
        }
        beyond.push((topic, queue, offset));
    }
    Ok(beyond)
}

impl Replay for State {
    fn record(&mut self, record: &View<'_>, crc: u32) {
        if !build::is_message(record) {
            return;
        }
        let at = PhysicalOffset(record.physical_offset);
        let name = (record.topic, record.queue_id);
        let Some(id) = self.topic_of(name, record.store_timestamp, at) else { return };
        let Some(topic) = self.topics.get_mut(id) else { return };
        let queue = topic.queue_mut(record.queue_id);
        queue.index.push_at(record.queue_offset, &build::entry(record, crc));
        queue.visible = queue.index.next();
        for key in keys::of(record) {
            self.keys.push(keys::hash(record.topic, key), at);
        }
    }

    fn lost(&mut self, record: &View<'_>) {
        let topic = self.topics.by_name(record.topic);
        let next = topic.and_then(|topic| topic.queue(record.queue_id)).map(|q| q.index.next());
        // What it says is believed where it fits exactly.
        if next == Some(record.queue_offset) {
            self.lose_until(record.topic, record.queue_id, record.queue_offset + 1);
        }
    }

    fn change(&mut self, change: &[u8], at: PhysicalOffset) {
        match Change::decode(change) {
            Some(change) => self.apply(&change, 0, at),
            None => self.unknown_changes += 1,
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        if let Some(ProgressFn(callback)) = &mut self.on_progress {
            callback(done, total);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use kerolox_log::disk::Disk;
    use kerolox_log::disk::fault::FaultDisk;
    use kerolox_log::files::Files;
    use kerolox_log::identity::Identity;
    use kerolox_log::index::block::{NewBlock, NewQueue};
    use kerolox_log::index::lookup::Blocks;
    use kerolox_log::index::queue::Entry;
    use kerolox_log::read::Place;
    use kerolox_protocol::record::NewRecord;

    use super::*;
    use crate::change::deleted_topic;

    fn dumped(state: &State) -> Vec<Vec<u8>> {
        let mut changes = Vec::new();
        let mut put = |change: &[u8]| {
            changes.push(change.to_vec());
            Ok(())
        };
        state.dump(&mut put).unwrap();
        changes
    }

    /// A snapshot is made part by part.
    #[test]
    fn the_parts_of_a_state_are_the_whole() {
        let config = Config::default();
        let mut state = State::new(&config);
        let known = QueueKnown { next: 9, min: 3, origin: 77, older: None };
        let mut changes = Vec::new();
        for n in 0..100 {
            let topic = || Cow::<str>::Owned(format!("topic{n}"));
            let config = TopicConfig { topic_name: topic().into_owned(), ..Default::default() };
            changes.push(Change::TopicPut(Cow::Owned(config)));
            changes.push(Change::TopicBorn { topic: topic(), at: n });
            changes.push(Change::Queue { topic: topic(), queue: 3, known });
            let group = Cow::Borrowed("g");
            changes.push(Change::Offset { group, topic: topic(), queue: 3, offset: 5 });
        }
        let config_of = GroupConfig { group_name: "g".to_owned(), ..GroupConfig::default() };
        changes.push(Change::GroupPut(Cow::Owned(config_of)));
        changes.push(Change::Delayed { level: 2, offset: 4 });
        let value = Some("v".into());
        changes.push(Change::Kv { namespace: "n".into(), key: "k".into(), value });
        changes.push(Change::TopicDelete { topic: "topic50".into() });
        changes.iter().for_each(|change| state.apply(change, 0, PhysicalOffset(0)));
        let whole = dumped(&state);

        let mut parts = Vec::new();
        for index in 0..7 {
            let mut part = State::part(&config, Part { index, of: 7 });
            changes.iter().for_each(|change| part.apply(change, 0, PhysicalOffset(0)));
            let dump = dumped(&part);
            assert!(dump.len() < whole.len() / 3, "{} of {}", dump.len(), whole.len());
            // As much comes of a snapshot of the whole.
            let mut restored = State::part(&config, Part { index, of: 7 });
            whole.iter().for_each(|change| restored.restore(change));
            assert_eq!(dumped(&restored), dump);
            parts.extend(dump);
        }
        let sorted = |mut changes: Vec<Vec<u8>>| {
            changes.sort();
            changes
        };
        assert_eq!(sorted(parts), sorted(whole));
    }

    /// Seed 101524 of the simulation: retention gave messages up and could not delete their file; then the
    /// snapshot that said so was lost.
    #[test]
    fn a_queue_begins_with_the_block_that_leads_to_no_older_one() {
        let (disk, dir) = (FaultDisk::default(), Path::new("/data"));
        disk.create_dir(dir).unwrap();
        let files = Arc::new(Files::open(Arc::new(disk), dir, 64 << 10).unwrap());
        let identity = Identity { number: [7; 16], writer: 1 };
        let blocks = Blocks::open(files, dir.to_owned(), identity, deleted_topic).unwrap();
        let place = Place { offset: PhysicalOffset(70_000), size: 1, crc: 1 };
        let entries = vec![Entry { place, tags_code: 0, store_timestamp: 9 }];
        let link = Link { block: 0, slot: 0, ordinal: 0 };
        for (prev, min) in [(None, 4), (Some((0, 0)), 1)] {
            let mut state = State::new(&Config::default());
            let config = TopicConfig { topic_name: "t".to_owned(), ..TopicConfig::default() };
            let known = QueueKnown {
                next: 4,
                min: 1,
                origin: 77,
                older: Some(Older { link, last_time: 5 }),
            };
            for change in [
                Change::TopicPut(Cow::Owned(config)),
                Change::Queue { topic: "t".into(), queue: 0, known },
            ] {
                state.restore(&change.encode());
            }
            let (entries, begin) = (entries.clone(), 64 << 10);
            let queue = NewQueue { first: 4, entries, prev, ..NewQueue::default() };
            let queues = [(("t".to_owned(), 0), queue)].into();
            let new = NewBlock { begin, end: 2 * begin, queues, ..NewBlock::default() };
            blocks.add(&new).unwrap();
            state.restore_block(&mut blocks.block(begin).unwrap()).unwrap();
            let index = &state.topics.by_name("t").unwrap().queue(0).unwrap().index;
            assert_eq!((index.min(), index.next()), (min, 5));
        }
    }

    /// Found by fuzzing: a few bytes took all memory.
    #[test]
    fn an_offset_of_a_queue_that_no_topic_can_have_is_passed_over() {
        let mut state = State::new(&Config::default());
        for (queue, known) in
            [(QUEUES_MAX - 1, Some(5)), (QUEUES_MAX, None), (i32::MAX, None), (-1, None)]
        {
            let change = Change::Offset { group: "g".into(), topic: "t".into(), queue, offset: 5 };
            state.restore(&change.encode());
            assert_eq!(state.offsets.get("g", "t", queue), known, "{queue}");
        }
    }

    /// Seed 415 of the simulation: the next message seemed to be of yet another topic, and those before
    /// it were gone.
    #[test]
    fn an_offset_of_an_earlier_topic_does_not_move_a_queues_end_in_a_snapshot() {
        let mut state = State::new(&Config::default());
        let config = TopicConfig { topic_name: "t".to_owned(), ..TopicConfig::default() };
        let topic = || Cow::Borrowed("t");
        let committed = Change::Offset { group: "g".into(), topic: topic(), queue: 0, offset: 30 };
        for change in [Change::TopicPut(Cow::Owned(config)), committed] {
            state.apply(&change, 0, PhysicalOffset(0));
        }
        let host = ([127, 0, 0, 1], 1).into();
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
            body: b"the first of a topic that was made again",
            properties: b"",
        };
        let mut bytes = Vec::new();
        record.write(0, 1000, 1, &mut bytes);
        state.record(&View::parse(&bytes).unwrap(), 0);
        let mut restored = State::new(&Config::default());
        dumped(&state).iter().for_each(|change| restored.restore(change));
        for state in [&state, &restored] {
            let index = &state.topics.by_name("t").unwrap().queue(0).unwrap().index;
            assert_eq!((index.min(), index.next()), (0, 1));
            assert_eq!(state.offsets.get("g", "t", 0), Some(30));
        }
    }
}
