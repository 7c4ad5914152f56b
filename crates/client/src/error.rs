//! What can go wrong with a request, and where.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kerolox_protocol::remoting::fields::FieldError;

/// Short for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no good answer. The address names the broker or name server asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {addr}: {why}")]
    Connect { addr: String, why: io::Error },
    #[error("{addr} did not accept a connection within {after:?}")]
    ConnectTimeout { addr: String, after: Duration },
    #[error("the connection to {addr} is closed: {why}")]
    Closed { addr: Arc<str>, why: Arc<str> },
    #[error("{addr} did not answer request {request} within {after:?}")]
    Timeout { addr: Arc<str>, request: i32, after: Duration },
    #[error("request {request} to {addr} has {size} bytes, more than a frame may have")]
    TooLarge { addr: Arc<str>, request: i32, size: usize },
    #[error("{addr} refused request {request} with code {code}: {remark}")]
    Refused { addr: Arc<str>, request: i32, code: i32, remark: String },
    #[error("{addr} answered request {request} with a header that cannot be read: {why}")]
    Header { addr: Arc<str>, request: i32, why: FieldError },
    #[error("{addr} answered request {request} with a body that cannot be read: {why}")]
    Body { addr: Arc<str>, request: i32, why: String },
    #[error("name server {addr} knows no {what}")]
    Unknown { addr: String, what: String },
}

impl Error {
    /// The code with which a broker or name server refused, if it did.
    pub fn refused_with(&self) -> Option<i32> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}
