//! 10, 310 and 320: a message, or a batch of them, is stored.
//!
//! In: a decoded header and the body. Out: records in the log (`log/src/append.rs`) and a reply
//! that leaves when they are confirmed.

use std::borrow::Cow;

use kerolox_log::append::AppendError;
use kerolox_protocol::names::{
    AUTO_CREATE_TOPIC, DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC, check_topic, dlq_topic,
    is_no_send_topic,
};
use kerolox_protocol::record::{NewRecord, PROPERTIES_MAX, SIZE_MIN, sys_flag};
use kerolox_protocol::remoting::admin::{TopicConfig, perm};
use kerolox_protocol::remoting::codes::{response, version};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};
use kerolox_protocol::remoting::send::{Send, Sent};
use kerolox_protocol::{batch, ids, properties};

use crate::change::Change;
use crate::limits::{QUEUES_MAX, TOPICS_MAX};
use crate::output::Output;
use crate::request::Origin;
use crate::topics::TopicId;
use crate::turn::Engine;

/// What a message's properties ask of the broker.
#[derive(Default)]
struct Asked<'a> {
    uniq_key: &'a str,
    delay_level: i32,
    delay_is_wrong: bool,
    transaction: bool,
    timer: bool,
    no_wait: bool,
    /// Something that is not stored.
    reserved: bool,
}

fn asked(encoded: &[u8]) -> Asked<'_> {
    let mut asked = Asked::default();
    for (name, value) in properties::iter(encoded) {
        match name {
            b"UNIQ_KEY" => asked.uniq_key = std::str::from_utf8(value).unwrap_or(""),
            b"DELAY" => {
                let level = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                asked.delay_level = level.unwrap_or(0);
                asked.delay_is_wrong = level.is_none() && !value.is_empty();
            }
            b"TRAN_MSG" => asked.transaction = value.eq_ignore_ascii_case(b"true"),
            b"TIMER_DELIVER_MS" | b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DEL_UNIQKEY" => {
                asked.timer = true;
            }
            b"WAIT" => asked.no_wait = value.eq_ignore_ascii_case(b"false"),
            b"POP_CK" => asked.reserved = true,
            _ => {}
        }
    }
    asked
}

/// Bytes that a unique key takes among the properties of a message that came without one.
const UNIQ_KEY_ROOM: usize = 1 + properties::UNIQ_KEY.len() + 1 + 56 + 1;
/// Bytes of a record beside its topic, properties and body: with IPv6 hosts and a long topic.
const RECORD_FIXED_MAX: usize = SIZE_MIN + 2 * 12 + 1;

/// The flags without the transaction type: that is for the broker to set, and a record that is
/// prepared or rolled back is in no queue.
fn plain(flags: i32) -> i32 {
    flags & !sys_flag::ROLLBACK
}

fn illegal(why: impl std::fmt::Display) -> Reply {
    Reply::refuse(
        response::MESSAGE_ILLEGAL,
        format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit 4M, msg properties length limit 32k: {why}"
        ),
    )
}

impl Engine {
    pub(crate) fn send(
        &mut self,
        origin: Origin,
        header: &Send,
        body: &[u8],
        now: i64,
        out: &mut Output,
    ) {
        if self.refuse_if_closed(origin, out) {
            return;
        }
        let result = if header.batch {
            self.send_batch(origin, header, body, now, out)
        } else {
            self.send_one(origin, header, body, now, out)
        };
        if let Err(refusal) = result {
            self.counters.refused += 1;
            out.reply(origin, refusal);
        }
    }

    /// A request stored messages: counts them for [`crate::rates`].
    pub(crate) fn count_stored(&mut self, id: TopicId, messages: u64, bytes: u64) {
        if let Some(topic) = self.state.topics.get_mut(id) {
            self.rates.stored(topic, messages, bytes);
        }
    }

    /// Finds the topic to which a client may send, or makes it.
    fn topic_for_send(
        &mut self,
        header: &Send,
        now: i64,
        out: &mut Output,
    ) -> Result<TopicId, Reply> {
        let from = self.config.accept_sends_from;
        if now < from {
            let remark = format!(
                "broker unable to service, until {from} (startAcceptSendRequestTimeStamp, ms since 1970)"
            );
            return Err(Reply::refuse(response::SYSTEM_ERROR, remark));
        }
        if let Some(id) = self.state.topics.find(&header.topic) {
            let topic = self.state.topics.get(id).expect("found by name");
            let writable = self.config.broker_permission & perm::WRITE != 0;
            if !writable && topic.config.order {
                let name = &self.config.broker_name;
                let remark =
                    format!("the broker[{name}] sending message is forbidden (brokerPermission)");
                return Err(Reply::refuse(response::NO_PERMISSION, remark));
            }
            if is_no_send_topic(&header.topic) {
                let remark = format!("Sending message to topic[{}] is forbidden.", header.topic);
                return Err(Reply::refuse(response::NO_PERMISSION, remark));
            }
            return Ok(id);
        }
        check_topic(&header.topic)
            .map_err(|why| Reply::refuse(response::INVALID_PARAMETER, why))?;
        if is_no_send_topic(&header.topic) {
            let remark = format!("Sending message to topic[{}] is forbidden.", header.topic);
            return Err(Reply::refuse(response::NO_PERMISSION, remark));
        }
        self.auto_create(header, now, out)
    }

    fn auto_create(&mut self, header: &Send, now: i64, out: &mut Output) -> Result<TopicId, Reply> {
        let derived = header.topic.starts_with(RETRY_PREFIX);
        let template = self.state.topics.by_name(&header.default_topic);
        // It may be there from before it was switched off.
        let off = !self.config.auto_create_topic && &*header.default_topic == AUTO_CREATE_TOPIC;
        let template = template.filter(|topic| topic.config.perm & perm::INHERIT != 0 && !off);
        let (queues, permission) = match template {
            Some(template) => {
                let queues = header.default_topic_queue_nums.min(template.config.write_queue_nums);
                (queues.max(0), template.config.perm & !perm::INHERIT)
            }
            None if derived => (1, perm::READ | perm::WRITE),
            None => {
                let remark = format!(
                    "topic[{}] not exist, apply first please! Auto creation is off or its template[{}] does not allow it: create the topic (mqadmin updateTopic), or set autoCreateTopicEnable=true",
                    header.topic, header.default_topic
                );
                return Err(Reply::refuse(response::TOPIC_NOT_EXIST, remark));
            }
        };
        let queues = if derived { 1 } else { queues };
        self.make_topic(&header.topic, queues, permission, now, out)
    }

    /// Makes a topic with equally many read and write queues.
    pub(crate) fn make_topic(
        &mut self,
        name: &str,
        queues: i32,
        permission: i32,
        now: i64,
        out: &mut Output,
    ) -> Result<TopicId, Reply> {
        if let Some(refusal) = self.takes_no_changes() {
            return Err(refusal);
        }
        if self.state.topics.count() >= TOPICS_MAX {
            let remark = format!("no more than {TOPICS_MAX} topics; delete unused ones");
            return Err(Reply::refuse(response::SYSTEM_ERROR, remark));
        }
        let config = TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: queues.clamp(1, QUEUES_MAX),
            write_queue_nums: queues.clamp(1, QUEUES_MAX),
            perm: permission,
            ..TopicConfig::default()
        };
        Ok(self.put_topic(config, now, out))
    }

    /// Puts a topic's settings into log, state and news.
    pub(crate) fn put_topic(&mut self, config: TopicConfig, now: i64, out: &mut Output) -> TopicId {
        let name = config.topic_name.clone();
        self.change(&Change::TopicPut(Cow::Owned(config)), now);
        let id = self.state.topics.find(&name).expect("it was just made");
        let topic = self.state.topics.get(id).expect("it was just made");
        out.topics.push((name.as_str().into(), Some(topic.config.clone())));
        id
    }

    /// The queue that a send names, or one that the broker chooses.
    fn queue_for_send(&mut self, id: TopicId, queue: i32) -> Result<i32, Reply> {
        let config = &self.state.topics.get(id).expect("just found").config;
        let (read, write) = (config.read_queue_nums, config.write_queue_nums);
        if queue >= read.max(write) {
            let remark = format!(
                "request queueId[{queue}] is illegal, topic[{}] has readQueueNums={read} and writeQueueNums={write}",
                config.topic_name
            );
            return Err(Reply::refuse(response::INVALID_PARAMETER, remark));
        }
        if queue >= 0 {
            return Ok(queue);
        }
        self.queue_counter = self.queue_counter.wrapping_add(1);
        Ok((self.queue_counter % write.max(1) as u32) as i32)
    }

    fn check_body(&self, body: &[u8]) -> Result<(), Reply> {
        if body.is_empty() {
            return Err(illegal("the body is empty"));
        }
        let max = self.config.max_message_size;
        if body.len() > max {
            return Err(illegal(format_args!(
                "the body has {} bytes, maxMessageSize is {max}",
                body.len()
            )));
        }
        Ok(())
    }

    fn send_one(
        &mut self,
        origin: Origin,
        header: &Send,
        body: &[u8],
        now: i64,
        out: &mut Output,
    ) -> Result<(), Reply> {
        let mut id = self.topic_for_send(header, now, out)?;
        let mut queue = self.queue_for_send(id, header.queue_id)?;
        self.check_body(body)?;
        let encoded = header.properties.as_bytes();
        let asked = asked(encoded);
        if asked.delay_is_wrong {
            return Err(illegal("the property DELAY is not a whole number"));
        }
        let mut delay = asked.delay_level;
        if let Some(group) = header.topic.strip_prefix(RETRY_PREFIX)
            && self.is_given_up(origin, header, group, now)?
        {
            id = self.dead_letter_topic(group, now, out)?;
            queue = 0;
            delay = 0;
        }
        self.refuse_what_comes_later(&asked)?;
        let answer_queue = queue;
        self.scratch.clear();
        let mut stored = std::mem::take(&mut self.scratch);
        let unique = self.stored_properties(origin, encoded, &asked, now, &mut stored);
        let topic = self.state.topics.get(id).expect("just found").config.topic_name.clone();
        if delay > 0 && !topic.starts_with(DLQ_PREFIX) {
            id = self.delay_message(&topic, &mut queue, delay, &mut stored);
        }
        let stored_topic = self.state.topics.get(id).expect("just found").config.clone();
        let record = NewRecord {
            topic: &stored_topic.topic_name,
            queue_id: queue,
            flag: header.flag,
            sys_flag: plain(header.sys_flag),
            born_timestamp: header.born_timestamp,
            born_host: origin.peer,
            store_host: self.store_host(origin),
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body,
            properties: &stored,
        };
        // A delayed message must fit under its own topic's name, too, when it is due.
        let size = NewRecord { topic: &topic, ..record }.size();
        let max = self.log.record_max();
        let result = if size > max {
            Err(not_stored(&AppendError::TooLarge { size, max }))
        } else if stored.len() > PROPERTIES_MAX {
            Err(illegal(format_args!(
                "the properties have {} bytes, {PROPERTIES_MAX} are possible",
                stored.len()
            )))
        } else {
            self.store(id, &record, now).map_err(|e| not_stored(&e))
        };
        let store_host = record.store_host;
        self.scratch = stored;
        let (appended, queue_offset) = result?;
        self.count_stored(id, 1, u64::from(appended.size));
        let mut msg_id = String::with_capacity(32);
        ids::push_offset_id(&mut msg_id, store_host, appended.offset.0);
        let sent = Sent {
            msg_id,
            queue_id: answer_queue,
            queue_offset,
            transaction_id: unique.into(),
            region: self.config.region.clone(),
            trace_on: self.config.trace_on,
        };
        let reply = Reply::with(ReplyFields::Sent(sent));
        if asked.no_wait {
            out.reply(origin, reply);
        } else {
            out.reply_at(origin, reply, appended.end());
        }
        Ok(())
    }

    fn send_batch(
        &mut self,
        origin: Origin,
        header: &Send,
        body: &[u8],
        now: i64,
        out: &mut Output,
    ) -> Result<(), Reply> {
        let id = self.topic_for_send(header, now, out)?;
        let queue = self.queue_for_send(id, header.queue_id)?;
        self.check_body(body)?;
        if header.topic.starts_with(RETRY_PREFIX) || header.topic.starts_with(DLQ_PREFIX) {
            return Err(illegal("a batch cannot go to a retry or dead-letter topic"));
        }
        // All is checked before the first message is stored: a batch is taken whole or not at all.
        let inner = batch::split(body).map_err(illegal)?;
        let mut no_wait = true;
        let mut total = 0;
        for message in &inner {
            let asked = asked(message.properties);
            if message.body.is_empty() {
                return Err(illegal("a message of the batch has no body"));
            }
            if asked.delay_level > 0 {
                return Err(illegal("a batch cannot hold delayed messages"));
            }
            self.refuse_what_comes_later(&asked)?;
            let key = if asked.uniq_key.is_empty() { UNIQ_KEY_ROOM } else { 0 };
            let properties = message.properties.len() + key;
            if properties > PROPERTIES_MAX {
                return Err(illegal("the properties of a message of the batch are too long"));
            }
            let size = message.body.len() + properties + header.topic.len() + RECORD_FIXED_MAX;
            let max = self.log.record_max();
            if size > max {
                return Err(not_stored(&AppendError::TooLarge { size, max }));
            }
            no_wait &= asked.no_wait;
            total += size;
        }
        if let Some(end) = self.log.disk_end()
            && self.log.end().plus(2 * total as u64) > end
        {
            return Err(not_stored(&AppendError::DiskFull(end)));
        }
        let topic = self.state.topics.get(id).expect("just found").config.clone();
        let store_host = self.store_host(origin);
        let (mut msg_ids, mut uniques) = (String::new(), String::new());
        let mut bytes = 0;
        let mut first_offset = None;
        let mut confirm_at = self.log.confirm_at();
        self.log.keep_together(total, inner.len(), 0);
        for message in &inner {
            let asked = asked(message.properties);
            let mut made = String::new();
            let mut stored = Cow::Borrowed(message.properties);
            if asked.uniq_key.is_empty() {
                made = self.unique_key(origin, now);
                properties::push(stored.to_mut(), properties::UNIQ_KEY, &made);
            }
            let record = NewRecord {
                topic: &topic.topic_name,
                queue_id: queue,
                flag: message.flag,
                sys_flag: plain(header.sys_flag),
                born_timestamp: header.born_timestamp,
                born_host: origin.peer,
                store_host,
                reconsume_times: header.reconsume_times,
                prepared_transaction_offset: 0,
                body: message.body,
                properties: &stored,
            };
            let (appended, queue_offset) =
                self.store(id, &record, now).map_err(|e| not_stored(&e))?;
            if first_offset.is_some() {
                msg_ids.push(',');
                uniques.push(',');
            }
            first_offset.get_or_insert(queue_offset);
            ids::push_offset_id(&mut msg_ids, store_host, appended.offset.0);
            uniques.push_str(if made.is_empty() { asked.uniq_key } else { &made });
            confirm_at = appended.end();
            bytes += u64::from(appended.size);
        }
        self.count_stored(id, inner.len() as u64, bytes);
        let sent = Sent {
            msg_id: msg_ids,
            queue_id: queue,
            queue_offset: first_offset.unwrap_or(0),
            transaction_id: uniques.into(),
            region: self.config.region.clone(),
            trace_on: self.config.trace_on,
        };
        let reply = Reply::with(ReplyFields::Sent(sent));
        if no_wait {
            out.reply(origin, reply);
        } else {
            out.reply_at(origin, reply, confirm_at);
        }
        Ok(())
    }

    /// Refuses what this release does not do, rather than to store it as something else.
    fn refuse_what_comes_later(&self, asked: &Asked<'_>) -> Result<(), Reply> {
        if asked.transaction {
            let remark = format!(
                "the broker[{}] sending transaction message is forbidden: transactions come with a later release",
                self.config.broker_name
            );
            return Err(Reply::refuse(response::NO_PERMISSION, remark));
        }
        if asked.timer {
            return Err(Reply::refuse(
                response::MESSAGE_ILLEGAL,
                "timer message illegal: delays of any length come with a later release, use a delay level",
            ));
        }
        Ok(())
    }

    /// The properties as they are stored; returns the message's unique key.
    fn stored_properties(
        &mut self,
        origin: Origin,
        encoded: &[u8],
        asked: &Asked<'_>,
        now: i64,
        out: &mut Vec<u8>,
    ) -> String {
        use properties::{CLUSTER, MSG_REGION, TRACE_ON, UNIQ_KEY, copy_without, push};
        let mut unique = asked.uniq_key.to_owned();
        if asked.reserved {
            copy_without(encoded, &[properties::POP_CK], out);
        } else {
            out.extend_from_slice(encoded);
        }
        if unique.is_empty() {
            unique = self.unique_key(origin, now);
            push(out, UNIQ_KEY, &unique);
        }
        push(out, MSG_REGION, &self.config.region);
        push(out, TRACE_ON, if self.config.trace_on { "true" } else { "false" });
        push(out, CLUSTER, &self.config.cluster);
        unique
    }

    fn unique_key(&mut self, origin: Origin, now: i64) -> String {
        self.unique_counter = self.unique_counter.wrapping_add(1);
        let ip = self.store_host(origin).ip();
        ids::unique_key(ip, self.config.process, now as u64, self.unique_counter)
    }

    /// The address in message ids.
    pub(crate) fn store_host(&self, origin: Origin) -> std::net::SocketAddr {
        let ip = self.config.store_ip.unwrap_or(origin.local_ip);
        std::net::SocketAddr::new(ip, self.config.store_port)
    }

    /// Turns a message into a delayed one: it waits in the queue of its level.
    pub(crate) fn delay_message(
        &self,
        topic: &str,
        queue: &mut i32,
        level: i32,
        stored: &mut Vec<u8>,
    ) -> TopicId {
        let level = level.clamp(1, self.config.delay_levels_ms.len() as i32);
        properties::push(stored, properties::REAL_TOPIC, topic);
        properties::push(stored, properties::REAL_QID, &queue.to_string());
        *queue = level - 1;
        self.state.topics.find(SCHEDULE_TOPIC).expect("made at the start, clients cannot delete it")
    }

    /// Whether a message for a retry topic has been tried often enough. A client sends there
    /// itself when it could not give a message back.
    fn is_given_up(
        &self,
        origin: Origin,
        header: &Send,
        group: &str,
        now: i64,
    ) -> Result<bool, Reply> {
        let Some(config) = self.state.groups.get(group) else {
            let remark = format!(
                "subscription group not exist, {group}; let a consumer connect first, or create the group"
            );
            return Err(Reply::refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        let asked = header.max_reconsume_times.filter(|_| origin.version >= version::V3_4_9);
        let max = asked.filter(|max| *max >= 0).unwrap_or(config.retry_max_times);
        Ok(header.reconsume_times > max || self.locks.any(group, now))
    }

    /// The dead-letter topic of a group.
    pub(crate) fn dead_letter_topic(
        &mut self,
        group: &str,
        now: i64,
        out: &mut Output,
    ) -> Result<TopicId, Reply> {
        self.counters.dead_lettered += 1;
        let name = dlq_topic(group);
        match self.state.topics.find(&name) {
            Some(id) => Ok(id),
            None => self.make_topic(&name, 1, perm::READ | perm::WRITE, now, out),
        }
    }
}

/// The answer to a message that the log did not take.
pub(crate) fn not_stored(error: &AppendError) -> Reply {
    match error {
        AppendError::TooLarge { .. } => illegal(error),
        AppendError::DiskFull(_) => Reply::refuse(
            response::SERVICE_NOT_AVAILABLE,
            format!(
                "service not available now. It may be caused by disk full: {error}. Free some room; sends go on without a restart"
            ),
        ),
    }
}
