//! A data directory changes hands, on a simulated disk: what a broker wrote that knows no seals is taken
//! over whole, whatever kills the take-over; and what is left to that broker says the same.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kerolox_engine::apache::adopt::{self, Adoption};
use kerolox_engine::apache::leave::{self, Terms};
use kerolox_engine::apache::queues::{ConsumeQueues, QueueWriter};
use kerolox_engine::change::Change;
use kerolox_engine::keeper::Keeper;
use kerolox_engine::{Config, State};
use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::fault::{FaultDisk, Faults, Rng};
use kerolox_log::disk::{Disk, Open, write_whole};
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::handover;
use kerolox_log::identity::{self, Identity};
use kerolox_log::index::lookup::Blocks;
use kerolox_log::index::queue::Entry;
use kerolox_log::read::Place;
use kerolox_log::recover::{self, Additions, Report};
use kerolox_log::survey::survey;
use kerolox_protocol::record::{BLANK_SIZE, NewRecord, View, write_blank};

const DATA_DIR: &str = "/data";
const FILE_SIZE: u64 = 64 << 10;
/// Bytes of a consume queue's file: 64 entries.
const QUEUE_FILE: u64 = 64 * 20;
const FRESH: Identity = Identity { number: [7; 16], writer: 9 };

fn dir() -> &'static Path {
    Path::new(DATA_DIR)
}

fn record<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> NewRecord<'a> {
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
struct Apache {
    disk: FaultDisk,
    at: u64,
    time: i64,
    next: BTreeMap<(String, i32), i64>,
    /// Where each record stands.
    places: Vec<u64>,
}

impl Apache {
    fn new(disk: &FaultDisk, at: u64, time: i64) -> Apache {
        disk.create_dir(&dir().join("commitlog")).unwrap();
        disk.create_dir(&dir().join("config")).unwrap();
        let (disk, next, places) = (disk.clone(), BTreeMap::new(), Vec::new());
        Apache { disk, at, time, next, places }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let base = at - at % FILE_SIZE;
        let path = log_file(base);
        let file =
            self.disk.open(&path, Open::Create).or_else(|_| self.disk.open(&path, Open::Write));
        let file = file.unwrap();
        file.set_size(FILE_SIZE).unwrap();
        file.write_at(&[bytes], at - base).unwrap();
    }

    fn put(&mut self, topic: &str, queue: i32, size: usize) {
        let body = vec![self.places.len() as u8; size];
        let new = record(topic, queue, &body);
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
        self.at += bytes.len() as u64;
    }

    /// Tables, consume queues and checkpoint; all is on the disk then.
    fn leave(&self, topics: &[(&str, i32)], offsets: &str, delays: &str) {
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
    fn queue_of_nothing(&self, topic: &str, queue: i32, next: i64) {
        let writer = QueueWriter::new(&self.disk, dir(), (topic, queue), QUEUE_FILE, next - 1);
        writer.unwrap().finish(next, false).unwrap();
        self.disk.sync_all(dir()).unwrap();
    }

    /// A consume queue that names where records stand.
    fn queue_at(&self, topic: &str, places: &[u64]) {
        let mut writer = QueueWriter::new(&self.disk, dir(), (topic, 0), QUEUE_FILE, 0).unwrap();
        for (offset, at) in places.iter().enumerate() {
            let place = Place { offset: PhysicalOffset(*at), size: 100, crc: 0 };
            let entry = Entry { place, tags_code: 0, store_timestamp: 0 };
            writer.put(offset as i64, &entry, 0).unwrap();
        }
        writer.finish(places.len() as i64, true).unwrap();
        self.disk.sync_all(dir()).unwrap();
    }
}

fn log_file(base: u64) -> PathBuf {
    dir().join("commitlog").join(format!("{base:020}"))
}

/// A broker as far as a start goes.
struct Started {
    state: State,
    resume: Resume,
    report: Report,
    files: Arc<Files>,
    blocks: Arc<Blocks>,
    identity: Identity,
    adoption: Option<Adoption>,
}

/// What a start of the server does. `Err`: the power went.
fn try_start(disk: &FaultDisk) -> Result<Started, String> {
    fn text(why: impl std::fmt::Display) -> String {
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

fn start(disk: &FaultDisk) -> Started {
    try_start(disk).unwrap()
}

impl Started {
    /// Appends messages as a running broker does, and returns where the log ends.
    fn append(&mut self, topic: &str, queue: i32, count: i64) -> PhysicalOffset {
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

    fn stop(self) -> Summary {
        let summary = summary(&self.state);
        let delay_levels_ms = Config::default().delay_levels_ms;
        let terms = Terms {
            queue_file_bytes: QUEUE_FILE,
            delay_levels_ms,
            now: 5_000_000,
            far: false,
            in_rocksdb: false,
        };
        leave::leave(&self.blocks, dir(), &self.state, self.resume.next, &terms).unwrap();
        summary
    }
}

type Summary = BTreeMap<String, String>;

/// What clients see of a state.
fn summary(state: &State) -> Summary {
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
    seen.insert("delays".to_owned(), format!("{:?}", state.delayed));
    seen
}

fn range(seen: &Summary, queue: &str) -> String {
    seen.get(&format!("queue {queue}")).cloned().unwrap_or_default()
}

/// Three topics over several files, one of them deleted; an empty queue; commits; delays.
fn directory(disk: &FaultDisk) -> Apache {
    let mut apache = Apache::new(disk, 0, 1_000_000);
    for i in 0..200 {
        apache.put(["a", "b", "gone"][i % 3], (i % 2) as i32, 900);
    }
    apache.put("SCHEDULE_TOPIC_XXXX", 2, 100);
    apache.put("SCHEDULE_TOPIC_XXXX", 2, 100);
    apache.leave(&[("a", 4), ("b", 2), ("empty", 1)], r#""a@g":{0:12,1:7},"b@g":{0:1000}"#, "3:1");
    apache.queue_of_nothing("empty", 0, 77);
    apache
}

#[test]
fn all_of_apaches_directory_is_taken_over_and_left_again() {
    let disk = FaultDisk::default();
    let apache = directory(&disk);
    let mut started = start(&disk);
    let adoption = started.adoption.as_ref().unwrap();
    assert_eq!((adoption.from.0, adoption.end.0), (0, apache.at));
    assert_eq!((adoption.found.records, &adoption.found.lost), (202, &Vec::new()));
    let seen = summary(&started.state);
    assert_eq!(range(&seen, "a 0"), "(0, 34)");
    assert_eq!(range(&seen, "empty 0"), "(77, 77)");
    assert_eq!(range(&seen, "SCHEDULE_TOPIC_XXXX 2"), "(0, 2)");
    assert!(!seen.contains_key("topic gone") && seen["group g"].contains("retry_max_times: 5"));
    assert_eq!([&seen["offset g a 0"], &seen["offset g a 1"]], ["12", "7"]);
    // Nobody has consumed what is not there.
    assert_eq!((&*range(&seen, "b 0"), &*seen["offset g b 0"]), ("(0, 33)", "33"));
    assert!(seen["delays"].starts_with("[0, 0, 1, 0"), "{}", seen["delays"]);
    assert!(handover::is_guarded(&disk, dir()).unwrap());

    // A start that finds nothing new knows the same, and so does one after that.
    for _ in 0..2 {
        let again = start(&disk);
        assert!(again.adoption.is_none());
        assert_eq!(summary(&again.state), seen);
        assert_eq!((again.report.cut, again.report.lost), (None, Vec::new()));
    }
    let end = started.append("empty", 0, 3);
    let left = started.stop();
    assert_eq!(range(&left, "empty 0"), "(77, 80)");
    assert!(!handover::is_guarded(&disk, dir()).unwrap());
    let ends = ConsumeQueues::open(&disk, dir()).unwrap().ends().unwrap();
    let of = |topic: &str, queue| ends.get(&(topic.to_owned(), queue)).copied();
    assert_eq!([of("a", 0), of("empty", 0), of("gone", 0)], [Some(34), Some(80), None]);
    // Nobody was there meanwhile.
    let again = start(&disk);
    assert!(again.adoption.is_none());
    assert_eq!(summary(&again.state), left);
    assert_eq!(again.report.end, end);
}

#[test]
fn what_apache_adds_to_our_log_is_taken_over() {
    let disk = FaultDisk::default();
    directory(&disk);
    let mut started = start(&disk);
    let end = started.append("a", 3, 100);
    started.stop();
    // It deletes b and makes it anew, and a group's commit is gone.
    let mut apache = Apache::new(&disk, end.0, 3_000_000);
    apache.next = [(("a".to_owned(), 0), 34), (("empty".to_owned(), 0), 77)].into();
    for i in 0..100 {
        apache.put(["a", "empty", "new"][i % 3], 0, 700);
    }
    apache.leave(&[("a", 4), ("b", 2), ("empty", 1), ("new", 1)], r#""a@g":{0:30}"#, "3:2");
    disk.remove(&dir().join("abort")).unwrap();
    for queue in 0..2 {
        let path = dir().join("consumequeue/b").join(queue.to_string());
        disk.remove(&path.join(format!("{:020}", 0))).unwrap();
    }
    let started = start(&disk);
    let seen = summary(&started.state);
    let adoption = started.adoption.as_ref().unwrap();
    assert_eq!((adoption.from, adoption.end.0), (end, apache.at));
    assert_eq!(range(&seen, "a 0"), "(0, 68)");
    assert_eq!(range(&seen, "a 3"), "(0, 100)");
    assert_eq!(range(&seen, "b 0"), "(0, 0)");
    assert_eq!(range(&seen, "empty 0"), "(77, 110)");
    assert_eq!(range(&seen, "new 0"), "(0, 33)");
    assert_eq!(seen["offset g a 0"], "30");
    assert!(!seen.contains_key("offset g a 1") && seen.contains_key("group g"));
    // The log alone tells it, with the runs that two brokers wrote in turns.
    let mut count = Count(0);
    let files = Files::open(Arc::new(disk.clone()), dir(), FILE_SIZE).unwrap();
    let found = survey(&files, &FRESH, None, &mut count).unwrap();
    assert_eq!((count.0, found.lost, found.behind_end), (402, Vec::new(), 0));
    assert_eq!(summary(&start(&disk).state), seen);
}

struct Count(u64);

impl recover::Replay for Count {
    fn record(&mut self, _: &View<'_>, _: u32) {
        self.0 += 1;
    }
    fn change(&mut self, _: &[u8], _: PhysicalOffset) {}
    fn progress(&mut self, _: u64, _: u64) {}
}

#[test]
fn a_take_over_that_a_power_cut_ends_is_done_once_more() {
    let whole = FaultDisk::default();
    directory(&whole);
    let expected = summary(&start(&whole).state);
    let mut cut = 0;
    for calls in 0.. {
        let disk = FaultDisk::default();
        directory(&disk);
        disk.set_faults(Faults { power_off_in: Some(calls), ..Faults::default() });
        if try_start(&disk).is_ok() {
            break;
        }
        cut += 1;
        disk.power_cycle(&mut Rng(calls));
        let started = start(&disk);
        assert_eq!(summary(&started.state), expected, "cut at call {calls}");
        assert_eq!(started.report.lost, Vec::new(), "cut at call {calls}");
        drop(started);
        assert_eq!(summary(&start(&disk).state), expected, "cut at call {calls}");
    }
    assert!(cut > 30, "{cut}");
}

#[test]
fn a_torn_end_is_set_aside_and_damage_is_stepped_over() {
    // Behind the checkpoint's time: the last record was never whole.
    let disk = FaultDisk::default();
    let mut apache = directory(&disk);
    apache.put("a", 0, 900);
    disk.sync_all(dir()).unwrap();
    let last = *apache.places.last().unwrap();
    disk.flip(&log_file(last - last % FILE_SIZE), (last % FILE_SIZE + 100) * 8);
    let started = start(&disk);
    let adoption = started.adoption.unwrap();
    assert_eq!((adoption.end.0, adoption.found.records), (last, 202));
    assert!(adoption.cut.is_some_and(|cut| cut.from.0 == last));
    assert_eq!(adoption.found.lost, Vec::new());

    // Before it: damage, behind which a queue, or else the next file, tells where the log goes on.
    for by_queue in [true, false] {
        let disk = FaultDisk::default();
        let apache = directory(&disk);
        let damaged = apache.places[20];
        // The size of the record.
        disk.flip(&log_file(0), damaged * 8);
        if by_queue {
            apache.queue_at("a", &apache.places);
        }
        let started = start(&disk);
        let behind = if by_queue { apache.places[21] } else { FILE_SIZE };
        let found = started.adoption.unwrap().found;
        let lost: Vec<_> = found.lost.iter().map(|lost| (lost.begin.0, lost.end.0)).collect();
        assert_eq!(lost, [(damaged, behind)], "{by_queue}");
        assert_eq!(found.end.0, apache.at);
        let skipped = apache.places.iter().filter(|at| (damaged..behind).contains(at)).count();
        assert_eq!(found.records as usize, apache.places.len() - skipped);
        // The other messages keep their offsets, at the next start, too.
        for _ in 0..2 {
            let seen = summary(&start(&disk).state);
            assert_eq!(range(&seen, "a 0"), "(0, 34)", "{by_queue}");
        }
    }
}

/// Without consume queues, as with RocksDB, one flipped bit took the rest of the file.
#[test]
fn a_message_that_is_damaged_takes_no_other_one_along() {
    let disk = FaultDisk::default();
    let apache = directory(&disk);
    let damaged = apache.places[20];
    disk.flip(&log_file(0), (damaged + 300) * 8);
    let found = start(&disk).adoption.unwrap().found;
    let lost: Vec<_> = found.lost.iter().map(|lost| (lost.begin.0, lost.end.0)).collect();
    assert_eq!((lost, found.records), (vec![(damaged, apache.places[21])], 201));
    assert_eq!(range(&summary(&start(&disk).state), "a 0"), "(0, 34)");
}

#[test]
fn later_damage_to_what_apache_wrote_takes_one_message() {
    let disk = FaultDisk::default();
    let apache = directory(&disk);
    let before = summary(&start(&disk).state);
    let damaged = apache.places[30];
    disk.flip(&log_file(damaged - damaged % FILE_SIZE), (damaged % FILE_SIZE + 200) * 8);
    let files = Files::open(Arc::new(disk.clone()), dir(), FILE_SIZE).unwrap();
    let mut count = Count(0);
    let found = survey(&files, &FRESH, None, &mut count).unwrap();
    let lost: Vec<_> = found.lost.iter().map(|lost| (lost.begin.0, lost.end.0)).collect();
    assert_eq!((count.0, lost), (201, vec![(damaged, apache.places[31])]));
    assert_eq!(summary(&start(&disk).state), before);
}

#[test]
fn a_table_that_is_none_ends_the_start_and_nothing_is_changed() {
    for (name, text) in [
        ("topics.json", "{\"topicConfigTable\":[1"),
        ("topics.json", "{\"topics\":{}}"),
        ("consumerOffset.json", "{\"offsetTable\":{\"a@g\":{0:\"x\"}}}"),
    ] {
        let disk = FaultDisk::default();
        directory(&disk);
        write_whole(&disk, &dir().join("config").join(name), text.as_bytes()).unwrap();
        let why = try_start(&disk).err().unwrap();
        assert!(why.contains(name), "{why}");
        assert!(!handover::is_guarded(&disk, dir()).unwrap());
    }
    // As Apache's broker does: an empty one is read from its copy.
    let disk = FaultDisk::default();
    directory(&disk);
    let path = dir().join("config/topics.json");
    let whole = disk.content(&path).unwrap();
    write_whole(&disk, &path, b"").unwrap();
    write_whole(&disk, &dir().join("config/topics.json.bak"), &whole).unwrap();
    assert!(summary(&start(&disk).state).contains_key("topic a"));
}

#[test]
fn queues_of_another_kind_are_refused() {
    let disk = FaultDisk::default();
    directory(&disk);
    let text =
        r#"{"topicConfigTable":{"t":{"topicName":"t","attributes":{"queue.type":"BatchCQ"}}}}"#;
    write_whole(&disk, &dir().join("config/topics.json"), text.as_bytes()).unwrap();
    let why = try_start(&disk).err().unwrap();
    assert!(why.contains("topic t of Apache's broker is of the type BatchCQ"), "{why}");
}

#[test]
fn what_only_deleted_log_files_told_stays() {
    let disk = FaultDisk::default();
    directory(&disk);
    let mut started = start(&disk);
    let kv = Change::Kv { namespace: "n".into(), key: "k".into(), value: Some("v".into()) };
    started.state.apply(&kv, 0, PhysicalOffset(0));
    let end = started.append("a", 3, 300);
    started.stop();
    // That broker deletes all files but the last, and changes no table.
    let mut apache = Apache::new(&disk, end.0, 9_000_000);
    apache.next = [(("b".to_owned(), 1), 33)].into();
    for _ in 0..100 {
        apache.put("b", 1, 900);
    }
    for base in (0..apache.at - FILE_SIZE).step_by(FILE_SIZE as usize) {
        disk.remove(&log_file(base)).unwrap();
    }
    disk.sync_all(dir()).unwrap();
    for number in 1..=3 {
        let (identity, _) = identity::open(&disk, dir(), None, FRESH).unwrap();
        let files = Arc::new(Files::open(Arc::new(disk.clone()), dir(), FILE_SIZE).unwrap());
        let adoption = Adoption::begin(&files, dir(), identity, &mut |_, _| {}).unwrap();
        assert_eq!(adoption.is_some(), number == 1);
        let config = Config::default();
        let found = Keeper::open(files.clone(), dir().to_owned(), identity, &config).unwrap();
        let (mut keeper, mut state) = (found.keeper, found.state);
        let (resume, _) =
            recover::recover(&files, dir(), &identity, found.origin, &mut state).unwrap();
        if let Some(adoption) = adoption {
            let mut additions = Additions::new(&files, &identity, resume);
            adoption.settle(&mut state, &config, &mut |change| additions.add(change)).unwrap();
            additions.finish().unwrap();
        }
        adopt::take(&disk, dir()).unwrap();
        keeper.settle(&mut state).unwrap();
        let seen = summary(&state);
        assert!(seen["group g"].contains("retry_max_times: 5"), "start {number}");
        assert_eq!(seen["offset g a 0"], "12", "start {number}");
        assert!(seen["topic a"].contains("read_queue_nums: 4"), "start {number}");
        assert_eq!(state.kv.len(), 1, "start {number}");
        assert_eq!(state.delayed[2], 1, "start {number}");
        assert_eq!(range(&seen, "a 3"), "(300, 300)", "start {number}");
    }
}

#[test]
fn a_log_that_apache_cut_or_that_nobody_left_is_refused() {
    let left = || {
        let disk = FaultDisk::default();
        directory(&disk);
        let mut started = start(&disk);
        let end = started.append("a", 3, 10);
        started.stop();
        (disk, end.0)
    };
    // It began anew before the end, and went on behind.
    let (disk, end) = left();
    let mut apache = Apache::new(&disk, end - 500, 9_000_000);
    apache.put("a", 3, 2000);
    disk.remove(&dir().join("abort")).unwrap();
    let why = try_start(&disk).err().unwrap();
    assert!(why.contains("has cut the log before"), "{why}");

    let (disk, _) = left();
    disk.remove(&dir().join("handed-over")).unwrap();
    let why = try_start(&disk).err().unwrap();
    assert!(why.contains("neither Kerolox's guard nor its mark is there, but checkpoint is"));
}

#[test]
fn no_more_is_delivered_than_there_is() {
    let disk = FaultDisk::default();
    let apache = directory(&disk);
    apache.leave(&[("a", 4)], "", "3:9,4:2");
    assert!(summary(&start(&disk).state)["delays"].starts_with("[0, 0, 2, 0, 0"));
}

/// A power cut may leave a guard without its text, which keeps nobody away.
#[test]
fn a_guard_is_whole() {
    let disk = FaultDisk::default();
    directory(&disk);
    start(&disk);
    let guard = dir().join("commitlog").join(handover::GUARD);
    disk.cut(&guard, 0);
    start(&disk);
    assert!(disk.content(&guard).unwrap().len() > 10);
}
