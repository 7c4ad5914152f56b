//! 41 `LOCK_BATCH_MQ` and 42 `UNLOCK_BATCH_MQ`: the queues of an ordered consumer.

use serde::{Deserialize, Serialize};

use crate::json::write::MessageQueue;

/// The body of 41 and 42.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    pub consumer_group: Option<String>,
    pub client_id: Option<String>,
    pub only_this_broker: bool,
    pub mq_set: Vec<MessageQueue>,
}

/// The body of the answer to 41.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LockedBatch {
    /// The queues that this client may consume now.
    #[serde(rename = "lockOKMQSet")]
    pub locked: Vec<MessageQueue>,
}
