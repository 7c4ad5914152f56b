//! Times, permissions, versions and messages as mqadmin writes them.

use std::io::Read as _;

use anyhow::{Result, bail};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use kerolox_protocol::record::{View, sys_flag};
use kerolox_protocol::remoting::admin::{GroupConfig, TopicConfig, perm};
use kerolox_protocol::{ids, properties};

/// A moment in the machine's time zone.
fn local(ms: i64) -> Option<DateTime> {
    Timestamp::from_millisecond(ms).ok().map(|at| TimeZone::system().to_datetime(at))
}

/// `2026-11-28 20:05:13`.
pub fn time(ms: i64) -> String {
    local(ms).map_or_else(|| ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// `2026-11-28 20:05:13,042`.
pub fn time_ms(ms: i64) -> String {
    let after = ms.rem_euclid(1000);
    local(ms).map_or_else(
        || ms.to_string(),
        |at| format!("{},{after:03}", at.strftime("%Y-%m-%d %H:%M:%S")),
    )
}

/// `20261128200513042`.
pub fn time_digits(ms: i64) -> String {
    let after = ms.rem_euclid(1000);
    local(ms)
        .map_or_else(|| ms.to_string(), |at| format!("{}{after:03}", at.strftime("%Y%m%d%H%M%S")))
}

/// Now, in ms since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Reads a time as commands take it: ms since 1970, `now`, or local time as `2026-11-28#20:05:13:042`.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now());
    }
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let moment = || {
        let (rest, ms) = text.rsplit_once(':')?;
        let ms: i64 = ms.parse().ok().filter(|ms| (0..1000).contains(ms))?;
        let at = DateTime::strptime("%Y-%m-%d#%H:%M:%S", rest).ok()?;
        let at = TimeZone::system().to_timestamp(at).ok()?;
        Some(at.as_millisecond() + ms)
    };
    moment().ok_or_else(|| {
        format!(
            "{text:?} is no time: give ms since 1970, now, or local time as 2026-11-28#20:05:13:042"
        )
    })
}

/// `RW-`.
pub fn perm_text(bits: i32) -> String {
    let letter = |bit: i32, letter: char| if bits & bit != 0 { letter } else { '-' };
    [letter(perm::READ, 'R'), letter(perm::WRITE, 'W'), letter(perm::INHERIT, 'X')].iter().collect()
}

/// A topic's settings in Java's words.
pub fn topic_text(topic: &TopicConfig) -> String {
    let attributes: Vec<_> = topic.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, topicSysFlag={}, order={}, attributes={{{}}}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        perm_text(topic.perm),
        topic.topic_filter_type,
        topic.topic_sys_flag,
        topic.order,
        attributes.join(", ")
    )
}

/// A group's retry policy in Java's words.
pub fn retry_policy_text(policy: &serde_json::Value) -> String {
    let kind = policy["type"].as_str().unwrap_or("CUSTOMIZED");
    let exponential = match &policy["exponentialRetryPolicy"] {
        serde_json::Value::Object(p) => {
            let field =
                |name: &str, default: i64| p.get(name).and_then(|v| v.as_i64()).unwrap_or(default);
            format!(
                "ExponentialRetryPolicy{{initial={}, max={}, multiplier={}}}",
                field("initial", 5000),
                field("max", 7_200_000),
                field("multiplier", 2)
            )
        }
        _ => "null".to_owned(),
    };
    let customized = match &policy["customizedRetryPolicy"]["next"] {
        serde_json::Value::Array(next) => {
            let next: Vec<String> = next.iter().map(ToString::to_string).collect();
            format!("CustomizedRetryPolicy{{next=[{}]}}", next.join(", "))
        }
        _ => "null".to_owned(),
    };
    format!(
        "GroupRetryPolicy{{type={kind}, exponentialRetryPolicy={exponential}, customizedRetryPolicy={customized}}}"
    )
}

/// A group's settings, each with its name, in the order of Java's class.
pub fn group_fields(group: &GroupConfig) -> Vec<(&'static str, String)> {
    let attributes: Vec<_> = group.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    vec![
        ("groupName", group.group_name.clone()),
        ("consumeEnable", group.consume_enable.to_string()),
        ("consumeFromMinEnable", group.consume_from_min_enable.to_string()),
        ("consumeBroadcastEnable", group.consume_broadcast_enable.to_string()),
        ("consumeMessageOrderly", group.consume_message_orderly.to_string()),
        ("retryQueueNums", group.retry_queue_nums.to_string()),
        ("retryMaxTimes", group.retry_max_times.to_string()),
        ("groupRetryPolicy", retry_policy_text(&group.group_retry_policy)),
        ("brokerId", group.broker_id.to_string()),
        ("whichBrokerWhenConsumeSlowly", group.which_broker_when_consume_slowly.to_string()),
        ("notifyConsumerIdsChangedEnable", group.notify_consumer_ids_changed_enable.to_string()),
        ("groupSysFlag", group.group_sys_flag.to_string()),
        ("consumeTimeoutMinute", group.consume_timeout_minute.to_string()),
        ("subscriptionDataSet", String::new()),
        ("attributes", format!("{{{}}}", attributes.join(", "))),
    ]
}

/// A group's settings in Java's words.
pub fn group_text(group: &GroupConfig) -> String {
    let fields = group_fields(group).into_iter().map(|(name, value)| {
        let value = if name == "subscriptionDataSet" { "null".to_owned() } else { value };
        format!("{name}={value}")
    });
    format!("SubscriptionGroupConfig{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

/// `+key=value,-key`, as 17 takes it.
pub fn check_attributes(text: &str) -> Result<(), String> {
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let is_right = match item.split_once('=') {
            Some((key, value)) => key.starts_with('+') && key.len() > 1 && !value.is_empty(),
            None => item.starts_with('-') && item.len() > 1,
        };
        if !is_right {
            return Err(format!("{item:?} is neither +key=value nor -key"));
        }
    }
    Ok(())
}

/// A stored message with what a client makes of it.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub store_size: i32,
    pub sys_flag: i32,
    pub flag: i32,
    pub born_timestamp: i64,
    pub born_host: String,
    pub store_timestamp: i64,
    pub store_host: String,
    pub offset_id: String,
    pub body_crc: i32,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub properties: Vec<(String, String)>,
    /// Unpacked, unless `sys_flag` still says that it is compressed.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a record. A body that cannot be unpacked (LZ4, ZSTD) stays as it is, and so do its flags.
    pub fn new(view: &View<'_>) -> Message {
        let mut offset_id = String::new();
        ids::push_offset_id(&mut offset_id, view.store_host, view.physical_offset);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let properties = properties::iter(view.properties);
        let (body, flags) = match unpack(view.body, view.sys_flag) {
            Some(body) => (body, view.sys_flag & !sys_flag::COMPRESSED),
            None => (view.body.to_vec(), view.sys_flag),
        };
        Message {
            topic: view.topic.to_owned(),
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset as i64,
            store_size: view.bytes.len() as i32,
            sys_flag: flags,
            flag: view.flag,
            born_timestamp: view.born_timestamp,
            born_host: view.born_host.to_string(),
            store_timestamp: view.store_timestamp,
            store_host: view.store_host.to_string(),
            offset_id,
            body_crc: view.body_crc as i32,
            reconsume_times: view.reconsume_times,
            prepared_transaction_offset: view.prepared_transaction_offset,
            properties: properties.map(|(k, v)| (text(k), text(v))).collect(),
            body,
        }
    }

    /// A property's value.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What clients call its id: the unique key, else the one that names its place.
    pub fn id(&self) -> &str {
        self.property("UNIQ_KEY").unwrap_or(&self.offset_id)
    }

    /// `{k=v, k=v}`.
    pub fn properties_text(&self) -> String {
        let pairs: Vec<_> = self.properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{{{}}}", pairs.join(", "))
    }

    /// In Java's words. `broker`: its name, if it is known.
    pub fn text(&self, broker: &str) -> String {
        let bytes: Vec<_> = self.body.iter().map(|b| (*b as i8).to_string()).collect();
        format!(
            "MessageExt [brokerName={broker}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, properties={}, body=[{}], transactionId='null'}}]",
            self.queue_id,
            self.store_size,
            self.queue_offset,
            self.sys_flag,
            self.born_timestamp,
            self.born_host,
            self.store_timestamp,
            self.store_host,
            self.offset_id,
            self.physical_offset,
            self.body_crc,
            self.reconsume_times,
            self.prepared_transaction_offset,
            self.topic,
            self.flag,
            self.properties_text(),
            bytes.join(", ")
        )
    }

    /// As JSON. A body that is no UTF-8 is told as a list of its bytes.
    pub fn json(&self) -> serde_json::Value {
        let properties: serde_json::Map<_, _> =
            self.properties.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        let body = match std::str::from_utf8(&self.body) {
            Ok(text) => serde_json::Value::from(text),
            Err(_) => serde_json::Value::from(self.body.clone()),
        };
        serde_json::json!({
            "topic": self.topic,
            "queueId": self.queue_id,
            "queueOffset": self.queue_offset,
            "commitLogOffset": self.physical_offset,
            "storeSize": self.store_size,
            "sysFlag": self.sys_flag,
            "flag": self.flag,
            "bornTimestamp": self.born_timestamp,
            "bornHost": self.born_host,
            "storeTimestamp": self.store_timestamp,
            "storeHost": self.store_host,
            "msgId": self.id(),
            "offsetMsgId": self.offset_id,
            "reconsumeTimes": self.reconsume_times,
            "properties": properties,
            "body": body,
        })
    }
}

/// Bytes that an unpacked body may have.
const UNPACKED_MAX: u64 = 64 << 20;

/// The unpacked body of a message that was packed with zlib.
fn unpack(body: &[u8], flags: i32) -> Option<Vec<u8>> {
    let kind = flags & sys_flag::COMPRESSION;
    if flags & sys_flag::COMPRESSED == 0 || !(kind == 0 || kind == sys_flag::COMPRESSION_ZLIB) {
        return None;
    }
    let mut out = Vec::new();
    flate2::read::ZlibDecoder::new(body).take(UNPACKED_MAX + 1).read_to_end(&mut out).ok()?;
    // A part of a body would pass for the whole of it.
    (out.len() as u64 <= UNPACKED_MAX).then_some(out)
}

/// The text of a body; Apache's tools ask for a character set, here it is UTF-8.
pub fn body_text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// Other character sets than UTF-8 are refused rather than shown wrongly.
pub fn check_charset(option: &str, charset: &str) -> Result<()> {
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => Ok(()),
        _ => {
            bail!("{option} {charset}: bodies are shown as UTF-8 only; take --json for their bytes")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message without anything in it.
    pub(crate) fn message() -> Message {
        Message {
            topic: "t".to_owned(),
            queue_id: 0,
            queue_offset: 0,
            physical_offset: 0,
            store_size: 0,
            sys_flag: 0,
            flag: 0,
            born_timestamp: 0,
            born_host: "10.0.0.7:1234".to_owned(),
            store_timestamp: 0,
            store_host: String::new(),
            offset_id: "OFFSETID".to_owned(),
            body_crc: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            properties: Vec::new(),
            body: Vec::new(),
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        let ms = 1_764_360_313_042;
        let text = time_ms(ms).replace(' ', "#").replace(',', ":");
        assert_eq!(parse_time(&text), Ok(ms));
        assert_eq!(parse_time("1764360313042"), Ok(ms));
        assert_eq!(parse_time("-1"), Ok(-1));
        assert!((parse_time("now").unwrap_or(0) - now()).abs() < 1000);
        for bad in ["", "yesterday", "2026-11-28", "2026-11-28#20:05:13", "2026-13-28#20:05:13:000"]
        {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn permissions_and_attributes() {
        assert_eq!(perm_text(6), "RW-");
        assert_eq!(perm_text(5), "R-X");
        assert_eq!(check_attributes("+message.type=FIFO,-x"), Ok(()));
        for bad in ["message.type=FIFO", "x", "+k=", "-"] {
            assert!(check_attributes(bad).is_err(), "{bad}");
        }
    }
}
