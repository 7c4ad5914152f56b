//! Directories that are not as they should be: another broker's, of a newer format, or damaged. A
//! start that cannot go on says why in one line and changes nothing; one that can says what was
//! lost, and serves the rest.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use common::call::{ask, body, commit, granted, join, look, make_topic, put, read, refused, tell};
use common::{Folder, Launch, SMALL, Server, binary, contents};
use kerolox_protocol::ids;
use kerolox_protocol::remoting::codes::request;

/// Whole directories of Apache's broker are taken over: the tests with that broker show it.
#[test]
fn what_is_left_of_another_brokers_directory_ends_the_start_with_6_and_stays_as_it_is() {
    let folder = Folder::new();
    let data = folder.data();
    for dir in ["commitlog", "consumequeue/t/0", "index"] {
        std::fs::create_dir_all(data.join(dir)).unwrap();
    }
    let log = data.join("commitlog").join(format!("{:020}", 0));
    std::fs::write(&log, b"\0\0\0\x5b\xda\xa3\x20\xa7").unwrap();
    for file in ["checkpoint", "abort"] {
        std::fs::write(data.join(file), "17").unwrap();
    }
    let before = contents(&data);
    let reason = "nor the folder config of Apache's broker; give the whole directory, or another";
    Launch::new(&folder).fails().check(6, reason);
    assert_eq!(contents(&data), before);
    std::fs::create_dir(data.join("config")).unwrap();
    std::fs::write(data.join("config/topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    let before = contents(&data);
    let reason = "has 8 bytes, which no file of a commit log has; give another --data-dir";
    Launch::new(&folder).fails().check(6, reason);
    assert_eq!(contents(&data), before);
    // The whole directory of a broker whose log files have another size than is configured.
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.set_len(1 << 20).unwrap();
    let before = contents(&data);
    let reason =
        "has files of 1048576 bytes, the configuration says mappedFileSizeCommitLog=2097152";
    let other = ["--set", "mappedFileSizeCommitLog=2097152", "--set", "maxMessageSize=262144"];
    Launch::new(&folder).args(&other).fails().check(6, reason);
    assert_eq!(contents(&data), before);
}

#[test]
fn a_directory_that_is_none_of_ours_ends_the_start_with_6_and_stays_as_it_is() {
    let folder = Folder::new();
    let data = folder.data();
    std::fs::create_dir_all(data.join("photos")).unwrap();
    std::fs::write(data.join("photos/cat.jpg"), "meow").unwrap();
    let before = contents(&data);
    let reason = "is not empty and not a data directory of Kerolox; give another --data-dir";
    Launch::new(&folder).fails().check(6, reason);
    assert_eq!(contents(&data), before);
    let file = folder.join("file");
    std::fs::write(&file, "a file").unwrap();
    Launch::bare(&folder).data_dir(&file).fails().check(6, "cannot be made: ");
    Launch::bare(&folder).data_dir(&file.join("below")).fails().check(6, "cannot be made: ");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
}

/// A log with a message in it, and its directory as it was left.
async fn stopped(folder: &Folder) -> Vec<(PathBuf, u64, u32)> {
    let server = Server::start(folder, &SMALL);
    put(&server.connect().await, "t", 0, "kept").await;
    server.stop();
    contents(&folder.data())
}

/// Replaces bytes of a file.
fn patch(file: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

#[tokio::test]
async fn a_directory_of_a_newer_release_ends_the_start_with_6_and_stays_as_it_is() {
    let folder = Folder::new();
    let good = stopped(&folder).await;
    let identity = folder.data().join("kerolox");
    let bytes = std::fs::read(&identity).unwrap();
    let mut newer = bytes.clone();
    newer[9] = 2;
    let crc = crc32fast::hash(&newer[..44]).to_be_bytes();
    newer[44..48].copy_from_slice(&crc);
    std::fs::write(&identity, &newer).unwrap();
    let before = contents(&folder.data());
    let ended = Launch::new(&folder).args(&SMALL).fails();
    ended.check(6, "has format version 2; this release reads up to 1. Run the newer release");
    assert_eq!(contents(&folder.data()), before);
    std::fs::write(&identity, &bytes).unwrap();
    assert_eq!(contents(&folder.data()), good);

    // The same of a snapshot, whose checksum is right.
    let mut snapshot = [b"KEROSNAP\0\x02\0\0", &bytes[12..28], &[0; 36]].concat();
    snapshot.extend(crc32fast::hash(&snapshot).to_be_bytes());
    let snapshots = folder.data().join("snapshot");
    std::fs::create_dir_all(&snapshots).unwrap();
    std::fs::write(snapshots.join(format!("{:020}", 0)), snapshot).unwrap();
    let before = contents(&folder.data());
    let ended = Launch::new(&folder).args(&SMALL).fails();
    let reason = "00000000000000000000: it has a newer format; run the newer release";
    ended.check(6, reason);
    let mut repair = Command::new(binary());
    let output = repair.args(["log", "repair-index"]).arg(folder.data()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(6) && stderr.contains(reason), "{stderr}");
    assert_eq!(contents(&folder.data()), before);
    std::fs::remove_dir_all(&snapshots).unwrap();

    // The same of a seal, whose checksums are right.
    let log = folder.data().join("commitlog").join(format!("{:020}", 0));
    let mut bytes = std::fs::read(&log).unwrap();
    let seal = bytes.windows(8).rposition(|window| window == b"KEROSEAL").unwrap();
    let size = u32::from_be_bytes(bytes[seal - 4..seal].try_into().unwrap()) as usize;
    bytes[seal + 25] = 2;
    let crc = crc32fast::hash(&bytes[seal..seal + size - 4]).to_be_bytes();
    bytes[seal + size - 4..seal + size].copy_from_slice(&crc);
    let record = seal - 88;
    let crc = crc32fast::hash(&bytes[seal..seal + size]) & 0x7fff_ffff;
    bytes[record + 8..record + 12].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&log, &bytes).unwrap();
    let before = contents(&folder.data());
    let ended = Launch::new(&folder).args(&SMALL).fails();
    ended.check(6, "the log was written by a newer release: the seal has format version 2");
    assert_eq!(contents(&folder.data()), before);
}

#[tokio::test]
async fn a_directory_whose_own_files_are_damaged_ends_the_start_with_6() {
    let folder = Folder::new();
    stopped(&folder).await;
    let identity = folder.data().join("kerolox");
    let good = std::fs::read(&identity).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for bad in [flipped(0), flipped(20), flipped(47), good[..40].to_vec(), Vec::new()] {
        std::fs::write(&identity, &bad).unwrap();
        let before = contents(&folder.data());
        let reason = "kerolox is damaged; restore it from a backup";
        Launch::new(&folder).args(&SMALL).fails().check(6, reason);
        assert_eq!(contents(&folder.data()), before);
    }
    std::fs::write(&identity, &good).unwrap();
    let reason = "the log in ";
    let args = ["--set", "mappedFileSizeCommitLog=2097152", "--set", "maxMessageSize=1000"];
    let ended = Launch::new(&folder).args(&args).fails();
    ended.check(6, reason);
    ended.check(
        6,
        "has files of 1048576 bytes, the configuration says mappedFileSizeCommitLog=2097152",
    );
    let stray = folder.data().join("commitlog/notes.txt");
    std::fs::write(&stray, "").unwrap();
    let reason = "notes.txt is no file of a commit log with files of 1048576 bytes; move it away";
    Launch::new(&folder).args(&SMALL).fails().check(6, reason);
    std::fs::remove_file(&stray).unwrap();
    // Without the size in the configuration the directory's own holds.
    Launch::new(&folder).args(&["--set", "maxMessageSize=1000"]).start().stop();
}

/// Thirty messages, each in a round of its own; their positions.
async fn thirty(folder: &Folder) -> Vec<u64> {
    let server = Server::start(folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let mut positions = Vec::new();
    for i in 0..30 {
        let sent = put(&connection, "t", 0, &format!("message {i}")).await;
        positions.push(ids::parse_offset_id(&sent.msg_id).unwrap().1);
    }
    join(&connection, "g", "c", "t").await;
    commit(&connection, "g", "t", 0, 20).await;
    server.stop();
    positions
}

#[tokio::test]
async fn a_message_that_is_damaged_in_the_middle_is_reported_and_stepped_over() {
    let folder = Folder::new();
    let positions = thirty(&folder).await;
    let log = folder.data().join("commitlog").join(format!("{:020}", 0));
    patch(&log, positions[10] + 90, b"#");
    for _ in 0..2 {
        let server = Server::start(&folder, &SMALL);
        let text = server.log();
        let report = format!("lost to damage on the disk: record from {} to ", positions[10]);
        assert!(text.contains(&report), "{report}\n{text}");
        let connection = server.connect().await;
        let found = read(&connection, "t", 0).await;
        let expected = (0..30).filter(|i| *i != 10).map(|i| format!("message {i}"));
        assert_eq!(found[..29], expected.collect::<Vec<_>>());
        // The others keep their offsets.
        let reply = connection.pull(&look("readers", "t", 0, 11)).await.unwrap();
        assert_eq!(common::call::records(&reply)[0].body, b"message 11");
        let at = positions[10].to_string();
        let reply = ask(&connection, request::VIEW_MESSAGE_BY_ID, &[("offset", &at)]).await;
        refused(&reply, 1, "look message by offset failed");
        let reply = common::call::committed(&connection, "g", "t", 0).await;
        assert_eq!(granted(&reply).get("offset"), "20");
        assert!(put(&connection, "t", 0, "goes on").await.queue_offset >= 30);
        server.stop();
    }
}

#[tokio::test]
async fn whatever_is_damaged_in_the_middle_the_rest_is_served() {
    // A seal; two rounds and what lies between; zeros for a page; a tail of noise behind damage.
    type Damage<'a> = &'a dyn Fn(&Path, &[u64]);
    let cases: [(&str, Damage<'_>); 5] = [
        ("a seal", &|log, at| patch(log, at[10] + 200, b"\xff\xff\xff\xff")),
        ("two rounds", &|log, at| {
            patch(log, at[10], &vec![0xab; (at[12] - at[10]) as usize]);
        }),
        ("a page of zeros", &|log, at| patch(log, at[10], &[0; 4096])),
        ("the first record", &|log, _| patch(log, 0, &[0xff; 64])),
        ("noise behind the end", &|log, at| {
            patch(log, at[10] + 90, b"#");
            patch(log, at[29] + 100_000, &[0xab; 1000]);
        }),
    ];
    for (what, damage) in cases {
        println!("{what}");
        let folder = Folder::new();
        let positions = thirty(&folder).await;
        let log = folder.data().join("commitlog").join(format!("{:020}", 0));
        damage(&log, &positions);
        let server = Server::start(&folder, &SMALL);
        let text = server.log();
        assert!(text.contains("lost to damage"), "{what}\n{text}");
        let connection = server.connect().await;
        let found = read(&connection, "t", 0).await;
        let last = format!("message {}", 29);
        assert!(found.contains(&last) && found.len() >= 12, "{what}: {found:?}\n{text}");
        let sent = put(&connection, "t", 0, "goes on").await;
        assert_eq!(sent.queue_offset, 30, "{what}");
        server.kill();
        let server = Server::start(&folder, &SMALL);
        let found = read(&server.connect().await, "t", 0).await;
        assert_eq!(found.last().unwrap(), "goes on", "{what}");
        server.stop();
    }
}

#[tokio::test]
async fn a_message_that_is_damaged_while_the_server_runs_is_not_served() {
    let folder = Folder::new();
    let positions = thirty(&folder).await;
    // After a start nothing is in memory.
    let server = Server::start(&folder, &SMALL);
    let log = folder.data().join("commitlog").join(format!("{:020}", 0));
    patch(&log, positions[10] + 90, b"#");
    let connection = server.connect().await;
    let reply = connection.pull(&look("g", "t", 0, 0)).await.unwrap();
    assert_eq!((reply.code, common::call::records(&reply).len()), (0, 10));
    assert_eq!(reply.offsets.next_begin_offset, 10);
    let reply = connection.call(11, &look("g", "t", 0, 10), Bytes::new()).await.unwrap();
    refused(&reply, 20, "the message at this offset is damaged on the disk");
    let header: common::call::Pairs = reply.header().unwrap();
    assert_eq!(header.get("nextBeginOffset"), "11");
    let reply = connection.pull(&look("g", "t", 0, 11)).await.unwrap();
    assert_eq!(common::call::records(&reply).len(), 19);
    assert_eq!(server.metric("kerolox_damaged_reads_total"), 2);
    assert!(server.log().contains("a stored message cannot be read"), "{}", server.log());
    server.stop();
}

#[tokio::test]
async fn a_log_file_that_is_missing_or_short_is_reported() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let large = "x".repeat(100_000);
    for _ in 0..25 {
        put(&connection, "t", 0, &large).await;
    }
    server.stop();
    let file = |n: u64| folder.data().join("commitlog").join(format!("{:020}", n << 20));
    assert!(file(2).is_file());
    // The middle one of three.
    std::fs::rename(file(1), folder.join("taken")).unwrap();
    let server = Server::start(&folder, &SMALL);
    let text = server.log();
    assert!(text.contains("lost to damage on the disk: "), "{text}");
    let connection = server.connect().await;
    let found = read(&connection, "t", 0).await.len();
    assert!((5..25).contains(&found), "{found}");
    assert_eq!(put(&connection, "t", 0, "goes on").await.queue_offset, 25);
    let config = br#"{"groupName":"new"}"#;
    granted(&tell(&connection, 200, &[], config).await);
    assert!(body(&ask(&connection, 352, &[("group", "new")]).await)["groupName"] == "new");
    server.stop();
}
