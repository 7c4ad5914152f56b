//! Frames that are none, or not what their request needs: cut short, too long, garbage, headers
//! that lie, fields that are missing or of another kind. What can be answered is answered; what
//! cannot be told apart any more ends its own connection; everybody else goes on.

mod common;

use bytes::Bytes;
use common::call::{encoded, look, message, pairs, put, read, refused};
use common::raw::{Raw, frame, json_frame};
use common::{Folder, Server};
use kerolox_client::Connection;
use kerolox_protocol::remoting::send::Send;

/// Somebody else: what happens to bad clients must not touch him.
struct Bystander {
    connection: Connection,
    sent: usize,
}

impl Bystander {
    async fn of(server: &Server) -> Bystander {
        Bystander { connection: server.connect().await, sent: 0 }
    }

    async fn goes_on(&mut self) {
        put(&self.connection, "bystander", 0, "on").await;
        self.sent += 1;
        assert_eq!(read(&self.connection, "bystander", 0).await.len(), self.sent);
    }
}

/// A binary header around the given fields, in a frame.
fn binary_frame(code: i16, fields: &[u8], claimed: i32) -> Vec<u8> {
    let mut header = code.to_be_bytes().to_vec();
    header.push(0);
    header.extend(513i16.to_be_bytes());
    header.extend(9i32.to_be_bytes());
    header.extend([0; 8]);
    header.extend(claimed.to_be_bytes());
    header.extend(fields);
    let mut out = (4 + header.len() as u32).to_be_bytes().to_vec();
    out.extend((1 << 24 | header.len() as u32).to_be_bytes());
    out.extend(header);
    out
}

#[tokio::test]
async fn what_is_no_frame_ends_its_connection_and_no_other() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut bystander = Bystander::of(&server).await;
    let length = |length: i32| [&length.to_be_bytes()[..], &[0; 100]].concat();
    let header = |text: &str| json_frame(text, b"");
    let deep = format!(r#"{{"code":30,"x":{}"#, "[".repeat(1000));
    let long = format!(r#"{{"code":30,"remark":"{}"#, "x".repeat(100_000));
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("length 0", length(0)),
        ("length 3", length(3)),
        ("length 16 MiB + 1", length((16 << 20) + 1)),
        ("length 31 MiB", length(31 << 20)),
        ("header beyond the frame", [0, 0, 0, 8, 0, 0, 0, 5, 1, 2, 3, 4].to_vec()),
        ("header of 16 MiB in a small frame", [0, 0, 0, 4, 0, 0xff, 0xff, 0xff].to_vec()),
        ("header form 2", [0, 0, 0, 6, 2, 0, 0, 2, b'{', b'}'].to_vec()),
        ("header form 255", [0, 0, 0, 6, 255, 0, 0, 2, b'{', b'}'].to_vec()),
        ("no header", [0, 0, 0, 4, 0, 0, 0, 0].to_vec()),
        ("an open brace", header("{")),
        ("no object", header("[]")),
        ("a word", header("code")),
        ("no colon", header(r#"{"code" 30}"#)),
        ("no comma", header(r#"{"code":30 "opaque":1}"#)),
        ("a code in words", header(r#"{"code":"thirty"}"#)),
        ("an endless text", header(&long)),
        ("deep nesting", header(&deep)),
        ("no UTF-8", json_frame_of_bytes(b"{\"remark\":\"\xff\xfe\"}")),
        ("an unknown escape", header(r#"{"remark":"\q"}"#)),
        ("a short binary header", [0, 0, 0, 6, 1, 0, 0, 2, 0, 30].to_vec()),
        ("binary fields beyond the header", binary_frame(30, b"", 1000)),
        ("binary fields of 2 GiB", binary_frame(30, b"", i32::MAX)),
    ];
    let before = server.metric("kerolox_bad_frames_total");
    for (what, bytes) in &bad {
        println!("{what}");
        let mut raw = Raw::connect(server.ports.broker);
        // Good requests before are answered.
        let good = frame(30, 5, &pairs(&[("topic", "nil"), ("queueId", "0")]), b"");
        assert_eq!(raw.ask(&good).code, 17, "{what}");
        raw.send(bytes);
        raw.is_closed();
        bystander.goes_on().await;
    }
    let counted = server.metric("kerolox_bad_frames_total") - before;
    assert_eq!(counted, bad.len() as i64);
    assert_eq!(server.metric("kerolox_panics_total"), 0);
    assert!(server.log().contains("connection closed: frame length 0 is out of range"));
    server.stop();
}

fn json_frame_of_bytes(header: &[u8]) -> Vec<u8> {
    let mut out = (4 + header.len() as u32).to_be_bytes().to_vec();
    out.extend((header.len() as u32).to_be_bytes());
    out.extend(header);
    out
}

#[tokio::test]
async fn a_frame_that_is_cut_short_harms_nobody() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut bystander = Bystander::of(&server).await;
    let whole = {
        let header = Send { properties: encoded(&[("KEYS", "k")]).into(), ..message("t", 0) };
        frame(310, 1, &header, b"half a message")
    };
    let mut waiting = Vec::new();
    for cut in 1..whole.len() {
        let mut raw = Raw::connect(server.ports.broker);
        raw.send(&whole[..cut]);
        // Every second one goes away, the others are waited for.
        if cut % 2 == 0 {
            waiting.push((raw, cut));
        }
    }
    bystander.goes_on().await;
    for (mut raw, cut) in waiting {
        assert_eq!(raw.ask(&whole[cut..]).code, 0, "cut at {cut}");
    }
    let stored = read(&bystander.connection, "t", 0).await;
    assert_eq!(stored.len(), (whole.len() - 1) / 2, "what was cut short is not stored");
    bystander.goes_on().await;
    server.stop();
}

/// Frames that claim the most and never come hold memory only for what came.
#[tokio::test]
async fn claims_of_large_frames_take_no_memory() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut bystander = Bystander::of(&server).await;
    bystander.goes_on().await;
    let before = server.memory();
    let mut claims = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::connect(server.ports.broker);
        raw.send(&[&(16u32 << 20).to_be_bytes()[..], &[0; 1000]].concat());
        claims.push(raw);
    }
    bystander.goes_on().await;
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB for 200 claims", grown >> 20);
    server.stop();
}

/// Where the budget was spent, whoever sent a frame in two pieces was closed.
#[tokio::test]
async fn unfinished_frames_share_a_budget_and_the_largest_one_goes() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut bystander = Bystander::of(&server).await;
    bystander.goes_on().await;
    // Ten times 15 MiB of 16: more than may lie around unfinished.
    let chunk = vec![0; 15 << 20];
    let mut halves = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(server.ports.broker);
        raw.send(&(16u32 << 20).to_be_bytes());
        raw.send(&chunk);
        halves.push(raw);
    }
    bystander.goes_on().await;
    server.wait_for_log("unfinished frames of all connections take more than").await;
    for _ in 0..20 {
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        bystander.connection.send(&message("large", 0), large).await.unwrap();
    }
    assert!((5..10).contains(&server.metric("kerolox_bad_frames_total")));
    drop(halves);
    server.wait_for_metric("kerolox_connections", |count| count == 2).await;
    // With the room back, large frames are taken again.
    let large = Bytes::from(vec![b'x'; 4 << 20]);
    bystander.connection.send(&message("large", 0), large).await.unwrap();
    bystander.goes_on().await;
    server.stop();
}

#[test]
fn headers_as_clients_write_them_are_read() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut raw = Raw::connect(server.ports.broker);
    let good = r#"{"code":30,"opaque":7,"flag":0,"language":"JAVA","version":513,"extFields":{"topic":"TBW102","queueId":"0"}}"#;
    for header in [
        good.to_owned(),
        // The Python binding's JSON ends with a newline; others leave blanks.
        format!("{good}\n"),
        format!("  {good}  \r\n"),
        format!("{good} and what nobody reads"),
        good.replace(':', " : ").replace(',', " , "),
        good.replace("\"JAVA\"", "\"COBOL\""),
        good.replace("\"JAVA\"", "null"),
        good.replace("\"JAVA\"", "12"),
        good.replace("\"opaque\":7", "\"opaque\":\"7\""),
        good.replace("\"code\":30", "'code':30"),
        good.replace("\"code\":30", "code:30"),
        good.replace("\"0\"", "0"),
        good.replace("\"0\"", "\"0\","),
        good.replace("\"0\"}}", "\"0\",},}"),
        good.replace("\"version\":513", "\"version\":99999999999"),
        good.replace("\"version\":513", "\"x\":{\"y\":[1,{\"z\":null}]},\"version\":-1"),
        good.replace(
            "\"flag\":0",
            "\"flag\":0,\"remark\":null,\"serializeTypeCurrentRPC\":\"JSON\"",
        ),
        good.replace("\"TBW102\"", "\"TBW\\u0031\\x302\""),
        good.replace("\"topic\"", "\"unheardOf\":\"x\",\"topic\""),
    ] {
        let answer = raw.ask(&json_frame(&header, b""));
        assert_eq!((answer.code, answer.opaque), (0, 7), "{header} {}", answer.remark);
    }
    // What is not said counts as nothing, not as an error of the frame.
    for (header, code) in [
        ("{}", 3),
        (r#"{"code":null}"#, 3),
        (r#"{"code":30}"#, 17),
        (r#"{"code":30,"extFields":null}"#, 17),
        (r#"{"code":30,"extFields":[]}"#, 17),
        (r#"{"code":30,"extFields":{"topic":null,"queueId":null}}"#, 17),
        (r#"{"code":4294967326,"extFields":{"topic":"TBW102"}}"#, 0),
    ] {
        let answer = raw.ask(&json_frame(header, b""));
        assert_eq!((answer.code, answer.opaque), (code, 0), "{header} {}", answer.remark);
    }
    server.stop();
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let send = pairs(&[
        ("a", "g"),
        ("b", "t"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "0"),
        ("h", "0"),
    ]);
    let long = pairs(&[
        ("producerGroup", "g"),
        ("topic", "t"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "0"),
        ("flag", "0"),
    ]);
    let pull = pairs(&[
        ("consumerGroup", "g"),
        ("topic", "t"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "0"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subVersion", "0"),
    ]);
    let short = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let all = [
        "producerGroup",
        "topic",
        "defaultTopic",
        "defaultTopicQueueNums",
        "queueId",
        "sysFlag",
        "bornTimestamp",
        "flag",
    ];
    let body = Bytes::from_static(b"x");
    for (name, long_name) in short.iter().zip(all) {
        let remark = format!("the custom field <{name}> is null");
        for (code, fields) in
            [(310, send.clone().without(name)), (10, long.clone().without(long_name))]
        {
            refused(&connection.call(code, &fields, body.clone()).await.unwrap(), 1, &remark);
        }
    }
    assert_eq!(connection.call(310, &send, body.clone()).await.unwrap().code, 0);
    assert_eq!(connection.call(10, &long, body).await.unwrap().code, 0);
    for name in [
        "consumerGroup",
        "topic",
        "queueId",
        "queueOffset",
        "maxMsgNums",
        "sysFlag",
        "commitOffset",
        "suspendTimeoutMillis",
        "subVersion",
    ] {
        let remark = format!("the custom field <{name}> is null");
        for code in [11, 361] {
            let fields = pull.clone().without(name);
            refused(&connection.call(code, &fields, Bytes::new()).await.unwrap(), 1, &remark);
        }
    }
    for name in ["offset", "group"] {
        let fields = pairs(&[("offset", "0"), ("group", "g"), ("delayLevel", "0")]).without(name);
        let remark = format!("the custom field <{name}> is null");
        refused(&connection.call(36, &fields, Bytes::new()).await.unwrap(), 1, &remark);
    }
    // Of the others a missing one is empty or 0, as with Apache's broker.
    for code in [
        12, 14, 15, 17, 29, 30, 31, 32, 33, 35, 38, 202, 203, 204, 207, 208, 215, 222, 307, 309,
        351, 352,
    ] {
        let reply = connection.call(code, &pairs(&[]), Bytes::new()).await.unwrap();
        assert!(![3, 2].contains(&reply.code), "{code}: {} {:?}", reply.code, reply.remark);
    }
    assert_eq!(read(&connection, "t", 0).await.len(), 2);
    server.stop();
}

#[tokio::test]
async fn a_field_of_another_kind_is_named() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for value in ["", "x", "1.5", "0x10", "99999999999", "-99999999999", "１", "1 2", "null"] {
        let fields = pairs(&[("topic", "TBW102"), ("queueId", value)]);
        let reply = connection.call(30, &fields, Bytes::new()).await.unwrap();
        refused(&reply, 1, "the custom field <queueId> is not a whole number in range");
    }
    for value in ["0", " 0 ", "+0", "00", "-0"] {
        let fields = pairs(&[("topic", "TBW102"), ("queueId", value)]);
        assert_eq!(connection.call(30, &fields, Bytes::new()).await.unwrap().code, 0, "{value:?}");
    }
    for (code, name) in [(33, "offset"), (11, "queueOffset"), (29, "timestamp"), (36, "offset")] {
        let fields = pairs(&[(name, "99999999999999999999")]);
        let reply = connection.call(code, &fields, Bytes::new()).await.unwrap();
        refused(&reply, 1, &format!("the custom field <{name}> is not a whole number in range"));
    }
    // Truth is true or 1; everything else is false.
    let fields = pairs(&[("topic", "t"), ("readQueueNums", "1"), ("writeQueueNums", "1")]);
    let fields = fields.with("perm", "6").with("order", "yes");
    assert_eq!(connection.call(17, &fields, Bytes::new()).await.unwrap().code, 0);
    assert!(!connection.topic_config("t").await.unwrap().unwrap().order);
    server.stop();
}

#[test]
fn broken_binary_fields_are_answered() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut raw = Raw::connect(server.ports.broker);
    let field = |key: &[u8], value: &[u8]| {
        let mut out = (key.len() as u16).to_be_bytes().to_vec();
        out.extend(key);
        out.extend((value.len() as u32).to_be_bytes());
        out.extend(value);
        out
    };
    let good = [field(b"topic", b"TBW102"), field(b"queueId", b"0")].concat();
    let answer = raw.ask(&binary_frame(30, &good, good.len() as i32));
    assert_eq!((answer.code, answer.opaque), (0, 9));
    for bad in [
        [&good[..], &[0]].concat(),
        [&good[..], &[0, 9, b'x']].concat(),
        [&good[..], &[0, 1, b'x', 0xff, 0xff, 0xff, 0xff]].concat(),
        [&good[..], &[0, 1, b'x', 0, 0, 0, 1]].concat(),
    ] {
        let answer = raw.ask(&binary_frame(30, &bad, bad.len() as i32));
        let expected = (1, 9, "the header fields are broken");
        assert_eq!((answer.code, answer.opaque, &*answer.remark), expected);
    }
    // What is not UTF-8 matters only where it is used.
    for unknown in [field(b"\xff", b"1"), field(b"x", b"\xff")] {
        let fields = [good.clone(), unknown].concat();
        assert_eq!(raw.ask(&binary_frame(30, &fields, fields.len() as i32)).code, 0);
    }
    let fields = [field(b"topic", b"T\xff"), field(b"queueId", b"0")].concat();
    let answer = raw.ask(&binary_frame(30, &fields, fields.len() as i32));
    let expected = (1, "the custom field <topic> is not a UTF-8 text");
    assert_eq!((answer.code, &*answer.remark), expected);
    // A negative size stands for none.
    assert_eq!(raw.ask(&binary_frame(30, b"", -1)).code, 17);
    server.stop();
}

#[tokio::test]
async fn a_body_that_is_not_what_the_request_needs_is_answered() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let deep = "[".repeat(50_000);
    for code in [34, 41, 42, 46, 200] {
        for text in ["{", "no JSON", "\u{0}", "{\"a\":", "\"text\"", "17", &deep] {
            let body = Bytes::copy_from_slice(text.as_bytes());
            let reply = connection.call(code, &pairs(&[]), body).await.unwrap();
            refused(&reply, 1, "the body is not what the request needs: ");
            assert!(reply.remark.unwrap().len() < 500);
        }
        let body = Bytes::from_static(b"\xff\xfe{}");
        refused(&connection.call(code, &pairs(&[]), body).await.unwrap(), 1, "the body is not");
        // Nothing at all is an empty object.
        let reply = connection.call(code, &pairs(&[]), Bytes::new()).await.unwrap();
        assert_ne!(reply.code, 3, "{code}");
    }
    for code in [217, 322, 103] {
        let fields = pairs(&[("brokerName", "b"), ("brokerAddr", "b:1"), ("clusterName", "c")]);
        let fields = fields.with("brokerId", "0").with("topic", "t");
        let body = Bytes::from_static(b"{\"queueDatas\":");
        let reply = connection.call(code, &fields, body).await.unwrap();
        assert_eq!(reply.code, 1, "{code} {:?}", reply.remark);
    }
    server.stop();
}

/// A small generator, so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[tokio::test]
async fn frames_with_random_damage_harm_nobody() {
    let folder = Folder::new();
    let server = Server::start(&folder, &common::SMALL);
    let mut bystander = Bystander::of(&server).await;
    let seed = u64::from(std::process::id()) << 17 | 0x9e37;
    println!("seed {seed}");
    let mut random = Random(seed);
    let beat = serde_json::to_vec(&common::call::heartbeat("g", "c", "t")).unwrap();
    let batch = {
        let mut body = Vec::new();
        let inner = kerolox_protocol::batch::Inner { flag: 0, body: b"x", properties: b"" };
        kerolox_protocol::batch::push(&mut body, &inner);
        body
    };
    let seeds = [
        frame(310, 1, &message("t", 0), b"body"),
        frame(320, 1, &Send { batch: true, ..message("t", 0) }, &batch),
        frame(11, 1, &look("g", "t", 0, 0), b""),
        frame(34, 1, &pairs(&[]), &beat),
        frame(105, 1, &pairs(&[("topic", "t")]), b""),
        frame(33, 1, &pairs(&[("offset", "0")]), b""),
        frame(103, 1, &pairs(&[("brokerName", "b"), ("compressed", "true")]), b"{}"),
        binary_frame(30, b"\0\x05topic\0\0\0\x01t", 12),
    ];
    for round in 0..1500 {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            // The first three bytes stay: they tell what is spoken, and how long it is.
            let at = 3 + random.below(bytes.len() - 3);
            bytes[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ (1 << random.below(8)),
                _ => random.below(256) as u8,
            };
        }
        let mut raw = Raw::connect(server.ports.broker);
        raw.send(&bytes);
        // Every tenth is left open.
        if round % 10 != 0 {
            let _ = raw.0.shutdown(std::net::Shutdown::Both);
        }
        if round % 300 == 0 {
            bystander.goes_on().await;
        }
    }
    bystander.goes_on().await;
    assert_eq!(server.metric("kerolox_panics_total"), 0, "{}", server.log());
    server.stop();
    // What was taken of it can be read again.
    let server = Server::start(&folder, &common::SMALL);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    server.stop();
}
