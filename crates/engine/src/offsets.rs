//! How far each group is in each queue.
//!
//! Commits are coalesced: what changed is written to the log once a second. Losing the last moment
//! means that messages are delivered again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// A group's offsets, by topic, then by queue; −1: none.
type ByTopic = BTreeMap<Arc<str>, Vec<i64>>;

/// A group's queue: group, topic, queue.
type QueueOf = (Arc<str>, Arc<str>, i32);

/// All groups' offsets.
#[derive(Debug, Default)]
pub struct Offsets {
    by_group: HashMap<Arc<str>, ByTopic>,
    /// Not yet in the log: group, topic, queue.
    dirty: BTreeSet<QueueOf>,
    /// Of these, what goes to the log step by step, so that none waits for ever.
    writing: BTreeSet<QueueOf>,
    /// Where each group last pulled, for statistics; not kept.
    pulled: HashMap<Arc<str>, ByTopic>,
}

const NONE: i64 = -1;

fn set(
    by_group: &mut HashMap<Arc<str>, ByTopic>,
    group: &str,
    topic: &str,
    queue: i32,
    value: i64,
) -> bool {
    let at = usize::try_from(queue).unwrap_or(0);
    if !by_group.contains_key(group) {
        by_group.insert(group.into(), ByTopic::new());
    }
    let Some(topics) = by_group.get_mut(group) else { return false };
    if !topics.contains_key(topic) {
        topics.insert(topic.into(), Vec::new());
    }
    let Some(queues) = topics.get_mut(topic) else { return false };
    if queues.len() <= at {
        queues.resize(at + 1, NONE);
    }
    std::mem::replace(&mut queues[at], value) != value
}

fn get(by_group: &HashMap<Arc<str>, ByTopic>, group: &str, topic: &str, queue: i32) -> Option<i64> {
    let queues = by_group.get(group)?.get(topic)?;
    queues.get(usize::try_from(queue).ok()?).copied().filter(|offset| *offset != NONE)
}

impl Offsets {
    /// A group's offset in a queue.
    pub fn get(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        get(&self.by_group, group, topic, queue)
    }

    /// Where a group last pulled in a queue.
    pub fn pulled(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        get(&self.pulled, group, topic, queue)
    }

    /// Notes where a group pulls.
    pub fn set_pulled(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        set(&mut self.pulled, group, topic, queue, offset);
    }

    /// Sets an offset that the log holds already.
    pub fn restore(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        set(&mut self.by_group, group, topic, queue, offset);
    }

    /// Sets an offset that has to go to the log; an unchanged one does not.
    pub fn commit(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        if set(&mut self.by_group, group, topic, queue, offset)
            && let Some((group, topics)) = self.by_group.get_key_value(group)
            && let Some((topic, _)) = topics.get_key_value(topic)
        {
            self.dirty.insert((group.clone(), topic.clone(), queue));
        }
    }

    /// What changed until now goes to the log next.
    pub fn begin_writing(&mut self) {
        self.writing.extend(std::mem::take(&mut self.dirty));
    }

    /// Takes up to `max` offsets that go to the log now.
    pub fn take_writing(&mut self, max: usize) -> Vec<(Arc<str>, Arc<str>, i32, i64)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((group, topic, queue)) = self.writing.pop_first()
        {
            if let Some(offset) = self.get(&group, &topic, queue) {
                taken.push((group, topic, queue, offset));
            }
        }
        taken
    }

    /// Whether offsets have to go to the log.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.writing.is_empty()
    }

    /// Topics in which a group has offsets.
    pub fn topics_of(&self, group: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// Those behind one of them, in order; all without one.
    pub fn topics_after(
        &self,
        group: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &Arc<str>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.by_group.get(group).into_iter();
        topics.flat_map(move |topics| {
            topics.range::<str, _>((from, Bound::Unbounded)).map(|(t, _)| t)
        })
    }

    /// The next one behind one of them.
    pub fn topic_after(&self, group: &str, after: Option<&str>) -> Option<Arc<str>> {
        self.topics_after(group, after).next().cloned()
    }

    /// Whether a group has offsets in a topic.
    pub fn has(&self, group: &str, topic: &str) -> bool {
        self.by_group.get(group).is_some_and(|topics| topics.contains_key(topic))
    }

    /// Groups that have offsets in a topic.
    pub fn groups_of(&self, topic: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.iter().filter(move |(_, topics)| topics.contains_key(topic)).map(|(g, _)| g)
    }

    /// Forgets a topic. Few groups read one topic, but all are looked at: topics are rarely
    /// deleted.
    pub fn delete_topic(&mut self, topic: &str) {
        for by_group in [&mut self.by_group, &mut self.pulled] {
            for topics in by_group.values_mut() {
                topics.remove(topic);
            }
        }
        for changed in [&mut self.dirty, &mut self.writing] {
            changed.retain(|(_, of, _)| &**of != topic);
        }
    }

    /// Forgets a group.
    pub fn delete_group(&mut self, group: &str) {
        self.by_group.remove(group);
        self.pulled.remove(group);
        for changed in [&mut self.dirty, &mut self.writing] {
            changed.retain(|(of, _, _)| &**of != group);
        }
    }

    /// Every offset: group, topic, queue, offset.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, i32, i64)> {
        self.by_group.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, queues)| {
                let set = queues.iter().enumerate().filter(|(_, offset)| **offset != NONE);
                set.map(move |(queue, offset)| (group, topic, queue as i32, *offset))
            })
        })
    }
}
