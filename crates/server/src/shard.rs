//! A shard: one thread, one tokio runtime, its connections. Reads many frames a call, hands the
//! batch of all its connections to the core, writes replies with one call a connection.
//!
//! In: connections from [`crate::listen`]. Out: requests for [`crate::core`], and what comes back.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use kerolox_engine::{Answer, Completion, ConnectionId, Message, Origin, Push, Request};
use kerolox_log::PhysicalOffset;
use kerolox_log::arena::Arenas;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::frame::{self, FLAG_ONEWAY, FRAME_LENGTH_MAX, Head, LENGTH_SIZE};
use kerolox_protocol::remoting::reply::Reply;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use crate::connection::{Connection, ReadError};
use crate::core::{Shared, connection_id};
use crate::decode::{CoreRequest, Decoded, decode};
use crate::limits::{
    IDLE_SECONDS, IN_FLIGHT_MAX, READ_AREA, READ_AREAS_MAX, READ_MIN, REPLY_AREA, SWEEP_SECONDS,
    UNFINISHED_MAX, UNFINISHED_SECONDS, UNREAD_MAX, UNREAD_SECONDS,
};
use crate::sniff::{Spoken, sniff};

/// A connection on its way to a shard.
pub struct Accepted {
    pub stream: std::net::TcpStream,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Given back when the connection is gone.
    pub seat: Arc<Seat>,
}

/// A connection counts from its acceptance on: a crowd comes faster than the shards look at it.
pub struct Seat {
    shared: Arc<Shared>,
    shard: Arc<AtomicUsize>,
}

impl Seat {
    /// Counts a connection, of all and of its shard.
    pub fn take(shared: &Arc<Shared>, shard: &Arc<AtomicUsize>) -> Arc<Seat> {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        shard.fetch_add(1, Ordering::Relaxed);
        Arc::new(Seat { shared: shared.clone(), shard: shard.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shard.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module's documentation.
struct Shard {
    number: usize,
    shared: Arc<Shared>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    batch: RefCell<Vec<CoreRequest>>,
    turn: Notify,
    reads: RefCell<ReadArea>,
    /// What waits for the watermark, in the order of the log.
    waiting: RefCell<VecDeque<Message>>,
    encoded: RefCell<BytesMut>,
    logged: RefCell<LogLimit>,
}

/// Where reads go. What a request still holds of an area keeps it from being used again.
struct ReadArea {
    open: BytesMut,
    areas: Arenas,
}

impl ReadArea {
    fn new() -> Self {
        let areas = Arenas::new(READ_AREA, READ_AREAS_MAX);
        ReadArea { open: areas.first(), areas }
    }

    /// An area with room for a read. Many small ones share it: an area for each would go round through
    /// the caches with a few bytes used.
    fn with_room(&mut self) -> &mut BytesMut {
        if self.open.capacity() - self.open.len() < READ_MIN {
            let full = std::mem::take(&mut self.open);
            self.open = self.areas.next(full, READ_AREA);
        }
        &mut self.open
    }
}

/// Lines about bad clients: a few a second, the rest is counted.
#[derive(Default)]
struct LogLimit {
    second: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    const LINES: u32 = 5;

    /// Whether a line may be written; with it, how many were left out before.
    fn allow(&mut self) -> Option<u64> {
        if self.second.is_none_or(|begin| begin.elapsed() >= Duration::from_secs(1)) {
            self.second = Some(Instant::now());
            self.lines = 0;
        }
        self.lines += 1;
        if self.lines > Self::LINES {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The body of a shard's thread.
pub async fn run(
    number: usize,
    shared: Arc<Shared>,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
) {
    let shard = Rc::new(Shard {
        number,
        shared,
        connections: RefCell::default(),
        batch: RefCell::default(),
        turn: Notify::new(),
        reads: RefCell::new(ReadArea::new()),
        waiting: RefCell::default(),
        encoded: RefCell::new(BytesMut::with_capacity(REPLY_AREA)),
        logged: RefCell::default(),
    });
    let turns = spawn_local(shard.clone().run_turns());
    let replies = spawn_local(shard.clone().run_replies());
    let sweeps = spawn_local(shard.clone().run_sweeps());
    let mut n = 0;
    while let Some(connection) = accepted.recv().await {
        n += 1;
        spawn_local(shard.clone().serve(connection_id(number, n), connection));
    }
    // The server stops: what is confirmed leaves, then the shard ends.
    let deadline = Instant::now() + Duration::from_millis(crate::limits::DRAIN_MS);
    while Instant::now() < deadline && !shard.is_drained() {
        shard.deliver();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for task in [turns, replies, sweeps] {
        task.abort();
    }
}

impl Shard {
    fn is_drained(&self) -> bool {
        let connections = self.connections.borrow();
        self.shared.shards[self.number].messages.lock().is_empty()
            && self.waiting.borrow().is_empty()
            && connections.values().all(|c| c.out.borrow().bytes == 0)
    }

    /// Serves one connection to its end.
    async fn serve(self: Rc<Self>, id: ConnectionId, accepted: Accepted) {
        let (peer, _seat) = (accepted.peer, accepted.seat.clone());
        let served = tokio::task::spawn_local(self.clone().serve_inner(id, accepted)).await;
        if served.is_err_and(|e| e.is_panic()) {
            self.shared.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%peer, "a panic in a connection's code: the connection is closed");
        }
        if let Some(connection) = self.connections.borrow_mut().remove(&id.0) {
            connection.partial.borrow_mut().clear(&self.shared.unfinished);
            self.shared.readers.forget(id);
            let left = connection.in_flight_bytes();
            self.shared.in_flight.fetch_sub(left, Ordering::Relaxed);
            self.shared.submit_own(id, Request::Closed);
        }
    }

    async fn serve_inner(self: Rc<Self>, id: ConnectionId, accepted: Accepted) {
        let Accepted { stream, peer, local, .. } = accepted;
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let spoken = match first_bytes(&stream).await {
            Some(spoken) => spoken,
            None => return,
        };
        match spoken {
            Spoken::Remoting => {}
            Spoken::Http => return crate::http::serve(stream, self.shared.clone()).await,
            Spoken::Http2 => {
                return self.refused(peer, "gRPC is not served yet; use a remoting client");
            }
            Spoken::Tls => return self.refused(peer, "TLS is not served yet; connect without it"),
            Spoken::Unknown => {
                self.shared.counters.bad_frames.fetch_add(1, Ordering::Relaxed);
                return self.refused(peer, "the first bytes are no protocol that is known here");
            }
        }
        let origin = Origin {
            connection: id,
            opaque: 0,
            form: Default::default(),
            oneway: false,
            language: 0,
            version: 0,
            peer: canonical(peer),
            local_ip: canonical(local).ip(),
            cost: 0,
        };
        let connection = Rc::new(Connection::new(stream, origin));
        self.connections.borrow_mut().insert(id.0, connection.clone());
        self.serve_remoting(&connection).await;
    }

    fn refused(&self, peer: SocketAddr, why: &str) {
        if let Some(left_out) = self.logged.borrow_mut().allow() {
            tracing::warn!(%peer, left_out, "connection closed: {why}");
        }
    }

    async fn serve_remoting(&self, connection: &Connection) {
        loop {
            if connection.closing.get() {
                return;
            }
            self.hold_reads(connection);
            let budget = self.shared.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX;
            let reading = !connection.is_full() && !budget;
            let interest = match (reading, connection.blocked.get()) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
                (false, false) => {
                    // Nothing to do until replies leave. The budget of all is looked at again soon.
                    let again = tokio::time::sleep(Duration::from_millis(5));
                    tokio::select! {
                        () = connection.changed.notified() => {}
                        () = again, if budget => {}
                    }
                    continue;
                }
            };
            let ready = tokio::select! {
                ready = connection.stream.ready(interest) => ready,
                () = connection.changed.notified() => continue,
            };
            let Ok(ready) = ready else { return };
            if ready.is_writable() && connection.blocked.get() && connection.flush().is_err() {
                return;
            }
            if ready.is_readable() && reading {
                match self.read(connection) {
                    None => return,
                    // There is probably more, but what was read is handled first.
                    Some(bytes) if bytes >= READ_MIN => tokio::task::yield_now().await,
                    Some(_) => {}
                }
            }
        }
    }

    /// While a client does not take what is there for it, nothing more is read from the disk.
    fn hold_reads(&self, connection: &Connection) {
        let unread = connection.out.borrow().bytes >= UNREAD_MAX;
        if connection.held.replace(unread) != unread {
            let id = connection.origin.connection;
            if unread {
                self.shared.readers.hold(id);
            } else {
                self.shared.readers.release(id);
            }
        }
    }

    /// Reads once and puts the requests into the batch. Returns how many bytes came; `None`: the
    /// connection is over.
    fn read(&self, connection: &Connection) -> Option<usize> {
        if connection.closing.get() {
            return None;
        }
        let mut reads = self.reads.borrow_mut();
        let area = reads.with_room();
        let room = area.capacity() - area.len();
        match connection.stream.try_read_buf(area) {
            Ok(0) => return None,
            // The socket is empty: without a word of it tokio would ask once more, for nothing.
            Ok(bytes) if bytes < room => {
                let nothing = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
                let _: Result<(), _> = connection.stream.try_io(Interest::READABLE, nothing);
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Some(0),
            Err(_) => return None,
        }
        let chunk = area.split().freeze();
        let bytes = chunk.len();
        drop(reads);
        connection.last_read.set(Instant::now());
        let budget = (&self.shared.unfinished, UNFINISHED_MAX);
        let mut partial = connection.partial.borrow_mut();
        let taken = partial.take(chunk, budget, |frame| self.take_frame(connection, &frame));
        let since = connection.partial_since.get();
        connection.partial_since.set(match partial.is_empty() {
            true => None,
            false => since.or_else(|| Some(Instant::now())),
        });
        drop(partial);
        if matches!(taken, Err(ReadError::Budget(_))) && self.evict_larger(connection) {
            return Some(0);
        }
        if let Err(e) = taken {
            self.shared.counters.bad_frames.fetch_add(1, Ordering::Relaxed);
            self.refused(connection.origin.peer, &e.to_string());
            return None;
        }
        Some(bytes)
    }

    /// Unfinished frames take more than they may: the one that takes the most goes. False if that
    /// is this connection's own.
    fn evict_larger(&self, connection: &Connection) -> bool {
        let connections = self.connections.borrow();
        let size = |c: &&Rc<Connection>| c.partial.borrow().size();
        let Some(largest) = connections.values().max_by_key(size) else { return false };
        if largest.partial.borrow().size() <= connection.partial.borrow().size() {
            return false;
        }
        self.shared.counters.bad_frames.fetch_add(1, Ordering::Relaxed);
        self.refused(largest.origin.peer, &ReadError::Budget(UNFINISHED_MAX).to_string());
        largest.partial.borrow_mut().clear(&self.shared.unfinished);
        largest.closing.set(true);
        largest.changed.notify_one();
        true
    }

    fn take_frame(
        &self,
        connection: &Connection,
        frame: &bytes::Bytes,
    ) -> Result<(), frame::FrameError> {
        self.shared.counters.requests.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { cost: frame.len() as u32, ..connection.origin };
        match decode(frame, &origin, self.shared.roles)? {
            Decoded::Request(request) => {
                if !request.origin().oneway {
                    connection.request_began(frame.len());
                    self.shared.in_flight.fetch_add(frame.len(), Ordering::Relaxed);
                }
                let mut batch = self.batch.borrow_mut();
                if batch.is_empty() {
                    self.turn.notify_one();
                }
                batch.push(request);
            }
            Decoded::Refused(origin, code, reply) => {
                self.log_refusal(&origin, &reply, code);
                if !origin.oneway {
                    self.encode(connection, &origin, &reply);
                    if connection.flush().is_err() {
                        connection.closing.set(true);
                    }
                }
            }
        }
        Ok(())
    }

    fn log_refusal(&self, origin: &Origin, reply: &Reply, request: i32) {
        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.logged.borrow_mut().allow() {
            let remark = reply.remark.as_deref().unwrap_or("");
            let (peer, code) = (origin.peer, reply.code);
            tracing::warn!(%peer, request, code, left_out, remark, "request refused");
        }
    }

    /// Hands over what all connections of this round have read.
    async fn run_turns(self: Rc<Self>) {
        loop {
            self.turn.notified().await;
            let mut batch = std::mem::take(&mut *self.batch.borrow_mut());
            self.shared.submit(&mut batch);
            // The memory serves the next batch.
            let mut next = self.batch.borrow_mut();
            if next.is_empty() {
                *next = batch;
            } else {
                self.turn.notify_one();
            }
        }
    }

    async fn run_replies(self: Rc<Self>) {
        let inbox = self.shared.shards[self.number].clone();
        loop {
            inbox.notify.notified().await;
            self.deliver();
        }
    }

    /// Encodes and writes every reply that may leave.
    fn deliver(&self) {
        let inbox = &self.shared.shards[self.number];
        let messages = std::mem::take(&mut *inbox.messages.lock());
        let mut confirmed = self.shared.confirmed();
        let mut touched = Vec::new();
        let mut waiting = self.waiting.borrow_mut();
        for message in messages {
            if confirm_at(&message) > confirmed {
                waiting.push_back(message);
            } else {
                self.send(message, &mut touched);
            }
        }
        if !waiting.is_empty() {
            inbox.waits.store(true, Ordering::SeqCst);
            confirmed = self.shared.confirmed();
        }
        while waiting.front().is_some_and(|first| confirm_at(first) <= confirmed) {
            if let Some(message) = waiting.pop_front() {
                self.send(message, &mut touched);
            }
        }
        if let Some(why) = self.shared.failed() {
            for message in waiting.drain(..) {
                self.send(not_confirmed(message, why), &mut touched);
            }
        }
        if waiting.is_empty() {
            inbox.waits.store(false, Ordering::SeqCst);
        }
        drop(waiting);
        for connection in touched {
            if connection.flush().is_err() {
                connection.closing.set(true);
                connection.changed.notify_one();
            }
        }
    }

    fn send(&self, message: Message, touched: &mut Vec<Rc<Connection>>) {
        match message {
            Message::Reply(completion) => self.reply(&completion, touched),
            Message::Push(push) => self.push(push, touched),
        }
    }

    fn reply(&self, completion: &Completion, touched: &mut Vec<Rc<Connection>>) {
        let origin = &completion.origin;
        let Answer::Now(reply) = &completion.answer else { return };
        let Some(connection) = self.connections.borrow().get(&origin.connection.0).cloned() else {
            return;
        };
        let cost = origin.cost as usize;
        self.shared.in_flight.fetch_sub(cost, Ordering::Relaxed);
        self.encode(&connection, origin, reply);
        self.hold_reads(&connection);
        connection.request_ended(cost);
        if touched.last().is_none_or(|last| !Rc::ptr_eq(last, &connection)) {
            touched.push(connection);
        }
    }

    fn encode(&self, connection: &Connection, origin: &Origin, reply: &Reply) {
        let mut encoded = self.encoded.borrow_mut();
        let written = catch_unwind(AssertUnwindSafe(|| {
            reply.encode(origin.form, origin.opaque, &mut encoded);
        }));
        let size = encoded.len() + reply.body.size();
        if written.is_ok() && size > LENGTH_SIZE + FRAME_LENGTH_MAX {
            // Sent all the same, it would cost the client its connection.
            *encoded = BytesMut::with_capacity(REPLY_AREA);
            drop(encoded);
            let remark = format!(
                "the request was carried out, but its answer has {size} bytes, more than a frame may have ({FRAME_LENGTH_MAX}); ask for less"
            );
            let refusal = Reply::refuse(response::SYSTEM_ERROR, remark);
            return self.encode(connection, origin, &refusal);
        }
        let head = encoded.split().freeze();
        if written.is_err() {
            self.shared.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(peer = %origin.peer, "a panic while a reply was encoded: the connection is closed");
            connection.closing.set(true);
            return;
        }
        let mut out = connection.out.borrow_mut();
        out.push(head);
        for slice in reply.body.slices() {
            out.push(slice.clone());
        }
    }

    /// Sends a request of the broker's own to a client.
    fn push(&self, push: Push, touched: &mut Vec<Rc<Connection>>) {
        let connection = self.connections.borrow().get(&push.connection.0).cloned();
        let Some(connection) = connection else { return };
        let flag = if push.opaque.is_some() { 0 } else { FLAG_ONEWAY };
        let opaque = push.opaque.unwrap_or(0);
        let head = Head { code: push.code, opaque, flag, ..Head::default() };
        let mut encoded = self.encoded.borrow_mut();
        frame::encode(&mut encoded, &head, &*push.fields, push.body.len());
        let mut out = connection.out.borrow_mut();
        out.push(encoded.split().freeze());
        out.push(push.body);
        drop(out);
        touched.push(connection);
    }

    /// Closes connections that are idle, do not read, or never finish a frame.
    async fn run_sweeps(self: Rc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(SWEEP_SECONDS)).await;
            let now = Instant::now();
            let age = |since: Instant| now.duration_since(since).as_secs();
            for connection in self.connections.borrow().values() {
                let unread = connection.out.borrow().bytes > 0
                    && age(connection.last_write.get()) >= UNREAD_SECONDS;
                let unfinished = connection
                    .partial_since
                    .get()
                    .is_some_and(|since| age(since) >= UNFINISHED_SECONDS);
                let last = connection.last_read.get().max(connection.last_write.get());
                let idle = now.duration_since(last) >= self.shared.idle
                    && connection.in_flight_bytes() == 0;
                let why = match (unread, unfinished, idle) {
                    (true, ..) => "it does not read its replies",
                    (_, true, _) => "it never finished a frame",
                    (.., true) => "it was idle",
                    _ => continue,
                };
                tracing::debug!(peer = %connection.origin.peer, "connection closed: {why}");
                connection.closing.set(true);
                connection.changed.notify_one();
            }
        }
    }
}

/// The answer to what the disk did not confirm before it failed.
fn not_confirmed(message: Message, why: &str) -> Message {
    match message {
        Message::Reply(completion) => {
            let remark = format!(
                "service not available now. {why} Whether this request is on the disk is not known."
            );
            let reply = Reply::refuse(response::SERVICE_NOT_AVAILABLE, remark);
            Message::Reply(Completion { answer: Answer::Now(reply), ..completion })
        }
        push => push,
    }
}

/// What must be confirmed before a message may leave.
fn confirm_at(message: &Message) -> PhysicalOffset {
    match message {
        Message::Reply(completion) => completion.confirm_at.unwrap_or_default(),
        Message::Push(push) => push.confirm_at,
    }
}

/// Waits for the first bytes of a connection and tells what they are.
async fn first_bytes(stream: &TcpStream) -> Option<Spoken> {
    let mut first = [0; 8];
    let wait = async {
        loop {
            match stream.peek(&mut first).await {
                Ok(n) if n > 0 => match sniff(&first[..n]) {
                    Some(spoken) => return Some(spoken),
                    // Fewer than four bytes: they cannot be waited for without taking them. None
                    // come any more if the client is gone.
                    None => {
                        let ready = stream.ready(Interest::READABLE).await;
                        if ready.is_ok_and(|ready| ready.is_read_closed()) {
                            return None;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                _ => return None,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(IDLE_SECONDS), wait).await.ok().flatten()
}

/// An IPv4 client of an IPv6 socket counts as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn small_reads_share_areas_which_are_used_again() {
        let mut reads = ReadArea::new();
        let mut pages = BTreeSet::new();
        // What clients that wait for their replies keep of them.
        let mut held = VecDeque::new();
        for _ in 0..20_000 {
            let area = reads.with_room();
            assert!(area.capacity() - area.len() >= READ_MIN);
            area.extend_from_slice(&[7; 1300]);
            let read = area.split().freeze();
            pages.insert(read.as_ptr() as usize / 4096);
            held.push_back(read);
            if held.len() > 64 {
                held.pop_front();
            }
        }
        assert!(pages.len() <= 3 * READ_AREA / 4096 + 3, "{} pages", pages.len());
    }
}
