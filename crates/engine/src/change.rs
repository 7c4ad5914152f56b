//! State changes: what a seal carries beside its records, and the only way in which the durable
//! state changes besides messages.
//!
//! In: a decision of a request. Out: bytes for the log (`log/src/append.rs`); and at a start the
//! same decision once more ([`crate::state`]). Each sets a value, so that it may be applied twice.
//!
//! Layout: a tag (u8), then the fields in order: integers big-endian, texts with an u16 length,
//! settings as JSON with an u32 length. Tags are never reused.

use std::borrow::Cow;

use kerolox_log::index::block::Link;
use kerolox_log::index::queue::Older;
use kerolox_protocol::remoting::admin::{GroupConfig, TopicConfig};

/// One state change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<'a> {
    /// 1: a topic exists with these settings.
    TopicPut(Cow<'a, TopicConfig>),
    /// 2: a topic is gone, with its queues and every group's offsets in it.
    TopicDelete { topic: Cow<'a, str> },
    /// 3: a group exists with these settings.
    GroupPut(Cow<'a, GroupConfig>),
    /// 4: a group is gone.
    GroupDelete { group: Cow<'a, str>, clean_offsets: bool },
    /// 5: a group has consumed a queue up to here.
    Offset { group: Cow<'a, str>, topic: Cow<'a, str>, queue: i32, offset: i64 },
    /// 6: delayed messages of a level are delivered up to here.
    Delayed { level: u8, offset: i64 },
    /// 7: an entry of the name server's KV configuration; without a value it is gone.
    Kv { namespace: Cow<'a, str>, key: Cow<'a, str>, value: Option<Cow<'a, str>> },
    /// 8: what the recovery of a start believed, cut and lost.
    Recovered { start: u64, proof: u64, end: u64, cut_bytes: u64, lost_ranges: u32 },
    /// 9: a queue, in snapshots.
    Queue { topic: Cow<'a, str>, queue: i32, known: QueueKnown },
    /// 10: where a topic was made, in snapshots.
    TopicBorn { topic: Cow<'a, str>, at: u64 },
    /// 11: a key of the configuration that was changed while the server ran; `None`: what is configured
    /// holds again.
    Setting { key: Cow<'a, str>, setting: Option<Setting> },
    /// 12: Apache's broker wrote the log from one position to another; the changes behind this one are what
    /// its tables said.
    Adopted { from: u64, end: u64 },
}

/// What a key of the configuration was changed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    /// What was configured then.
    pub over: String,
}

/// What a snapshot says of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueKnown {
    pub next: i64,
    pub min: i64,
    /// Position of its very first message.
    pub origin: u64,
    /// Where its entries are.
    pub older: Option<Older>,
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let json = serde_json::to_vec(value).expect("settings hold only text keys and numbers");
    out.extend_from_slice(&(json.len() as u32).to_be_bytes());
    out.extend_from_slice(&json);
}

/// The topic that an encoded change deletes, if it does.
pub fn deleted_topic(change: &[u8]) -> Option<Cow<'_, str>> {
    match Change::decode(change)? {
        Change::TopicDelete { topic } => Some(topic),
        _ => None,
    }
}

impl Change<'_> {
    /// The topic that it is about; `None`: it is not about one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Change::TopicPut(config) => Some(&config.topic_name),
            Change::TopicDelete { topic }
            | Change::Offset { topic, .. }
            | Change::Queue { topic, .. }
            | Change::TopicBorn { topic, .. } => Some(topic),
            Change::GroupPut(_)
            | Change::GroupDelete { .. }
            | Change::Delayed { .. }
            | Change::Kv { .. }
            | Change::Setting { .. }
            | Change::Adopted { .. }
            | Change::Recovered { .. } => None,
        }
    }

    /// The change's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Change::TopicPut(config) => {
                out.push(1);
                put_json(&mut out, config.as_ref());
            }
            Change::TopicDelete { topic } => {
                out.push(2);
                put_text(&mut out, topic);
            }
            Change::GroupPut(config) => {
                out.push(3);
                put_json(&mut out, config.as_ref());
            }
            Change::GroupDelete { group, clean_offsets } => {
                out.push(4);
                put_text(&mut out, group);
                out.push(u8::from(*clean_offsets));
            }
            Change::Offset { group, topic, queue, offset } => {
                out.push(5);
                put_text(&mut out, group);
                put_text(&mut out, topic);
                out.extend_from_slice(&queue.to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
            }
            Change::Delayed { level, offset } => {
                out.push(6);
                out.push(*level);
                out.extend_from_slice(&offset.to_be_bytes());
            }
            Change::Kv { namespace, key, value } => {
                out.push(7);
                put_text(&mut out, namespace);
                put_text(&mut out, key);
                out.push(u8::from(value.is_some()));
                put_text(&mut out, value.as_deref().unwrap_or(""));
            }
            Change::Recovered { start, proof, end, cut_bytes, lost_ranges } => {
                out.push(8);
                for word in [start, proof, end, cut_bytes] {
                    out.extend_from_slice(&word.to_be_bytes());
                }
                out.extend_from_slice(&lost_ranges.to_be_bytes());
            }
            Change::Queue { topic, queue, known } => {
                out.push(9);
                put_text(&mut out, topic);
                out.extend_from_slice(&queue.to_be_bytes());
                out.extend_from_slice(&known.next.to_be_bytes());
                out.extend_from_slice(&known.min.to_be_bytes());
                out.extend_from_slice(&known.origin.to_be_bytes());
                out.push(u8::from(known.older.is_some()));
                if let Some(Older { link, last_time }) = known.older {
                    out.extend_from_slice(&link.block.to_be_bytes());
                    out.extend_from_slice(&link.slot.to_be_bytes());
                    out.extend_from_slice(&link.ordinal.to_be_bytes());
                    out.extend_from_slice(&last_time.to_be_bytes());
                }
            }
            Change::TopicBorn { topic, at } => {
                out.push(10);
                put_text(&mut out, topic);
                out.extend_from_slice(&at.to_be_bytes());
            }
            Change::Setting { key, setting } => {
                out.push(11);
                put_text(&mut out, key);
                out.push(u8::from(setting.is_some()));
                if let Some(Setting { value, over }) = setting {
                    put_text(&mut out, value);
                    put_text(&mut out, over);
                }
            }
            Change::Adopted { from, end } => {
                out.push(12);
                out.extend_from_slice(&from.to_be_bytes());
                out.extend_from_slice(&end.to_be_bytes());
            }
        }
        out
    }

    /// Reads a change; `None` if it is not one that this release knows.
    pub fn decode(bytes: &[u8]) -> Option<Change<'_>> {
        let (tag, rest) = bytes.split_first()?;
        let mut c = Cursor(rest);
        Some(match tag {
            1 => Change::TopicPut(Cow::Owned(c.json()?)),
            2 => Change::TopicDelete { topic: c.text()? },
            3 => Change::GroupPut(Cow::Owned(c.json()?)),
            4 => Change::GroupDelete { group: c.text()?, clean_offsets: c.byte()? != 0 },
            5 => Change::Offset {
                group: c.text()?,
                topic: c.text()?,
                queue: c.word32()? as i32,
                offset: c.word64()? as i64,
            },
            6 => Change::Delayed { level: c.byte()?, offset: c.word64()? as i64 },
            7 => {
                let (namespace, key) = (c.text()?, c.text()?);
                let some = c.byte()? != 0;
                let value = c.text()?;
                Change::Kv { namespace, key, value: some.then_some(value) }
            }
            8 => Change::Recovered {
                start: c.word64()?,
                proof: c.word64()?,
                end: c.word64()?,
                cut_bytes: c.word64()?,
                lost_ranges: c.word32()?,
            },
            9 => {
                let (topic, queue) = (c.text()?, c.word32()? as i32);
                let (next, min) = (c.word64()? as i64, c.word64()? as i64);
                let origin = c.word64()?;
                let older = if c.byte()? == 0 {
                    None
                } else {
                    let block = c.word64()?;
                    let link = Link { block, slot: c.word32()?, ordinal: c.word32()? };
                    Some(Older { link, last_time: c.word64()? as i64 })
                };
                Change::Queue { topic, queue, known: QueueKnown { next, min, origin, older } }
            }
            10 => Change::TopicBorn { topic: c.text()?, at: c.word64()? },
            11 => {
                let key = c.text()?;
                let setting = if c.byte()? == 0 {
                    None
                } else {
                    let value = c.text()?.into_owned();
                    Some(Setting { value, over: c.text()?.into_owned() })
                };
                Change::Setting { key, setting }
            }
            12 => Change::Adopted { from: c.word64()?, end: c.word64()? },
            _ => return None,
        })
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }
    fn word32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|b| u32::from_be_bytes(*b))
    }
    fn word64(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|b| u64::from_be_bytes(*b))
    }
    fn text(&mut self) -> Option<Cow<'a, str>> {
        let size = self.take(2)?.first_chunk().map(|b| u16::from_be_bytes(*b))?;
        std::str::from_utf8(self.take(usize::from(size))?).ok().map(Cow::Borrowed)
    }
    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let size = self.word32()? as usize;
        serde_json::from_slice(self.take(size)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_read_as_it_was_written() {
        let topic = TopicConfig { topic_name: "t".into(), ..Default::default() };
        let group = GroupConfig { group_name: "g".into(), ..Default::default() };
        let all = [
            Change::TopicPut(Cow::Borrowed(&topic)),
            Change::TopicDelete { topic: "t".into() },
            Change::GroupPut(Cow::Borrowed(&group)),
            Change::GroupDelete { group: "g".into(), clean_offsets: true },
            Change::Offset { group: "g".into(), topic: "t".into(), queue: 3, offset: 1 << 40 },
            Change::Delayed { level: 18, offset: 7 },
            Change::Kv { namespace: "n".into(), key: "k".into(), value: Some("v".into()) },
            Change::Kv { namespace: "n".into(), key: "k".into(), value: None },
            Change::Recovered { start: 1, proof: 2, end: 3, cut_bytes: 4, lost_ranges: 5 },
            Change::Queue {
                topic: "t".into(),
                queue: 1,
                known: QueueKnown { next: 9, min: 3, origin: 77, older: None },
            },
            Change::Queue {
                topic: "t".into(),
                queue: 1,
                known: QueueKnown {
                    next: 9,
                    min: 3,
                    origin: 77,
                    older: Some(Older {
                        link: Link { block: 1 << 30, slot: 5, ordinal: 2 },
                        last_time: 1_700_000_000_000,
                    }),
                },
            },
            Change::TopicBorn { topic: "t".into(), at: 1 << 40 },
            Change::Setting { key: "k".into(), setting: None },
            Change::Setting {
                key: "k".into(),
                setting: Some(Setting { value: "v".into(), over: String::new() }),
            },
            Change::Adopted { from: 7, end: 1 << 40 },
        ];
        for change in &all {
            let bytes = change.encode();
            assert_eq!(Change::decode(&bytes).as_ref(), Some(change));
            for cut in 0..bytes.len() {
                assert_ne!(Change::decode(&bytes[..cut]).as_ref(), Some(change));
            }
        }
    }
}
