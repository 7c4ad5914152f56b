//! What the broker counts, as Prometheus reads it, under RocketMQ's own names.
//!
//! In: the state machines, a few topics or groups at a time, so that a scrape never holds up a
//! turn. Out: text for `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kerolox_engine::Engine;
use kerolox_engine::topics::TopicId;
use kerolox_log::index::queue::{Entry, Look};
use kerolox_log::retention::Reason;
use kerolox_protocol::names::{RETRY_PREFIX, is_system_group, is_system_topic, retry_topic};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::core::Shared;
use crate::limits::{METRICS_LAGS_MAX, METRICS_LOOKUPS_MAX, METRICS_TOPICS_MAX};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge>;
type Counters = Family<Labels, Counter>;

/// Topics that are looked at between two turns.
const TOPICS_AT_ONCE: usize = 128;

/// One scrape.
pub fn scrape(shared: &Shared) -> String {
    let mut scrape = Scrape::default();
    let topics = scrape.topics(shared);
    let lags = scrape.groups(shared);
    scrape.name_servers(shared);
    let left_out = scrape.gauges("kerolox_metrics_left_out", "What is too much for one answer");
    for (what, count) in [("topics", topics), ("lags", lags)] {
        left_out.get_or_create(&scrape.labels(&[("what", what)])).set(count as i64);
    }
    scrape.broker(shared);
    scrape.text()
}

#[derive(Default)]
struct Scrape {
    registry: Registry,
    base: Labels,
}

impl Scrape {
    fn gauges(&mut self, name: &str, help: &str) -> Gauges {
        let family = Gauges::default();
        self.registry.register(name, help, family.clone());
        family
    }

    fn counters(&mut self, name: &str, help: &str) -> Counters {
        let family = Counters::default();
        self.registry.register(name, help, family.clone());
        family
    }

    fn labels(&self, more: &[(&'static str, &str)]) -> Labels {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        self.base.iter().cloned().chain(more).collect()
    }

    /// Returns of how many it does not tell.
    fn topics(&mut self, shared: &Shared) -> usize {
        self.base = shared.with_core(|core, _| {
            let config = &core.engine.config;
            vec![
                ("node_type", "broker".to_owned()),
                ("cluster", config.cluster.to_string()),
                ("node_id", config.broker_name.to_string()),
            ]
        });
        let messages_in = self.counters("rocketmq_messages_in", "Messages stored");
        let bytes_in = self.counters("rocketmq_throughput_in", "Bytes of messages stored");
        let messages_out = self.counters("rocketmq_messages_out", "Messages delivered");
        let bytes_out = self.counters("rocketmq_throughput_out", "Bytes of messages delivered");
        let early = self.counters(
            "kerolox_deleted_early_messages",
            "Messages that retention deleted before fileReservedTime",
        );
        let (mut told, mut left_out) = (0, 0);
        let mut next = Some(TopicId::default());
        while let Some(from) = next {
            let rows = shared.with_core(|core, _| {
                let topics = core.engine.state.topics.iter_from(from).take(TOPICS_AT_ONCE);
                topics.map(|(id, t)| (id, t.name().to_owned(), t.counters)).collect::<Vec<_>>()
            });
            next = rows.last().map(|(id, _, _)| id.next());
            for (_, topic, counted) in &rows {
                let is_used = counted.messages_in > 0 || counted.messages_out > 0;
                if !is_used && counted.messages_deleted_early == 0 {
                    continue;
                }
                if told >= METRICS_TOPICS_MAX {
                    left_out += 1;
                    continue;
                }
                told += 1;
                let system = if is_system_topic(topic) { "true" } else { "false" };
                let labels = self.labels(&[("topic", topic), ("is_system", system)]);
                if counted.messages_deleted_early > 0 {
                    early.get_or_create(&labels).inc_by(counted.messages_deleted_early);
                }
                if !is_used {
                    continue;
                }
                messages_in.get_or_create(&labels).inc_by(counted.messages_in);
                bytes_in.get_or_create(&labels).inc_by(counted.bytes_in);
                messages_out.get_or_create(&labels).inc_by(counted.messages_out);
                bytes_out.get_or_create(&labels).inc_by(counted.bytes_out);
            }
        }
        left_out
    }

    /// Name servers of other processes.
    fn name_servers(&mut self, shared: &Shared) {
        let registered = self.gauges(
            "kerolox_name_server_registered",
            "Whether a name server of another process knows of this broker",
        );
        for (address, is_registered) in &*shared.registered.lock() {
            let labels = self.labels(&[("address", address)]);
            registered.get_or_create(&labels).set(i64::from(*is_registered));
        }
    }

    /// Returns of how many lags it does not tell.
    fn groups(&mut self, shared: &Shared) -> usize {
        let lag = self.gauges("rocketmq_consumer_lag_messages", "Messages not consumed yet");
        let latency = self.gauges("rocketmq_consumer_lag_latency", "Age of the oldest one, in ms");
        let by_queue = self
            .gauges("kerolox_consumer_lag_queue_messages", "Messages not consumed yet, by queue");
        let consumers = self.gauges("rocketmq_consumer_connections", "Connected consumers");
        let groups = shared.with_core(|core, _| core.engine.state.groups.view());
        let (mut told, mut left_out, mut lookups) = (0, 0, 0);
        for group in groups.keys() {
            let (mut found, clients, model) = shared.with_core(|core, _| {
                let members = core.engine.members.group(group);
                let model = members.map_or(String::new(), |m| m.message_model.clone());
                let clients = members.map_or(0, |m| m.clients.len());
                (lags_without_offsets(&core.engine, group), clients, model)
            });
            let mut last: Option<Arc<str>> = None;
            loop {
                let (rows, topic) = shared.with_core(|core, _| {
                    let offsets = &core.engine.state.offsets;
                    let topics = offsets.topics_after(group, last.as_deref());
                    let topics: Vec<_> = topics.take(TOPICS_AT_ONCE).cloned().collect();
                    let rows = topics.iter().flat_map(|topic| lags(&core.engine, group, topic));
                    (rows.collect::<Vec<_>>(), topics.last().cloned())
                });
                found.extend(rows);
                if topic.is_none() {
                    break;
                }
                last = topic;
                let room = METRICS_LAGS_MAX.saturating_sub(told);
                left_out += found.len().saturating_sub(room);
                found.truncate(room);
            }
            told += found.len();
            let rows = with_ages(shared, found, &mut lookups);
            let system = if is_system_group(group) { "true" } else { "false" };
            if clients > 0 {
                let labels = self.labels(&[
                    ("consumer_group", group),
                    ("consume_mode", &model),
                    ("is_system", system),
                ]);
                consumers.get_or_create(&labels).set(clients as i64);
            }
            for row in rows {
                let retry = if row.topic.starts_with(RETRY_PREFIX) { "true" } else { "false" };
                let labels = [
                    ("consumer_group", &**group),
                    ("topic", &*row.topic),
                    ("is_retry", retry),
                    ("is_system", system),
                ];
                let all = self.labels(&labels);
                lag.get_or_create(&all).inc_by(row.messages);
                if let Some(age_ms) = row.age_ms {
                    let oldest = latency.get_or_create(&all);
                    if age_ms > oldest.get() {
                        oldest.set(age_ms);
                    }
                }
                let queue = row.queue.to_string();
                let labels = self.labels(&[
                    ("consumer_group", group),
                    ("topic", &row.topic),
                    ("queue_id", &queue),
                ]);
                by_queue.get_or_create(&labels).set(row.messages);
            }
        }
        left_out
    }

    fn broker(&mut self, shared: &Shared) {
        let facts = shared.with_core(|core, _| {
            let engine = &core.engine;
            let producers = engine.members.producer_groups().map(|(_, clients)| clients.len());
            Facts {
                permission: i64::from(engine.config.broker_permission),
                topics: engine.state.topics.count() as i64,
                groups: engine.state.groups.count() as i64,
                producers: producers.sum::<usize>() as i64,
                behind: (engine.log.end().0 - engine.confirmed().0) as i64,
                parked: engine.counters.parked as i64,
                tail: engine.tail.bytes() as i64,
                refused: engine.counters.refused,
                dead_lettered: engine.counters.dead_lettered,
                end: engine.confirmed().0 as i64,
            }
        });
        let mut gauge = |name: &str, help: &str, value: i64| {
            let labels = self.labels(&[]);
            self.gauges(name, help).get_or_create(&labels).set(value);
        };
        gauge("rocketmq_broker_permission", "4 read, 2 write", facts.permission);
        gauge("rocketmq_topic_number", "Topics", facts.topics);
        gauge("rocketmq_consumer_group_number", "Consumer groups", facts.groups);
        gauge("rocketmq_producer_connections", "Connected producers", facts.producers);
        gauge("rocketmq_storage_flush_behind_bytes", "Bytes not confirmed yet", facts.behind);
        gauge("rocketmq_storage_size", "Bytes of the commit log", facts.end - shared.log_first());
        gauge("kerolox_log_end", "Confirmed end of the commit log", facts.end);
        gauge("kerolox_parked_pulls", "Pulls that wait for a message", facts.parked);
        gauge("kerolox_tail_bytes", "Recent rounds in memory", facts.tail);
        let connections = shared.connections.load(Ordering::Relaxed) as i64;
        gauge("kerolox_connections", "Connections", connections);
        let in_flight = shared.in_flight.load(Ordering::Relaxed) as i64;
        gauge("kerolox_in_flight_bytes", "Bytes of unanswered requests", in_flight);
        let counters = &shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counter = |name: &str, help: &str, value: u64| {
            let labels = self.labels(&[]);
            self.counters(name, help).get_or_create(&labels).inc_by(value);
        };
        counter("rocketmq_send_to_dlq_messages", "Messages given up", facts.dead_lettered);
        counter("kerolox_requests", "Requests", read(&counters.requests));
        counter("kerolox_refused", "Refused requests", read(&counters.refused) + facts.refused);
        counter(
            "kerolox_bad_frames",
            "Connections that sent no frames",
            read(&counters.bad_frames),
        );
        counter("kerolox_panics", "Panics in connections", read(&counters.panics));
        counter("kerolox_log_syncs", "Syncs of the log", read(&counters.syncs));
        counter("kerolox_log_rounds", "Rounds of the log", read(&counters.rounds));
        counter("kerolox_log_bytes", "Bytes written to the log", read(&counters.log_bytes));
        counter("kerolox_log_seal_bytes", "Bytes of seals among them", read(&counters.seal_bytes));
        counter(
            "kerolox_damaged_reads",
            "Messages that could not be read",
            read(&counters.damaged_reads),
        );
        for (name, help, by_reason) in [
            ("kerolox_deleted_files", "Log files that retention deleted", &counters.deleted_files),
            ("kerolox_deleted_messages", "Messages in them", &counters.deleted_messages),
        ] {
            let family = self.counters(name, help);
            for (reason, counted) in Reason::ALL.iter().zip(by_reason) {
                let labels = self.labels(&[("reason", reason.label())]);
                family.get_or_create(&labels).inc_by(read(counted));
            }
        }
        let mut counter = |name: &str, help: &str, value: u64| {
            let labels = self.labels(&[]);
            self.counters(name, help).get_or_create(&labels).inc_by(value);
        };
        counter("kerolox_index_reads", "Reads of index blocks", shared.blocks.reads());
        counter(
            "kerolox_index_blocks_mended",
            "Index blocks that were lost or damaged and made again",
            shared.blocks.mended(),
        );
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

struct Facts {
    permission: i64,
    topics: i64,
    groups: i64,
    producers: i64,
    behind: i64,
    parked: i64,
    tail: i64,
    refused: u64,
    dead_lettered: u64,
    end: i64,
}

struct Lag {
    topic: String,
    queue: i32,
    messages: i64,
    /// `None`: too many were asked for.
    age_ms: Option<i64>,
}

/// A queue of a group, and where its oldest message that is not consumed is.
type LagAt = (Lag, i64, Look<Option<Entry>>);

/// Finds out how old those messages are, outside of the engine.
fn with_ages(shared: &Shared, rows: Vec<LagAt>, lookups: &mut usize) -> Vec<Lag> {
    let (now, blocks) = (shared.clock.now_ms(), &shared.blocks);
    let rows = rows.into_iter().map(|(lag, consumed, oldest)| {
        let entry = match oldest {
            Look::Here(entry) => entry,
            Look::Older(_) if *lookups >= METRICS_LOOKUPS_MAX => return lag,
            Look::Older(chain) => {
                *lookups += 1;
                let of = (&*lag.topic, lag.queue);
                blocks.ask(|blocks| blocks.entry(of, chain, consumed)).ok().flatten()
            }
        };
        let age_ms = entry.map_or(0, |entry| (now - entry.store_timestamp).max(0));
        Lag { age_ms: Some(age_ms), ..lag }
    });
    rows.collect()
}

/// Lags in topics that a group subscribes to, and in its retry topic, as far as it has no offsets there.
fn lags_without_offsets(engine: &Engine, group: &str) -> Vec<LagAt> {
    let members = engine.members.group(group);
    let subscribed = members.into_iter().flat_map(|members| members.subscriptions.keys());
    let mut topics: Vec<String> = subscribed.cloned().collect();
    topics.push(retry_topic(group));
    topics.sort();
    topics.dedup();
    topics.retain(|topic| !engine.state.offsets.has(group, topic));
    topics.iter().flat_map(|topic| lags(engine, group, topic)).collect()
}

/// How far a group is behind in each queue of a topic.
fn lags(engine: &Engine, group: &str, topic: &str) -> Vec<LagAt> {
    let Some(known) = engine.state.topics.by_name(topic) else { return Vec::new() };
    let rows = known.used_queues().map(|(queue, state)| {
        let (min, max) = known.range(queue);
        let consumed = engine.state.offsets.get(group, topic, queue).unwrap_or(min).max(min);
        let messages = (max - consumed).max(0);
        let oldest = if messages > 0 { state.index.look(consumed) } else { Look::Here(None) };
        let lag = Lag { topic: topic.to_owned(), queue, messages, age_ms: None };
        (lag, consumed, oldest)
    });
    rows.collect()
}
