//! What is spoken on which port: every remoting port serves name-server and broker requests, every
//! port serves HTTP, and what is not served yet (HTTP/2, TLS) or is nothing at all is refused
//! without harm to anybody else.

mod common;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use common::call::{ask, body, granted, look, message, pairs, put, read, refused, texts};
use common::raw::{Raw, frame, framed};
use common::{Folder, Server, http};
use kerolox_client::{Connection, Form, Options};
use kerolox_protocol::remoting::frame::{FLAG_ONEWAY, Head};

/// Every port of a server, by name.
fn all_ports(server: &Server) -> Vec<(&'static str, u16)> {
    let mut ports = server.ports.remoting().to_vec();
    ports.push(("http", server.ports.http));
    ports
}

#[tokio::test]
async fn every_port_serves_name_server_and_broker_requests() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    for (name, port) in all_ports(&server) {
        for form in [Form::Json, Form::Binary] {
            let options = Options { form, ..Options::default() };
            let connection =
                Connection::connect_with(&server.address(port), options).await.unwrap();
            assert!(connection.route("TBW102").await.unwrap().is_some(), "{name}");
            let topic = format!("{name}-{form:?}");
            put(&connection, &topic, 0, "over this port").await;
            assert!(connection.route(&topic).await.unwrap().is_some(), "{name}");
            let reply = connection.pull(&look("g", &topic, 0, 0)).await.unwrap();
            assert_eq!(texts(&reply), ["over this port"], "{name}");
            assert_eq!(ask(&connection, 38, &[("consumerGroup", "g")]).await.code, 1, "{name}");
            let topics = body(&ask(&connection, 206, &[]).await);
            assert!(topics.to_string().contains(&topic), "{name}");
        }
    }
    server.stop();
}

#[test]
fn every_port_serves_health_metrics_and_version() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let version = concat!("kerolox ", env!("CARGO_PKG_VERSION"), "\n");
    for (name, port) in all_ports(&server) {
        for (path, body) in [("/livez", "alive\n"), ("/readyz", "ready\n"), ("/version", version)] {
            let page = http::get(port, path);
            assert_eq!((page.status, page.body.as_str()), (200, body), "{name} {path}");
            assert!(page.head.contains("content-type: text/plain"), "{}", page.head);
        }
        let page = http::get(port, "/metrics");
        assert_eq!(page.status, 200, "{name}");
        for line in ["rocketmq_broker_permission{", "kerolox_connections{", "# EOF"] {
            assert!(page.body.contains(line), "{line}\n{}", page.body);
        }
        assert_eq!(http::get(port, "/nothing").status, 404, "{name}");
        let post =
            "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
        assert_eq!(http::ask(port, post).status, 405, "{name}");
        let head = http::ask(port, "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{name}");
    }
    server.stop();
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    for i in 0..3 {
        put(&connection, "counted", 0, &format!("message {i}")).await;
    }
    assert_eq!(read(&connection, "counted", 0).await.len(), 3);
    refused(&ask(&connection, 9999, &[]).await, 3, "9999");
    let commit = [
        ("consumerGroup", "readers"),
        ("topic", "counted"),
        ("queueId", "0"),
        ("commitOffset", "1"),
    ];
    granted(&ask(&connection, 15, &commit).await);
    let page = http::get(server.ports.http, "/metrics").body;
    let of_topic = |name: &str| {
        let of_topic = |line: &&str| line.starts_with(name) && line.contains("topic=\"counted\"");
        let line = page.lines().rfind(of_topic);
        line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
    };
    assert_eq!(of_topic("rocketmq_messages_in_total"), Some(3), "{page}");
    assert_eq!(of_topic("rocketmq_messages_out_total"), Some(3), "{page}");
    assert_eq!(of_topic("rocketmq_consumer_lag_messages"), Some(2), "{page}");
    assert_eq!(server.metric("kerolox_refused_total"), 1);
    assert!(server.metric("kerolox_requests_total") >= 6);
    assert!(server.metric("kerolox_log_syncs_total") >= 3);
    // The committed offset is on its way.
    server.wait_for_metric("rocketmq_storage_flush_behind_bytes", |bytes| bytes == 0).await;
    server.stop();
}

/// A scrape with a million queues took 1 GiB, and the engine for a second.
#[test]
fn metrics_tell_of_so_much_and_how_much_they_leave_out() {
    let folder = Folder::new();
    let server = Server::start(&folder, &["--set", "flushDiskType=ASYNC_FLUSH"]);
    // Topics of eight queues, each with a message and an offset before it.
    let mut bench = std::process::Command::new(common::binary());
    bench.args(["bench", "topics", "--queues", "80080", "--setup-only", "--size", "24"]);
    let output = bench.args(["--broker", &server.address(server.ports.broker)]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = http::get(server.ports.http, "/metrics").body;
    let lines = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(lines("rocketmq_messages_in_total{"), 10_000);
    assert_eq!(lines("kerolox_consumer_lag_queue_messages{"), 10_000);
    let left_out = |what: &str| {
        let of = format!("what=\"{what}\"");
        let mut lines = page.lines().filter(|line| line.starts_with("kerolox_metrics_left_out{"));
        let line = lines.find(|line| line.contains(&of)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!((left_out("topics"), left_out("lags")), (10, 70_080));
    server.stop();
}

#[test]
fn http_1_connections_are_kept_and_take_requests_in_a_row() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut raw = Raw::connect(server.ports.broker);
    raw.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    raw.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut all = String::new();
    std::io::Read::read_to_string(&mut raw.0, &mut all).unwrap();
    assert_eq!(all.matches("alive").count(), 2, "{all}");
    server.stop();
}

#[tokio::test]
async fn what_is_not_spoken_here_is_closed_without_harm() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let bystander = server.connect().await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8e\x17\x4a\x2b\x01";
    for (name, port) in all_ports(&server) {
        for (bytes, why) in [
            (
                &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
                "gRPC is not served yet",
            ),
            (hello, "TLS is not served yet"),
            (b"\x05\x01\x00\x05", "the first bytes are no protocol that is known here"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "the first bytes are no protocol that is known here"),
            (&[0xff; 64], "the first bytes are no protocol that is known here"),
        ] {
            let mut raw = Raw::connect(port);
            raw.send(bytes);
            raw.is_closed();
            server.wait_for_log(why).await;
            put(&bystander, "t", 0, name).await;
        }
        // The log's limit on such lines is by the second.
        tokio::time::sleep(Duration::from_millis(210)).await;
    }
    assert_eq!(read(&bystander, "t", 0).await.len(), 30);
    assert_eq!(server.metric("kerolox_panics_total"), 0);
    server.stop();
}

#[test]
fn a_broken_http_request_is_refused_without_harm() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    for request in [
        &b"GET \0\0\0\r\n\r\n"[..],
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
    ] {
        let mut raw = Raw::connect(server.ports.http);
        raw.send(request);
        let _ = raw.0.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut raw.0, &mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("200 OK"), "{text}");
    }
    let mut endless = Raw::connect(server.ports.http);
    endless.send(b"GET /livez HTTP/1.1\r\n");
    // More headers than a request may have.
    for i in 0..100_000 {
        if write!(endless.0, "x-{i}: filler\r\n").is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut endless.0, &mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    assert_eq!(http::get(server.ports.http, "/readyz").status, 200);
    server.stop();
}

#[test]
fn a_connection_may_say_its_first_bytes_one_by_one() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let bytes = frame(30, 7, &pairs(&[("topic", "nil"), ("queueId", "0")]), b"");
    let mut slow = Raw::connect(server.ports.broker);
    for byte in &bytes {
        slow.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(slow.answer().opaque, 7);
    let mut http = Raw::connect(server.ports.broker);
    for byte in b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n" {
        http.send(&[*byte]);
    }
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut http.0, &mut answer).unwrap();
    assert!(answer.ends_with("alive\n"), "{answer}");
    server.stop();
}

/// A client that says less than what tells protocols apart and goes away was waited for.
#[tokio::test]
async fn a_connection_that_ends_within_its_first_bytes_is_given_up_at_once() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    for bytes in [&b""[..], b"\0", b"\0\0\0", b"GE"] {
        let mut raw = Raw::connect(server.ports.broker);
        raw.send(bytes);
    }
    // The one that asks is left.
    server.wait_for_metric("kerolox_connections", |count| count == 1).await;
    server.stop();
}

#[tokio::test]
async fn requests_without_a_wish_for_an_answer_get_none() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let connection = server.connect().await;
    let stored = Bytes::from_static(b"one-way");
    connection.oneway(310, &message("t", 0), stored).await.unwrap();
    let mut raw = Raw::connect(server.ports.broker);
    for code in [9999, 30, 105, 310, 11] {
        let head = Head { code, opaque: code, flag: FLAG_ONEWAY, ..Head::default() };
        raw.send(&framed(&head, &pairs(&[]), b""));
    }
    // The first answer is that of the first request that wants one.
    let last = raw.ask(&frame(105, 1, &pairs(&[("topic", "TBW102")]), b""));
    assert_eq!((last.opaque, last.code), (1, 0));
    put(&connection, "t", 0, "with an answer").await;
    assert_eq!(read(&connection, "t", 0).await, ["one-way", "with an answer"]);
    server.stop();
}

#[tokio::test]
async fn an_answer_to_a_question_that_nobody_asked_is_passed_over() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut raw = Raw::connect(server.ports.broker);
    for flag in [1, 3, -1] {
        let head = Head { code: 0, opaque: 1, flag, ..Head::default() };
        raw.send(&framed(&head, &pairs(&[]), b"{}"));
    }
    let answer = raw.ask(&frame(105, 5, &pairs(&[("topic", "TBW102")]), b""));
    assert_eq!((answer.opaque, answer.code), (5, 0));
    server.stop();
}
