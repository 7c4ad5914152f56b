//! Records that are no longer in memory: read in large runs, and checked against the CRC that the
//! index repeats before anyone sees them.
//!
//! In: places from [`crate::index`]. Out: the records' bytes. Runs on the disk readers.

use std::io;

use bytes::Bytes;

use crate::PhysicalOffset;
use crate::disk::read_full;
use crate::files::Files;
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

/// How far two records may lie apart and still be read at once.
const GAP_MAX: u64 = 64 << 10;
/// Bytes that one read takes at most, unless a single record is larger.
const RUN_MAX: u64 = 1 << 20;

/// Reads records whose places rise, neighbours in one read. One result for each place.
pub fn records(files: &Files, places: &[Place]) -> Vec<Result<Bytes, ReadError>> {
    let mut results = Vec::with_capacity(places.len());
    let mut rest = places;
    while let Some(first) = rest.first() {
        let begin = first.offset.0;
        let file = begin / files.file_size();
        let mut end = begin + u64::from(first.size);
        let mut count = 1;
        while let Some(next) = rest.get(count) {
            let next_end = next.offset.0 + u64::from(next.size);
            let near = next.offset.0 >= end && next.offset.0 - end <= GAP_MAX;
            if !near
                || next_end - begin > RUN_MAX
                || next_end.div_ceil(files.file_size()) - 1 != file
            {
                break;
            }
            end = next_end;
            count += 1;
        }
        let (run, later) = rest.split_at(count);
        rest = later;
        read_run(files, run, begin, end, &mut results);
    }
    results
}

fn read_run(
    files: &Files,
    run: &[Place],
    begin: u64,
    end: u64,
    results: &mut Vec<Result<Bytes, ReadError>>,
) {
    if let [place] = run {
        results.push(record(files, *place));
        return;
    }
    let Some((file, at)) = files.at(PhysicalOffset(begin)) else {
        results.extend(run.iter().map(|place| Err(ReadError::Gone(place.offset))));
        return;
    };
    let mut bytes = vec![0; (end - begin) as usize];
    match read_full(&*file, &mut bytes, at) {
        Ok(read) if read == bytes.len() => {}
        // One of them cannot be read: ask for each alone, so that the others can be served.
        _ => {
            results.extend(run.iter().map(|place| record(files, *place)));
            return;
        }
    }
    let bytes = Bytes::from(bytes);
    results.extend(run.iter().map(|place| {
        let start = (place.offset.0 - begin) as usize;
        let record = bytes.slice(start..start + place.size as usize);
        if is_sound(&record, *place) { Ok(record) } else { Err(ReadError::Damaged(place.offset)) }
    }));
}
