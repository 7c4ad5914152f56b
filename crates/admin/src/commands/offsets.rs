//! A group's offsets: reset by time, to the end, in one queue; copied to another group.

use anyhow::{Result, bail, ensure};
use kerolox_protocol::remoting::admin::ResetOffset;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::offsets::{
    OffsetReply, QueryConsumerOffset, QueueQuestion, SearchOffset, UpdateConsumerOffset,
};
use kerolox_protocol::remoting::route::TopicRoute;
use serde_json::{Value, json};

use super::Run;
use super::brokers::{config_of, is_kerolox};
use super::topics::topic_stats;
use crate::admin::{Admin, Asked, Broker, Failed, holders, on_each, refused_with};
use crate::bodies::{Reset, sorted};
use crate::consumers::{in_cluster, progress, total};
use crate::format::{now, parse_time};
use crate::out::{Cell, Column, Out, list};
use crate::queues::QUEUES_MAX;
use crate::tables;

/// The end of a queue, as requests call it.
const END: i64 = -1;

/// A time, and how it was given.
#[derive(Debug, Clone)]
struct Moment {
    text: String,
    ms: i64,
}

fn moment(text: &str) -> Result<Moment, String> {
    Ok(Moment { text: text.to_owned(), ms: parse_time(text)? })
}

/// Options of `resetOffsetByTime`.
#[derive(Debug, clap::Args)]
pub struct ResetOffsetByTime {
    #[arg(short = 'g', long = "group")]
    group: String,
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// now, ms since 1970 (-1: the end of each queue), or local time as 2026-11-28#20:05:13:042
    #[arg(short = 's', long = "timestamp", value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    at: Moment,
    /// Also forwards; false: only backwards, but for Apache's brokers, which do not look at it
    #[arg(short = 'f', long = "force", value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    force: bool,
    /// Only brokers of this cluster
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER", conflicts_with = "broker")]
    cluster: Option<String>,
    /// One queue: address (or name) of its broker
    #[arg(short = 'b', long = "broker", value_name = "HOST:PORT", requires = "queue")]
    broker: Option<String>,
    /// One queue: its number
    #[arg(short = 'q', long = "queue", value_name = "N", requires = "broker", value_parser = clap::value_parser!(i32).range(0..))]
    queue: Option<i32>,
    /// One queue: the offset, in place of the time
    #[arg(short = 'o', long = "offset", value_name = "N", requires = "queue", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
    /// Say from where to where offsets would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Run for ResetOffsetByTime {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let group = self.group.trim();
        let job = Job {
            admin,
            group,
            topic: self.topic.trim(),
            at: self.at.ms,
            at_text: &self.at.text,
            force: self.force,
            leading: true,
            last: "#resetOffset",
        };
        match (&self.broker, self.queue) {
            (Some(address), Some(queue)) => {
                let broker = admin.broker(address.trim()).await?;
                job.one_queue(&broker, queue, self.offset, self.dry_run, out).await
            }
            _ => job.all_queues(self.cluster.as_deref(), self.dry_run, out).await,
        }
    }
}

/// Options of `skipAccumulatedMessage`.
#[derive(Debug, clap::Args)]
pub struct SkipAccumulatedMessage {
    #[arg(short = 'g', long = "group")]
    group: String,
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Also forwards; false: only backwards, but for Apache's brokers, which do not look at it
    #[arg(short = 'f', long = "force", value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    force: bool,
    /// Only brokers of this cluster
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Say from where to where offsets would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Run for SkipAccumulatedMessage {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let job = Job {
            admin,
            group: self.group.trim(),
            topic: self.topic.trim(),
            at: END,
            at_text: "-1",
            force: self.force,
            leading: false,
            last: "#rollbackOffset",
        };
        job.all_queues(self.cluster.as_deref(), self.dry_run, out).await
    }
}

/// A reset.
struct Job<'a> {
    admin: &'a Admin,
    group: &'a str,
    topic: &'a str,
    at: i64,
    at_text: &'a str,
    force: bool,
    /// Say first what is done.
    leading: bool,
    /// The title of the last column where the tool itself resets.
    last: &'static str,
}

const DONE: [Column; 3] = [
    Column::left("#brokerName", "brokerName", 40),
    Column::left("#queueId", "queueId", 40),
    Column::left("#offset", "offset", 40),
];

const DONE_BY_TOOL: [Column; 6] = [
    Column::left("#brokerName", "brokerName", 20),
    Column::left("#queueId", "queueId", 20),
    Column::left("#brokerOffset", "brokerOffset", 20),
    Column::left("#consumerOffset", "consumerOffset", 20),
    Column::left("#timestampOffset", "timestampOffset", 20),
    Column::left("#resetOffset", "offset", 20),
];

impl Job<'_> {
    fn times(&self) -> String {
        format!("timestamp(string)[{}], timestamp(long)[{}]", self.at_text, self.at)
    }

    /// The result as JSON.
    fn json(&self, queues: &Value) -> Value {
        json!({
            "group": self.group, "topic": self.topic, "timestamp": self.at, "force": self.force,
            "queues": queues,
        })
    }

    async fn one_queue(
        &self,
        broker: &Broker,
        queue: i32,
        offset: Option<i64>,
        dry_run: bool,
        out: &mut Out,
    ) -> Result<()> {
        let (admin, topic, address) = (self.admin, self.topic, &broker.address);
        let to = match offset {
            Some(offset) => offset,
            None => target(admin, address, topic, queue, self.at).await?,
        };
        let min = queue_offset(admin, address, request::GET_MIN_OFFSET, topic, queue).await?;
        let max = queue_offset(admin, address, request::GET_MAX_OFFSET, topic, queue).await?;
        ensure!(
            (min..=max).contains(&to),
            "offset {to} is not in queue {queue} of {topic} on {address}: that goes from {min} to {max}"
        );
        check_group(admin, address, self.group).await?;
        if dry_run {
            let from = committed(admin, address, self.group, topic, queue).await?;
            let step = Step { broker: broker.clone(), queue, from, to };
            would_move(self.group, topic, &[step], out);
            return Ok(());
        }
        let (group, at) = (self.group, self.times());
        out.line(format!(
            "start reset consumer offset by specified, group[{group}], topic[{topic}], queueId[{queue}], broker[{address}], {at}"
        ));
        commit(admin, address, group, topic, queue, to).await?;
        let header = ResetOffset {
            group: group.into(),
            topic: topic.into(),
            queue_id: Some(queue),
            offset: Some(to),
            // A broker that does not know of single queues would reset all: from now on, and only backwards,
            // that changes nothing.
            timestamp: now(),
            is_force: false,
        };
        match admin.ask(address, request::INVOKE_BROKER_TO_RESET_OFFSET, &header).await {
            // Nobody is there who would have to be told.
            Err(error) if !is_offline(&error) => return Err(error),
            _ => {}
        }
        out.line(format!("reset consumer offset to {to}"));
        let row = json!([{"broker": address, "queueId": queue, "offset": to}]);
        out.value(self.json(&row));
        Ok(())
    }

    async fn all_queues(&self, cluster: Option<&str>, dry_run: bool, out: &mut Out) -> Result<()> {
        let route = self.admin.route(self.topic).await?;
        let brokers = in_cluster(holders(&route), cluster)?;
        if dry_run {
            return self.would_reset(&route, &brokers, out).await;
        }
        let mut table = Reset::default();
        let mut offline = false;
        let result = on_each(&brokers, async |broker| {
            let reply = self.by_broker(broker).await;
            offline |= reply.as_ref().is_err_and(is_offline);
            table.offset_table.extend(reply?.offset_table);
            Ok(())
        })
        .await;
        if offline {
            // Brokers that leave a reset to the clients cannot do it without any.
            return self.by_tool(&route, &brokers, out).await;
        }
        if !table.offset_table.is_empty() || result.is_ok() {
            self.show(table, out)?;
        }
        result
    }

    /// Lets a broker reset.
    async fn by_broker(&self, broker: &Broker) -> Result<Reset> {
        let header = ResetOffset {
            group: self.group.into(),
            topic: self.topic.into(),
            queue_id: Some(-1),
            offset: Some(-1),
            timestamp: self.at,
            is_force: self.force,
        };
        let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
        let reply = self.admin.ask(&broker.address, code, &header).await?;
        ensure!(
            !reply.body.is_empty(),
            "{} does not say which offsets it reset; look with consumerProgress",
            broker.address
        );
        Ok(reply.json()?)
    }

    fn show(&self, table: Reset, out: &mut Out) -> Result<()> {
        let rows = sorted(table.offset_table)?.into_iter().map(|(queue, offset)| {
            vec![Cell::cut(&queue.broker_name, 32), queue.queue_id.into(), offset.into()]
        });
        let rows: Vec<Vec<Cell>> = rows.collect();
        if self.leading {
            let (group, topic, force, at) = (self.group, self.topic, self.force, self.times());
            out.line(format!(
                "start reset consumer offset by specified, group[{group}], topic[{topic}], force[{force}], {at}"
            ));
        }
        if out.is_json() {
            out.value(self.json(&list(&DONE, &rows)));
        } else {
            out.table(&DONE, &rows);
        }
        Ok(())
    }

    /// Resets by commits of the tool's own.
    async fn by_tool(&self, route: &TopicRoute, brokers: &[Broker], out: &mut Out) -> Result<()> {
        let mut rows = Vec::new();
        let result = on_each(brokers, async |broker| {
            for (queue, max, now) in self.queues(route, broker).await? {
                let address = &broker.address;
                let to = target(self.admin, address, self.topic, queue, self.at).await?;
                let reset = if self.force || to <= now { to } else { now };
                if reset == to {
                    commit(self.admin, address, self.group, self.topic, queue, to).await?;
                }
                rows.push(vec![
                    Cell::cut(&broker.name, 32),
                    queue.into(),
                    max.into(),
                    now.into(),
                    to.into(),
                    reset.into(),
                ]);
            }
            Ok(())
        })
        .await;
        if self.leading {
            let (group, topic, force, at) = (self.group, self.topic, self.force, self.times());
            out.line(format!(
                "reset consumer offset by specified consumerGroup[{group}], topic[{topic}], force[{force}], {at}"
            ));
        }
        let mut columns = DONE_BY_TOOL;
        columns[5].title = self.last;
        if out.is_json() {
            out.value(self.json(&list(&columns, &rows)));
        } else {
            out.table(&columns, &rows);
        }
        result
    }

    /// The queues of a broker with their ends, and how far the group is: 208; 202 if it never consumed.
    async fn queues(&self, route: &TopicRoute, broker: &Broker) -> Result<Vec<(i32, i64, i64)>> {
        let (admin, topic, alone) = (self.admin, self.topic, std::slice::from_ref(broker));
        let mut asked = Asked::default();
        let stats = progress(admin, alone, self.group, Some(topic), &mut asked).await;
        std::mem::take(&mut asked).result()?;
        if !stats.offset_table.is_empty() {
            let rows = sorted(stats.offset_table)?.into_iter();
            let rows = rows.filter(|(queue, _)| queue.topic == topic);
            return Ok(rows
                .map(|(queue, row)| (queue.queue_id, row.broker_offset, row.consumer_offset))
                .collect());
        }
        let count = read_queues(route, broker);
        let stats = topic_stats(admin, alone, topic, &mut asked).await;
        asked.result()?;
        let rows = sorted(stats.offset_table)?.into_iter();
        let rows = rows.filter(|(queue, _)| queue.queue_id < count);
        Ok(rows.map(|(queue, row)| (queue.queue_id, row.max_offset, row.min_offset)).collect())
    }

    async fn would_reset(
        &self,
        route: &TopicRoute,
        brokers: &[Broker],
        out: &mut Out,
    ) -> Result<()> {
        let (admin, group, topic) = (self.admin, self.group, self.topic);
        let mut steps = Vec::new();
        let result = on_each(brokers, async |broker| {
            let address = &broker.address;
            check_group(admin, address, group).await?;
            let force = self.force || always_forces(admin, address).await?;
            for queue in 0..read_queues(route, broker) {
                let from = committed(admin, address, group, topic, queue).await?;
                let to = target(admin, address, topic, queue, self.at).await?;
                if force || from.is_none_or(|from| to < from) {
                    steps.push(Step { broker: broker.clone(), queue, from, to });
                }
            }
            Ok(())
        })
        .await;
        would_move(group, topic, &steps, out);
        result
    }
}

/// Whether a broker resets forwards, too, when it is told not to. Apache's does, where it resets by itself.
async fn always_forces(admin: &Admin, address: &str) -> Result<bool> {
    let config = config_of(admin, address, request::GET_BROKER_CONFIG).await?;
    let resets_itself = config.get("useServerSideResetOffset").is_some_and(|v| v == "true");
    Ok(resets_itself && !is_kerolox(&config))
}

fn is_offline(error: &anyhow::Error) -> bool {
    refused_with(error) == Some(response::CONSUMER_NOT_ONLINE)
}

/// The queues that can be read on a broker.
fn read_queues(route: &TopicRoute, broker: &Broker) -> i32 {
    let queues = route.queue_datas.iter().find(|queues| queues.broker_name == broker.name);
    queues.map_or(0, |queues| queues.read_queue_nums.min(QUEUES_MAX))
}

/// An offset that would go from here to there.
struct Step {
    broker: Broker,
    queue: i32,
    /// None: the group has no offset in the queue.
    from: Option<i64>,
    to: i64,
}

const STEPS: [Column; 5] = [
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4),
    Column::left("#From", "from", 20),
    Column::left("#To", "to", 20),
    Column::left("#Messages", "messages", 20),
];

/// Says what a command would change.
fn would_move(group: &str, topic: &str, steps: &[Step], out: &mut Out) {
    let change = |step: &Step| step.from.map_or(0, |from| step.to.saturating_sub(from));
    let row = |step: &Step| {
        let broker = match step.broker.name.is_empty() {
            true => &step.broker.address,
            false => &step.broker.name,
        };
        let from = step.from.map_or("-".to_owned(), |from| from.to_string());
        vec![
            broker.as_str().into(),
            step.queue.into(),
            Cell::shown(step.from, from),
            step.to.into(),
            Cell::shown(step.from.map(|_| change(step)), format!("{:+}", change(step))),
        ]
    };
    let rows: Vec<Vec<Cell>> = steps.iter().map(row).collect();
    let changes = || steps.iter().map(change);
    let skipped = total(changes().filter(|change| *change > 0));
    let again = total(changes().filter(|change| *change < 0).map(i64::saturating_neg));
    if out.is_json() {
        out.value(json!({
            "dryRun": true, "group": group, "topic": topic, "queues": list(&STEPS, &rows),
            "skipped": skipped, "again": again,
        }));
        return;
    }
    out.table(&STEPS, &rows);
    out.line("");
    out.line(format!(
        "would change offsets of group [{group}] in {} queues of topic [{topic}]: {skipped} messages skipped, {again} consumed again",
        rows.len()
    ));
}

/// An error if a broker does not know a group.
async fn check_group(admin: &Admin, address: &str, group: &str) -> Result<()> {
    let known = tables::group(admin, address, group).await?;
    ensure!(known.is_some(), "{address} knows no group {group}; make it with updateSubGroup");
    Ok(())
}

/// 14: where a group is in a queue; `None` if it never committed.
async fn committed(
    admin: &Admin,
    address: &str,
    group: &str,
    topic: &str,
    queue_id: i32,
) -> Result<Option<i64>> {
    let question = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id,
        set_zero_if_not_found: Some(false),
    };
    match admin.ask(address, request::QUERY_CONSUMER_OFFSET, &question).await {
        Ok(reply) => Ok(Some(reply.header::<OffsetReply>()?.offset)),
        Err(e) if refused_with(&e) == Some(response::QUERY_NOT_FOUND) => Ok(None),
        Err(e) => Err(e),
    }
}

/// 15: notes where a group is in a queue.
async fn commit(
    admin: &Admin,
    address: &str,
    group: &str,
    topic: &str,
    queue: i32,
    offset: i64,
) -> Result<()> {
    let header = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: Some(queue),
        commit_offset: Some(offset),
    };
    admin.ask(address, request::UPDATE_CONSUMER_OFFSET, &header).await.map(drop)
}

/// 30, 31: an end of a queue.
async fn queue_offset(
    admin: &Admin,
    address: &str,
    code: i32,
    topic: &str,
    queue_id: i32,
) -> Result<i64> {
    let question = QueueQuestion { topic: topic.into(), queue_id };
    Ok(admin.ask(address, code, &question).await?.header::<OffsetReply>()?.offset)
}

/// Where a queue was at a time: the first message that was stored then or later.
async fn target(
    admin: &Admin,
    address: &str,
    topic: &str,
    queue_id: i32,
    timestamp: i64,
) -> Result<i64> {
    if timestamp <= END {
        return queue_offset(admin, address, request::GET_MAX_OFFSET, topic, queue_id).await;
    }
    let boundary_type = Some("LOWER".into());
    let question = SearchOffset { topic: topic.into(), queue_id, timestamp, boundary_type };
    let code = request::SEARCH_OFFSET_BY_TIMESTAMP;
    let reply = admin.ask(address, code, &question).await?;
    Ok(reply.header::<OffsetReply>()?.offset)
}

/// Commits an offset, and looks whether it is there: while a reset waits for the group's next pull, a broker
/// says yes to a commit and passes it over.
async fn commit_for_sure(
    admin: &Admin,
    address: &str,
    group: &str,
    topic: &str,
    queue: i32,
    offset: i64,
) -> Result<()> {
    commit(admin, address, group, topic, queue, offset).await?;
    let now = committed(admin, address, group, topic, queue).await?;
    ensure!(
        now == Some(offset),
        "queue {queue} of {topic} on {address} stays at {now:?}: a reset of group {group} waits there until a client of it pulls; start one, and try again"
    );
    Ok(())
}

/// Options of `cloneGroupOffset`.
#[derive(Debug, clap::Args)]
pub struct CloneGroupOffset {
    #[arg(short = 's', long = "srcGroup", value_name = "GROUP")]
    from: String,
    #[arg(short = 'd', long = "destGroup", value_name = "GROUP")]
    to: String,
    /// Only offsets in this topic are copied
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Has no effect, as in mqadmin
    #[arg(short = 'o', long = "offline", value_name = "true|false")]
    _offline: Option<String>,
    /// Say from where to where offsets would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Run for CloneGroupOffset {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (from, to, topic) = (self.from.trim(), self.to.trim(), self.topic.trim());
        ensure!(from != to, "-s and -d name the same group, {from}");
        let route = admin.route(topic).await?;
        let mut steps = Vec::new();
        on_each(&holders(&route), async |broker| {
            let address = &broker.address;
            check_group(admin, address, to).await?;
            for queue in 0..read_queues(&route, broker) {
                let offset = committed(admin, address, from, topic, queue).await?;
                let Some(offset) = offset else { continue };
                let now = committed(admin, address, to, topic, queue).await?;
                steps.push(Step { broker: broker.clone(), queue, from: now, to: offset });
            }
            Ok(())
        })
        .await?;
        if steps.is_empty() {
            bail!("group {from} has no offsets in topic {topic}: there is nothing to copy");
        }
        if self.dry_run {
            would_move(to, topic, &steps, out);
            return Ok(());
        }
        let (mut rows, mut failed) = (Vec::new(), Failed::default());
        for Step { broker, queue, to: offset, .. } in &steps {
            let name = &broker.name;
            match commit_for_sure(admin, &broker.address, to, topic, *queue, *offset).await {
                Ok(()) => {
                    rows.push(json!({"brokerName": name, "queueId": queue, "offset": offset}))
                }
                Err(error) => failed.add(&format!("{name} {queue}"), &error),
            }
        }
        let result = failed.result(steps.len());
        if result.is_ok() {
            out.line(format!(
                "clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]"
            ));
        }
        out.value(json!({"srcGroup": from, "destGroup": to, "topic": topic, "queues": rows}));
        result
    }
}
