//! Brokers: how they are, how they are configured, and what they are to clean.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use kerolox_protocol::remoting::admin::BrokerConsumeStatsQuestion;
use kerolox_protocol::remoting::codes::request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Run;
use crate::admin::{Admin, Broker, Failed, LONG, Target, addresses, on_each};
use crate::bodies::{ConsumeStats, Table, queue_of};
use crate::endless::until_signal;
use crate::format::{now, time};
use crate::out::{Cell, Column, Out};

/// 28: what a broker tells of itself.
pub(super) async fn runtime_info(admin: &Admin, address: &str) -> Result<BTreeMap<String, String>> {
    let reply = admin.ask(address, request::GET_BROKER_RUNTIME_INFO, &()).await?;
    Ok(reply.json::<Table>()?.table)
}

/// 26 or 319: a configuration, by key.
pub(super) async fn config_of(
    admin: &Admin,
    address: &str,
    code: i32,
) -> Result<BTreeMap<String, String>> {
    let reply = admin.ask(address, code, &()).await?;
    Ok(parse_config(&String::from_utf8_lossy(&reply.body)))
}

/// Servers write `key=value` and escape nothing.
fn parse_config(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether this is the configuration of a Kerolox: it has keys of its own.
pub(super) fn is_kerolox(config: &BTreeMap<String, String>) -> bool {
    config.keys().any(|key| key.starts_with("kerolox."))
}

/// Prints a configuration as mqadmin does.
pub(super) fn print_config(config: &BTreeMap<String, String>, out: &mut Out) {
    for (key, value) in config {
        out.line(format!("{key:<50}=  {value}").trim_end());
    }
}

/// `key=value` as a server reads it: as a Java properties text. What has a meaning there is escaped in the
/// value, and is in no key.
pub(super) fn property_line(key: &str, value: &str) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ensure!(!key.is_empty(), "-k is empty; give the key to set");
    ensure!(
        key.chars().all(is_plain),
        "-k {key:?}: no key is called that: keys are made of letters, digits, dots, - and _"
    );
    let mut line = format!("{key}=");
    for c in value.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            other => line.push(other),
        }
    }
    line.push('\n');
    Ok(line)
}

/// The brokers that are meant, slaves too: one, or every replica of a cluster.
async fn with_slaves(admin: &Admin, target: &Target) -> Result<Vec<Broker>> {
    match (&target.broker, &target.cluster) {
        (Some(address), _) => Ok(vec![admin.broker(address.trim()).await?]),
        (None, cluster) => admin.replicas(cluster.as_deref().map(str::trim)).await,
    }
}

/// How a command that repeats does so.
pub(super) struct Rounds {
    every: Option<Duration>,
    left: Option<u64>,
}

impl Rounds {
    /// Once without an interval; else so many times, or for ever.
    pub(super) fn new(every: Option<u64>, rounds: Option<u64>) -> Rounds {
        Rounds { every: every.map(|s| Duration::from_secs(s.max(1))), left: rounds }
    }

    /// Waits for the next round; false: there is none, or nobody reads any more. Who watches wants to see
    /// a broker come back, so a failure is only told unless it is that of the last round.
    pub(super) async fn next<T>(&mut self, last: &Result<T>, out: &mut Out) -> Result<bool> {
        let Some(every) = self.every else { return Ok(false) };
        self.left = self.left.map(|left| left.saturating_sub(1));
        out.flush()?;
        if self.left == Some(0) || out.is_closed() {
            return Ok(false);
        }
        if let Err(error) = last {
            let error = format!("{error:#}");
            out.say(&error, json!({ "error": error }));
            out.flush()?;
        }
        tokio::time::sleep(every).await;
        Ok(true)
    }
}

/// Options of `brokerStatus`.
#[derive(Debug, clap::Args)]
pub struct BrokerStatus {
    #[command(flatten)]
    target: Target,
}

impl Run for BrokerStatus {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let brokers = with_slaves(admin, &self.target).await?;
        let names_broker = self.target.broker.is_none();
        let mut all = serde_json::Map::new();
        let result = on_each(&brokers, async |broker| {
            let table = runtime_info(admin, &broker.address).await?;
            for (key, value) in &table {
                match names_broker {
                    true => out.line(format!("{:<24} {key:<32}: {value}", broker.address)),
                    false => out.line(format!("{key:<32}: {value}")),
                }
            }
            all.insert(broker.address.clone(), json!(table));
            Ok(())
        })
        .await;
        out.value(all);
        result
    }
}

/// Options of `getBrokerConfig`.
#[derive(Debug, clap::Args)]
pub struct GetBrokerConfig {
    #[command(flatten)]
    target: Target,
}

/// The line above a broker's configuration.
fn config_title(broker: &Broker, all: &[Broker], of_cluster: bool) -> String {
    let address = &broker.address;
    if !of_cluster {
        return format!("============{address}============");
    }
    if broker.id == 0 {
        return format!("============Master: {address}============");
    }
    let master = all.iter().find(|other| other.name == broker.name && other.id == 0);
    let master = master.map_or("NO_MASTER", |master| &master.address);
    format!("============My Master: {master}=====Slave: {address}============")
}

impl Run for GetBrokerConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let brokers = with_slaves(admin, &self.target).await?;
        let of_cluster = self.target.broker.is_none();
        let mut all = serde_json::Map::new();
        let result = on_each(&brokers, async |broker| {
            let config = config_of(admin, &broker.address, request::GET_BROKER_CONFIG).await?;
            ensure!(!config.is_empty(), "Broker[{}] has no config property!", broker.address);
            out.line(config_title(broker, &brokers, of_cluster));
            print_config(&config, out);
            out.line("");
            all.insert(broker.address.clone(), json!(config));
            Ok(())
        })
        .await;
        out.value(all);
        result
    }
}

/// Options of `updateBrokerConfig`.
#[derive(Debug, clap::Args)]
pub struct UpdateBrokerConfig {
    #[command(flatten)]
    target: Target,
    /// With -c: the slaves, too. mqadmin wants a value here; any will do, and none
    #[arg(
        short = 'a',
        long = "updateAllBroker",
        value_name = "ANY",
        num_args = 0..=1,
        default_missing_value = "true",
        requires = "cluster"
    )]
    all: Option<String>,
    #[arg(short = 'k', long = "key")]
    key: String,
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

impl Run for UpdateBrokerConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (key, value) = (self.key.trim(), self.value.trim());
        let body = Bytes::from(property_line(key, value)?);
        if key == "brokerPermission" {
            let is_right = value.parse::<i32>().is_ok_and(|bits| (0..=7).contains(&bits));
            ensure!(
                is_right,
                "brokerPermission value: {value} is invalid: give 0 to 7, a sum of 4 (read), 2 (write) and 1"
            );
        }
        let brokers = match self.all {
            Some(_) => with_slaves(admin, &self.target).await?,
            None => admin.target(&self.target).await?,
        };
        let mut done = Vec::new();
        let result = on_each(&brokers, async |broker| {
            let code = request::UPDATE_BROKER_CONFIG;
            admin.tell(&broker.address, code, &(), body.clone()).await?;
            out.line(format!("update broker config success, {}", broker.address));
            done.push(broker.address.clone());
            Ok(())
        })
        .await;
        out.value(json!({"key": key, "value": value, "brokers": done}));
        result
    }
}

/// The body of 317's answer: for each group its topics.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BrokerConsumeStats {
    pub(super) consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    pub(super) total_diff: i64,
}

/// 317: how far every group of a broker is.
pub(super) async fn consume_stats(
    admin: &Admin,
    address: &str,
    is_order: bool,
    within: Duration,
) -> Result<BrokerConsumeStats> {
    let question = BrokerConsumeStatsQuestion { is_order };
    let code = request::GET_BROKER_CONSUME_STATS;
    Ok(admin.ask_within(address, code, &question, within).await?.json()?)
}

/// As long as mqadmin waits for 317.
const CONSUME_STATS_WAIT: Duration = Duration::from_millis(50_000);

/// Options of `brokerConsumeStats`.
#[derive(Debug, clap::Args)]
pub struct BrokerConsumeStatsOf {
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker: String,
    /// How long the answer may take [default: 50000, or --timeout]
    #[arg(short = 't', long = "timeoutMillis", value_name = "MS")]
    within: Option<u64>,
    /// Leave out queues with fewer messages behind
    #[arg(short = 'l', long = "level", value_name = "N", default_value_t = 0)]
    level: i64,
    /// Ordered topics alone
    #[arg(short = 'o', long = "order", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
}

const CONSUME_STATS: [Column; 8] = [
    Column::left("#Topic", "topic", 64),
    Column::left("#Group", "group", 64),
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4),
    Column::left("#Broker Offset", "brokerOffset", 20),
    Column::left("#Consumer Offset", "consumerOffset", 20),
    Column::left("#Diff", "diff", 20),
    Column::left("#LastTime", "lastTimestamp", 0),
];

/// Rows of queues that a group has read from, or has yet to read.
fn consume_rows(stats: BrokerConsumeStats, level: i64) -> Result<Vec<Vec<Cell>>> {
    let mut rows = BTreeMap::new();
    for (group, topics) in stats.consume_stats_list.into_iter().flatten() {
        for (queue, offsets) in topics.into_iter().flat_map(|topic| topic.offset_table) {
            let queue = queue_of(&queue)?;
            let diff = offsets.broker_offset.saturating_sub(offsets.consumer_offset);
            let last = offsets.last_timestamp;
            if diff < level || (last <= 0 && diff <= 0) {
                continue;
            }
            let shown = if last > 0 { time(last) } else { String::new() };
            let row = vec![
                Cell::cut(&queue.topic, 64),
                group.as_str().into(),
                Cell::cut(&queue.broker_name, 32),
                queue.queue_id.into(),
                offsets.broker_offset.into(),
                offsets.consumer_offset.into(),
                diff.into(),
                Cell::shown(last, shown),
            ];
            rows.insert((group.clone(), queue.topic, queue.broker_name, queue.queue_id), row);
        }
    }
    Ok(rows.into_values().collect())
}

impl Run for BrokerConsumeStatsOf {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let broker = admin.broker(self.broker.trim()).await?;
        let within = self.within.map(|ms| Duration::from_millis(ms.max(1)));
        let within = within.unwrap_or_else(|| admin.patience(CONSUME_STATS_WAIT));
        let stats = consume_stats(admin, &broker.address, self.order, within).await?;
        let total = stats.total_diff;
        let rows = consume_rows(stats, self.level)?;
        if out.is_json() {
            let queues = crate::out::list(&CONSUME_STATS, &rows);
            out.value(json!({"queues": queues, "totalDiff": total}));
            return Ok(());
        }
        out.table(&CONSUME_STATS, &rows);
        out.line("");
        out.line(format!("Diff Total: {total}"));
        Ok(())
    }
}

/// Options of `clusterList`.
#[derive(Debug, clap::Args)]
pub struct ClusterList {
    /// How many messages came and went yesterday and today
    #[arg(short = 'm', long = "moreStats")]
    more: bool,
    /// Repeat after so many seconds
    #[arg(short = 'i', long = "interval", value_name = "SECONDS")]
    interval: Option<u64>,
    /// End after so many rounds
    #[arg(long, value_name = "N", requires = "interval")]
    rounds: Option<u64>,
    /// Of this cluster alone
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: Option<String>,
}

const CLUSTER: [Column; 12] = [
    Column::left("#Cluster Name", "cluster", 22),
    Column::left("#Broker Name", "brokerName", 22),
    Column::left("#BID", "brokerId", 4),
    Column::left("#Addr", "address", 22).gap(1),
    Column::left("#Version", "version", 16),
    Column::right("#InTPS(LOAD)", "in", 16).gap(2),
    Column::right("#OutTPS(LOAD)", "out", 30).gap(2),
    Column::left("#Timer(Progress)", "timer", 22),
    Column::right("#PCWait(ms)", "pageCacheWaitMs", 11).gap(2),
    Column::left("#Hour", "hours", 12),
    Column::left("#SPACE", "diskRatio", 8),
    Column::right("#ACTIVATED", "active", 10),
];

const MORE: [Column; 6] = [
    Column::left("#Cluster Name", "cluster", 16),
    Column::left("#Broker Name", "brokerName", 32).gap(1),
    Column::right("#InTotalYest", "inYesterday", 14),
    Column::right("#OutTotalYest", "outYesterday", 14),
    Column::right("#InTotalToday", "inToday", 14),
    Column::right("#OutTotalToday", "outToday", 14),
];

/// What 28 told.
pub(super) struct Told(pub(super) BTreeMap<String, String>);

impl Told {
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// 0 for what is not there, or is no number.
    pub(super) fn whole(&self, key: &str) -> i64 {
        self.text(key).trim().parse().unwrap_or(0)
    }

    /// The first of the figures with blanks between; 0 if there is none yet.
    pub(super) fn float(&self, key: &str) -> f64 {
        let first = self.text(key).split(' ').next().unwrap_or_default();
        first.parse().unwrap_or(0.0)
    }
}

/// A figure as JSON; what is not there is null.
fn figure(text: &str) -> Value {
    text.parse::<i64>().map_or(Value::Null, Value::from)
}

/// How a broker keeps up: messages in a second, and who waits.
fn load_in(told: &Told) -> Cell {
    let (tps, queue) = (told.float("putTps"), told.text("sendThreadPoolQueueSize"));
    let wait = told.text("sendThreadPoolQueueHeadWaitTimeMills");
    Cell::shown(
        json!({"tps": tps, "waiting": figure(queue), "waitMs": figure(wait)}),
        format!("{tps:9.2}({queue},{wait}ms)"),
    )
}

fn load_out(told: &Told) -> Cell {
    let or_n = |key| told.0.get(key).map_or("N", String::as_str);
    let tps = told.float("getTransferredTps");
    let queue = told.text("pullThreadPoolQueueSize");
    let wait = told.text("pullThreadPoolQueueHeadWaitTimeMills");
    let acks = or_n("ackThreadPoolQueueSize");
    let ack_wait = or_n("ackThreadPoolQueueHeadWaitTimeMills");
    Cell::shown(
        json!({"tps": tps, "waiting": figure(queue), "waitMs": figure(wait), "acksWaiting": figure(acks), "acksWaitMs": figure(ack_wait)}),
        format!("{tps:9.2}({queue},{wait}ms|{acks},{ack_wait}ms)"),
    )
}

fn timer(told: &Told) -> Cell {
    let (read, offset) = (told.whole("timerReadBehind"), told.whole("timerOffsetBehind"));
    let held = told.whole("timerCongestNum");
    let (enqueue, dequeue) = (told.float("timerEnqueueTps"), told.float("timerDequeueTps"));
    Cell::shown(
        json!({"readBehind": read, "offsetBehind": offset, "congest": held, "enqueueTps": enqueue, "dequeueTps": dequeue}),
        format!("{read}-{offset}({:.1}w, {enqueue:.1}, {dequeue:.1})", held as f64 / 10_000.0),
    )
}

fn cluster_names(broker: &Broker) -> Vec<Cell> {
    vec![
        broker.cluster.as_str().into(),
        broker.name.as_str().into(),
        broker.id.into(),
        broker.address.as_str().into(),
    ]
}

fn cluster_figures(told: &Told) -> Vec<Cell> {
    // An empty log has no oldest message: Apache's broker says −1 then.
    let earliest = told.whole("earliestMessageTimeStamp");
    let hours =
        if earliest > 0 { now().saturating_sub(earliest) as f64 / 3_600_000.0 } else { 0.0 };
    vec![
        told.text("brokerVersionDesc").into(),
        load_in(told),
        load_out(told),
        timer(told),
        Cell::shown(
            figure(told.text("pageCacheLockTimeMills")),
            told.text("pageCacheLockTimeMills"),
        ),
        Cell::float(hours, 2),
        Cell::float(told.float("commitLogDiskRatio"), 4),
        told.text("brokerActive").eq_ignore_ascii_case("true").into(),
    ]
}

fn more_names(broker: &Broker) -> Vec<Cell> {
    vec![broker.cluster.as_str().into(), broker.name.as_str().into()]
}

fn more_figures(told: &Told) -> Vec<Cell> {
    let day = |kind: &str, from: &str, to: &str| {
        let total = |day: &str| told.whole(&format!("msg{kind}Total{day}"));
        Cell::from(total(to).saturating_sub(total(from)))
    };
    vec![
        day("Put", "YesterdayMorning", "TodayMorning"),
        day("Get", "YesterdayMorning", "TodayMorning"),
        day("Put", "TodayMorning", "TodayNow"),
        day("Get", "TodayMorning", "TodayNow"),
    ]
}

impl ClusterList {
    /// One table. A broker that does not answer has a row without figures, and is named in the error.
    async fn round(&self, admin: &Admin, out: &mut Out) -> Result<()> {
        let brokers = admin.replicas(self.cluster.as_deref().map(str::trim)).await?;
        let mut rows = Vec::new();
        let mut failed = Failed::default();
        let columns = if self.more { &MORE[..] } else { &CLUSTER };
        for broker in &brokers {
            let registered = if self.more { more_names } else { cluster_names };
            let mut row = registered(broker);
            match runtime_info(admin, &broker.address).await {
                Ok(told) => {
                    let figures = if self.more { more_figures } else { cluster_figures };
                    row.extend(figures(&Told(told)));
                }
                Err(error) => {
                    failed.add(&broker.address, &error);
                    row.resize_with(columns.len(), || known(None::<i64>));
                }
            }
            rows.push(row);
        }
        out.table(columns, &rows);
        failed.result(brokers.len())
    }

    async fn rounds(&self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut rounds = Rounds::new(self.interval, self.rounds);
        loop {
            let result = self.round(admin, out).await;
            if !rounds.next(&result, out).await? {
                return result;
            }
        }
    }
}

impl Run for ClusterList {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        match self.interval {
            Some(_) => until_signal(self.rounds(admin, out)).await,
            None => self.rounds(admin, out).await,
        }
    }
}

/// A broker, all of a cluster, or all there are; and whether only to say so.
#[derive(Debug, clap::Args)]
pub struct Cleaning {
    /// Address (or name) of the broker
    #[arg(
        short = 'b',
        long = "brokerAddr",
        value_name = "HOST:PORT",
        conflicts_with = "cleaned_cluster"
    )]
    broker: Option<String>,
    /// Every replica of this cluster; without -b and -c: of every cluster
    #[arg(id = "cleaned_cluster", short = 'c', long = "cluster", value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Say which brokers would be asked, and ask none
    #[arg(long)]
    dry_run: bool,
}

impl Cleaning {
    async fn run(self, admin: &Admin, out: &mut Out, code: i32, what: &str) -> Result<()> {
        let target = Target { broker: self.broker, cluster: self.cluster };
        let brokers = with_slaves(admin, &target).await?;
        if brokers.is_empty() {
            bail!("no broker is registered, so there is nobody to ask");
        }
        if self.dry_run {
            let addresses = addresses(&brokers);
            for address in &addresses {
                out.line(format!("would ask {address} to {what}"));
            }
            out.value(json!({"dryRun": true, "would": what, "brokers": addresses}));
            return Ok(());
        }
        let mut done = Vec::new();
        let result = on_each(&brokers, async |broker| {
            admin.ask_long(&broker.address, code, &()).await?;
            done.push(broker.address.clone());
            Ok(())
        })
        .await;
        out.done("success", &done, &result);
        out.value(json!({ "brokers": done }));
        result
    }
}

/// Options of `cleanExpiredCQ`.
#[derive(Debug, clap::Args)]
pub struct CleanExpiredCQ {
    #[command(flatten)]
    cleaning: Cleaning,
}

impl Run for CleanExpiredCQ {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let what = "drop index entries of messages that are gone";
        self.cleaning.run(admin, out, request::CLEAN_EXPIRED_CONSUMEQUEUE, what).await
    }
}

/// Options of `cleanUnusedTopic`.
#[derive(Debug, clap::Args)]
pub struct CleanUnusedTopic {
    #[command(flatten)]
    cleaning: Cleaning,
}

impl Run for CleanUnusedTopic {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let what = "drop the queues of topics that are deleted";
        self.cleaning.run(admin, out, request::CLEAN_UNUSED_TOPIC, what).await
    }
}

/// Options of `deleteExpiredCommitLog`.
#[derive(Debug, clap::Args)]
pub struct DeleteExpiredCommitLog {
    #[command(flatten)]
    cleaning: Cleaning,
}

impl Run for DeleteExpiredCommitLog {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let what =
            "delete log files older than its fileReservedTime, now rather than at deleteWhen";
        self.cleaning.run(admin, out, request::DELETE_EXPIRED_COMMITLOG, what).await
    }
}

/// How many messages each group has yet to read on a broker.
pub(super) async fn behind_by_group(admin: &Admin, address: &str) -> Result<BTreeMap<String, i64>> {
    let mut behind = BTreeMap::new();
    let stats = consume_stats(admin, address, false, admin.patience(LONG)).await?;
    for (group, topics) in stats.consume_stats_list.into_iter().flatten() {
        let total: &mut i64 = behind.entry(group).or_default();
        for offsets in topics.into_iter().flat_map(|topic| topic.offset_table.into_values()) {
            let more = offsets.broker_offset.saturating_sub(offsets.consumer_offset).max(0);
            *total = total.saturating_add(more);
        }
    }
    Ok(behind)
}

/// A cell for what may not be known.
pub(super) fn known<T: Into<Value> + ToString>(value: Option<T>) -> Cell {
    match value {
        Some(value) => {
            let text = value.to_string();
            Cell::shown(value, text)
        }
        None => Cell::shown(Value::Null, "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_was_meant() {
        let line = |key: &str, value: &str| property_line(key, value).unwrap_or_default();
        assert_eq!(line("brokerName", "a b=c"), "brokerName=a b=c\n");
        assert_eq!(line("kerolox.a-b_c", r"c:\d"), "kerolox.a-b_c=c:\\\\d\n");
        assert_eq!(line("k", "one\ntwo=3"), "k=one\\ntwo=3\n");
        for key in ["", "a=b", "a b", "a:b", "#a", "a\nb", "ä"] {
            assert!(property_line(key, "v").is_err(), "{key:?}");
        }
    }

    #[test]
    fn each_configuration_says_whose_it_is() {
        let broker = |name: &str, id, address: &str| Broker {
            cluster: "c".to_owned(),
            name: name.to_owned(),
            id,
            address: address.to_owned(),
        };
        let all = [broker("a", 0, "h:1"), broker("a", 1, "h:2"), broker("b", 1, "h:3")];
        let titles: Vec<_> = all.iter().map(|broker| config_title(broker, &all, true)).collect();
        assert_eq!(
            titles,
            [
                "============Master: h:1============",
                "============My Master: h:1=====Slave: h:2============",
                "============My Master: NO_MASTER=====Slave: h:3============",
            ]
        );
        assert_eq!(config_title(&all[0], &all, false), "============h:1============");
    }

    #[test]
    fn figures_that_are_not_there_are_zero() {
        let told = |text: &str| Told([("putTps".to_owned(), text.to_owned())].into());
        assert_eq!(told("1.5 2.0 3.0").float("putTps"), 1.5);
        assert_eq!(told("  ").float("putTps"), 0.0);
        assert_eq!(told("many").float("putTps"), 0.0);
        assert_eq!(told("").whole("no"), 0);
    }
}
