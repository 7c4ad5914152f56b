//! Log files that somebody deleted while the server was stopped: their messages are gone, and nothing
//! else. Topics, groups and offsets stay, what is left is read where it was, delayed messages of
//! which the record is left are delivered, and the others are named.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::call::{ask, body, commit, join, look, make_topic, put, put_with, texts, wait};
use common::{Folder, Server};
use kerolox_client::Connection;
use kerolox_protocol::remoting::codes::request;
use serde_json::Value;

const ARGS: [&str; 6] = [
    "--set",
    "mappedFileSizeCommitLog=1048576",
    "--set",
    "maxMessageSize=262144",
    "--set",
    // The first delivers before the stop, the second behind it, the third not in a test's time.
    "messageDelayLevel=1s 6s 1h",
];
const QUEUES: i32 = 3;
const TOPICS: [&str; 4] = ["t0", "t1", "t2", "t3"];
/// As many lost messages as a start names, and some more.
const EARLY: usize = 103;

/// Settings and offsets, as the broker tells them.
async fn state(connection: &Connection) -> [Value; 3] {
    let all = async |code, table: &str| body(&ask(connection, code, &[]).await)[table].clone();
    [
        all(request::GET_ALL_TOPIC_CONFIG, "topicConfigTable").await,
        all(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "subscriptionGroupTable").await,
        all(request::GET_ALL_CONSUMER_OFFSET, "offsetTable").await,
    ]
}

/// Every message that is there, by offset, and where the queue ends.
async fn queue(connection: &Connection, topic: &str, queue: i32) -> (BTreeMap<i64, String>, i64) {
    let mut next = connection.min_offset(topic, queue).await.unwrap();
    let end = connection.max_offset(topic, queue).await.unwrap();
    let mut found = BTreeMap::new();
    while next < end {
        let reply = connection.pull(&look("readers", topic, queue, next)).await.unwrap();
        found.extend((next..).zip(texts(&reply)));
        assert!(reply.offsets.next_begin_offset > next);
        next = reply.offsets.next_begin_offset;
    }
    (found, end)
}

/// The log's files that hold anything, the oldest first: the next one is made in advance.
fn used_files(folder: &Folder) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.data().join("commitlog")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.len() == 20));
    files.retain(|path| {
        let mut size = [0; 4];
        let read = std::fs::File::open(path).unwrap().read_at(&mut size, 0).unwrap();
        read == 4 && size != [0; 4]
    });
    files.sort();
    files
}

fn blocks(folder: &Folder) -> usize {
    std::fs::read_dir(folder.data().join("blocks")).unwrap().count()
}

#[tokio::test]
async fn deleted_log_files_take_their_messages_and_nothing_else() {
    let folder = Folder::new();
    let server = Server::start(&folder, &ARGS);
    let connection = server.connect().await;
    for topic in TOPICS {
        make_topic(&connection, topic, QUEUES).await;
        join(&connection, &format!("g-{topic}"), "client", topic).await;
    }
    make_topic(&connection, "delays", 1).await;
    for i in 0..EARLY {
        put_with(&connection, "delays", 0, &format!("early {i}"), &[("DELAY", "3")]).await;
    }
    put_with(&connection, "delays", 0, "in time", &[("DELAY", "1")]).await;
    let reply = connection.pull(&wait("g", "delays", 0, 0, 20_000)).await.unwrap();
    assert_eq!(texts(&reply), ["in time"]);
    let filling = "x".repeat(50_000);
    for i in 0..128 {
        put(&connection, TOPICS[i % 4], (i / 4) as i32 % QUEUES, &format!("{i} {filling}")).await;
    }
    for (i, topic) in TOPICS.into_iter().enumerate() {
        commit(&connection, &format!("g-{topic}"), topic, 1, i as i64).await;
    }
    // Every file but the last is in an index block.
    let deadline = Instant::now() + Duration::from_secs(60);
    while blocks(&folder) + 1 < used_files(&folder).len() {
        assert!(Instant::now() < deadline, "{} blocks\n{}", blocks(&folder), server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    put_with(&connection, "delays", 0, "late", &[("DELAY", "2")]).await;
    let mut queues = BTreeMap::new();
    for topic in TOPICS {
        for number in 0..QUEUES {
            queues.insert((topic, number), queue(&connection, topic, number).await);
        }
    }
    // Behind the reads: a pull makes its group.
    let before = state(&connection).await;
    server.stop();

    let files = used_files(&folder);
    assert!(files.len() > 4, "{files:?}");
    for file in &files[..files.len() - 1] {
        std::fs::remove_file(file).unwrap();
    }
    let server = Server::start(&folder, &ARGS);
    let connection = server.connect().await;
    assert_eq!(state(&connection).await, before);
    let mut left = 0;
    for ((topic, number), (all, end)) in &queues {
        let (found, end_now) = queue(&connection, topic, *number).await;
        assert_eq!(end_now, *end, "{topic}/{number}");
        // What is left are the last ones, each at its offset.
        assert!(found.iter().all(|(offset, text)| all.get(offset) == Some(text)));
        assert!(found.keys().copied().eq(*end - found.len() as i64..*end), "{topic}/{number}");
        left += found.len();
    }
    assert!((1..60).contains(&left), "{left}");

    let log = server.log();
    let named = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(named("lost with its log file: the delayed message"), 100, "{log}");
    assert_eq!(named("of level 3, due at 1"), 100, "{log}");
    assert_eq!(named("the delayed message 99 of level 3"), 1, "{log}");
    assert_eq!(named("lost with their log files: 3 more delayed messages"), 1, "{log}");
    // The delivered copy of the first one is in a file that is gone.
    let reply = connection.pull(&wait("g", "delays", 0, 1, 20_000)).await.unwrap();
    assert_eq!(texts(&reply), ["late"]);
    assert_eq!(put(&connection, "t0", 0, "more").await.queue_offset, queues[&("t0", 0)].1);
    server.stop();

    // Said once: the level goes on behind them.
    let server = Server::start(&folder, &ARGS);
    assert!(!server.log().contains("lost with"), "{}", server.log());
    server.stop();
}
