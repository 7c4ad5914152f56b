//! Directories as each release left them, in `tests/golden/`: this one reads them.
//!
//! A release adds its own: `KEROLOX_TEST_MAKE_GOLDEN=VERSION cargo test -p kerolox --test releases` makes
//! two, of a server that was stopped and of one that was killed.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::call::{
    Pairs, ask, body, commit, committed, granted, join, look, make_topic, put, put_with, read,
    records,
};
use common::{Folder, Launch, Server, binary};
use kerolox_client::Connection;
use kerolox_protocol::remoting::codes::{names, request};
use serde_json::{Map, Value, json};

/// Small files, and none is too old.
const SETTINGS: [&str; 6] = [
    "--set",
    "mappedFileSizeCommitLog=1048576",
    "--set",
    "maxMessageSize=262144",
    "--set",
    "fileReservedTime=1000000",
];
/// Topics and their queues.
const TOPICS: [(&str, i32); 3] = [("orders", 4), ("rare", 1), ("again", 2)];
/// Queue of topic `later`: its messages were not delivered yet when the server ended.
const DELAYED: [&str; 3] = ["later 0", "later 1", "later 2"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be written");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "lock" && !is_zeros(&entry.path()) {
            std::fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}

/// A file of the log that was made ahead: a start makes it again.
fn is_zeros(path: &Path) -> bool {
    std::fs::read(path).expect("the file can be read").iter().all(|byte| *byte == 0)
}

/// All that clients see of a directory, but for delayed messages.
async fn observe(server: &Server) -> Value {
    let connection = server.connect().await;
    let configs = body(&ask(&connection, request::GET_ALL_TOPIC_CONFIG, &[]).await);
    let mut seen = Map::new();
    for (topic, queues) in TOPICS {
        seen.insert(topic.to_owned(), configs["topicConfigTable"][topic].clone());
        for queue in 0..queues {
            seen.insert(format!("{topic}/{queue}"), of_queue(&connection, topic, queue).await);
        }
    }
    let fields = [("namespace", "golden"), ("key", "k")];
    let kv = granted(&ask(&connection, names::GET_KV_CONFIG, &fields).await);
    seen.insert("kv".to_owned(), json!(kv.get("value")));
    seen.insert("gone".to_owned(), configs["topicConfigTable"]["gone"].clone());
    Value::Object(seen)
}

async fn of_queue(connection: &Connection, topic: &str, queue: i32) -> Value {
    let min = connection.min_offset(topic, queue).await.expect("it is there");
    let max = connection.max_offset(topic, queue).await.expect("it is there");
    let mut found = Vec::new();
    let mut next = min;
    while next < max {
        let reply = connection.pull(&look("g", topic, queue, next)).await.expect("an answer");
        assert_eq!(reply.code, 0, "{topic}/{queue} at {next}");
        for record in records(&reply) {
            let properties = String::from_utf8_lossy(record.properties);
            found.push(json!([
                record.queue_offset,
                record.physical_offset,
                record.store_timestamp,
                properties.split(['\u{1}', '\u{2}']).collect::<Vec<_>>(),
                crc32fast::hash(record.body),
            ]));
        }
        next = reply.offsets.next_begin_offset;
    }
    let group = committed(connection, "golden-readers", topic, queue).await;
    let offset = group.header::<Pairs>().ok().map(|header| header.get("offset").to_owned());
    json!({ "min": min, "max": max, "committed": [group.code, offset], "records": found })
}

/// Makes a directory with some of everything that a release can store.
async fn make(folder: &Folder) -> Server {
    let server = Launch::new(folder)
        .args(&SETTINGS)
        // It makes snapshots before it deletes files.
        .args(&["--set", "kerolox.retention.bytes=2097152"])
        .start();
    let connection = server.connect().await;
    for (topic, queues) in TOPICS {
        make_topic(&connection, topic, queues).await;
    }
    for topic in ["gone", "later"] {
        make_topic(&connection, topic, 1).await;
        put(&connection, topic, 0, "the first").await;
    }
    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "gone")]).await);
    put(&connection, "again", 1, "before it was deleted").await;
    granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "again")]).await);
    make_topic(&connection, "again", 2).await;
    let fields = [("namespace", "golden"), ("key", "k"), ("value", "v")];
    granted(&ask(&connection, names::PUT_KV_CONFIG, &fields).await);
    for i in 0..240 {
        // Most of it is in a few large ones, which the repository keeps small.
        let size = if i % 6 == 0 { 20_000 } else { 10 };
        let (key, text) = (format!("key-{i}"), format!("{i} {}", "gold ".repeat(size)));
        let properties = [("KEYS", &*key), ("TAGS", if i % 2 == 0 { "even" } else { "odd" })];
        put_with(&connection, "orders", i % 4, &text, &properties).await;
        if i % 60 == 0 {
            put(&connection, "rare", 0, &format!("rare {i}")).await;
            put(&connection, "again", 0, &format!("again {i}")).await;
        }
    }
    server.wait_for_metric("kerolox_deleted_files_total", |count| count >= 1).await;
    join(&connection, "golden-readers", "client", "orders").await;
    for queue in 0..4 {
        commit(&connection, "golden-readers", "orders", queue, 50 + i64::from(queue)).await;
    }
    for text in DELAYED {
        // Level 5 is a minute.
        put_with(&connection, "later", 0, text, &[("DELAY", "5")]).await;
    }
    // What was committed is written within about a second.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    server
}

#[tokio::test]
async fn directories_of_all_releases_are_read() {
    if let Some(version) = std::env::var_os("KEROLOX_TEST_MAKE_GOLDEN") {
        for (how, end) in [("stopped", stop as fn(Server)), ("killed", Server::kill as fn(Server))]
        {
            let folder = Folder::new();
            let server = make(&folder).await;
            let expected = observe(&server).await;
            end(server);
            let target = golden().join(&version).join(how);
            copy(&folder.data(), &target.join("data"));
            let text = serde_json::to_string_pretty(&expected).expect("it is JSON");
            std::fs::write(target.join("expected.json"), text).expect("it can be written");
        }
    }
    let mut read_so_far = 0;
    for release in std::fs::read_dir(golden()).expect("it is there") {
        let release = release.expect("it can be read").path();
        for how in ["stopped", "killed"] {
            check(&release.join(how), how == "stopped").await;
            read_so_far += 1;
        }
    }
    assert!(read_so_far >= 2);
}

fn stop(server: Server) {
    server.stop();
}

async fn check(golden: &Path, is_whole: bool) {
    let folder = Folder::new();
    copy(&golden.join("data"), &folder.data());
    if is_whole {
        let check = Command::new(binary()).args(["log", "check"]).arg(folder.data()).output();
        let check = check.expect("the binary can be run");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }
    let expected = std::fs::read(golden.join("expected.json")).expect("it is there");
    let expected: Value = serde_json::from_slice(&expected).expect("it is JSON");
    for start in 1..=2 {
        let server = Launch::new(&folder).args(&SETTINGS).start();
        assert_eq!(observe(&server).await, expected, "{}, start {start}", golden.display());
        let connection = server.connect().await;
        // They may have been made just now.
        let deadline = Instant::now() + Duration::from_secs(90);
        while !read(&connection, "later", 0).await.ends_with(&DELAYED.map(str::to_owned)) {
            assert!(Instant::now() < deadline, "{}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!server.log().contains("ERROR"), "{}", server.log());
        server.stop();
    }
}
