//! Consumers: pulls that may wait, with tag filters; commits; messages given back.

use std::collections::{BTreeMap, BTreeSet};

use kerolox_engine::{Incoming, Request};
use kerolox_log::disk::fault::Rng;
use kerolox_protocol::names::retry_topic;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::offsets::{
    QueryConsumerOffset, QueueQuestion, UpdateConsumerOffset,
};
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};
use kerolox_protocol::remoting::send::SendBack;

use crate::books::audit;
use crate::books::messages::{Again, GivenBack};
use crate::books::served::Served;
use crate::clients::{Around, Clients, GROUPS, PRODUCERS, TOPICS, What, pick};
use crate::violation::{Checked, ensure};

/// A consumer of all queues of a topic.
pub(super) struct Consumer {
    pub(super) group: &'static str,
    pub(super) topic: String,
    filter: &'static str,
    /// Where it is in each queue.
    next: BTreeMap<i32, i64>,
    /// Queues whose pull is not answered yet.
    pulling: BTreeSet<i32>,
    /// The last messages that it saw: position, number, times given back.
    last: Vec<(u64, u64, i32)>,
}

const FILTERS: [&str; 4] = ["*", "*", "TagA", "TagA || TagC"];
const QUEUES: u64 = 4;

impl Consumer {
    /// For each group a consumer of one or two topics and one of its retry topic.
    pub(super) fn all(rng: &mut Rng) -> Vec<Consumer> {
        let mut all = Vec::new();
        for group in GROUPS {
            let first = rng.below(TOPICS.len() as u64) as usize;
            for i in 0..1 + rng.below(2) as usize {
                let topic = TOPICS[(first + i) % TOPICS.len()].to_owned();
                all.push(Consumer::new(group, topic, pick(rng, &FILTERS)));
            }
            all.push(Consumer::new(group, retry_topic(group), "*"));
        }
        all
    }

    fn new(group: &'static str, topic: String, filter: &'static str) -> Consumer {
        Consumer {
            group,
            topic,
            filter,
            next: BTreeMap::new(),
            pulling: BTreeSet::new(),
            last: Vec::new(),
        }
    }

    /// Its connection is gone. `forgets`: it goes on at what it committed.
    pub(super) fn lost_connection(&mut self, forgets: bool) {
        self.pulling.clear();
        if forgets {
            self.next.clear();
            self.last.clear();
        }
    }

    /// Whether a tag passes its filter.
    fn wants(filter: &str, tag: &str) -> bool {
        filter == "*" || filter.split("||").any(|wanted| wanted.trim() == tag)
    }
}

impl Clients {
    /// A consumer does something.
    pub(super) fn consume(&mut self, around: &mut Around<'_>) -> Checked<Option<Incoming>> {
        let consumer = around.rng.below(self.consumers.len() as u64) as usize;
        let queue = around.rng.below(QUEUES) as i32;
        match around.rng.below(20) {
            0..13 => self.pull(consumer, queue, around),
            13..17 => Ok(self.commit(consumer, queue, around)),
            17..19 => Ok(self.give_back(consumer, around)),
            _ => {
                let topic = self.consumers[consumer].topic.clone();
                let question = QueueQuestion { topic: topic.as_str().into(), queue_id: queue };
                let what = What::MaxOffset { topic, queue };
                let client = PRODUCERS + consumer as u64;
                let request = Request::MaxOffset(question);
                Ok(Some(self.incoming(client, what, request, around.books)))
            }
        }
    }

    fn pull(
        &mut self,
        consumer: usize,
        queue: i32,
        around: &mut Around<'_>,
    ) -> Checked<Option<Incoming>> {
        let client = PRODUCERS + consumer as u64;
        let from = self.begin_at(consumer, queue, around)?;
        let who = &mut self.consumers[consumer];
        if !who.pulling.insert(queue) {
            return Ok(None);
        }
        let rng = &mut *around.rng;
        let waits = rng.one_in(2);
        let commits = rng.one_in(4);
        let filter = who.filter;
        let (group, topic) = (who.group, who.topic.clone());
        let pull = Pull {
            consumer_group: group.into(),
            topic: topic.as_str().into(),
            queue_id: queue,
            queue_offset: from,
            max_msg_nums: 1 + rng.below(32) as i32,
            sys_flag: sys_flag::SUBSCRIPTION
                | if waits { sys_flag::SUSPEND } else { 0 }
                | if commits { sys_flag::COMMIT } else { 0 },
            commit_offset: from,
            suspend_timeout_millis: rng.below(3_000) as i64,
            subscription: Some(filter.into()),
            ..Pull::default()
        };
        // Without its group a pull is refused.
        let group_is_there = around.books.settings.groups.contains_key(group);
        if commits && (group_is_there || around.broker.takes_changes()) {
            self.note_commit(group, &topic, queue, from, around);
        }
        around.events.add(|| format!("{group} pulls {topic}/{queue}:{from}"));
        let what = What::Pull { consumer, queue, from, filter };
        Ok(Some(self.incoming(client, what, Request::Pull(pull), around.books)))
    }

    /// Where a consumer goes on: where it is, or at what its group committed.
    fn begin_at(&mut self, consumer: usize, queue: i32, around: &mut Around<'_>) -> Checked<i64> {
        let who = &mut self.consumers[consumer];
        if let Some(next) = who.next.get(&queue) {
            return Ok(*next);
        }
        let question = QueryConsumerOffset {
            consumer_group: who.group.into(),
            topic: who.topic.as_str().into(),
            queue_id: queue,
            set_zero_if_not_found: Some(false),
        };
        let reply = around.broker.ask(Request::QueryConsumerOffset(question), around.clock)?;
        let next = if reply.code == response::SUCCESS { audit::offset(&reply)? } else { 0 };
        who.next.insert(queue, next);
        Ok(next)
    }

    fn commit(&mut self, consumer: usize, queue: i32, around: &mut Around<'_>) -> Option<Incoming> {
        let who = &self.consumers[consumer];
        let (group, topic) = (who.group, who.topic.clone());
        let next = *who.next.get(&queue)?;
        // Some commit what is not there yet, some go back.
        let offset = match around.rng.below(10) {
            0 => next + 5,
            1 => next / 2,
            _ => next,
        };
        if !around.books.settings.groups.contains_key(group) {
            return None;
        }
        self.note_commit(group, &topic, queue, offset, around);
        let update = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: topic.as_str().into(),
            queue_id: Some(queue),
            commit_offset: Some(offset),
        };
        around.events.add(|| format!("{group} commits {topic}/{queue}:{offset}"));
        let client = PRODUCERS + consumer as u64;
        let request = Request::UpdateConsumerOffset(update);
        Some(self.incoming(client, What::Commit, request, around.books))
    }

    /// A commit beyond the queue's end counts as its end; one in a queue that is not there, or
    /// that was reset, not at all.
    fn note_commit(
        &mut self,
        group: &str,
        topic: &str,
        queue: i32,
        offset: i64,
        around: &mut Around<'_>,
    ) {
        let key = (group.to_owned(), topic.to_owned(), queue);
        let Some(config) = around.books.settings.topics.get(topic) else { return };
        let queues = config.read_queue_nums.max(config.write_queue_nums);
        if self.resets.contains(&key) || queue >= queues {
            return;
        }
        let state = &around.broker.engine.state;
        let max = state.topics.by_name(topic).map_or(0, |topic| topic.range(queue).1);
        around.books.commits.commit(&key, offset.min(max), around.clock.elapsed());
    }

    fn give_back(&mut self, consumer: usize, around: &mut Around<'_>) -> Option<Incoming> {
        let who = &self.consumers[consumer];
        if who.last.is_empty() {
            return None;
        }
        let (position, id, times) = pick(around.rng, &who.last);
        let group = who.group;
        let header = SendBack {
            offset: position as i64,
            group: group.into(),
            delay_level: around.rng.below(5) as i32 - 1,
            max_reconsume_times: Some(3),
            ..SendBack::default()
        };
        around.events.add(|| format!("{group} gives back {id} at {position}"));
        let again = Again { id, times: times + 1, group: retry_topic(group) };
        let client = PRODUCERS + consumer as u64;
        let what = What::SendBack { again };
        Some(self.incoming(client, what, Request::SendBack(header), around.books))
    }

    /// The engine answered a pull: a reset was taken note of.
    pub(super) fn pull_made(
        &mut self,
        consumer: usize,
        queue: i32,
        reply: &Reply,
        around: &mut Around<'_>,
    ) -> Checked {
        let who = &self.consumers[consumer];
        if reply.remark.as_deref() == Some("OFFSET_RESET") {
            let key = (who.group.to_owned(), who.topic.clone(), queue);
            self.resets.retain(|reset| *reset != key);
        }
        match &reply.fields {
            ReplyFields::Pulled(pulled) => told(&who.topic, queue, pulled.max_offset, around),
            _ => Ok(()),
        }
    }

    /// A topic is gone: so are its resets.
    pub(crate) fn topic_gone(&mut self, topic: &str) {
        self.resets.retain(|(_, of, _)| of != topic);
    }

    /// A consumer got the answer to a pull.
    pub(super) fn pulled(
        &mut self,
        consumer: usize,
        (queue, from): (i32, i64),
        filter: &str,
        reply: &Reply,
        seq: u64,
        around: &mut Around<'_>,
    ) -> Checked {
        let who = &mut self.consumers[consumer];
        who.pulling.remove(&queue);
        let ReplyFields::Pulled(pulled) = &reply.fields else {
            let gone = reply.code == response::TOPIC_NOT_EXIST;
            let few = reply.code == response::INVALID_PARAMETER;
            let no_group = reply.code == response::SUBSCRIPTION_GROUP_NOT_EXIST
                && !around.broker.takes_changes();
            let no_index = reply.code == response::SYSTEM_ERROR && around.books.excuses_look_ups();
            ensure!(
                gone || few || no_group || no_index,
                "a pull was refused: {} {:?}",
                reply.code,
                reply.remark
            );
            who.next.remove(&queue);
            return Ok(());
        };
        let same_topic = seq > around.books.settings.born(&who.topic);
        let served = Served::all(reply)?;
        let confirmed = around.broker.confirmed().0;
        let mut last = from - 1;
        for record in &served {
            let place = record.place();
            let asked_for = record.topic == who.topic && record.queue == queue;
            ensure!(
                asked_for && record.offset > last,
                "{place} answers {}/{queue}:{from}",
                who.topic
            );
            ensure!(Consumer::wants(filter, &record.tag), "{place} has the tag {}", record.tag);
            last = record.offset;
            around.books.messages.check(record, confirmed)?;
            around.books.messages.saw(record, seq);
            around.books.promise(record.position + record.size, || format!("{place}, seen"));
            who.last.push((record.position, record.id, record.times));
        }
        let surplus = who.last.len().saturating_sub(20);
        who.last.drain(..surplus);
        if same_topic {
            let next = pulled.next_begin_offset;
            if matches!(reply.code, response::SUCCESS | response::PULL_RETRY_IMMEDIATELY) {
                ensure!(next > last && next > from, "a pull from {from} leads to {next}");
                skipped_nothing(&who.topic, queue, (from, next), filter, &served, around)?;
            }
            who.next.insert(queue, next);
        } else {
            who.next.remove(&queue);
        }
        Ok(())
    }
}

/// What a pull passed over must not match its filter.
fn skipped_nothing(
    topic: &str,
    queue: i32,
    (from, next): (i64, i64),
    filter: &str,
    served: &[Served],
    around: &Around<'_>,
) -> Checked {
    let books = &around.books;
    let born = books.settings.born(topic);
    for (position, place) in books.messages.places.range(books.floor..) {
        let passed = &*place.topic == topic
            && place.queue == queue
            && (from..next).contains(&place.offset)
            && place.seq > born;
        if !passed || books.damage.took(topic, queue, place.offset) {
            continue;
        }
        let tag = books.messages.get(place.id).map_or("", |message| message.tag);
        let is_there = served.iter().any(|record| record.position == *position);
        ensure!(
            is_there || !Consumer::wants(filter, tag),
            "message {} at {topic}/{queue}:{} was passed over by a pull from {from} to {next}",
            place.id,
            place.offset
        );
    }
    Ok(())
}

/// Somebody is told how far a queue goes: never less than before.
pub(super) fn told(topic: &str, queue: i32, max: i64, around: &mut Around<'_>) -> Checked {
    let books = &mut *around.books;
    let known = books.messages.told_max(topic, queue, books.settings.born(topic));
    ensure!(
        max >= known || books.damage.is_any(),
        "{topic}/{queue} ends at {max}, but {known} was told before"
    );
    let seq = books.next_seq();
    books.messages.told(topic, queue, max, seq);
    Ok(())
}

/// The engine answered a message that was given back.
pub(super) fn given_back(again: &Again, reply: &Reply, at: (u64, u64), around: &mut Around<'_>) {
    if reply.code == response::SUCCESS {
        around.books.messages.given_back.push(GivenBack { at, again: again.clone() });
    }
}
