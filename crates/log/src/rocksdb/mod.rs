//! The small RocksDB databases in which Apache RocketMQ 5.5.0 keeps topics, groups and consumer offsets
//! (`storeType=defaultRocksDB`), read without a change.
//!
//! In: the folder of a database that nobody has open. Out: its entries, as RocksDB would show them after it
//! recovered: what only the write-ahead logs say counts, and an end of them that is torn does not.
//!
//! - `cursor`: integers and strings.
//! - `log`: the records that the list of files and the write-ahead logs consist of.
//! - `edit`: the list of files.
//! - `wal`: changes in a write-ahead log.
//! - `table`: a table's entries.
//!
//! `CURRENT` names the list of files; that names the tables of each column family, and the first log whose
//! changes are not in them. Each change of a database has a number, and the entry with the highest number of
//! a key is the one that counts, wherever it lies. What RocketMQ does not use (compression, merges, deleted
//! ranges, values in files of their own) is refused.

mod cursor;
mod edit;
mod log;
mod table;
mod wal;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Open, read_whole};
use crate::limits::{ROCKSDB_BYTES_MAX, ROCKSDB_CURRENT_MAX};
use log::{Damage, Records};

/// The highest number of a change: it shares 8 bytes with what the change is.
const SEQUENCE_MAX: u64 = (1 << 56) - 1;
/// What an entry costs in memory beside its bytes.
const ENTRY_OVERHEAD: usize = 64;

/// A database: its column families, as they are after a recovery.
pub struct Database {
    /// By name.
    families: BTreeMap<Vec<u8>, Family>,
}

struct Family {
    /// What the logs say.
    memory: Entries,
    /// The lowest level first, and in it the newest.
    tables: Vec<Table>,
}

struct Table {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
}

impl Database {
    /// Opens the database in a folder. `None`: there is none (no `CURRENT`). The entries of its tables are not
    /// yet read. [`io::ErrorKind::InvalidData`] means that it is damaged, [`io::ErrorKind::Unsupported`] that
    /// it is not as RocketMQ writes it.
    pub fn open(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Database>> {
        let Some(list) = current(disk, dir)? else { return Ok(None) };
        let list = dir.join(list);
        let mut budget = Budget::default();
        let files = files(disk, &list, &mut budget).map_err(|why| at(&list, why))?;
        let mut memory = Memory::of(&files);
        for (number, name) in logs(disk, dir, files.log)? {
            let path = dir.join(name);
            let replayed = memory.replay(disk, &path, number, &mut budget);
            replayed.map_err(|why| at(&path, why))?;
        }
        let mut families = BTreeMap::new();
        for (id, family) in files.families {
            let tables = tables(disk, dir, &family, &mut budget)?;
            let memory = memory.families.remove(&id).unwrap_or_default().entries;
            families.insert(family.name, Family { memory, tables });
        }
        Ok(Some(Database { families }))
    }

    /// All entries of a column family that are not deleted, by key; none if there is no such family.
    pub fn entries(&self, family: &str) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let Some(family) = self.families.get(family.as_bytes()) else { return Ok(BTreeMap::new()) };
        let mut entries = family.memory.clone();
        let (mut budget, mut kept) = (Budget::default(), Budget::default());
        for Table { path, file, size } in &family.tables {
            let read = table::read(&**file, *size, &mut budget, |entry| {
                entries.add(entry.key, entry.sequence, entry.value, &mut kept)
            });
            read.map_err(|why| at(path, why))?;
        }
        let all = entries.by_key.into_iter();
        Ok(all.filter_map(|(key, newest)| Some((key, newest.value?))).collect())
    }
}

/// The name of the list of files.
fn current(disk: &dyn Disk, dir: &Path) -> io::Result<Option<String>> {
    let path = dir.join("CURRENT");
    let text = match read_whole(disk, &path, ROCKSDB_CURRENT_MAX) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|why| at(&path, why.into()))?,
    };
    let name = String::from_utf8(text).ok().and_then(|text| {
        let digits = text.strip_prefix("MANIFEST-")?.strip_suffix('\n')?;
        number(digits).map(|_| format!("MANIFEST-{digits}"))
    });
    name.map(Some).ok_or_else(|| at(&path, Refusal::damaged("it names no list of files")))
}

/// A number as it stands in the names of files. Nothing else may be there: the name becomes a path.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Reads the list of files.
fn files(disk: &dyn Disk, path: &Path, budget: &mut Budget) -> Result<edit::Files, Refusal> {
    let mut records = Records::new(disk.open(path, Open::Read)?, Damage::Refuse);
    let mut files = edit::Files::default();
    while let Some(record) = records.next(budget)? {
        files.take(&record)?;
    }
    files.check()?;
    Ok(files)
}

/// The write-ahead logs that may be needed, the oldest first.
fn logs(disk: &dyn Disk, dir: &Path, first: u64) -> io::Result<Vec<(u64, String)>> {
    let names = disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name);
    let log = |name: String| Some((number(name.strip_suffix(".log")?)?, name));
    let mut logs: Vec<_> = names.filter_map(log).filter(|(number, _)| *number >= first).collect();
    logs.sort();
    Ok(logs)
}

/// Opens the tables of a family.
fn tables(
    disk: &dyn Disk,
    dir: &Path,
    family: &edit::Family,
    budget: &mut Budget,
) -> io::Result<Vec<Table>> {
    let mut tables = Vec::new();
    let mut files: Vec<_> = family.tables.iter().collect();
    files.sort_by_key(|(number, table)| (table.level, std::cmp::Reverse(**number)));
    for (number, expected) in files {
        let path = dir.join(format!("{number:06}.sst"));
        let opened = open_table(disk, &path, expected.size, budget);
        let file = opened.map_err(|why| at(&path, why))?;
        tables.push(Table { path, file, size: expected.size });
    }
    Ok(tables)
}

fn open_table(
    disk: &dyn Disk,
    path: &Path,
    expected: u64,
    budget: &mut Budget,
) -> Result<Arc<dyn DiskFile>, Refusal> {
    let file = disk.open(path, Open::Read)?;
    let size = file.size()?;
    if size != expected {
        return Err(Refusal::damaged(&format!("it has {size} bytes, and should have {expected}")));
    }
    budget.take(usize::try_from(size).unwrap_or(usize::MAX))?;
    Ok(file)
}

/// What the write-ahead logs say, by the number of the family.
struct Memory {
    families: BTreeMap<u32, InMemory>,
    kept: Budget,
}

#[derive(Default)]
struct InMemory {
    /// What older logs say is in the tables.
    log: u64,
    entries: Entries,
}

impl Memory {
    fn of(files: &edit::Files) -> Self {
        let families = files.families.iter();
        let families = families
            .map(|(id, family)| (*id, InMemory { log: family.log, entries: Entries::default() }));
        Memory { families: families.collect(), kept: Budget::default() }
    }

    /// Takes over what a log says.
    fn replay(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        number: u64,
        budget: &mut Budget,
    ) -> Result<(), Refusal> {
        let Memory { families, kept } = self;
        if families.values().all(|family| number < family.log) {
            return Ok(());
        }
        let mut records = Records::new(disk.open(path, Open::Read)?, Damage::PassOver);
        while let Some(record) = records.next(budget)? {
            wal::replay(&record, |change| {
                // Of a family that was dropped nothing counts.
                match families.get_mut(&change.family) {
                    Some(family) if number >= family.log => {
                        family.entries.add(change.key, change.sequence, change.value, kept)
                    }
                    _ => Ok(()),
                }
            })?;
        }
        Ok(())
    }
}

/// The newest entry of each key.
#[derive(Clone, Default)]
struct Entries {
    by_key: BTreeMap<Vec<u8>, Newest>,
}

#[derive(Clone)]
struct Newest {
    sequence: u64,
    /// None: the key is deleted, whatever older entries say.
    value: Option<Vec<u8>>,
}

impl Entries {
    fn add(
        &mut self,
        key: &[u8],
        sequence: u64,
        value: Option<&[u8]>,
        kept: &mut Budget,
    ) -> Result<(), Refusal> {
        if self.by_key.get(key).is_some_and(|newest| newest.sequence >= sequence) {
            return Ok(());
        }
        kept.take(key.len() + value.map_or(0, <[u8]>::len) + ENTRY_OVERHEAD)?;
        self.by_key.insert(key.to_vec(), Newest { sequence, value: value.map(<[u8]>::to_vec) });
        Ok(())
    }
}

/// Bytes that may still be read, or kept.
#[derive(Debug)]
struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: ROCKSDB_BYTES_MAX }
    }
}

impl Budget {
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        let left = self.left.checked_sub(bytes).ok_or(Refusal::TooLarge)?;
        self.left = left;
        Ok(())
    }
}

/// Why a file is not taken over.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// It is not what RocksDB wrote.
    #[error("{0}")]
    Damaged(String),
    /// RocksDB may have written it, RocketMQ does not.
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("the database has more than {ROCKSDB_BYTES_MAX} bytes")]
    TooLarge,
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Refusal {
    fn damaged(what: &str) -> Self {
        Refusal::Damaged(what.to_owned())
    }

    fn unsupported(what: &str) -> Self {
        Refusal::Unsupported(what.to_owned())
    }
}

/// The error of a file.
fn at(path: &Path, why: Refusal) -> io::Error {
    let kind = match &why {
        Refusal::Damaged(_) | Refusal::TooLarge => io::ErrorKind::InvalidData,
        Refusal::Unsupported(_) => io::ErrorKind::Unsupported,
        // A file that is named and not there is damage, not an absent database.
        Refusal::Disk(why) if why.kind() == io::ErrorKind::NotFound => io::ErrorKind::InvalidData,
        Refusal::Disk(why) => why.kind(),
    };
    io::Error::new(kind, format!("{}: {why}", path.display()))
}
