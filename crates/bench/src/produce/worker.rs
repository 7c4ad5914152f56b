//! One thread's event loop. In: readiness of its connections, and the clock. Out: calls of its
//! links ([`super::link`]), and a tally at the end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use mio::{Events, Poll, Token};

use super::link::Link;
use super::pace::Pace;
use super::pacer::Pacer;
use super::tally::{Live, Tally};

/// How often counts are published, timeouts looked for, lost connections tried again, and the
/// ledger written.
const TICK: Duration = Duration::from_millis(100);
/// Bytes read at once.
const READ_SIZE: usize = 256 * 1024;

/// When a worker does what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) start: Instant,
    /// Nothing is sent from here on.
    pub(crate) stop: Instant,
    /// How long an answer is awaited.
    pub(crate) timeout: Duration,
    pub(crate) reconnect: bool,
    /// Open loop.
    pub(crate) pace: Option<Pace>,
}

/// A thread's connections and counts.
#[derive(Debug)]
pub(crate) struct Worker {
    poll: Poll,
    links: Vec<Link>,
    core: Core,
    pacer: Option<Pacer>,
    /// Open loop: messages that have become due.
    due: u64,
    live: Arc<Live>,
}

/// What all links of a worker share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) plan: Plan,
    pub(crate) tally: Tally,
    /// Where reads go first.
    pub(crate) scratch: Vec<u8>,
    /// How many links there are.
    pub(crate) links: u64,
    /// The wall clock at the plan's start, in ms since 1970.
    born_at_start: u64,
}

impl Core {
    /// The wall clock, in ms since 1970, without asking for it.
    pub(crate) fn born(&self, now: Instant) -> u64 {
        self.born_at_start + now.saturating_duration_since(self.plan.start).as_millis() as u64
    }
}

impl Worker {
    pub(crate) fn new(
        plan: Plan,
        mut links: Vec<Link>,
        tally: Tally,
        live: Arc<Live>,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new().context("cannot make an event loop")?;
        for (index, link) in links.iter_mut().enumerate() {
            link.register(poll.registry(), index)?;
        }
        let token = Token(links.len());
        let pacer = plan.pace.map(|_| Pacer::new(poll.registry(), token)).transpose()?;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let core = Core {
            plan,
            tally,
            scratch: vec![0; READ_SIZE],
            links: links.len() as u64,
            born_at_start: since_1970.unwrap_or_default().as_millis() as u64,
        };
        Ok(Worker { poll, links, core, pacer, due: 0, live })
    }

    pub(crate) fn run(mut self) -> anyhow::Result<Tally> {
        let mut events = Events::with_capacity(1024);
        let mut published = (0, 0);
        let mut next_tick = Instant::now() + TICK;
        if self.core.plan.pace.is_none() {
            self.links.iter_mut().for_each(|link| link.fill(&mut self.core));
        }
        loop {
            self.pace();
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now, &mut published)?;
            }
            if self.is_over(now) {
                break;
            }
            let pause = self.pause(now, next_tick)?;
            match self.poll.poll(&mut events, Some(pause)) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result.context("waiting for connections failed")?,
            }
            for event in &events {
                if let Some(link) = self.links.get_mut(event.token().0) {
                    link.ready(event, &mut self.core);
                }
            }
        }
        for link in &mut self.links {
            link.give_up(&mut self.core.tally);
        }
        self.live.publish(&mut self.core.tally, &mut published);
        self.core.tally.flush()?;
        Ok(self.core.tally)
    }

    /// Open loop: hands out the messages that have become due, to one link after the other.
    fn pace(&mut self) {
        let Plan { start, stop, pace: Some(pace), .. } = self.core.plan else { return };
        let now = Instant::now();
        if now >= stop {
            return;
        }
        while pace.due_at(start, self.due) <= now {
            let index = (self.due % self.core.links) as usize;
            self.due += 1;
            self.links[index].due(&mut self.core);
        }
    }

    fn tick(&mut self, now: Instant, published: &mut (u64, u64)) -> anyhow::Result<()> {
        if self.live.is_stopped() && now < self.core.plan.stop {
            self.core.plan.stop = now;
            self.core.tally.stop_at(now);
        }
        let reconnect = self.core.plan.reconnect && now < self.core.plan.stop;
        for link in &mut self.links {
            link.expire(now, &mut self.core);
            if reconnect {
                link.connect_again(self.poll.registry());
            }
        }
        self.live.publish(&mut self.core.tally, published);
        self.core.tally.flush()
    }

    fn is_over(&self, now: Instant) -> bool {
        let Plan { stop, timeout, reconnect, .. } = self.core.plan;
        if now >= stop {
            return now >= stop + timeout || !self.links.iter().any(Link::is_waiting);
        }
        let down = !reconnect && self.links.iter().all(Link::is_down);
        down || self.links.iter().all(Link::is_done)
    }

    /// How long the loop may sleep.
    fn pause(&mut self, now: Instant, next_tick: Instant) -> anyhow::Result<Duration> {
        let Plan { start, stop, pace, .. } = self.core.plan;
        let until = if now < stop { next_tick.min(stop) } else { next_tick };
        let mut pause = until.saturating_duration_since(now);
        if let (Some(pacer), Some(pace)) = (&mut self.pacer, pace) {
            let at = pace.due_at(start, self.due);
            if at < stop {
                pause = pacer.set(at, now)?.map_or(pause, |paced| paced.min(pause));
            }
        }
        Ok(pause)
    }
}
