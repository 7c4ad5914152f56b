//! Topics: made, changed, deleted, listed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use kerolox_protocol::names::is_system_topic;
use kerolox_protocol::remoting::admin::{CreateTopic, TopicConfig, TopicQuestion, perm};
use kerolox_protocol::remoting::codes::{names, request, response};
use kerolox_protocol::remoting::registration::{DeleteTopicInNames, KvKey, KvValue};
use kerolox_protocol::remoting::route;
use serde_json::{Value, json};

use super::Run;
use crate::admin::{Admin, Asked, Broker, Target, addresses, holders, on_each, refused_with};
use crate::bodies::{Groups, TopicStats, sorted};
use crate::format::{check_attributes, time_ms, topic_text};
use crate::out::{Cell, Column, Out};
use crate::queues::QUEUES_MAX;

/// The KV namespace of ordered topics.
const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Makes a topic on one broker, or changes it.
async fn put_topic(
    admin: &Admin,
    broker: &Broker,
    topic: &TopicConfig,
    attributes: &str,
) -> Result<()> {
    let header = CreateTopic {
        topic: topic.topic_name.as_str().into(),
        default_topic: Some("TBW102".into()),
        read_queue_nums: topic.read_queue_nums,
        write_queue_nums: topic.write_queue_nums,
        perm: topic.perm,
        topic_filter_type: Some(topic.topic_filter_type.as_str().into()),
        topic_sys_flag: topic.topic_sys_flag,
        order: topic.order,
        attributes: Some(attributes.into()),
    };
    admin.ask(&broker.address, request::UPDATE_AND_CREATE_TOPIC, &header).await.map(drop)
}

/// Only what a topic may allow.
fn check_perm(bits: i32) -> Result<()> {
    ensure!(
        (0..=7).contains(&bits),
        "perm {bits} is not one of 0 to 7, the sums of 4 (read), 2 (write) and 1 (others inherit it)"
    );
    Ok(())
}

/// Options of `updateTopic`.
#[derive(Debug, clap::Args)]
pub struct UpdateTopic {
    #[command(flatten)]
    target: Target,
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'r', long = "readQueueNums", value_name = "N", default_value_t = 8)]
    read: i32,
    #[arg(short = 'w', long = "writeQueueNums", value_name = "N", default_value_t = 8)]
    write: i32,
    /// 2: write, 4: read, 6: both
    #[arg(short = 'p', long = "perm", default_value_t = perm::READ | perm::WRITE)]
    perm: i32,
    /// Messages of a key go to one queue; notes the order configuration, too
    #[arg(short = 'o', long = "order", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
    #[arg(short = 'u', long = "unit", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    unit: bool,
    #[arg(short = 's', long = "hasUnitSub", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    has_unit_sub: bool,
    /// +key=value,-key
    #[arg(short = 'a', long = "attributes", allow_hyphen_values = true)]
    attributes: Option<String>,
}

impl Run for UpdateTopic {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        check_perm(self.perm)?;
        let attributes = self.attributes.unwrap_or_default();
        check_attributes(&attributes).map_err(anyhow::Error::msg)?;
        let topic = TopicConfig {
            topic_name: self.topic.trim().to_owned(),
            read_queue_nums: self.read,
            write_queue_nums: self.write,
            perm: self.perm,
            order: self.order,
            topic_sys_flag: i32::from(self.unit) + 2 * i32::from(self.has_unit_sub),
            attributes: attributes
                .split(',')
                .filter(|item| !item.is_empty())
                .map(|item| item.split_once('=').unwrap_or((item, "")))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ..TopicConfig::default()
        };
        let brokers = admin.target(&self.target).await?;
        let mut done = Vec::new();
        let mut result = on_each(&brokers, async |broker| {
            put_topic(admin, broker, &topic, &attributes).await?;
            out.line(format!("create topic to {} success.", broker.address));
            done.push(broker.clone());
            Ok(())
        })
        .await;
        if self.order && !done.is_empty() {
            // The queues of a broker that failed stay in the configuration.
            let all_of_cluster = self.target.cluster.is_some() && result.is_ok();
            let noted = note_order(admin, &done, &topic, all_of_cluster).await.map(|conf| {
                let whose = if all_of_cluster { "cluster" } else { "broker" };
                out.line(format!("set {whose} orderConf. isOrder=true, orderConf=[{conf}]"));
            });
            result = result.and(noted);
        }
        if !done.is_empty() {
            out.line(topic_text(&topic));
        }
        out.value(json!({"topic": topic, "brokers": addresses(&done)}));
        result
    }
}

/// Notes how many queues an ordered topic has on these brokers. Those of other brokers stay unless
/// `all_of_cluster`.
async fn note_order(
    admin: &Admin,
    brokers: &[Broker],
    topic: &TopicConfig,
    all_of_cluster: bool,
) -> Result<String> {
    let mut parts = BTreeMap::new();
    if !all_of_cluster {
        let known = get_kv(admin, &topic.topic_name).await?.unwrap_or_default();
        for part in known.split(';').filter_map(|part| part.split_once(':')) {
            parts.insert(part.0.to_owned(), part.1.to_owned());
        }
    }
    let registered = admin.replicas(None).await?;
    for broker in brokers {
        let known = registered.iter().find(|known| known.address == broker.address);
        let known = known.with_context(|| {
            format!("{} is not registered, so its name is not known", broker.address)
        })?;
        parts.insert(known.name.clone(), topic.write_queue_nums.to_string());
    }
    let parts: Vec<_> = parts.iter().map(|(name, queues)| format!("{name}:{queues}")).collect();
    let conf = parts.join(";");
    put_kv(admin, &topic.topic_name, &conf).await.1?;
    Ok(conf)
}

async fn get_kv(admin: &Admin, topic: &str) -> Result<Option<String>> {
    let key = KvKey { namespace: ORDER_TOPIC_CONFIG.into(), key: topic.into(), value: None };
    match admin.ask_names(names::GET_KV_CONFIG, &key).await {
        Ok(reply) => Ok(reply.header::<KvValue>()?.value.map(|value| value.to_string())),
        Err(error) if refused_with(&error) == Some(response::QUERY_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name servers that noted it.
async fn put_kv(admin: &Admin, topic: &str, conf: &str) -> (Vec<String>, Result<()>) {
    let key =
        KvKey { namespace: ORDER_TOPIC_CONFIG.into(), key: topic.into(), value: Some(conf.into()) };
    admin.tell_all_names(names::PUT_KV_CONFIG, &key, Bytes::new()).await
}

async fn delete_kv(admin: &Admin, topic: &str) -> (Vec<String>, Result<()>) {
    let key = KvKey { namespace: ORDER_TOPIC_CONFIG.into(), key: topic.into(), value: None };
    admin.tell_all_names(names::DELETE_KV_CONFIG, &key, Bytes::new()).await
}

/// Options of `updateTopicList`.
#[derive(Debug, clap::Args)]
pub struct UpdateTopicList {
    #[command(flatten)]
    target: Target,
    /// A JSON list of topic settings
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: std::path::PathBuf,
}

/// Reads a JSON list of settings from a file. A key that the settings do not have is refused: brokers pass it
/// over, and it was meant to do something.
pub(super) fn read_list(path: &std::path::Path, known: &[&str]) -> Result<Vec<Value>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    // Some editors write a mark of the byte order first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let list: Vec<Value> = serde_json::from_str(text)
        .with_context(|| format!("{shown} is no JSON list of settings"))?;
    ensure!(!list.is_empty(), "{shown} holds an empty list: there is nothing to do");
    for key in list.iter().filter_map(Value::as_object).flat_map(|fields| fields.keys()) {
        ensure!(
            known.contains(&key.as_str()),
            "{shown}: {key:?} is no setting; these are: {}",
            known.join(", ")
        );
    }
    Ok(list)
}

/// What there is to set of a topic.
const TOPIC_KEYS: [&str; 8] = [
    "topicName",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "topicFilterType",
    "topicSysFlag",
    "order",
    "attributes",
];

impl Run for UpdateTopicList {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let list = read_list(&self.file, &TOPIC_KEYS)?;
        for topic in &list {
            let read = serde_json::from_value::<TopicConfig>(topic.clone());
            let read = read.with_context(|| format!("{topic} is no topic's settings"))?;
            ensure!(!read.topic_name.is_empty(), "{topic} has no topicName");
            check_perm(read.perm)?;
        }
        let body = serde_json::to_vec(&json!({ "topicConfigList": list }))?;
        let brokers = admin.target(&self.target).await?;
        let code = request::UPDATE_AND_CREATE_TOPIC_LIST;
        on_each(&brokers, async |broker| {
            admin.tell(&broker.address, code, &(), body.clone().into()).await?;
            let address = &broker.address;
            out.say(
                format!("submit batch of topic config to {address} success, please check the result later."),
                json!({"broker": address, "topics": list.len()}),
            );
            Ok(())
        })
        .await
    }
}

/// Options of `deleteTopic`.
#[derive(Debug, clap::Args)]
pub struct DeleteTopic {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: String,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Run for DeleteTopic {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (topic, cluster) = (self.topic.trim(), self.cluster.trim());
        let masters = admin.masters(cluster).await?;
        if self.dry_run {
            return would_delete(admin, &masters, topic, out).await;
        }
        let (done, mut result) = delete_on(admin, &masters, topic).await;
        let text = format!("delete topic [{topic}] from cluster [{cluster}] success.");
        out.done(&text, &done, &result);
        // While a broker has the topic, name servers must know of it: it is to be deleted there, too.
        let mut told = Vec::new();
        if result.is_ok() {
            (told, result) = delete_in_names(admin, cluster, topic).await;
            let text = format!("delete topic [{topic}] from NameServer success.");
            out.done(&text, &told, &result);
        }
        out.value(
            json!({"topic": topic, "cluster": cluster, "brokers": done, "nameServers": told}),
        );
        result
    }
}

/// Deletes a topic on brokers, also on those that have none: the ones that did it.
pub(super) async fn delete_on(
    admin: &Admin,
    brokers: &[Broker],
    topic: &str,
) -> (Vec<String>, Result<()>) {
    let question = TopicQuestion { topic: topic.into() };
    let mut done = Vec::new();
    let result = on_each(brokers, async |broker| {
        let code = request::DELETE_TOPIC_IN_BROKER;
        admin.ask(&broker.address, code, &question).await?;
        done.push(broker.address.clone());
        Ok(())
    })
    .await;
    (done, result)
}

/// Deletes a topic of one cluster from the name servers: those that did it.
pub(super) async fn delete_in_names(
    admin: &Admin,
    cluster: &str,
    topic: &str,
) -> (Vec<String>, Result<()>) {
    let header = DeleteTopicInNames { topic: topic.into(), cluster_name: Some(cluster.into()) };
    admin.tell_all_names(names::DELETE_TOPIC_IN_NAMESRV, &header, Bytes::new()).await
}

/// How many queues and messages a broker holds of a topic.
pub(super) async fn held(admin: &Admin, broker: &Broker, topic: &str) -> Result<(usize, i64)> {
    let question = TopicQuestion { topic: topic.into() };
    let reply = admin.ask(&broker.address, request::GET_TOPIC_STATS_INFO, &question).await;
    let stats: TopicStats = match reply {
        Ok(reply) => reply.json()?,
        Err(e) if refused_with(&e) == Some(response::TOPIC_NOT_EXIST) => TopicStats::default(),
        Err(e) => return Err(e),
    };
    let queues = stats.offset_table.values();
    let messages = queues.map(|queue| queue.max_offset.saturating_sub(queue.min_offset));
    Ok((stats.offset_table.len(), messages.fold(0, i64::saturating_add)))
}

/// Topics that a broker has for itself: 305 and those that every broker refuses to delete.
async fn is_own(admin: &Admin, address: &str, topic: &str) -> Result<bool> {
    let reply = admin.ask(address, request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, &()).await?;
    let own = reply.json::<route::TopicList>()?.topic_list;
    Ok(is_system_topic(topic) || own.iter().any(|name| name == topic))
}

/// How many messages a deletion would take from each broker.
async fn would_delete(admin: &Admin, masters: &[Broker], topic: &str, out: &mut Out) -> Result<()> {
    ensure!(!topic.is_empty(), "-t is empty; give the topic to delete");
    on_each(masters, async |broker| {
        let address = &broker.address;
        ensure!(
            !is_own(admin, address, topic).await?,
            "{address} would refuse to delete topic [{topic}]: it is one of the system's own"
        );
        let (queues, messages) = held(admin, broker, topic).await?;
        out.say(
            match queues {
                0 => format!("there is no topic [{topic}] on {address}: nothing to delete"),
                _ => format!("would delete topic [{topic}] on {address}: {messages} messages in {queues} queues"),
            },
            json!({"dryRun": true, "topic": topic, "broker": address, "queues": queues, "messages": messages}),
        );
        Ok(())
    })
    .await
}

/// Options of `updateTopicPerm`.
#[derive(Debug, clap::Args)]
pub struct UpdateTopicPerm {
    #[command(flatten)]
    target: Target,
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// 2: write, 4: read, 6: both
    #[arg(short = 'p', long = "perm")]
    perm: i32,
}

impl Run for UpdateTopicPerm {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        check_perm(self.perm)?;
        let (topic, perm) = (self.topic.trim(), self.perm);
        let brokers = admin.target(&self.target).await?;
        on_each(&brokers, async |broker| {
            let address = &broker.address;
            // What else there is to the topic stays as it is on this broker.
            let question = TopicQuestion { topic: topic.into() };
            let reply = admin.ask(address, request::GET_TOPIC_CONFIG, &question).await?;
            let mut config: TopicConfig = reply.json()?;
            let old = std::mem::replace(&mut config.perm, perm);
            if old == perm {
                out.line("new perm equals to the old one!");
            } else {
                put_topic(admin, broker, &config, "").await?;
                out.line(format!("update topic perm from {old} to {perm} in {address} success."));
            }
            if self.target.broker.is_some() && old != perm {
                out.line(format!("{}.", topic_text(&config)));
            }
            out.value(json!({"topic": topic, "broker": address, "old": old, "new": perm}));
            Ok(())
        })
        .await
    }
}

/// Options of `topicRoute`.
#[derive(Debug, clap::Args)]
pub struct TopicRoute {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// As a table
    #[arg(short = 'l', long = "list")]
    list: bool,
}

const ROUTE: [Column; 6] = [
    Column::left("#ClusterName", "cluster", 45).gap(1),
    Column::left("#BrokerName", "brokerName", 32).gap(1),
    Column::left("#BrokerAddrs", "brokerAddrs", 50).gap(1),
    Column::left("#ReadQueue", "readQueueNums", 10).gap(1),
    Column::left("#WriteQueue", "writeQueueNums", 11).gap(1),
    Column::left("#Perm", "perm", 5),
];

impl Run for TopicRoute {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut route = admin.route(self.topic.trim()).await?;
        route.queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        route.broker_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        if !self.list {
            out.line(pretty(&serde_json::to_value(&route)?, 0));
            out.value(&route);
            return Ok(());
        }
        let rows: Vec<Vec<Cell>> = route.queue_datas.iter().map(|q| row_of(&route, q)).collect();
        out.table(&ROUTE, &rows);
        let sum = |of: fn(&route::QueueData) -> i32| -> i64 {
            route.queue_datas.iter().map(|queues| i64::from(of(queues))).sum()
        };
        let total = [
            "Total:".into(),
            rows.len().into(),
            "".into(),
            sum(|q| q.read_queue_nums).into(),
            sum(|q| q.write_queue_nums).into(),
            "".into(),
        ];
        if !out.is_json() {
            out.line("-".repeat(158));
            out.row(&ROUTE, &total);
        }
        Ok(())
    }
}

fn row_of(route: &route::TopicRoute, queues: &route::QueueData) -> Vec<Cell> {
    let data = route.broker_datas.iter().find(|data| data.broker_name == queues.broker_name);
    let addresses = data.map(|data| &data.broker_addrs);
    let shown: Vec<_> =
        addresses.into_iter().flatten().map(|(id, address)| format!("{id}={address}")).collect();
    vec![
        data.map_or("", |data| &data.cluster).into(),
        queues.broker_name.as_str().into(),
        Cell::shown(json!(addresses), format!("{{{}}}", shown.join(", "))),
        queues.read_queue_nums.into(),
        queues.write_queue_nums.into(),
        queues.perm.into(),
    ]
}

/// JSON as fastjson2 prints it: a tab a level, no blank behind a colon, number keys bare.
pub(super) fn pretty(value: &Value, level: usize) -> String {
    let (open, close) = ("\t".repeat(level + 1), "\t".repeat(level));
    match value {
        Value::Array(items) if !items.is_empty() => {
            let items: Vec<_> =
                items.iter().map(|item| format!("{open}{}", pretty(item, level + 1))).collect();
            format!("[\n{}\n{close}]", items.join(",\n"))
        }
        Value::Object(fields) if !fields.is_empty() => {
            let key = |key: &str| match key.parse::<i64>() {
                Ok(_) => key.to_owned(),
                Err(_) => Value::from(key).to_string(),
            };
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{open}{}:{}", key(name), pretty(value, level + 1)))
                .collect();
            format!("{{\n{}\n{close}}}", fields.join(",\n"))
        }
        other => other.to_string(),
    }
}

/// Options of `topicStatus`.
#[derive(Debug, clap::Args)]
pub struct TopicStatus {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Ask the brokers of this cluster
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
}

const STATUS: [Column; 5] = [
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4),
    Column::left("#Min Offset", "minOffset", 20),
    Column::left("#Max Offset", "maxOffset", 20).gap(4),
    Column::left("#Last Updated", "lastUpdated", 23),
];

/// 202 of every broker that holds a topic, as one.
pub(super) async fn topic_stats(
    admin: &Admin,
    brokers: &[Broker],
    topic: &str,
    asked: &mut Asked,
) -> TopicStats {
    let question = TopicQuestion { topic: topic.into() };
    let mut all = TopicStats::default();
    let ask = async |broker: &Broker| {
        let reply = admin.ask(&broker.address, request::GET_TOPIC_STATS_INFO, &question).await?;
        let stats: TopicStats = reply.json()?;
        all.offset_table.extend(stats.offset_table);
        all.topic_put_tps += stats.topic_put_tps;
        Ok(())
    };
    asked.each(brokers, ask).await;
    all
}

impl Run for TopicStatus {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let topic = self.topic.trim();
        let brokers = match &self.cluster {
            Some(cluster) => admin.masters(cluster.trim()).await?,
            None => admin.holders(topic).await?,
        };
        let mut asked = Asked::default();
        let stats = topic_stats(admin, &brokers, topic, &mut asked).await;
        let mut rows = Vec::new();
        for (queue, offsets) in sorted(stats.offset_table)? {
            let last = offsets.last_update_timestamp;
            let shown = if last > 0 { time_ms(last) } else { String::new() };
            rows.push(vec![
                Cell::cut(&queue.broker_name, 32),
                queue.queue_id.into(),
                offsets.min_offset.into(),
                offsets.max_offset.into(),
                Cell::shown(last, shown),
            ]);
        }
        if rows.is_empty() {
            asked.result()?;
            bail!("Not found the topic stats info: {topic} has no queues");
        }
        if out.is_json() {
            out.value(json!({
                "queues": crate::out::list(&STATUS, &rows),
                "putTps": stats.topic_put_tps,
            }));
            return asked.result();
        }
        out.table(&STATUS, &rows);
        out.line("");
        out.line(format!("Topic Put TPS: {:?}", stats.topic_put_tps));
        asked.result()
    }
}

/// Options of `topicList`.
#[derive(Debug, clap::Args)]
pub struct TopicList {
    /// With the cluster and the groups of each
    #[arg(short = 'c', long = "clusterModel")]
    cluster_model: bool,
}

const TOPICS: [Column; 3] = [
    Column::left("#Cluster Name", "cluster", 20),
    Column::left("#Topic", "topic", 64),
    Column::left("#Consumer Group", "group", 64),
];

/// 206: every topic, sorted.
pub(super) async fn all_topics(admin: &Admin) -> Result<Vec<String>> {
    let reply = admin.ask_names(names::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &()).await?;
    let mut topics = reply.json::<route::TopicList>()?.topic_list;
    topics.sort();
    Ok(topics)
}

/// 300: the groups of a topic on every broker that holds it.
pub(crate) async fn groups_of(
    admin: &Admin,
    brokers: &[Broker],
    topic: &str,
    asked: &mut Asked,
) -> BTreeSet<String> {
    let question = TopicQuestion { topic: topic.into() };
    let mut groups = BTreeSet::new();
    let ask = async |broker: &Broker| {
        let code = request::QUERY_TOPIC_CONSUME_BY_WHO;
        let reply = admin.ask(&broker.address, code, &question).await?;
        groups.extend(reply.json::<Groups>()?.group_list);
        Ok(())
    };
    asked.each(brokers, ask).await;
    groups
}

/// Topics that clients do not know of.
pub(super) fn is_derived(topic: &str) -> bool {
    topic.starts_with("%RETRY%") || topic.starts_with("%DLQ%")
}

/// A topic with each of its groups. No row if no broker says which: an empty one would say that there is none.
async fn rows_with_groups(
    admin: &Admin,
    topic: &str,
    route: &route::TopicRoute,
    asked: &mut Asked,
) -> Vec<Vec<Cell>> {
    let brokers = holders(route);
    let groups = groups_of(admin, &brokers, topic, asked).await;
    let cluster = route.broker_datas.first().map_or("", |data| &data.cluster);
    let row =
        |group: &str| vec![Cell::cut(cluster, 20), Cell::cut(topic, 64), Cell::cut(group, 64)];
    match groups.is_empty() {
        true if asked.answering(&brokers) == 0 => Vec::new(),
        true => vec![row("")],
        false => groups.iter().map(|group| row(group)).collect(),
    }
}

impl Run for TopicList {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let topics = all_topics(admin).await?;
        if !self.cluster_model {
            topics.iter().for_each(|topic| out.line(topic));
            out.value(&topics);
            return Ok(());
        }
        let (mut rows, mut asked) = (Vec::new(), Asked::default());
        for topic in topics.iter().filter(|topic| !is_derived(topic)) {
            match admin.find_route(topic).await {
                Ok(Some(route)) => {
                    rows.extend(rows_with_groups(admin, topic, &route, &mut asked).await);
                }
                // It was deleted since it was listed.
                Ok(None) => {}
                Err(error) => {
                    asked.unrouted(&error);
                    break;
                }
            }
        }
        out.table(&TOPICS, &rows);
        asked.result()
    }
}

/// Options of `topicClusterList`.
#[derive(Debug, clap::Args)]
pub struct TopicClusterList {
    #[arg(short = 't', long = "topic")]
    topic: String,
}

impl Run for TopicClusterList {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let route = admin.route(self.topic.trim()).await?;
        let clusters: BTreeSet<&String> =
            route.broker_datas.iter().map(|data| &data.cluster).collect();
        clusters.iter().for_each(|cluster| out.line(cluster));
        out.value(&clusters);
        Ok(())
    }
}

/// What to do with an order configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Method {
    Get,
    Put,
    Delete,
}

/// Options of `updateOrderConf`.
#[derive(Debug, clap::Args)]
pub struct UpdateOrderConf {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'm', long = "method")]
    method: Method,
    /// BROKER:QUEUES;BROKER:QUEUES
    #[arg(short = 'v', long = "orderConf", required_if_eq("method", "put"))]
    conf: Option<String>,
}

impl Run for UpdateOrderConf {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let topic = self.topic.trim();
        let (mut told, mut result) = (Vec::new(), Ok(()));
        let conf = match (self.method, self.conf.as_deref().map(str::trim)) {
            (Method::Get, _) => {
                let Some(conf) = get_kv(admin, topic).await? else {
                    bail!(
                        "no order configuration of topic {topic} is noted (namespace {ORDER_TOPIC_CONFIG})"
                    )
                };
                out.line(format!("get orderConf success. topic=[{topic}], orderConf=[{conf}] "));
                Some(conf)
            }
            (Method::Put, Some(conf)) => {
                let is_right = |part: &str| {
                    part.split_once(':')
                        .is_some_and(|(name, n)| !name.is_empty() && n.parse::<u32>().is_ok())
                };
                ensure!(
                    conf.split(';').all(is_right),
                    "-v {conf}: BROKER:QUEUES;BROKER:QUEUES was expected"
                );
                (told, result) = put_kv(admin, topic, conf).await;
                let text = format!("update orderConf success. topic=[{topic}], orderConf=[{conf}]");
                out.done(&text, &told, &result);
                Some(conf.to_owned())
            }
            (Method::Put, None) => bail!("please set orderConf with option -v."),
            (Method::Delete, _) => {
                (told, result) = delete_kv(admin, topic).await;
                let text = format!("delete orderConf success. topic=[{topic}]");
                out.done(&text, &told, &result);
                None
            }
        };
        let mut value = json!({"topic": topic, "orderConf": conf});
        if self.method != Method::Get {
            value["nameServers"] = told.into();
        }
        out.value(value);
        result
    }
}

/// Options of `allocateMQ`.
#[derive(Debug, clap::Args)]
pub struct AllocateMQ {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Addresses (or names) of consumers, with commas between
    #[arg(short = 'i', long = "ipList", value_delimiter = ',', required = true)]
    consumers: Vec<String>,
}

impl Run for AllocateMQ {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let topic = self.topic.trim();
        let mut route = admin.route(topic).await?;
        route.queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        let readable = route.queue_datas.iter().filter(|queues| queues.perm & perm::READ != 0);
        let queues: Vec<_> = readable
            .flat_map(|q| {
                (0..q.read_queue_nums.min(QUEUES_MAX))
                    .map(|id| json!({"brokerName": q.broker_name, "queueId": id, "topic": topic}))
            })
            .collect();
        ensure!(!queues.is_empty(), "{topic} has no queue that can be read");
        let different: BTreeSet<&str> = self.consumers.iter().map(|name| name.trim()).collect();
        ensure!(different.len() == self.consumers.len(), "-i names a consumer twice");
        let (n, m) = (queues.len(), self.consumers.len());
        let mut result = serde_json::Map::new();
        for (i, consumer) in self.consumers.iter().enumerate() {
            // As clients share them by default: each gets as many, the first ones one more.
            let (each, more) = (n / m, n % m);
            let begin = i * each + i.min(more);
            let end = begin + each + usize::from(i < more);
            result.insert(consumer.trim().to_owned(), json!(queues[begin..end]));
        }
        let result = json!({ "result": result });
        out.line(&result);
        out.value(&result);
        Ok(())
    }
}
