//! Old log files go, oldest first; what they said of topics, groups and offsets stays, also after
//! a kill -9, and messages that are left are found where they were.

mod common;

use std::time::{Duration, Instant};

use common::call::{commit, committed, granted, join, look, make_topic, put, texts};
use common::{Folder, Server};

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
