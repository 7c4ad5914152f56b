//! Messages on their way out, each request answered well: 11, 361 (pull), with waiting, filters,
//! bounds and commits; 12 (by key), 33 (by position).

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{
    ask, granted, heartbeat, look, make_topic, put, put_with, records, refused, texts, wait,
};
use common::{Folder, Server};
use kerolox_client::{Connection, Form, Options};
use kerolox_protocol::properties;
use kerolox_protocol::record::{View, walk};
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use kerolox_protocol::{ids, tags};

/// A property of a stored message.
fn property<'a>(record: &View<'a>, name: &str) -> Option<&'a str> {
    properties::get(record.properties, name)
}

async fn connect_as(server: &Server, form: Form) -> Connection {
    let options = Options { form, ..Options::default() };
    Connection::connect_with(&server.broker(), options).await.unwrap()
}

#[tokio::test]
async fn a_pull_that_waits_is_answered_by_the_message_in_both_header_forms() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let sender = server.connect().await;
    make_topic(&sender, "t", 2).await;
    for (queue, form) in [(0, Form::Json), (1, Form::Binary)] {
        let reader = connect_as(&server, form).await;
        let pull = wait("g", "t", queue, 0, 20_000);
        let waiting = tokio::spawn(async move { reader.pull(&pull).await });
        server.wait_for_metric("kerolox_parked_pulls", |count| count == 1).await;
        put(&sender, "t", queue, "awaited").await;
        let reply = waiting.await.unwrap().unwrap();
        assert_eq!((reply.code, texts(&reply)), (0, vec!["awaited".to_owned()]), "{form:?}");
    }
    server.stop();
}

#[tokio::test]
async fn a_pull_that_waits_in_vain_is_answered_with_19_at_its_time() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put_with(&connection, "t", 0, "red", &[("TAGS", "red")]).await;
    for (ms, offset, tag) in [(300, 1, "*"), (0, 1, "*"), (-5, 1, "*"), (300, 1, "blue")] {
        let begin = Instant::now();
        let pull = Pull { subscription: Some(tag.into()), ..wait("g", "t", 0, offset, ms) };
        let reply = connection.pull(&pull).await.unwrap();
        assert_eq!((reply.code, reply.offsets.next_begin_offset), (19, 1));
        assert_eq!((reply.offsets.min_offset, reply.offsets.max_offset), (0, 1));
        let took = begin.elapsed();
        let least = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        assert!(took >= least && took < least + Duration::from_secs(5), "{took:?}");
    }
    // A message of another tag does not wake it.
    let reader = server.connect().await;
    let pull = Pull { subscription: Some("blue".into()), ..wait("g", "t", 0, 1, 20_000) };
    let waiting = tokio::spawn(async move { reader.pull(&pull).await });
    server.wait_for_metric("kerolox_parked_pulls", |count| count == 1).await;
    put_with(&connection, "t", 0, "red again", &[("TAGS", "red")]).await;
    put_with(&connection, "t", 0, "blue", &[("TAGS", "blue")]).await;
    let reply = waiting.await.unwrap().unwrap();
    assert_eq!(texts(&reply), ["blue"]);
    assert_eq!(reply.offsets.next_begin_offset, 3);
    server.stop();
}

#[tokio::test]
async fn a_pull_waits_a_short_time_when_long_polling_is_off() {
    let folder = Folder::new();
    let flags = ["--set", "longPollingEnable=false", "--set", "shortPollingTimeMills=200"];
    let server = Server::start(&folder, &flags);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    let begin = Instant::now();
    let reply = connection.pull(&wait("g", "t", 0, 1, 60_000)).await.unwrap();
    assert_eq!(reply.code, 19);
    // The server counts in whole milliseconds of its clock.
    assert!((190..5_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    server.stop();
}

#[tokio::test]
async fn offsets_outside_a_queue_are_answered_with_where_to_go_on() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for i in 0..3 {
        put(&connection, "t", 0, &i.to_string()).await;
    }
    for (queue, offset, code, remark, next) in [
        (0, -1, 21, "OFFSET_TOO_SMALL", 0),
        (0, i64::MIN, 21, "OFFSET_TOO_SMALL", 0),
        (0, 3, 19, "OFFSET_OVERFLOW_ONE", 3),
        (0, 4, 21, "OFFSET_OVERFLOW_BADLY", 3),
        (0, i64::MAX, 21, "OFFSET_OVERFLOW_BADLY", 3),
        (1, 0, 19, "NO_MESSAGE_IN_QUEUE", 0),
        (1, 1, 21, "NO_MESSAGE_IN_QUEUE", 0),
        (1, -1, 21, "NO_MESSAGE_IN_QUEUE", 0),
    ] {
        let pull = look("g", "t", queue, offset);
        let reply = connection.call(11, &pull, Bytes::new()).await.unwrap();
        refused(&reply, code, remark);
        let fields: common::call::Pairs = reply.header().unwrap();
        assert_eq!(fields.get("nextBeginOffset"), next.to_string(), "{queue} {offset}");
        assert_eq!(fields.get("maxOffset"), if queue == 0 { "3" } else { "0" });
        assert_eq!((fields.get("minOffset"), fields.get("suggestWhichBrokerId")), ("0", "0"));
    }
    server.stop();
}

#[tokio::test]
async fn a_lite_pull_361_is_a_pull() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    let reply = connection.call(361, &look("g", "t", 0, 0), Bytes::new()).await.unwrap();
    let fields = granted(&reply);
    assert_eq!((fields.get("nextBeginOffset"), walk(&reply.body).count()), ("1", 1));
    server.stop();
}

#[tokio::test]
async fn a_pull_brings_what_its_tags_say_and_steps_over_the_rest() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for i in 0..30 {
        let tag = ["red", "green", "blue"][i % 3];
        put_with(&connection, "t", 0, &format!("{tag} {i}"), &[("TAGS", tag)]).await;
    }
    put(&connection, "t", 0, "no tag").await;
    let with = |expression: &str| Pull {
        subscription: Some(expression.into()),
        max_msg_nums: 100,
        ..look("g", "t", 0, 0)
    };
    for (expression, count) in [
        ("*", 31),
        ("", 31),
        ("red", 10),
        ("red || blue", 20),
        (" red||blue ||green|| ", 30),
        ("RED", 0),
    ] {
        let reply = connection.pull(&with(expression)).await.unwrap();
        assert_eq!(records(&reply).len(), count, "{expression}");
        assert_eq!(reply.code, if count == 0 { 20 } else { 0 });
        assert_eq!(reply.offsets.next_begin_offset, 31, "{expression}");
    }
    // The subscription of the group counts when the pull brings none.
    let mut beat = heartbeat("members", "c1", "t");
    beat.consumer_data_set[0].subscription_data_set[0].sub_string = "green".to_owned();
    connection.heartbeat(&beat).await.unwrap();
    let pull = Pull { sys_flag: 0, subscription: None, sub_version: 1, ..with("") };
    let pull = Pull { consumer_group: "members".into(), ..pull };
    let reply = connection.pull(&pull).await.unwrap();
    assert_eq!(records(&reply).len(), 10);
    assert!(records(&reply).iter().all(|r| property(r, "TAGS") == Some("green")));
    // Different tags with one hash are for the client to tell apart, as with Apache's broker.
    assert_eq!(tags::java_hash("Aa"), tags::java_hash("BB"));
    put_with(&connection, "hash", 0, "Aa", &[("TAGS", "Aa")]).await;
    let pull = Pull { subscription: Some("BB".into()), ..look("g", "hash", 0, 0) };
    assert_eq!(texts(&connection.pull(&pull).await.unwrap()), ["Aa"]);
    server.stop();
}

#[tokio::test]
async fn a_pull_is_bounded_in_messages_and_bytes_but_the_first_message_always_goes() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for _ in 0..3 {
        put(&connection, "large", 0, &"x".repeat(300 << 10)).await;
    }
    for _ in 0..40 {
        put(&connection, "small", 0, "x").await;
    }
    let pulled = async |topic: &str, count: i32| {
        let pull = Pull { max_msg_nums: count, ..look("g", topic, 0, 0) };
        records(&connection.pull(&pull).await.unwrap()).len()
    };
    assert_eq!(pulled("large", 32).await, 1);
    for (count, found) in
        [(1, 1), (32, 32), (39, 39), (0, 1), (-1, 1), (i32::MIN, 1), (i32::MAX, 40)]
    {
        assert_eq!(pulled("small", count).await, found, "{count}");
    }
    server.stop();
}

#[tokio::test]
async fn a_pull_commits_the_offset_that_it_brings() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for _ in 0..5 {
        put(&connection, "t", 0, "x").await;
    }
    let flags = sys_flag::SUBSCRIPTION | sys_flag::COMMIT;
    for (commit, stored) in [(2, "2"), (-1, "2"), (1, "1"), (i64::MAX, "5")] {
        let pull = Pull { sys_flag: flags, commit_offset: commit, ..look("g", "t", 0, 0) };
        connection.pull(&pull).await.unwrap();
        let reply = common::call::committed(&connection, "g", "t", 0).await;
        assert_eq!(granted(&reply).get("offset"), stored, "{commit}");
    }
    // Without the bit it is nothing to note.
    let pull = Pull { commit_offset: 3, ..look("g", "t", 0, 0) };
    connection.pull(&pull).await.unwrap();
    let reply = common::call::committed(&connection, "g", "t", 0).await;
    assert_eq!(granted(&reply).get("offset"), "5");
    server.stop();
}

#[tokio::test]
async fn messages_are_found_by_key_12_and_by_position_33() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for i in 0..3 {
        let unique = format!("unique{i}");
        let own = [("KEYS", "order-1 customer-7"), ("UNIQ_KEY", &unique)];
        put_with(&connection, "t", 0, &format!("message {i}"), &own).await;
    }
    let query = async |key: &str, more: &[(&str, &str)]| {
        let mut fields = vec![("topic", "t"), ("key", key), ("maxNum", "32")];
        fields.extend([("beginTimestamp", "0"), ("endTimestamp", "9223372036854775807")]);
        fields.retain(|(key, _)| !more.iter().any(|(k, _)| k == key));
        fields.extend(more);
        ask(&connection, request::QUERY_MESSAGE, &fields).await
    };
    for key in ["order-1", "customer-7"] {
        let reply = query(key, &[]).await;
        let fields = granted(&reply);
        let found: Vec<View<'_>> = walk(&reply.body).collect();
        assert_eq!(found.len(), 3, "{key}");
        assert_eq!(found[0].body, b"message 2", "the newest first");
        let position = found[0].physical_offset.to_string();
        assert_eq!(fields.get("indexLastUpdatePhyoffset"), position);
        assert!(fields.get("indexLastUpdateTimestamp").parse::<i64>().unwrap() > 0);
    }
    let reply = query("unique1", &[("_UNIQUE_KEY_QUERY", "true"), ("maxNum", "1")]).await;
    assert_eq!(walk(&reply.body).map(|r| r.body.to_vec()).collect::<Vec<_>>(), [b"message 1"]);
    assert_eq!(walk(&query("order-1", &[("maxNum", "2")]).await.body).count(), 2);
    for (key, more) in [
        ("order", &[][..]),
        ("order-1", &[("_UNIQUE_KEY_QUERY", "true")][..]),
        ("order-1", &[("endTimestamp", "1")]),
        ("order-1", &[("maxNum", "0")]),
        ("order-1", &[("topic", "nil")]),
    ] {
        let reply = query(key, more).await;
        refused(&reply, 22, "can not find message, maybe time range not correct");
    }
    let sent = put(&connection, "t", 1, "by position").await;
    let (_, position) = ids::parse_offset_id(&sent.msg_id).unwrap();
    for fields in [
        &[("offset", &*position.to_string())][..],
        &[("offset", &position.to_string()), ("topic", "t")],
    ] {
        let reply = ask(&connection, request::VIEW_MESSAGE_BY_ID, fields).await;
        granted(&reply);
        assert_eq!(View::parse(&reply.body).unwrap().body, b"by position");
    }
    server.stop();
}
