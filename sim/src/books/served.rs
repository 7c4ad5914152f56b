//! Records as a reply holds them.
//!
//! In: the body of a pull's or a query's answer. Out: what the books compare.

use kerolox_protocol::names::{DLQ_PREFIX, RETRY_PREFIX, SCHEDULE_TOPIC};
use kerolox_protocol::properties;
use kerolox_protocol::record::{self, View};
use kerolox_protocol::remoting::reply::Reply;

use crate::violation::{Checked, ensure};

/// The property that names a message of the simulation.
pub(crate) const ID: &str = "SIM_ID";

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) position: u64,
    pub(crate) size: u64,
    /// CRC32 of the whole record.
    pub(crate) crc: u32,
    pub(crate) topic: String,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) times: i32,
    pub(crate) stored_at: i64,
    pub(crate) id: u64,
    pub(crate) unique: String,
    pub(crate) tag: String,
    /// Where it goes, or came from, if it was delayed.
    pub(crate) real_topic: Option<String>,
    pub(crate) body_crc: u32,
    pub(crate) body_size: usize,
}

/// How a record came into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A producer sent it; it may wait in the schedule topic.
    Sent,
    /// Delayed, and now stored in its real topic.
    Delivered,
    /// A consumer gave it back; it waits in the schedule topic.
    GivenBack,
    /// A consumer gave it back once too often.
    DeadLetter,
}

impl Served {
    fn read(view: &View<'_>) -> Checked<Served> {
        let at = view.physical_offset;
        ensure!(view.body_is_sound(), "the record at {at} has a body that its CRC does not fit");
        let get = |name| properties::get(view.properties, name);
        let id = get(ID).and_then(|id| id.parse().ok());
        ensure!(id.is_some(), "the record at {at} (topic {}) was never sent", view.topic);
        Ok(Served {
            position: at,
            size: view.bytes.len() as u64,
            crc: crc32fast::hash(view.bytes),
            topic: view.topic.to_owned(),
            queue: view.queue_id,
            offset: view.queue_offset,
            times: view.reconsume_times,
            stored_at: view.store_timestamp,
            id: id.unwrap_or(0),
            unique: get(properties::UNIQ_KEY).unwrap_or("").to_owned(),
            tag: get(properties::TAGS).unwrap_or("").to_owned(),
            real_topic: get(properties::REAL_TOPIC).map(str::to_owned),
            body_crc: crc32fast::hash(view.body),
            body_size: view.body.len(),
        })
    }

    /// Every record in a reply's body, which holds nothing else.
    pub(crate) fn all(reply: &Reply) -> Checked<Vec<Served>> {
        let mut all = Vec::new();
        for slice in reply.body.slices() {
            let mut taken = 0;
            for view in record::walk(slice) {
                taken += view.bytes.len();
                all.push(Served::read(&view)?);
            }
            ensure!(taken == slice.len(), "a reply holds bytes that are no record");
        }
        Ok(all)
    }

    /// How it came into the log.
    pub(crate) fn kind(&self) -> Kind {
        let retry = self.real_topic.as_ref().is_some_and(|topic| topic.starts_with(RETRY_PREFIX));
        match &self.real_topic {
            _ if self.topic.starts_with(DLQ_PREFIX) => Kind::DeadLetter,
            Some(_) if self.topic == SCHEDULE_TOPIC && retry => Kind::GivenBack,
            Some(_) if self.topic != SCHEDULE_TOPIC => Kind::Delivered,
            _ => Kind::Sent,
        }
    }

    /// Where it is, for a report.
    pub(crate) fn place(&self) -> String {
        let Served { topic, queue, offset, position, .. } = self;
        format!("{topic}/{queue}:{offset} (position {position})")
    }
}
