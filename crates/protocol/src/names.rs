//! Names: what a topic or group may be called, which topics are the system's own, and the
//! prefixes of retry and dead-letter topics.

/// Longest topic name in bytes.
pub const TOPIC_LENGTH_MAX: usize = 127;
/// Longest name of a retry or dead-letter topic in bytes.
pub const DERIVED_TOPIC_LENGTH_MAX: usize = 255;
/// Longest group name in bytes (older clients allow as many).
pub const GROUP_LENGTH_MAX: usize = 255;

/// Prefix of the topic to which a group's failed messages go.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic to which a group's given-up messages go.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// The topic whose settings automatically created topics take.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where messages with a delay level wait; the queue is the level minus one.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Where Kerolox keeps seals and state. Clients never see it.
pub const STATE_TOPIC: &str = "rmq_sys_kerolox_state";

/// Topics to which no client may send (answered with code 16).
const NO_SEND: [&str; 8] = [
    SCHEDULE_TOPIC,
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
    "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Topics that belong to the system beside those, whose settings a client may not change.
const SYSTEM: [&str; 3] = [AUTO_CREATE_TOPIC, "BenchmarkTest", "RMQ_SYS_TRACE_TOPIC"];

/// Groups that exist without being created.
pub const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Whether every character is one that RocketMQ allows in a name.
fn legal(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
}

/// Says what is wrong with a topic name, in the words that clients know.
pub fn check_topic(topic: &str) -> Result<(), String> {
    if topic.trim().is_empty() {
        return Err("The specified topic is blank.".to_owned());
    }
    if !legal(topic) {
        return Err(format!(
            "The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$ (got {topic:?})"
        ));
    }
    let derived = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    let max = if derived { DERIVED_TOPIC_LENGTH_MAX } else { TOPIC_LENGTH_MAX };
    if topic.len() > max {
        return Err(format!(
            "The specified topic is longer than topic max length {max} (it has {})",
            topic.len()
        ));
    }
    Ok(())
}

/// Says what is wrong with a group name.
pub fn check_group(group: &str) -> Result<(), String> {
    if group.trim().is_empty() {
        return Err("the specified group is blank".to_owned());
    }
    if !legal(group) {
        return Err(format!(
            "the specified group[{group}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    if group.len() > GROUP_LENGTH_MAX {
        return Err(format!(
            "the specified group is longer than group max length: {GROUP_LENGTH_MAX} (it has {})",
            group.len()
        ));
    }
    Ok(())
}

/// Whether clients are refused (16) when they send to this topic.
pub fn is_no_send_topic(topic: &str) -> bool {
    topic == STATE_TOPIC || NO_SEND.contains(&topic)
}

/// Whether the topic is the system's own: clients may neither create, change nor delete it.
pub fn is_system_topic(topic: &str) -> bool {
    is_no_send_topic(topic) || SYSTEM.contains(&topic) || topic.starts_with("rmq_sys_")
}

/// Whether the group is the system's own.
pub fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with("CID_RMQ_SYS_")
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead-letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "%RETRY%g", "ns%topic-1_|x"] {
            check_topic(good).unwrap();
        }
        for bad in ["", " ", "a b", "topic\n", "你好", "a/../b", &"x".repeat(128)] {
            check_topic(bad).unwrap_err();
        }
        check_topic(&retry_topic(&"g".repeat(128))).unwrap();
        check_group(&"g".repeat(256)).unwrap_err();
    }
}
