//! `kerolox admin`: commands say what is so: no group that does not read a topic, no queue that is not there,
//! no deletion that would be refused; and errors name what is wrong.

mod common;

use common::admin::{admin, fails, json, run, text};
use common::call::{commit, join, make_topic, put, put_with, tell};
use common::{Folder, Server};
use kerolox_client::Connection;
use serde_json::{Value, json as value};

/// A server with topic `t` of two queues and two messages in the first, and group `g`, which has read one.
async fn start(folder: &Folder) -> (Server, Connection) {
    let server = Server::start(folder, &[]);
    let broker = server.connect().await;
    make_topic(&broker, "t", 2).await;
    put(&broker, "t", 0, "x").await;
    put(&broker, "t", 0, "y").await;
    text(&server, &["updateSubGroup", "-b", &server.broker(), "-g", "g"]);
    commit(&broker, "g", "t", 0, 1).await;
    (server, broker)
}

#[tokio::test]
async fn lag_in_a_topic_is_that_of_groups_which_read_it() {
    let folder = Folder::new();
    let (server, broker) = start(&folder).await;
    make_topic(&broker, "other", 1).await;
    for group in ["stranger", "elsewhere"] {
        text(&server, &["updateSubGroup", "-b", &server.broker(), "-g", group]);
    }
    commit(&broker, "elsewhere", "other", 0, 0).await;
    join(&broker, "subscriber", "client", "t").await;
    // The client is silent.
    let lag = json(&server, &["lag", "-t", "t", "--timeout", "1"]);
    let groups: Vec<&Value> = lag["groups"].as_array().unwrap().iter().collect();
    let behind: Vec<_> = groups.iter().map(|row| (&row["group"], &row["behind"])).collect();
    assert_eq!(behind, [(&value!("g"), &value!(1)), (&value!("subscriber"), &value!(2))]);
    let none = value!({"queues": [], "groups": []});
    assert_eq!(json(&server, &["lag", "-t", "other", "--over", "0"]), none);
    assert_eq!(json(&server, &["lag", "-g", "g", "--over", "1"]), none);
    assert_eq!(json(&server, &["lag", "-g", "g", "-t", "t", "--over", "1"]), none);
    for group in ["stranger", "elsewhere", "typo"] {
        let why = format!("group {group} has neither offsets in t nor subscribes to it");
        fails(&server, &["lag", "-g", group, "-t", "t", "--over", "0"], 1, &why);
    }
    fails(&server, &["lag", "-t", "typo", "--over", "0"], 1, "No topic route info");
    server.stop();
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_not_an_empty_one() {
    let folder = Folder::new();
    let (server, _broker) = start(&folder).await;
    let print = |queue: &'static str| ["printMsgByQueue", "-t", "t", "-a", "broker-a", "-i", queue];
    let why = "there is no MessageQueue [topic=t, brokerName=broker-a, queueId=2]: this broker has 2 queues";
    fails(&server, &print("2"), 1, why);
    fails(&server, &[&print("44")[..], &["-f", "true"]].concat(), 1, "queueId=44]");
    assert_eq!(text(&server, &print("1")), "");
    server.stop();
}

#[tokio::test]
async fn a_dry_run_does_not_promise_what_would_be_refused() {
    let folder = Folder::new();
    let (server, _broker) = start(&folder).await;
    let broker = server.broker();
    let cluster = ["-c", "DefaultCluster"];
    for topic in ["TBW102", "SCHEDULE_TOPIC_XXXX", "DefaultCluster", "broker-a"] {
        let delete = ["deleteTopic", "-t", topic, cluster[0], cluster[1]];
        let why = format!("{broker} would refuse to delete topic [{topic}]");
        fails(&server, &[&delete[..], &["--dry-run"]].concat(), 1, &why);
        fails(&server, &delete, 1, "with code 29");
    }
    for group in ["TOOLS_CONSUMER", "a b"] {
        let delete = ["deleteSubGroup", "-g", group, cluster[0], cluster[1]];
        let why = format!("{broker} would refuse to delete subscription group [{group}]");
        fails(&server, &[&delete[..], &["--dry-run"]].concat(), 1, &why);
        fails(&server, &delete, 1, "with code 29");
    }
    for topic in ["typo", "a b"] {
        let delete = ["deleteTopic", "-t", topic, cluster[0], cluster[1], "--dry-run"];
        let nothing = format!("there is no topic [{topic}] on {broker}: nothing to delete\n");
        assert_eq!(text(&server, &delete), nothing);
    }
    let delete = ["deleteSubGroup", "-g", "g", cluster[0], cluster[1], "--json"];
    let would = json(&server, &[&delete[..5], &["--dry-run"]].concat());
    let would: Vec<_> = would["brokers"][0]["topics"].as_array().unwrap().iter().collect();
    let done = json(&server, &delete[..5]);
    assert_eq!(would.len(), 1, "{would:?}");
    assert_eq!(done["topics"], value!([would[0]["topic"]]));
    server.stop();
}

#[tokio::test]
async fn active_topics_are_those_that_had_messages_just_now_too() {
    let folder = Folder::new();
    let (server, broker) = start(&folder).await;
    make_topic(&broker, "lonely", 1).await;
    put(&broker, "lonely", 0, "x").await;
    make_topic(&broker, "idle", 1).await;
    let rows = json(&server, &["statsAll", "-a"]);
    let mut topics: Vec<_> = rows.as_array().unwrap().iter().map(|row| &row["topic"]).collect();
    topics.sort_by_key(|topic| topic.to_string());
    assert_eq!(topics, ["lonely", "t"]);
    server.stop();
}

#[tokio::test]
async fn errors_name_what_is_wrong() {
    let folder = Folder::new();
    let (server, broker) = start(&folder).await;
    let address = server.broker();
    let sent = put(&broker, "t", 0, "z").await;
    let (unique, place) = (sent.transaction_id.unwrap(), sent.msg_id.to_string());
    let by_offset = ["queryMsgByOffset", "-t", "t", "-b", "broker-a", "-i", "0", "-o", "0"];
    let by_id = ["queryMsgById", "-t", "t", "-i", &place];
    let by_key = ["queryMsgByUniqueKey", "-t", "t", "-i", &unique];
    let config = ["updateBrokerConfig", "-b", &address, "-v", "x", "-k"];
    for (args, why) in [
        ([&by_id[..], &["-f", "GBK"]].concat(), "-f GBK: bodies are shown as UTF-8 only"),
        ([&by_offset[..], &["-f", "latin1"]].concat(), "-f latin1: bodies are"),
        (vec!["printMsg", "-t", "t", "-c", "GBK"], "-c GBK: bodies are"),
        (
            [&by_key[..], &["-s", "99999999999999"]].concat(),
            "no message of topic t that was stored at 5138-11-16 ",
        ),
        (
            [&by_key[..], &["-s", "2001-02-03#04:05:06:007", "-e", "2002-02-03#04:05:06:007"]]
                .concat(),
            "that was stored between 2001-02-03 04:05:06,007 and 2002-02-03 04:05:06,007 has the unique id",
        ),
        (vec!["updateTopic", "-b", &address, "-t", "x", "-p", "8"], "perm 8 is not one of 0 to 7"),
        ([&config[..], &["a=b"]].concat(), "-k \"a=b\": no key is called that"),
        (vec!["updateNamesrvConfig", "-v", "x", "-k", "a b"], "-k \"a b\": no key is called that"),
        ([&by_id[..], &["-c", "nosuch"]].concat(), "no broker of cluster \"nosuch\" holds topic t"),
        (vec!["topicRoute", "-t", "a b"], "No topic can be called that"),
    ] {
        fails(&server, &args, 1, why);
    }
    assert_eq!(json(&server, &[&by_id[..], &["-c", "DefaultCluster"]].concat())[0]["body"], "z");
    let file = folder.join("list.json");
    let update = |command| [command, "-b", &address, "-f", file.to_str().unwrap()];
    std::fs::write(&file, "\u{feff}[{\"topicName\":\"marked\",\"readQueueNums\":3}]").unwrap();
    text(&server, &update("updateTopicList"));
    let route = json(&server, &["topicRoute", "-t", "marked"]);
    assert_eq!(route["queueDatas"][0]["readQueueNums"], 3);
    std::fs::write(&file, r#"[{"topicName":"right"},{"topicName":"left","readQueues":3}]"#)
        .unwrap();
    fails(
        &server,
        &update("updateTopicList"),
        1,
        "\"readQueues\" is no setting; these are: topicName",
    );
    std::fs::write(&file, r#"[{"groupName":"h","retries":3}]"#).unwrap();
    fails(
        &server,
        &update("updateSubGroupList"),
        1,
        "\"retries\" is no setting; these are: groupName",
    );
    fails(&server, &["topicRoute", "-t", "right"], 1, "with code 17");
    server.stop();
}

/// What would move a terminal's cursor, ring its bell, or begin a line of its own.
const BAD: &str = "a\u{1b}[2J\u{7}\u{9b}31m\nb";

#[tokio::test]
async fn what_others_wrote_is_escaped() {
    let folder = Folder::new();
    let (server, broker) = start(&folder).await;
    let properties = [("TAGS", BAD), ("KEYS", "key"), ("\u{1b}p", BAD)];
    put_with(&broker, "t", 1, BAD, &properties).await;
    let escaped = r"a\u{1b}[2J\u{7}\u{9b}31m\nb";
    let queue = ["-t", "t", "-i", "1"];
    for args in [
        &["printMsg", "-t", "t"][..],
        &["printMsgByQueue", queue[0], "t", queue[2], "1", "-a", "broker-a", "-d", "true"],
        &["printMsgByQueue", queue[0], "t", queue[2], "1", "-a", "broker-a", "-f", "true"],
        &["consumeMessage", queue[0], "t", queue[2], "1", "-b", "broker-a"],
        &["queryMsgByOffset", queue[0], "t", queue[2], "1", "-b", "broker-a", "-o", "0"],
        &["tail", "-t", "t", "--from-beginning", "--no-follow"],
    ] {
        let out = text(&server, args);
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{args:?}: {out:?}");
        assert!(out.contains(escaped), "{args:?}: {out}");
        let out = text(&server, &[args, &["--json"]].concat());
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{args:?}: {out:?}");
        let has_body = out.lines().any(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            value["body"] == BAD || value["tag"] == BAD
        });
        assert!(has_body, "{args:?}: {out}");
    }
    // A body keeps its lines, a tag does not.
    let out = text(&server, &["printMsg", "-t", "t"]);
    assert!(out.contains("BODY: a\\u{1b}[2J\\u{7}\\u{9b}31m\nb\n"), "{out}");
    // Names and remarks of servers.
    let names = Connection::connect(&server.address(server.ports.namesrv)).await.unwrap();
    let fields = [
        ("brokerName", "bad\u{1b}[2J\u{7}"),
        ("brokerAddr", "127.0.0.1:1"),
        ("brokerId", "0"),
        ("clusterName", "DefaultCluster"),
    ];
    let wrapper = value!({"topicConfigTable": {}, "dataVersion": {"counter": 1}});
    let body = value!({ "topicConfigSerializeWrapper": wrapper }).to_string();
    let reply = tell(&names, 103, &fields, body.as_bytes()).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    let done = admin(&server, &["clusterList"]);
    assert!(done.out.contains(r"bad\u{1b}[2J\u{7} "), "{}", done.out);
    let done = admin(&server, &["topicRoute", "-t", BAD]);
    assert!(done.err.contains(r"\u{1b}[2J\u{7}\u{9b}31m"), "{}", done.err);
    assert!(!done.err.contains(|c: char| c.is_control() && c != '\n'), "{:?}", done.err);
    server.stop();
}

#[test]
fn the_help_says_what_is_made_by_the_way() {
    for (command, what) in [
        ("consumeMessage", "autoCreateSubscriptionGroup make one that is not there"),
        ("checkMsgSendRT", "autoCreateTopicEnable make one that is not there"),
        ("sendMessage", "autoCreateTopicEnable make one that is not there"),
    ] {
        let done = run("127.0.0.1:1", &[command, "--help"]);
        let words: Vec<&str> = done.out.split_whitespace().collect();
        assert!(words.join(" ").contains(what), "{}", done.out);
    }
}
