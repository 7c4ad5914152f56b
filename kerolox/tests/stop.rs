//! SIGTERM and SIGHUP: pulls that wait are answered, the process ends with 0 within seconds, and everything
//! that was acknowledged is there after the next start, as it is after kill -9.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{
    ask, body, commit, committed, granted, join, look, make_topic, message, put, put_with, read,
    tell, wait,
};
use common::raw::{Raw, frame};
use common::{Folder, Launch, Server, http};
use kerolox_client::Connection;
use kerolox_protocol::remoting::codes::request;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// What a stop may take: it has a second for replies to leave.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn pulls_that_wait_are_answered_when_the_server_stops() {
    const CONNECTIONS: usize = 4;
    const PULLS: i32 = 100;
    for round in 0..5 {
        let folder = Folder::new();
        let server = Server::start(&folder, &[]);
        make_topic(&server.connect().await, "t", PULLS).await;
        let mut waiting = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut raw = Raw::connect(server.ports.broker);
            for queue in 0..PULLS {
                raw.send(&frame(11, queue, &wait("g", "t", queue, 0, 60_000), b""));
            }
            waiting.push(raw);
        }
        let all = CONNECTIONS as i64 * i64::from(PULLS);
        server.wait_for_metric("kerolox_parked_pulls", |count| count == all).await;
        let ended = server.stop();
        assert!(ended.took < SOON, "{:?}", ended.took);
        for mut raw in waiting {
            let mut answered: Vec<i32> = Vec::new();
            for i in 0..PULLS {
                let answer = raw.answer();
                assert_eq!(answer.code, 19, "round {round}, answer {i}: {}", answer.remark);
                answered.push(answer.opaque);
            }
            answered.sort_unstable();
            assert_eq!(answered, (0..PULLS).collect::<Vec<_>>());
            raw.is_closed();
        }
    }
}

#[tokio::test]
async fn sigint_stops_as_sigterm_does_and_the_log_says_so() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let folder = Folder::new();
        let server = Server::start(&folder, &[]);
        server.signal(signal);
        let ended = server.ended(SOON);
        assert_eq!(ended.status.code(), Some(0));
        assert!(ended.stderr.contains(&format!("{name}: stopping")), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.ends_with("stopped, everything acknowledged is on the disk"), "{last}");
    }
}

/// Whatever clients are up to, it ends within seconds.
#[tokio::test]
async fn clients_of_every_kind_do_not_hold_up_a_stop() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, &"x".repeat(200_000)).await;
    let port = server.ports.broker;
    let silent: Vec<Raw> = (0..20).map(|_| Raw::connect(port)).collect();
    let mut half = Raw::connect(port);
    half.send(&frame(310, 1, &message("t", 0), b"half")[..50]);
    let mut two_bytes = Raw::connect(port);
    two_bytes.send(b"\0\0");
    let mut http = Raw::connect(port);
    http.send(b"GET /livez HTTP/1.1\r\n");
    let mut deaf = Raw::connect(port);
    for i in 0..200 {
        deaf.send(&frame(11, i, &look("g", "t", 0, 0), b""));
    }
    // A client that goes on sending.
    let going_on = Arc::new(AtomicBool::new(true));
    let sending = std::thread::spawn({
        let going_on = going_on.clone();
        move || {
            let mut raw = Raw::connect(port);
            let bytes = frame(310, 1, &message("t", 1), &[b'x'; 1000]);
            while going_on.load(Ordering::Relaxed)
                && std::io::Write::write_all(&mut raw.0, &bytes).is_ok()
            {}
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = server.stop();
    assert!(ended.took < SOON, "{:?}", ended.took);
    going_on.store(false, Ordering::Relaxed);
    drop((silent, half, two_bytes, http, deaf));
    sending.join().unwrap();
}

/// Sends until the connection ends, and tells what was acknowledged.
async fn send_on(connection: Connection, queue: i32) -> Vec<(i64, String)> {
    let mut acknowledged = Vec::new();
    for i in 0.. {
        let text = format!("{queue}: {i}");
        match connection.send(&message("t", queue), text.clone().into()).await {
            Ok(sent) => acknowledged.push((sent.queue_offset, text)),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test]
async fn everything_acknowledged_under_load_is_there_after_a_stop_and_after_a_kill() {
    let folder = Folder::new();
    let mut expected: Vec<Vec<(i64, String)>> = vec![Vec::new(); 4];
    for kill in [false, true, false] {
        let server = Server::start(&folder, &[]);
        let mut senders = Vec::new();
        for queue in 0..4 {
            senders.push(tokio::spawn(send_on(server.connect().await, queue)));
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        // Waited for elsewhere: the senders are to go on meanwhile.
        tokio::task::spawn_blocking(move || if kill { server.kill() } else { drop(server.stop()) })
            .await
            .unwrap();
        for (queue, sender) in senders.into_iter().enumerate() {
            let acknowledged = sender.await.unwrap();
            assert!(acknowledged.len() > 3, "{} in queue {queue}", acknowledged.len());
            expected[queue].extend(acknowledged);
        }
    }
    let server = Server::start(&folder, &[]);
    assert!(!server.log().contains("lost to damage"), "{}", server.log());
    let connection = server.connect().await;
    for (queue, expected) in expected.iter().enumerate() {
        let found = read(&connection, "t", queue as i32).await;
        for (offset, text) in expected {
            assert_eq!(found.get(*offset as usize), Some(text), "queue {queue}, offset {offset}");
        }
    }
    server.stop();
}

/// Everything that a broker knows.
async fn all_that_is_known(connection: &Connection) -> Vec<String> {
    let mut known = Vec::new();
    for (topic, queue) in [("t", 0), ("t", 1), ("made", 0), ("%RETRY%g", 0)] {
        known.push(format!("{:?}", read(connection, topic, queue).await));
    }
    for code in [request::GET_ALL_TOPIC_CONFIG, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG] {
        let mut table = body(&ask(connection, code, &[]).await);
        table["dataVersion"].take();
        known.push(table.to_string());
    }
    known.push(body(&ask(connection, request::GET_ALL_CONSUMER_OFFSET, &[]).await).to_string());
    let query = [
        ("topic", "t"),
        ("key", "k"),
        ("maxNum", "32"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
    ];
    let found = ask(connection, request::QUERY_MESSAGE, &query).await;
    known.push(format!("{} {}", found.code, crc32fast::hash(&found.body)));
    let kv = ask(connection, 219, &[("namespace", "N")]).await;
    known.push(body(&kv).to_string());
    known.push(connection.route("made").await.unwrap().unwrap().queue_datas.len().to_string());
    known
}

#[tokio::test]
async fn topics_groups_offsets_keys_and_settings_survive_a_stop_and_a_kill() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "made", 5).await;
    make_topic(&connection, "deleted", 5).await;
    put(&connection, "deleted", 0, "gone").await;
    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "deleted")]).await);
    for i in 0..10 {
        put_with(&connection, "t", i % 2, &format!("m{i}"), &[("KEYS", "k"), ("TAGS", "a")]).await;
    }
    put(&connection, "made", 0, "x").await;
    join(&connection, "g", "c", "t").await;
    put(&connection, "%RETRY%g", 0, "again").await;
    let config = br#"{"groupName":"own","retryMaxTimes":2}"#;
    granted(&tell(&connection, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], config).await);
    commit(&connection, "g", "t", 0, 3).await;
    commit(&connection, "own", "t", 1, 5).await;
    commit(&connection, "own", "t", 1, 2).await;
    granted(&ask(&connection, 100, &[("namespace", "N"), ("key", "k"), ("value", "v")]).await);
    let mut known = all_that_is_known(&connection).await;
    let mut server = server;
    for round in 0..4 {
        if round % 2 == 0 {
            server.stop();
        } else {
            // Offsets are written once a second.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            server.kill();
        }
        server = Server::start(&folder, &[]);
        let connection = server.connect().await;
        assert_eq!(all_that_is_known(&connection).await, known, "round {round}");
        // And it goes on where it was.
        let sent = put(&connection, "t", 0, &format!("round {round}")).await;
        assert_eq!(sent.queue_offset, 5 + round);
        commit(&connection, "g", "t", 0, 5 + round).await;
        known = all_that_is_known(&connection).await;
    }
    server.stop();
}

#[tokio::test]
async fn a_delayed_message_is_delivered_once_whatever_happens_meanwhile() {
    let folder = Folder::new();
    let args = ["--set", "messageDelayLevel=1s 3s"];
    let mut server = Server::start(&folder, &args);
    let connection = server.connect().await;
    for i in 0..20 {
        let level = if i % 2 == 0 { "1" } else { "2" };
        put_with(&connection, "t", 0, &i.to_string(), &[("DELAY", level)]).await;
    }
    let begin = Instant::now();
    let mut kill = false;
    while begin.elapsed() < Duration::from_millis(3500) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill = !kill;
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        server = Server::start(&folder, &args);
    }
    let connection = server.connect().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut found = Vec::new();
    while found.len() < 20 {
        assert!(Instant::now() < deadline, "{found:?}");
        found = read(&connection, "t", 0).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut found: Vec<i32> =
        read(&connection, "t", 0).await.iter().map(|text| text.parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..20).collect::<Vec<_>>());
    server.stop();
}

#[tokio::test]
async fn committed_offsets_are_written_at_a_stop() {
    let folder = Folder::new();
    for offset in 1..4 {
        let server = Server::start(&folder, &[]);
        let connection = server.connect().await;
        put(&connection, "t", 0, "x").await;
        join(&connection, "g", "c", "t").await;
        commit(&connection, "g", "t", 0, offset).await;
        server.stop();
        let server = Server::start(&folder, &[]);
        let reply = committed(&server.connect().await, "g", "t", 0).await;
        assert_eq!(granted(&reply).get("offset"), offset.to_string());
        server.stop();
    }
}

/// No request and no answer writes anything while nothing changes, and a start that changes
/// nothing finds what the stop left.
#[tokio::test]
async fn an_idle_server_writes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    // After a second a last seal is written.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let end = server.metric("kerolox_log_end");
    for _ in 0..10 {
        read(&connection, "t", 0).await;
        join(&connection, "TOOLS_CONSUMER", "c", "t").await;
        commit(&connection, "TOOLS_CONSUMER", "t", 0, 0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown = server.metric("kerolox_log_end") - end;
    // The first commit and the retry topic; unchanged ones write nothing.
    assert!(grown < 2000, "{grown} bytes");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let end = server.metric("kerolox_log_end");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(server.metric("kerolox_log_end"), end);
    server.stop();
}

#[tokio::test]
async fn readiness_and_health_are_told_apart_while_the_log_is_read() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let large = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..100 {
        connection.send(&message("t", 0), large.clone()).await.unwrap();
    }
    server.kill();
    // A port that is known, so that it can be asked before it is ready; below those that the kernel
    // gives to clients: one that asks too early could be connected to itself, and hold the port.
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (21_000..32_000).find(is_free).unwrap();
    let launch = Launch::on_given_ports(&folder)
        .args(&["--namesrv-port=0", "--broker-port=0", "--grpc-port=0", "--proxy-port=0"])
        .args(&["--http-port", &port.to_string()])
        .data_dir(&folder.data());
    let mut server = launch.spawn();
    let mut starting = 0;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut kept = None;
    loop {
        assert!(server.runs() && Instant::now() < deadline, "{}", server.log());
        let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { continue };
        kept.get_or_insert(stream);
        let (ready, live) = (http::get(port, "/readyz"), http::get(port, "/livez"));
        assert_eq!(live.status, 200);
        if ready.status == 200 {
            break;
        }
        starting += 1;
        assert_eq!(ready.status, 503);
        assert!(ready.body.starts_with("recovering the commit log: "), "{}", ready.body);
    }
    println!("asked {starting} times before it was ready");
    // Who has asked from the beginning hears of it, too.
    let mut kept = Raw(kept.expect("it was connected"));
    kept.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut kept.0, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// SIGHUP killed the server: what was acknowledged was safe, but its clients got no answer.
#[tokio::test]
async fn a_closed_terminal_is_a_clean_stop_unless_it_is_to_be_outlived() {
    // Whoever runs the tests may have them outlive a terminal: what is caught here, the server does not inherit.
    let _caught = signal(SignalKind::hangup()).expect("it can be caught");
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    put(&server.connect().await, "t", 0, "before").await;
    server.signal(Signal::HUP);
    let ended = server.ended(SOON);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    for said in ["SIGHUP: stopping", "stopped, everything acknowledged is on the disk"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    // As nohup starts it.
    let mut server = Launch::after(&folder, "trap '' HUP").start();
    server.signal(Signal::HUP);
    let connection = server.connect().await;
    put(&connection, "t", 0, "after").await;
    assert_eq!(read(&connection, "t", 0).await, ["before", "after"]);
    assert!(server.runs());
    server.stop();
}
