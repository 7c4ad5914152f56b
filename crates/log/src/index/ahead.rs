//! Entries that were read with others before them. A consumer goes on where it ended, so its next pull
//! finds them here instead of on the disk.
//!
//! In: what a look-up read beyond what was asked for. Out: the same, once, for who goes on there.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::index::block::Chain;
use crate::index::queue::Entry;

/// With their offsets.
type Entries = Vec<(i64, Entry)>;

/// See the module's documentation. A queue is known by its newest block, as a pull names it.
pub struct Ahead {
    /// The oldest first.
    kept: Mutex<VecDeque<(Chain, Entries)>>,
    max: usize,
}

impl Ahead {
    /// Keeps those of so many pulls.
    pub fn new(max: usize) -> Ahead {
        Ahead { kept: Mutex::default(), max }
    }

    /// The entries that begin at an offset; none if these were not kept.
    pub fn take(&self, chain: Chain, from: i64) -> Entries {
        let mut kept = self.kept.lock();
        let begins = |entries: &[(i64, Entry)]| entries.first().is_some_and(|(at, _)| *at == from);
        let found = kept.iter().position(|(of, entries)| *of == chain && begins(entries));
        found.and_then(|at| kept.remove(at)).map_or_else(Vec::new, |(_, entries)| entries)
    }

    /// Keeps entries.
    pub fn keep(&self, chain: Chain, entries: Entries) {
        let mut kept = self.kept.lock();
        if kept.len() >= self.max {
            kept.pop_front();
        }
        kept.push_back((chain, entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhysicalOffset;
    use crate::index::block::Link;
    use crate::read::Place;

    #[test]
    fn entries_are_taken_once_and_the_oldest_go_first() {
        let place = Place { offset: PhysicalOffset(0), size: 1, crc: 0 };
        let entries = |from: i64| vec![(from, Entry { place, tags_code: 0, store_timestamp: 0 })];
        let newest = |block| Link { block, slot: 0, ordinal: 0 };
        let chain = |block| Chain { newest: newest(block), origin: 0 };
        let ahead = Ahead::new(3);
        (0..5).for_each(|block| ahead.keep(chain(block), entries(7)));
        assert!(ahead.take(chain(1), 7).is_empty(), "there is room for three");
        assert!(ahead.take(chain(3), 8).is_empty(), "it begins elsewhere");
        assert_eq!(ahead.take(chain(3), 7), entries(7));
        assert!(ahead.take(chain(3), 7).is_empty(), "it was taken");
    }
}
