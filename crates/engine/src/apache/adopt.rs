//! Takes over a data directory that Apache's broker had.
//!
//! In: the directory, as that broker left it or as a kill left it. Out: which parts of the log are that
//! broker's ([`Adoption::begin`]), so that a start walks over them; and, when it has, the changes by which
//! the state becomes what that broker's tables say ([`Adoption::settle`]), for the log.
//!
//! Nothing of the directory is ours before the guard is up: killed before, all of this is done once more, and
//! Apache's broker may have the directory instead.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use kerolox_log::PhysicalOffset;
use kerolox_log::adopted::{Adopted, Run};
use kerolox_log::disk::Disk;
use kerolox_log::files::{DIR, Files};
use kerolox_log::handover::{self, GUARD, Left, Mark};
use kerolox_log::identity::Identity;
use kerolox_log::index::lookup::Blocks;
use kerolox_log::limits::{QUEUE_OFFSET_MAX, QUEUES_MAX};
use kerolox_log::recover::RecoverError;
use kerolox_log::recover::unsealed::{self, Found, Told, Watch};
use kerolox_protocol::names::{
    SCHEDULE_TOPIC, STATE_TOPIC, check_topic, is_system_group, is_system_topic,
};
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::admin::TopicConfig;

use super::queues::{self, ConsumeQueues};
use super::tables::{Committed, Tables};
use super::{ABORT, checkpoint, tables};
use crate::change::{Change, QueueKnown, deleted_topic};
use crate::config::Config;
use crate::state::{State, is_made_at_each_start};

/// What that broker derives from the log, and is no longer true.
const DERIVED: [&str; 5] = [ABORT, "abort.bak", checkpoint::NAME, "consumequeue_ext", "index"];
/// Topics whose messages only that broker knows to deliver, and what they are.
const NOT_DELIVERED: [(&str, &str); 2] =
    [("rmq_sys_wheel_timer", "timed"), ("RMQ_SYS_TRANS_HALF_TOPIC", "transactional")];

/// Why a directory cannot be taken over. It is as it was, but for what stood behind the log's end.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("taking the directory over from Apache's broker: {0}")]
    Io(#[from] io::Error),
    #[error("taking the directory over from Apache's broker: {0}")]
    Log(#[from] RecoverError),
    #[error(
        "topic {topic} of Apache's broker is of the type {kind}, which Kerolox does not have; delete it there, or give another --data-dir"
    )]
    QueueType { topic: String, kind: String },
    #[error(
        "another broker had {} since Kerolox: neither Kerolox's guard nor its mark is there, but {trace} is. Nothing is changed. If nothing of that broker is needed move {trace} away; else restore the directory from a backup",
        dir.display()
    )]
    Unclear { dir: PathBuf, trace: &'static str },
    #[error(
        "{why}, and its copy is no better: they say what Kerolox left to Apache's broker, and without them nobody can tell what that broker wrote since, nor whether it cut the log. Nothing is changed. If no other broker had {dir} since Kerolox was stopped, make an empty file {dir}/{DIR}/{GUARD} and start again: nothing is lost then. Else let Apache's broker go on with {dir}, or restore it from a backup",
        dir = dir.display()
    )]
    Mark { why: io::Error, dir: PathBuf },
    #[error(
        "Apache's broker has cut the log before {end}, where Kerolox had left it: it could not read all before, and stored other messages there. Nothing is changed. Let that broker go on with the directory, or restore it from a backup"
    )]
    Cut { end: PhysicalOffset },
    #[error(
        "Apache's broker had {}, and a name server does not take it over; give another --data-dir, or start a broker",
        dir.display()
    )]
    NoBroker { dir: PathBuf },
}

/// What is taken over.
#[derive(Debug)]
pub struct Adoption {
    /// Where Apache's broker went on.
    pub from: PhysicalOffset,
    /// Where the log goes on.
    pub end: PhysicalOffset,
    pub found: Found,
    /// What stood behind the end.
    pub cut: Option<kerolox_log::recover::Cut>,
    tables: Tables,
    /// State of our own, by the mark: that broker may have deleted the log files that tell it.
    kept: Vec<Vec<u8>>,
    /// The next offset of each of its consume queues.
    ends: BTreeMap<(String, i32), i64>,
    /// Queues of which it wrote messages.
    written: HashSet<(String, i32)>,
    /// It was stopped, not killed, and its queues tell all that it knew.
    told: bool,
}

/// Follows the search for what Apache's broker wrote.
struct Watcher<'a> {
    written: HashSet<(String, i32)>,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Watch for Watcher<'_> {
    fn record(&mut self, record: &View<'_>) {
        let at = (record.topic.to_owned(), record.queue_id);
        self.written.insert(at);
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }
}

impl Adoption {
    /// Looks whether Apache's broker had the directory since Kerolox last did, and if so finds what it wrote.
    /// `progress`: bytes of the log read, and to read.
    pub fn begin(
        files: &std::sync::Arc<Files>,
        data_dir: &Path,
        identity: Identity,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<Adoption>, AdoptError> {
        let disk = &**files.disk();
        let Some(mark) = touched(files, data_dir)? else { return Ok(None) };
        let tables = Tables::read(disk, data_dir)?;
        refuse_batch_queues(&tables)?;
        if !mark.is_end_of(files)? {
            return Err(AdoptError::Cut { end: mark.end });
        }
        let stopped = !is_there(disk, data_dir, ABORT)?;
        let in_files = !queues::are_in_rocksdb(disk, data_dir)?;
        let (ends, named) = if in_files {
            let queues = ConsumeQueues::open(disk, data_dir)?;
            (queues.ends()?, queues.last_named()?)
        } else {
            queues::ends_in_rocksdb(disk, data_dir)?
        };
        // An attempt that was not finished found others, perhaps.
        let earlier = files.adopted();
        let kept = || earlier.runs().iter().filter(|run| run.begin < mark.end).copied();
        files.set_adopted(Adopted::new(kept()));
        forget_blocks(files, data_dir, identity, mark.end)?;

        let checkpoint = checkpoint::read(disk, data_dir)?;
        let mut watcher = Watcher { written: HashSet::new(), progress };
        // That broker may have deleted more than was there.
        let from = mark.end.max(files.first().unwrap_or_default());
        let told = Told { from, checkpoint, stopped, named, named_all: in_files };
        let found = unsealed::find(files, &told, &mut watcher)?;
        let written = watcher.written;
        Adopted::check(kept().count() + found.runs.len() + 1)?;
        let (end, cut) = unsealed::end_with(files, data_dir, found.synced, found.end)?;
        let blank = Run { begin: found.end, end };
        let mut runs: Vec<Run> = kept().chain(found.runs.iter().copied()).collect();
        match runs.last_mut() {
            Some(last) if last.end == blank.begin && last.begin >= mark.end => last.end = end,
            _ => runs.push(blank),
        }
        let adopted = Adopted::new(runs);
        adopted.write(disk, data_dir)?;
        files.set_adopted(adopted);
        Ok(Some(Adoption {
            from,
            end,
            found,
            cut,
            tables,
            kept: mark.changes,
            ends,
            written,
            told: stopped && in_files,
        }))
    }

    /// Makes the state what Apache's tables say. Each change is put into the log, in this order.
    pub fn settle(
        &self,
        state: &mut State,
        config: &Config,
        put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut settling = Settling { state, put, at: self.end };
        settling.change(Change::Adopted { from: self.from.0, end: self.end.0 })?;
        for change in self.kept.iter().filter_map(|change| Change::decode(change)) {
            settling.change(change)?;
        }
        let fresh = State::new(config);
        settling.topics(self.tables.topics.as_deref(), &fresh)?;
        settling.queues(self)?;
        settling.groups(&self.tables, &fresh)?;
        settling.delays(self.tables.delays.as_deref())
    }

    /// What somebody should know.
    pub fn notes(&self, state: &State) -> Vec<String> {
        let mut notes = Vec::new();
        let tables = &self.tables;
        let there = [
            tables.topics.is_some(),
            tables.groups.is_some(),
            tables.offsets.is_some(),
            tables.delays.is_some(),
        ];
        for (name, there) in tables::FILES.iter().zip(there) {
            if !there {
                notes.push(format!("Apache's broker left no {name}: what it says stays as it was"));
            }
        }
        for (topic, kind) in NOT_DELIVERED {
            let queues = state.topics.by_name(topic).into_iter().flat_map(|t| t.used_queues());
            let count: i64 = queues.map(|(_, queue)| queue.index.next() - queue.index.min()).sum();
            if count > 0 {
                notes.push(format!(
                    "{count} {kind} messages in {topic}: this release does not deliver those that wait; they stay there for Apache's broker"
                ));
            }
        }
        notes
    }
}

/// Makes the directory ours: from now on no other broker starts on it. All that was put into the log is
/// synced.
pub fn take(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
    handover::put_guard(disk, data_dir)?;
    Mark::remove(disk, data_dir)?;
    queues::forget(disk, data_dir)?;
    DERIVED.iter().try_for_each(|name| super::remove_all(disk, &data_dir.join(name)))?;
    disk.sync_dir(data_dir)
}

/// The mark of the last stop, if Apache's broker may have had the directory since; a look that changes
/// nothing.
pub fn touched(files: &Files, data_dir: &Path) -> Result<Option<Mark>, AdoptError> {
    let disk = &**files.disk();
    if handover::is_guarded(disk, data_dir)? {
        return Ok(None);
    }
    let mark = Mark::read(disk, data_dir).map_err(|why| match why.kind() {
        io::ErrorKind::InvalidData => AdoptError::Mark { why, dir: data_dir.to_owned() },
        _ => AdoptError::Io(why),
    })?;
    if let Some(mark) = mark {
        return Ok(if is_untouched(files, data_dir, &mark)? { None } else { Some(mark) });
    }
    // A directory that is new, or from before there were guards; unless somebody took the guard away.
    for trace in [checkpoint::NAME, ABORT, "consumequeue"] {
        if is_there(disk, data_dir, trace)? {
            return Err(AdoptError::Unclear { dir: data_dir.to_owned(), trace });
        }
    }
    Ok(None)
}

fn is_there(disk: &dyn Disk, data_dir: &Path, name: &str) -> io::Result<bool> {
    Ok(disk.list(data_dir)?.iter().any(|entry| entry.name == name))
}

/// Whether all is as the mark says.
fn is_untouched(files: &Files, data_dir: &Path, mark: &Mark) -> io::Result<bool> {
    let disk = &**files.disk();
    // A directory that Kerolox never had.
    if mark.files.is_empty() {
        return Ok(false);
    }
    for left in &mark.files {
        if Left::now(disk, data_dir, &left.name)? != *left {
            return Ok(false);
        }
    }
    // It was there: a stop makes it.
    let Some((file, place)) = files.at(mark.end) else { return Ok(false) };
    let mut size = [0; 8];
    kerolox_log::disk::read_full(&*file, &mut size, place)?;
    Ok(size == [0; 8])
}

/// Consume queues of another kind, whose entries stand for several messages each.
fn refuse_batch_queues(tables: &Tables) -> Result<(), AdoptError> {
    for topic in tables.topics.iter().flatten() {
        if let Some(kind) = topic.attributes.get("queue.type")
            && kind != "SimpleCQ"
        {
            let (topic, kind) = (topic.topic_name.clone(), kind.clone());
            return Err(AdoptError::QueueType { topic, kind });
        }
    }
    Ok(())
}

/// Removes index blocks that reach beyond a position: an attempt that was not finished made them, and they
/// may end where no block ends now.
fn forget_blocks(
    files: &std::sync::Arc<Files>,
    data_dir: &Path,
    identity: Identity,
    from: PhysicalOffset,
) -> io::Result<()> {
    let blocks = Blocks::open(files.clone(), data_dir.to_owned(), identity, deleted_topic)?;
    for begin in blocks.begins() {
        let end = blocks.block(begin).map_or(u64::MAX, |block| block.head.end);
        if end > from.0 {
            blocks.remove(begin)?;
        }
    }
    Ok(())
}

/// Changes a state, and puts each change into the log.
struct Settling<'a> {
    state: &'a mut State,
    put: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    at: PhysicalOffset,
}

impl Settling<'_> {
    fn change(&mut self, change: Change<'_>) -> io::Result<()> {
        (self.put)(&change.encode())?;
        self.state.apply(&change, 0, self.at);
        Ok(())
    }

    fn topics(&mut self, topics: Option<&[TopicConfig]>, fresh: &State) -> io::Result<()> {
        let Some(topics) = topics else { return Ok(()) };
        let names: HashSet<&str> = topics.iter().map(|topic| &*topic.topic_name).collect();
        let is_known = |name: &str| {
            names.contains(name) || fresh.topics.find(name).is_some() || is_system_topic(name)
        };
        let view = self.state.topics.view();
        for name in view.keys().filter(|name| !is_known(name)) {
            self.change(Change::TopicDelete { topic: Cow::Borrowed(name) })?;
        }
        for topic in topics {
            let name = &*topic.topic_name;
            if name == STATE_TOPIC || is_made_at_each_start(name) || check_topic(name).is_err() {
                continue;
            }
            let mut topic = topic.clone();
            for queues in [&mut topic.read_queue_nums, &mut topic.write_queue_nums] {
                *queues = (*queues).clamp(0, QUEUES_MAX);
            }
            if view.get(name).is_none_or(|known| **known != topic) {
                self.change(Change::TopicPut(Cow::Owned(topic)))?;
            }
        }
        Ok(())
    }

    /// Queues of which the log holds no messages go on where they ended; and those of a topic that was
    /// made anew meanwhile do not go on with messages of the earlier one.
    fn queues(&mut self, adoption: &Adoption) -> io::Result<()> {
        // Where nothing tells how long a queue is it is as long as groups have consumed it.
        let mut ends = BTreeMap::new();
        for Committed { topic, queue, offset, .. } in adoption.tables.offsets.iter().flatten() {
            let end: &mut i64 = ends.entry((topic.clone(), *queue)).or_default();
            *end = (*end).max(*offset);
        }
        ends.extend(adoption.ends.iter().map(|(at, end)| (at.clone(), *end)));
        for ((topic, queue), end) in &ends {
            let sane = (0..QUEUES_MAX).contains(queue) && *end <= QUEUE_OFFSET_MAX;
            let Some(known) = self.state.topics.by_name(topic) else { continue };
            let (next, is_empty) = known
                .queue(*queue)
                .map_or((0, true), |q| (q.index.next(), q.index.min() == q.index.next()));
            if *end > next && is_empty && sane {
                self.queue(topic, *queue, *end)?;
            }
        }
        // One that was killed may not have noted its last messages.
        if !adoption.told || adoption.ends.is_empty() {
            return Ok(());
        }
        let mut anew = Vec::new();
        for (_, topic) in self.state.topics.iter() {
            for (queue, known) in topic.used_queues() {
                let at = (topic.name().to_owned(), queue);
                let end = adoption.ends.get(&at).copied().unwrap_or(0);
                if end < known.index.next() && !adoption.written.contains(&at) {
                    anew.push((at, end));
                }
            }
        }
        anew.into_iter().try_for_each(|((topic, queue), end)| self.queue(&topic, queue, end))
    }

    fn queue(&mut self, topic: &str, queue: i32, next: i64) -> io::Result<()> {
        let known = QueueKnown { next, min: next, origin: self.at.0, older: None };
        self.change(Change::Queue { topic: Cow::Borrowed(topic), queue, known })
    }

    fn groups(&mut self, tables: &Tables, fresh: &State) -> io::Result<()> {
        let mut settings: BTreeMap<&str, _> = BTreeMap::new();
        if let Some(groups) = &tables.groups {
            settings.extend(groups.iter().map(|group| (&*group.group_name, group)));
            let view = self.state.groups.view();
            for name in view.keys() {
                let own = fresh.groups.get(name).is_some() || is_system_group(name);
                if !own && !settings.contains_key(&**name) {
                    let group = Cow::Borrowed(&**name);
                    self.change(Change::GroupDelete { group, clean_offsets: false })?;
                }
            }
            for group in settings.values() {
                if view.get(&*group.group_name).is_none_or(|known| **known != **group) {
                    self.change(Change::GroupPut(Cow::Borrowed(group)))?;
                }
            }
        }
        let Some(offsets) = &tables.offsets else { return Ok(()) };
        let told: BTreeSet<(&str, &str, i32)> =
            offsets.iter().map(|of| (&*of.group, &*of.topic, of.queue)).collect();
        // A group with an offset that is gone loses all, and gets back what there is.
        let mut gone = BTreeSet::new();
        for (group, topic, queue, _) in self.state.offsets.iter() {
            if !told.contains(&(&**group, &**topic, queue)) {
                gone.insert(group.clone());
            }
        }
        for group in gone {
            let name = || Cow::Borrowed(&*group);
            let known = self.state.groups.get(&group).cloned();
            self.change(Change::GroupDelete { group: name(), clean_offsets: true })?;
            if let Some(known) = known {
                self.change(Change::GroupPut(Cow::Owned((*known).clone())))?;
            }
        }
        offsets.iter().try_for_each(|committed| self.offset(committed))
    }

    fn offset(&mut self, Committed { group, topic, queue, offset }: &Committed) -> io::Result<()> {
        if !(0..QUEUES_MAX).contains(queue) || !(0..=QUEUE_OFFSET_MAX).contains(offset) {
            return Ok(());
        }
        // Behind the end there is nothing to have consumed.
        let of_topic = self.state.topics.by_name(topic);
        let end = of_topic.map_or(i64::MAX, |topic| topic.range(*queue).1);
        let offset = (*offset).min(end);
        if self.state.offsets.get(group, topic, *queue) == Some(offset) {
            return Ok(());
        }
        let (group, topic) = (Cow::Borrowed(&**group), Cow::Borrowed(&**topic));
        self.change(Change::Offset { group, topic, queue: *queue, offset })
    }

    fn delays(&mut self, delays: Option<&[(u8, i64)]>) -> io::Result<()> {
        for (level, offset) in delays.unwrap_or_default() {
            let at = usize::from(*level).checked_sub(1);
            let known = at.and_then(|at| self.state.delayed.get(at)).copied();
            // Nothing is delivered that is not there: what comes next gets that offset.
            let topic = self.state.topics.by_name(SCHEDULE_TOPIC);
            let end = topic.map_or(0, |topic| topic.range(i32::from(*level) - 1).1);
            let offset = (*offset).min(end);
            if known.is_some_and(|known| known != offset) && offset >= 0 {
                self.change(Change::Delayed { level: *level, offset })?;
            }
        }
        Ok(())
    }
}
