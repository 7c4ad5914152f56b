//! Which parts of the log Apache's broker wrote: their records stand without seals.
//!
//! In: what an adoption found ([`crate::recover::unsealed`]). Out: the file `adopted` and its copy
//! `adopted-2` in the data directory, and the list that every walk over the log looks at.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `KEROADPT` |
//! | 8 | 2 | format version: 1 |
//! | 10 | 2 | 0 |
//! | 12 | 4 | number of runs, n |
//! | 16 | 16 n | the runs, rising: begin and end, positions in the log |
//! | | 4 | CRC32 of all before |

use std::io;
use std::path::Path;

use crate::PhysicalOffset;
use crate::disk::{Disk, read_either, write_whole};

/// Names of the file, and of its copy: what it says is said nowhere else as long as its log files are there.
const FILE_NAMES: [&str; 2] = ["adopted", "adopted-2"];
const MAGIC: [u8; 8] = *b"KEROADPT";
const FORMAT_VERSION: u16 = 1;
/// One run comes of each take-over, and of each damaged place that one found.
const RUNS_MAX: usize = 1 << 16;

/// Records back to back, from the first one's position to the last one's end, over files' ends; what
/// lies behind the blank at a file's end is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub begin: PhysicalOffset,
    pub end: PhysicalOffset,
}

/// All runs of a log, rising.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted(Vec<Run>);

impl Adopted {
    /// Runs, rising; empty ones are left out.
    pub fn new(runs: impl IntoIterator<Item = Run>) -> Adopted {
        Adopted(runs.into_iter().filter(|run| run.begin < run.end).collect())
    }

    /// The runs.
    pub fn runs(&self) -> &[Run] {
        &self.0
    }

    /// The first run that ends behind a position: the one that holds it, or the next.
    pub fn behind(&self, position: PhysicalOffset) -> Option<Run> {
        let at = self.0.partition_point(|run| run.end <= position);
        self.0.get(at).copied()
    }

    /// The run that holds a position.
    pub fn at(&self, position: PhysicalOffset) -> Option<Run> {
        self.behind(position).filter(|run| run.begin <= position)
    }

    /// Where the last run ends: all before was on the disk when it was adopted.
    pub fn end(&self) -> PhysicalOffset {
        self.0.last().map_or(PhysicalOffset(0), |run| run.end)
    }

    /// Reads the list of a data directory; an empty one if there is none.
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<Adopted> {
        let paths = FILE_NAMES.map(|name| data_dir.join(name));
        Ok(read_either(disk, paths, 32 + 16 * RUNS_MAX, decode)?.unwrap_or_default())
    }

    /// Whether so many runs can be written.
    pub fn check(runs: usize) -> io::Result<()> {
        if runs <= RUNS_MAX {
            return Ok(());
        }
        let what =
            format!("more than {RUNS_MAX} parts of the log were written by others, or damaged");
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// Writes the list, twice.
    pub fn write(&self, disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
        Adopted::check(self.0.len())?;
        let bytes = self.encode();
        FILE_NAMES.iter().try_for_each(|name| write_whole(disk, &data_dir.join(name), &bytes))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20 + 16 * self.0.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(self.0.len() as u32).to_be_bytes());
        for run in &self.0 {
            out.extend_from_slice(&run.begin.0.to_be_bytes());
            out.extend_from_slice(&run.end.0.to_be_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }
}

fn decode(bytes: &[u8]) -> io::Result<Adopted> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged");
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if content.get(..8) != Some(&MAGIC) || crc32fast::hash(content) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    let version = content.get(8..10).ok_or_else(damaged)?;
    if u16::from_be_bytes([version[0], version[1]]) > FORMAT_VERSION {
        let why = "it has a newer format; run the newer release";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let (pairs, rest) = content.get(16..).ok_or_else(damaged)?.as_chunks::<16>();
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
    let run = |pair: &[u8; 16]| Run {
        begin: PhysicalOffset(word(&pair[..8])),
        end: PhysicalOffset(word(&pair[8..])),
    };
    let runs: Vec<Run> = pairs.iter().map(run).collect();
    let rise = runs.windows(2).all(|two| two[0].end <= two[1].begin);
    if !rest.is_empty() || !rise || runs.iter().any(|run| run.begin >= run.end) {
        return Err(damaged());
    }
    Ok(Adopted(runs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::real::RealDisk;

    fn run(begin: u64, end: u64) -> Run {
        Run { begin: PhysicalOffset(begin), end: PhysicalOffset(end) }
    }

    #[test]
    fn what_was_written_is_read_even_if_one_copy_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let read = || Adopted::read(&RealDisk, dir);
        assert_eq!(read().unwrap(), Adopted::default());
        let adopted = Adopted::new([run(0, 100), run(100, 100), run(120, 300)]);
        assert_eq!(adopted.runs(), [run(0, 100), run(120, 300)]);
        for damaged in FILE_NAMES {
            adopted.write(&RealDisk, dir).unwrap();
            assert_eq!(read().unwrap(), adopted);
            let mut bytes = std::fs::read(dir.join(damaged)).unwrap();
            bytes[20] ^= 1;
            std::fs::write(dir.join(damaged), bytes).unwrap();
            assert_eq!(read().unwrap(), adopted, "{damaged}");
        }
        std::fs::remove_file(dir.join(FILE_NAMES[0])).unwrap();
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn runs_are_found_by_position() {
        let adopted = Adopted::new([run(0, 100), run(120, 300)]);
        let at = |position| adopted.at(PhysicalOffset(position));
        assert_eq!(
            [0, 99, 100, 119, 120, 300].map(at),
            [Some(run(0, 100)), Some(run(0, 100)), None, None, Some(run(120, 300)), None]
        );
        assert_eq!(adopted.behind(PhysicalOffset(100)), Some(run(120, 300)));
        assert_eq!(adopted.end(), PhysicalOffset(300));
    }

    #[test]
    fn what_overlaps_or_is_cut_is_damaged() {
        for runs in [vec![run(0, 100), run(99, 300)], vec![run(5, 5)], vec![run(9, 3)]] {
            assert!(decode(&Adopted(runs).encode()).is_err());
        }
        let bytes = Adopted::new([run(0, 100)]).encode();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err());
        }
    }
}
