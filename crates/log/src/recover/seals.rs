//! The search for seals, wherever they are: what they name as flushed is the proof, and behind damage the
//! log goes on at one of them.

use kerolox_protocol::record::{View, peek};

use super::window::{READ_SIZE, behind_page, read_sound};
use super::{RecoverError, failed};
use crate::PhysicalOffset;
use crate::disk::DiskFile;
use crate::files::Files;
use crate::identity::Identity;
use crate::limits::ROUND_READ_MAX;
use crate::seal::{BODY_AT, MAGIC, Seal, SealError};

/// Finds the next good seal whose record begins at or behind `from`, and before `until`: the seal,
/// where its record ends, and where it begins. Looks for seals alone, not only to the first zeros: a
/// message body may hold a perfect record, but no client knows the log's number.
pub(super) fn next_seal(
    files: &Files,
    identity: &Identity,
    from: PhysicalOffset,
    until: PhysicalOffset,
) -> Result<Option<(Seal, PhysicalOffset, PhysicalOffset)>, RecoverError> {
    let mut needle = MAGIC.to_vec();
    needle.extend_from_slice(&identity.number);
    let finder = memchr::memmem::Finder::new(&needle);
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
        let mut chunk = vec![0; READ_SIZE];
        loop {
            let read_error = failed(format!("looking for seals behind {}", base + place));
            match file.next_data(place) {
                Ok(Some(data)) => place = place.max(data),
                Ok(None) => break,
                Err(e) => return Err(read_error(e)),
            }
            let (read, bad) = read_sound(&*file, &mut chunk, place).map_err(read_error)?;
            for hit in finder.find_iter(&chunk[..read]) {
                let Some(at) = (place + hit as u64).checked_sub(BODY_AT as u64) else { continue };
                let position = PhysicalOffset(base + at);
                if position < from {
                    continue;
                }
                if position >= until {
                    return Ok(None);
                }
                if let Some((seal, size)) = seal_at(&*file, identity, position, at)? {
                    return Ok(Some((seal, position.plus(size), position)));
                }
            }
            if bad {
                place = behind_page(place + read as u64);
                continue;
            }
            if read < needle.len() || place + read as u64 >= file_size {
                break;
            }
            // A needle may lie across two chunks.
            place += (read - (needle.len() - 1)) as u64;
        }
    }
    Ok(None)
}

fn seal_at(
    file: &dyn DiskFile,
    identity: &Identity,
    position: PhysicalOffset,
    place: u64,
) -> Result<Option<(Seal, u64)>, RecoverError> {
    let mut head = [0; 8];
    let what = || format!("reading a seal at {position}");
    if read_sound(file, &mut head, place).map_err(failed(what()))?.0 < head.len() {
        return Ok(None);
    }
    let Some((size, _)) = peek(&head) else { return Ok(None) };
    if size as usize > ROUND_READ_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    if read_sound(file, &mut bytes, place).map_err(failed(what()))?.0 < bytes.len() {
        return Ok(None);
    }
    let Ok(record) = View::parse(&bytes) else { return Ok(None) };
    match Seal::read(&record, identity, position) {
        Ok(seal) => Ok(Some((seal, u64::from(size)))),
        Err(newer @ SealError::Newer(_)) => Err(RecoverError::Newer(newer)),
        Err(_) => Ok(None),
    }
}
