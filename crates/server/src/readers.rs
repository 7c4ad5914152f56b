//! Work that is too long for a turn: cold reads, large answers. A few threads and two queues: what goes over
//! much of the state has a thread of its own, so that no consumer waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kerolox_engine::output::{ColdAnswer, Steps};
use kerolox_engine::{Answer, ColdPull, Completion, ConnectionId, Load, Origin, Request};
use kerolox_log::index::lookup::Blocks;
use kerolox_protocol::remoting::reply::Reply;
use parking_lot::{Condvar, Mutex};

use crate::condition::Question;
use crate::core::Shared;
use crate::limits::{LISTS_MAX, READS_HELD_MAX, READS_MAX};

/// One piece of work.
pub enum Job {
    Later { origin: Origin, work: Box<dyn FnOnce() -> Reply + Send> },
    Steps { origin: Origin, steps: Steps },
    Process { origin: Origin, question: Question },
    Cold { origin: Origin, pull: Box<ColdPull> },
    Load(Load),
}

/// The queues.
#[derive(Default)]
pub struct Readers {
    state: Mutex<State>,
    woken: Condvar,
    lists_woken: Condvar,
}

/// What a thread of the readers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Reads,
    Lists,
}

impl Job {
    /// Who waits for it.
    fn connection(&self) -> Option<ConnectionId> {
        match self {
            Job::Later { origin, .. }
            | Job::Steps { origin, .. }
            | Job::Process { origin, .. }
            | Job::Cold { origin, .. } => Some(origin.connection),
            Job::Load(_) => None,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Job::Steps { .. } => Kind::Lists,
            Job::Later { .. } | Job::Process { .. } | Job::Cold { .. } | Job::Load(_) => {
                Kind::Reads
            }
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    lists: VecDeque<Job>,
    /// Connections that do not read what is there for them already, and the work for them.
    held: HashMap<ConnectionId, Vec<Job>>,
    stopped: bool,
}

impl State {
    fn queue(&mut self, kind: Kind) -> &mut VecDeque<Job> {
        match kind {
            Kind::Reads => &mut self.jobs,
            Kind::Lists => &mut self.lists,
        }
    }
}

impl Readers {
    /// Adds work; false if there is too much of it. A [`Job::Load`] is always taken.
    pub fn push(&self, job: Job) -> bool {
        let mut state = self.state.lock();
        let (connection, kind) = (job.connection(), job.kind());
        let held = connection.and_then(|c| state.held.get(&c)).map_or(0, Vec::len);
        let max = if kind == Kind::Lists { LISTS_MAX } else { READS_MAX };
        let is_full = state.queue(kind).len() >= max || held >= READS_HELD_MAX;
        if connection.is_some() && is_full {
            return false;
        }
        state.queue(kind).push_back(job);
        match kind {
            Kind::Reads => self.woken.notify_one(),
            Kind::Lists => self.lists_woken.notify_one(),
        };
        true
    }

    /// A client does not read: what is to be read for it waits, and takes no memory.
    pub fn hold(&self, connection: ConnectionId) {
        self.state.lock().held.entry(connection).or_default();
    }

    /// The client reads again.
    pub fn release(&self, connection: ConnectionId) {
        let mut state = self.state.lock();
        for job in state.held.remove(&connection).unwrap_or_default() {
            state.queue(job.kind()).push_back(job);
        }
        self.woken.notify_all();
        self.lists_woken.notify_all();
    }

    /// The connection is gone, and with it the work for it.
    pub fn forget(&self, connection: ConnectionId) {
        self.state.lock().held.remove(&connection);
    }

    /// Lets the threads end.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.woken.notify_all();
        self.lists_woken.notify_all();
    }

    fn next(&self, kind: Kind) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            // Nobody is left who waits for a list.
            if state.stopped && kind == Kind::Lists {
                return None;
            }
            while let Some(job) = state.queue(kind).pop_front() {
                match job.connection().and_then(|c| state.held.get_mut(&c)) {
                    Some(held) => held.push(job),
                    None => return Some(job),
                }
            }
            if state.stopped {
                return None;
            }
            match kind {
                Kind::Reads => self.woken.wait(&mut state),
                Kind::Lists => self.lists_woken.wait(&mut state),
            }
        }
    }
}

/// The body of a reader thread.
pub fn run(shared: &Arc<Shared>, blocks: &Blocks, kind: Kind) {
    let report = |error: &dyn std::fmt::Display| {
        shared.counters.damaged_reads.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "a stored message cannot be read");
    };
    while let Some(job) = shared.readers.next(kind) {
        match job {
            Job::Later { origin, work } => send(shared, origin, work()),
            Job::Steps { origin, mut steps } => {
                let work = shared.run_steps(&mut steps);
                send(shared, origin, work());
            }
            Job::Process { origin, question } => send(shared, origin, question.answer(shared)),
            Job::Cold { origin, pull } => {
                let (topic, group) = (pull.topic, pull.group.clone());
                let ColdAnswer { reply, messages, bytes, errors } = pull.read(blocks);
                errors.iter().for_each(|error| report(error));
                send(shared, origin, reply);
                if messages > 0 {
                    let served = Request::Served { topic, group, messages, bytes };
                    shared.submit_own(ConnectionId(0), served);
                }
            }
            Job::Load(load) => {
                let (answers, errors) = load.read(blocks);
                errors.iter().for_each(|error| report(error));
                let request = Request::Loaded { token: load.token, answers };
                shared.submit_own(ConnectionId(0), request);
            }
        }
    }
}

fn send(shared: &Shared, origin: Origin, reply: Reply) {
    shared.reply(Completion { origin, answer: Answer::Now(reply), confirm_at: None });
}
