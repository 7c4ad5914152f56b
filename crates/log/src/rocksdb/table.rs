//! A table: keys in their order, in blocks, with an index of the blocks.
//!
//! In: a file (`.sst`). Out: every entry of it, deletions too.
//!
//! The end of the file (its last 53 bytes) leads to a list of special blocks, that to the table's
//! properties; the properties say how to read the index, which lists the blocks with the entries. All of them
//! are read in turn: a search is not needed where all entries are wanted. The filter is not read.
//!
//! | at the end of the file | bytes | field |
//! |---|---|---|
//! | 0 | 1 | kind of checksum: 1 is CRC32C |
//! | 1 | 40 | place of the list of special blocks, place of the index; zeros |
//! | 41 | 4 | format version |
//! | 45 | 8 | magic number |
//!
//! A place is two varints: where a block begins, and its bytes without what is behind it:
//!
//! | behind a block | bytes | field |
//! |---|---|---|
//! | 0 | 1 | compression: 0 is none |
//! | 1 | 4 | CRC32C of block and compression, masked as in a [log](super::log) |
//!
//! | block | bytes | field |
//! |---|---|---|
//! | 0 | n | entries |
//! | n | 4 × m | where entries begin whose keys are whole |
//! | n + 4 × m | 4 | m; the top bit says that a hash index lies before it |
//!
//! | entry | field |
//! |---|---|
//! | varint | bytes that the key shares with the one before |
//! | varint | bytes of the key that follow |
//! | varint | bytes of the value; not in an index whose values are differences |
//! | n | the rest of the key |
//! | n | the value |
//!
//! The value in an index is a block's place. Where values are differences and the key shares bytes, the value
//! is a signed varint: the block begins behind the one before, and is so much longer.
//!
//! Behind each key of an entry are 8 bytes, little-endian: the number of the change × 256, and 1 (a value) or
//! 0 or 7 (deleted).

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::log::unmasked;
use super::{Budget, Refusal};
use crate::disk::{DiskFile, read_full};
use crate::limits::ROCKSDB_BLOCK_MAX;

const FOOTER: usize = 53;
const FOOTER_PLACES: u64 = 40;
const MAGIC: u64 = 0x88e2_41b7_85f4_cff7;
const CRC32C: u8 = 1;
/// 6 has checksums that depend on the block's place.
const FORMAT_VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;
/// Compression and checksum behind a block.
const TRAILER: u64 = 5;
const HASH_INDEX: u32 = 1 << 31;
/// The number of the change behind a key.
const SEQUENCE: usize = 8;
const DELETED: u8 = 0;
const VALUE: u8 = 1;
const DELETED_ONCE: u8 = 7;

const PROPERTIES: &[u8] = b"rocksdb.properties";
const RANGES_DELETED: &[u8] = b"rocksdb.range_del";
const ENTRIES: &[u8] = b"rocksdb.num.entries";
const INDEX_KIND: &[u8] = b"rocksdb.block.based.table.index.type";
/// All blocks are in one index.
const INDEX_PLAIN: &[u8] = &[0; 4];
const INDEX_OF_DIFFERENCES: &[u8] = b"rocksdb.index.value.is.delta.encoded";
/// Another database made the table: its changes have other numbers than they say.
const FROM_ELSEWHERE: &[u8] = b"rocksdb.external_sst_file.version";

/// An entry of a table; no value: the key is deleted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) sequence: u64,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// Tells all entries of a table of `size` bytes.
pub(super) fn read(
    file: &dyn DiskFile,
    size: u64,
    budget: &mut Budget,
    mut tell: impl FnMut(Entry<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut table = Table { file, size, budget };
    let footer = table.footer()?;
    let special = table.pairs(footer.special)?;
    if special.contains_key(RANGES_DELETED) {
        return Err(Refusal::unsupported("a deleted range of keys"));
    }
    let properties = special.get(PROPERTIES);
    let properties = properties.ok_or_else(|| Refusal::damaged("the table has no properties"))?;
    let properties = Properties::read(&table.pairs(Place::read(&mut Cursor::new(properties))?)?)?;
    let mut found = 0;
    for place in places(&table.block(footer.index)?, properties.index_has_differences)? {
        found += entries(&table.block(place)?, &mut tell)?;
    }
    if found == properties.entries {
        return Ok(());
    }
    let what = format!("{found} entries where {} should be", properties.entries);
    Err(Refusal::damaged(&what))
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    size: u64,
}

impl Place {
    fn read(bytes: &mut Cursor<'_>) -> Result<Self, Refusal> {
        Ok(Place { offset: bytes.varint()?, size: bytes.varint()? })
    }

    /// The place behind this one, of a block that is so much longer.
    fn next(self, longer: i64) -> Option<Self> {
        let offset = self.offset.checked_add(self.size)?.checked_add(TRAILER)?;
        Some(Place { offset, size: self.size.checked_add_signed(longer)? })
    }
}

struct Footer {
    special: Place,
    index: Place,
}

struct Properties {
    entries: u64,
    index_has_differences: bool,
}

impl Properties {
    fn read(pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<Self, Refusal> {
        let number = |name| match pairs.get(name) {
            Some(value) => Cursor::new(value).varint().map(Some),
            None => Ok(None),
        };
        if pairs.contains_key(FROM_ELSEWHERE) {
            return Err(Refusal::unsupported("a table that another database made"));
        }
        if pairs.get(INDEX_KIND).is_some_and(|kind| kind != INDEX_PLAIN) {
            return Err(Refusal::unsupported("an index of another kind"));
        }
        let entries = number(ENTRIES)?;
        let entries =
            entries.ok_or_else(|| Refusal::damaged("the table says no number of entries"))?;
        let index_has_differences = number(INDEX_OF_DIFFERENCES)?.is_some_and(|is| is != 0);
        Ok(Properties { entries, index_has_differences })
    }
}

struct Table<'a> {
    file: &'a dyn DiskFile,
    size: u64,
    budget: &'a mut Budget,
}

impl Table<'_> {
    fn footer(&self) -> Result<Footer, Refusal> {
        let short = || Refusal::damaged("it is too short for a table");
        let at = self.size.checked_sub(FOOTER as u64).ok_or_else(short)?;
        let mut bytes = [0; FOOTER];
        if read_full(self.file, &mut bytes, at)? != FOOTER {
            return Err(short());
        }
        let mut bytes = Cursor::new(&bytes);
        let checksum = bytes.byte()?;
        let mut places = Cursor::new(bytes.take(FOOTER_PLACES)?);
        let version = bytes.u32()?;
        if bytes.u64()? != MAGIC {
            return Err(Refusal::damaged("it is no table of blocks"));
        }
        if !FORMAT_VERSIONS.contains(&version) {
            return Err(Refusal::unsupported(&format!("format version {version} of a table")));
        }
        if checksum != CRC32C {
            return Err(Refusal::unsupported(&format!("checksum of kind {checksum}")));
        }
        Ok(Footer { special: Place::read(&mut places)?, index: Place::read(&mut places)? })
    }

    /// Reads a block and checks it.
    fn block(&mut self, place: Place) -> Result<Vec<u8>, Refusal> {
        let outside = || Refusal::damaged("a block lies behind the end of the table");
        let with_trailer = place.size.checked_add(TRAILER).ok_or_else(outside)?;
        let end = place.offset.checked_add(with_trailer).ok_or_else(outside)?;
        if end > self.size {
            return Err(outside());
        }
        let size = usize::try_from(with_trailer).ok().filter(|size| *size <= ROCKSDB_BLOCK_MAX);
        let size = size.ok_or_else(|| {
            Refusal::damaged(&format!("a block of more than {ROCKSDB_BLOCK_MAX} bytes"))
        })?;
        self.budget.take(size)?;
        let mut block = vec![0; size];
        if read_full(self.file, &mut block, place.offset)? != size {
            return Err(outside());
        }
        let trailer = block.split_off(size - TRAILER as usize);
        let mut trailer = Cursor::new(&trailer);
        let compression = trailer.byte()?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&block), &[compression]);
        if crc != unmasked(trailer.u32()?) {
            return Err(Refusal::damaged(&format!(
                "wrong checksum of the block at {}",
                place.offset
            )));
        }
        match compression_name(compression) {
            None => Ok(block),
            Some(name) => Err(Refusal::unsupported(&format!("{name} compression ({compression})"))),
        }
    }

    /// The entries of a special block.
    fn pairs(&mut self, place: Place) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Refusal> {
        let block = self.block(place)?;
        let mut pairs = BTreeMap::new();
        let mut rest = Cursor::new(entries_of(&block)?);
        let mut key = Vec::new();
        while !rest.is_empty() {
            let size = Size::read(&mut rest, true)?;
            size.key(&mut key, &mut rest)?;
            self.budget.take(key.len())?;
            pairs.insert(key.clone(), rest.take(size.value)?.to_vec());
        }
        Ok(pairs)
    }
}

fn compression_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0 => return None,
        1 => "Snappy",
        2 => "zlib",
        3 => "bzip2",
        4 => "LZ4",
        5 => "LZ4HC",
        6 => "Xpress",
        7 => "Zstandard",
        _ => "unknown",
    })
}

/// The entries of a block without what is behind them.
fn entries_of(block: &[u8]) -> Result<&[u8], Refusal> {
    let short = || Refusal::damaged("a block is too short");
    let (rest, count) = block.split_at_checked(block.len().wrapping_sub(4)).ok_or_else(short)?;
    let count = Cursor::new(count).u32()?;
    if count & HASH_INDEX != 0 {
        return Err(Refusal::unsupported("a block with a hash index"));
    }
    let size = (rest.len() as u64).checked_sub(u64::from(count) * 4).ok_or_else(short)?;
    Cursor::new(rest).take(size)
}

/// What an entry begins with.
struct Size {
    shared: u64,
    key: u64,
    value: u64,
}

impl Size {
    fn read(rest: &mut Cursor<'_>, has_value_size: bool) -> Result<Self, Refusal> {
        let (shared, key) = (rest.varint32()?, rest.varint32()?);
        let value = if has_value_size { rest.varint32()? } else { 0 };
        Ok(Size { shared: shared.into(), key: key.into(), value: value.into() })
    }

    /// Makes the key of the entry before to that of this one.
    fn key(&self, key: &mut Vec<u8>, rest: &mut Cursor<'_>) -> Result<(), Refusal> {
        if self.shared > key.len() as u64 {
            return Err(Refusal::damaged("a key shares more than there is"));
        }
        key.truncate(self.shared as usize);
        key.extend_from_slice(rest.take(self.key)?);
        Ok(())
    }
}

/// The places in an index.
fn places(index: &[u8], has_differences: bool) -> Result<Vec<Place>, Refusal> {
    let mut rest = Cursor::new(entries_of(index)?);
    let mut all: Vec<Place> = Vec::new();
    while !rest.is_empty() {
        let size = Size::read(&mut rest, !has_differences)?;
        rest.take(size.key)?;
        let place = if !has_differences {
            Place::read(&mut Cursor::new(rest.take(size.value)?))?
        } else if size.shared == 0 {
            Place::read(&mut rest)?
        } else {
            let longer = rest.signed_varint()?;
            let next = all.last().and_then(|before| before.next(longer));
            next.ok_or_else(|| Refusal::damaged("a difference to no block"))?
        };
        all.push(place);
    }
    Ok(all)
}

/// Tells the entries of a block, and how many there are.
fn entries(
    block: &[u8],
    tell: &mut impl FnMut(Entry<'_>) -> Result<(), Refusal>,
) -> Result<u64, Refusal> {
    let mut rest = Cursor::new(entries_of(block)?);
    let mut long_key = Vec::new();
    let mut found = 0;
    while !rest.is_empty() {
        let size = Size::read(&mut rest, true)?;
        size.key(&mut long_key, &mut rest)?;
        let value = rest.take(size.value)?;
        let end = long_key.len().wrapping_sub(SEQUENCE);
        let (key, number) = long_key
            .split_at_checked(end)
            .ok_or_else(|| Refusal::damaged("a key without the number of its change"))?;
        let number = Cursor::new(number).u64()?;
        let value = match number as u8 {
            VALUE => Some(value),
            DELETED | DELETED_ONCE => None,
            kind => return Err(Refusal::unsupported(&format!("an entry of kind {kind}"))),
        };
        tell(Entry { sequence: number >> 8, key, value })?;
        found += 1;
    }
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::little_endian_bytes, reason = "that is how RocksDB writes integers")]
mod tests {
    use super::*;

    /// A block of whole keys.
    fn block(entries: &[u8]) -> Vec<u8> {
        [entries, &0_u32.to_le_bytes(), &1_u32.to_le_bytes()].concat()
    }

    fn place(offset: u64, size: u64) -> Place {
        Place { offset, size }
    }

    #[test]
    fn an_index_of_places() {
        let index =
            block(b"\x00\x01\x02a\x00\x64\x00\x02\x03bc\x69\xc8\x01\x01\x01\x03d\xb6\x02\x05");
        let expected = [place(0, 100), place(105, 200), place(310, 5)];
        assert_eq!(places(&index, false).expect("sound"), expected);
    }

    #[test]
    fn an_index_of_differences() {
        // 100 bytes; 3 more; 95 fewer; then a whole place again, and one of the same size.
        let entries =
            b"\x00\x02ab\x00\x64\x01\x01c\x06\x01\x01d\xbd\x01\x00\x01e\xe8\x07\x0a\x01\x00\x00";
        let expected =
            [place(0, 100), place(105, 103), place(213, 8), place(1000, 10), place(1015, 10)];
        assert_eq!(places(&block(entries), true).expect("sound"), expected);
    }

    #[test]
    fn differences_that_lead_nowhere() {
        for entries in [b"\x01\x01a\x00".as_slice(), b"\x00\x01a\x00\x02\x01\x01b\x05"] {
            let refused = places(&block(entries), true).expect_err("damaged").to_string();
            assert_eq!(refused, "a difference to no block");
        }
        assert_eq!(place(u64::MAX - 5, 1).next(0), None);
    }

    type Owned = (Vec<u8>, u64, Option<Vec<u8>>);

    fn read_entries(bytes: &[u8]) -> Result<Vec<Owned>, Refusal> {
        let mut all = Vec::new();
        entries(bytes, &mut |entry: Entry<'_>| {
            all.push((entry.key.to_vec(), entry.sequence, entry.value.map(<[u8]>::to_vec)));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn entries_share_keys() {
        let first = b"\x00\x0b\x01key\x01\x05\x00\x00\x00\x00\x00\x00v".as_slice();
        let second = b"\x02\x09\x00z\x00\x06\x00\x00\x00\x00\x00\x01";
        let expected = [
            (b"key".to_vec(), 5, Some(b"v".to_vec())),
            (b"kez".to_vec(), 0x0001_0000_0000_0006, None),
        ];
        let bytes = block(&[first, second].concat());
        assert_eq!(read_entries(&bytes).expect("sound"), expected);
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(read_entries(bytes).expect_err("refused").to_string(), expected);
    }

    #[test]
    fn what_is_refused() {
        check(
            &block(b"\x00\x08\x00\x02\x05\x00\x00\x00\x00\x00\x00"),
            "an entry of kind 2 is not supported",
        );
        check(
            &block(b"\x00\x07\x00\x01\x05\x00\x00\x00\x00\x00"),
            "a key without the number of its change",
        );
        check(
            &block(b"\x01\x08\x00\x01\x05\x00\x00\x00\x00\x00\x00"),
            "a key shares more than there is",
        );
        check(b"\x00\x00\x80", "a block is too short");
        check(b"\x02\x00\x00\x00", "a block is too short");
        check(b"\x01\x00\x00\x80", "a block with a hash index is not supported");
    }
}
