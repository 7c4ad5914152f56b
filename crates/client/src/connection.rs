//! One connection to a broker or name server. In: requests. Out: their replies, matched by
//! opaque, in whatever order they come.
//!
//! One task owns the socket (`wire`); callers share an outbox and a table of pending calls, both
//! bounded. A call that is given up (timeout, or its future dropped) leaves the table at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kerolox_protocol::remoting::fields::Fields;
use kerolox_protocol::remoting::frame::{
    self, FLAG_ONEWAY, FLAG_REPLY, FRAME_LENGTH_MAX, Form, Frame, Head, LENGTH_SIZE,
};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::wire::{self, Outgoing};
use crate::{Error, Incoming, OwnedReply, Result};

/// Frames that wait for the socket; more make callers wait.
const OUTBOX_MAX: usize = 1024;

/// How a connection behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How headers are written.
    pub form: Form,
    /// How long [`Connection::call`] waits for a reply, and connecting may take.
    pub timeout: Duration,
    /// Calls in flight at most; further ones wait for room.
    pub in_flight_max: usize,
    /// Where requests of the broker go. Without it, or when it is full, they are dropped.
    pub incoming: Option<mpsc::Sender<Incoming>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            form: Form::Json,
            timeout: Duration::from_secs(5),
            in_flight_max: 4096,
            incoming: None,
        }
    }
}

/// A connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Outgoing>,
    local: SocketAddr,
    peer: SocketAddr,
    /// Ends with this connection.
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    addr: Arc<str>,
    options: Options,
    room: Semaphore,
    opaque: AtomicI32,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    calls: HashMap<i32, Call>,
    /// Why the connection ended.
    closed: Option<Arc<str>>,
}

#[derive(Debug)]
struct Call {
    request: i32,
    reply: oneshot::Sender<OwnedReply>,
}

impl Connection {
    /// Connects to `host:port` with default options.
    pub async fn connect(addr: &str) -> Result<Self> {
        Self::connect_with(addr, Options::default()).await
    }

    /// Connects to `host:port`.
    pub async fn connect_with(addr: &str, options: Options) -> Result<Self> {
        let stream = match tokio::time::timeout(options.timeout, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => return Err(Error::Connect { addr: addr.to_owned(), why }),
            Err(_) => {
                return Err(Error::ConnectTimeout {
                    addr: addr.to_owned(),
                    after: options.timeout,
                });
            }
        };
        let failed = |why| Error::Connect { addr: addr.to_owned(), why };
        stream.set_nodelay(true).map_err(failed)?;
        let (local, peer) =
            (stream.local_addr().map_err(failed)?, stream.peer_addr().map_err(failed)?);
        let shared = Arc::new(Shared {
            addr: addr.into(),
            room: Semaphore::new(options.in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            options,
            opaque: AtomicI32::new(1),
            pending: Mutex::default(),
        });
        let (outbox, frames) = mpsc::channel(OUTBOX_MAX);
        let (read_half, write_half) = stream.into_split();
        let mut task = JoinSet::new();
        let of_task = shared.clone();
        task.spawn(async move {
            let why = tokio::select! {
                why = wire::read(read_half, |frame| of_task.arrived(&frame)) => why,
                why = wire::write(write_half, frames) => why,
            };
            of_task.close(&why);
        });
        Ok(Connection { shared, outbox, local, peer, _task: task })
    }

    /// The address given to [`Connection::connect`].
    pub fn addr(&self) -> &str {
        &self.shared.addr
    }

    /// The socket's own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address that was dialled, resolved.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the connection has ended; a new one is needed then.
    pub fn is_closed(&self) -> bool {
        self.shared.pending().closed.is_some()
    }

    /// Waits until the connection has ended.
    pub async fn ended(&self) {
        // Its task holds the other end.
        self.outbox.closed().await;
    }

    /// Sends a request and waits for its reply, whatever its code.
    pub async fn call(
        &self,
        code: i32,
        fields: &(dyn Fields + Sync),
        body: Bytes,
    ) -> Result<OwnedReply> {
        self.call_within(self.shared.options.timeout, code, fields, body).await
    }

    /// [`Connection::call`] with a timeout of its own, as a long poll needs.
    pub async fn call_within(
        &self,
        after: Duration,
        code: i32,
        fields: &(dyn Fields + Sync),
        body: Bytes,
    ) -> Result<OwnedReply> {
        let opaque = self.shared.opaque.fetch_add(1, Ordering::Relaxed);
        let frame = self.frame(self.shared.options.form, code, opaque, 0, fields, body)?;
        match tokio::time::timeout(after, self.exchange(code, opaque, frame)).await {
            Ok(reply) => reply,
            Err(_) => Err(Error::Timeout { addr: self.shared.addr.clone(), request: code, after }),
        }
    }

    /// Sends a request to which no reply is wanted.
    pub async fn oneway(&self, code: i32, fields: &(dyn Fields + Sync), body: Bytes) -> Result<()> {
        let opaque = self.shared.opaque.fetch_add(1, Ordering::Relaxed);
        let form = self.shared.options.form;
        let frame = self.frame(form, code, opaque, FLAG_ONEWAY, fields, body)?;
        self.outbox.send(frame).await.map_err(|_| self.shared.closed())
    }

    /// Answers a request of the broker.
    pub async fn respond(
        &self,
        to: &Incoming,
        code: i32,
        fields: &(dyn Fields + Sync),
        body: Bytes,
    ) -> Result<()> {
        let frame = self.frame(to.form, code, to.opaque, FLAG_REPLY, fields, body)?;
        self.outbox.send(frame).await.map_err(|_| self.shared.closed())
    }

    async fn exchange(&self, request: i32, opaque: i32, frame: Outgoing) -> Result<OwnedReply> {
        let shared = &self.shared;
        // Never closed, so it can only grant.
        let _room = shared.room.acquire().await.map_err(|_| shared.closed())?;
        let (reply, answer) = oneshot::channel();
        {
            let mut pending = shared.pending();
            if pending.closed.is_some() {
                drop(pending);
                return Err(shared.closed());
            }
            pending.calls.insert(opaque, Call { request, reply });
        }
        let _entry = Entry { shared, opaque };
        self.outbox.send(frame).await.map_err(|_| shared.closed())?;
        answer.await.map_err(|_| shared.closed())
    }

    fn frame(
        &self,
        form: Form,
        code: i32,
        opaque: i32,
        flag: i32,
        fields: &(dyn Fields + Sync),
        body: Bytes,
    ) -> Result<Outgoing> {
        let mut out = BytesMut::with_capacity(512);
        let head = Head { form, code, opaque, flag, remark: None };
        frame::encode(&mut out, &head, fields, body.len());
        let size = out.len() + body.len();
        if size > LENGTH_SIZE + FRAME_LENGTH_MAX {
            return Err(Error::TooLarge { addr: self.shared.addr.clone(), request: code, size });
        }
        Ok(Outgoing { head: out.freeze(), body })
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // No code that holds the lock can panic half way.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, frame: &Frame<'_>) {
        if !frame.is_reply() {
            if let Some(incoming) = &self.options.incoming {
                let _ = incoming.try_send(Incoming::new(frame));
            }
            return;
        }
        // A reply that nobody waits for came after its timeout.
        let call = self.pending().calls.remove(&frame.opaque);
        if let Some(call) = call {
            let reply = OwnedReply::new(self.addr.clone(), call.request, frame);
            let _ = call.reply.send(reply);
        }
    }

    /// Gives up all pending calls: their senders are dropped.
    fn close(&self, why: &str) {
        let mut pending = self.pending();
        pending.closed = Some(why.into());
        pending.calls.clear();
    }

    fn closed(&self) -> Error {
        let why = self.pending().closed.clone();
        let why = why.unwrap_or_else(|| "it is about to close".into());
        Error::Closed { addr: self.addr.clone(), why }
    }
}

/// A call's entry in the table, for as long as it is awaited.
struct Entry<'a> {
    shared: &'a Shared,
    opaque: i32,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.shared.pending().calls.remove(&self.opaque);
    }
}

#[cfg(test)]
mod tests;
