//! Seals, state changes and snapshots. Their checksums are made right, so that what lies behind
//! the check is reached.

use std::path::Path;

use kerolox_engine::change::Change;
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open};
use kerolox_log::identity::Identity;
use kerolox_log::seal::{MAGIC, Seal, changes};
use kerolox_log::snapshot as snapshots;
use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{NewRecord, View, sys_flag};

const IDENTITY: Identity = Identity { number: [7; 16], writer: 9 };

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
        let read = snapshots::read_newest(&disk, data_dir, &IDENTITY);
        let (found, unreadable) = read.expect("the disk is sound");
        assert_eq!(found.is_some(), unreadable.is_empty());
        let Some(found) = found else { continue };
        assert!(found.state.len() < bytes.len());
        snapshots::write(&disk, data_dir, &IDENTITY, &found).expect("the disk is sound");
        let mut state = &found.state[..];
        while let Some((size, rest)) = state.split_first_chunk::<4>()
            && let Some((bytes, rest)) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)
        {
            change(bytes);
            state = rest;
        }
    }
}
