//! The log thread: fetches rounds from the core, writes and syncs them, moves the watermark. A
//! free-running group commit: what comes while one sync runs goes into the next.
//!
//! In: the core's open round. Out: bytes on the disk, confirmed positions.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::{Duration, Instant};

use kerolox_engine::Output;
use kerolox_engine::turn::Closed;
use kerolox_log::append::Round;
use kerolox_log::flush::Writer;
use parking_lot::{Condvar, Mutex};

use crate::core::{Core, Shared};
use crate::limits::{IDLE_TICK_MS, IN_FLIGHT_MAX, OVERLOAD_MS, TICK_MS};
use crate::options::Durability;

/// How the log thread is woken.
#[derive(Default)]
pub struct LogSignal {
    pending: Mutex<bool>,
    woken: Condvar,
}

impl LogSignal {
    /// There is something to write.
    pub fn wake(&self) {
        let mut pending = self.pending.lock();
        if !std::mem::replace(&mut *pending, true) {
            self.woken.notify_one();
        }
    }

    fn wait(&self, at_most: Duration) {
        let mut pending = self.pending.lock();
        if !*pending {
            self.woken.wait_for(&mut pending, at_most);
        }
        *pending = false;
    }
}

/// See the module's documentation.
pub struct Logger {
    shared: Arc<Shared>,
    writer: Writer,
    durability: Durability,
    housekeeping: Thread,
    last_tick: Instant,
    /// Nothing waits for its time.
    quiet: bool,
    last_sync: Instant,
    last_round: Instant,
    /// The last round was a seal that says that all is flushed: nothing follows it while idle.
    settled: bool,
    overloaded_since: Option<i64>,
    clock_behind: bool,
    waits_for_room: bool,
}

/// A machine's clock this far behind the broker's is reported, in ms.
const CLOCK_BEHIND_MS: i64 = 1_000;

/// After this long without a round a last seal is written.
const SETTLE: Duration = Duration::from_secs(1);

impl Logger {
    /// Goes on where `writer` is. `housekeeping` is woken when the log needs room.
    pub fn new(
        shared: Arc<Shared>,
        writer: Writer,
        durability: Durability,
        housekeeping: Thread,
    ) -> Logger {
        let now = Instant::now();
        Logger {
            shared,
            writer,
            durability,
            housekeeping,
            last_tick: now,
            quiet: false,
            last_sync: now,
            last_round: now,
            settled: false,
            overloaded_since: None,
            clock_behind: false,
            waits_for_room: false,
        }
    }

    /// Runs until the server stops; then writes and syncs what is left.
    pub fn run(mut self) {
        let mut rounds = VecDeque::new();
        loop {
            if rounds.is_empty() {
                if self.is_stopping() {
                    self.stop();
                    return;
                }
                let at_most = if self.quiet { IDLE_TICK_MS } else { TICK_MS };
                self.shared.log.wait(Duration::from_millis(at_most));
                rounds = self.fetch();
            }
            if self.shared.failed().is_some() {
                // Housekeeping found that the disk fails.
                self.idle();
                return;
            }
            match self.write(&rounds) {
                Ok(false) => {}
                Ok(true) => rounds = self.confirm(),
                Err(e) if self.writer.can_try_again() && !self.is_stopping() => {
                    self.wait_for_room(&e);
                }
                Err(e) => {
                    self.fail(&e);
                    return;
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// The log was faster than housekeeping, which reserves room and refuses sends where there is
    /// none; or too many files are open. Nothing is known to be lost: the same bytes are written again when there is room.
    fn wait_for_room(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.waits_for_room, true) {
            tracing::error!(%error, "the log cannot be written now: what was not acknowledged yet waits until it can");
        }
        self.shared.log.wait(Duration::from_millis(TICK_MS));
        let shared = self.shared.clone();
        shared.with_core(|core, out| self.tick_if_due(core, out));
    }

    /// Takes what there is to write, between two turns.
    fn fetch(&mut self) -> VecDeque<Round> {
        let shared = self.shared.clone();
        shared.with_core(|core, out| {
            self.tick_if_due(core, out);
            self.take(core)
        })
    }

    /// Says it when the machine's clock was set back.
    fn watch_clock(&mut self) {
        let behind = self.shared.clock.ahead_ms();
        let reported = std::mem::replace(&mut self.clock_behind, behind > CLOCK_BEHIND_MS);
        if self.clock_behind && !reported {
            tracing::warn!(
                behind_ms = behind,
                "the machine's clock was set back: the broker's goes on at half speed until the other has caught up"
            );
        }
    }

    fn take(&mut self, core: &mut Core) -> VecDeque<Round> {
        let mut rounds = core.engine.log.take_rounds();
        let behind = self.writer.watermarks();
        let unflushed = behind.flushed < behind.written;
        self.quiet = !unflushed && !core.engine.waits_for_time();
        if rounds.is_empty() && !self.settled && !unflushed && self.last_round.elapsed() >= SETTLE {
            rounds = core.engine.log.take_last_seal();
            self.settled = true;
        } else if !rounds.is_empty() {
            self.settled = false;
        }
        if !rounds.is_empty() {
            self.last_round = Instant::now();
        }
        for round in &rounds {
            core.engine.tail.push(round);
        }
        rounds
    }

    fn tick_if_due(&mut self, core: &mut Core, out: &mut Output) {
        if self.last_tick.elapsed() < Duration::from_millis(TICK_MS) {
            return;
        }
        self.last_tick = Instant::now();
        let now = self.shared.clock.now_ms();
        core.tick(now, out);
        self.watch_load(core, now);
        self.watch_clock();
    }

    /// Only when requests have waited for room too long are sends refused.
    fn watch_load(&mut self, core: &mut Core, now: i64) {
        let in_flight = self.shared.in_flight.load(Ordering::Relaxed);
        if in_flight >= IN_FLIGHT_MAX {
            let since = *self.overloaded_since.get_or_insert(now);
            if now - since >= OVERLOAD_MS && core.engine.closed().is_none() {
                let why = format!(
                    "{} MiB of requests wait for the disk for over a second; the broker takes sends again when they are written",
                    in_flight >> 20
                );
                tracing::warn!(in_flight, "overloaded: sends are refused");
                core.engine.set_closed(Some(Closed::Busy(why)));
            }
        } else if in_flight < IN_FLIGHT_MAX / 2 {
            self.overloaded_since = None;
            if matches!(core.engine.closed(), Some(Closed::Busy(_))) {
                core.engine.set_closed(None);
            }
        }
    }

    /// Writes rounds, and syncs if it is time to. True if a watermark moved.
    fn write(&mut self, rounds: &VecDeque<Round>) -> io::Result<bool> {
        let before = self.writer.watermarks();
        let counters = &self.shared.counters;
        if !rounds.is_empty() {
            self.writer.write(rounds)?;
            self.waits_for_room = false;
            if self.writer.is_low() {
                self.housekeeping.unpark();
            }
            let bytes: usize = rounds.iter().map(|round| round.bytes.len()).sum();
            let seals: usize = rounds.iter().map(|round| round.seal_bytes).sum();
            counters.rounds.fetch_add(rounds.len() as u64, Ordering::Relaxed);
            counters.log_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            counters.seal_bytes.fetch_add(seals as u64, Ordering::Relaxed);
        }
        let due = match self.durability {
            Durability::Sync => true,
            Durability::Async { interval_ms } => {
                self.last_sync.elapsed() >= Duration::from_millis(interval_ms)
            }
        };
        let marks = self.writer.watermarks();
        if due && marks.flushed < marks.written {
            self.writer.sync()?;
            self.last_sync = Instant::now();
            counters.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.writer.watermarks() != before)
    }

    /// Tells the engine what is confirmed, and takes the next rounds in the same breath.
    fn confirm(&mut self) -> VecDeque<Round> {
        let marks = self.writer.watermarks();
        let confirmed = match self.durability {
            Durability::Sync => marks.flushed,
            Durability::Async { .. } => marks.written,
        };
        let moved = confirmed > self.shared.confirmed();
        let shared = self.shared.clone();
        let rounds = shared.with_core(|core, out| {
            core.engine.log.set_flushed(marks.flushed);
            if moved {
                core.engine.confirm(confirmed, out);
            }
            self.tick_if_due(core, out);
            self.take(core)
        });
        if moved {
            shared.set_confirmed(confirmed);
        }
        rounds
    }

    /// The last turn: everything that waits is answered, written and synced.
    fn stop(&mut self) {
        let shared = self.shared.clone();
        let rounds = shared.with_core(|core, out| {
            core.engine.stop(out);
            self.take(core)
        });
        let flushed = self.write(&rounds).and_then(|_| self.writer.sync()).and_then(|()| {
            // What arrived meanwhile stands before the last seal, which says that all before these
            // is flushed.
            let mut last = self.confirm();
            last.extend(shared.with_core(|core, _| core.engine.log.take_last_seal()));
            self.writer.write(&last)?;
            self.writer.sync()
        });
        match flushed {
            // What arrives from now on is not written, and not acknowledged.
            Ok(()) => drop(self.confirm()),
            Err(e) => self.fail(&e),
        }
    }

    /// Nothing is acknowledged any more: what the disk holds is not known.
    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "writing the log failed: nothing is acknowledged until a restart");
        let why = format!("Writing the commit log failed: {error}.");
        self.shared.fail(why);
        self.idle();
    }

    /// After a failure nothing is written any more, but time goes on: pulls are answered.
    fn idle(&mut self) {
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.shared.log.wait(Duration::from_millis(TICK_MS));
            let shared = self.shared.clone();
            shared.with_core(|core, out| self.tick_if_due(core, out));
        }
        self.shared.with_core(|core, out| core.engine.stop(out));
    }
}

#[cfg(test)]
mod tests;
