//! `kerolox admin`: groups, their offsets, and clients, as text and as JSON, and with bad input.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::admin::{admin, command, fails, json, text};
use common::call::{commit, committed, granted, heartbeat, join, look, make_topic, put};
use common::{Folder, Launch, Server};
use kerolox_client::{Connection, Options};
use kerolox_protocol::remoting::client::ProducerData;
use kerolox_protocol::remoting::codes::request;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A server with topic `t` of two queues, three messages in queue 0 and one in queue 1, and group `g`.
async fn start(folder: &Folder, args: &[&str]) -> (Server, Connection) {
    let server = Server::start(folder, args);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    for (queue, body) in [(0, "a"), (0, "b"), (0, "c"), (1, "d")] {
        put(&connection, "t", queue, body).await;
    }
    text(&server, &["updateSubGroup", "-b", &server.broker(), "-g", "g"]);
    (server, connection)
}

/// A client of group `g` that tells of itself when it is asked: on a thread of its own, as the test's waits
/// for the command that asks.
fn consumer(server: &Server, id: &'static str, info: &Value) {
    let (broker, body) = (server.broker(), Bytes::from(info.to_string()));
    let (joined, is_there) = std::sync::mpsc::channel();
    let serve = async move {
        let (incoming, mut requests) = mpsc::channel(100);
        let options = Options { incoming: Some(incoming), ..Options::default() };
        let connection = Connection::connect_with(&broker, options).await.unwrap();
        join(&connection, "g", id, "t").await;
        joined.send(()).unwrap();
        while let Some(request) = requests.recv().await {
            if request.code == request::GET_CONSUMER_RUNNING_INFO {
                connection.respond(&request, 0, &(), body.clone()).await.unwrap();
            }
        }
    };
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(serve);
    });
    is_there.recv().unwrap();
}

/// The group's offset in a queue; −1 if there is none.
async fn offset(connection: &Connection, group: &str, queue: i32) -> i64 {
    let reply = committed(connection, group, "t", queue).await;
    if reply.code == 22 { -1 } else { granted(&reply).get("offset").parse().unwrap() }
}

#[tokio::test]
async fn groups_are_made_changed_and_deleted() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.broker();
    let attributes = "+lite.bind.topic=v,+lite.sub.wildcard=w";
    let made =
        text(&server, &["updateSubGroup", "-b", &broker, "-g", "g", "--attributes", attributes]);
    let config = "SubscriptionGroupConfig{groupName=g, consumeEnable=true, consumeFromMinEnable=false, consumeBroadcastEnable=false, consumeMessageOrderly=false, retryQueueNums=1, retryMaxTimes=16, groupRetryPolicy=GroupRetryPolicy{type=CUSTOMIZED, exponentialRetryPolicy=null, customizedRetryPolicy=null}, brokerId=0, whichBrokerWhenConsumeSlowly=1, notifyConsumerIdsChangedEnable=true, groupSysFlag=0, consumeTimeoutMinute=15, subscriptionDataSet=null, attributes={+lite.bind.topic=v, +lite.sub.wildcard=w}}";
    assert_eq!(made, format!("create subscription group to {broker} success.\n{config}\n"));
    // What is not given stays.
    let policy = r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1}}"#;
    let args = ["updateSubGroup", "-c", "DefaultCluster", "-g", "g", "-r", "3", "-s", "false"];
    let more = ["-d", "true", "-p", policy, "--attributes", "-lite.sub.wildcard"];
    let changed = json(&server, &[&args[..], &more].concat());
    assert_eq!((&changed[0]["broker"], &changed[0]["created"]), (&json!(broker), &json!(false)));
    text(&server, &["updateSubGroup", "-b", &broker, "-g", "g", "-o", "true"]);
    let all = json(&server, &["getConsumerConfig", "-g", "g"]);
    let config = &all[0]["config"];
    for (name, value) in [
        ("consumeEnable", json!(false)),
        ("consumeBroadcastEnable", json!(true)),
        ("consumeMessageOrderly", json!(true)),
        ("consumeFromMinEnable", json!(false)),
        ("retryMaxTimes", json!(3)),
        ("attributes", json!({"lite.bind.topic": "v"})),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    let line = "=".repeat(29);
    let shown = text(&server, &["getConsumerConfig", "-g", "g"]);
    let head = format!(
        "{line}DefaultCluster:broker-a{line}\ngroupName                               =  g\nconsumeEnable                           =  false\n"
    );
    assert!(shown.starts_with(&head), "{shown}");
    assert!(shown.contains("=  GroupRetryPolicy{type=EXPONENTIAL, exponentialRetryPolicy=ExponentialRetryPolicy{initial=1, max=7200000, multiplier=2}, customizedRetryPolicy=null}\n"), "{shown}");
    assert!(
        shown.ends_with("attributes                              =  {lite.bind.topic=v}\n"),
        "{shown}"
    );

    let file = folder.join("groups.json");
    std::fs::write(&file, r#"[{"groupName":"f1","retryMaxTimes":2},{"groupName":"f2"}]"#).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        text(&server, &["updateSubGroupList", "-b", &broker, "-f", file]),
        format!(
            "submit batch of group config to {broker} success, please check the result later.\n"
        )
    );
    let args = ["updateSubGroupList", "-c", "DefaultCluster", "-f", file];
    assert_eq!(json(&server, &args), json!({"brokers": [broker], "groups": 2}));
    let config = &json(&server, &["getConsumerConfig", "-g", "f1"])[0]["config"];
    assert_eq!(
        (&config["retryMaxTimes"], &config["consumeFromMinEnable"]),
        (&2.into(), &true.into())
    );
    server.stop();
}

#[tokio::test]
async fn a_group_is_deleted_with_what_is_its_own() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    let broker = server.broker();
    commit(&connection, "g", "t", 0, 2).await;
    let delete = ["deleteSubGroup", "-c", "DefaultCluster", "-g", "g"];
    let would = json(&server, &[&delete[..], &["--dry-run"]].concat());
    assert_eq!((&would["dryRun"], &would["offsetsRemoved"]), (&json!(true), &json!(false)));
    let of_broker = &would["brokers"][0];
    assert_eq!((&of_broker["exists"], &of_broker["offsets"]), (&json!(true), &json!(1)));
    assert_eq!(of_broker["topics"][0], json!({"topic": "%RETRY%g", "queues": 1, "messages": 0}));
    let would = text(&server, &[&delete[..], &["--dry-run", "-r", "true"]].concat());
    assert_eq!(
        would,
        format!(
            "would delete subscription group [g] from broker [{broker}]; offsets in 1 queues would be deleted\nwould delete topic [%RETRY%g] on {broker}: 0 messages in 1 queues\n"
        )
    );
    text(&server, &["getConsumerConfig", "-g", "g"]);
    assert_eq!(
        text(&server, &["deleteSubGroup", "-b", &broker, "-g", "g"]),
        format!("delete subscription group [g] from broker [{broker}] success.\n")
    );
    assert_eq!(offset(&connection, "g", 0).await, 2);
    assert_eq!(
        text(&server, &[&delete[..], &["-r", "true"]].concat()),
        format!(
            "delete subscription group [g] from broker [{broker}] in cluster [DefaultCluster] success.\n"
        )
    );
    assert_eq!(offset(&connection, "g", 0).await, -1);
    fails(&server, &["topicRoute", "-t", "%RETRY%g"], 1, "with code 17");
    assert_eq!(json(&server, &delete)["topics"], json!([]));
    server.stop();
}

#[tokio::test]
async fn progress_is_shown_of_a_group_and_of_all() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    commit(&connection, "g", "t", 0, 1).await;
    let groups = text(&server, &["consumerProgress"]);
    let lines: Vec<&str> = groups.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "{:<64}  #Count  #Version                 #Type  #Model          #TPS     #Diff Total",
            "#Group"
        )
    );
    let offline =
        format!("{:<64}  0       OFFLINE                                         0        3", "g");
    assert!(lines.contains(&&*offline), "{groups}");

    let info = json!({
        "properties": {"PROP_CONSUME_TYPE": "CONSUME_PASSIVELY"},
        "mqTable": {r#"{"brokerName":"broker-a","queueId":0,"topic":"t"}"#: {"commitOffset": 1}},
    });
    consumer(&server, "10.0.0.1@7", &info);
    let groups = json(&server, &["consumerProgress"]);
    let row = groups.as_array().unwrap().iter().find(|row| row["group"] == "g").unwrap();
    assert_eq!((&row["count"], &row["diffTotal"]), (&json!(1), &json!(3)));
    assert_eq!((&row["type"], &row["model"]), (&json!("PUSH"), &json!("CLUSTERING")));

    let of_topic = ["consumerProgress", "-g", "g", "-t", "t"];
    let shown = text(&server, &of_topic);
    let lines: Vec<&str> = shown.lines().collect();
    let head = format!(
        "{:<64}  {:<32}  #QID  {:<20}  {:<20}  {:<20} {:<20}#LastTime",
        "#Topic", "#Broker Name", "#Broker Offset", "#Consumer Offset", "#Diff", "#Inflight"
    );
    assert_eq!(lines[0], head);
    let row = format!(
        "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20} {:<20} N/A",
        "t", "broker-a", 1, 1, 0, 1, 0
    );
    assert_eq!(lines[2], row);
    assert_eq!(
        lines[3..],
        ["", "Consume TPS: 0.00", "Consume Diff Total: 3", "Consume Inflight Total: 0"]
    );
    let shown = text(&server, &[&of_topic[..], &["-s", "true"]].concat());
    assert!(shown.lines().nth(1).unwrap().contains("  10.0.0.1             2 "), "{shown}");
    assert!(shown.lines().nth(2).unwrap().contains("  N/A                  1 "), "{shown}");
    let all = json(&server, &["consumerProgress", "-g", "g", "-s", "true", "-c", "DefaultCluster"]);
    assert_eq!(all["diffTotal"], 3);
    let rows = all["queues"].as_array().unwrap();
    // The retry topic is empty.
    assert_eq!((&rows[0]["topic"], rows.len()), (&json!("t"), 2));
    assert_eq!((&rows[0]["clientIP"], &rows[0]["diff"]), (&json!("10.0.0.1"), &json!(2)));
    assert!(rows[0]["lastTime"].as_i64() > Some(0));
    server.stop();
}

#[tokio::test]
async fn clients_are_shown() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    for args in [&["consumerConnection", "-g", "g"][..], &["consumerStatus", "-g", "g"]] {
        fails(&server, args, 1, "no client of group g is connected to 127.0.0.1:");
    }
    let args = ["producerConnection", "-g", "p", "-t", "t"];
    fails(&server, &args, 1, "no client of producer group p is connected");
    assert_eq!(text(&server, &["producer", "-b", &server.broker()]), "");

    let mut beat = heartbeat("g", "c", "t");
    beat.producer_data_set = vec![ProducerData { group_name: "p".to_owned() }];
    connection.heartbeat(&beat).await.unwrap();
    let address = connection.local_addr().to_string();
    let shown = text(&server, &["consumerConnection", "-g", "g"]);
    let expected = format!(
        "{:<36} {:<22} {:<10} #Version\n{:<36} {address:<22} {:<10} V5_5_0\n\nBelow is subscription:\n#Topic               #SubExpression\nt                    *\n\nConsumeType: CONSUME_PASSIVELY\nMessageModel: CLUSTERING\nConsumeFromWhere: CONSUME_FROM_LAST_OFFSET\n",
        "#ClientId", "#ClientAddr", "#Language", "c", "JAVA"
    );
    assert_eq!(shown, expected);
    let shown = json(&server, &["consumerConnection", "-g", "g", "-b", &server.broker()]);
    assert_eq!(shown["clients"][0]["clientId"], "c");
    assert_eq!(shown["subscriptions"], json!([{"topic": "t", "subExpression": "*"}]));

    let expected = format!("0001  {:<32} {address:<22} JAVA     V5_5_0\n", "c");
    assert_eq!(text(&server, &args), expected);
    assert_eq!(json(&server, &args)[0]["clientAddr"], address);
    let shown = text(&server, &["producer", "-b", "broker-a"]);
    let start = format!(
        "producer group (p) instance : clientId=c,remoteIP=/{address}, language=JAVA, version=513, lastUpdateTimestamp=1"
    );
    assert!(shown.starts_with(&start), "{shown}");
    assert_eq!(json(&server, &["producer", "-b", "broker-a"])["p"][0]["language"], "JAVA");
    server.stop();
}

#[tokio::test]
async fn clients_tell_what_they_do() {
    let folder = Folder::new();
    let (server, _) = start(&folder, &[]).await;
    let info = json!({
        "properties": {"PROP_CONSUME_TYPE": "CONSUME_PASSIVELY", "PROP_CONSUMER_START_TIMESTAMP": "1"},
        "subscriptionSet": [{"topic": "t", "subString": "*"}],
        "mqTable": {r#"{"brokerName":"broker-a","queueId":0,"topic":"t"}"#: {"cachedMsgCount": 3}},
    });
    consumer(&server, "one", &info);
    // A name must not lead out of the folder.
    consumer(&server, "../two", &info);
    let of_one = text(&server, &["consumerStatus", "-g", "g", "-i", "one"]);
    assert!(
        of_one.starts_with("#Consumer Properties#\nPROP_CONSUMER_START_TIMESTAMP           : 1\n"),
        "{of_one}"
    );
    let value = json(&server, &["consumerStatus", "-g", "g", "-i", "one"]);
    assert_eq!(value["subscriptionSet"][0]["topic"], "t");
    fails(&server, &["consumerStatus", "-g", "g", "-i", "x"], 1, "it has ../two, one");
    let all = json(&server, &["consumerStatus", "-g", "g"]);
    assert_eq!(
        (&all["sameSubscriptions"], &all["clients"][1]["clientId"]),
        (&json!(true), &json!("one"))
    );
    assert_eq!(all["stuck"].as_array().unwrap().len(), 2);

    let done = command(&server, &["consumerStatus", "-g", "g"]).current_dir(folder.path()).output();
    let done = done.unwrap();
    let shown = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines[0],
        format!("#Index     {:<40} #Version             #ConsumerRunningInfoFile", "#ClientId")
    );
    let (file, two) = (lines[2].rsplit(' ').next().unwrap(), lines[1].rsplit(' ').next().unwrap());
    assert!(lines[2].starts_with("2          one  "), "{shown}");
    assert!(two.ends_with("/.._two"), "{shown}");
    assert_eq!(std::fs::read_to_string(folder.join(file)).unwrap(), of_one);
    assert!(shown.contains("\n\n\nSame subscription in the same group of consumer\n\nRebalance OK\n../two MessageQueue [topic=t, brokerName=broker-a, queueId=0] can't consume for a while, maybe blocked, "), "{shown}");

    // Of one that says nothing it is not known what it wants.
    consumer(&server, "mute", &json!("nonsense"));
    let done = admin(&server, &["consumerStatus", "-g", "g", "--json"]);
    let all: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, &all["sameSubscriptions"]), (1, &Value::Null), "{}", done.out);
    let done = command(&server, &["consumerStatus", "-g", "g"]).current_dir(folder.path()).output();
    let shown = String::from_utf8(done.unwrap().stdout).unwrap();
    assert!(shown.contains("can't consume for a while") && !shown.contains("OK"), "{shown}");
    server.stop();
}

/// A name server with brokers `a` and `b`; each has topic `t` with one queue and one message.
async fn cluster(folders: &[Folder; 3]) -> (Server, [Server; 2]) {
    let names = Launch::of("namesrv", &folders[0]).data_dir(&folders[0].data());
    let names = names.args(&["--namesrv-port=0", "--http-port=0"]).start();
    let address = format!("namesrvAddr={}", names.address(names.ports.namesrv));
    let broker = |name: &str, folder: &Folder| {
        Launch::of("broker", folder)
            .args(&["--broker-port=0", "--grpc-port=0", "--proxy-port=0", "--http-port=0"])
            .args(&["--set", &format!("brokerName={name}"), "--set", &address])
            .data_dir(&folder.data())
            .start()
    };
    let brokers = [broker("a", &folders[1]), broker("b", &folders[2])];
    for broker in &brokers {
        let connection = broker.connect().await;
        make_topic(&connection, "t", 1).await;
        put(&connection, "t", 0, "x").await;
    }
    (names, brokers)
}

/// Waits until both brokers are in a topic's route.
fn wait_for_route(names: &Server, topic: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let done = admin(names, &["topicRoute", "-t", topic, "--json"]);
        let route: Value = serde_json::from_str(&done.out).unwrap_or_default();
        if route["brokerDatas"].as_array().map(Vec::len) == Some(2) {
            return;
        }
        assert!(Instant::now() < deadline, "{topic} is not on both brokers: {}", done.out);
    }
}

#[tokio::test]
async fn every_broker_is_asked_and_those_that_fail_are_named() {
    let folders = [Folder::new(), Folder::new(), Folder::new()];
    let (names, [a, b]) = cluster(&folders).await;
    wait_for_route(&names, "t");
    let update = ["updateSubGroup", "-c", "DefaultCluster", "-g", "g", "-r"];
    assert_eq!(text(&names, &[&update[..], &["5"]].concat()).lines().count(), 3);
    wait_for_route(&names, "%RETRY%g");
    // A client of one broker only.
    let connection = b.connect().await;
    let mut beat = heartbeat("g", "only-b", "t");
    beat.producer_data_set = vec![ProducerData { group_name: "p".to_owned() }];
    connection.heartbeat(&beat).await.unwrap();
    let of_group = json(&names, &["consumerConnection", "-g", "g"]);
    assert_eq!(of_group["clients"][0]["clientId"], "only-b");
    let of_topic = json(&names, &["producerConnection", "-g", "p", "-t", "t"]);
    assert_eq!(of_topic[0]["clientId"], "only-b");
    let done = json(&names, &["skipAccumulatedMessage", "-g", "g", "-t", "t"]);
    let row = |name: &str| json!({"brokerName": name, "queueId": 0, "offset": 1});
    assert_eq!(done["queues"], json!([row("a"), row("b")]));
    let progress = ["consumerProgress", "-g", "g", "-t", "t"];
    assert_eq!(json(&names, &progress)["queues"].as_array().unwrap().len(), 2);
    assert_eq!(json(&names, &["getConsumerConfig", "-g", "g"])[1]["config"]["retryMaxTimes"], 5);

    // A broker that is gone is named, and what the other one says is shown.
    let gone = a.broker();
    let a_route = json(&names, &["topicRoute", "-t", "t"]);
    assert_eq!(a_route["brokerDatas"][0]["brokerAddrs"]["0"], gone);
    a.signal(Signal::STOP);
    let skip = ["skipAccumulatedMessage", "-g", "g", "-t", "t", "--dry-run", "--timeout", "1"];
    let done = admin(&names, &skip);
    assert_eq!(done.code, 1, "{}", done.out);
    assert!(done.err.contains("1 of 2 failed") && done.err.contains(&gone), "{}", done.err);
    assert!(done.out.contains("\nb  "), "{}", done.out);
    let args = ["producerConnection", "-g", "p", "-t", "t", "--timeout", "1"];
    let done = admin(&names, &args);
    assert_eq!(done.code, 1, "{}", done.out);
    assert!(done.out.starts_with("0001  only-b "), "{}", done.out);
    assert!(done.err.contains("1 of 2 failed"), "{}", done.err);
    a.signal(Signal::CONT);
    a.stop();
    b.stop();
    names.stop();
}

#[tokio::test]
async fn offsets_are_reset() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    let broker = server.broker();
    commit(&connection, "g", "t", 0, 2).await;
    let reset = ["resetOffsetByTime", "-g", "g", "-t", "t"];
    let at = |time: &'static str| [&reset[..], &["-s", time]].concat();
    let would = json(&server, &[&at("0")[..], &["--dry-run"]].concat());
    let row = json!({"brokerName": "broker-a", "queueId": 0, "from": 2, "to": 0, "messages": -2});
    assert_eq!((&would["queues"][0], &would["again"]), (&row, &json!(2)));
    assert_eq!(would["queues"][1]["from"], Value::Null);
    let would = text(&server, &["skipAccumulatedMessage", "-g", "g", "-t", "t", "--dry-run"]);
    assert_eq!(
        would,
        format!(
            "#Broker Name                      #QID  {:<20}  {:<20}  #Messages\nbroker-a                          0     {:<20}  {:<20}  +1\nbroker-a                          1     {:<20}  {:<20}  +0\n\nwould change offsets of group [g] in 2 queues of topic [t]: 1 messages skipped, 0 consumed again\n",
            "#From", "#To", 2, 3, "-", 1
        )
    );
    assert_eq!((offset(&connection, "g", 0).await, offset(&connection, "g", 1).await), (2, -1));

    let done = text(&server, &at("0"));
    let head = format!("{:<40}  {:<40}  #offset", "#brokerName", "#queueId");
    let row = |queue: i32, to: i64| format!("{:<40}  {queue:<40}  {to}", "broker-a");
    let expected = format!(
        "start reset consumer offset by specified, group[g], topic[t], force[true], timestamp(string)[0], timestamp(long)[0]\n{head}\n{}\n{}\n",
        row(0, 0),
        row(1, 0)
    );
    assert_eq!(done, expected);
    assert_eq!(offset(&connection, "g", 0).await, 0);
    // Without force only backwards.
    let done = json(&server, &[&at("-1")[..], &["-f", "false"]].concat());
    assert_eq!(done["queues"], json!([]));
    let done = text(&server, &["skipAccumulatedMessage", "-g", "g", "-t", "t"]);
    assert_eq!(done, format!("{head}\n{}\n{}\n", row(0, 3), row(1, 1)));
    assert_eq!(offset(&connection, "g", 0).await, 3);
    let done = json(&server, &at("now"));
    assert_eq!(done["queues"][0], json!({"brokerName": "broker-a", "queueId": 0, "offset": 3}));

    let one = [&at("2026-11-28#20:05:13:042")[..], &["-b", &broker, "-q", "0"]].concat();
    let to = |offset: &'static str| [&one[..], &["-o", offset]].concat();
    let would = json(&server, &[&to("1")[..], &["--dry-run"]].concat());
    assert_eq!((&would["queues"][0]["to"], &would["again"]), (&json!(1), &json!(2)));
    fails(&server, &to("4"), 1, "offset 4 is not in queue 0 of t on 127.0.0.1:");
    assert_eq!(offset(&connection, "g", 0).await, 3);
    // A client that is connected is told where to go on.
    join(&connection, "g", "c", "t").await;
    let done = text(&server, &to("0"));
    assert!(done.starts_with(&format!("start reset consumer offset by specified, group[g], topic[t], queueId[0], broker[{broker}], timestamp(string)[2026-11-28#20:05:13:042], timestamp(long)[17")), "{done}");
    assert!(done.ends_with("\nreset consumer offset to 0\n"), "{done}");
    assert_eq!(offset(&connection, "g", 0).await, 0);
    let pull = connection.pull(&look("g", "t", 0, 3)).await.unwrap();
    assert_eq!((pull.code, pull.offsets.next_begin_offset), (21, 0));
    let done = json(&server, &[&at("-1")[..], &["-b", "broker-a", "-q", "0"]].concat());
    assert_eq!(done["queues"][0]["offset"], 3);
    assert_eq!(offset(&connection, "g", 0).await, 3);
    server.stop();
}

#[tokio::test]
async fn offsets_are_reset_by_the_tool_where_brokers_leave_it_to_clients() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &["--set", "useServerSideResetOffset=false"]).await;
    commit(&connection, "g", "t", 0, 2).await;
    let done = text(&server, &["resetOffsetByTime", "-g", "g", "-t", "t", "-s", "0"]);
    let row = |cells: [&str; 6]| {
        let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<20}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let expected = [
        "reset consumer offset by specified consumerGroup[g], topic[t], force[true], timestamp(string)[0], timestamp(long)[0]".to_owned(),
        row(["#brokerName", "#queueId", "#brokerOffset", "#consumerOffset", "#timestampOffset", "#resetOffset"]),
        row(["broker-a", "0", "3", "2", "0", "0"]),
        row(["broker-a", "1", "1", "0", "0", "0"]),
    ];
    assert_eq!(done.lines().collect::<Vec<_>>(), expected);
    assert_eq!(offset(&connection, "g", 0).await, 0);
    let done = json(&server, &["skipAccumulatedMessage", "-g", "g", "-t", "t", "-f", "false"]);
    assert_eq!(
        (&done["queues"][0]["timestampOffset"], &done["queues"][0]["offset"]),
        (&json!(3), &json!(0))
    );
    assert_eq!(offset(&connection, "g", 0).await, 0);
    let done = text(&server, &["skipAccumulatedMessage", "-g", "g", "-t", "t"]);
    assert!(done.lines().next().unwrap().ends_with("#rollbackOffset"), "{done}");
    assert_eq!(offset(&connection, "g", 0).await, 3);
    server.stop();
}

#[tokio::test]
async fn offsets_are_copied_to_another_group() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    put(&connection, "other", 0, "x").await;
    for (topic, offset) in [("t", 2), ("other", 1)] {
        commit(&connection, "g", topic, 0, offset).await;
    }
    let clone = ["cloneGroupOffset", "-s", "g", "-d", "h", "-t", "t", "-o", "true"];
    fails(&server, &clone, 1, "knows no group h; make it with updateSubGroup");
    text(&server, &["updateSubGroup", "-b", &server.broker(), "-g", "h"]);
    let would = json(&server, &[&clone[..], &["--dry-run"]].concat());
    assert_eq!(
        would["queues"],
        json!([{"brokerName": "broker-a", "queueId": 0, "from": null, "to": 2, "messages": null}])
    );
    assert_eq!(offset(&connection, "h", 0).await, -1);
    assert_eq!(
        text(&server, &clone),
        "clone group offset success. srcGroup[g], destGroup=[h], topic[t]\n"
    );
    assert_eq!(offset(&connection, "h", 0).await, 2);
    assert_eq!(committed(&connection, "h", "other", 0).await.code, 22);
    commit(&connection, "g", "t", 1, 1).await;
    let done = json(&server, &clone);
    assert_eq!(done["queues"][1], json!({"brokerName": "broker-a", "queueId": 1, "offset": 1}));
    let nothing = ["cloneGroupOffset", "-s", "nobody", "-d", "h", "-t", "t"];
    fails(&server, &nothing, 1, "group nobody has no offsets in topic t");
    server.stop();
}

#[tokio::test]
async fn rates_are_shown() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    make_topic(&connection, "idle", 1).await;
    commit(&connection, "g", "t", 0, 1).await;
    let rows = json(&server, &["statsAll"]);
    let row = |topic: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["topic"] == topic).unwrap_or_else(|| panic!("{rows:?}"))
    };
    assert_eq!((&row("t")["group"], &row("t")["accumulation"]), (&json!("g"), &json!(3)));
    assert_eq!(row("idle")["group"], Value::Null);
    let shown = text(&server, &["statsAll", "-t", "idle"]);
    let expected = format!(
        "{:<64}  {:<64} #Accumulation      #InTPS     #OutTPS   #InMsg24Hour  #OutMsg24Hour\n{:<64}  {:<64} {:>12} {:>11} {:>11} {:>14} {:>14}\n",
        "#Topic", "#Consumer Group", "idle", "", 0, "0.00", "", 0, "NO_CONSUMER"
    );
    assert_eq!(shown, expected);
    assert_eq!(text(&server, &["statsAll", "-a", "-t", "idle"]).lines().count(), 1);
    fails(&server, &["statsAll", "-t", "nil"], 1, "no topic nil is known");
    server.stop();
}

#[tokio::test]
async fn a_watch_tells_who_is_behind() {
    let folder = Folder::new();
    let (server, connection) = start(&folder, &[]).await;
    commit(&connection, "g", "t", 0, 1).await;
    let lines = |args: &[&str], last: &str| {
        let mut child = command(&server, args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().contains(last) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines
    };
    let text = lines(&["startMonitoring"], "endRound");
    assert!(text[0].ends_with(" [MONITOR] beginRound"), "{text:?}");
    let behind = "[MONITOR] reportUndoneMsgs: UndoneMsgs [consumerGroup=g, topic=t, undoneMsgsTotal=3, undoneMsgsSingleMQ=2, undoneMsgsDelayTimeMills=";
    assert!(text.iter().any(|line| line.contains(behind)), "{text:?}");
    let offline =
        "[MONITOR]  [NOTIFY] offline [consumerGroup=g]: messages wait, and no client is connected";
    assert!(text.iter().any(|line| line.contains(offline)), "{text:?}");
    let values = lines(&["startMonitoring", "--interval", "1", "--json"], r#""round":2"#);
    let values: Vec<Value> =
        values.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let behind =
        values.iter().filter(|value| value["kind"] == "undoneMsgs" && value["group"] == "g");
    assert_eq!(behind.count(), 2, "one in each of two rounds: {values:?}");
    assert_eq!(values.last().unwrap()["kind"], "endRound");
    server.stop();
}

#[tokio::test]
async fn bad_input_is_named() {
    let folder = Folder::new();
    let (server, _) = start(&folder, &[]).await;
    let broker = server.broker();
    let reset = ["resetOffsetByTime", "-g", "g", "-t", "t"];
    let with = |more: &[&'static str]| [&reset[..], more].concat();
    for (args, code, why) in [
        (vec!["updateSubGroup", "-g", "x"], 2, "--brokerAddr"),
        (vec!["updateSubGroup", "-b", &broker], 2, "--groupName"),
        (vec!["updateSubGroup", "-b", &broker, "-g", "x", "-s", "yes"], 2, "invalid value 'yes'"),
        (vec!["updateSubGroup", "-b", &broker, "-g", "x", "-q", "many"], 2, "invalid value 'many'"),
        (vec!["updateSubGroup", "-b", &broker, "-g", "x", "-p", "{"], 2, "this is no JSON"),
        (
            vec!["updateSubGroup", "-b", &broker, "-g", "x", "-p", "{}"],
            2,
            "EXPONENTIAL or CUSTOMIZED",
        ),
        (
            vec!["updateSubGroup", "-b", &broker, "-g", "x", "--attributes", "k=v"],
            1,
            "neither +key=value nor -key",
        ),
        (vec!["updateSubGroup", "-b", &broker, "-g", "a b"], 1, "with code 29"),
        (
            vec!["updateSubGroup", "-b", "127.0.0.1:1", "-g", "x"],
            1,
            "cannot connect to 127.0.0.1:1",
        ),
        (vec!["updateSubGroup", "-c", "Nobody", "-g", "x"], 1, "it knows DefaultCluster"),
        (
            vec!["updateSubGroupList", "-b", &broker, "-f", "not-there.json"],
            1,
            "not-there.json cannot be read",
        ),
        (vec!["deleteSubGroup", "-g", "g"], 2, "--brokerAddr"),
        (
            vec!["deleteSubGroup", "-b", &broker, "-g", "g", "-r", "maybe"],
            2,
            "invalid value 'maybe'",
        ),
        (vec!["getConsumerConfig", "-g", "x"], 1, "no broker has a group x"),
        (
            vec!["consumerProgress", "-g", "x"],
            1,
            "no broker knows a group x: there is no topic %RETRY%x",
        ),
        (
            vec!["consumerProgress", "-g", "g", "-c", "Nobody"],
            1,
            "there are brokers of DefaultCluster",
        ),
        (vec!["consumerProgress", "-t", "t"], 2, "--groupName"),
        (vec!["consumerStatus", "-g", "x"], 1, "no broker knows a group x"),
        (with(&[]), 2, "--timestamp"),
        (
            with(&["-s", "yesterday"]),
            2,
            "\"yesterday\" is no time: give ms since 1970, now, or local time",
        ),
        (with(&["-s", "0", "-q", "0"]), 2, "--broker"),
        (with(&["-s", "0", "-o", "1"]), 2, "--queue"),
        (with(&["-s", "0", "-b", "broker-a", "-q", "-1"]), 2, "-1"),
        (with(&["-s", "0", "-b", "broker-a", "-q", "7"]), 1, "7"),
        (vec!["resetOffsetByTime", "-g", "x", "-t", "t", "-s", "0"], 1, "with code 26"),
        (
            vec!["resetOffsetByTime", "-g", "x", "-t", "t", "-s", "0", "--dry-run"],
            1,
            "knows no group x",
        ),
        (vec!["resetOffsetByTime", "-g", "g", "-t", "x", "-s", "0"], 1, "with code 17"),
        (vec!["skipAccumulatedMessage", "-g", "g"], 2, "--topic"),
        (vec!["skipAccumulatedMessage", "-g", "g", "-t", "x"], 1, "with code 17"),
        (vec!["cloneGroupOffset", "-s", "g", "-d", "g", "-t", "t"], 1, "name the same group"),
        (vec!["cloneGroupOffset", "-s", "g", "-t", "t"], 2, "--destGroup"),
        (vec!["consumerConnection"], 2, "--consumerGroup"),
        (vec!["producerConnection", "-g", "p"], 2, "--topic"),
        (vec!["producer"], 2, "--broker"),
        (vec!["startMonitoring", "--interval", "0"], 2, "0 is not in 1..=86400"),
        (vec!["startMonitoring", "-n", "127.0.0.1:1"], 1, "say where the name server is"),
    ] {
        fails(&server, &args, code, why);
    }
    let groups = json(&server, &["consumerProgress"]);
    assert!(groups.as_array().unwrap().iter().all(|row| row["group"] != "x"), "{groups}");
    server.stop();
}
