//! Pulls that wait at a queue for a message.

use std::collections::{BTreeMap, BTreeSet};

use kerolox_protocol::remoting::pull::Pull;
use kerolox_protocol::tags::TagFilter;

use crate::output::ConnectionId;
use crate::request::Origin;
use crate::topics::TopicId;

/// A waiting pull.
#[derive(Debug)]
pub struct Parked {
    pub origin: Origin,
    pub pull: Pull,
    pub filter: TagFilter,
    /// In [`Deadlines`].
    pub number: u64,
}

/// Where a pull waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub number: u64,
    pub connection: ConnectionId,
    pub topic: TopicId,
    pub queue: i32,
    at: i64,
}

/// When each waiting pull is answered without a message, and which ones end with a connection.
#[derive(Debug, Default)]
pub struct Deadlines {
    pulls: BTreeMap<u64, Waiting>,
    by_time: BTreeSet<(i64, u64)>,
    by_connection: BTreeSet<(ConnectionId, u64)>,
    last: u64,
}

impl Deadlines {
    /// Notes a deadline and returns its number.
    pub fn add(&mut self, connection: ConnectionId, at: i64, topic: TopicId, queue: i32) -> u64 {
        self.last += 1;
        let number = self.last;
        self.pulls.insert(number, Waiting { number, connection, topic, queue, at });
        self.by_time.insert((at, number));
        self.by_connection.insert((connection, number));
        number
    }

    /// How many pulls wait.
    pub fn count(&self) -> usize {
        self.pulls.len()
    }

    /// Takes a pull that is answered.
    pub fn take(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.pulls.remove(&number)?;
        self.by_time.remove(&(waiting.at, number));
        self.by_connection.remove(&(waiting.connection, number));
        Some(waiting)
    }

    /// Takes one whose time has come.
    pub fn take_due(&mut self, now: i64) -> Option<Waiting> {
        let (at, number) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.take(number)
    }

    /// Takes any one: at a stop all are answered.
    pub fn take_any(&mut self) -> Option<Waiting> {
        self.take_due(i64::MAX)
    }

    /// Takes any one of a connection.
    pub fn take_of(&mut self, connection: ConnectionId) -> Option<Waiting> {
        let numbers = (connection, 0)..=(connection, u64::MAX);
        let (_, number) = *self.by_connection.range(numbers).next()?;
        self.take(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::Topics;

    /// They counted until their time, and after 200,000 of them no pull waited any more.
    #[test]
    fn pulls_that_were_answered_do_not_count() {
        let topic = Topics::default().put(Default::default(), 0, Default::default());
        let mut deadlines = Deadlines::default();
        let first = deadlines.add(ConnectionId(1), 20, topic, 3);
        let second = deadlines.add(ConnectionId(2), 10, topic, 3);
        assert!(deadlines.take(first).is_some());
        assert_eq!(deadlines.count(), 1);
        assert_eq!(deadlines.take_due(9), None);
        assert_eq!(deadlines.take_due(10).map(|waiting| waiting.number), Some(second));
        assert_eq!(deadlines.count(), 0);
    }

    /// They waited for nobody until their time.
    #[test]
    fn pulls_end_with_their_connection() {
        let topic = Topics::default().put(Default::default(), 0, Default::default());
        let mut deadlines = Deadlines::default();
        let (gone, stays) = (ConnectionId(1), ConnectionId(2));
        deadlines.add(gone, 20, topic, 3);
        deadlines.add(stays, 10, topic, 3);
        deadlines.add(gone, 10, topic, 1);
        assert!(deadlines.take_of(gone).is_some_and(|waiting| waiting.queue == 3));
        assert!(deadlines.take_of(gone).is_some_and(|waiting| waiting.queue == 1));
        assert_eq!(deadlines.take_of(gone), None);
        assert_eq!(deadlines.take_any().map(|waiting| waiting.connection), Some(stays));
    }
}
