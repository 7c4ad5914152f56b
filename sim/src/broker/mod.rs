//! The broker as a shell drives it, on one thread: what the server's threads do, one step after
//! the other, in the order that the seed chooses.
//!
//! In: requests, the time, the next step of the log thread, of a disk reader, of housekeeping.
//! Out: the engine's output, and which replies may leave. Follows `server/src/logger.rs`,
//! `housekeeping.rs`, `readers.rs` and `core.rs`.

pub(crate) mod housekeeping;
pub(crate) mod rounds;
pub(crate) mod start;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use kerolox_engine::output::Steps;
use kerolox_engine::turn::Closed;
use kerolox_engine::{
    Answer, ColdPull, Completion, ConnectionId, Engine, Incoming, Load, Message, Origin, Output,
    Request,
};
use kerolox_log::PhysicalOffset;
use kerolox_log::append::Round;
use kerolox_log::files::Files;
use kerolox_log::flush::{Watermarks, Writer};
use kerolox_protocol::remoting::reply::Reply;

use crate::broker::housekeeping::Housekeeping;
use crate::broker::rounds::Rounds;
use crate::clock::Clock;
use crate::plan::Durability;
use crate::violation::{Checked, Violation, ensure};

/// Work for a disk reader.
pub(crate) enum Job {
    Later { origin: Origin, work: Box<dyn FnOnce() -> Reply + Send> },
    Steps { origin: Origin, steps: Steps },
    Cold { origin: Origin, pull: Box<ColdPull> },
    Load(Load),
}

/// See the module's documentation.
pub(crate) struct Broker {
    pub(crate) engine: Engine,
    pub(crate) files: Arc<Files>,
    pub(crate) housekeeping: Housekeeping,
    pub(crate) out: Output,
    /// Work that waits for a reader.
    pub(crate) jobs: VecDeque<Job>,
    /// Replies that wait for the watermark, in the order of the log.
    pub(crate) waiting: VecDeque<Completion>,
    /// Every round that was handed over, for the damage of later.
    pub(crate) rounds: Rounds,
    writer: Writer,
    durability: Durability,
    /// What is written counts as confirmed: broken on purpose.
    confirm_unsynced: bool,
    /// Handed over by the engine, not yet written.
    fetched: VecDeque<Round>,
    /// Replies up to here may leave.
    confirmed: PhysicalOffset,
    last_round: i64,
    /// The last round was a seal that says that all is flushed.
    settled: bool,
    failed: bool,
    /// It was a write or sync of the log that failed, not one ahead of it.
    writer_failed: bool,
}

/// After this long without a round a last seal is written, in ms.
const SETTLE_MS: i64 = 1_000;

impl Broker {
    /// What replies wait for.
    pub(crate) fn confirmed(&self) -> PhysicalOffset {
        self.confirmed
    }

    /// How far the log is.
    pub(crate) fn watermarks(&self) -> Watermarks {
        self.writer.watermarks()
    }

    /// Whether a write or sync of the log failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the log thread has anything to do.
    pub(crate) fn is_behind(&self) -> bool {
        let marks = self.writer.watermarks();
        let log = &self.engine.log;
        !self.fetched.is_empty()
            || marks.flushed < marks.written
            || log.is_open()
            || log.has_closed()
            || self.confirmed < marks.flushed
    }

    /// Whether rounds wait to be written.
    pub(crate) fn has_rounds(&self) -> bool {
        !self.fetched.is_empty()
    }

    /// Does what time alone asks for.
    pub(crate) fn tick(&mut self, clock: &Clock) {
        self.engine.tick(clock.now(), &mut self.out);
    }

    /// Takes what there is to write; after a second without anything, a last seal.
    pub(crate) fn take(&mut self, clock: &Clock) -> Checked {
        if self.failed {
            return Ok(());
        }
        let marks = self.writer.watermarks();
        let mut rounds = self.engine.log.take_rounds();
        let idle = clock.elapsed() - self.last_round >= SETTLE_MS;
        if !rounds.is_empty() {
            self.settled = false;
        } else if idle && !self.settled && self.fetched.is_empty() && marks.flushed == marks.written
        {
            rounds = self.engine.log.take_last_seal();
            self.settled = true;
        }
        if !rounds.is_empty() {
            self.last_round = clock.elapsed();
        }
        for round in &rounds {
            self.engine.tail.push(round);
            self.rounds.note(round)?;
        }
        self.fetched.extend(rounds);
        Ok(())
    }

    /// Writes what was taken.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let written = self.writer.write(&self.fetched);
        match &written {
            Ok(()) => self.fetched.clear(),
            // The disk is full and nothing else happened: it is tried again.
            Err(_) if self.writer.can_try_again() => {}
            Err(e) => {
                self.writer_failed = true;
                self.fail(e);
            }
        }
        written
    }

    /// Syncs what was written.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let synced = self.writer.sync();
        if let Err(e) = &synced {
            self.writer_failed = true;
            self.fail(e);
        }
        synced
    }

    /// Tells the engine what is confirmed. Returns whether that moved.
    pub(crate) fn confirm(&mut self) -> bool {
        if self.failed {
            return false;
        }
        let marks = self.writer.watermarks();
        let confirmed = match self.durability {
            Durability::Sync if !self.confirm_unsynced => marks.flushed,
            _ => marks.written,
        };
        self.engine.log.set_flushed(marks.flushed);
        self.rounds.set_flushed(marks.flushed);
        let moved = confirmed > self.confirmed;
        if moved {
            self.engine.confirm(confirmed, &mut self.out);
            self.confirmed = confirmed;
        }
        moved
    }

    /// Whether topics, groups, offsets and KV entries can change.
    pub(crate) fn takes_changes(&self) -> bool {
        let failed = matches!(self.engine.closed(), Some(Closed::Failed(_)));
        !failed && self.engine.log.has_room_for_changes()
    }

    /// Housekeeping writes ahead, or syncs what it wrote.
    pub(crate) fn make_room(&mut self) {
        if let Err(e) = self.housekeeping.make_room(&mut self.engine, &self.files) {
            self.fail(&e);
        }
    }

    /// Housekeeping looks how full the disk is.
    pub(crate) fn watch_space(&mut self) {
        self.housekeeping.watch_space(&mut self.engine, &self.files);
    }

    /// Nothing is acknowledged any more until a restart.
    fn fail(&mut self, error: &io::Error) {
        let why = format!("Writing the commit log failed: {error}.");
        self.engine.set_closed(Some(Closed::Failed(why)));
        self.failed = true;
    }

    /// After a failed write or sync nothing may be written or synced, whoever asks.
    pub(crate) fn insist(&mut self) -> Checked {
        if !self.writer_failed {
            return Ok(());
        }
        let marks = self.writer.watermarks();
        let refused = self.writer.write(&self.fetched).is_err() && self.writer.sync().is_err();
        ensure!(refused, "the log was written or synced after a failure");
        ensure!(marks == self.writer.watermarks(), "the watermarks moved after a failure");
        Ok(())
    }

    /// The last turn: every waiting pull is answered, every offset goes to the log.
    pub(crate) fn stop(&mut self) {
        self.engine.stop(&mut self.out);
    }

    /// Writes the seal that says that all before it is flushed.
    pub(crate) fn take_last_seal(&mut self) -> Checked {
        for round in self.engine.log.take_last_seal() {
            self.rounds.note(&round)?;
            self.fetched.push_back(round);
        }
        self.settled = true;
        Ok(())
    }

    /// Looks at the state step by step.
    pub(crate) fn run(&self, steps: &mut Steps) -> Reply {
        loop {
            if let Some(work) = steps(&self.engine) {
                return work();
            }
        }
    }

    /// Asks something that changes nothing and waits for the answer: a question of the books.
    pub(crate) fn ask(&mut self, request: Request, clock: &Clock) -> Checked<Reply> {
        let before = self.engine.log.confirm_at();
        let mut out = Output::default();
        let incoming = Incoming { origin: own_origin(false), request };
        self.engine.handle(incoming, clock.now(), &mut out);
        while let Some(load) = out.loads.pop() {
            let (answers, _) = load.read(&self.engine.blocks);
            let request = Request::Loaded { token: load.token, answers };
            let incoming = Incoming { origin: own_origin(true), request };
            self.engine.handle(incoming, clock.now(), &mut out);
        }
        ensure!(before == self.engine.log.confirm_at(), "a question changed the log");
        let answer = out.messages.pop();
        ensure!(out.messages.is_empty(), "a question was answered twice");
        match answer {
            Some(Message::Reply(Completion { answer: Answer::Now(reply), .. })) => Ok(reply),
            Some(Message::Reply(Completion { answer: Answer::Later(work), .. })) => Ok(work()),
            Some(Message::Reply(Completion { answer: Answer::Steps(mut steps), .. })) => {
                Ok(self.run(&mut steps))
            }
            Some(Message::Reply(Completion { answer: Answer::Cold(pull), .. })) => {
                Ok(pull.read(&self.engine.blocks).reply)
            }
            Some(Message::Push(_)) | None => Err(Violation("a question got no answer".into())),
        }
    }
}

/// The origin of what no client sent.
pub(crate) fn own_origin(oneway: bool) -> Origin {
    let nowhere = std::net::Ipv4Addr::LOCALHOST;
    Origin {
        connection: ConnectionId(0),
        opaque: 0,
        form: Default::default(),
        oneway,
        language: 0,
        version: 500,
        peer: (nowhere, 0).into(),
        local_ip: nowhere.into(),
        cost: 0,
    }
}
