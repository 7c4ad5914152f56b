//! A frame becomes a request, or the refusal that it gets at once. In: frames from
//! [`crate::connection`]. Out: what [`crate::core`] handles.

use bytes::Bytes;
use kerolox_engine::{Incoming, Origin, Request};
use kerolox_namesrv as names;
use kerolox_protocol::remoting::codes::names::{GET_NAMESRV_CONFIG, UPDATE_NAMESRV_CONFIG};
use kerolox_protocol::remoting::codes::request::UPDATE_BROKER_CONFIG;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::frame::{Frame, FrameError};
use kerolox_protocol::remoting::reply::Reply;

use crate::condition::Question;
use crate::limits::CHANGE_MAX;
use crate::options::Roles;

/// A request for one of the two state machines, or for the process around them.
#[derive(Debug)]
pub enum CoreRequest {
    Broker(Incoming),
    Names(Origin, names::Request),
    Process(Origin, Question),
    /// 25, 318: properties.
    Change {
        origin: Origin,
        names: bool,
        body: Bytes,
    },
    #[cfg(debug_assertions)]
    PanicInEngine(Origin),
}

impl CoreRequest {
    /// Who asks.
    pub fn origin(&self) -> &Origin {
        match self {
            CoreRequest::Broker(incoming) => &incoming.origin,
            CoreRequest::Names(origin, _)
            | CoreRequest::Process(origin, _)
            | CoreRequest::Change { origin, .. } => origin,
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
pub fn decode(bytes: &Bytes, connection: &Origin, roles: Roles) -> Result<Decoded, FrameError> {
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
        Some(_) if !roles.names => return refused(not_here(frame.code, "name server")),
        Some(Ok(request)) => return Ok(Decoded::Request(CoreRequest::Names(origin, request))),
        Some(Err(e)) => return refused(e.reply()),
        None => {}
    }
    let of_names = matches!(frame.code, UPDATE_NAMESRV_CONFIG | GET_NAMESRV_CONFIG);
    if of_names && !roles.names {
        return refused(not_here(frame.code, "name server"));
    } else if !of_names && !roles.broker {
        return refused(not_here(frame.code, "broker"));
    }
    if matches!(frame.code, UPDATE_BROKER_CONFIG | UPDATE_NAMESRV_CONFIG) {
        let body = frame.body();
        if body.len() > CHANGE_MAX {
            let remark = format!(
                "a change of the configuration has {} bytes, {CHANGE_MAX} are possible",
                body.len()
            );
            return refused(Reply::refuse(response::INVALID_PARAMETER, remark));
        }
        return Ok(Decoded::Request(CoreRequest::Change { origin, names: of_names, body }));
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

/// The refusal of a request for what does not run in this process.
fn not_here(code: i32, missing: &str) -> Reply {
    let remark = format!(" request type {code} not supported: no {missing} runs in this process");
    Reply::refuse(response::REQUEST_CODE_NOT_SUPPORTED, remark)
}
