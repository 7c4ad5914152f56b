//! Producers: single messages and batches, delayed, tagged, with and without a key, with and
//! without waiting for the disk.

use kerolox_engine::turn::Closed;
use kerolox_engine::{Incoming, Request};
use kerolox_log::disk::fault::Rng;
use kerolox_log::seal::BODY_AT;
use kerolox_protocol::names::{AUTO_CREATE_TOPIC, SCHEDULE_TOPIC};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};
use kerolox_protocol::remoting::send::Send;
use kerolox_protocol::{batch, ids, properties};

use crate::books::Books;
use crate::books::messages::{Fate, Message, Place};
use crate::books::served::ID;
use crate::clients::{Around, Clients, PRODUCERS, TAGS, TOPICS, What, body, pick};
use crate::plan::DELAY_LEVELS_MS;
use crate::violation::{Checked, Violation, ensure};

/// Bytes of properties that the broker adds, about.
const ADDED_PROPERTIES: usize = 100;

/// A message on its way, with what only its sender decides.
struct Draft {
    id: u64,
    body: Vec<u8>,
    properties: Vec<u8>,
}

impl Clients {
    /// A producer sends.
    pub(super) fn send(&mut self, around: &mut Around<'_>) -> Checked<Incoming> {
        let rng = &mut *around.rng;
        let producer = rng.below(PRODUCERS);
        let topic = pick(rng, &TOPICS);
        let as_batch = rng.one_in(6);
        let count = if as_batch { 1 + rng.below(8) } else { 1 };
        let wait = !rng.one_in(10);
        let position = around.broker.engine.log.end().0;
        let drafts: Vec<Draft> =
            (0..count).map(|_| draft(topic, as_batch, wait, position, around)).collect();
        let ids = drafts.iter().map(|draft| draft.id).collect();
        let rng = &mut *around.rng;
        let mut header = Send {
            producer_group: "p".into(),
            topic: topic.into(),
            default_topic: AUTO_CREATE_TOPIC.into(),
            default_topic_queue_nums: 3,
            queue_id: rng.below(4) as i32 - 1,
            born_timestamp: around.clock.now(),
            batch: as_batch,
            ..Send::default()
        };
        let bytes = if as_batch {
            let mut bytes = Vec::new();
            for draft in &drafts {
                let (body, properties) = (&draft.body[..], &draft.properties[..]);
                batch::push(&mut bytes, &batch::Inner { flag: 0, body, properties });
            }
            bytes
        } else {
            let draft = drafts.into_iter().next().unwrap_or_else(|| unreachable!("one was made"));
            header.properties = String::from_utf8_lossy(&draft.properties).into_owned().into();
            draft.body
        };
        around
            .events
            .add(|| format!("send {ids:?} to {topic}/{} ({} B)", header.queue_id, bytes.len()));
        let what = What::Send { ids, batch: as_batch, topic, queue: header.queue_id };
        let request = Request::Send { header, body: bytes.into() };
        Ok(self.incoming(producer, what, request, around.books))
    }
}

fn draft(topic: &str, in_batch: bool, wait: bool, position: u64, around: &mut Around<'_>) -> Draft {
    let rng = &mut *around.rng;
    let books = &mut *around.books;
    let id = books.messages.next_id();
    let tag = pick(rng, &TAGS);
    let level = if in_batch || !rng.one_in(5) { 0 } else { 1 + rng.below(5) as usize };
    let unique = (!rng.one_in(8)).then(|| format!("UNIQUE{id:010}"));
    let mut encoded = Vec::new();
    let mut put = |name, value: &str| properties::push(&mut encoded, name, value);
    put(ID, &id.to_string());
    if let Some(unique) = &unique {
        put(properties::UNIQ_KEY, unique);
    }
    if !tag.is_empty() {
        put(properties::TAGS, tag);
    }
    if level > 0 {
        put(properties::DELAY, &level.to_string());
    }
    if !wait {
        put(properties::WAIT, "false");
    }
    if rng.one_in(30) {
        put("FILLER", &"x".repeat(filler(rng)));
    }
    let large_one_in = around.plan.large_one_in * if in_batch { 8 } else { 1 };
    let record_max = around.broker.engine.log.record_max();
    let max = record_max.saturating_sub(BODY_AT + topic.len() + encoded.len() + ADDED_PROPERTIES);
    let body_size = body::size(rng, around.plan.file_size, max.max(200) as u64, large_one_in);
    let body = body::make(rng, body_size, position);
    let topic = books.messages.name(topic);
    let message = Message {
        topic,
        level: level.min(DELAY_LEVELS_MS.len()),
        tag,
        unique,
        body_crc: crc32fast::hash(&body),
        body_size: body.len(),
        fate: Fate::Sending,
    };
    Draft { id: books.messages.send(message), body, properties: encoded }
}

/// Bytes of a property that nobody reads: some properties are just too long.
fn filler(rng: &mut Rng) -> usize {
    if rng.one_in(4) { 32_550 + rng.below(120) as usize } else { rng.below(2_000) as usize }
}

/// What was sent with one request.
pub(super) struct Sends<'a> {
    pub(super) ids: &'a [u64],
    pub(super) batch: bool,
    pub(super) topic: &'a str,
    pub(super) queue: i32,
}

/// The engine answered a send.
pub(super) fn made(
    sends: &Sends<'_>,
    reply: &Reply,
    confirm_at: Option<u64>,
    around: &mut Around<'_>,
) -> Checked {
    let ReplyFields::Sent(sent) = &reply.fields else {
        return refused(sends, reply, around);
    };
    let Sends { ids: sent_ids, batch: as_batch, .. } = *sends;
    ensure!(!around.broker.has_failed(), "{sent_ids:?} were taken after the log had failed");
    let positions: Vec<u64> = sent
        .msg_id
        .split(',')
        .filter_map(|id| ids::parse_offset_id(id).map(|(_, position)| position))
        .collect();
    ensure!(positions.len() == sent_ids.len(), "{sent_ids:?} got the ids {}", sent.msg_id);
    if let [first, .., last] = positions[..]
        && last - first < around.plan.file_size / 2
    {
        around.books.messages.batch(first, last);
    }
    for (i, (id, position)) in sent_ids.iter().zip(positions).enumerate() {
        let Some(message) = around.books.messages.get(*id).cloned() else { continue };
        let delayed = message.level > 0 && !as_batch;
        let (topic, queue) = if delayed {
            (around.books.messages.name(SCHEDULE_TOPIC), message.level as i32 - 1)
        } else {
            (message.topic.clone(), sent.queue_id)
        };
        let born = around.books.settings.born(&topic);
        let seq = around.books.next_seq();
        let offset = sent.queue_offset + i as i64;
        let place = Place { id: *id, topic, queue, offset, seq };
        let Books { messages, damage, .. } = &mut *around.books;
        messages.stored(position, place, born, damage)?;
        let later = confirm_at.is_none_or(|at| at > position);
        ensure!(later, "message {id} at {position} would be acknowledged at {confirm_at:?}");
    }
    Ok(())
}

/// A refusal must have a cause.
fn refused(sends: &Sends<'_>, reply: &Reply, around: &mut Around<'_>) -> Checked {
    let sent_ids = sends.ids;
    let mut size = 0;
    for id in sent_ids {
        size += around.books.messages.get(*id).map_or(0, |message| message.body_size);
        around.books.messages.refused(*id);
    }
    let engine = &around.broker.engine;
    let known = match reply.code {
        response::SERVICE_NOT_AVAILABLE => {
            let full = engine.log.disk_end().is_some();
            full || matches!(engine.closed(), Some(Closed::Failed(_) | Closed::DiskFull(_)))
        }
        // Too large, or the properties are too long.
        response::MESSAGE_ILLEGAL => {
            let remark = reply.remark.as_deref().unwrap_or("");
            size as u64 > around.plan.file_size / 2 || remark.contains("properties")
        }
        response::INVALID_PARAMETER => {
            let topic = around.books.settings.topics.get(sends.topic);
            topic.is_some_and(|topic| topic.read_queue_nums <= sends.queue)
        }
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(Violation(format!("{sent_ids:?} were refused: {} {:?}", reply.code, reply.remark)))
}
