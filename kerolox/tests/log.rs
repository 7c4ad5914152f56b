//! `kerolox log check` and `kerolox log dump`: what they say of a sound log, a damaged one and one
//! that is in use, and that they change nothing.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use bytes::Bytes;
use common::call::{encoded, make_topic, message, put};
use common::{Folder, Launch, SMALL, Server, binary, contents};
use kerolox_protocol::ids;
use serde_json::Value;

/// Runs `kerolox log` with these words and the directory; it must end with `code`.
#[track_caller]
fn log(words: &[&str], dir: &Path, code: i32) -> Output {
    let before = if dir.is_dir() { contents(dir) } else { Vec::new() };
    let output = Command::new(binary()).arg("log").args(words).arg(dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    if dir.is_dir() {
        assert_eq!(contents(dir), before, "{words:?} changed something");
    }
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The JSON objects of an output, one a line.
fn objects(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ten messages of topic `t` and three of `u`, with keys and tags; their positions.
async fn a_log(folder: &Folder) -> Vec<u64> {
    let server = Server::start(folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    make_topic(&connection, "u", 1).await;
    let mut positions = Vec::new();
    for i in 0..10 {
        let mut send = message("t", 0);
        send.properties = encoded(&[("KEYS", &format!("key-{i}")), ("TAGS", "red")]).into();
        let sent = connection.send(&send, Bytes::from(format!("message {i}"))).await.unwrap();
        positions.push(ids::parse_offset_id(&sent.msg_id).unwrap().1);
    }
    for i in 0..3 {
        put(&connection, "u", 0, &format!("other {i}")).await;
    }
    server.stop();
    positions
}

fn patch(folder: &Folder, at: u64, bytes: &[u8]) {
    let file = folder.data().join("commitlog").join(format!("{:020}", 0));
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

#[tokio::test]
async fn a_sound_log_is_checked_and_printed() {
    let folder = Folder::new();
    let positions = a_log(&folder).await;
    let data = folder.data();
    assert!(text(&log(&["check"], &data, 0)).contains("13 messages"));
    let checked = &objects(&log(&["check", "--json"], &data, 0))[0];
    assert_eq!(checked["records"], 13);
    assert_eq!(checked["damage"], Value::Array(Vec::new()));
    assert_eq!(checked["cutBytes"], 0);
    // The last seal of a clean stop says that all before it is flushed.
    assert!(checked["proof"].as_u64().unwrap() > *positions.last().unwrap());

    let all = objects(&log(&["dump", "--json", "--topic", "t"], &data, 0));
    assert_eq!(all.len(), 10);
    for (i, record) in all.iter().enumerate() {
        assert_eq!(record["position"], positions[i]);
        assert_eq!((&record["offset"], &record["keys"]), (&i.into(), &format!("key-{i}").into()));
        assert_eq!((&record["tags"], &record["body"]), (&"red".into(), &9.into()));
        assert!(record["stored"].as_i64() >= record["born"].as_i64());
    }
    let from = positions[7].to_string();
    let some = objects(&log(&["dump", "--json", "--from", &from, "--limit", "5"], &data, 0));
    let found: Vec<_> = some.iter().map(|record| record["topic"].as_str().unwrap()).collect();
    assert_eq!(found, ["t", "t", "t", "u", "u"]);
    let lines = text(&log(&["dump", "--state"], &data, 0));
    assert!(lines.contains("TopicPut") && lines.contains("t/0:9 "), "{lines}");
    let state = objects(&log(&["dump", "--state", "--json"], &data, 0));
    assert!(state.iter().any(|line| line["kind"] == "change"), "{state:?}");
}

/// A change was shown where the last message before it ends, and with `--from` not at all if no message came.
#[tokio::test]
async fn a_change_is_shown_where_it_stands() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let mut sent = 0;
    for topic in ["a", "b", "c"] {
        make_topic(&connection, topic, 1).await;
        // Each in a round of its own.
        if topic == "a" {
            let id = put(&connection, topic, 0, "x").await.msg_id;
            sent = ids::parse_offset_id(&id).unwrap().1;
        }
    }
    server.stop();
    let made = |words: &[&str]| -> Vec<(String, u64)> {
        let lines = objects(&log(words, &folder.data(), 0)).into_iter();
        let of = |line: Value| {
            let text = line["change"].as_str()?;
            let topic = ["a", "b", "c"].into_iter().find(|t| text.contains(&format!("\"{t}\"")));
            let topic = topic.filter(|_| text.contains("TopicPut"))?;
            Some((topic.to_owned(), line["position"].as_u64()?))
        };
        lines.filter_map(of).collect()
    };
    let all = made(&["dump", "--state", "--json"]);
    let topics: Vec<&str> = all.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["a", "b", "c"]);
    assert!(all[0].1 <= sent && sent < all[1].1 && all[1].1 < all[2].1, "{sent}: {all:?}");
    for first in 0..3 {
        let from = all[first].1.to_string();
        assert_eq!(made(&["dump", "--state", "--json", "--from", &from]), all[first..]);
    }
}

#[tokio::test]
async fn damage_is_named_with_its_place_and_ends_with_1() {
    let folder = Folder::new();
    let positions = a_log(&folder).await;
    // A body; and a stretch behind the end, as a crash may leave it.
    patch(&folder, positions[4] + 90, b"#");
    patch(&folder, 500_000, &[0xab; 1000]);
    let data = folder.data();
    let damage = format!("damage    {} to ", positions[4]);
    let output = log(&["check"], &data, 1);
    assert!(text(&output).contains(&damage), "{}", text(&output));
    assert!(text(&output).contains("a start sets them aside and cuts them"), "{}", text(&output));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("is damaged in 1 places"), "{stderr}");
    let checked = &objects(&log(&["check", "--json"], &data, 1))[0];
    assert_eq!(checked["damage"][0]["begin"], positions[4]);
    assert_eq!(
        (&checked["damage"][0]["what"], &checked["records"]),
        (&"record".into(), &12.into())
    );
    let dumped = objects(&log(&["dump", "--json", "--topic", "t"], &data, 0));
    assert_eq!(dumped.iter().filter(|line| line["kind"] == "record").count(), 9);
    assert_eq!(dumped.last().unwrap()["kind"], "lost");

    // A start finds the same.
    let end = &checked["end"];
    let server = Server::start(&folder, &SMALL);
    let said = server.log();
    let report = format!("lost to damage on the disk: record from {} to ", positions[4]);
    assert!(said.contains(&report) && said.contains(&format!("{end}")), "{end}\n{said}");
    server.stop();
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_so_is_one_that_holds_no_log() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    for words in [["check"], ["dump"]] {
        let stderr = log_in_use(&words, &folder.data());
        assert!(stderr.contains("is in use by another process; stop it first"), "{stderr}");
    }
    server.stop();
    log(&["check"], &folder.data(), 0);
    let empty = folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = log(&["check"], &empty, 6);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("is no data directory of Kerolox"), "{stderr}");
    for words in ["check", "dump", "plan", "repair-index", "hand-over"] {
        let output = log(&[words], &folder.join("nowhere"), 6);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("nowhere is not there"), "{words}: {stderr}");
    }
    // The lock was given back.
    Launch::new(&folder).args(&SMALL).start().stop();
}

/// As [`log`], but a running server may change its files meanwhile.
fn log_in_use(words: &[&str], dir: &Path) -> String {
    let output = Command::new(binary()).arg("log").args(words).arg(dir).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
