//! Memory that is filled from its begin to its end, and shared by what was put into it: rounds, or what
//! came from clients.
//!
//! An area is used again once all that holds some of it is gone: memory that the kernel has to hand
//! out anew, page by page, costs more than what is written into it.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Areas that are full, the oldest first: what lies in it is dropped first.
#[derive(Debug)]
pub struct Arenas {
    full: VecDeque<BytesMut>,
    bytes: usize,
    kept: usize,
    /// The last area was larger than usual: it is not kept.
    large: bool,
}

impl Arenas {
    /// Areas of so many bytes each, of which at most `kept` wait to be used again.
    pub fn new(bytes: usize, kept: usize) -> Self {
        Arenas { full: VecDeque::new(), bytes, kept, large: false }
    }

    /// The first area.
    pub fn first(&self) -> BytesMut {
        BytesMut::with_capacity(self.bytes)
    }

    /// An empty area of at least `size` bytes, in place of one that is full.
    pub fn next(&mut self, mut full: BytesMut, size: usize) -> BytesMut {
        full.clear();
        let was_large = std::mem::replace(&mut self.large, size > self.bytes);
        if !was_large && self.full.len() < self.kept {
            self.full.push_back(full);
        }
        let free = |area: &mut BytesMut| area.try_reclaim(self.bytes);
        let found = if self.large { None } else { self.full.iter_mut().position(free) };
        found
            .and_then(|at| self.full.remove(at))
            .unwrap_or_else(|| BytesMut::with_capacity(size.max(self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 64 << 10;

    fn filled(mut area: BytesMut) -> (BytesMut, bytes::Bytes) {
        area.resize(area.capacity(), 7);
        let round = area.split().freeze();
        (area, round)
    }

    #[test]
    fn an_area_is_used_again_when_nothing_holds_it_any_more() {
        let mut arenas = Arenas::new(BYTES, 8);
        let (full, first) = filled(arenas.first());
        let place = first.as_ptr();
        let (full, second) = filled(arenas.next(full, 1));
        assert_ne!(second.as_ptr(), place);
        let part = first.slice(5..9);
        drop(first);
        let (full, third) = filled(arenas.next(full, 1));
        assert_ne!(third.as_ptr(), place, "a part of it is still held");
        assert_eq!(part, [7; 4][..]);
        drop(part);
        let (_, fourth) = filled(arenas.next(full, BYTES));
        assert_eq!((fourth.as_ptr(), fourth.len()), (place, BYTES));
    }

    #[test]
    fn a_large_area_is_not_kept() {
        let mut arenas = Arenas::new(BYTES, 8);
        let (full, _) = filled(arenas.first());
        let (large, round) = filled(arenas.next(full, 4 * BYTES));
        assert_eq!(round.len(), 4 * BYTES);
        drop(round);
        let kept = arenas.full.len();
        let area = arenas.next(large, 1);
        assert!(area.capacity() < 2 * BYTES);
        assert_eq!(arenas.full.len(), kept - 1);
    }
}
