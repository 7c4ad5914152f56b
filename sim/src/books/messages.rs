//! What was sent, where it was stored, and who saw it.
//!
//! In: sends and their answers, records that anyone was served. Out: whether a record may be what
//! and where it is; what must be there.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use kerolox_protocol::names::{DLQ_PREFIX, SCHEDULE_TOPIC};

use crate::books::Damage;
use crate::books::served::{Kind, Served};
use crate::violation::{Checked, Violation, ensure};

/// A message that was handed to the broker.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: Rc<str>,
    /// 0: not delayed.
    pub(crate) level: usize,
    pub(crate) tag: &'static str,
    /// `None`: the broker makes one.
    pub(crate) unique: Option<String>,
    pub(crate) body_crc: u32,
    pub(crate) body_size: usize,
    pub(crate) fate: Fate,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sending,
    Refused,
    /// It stands at this position of the log.
    Stored(u64),
    /// The log ended before it. It must never come back.
    Lost,
}

/// A message that stands in a queue.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: u64,
    pub(crate) topic: Rc<str>,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) seq: u64,
}

/// A message that was given back by a group, for the `times`-th time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Again {
    pub(crate) id: u64,
    pub(crate) times: i32,
    pub(crate) group: String,
}

#[derive(Debug, Clone)]
pub(crate) struct GivenBack {
    /// It stands between these positions.
    pub(crate) at: (u64, u64),
    pub(crate) again: Again,
}

/// A record that somebody saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) crc: u32,
    pub(crate) topic: Rc<str>,
    /// Before the answer was asked for: a topic that was deleted since took it along.
    pub(crate) seq: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    sent: Vec<Message>,
    /// By position in the log.
    pub(crate) places: BTreeMap<u64, Place>,
    pub(crate) given_back: Vec<GivenBack>,
    pub(crate) seen: BTreeMap<u64, Seen>,
    /// Where a batch begins, and where its last message does.
    batches: BTreeMap<u64, u64>,
    /// The highest offset that anyone was told of each queue, and when.
    told: HashMap<(Rc<str>, i32), (i64, u64)>,
    names: HashMap<String, Rc<str>>,
}

impl Messages {
    /// A name that many entries share.
    pub(crate) fn name(&mut self, name: &str) -> Rc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let made: Rc<str> = name.into();
        self.names.insert(name.to_owned(), made.clone());
        made
    }

    /// A message is about to be handed over. Returns its number.
    pub(crate) fn send(&mut self, message: Message) -> u64 {
        self.sent.push(message);
        self.sent.len() as u64 - 1
    }

    /// The number of the next message.
    pub(crate) fn next_id(&self) -> u64 {
        self.sent.len() as u64
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Message> {
        self.sent.get(id as usize)
    }

    /// A message was refused: it must never be seen.
    pub(crate) fn refused(&mut self, id: u64) {
        if let Some(message) = self.sent.get_mut(id as usize) {
            message.fate = Fate::Refused;
        }
    }

    /// A message was stored. A producer's messages are handled in the order in which they were
    /// sent, so offsets and positions rise.
    /// But the offsets of messages that damage took may be given again, if nothing tells of them.
    pub(crate) fn stored(
        &mut self,
        position: u64,
        place: Place,
        born: u64,
        damage: &Damage,
    ) -> Checked {
        let id = place.id;
        let before = self.places.iter().next_back();
        ensure!(
            before.is_none_or(|(last, _)| *last < position),
            "message {id} was stored at {position}, before a message that came earlier"
        );
        let mut same_queue = self.places.values().rev().filter(|other| {
            let same_queue = other.topic == place.topic && other.queue == place.queue;
            same_queue && other.seq > born && !damage.took(&other.topic, other.queue, other.offset)
        });
        let behind = same_queue.next().is_none_or(|other| other.offset < place.offset);
        let told = self.told_max(&place.topic, place.queue, born);
        ensure!(behind, "message {id} got an offset before one that was sent earlier: {place:?}");
        ensure!(
            place.offset >= told || damage.is_any(),
            "message {id} got an offset that was told to be taken ({told}): {place:?}"
        );
        if let Some(message) = self.sent.get_mut(id as usize) {
            ensure!(message.fate == Fate::Sending, "message {id} was answered twice");
            message.fate = Fate::Stored(position);
        }
        self.places.insert(position, place);
        Ok(())
    }

    /// A batch was stored; it fits one round.
    pub(crate) fn batch(&mut self, first: u64, last: u64) {
        self.batches.insert(first, last);
    }

    /// A round begins here: the log may end here, so no batch may lie on both sides.
    pub(crate) fn check_boundary(&self, position: u64) -> Checked {
        let before = self.batches.range(..position).next_back();
        let split = before.filter(|(_, last)| **last >= position);
        ensure!(split.is_none(), "the batch {split:?} is split at {position}");
        Ok(())
    }

    /// Whether a record may be what and where it is. `confirmed`: nobody sees what lies behind.
    pub(crate) fn check(&self, served: &Served, confirmed: u64) -> Checked {
        let place = served.place();
        let Some(message) = self.get(served.id) else {
            return Err(Violation(format!("message {} was never sent: {place}", served.id)));
        };
        ensure!(
            served.position + served.size <= confirmed,
            "message {} was shown before it was confirmed ({confirmed}): {place}",
            served.id
        );
        let same_body =
            (message.body_crc, message.body_size) == (served.body_crc, served.body_size);
        ensure!(same_body, "message {} has another body: {place}", served.id);
        ensure!(message.tag == served.tag, "message {} has another tag: {place}", served.id);
        ensure!(
            message.unique.as_ref().is_none_or(|unique| *unique == served.unique),
            "message {} has another unique key: {place}",
            served.id
        );
        ensure!(
            matches!(message.fate, Fate::Stored(_)),
            "message {} is there but was {:?}: {place}",
            served.id,
            message.fate
        );
        if let Some(seen) = self.seen.get(&served.position) {
            ensure!(seen.crc == served.crc, "a message changed since it was seen: {place}");
        }
        self.check_kind(served, message)
    }

    fn check_kind(&self, served: &Served, message: &Message) -> Checked {
        let (id, place) = (served.id, served.place());
        let known = self.places.get(&served.position);
        match (served.kind(), known) {
            (Kind::Sent, Some(known)) => {
                let same = (known.id, &*known.topic, known.queue, known.offset)
                    == (id, &served.topic, served.queue, served.offset);
                ensure!(same && served.times == 0, "{place} should be {known:?}");
            }
            (Kind::Sent, None) => {
                let text = format!("message {id} stands where nobody put it: {place}");
                return Err(Violation(text));
            }
            (kind, Some(known)) => {
                let text = format!("{place} should be {known:?}, is {kind:?}");
                return Err(Violation(text));
            }
            (Kind::Delivered, None) => {
                let real = served.real_topic.as_deref().unwrap_or("");
                ensure!(served.topic == real, "message {id} was delivered elsewhere: {place}");
                let delayed = served.times > 0 || message.level > 0;
                ensure!(delayed, "message {id} was delivered but not delayed: {place}");
                let own = served.times > 0 || *message.topic == *served.topic;
                ensure!(own, "message {id} belongs to {}: {place}", message.topic);
            }
            (Kind::GivenBack | Kind::DeadLetter, None) => {
                ensure!(served.times > 0, "message {id} was not given back: {place}");
            }
        }
        Ok(())
    }

    /// Somebody saw a record; `seq`: when he asked.
    pub(crate) fn saw(&mut self, served: &Served, seq: u64) {
        let topic = self.name(&served.topic);
        let seen = Seen { crc: served.crc, topic, seq };
        self.seen.entry(served.position).or_insert(seen);
    }

    /// Somebody was told how far a queue goes.
    pub(crate) fn told(&mut self, topic: &str, queue: i32, max: i64, seq: u64) {
        let topic = self.name(topic);
        self.told.insert((topic, queue), (max, seq));
    }

    /// The highest offset that anyone was told of a queue since its topic was made.
    pub(crate) fn told_max(&self, topic: &str, queue: i32, born: u64) -> i64 {
        let Some(name) = self.names.get(topic) else { return 0 };
        let told = self.told.get(&(name.clone(), queue)).filter(|(_, seq)| *seq > born);
        told.map_or(0, |(max, _)| *max)
    }

    /// How often a message may stand in the schedule topic or be delivered: as often as it was
    /// sent or given back. `topic`: its real one.
    pub(crate) fn entries(&self, again: &Again) -> usize {
        if again.times > 0 {
            return self.given_back.iter().filter(|given| given.again == *again).count();
        }
        let message = self.get(again.id);
        let stored = |message: &&Message| {
            message.level > 0
                && *message.topic == *again.group
                && matches!(message.fate, Fate::Stored(_))
        };
        usize::from(message.filter(stored).is_some())
    }

    /// The log ends here. `lossy`: what was seen may be gone, too.
    pub(crate) fn truncate(&mut self, end: u64, lossy: bool) {
        for place in self.places.split_off(&end).into_values() {
            if let Some(message) = self.sent.get_mut(place.id as usize) {
                message.fate = Fate::Lost;
            }
        }
        self.batches.split_off(&end);
        self.given_back.retain(|given| given.at.1 <= end);
        let gone = self.seen.split_off(&end);
        if lossy {
            self.told.clear();
        }
        debug_assert!(lossy || gone.is_empty(), "what was seen is promised");
    }
}

/// A record's number as given back: which message, how often, and for whom. Of a message that was
/// sent delayed, "for whom" is its topic.
pub(crate) fn again(served: &Served) -> Again {
    let topic = match served.topic.as_str() {
        SCHEDULE_TOPIC => served.real_topic.clone().unwrap_or_default(),
        topic => topic.replace(DLQ_PREFIX, kerolox_protocol::names::RETRY_PREFIX),
    };
    Again { id: served.id, times: served.times, group: topic }
}
