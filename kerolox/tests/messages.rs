//! Messages on their way in, each request answered well: 10, 310, 320 (send), 36 (given back), 309
//! (consumed on request); delays; and what messages, filters and codes of later releases are told.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{
    ask, encoded, granted, heartbeat, join, look, make_topic, message, pairs, put, put_with, read,
    records, refused, tell, texts, wait,
};
use common::{Folder, Server};
use kerolox_client::{Connection, Form, Options};
use kerolox_protocol::batch::{self, Inner};
use kerolox_protocol::ids;
use kerolox_protocol::properties;
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::client::ConsumerData;
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::pull::Pull;
use kerolox_protocol::remoting::send::Send;
use tokio::sync::mpsc;

/// A property of a stored message.
fn property<'a>(record: &View<'a>, name: &str) -> Option<&'a str> {
    properties::get(record.properties, name)
}

async fn connect_as(server: &Server, form: Form) -> Connection {
    let options = Options { form, ..Options::default() };
    Connection::connect_with(&server.broker(), options).await.unwrap()
}

#[tokio::test]
async fn a_sent_message_310_is_pulled_11_as_it_was_in_both_header_forms() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "brokerClusterName=cluster"]);
    for form in [Form::Json, Form::Binary] {
        let connection = connect_as(&server, form).await;
        let topic = format!("topic-{form:?}");
        let mut header = message(&topic, 2);
        let own = [("KEYS", "a b"), ("TAGS", "blue"), ("UNIQ_KEY", "unique"), ("é\"\\", "ü\n")];
        header.properties = encoded(&own).into();
        (header.flag, header.reconsume_times) = (-7, 3);
        let body = Bytes::from((0..=255).collect::<Vec<u8>>());
        let sent = connection.send(&header, body.clone()).await.unwrap();
        assert_eq!((sent.queue_id, sent.queue_offset), (2, 0), "{form:?}");
        assert_eq!(sent.transaction_id.as_deref(), Some("unique"));
        assert_eq!(connection.topic_config(&topic).await.unwrap().unwrap().write_queue_nums, 4);

        let reply = connection.pull(&look("g", &topic, 2, 0)).await.unwrap();
        let offsets = &reply.offsets;
        assert_eq!((reply.code, offsets.suggest_which_broker_id), (0, 0));
        assert_eq!((offsets.min_offset, offsets.max_offset, offsets.next_begin_offset), (0, 1, 1));
        let records = records(&reply);
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.topic, record.body, record.queue_id), (&*topic, &body[..], 2));
        assert_eq!((record.flag, record.reconsume_times, record.queue_offset), (-7, 3, 0));
        assert_eq!(record.born_timestamp, header.born_timestamp);
        assert!(record.body_is_sound() && record.born_host.ip().is_loopback());
        assert_eq!(record.store_host.to_string(), server.broker());
        let (host, position) = ids::parse_offset_id(&sent.msg_id).unwrap();
        assert_eq!((host, position), (record.store_host, record.physical_offset));
        for (name, value) in own {
            assert_eq!(property(record, name), Some(value));
        }
        for (name, value) in
            [("MSG_REGION", "DefaultRegion"), ("TRACE_ON", "true"), ("CLUSTER", "cluster")]
        {
            assert_eq!(property(record, name), Some(value));
        }
    }
    server.stop();
}

#[tokio::test]
async fn a_send_is_answered_with_region_and_trace_and_a_key_if_it_brought_none() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "regionId=north", "--set", "traceOn=false"]);
    let connection = server.connect().await;
    let header = message("t", 0);
    let reply = connection.call(310, &header, Bytes::from_static(b"x")).await.unwrap();
    let fields = granted(&reply);
    assert_eq!((fields.get("MSG_REGION"), fields.get("TRACE_ON")), ("north", "false"));
    assert_eq!((fields.get("queueId"), fields.get("queueOffset")), ("0", "0"));
    assert_eq!(fields.get("msgId").len(), 32);
    let made = fields.get("transactionId");
    assert!(made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    let pulled = connection.pull(&look("g", "t", 0, 0)).await.unwrap();
    assert_eq!(property(&records(&pulled)[0], "UNIQ_KEY"), Some(made));
    server.stop();
}

#[tokio::test]
async fn a_send_with_long_names_10_is_stored_too() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    for form in [Form::Json, Form::Binary] {
        let connection = connect_as(&server, form).await;
        let fields = [
            ("producerGroup", "g"),
            ("topic", "t"),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", "4"),
            ("queueId", "1"),
            ("sysFlag", "0"),
            ("bornTimestamp", "1700000000000"),
            ("flag", "5"),
            ("properties", "TAGS\u{1}red\u{2}"),
            ("reconsumeTimes", "0"),
            ("unitMode", "false"),
            ("batch", "false"),
            ("bname", "broker-a"),
        ];
        granted(&tell(&connection, request::SEND_MESSAGE, &fields, b"long").await);
    }
    let connection = server.connect().await;
    let reply = connection.pull(&look("g", "t", 1, 0)).await.unwrap();
    let records = records(&reply);
    assert_eq!(texts(&reply), ["long", "long"]);
    assert_eq!((records[0].flag, property(&records[0], "TAGS")), (5, Some("red")));
    server.stop();
}

#[tokio::test]
async fn a_batch_320_is_stored_as_single_messages_in_a_row() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "before").await;
    let mut body = Vec::new();
    let properties = [&b"UNIQ_KEY\x01u0\x02TAGS\x01x\x02"[..], b"", b"UNIQ_KEY\x01u2"];
    for (i, properties) in properties.into_iter().enumerate() {
        let text = format!("message {i}");
        batch::push(&mut body, &Inner { flag: i as i32, body: text.as_bytes(), properties });
    }
    let header = Send { batch: true, ..message("t", 0) };
    let reply = connection.call(320, &header, body.into()).await.unwrap();
    let fields = granted(&reply);
    let ids: Vec<&str> = fields.get("msgId").split(',').collect();
    let keys: Vec<&str> = fields.get("transactionId").split(',').collect();
    assert_eq!((ids.len(), fields.get("queueOffset")), (3, "1"));
    assert_eq!((keys[0], keys[1].len(), keys[2]), ("u0", 32, "u2"));
    let reply = connection.pull(&look("g", "t", 0, 0)).await.unwrap();
    assert_eq!(texts(&reply), ["before", "message 0", "message 1", "message 2"]);
    let records = records(&reply);
    for (i, record) in records[1..].iter().enumerate() {
        assert_eq!((record.flag, record.queue_offset), (i as i32, 1 + i as i64));
        let (_, position) = ids::parse_offset_id(ids[i]).unwrap();
        assert_eq!(position, record.physical_offset);
        assert_eq!(property(record, "UNIQ_KEY"), Some(keys[i]));
    }
    let end = |r: &View<'_>| r.physical_offset + r.bytes.len() as u64;
    assert_eq!(end(&records[1]), records[2].physical_offset);
    assert_eq!(end(&records[2]), records[3].physical_offset);
    // The C++ client says 1 for true.
    let mut body = Vec::new();
    batch::push(&mut body, &Inner { flag: 0, body: b"from C++", properties: b"" });
    let fields = pairs(&[("a", "g"), ("b", "t"), ("c", "TBW102"), ("d", "4"), ("e", "0")])
        .with("f", "0")
        .with("g", "0")
        .with("h", "0")
        .with("m", "1");
    granted(&connection.call(320, &fields, body.into()).await.unwrap());
    assert_eq!(read(&connection, "t", 0).await.last().unwrap(), "from C++");
    server.stop();
}

#[tokio::test]
async fn the_broker_chooses_a_queue_when_the_client_does_not() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 3).await;
    let mut queues = Vec::new();
    for queue in [-1, -1, -1, i32::MIN, -2, -7] {
        queues.push(put(&connection, "t", queue, "x").await.queue_id);
    }
    queues.sort_unstable();
    assert_eq!(queues, [0, 0, 1, 1, 2, 2]);
    server.stop();
}

#[tokio::test]
async fn a_topic_is_made_by_its_first_message_with_the_queues_that_both_sides_allow() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "defaultTopicQueueNums=6"]);
    let connection = server.connect().await;
    for (wanted, made) in [(4, 4), (6, 6), (100, 6), (i32::MAX, 6), (0, 1), (-5, 1)] {
        let topic = format!("wanted{wanted}");
        let header = Send { default_topic_queue_nums: wanted, ..message(&topic, 0) };
        connection.send(&header, Bytes::from_static(b"x")).await.unwrap();
        let config = connection.topic_config(&topic).await.unwrap().unwrap();
        assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm), (made, made, 6));
        assert!(connection.route(&topic).await.unwrap().is_some(), "known at once");
    }
    let header = Send { default_topic: "SELF_TEST_TOPIC".into(), ..message("other", 0) };
    let refusal = connection.send(&header, Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(refusal.refused_with(), Some(17));
    assert!(refusal.to_string().contains("topic[other] not exist, apply first please!"));
    server.stop();
}

#[tokio::test]
async fn a_delayed_message_comes_at_its_time_to_its_queue() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "messageDelayLevel=1s 2s"]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 4).await;
    let begin = Instant::now();
    for (level, body) in [("2", "later"), ("1", "soon"), ("0", "now"), ("99", "at the last level")]
    {
        let sent = put_with(&connection, "t", 3, body, &[("DELAY", level)]).await;
        assert_eq!(sent.queue_id, 3, "the queue that was asked for");
    }
    assert_eq!(read(&connection, "t", 3).await, ["now"]);
    let mut came = Vec::new();
    for (offset, least) in [(1, 1), (2, 2), (3, 2)] {
        let reply = connection.pull(&wait("g", "t", 3, offset, 10_000)).await.unwrap();
        assert_eq!(reply.code, 0);
        let record = records(&reply)[0];
        assert!(begin.elapsed() >= Duration::from_secs(least));
        assert_eq!((record.topic, record.queue_id), ("t", 3));
        assert_eq!(property(&record, "REAL_TOPIC"), Some("t"));
        came.push(String::from_utf8_lossy(record.body).into_owned());
    }
    assert_eq!(came, ["soon", "later", "at the last level"]);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    server.stop();
}

#[tokio::test]
async fn a_message_given_back_36_comes_again_through_the_retry_topic_and_ends_as_a_dead_letter() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let sent = put_with(&connection, "t", 0, "hard", &[("TAGS", "x"), ("UNIQ_KEY", "u")]).await;
    join(&connection, "g", "c1", "t").await;
    let give_back = async |id: &str, level: &str, max: &str| {
        let position = ids::parse_offset_id(id).unwrap().1.to_string();
        let fields = [
            ("offset", &*position),
            ("group", "g"),
            ("delayLevel", level),
            ("originMsgId", id),
            ("originTopic", "t"),
            ("maxReconsumeTimes", max),
        ];
        granted(&ask(&connection, request::CONSUMER_SEND_MSG_BACK, &fields).await);
    };
    give_back(&sent.msg_id, "1", "2").await;
    let reply = connection.pull(&wait("g", "%RETRY%g", 0, 0, 10_000)).await.unwrap();
    let record = records(&reply)[0];
    assert_eq!((record.body, record.reconsume_times), (&b"hard"[..], 1));
    assert_eq!(property(&record, "RETRY_TOPIC"), Some("t"));
    assert_eq!(property(&record, "ORIGIN_MESSAGE_ID"), Some(&*sent.msg_id));
    assert_eq!((property(&record, "TAGS"), property(&record, "UNIQ_KEY")), (Some("x"), Some("u")));
    let mut id = String::new();
    ids::push_offset_id(&mut id, record.store_host, record.physical_offset);
    give_back(&id, "1", "1").await;
    let reply = connection.pull(&look("g", "%DLQ%g", 0, 0)).await.unwrap();
    let record = records(&reply)[0];
    assert_eq!((record.body, record.reconsume_times), (&b"hard"[..], 2));
    assert_eq!(property(&record, "RETRY_TOPIC"), Some("t"));
    assert_eq!(property(&record, "ORIGIN_MESSAGE_ID"), Some(&*sent.msg_id));
    assert_eq!(property(&record, "DELAY"), None);
    // A negative level means: no more.
    give_back(&sent.msg_id, "-1", "16").await;
    let reply = connection.pull(&look("g", "%DLQ%g", 0, 1)).await.unwrap();
    assert_eq!((texts(&reply), records(&reply)[0].reconsume_times), (vec!["hard".to_owned()], 1));
    assert_eq!(server.metric("rocketmq_send_to_dlq_messages_total"), 2);
    server.stop();
}

#[tokio::test]
async fn a_group_without_retry_queues_drops_what_is_given_back() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let sent = put(&connection, "t", 0, "x").await;
    let config = br#"{"groupName":"g","retryQueueNums":0}"#;
    granted(&tell(&connection, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], config).await);
    let position = ids::parse_offset_id(&sent.msg_id).unwrap().1.to_string();
    let fields = [("offset", &*position), ("group", "g"), ("delayLevel", "0")];
    granted(&ask(&connection, request::CONSUMER_SEND_MSG_BACK, &fields).await);
    assert!(connection.topic_config("%RETRY%g").await.unwrap().is_none());
    server.stop();
}

#[tokio::test]
async fn a_client_may_send_to_its_retry_topic_itself_until_the_message_is_given_up() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    join(&connection, "g", "c1", "t").await;
    for (times, max, topic) in [(3, 3, "%RETRY%g"), (4, 3, "%DLQ%g"), (16, -1, "%RETRY%g")] {
        let header = Send {
            reconsume_times: times,
            max_reconsume_times: Some(max),
            ..message("%RETRY%g", 0)
        };
        let text = format!("tried {times}");
        connection.send(&header, text.clone().into()).await.unwrap();
        assert!(read(&connection, topic, 0).await.contains(&text), "{text}");
    }
    let header = message("%RETRY%nobody", 0);
    let refusal = connection.send(&header, Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(refusal.refused_with(), Some(26));
    assert!(refusal.to_string().contains("subscription group not exist, nobody"), "{refusal}");
    server.stop();
}

#[tokio::test]
async fn an_admin_lets_a_client_consume_one_message_309() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (incoming, mut requests) = mpsc::channel(10);
    let options = Options { incoming: Some(incoming), ..Options::default() };
    let consumer = Connection::connect_with(&server.broker(), options).await.unwrap();
    join(&consumer, "g", "c1", "t").await;
    let admin = server.connect().await;
    let sent = put(&admin, "t", 0, "directly").await;
    let answering = tokio::spawn(async move {
        loop {
            let request = requests.recv().await.unwrap();
            if request.code == request::CONSUME_MESSAGE_DIRECTLY {
                let body = Bytes::from_static(br#"{"consumeResult":"CR_SUCCESS"}"#);
                consumer.respond(&request, 0, &(), body).await.unwrap();
                return (request, consumer);
            }
        }
    });
    let fields =
        [("consumerGroup", "g"), ("clientId", "c1"), ("msgId", &*sent.msg_id), ("topic", "t")];
    let reply = ask(&admin, request::CONSUME_MESSAGE_DIRECTLY, &fields).await;
    granted(&reply);
    assert_eq!(&reply.body[..], br#"{"consumeResult":"CR_SUCCESS"}"#);
    let (request, _consumer) = answering.await.unwrap();
    assert_eq!(View::parse(&request.body).unwrap().body, b"directly");
    let header: common::call::Pairs = request.header().unwrap();
    assert_eq!((header.get("consumerGroup"), header.get("brokerName")), ("g", "broker-a"));
    for (fields, code, remark) in [
        ([("clientId", "c2"), ("msgId", &*sent.msg_id)], 1, "The Consumer <g> <c2> not online"),
        ([("clientId", "c1"), ("msgId", "FFFF")], 29, "msgId is not an offset message id"),
        ([("clientId", "c1"), ("msgId", &"0".repeat(32))], 1, "look message by offset failed, 0"),
    ] {
        let fields = [&[("consumerGroup", "g")], &fields[..]].concat();
        refused(&ask(&admin, request::CONSUME_MESSAGE_DIRECTLY, &fields).await, code, remark);
    }
    server.stop();
}

#[tokio::test]
async fn what_comes_with_later_releases_is_refused_in_words() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    make_topic(&connection, "t", 1).await;
    let send = async |properties: &[(&str, &str)]| {
        let header = Send { properties: encoded(properties).into(), ..message("t", 0) };
        connection.call(310, &header, Bytes::from_static(b"x")).await.unwrap()
    };
    for value in ["true", "True"] {
        let reply = send(&[("TRAN_MSG", value), ("PGROUP", "p")]).await;
        refused(&reply, 16, "the broker[broker-a] sending transaction message is forbidden");
    }
    for timer in ["TIMER_DELIVER_MS", "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DEL_UNIQKEY"] {
        refused(&send(&[(timer, "1")]).await, 13, "timer message illegal");
    }
    for (properties, code) in [(&b"TRAN_MSG\x01true"[..], 16), (b"TIMER_DELAY_SEC\x011", 13)] {
        let mut body = Vec::new();
        batch::push(&mut body, &Inner { flag: 0, body: b"first", properties: b"" });
        batch::push(&mut body, &Inner { flag: 0, body: b"x", properties });
        let header = Send { batch: true, ..message("t", 0) };
        assert_eq!(connection.call(320, &header, body.into()).await.unwrap().code, code);
    }
    assert!(read(&connection, "t", 0).await.is_empty());

    let sql = "The broker does not support consumer to filter message by SQL92";
    let pull = Pull { expression_type: Some("SQL92".into()), ..look("g", "t", 0, 0) };
    refused(&connection.call(11, &pull, Bytes::new()).await.unwrap(), 1, sql);
    let check = br#"{"clientId":"c","group":"g","subscriptionData":{"topic":"t","subString":"a = 1","expressionType":"SQL92"}}"#;
    refused(&tell(&connection, request::CHECK_CLIENT_CONFIG, &[], check).await, 1, sql);
    let mut beat = heartbeat("by-sql", "c1", "t");
    let subscriptions: &mut ConsumerData = &mut beat.consumer_data_set[0];
    subscriptions.subscription_data_set[0].expression_type = "SQL92".to_owned();
    connection.heartbeat(&beat).await.unwrap();
    let pull = Pull { sys_flag: 0, subscription: None, ..look("by-sql", "t", 0, 0) };
    refused(&connection.call(11, &pull, Bytes::new()).await.unwrap(), 1, sql);
    server.stop();
}

#[tokio::test]
async fn codes_that_are_not_known_are_answered_with_3() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let codes = [
        0,
        9,
        13,
        16,
        37,
        39,
        44,
        220,
        221,
        324,
        325,
        326,
        370,
        400,
        401,
        402,
        1000,
        200_050,
        200_051,
        200_052,
        200_053,
        200_054,
        200_055,
        200_070,
        200_151,
        i32::MAX,
        i32::MIN,
        -1,
    ];
    let json = connect_as(&server, Form::Json).await;
    for code in codes {
        let remark = format!(" request type {code} not supported");
        let reply = tell(&json, code, &[("consumerGroup", "g")], b"{}").await;
        refused(&reply, 3, &remark);
        assert_eq!(reply.remark, Some(remark));
    }
    // A binary header has room for 16 bits: the wrapped codes are known as what they were.
    let binary = connect_as(&server, Form::Binary).await;
    for code in [9, 324, 325, 370, 400, 200_050, 200_053, 200_151] {
        let reply = ask(&binary, code, &[]).await;
        refused(&reply, 3, &format!(" request type {code} not supported"));
    }
    granted(&ask(&json, 106, &[]).await);
    server.stop();
}
