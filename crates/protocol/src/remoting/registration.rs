//! What brokers and admins ask of a name server: 103, 104, 217, 322, 904, KV (100 to 102, 219),
//! permissions (205, 327), topics (216, 224).

use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::admin::{DataVersion, TopicConfig};
use super::fields::header;

header! {
    /// 103.
    RegisterBroker {
        broker_name: ByteString = "brokerName" required,
        broker_addr: ByteString = "brokerAddr" required,
        cluster_name: ByteString = "clusterName" required,
        ha_server_addr: ByteString = "haServerAddr",
        broker_id: i64 = "brokerId" required,
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        enable_acting_master: bool = "enableActingMaster",
        /// The body is not JSON.
        compressed: bool = "compressed",
        /// CRC32 of the body without its highest bit; 0: not checked.
        body_crc32: i32 = "bodyCrc32",
    }
}

header! {
    /// The answer to 103.
    RegisterReply {
        ha_server_addr: Option<ByteString> = "haServerAddr",
        master_addr: Option<ByteString> = "masterAddr",
    }
}

header! {
    /// 104.
    UnregisterBroker {
        broker_name: ByteString = "brokerName",
        broker_addr: ByteString = "brokerAddr",
        cluster_name: ByteString = "clusterName",
        broker_id: i64 = "brokerId",
    }
}

header! {
    /// 217: the body is a route ([`super::route::TopicRoute`]) of the one topic.
    RegisterTopic { topic: ByteString = "topic" }
}

header! {
    /// 322: the body is a [`DataVersion`].
    QueryDataVersion {
        broker_name: ByteString = "brokerName",
        broker_addr: ByteString = "brokerAddr",
        cluster_name: ByteString = "clusterName",
        broker_id: i64 = "brokerId",
    }
}

header! {
    /// The answer to 322.
    DataVersionReply { changed: bool = "changed" }
}

header! {
    /// 904.
    BrokerHeartbeat {
        cluster_name: ByteString = "clusterName",
        broker_addr: ByteString = "brokerAddr",
        broker_name: ByteString = "brokerName",
        broker_id: Option<i64> = "brokerId",
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills",
    }
}

header! {
    /// 100, 101, 102 and 219 (namespace alone).
    KvKey {
        namespace: ByteString = "namespace",
        key: ByteString = "key",
        value: Option<ByteString> = "value",
    }
}

header! {
    /// The answer to 101.
    KvValue { value: Option<ByteString> = "value" }
}

/// The body of the answers to 103 and 219.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    pub table: BTreeMap<String, String>,
}

header! {
    /// 205 and 327.
    BrokerName { broker_name: ByteString = "brokerName" }
}

header! {
    /// The answer to 205.
    WipeReply { wipe_topic_count: i32 = "wipeTopicCount" }
}

header! {
    /// The answer to 327.
    AddReply { add_topic_count: i32 = "addTopicCount" }
}

header! {
    /// 216; without a cluster the topic goes from all.
    DeleteTopicInNames {
        topic: ByteString = "topic",
        cluster_name: Option<ByteString> = "clusterName",
    }
}

header! {
    /// 224.
    ClusterQuestion { cluster: ByteString = "cluster" }
}

/// The body of 103.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBody {
    pub topic_config_serialize_wrapper: TopicConfigs,
}

/// A broker's topics.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigs {
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    pub data_version: DataVersion,
}
