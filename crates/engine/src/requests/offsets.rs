//! 14, 15: how far a group is. 308, 314: how far groups are beside each other. 29, 30, 31, 32: how far a
//! queue goes, and when its messages came.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kerolox_log::index::lookup::AskError;
use kerolox_log::index::queue::{Boundary, Entry, Look, Queue};
use kerolox_protocol::remoting::admin::{CloneOffsets, CorrectionQuestion};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::offsets::{
    OffsetReply, QueryConsumerOffset, QueueQuestion, SearchOffset, TimestampReply,
    UpdateConsumerOffset,
};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};

use crate::limits::{CLONE_MAX, TOPICS_NAMED_MAX};
use crate::output::{Answer, Output, Work};
use crate::request::Origin;
use crate::topics::Topic;
use crate::turn::Engine;

fn offset(offset: i64) -> Reply {
    Reply::with(ReplyFields::Offset(OffsetReply { offset }))
}

impl Engine {
    /// The answer to 14: a group without an offset gets 22 and follows its own start policy, except where the
    /// queue's first message is still hot: then it starts at 0, as with Apache's broker.
    pub(crate) fn query_consumer_offset(
        &mut self,
        origin: Origin,
        header: &QueryConsumerOffset,
        out: &mut Output,
    ) {
        let known = self.state.offsets.get(&header.consumer_group, &header.topic, header.queue_id);
        let reply = match known {
            Some(known) => offset(known),
            None if header.set_zero_if_not_found != Some(false)
                && self.starts_hot(&header.topic, header.queue_id) =>
            {
                offset(0)
            }
            None => Reply::refuse(
                response::QUERY_NOT_FOUND,
                "Not found, maybe this group consumer boot first",
            ),
        };
        out.reply(origin, reply);
    }

    /// Whether a queue still begins at 0, and its first message is near the log's end.
    fn starts_hot(&self, topic: &str, queue: i32) -> bool {
        let Some(topic) = self.state.topics.by_name(topic) else { return false };
        let begins = |index: &Queue| index.min() == 0 && index.next() > 0;
        let index = topic.queue(queue).map(|state| &state.index).filter(|index| begins(index));
        let first = index.map(Queue::origin);
        first.is_some_and(|first| self.log.end().0 - first <= self.config.hot_bytes)
    }

    /// 15.
    pub(crate) fn update_consumer_offset(
        &mut self,
        origin: Origin,
        header: &UpdateConsumerOffset,
        out: &mut Output,
    ) {
        let refusal = |code, remark: String| Reply::refuse(code, remark);
        let reply = match (header.queue_id, header.commit_offset) {
            _ if self.state.groups.get(&header.consumer_group).is_none() => refusal(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("Group {} not exist!", header.consumer_group),
            ),
            _ if self.state.topics.find(&header.topic).is_none() => {
                refusal(response::TOPIC_NOT_EXIST, format!("Topic {} not exist!", header.topic))
            }
            // A negative offset is what some clients send before they have one: nothing to note.
            (Some(queue), Some(commit)) if queue >= 0 => {
                self.commit_offset(&header.consumer_group, &header.topic, queue, commit);
                Reply::ok()
            }
            _ => refusal(
                response::INVALID_PARAMETER,
                "queueId (not negative) and commitOffset are needed".to_owned(),
            ),
        };
        out.reply(origin, reply);
    }

    /// Notes how far a group is. Beyond the queue's end the end is taken.
    pub(crate) fn commit_offset(&mut self, group: &str, topic: &str, queue: i32, commit: i64) {
        // A reset that the consumer has not seen yet wins over what it still commits.
        let is_reset = || self.resets.contains_key(&(group.to_owned(), topic.to_owned(), queue));
        if commit < 0 || (!self.resets.is_empty() && is_reset()) {
            return;
        }
        let Some(known) = self.state.topics.by_name(topic) else { return };
        let queues = known.config.read_queue_nums.max(known.config.write_queue_nums);
        if !(0..queues).contains(&queue) {
            return;
        }
        let max = known.range(queue).1;
        self.state.offsets.commit(group, topic, queue, commit.min(max));
    }

    /// 308: for each queue of a topic the least offset of all other groups; `i64::MAX` where the group that
    /// asks is the last one. Groups that are left out stay as they are (Apache's broker forgets their
    /// offsets).
    pub(crate) fn correction_offsets(
        &mut self,
        origin: Origin,
        header: &CorrectionQuestion,
        out: &mut Output,
    ) {
        let filter = header.filter_groups.as_deref().unwrap_or("");
        if filter.split(',').count() > TOPICS_NAMED_MAX {
            let remark = format!("filterGroups names more than {TOPICS_NAMED_MAX} groups");
            return out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, remark));
        }
        let left_out: HashSet<String> = filter.split(',').map(str::to_owned).collect();
        let (own, topic) = (header.compare_group.to_string(), header.topic.to_string());
        let mut found: BTreeMap<i32, i64> = BTreeMap::new();
        let (mut queue, mut others) = (0, None::<Vec<Arc<str>>>);
        // A queue at a time: there may be many groups.
        let steps = move |engine: &Engine| {
            let offsets = &engine.state.offsets;
            let Some(others) = &others else {
                let all = offsets.groups_of(&topic).filter(|group| !left_out.contains(&***group));
                others = Some(all.cloned().collect());
                return None;
            };
            let known = engine.state.topics.by_name(&topic);
            let queues =
                known.map_or(0, |t| t.config.read_queue_nums.max(t.config.write_queue_nums));
            if queue >= queues {
                let body = serde_json::json!({ "correctionOffsets": found });
                return Some(Box::new(move || Reply::json(&body)) as Work);
            }
            let own = offsets.get(&own, &topic, queue);
            let min = known.map_or(0, |topic| topic.range(queue).0);
            let all = others.iter().filter_map(|group| offsets.get(group, &topic, queue));
            if let Some(least) = all.filter(|offset| *offset >= min).min() {
                let is_last = own.is_some_and(|own| least > own);
                found.insert(queue, if is_last { i64::MAX } else { least });
            }
            queue += 1;
            None
        };
        out.answer(origin, Answer::Steps(Box::new(steps)), None);
    }

    /// 314: a group goes on where another one is, in one topic or in all.
    pub(crate) fn clone_offsets(
        &mut self,
        origin: Origin,
        header: &CloneOffsets,
        out: &mut Output,
    ) {
        let (from, to) = (&*header.src_group, &*header.dest_group);
        if self.state.groups.get(to).is_none() {
            let remark = format!("Group {to} not exist!");
            out.reply(origin, Reply::refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
            return;
        }
        let topics: Vec<String> = match header.topic.as_deref().filter(|topic| !topic.is_empty()) {
            Some(topic) => vec![topic.to_owned()],
            None => self.state.offsets.topics_of(from).map(|topic| topic.to_string()).collect(),
        };
        let mut copied = Vec::new();
        for topic in topics {
            let members = self.members.group(from);
            let reads = members.is_none_or(|members| members.subscriptions.contains_key(&topic));
            if !reads && !header.offline {
                continue;
            }
            let known = self.state.topics.by_name(&topic).map(|topic| &topic.config);
            let queues = known.map_or(0, |c| c.read_queue_nums.max(c.write_queue_nums));
            for queue in 0..queues {
                if let Some(offset) = self.state.offsets.get(from, &topic, queue) {
                    copied.push((topic.clone(), queue, offset));
                }
            }
            if copied.len() > CLONE_MAX {
                let remark = format!(
                    "{from} has offsets in more than {CLONE_MAX} queues; name one topic at a time"
                );
                out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, remark));
                return;
            }
        }
        for (topic, queue, offset) in copied {
            // A reset that its consumers have not seen yet is overtaken.
            self.resets.remove(&(to.to_owned(), topic.clone(), queue));
            self.commit_offset(to, &topic, queue, offset);
        }
        out.reply(origin, Reply::ok());
    }

    fn on_queue(
        &mut self,
        origin: Origin,
        topic: &str,
        queue: i32,
        out: &mut Output,
        answer: impl FnOnce(&Topic) -> Answer,
    ) {
        let reply = match self.state.topics.by_name(topic) {
            None => {
                let remark = format!("topic[{topic}] not exist, apply first please!");
                Answer::Now(Reply::refuse(response::TOPIC_NOT_EXIST, remark))
            }
            Some(_) if queue < 0 => {
                let remark = format!("queueId[{queue}] is illegal, topic[{topic}]");
                Answer::Now(Reply::refuse(response::INVALID_PARAMETER, remark))
            }
            Some(topic) => answer(topic),
        };
        out.answer(origin, reply, None);
    }

    /// 30: what is confirmed, not what is on its way.
    pub(crate) fn max_offset(&mut self, origin: Origin, h: &QueueQuestion, out: &mut Output) {
        self.on_queue(origin, &h.topic, h.queue_id, out, |topic| {
            Answer::Now(offset(topic.range(h.queue_id).1))
        });
    }

    /// 31.
    pub(crate) fn min_offset(&mut self, origin: Origin, h: &QueueQuestion, out: &mut Output) {
        self.on_queue(origin, &h.topic, h.queue_id, out, |topic| {
            Answer::Now(offset(topic.range(h.queue_id).0))
        });
    }

    /// 29.
    pub(crate) fn search_offset(&mut self, origin: Origin, h: &SearchOffset, out: &mut Output) {
        let upper = h.boundary_type.as_ref().is_some_and(|b| b.eq_ignore_ascii_case("upper"));
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        let blocks = self.blocks.clone();
        self.on_queue(origin, &h.topic, h.queue_id, out, |topic| {
            let Some(queue) = topic.queue(h.queue_id) else { return Answer::Now(offset(0)) };
            let seek = queue.index.seek_time(h.timestamp, boundary, queue.visible);
            if seek.older.is_none() {
                return Answer::Now(offset(seek.finish(None)));
            }
            let (name, queue) = (h.topic.clone(), h.queue_id);
            let work = move || match blocks.ask(|blocks| blocks.finish((&name, queue), &seek)) {
                Ok(found) => offset(found),
                Err(error) => unreadable(&error),
            };
            Answer::Later(Box::new(work))
        });
    }

    /// 32: −1 if the queue is empty.
    pub(crate) fn earliest_time(&mut self, origin: Origin, h: &QueueQuestion, out: &mut Output) {
        let reply = |timestamp| Reply::with(ReplyFields::Timestamp(TimestampReply { timestamp }));
        let blocks = self.blocks.clone();
        self.on_queue(origin, &h.topic, h.queue_id, out, |topic| {
            let index = topic.queue(h.queue_id).filter(|q| q.index.min() < q.visible);
            let Some(index) = index.map(|q| &q.index) else { return Answer::Now(reply(-1)) };
            let min = index.min();
            match index.look(min) {
                Look::Here(entry) => {
                    Answer::Now(reply(entry.map_or(-1, |entry| entry.store_timestamp)))
                }
                Look::Older(chain) => {
                    let (name, queue) = (h.topic.clone(), h.queue_id);
                    Answer::Later(Box::new(move || {
                        let first =
                            blocks.ask(|blocks| blocks.entries((&*name, queue), chain, min, 1));
                        let time = |found: Vec<(i64, Entry)>| {
                            found.first().map_or(-1, |(_, entry)| entry.store_timestamp)
                        };
                        first.map_or_else(|error| unreadable(&error), |found| reply(time(found)))
                    }))
                }
            }
        });
    }
}

/// The index cannot be read.
pub(crate) fn unreadable(error: &AskError) -> Reply {
    let remark = format!("the index cannot be read: {error}; see the broker's log");
    Reply::refuse(response::SYSTEM_ERROR, remark)
}
