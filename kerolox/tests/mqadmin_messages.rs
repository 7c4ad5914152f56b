//! `kerolox admin`: messages looked up, printed, followed and sent, as text and as JSON.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::admin::{fails, json, text};
use common::call::{
    commit, encoded, heartbeat, join, look, make_topic, message, put, put_with, read, records,
};
use common::{Folder, Server, binary};
use kerolox_client::{Connection, Options};
use kerolox_protocol::record::sys_flag;
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::send::Send;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The values of a stream in JSON, one a line.
#[track_caller]
fn values(server: &Server, args: &[&str]) -> Vec<Value> {
    let out = text(server, &[args, &["--json"]].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis() as i64
}

/// `unpacked ` 20 times, packed with zlib.
const PACKED: [u8; 20] = [
    0x78, 0x9c, 0x2b, 0xcd, 0x2b, 0x48, 0x4c, 0xce, 0x4e, 0x4d, 0x51, 0x28, 0x1d, 0x3a, 0x0c, 0x00,
    0x4a, 0x7a, 0x44, 0x5d,
];

/// The value of a line `Label:   value`.
#[track_caller]
fn field<'a>(block: &'a str, label: &str) -> &'a str {
    let line = block.lines().find(|line| line.starts_with(label));
    line.unwrap_or_else(|| panic!("no {label} in {block}"))[21..].trim_end()
}

/// A consumer on a thread of its own, which answers what it is asked until it is asked to consume.
fn consumer(server: &Server, group: &'static str) -> std::thread::JoinHandle<Bytes> {
    let broker = server.broker();
    let (ready, is_ready) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (incoming, mut requests) = tokio::sync::mpsc::channel(10);
            let options = Options { incoming: Some(incoming), ..Options::default() };
            let connection = Connection::connect_with(&broker, options).await.unwrap();
            join(&connection, group, "c1", "t").await;
            ready.send(()).unwrap();
            loop {
                let request = requests.recv().await.unwrap();
                let body: &[u8] = match request.code {
                    request::GET_CONSUMER_RUNNING_INFO => {
                        br#"{"mqTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{}},"properties":{"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY"}}"#
                    }
                    request::CONSUME_MESSAGE_DIRECTLY => {
                        br#"{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":7}"#
                    }
                    _ => continue,
                };
                let body = Bytes::from_static(body);
                connection.respond(&request, 0, &(), body).await.unwrap();
                if request.code == request::CONSUME_MESSAGE_DIRECTLY {
                    // What was written before has arrived when this is answered.
                    join(&connection, group, "c1", "t").await;
                    return request.body;
                }
            }
        })
    });
    is_ready.recv_timeout(Duration::from_secs(20)).unwrap();
    thread
}

#[tokio::test]
async fn messages_are_found_by_id_with_those_who_consumed_them() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    let sent = put_with(&connection, "t", 1, "hello", &[("TAGS", "A"), ("KEYS", "k1 k2")]).await;
    let (place, unique) = (sent.msg_id.to_string(), sent.transaction_id.unwrap().to_string());
    let packed = Send {
        sys_flag: 1,
        properties: encoded(&[("UNIQ_KEY", "PACKED1")]).into(),
        ..message("t", 0)
    };
    connection.send(&packed, Bytes::from_static(&PACKED)).await.unwrap();

    let block = text(&server, &["queryMsgById", "-t", "t", "-i", &place]);
    assert!(block.starts_with(&format!("OffsetID:            {place}\nTopic:               t\n")));
    assert_eq!((field(&block, "Tags:"), field(&block, "Keys:")), ("[A]", "[k1 k2]"));
    assert_eq!((field(&block, "Queue ID:"), field(&block, "Queue Offset:")), ("1", "0"));
    assert_eq!(field(&block, "Store Host:"), server.broker());
    assert!(field(&block, "Properties:").contains(&format!("UNIQ_KEY={unique}")), "{block}");
    assert!(block.ends_with("Message Body:        hello\n\n\nWARN: No Consumer\n"), "{block}");
    assert_eq!(block, text(&server, &["queryMsgById", "-t", "t", "-i", &unique]));
    let two = format!("{place}, PACKED1");
    let both = json(&server, &["queryMsgById", "-t", "t", "-i", &two]);
    assert_eq!((&both[0]["msgId"], &both[0]["body"]), (&json!(unique), &json!("hello")));
    assert_eq!((&both[1]["msgId"], &both[1]["sysFlag"]), (&json!("PACKED1"), &json!(0)));
    assert_eq!(both[1]["body"], "unpacked ".repeat(20));
    assert_eq!((&both[0]["tracks"], &both[1]["brokerName"]), (&json!([]), &json!("broker-a")));

    let bodies = folder.join("bodies");
    let dir = bodies.to_str().unwrap();
    let block =
        text(&server, &["queryMsgByUniqueKey", "-t", "t", "-i", "PACKED1", "--body-file", dir]);
    assert!(block.starts_with("Topic:               t\nTags:                [null]\n"), "{block}");
    assert_eq!(field(&block, "Message Body Path:"), format!("{dir}/PACKED1"));
    assert!(!block.contains("Message Body: "), "{block}");
    assert_eq!(std::fs::read(bodies.join("PACKED1")).unwrap(), "unpacked ".repeat(20).as_bytes());

    // The same id twice, and who consumed.
    put_with(&connection, "t", 1, "again", &[("UNIQ_KEY", &unique)]).await;
    let first = json(&server, &["queryMsgByUniqueKey", "-t", "t", "-i", &unique]);
    assert_eq!((first.as_array().unwrap().len(), &first[0]["body"]), (1, &json!("hello")));
    let early = json(&server, &["queryMsgByUniqueKey", "-t", "t", "-i", &unique, "-a"]);
    assert_eq!((&early[0]["body"], &early[1]["body"]), (&json!("hello"), &json!("again")));
    let tracks =
        |id: &str| json(&server, &["queryMsgById", "-t", "t", "-i", id])[0]["tracks"].clone();
    let other = Connection::connect(&server.broker()).await.unwrap();
    join(&connection, "g1", "c1", "t").await;
    commit(&connection, "g1", "t", 1, 0).await;
    let mut choosy = heartbeat("g2", "c2", "t");
    choosy.consumer_data_set[0].subscription_data_set[0].sub_string = "B".to_owned();
    choosy.consumer_data_set[0].subscription_data_set[0].tags_set = vec!["B".to_owned()];
    other.heartbeat(&choosy).await.unwrap();
    commit(&other, "g2", "t", 1, 1).await;
    let track = |group: &str, kind: &str| json!({"consumerGroup": group, "trackType": kind, "exceptionDesc": null});
    assert_eq!(
        tracks(&place),
        json!([track("g1", "NOT_CONSUME_YET"), track("g2", "CONSUMED_BUT_FILTERED")])
    );
    commit(&connection, "g1", "t", 1, 1).await;
    assert_eq!(tracks(&place)[0], track("g1", "CONSUMED"));
    drop(other);
    let deadline = Instant::now() + Duration::from_secs(20);
    while tracks(&place)[1]["trackType"] != "NOT_ONLINE" {
        assert!(Instant::now() < deadline, "{}", tracks(&place));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let block = text(&server, &["queryMsgByUniqueKey", "-t", "t", "-i", &unique]);
    let end = "\n\n\nMessageTrack [consumerGroup=g1, trackType=CONSUMED, exceptionDesc=null]\nMessageTrack [consumerGroup=g2, trackType=NOT_ONLINE, exceptionDesc=CODE:206 DESC:the consumer group[g2] not online: no client of it is connected to this broker]\n";
    assert!(block.ends_with(end), "{block}");
    server.stop();
}

#[tokio::test]
async fn messages_are_sent_again_and_pushed_to_a_client() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let sent = put_with(&connection, "t", 0, "hello", &[("KEYS", "k")]).await;
    let (place, unique) = (sent.msg_id.to_string(), sent.transaction_id.unwrap().to_string());

    let out = text(&server, &["queryMsgById", "-t", "t", "-i", &unique, "-s", "true"]);
    let start = format!(
        "prepare resend msg. originalMsgId={unique}\nSendResult [sendStatus=SEND_OK, msgId={unique}, offsetMsgId="
    );
    assert!(out.starts_with(&start), "{out}");
    let end = "messageQueue=MessageQueue [topic=t, brokerName=broker-a, queueId=0], queueOffset=1, recallHandle=null]\n";
    assert!(out.ends_with(end), "{out}");
    let again = json(&server, &["queryMsgById", "-t", "t", "-i", &place, "-s", "true"]);
    assert_eq!(again[0]["result"]["queueOffset"], 2);
    assert_eq!(read(&connection, "t", 0).await, ["hello", "hello", "hello"]);

    for command in ["queryMsgById", "queryMsgByUniqueKey"] {
        let thread = consumer(&server, "g");
        let args = [command, "-t", "t", "-i", &unique, "-g", "g", "-d", "c1"];
        let out = text(&server, &args);
        assert_eq!(
            out,
            "ConsumeMessageDirectlyResult [order=false, autoCommit=true, consumeResult=CR_SUCCESS, remark=null, spentTimeMills=7]\n"
        );
        let record = thread.join().unwrap();
        assert_eq!(kerolox_protocol::record::View::parse(&record).unwrap().body, b"hello");
    }
    let thread = consumer(&server, "g");
    let pushed = json(&server, &["queryMsgById", "-t", "t", "-i", &place, "-g", "g", "-d", "c1"]);
    assert_eq!(pushed[0]["result"]["consumeResult"], "CR_SUCCESS");
    thread.join().unwrap();
    let args = ["queryMsgById", "-t", "t", "-i", &unique, "-g", "g", "-d", "nobody"];
    fails(&server, &args, 1, "get consumer runtime info for nobody client failed");
    server.stop();
}

/// What cannot be unpacked goes out as it came, and consumers must be told that it is packed.
#[tokio::test]
async fn a_body_is_sent_again_with_what_says_how_it_is_packed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let plain = "unpacked ".repeat(20);
    for (id, packing, packed, again, body) in [
        ("LZ4", sys_flag::COMPRESSION_LZ4, &b"\x04\x22\x4d\x18 \xff"[..], 0x101, None),
        ("ZSTD", sys_flag::COMPRESSION_ZSTD, b"\x28\xb5\x2f\xfd \xff", 0x201, None),
        ("ZLIB", sys_flag::COMPRESSION_ZLIB, &PACKED, 0, Some(plain.as_bytes())),
        ("OLD", 0, &PACKED, 0, Some(plain.as_bytes())),
        ("PLAIN", 0, b"plain", 0, Some(b"plain")),
    ] {
        let compressed = if id == "PLAIN" { 0 } else { sys_flag::COMPRESSED };
        let header = Send {
            sys_flag: compressed | packing,
            flag: 7,
            properties: encoded(&[("UNIQ_KEY", id)]).into(),
            ..message("t", 0)
        };
        let first = connection.send(&header, Bytes::copy_from_slice(packed)).await.unwrap();
        let args = ["queryMsgById", "-t", "t", "-i", id, "-s", "true"];
        let second = json(&server, &args)[0]["result"]["queueOffset"].as_i64().unwrap();
        assert_eq!(second, first.queue_offset + 1);
        let reply = connection.pull(&look("g", "t", 0, second)).await.unwrap();
        let record = records(&reply)[0];
        assert_eq!((record.sys_flag, record.flag), (again, 7), "{id}");
        assert_eq!(record.body, body.unwrap_or(packed), "{id}");
    }
    server.stop();
}

#[tokio::test]
async fn messages_are_found_by_key_tag_and_offset() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    let mut ids = Vec::new();
    for i in 0..3 {
        let properties = [("KEYS", "k x"), ("TAGS", "A")];
        let sent = put_with(&connection, "t", 1, &format!("m{i}"), &properties).await;
        ids.push(sent.transaction_id.unwrap().to_string());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let out = text(&server, &["queryMsgByKey", "-t", "t", "-k", "k", "-m", "2"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        format!("{:<50} {:>4} {:>40} #IndexKey", "#Message ID", "#QID", "#Offset")
    );
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[1].starts_with(&format!("{:<50} {:>4} {:>40} ", ids[2], 1, 2)), "{out}");
    assert!(lines[1].contains(&format!("@t@K@k@{}@", ids[2])), "{out}");
    assert!(lines[2].starts_with(&ids[1]), "{out}");
    let rows = json(&server, &["queryMsgByKey", "-t", "t", "-k", "k", "-e", "now"]);
    let offsets: Vec<_> = rows.as_array().unwrap().iter().map(|r| &r["queueOffset"]).collect();
    assert_eq!(offsets, [2, 1, 0]);
    fails(&server, &["queryMsgByKey", "-t", "t", "-k", "nothing"], 1, "has the key \"nothing\"");
    fails(
        &server,
        &["queryMsgByKey", "-t", "t", "-k", "k", "-e", "1000"],
        1,
        "between these times",
    );
    fails(&server, &["queryMsgByKey", "-t", "t", "-k", "k", "-p", "X"], 2, "possible values: K, T");
    fails(&server, &["queryMsgByKey", "-t", "none", "-k", "k"], 1, "No topic route info");
    fails(
        &server,
        &["queryMsgByKey", "-t", "t", "-k", "k", "-c", "Other"],
        1,
        "no broker of cluster \"Other\" holds topic t",
    );

    let args = ["queryMsgByOffset", "-t", "t", "-b", "broker-a", "-i", "1", "-o", "1"];
    let block = text(&server, &args);
    assert!(block.starts_with("OffsetID:            "), "{block}");
    assert!(field(&block, "Properties:").contains("MIN_OFFSET=0, MAX_OFFSET=3"), "{block}");
    assert_eq!((field(&block, "Queue Offset:"), field(&block, "Message Body:")), ("1", "m1"));
    assert_eq!(json(&server, &args)["msgId"], json!(ids[1]));
    let args = ["queryMsgByOffset", "-t", "t", "-b", "broker-a", "-i", "1", "-o", "3"];
    fails(&server, &args, 1, "which holds 0 to 3 (without 3)");
    let args = ["queryMsgByOffset", "-t", "t", "-b", "nobody", "-i", "1", "-o", "3"];
    fails(&server, &args, 1, "no broker \"nobody\" holds the topic; these do: broker-a");
    for (args, code, why) in [
        (
            &["queryMsgById", "-t", "t", "-i", "FFFF"][..],
            1,
            "no message of topic t has the id FFFF",
        ),
        (&["queryMsgById", "-t", "t", "-i", " , "], 1, "there is no id in it"),
        (&["queryMsgById", "-t", "t"], 2, "--msgId"),
        (&["queryMsgById", "-t", "t", "-i", "x", "-g", "g"], 2, "--clientId"),
        (&["queryMsgById", "-t", "t", "-i", "x", "-f", "GBK"], 1, "UTF-8"),
        (&["queryMsgByUniqueKey", "-t", "t", "-i", "FFFF"], 1, "has the unique id FFFF"),
        (&["queryMsgByUniqueKey", "-t", "t", "-i", &ids[0], "-e", "7"], 1, "has the unique id"),
        (&["queryMsgByUniqueKey", "-t", "none", "-i", "FFFF"], 1, "No topic route info"),
        (&["queryMsgByUniqueKey", "-t", "t", "-i", "F", "-s", "soon"], 2, "is no time"),
    ] {
        fails(&server, args, code, why);
    }

    let cq = ["queryCq", "-t", "t", "-q", "1", "-i", "1", "-c", "1", "-b", &server.broker()];
    let out = text(&server, &cq);
    let rule = "=".repeat(38);
    let start =
        format!("Queue data: \nmax: 3, min: 0\n{rule}\nidx: 1\nConsumeQueueData{{physicOffset=");
    assert!(out.starts_with(&start), "{out}");
    let end = format!(
        "tagsCode=65, extendDataJson='null', bitMap='null', eval=false, msg='null'}}\n{rule}\n"
    );
    assert!(out.ends_with(&end), "{out}");
    assert_eq!(json(&server, &cq)["queueData"][0]["tagsCode"], 65);
    join(&connection, "g", "c", "t").await;
    let out = text(&server, &["queryCq", "-t", "t", "-q", "1", "-i", "0", "-g", "g"]);
    assert!(out.starts_with("Subscription data: \n{\n\t\""), "{out}");
    let out = text(&server, &["queryCq", "-t", "t", "-q", "1", "-i", "0", "-g", "other"]);
    assert!(out.starts_with(&format!("Filter data: \nother@t is not online!\n{rule}\n")), "{out}");
    fails(&server, &["queryCq", "-t", "t", "-q", "9", "-i", "0"], 1, "9@t is not exist!");
    fails(
        &server,
        &["queryCq", "-t", "t", "-q", "1", "-i", "3"],
        1,
        "Index 3 of 1@t is not exist!",
    );
    server.stop();
}

#[tokio::test]
async fn a_message_shows_its_trace() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "traceTopicEnable=true"]);
    let connection = server.connect().await;
    let record = |fields: &[&str]| fields.join("\u{1}") + "\u{2}";
    let sent = record(&[
        "Pub",
        "1764360313042",
        "r",
        "pg",
        "t",
        "ID1",
        "A",
        "k",
        "h:1",
        "5",
        "3",
        "0",
        "OFF",
        "true",
    ]);
    let consumed = record(&["SubBefore", "1", "r", "cg", "q", "ID1", "0", "k"])
        + &record(&["SubAfter", "q", "ID1", "8", "false", "k", "1", "1764360313999", "cg"]);
    for body in [sent, consumed] {
        put_with(&connection, "RMQ_SYS_TRACE_TOPIC", 0, &body, &[("KEYS", "ID1 k")]).await;
    }
    let out = text(&server, &["queryMsgTraceById", "-i", "ID1"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "#Type      #ProducerGroup       #ClientHost          #SendTime            #CostTimes #Status"
    );
    assert!(
        lines[1].starts_with("Pub        pg                   127.0.0.1            202"),
        "{out}"
    );
    assert!(lines[1].ends_with(" 3ms        success"), "{out}");
    assert_eq!(lines[2], "");
    assert!(lines[3].contains("#ConsumerGroup       #ClientHost          #ConsumerTime"), "{out}");
    assert!(lines[4].starts_with("Sub        cg ") && lines[4].ends_with("8ms        failed"));
    let steps = json(&server, &["querymsgtracebyid", "-i", "ID1"]);
    assert_eq!(steps[0]["costTime"], 3);
    assert_eq!((&steps[1]["group"], &steps[1]["status"]), (&json!("cg"), &json!("failed")));
    fails(&server, &["queryMsgTraceById", "-i", "k"], 1, "holds no trace of message k");
    fails(&server, &["queryMsgTraceById", "-i", "ID1", "-t", "none"], 1, "No topic route info");
    server.stop();
}

#[tokio::test]
async fn topics_and_queues_are_printed_to_their_end_and_not_beyond() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    for i in 0..70 {
        let tag = if i == 69 { "B" } else { "A" };
        put_with(&connection, "t", 0, &format!("m{i}"), &[("TAGS", tag)]).await;
    }
    let queue = |id: i32| format!("MessageQueue [topic=t, brokerName=broker-a, queueId={id}]");
    let rule = "-".repeat(56);

    let out = text(&server, &["printMsg", "-t", "t"]);
    assert!(out.starts_with(&format!("minOffset=0, maxOffset=70, {}\nMSGID: ", queue(0))), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("MSGID: ")).count(), 70);
    let end = format!("{rule}\nminOffset=0, maxOffset=0, {}\n{rule}\n", queue(1));
    assert!(out.ends_with(&end), "{out}");
    let first = out.lines().nth(1).unwrap();
    assert!(first.contains(" MessageExt [brokerName=broker-a, queueId=0, storeSize="), "{first}");
    assert!(first.contains("body=[109, 48], ") && first.ends_with("'null'}] BODY: m0"), "{first}");
    // Pulls in which nothing matches do not end it.
    let rare = values(&server, &["printMsg", "-t", "t", "-s", "B || C"]);
    assert_eq!((rare.len(), &rare[0]["queueOffset"]), (1, &json!(69)));
    let out =
        text(&server, &["printMsg", "-t", "t", "--subExpression", "B", "--printBody", "false"]);
    assert!(out.contains("body=[], ") && out.contains(" BODY: NOT PRINT BODY\n"), "{out}");
    assert_eq!(values(&server, &["printMsg", "-t", "t", "-d", "false"])[0].get("body"), None);
    let long_ago = values(&server, &["printMsg", "-t", "t", "-e", "2020-01-01#00:00:00:000"]);
    assert!(long_ago.is_empty());

    let on = ["printMsgByQueue", "-t", "t", "-a", "broker-a", "-i", "0"];
    let out = text(&server, &[&on[..], &["-f", "true"]].concat());
    assert_eq!(out, format!("Tag: {:<30} Count: 69\nTag: {:<30} Count: 1\n", "A", "B"));
    let out = text(&server, &[&on[..], &["-s", "B", "-d", "true"]].concat());
    assert!(out.starts_with("MSGID: ") && out.ends_with(" BODY: m69\n"), "{out}");
    assert_eq!(values(&server, &on).len(), 70);
    let counts = values(&server, &[&on[..], &["-f", "true"]].concat());
    assert_eq!(counts[0], json!({"tag": "A", "count": 69}));

    let consume = ["consumeMessage", "-t", "t"];
    let out = text(&server, &[&consume[..], &["-c", "3"]].concat());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "The older 3 message of the 0 queue will be provided");
    assert_eq!((lines[1], lines.len()), ("Consume ok", 5), "{out}");
    let on = [&consume[..], &["-b", "broker-a", "-i", "0"]].concat();
    let some = values(&server, &[&on[..], &["-o", "68", "-g", "CID_ONS-HTTP-PROXY"]].concat());
    let offsets: Vec<_> = some.iter().map(|message| &message["queueOffset"]).collect();
    assert_eq!(offsets, [68, 69]);
    let out = text(&server, &[&on[..], &["-o", "71"]].concat());
    assert_eq!(out, format!("{} no matched msg, offset=71\n", queue(0)));
    assert_eq!(values(&server, &consume).len(), 70);
    for (more, why) in [
        (&["-c", "0"][..], "Please input a positive messageNumber!"),
        (&["-i", "0"], "Please set the brokerName before queueId!"),
        (&["-b", "broker-a", "-o", "1"], "Please set queueId before offset!"),
        (&["-s", "99999999999999"], "Please set the beginTimestamp before now!"),
        (&["-e", "99999999999999"], "Please set the endTimestamp before now!"),
        (&["-s", "7", "-e", "6"], "beginTimestamp is less than or equal to the endTimestamp"),
        (&["-b", "nobody"], "The broker[nobody] not exist"),
        (&["-b", "broker-a", "-i", "9"], "t has no queue 9"),
    ] {
        fails(&server, &[&consume[..], more].concat(), 1, why);
    }
    for command in ["printMsg", "consumeMessage", "tail"] {
        fails(&server, &[command, "-t", "none"], 1, "No topic route info");
        fails(&server, &[command], 2, "--topic <TOPIC>");
    }
    fails(&server, &["printMsg", "-t", "t", "-c", "GBK"], 1, "UTF-8");
    fails(&server, &["printMsg", "-t", "t", "-b", "soon"], 2, "is no time");
    fails(&server, &["printMsgByQueue", "-t", "t", "-a", "x", "-i", "0"], 1, "no broker \"x\"");
    server.stop();
}

/// `tail`, while it runs. It is killed, by its pid, when this goes away.
struct Tail {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(server: &Server, args: &[&str]) -> Tail {
        let mut command = Command::new(binary());
        command.args(["admin", "tail", "-t", "t"]).args(args);
        command.env("NAMESRV_ADDR", server.address(server.ports.namesrv)).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().map(BufReader::new);
        Tail { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end, which must be a success.
    async fn ended(mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert_eq!(status.code(), Some(0));
            }
            assert!(Instant::now() < deadline, "it still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_topic_is_followed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    let long = format!("two\nlines {}", "x".repeat(300));
    let sent = put_with(&connection, "t", 0, &long, &[("TAGS", "A"), ("KEYS", "k")]).await;
    let unique = sent.transaction_id.unwrap().to_string();
    put(&connection, "t", 1, "other").await;

    let whole = ["tail", "-t", "t", "--no-follow", "--from-beginning"];
    let out = text(&server, &[&whole[..], &["--width", "12", "--tag", "A||C"]].concat());
    let (time, rest) = out.split_at(23);
    assert_eq!(rest, format!(" broker-a:0@0 {unique} A k two\\nlines xx…\n"));
    assert!(time.starts_with("20") && time.contains(','), "{time}");
    assert_eq!(values(&server, &whole).len(), 2);
    assert_eq!(values(&server, &[&whole[..], &["--limit", "1"]].concat()).len(), 1);
    assert_eq!(text(&server, &["tail", "-t", "t", "--no-follow"]), "");
    let later = (now() + 1000).to_string();
    let none = ["tail", "-t", "t", "--no-follow", "--from", &later];
    assert_eq!(text(&server, &none), "");
    assert_eq!(values(&server, &["tail", "-t", "t", "--no-follow", "--from", "7"]).len(), 2);
    fails(&server, &["tail", "-t", "t", "--from", "7", "--from-beginning"], 2, "cannot be used");
    fails(&server, &["tail", "-t", "t", "--limit", "0"], 2, "invalid value '0'");

    let mut tail = Tail::start(&server, &["--from-beginning", "--json"]);
    let mut bodies = Vec::new();
    for i in 0..5 {
        let value: Value = serde_json::from_str(&tail.line()).unwrap();
        bodies.push(value["body"].as_str().unwrap().to_owned());
        if i >= 1 {
            put(&connection, "t", i % 2, &format!("new {i}")).await;
        }
    }
    bodies.sort();
    assert_eq!(bodies, ["new 1", "new 2", "new 3", "other", &long]);
    kill_process(Pid::from_child(&tail.child), Signal::TERM).unwrap();
    tail.ended().await;

    // Nobody reads any more, and nothing comes.
    let mut tail = Tail::start(&server, &["--from-beginning", "--tag", "A"]);
    tail.line();
    tail.out = None;
    tail.ended().await;
    Tail::start(&server, &["--limit", "1", "--from-beginning"]).ended().await;
    server.stop();
}

#[tokio::test]
async fn messages_are_sent_and_sends_are_timed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "brokerTopicEnable=true"]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 2).await;
    let args = ["sendMessage", "-t", "t", "-p", "hello", "-k", "k1 k2", "-c", "A"];
    let out = text(&server, &[&args[..], &["-b", "broker-a", "-i", "1"]].concat());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "#Broker Name                      #QID  #Send Result            #MsgId");
    let start = "broker-a                          1     SEND_OK                 ";
    assert!(lines[1].starts_with(start), "{out}");
    let id = lines[1].rsplit(' ').next().unwrap();
    let found = &json(&server, &["queryMsgById", "-t", "t", "-i", id])[0];
    assert_eq!((&found["body"], &found["properties"]["KEYS"]), (&json!("hello"), &json!("k1 k2")));
    assert_eq!((&found["properties"]["TAGS"], &found["queueId"]), (&json!("A"), &json!(1)));
    let sent = json(&server, &args);
    assert_eq!((&sent["sendStatus"], &sent["topic"]), (&json!("SEND_OK"), &json!("t")));
    json(&server, &[&args[..], &["-b", "broker-a"]].concat());
    for (args, code, why) in [
        (&["sendMessage", "-t", "t"][..], 2, "--body <BODY>"),
        (&["sendMessage", "-t", "t", "-p", " "], 1, "the message body length is zero"),
        (&["sendMessage", "-t", "t", "-p", "x", "-i", "0"], 2, "--broker <BROKER>"),
        (&["sendMessage", "-t", "t", "-p", "x", "-b", "nobody"], 1, "The broker[nobody] not exist"),
        (
            &["sendMessage", "-t", "t", "-p", "x", "-b", "broker-a", "-i", "9"],
            1,
            "refused request 310",
        ),
        (&["sendMessage", "-t", "t", "-p", "x", "-m", "true"], 1, "writes no trace"),
        (&["checkMsgSendRT", "-t", "t", "-a", "0"], 2, "invalid value '0'"),
        (&["sendMsgStatus", "-b", "nobody"], 1, "No topic route info"),
        (&["clusterRT", "-c", "Nobody"], 1, "knows no cluster \"Nobody\""),
    ] {
        fails(&server, args, code, why);
    }
    // Nobody knows the topic: the send makes it.
    json(&server, &["sendMessage", "-t", "new", "-p", "x"]);

    let out = text(&server, &["checkMsgSendRT", "-t", "t", "-a", "3", "-s", "10"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "#Broker Name                      #QID  #Send Result            #RT");
    assert!(
        lines[1].starts_with("broker-a                          0     true                    ")
    );
    assert!(lines[2].starts_with("broker-a                          1     true "), "{out}");
    assert!(lines[4].starts_with("Avg RT: ") && lines.len() == 5, "{out}");
    let checked = json(&server, &["checkMsgSendRT", "-t", "t", "-a", "1"]);
    assert_eq!(checked["sends"][0]["success"], true);
    assert!(checked["avgRt"].as_f64().unwrap() > 0.0);

    let out = text(&server, &["sendMsgStatus", "-b", "broker-a", "-c", "2"]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("rt=") && lines.len() == 2, "{out}");
    assert!(lines[1].contains("ms, SendResult=SendResult [sendStatus=SEND_OK, msgId="), "{out}");
    assert!(
        lines[1].ends_with(
            " [topic=broker-a, brokerName=broker-a, queueId=0], queueOffset=2, recallHandle=null]"
        ),
        "{out}"
    );
    assert!(read(&connection, "broker-a", 0).await.last().unwrap().len() == 132);
    let status = json(&server, &["sendMsgStatus", "-b", "broker-a", "-c", "1", "-s", "1"]);
    assert_eq!(status[0]["result"]["queueOffset"], 4);

    let rt = ["clusterRT", "-a", "2", "-i", "0", "--rounds", "2"];
    let out = text(&server, &rt);
    let lines: Vec<&str> = out.lines().collect();
    let head = format!(
        "{:<24}  {:<24}  {:<8}  {:<16}  #failCount",
        "#Cluster Name", "#Broker Name", "#RT", "#successCount"
    );
    assert_eq!((lines[0], lines.len()), (head.as_str(), 3), "{out}");
    assert!(lines[2].starts_with("DefaultCluster            broker-a "), "{out}");
    assert!(lines[2].ends_with("  2                 0"), "{out}");
    let rounds = values(&server, &rt);
    assert_eq!((rounds.len(), &rounds[0]["successCount"]), (2, &json!(2)));
    let out = text(&server, &["clusterRT", "-a", "1", "--rounds", "1", "-p", "true", "-m", "room"]);
    assert!(out.contains("|room|DefaultCluster|broker-a|"), "{out}");
    server.stop();
}
