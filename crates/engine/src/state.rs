//! The durable state: topics, groups, offsets, delivery of delayed messages, KV configuration, and
//! the index over all messages. It changes only by what is in the log: records and [`Change`]s, in
//! a request's turn, and at a start once more ([`Replay`]).

use std::collections::BTreeMap;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::keys::{self, Keys};
use kerolox_log::index::queue::{Entry, Queue};
use kerolox_log::read::Place;
use kerolox_log::recover::Replay;
use kerolox_protocol::names::{
    AUTO_CREATE_TOPIC, SCHEDULE_TOPIC, SYSTEM_GROUPS, check_topic, is_system_topic,
};
use kerolox_protocol::record::{View, sys_flag};
use kerolox_protocol::remoting::admin::{GroupConfig, TopicConfig, perm};
use kerolox_protocol::{properties, tags};

use crate::change::Change;
use crate::config::Config;
use crate::groups::Groups;
use crate::offsets::Offsets;
use crate::topics::{TopicId, Topics};

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
    /// Messages are indexed. Folding a snapshot counts them only.
    indexing: bool,
    /// Changes that this release does not know.
    pub unknown_changes: u64,
    /// Called with progress during a replay.
    pub on_progress: Option<ProgressFn>,
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
        let mut state = State { delayed, indexing: true, ..State::default() };
        let mut topic = |name: &str, queues: i32, perm: i32| {
            let config = TopicConfig {
                topic_name: name.to_owned(),
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm,
                ..TopicConfig::default()
            };
            state.topics.put(config, 0);
        };
        let (read_write, inherit) = (perm::READ | perm::WRITE, perm::INHERIT);
        if config.auto_create_topic {
            topic(AUTO_CREATE_TOPIC, config.default_topic_queue_nums, read_write | inherit);
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
        state
    }

    /// As [`State::new`], for folding a snapshot: messages are counted, not indexed.
    pub fn for_folding(config: &Config) -> State {
        State { indexing: false, ..State::new(config) }
    }

    /// Applies a change. `now`: ms, for data versions.
    pub fn apply(&mut self, change: &Change<'_>, now: i64) {
        match change {
            Change::TopicPut(config) => {
                self.topics.put(config.as_ref().clone(), now);
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
            Change::Offset { group, topic, queue, offset } => {
                self.offsets.restore(group, topic, *queue, *offset);
                // Nobody commits beyond the end: what is missing below was lost to damage.
                self.lose_until(topic, *queue, *offset);
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
            Change::Recovered { .. } => {}
            Change::QueueNext { topic, queue, next } => {
                if let Some(id) = self.topics.find(topic)
                    && let Some(topic) = self.topics.get_mut(id)
                {
                    let state = topic.queue_mut(*queue);
                    state.index = Queue::starting_at(*next);
                    state.visible = *next;
                }
            }
        }
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
    fn topic_of(&mut self, record: &View<'_>) -> Option<TopicId> {
        let queues = record.queue_id.clamp(0, crate::limits::QUEUES_MAX - 1) + 1;
        let mut config = TopicConfig { topic_name: record.topic.to_owned(), ..Default::default() };
        if let Some(id) = self.topics.find(record.topic) {
            let known = &self.topics.get(id)?.config;
            let enough = known.read_queue_nums.max(known.write_queue_nums) >= queues;
            if enough || is_system_topic(record.topic) {
                return Some(id);
            }
            config = TopicConfig::clone(known);
        }
        check_topic(record.topic).ok()?;
        (config.read_queue_nums, config.write_queue_nums) = (queues, queues);
        Some(self.topics.put(config, record.store_timestamp))
    }

    /// Messages of a queue below an offset were there: the next one gets none of theirs.
    fn lose_until(&mut self, topic: &str, queue: i32, offset: i64) {
        let Some(topic) = self.topics.find(topic).and_then(|id| self.topics.get_mut(id)) else {
            return;
        };
        let next = topic.queue(queue).map_or(0, |state| state.index.next());
        if offset <= next || !(0..crate::limits::QUEUES_MAX).contains(&queue) {
            return;
        }
        let state = topic.queue_mut(queue);
        match state.index.last() {
            Some(last) => state.index.lose_until(offset, &last),
            None => state.index = Queue::starting_at(offset),
        }
        state.visible = state.index.next();
    }

    /// Forgets messages below a position of the log, in `count` topics from the `from`-th on.
    /// Returns where to go on.
    pub fn trim_some(&mut self, first: PhysicalOffset, from: usize, count: usize) -> Option<usize> {
        if from == 0 {
            self.keys.trim(first);
        }
        let mut seen = 0;
        for topic in self.topics.iter_mut().skip(from).take(count) {
            seen += 1;
            for queue in topic.used_queues_mut() {
                queue.index.trim(first);
            }
        }
        (seen == count).then_some(from + count)
    }

    /// Bytes of memory that the index takes.
    pub fn index_memory(&self) -> usize {
        let queues = self.topics.iter().flat_map(|(_, topic)| topic.used_queues());
        queues.map(|(_, queue)| queue.index.memory()).sum::<usize>() + self.keys.memory()
    }

    /// The whole state as changes, each with an u32 length: the content of a snapshot.
    pub fn dump(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |change: Change<'_>| {
            let bytes = change.encode();
            out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            out.extend_from_slice(&bytes);
        };
        for (_, topic) in self.topics.iter() {
            // The settings of the system's own topics come from the configuration.
            if !is_system_topic(topic.name()) {
                put(Change::TopicPut(std::borrow::Cow::Borrowed(&topic.config)));
            }
            for (queue, state) in topic.used_queues() {
                let next = state.index.next();
                put(Change::QueueNext { topic: topic.name().into(), queue, next });
            }
        }
        for config in self.groups.view().values() {
            put(Change::GroupPut(std::borrow::Cow::Borrowed(config)));
        }
        for (group, topic, queue, offset) in self.offsets.iter() {
            put(Change::Offset { group: (**group).into(), topic: (**topic).into(), queue, offset });
        }
        for (i, offset) in self.delayed.iter().enumerate() {
            put(Change::Delayed { level: i as u8 + 1, offset: *offset });
        }
        for ((namespace, key), value) in &self.kv {
            let value = Some(value.into());
            put(Change::Kv { namespace: namespace.into(), key: key.into(), value });
        }
        out
    }

    /// Takes over what [`State::dump`] wrote.
    pub fn restore(&mut self, mut dump: &[u8]) {
        while let Some((size, rest)) = dump.split_first_chunk::<4>()
            && let Some((change, rest)) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)
        {
            self.change(change);
            dump = rest;
        }
    }
}

impl Replay for State {
    fn record(&mut self, record: &View<'_>, crc: u32) {
        if record.transaction_type() == sys_flag::PREPARED
            || record.transaction_type() == sys_flag::ROLLBACK
            || !(0..crate::limits::QUEUES_MAX).contains(&record.queue_id)
        {
            return;
        }
        let Some(id) = self.topic_of(record) else { return };
        let place = Place {
            offset: PhysicalOffset(record.physical_offset),
            size: record.bytes.len() as u32,
            crc,
        };
        let tag = properties::get(record.properties, properties::TAGS).unwrap_or("");
        let entry = Entry {
            place,
            tags_code: tags::tags_code(tag),
            store_timestamp: record.store_timestamp,
        };
        let Some(topic) = self.topics.get_mut(id) else { return };
        let queue = topic.queue_mut(record.queue_id);
        if !self.indexing {
            queue.index = Queue::starting_at(record.queue_offset + 1);
            return;
        }
        queue.index.push_at(record.queue_offset, &entry);
        queue.visible = queue.index.next();
        let key = |name| properties::get(record.properties, name).unwrap_or("");
        self.index_keys(
            record.topic,
            key(properties::UNIQ_KEY),
            key(properties::KEYS),
            place.offset,
        );
    }

    fn lost(&mut self, record: &View<'_>) {
        let topic = self.topics.by_name(record.topic);
        let next = topic.and_then(|topic| topic.queue(record.queue_id)).map(|q| q.index.next());
        // What it says is believed where it fits exactly.
        if next == Some(record.queue_offset) {
            self.lose_until(record.topic, record.queue_id, record.queue_offset + 1);
        }
    }

    fn change(&mut self, change: &[u8]) {
        match Change::decode(change) {
            Some(change) => self.apply(&change, 0),
            None => self.unknown_changes += 1,
        }
    }

    fn progress(&mut self, done: u64, total: u64) {
        if let Some(ProgressFn(callback)) = &mut self.on_progress {
            callback(done, total);
        }
    }
}
