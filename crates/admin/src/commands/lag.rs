//! How far groups are behind: in messages and in seconds, and whose task it is to catch up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use kerolox_client::{Connection, OwnedReply};
use kerolox_protocol::json::write::MessageQueue;
use kerolox_protocol::names::RETRY_PREFIX;
use kerolox_protocol::record;
use kerolox_protocol::remoting::admin::{ConsumeStatsQuestion, OffsetWrapper};
use kerolox_protocol::remoting::client::RunningInfo;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Run;
use super::brokers::{Rounds, known};
use super::exports::is_user_group;
use super::topics::{all_topics, groups_of};
use crate::admin::{Admin, Asked, Broker, LONG};
use crate::bodies::{ByQueue, ConsumeStats, sorted};
use crate::consumers::clients;
use crate::endless::until_signal;
use crate::format::now;
use crate::out::{Cell, Column, Out};
use crate::tables;

/// Options of `lag`.
#[derive(Debug, clap::Args)]
pub struct Lag {
    /// This group alone; may be repeated
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    groups: Vec<String>,
    /// Of this topic alone
    #[arg(short = 't', long = "topic")]
    topic: Option<String>,
    /// Only queues with more messages behind; exit code 1 if there are any
    #[arg(long, value_name = "N")]
    over: Option<i64>,
    /// Repeat after so many seconds
    #[arg(long, value_name = "SECONDS")]
    watch: Option<u64>,
    /// End after so many rounds
    #[arg(long, value_name = "N", requires = "watch")]
    rounds: Option<u64>,
}

const QUEUES: [Column; 9] = [
    Column::left("#Group", "group", 32),
    Column::left("#Topic", "topic", 32),
    Column::left("#Broker Name", "brokerName", 20),
    Column::left("#QID", "queueId", 4),
    Column::right("#Behind", "behind", 14),
    Column::right("#Seconds", "secondsBehind", 10),
    Column::right("#Offset", "consumerOffset", 18).gap(2),
    Column::left("#Owner", "owner", 40),
    Column::right("#Pulled(s ago)", "secondsSincePull", 14),
];

const GROUPS: [Column; 4] = [
    Column::left("#Group", "group", 32),
    Column::right("#Queues", "queues", 14),
    Column::right("#Behind", "behind", 14),
    Column::right("#Seconds", "secondsBehind", 10),
];

/// What a client says of a queue.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Held {
    last_pull_timestamp: i64,
}

/// 307, as far as it is of use here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    mq_table: ByQueue<Held>,
}

/// Topic, broker, number.
type Queue = (String, String, i32);

/// Who holds which queue of a group.
#[derive(Debug, Default)]
struct Owners {
    held: BTreeMap<Queue, (String, i64)>,
    /// There are clients of the group that do not say what they hold.
    some_are_silent: bool,
}

/// A queue and how far a group is behind there.
#[derive(Debug)]
struct Row {
    group: String,
    queue: Queue,
    offset: i64,
    behind: i64,
    /// `None`: it cannot be told.
    seconds: Option<i64>,
    /// `None`: nobody.
    owner: Option<String>,
    pulled: Option<i64>,
}

impl Row {
    fn cells(&self) -> Vec<Cell> {
        let (topic, broker, id) = &self.queue;
        vec![
            self.group.as_str().into(),
            topic.as_str().into(),
            broker.as_str().into(),
            (*id).into(),
            self.behind.into(),
            known(self.seconds),
            self.offset.into(),
            known(self.owner.clone()),
            known(self.pulled),
        ]
    }
}

/// The brokers that are asked in one look.
struct Look<'a> {
    admin: &'a Admin,
    brokers: Vec<Broker>,
    asked: Asked,
}

impl Look<'_> {
    /// Every users' group: those with a retry topic, and those that a broker has settings of.
    async fn groups(&mut self) -> Result<Vec<String>> {
        let topics = all_topics(self.admin).await?;
        let of_retries = topics.iter().filter_map(|topic| topic.strip_prefix(RETRY_PREFIX));
        let mut groups: BTreeSet<String> = of_retries.map(str::to_owned).collect();
        let ask = async |broker: &Broker| {
            let table = tables::groups(self.admin, &broker.address).await?;
            groups.extend(table.subscription_group_table.into_keys());
            Ok(())
        };
        self.asked.each(&self.brokers, ask).await;
        groups.retain(|group| is_user_group(group));
        Ok(groups.into_iter().collect())
    }

    /// The groups to look at. Of one topic those with an offset in it, or a subscription to it: 208 shows any
    /// other group in it, too, as if it had all of it yet to read.
    async fn wanted(&mut self, named: &[String], topic: Option<&str>) -> Result<Vec<String>> {
        let named: Vec<String> = named.iter().map(|group| group.trim().to_owned()).collect();
        let Some(topic) = topic else {
            return if named.is_empty() { self.groups().await } else { Ok(named) };
        };
        let mut readers = groups_of(self.admin, &self.brokers, topic, &mut self.asked).await;
        if named.is_empty() {
            readers.retain(|group| is_user_group(group));
            return Ok(readers.into_iter().collect());
        }
        let stranger = named.iter().find(|group| !readers.contains(*group));
        match stranger {
            Some(group) if self.asked.is_complete() => Err(nothing_of(group, topic)),
            _ => Ok(named.into_iter().filter(|group| readers.contains(group)).collect()),
        }
    }

    /// 307 of every client of a group, of all at once: one that hangs takes the broker ten seconds.
    async fn owners(&mut self, group: &str) -> Owners {
        let mut owners = Owners::default();
        let mut answers = JoinSet::new();
        let clients = clients(self.admin, &self.brokers, group, &mut self.asked).await;
        // A client may be connected to the broker alone that did not say so.
        owners.some_are_silent = !self.asked.is_complete();
        for (client, broker) in clients.at {
            let Ok(connection) = self.admin.at(&broker).await else {
                owners.some_are_silent = true;
                continue;
            };
            let group = group.to_owned();
            let within = self.admin.patience(LONG);
            answers.spawn(
                async move { (running(&connection, &group, &client, within).await, client) },
            );
        }
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok((Some(running), client)) => {
                    for (queue, held) in running {
                        let queue = (queue.topic, queue.broker_name, queue.queue_id);
                        owners.held.insert(queue, (client.clone(), held.last_pull_timestamp));
                    }
                }
                _ => owners.some_are_silent = true,
            }
        }
        owners
    }
}

/// 307: what a client holds; `None` if it does not say.
async fn running(
    connection: &Connection,
    group: &str,
    client: &str,
    within: Duration,
) -> Option<Vec<(MessageQueue, Held)>> {
    let question = RunningInfo {
        consumer_group: group.into(),
        client_id: client.into(),
        jstack_enable: false,
    };
    let code = request::GET_CONSUMER_RUNNING_INFO;
    let reply = connection.call_within(within, code, &question, Bytes::new()).await;
    let running: Running = reply.and_then(OwnedReply::success).ok()?.json().ok()?;
    sorted(running.mq_table).ok()
}

/// When the oldest message at or behind an offset was stored; `None` if it cannot be told.
async fn stored_at(admin: &Admin, broker: &str, queue: &Queue, offset: i64) -> Option<i64> {
    let (topic, _, id) = queue;
    let mut pull = Pull {
        consumer_group: "TOOLS_CONSUMER".into(),
        topic: topic.as_str().into(),
        queue_id: *id,
        queue_offset: offset,
        max_msg_nums: 1,
        sys_flag: sys_flag::SUBSCRIPTION,
        subscription: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..Pull::default()
    };
    let connection = admin.at(broker).await.ok()?;
    let mut reply = connection.pull(&pull).await.ok()?;
    if reply.code == response::PULL_OFFSET_MOVED && reply.offsets.min_offset > offset {
        // What the group has yet to read is deleted in part: the oldest that is left counts.
        pull.queue_offset = reply.offsets.min_offset;
        reply = connection.pull(&pull).await.ok()?;
    }
    record::walk(&reply.body).next().map(|record| record.store_timestamp)
}

/// Whole seconds from a time to now, at least 0: clocks differ.
fn seconds_since(ms: i64) -> i64 {
    now().saturating_sub(ms).max(0) / 1000
}

/// A name that is wrong must not look like a group that has no lag.
fn nothing_of(group: &str, topic: &str) -> anyhow::Error {
    anyhow!("group {group} has neither offsets in {topic} nor subscribes to it: is the name right?")
}

impl Lag {
    fn topic(&self) -> Option<&str> {
        self.topic.as_deref().map(str::trim)
    }

    /// What a group has yet to read on a broker; how many queues it reads there.
    async fn rows_of(
        &self,
        admin: &Admin,
        broker: &Broker,
        group: &str,
        rows: &mut Vec<Row>,
    ) -> Result<usize> {
        let question = ConsumeStatsQuestion {
            consumer_group: group.into(),
            topic: self.topic().map(Into::into),
            topic_list: None,
        };
        let code = request::GET_CONSUME_STATS;
        let reply = admin.ask(&broker.address, code, &question).await?;
        let queues = sorted(reply.json::<ConsumeStats>()?.offset_table)?;
        let count = queues.len();
        for (queue, offsets) in queues {
            let queue = (queue.topic, queue.broker_name, queue.queue_id);
            let OffsetWrapper { broker_offset, consumer_offset, .. } = offsets;
            let behind = broker_offset.saturating_sub(consumer_offset).max(0);
            if self.over.is_some_and(|over| behind <= over) {
                continue;
            }
            let seconds = match behind {
                0 => Some(0),
                _ => stored_at(admin, &broker.address, &queue, consumer_offset)
                    .await
                    .map(seconds_since),
            };
            let (group, offset) = (group.to_owned(), consumer_offset);
            rows.push(Row { group, queue, offset, behind, seconds, owner: None, pulled: None });
        }
        Ok(count)
    }

    /// Every queue of every group.
    async fn collect(&self, look: &mut Look<'_>) -> Result<Vec<Row>> {
        let groups = look.wanted(&self.groups, self.topic()).await?;
        let mut all = Vec::new();
        for group in &groups {
            let (mut rows, mut queues) = (Vec::new(), 0);
            let ask = async |broker: &Broker| {
                queues += self.rows_of(look.admin, broker, group, &mut rows).await?;
                Ok(())
            };
            look.asked.each(&look.brokers, ask).await;
            if queues == 0 && !self.groups.is_empty() && look.asked.is_complete() {
                return Err(nothing_of(group, self.topic().unwrap_or("any topic")));
            }
            if rows.is_empty() {
                continue;
            }
            let owners = look.owners(group).await;
            rows.iter_mut().for_each(|row| own(row, &owners));
            rows.sort_by(|a, b| a.queue.cmp(&b.queue));
            all.append(&mut rows);
        }
        Ok(all)
    }

    /// One look. The number of queues in it.
    async fn round(&self, admin: &Admin, out: &mut Out) -> Result<usize> {
        let brokers = match self.topic() {
            Some(topic) => admin.holders(topic).await?,
            None => admin.one_of_each(None).await?,
        };
        let mut look = Look { admin, brokers, asked: Asked::default() };
        let rows = self.collect(&mut look).await?;
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        let totals = totals(&rows);
        if out.is_json() {
            let queues = crate::out::list(&QUEUES, &cells);
            out.value(json!({"queues": queues, "groups": crate::out::list(&GROUPS, &totals)}));
        } else {
            out.table(&QUEUES, &cells);
            out.line("");
            out.table(&GROUPS, &totals);
        }
        look.asked.result().map(|()| rows.len())
    }
}

/// Notes who holds a queue. `?`: one of those that do not say it, perhaps.
fn own(row: &mut Row, owners: &Owners) {
    if let Some((client, pulled)) = owners.held.get(&row.queue) {
        row.owner = Some(client.clone());
        row.pulled = Some(*pulled).filter(|at| *at > 0).map(seconds_since);
    } else if owners.some_are_silent {
        row.owner = Some("?".to_owned());
    }
}

/// For each group: its queues, the messages behind in all, the seconds behind at most.
fn totals(rows: &[Row]) -> Vec<Vec<Cell>> {
    let mut totals: BTreeMap<&str, (usize, i64, Option<i64>)> = BTreeMap::new();
    for row in rows {
        let (queues, behind, seconds) = totals.entry(&row.group).or_default();
        *queues += 1;
        *behind = behind.saturating_add(row.behind);
        *seconds = (*seconds).max(row.seconds);
    }
    let row = |(group, (queues, behind, seconds)): (&str, (usize, i64, Option<i64>))| {
        vec![Value::from(group).into(), queues.into(), behind.into(), known(seconds)]
    };
    totals.into_iter().map(row).collect()
}

impl Lag {
    async fn rounds(&self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut rounds = Rounds::new(self.watch, self.rounds);
        loop {
            let result = self.round(admin, out).await;
            if rounds.next(&result, out).await? {
                continue;
            }
            let found = result?;
            match self.over {
                Some(over) if found > 0 => {
                    bail!("{found} queues have more than {over} messages behind")
                }
                _ => return Ok(()),
            }
        }
    }
}

impl Run for Lag {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        match self.watch {
            Some(_) => until_signal(self.rounds(admin, out)).await,
            None => self.rounds(admin, out).await,
        }
    }
}
