//! The engine as a shell drives it, on a disk in memory: steps become requests, what it answers
//! is read back.
//!
//! In: steps, and the model for the time and for what a step's offset is relative to. Out: the
//! answers that left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kerolox_engine::keeper::{Found, Keeper};
use kerolox_engine::output::{Answer as Given, Message};
use kerolox_engine::{Config, ConnectionId, Engine, Incoming, Origin, Output, Request, State};
use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Round};
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::identity::Identity;
use kerolox_log::index::queue::Look;
use kerolox_log::recover;
use kerolox_protocol::json::write::MessageQueue;
use kerolox_protocol::names::SCHEDULE_TOPIC;
use kerolox_protocol::record::{View, walk};
use kerolox_protocol::remoting::admin::{
    CreateTopic, DeleteGroup, GroupConfig, TopicQuestion, perm,
};
use kerolox_protocol::remoting::client::{
    ConsumerData, ConsumerGroup, Heartbeat, SubscriptionData, Unregister,
};
use kerolox_protocol::remoting::frame::Form;
use kerolox_protocol::remoting::lock::LockBatch;
use kerolox_protocol::remoting::offsets::{
    QueryConsumerOffset, QueueQuestion, SearchOffset, UpdateConsumerOffset,
};
use kerolox_protocol::remoting::pull::{self, sys_flag};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};
use kerolox_protocol::remoting::send::{Send, SendBack};
use kerolox_protocol::{batch, properties};

use super::reference::{Answer, Answers, Model, Seen};
use super::{CLIENTS, DELAY_LEVELS_MS, Filter, GROUPS, PLAIN, Pull, Step, TAGS, TOPICS};

/// Small, so that the log goes through several files.
const FILE_SIZE: u64 = 64 << 10;
const IDENTITY: Identity = Identity { number: [7; 16], writer: 1 };

/// See the module's documentation.
pub(crate) struct Broker {
    disk: FaultDisk,
    files: Arc<Files>,
    keeper: Keeper,
    writer: Writer,
    engine: Engine,
    /// Taken, not yet written.
    taken: VecDeque<Vec<Round>>,
    /// Replies that wait for the watermark.
    waiting: BTreeMap<i32, PhysicalOffset>,
}

fn config() -> Config {
    Config { delay_levels_ms: DELAY_LEVELS_MS.to_vec(), ..Config::default() }
}

/// Recovers what the disk holds.
fn open(disk: &FaultDisk) -> (Arc<Files>, Engine, Keeper) {
    let dir = Path::new("/data");
    let files = Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).expect("the disk is sound");
    let files = Arc::new(files);
    let found = Keeper::open(files.clone(), dir.to_owned(), IDENTITY, &config());
    let Found { keeper, mut state, origin, oddities, .. } = found.expect("the disk is sound");
    assert!(oddities.is_empty(), "{oddities:?}");
    let (resume, report) =
        recover::recover(&files, dir, &IDENTITY, origin, &mut state).expect("the disk is sound");
    assert_eq!((&report.cut, &report.lost[..]), (&None, &[][..]));
    assert_eq!(state.unknown_changes, 0);
    let log = Appender::new(IDENTITY, FILE_SIZE, resume);
    let engine = Engine::new(config(), state, log, keeper.blocks.clone(), &report);
    (files, engine, keeper)
}

impl Broker {
    pub(crate) fn new() -> Broker {
        let disk = FaultDisk::default();
        let (files, engine, keeper) = open(&disk);
        let writer = Writer::new(files.clone(), engine.confirmed());
        let (taken, waiting) = (VecDeque::new(), BTreeMap::new());
        Broker { disk, files, keeper, writer, engine, taken, waiting }
    }

    /// Requests whose replies wait for the watermark.
    pub(crate) fn waiting(&self) -> BTreeSet<i32> {
        self.waiting.keys().copied().collect()
    }

    fn waits_for_delivery(&self) -> bool {
        let state = &self.engine.state;
        let schedule = state.topics.by_name(SCHEDULE_TOPIC).expect("the system has it");
        let mut levels = state.delayed.iter().zip(0..);
        levels.any(|(delivered, level)| {
            schedule.queue(level).is_some_and(|queue| queue.index.next() > *delivered)
        })
    }

    pub(crate) fn step(&mut self, opaque: i32, step: &Step, model: &Model) -> Answers {
        let mut out = Output::default();
        match step {
            Step::Pass { .. } => self.engine.tick(model.now, &mut out),
            Step::Close => self.close(),
            Step::Confirm { rounds } => {
                self.write(*rounds);
                let confirmed = self.writer.watermarks().flushed;
                self.engine.log.set_flushed(confirmed);
                self.engine.confirm(confirmed, &mut out);
                self.waiting.retain(|_, at| *at > confirmed);
                // Delayed messages from a block come behind those of other levels that are in memory:
                // an order that the model does not know. The simulation has them.
                if !self.waits_for_delivery() {
                    let mut state = |work: &mut dyn FnMut(&mut State)| work(&mut self.engine.state);
                    let lost = self.keeper.advance(confirmed, &mut state);
                    assert_eq!(lost.expect("the disk is sound").unwrap_or_default(), []);
                }
            }
            Step::Reopen { rounds } => self.reopen(*rounds),
            Step::Restart => {
                self.engine.stop(&mut out);
                self.close();
                let answers = self.read(out, model.now);
                self.reopen(usize::MAX);
                return answers;
            }
            other => {
                let connection = match other {
                    Step::Heartbeat { connection, .. }
                    | Step::Lock { connection, .. }
                    | Step::Disconnect { connection } => *connection,
                    _ => 100,
                };
                let origin = origin(opaque, connection);
                let request = self.request(opaque, other, model);
                self.engine.handle(Incoming { origin, request }, model.now, &mut out);
            }
        }
        self.read(out, model.now)
    }

    fn close(&mut self) {
        let rounds = Vec::from(self.engine.log.take_rounds());
        for round in &rounds {
            self.engine.tail.push(round);
        }
        self.taken.push_back(rounds);
    }

    fn write(&mut self, units: usize) {
        for rounds in self.taken.drain(..units.min(self.taken.len())) {
            self.writer.write(&rounds).expect("the disk is sound");
        }
        self.writer.sync().expect("the disk is sound");
    }

    fn reopen(&mut self, units: usize) {
        self.write(units);
        self.taken.clear();
        self.waiting.clear();
        let written = self.writer.watermarks().written;
        (self.files, self.engine, self.keeper) = open(&self.disk);
        assert_eq!(self.engine.confirmed(), written);
        self.writer = Writer::new(self.files.clone(), written);
    }

    /// Reads what one or more turns left, and loads what they ask for.
    fn read(&mut self, mut out: Output, now: i64) -> Answers {
        let mut answers = Answers::new();
        loop {
            for message in std::mem::take(&mut out.messages) {
                let Message::Reply(completion) = message else { continue };
                let opaque = completion.origin.opaque;
                if let Some(at) = completion.confirm_at.filter(|at| *at > self.engine.confirmed()) {
                    self.waiting.insert(opaque, at);
                }
                let reply = match completion.answer {
                    Given::Now(reply) => reply,
                    Given::Later(work) => work(),
                    Given::Steps(mut steps) => loop {
                        if let Some(work) = steps(&self.engine) {
                            break work();
                        }
                    },
                    Given::Cold(pull) => {
                        let answer = pull.read(&self.engine.blocks);
                        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
                        answer.reply
                    }
                };
                let twice = answers.insert(opaque, answer(&reply));
                assert_eq!(twice, None, "{opaque} is answered twice");
            }
            let loads = std::mem::take(&mut out.loads);
            if loads.is_empty() {
                return answers;
            }
            for load in loads {
                let (answers, errors) = load.read(&self.engine.blocks);
                assert!(errors.is_empty(), "{errors:?}");
                let request = Request::Loaded { token: load.token, answers };
                let incoming = Incoming { origin: origin(-1, 100), request };
                self.engine.handle(incoming, now, &mut out);
            }
        }
    }

    fn request(&self, opaque: i32, step: &Step, model: &Model) -> Request {
        let group = |group: &usize| GROUPS[*group].into();
        let topic = |topic: &usize| TOPICS[*topic].into();
        match step {
            Step::Send { .. } | Step::Batch { .. } | Step::Retry { .. } => send(opaque, step),
            Step::Pull(pull) => Request::Pull(pull_header(pull, model)),
            Step::Commit { group: g, topic: t, queue, offset } => {
                Request::UpdateConsumerOffset(UpdateConsumerOffset {
                    consumer_group: group(g),
                    topic: topic(t),
                    queue_id: Some(*queue),
                    commit_offset: Some(*offset),
                })
            }
            Step::QueryOffset { group: g, topic: t, queue, or_zero } => {
                Request::QueryConsumerOffset(QueryConsumerOffset {
                    consumer_group: group(g),
                    topic: topic(t),
                    queue_id: *queue,
                    set_zero_if_not_found: *or_zero,
                })
            }
            Step::MinOffset { topic: t, queue } => {
                Request::MinOffset(QueueQuestion { topic: topic(t), queue_id: *queue })
            }
            Step::MaxOffset { topic: t, queue } => {
                Request::MaxOffset(QueueQuestion { topic: topic(t), queue_id: *queue })
            }
            Step::SearchOffset { topic: t, queue, ms_ago } => Request::SearchOffset(SearchOffset {
                topic: topic(t),
                queue_id: *queue,
                timestamp: model.now - ms_ago,
                boundary_type: None,
            }),
            Step::CreateTopic { topic: t, read, write, readable } => {
                let readable = if *readable { perm::READ } else { 0 };
                Request::CreateTopic(CreateTopic {
                    topic: topic(t),
                    read_queue_nums: *read,
                    write_queue_nums: *write,
                    perm: perm::WRITE | readable,
                    ..CreateTopic::default()
                })
            }
            Step::DeleteTopic { topic: t } => {
                Request::DeleteTopic(TopicQuestion { topic: topic(t) })
            }
            Step::CreateGroup { group: g, times_max, retries } => {
                Request::CreateGroup(GroupConfig {
                    group_name: GROUPS[*g].to_owned(),
                    retry_max_times: *times_max,
                    retry_queue_nums: i32::from(*retries),
                    ..GroupConfig::default()
                })
            }
            Step::DeleteGroup { group: g, clean_offsets } => Request::DeleteGroup(DeleteGroup {
                group_name: group(g),
                clean_offset: *clean_offsets,
            }),
            Step::Heartbeat { client, group, topics, version, .. } => {
                Request::Heartbeat(heartbeat(*client, *group, topics, *version))
            }
            Step::Unregister { client, group: g } => Request::Unregister(Unregister {
                client_id: CLIENTS[*client].into(),
                producer_group: None,
                consumer_group: Some(group(g)),
            }),
            Step::Consumers { group: g } => {
                Request::ConsumerList(ConsumerGroup { consumer_group: group(g) })
            }
            Step::Lock { client, group, queues, .. } => {
                Request::Lock(lock_batch(*client, *group, queues))
            }
            Step::Unlock { client, group, queues } => {
                Request::Unlock(lock_batch(*client, *group, queues))
            }
            Step::Disconnect { .. } => Request::Closed,
            Step::SendBack { .. } => self.send_back(step, model),
            _ => unreachable!("handled before"),
        }
    }

    fn send_back(&self, step: &Step, model: &Model) -> Request {
        let Step::SendBack { group, topic, queue, nth, level, times_max, astray } = step else {
            unreachable!("the caller has looked");
        };
        let topic = TOPICS[*topic];
        let visible = model.visible(topic, *queue).max(1);
        let known = self.engine.state.topics.by_name(topic).expect("the model has it");
        let known = known.queue(*queue).expect("the model has it");
        let offset = *nth as i64 % visible;
        let entry = match known.index.look(offset) {
            Look::Here(entry) => entry,
            Look::Older(link) => {
                let of = (topic, *queue);
                let found = self.engine.blocks.ask(|blocks| blocks.entry(of, link, offset));
                found.expect("the disk is sound")
            }
        };
        let entry = entry.expect("the model has it");
        Request::SendBack(SendBack {
            offset: entry.place.offset.0 as i64 + i64::from(*astray),
            group: GROUPS[*group].into(),
            delay_level: *level,
            max_reconsume_times: *times_max,
            ..SendBack::default()
        })
    }
}

fn origin(opaque: i32, connection: u64) -> Origin {
    Origin {
        connection: ConnectionId(connection),
        opaque,
        form: Form::Json,
        oneway: false,
        language: 0,
        version: 513,
        peer: ([10, 0, 0, 1], 5).into(),
        local_ip: [10, 0, 0, 2].into(),
        cost: 0,
    }
}

fn encoded(tag: usize, delay: i32, wait: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if tag > 0 {
        properties::push(&mut out, properties::TAGS, TAGS[tag]);
    }
    if delay > 0 {
        properties::push(&mut out, properties::DELAY, &delay.to_string());
    }
    properties::push(&mut out, properties::WAIT, if wait { "true" } else { "false" });
    out
}

fn send(opaque: i32, step: &Step) -> Request {
    let text = |bytes| String::from_utf8(bytes).expect("only text was put in");
    let header = |topic: usize, queue_id, properties| Send {
        producer_group: "p".into(),
        topic: TOPICS[topic].into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 2,
        queue_id,
        properties: text(properties).into(),
        ..Send::default()
    };
    match step {
        Step::Send { topic, queue, tag, delay, wait, padding } => Request::Send {
            header: header(*topic, *queue, encoded(*tag, *delay, *wait)),
            body: format!("{opaque}{}", ".".repeat(*padding)).into(),
        },
        Step::Batch { topic, queue, tags } => {
            let mut body = Vec::new();
            for (i, tag) in tags.iter().enumerate() {
                let (text, properties) = (format!("{opaque}-{i}"), encoded(*tag, 0, true));
                let inner =
                    batch::Inner { flag: 0, body: text.as_bytes(), properties: &properties };
                batch::push(&mut body, &inner);
            }
            let header = Send { batch: true, ..header(*topic, *queue, Vec::new()) };
            Request::Send { header, body: body.into() }
        }
        Step::Retry { group, times, times_max, delay } => Request::Send {
            header: Send {
                reconsume_times: *times,
                max_reconsume_times: *times_max,
                ..header(PLAIN + group, 0, encoded(0, *delay, true))
            },
            body: Bytes::from(opaque.to_string()),
        },
        _ => unreachable!("the caller has looked"),
    }
}

fn pull_header(pull: &Pull, model: &Model) -> pull::Pull {
    let topic = TOPICS[pull.topic];
    let from = if pull.from_end { model.visible(topic, pull.queue) } else { 0 };
    let (flag, subscription, sub_version) = match &pull.filter {
        Filter::Tags(tags) => {
            let tags: Vec<&str> = tags.iter().map(|tag| TAGS[*tag]).collect();
            (sys_flag::SUBSCRIPTION, Some(tags.join(" || ").into()), 0)
        }
        Filter::Subscribed(version) => (0, None, *version),
    };
    let commit = if pull.commit.is_some() { sys_flag::COMMIT } else { 0 };
    let suspend = if pull.wait_ms.is_some() { sys_flag::SUSPEND } else { 0 };
    pull::Pull {
        consumer_group: GROUPS[pull.group].into(),
        topic: topic.into(),
        queue_id: pull.queue,
        queue_offset: from + pull.offset,
        max_msg_nums: pull.wanted,
        sys_flag: flag | commit | suspend,
        commit_offset: pull.commit.unwrap_or(0),
        suspend_timeout_millis: pull.wait_ms.unwrap_or(0),
        subscription,
        sub_version,
        expression_type: None,
    }
}

fn heartbeat(client: usize, group: usize, topics: &[(usize, usize)], version: i64) -> Heartbeat {
    let subscription = |(topic, tag): &(usize, usize)| SubscriptionData {
        topic: TOPICS[*topic].to_owned(),
        sub_string: if *tag == 0 { "*" } else { TAGS[*tag] }.to_owned(),
        sub_version: version,
        expression_type: "TAG".to_owned(),
        ..SubscriptionData::default()
    };
    Heartbeat {
        client_id: CLIENTS[client].to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: GROUPS[group].to_owned(),
            consume_type: "CONSUME_PASSIVELY".to_owned(),
            message_model: "CLUSTERING".to_owned(),
            consume_from_where: "CONSUME_FROM_FIRST_OFFSET".to_owned(),
            subscription_data_set: topics.iter().map(subscription).collect(),
        }],
        ..Heartbeat::default()
    }
}

fn lock_batch(client: usize, group: usize, queues: &[i32]) -> LockBatch {
    let queue = |queue_id: &i32| MessageQueue {
        broker_name: "broker-a".to_owned(),
        queue_id: *queue_id,
        topic: TOPICS[0].to_owned(),
    };
    LockBatch {
        consumer_group: Some(GROUPS[group].to_owned()),
        client_id: Some(CLIENTS[client].to_owned()),
        only_this_broker: false,
        mq_set: queues.iter().map(queue).collect(),
    }
}

fn answer(reply: &Reply) -> Answer {
    let body = reply.body.slices().concat();
    match &reply.fields {
        ReplyFields::Sent(sent) => {
            assert_eq!(reply.code, 0);
            Answer::Sent { queue: sent.queue_id, offset: sent.queue_offset }
        }
        ReplyFields::Offset(found) => {
            assert_eq!(reply.code, 0);
            Answer::Offset(found.offset)
        }
        ReplyFields::Pulled(pulled) => {
            let messages: Vec<Seen> = walk(&body).map(|record| seen(&record)).collect();
            let bytes: usize = walk(&body).map(|record| record.bytes.len()).sum();
            assert_eq!(bytes, body.len());
            Answer::Pulled {
                code: reply.code,
                next: pulled.next_begin_offset,
                min: pulled.min_offset,
                max: pulled.max_offset,
                messages,
            }
        }
        _ if body.is_empty() => Answer::Code(reply.code),
        _ => Answer::Body(serde_json::from_slice(&body).expect("it is JSON")),
    }
}

fn seen(record: &View<'_>) -> Seen {
    assert!(record.body_is_sound());
    Seen {
        offset: record.queue_offset,
        body: String::from_utf8(record.body.to_vec()).expect("only text was sent"),
        tag: properties::get(record.properties, properties::TAGS).unwrap_or("").to_owned(),
        times: record.reconsume_times,
        stored: record.store_timestamp,
    }
}
