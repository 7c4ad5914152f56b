//! Messages sent: one, or many to see how long that takes.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use kerolox_protocol::names::AUTO_CREATE_TOPIC;
use kerolox_protocol::properties;
use kerolox_protocol::record::sys_flag;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::send::{Send, SendReply};
use serde_json::{Value, json};

use super::Run;
use crate::admin::{Admin, Broker};
use crate::endless::until_signal;
use crate::format::{Message, now, time};
use crate::out::{Cell, Column, Out};
use crate::queues::{Queue, queue_on, writable, writable_or_new};

/// The group of messages that these commands send.
const GROUP: &str = "TOOLS_PRODUCER";
/// Bytes that a body may have: more do not fit a frame.
const BODY_MAX: i64 = 8 << 20;

/// What became of a message that a broker took.
#[derive(Debug)]
pub(super) struct Sent {
    status: &'static str,
    /// The unique id, if the broker tells it.
    id: String,
    reply: SendReply,
    queue: Queue,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = Queue { id: self.reply.queue_id, ..self.queue.clone() };
        write!(
            f,
            "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={queue}, queueOffset={}, recallHandle=null]",
            self.status, self.id, self.reply.msg_id, self.reply.queue_offset
        )
    }
}

impl Sent {
    /// As JSON, with the names that the text has.
    pub(super) fn json(&self) -> Value {
        json!({
            "sendStatus": self.status,
            "msgId": self.id,
            "offsetMsgId": &*self.reply.msg_id,
            "topic": self.queue.topic,
            "brokerName": self.queue.broker.name,
            "queueId": self.reply.queue_id,
            "queueOffset": self.reply.queue_offset,
        })
    }
}

/// Sends to a queue, once.
async fn send(admin: &Admin, queue: &Queue, properties: &[u8], body: Bytes) -> Result<Sent> {
    send_with(admin, queue, properties, body, (0, 0)).await
}

/// [`send`] with the flags of a message: the broker's, which say how its body is packed, and the user's own. A
/// broker that took the message and could not copy it in time has it.
async fn send_with(
    admin: &Admin,
    queue: &Queue,
    properties: &[u8],
    body: Bytes,
    (sys_flag, flag): (i32, i32),
) -> Result<Sent> {
    let header = Send {
        sys_flag,
        flag,
        producer_group: GROUP.into(),
        topic: queue.topic.as_str().into(),
        default_topic: AUTO_CREATE_TOPIC.into(),
        default_topic_queue_nums: 4,
        queue_id: queue.id,
        born_timestamp: now(),
        properties: String::from_utf8_lossy(properties).into_owned().into(),
        broker_name: Some(queue.broker.name.as_str().into()),
        ..Send::default()
    };
    let connection = admin.at(&queue.broker.address).await?;
    let reply = connection.call(request::SEND_MESSAGE_V2, &header, body).await?;
    let status = match reply.code {
        response::SUCCESS => "SEND_OK",
        response::FLUSH_DISK_TIMEOUT => "FLUSH_DISK_TIMEOUT",
        response::SLAVE_NOT_AVAILABLE => "SLAVE_NOT_AVAILABLE",
        response::FLUSH_SLAVE_TIMEOUT => "FLUSH_SLAVE_TIMEOUT",
        _ => return Err(reply.refusal().into()),
    };
    let reply: SendReply = reply.header()?;
    let known = properties::get(properties, properties::UNIQ_KEY);
    let told = reply.transaction_id.as_deref().filter(|id| !id.is_empty());
    let id = known.or(told).unwrap_or(&reply.msg_id).to_owned();
    Ok(Sent { status, id, reply, queue: queue.clone() })
}

/// Any of some queues.
fn any(queues: &[Queue]) -> Result<&Queue> {
    // The clock is as good as a die here.
    let at = now().unsigned_abs() as usize % queues.len().max(1);
    queues.get(at).ok_or_else(|| anyhow!("there is no queue to send to"))
}

/// Sends a message again: with its properties and its flag, to its topic. A body that is still packed goes as
/// it is, and is said to be packed: its consumers can unpack it.
pub(super) async fn resend(admin: &Admin, message: &Message) -> Result<Sent> {
    let queues = writable_or_new(admin, &message.topic).await?;
    let mut encoded = Vec::new();
    for (name, value) in &message.properties {
        properties::push(&mut encoded, name, value);
    }
    let packing = match message.sys_flag & sys_flag::COMPRESSED {
        0 => 0,
        compressed => compressed | message.sys_flag & sys_flag::COMPRESSION,
    };
    let (body, flags) = (message.body.clone().into(), (packing, message.flag));
    send_with(admin, any(&queues)?, &encoded, body, flags).await
}

/// Options of `sendMessage`.
#[derive(Debug, clap::Args)]
pub struct SendMessage {
    /// Brokers with autoCreateTopicEnable make one that is not there
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// UTF-8
    #[arg(short = 'p', long = "body", allow_hyphen_values = true)]
    body: String,
    /// Keys, with blanks between
    #[arg(short = 'k', long = "key")]
    keys: Option<String>,
    #[arg(short = 'c', long = "tags")]
    tags: Option<String>,
    /// Name of the broker; any that holds the topic without it
    #[arg(short = 'b', long = "broker")]
    broker: Option<String>,
    #[arg(short = 'i', long = "qid", value_name = "N", requires = "broker", value_parser = clap::value_parser!(i32).range(0..))]
    queue: Option<i32>,
    /// Only false: there is no trace of what this command does
    #[arg(short = 'm', long = "msgTraceEnable", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    trace: bool,
}

impl SendMessage {
    async fn queue(&self, admin: &Admin) -> Result<Queue> {
        let topic = self.topic.trim();
        match (self.broker.as_deref().map(str::trim), self.queue) {
            (Some(broker), Some(id)) => queue_on(&admin.route(topic).await?, topic, broker, id),
            (Some(broker), None) => {
                let mut queues = writable(admin, topic).await?;
                queues.retain(|queue| queue.broker.name == broker);
                ensure!(!queues.is_empty(), "The broker[{broker}] not exist, or takes no messages");
                any(&queues).cloned()
            }
            (None, _) => any(&writable_or_new(admin, topic).await?).cloned(),
        }
    }
}

const SENT: [Column; 4] = [
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4),
    Column::left("#Send Result", "sendStatus", 20).gap(4),
    Column::left("#MsgId", "msgId", 0),
];

impl Run for SendMessage {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        ensure!(
            !self.trace,
            "-m true: this command writes no trace; clients do, if they are told to"
        );
        let body = self.body.trim().to_owned();
        ensure!(!body.is_empty(), "-p: the message body length is zero");
        let mut encoded = Vec::new();
        let named = [(properties::KEYS, &self.keys), (properties::TAGS, &self.tags)];
        for (name, value) in named {
            if let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) {
                ensure!(
                    !value.contains(['\u{1}', '\u{2}']),
                    "{value:?} holds byte 1 or 2, which separate properties"
                );
                properties::push(&mut encoded, name, value);
            }
        }
        properties::push(&mut encoded, properties::WAIT, "true");
        let queue = self.queue(admin).await?;
        let sent = send(admin, &queue, &encoded, body.into()).await?;
        out.value(sent.json());
        if !out.is_json() {
            let broker = sent.queue.broker.name.as_str();
            let row = [broker.into(), sent.reply.queue_id.into(), sent.status.into()];
            out.head(&SENT);
            out.row(&SENT, &[&row[..], &[sent.id.as_str().into()]].concat());
        }
        Ok(())
    }
}

/// How long sends took. The first one, which makes connections, does not count if there are others.
#[derive(Debug, Default)]
struct Times {
    first: f64,
    others: f64,
    sent: usize,
    failed: usize,
    /// Of the first one that failed.
    why: Option<String>,
}

impl Times {
    fn add(&mut self, ms: f64, result: &Result<Sent>) {
        if self.sent + self.failed == 0 {
            self.first = ms;
        } else {
            self.others += ms;
        }
        match result {
            Ok(_) => self.sent += 1,
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.why.get_or_insert_with(|| format!("{error:#}"));
    }

    fn mean(&self) -> f64 {
        match self.sent + self.failed {
            0 | 1 => self.first,
            n => self.others / (n - 1) as f64,
        }
    }

    /// An error if a send failed.
    fn check(&self) -> Result<()> {
        match &self.why {
            Some(why) => {
                let of = self.sent + self.failed;
                bail!("{} of {of} sends failed: {why}", self.failed)
            }
            None => Ok(()),
        }
    }
}

/// Sends, and tells how many ms it took.
async fn timed(admin: &Admin, queue: &Queue, body: &Bytes) -> (f64, Result<Sent>) {
    let begin = Instant::now();
    let sent = send(admin, queue, b"WAIT\x01true\x02", body.clone()).await;
    (begin.elapsed().as_secs_f64() * 1000.0, sent)
}

/// A body of so many bytes.
fn body_of(size: i64) -> Bytes {
    Bytes::from(vec![b'a'; size as usize])
}

/// Options of `checkMsgSendRT`.
#[derive(Debug, clap::Args)]
pub struct CheckMsgSendRT {
    /// Brokers with autoCreateTopicEnable make one that is not there
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Messages to send
    #[arg(short = 'a', long = "amount", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    amount: i64,
    /// Bytes of each
    #[arg(short = 's', long = "size", value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..=BODY_MAX))]
    size: i64,
}

const SEND_RT: [Column; 4] = [
    Column::left("#Broker Name", "brokerName", 32),
    Column::left("#QID", "queueId", 4),
    Column::left("#Send Result", "success", 20).gap(4),
    Column::left("#RT", "rt", 0),
];

impl Run for CheckMsgSendRT {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let queues = writable_or_new(admin, self.topic.trim()).await?;
        let body = body_of(self.size);
        let (mut times, mut rows) = (Times::default(), Vec::new());
        out.head(&SEND_RT);
        for queue in queues.iter().cycle().take(self.amount as usize) {
            let (ms, sent) = timed(admin, queue, &body).await;
            times.add(ms, &sent);
            let row = vec![
                queue.broker.name.as_str().into(),
                queue.id.into(),
                sent.is_ok().into(),
                Cell::shown(ms, format!("{ms:.0}")),
            ];
            if out.is_json() {
                rows.push(row);
            } else {
                out.row(&SEND_RT, &row);
                out.flush()?;
            }
        }
        let mean = times.mean();
        out.line(format!("Avg RT: {mean:.2}"));
        out.value(json!({"sends": crate::out::list(&SEND_RT, &rows), "avgRt": mean}));
        times.check()
    }
}

/// Options of `sendMsgStatus`.
#[derive(Debug, clap::Args)]
pub struct SendMsgStatus {
    /// Name of the broker: messages go to the topic of that name
    #[arg(short = 'b', long = "brokerName", value_name = "BROKER")]
    broker: String,
    /// Bytes of each message, at least
    #[arg(short = 's', long = "messageSize", value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..=BODY_MAX))]
    size: i64,
    /// Messages to send
    #[arg(short = 'c', long = "count", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    count: i64,
}

/// What test messages are made of.
const TEST_TEXT: &str = "hello jodie";

impl Run for SendMsgStatus {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let queues = writable(admin, self.broker.trim()).await?;
        let test_body = |size: usize| Bytes::from(TEST_TEXT.repeat(size.div_ceil(TEST_TEXT.len())));
        // The first one makes the connection, so its time says nothing.
        timed(admin, any(&queues)?, &test_body(16)).await.1?;
        let body = test_body(self.size as usize);
        let mut values = Vec::new();
        let mut failed = Ok(());
        for queue in queues.iter().cycle().take(self.count as usize) {
            match timed(admin, queue, &body).await {
                (ms, Ok(sent)) => {
                    out.line(format!("rt={ms:.0}ms, SendResult={sent}"));
                    out.flush()?;
                    values.push(json!({"rt": ms, "result": sent.json()}));
                }
                (_, Err(error)) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        out.value(&values);
        failed
    }
}

/// Options of `clusterRT`.
#[derive(Debug, clap::Args)]
pub struct ClusterRT {
    /// Messages to send to each broker
    #[arg(short = 'a', long = "amount", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    amount: i64,
    /// Bytes of each
    #[arg(short = 's', long = "size", value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..=BODY_MAX))]
    size: i64,
    /// Only this cluster
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// As lines of a log: time|room|cluster|broker|ms
    #[arg(short = 'p', long = "printLog", value_name = "true|false", default_value_t = false, action = clap::ArgAction::Set)]
    log: bool,
    /// The room that the log names
    #[arg(short = 'm', long = "machineRoom", value_name = "ROOM", default_value = "noname")]
    room: String,
    /// Between two rounds
    #[arg(short = 'i', long = "interval", value_name = "SECONDS", default_value_t = 10)]
    interval: u64,
    /// End after so many rounds; without it, with a signal
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
}

const CLUSTER_RT: [Column; 5] = [
    Column::left("#Cluster Name", "cluster", 24),
    Column::left("#Broker Name", "brokerName", 24),
    Column::left("#RT", "rt", 8),
    Column::left("#successCount", "successCount", 16),
    Column::left("#failCount", "failCount", 16),
];

impl ClusterRT {
    /// Sends to a broker's own topic.
    async fn times(&self, admin: &Admin, broker: &Broker) -> Times {
        let mut times = Times::default();
        let queues = match writable(admin, &broker.name).await {
            Ok(queues) => queues,
            Err(error) => {
                (0..self.amount).for_each(|_| times.fail(&error));
                return times;
            }
        };
        let body = body_of(self.size);
        for queue in queues.iter().cycle().take(self.amount as usize) {
            let (ms, sent) = timed(admin, queue, &body).await;
            times.add(ms, &sent);
        }
        times
    }

    fn print(&self, out: &mut Out, broker: &Broker, times: &Times) {
        let (cluster, name, mean) = (broker.cluster.as_str(), broker.name.as_str(), times.mean());
        if self.log && !out.is_json() {
            let (time, room) = (time(now()), &self.room);
            return out.line(format!("{time}|{room}|{cluster}|{name}|{mean:.0}"));
        }
        let row = [
            cluster.into(),
            name.into(),
            Cell::float(mean, 2),
            times.sent.into(),
            times.failed.into(),
        ];
        out.row(&CLUSTER_RT, &row);
    }

    /// Rounds without end, or as many as are wanted. That sends fail is told at the end of those.
    async fn work(&self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut brokers = admin.replicas(self.cluster.as_deref()).await?;
        brokers.retain(|broker| broker.id == 0);
        ensure!(!brokers.is_empty(), "no master is registered at the name server");
        let mut result = Ok(());
        let mut round = 0;
        if !self.log {
            out.head(&CLUSTER_RT);
        }
        loop {
            for broker in &brokers {
                let times = self.times(admin, broker).await;
                self.print(out, broker, &times);
                out.flush()?;
                result = result.and_then(|()| {
                    times.check().map_err(|error| error.context(format!("to {}", broker.name)))
                });
            }
            round += 1;
            if self.rounds == Some(round) || out.is_closed() {
                return result;
            }
            tokio::time::sleep(Duration::from_secs(self.interval)).await;
        }
    }
}

impl Run for ClusterRT {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        until_signal(self.work(admin, out)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_send_counts_only_if_it_is_alone() {
        let failed = || Err(anyhow!("no"));
        let mut times = Times::default();
        assert_eq!(times.mean(), 0.0);
        times.add(50.0, &failed());
        assert_eq!(times.mean(), 50.0);
        times.add(2.0, &failed());
        times.add(4.0, &failed());
        assert_eq!((times.mean(), times.failed), (3.0, 3));
        assert_eq!(times.check().unwrap_err().to_string(), "3 of 3 sends failed: no");
    }
}
