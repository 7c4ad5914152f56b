//! 222: a group's offsets are set by time, or in one queue to a given offset. The next pull of each
//! queue is told (21); with `useServerSideResetOffset=false` the clients are told instead (220).

use std::borrow::Cow;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::queue::{Boundary, Seek};
use kerolox_protocol::json::write::{MessageQueue, by_queue};
use kerolox_protocol::remoting::admin::ResetOffset;
use kerolox_protocol::remoting::client::ResetClientOffset;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::reply::Reply;

use crate::change::Change;
use crate::limits::PENDING_MAX;
use crate::load::Continuation;
use crate::output::{Load, LoadItem, Loaded, Output, Push};
use crate::request::Origin;
use crate::turn::Engine;

/// A queue, and where it goes; or how to find that.
type Target = (i32, Result<i64, Seek>);

impl Engine {
    pub(crate) fn reset_offset(&mut self, origin: Origin, header: &ResetOffset, out: &mut Output) {
        let targets = match self.targets(header) {
            Ok(targets) => targets,
            Err(refusal) => return out.reply(origin, refusal),
        };
        let older = |target: &Target| match target.1 {
            Err(seek) => Some(LoadItem::Seek { of: (header.topic.clone(), target.0), seek }),
            Ok(_) => None,
        };
        let items: Vec<LoadItem> = targets.iter().filter_map(older).collect();
        let targets: Vec<_> =
            targets.into_iter().map(|(queue, offset)| (queue, offset.ok())).collect();
        if items.is_empty() {
            return self.reset_loaded(origin, header, &targets, &[], out);
        }
        if self.pending.count() >= PENDING_MAX {
            let remark = "[OVERLOAD]system busy, too many requests wait for the disk";
            return out.reply(origin, Reply::refuse(response::SYSTEM_BUSY, remark));
        }
        let header = header.clone();
        let token = self.pending.load(Continuation::Reset { origin, header, targets });
        out.loads.push(Load { token, items });
    }

    /// Where each queue goes is known. `targets`: what was known before; the answers hold the rest.
    pub(crate) fn reset_loaded(
        &mut self,
        origin: Origin,
        header: &ResetOffset,
        targets: &[(i32, Option<i64>)],
        answers: &[Loaded],
        out: &mut Output,
    ) {
        let mut answers = answers.iter();
        let mut known = Vec::with_capacity(targets.len());
        for (queue, offset) in targets {
            let offset = match (offset, offset.is_none().then(|| answers.next()).flatten()) {
                (Some(offset), _) => *offset,
                (None, Some(Loaded::Offset(offset))) => *offset,
                _ => {
                    let remark = "the index cannot be read; see the broker's log";
                    return out.reply(origin, Reply::refuse(response::SYSTEM_ERROR, remark));
                }
            };
            known.push((*queue, offset));
        }
        match self.reset(header, known, out) {
            Ok(reply) => out.reply_at(origin, reply, self.log.confirm_at()),
            Err(refusal) => out.reply(origin, refusal),
        }
    }

    /// Where each queue is to go, as far as that is known in memory.
    fn targets(&self, header: &ResetOffset) -> Result<Vec<Target>, Reply> {
        let (group, topic) = (&*header.group, &*header.topic);
        let Some(known) = self.state.topics.by_name(topic) else {
            let remark = format!("Topic {topic} does not exist");
            return Err(Reply::refuse(response::TOPIC_NOT_EXIST, remark));
        };
        if self.state.groups.get(group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Reply::refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        let queues = known.config.read_queue_nums;
        // -1 stands for what is not named.
        let named = header.queue_id.filter(|queue| *queue >= 0);
        let queues = match (named, header.offset.filter(|offset| *offset != -1)) {
            (Some(queue), Some(offset)) => {
                let (min, max) = known.range(queue);
                if queue >= queues || !(min..=max).contains(&offset) {
                    let remark = format!(
                        "Target offset {offset} of queue {queue} is not within [{min}, {max}]"
                    );
                    return Err(Reply::refuse(response::SYSTEM_ERROR, remark));
                }
                return Ok(vec![(queue, Ok(offset))]);
            }
            (Some(queue), None) if queue >= queues => {
                let remark = format!("{topic} has no queue {queue}, but {queues} of them");
                return Err(Reply::refuse(response::SYSTEM_ERROR, remark));
            }
            (Some(queue), None) => queue..queue + 1,
            (None, _) => 0..queues,
        };
        let by_time = queues.map(|queue| {
            let (_, max) = known.range(queue);
            let offset = match known.queue(queue) {
                _ if header.timestamp < 0 => Ok(max),
                Some(q) => {
                    let seek = q.index.seek_time(header.timestamp, Boundary::Lower, max);
                    if seek.older.is_some() { Err(seek) } else { Ok(seek.finish(None)) }
                }
                None => Ok(0),
            };
            (queue, offset)
        });
        Ok(by_time.collect())
    }

    fn reset(
        &mut self,
        header: &ResetOffset,
        mut targets: Vec<(i32, i64)>,
        out: &mut Output,
    ) -> Result<Reply, Reply> {
        let (group, topic) = (&*header.group, &*header.topic);
        // A queue's offset that is named is meant as it is: mqadmin commits it before it asks, without force.
        let is_named = header.queue_id.is_some_and(|queue| queue >= 0)
            && header.offset.is_some_and(|offset| offset >= 0);
        if !header.is_force && !is_named {
            // Without force only backwards.
            targets.retain(|(queue, offset)| {
                self.state.offsets.get(group, topic, *queue).is_none_or(|now| *offset < now)
            });
        }
        let rows = targets.iter().map(|(queue_id, offset)| {
            let broker_name = self.config.broker_name.to_string();
            (MessageQueue { broker_name, queue_id: *queue_id, topic: topic.to_owned() }, *offset)
        });
        let body = by_queue("offsetTable", rows, "");
        if !self.config.server_side_reset {
            return self.reset_in_clients(header, body, out);
        }
        for (queue, offset) in targets {
            self.resets.remove(&(group.to_owned(), topic.to_owned(), queue));
            self.commit_offset(group, topic, queue, offset);
            // Unlike a commit it is not coalesced: who is told of a reset can rely on it.
            let (group_name, topic_name) = (Cow::Borrowed(group), Cow::Borrowed(topic));
            let change = Change::Offset { group: group_name, topic: topic_name, queue, offset };
            self.log.change(&change.encode());
            self.resets.insert((group.to_owned(), topic.to_owned(), queue), offset);
        }
        Ok(Reply::body(body))
    }

    fn reset_in_clients(
        &self,
        header: &ResetOffset,
        body: Vec<u8>,
        out: &mut Output,
    ) -> Result<Reply, Reply> {
        let Some(members) = self.members.group(&header.group) else {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {} Topic: {} Timestamp: {}",
                header.group, header.topic, header.timestamp
            );
            return Err(Reply::refuse(response::CONSUMER_NOT_ONLINE, remark));
        };
        let body = bytes::Bytes::from(body);
        for client in members.clients.values() {
            out.push(Push {
                confirm_at: PhysicalOffset(0),
                connection: client.origin.connection,
                code: request::RESET_CONSUMER_CLIENT_OFFSET,
                opaque: None,
                fields: Box::new(ResetClientOffset {
                    topic: header.topic.clone(),
                    group: header.group.clone(),
                    timestamp: header.timestamp,
                    is_force: header.is_force,
                }),
                body: body.clone(),
            });
        }
        Ok(Reply::body(body))
    }
}
