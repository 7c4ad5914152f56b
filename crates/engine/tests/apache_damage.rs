//! Damage in what Apache's broker wrote, on a simulated disk: a take-over and every later walk lose what is
//! damaged, and nothing else.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

#[path = "handover/apache.rs"]
mod apache;
#[path = "handover/rocksdb.rs"]
mod rocksdb;
#[path = "handover/started.rs"]
mod started;

use std::ops::Range;
use std::sync::Arc;

use apache::{Apache, FILE_SIZE, FRESH, dir, directory, log_file};
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open};
use kerolox_log::files::Files;
use kerolox_log::recover::Lost;
use kerolox_log::survey::{Survey, survey};
use started::{Count, range, start, summary};

/// Behind the checkpoint's time the last record was never whole.
#[test]
fn a_torn_end_is_set_aside() {
    let disk = FaultDisk::default();
    let mut apache = directory(&disk);
    apache.put("a", 0, 900);
    disk.sync_all(dir()).unwrap();
    let last = *apache.places.last().unwrap();
    damage(&disk, last + 100, &[1]);
    let adoption = start(&disk).adoption.unwrap();
    assert_eq!((adoption.end.0, adoption.found.records), (last, 202));
    assert!(adoption.cut.is_some_and(|cut| cut.from.0 == last));
    assert_eq!(adoption.found.lost, Vec::new());
}

/// Changes bytes of the log: each gets a bit more or less.
fn damage(disk: &FaultDisk, at: u64, bits: &[u8]) {
    for (i, bit) in bits.iter().enumerate() {
        let at = at + i as u64;
        disk.flip(&log_file(at - at % FILE_SIZE), at % FILE_SIZE * 8 + u64::from(*bit));
    }
}

/// Bytes of the log become zeros, durably.
fn wipe(disk: &FaultDisk, from: u64, size: usize) {
    let base = from - from % FILE_SIZE;
    let file = disk.open(&log_file(base), Open::Write).unwrap();
    file.write_at(&[&vec![0; size]], from - base).unwrap();
    file.sync().unwrap();
}

fn ranges(lost: &[Lost]) -> Vec<(u64, u64)> {
    lost.iter().map(|lost| (lost.begin.0, lost.end.0)).collect()
}

fn look(disk: &FaultDisk) -> (u64, Survey) {
    let files = Files::open(Arc::new(disk.clone()), dir(), FILE_SIZE).unwrap();
    let mut count = Count(0);
    let found = survey(&files, &FRESH, None, &mut count).unwrap();
    (count.0, found)
}

/// Spoils a directory before or after it is taken over: then so many records are lost, in this range.
#[track_caller]
fn check(what: &str, spoil: &dyn Fn(&FaultDisk, &Apache), lost: Range<usize>) {
    // Before: what the take-over finds, and whoever looks later.
    let disk = FaultDisk::default();
    let apache = directory(&disk);
    spoil(&disk, &apache);
    let expected = vec![(apache.places[lost.start], apache.places[lost.end])];
    let found = start(&disk).adoption.unwrap().found;
    assert_eq!(ranges(&found.lost), expected, "{what}");
    assert_eq!((found.records, found.end.0), (202 - lost.len() as u64, apache.at), "{what}");
    for _ in 0..2 {
        assert_eq!(range(&summary(&start(&disk).state), "a 0"), "(0, 34)", "{what}");
    }
    let (records, seen) = look(&disk);
    assert_eq!((ranges(&seen.lost), records), (expected.clone(), found.records), "{what}");
    // After: a walk over all, and a start that makes all anew of the log.
    let disk = FaultDisk::default();
    let apache = directory(&disk);
    start(&disk);
    spoil(&disk, &apache);
    let (records, seen) = look(&disk);
    assert_eq!((ranges(&seen.lost), records), (expected, 202 - lost.len() as u64), "{what}");
    for name in disk.names() {
        if name.starts_with(dir().join("blocks")) || name.starts_with(dir().join("snapshot")) {
            disk.take_away(&name);
        }
    }
    assert_eq!(range(&summary(&start(&disk).state), "a 0"), "(0, 34)", "{what}");
}

/// One flipped bit took the rest of the file.
#[test]
fn damage_takes_the_messages_that_it_meets() {
    for (what, at) in [("size", 3), ("magic", 7), ("place", 33), ("body", 300)] {
        check(what, &|disk, apache| damage(disk, apache.places[20] + at, &[1]), 20..21);
    }
    check("a size that is larger", &|disk, apache| damage(disk, apache.places[20], &[0]), 20..21);
    let head = |disk: &FaultDisk, apache: &Apache| wipe(disk, apache.places[20], 100);
    check("a head", &head, 20..21);
    check("some", &|disk, apache| wipe(disk, apache.places[20] + 500, 5000), 20..26);
    check("one and the next", &|disk, apache| wipe(disk, apache.places[21] - 50, 60), 20..22);
    let last = |apache: &Apache| apache.places.iter().position(|at| *at >= FILE_SIZE).unwrap() - 1;
    let number = last(&directory(&FaultDisk::default()));
    let of_file = |disk: &FaultDisk, apache: &Apache| damage(disk, apache.places[number], &[1]);
    check("the last one of a file", &of_file, number..number + 1);
    let page = |disk: &FaultDisk, _: &Apache| disk.make_unreadable(&log_file(0), 8192..8193);
    check("what the disk cannot read", &page, 8..13);
}

/// A queue of each record was asked for what stands behind, a hundred times over.
#[test]
fn a_log_file_of_zeros_is_passed_over_in_a_few_reads() {
    let taken = |zeros: bool| {
        let disk = FaultDisk::default();
        let mut apache = Apache::new(&disk, 0, 1_000_000);
        (0..400).for_each(|i| apache.put(["a", "b"][i % 2], i as i32 % 90, 400));
        apache.leave(&[("a", 90), ("b", 90)], "", "");
        for queue in 0..90 {
            let of_queue = apache.places.iter().skip(queue).step_by(90).copied();
            apache.queue_at("a", queue as i32, &of_queue.collect::<Vec<_>>());
        }
        if zeros {
            wipe(&disk, FILE_SIZE, FILE_SIZE as usize);
        }
        let before = disk.reads();
        let found = start(&disk).adoption.unwrap().found;
        (disk.reads() - before, found)
    };
    let (sound, _) = taken(false);
    let (reads, found) = taken(true);
    assert_eq!(ranges(&found.lost), [(FILE_SIZE, 2 * FILE_SIZE)]);
    assert!(reads < sound + 50, "{reads} reads, {sound} where nothing is damaged");
}

#[test]
fn what_a_message_holds_is_no_record() {
    let disk = FaultDisk::default();
    let mut apache = directory(&disk);
    let whole = disk.content(&log_file(0)).unwrap();
    let copy = &whole[apache.places[3] as usize..apache.places[6] as usize];
    apache.put_body("a", 0, &copy.repeat(3));
    apache.put("a", 0, 900);
    apache.leave(&[("a", 4)], "", "");
    apache.queues();
    let [holder, behind] = apache.places[apache.places.len() - 2..] else { unreachable!() };
    damage(&disk, holder, &[1]);
    let found = start(&disk).adoption.unwrap().found;
    assert_eq!((ranges(&found.lost), found.records), (vec![(holder, behind)], 203));
}

/// Who can tell where a message will stand may fill it with heads of records, each of which has to be
/// read: of a file no more is read than it has.
#[test]
fn heads_of_records_in_a_message_do_not_make_the_search_slow() {
    let disk = FaultDisk::default();
    let mut apache = Apache::new(&disk, 0, 1_000_000);
    apache.put("a", 0, 900);
    let body = heads_of_size(&disk, &apache, FILE_SIZE as u32 / 2);
    apache.put_body("a", 0, &body);
    (0..60).for_each(|_| apache.put("a", 0, 900));
    apache.leave(&[("a", 1)], "", "");
    damage(&disk, apache.places[1], &[1]);
    let before = disk.reads();
    let found = start(&disk).adoption.unwrap().found;
    assert!(disk.reads() - before < 200, "{} reads", disk.reads() - before);
    assert_eq!(ranges(&found.lost), [(apache.places[1], FILE_SIZE)]);
    assert_eq!(found.end.0, apache.at);
}

/// A body, for the message that is put next, of heads of records that name the place where they come to stand.
fn heads_of_size(disk: &FaultDisk, apache: &Apache, size: u32) -> Vec<u8> {
    let whole = disk.content(&log_file(0)).unwrap();
    let mut body = Vec::new();
    for number in 0..300 {
        let mut head = whole[..112].to_vec();
        head[..4].copy_from_slice(&size.to_be_bytes());
        head[28..36].copy_from_slice(&(apache.at + 88 + 112 * number).to_be_bytes());
        head[84..88].copy_from_slice(&(size - 200).to_be_bytes());
        body.extend_from_slice(&head);
    }
    body
}

/// A message with one such head ended every take-over and every later start.
#[test]
fn heads_of_records_that_are_too_large_end_no_start() {
    for later in [false, true] {
        let disk = FaultDisk::default();
        let mut apache = Apache::new(&disk, 0, 1_000_000);
        apache.put("a", 0, 900);
        let body = heads_of_size(&disk, &apache, 17 << 20);
        apache.put_body("a", 0, &body);
        (0..3).for_each(|_| apache.put("a", 0, 900));
        apache.leave(&[("a", 1)], "", "");
        if later {
            start(&disk);
        }
        damage(&disk, apache.places[1], &[1]);
        let lost = [(apache.places[1], apache.places[2])];
        if later {
            assert_eq!(ranges(&look(&disk).1.lost), lost);
        } else {
            assert_eq!(ranges(&start(&disk).adoption.unwrap().found.lost), lost);
        }
        assert_eq!(range(&summary(&start(&disk).state), "a 0"), "(0, 5)", "{later}");
    }
}

/// After a crash Apache's broker cuts the log at the first record that is not whole, and lets stand what it
/// cut until it writes there.
#[test]
fn what_apaches_broker_cut_does_not_come_back() {
    for by_queue in [false, true] {
        let disk = FaultDisk::default();
        let mut before = directory(&disk);
        (0..30).for_each(|_| before.put("a", 0, 900));
        let mut apache = Apache::new(&disk, before.places[202], 2_000_000);
        apache.next = [(("a".to_owned(), 0), 34)].into();
        for _ in 0..5 {
            apache.put("a", 0, 880);
        }
        apache.leave(&[("a", 4)], "", "");
        if by_queue {
            apache.queue_at("a", 0, &apache.places);
        } else {
            apache.forget_queues("");
        }
        let started = start(&disk);
        let adoption = started.adoption.as_ref().unwrap();
        assert_eq!((adoption.end.0, &adoption.found.lost), (apache.at, &Vec::new()));
        assert!(adoption.cut.is_some());
        assert_eq!(range(&summary(&started.state), "a 0"), "(0, 39)", "{by_queue}");
    }
}

/// It came back if that broker was stopped before it stored anything there: it is not older than what it kept.
#[test]
fn what_apaches_broker_cut_does_not_come_back_if_it_stored_nothing_afterwards() {
    let disk = FaultDisk::default();
    let mut apache = directory(&disk);
    (0..3).for_each(|_| apache.put("a", 0, 900));
    disk.sync_all(dir()).unwrap();
    let cut = apache.places[202];
    damage(&disk, cut + 300, &[1]);
    let found = start(&disk).adoption.unwrap().found;
    assert_eq!((found.records, found.end.0, found.lost), (202, cut, Vec::new()));
}

/// A clock that was set back makes later records look like such ones; but queues name them.
#[test]
fn what_a_queue_names_is_there_whatever_its_time() {
    let disk = FaultDisk::default();
    let mut apache = directory(&disk);
    let damaged = apache.places.len();
    apache.put("a", 0, 900);
    apache.time = 500_000;
    (0..5).for_each(|_| apache.put("a", 0, 900));
    apache.leave(&[("a", 4)], "", "");
    apache.queue_at("a", 0, &apache.places);
    damage(&disk, apache.places[damaged], &[1]);
    let found = start(&disk).adoption.unwrap().found;
    let expected = (apache.places[damaged], apache.places[damaged + 1]);
    assert_eq!((ranges(&found.lost), found.records), (vec![expected], 207));
}

/// Of queues in a RocksDB nothing was read here, and only the time told.
#[test]
fn what_a_queue_in_a_rocksdb_names_is_there_whatever_its_time() {
    let disk = FaultDisk::default();
    let mut apache = Apache::new(&disk, 0, 1_000_000);
    (0..6).for_each(|i| apache.put("a", i % 2, 900));
    apache.time = 500_000;
    (0..6).for_each(|i| apache.put("a", i % 2, 900));
    apache.leave(&[("a", 2)], "", "");
    let [.., before, last] = apache.places[..] else { unreachable!() };
    rocksdb::write_ends(&disk, "a", &[(0, before, 5), (1, last, 5)]);
    damage(&disk, apache.places[5], &[1]);
    let found = start(&disk).adoption.unwrap().found;
    let expected = (apache.places[5], apache.places[6]);
    assert_eq!((ranges(&found.lost), found.records, found.end.0), (vec![expected], 11, apache.at));
}
