//! Work that is too long for a turn: cold reads, large answers. A few threads and a queue.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kerolox_engine::output::{ColdAnswer, Steps};
use kerolox_engine::{Answer, ColdPull, Completion, ConnectionId, Load, Origin, Request};
use kerolox_log::index::lookup::Blocks;
use kerolox_protocol::remoting::reply::Reply;
use parking_lot::{Condvar, Mutex};

use crate::core::Shared;
use crate::limits::{READS_HELD_MAX, READS_MAX};

/// One piece of work.
pub enum Job {
    Later { origin: Origin, work: Box<dyn FnOnce() -> Reply + Send> },
    Steps { origin: Origin, steps: Steps },
    Cold { origin: Origin, pull: Box<ColdPull> },
    Load(Load),
}

/// The queue.
#[derive(Default)]
pub struct Readers {
    state: Mutex<State>,
    woken: Condvar,
}

impl Job {
    /// Who waits for it.
    fn connection(&self) -> Option<ConnectionId> {
        match self {
            Job::Later { origin, .. } | Job::Steps { origin, .. } | Job::Cold { origin, .. } => {
                Some(origin.connection)
            }
            Job::Load(_) => None,
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Connections that do not read what is there for them already, and the work for them.
    held: HashMap<ConnectionId, Vec<Job>>,
    stopped: bool,
}

impl Readers {
    /// Adds work; false if there is too much of it. A [`Job::Load`] is always taken.
    pub fn push(&self, job: Job) -> bool {
        let mut state = self.state.lock();
        let connection = job.connection();
        let held = connection.and_then(|c| state.held.get(&c)).map_or(0, Vec::len);
        if connection.is_some() && (state.jobs.len() >= READS_MAX || held >= READS_HELD_MAX) {
            return false;
        }
        state.jobs.push_back(job);
        self.woken.notify_one();
        true
    }

    /// A client does not read: what is to be read for it waits, and takes no memory.
    pub fn hold(&self, connection: ConnectionId) {
        self.state.lock().held.entry(connection).or_default();
    }

    /// The client reads again.
    pub fn release(&self, connection: ConnectionId) {
        let mut state = self.state.lock();
        let held = state.held.remove(&connection).unwrap_or_default();
        state.jobs.extend(held);
        self.woken.notify_all();
    }

    /// The connection is gone, and with it the work for it.
    pub fn forget(&self, connection: ConnectionId) {
        self.state.lock().held.remove(&connection);
    }

    /// Lets the threads end.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.woken.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                match job.connection().and_then(|c| state.held.get_mut(&c)) {
                    Some(held) => held.push(job),
                    None => return Some(job),
                }
            }
            if state.stopped {
                return None;
            }
            self.woken.wait(&mut state);
        }
    }
}

/// The body of a reader thread.
pub fn run(shared: &Arc<Shared>, blocks: &Blocks) {
    let report = |error: &dyn std::fmt::Display| {
        shared.counters.damaged_reads.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "a stored message cannot be read");
    };
    while let Some(job) = shared.readers.next() {
        match job {
            Job::Later { origin, work } => send(shared, origin, work()),
            Job::Steps { origin, mut steps } => {
                let work = loop {
                    if let Some(work) = shared.with_core(|core, _| steps(&core.engine)) {
                        break work;
                    }
                };
                send(shared, origin, work());
            }
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
