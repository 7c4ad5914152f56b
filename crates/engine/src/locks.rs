//! Queue locks of ordered consumers: one client of a group may consume a queue at a time. Released
//! on request, when the connection closes, or when not renewed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kerolox_protocol::json::write::MessageQueue;

use crate::limits::{LOCK_EXPIRY_MS, LOCKS_MAX};
use crate::output::ConnectionId;

#[derive(Debug)]
struct Lock {
    client_id: String,
    connection: ConnectionId,
    renewed: i64,
}

/// All locks, by group.
#[derive(Debug, Default)]
pub struct Locks {
    by_group: HashMap<String, BTreeMap<MessageQueue, Lock>>,
    /// Groups in which a connection holds, or held, a lock.
    by_connection: HashMap<ConnectionId, BTreeSet<String>>,
}

impl Locks {
    /// Locks a queue for a client or renews its lock. False if another client holds it.
    pub fn lock(
        &mut self,
        group: &str,
        queue: &MessageQueue,
        client_id: &str,
        connection: ConnectionId,
        now: i64,
    ) -> bool {
        let locks = self.by_group.entry(group.to_owned()).or_default();
        self.by_connection.entry(connection).or_default().insert(group.to_owned());
        let full = locks.len() >= LOCKS_MAX;
        let mine = Lock { client_id: client_id.to_owned(), connection, renewed: now };
        match locks.get_mut(queue) {
            Some(held) if held.client_id != client_id && now - held.renewed <= LOCK_EXPIRY_MS => {
                false
            }
            Some(held) => {
                *held = mine;
                true
            }
            None if full => false,
            None => {
                locks.insert(queue.clone(), mine);
                true
            }
        }
    }

    /// Gives a client's lock back.
    pub fn unlock(&mut self, group: &str, queue: &MessageQueue, client_id: &str) {
        if let Some(locks) = self.by_group.get_mut(group) {
            if locks.get(queue).is_some_and(|held| held.client_id == client_id) {
                locks.remove(queue);
            }
            if locks.is_empty() {
                self.by_group.remove(group);
            }
        }
    }

    /// Whether any queue of the group is locked: its consumers are ordered.
    pub fn any(&self, group: &str, now: i64) -> bool {
        let locks = self.by_group.get(group);
        locks.is_some_and(|locks| locks.values().any(|l| now - l.renewed <= LOCK_EXPIRY_MS))
    }

    /// Releases what a closed connection held, and returns the groups concerned.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<String> {
        let mut changed = Vec::new();
        for group in self.by_connection.remove(&connection).unwrap_or_default() {
            let Some(locks) = self.by_group.get_mut(&group) else { continue };
            let before = locks.len();
            locks.retain(|_, lock| lock.connection != connection);
            let released = locks.len() != before;
            if locks.is_empty() {
                self.by_group.remove(&group);
            }
            if released {
                changed.push(group);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_released_expired_or_disconnected() {
        let mut locks = Locks::default();
        let q = MessageQueue { broker_name: "b".into(), queue_id: 0, topic: "t".into() };
        let (one, two) = (ConnectionId(1), ConnectionId(2));
        assert!(locks.lock("g", &q, "a", one, 0));
        assert!(locks.lock("g", &q, "a", one, 10));
        assert!(!locks.lock("g", &q, "b", two, 20));
        assert!(locks.any("g", 20) && !locks.any("h", 20));
        locks.unlock("g", &q, "b");
        assert!(!locks.lock("g", &q, "b", two, 20));
        locks.unlock("g", &q, "a");
        assert!(locks.lock("g", &q, "b", two, 20));
        assert_eq!(locks.connection_closed(two), ["g"]);
        assert!(locks.lock("g", &q, "a", one, 30));
        assert!(locks.lock("g", &q, "b", two, 31 + LOCK_EXPIRY_MS));
    }
}
