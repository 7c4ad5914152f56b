//! Records in blocks of 32 KiB: what the list of files (`MANIFEST`) and the write-ahead logs are made of.
//!
//! In: a file. Out: its records, one after the other, until its end or until it is torn.
//!
//! A record lies in one or more fragments; none crosses the end of a block. What is left of a block and
//! cannot hold a header is skipped.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC32C of all from 6 on, [masked](unmasked) |
//! | 4 | 2 | bytes of data |
//! | 6 | 1 | kind: 1 whole, 2 first, 3 middle, 4 last fragment of a record |
//! | 7 | n | data |
//!
//! Kinds 5 to 8 are 1 to 4 in a file that is used again; there the number of the file (4) lies before the
//! data. Integers are little-endian.

use std::sync::Arc;

use super::cursor::Cursor;
use super::{Budget, Refusal};
use crate::disk::{DiskFile, read_full};
use crate::limits::ROCKSDB_BLOCK_MAX;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// The number of the file, where it is used again.
const NUMBER: usize = 4;
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const USED_AGAIN_FIRST: u8 = 5;
const USED_AGAIN_LAST: u8 = 8;
const COMPRESSION: u8 = 9;

/// What happens where bytes are not what was written. An end that is torn is never damage: the writer was
/// killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// All is refused: the list of files.
    Refuse,
    /// The rest of the block is passed over, as RocketMQ tells RocksDB to do: write-ahead logs.
    PassOver,
}

/// The records of a file.
pub(super) struct Records {
    file: Arc<dyn DiskFile>,
    damage: Damage,
    /// Where the block behind this one begins.
    next_block: u64,
    block: Vec<u8>,
    /// How much of the block is read.
    at: usize,
    /// No block follows.
    is_last: bool,
}

enum Piece {
    Fragment {
        kind: u8,
        data: Vec<u8>,
    },
    /// Zeros, which a file that was made longer has.
    Blank,
    Bad(&'static str),
    End,
}

impl Records {
    pub(super) fn new(file: Arc<dyn DiskFile>, damage: Damage) -> Self {
        Records { file, damage, next_block: 0, block: Vec::new(), at: 0, is_last: false }
    }

    /// The next record; `None` at the end, also where that is torn.
    pub(super) fn next(&mut self, budget: &mut Budget) -> Result<Option<Vec<u8>>, Refusal> {
        let mut open: Option<Vec<u8>> = None;
        loop {
            let (kind, data) = match self.piece(budget)? {
                Piece::Fragment { kind, data } => (kind, data),
                Piece::Blank if open.take().is_none() => continue,
                Piece::Blank => {
                    self.damaged("zeros in a record")?;
                    continue;
                }
                Piece::Bad(what) => {
                    self.damaged(what)?;
                    open = None;
                    continue;
                }
                Piece::End => return Ok(None),
            };
            match (kind, open.as_mut()) {
                (WHOLE | FIRST, Some(before)) if !before.is_empty() => {
                    self.damaged("a record without its end")?;
                }
                (MIDDLE | LAST, None) => self.damaged("a record without its beginning")?,
                _ => {}
            }
            match kind {
                WHOLE => return Ok(Some(data)),
                FIRST => open = Some(data),
                MIDDLE | LAST => {
                    let Some(record) = open.as_mut() else { continue };
                    extend(record, &data)?;
                    if kind == LAST {
                        return Ok(open);
                    }
                }
                USED_AGAIN_FIRST..=USED_AGAIN_LAST => {
                    return Err(Refusal::unsupported("a log file that is used again"));
                }
                COMPRESSION => return Err(Refusal::unsupported("a compressed log file")),
                _ => return Err(Refusal::unsupported(&format!("a log record of kind {kind}"))),
            }
        }
    }

    fn damaged(&self, what: &str) -> Result<(), Refusal> {
        let at = self.next_block.saturating_sub(self.block.len() as u64) + self.at as u64;
        match self.damage {
            Damage::Refuse => Err(Refusal::damaged(&format!("{what}, before byte {at}"))),
            Damage::PassOver => Ok(()),
        }
    }

    /// The next fragment.
    fn piece(&mut self, budget: &mut Budget) -> Result<Piece, Refusal> {
        while self.block.len().saturating_sub(self.at) < HEADER {
            if self.is_last {
                return Ok(Piece::End);
            }
            self.read_block(budget)?;
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let mut header = Cursor::new(rest);
        let crc = header.u32()?;
        let size = usize::from(header.byte()?) | usize::from(header.byte()?) << 8;
        let kind = header.byte()?;
        let is_used_again = (USED_AGAIN_FIRST..=USED_AGAIN_LAST).contains(&kind);
        let end = HEADER + size + if is_used_again { NUMBER } else { 0 };
        let Some(data) = rest.get(HEADER..end) else {
            self.at = self.block.len();
            // Where the file ends the writer had not come further.
            return Ok(if self.is_last {
                Piece::End
            } else {
                Piece::Bad("a fragment is too long")
            });
        };
        if kind == 0 && size == 0 {
            self.at = self.block.len();
            return Ok(Piece::Blank);
        }
        if crc32c::crc32c_append(crc32c::crc32c(&[kind]), data) != unmasked(crc) {
            // The size is part of what may be wrong: only the next block is sure to begin where it should.
            self.at = self.block.len();
            return Ok(Piece::Bad("wrong checksum"));
        }
        let data = data.to_vec();
        self.at += end;
        Ok(Piece::Fragment { kind, data })
    }

    fn read_block(&mut self, budget: &mut Budget) -> Result<(), Refusal> {
        self.block.resize(BLOCK, 0);
        let read = read_full(&*self.file, &mut self.block, self.next_block)?;
        budget.take(read)?;
        self.block.truncate(read);
        self.next_block += read as u64;
        self.at = 0;
        self.is_last = read < BLOCK;
        Ok(())
    }
}

fn extend(record: &mut Vec<u8>, data: &[u8]) -> Result<(), Refusal> {
    if record.len() + data.len() > ROCKSDB_BLOCK_MAX {
        return Err(Refusal::damaged(&format!("a record of more than {ROCKSDB_BLOCK_MAX} bytes")));
    }
    record.extend_from_slice(data);
    Ok(())
}

/// The checksum that a masked one stands for. It is masked (turned by 15 bits, plus a constant) so that the
/// checksum of bytes that hold checksums is worth something.
pub(super) fn unmasked(crc: u32) -> u32 {
    crc.wrapping_sub(0xa282_ead8).rotate_left(15)
}

#[cfg(test)]
#[expect(clippy::little_endian_bytes, reason = "that is how RocksDB writes integers")]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::fault::FaultDisk;
    use crate::disk::{Disk, Open};

    pub(in crate::rocksdb) fn masked(crc: u32) -> u32 {
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    fn fragment(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), data);
        out.extend_from_slice(&masked(crc).to_le_bytes());
        out.extend_from_slice(&(data.len() as u16).to_le_bytes());
        out.push(kind);
        out.extend_from_slice(data);
    }

    /// Writes a log.
    pub(in crate::rocksdb) fn log_of(records: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            let mut rest = *record;
            let mut is_first = true;
            loop {
                let left = BLOCK - out.len() % BLOCK;
                if left < HEADER {
                    out.resize(out.len() + left, 0);
                    continue;
                }
                let (data, behind) = rest.split_at(rest.len().min(left - HEADER));
                let kind = match (is_first, behind.is_empty()) {
                    (true, true) => WHOLE,
                    (true, false) => FIRST,
                    (false, false) => MIDDLE,
                    (false, true) => LAST,
                };
                fragment(&mut out, kind, data);
                (rest, is_first) = (behind, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        out
    }

    fn file_of(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let disk = FaultDisk::default();
        disk.create_dir(Path::new("/db")).expect("sound");
        let file = disk.open(Path::new("/db/1"), Open::Create).expect("sound");
        file.write_at(&[bytes], 0).expect("sound");
        file
    }

    fn read(bytes: &[u8], damage: Damage) -> Result<Vec<Vec<u8>>, Refusal> {
        let mut records = Records::new(file_of(bytes), damage);
        let mut budget = Budget::default();
        let mut all = Vec::new();
        while let Some(record) = records.next(&mut budget)? {
            all.push(record);
        }
        Ok(all)
    }

    #[track_caller]
    fn check(bytes: &[u8], damage: Damage, expected: &[&[u8]]) {
        assert_eq!(read(bytes, damage).expect("it can be read"), expected);
    }

    #[test]
    fn crc_of_the_standard() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(unmasked(masked(0xe306_9283)), 0xe306_9283);
    }

    #[test]
    fn records_around_the_end_of_a_block() {
        // The second begins where 0 to 20 bytes are left of the block.
        for left in 0..=20 {
            let first = vec![1; BLOCK - HEADER - left];
            let third = vec![3; 3 * BLOCK];
            let records: [&[u8]; 4] = [&first, b"second", &third, b""];
            check(&log_of(&records), Damage::Refuse, &records);
        }
    }

    #[test]
    fn a_torn_end_is_no_damage() {
        let long = vec![2; BLOCK];
        let bytes = log_of(&[b"first", &long]);
        let end_of_first = HEADER + 5;
        for size in (end_of_first..bytes.len()).filter(|size| size % 61 == 0 || size % BLOCK < 20) {
            check(&bytes[..size], Damage::Refuse, &[b"first"]);
            check(&bytes[..size], Damage::PassOver, &[b"first"]);
        }
    }

    #[test]
    fn damage_costs_the_rest_of_the_block() {
        let filler = vec![9; BLOCK - HEADER];
        let mut bytes = log_of(&[&filler, b"one", b"two", &filler, b"end"]);
        check(&bytes, Damage::Refuse, &[&filler, b"one", b"two", &filler, b"end"]);
        bytes[BLOCK + HEADER] ^= 1;
        // The last part of the second filler lies in the third block, without its first.
        check(&bytes, Damage::PassOver, &[&filler, b"end"]);
        let refused = read(&bytes, Damage::Refuse).expect_err("damaged").to_string();
        assert!(refused.starts_with("wrong checksum"), "{refused}");
    }

    #[test]
    fn zeros_behind_the_end() {
        let mut bytes = log_of(&[b"one"]);
        bytes.resize(3 * BLOCK + 5, 0);
        check(&bytes, Damage::Refuse, &[b"one"]);
    }

    #[test]
    fn other_kinds_are_refused() {
        for (kind, expected) in [
            (5, "a log file that is used again is not supported"),
            (9, "a compressed log file is not supported"),
            (77, "a log record of kind 77 is not supported"),
        ] {
            let mut bytes = Vec::new();
            fragment(&mut bytes, kind, b"abcdef");
            if kind == 5 {
                // The number of the file is not counted.
                bytes[4] -= 4;
            }
            for damage in [Damage::Refuse, Damage::PassOver] {
                let refused = read(&bytes, damage).expect_err("of another kind").to_string();
                assert_eq!(refused, expected);
            }
        }
    }
}
