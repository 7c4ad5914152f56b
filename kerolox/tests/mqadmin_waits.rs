//! `kerolox admin`: how long commands wait for an answer, whom they do not ask again, and how those end that
//! go on for ever.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::admin::{Done, admin, command, run, text};
use common::call::{commit, granted, make_topic, put, tell};
use common::peer::{body, listen};
use common::{Folder, Server, binary};
use kerolox_client::Connection;
use kerolox_protocol::remoting::codes::{names, request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json as value;

/// Somebody who takes connections, and says nothing for as long as the listener lives.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A command that must fail in well under the minute that it would wait unless told otherwise.
#[track_caller]
fn fails_soon(names: &str, args: &[&str], why: &str) -> Done {
    let begin = Instant::now();
    let done = run(names, args);
    assert_eq!(done.code, 1, "{args:?}: {}", done.out);
    assert!(done.err.contains(why), "{args:?}: {}", done.err);
    assert!(begin.elapsed() < Duration::from_secs(20), "{args:?}: {:?}", begin.elapsed());
    done
}

#[test]
fn a_timeout_that_is_given_holds_for_long_answers_too() {
    let (_silent, broker) = silent();
    for command in ["cleanExpiredCQ", "cleanUnusedTopic", "deleteExpiredCommitLog"] {
        fails_soon(&broker, &[command, "-b", &broker, "--timeout", "1"], "within 1s");
    }
    let stats = ["brokerConsumeStats", "-b", &broker, "--timeout", "1"];
    fails_soon(&broker, &stats, "within 1s");
    // The option of its own is the nearer one.
    fails_soon(&broker, &[&stats[..], &["-t", "300"]].concat(), "within 300ms");
    let folder = Folder::new();
    let to = folder.path().to_str().unwrap();
    let export = ["exportMetadata", "-b", &broker, "-f", to, "--timeout", "1"];
    fails_soon(&broker, &export, "within 1s");
    let push = ["queryMsgById", "-t", "t", "-i", "x", "-g", "g", "-d", "c", "--timeout", "1"];
    fails_soon(&route_to(&broker), &push, "within 1s");
}

/// A name server that knows a broker there, which has every topic.
fn route_to(broker: &str) -> String {
    let broker = broker.to_owned();
    listen(move |_, code, _| match code {
        names::GET_ROUTEINFO_BY_TOPIC => body(format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{broker}"}},"brokerName":"a","cluster":"c"}}],"queueDatas":[{{"brokerName":"a","perm":6,"readQueueNums":16,"writeQueueNums":16,"topicSysFlag":0}}]}}"#
        )),
        _ => panic!("{code} is asked"),
    })
}

#[test]
fn lag_waits_for_a_client_no_longer_than_it_is_told_to() {
    let broker = listen(move |address, code, _| match code {
        names::GET_BROKER_CLUSTER_INFO => body(format!(
            r#"{{"brokerAddrTable":{{"a":{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"a","cluster":"c"}}}},"clusterAddrTable":{{"c":["a"]}}}}"#
        )),
        request::GET_CONSUME_STATS => body(
            r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"a","queueId":0,"topic":"t"}:{"brokerOffset":1,"consumerOffset":1,"lastTimestamp":0,"pullOffset":1}}}"#,
        ),
        request::GET_CONSUMER_CONNECTION_LIST => body(
            r#"{"connectionSet":[{"clientAddr":"h:1","clientId":"x","language":"JAVA","version":1}]}"#,
        ),
        request::GET_CONSUMER_RUNNING_INFO => {
            // Longer than the test may take: the client hangs.
            std::thread::sleep(Duration::from_secs(120));
            body("{}")
        }
        _ => panic!("{code} is asked"),
    });
    let begin = Instant::now();
    let Done { code, out, err } = run(&broker, &["lag", "-g", "g", "--timeout", "1", "--json"]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    assert!(out.contains(r#""owner":"?""#), "{out}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

/// A broker, with itself as the only name server, that says nonsense to one request.
fn broken_at(broken: i32) -> String {
    listen(move |address, code, _| match code {
        _ if code == broken => body("nonsense"),
        names::GET_BROKER_CLUSTER_INFO => body(format!(
            r#"{{"brokerAddrTable":{{"a":{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"a","cluster":"c"}}}},"clusterAddrTable":{{"c":["a"]}}}}"#
        )),
        request::GET_CONSUME_STATS => body(
            r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"a","queueId":0,"topic":"t"}:{"brokerOffset":2,"consumerOffset":1,"lastTimestamp":0,"pullOffset":1}}}"#,
        ),
        names::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => body(r#"{"topicList":["%RETRY%g"]}"#),
        names::GET_ROUTEINFO_BY_TOPIC => body(format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"a","cluster":"c"}}],"queueDatas":[]}}"#
        )),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
            body(r#"{"subscriptionGroupTable":{"g":{"groupName":"g"}}}"#)
        }
        request::VIEW_BROKER_STATS_DATA => {
            let none = r#"{"avgpt":0.0,"sum":0,"tps":0.0}"#;
            body(format!(r#"{{"statsDay":{none},"statsHour":{none},"statsMinute":{none}}}"#))
        }
        request::GET_BROKER_CONFIG => body("brokerName=a\n"),
        _ => body("{}"),
    })
}

#[test]
fn what_nobody_answered_is_unknown() {
    let clients = request::GET_CONSUMER_CONNECTION_LIST;
    let Done { code, out, err } = run(&broken_at(clients), &["lag", "-g", "g", "--json"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains(r#""owner":"?""#) && err.contains("request 203"), "{out}{err}");
    // Zeros in a file would be taken for figures.
    let folder = Folder::new();
    let to = folder.join("export");
    let export = ["exportMetrics", "-c", "c", "-f", to.to_str().unwrap()];
    for broken in [request::VIEW_BROKER_STATS_DATA, clients] {
        let Done { code, out, err } = run(&broken_at(broken), &export);
        assert_eq!(code, 1, "{out}");
        assert!(err.contains(&format!("request {broken}")) && !to.exists(), "{err}");
    }
    let whole = run(&broken_at(0), &export);
    assert!(whole.code == 0 && to.exists(), "{}", whole.err);
    let Done { out, .. } = run(&broken_at(request::GET_BROKER_CONSUME_STATS), &["doctor"]);
    assert!(out.contains("it cannot be told how far the groups are"), "{out}");
    assert!(!out.contains("0 of them, none more than"), "{out}");
    let watch = ["admin", "startMonitoring", "--json", "-n"];
    let mut watch = Command::new(binary())
        .args(watch)
        .arg(broken_at(request::GET_TOPIC_STATS_INFO))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let found = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let found: Vec<String> = found.take_while(|line| !line.contains("endRound")).collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(found[0].contains(r#""undoneMsgsDelayTimeMills":null"#), "{found:?}");
    assert!(found[0].contains(r#""undoneMsgsTotal":1"#), "{found:?}");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_asked_for_one_queue_alone() {
    let (_silent, gone) = silent();
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.connect().await;
    make_topic(&broker, "t", 1).await;
    put(&broker, "t", 0, "x").await;
    let names = Connection::connect(&server.address(server.ports.namesrv)).await.unwrap();
    let row = |name: &str| value!({"topicName": name, "perm": 6, "readQueueNums": 16, "writeQueueNums": 16});
    let table = value!({"t": row("t"), "other": row("other")});
    let wrapper = value!({"topicConfigTable": table, "dataVersion": {"counter": 1}});
    let body = value!({ "topicConfigSerializeWrapper": wrapper }).to_string();
    // Its name comes first.
    let fields = [("brokerName", "a-gone"), ("brokerAddr", &*gone), ("brokerId", "0")];
    let fields = [&fields[..], &[("clusterName", "DefaultCluster")]].concat();
    granted(&tell(&names, 103, &fields, body.as_bytes()).await);
    for command in ["printMsg", "consumeMessage"] {
        let address = server.address(server.ports.namesrv);
        let args = [command, "-t", "t", "--timeout", "1"];
        let Done { out, err, .. } = fails_soon(&address, &args, "1 of 2 failed: ");
        assert!(out.contains(" BODY: x\n"), "{command}: {out}");
        assert_eq!(err.matches("did not answer").count(), 1, "{command}: {err}");
        assert!(err.contains(&gone) && err.contains("queueId=0]") && err.len() < 500, "{err}");
    }
    server.stop();
}

#[tokio::test]
async fn what_goes_on_for_ever_ends_well_when_it_is_asked_to_end() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.connect().await;
    make_topic(&broker, "t", 1).await;
    put(&broker, "t", 0, "x").await;
    text(&server, &["updateSubGroup", "-b", &server.broker(), "-g", "g"]);
    commit(&broker, "g", "t", 0, 0).await;
    for args in [
        &["lag", "--watch", "60"][..],
        // What is found is no reason to end otherwise.
        &["lag", "--watch", "60", "--over", "0"],
        &["clusterList", "-i", "60"],
        &["startMonitoring"],
        &["clusterRT", "-a", "1", "-i", "60"],
    ] {
        for signal in [Signal::INT, Signal::TERM] {
            let mut child = command(&server, args).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            kill_process(Pid::from_child(&child), signal).unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(0), "{args:?}, {signal:?}: {status} after {line}");
        }
    }
    // A look that is not repeated has not seen everything.
    let (silent, gone) = silent();
    let mut child = command(&server, &["clusterList", "-n", &gone]).spawn().unwrap();
    let _asked = silent.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    assert_eq!(admin(&server, &["clusterList"]).code, 0);
    server.stop();
}
