//! What a cluster holds, as files: topics and groups, configurations, figures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kerolox_protocol::names::{is_system_group, is_system_topic};
use kerolox_protocol::remoting::admin::{
    ConsumerConnection, GroupTable, StatsData, StatsItem, StatsQuestion, TopicTable,
};
use kerolox_protocol::remoting::client::ConsumerGroup;
use kerolox_protocol::remoting::codes::{request, response, version};
use kerolox_protocol::remoting::route::TopicList;
use serde::Serialize;
use serde_json::{Value, json};

use super::Run;
use super::brokers::{Told, config_of, runtime_info};
use super::topics::is_derived;
use crate::admin::{Admin, Broker, Target, on_each, refused_with};
use crate::consumers::is_absent;
use crate::format::now;
use crate::out::Out;
use crate::tables;

/// Where a file goes.
#[derive(Debug, clap::Args)]
pub struct Folder {
    /// The folder; it is made if it is not there
    #[arg(
        short = 'f',
        long = "filePath",
        value_name = "FOLDER",
        default_value = "/tmp/rocketmq/export"
    )]
    folder: PathBuf,
}

impl Folder {
    /// Writes a file whole or not at all: who reads it at the same time sees the old one.
    fn write(&self, name: &str, value: &Value, out: &mut Out) -> Result<()> {
        let folder = &self.folder;
        let cannot = |path: &Path| format!("{} cannot be written", path.display());
        std::fs::create_dir_all(folder).with_context(|| cannot(folder))?;
        let path = folder.join(name);
        let temporary = folder.join(format!(".{name}.{}", std::process::id()));
        let written = std::fs::write(&temporary, tabbed(value)?)
            .and_then(|()| std::fs::rename(&temporary, &path));
        if written.is_err() {
            // What is half written is of no use; the error is the one before.
            let _ = std::fs::remove_file(&temporary);
        }
        written.with_context(|| cannot(&path))?;
        let shown = path.display().to_string();
        out.say(format!("export {shown} success"), json!({ "path": shown }));
        Ok(())
    }
}

/// JSON with a tab a level.
fn tabbed(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, form))?;
    Ok(bytes)
}

/// Topics that are there without a user.
const MORE_SYSTEM_TOPICS: [&str; 1] = ["CHECKPOINT_TOPIC"];
/// Groups that are there without a user, beside those that a broker makes.
const MORE_SYSTEM_GROUPS: [&str; 6] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "SCHEDULE_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
];

/// The users' topics of a broker.
async fn user_topics(admin: &Admin, address: &str, derived: bool) -> Result<TopicTable> {
    let code = request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER;
    let system: TopicList = admin.ask_long(address, code, &()).await?.json()?;
    let system: BTreeSet<String> = system.topic_list.into_iter().collect();
    let mut table = tables::topics(admin, address).await?;
    table.topic_config_table.retain(|name, topic| {
        let is_system = system.contains(name)
            || is_system_topic(name)
            || MORE_SYSTEM_TOPICS.contains(&name.as_str());
        !is_system && (derived || !is_derived(name)) && (0..=7).contains(&topic.perm)
    });
    Ok(table)
}

/// Whether a group is a user's.
pub(super) fn is_user_group(group: &str) -> bool {
    !is_system_group(group) && !MORE_SYSTEM_GROUPS.contains(&group)
}

async fn user_groups(admin: &Admin, address: &str) -> Result<GroupTable> {
    let mut table = tables::groups(admin, address).await?;
    table.subscription_group_table.retain(|name, _| is_user_group(name));
    Ok(table)
}

/// Options of `exportMetadata`.
#[derive(Debug, clap::Args)]
pub struct ExportMetadata {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    folder: Folder,
    /// Topics alone
    #[arg(short = 't', long = "topic")]
    topic: bool,
    /// Groups alone
    #[arg(short = 'g', long = "subscriptionGroup", conflicts_with = "topic")]
    group: bool,
    /// With retry and dead-letter topics
    #[arg(short = 's', long = "specialTopic")]
    special: bool,
}

/// Both tables of all brokers: a topic that is on several has as many queues as it has on all.
async fn collect(
    admin: &Admin,
    brokers: &[Broker],
    derived: bool,
) -> Result<(TopicTable, GroupTable)> {
    let (mut topics, mut groups) = (TopicTable::default(), GroupTable::default());
    on_each(brokers, async |broker| {
        let more = user_topics(admin, &broker.address, derived).await?;
        topics.data_version = more.data_version;
        for (name, mut topic) in more.topic_config_table {
            if let Some(known) = topics.topic_config_table.get(&name) {
                topic.read_queue_nums = topic.read_queue_nums.saturating_add(known.read_queue_nums);
                topic.write_queue_nums =
                    topic.write_queue_nums.saturating_add(known.write_queue_nums);
            }
            topics.topic_config_table.insert(name, topic);
        }
        let more = user_groups(admin, &broker.address).await?;
        groups.data_version = more.data_version;
        groups.forbidden_table.extend(more.forbidden_table);
        for (name, mut group) in more.subscription_group_table {
            if let Some(known) = groups.subscription_group_table.get(&name) {
                group.retry_queue_nums =
                    group.retry_queue_nums.saturating_add(known.retry_queue_nums);
            }
            groups.subscription_group_table.insert(name, group);
        }
        Ok(())
    })
    .await?;
    Ok((topics, groups))
}

impl Run for ExportMetadata {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let brokers = admin.target(&self.target).await?;
        let (topics, groups) = collect(admin, &brokers, self.special).await?;
        let of_one = self.target.broker.is_some();
        let export_time = now();
        let (topic_table, group_table) =
            (&topics.topic_config_table, &groups.subscription_group_table);
        let (name, value) = match (self.topic, self.group) {
            (true, _) if of_one => ("topic.json", json!(topics)),
            (_, true) if of_one => ("subscriptionGroup.json", json!(groups)),
            (true, _) => {
                ("topic.json", json!({"topicConfigTable": topic_table, "exportTime": export_time}))
            }
            (_, true) => (
                "subscriptionGroup.json",
                json!({"subscriptionGroupTable": group_table, "exportTime": export_time}),
            ),
            _ => (
                "metadata.json",
                json!({
                    "topicConfigTable": topic_table,
                    "subscriptionGroupTable": group_table,
                    "exportTime": export_time,
                }),
            ),
        };
        self.folder.write(name, &value, out)
    }
}

/// Options of `exportConfigs`.
#[derive(Debug, clap::Args)]
pub struct ExportConfigs {
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: String,
    #[command(flatten)]
    folder: Folder,
}

/// What of a configuration is exported.
const CONFIG_KEYS: [&str; 16] = [
    "autoCreateSubscriptionGroup",
    "autoCreateTopicEnable",
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
];

impl Run for ExportConfigs {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let cluster = self.cluster.trim();
        let replicas = admin.replicas(Some(cluster)).await?;
        let masters = replicas.iter().filter(|broker| broker.id == 0).count();
        let brokers = admin.one_of_each(Some(cluster)).await?;
        let mut configs = BTreeMap::new();
        on_each(&brokers, async |broker| {
            let mut config = config_of(admin, &broker.address, request::GET_BROKER_CONFIG).await?;
            config.retain(|key, _| CONFIG_KEYS.contains(&key.as_str()));
            configs.insert(broker.name.clone(), config);
            Ok(())
        })
        .await?;
        let value = json!({
            "brokerConfigs": configs,
            "clusterScale": {
                "namesrvSize": admin.name_servers().len(),
                "masterBrokerSize": masters,
                "slaveBrokerSize": replicas.len() - masters,
            },
        });
        self.folder.write("configs.json", &value, out)
    }
}

/// Options of `exportMetrics`.
#[derive(Debug, clap::Args)]
pub struct ExportMetrics {
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: String,
    #[command(flatten)]
    folder: Folder,
}

/// 315: how much there was lately; none if the broker knows nothing of it.
async fn stats(admin: &Admin, address: &str, topic: &str) -> Result<StatsData> {
    let question = StatsQuestion { stats_name: "TOPIC_PUT_NUMS".into(), stats_key: topic.into() };
    match admin.ask(address, request::VIEW_BROKER_STATS_DATA, &question).await {
        Ok(reply) => Ok(reply.json()?),
        Err(error) if is_absent(&error) => Ok(StatsData::default()),
        Err(error) => Err(error),
    }
}

/// A day's messages. A window that is not full yet is empty: then the next shorter one says more.
pub(super) fn one_day(stats: &StatsData) -> u64 {
    let sums = [stats.stats_day, stats.stats_hour, stats.stats_minute];
    sums.iter().map(|item: &StatsItem| item.sum).find(|sum| *sum != 0).unwrap_or(0)
}

/// Languages and versions of the clients that read from a broker. A group with nobody in it has none.
async fn clients(admin: &Admin, address: &str, groups: &GroupTable) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for group in groups.subscription_group_table.keys() {
        let question = ConsumerGroup { consumer_group: group.as_str().into() };
        let connected: ConsumerConnection =
            match admin.ask(address, request::GET_CONSUMER_CONNECTION_LIST, &question).await {
                Ok(reply) => reply.json()?,
                Err(e) if refused_with(&e) == Some(response::CONSUMER_NOT_ONLINE) => continue,
                Err(error) => return Err(error),
            };
        for client in connected.connection_set {
            found.insert(format!("{}%{}", client.language, version::name(client.version)));
        }
    }
    Ok(found)
}

/// Sums over all brokers.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalTps {
    total_normal_in_tps: f64,
    total_normal_out_tps: f64,
    total_schedule_in_tps: f64,
    total_trans_in_tps: f64,
}

/// A day's messages: of one broker, or of all.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct OneDay {
    normal_one_day_in_num: i64,
    normal_one_day_out_num: i64,
    schedule_one_day_in_num: u64,
    trans_one_day_in_num: u64,
}

/// How much goes in and out of one broker.
struct Flow {
    in_tps: f64,
    out_tps: f64,
    schedule_tps: f64,
    trans_tps: f64,
    day: OneDay,
}

impl Flow {
    async fn of(admin: &Admin, address: &str, told: &Told) -> Result<Flow> {
        let transactions = stats(admin, address, "RMQ_SYS_TRANS_HALF_TOPIC").await?;
        let delayed = stats(admin, address, "SCHEDULE_TOPIC_XXXX").await?;
        let since_morning = |kind: &str| {
            let total = |day: &str| told.whole(&format!("msg{kind}Total{day}Morning"));
            total("Today").saturating_sub(total("Yesterday"))
        };
        Ok(Flow {
            in_tps: told.float("putTps"),
            out_tps: told.float("getTransferredTps"),
            schedule_tps: delayed.stats_minute.tps,
            trans_tps: transactions.stats_minute.tps,
            day: OneDay {
                normal_one_day_in_num: since_morning("Put"),
                normal_one_day_out_num: since_morning("Get"),
                schedule_one_day_in_num: one_day(&delayed),
                trans_one_day_in_num: one_day(&transactions),
            },
        })
    }

    fn tps(&self) -> Value {
        json!({
            "normalInTps": self.in_tps,
            "normalOutTps": self.out_tps,
            "scheduleInTps": self.schedule_tps,
            "transInTps": self.trans_tps,
        })
    }
}

#[derive(Debug, Default)]
struct Totals {
    tps: TotalTps,
    day: OneDay,
}

impl Totals {
    fn add(&mut self, flow: &Flow) {
        self.tps.total_normal_in_tps += flow.in_tps;
        self.tps.total_normal_out_tps += flow.out_tps;
        self.tps.total_schedule_in_tps += flow.schedule_tps;
        self.tps.total_trans_in_tps += flow.trans_tps;
        let (sum, day) = (&mut self.day, &flow.day);
        // Numbers from the network: a sum that is too large stays at the largest.
        let add = |sum: &mut i64, more: i64| *sum = sum.saturating_add(more);
        add(&mut sum.normal_one_day_in_num, day.normal_one_day_in_num);
        add(&mut sum.normal_one_day_out_num, day.normal_one_day_out_num);
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut sum.schedule_one_day_in_num, day.schedule_one_day_in_num);
        add(&mut sum.trans_one_day_in_num, day.trans_one_day_in_num);
    }
}

/// What is told of one broker; it is added to the totals.
async fn report(admin: &Admin, address: &str, totals: &mut Totals) -> Result<Value> {
    let told = Told(runtime_info(admin, address).await?);
    let config = config_of(admin, address, request::GET_BROKER_CONFIG).await?;
    let groups = user_groups(admin, address).await?;
    let topics = user_topics(admin, address, false).await?;
    let flow = Flow::of(admin, address, &told).await?;
    totals.add(&flow);
    let of = |key: &str| told.0.get(key);
    Ok(json!({
        "runtimeEnv": present(&[
            ("cpuNum", config.get("clientCallbackExecutorThreads")),
            ("totalMemKBytes", of("totalMemKBytes")),
        ]),
        "runtimeQuota": {
            "diskRatio": present(&[
                ("commitLogDiskRatio", of("commitLogDiskRatio")),
                ("consumeQueueDiskRatio", of("consumeQueueDiskRatio")),
            ]),
            "tps": flow.tps(),
            "oneDayNum": flow.day,
            "messageAverageSize": of("putMessageAverageSize"),
            "topicSize": topics.topic_config_table.len(),
            "groupSize": groups.subscription_group_table.len(),
        },
        "runtimeVersion": {
            "rocketmqVersion": told.text("brokerVersionDesc"),
            "clientInfo": clients(admin, address, &groups).await?,
        },
    }))
}

/// The values that are there.
fn present(values: &[(&str, Option<&String>)]) -> Value {
    let there =
        values.iter().filter_map(|(key, value)| Some(((*key).to_owned(), json!((*value)?))));
    Value::Object(there.collect())
}

impl Run for ExportMetrics {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let brokers = admin.one_of_each(Some(self.cluster.trim())).await?;
        let mut totals = Totals::default();
        let mut reports = BTreeMap::new();
        on_each(&brokers, async |broker| {
            let report = report(admin, &broker.address, &mut totals).await?;
            reports.insert(broker.name.clone(), report);
            Ok(())
        })
        .await?;
        let value = json!({
            "evaluateReport": reports,
            "totalData": {"totalTps": totals.tps, "totalOneDayNum": totals.day},
        });
        self.folder.write("metrics.json", &value, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_without_messages_falls_back_to_the_hour() {
        let item = |sum| StatsItem { sum, ..StatsItem::default() };
        let stats = StatsData { stats_day: item(0), stats_hour: item(7), stats_minute: item(2) };
        assert_eq!(one_day(&stats), 7);
        assert_eq!(one_day(&StatsData::default()), 0);
    }

    #[test]
    fn files_are_json_with_tabs() {
        let text = tabbed(&json!({"1": {"a": []}})).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "{\n\t\"1\": {\n\t\t\"a\": []\n\t}\n}");
    }
}
