//! Topics and their queues.

use std::collections::HashMap;
use std::sync::Arc;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::queue::Queue;
use kerolox_protocol::names::is_system_topic;
use kerolox_protocol::remoting::admin::{DataVersion, TopicConfig};

use crate::park::Parked;
use crate::rates::Windows;

/// A topic's number in this process. Never used twice, so a late effect cannot hit another topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(u32);

impl TopicId {
    /// The number behind this one.
    pub fn next(self) -> TopicId {
        TopicId(self.0.saturating_add(1))
    }
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    pub config: Arc<TopicConfig>,
    /// Where in the log it was made: what is older belongs to an earlier topic of this name.
    pub born: PhysicalOffset,
    /// Made at the first message, offset or waiting pull.
    queues: Vec<Option<Box<QueueState>>>,
    pub counters: TopicCounters,
    /// How much was stored lately; see [`crate::rates`].
    pub rates: Option<Box<Windows>>,
    /// One of the system's own.
    pub is_system: bool,
}

/// Since the process started.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicCounters {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    /// Messages that retention deleted before their time.
    pub messages_deleted_early: u64,
}

/// A queue and who waits at it.
#[derive(Debug, Default)]
pub struct QueueState {
    pub index: Queue,
    /// What is confirmed: consumers see messages below this offset.
    pub visible: i64,
    pub parked: Vec<Parked>,
}

/// All topics. Settings are also kept as a persistent map, of which a reader takes a copy in no
/// time and looks at it elsewhere.
#[derive(Debug, Default)]
pub struct Topics {
    ids: HashMap<Arc<str>, TopicId>,
    slots: Vec<Option<Box<Topic>>>,
    view: imbl::OrdMap<Arc<str>, Arc<TopicConfig>>,
    version: DataVersion,
}

/// A copy of all settings.
pub type TopicsView = imbl::OrdMap<Arc<str>, Arc<TopicConfig>>;

impl Topics {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Rises with every change.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// A copy of all settings.
    pub fn view(&self) -> TopicsView {
        self.view.clone()
    }

    /// Finds a topic.
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.ids.get(name).copied()
    }

    /// A topic by its number; `None` once it is deleted.
    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    /// See [`Topics::get`].
    pub fn get_mut(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Finds a topic.
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.get(self.find(name)?)
    }

    /// Makes a topic or changes its settings. `now`: ms since 1970. `at`: the round in which that
    /// stands.
    pub fn put(&mut self, config: TopicConfig, now: i64, at: PhysicalOffset) -> TopicId {
        let name: Arc<str> = config.topic_name.as_str().into();
        let config = Arc::new(config);
        self.view.insert(name.clone(), config.clone());
        self.touch(now);
        if let Some(id) = self.find(&name)
            && let Some(topic) = self.get_mut(id)
        {
            topic.config = config;
            return id;
        }
        let id = TopicId(self.slots.len() as u32);
        let counters = TopicCounters::default();
        let is_system = is_system_topic(&name);
        let topic =
            Topic { config, born: at, queues: Vec::new(), counters, rates: None, is_system };
        self.slots.push(Some(Box::new(topic)));
        self.ids.insert(name, id);
        id
    }

    /// Deletes a topic and returns it.
    pub fn delete(&mut self, name: &str, now: i64) -> Option<Box<Topic>> {
        let id = self.ids.remove(name)?;
        self.view.remove(name);
        self.touch(now);
        self.slots.get_mut(id.0 as usize)?.take()
    }

    /// What is told of the topics has changed.
    pub fn touch(&mut self, now: i64) {
        self.version.counter += 1;
        self.version.timestamp = now;
    }

    /// All topics.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, &Topic)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(i, slot)| Some((TopicId(i as u32), slot.as_deref()?)))
    }

    /// The topics from a number on.
    pub fn iter_from(&self, from: TopicId) -> impl Iterator<Item = (TopicId, &Topic)> {
        let all = (from.0..).zip(self.slots.iter().skip(from.0 as usize));
        all.filter_map(|(id, slot)| Some((TopicId(id), slot.as_deref()?)))
    }

    /// See [`Topics::iter_from`].
    pub fn iter_mut_from(&mut self, from: TopicId) -> impl Iterator<Item = (TopicId, &mut Topic)> {
        let all = (from.0..).zip(self.slots.iter_mut().skip(from.0 as usize));
        all.filter_map(|(id, slot)| Some((TopicId(id), slot.as_deref_mut()?)))
    }

    /// See [`Topics::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.slots.iter_mut().filter_map(|slot| slot.as_deref_mut())
    }
}

impl Topic {
    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.config.topic_name
    }

    /// A queue that was used already.
    pub fn queue(&self, queue: i32) -> Option<&QueueState> {
        self.queues.get(usize::try_from(queue).ok()?)?.as_deref()
    }

    /// A queue, made if it was not used yet. The caller has checked the number.
    pub fn queue_mut(&mut self, queue: i32) -> &mut QueueState {
        let at = usize::try_from(queue).unwrap_or(0);
        if self.queues.len() <= at {
            self.queues.resize_with(at + 1, || None);
        }
        self.queues[at].get_or_insert_default()
    }

    /// Queues that were used, with their numbers.
    pub fn used_queues(&self) -> impl Iterator<Item = (i32, &QueueState)> {
        self.used_queues_from(0)
    }

    /// Those with this number or a higher one.
    pub fn used_queues_from(&self, from: i32) -> impl Iterator<Item = (i32, &QueueState)> {
        let all = self.queues.iter().enumerate().skip(from.max(0) as usize);
        all.filter_map(|(i, queue)| Some((i as i32, queue.as_deref()?)))
    }

    /// See [`Topic::used_queues`].
    pub fn used_queues_mut(&mut self) -> impl Iterator<Item = &mut QueueState> {
        self.queues.iter_mut().filter_map(|queue| queue.as_deref_mut())
    }

    /// Lowest and next visible offset of a queue.
    pub fn range(&self, queue: i32) -> (i64, i64) {
        self.queue(queue).map_or((0, 0), |q| (q.index.min().min(q.visible), q.visible))
    }
}
