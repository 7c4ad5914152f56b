//! What is logged: nothing for each message, and of what bad clients do only so many lines a
//! second, with the number of those that were left out. And a broker that has nothing to do sleeps.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{ask, look, message, pairs, put, read, refused, wait};
use common::raw::{Raw, frame};
use common::{Folder, Server};

#[tokio::test]
async fn nothing_is_logged_for_each_message() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--log-level", "debug"]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "the first one makes the topic").await;
    let before = server.log().lines().count();
    for i in 0..300 {
        connection.send(&message("t", 0), Bytes::from(i.to_string())).await.unwrap();
        connection.pull(&look("g", "t", 0, i)).await.unwrap();
        // Refusals of good requests are not news, either.
        refused(&ask(&connection, 30, &[("topic", "nil")]).await, 17, "nil");
    }
    assert_eq!(read(&connection, "t", 0).await.len(), 301);
    let log = server.log();
    let after = log.lines().count();
    assert!(after - before < 10, "{} lines for 300 messages\n{log}", after - before);
    server.stop();
}

#[tokio::test]
async fn repeated_bad_requests_are_logged_with_a_limit() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let begin = Instant::now();
    let mut raw = Raw::connect(server.ports.broker);
    let bad = [
        frame(9999, 1, &pairs(&[]), b""),
        frame(310, 1, &pairs(&[("b", "no other field")]), b"secret body"),
        frame(34, 1, &pairs(&[]), b"{\"clientID\":"),
    ];
    for i in 0..3000 {
        assert_ne!(raw.ask(&bad[i % bad.len()]).code, 0);
    }
    for _ in 0..300 {
        let mut raw = Raw::connect(server.ports.broker);
        raw.send(&[0xff; 16]);
        raw.is_closed();
    }
    let seconds = begin.elapsed().as_secs() as usize + 2;
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("WARN")).count();
    // Five a second and shard; there are at most as many shards as cores.
    let shards = std::thread::available_parallelism().unwrap().get();
    assert!(lines >= 3 && lines <= 5 * seconds * shards, "{lines} lines in {seconds} s\n{log}");
    assert!(!log.contains("secret body"), "{log}");
    // The next line says how many there were.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..2 * shards {
        let mut raw = Raw::connect(server.ports.broker);
        assert_eq!(raw.ask(&bad[0]).code, 3);
    }
    let log = server.log();
    let left_out = log.lines().filter_map(|line| line.split("left_out=").nth(1));
    let counts = left_out.filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    let all = lines + counts.sum::<usize>();
    assert!(all >= 3300 - 5 * seconds * shards, "{all} of 3300 are accounted for\n{log}");
    assert_eq!(server.metric("kerolox_refused_total"), 3000 + 2 * shards as i64);
    assert_eq!(server.metric("kerolox_bad_frames_total"), 300);
    server.stop();
}

#[tokio::test]
async fn a_refusal_line_says_who_asked_what_and_why() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut raw = Raw::connect(server.ports.broker);
    let peer = raw.0.local_addr().unwrap();
    raw.ask(&frame(310, 1, &pairs(&[]), b"x"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("request refused")).unwrap();
    for part in [&format!("peer={peer}"), "request=310", "code=1", "the custom field <a> is null"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    server.stop();
}

/// How often a thread of the server has gone to sleep by itself.
fn sleeps(server: &Server, thread: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()));
    let tasks = tasks.expect("the server runs");
    let of =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let status = of.into_iter().find(|status| status.contains(&format!("Name:\t{thread}\n")));
    let status = status.expect("the server has such a thread");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|line| line.trim().parse().ok()).expect("the kernel counts them")
}

#[tokio::test]
async fn an_idle_broker_sleeps_longer_than_one_with_something_that_waits() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "the first one makes the topic").await;
    const SPAN: Duration = Duration::from_secs(2);
    // The last seal is written a second behind the last message.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = sleeps(&server, "kerolox-log");
    tokio::time::sleep(SPAN).await;
    let idle = sleeps(&server, "kerolox-log") - before;
    // Ten a second; a machine that is slow makes them fewer.
    assert!(idle <= 50, "{idle} times in {SPAN:?}");
    // A pull that waits is answered in time all the same.
    let begin = Instant::now();
    assert_eq!(connection.pull(&wait("g", "t", 0, 1, 700)).await.unwrap().code, 19);
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
    server.stop();
}
