//! Requests that wait for something from outside: records from the disk, answers from clients.

use std::collections::HashMap;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::block::Chain;
use kerolox_protocol::remoting::admin::ResetOffset;
use kerolox_protocol::remoting::client::ConsumeDirectly;
use kerolox_protocol::remoting::query::QueryMessage;
use kerolox_protocol::remoting::send::SendBack;

use crate::request::Origin;

/// What goes on when the records are there.
#[derive(Debug)]
pub enum Continuation {
    SendBack {
        origin: Origin,
        header: SendBack,
    },
    View {
        origin: Origin,
        at: PhysicalOffset,
    },
    Query {
        origin: Origin,
        header: QueryMessage,
        /// Of the open stretch; the last answer brings those in index blocks.
        candidates: Vec<PhysicalOffset>,
    },
    Direct {
        origin: Origin,
        header: ConsumeDirectly,
        at: PhysicalOffset,
    },
    /// Delayed messages of a level: the first one's offset.
    Delayed {
        level: usize,
        from: i64,
    },
    /// Entries of delayed messages of a level, from this offset on.
    DelayedEntries {
        level: usize,
        from: i64,
        chain: Chain,
    },
    /// Offsets that a reset by time leads to.
    Reset {
        origin: Origin,
        header: ResetOffset,
        /// Queues, with the offset where that is known.
        targets: Vec<(i32, Option<i64>)>,
    },
}

/// Requests that wait.
#[derive(Debug, Default)]
pub struct Pending {
    loads: HashMap<u64, Continuation>,
    last_token: u64,
    /// Asked of a client: who wants to know, and until when.
    forwards: HashMap<i32, (Origin, i64)>,
    last_opaque: i32,
}

impl Pending {
    /// How many requests wait.
    pub fn count(&self) -> usize {
        self.loads.len() + self.forwards.len()
    }

    /// Notes what goes on when records are there; returns the token to ask for them.
    pub fn load(&mut self, continuation: Continuation) -> u64 {
        self.last_token += 1;
        self.loads.insert(self.last_token, continuation);
        self.last_token
    }

    /// Takes what was noted.
    pub fn loaded(&mut self, token: u64) -> Option<Continuation> {
        self.loads.remove(&token)
    }

    /// Notes who wants a client's answer; returns the opaque to ask with.
    pub fn forward(&mut self, origin: Origin, deadline: i64) -> i32 {
        self.last_opaque = self.last_opaque.wrapping_add(1) & i32::MAX;
        self.forwards.insert(self.last_opaque, (origin, deadline));
        self.last_opaque
    }

    /// Takes who wants this answer.
    pub fn answered(&mut self, opaque: i32) -> Option<Origin> {
        self.forwards.remove(&opaque).map(|(origin, _)| origin)
    }

    /// Takes those whose answer did not come in time.
    pub fn expire(&mut self, now: i64) -> Vec<Origin> {
        let late = self.forwards.extract_if(|_, (_, deadline)| *deadline <= now);
        late.map(|(_, (origin, _))| origin).collect()
    }
}
