//! Everything that the broker can be asked, compared with the books.
//!
//! In: a broker. Out: the first thing that is not as it was promised.

use std::collections::BTreeMap;

use kerolox_engine::Request;
use kerolox_protocol::names::{SCHEDULE_TOPIC, is_system_topic};
use kerolox_protocol::remoting::admin::{GroupTable, TopicTable};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::offsets::{QueryConsumerOffset, QueueQuestion};
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use kerolox_protocol::remoting::query::{QueryMessage, ViewMessage};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};

use crate::books::messages::{Again, Fate, again};
use crate::books::served::{Kind, Served};
use crate::books::settings::{Group, Topic};
use crate::books::{Books, Damage};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::plan::DELAY_LEVELS_MS;
use crate::violation::{Checked, Violation, ensure};

/// When the audit takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Right after a start: coalesced offsets may be a moment old.
    Started,
    /// At rest: everything is confirmed, every delay is over.
    AtRest,
}

/// One audit.
pub(crate) struct Audit<'a> {
    pub(crate) books: &'a mut Books,
    pub(crate) broker: &'a mut Broker,
    pub(crate) clock: &'a Clock,
    pub(crate) when: When,
}

/// Every record of the log that can be pulled, and how often each is there.
#[derive(Default)]
struct Inventory {
    /// By position: store time.
    positions: BTreeMap<u64, i64>,
    waiting: BTreeMap<Again, usize>,
    delivered: BTreeMap<Again, usize>,
    dead: BTreeMap<Again, usize>,
}

impl Audit<'_> {
    /// Runs it.
    pub(crate) fn run(mut self) -> Checked {
        let topics = self.topics()?;
        self.groups()?;
        ensure!(
            self.books.damage.state || self.broker.engine.state.kv == self.books.settings.kv,
            "the KV entries are {:?}, not {:?}",
            self.broker.engine.state.kv,
            self.books.settings.kv
        );
        let mut known: BTreeMap<(String, i32), Vec<u64>> = BTreeMap::new();
        for (position, place) in &self.books.messages.places {
            if place.seq > self.books.settings.born(&place.topic) {
                let queue = (place.topic.to_string(), place.queue);
                known.entry(queue).or_default().push(*position);
            }
        }
        let mut found = Inventory::default();
        for (topic, config) in &topics {
            let queues = match topic.as_str() {
                SCHEDULE_TOPIC => DELAY_LEVELS_MS.len() as i32,
                topic if is_system_topic(topic) => 0,
                _ => config.read_queue_nums,
            };
            for queue in 0..queues {
                let known = known.remove(&(topic.clone(), queue)).unwrap_or_default();
                self.queue(topic, queue, &known, &mut found)?;
            }
        }
        // A queue can be lost with all that was in it.
        let lost = |position: &u64| self.books.damage.took_position(*position);
        known.retain(|_, positions| !(self.books.damage.state && positions.iter().all(lost)));
        let left = known.keys().next();
        ensure!(left.is_none(), "{left:?} should hold messages, but there is no such queue");
        self.whole_log(&found)?;
        self.copies(&found)?;
        self.offsets()?;
        self.samples()
    }

    fn ask(&mut self, request: Request) -> Checked<Reply> {
        self.broker.ask(request, self.clock)
    }

    fn topics(&mut self) -> Checked<BTreeMap<String, Topic>> {
        let reply = self.ask(Request::AllTopics)?;
        let table: TopicTable = serde_json::from_slice(&body(&reply)).map_err(no_json)?;
        let actual = table.topic_config_table;
        let seq = self.books.next_seq();
        let settings = &mut self.books.settings;
        for name in settings.unsure_topics.clone() {
            settings.adopt_topic(seq, &name, actual.get(&name));
        }
        let own = |name: &&String| !is_system_topic(name) && !is_broker_topic(name);
        let names = actual.keys().filter(own).chain(settings.topics.keys());
        for name in names.cloned().collect::<Vec<_>>() {
            let (is, should) = (actual.get(&name), settings.topics.get(&name));
            if is != should {
                ensure!(
                    self.books.damage.state,
                    "topic {name} is {is:?}, but should be {should:?}"
                );
                settings.adopt_topic(seq, &name, is);
            }
        }
        Ok(actual)
    }

    fn groups(&mut self) -> Checked {
        let reply = self.ask(Request::AllGroups)?;
        let table: GroupTable = serde_json::from_slice(&body(&reply)).map_err(no_json)?;
        let actual: BTreeMap<String, Group> = table.subscription_group_table;
        let seq = self.books.next_seq();
        let settings = &mut self.books.settings;
        for name in settings.unsure_groups.clone() {
            settings.adopt_group(seq, &name, actual.get(&name));
        }
        let own = |name: &&String| !kerolox_protocol::names::is_system_group(name);
        let names = actual.keys().filter(own).chain(settings.groups.keys());
        for name in names.cloned().collect::<Vec<_>>() {
            let (is, should) = (actual.get(&name), settings.groups.get(&name));
            if is != should {
                ensure!(
                    self.books.damage.state,
                    "group {name} is {is:?}, but should be {should:?}"
                );
                settings.adopt_group(seq, &name, is);
            }
        }
        Ok(())
    }

    /// Reads a queue from end to end.
    fn queue(&mut self, topic: &str, queue: i32, known: &[u64], found: &mut Inventory) -> Checked {
        let question = || QueueQuestion { topic: topic.into(), queue_id: queue };
        let min = offset(&self.ask(Request::MinOffset(question()))?)?;
        let max = offset(&self.ask(Request::MaxOffset(question()))?)?;
        let born = self.books.settings.born(topic);
        let told = self.books.messages.told_max(topic, queue, born);
        let damaged = self.books.damage.is_any();
        ensure!(max >= told || damaged, "{topic}/{queue} ends at {max}, but {told} was told");
        ensure!((0..=max).contains(&min), "{topic}/{queue} has messages from {min} to {max}");
        let records = self.pull_all(topic, queue, min, max)?;
        let confirmed = self.broker.confirmed().0;
        let mut next = min;
        let seq = self.books.next_seq();
        for record in &records {
            let place = record.place();
            ensure!(
                record.topic == topic && record.queue == queue,
                "{place} is in {topic}/{queue}"
            );
            while next < record.offset && self.books.damage.took(topic, queue, next) {
                next += 1;
            }
            ensure!(record.offset == next, "{place} comes where {next} should be");
            next += 1;
            self.books.messages.check(record, confirmed)?;
            self.books.messages.saw(record, seq);
            found.add(record)?;
        }
        while next < max && self.books.damage.took(topic, queue, next) {
            next += 1;
        }
        ensure!(next == max, "{topic}/{queue} ends at {max}, but messages only at {next}");
        for position in known {
            let place = &self.books.messages.places[position];
            let taken =
                *position < self.books.floor || self.books.damage.took(topic, queue, place.offset);
            ensure!(
                taken || found.positions.contains_key(position),
                "message {} is gone: {topic}/{queue}:{} at {position}; the queue goes from {min} to {max}",
                place.id,
                place.offset
            );
        }
        self.books.messages.told(topic, queue, max, seq);
        Ok(())
    }

    fn pull_all(&mut self, topic: &str, queue: i32, min: i64, max: i64) -> Checked<Vec<Served>> {
        let mut records = Vec::new();
        let mut next = min;
        while next < max {
            let reply = self.ask(Request::Pull(whole_pull(topic, queue, next)))?;
            let ReplyFields::Pulled(pulled) = &reply.fields else {
                return Err(Violation(format!("{topic}/{queue}:{next}: {:?}", reply.remark)));
            };
            let goes_on =
                reply.code == response::SUCCESS || reply.code == response::PULL_RETRY_IMMEDIATELY;
            ensure!(
                goes_on && pulled.next_begin_offset > next,
                "pulling {topic}/{queue}:{next} does not go on: {} {:?}",
                reply.code,
                reply.remark
            );
            ensure!(
                pulled.max_offset == max,
                "{topic}/{queue} ends at {max} or at {}",
                pulled.max_offset
            );
            records.extend(Served::all(&reply)?);
            next = pulled.next_begin_offset;
        }
        Ok(records)
    }

    /// Over all queues: nothing that was seen is gone, and store times never decrease.
    fn whole_log(&self, found: &Inventory) -> Checked {
        let mut last = (0, i64::MIN);
        for (position, time) in &found.positions {
            ensure!(
                *time >= last.1,
                "the record at {position} was stored at {time}, that at {} later: {}",
                last.0,
                last.1
            );
            last = (*position, *time);
        }
        ensure!(
            last.1 <= self.clock.latest(),
            "the record at {} was stored at {}, which no clock has reached",
            last.0,
            last.1
        );
        let is_lost = |at: &u64| self.books.damage.took_position(*at);
        for (position, seen) in self.books.messages.seen.range(self.books.floor..) {
            let deleted = seen.seq < self.books.settings.born(&seen.topic);
            ensure!(
                deleted || found.positions.contains_key(position) || is_lost(position),
                "a message of {} at {position} was seen and is gone",
                seen.topic
            );
        }
        Ok(())
    }

    /// Delayed messages are delivered once, or still wait; so are those that were given back.
    fn copies(&self, found: &Inventory) -> Checked {
        if self.books.damage.is_any() {
            return Ok(());
        }
        let messages = &self.books.messages;
        for (again, count) in &found.delivered {
            let entries = messages.entries(again);
            ensure!(*count <= entries, "{again:?} was delivered {count} times of {entries}");
        }
        for (again, count) in found.waiting.iter().chain(&found.dead) {
            let entries = messages.entries(again);
            ensure!(*count <= entries, "{again:?} is there {count} times of {entries}");
        }
        for given in messages.given_back.iter().filter(|given| given.at.0 >= self.books.floor) {
            let count = |of: &BTreeMap<Again, usize>| of.get(&given.again).copied().unwrap_or(0);
            let there = count(&found.waiting) + count(&found.dead);
            let dlq = given.again.group.replace("%RETRY%", "%DLQ%");
            let entries = messages.entries(&given.again);
            let all_stay = messages
                .given_back
                .iter()
                .filter(|other| other.again == given.again)
                .all(|other| other.at.0 >= self.books.floor);
            ensure!(
                there == entries || !all_stay,
                "{:?} was given back {entries} times, but is there {there} times ({dlq})",
                given.again
            );
        }
        if self.when == When::AtRest {
            self.all_delivered(found)?;
        }
        Ok(())
    }

    fn all_delivered(&self, found: &Inventory) -> Checked {
        let messages = &self.books.messages;
        let settings = &self.books.settings;
        for (again, waited) in &found.waiting {
            // A topic that was deleted meanwhile took what was on its way.
            let topic = &again.group;
            let deleted = settings.born(topic) > 0 || !settings.topics.contains_key(topic);
            let delivered = found.delivered.get(again).copied().unwrap_or(0);
            // Copies of what waited in files that are gone may still be there.
            let right = delivered == *waited || (self.books.floor > 0 && delivered > *waited);
            ensure!(
                right || deleted,
                "{again:?} waited {waited} times and was delivered {delivered} times; {:?}",
                messages.get(again.id)
            );
        }
        Ok(())
    }

    fn offsets(&mut self) -> Checked {
        for key in self.books.commits.keys() {
            let (group, topic, queue) = &key;
            let reply = self.ask(Request::QueryConsumerOffset(QueryConsumerOffset {
                consumer_group: group.as_str().into(),
                topic: topic.as_str().into(),
                queue_id: *queue,
                set_zero_if_not_found: Some(false),
            }))?;
            let actual = match reply.code {
                response::QUERY_NOT_FOUND => None,
                _ => Some(offset(&reply)?),
            };
            let question = QueueQuestion { topic: topic.as_str().into(), queue_id: *queue };
            if self.books.settings.topics.contains_key(topic) {
                let max = offset(&self.ask(Request::MaxOffset(question))?)?;
                ensure!(
                    actual.is_none_or(|actual| actual <= max) || self.books.damage.state,
                    "{key:?} is at {actual:?}, but the queue ends at {max}"
                );
            }
            let doubtful = self.books.damage.state;
            match self.when {
                When::Started => self.books.commits.check(&key, actual, doubtful)?,
                When::AtRest if doubtful => {}
                When::AtRest => self.books.commits.check_last(&key, actual)?,
            }
        }
        Ok(())
    }

    /// A few messages can also be found by position and by key.
    fn samples(&mut self) -> Checked {
        const STRIDE: usize = 37;
        let first = self.books.messages.places.len() % STRIDE;
        let sample: Vec<(u64, u64)> = self
            .books
            .messages
            .places
            .iter()
            .skip(first)
            .step_by(STRIDE)
            .filter(|(at, place)| {
                let damage: &Damage = &self.books.damage;
                **at >= self.books.floor
                    && place.seq > self.books.settings.born(&place.topic)
                    && !damage.took(&place.topic, place.queue, place.offset)
            })
            .map(|(at, place)| (*at, place.id))
            .collect();
        for (at, id) in sample {
            let view = ViewMessage { offset: at as i64, topic: None };
            let reply = self.ask(Request::ViewMessage(view))?;
            let served = Served::all(&reply)?;
            ensure!(
                served.len() == 1 && served[0].id == id && served[0].position == at,
                "message {id} cannot be viewed at {at}: {} {:?}",
                reply.code,
                reply.remark
            );
            let query = QueryMessage {
                topic: served[0].topic.as_str().into(),
                key: served[0].unique.as_str().into(),
                max_num: 32,
                end_timestamp: i64::MAX,
                unique_key_query: true,
                ..QueryMessage::default()
            };
            let reply = self.ask(Request::QueryMessage(query))?;
            let by_key = Served::all(&reply)?;
            ensure!(
                by_key.iter().any(|found| found.position == at),
                "message {id} at {at} cannot be found by its key: {} {:?}",
                reply.code,
                reply.remark
            );
            let fate = self.books.messages.get(id).map(|message| message.fate);
            ensure!(fate == Some(Fate::Stored(at)), "message {id} is {fate:?}, not at {at}");
        }
        Ok(())
    }
}

impl Inventory {
    fn add(&mut self, record: &Served) -> Checked {
        let before = self.positions.insert(record.position, record.stored_at);
        ensure!(before.is_none(), "{} stands in two queues", record.place());
        let count = match record.kind() {
            Kind::Delivered => &mut self.delivered,
            Kind::DeadLetter => &mut self.dead,
            Kind::GivenBack => &mut self.waiting,
            Kind::Sent if record.topic == SCHEDULE_TOPIC => &mut self.waiting,
            Kind::Sent => return Ok(()),
        };
        *count.entry(again(record)).or_default() += 1;
        Ok(())
    }
}

/// The topics that the broker makes under its own and its cluster's name.
fn is_broker_topic(name: &str) -> bool {
    let config = crate::plan::config();
    *name == *config.cluster || *name == *config.broker_name
}

fn body(reply: &Reply) -> Vec<u8> {
    reply.body.slices().concat()
}

fn no_json(error: serde_json::Error) -> Violation {
    Violation(format!("a reply is no JSON: {error}"))
}

/// The offset in a reply.
pub(crate) fn offset(reply: &Reply) -> Checked<i64> {
    match &reply.fields {
        ReplyFields::Offset(reply) => Ok(reply.offset),
        _ => Err(Violation(format!("no offset: {} {:?}", reply.code, reply.remark))),
    }
}

/// A pull of everything from an offset on.
fn whole_pull(topic: &str, queue: i32, from: i64) -> Pull {
    Pull {
        consumer_group: "TOOLS_CONSUMER".into(),
        topic: topic.into(),
        queue_id: queue,
        queue_offset: from,
        max_msg_nums: 1024,
        sys_flag: sys_flag::SUBSCRIPTION,
        subscription: Some("*".into()),
        ..Pull::default()
    }
}
