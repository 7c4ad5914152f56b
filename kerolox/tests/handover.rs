//! A data directory changes hands: what a stop leaves to Apache's broker, and what that broker may have done
//! before the next start. The tests with that broker itself are in `compat/java`.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use common::call::{ask, body, commit, granted, join, make_topic, put, read, refused, tell};
use common::mount::{launch, send_until, small};
use common::{Folder, Launch, SMALL, Server, binary, contents};
use kerolox_client::Connection;
use kerolox_log::disk::record::now_us;
use kerolox_protocol::record::NewRecord;
use kerolox_protocol::remoting::codes::request;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::Signal;
use serde_json::Value;

const GUARD: &str = "commitlog/kerolox-has-it";
const UPDATE: i32 = request::UPDATE_BROKER_CONFIG;
const GET: i32 = 26;

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
    tokio::time::sleep(Duration::from_millis(1500)).await;
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

#[tokio::test]
async fn a_mark_that_is_damaged_ends_the_start_only_if_its_copy_is_too() {
    let folder = Folder::new();
    let data = folder.data();
    let server = Server::start(&folder, &SMALL);
    put(&server.connect().await, "t", 0, "x").await;
    server.stop();
    for spoilt in [&["handed-over"][..], &["handed-over-2"], &["handed-over", "handed-over-2"]] {
        for name in spoilt {
            let mut bytes = std::fs::read(data.join(name)).unwrap();
            bytes[20] ^= 1;
            std::fs::write(data.join(name), bytes).unwrap();
        }
        if spoilt.len() == 2 {
            let before = contents(&data);
            let ended = Launch::new(&folder).args(&SMALL).fails();
            ended.check(6, "handed-over: damaged, and its copy is no better: they say what");
            ended.check(6, "If no other broker had ");
            assert_eq!(contents(&data), before);
            let check = log("check", &data);
            assert_eq!(check.status.code(), Some(6), "{}", said(&check));
            File::create(data.join(GUARD)).unwrap();
        }
        let server = Server::start(&folder, &SMALL);
        assert_eq!(read(&server.connect().await, "t", 0).await, ["x"], "{spoilt:?}");
        server.stop();
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

fn apaches<'a>(topic: &'a str, body: &'a [u8]) -> NewRecord<'a> {
    let host = ([127, 0, 0, 1], 1).into();
    NewRecord {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
    }
}

/// Writes a directory as Apache's broker leaves it, with so many messages; where each stands.
fn of_apache(data: &Path, count: usize) -> Vec<u64> {
    let (mut log, mut places) = (Vec::new(), Vec::new());
    for number in 0..count {
        let body = format!("{number} {}", "x".repeat(500));
        let new = apaches("t", body.as_bytes());
        let (offset, at, time) = (number as i64, log.len() as u64, now_us() as i64 / 1000);
        new.write(offset, at, time, &mut log);
        places.push(at);
    }
    log.resize(1 << 20, 0);
    let topics = r#"{"topicConfigTable":{"t":{"topicName":"t","perm":6,"readQueueNums":1,"writeQueueNums":1}}}"#;
    for folder in ["commitlog", "config"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
    }
    std::fs::write(data.join("config/topics.json"), topics).unwrap();
    std::fs::write(data.join("checkpoint"), vec![0; 4096]).unwrap();
    std::fs::write(log_file(data), log).unwrap();
    places
}

fn log_file(data: &Path) -> PathBuf {
    data.join("commitlog").join(format!("{:020}", 0))
}

fn spoil(data: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(log_file(data)).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[tokio::test]
async fn damage_to_what_apaches_broker_wrote_takes_no_other_message_along() {
    let folder = Folder::new();
    let data = folder.data();
    let places = of_apache(&data, 50);
    let lost = |from: usize, to: usize| {
        let (from, to) = (places[from], places[to]);
        format!("records from {from} to {to}, {} bytes", to - from)
    };
    let numbers = async |server: &Server| {
        let bodies = read(&server.connect().await, "t", 0).await;
        let number = |body: String| body.split(' ').next().unwrap().parse().unwrap();
        bodies.into_iter().map(number).collect::<Vec<usize>>()
    };
    // A size, and all of two messages.
    spoil(&data, places[20], &[0xff]);
    spoil(&data, places[30], &vec![0; (places[32] - places[30]) as usize]);
    let server = Server::start(&folder, &SMALL);
    let said_at_the_start = server.log();
    for lost in [lost(20, 21), lost(30, 32)] {
        let text = format!("lost to damage on the disk: {lost}");
        assert!(said_at_the_start.contains(&text), "{said_at_the_start}");
    }
    let mut left: Vec<usize> = (0..50).filter(|n| ![20, 30, 31].contains(n)).collect();
    assert_eq!(numbers(&server).await, left);
    server.kill();
    // A magic, later: what was found then is gone but for the log.
    spoil(&data, places[40] + 5, &[0xff]);
    for folder in ["blocks", "snapshot"] {
        let _ = std::fs::remove_dir_all(data.join(folder));
    }
    let check = log("check", &data);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    let (from, to) = (places[40], places[41]);
    let line = format!("damage    {from} to {to}, {} bytes: records", to - from);
    assert!(said(&check).contains(&line), "{}", said(&check));
    let server = Server::start(&folder, &SMALL);
    left.retain(|number| *number != 40);
    assert_eq!(numbers(&server).await, left);
    server.stop();
}

/// The head of a record is believed to be too large if it has the body that it names; no other ends a start.
#[tokio::test]
async fn a_record_that_is_too_large_ends_the_start_and_bytes_like_its_head_do_not() {
    let folder = Folder::new();
    let data = folder.data();
    let places = of_apache(&data, 50);
    let file = File::options().write(true).open(log_file(&data)).unwrap();
    file.set_len(64 << 20).unwrap();
    let (at, size) = (places[20], 40 << 20);
    let mut large = Vec::new();
    apaches("t", &vec![b'x'; size]).write(20, at, now_us() as i64 / 1000, &mut large);
    file.write_all_at(&large, at).unwrap();
    let launch = || Launch::new(&folder);
    let why =
        format!("the record at {at} has {} bytes; Kerolox takes records of up to", large.len());
    launch().fails().check(6, &why);
    // Behind damage, too.
    spoil(&data, places[19], &[0xff]);
    launch().fails().check(6, &why);
    // One byte of its body.
    spoil(&data, at + size as u64 / 2, b"y");
    let server = launch().start();
    assert_eq!(read(&server.connect().await, "t", 0).await.len(), 19);
    server.stop();
}

/// As long a value as may be, of many hours: it names the change that made it.
fn hours(number: usize) -> String {
    format!("{}{}", number % 24, ";04".repeat(1200 + number))
}

async fn delete_when(connection: &Connection) -> String {
    let reply = ask(connection, GET, &[]).await;
    granted(&reply);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    text.lines().find_map(|line| line.strip_prefix("deleteWhen=")).unwrap().to_owned()
}

#[tokio::test]
async fn the_last_change_that_a_full_disk_took_holds_and_none_that_it_refused() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    let mut stored = Vec::new();
    send_until(&connection, true, &mut stored).await;
    mount.fill();
    send_until(&connection, false, &mut stored).await;
    // Messages leave room for changes; they use it up.
    let (mut taken, mut refusal) = (0, None);
    for number in 1..150 {
        let change = format!("deleteWhen={}", hours(number));
        let reply = tell(&connection, UPDATE, &[], change.as_bytes()).await;
        if reply.code != 0 {
            refusal = Some(reply);
            break;
        }
        taken = number;
    }
    refused(&refusal.unwrap(), 14, "It may be caused by disk full");
    assert!(taken > 0);
    assert_eq!(delete_when(&connection).await, hours(taken));
    server.kill();
    mount.empty();
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    assert_eq!(delete_when(&connection).await, hours(taken));
    assert_eq!(read(&connection, "t", 0).await, stored);
    granted(&tell(&connection, UPDATE, &[], b"deleteWhen=05").await);
    server.stop();
}

#[tokio::test]
async fn a_stop_on_a_full_disk_says_that_it_left_nothing_and_loses_nothing() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    let mut stored = Vec::new();
    for round in 0..2 {
        let server = launch(&folder, &mount).start();
        let connection = server.connect().await;
        send_until(&connection, true, &mut stored).await;
        mount.fill();
        send_until(&connection, false, &mut stored).await;
        granted(&tell(&connection, UPDATE, &[], format!("deleteWhen={round}").as_bytes()).await);
        server.signal(Signal::TERM);
        let ended = server.ended(Duration::from_secs(20));
        let why = "stopped, everything acknowledged is on the disk; but what Apache's broker needs beside it cannot be written: No space left on device";
        ended.check(5, why);
        ended.check(5, "free some room, and run kerolox log hand-over");
        let data = mount.data();
        assert!(data.join(GUARD).is_file() && !data.join("handed-over").exists());
        assert!(!data.join("consumequeue").exists(), "the next start needs the room");
        // Neither can it be handed over now; then it can, or a start goes on with it.
        let output = log("hand-over", &data);
        assert_eq!(output.status.code(), Some(5), "{}", said(&output));
        assert!(said(&output).contains("No space left on device"), "{}", said(&output));
        mount.empty();
        if round == 1 {
            let output = log("hand-over", &data);
            assert!(output.status.success() && data.join("handed-over").is_file());
        }
        let server = launch(&folder, &mount).start();
        let connection = server.connect().await;
        assert_eq!(read(&connection, "t", 0).await, stored);
        assert_eq!(delete_when(&connection).await, round.to_string());
        server.stop();
        assert!(!data.join(GUARD).exists());
    }
}

/// Fills some files of the log, each of which becomes a block of the index; the oldest block.
async fn indexed(server: &Server, data: &Path, stored: &mut Vec<String>) -> PathBuf {
    let connection = server.connect().await;
    for i in 0..300 {
        let text = format!("{i} {}", "x".repeat(10_000));
        put(&connection, "t", 0, &text).await;
        stored.push(text);
    }
    let oldest = data.join("blocks").join(format!("{:020}", 0));
    for _ in 0..200 {
        if oldest.is_file() {
            return oldest;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} is not made", oldest.display());
}

/// It ended with code 1, and the advice to see to it that something can be written.
#[tokio::test]
async fn a_stop_that_cannot_mend_the_index_on_a_full_disk_says_that_it_is_full() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 32) else { return };
    let (mut stored, data) = (Vec::new(), mount.data());
    let server = launch(&folder, &mount).start();
    let block = indexed(&server, &data, &mut stored).await;
    std::fs::remove_file(block).unwrap();
    mount.fill();
    server.signal(Signal::TERM);
    let ended = server.ended(Duration::from_secs(20));
    ended.check(5, "cannot be written: reading the index block of position 0: No space left");
    ended.check(5, "free some room, and run kerolox log hand-over");
    mount.empty();
    let output = log("hand-over", &data);
    assert!(output.status.success(), "{}", said(&output));
    let server = launch(&folder, &mount).start();
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    server.stop();
}

#[tokio::test]
async fn a_stop_that_cannot_read_the_index_says_how_to_mend_it() {
    let folder = Folder::new();
    let (mut stored, data) = (Vec::new(), folder.data());
    let server = Server::start(&folder, &SMALL);
    let block = indexed(&server, &data, &mut stored).await;
    // A folder in its place can neither be read nor be written over.
    let sound = std::fs::read(&block).unwrap();
    std::fs::remove_file(&block).unwrap();
    std::fs::create_dir(&block).unwrap();
    server.signal(Signal::TERM);
    let ended = server.ended(Duration::from_secs(20));
    ended.check(1, "needs beside it cannot be made from the index: ");
    ended.check(1, "For that broker see what kerolox log check says, make the index anew with kerolox log repair-index, and run kerolox log hand-over");
    assert!(data.join(GUARD).is_file() && !data.join("handed-over").exists());
    std::fs::remove_dir(&block).unwrap();
    std::fs::write(&block, sound).unwrap();
    let output = log("hand-over", &data);
    assert!(output.status.success(), "{}", said(&output));
    let server = Server::start(&folder, &SMALL);
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    server.stop();
}
