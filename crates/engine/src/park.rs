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
    /// Its time and number in [`Deadlines`].
    pub at: i64,
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

    /// Forgets a pull that is answered before its time.
    pub fn remove(&mut self, topic: TopicId, parked: &Parked) {
        self.due.remove(&(parked.at, parked.number, topic, parked.pull.queue_id));
    }

    /// How many pulls wait.
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

#[cfg(test)]
mod tests {
    use kerolox_protocol::remoting::pull::Pull;

    use super::*;
    use crate::output::ConnectionId;
    use crate::topics::Topics;

    /// They counted until their time, and after 200,000 of them no pull waited any more.
    #[test]
    fn pulls_that_were_answered_do_not_count() {
        let topic = Topics::default().put(Default::default(), 0);
        let nowhere = std::net::Ipv4Addr::UNSPECIFIED;
        let origin = Origin {
            connection: ConnectionId(1),
            opaque: 0,
            form: Default::default(),
            oneway: false,
            language: 0,
            version: 0,
            peer: (nowhere, 0).into(),
            local_ip: nowhere.into(),
            cost: 0,
        };
        let mut deadlines = Deadlines::default();
        let mut add = |at, queue_id| {
            let number = deadlines.add(at, topic, queue_id);
            let pull = Pull { queue_id, ..Pull::default() };
            Parked { origin, pull, filter: TagFilter::All, at, number }
        };
        let (first, second) = (add(20, 3), add(10, 3));
        deadlines.remove(topic, &first);
        assert_eq!(deadlines.count(), 1);
        assert_eq!(deadlines.take_due(9), None);
        assert_eq!(deadlines.take_due(10), Some((second.number, topic, 3)));
        assert_eq!(deadlines.count(), 0);
    }
}
