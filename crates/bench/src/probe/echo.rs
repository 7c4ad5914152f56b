//! Frames over loopback. In: how many connections, frames in flight and bytes. Out: frames a second
//! and their latencies, with nothing done between request and reply.
//!
//! One thread serves, one asks, as a broker and a load generator of one thread each do.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use super::Shape;
use crate::report;
use crate::stats::{self, Latencies};

/// Bytes read at once.
const READ_SIZE: usize = 256 * 1024;
/// How often a loop looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
/// Share of the time that goes before what is measured.
const WARM_UP: f64 = 0.2;

/// What one shape reached.
#[derive(Debug, Clone, Serialize)]
pub struct Echo {
    pub shape: String,
    pub connections: u32,
    pub in_flight: u32,
    pub per_second: f64,
    pub latency_us: stats::Summary,
}

impl std::fmt::Display for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Echo { shape, per_second, latency_us, .. } = self;
        write!(f, "echo      {shape}: {per_second}/s, {latency_us}")
    }
}

pub(super) fn measure(
    shape: Shape,
    request: usize,
    reply: usize,
    time: Duration,
) -> anyhow::Result<Echo> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let addr = listener.local_addr()?;
    let over = Arc::new(AtomicBool::new(false));
    let server = {
        let over = over.clone();
        let count = shape.connections as usize;
        thread::Builder::new().name("probe-echo".to_owned()).spawn(move || {
            let streams = (0..count).map(|_| Ok(listener.accept()?.0));
            let mut ends = Ends::new(streams, request)?;
            ends.serve(reply, &over)
        })?
    };
    let streams = (0..shape.connections).map(|_| std::net::TcpStream::connect(addr));
    // If this fails the server still waits for connections: it is left, not joined.
    let mut ends = Ends::new(streams, reply).context("cannot connect to the echo")?;
    let asked = ends.ask(shape, request, time);
    over.store(true, Ordering::Relaxed);
    let served = server.join().map_err(|_| anyhow::anyhow!("the echo panicked"))?;
    served.context("the echo failed")?;
    let (count, seconds, latencies) = asked.context("asking the echo failed")?;
    Ok(Echo {
        shape: shape.to_string(),
        connections: shape.connections,
        in_flight: shape.in_flight,
        per_second: report::round(count as f64 / seconds),
        latency_us: latencies.summary(),
    })
}

/// One side's ends of all connections.
struct Ends {
    poll: Poll,
    ends: Vec<End>,
    scratch: Vec<u8>,
    /// Bytes of the frames that come in.
    incoming: usize,
}

struct End {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    /// Bytes of an unfinished frame that have come.
    partial: usize,
    /// When what is in flight was sent.
    sent: VecDeque<Instant>,
}

impl Ends {
    fn new(
        streams: impl Iterator<Item = io::Result<std::net::TcpStream>>,
        incoming: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut ends = Vec::new();
        for stream in streams {
            let stream = stream?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(ends.len()), interest)?;
            let (out, sent) = (Vec::new(), VecDeque::new());
            ends.push(End { stream, out, written: 0, partial: 0, sent });
        }
        Ok(Ends { poll, ends, scratch: vec![0; READ_SIZE], incoming })
    }

    fn serve(&mut self, reply: usize, over: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !over.load(Ordering::Relaxed) {
            wait(&mut self.poll, &mut events)?;
            for event in &events {
                let end = &mut self.ends[event.token().0];
                let frames = end.read(&mut self.scratch, self.incoming)?;
                end.out.resize(end.out.len() + frames * reply, b'r');
                end.flush()?;
            }
        }
        Ok(())
    }

    /// Tells how many answers came in how many seconds, and their latencies.
    fn ask(
        &mut self,
        shape: Shape,
        request: usize,
        time: Duration,
    ) -> io::Result<(u64, f64, Latencies)> {
        let start = Instant::now();
        let measured_from = start + time.mul_f64(WARM_UP);
        let stop = start + time;
        for end in &mut self.ends {
            end.ask(shape.in_flight as usize, request, start)?;
        }
        let mut events = Events::with_capacity(1024);
        let (mut count, mut latencies) = (0, Latencies::default());
        loop {
            wait(&mut self.poll, &mut events)?;
            let now = Instant::now();
            if now >= stop {
                break;
            }
            for event in &events {
                let end = &mut self.ends[event.token().0];
                let frames = end.read(&mut self.scratch, self.incoming)?;
                let now = Instant::now();
                for sent in end.sent.drain(..frames.min(end.sent.len())) {
                    if now >= measured_from {
                        count += 1;
                        latencies.record(now - sent);
                    }
                }
                end.ask(frames, request, now)?;
            }
        }
        Ok((count, (stop - measured_from).as_secs_f64(), latencies))
    }
}

fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, Some(LOOK)) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result,
    }
}

impl End {
    fn ask(&mut self, frames: usize, size: usize, now: Instant) -> io::Result<()> {
        self.out.resize(self.out.len() + frames * size, b'q');
        self.sent.extend(std::iter::repeat_n(now, frames));
        self.flush()
    }

    /// Reads what is there; tells how many frames it completes.
    fn read(&mut self, scratch: &mut [u8], size: usize) -> io::Result<usize> {
        let mut frames = 0;
        loop {
            match self.stream.read(scratch) {
                // The other side is done.
                Ok(0) => return Ok(frames),
                Ok(n) => {
                    self.partial += n;
                    frames += self.partial / size;
                    self.partial %= size;
                    if n < scratch.len() {
                        return Ok(frames);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(frames),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(frames),
                Err(e) => return Err(e),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_answered() {
        for (connections, in_flight) in [(1, 1), (4, 16)] {
            let shape = Shape { connections, in_flight };
            let echo = measure(shape, 1200, 150, Duration::from_millis(200)).unwrap();
            assert!(echo.per_second > 0.0 && echo.latency_us.max > 0, "{echo}");
        }
    }
}
