//! Messages looked up: by id, key and offset; who consumed them; the index of a queue.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use kerolox_protocol::remoting::admin::ConsumeQueueQuestion;
use kerolox_protocol::remoting::codes::request;
use serde_json::{Value, json};

use super::Run;
use super::sends::resend;
use super::topics::pretty;
use crate::admin::{Admin, Asked, Failed};
use crate::format::{Message, body_text, check_charset, parse_time, time, time_ms};
use crate::lookup::{Answer, Found, INDEX_MAX, Index, Question, by_id, by_unique_id};
use crate::out::{Cell, Column, Out, one_line};
use crate::queues::{Reading, queue_on};
use crate::trace::{Step, steps};
use crate::track::{push, takes_pushes, tracks};

/// Where a message's body goes.
#[derive(Debug, Clone, clap::Args)]
struct Body {
    /// Write each body to a file of this folder, which is named after the message's id (mqadmin always
    /// writes to /tmp/rocketmq/msgbodys); without it the body is printed
    #[arg(long, value_name = "DIR")]
    body_file: Option<PathBuf>,
}

impl Body {
    /// Writes the body, if that is wanted; tells where it is. Of several messages with one id each gets a
    /// file of its own.
    fn write(&self, message: &Message, nth: usize) -> Result<Option<PathBuf>> {
        let Some(folder) = &self.body_file else { return Ok(None) };
        let name = file_name(message);
        let path = match nth {
            0 => folder.join(name),
            _ => folder.join(format!("{name}_{nth}")),
        };
        let shown = path.display();
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, &message.body))
            .with_context(|| format!("the body cannot be written to {shown}"))?;
        Ok(Some(path))
    }
}

/// A file's name for a message. Its id was written by a client: it must not lead out of a folder.
fn file_name(message: &Message) -> &str {
    let is_plain = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let id = message.id();
    if is_plain(id) && id.len() <= 64 { id } else { &message.offset_id }
}

/// Prints a message line by line.
fn block(out: &mut Out, message: &Message, offset_id: bool, body: bool, path: Option<&Path>) {
    let mut field = |label: &str, value: &str| out.line(format!("{label:<20} {}", one_line(value)));
    let listed = |name: &str| format!("[{}]", message.property(name).unwrap_or("null"));
    if offset_id {
        field("OffsetID:", &message.offset_id);
    }
    field("Topic:", &message.topic);
    field("Tags:", &listed("TAGS"));
    field("Keys:", &listed("KEYS"));
    field("Queue ID:", &message.queue_id.to_string());
    field("Queue Offset:", &message.queue_offset.to_string());
    field("CommitLog Offset:", &message.physical_offset.to_string());
    field("Reconsume Times:", &message.reconsume_times.to_string());
    field("Born Timestamp:", &time_ms(message.born_timestamp));
    field("Store Timestamp:", &time_ms(message.store_timestamp));
    field("Born Host:", &message.born_host);
    field("Store Host:", &message.store_host);
    field("System Flag:", &message.sys_flag.to_string());
    field("Properties:", &message.properties_text());
    if let Some(path) = path {
        field("Message Body Path:", &path.display().to_string());
    }
    if body {
        out.line(format!("{:<20} {}", "Message Body:", body_text(&message.body)));
    }
}

/// How messages are shown.
#[derive(Debug, Clone, Copy)]
struct Shown<'a> {
    offset_id: bool,
    /// Print the body although it is written to a file.
    with_body: bool,
    body: &'a Body,
    /// Which one it is of several with one id.
    nth: usize,
}

/// Prints a message and who consumed it; gives the same as JSON. That nobody can say who consumed it is
/// noted, and told at the end.
async fn show(
    admin: &Admin,
    out: &mut Out,
    found: &Found,
    shown: Shown<'_>,
    failed: &mut Failed,
) -> Result<Value> {
    let path = shown.body.write(&found.message, shown.nth)?;
    let with_body = shown.with_body || path.is_none();
    block(out, &found.message, shown.offset_id, with_body, path.as_deref());
    let mut value = found.json();
    if let Some(path) = path {
        value["bodyFile"] = path.display().to_string().into();
    }
    let mut asked = Asked::default();
    let known = tracks(admin, found, &mut asked).await;
    if let Ok(tracks) = &known {
        out.line("\n");
        if tracks.is_empty() && asked.is_complete() {
            out.line("WARN: No Consumer");
        }
        tracks.iter().for_each(|track| out.line(track));
        value["tracks"] = tracks.iter().map(|track| track.json()).collect();
    }
    if let Err(error) = known.and(asked.result()) {
        failed.add("tracks", &error.context("who consumed the message cannot be told"));
    }
    Ok(value)
}

/// Lets a client consume messages.
async fn push_each(
    admin: &Admin,
    out: &mut Out,
    topic: &str,
    ids: &[&str],
    (group, client): (&str, &str),
    cluster: Option<&str>,
) -> Result<()> {
    ensure!(
        takes_pushes(admin, topic, group, client).await?,
        "this {client} client is not push consumer ,not support direct push"
    );
    let (mut values, mut failed) = (Vec::new(), Failed::default());
    for id in ids {
        let pushed = async {
            let found = by_id(admin, topic, id, cluster).await?;
            push(admin, &found, group, client).await
        };
        match pushed.await {
            Ok(consumed) => {
                out.line(&consumed);
                values.push(json!({"msgId": id, "result": consumed}));
            }
            Err(error) => failed.add(id, &error),
        }
    }
    out.value(&values);
    failed.result(ids.len())
}

/// Options of `queryMsgById`.
#[derive(Debug, clap::Args)]
pub struct QueryMsgById {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Ids, with commas between
    #[arg(short = 'i', long = "msgId", required = true)]
    ids: String,
    /// Let a client of this group consume the messages now
    #[arg(short = 'g', long = "consumerGroup", requires = "client", value_name = "GROUP")]
    group: Option<String>,
    /// This client
    #[arg(short = 'd', long = "clientId", requires = "group", value_name = "CLIENT")]
    client: Option<String>,
    /// Send the messages again
    #[arg(short = 's', long = "sendMessage", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    send: bool,
    /// Taken for mqadmin's sake: it is a part of the name of Apache's client alone
    #[arg(short = 'u', long = "unitName", requires = "send")]
    unit: Option<String>,
    /// UTF-8; prints the body beside --body-file
    #[arg(short = 'f', long = "bodyFormat", value_name = "CHARSET")]
    format: Option<String>,
    /// Only brokers of this cluster; of a light topic (LMQ), its parent
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    #[command(flatten)]
    body: Body,
}

impl QueryMsgById {
    async fn print(&self, admin: &Admin, out: &mut Out, ids: &[&str]) -> Result<()> {
        let with_body = self.format.is_some();
        let shown = Shown { offset_id: true, with_body, body: &self.body, nth: 0 };
        let (mut values, mut failed) = (Vec::new(), Failed::default());
        for id in ids {
            match by_id(admin, self.topic.trim(), id, self.cluster.as_deref()).await {
                Ok(found) => values.push(show(admin, out, &found, shown, &mut failed).await?),
                Err(error) => failed.add(id, &error),
            }
        }
        out.value(&values);
        failed.result(ids.len())
    }

    async fn send_again(&self, admin: &Admin, out: &mut Out, ids: &[&str]) -> Result<()> {
        let (mut values, mut failed) = (Vec::new(), Failed::default());
        for id in ids {
            let sent = async {
                let found = by_id(admin, self.topic.trim(), id, self.cluster.as_deref()).await?;
                resend(admin, &found.message).await
            };
            match sent.await {
                Ok(result) => {
                    out.line(format!("prepare resend msg. originalMsgId={id}"));
                    out.line(&result);
                    values.push(json!({"originalMsgId": id, "result": result.json()}));
                }
                Err(error) => failed.add(id, &error),
            }
        }
        out.value(&values);
        failed.result(ids.len())
    }
}

impl Run for QueryMsgById {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        if let Some(charset) = &self.format {
            check_charset("-f", charset)?;
        }
        let ids: Vec<&str> =
            self.ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
        ensure!(!ids.is_empty(), "-i {}: there is no id in it", self.ids);
        match (&self.group, &self.client) {
            (Some(group), Some(client)) => {
                let cluster = self.cluster.as_deref();
                push_each(admin, out, self.topic.trim(), &ids, (group, client), cluster).await
            }
            _ if self.send => self.send_again(admin, out, &ids).await,
            _ => self.print(admin, out, &ids).await,
        }
    }
}

/// What is looked for by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KeyType {
    #[value(name = "K")]
    Key,
    #[value(name = "T")]
    Tag,
}

/// Options of `queryMsgByKey`.
#[derive(Debug, clap::Args)]
pub struct QueryMsgByKey {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'k', long = "msgKey")]
    key: String,
    /// Stored then or later
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time, default_value_t = 0, allow_hyphen_values = true)]
    begin: i64,
    /// Stored then or before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time, default_value_t = i64::MAX, allow_hyphen_values = true)]
    end: i64,
    /// Print at most so many, the newest of all brokers
    #[arg(short = 'm', long = "maxNum", value_name = "N", default_value_t = INDEX_MAX, value_parser = clap::value_parser!(i32).range(1..))]
    most: i32,
    /// Only brokers of this cluster; of a light topic (LMQ), its parent
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// K: keys, T: tags
    #[arg(short = 'p', long = "keyType", default_value = "K")]
    kind: KeyType,
    /// Go on behind this #IndexKey, where the broker's index is in RocksDB
    #[arg(short = 'l', long = "lastKey")]
    last_key: Option<String>,
}

const BY_KEY: [Column; 4] = [
    Column::left("#Message ID", "msgId", 50).gap(1),
    Column::right("#QID", "queueId", 4),
    Column::right("#Offset", "queueOffset", 40),
    Column::left("#IndexKey", "indexKey", 200),
];

impl QueryMsgByKey {
    fn question(&self) -> Question<'_> {
        Question {
            topic: self.topic.trim(),
            key: self.key.trim(),
            index: match self.kind {
                KeyType::Key => Index::Key,
                KeyType::Tag => Index::Tag,
            },
            cluster: self.cluster.as_deref(),
            begin: self.begin,
            end: self.end,
            most: self.most,
            last_key: self.last_key.as_deref(),
        }
    }

    fn row(&self, found: &Found) -> Vec<Cell> {
        let message = &found.message;
        let hour = message.store_timestamp - message.store_timestamp.rem_euclid(3_600_000);
        let kind = if self.kind == KeyType::Tag { "T" } else { "K" };
        let (topic, key, id) = (self.topic.trim(), self.key.trim(), message.id());
        let index = format!("{hour}@{topic}@{kind}@{key}@{id}@{}", message.physical_offset);
        vec![id.into(), message.queue_id.into(), message.queue_offset.into(), index.into()]
    }
}

/// The newest of what brokers have, at most so many.
fn newest(answer: &mut Answer, most: i32) -> Vec<Found> {
    let mut found = std::mem::take(&mut answer.found);
    found.sort_by_key(|found| std::cmp::Reverse(found.message.store_timestamp));
    found.truncate(usize::try_from(most).unwrap_or(0));
    found
}

impl Run for QueryMsgByKey {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut answer = self.question().answer(admin).await?;
        let found = newest(&mut answer, self.most);
        if found.is_empty() {
            answer.complete()?;
            let what = if self.kind == KeyType::Tag { "tag" } else { "key" };
            bail!(
                "no message of topic {} between these times has the {what} {:?}",
                self.topic.trim(),
                self.key.trim()
            );
        }
        let rows: Vec<_> = found.iter().map(|found| self.row(found)).collect();
        out.table(&BY_KEY, &rows);
        answer.complete()
    }
}

/// Options of `queryMsgByUniqueKey`.
#[derive(Debug, clap::Args)]
pub struct QueryMsgByUniqueKey {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'i', long = "msgId")]
    id: String,
    /// Let a client of this group consume the message now
    #[arg(short = 'g', long = "consumerGroup", requires = "client", value_name = "GROUP")]
    group: Option<String>,
    /// This client
    #[arg(short = 'd', long = "clientId", requires = "group", value_name = "CLIENT")]
    client: Option<String>,
    /// All messages with this id, not the first one alone
    #[arg(short = 'a', long = "showAll")]
    all: bool,
    /// Only brokers of this cluster; of a light topic (LMQ), its parent
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// Stored then or later
    #[arg(short = 's', long = "startTime", value_name = "TIME", value_parser = parse_time, default_value_t = 0, allow_hyphen_values = true)]
    begin: i64,
    /// Stored then or before
    #[arg(short = 'e', long = "endTime", value_name = "TIME", value_parser = parse_time, default_value_t = i64::MAX, allow_hyphen_values = true)]
    end: i64,
    #[command(flatten)]
    body: Body,
}

impl Run for QueryMsgByUniqueKey {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (topic, id, cluster) = (self.topic.trim(), self.id.trim(), self.cluster.as_deref());
        if let (Some(group), Some(client)) = (&self.group, &self.client) {
            return push_each(admin, out, topic, &[id], (group, client), cluster).await;
        }
        let question = Question::unique(topic, id, cluster);
        let question = Question { begin: self.begin, end: self.end, ..question };
        let mut messages = by_unique_id(admin, question).await?;
        if !self.all {
            messages.truncate(1);
        }
        let (mut values, mut failed) = (Vec::new(), Failed::default());
        for (nth, found) in messages.iter().enumerate() {
            let shown = Shown { offset_id: false, with_body: false, body: &self.body, nth };
            values.push(show(admin, out, found, shown, &mut failed).await?);
        }
        out.value(&values);
        failed.result(1)
    }
}

/// Options of `queryMsgByOffset`.
#[derive(Debug, clap::Args)]
pub struct QueryMsgByOffset {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'b', long = "brokerName", value_name = "BROKER")]
    broker: String,
    #[arg(short = 'i', long = "queueId", value_name = "N")]
    queue: i32,
    #[arg(short = 'o', long = "offset", value_name = "N")]
    offset: i64,
    /// UTF-8; prints the body beside --body-file
    #[arg(short = 'f', long = "bodyFormat", value_name = "CHARSET")]
    format: Option<String>,
    /// The topic by which the broker is found; of a light topic (LMQ), its parent
    #[arg(short = 'r', long = "routeTopic", value_name = "TOPIC")]
    route: Option<String>,
    #[command(flatten)]
    body: Body,
}

impl Run for QueryMsgByOffset {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        if let Some(charset) = &self.format {
            check_charset("-f", charset)?;
        }
        let topic = self.topic.trim();
        let route = admin.route(self.route.as_deref().unwrap_or(topic)).await?;
        let queue = queue_on(&route, topic, self.broker.trim(), self.queue)?;
        let pulled = queue.pull(admin, Reading::of("*"), self.offset, 1).await?;
        let status = pulled.status();
        let Some(message) = pulled.messages.into_iter().next() else {
            let (min, max) = queue.range(admin, None, None).await?;
            bail!(
                "{status}: there is no message at offset {} of {queue}, which holds {min} to {max} (without {max})",
                self.offset
            );
        };
        let found = Found { message, broker: queue.broker };
        let with_body = self.format.is_some();
        let shown = Shown { offset_id: true, with_body, body: &self.body, nth: 0 };
        let mut failed = Failed::default();
        let value = show(admin, out, &found, shown, &mut failed).await?;
        out.value(value);
        failed.result(1)
    }
}

/// Options of `queryMsgTraceById`.
#[derive(Debug, clap::Args)]
pub struct QueryMsgTraceById {
    #[arg(short = 'i', long = "msgId")]
    id: String,
    #[arg(
        short = 't',
        long = "traceTopic",
        value_name = "TOPIC",
        default_value = "RMQ_SYS_TRACE_TOPIC"
    )]
    topic: String,
    /// Traces that were stored then or later
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time, default_value_t = 0, allow_hyphen_values = true)]
    begin: i64,
    /// Traces that were stored then or before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time, default_value_t = i64::MAX, allow_hyphen_values = true)]
    end: i64,
    /// Read at most so many trace messages of each broker
    #[arg(short = 'c', long = "maxNum", value_name = "N", default_value_t = INDEX_MAX, value_parser = clap::value_parser!(i32).range(1..))]
    most: i32,
}

const fn trace_columns(group: &'static str, time: &'static str) -> [Column; 6] {
    [
        Column::left("#Type", "type", 10).gap(1),
        Column::left(group, "group", 20).gap(1),
        Column::left("#ClientHost", "clientHost", 20).gap(1),
        Column::left(time, "time", 20).gap(1),
        Column::left("#CostTimes", "costTime", 10).gap(1),
        Column::left("#Status", "status", 10),
    ]
}

const PUB: [Column; 6] = trace_columns("#ProducerGroup", "#SendTime");
const SUB: [Column; 6] = trace_columns("#ConsumerGroup", "#ConsumerTime");

/// Steps as a table with an empty line behind it.
fn print_steps(out: &mut Out, columns: &[Column], steps: &[&Step]) {
    out.head(columns);
    for step in steps {
        let row = [
            if step.consumed { "Sub" } else { "Pub" }.into(),
            step.group.as_str().into(),
            step.host.as_str().into(),
            Cell::shown(step.time, time(step.time)),
            Cell::shown(step.cost, format!("{}ms", step.cost)),
            step.status().into(),
        ];
        out.row(columns, &row);
    }
    out.line("");
}

impl Run for QueryMsgTraceById {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (topic, id) = (self.topic.trim(), self.id.trim());
        let question = Question {
            index: Index::Key,
            begin: self.begin,
            end: self.end,
            most: self.most,
            ..Question::unique(topic, id, None)
        };
        let mut answer = question.answer(admin).await?;
        let found = std::mem::take(&mut answer.found);
        let mut all: Vec<Step> = found.iter().flat_map(|found| steps(&found.message, id)).collect();
        if all.is_empty() {
            answer.complete()?;
            bail!(
                "{topic} holds no trace of message {id}: clients write one only if they are told to"
            );
        }
        all.sort_by(|a, b| (a.consumed, &a.group, a.time).cmp(&(b.consumed, &b.group, b.time)));
        if out.is_json() {
            out.value(all.iter().map(Step::json).collect::<Vec<_>>());
            return answer.complete();
        }
        for step in all.iter().filter(|step| !step.consumed) {
            print_steps(out, &PUB, &[step]);
        }
        let consumed: Vec<&Step> = all.iter().filter(|step| step.consumed).collect();
        for group in consumed.chunk_by(|a, b| a.group == b.group) {
            print_steps(out, &SUB, group);
        }
        answer.complete()
    }
}

/// Options of `queryCq`.
#[derive(Debug, clap::Args)]
pub struct QueryCq {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'q', long = "queue", value_name = "N")]
    queue: i32,
    /// The first entry
    #[arg(short = 'i', long = "index", value_name = "N")]
    index: i64,
    #[arg(short = 'c', long = "count", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..))]
    count: i32,
    /// Address (or name) of the broker; the topic's first one without it
    #[arg(short = 'b', long = "broker", value_name = "HOST:PORT")]
    broker: Option<String>,
    /// Show the subscription of this group, too
    #[arg(short = 'g', long = "consumer", value_name = "GROUP")]
    group: Option<String>,
}

impl QueryCq {
    async fn address(&self, admin: &Admin) -> Result<String> {
        if let Some(broker) = &self.broker {
            return Ok(admin.broker(broker.trim()).await?.address);
        }
        let holders = admin.holders(self.topic.trim()).await?;
        let first = holders.into_iter().next();
        Ok(first.context("No topic route data! No broker holds the topic")?.address)
    }
}

/// Between the parts of what `queryCq` prints.
const RULE: &str = "======================================";

/// An entry of a queue's index in Java's words.
fn entry_text(entry: &Value) -> String {
    let field = |name: &str| match &entry[name] {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!(
        "ConsumeQueueData{{physicOffset={}, physicSize={}, tagsCode={}, extendDataJson='{}', bitMap='{}', eval={}, msg='{}'}}",
        field("physicOffset"),
        field("physicSize"),
        field("tagsCode"),
        field("extendDataJson"),
        field("bitMap"),
        field("eval"),
        field("msg")
    )
}

impl Run for QueryCq {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let address = self.address(admin).await?;
        let question = ConsumeQueueQuestion {
            topic: self.topic.trim().into(),
            queue_id: self.queue,
            index: self.index,
            count: self.count,
            consumer_group: self.group.as_deref().map(Into::into),
        };
        let reply = admin.ask(&address, request::QUERY_CONSUME_QUEUE, &question).await?;
        if reply.body.is_empty() {
            bail!("{address}: {}", reply.remark.as_deref().unwrap_or("there is no such entry"));
        }
        let found: Value = reply.json()?;
        out.value(&found);
        if !found["subscriptionData"].is_null() {
            out.line(format!("Subscription data: \n{}", pretty(&found["subscriptionData"], 0)));
            out.line(RULE);
        }
        if let Value::String(filter) = &found["filterData"] {
            out.line(format!("Filter data: \n{filter}\n{RULE}"));
        }
        let (max, min) = (&found["maxQueueIndex"], &found["minQueueIndex"]);
        out.line(format!("Queue data: \nmax: {max}, min: {min}\n{RULE}"));
        for (index, entry) in
            (self.index..).zip(found["queueData"].as_array().into_iter().flatten())
        {
            out.line(format!("idx: {index}\n{}\n{RULE}", entry_text(entry)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leads_out_of_the_folder() {
        let named = |id: &str| {
            let properties = vec![("UNIQ_KEY".to_owned(), id.to_owned())];
            let message = Message { properties, ..crate::format::tests::message() };
            file_name(&message).to_owned()
        };
        assert_eq!(named("7F0000010101010101000000000007"), "7F0000010101010101000000000007");
        for bad in ["../x", "/etc/passwd", "..", "a\0b", &"A".repeat(65)] {
            assert_eq!(named(bad), "OFFSETID", "{bad:?}");
        }
    }
}
