//! The index on the disk: `kerolox log check` says what is wrong with it and where, `kerolox log
//! repair-index` makes it anew, and a start without it takes no more memory than one with it.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::call::{
    Pairs, ask, granted, look, make_topic, message, put, put_with, records, refused,
};
use common::past::{Past, now_ms};
use common::{Folder, Launch, SMALL, Server, binary, contents};
use kerolox_client::Connection;
use kerolox_protocol::record;
use kerolox_protocol::remoting::codes::request;
use serde_json::Value;

const MIB: u64 = 1 << 20;
/// Messages of topic `t`, and every how manieth has one of topic `rare` behind it.
const COUNT: i64 = 3000;
const RARE: i64 = 400;

/// A log of a few files of 1 MiB, each of which is a stretch of the index.
fn a_log(data: &Path) {
    let mut past = Past::new(data, MIB);
    let now = now_ms() - 1_000_000;
    for i in 0..COUNT {
        let body = format!("{i:0>1700}");
        assert_eq!(past.put("t", &format!("key-{i}"), body.as_bytes(), now + i * 10), i);
        if i % RARE == 0 {
            past.put("rare", &format!("rare-{i}"), b"rare", now + i * 10);
        }
    }
    assert!(past.end() > 5 * MIB);
    past.stop();
}

/// A log whose finished files are all in the index.
fn indexed(folder: &Folder) -> Vec<PathBuf> {
    a_log(&folder.data());
    let server = Server::start(folder, &SMALL);
    server.stop();
    let blocks = blocks(folder);
    assert!(blocks.len() >= 5, "{blocks:?}");
    blocks
}

fn blocks(folder: &Folder) -> Vec<PathBuf> {
    let mut blocks: Vec<_> = std::fs::read_dir(folder.data().join("blocks"))
        .expect("a start makes it")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    blocks.sort();
    blocks
}

/// Runs `kerolox log` with these words and the directory; it must end with `code`.
#[track_caller]
fn log(words: &[&str], dir: &Path, code: i32) -> Output {
    let output = Command::new(binary()).arg("log").args(words).arg(dir).output();
    let output = output.expect("the binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

/// What `log check` finds wrong with the index; it changes nothing.
#[track_caller]
fn findings(folder: &Folder) -> Vec<String> {
    let (data, before) = (folder.data(), contents(&folder.data()));
    let output = Command::new(binary()).args(["log", "check", "--json"]).arg(&data).output();
    let output = output.expect("the binary can be run");
    assert_eq!(contents(&data), before, "the check changed something");
    let checked: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(checked["damage"], Value::Array(Vec::new()));
    let texts = |key: &str| -> Vec<String> {
        let list = checked[key].as_array().expect("a list").iter();
        list.map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
    };
    let found = [texts("damagedIndex"), texts("damagedSnapshots")].concat();
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())), "{found:?}");
    found
}

async fn by_key(connection: &Connection, topic: &str, key: &str) -> Vec<i64> {
    let fields = [
        ("topic", topic),
        ("key", key),
        ("maxNum", "10"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9000000000000"),
    ];
    let reply = ask(connection, request::QUERY_MESSAGE, &fields).await;
    assert_eq!(reply.code, 0, "{key}: {:?}", reply.remark);
    record::walk(&reply.body).map(|record| record.queue_offset).collect()
}

/// Every offset, some keys, and a search by time: all is as it was written.
async fn serves_everything(folder: &Folder) {
    let server = Server::start(folder, &SMALL);
    let connection = server.connect().await;
    let mut next = 0;
    while next < COUNT {
        let reply = connection.pull(&look("g", "t", 0, next)).await.expect("it is answered");
        for record in records(&reply) {
            assert_eq!((record.queue_offset, record.topic), (next, "t"));
            assert_eq!(record.body, format!("{next:0>1700}").as_bytes());
            next += 1;
        }
        assert!(!records(&reply).is_empty(), "nothing at {next}\n{}", server.log());
    }
    for i in (0..COUNT).step_by(97) {
        assert_eq!(by_key(&connection, "t", &format!("key-{i}")).await, [i]);
    }
    for (offset, i) in (0..COUNT).step_by(RARE as usize).enumerate() {
        let offset = offset as i64;
        assert_eq!(by_key(&connection, "rare", &format!("rare-{i}")).await, [offset]);
        let reply = connection.pull(&look("g", "rare", 0, offset)).await.expect("it is answered");
        assert_eq!(records(&reply)[0].queue_offset, offset);
    }
    let fields = [("topic", "t"), ("queueId", "0"), ("timestamp", "1")];
    let reply = ask(&connection, request::SEARCH_OFFSET_BY_TIMESTAMP, &fields).await;
    let found: Pairs = granted(&reply);
    assert_eq!(found.get("offset"), "0");
    assert_eq!(connection.max_offset("t", 0).await.expect("it is there"), COUNT);
    server.stop();
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_damaged_index_is_named_and_made_anew() {
    type Damage<'a> = &'a dyn Fn(&Path);
    let flip = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).expect("it is there");
        bytes[at] ^= 4;
        std::fs::write(path, bytes).expect("it can be written");
    };
    let cases: [(&str, Damage<'_>); 5] = [
        ("page 2 is damaged", &|path| flip(path, 2 * 4096 + 77)),
        ("its head or its size is damaged", &|path| flip(path, 20)),
        ("its head or its size is damaged", &|path| {
            let file = std::fs::File::options().write(true).open(path).expect("it is there");
            file.set_len(5000).expect("it can be cut");
        }),
        ("its head or its size is damaged", &|path| std::fs::write(path, "").expect("it is cut")),
        ("is not there", &|path| std::fs::remove_file(path).expect("it is there")),
    ];
    let folder = Folder::new();
    let blocks = indexed(&folder);
    assert_eq!(findings(&folder), [""; 0]);
    let sound = contents(&folder.data());
    for (what, damage) in cases {
        damage(&blocks[2]);
        let found = findings(&folder);
        assert_eq!(found, [format!("index block {}: {what}", name(&blocks[2]))]);
        let output = log(&["check"], &folder.data(), 1);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("damage    {}", found[0])), "{text}");
        let hint = "is damaged in 1 places; kerolox log repair-index makes the index again";
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(hint), "{stderr}");
        let output = log(&["repair-index"], &folder.data(), 0);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("index     {} blocks", blocks.len())), "{text}");
        assert_eq!(findings(&folder), [""; 0], "after {what}");
        assert_eq!(contents(&folder.data()), sound, "the same bytes as before");
    }
    serves_everything(&folder).await;
}

#[tokio::test]
async fn a_block_that_lies_is_noticed() {
    let folder = Folder::new();
    let other = Folder::new();
    let blocks = indexed(&folder);
    // The same log but for one message: its blocks have right checksums.
    let mut past = Past::new(&other.data(), MIB);
    for i in 0..COUNT {
        past.put("t", &format!("key-{i}"), format!("{i:1>1700}").as_bytes(), now_ms());
    }
    past.stop();
    Server::start(&other, &SMALL).stop();
    let from = other.data().join("blocks").join(name(&blocks[1]));
    std::fs::copy(from, &blocks[1]).expect("it is there");
    // And one that begins where no stretch does.
    let stray = folder.data().join("blocks").join(format!("{:020}", MIB + 4096));
    std::fs::copy(&blocks[1], &stray).expect("it is there");
    let found = findings(&folder);
    let lies = format!("index block {}: its end, keys or state changes", name(&blocks[1]));
    assert!(found.iter().any(|text| text.starts_with(&lies)), "{found:?}");
    let strays = format!("index block {}: no stretch of the log begins there", name(&stray));
    assert!(found.contains(&strays), "{found:?}");
    log(&["repair-index"], &folder.data(), 0);
    assert_eq!(findings(&folder), [""; 0]);
    serves_everything(&folder).await;
}

#[tokio::test]
async fn a_snapshot_leads_to_the_new_blocks_and_a_damaged_one_is_set_aside() {
    let folder = Folder::new();
    a_log(&folder.data());
    // Retention makes snapshots.
    let settings = ["--set", "kerolox.retention.bytes=4194304"];
    let server = Launch::new(&folder).args(&SMALL).args(&settings).start();
    server.wait_for_metric("kerolox_deleted_files_total", |count| count >= 2).await;
    let connection = server.connect().await;
    let min = connection.min_offset("t", 0).await.expect("it is there");
    server.stop();
    let mut snapshots: Vec<_> = std::fs::read_dir(folder.data().join("snapshot"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    snapshots.sort();
    assert_eq!(findings(&folder), [""; 0]);
    let newest = snapshots.last().expect("retention made one");
    let before = std::fs::read(newest).expect("it is there");
    // The older blocks are gone: those that are made now lead less far back.
    log(&["repair-index"], &folder.data(), 0);
    assert_eq!(findings(&folder), [""; 0]);
    let serves = async || {
        let server = Server::start(&folder, &SMALL);
        let connection = server.connect().await;
        assert_eq!(connection.min_offset("t", 0).await.expect("it is there"), min);
        for offset in (min..COUNT).step_by(53) {
            let reply = connection.pull(&look("g", "t", 0, offset)).await.expect("an answer");
            assert_eq!(records(&reply)[0].queue_offset, offset);
            assert_eq!(by_key(&connection, "t", &format!("key-{offset}")).await, [offset]);
        }
        server.stop();
    };
    serves().await;

    let mut bytes = before;
    bytes[70] ^= 1;
    std::fs::write(newest, bytes).expect("it can be written");
    let found = findings(&folder);
    assert!(found.len() == 1 && found[0].contains(&name(newest)), "{found:?}");
    let output = log(&["repair-index"], &folder.data(), 0);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("set aside ") && text.contains(&name(newest)), "{text}");
    let aside = folder.data().join("set-aside").join(format!("snapshot-{}", name(newest)));
    assert!(aside.is_file() && !newest.exists());
    assert_eq!(findings(&folder), [""; 0]);
}

#[tokio::test]
async fn blocks_that_are_made_anew_are_those_that_a_running_server_made() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let body = "x".repeat(90_000);
    let fill = async |topic: &str| {
        for _ in 0..12 {
            put(&connection, topic, 0, &body).await;
        }
    };
    make_topic(&connection, "t", 1).await;
    make_topic(&connection, "again", 1).await;
    fill("again").await;
    fill("t").await;
    // In one stretch it goes and comes back; and once more with the same number of messages.
    for _ in 0..2 {
        granted(&ask(&connection, request::DELETE_TOPIC_IN_BROKER, &[("topic", "again")]).await);
        make_topic(&connection, "again", 1).await;
        fill("again").await;
    }
    fill("t").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while blocks(&folder).len() < 5 {
        assert!(Instant::now() < deadline, "{:?}\n{}", blocks(&folder), server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop();
    assert_eq!(findings(&folder), [""; 0]);
    let made = contents(&folder.data());
    log(&["repair-index"], &folder.data(), 0);
    assert_eq!(contents(&folder.data()), made);
    // So does a start.
    std::fs::remove_dir_all(folder.data().join("blocks")).expect("it is there");
    assert_eq!(findings(&folder), [""; 0], "no snapshot counts on it");
    Server::start(&folder, &SMALL).stop();
    let blocks_of = |contents: &[(PathBuf, u64, u32)]| -> Vec<_> {
        let index = folder.data().join("blocks");
        contents.iter().filter(|(path, ..)| path.starts_with(&index)).cloned().collect()
    };
    let again = contents(&folder.data());
    assert_eq!(blocks_of(&again), blocks_of(&made));
}

#[tokio::test]
async fn a_repair_that_was_killed_can_be_done_again_and_a_start_needs_none() {
    let folder = Folder::new();
    let all = indexed(&folder).len();
    let sound = contents(&folder.data());
    // It takes the old blocks away first.
    let kill_when_left = |left: usize| {
        let mut repair = Command::new(binary())
            .args(["log", "repair-index"])
            .arg(folder.data())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary can be run");
        while blocks(&folder).len() > left && repair.try_wait().expect("it is ours").is_none() {}
        repair.kill().expect("it is ours");
        repair.wait().expect("it is ours");
    };
    for left in 0..all {
        kill_when_left(left);
        log(&["repair-index"], &folder.data(), 0);
        assert_eq!(contents(&folder.data()), sound, "killed with {left} blocks left");
    }
    kill_when_left(1);
    serves_everything(&folder).await;
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn a_directory_in_use_or_of_something_else_is_not_repaired() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let output = log(&["repair-index"], &folder.data(), 4);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("is in use by another process; stop it first"), "{stderr}");
    server.stop();
    log(&["repair-index"], &folder.data(), 0);
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).expect("the folder can be written");
    log(&["repair-index"], &empty, 6);
    assert!(contents(&empty).is_empty());
}

/// Bytes of memory that a process took at most.
fn peak(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let text = std::fs::read_to_string(path).expect("it runs, on Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("the kernel says it in KiB") << 10
}

/// Once the whole index was built in memory first.
#[tokio::test]
async fn a_start_without_an_index_takes_the_memory_of_one_with_it() {
    const FILE: u64 = 8 << 20;
    const LOG: u64 = 200 << 20;
    let folder = Folder::new();
    let mut past = Past::new(&folder.data(), FILE);
    let now = now_ms();
    let mut count = 0;
    while past.end() < LOG {
        past.put("t", &format!("key-{count}"), b"small", now);
        count += 1;
    }
    past.stop();
    let args = ["--set", "mappedFileSizeCommitLog=8388608"];
    let start = async || {
        let server = Server::start(&folder, &args);
        let (taken, made) = (peak(&server), blocks(&folder).len() as u64);
        let connection = server.connect().await;
        assert_eq!(connection.max_offset("t", 0).await.expect("it is there"), count);
        for offset in [0, count / 3, count - 1] {
            let reply = connection.pull(&look("g", "t", 0, offset)).await.expect("an answer");
            assert_eq!(records(&reply)[0].queue_offset, offset);
        }
        // What the start did not make housekeeping does: the next start has an index.
        let deadline = Instant::now() + Duration::from_secs(60);
        while (blocks(&folder).len() as u64) < LOG / FILE - 1 {
            assert!(Instant::now() < deadline, "{:?}", blocks(&folder));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.stop();
        (taken, made)
    };
    let (without, made) = start().await;
    let (with, _) = start().await;
    // In memory an index takes 32 bytes a message, and more while it grows.
    let whole = count as u64 * 32;
    assert!(whole > 36 << 20, "{whole}");
    assert!(without < with + whole / 2, "{without} and {with} bytes, the whole index has {whole}");
    assert!(made >= LOG / FILE - 1, "{made} blocks");
}

/// The rows of the block that the change stood in brought the queues of before back.
#[tokio::test]
async fn a_topic_that_was_made_smaller_stays_so_over_a_start() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    put(&connection, "t", 1, "in a queue that is closed later").await;
    make_topic(&connection, "t", 1).await;
    for _ in 0..12 {
        put(&connection, "t", 0, &"x".repeat(200_000)).await;
    }
    server.stop();
    // This start finds finished files, and makes the missing blocks; the next one reads them.
    for _ in 0..2 {
        let server = Server::start(&folder, &SMALL);
        let connection = server.connect().await;
        let reply =
            connection.call(request::SEND_MESSAGE_V2, &message("t", 1), "late".into()).await;
        refused(&reply.expect("it is answered"), 29, "queueId");
        server.stop();
        assert!(!blocks(&folder).is_empty());
    }
}

#[tokio::test]
async fn messages_are_found_by_tag_in_blocks_and_in_memory() {
    let folder = Folder::new();
    let begin = now_ms() - 1_000_000;
    let mut past = Past::new(&folder.data(), MIB);
    for i in 0..COUNT {
        let tag = if i % RARE == 0 { "rare" } else { "common" };
        past.put_with("t", &[("TAGS", tag)], format!("{i:0>1700}").as_bytes(), begin + i * 10);
    }
    past.stop();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let find = async |topic: &str, tag: &str, max: &str, times: (i64, i64)| {
        let (from, to) = (times.0.to_string(), times.1.to_string());
        let fields = [
            ("topic", topic),
            ("key", tag),
            ("maxNum", max),
            ("beginTimestamp", &from),
            ("endTimestamp", &to),
            ("indexType", "T"),
        ];
        let reply = ask(&connection, request::QUERY_MESSAGE, &fields).await;
        let found: Vec<i64> = record::walk(&reply.body).map(|r| r.queue_offset).collect();
        assert_eq!(reply.code, if found.is_empty() { 22 } else { 0 }, "{:?}", reply.remark);
        found
    };
    let always = (0, i64::MAX);
    // The newest come first, what is in memory before what is in blocks.
    let mut rare: Vec<i64> = (0..COUNT).rev().filter(|i| i % RARE == 0).collect();
    assert_eq!(find("t", "rare", "64", always).await, rare);
    make_topic(&connection, "t", 2).await;
    put_with(&connection, "t", 0, "new", &[("TAGS", "rare")]).await;
    put_with(&connection, "t", 1, "new", &[("TAGS", "rare")]).await;
    rare.splice(0..0, [0, COUNT]);
    assert_eq!(find("t", "rare", "64", always).await, rare);
    assert_eq!(find("t", "rare", "3", always).await, rare[..3]);
    assert_eq!(find("t", "common", "1000", always).await.len(), 64, "as many as there are at most");
    // Times: both ends count, and what is outside does not use the limit up.
    let of = |i: i64| begin + i * 10;
    assert_eq!(find("t", "rare", "64", (of(RARE), of(2 * RARE))).await, [2 * RARE, RARE]);
    assert_eq!(find("t", "common", "2", (0, of(5))).await, [5, 4]);
    assert!(find("t", "rare", "64", (of(1), of(2))).await.is_empty());
    assert!(find("t", "none", "64", always).await.is_empty());
    assert!(find("t", "", "64", always).await.is_empty());
    assert!(find("other", "rare", "64", always).await.is_empty());
    // The key of the same text is no tag.
    put_with(&connection, "t", 0, "new", &[("KEYS", "none")]).await;
    assert!(find("t", "none", "64", always).await.is_empty());
    server.stop();
}
