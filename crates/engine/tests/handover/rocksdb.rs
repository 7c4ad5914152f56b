//! The RocksDB in which Apache's broker keeps its queues, as far as a kill leaves one: a list of files, and a log.

use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open};

use super::apache::dir;

/// Writes one whose family `offset` tells where the last record of queues of a topic stands, and its offset.
pub(crate) fn write_ends(disk: &FaultDisk, topic: &str, ends: &[(i32, u64, i64)]) {
    let folder = dir().join("consumequeue");
    disk.create_dir(&folder).unwrap();
    let order = b"leveldb.BytewiseComparator";
    // Fields of the list: order of keys, log, next number of a file, last number of a change.
    let first = [&[1, order.len() as u8][..], order, &[2, 4, 3, 10, 4, 0]].concat();
    // Of family 1: that it is new, and its first log.
    let family = [&[0xc8, 1, 1, 0xc9, 1, 6][..], b"offset", &[2, 4]].concat();
    let mut batch = vec![1, 0, 0, 0, 0, 0, 0, 0, ends.len() as u8, 0, 0, 0];
    for (queue, at, offset) in ends {
        let size = (topic.len() as u32).to_be_bytes();
        let key =
            [&size[..], b"\x01", topic.as_bytes(), b"\x01max\x01", &queue.to_be_bytes()].concat();
        // A value of 16 bytes in family 1.
        batch.extend_from_slice(&[5, 1, key.len() as u8]);
        batch.extend_from_slice(&key);
        batch.push(16);
        batch.extend_from_slice(&at.to_be_bytes());
        batch.extend_from_slice(&offset.to_be_bytes());
    }
    for (name, bytes) in [
        ("CURRENT", b"MANIFEST-000005\n".to_vec()),
        ("MANIFEST-000005", [whole(&first), whole(&family)].concat()),
        ("000004.log", whole(&batch)),
    ] {
        let file = disk.open(&folder.join(name), Open::Create).unwrap();
        file.write_at(&[&bytes], 0).unwrap();
    }
    disk.sync_all(dir()).unwrap();
}

/// A record in one piece: masked checksum, size, kind 1.
fn whole(record: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[1]), record);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8).swap_bytes().to_be_bytes();
    let size = (record.len() as u16).swap_bytes().to_be_bytes();
    [&masked[..], &size, &[1], record].concat()
}
