//! Requests and answers in few words.

use bytes::Bytes;
use kerolox_client::{Connection, OwnedReply, PullReply};
use kerolox_protocol::properties;
use kerolox_protocol::record::{self, View};
use kerolox_protocol::remoting::admin::CreateTopic;
use kerolox_protocol::remoting::client::{ConsumerData, Heartbeat, SubscriptionData};
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::fields::{FieldError, FieldWriter, Fields, Header};
use kerolox_protocol::remoting::frame::Frame;
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use kerolox_protocol::remoting::send::{Send, SendReply};
use serde_json::Value;

/// Header fields, whatever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs(Vec<(String, String)>);

/// Fields for a request.
pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    Pairs(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

impl Pairs {
    /// A field's value; empty if it is not there.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value)
    }

    /// With a field changed or added.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Pairs {
        self = self.without(key);
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Pairs {
        self.0.retain(|(k, _)| k != key);
        self
    }
}

impl Fields for Pairs {
    fn write(&self, w: &mut FieldWriter<'_>) {
        for (key, value) in &self.0 {
            w.text(key, value);
        }
    }
}

impl Header for Pairs {
    fn read(frame: &Frame<'_>) -> Result<Pairs, FieldError> {
        let mut pairs = Vec::new();
        frame.for_each_field(|key, value| {
            pairs.push((key.to_owned(), value.into_owned()));
            Ok(())
        })?;
        Ok(Pairs(pairs))
    }
}

/// Asks anything.
pub(crate) async fn ask(connection: &Connection, code: i32, fields: &[(&str, &str)]) -> OwnedReply {
    tell(connection, code, fields, b"").await
}

/// Asks anything, with a body.
pub(crate) async fn tell(
    connection: &Connection,
    code: i32,
    fields: &[(&str, &str)],
    body: &[u8],
) -> OwnedReply {
    let body = Bytes::copy_from_slice(body);
    connection.call(code, &pairs(fields), body).await.expect("every request is answered")
}

/// What was answered must be this refusal: the code, and a part of the remark.
#[track_caller]
pub(crate) fn refused(reply: &OwnedReply, code: i32, remark: &str) {
    let said = reply.remark.as_deref().unwrap_or_default();
    assert_eq!(reply.code, code, "{said}");
    assert!(said.contains(remark), "{remark:?} is not in {said:?}");
}

/// What was answered must be a success; its header fields.
#[track_caller]
pub(crate) fn granted(reply: &OwnedReply) -> Pairs {
    assert_eq!(reply.code, 0, "{}", reply.remark.as_deref().unwrap_or_default());
    reply.header().expect("the header can be read")
}

/// The body of a success, as JSON; map keys that are objects become texts.
#[track_caller]
pub(crate) fn body(reply: &OwnedReply) -> Value {
    granted(reply);
    reply.json().expect("the body is JSON, in fastjson's dialect")
}

/// A message for a queue.
pub(crate) fn message(topic: &str, queue: i32) -> Send {
    Send {
        producer_group: "producers".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: queue,
        born_timestamp: 1_700_000_000_000,
        ..Send::default()
    }
}

/// Encoded properties.
pub(crate) fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    for (name, value) in pairs {
        properties::push(&mut out, name, value);
    }
    String::from_utf8(out).expect("it was made of texts")
}

/// Stores a message.
pub(crate) async fn put(connection: &Connection, topic: &str, queue: i32, body: &str) -> SendReply {
    put_with(connection, topic, queue, body, &[]).await
}

/// Stores a message with properties.
pub(crate) async fn put_with(
    connection: &Connection,
    topic: &str,
    queue: i32,
    body: &str,
    properties: &[(&str, &str)],
) -> SendReply {
    let header = Send { properties: encoded(properties).into(), ..message(topic, queue) };
    let body = Bytes::copy_from_slice(body.as_bytes());
    connection.send(&header, body).await.expect("the message is stored")
}

/// A pull that brings its own subscription to everything and does not wait.
pub(crate) fn look(group: &str, topic: &str, queue: i32, offset: i64) -> Pull {
    Pull {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: queue,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::SUBSCRIPTION,
        subscription: Some("*".into()),
        ..Pull::default()
    }
}

/// As [`look`], but it waits for a message.
pub(crate) fn wait(group: &str, topic: &str, queue: i32, offset: i64, ms: i64) -> Pull {
    let pull = look(group, topic, queue, offset);
    Pull { sys_flag: pull.sys_flag | sys_flag::SUSPEND, suspend_timeout_millis: ms, ..pull }
}

/// Every message of a queue, in order.
pub(crate) async fn read(connection: &Connection, topic: &str, queue: i32) -> Vec<String> {
    let mut bodies = Vec::new();
    let mut offset = 0;
    loop {
        let pull = look("readers", topic, queue, offset);
        let reply = connection.pull(&pull).await.expect("the queue can be read");
        bodies.extend(texts(&reply));
        if reply.code == 19 || reply.offsets.next_begin_offset == offset {
            return bodies;
        }
        offset = reply.offsets.next_begin_offset;
    }
}

/// The bodies of what a pull brought.
pub(crate) fn texts(reply: &PullReply) -> Vec<String> {
    records(reply).iter().map(|r| String::from_utf8_lossy(r.body).into_owned()).collect()
}

/// What a pull brought.
pub(crate) fn records(reply: &PullReply) -> Vec<View<'_>> {
    record::walk(&reply.body).collect()
}

/// A topic with some queues.
pub(crate) async fn make_topic(connection: &Connection, topic: &str, queues: i32) {
    let topic = CreateTopic {
        topic: topic.into(),
        default_topic: Some("TBW102".into()),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        ..CreateTopic::default()
    };
    connection.create_topic(&topic).await.expect("the topic is made");
}

/// A group, by its heartbeat, which subscribes to everything in a topic.
pub(crate) async fn join(connection: &Connection, group: &str, client: &str, topic: &str) {
    let beat = heartbeat(group, client, topic);
    connection.heartbeat(&beat).await.expect("the heartbeat is taken");
}

pub(crate) fn heartbeat(group: &str, client: &str, topic: &str) -> Heartbeat {
    let subscription = SubscriptionData {
        topic: topic.to_owned(),
        sub_string: "*".to_owned(),
        sub_version: 1,
        expression_type: "TAG".to_owned(),
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        group_name: group.to_owned(),
        consume_type: "CONSUME_PASSIVELY".to_owned(),
        message_model: "CLUSTERING".to_owned(),
        consume_from_where: "CONSUME_FROM_LAST_OFFSET".to_owned(),
        subscription_data_set: vec![subscription],
    };
    Heartbeat {
        client_id: client.to_owned(),
        consumer_data_set: vec![consumer],
        ..Heartbeat::default()
    }
}

/// Commits a group's offset.
pub(crate) async fn commit(
    connection: &Connection,
    group: &str,
    topic: &str,
    queue: i32,
    offset: i64,
) {
    let (queue, offset) = (queue.to_string(), offset.to_string());
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", &queue),
        ("commitOffset", &offset),
    ];
    granted(&ask(connection, request::UPDATE_CONSUMER_OFFSET, &fields).await);
}

/// A group's committed offset.
pub(crate) async fn committed(
    connection: &Connection,
    group: &str,
    topic: &str,
    queue: i32,
) -> OwnedReply {
    let queue = queue.to_string();
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", &queue),
        ("setZeroIfNotFound", "false"),
    ];
    ask(connection, request::QUERY_CONSUMER_OFFSET, &fields).await
}
