//! The sends of one connection that wait for their answers. In: a send, or an opaque. Out: an
//! opaque, or the send.
//!
//! A send takes a slot until it is answered or given up. The opaque names slot and use of it, so
//! an answer finds its slot without a map, and one that comes too late finds nothing.

use std::time::Instant;

use crate::template::OPAQUE_MIN;

/// A bounded number of sends in flight.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    /// Of the present use, or of the next one.
    opaque: i32,
    send: Option<Sending>,
}

/// A send in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sending {
    /// When it was, or should have been, sent.
    pub(crate) started: Instant,
    /// Of its first message.
    pub(crate) sequence: u64,
}

impl Slots {
    pub(crate) fn new(count: u32) -> Self {
        let slot = |i| Slot { opaque: OPAQUE_MIN + i as i32, send: None };
        Slots { slots: (0..count).map(slot).collect(), free: (0..count as usize).rev().collect() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The opaque that the next [`Slots::put`] takes; `None` if there is no room.
    pub(crate) fn next_opaque(&self) -> Option<i32> {
        self.free.last().map(|i| self.slots[*i].opaque)
    }

    /// Notes a send, under [`Slots::next_opaque`].
    pub(crate) fn put(&mut self, send: Sending) {
        if let Some(i) = self.free.pop() {
            self.slots[i].send = Some(send);
        }
    }

    /// The send that has this opaque, which is now answered.
    pub(crate) fn answered(&mut self, opaque: i32) -> Option<Sending> {
        let number = usize::try_from(i64::from(opaque) - i64::from(OPAQUE_MIN)).ok()?;
        let i = number % self.slots.len();
        if self.slots[i].opaque == opaque { self.release(i) } else { None }
    }

    /// Gives up what was sent before `then`; tells how many.
    pub(crate) fn expire(&mut self, then: Instant) -> u64 {
        self.give_up(|send| send.started < then)
    }

    /// Gives up everything; tells how many.
    pub(crate) fn clear(&mut self) -> u64 {
        self.give_up(|_| true)
    }

    fn give_up(&mut self, which: impl Fn(&Sending) -> bool) -> u64 {
        if self.in_flight() == 0 {
            return 0;
        }
        let mut count = 0;
        for i in 0..self.slots.len() {
            if self.slots[i].send.as_ref().is_some_and(&which) {
                self.release(i);
                count += 1;
            }
        }
        count
    }

    /// Empties a slot; its next use has another opaque.
    fn release(&mut self, i: usize) -> Option<Sending> {
        let count = self.slots.len() as i32;
        let slot = &mut self.slots[i];
        let send = slot.send.take()?;
        slot.opaque = slot.opaque.checked_add(count).unwrap_or(OPAQUE_MIN + i as i32);
        self.free.push(i);
        Some(send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn send(sequence: u64) -> Sending {
        Sending { started: Instant::now(), sequence }
    }

    #[test]
    fn answers_find_their_sends_in_any_order() {
        let mut slots = Slots::new(3);
        let mut opaques = Vec::new();
        for n in 0..3 {
            opaques.push(slots.next_opaque().unwrap());
            slots.put(send(n));
        }
        assert!(slots.is_full() && slots.next_opaque().is_none());
        for n in [1, 0, 2] {
            assert_eq!(slots.answered(opaques[n]).unwrap().sequence, n as u64);
            assert_eq!(slots.answered(opaques[n]), None);
            let again = slots.next_opaque().unwrap();
            assert!(!opaques.contains(&again));
        }
        assert_eq!(slots.in_flight(), 0);
        for stray in [0, -1, i32::MIN, i32::MAX] {
            assert_eq!(slots.answered(stray), None);
        }
    }

    #[test]
    fn an_answer_after_the_timeout_finds_nothing() {
        let mut slots = Slots::new(2);
        let opaque = slots.next_opaque().unwrap();
        slots.put(send(0));
        assert_eq!(slots.expire(Instant::now() - Duration::from_secs(1)), 0);
        assert_eq!(slots.expire(Instant::now() + Duration::from_secs(1)), 1);
        slots.put(send(1));
        assert_eq!(slots.answered(opaque), None);
        assert_eq!(slots.clear(), 1);
        assert_eq!(slots.in_flight(), 0);
    }
}
