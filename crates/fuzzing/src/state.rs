//! Seals, state changes, snapshots and index blocks. Their checksums are made right, so that what lies behind
//! the check is reached.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use kerolox_engine::change::Change;
use kerolox_engine::{Config, State};
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open};
use kerolox_log::identity::Identity;
use kerolox_log::index::block::{self as blocks, BlockError, BlockFile};
use kerolox_log::seal::{MAGIC, Seal, changes};
use kerolox_log::snapshot::{self as snapshots, Put, Snapshot};
use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{NewRecord, View, sys_flag};

static IDENTITY: Identity = Identity { number: [7; 16], writer: 9 };

/// The input is a seal's body, and, once more, a state change.
pub fn seal(input: &[u8]) {
    change(input);
    let mut body = input.to_vec();
    if body.len() >= 28 {
        body[..8].copy_from_slice(&MAGIC);
        body[8..24].copy_from_slice(&IDENTITY.number);
        let end = body.len() - 4;
        let crc = crc32fast::hash(&body[..end]);
        body[end..].copy_from_slice(&crc.to_be_bytes());
    }
    let host = ([0, 0, 0, 0], 0).into();
    let record = NewRecord {
        topic: STATE_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: sys_flag::ROLLBACK,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: b"",
    };
    let mut bytes = Vec::new();
    record.write(0, 5, 0, &mut bytes);
    let view = View::parse(&bytes).expect("it was just written");
    let Ok(seal) = Seal::read(&view, &IDENTITY, PhysicalOffset(5)) else { return };
    assert!(seal.list.len() * 8 + seal.changes.len() < body.len());
    changes(&seal.changes).for_each(|(_, bytes)| change(bytes));
    let mut written = Vec::new();
    seal.write(&IDENTITY, PhysicalOffset(5), 0, &mut written);
    let view = View::parse(&written).expect("it was just written");
    assert_eq!(Seal::read(&view, &IDENTITY, PhysicalOffset(5)), Ok(seal));
}

fn change(bytes: &[u8]) {
    let Some(change) = Change::decode(bytes) else { return };
    let again = change.encode();
    let again = Change::decode(&again).expect("it was just written");
    // A group's settings may hold any JSON, fractions too, of which the last digit may change.
    if !matches!(change, Change::GroupPut(_)) {
        assert_eq!(again, change);
    }
}

/// The input is the newest snapshot, as it stands or with its checksum made right.
pub fn snapshot(input: &[u8]) {
    let mut sound = input.to_vec();
    if sound.len() >= 52 {
        sound[..8].copy_from_slice(b"KEROSNAP");
        sound[12..28].copy_from_slice(&IDENTITY.number);
        let end = sound.len() - 4;
        let crc = crc32fast::hash(&sound[..end]);
        sound[end..].copy_from_slice(&crc.to_be_bytes());
    }
    for bytes in [input, &sound] {
        let disk = FaultDisk::default();
        let data_dir = Path::new("/data");
        let dir = data_dir.join(snapshots::DIR);
        disk.create_dir(&dir).expect("the disk is sound");
        let file = disk.open(&dir.join(format!("{:020}", 9)), Open::Create);
        let file = file.expect("the disk is sound");
        file.write_at(&[bytes], 0).expect("the disk is sound");
        let restore = |snapshot: &Snapshot| {
            let mut state = State::new(&Config::default());
            snapshot.each(|bytes| {
                state.restore(bytes);
                change(bytes);
            })?;
            assert!(snapshot.size() <= bytes.len() as u64);
            Ok((snapshot.origin, state))
        };
        let read = snapshots::read_newest(&disk, data_dir, &IDENTITY, restore);
        // Of a newer release.
        let Ok((found, unreadable)) = read else { continue };
        assert_eq!(found.is_some(), unreadable.is_empty());
        let Some((origin, state)) = found else { continue };
        let dump = |put: &mut Put<'_>| state.dump(put);
        snapshots::write(&disk, data_dir, &IDENTITY, &origin, 2, dump).expect("the disk is sound");
    }
}

/// Bytes of a block's page, and of its content.
const PAGE: usize = 4096;
const CONTENT: usize = PAGE - 4;
const BEGIN: u64 = 1 << 30;
const DATA_DIR: &str = "/data";

/// The input is an index block as it stands, or the contents of its pages, of which the checksums are
/// made right.
pub fn block(input: &[u8]) {
    for bytes in [input, &sound_block(input)] {
        let disk = disk_with(bytes);
        let reads = AtomicU64::new(0);
        if let Ok(mut block) = open(&disk, &reads) {
            look_up(&mut block, bytes.len());
        }
        if let Ok(mut block) = open(&disk, &reads) {
            let mut state = State::new(&Config::default());
            // An error is one that the block tells of itself.
            let _ = state.restore_block(&mut block);
            state.dump(&mut |_| Ok(())).expect("nobody refuses it");
        }
    }
}

fn sound_block(input: &[u8]) -> Vec<u8> {
    let mut content = input.to_vec();
    if content.len() >= 36 {
        content[..8].copy_from_slice(b"KEROBLOK");
        content[12..28].copy_from_slice(&IDENTITY.number);
        content[28..36].copy_from_slice(&BEGIN.to_be_bytes());
    }
    let mut sound = Vec::new();
    for (number, part) in (0u64..).zip(content.chunks(CONTENT)) {
        let mut page = part.to_vec();
        page.resize(CONTENT, 0);
        let place = [&IDENTITY.number[..], &BEGIN.to_be_bytes(), &number.to_be_bytes()].concat();
        let crc = crc32fast::hash(&[&place, &page[..]].concat());
        sound.extend_from_slice(&page);
        sound.extend_from_slice(&crc.to_be_bytes());
    }
    sound
}

fn disk_with(block: &[u8]) -> FaultDisk {
    let disk = FaultDisk::default();
    let dir = Path::new(DATA_DIR).join(blocks::DIR);
    disk.create_dir(&dir).expect("the disk is sound");
    let path = blocks::path(&dir, BEGIN);
    let file = disk.open(&path, Open::Create).expect("the disk is sound");
    file.write_at(&[block], 0).expect("the disk is sound");
    disk
}

fn open<'a>(disk: &FaultDisk, reads: &'a AtomicU64) -> Result<BlockFile<'a>, BlockError> {
    BlockFile::open(disk, &Path::new(DATA_DIR).join(blocks::DIR), &IDENTITY.number, BEGIN, reads)
}

/// Asks a block everything that it can be asked.
fn look_up(block: &mut BlockFile<'_>, size: usize) {
    let directory = block.directory().unwrap_or_default();
    for (slot, (topic, row)) in (0..).zip(&directory) {
        assert_eq!(block.row(slot).ok(), Some(*row));
        if let Ok(Some((found, _))) = block.find(topic, row.queue) {
            assert!((found as usize) < directory.len());
        }
        let entries = block.entries(row, row.first, usize::MAX).expect("the directory is sane");
        assert_eq!(entries.len(), row.count as usize);
        assert!(entries.len() * 24 <= size);
        let at = block.seek_time(row, row.last_time).expect("the directory is sane");
        assert!((row.first..=row.end()).contains(&at));
    }
    for hash in [0, 1 << 31, u32::MAX] {
        assert!(block.keys(hash, 10).is_ok_and(|found| found.len() <= 10));
    }
    let changes = block.changes().unwrap_or_default();
    changes.iter().for_each(|(_, bytes)| change(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would see the first check only.
    #[test]
    fn a_seed_is_a_block_that_is_read() {
        let disk = disk_with(&sound_block(include_bytes!("../../../fuzz/corpus/block/queues")));
        let reads = AtomicU64::new(0);
        let mut block = open(&disk, &reads).expect("it is sound");
        let directory = block.directory().expect("it is sound");
        let queues: Vec<_> = directory.iter().map(|(topic, row)| (&**topic, row.queue)).collect();
        assert_eq!(queues, [("other", 1), ("t", 0), ("t", 3)]);
        assert_eq!(block.keys(7, 10).map(|found| found.len()).ok(), Some(2));
    }
}
