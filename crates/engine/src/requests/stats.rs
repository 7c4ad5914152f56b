//! 202: how far a topic's queues go. 315: how much there was lately. 208, 303, 317: how far groups are behind, and for how long. 300, 343:
//! which groups read a topic, which topics a group.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use kerolox_log::index::lookup::Blocks;
use kerolox_log::index::queue::Look;
use kerolox_protocol::json::write::{MessageQueue, by_queue};
use kerolox_protocol::names::{RETRY_PREFIX, retry_topic};
use kerolox_protocol::remoting::admin::{
    BrokerConsumeStatsQuestion, ConsumeStatsQuestion, GroupInTopic, GroupQuestion, OffsetWrapper,
    QueueTimeSpan, StatsData, StatsItem, StatsQuestion, TopicOffset, TopicQuestion,
};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::remoting::route::TopicList;
use kerolox_protocol::time;

use crate::limits::{LOOKUPS_MAX, ROWS_MAX, TOPICS_NAMED_MAX};
use crate::output::{Answer, Output, Work};
use crate::rates::{Count, Lately};
use crate::request::Origin;
use crate::topics::Topic;
use crate::turn::Engine;

/// Where it stands when the message before an offset was stored.
type TimeBefore = (Look<Option<i64>>, i64);

/// When the message before an offset was stored, in ms; `None` if that is not known.
fn time_before(blocks: &Blocks, name: &MessageQueue, (look, offset): TimeBefore) -> Option<i64> {
    match look {
        Look::Here(time) => time,
        Look::Older(chain) => {
            let of = (&*name.topic, name.queue_id);
            let entry = blocks.ask(|blocks| blocks.entry(of, chain, offset - 1));
            entry.ok().flatten().map(|entry| entry.store_timestamp)
        }
    }
}

/// How far a group is in a queue; the time is still to be looked up.
type Row = (MessageQueue, OffsetWrapper, Option<TimeBefore>);

/// Looks the times up, as many in index blocks as there are `lookups` left; further ones are 0.
fn timed(
    blocks: &Blocks,
    rows: Vec<Row>,
    lookups: &mut usize,
) -> impl Iterator<Item = (MessageQueue, OffsetWrapper)> {
    rows.into_iter().map(move |(name, row, last)| {
        let is_older = matches!(last, Some((Look::Older(_), _)));
        let last = last.filter(|_| !is_older || *lookups > 0);
        *lookups = lookups.saturating_sub(usize::from(is_older));
        let time = last.and_then(|last| time_before(blocks, &name, last));
        (name, OffsetWrapper { last_timestamp: time.unwrap_or(0), ..row })
    })
}

fn too_many_rows() -> Work {
    Box::new(|| {
        let remark = format!(
            "there are more than {ROWS_MAX} queues, which no frame can hold; ask for one group (208), or for one of its topics"
        );
        Reply::refuse(response::SYSTEM_ERROR, remark)
    })
}

/// Topics that 208 tells of.
struct Asked {
    named: BTreeSet<String>,
    /// Then those in which the group has offsets.
    of_offsets: bool,
    after: Option<Arc<str>>,
}

impl Asked {
    fn next(&mut self, engine: &Engine, group: &str) -> Option<String> {
        while let Some(named) = self.named.pop_first() {
            // The group may have committed its first offset in it meanwhile: then it follows.
            if !self.of_offsets || !engine.state.offsets.has(group, &named) {
                return Some(named);
            }
        }
        if !self.of_offsets {
            return None;
        }
        let next = engine.state.offsets.topic_after(group, self.after.as_deref())?;
        self.after = Some(next.clone());
        Some(next.to_string())
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
        let minute = topic.rates.as_ref().map(|windows| windows.minute(self.rates.now()));
        let rate = minute.map_or(0.0, |minute| minute.rate(minute.count.messages));
        let blocks = self.blocks.clone();
        let work = Box::new(move || {
            let rows = rows.into_iter().map(|(name, row, last)| {
                let time = last.and_then(|last| time_before(&blocks, &name, last));
                let last_update_timestamp = time.unwrap_or(0);
                (name, TopicOffset { last_update_timestamp, ..row })
            });
            Reply::body(by_queue("offsetTable", rows, &format!(",\"topicPutTps\":{rate:?}")))
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
        let group = header.consumer_group.to_string();
        let mut topics = match self.asked_topics(&group, header) {
            Ok(topics) => topics,
            Err(refusal) => return out.reply(origin, refusal),
        };
        let blocks = self.blocks.clone();
        let (mut rows, mut rate) = (Vec::new(), 0.0);
        let steps = move |engine: &Engine| {
            if rows.len() > ROWS_MAX {
                return Some(too_many_rows());
            }
            if let Some(name) = topics.next(engine, &group) {
                if let Some(topic) = engine.state.topics.by_name(&name) {
                    engine.rows(&group, topic, topic.config.read_queue_nums, &mut rows);
                    rate += engine.rates.read_rate(&group, topic.name());
                }
                return None;
            }
            let (blocks, rows, rest) =
                (blocks.clone(), std::mem::take(&mut rows), consume_rate(rate));
            Some(Box::new(move || {
                let mut lookups = LOOKUPS_MAX;
                let rows = timed(&blocks, rows, &mut lookups);
                Reply::body(by_queue("offsetTable", rows, &rest))
            }) as Work)
        };
        out.answer(origin, Answer::Steps(Box::new(steps)), None);
    }

    /// The topics that 208 names, or all of the group.
    fn asked_topics(&self, group: &str, header: &ConsumeStatsQuestion) -> Result<Asked, Reply> {
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (topic, list) = (text(header.topic.as_deref()), text(header.topic_list.as_deref()));
        let named: BTreeSet<String> = match (list, topic) {
            (Some(list), _) if list.split(';').count() > TOPICS_NAMED_MAX => {
                let remark = format!(
                    "topicList names more than {TOPICS_NAMED_MAX} topics; ask for some of them at a time"
                );
                return Err(Reply::refuse(response::INVALID_PARAMETER, remark));
            }
            (Some(list), _) => list.split(';').map(str::to_owned).collect(),
            (None, Some(topic)) => [topic].into(),
            (None, None) => {
                // Those that it has offsets in follow.
                let members = self.members.group(group);
                let subscribed = members.into_iter().flat_map(|m| m.subscriptions.keys().cloned());
                let others = subscribed.chain([retry_topic(group)]);
                let others = others.filter(|topic| !self.state.offsets.has(group, topic));
                let named = others.filter(|topic| !self.is_idle_retry(topic)).collect();
                return Ok(Asked { named, of_offsets: true, after: None });
            }
        };
        Ok(Asked { named, of_offsets: false, after: None })
    }

    /// Whether a topic is for retries, and there were none.
    fn is_idle_retry(&self, topic: &str) -> bool {
        topic.starts_with(RETRY_PREFIX)
            && self.state.topics.by_name(topic).is_none_or(|topic| {
                (0..topic.config.read_queue_nums).all(|queue| topic.range(queue).1 == 0)
            })
    }

    /// How far a group is in the first `queues` queues of a topic.
    fn rows(&self, group: &str, topic: &Topic, queues: i32, rows: &mut Vec<Row>) {
        let name = topic.name();
        for queue in 0..queues {
            let offset = |known: Option<i64>| known.unwrap_or(-1).max(0);
            let consumed = offset(self.state.offsets.get(group, name, queue));
            let pulled = offset(self.state.offsets.pulled(group, name, queue));
            let last = topic.queue(queue).map(|q| (q.index.time_before(consumed), consumed));
            let row = OffsetWrapper {
                broker_offset: topic.range(queue).1,
                consumer_offset: consumed,
                last_timestamp: 0,
                pull_offset: pulled.max(consumed),
            };
            rows.push((self.queue_name(topic, queue), row, last));
        }
    }

    /// 303: for each queue of a topic when its first and last message and the last one that a group consumed
    /// were stored, and how long the next has been waiting.
    pub(crate) fn consume_time_span(
        &mut self,
        origin: Origin,
        header: &GroupInTopic,
        now: i64,
        out: &mut Output,
    ) {
        let Some(topic) = self.state.topics.by_name(&header.topic) else {
            let remark = format!("topic[{}] not exist", header.topic);
            out.reply(origin, Reply::refuse(response::TOPIC_NOT_EXIST, remark));
            return;
        };
        let rows: Vec<_> = (0..topic.config.write_queue_nums)
            .map(|queue| {
                let (min, max) = topic.range(queue);
                let consumed = self.state.offsets.get(&header.group, topic.name(), queue);
                let next = consumed.unwrap_or(min).clamp(min, max);
                let before = |offset: i64| {
                    let index = topic.queue(queue).map(|queue| &queue.index);
                    let index = index.filter(|_| offset > min && offset <= max);
                    index.map(|index| (index.time_before(offset), offset))
                };
                let looks = [min + 1, max, next, next + 1].map(before);
                (self.queue_name(topic, queue), looks)
            })
            .collect();
        let blocks = self.blocks.clone();
        let work = Box::new(move || {
            let rows = rows.into_iter().map(|(name, looks)| {
                let time = |look: Option<TimeBefore>| time_before(&blocks, &name, look?);
                let [min, max, consumed, next] = looks.map(time);
                let [min, max] = [min, max].map(|time| time.unwrap_or(-1));
                let consumed = consumed.unwrap_or(min);
                QueueTimeSpan {
                    consume_time_stamp: consumed,
                    consume_time_stamp_str: time::text(consumed),
                    delay_time: next.map_or(0, |stored| (now - stored).max(0)),
                    max_time_stamp: max,
                    max_time_stamp_str: time::text(max),
                    message_queue: name,
                    min_time_stamp: min,
                    min_time_stamp_str: time::text(min),
                }
            });
            let spans: Vec<QueueTimeSpan> = rows.collect();
            Reply::json(&serde_json::json!({ "consumeTimeSpanSet": spans }))
        });
        out.answer(origin, Answer::Later(work), None);
    }

    /// 317: how far every group is behind, in each topic that it has offsets in.
    pub(crate) fn broker_consume_stats(
        &mut self,
        origin: Origin,
        header: &BrokerConsumeStatsQuestion,
        out: &mut Output,
    ) {
        let (ordered, blocks) = (header.is_order, self.blocks.clone());
        let groups = self.state.groups.view();
        let mut all = AllStats::new(self.store_host(origin).to_string());
        let (mut group, mut topic) = (None::<Arc<str>>, None::<Arc<str>>);
        let steps = move |engine: &Engine| {
            if all.rows > ROWS_MAX {
                return Some(too_many_rows());
            }
            let Some(of) = group.clone().or_else(|| Some(groups.iter().next()?.0.clone())) else {
                return Some(all.end(&blocks));
            };
            let next = engine.state.offsets.topic_after(&of, topic.as_deref());
            if let Some(name) = next {
                let members = engine.members.group(&of);
                let reads = members.is_none_or(|m| m.subscriptions.contains_key(&*name));
                if let Some(topic) = engine.state.topics.by_name(&name)
                    && reads
                    && (topic.config.order || !ordered)
                {
                    let mut rows = Vec::new();
                    engine.rows(&of, topic, topic.config.write_queue_nums, &mut rows);
                    let rate = engine.rates.read_rate(&of, topic.name());
                    all.rows += rows.len();
                    all.topics.push(TopicStats { rows, rate });
                }
                (group, topic) = (Some(of), Some(name));
                return None;
            }
            all.end_group(&of);
            let behind = (Bound::Excluded(&*of), Bound::Unbounded);
            match groups.range::<_, str>(behind).next() {
                Some((next, _)) => (group, topic) = (Some(next.clone()), None),
                None => return Some(all.end(&blocks)),
            }
            None
        };
        out.answer(origin, Answer::Steps(Box::new(steps)), None);
    }

    /// 315: how much there was lately of one thing.
    pub(crate) fn view_stats(&mut self, origin: Origin, header: &StatsQuestion, out: &mut Output) {
        let (name, key, now) = (&*header.stats_name, &*header.stats_key, self.rates.now());
        let of_group = |(topic, group)| self.rates.of_group(group, topic);
        let of_broker = |windows| (key == &*self.config.cluster).then_some(windows);
        let windows = match name {
            "TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE" => {
                self.state.topics.by_name(key).and_then(|topic| topic.rates.as_deref())
            }
            "GROUP_GET_NUMS" | "GROUP_GET_SIZE" => key.split_once('@').and_then(of_group),
            "BROKER_PUT_NUMS" => of_broker(&self.rates.put),
            "BROKER_GET_NUMS" => of_broker(&self.rates.got),
            "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(&self.rates.put_of_users),
            "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(&self.rates.got_of_users),
            _ => None,
        };
        let Some(windows) = windows else {
            let remark = format!("The stats <{name}> <{key}> not exist");
            out.reply(origin, Reply::refuse(response::SYSTEM_ERROR, remark));
            return;
        };
        let item = |lately: Lately| {
            let Count { times, messages, bytes } = lately.count;
            let sum = if name.ends_with("_SIZE") { bytes } else { messages };
            let avgpt = if times == 0 { 0.0 } else { sum as f64 / times as f64 };
            StatsItem { avgpt, sum, tps: lately.rate(sum) }
        };
        let data = StatsData {
            stats_day: item(windows.day(now)),
            stats_hour: item(windows.hour(now)),
            stats_minute: item(windows.minute(now)),
        };
        out.reply(origin, Reply::json(&data));
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

    /// 343: the topics in which a group has offsets.
    pub(crate) fn topics_of_consumer(
        &mut self,
        origin: Origin,
        header: &GroupQuestion,
        out: &mut Output,
    ) {
        let group = header.group.to_string();
        let broker_addr = Some(self.store_host(origin).to_string());
        let (mut topics, mut after) = (Vec::new(), None::<Arc<str>>);
        let steps = move |engine: &Engine| {
            if topics.len() > ROWS_MAX {
                return Some(too_many_rows());
            }
            if let Some(topic) = engine.state.offsets.topic_after(&group, after.as_deref()) {
                topics.push(topic.to_string());
                after = Some(topic);
                return None;
            }
            let (broker_addr, topic_list) = (broker_addr.clone(), std::mem::take(&mut topics));
            let list = TopicList { broker_addr, topic_list };
            Some(Box::new(move || Reply::json(&list)) as Work)
        };
        out.answer(origin, Answer::Steps(Box::new(steps)), None);
    }
}

/// How far a group is in a topic.
struct TopicStats {
    rows: Vec<Row>,
    /// Messages that it reads in a second.
    rate: f64,
}

/// What 317 has found so far.
#[derive(Default)]
struct AllStats {
    broker_addr: String,
    groups: Vec<(Arc<str>, Vec<TopicStats>)>,
    /// Of the group that is looked at.
    topics: Vec<TopicStats>,
    /// Queues and groups so far.
    rows: usize,
}

impl AllStats {
    fn new(broker_addr: String) -> AllStats {
        AllStats { broker_addr, ..AllStats::default() }
    }

    fn end_group(&mut self, group: &Arc<str>) {
        self.rows += 1;
        self.groups.push((group.clone(), std::mem::take(&mut self.topics)));
    }

    fn end(&mut self, blocks: &Arc<Blocks>) -> Work {
        let (all, blocks) = (std::mem::take(self), blocks.clone());
        Box::new(move || Reply::body(all.body(&blocks)))
    }

    fn body(self, blocks: &Blocks) -> Vec<u8> {
        let mut out = b"{\"brokerAddr\":".to_vec();
        out.extend(text(&self.broker_addr));
        out.extend_from_slice(b",\"consumeStatsList\":[");
        let (mut behind, mut in_flight, mut lookups) = (0, 0, LOOKUPS_MAX);
        for (i, (group, topics)) in self.groups.into_iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"{" } else { b",{" });
            out.extend(text(&group));
            out.extend_from_slice(b":[");
            for (i, TopicStats { rows, rate }) in topics.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                let rows = timed(blocks, rows, &mut lookups).inspect(|(_, row)| {
                    behind += row.broker_offset - row.consumer_offset;
                    in_flight += row.pull_offset - row.consumer_offset;
                });
                out.extend(by_queue("offsetTable", rows, &consume_rate(rate)));
            }
            out.extend_from_slice(b"]}");
        }
        let rest = format!("],\"totalDiff\":{behind},\"totalInflightDiff\":{in_flight}}}");
        out.extend_from_slice(rest.as_bytes());
        out
    }
}

/// The last member of a table of a group's queues.
fn consume_rate(rate: f64) -> String {
    format!(",\"consumeTps\":{rate:?}")
}

/// A JSON string.
fn text(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a text can be written")
}
