//! The search for seals, wherever they are: what they name as flushed is the proof, and behind damage the
//! log goes on at one of them.

use kerolox_protocol::record::{View, peek};

use super::RecoverError;
use super::search::{Candidate, Pattern, search};
use crate::PhysicalOffset;
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
    let find = |bytes: &[u8]| finder.find(bytes);
    let pattern = Pattern { find: &find, at: BODY_AT, head: BODY_AT + needle.len() };
    search(files, from, until, &pattern, &mut |found| seal_at(identity, found))
}

fn seal_at(
    identity: &Identity,
    found: &Candidate<'_>,
) -> Result<Option<(Seal, PhysicalOffset, PhysicalOffset)>, RecoverError> {
    let at = found.position;
    let size = peek(found.head).map_or(usize::MAX, |(size, _)| size as usize);
    if size > ROUND_READ_MAX {
        return Ok(None);
    }
    let Some(bytes) = found.bytes(size)? else { return Ok(None) };
    let Ok(record) = View::parse(&bytes) else { return Ok(None) };
    match Seal::read(&record, identity, at) {
        Ok(seal) => Ok(Some((seal, at.plus(size as u64), at))),
        Err(newer @ SealError::Newer(_)) => Err(RecoverError::Newer(newer)),
        Err(_) => Ok(None),
    }
}
