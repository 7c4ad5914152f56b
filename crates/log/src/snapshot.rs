//! Snapshots: the state at a position, so that neither the log nor the index blocks before it are
//! needed for that.
//!
//! In: bytes that the engine's state wrote. Out: the same bytes at a later start. Made by
//! housekeeping (`engine/src/keeper.rs`); the last two that are whole are kept.
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
//! | 64 | n | the state |
//! | | 4 | CRC32 of all before |

use std::io;
use std::path::{Path, PathBuf};

use crate::PhysicalOffset;
use crate::disk::{Disk, read_whole, write_whole};
use crate::identity::Identity;
use crate::recover::Origin;
use crate::rules::{self, Rule};
use crate::seal::Link;

/// The folder in a data directory.
pub const DIR: &str = "snapshot";
const MAGIC: [u8; 8] = *b"KEROSNAP";
const FORMAT_VERSION: u16 = 1;
const HEADER: usize = 64;
/// Largest snapshot that is read.
const SIZE_MAX: usize = 1 << 30;
/// How many are kept.
const KEEP: usize = 2;
/// Behind the name of a snapshot's second copy.
const COPY: &str = "-2";

/// The state at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub origin: Origin,
    pub state: Vec<u8>,
}

/// Writes a snapshot and removes all but the last two that are whole. `copies`: 2 where nothing
/// but snapshots will tell what it says, so that one may be damaged.
pub fn write(
    disk: &dyn Disk,
    data_dir: &Path,
    identity: &Identity,
    snapshot: &Snapshot,
    copies: usize,
) -> io::Result<()> {
    let dir = data_dir.join(DIR);
    disk.create_dir(&dir)?;
    disk.sync_dir(data_dir)?;
    let mut bytes = Vec::with_capacity(HEADER + snapshot.state.len() + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&identity.number);
    let origin = &snapshot.origin;
    let before = origin.before.unwrap_or(Link::NONE);
    bytes.extend_from_slice(&origin.position.0.to_be_bytes());
    bytes.extend_from_slice(&before.position.to_be_bytes());
    bytes.extend_from_slice(&before.list_crc.to_be_bytes());
    bytes.extend_from_slice(&origin.start.to_be_bytes());
    bytes.extend_from_slice(&origin.store_timestamp.to_be_bytes());
    bytes.extend_from_slice(&snapshot.state);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    let name = format!("{:020}", origin.position.0);
    let copy = format!("{name}{COPY}");
    let copies = if rules::holds(Rule::SnapshotTwice) { copies } else { 1 };
    for name in [name, copy].iter().take(copies) {
        write_whole(disk, &dir.join(name), &bytes)?;
    }
    let mut whole = 0;
    for name in list(disk, &dir)?.iter().rev() {
        let path = dir.join(name);
        let is_whole = || {
            let read = read_whole(disk, &path, SIZE_MAX);
            read.is_ok_and(|bytes| decode(bytes, identity).is_ok())
        };
        if whole < KEEP && is_whole() {
            whole += 1;
        } else {
            disk.remove(&path)?;
        }
    }
    // One that came back after a power cut would tell of files that are gone.
    disk.sync_dir(&dir)
}

/// Reads the newest snapshot that is whole; `None` if there is none. Says which could not be
/// read.
pub fn read_newest(
    disk: &dyn Disk,
    data_dir: &Path,
    identity: &Identity,
) -> io::Result<(Option<Snapshot>, Vec<String>)> {
    let dir: PathBuf = data_dir.join(DIR);
    let names = match list(disk, &dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
        other => other?,
    };
    let mut unreadable = Vec::new();
    for name in names.iter().rev() {
        match read(disk, &dir.join(name), identity) {
            Ok(snapshot) => return Ok((Some(snapshot), unreadable)),
            Err(why) => unreadable.push(why),
        }
    }
    Ok((None, unreadable))
}

/// Where the snapshots of a data directory are, the oldest first.
pub fn paths(disk: &dyn Disk, data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = data_dir.join(DIR);
    match list(disk, &dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => Ok(names?.into_iter().map(|name| dir.join(name)).collect()),
    }
}

/// Reads one snapshot, or says which cannot be read and why.
pub fn read(disk: &dyn Disk, path: &Path, identity: &Identity) -> Result<Snapshot, String> {
    let decoded = match read_whole(disk, path, SIZE_MAX) {
        Ok(bytes) => decode(bytes, identity).map_err(str::to_owned),
        Err(e) => Err(e.to_string()),
    };
    decoded.map_err(|why| format!("{}: {why}", path.display()))
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

fn decode(mut bytes: Vec<u8>, identity: &Identity) -> Result<Snapshot, &'static str> {
    let Some((content, crc)) = bytes.split_last_chunk::<4>() else { return Err("too short") };
    if crc32fast::hash(content) != u32::from_be_bytes(*crc) || content.len() < HEADER {
        return Err("damaged");
    }
    if content[..8] != MAGIC || content[12..28] != identity.number {
        return Err("not a snapshot of this log");
    }
    if u16::from_be_bytes([content[8], content[9]]) > FORMAT_VERSION {
        return Err("made by a newer release");
    }
    let word = |at: usize| content[at..].first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
    let origin = Origin {
        position: PhysicalOffset(word(28)),
        before: Some(Link { position: word(36), list_crc: (word(44) >> 32) as u32 }),
        start: word(48),
        store_timestamp: word(56) as i64,
    };
    bytes.truncate(bytes.len() - 4);
    bytes.drain(..HEADER);
    Ok(Snapshot { origin, state: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::real::RealDisk;

    #[test]
    fn the_newest_whole_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { number: [3; 16], writer: 1 };
        let snapshot = |at: u64| Snapshot {
            origin: Origin {
                position: PhysicalOffset(at),
                before: Some(Link { position: at.wrapping_sub(9), list_crc: 77 }),
                start: 3,
                store_timestamp: 1_700_000_000_000,
            },
            state: vec![at as u8; 10],
        };
        assert_eq!(read_newest(&RealDisk, dir.path(), &identity).unwrap(), (None, vec![]));
        for at in [100, 200, 300] {
            write(&RealDisk, dir.path(), &identity, &snapshot(at), 1).unwrap();
        }
        let newest = || read_newest(&RealDisk, dir.path(), &identity).unwrap();
        assert_eq!(newest().0, Some(snapshot(300)));
        let path = dir.path().join(DIR).join(format!("{:020}", 300));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[66] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (found, unreadable) = newest();
        assert_eq!((found, unreadable.len()), (Some(snapshot(200)), 1));
        assert!(!dir.path().join(DIR).join(format!("{:020}", 100)).exists());
        // What is damaged does not take the place of one that is whole.
        write(&RealDisk, dir.path(), &identity, &snapshot(400), 1).unwrap();
        let names = || list(&RealDisk, &dir.path().join(DIR)).unwrap();
        assert_eq!(names(), ["00000000000000000200", "00000000000000000400"]);
    }

    #[test]
    fn of_two_copies_one_may_be_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { number: [3; 16], writer: 1 };
        let origin = Origin {
            position: PhysicalOffset(7),
            before: Some(Link::NONE),
            start: 1,
            store_timestamp: 1,
        };
        let snapshot = Snapshot { origin, state: vec![1; 10] };
        for damaged in ["00000000000000000007", "00000000000000000007-2"] {
            write(&RealDisk, dir.path(), &identity, &snapshot, 2).unwrap();
            std::fs::write(dir.path().join(DIR).join(damaged), b"no snapshot").unwrap();
            let (found, _) = read_newest(&RealDisk, dir.path(), &identity).unwrap();
            assert_eq!(found.as_ref(), Some(&snapshot), "{damaged}");
        }
    }
}
