//! Messages printed: of a topic, of a queue, from now on.

use std::collections::BTreeMap;
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kerolox_protocol::remoting::codes::response;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Run;
use crate::admin::{Admin, Asked, BadQueue, Broker};
use crate::endless::until_signal;
use crate::format::{Message, body_text, check_charset, now, parse_time, time_ms};
use crate::lookup::json_of;
use crate::out::{Out, one_line};
use crate::queues::{Pulled, Queue, Reading, check_is_there, queue_on, readable};

/// The line that mqadmin prints of a message. Without its body, that is nowhere in it.
fn line_of(queue: &Queue, message: &Message, with_body: bool) -> String {
    let (id, broker) = (one_line(message.id()), &queue.broker.name);
    if with_body {
        let (text, body) = (message.text(broker), body_text(&message.body));
        return format!("MSGID: {id} {} BODY: {body}", one_line(&text));
    }
    let bare = Message { body: Vec::new(), ..message.clone() };
    format!("MSGID: {id} {} BODY: NOT PRINT BODY", one_line(&bare.text(broker)))
}

/// A line of text, or a value.
fn print(out: &mut Out, queue: &Queue, message: &Message, with_body: bool) {
    if !out.is_json() {
        return out.line(line_of(queue, message, with_body));
    }
    let mut value = json_of(message, &queue.broker.name);
    if let Value::Object(fields) = &mut value
        && !with_body
    {
        fields.remove("body");
    }
    out.value(value);
}

/// Reads a range of a queue and hands on what each pull brings, until the queue is at its end or nobody
/// wants more. That nothing matches is no end.
async fn read(
    admin: &Admin,
    queue: &Queue,
    reading: Reading<'_>,
    (begin, end): (i64, i64),
    mut each: impl FnMut(&Pulled) -> bool,
) -> Result<()> {
    let mut offset = begin;
    while offset < end {
        let pulled = queue.pull_until(admin, reading, offset, end).await?;
        // Retention has taken what comes first: it goes on behind that.
        let is_cut = pulled.code == response::PULL_OFFSET_MOVED && pulled.next > offset;
        if is_cut && pulled.next < end {
            offset = pulled.next;
            continue;
        }
        let goes_on = matches!(pulled.code, response::SUCCESS | response::PULL_RETRY_IMMEDIATELY);
        if !each(&pulled) {
            return Ok(());
        }
        if !goes_on {
            let status = pulled.status();
            let why = format!("{queue} ended at offset {offset}, before {end} ({status})");
            return Err(BadQueue(why).into());
        }
        offset = pulled.next;
    }
    Ok(())
}

/// Prints what a pull brought, or why it brought nothing; tells whether anybody reads it.
fn print_pulled(out: &mut Out, queue: &Queue, pulled: &Pulled, with_body: bool) -> Result<bool> {
    let (status, next) = (pulled.status(), pulled.next);
    match pulled.code {
        response::SUCCESS => {
            pulled.messages.iter().for_each(|message| print(out, queue, message, with_body));
        }
        response::PULL_RETRY_IMMEDIATELY => {
            out.line(format!("{queue} no matched msg. status={status}, offset={next}"));
        }
        _ => out.line(format!("{queue} print msg finished. status={status}, offset={next}")),
    }
    out.flush()?;
    Ok(!out.is_closed())
}

/// Reads a range of a queue and prints it.
async fn print_range(
    admin: &Admin,
    out: &mut Out,
    queue: &Queue,
    reading: Reading<'_>,
    range: (i64, i64),
    with_body: bool,
) -> Result<()> {
    let mut printed = Ok(());
    read(admin, queue, reading, range, |pulled| {
        match print_pulled(out, queue, pulled, with_body) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                printed = Err(error);
                false
            }
        }
    })
    .await?;
    printed
}

/// Options of `printMsg`.
#[derive(Debug, clap::Args)]
pub struct PrintMsg {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// UTF-8
    #[arg(short = 'c', long = "charsetName", value_name = "CHARSET", default_value = "UTF-8")]
    charset: String,
    /// Tags with || between
    #[arg(short = 's', long = "subExpression", value_name = "EXPR", default_value = "*")]
    expression: String,
    /// Stored then or later
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    begin: Option<i64>,
    /// Stored before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    end: Option<i64>,
    #[arg(short = 'd', long = "printBody", value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    body: bool,
    /// The topic in whose queues a light topic (LMQ) stands
    #[arg(short = 'l', long = "lmqParentTopic", value_name = "TOPIC")]
    parent: Option<String>,
}

impl PrintMsg {
    async fn print_queue(&self, admin: &Admin, out: &mut Out, queue: &Queue) -> Result<()> {
        let (min, max) = queue.range(admin, self.begin, self.end).await?;
        out.line(format!("minOffset={min}, maxOffset={max}, {queue}"));
        let reading = Reading::of(&self.expression);
        print_range(admin, out, queue, reading, (min, max), self.body).await?;
        out.line("-".repeat(56));
        Ok(())
    }
}

impl Run for PrintMsg {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        check_charset("-c", &self.charset)?;
        let queues = readable(admin, self.topic.trim(), self.parent.as_deref()).await?;
        let mut asked = Asked::default();
        for queue in &queues {
            let print = async |_: &Broker| {
                let printed = self.print_queue(admin, out, queue).await;
                printed.with_context(|| queue.to_string())
            };
            asked.each(slice::from_ref(&queue.broker), print).await;
            if out.is_closed() {
                break;
            }
        }
        asked.result()
    }
}

/// Options of `printMsgByQueue`.
#[derive(Debug, clap::Args)]
pub struct PrintMsgByQueue {
    #[arg(short = 't', long = "topic")]
    topic: String,
    #[arg(short = 'a', long = "brokerName", value_name = "BROKER")]
    broker: String,
    #[arg(short = 'i', long = "queueId", value_name = "N")]
    queue: i32,
    /// UTF-8
    #[arg(short = 'c', long = "charsetName", value_name = "CHARSET", default_value = "UTF-8")]
    charset: String,
    /// Tags with || between
    #[arg(short = 's', long = "subExpression", value_name = "EXPR", default_value = "*")]
    expression: String,
    /// Stored then or later
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    begin: Option<i64>,
    /// Stored before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    end: Option<i64>,
    /// Print the messages; true unless tags are counted
    #[arg(short = 'p', long = "printMsg", value_name = "true|false", action = clap::ArgAction::Set)]
    print: Option<bool>,
    #[arg(short = 'd', long = "printBody", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    body: bool,
    /// Count the messages of each tag
    #[arg(short = 'f', long = "calculate", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    calculate: bool,
}

/// Counts the tags of messages.
fn count_tags(counts: &mut BTreeMap<String, u64>, messages: &[Message]) {
    let tags = messages.iter().filter_map(|message| message.property("TAGS"));
    for tag in tags.filter(|tag| !tag.trim().is_empty()) {
        *counts.entry(tag.to_owned()).or_default() += 1;
    }
}

/// Tags by how often they are there, then by name.
fn print_counts(out: &mut Out, counts: BTreeMap<String, u64>) {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (tag, count) in counts {
        let value = json!({"tag": tag, "count": count});
        out.say(format!("Tag: {:<30} Count: {count}", one_line(&tag)), value);
    }
}

impl Run for PrintMsgByQueue {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        check_charset("-c", &self.charset)?;
        let topic = self.topic.trim();
        let route = admin.route(topic).await?;
        let queue = queue_on(&route, topic, self.broker.trim(), self.queue)?;
        check_is_there(&route, &queue)?;
        let range = queue.range(admin, self.begin, self.end).await?;
        let prints = self.print.unwrap_or(!self.calculate);
        let mut counts = BTreeMap::new();
        let result = read(admin, &queue, Reading::of(&self.expression), range, |pulled| {
            if prints {
                pulled.messages.iter().for_each(|m| print(out, &queue, m, self.body));
            }
            if self.calculate {
                count_tags(&mut counts, &pulled.messages);
            }
            !out.is_closed()
        })
        .await;
        print_counts(out, counts);
        result
    }
}

/// Options of `consumeMessage`.
#[derive(Debug, clap::Args)]
pub struct ConsumeMessage {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Only the queues of this broker
    #[arg(short = 'b', long = "brokerName", value_name = "BROKER")]
    broker: Option<String>,
    /// Only this queue
    #[arg(short = 'i', long = "queueId", value_name = "N")]
    queue: Option<i32>,
    /// Only from here on
    #[arg(short = 'o', long = "offset", value_name = "N")]
    offset: Option<i64>,
    /// In the name of this group, whose offsets stay as they are; brokers with autoCreateSubscriptionGroup make
    /// one that is not there
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP", default_value = crate::queues::TOOLS_GROUP)]
    group: String,
    /// Stored then or later
    #[arg(short = 's', long = "beginTimestamp", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    begin: Option<i64>,
    /// Stored before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    end: Option<i64>,
    /// Read at most so many
    #[arg(
        short = 'c',
        long = "MessageNumber",
        value_name = "N",
        default_value_t = 128,
        allow_hyphen_values = true
    )]
    most: i64,
}

impl ConsumeMessage {
    fn check(&self) -> Result<()> {
        let now = now();
        ensure!(self.most > 0, "Please input a positive messageNumber!");
        ensure!(
            self.queue.is_none() || self.broker.is_some(),
            "Please set the brokerName before queueId!"
        );
        ensure!(self.offset.is_none() || self.queue.is_some(), "Please set queueId before offset!");
        ensure!(
            self.begin.is_none_or(|time| time <= now),
            "Please set the beginTimestamp before now!"
        );
        ensure!(self.end.is_none_or(|time| time <= now), "Please set the endTimestamp before now!");
        let is_right = self.begin.zip(self.end).is_none_or(|(begin, end)| begin <= end);
        ensure!(
            is_right,
            "Please make sure that the beginTimestamp is less than or equal to the endTimestamp"
        );
        Ok(())
    }

    async fn queues(&self, admin: &Admin) -> Result<Vec<Queue>> {
        let topic = self.topic.trim();
        let mut queues = readable(admin, topic, None).await?;
        if let Some(broker) = self.broker.as_deref().map(str::trim) {
            queues.retain(|queue| queue.broker.name == broker);
            ensure!(
                !queues.is_empty(),
                "The broker[{broker}] not exist, or has no queue of {topic}"
            );
        }
        if let Some(id) = self.queue {
            queues.retain(|queue| queue.id == id);
            ensure!(!queues.is_empty(), "{topic} has no queue {id} there that can be read");
        }
        Ok(queues)
    }

    /// Reads of one queue what may be read of it; tells how many offsets are left.
    async fn consume(&self, admin: &Admin, out: &mut Out, queue: &Queue, left: i64) -> Result<i64> {
        let (min, mut max) = queue.range(admin, self.begin, self.end).await?;
        let min = match self.offset {
            Some(offset) if offset > max => {
                out.line(format!("{queue} no matched msg, offset={offset}"));
                return Ok(left);
            }
            offset => min.max(offset.unwrap_or(0)),
        };
        if max - min > left {
            out.line(match self.queue {
                Some(_) => format!("The older {left} message will be provided"),
                None => {
                    format!("The older {left} message of the {} queue will be provided", queue.id)
                }
            });
            max = min + left;
        }
        let reading = Reading { group: &self.group, ..Reading::of("*") };
        let mut printed = Ok(());
        read(admin, queue, reading, (min, max), |pulled| {
            if pulled.code == response::SUCCESS {
                out.line("Consume ok");
            }
            match print_pulled(out, queue, pulled, true) {
                Ok(goes_on) => goes_on,
                Err(error) => {
                    printed = Err(error);
                    false
                }
            }
        })
        .await?;
        printed.map(|()| left - (max - min).max(0))
    }
}

impl Run for ConsumeMessage {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        self.check()?;
        let queues = self.queues(admin).await?;
        let (mut left, mut asked) = (self.most, Asked::default());
        for queue in &queues {
            if left <= 0 || out.is_closed() {
                break;
            }
            let consume = async |_: &Broker| {
                let consumed = self.consume(admin, out, queue, left).await;
                left = consumed.with_context(|| queue.to_string())?;
                Ok(())
            };
            asked.each(slice::from_ref(&queue.broker), consume).await;
        }
        asked.result()
    }
}

/// Options of `tail`.
#[derive(Debug, Clone, clap::Args)]
pub struct Tail {
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Begin with the oldest messages, not with new ones
    #[arg(long, conflicts_with = "from")]
    from_beginning: bool,
    /// Begin with the messages that were stored then: ms since 1970, or local time as
    /// 2026-11-28#20:05:13:042
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<i64>,
    /// Only messages with one of these tags, with || between
    #[arg(long, value_name = "EXPR", default_value = "*")]
    tag: String,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End with the messages that are there now
    #[arg(long)]
    no_follow: bool,
    /// Characters of a body that are shown
    #[arg(long, value_name = "N", default_value_t = 200)]
    width: usize,
}

/// How long a broker may wait for a message.
const SUSPEND: Duration = Duration::from_secs(10);
/// How long a queue may fail before that is an error: a broker may start anew meanwhile.
const FAIL_MAX: Duration = Duration::from_secs(30);
/// Before a try after one that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Before a try after one that found nothing: not every broker waits for messages.
const REST: Duration = Duration::from_millis(100);

/// How far one queue is followed.
#[derive(Debug)]
struct Follower {
    queue: Queue,
    next: i64,
    /// Where it ends, if it does.
    end: Option<i64>,
    failing_since: Option<Instant>,
    /// Before the next pull.
    pause: Duration,
}

/// A follower back from a pull.
type Back = (Follower, Result<Pulled>);

impl Follower {
    async fn new(admin: &Admin, queue: Queue, tail: &Tail) -> Result<Follower> {
        let end = if tail.no_follow { Some(queue.max_offset(admin).await?) } else { None };
        let next = match (tail.from, tail.from_beginning, end) {
            (Some(time), ..) => queue.offset_at(admin, time).await?,
            (None, true, _) => queue.min_offset(admin).await?,
            (None, false, Some(end)) => end,
            (None, false, None) => queue.max_offset(admin).await?,
        };
        Ok(Follower { queue, next, end, failing_since: None, pause: Duration::ZERO })
    }

    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Pulls once, apart from other queues.
    async fn pull(self, admin: &Admin, tail: &Tail, pulls: &mut JoinSet<Back>) {
        let connection = admin.at(&self.queue.broker.address).await;
        let expression = tail.tag.clone();
        pulls.spawn(async move {
            let wait = if self.end.is_some() { Duration::ZERO } else { SUSPEND };
            tokio::time::sleep(self.pause).await;
            let reading = Reading { wait, ..Reading::of(&expression) };
            let most = crate::queues::PULL_MAX;
            let pulled = match connection {
                Ok(connection) => self.queue.pull_from(&connection, reading, self.next, most).await,
                Err(error) => Err(error),
            };
            (self, pulled)
        });
    }

    /// Takes what a pull brought; messages behind the end are dropped.
    fn take(&mut self, pulled: Result<Pulled>) -> Result<Vec<Message>> {
        match pulled {
            Ok(mut pulled) => {
                self.failing_since = None;
                let at_end = pulled.code == response::PULL_NOT_FOUND;
                self.pause = if at_end { REST } else { Duration::ZERO };
                // Nothing is left where the queue says that it is at its end.
                self.next = if at_end && self.end.is_some() { i64::MAX } else { pulled.next };
                let end = self.end.unwrap_or(i64::MAX);
                pulled.messages.retain(|message| message.queue_offset < end);
                Ok(pulled.messages)
            }
            Err(error) => {
                self.pause = PAUSE;
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                if self.end.is_some() || since.elapsed() > FAIL_MAX {
                    return Err(error).with_context(|| self.queue.to_string());
                }
                Ok(Vec::new())
            }
        }
    }
}

/// The begin of a text, in one line.
fn shortened(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some((end, _)) => format!("{}…", one_line(&text[..end])),
        None => one_line(text).into_owned(),
    }
}

impl Tail {
    fn line(&self, queue: &Queue, message: &Message) -> String {
        let property = |name: &str| one_line(message.property(name).unwrap_or("-"));
        let at = format!("{}:{}@{}", one_line(&queue.broker.name), queue.id, message.queue_offset);
        let (time, id) = (time_ms(message.store_timestamp), one_line(message.id()));
        let (tags, keys) = (property("TAGS"), property("KEYS"));
        let body = shortened(&body_text(&message.body), self.width);
        format!("{time} {at} {id} {tags} {keys} {body}")
    }

    async fn follow(&self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut pulls = JoinSet::new();
        for queue in readable(admin, self.topic.trim(), None).await? {
            let follower = Follower::new(admin, queue, self).await?;
            if !follower.is_done() {
                follower.pull(admin, self, &mut pulls).await;
            }
        }
        let mut left = self.limit.unwrap_or(u64::MAX);
        while let Some(back) = pulls.join_next().await {
            let (mut follower, pulled) = back?;
            for message in follower.take(pulled)?.iter().take(left as usize) {
                let value = json_of(message, &follower.queue.broker.name);
                out.say(self.line(&follower.queue, message), value);
                left -= 1;
            }
            out.flush()?;
            if left == 0 || out.is_closed() {
                break;
            }
            if !follower.is_done() {
                follower.pull(admin, self, &mut pulls).await;
            }
        }
        Ok(())
    }
}

impl Run for Tail {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        ensure!(!self.tag.trim().is_empty(), "--tag: there is no tag in it");
        until_signal(self.follow(admin, out)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_become_one_short_line() {
        assert_eq!(shortened("a\nb\u{1b}[2J", 20), "a\\nb\\u{1b}[2J");
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äöü…");
    }
}
