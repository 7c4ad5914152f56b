//! 34 `HEART_BEAT`, 35 `UNREGISTER_CLIENT`, 38 `GET_CONSUMER_LIST_BY_GROUP`, 46
//! `CHECK_CLIENT_CONFIG`; and what a broker asks of a client: 40, 220, 307, 309.

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::fields::header;

/// The body of 34. Fields that nothing here reads are left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    #[serde(rename = "clientID")]
    #[serde(deserialize_with = "null_as_default")]
    pub client_id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub producer_data_set: Vec<ProducerData>,
    #[serde(deserialize_with = "null_as_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Not 0: the client knows heartbeats without subscriptions (V2).
    pub heartbeat_fingerprint: i32,
    /// The subscriptions are left out: those sent before still hold.
    pub without_sub: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    pub group_name: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    pub group_name: String,
    /// `CONSUME_ACTIVELY` (pull), `CONSUME_PASSIVELY` (push), `CONSUME_POP`.
    #[serde(deserialize_with = "consume_type")]
    pub consume_type: String,
    /// `CLUSTERING`, `BROADCASTING`.
    #[serde(deserialize_with = "message_model")]
    pub message_model: String,
    /// `CONSUME_FROM_LAST_OFFSET`, …
    #[serde(deserialize_with = "consume_from_where")]
    pub consume_from_where: String,
    #[serde(deserialize_with = "null_as_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
}

/// What a group wants of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    #[serde(skip_deserializing)]
    pub class_filter_mode: bool,
    pub topic: String,
    /// `*`, or tags with `||` between.
    #[serde(deserialize_with = "null_as_default")]
    pub sub_string: String,
    #[serde(deserialize_with = "null_as_default")]
    pub tags_set: Vec<String>,
    /// Hashes of the tags. Not read: clients send texts here, or nonsense.
    #[serde(skip_deserializing)]
    pub code_set: Vec<i32>,
    #[serde(deserialize_with = "number")]
    pub sub_version: i64,
    /// `TAG`, `SQL92`.
    #[serde(deserialize_with = "null_as_default")]
    pub expression_type: String,
}

/// A number that may come as text.
fn number<'de, D: serde::Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    Ok(match serde_json::Value::deserialize(d)? {
        serde_json::Value::Number(n) => n.as_i64().unwrap_or_default(),
        serde_json::Value::String(text) => text.trim().parse().unwrap_or_default(),
        _ => 0,
    })
}

/// An enum constant by name or, from the C++ client, by its number in Java.
fn constant<'de, D: serde::Deserializer<'de>>(d: D, names: &[&str]) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(d)? {
        serde_json::Value::String(name) => name,
        serde_json::Value::Number(n) => {
            let at = n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            names.get(at).copied().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    })
}

fn consume_type<'de, D: serde::Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    constant(d, &["CONSUME_ACTIVELY", "CONSUME_PASSIVELY", "CONSUME_POP"])
}

fn message_model<'de, D: serde::Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    constant(d, &["BROADCASTING", "CLUSTERING"])
}

fn consume_from_where<'de, D: serde::Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    constant(
        d,
        &[
            "CONSUME_FROM_LAST_OFFSET",
            "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
            "CONSUME_FROM_MIN_OFFSET",
            "CONSUME_FROM_MAX_OFFSET",
            "CONSUME_FROM_FIRST_OFFSET",
            "CONSUME_FROM_TIMESTAMP",
        ],
    )
}

fn null_as_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

header! {
    /// 35.
    Unregister {
        client_id: ByteString = "clientID",
        producer_group: Option<ByteString> = "producerGroup",
        consumer_group: Option<ByteString> = "consumerGroup",
    }
}

header! {
    /// 38, 40 and 203: a question about one group, or news of it.
    ConsumerGroup { consumer_group: ByteString = "consumerGroup" }
}

/// The body of the answer to 38.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerList {
    pub consumer_id_list: Vec<String>,
}

/// The body of 46.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    pub client_id: String,
    pub group: String,
    pub subscription_data: SubscriptionData,
}

header! {
    /// 307: what a consumer is doing. The broker hands it on to the client.
    RunningInfo {
        consumer_group: ByteString = "consumerGroup",
        client_id: ByteString = "clientId",
        jstack_enable: bool = "jstackEnable",
    }
}

header! {
    /// 309: let one client consume one message now. The broker adds the message and hands it on.
    ConsumeDirectly {
        consumer_group: ByteString = "consumerGroup",
        client_id: Option<ByteString> = "clientId",
        msg_id: Option<ByteString> = "msgId",
        broker_name: Option<ByteString> = "brokerName",
        topic: Option<ByteString> = "topic",
    }
}

header! {
    /// 220: a group's offsets of a topic were reset; the body names them.
    ResetClientOffset {
        topic: ByteString = "topic",
        group: ByteString = "group",
        timestamp: i64 = "timestamp",
        is_force: bool = "isForce",
    }
}
