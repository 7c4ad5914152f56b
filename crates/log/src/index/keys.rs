//! Keys → positions. A key's hash and position fit 8 bytes, in blocks that are sorted when full.
//!
//! Hashes collide, so what is found are candidates: the caller reads each record and compares.

use kerolox_protocol::properties;
use kerolox_protocol::record::View;

use crate::PhysicalOffset;

/// Entries of a block.
const BLOCK: usize = 4096;

/// A sorted stretch of entries: hash in the upper half, distance from `base` in the lower.
#[derive(Debug)]
struct Block {
    base: u64,
    /// The last position in it.
    last: u64,
    entries: Vec<u64>,
}

/// The index of unique keys and keys of all topics.
#[derive(Debug, Default)]
pub struct Keys {
    blocks: std::collections::VecDeque<Block>,
    open: Option<Block>,
}

/// The hash of a topic's key: Java's, over `topic#key`, as Apache's index has it.
pub fn hash(topic: &str, key: &str) -> u32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let units = topic.encode_utf16().chain([u16::from(b'#')]).chain(key.encode_utf16());
    units.fold(0, step) as u32
}

/// The keys of a message: its unique key, and those that its sender gave it.
pub fn of<'a>(record: &View<'a>) -> impl Iterator<Item = &'a str> {
    let value = |name| properties::get(record.properties, name).unwrap_or("");
    let keys = value(properties::KEYS).split(' ');
    std::iter::once(value(properties::UNIQ_KEY)).chain(keys).filter(|key| !key.is_empty())
}

impl Keys {
    /// Adds a key. Positions rise.
    pub fn push(&mut self, hash: u32, at: PhysicalOffset) {
        let fits =
            |block: &Block| block.entries.len() < BLOCK && at.0 - block.base <= u64::from(u32::MAX);
        if !self.open.as_ref().is_some_and(fits) {
            let entries = Vec::with_capacity(BLOCK);
            let fresh = Block { base: at.0, last: at.0, entries };
            if let Some(mut full) = self.open.replace(fresh) {
                full.entries.sort_unstable();
                self.blocks.push_back(full);
            }
        }
        if let Some(open) = &mut self.open {
            open.last = at.0;
            open.entries.push(u64::from(hash) << 32 | (at.0 - open.base));
        }
    }

    /// Positions of records that may carry the key, the newest first.
    pub fn find(&self, hash: u32) -> impl Iterator<Item = PhysicalOffset> {
        let key = u64::from(hash);
        let open = self.open.iter().flat_map(move |block| {
            let hits = block.entries.iter().rev().filter(move |entry| **entry >> 32 == key);
            hits.map(|entry| PhysicalOffset(block.base + (entry & u64::from(u32::MAX))))
        });
        let sorted = self.blocks.iter().rev().flat_map(move |block| {
            let from = block.entries.partition_point(|entry| entry >> 32 < key);
            let to = block.entries.partition_point(|entry| entry >> 32 <= key);
            let hits = block.entries[from..to].iter().rev();
            hits.map(|entry| PhysicalOffset(block.base + (entry & u64::from(u32::MAX))))
        });
        open.chain(sorted)
    }

    /// Forgets blocks that lie wholly below a position.
    pub fn trim(&mut self, first: PhysicalOffset) {
        while self.blocks.front().is_some_and(|block| block.last < first.0) {
            self.blocks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_newest_first() {
        let mut keys = Keys::default();
        for i in 0..20_000u64 {
            keys.push(hash("t", &format!("k{}", i % 7_000)), PhysicalOffset(i * 1_000_000));
        }
        let found =
            |key| -> Vec<u64> { keys.find(hash("t", key)).map(|p| p.0 / 1_000_000).collect() };
        assert_eq!(found("k5"), [14_005, 7_005, 5]);
        assert_eq!(found("k6999"), [13_999, 6_999]);
        assert!(found("none").is_empty());
        keys.trim(PhysicalOffset(10_000 * 1_000_000));
        assert!(keys.find(hash("t", "k5")).count() <= 2);
    }
}
