//! Topics, groups and KV entries: what was asked, in the order of the log.
//!
//! In: changes with the positions between which they stand. Out: what must hold after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) use kerolox_protocol::remoting::admin::{GroupConfig as Group, TopicConfig as Topic};

/// A KV entry's namespace and key.
pub(crate) type KvKey = (String, String);

/// What changed. `None`: it is gone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Topic(String, Option<Topic>),
    Group(String, Option<Box<Group>>),
    Kv(KvKey, Option<String>),
}

#[derive(Debug, Clone)]
struct Event {
    seq: u64,
    /// It holds if the log ends at the second or behind, not if it ends at the first or before. In
    /// between either may be: the changes of one request may stand in several rounds.
    at: (u64, u64),
    what: What,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    events: Vec<Event>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) kv: BTreeMap<KvKey, String>,
    /// The last deletion of each topic.
    deleted: HashMap<String, u64>,
    /// What only the broker knows: the crash came between two changes of one request.
    pub(crate) unsure_topics: BTreeSet<String>,
    pub(crate) unsure_groups: BTreeSet<String>,
}

impl Settings {
    /// Notes a change.
    pub(crate) fn note(&mut self, seq: u64, at: (u64, u64), what: What) {
        let event = Event { seq, at, what };
        self.apply(&event);
        self.events.push(event);
    }

    fn apply(&mut self, event: &Event) {
        match &event.what {
            What::Topic(name, Some(config)) => {
                drop(self.topics.insert(name.clone(), config.clone()));
            }
            What::Topic(name, None) => {
                self.topics.remove(name);
                self.deleted.insert(name.clone(), event.seq);
            }
            What::Group(name, Some(config)) => {
                drop(self.groups.insert(name.clone(), (**config).clone()));
            }
            What::Group(name, None) => drop(self.groups.remove(name)),
            What::Kv(key, Some(value)) => drop(self.kv.insert(key.clone(), value.clone())),
            What::Kv(key, None) => drop(self.kv.remove(key)),
        }
    }

    /// When a topic was last deleted; 0: never. What came before is not in it any more.
    pub(crate) fn born(&self, topic: &str) -> u64 {
        self.deleted.get(topic).copied().unwrap_or(0)
    }

    /// The log ends here: later changes never happened.
    pub(crate) fn truncate(&mut self, end: u64) {
        let Settings { events, .. } = std::mem::take(self);
        for event in events {
            if event.at.1 <= end {
                self.apply(&event);
                self.events.push(event);
            } else if event.at.0 < end {
                match event.what {
                    What::Topic(name, _) => drop(self.unsure_topics.insert(name)),
                    What::Group(name, _) => drop(self.unsure_groups.insert(name)),
                    What::Kv(..) => {}
                }
            }
        }
    }

    /// Takes the broker's word for a topic.
    pub(crate) fn adopt_topic(&mut self, seq: u64, name: &str, actual: Option<&Topic>) {
        self.unsure_topics.remove(name);
        if self.topics.get(name) != actual {
            self.note(seq, (0, 0), What::Topic(name.to_owned(), actual.cloned()));
        }
    }

    /// Takes the broker's word for a group.
    pub(crate) fn adopt_group(&mut self, seq: u64, name: &str, actual: Option<&Group>) {
        self.unsure_groups.remove(name);
        if self.groups.get(name) != actual {
            let actual = actual.cloned().map(Box::new);
            self.note(seq, (0, 0), What::Group(name.to_owned(), actual));
        }
    }
}
