//! The list of files (`MANIFEST`): which column families and tables there are.
//!
//! In: its records, each a change of the list. Out: the list as it is behind the last one.
//!
//! A record is a row of fields, each behind its tag (varint). Numbers are varints.
//!
//! | tag | field |
//! |---|---|
//! | 1 | name of the order of keys (string) |
//! | 2 | the family's first log that is needed |
//! | 3 4 | next number of a file; last number of a change |
//! | 5 | level, key (string): where compaction goes on |
//! | 6 | level, number: this table is gone |
//! | 9 | 0 |
//! | 10 | the first log that is needed |
//! | 103 | level, number, bytes, first and last key (strings), first and last number of a change, and further fields: tag, string; tag 1 has none and is the last |
//! | 200 | the family that the record is about; 0 if it has none |
//! | 201 202 | this family is new (string: its name); is dropped |
//! | 203 | highest family |
//! | 300 | how many records follow that count only with this one |
//! | 0x2000 and above | string that may be ignored |
//!
//! Of the further fields of a table those below 0x40 may be ignored, but for 3 (as tag 10, 8 bytes) and 4
//! (a file with values).

use std::collections::BTreeMap;

use super::Refusal;
use super::cursor::Cursor;

const ORDER: &[u8] = b"leveldb.BytewiseComparator";
/// The family that is always there.
const DEFAULT: &[u8] = b"default";

mod tag {
    pub(super) const ORDER: u32 = 1;
    pub(super) const LOG: u32 = 2;
    pub(super) const NEXT_FILE: u32 = 3;
    pub(super) const LAST_SEQUENCE: u32 = 4;
    pub(super) const COMPACT_FROM: u32 = 5;
    pub(super) const TABLE_GONE: u32 = 6;
    pub(super) const LOG_BEFORE: u32 = 9;
    pub(super) const LOG_NEEDED: u32 = 10;
    pub(super) const TABLE: u32 = 103;
    pub(super) const FAMILY: u32 = 200;
    pub(super) const FAMILY_NEW: u32 = 201;
    pub(super) const FAMILY_DROPPED: u32 = 202;
    pub(super) const FAMILY_HIGHEST: u32 = 203;
    pub(super) const GROUP: u32 = 300;
    pub(super) const MAY_BE_IGNORED: u32 = 0x2000;
}

/// Further fields of a table.
mod further {
    pub(super) const END: u32 = 1;
    pub(super) const LOG_NEEDED: u32 = 3;
    pub(super) const VALUES_FILE: u32 = 4;
    pub(super) const MUST_BE_KNOWN: u32 = 0x40;
}

/// What each list of files says, in one record or another: RocksDB opens no database without.
const EVERYWHERE: [(u32, &str); 3] = [
    (tag::LOG, "the first log"),
    (tag::NEXT_FILE, "the next number of a file"),
    (tag::LAST_SEQUENCE, "the last number of a change"),
];

/// Where a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableFile {
    pub(super) level: u32,
    pub(super) size: u64,
}

/// A column family.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) name: Vec<u8>,
    /// What older logs say of it is in its tables.
    pub(super) log: u64,
    /// By number.
    pub(super) tables: BTreeMap<u64, TableFile>,
}

/// All files that count.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) families: BTreeMap<u32, Family>,
    /// Older logs are not needed.
    pub(super) log: u64,
    /// What every list says somewhere, and was not yet said.
    missing: Vec<(u32, &'static str)>,
    /// Changes that count only with those that follow.
    waiting: Vec<Edit>,
}

/// One change of the list.
#[derive(Debug, Default)]
struct Edit {
    family: u32,
    log: u64,
    log_needed: u64,
    is_dropped: bool,
    new: Option<Vec<u8>>,
    gone: Vec<(u32, u64)>,
    tables: Vec<(u64, TableFile)>,
    /// How many follow that count only with this one.
    group: Option<u32>,
    /// Which tags of [`EVERYWHERE`] it has.
    said: Vec<u32>,
}

impl Default for Files {
    fn default() -> Self {
        let family = Family { name: DEFAULT.to_vec(), ..Family::default() };
        Files {
            families: BTreeMap::from([(0, family)]),
            log: 0,
            missing: EVERYWHERE.to_vec(),
            waiting: Vec::new(),
        }
    }
}

impl Files {
    /// Takes over the next record.
    pub(super) fn take(&mut self, record: &[u8]) -> Result<(), Refusal> {
        let edit = Edit::read(record)?;
        let Some(more) = edit.group else {
            // RocksDB refuses this, too.
            if !self.waiting.is_empty() {
                return Err(Refusal::damaged("changes that belong together are not together"));
            }
            return self.apply(edit);
        };
        self.waiting.push(edit);
        if more > 0 {
            return Ok(());
        }
        std::mem::take(&mut self.waiting).into_iter().try_for_each(|edit| self.apply(edit))
    }

    /// Whether the list says all that a list must say: an end that is torn may have taken it along.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self.missing.first() {
            None => Ok(()),
            Some((_, what)) => Err(Refusal::damaged(&format!("{what} is missing"))),
        }
    }

    fn apply(&mut self, edit: Edit) -> Result<(), Refusal> {
        self.missing.retain(|(tag, _)| !edit.said.contains(tag));
        self.log = self.log.max(edit.log_needed);
        let id = edit.family;
        if let Some(name) = edit.new {
            let is_known = self.families.values().any(|family| family.name == name);
            if is_known || self.families.contains_key(&id) {
                return Err(Refusal::damaged(&format!("column family {id} is there twice")));
            }
            self.families.insert(id, Family { name, ..Family::default() });
        }
        let family = self.families.get_mut(&id);
        let family =
            family.ok_or_else(|| Refusal::damaged(&format!("there is no column family {id}")))?;
        family.log = family.log.max(edit.log);
        for (level, number) in edit.gone {
            let gone = family.tables.remove(&number);
            if gone.is_none_or(|table| table.level != level) {
                return Err(Refusal::damaged(&format!("table {number} is gone and was not there")));
            }
        }
        for (number, table) in edit.tables {
            if family.tables.insert(number, table).is_some() {
                return Err(Refusal::damaged(&format!("table {number} is there twice")));
            }
        }
        if edit.is_dropped {
            self.families.remove(&id);
        }
        Ok(())
    }
}

impl Edit {
    fn read(record: &[u8]) -> Result<Self, Refusal> {
        let mut edit = Edit::default();
        let mut rest = Cursor::new(record);
        while !rest.is_empty() {
            let tag = rest.varint32()?;
            edit.field(tag, &mut rest)?;
        }
        Ok(edit)
    }

    fn field(&mut self, tag: u32, rest: &mut Cursor<'_>) -> Result<(), Refusal> {
        if EVERYWHERE.iter().any(|(known, _)| *known == tag) && !self.said.contains(&tag) {
            self.said.push(tag);
        }
        match tag {
            tag::ORDER => {
                let name = rest.string()?;
                if name != ORDER {
                    let name = String::from_utf8_lossy(name);
                    return Err(Refusal::unsupported(&format!("the order of keys {name:?}")));
                }
            }
            tag::LOG => self.log = rest.varint()?,
            tag::NEXT_FILE | tag::LAST_SEQUENCE => drop(rest.varint()?),
            tag::COMPACT_FROM => {
                rest.varint32()?;
                rest.string()?;
            }
            tag::TABLE_GONE => self.gone.push((rest.varint32()?, rest.varint()?)),
            tag::LOG_BEFORE => {
                if rest.varint()? != 0 {
                    return Err(Refusal::unsupported("a log before the first that is needed"));
                }
            }
            tag::LOG_NEEDED => self.log_needed = self.log_needed.max(rest.varint()?),
            tag::TABLE => self.table(rest)?,
            tag::FAMILY => self.family = rest.varint32()?,
            tag::FAMILY_NEW => self.new = Some(rest.string()?.to_vec()),
            tag::FAMILY_DROPPED => self.is_dropped = true,
            tag::FAMILY_HIGHEST => drop(rest.varint32()?),
            tag::GROUP => self.group = Some(rest.varint32()?),
            tag::MAY_BE_IGNORED.. => drop(rest.string()?),
            _ => return Err(Refusal::unsupported(&format!("tag {tag} in the list of files"))),
        }
        Ok(())
    }

    fn table(&mut self, rest: &mut Cursor<'_>) -> Result<(), Refusal> {
        let level = rest.varint32()?;
        let number = rest.varint()?;
        let size = rest.varint()?;
        rest.string()?;
        rest.string()?;
        rest.varint()?;
        rest.varint()?;
        loop {
            let tag = rest.varint32()?;
            if tag == further::END {
                break;
            }
            let field = rest.string()?;
            match tag {
                further::LOG_NEEDED => {
                    self.log_needed = self.log_needed.max(Cursor::new(field).u64()?);
                }
                further::VALUES_FILE => {
                    return Err(Refusal::unsupported("a table with values in another file"));
                }
                _ if tag & further::MUST_BE_KNOWN != 0 => {
                    return Err(Refusal::unsupported(&format!("tag {tag} of a table")));
                }
                _ => {}
            }
        }
        self.tables.push((number, TableFile { level, size }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn files(records: &[&[u8]]) -> Result<Files, Refusal> {
        let mut files = Files::default();
        records.iter().try_for_each(|record| files.take(record))?;
        Ok(files)
    }

    #[track_caller]
    fn check(records: &[&[u8]], expected: &str) {
        assert_eq!(files(records).expect_err("refused").to_string(), expected);
    }

    /// Table 9 of 70 bytes on level 0.
    const TABLE: &[u8] = b"\x67\x00\x09\x46\x01a\x01z\x05\x06\x05\x01x\x01";

    #[test]
    fn families_and_tables() {
        let gone: &[u8] = b"\x06\x00\x09";
        let lower: &[u8] = b"\x67\x06\x09\x46\x01a\x01z\x05\x06\x01";
        let made: &[u8] = b"\xc8\x01\x01\xc9\x01\x02kv\x02\x04\xcb\x01\x01";
        let files =
            files(&[b"\x02\x07\x0a\x03", TABLE, made, &[gone, lower].concat()]).expect("sound");
        assert_eq!(files.log, 3);
        assert_eq!(files.families[&0].log, 7);
        assert_eq!(files.families[&0].tables, [(9, TableFile { level: 6, size: 70 })].into());
        assert_eq!((files.families[&1].name.as_slice(), files.families[&1].log), (&b"kv"[..], 4));
    }

    #[test]
    fn a_dropped_family_may_come_again() {
        let made: &[u8] = b"\xc8\x01\x01\xc9\x01\x02kv";
        let dropped: &[u8] = b"\xc8\x01\x01\xca\x01";
        let again: &[u8] = b"\xc8\x01\x02\xc9\x01\x02kv";
        let files = files(&[made, dropped, again]).expect("sound");
        assert_eq!(files.families.keys().copied().collect::<Vec<_>>(), [0, 2]);
        check(&[made, made], "column family 1 is there twice");
        check(&[dropped], "there is no column family 1");
    }

    #[test]
    fn a_group_counts_only_when_it_is_whole() {
        let first: &[u8] = b"\xac\x02\x01\x02\x08";
        let last: &[u8] = b"\xac\x02\x00\x0a\x05";
        let half = files(&[first]).expect("sound");
        assert_eq!((half.families[&0].log, half.log), (0, 0));
        let whole = files(&[first, last]).expect("sound");
        assert_eq!((whole.families[&0].log, whole.log), (8, 5));
        check(&[first, b"\x02\x09"], "changes that belong together are not together");
    }

    #[test]
    fn a_list_that_says_too_little() {
        let mut files = files(&[b"\x02\x07", b"\x04\x09"]).expect("sound");
        let refused = files.check().expect_err("incomplete").to_string();
        assert_eq!(refused, "the next number of a file is missing");
        files.take(b"\x03\x09").expect("sound");
        files.check().expect("complete");
    }

    #[test]
    fn what_may_be_ignored() {
        files(&[b"\x81\x40\x03abc\x02\x01"]).expect("a tag of 0x2001");
        check(&[b"\x07\x00"], "tag 7 in the list of files is not supported");
        check(&[b"\x90\x03\x00"], "tag 400 in the list of files is not supported");
        check(
            &[b"\x67\x00\x09\x46\x00\x00\x05\x06\x41\x01x\x01"],
            "tag 65 of a table is not supported",
        );
        check(
            &[b"\x67\x00\x09\x46\x00\x00\x05\x06\x04\x01x\x01"],
            "a table with values in another file is not supported",
        );
        check(&[b"\x01\x01x"], "the order of keys \"x\" is not supported");
        check(&[b"\x06\x00\x09"], "table 9 is gone and was not there");
        check(&[TABLE, TABLE], "table 9 is there twice");
    }
}
