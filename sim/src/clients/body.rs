//! Bodies of messages: tiny to large, and some that look like what the log itself writes.
//!
//! In: how large, and where in the log the body will perhaps stand. Out: its bytes.

use std::net::{Ipv4Addr, SocketAddr};

use kerolox_log::PhysicalOffset;
use kerolox_log::disk::fault::Rng;
use kerolox_log::identity::Identity;
use kerolox_log::seal::{BODY_AT, FLAG_FIRST, Link, Listed, Seal};
use kerolox_protocol::record::{NewRecord, write_blank};

/// The size of a body, in bytes. `max`: the largest that fits a file, about.
pub(crate) fn size(rng: &mut Rng, file_size: u64, max: u64, large_one_in: u64) -> usize {
    if rng.one_in(large_one_in) {
        return (file_size / 8 + rng.below(file_size / 3)) as usize;
    }
    if rng.one_in(large_one_in * 8) {
        // Just fits, or just does not.
        return (max - 150 + rng.below(250)) as usize;
    }
    let max = [40, 40, 300, 1_000, 5_000][rng.below(5) as usize];
    1 + rng.below(max) as usize
}

/// A body of at least one byte. `position`: where the record will stand if its round does not
/// close before.
pub(crate) fn make(rng: &mut Rng, size: usize, position: u64) -> Vec<u8> {
    let mut body = match rng.below(24) {
        0 => record(rng, position),
        1 | 2 => seal(rng, position),
        3 => {
            let mut blank = Vec::new();
            write_blank(size, &mut blank);
            blank
        }
        4 => vec![0; size],
        _ => Vec::new(),
    };
    while body.len() < size {
        body.extend_from_slice(&rng.next_u64().to_be_bytes());
    }
    body.truncate(size.max(1));
    body
}

fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1).into()
}

/// A perfect record: it says that it stands where it does.
fn record(rng: &mut Rng, position: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let record = NewRecord {
        topic: "t0",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: nowhere(),
        store_host: nowhere(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"invented",
        properties: b"SIM_ID\x01999999999\x02",
    };
    record.write(rng.below(20) as i64, position + BODY_AT as u64, 1_700_000_000_000, &mut out);
    out
}

/// A perfect seal of another log, of this round, in this place.
fn seal(rng: &mut Rng, position: u64) -> Vec<u8> {
    let other = Identity { number: [rng.below(256) as u8; 16], writer: rng.next_u64() };
    let seal = Seal {
        flags: FLAG_FIRST,
        writer: other.writer,
        epoch: 1,
        start: 1 << 40,
        begin: PhysicalOffset(position),
        before: Link::NONE,
        flushed: PhysicalOffset(position + (1 << 30)),
        list: vec![Listed { size: BODY_AT as u32, crc: 7 }],
        changes: Vec::new(),
    };
    let mut out = Vec::new();
    seal.write(&other, PhysicalOffset(position + BODY_AT as u64), 1_700_000_000_000, &mut out);
    out
}
