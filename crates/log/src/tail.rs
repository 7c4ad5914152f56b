//! Recent rounds in memory, so that a consumer at the tail costs no disk read.
//!
//! In: rounds, when the log thread fetches them. Out: slices of them, for replies; they share the
//! round's memory and keep it while a slow reader holds on.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::PhysicalOffset;
use crate::append::Round;

/// Rounds that follow each other, the newest last.
#[derive(Debug)]
pub struct Tail {
    rounds: VecDeque<(PhysicalOffset, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    /// Keeps the newest rounds, `bytes_max` bytes of them.
    pub fn new(bytes_max: usize) -> Self {
        Tail { rounds: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the newest round and lets go of the oldest ones.
    pub fn push(&mut self, round: &Round) {
        self.bytes += round.bytes.len();
        self.rounds.push_back((round.begin, round.bytes.clone()));
        while self.bytes > self.bytes_max && self.rounds.len() > 1 {
            if let Some((_, oldest)) = self.rounds.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    /// The bytes at a position, if they are all in one round here.
    pub fn get(&self, at: PhysicalOffset, size: u32) -> Option<Bytes> {
        let behind = self.rounds.partition_point(|(begin, _)| *begin <= at);
        let (begin, bytes) = self.rounds.get(behind.checked_sub(1)?)?;
        let start = (at.0 - begin.0) as usize;
        let end = start.checked_add(size as usize)?;
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(begin: u64, size: usize) -> Round {
        Round {
            begin: PhysicalOffset(begin),
            bytes: vec![begin as u8; size].into(),
            end: PhysicalOffset(begin + size as u64),
            next: PhysicalOffset(begin + size as u64),
            records: 1,
            seal_bytes: 0,
        }
    }

    #[test]
    fn finds_what_it_still_holds() {
        let mut tail = Tail::new(250);
        for begin in [0, 100, 200] {
            tail.push(&round(begin, 100));
        }
        assert_eq!(tail.bytes(), 200);
        assert_eq!(tail.get(PhysicalOffset(50), 10), None);
        assert_eq!(tail.get(PhysicalOffset(110), 10).unwrap(), vec![100u8; 10]);
        assert_eq!(tail.get(PhysicalOffset(195), 10), None, "spans rounds");
        assert_eq!(tail.get(PhysicalOffset(299), 2), None);
        assert_eq!(tail.get(PhysicalOffset(900), 1), None);
    }
}
