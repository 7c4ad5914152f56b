//! The search behind damage: for what is known by some of its bytes, wherever it stands.
//!
//! In: the log's files. Out: the first place that somebody believes: [`super::seals`], [`super::unsealed`]. Each
//! byte is read about once; what the disk cannot read is passed over.

use super::window::{PAGE, READ_SIZE, behind_page, read_sound};
use super::{RecoverError, failed};
use crate::PhysicalOffset;
use crate::disk::DiskFile;
use crate::files::Files;

/// What is searched for.
pub(super) struct Pattern<'a> {
    /// Where the next of its known bytes stand in some bytes.
    pub(super) find: &'a dyn Fn(&[u8]) -> Option<usize>,
    /// How far behind its begin those stand.
    pub(super) at: usize,
    /// How many bytes from its begin on are shown, if its file has so many.
    pub(super) head: usize,
}

/// A place with the known bytes.
pub(super) struct Candidate<'a> {
    pub(super) file: &'a dyn DiskFile,
    place: u64,
    pub(super) position: PhysicalOffset,
    pub(super) head: &'a [u8],
}

impl Candidate<'_> {
    /// So many bytes from its begin on; `None`: they are not all there.
    pub(super) fn bytes(&self, size: usize) -> Result<Option<Vec<u8>>, RecoverError> {
        let mut bytes = vec![0; size];
        let (read, _) = read_sound(self.file, &mut bytes, self.place)
            .map_err(failed(format!("reading the log at {}", self.position)))?;
        Ok((read == size).then_some(bytes))
    }
}

/// Shows each place that fits, at or behind `from` and before `until`, until one is believed.
pub(super) fn search<T>(
    files: &Files,
    from: PhysicalOffset,
    until: PhysicalOffset,
    pattern: &Pattern<'_>,
    believe: &mut dyn FnMut(&Candidate<'_>) -> Result<Option<T>, RecoverError>,
) -> Result<Option<T>, RecoverError> {
    let file_size = files.file_size();
    for base in files.bases() {
        if base + file_size <= from.0 {
            continue;
        }
        if base >= until.0 {
            break;
        }
        let Some((file, _)) = files.at(PhysicalOffset(base)) else { continue };
        let mut place = from.0.saturating_sub(base);
        let mut chunk = Vec::new();
        // What is searched for is mostly near.
        let mut size = PAGE;
        loop {
            let read_error = failed(format!("searching the log behind {}", base + place));
            match file.next_data(place) {
                Ok(Some(data)) => place = place.max(data),
                Ok(None) => break,
                Err(e) => return Err(read_error(e)),
            }
            chunk.resize(size, 0);
            let (read, bad) = read_sound(&*file, &mut chunk, place).map_err(read_error)?;
            let bytes = &chunk[..read];
            let goes_on = read == size;
            let mut looked = 0;
            while let Some(hit) = (pattern.find)(&bytes[looked..]) {
                let hit = looked + hit;
                looked = hit + 1;
                let Some(begin) = hit.checked_sub(pattern.at) else { continue };
                let head = &bytes[begin..read.min(begin + pattern.head)];
                if goes_on && head.len() < pattern.head {
                    break;
                }
                let place = place + begin as u64;
                let position = PhysicalOffset(base + place);
                if position >= until {
                    return Ok(None);
                }
                let found = believe(&Candidate { file: &*file, place, position, head })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if bad {
                place = behind_page(place + read as u64);
            } else if goes_on {
                // What begins in the last bytes is shown whole by the next read.
                place += (read - (pattern.head - 1)) as u64;
            } else {
                break;
            }
            size = (2 * size).min(READ_SIZE);
        }
    }
    Ok(None)
}
