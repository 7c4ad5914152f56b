//! A data directory changes hands, on a simulated disk: what a broker wrote that knows no seals is taken
//! over whole, whatever kills the take-over; and what is left to that broker says the same.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

#[path = "handover/apache.rs"]
mod apache;
#[path = "handover/started.rs"]
mod started;

use std::path::PathBuf;
use std::sync::Arc;

use apache::{Apache, FILE_SIZE, FRESH, dir, directory, log_file};
use kerolox_engine::Config;
use kerolox_engine::apache::adopt::{self, Adoption};
use kerolox_engine::apache::queues::ConsumeQueues;
use kerolox_engine::change::Change;
use kerolox_engine::keeper::Keeper;
use kerolox_engine::state::Setting;
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::fault::{FaultDisk, Faults, Rng};
use kerolox_log::disk::{Disk, Open, write_whole};
use kerolox_log::files::Files;
use kerolox_log::handover;
use kerolox_log::identity;
use kerolox_log::recover::{self, Additions};
use kerolox_log::survey::survey;
use started::{Count, Started, range, start, summary, try_start};

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

/// A directory that Kerolox had, too, with all that is only in the log.
fn left_by_kerolox(disk: &FaultDisk) -> Started {
    directory(disk);
    let mut started = start(disk);
    started.append("a", 3, 10);
    started.change(&Change::Kv { namespace: "n".into(), key: "k".into(), value: Some("v".into()) });
    let setting = Setting { value: "100".to_owned(), over: "200".to_owned() };
    started.change(&Change::Setting { key: "maxMessageSize".into(), setting: Some(setting) });
    started
}

#[test]
fn a_stop_that_a_power_cut_ends_loses_nothing() {
    let (mut cut, mut kept) = (0, 0);
    for calls in 0.. {
        let disk = FaultDisk::default();
        let started = left_by_kerolox(&disk);
        let expected = summary(&started.state);
        disk.set_faults(Faults { power_off_in: Some(calls), ..Faults::default() });
        if started.try_stop().is_ok() {
            break;
        }
        cut += 1;
        disk.power_cycle(&mut Rng(calls));
        kept += usize::from(handover::is_guarded(&disk, dir()).unwrap());
        for _ in 0..2 {
            let started = start(&disk);
            assert_eq!(summary(&started.state), expected, "cut at call {calls}");
            assert!(started.adoption.is_none(), "cut at call {calls}");
        }
    }
    assert!(cut > 30 && kept > 30, "{cut} cuts, {kept} kept the guard");
}

const MARKS: [&str; 2] = ["handed-over", "handed-over-2"];

/// One flipped bit ended every later start.
#[test]
fn of_a_mark_that_is_damaged_the_copy_serves() {
    for (touched, damaged) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let disk = FaultDisk::default();
        let started = left_by_kerolox(&disk);
        let end = started.resume.next;
        let mut expected = started.stop();
        if touched {
            let mut apache = Apache::new(&disk, end.0, 9_000_000);
            apache.next = [(("a".to_owned(), 3), 10)].into();
            apache.put("a", 3, 900);
            disk.remove(&dir().join("abort")).unwrap();
            disk.sync_all(dir()).unwrap();
            expected.insert("queue a 3".to_owned(), "(0, 11)".to_owned());
        }
        disk.flip(&dir().join(MARKS[damaged]), 100);
        let started = start(&disk);
        assert_eq!(started.adoption.is_some(), touched);
        assert_eq!(summary(&started.state), expected, "{touched} {damaged}");
    }
}

#[test]
fn a_mark_that_is_damaged_twice_ends_the_start_until_somebody_says_who_had_the_directory() {
    let disk = FaultDisk::default();
    let expected = left_by_kerolox(&disk).stop();
    MARKS.iter().for_each(|name| disk.flip(&dir().join(name), 100));
    let content = |name: &PathBuf| disk.content(name).unwrap();
    let all = || disk.names().iter().map(|name| (name.clone(), content(name))).collect::<Vec<_>>();
    let before = all();
    let why = try_start(&disk).err().unwrap();
    assert!(why.contains("handed-over: damaged, and its copy is no better"), "{why}");
    assert!(why.contains("make an empty file /data/commitlog/kerolox-has-it"), "{why}");
    assert_eq!(all(), before);
    disk.open(&dir().join("commitlog").join(handover::GUARD), Open::Create).unwrap();
    assert_eq!(summary(&start(&disk).state), expected);
    assert!(MARKS.iter().all(|name| disk.content(&dir().join(name)).is_none()));
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
    MARKS.iter().for_each(|name| disk.remove(&dir().join(name)).unwrap());
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
