//! 202: how far a topic's queues go. 208: how far a group is behind.

use std::collections::BTreeSet;

use kerolox_log::index::lookup::Blocks;
use kerolox_log::index::queue::Look;
use kerolox_protocol::json::write::{MessageQueue, by_queue};
use kerolox_protocol::names::retry_topic;
use kerolox_protocol::remoting::admin::{
    ConsumeStatsQuestion, OffsetWrapper, TopicOffset, TopicQuestion,
};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::output::{Answer, Output};
use crate::request::Origin;
use crate::topics::Topic;
use crate::turn::Engine;

/// When the message before an offset was stored, in ms; 0 if that is not known.
fn time_before(
    blocks: &Blocks,
    name: &MessageQueue,
    (look, offset): (Look<Option<i64>>, i64),
) -> i64 {
    match look {
        Look::Here(time) => time.unwrap_or(0),
        Look::Older(chain) => {
            let of = (&*name.topic, name.queue_id);
            let entry = blocks.ask(|blocks| blocks.entry(of, chain, offset - 1));
            entry.ok().flatten().map_or(0, |entry| entry.store_timestamp)
        }
    }
}

impl Engine {
    fn queue_name(&self, topic: &Topic, queue_id: i32) -> MessageQueue {
        MessageQueue {
            broker_name: self.config.broker_name.to_string(),
            queue_id,
            topic: topic.name().to_owned(),
        }
    }

    /// 202.
    pub(crate) fn topic_stats(&mut self, origin: Origin, header: &TopicQuestion, out: &mut Output) {
        let Some(topic) = self.state.topics.by_name(&header.topic) else {
            let remark = format!("topic[{}] not exist", header.topic);
            out.reply(origin, Reply::refuse(response::TOPIC_NOT_EXIST, remark));
            return;
        };
        let queues = topic.config.read_queue_nums.max(topic.config.write_queue_nums);
        let rows: Vec<_> = (0..queues)
            .map(|queue| {
                let (min_offset, max_offset) = topic.range(queue);
                let last =
                    topic.queue(queue).map(|q| (q.index.time_before(max_offset), max_offset));
                let row = TopicOffset { last_update_timestamp: 0, max_offset, min_offset };
                (self.queue_name(topic, queue), row, last)
            })
            .collect();
        let blocks = self.blocks.clone();
        let work = Box::new(move || {
            let rows = rows.into_iter().map(|(name, row, last)| {
                let last_update_timestamp =
                    last.map_or(0, |last| time_before(&blocks, &name, last));
                (name, TopicOffset { last_update_timestamp, ..row })
            });
            Reply::body(by_queue("offsetTable", rows, ",\"topicPutTps\":0.0"))
        });
        out.answer(origin, Answer::Later(work), None);
    }

    /// 208.
    pub(crate) fn consume_stats(
        &mut self,
        origin: Origin,
        header: &ConsumeStatsQuestion,
        out: &mut Output,
    ) {
        let group = &*header.consumer_group;
        let mut topics: Vec<String> = match header.topic.as_deref().filter(|t| !t.is_empty()) {
            Some(topic) => vec![topic.to_owned()],
            None => self.topics_of_group(group),
        };
        if let Some(list) = header.topic_list.as_deref().filter(|list| !list.is_empty()) {
            topics = list.split(';').map(str::to_owned).collect();
        }
        topics.sort();
        topics.dedup();
        let mut rows = Vec::new();
        for topic in topics.iter().filter_map(|name| self.state.topics.by_name(name)) {
            for queue in 0..topic.config.read_queue_nums {
                let max = topic.range(queue).1;
                let offset = |known: Option<i64>| known.unwrap_or(-1).max(0);
                let name = topic.name();
                let consumed = offset(self.state.offsets.get(group, name, queue));
                let pulled = offset(self.state.offsets.pulled(group, name, queue));
                let last = topic.queue(queue).map(|q| (q.index.time_before(consumed), consumed));
                let row = OffsetWrapper {
                    broker_offset: max,
                    consumer_offset: consumed,
                    last_timestamp: 0,
                    pull_offset: pulled,
                };
                rows.push((self.queue_name(topic, queue), row, last));
            }
        }
        let blocks = self.blocks.clone();
        let work = Box::new(move || {
            let rows = rows.into_iter().map(|(name, row, last)| {
                let last_timestamp = last.map_or(0, |last| time_before(&blocks, &name, last));
                (name, OffsetWrapper { last_timestamp, ..row })
            });
            Reply::body(by_queue("offsetTable", rows, ",\"consumeTps\":0.0"))
        });
        out.answer(origin, Answer::Later(work), None);
    }

    /// 300: the groups that consume a topic.
    pub(crate) fn groups_of_topic(
        &mut self,
        origin: Origin,
        header: &TopicQuestion,
        out: &mut Output,
    ) {
        let topic = &*header.topic;
        let members = self.members.groups();
        let subscribed = members
            .filter(|(_, members)| members.subscriptions.contains_key(topic))
            .map(|(group, _)| group.clone());
        let committed = self.state.offsets.groups_of(topic).map(|group| group.to_string());
        let groups: BTreeSet<String> = subscribed.chain(committed).collect();
        out.reply(origin, Reply::json(&serde_json::json!({ "groupList": groups })));
    }

    /// Topics that a group subscribes to or has offsets in, and its retry topic.
    pub fn topics_of_group(&self, group: &str) -> Vec<String> {
        let mut topics: Vec<String> =
            self.state.offsets.topics_of(group).map(|topic| topic.to_string()).collect();
        if let Some(members) = self.members.group(group) {
            topics.extend(members.subscriptions.keys().cloned());
        }
        let retry = retry_topic(group);
        if self.state.topics.find(&retry).is_some() {
            topics.push(retry);
        }
        topics
    }
}
