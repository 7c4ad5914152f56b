//! A frame that came from the other side and outlives the read buffer: the reply to a call, or a
//! request that a broker sends to its client.

use std::sync::Arc;

use bytes::Bytes;
use kerolox_protocol::json;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::fields::{FieldError, Header};
use kerolox_protocol::remoting::frame::{Form, Frame};
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// A reply. A code other than 0 is no [`Error`] yet: [`OwnedReply::success`] makes it one.
#[derive(Debug, Clone)]
pub struct OwnedReply {
    pub(crate) addr: Arc<str>,
    pub(crate) request: i32,
    bytes: Bytes,
    /// See [`response`].
    pub code: i32,
    /// The error text.
    pub remark: Option<String>,
    pub body: Bytes,
}

impl OwnedReply {
    pub(crate) fn new(addr: Arc<str>, request: i32, frame: &Frame<'_>) -> Self {
        OwnedReply {
            addr,
            request,
            bytes: frame.bytes().clone(),
            code: frame.code,
            remark: frame.remark.as_deref().map(str::to_owned),
            body: frame.body(),
        }
    }

    /// Reads the header fields.
    pub fn header<H: Header>(&self) -> Result<H> {
        read(&self.bytes).map_err(|why| Error::Header {
            addr: self.addr.clone(),
            request: self.request,
            why,
        })
    }

    /// Reads a JSON body, in fastjson's dialect if need be.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        json::from_slice(&self.body).map_err(|why| Error::Body {
            addr: self.addr.clone(),
            request: self.request,
            why,
        })
    }

    /// Turns every code but 0 into [`Error::Refused`].
    pub fn success(self) -> Result<Self> {
        if self.code == response::SUCCESS { Ok(self) } else { Err(self.refusal()) }
    }

    /// This reply as an error, whatever its code.
    pub fn refusal(self) -> Error {
        Error::Refused {
            addr: self.addr,
            request: self.request,
            code: self.code,
            remark: self.remark.unwrap_or_default(),
        }
    }
}

/// A request from the broker: 39, 40, 220, 307, 309, 326.
#[derive(Debug, Clone)]
pub struct Incoming {
    bytes: Bytes,
    pub(crate) form: Form,
    pub(crate) opaque: i32,
    /// The request code.
    pub code: i32,
    /// No answer is wanted.
    pub oneway: bool,
    pub body: Bytes,
}

impl Incoming {
    pub(crate) fn new(frame: &Frame<'_>) -> Self {
        Incoming {
            bytes: frame.bytes().clone(),
            form: frame.form,
            opaque: frame.opaque,
            code: frame.code,
            oneway: frame.is_oneway(),
            body: frame.body(),
        }
    }

    /// Reads the header fields.
    pub fn header<H: Header>(&self) -> Result<H, FieldError> {
        read(&self.bytes)
    }
}

fn read<H: Header>(bytes: &Bytes) -> Result<H, FieldError> {
    // The frame was parsed when it arrived, so it parses again.
    let frame = Frame::parse(bytes).map_err(|_| FieldError::Broken)?;
    H::read(&frame)
}
