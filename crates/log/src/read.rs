//! Records that are no longer in memory: read in large chunks, which are kept for a while, and checked
//! against the CRC that the index repeats before anyone sees them.
//!
//! In: places from [`crate::index`]. Out: the records' bytes. Runs on the disk readers.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::PhysicalOffset;
use crate::disk::{is_unreadable, read_full};
use crate::files::Files;
use crate::limits::{READ_CHUNK, RECORD_MAX};
use crate::rules::{self, Rule};

/// Where a record lies, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub offset: PhysicalOffset,
    pub size: u32,
    /// CRC32 of the whole record.
    pub crc: u32,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("position {0} is no longer in the log")]
    Gone(PhysicalOffset),
    #[error("the record at position {0} is damaged on the disk")]
    Damaged(PhysicalOffset),
    #[error("reading position {0}: {1}")]
    Io(PhysicalOffset, io::Error),
}

impl ReadError {
    /// Where the record stands, or stood.
    pub fn at(&self) -> PhysicalOffset {
        match self {
            ReadError::Gone(at) | ReadError::Damaged(at) | ReadError::Io(at, _) => *at,
        }
    }

    /// Whether the record may be there all the same, and could be read later.
    pub fn may_pass(&self) -> bool {
        matches!(self, ReadError::Io(_, e) if !is_unreadable(e))
    }
}

/// Reads one record.
pub fn record(files: &Files, place: Place) -> Result<Bytes, ReadError> {
    let (file, at) = files.at(place.offset).ok_or(ReadError::Gone(place.offset))?;
    let mut bytes = vec![0; place.size as usize];
    let read = read_full(&*file, &mut bytes, at).map_err(|e| ReadError::Io(place.offset, e))?;
    if read < bytes.len() || !is_sound(&bytes, place) {
        return Err(ReadError::Damaged(place.offset));
    }
    Ok(bytes.into())
}

/// Whether a record is what the index says.
fn is_sound(record: &[u8], place: Place) -> bool {
    crc32fast::hash(record) == place.crc || !rules::holds(Rule::CheckRead)
}

/// How far two records may lie apart and still be read with what is between them.
const GAP_MAX: u64 = 64 << 10;

/// What was read of records that follow each other.
#[derive(Debug)]
pub struct Leading {
    /// The records, one behind the other.
    pub bytes: Bytes,
    /// How many there are.
    pub count: usize,
    /// Why the next one could not be read; `None`: there was none.
    pub error: Option<ReadError>,
}

/// Reads records whose places rise, up to the first that cannot be read. What is `confirmed` does not
/// change any more. They are copied: a slow client must not keep whole chunks.
pub fn leading(
    files: &Files,
    recent: &Recent,
    places: &[Place],
    confirmed: PhysicalOffset,
) -> Leading {
    let size: usize = places.iter().map(|place| (place.size as usize).min(RECORD_MAX)).sum();
    let mut bytes = Vec::with_capacity(size);
    let end = |place: &Place| place.offset.0 + u64::from(place.size);
    let near = |before: Option<&Place>, behind: Option<&Place>| match (before, behind) {
        (Some(before), Some(behind)) => behind.offset.0.saturating_sub(end(before)) <= GAP_MAX,
        _ => false,
    };
    // A chunk with a bad page may take the disk seconds: it is not asked for it again for each record.
    let mut readable = true;
    for (i, place) in places.iter().enumerate() {
        let at = bytes.len();
        let before = i.checked_sub(1).map(|before| &places[before]);
        if readable && (near(before, Some(place)) || near(Some(place), places.get(i + 1))) {
            readable = recent.copy(files, *place, confirmed, &mut bytes);
            if readable && is_sound(&bytes[at..], *place) {
                continue;
            }
            bytes.truncate(at);
        }
        // Alone, or what was read with others is not it.
        match record(files, *place) {
            Ok(record) => bytes.extend_from_slice(&record),
            Err(error) => return Leading { bytes: bytes.into(), count: i, error: Some(error) },
        }
    }
    Leading { bytes: bytes.into(), count: places.len(), error: None }
}

/// Chunks of the log that were read lately: consumers of several queues, and several groups, read the
/// same stretch of the log at about the same time.
pub struct Recent {
    /// The one that was used last is the last.
    chunks: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
    max: usize,
}

impl Recent {
    /// Keeps so many chunks.
    pub fn new(max: usize) -> Recent {
        Recent { chunks: Mutex::default(), max }
    }

    /// Appends a record's bytes to `out`. False if not all could be read.
    fn copy(
        &self,
        files: &Files,
        place: Place,
        confirmed: PhysicalOffset,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut at = place.offset.0;
        let end = at + u64::from(place.size);
        while at < end {
            let Some((begin, chunk)) = self.chunk(files, at, end, confirmed) else { return false };
            let from = (at - begin) as usize;
            let to = chunk.len().min((end - begin) as usize);
            let Some(part) = chunk.get(from..to).filter(|part| !part.is_empty()) else {
                return false;
            };
            out.extend_from_slice(part);
            at += part.len() as u64;
        }
        true
    }

    /// The chunk that holds `at`, and where it begins. It reaches to `end`, if its own end does not come
    /// before.
    fn chunk(
        &self,
        files: &Files,
        at: u64,
        end: u64,
        confirmed: PhysicalOffset,
    ) -> Option<(u64, Arc<Vec<u8>>)> {
        let file_size = files.file_size();
        let base = at - at % file_size;
        let begin = base + (at - base) / READ_CHUNK * READ_CHUNK;
        let chunk_end = (begin + READ_CHUNK).min(base + file_size);
        let mut chunks = self.chunks.lock();
        if let Some(found) = chunks.iter().position(|(of, _)| *of == begin) {
            let chunk = chunks.remove(found)?;
            if begin + chunk.1.len() as u64 >= end.min(chunk_end) {
                chunks.push_back(chunk.clone());
                return Some(chunk);
            }
        }
        let old = if chunks.len() < self.max { None } else { chunks.pop_front() };
        drop(chunks);
        // The memory of the oldest serves the newest, unless somebody still copies from it.
        let mut bytes = old.and_then(|(_, old)| Arc::into_inner(old)).unwrap_or_default();
        bytes.resize((chunk_end.min(confirmed.0).checked_sub(begin)?) as usize, 0);
        let (file, place) = files.at(PhysicalOffset(begin))?;
        let read = read_full(&*file, &mut bytes, place).ok()?;
        bytes.truncate(read);
        let chunk = (begin, Arc::new(bytes));
        self.chunks.lock().push_back(chunk.clone());
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::fault::{FaultDisk, Rng};
    use crate::disk::{Disk, Open};

    /// No multiple of a chunk.
    const FILE_SIZE: u64 = 3 * READ_CHUNK + 5000;

    fn path(number: u64) -> std::path::PathBuf {
        Path::new("/data/commitlog").join(format!("{:020}", number * FILE_SIZE))
    }

    /// Two files full of records.
    fn log() -> (FaultDisk, Files, Vec<u8>, Vec<Place>) {
        let disk = FaultDisk::default();
        let dir = Path::new("/data");
        disk.create_dir(&dir.join("commitlog")).unwrap();
        let mut rng = Rng(7);
        let content: Vec<u8> = (0..2 * FILE_SIZE).map(|_| rng.next_u64() as u8).collect();
        let mut places = Vec::new();
        for number in 0..2 {
            let file = disk.open(&path(number), Open::Create).unwrap();
            let (begin, end) = (number * FILE_SIZE, (number + 1) * FILE_SIZE);
            file.write_at(&[&content[begin as usize..end as usize]], 0).unwrap();
            let mut at = begin;
            loop {
                let size = 100 + rng.below(5000);
                if at + size > end {
                    break;
                }
                let crc = crc32fast::hash(&content[at as usize..(at + size) as usize]);
                places.push(Place { offset: PhysicalOffset(at), size: size as u32, crc });
                at += size;
            }
        }
        let files = Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).unwrap();
        (disk, files, content, places)
    }

    fn stored(content: &[u8], places: &[Place]) -> Vec<u8> {
        let of = |place: &Place| content[place.offset.0 as usize..][..place.size as usize].to_vec();
        places.iter().flat_map(of).collect()
    }

    #[test]
    fn records_come_as_they_are_stored_however_they_lie() {
        let (_, files, content, places) = log();
        let recent = Recent::new(100);
        let confirmed = PhysicalOffset(2 * FILE_SIZE);
        for step in [1, 3, 8, 60, places.len()] {
            let chosen: Vec<_> = places.iter().step_by(step).copied().collect();
            for places in chosen.chunks(32) {
                let read = leading(&files, &recent, places, confirmed);
                assert_eq!((read.count, read.error.is_none()), (places.len(), true), "{step}");
                assert!(read.bytes == stored(&content, places), "{step}");
            }
        }
        assert!(leading(&files, &recent, &[], confirmed).bytes.is_empty());
    }

    #[test]
    fn a_chunk_ends_with_what_is_confirmed_and_is_read_again_behind_it() {
        let (disk, files, content, places) = log();
        let recent = Recent::new(100);
        let confirmed = places[30].offset;
        let file = disk.open(&path(0), Open::Write).unwrap();
        let later = &content[confirmed.0 as usize..FILE_SIZE as usize];
        file.write_at(&[&vec![0; later.len()]], confirmed.0).unwrap();
        let read = leading(&files, &recent, &places[..30], confirmed);
        assert!(read.bytes == stored(&content, &places[..30]));
        let last = recent.chunks.lock().back().map(|(begin, chunk)| begin + chunk.len() as u64);
        assert_eq!(last, Some(confirmed.0));
        file.write_at(&[later], confirmed.0).unwrap();
        let confirmed = PhysicalOffset(FILE_SIZE);
        let read = leading(&files, &recent, &places[20..40], confirmed);
        assert!(read.bytes == stored(&content, &places[20..40]));
        let lengths: Vec<_> = recent.chunks.lock().iter().map(|(_, chunk)| chunk.len()).collect();
        assert!(lengths.iter().all(|length| *length == READ_CHUNK as usize), "{lengths:?}");
    }

    #[test]
    fn a_damaged_record_ends_what_is_read_and_others_are_served() {
        let (disk, files, content, places) = log();
        let file = disk.open(&path(0), Open::Write).unwrap();
        let at = places[12].offset.0 + 40;
        file.write_at(&[&[!content[at as usize]]], at).unwrap();
        let (recent, confirmed) = (Recent::new(100), PhysicalOffset(2 * FILE_SIZE));
        let read = leading(&files, &recent, &places[5..20], confirmed);
        assert_eq!(read.count, 7);
        assert!(read.bytes == stored(&content, &places[5..12]));
        assert!(matches!(read.error, Some(ReadError::Damaged(at)) if at == places[12].offset));
        assert_eq!(leading(&files, &recent, &places[13..20], confirmed).count, 7);
        // The file is deleted.
        files.delete(0).unwrap();
        let gone = leading(&files, &Recent::new(100), &places[5..20], confirmed);
        assert!(matches!(gone.error, Some(ReadError::Gone(_))) && gone.count == 0);
    }

    #[test]
    fn a_chunk_that_cannot_be_read_is_asked_for_once_a_pull() {
        let (disk, files, content, places) = log();
        let bad = places[12].offset.0..places[12].offset.0 + 1;
        disk.make_unreadable(&path(0), bad);
        let (recent, confirmed) = (Recent::new(100), PhysicalOffset(2 * FILE_SIZE));
        let reads = |places: &[Place]| {
            let before = disk.reads();
            let read = leading(&files, &recent, places, confirmed);
            (read, disk.reads() - before)
        };
        // The chunk, and each record by itself.
        let (read, count) = reads(&places[13..23]);
        assert!(read.bytes == stored(&content, &places[13..23]));
        assert_eq!((read.count, count), (10, 11));
        let (read, count) = reads(&places[10..20]);
        assert!(read.bytes == stored(&content, &places[10..12]));
        assert!(matches!(read.error, Some(ReadError::Io(at, _)) if at == places[12].offset));
        assert_eq!((read.count, count), (2, 4));
    }

    #[test]
    fn only_so_many_chunks_are_kept() {
        let (_, files, content, places) = log();
        let (recent, confirmed) = (Recent::new(3), PhysicalOffset(2 * FILE_SIZE));
        for round in 0..3 {
            // Consumers that are far apart, in turns.
            let far = places.chunks(40).zip(places.chunks(40).rev());
            for places in far.flat_map(|(a, b)| [a, b]).skip(round) {
                let read = leading(&files, &recent, places, confirmed);
                assert!(read.bytes == stored(&content, places));
                assert!(recent.chunks.lock().len() <= 3);
            }
        }
    }
}
