//! The command line: flags, environment, configuration file, and which of them wins; what is
//! refused, with which exit code and reason; the ports file; the log's format; what routes say.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::call::{ask, body, make_topic, message, put, refused};
use common::{Folder, Launch, Ports, Server, binary, http};
use kerolox_client::Connection;
use kerolox_protocol::ids;

/// What Apache RocketMQ 5 ships as `conf/broker.conf`, and what its documentation adds.
const APACHE_CONF: &str = "# Licensed to the Apache Software Foundation (ASF) under one or more
# contributor license agreements.

brokerClusterName = DefaultCluster
brokerName = broker-of-file
brokerId = 0
deleteWhen = 04
fileReservedTime = 48
brokerRole = SYNC_MASTER
flushDiskType = ASYNC_FLUSH
namesrvAddr = 127.0.0.1:1
brokerIP1 = 127.0.0.1
listenPort = 10911
autoCreateTopicEnable = true
storePathRootDir = store
storePathCommitLog = store/commitlog
sendMessageThreadPoolNums = 16
useReentrantLockWhenPutMessage = true
pullMessageThreadPoolNums = 16
";

/// Name and cluster of the broker.
async fn names(server: &Server) -> (String, String) {
    let cluster = server.connect().await.cluster().await.unwrap();
    let broker = cluster.broker_addr_table.values().next().unwrap();
    (broker.broker_name.clone(), broker.cluster.clone())
}

/// Where a topic's route sends clients.
async fn route(connection: &Connection, topic: &str) -> String {
    let route = connection.route(topic).await.unwrap().unwrap();
    route.broker_datas[0].broker_addrs[&0].clone()
}

#[tokio::test]
async fn a_flag_comes_before_the_environment_that_before_the_file_that_before_the_default() {
    let folder = Folder::new();
    let conf = folder.join("broker.conf");
    let text = "storePathRootDir=of-file\nbrokerName=of-file\nbrokerClusterName=of-file\nmaxMessageSize=1000\ndefaultTopicQueueNums=3\n";
    std::fs::write(&conf, text).unwrap();
    let server = Launch::bare(&folder)
        .args(&["-c", conf.to_str().unwrap(), "--set", "maxMessageSize=3000"])
        .args(&["--data-dir", "of-flag"])
        .env("KEROLOX_DATA_DIR", "of-environment")
        .env("KEROLOX_BROKER_NAME", "of-environment")
        .env("KEROLOX_MAX_MESSAGE_SIZE", "2000")
        .start();
    assert!(folder.join("of-flag/commitlog").is_dir());
    assert!(!folder.join("of-environment").exists() && !folder.join("of-file").exists());
    assert_eq!(names(&server).await, ("of-environment".into(), "of-file".into()));
    let connection = server.connect().await;
    connection.send(&message("t", 0), Bytes::from(vec![b'x'; 3000])).await.unwrap();
    let refusal = connection.send(&message("t", 0), Bytes::from(vec![b'x'; 3001])).await;
    let said = refusal.unwrap_err().to_string();
    assert!(said.contains("with code 13") && said.contains("maxMessageSize is 3000"), "{said}");
    // The client wants 4 queues, the file allows 3.
    assert_eq!(connection.topic_config("t").await.unwrap().unwrap().write_queue_nums, 3);
    server.stop();
}

#[tokio::test]
async fn without_flags_the_environment_is_enough() {
    let folder = Folder::new();
    std::fs::write(folder.join("some.conf"), "regionId=of-file\nautoCreateTopicEnable=false\n")
        .unwrap();
    let mut launch = Launch::on_given_ports(&folder)
        .env("KEROLOX_CONFIG", "some.conf")
        .env("KEROLOX_DATA_DIR", "elsewhere")
        .env("KEROLOX_LISTEN", "127.0.0.1")
        .env("KEROLOX_ADVERTISE", "127.0.0.9,grpc=127.0.0.8:1")
        .env("KEROLOX_LOG_FORMAT", "json")
        .env("KEROLOX_LOG_LEVEL", "debug");
    for port in ["NAMESRV", "BROKER", "GRPC", "PROXY", "HTTP"] {
        launch = launch.env(&format!("KEROLOX_{port}_PORT"), "0");
    }
    let server = launch.start();
    assert!(folder.join("elsewhere/commitlog").is_dir());
    assert!(server.log().starts_with("{\"timestamp\""), "{}", server.log());
    let connection = server.connect().await;
    let refusal = connection.send(&message("t", 0), Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(refusal.refused_with(), Some(17), "{refusal}");
    let route = route(&connection, "SELF_TEST_TOPIC").await;
    assert_eq!(route, format!("127.0.0.9:{}", server.ports.broker));
    server.stop();
}

#[tokio::test]
async fn apaches_broker_conf_is_taken_as_it_is_with_a_word_on_what_has_no_effect() {
    let folder = Folder::new();
    let conf = folder.join("broker.conf");
    std::fs::write(&conf, format!("{APACHE_CONF}maxMesageSize=65536\n")).unwrap();
    let server = Launch::bare(&folder).args(&["-c", conf.to_str().unwrap()]).start();
    let log = server.log();
    for warning in [
        "broker.conf: pullMessageThreadPoolNums, sendMessageThreadPoolNums have no effect: there are no thread pools",
        "broker.conf: useReentrantLockWhenPutMessage has no effect: one turn runs at a time",
        "broker.conf:20: maxMesageSize is not a key; is maxMessageSize meant?",
        "flushDiskType=ASYNC_FLUSH: an acknowledged message survives the process, but a power cut",
        "brokerRole=SYNC_MASTER: nothing is copied to other machines",
    ] {
        let line = log.lines().find(|line| line.contains(warning));
        assert!(line.is_some_and(|line| line.contains("WARN")), "{warning}\n{log}");
    }
    assert!(log.contains("durability: ASYNC_FLUSH"), "{log}");
    assert!(folder.join("store/commitlog").is_dir());
    assert_eq!(names(&server).await.0, "broker-of-file");
    put(&server.connect().await, "t", 0, "hello").await;
    server.stop();
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_in_one_line() {
    let folder = Folder::new();
    let check = |args: &[&str], reason: &str| {
        let ended = Launch::new(&folder).args(args).fails();
        ended.check(2, reason);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(!folder.data().exists(), "{args:?} left a directory");
    };
    check(&["--set", "maxMesageSize=1"], "maxMesageSize is not a key; is maxMessageSize meant?");
    check(&["--set", "flushDisktype=SYNC_FLUSH"], "is flushDiskType meant?");
    check(&["--set", "nothingLikeAnyKey=1"], "nothingLikeAnyKey is not a key");
    check(&["--set", "maxMessageSize"], "--set maxMessageSize: KEY=VALUE was expected");
    check(
        &["--set", "maxMessageSize=big"],
        "--set: maxMessageSize=big is not a whole number from 1 to",
    );
    check(&["--set", "maxMessageSize=0"], "is not a whole number from 1 to");
    check(&["--set", "maxMessageSize=-1"], "is not a whole number from 1 to");
    check(&["--set", "maxMessageSize=99999999999999999999"], "is not a whole number");
    check(&["--set", "listenPort=65536"], "is not a whole number from 0 to 65535");
    check(
        &["--set", "brokerId=1"],
        "--set: brokerId=1 is not 0: replication comes with a later release",
    );
    check(&["--set", "autoCreateTopicEnable=yes"], "is not true or false");
    check(&["--set", "flushDiskType=NEVER"], "is not SYNC_FLUSH or ASYNC_FLUSH");
    check(&["--set", "brokerRole=SLAVE"], "replication comes with a later release");
    check(&["--set", "brokerRole=MASTER"], "is not ASYNC_MASTER or SYNC_MASTER");
    check(&["--set", "deleteWhen=24"], "is not hours from 00 to 23");
    check(&["--set", "messageDelayLevel=1s 5x"], "is not 1 to 64 times such as 1s 5m 2h");
    check(&["--set", "messageDelayLevel="], "is not 1 to 64 times");
    check(&["--set", "brokerName=a b"], "is not a name of letters, digits");
    check(&["--set", "brokerName="], "is not a name of letters, digits");
    check(&["--set", "bindAddress=localhost"], "is not an IP address");
    check(&["--set", "mappedFileSizeCommitLog=1048577"], "is not a multiple of 4096 from 1048576");
    check(&["--set", "mappedFileSizeCommitLog=4096"], "is not a multiple of 4096 from 1048576");
    check(
        &["--set", "mappedFileSizeCommitLog=1048576"],
        "a file must hold a message and 64 KiB more",
    );
    check(&["--set", "aclEnable=true"], "aclEnable=true, but only false: authentication");
    check(&["--set", "minInSyncReplicas=2"], "minInSyncReplicas=2, but only 1: replication");
    check(&["--set", "storePathCommitLog=elsewhere"], "the log lies in the data directory");
    check(&["--set", "namesrvAddr=localhost"], "is not HOST:PORT, more of them with ; between");
    check(&["--advertise", "a b"], "not a host name or IP address");
    check(&["--advertise", "10.0.0.1:80"], "say broker=10.0.0.1:80");
    check(&["--advertise", "nobody=10.0.0.1"], "is none of namesrv, broker");
    check(&["-c", "not-there.conf"], "not-there.conf: No such file or directory");
    std::fs::write(folder.join("binary.conf"), [0xff, 0xfe, 0]).unwrap();
    check(&["-c", "binary.conf"], "binary.conf:1 is not UTF-8 text");
    // A comment in GBK is none of our business, a value is.
    let gbk = b"# \xd7\xa2\xca\xcd\nbrokerName=a\nregionId=\xca\xcd\n";
    std::fs::write(folder.join("gbk.conf"), gbk).unwrap();
    check(&["-c", "gbk.conf"], "gbk.conf:3 is not UTF-8 text");
    std::fs::write(folder.join("words.conf"), "\nbrokerName=a\nno pair\n").unwrap();
    check(&["-c", "words.conf"], "words.conf: line 3: \"no pair\" is not KEY=VALUE");
    std::fs::write(folder.join("twice.conf"), "brokerName=a\nbrokerName=b\n").unwrap();
    check(&["-c", "twice.conf"], "line 2: brokerName stands in line 1 already");
    std::fs::write(folder.join("value.conf"), "maxMessageSize=4MB\n").unwrap();
    check(&["-c", "value.conf"], "value.conf:1: maxMessageSize=4MB is not a whole number");
}

#[test]
fn a_bad_value_in_the_environment_is_named_with_its_variable() {
    let folder = Folder::new();
    let ended = Launch::new(&folder).env("KEROLOX_MAX_MESSAGE_SIZE", "much").fails();
    ended.check(2, "KEROLOX_MAX_MESSAGE_SIZE: maxMessageSize=much is not a whole number");
    let ended = Launch::new(&folder).env("KEROLOX_MAX_MESAGE_SIZE", "1").fails();
    let reason =
        "KEROLOX_MAX_MESAGE_SIZE: no flag and no key has that name; is maxMessageSize meant?";
    ended.check(2, reason);
}

#[tokio::test]
async fn variables_that_kubernetes_sets_for_a_service_are_passed_over() {
    let folder = Folder::new();
    let server = Launch::new(&folder)
        .env("KEROLOX_SERVICE_HOST", "10.0.0.1")
        .env("KEROLOX_SERVICE_PORT_NAMESRV", "9876")
        .env("KEROLOX_PORT", "tcp://10.0.0.1:9876")
        .env("KEROLOX_PORT_9876_TCP_ADDR", "10.0.0.1")
        .env("KEROLOX_BROKER_PORT", "tcp://10.0.0.1:10911")
        .start();
    put(&server.connect().await, "t", 0, "hello").await;
    server.stop();
}

#[test]
fn what_the_command_line_cannot_be_ends_with_2_and_help_with_0() {
    let run = |args: &[&str]| {
        let output = Command::new(binary()).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    for (args, reason) in [
        (&["server", "--no-such-flag"][..], "unexpected argument '--no-such-flag'"),
        (&["server", "--broker-port", "70000"], "70000 is not in 0..=65535"),
        (&["server", "--listen", "here"], "invalid value 'here'"),
        (&["server", "--log-format", "xml"], "[possible values: text, json]"),
        (&["server", "--log-level", "loud"], "invalid value 'loud'"),
        (&["serve"], "unrecognized subcommand 'serve'"),
        (&[], "Usage: kerolox"),
    ] {
        let (code, text) = run(args);
        assert!(code == 2 && text.contains(reason), "{args:?}: {code}\n{text}");
    }
    let (code, text) = run(&["server", "--help"]);
    assert!(code == 0 && text.contains("KEROLOX_DATA_DIR"), "{text}");
    let (code, text) = run(&["--version"]);
    assert_eq!((code, text.trim()), (0, concat!("kerolox ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_port_in_use_ends_the_start_with_3() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for listener in ["namesrv", "broker", "grpc", "proxy", "http"] {
        let flag = format!("--{listener}-port={port}");
        let others = ["namesrv", "broker", "grpc", "proxy", "http"].map(|other| {
            if other == listener { flag.clone() } else { format!("--{other}-port=0") }
        });
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let launch = Launch::on_given_ports(&folder).data_dir(&folder.data()).args(&others);
        let reason = format!(
            "{listener} port {port}: Address already in use (os error 98); is another broker running?"
        );
        launch.fails().check(3, &reason);
    }
}

#[test]
fn an_address_that_is_not_of_this_machine_ends_the_start_with_3() {
    let folder = Folder::new();
    // From the range for documentation.
    let ended = Launch::new(&folder).args(&["--listen", "192.0.2.1"]).fails();
    ended.check(3, "broker port 0 on 192.0.2.1: Cannot assign requested address");
}

#[tokio::test]
async fn a_second_server_on_the_same_ports_or_data_leaves_the_first_alone() {
    let (folder, second) = (Folder::new(), Folder::new());
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "before").await;
    let ports = server.ports;
    let flags = [
        format!("--namesrv-port={}", ports.namesrv),
        format!("--broker-port={}", ports.broker),
        format!("--grpc-port={}", ports.grpc),
        format!("--proxy-port={}", ports.proxy),
        format!("--http-port={}", ports.http),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let launch = Launch::on_given_ports(&second).data_dir(&second.data()).args(&flags);
    launch.fails().check(3, &format!("broker port {}: Address already in use", ports.broker));
    let reason = "is in use by another process; stop it, or give another --data-dir";
    Launch::bare(&second).data_dir(&folder.data()).fails().check(4, reason);
    put(&connection, "t", 0, "after").await;
    assert_eq!(common::call::read(&connection, "t", 0).await, ["before", "after"]);
    server.stop();
    // The lock went with the process.
    Launch::bare(&second).data_dir(&folder.data()).start().stop();
}

#[tokio::test]
async fn a_vip_port_in_use_is_a_warning() {
    let folder = Folder::new();
    // Two ports of which the lower one is taken, and the other one is free.
    let (taken, port) = loop {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port() + 2;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            break (taken, port);
        }
    };
    let server = Launch::on_given_ports(&folder)
        .args(&["--namesrv-port=0", "--grpc-port=0", "--proxy-port=0", "--http-port=0"])
        .args(&["--broker-port", &port.to_string()])
        .data_dir(&folder.data())
        .start();
    assert_eq!((server.ports.broker, server.ports.vip), (port, 0));
    assert!(server.log().contains("the VIP port cannot be bound"), "{}", server.log());
    put(&server.connect().await, "t", 0, "hello").await;
    server.stop();
    drop(taken);
}

#[test]
fn the_ports_file_is_complete_and_comes_only_when_all_is_ready() {
    for _ in 0..5 {
        let folder = Folder::new();
        let server = Launch::new(&folder).spawn();
        let path = folder.join("ports.json");
        let deadline = Instant::now() + Duration::from_secs(30);
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&path) {
                break text;
            }
            assert!(Instant::now() < deadline, "{}", server.log());
        };
        let ports = Ports::parse(&text).unwrap_or_else(|| panic!("half a file: {text:?}"));
        assert!(text.ends_with("}\n"), "{text:?}");
        assert_eq!(http::get(ports.http, "/readyz").body, "ready\n");
        let ask = common::raw::frame(30, 1, &common::call::pairs(&[]), b"");
        for (name, port) in ports.remoting() {
            assert_eq!(common::raw::Raw::connect(port).ask(&ask).code, 17, "{name}");
        }
        assert_eq!(ports.vip, ports.broker - 2);
        server.stop();
    }
}

#[tokio::test]
async fn the_json_log_is_one_object_a_line() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--log-format", "json", "--set", "traceOn=false"]);
    let connection = server.connect().await;
    refused(&ask(&connection, 999, &[]).await, 3, "999");
    let ended = server.stop();
    let lines: Vec<serde_json::Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let has = |level: &str, text: &str| {
        lines.iter().any(|line| {
            line["level"] == level && line["message"].as_str().is_some_and(|m| m.contains(text))
        })
    };
    assert!(has("INFO", "is ready") && has("INFO", "stopped"), "{}", ended.stderr);
    assert!(has("WARN", "request refused"), "{}", ended.stderr);
    let refusal = lines.iter().find(|line| line["message"] == "request refused").unwrap();
    assert_eq!((&refusal["request"], &refusal["code"]), (&999.into(), &3.into()));
    assert!(lines.iter().all(|line| line["timestamp"].is_string()), "{}", ended.stderr);
}

#[test]
fn the_log_level_is_kept_to() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--log-level", "error"]);
    assert_eq!(server.stop().stderr, "");
}

#[tokio::test]
async fn without_advertise_a_route_names_the_address_at_which_the_question_arrived() {
    for ip in ["127.0.0.1", "127.0.0.2"] {
        let folder = Folder::new();
        let server = Server::start(&folder, &["--listen", ip]);
        let ports = server.ports;
        for (name, port) in ports.remoting() {
            let connection = Connection::connect(&format!("{ip}:{port}")).await.unwrap();
            let expected = format!("{ip}:{}", ports.broker);
            assert_eq!(route(&connection, "TBW102").await, expected, "{name}");
            let cluster = connection.cluster().await.unwrap();
            let broker = cluster.broker_addr_table.values().next().unwrap();
            assert_eq!(broker.broker_addrs[&0], expected, "{name}");
        }
        let connection = Connection::connect(&format!("{ip}:{}", ports.vip)).await.unwrap();
        let (host, _) = ids::parse_offset_id(&put(&connection, "t", 0, "x").await.msg_id).unwrap();
        assert_eq!(host.to_string(), format!("{ip}:{}", ports.broker));
        server.stop();
    }
}

#[tokio::test]
async fn what_is_advertised_stands_in_routes_and_message_ids() {
    let conf = "brokerIP1=127.0.0.7\n";
    for (flags, route_of, id_of) in [
        (&["--advertise", "127.0.0.9"][..], "127.0.0.9:BROKER", "127.0.0.9:BROKER"),
        (&["--advertise", "localhost"], "localhost:BROKER", "127.0.0.1:BROKER"),
        (&["--advertise", "broker=127.0.0.9:30911"], "127.0.0.9:30911", "127.0.0.9:BROKER"),
        (&["--advertise", "127.0.0.8,broker=127.0.0.9"], "127.0.0.9:BROKER", "127.0.0.9:BROKER"),
        (&["--advertise", "namesrv=127.0.0.8:9876"], "127.0.0.7:BROKER", "127.0.0.7:BROKER"),
        (&[], "127.0.0.7:BROKER", "127.0.0.7:BROKER"),
    ] {
        let folder = Folder::new();
        std::fs::write(folder.join("broker.conf"), conf).unwrap();
        let server = Launch::new(&folder).args(&["-c", "broker.conf"]).args(flags).start();
        let connection = server.connect().await;
        make_topic(&connection, "t", 1).await;
        let with_port = |text: &str| text.replace("BROKER", &server.ports.broker.to_string());
        assert_eq!(route(&connection, "t").await, with_port(route_of), "{flags:?}");
        let clusters = body(&ask(&connection, 106, &[]).await).to_string();
        assert!(clusters.contains(&with_port(route_of)), "{clusters}");
        let (host, _) = ids::parse_offset_id(&put(&connection, "t", 0, "x").await.msg_id).unwrap();
        // A name may be resolved to IPv6.
        if flags != ["--advertise", "localhost"] || host.is_ipv4() {
            assert_eq!(host.to_string(), with_port(id_of), "{flags:?}");
        }
        server.stop();
    }
}
