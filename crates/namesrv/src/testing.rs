//! For tests: a name server that is asked with real frames and answers in text.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{BufMut as _, BytesMut};
use expect_test::Expect;
use kerolox_protocol::remoting::codes::names::REGISTER_BROKER;
use kerolox_protocol::remoting::codes::version;
use kerolox_protocol::remoting::fields::{FieldWriter, Fields};
use kerolox_protocol::remoting::frame::{self, Form, Frame, Head};
use kerolox_protocol::remoting::reply::Reply;

use crate::{Caller, DecodeError, KvChange, LocalBroker, Names, Options, Request};

type Pairs<'a> = &'a [(&'a str, &'a str)];

struct Header<'a>(Pairs<'a>);

impl Fields for Header<'_> {
    fn write(&self, w: &mut FieldWriter<'_>) {
        self.0.iter().for_each(|(key, value)| w.text(key, value));
    }
}

/// Decodes a request as it would arrive.
pub(crate) fn decode(
    code: i32,
    mq_version: i32,
    fields: Pairs<'_>,
    body: &[u8],
) -> Option<Result<Request, DecodeError>> {
    let mut out = BytesMut::new();
    let head = Head { form: Form::Binary, code, ..Head::default() };
    frame::encode(&mut out, &head, &Header(fields), body.len());
    out.put_slice(body);
    // In a binary header: prefix 8, code 2, language 1, then the version.
    out[11..13].copy_from_slice(&(mq_version as i16).to_be_bytes());
    Request::decode(&Frame::parse(&out.freeze()).unwrap())
}

pub(crate) struct Server {
    pub(crate) names: Names,
    pub(crate) caller: Caller,
    pub(crate) mq_version: i32,
    pub(crate) now_ms: u64,
    /// All changes so far.
    pub(crate) changes: Vec<KvChange>,
}

impl Server {
    pub(crate) fn new(options: Options) -> Server {
        let caller = Caller { connection: 1, local_ip: IpAddr::from([10, 0, 0, 1]) };
        let names = Names::new(options);
        Server { names, caller, mq_version: version::CURRENT, now_ms: 0, changes: Vec::new() }
    }

    /// With a broker `local` in the process.
    pub(crate) fn with_local(advertised: crate::Advertised) -> Server {
        let mut server = Server::new(Options::default());
        server.names.set_local(LocalBroker {
            cluster: "C".into(),
            name: "local".into(),
            broker_id: 0,
            advertised,
        });
        server
    }

    /// Asks, and writes the reply as text: code and remark, fields, body.
    pub(crate) fn ask(&mut self, code: i32, fields: Pairs<'_>, body: &[u8]) -> String {
        let reply = match decode(code, self.mq_version, fields, body).unwrap() {
            Err(error) => error.reply(),
            Ok(request) => {
                let (answer, change) = self.names.handle(request, &self.caller, self.now_ms);
                self.changes.extend(change);
                answer.reply()
            }
        };
        text(&reply)
    }

    pub(crate) fn check(&mut self, code: i32, fields: Pairs<'_>, expect: Expect) {
        expect.assert_eq(&self.ask(code, fields, b""));
    }

    /// Registers broker `name` of cluster C at `name:1` plus its id, over the current connection.
    /// Its topics are words `topic:perm`, with 4 queues each.
    pub(crate) fn register(&mut self, name: &str, id: i64, counter: i64, topics: &str) -> String {
        let (address, id) = (format!("{name}:{}", 1 + id), id.to_string());
        let fields = [
            ("brokerName", name),
            ("brokerAddr", &address),
            ("clusterName", "C"),
            ("brokerId", &id),
            ("haServerAddr", "ha:9"),
        ];
        self.ask(REGISTER_BROKER, &fields, registration(counter, topics).as_bytes())
    }

    /// The route of a topic in brief: `broker/perm` for each.
    pub(crate) fn route(&mut self, topic: &str) -> String {
        let Some(route) = self.names.table.brokers().route(topic, self.caller.local_ip) else {
            return "none".to_owned();
        };
        let brief = route.queue_datas.iter().map(|q| format!("{}/{}", q.broker_name, q.perm));
        brief.collect::<Vec<_>>().join(" ")
    }
}

/// The JSON body of a registration.
pub(crate) fn registration(counter: i64, topics: &str) -> String {
    let row = |topic: &str| {
        let (name, perm) = topic.split_once(':').unwrap();
        format!(
            r#""{name}":{{"topicName":"{name}","perm":{perm},"readQueueNums":4,"writeQueueNums":4}}"#
        )
    };
    let rows: Vec<_> = topics.split_whitespace().map(row).collect();
    format!(
        r#"{{"topicConfigSerializeWrapper":{{"topicConfigTable":{{{}}},"dataVersion":{{"counter":{counter},"stateVersion":0,"timestamp":7}}}},"filterServerList":[]}}"#,
        rows.join(",")
    )
}

fn text(reply: &Reply) -> String {
    let mut text = format!("{}", reply.code);
    if let Some(remark) = &reply.remark {
        let _ = write!(text, " {remark}");
    }
    let mut out = BytesMut::new();
    reply.encode(Form::Json, 0, &mut out);
    reply.body.slices().iter().for_each(|slice| out.put_slice(slice));
    let bytes = out.freeze();
    let frame = Frame::parse(&bytes).unwrap();
    let each = |key: &str, value: std::borrow::Cow<'_, str>| {
        let _ = write!(text, "\n{key}={value}");
        Ok(())
    };
    frame.for_each_field(each).unwrap();
    let body = frame.body();
    if !body.is_empty() {
        let _ = write!(text, "\n{}", String::from_utf8_lossy(&body));
    }
    text
}
