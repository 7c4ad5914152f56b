//! What a worker counts, and what the watching thread sees of it while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::ledger::{Ack, Writer};
use crate::set::Set;
use crate::stats::Latencies;

/// One worker's counts. Latencies are handed to [`Live`] at every tick.
#[derive(Debug)]
pub(crate) struct Tally {
    measured_from: Instant,
    stop: Instant,
    ledger: Option<Writer>,
    /// What was acknowledged, for a consumer in the same process.
    pub(crate) noted: Option<Noted>,
    /// Reported at the next [`Tally::flush`].
    ledger_error: Option<std::io::Error>,
    pub(crate) latencies: Latencies,
    pub(crate) sent: u64,
    /// Answered with code 0, in all.
    pub(crate) acknowledged: u64,
    /// Of those, within the measured time.
    pub(crate) measured: u64,
    /// Answered with another code.
    pub(crate) errors: BTreeMap<i32, u64>,
    /// Not answered: connection lost, timed out, or still open at the end.
    pub(crate) unacknowledged: u64,
    /// Of those, timed out.
    pub(crate) timed_out: u64,
    /// Answered after their timeout, or never asked.
    pub(crate) stray_replies: u64,
    /// Due in an open loop, but there was no connection, or the run was over.
    pub(crate) not_sent: u64,
    pub(crate) connections_lost: u64,
    pub(crate) reconnected: u64,
    /// Why the last connection was lost.
    pub(crate) last_loss: Option<String>,
}

impl Tally {
    pub(crate) fn new(
        measured_from: Instant,
        stop: Instant,
        ledger: Option<Writer>,
        noted: Option<Noted>,
    ) -> Self {
        Tally {
            measured_from,
            stop,
            ledger,
            noted,
            ledger_error: None,
            latencies: Latencies::default(),
            sent: 0,
            acknowledged: 0,
            measured: 0,
            errors: BTreeMap::new(),
            unacknowledged: 0,
            timed_out: 0,
            stray_replies: 0,
            not_sent: 0,
            connections_lost: 0,
            reconnected: 0,
            last_loss: None,
        }
    }

    /// A request with `count` messages was acknowledged at `now`, `latency` after it was, or should
    /// have been, sent.
    pub(crate) fn acknowledge(&mut self, latency: Duration, now: Instant, count: u32) {
        self.acknowledged += u64::from(count);
        if now >= self.measured_from {
            if now < self.stop {
                self.measured += u64::from(count);
            }
            // What was sent before the stop counts, however late its answer.
            self.latencies.record(latency);
        }
    }

    /// Whether [`Tally::note`] is to be told each message.
    pub(crate) fn keeps_books(&self) -> bool {
        self.ledger.is_some() || self.noted.is_some()
    }

    /// Notes an acknowledged message in the books.
    pub(crate) fn note(&mut self, ack: &Ack) {
        if let Some(noted) = &mut self.noted {
            noted.acknowledged.insert(noted.run, ack.producer, ack.sequence);
        }
        if let Some(Err(e)) = self.ledger.as_mut().map(|ledger| ledger.add(ack)) {
            self.ledger_error = Some(e);
        }
    }

    /// Nothing is sent from `stop` on: earlier than was planned.
    pub(crate) fn stop_at(&mut self, stop: Instant) {
        self.stop = stop;
    }

    /// Writes what the ledger still holds in memory.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        let result = match (self.ledger_error.take(), &mut self.ledger) {
            (Some(e), _) => Err(e),
            (None, Some(ledger)) => ledger.flush(),
            (None, None) => Ok(()),
        };
        result.context("cannot write the ledger")
    }

    /// Adds another worker's counts.
    pub(crate) fn add(&mut self, other: &mut Tally) {
        self.latencies.take(&mut other.latencies);
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.measured += other.measured;
        for (code, n) in &other.errors {
            *self.errors.entry(*code).or_default() += n;
        }
        self.unacknowledged += other.unacknowledged;
        self.timed_out += other.timed_out;
        self.stray_replies += other.stray_replies;
        self.not_sent += other.not_sent;
        self.connections_lost += other.connections_lost;
        self.reconnected += other.reconnected;
        if let (Some(here), Some(there)) = (&mut self.noted, other.noted.take()) {
            here.acknowledged.take(there.acknowledged);
        }
        self.last_loss = other.last_loss.take().or(self.last_loss.take());
    }
}

/// What one run had acknowledged.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) run: u64,
    pub(crate) acknowledged: Set,
}

/// What all workers have done so far.
#[derive(Debug, Default)]
pub(crate) struct Live {
    acknowledged: AtomicU64,
    errors: AtomicU64,
    /// The run is to end before its time.
    stopped: AtomicBool,
    latencies: Mutex<Latencies>,
}

impl Live {
    /// Takes over what came since a worker's last tick, when it stood at `before`.
    pub(crate) fn publish(&self, tally: &mut Tally, before: &mut (u64, u64)) {
        let now = (tally.acknowledged, tally.errors.values().sum());
        self.acknowledged.fetch_add(now.0 - before.0, Ordering::Relaxed);
        self.errors.fetch_add(now.1 - before.1, Ordering::Relaxed);
        *before = now;
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.take(&mut tally.latencies);
    }

    /// Ends the run before its time.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn latencies(&self) -> Latencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A line about the second that passed since `before` messages.
    pub(crate) fn line(&self, elapsed: Duration, before: &mut u64) -> String {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let rate = acknowledged - std::mem::replace(before, acknowledged);
        let errors = self.errors.load(Ordering::Relaxed);
        let so_far = self.latencies.lock().unwrap_or_else(PoisonError::into_inner).summary();
        format!(
            "{:>4.0} s  {rate:>8} msg/s  p50 {} µs  p99 {} µs  p99.9 {} µs  errors {errors}",
            elapsed.as_secs_f64(),
            so_far.p50,
            so_far.p99,
            so_far.p99_9
        )
    }
}
