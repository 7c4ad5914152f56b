//! The seam to the file system: everything that the log does to files goes through [`Disk`].
//!
//! [`real`] is the machine's; [`read_only`] refuses every change; [`slow`] takes longer to sync; [`fault`] is a disk in memory that loses what was not synced, tears
//! writes, fails on demand, and does it all again from the same seed; [`record`] writes down what is
//! done to a disk, for such a one.

pub mod fault;
pub mod read_only;
pub mod real;
pub mod record;
pub mod slow;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist.
    Read,
    /// It must exist; it will be written.
    Write,
    /// It must not exist yet.
    Create,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub size: u64,
    pub is_dir: bool,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In use, by anyone.
    pub used: u64,
    /// What this process may still write.
    pub free: u64,
}

impl Space {
    /// Percent in use, as `df` counts it: room that only root may take is left out. Rounded up.
    pub fn used_percent(&self) -> u64 {
        let all = self.used.saturating_add(self.free);
        if all == 0 { 100 } else { (self.used.saturating_mul(100)).div_ceil(all) }
    }
}

/// A file system. A created, renamed or removed name counts after [`Disk::sync_dir`] of its
/// folder; written bytes count after [`DiskFile::sync`].
pub trait Disk: Send + Sync {
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a folder, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes all durable that was done to the file system of a folder.
    fn sync_all(&self, dir: &Path) -> io::Result<()>;
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file or lengthens it with zeros.
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// Reads up to `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all parts, one behind the other.
    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()>;
    /// Makes the written bytes and the size durable (`fdatasync`). Never called again on a file
    /// after it failed.
    fn sync(&self) -> io::Result<()>;
    /// The first position at or behind `at` that may hold something else than zeros.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>>;
}

/// Whether an error means that there is no room, rather than that the disk fails.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error means that the disk cannot read a sector, or that the file system found it damaged.
pub fn is_unreadable(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const ENODATA: i32 = 61;
    const EBADMSG: i32 = 74;
    const EILSEQ: i32 = 84;
    const EUCLEAN: i32 = 117;
    matches!(error.raw_os_error(), Some(EIO | ENODATA | EBADMSG | EILSEQ | EUCLEAN))
}

/// Whether an error passes by itself: no file could be opened, as too many are (`EMFILE`, `ENFILE`).
/// Nothing was written or synced.
pub fn is_short_of_descriptors(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Reads exactly `buf.len()` bytes, or as many as there are. Returns how many.
pub fn read_full(file: &dyn DiskFile, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes a whole new file so that it is there completely or not at all: see [`write_new`].
pub fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(disk, path, |file| file.write_at(&[bytes], 0))
}

/// Makes a new file so that it is there completely or not at all: a temporary file, synced, renamed,
/// and its folder synced. `write` writes its content.
pub fn write_new<T>(
    disk: &dyn Disk,
    path: &Path,
    write: impl FnOnce(&dyn DiskFile) -> io::Result<T>,
) -> io::Result<T> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_extension("tmp");
    match disk.remove(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let made = disk.open(&temporary, Open::Create).and_then(|file| {
        let written = write(&*file)?;
        file.sync()?;
        Ok(written)
    });
    if made.is_err() {
        // Where the disk is full its room is needed.
        let _ = disk.remove(&temporary);
    }
    let written = made?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)?;
    Ok(written)
}

/// Removes what a kill left of [`write_new`] in a folder.
pub fn remove_temporary(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = disk.list(dir)?.into_iter().map(|entry| entry.name);
    names.filter(|name| name.ends_with(".tmp")).try_for_each(|name| disk.remove(&dir.join(name)))
}

/// Reads what is kept in two copies: the first that can be read and decoded. `None`: neither is there. An error
/// names its file.
pub fn read_either<T>(
    disk: &dyn Disk,
    paths: [PathBuf; 2],
    max: usize,
    decode: impl Fn(&[u8]) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let mut first_bad = None;
    for path in paths {
        match read_whole(disk, &path, max).and_then(|bytes| decode(&bytes)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => {
                let why = io::Error::new(why.kind(), format!("{}: {why}", path.display()));
                first_bad = first_bad.or(Some(why));
            }
            Ok(good) => return Ok(Some(good)),
        }
    }
    first_bad.map_or(Ok(None), Err)
}

/// Reads a whole file of at most `max` bytes.
pub fn read_whole(disk: &dyn Disk, path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    let size = file.size()?;
    let size = usize::try_from(size).ok().filter(|size| *size <= max).ok_or_else(|| {
        let what = format!("{} has {size} bytes, more than {max}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    let mut bytes = vec![0; size];
    let read = read_full(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
