//! A topic's queues: which there are, from where to where they reach, and what stands in them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kerolox_client::Connection;
use kerolox_protocol::names::AUTO_CREATE_TOPIC;
use kerolox_protocol::record;
use kerolox_protocol::remoting::admin::perm;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::offsets::{OffsetReply, SearchOffset};
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use kerolox_protocol::remoting::route::{QueueData, TopicRoute};

use crate::admin::{Admin, BadQueue, Broker, plain, replica_to_ask};
use crate::format::Message;
use crate::out::one_line;

/// The group of Apache's tools; every broker knows it.
pub const TOOLS_GROUP: &str = "TOOLS_CONSUMER";
/// Messages that a pull asks for at most; brokers give no more.
pub const PULL_MAX: i64 = 32;
/// Queues that a topic may have on one broker: a route that says more is not believed.
pub const QUEUES_MAX: i32 = 1 << 16;
/// Queues that an automatically created topic gets.
const NEW_QUEUES: i32 = 4;

/// A queue, and who is asked about it.
#[derive(Debug, Clone)]
pub struct Queue {
    pub topic: String,
    pub broker: Broker,
    pub id: i32,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, broker, id) = (&self.topic, one_line(&self.broker.name), self.id);
        write!(f, "MessageQueue [topic={topic}, brokerName={broker}, queueId={id}]")
    }
}

/// The queues of a route that allow something, by broker and number.
fn allowed(
    route: &TopicRoute,
    topic: &str,
    bit: i32,
    count: impl Fn(&QueueData) -> i32,
) -> Vec<Queue> {
    let mut datas: Vec<_> = route.queue_datas.iter().filter(|data| data.perm & bit != 0).collect();
    datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let mut queues = Vec::new();
    for data in datas {
        let broker = route.broker_datas.iter().find(|b| b.broker_name == data.broker_name);
        let Some(broker) = broker.and_then(replica_to_ask) else { continue };
        let topic = topic.to_owned();
        queues.extend((0..count(data).min(QUEUES_MAX)).map(|id| Queue {
            topic: topic.clone(),
            broker: broker.clone(),
            id,
        }));
    }
    queues
}

/// Every queue of a topic that can be read. The route may be another topic's, whose queues this one shares.
pub async fn readable(admin: &Admin, topic: &str, route_of: Option<&str>) -> Result<Vec<Queue>> {
    let route = admin.route(route_of.unwrap_or(topic)).await?;
    let queues = allowed(&route, topic, perm::READ, |data| data.read_queue_nums);
    ensure!(
        !queues.is_empty(),
        "Can not find Message Queue for this topic, {topic}: it has no queue that can be read"
    );
    Ok(queues)
}

/// Every queue of a topic that takes messages: those of masters.
pub async fn writable(admin: &Admin, topic: &str) -> Result<Vec<Queue>> {
    writable_of(&admin.route(topic).await?, topic, i32::MAX)
}

/// As [`writable`]; the queues that a topic would get that nobody knows yet, if brokers create topics.
pub async fn writable_or_new(admin: &Admin, topic: &str) -> Result<Vec<Queue>> {
    if let Some(route) = admin.find_route(topic).await? {
        return writable_of(&route, topic, i32::MAX);
    }
    let route = admin.find_route(AUTO_CREATE_TOPIC).await?.with_context(|| {
        format!("No route info of this topic: {topic}; create it first, with updateTopic")
    })?;
    writable_of(&route, topic, NEW_QUEUES)
}

fn writable_of(route: &TopicRoute, topic: &str, most: i32) -> Result<Vec<Queue>> {
    let mut queues = allowed(route, topic, perm::WRITE, |data| data.write_queue_nums.min(most));
    queues.retain(|queue| queue.broker.id == 0);
    ensure!(!queues.is_empty(), "{topic} has no queue on a master that takes messages");
    Ok(queues)
}

/// One queue of a broker that a route names.
pub fn queue_on(route: &TopicRoute, topic: &str, broker: &str, id: i32) -> Result<Queue> {
    let broker = crate::admin::replica_of(route, broker)?;
    Ok(Queue { topic: topic.to_owned(), broker, id })
}

/// Refuses a queue that a route does not have: a broker would answer as if it were empty.
pub fn check_is_there(route: &TopicRoute, queue: &Queue) -> Result<()> {
    let data = route.queue_datas.iter().find(|data| data.broker_name == queue.broker.name);
    let count = data.map_or(0, |data| data.read_queue_nums);
    ensure!(
        (0..count).contains(&queue.id),
        "there is no {queue}: this broker has {count} queues of the topic that can be read, from 0 on"
    );
    Ok(())
}

/// What a pull brought.
#[derive(Debug)]
pub struct Pulled {
    /// 0, 19, 20 or 21.
    pub code: i32,
    /// Where the next pull begins.
    pub next: i64,
    pub messages: Vec<Message>,
}

impl Pulled {
    /// The code as the Java client calls it.
    pub fn status(&self) -> &'static str {
        match self.code {
            response::SUCCESS => "FOUND",
            response::PULL_NOT_FOUND => "NO_NEW_MSG",
            response::PULL_RETRY_IMMEDIATELY => "NO_MATCHED_MSG",
            _ => "OFFSET_ILLEGAL",
        }
    }
}

/// How a queue is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub group: &'a str,
    /// Tags with `||` between, or `*`.
    pub expression: &'a str,
    /// How long a broker may wait for a message.
    pub wait: Duration,
}

impl<'a> Reading<'a> {
    /// As Apache's tools read, without waiting.
    pub fn of(expression: &'a str) -> Reading<'a> {
        Reading { group: TOOLS_GROUP, expression, wait: Duration::ZERO }
    }
}

/// Whether a message has one of the tags. Brokers compare hashes alone.
fn has_tag(expression: &str, message: &Message) -> bool {
    let mut tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).peekable();
    if expression.trim() == "*" || tags.peek().is_none() {
        return true;
    }
    let tag = message.property("TAGS");
    tags.any(|wanted| Some(wanted) == tag)
}

impl Queue {
    async fn connection(&self, admin: &Admin) -> Result<Arc<Connection>> {
        admin.at(&self.broker.address).await
    }

    /// The offset of its oldest message.
    pub async fn min_offset(&self, admin: &Admin) -> Result<i64> {
        let connection = self.connection(admin).await?;
        connection.min_offset(&self.topic, self.id).await.map_err(plain)
    }

    /// The offset that its next message gets.
    pub async fn max_offset(&self, admin: &Admin) -> Result<i64> {
        let connection = self.connection(admin).await?;
        connection.max_offset(&self.topic, self.id).await.map_err(plain)
    }

    /// The offset of the first message that was stored then, or later.
    pub async fn offset_at(&self, admin: &Admin, time: i64) -> Result<i64> {
        let question = SearchOffset {
            topic: self.topic.as_str().into(),
            queue_id: self.id,
            timestamp: time,
            boundary_type: Some("LOWER".into()),
        };
        let code = request::SEARCH_OFFSET_BY_TIMESTAMP;
        let reply = admin.ask(&self.broker.address, code, &question).await?;
        Ok(reply.header::<OffsetReply>()?.offset)
    }

    /// From where to where it reaches; the end is the first offset that does not belong to it. Times make
    /// it shorter.
    pub async fn range(
        &self,
        admin: &Admin,
        begin: Option<i64>,
        end: Option<i64>,
    ) -> Result<(i64, i64)> {
        let min = match begin {
            Some(time) => self.offset_at(admin, time).await?,
            None => self.min_offset(admin).await?,
        };
        let max = match end {
            Some(time) => self.offset_at(admin, time).await?,
            None => self.max_offset(admin).await?,
        };
        Ok((min, max))
    }

    /// Up to `most` messages from an offset on.
    pub async fn pull(
        &self,
        admin: &Admin,
        reading: Reading<'_>,
        offset: i64,
        most: i64,
    ) -> Result<Pulled> {
        let connection = self.connection(admin).await?;
        self.pull_from(&connection, reading, offset, most).await
    }

    /// [`Queue::pull`] by a connection.
    pub async fn pull_from(
        &self,
        connection: &Connection,
        reading: Reading<'_>,
        offset: i64,
        most: i64,
    ) -> Result<Pulled> {
        let waits = if reading.wait.is_zero() { 0 } else { sys_flag::SUSPEND };
        let header = Pull {
            consumer_group: reading.group.into(),
            topic: self.topic.as_str().into(),
            queue_id: self.id,
            queue_offset: offset,
            max_msg_nums: most.clamp(1, PULL_MAX) as i32,
            sys_flag: sys_flag::SUBSCRIPTION | waits,
            suspend_timeout_millis: reading.wait.as_millis() as i64,
            subscription: Some(reading.expression.into()),
            expression_type: Some("TAG".into()),
            ..Pull::default()
        };
        let reply = connection.pull(&header).await.map_err(plain)?;
        let (code, next) = (reply.code, reply.offsets.next_begin_offset);
        let stays = match code {
            response::PULL_NOT_FOUND => false,
            response::PULL_OFFSET_MOVED => next == offset,
            _ => next <= offset,
        };
        if stays {
            let broker = &self.broker.address;
            let why = format!("{broker} does not move on from offset {offset} of {self}");
            return Err(BadQueue(format!("{why}: it cannot be read")).into());
        }
        let messages = record::walk(&reply.body).map(|view| Message::new(&view));
        let messages = messages.filter(|message| has_tag(reading.expression, message));
        let mut messages: Vec<_> = messages.collect();
        for message in &mut messages {
            message.queue_id = self.id;
            let offsets = [
                ("MIN_OFFSET", reply.offsets.min_offset),
                ("MAX_OFFSET", reply.offsets.max_offset),
            ];
            let offsets = offsets.map(|(name, offset)| (name.to_owned(), offset.to_string()));
            message.properties.extend(offsets);
        }
        Ok(Pulled { code, next, messages })
    }

    /// Messages of a range. Others that a broker gives beyond its end are dropped.
    pub async fn pull_until(
        &self,
        admin: &Admin,
        reading: Reading<'_>,
        offset: i64,
        end: i64,
    ) -> Result<Pulled> {
        let mut pulled = self.pull(admin, reading, offset, end - offset).await?;
        // Where a topic shares the queues of another, messages carry the other's offsets.
        pulled.messages.retain(|m| m.topic != self.topic || m.queue_offset < end);
        Ok(pulled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::remoting::route::BrokerData;

    #[test]
    fn queues_come_by_broker_and_number() {
        let data = |name: &str, perm, read, write| QueueData {
            broker_name: name.into(),
            perm,
            read_queue_nums: read,
            write_queue_nums: write,
            topic_sys_flag: 0,
        };
        let broker = |name: &str, id: i64| BrokerData {
            broker_name: name.into(),
            broker_addrs: [(id, format!("{name}:1"))].into(),
            ..BrokerData::default()
        };
        let route = TopicRoute {
            queue_datas: vec![
                data("c", 6, 1, 1),
                data("b", 4, 1, 1),
                data("a", 6, 2, 1),
                data("x", 6, 9, 9),
            ],
            broker_datas: vec![broker("a", 0), broker("b", 0), broker("c", 1)],
            ..TopicRoute::default()
        };
        let names = |queues: Vec<Queue>| -> Vec<String> {
            queues.iter().map(|q| format!("{}{}", q.broker.name, q.id)).collect()
        };
        let read = allowed(&route, "t", perm::READ, |data| data.read_queue_nums);
        assert_eq!(names(read), ["a0", "a1", "b0", "c0"]);
        assert_eq!(names(writable_of(&route, "t", i32::MAX).unwrap()), ["a0"]);
    }
}
