//! Consumer groups: made, changed, deleted, and how far they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use kerolox_protocol::names::{check_group, dlq_topic, is_system_group, retry_topic};
use kerolox_protocol::remoting::admin::{DeleteGroup, GroupConfig};
use kerolox_protocol::remoting::codes::{request, version};
use serde_json::{Map, Value, json};

use super::Run;
use super::brokers::{config_of, is_kerolox};
use super::topics::{all_topics, delete_in_names, delete_on, held, read_list};
use crate::admin::{Admin, Asked, Broker, Failed, Target, holders, on_each};
use crate::bodies::{ConsumeStats, queue_of, sorted};
use crate::consumers::{
    Clients, clients, holders_of_group, in_cluster, inflight, lag, named_or_holders, online,
    progress, running, total,
};
use crate::format::{check_attributes, group_fields, group_text, now, time};
use crate::out::{Cell, Column, Out, list};
use crate::running::{Findings, Running, inspect};
use crate::tables;

/// Reads a retry policy: JSON with its type.
fn policy(text: &str) -> Result<Value, String> {
    let policy: Value = serde_json::from_str(text).map_err(|e| format!("this is no JSON: {e}"))?;
    match policy["type"].as_str() {
        Some("EXPONENTIAL" | "CUSTOMIZED") => Ok(policy),
        _ => Err("the type must be EXPONENTIAL or CUSTOMIZED".to_owned()),
    }
}

/// Options of `updateSubGroup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "What is not given stays as it is in a group that exists.")]
pub struct UpdateSubGroup {
    #[command(flatten)]
    target: Target,
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Its clients get messages [of a new group: true]
    #[arg(short = 's', long = "consumeEnable", value_name = "true|false", action = clap::ArgAction::Set)]
    consume: Option<bool>,
    /// New queues are consumed from their begin [of a new group: false]
    #[arg(short = 'm', long = "consumeFromMinEnable", value_name = "true|false", action = clap::ArgAction::Set)]
    from_min: Option<bool>,
    /// Its clients may each get every message [of a new group: false]
    #[arg(short = 'd', long = "consumeBroadcastEnable", value_name = "true|false", action = clap::ArgAction::Set)]
    broadcast: Option<bool>,
    /// Messages of a queue are consumed one after the other [of a new group: false]
    #[arg(short = 'o', long = "consumeMessageOrderly", value_name = "true|false", action = clap::ArgAction::Set)]
    orderly: Option<bool>,
    /// Queues of its retry topic, when that is made [of a new group: 1]
    #[arg(short = 'q', long = "retryQueueNums", value_name = "N")]
    retry_queues: Option<i32>,
    /// How often a message is tried again [of a new group: 16]
    #[arg(short = 'r', long = "retryMaxTimes", value_name = "N", allow_negative_numbers = true)]
    retry_max: Option<i32>,
    /// {"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2}}, or
    /// {"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000,10000]}}
    #[arg(short = 'p', long = "groupRetryPolicy", value_name = "JSON", value_parser = policy)]
    retry_policy: Option<Value>,
    /// Where it consumes [of a new group: 0]
    #[arg(short = 'i', long = "brokerId", value_name = "ID")]
    broker_id: Option<i64>,
    /// Where it goes when it consumes slowly [of a new group: 1]
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", value_name = "ID")]
    when_slow: Option<i64>,
    /// Its clients are told when others come or go [of a new group: true]
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", value_name = "true|false", action = clap::ArgAction::Set)]
    notify: Option<bool>,
    /// +key=value,-key
    #[arg(long = "attributes", allow_hyphen_values = true)]
    attributes: Option<String>,
}

impl UpdateSubGroup {
    /// What is given, as JSON calls it.
    fn given(&self) -> Map<String, Value> {
        let all = [
            ("consumeEnable", json!(self.consume)),
            ("consumeFromMinEnable", json!(self.from_min)),
            ("consumeBroadcastEnable", json!(self.broadcast)),
            ("consumeMessageOrderly", json!(self.orderly)),
            ("retryQueueNums", json!(self.retry_queues)),
            ("retryMaxTimes", json!(self.retry_max)),
            ("groupRetryPolicy", json!(self.retry_policy)),
            ("brokerId", json!(self.broker_id)),
            ("whichBrokerWhenConsumeSlowly", json!(self.when_slow)),
            ("notifyConsumerIdsChangedEnable", json!(self.notify)),
        ];
        let given = all.into_iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// With the signs: brokers change those that they have.
    fn attributes(&self) -> BTreeMap<&str, &str> {
        let items = self.attributes.as_deref().unwrap_or_default().split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty());
        items.map(|item| item.split_once('=').unwrap_or((item, ""))).collect()
    }
}

/// mqadmin's defaults of a new group; not the same as those of a group that a broker makes by itself.
fn new_group(name: &str) -> GroupConfig {
    GroupConfig {
        group_name: name.to_owned(),
        consume_from_min_enable: false,
        consume_broadcast_enable: false,
        ..GroupConfig::default()
    }
}

impl Run for UpdateSubGroup {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let group = self.group.trim();
        check_attributes(self.attributes.as_deref().unwrap_or_default())
            .map_err(anyhow::Error::msg)?;
        let (given, attributes) = (self.given(), json!(self.attributes()));
        let brokers = admin.target(&self.target).await?;
        let (mut done, mut texts) = (Vec::new(), BTreeSet::new());
        let result = on_each(&brokers, async |broker| {
            let address = &broker.address;
            let known = tables::group(admin, address, group).await?;
            let created = known.is_none();
            let mut config = known.map_or_else(|| serde_json::to_value(new_group(group)), Ok)?;
            if let Some(fields) = config.as_object_mut() {
                fields.extend(given.clone());
                fields.insert("attributes".to_owned(), attributes.clone());
            }
            let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
            admin.tell(address, code, &(), serde_json::to_vec(&config)?.into()).await?;
            out.line(format!("create subscription group to {address} success."));
            texts.insert(group_text(&serde_json::from_value(config.clone())?));
            done.push(json!({"broker": address, "created": created, "config": config}));
            Ok(())
        })
        .await;
        texts.iter().for_each(|text| out.line(text));
        out.value(done);
        result
    }
}

/// Options of `updateSubGroupList`.
#[derive(Debug, clap::Args)]
pub struct UpdateSubGroupList {
    #[command(flatten)]
    target: Target,
    /// A JSON list of group settings
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
}

/// What there is to set of a group.
const GROUP_KEYS: [&str; 15] = [
    "groupName",
    "consumeEnable",
    "consumeFromMinEnable",
    "consumeBroadcastEnable",
    "consumeMessageOrderly",
    "retryQueueNums",
    "retryMaxTimes",
    "groupRetryPolicy",
    "brokerId",
    "whichBrokerWhenConsumeSlowly",
    "notifyConsumerIdsChangedEnable",
    "groupSysFlag",
    "consumeTimeoutMinute",
    "subscriptionDataSet",
    "attributes",
];

impl Run for UpdateSubGroupList {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let list = read_list(&self.file, &GROUP_KEYS)?;
        for group in &list {
            let read = serde_json::from_value::<GroupConfig>(group.clone());
            let read = read.with_context(|| format!("{group} is no group's settings"))?;
            ensure!(!read.group_name.is_empty(), "{group} has no groupName");
        }
        let body = serde_json::to_vec(&json!({ "groupConfigList": list }))?;
        let brokers = admin.target(&self.target).await?;
        let what = if self.target.cluster.is_some() { "subscription group" } else { "group" };
        let mut done = Vec::new();
        let result = on_each(&brokers, async |broker| {
            let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
            let address = &broker.address;
            admin.tell(address, code, &(), body.clone().into()).await?;
            out.line(format!(
                "submit batch of {what} config to {address} success, please check the result later."
            ));
            done.push(address.clone());
            Ok(())
        })
        .await;
        out.value(json!({"brokers": done, "groups": list.len()}));
        result
    }
}

/// Options of `deleteSubGroup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "-c deletes the group's retry and dead-letter topics, too.")]
pub struct DeleteSubGroup {
    #[command(flatten)]
    target: Target,
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
    /// Also forget how far it was
    #[arg(short = 'r', long = "removeOffset", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    remove_offset: bool,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Run for DeleteSubGroup {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (group, clean_offset) = (self.group.trim(), self.remove_offset);
        let brokers = admin.target(&self.target).await?;
        if self.dry_run {
            return self.would_delete(admin, &brokers, group, out).await;
        }
        let cluster = self.target.cluster.as_deref().map(str::trim);
        let within = cluster.map(|cluster| format!(" in cluster [{cluster}]")).unwrap_or_default();
        let header = DeleteGroup { group_name: group.into(), clean_offset };
        // A broker may drop the retry topic along with the group.
        let own = match cluster {
            Some(cluster) => own_topics(admin, cluster, group).await?,
            None => Vec::new(),
        };
        let mut done = Vec::new();
        let mut result = on_each(&brokers, async |broker| {
            let address = &broker.address;
            admin.ask(address, request::DELETE_SUBSCRIPTIONGROUP, &header).await?;
            out.line(format!(
                "delete subscription group [{group}] from broker [{address}]{within} success."
            ));
            done.push(address.clone());
            Ok(())
        })
        .await;
        let mut topics = Vec::new();
        if let (Some(cluster), Ok(())) = (cluster, &result) {
            (topics, result) = delete_topics(admin, cluster, group, &own).await;
        }
        out.value(json!({
            "group": group, "brokers": done, "offsetsRemoved": clean_offset, "topics": topics,
        }));
        result
    }
}

/// Why Kerolox deletes no group of such a name; Apache's broker does not look at it.
fn refusal(group: &str) -> Option<String> {
    match is_system_group(group) {
        true => Some("it is one of the system's own".to_owned()),
        false => check_group(group).err(),
    }
}

impl DeleteSubGroup {
    async fn would_delete(
        &self,
        admin: &Admin,
        brokers: &[Broker],
        group: &str,
        out: &mut Out,
    ) -> Result<()> {
        let mut found = Vec::new();
        let kept = if self.remove_offset { "deleted" } else { "kept" };
        let result = on_each(brokers, async |broker| {
            let (address, alone) = (&broker.address, std::slice::from_ref(broker));
            if let Some(why) = refusal(group)
                && is_kerolox(&config_of(admin, address, request::GET_BROKER_CONFIG).await?)
            {
                bail!("{address} would refuse to delete subscription group [{group}]: {why}");
            }
            let exists = tables::group(admin, address, group).await?.is_some();
            let mut asked = Asked::default();
            let stats = progress(admin, alone, group, None, &mut asked).await;
            asked.result()?;
            let rows = stats.offset_table.values();
            let offsets = rows.filter(|row| row.consumer_offset > 0).count();
            out.line(match exists {
                true => format!("would delete subscription group [{group}] from broker [{address}]; offsets in {offsets} queues would be {kept}"),
                false => format!("broker [{address}] has no subscription group [{group}]; offsets in {offsets} queues would be {kept}"),
            });
            let mut topics = Vec::new();
            // A broker drops the retry topic along with the offsets.
            let whole = self.target.cluster.is_some();
            for (topic, goes) in
                [(retry_topic(group), whole || self.remove_offset), (dlq_topic(group), whole)]
            {
                let (queues, messages) = held(admin, broker, &topic).await?;
                if goes && queues > 0 {
                    out.line(format!("would delete topic [{topic}] on {address}: {messages} messages in {queues} queues"));
                    topics.push(json!({"topic": topic, "queues": queues, "messages": messages}));
                }
            }
            found.push(json!({"broker": address, "exists": exists, "offsets": offsets, "topics": topics}));
            Ok(())
        })
        .await;
        let offsets = self.remove_offset;
        out.value(
            json!({"dryRun": true, "group": group, "offsetsRemoved": offsets, "brokers": found}),
        );
        result
    }
}

/// A group's own topics that are there in a cluster.
async fn own_topics(admin: &Admin, cluster: &str, group: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for topic in [retry_topic(group), dlq_topic(group)] {
        let route = admin.find_route(&topic).await?.unwrap_or_default();
        if route.broker_datas.iter().any(|data| data.cluster == cluster) {
            found.push(topic);
        }
    }
    Ok(found)
}

/// Deletes a group's own topics in one cluster, also those that the name server does not know; in others they
/// stay. Those of `known` that are deleted everywhere.
async fn delete_topics(
    admin: &Admin,
    cluster: &str,
    group: &str,
    known: &[String],
) -> (Vec<String>, Result<()>) {
    let (mut done, mut result) = (Vec::new(), Ok(()));
    for topic in [retry_topic(group), dlq_topic(group)] {
        match delete_own(admin, cluster, &topic).await {
            Ok(()) if known.contains(&topic) => done.push(topic),
            Ok(()) => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    (done, result)
}

async fn delete_own(admin: &Admin, cluster: &str, topic: &str) -> Result<()> {
    let replicas = admin.replicas(Some(cluster)).await?;
    delete_on(admin, &replicas, topic).await.1?;
    delete_in_names(admin, cluster, topic).await.1
}

/// Options of `getConsumerConfig`.
#[derive(Debug, clap::Args)]
pub struct GetConsumerConfig {
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: String,
}

impl Run for GetConsumerConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let group = self.group.trim();
        let brokers = admin.one_of_each(None).await?;
        let mut found = Vec::new();
        let result = on_each(&brokers, async |broker| {
            let Some(config) = tables::group(admin, &broker.address, group).await? else {
                return Ok(());
            };
            let (line, cluster, name) = ("=".repeat(29), &broker.cluster, &broker.name);
            out.line(format!("{line}{cluster}:{name}{line}"));
            let read: GroupConfig = serde_json::from_value(config.clone())?;
            for (name, value) in group_fields(&read) {
                out.line(format!("{name:<40}=  {value}").trim_end());
            }
            found.push(json!({"cluster": cluster, "brokerName": name, "config": config}));
            Ok(())
        })
        .await;
        if found.is_empty() {
            result?;
            bail!("no broker has a group {group}; consumerProgress lists the groups");
        }
        out.value(found);
        result
    }
}

/// Options of `consumerProgress`.
#[derive(Debug, clap::Args)]
pub struct ConsumerProgress {
    /// Without it: all groups
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    group: Option<String>,
    /// Only this topic
    #[arg(short = 't', long = "topicName", value_name = "TOPIC", requires = "group")]
    topic: Option<String>,
    /// Ask the clients which queues are theirs
    #[arg(short = 's', long = "showClientIP", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    show_ip: bool,
    /// Only brokers of this cluster
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER", requires = "group")]
    cluster: Option<String>,
}

const CLIENT_IP: usize = 5;
const PROGRESS: [Column; 9] = [
    Column::left("#Topic", "topic", 64),
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4),
    Column::left("#Broker Offset", "brokerOffset", 20),
    Column::left("#Consumer Offset", "consumerOffset", 20),
    Column::left("#Client IP", "clientIP", 20).gap(1),
    Column::left("#Diff", "diff", 20).gap(1),
    Column::left("#Inflight", "inflight", 20).gap(0),
    Column::left("#LastTime", "lastTime", 20),
];

const GROUPS: [Column; 7] = [
    Column::left("#Group", "group", 64),
    Column::left("#Count", "count", 6),
    Column::left("#Version", "version", 24).gap(1),
    Column::left("#Type", "type", 5),
    Column::left("#Model", "model", 14),
    Column::left("#TPS", "tps", 7),
    Column::left("#Diff Total", "diffTotal", 11),
];

impl Run for ConsumerProgress {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        match self.group.as_deref().map(str::trim) {
            Some(group) => self.of_group(admin, group, out).await,
            None => of_all(admin, out).await,
        }
    }
}

impl ConsumerProgress {
    async fn of_group(&self, admin: &Admin, group: &str, out: &mut Out) -> Result<()> {
        let topic = self.topic.as_deref().map(str::trim);
        let brokers = brokers_of(admin, group, topic).await?;
        let brokers = in_cluster(brokers, self.cluster.as_deref())?;
        let mut asked = Asked::default();
        let stats = progress(admin, &brokers, group, topic, &mut asked).await;
        if stats.offset_table.is_empty() {
            asked.result()?;
            return no_rows(admin, &brokers, group, out).await;
        }
        let (owners, told) = match self.show_ip {
            true => owners(admin, &brokers, group, &mut asked).await,
            false => (BTreeMap::new(), Ok(())),
        };
        let owners = self.show_ip.then_some(&owners);
        show_progress(&stats, owners, out)?;
        asked.result().and(told)
    }
}

/// The brokers of a group, and those of a topic that its retry topic does not cover.
async fn brokers_of(admin: &Admin, group: &str, topic: Option<&str>) -> Result<Vec<Broker>> {
    let Some(topic) = topic else { return holders_of_group(admin, group).await };
    let mut brokers = admin.holders(topic).await?;
    if let Some(route) = admin.find_route(&retry_topic(group)).await? {
        let of_topic: BTreeSet<_> = brokers.iter().map(|broker| broker.name.clone()).collect();
        brokers.extend(holders(&route).into_iter().filter(|b| !of_topic.contains(&b.name)));
    }
    Ok(brokers)
}

/// Why there is nothing to tell of a group.
async fn no_rows(admin: &Admin, brokers: &[Broker], group: &str, out: &mut Out) -> Result<()> {
    let mut asked = Asked::default();
    let clients = clients(admin, brokers, group, &mut asked).await;
    asked.result()?;
    let nothing =
        "Not found the consumer group consume stats, because return offset table is empty";
    ensure!(!clients.is_empty(), "{nothing}, maybe the consumer not online: {group}");
    ensure!(
        clients.group.message_model != "BROADCASTING",
        "{nothing}, the consumer is under the broadcast mode: each client of {group} keeps its own offsets"
    );
    show_progress(&ConsumeStats::default(), None, out)
}

/// Which client consumes each queue, by its address; an error if a client does not tell.
async fn owners(
    admin: &Admin,
    brokers: &[Broker],
    group: &str,
    asked: &mut Asked,
) -> (BTreeMap<(String, String, i32), String>, Result<()>) {
    let clients = clients(admin, brokers, group, asked).await;
    let (told, failed) = all_running(admin, &clients, group, false).await;
    let mut owners = BTreeMap::new();
    for (client, info) in &told {
        let address = client.split('@').next().unwrap_or(client);
        for queue in info.queues().filter_map(|key| queue_of(key).ok()) {
            owners.insert((queue.topic, queue.broker_name, queue.queue_id), address.to_owned());
        }
    }
    (owners, failed.result(clients.at.len()))
}

/// 307 of each client; those that fail are noted.
pub(super) async fn all_running(
    admin: &Admin,
    clients: &Clients,
    group: &str,
    jstack: bool,
) -> (BTreeMap<String, Running>, Failed) {
    let (mut told, mut failed) = (BTreeMap::new(), Failed::default());
    for (client, address) in &clients.at {
        match running(admin, address, group, client, jstack).await {
            Ok(info) => drop(told.insert(client.clone(), info)),
            Err(error) => failed.add(client, &error),
        }
    }
    (told, failed)
}

fn show_progress(
    stats: &ConsumeStats,
    owners: Option<&BTreeMap<(String, String, i32), String>>,
    out: &mut Out,
) -> Result<()> {
    let mut columns = PROGRESS.to_vec();
    let mut rows = Vec::new();
    for (queue, row) in sorted(stats.offset_table.clone())? {
        let last = row.last_timestamp;
        let shown = if last == 0 { "N/A".to_owned() } else { time(last) };
        let key = (queue.topic, queue.broker_name, queue.queue_id);
        let owner = owners.and_then(|owners| owners.get(&key));
        rows.push(vec![
            Cell::cut(&key.0, 64),
            Cell::cut(&key.1, 32),
            key.2.into(),
            row.broker_offset.into(),
            row.consumer_offset.into(),
            Cell::shown(owner.cloned(), owner.map_or("N/A", String::as_str)),
            lag(&row).into(),
            inflight(&row).into(),
            // The blank stands in the rows only, not in the first line.
            Cell::shown(last, format!(" {shown}")),
        ]);
    }
    if owners.is_none() {
        columns.remove(CLIENT_IP);
        rows.iter_mut().for_each(|row| drop(row.remove(CLIENT_IP)));
    }
    let diff = total(stats.offset_table.values().map(lag));
    let in_hand = total(stats.offset_table.values().map(inflight));
    if out.is_json() {
        out.value(json!({
            "queues": list(&columns, &rows),
            "consumeTps": stats.consume_tps,
            "diffTotal": diff,
            "inflightTotal": in_hand,
        }));
        return Ok(());
    }
    out.table(&columns, &rows);
    out.line("");
    out.line(format!("Consume TPS: {:.2}", stats.consume_tps));
    out.line(format!("Consume Diff Total: {diff}"));
    out.line(format!("Consume Inflight Total: {in_hand}"));
    Ok(())
}

/// Every group with a retry topic, sorted.
pub(super) async fn all_groups(admin: &Admin) -> Result<BTreeSet<String>> {
    let topics = all_topics(admin).await?;
    let names = topics.iter().filter_map(|topic| topic.strip_prefix("%RETRY%"));
    // POP has retry topics of its own: %RETRY%GROUP+TOPIC.
    let names = names.map(|name| match name.split_once('+') {
        Some((group, topic)) if !topic.contains('+') => group,
        _ => name,
    });
    Ok(names.map(str::to_owned).collect())
}

async fn of_all(admin: &Admin, out: &mut Out) -> Result<()> {
    let groups = all_groups(admin).await?;
    let (mut rows, mut asked) = (Vec::new(), Asked::default());
    for group in &groups {
        match admin.find_route(&retry_topic(group)).await {
            Ok(Some(route)) => {
                rows.extend(row_of(admin, group, &holders(&route), &mut asked).await);
            }
            // It was deleted since it was listed.
            Ok(None) => {}
            Err(error) => {
                asked.unrouted(&error);
                break;
            }
        }
    }
    out.table(&GROUPS, &rows);
    asked.result()
}

/// What the brokers of a group say of it; `None` if none says anything: zeros would say that nobody is there.
async fn row_of(
    admin: &Admin,
    group: &str,
    brokers: &[Broker],
    asked: &mut Asked,
) -> Option<Vec<Cell>> {
    let stats = progress(admin, brokers, group, None, asked).await;
    let clients = clients(admin, brokers, group, asked).await;
    let answering = asked.answering(brokers);
    if answering == 0 {
        return None;
    }
    let of = &clients.group;
    let oldest = of.connection_set.iter().map(|client| client.version).min();
    let version = match oldest {
        Some(oldest) => version::name(oldest).into(),
        None if answering == brokers.len() => "OFFLINE".into(),
        // Those that do not answer may have a client.
        None => Cell::shown(Value::Null, ""),
    };
    let kind = match of.consume_type.as_str() {
        "CONSUME_ACTIVELY" => "PULL",
        "CONSUME_PASSIVELY" => "PUSH",
        "CONSUME_POP" => "POP",
        _ => "",
    };
    Some(vec![
        Cell::cut(group, 64),
        of.connection_set.len().into(),
        version,
        kind.into(),
        of.message_model.as_str().into(),
        Cell::shown(stats.consume_tps, format!("{:.0}", stats.consume_tps.trunc())),
        total(stats.offset_table.values().map(lag)).into(),
    ])
}

/// Options of `consumerStatus`.
#[derive(Debug, clap::Args)]
pub struct ConsumerStatus {
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    group: String,
    /// Print what this client says; without it: a file for each client
    #[arg(short = 'i', long = "clientId", value_name = "CLIENT")]
    client: Option<String>,
    /// Ask this broker only
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker: Option<String>,
    /// With the stacks of its threads
    #[arg(short = 's', long = "jstack")]
    jstack: bool,
}

const STATUS: [Column; 4] = [
    Column::left("#Index", "index", 10).gap(1),
    Column::left("#ClientId", "clientId", 40).gap(1),
    Column::left("#Version", "version", 20).gap(1),
    Column::left("#ConsumerRunningInfoFile", "file", 24),
];

impl Run for ConsumerStatus {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let group = self.group.trim();
        let brokers = named_or_holders(admin, self.broker.as_deref(), group).await?;
        let mut asked = Asked::default();
        let clients = online(admin, &brokers, group, &mut asked).await?;
        if let Some(client) = self.client.as_deref().map(str::trim) {
            let address = clients.at.get(client).with_context(|| {
                let known: Vec<_> = clients.at.keys().map(String::as_str).collect();
                format!("group {group} has no client {client}; it has {}", known.join(", "))
            })?;
            let info = running(admin, address, group, client, self.jstack).await?;
            out.line(info.text()?.trim_end_matches('\n'));
            out.value(info);
            return Ok(());
        }
        let (told, failed) = all_running(admin, &clients, group, self.jstack).await;
        let found = inspect(&told, now())?;
        match out.is_json() {
            true => out.value(as_json(&clients, &told, &found)),
            false => as_files(&clients, &told, &found, out)?,
        }
        failed.result(clients.at.len()).and(asked.result())
    }
}

/// Whether all clients want the same; unknown where those do that tell, and others do not tell.
fn same_subscriptions(
    clients: &Clients,
    told: &BTreeMap<String, Running>,
    found: &Findings,
) -> Option<bool> {
    let is_known = told.len() == clients.at.len() || !found.same_subscriptions;
    is_known.then_some(found.same_subscriptions)
}

fn as_json(clients: &Clients, told: &BTreeMap<String, Running>, found: &Findings) -> Value {
    let all = clients.group.connection_set.iter().map(|client| {
        json!({
            "clientId": client.client_id,
            "version": version::name(client.version),
            "info": told.get(&client.client_id),
        })
    });
    json!({
        "clients": all.collect::<Vec<_>>(),
        "sameSubscriptions": same_subscriptions(clients, told, found),
        "stuck": found.stuck,
    })
}

/// A file for each client, in a folder named after this moment; and what is wrong in the group.
fn as_files(
    clients: &Clients,
    told: &BTreeMap<String, Running>,
    found: &Findings,
    out: &mut Out,
) -> Result<()> {
    let folder = PathBuf::from(now().to_string());
    out.head(&STATUS);
    let mut index = 0;
    for client in &clients.group.connection_set {
        let Some(info) = told.get(&client.client_id) else { continue };
        index += 1;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        let path = folder.join(file_name(&client.client_id));
        let shown = path.display().to_string();
        std::fs::write(&path, info.text()?)
            .with_context(|| format!("{shown} cannot be written"))?;
        let (id, version) = (client.client_id.as_str(), version::name(client.version));
        out.row(&STATUS, &[index.into(), id.into(), version.into(), shown.into()]);
    }
    match same_subscriptions(clients, told, found) {
        Some(false) => {
            out.line("\n\nWARN: Different subscription in the same group of consumer!!!");
            return Ok(());
        }
        Some(true) => {
            out.line("\n\nSame subscription in the same group of consumer\n\nRebalance OK");
        }
        None => {}
    }
    found.stuck.iter().for_each(|line| out.line(line));
    Ok(())
}

/// A client names itself: its name must not lead out of the folder.
fn file_name(client: &str) -> String {
    let name = client.replace(['/', '\\', '\0'], "_");
    if name.chars().all(|c| c == '.') { format!("_{name}") } else { name }
}
