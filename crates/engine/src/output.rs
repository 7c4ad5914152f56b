//! What a turn leaves behind for the shell: replies, requests to clients, reads, news.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::read_full;
use kerolox_log::files::Files;
use kerolox_log::index::block::Chain;
use kerolox_log::index::lookup::{AskError, Blocks};
use kerolox_log::index::queue::{Entry, Seek};
use kerolox_log::read::{self, Place};
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::admin::TopicConfig;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::fields::Fields;
use kerolox_protocol::remoting::pull::Pulled;
use kerolox_protocol::remoting::reply::{Body, Reply, ReplyFields};
use kerolox_protocol::tags::TagFilter;

use crate::limits::{PULL_BYTES_MAX, PULL_SCAN_MAX, QUERY_BYTES_MAX};
use crate::request::Origin;
use crate::topics::TopicId;
use crate::turn::Engine;

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
    /// A look at more of the state than a turn has time for.
    Steps(Steps),
}

/// Looks at a part of the state each time it is called, between turns, on another thread, until it has what
/// the reply is made of.
pub type Steps = Box<dyn FnMut(&Engine) -> Option<Work> + Send>;

/// What is left to do then.
pub type Work = Box<dyn FnOnce() -> Reply + Send>;

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

/// What the engine wants to know of the disk; it comes back as [`crate::Request::Loaded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub token: u64,
    pub items: Vec<LoadItem>,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadItem {
    /// What stands at a position that a client named: perhaps no record at all.
    At(PhysicalOffset),
    /// A record that the index knows.
    Place(Place),
    /// Records that may carry a key and are in index blocks, stored at these times; up to a number.
    Keys { hash: u32, times: RangeInclusive<i64>, max: usize },
    /// Entries of a queue of a topic in index blocks, from an offset on.
    Entries { of: (ByteString, i32), chain: Chain, from: i64, count: usize },
    /// The rest of a search by time.
    Seek { of: (ByteString, i32), seek: Seek },
}

/// An answer; nothing if it is not there, or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    Nothing,
    /// It may be there, but could not be read.
    NotNow,
    Record(Record),
    Records(Vec<(PhysicalOffset, Record)>),
    Entries(Vec<(i64, Entry)>),
    Offset(i64),
}

/// A record, and whether an index block knows it: a position may lie in the middle of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub bytes: Bytes,
    pub vouched: bool,
}

impl Loaded {
    /// The record.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Loaded::Record(record) => Some(record),
            _ => None,
        }
    }
}

impl From<Option<Bytes>> for Loaded {
    fn from(bytes: Option<Bytes>) -> Loaded {
        bytes.map_or(Loaded::Nothing, |bytes| Loaded::Record(Record { bytes, vouched: false }))
    }
}

/// Largest record that a client may name by its position.
const NAMED_MAX: u32 = 17 << 20;

impl Load {
    /// Answers the questions, and says what went wrong. Runs on a disk reader. The engine compares
    /// records that no block vouches for with its own index.
    pub fn read(&self, blocks: &Blocks) -> (Vec<Loaded>, Vec<AskError>) {
        let mut errors = Vec::new();
        let mut bytes = 0;
        let answer = |item: &LoadItem| {
            item.read(blocks, &mut bytes).unwrap_or_else(|error| {
                errors.push(error);
                Loaded::Nothing
            })
        };
        (self.items.iter().map(answer).collect(), errors)
    }
}

impl LoadItem {
    /// `bytes`: how many were read of records that perhaps nobody asked for.
    fn read(&self, blocks: &Blocks, bytes: &mut usize) -> Result<Loaded, AskError> {
        let files = blocks.files();
        Ok(match self {
            LoadItem::Place(place) => match read::record(files, *place) {
                Err(error) if error.may_pass() => Loaded::NotNow,
                read => read.ok().into(),
            },
            LoadItem::At(_) if *bytes > QUERY_BYTES_MAX => Loaded::Nothing,
            LoadItem::At(at) => {
                let record = named(blocks, *at)?;
                *bytes += record.as_ref().map_or(0, |record| record.bytes.len());
                record.map_or(Loaded::Nothing, Loaded::Record)
            }
            LoadItem::Keys { hash, times, max } => {
                let candidates = blocks.ask(|blocks| blocks.keys(*hash, times, *max))?;
                let mut records = Vec::with_capacity(candidates.len());
                for at in candidates {
                    if *bytes > QUERY_BYTES_MAX {
                        break;
                    }
                    let record = named(blocks, at)?;
                    *bytes += record.as_ref().map_or(0, |record| record.bytes.len());
                    records.extend(record.map(|record| (at, record)));
                }
                Loaded::Records(records)
            }
            LoadItem::Entries { of: (topic, queue), chain, from, count } => {
                let of = (&**topic, *queue);
                Loaded::Entries(blocks.ask(|blocks| blocks.entries(of, *chain, *from, *count))?)
            }
            LoadItem::Seek { of: (topic, queue), seek } => {
                Loaded::Offset(blocks.ask(|blocks| blocks.finish((topic, *queue), seek))?)
            }
        })
    }
}

/// Reads the record at a position, if one can be there.
fn named(blocks: &Blocks, at: PhysicalOffset) -> Result<Option<Record>, AskError> {
    let Some(bytes) = read_named(blocks.files(), at) else { return Ok(None) };
    let Ok(view) = View::parse(&bytes) else { return Ok(None) };
    let of = (view.topic, view.queue_id, view.queue_offset);
    let entry = blocks.ask(|blocks| blocks.at(at, of))?;
    let vouched = entry.is_some_and(|entry| is_at(&entry, at, &bytes));
    Ok(Some(Record { bytes, vouched }))
}

fn read_named(files: &Files, at: PhysicalOffset) -> Option<Bytes> {
    let (file, place) = files.at(at)?;
    let mut head = [0; 4];
    let read = read_full(&*file, &mut head, place).ok()?;
    let size = u32::from_be_bytes(head);
    if read < head.len() || !(91..=NAMED_MAX).contains(&size) {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    let read = read_full(&*file, &mut bytes, place).ok()?;
    (read == bytes.len()).then(|| bytes.into())
}

/// Whether these bytes are what an entry says of the record at a position.
pub(crate) fn is_at(entry: &Entry, at: PhysicalOffset, bytes: &[u8]) -> bool {
    let place = entry.place;
    place.offset == at
        && place.size as usize == bytes.len()
        && kerolox_log::record_crc(bytes) == place.crc
}

/// A pull whose messages must be read from the disk.
#[derive(Debug)]
pub struct ColdPull {
    pub topic: TopicId,
    pub group: ByteString,
    pub pulled: Pulled,
    pub messages: ColdMessages,
    /// What was confirmed when it was asked for.
    pub confirmed: PhysicalOffset,
}

/// Which messages a cold pull gets.
#[derive(Debug)]
pub enum ColdMessages {
    /// Queue offset and place of each message, rising.
    Here(Vec<(i64, Place)>),
    /// Their entries are in index blocks, from this offset on; `here` are those behind, if the
    /// blocks do not hold many more.
    Older {
        of: (ByteString, i32),
        chain: Chain,
        from: i64,
        here: Vec<(i64, Entry)>,
        filter: TagFilter,
        wanted: usize,
    },
}

/// What a cold pull came to.
pub struct ColdAnswer {
    pub reply: Reply,
    pub messages: u64,
    pub bytes: u64,
    /// Messages that cannot be read, and other trouble.
    pub errors: Vec<String>,
}

impl ColdPull {
    /// Reads the messages and makes the reply. A message that cannot be read ends the reply before
    /// it; if it is the first and damaged, the reply leads past it. Runs on a disk reader.
    pub fn read(mut self, blocks: &Blocks) -> ColdAnswer {
        let mut errors = Vec::new();
        let messages = match self.messages {
            ColdMessages::Here(messages) => messages,
            ColdMessages::Older { of: (topic, queue), chain, from, here, filter, wanted } => {
                let all = matches!(filter, TagFilter::All);
                let count = if all { wanted } else { PULL_SCAN_MAX };
                match blocks.ask(|blocks| blocks.entries((&*topic, queue), chain, from, count)) {
                    Ok(mut entries) => {
                        let behind = entries.last().map_or(from, |(last, _)| last + 1);
                        if here.first().is_some_and(|(first, _)| *first == behind) {
                            entries.extend(here);
                        }
                        let (chosen, next) = choose(entries, from, &filter, wanted);
                        // Nothing there: what lies between was lost or deleted.
                        let next = if next == from { self.pulled.next_begin_offset } else { next };
                        self.pulled.next_begin_offset = next;
                        chosen
                    }
                    Err(error) => {
                        let remark = format!("the index cannot be read: {error}");
                        errors.push(error.to_string());
                        let reply = Reply::refuse(response::SYSTEM_ERROR, remark);
                        return ColdAnswer { reply, messages: 0, bytes: 0, errors };
                    }
                }
            }
        };
        let places: Vec<Place> = messages.iter().map(|(_, place)| *place).collect();
        let read = read::leading(blocks.files(), &blocks.recent, &places, self.confirmed);
        if let Some(error) = read.error {
            let first = blocks.files().first().unwrap_or_default();
            // Retention took it while the pull was under way: that is no damage.
            if error.at() >= first {
                errors.push(error.to_string());
            }
            if error.may_pass() && read.count == 0 {
                let remark = format!("the message cannot be read now, try again: {error}");
                let reply = Reply::refuse(response::SYSTEM_ERROR, remark);
                return ColdAnswer { reply, messages: 0, bytes: 0, errors };
            }
            let offset = messages[read.count].0;
            self.pulled.next_begin_offset = if read.count == 0 { offset + 1 } else { offset };
        }
        let (code, remark) = if read.count > 0 {
            (response::SUCCESS, None)
        } else if errors.is_empty() {
            (response::PULL_RETRY_IMMEDIATELY, Some("NO_MATCHED_MESSAGE".into()))
        } else {
            (response::PULL_RETRY_IMMEDIATELY, Some("NO_MATCHED_MESSAGE: the message at this offset is damaged on the disk; pull goes on behind it".into()))
        };
        let (messages, bytes) = (read.count as u64, read.bytes.len() as u64);
        let fields = ReplyFields::Pulled(self.pulled);
        let reply = Reply { code, remark, fields, body: Body::One(read.bytes) };
        ColdAnswer { reply, messages, bytes, errors }
    }
}

/// Chooses messages that match, up to the limits of a pull; and where the next pull goes on.
pub(crate) fn choose(
    entries: impl IntoIterator<Item = (i64, Entry)>,
    from: i64,
    filter: &TagFilter,
    wanted: usize,
) -> (Vec<(i64, Place)>, i64) {
    let mut messages = Vec::with_capacity(wanted.min(32));
    let (mut bytes, mut next) = (0, from);
    for (offset, entry) in entries {
        let size = entry.place.size as usize;
        // Size 0: a message that damage took.
        if size > 0 && filter.matches(entry.tags_code) {
            if !messages.is_empty() && bytes + size > PULL_BYTES_MAX {
                break;
            }
            messages.push((offset, entry.place));
            bytes += size;
        }
        next = offset + 1;
        if messages.len() == wanted {
            break;
        }
    }
    (messages, next)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kerolox_log::disk::fault::{FaultDisk, Faults};
    use kerolox_log::disk::{Disk, Open};
    use kerolox_log::identity::Identity;

    use super::*;
    use crate::change::deleted_topic;
    use crate::topics::Topics;

    const FILE_SIZE: u64 = 64 << 10;

    #[test]
    fn a_message_that_retention_took_meanwhile_is_not_damage() {
        let (disk, dir) = (FaultDisk::default(), Path::new("/data"));
        disk.create_dir(&dir.join("commitlog")).unwrap();
        for number in 0..2 {
            let name = format!("commitlog/{:020}", number * FILE_SIZE);
            disk.open(&dir.join(name), Open::Create).unwrap().set_size(FILE_SIZE).unwrap();
        }
        let files = Arc::new(Files::open(Arc::new(disk), dir, FILE_SIZE).unwrap());
        let identity = Identity { number: [7; 16], writer: 1 };
        let blocks = Blocks::open(files.clone(), dir.to_owned(), identity, deleted_topic).unwrap();
        let topic = Topics::default().put(TopicConfig::default(), 0, PhysicalOffset(0));
        let read = |at: u64| {
            let place = Place { offset: PhysicalOffset(at), size: 100, crc: 1 };
            let pull = ColdPull {
                topic,
                group: "g".into(),
                pulled: Pulled { next_begin_offset: 8, ..Pulled::default() },
                messages: ColdMessages::Here(vec![(7, place)]),
                confirmed: PhysicalOffset(2 * FILE_SIZE),
            };
            let ColdAnswer { reply, errors, .. } = pull.read(&blocks);
            assert_eq!(reply.code, response::PULL_RETRY_IMMEDIATELY);
            let ReplyFields::Pulled(pulled) = reply.fields else { panic!("not of a pull") };
            (pulled.next_begin_offset, errors.len())
        };
        assert_eq!(read(100), (8, 1));
        files.delete(0).unwrap();
        assert_eq!(read(100), (8, 0));
        assert_eq!(read(FILE_SIZE + 100), (8, 1));
    }

    #[test]
    fn a_message_that_may_be_read_later_is_not_passed_over() {
        let (disk, dir) = (FaultDisk::default(), Path::new("/data"));
        disk.create_dir(&dir.join("commitlog")).unwrap();
        let path = dir.join(format!("commitlog/{:020}", 0));
        let file = disk.open(&path, Open::Create).unwrap();
        file.set_size(FILE_SIZE).unwrap();
        let files = Arc::new(Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).unwrap());
        let identity = Identity { number: [7; 16], writer: 1 };
        let blocks = Blocks::open(files, dir.to_owned(), identity, deleted_topic).unwrap();
        let topic = Topics::default().put(TopicConfig::default(), 0, PhysicalOffset(0));
        let place = Place { offset: PhysicalOffset(100), size: 100, crc: 1 };
        let pull = || ColdPull {
            topic,
            group: "g".into(),
            pulled: Pulled { next_begin_offset: 8, ..Pulled::default() },
            messages: ColdMessages::Here(vec![(7, place)]),
            confirmed: PhysicalOffset(FILE_SIZE),
        };
        // It is not what the index says: damaged.
        assert_eq!(pull().read(&blocks).reply.code, response::PULL_RETRY_IMMEDIATELY);
        // Whatever is asked of the disk fails, but not because a sector is bad.
        disk.set_faults(Faults { power_off_in: Some(0), ..Faults::default() });
        file.sync().unwrap_err();
        let answer = pull().read(&blocks);
        assert_eq!(answer.reply.code, response::SYSTEM_ERROR, "{:?}", answer.reply.remark);
        // Nor is a delayed one.
        let load = Load { token: 1, items: vec![LoadItem::Place(place)] };
        assert_eq!(load.read(&blocks).0, [Loaded::NotNow]);
        assert_eq!(answer.errors.len(), 1);
    }
}
