//! Requests about topics, queues and offsets, each answered well: 14, 15, 43 (consumer offsets), 17,
//! 21, 215, 351 (topics), 29 to 32, 202 (queues), 222 (reset); and in which order a pull is refused.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::call::{
    ask, body, commit, committed, granted, heartbeat, join, look, make_topic, put, read, refused,
    tell, texts,
};
use common::{Folder, Server};
use kerolox_client::{Connection, Incoming, Options};
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A connection that hears what the broker asks of it.
async fn listening(server: &Server) -> (Connection, mpsc::Receiver<Incoming>) {
    let (incoming, requests) = mpsc::channel(100);
    let options = Options { incoming: Some(incoming), ..Options::default() };
    (Connection::connect_with(&server.broker(), options).await.unwrap(), requests)
}

/// The next request of this code that the broker makes.
async fn heard(requests: &mut mpsc::Receiver<Incoming>, code: i32) -> Incoming {
    let wait = async {
        loop {
            let request = requests.recv().await.expect("the connection is open");
            if request.code == code {
                return request;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the broker asks")
}

#[tokio::test]
async fn topics_are_made_changed_listed_and_deleted() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let fields = [
        ("topic", "orders"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "1"),
        ("order", "true"),
        ("attributes", "+message.type=FIFO,+lite.topic.expiration=5"),
    ];
    granted(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &fields).await);
    let expected = json!({
        "attributes": {"lite.topic.expiration": "5", "message.type": "FIFO"}, "order": true, "perm": 6,
        "readQueueNums": 3, "topicFilterType": "SINGLE_TAG", "topicName": "orders",
        "topicSysFlag": 1, "writeQueueNums": 2,
    });
    let config =
        async || body(&ask(&connection, request::GET_TOPIC_CONFIG, &[("topic", "orders")]).await);
    assert_eq!(config().await, expected);
    let version = async || {
        let reply = ask(&connection, request::GET_ALL_TOPIC_CONFIG, &[]).await;
        let all = body(&reply);
        (all["topicConfigTable"]["orders"].clone(), all["dataVersion"]["counter"].as_i64().unwrap())
    };
    let (listed, first) = version().await;
    assert_eq!(listed, expected);
    // The same again is no change.
    granted(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &fields).await);
    assert_eq!(version().await.1, first);

    let mut changed = fields;
    changed[4] = ("perm", "4");
    changed[8] = ("attributes", "-lite.topic.expiration,+message.type=NORMAL");
    granted(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &changed).await);
    let (listed, second) = version().await;
    assert!(second > first);
    assert_eq!(
        (&listed["perm"], &listed["attributes"]),
        (&json!(4), &json!({"message.type": "NORMAL"}))
    );
    let route = connection.route("orders").await.unwrap().unwrap();
    let queues = &route.queue_datas[0];
    assert_eq!((queues.perm, queues.read_queue_nums, queues.write_queue_nums), (4, 3, 2));

    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]).await);
    let reply = ask(&connection, request::GET_TOPIC_CONFIG, &[("topic", "orders")]).await;
    refused(&reply, 17, "No topic in this broker. topic: orders");
    assert!(connection.route("orders").await.unwrap().is_none());
    // What is gone can be deleted: the answer to the first deletion may have been lost.
    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]).await);
    server.stop();
}

#[tokio::test]
async fn a_deleted_topic_takes_its_messages_and_offsets_along() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for _ in 0..3 {
        put(&connection, "t", 0, "of the old topic").await;
    }
    join(&connection, "g", "c", "t").await;
    commit(&connection, "g", "t", 0, 2).await;
    // Who waits at it is told.
    let pull = common::call::wait("g", "t", 0, 3, 20_000);
    let waiting = tokio::spawn({
        let reader = server.connect().await;
        async move { reader.call(11, &pull, Bytes::new()).await.unwrap() }
    });
    server.wait_for_metric("kerolox_parked_pulls", |count| count == 1).await;
    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "t")]).await);
    refused(&waiting.await.unwrap(), 17, "topic[t] was deleted");
    put(&connection, "t", 0, "of the new topic").await;
    assert_eq!(read(&connection, "t", 0).await, ["of the new topic"]);
    assert_eq!(committed(&connection, "g", "t", 0).await.code, 22);
    // Also after the log was read again.
    server.kill();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    assert_eq!(read(&connection, "t", 0).await, ["of the new topic"]);
    assert_eq!(committed(&connection, "g", "t", 0).await.code, 22);
    server.stop();
}

#[tokio::test]
async fn the_system_has_its_own_topics_and_groups() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "brokerName=b", "--set", "brokerClusterName=c"]);
    let connection = server.connect().await;
    let topics = body(&ask(&connection, request::GET_ALL_TOPIC_CONFIG, &[]).await);
    for (topic, queues, perm) in [
        ("TBW102", 8, 7),
        ("b", 1, 7),
        ("c", 16, 7),
        ("SELF_TEST_TOPIC", 1, 6),
        ("BenchmarkTest", 1024, 6),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
    ] {
        let config = &topics["topicConfigTable"][topic];
        assert_eq!(
            (&config["writeQueueNums"], &config["perm"]),
            (&json!(queues), &json!(perm)),
            "{topic}"
        );
    }
    assert!(!topics.to_string().contains("rmq_sys_kerolox_state"));
    let groups = body(&ask(&connection, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await);
    assert!(groups["subscriptionGroupTable"]["TOOLS_CONSUMER"].is_object(), "{groups}");
    server.stop();
}

#[tokio::test]
async fn a_queue_tells_its_offsets_and_times() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    let mut times = Vec::new();
    for i in 0..4 {
        put(&connection, "t", 0, &i.to_string()).await;
        let reply = connection.pull(&look("g", "t", 0, i)).await.unwrap();
        times.push(common::call::records(&reply)[0].store_timestamp);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let number = async |code: i32, queue: &str, field: &str| {
        let reply = ask(&connection, code, &[("topic", "t"), ("queueId", queue)]).await;
        granted(&reply).get(field).parse::<i64>().unwrap()
    };
    for (code, used, unused) in [(request::GET_MAX_OFFSET, 4, 0), (request::GET_MIN_OFFSET, 0, 0)] {
        assert_eq!(number(code, "0", "offset").await, used);
        assert_eq!(number(code, "1", "offset").await, unused);
    }
    let earliest = request::GET_EARLIEST_MSG_STORETIME;
    assert_eq!(number(earliest, "0", "timestamp").await, times[0]);
    assert_eq!(number(earliest, "1", "timestamp").await, -1);

    let search = async |time: i64, boundary: Option<&str>| {
        let time = time.to_string();
        let mut fields = vec![("topic", "t"), ("queueId", "0"), ("timestamp", &*time)];
        fields.extend(boundary.map(|boundary| ("boundaryType", boundary)));
        let reply = ask(&connection, request::SEARCH_OFFSET_BY_TIMESTAMP, &fields).await;
        granted(&reply).get("offset").parse::<i64>().unwrap()
    };
    for boundary in [None, Some("LOWER"), Some("lower"), Some("sideways")] {
        assert_eq!(search(times[2], boundary).await, 2);
        assert_eq!(search(times[2] + 1, boundary).await, 3);
    }
    assert_eq!(search(times[2], Some("UPPER")).await, 2);
    assert_eq!(search(times[2] + 1, Some("upper")).await, 2);
    for (time, found) in [(0, 0), (i64::MIN, 0), (i64::MAX, 4), (times[3] + 1, 4)] {
        assert_eq!(search(time, None).await, found, "{time}");
    }

    let stats = body(&ask(&connection, request::GET_TOPIC_STATS_INFO, &[("topic", "t")]).await);
    let row = |queue: i32| {
        let key = format!(r#"{{"brokerName":"broker-a","queueId":{queue},"topic":"t"}}"#);
        stats["offsetTable"][key].clone()
    };
    assert_eq!(row(0), json!({"lastUpdateTimestamp": times[3], "maxOffset": 4, "minOffset": 0}));
    assert_eq!(row(1), json!({"lastUpdateTimestamp": 0, "maxOffset": 0, "minOffset": 0}));
    for code in [earliest, request::GET_MAX_OFFSET, request::GET_MIN_OFFSET, 29, 202] {
        let reply = ask(&connection, code, &[("topic", "nil"), ("queueId", "0")]).await;
        refused(&reply, 17, "topic[nil] not exist");
    }
    server.stop();
}

#[tokio::test]
async fn offsets_are_committed_15_asked_for_14_and_listed_43() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for _ in 0..5 {
        put(&connection, "t", 1, "x").await;
    }
    join(&connection, "g", "c", "t").await;
    let reply = committed(&connection, "g", "t", 1).await;
    refused(&reply, 22, "Not found, maybe this group consumer boot first");
    for (offset, stored) in [(3, 3), (1, 1), (99, 5), (i64::MAX, 5), (0, 0), (4, 4)] {
        commit(&connection, "g", "t", 1, offset).await;
        let reply = committed(&connection, "g", "t", 1).await;
        assert_eq!(granted(&reply).get("offset"), stored.to_string());
    }
    let all = body(&ask(&connection, request::GET_ALL_CONSUMER_OFFSET, &[]).await);
    assert_eq!(all["offsetTable"]["t@g"], json!({"1": 4}));
    let reply = ask(&connection, request::GET_ALL_CONSUMER_OFFSET, &[]).await;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert!(text.contains(r#""t@g":{"1":4}"#), "{text}");
    // A new group starts at the first message while that is hot, unless it asks not to.
    let fields = [("consumerGroup", "new"), ("topic", "t"), ("queueId", "1")];
    let reply = ask(&connection, request::QUERY_CONSUMER_OFFSET, &fields).await;
    assert_eq!(granted(&reply).get("offset"), "0");
    for (group, topic, code, remark) in
        [("nil", "t", 26, "Group nil not exist!"), ("g", "nil", 17, "Topic nil not exist!")]
    {
        let fields =
            [("consumerGroup", group), ("topic", topic), ("queueId", "0"), ("commitOffset", "1")];
        refused(&ask(&connection, request::UPDATE_CONSUMER_OFFSET, &fields).await, code, remark);
    }
    for fields in [&[][..], &[("queueId", "0")], &[("queueId", "-1"), ("commitOffset", "1")]] {
        let fields = [&[("consumerGroup", "g"), ("topic", "t")], fields].concat();
        let reply = ask(&connection, request::UPDATE_CONSUMER_OFFSET, &fields).await;
        refused(&reply, 29, "queueId (not negative) and commitOffset are needed");
    }
    server.stop();
}

#[tokio::test]
async fn a_reset_222_is_told_by_the_next_pull() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    for i in 0..5 {
        put(&connection, "t", 0, &i.to_string()).await;
    }
    join(&connection, "g", "c", "t").await;
    commit(&connection, "g", "t", 0, 5).await;
    let reset = async |more: &[(&str, &str)]| {
        let fields = [&[("group", "g"), ("topic", "t")], more].concat();
        ask(&connection, request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await
    };
    let key = |queue: i32| format!(r#"{{"brokerName":"broker-a","queueId":{queue},"topic":"t"}}"#);
    let reply = reset(&[("timestamp", "0"), ("isForce", "true")]).await;
    assert_eq!(body(&reply), json!({"offsetTable": {key(0): 0, key(1): 0}}));
    // What the consumer still commits does not count until it knows.
    commit(&connection, "g", "t", 0, 5).await;
    let stored =
        async || granted(&committed(&connection, "g", "t", 0).await).get("offset").to_owned();
    assert_eq!(stored().await, "0");
    let reply = connection.call(11, &look("g", "t", 0, 5), Bytes::new()).await.unwrap();
    refused(&reply, 21, "OFFSET_RESET");
    assert_eq!(reply.header::<common::call::Pairs>().unwrap().get("nextBeginOffset"), "0");
    assert_eq!(texts(&connection.pull(&look("g", "t", 0, 0)).await.unwrap()).len(), 5);

    let reply =
        reset(&[("queueId", "0"), ("offset", "3"), ("timestamp", "-1"), ("isForce", "true")]).await;
    assert_eq!(body(&reply), json!({"offsetTable": {key(0): 3}}));
    assert_eq!(stored().await, "3");
    connection.pull(&look("g", "t", 0, 0)).await.unwrap();
    // Without force only backwards.
    let reply = reset(&[("timestamp", "-1")]).await;
    assert_eq!(body(&reply)["offsetTable"][key(0)], Value::Null);
    assert_eq!(stored().await, "3");
    let reply = reset(&[("timestamp", "-1"), ("isForce", "true")]).await;
    assert_eq!(body(&reply)["offsetTable"][key(0)], 5);
    for (fields, code, remark) in [
        (
            &[("queueId", "0"), ("offset", "6")][..],
            1,
            "Target offset 6 of queue 0 is not within [0, 5]",
        ),
        (&[("queueId", "7"), ("offset", "0")], 1, "is not within [0, 0]"),
        (&[("group", "nil"), ("timestamp", "0")], 26, "Group nil does not exist"),
        (&[("topic", "nil"), ("timestamp", "0")], 17, "Topic nil does not exist"),
    ] {
        refused(&reset(fields).await, code, remark);
    }
    server.stop();
}

#[tokio::test]
async fn a_reset_222_is_pushed_to_the_clients_220_where_the_broker_does_not_keep_it() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "useServerSideResetOffset=false"]);
    let (client, mut requests) = listening(&server).await;
    put(&client, "t", 0, "x").await;
    let fields = [("group", "g"), ("topic", "t"), ("timestamp", "-1"), ("isForce", "true")];
    let config = br#"{"groupName":"g"}"#;
    granted(&tell(&client, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], config).await);
    let reply = ask(&client, request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    refused(&reply, 206, "Consumer not online, so can not reset offset, Group: g Topic: t");
    join(&client, "g", "c", "t").await;
    granted(&ask(&client, request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await);
    let push = heard(&mut requests, request::RESET_CONSUMER_CLIENT_OFFSET).await;
    let header: common::call::Pairs = push.header().unwrap();
    assert_eq!((header.get("group"), header.get("topic")), ("g", "t"));
    assert_eq!((header.get("timestamp"), header.get("isForce")), ("-1", "true"));
    let text = String::from_utf8_lossy(&push.body).into_owned();
    assert!(text.contains(r#"{{"brokerName":"broker-a","queueId":0,"topic":"t"}:1"#), "{text}");
    server.stop();
}

#[tokio::test]
async fn a_pull_is_refused_in_apaches_order() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "autoCreateSubscriptionGroup=false"]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    let settings = [("readQueueNums", "1"), ("writeQueueNums", "1"), ("perm", "2")];
    let fields = [&[("topic", "unreadable")], &settings[..]].concat();
    granted(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &fields).await);
    for config in [
        json!({"groupName": "g"}),
        json!({"groupName": "off", "consumeEnable": false}),
        json!({"groupName": "single", "consumeBroadcastEnable": false}),
    ] {
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        granted(&tell(&connection, code, &[], config.to_string().as_bytes()).await);
    }
    let mut beat = heartbeat("single", "c", "t");
    beat.consumer_data_set[0].message_model = "BROADCASTING".to_owned();
    connection.heartbeat(&beat).await.unwrap();
    join(&connection, "g", "c", "t").await;
    let with_subscription = sys_flag::SUBSCRIPTION;
    for (group, topic, queue, flags, expression, code, remark) in [
        ("nil", "nil", 0, with_subscription, "*", 26, "subscription group [nil] does not exist"),
        ("off", "nil", 0, with_subscription, "*", 16, "subscription group no permission, off"),
        ("g", "nil", 0, with_subscription, "*", 17, "topic[nil] not exist, apply first please!"),
        (
            "g",
            "unreadable",
            9,
            with_subscription,
            "*",
            16,
            "the topic[unreadable] pulling message is forbidden",
        ),
        (
            "g",
            "t",
            2,
            with_subscription,
            "||",
            29,
            "queueId[2] is illegal, topic:[t] topicConfig.readQueueNums:[2]",
        ),
        ("g", "t", -1, with_subscription, "*", 29, "queueId[-1] is illegal"),
        ("g", "t", i32::MAX, with_subscription, "*", 29, "is illegal"),
        ("g", "t", 0, with_subscription, "||", 23, "parse the consumer's subscription failed"),
        (
            "single",
            "t",
            0,
            0,
            "",
            16,
            "the consumer group[single] can not consume by broadcast way",
        ),
        (
            "g",
            "TBW102",
            0,
            0,
            "",
            24,
            "the consumer's subscription not exist, group: g, topic: TBW102",
        ),
    ] {
        let pull = Pull {
            sys_flag: flags,
            subscription: Some(expression.into()),
            ..look(group, topic, queue, 0)
        };
        refused(&connection.call(11, &pull, Bytes::new()).await.unwrap(), code, remark);
    }
    server.stop();
    let server = Server::start(&folder, &["--set", "brokerPermission=2"]);
    let pull = look("nil", "nil", 0, 0);
    let reply = server.connect().await.call(11, &pull, Bytes::new()).await.unwrap();
    refused(&reply, 16, "the broker[broker-a] pulling message is forbidden");
    server.stop();
}
