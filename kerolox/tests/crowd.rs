//! Many clients, and clients that do not read: ten thousand connections from processes of their
//! own, a client that stops reading, one that asks for more than it takes. Everybody else is served
//! meanwhile, and memory stays bounded.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{granted, look, message, pairs, put, read, wait};
use common::raw::{Raw, frame};
use common::{Folder, Launch, Server};

/// Connections of the crowd, and processes that hold them: each stays below the usual limit of
/// 1,024 descriptors.
const CROWD: usize = 10_000;
const PROCESSES: usize = 16;

/// In the environment of this binary: it is to hold connections (port and how many) for
/// [`ten_thousand_connections_are_served`].
const HOLD: &str = "CROWD_HOLD";

/// The part of the crowd that lives in a process of its own. Elsewhere there is nothing to do.
#[test]
fn a_process_of_the_crowd() {
    let Ok(what) = std::env::var(HOLD) else { return };
    let (port, count) = what.split_once(' ').unwrap();
    let (port, count): (u16, usize) = (port.parse().unwrap(), count.parse().unwrap());
    let question = frame(30, 1, &pairs(&[("topic", "TBW102"), ("queueId", "0")]), b"");
    let mut held: Vec<Raw> = (0..count)
        .map(|_| {
            let mut raw = Raw::connect(port);
            assert_eq!(raw.ask(&question).code, 0);
            raw
        })
        .collect();
    println!("\nheld");
    // Until the test closes the other end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    for raw in &mut held {
        assert_eq!(raw.ask(&question).code, 0);
    }
    println!("\nall were served to the end");
}

struct Crowd(Vec<Child>);

impl Crowd {
    fn gather(port: u16, count: usize) -> Crowd {
        let members = (0..PROCESSES).map(|i| {
            let share = count / PROCESSES + usize::from(i < count % PROCESSES);
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_process_of_the_crowd", "--nocapture"])
                .env(HOLD, format!("{port} {share}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let mut crowd = Crowd(members.collect());
        for member in &mut crowd.0 {
            let said = BufReader::new(member.stdout.as_mut().unwrap()).lines();
            let held = said.map_while(Result::ok).any(|line| line == "held");
            assert!(held, "a process of the crowd could not connect");
        }
        crowd
    }

    /// Each connection asks once more, then all go.
    fn disperse(mut self) {
        for member in &mut self.0 {
            drop(member.stdin.take());
        }
        for member in &mut self.0 {
            assert!(member.wait().unwrap().success(), "a connection of the crowd was not served");
        }
        self.0.clear();
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for member in &mut self.0 {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

#[tokio::test]
async fn ten_thousand_connections_are_served() {
    let folder = Folder::new();
    // Started with the usual soft limit, which it raises by itself.
    let server = Launch::after(&folder, "ulimit -Sn 1024").start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: usize = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft > 1024, "{line}");
    let count = CROWD.min(soft.saturating_sub(300));
    println!("{count} connections; {line}");
    let connection = server.connect().await;
    put(&connection, "t", 0, "before").await;
    let memory = server.memory();

    let crowd = Crowd::gather(server.ports.broker, count);
    assert!(server.metric("kerolox_connections") >= count as i64);
    let begin = Instant::now();
    for i in 0..20 {
        put(&connection, "t", 0, &i.to_string()).await;
        server.connect().await.route("t").await.unwrap().unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?} for 20 messages", begin.elapsed());
    let grown = server.memory().saturating_sub(memory) / count as u64;
    println!("{grown} bytes a connection");
    assert!(grown < 16 << 10, "{grown} bytes a connection");
    crowd.disperse();
    server.wait_for_metric("kerolox_connections", |count| count <= 2).await;
    assert_eq!(read(&connection, "t", 0).await.len(), 21);
    server.stop();
}

#[tokio::test]
async fn ten_thousand_pulls_that_wait_are_all_answered() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    common::call::make_topic(&connection, "t", 1).await;
    let mut waiting: Vec<Raw> = (0..10).map(|_| Raw::connect(server.ports.broker)).collect();
    for (i, raw) in waiting.iter_mut().enumerate() {
        for n in 0..1000 {
            raw.send(&frame(11, n, &wait(&format!("g{i}"), "t", 0, 0, 60_000), b""));
        }
    }
    server.wait_for_metric("kerolox_parked_pulls", |count| count == 10_000).await;
    put(&connection, "t", 0, "for everybody").await;
    for raw in &mut waiting {
        for _ in 0..1000 {
            assert_eq!(raw.answer().code, 0);
        }
    }
    assert_eq!(server.metric("kerolox_parked_pulls"), 0);
    server.stop();
}

/// Fills a queue with 50 messages of 250 KiB.
async fn fill(server: &Server) {
    let connection = server.connect().await;
    let large = Bytes::from(vec![b'x'; 250 << 10]);
    for _ in 0..50 {
        connection.send(&message("large", 0), large.clone()).await.unwrap();
    }
}

/// Sends pulls of large messages until the server does not read on, and returns how many.
fn ask_without_reading(raw: &mut Raw, pulls: usize) -> usize {
    raw.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for i in 0..pulls {
        let pull = look("g", "large", 0, (i % 50) as i64);
        if raw.0.write_all(&frame(11, i as i32, &pull, b"")).is_err() {
            return i;
        }
    }
    pulls
}

#[tokio::test]
async fn a_client_that_stops_reading_is_not_read_and_takes_no_memory() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    fill(&server).await;
    let bystander = server.connect().await;
    put(&bystander, "t", 0, "before").await;
    let memory = server.memory();
    let mut deaf = Raw::connect(server.ports.broker);
    let asked = ask_without_reading(&mut deaf, 20_000);
    println!("{asked} pulls were sent");
    for i in 0..50 {
        put(&bystander, "t", 0, &i.to_string()).await;
    }
    assert_eq!(read(&bystander, "t", 0).await.len(), 51);
    let grown = server.memory().saturating_sub(memory) >> 20;
    println!("grown by {grown} MiB");
    assert!(grown < 64, "{grown} MiB");
    // It gets everything once it reads.
    for _ in 0..asked.min(300) {
        let answer = deaf.answer();
        assert_eq!((answer.code, answer.body.len() > 250 << 10), (0, true));
    }
    drop(deaf);
    server.wait_for_metric("kerolox_connections", |count| count <= 2).await;
    server.stop();
}

/// After a start nothing is in memory: each answer is read from the disk.
#[tokio::test]
async fn a_client_that_stops_reading_takes_no_memory_from_the_disk_either() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    fill(&server).await;
    server.stop();
    let server = Server::start(&folder, &[]);
    let bystander = server.connect().await;
    put(&bystander, "t", 0, "before").await;
    let memory = server.memory();
    let mut deaf = Raw::connect(server.ports.broker);
    let asked = ask_without_reading(&mut deaf, 20_000);
    println!("{asked} pulls were sent");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for i in 0..50 {
        put(&bystander, "t", 0, &i.to_string()).await;
    }
    let grown = server.memory().saturating_sub(memory) >> 20;
    println!("grown by {grown} MiB");
    // All that was asked for would be gigabytes.
    assert!(grown < 200, "{grown} MiB");
    // It gets its answers once it reads; what was too much is refused.
    let mut found = 0;
    for _ in 0..asked.min(300) {
        let answer = deaf.answer();
        match answer.code {
            0 => found += 1,
            code => assert_eq!(code, 2, "{}", answer.remark),
        }
    }
    println!("{found} of 300 were found");
    assert!(found > 10);
    drop(deaf);
    server.wait_for_metric("kerolox_connections", |count| count <= 2).await;
    server.stop();
}

#[tokio::test]
async fn a_client_that_sends_without_reading_its_answers_is_held_back() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let bystander = server.connect().await;
    put(&bystander, "t", 0, "before").await;
    let memory = server.memory();
    let mut deaf = Raw::connect(server.ports.broker);
    deaf.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Each answer repeats a long name.
    let question = frame(30, 1, &pairs(&[("topic", &"x".repeat(3000)), ("queueId", "0")]), b"");
    let mut sent = 0;
    while sent < 50_000 && deaf.0.write_all(&question).is_ok() {
        sent += 1;
    }
    println!("{sent} questions were sent");
    assert!(sent < 50_000, "all of them were read");
    put(&bystander, "t", 0, "after").await;
    let grown = server.memory().saturating_sub(memory) >> 20;
    println!("grown by {grown} MiB");
    assert!(grown < 64, "{grown} MiB");
    server.stop();
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let files = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    put(&connection, "t", 0, "x").await;
    let before = files();
    let send = frame(310, 1, &message("t", 0), b"from one that does not wait");
    let pull = frame(11, 2, &wait("g", "other", 0, 0, 60_000), b"");
    common::call::make_topic(&connection, "other", 1).await;
    for i in 0..1500 {
        let mut raw = Raw::connect(server.ports.broker);
        match i % 5 {
            0 => {}
            1 => raw.send(&send),
            2 => raw.send(&pull),
            3 => raw.send(&send[..send.len() / 2]),
            _ => assert_eq!(raw.ask(&send).code, 0),
        }
    }
    server.wait_for_metric("kerolox_connections", |count| count <= 2).await;
    assert!(files() <= before + 2, "{} descriptors, {before} before", files());
    assert_eq!(server.metric("kerolox_in_flight_bytes"), 0);
    assert_eq!(server.metric("kerolox_panics_total"), 0);
    let fields = pairs(&[("topic", "t"), ("queueId", "0")]);
    let reply = connection.call(30, &fields, Bytes::new()).await.unwrap();
    let stored: i64 = granted(&reply).get("offset").parse().unwrap();
    assert!((301..=601).contains(&stored), "{stored}");
    server.stop();
}
