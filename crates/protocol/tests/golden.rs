//! Whole request frames that real clients sent, one a file in `tests/golden`, in hex.
//!
//! A file's name is the client, what it asks, the request code, and `-binary` where the header is
//! binary. For each the test holds what must be read of it: who sent it, its typed header or body.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use expect_test::{Expect, expect};
use kerolox_protocol::remoting::admin::{CreateTopic, TopicQuestion};
use kerolox_protocol::remoting::client::{ConsumerGroup, Heartbeat, Unregister};
use kerolox_protocol::remoting::codes::{names, request};
use kerolox_protocol::remoting::fields::Header;
use kerolox_protocol::remoting::frame::{Form, Frame, Head, encode, frame_size, language_name};
use kerolox_protocol::remoting::lock::LockBatch;
use kerolox_protocol::remoting::offsets::{
    QueryConsumerOffset, QueueQuestion, SearchOffset, UpdateConsumerOffset,
};
use kerolox_protocol::remoting::pull::Pull;
use kerolox_protocol::remoting::registration::DeleteTopicInNames;
use kerolox_protocol::remoting::route::RouteQuestion;
use kerolox_protocol::remoting::send::{Send, SendBack};
use kerolox_protocol::{batch, json};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file's name without `.hex`, and what is read of it.
type Golden = (&'static str, Expect);

const CLIENTS: [fn() -> Vec<Golden>; 5] = [java_4, java_5, go, cpp, node];

#[test]
fn java_4_9_8_is_understood() {
    check(java_4(), "java-4.9.8-", "JAVA", 409);
}

#[test]
fn java_5_5_0_is_understood() {
    check(java_5(), "java-5.5.0-", "JAVA", 513);
}

#[test]
fn go_is_understood() {
    check(go(), "go-", "GO", 317);
}

#[test]
fn cpp_is_understood() {
    check(cpp(), "cpp-", "CPP", 63);
}

/// It calls itself Java.
#[test]
fn node_is_understood() {
    check(node(), "node-", "JAVA", 121);
}

#[test]
fn every_file_has_an_expectation() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".hex").expect("only .hex files are here").to_owned()
    });
    let expected = CLIENTS.iter().flat_map(|client| client()).map(|(name, _)| name.to_owned());
    assert_eq!(files.collect::<BTreeSet<_>>(), expected.collect::<BTreeSet<_>>());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[track_caller]
fn check(frames: Vec<Golden>, prefix: &str, language: &str, version: i32) {
    for (name, expected) in frames {
        assert!(name.starts_with(prefix), "{name}");
        let bytes = load(name);
        assert_eq!(frame_size(&bytes), Ok(Some(bytes.len())), "{name}");
        let frame = Frame::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (plain, form) = match name.strip_suffix("-binary") {
            Some(plain) => (plain, Form::Binary),
            None => (name, Form::Json),
        };
        let code = plain.rsplit('-').next().and_then(|code| code.parse().ok());
        assert_eq!((Some(frame.code), frame.form), (code, form), "{name}");
        assert_eq!((language_name(frame.language), frame.version), (language, version), "{name}");
        assert!(!frame.is_reply() && frame.opaque >= 0, "{name}");
        assert!(frame.remark.as_deref().is_none_or(str::is_empty), "{name}");
        let oneway = if frame.is_oneway() { ", one-way" } else { "" };
        let text = format!("opaque {}{oneway}\n{}", frame.opaque, wrap(&decode(&frame)));
        expected.assert_eq(&text);
    }
}

fn load(name: &str) -> Bytes {
    let text =
        std::fs::read_to_string(folder().join(format!("{name}.hex"))).expect("the file is there");
    let digit = |b: &u8| char::from(*b).to_digit(16).expect("only hex digits") as u8;
    let digits: Vec<u8> = text.trim().as_bytes().iter().map(digit).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().into()
}

/// What a broker or name server reads of the frame, as text.
fn decode(frame: &Frame<'_>) -> String {
    match frame.code {
        request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
            send(frame)
        }
        request::PULL_MESSAGE => header::<Pull>(frame),
        request::QUERY_CONSUMER_OFFSET => header::<QueryConsumerOffset>(frame),
        request::UPDATE_CONSUMER_OFFSET => header::<UpdateConsumerOffset>(frame),
        request::UPDATE_AND_CREATE_TOPIC => header::<CreateTopic>(frame),
        request::SEARCH_OFFSET_BY_TIMESTAMP => header::<SearchOffset>(frame),
        request::GET_MAX_OFFSET => header::<QueueQuestion>(frame),
        request::HEART_BEAT => body::<Heartbeat>(frame),
        request::UNREGISTER_CLIENT => header::<Unregister>(frame),
        request::CONSUMER_SEND_MSG_BACK => header::<SendBack>(frame),
        request::GET_CONSUMER_LIST_BY_GROUP => header::<ConsumerGroup>(frame),
        request::LOCK_BATCH_MQ | request::UNLOCK_BATCH_MQ => body::<LockBatch>(frame),
        request::DELETE_TOPIC_IN_BROKER => header::<TopicQuestion>(frame),
        names::GET_ROUTEINFO_BY_TOPIC => header::<RouteQuestion>(frame),
        names::DELETE_TOPIC_IN_NAMESRV => header::<DeleteTopicInNames>(frame),
        // Requests without fields, and those that nobody answers: the fields as they stand.
        _ => {
            assert!(frame.body().is_empty());
            let mut fields = Vec::new();
            let each = |key: &str, value: std::borrow::Cow<'_, str>| {
                fields.push(format!("{key}={value}"));
                Ok(())
            };
            frame.for_each_field(each).expect("its fields are sound");
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn send(frame: &Frame<'_>) -> String {
    let text = header::<Send>(frame);
    let body = frame.body();
    if !Send::read(frame).expect("just read").batch {
        return format!("{text}\n{:?}", String::from_utf8_lossy(&body));
    }
    let inner = batch::split(&body).expect("the header says that it is a batch");
    let mut again = Vec::new();
    inner.iter().for_each(|message| batch::push(&mut again, message));
    assert_eq!(again, body);
    let messages = inner.iter().map(|message| {
        let (body, properties) = (text_of(message.body), text_of(message.properties));
        format!("\n{}: {body:?} {properties:?}", message.flag)
    });
    text + &messages.collect::<String>()
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only text was sent")
}

/// The typed header. Written again, in either form, it reads the same.
fn header<H: Header + Debug + PartialEq>(frame: &Frame<'_>) -> String {
    let header = H::read(frame).expect("a client sent it");
    for form in [Form::Json, Form::Binary] {
        let head = Head { form, code: frame.code, opaque: frame.opaque, ..Head::default() };
        let mut out = BytesMut::new();
        let body = frame.body();
        encode(&mut out, &head, &header, body.len());
        out.put_slice(&body);
        let bytes = out.freeze();
        let again = Frame::parse(&bytes).expect("it was just written");
        assert_eq!((again.code, again.opaque, again.form), (frame.code, frame.opaque, form));
        assert_eq!(H::read(&again).as_ref(), Ok(&header));
        assert_eq!(again.body(), body);
    }
    format!("{header:?}")
}

/// The JSON body. Written again, it reads the same.
fn body<T: DeserializeOwned + Serialize + Debug>(frame: &Frame<'_>) -> String {
    let body: T = json::from_slice(&frame.body()).expect("a client sent it");
    let text = format!("{body:?}");
    let written = serde_json::to_vec(&body).expect("it holds texts and numbers");
    let again: T = json::from_slice(&written).expect("it was just written");
    assert_eq!(format!("{again:?}"), text);
    text
}

/// Breaks lines behind commas, so that they can be read.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut width = 0;
        for part in line.split_inclusive(", ") {
            if width > 0 && width + part.trim_end().len() > 90 {
                out.truncate(out.trim_end().len());
                out.push_str("\n  ");
                width = 2;
            }
            out.push_str(part);
            width += part.len();
        }
        out.push('\n');
    }
    out
}

fn java_4() -> Vec<Golden> {
    vec![
        (
            "java-4.9.8-batch-320",
            expect![[r#"
                opaque 6
                Send { producer_group: "golden_producer", topic: "golden_topic", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 0, sys_flag: 0, born_timestamp: 1795521959302,
                  flag: 0, properties: "WAIT\u{1}true", reconsume_times: 0, unit_mode: false,
                  max_reconsume_times: None, batch: true, broker_name: Some("broker-a") }
                0: "first of the batch" "color\u{1}red\u{2}KEYS\u{1}key3\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000002\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA"
                0: "second of the batch" "color\u{1}red\u{2}KEYS\u{1}key4\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000003\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagB"
            "#]],
        ),
        (
            "java-4.9.8-consumer-list-38",
            expect![[r#"
                opaque 23
                ConsumerGroup { consumer_group: "golden_group" }
            "#]],
        ),
        (
            "java-4.9.8-heartbeat-34",
            expect![[r#"
                opaque 15
                Heartbeat { client_id: "127.0.0.1@11521#4351251391784",
                  producer_data_set: [ProducerData { group_name: "CLIENT_INNER_PRODUCER" }],
                  consumer_data_set: [ConsumerData { group_name: "golden_group",
                  consume_type: "CONSUME_PASSIVELY", message_model: "CLUSTERING",
                  consume_from_where: "CONSUME_FROM_FIRST_OFFSET",
                  subscription_data_set: [SubscriptionData { class_filter_mode: false,
                  topic: "%RETRY%golden_group", sub_string: "*", tags_set: [], code_set: [],
                  sub_version: 1795521960316, expression_type: "TAG" },
                  SubscriptionData { class_filter_mode: false, topic: "golden_topic",
                  sub_string: "TagA || TagB", tags_set: ["TagA", "TagB"], code_set: [],
                  sub_version: 1795521960313, expression_type: "TAG" }] }], heartbeat_fingerprint: 0,
                  without_sub: false }
            "#]],
        ),
        (
            "java-4.9.8-lock-41",
            expect![[r#"
                opaque 72
                LockBatch { consumer_group: Some("golden_orderly"),
                  client_id: Some("127.0.0.1@11521#4351296199605"), only_this_broker: false,
                  mq_set: [MessageQueue { broker_name: "broker-a", queue_id: 2, topic: "golden_topic" }] }
            "#]],
        ),
        (
            "java-4.9.8-max-offset-30",
            expect![[r#"
                opaque 116
                QueueQuestion { topic: "golden_topic", queue_id: 0 }
            "#]],
        ),
        (
            "java-4.9.8-pull-11",
            expect![[r#"
                opaque 48
                Pull { consumer_group: "golden_group", topic: "golden_topic", queue_id: 2,
                  queue_offset: 1, max_msg_nums: 32, sys_flag: 3, commit_offset: 1,
                  suspend_timeout_millis: 15000, subscription: None, sub_version: 1795521960390,
                  expression_type: Some("TAG") }
            "#]],
        ),
        (
            "java-4.9.8-pull-11-binary",
            expect![[r#"
                opaque 56
                Pull { consumer_group: "golden_group", topic: "golden_topic", queue_id: 2,
                  queue_offset: 1, max_msg_nums: 32, sys_flag: 3, commit_offset: 1,
                  suspend_timeout_millis: 15000, subscription: None, sub_version: 1795521983481,
                  expression_type: Some("TAG") }
            "#]],
        ),
        (
            "java-4.9.8-query-offset-14",
            expect![[r#"
                opaque 33
                QueryConsumerOffset { consumer_group: "golden_group", topic: "golden_topic", queue_id: 2,
                  set_zero_if_not_found: None }
            "#]],
        ),
        (
            "java-4.9.8-route-105",
            expect![[r#"
                opaque 2
                RouteQuestion { topic: "golden_topic" }
            "#]],
        ),
        (
            "java-4.9.8-send-310",
            expect![[r#"
                opaque 4
                Send { producer_group: "golden_producer", topic: "golden_topic", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 3, sys_flag: 0, born_timestamp: 1795521959276,
                  flag: 0,
                  properties: "color\u{1}red\u{2}KEYS\u{1}key1 key2\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: false,
                  broker_name: Some("broker-a") }
                "hello golden"
            "#]],
        ),
        (
            "java-4.9.8-send-310-binary",
            expect![[r#"
                opaque 2
                Send { producer_group: "golden_producer", topic: "golden_topic", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 0, sys_flag: 0, born_timestamp: 1795521982245,
                  flag: 0,
                  properties: "color\u{1}red\u{2}KEYS\u{1}key1 key2\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: false,
                  broker_name: Some("broker-a") }
                "hello golden"
            "#]],
        ),
        (
            "java-4.9.8-send-back-36",
            expect![[r#"
                opaque 135
                SendBack { offset: 209153172, group: "golden_group", delay_level: 1,
                  origin_msg_id: Some("7F000001000100000000000000000001"),
                  origin_topic: Some("golden_topic"), unit_mode: false, max_reconsume_times: Some(16) }
            "#]],
        ),
        (
            "java-4.9.8-unregister-35",
            expect![[r#"
                opaque 145
                Unregister { client_id: "127.0.0.1@11521#4351251391784", producer_group: None,
                  consumer_group: Some("golden_group") }
            "#]],
        ),
        (
            "java-4.9.8-update-offset-15",
            expect![[r#"
                opaque 140, one-way
                UpdateConsumerOffset { consumer_group: "golden_group", topic: "golden_topic",
                  queue_id: Some(2), commit_offset: Some(1) }
            "#]],
        ),
    ]
}

fn java_5() -> Vec<Golden> {
    vec![
        (
            "java-5.5.0-batch-320",
            expect![[r#"
                opaque 9
                Send { producer_group: "golden_producer", topic: "golden_topic", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 0, sys_flag: 0, born_timestamp: 1795521969926,
                  flag: 0,
                  properties: "UNIQ_KEY\u{1}000000000000000000000000000000012E0630946E09790B17060000\u{2}WAIT\u{1}true\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: true,
                  broker_name: Some("broker-a") }
                0: "first of the batch" "color\u{1}red\u{2}KEYS\u{1}key3\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000002\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}"
                0: "second of the batch" "color\u{1}red\u{2}KEYS\u{1}key4\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000003\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagB\u{2}"
            "#]],
        ),
        (
            "java-5.5.0-consumer-list-38",
            expect![[r#"
                opaque 35
                ConsumerGroup { consumer_group: "golden_group" }
            "#]],
        ),
        (
            "java-5.5.0-heartbeat-34",
            expect![[r#"
                opaque 18
                Heartbeat { client_id: "127.0.0.1@11782#4361886566155",
                  producer_data_set: [ProducerData { group_name: "CLIENT_INNER_PRODUCER" }],
                  consumer_data_set: [ConsumerData { group_name: "golden_group",
                  consume_type: "CONSUME_PASSIVELY", message_model: "CLUSTERING",
                  consume_from_where: "CONSUME_FROM_FIRST_OFFSET",
                  subscription_data_set: [SubscriptionData { class_filter_mode: false,
                  topic: "%RETRY%golden_group", sub_string: "*", tags_set: [], code_set: [],
                  sub_version: 1795521970951, expression_type: "TAG" },
                  SubscriptionData { class_filter_mode: false, topic: "golden_topic",
                  sub_string: "TagA || TagB", tags_set: ["TagA", "TagB"], code_set: [],
                  sub_version: 1795521970946, expression_type: "TAG" }] }], heartbeat_fingerprint: 0,
                  without_sub: false }
            "#]],
        ),
        (
            "java-5.5.0-lock-41",
            expect![[r#"
                opaque 67
                LockBatch { consumer_group: Some("golden_orderly"),
                  client_id: Some("127.0.0.1@11782#4361978461293"), only_this_broker: false,
                  mq_set: [MessageQueue { broker_name: "broker-a", queue_id: 2, topic: "golden_topic" }] }
            "#]],
        ),
        (
            "java-5.5.0-max-offset-30",
            expect![[r#"
                opaque 109
                QueueQuestion { topic: "golden_topic", queue_id: 0 }
            "#]],
        ),
        (
            "java-5.5.0-pull-11",
            expect![[r#"
                opaque 86
                Pull { consumer_group: "golden_group", topic: "golden_topic", queue_id: 2,
                  queue_offset: 1, max_msg_nums: 32, sys_flag: 3, commit_offset: 1,
                  suspend_timeout_millis: 15000, subscription: None, sub_version: 1795521972037,
                  expression_type: Some("TAG") }
            "#]],
        ),
        (
            "java-5.5.0-pull-11-binary",
            expect![[r#"
                opaque 83
                Pull { consumer_group: "golden_group", topic: "golden_topic", queue_id: 2,
                  queue_offset: 1, max_msg_nums: 32, sys_flag: 3, commit_offset: 1,
                  suspend_timeout_millis: 15000, subscription: None, sub_version: 1795521997248,
                  expression_type: Some("TAG") }
            "#]],
        ),
        (
            "java-5.5.0-query-offset-14",
            expect![[r#"
                opaque 45
                QueryConsumerOffset { consumer_group: "golden_group", topic: "golden_topic", queue_id: 2,
                  set_zero_if_not_found: None }
            "#]],
        ),
        (
            "java-5.5.0-route-105",
            expect![[r#"
                opaque 0
                RouteQuestion { topic: "golden_topic" }
            "#]],
        ),
        (
            "java-5.5.0-send-310",
            expect![[r#"
                opaque 5
                Send { producer_group: "golden_producer", topic: "golden_topic", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 3, sys_flag: 0, born_timestamp: 1795521969901,
                  flag: 0,
                  properties: "color\u{1}red\u{2}KEYS\u{1}key1 key2\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: false,
                  broker_name: Some("broker-a") }
                "hello golden"
            "#]],
        ),
        (
            "java-5.5.0-send-310-binary",
            expect![[r#"
                opaque 2
                Send { producer_group: "golden_producer", topic: "golden_topic", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 1, sys_flag: 0, born_timestamp: 1795521995003,
                  flag: 0,
                  properties: "color\u{1}red\u{2}KEYS\u{1}key1 key2\u{2}UNIQ_KEY\u{1}7F000001000100000000000000000001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: false,
                  broker_name: Some("broker-a") }
                "hello golden"
            "#]],
        ),
        (
            "java-5.5.0-send-back-36",
            expect![[r#"
                opaque 93
                SendBack { offset: 209154637, group: "golden_group", delay_level: 1,
                  origin_msg_id: Some("7F000001000100000000000000000001"),
                  origin_topic: Some("golden_topic"), unit_mode: false, max_reconsume_times: Some(16) }
            "#]],
        ),
        (
            "java-5.5.0-unregister-35",
            expect![[r#"
                opaque 126
                Unregister { client_id: "127.0.0.1@11782#4361886566155", producer_group: None,
                  consumer_group: Some("golden_group") }
            "#]],
        ),
        (
            "java-5.5.0-update-offset-15",
            expect![[r#"
                opaque 121, one-way
                UpdateConsumerOffset { consumer_group: "golden_group", topic: "golden_topic",
                  queue_id: Some(2), commit_offset: Some(1) }
            "#]],
        ),
    ]
}

fn go() -> Vec<Golden> {
    vec![
        (
            "go-batch-320",
            expect![[r#"
                opaque 292
                Send { producer_group: "go-pgroup-1a20d5acc89f740-26",
                  topic: "go-topic-1a20d5acc89f740-25", default_topic: "TBW102",
                  default_topic_queue_nums: 4, queue_id: 1, sys_flag: 0, born_timestamp: 1795520386257,
                  flag: 0, properties: "", reconsume_times: 0, unit_mode: false,
                  max_reconsume_times: Some(0), batch: true, broker_name: Some("broker-a") }
                0: "batch-000" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-000\u{2}"
                0: "batch-001" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-001\u{2}"
                0: "batch-002" "KEYS\u{1}batch-002\u{2}TAGS\u{1}T0\u{2}"
                0: "batch-003" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-003\u{2}"
                0: "batch-004" "KEYS\u{1}batch-004\u{2}TAGS\u{1}T0\u{2}"
                0: "batch-005" "KEYS\u{1}batch-005\u{2}TAGS\u{1}T1\u{2}"
                0: "batch-006" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-006\u{2}"
                0: "batch-007" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-007\u{2}"
                0: "batch-008" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-008\u{2}"
                0: "batch-009" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-009\u{2}"
                0: "batch-010" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-010\u{2}"
                0: "batch-011" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-011\u{2}"
                0: "batch-012" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-012\u{2}"
                0: "batch-013" "KEYS\u{1}batch-013\u{2}TAGS\u{1}T1\u{2}"
                0: "batch-014" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-014\u{2}"
                0: "batch-015" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-015\u{2}"
                0: "batch-016" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-016\u{2}"
                0: "batch-017" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-017\u{2}"
                0: "batch-018" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-018\u{2}"
                0: "batch-019" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-019\u{2}"
                0: "batch-020" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-020\u{2}"
                0: "batch-021" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-021\u{2}"
                0: "batch-022" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-022\u{2}"
                0: "batch-023" "TAGS\u{1}T1\u{2}KEYS\u{1}batch-023\u{2}"
                0: "batch-024" "TAGS\u{1}T0\u{2}KEYS\u{1}batch-024\u{2}"
            "#]],
        ),
        (
            "go-consumers-38",
            expect![[r#"
                opaque 38
                ConsumerGroup { consumer_group: "go-cgroup-1a20d5acc89f740-5" }
            "#]],
        ),
        (
            "go-create-topic-17",
            expect![[r#"
                opaque 1
                CreateTopic { topic: "go-topic-1a20d5acc89f740-1", default_topic: Some("defaultTopic"),
                  read_queue_nums: 3, write_queue_nums: 3, perm: 6, topic_filter_type: Some("SINGLE_TAG"),
                  topic_sys_flag: 0, order: false, attributes: None }
            "#]],
        ),
        (
            "go-delete-topic-215",
            expect![[r#"
                opaque 46
                TopicQuestion { topic: "go-topic-1a20d5acc89f740-1" }
            "#]],
        ),
        (
            "go-delete-topic-namesrv-216",
            expect![[r#"
                opaque 62
                DeleteTopicInNames { topic: "go-topic-1a20d5acc89f740-1", cluster_name: None }
            "#]],
        ),
        (
            "go-end-transaction-37",
            expect![[r#"
                opaque 8
                {producerGroup=go-pgroup-1a20d5acc89f740-3, tranStateTableOffset=40,
                  commitLogOffset=742146, commitOrRollback=12, fromTransactionCheck=false,
                  msgId=C0000202696E0000000078f2e4000001, transactionId=C0000202696E0000000078f2e4000001,
                  bname=broker-a}
            "#]],
        ),
        (
            "go-groups-201",
            expect![[r#"
                opaque 39
                {}
            "#]],
        ),
        (
            "go-heartbeat-34",
            expect![[r#"
                opaque 55
                Heartbeat { client_id: "192.0.2.2@go-instance-1a20d5acc89f740-9", producer_data_set: [],
                  consumer_data_set: [ConsumerData { group_name: "go-cgroup-1a20d5acc89f740-8",
                  consume_type: "CONSUME_PASSIVELY", message_model: "CLUSTERING",
                  consume_from_where: "CONSUME_FROM_FIRST_OFFSET",
                  subscription_data_set: [SubscriptionData { class_filter_mode: false,
                  topic: "go-topic-1a20d5acc89f740-2", sub_string: "tx", tags_set: ["tx"], code_set: [],
                  sub_version: 1795520384846015428, expression_type: "TAG" },
                  SubscriptionData { class_filter_mode: false,
                  topic: "%RETRY%go-cgroup-1a20d5acc89f740-8", sub_string: "*", tags_set: [],
                  code_set: [], sub_version: 1795520384561353101, expression_type: "TAG" }] }],
                  heartbeat_fingerprint: 0, without_sub: false }
            "#]],
        ),
        (
            "go-lock-41",
            expect![[r#"
                opaque 214
                LockBatch { consumer_group: Some("go-cgroup-1a20d5acc89f740-18"),
                  client_id: Some("192.0.2.2@go-instance-1a20d5acc89f740-19"), only_this_broker: false,
                  mq_set: [MessageQueue { broker_name: "broker-a", queue_id: 0,
                  topic: "go-topic-1a20d5acc89f740-15" }] }
            "#]],
        ),
        (
            "go-pull-11",
            expect![[r#"
                opaque 236
                Pull { consumer_group: "go-cgroup-1a20d5acc89f740-13",
                  topic: "go-topic-1a20d5acc89f740-10", queue_id: 1, queue_offset: 1, max_msg_nums: 32,
                  sys_flag: 2, commit_offset: -1, suspend_timeout_millis: 20000, subscription: Some(""),
                  sub_version: 0, expression_type: Some("TAG") }
            "#]],
        ),
        (
            "go-query-offset-14",
            expect![[r#"
                opaque 40
                QueryConsumerOffset { consumer_group: "go-cgroup-1a20d5acc89f740-5",
                  topic: "go-topic-1a20d5acc89f740-1", queue_id: 0, set_zero_if_not_found: None }
            "#]],
        ),
        (
            "go-route-105",
            expect![[r#"
                opaque 3
                RouteQuestion { topic: "go-topic-1a20d5acc89f740-1" }
            "#]],
        ),
        (
            "go-search-offset-29",
            expect![[r#"
                opaque 583
                SearchOffset { topic: "go-topic-1a20d5acc89f740-50", queue_id: 0, timestamp: 1000,
                  boundary_type: None }
            "#]],
        ),
        (
            "go-send-10",
            expect![[r#"
                opaque 7
                Send { producer_group: "go-pgroup-1a20d5acc89f740-3", topic: "go-topic-1a20d5acc89f740-2",
                  default_topic: "TBW102", default_topic_queue_nums: 4, queue_id: 1, sys_flag: 4,
                  born_timestamp: 1795520384467, flag: 0,
                  properties: "UNIQ_KEY\u{1}C0000202696E0000000078f2e4000001\u{2}TAGS\u{1}tx\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}go-pgroup-1a20d5acc89f740-3\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: Some(0), batch: false,
                  broker_name: Some("broker-a") }
                "rollback-0"
            "#]],
        ),
        (
            "go-send-back-36",
            expect![[r#"
                opaque 807
                SendBack { offset: 832958, group: "go-cgroup-1a20d5acc89f740-69", delay_level: 1,
                  origin_msg_id: Some("C0000202696E0000000078f2f7880154"),
                  origin_topic: Some("go-topic-1a20d5acc89f740-64"), unit_mode: false,
                  max_reconsume_times: Some(16) }
            "#]],
        ),
        (
            "go-topic-list-206",
            expect![[r#"
                opaque 6
                {}
            "#]],
        ),
        (
            "go-unlock-42",
            expect![[r#"
                opaque 705
                LockBatch { consumer_group: Some("go-cgroup-1a20d5acc89f740-18"),
                  client_id: Some("192.0.2.2@go-instance-1a20d5acc89f740-19"), only_this_broker: false,
                  mq_set: [MessageQueue { broker_name: "broker-a", queue_id: 2,
                  topic: "go-topic-1a20d5acc89f740-15" }, MessageQueue { broker_name: "broker-a",
                  queue_id: 1, topic: "go-topic-1a20d5acc89f740-15" },
                  MessageQueue { broker_name: "broker-a", queue_id: 3,
                  topic: "go-topic-1a20d5acc89f740-15" }, MessageQueue { broker_name: "broker-a",
                  queue_id: 0, topic: "go-topic-1a20d5acc89f740-15" },
                  MessageQueue { broker_name: "broker-a", queue_id: 0,
                  topic: "%RETRY%go-cgroup-1a20d5acc89f740-18" }] }
            "#]],
        ),
        (
            "go-update-offset-15",
            expect![[r#"
                opaque 58
                UpdateConsumerOffset { consumer_group: "go-cgroup-1a20d5acc89f740-8",
                  topic: "go-topic-1a20d5acc89f740-2", queue_id: Some(0), commit_offset: Some(5) }
            "#]],
        ),
    ]
}

fn cpp() -> Vec<Golden> {
    vec![
        (
            "cpp-batch-10",
            expect![[r#"
                opaque 3
                Send { producer_group: "pg1", topic: "cppb-8c5e62701fa7447bbc874e30497f7daa",
                  default_topic: "TBW102", default_topic_queue_nums: 4, queue_id: 1, sys_flag: 0,
                  born_timestamp: 1795520009149, flag: 0, properties: "WAIT\u{1}true\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: true,
                  broker_name: None }
                0: "b0" "KEYS\u{1}kb0\u{2}TAGS\u{1}T\u{2}UNIQ_KEY\u{1}0100007F000059B500003D764A7E0200\u{2}WAIT\u{1}true\u{2}"
                0: "b1" "KEYS\u{1}kb1\u{2}TAGS\u{1}T\u{2}UNIQ_KEY\u{1}0100007F000059B500003D764A7E0300\u{2}WAIT\u{1}true\u{2}"
                0: "b2" "KEYS\u{1}kb2\u{2}TAGS\u{1}T\u{2}UNIQ_KEY\u{1}0100007F000059B500003D764A7E0400\u{2}WAIT\u{1}true\u{2}"
                0: "b3" "KEYS\u{1}kb3\u{2}TAGS\u{1}T\u{2}UNIQ_KEY\u{1}0100007F000059B500003D764A7E0500\u{2}WAIT\u{1}true\u{2}"
                0: "b4" "KEYS\u{1}kb4\u{2}TAGS\u{1}T\u{2}UNIQ_KEY\u{1}0100007F000059B500003D764A7E0600\u{2}WAIT\u{1}true\u{2}"
            "#]],
        ),
        (
            "cpp-consumers-38",
            expect![[r#"
                opaque 29
                ConsumerGroup { consumer_group: "cpp-cgroup-44bc1721a1-2" }
            "#]],
        ),
        (
            "cpp-heartbeat-34",
            expect![[r#"
                opaque 180
                Heartbeat { client_id: "14315-127.0.0.1@cpp-instance-44bc1721a1-15",
                  producer_data_set: [],
                  consumer_data_set: [ConsumerData { group_name: "cpp-cgroup-44bc1721a1-14",
                  consume_type: "CONSUME_PASSIVELY", message_model: "CLUSTERING",
                  consume_from_where: "CONSUME_FROM_LAST_OFFSET",
                  subscription_data_set: [SubscriptionData { class_filter_mode: false,
                  topic: "%RETRY%cpp-cgroup-44bc1721a1-14", sub_string: "*", tags_set: [], code_set: [],
                  sub_version: 1795519941983, expression_type: "" },
                  SubscriptionData { class_filter_mode: false, topic: "cpp-topic-44bc1721a1-12",
                  sub_string: "A || B", tags_set: ["A", "B"], code_set: [], sub_version: 1795519941983,
                  expression_type: "" }] }], heartbeat_fingerprint: 0, without_sub: false }
            "#]],
        ),
        (
            "cpp-lock-41",
            expect![[r#"
                opaque 331
                LockBatch { consumer_group: Some("cpp-cgroup-44bc1721a1-22"),
                  client_id: Some("14315-127.0.0.1@cpp-instance-44bc1721a1-23"), only_this_broker: false,
                  mq_set: [MessageQueue { broker_name: "broker-a", queue_id: 0,
                  topic: "cpp-topic-44bc1721a1-20" }] }
            "#]],
        ),
        (
            "cpp-max-offset-30",
            expect![[r#"
                opaque 210
                QueueQuestion { topic: "cpp-topic-44bc1721a1-16", queue_id: 1 }
            "#]],
        ),
        (
            "cpp-pull-11",
            expect![[r#"
                opaque 191
                Pull { consumer_group: "cpp-cgroup-44bc1721a1-14", topic: "cpp-topic-44bc1721a1-12",
                  queue_id: 0, queue_offset: 6, max_msg_nums: 32, sys_flag: 7, commit_offset: 5,
                  suspend_timeout_millis: 15000, subscription: Some("A || B"), sub_version: 1795519941983,
                  expression_type: None }
            "#]],
        ),
        (
            "cpp-query-offset-14",
            expect![[r#"
                opaque 30
                QueryConsumerOffset { consumer_group: "cpp-cgroup-44bc1721a1-2",
                  topic: "cpp-topic-44bc1721a1-0", queue_id: 0, set_zero_if_not_found: None }
            "#]],
        ),
        (
            "cpp-route-105",
            expect![[r#"
                opaque 0
                RouteQuestion { topic: "cpp-topic-44bc1721a1-0" }
            "#]],
        ),
        (
            "cpp-send-10",
            expect![[r#"
                opaque 2
                Send { producer_group: "cpp-pgroup-44bc1721a1-1", topic: "cpp-topic-44bc1721a1-0",
                  default_topic: "TBW102", default_topic_queue_nums: 4, queue_id: 0, sys_flag: 0,
                  born_timestamp: 1795519941509, flag: 0,
                  properties: "KEYS\u{1}key-0 schlüssel-钥匙\u{2}TAGS\u{1}täg\u{2}UNIQ_KEY\u{1}0100007F0000C12E0000056E497E0100\u{2}WAIT\u{1}true\u{2}naïve ключ\u{1}wert ✓ 值 😀\u{2}price\u{1}42\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: false,
                  broker_name: None }
                "sync-0"
            "#]],
        ),
        (
            "cpp-unlock-42",
            expect![[r#"
                opaque 343
                LockBatch { consumer_group: Some("cpp-cgroup-44bc1721a1-22"),
                  client_id: Some("14315-127.0.0.1@cpp-instance-44bc1721a1-23"), only_this_broker: false,
                  mq_set: [MessageQueue { broker_name: "broker-a", queue_id: 1,
                  topic: "cpp-topic-44bc1721a1-20" }, MessageQueue { broker_name: "broker-a", queue_id: 2,
                  topic: "cpp-topic-44bc1721a1-20" }, MessageQueue { broker_name: "broker-a", queue_id: 3,
                  topic: "cpp-topic-44bc1721a1-20" }] }
            "#]],
        ),
        (
            "cpp-unregister-35",
            expect![[r#"
                opaque 46
                Unregister { client_id: "14315-127.0.0.1@cpp-instance-44bc1721a1-3",
                  producer_group: Some(""), consumer_group: Some("cpp-cgroup-44bc1721a1-2") }
            "#]],
        ),
        (
            "cpp-update-offset-15",
            expect![[r#"
                opaque 42
                UpdateConsumerOffset { consumer_group: "cpp-cgroup-44bc1721a1-2",
                  topic: "cpp-topic-44bc1721a1-0", queue_id: Some(0), commit_offset: Some(6) }
            "#]],
        ),
    ]
}

fn node() -> Vec<Golden> {
    vec![
        (
            "node-consumers-38",
            expect![[r#"
                opaque 29
                ConsumerGroup { consumer_group: "node-cgroup-6ae51bd351-3" }
            "#]],
        ),
        (
            "node-create-topic-17",
            expect![[r#"
                opaque 2
                CreateTopic { topic: "node-topic-6ae51bd351-2", default_topic: Some("TBW102"),
                  read_queue_nums: 4, write_queue_nums: 4, perm: 6, topic_filter_type: Some("SINGLE_TAG"),
                  topic_sys_flag: 0, order: false, attributes: None }
            "#]],
        ),
        (
            "node-heartbeat-34",
            expect![[r#"
                opaque 79
                Heartbeat { client_id: "192.0.2.2@node-instance-6ae51bd351-9", producer_data_set: [],
                  consumer_data_set: [ConsumerData { group_name: "node-cgroup-6ae51bd351-8",
                  consume_type: "CONSUME_PASSIVELY", message_model: "CLUSTERING",
                  consume_from_where: "CONSUME_FROM_FIRST_OFFSET",
                  subscription_data_set: [SubscriptionData { class_filter_mode: false,
                  topic: "node-topic-6ae51bd351-7", sub_string: "A || B", tags_set: ["A", "B"],
                  code_set: [], sub_version: 1795520353724, expression_type: "" }] }],
                  heartbeat_fingerprint: 0, without_sub: false }
            "#]],
        ),
        (
            "node-pull-11",
            expect![[r#"
                opaque 86
                Pull { consumer_group: "node-cgroup-6ae51bd351-8", topic: "node-topic-6ae51bd351-7",
                  queue_id: 0, queue_offset: 6, max_msg_nums: 32, sys_flag: 6, commit_offset: 0,
                  suspend_timeout_millis: 15000, subscription: Some("A || B"), sub_version: 1795520353724,
                  expression_type: None }
            "#]],
        ),
        (
            "node-query-offset-14",
            expect![[r#"
                opaque 30
                QueryConsumerOffset { consumer_group: "node-cgroup-6ae51bd351-3",
                  topic: "node-topic-6ae51bd351-2", queue_id: 0, set_zero_if_not_found: None }
            "#]],
        ),
        (
            "node-route-105",
            expect![[r#"
                opaque 1
                RouteQuestion { topic: "TBW102" }
            "#]],
        ),
        (
            "node-send-310",
            expect![[r#"
                opaque 5
                Send { producer_group: "node-pgroup-6ae51bd351-0", topic: "node-topic-6ae51bd351-2",
                  default_topic: "TBW102", default_topic_queue_nums: 4, queue_id: 1, sys_flag: 0,
                  born_timestamp: 1795520353382, flag: 0,
                  properties: "TAGS\u{1}täg\u{2}KEYS\u{1}key-0 schlüssel-钥匙\u{2}price\u{1}42\u{2}naïve ключ\u{1}wert ✓ 值 😀\u{2}",
                  reconsume_times: 0, unit_mode: false, max_reconsume_times: None, batch: false,
                  broker_name: None }
                "sync-0"
            "#]],
        ),
        (
            "node-send-back-36",
            expect![[r#"
                opaque 525
                SendBack { offset: 730789, group: "node-cgroup-6ae51bd351-37", delay_level: 0,
                  origin_msg_id: Some("7F000001000051AF00000000000B26A5"),
                  origin_topic: Some("node-topic-6ae51bd351-36"), unit_mode: false,
                  max_reconsume_times: Some(16) }
            "#]],
        ),
        (
            "node-unregister-35",
            expect![[r#"
                opaque 48
                Unregister { client_id: "192.0.2.2@node-instance-6ae51bd351-4", producer_group: None,
                  consumer_group: Some("node-cgroup-6ae51bd351-3") }
            "#]],
        ),
        (
            "node-update-offset-15",
            expect![[r#"
                opaque 44
                UpdateConsumerOffset { consumer_group: "node-cgroup-6ae51bd351-3",
                  topic: "node-topic-6ae51bd351-2", queue_id: Some(0), commit_offset: Some(5) }
            "#]],
        ),
    ]
}
