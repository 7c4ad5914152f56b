//! Frames by hand, for what a well-behaved client cannot send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kerolox_protocol::remoting::fields::Fields;
use kerolox_protocol::remoting::frame::{self, Frame, Head};

/// A frame made of a header text and a body.
pub(crate) fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(((4 + header.len() + body.len()) as u32).to_be_bytes());
    out.extend((header.len() as u32).to_be_bytes());
    out.extend(header.as_bytes());
    out.extend(body);
    out
}

/// A frame as a client would send it.
pub(crate) fn frame(code: i32, opaque: i32, fields: &dyn Fields, body: &[u8]) -> Vec<u8> {
    framed(&Head { code, opaque, ..Head::default() }, fields, body)
}

/// A frame with a head of the test's own.
pub(crate) fn framed(head: &Head, fields: &dyn Fields, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::encode(&mut out, head, fields, body.len());
    out.extend_from_slice(body);
    out.to_vec()
}

/// What stands in an answer's head, and its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) opaque: i32,
    pub(crate) remark: String,
    pub(crate) body: Bytes,
}

/// A connection of bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(port: u16) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
        let limit = Some(Duration::from_secs(15));
        stream.set_read_timeout(limit).expect("the limit is not zero");
        stream.set_write_timeout(limit).expect("the limit is not zero");
        stream.set_nodelay(true).expect("it is a TCP socket");
        Raw(stream)
    }

    /// Sends bytes. The server may close while it is still being told.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The next frame from the server.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("the server answers");
        let mut bytes = length.to_vec();
        bytes.resize(4 + u32::from_be_bytes(length) as usize, 0);
        self.0.read_exact(&mut bytes[4..]).expect("the server sends whole frames");
        let bytes = Bytes::from(bytes);
        let frame = Frame::parse(&bytes).expect("the server sends good frames");
        Answer {
            code: frame.code,
            opaque: frame.opaque,
            remark: frame.remark.as_deref().unwrap_or_default().to_owned(),
            body: frame.body(),
        }
    }

    /// Sends a frame and waits for its answer.
    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// The server must close the connection and say nothing.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "before the end came {rest:?}"),
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{e}"),
        }
    }
}
