//! Directories as an earlier server left them, written in no time and with any store times: for
//! tests of what a start and retention make of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::real::RealDisk;
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::identity::{self, Identity};
use kerolox_log::seal::Link;
use kerolox_protocol::record::NewRecord;

use super::call::encoded;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_millis() as i64
}

/// A log in the making, without any index.
pub(crate) struct Past {
    log: Appender,
    writer: Writer,
    next: HashMap<String, i64>,
}

impl Past {
    /// In a new directory, with files of this size.
    pub(crate) fn new(dir: &Path, file_size: u64) -> Past {
        std::fs::create_dir_all(dir).expect("the folder can be written");
        let fresh = Identity { number: [5; 16], writer: 6 };
        let (identity, _) =
            identity::open(&RealDisk, dir, Some(file_size), fresh).expect("it is empty");
        let files = Files::open(Arc::new(RealDisk), dir, file_size).expect("it can be written");
        let resume =
            Resume { next: PhysicalOffset(0), before: Link::NONE, store_timestamp: 0, start: 1 };
        Past {
            log: Appender::new(identity, file_size, resume),
            writer: Writer::new(Arc::new(files), PhysicalOffset(0)),
            next: HashMap::new(),
        }
    }

    /// Stores a message in queue 0 of a topic; returns its queue offset.
    pub(crate) fn put(&mut self, topic: &str, key: &str, body: &[u8], at: i64) -> i64 {
        self.put_with(topic, &[("KEYS", key)], body, at)
    }

    /// The same, with any properties.
    pub(crate) fn put_with(
        &mut self,
        topic: &str,
        properties: &[(&str, &str)],
        body: &[u8],
        at: i64,
    ) -> i64 {
        let host = "127.0.0.1:1".parse().expect("an address");
        let properties = encoded(properties);
        let record = NewRecord {
            topic,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: at,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: properties.as_bytes(),
        };
        let next = self.next.entry(topic.to_owned()).or_default();
        let offset = *next;
        *next += 1;
        self.log.append(&record, offset, at).expect("it fits");
        if self.log.has_closed() {
            self.write();
        }
        offset
    }

    /// Where the log ends so far.
    pub(crate) fn end(&self) -> u64 {
        self.log.end().0
    }

    fn write(&mut self) {
        for round in self.log.take_rounds() {
            self.writer.write([&round]).expect("there is room");
        }
        self.writer.sync().expect("the disk is sound");
        self.log.set_flushed(self.writer.watermarks().flushed);
    }

    /// A clean stop: the last seal says that all before it is flushed.
    pub(crate) fn stop(mut self) {
        self.write();
        for round in self.log.take_last_seal() {
            self.writer.write([&round]).expect("there is room");
        }
        self.writer.sync().expect("the disk is sound");
    }
}
