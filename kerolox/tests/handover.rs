//! A data directory changes hands: what a stop leaves to Apache's broker, and what that broker may have done
//! before the next start. The tests with that broker itself are in `compat/java`.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::call::{ask, body, commit, join, make_topic, put};
use common::{Folder, Launch, SMALL, Server, binary};
use kerolox_protocol::remoting::codes::request;
use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::Value;

const GUARD: &str = "commitlog/kerolox-has-it";

fn log(command: &str, data: &Path) -> Output {
    Command::new(binary()).args(["log", command]).arg(data).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_stop_leaves_what_apaches_broker_needs_and_a_kill_does_not() {
    let folder = Folder::new();
    let data = folder.data();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    for i in 0..3 {
        put(&connection, "t", 1, &format!("{i}")).await;
    }
    join(&connection, "g", "client", "t").await;
    commit(&connection, "g", "t", 1, 2).await;
    // It is in the log a second later.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(data.join(GUARD).is_file());
    server.kill();
    assert!(data.join(GUARD).is_file() && !data.join("handed-over").exists());

    // What a stop would have done.
    let output = log("hand-over", &data);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("is left to Apache's broker: 3 messages in 1 queues"));
    let is_left = || {
        assert!(!data.join(GUARD).exists() && data.join("handed-over").is_file());
        assert!(data.join("abort").is_file() && !data.join("index").exists());
        assert_eq!(data.join("checkpoint").metadata().unwrap().len(), 4096);
        let queue = data.join("consumequeue/t/1").join(format!("{:020}", 0));
        assert_eq!(queue.metadata().unwrap().len(), 6_000_000);
        let topics = json(&data.join("config/topics.json"));
        assert_eq!(topics["topicConfigTable"]["t"]["readQueueNums"], 2);
        let offsets = std::fs::read_to_string(data.join("config/consumerOffset.json")).unwrap();
        assert!(offsets.contains(r#""t@g":{1:2}"#), "{offsets}");
        for entry in std::fs::read_dir(data.join("commitlog")).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().len(), 1 << 20);
        }
    };
    is_left();
    let again = log("hand-over", &data);
    assert!(said(&again).contains("was left to Apache's broker before; nothing is changed"));
    let check = log("check", &data);
    assert!(check.status.success(), "{}", said(&check));

    // Kerolox goes on with it as if nothing had been.
    let server = Server::start(&folder, &SMALL);
    assert!(data.join(GUARD).is_file() && !data.join("consumequeue").exists());
    assert_eq!(server.connect().await.max_offset("t", 1).await.unwrap(), 3);
    server.stop();
    is_left();
}

#[tokio::test]
async fn what_apaches_tables_say_wins_once() {
    let folder = Folder::new();
    let data = folder.data();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    put(&connection, "t", 1, "x").await;
    server.stop();
    let path = data.join("config/topics.json");
    let mut topics = json(&path);
    let table = topics["topicConfigTable"].as_object_mut().unwrap();
    table["t"]["writeQueueNums"] = 7.into();
    table.insert("added".to_owned(), table["t"].clone());
    std::fs::write(&path, topics.to_string()).unwrap();
    let check = log("check", &data);
    assert_eq!(check.status.code(), Some(6));
    let why = "since Kerolox was stopped; start Kerolox once, which takes it over, then look";
    assert!(said(&check).contains(why), "{}", said(&check));

    for start in 1..=2 {
        let server = Server::start(&folder, &SMALL);
        let connection = server.connect().await;
        let configs = body(&ask(&connection, request::GET_ALL_TOPIC_CONFIG, &[]).await);
        let of = |topic: &str| configs["topicConfigTable"][topic]["writeQueueNums"].clone();
        assert_eq!((of("t"), of("added")), (7.into(), 7.into()), "start {start}");
        assert_eq!(connection.max_offset("t", 1).await.unwrap(), 1);
        assert_eq!(server.log().contains("taken over from Apache's broker"), start == 1);
        server.kill();
    }
}

#[test]
fn a_directory_that_apaches_broker_has_is_not_taken() {
    let folder = Folder::new();
    std::fs::create_dir(folder.data()).unwrap();
    let lock = std::fs::File::create(folder.data().join("lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::LockExclusive).unwrap();
    let reason = "is in use by another process; stop it, or give another --data-dir";
    Launch::new(&folder).fails().check(4, reason);
}

#[test]
fn only_a_directory_of_kerolox_is_handed_over() {
    let folder = Folder::new();
    let output = log("hand-over", &folder.data());
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("data is not there"), "{}", said(&output));
    assert!(!folder.data().exists());
    let other = folder.join("other");
    std::fs::create_dir(&other).unwrap();
    let output = log("hand-over", &other);
    assert_eq!(output.status.code(), Some(6));
    assert!(said(&output).contains("is no data directory of Kerolox"), "{}", said(&output));
    let server = Server::start(&folder, &SMALL);
    let output = log("hand-over", &folder.data());
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    server.stop();
}

#[tokio::test]
async fn a_stop_does_not_take_long_where_there_is_much_to_leave() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "many", 4_001).await;
    for queue in 0..4_001 {
        put(&connection, "many", queue, "x").await;
    }
    server.stop();
    let hint = "kerolox log hand-over leaves it to Apache's broker messages=4001 queues=4001";
    let said_at_the_end = std::fs::read_to_string(folder.join("server.log")).unwrap();
    assert!(said_at_the_end.contains(hint), "{said_at_the_end}");
    assert!(folder.data().join(GUARD).is_file());
    let output = log("hand-over", &folder.data());
    assert!(said(&output).contains("4001 messages in 4001 queues"), "{}", said(&output));
    assert!(!folder.data().join(GUARD).exists());
}
