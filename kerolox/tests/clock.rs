//! The machine's clock is set while the server runs, in its own eyes alone: debug builds know a
//! request for it.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::time::{Duration, Instant};

use common::call::{look, make_topic, put, put_with, records};
use common::trial::{self, set_clock};
use common::{Folder, Launch, SMALL, Server};
use kerolox_client::Connection;

const HOUR_MS: i64 = 3_600_000;

/// Store times of all messages of a queue.
async fn store_times(connection: &Connection) -> Vec<i64> {
    let reply = connection.pull(&look("readers", "t", 0, 0)).await.unwrap();
    records(&reply).iter().map(|record| record.store_timestamp).collect()
}

async fn wait_for(connection: &Connection, messages: usize, limit: Duration) -> Duration {
    let begin = Instant::now();
    while store_times(connection).await.len() < messages {
        assert!(begin.elapsed() < limit, "{messages} messages are not there after {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begin.elapsed()
}

#[tokio::test]
async fn a_clock_set_back_neither_turns_store_times_back_nor_stops_delayed_messages() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    put(&connection, "t", 0, "before").await;
    put_with(&connection, "t", 0, "waits", &[("DELAY", "1")]).await;
    set_clock(&connection, -HOUR_MS).await;
    put(&connection, "t", 0, "behind").await;
    put_with(&connection, "t", 0, "waits, too", &[("DELAY", "1")]).await;
    // A second each, at half the speed.
    let took = wait_for(&connection, 4, Duration::from_secs(15)).await;
    assert!(took > Duration::from_millis(1_500), "they came early: {took:?}");
    let times = store_times(&connection).await;
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[3] - times[0] < 60_000, "{times:?}");
    server.wait_for_log("the machine's clock was set back").await;
    server.kill();

    // What the log says is not undone by a start, either.
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    set_clock(&connection, -2 * HOUR_MS).await;
    put(&connection, "t", 0, "behind again").await;
    let times = store_times(&connection).await;
    assert!(times.is_sorted() && times.len() == 5, "{times:?}");
    // Set right again, it is followed at once.
    set_clock(&connection, HOUR_MS).await;
    put(&connection, "t", 0, "ahead").await;
    let times = store_times(&connection).await;
    assert!(times[5] - times[4] > HOUR_MS / 2, "{times:?}");
    server.stop();
}

#[tokio::test]
async fn a_clock_set_forward_makes_due_what_waits_and_old_what_is_kept() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let every_hour: Vec<_> = (0..24).map(|hour| format!("{hour:02}")).collect();
    let every_hour = format!("deleteWhen={}", every_hour.join(";"));
    let server = Launch::new(&folder)
        .args(&SMALL)
        .args(&["--set", "fileReservedTime=24", "--set", &every_hour])
        .start();
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    // Level 18 waits for two hours.
    put_with(&connection, "t", 0, "waits", &[("DELAY", "18")]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(store_times(&connection).await.len(), 0);
    set_clock(&connection, 3 * HOUR_MS).await;
    wait_for(&connection, 1, Duration::from_secs(10)).await;
    // Some files, and two days later.
    make_topic(&connection, "large", 1).await;
    for _ in 0..20 {
        put(&connection, "large", 0, &"x".repeat(200_000)).await;
    }
    let files = || std::fs::read_dir(folder.data().join("commitlog")).unwrap().count();
    let before = files();
    assert!(before > 3, "{before}");
    set_clock(&connection, 51 * HOUR_MS).await;
    let sent = put(&connection, "large", 0, "young").await;
    let begin = Instant::now();
    while files() >= before {
        assert!(begin.elapsed() < Duration::from_secs(30), "{before} files are kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reply = connection.pull(&look("readers", "large", 0, sent.queue_offset)).await.unwrap();
    assert_eq!(records(&reply)[0].body, b"young");
    server.stop();
}
