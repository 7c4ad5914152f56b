//! 222: a group's offsets are set by time, or in one queue to a given offset. The next pull of each
//! queue is told (21); with `useServerSideResetOffset=false` the clients are told instead (220).

use std::borrow::Cow;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::queue::Boundary;
use kerolox_protocol::json::write::{MessageQueue, by_queue};
use kerolox_protocol::remoting::admin::ResetOffset;
use kerolox_protocol::remoting::client::ResetClientOffset;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::reply::Reply;

use crate::change::Change;
use crate::output::{Output, Push};
use crate::request::Origin;
use crate::turn::Engine;

impl Engine {
    pub(crate) fn reset_offset(&mut self, origin: Origin, header: &ResetOffset, out: &mut Output) {
        match self.reset(header, out) {
            Ok(reply) => out.reply_at(origin, reply, self.log.confirm_at()),
            Err(refusal) => out.reply(origin, refusal),
        }
    }

    fn reset(&mut self, header: &ResetOffset, out: &mut Output) -> Result<Reply, Reply> {
        let (group, topic) = (&*header.group, &*header.topic);
        let Some(known) = self.state.topics.by_name(topic) else {
            let remark = format!("Topic {topic} does not exist");
            return Err(Reply::refuse(response::TOPIC_NOT_EXIST, remark));
        };
        if self.state.groups.get(group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Reply::refuse(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        let mut targets = Vec::new();
        match (header.queue_id.filter(|queue| *queue >= 0), header.offset) {
            (Some(queue), Some(offset)) if offset >= 0 => {
                let (min, max) = known.range(queue);
                if queue >= known.config.read_queue_nums || !(min..=max).contains(&offset) {
                    let remark = format!(
                        "Target offset {offset} of queue {queue} is not within [{min}, {max}]"
                    );
                    return Err(Reply::refuse(response::SYSTEM_ERROR, remark));
                }
                targets.push((queue, offset));
            }
            _ => {
                for queue in 0..known.config.read_queue_nums {
                    let (_, max) = known.range(queue);
                    let offset = match known.queue(queue) {
                        _ if header.timestamp < 0 => max,
                        Some(q) => q.index.seek_time(header.timestamp, Boundary::Lower, max),
                        None => 0,
                    };
                    targets.push((queue, offset));
                }
            }
        }
        if !header.is_force {
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
