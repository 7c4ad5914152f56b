//! A set of messages. Sequences of a producer lie close together, so they are bits; yet a sequence
//! may be any number, since it may come from a damaged body.

use std::collections::HashMap;

const BLOCK_BITS: u64 = 4096;

/// Messages by run, producer and sequence.
#[derive(Debug, Default)]
pub(crate) struct Set(HashMap<(u64, u32, u64), Box<[u64; (BLOCK_BITS / 64) as usize]>>);

impl Set {
    /// Tells whether it is new.
    pub(crate) fn insert(&mut self, run: u64, producer: u32, sequence: u64) -> bool {
        let key = (run, producer, sequence / BLOCK_BITS);
        let block = self.0.entry(key).or_insert_with(|| Box::new([0; _]));
        let (word, bit) = place(sequence);
        let new = block[word] & bit == 0;
        block[word] |= bit;
        new
    }

    /// How many are here that are not in `other`.
    pub(crate) fn count_beyond(&self, other: &Set) -> u64 {
        let mut count = 0;
        for (key, block) in &self.0 {
            let there = other.0.get(key);
            for (word, bits) in block.iter().enumerate() {
                let known = there.map_or(0, |block| block[word]);
                count += u64::from((bits & !known).count_ones());
            }
        }
        count
    }

    /// Adds all that is in `other`.
    pub(crate) fn take(&mut self, other: Set) {
        for (key, block) in other.0 {
            let here = self.0.entry(key).or_insert_with(|| Box::new([0; _]));
            here.iter_mut().zip(block.iter()).for_each(|(here, bits)| *here |= bits);
        }
    }

    pub(crate) fn contains(&self, run: u64, producer: u32, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.0.get(&(run, producer, sequence / BLOCK_BITS)).is_some_and(|b| b[word] & bit != 0)
    }
}

fn place(sequence: u64) -> (usize, u64) {
    ((sequence % BLOCK_BITS / 64) as usize, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_inserted() {
        let mut set = Set::default();
        for n in [0, 1, 63, 64, 4095, 4096, u64::MAX] {
            assert!(!set.contains(7, 1, n));
            assert!(set.insert(7, 1, n));
            assert!(!set.insert(7, 1, n));
            assert!(set.contains(7, 1, n) && !set.contains(7, 2, n) && !set.contains(8, 1, n));
        }
        assert!(!set.contains(7, 1, 2));
    }

    #[test]
    fn what_one_set_has_and_another_has_not_is_counted() {
        let (mut all, mut some) = (Set::default(), Set::default());
        for n in 0..10_000 {
            all.insert(1, 2, n);
            if n % 4 != 0 {
                some.insert(1, 2, n);
            }
        }
        some.insert(1, 3, 0);
        assert_eq!((all.count_beyond(&some), some.count_beyond(&all)), (2500, 1));
        some.take(all);
        assert!(some.contains(1, 2, 0) && some.contains(1, 3, 0));
    }
}
