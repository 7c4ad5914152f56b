//! Old log files go, oldest first, by age, size and room on the disk; `kerolox log plan` says so
//! before. What they said of topics, groups and offsets stays, also after a kill -9, and messages
//! that are left are found where they were.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::call::{ask, commit, committed, granted, join, look, make_topic, put, texts};
use common::mount::Mount;
use common::past::{Past, now_ms};
use common::{Folder, Launch, SMALL, Server, binary};
use kerolox_protocol::remoting::codes::request;
use serde_json::{Value, json};

const SMALL_LOG: [&str; 6] = [
    "--set",
    "mappedFileSizeCommitLog=1048576",
    "--set",
    "maxMessageSize=262144",
    "--set",
    "kerolox.retention.bytes=4194304",
];

fn log_files(folder: &Folder) -> usize {
    std::fs::read_dir(folder.data().join("commitlog")).expect("it is there").count()
}

#[tokio::test]
async fn deleted_files_take_messages_with_them_and_nothing_else() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL_LOG);
    let connection = server.connect().await;
    // In the first file: settings, and an offset, that nothing later repeats.
    make_topic(&connection, "early", 3).await;
    make_topic(&connection, "t", 1).await;
    join(&connection, "g", "client", "early").await;
    let early = put(&connection, "early", 2, "early").await;
    commit(&connection, "g", "early", 2, 1).await;
    let body = "x".repeat(100_000);
    let mut last = 0;
    for i in 0..120 {
        let sent = put(&connection, "t", 0, &format!("{i:04}{body}")).await;
        assert_eq!(sent.queue_offset, i64::from(i));
        last = sent.queue_offset;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while log_files(&folder) > 7 {
        assert!(
            Instant::now() < deadline,
            "{} files are left\n{}",
            log_files(&folder),
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // None of them was old.
    server.wait_for_metric("kerolox_deleted_early_messages_total", |count| count > 40).await;
    assert!(server.metric("kerolox_deleted_files_total") > 4);
    let warning = "a log file is deleted before fileReservedTime: its messages are gone file=0 why=\"kerolox.retention.bytes\"";
    let said = server.log();
    let line = said.lines().find(|line| line.contains(warning)).expect("it is said");
    assert!(line.contains("WARN") && line.contains("early 1"), "{line}");
    let check = async |server: &Server| {
        let connection = server.connect().await;
        // A file may go between two of these calls: what they say holds together once none went.
        loop {
            let min = connection.min_offset("t", 0).await.expect("the topic is there");
            assert!(min > 0 && min <= last, "the lowest offset is {min}");
            assert_eq!(connection.max_offset("t", 0).await.expect("the topic is there"), last + 1);
            // Before the lowest offset: the pull is told where the queue begins.
            let moved = connection.pull(&look("g", "t", 0, 0)).await.expect("it is answered");
            let found = connection.pull(&look("g", "t", 0, min)).await.expect("it is answered");
            if connection.min_offset("t", 0).await.expect("the topic is there") == min {
                assert_eq!((moved.code, moved.offsets.next_begin_offset), (21, min));
                assert!(texts(&found)[0].starts_with(&format!("{min:04}")));
                break;
            }
        }
        // The state of the deleted files.
        assert_eq!(granted(&committed(&connection, "g", "early", 2).await).get("offset"), "1");
        assert_eq!(connection.max_offset("early", 2).await.expect("it is there"), 1);
        assert_eq!(connection.min_offset("early", 2).await.expect("it is there"), 1);
        let again = put(&connection, "early", 2, "later").await;
        again.queue_offset
    };
    assert_eq!(early.queue_offset, 0);
    assert_eq!(check(&server).await, 1);
    server.kill();
    let server = Server::start(&folder, &SMALL_LOG);
    let connection = server.connect().await;
    assert_eq!(connection.max_offset("early", 2).await.expect("it is there"), 2);
    assert_eq!(connection.min_offset("early", 2).await.expect("it is there"), 1);
    assert_eq!(granted(&committed(&connection, "g", "early", 2).await).get("offset"), "1");
    assert_eq!(put(&connection, "t", 0, "more").await.queue_offset, last + 1);
    server.stop();
}

const HOUR_MS: i64 = 3_600_000;
const MIB: u64 = 1 << 20;
/// The disk of the tests may be three quarters full: that is no reason here.
const ROOMY: &str = "diskMaxUsedSpaceRatio=95";
const EVERY_HOUR: &str =
    "deleteWhen=00;01;02;03;04;05;06;07;08;09;10;11;12;13;14;15;16;17;18;19;20;21;22;23";

/// Six files and a bit: two were full two hours ago, the others just now. Topic `old` has one
/// message, in the first; `t` the others.
fn two_old_files(data: &Path) {
    let now = now_ms();
    let mut past = Past::new(data, MIB);
    past.put("old", "", b"old", now - 2 * HOUR_MS);
    for (until, at) in [(2, now - 2 * HOUR_MS), (6, now)] {
        while past.end() < until * MIB + 1000 {
            past.put("t", "", &[b'x'; 50_000], at);
        }
    }
    past.stop();
}

/// What `kerolox log plan --json` says with these words.
fn plan(words: &[&str], dir: &Path) -> Value {
    let output = Command::new(binary())
        .args(["log", "plan", "--json"])
        .args(words)
        .arg(dir)
        .output()
        .expect("the binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Of each file: begin, when it goes (now or not), why, whether it is expired.
fn fates(plan: &Value) -> Vec<(u64, bool, String, bool)> {
    let rows = plan["files"].as_array().expect("a list").iter().map(|file| {
        let deleted = &file["deleted"];
        let text = deleted["reason"].as_str().or(file["kept"].as_str()).unwrap_or_default();
        let now = deleted["at"].as_i64().is_some_and(|at| at <= now_ms());
        let begin = file["begin"].as_u64().unwrap_or_default();
        (begin / MIB, now, text.to_owned(), deleted["expired"] == true)
    });
    rows.collect()
}

/// Starts a server and waits until only files from this one on are left.
async fn until_only(launch: Launch, data: &Path, first: u64) -> Server {
    let server = launch.start();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let plan = plan(&[], data);
        assert_eq!(plan["running"], true);
        let oldest = plan["files"][0]["begin"].as_u64().expect("a file") / MIB;
        assert!(oldest <= first, "too much is deleted, up to {oldest}\n{}", server.log());
        if oldest == first {
            return server;
        }
        assert!(Instant::now() < deadline, "{oldest} is left\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn files_go_by_age_as_the_plan_says_and_the_topics_are_named() {
    let folder = Folder::new();
    let data = folder.data();
    two_old_files(&data);
    let age = |now, expired| (now, "age".to_owned(), expired);
    let with = |i, (now, why, expired): (bool, String, bool)| (i, now, why, expired);
    let open = || (6, false, "open".to_owned(), false);
    // The hour before this one: it is long until that comes.
    let before = (now_ms() / HOUR_MS + 23) % 24;
    let hour = format!("deleteWhen={before:02}");
    let later = plan(&["--set", "fileReservedTime=1", "--set", &hour, "--set", ROOMY], &data);
    let mut expected: Vec<_> = (0..6).map(|i| with(i, age(false, true))).collect();
    expected.push(open());
    assert_eq!(fates(&later), expected);
    let at = later["files"][0]["deleted"]["at"].as_i64().expect("a time");
    assert_eq!((at / HOUR_MS % 24, at % HOUR_MS), (before, 0));
    assert!((0..=23 * HOUR_MS).contains(&(at - now_ms())));

    let settings = ["--set", "fileReservedTime=1", "--set", EVERY_HOUR, "--set", ROOMY];
    let now = plan(&settings, &data);
    let mut expected: Vec<_> = (0..6).map(|i| with(i, age(i < 2, true))).collect();
    expected.push(open());
    assert_eq!(fates(&now), expected);
    assert_eq!(now["running"], false);
    let first = &now["files"][0];
    assert_eq!((&first["bytes"], &first["end"]), (&json!(MIB), &json!(MIB)));
    assert_eq!(first["topics"][1], json!({"topic": "old", "messages": 1}));
    assert_eq!(first["topics"][0]["topic"], "t");
    let messages: i64 = (0..2).filter_map(|file| now["files"][file]["messages"].as_i64()).sum();
    assert!(now_ms() - now["files"][1]["lastStored"].as_i64().expect("a time") >= 2 * HOUR_MS);

    // The running server does what was said.
    let launch = || Launch::new(&folder).args(&SMALL).args(&settings);
    let server = until_only(launch(), &data, 2).await;
    let said = server.log();
    let line = "an old log file is deleted file=0 why=\"fileReservedTime and deleteWhen\"";
    let line = said.lines().find(|said| said.contains(line)).expect("it is said");
    assert!(line.contains("INFO") && line.contains("old 1"), "{line}");
    let page = common::http::get(server.ports.http, "/metrics").body;
    let counted = format!("reason=\"age\"}} {messages}\n");
    assert!(page.contains(&counted), "{counted}\n{page}");
    assert_eq!(server.metric("kerolox_deleted_files_total"), 2);
    assert_eq!(server.metric("kerolox_deleted_messages_total"), messages);
    assert_eq!(server.metric("kerolox_deleted_early_messages_total"), 0);
    server.stop();
    let mut expected: Vec<_> = (2..6).map(|i| with(i, age(false, true))).collect();
    expected.push(open());
    assert_eq!(fates(&plan(&settings, &data)), expected);
}

/// 329.
#[tokio::test]
async fn files_whose_time_has_come_go_at_any_hour_if_that_is_asked_for() {
    let folder = Folder::new();
    two_old_files(&folder.data());
    let hour = format!("deleteWhen={:02}", (now_ms() / HOUR_MS + 22) % 24);
    let settings = ["--set", "fileReservedTime=1", "--set", &hour, "--set", ROOMY];
    let server = Launch::new(&folder).args(&SMALL).args(&settings).start();
    let connection = server.connect().await;
    let moved = async || {
        let reply = connection.pull(&look("g", "t", 0, 0)).await.expect("it is answered");
        reply.code == 21
    };
    assert!(!moved().await, "they went before that");
    granted(&ask(&connection, request::DELETE_EXPIRED_COMMITLOG, &[]).await);
    server.wait_for_metric("kerolox_deleted_files_total", |count| count == 2).await;
    assert!(moved().await);
    server.stop();
}

#[tokio::test]
async fn files_go_when_the_disk_is_full_as_the_plan_says_and_that_is_a_warning() {
    let folder = Folder::new();
    let Some(mount) = Mount::new(&folder, 40) else { return };
    two_old_files(&mount.data());
    // The log takes 7 MiB, and zeros ahead of it one more, of 40.
    let settings = ["--set", "diskSpaceCleanForciblyRatio=11"];
    let fates = fates(&plan(&settings, &mount.data()));
    let now: Vec<_> = fates.iter().filter(|(_, now, ..)| *now).collect();
    assert!((2..5).contains(&now.len()), "{fates:?}");
    for (_, _, why, expired) in now {
        assert_eq!((why.as_str(), *expired), ("space", false));
    }
    // Refused sends take no messages with them if none may go before its time.
    let never =
        ["--set", "diskSpaceCleanForciblyRatio=100", "--set", "diskSpaceWarningLevelRatio=11"];
    let never = plan(&never, &mount.data());
    assert_eq!(never["settings"]["diskSpaceCleanForciblyRatio"], Value::Null);
    assert!(self::fates(&never).iter().all(|(_, _, why, _)| why != "space"), "{never}");
    let server = Launch::bare(&folder).data_dir(&mount.data()).args(&SMALL).args(&settings).start();
    let warning = "a log file is deleted before fileReservedTime: its messages are gone file=1048576 why=\"diskSpaceCleanForciblyRatio\"";
    server.wait_for_log(warning).await;
    server.wait_for_metric("kerolox_deleted_early_messages_total", |count| count > 30).await;
    let page = common::http::get(server.ports.http, "/metrics").body;
    assert!(page.contains("topic=\"old\",is_system=\"false\"} 1\n"), "{page}");
    server.stop();
}
