//! Name servers and brokers in processes of their own: who is told of whom, and when that ends.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::time::{Duration, Instant};

use common::call::{ask, granted, make_topic, put, refused, tell};
use common::{Folder, Launch, Server, http};
use kerolox_client::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A name server alone. `port`: 0 for any.
fn namesrv(folder: &Folder, port: u16) -> Server {
    let port = format!("--namesrv-port={port}");
    Launch::of("namesrv", folder).args(&[&port, "--http-port=0"]).data_dir(&folder.data()).start()
}

/// A broker alone.
fn broker(folder: &Folder, name: &str, namesrv: &str, args: &[&str]) -> Server {
    Launch::of("broker", folder)
        .args(&["--broker-port=0", "--grpc-port=0", "--proxy-port=0", "--http-port=0"])
        .args(&["--set", &format!("brokerName={name}"), "--set", &format!("namesrvAddr={namesrv}")])
        .args(args)
        .data_dir(&folder.data())
        .start()
}

async fn connect(server: &Server, port: u16) -> Connection {
    Connection::connect(&server.address(port)).await.unwrap()
}

/// The brokers of a topic, by name, with their permissions.
async fn brokers(names: &Connection, topic: &str) -> Vec<(String, i32)> {
    let Some(route) = names.route(topic).await.unwrap() else { return Vec::new() };
    route.queue_datas.into_iter().map(|queues| (queues.broker_name, queues.perm)).collect()
}

/// Waits until a topic is where it should be.
async fn until(names: &Connection, topic: &str, expected: &[(&str, i32)]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = brokers(names, topic).await;
        if found.iter().map(|(name, perm)| (&**name, *perm)).eq(expected.iter().copied()) {
            return;
        }
        assert!(Instant::now() < deadline, "{topic} is on {found:?}, not on {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn brokers_register_with_every_name_server_and_leave_when_they_stop() {
    let folders: Vec<Folder> = (0..4).map(|_| Folder::new()).collect();
    let (one, two) = (namesrv(&folders[0], 0), namesrv(&folders[1], 0));
    let both = format!("{};{}", one.address(one.ports.namesrv), two.address(two.ports.namesrv));
    let a = broker(&folders[2], "a", &both, &[]);
    let b = broker(&folders[3], "b", &both, &[]);
    let mut names = Vec::new();
    for server in [&one, &two] {
        names.push(connect(server, server.ports.namesrv).await);
    }
    let to_a = connect(&a, a.ports.broker).await;
    make_topic(&to_a, "t", 4).await;
    make_topic(&connect(&b, b.ports.broker).await, "t", 4).await;
    put(&to_a, "made-by-a-send", 0, "x").await;
    for names in &names {
        until(names, "t", &[("a", 6), ("b", 6)]).await;
        until(names, "made-by-a-send", &[("a", 6)]).await;
        let route = names.route("t").await.unwrap().unwrap();
        let of_a = route.broker_datas.iter().find(|b| b.broker_name == "a").unwrap();
        assert_eq!(of_a.broker_addrs[&0], a.broker());
        assert_eq!(of_a.cluster, "DefaultCluster");
    }
    granted(&tell(&to_a, 25, &[], b"brokerPermission=4").await);
    for names in &names {
        until(names, "t", &[("a", 4), ("b", 6)]).await;
    }
    assert_eq!(a.metric("kerolox_name_server_registered"), 2);
    // It says so at once, and a killed one is gone with its connection.
    a.stop();
    until(&names[0], "t", &[("b", 6)]).await;
    b.kill();
    until(&names[1], "t", &[]).await;
    one.stop();
    two.stop();
}

#[tokio::test]
async fn a_name_server_that_comes_back_is_told_again() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    let fields = [("namespace", "n"), ("key", "k"), ("value", "v")];
    granted(&ask(&connect(&names, port).await, 100, &fields).await);
    let address = format!("127.0.0.1:1;{}", names.address(port));
    let broker = broker(&folder, "a", &address, &["--set", "registerNameServerPeriod=1000"]);
    put(&connect(&broker, broker.ports.broker).await, "t", 0, "x").await;
    until(&connect(&names, port).await, "t", &[("a", 6)]).await;
    assert_eq!(broker.metric("kerolox_name_server_registered"), 1);
    assert!(broker.log().contains("the broker is not registered there"), "{}", broker.log());
    names.kill();
    let names = namesrv(&of_names, port);
    let connection = connect(&names, port).await;
    until(&connection, "t", &[("a", 6)]).await;
    let value = granted(&ask(&connection, 101, &fields[..2]).await);
    assert_eq!(value.get("value"), "v", "what it was told itself is in its log");
    broker.stop();
    names.stop();
}

#[tokio::test]
async fn a_lost_name_server_is_noticed_at_once_and_told_when_it_is_back() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    // The period is half a minute: nothing below may wait for it.
    let broker = broker(&folder, "a", &names.address(port), &[]);
    put(&connect(&broker, broker.ports.broker).await, "t", 0, "x").await;
    until(&connect(&names, port).await, "t", &[("a", 6)]).await;
    assert_eq!(broker.metric("kerolox_name_server_registered"), 1);
    names.kill();
    let begin = Instant::now();
    broker.wait_for_log("the connection to the name server ended").await;
    assert_eq!(broker.metric("kerolox_name_server_registered"), 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let names = namesrv(&of_names, port);
    until(&connect(&names, port).await, "t", &[("a", 6)]).await;
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("name_server"));
    assert!(lines.count() <= 4, "a line for each attempt?\n{log}");
    broker.stop();
    names.stop();
}

#[tokio::test]
async fn two_brokers_of_one_name_are_told_of_once() {
    let folders: Vec<Folder> = (0..4).map(|_| Folder::new()).collect();
    let names = namesrv(&folders[0], 0);
    let address = names.address(names.ports.namesrv);
    let a = broker(&folders[1], "a", &address, &["--set", "registerNameServerPeriod=1000"]);
    a.wait_for_log("the broker is registered").await;
    let b = broker(&folders[2], "a", &address, &["--set", "registerNameServerPeriod=1000"]);
    let said = "two brokers with the same name and id";
    names.wait_for_log(said).await;
    // Each has registered again.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let log = names.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(said)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains(&a.broker()) && lines[0].contains(&b.broker()), "{log}");
    // Whoever did not name it is warned at the start.
    let by_default = "give each a brokerName of its own";
    assert!(!a.log().contains(by_default), "{}", a.log());
    let unnamed = Launch::of("broker", &folders[3])
        .args(&["--broker-port=0", "--grpc-port=0", "--proxy-port=0", "--http-port=0"])
        .args(&["--set", &format!("namesrvAddr={address}")])
        .data_dir(&folders[3].data())
        .start();
    let log = unnamed.log();
    assert!(log.contains(by_default) && log.contains("broker-a"), "{log}");
    // The name server knows what it was told, whatever address a client reached it at.
    let dial = "clients are told to dial 127.0.0.1, where this broker listens";
    assert!(log.contains(dial), "{log}");
    for server in [unnamed, a, b, names] {
        server.stop();
    }
}

#[tokio::test]
async fn a_server_tells_others_beside_its_own_name_server() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    // Apache's broker.conf names the name server of the same machine: here that is the one in the process.
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Launch::on_given_ports(&folder)
        .args(&[&format!("--namesrv-port={own}"), "--broker-port=0", "--grpc-port=0"])
        .args(&["--proxy-port=0", "--http-port=0"])
        .args(&["--set", &format!("namesrvAddr=127.0.0.1:{own};127.0.0.1:{port}")])
        .data_dir(&folder.data())
        .start();
    put(&connect(&server, server.ports.broker).await, "t", 0, "x").await;
    until(&connect(&names, port).await, "t", &[("broker-a", 6)]).await;
    until(&connect(&server, own).await, "t", &[("broker-a", 6)]).await;
    server.wait_for_log("this is the name server in this process").await;
    assert_eq!(server.metric("kerolox_name_server_registered"), 1);
    server.stop();
    names.stop();
}

#[tokio::test]
async fn what_a_name_server_lost_it_is_told_again() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    let broker =
        broker(&folder, "a", &names.address(port), &["--set", "registerNameServerPeriod=1000"]);
    make_topic(&connect(&broker, broker.ports.broker).await, "t", 1).await;
    let to_names = connect(&names, port).await;
    until(&to_names, "t", &[("a", 6)]).await;
    granted(&ask(&to_names, 216, &[("topic", "t")]).await);
    until(&to_names, "t", &[("a", 6)]).await;
    broker.stop();
    names.stop();
}

#[tokio::test]
async fn a_broker_says_where_it_listens_and_knows_its_own_name_server() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    // Its own name server listens on the same port of another address.
    let server = Launch::on_given_ports(&folder)
        .args(&["--listen", "127.0.0.2", &format!("--namesrv-port={port}"), "--broker-port=0"])
        .args(&["--grpc-port=0", "--proxy-port=0", "--http-port=0"])
        .args(&["--set", &format!("namesrvAddr=127.0.0.1:{port};127.0.0.2:{port}")])
        .data_dir(&folder.data())
        .start();
    let to_names = connect(&names, port).await;
    until(&to_names, "TBW102", &[("broker-a", 7)]).await;
    let route = to_names.route("TBW102").await.unwrap().unwrap();
    let expected = format!("127.0.0.2:{}", server.ports.broker);
    assert_eq!(route.broker_datas[0].broker_addrs[&0], expected);
    server.wait_for_log("this is the name server in this process").await;
    server.stop();
    names.stop();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_name_server_that_hangs() {
    let folder = Folder::new();
    // It accepts, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let broker = broker(&folder, "a", &address, &[]);
    let metrics = http::get(broker.ports.http, "/metrics").body;
    let mut rows = metrics.lines().filter(|line| line.contains(&address));
    assert!(rows.next().is_some_and(|row| row.ends_with(" 0")), "{metrics}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ended = broker.stop();
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
}

#[tokio::test]
async fn a_name_server_that_answers_nonsense_keeps_no_other_from_being_told() {
    // No frame, one longer than any, one that ends early, one whose header is no JSON.
    let nonsense: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\x08\0\0",
        b"\0\0\0\x08\0\0\0\x04nope",
    ];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, mut calls) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in nonsense.iter().cycle() {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut start = [0; 4];
            if stream.read_exact(&mut start).await.is_ok() {
                let _ = stream.write_all(answer).await;
                let _ = heard.send(());
            }
        }
    });
    let folders: Vec<Folder> = (0..2).map(|_| Folder::new()).collect();
    let names = namesrv(&folders[0], 0);
    let both = format!("{address};{}", names.address(names.ports.namesrv));
    let a = broker(&folders[1], "a", &both, &[]);
    let names = connect(&names, names.ports.namesrv).await;
    let to_a = connect(&a, a.ports.broker).await;
    for (i, _) in nonsense.iter().enumerate() {
        let next = tokio::time::timeout(Duration::from_secs(60), calls.recv()).await;
        assert_eq!(next, Ok(Some(())), "the broker gave up after {i} answers");
        let topic = format!("t{i}");
        make_topic(&to_a, &topic, 1).await;
        until(&names, &topic, &[("a", 6)]).await;
    }
}

#[tokio::test]
async fn a_change_for_the_other_role_is_refused_or_left_alone() {
    let folder = Folder::new();
    let names = namesrv(&folder, 0);
    let to_names = connect(&names, names.ports.namesrv).await;
    let change = tell(&to_names, 318, &[], b"maxMessageSize=7").await;
    refused(&change, 29, "which has another role");
    granted(&tell(&to_names, 318, &[], b"enableTopicList=false").await);
    names.stop();
    broker(&folder, "a", "127.0.0.1:1", &[]).stop();
    let names = namesrv(&folder, 0);
    let reply = ask(&connect(&names, names.ports.namesrv).await, 319, &[]).await;
    assert!(String::from_utf8_lossy(&reply.body).contains("enableTopicList=false"));
    names.stop();
}

#[tokio::test]
async fn a_role_refuses_what_is_for_the_other() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    let broker = broker(&folder, "a", &names.address(port), &[]);
    let (to_names, to_broker) =
        (connect(&names, port).await, connect(&broker, broker.ports.broker).await);
    refused(&ask(&to_names, 26, &[]).await, 3, "no broker runs in this process");
    refused(&ask(&to_names, 28, &[]).await, 3, "no broker runs in this process");
    refused(
        &ask(&to_broker, 105, &[("topic", "t")]).await,
        3,
        "no name server runs in this process",
    );
    refused(&ask(&to_broker, 319, &[]).await, 3, "no name server runs in this process");
    granted(&ask(&to_names, 319, &[]).await);
    granted(&ask(&to_broker, 26, &[]).await);
    assert_eq!((names.ports.broker, names.ports.vip, broker.ports.namesrv), (0, 0, 0));
    broker.stop();
    names.stop();
}

#[tokio::test]
async fn many_topics_are_told_in_parts() {
    let (folder, of_names) = (Folder::new(), Folder::new());
    let names = namesrv(&of_names, 0);
    let port = names.ports.namesrv;
    let broker = broker(&folder, "a", &names.address(port), &[]);
    let connection = connect(&broker, broker.ports.broker).await;
    let count = 12_000;
    for first in (0..count).step_by(500) {
        let topics: Vec<_> = (first..first + 500)
            .map(|n| serde_json::json!({"topicName": format!("t{n}"), "readQueueNums": 1, "writeQueueNums": 1, "perm": 6}))
            .collect();
        let body = serde_json::json!({ "topicConfigList": topics }).to_string();
        granted(&tell(&connection, 18, &[], body.as_bytes()).await);
    }
    let to_names = connect(&names, port).await;
    for n in [0, 4_999, 5_000, count - 1] {
        until(&to_names, &format!("t{n}"), &[("a", 6)]).await;
    }
    let changed = serde_json::json!({"topicConfigList": [{"topicName": "t0", "readQueueNums": 1, "writeQueueNums": 1, "perm": 4}]});
    granted(&tell(&connection, 18, &[], changed.to_string().as_bytes()).await);
    until(&to_names, "t0", &[("a", 4)]).await;
    broker.stop();
    names.stop();
}

#[test]
fn a_namesrv_conf_is_taken_as_it_is() {
    let folder = Folder::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf =
        format!("listenPort={port}\norderMessageEnable=true\nkvConfigPath=/x\nbrokerName=b\n");
    std::fs::write(folder.join("namesrv.conf"), conf).unwrap();
    let launch = Launch::of("namesrv", &folder).args(&["-c", "namesrv.conf", "--http-port=0"]);
    let server = launch.data_dir(&folder.data()).start();
    assert_eq!(server.ports.namesrv, port);
    let log = server.log();
    for text in [
        "namesrv.conf: kvConfigPath has no effect: ",
        "namesrv.conf: brokerName has no effect: no broker runs in this process",
        "is ready: a name server",
    ] {
        assert!(log.contains(text), "{text}\n{log}");
    }
    server.stop();
    let ended = Launch::of("namesrv", &folder)
        .args(&["--broker-port=0"])
        .spawn()
        .ended(Duration::from_secs(10));
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
}
