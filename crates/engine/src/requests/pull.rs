//! 11 and 361: messages of a queue, from an offset on. If there is none yet, the pull waits
//! ([`crate::park`]) and is answered from memory when one arrives (`crate::watermark`).

use kerolox_log::PhysicalOffset;
use kerolox_log::index::queue::Look;
use kerolox_protocol::remoting::admin::perm;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::pull::{Pull, Pulled, sys_flag};
use kerolox_protocol::remoting::reply::{Body, Reply, ReplyFields};
use kerolox_protocol::tags::{TagFilter, is_tag_type};

use crate::limits::{PARK_MS_MAX, PARKED_MAX, PULL_MESSAGES_MAX, PULL_SCAN_MAX};
use crate::output::{Answer, ColdMessages, ColdPull, ConnectionId, Output, choose};
use crate::park::{Parked, Waiting};
use crate::request::Origin;
use crate::topics::TopicId;
use crate::turn::Engine;

/// For each message that a pull wants so many entries are looked at, where they come from disk and
/// memory.
const HERE_MAX: usize = 4;

/// What one look into a queue found.
enum Looked {
    /// An answer.
    Found(Answer),
    /// Nothing yet: the pull may wait.
    NotYet(Reply),
}

impl Engine {
    pub(crate) fn pull(&mut self, origin: Origin, pull: Pull, now: i64, out: &mut Output) {
        let (id, filter) = match self.check_pull(&pull, now) {
            Ok(checked) => checked,
            Err(refusal) => {
                self.counters.refused += 1;
                out.reply(origin, refusal);
                return;
            }
        };
        if pull.sys_flag & sys_flag::COMMIT != 0 {
            self.commit_offset(
                &pull.consumer_group,
                &pull.topic,
                pull.queue_id,
                pull.commit_offset,
            );
        }
        if !self.resets.is_empty()
            && let reset = (pull.consumer_group.to_string(), pull.topic.to_string(), pull.queue_id)
            && let Some(offset) = self.resets.remove(&reset)
        {
            let (min, max) = self.range_of(id, pull.queue_id);
            let reply = answer(response::PULL_OFFSET_MOVED, "OFFSET_RESET", offset, min, max);
            out.reply(origin, reply);
            return;
        }
        match self.look(id, &pull, &filter) {
            Looked::Found(found) => out.answer(origin, found, None),
            Looked::NotYet(reply) => {
                self.rates.missed();
                let may_wait = pull.sys_flag & sys_flag::SUSPEND != 0
                    && !origin.oneway
                    && self.deadlines.count() < PARKED_MAX;
                if !may_wait {
                    out.reply(origin, reply);
                    return;
                }
                let wait = if self.config.long_polling {
                    pull.suspend_timeout_millis.clamp(0, PARK_MS_MAX)
                } else {
                    self.config.short_polling_ms
                };
                let at = now + wait;
                let number = self.deadlines.add(origin.connection, at, id, pull.queue_id);
                let pull = detached(pull);
                let topic = self.state.topics.get_mut(id).expect("just found");
                let queue = topic.queue_mut(pull.queue_id);
                queue.parked.push(Parked { origin, pull, filter, number });
                self.counters.parked += 1;
            }
        }
    }

    fn check_pull(&mut self, pull: &Pull, now: i64) -> Result<(TopicId, TagFilter), Reply> {
        let refuse = |code, remark: String| Err(Reply::refuse(code, remark));
        if self.config.broker_permission & perm::READ == 0 {
            let name = &self.config.broker_name;
            let remark =
                format!("the broker[{name}] pulling message is forbidden (brokerPermission)");
            return refuse(response::NO_PERMISSION, remark);
        }
        if !self.group_exists(&pull.consumer_group, now) {
            let remark = format!(
                "subscription group [{}] does not exist, create it or set autoCreateSubscriptionGroup=true",
                pull.consumer_group
            );
            return refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark);
        }
        let group = self.state.groups.get(&pull.consumer_group).expect("just looked up");
        if !group.consume_enable {
            let remark = format!(
                "subscription group no permission, {} (consumeEnable=false)",
                pull.consumer_group
            );
            return refuse(response::NO_PERMISSION, remark);
        }
        let broadcast_allowed = group.consume_broadcast_enable;
        let Some(id) = self.state.topics.find(&pull.topic) else {
            let remark = format!(
                "topic[{}] not exist, apply first please! Create it, or send a first message to it",
                pull.topic
            );
            return refuse(response::TOPIC_NOT_EXIST, remark);
        };
        let topic = &self.state.topics.get(id).expect("just found").config;
        if topic.perm & perm::READ == 0 {
            let remark = format!(
                "the topic[{}] pulling message is forbidden (perm={})",
                pull.topic, topic.perm
            );
            return refuse(response::NO_PERMISSION, remark);
        }
        let queues = topic.read_queue_nums;
        if !(0..queues).contains(&pull.queue_id) {
            let remark = format!(
                "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{queues}]",
                pull.queue_id, pull.topic
            );
            return refuse(response::INVALID_PARAMETER, remark);
        }
        if pull.sys_flag & sys_flag::SUBSCRIPTION != 0 {
            check_expression_type(pull.expression_type.as_ref())?;
            let expression = pull.subscription.as_deref().unwrap_or("");
            return TagFilter::parse(expression).map(|filter| (id, filter)).map_err(|why| {
                let remark =
                    format!("parse the consumer's subscription failed: {why} ({expression:?})");
                Reply::refuse(response::SUBSCRIPTION_PARSE_FAILED, remark)
            });
        }
        let Some(members) = self.members.group(&pull.consumer_group) else {
            // No heartbeat since the broker started: it is on its way, in up to 30 s. Apache's
            // broker refuses until then (24); here the client, which compares tags itself, gets
            // everything.
            return Ok((id, TagFilter::All));
        };
        if members.is_broadcast() && !broadcast_allowed {
            let remark = format!(
                "the consumer group[{}] can not consume by broadcast way (consumeBroadcastEnable=false)",
                pull.consumer_group
            );
            return refuse(response::NO_PERMISSION, remark);
        }
        let Some(subscription) = members.subscriptions.get(&*pull.topic) else {
            let remark = format!(
                "the consumer's subscription not exist, group: {}, topic: {}: the last heartbeat of the group named other topics; all clients of a group must subscribe alike",
                pull.consumer_group, pull.topic
            );
            return refuse(response::SUBSCRIPTION_NOT_EXIST, remark);
        };
        let expression_type = subscription.data.expression_type.as_str().into();
        check_expression_type(Some(&expression_type))?;
        if subscription.data.sub_version < pull.sub_version {
            // The heartbeat with what the client wants now is on its way. Apache's broker refuses
            // until then (25), for up to 30 s; here the client, which compares tags itself, gets
            // everything.
            return Ok((id, TagFilter::All));
        }
        Ok((id, subscription.filter.clone()))
    }

    pub(crate) fn range_of(&self, id: TopicId, queue: i32) -> (i64, i64) {
        self.state.topics.get(id).map_or((0, 0), |topic| topic.range(queue))
    }

    /// Looks into a queue once.
    fn look(&mut self, id: TopicId, pull: &Pull, filter: &TagFilter) -> Looked {
        let (min, max) = self.range_of(id, pull.queue_id);
        let offset = pull.queue_offset;
        let found =
            |code, remark, next| Looked::Found(Answer::Now(answer(code, remark, next, min, max)));
        // The same cases, in the same order, as in Apache's store.
        if max == 0 {
            if offset == 0 {
                let reply = answer(response::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE", 0, min, max);
                return Looked::NotYet(reply);
            }
            return found(response::PULL_OFFSET_MOVED, "NO_MESSAGE_IN_QUEUE", 0);
        }
        if offset < min {
            return found(response::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", min);
        }
        if offset == max {
            let reply = answer(response::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", offset, min, max);
            return Looked::NotYet(reply);
        }
        if offset > max {
            return found(response::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", max);
        }
        self.collect(id, pull, filter, min, max)
    }

    /// Collects messages that match, up to the limits.
    fn collect(
        &mut self,
        id: TopicId,
        pull: &Pull,
        filter: &TagFilter,
        min: i64,
        max: i64,
    ) -> Looked {
        let topic = self.state.topics.get(id).expect("just found");
        let index = &topic.queue(pull.queue_id).expect("it holds messages").index;
        let wanted = usize::try_from(pull.max_msg_nums).unwrap_or(1).clamp(1, PULL_MESSAGES_MAX);
        let from = pull.queue_offset;
        let pulled = |next| Pulled {
            suggest_which_broker_id: 0,
            next_begin_offset: next,
            min_offset: min,
            max_offset: max,
        };
        if let Look::Older(chain) = index.look(from) {
            self.state.offsets.set_pulled(&pull.consumer_group, &pull.topic, pull.queue_id, from);
            let pulled = pulled(index.first_here());
            let few = index.first_here() - from <= wanted as i64 * HERE_MAX as i64;
            let here = if few { wanted * HERE_MAX } else { 0 };
            let here = index.range(index.first_here(), max).take(here).collect();
            let filter = filter.clone();
            let of = (pull.topic.clone(), pull.queue_id);
            let messages = ColdMessages::Older { of, chain, from, here, filter, wanted };
            return Looked::Found(self.cold(id, pull, pulled, messages));
        }
        let entries = index.range(from, max).take(PULL_SCAN_MAX);
        let (messages, next) = choose(entries, from, filter, wanted);
        let bytes: usize = messages.iter().map(|(_, place)| place.size as usize).sum();
        let pulled = pulled(next);
        self.state.offsets.set_pulled(&pull.consumer_group, &pull.topic, pull.queue_id, next);
        if messages.is_empty() {
            let reply = Reply {
                code: response::PULL_RETRY_IMMEDIATELY,
                remark: Some("NO_MATCHED_MESSAGE".into()),
                fields: ReplyFields::Pulled(pulled),
                body: Body::Empty,
            };
            return Looked::Found(Answer::Now(reply));
        }
        let mut body = Vec::with_capacity(messages.len());
        let (mut from, mut to) = (PhysicalOffset(0), PhysicalOffset(0));
        for (_, place) in &messages {
            // Neighbours in the log travel as one slice.
            if place.offset == to && !body.is_empty() {
                let end = place.offset.plus(u64::from(place.size));
                if let Some(longer) = self.tail.get(from, (end.0 - from.0) as u32) {
                    to = end;
                    if let Some(last) = body.last_mut() {
                        *last = longer;
                    }
                    continue;
                }
            }
            match self.tail.get(place.offset, place.size) {
                Some(slice) => body.push(slice),
                None => {
                    let messages = ColdMessages::Here(messages);
                    return Looked::Found(self.cold(id, pull, pulled, messages));
                }
            }
            (from, to) = (place.offset, place.offset.plus(u64::from(place.size)));
        }
        self.served(id, &pull.consumer_group, messages.len() as u64, bytes as u64);
        Looked::Found(Answer::Now(Reply {
            code: response::SUCCESS,
            remark: None,
            fields: ReplyFields::Pulled(pulled),
            body: Body::Many(body),
        }))
    }

    /// An answer that a disk reader makes.
    fn cold(&self, topic: TopicId, pull: &Pull, pulled: Pulled, messages: ColdMessages) -> Answer {
        let (group, confirmed) = (pull.consumer_group.clone(), self.confirmed());
        Answer::Cold(Box::new(ColdPull { topic, group, pulled, messages, confirmed }))
    }

    /// Counts messages that went to consumers.
    pub(crate) fn served(&mut self, topic: TopicId, group: &str, messages: u64, bytes: u64) {
        if let Some(topic) = self.state.topics.get_mut(topic) {
            topic.counters.messages_out += messages;
            topic.counters.bytes_out += bytes;
            self.rates.served(group, topic, messages, bytes);
        }
        self.counters.messages_out += messages;
        self.counters.bytes_out += bytes;
    }

    /// A message arrived: answers the pulls that wait for one like it.
    pub(crate) fn wake(&mut self, id: TopicId, queue: i32, tags_code: i32, out: &mut Output) {
        let Some(topic) = self.state.topics.get_mut(id) else { return };
        let waiting = &mut topic.queue_mut(queue).parked;
        let woken: Vec<Parked> =
            waiting.extract_if(.., |parked| parked.filter.matches(tags_code)).collect();
        for parked in woken {
            self.deadlines.take(parked.number);
            self.answer_again(id, parked, out);
        }
    }

    /// Looks once more for a pull that waited, and answers it.
    fn answer_again(&mut self, id: TopicId, parked: Parked, out: &mut Output) {
        self.counters.parked = self.counters.parked.saturating_sub(1);
        match self.look(id, &parked.pull, &parked.filter) {
            Looked::Found(found) => out.answer(parked.origin, found, None),
            Looked::NotYet(reply) => out.reply(parked.origin, reply),
        }
    }

    /// Takes a waiting pull out of its queue.
    fn unpark(&mut self, waiting: Waiting) -> Option<Parked> {
        let topic = self.state.topics.get_mut(waiting.topic)?;
        let parked = &mut topic.queue_mut(waiting.queue).parked;
        let at = parked.iter().position(|parked| parked.number == waiting.number)?;
        Some(parked.swap_remove(at))
    }

    /// The time of a waiting pull has come.
    pub(crate) fn answer_parked(&mut self, waiting: Waiting, out: &mut Output) {
        if let Some(parked) = self.unpark(waiting) {
            self.answer_again(waiting.topic, parked, out);
        }
    }

    /// Nobody waits for the pulls of a closed connection.
    pub(crate) fn forget_pulls(&mut self, connection: ConnectionId) {
        while let Some(waiting) = self.deadlines.take_of(connection) {
            if self.unpark(waiting).is_some() {
                self.counters.parked = self.counters.parked.saturating_sub(1);
            }
        }
    }

    pub(crate) fn expire_pulls(&mut self, now: i64, out: &mut Output) {
        while let Some(waiting) = self.deadlines.take_due(now) {
            self.answer_parked(waiting, out);
        }
    }
}

/// The texts of a request share the memory of what its shard read: a pull that waits must not keep
/// that.
fn detached(pull: Pull) -> Pull {
    let own = |text: &str| bytestring::ByteString::from(text.to_owned());
    Pull {
        consumer_group: own(&pull.consumer_group),
        topic: own(&pull.topic),
        subscription: None,
        expression_type: None,
        ..pull
    }
}

fn answer(code: i32, remark: &'static str, next: i64, min: i64, max: i64) -> Reply {
    Reply {
        code,
        remark: Some(remark.into()),
        fields: ReplyFields::Pulled(Pulled {
            suggest_which_broker_id: 0,
            next_begin_offset: next,
            min_offset: min,
            max_offset: max,
        }),
        body: Body::Empty,
    }
}

/// Only tags are filtered for now.
pub(crate) fn check_expression_type(kind: Option<&bytestring::ByteString>) -> Result<(), Reply> {
    if is_tag_type(kind) {
        return Ok(());
    }
    let kind = kind.map_or("", |kind| kind);
    let remark = format!("The broker does not support consumer to filter message by {kind}");
    Err(Reply::refuse(response::SYSTEM_ERROR, remark))
}
