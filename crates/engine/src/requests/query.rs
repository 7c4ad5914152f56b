//! 12: messages by key; by tag: `query_tag`. 33: the message at a position.

use bytes::Bytes;
use kerolox_log::PhysicalOffset;
use kerolox_log::index::keys;
use kerolox_protocol::properties;
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::query::{QueryMessage, QueryReply, ViewMessage};
use kerolox_protocol::remoting::reply::{Body, Reply, ReplyFields};

use crate::limits::{PENDING_MAX, QUERY_BYTES_MAX, QUERY_CANDIDATES_MAX, QUERY_MESSAGES_MAX};
use crate::load::Continuation;
use crate::output::{Load, LoadItem, Loaded, Output};
use crate::request::Origin;
use crate::requests::send_back::no_record;
use crate::turn::Engine;

impl Engine {
    /// 33.
    pub(crate) fn view_message(&mut self, origin: Origin, header: &ViewMessage, out: &mut Output) {
        let at = PhysicalOffset(header.offset as u64);
        match self.hot_record(at) {
            Some(record) => self.view_loaded(origin, at, &[Some(record).into()], out),
            None => self.load_named(origin, at, Continuation::View { origin, at }, out),
        }
    }

    pub(crate) fn view_loaded(
        &mut self,
        origin: Origin,
        at: PhysicalOffset,
        records: &[Loaded],
        out: &mut Output,
    ) {
        let bytes = records.first().and_then(Loaded::record);
        let reply = match self.verify(at, bytes) {
            Some(record) => Reply::body(Bytes::copy_from_slice(record.bytes)),
            None => no_record(at),
        };
        out.reply(origin, reply);
    }

    /// 12. The index gives candidates; each is read and compared.
    pub(crate) fn query_message(&mut self, origin: Origin, header: QueryMessage, out: &mut Output) {
        if header.index_type.as_deref() == Some("T") && !header.unique_key_query {
            return self.query_by_tag(origin, header, out);
        }
        let hash = keys::hash(&header.topic, &header.key);
        let candidates: Vec<_> = self
            .state
            .keys
            .find(hash)
            .filter(|at| *at < self.confirmed)
            .take(QUERY_CANDIDATES_MAX)
            .collect();
        let unknown = self.state.topics.find(&header.topic).is_none();
        if unknown || self.pending.count() >= PENDING_MAX {
            out.reply(origin, nothing_found());
            return;
        }
        let mut items: Vec<_> = candidates.iter().map(|at| LoadItem::At(*at)).collect();
        let times = header.begin_timestamp..=header.end_timestamp;
        let max = QUERY_CANDIDATES_MAX - candidates.len();
        items.push(LoadItem::Keys { hash, times, max });
        let token = self.pending.load(Continuation::Query { origin, header, candidates });
        out.loads.push(Load { token, items });
    }

    pub(crate) fn query_loaded(
        &mut self,
        origin: Origin,
        header: &QueryMessage,
        candidates: &[PhysicalOffset],
        records: &[Loaded],
        out: &mut Output,
    ) {
        let mut answer = Found::new(header);
        let here = candidates.iter().zip(records);
        let here = here.filter_map(|(at, answer)| Some((*at, answer.record()?)));
        let older = records.iter().flat_map(|answer| match answer {
            Loaded::Records(records) => &records[..],
            _ => &[],
        });
        let older = older.map(|(at, record)| (*at, record));
        // While a block is being taken over a message is found twice.
        let older = older.filter(|(at, _)| !candidates.contains(at));
        for (at, record) in here.chain(older) {
            if answer.is_full() {
                break;
            }
            let Some(view) = self.verify(at, Some(record)) else { continue };
            let in_time =
                (header.begin_timestamp..=header.end_timestamp).contains(&view.store_timestamp);
            if view.topic != &*header.topic || !in_time || !carries(&view, header) {
                continue;
            }
            answer.add(&view, at, record.bytes.clone());
        }
        out.reply(origin, answer.reply());
    }
}

/// Messages that answer 12.
pub(super) struct Found {
    wanted: usize,
    messages: Vec<Bytes>,
    bytes: usize,
    fields: QueryReply,
}

impl Found {
    pub(super) fn new(header: &QueryMessage) -> Found {
        let wanted = if header.unique_key_query { 32 } else { header.max_num.max(0) as usize };
        let wanted = wanted.min(QUERY_MESSAGES_MAX);
        Found { wanted, messages: Vec::new(), bytes: 0, fields: QueryReply::default() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= self.wanted || self.bytes > QUERY_BYTES_MAX
    }

    pub(super) fn add(&mut self, view: &View<'_>, at: PhysicalOffset, record: Bytes) {
        let fields = &mut self.fields;
        fields.index_last_update_timestamp =
            fields.index_last_update_timestamp.max(view.store_timestamp);
        fields.index_last_update_phyoffset = fields.index_last_update_phyoffset.max(at.0 as i64);
        self.bytes += record.len();
        self.messages.push(record);
    }

    pub(super) fn reply(self) -> Reply {
        if self.messages.is_empty() {
            return nothing_found();
        }
        Reply { body: Body::Many(self.messages), ..Reply::with(ReplyFields::Query(self.fields)) }
    }
}

/// Whether a message carries the key that is asked for.
fn carries(view: &View<'_>, header: &QueryMessage) -> bool {
    let key = &*header.key;
    let unique = properties::get(view.properties, properties::UNIQ_KEY) == Some(key);
    let named = properties::get(view.properties, properties::KEYS)
        .is_some_and(|keys| keys.split(' ').any(|k| k == key));
    if header.unique_key_query { unique } else { unique || named }
}

pub(super) fn nothing_found() -> Reply {
    let fields = ReplyFields::Query(QueryReply::default());
    Reply {
        fields,
        ..Reply::refuse(
            response::QUERY_NOT_FOUND,
            "can not find message, maybe time range not correct",
        )
    }
}
