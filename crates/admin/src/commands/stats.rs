//! Rates of all topics, and a watch over all groups.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use kerolox_protocol::remoting::admin::{StatsData, StatsQuestion};
use kerolox_protocol::remoting::codes::request;
use serde_json::{Map, Value, json};

use super::Run;
use super::exports::one_day;
use super::groups::{all_groups, all_running};
use super::topics::{all_topics, groups_of, is_derived, topic_stats};
use crate::admin::{Admin, Asked, Broker, holders, refused_with};
use crate::bodies::{ConsumeStats, queue_of};
use crate::consumers::{clients, holders_of_group, is_absent, lag, progress, total};
use crate::endless::until_signal;
use crate::format::{now, time};
use crate::out::{Cell, Column, Out};
use crate::running::inspect;

/// Options of `statsAll`.
#[derive(Debug, clap::Args)]
pub struct StatsAll {
    /// Only what had messages in the last 24 hours
    #[arg(short = 'a', long = "activeTopic")]
    active: bool,
    /// Only this topic
    #[arg(short = 't', long = "topic")]
    topic: Option<String>,
}

const STATS: [Column; 7] = [
    Column::left("#Topic", "topic", 64),
    Column::left("#Consumer Group", "group", 64).gap(1),
    Column::right("#Accumulation", "accumulation", 12),
    Column::right("#InTPS", "inTps", 11),
    Column::right("#OutTPS", "outTps", 11),
    Column::right("#InMsg24Hour", "inMsg24Hour", 14),
    Column::right("#OutMsg24Hour", "outMsg24Hour", 14),
];

const DAY_MS: i64 = 86_400_000;

/// How much there was of something.
#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    tps: f64,
    day: u64,
}

/// 315 of each broker, added up. A broker that has not counted the thing yet counts as 0.
async fn amount(
    admin: &Admin,
    brokers: &[Broker],
    (name, key): (&str, &str),
    asked: &mut Asked,
) -> Amount {
    let question = StatsQuestion { stats_name: name.into(), stats_key: key.into() };
    let mut all = Amount::default();
    let ask = async |broker: &Broker| {
        let code = request::VIEW_BROKER_STATS_DATA;
        let data: StatsData = match admin.ask(&broker.address, code, &question).await {
            Ok(reply) => reply.json()?,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(e),
        };
        all.tps += data.stats_minute.tps;
        all.day = all.day.saturating_add(one_day(&data));
        Ok(())
    };
    asked.each(brokers, ask).await;
    all
}

/// Whether a message was stored in the last 24 hours. Brokers count in stretches, and show those alone that are
/// over: between a message's first minute and the end of its ten minutes all their sums are 0. And they begin
/// anew with a start.
async fn stored_lately(admin: &Admin, brokers: &[Broker], topic: &str, asked: &mut Asked) -> bool {
    let stats = topic_stats(admin, brokers, topic, asked).await;
    let last = stats.offset_table.values().map(|queue| queue.last_update_timestamp).max();
    last.is_some_and(|last| now().saturating_sub(last) < DAY_MS)
}

impl Run for StatsAll {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut topics = all_topics(admin).await?;
        topics.retain(|topic| !is_derived(topic));
        if let Some(wanted) = self.topic.as_deref().map(str::trim) {
            topics.retain(|topic| topic == wanted);
            ensure!(!topics.is_empty(), "no topic {wanted} is known; topicList lists the topics");
        }
        let (mut rows, mut asked) = (Vec::new(), Asked::default());
        for topic in &topics {
            match admin.find_route(topic).await {
                Ok(Some(route)) => {
                    rows.extend(self.rows_of(admin, topic, &holders(&route), &mut asked).await);
                }
                // It was deleted since it was listed.
                Ok(None) => {}
                Err(error) => {
                    asked.unrouted(&error);
                    break;
                }
            }
        }
        out.table(&STATS, &rows);
        asked.result()
    }
}

impl StatsAll {
    async fn rows_of(
        &self,
        admin: &Admin,
        topic: &str,
        brokers: &[Broker],
        asked: &mut Asked,
    ) -> Vec<Vec<Cell>> {
        let into = amount(admin, brokers, ("TOPIC_PUT_NUMS", topic), asked).await;
        let groups = groups_of(admin, brokers, topic, asked).await;
        let mut rows = Vec::new();
        // Zeros would say that nothing is there.
        if asked.answering(brokers) == 0 {
            return rows;
        }
        let is_active =
            !self.active || into.day > 0 || stored_lately(admin, brokers, topic, asked).await;
        for group in &groups {
            let key = format!("{topic}@{group}");
            let from = amount(admin, brokers, ("GROUP_GET_NUMS", &key), asked).await;
            let stats = progress(admin, brokers, group, Some(topic), asked).await;
            if asked.answering(brokers) == 0 {
                break;
            }
            let behind = total(stats.offset_table.values().map(lag)).max(0);
            if is_active || from.day > 0 {
                rows.push(vec![
                    Cell::cut(topic, 64),
                    Cell::cut(group, 64),
                    behind.into(),
                    Cell::float(into.tps, 2),
                    Cell::float(from.tps, 2),
                    into.day.into(),
                    from.day.into(),
                ]);
            }
        }
        if groups.is_empty() && is_active {
            // Those that do not answer may have one.
            let is_known = asked.answering(brokers) == brokers.len();
            rows.push(vec![
                Cell::cut(topic, 64),
                Cell::shown(Value::Null, ""),
                0.into(),
                Cell::float(into.tps, 2),
                Cell::shown(Value::Null, ""),
                into.day.into(),
                Cell::shown(Value::Null, if is_known { "NO_CONSUMER" } else { "" }),
            ]);
        }
        rows
    }
}

/// Options of `startMonitoring`.
#[derive(Debug, clap::Args)]
pub struct StartMonitoring {
    /// From the end of a round to the next one
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
}

impl Run for StartMonitoring {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        until_signal(self.rounds(admin, out)).await
    }
}

impl StartMonitoring {
    async fn rounds(&self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut rounds = 0_u64;
        while !out.is_closed() {
            rounds += 1;
            let mut watch = Watch { out: &mut *out, findings: 0 };
            watch.say("beginRound".to_owned());
            match watch.round(admin).await {
                // What cannot be reached at first was probably named wrongly.
                Err(error) if rounds == 1 => return Err(error),
                Err(error) => watch.problem("roundFailed", Map::new(), &format!("{error:#}")),
                Ok(()) => {}
            }
            let findings = watch.findings;
            watch.say(format!("endRound, {findings} findings"));
            watch.out.value(
                json!({"kind": "endRound", "time": now(), "round": rounds, "findings": findings}),
            );
            out.flush()?;
            if !out.is_closed() {
                tokio::time::sleep(Duration::from_secs(self.interval)).await;
            }
        }
        Ok(())
    }
}

/// A round of the watch.
struct Watch<'a> {
    out: &'a mut Out,
    findings: u64,
}

/// A topic that a group is behind in.
#[derive(Debug, Default)]
struct Behind {
    total: i64,
    most: i64,
    /// `None`: it cannot be told.
    delay: Option<i64>,
}

impl Watch<'_> {
    fn say(&mut self, text: String) {
        self.out.line(format!("{} [MONITOR] {text}", time(now())));
    }

    /// Something that is worth a look.
    fn found(&mut self, kind: &str, fields: Map<String, Value>, text: String) {
        self.findings += 1;
        self.say(text);
        let mut value = json!({"kind": kind, "time": now()});
        if let Some(all) = value.as_object_mut() {
            all.extend(fields);
        }
        self.out.value(value);
    }

    /// Something that is wrong.
    fn problem(&mut self, kind: &str, mut fields: Map<String, Value>, what: &str) {
        fields.insert("what".to_owned(), what.into());
        let group = fields.get("group").and_then(Value::as_str);
        let group = group.map(|group| format!(" [consumerGroup={group}]")).unwrap_or_default();
        self.found(kind, fields, format!(" [NOTIFY] {kind}{group}: {what}"));
    }

    async fn round(&mut self, admin: &Admin) -> Result<()> {
        for group in all_groups(admin).await? {
            if let Err(error) = self.group(admin, &group).await {
                self.problem("groupFailed", of(&group), &format!("{error:#}"));
            }
        }
        Ok(())
    }

    async fn group(&mut self, admin: &Admin, group: &str) -> Result<()> {
        let brokers = holders_of_group(admin, group).await?;
        let mut asked = Asked::default();
        let stats = progress(admin, &brokers, group, None, &mut asked).await;
        let behind = behind(admin, &stats, &mut asked).await?;
        for (topic, of_topic) in &behind {
            self.behind(group, topic, of_topic);
        }
        let clients = clients(admin, &brokers, group, &mut asked).await;
        if clients.is_empty() && !behind.is_empty() && asked.is_complete() {
            self.problem("offline", of(group), "messages wait, and no client is connected");
        }
        let (told, failed) = all_running(admin, &clients, group, false).await;
        if let Err(why) = failed.result(clients.at.len()) {
            self.problem("silentClients", of(group), &format!("{why:#}"));
        }
        let found = inspect(&told, now())?;
        if !found.same_subscriptions {
            let what = "Different subscription in the same group of consumer";
            self.problem("differentSubscriptions", of(group), what);
        }
        for line in &found.stuck {
            self.problem("stuckQueue", of(group), line);
        }
        asked.result()
    }

    fn behind(&mut self, group: &str, topic: &str, of_topic: &Behind) {
        let Behind { total, most, delay } = of_topic;
        let mut fields = of(group);
        fields.insert("topic".to_owned(), topic.into());
        for (name, value) in [
            ("undoneMsgsTotal", json!(total)),
            ("undoneMsgsSingleMQ", json!(most)),
            ("undoneMsgsDelayTimeMills", json!(delay)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        let delay = delay.map_or_else(|| "-".to_owned(), |delay| delay.to_string());
        let text = format!(
            "reportUndoneMsgs: UndoneMsgs [consumerGroup={group}, topic={topic}, undoneMsgsTotal={total}, undoneMsgsSingleMQ={most}, undoneMsgsDelayTimeMills={delay}]"
        );
        self.found("undoneMsgs", fields, text);
    }
}

fn of(group: &str) -> Map<String, Value> {
    Map::from_iter([("group".to_owned(), group.into())])
}

/// The topics that a group is behind in: by how many messages, and by how much time in ms.
async fn behind(
    admin: &Admin,
    stats: &ConsumeStats,
    asked: &mut Asked,
) -> Result<BTreeMap<String, Behind>> {
    let mut topics: BTreeMap<String, Behind> = BTreeMap::new();
    for (key, row) in stats.offset_table.iter().filter(|(_, row)| lag(row) > 0) {
        let of_topic = topics.entry(queue_of(key)?.topic).or_default();
        of_topic.total = of_topic.total.saturating_add(lag(row));
        of_topic.most = of_topic.most.max(lag(row));
    }
    for (topic, of_topic) in &mut topics {
        let brokers = match admin.holders(topic).await {
            Ok(brokers) => brokers,
            Err(error) => {
                let is_refusal = refused_with(&error).is_some();
                asked.unrouted(&error);
                match is_refusal {
                    true => continue,
                    // It would be waited for again.
                    false => break,
                }
            }
        };
        let ends = topic_stats(admin, &brokers, topic, asked).await;
        if asked.answering(&brokers) == 0 {
            continue;
        }
        let mut most = 0;
        for (key, end) in &ends.offset_table {
            let Some(row) = stats.offset_table.get(key) else { continue };
            if lag(row) > 0 && row.last_timestamp > 0 {
                let delay = end.last_update_timestamp.saturating_sub(row.last_timestamp);
                most = delay.max(most);
            }
        }
        of_topic.delay = Some(most);
    }
    Ok(topics)
}
