//! Disks and directories that are not as they should be: full, also at the start; read-only;
//! another broker's, of a newer format, or damaged. A start that cannot go on says why in one line
//! and changes nothing; a running server refuses what needs the disk, and goes on when it can.
//!
//! Full and read-only file systems are small mounts where the machine lets a test mount some. Each
//! test says whether it had one; where not, [`the_seam_stands_for_a_full_disk`] is all there is.

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{
    ask, body, commit, granted, join, look, make_topic, message, pairs, put, read, refused, tell,
};
use common::mount::Mount;
use common::{Folder, Launch, SMALL, Server, contents, http};
use kerolox_client::{Connection, Error, OwnedReply};
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::fault::{FaultDisk, Faults};
use kerolox_log::disk::{Disk, Open};
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::identity::{self, Identity};
use kerolox_log::recover::{RecoverError, Replay, recover};
use kerolox_log::seal::Link;
use kerolox_log::{PhysicalOffset, recover};
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::send::Send;
use kerolox_protocol::{batch, ids};

/// Nothing is deleted to make room: the tests want to find it again.
const KEEP: [&str; 2] = ["--set", "diskSpaceCleanForciblyRatio=100"];

/// A small file system, or a word on why there is none.
fn small(folder: &Folder, mib: u32) -> Option<Mount> {
    let mount = Mount::new(folder, mib);
    match &mount {
        Some(mount) => println!("on a mounted tmpfs of {mib} MiB at {}", mount.path().display()),
        None => println!("mounting is not allowed here: only the seam is tested"),
    }
    mount
}

fn launch(folder: &Folder, mount: &Mount) -> Launch {
    Launch::bare(folder).data_dir(&mount.data()).args(&SMALL).args(&KEEP)
}

async fn send(connection: &Connection, text: &str) -> OwnedReply {
    let body = Bytes::copy_from_slice(text.as_bytes());
    connection.call(310, &message("t", 0), body).await.unwrap()
}

/// Sends until it is refused, or until it is taken again.
async fn send_until(connection: &Connection, taken: bool, stored: &mut Vec<String>) -> OwnedReply {
    let deadline = Instant::now() + Duration::from_secs(20);
    for i in 0.. {
        let text = format!("{i} {}", "x".repeat(10_000));
        let reply = send(connection, &text).await;
        if reply.code == 0 {
            stored.push(text);
        }
        if (reply.code == 0) == taken {
            return reply;
        }
        assert!(Instant::now() < deadline, "{:?}", reply.remark);
        if taken {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    unreachable!("it is sent for ever")
}

#[tokio::test]
async fn a_full_disk_refuses_sends_and_nothing_else_until_there_is_room() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    let mut stored = vec!["before".to_owned()];
    let sent = put(&connection, "t", 0, "before").await;
    let position = ids::parse_offset_id(&sent.msg_id).unwrap().1.to_string();
    join(&connection, "g", "c", "t").await;
    for _ in 0..3 {
        mount.fill();
        let reply = send_until(&connection, false, &mut stored).await;
        refused(&reply, 14, "service not available now. It may be caused by disk full");
        // Also small ones, once it has been noticed how full the disk is.
        let deadline = Instant::now() + Duration::from_secs(10);
        while http::get(server.ports.http, "/readyz").status != 503 {
            assert!(Instant::now() < deadline, "{}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Whatever else a client wants.
        assert_eq!(read(&connection, "t", 0).await, stored);
        join(&connection, "g", "c", "t").await;
        commit(&connection, "g", "t", 0, stored.len() as i64).await;
        granted(&ask(&connection, request::VIEW_MESSAGE_BY_ID, &[("offset", &position)]).await);
        assert!(connection.route("t").await.unwrap().is_some());
        let fields = [("offset", &*position), ("group", "g"), ("delayLevel", "1")];
        let reply = ask(&connection, request::CONSUMER_SEND_MSG_BACK, &fields).await;
        refused(&reply, 14, "It may be caused by disk full");
        let mut bytes = Vec::new();
        let inner = batch::Inner { flag: 0, body: b"x", properties: b"" };
        (0..100).for_each(|_| batch::push(&mut bytes, &inner));
        let header = Send { batch: true, ..message("t", 0) };
        let reply = connection.call(320, &header, bytes.into()).await.unwrap();
        refused(&reply, 14, "It may be caused by disk full");
        let page = http::get(server.ports.http, "/readyz");
        assert_eq!(page.status, 503);
        assert!(page.body.starts_with("disk full: ") && page.body.contains("% full"), "{page:?}");
        assert_eq!(http::get(server.ports.http, "/livez").status, 200);

        mount.empty();
        send_until(&connection, true, &mut stored).await;
        assert_eq!(http::get(server.ports.http, "/readyz").status, 200);
        assert_eq!(read(&connection, "t", 0).await, stored);
    }
    assert!(server.log().contains("the disk has room again: sends are taken"), "{}", server.log());
    assert!(!server.log().contains("failed"), "{}", server.log());
    server.kill();
    let server = launch(&folder, &mount).start();
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    server.stop();
}

/// That the disk was full when it stopped was taken for a log that had failed (7).
#[tokio::test]
async fn a_server_stops_with_0_while_the_disk_is_full() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    let mut stored = Vec::new();
    send_until(&connection, true, &mut stored).await;
    mount.fill();
    send_until(&connection, false, &mut stored).await;
    server.stop();
    mount.empty();
    let server = launch(&folder, &mount).start();
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    server.stop();
}

/// Messages leave room for what else the log must hold: committed offsets, seals, settings.
#[tokio::test]
async fn a_disk_that_stays_full_does_not_fail_the_log() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    let mut stored = Vec::new();
    send_until(&connection, true, &mut stored).await;
    join(&connection, "g", "c", "t").await;
    mount.fill();
    send_until(&connection, false, &mut stored).await;
    // Settings, as many as there are.
    let mut refusals = 0;
    for i in 0..150 {
        let fields =
            pairs(&[("topic", &format!("full{i}")), ("readQueueNums", "1"), ("perm", "6")]);
        let attribute = format!("+a={}", "x".repeat(15_000));
        let fields = fields.with("writeQueueNums", "1").with("attributes", &attribute);
        let code = request::UPDATE_AND_CREATE_TOPIC;
        let reply = connection.call(code, &fields, Bytes::new()).await.unwrap();
        if reply.code != 0 {
            refused(&reply, 14, "It may be caused by disk full");
            refusals += 1;
        }
    }
    println!("{refusals} of 150 topics were refused");
    // Offsets, each second anew.
    for i in 0..4 {
        commit(&connection, "g", "t", 0, i % 2).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    assert!(!server.log().contains("writing the log failed"), "{}", server.log());
    mount.empty();
    send_until(&connection, true, &mut stored).await;
    assert_eq!(read(&connection, "t", 0).await, stored);
    server.stop();
}

/// The log was faster than what reserves room for it, and failed for good.
#[tokio::test]
async fn a_disk_that_fills_up_under_load_takes_messages_again_without_a_restart() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 48) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    make_topic(&connection, "t", 8).await;
    let going_on = Arc::new(AtomicBool::new(true));
    let mut senders = Vec::new();
    for queue in 0..8 {
        let (connection, going_on) = (server.connect().await, going_on.clone());
        senders.push(tokio::spawn(async move {
            let mut stored = Vec::new();
            for i in 0.. {
                let text = format!("{queue} {i} {}", "x".repeat(40_000));
                match connection.send(&message("t", queue), text.clone().into()).await {
                    Ok(_) => stored.push(text),
                    Err(Error::Timeout { .. } | Error::Refused { code: 14, .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(e) => panic!("{e}"),
                }
                if !going_on.load(Ordering::Relaxed) {
                    break;
                }
            }
            stored
        }));
    }
    let pause = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
    for _ in 0..2 {
        pause(100).await;
        mount.fill();
        server.wait_for_log("the disk").await;
        pause(500).await;
        let before = server.metric("rocketmq_messages_in_total");
        mount.empty();
        server.wait_for_metric("rocketmq_messages_in_total", |count| count > before + 8).await;
    }
    going_on.store(false, Ordering::Relaxed);
    let log = server.log();
    assert!(!log.contains("failed") && !log.contains("is deleted"), "{log}");
    let mut all = Vec::new();
    for sender in senders {
        all.push(sender.await.unwrap());
    }
    server.kill();
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    for (queue, stored) in all.iter().enumerate() {
        let found = read(&connection, "t", queue as i32).await;
        println!("{} of queue {queue}", stored.len());
        assert!(stored.len() > 2 && stored.iter().all(|text| found.contains(text)), "{queue}");
    }
    server.stop();
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_ends_with_5() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 4) else { return };
    mount.fill();
    let ended = launch(&folder, &mount).fails();
    ended.check(5, "No space left on device");
    mount.empty();
    // What it left does not hinder the next one.
    let server = launch(&folder, &mount).start();
    put(&server.connect().await, "t", 0, "x").await;
    server.stop();
}

#[tokio::test]
async fn a_start_on_a_full_disk_ends_with_5_or_waits_for_room() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    let mut stored = Vec::new();
    for _ in 0..5 {
        send_until(&connection, true, &mut stored).await;
    }
    server.stop();
    mount.fill();
    let before = contents(&mount.data());
    let mut server = launch(&folder, &mount).spawn();
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.runs() && !server.log().contains("is ready") && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if server.runs() {
        println!("it runs");
        drop(server);
        let server = launch(&folder, &mount).start();
        let connection = server.connect().await;
        assert_eq!(read(&connection, "t", 0).await, stored);
        send_until(&connection, false, &mut stored).await;
        mount.empty();
        send_until(&connection, true, &mut stored).await;
        server.stop();
    } else {
        let ended = server.ended(Duration::from_secs(1));
        println!("{}", ended.stderr);
        ended.check(5, "No space left on device");
        // But for what it had made of the next file.
        let after = contents(&mount.data());
        assert!(before.iter().all(|file| after.contains(file)), "{before:?}\n{after:?}");
        mount.empty();
    }
    let server = launch(&folder, &mount).start();
    assert_eq!(read(&server.connect().await, "t", 0).await, stored);
    server.stop();
}

/// Where the log of a stopped server ends, and its file.
fn end_of_log(data: &Path) -> (PathBuf, u64) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("commitlog"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::read(path).unwrap().iter().any(|b| *b != 0))
        .collect();
    files.sort();
    let file = files.pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    (file, end as u64)
}

/// Writes behind the log's end, as an interrupted write leaves it.
fn tear(data: &Path) {
    let (file, end) = end_of_log(data);
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[0xab; 5000], end + 4096).unwrap();
}

#[tokio::test]
async fn an_unconfirmed_end_is_set_aside_and_reported() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    put(&server.connect().await, "t", 0, "kept").await;
    server.stop();
    tear(&folder.data());
    let server = Server::start(&folder, &SMALL);
    let log = server.log();
    assert!(log.contains("WARN the log's end was not confirmed: "), "{log}");
    assert_eq!(std::fs::read_dir(folder.data().join("set-aside")).unwrap().count(), 1);
    let connection = server.connect().await;
    put(&connection, "t", 0, "goes on").await;
    assert_eq!(read(&connection, "t", 0).await, ["kept", "goes on"]);
    server.stop();
    let server = Server::start(&folder, &SMALL);
    assert!(!server.log().contains("WARN"), "{}", server.log());
    server.stop();
}

#[tokio::test]
async fn a_start_that_cannot_set_the_logs_end_aside_ends_with_5_and_changes_nothing() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 8) else { return };
    let server = launch(&folder, &mount).start();
    put(&server.connect().await, "t", 0, "kept").await;
    server.stop();
    tear(&mount.data());
    mount.fill();
    let before = contents(&mount.data());
    for _ in 0..2 {
        let ended = launch(&folder, &mount).fails();
        ended.check(
            5,
            "must be set aside before the log can go on, but that failed: No space left on device",
        );
        ended.check(5, "Free some room and start again; nothing was changed");
        let mut after = contents(&mount.data());
        after.retain(|(path, ..)| !path.ends_with("set-aside"));
        assert_eq!(after, before);
    }
    mount.empty();
    let server = launch(&folder, &mount).start();
    assert!(server.log().contains("were set aside in"), "{}", server.log());
    assert_eq!(read(&server.connect().await, "t", 0).await, ["kept"]);
    server.stop();
}

#[tokio::test]
async fn a_read_only_directory_ends_the_start_with_6() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 8) else { return };
    mount.set_writable(false);
    launch(&folder, &mount).fails().check(6, "cannot be made: Read-only file system");
    mount.set_writable(true);
    let server = launch(&folder, &mount).start();
    put(&server.connect().await, "t", 0, "kept").await;
    server.stop();
    mount.set_writable(false);
    launch(&folder, &mount).fails().check(6, "cannot be written: Read-only file system");
    mount.set_writable(true);
    let server = launch(&folder, &mount).start();
    assert_eq!(read(&server.connect().await, "t", 0).await, ["kept"]);
    server.stop();
}

/// Takes nothing of a log.
struct Deaf;

impl Replay for Deaf {
    fn record(&mut self, _: &View<'_>, _: u32) {}
    fn change(&mut self, _: &[u8]) {}
    fn progress(&mut self, _: u64, _: u64) {}
}

#[test]
fn the_seam_stands_for_a_full_disk() {
    println!("on the seam");
    let disk = FaultDisk::default();
    let seam: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = Path::new("/data");
    disk.create_dir(dir).unwrap();
    let fresh = Identity { number: [7; 16], writer: 9 };
    disk.set_faults(Faults { room: Some(0), ..Faults::default() });
    assert!(identity::open(&*seam, dir, Some(1 << 20), fresh).is_err());
    disk.set_faults(Faults::default());
    let (identity, file_size) = identity::open(&*seam, dir, Some(1 << 20), fresh).unwrap();
    let files = Arc::new(Files::open(seam.clone(), dir, file_size).unwrap());
    let (next, before) = (PhysicalOffset(0), Link::NONE);
    let mut log =
        Appender::new(identity, file_size, Resume { next, before, store_timestamp: 0, start: 1 });
    let mut writer = Writer::new(files.clone(), next);
    for i in 0..10 {
        log.change(&[i; 100]);
        writer.write(&log.take_rounds()).unwrap();
        writer.sync().unwrap();
        log.set_flushed(writer.watermarks().flushed);
    }
    let path = dir.join("commitlog").join(format!("{:020}", 0));
    let file = disk.open(&path, Open::Write).unwrap();
    file.write_at(&[&[0xab; 5000]], 100_000).unwrap();
    let everything = || {
        let crc = |name: &PathBuf| crc32fast::hash(&disk.content(name).unwrap_or_default());
        disk.names().into_iter().map(|name| (crc(&name), name)).collect::<Vec<_>>()
    };
    let before = everything();
    for _ in 0..2 {
        disk.set_faults(Faults { room: Some(0), ..Faults::default() });
        let failed = recover(&files, dir, &identity, None, &mut Deaf).unwrap_err();
        assert!(matches!(failed, RecoverError::SetAside { .. }), "{failed}");
        assert_eq!(everything(), before);
    }
    disk.set_faults(Faults::default());
    let (_, report) = recover::recover(&files, dir, &identity, None, &mut Deaf).unwrap();
    assert!(report.cut.is_some_and(|cut| cut.bytes >= 5000));
}

#[test]
fn a_directory_of_apaches_broker_ends_the_start_with_6_and_stays_as_it_is() {
    let folder = Folder::new();
    let data = folder.data();
    for dir in ["commitlog", "consumequeue/t/0", "config", "index"] {
        std::fs::create_dir_all(data.join(dir)).unwrap();
    }
    let log = data.join("commitlog").join(format!("{:020}", 0));
    std::fs::write(&log, b"\0\0\0\x5b\xda\xa3\x20\xa7").unwrap();
    std::fs::write(data.join("config/topics.json"), "{\"topicConfigTable\":{}}").unwrap();
    for file in ["checkpoint", "abort"] {
        std::fs::write(data.join(file), "17").unwrap();
    }
    let before = contents(&data);
    let reason = "holds a commit log that Kerolox did not write; give another --data-dir";
    Launch::new(&folder).fails().check(6, reason);
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
    let cases: [(&str, &dyn Fn(&Path, &[u64])); 5] = [
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
