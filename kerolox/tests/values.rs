//! Values that cannot be, in good frames: queues, offsets, sizes and counts that are negative or
//! huge, positions in the log where no message begins, names, permissions. Each is refused in words
//! or taken for what it can mean, and the log can be read again afterwards.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use bytes::Bytes;
use common::call::{
    ask, body, encoded, granted, heartbeat, join, look, make_topic, message, pairs, put, put_with,
    read, records, refused, tell,
};
use common::{Folder, SMALL, Server};
use kerolox_client::{Connection, OwnedReply};
use kerolox_protocol::batch::{self, Inner};
use kerolox_protocol::ids;
use kerolox_protocol::record::NewRecord;
use kerolox_protocol::remoting::client::{ProducerData, SubscriptionData};
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::send::Send;

const INTERNAL: &str = "rmq_sys_kerolox_state";

async fn send(connection: &Connection, header: &Send, body: impl Into<Bytes>) -> OwnedReply {
    let code = if header.batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
    connection.call(code, header, body.into()).await.unwrap()
}

/// The position of a message in the log.
fn position(msg_id: &str) -> u64 {
    ids::parse_offset_id(msg_id).unwrap().1
}

async fn view(connection: &Connection, position: i64) -> OwnedReply {
    ask(connection, request::VIEW_MESSAGE_BY_ID, &[("offset", &position.to_string())]).await
}

async fn give_back(connection: &Connection, group: &str, position: i64) -> OwnedReply {
    let position = position.to_string();
    let fields = [("offset", &*position), ("group", group), ("delayLevel", "1")];
    ask(connection, request::CONSUMER_SEND_MSG_BACK, &fields).await
}

/// Stops the server and starts it again; nothing of its log may be lost.
fn restarted(server: Server, folder: &Folder, args: &[&str]) -> Server {
    server.kill();
    let server = Server::start(folder, args);
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("lost to damage"), "{log}");
    server
}

#[tokio::test]
async fn queues_that_a_topic_does_not_have_are_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    for queue in [2, 65_535, i32::MAX] {
        let reply = send(&connection, &message("t", queue), "x").await;
        refused(
            &reply,
            29,
            &format!(
                "request queueId[{queue}] is illegal, topic[t] has readQueueNums=2 and writeQueueNums=2"
            ),
        );
        let header = Send { batch: true, ..message("t", queue) };
        refused(&send(&connection, &header, "x").await, 29, "is illegal");
    }
    for queue in [-1, i32::MIN] {
        let text = queue.to_string();
        let fields = [("topic", "t"), ("queueId", &*text), ("timestamp", "0")];
        for code in [29, 30, 31, 32] {
            let reply = ask(&connection, code, &fields).await;
            refused(&reply, 29, &format!("queueId[{queue}] is illegal, topic[t]"));
        }
    }
    // Where nothing is, nothing begins and ends.
    for queue in ["2", "2147483647"] {
        for code in [29, 30, 31] {
            let fields = [("topic", "t"), ("queueId", queue), ("timestamp", "0")];
            assert_eq!(granted(&ask(&connection, code, &fields).await).get("offset"), "0");
        }
        let fields = [
            ("consumerGroup", "TOOLS_CONSUMER"),
            ("topic", "t"),
            ("queueId", queue),
            ("commitOffset", "1"),
        ];
        granted(&ask(&connection, request::UPDATE_CONSUMER_OFFSET, &fields).await);
    }
    let offsets = body(&ask(&connection, request::GET_ALL_CONSUMER_OFFSET, &[]).await);
    assert_eq!(offsets["offsetTable"], serde_json::json!({}), "nothing is noted of no queue");
    server.stop();
}

#[tokio::test]
async fn a_topic_with_impossible_settings_is_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    for (key, value, remark) in [
        ("readQueueNums", "0", "readQueueNums is 0; a topic has 1 to 65536 queues"),
        ("writeQueueNums", "-1", "writeQueueNums is -1; a topic has 1 to 65536 queues"),
        ("writeQueueNums", "65537", "writeQueueNums is 65537; a topic has 1 to 65536 queues"),
        ("readQueueNums", "2147483647", "a topic has 1 to 65536 queues"),
        ("perm", "8", "perm is 8; it is made of 4 (read), 2 (write), 1 (inherit)"),
        ("perm", "-1", "perm is -1"),
        ("attributes", "+message.type=MIXED", "MIXED message type is not supported."),
        ("attributes", "a=b,nothing", "add/alter attribute format is wrong: a; write +a=VALUE"),
        ("attributes", "nothing", "delete attribute format is wrong: nothing"),
        ("attributes", "+=b", "kv string format wrong."),
        ("attributes", "+other=b", "unsupported key: other; there are queue.type"),
        ("attributes", "+queue.type=BatchCQ", "there are no queues of batches"),
    ] {
        let fields = pairs(&[("topic", "t"), ("readQueueNums", "1"), ("writeQueueNums", "1")]);
        let fields = fields.with("perm", "6").with(key, value);
        let code = request::UPDATE_AND_CREATE_TOPIC;
        let reply = connection.call(code, &fields, Bytes::new()).await.unwrap();
        // As Apache's broker: what is wrong with an attribute is an error of its own.
        let code = if key == "attributes" && !remark.starts_with("MIXED") { 1 } else { 29 };
        refused(&reply, code, remark);
    }
    assert!(connection.topic_config("t").await.unwrap().is_none());
    // The largest that can be.
    make_topic(&connection, "t", 65_536).await;
    assert_eq!(put(&connection, "t", 65_535, "x").await.queue_id, 65_535);
    let stats = ask(&connection, request::GET_TOPIC_STATS_INFO, &[("topic", "t")]).await;
    assert_eq!(body(&stats)["offsetTable"].as_object().unwrap().len(), 65_536);
    let server = restarted(server, &folder, &SMALL);
    assert_eq!(read(&server.connect().await, "t", 65_535).await, ["x"]);
    server.stop();
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let long = "x".repeat(128);
    let derived = format!("%RETRY%{}", "x".repeat(249));
    let huge = "x".repeat(1 << 20);
    let pattern = "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$";
    for (topic, remark) in [
        ("", "The specified topic is blank."),
        ("  ", "The specified topic is blank."),
        ("a b", pattern),
        ("a/../../etc/passwd", pattern),
        ("a\0b", pattern),
        ("a\nb", pattern),
        ("a.b", pattern),
        ("a@b", pattern),
        ("你好", pattern),
        ("\u{1}KEYS\u{2}", pattern),
        (&long, "longer than topic max length 127 (it has 128)"),
        (&derived, "longer than topic max length 255 (it has 256)"),
        (&huge, "longer than topic max length 127 (it has 1048576)"),
    ] {
        refused(&send(&connection, &message(topic, 0), "x").await, 29, remark);
        let fields = pairs(&[("topic", topic), ("readQueueNums", "1"), ("writeQueueNums", "1")]);
        let fields = fields.with("perm", "6");
        let reply = connection.call(17, &fields, Bytes::new()).await.unwrap();
        refused(&reply, 29, remark);
        let reply = ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", topic)]).await;
        assert!([0, 29].contains(&reply.code), "{:?}", reply.remark);
    }
    let long = "x".repeat(256);
    for (group, remark) in [
        ("", "the specified group is blank"),
        ("a b", pattern),
        ("a.b", pattern),
        ("\u{1}", pattern),
        (&long, "the specified group is longer than group max length: 255 (it has 256)"),
    ] {
        let config = serde_json::json!({ "groupName": group }).to_string();
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        refused(&tell(&connection, code, &[], config.as_bytes()).await, 29, remark);
        let reply = connection.call(11, &look(group, "TBW102", 0, 0), Bytes::new()).await.unwrap();
        refused(&reply, 26, "does not exist");
        // A heartbeat is taken, but for what cannot be.
        connection.heartbeat(&heartbeat(group, "c", "t")).await.unwrap();
        let reply = ask(&connection, 38, &[("consumerGroup", group)]).await;
        refused(&reply, 1, "no consumer for this group");
    }
    for client in ["", &"c".repeat(1025)] {
        let beat = serde_json::to_vec(&heartbeat("g", client, "t")).unwrap();
        let reply = tell(&connection, request::HEART_BEAT, &[], &beat).await;
        refused(&reply, 1, "clientID is missing or longer than 1024 bytes");
    }
    // The longest that can be, through a restart.
    let topic = "x".repeat(127);
    put(&connection, &topic, 0, "x").await;
    let group = "g".repeat(255);
    join(&connection, &group, "c", &topic).await;
    let sent = put(&connection, &format!("%RETRY%{group}"), 0, "again").await;
    granted(&give_back(&connection, &group, position(&sent.msg_id) as i64).await);
    let server = restarted(server, &folder, &SMALL);
    let connection = server.connect().await;
    assert_eq!(read(&connection, &topic, 0).await, ["x"]);
    assert_eq!(read(&connection, &format!("%RETRY%{group}"), 0).await[0], "again");
    server.stop();
}

/// The name went into the log as it was, however long.
#[tokio::test]
async fn deleting_a_group_with_an_impossible_name_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    join(&connection, "g", "c", "t").await;
    for size in [300, 65_536, 70_000, 1_100_000, 8_000_000] {
        let name = "g".repeat(size);
        let fields = pairs(&[("groupName", &name), ("cleanOffset", "true")]);
        let code = request::DELETE_SUBSCRIPTIONGROUP;
        let reply = connection.call(code, &fields, Bytes::new()).await.unwrap();
        assert!([0, 29].contains(&reply.code), "{:?}", reply.remark);
    }
    let reply = ask(&connection, request::DELETE_SUBSCRIPTIONGROUP, &[("cleanOffset", "true")]);
    assert!([0, 29].contains(&reply.await.code));
    put(&connection, "t", 0, "goes on").await;
    let server = restarted(server, &folder, &SMALL);
    let connection = server.connect().await;
    assert_eq!(read(&connection, "t", 0).await, ["goes on"]);
    let reply = ask(&connection, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await;
    assert!(body(&reply)["subscriptionGroupTable"]["g"].is_object());
    server.stop();
}

#[tokio::test]
async fn system_topics_and_the_internal_one_are_out_of_reach() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for topic in [INTERNAL, "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "SELF_TEST_TOPIC"] {
        let remark = format!("Sending message to topic[{topic}] is forbidden.");
        refused(&send(&connection, &message(topic, 0), "x").await, 16, &remark);
        let header = Send { batch: true, ..message(topic, 0) };
        refused(&send(&connection, &header, "x").await, 16, &remark);
    }
    for topic in [INTERNAL, "TBW102", "SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer"] {
        let remark = format!("The topic[{topic}] is conflict with system topic.");
        let fields =
            [("topic", topic), ("readQueueNums", "1"), ("writeQueueNums", "1"), ("perm", "6")];
        refused(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &fields).await, 29, &remark);
        let reply = ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", topic)]).await;
        refused(&reply, 29, &remark);
    }
    for code in [request::GET_TOPIC_CONFIG, request::GET_TOPIC_STATS_INFO, 29, 30, 31, 32, 105] {
        let fields = [("topic", INTERNAL), ("queueId", "0"), ("timestamp", "0")];
        assert_eq!(ask(&connection, code, &fields).await.code, 17, "{code}");
    }
    let reply = connection.call(11, &look("g", INTERNAL, 0, 0), Bytes::new()).await.unwrap();
    refused(&reply, 17, "topic[rmq_sys_kerolox_state] not exist");
    for code in [21, 206, 305] {
        let reply = ask(&connection, code, &[]).await;
        assert!(!body(&reply).to_string().contains(INTERNAL), "{code}");
    }
    // A delayed message cannot be made to go there, either.
    let own = encoded(&[("REAL_TOPIC", INTERNAL), ("REAL_QID", "0"), ("DELAY", "1")]);
    let header = Send { properties: own.into(), ..message("t", 0) };
    granted(&send(&connection, &header, "delayed").await);
    let reply = connection.pull(&common::call::wait("g", "t", 0, 0, 10_000)).await.unwrap();
    assert_eq!(records(&reply)[0].body, b"delayed");
    // The log begins with an internal record; nobody can read it or have it sent again.
    join(&connection, "g", "c", "t").await;
    refused(&view(&connection, 0).await, 1, "look message by offset failed, 0");
    refused(&give_back(&connection, "g", 0).await, 1, "look message by offset failed, 0");
    let server = restarted(server, &folder, &[]);
    let connection = server.connect().await;
    refused(&view(&connection, 0).await, 1, "look message by offset failed, 0");
    refused(&give_back(&connection, "g", 0).await, 1, "look message by offset failed, 0");
    server.stop();
}

/// A record of the topic, as the log would hold it at a position.
fn record_at(position: u64, queue_offset: i64, server: &Server) -> Vec<u8> {
    let host = server.broker().parse().unwrap();
    let record = NewRecord {
        topic: "t",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"never sent",
        properties: b"UNIQ_KEY\x01forged\x02KEYS\x01forged\x02",
    };
    let mut bytes = bytes::BytesMut::new();
    record.write(queue_offset, position, 1, &mut bytes);
    bytes.to_vec()
}

#[tokio::test]
async fn positions_where_no_message_begins_are_refused_even_inside_a_body_that_looks_like_one() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    join(&connection, "g", "c", "t").await;
    // Where the next body will lie is known from how far two alike are apart.
    let size = record_at(0, 0, &server).len();
    let mut forged = None;
    for _ in 0..20 {
        let filler = "x".repeat(size);
        let own = [("UNIQ_KEY", "u")];
        let one = put_with(&connection, "t", 0, &filler, &own).await;
        let two = put_with(&connection, "t", 0, &filler, &own).await;
        let next = 2 * position(&two.msg_id) - position(&one.msg_id);
        let body = record_at(next + 88, two.queue_offset + 1, &server);
        let header = Send { properties: encoded(&own).into(), ..message("t", 0) };
        let sent = connection.send(&header, body.into()).await.unwrap();
        if position(&sent.msg_id) == next {
            forged = Some((next as i64, sent));
            break;
        }
    }
    let (real, sent) = forged.expect("the log grows evenly now and then");
    let end = connection.max_offset("t", 0).await.unwrap();
    let check = async |connection: &Connection| {
        granted(&view(connection, real).await);
        for bad in [real + 88, real + 1, real - 1, -1, i64::MIN, i64::MAX, 1 << 40, real + 5000] {
            let reply = view(connection, bad).await;
            refused(&reply, 1, "look message by offset failed, ");
            refused(&give_back(connection, "g", bad).await, 1, "look message by offset failed, ");
        }
        let query = [
            ("topic", "t"),
            ("key", "forged"),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ];
        assert_eq!(ask(connection, request::QUERY_MESSAGE, &query).await.code, 22);
        assert_eq!(connection.max_offset("t", 0).await.unwrap(), end);
    };
    check(&connection).await;
    // Also when it comes from the disk, and when recovery has walked over it.
    let server = restarted(server, &folder, &SMALL);
    let connection = server.connect().await;
    check(&connection).await;
    let reply = connection.pull(&look("g", "t", 0, sent.queue_offset)).await.unwrap();
    assert_eq!(records(&reply)[0].physical_offset, real as u64);
    granted(&give_back(&connection, "g", real).await);
    server.stop();
}

/// A remark repeated what it was about, however long: in an answer that no frame could hold, and in
/// the log.
#[tokio::test]
async fn a_refusal_repeats_no_more_than_can_be_read() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let long = ".".repeat(400_000);
    let text = format!("\"{}\"", "x".repeat(1_000_000));
    let check = |reply: &OwnedReply| {
        assert_ne!(reply.code, 0);
        let said = reply.remark.as_deref().unwrap_or_default();
        assert!(!said.is_empty() && said.len() <= 4096, "{} bytes", said.len());
    };
    for code in [11, 12, 15, 17, 29, 30, 32, 38, 105, 202, 203, 204, 207, 222, 307, 309, 351, 352] {
        let fields = look("g", &long, 0, 0);
        let all = pairs(&[("topic", &long), ("key", "k"), ("queueId", "0"), ("groupName", &long)]);
        let all = all.with("consumerGroup", &long).with("group", &long).with("clientId", &long);
        let all = all.with("producerGroup", &long);
        let reply = match code {
            11 => connection.call(code, &fields, Bytes::new()).await,
            _ => connection.call(code, &all, Bytes::new()).await,
        };
        check(&reply.unwrap_or_else(|e| panic!("{code}: {e}")));
    }
    // Written as JSON, each of these takes six bytes.
    for topic in [&long, &"\u{1}".repeat(2_000_000)] {
        check(&send(&connection, &message(topic, 0), "x").await);
    }
    for code in [34, 41, 46, 200, 217, 322] {
        check(&tell(&connection, code, &[("topic", "t")], text.as_bytes()).await);
    }
    let config = serde_json::json!({ "groupName": "ä".repeat(1_000_000) }).to_string();
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    check(&tell(&connection, code, &[], config.as_bytes()).await);
    assert!(server.log().len() < 100_000, "{} bytes of log", server.log().len());
    server.stop();
}

#[tokio::test]
async fn wrong_permissions_are_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let make = async |topic: &str, perm: &str, order: &str| {
        let fields = [
            ("topic", topic),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", perm),
            ("order", order),
        ];
        granted(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &fields).await);
    };
    let sent = put(&connection, "t", 0, "x").await;
    make("write-only", "2", "false").await;
    make("in-order", "6", "true").await;
    let reply = connection.call(11, &look("g", "write-only", 0, 0), Bytes::new()).await.unwrap();
    refused(&reply, 16, "the topic[write-only] pulling message is forbidden (perm=2)");
    // What is given back needs a retry topic that can be written.
    join(&connection, "g", "c", "t").await;
    make("%RETRY%g", "4", "false").await;
    let reply = give_back(&connection, "g", position(&sent.msg_id) as i64).await;
    refused(&reply, 16, "the topic[%RETRY%g] sending message is forbidden");
    let reply = give_back(&connection, "nil", position(&sent.msg_id) as i64).await;
    refused(&reply, 26, "subscription group not exist, nil");
    server.stop();
    let server = Server::start(&folder, &["--set", "brokerPermission=4"]);
    let connection = server.connect().await;
    let reply = send(&connection, &message("in-order", 0), "x").await;
    refused(&reply, 16, "the broker[broker-a] sending message is forbidden");
    assert_eq!(read(&connection, "t", 0).await, ["x"]);
    server.stop();
    let server = Server::start(&folder, &["--set", "autoCreateTopicEnable=false"]);
    let connection = server.connect().await;
    let reply = send(&connection, &message("new", 0), "x").await;
    refused(&reply, 17, "topic[new] not exist, apply first please!");
    refused(&reply, 17, "or set autoCreateTopicEnable=true");
    server.stop();
}

#[tokio::test]
async fn absurd_counts_are_cut_to_what_can_be() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    for i in 0..3 {
        put_with(&connection, "t", 0, &i.to_string(), &[("KEYS", "k")]).await;
    }
    for count in ["2147483647", "-2147483648", "0", "-1"] {
        let query = [
            ("topic", "t"),
            ("key", "k"),
            ("maxNum", count),
            ("beginTimestamp", "-9223372036854775808"),
            ("endTimestamp", "9223372036854775807"),
        ];
        let reply = ask(&connection, request::QUERY_MESSAGE, &query).await;
        assert_eq!(reply.code, if count.len() == 10 { 0 } else { 22 }, "{count}");
    }
    // A heartbeat with thousands of groups and subscriptions.
    let mut beat = heartbeat("g", "c", "t");
    beat.producer_data_set =
        (0..2000).map(|i| ProducerData { group_name: format!("p{i}") }).collect();
    beat.consumer_data_set[0].subscription_data_set = (0..20_000)
        .map(|i| SubscriptionData { topic: format!("t{i}"), ..SubscriptionData::default() })
        .collect();
    let consumers = (0..500).map(|i| heartbeat(&format!("g{i}"), "c", "t"));
    beat.consumer_data_set.extend(consumers.flat_map(|beat| beat.consumer_data_set));
    connection.heartbeat(&beat).await.unwrap();
    let reply = ask(&connection, 203, &[("consumerGroup", "g")]).await;
    let known = body(&reply)["subscriptionTable"].as_object().unwrap().len();
    assert!((1..=10_000).contains(&known), "{known}");
    // Locks of a hundred thousand queues.
    let queues: Vec<_> = (0..100_000)
        .map(|i| serde_json::json!({"topic": "t", "brokerName": "b", "queueId": i}))
        .collect();
    let text = serde_json::json!({"consumerGroup": "g", "clientId": "c", "mqSet": queues});
    let reply = tell(&connection, request::LOCK_BATCH_MQ, &[], text.to_string().as_bytes()).await;
    assert_eq!(body(&reply)["lockOKMQSet"].as_array().unwrap().len(), 100_000);
    // Retry queues of a group, and settings that are too large.
    for (config, remark) in [
        (
            serde_json::json!({"groupName": "g", "retryQueueNums": 65_537}),
            "retryQueueNums is 65537, at most 65536 are possible",
        ),
        (
            serde_json::json!({"groupName": "g", "groupRetryPolicy": {"a": "x".repeat(20_000)}}),
            "16384 are possible",
        ),
    ] {
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        refused(&tell(&connection, code, &[], config.to_string().as_bytes()).await, 29, remark);
    }
    let large = serde_json::json!({"+lite.bind.topic": "x".repeat(20_000)});
    for (attributes, remark) in [
        (large, "the attributes have 20015 bytes, 16384 are possible"),
        (serde_json::json!({"+a": "x"}), "unsupported key: a; there are priority.factor"),
    ] {
        let config = serde_json::json!({"groupName": "g", "attributes": attributes}).to_string();
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        refused(&tell(&connection, code, &[], config.as_bytes()).await, 1, remark);
    }
    for times in [i32::MAX, i32::MIN] {
        let header = Send { reconsume_times: times, flag: times, ..message("t", 0) };
        let sent = connection.send(&header, Bytes::from_static(b"x")).await.unwrap();
        granted(&give_back(&connection, "g", position(&sent.msg_id) as i64).await);
    }
    for born in [i64::MIN, i64::MAX, 0] {
        let header = Send { born_timestamp: born, ..message("t", 0) };
        granted(&send(&connection, &header, "x").await);
    }
    // Delay levels that are none.
    let delayed = async |level: &str| {
        let properties = format!("DELAY\u{1}{level}\u{2}");
        let header = Send { properties: properties.into(), ..message("t", 0) };
        send(&connection, &header, "x").await
    };
    for level in ["-1", "2147483647", ""] {
        granted(&delayed(level).await);
    }
    for level in ["2147483648", "x"] {
        refused(&delayed(level).await, 13, "the property DELAY is not a whole number");
    }
    let stored = read(&connection, "t", 0).await.len();
    let server = restarted(server, &folder, &SMALL);
    assert_eq!(read(&server.connect().await, "t", 0).await.len(), stored);
    server.stop();
}

/// Such an answer was sent all the same, and the client lost its connection by it.
#[tokio::test]
async fn an_answer_that_no_frame_can_hold_is_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for topic in ["a", "b", "c"] {
        make_topic(&connection, topic, 65_536).await;
    }
    // A row for each queue, and keys that take six bytes a byte as JSON.
    let fields = [("consumerGroup", "g"), ("topicList", "a;b;c")];
    let reply = ask(&connection, request::GET_CONSUME_STATS, &fields).await;
    refused(&reply, 1, "there are more than 80000 queues, which no frame can hold");
    let fields = [("consumerGroup", "g"), ("topicList", "a")];
    granted(&ask(&connection, request::GET_CONSUME_STATS, &fields).await);
    let key = format!("UNIQ_KEY\u{1}{}\u{2}", "\u{3}".repeat(30_000));
    let mut bytes = Vec::new();
    for _ in 0..110 {
        let properties = key.as_bytes();
        batch::push(&mut bytes, &Inner { flag: 0, body: b"x", properties });
    }
    let header = Send { batch: true, ..message("t", 0) };
    refused(&send(&connection, &header, bytes).await, 1, "bytes, more than a frame may have");
    put(&connection, "t", 0, "goes on").await;
    server.stop();
}
