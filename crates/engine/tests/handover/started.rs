//! Kerolox as far as a start and a stop go, and what clients see of its state.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;

use kerolox_engine::apache::adopt::{self, Adoption};
use kerolox_engine::apache::leave::{self, LeaveError, Terms};
use kerolox_engine::change::Change;
use kerolox_engine::keeper::Keeper;
use kerolox_engine::{Config, State};
use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::identity::{self, Identity};
use kerolox_log::index::lookup::Blocks;
use kerolox_log::recover::{self, Additions, Report};
use kerolox_protocol::record::View;

use super::apache::{FILE_SIZE, FRESH, QUEUE_FILE, dir, record};

/// A broker as far as a start goes.
pub(crate) struct Started {
    pub(crate) state: State,
    pub(crate) resume: Resume,
    pub(crate) report: Report,
    pub(crate) files: Arc<Files>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) identity: Identity,
    pub(crate) adoption: Option<Adoption>,
}

/// What a start of the server does. `Err`: the power went.
pub(crate) fn try_start(disk: &FaultDisk) -> Result<Started, String> {
    pub(crate) fn text(why: impl std::fmt::Display) -> String {
        why.to_string()
    }
    let (identity, file_size) =
        identity::open(disk, dir(), Some(FILE_SIZE), FRESH).map_err(text)?;
    let files = Files::open(Arc::new(disk.clone()), dir(), file_size).map_err(text)?;
    let files = Arc::new(files);
    let config = Config::default();
    let adoption = Adoption::begin(&files, dir(), identity, &mut |_, _| {}).map_err(text)?;
    let found = Keeper::open(files.clone(), dir().to_owned(), identity, &config).map_err(text)?;
    assert_eq!(found.oddities, Vec::<String>::new());
    let mut state = found.state;
    let (mut resume, report) =
        recover::recover(&files, dir(), &identity, found.origin, &mut state).map_err(text)?;
    if let Some(adoption) = &adoption {
        let mut additions = Additions::new(&files, &identity, resume);
        adoption.settle(&mut state, &config, &mut |change| additions.add(change)).map_err(text)?;
        resume = additions.finish().map_err(text)?;
    }
    adopt::take(disk, dir()).map_err(text)?;
    let blocks = found.keeper.blocks;
    Ok(Started { state, resume, report, files, blocks, identity, adoption })
}

pub(crate) fn start(disk: &FaultDisk) -> Started {
    try_start(disk).unwrap()
}

impl Started {
    /// Appends messages as a running broker does, and returns where the log ends.
    pub(crate) fn append(&mut self, topic: &str, queue: i32, count: i64) -> PhysicalOffset {
        let mut log = Appender::new(self.identity, FILE_SIZE, self.resume);
        let mut writer = Writer::new(self.files.clone(), self.resume.next);
        let next = |state: &State| {
            let topic = state.topics.by_name(topic).unwrap();
            topic.queue(queue).map_or(0, |queue| queue.index.next())
        };
        for i in 0..count {
            let offset = next(&self.state);
            log.append(&record(topic, queue, &[i as u8; 300]), offset, 2_000_000 + i).unwrap();
            for round in log.take_rounds() {
                writer.write([&round]).unwrap();
                use kerolox_log::recover::Replay;
                let view = View::parse(&round.bytes).unwrap();
                self.state.record(&view, kerolox_log::record_crc(view.bytes));
                self.resume.next = round.next;
            }
            self.resume.before = log.before();
        }
        writer.sync().unwrap();
        self.resume.next
    }

    /// Changes the state as a running broker does.
    pub(crate) fn change(&mut self, change: &Change<'_>) {
        let mut additions = Additions::new(&self.files, &self.identity, self.resume);
        additions.add(&change.encode()).unwrap();
        self.resume = additions.finish().unwrap();
        self.state.apply(change, 0, self.resume.next);
    }

    pub(crate) fn stop(self) -> Summary {
        self.try_stop().unwrap()
    }

    pub(crate) fn try_stop(self) -> Result<Summary, LeaveError> {
        let summary = summary(&self.state);
        let delay_levels_ms = Config::default().delay_levels_ms;
        let terms = Terms {
            queue_file_bytes: QUEUE_FILE,
            delay_levels_ms,
            now: 5_000_000,
            far: false,
            in_rocksdb: false,
        };
        leave::leave(&self.blocks, dir(), &self.state, self.resume.next, &terms)?;
        Ok(summary)
    }
}

pub(crate) type Summary = BTreeMap<String, String>;

/// What clients see of a state.
pub(crate) fn summary(state: &State) -> Summary {
    let mut seen = Summary::new();
    for (name, config) in &state.topics.view() {
        seen.insert(format!("topic {name}"), format!("{config:?}"));
    }
    for (_, topic) in state.topics.iter() {
        for (queue, known) in topic.used_queues() {
            let range = (known.index.min(), known.index.next());
            seen.insert(format!("queue {} {queue}", topic.name()), format!("{range:?}"));
        }
    }
    for (name, config) in &state.groups.view() {
        seen.insert(format!("group {name}"), format!("{config:?}"));
    }
    for (group, topic, queue, offset) in state.offsets.iter() {
        seen.insert(format!("offset {group} {topic} {queue}"), offset.to_string());
    }
    seen.insert("kv".to_owned(), format!("{:?}", state.kv));
    seen.insert("settings".to_owned(), format!("{:?}", state.settings));
    seen.insert("delays".to_owned(), format!("{:?}", state.delayed));
    seen
}

pub(crate) fn range(seen: &Summary, queue: &str) -> String {
    seen.get(&format!("queue {queue}")).cloned().unwrap_or_default()
}

/// Counts records.
pub(crate) struct Count(pub(crate) u64);

impl recover::Replay for Count {
    fn record(&mut self, _: &View<'_>, _: u32) {
        self.0 += 1;
    }
    fn change(&mut self, _: &[u8], _: PhysicalOffset) {}
    fn progress(&mut self, _: u64, _: u64) {}
}
