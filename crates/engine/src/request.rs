//! The closed list of requests. In: a frame. Out: a typed [`Request`]; handlers never see header
//! maps. What has no variant here is answered with code 3 by the front end.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use bytestring::ByteString;
use kerolox_protocol::json;
use kerolox_protocol::remoting::admin::{
    BrokerConsumeStatsQuestion, CloneOffsets, ConsumeQueueQuestion, ConsumeStatsQuestion,
    CorrectionQuestion, CreateTopic, DeleteGroup, GroupConfig, GroupConfigs, GroupInTopic,
    GroupQuestion, ProducerGroup, ResetOffset, StatsQuestion, TopicConfigs, TopicQuestion,
};
use kerolox_protocol::remoting::client::{
    CheckClientConfig, ConsumeDirectly, ConsumerGroup, Heartbeat, RunningInfo, Unregister,
};
use kerolox_protocol::remoting::codes::request as code;
use kerolox_protocol::remoting::fields::{FieldError, Header};
use kerolox_protocol::remoting::frame::{Form, Frame};
use kerolox_protocol::remoting::lock::LockBatch;
use kerolox_protocol::remoting::offsets::{
    QueryConsumerOffset, QueueQuestion, SearchOffset, UpdateConsumerOffset,
};
use kerolox_protocol::remoting::pull::Pull;
use kerolox_protocol::remoting::query::{QueryMessage, ViewMessage};
use kerolox_protocol::remoting::send::{Send, SendBack};

use crate::output::{ConnectionId, Loaded};
use crate::topics::TopicId;

/// Who asks, and how the answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub connection: ConnectionId,
    pub opaque: i32,
    pub form: Form,
    /// No reply is wanted.
    pub oneway: bool,
    /// The client's language and `MQVersion`.
    pub language: u8,
    pub version: i32,
    pub peer: SocketAddr,
    /// The local address at which the connection arrived.
    pub local_ip: IpAddr,
    /// Bytes of the request: what the shell counts as unanswered until the reply.
    pub cost: u32,
}

/// A request and who sent it.
#[derive(Debug)]
pub struct Incoming {
    pub origin: Origin,
    pub request: Request,
}

/// See the module's documentation.
#[derive(Debug)]
pub enum Request {
    Send {
        header: Send,
        body: Bytes,
    },
    SendBack(SendBack),
    Pull(Pull),
    QueryConsumerOffset(QueryConsumerOffset),
    UpdateConsumerOffset(UpdateConsumerOffset),
    SearchOffset(SearchOffset),
    MaxOffset(QueueQuestion),
    MinOffset(QueueQuestion),
    EarliestTime(QueueQuestion),
    QueryMessage(QueryMessage),
    ViewMessage(ViewMessage),
    Heartbeat(Heartbeat),
    Unregister(Unregister),
    ConsumerList(ConsumerGroup),
    CheckClientConfig(CheckClientConfig),
    Lock(LockBatch),
    Unlock(LockBatch),
    CreateTopic(CreateTopic),
    CreateTopics(TopicConfigs),
    DeleteTopic(TopicQuestion),
    TopicConfig(TopicQuestion),
    AllTopics,
    SystemTopics,
    CreateGroup(GroupConfig),
    CreateGroups(GroupConfigs),
    DeleteGroup(DeleteGroup),
    GroupConfig(GroupQuestion),
    AllGroups,
    AllOffsets,
    TopicStats(TopicQuestion),
    ConsumeStats(ConsumeStatsQuestion),
    BrokerConsumeStats(BrokerConsumeStatsQuestion),
    ViewStats(StatsQuestion),
    ConsumeTimeSpan(GroupInTopic),
    GroupsOfTopic(TopicQuestion),
    TopicsOfGroup(GroupQuestion),
    SubscriptionOfGroup(GroupInTopic),
    CorrectionOffsets(CorrectionQuestion),
    CloneOffsets(CloneOffsets),
    ConsumeQueue(ConsumeQueueQuestion),
    /// 306, 316: what they clean up in Apache's broker is never there.
    NothingToClean,
    ConsumerConnections(ConsumerGroup),
    ProducerConnections(ProducerGroup),
    AllProducers,
    ResetOffset(ResetOffset),
    RunningInfo(RunningInfo),
    ConsumeDirectly(ConsumeDirectly),
    /// A client answers what the broker asked; `origin.opaque` says what.
    ClientReply {
        code: i32,
        remark: Option<String>,
        body: Bytes,
    },
    /// What the engine asked of the disk.
    Loaded {
        token: u64,
        answers: Vec<Loaded>,
    },
    /// A cold pull was answered.
    Served {
        topic: TopicId,
        group: ByteString,
        messages: u64,
        bytes: u64,
    },
    /// A connection is gone.
    Closed,
}

/// Why a frame is no request.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}")]
    Field(#[from] FieldError),
    #[error("the body is not what the request needs: {0}")]
    Body(String),
}

impl Request {
    /// Decodes a request; `None`: no request that a broker knows.
    pub fn decode(frame: &Frame<'_>) -> Result<Option<Request>, DecodeError> {
        fn body<T: serde::de::DeserializeOwned>(frame: &Frame<'_>) -> Result<T, DecodeError> {
            json::dialect::object(&frame.body()).map_err(DecodeError::Body)
        }
        Ok(Some(match frame.code {
            code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => {
                Request::Send { header: Send::read(frame)?, body: frame.body() }
            }
            code::CONSUMER_SEND_MSG_BACK => Request::SendBack(SendBack::read(frame)?),
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => Request::Pull(Pull::read(frame)?),
            code::QUERY_CONSUMER_OFFSET => {
                Request::QueryConsumerOffset(QueryConsumerOffset::read(frame)?)
            }
            code::UPDATE_CONSUMER_OFFSET => {
                Request::UpdateConsumerOffset(UpdateConsumerOffset::read(frame)?)
            }
            code::SEARCH_OFFSET_BY_TIMESTAMP => Request::SearchOffset(SearchOffset::read(frame)?),
            code::GET_MAX_OFFSET => Request::MaxOffset(QueueQuestion::read(frame)?),
            code::GET_MIN_OFFSET => Request::MinOffset(QueueQuestion::read(frame)?),
            code::GET_EARLIEST_MSG_STORETIME => Request::EarliestTime(QueueQuestion::read(frame)?),
            code::QUERY_MESSAGE => Request::QueryMessage(QueryMessage::read(frame)?),
            code::VIEW_MESSAGE_BY_ID => Request::ViewMessage(ViewMessage::read(frame)?),
            code::HEART_BEAT => Request::Heartbeat(body(frame)?),
            code::UNREGISTER_CLIENT => Request::Unregister(Unregister::read(frame)?),
            code::GET_CONSUMER_LIST_BY_GROUP => Request::ConsumerList(ConsumerGroup::read(frame)?),
            code::CHECK_CLIENT_CONFIG => Request::CheckClientConfig(body(frame)?),
            code::LOCK_BATCH_MQ => Request::Lock(body(frame)?),
            code::UNLOCK_BATCH_MQ => Request::Unlock(body(frame)?),
            code::UPDATE_AND_CREATE_TOPIC => Request::CreateTopic(CreateTopic::read(frame)?),
            code::UPDATE_AND_CREATE_TOPIC_LIST => Request::CreateTopics(body(frame)?),
            code::DELETE_TOPIC_IN_BROKER => Request::DeleteTopic(TopicQuestion::read(frame)?),
            code::GET_TOPIC_CONFIG => Request::TopicConfig(TopicQuestion::read(frame)?),
            code::GET_ALL_TOPIC_CONFIG => Request::AllTopics,
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => Request::CreateGroup(body(frame)?),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => Request::CreateGroups(body(frame)?),
            code::DELETE_SUBSCRIPTIONGROUP => Request::DeleteGroup(DeleteGroup::read(frame)?),
            code::GET_SUBSCRIPTIONGROUP_CONFIG => Request::GroupConfig(GroupQuestion::read(frame)?),
            code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => Request::AllGroups,
            code::GET_ALL_CONSUMER_OFFSET => Request::AllOffsets,
            code::GET_TOPIC_STATS_INFO => Request::TopicStats(TopicQuestion::read(frame)?),
            code::GET_CONSUME_STATS => Request::ConsumeStats(ConsumeStatsQuestion::read(frame)?),
            code::QUERY_TOPIC_CONSUME_BY_WHO => Request::GroupsOfTopic(TopicQuestion::read(frame)?),
            code::GET_BROKER_CONSUME_STATS => {
                Request::BrokerConsumeStats(BrokerConsumeStatsQuestion::read(frame)?)
            }
            code::VIEW_BROKER_STATS_DATA => Request::ViewStats(StatsQuestion::read(frame)?),
            code::QUERY_CONSUME_TIME_SPAN => Request::ConsumeTimeSpan(GroupInTopic::read(frame)?),
            code::QUERY_TOPICS_BY_CONSUMER => Request::TopicsOfGroup(GroupQuestion::read(frame)?),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => {
                Request::SubscriptionOfGroup(GroupInTopic::read(frame)?)
            }
            code::QUERY_CORRECTION_OFFSET => {
                Request::CorrectionOffsets(CorrectionQuestion::read(frame)?)
            }
            code::CLONE_GROUP_OFFSET => Request::CloneOffsets(CloneOffsets::read(frame)?),
            code::QUERY_CONSUME_QUEUE => Request::ConsumeQueue(ConsumeQueueQuestion::read(frame)?),
            code::CLEAN_EXPIRED_CONSUMEQUEUE | code::CLEAN_UNUSED_TOPIC => Request::NothingToClean,
            code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => Request::SystemTopics,
            code::GET_CONSUMER_CONNECTION_LIST => {
                Request::ConsumerConnections(ConsumerGroup::read(frame)?)
            }
            code::GET_PRODUCER_CONNECTION_LIST => {
                Request::ProducerConnections(ProducerGroup::read(frame)?)
            }
            code::GET_ALL_PRODUCER_INFO => Request::AllProducers,
            code::INVOKE_BROKER_TO_RESET_OFFSET => Request::ResetOffset(ResetOffset::read(frame)?),
            code::GET_CONSUMER_RUNNING_INFO => Request::RunningInfo(RunningInfo::read(frame)?),
            code::CONSUME_MESSAGE_DIRECTLY => {
                Request::ConsumeDirectly(ConsumeDirectly::read(frame)?)
            }
            _ => return Ok(None),
        }))
    }
}
