//! A send request, made once for each connection. In: the few values that change. Out: a frame,
//! by one copy and five patches in place.
//!
//! What changes has a fixed width: the opaque (ten digits in JSON), the queue id (zeros before
//! it), the born timestamp, the last twelve hex digits of `UNIQ_KEY`, and the body's sequence.

use std::ops::Range;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use kerolox_client::Form;
use kerolox_protocol::properties;
use kerolox_protocol::remoting::codes::request;
use kerolox_protocol::remoting::fields::{FieldWriter, Fields};
use kerolox_protocol::remoting::frame::{Head, PREFIX_SIZE, encode};
use memchr::memmem;

use crate::body::{Identity, SEQUENCE_AT};

/// The smallest opaque: from here to `i32::MAX` all have ten digits.
pub(crate) const OPAQUE_MIN: i32 = 1_000_000_000;
/// Where a binary header has the opaque: behind code, language and version.
const BINARY_OPAQUE_AT: usize = PREFIX_SIZE + 5;
/// Stands for a born timestamp until the first patch. No other field holds these digits.
const BORN: &str = "7777777777777";
/// Producer group of all generated messages.
const GROUP: &str = "kerolox-bench";

/// What the messages of one connection have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common<'a> {
    pub(crate) form: Form,
    pub(crate) topic: &'a str,
    /// Queues 0 to this are written.
    pub(crate) queues: i32,
    pub(crate) run: u64,
    pub(crate) producer: u32,
    /// Bytes of the body.
    pub(crate) size: usize,
}

/// A frame with holes.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    form: Form,
    opaque: Range<usize>,
    queue: Range<usize>,
    born: Range<usize>,
    key: Range<usize>,
    sequence: Range<usize>,
    body: usize,
}

/// What differs from message to message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patch {
    /// At least [`OPAQUE_MIN`].
    pub(crate) opaque: i32,
    pub(crate) queue: i32,
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
        let fields = SendFields {
            common,
            queue: "9".repeat((common.queues - 1).max(0).to_string().len()),
            unique_key: format!("{key}{:012X}", 0),
        };
        let identity = Identity { run: common.run, producer: common.producer, sequence: 0 };
        let body = identity.body(common.size);
        let head = Head {
            form: common.form,
            code: request::SEND_MESSAGE_V2,
            opaque: OPAQUE_MIN,
            ..Head::default()
        };
        let mut bytes = BytesMut::new();
        encode(&mut bytes, &head, &fields, body.len());
        let body_at = bytes.len();

        let find = |needle: &[u8], what| {
            let at =
                memmem::find(&bytes, needle).with_context(|| format!("no {what} in {head:?}"))?;
            let rest = &bytes[at + needle.len()..];
            ensure!(memmem::find(rest, needle).is_none(), "two places look like the {what}");
            anyhow::Ok(at..at + needle.len())
        };
        let opaque = match common.form {
            Form::Json => {
                let member = find(format!("\"opaque\":{OPAQUE_MIN}").as_bytes(), "opaque")?;
                member.end - 10..member.end
            }
            Form::Binary => BINARY_OPAQUE_AT..BINARY_OPAQUE_AT + 4,
        };
        let queue = match common.form {
            Form::Json => {
                let member = find(format!("\"e\":\"{}\"", fields.queue).as_bytes(), "queue id")?;
                member.end - 1 - fields.queue.len()..member.end - 1
            }
            Form::Binary => {
                let mut field = vec![0, 1, b'e', 0, 0, 0, fields.queue.len() as u8];
                field.extend_from_slice(fields.queue.as_bytes());
                let field = find(&field, "queue id")?;
                field.end - fields.queue.len()..field.end
            }
        };
        let born = find(BORN.as_bytes(), "born timestamp")?;
        let key = find(fields.unique_key.as_bytes(), "unique key")?;
        let mut bytes = bytes.to_vec();
        bytes.extend_from_slice(&body);
        Ok(Template {
            bytes,
            form: common.form,
            opaque,
            queue,
            born,
            key: key.end - 12..key.end,
            sequence: body_at + SEQUENCE_AT.start..body_at + SEQUENCE_AT.end,
            body: body_at,
        })
    }

    /// Appends a frame to `out`; tells where in `out` its body begins.
    pub(crate) fn write(&self, patch: Patch, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        match self.form {
            Form::Json => decimal(&mut frame[self.opaque.clone()], patch.opaque as u64),
            Form::Binary => {
                frame[self.opaque.clone()].copy_from_slice(&patch.opaque.to_be_bytes());
            }
        }
        decimal(&mut frame[self.queue.clone()], patch.queue as u64);
        decimal(&mut frame[self.born.clone()], patch.born);
        hex(&mut frame[self.key.clone()], patch.sequence);
        frame[self.sequence.clone()].copy_from_slice(&patch.sequence.to_be_bytes());
        start + self.body
    }

    /// Bytes of a frame.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
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
struct SendFields<'a> {
    common: &'a Common<'a>,
    queue: String,
    unique_key: String,
}

impl Fields for SendFields<'_> {
    fn write(&self, w: &mut FieldWriter<'_>) {
        let mut encoded = Vec::new();
        properties::push(&mut encoded, properties::UNIQ_KEY, &self.unique_key);
        properties::push(&mut encoded, properties::WAIT, "true");
        w.text("a", GROUP);
        w.text("b", self.common.topic);
        w.text("c", "TBW102");
        w.text("d", "4");
        w.text("e", &self.queue);
        w.text("f", "0");
        w.text("g", BORN);
        w.text("h", "0");
        w.text("i", &String::from_utf8_lossy(&encoded));
        w.text("j", "0");
        w.text("k", "false");
        w.text("m", "false");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kerolox_protocol::remoting::fields::Header;
    use kerolox_protocol::remoting::frame::{Frame, frame_size};
    use kerolox_protocol::remoting::send::Send;

    #[test]
    fn a_patched_template_is_a_send() {
        for form in [Form::Json, Form::Binary] {
            for queues in [1, 8, 16, 1000] {
                let common = Common {
                    form,
                    topic: "T",
                    queues,
                    run: 0xAABB_CCDD_0011,
                    producer: 3,
                    size: 64,
                };
                let template = Template::new(&common).unwrap();
                let mut out = b"before".to_vec();
                let patch = Patch {
                    opaque: 1_234_567_890,
                    queue: queues - 1,
                    sequence: 0x12_3456,
                    born: 1_700_000_000_123,
                };
                let body_at = template.write(patch, &mut out);
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
                assert_eq!(bytes[body_at - 6..], frame.body());
            }
        }
    }

    #[test]
    fn a_topic_that_looks_like_a_hole_is_refused() {
        let common =
            Common { form: Form::Json, topic: BORN, queues: 1, run: 1, producer: 0, size: 64 };
        Template::new(&common).unwrap_err();
    }
}
