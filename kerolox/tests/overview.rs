//! What an operator asks: lists of topics 18 and groups 225 at once, 311 to 313 and 304 of the name server;
//! how far groups are and since when, 303, 308, 314, 317, 343, 345; how much there was lately, 315, in 202 and
//! 208; who sends, 328; entries of a queue, 321; cleaning up, 306, 316.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use common::call::{
    ask, body, commit, committed, granted, join, look, make_topic, put, put_with, refused, tell,
};
use common::trial::{self, set_clock};
use common::{Folder, Server};
use kerolox_protocol::remoting::client::{Heartbeat, ProducerData};
use kerolox_protocol::remoting::codes::{names, request};
use kerolox_protocol::tags::tags_code;
use serde_json::{Value, json};

/// Rows of a table whose keys are queues: by queue id.
fn row(table: &Value, queue: i32) -> &Value {
    let rows = table.as_object().unwrap();
    let of_queue = |key: &&String| key.contains(&format!("\"queueId\":{queue},"));
    &table[rows.keys().find(of_queue).unwrap()]
}

#[tokio::test]
async fn topics_18_and_groups_225_are_made_as_a_list_or_not_at_all() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let topics = |second: &str| {
        json!({ "topicConfigList": [
            { "topicName": "a", "readQueueNums": 2, "writeQueueNums": 3,
              "attributes": { "+message.type": "FIFO" } },
            { "topicName": second, "perm": 4, "order": true },
        ]})
    };
    let code = request::UPDATE_AND_CREATE_TOPIC_LIST;
    let reply = tell(&connection, code, &[], topics("b?").to_string().as_bytes()).await;
    refused(&reply, 29, "b?");
    let config =
        async |topic: &str| ask(&connection, request::GET_TOPIC_CONFIG, &[("topic", topic)]).await;
    refused(&config("a").await, 17, "a");
    granted(&tell(&connection, code, &[], topics("b").to_string().as_bytes()).await);
    let a = body(&config("a").await);
    assert_eq!((&a["readQueueNums"], &a["writeQueueNums"]), (&json!(2), &json!(3)));
    assert_eq!(a["attributes"], json!({ "message.type": "FIFO" }));
    let b = body(&config("b").await);
    assert_eq!(
        (&b["readQueueNums"], &b["perm"], &b["order"]),
        (&json!(16), &json!(4), &json!(true))
    );
    // One that is as it was does not keep the others from changing.
    let mut again = topics("b");
    again["topicConfigList"][1]["perm"] = json!(6);
    granted(&tell(&connection, code, &[], again.to_string().as_bytes()).await);
    assert_eq!(body(&config("b").await)["perm"], 6);

    let groups = |second: &str| {
        let groups = json!([{ "groupName": "g", "retryMaxTimes": 3 }, { "groupName": second }]);
        json!({ "groupConfigList": groups }).to_string()
    };
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
    refused(&tell(&connection, code, &[], groups("h?").as_bytes()).await, 29, "h?");
    let all = async || {
        let reply = ask(&connection, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await;
        body(&reply)["subscriptionGroupTable"].clone()
    };
    assert_eq!(all().await["g"], Value::Null);
    granted(&tell(&connection, code, &[], groups("h").as_bytes()).await);
    let made = all().await;
    assert_eq!((&made["g"]["retryMaxTimes"], &made["h"]["retryMaxTimes"]), (&json!(3), &json!(16)));
    granted(&config("%RETRY%h").await);
    for code in [request::UPDATE_AND_CREATE_TOPIC_LIST, code] {
        for body in [&b"["[..], b"", b"{}"] {
            refused(&tell(&connection, code, &[], body).await, 1, "body");
        }
    }
    let one = |name: &str| json!({ "topicName": name, "attributes": { "+message.type": "DELAY" } });
    let list = |topics: Vec<Value>| json!({ "topicConfigList": topics }).to_string();
    let code = request::UPDATE_AND_CREATE_TOPIC_LIST;
    granted(&tell(&connection, code, &[], list(vec![one("c")]).as_bytes()).await);
    assert_eq!(body(&config("c").await)["attributes"]["message.type"], "DELAY");
    let bad = json!({ "topicName": "bad", "attributes": { "+note": "a" } });
    let reply = tell(&connection, code, &[], list(vec![one("e"), bad]).as_bytes()).await;
    refused(&reply, 1, "unsupported key: note; there are queue.type, cleanup.policy,");
    refused(&config("e").await, 17, "No topic in this broker. topic: e");
    let reply = tell(&connection, code, &[], list(vec![one("d"), one("d")]).as_bytes()).await;
    refused(&reply, 29, "a name stands twice in the list");
    let many = (0..501).map(|n| one(&format!("many{n}"))).collect();
    refused(&tell(&connection, code, &[], list(many).as_bytes()).await, 29, "501 entries");
    server.stop();
}

#[tokio::test]
async fn the_name_server_lists_topics_by_flags_311_and_its_own_304() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "brokerName=b", "--set", "brokerClusterName=c"]);
    let connection = server.connect().await;
    for flags in 0..4 {
        let (topic, flags) = (format!("flags{flags}"), flags.to_string());
        let fields = [
            ("topic", &*topic),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicSysFlag", &*flags),
        ];
        granted(&ask(&connection, request::UPDATE_AND_CREATE_TOPIC, &fields).await);
    }
    for (code, expected) in [
        (names::GET_UNIT_TOPIC_LIST, &["flags1", "flags3"][..]),
        (names::GET_HAS_UNIT_SUB_TOPIC_LIST, &["flags2", "flags3"]),
        (names::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, &["flags2"]),
    ] {
        assert_eq!(body(&ask(&connection, code, &[]).await)["topicList"], json!(expected));
    }
    let own = body(&ask(&connection, names::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]).await);
    assert_eq!(own["topicList"], json!(["b", "c"]));
    assert_eq!(own["brokerAddr"], json!(server.broker()));
    server.stop();
}

#[tokio::test]
async fn groups_are_compared_copied_and_listed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    make_topic(&connection, "u", 1).await;
    for n in 0..10 {
        put(&connection, "t", n % 2, "x").await;
        put(&connection, "u", 0, "x").await;
    }
    for group in ["slow", "fast", "other"] {
        join(&connection, group, "c", "t").await;
    }
    commit(&connection, "slow", "t", 0, 1).await;
    commit(&connection, "fast", "t", 0, 4).await;
    commit(&connection, "fast", "t", 1, 2).await;
    commit(&connection, "fast", "u", 0, 7).await;
    commit(&connection, "other", "t", 0, 2).await;

    // 308.
    let corrections = async |group: &str, left_out: &str| {
        let fields = [("compareGroup", group), ("topic", "t"), ("filterGroups", left_out)];
        let reply = ask(&connection, request::QUERY_CORRECTION_OFFSET, &fields).await;
        body(&reply)["correctionOffsets"].clone()
    };
    assert_eq!(corrections("fast", "").await, json!({ "0": 1, "1": 2 }));
    assert_eq!(corrections("fast", "slow,nil").await["0"], 2);
    assert_eq!(corrections("slow", "slow").await, json!({ "0": i64::MAX, "1": 2 }));
    // Who was left out has its offsets still.
    assert_eq!(granted(&committed(&connection, "slow", "t", 0).await).get("offset"), "1");

    // 343, 345.
    let topics = async |group: &str| {
        let fields = [("group", group)];
        let list = body(&ask(&connection, request::QUERY_TOPICS_BY_CONSUMER, &fields).await);
        assert_eq!(list["brokerAddr"], json!(server.broker()));
        list["topicList"].clone()
    };
    assert_eq!(topics("fast").await, json!(["t", "u"]));
    assert_eq!(topics("nil").await, json!([]));
    let subscription = async |topic: &str| {
        let fields = [("group", "fast"), ("topic", topic)];
        body(&ask(&connection, request::QUERY_SUBSCRIPTION_BY_CONSUMER, &fields).await)
    };
    assert_eq!(subscription("t").await["subscriptionData"]["subString"], "*");
    assert_eq!(subscription("u").await, json!({ "group": "fast", "topic": "u" }));

    // 314: a topic that the source is connected without is left out, unless that is asked for.
    let copy = async |to: &str, topic: &str, offline: &str| {
        let fields =
            [("srcGroup", "fast"), ("destGroup", to), ("topic", topic), ("offline", offline)];
        ask(&connection, request::CLONE_GROUP_OFFSET, &fields).await
    };
    refused(&copy("nil", "t", "false").await, 26, "Group nil not exist!");
    let offset = async |topic: &str, queue| {
        let reply = committed(&connection, "other", topic, queue).await;
        (reply.code == 0).then(|| granted(&reply).get("offset").to_owned())
    };
    granted(&copy("other", "", "false").await);
    assert_eq!(offset("t", 0).await.as_deref(), Some("4"));
    assert_eq!(offset("t", 1).await.as_deref(), Some("2"));
    assert_eq!(offset("u", 0).await, None);
    granted(&copy("other", "u", "true").await);
    assert_eq!(offset("u", 0).await.as_deref(), Some("7"));

    // 317.
    let stats = async |ordered: &str| {
        let fields = [("isOrder", ordered)];
        body(&ask(&connection, request::GET_BROKER_CONSUME_STATS, &fields).await)
    };
    let all = stats("false").await;
    assert_eq!(all["brokerAddr"], json!(server.broker()));
    let of = |group: &str| {
        let groups = all["consumeStatsList"].as_array().unwrap();
        groups.iter().find_map(|groups| groups.get(group)).unwrap().clone()
    };
    let slow = of("slow");
    assert_eq!(slow.as_array().unwrap().len(), 1);
    let queue = row(&slow[0]["offsetTable"], 0);
    assert_eq!((&queue["brokerOffset"], &queue["consumerOffset"]), (&json!(5), &json!(1)));
    assert!(queue["lastTimestamp"].as_i64().unwrap() > 0);
    assert_eq!(row(&slow[0]["offsetTable"], 1)["lastTimestamp"], 0);
    // `fast` is connected without `u`; `other` is, too, but has offsets of both in t alone.
    let behind = (5 - 1) + 5 + (5 - 4) + (5 - 2) + (5 - 4) + (5 - 2);
    assert_eq!(all["totalDiff"], behind);
    assert_eq!(all["totalInflightDiff"], 0);
    assert_eq!(stats("true").await["totalDiff"], 0);

    // 306, 316: there is nothing to clean.
    for code in [request::CLEAN_EXPIRED_CONSUMEQUEUE, request::CLEAN_UNUSED_TOPIC] {
        granted(&ask(&connection, code, &[]).await);
    }
    server.stop();
}

#[tokio::test]
async fn a_group_tells_since_when_its_messages_wait_303() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    for _ in 0..3 {
        put(&connection, "t", 1, "x").await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    join(&connection, "g", "c", "t").await;
    let spans = async || {
        let fields = [("group", "g"), ("topic", "t")];
        let reply = ask(&connection, request::QUERY_CONSUME_TIME_SPAN, &fields).await;
        body(&reply)["consumeTimeSpanSet"].clone()
    };
    let time = |span: &Value, name: &str| span[name].as_i64().unwrap();
    let all = spans().await;
    let (empty, used) = (&all[0], &all[1]);
    assert_eq!((time(empty, "minTimeStamp"), time(empty, "delayTime")), (-1, 0));
    assert_eq!(used["messageQueue"]["queueId"], 1);
    let (min, max) = (time(used, "minTimeStamp"), time(used, "maxTimeStamp"));
    assert!(max >= min + 30, "{min} to {max}");
    assert!(time(used, "delayTime") >= max - min);
    assert_eq!(time(used, "consumeTimeStamp"), min);
    let text = used["minTimeStampStr"].as_str().unwrap();
    assert!(text.starts_with("20") && text.len() == "2026-11-28#20:05:13:042".len(), "{text}");
    commit(&connection, "g", "t", 1, 3).await;
    let used = spans().await[1].clone();
    assert_eq!((time(&used, "consumeTimeStamp"), time(&used, "delayTime")), (max, 0));
    let fields = [("group", "g"), ("topic", "nil")];
    let reply = ask(&connection, request::QUERY_CONSUME_TIME_SPAN, &fields).await;
    refused(&reply, 17, "topic[nil] not exist");
    server.stop();
}

/// Debug builds alone let a test set the clock.
#[tokio::test]
async fn what_happened_lately_is_counted_315_202_208() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let item = async |name: &str, key: &str| {
        let fields = [("statsName", name), ("statsKey", key)];
        ask(&connection, request::VIEW_BROKER_STATS_DATA, &fields).await
    };
    let unknown = "The stats <TOPIC_PUT_NUMS> <t> not exist";
    refused(&item("TOPIC_PUT_NUMS", "t").await, 1, unknown);
    for _ in 0..30 {
        put(&connection, "t", 0, "x").await;
    }
    join(&connection, "g", "c", "t").await;
    assert_eq!(connection.pull(&look("g", "t", 0, 0)).await.unwrap().code, 0);
    // What is going on does not show yet.
    let now = body(&item("TOPIC_PUT_NUMS", "t").await);
    assert!(now["statsMinute"]["sum"].as_i64().unwrap() <= 30);
    set_clock(&connection, 11_000).await;
    let minute = async |name: &str, key: &str| body(&item(name, key).await)["statsMinute"].clone();
    let stored = minute("TOPIC_PUT_NUMS", "t").await;
    assert_eq!((&stored["sum"], &stored["avgpt"]), (&json!(30), &json!(1.0)));
    let rate = stored["tps"].as_f64().unwrap();
    assert!((1.0..=3.0).contains(&rate), "{rate}");
    assert_eq!(minute("GROUP_GET_NUMS", "t@g").await["sum"], 30);
    assert_eq!(minute("GROUP_GET_NUMS", "t@g").await["avgpt"], 30.0);
    assert_eq!(minute("BROKER_PUT_NUMS", "DefaultCluster").await["sum"], 30);
    assert!(minute("TOPIC_PUT_SIZE", "t").await["sum"].as_i64().unwrap() > 30 * 90);
    let fields = [("topic", "t")];
    let stats = body(&ask(&connection, request::GET_TOPIC_STATS_INFO, &fields).await);
    assert_eq!(stats["topicPutTps"].as_f64(), Some(rate));
    let fields = [("consumerGroup", "g")];
    let stats = body(&ask(&connection, request::GET_CONSUME_STATS, &fields).await);
    assert!(stats["consumeTps"].as_f64().unwrap() > 0.5, "{stats}");
    let day = body(&item("TOPIC_PUT_NUMS", "t").await)["statsDay"].clone();
    set_clock(&connection, 3_700_000).await;
    let later = body(&item("TOPIC_PUT_NUMS", "t").await);
    assert_eq!((&later["statsMinute"]["sum"], &later["statsDay"]["sum"]), (&json!(0), &json!(30)));
    assert!(day["sum"].as_i64().unwrap() <= 30);
    for (name, key) in [("TOPIC_PUT_NUMS", "u"), ("GROUP_GET_NUMS", "t"), ("DLQ_PUT_NUMS", "t")] {
        refused(&item(name, key).await, 1, &format!("The stats <{name}> <{key}> not exist"));
    }
    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "t")]).await);
    refused(&item("TOPIC_PUT_NUMS", "t").await, 1, unknown);
    refused(&item("GROUP_GET_NUMS", "t@g").await, 1, "not exist");
    server.stop();
}

#[tokio::test]
async fn the_broker_tells_how_it_is_doing_28() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let info = async || {
        body(&ask(&connection, request::GET_BROKER_RUNTIME_INFO, &[]).await)["table"].clone()
    };
    let number = |table: &Value, key: &str| -> f64 {
        table[key].as_str().unwrap_or_else(|| panic!("{key} in {table}")).parse().unwrap()
    };
    let before = info().await;
    assert_eq!(number(&before, "putMessageTimesTotal"), 0.0);
    for _ in 0..5 {
        put(&connection, "t", 0, "x").await;
    }
    put_with(&connection, "t", 0, "later", &[("DELAY", "2")]).await;
    // Tests of the sends go to the broker's own topic, which is no user's.
    put(&connection, "broker-a", 0, "x").await;
    connection.pull(&look("g", "t", 0, 0)).await.unwrap();
    let after = info().await;
    assert_eq!(number(&after, "putMessageTimesTotal"), 7.0);
    assert!(number(&after, "putMessageAverageSize") > 90.0);
    assert_eq!(number(&after, "msgPutTotalTodayNow"), 5.0);
    assert_eq!(number(&after, "msgGetTotalTodayNow"), 5.0);
    assert_eq!(after["scheduleMessageOffset_2"], "0,1");
    let booted = number(&after, "bootTimestamp");
    assert!(number(&after, "earliestMessageTimeStamp") >= booted - 1000.0);
    assert!(number(&after, "commitLogMaxOffset") > number(&before, "commitLogMaxOffset"));
    assert_eq!(number(&after, "commitLogMinOffset"), 0.0);
    assert!((0.0..=1.0).contains(&number(&after, "commitLogDiskRatio")));
    for rates in ["putTps", "getTotalTps", "getFoundTps", "getMissTps", "getTransferredTps"] {
        let three: Vec<f64> =
            after[rates].as_str().unwrap().split(' ').map(|rate| rate.parse().unwrap()).collect();
        assert_eq!(three.len(), 3, "{rates}");
    }
    for (key, begin) in [
        ("runtime", "[ 0 days, 0 hours, 0 minutes, "),
        ("commitLogDirCapacity", "Total : "),
        ("brokerVersionDesc", "V5_5_0"),
        ("brokerActive", "true"),
    ] {
        assert!(after[key].as_str().unwrap().starts_with(begin), "{key}: {}", after[key]);
    }
    server.stop();
}

#[tokio::test]
async fn producers_are_listed_328() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let producers = async || body(&ask(&connection, request::GET_ALL_PRODUCER_INFO, &[]).await);
    assert_eq!(producers().await, json!({ "data": {} }));
    let beat = Heartbeat {
        client_id: "c1".to_owned(),
        producer_data_set: vec![ProducerData { group_name: "p".to_owned() }],
        ..Heartbeat::default()
    };
    connection.heartbeat(&beat).await.unwrap();
    let all = producers().await;
    let client = &all["data"]["p"][0];
    assert_eq!(client["clientId"], "c1");
    assert!(client["remoteIP"].as_str().unwrap().starts_with("/127.0.0.1:"), "{client}");
    assert!(client["lastUpdateTimestamp"].as_i64().unwrap() > 0 && client["version"].is_i64());
    server.stop();
}

#[tokio::test]
async fn a_queue_shows_its_entries_321() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let mut positions = Vec::new();
    for tag in ["A", "B", "A"] {
        let sent = put_with(&connection, "t", 0, "x", &[("TAGS", tag)]).await;
        let (_, at) = kerolox_protocol::ids::parse_offset_id(&sent.msg_id).unwrap();
        positions.push(at);
    }
    let entries = async |queue: &str, index: &str, count: &str, group: &str| {
        let fields = [
            ("topic", "t"),
            ("queueId", queue),
            ("index", index),
            ("count", count),
            ("consumerGroup", group),
        ];
        ask(&connection, request::QUERY_CONSUME_QUEUE, &fields).await
    };
    let all = body(&entries("0", "1", "10", "").await);
    assert_eq!((&all["minQueueIndex"], &all["maxQueueIndex"]), (&json!(0), &json!(3)));
    let data = all["queueData"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!(data[0]["physicOffset"], json!(positions[1]));
    assert_eq!(data[0]["tagsCode"], json!(tags_code("B")));
    assert!(data[0]["physicSize"].as_i64().unwrap() > 90);
    assert_eq!(data[0]["eval"], false);
    assert_eq!(all.get("filterData"), None);
    assert_eq!(body(&entries("0", "0", "1", "").await)["queueData"].as_array().unwrap().len(), 1);
    assert_eq!(body(&entries("0", "0", "1", "g").await)["filterData"], "g@t is not online!");
    join(&connection, "g", "c", "t").await;
    let online = body(&entries("0", "0", "1", "g").await);
    assert_eq!(online["subscriptionData"]["topic"], "t");
    let behind = entries("0", "3", "1", "").await;
    assert_eq!((behind.code, behind.body.len()), (0, 0));
    assert_eq!(behind.remark.as_deref(), Some("Index 3 of 0@t is not exist!"));
    // One that nobody has used is empty; one that cannot be is not there.
    let unused = entries("1", "0", "1", "").await;
    assert_eq!((unused.code, unused.remark.as_deref()), (0, Some("Index 0 of 1@t is not exist!")));
    refused(&entries("100", "0", "1", "").await, 1, "100@t is not exist!");
    refused(&entries("9", "0", "1", "").await, 1, "9@t is not exist!");
    server.stop();
}
