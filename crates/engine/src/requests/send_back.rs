//! 36: a consumer gives a message back. It is stored again, delayed, in the group's retry topic,
//! or in its dead-letter topic when it was tried often enough.

use bytes::Bytes;
use kerolox_log::PhysicalOffset;
use kerolox_log::append::AppendError;
use kerolox_log::index::queue::Look;
use kerolox_protocol::names::{RETRY_PREFIX, retry_topic};
use kerolox_protocol::record::{NewRecord, View};
use kerolox_protocol::remoting::admin::perm;
use kerolox_protocol::remoting::codes::{response, version};
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::remoting::send::SendBack;
use kerolox_protocol::{ids, properties};

use crate::load::Continuation;
use crate::output::{Load, LoadItem, Loaded, Output, Record, is_at};
use crate::request::Origin;
use crate::requests::send::not_stored;
use crate::turn::Engine;

impl Engine {
    pub(crate) fn send_back(
        &mut self,
        origin: Origin,
        header: SendBack,
        now: i64,
        out: &mut Output,
    ) {
        if self.refuse_if_closed(origin, out) {
            return;
        }
        match self.state.groups.get(&header.group) {
            None => {
                let remark = format!(
                    "subscription group not exist, {}; let a consumer connect first, or create the group",
                    header.group
                );
                out.reply(origin, Reply::refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
                return;
            }
            // The group wants no retries: the message is dropped, as it was asked for.
            Some(config) if config.retry_queue_nums <= 0 => {
                out.reply(origin, Reply::ok());
                return;
            }
            Some(_) => {}
        }
        let at = PhysicalOffset(header.offset as u64);
        if let Some(record) = self.hot_record(at) {
            self.send_back_loaded(origin, &header, &[Some(record).into()], now, out);
            return;
        }
        self.load_named(origin, at, Continuation::SendBack { origin, header }, out);
    }

    /// Asks for the record at a position that a client named.
    pub(crate) fn load_named(
        &mut self,
        origin: Origin,
        at: PhysicalOffset,
        continuation: Continuation,
        out: &mut Output,
    ) {
        if at >= self.confirmed || self.pending.count() >= crate::limits::PENDING_MAX {
            out.reply(origin, no_record(at));
            return;
        }
        let token = self.pending.load(continuation);
        out.loads.push(Load { token, items: vec![LoadItem::At(at)] });
    }

    /// The record at a position, if it and its index entry are in memory.
    pub(crate) fn hot_record(&self, at: PhysicalOffset) -> Option<Bytes> {
        let head = self.tail.get(at, 4)?;
        let size = u32::from_be_bytes(*head.first_chunk()?);
        let record = self.tail.get(at, size)?;
        let view = View::parse(&record).ok()?;
        let queue = self.state.topics.by_name(view.topic)?.queue(view.queue_id)?;
        let older = matches!(queue.index.look(view.queue_offset), Look::Older(_));
        (!older).then_some(record)
    }

    /// Whether this is the record that the index knows at this position: a position may lie in the
    /// middle of a body that was made to look like a record.
    pub(crate) fn verify<'a>(
        &self,
        at: PhysicalOffset,
        record: Option<&'a Record>,
    ) -> Option<View<'a>> {
        let Record { bytes, vouched } = record?;
        let view = View::parse(bytes).ok()?;
        let topic = self.state.topics.by_name(view.topic)?;
        let queue = topic.queue(view.queue_id)?;
        let offset = view.queue_offset;
        let known = match queue.index.look(offset) {
            Look::Here(entry) => is_at(&entry?, at, bytes),
            Look::Older(_) => *vouched,
        };
        (known && at >= topic.born && offset < queue.visible).then_some(view)
    }

    pub(crate) fn send_back_loaded(
        &mut self,
        origin: Origin,
        header: &SendBack,
        records: &[Loaded],
        now: i64,
        out: &mut Output,
    ) {
        let at = PhysicalOffset(header.offset as u64);
        let bytes = records.first().and_then(Loaded::record);
        let Some(record) = self.verify(at, bytes) else {
            out.reply(origin, no_record(at));
            return;
        };
        let reply = self.store_again(origin, header, &record, now, out);
        match reply {
            Ok(()) => out.reply_at(origin, Reply::ok(), self.log.confirm_at()),
            Err(refusal) => out.reply(origin, refusal),
        }
    }

    fn store_again(
        &mut self,
        origin: Origin,
        header: &SendBack,
        record: &View<'_>,
        now: i64,
        out: &mut Output,
    ) -> Result<(), Reply> {
        let group = &header.group;
        let Some(config) = self.state.groups.get(group).cloned() else {
            let remark = format!("subscription group not exist, {group}");
            return Err(Reply::refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        };
        let asked = header.max_reconsume_times.filter(|_| origin.version >= version::V3_4_9);
        let max = asked.filter(|max| *max >= 0).unwrap_or(config.retry_max_times);
        let give_up = record.reconsume_times >= max || header.delay_level < 0;

        let mut stored = Vec::with_capacity(record.properties.len() + 128);
        let replaced = [properties::DELAY, properties::REAL_TOPIC, properties::REAL_QID];
        properties::copy_without(record.properties, &replaced, &mut stored);
        let get = |name| properties::get(record.properties, name);
        if get(properties::RETRY_TOPIC).is_none() {
            properties::push(&mut stored, properties::RETRY_TOPIC, record.topic);
        }
        if get(properties::ORIGIN_MESSAGE_ID).is_none() {
            let mut id = String::with_capacity(32);
            ids::push_offset_id(&mut id, record.store_host, record.physical_offset);
            properties::push(&mut stored, properties::ORIGIN_MESSAGE_ID, &id);
        }
        let mut queue = 0;
        let name = retry_topic(group);
        let id = if give_up {
            self.dead_letter_topic(group, now, out)?
        } else {
            let id = match self.state.topics.find(&name) {
                Some(id) => id,
                None => {
                    let queues = config.retry_queue_nums;
                    self.make_topic(&name, queues, perm::READ | perm::WRITE, now, out)?
                }
            };
            let topic = self.state.topics.get(id).expect("just found or made");
            if topic.config.perm & perm::WRITE == 0 {
                let remark =
                    format!("the topic[{RETRY_PREFIX}{group}] sending message is forbidden");
                return Err(Reply::refuse(response::NO_PERMISSION, remark));
            }
            let write = topic.config.write_queue_nums.max(1);
            self.queue_counter = self.queue_counter.wrapping_add(1);
            queue = (self.queue_counter % write.min(config.retry_queue_nums.max(1)) as u32) as i32;
            let level = match header.delay_level {
                0 => 3 + record.reconsume_times,
                level => level,
            };
            properties::push(&mut stored, properties::DELAY, &level.to_string());
            self.delay_message(&name, &mut queue, level, &mut stored)
        };
        let topic = self.state.topics.get(id).expect("just found or made").config.clone();
        let mut again = record.to_new();
        again.topic = &topic.topic_name;
        again.queue_id = queue;
        again.reconsume_times = record.reconsume_times.saturating_add(1);
        again.store_host = self.store_host(origin);
        again.properties = &stored;
        if stored.len() > kerolox_protocol::record::PROPERTIES_MAX {
            let remark = "the message's properties have no room for what a retry adds";
            return Err(Reply::refuse(response::MESSAGE_ILLEGAL, remark));
        }
        // It must fit under its retry topic's name, too, when it is due.
        let size = NewRecord { topic: &name, ..again }.size();
        let max = self.log.record_max();
        if size > max {
            return Err(not_stored(&AppendError::TooLarge { size, max }));
        }
        let (appended, _) = self.store(id, &again, now).map_err(|e| not_stored(&e))?;
        self.count_stored(id, 1, u64::from(appended.size));
        Ok(())
    }
}

pub(crate) fn no_record(at: PhysicalOffset) -> Reply {
    Reply::refuse(
        response::SYSTEM_ERROR,
        format!(
            "look message by offset failed, {at}: no message begins at this position of the commit log (deleted, or never there)"
        ),
    )
}
