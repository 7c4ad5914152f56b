//! Snapshots: the state at a position, so that neither the log nor the index blocks before it are
//! needed for that.
//!
//! In: state changes that the engine's state wrote. Out: the same changes at a later start. Made by
//! housekeeping (`engine/src/keeper.rs`); the last two that are whole are kept. Neither side holds one
//! in memory: of a million queues it has more than 100 MB.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `KEROSNAP` |
//! | 8 | 2 | format version |
//! | 10 | 2 | 0 |
//! | 12 | 16 | the log's number |
//! | 28 | 8 | position: the state holds all before it |
//! | 36 | 8 + 4 | the seal before the position: position, CRC32 of its list |
//! | 48 | 8 + 8 | the highest start number and store time before the position |
//! | 64 | n | the state: changes, each behind its size (4) |
//! | | 4 | CRC32 of all before |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::PhysicalOffset;
use crate::disk::{Disk, DiskFile, Open, is_unreadable, read_full, remove_temporary, write_new};
use crate::identity::Identity;
use crate::limits::{ROUND_CHANGES_MAX, SNAPSHOT_STEP};
use crate::recover::Origin;
use crate::rules::{self, Rule};
use crate::seal::Link;

/// The folder in a data directory.
pub const DIR: &str = "snapshot";
const MAGIC: [u8; 8] = *b"KEROSNAP";
const FORMAT_VERSION: u16 = 1;
const HEADER: usize = 64;
/// Behind the state.
const CRC: u64 = 4;
/// How many are kept.
const KEEP: usize = 2;
/// Behind the name of a snapshot's second copy.
const COPY: &str = "-2";

/// A snapshot on the disk that is whole: the state at a position.
pub struct Snapshot {
    pub origin: Origin,
    file: Arc<dyn DiskFile>,
    /// Bytes before the CRC.
    size: u64,
}

/// Takes the state, change by change.
pub type Put<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Writes a snapshot of the state at `origin`, which `dump` tells, and removes all but the last two
/// that are whole. `copies`: 2 where nothing but snapshots will tell what it says, so that one may be
/// damaged. Returns its bytes.
pub fn write(
    disk: &dyn Disk,
    data_dir: &Path,
    identity: &Identity,
    origin: &Origin,
    copies: usize,
    dump: impl FnOnce(&mut Put<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let dir = data_dir.join(DIR);
    disk.create_dir(&dir)?;
    disk.sync_dir(data_dir)?;
    remove_temporary(disk, &dir)?;
    let path = dir.join(format!("{:020}", origin.position.0));
    let copy = dir.join(format!("{:020}{COPY}", origin.position.0));
    let size = write_new(disk, &path, |file| {
        let mut out = Writer { file, at: 0, waiting: header(identity, origin), crc: 0 };
        dump(&mut |change| {
            out.put(&(change.len() as u32).to_be_bytes())?;
            out.put(change)
        })?;
        out.flush()?;
        out.put(&out.crc.to_be_bytes())?;
        out.flush()?;
        Ok(out.at)
    })?;
    // What cannot be read back must not stand for what is removed now, or goes with the log.
    read(disk, &path, identity)?;
    if copies > 1 && rules::holds(Rule::SnapshotTwice) {
        write_new(disk, &copy, |file| copy_of(disk, &path, file))?;
        read(disk, &copy, identity)?;
    }
    let mut whole = 0;
    for name in list(disk, &dir)?.iter().rev() {
        let path = dir.join(name);
        match read(disk, &path, identity) {
            Ok(_) if whole < KEEP => whole += 1,
            Err(why) if why.kind() != io::ErrorKind::InvalidData => return Err(why),
            _ => disk.remove(&path)?,
        }
    }
    // One that came back after a power cut would tell of files that are gone.
    disk.sync_dir(&dir)?;
    Ok(size)
}

fn copy_of(disk: &dyn Disk, path: &Path, to: &dyn DiskFile) -> io::Result<()> {
    let from = disk.open(path, Open::Read)?;
    let mut step = vec![0; SNAPSHOT_STEP];
    let mut at = 0;
    loop {
        let read = read_full(&*from, &mut step, at)?;
        if read == 0 {
            return Ok(());
        }
        to.write_at(&[&step[..read]], at)?;
        at += read as u64;
    }
}

fn header(identity: &Identity, origin: &Origin) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SNAPSHOT_STEP);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&identity.number);
    let before = origin.before.unwrap_or(Link::NONE);
    bytes.extend_from_slice(&origin.position.0.to_be_bytes());
    bytes.extend_from_slice(&before.position.to_be_bytes());
    bytes.extend_from_slice(&before.list_crc.to_be_bytes());
    bytes.extend_from_slice(&origin.start.to_be_bytes());
    bytes.extend_from_slice(&origin.store_timestamp.to_be_bytes());
    bytes
}

struct Writer<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    /// Not yet written.
    waiting: Vec<u8>,
    /// Of what is written.
    crc: u32,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < SNAPSHOT_STEP { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.file.write_at(&[&self.waiting], self.at)?;
        self.at += self.waiting.len() as u64;
        self.crc = crc_of(self.crc, &self.waiting);
        self.waiting.clear();
        Ok(())
    }
}

/// The CRC32 of what has the CRC32 `before`, and of more.
fn crc_of(before: u32, more: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(more);
    hasher.finalize()
}

/// Takes over the newest snapshot that is whole and that `restore` can read; `None` if there is none.
/// Says which are damaged. One that a newer release wrote is an error, as is one that just cannot be read:
/// what it says must not be passed over.
pub fn read_newest<T>(
    disk: &dyn Disk,
    data_dir: &Path,
    identity: &Identity,
    mut restore: impl FnMut(&Snapshot) -> io::Result<T>,
) -> io::Result<(Option<T>, Vec<String>)> {
    let mut damaged = Vec::new();
    for path in paths(disk, data_dir)?.iter().rev() {
        let restored = read(disk, path, identity)
            .and_then(|snapshot| restore(&snapshot).map_err(|why| at(path, &why)));
        match restored {
            Ok(restored) => return Ok((Some(restored), damaged)),
            Err(why) if why.kind() == io::ErrorKind::InvalidData => damaged.push(why.to_string()),
            Err(why) => return Err(why),
        }
    }
    Ok((None, damaged))
}

/// Where the snapshots of a data directory are, the oldest first.
pub fn paths(disk: &dyn Disk, data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = data_dir.join(DIR);
    match list(disk, &dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => Ok(names?.into_iter().map(|name| dir.join(name)).collect()),
    }
}

/// Reads one snapshot and checks it, or says which cannot be read and why:
/// [`io::ErrorKind::InvalidData`] means that it is damaged, [`io::ErrorKind::Unsupported`] that a newer
/// release wrote it.
pub fn read(disk: &dyn Disk, path: &Path, identity: &Identity) -> io::Result<Snapshot> {
    let opened = disk.open(path, Open::Read).and_then(|file| check(file, identity));
    opened.map_err(|why| at(path, &why))
}

fn at(path: &Path, why: &io::Error) -> io::Error {
    // What the disk cannot read is no better than what it reads wrong.
    let kind = if is_unreadable(why) { io::ErrorKind::InvalidData } else { why.kind() };
    io::Error::new(kind, format!("{}: {why}", path.display()))
}

/// Names of snapshots, the oldest first.
fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let is_name = |name: &String| {
        let digits = name.strip_suffix(COPY).unwrap_or(name);
        digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let mut names: Vec<String> = disk.list(dir)?.into_iter().map(|e| e.name).collect();
    names.retain(is_name);
    names.sort();
    Ok(names)
}

fn check(file: Arc<dyn DiskFile>, identity: &Identity) -> io::Result<Snapshot> {
    let bad = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let size = file.size()?;
    let Some(size) = size.checked_sub(CRC).filter(|size| *size >= HEADER as u64) else {
        return bad("too short");
    };
    let mut head = [0; HEADER];
    let mut crc = 0;
    let mut step = vec![0; SNAPSHOT_STEP];
    for at in (0..size).step_by(SNAPSHOT_STEP) {
        let step = &mut step[..SNAPSHOT_STEP.min((size - at) as usize)];
        if read_full(&*file, step, at)? < step.len() {
            return bad("too short");
        }
        if at == 0 {
            head.copy_from_slice(&step[..HEADER]);
        }
        crc = crc_of(crc, step);
    }
    let mut wanted = [0; CRC as usize];
    if read_full(&*file, &mut wanted, size)? < wanted.len() || crc != u32::from_be_bytes(wanted) {
        return bad("damaged");
    }
    if head[..8] != MAGIC || head[12..28] != identity.number {
        return bad("not a snapshot of this log");
    }
    if u16::from_be_bytes([head[8], head[9]]) > FORMAT_VERSION {
        let why = "it has a newer format; run the newer release";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let word = |at: usize| head[at..].first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
    let origin = Origin {
        position: PhysicalOffset(word(28)),
        before: Some(Link { position: word(36), list_crc: (word(44) >> 32) as u32 }),
        start: word(48),
        store_timestamp: word(56) as i64,
    };
    Ok(Snapshot { origin, file, size })
}

impl Snapshot {
    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size + CRC
    }

    /// Reads the state, change by change.
    pub fn each(&self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut at = HEADER as u64;
        let (mut read, mut from) = (Vec::new(), 0);
        // What is read of the next change, and how much of it is needed.
        let mut needed = 4;
        loop {
            let rest = &read[from..];
            if let Some((size, change)) = split(rest) {
                needed = 4 + size;
                if let Some(change) = change {
                    take(change);
                    from += needed;
                    needed = 4;
                    continue;
                }
            }
            if rest.is_empty() && at == self.size {
                return Ok(());
            }
            if at == self.size || needed > 4 + ROUND_CHANGES_MAX {
                let what = "its state ends in the middle of a change";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            read.drain(..from);
            from = 0;
            let kept = read.len();
            let more = SNAPSHOT_STEP.max(needed - kept).min((self.size - at) as usize);
            read.resize(kept + more, 0);
            if read_full(&*self.file, &mut read[kept..], at)? < more {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too short"));
            }
            at += more as u64;
        }
    }
}

/// The size of the first change, and the change if all of it is there.
fn split(bytes: &[u8]) -> Option<(usize, Option<&[u8]>)> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let size = u32::from_be_bytes(*size) as usize;
    Some((size, rest.get(..size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::real::RealDisk;

    const IDENTITY: Identity = Identity { number: [3; 16], writer: 1 };

    fn origin(at: u64) -> Origin {
        Origin {
            position: PhysicalOffset(at),
            before: Some(Link { position: at.wrapping_sub(9), list_crc: 77 }),
            start: 3,
            store_timestamp: 1_700_000_000_000,
        }
    }

    fn write(dir: &Path, at: u64, copies: usize, changes: &[Vec<u8>]) -> u64 {
        let dump = |put: &mut Put<'_>| changes.iter().try_for_each(|change| put(change));
        super::write(&RealDisk, dir, &IDENTITY, &origin(at), copies, dump).unwrap()
    }

    /// Where a snapshot stands, and its changes.
    type Content = (Origin, Vec<Vec<u8>>);

    /// The newest one, and how many cannot be read.
    fn newest(dir: &Path) -> (Option<Content>, usize) {
        let restore = |snapshot: &Snapshot| {
            let mut changes = Vec::new();
            snapshot.each(|change| changes.push(change.to_vec()))?;
            Ok((snapshot.origin, changes))
        };
        let (found, unreadable) = read_newest(&RealDisk, dir, &IDENTITY, restore).unwrap();
        (found, unreadable.len())
    }

    fn changes_of(at: u64) -> Vec<Vec<u8>> {
        vec![vec![at as u8; 10], vec![], vec![7]]
    }

    #[test]
    fn the_newest_whole_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(newest(dir), (None, 0));
        for at in [100, 200, 300] {
            write(dir, at, 1, &changes_of(at));
        }
        assert_eq!(newest(dir), (Some((origin(300), changes_of(300))), 0));
        let path = dir.join(DIR).join(format!("{:020}", 300));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(newest(dir), (Some((origin(200), changes_of(200))), 1));
        assert!(!dir.join(DIR).join(format!("{:020}", 100)).exists());
        // What is damaged does not take the place of one that is whole.
        write(dir, 400, 1, &changes_of(400));
        let names = || list(&RealDisk, &dir.join(DIR)).unwrap();
        assert_eq!(names(), ["00000000000000000200", "00000000000000000400"]);
    }

    /// A snapshot was written without what the last one said, if that could not be opened for a moment.
    #[test]
    fn one_that_just_cannot_be_read_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, 100, 1, &changes_of(100));
        // A folder: it can be opened, and not be read.
        std::fs::create_dir(dir.join(DIR).join(format!("{:020}", 200))).unwrap();
        std::fs::write(dir.join(DIR).join(format!("{:020}.tmp", 50)), "left by a kill").unwrap();
        assert!(read_newest(&RealDisk, dir, &IDENTITY, |_| Ok(())).is_err());
        let dump = |_: &mut Put<'_>| Ok(());
        super::write(&RealDisk, dir, &IDENTITY, &origin(300), 1, dump).unwrap_err();
        let names = || list(&RealDisk, &dir.join(DIR)).unwrap();
        let numbers = ["00000000000000000100", "00000000000000000200", "00000000000000000300"];
        assert_eq!(names(), numbers);
        assert!(!dir.join(DIR).join(format!("{:020}.tmp", 50)).exists());
    }

    #[test]
    fn one_of_a_newer_release_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, 100, 1, &changes_of(100));
        write(dir, 200, 1, &changes_of(200));
        let path = dir.join(DIR).join(format!("{:020}", 200));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - CRC as usize);
        bytes[9] += 1;
        bytes.extend(crc_of(0, &bytes).to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        let found = read_newest(&RealDisk, dir, &IDENTITY, |snapshot| Ok(snapshot.origin));
        let why = found.unwrap_err().to_string();
        assert!(why.contains("00000000000000000200: it has a newer format"), "{why}");
    }

    #[test]
    fn of_two_copies_one_may_be_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for damaged in ["00000000000000000007", "00000000000000000007-2"] {
            write(dir, 7, 2, &changes_of(7));
            std::fs::write(dir.join(DIR).join(damaged), b"no snapshot").unwrap();
            assert_eq!(newest(dir).0, Some((origin(7), changes_of(7))), "{damaged}");
        }
    }

    #[test]
    fn changes_are_read_whatever_their_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let sizes = [SNAPSHOT_STEP - HEADER - 8, 3, 2 * SNAPSHOT_STEP + 1, 0, ROUND_CHANGES_MAX];
        let many = (0..30_000).map(|n| n % 77);
        let changes: Vec<_> = sizes.into_iter().chain(many).map(|n| vec![n as u8; n]).collect();
        // The last one just fills a step, or not.
        let full = vec![vec![1; SNAPSHOT_STEP]];
        for (at, changes) in (7..).zip([changes, full, Vec::new()]) {
            let size = write(dir, at, 1, &changes);
            let path = dir.join(DIR).join(format!("{at:020}"));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
            assert_eq!(newest(dir), (Some((origin(at), changes)), 0));
        }
    }

    #[test]
    fn a_state_that_is_cut_serves_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, 100, 1, &changes_of(100));
        write(dir, 200, 1, &changes_of(200));
        let path = dir.join(DIR).join(format!("{:020}", 200));
        let whole = std::fs::read(&path).unwrap();
        for cut in [1, 2, 6, 10] {
            let mut bytes = whole[..whole.len() - CRC as usize - cut].to_vec();
            bytes.extend(crc_of(0, &bytes).to_be_bytes());
            std::fs::write(&path, bytes).unwrap();
            let (found, unreadable) = newest(dir);
            assert_eq!((found, unreadable), (Some((origin(100), changes_of(100))), 1));
        }
    }
}
