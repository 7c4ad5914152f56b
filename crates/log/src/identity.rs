//! Whose log this is: the file `kerolox` in the data directory, and how a directory is told from
//! one that is empty, foreign, or of a newer release.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `KEROLOX\n` |
//! | 8 | 2 | format version of the directory |
//! | 10 | 2 | 0 |
//! | 12 | 16 | the log's number: random, repeated in every seal |
//! | 28 | 8 | this node's number as a writer |
//! | 36 | 8 | size of a commit log file |
//! | 44 | 4 | CRC32 of all before |

use std::io;
use std::path::Path;

use crate::PhysicalOffset;
use crate::disk::{Disk, Entry, read_whole, write_whole};
use crate::files;
use crate::handover::{GUARD, Mark};
use crate::limits::FILE_SIZE_MIN;

/// Name of the file.
pub const FILE_NAME: &str = "kerolox";
const MAGIC: [u8; 8] = *b"KEROLOX\n";
const FORMAT_VERSION: u16 = 1;
const SIZE: usize = 48;

/// Which log, and which writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Random, made with the log: no message body can pass for a seal.
    pub number: [u8; 16],
    /// Random, made with the directory.
    pub writer: u64,
}

/// Why a directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error(
        "{dir} holds a commit log, but neither Kerolox's file kerolox nor the folder config of Apache's broker; give the whole directory, or another --data-dir"
    )]
    Foreign { dir: String },
    #[error("{dir} is not empty and not a data directory of Kerolox; give another --data-dir")]
    NotEmpty { dir: String },
    #[error("{path} is damaged; restore it from a backup, it is written once when the log is made")]
    Damaged { path: String },
    #[error(
        "{path} has format version {found}; this release reads up to {FORMAT_VERSION}. Run the newer release"
    )]
    Newer { path: String, found: u16 },
    #[error("{path} has {size} bytes, which no file of a commit log has; give another --data-dir")]
    NoLog { path: String, size: u64 },
    #[error(
        "the log in {dir} has files of {found} bytes, the configuration says mappedFileSizeCommitLog={wanted}; set it back"
    )]
    FileSize { dir: String, found: u64, wanted: u64 },
}

/// Opens the directory's identity, or makes one with the numbers of `fresh` if the directory is
/// new, or one of Apache's broker: then a mark says that all of it is that broker's.
/// `file_size` is what the configuration says, if it does; returned is what holds.
pub fn open(
    disk: &dyn Disk,
    dir: &Path,
    file_size: Option<u64>,
    fresh: Identity,
) -> Result<(Identity, u64), IdentityError> {
    let path = dir.join(FILE_NAME);
    let shown = || path.display().to_string();
    let fail = |source| IdentityError::Io { path: shown(), source };
    match read_whole(disk, &path, 4096) {
        Ok(bytes) => {
            let (identity, found) = decode(&bytes, &shown())?;
            match file_size {
                Some(wanted) if wanted != found => {
                    Err(IdentityError::FileSize { dir: dir.display().to_string(), found, wanted })
                }
                _ => Ok((identity, found)),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let apache = look(disk, dir)?;
            let shown_dir = dir.display().to_string();
            let file_size = match (apache, file_size) {
                (Some(Apache { first: Some((_, found)) }), Some(wanted)) if found != wanted => {
                    return Err(IdentityError::FileSize { dir: shown_dir, found, wanted });
                }
                (Some(Apache { first: Some((_, found)) }), _) => found,
                (_, wanted) => wanted.unwrap_or(crate::limits::FILE_SIZE_DEFAULT),
            };
            if let Some(Apache { first }) = apache {
                let end = PhysicalOffset(first.map_or(0, |(base, _)| base));
                Mark { end, ..Mark::default() }.write(disk, dir).map_err(fail)?;
            }
            write_whole(disk, &path, &encode(fresh, file_size)).map_err(fail)?;
            Ok((fresh, file_size))
        }
        Err(e) => Err(fail(e)),
    }
}

/// A directory of Apache's broker.
#[derive(Debug, Clone, Copy)]
struct Apache {
    /// The first position in its log, and the size of a log file.
    first: Option<(u64, u64)>,
}

/// A directory without our file must be empty, but for what a start leaves before it makes it; or it must
/// be one of Apache's broker.
fn look(disk: &dyn Disk, dir: &Path) -> Result<Option<Apache>, IdentityError> {
    let shown = dir.display().to_string();
    let io = |source| IdentityError::Io { path: shown.clone(), source };
    let entries = disk.list(dir).map_err(io)?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name && entry.is_dir);
    if has(files::DIR) {
        let log = disk.list(&dir.join(files::DIR)).map_err(io)?;
        // Of a directory of ours the file that says so is lost.
        if !has("config") || log.iter().any(|entry| entry.name == GUARD) {
            return Err(IdentityError::Foreign { dir: shown });
        }
        let base = |entry: &Entry| Some((entry.name.parse().ok()?, entry.size));
        let first: Option<(u64, u64)> = log.iter().filter_map(base).min();
        if let Some((base, size)) = first
            && (size < FILE_SIZE_MIN || base % size != 0)
        {
            let path = dir.join(files::DIR).join(format!("{base:020}"));
            return Err(IdentityError::NoLog { path: path.display().to_string(), size });
        }
        return Ok(Some(Apache { first }));
    }
    let is_left = |name: &str| matches!(name, "lock" | "kerolox.tmp" | "lost+found");
    if entries.iter().all(|entry| is_left(&entry.name)) {
        return Ok(None);
    }
    Err(IdentityError::NotEmpty { dir: shown })
}

fn encode(identity: Identity, file_size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(SIZE);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&identity.number);
    out.extend_from_slice(&identity.writer.to_be_bytes());
    out.extend_from_slice(&file_size.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

fn decode(bytes: &[u8], path: &str) -> Result<(Identity, u64), IdentityError> {
    let damaged = || IdentityError::Damaged { path: path.to_owned() };
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if content.get(..8) != Some(&MAGIC) || crc32fast::hash(content) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    let found = content.get(8..10).ok_or_else(damaged)?;
    let found = u16::from_be_bytes([found[0], found[1]]);
    if found > FORMAT_VERSION {
        return Err(IdentityError::Newer { path: path.to_owned(), found });
    }
    let number = content.get(12..28).and_then(|b| b.try_into().ok()).ok_or_else(damaged)?;
    let word = |at: usize| content.get(at..)?.first_chunk::<8>().map(|b| u64::from_be_bytes(*b));
    let writer = word(28).ok_or_else(damaged)?;
    let file_size = word(36).ok_or_else(damaged)?;
    Ok((Identity { number, writer }, file_size))
}
