//! The log thread: fetches rounds from the core, writes and syncs them, moves the watermark. A
//! free-running group commit: what comes while one sync runs goes into the next.
//!
//! In: the core's open round. Out: bytes on the disk, confirmed positions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kerolox_engine::Output;
use kerolox_engine::turn::Closed;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::core::{Core, Shared};
use crate::limits::{IDLE_TICK_MS, IN_FLIGHT_MAX, OVERLOAD_MS, TICK_MS};
use crate::pen::Pen;

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
    last_tick: Instant,
    overloaded_since: Option<i64>,
    clock_behind: bool,
    waits_for_room: bool,
}

/// A machine's clock this far behind the broker's is reported, in ms.
const CLOCK_BEHIND_MS: i64 = 1_000;

type HeldPen<'a> = MutexGuard<'a, Pen>;

impl Logger {
    /// Goes on where the pen is.
    pub fn new(shared: Arc<Shared>) -> Logger {
        let last_tick = Instant::now();
        Logger {
            shared,
            last_tick,
            overloaded_since: None,
            clock_behind: false,
            waits_for_room: false,
        }
    }

    /// Runs until the server stops; then writes and syncs what is left.
    pub fn run(mut self) {
        let shared = self.shared.clone();
        let mut pen = shared.pen.lock();
        loop {
            if pen.is_idle() {
                if self.is_stopping() {
                    self.stop(&mut pen);
                    return;
                }
                let at_most = Duration::from_millis(if pen.quiet { IDLE_TICK_MS } else { TICK_MS });
                MutexGuard::unlocked(&mut pen, || shared.log.wait(at_most));
                // Else a turn could not write what it took.
                if pen.is_idle() {
                    self.fetch(&mut pen);
                }
            }
            if shared.failed().is_some() {
                // Housekeeping found that the disk fails.
                self.idle();
                return;
            }
            match self.write(&mut pen) {
                Ok(false) => {}
                Ok(true) => self.confirm(&mut pen),
                Err(e) if pen.can_try_again() && !self.is_stopping() => self.wait_for_room(&e),
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

    /// Takes what there is to write.
    fn fetch(&mut self, pen: &mut Pen) {
        let shared = self.shared.clone();
        shared.with_core(|core, out| {
            self.tick_if_due(core, out);
            self.take(pen, core);
        });
    }

    fn take(&mut self, pen: &mut Pen, core: &mut Core) {
        pen.quiet = !pen.is_unflushed() && !core.engine.waits_for_time();
        pen.take(core);
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

    /// Writes, and syncs if it is time to. True if a watermark moved.
    fn write(&mut self, pen: &mut HeldPen<'_>) -> io::Result<bool> {
        let before = (pen.confirmed(), pen.flushed());
        let counters = &self.shared.counters;
        pen.write(counters)?;
        self.waits_for_room = false;
        if pen.is_low() {
            self.shared.wake_housekeeping();
        }
        if let Some(unsynced) = pen.due()? {
            // Meanwhile turns may write.
            let result = MutexGuard::unlocked(pen, || unsynced.sync());
            pen.synced(unsynced, result, counters)?;
        }
        Ok((pen.confirmed(), pen.flushed()) != before)
    }

    /// Tells the engine what is confirmed, and takes the next rounds in the same breath.
    fn confirm(&mut self, pen: &mut Pen) {
        let confirmed = pen.confirmed();
        let moved = confirmed > self.shared.confirmed();
        let shared = self.shared.clone();
        shared.with_core(|core, out| {
            core.engine.log.set_flushed(pen.flushed());
            if moved {
                core.engine.confirm(confirmed, out);
            }
            self.tick_if_due(core, out);
            self.take(pen, core);
        });
        if moved {
            shared.set_confirmed(confirmed);
        }
    }

    /// The last turn: everything that waits is answered, written and synced.
    fn stop(&mut self, pen: &mut Pen) {
        let shared = self.shared.clone();
        shared.with_core(|core, out| {
            core.engine.stop(out);
            pen.take(core);
        });
        let flushed = self.flush(pen).and_then(|()| {
            // What arrives meanwhile stands before the last seal, which says that all before these
            // is flushed.
            self.confirm(pen);
            shared.with_core(|core, _| {
                pen.take_last_seal(core);
                core.engine.set_closed(Some(Closed::Over));
            });
            self.flush(pen)
        });
        match flushed {
            // What arrives from now on is not written, and not acknowledged.
            Ok(()) => self.confirm(pen),
            Err(e) => self.fail(&e),
        }
    }

    /// Writes and syncs what was taken.
    fn flush(&self, pen: &mut Pen) -> io::Result<()> {
        let counters = &self.shared.counters;
        pen.write(counters)?;
        let unsynced = pen.take_unsynced()?;
        let result = unsynced.sync();
        pen.synced(unsynced, result, counters)
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
