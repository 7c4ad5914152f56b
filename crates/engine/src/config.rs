//! What the engine needs to know of the configuration. Names follow Apache's keys.

use std::net::IpAddr;

use bytestring::ByteString;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Config {
    /// `brokerClusterName`
    pub cluster: ByteString,
    /// `brokerName`
    pub broker_name: ByteString,
    /// `regionId`
    pub region: ByteString,
    /// `traceOn`
    pub trace_on: bool,
    /// The topic for message traces (`msgTraceTopicName`), if it is made at the start (`traceTopicEnable`).
    pub trace_topic: Option<ByteString>,
    /// `brokerPermission`: bits as in a topic's.
    pub broker_permission: i32,
    /// `autoCreateTopicEnable`
    pub auto_create_topic: bool,
    /// `defaultTopicQueueNums`
    pub default_topic_queue_nums: i32,
    /// `autoCreateSubscriptionGroup`
    pub auto_create_group: bool,
    /// `maxMessageSize`: bytes of a body.
    pub max_message_size: usize,
    /// `longPollingEnable`
    pub long_polling: bool,
    /// `shortPollingTimeMills`
    pub short_polling_ms: i64,
    /// `rejectPullConsumerEnable`: consumers that pull by themselves are no members of their group.
    pub reject_pull_consumers: bool,
    /// `notifyConsumerIdsChangedEnable`: members of a group are told when others come or go.
    pub notify_groups: bool,
    /// `startAcceptSendRequestTimeStamp`, in ms: sends before are refused.
    pub accept_sends_from: i64,
    /// `channelExpiredTimeout`: a client without a heartbeat for so many ms is gone.
    pub client_expiry_ms: i64,
    /// `useServerSideResetOffset`
    pub server_side_reset: bool,
    /// `messageDelayLevel`, in ms, level 1 first.
    pub delay_levels_ms: Vec<i64>,
    /// The address in message ids; `None`: that at which the message arrived.
    pub store_ip: Option<IpAddr>,
    /// The port in message ids.
    pub store_port: u16,
    /// Bytes of the log's end that count as hot: `accessMessageInMemoryMaxRatio` of the machine's
    /// memory. A new group starts at offset 0 if that is still hot, as with Apache's broker.
    pub hot_bytes: u64,
    /// Tells unique keys made here from those of other processes.
    pub process: [u8; 6],
}

/// Apache's 18 levels, in ms.
pub const DELAY_LEVELS_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster: "DefaultCluster".into(),
            broker_name: "broker-a".into(),
            region: "DefaultRegion".into(),
            trace_on: true,
            trace_topic: None,
            broker_permission: 6,
            auto_create_topic: true,
            default_topic_queue_nums: 8,
            auto_create_group: true,
            max_message_size: 4 << 20,
            long_polling: true,
            short_polling_ms: 1_000,
            reject_pull_consumers: false,
            notify_groups: true,
            accept_sends_from: 0,
            client_expiry_ms: 120_000,
            server_side_reset: true,
            delay_levels_ms: DELAY_LEVELS_MS.to_vec(),
            store_ip: None,
            store_port: 10911,
            hot_bytes: 4 << 30,
            process: [0; 6],
        }
    }
}
