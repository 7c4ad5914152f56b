//! A send request, made once for each connection. In: the few values that change. Out: a frame,
//! by one copy and a few patches in place.
//!
//! What changes has a fixed width: the opaque (ten digits in JSON), the topic's number if there
//! are many, the queue id (zeros before it), the born timestamp, and of each message the last
//! twelve hex digits of `UNIQ_KEY` and the body's sequence.

use std::ops::Range;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use kerolox_client::Form;
use kerolox_protocol::batch::{self, Inner};
use kerolox_protocol::properties;
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::fields::{FieldWriter, Fields};
use kerolox_protocol::remoting::frame::{Head, PREFIX_SIZE, encode};
use memchr::memmem;

use crate::body::{HEADER_SIZE, Identity, SEQUENCE_AT};

/// The smallest opaque: from here to `i32::MAX` all have ten digits.
pub(crate) const OPAQUE_MIN: i32 = 1_000_000_000;
/// Where a binary header has the opaque: behind code, language and version.
const BINARY_OPAQUE_AT: usize = PREFIX_SIZE + 5;
/// Stands for a born timestamp until the first patch. No other field holds these digits.
const BORN: &str = "7777777777777";
/// Digits of a topic's number.
const TOPIC_DIGITS: usize = 7;
/// Producer group of all generated messages.
const GROUP: &str = "kerolox-bench";

/// What the messages of one connection have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common<'a> {
    pub(crate) form: Form,
    pub(crate) topic: &'a str,
    /// More than one: `topic` is what their names begin with, see [`numbered`].
    pub(crate) topics: u32,
    /// Queues 0 to this are written.
    pub(crate) queues: i32,
    pub(crate) run: u64,
    pub(crate) producer: u32,
    /// Bytes of a body.
    pub(crate) size: usize,
    /// Messages of a request. More than one: it is a batch.
    pub(crate) batch: u32,
}

/// The name of one of many topics.
pub(crate) fn numbered(topic: &str, number: u32) -> String {
    format!("{topic}-{number:0TOPIC_DIGITS$}")
}

/// A frame with holes.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    form: Form,
    opaque: Range<usize>,
    topic: Option<Range<usize>>,
    queue: Range<usize>,
    born: Range<usize>,
    /// Of the first message, as are `sequence` and `body`; the others' follow a stride apart.
    key: Range<usize>,
    sequence: Range<usize>,
    body: Range<usize>,
    stride: usize,
    batch: usize,
}

/// What differs from request to request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patch {
    /// At least [`OPAQUE_MIN`].
    pub(crate) opaque: i32,
    /// Number of the topic, if there are many.
    pub(crate) topic: u32,
    pub(crate) queue: i32,
    /// Of the first message; the others of a batch count on from it.
    pub(crate) sequence: u64,
    /// Milliseconds since 1970.
    pub(crate) born: u64,
}

impl Template {
    pub(crate) fn new(common: &Common<'_>) -> anyhow::Result<Self> {
        // As Java lays out a key: address, process, class loader, time, counter. Process and
        // class loader are the run's and the producer's, time and counter the sequence.
        let process = (common.run >> 32) as u32;
        let key = format!("7F000001{process:08X}{:04X}", common.producer & 0xFFFF);
        let many = common.topics > 1;
        let topic = if many { numbered(common.topic, 9_999_999) } else { common.topic.to_owned() };
        let fields = SendFields {
            topic,
            batch: common.batch > 1,
            queue: "9".repeat((common.queues - 1).max(0).to_string().len()),
            unique_key: format!("{key}{:012X}", 0),
        };
        let identity = Identity { run: common.run, producer: common.producer, sequence: 0 };
        let message = identity.body(common.size);
        let (body, at, stride) = if fields.batch {
            let properties = fields.message_properties();
            let inner = Inner { flag: 0, body: &message, properties: &properties };
            let mut one = Vec::new();
            batch::push(&mut one, &inner);
            let at = memmem::find(&one, &message).context("a batch holds its message")?;
            (one.repeat(common.batch as usize), at, one.len())
        } else {
            (message.clone(), 0, message.len())
        };
        let code =
            if fields.batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
        let head = Head { form: common.form, code, opaque: OPAQUE_MIN, ..Head::default() };
        let mut bytes = BytesMut::new();
        encode(&mut bytes, &head, &fields, body.len());

        let holes = Holes { form: common.form, bytes: &bytes };
        let opaque = holes.opaque()?;
        let queue = holes.queue(&fields.queue)?;
        let born = holes.find(BORN.as_bytes(), "born timestamp")?;
        let topic = if many {
            let name = holes.find(fields.topic.as_bytes(), "topic")?;
            Some(name.end - TOPIC_DIGITS..name.end)
        } else {
            None
        };
        let message_at = bytes.len() + at;
        let key_end = if fields.batch {
            let one = &body[..stride];
            let key = fields.unique_key.as_bytes();
            bytes.len() + memmem::rfind(one, key).context("no unique key in a batch")? + key.len()
        } else {
            holes.find(fields.unique_key.as_bytes(), "unique key")?.end
        };
        let mut bytes = bytes.to_vec();
        bytes.extend_from_slice(&body);
        Ok(Template {
            bytes,
            form: common.form,
            opaque,
            topic,
            queue,
            born,
            key: key_end - 12..key_end,
            sequence: message_at + SEQUENCE_AT.start..message_at + SEQUENCE_AT.end,
            body: message_at..message_at + message.len(),
            stride,
            batch: common.batch as usize,
        })
    }

    /// Appends a frame to `out`.
    pub(crate) fn write(&self, patch: Patch, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        match self.form {
            Form::Json => decimal(&mut frame[self.opaque.clone()], patch.opaque as u64),
            Form::Binary => {
                frame[self.opaque.clone()].copy_from_slice(&patch.opaque.to_be_bytes());
            }
        }
        if let Some(topic) = &self.topic {
            decimal(&mut frame[topic.clone()], patch.topic.into());
        }
        decimal(&mut frame[self.queue.clone()], patch.queue as u64);
        decimal(&mut frame[self.born.clone()], patch.born);
        for message in 0..self.batch {
            let (sequence, on) = (patch.sequence + message as u64, message * self.stride);
            hex(&mut frame[self.key.start + on..self.key.end + on], sequence);
            frame[self.sequence.start + on..self.sequence.end + on]
                .copy_from_slice(&sequence.to_be_bytes());
        }
    }

    /// The CRC32 of the body that has this sequence.
    pub(crate) fn crc(&self, sequence: u64) -> u32 {
        let body = &self.bytes[self.body.clone()];
        let mut crc = crc32fast::Hasher::new();
        crc.update(&body[..SEQUENCE_AT.start]);
        crc.update(&sequence.to_be_bytes());
        crc.update(&body[HEADER_SIZE..]);
        crc.finalize()
    }

    /// Bytes of a frame.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Finds the places in a header that change.
struct Holes<'a> {
    form: Form,
    bytes: &'a [u8],
}

impl Holes<'_> {
    fn find(&self, needle: &[u8], what: &str) -> anyhow::Result<Range<usize>> {
        let at =
            memmem::find(self.bytes, needle).with_context(|| format!("no {what} in a header"))?;
        let rest = &self.bytes[at + needle.len()..];
        ensure!(memmem::find(rest, needle).is_none(), "two places look like the {what}");
        Ok(at..at + needle.len())
    }

    fn opaque(&self) -> anyhow::Result<Range<usize>> {
        Ok(match self.form {
            Form::Json => {
                let member = self.find(format!("\"opaque\":{OPAQUE_MIN}").as_bytes(), "opaque")?;
                member.end - 10..member.end
            }
            Form::Binary => BINARY_OPAQUE_AT..BINARY_OPAQUE_AT + 4,
        })
    }

    fn queue(&self, digits: &str) -> anyhow::Result<Range<usize>> {
        Ok(match self.form {
            Form::Json => {
                let member = self.find(format!("\"e\":\"{digits}\"").as_bytes(), "queue id")?;
                member.end - 1 - digits.len()..member.end - 1
            }
            Form::Binary => {
                let mut field = vec![0, 1, b'e', 0, 0, 0, digits.len() as u8];
                field.extend_from_slice(digits.as_bytes());
                let field = self.find(&field, "queue id")?;
                field.end - digits.len()..field.end
            }
        })
    }
}

/// Fills `out` with the last digits of `n`.
fn decimal(out: &mut [u8], mut n: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Fills `out` with the last upper-case hex digits of `n`.
fn hex(out: &mut [u8], mut n: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(n & 15) as usize];
        n >>= 4;
    }
}

/// The header as Java's producer fills it.
struct SendFields {
    topic: String,
    batch: bool,
    queue: String,
    unique_key: String,
}

impl SendFields {
    fn message_properties(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        properties::push(&mut encoded, properties::UNIQ_KEY, &self.unique_key);
        properties::push(&mut encoded, properties::WAIT, "true");
        encoded
    }
}

impl Fields for SendFields {
    fn write(&self, w: &mut FieldWriter<'_>) {
        let mut encoded = Vec::new();
        if self.batch {
            // The messages have keys of their own.
            properties::push(&mut encoded, properties::WAIT, "true");
        } else {
            encoded = self.message_properties();
        }
        w.text("a", GROUP);
        w.text("b", &self.topic);
        w.text("c", "TBW102");
        w.text("d", "4");
        w.text("e", &self.queue);
        w.text("f", "0");
        w.text("g", BORN);
        w.text("h", "0");
        w.text("i", &String::from_utf8_lossy(&encoded));
        w.text("j", "0");
        w.text("k", "false");
        w.text("m", if self.batch { "true" } else { "false" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kerolox_protocol::remoting::fields::Header;
    use kerolox_protocol::remoting::frame::{Frame, frame_size};
    use kerolox_protocol::remoting::send::Send;

    fn common(form: Form, topic: &str, queues: i32) -> Common<'_> {
        let (run, producer) = (0xAABB_CCDD_0011, 3);
        Common { form, topic, topics: 1, queues, run, producer, size: 64, batch: 1 }
    }

    #[test]
    fn a_patched_template_is_a_send() {
        for form in [Form::Json, Form::Binary] {
            for queues in [1, 8, 16, 1000] {
                let common = common(form, "T", queues);
                let template = Template::new(&common).unwrap();
                let mut out = b"before".to_vec();
                let patch = Patch {
                    opaque: 1_234_567_890,
                    topic: 0,
                    queue: queues - 1,
                    sequence: 0x12_3456,
                    born: 1_700_000_000_123,
                };
                template.write(patch, &mut out);
                assert_eq!(out.len(), 6 + template.size());
                let bytes = Bytes::from(out.split_off(6));
                assert_eq!(frame_size(&bytes), Ok(Some(bytes.len())));
                let frame = Frame::parse(&bytes).unwrap();
                assert_eq!((frame.code, frame.opaque, frame.form), (310, 1_234_567_890, form));
                let send = Send::read(&frame).unwrap();
                assert_eq!((send.queue_id, send.born_timestamp), (queues - 1, 1_700_000_000_123));
                let properties = send.properties.as_bytes();
                let key = properties::get(properties, properties::UNIQ_KEY).unwrap();
                assert_eq!(key, "7F0000010000AABB0003000000123456");
                assert_eq!(properties::get(properties, properties::WAIT), Some("true"));
                let identity = Identity { run: common.run, producer: 3, sequence: 0x12_3456 };
                assert_eq!(frame.body(), identity.body(64));
                assert_eq!(template.crc(0x12_3456), crc32fast::hash(&frame.body()));
            }
        }
    }

    #[test]
    fn a_batch_holds_messages_with_keys_of_their_own() {
        for form in [Form::Json, Form::Binary] {
            let common = Common { batch: 3, topics: 1000, ..common(form, "T", 8) };
            let template = Template::new(&common).unwrap();
            let mut out = Vec::new();
            let patch = Patch { opaque: OPAQUE_MIN, topic: 42, queue: 7, sequence: 9, born: 1 };
            template.write(patch, &mut out);
            let bytes = Bytes::from(out);
            let frame = Frame::parse(&bytes).unwrap();
            let send = Send::read(&frame).unwrap();
            assert_eq!((frame.code, send.batch, send.queue_id), (320, true, 7));
            assert_eq!((&send.topic[..], numbered("T", 42)), ("T-0000042", send.topic.to_string()));
            let body = frame.body();
            let messages = batch::split(&body).unwrap();
            assert_eq!(messages.len(), 3);
            for (sequence, message) in (9..).zip(messages) {
                let identity = Identity { run: common.run, producer: 3, sequence };
                assert_eq!(message.body, identity.body(64));
                let key = properties::get(message.properties, properties::UNIQ_KEY).unwrap();
                assert_eq!(key, format!("7F0000010000AABB0003{sequence:012X}"));
                assert_eq!(template.crc(sequence), crc32fast::hash(message.body));
            }
        }
    }

    #[test]
    fn a_topic_that_looks_like_a_hole_is_refused() {
        Template::new(&common(Form::Json, BORN, 1)).unwrap_err();
    }
}
