//! A panic in a connection's code costs that connection; a panic in the engine costs the process.
//! Both are asked for by request codes that only a debug build knows.

mod common;

use std::time::Duration;

use common::call::{ask, granted, tell};
use common::trial::{self, PANIC_IN_CONNECTION, PANIC_IN_ENGINE};
use common::{Folder, Server};
use kerolox_client::Connection;

#[tokio::test]
async fn a_panic_in_a_connection_costs_that_connection_alone() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let bystander = server.connect().await;
    let victim = server.connect().await;
    let ended = victim.call(PANIC_IN_CONNECTION, &(), bytes::Bytes::new()).await;
    assert!(ended.is_err(), "{ended:?}");
    granted(&ask(&bystander, 105, &[("topic", "TBW102")]).await);
    granted(&ask(&server.connect().await, 105, &[("topic", "TBW102")]).await);
    assert_eq!(server.metric("kerolox_panics_total"), 1);
    let ended = server.stop();
    assert!(ended.stderr.contains("a panic in a connection's code"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_panic_in_the_engine_ends_the_process_and_loses_nothing() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    common::call::make_topic(&connection, "t", 1).await;
    let sent = common::call::put(&connection, "t", 0, "before").await;
    let _: Result<_, _> = connection.call(PANIC_IN_ENGINE, &(), bytes::Bytes::new()).await;
    let ended = server.ended(Duration::from_secs(10));
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("a panic in the engine"), "{}", ended.stderr);
    let server = Server::start(&folder, &[]);
    let again: Connection = server.connect().await;
    let reply = tell(&again, 30, &[("topic", "t"), ("queueId", "0")], b"").await;
    assert_eq!(granted(&reply).get("offset"), (sent.queue_offset + 1).to_string());
    server.stop();
}
