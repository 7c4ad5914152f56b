//! A reply before it becomes a frame: code, remark, fields, body.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::codes::response;
use super::fields::{FieldWriter, Fields};
use super::frame::{self, FLAG_REPLY, Form, Head};
use super::{admin, offsets, pull, query, registration, send};

/// A reply to one request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// See [`response`].
    pub code: i32,
    /// Says what, why, and what to do, if the code is an error.
    pub remark: Option<Cow<'static, str>>,
    pub fields: ReplyFields,
    pub body: Body,
}

/// The header of a reply. A closed list, so that a reply needs no allocation of its own.
#[derive(Debug, Clone, Default)]
pub enum ReplyFields {
    #[default]
    None,
    Sent(send::Sent),
    Pulled(pull::Pulled),
    Offset(offsets::OffsetReply),
    Timestamp(offsets::TimestampReply),
    Query(query::QueryReply),
    Register(registration::RegisterReply),
    DataVersion(registration::DataVersionReply),
    KvValue(registration::KvValue),
    Wipe(registration::WipeReply),
    Add(registration::AddReply),
    Config(admin::ConfigVersion),
}

impl Fields for ReplyFields {
    fn write(&self, w: &mut FieldWriter<'_>) {
        match self {
            ReplyFields::None => {}
            ReplyFields::Sent(f) => f.write(w),
            ReplyFields::Pulled(f) => f.write(w),
            ReplyFields::Offset(f) => f.write(w),
            ReplyFields::Timestamp(f) => f.write(w),
            ReplyFields::Query(f) => f.write(w),
            ReplyFields::Register(f) => f.write(w),
            ReplyFields::DataVersion(f) => f.write(w),
            ReplyFields::KvValue(f) => f.write(w),
            ReplyFields::Wipe(f) => f.write(w),
            ReplyFields::Add(f) => f.write(w),
            ReplyFields::Config(f) => f.write(w),
        }
    }
}

/// The body of a reply: slices that follow each other on the wire.
#[derive(Debug, Clone, Default)]
pub enum Body {
    #[default]
    Empty,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Body {
    /// Bytes in all.
    pub fn size(&self) -> usize {
        self.slices().iter().map(Bytes::len).sum()
    }

    /// The slices in order.
    pub fn slices(&self) -> &[Bytes] {
        match self {
            Body::Empty => &[],
            Body::One(bytes) => std::slice::from_ref(bytes),
            Body::Many(slices) => slices,
        }
    }
}

impl Reply {
    /// Success, with nothing to say.
    pub fn ok() -> Self {
        Reply::default()
    }

    /// Success, with a header.
    pub fn with(fields: ReplyFields) -> Self {
        Reply { fields, ..Reply::default() }
    }

    /// Success, with a JSON body.
    pub fn json(body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("bodies hold only text keys and numbers");
        Reply::body(body)
    }

    /// Success, with a body.
    pub fn body(body: impl Into<Bytes>) -> Self {
        Reply { body: Body::One(body.into()), ..Reply::default() }
    }

    /// A refusal.
    pub fn refuse(code: i32, remark: impl Into<Cow<'static, str>>) -> Self {
        debug_assert_ne!(code, response::SUCCESS);
        Reply { code, remark: Some(cut(remark)), ..Reply::default() }
    }

    /// Appends the frame to `out`, without the body's bytes, which must follow.
    pub fn encode(&self, form: Form, opaque: i32, out: &mut BytesMut) {
        let head =
            Head { form, code: self.code, opaque, flag: FLAG_REPLY, remark: self.remark.clone() };
        frame::encode(out, &head, &self.fields, self.body.size());
    }
}

/// Longest remark, in bytes.
const REMARK_MAX: usize = 4096;

/// A remark may repeat what a client sent: it is cut where it grows too long to be read.
pub fn cut(remark: impl Into<Cow<'static, str>>) -> Cow<'static, str> {
    let remark = remark.into();
    if remark.len() <= REMARK_MAX {
        return remark;
    }
    format!("{}…", &remark[..remark.floor_char_boundary(REMARK_MAX - 3)]).into()
}
