//! Recovery of a log that is arbitrary, or was sound and then damaged.
//!
//! In: a first byte that says which. Then the bytes of the files; or damage, eight bytes a piece.
//! Recovery must end, and what it leaves must be recovered again to the same end, without a cut.

use std::path::Path;
use std::sync::Arc;

use kerolox_engine::change::Change;
use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open};
use kerolox_log::files::{DIR, Files};
use kerolox_log::flush::Writer;
use kerolox_log::identity::Identity;
use kerolox_log::recover::{Lost, RecoverError, Replay, Report, recover};
use kerolox_log::seal::Link;
use kerolox_protocol::record::{NewRecord, View};

/// Small, so that a log has several.
const FILE_SIZE: usize = 16 << 10;
/// More files would only take more time.
const FILES_MAX: usize = 4;
const IDENTITY: Identity = Identity { number: [7; 16], writer: 9 };
const DATA_DIR: &str = "/data";

/// See the module's documentation.
pub fn recovery(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    let files = match kind {
        0 => rest.chunks(FILE_SIZE).take(FILES_MAX).map(<[u8]>::to_vec).collect(),
        lag => {
            let mut files = sound_log(u64::from(lag % 8));
            rest.chunks_exact(8).for_each(|damage| spoil(&mut files, damage));
            files
        }
    };
    let disk = FaultDisk::default();
    let dir = Path::new(DATA_DIR).join(DIR);
    disk.create_dir(&dir).expect("the disk is sound");
    for (i, content) in files.iter().enumerate() {
        let path = dir.join(format!("{:020}", i * FILE_SIZE));
        let file = disk.open(&path, Open::Create).expect("the disk is sound");
        file.write_at(&[content], 0).expect("the disk is sound");
    }
    check(&disk);
}

fn check(disk: &FaultDisk) {
    let Some((first, resume)) = start(disk) else { return };
    let (second, _) = start(disk).expect("it could be recovered before");
    // The first may have put a seal at the end; the second finds all it left, and nothing to cut.
    assert_eq!((second.end, &second.cut), (resume.next, &None));
    // That the log's end is lost is said once: from then on it ends there.
    let behind = |lost: &Lost| lost.end > first.end;
    let left: Vec<_> = first.lost.iter().filter(|lost| !behind(lost)).cloned().collect();
    assert_eq!((second.records, &second.lost), (first.records, &left));
    let files = open(disk);
    let mut writer = Writer::new(files, resume.next);
    let mut log = Appender::new(IDENTITY, FILE_SIZE as u64, resume);
    log.change(&Change::Delayed { level: 1, offset: 1 }.encode());
    let rounds = log.take_rounds();
    writer.write(&rounds).expect("the disk is sound");
    writer.sync().expect("the disk is sound");
    let (third, _) = start(disk).expect("it could be recovered before");
    assert_eq!((third.end, third.cut), (log.end(), None));
    assert_eq!((third.records, third.lost), (first.records, left));
}

fn open(disk: &FaultDisk) -> Arc<Files> {
    let files = Files::open(Arc::new(disk.clone()), Path::new(DATA_DIR), FILE_SIZE as u64);
    Arc::new(files.expect("only names of log files are there"))
}

/// Recovers as a start does. `None`: a newer release wrote the log.
fn start(disk: &FaultDisk) -> Option<(Report, Resume)> {
    let mut replay = Count::default();
    let files = open(disk);
    match recover(&files, Path::new(DATA_DIR), &IDENTITY, None, &mut replay) {
        Ok((resume, report)) => {
            assert_eq!(report.records, replay.records);
            assert!(report.end <= resume.next);
            assert!(report.proof <= report.end);
            Some((report, resume))
        }
        Err(RecoverError::Newer(_)) => None,
        Err(e) => panic!("{e}"),
    }
}

#[derive(Default)]
struct Count {
    records: u64,
}

impl Replay for Count {
    fn record(&mut self, record: &View<'_>, crc: u32) {
        assert_eq!(kerolox_log::record_crc(record.bytes), crc);
        self.records += 1;
    }

    fn change(&mut self, change: &[u8], _: kerolox_log::PhysicalOffset) {
        let _ = Change::decode(change);
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// The files of a log as the broker writes it. Its seals say what was flushed `lag` rounds ago.
fn sound_log(lag: u64) -> Vec<Vec<u8>> {
    let disk = FaultDisk::default();
    let files = open(&disk);
    let resume =
        Resume { next: PhysicalOffset(0), before: Link::NONE, store_timestamp: 0, start: 1 };
    let mut writer = Writer::new(files, resume.next);
    let mut log = Appender::new(IDENTITY, FILE_SIZE as u64, resume);
    for round in 0..16u64 {
        for i in 0..round % 4 {
            let body = vec![b'0' + i as u8; (round * 97 + i * 531) as usize % 2_000];
            let appended = log.append(&message(&body), (round * 4 + i) as i64, 1_000);
            appended.expect("it fits");
            if i == 1 {
                log.change(&Change::Delayed { level: 1, offset: round as i64 }.encode());
            }
        }
        let rounds = if round % 4 == 0 { log.take_last_seal() } else { log.take_rounds() };
        writer.write(&rounds).expect("the disk is sound");
        if round % (lag + 1) == lag {
            writer.sync().expect("the disk is sound");
            log.set_flushed(writer.watermarks().flushed);
        }
    }
    let dir = Path::new(DATA_DIR).join(DIR);
    let content = |i: usize| disk.content(&dir.join(format!("{:020}", i * FILE_SIZE)));
    (0..FILES_MAX).map_while(content).collect()
}

fn message(body: &[u8]) -> NewRecord<'_> {
    let host = ([127, 0, 0, 1], 1).into();
    NewRecord {
        topic: "t",
        queue_id: 0,
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

/// Damages the log: what (1 byte), where (3 bytes), how much or what else (4 bytes).
fn spoil(files: &mut Vec<Vec<u8>>, damage: &[u8]) {
    let word = |at: usize, n: usize| {
        damage[at..at + n].iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte))
    };
    let at = word(1, 3) % (FILE_SIZE * files.len().max(1));
    let Some(file) = files.get_mut(at / FILE_SIZE) else { return };
    let size = word(6, 2);
    let at = (at % FILE_SIZE).min(file.len());
    let end = (at + size).min(file.len());
    match damage[0] % 7 {
        0 => {
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << (damage[4] % 8);
            }
        }
        1 => file[at..end].fill(0),
        2 => file.truncate(at),
        3 => file[at..].fill(0),
        4 => {
            // Bytes of another place in the file, such as an older seal.
            let from = word(4, 2) % file.len().max(1);
            let part = file[from..(from + size).min(file.len())].to_vec();
            let n = part.len().min(file.len() - at);
            file[at..at + n].copy_from_slice(&part[..n]);
        }
        5 => {
            let n = 4.min(file.len() - at);
            file[at..at + n].copy_from_slice(&damage[4..4 + n]);
        }
        _ => drop(files.pop()),
    }
}
