//! A frame becomes a request, or the refusal that it gets at once. In: frames from
//! [`crate::connection`]. Out: what [`crate::core`] handles.

use bytes::Bytes;
use kerolox_engine::{Incoming, Origin, Request};
use kerolox_namesrv as names;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::frame::{Frame, FrameError};
use kerolox_protocol::remoting::reply::Reply;

use crate::condition::Question;

/// A request for one of the two state machines, or for the process around them.
#[derive(Debug)]
pub enum CoreRequest {
    Broker(Incoming),
    Names(Origin, names::Request),
    Process(Origin, Question),
    #[cfg(debug_assertions)]
    PanicInEngine(Origin),
}

impl CoreRequest {
    /// Who asks.
    pub fn origin(&self) -> &Origin {
        match self {
            CoreRequest::Broker(incoming) => &incoming.origin,
            CoreRequest::Names(origin, _) | CoreRequest::Process(origin, _) => origin,
            #[cfg(debug_assertions)]
            CoreRequest::PanicInEngine(origin) => origin,
        }
    }
}

/// What came of a frame.
pub enum Decoded {
    Request(CoreRequest),
    /// Answered without a turn.
    Refused(Origin, i32, Reply),
}

/// Decodes one whole frame. `connection` is the origin but for what the frame itself says. An
/// error means that the connection cannot go on.
pub fn decode(bytes: &Bytes, connection: &Origin) -> Result<Decoded, FrameError> {
    let frame = Frame::parse(bytes)?;
    let origin = Origin {
        opaque: frame.opaque,
        form: frame.form,
        oneway: frame.is_oneway(),
        language: frame.language,
        version: frame.version,
        ..*connection
    };
    if frame.is_reply() {
        let remark = frame.remark.as_ref().map(|remark| remark.clone().into_owned());
        let request = Request::ClientReply { code: frame.code, remark, body: frame.body() };
        // A reply is not replied to.
        let origin = Origin { oneway: true, ..origin };
        return Ok(Decoded::Request(CoreRequest::Broker(Incoming { origin, request })));
    }
    let refused = |reply| Ok(Decoded::Refused(origin, frame.code, reply));
    #[cfg(debug_assertions)]
    if frame.code == crate::trial::PANIC_IN_ENGINE {
        return Ok(Decoded::Request(CoreRequest::PanicInEngine(origin)));
    } else if crate::trial::done(&frame).unwrap_or(false) {
        return refused(Reply::default());
    }
    match names::Request::decode(&frame) {
        Some(Ok(request)) => return Ok(Decoded::Request(CoreRequest::Names(origin, request))),
        Some(Err(e)) => return refused(e.reply()),
        None => {}
    }
    if let Some(question) = Question::decode(&frame) {
        return Ok(Decoded::Request(CoreRequest::Process(origin, question)));
    }
    match Request::decode(&frame) {
        Ok(Some(request)) => {
            Ok(Decoded::Request(CoreRequest::Broker(Incoming { origin, request })))
        }
        Ok(None) => refused(Reply::refuse(
            response::REQUEST_CODE_NOT_SUPPORTED,
            format!(" request type {} not supported", frame.code),
        )),
        Err(e) => refused(Reply::refuse(response::SYSTEM_ERROR, e.to_string())),
    }
}
