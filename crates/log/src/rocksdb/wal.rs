//! A record of a write-ahead log: changes that were made at once.
//!
//! In: the record. Out: keys with their values, numbered in the order in which they were written.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | number of the first change; each has one more than the one before |
//! | 8 | 4 | how many changes; 0 in what only makes a log longer |
//! | 12 | n | the changes |
//!
//! | change | kind (1) | then |
//! |---|---|---|
//! | put | 1; in a column family that is named: 5 | the family (varint) if named, key, value (strings) |
//! | delete | 0 or 7; named: 4 or 8 | the family if named, key |
//! | remark, not counted | 3 | string |
//! | nothing, not counted | 13 | |

use super::cursor::Cursor;
use super::{Refusal, SEQUENCE_MAX};

const HEADER: usize = 12;
const DELETE: u8 = 0;
const PUT: u8 = 1;
const REMARK: u8 = 3;
const DELETE_IN: u8 = 4;
const PUT_IN: u8 = 5;
const DELETE_ONCE: u8 = 7;
const DELETE_ONCE_IN: u8 = 8;
const NOTHING: u8 = 13;

/// A change: no value deletes the key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) sequence: u64,
    pub(super) family: u32,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

/// Tells the changes of a record.
pub(super) fn replay(
    record: &[u8],
    mut tell: impl FnMut(Change<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    // RocksDB passes over what is too short.
    if record.len() < HEADER {
        return Ok(());
    }
    let mut rest = Cursor::new(record);
    let first = rest.u64()?;
    let count = u64::from(rest.u32()?);
    let mut found = 0;
    while !rest.is_empty() {
        let kind = rest.byte()?;
        match kind {
            NOTHING => continue,
            REMARK => {
                rest.string()?;
                continue;
            }
            DELETE | PUT | DELETE_IN | PUT_IN | DELETE_ONCE | DELETE_ONCE_IN => {}
            _ => return Err(Refusal::unsupported(&format!("a change of kind {kind}"))),
        }
        let is_named = matches!(kind, DELETE_IN | PUT_IN | DELETE_ONCE_IN);
        let family = if is_named { rest.varint32()? } else { 0 };
        let key = rest.string()?;
        let value = if matches!(kind, PUT | PUT_IN) { Some(rest.string()?) } else { None };
        let sequence = first.checked_add(found).filter(|sequence| *sequence <= SEQUENCE_MAX);
        let sequence =
            sequence.ok_or_else(|| Refusal::damaged("a change has too high a number"))?;
        tell(Change { sequence, family, key, value })?;
        found += 1;
    }
    if found == count {
        return Ok(());
    }
    Err(Refusal::damaged(&format!("{found} changes where {count} should be")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (u64, u32, Vec<u8>, Option<Vec<u8>>);

    fn read(record: &[u8]) -> Result<Vec<Owned>, Refusal> {
        let mut all = Vec::new();
        replay(record, |c| {
            all.push((c.sequence, c.family, c.key.to_vec(), c.value.map(<[u8]>::to_vec)));
            Ok(())
        })?;
        Ok(all)
    }

    fn record(count: u8, changes: &[u8]) -> Vec<u8> {
        [&[7, 0, 0, 0, 0, 0, 0, 0, count, 0, 0, 0], changes].concat()
    }

    #[test]
    fn changes_are_numbered() {
        let bytes = record(
            5,
            b"\x01\x01a\x02vw\x0d\x05\x02\x01b\x00\x03\x01r\x00\x01a\x04\x03\x01c\x07\x01d",
        );
        let expected = [
            (7, 0, b"a".to_vec(), Some(b"vw".to_vec())),
            (8, 2, b"b".to_vec(), Some(Vec::new())),
            (9, 0, b"a".to_vec(), None),
            (10, 3, b"c".to_vec(), None),
            (11, 0, b"d".to_vec(), None),
        ];
        assert_eq!(read(&bytes).expect("sound"), expected);
    }

    #[test]
    fn an_empty_record_changes_nothing() {
        assert_eq!(read(&record(0, b"")).expect("sound"), []);
        assert_eq!(read(b"short").expect("passed over"), []);
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(read(bytes).expect_err("refused").to_string(), expected);
    }

    #[test]
    fn what_is_refused() {
        check(&record(2, b"\x00\x01a"), "1 changes where 2 should be");
        check(&record(1, b"\x02\x01a\x01b"), "a change of kind 2 is not supported");
        check(&record(1, b"\x0f\x01a\x01b"), "a change of kind 15 is not supported");
        check(&record(1, b"\x01\x01a\x02b"), "it ends too early");
        let mut high = record(1, b"\x00\x01a");
        high[7] = 1;
        check(&high, "a change has too high a number");
    }
}
