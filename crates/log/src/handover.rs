//! Whose turn it is: a data directory belongs to Kerolox while the *guard* is there, and was handed to
//! Apache's broker by a clean stop, which leaves a *mark* that says what it left.
//!
//! The guard is a file among those of the log that is none: Apache's broker refuses to start beside it. So
//! the log of a Kerolox that was killed is not continued by a broker that knows none of its state.
//!
//! The mark, the files `handed-over` and `handed-over-2` in the data directory, which say the same:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `KEROMARK` |
//! | 8 | 2 | format version: 1 |
//! | 10 | 2 | 0 |
//! | 12 | 8 | where the log ends |
//! | 20 | 4 | number of files, n |
//! | 24 | | n files: length of the name (2), the name, size (8; all ones: it is not there), CRC32 of the content (4) |
//! | | 8 + 4 | where the last bytes before the log's end begin (all ones: none are known), and their CRC32 |
//! | | 4 | number of state changes, m: those of which Apache's tables hold nothing |
//! | | | m changes: size (4), content |
//! | | 4 | CRC32 of all before |

use std::io;
use std::path::{Path, PathBuf};

use crate::PhysicalOffset;
use crate::disk::{Disk, Open, read_either, read_full, write_whole};
use crate::files::{DIR, Files};

/// Name of the guard, in the folder of the log.
pub const GUARD: &str = "kerolox-has-it";
const GUARD_TEXT: &str = "Kerolox runs on this directory, or was killed. Start Kerolox once more and stop it: then another broker may have it.\n";
/// Names of the mark, and of its copy: without it nobody can tell what another broker wrote.
const MARKS: [&str; 2] = ["handed-over", "handed-over-2"];
const MAGIC: [u8; 8] = *b"KEROMARK";
const FORMAT_VERSION: u16 = 1;
const MARK_BYTES_MAX: usize = 256 << 20;
/// Bytes before the log's end by which it is known again.
const TAIL: u64 = 4096;
/// Bytes of a file that are in memory while its CRC is taken.
const STEP: usize = 256 << 10;

/// A file as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its path in the data directory.
    pub name: String,
    /// Size and CRC32; `None`: it was not there.
    pub content: Option<(u64, u32)>,
}

impl Left {
    /// A file as it is.
    pub fn now(disk: &dyn Disk, data_dir: &Path, name: &str) -> io::Result<Left> {
        let name = name.to_owned();
        let file = match disk.open(&data_dir.join(&name), Open::Read) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Ok(Left { name, content: None });
            }
            file => file?,
        };
        let mut hasher = crc32fast::Hasher::new();
        let mut step = vec![0; STEP];
        let mut at = 0;
        loop {
            let read = read_full(&*file, &mut step, at)?;
            hasher.update(&step[..read]);
            at += read as u64;
            if read < STEP {
                return Ok(Left { name, content: Some((at, hasher.finalize())) });
            }
        }
    }
}

/// What a clean stop left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// Where the log ended.
    pub end: PhysicalOffset,
    pub files: Vec<Left>,
    /// Where the last bytes before the end begin, and their CRC32.
    pub tail: Option<(PhysicalOffset, u32)>,
    /// State changes.
    pub changes: Vec<Vec<u8>>,
}

/// The CRC32 of bytes before the log's end, and where they begin: all in one file. `None`: they are not there.
pub fn tail(files: &Files, end: PhysicalOffset) -> io::Result<Option<(PhysicalOffset, u32)>> {
    let Some(last) = end.0.checked_sub(1) else { return Ok(None) };
    let begin = end.0.saturating_sub(TAIL).max(last - last % files.file_size());
    let Some((file, place)) = files.at(PhysicalOffset(begin)) else { return Ok(None) };
    let mut bytes = vec![0; (end.0 - begin) as usize];
    let read = read_full(&*file, &mut bytes, place)?;
    Ok(Some((PhysicalOffset(begin), crc32fast::hash(&bytes[..read]))))
}

impl Mark {
    /// Reads the mark of a data directory, if there is one.
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<Option<Mark>> {
        read_either(disk, MARKS.map(|name| data_dir.join(name)), MARK_BYTES_MAX, decode)
    }

    /// Writes the mark, twice.
    pub fn write(&self, disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
        let bytes = self.encode();
        MARKS.iter().try_for_each(|name| write_whole(disk, &data_dir.join(name), &bytes))
    }

    /// Whether the log still is what it was up to the end, as far as that is there.
    pub fn is_end_of(&self, files: &Files) -> io::Result<bool> {
        let now = if self.tail.is_some() { tail(files, self.end)? } else { None };
        Ok(now.is_none() || now == self.tail)
    }

    /// Removes the mark of a data directory.
    pub fn remove(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
        MARKS.iter().try_for_each(|name| remove(disk, data_dir, &data_dir.join(name)))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.end.0.to_be_bytes());
        out.extend_from_slice(&(self.files.len() as u32).to_be_bytes());
        for Left { name, content } in &self.files {
            let (size, crc) = content.unwrap_or((u64::MAX, 0));
            out.extend_from_slice(&(name.len() as u16).to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&crc.to_be_bytes());
        }
        let (begin, crc) = self.tail.map_or((u64::MAX, 0), |(begin, crc)| (begin.0, crc));
        out.extend_from_slice(&begin.to_be_bytes());
        out.extend_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(&(self.changes.len() as u32).to_be_bytes());
        for change in &self.changes {
            out.extend_from_slice(&(change.len() as u32).to_be_bytes());
            out.extend_from_slice(change);
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }
}

fn decode(bytes: &[u8]) -> io::Result<Mark> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged");
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32fast::hash(content) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    let mut rest = content;
    let mut take = |size: usize| -> io::Result<&[u8]> {
        let (head, tail) = rest.split_at_checked(size).ok_or_else(damaged)?;
        rest = tail;
        Ok(head)
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    if take(8)? != MAGIC {
        return Err(damaged());
    }
    if number(take(2)?) > u64::from(FORMAT_VERSION) {
        let why = "it has a newer format; run the newer release";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    take(2)?;
    let end = PhysicalOffset(number(take(8)?));
    let mut files = Vec::new();
    for _ in 0..number(take(4)?) {
        let size = number(take(2)?) as usize;
        let name = std::str::from_utf8(take(size)?).map_err(|_| damaged())?.to_owned();
        let (size, crc) = (number(take(8)?), number(take(4)?) as u32);
        files.push(Left { name, content: (size != u64::MAX).then_some((size, crc)) });
    }
    let (begin, crc) = (number(take(8)?), number(take(4)?) as u32);
    let tail = (begin != u64::MAX).then_some((PhysicalOffset(begin), crc));
    let mut changes = Vec::new();
    for _ in 0..number(take(4)?) {
        let size = number(take(4)?) as usize;
        changes.push(take(size)?.to_vec());
    }
    Ok(Mark { end, files, tail, changes })
}

fn guard(data_dir: &Path) -> PathBuf {
    data_dir.join(DIR).join(GUARD)
}

/// Whether the guard is there.
pub fn is_guarded(disk: &dyn Disk, data_dir: &Path) -> io::Result<bool> {
    match disk.open(&guard(data_dir), Open::Read) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|_| true),
    }
}

/// Puts the guard up.
pub fn put_guard(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
    let path = guard(data_dir);
    let file = match disk.open(&path, Open::Create) {
        // A power cut may have come before its text, and an empty file keeps nobody away.
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => disk.open(&path, Open::Write)?,
        file => file?,
    };
    file.write_at(&[GUARD_TEXT.as_bytes()], 0)?;
    file.sync()?;
    disk.sync_dir(&data_dir.join(DIR))
}

/// Takes the guard away: the directory is free.
pub fn remove_guard(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
    remove(disk, &data_dir.join(DIR), &guard(data_dir))
}

fn remove(disk: &dyn Disk, dir: &Path, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| disk.sync_dir(dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::real::RealDisk;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(Mark::read(&RealDisk, dir).unwrap(), None);
        std::fs::write(dir.join("a.json"), vec![7; 3 * STEP]).unwrap();
        let left = |name| Left::now(&RealDisk, dir, name).unwrap();
        let mark = Mark {
            end: PhysicalOffset(1 << 40),
            files: vec![left("a.json"), left("b")],
            tail: Some((PhysicalOffset(77), 5)),
            changes: vec![vec![1; 9], vec![]],
        };
        assert_eq!(mark.files[0].content.map(|(size, _)| size), Some(3 * STEP as u64));
        assert_eq!(mark.files[1].content, None);
        mark.write(&RealDisk, dir).unwrap();
        assert_eq!(Mark::read(&RealDisk, dir).unwrap(), Some(mark.clone()));
        std::fs::write(dir.join("a.json"), vec![8; 3 * STEP]).unwrap();
        assert_ne!(left("a.json"), mark.files[0]);
        for damaged in MARKS {
            mark.write(&RealDisk, dir).unwrap();
            std::fs::write(dir.join(damaged), b"KEROMARK").unwrap();
            assert_eq!(Mark::read(&RealDisk, dir).unwrap(), Some(mark.clone()), "{damaged}");
        }
        std::fs::remove_file(dir.join(MARKS[0])).unwrap();
        assert!(Mark::read(&RealDisk, dir).unwrap_err().to_string().contains(MARKS[1]));
        let bytes = mark.encode();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err());
        }
        Mark::remove(&RealDisk, dir).unwrap();
        Mark::remove(&RealDisk, dir).unwrap();
        assert_eq!(Mark::read(&RealDisk, dir).unwrap(), None);
    }

    #[test]
    fn the_guard_is_there_until_it_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir(dir.join(DIR)).unwrap();
        for _ in 0..2 {
            put_guard(&RealDisk, dir).unwrap();
            assert!(is_guarded(&RealDisk, dir).unwrap());
        }
        remove_guard(&RealDisk, dir).unwrap();
        remove_guard(&RealDisk, dir).unwrap();
        assert!(!is_guarded(&RealDisk, dir).unwrap());
    }
}
