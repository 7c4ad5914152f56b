//! Decoding. In: a frame whose code is a name server's. Out: a [`Request`], with its body read,
//! which runs on the connection's thread, so that the table's owner never parses.

use std::borrow::Cow;

use kerolox_protocol::ByteString;
use kerolox_protocol::json::dialect;
use kerolox_protocol::remoting::admin::DataVersion;
use kerolox_protocol::remoting::codes::{names, response};
use kerolox_protocol::remoting::fields::{FieldError, Header};
use kerolox_protocol::remoting::frame::Frame;
use kerolox_protocol::remoting::registration::{
    BrokerHeartbeat, BrokerName, ClusterQuestion, DeleteTopicInNames, KvKey, QueryDataVersion,
    RegisterTopic, UnregisterBroker,
};
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::remoting::route::{QueueData, RouteQuestion, TopicRoute};

use crate::registration::Registration;

/// The `MQVersion` (4.9.4) from which on clients read a route in standard JSON.
const STANDARD_JSON_VERSION: i32 = 401;

/// Bits of a topic's `topicSysFlag`.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

/// What a name server is asked.
#[derive(Debug)]
pub enum Request {
    /// 105.
    Route {
        topic: ByteString,
        /// The client reads quoted number keys.
        standard_json: bool,
    },
    /// 106.
    Clusters,
    /// 206.
    Topics,
    /// 224.
    TopicsOfCluster { cluster: ByteString },
    /// 304.
    SystemTopics,
    /// 311, 312, 313: topics whose `topicSysFlag` has these bits, of those bits.
    TopicsWithFlags { of: i32, set: i32 },
    /// 216.
    DeleteTopic(DeleteTopicInNames),
    /// 103.
    Register(Box<Registration>),
    /// 104.
    Unregister(UnregisterBroker),
    /// 217.
    RegisterTopic { topic: ByteString, queues: Vec<QueueData> },
    /// 322.
    QueryDataVersion { broker: QueryDataVersion, version: DataVersion },
    /// 904.
    Heartbeat(BrokerHeartbeat),
    /// 205.
    WipeWritePerm { broker: ByteString },
    /// 327.
    AddWritePerm { broker: ByteString },
    /// 100.
    PutKv(KvKey),
    /// 101.
    GetKv(KvKey),
    /// 102.
    DeleteKv(KvKey),
    /// 219.
    ListKv { namespace: ByteString },
}

/// Why a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(
        "crc32 not match: the body has {computed}, bodyCrc32 says {claimed}; it was damaged on its way"
    )]
    Checksum { claimed: i32, computed: i32 },
    #[error("the body cannot be read: {0}")]
    Body(String),
}

impl DecodeError {
    /// How the sender is told.
    pub fn reply(&self) -> Reply {
        Reply::refuse(response::SYSTEM_ERROR, self.to_string())
    }
}

impl Request {
    /// Reads a request. None: the code is not a name server's.
    pub fn decode(frame: &Frame<'_>) -> Option<Result<Request, DecodeError>> {
        Some(match frame.code {
            names::GET_ROUTEINFO_BY_TOPIC => route(frame),
            names::GET_BROKER_CLUSTER_INFO => Ok(Request::Clusters),
            names::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => Ok(Request::Topics),
            names::GET_TOPICS_BY_CLUSTER => {
                read(frame, |h: ClusterQuestion| Request::TopicsOfCluster { cluster: h.cluster })
            }
            names::GET_SYSTEM_TOPIC_LIST_FROM_NS => Ok(Request::SystemTopics),
            names::GET_UNIT_TOPIC_LIST => Ok(Request::TopicsWithFlags { of: UNIT, set: UNIT }),
            names::GET_HAS_UNIT_SUB_TOPIC_LIST => {
                Ok(Request::TopicsWithFlags { of: UNIT_SUB, set: UNIT_SUB })
            }
            names::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                Ok(Request::TopicsWithFlags { of: UNIT | UNIT_SUB, set: UNIT_SUB })
            }
            names::DELETE_TOPIC_IN_NAMESRV => read(frame, Request::DeleteTopic),
            names::REGISTER_BROKER => {
                Registration::decode(frame).map(|r| Request::Register(Box::new(r)))
            }
            names::UNREGISTER_BROKER => read(frame, Request::Unregister),
            names::REGISTER_TOPIC_IN_NAMESRV => register_topic(frame),
            names::QUERY_DATA_VERSION => query_data_version(frame),
            names::BROKER_HEARTBEAT => read(frame, Request::Heartbeat),
            names::WIPE_WRITE_PERM_OF_BROKER => {
                read(frame, |h: BrokerName| Request::WipeWritePerm { broker: h.broker_name })
            }
            names::ADD_WRITE_PERM_OF_BROKER => {
                read(frame, |h: BrokerName| Request::AddWritePerm { broker: h.broker_name })
            }
            names::PUT_KV_CONFIG => read(frame, Request::PutKv),
            names::GET_KV_CONFIG => read(frame, Request::GetKv),
            names::DELETE_KV_CONFIG => read(frame, Request::DeleteKv),
            names::GET_KVLIST_BY_NAMESPACE => {
                read(frame, |h: KvKey| Request::ListKv { namespace: h.namespace })
            }
            _ => return None,
        })
    }
}

/// A request that is its header alone.
fn read<H: Header>(frame: &Frame<'_>, make: fn(H) -> Request) -> Result<Request, DecodeError> {
    Ok(make(H::read(frame)?))
}

fn route(frame: &Frame<'_>) -> Result<Request, DecodeError> {
    let topic = RouteQuestion::read(frame)?.topic;
    let mut standard_json = frame.version >= STANDARD_JSON_VERSION;
    frame.for_each_field(|key, value: Cow<'_, str>| {
        standard_json |= key == "acceptStandardJsonOnly" && value.eq_ignore_ascii_case("true");
        Ok(())
    })?;
    Ok(Request::Route { topic, standard_json })
}

fn register_topic(frame: &Frame<'_>) -> Result<Request, DecodeError> {
    let topic = RegisterTopic::read(frame)?.topic;
    let route: TopicRoute = dialect::object(&frame.body()).map_err(DecodeError::Body)?;
    Ok(Request::RegisterTopic { topic, queues: route.queue_datas })
}

fn query_data_version(frame: &Frame<'_>) -> Result<Request, DecodeError> {
    let broker = QueryDataVersion::read(frame)?;
    let version = dialect::object(&frame.body()).map_err(DecodeError::Body)?;
    Ok(Request::QueryDataVersion { broker, version })
}

#[cfg(test)]
mod tests {
    use crate::testing::decode;

    #[test]
    fn exactly_the_codes_of_a_name_server_are_read() {
        let read: Vec<i32> = (0..1000).filter(|c| decode(*c, 513, &[], b"").is_some()).collect();
        let codes = [
            100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 217, 219, 224, 304, 311, 312, 313,
            322, 327, 904,
        ];
        assert_eq!(read, codes);
    }

    #[test]
    fn bad_numbers_and_bodies_are_errors() {
        for (code, fields, body) in [
            (104, &[("brokerId", "x")][..], &b""[..]),
            (904, &[("brokerId", "99999999999999999999")], b""),
            (217, &[("topic", "t")], b"[}"),
            (322, &[("brokerName", "a")], b"{\"counter\":"),
        ] {
            let error = decode(code, 513, fields, body).unwrap().unwrap_err();
            assert_eq!(error.reply().code, 1, "{code}");
        }
    }
}
