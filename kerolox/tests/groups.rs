//! Requests about groups and clients, each answered well: 34, 35, 38 (who is there), 41, 42 (locks),
//! 46 (filters), 200, 201, 207, 352 (groups), 203, 204, 208 (statistics), 307 (what a client does).

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{
    ask, body, commit, committed, granted, heartbeat, join, look, put, put_with, refused, tell,
};
use common::{Folder, Server};
use kerolox_client::{Connection, Incoming, Options};
use kerolox_protocol::remoting::client::{Heartbeat, ProducerData};
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::pull::Pull;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A connection that hears what the broker asks of it.
async fn listening(server: &Server) -> (Connection, mpsc::Receiver<Incoming>) {
    let (incoming, requests) = mpsc::channel(100);
    let options = Options { incoming: Some(incoming), ..Options::default() };
    (Connection::connect_with(&server.broker(), options).await.unwrap(), requests)
}

/// The next request of this code that the broker makes.
async fn heard(requests: &mut mpsc::Receiver<Incoming>, code: i32) -> Incoming {
    let wait = async {
        loop {
            let request = requests.recv().await.expect("the connection is open");
            if request.code == code {
                return request;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the broker asks")
}

#[tokio::test]
async fn groups_are_made_changed_listed_and_deleted() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "autoCreateSubscriptionGroup=false"]);
    let connection = server.connect().await;
    let group =
        async || ask(&connection, request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "g")]).await;
    refused(&group().await, 26, "No group in this broker. group: g");
    let make = async |config: Value| {
        let bytes = config.to_string();
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        granted(&tell(&connection, code, &[], bytes.as_bytes()).await);
    };
    make(json!({
        "groupName": "g", "retryMaxTimes": 3, "retryQueueNums": 2, "consumeEnable": true,
        "attributes": {"+lite.bind.topic": "y"}, "subscriptionDataSet": null, "unheardOf": 1,
    }))
    .await;
    let config = body(&group().await);
    assert_eq!(config["retryMaxTimes"], 3);
    assert_eq!(
        (&config["attributes"], &config["consumeTimeoutMinute"]),
        (&json!({"lite.bind.topic": "y"}), &json!(15))
    );
    assert_eq!(config["notifyConsumerIdsChangedEnable"], true);
    assert_eq!(connection.topic_config("%RETRY%g").await.unwrap().unwrap().write_queue_nums, 2);
    let all =
        async || body(&ask(&connection, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await);
    let before = all().await;
    assert_eq!(before["subscriptionGroupTable"]["g"], config);
    make(json!({"groupName": "g", "consumeEnable": false})).await;
    assert_eq!(body(&group().await)["consumeEnable"], false);
    let after = all().await;
    assert!(after["dataVersion"]["counter"].as_i64() > before["dataVersion"]["counter"].as_i64());

    put(&connection, "t", 0, "x").await;
    commit(&connection, "g", "t", 0, 1).await;
    let delete = request::DELETE_SUBSCRIPTIONGROUP;
    granted(&ask(&connection, delete, &[("groupName", "g")]).await);
    assert_eq!(group().await.code, 26);
    assert_eq!(granted(&committed(&connection, "g", "t", 0).await).get("offset"), "1");
    granted(&ask(&connection, delete, &[("groupName", "g"), ("cleanOffset", "true")]).await);
    assert_eq!(committed(&connection, "g", "t", 0).await.code, 22);
    assert!(connection.topic_config("%RETRY%g").await.unwrap().is_none());
    server.stop();
}

#[tokio::test]
async fn a_group_is_made_by_asking_for_it_where_that_is_allowed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let reply = ask(&connection, request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "new")]).await;
    assert_eq!(body(&reply)["groupName"], "new");
    server.stop();
}

#[tokio::test]
async fn a_group_hears_of_its_members_34_35_38() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (first, mut heard_by_first) = listening(&server).await;
    let list = async |connection: &Connection| {
        let reply = ask(connection, request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "g")]);
        reply.await
    };
    refused(&list(&first).await, 1, "no consumer for this group, g");
    join(&first, "g", "c1", "t").await;
    heard(&mut heard_by_first, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    assert_eq!(body(&list(&first).await), json!({"consumerIdList": ["c1"]}));
    assert!(first.topic_config("%RETRY%g").await.unwrap().is_some());

    let (second, _heard) = listening(&server).await;
    join(&second, "g", "c2", "t").await;
    let news = heard(&mut heard_by_first, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    assert!(news.oneway);
    assert_eq!(news.header::<common::call::Pairs>().unwrap().get("consumerGroup"), "g");
    assert_eq!(body(&list(&first).await), json!({"consumerIdList": ["c1", "c2"]}));
    // A heartbeat without news is no news.
    join(&second, "g", "c2", "t").await;
    granted(&ask(&first, 106, &[]).await);
    assert!(heard_by_first.try_recv().is_err());

    let fields = [("clientID", "c2"), ("producerGroup", ""), ("consumerGroup", "g")];
    granted(&ask(&second, request::UNREGISTER_CLIENT, &fields).await);
    heard(&mut heard_by_first, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    assert_eq!(body(&list(&first).await), json!({"consumerIdList": ["c1"]}));
    // A closed connection is a member less, too.
    join(&second, "g", "c2", "t").await;
    heard(&mut heard_by_first, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    drop(second);
    heard(&mut heard_by_first, request::NOTIFY_CONSUMER_IDS_CHANGED).await;
    assert_eq!(body(&list(&first).await), json!({"consumerIdList": ["c1"]}));
    server.stop();
}

#[tokio::test]
async fn connected_clients_are_listed_203_204() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let consumers = [("consumerGroup", "g")];
    let producers = [("producerGroup", "p")];
    let reply = ask(&connection, request::GET_CONSUMER_CONNECTION_LIST, &consumers).await;
    refused(&reply, 206, "the consumer group[g] not online");
    let reply = ask(&connection, request::GET_PRODUCER_CONNECTION_LIST, &producers).await;
    refused(&reply, 1, "the producer group[p] not exist");
    let mut beat = heartbeat("g", "c", "t");
    beat.consumer_data_set[0].subscription_data_set[0].sub_string = "a || b".to_owned();
    beat.producer_data_set = vec![ProducerData { group_name: "p".to_owned() }];
    connection.heartbeat(&beat).await.unwrap();
    let reply = ask(&connection, request::GET_CONSUMER_CONNECTION_LIST, &consumers).await;
    let found = body(&reply);
    let client = &found["connectionSet"][0];
    assert_eq!((&client["clientId"], &client["language"]), (&json!("c"), &json!("JAVA")));
    assert!(client["clientAddr"].as_str().unwrap().starts_with("127.0.0.1:"), "{client}");
    assert_eq!(found["consumeType"], "CONSUME_PASSIVELY");
    assert_eq!(found["messageModel"], "CLUSTERING");
    assert_eq!(found["consumeFromWhere"], "CONSUME_FROM_LAST_OFFSET");
    let subscription = &found["subscriptionTable"]["t"];
    assert_eq!(subscription["subString"], "a || b");
    assert_eq!(subscription["codeSet"], json!([97, 98]));
    let reply = ask(&connection, request::GET_PRODUCER_CONNECTION_LIST, &producers).await;
    assert_eq!(body(&reply)["connectionSet"][0]["clientId"], "c");
    let gone = [("clientID", "c"), ("producerGroup", "p"), ("consumerGroup", "g")];
    granted(&ask(&connection, request::UNREGISTER_CLIENT, &gone).await);
    let reply = ask(&connection, request::GET_PRODUCER_CONNECTION_LIST, &producers).await;
    assert_eq!(reply.code, 1);
    server.stop();
}

#[tokio::test]
async fn a_groups_progress_is_told_208() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for i in 0..4 {
        put(&connection, "t", 0, &i.to_string()).await;
    }
    join(&connection, "g", "c", "t").await;
    commit(&connection, "g", "t", 0, 3).await;
    let pull = Pull { max_msg_nums: 4, ..look("g", "t", 0, 0) };
    let reply = connection.pull(&pull).await.unwrap();
    let third = common::call::records(&reply)[2].store_timestamp;
    for fields in [
        &[("consumerGroup", "g")][..],
        &[("consumerGroup", "g"), ("topic", "t")],
        &[("consumerGroup", "g"), ("topicList", "t;nil")],
    ] {
        let stats = body(&ask(&connection, request::GET_CONSUME_STATS, fields).await);
        let key = r#"{"brokerName":"broker-a","queueId":0,"topic":"t"}"#;
        let expected = json!({
            "brokerOffset": 4, "consumerOffset": 3, "lastTimestamp": third, "pullOffset": 4,
        });
        assert_eq!(stats["offsetTable"][key], expected, "{fields:?} {stats}");
        assert_eq!(stats["consumeTps"], 0.0);
    }
    server.stop();
}

#[tokio::test]
async fn a_queue_is_consumed_by_one_member_of_a_group_41_42() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (one, two) = (server.connect().await, server.connect().await);
    let batch = |client: &str, queues: &[i32]| {
        let queues: Vec<Value> = queues
            .iter()
            .map(|queue| json!({"topic": "t", "brokerName": "broker-a", "queueId": queue}))
            .collect();
        json!({"consumerGroup": "g", "clientId": client, "onlyThisBroker": true, "mqSet": queues})
            .to_string()
    };
    let lock = async |connection: &Connection, client: &str, queues: &[i32]| {
        let text = batch(client, queues);
        let reply = tell(connection, request::LOCK_BATCH_MQ, &[], text.as_bytes()).await;
        let locked = body(&reply);
        let rows = locked["lockOKMQSet"].as_array().unwrap();
        rows.iter().map(|row| row["queueId"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert!(lock(&one, "c1", &[0, 1]).await.is_empty(), "nothing is kept for an unknown group");
    join(&one, "g", "c1", "t").await;
    assert_eq!(lock(&one, "c1", &[0, 1]).await, [0, 1]);
    assert_eq!(lock(&two, "c2", &[1, 2]).await, [2]);
    assert_eq!(lock(&one, "c1", &[0, 1, 2]).await, [0, 1]);
    let text = batch("c1", &[0]);
    granted(&tell(&one, request::UNLOCK_BATCH_MQ, &[], text.as_bytes()).await);
    assert_eq!(lock(&two, "c2", &[0, 1]).await, [0]);
    // A lock goes with its connection.
    drop(one);
    let deadline = Instant::now() + Duration::from_secs(10);
    while lock(&two, "c2", &[0, 1]).await != [0, 1] {
        assert!(Instant::now() < deadline, "the locks outlive their connection");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lock(&two, "c3", &[3]).await, [3]);
    for code in [request::LOCK_BATCH_MQ, request::UNLOCK_BATCH_MQ] {
        let reply = tell(&two, code, &[], b"{}").await;
        refused(&reply, 29, "the body needs consumerGroup and clientId");
    }
    server.stop();
}

#[tokio::test]
async fn a_filter_is_checked_46() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let check = async |expression: &str, kind: &str| {
        let text = json!({
            "clientId": "c", "group": "g", "namespace": "",
            "subscriptionData": {"topic": "t", "subString": expression, "expressionType": kind},
        });
        let bytes = text.to_string();
        tell(&connection, request::CHECK_CLIENT_CONFIG, &[], bytes.as_bytes()).await
    };
    for expression in ["*", "", "a", "a || b"] {
        granted(&check(expression, "TAG").await);
    }
    granted(&check("a", "").await);
    refused(&check("||", "TAG").await, 23, "subString split error");
    refused(&check("a = 1", "SQL92").await, 1, "filter message by SQL92");
    server.stop();
}

#[tokio::test]
async fn an_admin_asks_a_client_what_it_does_307() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (client, mut requests) = listening(&server).await;
    join(&client, "g", "c", "t").await;
    let admin = server.connect().await;
    let answering = tokio::spawn(async move {
        let request = heard(&mut requests, request::GET_CONSUMER_RUNNING_INFO).await;
        assert!(!request.oneway);
        let body = Bytes::from_static(br#"{"properties":{"PROP_CLIENT_VERSION":"V5"}}"#);
        client.respond(&request, 0, &(), body).await.unwrap();
        (request, client)
    });
    let fields = [("consumerGroup", "g"), ("clientId", "c"), ("jstackEnable", "false")];
    let reply = ask(&admin, request::GET_CONSUMER_RUNNING_INFO, &fields).await;
    assert_eq!(body(&reply)["properties"]["PROP_CLIENT_VERSION"], "V5");
    let (request, _client) = answering.await.unwrap();
    let header: common::call::Pairs = request.header().unwrap();
    assert_eq!((header.get("consumerGroup"), header.get("clientId")), ("g", "c"));
    let fields = [("consumerGroup", "g"), ("clientId", "nil"), ("jstackEnable", "false")];
    let reply = ask(&admin, request::GET_CONSUMER_RUNNING_INFO, &fields).await;
    refused(&reply, 1, "The Consumer <g> <nil> not online");
    server.stop();
}

#[tokio::test]
async fn a_client_that_does_not_answer_an_admin_is_reported() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let (client, _requests) = listening(&server).await;
    join(&client, "g", "c", "t").await;
    let fields = [("consumerGroup", "g"), ("clientId", "c"), ("jstackEnable", "false")];
    let fields = common::call::pairs(&fields);
    let within = Duration::from_secs(30);
    let code = request::GET_CONSUMER_RUNNING_INFO;
    let reply = client.call_within(within, code, &fields, Bytes::new()).await.unwrap();
    refused(&reply, 207, "the consumer did not answer within 10 s");
    server.stop();
}

#[tokio::test]
async fn a_heartbeat_without_subscriptions_keeps_those_before() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put_with(&connection, "t", 0, "x", &[("TAGS", "a")]).await;
    let mut beat = heartbeat("g", "c", "t");
    beat.consumer_data_set[0].subscription_data_set[0].sub_string = "b".to_owned();
    connection.heartbeat(&beat).await.unwrap();
    let mut short = Heartbeat { without_sub: true, heartbeat_fingerprint: 1, ..beat.clone() };
    short.consumer_data_set[0].subscription_data_set.clear();
    connection.heartbeat(&short).await.unwrap();
    let pull = Pull { sys_flag: 0, subscription: None, sub_version: 1, ..look("g", "t", 0, 0) };
    assert_eq!(connection.pull(&pull).await.unwrap().code, 20, "the filter is still there");
    server.stop();
}
