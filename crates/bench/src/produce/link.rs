//! One connection of a worker. In: readiness, and leave to send. Out: frames, many a write, and
//! the worker's tally. What is in flight is in [`Slots`].

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::fields::FieldError;
use kerolox_protocol::remoting::frame::{self, Frame};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::slots::{Sending, Slots};
use super::tally::Tally;
use super::worker::Core;
use crate::ledger::Ack;
use crate::template::{Patch, Template};

/// Where a link's messages go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) producer: u32,
    /// Index of the broker.
    pub(crate) broker: u16,
    pub(crate) addr: SocketAddr,
    pub(crate) topics: u32,
    pub(crate) queues: i32,
    /// Connections of the whole run.
    pub(crate) producers: u32,
    /// Messages of a request.
    pub(crate) batch: u32,
    /// Requests that may be sent.
    pub(crate) requests_max: u64,
}

impl Place {
    /// Topic and queue of a connection's `n`th request. Of one topic each connection goes round the
    /// queues; of many, all connections together go once through all queues of all topics.
    fn of(&self, n: u64) -> (u32, i32) {
        let queues = self.queues.max(1) as u64;
        if self.topics <= 1 {
            return (0, ((n + u64::from(self.producer)) % queues) as i32);
        }
        let all = u64::from(self.topics) * queues;
        let at = (n * u64::from(self.producers) + u64::from(self.producer)) % all;
        ((at / queues) as u32, (at % queues) as i32)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    place: Place,
    template: Template,
    state: State,
    slots: Slots,
    inbox: BytesMut,
    out: Vec<u8>,
    written: usize,
    /// Requests that were sent; a message's sequence counts on with them.
    requests: u64,
    /// Open loop: this link's number in its worker, its messages that became due, and how many of
    /// them were sent or left out.
    index: u64,
    due: u64,
    done: u64,
}

#[derive(Debug)]
enum State {
    Up(TcpStream),
    Connecting(TcpStream),
    Down,
}

impl Link {
    pub(crate) fn new(
        place: Place,
        template: Template,
        stream: std::net::TcpStream,
        in_flight: u32,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Link {
            place,
            state: State::Up(TcpStream::from_std(stream)),
            slots: Slots::new(in_flight),
            inbox: BytesMut::new(),
            out: Vec::with_capacity(template.size()),
            template,
            written: 0,
            requests: 0,
            index: 0,
            due: 0,
            done: 0,
        })
    }

    /// Makes this link `index` of its worker.
    pub(crate) fn register(&mut self, registry: &Registry, index: usize) -> io::Result<()> {
        self.index = index as u64;
        match &mut self.state {
            State::Up(stream) | State::Connecting(stream) => {
                registry.register(stream, Token(index), Interest::READABLE | Interest::WRITABLE)
            }
            State::Down => Ok(()),
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Whether sends are unanswered.
    pub(crate) fn is_waiting(&self) -> bool {
        self.slots.in_flight() > 0
    }

    /// Whether it has sent all that it may, and has all answers.
    pub(crate) fn is_done(&self) -> bool {
        self.requests >= self.place.requests_max && !self.is_waiting()
    }

    /// The socket is ready for something.
    pub(crate) fn ready(&mut self, event: &Event, core: &mut Core) {
        if let State::Connecting(stream) = &self.state {
            match (stream.take_error(), stream.peer_addr()) {
                (Ok(None), Ok(_)) => self.came_up(&mut core.tally),
                (Ok(None), Err(e)) if e.kind() == io::ErrorKind::NotConnected => return,
                _ => self.state = State::Down,
            }
        }
        let ending = event.is_read_closed() || event.is_error();
        if event.is_readable() || ending {
            self.read(ending, core);
        }
        self.fill(core);
    }

    /// Open loop: one more message is due.
    pub(crate) fn due(&mut self, core: &mut Core) {
        self.due += 1;
        self.fill(core);
    }

    /// Sends what may be sent now.
    pub(crate) fn fill(&mut self, core: &mut Core) {
        if !matches!(self.state, State::Up(_)) {
            return;
        }
        if !self.slots.is_full() {
            let now = Instant::now();
            if now < core.plan.stop {
                self.fill_slots(now, core);
            }
        }
        self.flush(&mut core.tally);
    }

    fn fill_slots(&mut self, now: Instant, core: &mut Core) {
        let born = core.born(now);
        let batch = u64::from(self.place.batch);
        while let Some(opaque) = self.slots.next_opaque() {
            if self.requests >= self.place.requests_max {
                break;
            }
            let started = match core.plan.pace {
                None => now,
                Some(_) if self.done == self.due => break,
                Some(pace) => {
                    let n = self.done * core.links + self.index;
                    self.done += 1;
                    pace.due_at(core.plan.start, n)
                }
            };
            let sequence = self.requests * batch;
            let (topic, queue) = self.place.of(self.requests);
            self.template.write(Patch { opaque, topic, queue, sequence, born }, &mut self.out);
            self.slots.put(Sending { started, sequence });
            self.requests += 1;
            core.tally.sent += batch;
        }
    }

    fn flush(&mut self, tally: &mut Tally) {
        let State::Up(stream) = &mut self.state else { return };
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(n) if n > 0 => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) => return self.lose("nothing could be written", tally),
                Err(e) => return self.lose(&format!("writing failed: {e}"), tally),
            }
        }
        self.out.clear();
        self.written = 0;
    }

    fn read(&mut self, to_the_end: bool, core: &mut Core) {
        loop {
            let State::Up(stream) = &mut self.state else { return };
            let n = match stream.read(&mut core.scratch) {
                Ok(0) => return self.lose("the broker closed it", &mut core.tally),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return self.lose(&format!("reading failed: {e}"), &mut core.tally),
            };
            self.inbox.extend_from_slice(&core.scratch[..n]);
            if let Err(why) = self.take_frames(Instant::now(), &mut core.tally) {
                return self.lose(&why, &mut core.tally);
            }
            // A short read left nothing behind, unless the end of the stream follows.
            if n < core.scratch.len() && !to_the_end {
                return;
            }
        }
    }

    /// Handles the frames that are complete.
    fn take_frames(&mut self, now: Instant, tally: &mut Tally) -> Result<(), String> {
        let mut whole = 0;
        let broken = loop {
            match frame::frame_size(&self.inbox[whole..]) {
                Ok(Some(size)) if whole + size <= self.inbox.len() => whole += size,
                Ok(_) => break Ok(()),
                Err(e) => break Err(e.to_string()),
            }
        };
        if whole > 0 {
            let mut frames = self.inbox.split_to(whole).freeze();
            while let Ok(Some(size)) = frame::frame_size(&frames) {
                self.frame(&frames.split_to(size), now, tally)?;
            }
        }
        broken
    }

    fn frame(&mut self, bytes: &Bytes, now: Instant, tally: &mut Tally) -> Result<(), String> {
        let frame = Frame::parse(bytes).map_err(|e| e.to_string())?;
        if !frame.is_reply() {
            return Ok(()); // a request of the broker
        }
        let Some(send) = self.slots.answered(frame.opaque) else {
            tally.stray_replies += 1;
            return Ok(());
        };
        if frame.code != response::SUCCESS {
            *tally.errors.entry(frame.code).or_default() += u64::from(self.place.batch);
            return Ok(());
        }
        let stored = stored_at(&frame);
        let (queue, offset) = stored
            .inspect_err(|_| tally.unacknowledged += u64::from(self.place.batch))
            .map_err(|e| format!("the answer to a send says not where the message is: {e}"))?;
        let ack = Ack {
            broker: self.place.broker,
            queue,
            offset,
            producer: self.place.producer,
            sequence: send.sequence,
            crc: 0,
        };
        let latency = now.saturating_duration_since(send.started);
        tally.acknowledge(latency, now, self.place.batch);
        if tally.keeps_books() {
            for i in 0..self.place.batch {
                let sequence = ack.sequence + u64::from(i);
                let offset = ack.offset + i64::from(i);
                let crc = self.template.crc(sequence);
                tally.note(&Ack { sequence, offset, crc, ..ack });
            }
        }
        Ok(())
    }

    /// Gives up the sends that wait for longer than the timeout.
    pub(crate) fn expire(&mut self, now: Instant, core: &mut Core) {
        let requests = now.checked_sub(core.plan.timeout).map_or(0, |then| self.slots.expire(then));
        let count = requests * u64::from(self.place.batch);
        if count > 0 {
            core.tally.unacknowledged += count;
            core.tally.timed_out += count;
            self.fill(core);
        }
    }

    /// Closes the connection. What is in flight stays unanswered, and is never sent again.
    fn lose(&mut self, why: &str, tally: &mut Tally) {
        self.state = State::Down;
        tally.connections_lost += 1;
        tally.last_loss = Some(format!("connection {}: {why}", self.place.producer));
        tally.unacknowledged += self.slots.clear() * u64::from(self.place.batch);
        self.inbox.clear();
        self.out.clear();
        self.written = 0;
    }

    /// Starts to connect, if it is down.
    pub(crate) fn connect_again(&mut self, registry: &Registry) {
        if self.is_down() {
            let stream = TcpStream::connect(self.place.addr).map(State::Connecting);
            self.state = stream.unwrap_or(State::Down);
            if self.register(registry, self.index as usize).is_err() {
                self.state = State::Down;
            }
        }
    }

    fn came_up(&mut self, tally: &mut Tally) {
        let State::Connecting(stream) = std::mem::replace(&mut self.state, State::Down) else {
            return;
        };
        if stream.set_nodelay(true).is_ok() {
            self.state = State::Up(stream);
            tally.reconnected += 1;
            self.skip_due(tally);
        }
    }

    /// Leaves out what became due and was not sent.
    fn skip_due(&mut self, tally: &mut Tally) {
        tally.not_sent += (self.due - self.done) * u64::from(self.place.batch);
        self.done = self.due;
    }

    /// The run is over.
    pub(crate) fn give_up(&mut self, tally: &mut Tally) {
        tally.unacknowledged += self.slots.clear() * u64::from(self.place.batch);
        self.skip_due(tally);
    }
}

/// Queue id and queue offset in the answer to a send.
fn stored_at(frame: &Frame<'_>) -> Result<(i32, i64), FieldError> {
    let (mut queue, mut offset) = (None, None);
    frame.for_each_field(|key, text| {
        match key {
            "queueId" => queue = text.parse().ok(),
            "queueOffset" => offset = text.parse().ok(),
            _ => {}
        }
        Ok(())
    })?;
    let queue = queue.ok_or(FieldError::Missing("queueId"))?;
    Ok((queue, offset.ok_or(FieldError::Missing("queueOffset"))?))
}
