//! `kerolox admin` where one of several brokers, or of several name servers, cannot be reached: what the
//! others say or did is printed, the one that failed is named, and the exit code is 1.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use common::admin::{Done, admin, json, run, text};
use common::call::{commit, granted, make_topic, put, put_with, tell};
use common::peer::{body, listen};
use common::{Folder, Server};
use kerolox_client::Connection;
use kerolox_protocol::remoting::codes::{names, request};
use serde_json::{Map, Value, json as value};

/// Nobody listens there.
const GONE: &str = "127.0.0.1:1";

/// A server with topic `t`, which has a message, and group `g`, which has read it. Its name server believes
/// that a broker `absent`, which comes first, has them, too, for as long as the connection lasts.
async fn start(folder: &Folder) -> (Server, Connection) {
    let server = Server::start(folder, &["--set", "orderMessageEnable=true"]);
    let broker = server.connect().await;
    make_topic(&broker, "t", 1).await;
    put(&broker, "t", 0, "x").await;
    text(&server, &["updateSubGroup", "-b", &server.broker(), "-g", "g"]);
    commit(&broker, "g", "t", 0, 1).await;
    let names = Connection::connect(&server.address(server.ports.namesrv)).await.unwrap();
    register(&names, &["t", "%RETRY%g"]).await;
    (server, names)
}

/// Tells a name server that broker `absent` has these topics, and no others.
async fn register(names: &Connection, topics: &[&str]) {
    let row = |name: &str| value!({"topicName": name, "perm": 6, "readQueueNums": 1, "writeQueueNums": 1});
    let table: Map<_, _> = topics.iter().map(|name| ((*name).to_owned(), row(name))).collect();
    let version = value!({"counter": topics.len()});
    let wrapper = value!({"topicConfigTable": table, "dataVersion": version});
    let body = value!({ "topicConfigSerializeWrapper": wrapper }).to_string();
    let fields = [
        ("brokerName", "absent"),
        ("brokerAddr", GONE),
        ("clusterName", "DefaultCluster"),
        ("brokerId", "0"),
    ];
    granted(&tell(names, 103, &fields, body.as_bytes()).await);
}

/// The output of a command that one of two fails.
#[track_caller]
fn partly(server: &Server, args: &[&str]) -> String {
    let Done { code, out, err } = admin(server, args);
    assert_eq!(code, 1, "{args:?}: {out}{err}");
    let why = format!("1 of 2 failed: cannot connect to {GONE}");
    assert!(err.contains(&why), "{args:?}: {err}");
    assert_eq!(err.matches("cannot connect").count(), 1, "{args:?}: it is named once: {err}");
    out
}

/// The values of a command that one of two fails.
#[track_caller]
fn values(server: &Server, args: &[&str]) -> Vec<Value> {
    let out = partly(server, &[args, &["--json"]].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn what_the_others_have_is_shown() {
    let folder = Folder::new();
    let (server, _gone) = start(&folder).await;
    let status = partly(&server, &["topicStatus", "-t", "t"]);
    assert!(status.contains("\nbroker-a  ") && status.contains("\nTopic Put TPS: "), "{status}");
    let status = &values(&server, &["topicStatus", "-t", "t"])[0];
    assert_eq!(status["queues"][0]["maxOffset"], 1);

    let list = partly(&server, &["topicList", "-c"]);
    let row = format!("\n{:<20}  {:<64}  g\n", "DefaultCluster", "t");
    assert!(list.contains(&row), "{list}");
    let stats = &values(&server, &["statsAll"])[0];
    let rows = stats.as_array().unwrap();
    let of_t = rows.iter().find(|row| row["topic"] == "t").unwrap();
    assert_eq!((&of_t["group"], &of_t["accumulation"]), (&value!("g"), &value!(0)));
    let progress = &values(&server, &["consumerProgress"])[0];
    assert_eq!(progress[0]["group"], "g");
    let id = put_with(&server.connect().await, "t", 0, "y", &[]).await.msg_id.to_string();
    let Done { code, out, err } = admin(&server, &["queryMsgById", "-t", "t", "-i", &id]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("[consumerGroup=g, trackType=UNKNOWN, "), "{out}");
    assert!(err.contains("who consumed the message") && err.contains(GONE), "{err}");
    server.stop();
}

#[tokio::test]
async fn nobody_who_is_silent_is_said_to_have_nothing() {
    let folder = Folder::new();
    let (server, gone) = start(&folder).await;
    register(&gone, &["t", "%RETRY%g", "far", "%RETRY%lost"]).await;
    for (command, column, known, unknown) in [
        (&["statsAll"][..], "topic", "t", "far"),
        (&["topicList", "-c"], "topic", "t", "far"),
        (&["consumerProgress"], "group", "g", "lost"),
    ] {
        let table = &values(&server, command)[0];
        let rows = table.as_array().unwrap();
        assert!(rows.iter().any(|row| row[column] == known), "{command:?}: {table}");
        assert!(rows.iter().all(|row| row[column] != unknown), "{command:?}: {table}");
    }
    // A client may be connected to the one alone that is not there.
    assert_eq!(values(&server, &["consumerProgress"])[0][0]["version"], Value::Null);
    let Done { code, out, err } = admin(&server, &["topicStatus", "-t", "far"]);
    assert_eq!((code, &*out), (1, ""));
    assert!(err.contains(GONE) && !err.contains("has no queues"), "{err}");
    server.stop();
}

/// A name server that gives no route of what ends with `2`, and the broker of the rest.
fn half_a_name_server() -> String {
    listen(|own, code, fields| match code {
        names::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
            body(r#"{"topicList":["t1","t2","t3","%RETRY%g1","%RETRY%g2","%RETRY%g3"]}"#)
        }
        names::GET_ROUTEINFO_BY_TOPIC if fields.get("topic").ends_with('2') => body("nonsense"),
        names::GET_ROUTEINFO_BY_TOPIC => body(format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{own}"}},"brokerName":"a","cluster":"c"}}],"queueDatas":[]}}"#
        )),
        request::QUERY_TOPIC_CONSUME_BY_WHO => body(r#"{"groupList":["g1"]}"#),
        request::VIEW_BROKER_STATS_DATA => {
            let none = r#"{"avgpt":0.0,"sum":0,"tps":0.0}"#;
            body(format!(r#"{{"statsDay":{none},"statsHour":{none},"statsMinute":{none}}}"#))
        }
        request::GET_CONSUME_STATS | request::GET_CONSUMER_CONNECTION_LIST => body("{}"),
        _ => panic!("{code} is asked"),
    })
}

#[test]
fn what_brokers_said_is_shown_though_the_name_server_fails_meanwhile() {
    let names = half_a_name_server();
    for (command, column, first) in [
        (&["statsAll"][..], "topic", "t1"),
        (&["topicList", "-c"], "topic", "t1"),
        (&["consumerProgress"], "group", "g1"),
    ] {
        let Done { code, out, err } = run(&names, &[command, &["--json"]].concat());
        assert_eq!(code, 1, "{command:?}: {out}{err}");
        assert!(err.contains("1 of 2 failed: "), "{command:?}: {err}");
        let table: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&table[0][column], table.as_array().unwrap().len()), (&first.into(), 1));
    }
}

#[test]
fn the_doctor_tells_what_it_found_until_the_name_server_failed() {
    let names = listen(|_, code, fields| match code {
        names::GET_BROKER_CLUSTER_INFO => body(format!(
            r#"{{"brokerAddrTable":{{"a":{{"brokerAddrs":{{"1":"{GONE}"}},"brokerName":"a","cluster":"c"}}}},"clusterAddrTable":{{"c":["a"]}}}}"#
        )),
        names::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => body(r#"{"topicList":["t1","t2"]}"#),
        names::GET_ROUTEINFO_BY_TOPIC if fields.get("topic") == "t2" => body("nonsense"),
        _ => body("{}"),
    });
    let Done { code, out, err } = run(&names, &["doctor"]);
    assert_eq!(code, 1, "{err}");
    let has = |begin: &str| out.lines().any(|line| line.starts_with(begin));
    assert!(has("FAIL topics: no master of t1"), "{out}");
    assert!(has("warn topics: ") && out.contains("cannot be told of all"), "{out}");
}

#[tokio::test]
async fn what_was_done_is_told_though_a_broker_failed() {
    let folder = Folder::new();
    let (server, _gone) = start(&folder).await;
    let broker = server.broker();
    let cluster = ["-c", "DefaultCluster"];
    let of = |args: &[&'static str]| [args, &cluster].concat();
    let made = &values(&server, &of(&["updateTopic", "-t", "new"]))[0];
    assert_eq!(
        (&made["topic"]["topicName"], &made["brokers"]),
        (&value!("new"), &value!([broker]))
    );
    let made = partly(&server, &of(&["updateTopic", "-t", "new"]));
    assert!(
        made.starts_with(&format!("create topic to {broker} success.\nTopicConfig [")),
        "{made}"
    );
    let made = &values(&server, &of(&["updateTopicPerm", "-t", "new", "-p", "4"]))[0];
    assert_eq!((&made["broker"], &made["new"]), (&value!(broker), &value!(4)));

    // What is noted of the broker that failed stays.
    text(&server, &["updateOrderConf", "-t", "new", "-m", "put", "-v", "absent:3"]);
    let made = partly(&server, &of(&["updateTopic", "-t", "new", "-w", "5", "-o", "true"]));
    let noted = "\nset broker orderConf. isOrder=true, orderConf=[absent:3;broker-a:5]\n";
    assert!(made.contains(noted), "{made}");

    let made = &values(&server, &of(&["updateSubGroup", "-g", "h"]))[0];
    assert_eq!((&made[0]["broker"], &made[0]["created"]), (&value!(broker), &value!(true)));
    let args = of(&["updateBrokerConfig", "-k", "traceOn", "-v", "false"]);
    assert_eq!(values(&server, &args)[0]["brokers"], value!([broker]));
    let cleaned = of(&["cleanExpiredCQ"]);
    assert_eq!(values(&server, &cleaned)[0], value!({"brokers": [broker]}));
    assert_eq!(partly(&server, &cleaned), format!("{broker}: success\n"));
    let lists = [
        ("updateTopicList", r#"[{"topicName":"new"}]"#, "broker"),
        ("updateSubGroupList", r#"[{"groupName":"h"}]"#, "brokers"),
    ];
    for (command, list, key) in lists {
        let file = folder.join("list.json");
        std::fs::write(&file, list).unwrap();
        let done =
            &values(&server, &[command, "-f", file.to_str().unwrap(), cluster[0], cluster[1]])[0];
        assert!(done[key].to_string().contains(&broker), "{done}");
    }

    let deleted = &values(&server, &of(&["deleteSubGroup", "-g", "h"]))[0];
    assert_eq!((&deleted["brokers"], &deleted["topics"]), (&value!([broker]), &value!([])));
    let deleted = partly(&server, &of(&["deleteTopic", "-t", "new"]));
    let line = format!("{broker}: delete topic [new] from cluster [DefaultCluster] success.\n");
    assert_eq!(deleted, line);
    let deleted = &values(&server, &of(&["deleteTopic", "-t", "t"]))[0];
    assert_eq!(
        deleted,
        &value!({"topic": "t", "cluster": "DefaultCluster", "brokers": [broker], "nameServers": []})
    );
    // The one that failed has it yet.
    let route = json(&server, &["topicRoute", "-t", "t"]);
    assert_eq!(route["brokerDatas"][0]["brokerName"], "absent");
    server.stop();
}

#[test]
fn what_was_noted_is_told_though_a_name_server_failed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let names = server.address(server.ports.namesrv);
    let both = format!("{GONE};{names}");
    let key = ["-s", "n", "-k", "k", "-n", &both];
    let put = [&["updateKvConfig", "-v", "1"], &key[..]].concat();
    let noted = format!("{names}: create or update kv config to namespace success.\n");
    assert_eq!(partly(&server, &put), noted);
    assert_eq!(values(&server, &put)[0]["nameServers"], value!([names]));
    let delete = [&["deleteKvConfig"], &key[..]].concat();
    assert_eq!(values(&server, &delete)[0]["nameServers"], value!([names]));
    let order = ["updateOrderConf", "-t", "t", "-n", &both, "-m"];
    let noted = &values(&server, &[&order[..], &["put", "-v", "a:1"]].concat())[0];
    assert_eq!(noted, &value!({"topic": "t", "orderConf": "a:1", "nameServers": [names]}));
    let line = format!("{names}: delete orderConf success. topic=[t]\n");
    assert_eq!(partly(&server, &[&order[..], &["delete"]].concat()), line);
    let update = ["updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true", "-n", &both];
    assert_eq!(values(&server, &update)[0]["nameServers"], value!([names]));
    let line = format!("update name server config success![{names}]\norderMessageEnable : true\n");
    assert_eq!(partly(&server, &update), line);
    server.stop();
}
