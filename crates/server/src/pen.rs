//! Who holds the pen writes the log.
//!
//! In: rounds of the core. Out: bytes in the files, and watermarks. Mostly the log thread
//! ([`crate::logger`]) holds it. Under `ASYNC_FLUSH` a turn takes it where it lies free, and writes a small round itself:
//! the replies then leave without having waited for another thread. Large rounds, which the kernel may make wait, and
//! all syncs are left to the log thread.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kerolox_log::PhysicalOffset;
use kerolox_log::append::{Appender, Round};
use kerolox_log::flush::{Unsynced, Writer};

use crate::core::{Core, ShellCounters};
use crate::limits::IN_TURN_MAX;
use crate::options::Durability;

/// After this long without a round a last seal is written.
const SETTLE: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub struct Pen {
    writer: Writer,
    durability: Durability,
    /// Taken from the core, and not written yet.
    rounds: VecDeque<Round>,
    last_round: Instant,
    last_sync: Instant,
    /// The last round was a seal that says that all is flushed: nothing follows it while idle.
    settled: bool,
    /// The log thread sleeps longer: nothing waits for its time.
    pub quiet: bool,
    /// Why a turn could not write; the log thread knows what to do about it.
    error: Option<io::Error>,
}

impl Pen {
    /// Goes on where `writer` is.
    pub fn new(writer: Writer, durability: Durability) -> Pen {
        let now = Instant::now();
        Pen {
            writer,
            durability,
            rounds: VecDeque::new(),
            last_round: now,
            last_sync: now,
            settled: false,
            quiet: false,
            error: None,
        }
    }

    /// Whether nothing waits to be written.
    pub fn is_idle(&self) -> bool {
        self.rounds.is_empty()
    }

    /// Whether something was written that is not synced.
    pub fn is_unflushed(&self) -> bool {
        let marks = self.writer.watermarks();
        marks.flushed < marks.written
    }

    /// How far the disk is flushed.
    pub fn flushed(&self) -> PhysicalOffset {
        self.writer.watermarks().flushed
    }

    /// What is confirmed, at the level that was promised.
    pub fn confirmed(&self) -> PhysicalOffset {
        let marks = self.writer.watermarks();
        match self.durability {
            Durability::Sync => marks.flushed,
            Durability::Async { .. } => marks.written,
        }
    }

    /// Whether housekeeping should write more zeros ahead.
    pub fn is_low(&self) -> bool {
        self.writer.is_low()
    }

    /// Whether a write that failed may be tried again.
    pub fn can_try_again(&self) -> bool {
        self.writer.can_try_again()
    }

    /// Whether a turn may write what it appended.
    pub fn is_for_turns(&self, log: &Appender) -> bool {
        matches!(self.durability, Durability::Async { .. })
            && self.rounds.is_empty()
            && log.is_open()
            && !log.has_closed()
            && log.open_bytes() <= IN_TURN_MAX
    }

    /// Takes what there is to write, between two turns, or a last seal when there has been nothing for a while.
    pub fn take(&mut self, core: &mut Core) {
        let mut rounds = core.engine.log.take_rounds();
        if !rounds.is_empty() {
            self.settled = false;
        } else if !self.settled && !self.is_unflushed() && self.last_round.elapsed() >= SETTLE {
            rounds = core.engine.log.take_last_seal();
            self.settled = true;
        }
        self.add(rounds, core);
    }

    /// Takes a seal, whatever there is.
    pub fn take_last_seal(&mut self, core: &mut Core) {
        let rounds = core.engine.log.take_last_seal();
        self.add(rounds, core);
    }

    fn add(&mut self, rounds: VecDeque<Round>, core: &mut Core) {
        if !rounds.is_empty() {
            self.last_round = Instant::now();
        }
        rounds.iter().for_each(|round| core.engine.tail.push(round));
        self.rounds.extend(rounds);
    }

    /// Writes what was taken. What could not be written stays, to be tried again.
    pub fn write(&mut self, counters: &ShellCounters) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.rounds.is_empty() {
            return Ok(());
        }
        self.writer.write(&self.rounds)?;
        let bytes: usize = self.rounds.iter().map(|round| round.bytes.len()).sum();
        let seals: usize = self.rounds.iter().map(|round| round.seal_bytes).sum();
        counters.rounds.fetch_add(self.rounds.len() as u64, Ordering::Relaxed);
        counters.log_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        counters.seal_bytes.fetch_add(seals as u64, Ordering::Relaxed);
        self.rounds.clear();
        Ok(())
    }

    /// A turn could not write: the log thread is told why.
    pub fn put_down(&mut self, error: io::Error) {
        self.error = Some(error);
    }

    /// What is to be synced now, if it is time to.
    pub fn due(&mut self) -> io::Result<Option<Unsynced>> {
        let due = match self.durability {
            Durability::Sync => true,
            Durability::Async { interval_ms } => {
                self.last_sync.elapsed() >= Duration::from_millis(interval_ms)
            }
        };
        if !due || !self.is_unflushed() {
            return Ok(None);
        }
        self.take_unsynced().map(Some)
    }

    /// What was written and is not synced.
    pub fn take_unsynced(&mut self) -> io::Result<Unsynced> {
        self.writer.take_unsynced()
    }

    /// How the sync went.
    pub fn synced(
        &mut self,
        unsynced: Unsynced,
        result: io::Result<()>,
        counters: &ShellCounters,
    ) -> io::Result<()> {
        self.writer.synced(unsynced, result)?;
        self.last_sync = Instant::now();
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
