//! Engine and name server behind one lock, and the inbox in front of it.
//!
//! In: batches of requests from the shards. Out: log rounds for [`crate::logger`], replies for the
//! shards, work for [`crate::readers`]. A shard that finds the lock free runs the turn itself; the
//! others leave their batch in the inbox, which the holder empties before it lets go. So at low
//! load a request crosses no thread but the log's, and with `ASYNC_FLUSH` none at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use kerolox_engine::output::{Steps, Work};
use kerolox_engine::turn::Closed;
use kerolox_engine::{
    Answer, Completion, ConnectionId, Engine, Incoming, Message, Origin, Output, Request,
};
use kerolox_log::PhysicalOffset;
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::index::lookup::Blocks;
use kerolox_log::retention::Reason;
use kerolox_namesrv::{self as names, Names};
use kerolox_protocol::remoting::admin::perm;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::condition::Question;
use crate::decode::CoreRequest;
use crate::limits::STEPS_US;
use crate::logger::LogSignal;
use crate::options::{Options, Roles};
use crate::pen::Pen;
use crate::readers::{Job, Readers};
use crate::settings::{self, Settings};

/// The two state machines.
pub struct Core {
    pub engine: Engine,
    pub names: Names,
    pub settings: Settings,
    /// The machine's memory, in bytes.
    memory: u64,
    /// When the process began to serve, in ms since 1970.
    booted_ms: i64,
    /// Name servers of other processes are to be told.
    topics_changed: bool,
    output: Output,
    /// For the disk readers.
    questions: Vec<(Origin, Question)>,
}

/// The way to a shard.
#[derive(Default)]
pub struct ShardInbox {
    pub messages: Mutex<Vec<Message>>,
    pub notify: Notify,
    /// Some that the shard took wait for the watermark.
    pub waits: AtomicBool,
}

/// What all threads share.
pub struct Shared {
    pub clock: Clock,
    /// When the process began to serve, in ms since 1970.
    pub booted_ms: i64,
    core: Mutex<Core>,
    inbox: Mutex<Vec<CoreRequest>>,
    pub shards: Vec<Arc<ShardInbox>>,
    pub log: LogSignal,
    /// With the core held it may only be tried for: who writes takes the core, too.
    pub pen: Mutex<Pen>,
    housekeeping: OnceLock<Thread>,
    pub readers: Readers,
    files: Arc<Files>,
    /// What is confirmed: replies up to here may leave.
    confirmed: AtomicU64,
    failed: OnceLock<String>,
    /// Bytes of requests that are not answered yet.
    pub in_flight: AtomicUsize,
    /// Bytes of frames that did not arrive completely yet.
    pub unfinished: AtomicUsize,
    /// Connections.
    pub connections: AtomicUsize,
    /// What runs in this process.
    pub roles: Roles,
    /// `serverChannelMaxIdleTimeSeconds`
    pub idle: Duration,
    /// Counts changes of what name servers are told.
    pub topics_changed: watch::Sender<u64>,
    /// Name servers of other processes, and whether each knows of this broker.
    pub registered: Mutex<BTreeMap<String, bool>>,
    pub stopping: AtomicBool,
    /// Files whose time has come are deleted at any hour.
    pub delete_now: AtomicBool,
    pub ready: AtomicBool,
    pub counters: ShellCounters,
    pub blocks: Arc<Blocks>,
}

/// Since the process started.
#[derive(Debug, Default)]
pub struct ShellCounters {
    pub requests: AtomicU64,
    pub refused: AtomicU64,
    pub bad_frames: AtomicU64,
    pub panics: AtomicU64,
    pub syncs: AtomicU64,
    pub rounds: AtomicU64,
    pub log_bytes: AtomicU64,
    pub seal_bytes: AtomicU64,
    pub damaged_reads: AtomicU64,
    /// Log files that retention deleted, and their messages, by [`Reason`].
    pub deleted_files: [AtomicU64; Reason::ALL.len()],
    pub deleted_messages: [AtomicU64; Reason::ALL.len()],
}

/// Bits of a connection's number that hold its shard.
const SHARD_BITS: u32 = 8;

/// The number of a shard's `n`-th connection.
pub fn connection_id(shard: usize, n: u64) -> ConnectionId {
    ConnectionId(n << SHARD_BITS | shard as u64)
}

fn shard_of(connection: ConnectionId) -> usize {
    (connection.0 & ((1 << SHARD_BITS) - 1)) as usize
}

impl Shared {
    /// Puts everything together.
    pub fn new(
        engine: Engine,
        names: Names,
        settings: Settings,
        options: &Options,
        files: Arc<Files>,
    ) -> Shared {
        let confirmed = AtomicU64::new(engine.confirmed().0);
        let writer = Writer::new(files.clone(), engine.confirmed());
        let blocks = engine.blocks.clone();
        let clock = Clock::new(engine.log.store_timestamp());
        let booted_ms = clock.now_ms();
        let memory = rustix::system::sysinfo();
        let memory = memory.totalram as u64 * u64::from(memory.mem_unit);
        Shared {
            booted_ms,
            clock,
            blocks,
            core: Mutex::new(Core {
                engine,
                names,
                settings,
                memory,
                booted_ms,
                topics_changed: false,
                output: Output::default(),
                questions: Vec::new(),
            }),
            inbox: Mutex::new(Vec::new()),
            shards: (0..options.shards.clamp(1, 64)).map(|_| Arc::default()).collect(),
            log: LogSignal::default(),
            pen: Mutex::new(Pen::new(writer, options.durability)),
            housekeeping: OnceLock::new(),
            readers: Readers::default(),
            files,
            confirmed,
            failed: OnceLock::new(),
            in_flight: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            roles: options.roles,
            idle: options.idle,
            topics_changed: watch::Sender::new(0),
            registered: Mutex::default(),
            stopping: AtomicBool::new(false),
            delete_now: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            counters: ShellCounters::default(),
        }
    }

    /// Who makes room for the log.
    pub fn set_housekeeping(&self, thread: Thread) {
        self.housekeeping.get_or_init(|| thread);
    }

    /// The log needs room.
    pub fn wake_housekeeping(&self) {
        if let Some(thread) = self.housekeeping.get() {
            thread.unpark();
        }
    }

    /// The first position that is still in the log.
    pub fn log_first(&self) -> i64 {
        self.files.first().map_or(0, |first| first.0 as i64)
    }

    /// The log's files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What is confirmed.
    pub fn confirmed(&self) -> PhysicalOffset {
        PhysicalOffset(self.confirmed.load(Ordering::SeqCst))
    }

    /// Moves the watermark and wakes the shards where replies wait for it. A shard says that some wait,
    /// and then looks at the watermark once more; so one of both sees what the other did.
    pub fn set_confirmed(&self, confirmed: PhysicalOffset) {
        self.confirmed.store(confirmed.0, Ordering::SeqCst);
        for shard in self.shards.iter().filter(|shard| shard.waits.load(Ordering::SeqCst)) {
            shard.notify.notify_one();
        }
    }

    /// Hands in a batch. It is handled before this returns, or by the thread that holds the core.
    pub fn submit(&self, batch: &mut Vec<CoreRequest>) {
        self.inbox.lock().append(batch);
        // Whoever holds the core looks into the inbox after it let go: see `finish`.
        while let Some(core) = self.core.try_lock() {
            if self.finish(core) {
                return;
            }
        }
    }

    /// The log failed: nothing is acknowledged any more. What waits for the disk is answered with
    /// the reason.
    pub fn fail(&self, why: String) {
        self.with_core(|core, _| core.engine.set_closed(Some(Closed::Failed(why.clone()))));
        self.failed.get_or_init(|| why);
        for shard in &self.shards {
            shard.notify.notify_one();
        }
    }

    /// Why the log failed, if it did.
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Runs `f` on the core before the first turn.
    pub fn before_turns(&self, f: impl FnOnce(&mut Core)) {
        f(&mut self.core.lock());
    }

    /// Runs `f` on the core, between turns.
    pub fn with_core<T>(&self, f: impl FnOnce(&mut Core, &mut Output) -> T) -> T {
        let _guard = AbortOnPanic;
        let mut core = self.core.lock();
        let mut output = std::mem::take(&mut core.output);
        let result = f(&mut core, &mut output);
        core.output = output;
        if !self.finish(core) {
            self.submit(&mut Vec::new());
        }
        result
    }

    /// Looks at the engine's state step by step, between turns. Whoever waits for the core gets it in
    /// between.
    pub fn run_steps(&self, steps: &mut Steps) -> Work {
        loop {
            let core = self.core.lock();
            let begin = Instant::now();
            let found = {
                let _guard = AbortOnPanic;
                loop {
                    match steps(&core.engine) {
                        None if begin.elapsed() < Duration::from_micros(STEPS_US) => {}
                        found => break found,
                    }
                }
            };
            if !self.finish_with(core, MutexGuard::unlock_fair) {
                self.submit(&mut Vec::new());
            }
            if let Some(work) = found {
                return work;
            }
        }
    }

    /// Empties the inbox, hands out what came of it, and lets go. False if there is more.
    fn finish<'a>(&'a self, core: MutexGuard<'a, Core>) -> bool {
        self.finish_with(core, drop)
    }

    fn finish_with<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        let_go: impl FnOnce(MutexGuard<'a, Core>),
    ) -> bool {
        let _guard = AbortOnPanic;
        loop {
            let batch = std::mem::take(&mut *self.inbox.lock());
            if batch.is_empty() {
                break;
            }
            let now = self.clock.now_ms();
            for request in batch {
                core.handle(request, now);
            }
        }
        self.write_in_turn(&mut core);
        self.hand_out(&mut core);
        let work = core.engine.log.is_open() || core.engine.log.has_closed();
        let topics_changed = std::mem::take(&mut core.topics_changed);
        let_go(core);
        if topics_changed {
            self.topics_changed.send_modify(|changes| *changes += 1);
        }
        if work {
            self.log.wake();
        }
        self.inbox.lock().is_empty()
    }

    /// Writes what the turn appended, if turns may and nobody else does: see [`crate::pen`].
    fn write_in_turn(&self, core: &mut Core) {
        let Some(mut pen) = self.pen.try_lock() else { return };
        // Nothing follows the last seal of a stop.
        let is_over = self.failed().is_some() || self.stopping.load(Ordering::Acquire);
        if is_over || !pen.is_for_turns(&core.engine.log) {
            return;
        }
        pen.take(core);
        match pen.write(&self.counters) {
            Ok(()) => {
                let confirmed = pen.confirmed();
                core.engine.confirm(confirmed, &mut core.output);
                self.set_confirmed(confirmed);
                if pen.is_low() {
                    self.wake_housekeeping();
                }
            }
            Err(error) => {
                pen.put_down(error);
                self.log.wake();
            }
        }
        // It sleeps as if there was nothing to sync, and nothing that waits for its time.
        if std::mem::take(&mut pen.quiet) {
            self.log.wake();
        }
    }

    /// Distributes replies, pushes and reads. Under the lock, so that their order is the turn's.
    fn hand_out(&self, core: &mut Core) {
        let output = &mut core.output;
        let mut touched = 0u64;
        let mut to_shard = |message: Message| {
            let shard = shard_of(match &message {
                Message::Reply(completion) => completion.origin.connection,
                Message::Push(push) => push.connection,
            });
            if let Some(inbox) = self.shards.get(shard) {
                inbox.messages.lock().push(message);
                touched |= 1 << shard;
            }
        };
        for message in output.messages.drain(..) {
            let completion = match message {
                Message::Push(_) => {
                    to_shard(message);
                    continue;
                }
                Message::Reply(completion) => completion,
            };
            let Completion { origin, answer, confirm_at } = completion;
            let job = match answer {
                Answer::Now(_) => {
                    to_shard(Message::Reply(Completion { origin, answer, confirm_at }));
                    continue;
                }
                Answer::Later(work) => Job::Later { origin, work },
                Answer::Steps(steps) => Job::Steps { origin, steps },
                Answer::Cold(pull) => Job::Cold { origin, pull },
            };
            if !self.readers.push(job) {
                let remark = "[OVERLOAD]system busy, too many reads wait for the disk";
                let answer = Answer::Now(Reply::refuse(response::SYSTEM_BUSY, remark));
                to_shard(Message::Reply(Completion { origin, answer, confirm_at: None }));
            }
        }
        for (origin, question) in core.questions.drain(..) {
            if !self.readers.push(Job::Process { origin, question }) {
                let remark = "[OVERLOAD]system busy, too many reads wait for the disk";
                let answer = Answer::Now(Reply::refuse(response::SYSTEM_BUSY, remark));
                to_shard(Message::Reply(Completion { origin, answer, confirm_at: None }));
            }
        }
        for load in output.loads.drain(..) {
            // The engine bounds how many of these there are.
            self.readers.push(Job::Load(load));
        }
        for (i, shard) in self.shards.iter().enumerate() {
            if touched & (1 << i) != 0 {
                shard.notify.notify_one();
            }
        }
    }

    /// Sends a reply from outside a turn.
    pub fn reply(&self, completion: Completion) {
        if let Some(inbox) = self.shards.get(shard_of(completion.origin.connection)) {
            inbox.messages.lock().push(Message::Reply(completion));
            inbox.notify.notify_one();
        }
    }

    /// Hands in a request of the shell's own.
    pub fn submit_own(&self, connection: ConnectionId, request: Request) {
        let origin = own_origin(connection);
        self.submit(&mut vec![CoreRequest::Broker(Incoming { origin, request })]);
    }
}

/// Bits that routes may show of a topic's permission. One that allows all lets special ones through, too.
pub fn route_permission(broker: i32) -> i32 {
    const ALL: i32 = perm::READ | perm::WRITE;
    if broker & ALL == ALL { i32::MAX } else { broker }
}

/// A panic in the engine leaves a state that nobody can vouch for: the process ends.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a panic in the engine: the process ends, start it again");
            std::process::abort();
        }
    }
}

/// The origin of what no client sent.
fn own_origin(connection: ConnectionId) -> Origin {
    let nowhere = std::net::Ipv4Addr::UNSPECIFIED;
    Origin {
        connection,
        opaque: 0,
        form: Default::default(),
        oneway: true,
        language: 0,
        version: 0,
        peer: (nowhere, 0).into(),
        local_ip: nowhere.into(),
        cost: 0,
    }
}

impl Core {
    fn handle(&mut self, request: CoreRequest, now: i64) {
        match request {
            CoreRequest::Broker(incoming) => {
                if matches!(incoming.request, Request::Closed) {
                    self.broker_left(incoming.origin.connection);
                }
                self.engine.handle(incoming, now, &mut self.output);
            }
            CoreRequest::Names(origin, request) => self.handle_names(origin, request, now),
            CoreRequest::Process(origin, question) => self.questions.push((origin, question)),
            CoreRequest::Change { origin, names, body } => {
                self.change_settings(origin, names, &body, now);
            }
            #[cfg(debug_assertions)]
            CoreRequest::PanicInEngine(_) => panic!("asked for by a test"),
        }
        self.publish_topics();
    }

    /// The route table follows the engine's topics.
    pub fn publish_topics(&mut self) {
        self.topics_changed |= !self.output.topics.is_empty();
        for (name, config) in self.output.topics.drain(..) {
            match config {
                Some(config) => self.names.publish_topic(&config),
                None => self.names.retract_topic(&name),
            }
        }
    }

    /// Does what time alone asks for.
    pub fn tick(&mut self, now: i64, out: &mut Output) {
        self.engine.tick(now, out);
        for gone in self.names.expire(now as u64) {
            tracing::warn!(
                broker = gone.broker_name,
                id = gone.broker_id,
                address = gone.address,
                "broker sent no heartbeat, its routes are gone"
            );
        }
    }

    fn broker_left(&mut self, connection: ConnectionId) {
        for gone in self.names.connection_closed(connection.0) {
            tracing::warn!(
                broker = gone.broker_name,
                id = gone.broker_id,
                address = gone.address,
                "broker disconnected, its routes are gone"
            );
        }
    }

    /// 25, 318.
    fn change_settings(&mut self, origin: Origin, names: bool, body: &[u8], now: i64) {
        if self.engine.refuse_change(origin, &mut self.output) {
            return;
        }
        let checked = self.settings.check(body, names).and_then(|changes| {
            self.settings.fits(&changes, self.engine.log.file_size()).map(|()| changes)
        });
        let changes = match checked {
            Ok(changes) => changes,
            Err(refused) => {
                self.output.answer(origin, Answer::Now(refused.reply()), None);
                return;
            }
        };
        for (key, setting) in &changes {
            let value = setting.as_ref().map_or("what is configured", |setting| &setting.value);
            tracing::info!(key, value, peer = %origin.peer, "the configuration is changed");
        }
        let confirm_at = (!changes.is_empty()).then(|| self.engine.put_settings(&changes, now));
        self.settings.change(changes, now);
        self.apply_settings(now);
        self.output.answer(origin, Answer::Now(Reply::ok()), confirm_at);
    }

    /// Both state machines take up what holds now, and the route table what that makes of the topics.
    pub fn apply_settings(&mut self, now: i64) {
        let values = self.settings.now();
        let mut config = self.engine.config.clone();
        let permission = config.broker_permission;
        settings::fill_engine(&mut config, &values, self.memory);
        self.topics_changed |= config.broker_permission != permission;
        self.names.set_local_permission(route_permission(config.broker_permission));
        self.names.set_options(settings::names(&values, self.booted_ms));
        self.engine.set_config(config, now, &mut self.output);
        self.publish_topics();
    }

    fn handle_names(&mut self, origin: Origin, request: names::Request, now: i64) {
        let changes = matches!(request, names::Request::PutKv(_) | names::Request::DeleteKv(_));
        if changes && self.engine.refuse_change(origin, &mut self.output) {
            return;
        }
        let caller = names::Caller { connection: origin.connection.0, local_ip: origin.local_ip };
        let (answer, change) = self.names.handle(request, &caller, now as u64);
        if let Some(rival) = self.names.take_rival() {
            tracing::warn!(
                cluster = rival.cluster,
                broker = rival.broker_name,
                id = rival.broker_id,
                address = rival.address,
                other = rival.other,
                "two brokers with the same name and id take each other's place in routes: give each a brokerName of its own"
            );
        }
        let confirm_at = change.map(|change| {
            let value = change.value.as_deref();
            self.engine.put_kv(&change.namespace, &change.key, value, now)
        });
        let answer = match answer {
            names::Answer::Now(reply) => Answer::Now(reply),
            names::Answer::Later(work) => Answer::Later(work),
        };
        self.output.answer(origin, answer, confirm_at);
    }
}
