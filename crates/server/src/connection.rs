//! One connection's bytes: frames out of what was read, and the queue of what is to be written.
//!
//! In: bytes from the shard's read area. Out: whole frames, for [`crate::decode`]; and the other
//! way round, encoded replies, written with as few calls as possible.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use kerolox_engine::Origin;
use kerolox_protocol::remoting::frame::{FrameError, LENGTH_SIZE, frame_size};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::limits::{CONNECTION_IN_FLIGHT_MAX, CONNECTION_REQUESTS_MAX, UNREAD_MAX};

/// A remoting connection, on its shard's thread.
pub struct Connection {
    pub stream: TcpStream,
    /// What every request of this connection has in common.
    pub origin: Origin,
    /// The beginning of a frame whose rest did not arrive yet.
    pub partial: RefCell<Partial>,
    pub out: RefCell<OutQueue>,
    /// Unanswered requests: bytes and number.
    in_flight: Cell<(usize, usize)>,
    /// The socket takes no more for now.
    pub blocked: Cell<bool>,
    pub closing: Cell<bool>,
    /// The client has so much unread that nothing more is read from the disk for it.
    pub held: Cell<bool>,
    /// Tells the connection's task to look again.
    pub changed: Notify,
    pub last_read: Cell<Instant>,
    /// When the client last took something, or had nothing to take.
    pub last_write: Cell<Instant>,
    /// When the unfinished frame began.
    pub partial_since: Cell<Option<Instant>>,
}

impl Connection {
    /// A fresh connection.
    pub fn new(stream: TcpStream, origin: Origin) -> Self {
        let now = Instant::now();
        Connection {
            stream,
            origin,
            partial: RefCell::default(),
            out: RefCell::default(),
            in_flight: Cell::new((0, 0)),
            blocked: Cell::new(false),
            closing: Cell::new(false),
            held: Cell::new(false),
            changed: Notify::new(),
            last_read: Cell::new(now),
            last_write: Cell::new(now),
            partial_since: Cell::new(None),
        }
    }

    /// Counts a request until its reply.
    pub fn request_began(&self, bytes: usize) {
        let (total, number) = self.in_flight.get();
        self.in_flight.set((total + bytes, number + 1));
    }

    /// A request was answered.
    pub fn request_ended(&self, bytes: usize) {
        let full = self.is_full();
        let (total, number) = self.in_flight.get();
        self.in_flight.set((total.saturating_sub(bytes), number.saturating_sub(1)));
        if full && !self.is_full() {
            self.changed.notify_one();
        }
    }

    /// Bytes of unanswered requests.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight.get().0
    }

    /// Whether the client has so much outstanding that it is not read on.
    pub fn is_full(&self) -> bool {
        let (bytes, number) = self.in_flight.get();
        bytes >= CONNECTION_IN_FLIGHT_MAX
            || number >= CONNECTION_REQUESTS_MAX
            || self.out.borrow().bytes >= UNREAD_MAX
    }

    /// Writes what the socket takes. An error means that the connection is gone.
    pub fn flush(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        let full = out.bytes >= UNREAD_MAX;
        let all = out.bytes;
        while out.bytes > 0 {
            match out.write(&self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if out.bytes < all {
                        self.last_write.set(Instant::now());
                    }
                    out.keep_own();
                    if !self.blocked.replace(true) {
                        self.changed.notify_one();
                    }
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        self.last_write.set(Instant::now());
        self.blocked.set(false);
        drop(out);
        if full {
            self.changed.notify_one();
        }
        Ok(())
    }
}

/// The beginning of a frame. Its memory is counted in a budget that all connections share.
#[derive(Default)]
pub struct Partial {
    bytes: BytesMut,
    counted: usize,
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("unfinished frames of all connections take more than {0} bytes")]
    Budget(usize),
}

impl Partial {
    /// Whether a frame is unfinished.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what was read and calls `frame` with each whole frame. What is left begins the next
    /// one. `budget`: bytes in use and how many may be; where it is spent, all was taken all the
    /// same.
    pub fn take(
        &mut self,
        mut chunk: Bytes,
        budget: (&AtomicUsize, usize),
        mut frame: impl FnMut(Bytes) -> Result<(), FrameError>,
    ) -> Result<(), ReadError> {
        if !self.bytes.is_empty() {
            if self.bytes.len() < LENGTH_SIZE {
                let want = (LENGTH_SIZE - self.bytes.len()).min(chunk.len());
                self.bytes.extend_from_slice(&chunk.split_to(want));
            }
            let Some(size) = frame_size(&self.bytes)? else { return Ok(()) };
            let want = (size - self.bytes.len()).min(chunk.len());
            self.bytes.extend_from_slice(&chunk.split_to(want));
            if self.bytes.len() < size {
                return self.count(budget);
            }
            let whole = std::mem::take(&mut self.bytes).freeze();
            self.count(budget)?;
            frame(whole)?;
        }
        while let Some(size) = frame_size(&chunk)? {
            if chunk.len() < size {
                break;
            }
            frame(chunk.split_to(size))?;
        }
        if !chunk.is_empty() {
            self.bytes.extend_from_slice(&chunk);
            self.count(budget)?;
        }
        Ok(())
    }

    fn count(&mut self, (used, max): (&AtomicUsize, usize)) -> Result<(), ReadError> {
        let now = self.bytes.capacity();
        let before = std::mem::replace(&mut self.counted, now);
        if now > before {
            if used.fetch_add(now - before, Ordering::Relaxed) + (now - before) > max {
                return Err(ReadError::Budget(max));
            }
        } else {
            used.fetch_sub(before - now, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.counted
    }

    /// Gives the memory back.
    pub fn clear(&mut self, used: &AtomicUsize) {
        self.bytes = BytesMut::new();
        used.fetch_sub(std::mem::take(&mut self.counted), Ordering::Relaxed);
    }
}

/// What is to be written.
#[derive(Default)]
pub struct OutQueue {
    parts: VecDeque<Bytes>,
    /// Bytes of all parts.
    pub bytes: usize,
}

/// A part up to this size is copied when the client does not take it at once: it would keep a
/// whole area of its shard.
const COPY_MAX: usize = 16 << 10;

impl OutQueue {
    /// Adds a part.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }

    /// Writes once and returns how many bytes were taken.
    fn write(&mut self, stream: &TcpStream) -> io::Result<usize> {
        const PARTS: usize = 64;
        let written = match self.parts.front() {
            // The kernel has a shorter way for one part.
            Some(only) if self.parts.len() == 1 => stream.try_write(only)?,
            _ => {
                let mut slices = [io::IoSlice::new(&[]); PARTS];
                let count = self.parts.len().min(PARTS);
                for (slice, part) in slices.iter_mut().zip(&self.parts) {
                    *slice = io::IoSlice::new(part);
                }
                stream.try_write_vectored(&slices[..count])?
            }
        };
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let Some(part) = self.parts.front_mut() else { return };
            if part.len() > written {
                part.advance(written);
                return;
            }
            written -= part.len();
            self.parts.pop_front();
        }
    }

    fn keep_own(&mut self) {
        for part in self.parts.iter_mut().filter(|part| part.len() <= COPY_MAX) {
            *part = Bytes::copy_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let frame = |n: u8, size: usize| {
            let mut bytes = (size as i32).to_be_bytes().to_vec();
            bytes.extend(vec![n; size]);
            bytes
        };
        let frames = [frame(1, 10), frame(2, 4), frame(3, 5000), frame(4, 300)];
        let stream = frames.concat();
        for step in [1, 2, 3, 7, 64, 1000, stream.len()] {
            let used = AtomicUsize::new(0);
            let mut partial = Partial::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(step) {
                let chunk = Bytes::copy_from_slice(chunk);
                let each = |frame: Bytes| {
                    got.push(frame.to_vec());
                    Ok(())
                };
                partial.take(chunk, (&used, 1 << 20), each).unwrap();
            }
            assert_eq!(got, frames, "step {step}");
            partial.clear(&used);
            assert_eq!(used.into_inner(), 0);
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_ends_the_connection() {
        let used = AtomicUsize::new(0);
        let chunk = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
        let taken = Partial::default().take(chunk, (&used, 100), |_| Ok(()));
        assert!(matches!(taken, Err(ReadError::Frame(FrameError::Length(i32::MAX)))));
    }
}
