//! What a turn leaves behind for the shell: replies, requests to clients, reads, news.

use std::sync::Arc;

use bytes::Bytes;
use kerolox_log::PhysicalOffset;
use kerolox_log::files::Files;
use kerolox_log::read::{self, Place, ReadError};
use kerolox_protocol::remoting::admin::TopicConfig;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::fields::Fields;
use kerolox_protocol::remoting::pull::Pulled;
use kerolox_protocol::remoting::reply::{Body, Reply, ReplyFields};

use crate::request::Origin;

/// A connection: given by the shell, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Everything that one or more turns leave behind.
#[derive(Default)]
pub struct Output {
    /// Replies and requests, in the order in which they may leave.
    pub messages: Vec<Message>,
    pub loads: Vec<Load>,
    /// Topics that were made, changed (with settings) or deleted (without), in order.
    pub topics: Vec<(Arc<str>, Option<Arc<TopicConfig>>)>,
}

/// What goes to a client.
pub enum Message {
    Reply(Completion),
    Push(Push),
}

/// A reply to a request.
pub struct Completion {
    pub origin: Origin,
    pub answer: Answer,
    /// The reply leaves when this position is confirmed.
    pub confirm_at: Option<PhysicalOffset>,
}

/// How the reply comes about.
pub enum Answer {
    Now(Reply),
    /// Work that is too long for a turn: on another thread, on a copy.
    Later(Box<dyn FnOnce() -> Reply + Send>),
    /// Messages that are no longer in memory.
    Cold(Box<ColdPull>),
}

/// A request that the broker sends to a client.
pub struct Push {
    pub connection: ConnectionId,
    /// It leaves when this position is confirmed, behind the replies that were given before it.
    pub confirm_at: PhysicalOffset,
    pub code: i32,
    /// `None`: one-way. Else the reply comes back as [`crate::Request::ClientReply`] with this.
    pub opaque: Option<i32>,
    pub fields: Box<dyn Fields + Send>,
    pub body: Bytes,
}

/// Records that the engine wants to see; they come back as [`crate::Request::Loaded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub token: u64,
    pub items: Vec<LoadItem>,
}

/// A record to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadItem {
    /// What stands at a position that a client named: perhaps no record at all.
    At(PhysicalOffset),
    /// A record that the index knows.
    Place(Place),
}

/// Largest record that a client may name by its position.
const NAMED_MAX: u32 = 17 << 20;

impl Load {
    /// Reads the records: `None` for each that is not there or is damaged. Runs on a disk reader.
    /// The engine compares what [`LoadItem::At`] found with its index.
    pub fn read(&self, files: &Files) -> Vec<Option<Bytes>> {
        self.items.iter().map(|item| item.read(files)).collect()
    }
}

impl LoadItem {
    fn read(&self, files: &Files) -> Option<Bytes> {
        match *self {
            LoadItem::Place(place) => read::record(files, place).ok(),
            LoadItem::At(at) => {
                let (file, place) = files.at(at)?;
                let mut head = [0; 4];
                let read = kerolox_log::disk::read_full(&*file, &mut head, place).ok()?;
                let size = u32::from_be_bytes(head);
                if read < head.len() || !(91..=NAMED_MAX).contains(&size) {
                    return None;
                }
                let mut bytes = vec![0; size as usize];
                let read = kerolox_log::disk::read_full(&*file, &mut bytes, place).ok()?;
                (read == bytes.len()).then(|| bytes.into())
            }
        }
    }
}

/// A pull whose messages must be read from the disk.
#[derive(Debug)]
pub struct ColdPull {
    pub pulled: Pulled,
    /// Queue offset and place of each message, rising.
    pub messages: Vec<(i64, Place)>,
}

impl ColdPull {
    /// Reads the messages and makes the reply. A damaged message ends the reply before it; if it
    /// is the first, the reply leads past it. Runs on a disk reader.
    pub fn read(mut self, files: &Files) -> (Reply, Vec<ReadError>) {
        let places: Vec<Place> = self.messages.iter().map(|(_, place)| *place).collect();
        let mut body = Vec::with_capacity(places.len());
        let mut errors = Vec::new();
        for ((offset, _), record) in self.messages.iter().zip(read::records(files, &places)) {
            match record {
                Ok(record) => body.push(record),
                Err(e) => {
                    errors.push(e);
                    self.pulled.next_begin_offset =
                        if body.is_empty() { offset + 1 } else { *offset };
                    break;
                }
            }
        }
        let (code, remark) = if body.is_empty() {
            (response::PULL_RETRY_IMMEDIATELY, Some("NO_MATCHED_MESSAGE: the message at this offset is damaged on the disk; pull goes on behind it".into()))
        } else {
            (response::SUCCESS, None)
        };
        let fields = ReplyFields::Pulled(self.pulled);
        (Reply { code, remark, fields, body: Body::Many(body) }, errors)
    }
}

impl Output {
    /// Adds a reply that may leave at once.
    pub fn reply(&mut self, origin: Origin, reply: Reply) {
        self.answer(origin, Answer::Now(reply), None);
    }

    /// Adds a reply that leaves when `confirm_at` is confirmed.
    pub fn reply_at(&mut self, origin: Origin, reply: Reply, confirm_at: PhysicalOffset) {
        self.answer(origin, Answer::Now(reply), Some(confirm_at));
    }

    /// Adds a reply, unless none is wanted.
    pub fn answer(&mut self, origin: Origin, answer: Answer, confirm_at: Option<PhysicalOffset>) {
        if !origin.oneway {
            self.messages.push(Message::Reply(Completion { origin, answer, confirm_at }));
        }
    }

    /// Adds a request to a client.
    pub fn push(&mut self, push: Push) {
        self.messages.push(Message::Push(push));
    }
}
