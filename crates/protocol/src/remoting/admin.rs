//! What the admin client asks of a broker: topics (17, 18, 21, 215, 351), groups (200, 201, 207, 225,
//! 343, 352), statistics (202, 208, 303, 317), connections (203, 204, 328, 345), offsets (222, 308, 314),
//! queues (321).

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::fields::header;

/// Permission bits of a topic.
pub mod perm {
    pub const READ: i32 = 4;
    pub const WRITE: i32 = 2;
    /// New topics may take their settings from this one.
    pub const INHERIT: i32 = 1;
}

/// Settings of a topic, as JSON knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: String,
    pub topic_name: String,
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// Tells whether a table changed. The counter rises with every change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    pub counter: i64,
    pub state_version: i64,
    pub timestamp: i64,
}

header! {
    /// 21: a part of all topics. Brokers that tell all at once do not look at it.
    TopicPage {
        /// How many are known.
        topic_seq: i32 = "topicSeq",
        max_topic_num: i32 = "maxTopicNum",
        /// That of the part before, as JSON.
        data_version: ByteString = "dataVersion",
    }
}

header! {
    /// The answer to 21.
    TopicPages {
        /// Absent where all are told at once.
        total_topic_num: Option<i32> = "totalTopicNum",
    }
}

/// The body of 21's answer, and part of 103's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTable {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

header! {
    /// 17.
    CreateTopic {
        topic: ByteString = "topic",
        default_topic: Option<ByteString> = "defaultTopic",
        read_queue_nums: i32 = "readQueueNums",
        write_queue_nums: i32 = "writeQueueNums",
        perm: i32 = "perm",
        topic_filter_type: Option<ByteString> = "topicFilterType",
        topic_sys_flag: i32 = "topicSysFlag",
        order: bool = "order",
        /// `+key=value,-key`.
        attributes: Option<ByteString> = "attributes",
    }
}

/// The body of 18.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicConfigs {
    /// Keys of their attributes have a sign before them: `+key` sets, `-key` removes.
    pub topic_config_list: Vec<TopicConfig>,
}

header! {
    /// 202, 215, 351: a topic.
    TopicQuestion { topic: ByteString = "topic" }
}

/// Settings of a consumer group, as JSON knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfig {
    pub attributes: BTreeMap<String, String>,
    pub broker_id: i64,
    pub consume_broadcast_enable: bool,
    pub consume_enable: bool,
    pub consume_from_min_enable: bool,
    pub consume_message_orderly: bool,
    pub consume_timeout_minute: i32,
    pub group_name: String,
    /// Kept as it was given: only POP uses it.
    pub group_retry_policy: serde_json::Value,
    pub group_sys_flag: i32,
    pub notify_consumer_ids_changed_enable: bool,
    pub retry_max_times: i32,
    pub retry_queue_nums: i32,
    pub which_broker_when_consume_slowly: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: serde_json::json!({ "type": "CUSTOMIZED" }),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

header! {
    /// 201: a part of all groups. Brokers that tell all at once do not look at it.
    GroupPage {
        /// How many are known.
        group_seq: i32 = "groupSeq",
        max_group_num: i32 = "maxGroupNum",
        /// That of the part before, as JSON.
        data_version: ByteString = "dataVersion",
    }
}

header! {
    /// The answer to 201.
    GroupPages {
        /// Absent where all are told at once.
        total_group_num: Option<i32> = "totalGroupNum",
    }
}

/// The body of 201's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupTable {
    pub data_version: DataVersion,
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    pub subscription_group_table: BTreeMap<String, GroupConfig>,
}

/// The body of 225.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupConfigs {
    pub group_config_list: Vec<GroupConfig>,
}

header! {
    /// 207.
    DeleteGroup {
        group_name: ByteString = "groupName",
        /// Also drop the group's offsets.
        clean_offset: bool = "cleanOffset",
    }
}

header! {
    /// 343, 352.
    GroupQuestion { group: ByteString = "group" }
}

header! {
    /// 204.
    ProducerGroup { producer_group: ByteString = "producerGroup" }
}

header! {
    /// 208: how far a group is. Without a topic, for all its topics.
    ConsumeStatsQuestion {
        consumer_group: ByteString = "consumerGroup",
        topic: Option<ByteString> = "topic",
        topic_list: Option<ByteString> = "topicList",
    }
}

header! {
    /// 222: sets a group's offsets of a topic by time, or of one queue.
    ResetOffset {
        group: ByteString = "group",
        topic: ByteString = "topic",
        /// −1 or absent: all queues.
        queue_id: Option<i32> = "queueId",
        offset: Option<i64> = "offset",
        /// Milliseconds since 1970; −1: the end.
        timestamp: i64 = "timestamp",
        is_force: bool = "isForce",
    }
}

header! {
    /// 223, 303, 345: a group in a topic.
    GroupInTopic {
        group: ByteString = "group",
        topic: ByteString = "topic",
        /// 223: the id of the one client that is asked; all without it.
        client_addr: Option<ByteString> = "clientAddr",
    }
}

header! {
    /// 308: how far all other groups are in a group's queues.
    CorrectionQuestion {
        compare_group: ByteString = "compareGroup",
        topic: ByteString = "topic",
        /// Groups that do not count, with commas between.
        filter_groups: Option<ByteString> = "filterGroups",
    }
}

header! {
    /// 26 and 319.
    ConfigQuestion {
        /// Kerolox's own: the body of the answer is a list of [`ConfigOrigin`]s.
        origins: bool = "keroloxOrigins",
    }
}

/// A configuration value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigOrigin {
    pub key: Cow<'static, str>,
    pub value: String,
    pub origin: String,
}

header! {
    /// The answer to 26, whose body is a properties text: a [`DataVersion`] as JSON.
    ConfigVersion { version: ByteString = "version" }
}

header! {
    /// 314: copies a group's offsets to another.
    CloneOffsets {
        src_group: ByteString = "srcGroup",
        dest_group: ByteString = "destGroup",
        topic: Option<ByteString> = "topic",
        /// Also where the source group is connected and does not subscribe to the topic.
        offline: bool = "offline",
    }
}

header! {
    /// 315: how much there was lately of something.
    StatsQuestion {
        /// Of what: `TOPIC_PUT_NUMS` and others.
        stats_name: ByteString = "statsName",
        /// Of which: a topic, `topic@group`, a cluster.
        stats_key: ByteString = "statsKey",
    }
}

/// A part of 315's answer: a sum, of each request and of each second.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct StatsItem {
    pub avgpt: f64,
    pub sum: u64,
    pub tps: f64,
}

/// The body of 315's answer.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatsData {
    pub stats_day: StatsItem,
    pub stats_hour: StatsItem,
    pub stats_minute: StatsItem,
}

header! {
    /// 317.
    BrokerConsumeStatsQuestion {
        /// Of ordered topics alone.
        is_order: bool = "isOrder",
    }
}

header! {
    /// 321: entries of a queue's index.
    ConsumeQueueQuestion {
        topic: ByteString = "topic",
        queue_id: i32 = "queueId",
        index: i64 = "index",
        count: i32 = "count",
        consumer_group: Option<ByteString> = "consumerGroup",
    }
}

/// A row of 202's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicOffset {
    pub last_update_timestamp: i64,
    pub max_offset: i64,
    pub min_offset: i64,
}

/// A row of 208's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OffsetWrapper {
    pub broker_offset: i64,
    pub consumer_offset: i64,
    pub last_timestamp: i64,
    pub pull_offset: i64,
}

/// A client in the answers to 203 and 204.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    pub client_addr: String,
    pub client_id: String,
    pub language: String,
    pub version: i32,
}

/// The body of 203's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    pub connection_set: Vec<Connection>,
    pub consume_from_where: String,
    pub consume_type: String,
    pub message_model: String,
    pub subscription_table: BTreeMap<String, super::client::SubscriptionData>,
}

/// The body of 204's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    pub connection_set: Vec<Connection>,
}

/// A producer in the answer to 328.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    pub client_id: String,
    pub language: String,
    pub last_update_timestamp: i64,
    /// With a slash before it, as Java writes an address.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    pub version: i32,
}

/// A queue in the answer to 303. Times are in ms since 1970, −1 if there is no such message; the texts say
/// the same in UTC.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// When the last message that the group consumed was stored.
    pub consume_time_stamp: i64,
    pub consume_time_stamp_str: String,
    /// How long the next one has been waiting, in ms.
    pub delay_time: i64,
    pub max_time_stamp: i64,
    pub max_time_stamp_str: String,
    pub message_queue: crate::json::write::MessageQueue,
    pub min_time_stamp: i64,
    pub min_time_stamp_str: String,
}

/// An entry in the answer to 321.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeQueueEntry {
    pub eval: bool,
    pub physic_offset: i64,
    pub physic_size: i32,
    pub tags_code: i64,
}

/// The body of 321's answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeQueue {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    pub max_queue_index: i64,
    pub min_queue_index: i64,
    pub queue_data: Vec<ConsumeQueueEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<super::client::SubscriptionData>,
}
