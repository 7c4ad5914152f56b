//! Databases of Apache RocketMQ. Their checksums are made right, so that what lies behind the check is
//! reached.
//!
//! In: a first byte that says what the rest is, as pieces behind their sizes (2 bytes, big-endian).
//!
//! | first byte | pieces |
//! |---|---|
//! | 0 | records of the list of files |
//! | 1 | records of a write-ahead log |
//! | 2 | blocks of a table; the first piece is what its end says of them (40 bytes) |
//! | else | list of files, write-ahead log, table, as they stand |

use std::path::Path;

use kerolox_log::disk::fault::FaultDisk;
use kerolox_log::disk::{Disk, Open};
use kerolox_log::rocksdb::Database;

const DIR: &str = "/db";
const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// See the module's documentation.
pub fn rocksdb(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    let pieces = pieces(rest);
    let piece = |i: usize| pieces.get(i).copied().unwrap_or_default();
    let [list, log, table] = match kind {
        0 => [log_of(&pieces), Vec::new(), Vec::new()],
        1 => [list_with(0), log_of(&pieces), Vec::new()],
        2 => {
            let table = table_of(&pieces);
            [list_with(table.len()), Vec::new(), table]
        }
        _ => [piece(0).to_vec(), piece(1).to_vec(), piece(2).to_vec()],
    };
    let disk = disk_with(&list, &log, &table);
    let Ok(database) = Database::open(&disk, Path::new(DIR)) else { return };
    let database = database.expect("there is one");
    for family in ["default", "kv", "none"] {
        let Ok(entries) = database.entries(family) else { continue };
        // Keys of a table may be longer than their bytes on the disk, values not.
        let values: usize = entries.values().map(Vec::len).sum();
        assert!(values <= log.len() + table.len());
    }
}

fn disk_with(list: &[u8], log: &[u8], table: &[u8]) -> FaultDisk {
    let disk = FaultDisk::default();
    disk.create_dir(Path::new(DIR)).expect("the disk is sound");
    for (name, bytes) in [
        ("CURRENT", b"MANIFEST-000001\n".as_slice()),
        ("MANIFEST-000001", list),
        ("000002.log", log),
        ("000003.sst", table),
    ] {
        let file = disk.open(&Path::new(DIR).join(name), Open::Create);
        file.expect("the disk is sound").write_at(&[bytes], 0).expect("the disk is sound");
    }
    disk
}

fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk() {
        let (piece, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*size).into()));
        all.push(piece);
        bytes = rest;
    }
    all
}

/// The records, each in a block of its own if it does not fit; longer ones are cut.
#[expect(clippy::little_endian_bytes, reason = "that is how RocksDB writes integers")]
fn log_of(records: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let record = record.get(..BLOCK - HEADER).unwrap_or(record);
        let left = BLOCK - out.len() % BLOCK;
        if left < HEADER + record.len() {
            out.resize(out.len() + left, 0);
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[1]), record);
        out.extend_from_slice(&masked(crc).to_le_bytes());
        out.extend_from_slice(&(record.len() as u16).to_le_bytes());
        out.push(1);
        out.extend_from_slice(record);
    }
    out
}

/// A list of files with the families `default`, which has a table of so many bytes if it is not 0, and `kv`.
fn list_with(table: usize) -> Vec<u8> {
    let start: &[u8] = b"\x02\x01\x03\x09\x04\x09";
    let family: &[u8] = b"\xc8\x01\x01\xc9\x01\x02kv\x02\x01";
    let mut added = b"\x67\x00\x03".to_vec();
    let mut size = table;
    while size >= 0x80 {
        added.push(size as u8 | 0x80);
        size >>= 7;
    }
    added.push(size as u8);
    added.extend_from_slice(b"\x00\x00\x00\x00\x01");
    let records = [start, family, &added];
    log_of(if table == 0 { &records[..2] } else { &records })
}

/// Places in the end of the table, then its blocks.
#[expect(clippy::little_endian_bytes, reason = "that is how RocksDB writes integers")]
fn table_of(pieces: &[&[u8]]) -> Vec<u8> {
    let mut places = pieces.first().copied().unwrap_or_default().to_vec();
    let mut out = Vec::new();
    for block in pieces.iter().skip(1) {
        let crc = crc32c::crc32c_append(crc32c::crc32c(block), &[0]);
        out.extend_from_slice(block);
        out.push(0);
        out.extend_from_slice(&masked(crc).to_le_bytes());
    }
    out.push(1);
    places.resize(40, 0);
    out.extend_from_slice(&places);
    out.extend_from_slice(&5_u32.to_le_bytes());
    out.extend_from_slice(&0x88e2_41b7_85f4_cff7_u64.to_le_bytes());
    out
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would see the first check only.
    #[test]
    fn seeds_are_databases_that_are_read() {
        let table = include_bytes!("../../../fuzz/corpus/rocksdb/table");
        let table = table_of(&pieces(&table[1..]));
        let log = include_bytes!("../../../fuzz/corpus/rocksdb/log");
        let disk = disk_with(&list_with(table.len()), &log_of(&pieces(&log[1..])), &table);
        let database = Database::open(&disk, Path::new(DIR)).expect("sound").expect("it is there");
        assert!(database.entries("default").expect("sound").len() > 10);
        assert_eq!(database.entries("kv").expect("sound").len(), 2);
    }
}
