//! Faults of the machine, done to the real process: writes that fail, too many open files, a process
//! that is stopped and goes on, a producer that sends byte by byte.
//!
//! Writes fail by the limit on the size of files, which can be lowered while the server runs.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{ask, granted, look, make_topic, message, pairs, put, read, refused, texts};
use common::raw::{Raw, frame};
use common::{Folder, Launch, SMALL, Server, http, trial};
use kerolox_client::Connection;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

/// Sets a limit of a running server; `None`: as it was.
fn limit(server: &Server, resource: Resource, most: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let before = prlimit(pid, resource, Rlimit { current: most, maximum: None });
    // Without the right to raise it again the maximum stays.
    if before.is_err() {
        let maximum = rustix::process::getrlimit(resource).maximum;
        prlimit(pid, resource, Rlimit { current: most.or(maximum), maximum }).unwrap();
    }
}

/// A server whose writes beyond a limit fail instead of ending it; with messages beyond 64 KiB.
async fn server_with(folder: &Folder, args: &[&str]) -> (Server, Connection, Vec<String>) {
    let server = Launch::after(folder, "trap '' XFSZ").args(&SMALL).args(args).start();
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let mut stored = Vec::new();
    for i in 0..10 {
        stored.push(format!("{i} {}", "x".repeat(20_000)));
        put(&connection, "t", 0, &stored[i]).await;
    }
    // Who reads needs a group, which cannot be made any more once the log has failed.
    assert_eq!(read(&connection, "t", 0).await, stored);
    (server, connection, stored)
}

const FAILED: &str = "service not available now. Writing";

#[tokio::test]
async fn after_a_failed_write_nothing_is_acknowledged_until_a_restart() {
    let folder = Folder::new();
    let (server, connection, stored) = server_with(&folder, &[]).await;
    limit(&server, Resource::Fsize, Some(64 << 10));
    let reply = connection.call(310, &message("t", 0), Bytes::from("lost")).await.unwrap();
    refused(&reply, 14, FAILED);
    assert!(reply.remark.unwrap().contains("File too large"));
    // The disk works again; nobody knows what it took.
    limit(&server, Resource::Fsize, None);
    for _ in 0..3 {
        let reply = connection.call(310, &message("t", 0), Bytes::from("late")).await.unwrap();
        refused(&reply, 14, FAILED);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let page = http::get(server.ports.http, "/readyz");
    assert_eq!(page.status, 503);
    assert!(page.body.starts_with("failed: Writing"), "{page:?}");
    assert_eq!(http::get(server.ports.http, "/livez").status, 200);
    // Reads go on.
    assert_eq!(read(&connection, "t", 0).await, stored);
    server.signal(Signal::TERM);
    server.ended(Duration::from_secs(20)).check(7, "writing the commit log had failed");

    let server = Server::start(&folder, &SMALL);
    let found = read(&server.connect().await, "t", 0).await;
    assert_eq!(found[..stored.len()], stored);
    assert!(!found.contains(&"late".to_owned()), "{}", found.len());
    server.stop();
}

#[tokio::test]
async fn a_strict_process_ends_with_7_as_soon_as_the_log_fails() {
    let folder = Folder::new();
    let strict = ["--set", "kerolox.strict=true"];
    let (server, connection, stored) = server_with(&folder, &strict).await;
    limit(&server, Resource::Fsize, Some(64 << 10));
    let reply = connection.call(310, &message("t", 0), Bytes::from("lost")).await.unwrap();
    refused(&reply, 14, FAILED);
    let ended = server.ended(Duration::from_secs(20));
    ended.check(7, "writing the commit log had failed");
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    let server = Server::start(&folder, &strict);
    assert_eq!(read(&server.connect().await, "t", 0).await[..stored.len()], stored);
    server.stop();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_until_a_restart() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let (server, connection, stored) = server_with(&folder, &[]).await;
    trial::fail_syncs(&connection).await;
    for text in ["not known", "late"] {
        let reply = connection.call(310, &message("t", 0), Bytes::from(text)).await.unwrap();
        refused(&reply, 14, "Input/output error");
    }
    let page = http::get(server.ports.http, "/readyz");
    assert_eq!(page.status, 503);
    assert!(page.body.starts_with("failed: "), "{page:?}");
    // Consumers see nothing of it.
    assert_eq!(read(&connection, "t", 0).await, stored);
    server.signal(Signal::TERM);
    server.ended(Duration::from_secs(20)).check(7, "writing the commit log had failed");

    let server = Server::start(&folder, &SMALL);
    let found = read(&server.connect().await, "t", 0).await;
    assert_eq!(found[..stored.len()], stored);
    assert!(!found.contains(&"late".to_owned()), "{}", found.len());
    server.stop();
}

/// Connections took every descriptor, and the log failed for good at its next file.
#[tokio::test]
async fn connections_leave_descriptors_to_the_log() {
    let folder = Folder::new();
    let server = Launch::after(&folder, "ulimit -n 200").args(&SMALL).start();
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let crowd: Vec<_> = (0..250)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", server.ports.broker)).ok())
        .collect();
    server.wait_for_log("too many connections: one is closed").await;
    let mut stored = Vec::new();
    for i in 0..60 {
        stored.push(format!("{i} {}", "x".repeat(40_000)));
        put(&connection, "t", 0, &stored[i]).await;
    }
    assert_eq!(read(&connection, "t", 0).await, stored);
    drop(crowd);
    // Until those are gone one that asks for a page is closed, too.
    let ask = "GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let begin = Instant::now();
    while http::try_ask(server.ports.http, ask).is_none() {
        assert!(begin.elapsed() < Duration::from_secs(10), "no page is served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.wait_for_metric("kerolox_connections", |open| open < 50).await;
    put(&server.connect().await, "t", 0, "goes on").await;
    assert!(!server.log().contains("failed"), "{}", server.log());
    server.stop();
}

#[tokio::test]
async fn without_descriptors_the_log_waits_and_goes_on_when_there_are_some() {
    let folder = Folder::new();
    let server = Launch::new(&folder).args(&SMALL).start();
    let connection = server.connect().await;
    let reader = server.connect().await;
    make_topic(&connection, "t", 1).await;
    put(&connection, "t", 0, "first").await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    limit(&server, Resource::Nofile, Some(open as u64));
    let sender = tokio::spawn(async move {
        let mut stored = vec!["first".to_owned()];
        for i in 0..60 {
            stored.push(format!("{i} {}", "x".repeat(40_000)));
            put(&connection, "t", 0, stored.last().unwrap()).await;
        }
        stored
    });
    server.wait_for_log("what was not acknowledged yet waits until it can").await;
    // Connections that are there are served; from memory, as an index block cannot be opened now.
    let reply = ask(&reader, 30, &[("topic", "t"), ("queueId", "0")]).await;
    let max: i64 = granted(&reply).get("offset").parse().unwrap();
    assert!(max > 1);
    let last = reader.pull(&look("g", "t", 0, max - 1)).await.unwrap();
    assert_eq!(texts(&last).len(), 1);
    assert!(!sender.is_finished());
    limit(&server, Resource::Nofile, Some(10_000));
    let stored = sender.await.unwrap();
    assert_eq!(http::get(server.ports.http, "/readyz").status, 200);
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    assert!(!server.log().contains("failed"), "{}", server.log());
    server.kill();
    let server = Server::start(&folder, &SMALL);
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    server.stop();
}

/// How often a process is stopped; more with `ROUNDS` in the environment.
fn rounds() -> u64 {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

#[tokio::test]
async fn a_process_that_is_stopped_under_load_goes_on() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 4).await;
    let going_on = Arc::new(AtomicBool::new(true));
    let mut senders = Vec::new();
    for queue in 0..4 {
        let (connection, going_on) = (server.connect().await, going_on.clone());
        senders.push(tokio::spawn(async move {
            let mut stored = Vec::new();
            while going_on.load(Ordering::Relaxed) {
                let text = format!("{queue} {}", stored.len());
                put(&connection, "t", queue, &text).await;
                stored.push(text);
            }
            stored
        }));
    }
    for round in 0..rounds() {
        tokio::time::sleep(Duration::from_millis(150)).await;
        server.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(700 + 130 * (round % 7))).await;
        let before = Instant::now();
        server.signal(Signal::CONT);
        put(&connection, "t", 0, &format!("after stop {round}")).await;
        assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    }
    going_on.store(false, Ordering::Relaxed);
    let mut all = Vec::new();
    for sender in senders {
        all.push(sender.await.unwrap());
    }
    server.kill();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    for (queue, stored) in all.iter().enumerate() {
        let mut found = read(&connection, "t", queue as i32).await;
        found.retain(|text| !text.starts_with("after stop"));
        assert!(stored.len() > 10 && found == *stored, "{queue}: {} {}", stored.len(), found.len());
    }
    server.stop();
}

#[tokio::test]
async fn a_producer_that_sends_byte_by_byte_is_served_and_holds_nobody_up() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let header = pairs(&[("a", "p"), ("b", "t"), ("c", "TBW102"), ("d", "4"), ("e", "0")])
        .with("f", "0")
        .with("g", "1700000000000")
        .with("h", "0")
        .with("i", "")
        .with("j", "0");
    let bytes = frame(310, 7, &header, b"slow");
    let port = server.ports.broker;
    let slow = std::thread::spawn(move || {
        let mut raw = Raw::connect(port);
        for byte in &bytes {
            raw.send(std::slice::from_ref(byte));
            std::thread::sleep(Duration::from_millis(15));
        }
        raw.answer()
    });
    let mut sent = 0;
    let mut slowest = Duration::ZERO;
    while !slow.is_finished() {
        let before = Instant::now();
        put(&connection, "t", 0, "quick").await;
        slowest = slowest.max(before.elapsed());
        sent += 1;
    }
    assert_eq!(slow.join().unwrap().code, 0);
    println!("{sent} others meanwhile, the slowest took {slowest:?}");
    assert!(sent > 20 && slowest < Duration::from_secs(2), "{sent} {slowest:?}");
    let found = read(&connection, "t", 0).await;
    assert_eq!(found.iter().filter(|text| *text == "slow").count(), 1);
    server.stop();
}
