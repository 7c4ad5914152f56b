//! The engine and its turns. In: requests with the time. Out: log rounds to write
//! ([`kerolox_log::append`]) and an [`Output`]. Called by the shell (`server/src/core.rs`), one
//! thread at a time.

use std::borrow::Cow;
use std::sync::Arc;

use kerolox_log::PhysicalOffset;
use kerolox_log::append::{AppendError, Appended, Appender};
use kerolox_log::index::lookup::Blocks;
use kerolox_log::index::queue::Entry;
use kerolox_log::limits::TAIL_BYTES;
use kerolox_log::read::Place;
use kerolox_log::recover::Report;
use kerolox_log::seal;
use kerolox_log::tail::Tail;
use kerolox_protocol::names::AUTO_CREATE_TOPIC;
use kerolox_protocol::record::NewRecord;
use kerolox_protocol::remoting::client::ConsumerGroup;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::{properties, tags};

use crate::change::{Change, Setting};
use crate::config::Config;
use crate::limits::{IDLE_STEP, OFFSETS_INTERVAL_MS, OFFSETS_STEP_MAX};
use crate::load::{Continuation, Pending};
use crate::locks::Locks;
use crate::members::Members;
use crate::output::{ConnectionId, Loaded, Output, Push};
use crate::park::Deadlines;
use crate::rates::Rates;
use crate::request::{Incoming, Origin, Request};
use crate::requests;
use crate::state::State;
use crate::topics::TopicId;
use crate::watermark::{Unconfirmed, UnconfirmedQueue};

/// Why the broker takes no messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// A write or sync of the log failed: nothing more is acknowledged until a restart.
    Failed(String),
    /// The disk is too full; it may have room again.
    DiskFull(String),
    /// Too many bytes wait for the disk.
    Busy(String),
    /// The last seal was made: nothing that comes now is written any more.
    Over,
}

/// To whoever comes too late.
const OVER: &str = "service not available now. The broker stops";

/// The broker's state machine.
pub struct Engine {
    pub config: Config,
    pub state: State,
    pub log: Appender,
    pub tail: Tail,
    pub members: Members,
    pub(crate) locks: Locks,
    pub(crate) deadlines: Deadlines,
    pub(crate) pending: Pending,
    pub(crate) confirmed: PhysicalOffset,
    pub(crate) unconfirmed: UnconfirmedQueue,
    pub(crate) woken: Vec<(TopicId, i32, i32)>,
    /// For each delay level: its next messages are being read.
    pub(crate) delivering: Vec<bool>,
    /// For each delay level: nothing is due before this, in ms. For messages whose entries are in
    /// index blocks.
    pub(crate) due_at: Vec<i64>,
    pub blocks: Arc<Blocks>,
    /// Offsets that a reset imposes on the next pull: group, topic, queue.
    pub(crate) resets: std::collections::HashMap<(String, String, i32), i64>,
    pub(crate) closed: Option<Closed>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) unique_counter: u16,
    /// Round-robin over queues when the client leaves the choice to the broker.
    pub(crate) queue_counter: u32,
    offsets_written: i64,
    expired: i64,
    pub counters: Counters,
    pub rates: Rates,
    /// The next topic that may be forgotten by [`Rates::forget_if_idle`].
    idle_from: TopicId,
}

/// Since the process started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    pub refused: u64,
    pub dead_lettered: u64,
    pub parked: u64,
}

impl Engine {
    /// Goes on with the state that recovery replayed. The first round says what it found.
    pub fn new(
        config: Config,
        state: State,
        log: Appender,
        blocks: Arc<Blocks>,
        report: &Report,
    ) -> Engine {
        let levels = config.delay_levels_ms.len();
        let mut engine = Engine {
            config,
            state,
            confirmed: log.end(),
            log,
            tail: Tail::new(TAIL_BYTES),
            members: Members::default(),
            locks: Locks::default(),
            deadlines: Deadlines::default(),
            pending: Pending::default(),
            unconfirmed: UnconfirmedQueue::new(),
            woken: Vec::new(),
            delivering: vec![false; levels],
            due_at: vec![0; levels],
            blocks,
            resets: Default::default(),
            closed: None,
            scratch: Vec::new(),
            unique_counter: 0,
            queue_counter: 0,
            offsets_written: 0,
            expired: 0,
            counters: Counters::default(),
            rates: Rates::new(),
            idle_from: TopicId::default(),
        };
        let recovered = Change::Recovered {
            start: report.start,
            proof: report.proof.0,
            end: report.end.0,
            cut_bytes: report.cut.as_ref().map_or(0, |cut| cut.bytes),
            lost_ranges: report.lost.len() as u32,
        };
        engine.log.change(&recovered.encode());
        engine
    }

    /// Handles one request. `now`: ms since 1970.
    pub fn handle(&mut self, incoming: Incoming, now: i64, out: &mut Output) {
        let origin = incoming.origin;
        self.rates.set_now(now);
        match incoming.request {
            Request::Send { header, body } => self.send(origin, &header, &body, now, out),
            Request::SendBack(header) => self.send_back(origin, header, now, out),
            Request::Pull(pull) => self.pull(origin, pull, now, out),
            Request::QueryConsumerOffset(h) => self.query_consumer_offset(origin, &h, out),
            Request::UpdateConsumerOffset(h) => self.update_consumer_offset(origin, &h, out),
            Request::SearchOffset(h) => self.search_offset(origin, &h, out),
            Request::MaxOffset(h) => self.max_offset(origin, &h, out),
            Request::MinOffset(h) => self.min_offset(origin, &h, out),
            Request::EarliestTime(h) => self.earliest_time(origin, &h, out),
            Request::QueryMessage(h) => self.query_message(origin, h, out),
            Request::ViewMessage(h) => self.view_message(origin, &h, out),
            Request::Heartbeat(beat) => self.heartbeat(origin, &beat, now, out),
            Request::Unregister(h) => self.unregister(origin, &h, out),
            Request::ConsumerList(h) => self.consumer_list(origin, &h, out),
            Request::CheckClientConfig(check) => {
                let reply = requests::check_config::check(&check);
                out.reply(origin, reply);
            }
            Request::Lock(batch) => self.lock(origin, batch, now, out),
            Request::Unlock(batch) => self.unlock(origin, batch, out),
            Request::CreateTopic(_)
            | Request::CreateTopics(_)
            | Request::DeleteTopic(_)
            | Request::CreateGroup(_)
            | Request::CreateGroups(_)
            | Request::DeleteGroup(_)
            | Request::ResetOffset(_)
            | Request::CloneOffsets(_)
                if self.refuse_change(origin, out) => {}
            Request::CreateTopic(h) => self.create_topic(origin, &h, now, out),
            Request::CreateTopics(list) => self.create_topics(origin, &list, now, out),
            Request::DeleteTopic(h) => self.delete_topic(origin, &h, now, out),
            Request::TopicConfig(h) => self.topic_config(origin, &h, out),
            Request::AllTopics => self.all_topics(origin, out),
            Request::SystemTopics => self.system_topics(origin, out),
            Request::CreateGroup(config) => self.create_group(origin, config, now, out),
            Request::CreateGroups(list) => self.create_groups(origin, list, now, out),
            Request::DeleteGroup(h) => self.delete_group(origin, &h, now, out),
            Request::GroupConfig(h) => self.group_config(origin, &h, now, out),
            Request::AllGroups => self.all_groups(origin, out),
            Request::AllOffsets => self.all_offsets(origin, out),
            Request::TopicStats(h) => self.topic_stats(origin, &h, out),
            Request::ConsumeStats(h) => self.consume_stats(origin, &h, out),
            Request::BrokerConsumeStats(h) => self.broker_consume_stats(origin, &h, out),
            Request::ViewStats(h) => self.view_stats(origin, &h, out),
            Request::ConsumeTimeSpan(h) => self.consume_time_span(origin, &h, now, out),
            Request::TopicsOfGroup(h) => self.topics_of_consumer(origin, &h, out),
            Request::SubscriptionOfGroup(h) => self.subscription_of_consumer(origin, &h, out),
            Request::CorrectionOffsets(h) => self.correction_offsets(origin, &h, out),
            Request::CloneOffsets(h) => self.clone_offsets(origin, &h, out),
            Request::ConsumeQueue(h) => self.consume_queue(origin, &h, out),
            Request::NothingToClean => out.reply(origin, Reply::ok()),
            Request::GroupsOfTopic(h) => self.groups_of_topic(origin, &h, out),
            Request::ConsumerConnections(h) => self.consumer_connections(origin, &h, out),
            Request::ProducerConnections(h) => self.producer_connections(origin, &h, out),
            Request::AllProducers => self.all_producers(origin, out),
            Request::ResetOffset(h) => self.reset_offset(origin, &h, out),
            Request::RunningInfo(h) => self.running_info(origin, &h, now, out),
            Request::ConsumeDirectly(h) => self.consume_directly(origin, h, now, out),
            Request::ClientReply { code, remark, body } => {
                self.client_replied(origin.opaque, code, remark, body, out);
            }
            Request::Loaded { token, answers } => self.loaded(token, &answers, now, out),
            Request::Served { topic, group, messages, bytes } => {
                self.served(topic, &group, messages, bytes);
            }
            Request::Closed => self.connection_closed(origin.connection, out),
        }
    }

    /// Does what time alone asks for. Called every few milliseconds.
    pub fn tick(&mut self, now: i64, out: &mut Output) {
        self.rates.set_now(now);
        self.expire_pulls(now, out);
        if self.closed.is_none() {
            self.deliver_due(now, out);
        }
        // A clock that was set back must not put this off.
        if !(0..OFFSETS_INTERVAL_MS).contains(&(now - self.offsets_written)) {
            self.offsets_written = now;
            self.state.offsets.begin_writing();
        }
        self.write_offsets();
        for origin in self.pending.expire(now) {
            let remark = "the consumer did not answer within 10 s; see whether it still runs";
            out.reply(origin, Reply::refuse(response::CONSUME_MSG_TIMEOUT, remark));
        }
        if now - self.expired >= 10_000 {
            self.expired = now;
            for group in self.members.expire(now, self.config.client_expiry_ms) {
                self.notify_group(&group, out);
            }
            self.forget_idle_rates();
        }
    }

    /// Makes room for the rates of others, a step at a time.
    fn forget_idle_rates(&mut self) {
        if self.rates.has_room() {
            return;
        }
        self.rates.forget_idle_groups();
        let from = std::mem::take(&mut self.idle_from);
        for (id, topic) in self.state.topics.iter_mut_from(from).take(IDLE_STEP) {
            self.rates.forget_if_idle(topic);
            self.idle_from = id.next();
        }
    }

    /// Whether something soon has to be done without anybody asking.
    pub fn waits_for_time(&self) -> bool {
        self.deadlines.count() + self.pending.count() > 0
            || self.state.offsets.is_dirty()
            || self.has_delayed()
    }

    /// Puts some of the committed offsets into the log, if it takes anything.
    fn write_offsets(&mut self) {
        if self.takes_no_changes().is_some() {
            return;
        }
        for (group, topic, queue, offset) in self.state.offsets.take_writing(OFFSETS_STEP_MAX) {
            let (group, topic) = (Cow::Borrowed(&*group), Cow::Borrowed(&*topic));
            self.log.change(&Change::Offset { group, topic, queue, offset }.encode());
        }
    }

    /// Why the durable state cannot change now: the log failed, or the disk is full to the last.
    pub(crate) fn takes_no_changes(&self) -> Option<Reply> {
        if let Some(Closed::Failed(why)) = &self.closed {
            let remark = format!(
                "service not available now. {why} Nothing is changed until the broker is restarted."
            );
            return Some(Reply::refuse(response::SERVICE_NOT_AVAILABLE, remark));
        }
        if self.is_over() {
            return Some(Reply::refuse(response::SERVICE_NOT_AVAILABLE, OVER));
        }
        if self.log.has_room_for_changes() {
            return None;
        }
        let remark = "service not available now. It may be caused by disk full: there is no room for changes of topics, groups and settings. Free some room; they go on without a restart";
        Some(Reply::refuse(response::SERVICE_NOT_AVAILABLE, remark))
    }

    /// Whether the last seal was made: what is done now is in no log, so nothing may count as done.
    pub(crate) fn is_over(&self) -> bool {
        self.closed == Some(Closed::Over)
    }

    /// Refuses a change of the durable state, if there is a reason.
    pub fn refuse_change(&mut self, origin: Origin, out: &mut Output) -> bool {
        let refusal = self.takes_no_changes();
        let refused = refusal.is_some();
        if let Some(refusal) = refusal {
            self.counters.refused += 1;
            out.reply(origin, refusal);
        }
        refused
    }

    /// The last turn: every waiting pull is answered, every offset goes to the log.
    pub fn stop(&mut self, out: &mut Output) {
        while let Some(waiting) = self.deadlines.take_any() {
            self.answer_parked(waiting, out);
        }
        self.state.offsets.begin_writing();
        while self.takes_no_changes().is_none() && self.state.offsets.is_dirty() {
            self.write_offsets();
        }
    }

    /// Closes the broker for sends, or opens it again. A failure stays, as does the end.
    pub fn set_closed(&mut self, closed: Option<Closed>) {
        if !matches!(self.closed, Some(Closed::Failed(_) | Closed::Over)) {
            self.closed = closed;
        }
    }

    /// Why the broker takes no messages, if it does not.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// What is confirmed.
    pub fn confirmed(&self) -> PhysicalOffset {
        self.confirmed
    }

    /// Changes the durable state: in the log, and here.
    pub(crate) fn change(&mut self, change: &Change<'_>, now: i64) {
        self.log.change(&change.encode());
        self.state.apply(change, now, self.log.begin());
    }

    /// Changes an entry of the name server's KV configuration. The answer must wait until the
    /// returned position is confirmed.
    pub fn put_kv(
        &mut self,
        namespace: &str,
        key: &str,
        value: Option<&str>,
        now: i64,
    ) -> PhysicalOffset {
        let value = value.map(Cow::Borrowed);
        self.change(&Change::Kv { namespace: namespace.into(), key: key.into(), value }, now);
        self.log.confirm_at()
    }

    /// Notes what keys of the configuration were changed to, for the next start; after a crash it knows all of
    /// them or none. The answer must wait until the returned position is confirmed.
    pub fn put_settings(
        &mut self,
        settings: &[(&str, Option<Setting>)],
        now: i64,
    ) -> PhysicalOffset {
        let changes: Vec<Change<'_>> = settings
            .iter()
            .map(|(key, setting)| Change::Setting { key: (*key).into(), setting: setting.clone() })
            .collect();
        let bytes = changes.iter().map(|change| seal::change_size(&change.encode())).sum();
        self.log.keep_together(0, 0, bytes);
        for change in &changes {
            self.change(change, now);
        }
        self.log.confirm_at()
    }

    /// Takes up another configuration. Names, delay levels and the number of queues stay: they are those of
    /// the start.
    pub fn set_config(&mut self, config: Config, now: i64, out: &mut Output) {
        if self.config.broker_permission != config.broker_permission {
            self.state.topics.touch(now);
        }
        self.config = config;
        if self.config.auto_create_topic && self.state.topics.find(AUTO_CREATE_TOPIC).is_none() {
            self.state.put_auto_create_topic(&self.config, now);
            let made =
                self.state.topics.by_name(AUTO_CREATE_TOPIC).map(|topic| topic.config.clone());
            out.topics.push((AUTO_CREATE_TOPIC.into(), made));
        }
    }

    /// Stores a message in a queue: log, index, keys. It becomes visible when it is confirmed.
    pub(crate) fn store(
        &mut self,
        id: TopicId,
        record: &NewRecord<'_>,
        now: i64,
    ) -> Result<(Appended, i64), AppendError> {
        let topic = self.state.topics.get_mut(id).expect("the caller has just looked it up");
        let queue = topic.queue_mut(record.queue_id);
        let queue_offset = queue.index.next();
        let appended = self.log.append(record, queue_offset, now)?;
        let (mut tag, mut uniq, mut keys) = ("", "", "");
        for (name, value) in properties::iter(record.properties) {
            let field = match name {
                b"TAGS" => &mut tag,
                b"UNIQ_KEY" => &mut uniq,
                b"KEYS" => &mut keys,
                _ => continue,
            };
            *field = std::str::from_utf8(value).unwrap_or("");
        }
        let tags_code = tags::tags_code(tag);
        let place = Place { offset: appended.offset, size: appended.size, crc: appended.crc };
        let store_timestamp = appended.store_timestamp;
        queue.index.push(&Entry { place, tags_code, store_timestamp });
        let bytes = u64::from(appended.size);
        topic.counters.messages_in += 1;
        topic.counters.bytes_in += bytes;
        self.counters.messages_in += 1;
        self.counters.bytes_in += bytes;
        self.unconfirmed.push_back(Unconfirmed {
            end: appended.end(),
            topic: id,
            queue: record.queue_id,
            tags_code,
        });
        self.state.index_keys(record.topic, uniq, keys, appended.offset);
        Ok((appended, queue_offset))
    }

    /// What was asked of the disk is here.
    pub(crate) fn loaded(&mut self, token: u64, answers: &[Loaded], now: i64, out: &mut Output) {
        match self.pending.loaded(token) {
            Some(Continuation::SendBack { origin, header }) => {
                self.send_back_loaded(origin, &header, answers, now, out);
            }
            Some(Continuation::View { origin, at }) => self.view_loaded(origin, at, answers, out),
            Some(Continuation::Query { origin, header, candidates }) => {
                self.query_loaded(origin, &header, &candidates, answers, out);
            }
            Some(Continuation::Direct { origin, header, at }) => {
                self.direct_loaded(origin, &header, at, answers, now, out);
            }
            Some(Continuation::Delayed { .. } | Continuation::DelayedEntries { .. })
                if self.is_over() => {}
            Some(Continuation::Delayed { level, from }) => {
                self.deliver(level, from, answers, now);
                // What is due behind them waits no longer, unless there was no room.
                if self.state.delayed[level] >= from + answers.len() as i64 {
                    self.deliver_level(level, now, out);
                }
            }
            Some(Continuation::DelayedEntries { level, from, chain }) => {
                self.deliver_entries(level, (from, chain), answers, now, out);
            }
            Some(Continuation::Reset { origin, header, targets }) => {
                self.reset_loaded(origin, &header, &targets, answers, out);
            }
            None => {}
        }
    }

    fn connection_closed(&mut self, connection: ConnectionId, out: &mut Output) {
        self.forget_pulls(connection);
        let mut groups = self.members.connection_closed(connection);
        // Whoever waits for a queue of an ordered group may have it now.
        groups.extend(self.locks.connection_closed(connection));
        groups.sort();
        groups.dedup();
        for group in groups {
            self.notify_group(&group, out);
        }
    }

    /// Tells every client of a group that its members changed (40).
    pub(crate) fn notify_group(&self, group: &str, out: &mut Output) {
        let Some(members) = self.members.group(group) else { return };
        let wanted = self
            .state
            .groups
            .get(group)
            .is_none_or(|config| config.notify_consumer_ids_changed_enable);
        if members.is_broadcast() || !wanted || !self.config.notify_groups {
            return;
        }
        // Not before what made the change is confirmed: a client that hears of it before its own
        // heartbeat is answered loses its next one.
        let confirm_at = self.log.confirm_at();
        for client in members.clients.values() {
            out.push(Push {
                connection: client.origin.connection,
                confirm_at,
                code: request::NOTIFY_CONSUMER_IDS_CHANGED,
                opaque: None,
                fields: Box::new(ConsumerGroup { consumer_group: group.into() }),
                body: Default::default(),
            });
        }
    }

    /// Refuses with the reason why the broker is closed, if it is.
    pub(crate) fn refuse_if_closed(&mut self, origin: Origin, out: &mut Output) -> bool {
        let Some(closed) = &self.closed else { return false };
        let reply = match closed {
            Closed::Failed(why) => Reply::refuse(
                response::SERVICE_NOT_AVAILABLE,
                format!(
                    "service not available now. {why} Nothing is acknowledged until the broker is restarted."
                ),
            ),
            Closed::DiskFull(why) => Reply::refuse(
                response::SERVICE_NOT_AVAILABLE,
                format!("service not available now. It may be caused by disk full: {why}"),
            ),
            Closed::Busy(why) => {
                Reply::refuse(response::SYSTEM_BUSY, format!("[OVERLOAD]system busy, {why}"))
            }
            Closed::Over => Reply::refuse(response::SERVICE_NOT_AVAILABLE, OVER),
        };
        self.counters.refused += 1;
        out.reply(origin, reply);
        true
    }
}
