//! The body of 103. In: JSON, or a zlib stream of another form. Out: the broker's topics, ready to
//! be taken over by the table, and their version.
//!
//! The compressed form is, after inflation, each with its length or count as an i32 before it:
//!
//! | part | content |
//! |---|---|
//! | data version | JSON |
//! | topics | count, then for each: `name readQueues writeQueues perm filterType attributes` |
//! | filter servers | JSON, not read: the feature is gone |
//! | queue mappings | from version 5 on, not read: static topics are not supported |

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use flate2::read::ZlibDecoder;
use kerolox_protocol::json::dialect;
use kerolox_protocol::names::{DERIVED_TOPIC_LENGTH_MAX, STATE_TOPIC};
use kerolox_protocol::remoting::admin::{DataVersion, TopicConfig};
use kerolox_protocol::remoting::fields::Header as _;
use kerolox_protocol::remoting::frame::Frame;
use kerolox_protocol::remoting::registration::RegisterBroker;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::limits;
use crate::request::DecodeError;
use crate::suggest::excerpt;
use crate::table::{Queues, Topics};

/// 103, read.
#[derive(Debug)]
pub struct Registration {
    pub(crate) header: RegisterBroker,
    /// The broker's `MQVersion`.
    pub(crate) mq_version: i32,
    pub(crate) topics: Topics,
    pub(crate) version: DataVersion,
}

impl Registration {
    pub(crate) fn decode(frame: &Frame<'_>) -> Result<Registration, DecodeError> {
        let header = RegisterBroker::read(frame)?;
        let body = frame.body();
        if header.body_crc32 != 0 {
            let computed = (crc32fast::hash(&body) & 0x7fff_ffff) as i32;
            if computed != header.body_crc32 {
                return Err(DecodeError::Checksum { claimed: header.body_crc32, computed });
            }
        }
        let parsed = if header.compressed && !body.is_empty() {
            compressed(&body)
        } else {
            dialect::object::<Body>(&body)
        };
        let Wrapper { topic_config_table: Rows(topics), data_version: version } =
            parsed.map_err(DecodeError::Body)?.topic_config_serialize_wrapper;
        Ok(Registration { header, mq_version: frame.version, topics, version })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    topic_config_serialize_wrapper: Wrapper,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wrapper {
    topic_config_table: Rows,
    data_version: DataVersion,
}

/// Topics as they are read: no second table in between, and never more than the limit.
#[derive(Default)]
struct Rows(Topics);

impl Rows {
    fn put(&mut self, topic: &TopicConfig) -> Result<(), String> {
        let name = topic.topic_name.as_str();
        if name.is_empty() || name.len() > DERIVED_TOPIC_LENGTH_MAX {
            return Err(format!(
                "a topic's name has {} bytes; 1 to {DERIVED_TOPIC_LENGTH_MAX} are allowed",
                name.len()
            ));
        }
        if self.0.len() == limits::REGISTRATION_TOPICS_MAX {
            return Err(format!(
                "more than {} topics in one registration",
                limits::REGISTRATION_TOPICS_MAX
            ));
        }
        if name != STATE_TOPIC {
            self.0.insert(Arc::from(name), Queues::of(topic));
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rows, D::Error> {
        deserializer.deserialize_map(RowsVisitor)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of topics")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rows, A::Error> {
        let mut rows = Rows::default();
        while let Some((key, mut topic)) = map.next_entry::<String, TopicConfig>()? {
            if topic.topic_name.is_empty() {
                topic.topic_name = key;
            }
            rows.put(&topic).map_err(A::Error::custom)?;
        }
        Ok(rows)
    }
}

fn compressed(body: &[u8]) -> Result<Body, String> {
    let mut inflated = Vec::new();
    let limit = limits::INFLATED_SIZE_MAX;
    let mut stream = ZlibDecoder::new(body).take(limit as u64 + 1);
    stream.read_to_end(&mut inflated).map_err(|e| format!("it is no zlib stream ({e})"))?;
    if inflated.len() > limit {
        return Err(format!("it inflates to more than {limit} bytes"));
    }
    let mut rest = inflated.as_slice();
    let data_version = dialect::from_slice(part(&mut rest)?)?;
    let mut topics = Rows::default();
    for _ in 0..number(&mut rest)? {
        let text = std::str::from_utf8(part(&mut rest)?).map_err(|e| e.to_string())?;
        topics.put(&topic(text).ok_or_else(|| format!("{:?} is no topic", excerpt(text)))?)?;
    }
    Ok(Body {
        topic_config_serialize_wrapper: Wrapper { topic_config_table: topics, data_version },
    })
}

/// A topic as one line. Filter type and attributes play no part in a route.
fn topic(text: &str) -> Option<TopicConfig> {
    let mut words = text.split(' ');
    let topic_name = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    Some(TopicConfig {
        topic_name,
        read_queue_nums: number()?,
        write_queue_nums: number()?,
        perm: number()?,
        ..TopicConfig::default()
    })
}

fn number(rest: &mut &[u8]) -> Result<usize, String> {
    let Some((bytes, after)) = rest.split_first_chunk() else {
        return Err("it is cut short".to_owned());
    };
    *rest = after;
    usize::try_from(i32::from_be_bytes(*bytes)).map_err(|_| "a length is negative".to_owned())
}

fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let length = number(rest)?;
    let Some((part, after)) = rest.split_at_checked(length) else {
        return Err("it is cut short".to_owned());
    };
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;
    use crate::Request;
    use crate::testing::{decode, registration};

    fn fields<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own =
            [("brokerName", "a"), ("brokerAddr", "a:1"), ("clusterName", "C"), ("brokerId", "0")];
        own.iter().chain(more).copied().collect()
    }

    fn read(more: &[(&str, &str)], body: &[u8]) -> Result<Registration, DecodeError> {
        match decode(103, 513, &fields(more), body).unwrap()? {
            Request::Register(registration) => Ok(*registration),
            other => panic!("{other:?}"),
        }
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As Java's `RegisterBrokerBody.encode(true)` writes it.
    fn java_body(count: i32, topics: &[&str]) -> Vec<u8> {
        let mut plain = Vec::new();
        let part = |text: &str, plain: &mut Vec<u8>| {
            plain.extend((text.len() as i32).to_be_bytes());
            plain.extend(text.as_bytes());
        };
        part(r#"{"counter":3,"stateVersion":0,"timestamp":7}"#, &mut plain);
        plain.extend(count.to_be_bytes());
        topics.iter().for_each(|topic| part(topic, &mut plain));
        part("[]", &mut plain);
        plain.extend(0i32.to_be_bytes());
        plain
    }

    #[test]
    fn both_forms_say_the_same() {
        let json = read(&[], registration(3, "t:6 u:4").as_bytes()).unwrap();
        let java = zlib(&java_body(2, &["t 4 4 6 SINGLE_TAG {}", "u 4 4 4 MULTI_TAG"]));
        let crc = (crc32fast::hash(&java) & 0x7fff_ffff).to_string();
        let compressed = read(&[("compressed", "true"), ("bodyCrc32", &crc)], &java).unwrap();
        assert_eq!(json.topics.len(), 2);
        assert_eq!(json.topics, compressed.topics);
        assert_eq!(json.version, compressed.version);
    }

    #[test]
    fn an_absent_body_has_no_topics() {
        for more in [&[][..], &[("compressed", "true")]] {
            let empty = read(more, b"").unwrap();
            assert_eq!((empty.topics.len(), empty.version), (0, DataVersion::default()));
        }
    }

    #[test]
    fn the_state_topic_is_left_out_and_keys_stand_in_for_names() {
        let body = r#"{"topicConfigSerializeWrapper":{"topicConfigTable":{k:{perm:4},
            "rmq_sys_kerolox_state":{"perm":6}}}}"#;
        let topics = read(&[], body.as_bytes()).unwrap().topics;
        assert_eq!(topics.keys().map(|k| &**k).collect::<Vec<_>>(), ["k"]);
    }

    #[test]
    fn bad_bodies_are_refused() {
        let check = |more: &[(&str, &str)], body: &[u8], why: &str| {
            let error = read(more, body).unwrap_err().reply().remark.unwrap();
            assert!(error.contains(why), "{error}");
        };
        let compressed = &[("compressed", "true")];
        check(&[("bodyCrc32", "1")], b"{}", "crc32 not match");
        check(&[], b"{\"topicConfigSerializeWrapper\":[", "the body cannot be read");
        check(&[], registration(1, &format!("{}:6", "t".repeat(256))).as_bytes(), "256 bytes");
        check(compressed, b"{}", "no zlib stream");
        check(compressed, &zlib(&java_body(1, &["t 4 four 6 SINGLE_TAG"])), "is no topic");
        check(compressed, &zlib(&java_body(i32::MAX, &["t 4 4 6 SINGLE_TAG"])), "is no topic");
        check(compressed, &zlib(&java_body(1, &["t 4 4 6 SINGLE_TAG"])[..60]), "cut short");
        check(compressed, &zlib(&java_body(-1, &[])), "negative");
        check(compressed, &zlib(&vec![0; limits::INFLATED_SIZE_MAX + 1]), "inflates to more");
        let whole = zlib(&java_body(1, &["t 4 4 6 SINGLE_TAG"]));
        check(compressed, &whole[..whole.len() / 2], "");
        for missing in 0..4 {
            let mut fields = fields(&[]);
            let (name, _) = fields.remove(missing);
            let error = decode(103, 513, &fields, b"").unwrap().unwrap_err().to_string();
            assert_eq!(error, format!("the custom field <{name}> is null"));
        }
    }

    #[test]
    fn more_topics_than_the_limit_are_refused() {
        let mut rows = Rows::default();
        for i in 0..=limits::REGISTRATION_TOPICS_MAX {
            let topic = TopicConfig { topic_name: i.to_string(), ..TopicConfig::default() };
            assert_eq!(rows.put(&topic).is_ok(), i < limits::REGISTRATION_TOPICS_MAX);
        }
    }
}
