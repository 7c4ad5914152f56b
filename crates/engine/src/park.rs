//! Pulls that wait at a queue for a message.

use std::collections::BTreeSet;

use kerolox_protocol::remoting::pull::Pull;
use kerolox_protocol::tags::TagFilter;

use crate::request::Origin;
use crate::topics::TopicId;

/// A waiting pull.
#[derive(Debug)]
pub struct Parked {
    pub origin: Origin,
    pub pull: Pull,
    pub filter: TagFilter,
    /// Its number in [`Deadlines`].
    pub number: u64,
}

/// When each waiting pull is answered without a message.
#[derive(Debug, Default)]
pub struct Deadlines {
    due: BTreeSet<(i64, u64, TopicId, i32)>,
    last: u64,
}

impl Deadlines {
    /// Notes a deadline and returns its number.
    pub fn add(&mut self, at: i64, topic: TopicId, queue: i32) -> u64 {
        self.last += 1;
        self.due.insert((at, self.last, topic, queue));
        self.last
    }

    /// How many pulls wait, or waited: those that were answered stay until their time.
    pub fn count(&self) -> usize {
        self.due.len()
    }

    /// Takes one whose time has come: its number, topic and queue.
    pub fn take_due(&mut self, now: i64) -> Option<(u64, TopicId, i32)> {
        let (at, ..) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first().map(|(_, number, topic, queue)| (number, topic, queue))
    }

    /// Takes any one: at a stop all are answered.
    pub fn take_any(&mut self) -> Option<(u64, TopicId, i32)> {
        self.take_due(i64::MAX)
    }
}
