//! Messages that cannot be: bodies that are too large or empty, batches that lie, properties with
//! stray separators or without room, flags that are the broker's own. Each is refused in words, or
//! stored so that it is there after the next start.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use bytes::Bytes;
use common::call::{
    ask, granted, join, look, make_topic, message, put, put_with, read, records, refused,
};
use common::{Folder, SMALL, Server};
use kerolox_client::{Connection, OwnedReply};
use kerolox_protocol::batch::{self, Inner};
use kerolox_protocol::ids;
use kerolox_protocol::properties;
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::pull::Pull;
use kerolox_protocol::remoting::send::Send;

async fn send(connection: &Connection, header: &Send, body: impl Into<Bytes>) -> OwnedReply {
    let code = if header.batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
    connection.call(code, header, body.into()).await.unwrap()
}

/// The position of a message in the log.
fn position(msg_id: &str) -> u64 {
    ids::parse_offset_id(msg_id).unwrap().1
}

async fn give_back(connection: &Connection, group: &str, position: i64) -> OwnedReply {
    let position = position.to_string();
    let fields = [("offset", &*position), ("group", group), ("delayLevel", "1")];
    ask(connection, request::CONSUMER_SEND_MSG_BACK, &fields).await
}

/// Stops the server and starts it again; nothing of its log may be lost.
fn restarted(server: Server, folder: &Folder, args: &[&str]) -> Server {
    server.kill();
    let server = Server::start(folder, args);
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("lost to damage"), "{log}");
    server
}

#[tokio::test]
async fn bodies_are_as_large_as_the_configuration_says_and_never_empty() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let text = "the message is illegal, maybe msg body or properties length not matched.";
    let reply = send(&connection, &message("t", 0), "").await;
    refused(&reply, 13, text);
    refused(&reply, 13, "the body is empty");
    for size in [262_145, 1 << 20, 8 << 20] {
        let reply = send(&connection, &message("t", 0), vec![b'x'; size]).await;
        refused(&reply, 13, text);
        refused(&reply, 13, &format!("the body has {size} bytes, maxMessageSize is 262144"));
        let header = Send { batch: true, ..message("t", 0) };
        refused(&send(&connection, &header, vec![b'x'; size]).await, 13, "maxMessageSize is");
    }
    granted(&send(&connection, &message("t", 0), vec![b'x'; 262_144]).await);
    assert_eq!(read(&connection, "t", 0).await[0].len(), 262_144);
    server.stop();
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    granted(&send(&connection, &message("t", 0), vec![b'x'; 4 << 20]).await);
    let reply = send(&connection, &message("t", 0), vec![b'x'; (4 << 20) + 1]).await;
    refused(&reply, 13, "the body has 4194305 bytes, maxMessageSize is 4194304");
    server.stop();
}

#[tokio::test]
async fn a_batch_that_lies_is_refused_as_a_whole() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let header = Send { batch: true, ..message("t", 0) };
    let mut good = Vec::new();
    batch::push(&mut good, &Inner { flag: 0, body: b"one", properties: b"A\x01b\x02" });
    let second = good.len();
    batch::push(&mut good, &Inner { flag: 0, body: b"two", properties: b"" });
    let patched = |at: usize, value: i32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let lies: Vec<Vec<u8>> =
        [0, 4, 21, -1, i32::MAX, i32::MIN, second as i32 + 1, second as i32 - 1]
            .into_iter()
            .flat_map(|value| {
                // The size of a message, of its body; of the first, of the second.
                [0, 16, second, second + 16].map(|at| patched(at, value))
            })
            .chain([good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat(), vec![0; 100]])
            .collect();
    for lie in lies {
        let reply = send(&connection, &header, lie.clone()).await;
        refused(&reply, 13, "of the batch lies about its size");
        refused(&reply, 13, "the message is illegal");
    }
    for (properties, remark) in [
        (&b"DELAY\x011\x02"[..], "a batch cannot hold delayed messages"),
        (&[b'x'; 32_768][..], "of the batch lies about its size"),
    ] {
        let mut bytes = good.clone();
        batch::push(&mut bytes, &Inner { flag: 0, body: b"x", properties });
        refused(&send(&connection, &header, bytes).await, 13, remark);
    }
    let mut bytes = good.clone();
    batch::push(&mut bytes, &Inner { flag: 0, body: b"", properties: b"" });
    refused(&send(&connection, &header, bytes).await, 13, "a message of the batch has no body");
    refused(&send(&connection, &header, "").await, 13, "the body is empty");
    join(&connection, "g", "c", "t").await;
    for topic in ["%RETRY%g", "%DLQ%g"] {
        let header = Send { batch: true, ..message(topic, 0) };
        let reply = send(&connection, &header, good.clone()).await;
        refused(&reply, 13, "a batch cannot go to a retry or dead-letter topic");
    }
    granted(&send(&connection, &header, good).await);
    assert_eq!(read(&connection, "t", 0).await, ["one", "two"]);
    server.stop();
}

/// The room for the key that the broker adds was looked at one message after the other, when those
/// before it were stored already.
#[tokio::test]
async fn a_batch_whose_last_message_has_no_room_for_a_key_is_refused_as_a_whole() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let mut full = b"A\x01".to_vec();
    full.resize(32_767, b'x');
    let mut bytes = Vec::new();
    batch::push(&mut bytes, &Inner { flag: 0, body: b"one", properties: b"" });
    batch::push(&mut bytes, &Inner { flag: 0, body: b"two", properties: &full });
    let header = Send { batch: true, ..message("t", 0) };
    let reply = send(&connection, &header, bytes).await;
    refused(&reply, 13, "the properties of a message of the batch are too long");
    put(&connection, "t", 0, "after it").await;
    assert_eq!(read(&connection, "t", 0).await, ["after it"]);
    server.stop();
}

#[tokio::test]
async fn a_batch_of_the_most_messages_is_stored_and_read_again() {
    let folder = Folder::new();
    let server = Server::start(&folder, &SMALL);
    let connection = server.connect().await;
    let mut bytes = Vec::new();
    let mut count = 0;
    while bytes.len() + 23 <= 262_144 {
        batch::push(&mut bytes, &Inner { flag: 0, body: b"x", properties: b"" });
        count += 1;
    }
    let header = Send { batch: true, ..message("t", 0) };
    for _ in 0..2 {
        let reply = send(&connection, &header, bytes.clone()).await;
        assert_eq!(granted(&reply).get("msgId").split(',').count(), count);
    }
    let server = restarted(server, &folder, &SMALL);
    assert_eq!(server.connect().await.max_offset("t", 0).await.unwrap(), 2 * count as i64);
    assert_eq!(read(&server.connect().await, "t", 0).await.len(), 2 * count);
    server.stop();
}

#[tokio::test]
async fn properties_with_stray_separators_hide_nothing_of_the_brokers_own() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    type Expected<'a> = &'a [(&'a str, Option<&'a str>)];
    let cases: [(&str, Expected<'_>); 9] = [
        ("", &[("TAGS", None)]),
        ("TAGS\u{1}a", &[("TAGS", Some("a"))]),
        ("TAGS\u{1}a\u{2}", &[("TAGS", Some("a"))]),
        ("\u{2}\u{2}TAGS\u{1}a\u{2}\u{2}", &[("TAGS", Some("a"))]),
        ("\u{1}a\u{2}TAGS\u{1}a\u{2}", &[("TAGS", Some("a"))]),
        ("TAGS\u{1}\u{2}", &[("TAGS", None)]),
        ("TAGS", &[("TAGS", None)]),
        ("TAGS\u{1}a\u{2}TAGS\u{1}b\u{2}", &[("TAGS", Some("b"))]),
        // A value cannot hold a separator: what follows the name's end is the value.
        ("A\u{1}x\u{1}y\u{2}TAGS\u{1}a\u{2}", &[("A", Some("x\u{1}y")), ("TAGS", Some("a"))]),
    ];
    for (i, (text, expected)) in cases.into_iter().enumerate() {
        let header = Send { properties: (*text).into(), ..message("t", 0) };
        granted(&send(&connection, &header, "x").await);
        let reply = connection.pull(&look("g", "t", 0, i as i64)).await.unwrap();
        let record = records(&reply)[0];
        for (name, value) in expected {
            assert_eq!(properties::get(record.properties, name), *value, "{text:?}");
        }
        for own in ["MSG_REGION", "TRACE_ON", "CLUSTER", "UNIQ_KEY"] {
            assert!(properties::get(record.properties, own).is_some(), "{own} {text:?}");
        }
    }
    // What the broker says of itself comes last, and so it counts.
    let own = [("MSG_REGION", "forged"), ("CLUSTER", "forged"), ("POP_CK", "1 2 3")];
    put_with(&connection, "own", 0, "x", &own).await;
    let reply = connection.pull(&look("g", "own", 0, 0)).await.unwrap();
    let record = records(&reply)[0];
    assert_eq!(properties::get(record.properties, "MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(properties::get(record.properties, "CLUSTER"), Some("DefaultCluster"));
    assert_eq!(properties::get(record.properties, "POP_CK"), None);
    // The tag by which the broker filters is the one that a client reads.
    let tags = Pull { subscription: Some("a".into()), ..look("g", "t", 0, 0) };
    assert_eq!(records(&connection.pull(&tags).await.unwrap()).len(), 5);
    server.stop();
}

#[tokio::test]
async fn properties_have_room_for_what_the_broker_adds_or_are_refused() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for (size, stored) in [(32_000, true), (32_767, false), (32_768, false), (200_000, false)] {
        let text = format!("A\u{1}{}\u{2}", "x".repeat(size - 3));
        let header = Send { properties: text.into(), ..message("t", 0) };
        let reply = send(&connection, &header, "x").await;
        if stored {
            granted(&reply);
        } else {
            refused(&reply, 13, "the message is illegal");
            refused(&reply, 13, "bytes, 32767 are possible");
        }
    }
    // A message whose properties are full cannot be given back: there is no room for the reason.
    let text = format!("A\u{1}{}\u{2}UNIQ_KEY\u{1}u\u{2}", "x".repeat(32_680));
    let header = Send { properties: text.into(), ..message("t", 0) };
    let sent = connection.send(&header, Bytes::from_static(b"x")).await.unwrap();
    join(&connection, "g", "c", "t").await;
    let reply = give_back(&connection, "g", position(&sent.msg_id) as i64).await;
    refused(&reply, 13, "the message's properties have no room for what a retry adds");
    server.stop();
}

/// A message whose sysFlag called it a half or rolled-back one was acknowledged, delivered, and
/// gone after the next start, with its offset given to another.
#[tokio::test]
async fn bits_of_the_sys_flag_that_are_the_brokers_own_lose_no_message() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let mut stored = Vec::new();
    for sys_flag in [0, 4, 8, 12, 16, 32, 48, 64, 128, 192, 0x700, -1, i32::MIN] {
        let header = Send { sys_flag, ..message("t", 0) };
        let text = format!("flag {sys_flag}");
        if send(&connection, &header, text.clone()).await.code == 0 {
            stored.push(text);
        }
        let mut bytes = Vec::new();
        let text = format!("batch {sys_flag}");
        batch::push(&mut bytes, &Inner { flag: 0, body: text.as_bytes(), properties: b"" });
        if send(&connection, &Send { batch: true, ..header }, bytes).await.code == 0 {
            stored.push(text);
        }
    }
    assert_eq!(read(&connection, "t", 0).await, stored);
    let server = restarted(server, &folder, &[]);
    let connection = server.connect().await;
    assert_eq!(connection.max_offset("t", 0).await.unwrap(), stored.len() as i64);
    assert_eq!(read(&connection, "t", 0).await, stored);
    server.stop();
}
