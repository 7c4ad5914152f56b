//! Apache's broker as far as it leaves a directory: records, tables, consume queues, checkpoint.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kerolox_engine::apache::queues::QueueWriter;
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open, write_whole};
use kerolox_log::identity::Identity;
use kerolox_log::index::queue::Entry;
use kerolox_log::read::Place;
use kerolox_protocol::record::{BLANK_SIZE, NewRecord, write_blank};

pub(crate) const DATA_DIR: &str = "/data";
pub(crate) const FILE_SIZE: u64 = 64 << 10;
/// Bytes of a consume queue's file: 64 entries.
pub(crate) const QUEUE_FILE: u64 = 64 * 20;
pub(crate) const FRESH: Identity = Identity { number: [7; 16], writer: 9 };

pub(crate) fn dir() -> &'static Path {
    Path::new(DATA_DIR)
}

pub(crate) fn record<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> NewRecord<'a> {
    let host = ([127, 0, 0, 1], 1).into();
    NewRecord {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
    }
}

/// Writes as Apache's broker does: records back to back, a blank at the end of a file.
pub(crate) struct Apache {
    pub(crate) disk: FaultDisk,
    pub(crate) at: u64,
    pub(crate) time: i64,
    pub(crate) next: BTreeMap<(String, i32), i64>,
    /// Where each record stands.
    pub(crate) places: Vec<u64>,
    of_queues: BTreeMap<(String, i32), Vec<u64>>,
}

impl Apache {
    pub(crate) fn new(disk: &FaultDisk, at: u64, time: i64) -> Apache {
        disk.create_dir(&dir().join("commitlog")).unwrap();
        disk.create_dir(&dir().join("config")).unwrap();
        let (next, places, of_queues) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Apache { disk: disk.clone(), at, time, next, places, of_queues }
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let base = at - at % FILE_SIZE;
        let path = log_file(base);
        let file =
            self.disk.open(&path, Open::Create).or_else(|_| self.disk.open(&path, Open::Write));
        let file = file.unwrap();
        file.set_size(FILE_SIZE).unwrap();
        file.write_at(&[bytes], at - base).unwrap();
    }

    pub(crate) fn put(&mut self, topic: &str, queue: i32, size: usize) {
        let body = vec![self.places.len() as u8; size];
        self.put_body(topic, queue, &body);
    }

    pub(crate) fn put_body(&mut self, topic: &str, queue: i32, body: &[u8]) {
        let new = record(topic, queue, body);
        let room = FILE_SIZE - self.at % FILE_SIZE;
        if (new.size() + BLANK_SIZE) as u64 > room {
            let mut blank = Vec::new();
            write_blank(room as usize, &mut blank);
            self.write(self.at, &blank);
            self.at += room;
        }
        let offset = self.next.entry((topic.to_owned(), queue)).or_default();
        let mut bytes = Vec::new();
        self.time += 1;
        new.write(*offset, self.at, self.time, &mut bytes);
        *offset += 1;
        self.write(self.at, &bytes);
        self.places.push(self.at);
        self.of_queues.entry((topic.to_owned(), queue)).or_default().push(self.at);
        self.at += bytes.len() as u64;
    }

    /// Tables, consume queues and checkpoint; all is on the disk then.
    pub(crate) fn leave(&self, topics: &[(&str, i32)], offsets: &str, delays: &str) {
        let config = |(name, queues): &(&str, i32)| {
            format!(
                r#""{name}":{{"order":false,"perm":6,"readQueueNums":{queues},"topicFilterType":"SINGLE_TAG","topicName":"{name}","topicSysFlag":0,"writeQueueNums":{queues}}}"#
            )
        };
        let topics = topics.iter().map(config).collect::<Vec<_>>().join(",");
        let version = r#""dataVersion":{"counter":3,"timestamp":1}"#;
        for (name, text) in [
            ("topics", format!(r#"{{{version},"topicConfigTable":{{{topics}}}}}"#)),
            (
                "subscriptionGroup",
                format!(
                    r#"{{{version},"subscriptionGroupTable":{{"g":{{"groupName":"g","retryMaxTimes":5}}}}}}"#
                ),
            ),
            ("consumerOffset", format!(r#"{{"offsetTable":{{{offsets}}}}}"#)),
            ("delayOffset", format!(r#"{{"offsetTable":{{{delays}}}}}"#)),
        ] {
            let path = dir().join("config").join(format!("{name}.json"));
            write_whole(&self.disk, &path, text.as_bytes()).unwrap();
        }
        let mut checkpoint = vec![0; 4096];
        checkpoint[..8].copy_from_slice(&self.time.to_be_bytes());
        write_whole(&self.disk, &dir().join("checkpoint"), &checkpoint).unwrap();
        self.disk.sync_all(dir()).unwrap();
    }

    /// The consume queue of a queue whose messages are all gone.
    pub(crate) fn queue_of_nothing(&self, topic: &str, queue: i32, next: i64) {
        let writer = QueueWriter::new(&self.disk, dir(), (topic, queue), QUEUE_FILE, next - 1);
        writer.unwrap().finish(next, false).unwrap();
        self.disk.sync_all(dir()).unwrap();
    }

    /// The consume queues of queues that begin at 0, but for those of the topic that is deleted.
    pub(crate) fn queues(&self) {
        for ((topic, queue), places) in
            self.of_queues.iter().filter(|((topic, _), _)| topic != "gone")
        {
            self.queue_at(topic, *queue, places);
        }
    }

    /// Removes the consume queues below a folder.
    pub(crate) fn forget_queues(&self, below: &str) {
        let dir = dir().join("consumequeue").join(below);
        for name in self.disk.names().iter().filter(|name| name.starts_with(&dir)) {
            self.disk.remove(name).unwrap();
        }
    }

    /// A consume queue that names where records stand.
    pub(crate) fn queue_at(&self, topic: &str, queue: i32, places: &[u64]) {
        self.forget_queues(&format!("{topic}/{queue}"));
        let mut writer =
            QueueWriter::new(&self.disk, dir(), (topic, queue), QUEUE_FILE, 0).unwrap();
        for (offset, at) in places.iter().enumerate() {
            let place = Place { offset: PhysicalOffset(*at), size: 100, crc: 0 };
            let entry = Entry { place, tags_code: 0, store_timestamp: 0 };
            writer.put(offset as i64, &entry, 0).unwrap();
        }
        writer.finish(places.len() as i64, true).unwrap();
        self.disk.sync_all(dir()).unwrap();
    }
}

pub(crate) fn log_file(base: u64) -> PathBuf {
    dir().join("commitlog").join(format!("{base:020}"))
}

/// Three topics over several files, one of them deleted; an empty queue; commits; delays.
pub(crate) fn directory(disk: &FaultDisk) -> Apache {
    let mut apache = Apache::new(disk, 0, 1_000_000);
    for i in 0..200 {
        apache.put(["a", "b", "gone"][i % 3], (i % 2) as i32, 900);
    }
    apache.put("SCHEDULE_TOPIC_XXXX", 2, 100);
    apache.put("SCHEDULE_TOPIC_XXXX", 2, 100);
    apache.leave(&[("a", 4), ("b", 2), ("empty", 1)], r#""a@g":{0:12,1:7},"b@g":{0:1000}"#, "3:1");
    apache.queue_of_nothing("empty", 0, 77);
    apache.queues();
    apache
}
