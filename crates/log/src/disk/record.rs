//! A disk that writes down what is done to it; and the same, done once more to a [`FaultDisk`] up to
//! any point, where the power may then go.
//!
//! In: any [`Disk`], and a file for the record. Out of [`replay`]: the disk as a power cut at that
//! point may leave it.
//!
//! A sync counts only if it had returned by then, and covers what was asked for before it began.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::fault::FaultDisk;
use super::{Disk, DiskFile, Entry, Open, Space};

/// Microseconds since 1970, as the record has them.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}

/// What was done. The numbers stand in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    CreateDir = 1,
    Create = 2,
    /// `number`: the size.
    Size = 3,
    /// `number`: where.
    Write = 4,
    /// `number`: where; the bytes are a count of zeros, as 8 bytes.
    Zeros = 5,
    /// `number`: which sync; it begins.
    Sync = 6,
    /// As [`Kind::Sync`], of a folder.
    SyncDir = 7,
    /// `number`: which sync has returned.
    Synced = 8,
    /// The bytes are the new path.
    Rename = 9,
    Remove = 10,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::CreateDir,
        Kind::Create,
        Kind::Size,
        Kind::Write,
        Kind::Zeros,
        Kind::Sync,
        Kind::SyncDir,
        Kind::Synced,
        Kind::Rename,
        Kind::Remove,
    ];
}

struct Record {
    file: File,
    syncs: u64,
}

/// See the module's documentation. Clones share the record.
#[derive(Clone)]
pub struct Recorded<D> {
    disk: D,
    record: Arc<Mutex<Record>>,
}

impl<D> Recorded<D> {
    /// Begins a record in a new file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(disk: D, record: &Path) -> io::Result<Self> {
        let record = Record { file: File::create_new(record)?, syncs: 0 };
        Ok(Recorded { disk, record: Arc::new(Mutex::new(record)) })
    }
}

impl Record {
    /// Kind, time, length of the path, number, length of the bytes; path; bytes. Big-endian.
    fn put(&mut self, kind: Kind, path: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
        let path = path.to_string_lossy();
        let mut out = Vec::with_capacity(32 + path.len() + bytes.len());
        out.push(kind as u8);
        out.extend(now_us().to_be_bytes());
        out.extend((path.len() as u32).to_be_bytes());
        out.extend(number.to_be_bytes());
        out.extend((bytes.len() as u32).to_be_bytes());
        out.extend(path.as_bytes());
        out.extend(bytes);
        self.file.write_all(&out)
    }
}

type Shared = Arc<Mutex<Record>>;

/// Writes down that a sync begins, does it, and writes down that it has returned.
fn sync(
    record: &Shared,
    kind: Kind,
    path: &Path,
    sync: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let number = {
        let mut record = record.lock();
        record.syncs += 1;
        let number = record.syncs;
        record.put(kind, path, number, &[])?;
        number
    };
    sync()?;
    record.lock().put(Kind::Synced, path, number, &[])
}

impl<D: Disk> Disk for Recorded<D> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.record.lock().put(Kind::CreateDir, dir, 0, &[])?;
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        if how == Open::Create {
            self.record.lock().put(Kind::Create, path, 0, &[])?;
        }
        Ok(Arc::new(RecordedFile { file, path: path.to_owned(), record: self.record.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to_bytes = to.to_string_lossy();
        self.record.lock().put(Kind::Rename, from, 0, to_bytes.as_bytes())?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)?;
        self.record.lock().put(Kind::Remove, path, 0, &[])
    }

    /// Not recorded: a folder is nothing without files.
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync(&self.record, Kind::SyncDir, dir, || self.disk.sync_dir(dir))
    }

    /// Not recorded: the log relies on no such call.
    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_all(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.disk.space(dir)
    }
}

struct RecordedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    record: Shared,
}

impl DiskFile for RecordedFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.record.lock().put(Kind::Size, &self.path, size, &[])?;
        self.file.set_size(size)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        let bytes = parts.concat();
        if bytes.iter().all(|byte| *byte == 0) {
            let count = (bytes.len() as u64).to_be_bytes();
            self.record.lock().put(Kind::Zeros, &self.path, at, &count)?;
        } else {
            self.record.lock().put(Kind::Write, &self.path, at, &bytes)?;
        }
        self.file.write_at(parts, at)
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.record, Kind::Sync, &self.path, || self.file.sync())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.file.next_data(at)
    }
}

/// One line of a record.
pub struct Step {
    kind: Kind,
    path: PathBuf,
    number: u64,
    bytes: Vec<u8>,
    /// When it was asked for, in µs since 1970.
    pub at_us: u64,
}

/// Reads a record. Its last line may be cut: its writer was killed.
pub fn read(mut bytes: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(step) = step(&mut bytes) {
        steps.push(step);
    }
    steps
}

fn step(bytes: &mut &[u8]) -> Option<Step> {
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(n)?;
        *bytes = rest;
        Some(taken)
    }
    fn long(bytes: &mut &[u8]) -> Option<u64> {
        take(bytes, 8)?.try_into().ok().map(u64::from_be_bytes)
    }
    fn length(bytes: &mut &[u8]) -> Option<usize> {
        take(bytes, 4)?.try_into().ok().map(|n| u32::from_be_bytes(n) as usize)
    }
    let kind = take(bytes, 1)?[0];
    let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind)?;
    let at_us = long(bytes)?;
    let path_length = length(bytes)?;
    let number = long(bytes)?;
    let bytes_length = length(bytes)?;
    let path = PathBuf::from(String::from_utf8_lossy(take(bytes, path_length)?).into_owned());
    let bytes = take(bytes, bytes_length)?.to_vec();
    Some(Step { kind, path, number, bytes, at_us })
}

/// Does once more what was done, on a disk of which the power can then be cut.
///
/// # Errors
/// A step names a file that no step before it has made.
pub fn replay(steps: &[Step]) -> io::Result<FaultDisk> {
    let disk = FaultDisk::default();
    let returned: BTreeSet<u64> =
        steps.iter().filter(|step| step.kind == Kind::Synced).map(|step| step.number).collect();
    for step in steps {
        let path = &step.path;
        let file = || disk.open(path, Open::Write);
        match step.kind {
            Kind::CreateDir => disk.create_dir(path)?,
            Kind::Create => drop(disk.open(path, Open::Create)?),
            Kind::Size => file()?.set_size(step.number)?,
            Kind::Write => file()?.write_at(&[&step.bytes], step.number)?,
            Kind::Zeros => {
                let count = step.bytes.as_slice().try_into().map_or(0, u64::from_be_bytes);
                file()?.write_at(&[&vec![0; count as usize]], step.number)?;
            }
            Kind::Sync if returned.contains(&step.number) => file()?.sync()?,
            Kind::SyncDir if returned.contains(&step.number) => disk.sync_dir(path)?,
            Kind::Sync | Kind::SyncDir | Kind::Synced => {}
            Kind::Rename => {
                let to = PathBuf::from(String::from_utf8_lossy(&step.bytes).into_owned());
                disk.rename(path, &to)?;
            }
            Kind::Remove => disk.remove(path)?,
        }
    }
    Ok(disk)
}
