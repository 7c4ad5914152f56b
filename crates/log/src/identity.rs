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

use crate::disk::{Disk, read_whole, write_whole};

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
        "{dir} holds a commit log that Kerolox did not write; give another --data-dir (opening a directory of Apache's broker comes with a later release)"
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
    #[error(
        "the log in {dir} has files of {found} bytes, the configuration says mappedFileSizeCommitLog={wanted}; set it back"
    )]
    FileSize { dir: String, found: u64, wanted: u64 },
}

/// Opens the directory's identity, or makes one with the numbers of `fresh` if the directory is
/// new. `file_size` is what the configuration says, if it does; returned is what holds.
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
            refuse_foreign(disk, dir)?;
            let file_size = file_size.unwrap_or(crate::limits::FILE_SIZE_DEFAULT);
            write_whole(disk, &path, &encode(fresh, file_size)).map_err(fail)?;
            Ok((fresh, file_size))
        }
        Err(e) => Err(fail(e)),
    }
}

/// A directory without our file must be empty, but for what a start leaves before it makes it.
fn refuse_foreign(disk: &dyn Disk, dir: &Path) -> Result<(), IdentityError> {
    let shown = dir.display().to_string();
    let entries =
        disk.list(dir).map_err(|source| IdentityError::Io { path: shown.clone(), source })?;
    for entry in &entries {
        match entry.name.as_str() {
            "lock" | "kerolox.tmp" | "lost+found" => {}
            "commitlog" | "consumequeue" | "config" | "checkpoint" | "abort" => {
                return Err(IdentityError::Foreign { dir: shown });
            }
            _ => return Err(IdentityError::NotEmpty { dir: shown }),
        }
    }
    Ok(())
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
