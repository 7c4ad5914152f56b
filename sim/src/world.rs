//! One run: a disk, a broker that lives and dies on it, clients, and the books.
//!
//! In: a seed. Out: `Ok`, or the first broken promise.

use std::collections::BTreeSet;
use std::io;

use kerolox_engine::{Answer, Completion, Incoming, Message, Request};
use kerolox_log::disk::fault::Rng;
use kerolox_log::identity::Identity;

use crate::books::audit::{Audit, When};
use crate::books::settings::Group;
use crate::books::{Books, Duty};
use crate::broker::rounds::Rounds;
use crate::broker::{Broker, Job, own_origin};
use crate::campaign::Mode;
use crate::clients::{Around, Clients};
use crate::clock::Clock;
use crate::events::Events;
use crate::foresee::Foreseen;
use crate::plan::{Cheats, Durability, Plan};
use crate::seam::Seam;
use crate::violation::{Checked, ensure};

/// In runs that damage index blocks and snapshots one step in so many does.
const SPOIL_ONE_IN: u64 = 25;

/// See the module's documentation.
pub(crate) struct World<'e> {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) seam: Seam,
    pub(crate) clock: Clock,
    pub(crate) books: Books,
    pub(crate) clients: Clients,
    pub(crate) events: &'e mut Events,
    /// `None` between a crash and the next start.
    pub(crate) broker: Option<Broker>,
    /// What the next recovery must reach.
    pub(crate) duty: Duty,
    pub(crate) rounds: Rounds,
    /// Whose log it is, once it is made.
    pub(crate) identity: Option<Identity>,
    /// What the next recovery must find.
    pub(crate) foreseen: Foreseen,
    /// Bits of the log are flipped in this run.
    pub(crate) damaged: bool,
    /// Index blocks and snapshots are damaged.
    pub(crate) spoils: bool,
    /// Their positions.
    pub(crate) spoiled: BTreeSet<u64>,
    /// Older snapshots may not know what was deleted.
    pub(crate) snapshots_from: u64,
    /// Perhaps only one of these is left.
    pub(crate) last_snapshot: bool,
    /// The log ended here at a start after the damage: no later start may end it before.
    pub(crate) stands: u64,
    /// The power went since the broker did: nothing is left that a power cut can take.
    pub(crate) settled: bool,
    /// The number of the last start.
    pub(crate) last_start: u64,
}

impl<'e> World<'e> {
    /// `steps`: about how many in all.
    pub(crate) fn new(
        seed: u64,
        steps: u64,
        mode: Mode,
        cheats: Cheats,
        events: &'e mut Events,
    ) -> Self {
        // Once through the generator: neighbouring seeds must not give neighbouring runs.
        let mut rng = Rng(Rng(seed).next_u64());
        let mut plan = Plan::new(&mut rng, steps, cheats);
        let damage = mode == Mode::Damage;
        if mode != Mode::Power && rng.one_in(2) {
            plan.snapshot_after = 1 << 10;
        }
        events.add(|| format!("seed {seed}: {plan:?}"));
        World {
            clients: Clients::new(&mut rng),
            seam: Seam::new(cheats.lies),
            clock: Clock::new(),
            books: Books::default(),
            broker: None,
            duty: Duty::default(),
            rounds: Rounds::new(damage),
            identity: None,
            foreseen: Foreseen::default(),
            damaged: damage,
            spoils: mode == Mode::Spoil,
            spoiled: BTreeSet::new(),
            snapshots_from: 0,
            last_snapshot: false,
            stands: 0,
            settled: true,
            last_start: 0,
            rng,
            plan,
            events,
        }
    }

    /// The clients, and everything that they look at; `None` while no broker runs.
    fn clients_and_around(&mut self) -> Option<(&mut Clients, Around<'_>)> {
        let World { broker, clients, rng, books, clock, plan, events, .. } = self;
        let broker = broker.as_mut()?;
        Some((clients, Around { rng, books, broker, clock, plan, events }))
    }

    /// One step of a life, as the seed chooses.
    pub(crate) fn step(&mut self) -> Checked {
        if self.spoils && self.rng.one_in(SPOIL_ONE_IN) {
            self.make_blocks()?;
            self.spoil_one();
        }
        match self.rng.below(100) {
            0..40 => self.turn(),
            40..75 => self.log_step(),
            75..88 => self.pass_time(),
            88..96 => self.read_one(),
            _ => self.housekeep(),
        }
    }

    /// A shard hands over a batch of requests.
    pub(crate) fn turn(&mut self) -> Checked {
        for _ in 0..1 + self.rng.below(self.plan.turn_max) {
            let Some((clients, mut around)) = self.clients_and_around() else { return Ok(()) };
            if let Some(incoming) = clients.ask(&mut around)? {
                self.handle(incoming)?;
            }
            self.take_output((u64::MAX, 0))?;
        }
        Ok(())
    }

    /// Hands one request to the engine.
    fn handle(&mut self, incoming: Incoming) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let before = broker.engine.log.end().0;
        let made = match &incoming.request {
            Request::Pull(pull) => Some(pull.consumer_group.to_string()),
            Request::Heartbeat(beat) => {
                beat.consumer_data_set.first().map(|consumer| consumer.group_name.clone())
            }
            _ => None,
        };
        broker.engine.handle(incoming, self.clock.now(), &mut broker.out);
        let at = (before, broker.engine.log.confirm_at().0);
        if let Some(group) = made
            && !self.books.settings.groups.contains_key(&group)
            && broker.engine.state.groups.get(&group).is_some()
        {
            // Asking for a group makes it.
            let config = Group { group_name: group.clone(), ..Group::default() };
            self.books.group(&group, Some(&config), false, at);
        }
        self.take_output(at)
    }

    /// Distributes what a turn left behind. `at`: the ends of the log before and behind it.
    pub(crate) fn take_output(&mut self, at: (u64, u64)) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let out = std::mem::take(&mut broker.out);
        for (name, config) in &out.topics {
            self.books.topic(name, config.as_deref(), at);
            if config.is_none() {
                self.clients.topic_gone(name);
            }
        }
        broker.jobs.extend(out.loads.into_iter().map(Job::Load));
        for message in out.messages {
            let Message::Reply(Completion { origin, answer, confirm_at }) = message else {
                continue;
            };
            match answer {
                Answer::Now(reply) => {
                    let answer = Answer::Now(reply);
                    self.made(Completion { origin, answer, confirm_at }, at)?;
                }
                Answer::Later(work) => self.push_job(Job::Later { origin, work }),
                Answer::Steps(steps) => self.push_job(Job::Steps { origin, steps }),
                Answer::Cold(pull) => self.push_job(Job::Cold { origin, pull }),
            }
        }
        Ok(())
    }

    fn push_job(&mut self, job: Job) {
        if let Some(broker) = &mut self.broker {
            broker.jobs.push_back(job);
        }
    }

    /// A reply was made: it leaves, or waits for the watermark.
    fn made(&mut self, completion: Completion, at: (u64, u64)) -> Checked {
        let Some((clients, mut around)) = self.clients_and_around() else { return Ok(()) };
        if let Answer::Now(reply) = &completion.answer {
            clients.made(&completion, reply, at, &mut around)?;
        }
        let confirmed = around.broker.confirmed();
        match completion.confirm_at {
            Some(at) if at > confirmed => {
                around.broker.waiting.push_back(completion);
                Ok(())
            }
            _ => self.leave(completion),
        }
    }

    /// A reply leaves; without power none does.
    fn leave(&mut self, completion: Completion) -> Checked {
        if self.seam.is_off() {
            return Ok(());
        }
        let Some((clients, mut around)) = self.clients_and_around() else { return Ok(()) };
        let Answer::Now(reply) = &completion.answer else { return Ok(()) };
        clients.left(&completion, reply, &mut around)
    }

    /// Every reply that may leave does.
    fn deliver(&mut self) -> Checked {
        loop {
            let Some(broker) = &mut self.broker else { return Ok(()) };
            let confirmed = broker.confirmed();
            match broker.waiting.front() {
                Some(first) if first.confirm_at.is_none_or(|at| at <= confirmed) => {}
                _ => return Ok(()),
            }
            if let Some(completion) = broker.waiting.pop_front() {
                self.leave(completion)?;
            }
        }
    }

    /// The log thread goes on: writes what it took, syncs, or tells and takes.
    pub(crate) fn log_step(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        if broker.has_failed() {
            return if self.rng.one_in(4) { broker.insist() } else { self.tick() };
        }
        let marks = broker.watermarks();
        let lazy = match self.plan.durability {
            Durability::Sync => self.plan.sync_one_in,
            Durability::Async => 8,
        };
        if broker.has_rounds() && !self.rng.one_in(8) {
            return self.write();
        }
        if marks.flushed < marks.written && self.rng.one_in(lazy) {
            return self.sync();
        }
        if self.rng.one_in(4) {
            return self.take();
        }
        self.confirm()?;
        if self.rng.one_in(4) { Ok(()) } else { self.take() }
    }

    pub(crate) fn write(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let written = broker.write();
        self.events.add(|| format!("written to {} {written:?}", broker.watermarks().written));
        self.expected_failure(written)
    }

    pub(crate) fn sync(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        self.seam.take_synced();
        let synced = broker.sync();
        // No crash can tell the order: a disk may keep what was not synced. So it is looked at.
        let order = self.seam.take_synced();
        ensure!(order.is_sorted(), "not the older file first: {order:?}");
        self.events.add(|| format!("synced to {} {synced:?}", broker.watermarks().flushed));
        self.expected_failure(synced)
    }

    /// A write or sync may fail because the disk does, not because it was asked for nonsense.
    fn expected_failure(&self, result: io::Result<()>) -> Checked {
        let Err(e) = result else { return Ok(()) };
        let expected = self.seam.is_off() || e.raw_os_error().is_some();
        ensure!(expected, "writing the log failed: {e}");
        Ok(())
    }

    /// The log thread tells the engine what is confirmed; replies leave.
    pub(crate) fn confirm(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        if broker.confirm() {
            self.events.add(|| format!("confirmed to {}", broker.confirmed()));
        }
        self.take_output((u64::MAX, 0))?;
        self.deliver()
    }

    /// The log thread ticks and takes what there is to write.
    pub(crate) fn take(&mut self) -> Checked {
        self.tick()?;
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let known = broker.rounds.all().len();
        broker.take(&self.clock)?;
        for round in &broker.rounds.all()[known..] {
            self.books.messages.check_boundary(round.begin)?;
        }
        Ok(())
    }

    /// Does what time alone asks for.
    fn tick(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let before = broker.engine.log.end().0;
        broker.tick(&self.clock);
        let behind = broker.engine.log.confirm_at().0;
        if broker.takes_changes() {
            self.books.commits.ticked(self.clock.elapsed(), behind);
        }
        self.take_output((before, behind))
    }

    /// Time passes, now and then backwards for whoever looks at the wall clock.
    fn pass_time(&mut self) -> Checked {
        let ms = [1, 5, 20, 200, 1_200][self.rng.below(5) as usize];
        self.clock.advance(ms);
        if self.plan.clock_steps && self.rng.one_in(40) {
            let back = 1 + self.rng.below(20_000) as i64;
            self.events.add(|| format!("the clock is set back by {back} ms"));
            self.clock.step_back(back);
            self.books.commits.clock_stepped(self.clock.elapsed());
            // The server ticks every 20 ms: a step does not stay unseen for a second.
            return self.tick();
        }
        if self.rng.one_in(2) { self.tick() } else { Ok(()) }
    }

    /// A disk reader does one piece of work.
    pub(crate) fn read_one(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let Some(job) = broker.jobs.pop_front() else { return Ok(()) };
        let (origin, reply) = match job {
            Job::Later { origin, work } => (origin, work()),
            Job::Steps { origin, mut steps } => (origin, broker.run(&mut steps)),
            Job::Cold { origin, pull } => (origin, pull.read(&broker.engine.blocks).reply),
            Job::Load(load) => {
                let (answers, _) = load.read(&broker.engine.blocks);
                let request = Request::Loaded { token: load.token, answers };
                return self.handle(Incoming { origin: own_origin(true), request });
            }
        };
        let answer = Answer::Now(reply);
        self.leave(Completion { origin, answer, confirm_at: None })
    }

    /// Housekeeping does one thing.
    fn housekeep(&mut self) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        match self.rng.below(4) {
            0 if !broker.has_failed() => broker.make_room(),
            0 => {}
            1 => broker.watch_space(),
            2 => self.make_blocks()?,
            _ => {
                let Broker { engine, files, housekeeping, .. } = broker;
                let confirmed = engine.confirmed();
                let deleted = housekeeping.delete_oldest(engine, files, confirmed);
                if housekeeping.retired > self.books.floor {
                    self.books.floor = housekeeping.retired;
                    self.snapshots_from = housekeeping.keeper.position().0;
                }
                self.events.add(|| format!("retention: {deleted:?}"));
                let broken = self.seam.is_off() || deleted.is_ok();
                let failing = deleted.is_err_and(|e| e.raw_os_error().is_some());
                ensure!(broken || failing, "the oldest file cannot be deleted");
            }
        }
        Ok(())
    }

    /// Housekeeping makes an index block, if there is a finished stretch.
    pub(crate) fn make_blocks(&mut self) -> Checked {
        let Some(Broker { engine, housekeeping, .. }) = &mut self.broker else { return Ok(()) };
        let made = housekeeping.make_block(engine);
        let at = housekeeping.keeper.position();
        self.events.add(|| format!("index blocks up to {at}: {made:?}"));
        let fine = self.seam.is_off() || made.is_ok();
        let failing = made.as_ref().is_err_and(|e| e.raw_os_error().is_some());
        ensure!(fine || failing, "no index block can be made: {made:?}");
        Ok(())
    }

    /// Compares everything.
    pub(crate) fn audit(&mut self, when: When) -> Checked {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        Audit { books: &mut self.books, broker, clock: &self.clock, when }.run()
    }
}
