//! `kerolox admin`: its commands against a running server, as text and as JSON, and with bad input.

mod common;

use common::admin::{fails, json, text};
use common::call::put;
use common::{Folder, Server};

#[tokio::test]
async fn topics_are_made_changed_listed_and_deleted() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "orderMessageEnable=true"]);
    let broker = server.broker();
    let out = text(
        &server,
        &["updateTopic", "-b", &broker, "-t", "orders", "-r", "4", "-w", "4", "-o", "true"],
    );
    let expected = format!(
        "create topic to {broker} success.\nset broker orderConf. isOrder=true, orderConf=[broker-a:4]\nTopicConfig [topicName=orders, readQueueNums=4, writeQueueNums=4, perm=RW-, topicFilterType=SINGLE_TAG, topicSysFlag=0, order=true, attributes={{}}]\n"
    );
    assert_eq!(out, expected);
    let made = json(&server, &["updatetopic", "-c", "DefaultCluster", "-t", "other"]);
    assert_eq!(
        (&made["topic"]["readQueueNums"], &made["brokers"][0]),
        (&8.into(), &broker.as_str().into())
    );
    put(&server.connect().await, "orders", 1, "x").await;

    let route = json(&server, &["topicRoute", "-t", "orders"]);
    assert_eq!(route["queueDatas"][0]["readQueueNums"], 4);
    assert_eq!(route["orderTopicConf"], "broker-a:4");
    assert!(text(&server, &["topicRoute", "-t", "orders"]).starts_with(
        "{\n\t\"brokerDatas\":[\n\t\t{\n\t\t\t\"brokerAddrs\":{\n\t\t\t\t0:\"127.0.0.1:"
    ));
    let table = text(&server, &["topicRoute", "-l", "-t", "orders"]);
    assert!(table.starts_with("#ClusterName") && table.contains("Total:"), "{table}");

    let status = text(&server, &["topicStatus", "-t", "orders"]);
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(
        lines[0],
        "#Broker Name                      #QID  #Min Offset           #Max Offset             #Last Updated"
    );
    assert!(lines[2].starts_with("broker-a                          1     0                     1                       20"), "{status}");
    assert!(lines.last().unwrap().starts_with("Topic Put TPS: "), "{status}");
    assert_eq!(json(&server, &["topicStatus", "-t", "orders"])["queues"][1]["maxOffset"], 1);

    let out = text(&server, &["updateTopicPerm", "-b", &broker, "-t", "orders", "-p", "4"]);
    assert!(
        out.starts_with(&format!(
            "update topic perm from 6 to 4 in {broker} success.\nTopicConfig ["
        )),
        "{out}"
    );
    assert!(out.contains("readQueueNums=4") && out.contains("order=true"), "{out}");
    assert_eq!(
        text(&server, &["updateTopicPerm", "-b", &broker, "-t", "orders", "-p", "4"]),
        "new perm equals to the old one!\n"
    );

    assert_eq!(text(&server, &["topicClusterList", "-t", "orders"]), "DefaultCluster\n");
    assert!(text(&server, &["topicList"]).lines().any(|line| line == "orders"));
    let rows = json(&server, &["topicList", "-c"]);
    assert!(
        rows.as_array()
            .unwrap()
            .iter()
            .any(|row| row["topic"] == "orders" && row["cluster"] == "DefaultCluster")
    );
    let conf = text(&server, &["updateOrderConf", "-t", "orders", "-m", "get"]);
    assert_eq!(conf, "get orderConf success. topic=[orders], orderConf=[broker-a:4] \n");
    text(&server, &["updateOrderConf", "-t", "orders", "-m", "put", "-v", "a:1;b:2"]);
    assert_eq!(
        json(&server, &["updateOrderConf", "-t", "orders", "-m", "get"])["orderConf"],
        "a:1;b:2"
    );
    text(&server, &["updateOrderConf", "-t", "orders", "-m", "delete"]);
    let shares = json(&server, &["allocateMQ", "-t", "orders", "-i", "x,y,z"]);
    let counts = ["x", "y", "z"].map(|ip| shares["result"][ip].as_array().unwrap().len());
    assert_eq!(counts, [2, 1, 1]);

    let would =
        json(&server, &["deleteTopic", "-c", "DefaultCluster", "-t", "orders", "--dry-run"]);
    assert_eq!((&would["messages"], &would["queues"]), (&1.into(), &4.into()));
    text(&server, &["topicRoute", "-t", "orders"]);
    let out = text(&server, &["deleteTopic", "-c", "DefaultCluster", "-t", "orders"]);
    assert_eq!(
        out,
        "delete topic [orders] from cluster [DefaultCluster] success.\ndelete topic [orders] from NameServer success.\n"
    );
    fails(&server, &["topicRoute", "-t", "orders"], 1, "with code 17: No topic route info");

    let file = folder.join("topics.json");
    std::fs::write(&file, r#"[{"topicName":"f1","readQueueNums":2,"writeQueueNums":2},{"topicName":"f2","attributes":{"+message.type":"NORMAL"}}]"#).unwrap();
    let file = file.to_str().unwrap();
    text(&server, &["updateTopicList", "-b", &broker, "-f", file]);
    assert_eq!(json(&server, &["topicRoute", "-t", "f1"])["queueDatas"][0]["readQueueNums"], 2);
    server.stop();
}

#[test]
fn bad_input_is_named_and_nothing_is_changed() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = server.broker();
    // Accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = silent.local_addr().unwrap().to_string();
    let before = text(&server, &["topicList"]);
    for (args, code, why) in [
        (&["updateTopic", "-t", "x"][..], 2, "<--brokerAddr <HOST:PORT>|--clusterName <CLUSTER>>"),
        (&["updateTopic", "-b", &broker], 2, "--topic <TOPIC>"),
        (
            &["updateTopic", "-b", &broker, "-c", "DefaultCluster", "-t", "x"],
            2,
            "cannot be used with",
        ),
        (&["updateTopic", "-b", &broker, "-t", "x", "-p", "8"], 1, "perm 8 is not one of"),
        (&["updateTopic", "-b", &broker, "-t", "x", "-r", "many"], 2, "invalid value 'many'"),
        (&["updateTopic", "-b", &broker, "-t", "x", "-o", "yes"], 2, "invalid value 'yes'"),
        (&["updateTopic", "-b", &broker, "-t", "x", "-a", "k=v"], 1, "neither +key=value nor -key"),
        (&["updateTopic", "-b", &broker, "-t", "a b"], 1, "with code 29"),
        (
            &["updateTopic", "-b", "nobody", "-t", "x"],
            1,
            "neither HOST:PORT nor the name of a registered broker",
        ),
        (&["updateTopic", "-b", "127.0.0.1:1", "-t", "x"], 1, "cannot connect to 127.0.0.1:1"),
        (
            &["updateTopic", "-c", "Nobody", "-t", "x"],
            1,
            "knows no cluster \"Nobody\"; it knows DefaultCluster",
        ),
        (
            &["updateTopicList", "-b", &broker, "-f", "not-there.json"],
            1,
            "not-there.json cannot be read",
        ),
        (&["updateOrderConf", "-t", "x", "-m", "put"], 2, "--orderConf"),
        (
            &["updateOrderConf", "-t", "x", "-m", "put", "-v", "a"],
            1,
            "BROKER:QUEUES;BROKER:QUEUES was expected",
        ),
        (&["updateOrderConf", "-t", "x", "-m", "get"], 1, "no order configuration of topic x"),
        (
            &["topicRoute", "-t", "x", "--no-such-option"],
            2,
            "unexpected argument '--no-such-option'",
        ),
        (&["topicRute", "-t", "x"], 2, "topicRoute"),
        (&["createUser", "-u", "x"], 2, "authentication and permissions come with a later release"),
        (&["topicRoute", "-t", "x", "-n", "127.0.0.1:1"], 1, "say where the name server is"),
        (&["topicRoute", "-t", "x", "-n", "nowhere"], 1, "nowhere"),
        (&["topicRoute", "-t", "x", "-n", ""], 1, "no name server is named"),
        (
            &["topicRoute", "-t", "x", "-n", &other, "--timeout", "1"],
            1,
            "something else than RocketMQ listens",
        ),
    ] {
        fails(&server, args, code, why);
    }
    assert_eq!(text(&server, &["topicList"]), before);
    server.stop();
}
