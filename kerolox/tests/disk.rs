//! Disks that are full, also at the start, or read-only. A start that cannot go on says why in one
//! line and changes nothing; a running server refuses what needs the disk, and goes on when it can.
//!
//! Full and read-only file systems are small mounts where the machine lets a test mount some. Each
//! test says whether it had one; where not, [`the_seam_stands_for_a_full_disk`] is all there is.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::call::{
    ask, commit, granted, join, make_topic, message, put, put_with, read, refused, tell,
};
use common::mount::{launch, send, send_until, small};
use common::{Folder, Launch, SMALL, Server, contents, http, trial};
use kerolox_client::{Connection, Error};
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
async fn a_delayed_message_that_comes_due_on_a_full_disk_is_delivered_when_there_is_room() {
    let folder = Folder::new();
    let Some(mount) = small(&folder, 16) else { return };
    if !trial::is_possible() {
        return;
    }
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    let mut stored = vec!["before".to_owned()];
    put(&connection, "t", 0, "before").await;
    make_topic(&connection, "later", 1).await;
    let delayed: Vec<_> = (0..300).map(|i| format!("{i} {}", "y".repeat(1000))).collect();
    for text in &delayed {
        // Level 18 waits for two hours.
        put_with(&connection, "later", 0, text, &[("DELAY", "18")]).await;
    }
    mount.fill();
    send_until(&connection, false, &mut stored).await;
    trial::set_clock(&connection, 3 * 3_600_000).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // And back: what is due stays due, on the broker's own clock.
    trial::set_clock(&connection, 0).await;
    refused(&send(&connection, &"x".repeat(10_000)).await, 14, "It may be caused by disk full");
    assert!(!server.log().contains("failed"), "{}", server.log());
    mount.empty();
    send_until(&connection, true, &mut stored).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while read(&connection, "later", 0).await.len() < delayed.len() {
        assert!(Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(read(&connection, "later", 0).await, delayed);
    assert_eq!(read(&connection, "t", 0).await, stored);
    server.kill();
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    assert_eq!(read(&connection, "later", 0).await, delayed);
    assert_eq!(read(&connection, "t", 0).await, stored);
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
        let settings = serde_json::json!({
            "groupName": format!("full{i}"), "retryQueueNums": 0,
            "attributes": {"+lite.bind.topic": "x".repeat(15_000)},
        });
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let reply = tell(&connection, code, &[], settings.to_string().as_bytes()).await;
        if reply.code != 0 {
            refused(&reply, 14, "It may be caused by disk full");
            refusals += 1;
        }
    }
    println!("{refusals} of 150 groups were refused");
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
    // Large enough that the messages themselves do not fill it before the test is over.
    let Some(mount) = small(&folder, 400) else { return };
    let server = launch(&folder, &mount).start();
    let connection = server.connect().await;
    make_topic(&connection, "t", 8).await;
    let going_on = Arc::new(AtomicBool::new(true));
    let mut senders = Vec::new();
    for queue in 0..8 {
        // One that does not wait long.
        let connection = Connection::connect(&server.broker()).await.unwrap();
        let going_on = going_on.clone();
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
    fn change(&mut self, _: &[u8], _: kerolox_log::PhysicalOffset) {}
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

#[tokio::test]
async fn a_disk_can_be_made_slower_for_a_trial() {
    let folder = Folder::new();
    let slow = ["--set", "kerolox.disk.addedSyncMillis=40"];
    let server = Launch::new(&folder).args(&SMALL).args(&slow).start();
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    for i in 0..3 {
        let begin = Instant::now();
        put(&connection, "t", 0, &format!("{i}")).await;
        assert!(begin.elapsed() >= Duration::from_millis(40), "{:?}", begin.elapsed());
    }
    let ended = server.stop();
    assert!(ended.stderr.contains("every sync of the disk takes 40 ms longer"), "{}", ended.stderr);
}
