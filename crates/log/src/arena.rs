//! Memory for rounds.
//!
//! Rounds lie one behind the other in areas of [`ARENA_BYTES`]. An area is used again once all that
//! holds some of it is gone: memory that the kernel has to hand out anew, page by page, costs more
//! than what is written into it.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::limits::{ARENA_BYTES, ARENAS_MAX};

/// Areas that are full, the oldest first: what lies in it is dropped first.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    full: VecDeque<BytesMut>,
    /// The last area was larger than usual: it is not kept.
    large: bool,
}

impl Arenas {
    /// An empty area of at least `size` bytes, in place of one that is full.
    pub(crate) fn next(&mut self, mut full: BytesMut, size: usize) -> BytesMut {
        full.clear();
        let was_large = std::mem::replace(&mut self.large, size > ARENA_BYTES);
        if !was_large && self.full.len() < ARENAS_MAX {
            self.full.push_back(full);
        }
        let free = |area: &mut BytesMut| area.try_reclaim(ARENA_BYTES);
        let found = if self.large { None } else { self.full.iter_mut().position(free) };
        found
            .and_then(|at| self.full.remove(at))
            .unwrap_or_else(|| BytesMut::with_capacity(size.max(ARENA_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut area: BytesMut) -> (BytesMut, bytes::Bytes) {
        area.resize(area.capacity(), 7);
        let round = area.split().freeze();
        (area, round)
    }

    #[test]
    fn an_area_is_used_again_when_nothing_holds_it_any_more() {
        let mut arenas = Arenas::default();
        let (full, first) = filled(BytesMut::with_capacity(ARENA_BYTES));
        let place = first.as_ptr();
        let (full, second) = filled(arenas.next(full, 1));
        assert_ne!(second.as_ptr(), place);
        let part = first.slice(5..9);
        drop(first);
        let (full, third) = filled(arenas.next(full, 1));
        assert_ne!(third.as_ptr(), place, "a part of it is still held");
        assert_eq!(part, [7; 4][..]);
        drop(part);
        let (_, fourth) = filled(arenas.next(full, ARENA_BYTES));
        assert_eq!((fourth.as_ptr(), fourth.len()), (place, ARENA_BYTES));
    }

    #[test]
    fn a_large_area_is_not_kept() {
        let mut arenas = Arenas::default();
        let (full, _) = filled(BytesMut::with_capacity(ARENA_BYTES));
        let (large, round) = filled(arenas.next(full, 4 * ARENA_BYTES));
        assert_eq!(round.len(), 4 * ARENA_BYTES);
        drop(round);
        let kept = arenas.full.len();
        let area = arenas.next(large, 1);
        assert!(area.capacity() < 2 * ARENA_BYTES);
        assert_eq!(arenas.full.len(), kept - 1);
    }
}
