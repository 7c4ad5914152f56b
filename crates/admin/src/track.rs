//! Who consumed a message: each group of its topic, and how far it is.

use std::fmt;

use anyhow::Result;
use kerolox_protocol::remoting::admin::{ConsumeStatsQuestion, ConsumerConnection};
use kerolox_protocol::remoting::client::{ConsumeDirectly, ConsumerGroup, RunningInfo};
use kerolox_protocol::remoting::codes::{request, response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::{Admin, Asked, Broker, Refusal, holders, refused_with};
use crate::bodies::{ConsumeStats, queue_of};
use crate::commands::topics::groups_of;
use crate::lookup::Found;

/// How far one group is with a message.
#[derive(Debug)]
pub struct Track {
    group: String,
    kind: &'static str,
    why: Option<String>,
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, kind) = (&self.group, self.kind);
        let why = self.why.as_deref().unwrap_or("null");
        write!(f, "MessageTrack [consumerGroup={group}, trackType={kind}, exceptionDesc={why}]")
    }
}

impl Track {
    /// As JSON, with the names that the text has.
    pub fn json(&self) -> Value {
        json!({"consumerGroup": self.group, "trackType": self.kind, "exceptionDesc": self.why})
    }
}

/// How far each group of a message's topic is with it, by name.
pub async fn tracks(admin: &Admin, found: &Found, asked: &mut Asked) -> Result<Vec<Track>> {
    let topic = &found.message.topic;
    let route = admin.route(topic).await?;
    let mut tracks = Vec::new();
    for group in groups_of(admin, &holders(&route), topic, asked).await {
        let track = match track(admin, &group, found).await {
            Ok(kind) => Track { group, kind, why: None },
            Err(error) => failed(group, &error),
        };
        tracks.push(track);
    }
    Ok(tracks)
}

fn failed(group: String, error: &anyhow::Error) -> Track {
    let kind = if is_offline(error) { "NOT_ONLINE" } else { "UNKNOWN" };
    let why = match error.downcast_ref::<Refusal>() {
        Some(refusal) => format!("CODE:{} DESC:{}", refusal.code, refusal.remark),
        None => format!("{error:#}"),
    };
    Track { group, kind, why: Some(why) }
}

/// The brokers to which a group's members are connected: those of its retry topic, else of the topic.
async fn brokers_of(admin: &Admin, group: &str, topic: &str) -> Result<Vec<Broker>> {
    match admin.find_route(&format!("%RETRY%{group}")).await? {
        Some(route) => Ok(holders(&route)),
        None => admin.holders(topic).await,
    }
}

/// 203 of the first broker to which the group is connected.
async fn connection(admin: &Admin, group: &str, topic: &str) -> Result<ConsumerConnection> {
    let question = ConsumerGroup { consumer_group: group.into() };
    let mut why: Option<anyhow::Error> = None;
    for broker in brokers_of(admin, group, topic).await? {
        let code = request::GET_CONSUMER_CONNECTION_LIST;
        match admin.ask(&broker.address, code, &question).await {
            Ok(reply) => return Ok(reply.json()?),
            // Offline it is where all say so: one that does not answer may have its clients.
            Err(error) => why = why.filter(|why| !is_offline(why)).or(Some(error)),
        }
    }
    Err(why.unwrap_or_else(|| anyhow::anyhow!("no broker knows the group {group}")))
}

fn is_offline(error: &anyhow::Error) -> bool {
    refused_with(error) == Some(response::CONSUMER_NOT_ONLINE)
}

async fn track(admin: &Admin, group: &str, found: &Found) -> Result<&'static str> {
    let message = &found.message;
    let connection = connection(admin, group, &message.topic).await?;
    match connection.consume_type.as_str() {
        "CONSUME_ACTIVELY" => return Ok("PULL"),
        "CONSUME_PASSIVELY" => {}
        _ => return Ok("UNKNOWN"),
    }
    let Some(offset) = offset_of(admin, group, found).await? else {
        let is_broadcast = connection.message_model == "BROADCASTING";
        return Ok(if is_broadcast { "CONSUME_BROADCASTING" } else { "NOT_CONSUME_YET" });
    };
    if offset <= message.queue_offset {
        return Ok("NOT_CONSUME_YET");
    }
    let wanted = connection.subscription_table.get(&message.topic);
    let is_wanted = wanted.is_none_or(|subscription| {
        let tags = &subscription.tags_set;
        let tag = message.property("TAGS").unwrap_or_default();
        tags.is_empty() || tags.iter().any(|wanted| wanted == tag || wanted == "*")
    });
    Ok(if is_wanted { "CONSUMED" } else { "CONSUMED_BUT_FILTERED" })
}

/// 208 of the broker that has the message: a group's offset of its queue.
async fn offset_of(admin: &Admin, group: &str, found: &Found) -> Result<Option<i64>> {
    let message = &found.message;
    let question = ConsumeStatsQuestion {
        consumer_group: group.into(),
        topic: Some(message.topic.as_str().into()),
        topic_list: None,
    };
    let (address, code) = (&found.broker.address, request::GET_CONSUME_STATS);
    let stats: ConsumeStats = admin.ask_long(address, code, &question).await?.json()?;
    for (key, offsets) in &stats.offset_table {
        let queue = queue_of(key)?;
        if queue.topic == message.topic && queue.queue_id == message.queue_id {
            return Ok(Some(offsets.consumer_offset));
        }
    }
    Ok(None)
}

/// What a client says of itself; only its kind is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Running {
    properties: std::collections::BTreeMap<String, Value>,
}

/// 307: whether a client takes messages that are pushed to it.
pub async fn takes_pushes(admin: &Admin, topic: &str, group: &str, client: &str) -> Result<bool> {
    let question = RunningInfo {
        consumer_group: group.into(),
        client_id: client.into(),
        jstack_enable: false,
    };
    let mut last = anyhow::anyhow!("no broker knows the group {group}");
    for broker in brokers_of(admin, group, topic).await? {
        let code = request::GET_CONSUMER_RUNNING_INFO;
        let running = match admin.ask_long(&broker.address, code, &question).await {
            Ok(reply) => reply.json::<Running>()?,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let kind = running.properties.get("PROP_CONSUME_TYPE");
        return Ok(kind.is_some_and(|kind| kind == "CONSUME_PASSIVELY"));
    }
    Err(last.context(format!("get consumer runtime info for {client} client failed")))
}

/// How a client got on with a message.
#[derive(Debug, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Consumed {
    order: bool,
    auto_commit: bool,
    consume_result: Option<String>,
    remark: Option<String>,
    spent_time_mills: i64,
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.as_deref().unwrap_or("null").to_owned();
        write!(
            f,
            "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, spentTimeMills={}]",
            self.order,
            self.auto_commit,
            text(&self.consume_result),
            text(&self.remark),
            self.spent_time_mills
        )
    }
}

/// 309: lets a client consume a message now.
pub async fn push(admin: &Admin, found: &Found, group: &str, client: &str) -> Result<Consumed> {
    let header = ConsumeDirectly {
        consumer_group: group.into(),
        client_id: Some(client.into()),
        msg_id: Some(found.message.offset_id.as_str().into()),
        broker_name: None,
        topic: Some(found.message.topic.as_str().into()),
    };
    let code = request::CONSUME_MESSAGE_DIRECTLY;
    Ok(admin.ask_long(&found.broker.address, code, &header).await?.json()?)
}
