//! The configuration of a running server: who is told of it, what can be changed, and what of that holds
//! after a restart.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::process::Command;

use bytes::Bytes;
use common::call::{ask, granted, message, put, refused, tell};
use common::{Folder, Launch, Server, binary};
use kerolox_client::{Connection, OwnedReply};

const UPDATE: i32 = 25;
const GET: i32 = 26;
const UPDATE_NAMES: i32 = 318;
const GET_NAMES: i32 = 319;

/// The value of a key in the answer to 26 or 319.
async fn value(connection: &Connection, code: i32, key: &str) -> Option<String> {
    let reply = ask(connection, code, &[]).await;
    granted(&reply);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
}

async fn update(connection: &Connection, text: &str) -> OwnedReply {
    tell(connection, UPDATE, &[], text.as_bytes()).await
}

/// `kerolox config` with these arguments: exit code, standard output, standard error.
fn config(folder: &Folder, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    let command = command.arg("config").args(args).current_dir(folder.path());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_change_takes_effect_at_once_and_holds_after_a_kill() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    assert_eq!(value(&connection, GET, "maxMessageSize").await.unwrap(), "4194304");
    granted(&update(&connection, "maxMessageSize=100\nautoCreateTopicEnable=false\n").await);
    let check = async |connection: &Connection| {
        let large = connection.send(&message("t", 0), Bytes::from(vec![b'x'; 101])).await;
        assert!(large.unwrap_err().to_string().contains("maxMessageSize is 100"));
        put(connection, "t", 0, "y").await;
        let other = connection.send(&message("other", 0), Bytes::from_static(b"x")).await;
        assert_eq!(other.unwrap_err().refused_with(), Some(17));
        let reply = ask(connection, 105, &[("topic", "other")]).await;
        refused(&reply, 17, "Topics are not created by sending (autoCreateTopicEnable=false)");
        assert_eq!(value(connection, GET, "maxMessageSize").await.unwrap(), "100");
        assert_eq!(value(connection, GET, "autoCreateTopicEnable").await.unwrap(), "false");
    };
    check(&connection).await;
    let version = granted(&ask(&connection, GET, &[]).await).get("version").to_owned();
    assert!(version.starts_with(r#"{"counter":1,"#), "{version}");
    server.kill();

    let server = Server::start(&folder, &[]);
    check(&server.connect().await).await;
    server.stop();
    // What was edited since is the newer will.
    let server = Server::start(&folder, &["--set", "maxMessageSize=200"]);
    let log = server.log();
    let warning = "maxMessageSize=100 was set while the server ran, when \"4194304\" was configured. The configuration says \"200\" now: that holds";
    assert!(log.contains(warning), "{log}");
    let connection = server.connect().await;
    assert_eq!(value(&connection, GET, "maxMessageSize").await.unwrap(), "200");
    assert_eq!(value(&connection, GET, "autoCreateTopicEnable").await.unwrap(), "false");
    // On again: the topic after which others are made was not there at the start.
    granted(&update(&connection, "autoCreateTopicEnable=true").await);
    put(&connection, "other", 0, "x").await;
    server.stop();
    let server = Server::start(&folder, &[]);
    assert_eq!(value(&server.connect().await, GET, "maxMessageSize").await.unwrap(), "4194304");
    server.stop();
}

#[tokio::test]
async fn a_topic_template_that_was_not_there_comes_with_the_switch() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "autoCreateTopicEnable=false"]);
    let connection = server.connect().await;
    assert!(connection.route("TBW102").await.unwrap().is_none());
    granted(&update(&connection, "autoCreateTopicEnable=true").await);
    assert!(connection.route("TBW102").await.unwrap().is_some());
    put(&connection, "t", 0, "x").await;
    server.kill();
    let server = Server::start(&folder, &["--set", "autoCreateTopicEnable=false"]);
    let connection = server.connect().await;
    assert!(connection.route("TBW102").await.unwrap().is_some(), "clients look for it first");
    put(&connection, "u", 0, "x").await;
    server.stop();
}

#[tokio::test]
async fn a_change_that_is_too_long_is_refused_before_it_is_read() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for body in ["x".repeat(70_000), "\\\\\\\n".repeat(20_000)] {
        refused(&update(&connection, &body).await, 29, "65536 are possible");
    }
    // As long as it may be, of what takes longest to look at.
    let begin = std::time::Instant::now();
    for body in [format!("{}=1", "x".repeat(65_000)), "\\\\\\\n".repeat(16_000)] {
        assert_ne!(update(&connection, &body).await.code, 0);
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
    server.stop();
}

#[tokio::test]
async fn a_directory_of_small_files_takes_changes_whatever_is_configured() {
    let folder = Folder::new();
    Server::start(&folder, &common::SMALL).stop();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    granted(&update(&connection, "traceOn=false").await);
    let size = value(&connection, GET, "mappedFileSizeCommitLog").await;
    assert_eq!(size.as_deref(), Some("1048576"));
    refused(&update(&connection, "maxMessageSize=2000000").await, 29, "does not fit");
    server.stop();
}

#[tokio::test]
async fn what_is_in_the_trace_topic_stays_when_that_is_no_longer_made() {
    let folder = Folder::new();
    let small = common::SMALL;
    let server =
        Server::start(&folder, &[&small[..], &["--set", "traceTopicEnable=true"]].concat());
    let connection = server.connect().await;
    for _ in 0..20 {
        put(&connection, "RMQ_SYS_TRACE_TOPIC", 0, "x").await;
    }
    // So much that snapshots are all that tells of the topic.
    let body = "x".repeat(200_000);
    granted(&update(&connection, "kerolox.retention.bytes=2097152").await);
    for _ in 0..100 {
        put(&connection, "t", 0, &body).await;
    }
    server.wait_for_metric("kerolox_deleted_files_total", |files| files > 4).await;
    server.stop();
    let server = Server::start(&folder, &small);
    let max = server.connect().await.max_offset("RMQ_SYS_TRACE_TOPIC", 0).await.unwrap();
    assert_eq!(max, 20);
    server.stop();
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_with_the_reason() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for (text, code, why) in [
        (
            "listenPort=1",
            16,
            "Can not update config in black list. listenPort takes effect at a start",
        ),
        ("storePathRootDir=/tmp/elsewhere", 16, "black list"),
        ("brokerConfigPath=/etc/passwd", 29, "brokerConfigPath has no effect here"),
        ("rocketmqHome=/", 29, "rocketmqHome has no effect here"),
        ("traceOn=false\nmaxMesageSize=1", 29, "is maxMessageSize meant?"),
        ("traceOn=false\nmaxMessageSize=0", 29, "maxMessageSize=0 is not a whole number"),
        ("traceOn=false\nmaxMessageSize=4MB", 29, "(bytes)"),
        ("traceOn=false\ntraceOn=false", 1, "string2Properties error"),
        ("fileReservedTime=\\u12", 1, "string2Properties error"),
    ] {
        refused(&update(&connection, text).await, code, why);
    }
    refused(&tell(&connection, UPDATE, &[], b"\xff=1").await, 1, "not UTF-8");
    let long = format!("messageDelayLevel={}", "1s ".repeat(2000));
    refused(&update(&connection, &long).await, 16, "black list");
    assert_eq!(value(&connection, GET, "traceOn").await.unwrap(), "true");
    // Nothing is nothing.
    granted(&update(&connection, "").await);
    server.stop();
}

#[tokio::test]
async fn the_name_server_has_keys_of_its_own() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    let fields = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "t"), ("value", "broker-a:8")];
    granted(&ask(&connection, 100, &fields).await);
    assert_eq!(connection.route("t").await.unwrap().unwrap().order_topic_conf, None);
    let change = async |text: &str| {
        granted(&tell(&connection, UPDATE_NAMES, &[], text.as_bytes()).await);
    };
    change("orderMessageEnable=true").await;
    let conf = connection.route("t").await.unwrap().unwrap().order_topic_conf;
    assert_eq!(conf.as_deref(), Some("broker-a:8"));
    change("enableAllTopicList=false\nenableTopicList=false").await;
    refused(&ask(&connection, 206, &[]).await, 1, "disable");
    refused(&ask(&connection, 224, &[("cluster", "DefaultCluster")]).await, 1, "disable");
    assert_eq!(value(&connection, GET_NAMES, "enableTopicList").await.unwrap(), "false");
    let port = server.ports.namesrv.to_string();
    assert_eq!(value(&connection, GET_NAMES, "listenPort").await.unwrap(), port);
    assert_eq!(value(&connection, GET_NAMES, "brokerName").await, None);
    assert_eq!(value(&connection, GET, "orderMessageEnable").await, None);
    // Each has its own, though they share a process.
    let reply =
        tell(&connection, UPDATE_NAMES, &[], b"orderMessageEnable=false\nfileReservedTime=1").await;
    refused(&reply, 29, "fileReservedTime is the broker's key: use updateBrokerConfig");
    refused(&update(&connection, "orderMessageEnable=false").await, 29, "the name server's key");
    assert_eq!(value(&connection, GET_NAMES, "orderMessageEnable").await.unwrap(), "true");
    server.stop();
}

#[tokio::test]
async fn the_broker_s_permission_stands_in_routes() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    let perm = async || connection.route("t").await.unwrap().unwrap().queue_datas[0].perm;
    assert_eq!(perm().await, 6);
    for (set, shown) in [("4", 4), ("2", 2), ("0", 0), ("6", 6)] {
        granted(&update(&connection, &format!("brokerPermission={set}")).await);
        assert_eq!(perm().await, shown, "{set}");
    }
    server.stop();
}

#[tokio::test]
async fn other_keys_that_can_be_changed_take_effect() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    put(&connection, "t", 0, "x").await;
    granted(&update(&connection, "startAcceptSendRequestTimeStamp=99999999999999").await);
    let early = connection.send(&message("t", 0), Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(early.refused_with(), Some(1), "{early}");
    assert!(early.to_string().contains("broker unable to service, until 99999999999999"));
    granted(
        &update(
            &connection,
            "startAcceptSendRequestTimeStamp=0\nautoCreateSubscriptionGroup=false",
        )
        .await,
    );
    put(&connection, "t", 0, "y").await;
    let pull = common::call::look("g", "t", 0, 0);
    assert_eq!(connection.pull(&pull).await.unwrap_err().refused_with(), Some(26));
    granted(&update(&connection, "autoCreateSubscriptionGroup=true").await);
    connection.pull(&pull).await.unwrap();
    server.stop();
}

#[tokio::test]
async fn each_value_knows_its_origin() {
    let folder = Folder::new();
    std::fs::write(
        folder.join("b.conf"),
        "# x\nbrokerName=of-file\nregionId=r\ntraceOn=false\nhaMasterAddress=x:1\n",
    )
    .unwrap();
    let args = ["-c", "b.conf", "--set", "regionId=set", "--data-dir", "d"];
    let (code, out, err) = config(&folder, &[&["show"][..], &args].concat());
    assert_eq!(code, 0, "{err}");
    let row = |out: &str, key: &str| -> Vec<String> {
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_default().split_whitespace().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(row(&out, "brokerName"), ["of-file", "b.conf:2"]);
    assert_eq!(row(&out, "regionId"), ["set", "--set"]);
    assert_eq!(row(&out, "storePathRootDir"), ["d", "--data-dir"]);
    assert_eq!(row(&out, "storePathCommitLog"), ["d/commitlog", "default"]);
    assert_eq!(row(&out, "listenPort"), ["10911", "default"]);
    assert!(err.contains("b.conf: haMasterAddress has no effect: replication comes"), "{err}");
    assert!(!folder.join("d").exists());

    let server =
        Launch::new(&folder).args(&args[..4]).env("KEROLOX_MAX_MESSAGE_SIZE", "1000").start();
    granted(&update(&server.connect().await, "traceOn=true\nfileReservedTime=5").await);
    let (code, out, err) = config(&folder, &["show", "--broker", &server.broker(), "--given"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(row(&out, "maxMessageSize"), ["1000", "KEROLOX_MAX_MESSAGE_SIZE"]);
    assert_eq!(row(&out, "fileReservedTime").join(" "), "5 changed while the server ran");
    assert_eq!(row(&out, "traceOn").join(" "), "true changed while the server ran");
    assert_eq!(row(&out, "deleteWhen"), [""; 0]);
    let namesrv = server.address(server.ports.namesrv);
    let (_, out, _) = config(&folder, &["show", "--namesrv", &namesrv, "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(rows.as_array().unwrap().iter().any(|row| row["key"] == "orderMessageEnable"), "{out}");
    server.stop();
}

#[test]
fn looks_at_the_configuration_fail_with_a_reason() {
    let folder = Folder::new();
    let check = |args: &[&str], code: i32, why: &str| {
        let (was, out, err) = config(&folder, args);
        assert!(was == code && out.is_empty() && err.contains(why), "{args:?}: {was} {out} {err}");
    };
    check(&["show", "--set", "maxMesageSize=1"], 2, "is maxMessageSize meant?");
    check(&["show", "-c", "missing.conf"], 2, "missing.conf: No such file");
    check(&["show", "--broker", "127.0.0.1:1"], 1, "is a Kerolox running at 127.0.0.1:1?");
    check(&["show", "--broker", "a:1", "--namesrv", "a:1"], 2, "cannot be used with");
    check(&["show", "--role", "proxy"], 2, "invalid value 'proxy'");
    check(&["keys", "nothing-like-it"], 1, "no key has \"nothing-like-it\"");
    let (code, out, _) = config(&folder, &["keys", "maxMessageSize"]);
    assert!(code == 0 && out.contains("takes a whole number from 1 to 15728640"), "{out}");
    let (_, out, _) = config(&folder, &["keys", "--json"]);
    let keys: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(keys.as_array().unwrap().len() > 500);
}

/// `docs/configuration.md` holds the tables that the binary prints.
#[test]
fn the_manual_has_the_tables_of_this_release() {
    let (_, tables, _) = config(&Folder::new(), &["keys", "--markdown"]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let manual = std::fs::read_to_string(path).unwrap();
    let (before, rest) = manual.split_once("<!-- keys -->\n").expect("the tables have a place");
    let (written, after) = rest.split_once("<!-- end of keys -->").expect("it has an end");
    if std::env::var_os("KEROLOX_TEST_MAKE_GOLDEN").is_some() {
        let made = format!("{before}<!-- keys -->\n{tables}<!-- end of keys -->{after}");
        std::fs::write(path, made).unwrap();
        return;
    }
    assert!(written == tables, "make them again with KEROLOX_TEST_MAKE_GOLDEN=1");
}
