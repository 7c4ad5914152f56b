//! 41, 42: queues of ordered consumers.

use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::lock::{LockBatch, LockedBatch};
use kerolox_protocol::remoting::reply::Reply;

use crate::output::Output;
use crate::request::Origin;
use crate::turn::Engine;

fn names(batch: &LockBatch) -> Result<(&str, &str), Reply> {
    match (batch.consumer_group.as_deref(), batch.client_id.as_deref()) {
        (Some(group), Some(client)) => Ok((group, client)),
        _ => Err(Reply::refuse(
            response::INVALID_PARAMETER,
            "the body needs consumerGroup and clientId",
        )),
    }
}

impl Engine {
    /// 41: answers which of the queues the client may consume.
    pub(crate) fn lock(&mut self, origin: Origin, batch: LockBatch, now: i64, out: &mut Output) {
        let reply = names(&batch).map(|(group, client)| {
            let connection = origin.connection;
            // A group that sent no heartbeat does not exist: nothing is kept for it.
            let known = self.state.groups.get(group).is_some();
            let mine = |queue: &&_| known && self.locks.lock(group, queue, client, connection, now);
            Reply::json(&LockedBatch {
                locked: batch.mq_set.iter().filter(mine).cloned().collect(),
            })
        });
        out.reply(origin, reply.unwrap_or_else(|refusal| refusal));
    }

    /// 42.
    pub(crate) fn unlock(&mut self, origin: Origin, batch: LockBatch, out: &mut Output) {
        let reply = names(&batch).map(|(group, client)| {
            for queue in &batch.mq_set {
                self.locks.unlock(group, queue, client);
            }
            Reply::ok()
        });
        out.reply(origin, reply.unwrap_or_else(|refusal| refusal));
    }
}
