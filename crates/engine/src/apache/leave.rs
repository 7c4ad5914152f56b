//! Leaves a data directory to Apache's broker: at a clean stop, or later by `kerolox log hand-over`.
//!
//! In: the state at the end of the log, and the index. Out: that broker's tables and consume queues, the mark,
//! and no guard. That broker is not left to make the queues of the log: 5.5.0 looks at the last ten log files alone,
//! 4.9.8 would deliver delayed messages at once, and neither knows which topics were deleted, or made anew.
//!
//! A file `abort` says that it has to look at the log itself, too, for its index of keys and for topics that it
//! compacts. Without it 5.5.0 passes over the first record that follows.

use std::io;
use std::path::Path;

use kerolox_log::PhysicalOffset;
use kerolox_log::disk::write_whole;
use kerolox_log::handover::{self, Left, Mark};
use kerolox_log::index::block::Chain;
use kerolox_log::index::lookup::{AskError, Blocks};
use kerolox_log::index::queue::Entry;
use kerolox_protocol::names::SCHEDULE_TOPIC;
use kerolox_protocol::remoting::admin::DataVersion;

use super::queues::{self, QueueWriter};
use super::{ABORT, checkpoint, remove_all, tables};
use crate::state::State;
use crate::topics::QueueState;

/// Files that Apache's broker changes when it runs: if one is not as it was left, that broker did.
const WATCHED: [&str; 6] = [
    tables::FILES[0],
    tables::FILES[1],
    tables::FILES[2],
    tables::FILES[3],
    checkpoint::NAME,
    ABORT,
];

/// How much there is to leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub messages: u64,
    pub queues: u64,
}

/// Why a directory cannot be left. The guard stays: Apache's broker does not start on it.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error(
        "Apache's broker has its queues in a RocksDB, and looks at {FILES_SEEN} log files for what that lacks; here are {files}. Set commitLogRecoverMaxNum={files} there, and run kerolox log hand-over"
    )]
    Far { files: usize },
    #[error(
        "{queues} queues have no messages left, and a new RocksDB of Apache's broker would number them from 0 again, below what groups have consumed. Let it start with storeType=default; or run kerolox log hand-over if that may be"
    )]
    Empty { queues: usize },
    #[error(
        "Apache's broker keeps the queues of a topic in a folder of its name, and {topic} is longer than a name may be on a disk: {NAME_MAX} bytes. Delete the topic, or its group, if that broker is to have the directory"
    )]
    Name { topic: String },
}

/// Bytes of a file's name.
const NAME_MAX: usize = 255;

/// Log files at the end that 5.5.0 looks at, unless it is told otherwise.
const FILES_SEEN: usize = 10;

/// How Apache's broker is configured, and when this is.
#[derive(Debug, Clone)]
pub struct Terms {
    /// `mappedFileSizeConsumeQueue`, in bytes.
    pub queue_file_bytes: u64,
    /// `messageDelayLevel`, in ms.
    pub delay_levels_ms: Vec<i64>,
    /// ms since 1970.
    pub now: i64,
    /// Whether Apache's broker is configured to look at as many log files as it must.
    pub far: bool,
    /// `storeType=defaultRocksDB`: it keeps its queues in a RocksDB, or will.
    pub in_rocksdb: bool,
}

/// Entries of a queue that are in memory at once.
const STEP: usize = 8192;

/// How much there is to leave.
pub fn amount(state: &State) -> Amount {
    let queues = state.topics.iter().flat_map(|(_, topic)| topic.used_queues());
    let add = |sum: Amount, (_, queue): (i32, &QueueState)| Amount {
        messages: sum.messages + (queue.visible - queue.index.min()).max(0) as u64,
        queues: sum.queues + 1,
    };
    queues.fold(Amount::default(), add)
}

impl LeaveError {
    /// The operating system's error behind this one, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            LeaveError::Io(source) => Some(source),
            LeaveError::Ask(why) => why.io(),
            LeaveError::Far { .. } | LeaveError::Empty { .. } | LeaveError::Name { .. } => None,
        }
    }
}

/// Leaves the directory, whose log ends at `end`: all of it is synced, and nobody writes it any more. After an
/// error it is ours as before.
pub fn leave(
    blocks: &Blocks,
    data_dir: &Path,
    state: &State,
    end: PhysicalOffset,
    terms: &Terms,
) -> Result<(), LeaveError> {
    let left = write_all(blocks, data_dir, state, end, terms);
    if left.is_err() {
        // Where the disk is full the next start needs the room.
        let _ = queues::forget(&**blocks.files().disk(), data_dir);
    }
    left
}

fn write_all(
    blocks: &Blocks,
    data_dir: &Path,
    state: &State,
    end: PhysicalOffset,
    terms: &Terms,
) -> Result<(), LeaveError> {
    let files = blocks.files();
    let disk = &**files.disk();
    remove_all(disk, &data_dir.join("index"))?;
    queues::forget(disk, data_dir)?;
    let known = queues::are_in_rocksdb(disk, data_dir)?;
    let of_files = !known && !terms.in_rocksdb;
    let behind = if known { files.adopted().end().0 } else { 0 };
    let unseen = files.bases().iter().filter(|base| *base + files.file_size() > behind).count();
    if !of_files && !terms.far && unseen > FILES_SEEN {
        return Err(LeaveError::Far { files: unseen + 1 });
    }
    if !of_files && !known && !terms.far {
        let queues = state.topics.iter().flat_map(|(_, topic)| topic.used_queues());
        let is_empty = |(_, queue): &(i32, &QueueState)| {
            queue.visible > 0 && queue.index.min() >= queue.visible
        };
        let empty = queues.filter(is_empty).count();
        if empty > 0 {
            return Err(LeaveError::Empty { queues: empty });
        }
    }
    for (_, topic) in state.topics.iter().filter(|_| of_files) {
        let (name, mut queues) = (topic.name(), topic.used_queues());
        if name.len() > NAME_MAX && queues.any(|(_, queue)| queue.visible > 0) {
            return Err(LeaveError::Name { topic: name.to_owned() });
        }
        for (queue, known) in topic.used_queues() {
            write_queue(blocks, data_dir, (topic.name(), queue), known, terms)?;
        }
    }
    let version = DataVersion { counter: terms.now, state_version: 0, timestamp: terms.now };
    tables::write(disk, data_dir, state, version)?;
    checkpoint::clear(disk, data_dir)?;
    write_whole(disk, &data_dir.join(ABORT), b"")?;
    // Behind a full file Apache's broker looks for the next one.
    files.at_or_make(end)?;
    disk.sync_all(data_dir)?;
    let left = WATCHED.iter().map(|name| Left::now(disk, data_dir, name));
    // No table of that broker holds these, and it may delete the log files that do.
    let changes = state.kept_changes().map(|change| change.encode()).collect();
    let tail = handover::tail(files, end)?;
    let mark = Mark { end, files: left.collect::<io::Result<_>>()?, tail, changes };
    mark.write(disk, data_dir)?;
    handover::remove_guard(disk, data_dir)?;
    Ok(())
}

fn write_queue(
    blocks: &Blocks,
    data_dir: &Path,
    of: (&str, i32),
    known: &QueueState,
    terms: &Terms,
) -> Result<(), LeaveError> {
    let index = &known.index;
    // What came behind the log's end was never acknowledged.
    let next = known.visible;
    let min = index.min().min(next);
    if next == 0 {
        return Ok(());
    }
    // Of an empty queue the last entry stands for all.
    let disk = &**blocks.files().disk();
    let mut writer =
        QueueWriter::new(disk, data_dir, of, terms.queue_file_bytes, min.min(next - 1))?;
    // The queue of a level, whose entries say when they are due.
    let level = usize::try_from(of.1).ok().filter(|_| of.0 == SCHEDULE_TOPIC);
    let delay = level.and_then(|level| terms.delay_levels_ms.get(level));
    let tag = |entry: &Entry| match delay {
        Some(delay) => entry.store_timestamp + delay,
        None => i64::from(entry.tags_code),
    };
    let mut last_there = None;
    let mut put = |offset: i64, entry: &Entry| {
        last_there = (entry.place.size > 0).then_some(offset);
        writer.put(offset, entry, tag(entry))
    };
    let here = index.first_here().min(next);
    let mut at = min;
    while let Some(older) = index.older().filter(|_| at < here) {
        let chain = Chain { newest: older.link, origin: index.origin() };
        let found = blocks.ask(|blocks| blocks.entries(of, chain, at, STEP))?;
        let before = at;
        for (offset, entry) in found.into_iter().take_while(|(offset, _)| *offset < here) {
            put(offset, &entry)?;
            at = offset + 1;
        }
        if at == before {
            break;
        }
    }
    for (offset, entry) in index.range(here, next) {
        put(offset, &entry)?;
    }
    let is_last_there = last_there == Some(next - 1);
    writer.finish(next, is_last_there)?;
    Ok(())
}
