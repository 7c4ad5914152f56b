//! 307, 309: an admin asks a consumer, through the broker, what it does, or lets it consume one
//! message now. The broker sends the request on and hands the answer back.

use bytes::Bytes;
use kerolox_log::PhysicalOffset;
use kerolox_protocol::ids;
use kerolox_protocol::remoting::client::{ConsumeDirectly, RunningInfo};
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::reply::{Body, Reply, cut};

use crate::limits::{FORWARD_MS_MAX, PENDING_MAX};
use crate::load::Continuation;
use crate::output::{ConnectionId, Loaded, Output, Push};
use crate::request::Origin;
use crate::requests::send_back::no_record;
use crate::turn::Engine;

impl Engine {
    fn client_connection(&self, group: &str, client_id: &str) -> Result<ConnectionId, Reply> {
        let client = self.members.group(group).and_then(|group| group.clients.get(client_id));
        client.map(|client| client.origin.connection).ok_or_else(|| {
            let remark = format!("The Consumer <{group}> <{client_id}> not online");
            Reply::refuse(response::SYSTEM_ERROR, remark)
        })
    }

    /// 307.
    pub(crate) fn running_info(
        &mut self,
        origin: Origin,
        header: &RunningInfo,
        now: i64,
        out: &mut Output,
    ) {
        match self.client_connection(&header.consumer_group, &header.client_id) {
            Err(refusal) => out.reply(origin, refusal),
            Ok(_) if self.pending.count() >= PENDING_MAX => {
                let remark = "too many requests wait for clients; try again later";
                out.reply(origin, Reply::refuse(response::SYSTEM_BUSY, remark));
            }
            Ok(connection) => {
                let opaque = self.pending.forward(origin, now + FORWARD_MS_MAX);
                out.push(Push {
                    confirm_at: PhysicalOffset(0),
                    connection,
                    code: request::GET_CONSUMER_RUNNING_INFO,
                    opaque: Some(opaque),
                    fields: Box::new(header.clone()),
                    body: Bytes::new(),
                });
            }
        }
    }

    /// 309: the message is read first.
    pub(crate) fn consume_directly(
        &mut self,
        origin: Origin,
        header: ConsumeDirectly,
        now: i64,
        out: &mut Output,
    ) {
        let client_id = header.client_id.as_deref().unwrap_or("");
        if let Err(refusal) = self.client_connection(&header.consumer_group, client_id) {
            out.reply(origin, refusal);
            return;
        }
        let id = header.msg_id.as_deref().and_then(ids::parse_offset_id);
        let Some((_, at)) = id else {
            let remark = "msgId is not an offset message id (32 or 56 hex digits)";
            out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, remark));
            return;
        };
        let at = PhysicalOffset(at);
        match self.hot_record(at) {
            Some(record) => {
                self.direct_loaded(origin, &header, at, &[Some(record).into()], now, out)
            }
            None => self.load_named(origin, at, Continuation::Direct { origin, header, at }, out),
        }
    }

    pub(crate) fn direct_loaded(
        &mut self,
        origin: Origin,
        header: &ConsumeDirectly,
        at: PhysicalOffset,
        records: &[Loaded],
        now: i64,
        out: &mut Output,
    ) {
        let bytes = records.first().and_then(Loaded::record);
        let Some(record) = self.verify(at, bytes) else {
            out.reply(origin, no_record(at));
            return;
        };
        let body = Bytes::copy_from_slice(record.bytes);
        let client_id = header.client_id.as_deref().unwrap_or("");
        match self.client_connection(&header.consumer_group, client_id) {
            Err(refusal) => out.reply(origin, refusal),
            Ok(connection) => {
                let opaque = self.pending.forward(origin, now + FORWARD_MS_MAX);
                let mut header = header.clone();
                header.broker_name = Some(self.config.broker_name.clone());
                out.push(Push {
                    confirm_at: PhysicalOffset(0),
                    connection,
                    code: request::CONSUME_MESSAGE_DIRECTLY,
                    opaque: Some(opaque),
                    fields: Box::new(header),
                    body,
                });
            }
        }
    }

    /// A client's answer goes to whoever asked.
    pub(crate) fn client_replied(
        &mut self,
        opaque: i32,
        code: i32,
        remark: Option<String>,
        body: Bytes,
        out: &mut Output,
    ) {
        if let Some(origin) = self.pending.answered(opaque) {
            let remark = remark.map(cut);
            let body = if body.is_empty() { Body::Empty } else { Body::One(body) };
            out.reply(origin, Reply { code, remark, body, ..Reply::default() });
        }
    }
}
