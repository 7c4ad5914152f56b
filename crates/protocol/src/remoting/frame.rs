//! The bytes of a remoting frame. In: what a connection read. Out: a [`Frame`], whose header is
//! decoded by the modules beside this one; and the other way round for replies.
//!
//! | part | bytes | content |
//! |---|---|---|
//! | length | i32 | bytes after this field |
//! | form and header length | i32 | high byte: 0 JSON, 1 binary; low 24 bits: header length |
//! | header | | see [`Form`] |
//! | body | rest | raw bytes |
//!
//! A JSON header has the members `code`, `language`, `version`, `opaque`, `flag`, `remark` and
//! `extFields` (strings). A binary header:
//!
//! | part | bytes |
//! |---|---|
//! | code, language, version | i16, u8, i16 |
//! | opaque, flag | i32, i32 |
//! | remark | i32 length, UTF-8 |
//! | fields | i32 length of all, then each: i16 length, key, i32 length, value |

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::codes::version;
use super::fields::{FieldWriter, Fields};
use crate::json::scan::{JsonError, Raw, Scanner, Span};

/// Bytes of the length field.
pub const LENGTH_SIZE: usize = 4;
/// Bytes of the length field and the header length behind it.
pub const PREFIX_SIZE: usize = 8;
/// The largest length a frame may claim, as Apache's broker has it; beyond it the connection is
/// closed.
pub const FRAME_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// Bit 0 of `flag`: the frame is a reply.
pub const FLAG_REPLY: i32 = 1;
/// Bit 1 of `flag`: no reply is wanted.
pub const FLAG_ONEWAY: i32 = 2;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// JSON, the default of every client.
    #[default]
    Json,
    /// Binary (`ROCKETMQ`).
    Binary,
}

/// Why bytes are not a frame. The connection that sent them is closed: what follows cannot be
/// told apart any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame length {0} is out of range (4 to {FRAME_LENGTH_MAX})")]
    Length(i32),
    #[error("header length {header} is beyond the frame's {frame} bytes")]
    HeaderLength { header: usize, frame: usize },
    #[error("header form {0} is unknown (0 JSON, 1 binary)")]
    Form(u8),
    #[error("the JSON header is broken: {0}")]
    Json(#[from] JsonError),
    #[error("the binary header is broken: {0}")]
    Binary(&'static str),
}

/// Tells how many bytes the frame at the start of `bytes` has in all, its length field included;
/// `None` if the length field itself is not complete.
pub fn frame_size(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(length) = bytes.first_chunk::<LENGTH_SIZE>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(n) if (4..=FRAME_LENGTH_MAX).contains(&n) => Ok(Some(LENGTH_SIZE + n)),
        _ => Err(FrameError::Length(length)),
    }
}

/// A frame whose header was scanned. It borrows from `bytes`.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// The whole frame. Fields and body are slices of it.
    bytes: &'a Bytes,
    /// How the header is written; the reply uses the same.
    pub form: Form,
    /// Request code, or response code in a reply.
    pub code: i32,
    /// The sender's language: the wire's number, 255 if unknown.
    pub language: u8,
    /// The sender's `MQVersion` ordinal.
    pub version: i32,
    /// The sender's id of this request on this connection.
    pub opaque: i32,
    /// See [`FLAG_REPLY`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// An error text, in replies.
    pub remark: Option<Cow<'a, str>>,
    /// As they stand: binary, or JSON that `noted` has no room for.
    fields: &'a [u8],
    noted: Noted,
    body_at: usize,
}

/// Fields of a JSON header: found while the header is scanned, so that none is scanned twice.
#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    /// Key and value of each.
    pairs: [[Span; 2]; FIELDS_NOTED],
    count: usize,
}

/// As many as the headers of sends and pulls have.
const FIELDS_NOTED: usize = 16;

impl Noted {
    /// Notes the fields of an object that is next. False if there are too many, or it is none.
    fn scan(&mut self, s: &mut Scanner<'_>) -> Result<bool, JsonError> {
        self.count = 0;
        if !s.take(b'{') {
            return Ok(false);
        }
        while !s.take(b'}') {
            let key = s.key()?;
            s.expect(b':', "a colon was expected")?;
            if let Some(value) = s.scalar()? {
                let Some(pair) = self.pairs.get_mut(self.count) else { return Ok(false) };
                *pair = [key.span(), value.span()];
                self.count += 1;
            }
            s.comma_or(b'}')?;
        }
        Ok(true)
    }
}

impl<'a> Frame<'a> {
    /// Scans the frame that `bytes` holds, exactly.
    pub fn parse(bytes: &'a Bytes) -> Result<Self, FrameError> {
        let size = frame_size(bytes)?;
        let (Some(size), Some(word)) = (size, bytes.get(LENGTH_SIZE..PREFIX_SIZE)) else {
            return Err(FrameError::Length(0));
        };
        debug_assert_eq!(size, bytes.len());
        let header_size =
            usize::from(word[1]) << 16 | usize::from(word[2]) << 8 | usize::from(word[3]);
        let Some(header) = bytes.get(PREFIX_SIZE..PREFIX_SIZE + header_size) else {
            return Err(FrameError::HeaderLength { header: header_size, frame: bytes.len() });
        };
        let mut frame = Frame {
            bytes,
            form: Form::Json,
            code: 0,
            language: 255,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: &[],
            noted: Noted::default(),
            body_at: PREFIX_SIZE + header_size,
        };
        match word[0] {
            0 => frame.scan_json(header)?,
            1 => frame.scan_binary(header)?,
            form => return Err(FrameError::Form(form)),
        }
        Ok(frame)
    }

    fn scan_json(&mut self, header: &'a [u8]) -> Result<(), FrameError> {
        let mut s = Scanner::new(header);
        s.expect(b'{', "an object was expected")?;
        while !s.take(b'}') {
            let key = s.key()?;
            s.expect(b':', "a colon was expected")?;
            match &*key.bytes()? {
                b"code" => self.code = narrow(s.integer()?),
                b"version" => self.version = narrow(s.integer()?),
                b"opaque" => self.opaque = narrow(s.integer()?),
                b"flag" => self.flag = narrow(s.integer()?),
                b"language" => {
                    if let Some(name) = s.scalar()? {
                        self.language = language_code(&name.bytes()?);
                    }
                }
                b"remark" => self.remark = s.scalar()?.map(|raw| raw.text()).transpose()?,
                b"extFields" => {
                    s.peek();
                    let start = s.clone();
                    self.fields = &[];
                    if !matches!(self.noted.scan(&mut s), Ok(true)) {
                        self.noted.count = 0;
                        s = start.clone();
                        s.skip()?;
                        self.fields = &header[start.at()..s.at()];
                    }
                }
                _ => s.skip()?,
            }
            s.comma_or(b'}')?;
        }
        // What stands behind the object (a newline, say) is not looked at, as in Java.
        Ok(())
    }

    fn scan_binary(&mut self, header: &'a [u8]) -> Result<(), FrameError> {
        let short = FrameError::Binary("it is cut short");
        let mut at = 0;
        let mut take = |n: usize| {
            let part = header.get(at..at + n);
            at += n;
            part.ok_or_else(|| short.clone())
        };
        self.form = Form::Binary;
        let code = take(2)?;
        self.code = unwrap_code(i16::from_be_bytes([code[0], code[1]]));
        self.language = take(1)?[0];
        let version = take(2)?;
        self.version = i32::from(i16::from_be_bytes([version[0], version[1]]));
        let mut int = || take(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        self.opaque = int()?;
        self.flag = int()?;
        let remark = int()?;
        if remark > 0 {
            let text = take(remark as usize)?;
            self.remark = Some(String::from_utf8_lossy(text));
        }
        let mut int = || take(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        let fields = int()?;
        if fields > 0 {
            self.fields = take(fields as usize)?;
        }
        Ok(())
    }

    /// Whether this frame answers a request.
    pub fn is_reply(&self) -> bool {
        self.flag & FLAG_REPLY != 0
    }

    /// Whether the sender wants no reply.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The body, sharing the frame's memory.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body_at..)
    }

    /// The whole frame.
    pub fn bytes(&self) -> &'a Bytes {
        self.bytes
    }

    /// Calls `f` with each header field, in the order in which they stand. A `null` value is
    /// left out.
    pub fn for_each_field(
        &self,
        mut f: impl FnMut(&str, Cow<'a, str>) -> Result<(), super::fields::FieldError>,
    ) -> Result<(), super::fields::FieldError> {
        let text = |raw: &Raw<'a>| raw.text().map_err(|_| super::fields::FieldError::Broken);
        self.for_each_raw(|key, value| f(&text(&key)?, text(&value)?))
    }

    /// The same, with keys and values that are not decoded yet.
    pub fn for_each_raw(
        &self,
        mut f: impl FnMut(Raw<'a>, Raw<'a>) -> Result<(), super::fields::FieldError>,
    ) -> Result<(), super::fields::FieldError> {
        let broken = super::fields::FieldError::Broken;
        match self.form {
            Form::Json => {
                let header = &self.bytes[PREFIX_SIZE..self.body_at];
                for [key, value] in &self.noted.pairs[..self.noted.count] {
                    f(key.of(header), value.of(header))?;
                }
                let mut s = Scanner::new(self.fields);
                if !s.take(b'{') {
                    return Ok(()); // absent or null
                }
                while !s.take(b'}') {
                    let key = s.key().map_err(|_| broken)?;
                    s.expect(b':', "a colon was expected").map_err(|_| broken)?;
                    if let Some(value) = s.scalar().map_err(|_| broken)? {
                        f(key, value)?;
                    }
                    s.comma_or(b'}').map_err(|_| broken)?;
                }
                Ok(())
            }
            Form::Binary => {
                let mut rest = self.fields;
                while !rest.is_empty() {
                    let (key, after) = split(rest, 2).ok_or(broken)?;
                    let (value, after) = split(after, 4).ok_or(broken)?;
                    rest = after;
                    f(Raw::plain(key), Raw::plain(value))?;
                }
                Ok(())
            }
        }
    }
}

/// Splits off a string behind its big-endian length of `width` bytes.
fn split(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(..width)?.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
    bytes.get(width..)?.split_at_checked(length)
}

/// Java keeps an `int`; what does not fit wraps there too.
fn narrow(n: i64) -> i32 {
    n as i32
}

/// A binary header's code is an i16, so the codes from 200050 on arrive wrapped: map them back.
fn unwrap_code(code: i16) -> i32 {
    match i32::from(code) {
        wrapped @ 3442..=3543 => wrapped + 3 * 65536,
        code => code,
    }
}

fn language_code(name: &[u8]) -> u8 {
    LANGUAGES.iter().position(|known| known.as_bytes() == name).map_or(255, |i| i as u8)
}

/// `LanguageCode` names by number.
const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP",
    "OMS", "RUST", "NODE_JS",
];

/// The name of a language code, as Java prints it.
pub fn language_name(code: u8) -> &'static str {
    LANGUAGES.get(usize::from(code)).copied().unwrap_or("OTHER")
}

/// What stands in a header beside the fields.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub form: Form,
    pub code: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<Cow<'static, str>>,
}

/// Appends a frame to `out`, all but its body, of which `body_size` bytes must follow.
///
/// The language says `JAVA`: it is the one name that every client's decoder knows.
pub fn encode(out: &mut BytesMut, head: &Head, fields: &dyn Fields, body_size: usize) {
    let start = out.len();
    out.put_u64(0); // length, form and header length: patched below
    match head.form {
        Form::Json => encode_json(out, head, fields),
        Form::Binary => encode_binary(out, head, fields),
    }
    let header_size = out.len() - start - PREFIX_SIZE;
    let length = (out.len() - start - LENGTH_SIZE + body_size) as u32;
    let form = match head.form {
        Form::Json => 0u32,
        Form::Binary => 1 << 24,
    };
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(form | header_size as u32).to_be_bytes());
}

fn encode_json(out: &mut BytesMut, head: &Head, fields: &dyn Fields) {
    let mut number = itoa::Buffer::new();
    out.put_slice(b"{\"code\":");
    out.put_slice(number.format(head.code).as_bytes());
    out.put_slice(b",\"extFields\":{");
    fields.write(&mut FieldWriter::new(out, Form::Json));
    out.put_slice(b"},\"flag\":");
    out.put_slice(number.format(head.flag).as_bytes());
    out.put_slice(b",\"language\":\"JAVA\",\"opaque\":");
    out.put_slice(number.format(head.opaque).as_bytes());
    if let Some(remark) = &head.remark {
        out.put_slice(b",\"remark\":");
        super::fields::json_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.put_slice(number.format(version::CURRENT).as_bytes());
    out.put_u8(b'}');
}

fn encode_binary(out: &mut BytesMut, head: &Head, fields: &dyn Fields) {
    out.put_i16(head.code as i16);
    out.put_u8(0);
    out.put_i16(version::CURRENT as i16);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    let remark = head.remark.as_deref().unwrap_or("");
    out.put_i32(remark.len() as i32);
    out.put_slice(remark.as_bytes());
    let at = out.len();
    out.put_i32(0);
    fields.write(&mut FieldWriter::new(out, Form::Binary));
    let size = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::fields::FieldError;
    use proptest::prelude::*;

    struct Pairs(Vec<(String, String)>);
    impl Fields for Pairs {
        fn write(&self, w: &mut FieldWriter<'_>) {
            for (k, v) in &self.0 {
                w.text(k, v);
            }
        }
    }

    fn read_back(frame: &Frame<'_>) -> Result<Vec<(String, String)>, FieldError> {
        let mut pairs = Vec::new();
        frame.for_each_field(|k, v| {
            pairs.push((k.to_owned(), v.into_owned()));
            Ok(())
        })?;
        Ok(pairs)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            binary: bool, code in 0..1000i32, opaque: i32, flag in 0..4i32,
            remark in proptest::option::of("\\PC{1,40}"),
            pairs in proptest::collection::vec(("[a-zA-Z_]{1,12}", "(\\PC|[\u{0}-\u{1f}]){0,40}"), 0..2 * FIELDS_NOTED),
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let form = if binary { Form::Binary } else { Form::Json };
            let head = Head { form, code, opaque, flag, remark: remark.clone().map(Cow::Owned) };
            let mut out = BytesMut::new();
            encode(&mut out, &head, &Pairs(pairs.clone()), body.len());
            out.put_slice(&body);
            let bytes = out.freeze();
            prop_assert_eq!(frame_size(&bytes).unwrap(), Some(bytes.len()));
            let frame = Frame::parse(&bytes).unwrap();
            prop_assert_eq!((frame.form, frame.code, frame.opaque, frame.flag), (form, code, opaque, flag));
            prop_assert_eq!(frame.remark.as_deref(), remark.as_deref());
            prop_assert_eq!(read_back(&frame).unwrap(), pairs);
            prop_assert_eq!(&frame.body()[..], &body[..]);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = (bytes.len() as i32).to_be_bytes().to_vec();
            framed.extend(bytes);
            let framed = Bytes::from(framed);
            if let Ok(Some(_)) = frame_size(&framed) && let Ok(frame) = Frame::parse(&framed) {
                let _ = read_back(&frame);
            }
        }
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for length in [-1, 0, 3, FRAME_LENGTH_MAX as i32 + 1, i32::MAX, i32::MIN] {
            assert_eq!(frame_size(&length.to_be_bytes()), Err(FrameError::Length(length)));
        }
        let bytes = Bytes::from_static(&[0, 0, 0, 4, 0, 0, 0, 9]);
        assert!(matches!(Frame::parse(&bytes), Err(FrameError::HeaderLength { header: 9, .. })));
    }

    #[test]
    fn a_newline_behind_the_json_header_is_taken() {
        let header = b"{\"code\":105,\"language\":\"GO\",\"opaque\":7,\"extFields\":null}\n";
        let mut bytes = BytesMut::new();
        bytes.put_u32(4 + header.len() as u32);
        bytes.put_u32(header.len() as u32);
        bytes.put_slice(header);
        let bytes = bytes.freeze();
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.code, frame.opaque, frame.language), (105, 7, 9));
        assert_eq!(read_back(&frame).unwrap(), []);
    }
}
