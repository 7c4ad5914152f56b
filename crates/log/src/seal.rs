//! The seal: the internal record that closes a round and says what the round is.
//!
//! In: what [`crate::append`] collected of a round. Out: a record of topic
//! `rmq_sys_kerolox_state`, queue 0, with the transaction type "rollback", from which Apache's
//! broker builds no queue entry. Read back by [`crate::recover`].
//!
//! The record's body, all integers big-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 16 | the log's number |
//! | 24 | 2 | format version |
//! | 26 | 2 | flags: [`FLAG_END_OF_FILE`], [`FLAG_FIRST`] |
//! | 28 | 8 | writer |
//! | 36 | 8 | epoch |
//! | 44 | 8 | start number |
//! | 52 | 8 | position of the round's first byte |
//! | 60 | 8 | position of the seal before, or [`NO_SEAL`] |
//! | 68 | 4 | CRC32 of the list in the seal before |
//! | 72 | 8 | how far the writer's disk was flushed |
//! | 80 | 4 | number of records, n |
//! | 84 | 4 | bytes of the state changes, m |
//! | 88 | 8 n | the list: size and CRC32 of each record, whole |
//! | | m | state changes: each 4 bytes records before it, 4 bytes size, content |
//! | | 4 | CRC32 of the body up to here |

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{NewRecord, View, sys_flag};

use crate::PhysicalOffset;
use crate::identity::Identity;
use crate::rules::{self, Rule};

/// The first bytes of a seal's body.
pub const MAGIC: [u8; 8] = *b"KEROSEAL";
/// Version of this layout. A newer one is refused.
pub const FORMAT_VERSION: u16 = 1;
/// No round follows in this file: the blank does.
pub const FLAG_END_OF_FILE: u16 = 1;
/// The first round of a start.
pub const FLAG_FIRST: u16 = 2;
/// There is no seal before this one.
pub const NO_SEAL: u64 = u64::MAX;

/// Bytes of the body without list and state changes.
const BODY_FIXED: usize = 92;
/// Position of the body in the record: internal records have IPv4 hosts.
pub const BODY_AT: usize = 88;
/// Bytes of an empty seal's record.
pub const SIZE_MIN: usize = BODY_AT + BODY_FIXED + 1 + STATE_TOPIC.len() + 2;

/// Bytes of a seal's record.
pub fn size(records: usize, changes_bytes: usize) -> usize {
    SIZE_MIN + 8 * records + changes_bytes
}

/// Size and CRC32 of a record, as they stand in the seal's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub size: u32,
    pub crc: u32,
}

/// The seal that a seal names as the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Position of its record, or [`NO_SEAL`].
    pub position: u64,
    /// CRC32 of its list.
    pub list_crc: u32,
}

impl Link {
    /// The start of a log.
    pub const NONE: Link = Link { position: NO_SEAL, list_crc: 0 };
}

/// What a seal says of its round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    pub flags: u16,
    pub writer: u64,
    pub epoch: u64,
    pub start: u64,
    pub begin: PhysicalOffset,
    pub before: Link,
    pub flushed: PhysicalOffset,
    pub list: Vec<Listed>,
    /// Encoded state changes, see [`changes`].
    pub changes: Vec<u8>,
}

/// CRC32 of a list, as the next seal repeats it.
pub fn list_crc(list: &[Listed]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for listed in list {
        hasher.update(&listed.size.to_be_bytes());
        hasher.update(&listed.crc.to_be_bytes());
    }
    hasher.finalize()
}

/// Appends one state change to a seal's changes.
pub fn push_change(out: &mut Vec<u8>, records_before: u32, change: &[u8]) {
    out.extend_from_slice(&records_before.to_be_bytes());
    out.extend_from_slice(&(change.len() as u32).to_be_bytes());
    out.extend_from_slice(change);
}

/// Bytes that [`push_change`] adds.
pub fn change_size(change: &[u8]) -> usize {
    8 + change.len()
}

/// Walks encoded state changes: how many of the round's records come before each, and its
/// content.
pub fn changes(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (before, rest) = bytes.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (change, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        bytes = rest;
        Some((u32::from_be_bytes(*before), change))
    })
}

/// Why a record is not a seal of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("not a seal of this log")]
    Foreign,
    #[error("the seal is damaged")]
    Damaged,
    #[error("the seal has format version {0}; this release reads up to {FORMAT_VERSION}")]
    Newer(u16),
}

/// The host in internal records.
fn no_host() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))
}

impl Seal {
    /// Appends the seal's record to `out`.
    pub fn write(
        &self,
        identity: &Identity,
        position: PhysicalOffset,
        store_timestamp: i64,
        out: &mut impl bytes::BufMut,
    ) {
        let mut body = Vec::with_capacity(BODY_FIXED + 8 * self.list.len() + self.changes.len());
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&identity.number);
        body.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        body.extend_from_slice(&self.flags.to_be_bytes());
        for word in [self.writer, self.epoch, self.start, self.begin.0, self.before.position] {
            body.extend_from_slice(&word.to_be_bytes());
        }
        body.extend_from_slice(&self.before.list_crc.to_be_bytes());
        body.extend_from_slice(&self.flushed.0.to_be_bytes());
        body.extend_from_slice(&(self.list.len() as u32).to_be_bytes());
        body.extend_from_slice(&(self.changes.len() as u32).to_be_bytes());
        for listed in &self.list {
            body.extend_from_slice(&listed.size.to_be_bytes());
            body.extend_from_slice(&listed.crc.to_be_bytes());
        }
        body.extend_from_slice(&self.changes);
        body.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        let record = NewRecord {
            topic: STATE_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: sys_flag::ROLLBACK,
            born_timestamp: store_timestamp,
            born_host: no_host(),
            store_host: no_host(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: b"",
        };
        debug_assert_eq!(record.size(), size(self.list.len(), self.changes.len()));
        record.write(0, position.0, store_timestamp, out);
    }

    /// Reads the seal in a record that should stand at `position`.
    pub fn read(
        record: &View<'_>,
        identity: &Identity,
        position: PhysicalOffset,
    ) -> Result<Seal, SealError> {
        let body = record.body;
        if record.topic != STATE_TOPIC
            || record.transaction_type() != sys_flag::ROLLBACK
            || body.get(..8) != Some(&MAGIC)
            || body.get(8..24) != Some(&identity.number)
        {
            return Err(SealError::Foreign);
        }
        let damaged = SealError::Damaged;
        let (content, crc) = body.split_last_chunk::<4>().ok_or(damaged)?;
        let sound = crc32fast::hash(content) == u32::from_be_bytes(*crc) && record.body_is_sound();
        if !sound && rules::holds(Rule::SealCrc) {
            return Err(damaged);
        }
        if content.len() + 4 < BODY_FIXED {
            return Err(damaged);
        }
        // From here on the bytes are as they were written.
        let version = u16::from_be_bytes([content[24], content[25]]);
        if version > FORMAT_VERSION {
            return Err(SealError::Newer(version));
        }
        // The body's CRC does not cover the record's own fields; the log's time goes by this one.
        let same_time = record.born_timestamp == record.store_timestamp;
        if record.physical_offset != position.0 || !same_time {
            return Err(damaged);
        }
        let word = |at: usize| {
            let bytes = content[at..].first_chunk::<8>();
            bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        let int = |at: usize| (word(at) >> 32) as u32;
        let (records, changes_size) = (int(80) as usize, int(84) as usize);
        let list_end = 88 + 8 * records;
        if list_end + changes_size != content.len() {
            return Err(damaged);
        }
        let list = content[88..list_end]
            .chunks_exact(8)
            .map(|b| Listed {
                size: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
                crc: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
            })
            .collect();
        Ok(Seal {
            flags: u16::from_be_bytes([content[26], content[27]]),
            writer: word(28),
            epoch: word(36),
            start: word(44),
            begin: PhysicalOffset(word(52)),
            before: Link { position: word(60), list_crc: int(68) },
            flushed: PhysicalOffset(word(72)),
            list,
            changes: content[list_end..].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> (Identity, Seal) {
        let identity = Identity { number: [7; 16], writer: 9 };
        let mut changes = Vec::new();
        push_change(&mut changes, 1, b"change");
        let list = vec![Listed { size: 100, crc: 5 }, Listed { size: 7, crc: 6 }];
        let before = Link { position: 11, list_crc: 12 };
        let (begin, flushed) = (PhysicalOffset(20), PhysicalOffset(15));
        let (flags, writer, epoch, start) = (FLAG_FIRST, 9, 1, 2);
        (identity, Seal { flags, writer, epoch, start, begin, before, flushed, list, changes })
    }

    #[test]
    fn a_seal_is_read_as_it_was_written_and_every_flipped_bit_is_noticed() {
        let (identity, seal) = seal();
        let mut bytes = Vec::new();
        seal.write(&identity, PhysicalOffset(127), 1, &mut bytes);
        assert_eq!(bytes.len(), size(2, 14));
        let view = View::parse(&bytes).unwrap();
        assert_eq!(Seal::read(&view, &identity, PhysicalOffset(127)).unwrap(), seal);
        assert_eq!(changes(&seal.changes).collect::<Vec<_>>(), [(1, &b"change"[..])]);
        for bit in BODY_AT * 8..(BODY_AT + BODY_FIXED + 16 + 14) * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = View::parse(&bad).map(|v| Seal::read(&v, &identity, PhysicalOffset(127)));
            assert!(!matches!(read, Ok(Ok(_))), "bit {bit}");
        }
        assert_eq!(Seal::read(&view, &identity, PhysicalOffset(128)), Err(SealError::Damaged));
        let other = Identity { number: [8; 16], writer: 9 };
        assert_eq!(Seal::read(&view, &other, PhysicalOffset(127)), Err(SealError::Foreign));
    }
}
