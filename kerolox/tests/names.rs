//! The name server's requests, each answered well: 100, 101, 102, 219 (KV), 103, 104, 322, 904
//! (brokers of other processes), 105 (routes), 106, 206, 224 (lists), 205, 327 (permissions), 216,
//! 217 (topics).

mod common;

use bytes::Bytes;
use common::call::{ask, body, granted, make_topic, put, refused, tell};
use common::{Folder, Launch, Server};
use kerolox_client::{Connection, OwnedReply};
use kerolox_protocol::remoting::codes::names;
use serde_json::json;

const OTHER: [(&str, &str); 4] = [
    ("brokerName", "other"),
    ("brokerAddr", "127.0.0.1:1"),
    ("clusterName", "far"),
    ("brokerId", "0"),
];

/// Registers a broker of another process with two topics.
async fn register(connection: &Connection, more: &[(&str, &str)], counter: i64) -> OwnedReply {
    let topic =
        |name: &str| json!({"topicName": name, "readQueueNums": 4, "writeQueueNums": 2, "perm": 6});
    let wrapper = json!({
        "topicConfigTable": {"far-a": topic("far-a"), "far-b": topic("far-b")},
        "dataVersion": {"counter": counter, "stateVersion": 0, "timestamp": 1},
    });
    let text = json!({"topicConfigSerializeWrapper": wrapper, "filterServerList": []}).to_string();
    let crc = (crc32fast::hash(text.as_bytes()) & i32::MAX as u32).to_string();
    let mut fields = OTHER.to_vec();
    fields.extend([("haServerAddr", "127.0.0.1:2"), ("compressed", "false"), ("bodyCrc32", &crc)]);
    fields.retain(|(key, _)| !more.iter().any(|(k, _)| k == key));
    fields.extend(more);
    tell(connection, names::REGISTER_BROKER, &fields, text.as_bytes()).await
}

#[tokio::test]
async fn a_route_105_names_queues_and_brokers() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let fields = [
        ("topic", "t"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicSysFlag", "1"),
    ];
    granted(&ask(&connection, 17, &fields).await);
    let reply = ask(&connection, names::GET_ROUTEINFO_BY_TOPIC, &[("topic", "t")]).await;
    let address = server.broker();
    let expected = json!({
        "brokerDatas": [{
            "brokerAddrs": {"0": address}, "brokerName": "broker-a", "cluster": "DefaultCluster",
            "enableActingMaster": false,
        }],
        "filterServerTable": {},
        "queueDatas": [{
            "brokerName": "broker-a", "perm": 6, "readQueueNums": 3, "topicSysFlag": 1,
            "writeQueueNums": 2,
        }],
    });
    assert_eq!(body(&reply), expected);
    assert!(String::from_utf8_lossy(&reply.body).contains(r#"{"0":""#), "standard JSON");
    for topic in ["nil", "rmq_sys_kerolox_state"] {
        let reply = ask(&connection, names::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]).await;
        refused(&reply, 17, &format!("No topic route info in name server for the topic: {topic}"));
    }
    server.stop();
}

#[tokio::test]
async fn an_old_client_gets_a_route_as_fastjson_writes_it() {
    use common::raw::{Raw, json_frame};
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut raw = Raw::connect(server.ports.namesrv);
    let header = |version: i32, more: &str| {
        format!(
            r#"{{"code":105,"opaque":1,"version":{version},"extFields":{{"topic":"TBW102"{more}}}}}"#
        )
    };
    for (header, bare) in [
        (header(399, ""), true),
        (header(401, ""), false),
        (header(399, r#","acceptStandardJsonOnly":"true""#), false),
    ] {
        let answer = raw.ask(&json_frame(&header, b""));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(text.contains(r#""brokerAddrs":{0:"#), bare, "{header} {text}");
    }
    server.stop();
}

#[tokio::test]
async fn clusters_and_topics_are_listed_106_206_224() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "here", 0, "x").await;
    granted(&register(&connection, &[], 1).await);
    let clusters = body(&ask(&connection, names::GET_BROKER_CLUSTER_INFO, &[]).await);
    assert_eq!(
        clusters["clusterAddrTable"],
        json!({"DefaultCluster": ["broker-a"], "far": ["other"]})
    );
    assert_eq!(clusters["brokerAddrTable"]["other"]["brokerAddrs"]["0"], "127.0.0.1:1");
    let list = async |code: i32, fields: &[(&str, &str)]| {
        let topics = body(&ask(&connection, code, fields).await)["topicList"].clone();
        serde_json::from_value::<Vec<String>>(topics).unwrap()
    };
    let all = list(names::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]).await;
    let has = |topics: &[String], topic: &str| topics.iter().any(|t| t == topic);
    assert!(has(&all, "here") && has(&all, "far-a") && has(&all, "TBW102"), "{all:?}");
    assert!(!has(&all, "rmq_sys_kerolox_state"));
    let far = list(names::GET_TOPICS_BY_CLUSTER, &[("cluster", "far")]).await;
    assert_eq!(far, ["far-a", "far-b"]);
    assert!(list(names::GET_TOPICS_BY_CLUSTER, &[("cluster", "nil")]).await.is_empty());
    server.stop();
}

#[tokio::test]
async fn a_broker_of_another_process_registers_beats_and_leaves_103_104_322_904() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (admin, broker) = (server.connect().await, server.connect().await);
    assert_eq!(granted(&register(&broker, &[], 7).await).get("masterAddr"), "");
    let route = admin.route("far-a").await.unwrap().unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "127.0.0.1:1");
    let slave = [("brokerId", "1"), ("brokerAddr", "127.0.0.1:3")];
    let fields = granted(&register(&broker, &slave, 7).await);
    assert_eq!(fields.get("masterAddr"), "127.0.0.1:1");
    assert_eq!(fields.get("haServerAddr"), "127.0.0.1:2");

    let version = |counter: i64| json!({"counter": counter, "stateVersion": 0, "timestamp": 1});
    for (counter, changed) in [(7, "false"), (8, "true")] {
        let text = version(counter).to_string();
        let reply = tell(&admin, names::QUERY_DATA_VERSION, &OTHER, text.as_bytes()).await;
        assert_eq!(granted(&reply).get("changed"), changed);
        assert_eq!(body(&reply), version(7));
    }
    granted(&ask(&admin, names::BROKER_HEARTBEAT, &OTHER).await);
    granted(&ask(&admin, names::UNREGISTER_BROKER, &OTHER).await);
    let route = admin.route("far-a").await.unwrap().unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs.keys().collect::<Vec<_>>(), [&1]);
    // The rest leaves with the connection over which it registered.
    drop(broker);
    server.wait_for_log("broker disconnected, its routes are gone").await;
    assert!(admin.route("far-a").await.unwrap().is_none());
    server.stop();
}

#[tokio::test]
async fn a_registration_that_cannot_be_is_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for (more, remark) in [
        (&[("bodyCrc32", "5")][..], "crc32 not match"),
        (&[("brokerId", "-1")], "brokerId -1 is negative"),
        (&[("brokerName", "")], "brokerName has 0 bytes"),
        (&[("brokerName", &*"x".repeat(300))], "brokerName has 300 bytes; 1 to 255 are allowed"),
        (&[("brokerName", "broker-a")], "is the broker in this process"),
        (&[("compressed", "true")], "it is no zlib stream"),
        (&[("brokerId", "x")], "the custom field <brokerId> is not a whole number"),
    ] {
        refused(&register(&connection, more, 1).await, 1, remark);
    }
    let reply = ask(&connection, names::REGISTER_BROKER, &[("brokerName", "x")]).await;
    refused(&reply, 1, "the custom field <brokerAddr> is null");
    let one = br#"{"topicConfigSerializeWrapper":{"topicConfigTable":{"t":{"topicName":"t"}}}}"#;
    let reply = tell(&connection, names::REGISTER_BROKER, &OTHER, one).await;
    refused(&reply, 1, "its first registration must hold all its topics");
    let clusters = body(&ask(&connection, names::GET_BROKER_CLUSTER_INFO, &[]).await);
    assert_eq!(clusters["brokerAddrTable"].as_object().unwrap().len(), 1);
    server.stop();
}

#[tokio::test]
async fn a_broker_is_taken_out_of_sending_and_brought_back_205_327() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let perm = async || connection.route("t").await.unwrap().unwrap().queue_datas[0].perm;
    let name = [("brokerName", "broker-a")];
    let reply = ask(&connection, names::WIPE_WRITE_PERM_OF_BROKER, &name).await;
    let wiped: i32 = granted(&reply).get("wipeTopicCount").parse().unwrap();
    assert!(wiped >= 7);
    assert_eq!(perm().await, 4);
    let reply = ask(&connection, names::ADD_WRITE_PERM_OF_BROKER, &name).await;
    assert_eq!(granted(&reply).get("addTopicCount"), wiped.to_string());
    assert_eq!(perm().await, 6);
    let reply = ask(&connection, names::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "nil")]).await;
    assert_eq!(granted(&reply).get("wipeTopicCount"), "0");
    server.stop();
}

#[tokio::test]
async fn topics_of_other_brokers_are_registered_217_and_removed_216() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    granted(&register(&connection, &[], 1).await);
    let route = |broker: &str| {
        json!({"queueDatas": [{"brokerName": broker, "perm": 6, "readQueueNums": 1, "writeQueueNums": 1}]})
            .to_string()
    };
    let register_topic = async |topic: &str, broker: &str| {
        let text = route(broker);
        let code = names::REGISTER_TOPIC_IN_NAMESRV;
        tell(&connection, code, &[("topic", topic)], text.as_bytes()).await
    };
    granted(&register_topic("new", "other").await);
    assert!(connection.route("new").await.unwrap().is_some());
    for (topic, broker, remark) in [
        ("new", "nil", "the broker \"nil\" is not known here"),
        ("new", "broker-a", "broker-a is the broker in this process"),
        ("", "other", "is no topic that can be registered"),
        ("rmq_sys_kerolox_state", "other", "is no topic that can be registered"),
    ] {
        refused(&register_topic(topic, broker).await, 1, remark);
    }
    make_topic(&connection, "here", 1).await;
    for topic in ["new", "far-a", "here"] {
        granted(&ask(&connection, names::DELETE_TOPIC_IN_NAMESRV, &[("topic", topic)]).await);
    }
    assert!(connection.route("new").await.unwrap().is_none());
    assert!(connection.route("far-a").await.unwrap().is_none());
    assert!(connection.route("here").await.unwrap().is_some(), "the broker here says what it has");
    server.stop();
}

#[tokio::test]
async fn kv_entries_are_put_read_listed_deleted_and_kept_100_101_102_219() {
    let folder = Folder::new();
    let mut server = Launch::new(&folder).args(&["--set", "orderMessageEnable=true"]).start();
    let mut connection = server.connect().await;
    let entry = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "t")];
    let put = |value| [&entry[..], &[("value", value)]].concat();
    make_topic(&connection, "t", 1).await;
    granted(&ask(&connection, names::PUT_KV_CONFIG, &put("broker-a:1")).await);
    granted(&ask(&connection, names::PUT_KV_CONFIG, &put("broker-a:4")).await);
    let other = [("namespace", "N"), ("key", "ключ"), ("value", "\u{1}\"\\")];
    granted(&ask(&connection, names::PUT_KV_CONFIG, &other).await);
    for killed in [false, true] {
        let reply = ask(&connection, names::GET_KV_CONFIG, &entry).await;
        assert_eq!(granted(&reply).get("value"), "broker-a:4");
        let list = [("namespace", "ORDER_TOPIC_CONFIG")];
        let reply = ask(&connection, names::GET_KVLIST_BY_NAMESPACE, &list).await;
        assert_eq!(body(&reply), json!({"table": {"t": "broker-a:4"}}));
        let reply = ask(&connection, names::GET_KVLIST_BY_NAMESPACE, &other[..1]).await;
        assert_eq!(body(&reply), json!({"table": {"ключ": "\u{1}\"\\"}}));
        let route = connection.route("t").await.unwrap().unwrap();
        assert_eq!(route.order_topic_conf.as_deref(), Some("broker-a:4"));
        if killed {
            server.kill();
        } else {
            server.stop();
        }
        server = Launch::new(&folder).args(&["--set", "orderMessageEnable=true"]).start();
        connection = server.connect().await;
    }
    for _ in 0..2 {
        granted(&ask(&connection, names::DELETE_KV_CONFIG, &entry).await);
    }
    let reply = ask(&connection, names::GET_KV_CONFIG, &entry).await;
    refused(&reply, 22, "No config item, Namespace: ORDER_TOPIC_CONFIG Key: t");
    let reply = ask(&connection, names::GET_KVLIST_BY_NAMESPACE, &entry[..1]).await;
    refused(&reply, 22, "No config item, Namespace: ORDER_TOPIC_CONFIG");
    let reply = ask(&connection, names::PUT_KV_CONFIG, &entry).await;
    refused(&reply, 1, "the value is null");
    let reply = ask(&connection, names::PUT_KV_CONFIG, &[("namespace", ""), ("value", "v")]).await;
    refused(&reply, 1, "namespace or key is null");
    server.stop();
}

/// Texts of state changes had two bytes for their length, whatever it was.
#[tokio::test]
async fn a_large_kv_value_is_kept_whole_or_refused() {
    let folder = Folder::new();
    for args in [&[][..], &common::SMALL[..]] {
        let data = folder.join(if args.is_empty() { "data" } else { "small" });
        let launch = || Launch::bare(&folder).data_dir(&data).args(args);
        let server = launch().start();
        let connection = server.connect().await;
        let mut stored = Vec::new();
        for size in [1000, 32_767, 32_768, 65_535, 65_536, 100_000, 900_000, 1_200_000, 2_000_000] {
            let (key, value) = (format!("key{size}"), "v".repeat(size));
            let fields =
                common::call::pairs(&[("namespace", "N"), ("key", &key), ("value", &value)]);
            let reply = connection.call(names::PUT_KV_CONFIG, &fields, Bytes::new()).await.unwrap();
            match reply.code {
                0 => stored.push((key, value)),
                _ => assert_eq!(reply.code, 1, "{:?}", reply.remark),
            }
        }
        // A key, a namespace that is too long, and their deletion.
        let long = "k".repeat(70_000);
        for (namespace, key) in [("N", &*long), (&*long, "k"), (&*long, &*long)] {
            let fields = common::call::pairs(&[("namespace", namespace), ("key", key)]);
            connection.call(names::DELETE_KV_CONFIG, &fields, Bytes::new()).await.unwrap();
            let fields = fields.with("value", "v");
            connection.call(names::PUT_KV_CONFIG, &fields, Bytes::new()).await.unwrap();
        }
        put(&connection, "t", 0, "goes on").await;
        server.stop();
        let server = launch().start();
        assert!(!server.log().contains("ERROR"), "{}", server.log());
        let connection = server.connect().await;
        assert!(!stored.is_empty());
        for (key, value) in stored {
            let fields = common::call::pairs(&[("namespace", "N"), ("key", &key)]);
            let reply = connection.call(names::GET_KV_CONFIG, &fields, Bytes::new()).await.unwrap();
            assert!(granted(&reply).get("value") == value, "{key} is not what was stored");
        }
        server.stop();
    }
}
