//! A broker's lives: how each begins with a recovery and ends with a crash, a failing disk, or a
//! clean stop.
//!
//! In: the seed's choices. Out: crashes at every kind of moment, also during recovery itself and
//! several times in a row; after each start the books are compared.

use kerolox_log::disk::fault::Faults;
use kerolox_log::recover::Report;

use crate::books::Duty;
use crate::books::audit::When;
use crate::broker::start::{Started, start};
use crate::inspect::LogFiles;
use crate::plan::{DELAY_LEVELS_MS, Durability, fresh_identity};
use crate::seam::MoreFaults;
use crate::violation::{Checked, Violation, ensure};
use crate::world::World;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The power goes in the middle of a call of the disk.
    PowerInCall,
    /// The power goes between two calls.
    Power,
    /// The process is killed.
    Kill,
    /// Syncs fail, then the process is killed or the power goes.
    SyncFails,
    WriteFails,
    DirSyncFails,
    SizeFails,
    /// The disk has little room for a while.
    RoomEnds,
    Stop,
}

/// Starts that go wrong in a row.
const RESTARTS_MAX: u64 = 4;

impl World<'_> {
    /// The whole run of a seed, without damage.
    pub(crate) fn run(&mut self) -> Checked {
        for _ in 0..self.plan.lives {
            self.start()?;
            self.live()?;
        }
        self.start()?;
        self.some_steps()?;
        self.rest()?;
        self.stop_cleanly()?;
        self.start()?;
        self.rest()
    }

    fn choose_end(&mut self) -> End {
        match self.rng.below(20) {
            0..6 => End::PowerInCall,
            6..8 => End::Power,
            8..12 => End::Kill,
            12..14 => End::SyncFails,
            14 => End::WriteFails,
            15 => End::DirSyncFails,
            16 => End::SizeFails,
            17..19 => End::RoomEnds,
            _ => End::Stop,
        }
    }

    /// Lives for a while, then ends.
    fn live(&mut self) -> Checked {
        let end = self.choose_end();
        let steps = 1 + self.rng.below(2 * self.plan.steps);
        // Early and late, so that faults meet a broker that has just started, too.
        let breaks_at = self.rng.below(steps);
        self.events.add(|| format!("a life of {steps} steps, ends with {end:?}"));
        for step in 0..steps {
            if step == breaks_at {
                self.break_disk(end);
            }
            self.step()?;
            // Once the log has failed, little happens any more.
            let failed = self.broker.as_ref().is_some_and(|broker| broker.has_failed());
            if self.seam.is_off() || (failed && self.rng.one_in(15)) {
                break;
            }
            if end == End::RoomEnds && step > breaks_at && self.rng.one_in(60) {
                self.room_comes_back()?;
            }
        }
        let fails = matches!(
            end,
            End::SyncFails | End::WriteFails | End::DirSyncFails | End::SizeFails | End::RoomEnds
        );
        if end == End::Stop {
            return self.stop_cleanly();
        }
        let power = self.seam.is_off()
            || matches!(end, End::Power | End::PowerInCall)
            || (fails && self.rng.one_in(2));
        self.crash(power);
        Ok(())
    }

    fn break_disk(&mut self, end: End) {
        let rng = &mut self.rng;
        let mut faults = Faults::default();
        let mut more = MoreFaults::default();
        match end {
            End::PowerInCall => faults.power_off_in = Some(rng.below(20)),
            End::SyncFails => faults.fail_syncs = 1 + rng.below(3) as u32,
            End::WriteFails => faults.fail_writes = 1 + rng.below(2) as u32,
            End::DirSyncFails => more.fail_dir_syncs = 1 + rng.below(2) as u32,
            End::SizeFails => more.fail_sizes = 1 + rng.below(2) as u32,
            End::RoomEnds => faults.room = Some(rng.below(2 * self.plan.file_size)),
            End::Power | End::Kill | End::Stop => return,
        }
        self.events.add(|| format!("from now on {faults:?} {more:?}"));
        self.books.disk_fails = true;
        self.seam.set_faults(faults, more);
    }

    /// The disk has room again: messages are taken without a restart, unless the log had failed.
    fn room_comes_back(&mut self) -> Checked {
        self.seam.heal();
        let Some(broker) = &mut self.broker else { return Ok(()) };
        if broker.has_failed() {
            return Ok(());
        }
        self.events.add(|| "the disk has room again".to_owned());
        for _ in 0..100 {
            broker.make_room();
            broker.watch_space();
        }
        let (closed, end) = (broker.engine.closed(), broker.engine.log.disk_end());
        ensure!(
            closed.is_none() && end.is_none(),
            "the disk has room again, but sends are still refused: {closed:?}, {end:?}"
        );
        Ok(())
    }

    /// The broker is gone at once.
    pub(crate) fn crash(&mut self, power: bool) {
        if let Some(broker) = self.broker.take() {
            let marks = broker.watermarks();
            let synced = match self.plan.durability {
                Durability::Sync => broker.confirmed(),
                Durability::Async => marks.flushed,
            };
            self.duty = Duty {
                synced: synced.0,
                written: broker.confirmed().0,
                appended: self.duty.appended.max(broker.engine.log.confirm_at().0),
                ..Duty::default()
            };
            // What the open round would have taken with its seal, and the rest of its file.
            self.duty.appended += 2 * self.plan.file_size;
            self.identity = Some(broker.housekeeping.identity);
            self.rounds = broker.rounds;
            self.settled = false;
        }
        self.after_crash(power);
    }

    fn after_crash(&mut self, power: bool) {
        self.events.add(|| format!("crash, power {power}, {:?}", self.duty));
        self.duty.clean = false;
        self.settled |= power;
        if power {
            self.seam.power_cycle(&mut self.rng);
            self.duty.lossy |= self.plan.durability == Durability::Async;
        } else {
            self.seam.reopen();
        }
        self.clients.lost_connection(&mut self.rng, self.duty.lossy);
        let off = [0, 3, 500, 10_000][self.rng.below(4) as usize];
        self.clock.advance(off);
    }

    /// Starts the broker, perhaps after attempts that a fault ends, and compares the books.
    pub(crate) fn start(&mut self) -> Checked {
        let mut left = if self.rng.one_in(3) { 1 + self.rng.below(RESTARTS_MAX) } else { 0 };
        let mut seen: Option<(bool, LogFiles)> = None;
        if self.spoils && self.rng.one_in(2) {
            self.spoil_some();
        }
        let (before, started) = loop {
            let broken = left > 0;
            if broken {
                left -= 1;
                self.break_start();
            }
            let before = self.log_files();
            // What one attempt does must not change what the next one finds; a power cut may.
            if seen.as_ref().is_none_or(|(settled, _)| *settled != self.settled) {
                seen = Some((self.settled, before.clone()));
            }
            let fresh = fresh_identity(&mut self.rng);
            self.seam.set_recovering(true);
            let started = start(&self.seam, &self.plan, fresh, &self.clock);
            self.seam.set_recovering(false);
            match started {
                Ok(started) => break (before, started),
                Err(why) => {
                    self.events.add(|| format!("no start: {why}"));
                    ensure!(broken, "the broker does not start: {why}");
                    let power = self.seam.is_off() || self.rng.one_in(4);
                    self.after_crash(power);
                }
            }
        };
        let Started { broker, report, walked_from, oddities } = started;
        self.seam.heal();
        self.books.disk_fails = false;
        self.events.add(|| format!("started: {report:?}"));
        self.events.add(|| format!("snapshots and index blocks hold all before {walked_from}"));
        self.broker = Some(broker);
        let (_, seen) = seen.unwrap_or_default();
        self.foresee_start(&seen, walked_from);
        self.check_oddities(&oddities)?;
        self.check_start(&before, &report)?;
        self.audit(When::Started)
    }

    /// Something goes wrong while the broker starts.
    fn break_start(&mut self) {
        let rng = &mut self.rng;
        let mut faults = Faults::default();
        let mut more = MoreFaults::default();
        match rng.below(10) {
            0..6 => faults.power_off_in = Some(rng.below(12)),
            6 => faults.fail_syncs = 1 + rng.below(2) as u32,
            7 => faults.fail_writes = 1,
            8 => faults.room = Some(rng.below(3_000)),
            _ => more.fail_sizes = 1,
        }
        self.events.add(|| format!("the start is broken by {faults:?} {more:?}"));
        self.seam.set_faults(faults, more);
    }

    fn check_start(&mut self, before: &LogFiles, report: &Report) -> Checked {
        let after = self.log_files();
        let end = self.check_found((before, &after), report)?;
        self.books.recovered(end, &self.duty)?;
        ensure!(report.proof <= report.end, "the proof is behind the end: {report:?}");
        if !self.duty.lossy {
            // The number before may be lost with its round, if that was not confirmed.
            let rises = report.start >= self.last_start.max(1);
            ensure!(rises, "start {} after start {}", report.start, self.last_start);
        }
        self.last_start = report.start;
        ensure!(
            report.cut.is_none() || !self.duty.clean,
            "after a clean stop something is cut: {report:?}"
        );
        self.duty = Duty { appended: report.end.0, ..Duty::default() };
        self.check_files((before, &after), report)
    }

    /// Everything that waits is answered, written and synced; then the process ends.
    pub(crate) fn stop_cleanly(&mut self) -> Checked {
        self.seam.heal();
        let healthy = |world: &Self| world.broker.as_ref().is_some_and(|b| !b.has_failed());
        if !healthy(self) {
            self.crash(false);
            return Ok(());
        }
        if let Some(broker) = &mut self.broker {
            broker.stop();
        }
        self.take_output((u64::MAX, 0))?;
        self.flush_all()?;
        // What arrives while a stop is under way is handled, too.
        self.turn()?;
        self.flush_all()?;
        if let Some(broker) = &mut self.broker {
            broker.stop();
        }
        self.take_output((u64::MAX, 0))?;
        self.flush_all()?;
        if let Some(broker) = &mut self.broker {
            broker.take_last_seal()?;
        }
        self.write()?;
        self.sync()?;
        self.confirm()?;
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let end = broker.confirmed().0;
        ensure!(!broker.is_behind(), "a clean stop leaves something unwritten");
        self.books.promise(end, || "a clean stop".to_owned());
        if broker.takes_changes() {
            self.books.commits.stopped();
        }
        self.crash(false);
        self.duty.clean = true;
        Ok(())
    }

    /// Writes, syncs and confirms until nothing is left.
    pub(crate) fn flush_all(&mut self) -> Checked {
        for _ in 0..1_000 {
            self.take()?;
            if !self.broker.as_ref().is_some_and(|broker| broker.is_behind()) {
                return Ok(());
            }
            self.write()?;
            self.sync()?;
            self.confirm()?;
        }
        Err(Violation("the log never comes to rest".into()))
    }

    /// No more requests: every delay passes, every answer comes. Then everything is compared.
    pub(crate) fn rest(&mut self) -> Checked {
        let behind = self.clock.behind();
        let longest = DELAY_LEVELS_MS.iter().max().copied().unwrap_or(0);
        // Once each for what was waiting, and for what is given back no more.
        let steps = [1_100, longest + behind, 70_000 + behind, longest, 1_100];
        for ms in steps {
            self.clock.advance(ms);
            for _ in 0..20 {
                self.flush_all()?;
                while self.broker.as_ref().is_some_and(|broker| !broker.jobs.is_empty()) {
                    self.read_one()?;
                }
            }
        }
        let unanswered = self.clients.unanswered();
        ensure!(unanswered.is_empty(), "never answered: {unanswered:?}");
        if self.spoils {
            self.make_blocks()?;
            self.spoil_some();
        }
        self.audit(When::AtRest)
    }
}
