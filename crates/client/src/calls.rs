//! The common requests, one method each. In: a typed header. Out: the typed answer; a refusal is
//! an [`Error`](crate::Error).

use std::time::Duration;

use bytes::Bytes;
use kerolox_protocol::remoting::admin::{CreateTopic, TopicConfig, TopicQuestion};
use kerolox_protocol::remoting::client::{Heartbeat, Unregister};
use kerolox_protocol::remoting::codes::{names, request, response};
use kerolox_protocol::remoting::fields::Fields;
use kerolox_protocol::remoting::offsets::{OffsetReply, QueueQuestion};
use kerolox_protocol::remoting::pull::{Pull, Pulled};
use kerolox_protocol::remoting::route::{ClusterInfo, RouteQuestion, TopicRoute};
use kerolox_protocol::remoting::send::{Send, SendReply};

use crate::{Connection, OwnedReply, Result};

/// A long poll's reply may come this much after its time: Apache's broker looks every five seconds.
const PULL_GRACE: Duration = Duration::from_secs(10);

/// The answer to a pull that was not refused.
#[derive(Debug, Clone)]
pub struct PullReply {
    /// 0 found, 19 nothing there, 20 nothing that matches, 21 the offset is out of range.
    pub code: i32,
    pub offsets: Pulled,
    /// Records back to back: see [`kerolox_protocol::record::walk`].
    pub body: Bytes,
}

impl Connection {
    /// 105: where a topic lives; `None` if the name server does not know it.
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRoute>> {
        let question = RouteQuestion { topic: topic.into() };
        let reply = self.ask(names::GET_ROUTEINFO_BY_TOPIC, &question).await?;
        known(reply)?.map(|reply| reply.json()).transpose()
    }

    /// 106: all brokers that the name server knows.
    pub async fn cluster(&self) -> Result<ClusterInfo> {
        self.ask(names::GET_BROKER_CLUSTER_INFO, &()).await?.success()?.json()
    }

    /// 351: a topic's settings on this broker; `None` if it has no such topic.
    pub async fn topic_config(&self, topic: &str) -> Result<Option<TopicConfig>> {
        let question = TopicQuestion { topic: topic.into() };
        let reply = self.ask(request::GET_TOPIC_CONFIG, &question).await?;
        known(reply)?.map(|reply| reply.json()).transpose()
    }

    /// 17: creates a topic, or changes it.
    pub async fn create_topic(&self, topic: &CreateTopic) -> Result<()> {
        self.ask(request::UPDATE_AND_CREATE_TOPIC, topic).await?.success().map(drop)
    }

    /// 310: stores one message.
    pub async fn send(&self, header: &Send, body: Bytes) -> Result<SendReply> {
        self.call(request::SEND_MESSAGE_V2, header, body).await?.success()?.header()
    }

    /// 11: messages of one queue. Waits as long as the header lets the broker wait.
    pub async fn pull(&self, header: &Pull) -> Result<PullReply> {
        let wait = u64::try_from(header.suspend_timeout_millis).unwrap_or(0);
        let after = Duration::from_millis(wait) + PULL_GRACE;
        let reply = self.call_within(after, request::PULL_MESSAGE, header, Bytes::new()).await?;
        match reply.code {
            response::SUCCESS
            | response::PULL_NOT_FOUND
            | response::PULL_RETRY_IMMEDIATELY
            | response::PULL_OFFSET_MOVED => {
                Ok(PullReply { code: reply.code, offsets: reply.header()?, body: reply.body })
            }
            _ => Err(reply.refusal()),
        }
    }

    /// 30: the offset that the next message of a queue will get.
    pub async fn max_offset(&self, topic: &str, queue_id: i32) -> Result<i64> {
        self.offset(request::GET_MAX_OFFSET, topic, queue_id).await
    }

    /// 31: the offset of a queue's oldest message.
    pub async fn min_offset(&self, topic: &str, queue_id: i32) -> Result<i64> {
        self.offset(request::GET_MIN_OFFSET, topic, queue_id).await
    }

    async fn offset(&self, code: i32, topic: &str, queue_id: i32) -> Result<i64> {
        let question = QueueQuestion { topic: topic.into(), queue_id };
        Ok(self.ask(code, &question).await?.success()?.header::<OffsetReply>()?.offset)
    }

    /// 34: tells the broker which groups live here.
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<()> {
        let body = serde_json::to_vec(heartbeat).expect("a heartbeat holds only text and numbers");
        self.call(request::HEART_BEAT, &(), body.into()).await?.success().map(drop)
    }

    /// 35: tells the broker that a group's member leaves.
    pub async fn unregister(&self, unregister: &Unregister) -> Result<()> {
        self.ask(request::UNREGISTER_CLIENT, unregister).await?.success().map(drop)
    }

    async fn ask(&self, code: i32, fields: &(dyn Fields + Sync)) -> Result<OwnedReply> {
        self.call(code, fields, Bytes::new()).await
    }
}

/// The reply if it is a success, `None` if the topic is unknown.
fn known(reply: OwnedReply) -> Result<Option<OwnedReply>> {
    if reply.code == response::TOPIC_NOT_EXIST { Ok(None) } else { reply.success().map(Some) }
}
