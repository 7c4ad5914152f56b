//! `kerolox admin`: brokers, name servers, exports, lag, codes and the doctor, as text and as JSON, and
//! with bad input.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::admin::{admin, fails, json, text};
use common::call::{commit, granted, join, make_topic, put, tell};
use common::{Folder, Launch, Server, binary};
use kerolox_client::{Connection, Options};
use rustix::process::Signal;
use serde_json::{Value, json as value};
use tokio::sync::mpsc;

/// A name server alone.
fn namesrv(folder: &Folder) -> Server {
    Launch::of("namesrv", folder)
        .args(&["--namesrv-port=0", "--http-port=0"])
        .data_dir(&folder.data())
        .start()
}

/// A broker alone.
fn broker(folder: &Folder, name: &str, names: &Server) -> Server {
    let names = names.address(names.ports.namesrv);
    Launch::of("broker", folder)
        .args(&["--broker-port=0", "--grpc-port=0", "--proxy-port=0", "--http-port=0"])
        .args(&["--set", &format!("brokerName={name}"), "--set", &format!("namesrvAddr={names}")])
        .data_dir(&folder.data())
        .start()
}

/// A group that nobody is in.
async fn make_group(connection: &Connection, group: &str) {
    let body = value!({ "groupName": group }).to_string();
    granted(&tell(connection, 200, &[], body.as_bytes()).await);
}

/// Waits until the name server knows so many brokers.
fn until_registered(names: &Server, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let rows = json(names, &["clusterList"]);
        if rows.as_array().unwrap().len() == count {
            return;
        }
        assert!(Instant::now() < deadline, "{count} brokers, not {rows}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_broker_tells_how_it_is_and_is_configured() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.broker();
    let status = text(&server, &["brokerStatus", "-b", &broker]);
    assert!(status.contains("\nbrokerVersionDesc               : V5_5_0\n"), "{status}");
    assert!(status.lines().is_sorted(), "{status}");
    let status = text(&server, &["brokerStatus", "-c", "DefaultCluster"]);
    let line = format!("\n{broker:<24} brokerActive                    : true\n");
    assert!(status.contains(&line), "{status}");
    let status = json(&server, &["brokerStatus", "-b", "broker-a"]);
    assert_eq!(status[&broker]["msgPutTotalTodayNow"], "0");

    let config = text(&server, &["getBrokerConfig", "-b", &broker]);
    assert!(config.starts_with(&format!("============{broker}============\n")), "{config}");
    let line = format!("\n{:<50}=  true\n", "autoCreateTopicEnable");
    assert!(config.contains(&line) && config.ends_with("\n\n"), "{config}");
    let config = text(&server, &["getBrokerConfig", "-c", "DefaultCluster"]);
    assert!(config.starts_with(&format!("============Master: {broker}============\n")), "{config}");

    let update = ["updateBrokerConfig", "-b", &broker, "-k", "fileReservedTime", "-v", "71"];
    assert_eq!(text(&server, &update), format!("update broker config success, {broker}\n"));
    let all = ["updateBrokerConfig", "-c", "DefaultCluster", "-a", "1", "-k", "traceOn"];
    let done = json(&server, &[&all[..], &["-v", "false"]].concat());
    assert_eq!(done, value!({"key": "traceOn", "value": "false", "brokers": [broker]}));
    let config = json(&server, &["getBrokerConfig", "-b", &broker]);
    assert_eq!(config[&broker]["fileReservedTime"], "71");
    assert_eq!(config[&broker]["traceOn"], "false");

    let rows = text(&server, &["clusterList"]);
    let lines: Vec<&str> = rows.lines().collect();
    assert_eq!(
        lines[0],
        "#Cluster Name           #Broker Name            #BID  #Addr                  #Version              #InTPS(LOAD)                   #OutTPS(LOAD)  #Timer(Progress)        #PCWait(ms)  #Hour         #SPACE    #ACTIVATED"
    );
    let begin = format!(
        "DefaultCluster          broker-a                0     {broker:<22} V5_5_0                 0.00(0,0ms)               0.00(0,0ms|0,0ms)  0-0(0.0w, 0.0, 0.0)               0  0.00  "
    );
    assert!(lines[1].starts_with(&begin) && lines[1].ends_with("  true"), "{rows}");
    let more = text(&server, &["clusterList", "-m", "-i", "1", "--rounds", "2"]);
    let head = "#Cluster Name     #Broker Name                       #InTotalYest  #OutTotalYest  #InTotalToday #OutTotalToday\n";
    let row = "DefaultCluster    broker-a                                      0              0              0              0\n";
    assert_eq!(more, [head, row, head, row].concat());
    let rounds = text(&server, &["clusterList", "-i", "1", "--rounds", "2", "--json"]);
    assert_eq!(rounds.lines().count(), 2, "{rounds}");
    server.stop();
}

#[tokio::test]
async fn brokers_say_how_far_groups_are_and_clean() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.broker();
    let connection = server.connect().await;
    for _ in 0..3 {
        put(&connection, "t", 0, "x").await;
    }
    put(&connection, "t", 1, "x").await;
    make_group(&connection, "g").await;
    commit(&connection, "g", "t", 0, 1).await;
    let stats = text(&server, &["brokerConsumeStats", "-b", &broker]);
    let lines: Vec<&str> = stats.lines().collect();
    let head = format!(
        "{:<64}  {:<64}  {:<32}  #QID  {:<20}  {:<20}  {:<20}  #LastTime",
        "#Topic", "#Group", "#Broker Name", "#Broker Offset", "#Consumer Offset", "#Diff"
    );
    assert_eq!(lines[0], head);
    let row = format!(
        "{:<64}  {:<64}  {:<32}  0     3{:21}1{:21}2{:21}20",
        "t", "g", "broker-a", "", "", ""
    );
    assert!(lines[1].starts_with(&row), "{stats}");
    assert!(lines[2].trim_end().ends_with("  1"), "never read from, and behind: {stats}");
    assert_eq!(lines[3..], ["", "Diff Total: 3"]);
    let stats = json(&server, &["brokerConsumeStats", "-b", &broker, "-l", "2"]);
    assert_eq!((&stats["totalDiff"], stats["queues"].as_array().unwrap().len()), (&3.into(), 1));
    assert_eq!(stats["queues"][0]["diff"], 2);

    for (command, what) in [
        ("cleanExpiredCQ", "drop index entries of messages that are gone"),
        ("cleanUnusedTopic", "drop the queues of topics that are deleted"),
        (
            "deleteExpiredCommitLog",
            "delete log files older than its fileReservedTime, now rather than at deleteWhen",
        ),
    ] {
        assert_eq!(text(&server, &[command]), "success\n");
        assert_eq!(json(&server, &[command, "-b", &broker]), value!({"brokers": [broker]}));
        let would = text(&server, &[command, "-c", "DefaultCluster", "--dry-run"]);
        assert_eq!(would, format!("would ask {broker} to {what}\n"));
        assert_eq!(json(&server, &[command, "--dry-run"])["dryRun"], true);
    }
    server.stop();
}

#[test]
fn name_servers_are_noted_changed_and_asked() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let names = server.address(server.ports.namesrv);
    let key = ["-s", "n", "-k", "k"];
    let put = [&["updateKvConfig"], &key[..], &["-v", "-v 1"]].concat();
    assert_eq!(text(&server, &put), "create or update kv config to namespace success.\n");
    assert_eq!(
        json(&server, &put),
        value!({"namespace": "n", "key": "k", "value": "-v 1", "nameServers": [names]})
    );
    let delete = [&["deleteKvConfig"], &key[..]].concat();
    let would = [&delete[..], &["--dry-run"]].concat();
    assert_eq!(text(&server, &would), format!("{names} would delete n k=-v 1\n"));
    assert_eq!(json(&server, &would)["values"], value!({&names: "-v 1"}));
    assert_eq!(text(&server, &delete), "delete kv config from namespace success.\n");
    assert_eq!(
        json(&server, &delete),
        value!({"namespace": "n", "key": "k", "nameServers": [names]})
    );
    assert_eq!(text(&server, &would), format!("{names} has no k in n\n"));

    let wipe = ["wipeWritePerm", "-b", "broker-a"];
    let dry = [&wipe[..], &["--dry-run"]].concat();
    let would = json(&server, &dry);
    let count = would["topics"].as_i64().unwrap();
    assert_eq!(would["writable"], count);
    assert_eq!(
        text(&server, &wipe),
        format!("wipe write perm of broker[broker-a] in name server[{names}] OK, {count}\n")
    );
    assert_eq!(
        text(&server, &dry),
        format!(
            "would wipe the write perm of broker[broker-a] in {count} topics; 0 of them can be written to now\n"
        )
    );
    let add = ["addWritePerm", "-b", "broker-a"];
    assert_eq!(
        text(&server, &add),
        format!("add write perm of broker[broker-a] in name server[{names}] OK, {count}\n")
    );
    assert_eq!(json(&server, &wipe), value!({"broker": "broker-a", "topics": {&names: count}}));
    assert_eq!(json(&server, &add)["topics"][&names], count);
    assert_eq!(json(&server, &dry)["writable"], count);

    let update = ["updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true"];
    assert_eq!(
        text(&server, &update),
        format!("update name server config success![{names}]\norderMessageEnable : true\n")
    );
    assert_eq!(json(&server, &update)["nameServers"][0], names);
    let config = text(&server, &["getNamesrvConfig"]);
    assert!(config.starts_with(&format!("============{names}============\n")), "{config}");
    assert!(config.contains(&format!("\n{:<50}=  true\n", "orderMessageEnable")), "{config}");
    assert_eq!(json(&server, &["getNamesrvConfig"])[&names]["orderMessageEnable"], "true");
    // One of two does not answer: the other one's answer is there.
    let both = format!("127.0.0.1:1;{names}");
    let done = admin(&server, &["getNamesrvConfig", "-n", &both]);
    assert!(done.code == 1 && done.out.contains("orderMessageEnable"), "{}", done.out);
    assert!(done.err.contains("1 of 2 failed: cannot connect to 127.0.0.1:1"), "{}", done.err);
    server.stop();
}

#[tokio::test]
async fn a_cluster_is_exported_to_files() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "123", 4).await;
    join(&connection, "g", "c", "123").await;
    put(&connection, "123", 0, "x").await;
    let to = folder.join("a").join("b");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(to.join(name)).unwrap()).unwrap()
    };
    let of =
        |command: &'static str| vec![command, "-c", "DefaultCluster", "-f", to.to_str().unwrap()];
    let path = to.join("metadata.json").display().to_string();
    assert_eq!(text(&server, &of("exportMetadata")), format!("export {path} success\n"));
    let metadata = read("metadata.json");
    assert_eq!(metadata["topicConfigTable"].as_object().unwrap().len(), 1, "{metadata}");
    assert_eq!(metadata["topicConfigTable"]["123"]["writeQueueNums"], 4);
    assert_eq!(metadata["subscriptionGroupTable"]["g"]["retryMaxTimes"], 16);
    assert!(metadata["exportTime"].as_i64().unwrap() > 1_700_000_000_000);
    let more = [of("exportMetadata"), vec!["-t", "-s"]].concat();
    let done = json(&server, &more);
    assert_eq!(done["path"], to.join("topic.json").display().to_string());
    assert!(read("topic.json")["topicConfigTable"]["%RETRY%g"].is_object());
    let broker = server.broker();
    let folder_name = to.to_str().unwrap();
    text(&server, &["exportMetadata", "-b", &broker, "-g", "-f", folder_name]);
    let groups = read("subscriptionGroup.json");
    assert!(groups["dataVersion"]["counter"].is_number() && groups["forbiddenTable"].is_object());
    assert!(groups["subscriptionGroupTable"]["g"].is_object());

    text(&server, &of("exportConfigs"));
    let configs = read("configs.json");
    assert_eq!(configs["brokerConfigs"]["broker-a"]["brokerRole"], "ASYNC_MASTER");
    assert_eq!(
        configs["clusterScale"],
        value!({"namesrvSize": 1, "masterBrokerSize": 1, "slaveBrokerSize": 0})
    );
    text(&server, &of("exportMetrics"));
    let metrics = read("metrics.json");
    let report = &metrics["evaluateReport"]["broker-a"];
    let quota = &report["runtimeQuota"];
    assert_eq!((&quota["topicSize"], &quota["groupSize"]), (&1.into(), &1.into()));
    assert_eq!(report["runtimeVersion"]["rocketmqVersion"], "V5_5_0");
    assert_eq!(report["runtimeVersion"]["clientInfo"].as_array().unwrap().len(), 1);
    assert!(metrics["totalData"]["totalTps"]["totalNormalInTps"].is_number());

    let before = std::fs::read_dir(&to).unwrap().count();
    assert_eq!(before, 5, "no temporary file is left");
    let nowhere = folder.join("nowhere");
    for command in ["exportMetadata", "exportConfigs", "exportMetrics"] {
        let args = [command, "-c", "Nobody", "-f", nowhere.to_str().unwrap()];
        fails(&server, &args, 1, "knows no cluster \"Nobody\"; it knows DefaultCluster");
        let file = to.join("metadata.json");
        let args = [command, "-c", "DefaultCluster", "-f", file.to_str().unwrap()];
        fails(&server, &args, 1, "metadata.json cannot be written: ");
    }
    assert!(!nowhere.exists());
    server.stop();
}

/// A consumer of group g that answers every 307 with one queue of broker a, in a thread of its own: the
/// test waits for commands. It ends with the broker.
fn consumer_of_a(broker: &Server, pulled: i64) {
    let (joined, wait) = std::sync::mpsc::channel();
    let address = broker.broker();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (incoming, mut requests) = mpsc::channel(100);
            let options = Options { incoming: Some(incoming), ..Options::default() };
            let client = Connection::connect_with(&address, options).await.unwrap();
            join(&client, "g", "client-1", "t").await;
            joined.send(()).unwrap();
            let queue = r#"{"brokerName":"a","queueId":0,"topic":"t"}"#;
            let body = format!(r#"{{"mqTable":{{{queue}:{{"lastPullTimestamp":{pulled}}}}}}}"#);
            while let Some(request) = requests.recv().await {
                if request.code == 307 {
                    let body = Bytes::from(body.clone());
                    client.respond(&request, 0, &(), body).await.unwrap();
                }
            }
        });
    });
    wait.recv().unwrap();
}

#[tokio::test]
async fn lag_says_who_is_behind_on_two_brokers() {
    let folders: Vec<Folder> = (0..3).map(|_| Folder::new()).collect();
    let names = namesrv(&folders[0]);
    let (a, b) = (broker(&folders[1], "a", &names), broker(&folders[2], "b", &names));
    until_registered(&names, 2);
    let to_a = a.connect().await;
    let to_b = b.connect().await;
    for _ in 0..3 {
        put(&to_a, "t", 0, "x").await;
    }
    put(&to_b, "t", 1, "x").await;
    for connection in [&to_a, &to_b] {
        make_group(connection, "g").await;
        make_group(connection, "idle").await;
    }
    commit(&to_a, "g", "t", 0, 1).await;
    commit(&to_b, "g", "t", 1, 0).await;
    commit(&to_b, "idle", "t", 1, 1).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    consumer_of_a(&a, now.as_millis() as i64 - 7_000);
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let lag = json(&names, &["lag", "-g", "g", "-t", "t"]);
    let queues = lag["queues"].as_array().unwrap();
    let of = |broker: &str, queue: i64| {
        let is = |row: &&Value| row["brokerName"] == broker && row["queueId"] == queue;
        queues.iter().find(is).unwrap_or_else(|| panic!("{broker} {queue}: {lag}"))
    };
    let row = of("a", 0);
    assert_eq!((&row["behind"], &row["consumerOffset"]), (&2.into(), &1.into()));
    assert_eq!((&row["group"], &row["owner"]), (&"g".into(), &"client-1".into()));
    assert!((1..60).contains(&row["secondsBehind"].as_i64().unwrap()), "{row}");
    assert!((7..60).contains(&row["secondsSincePull"].as_i64().unwrap()), "{row}");
    let row = of("b", 1);
    assert_eq!((&row["behind"], &row["owner"]), (&1.into(), &Value::Null));
    let row = of("a", 1);
    assert_eq!((&row["behind"], &row["secondsBehind"]), (&0.into(), &0.into()));
    let total = &lag["groups"][0];
    assert_eq!((&total["group"], &total["behind"]), (&"g".into(), &3.into()));

    let all = text(&names, &["lag"]);
    assert!(all.starts_with("#Group                            #Topic   "), "{all}");
    assert!(all.contains(
        "\n#Group                                   #Queues        #Behind   #Seconds\n"
    ));
    assert!(all.contains("\ng                                 t                                 a                     0                  2"), "{all}");
    let done = admin(&names, &["lag", "--over", "1"]);
    assert_eq!(done.code, 1, "{}", done.out);
    assert_eq!(done.out.lines().filter(|line| line.starts_with("g ")).count(), 2, "{}", done.out);
    assert!(done.err.contains("1 queues have more than 1 messages behind"), "{}", done.err);
    assert_eq!(json(&names, &["lag", "--over", "2"]), value!({"queues": [], "groups": []}));
    let rounds = text(&names, &["lag", "--watch", "1", "--rounds", "2", "--json"]);
    assert_eq!(rounds.lines().count(), 2, "{rounds}");

    // One hangs: it is named, has a row without figures, and the other one's is whole.
    b.signal(Signal::STOP);
    let done = admin(&names, &["clusterList", "--timeout", "1"]);
    let more = admin(&names, &["clusterList", "-m", "--timeout", "1", "--json"]);
    b.signal(Signal::CONT);
    assert_eq!((done.code, done.out.lines().count()), (1, 3), "{}", done.out);
    assert!(done.out.lines().nth(1).unwrap().ends_with("true"), "{}", done.out);
    assert!(done.out.lines().nth(2).unwrap().ends_with(" -"), "{}", done.out);
    assert!(!done.out.lines().nth(2).unwrap().contains("0.00"), "{}", done.out);
    let more: Value = serde_json::from_str(&more.out).unwrap();
    assert!(more[0]["inToday"].is_number() && more[1]["inToday"].is_null(), "{more}");
    let why = format!("1 of 2 failed: {} did not answer request 28 within 1s", b.broker());
    assert!(done.err.contains(&why), "{}", done.err);
    b.signal(Signal::STOP);
    let done = admin(&names, &["lag", "--timeout", "1"]);
    b.signal(Signal::CONT);
    assert!(done.code == 1 && done.out.contains(" client-1 "), "{}", done.out);
    assert!(done.err.contains(&format!("1 of 2 failed: {}", b.broker())), "{}", done.err);
    until_registered(&names, 2);
    a.stop();
    b.stop();
    names.stop();
}

#[test]
fn codes_are_explained_without_a_server() {
    let explain = |args: &[&str]| {
        let mut command = Command::new(binary());
        let output = command.args(["admin", "explain"]).args(args).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), err)
    };
    let (code, out, _) = explain(&["17"]);
    assert!(code == 0 && out.starts_with("17 TOPIC_NOT_EXIST\n  Meaning: "), "{out}");
    assert!(out.ends_with("\n17 as the code of a request: UPDATE_AND_CREATE_TOPIC\n"), "{out}");
    assert!(explain(&["-1006"]).1.starts_with("-1006 RPC_TIME_OUT\n"));
    assert!(explain(&["system_busy"]).1.starts_with("2 SYSTEM_BUSY\n"));
    assert_eq!(explain(&["317"]).1, "317 as the code of a request: GET_BROKER_CONSUME_STATS\n");
    let one: Value = serde_json::from_str(&explain(&["317", "--json"]).1).unwrap();
    assert_eq!(
        one,
        value!({"response": null, "request": {"code": 317, "name": "GET_BROKER_CONSUME_STATS"}})
    );
    let (_, list, _) = explain(&[]);
    assert!(
        list.contains("\n  -1000  RPC_UNKNOWN ") && list.contains("\n 200050  POP_MESSAGE\n"),
        "{list}"
    );
    let all: Value = serde_json::from_str(&explain(&["--json"]).1).unwrap();
    assert_eq!(all["responses"].as_array().unwrap().len(), 68);
    let (code, out, err) = explain(&["4711"]);
    assert_eq!((code, &*out), (1, ""));
    assert!(err.contains("RocketMQ has no code \"4711\""), "{err}");
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.broker();
    let done = admin(&server, &["doctor", "--data-dir", folder.data().to_str().unwrap()]);
    // The disk of the machine that runs this may be full.
    let has =
        |line: &str| assert!(done.out.lines().any(|l| l.starts_with(line)), "{line}\n{}", done.out);
    has(&format!("ok   name server {}: answered in ", server.address(server.ports.namesrv)));
    has(&format!("ok   broker broker-a 0 at {broker}: answered in "));
    has(&format!("ok   broker broker-a 0 at {broker}: its clock agrees with this machine's"));
    has(&format!("ok   broker broker-a 0 at {broker}: brokerPermission is 6"));
    has("ok   masters: every broker has one, so every topic has");
    has(&format!(
        "ok   data directory {}: it is there and can be written to",
        folder.data().display()
    ));
    assert!(done.out.contains("open files of this process: "), "{}", done.out);
    assert_eq!(
        std::fs::read_dir(folder.data())
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().contains("doctor"))
            .count(),
        0
    );

    granted(&tell(&server.connect().await, 25, &[], b"brokerPermission=4").await);
    let missing = folder.join("missing");
    let args = ["doctor", "--json", "--data-dir", missing.to_str().unwrap()];
    let done = admin(&server, &args);
    assert_eq!(done.code, 1, "{}", done.err);
    let checks: Value = serde_json::from_str(&done.out).unwrap();
    let level = |begin: &str| {
        let is = |check: &&Value| check["found"].as_str().unwrap().starts_with(begin);
        checks.as_array().unwrap().iter().find(is).map(|check| check["level"].clone())
    };
    assert_eq!(level("brokerPermission is 4"), Some("warn".into()), "{checks}");
    assert_eq!(level("it is no directory"), Some("FAIL".into()), "{checks}");
    assert!(done.err.contains(" checks failed"), "{}", done.err);
    let done = admin(&server, &["doctor", "-n", "127.0.0.1:1"]);
    assert_eq!(done.code, 1);
    assert!(done.out.starts_with("FAIL name server 127.0.0.1:1: cannot connect"), "{}", done.out);
    assert!(done.out.contains("\n     -> start it, correct its address"), "{}", done.out);
    server.stop();
}

#[tokio::test]
async fn the_doctor_finds_brokers_that_cannot_be_reached_and_topics_without_a_master() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let names = server.address(server.ports.namesrv);
    let names = Connection::connect(&names).await.unwrap();
    let topic = value!({"topicName": "lonely", "perm": 6, "readQueueNums": 1, "writeQueueNums": 1});
    // A registration with one topic is news of it, not all there is.
    let table = value!({"lonely": topic, "other": {"topicName": "other", "perm": 6}});
    let wrapper = value!({"topicConfigTable": table, "dataVersion": {"counter": 1}});
    let body = value!({ "topicConfigSerializeWrapper": wrapper }).to_string();
    let fields = [
        ("brokerName", "slave"),
        ("brokerAddr", "127.0.0.1:1"),
        ("clusterName", "Other"),
        ("brokerId", "1"),
    ];
    // It is known for as long as this connection lasts.
    granted(&tell(&names, 103, &fields, body.as_bytes()).await);
    let done = admin(&server, &["doctor"]);
    assert_eq!(done.code, 1, "{}", done.out);
    let has = |line: &str| {
        assert!(done.out.lines().any(|l| l.starts_with(line)), "{line}\n{}", done.out);
    };
    has("FAIL topics: no master of lonely, other");
    has("FAIL broker slave 1 at 127.0.0.1:1: cannot connect to 127.0.0.1:1: ");
    has("warn masters: none of slave");
    has(&format!("ok   broker broker-a 0 at {}: answered in ", server.broker()));
    server.stop();
}

#[test]
fn bad_input_is_named_and_nothing_is_changed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.broker();
    let before = json(&server, &["getBrokerConfig", "-b", &broker]);
    let update = ["updateBrokerConfig", "-b", &broker];
    let set =
        |key: &'static str, value: &'static str| [&update[..], &["-k", key, "-v", value]].concat();
    for (args, code, why) in [
        (vec!["brokerStatus"], 2, "<--brokerAddr <HOST:PORT>|--clusterName <CLUSTER>>"),
        (vec!["brokerStatus", "-b", "127.0.0.1:1"], 1, "cannot connect to 127.0.0.1:1"),
        (vec!["brokerStatus", "-c", "Nobody"], 1, "knows no cluster \"Nobody\""),
        (vec!["getBrokerConfig", "-b", "nobody"], 1, "neither HOST:PORT nor the name"),
        (vec!["updateBrokerConfig", "-b", &broker, "-k", "traceOn"], 2, "--value <VALUE>"),
        (vec!["updateBrokerConfig", "-k", "traceOn", "-v", "true"], 2, "--brokerAddr"),
        (set("listenPort", "1"), 1, "with code 16: Can not update config in black list."),
        (set("maxMesageSize", "1"), 1, "is maxMessageSize meant?"),
        (set("brokerPermission", "8"), 1, "brokerPermission value: 8 is invalid"),
        (set("brokerPermission", "rw"), 1, "brokerPermission value: rw is invalid"),
        (set(" ", "1"), 1, "-k is empty"),
        (vec!["brokerConsumeStats"], 2, "--brokerAddr <HOST:PORT>"),
        (vec!["brokerConsumeStats", "-b", &broker, "-l", "few"], 2, "invalid value 'few'"),
        (vec!["brokerConsumeStats", "-b", &broker, "-o", "yes"], 2, "invalid value 'yes'"),
        (vec!["clusterList", "-c", "Nobody"], 1, "knows no cluster \"Nobody\""),
        (vec!["clusterList", "--rounds", "2"], 2, "--interval"),
        (vec!["clusterList", "-i", "soon"], 2, "invalid value 'soon'"),
        (vec!["cleanExpiredCQ", "-b", &broker, "-c", "x"], 2, "cannot be used with"),
        (vec!["cleanUnusedTopic", "-c", "Nobody"], 1, "knows no cluster \"Nobody\""),
        (vec!["deleteExpiredCommitLog", "-b", "127.0.0.1:1"], 1, "cannot connect to 127.0.0.1:1"),
        (vec!["updateKvConfig", "-s", "n", "-k", "k"], 2, "--value <VALUE>"),
        (vec!["deleteKvConfig", "-s", "n"], 2, "--key <KEY>"),
        (vec!["wipeWritePerm"], 2, "--brokerName <NAME>"),
        (vec!["wipeWritePerm", "-b", "nobody"], 1, "no topic of a broker \"nobody\""),
        (vec!["wipeWritePerm", "-b", "nobody", "--dry-run"], 1, "these are: broker-a"),
        (vec!["addWritePerm", "-b", "nobody"], 1, "no topic of a broker \"nobody\""),
        (vec!["addWritePerm", "-b", "x", "-n", "127.0.0.1:1"], 1, "cannot connect to 127.0.0.1:1"),
        (vec!["updateNamesrvConfig", "-k", "listenPort", "-v", "1"], 1, "with code 16"),
        (vec!["exportMetadata"], 2, "--clusterName"),
        (vec!["exportMetadata", "-b", &broker, "-t", "-g"], 2, "cannot be used with"),
        (vec!["exportConfigs"], 2, "--clusterName"),
        (vec!["exportMetrics", "-n", "127.0.0.1:1", "-c", "x"], 1, "say where the name server is"),
        (vec!["lag", "--over", "many"], 2, "invalid value 'many'"),
        (vec!["lag", "--rounds", "2"], 2, "--watch"),
        (vec!["lag", "-n", "127.0.0.1:1"], 1, "say where the name server is"),
        (vec!["explain", "x y"], 1, "RocketMQ has no code \"x y\""),
        (vec!["doctor", "--data-dir"], 2, "--data-dir"),
    ] {
        fails(&server, &args, code, why);
    }
    assert_eq!(json(&server, &["getBrokerConfig", "-b", &broker]), before);
    server.stop();
}
