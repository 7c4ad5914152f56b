//! What an engine should answer, in plain maps and vectors.
//!
//! In: steps. Out: the answers that leave with each. A *unit* is what one `Close` takes: its
//! messages become visible, and its replies leave, together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::{CLIENTS, DELAY_LEVELS_MS, Filter, GROUPS, PLAIN, Pull, Step, TAGS, TOPICS};

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Code(i32),
    Offset(i64),
    Sent { queue: i32, offset: i64 },
    Pulled { code: i32, next: i64, min: i64, max: i64, messages: Vec<Seen> },
    Body(Value),
}

/// A message as a consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) offset: i64,
    pub(crate) body: String,
    pub(crate) tag: String,
    pub(crate) times: i32,
    pub(crate) stored: i64,
}

/// Answers by request.
pub(crate) type Answers = BTreeMap<i32, Answer>;

#[derive(Debug, Clone)]
struct Message {
    body: String,
    tag: usize,
    times: i32,
    stored: i64,
    unit: u64,
    /// How often the process was started before: what was stored by an earlier one is cold.
    start: u64,
    /// Where a delayed message goes.
    target: (String, i32),
}

#[derive(Debug, Clone, Default)]
struct Topic {
    read: i32,
    write: i32,
    readable: bool,
    queues: BTreeMap<i32, Vec<Message>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Group {
    times_max: i32,
    retry_queues: i32,
}

/// Group, topic, queue.
type Place = (String, String, i32);

/// What survives the process.
#[derive(Debug, Clone, Default)]
struct Durable {
    topics: BTreeMap<String, Topic>,
    groups: BTreeMap<String, Group>,
    offsets: BTreeMap<Place, i64>,
    delayed: [Vec<Message>; DELAY_LEVELS_MS.len()],
    delivered: [usize; DELAY_LEVELS_MS.len()],
}

#[derive(Debug, Clone)]
struct Waiting {
    opaque: i32,
    topic: String,
    queue: i32,
    offset: i64,
    wanted: i32,
    tags: Vec<usize>,
    until: i64,
}

#[derive(Debug, Default)]
struct Members {
    /// Client → connection, last heartbeat.
    clients: BTreeMap<String, (u64, i64)>,
    /// Topic → version, tags.
    subscriptions: BTreeMap<String, (i64, Vec<usize>)>,
}

struct Lock {
    client: String,
    connection: u64,
    renewed: i64,
}

/// See the module's documentation.
pub(crate) struct Model {
    pub(crate) now: i64,
    durable: Durable,
    /// As it was when the last confirmed unit was taken.
    confirmed_state: Durable,
    confirmed: u64,
    /// Taken and not yet confirmed: number, and the state then.
    taken: VecDeque<(u64, Durable)>,
    open: u64,
    start: u64,
    offsets: BTreeMap<Place, i64>,
    dirty: BTreeSet<Place>,
    offsets_logged: i64,
    expired: i64,
    waiting: Vec<Waiting>,
    members: BTreeMap<String, Members>,
    locks: BTreeMap<(String, i32), Lock>,
    turn: u32,
    /// Unit of each request, of messages that wait for their acknowledgement.
    issued: BTreeMap<i32, u64>,
    messages: BTreeMap<i32, u64>,
}

const OFFSETS_INTERVAL_MS: i64 = 1_000;
const EXPIRY_INTERVAL_MS: i64 = 10_000;
const CLIENT_EXPIRY_MS: i64 = 120_000;
const LOCK_EXPIRY_MS: i64 = 60_000;
const WAIT_MS_MAX: i64 = 60_000;

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            now: 1_000_000,
            durable: Durable::default(),
            confirmed_state: Durable::default(),
            confirmed: 0,
            taken: VecDeque::new(),
            open: 1,
            start: 0,
            offsets: BTreeMap::new(),
            dirty: BTreeSet::new(),
            offsets_logged: 0,
            expired: 0,
            waiting: Vec::new(),
            members: BTreeMap::new(),
            locks: BTreeMap::new(),
            turn: 0,
            issued: BTreeMap::new(),
            messages: BTreeMap::new(),
        }
    }

    /// Requests whose messages wait to be confirmed, with their units.
    pub(crate) fn unconfirmed_messages(&self) -> Vec<(i32, u64)> {
        let waiting = self.messages.iter().filter(|(_, unit)| **unit > self.confirmed);
        waiting.map(|(opaque, unit)| (*opaque, *unit)).collect()
    }

    /// Whether what a request changed waits to be confirmed.
    pub(crate) fn is_unconfirmed(&self, opaque: i32) -> bool {
        self.issued.get(&opaque).is_some_and(|unit| *unit > self.confirmed)
    }

    /// Visible messages of a queue.
    pub(crate) fn visible(&self, topic: &str, queue: i32) -> i64 {
        self.visible_messages(topic, queue).len() as i64
    }

    fn visible_messages(&self, topic: &str, queue: i32) -> &[Message] {
        let queue = self.durable.topics.get(topic).and_then(|topic| topic.queues.get(&queue));
        let all = queue.map_or(&[][..], Vec::as_slice);
        &all[..all.partition_point(|message| message.unit <= self.confirmed)]
    }

    /// Does a step. `None`: it cannot be done now.
    pub(crate) fn step(&mut self, opaque: i32, step: &Step) -> Option<Answers> {
        self.issued.insert(opaque, self.open);
        let mut answers = Answers::new();
        let answer = match step {
            Step::Pass { ms } => {
                self.pass(*ms, &mut answers);
                return Some(answers);
            }
            Step::Close => {
                self.close();
                return Some(answers);
            }
            Step::Confirm { rounds } => {
                self.confirm(*rounds, &mut answers);
                return Some(answers);
            }
            Step::Reopen { rounds } => {
                self.reopen(*rounds);
                return Some(answers);
            }
            Step::Restart => {
                for pull in std::mem::take(&mut self.waiting) {
                    answers.insert(pull.opaque, self.look(&pull).0);
                }
                self.log_offsets();
                self.close();
                self.reopen(usize::MAX);
                return Some(answers);
            }
            Step::Disconnect { connection } => {
                self.disconnect(*connection);
                return Some(answers);
            }
            Step::DeleteTopic { topic } => {
                self.delete_topic(TOPICS[*topic], &mut answers);
                Answer::Code(0)
            }
            Step::DeleteGroup { group, clean_offsets } => {
                self.durable.groups.remove(GROUPS[*group]);
                if *clean_offsets {
                    self.forget(|(of, _, _)| of == GROUPS[*group]);
                    self.delete_topic(TOPICS[PLAIN + group], &mut answers);
                }
                Answer::Code(0)
            }
            Step::Pull(pull) => match self.pull(opaque, pull) {
                Some(answer) => answer,
                None => return Some(answers),
            },
            Step::SendBack { .. } => self.send_back(opaque, step)?,
            other => self.ask(opaque, other),
        };
        answers.insert(opaque, answer);
        Some(answers)
    }

    fn ask(&mut self, opaque: i32, step: &Step) -> Answer {
        match step {
            Step::Send { topic, queue, tag, delay, wait, padding } => {
                let message = self.message(opaque, *tag, *padding);
                self.send(opaque, TOPICS[*topic], *queue, *delay, *wait, None, message)
            }
            Step::Retry { group, times, times_max, delay } => {
                let mut message = self.message(opaque, 0, 0);
                message.times = *times;
                let retry = Some((GROUPS[*group], *times_max));
                self.send(opaque, TOPICS[PLAIN + group], 0, *delay, true, retry, message)
            }
            Step::Batch { topic, queue, tags } => self.batch(opaque, TOPICS[*topic], *queue, tags),
            Step::Commit { group, topic, queue, offset } => {
                self.commit_asked(GROUPS[*group], TOPICS[*topic], *queue, *offset)
            }
            Step::QueryOffset { group, topic, queue, or_zero } => {
                let (topic, queue) = (TOPICS[*topic], *queue);
                let place = (GROUPS[*group].to_owned(), topic.to_owned(), queue);
                let known = self.durable.topics.get(topic);
                let used = known.and_then(|topic| topic.queues.get(&queue));
                match self.offsets.get(&place) {
                    Some(offset) => Answer::Offset(*offset),
                    // Its first message is in memory, as all are here.
                    None if used.is_some() && *or_zero != Some(false) => Answer::Offset(0),
                    None => Answer::Code(22),
                }
            }
            Step::MinOffset { topic, queue } => self.on_queue(*topic, *queue, |_| 0),
            Step::MaxOffset { topic, queue } => self.on_queue(*topic, *queue, |all| all.len()),
            Step::SearchOffset { topic, queue, ms_ago } => {
                let time = self.now - ms_ago;
                self.on_queue(*topic, *queue, |all| all.partition_point(|m| m.stored < time))
            }
            Step::CreateTopic { topic, read, write, readable } => {
                let topic = self.durable.topics.entry(TOPICS[*topic].to_owned()).or_default();
                (topic.read, topic.write, topic.readable) = (*read, *write, *readable);
                Answer::Code(0)
            }
            Step::CreateGroup { group, times_max, retries } => {
                let retry_queues = i32::from(*retries);
                let config = Group { times_max: *times_max, retry_queues };
                self.durable.groups.insert(GROUPS[*group].to_owned(), config);
                if retry_queues > 0 {
                    self.make_topic(TOPICS[PLAIN + group], retry_queues);
                }
                Answer::Code(0)
            }
            Step::Heartbeat { client, connection, group, topics, version } => {
                self.heartbeat(*client, *connection, *group, topics, *version);
                Answer::Code(0)
            }
            Step::Unregister { client, group } => {
                self.leave(GROUPS[*group], CLIENTS[*client]);
                Answer::Code(0)
            }
            Step::Consumers { group } => match self.members.get(GROUPS[*group]) {
                Some(members) => {
                    let clients: Vec<_> = members.clients.keys().collect();
                    Answer::Body(json!({ "consumerIdList": clients }))
                }
                None => Answer::Code(1),
            },
            Step::Lock { client, connection, group, queues } => {
                let known = self.durable.groups.contains_key(GROUPS[*group]);
                let locked = queues.iter().filter(|queue| {
                    known && self.lock(CLIENTS[*client], *connection, GROUPS[*group], **queue)
                });
                let name = |queue: &i32| json!({ "brokerName": "broker-a", "queueId": queue, "topic": TOPICS[0] });
                let locked: Vec<_> = locked.map(name).collect();
                Answer::Body(json!({ "lockOKMQSet": locked }))
            }
            Step::Unlock { client, group, queues } => {
                for queue in queues {
                    let place = (GROUPS[*group].to_owned(), *queue);
                    if self.locks.get(&place).is_some_and(|lock| lock.client == CLIENTS[*client]) {
                        self.locks.remove(&place);
                    }
                }
                Answer::Code(0)
            }
            _ => unreachable!("handled before"),
        }
    }

    fn message(&self, number: i32, tag: usize, padding: usize) -> Message {
        Message {
            body: format!("{number}{}", ".".repeat(padding)),
            tag,
            times: 0,
            stored: self.now,
            unit: self.open,
            start: self.start,
            target: (String::new(), 0),
        }
    }

    fn make_topic(&mut self, topic: &str, queues: i32) {
        let made = Topic { read: queues, write: queues, readable: true, ..Topic::default() };
        self.durable.topics.entry(topic.to_owned()).or_insert(made);
    }

    fn push(&mut self, topic: &str, queue: i32, message: Message) -> i64 {
        let topic = self.durable.topics.get_mut(topic).expect("the caller has seen it");
        let queue = topic.queues.entry(queue).or_default();
        queue.push(message);
        queue.len() as i64 - 1
    }

    /// Lets a message wait for its time, and returns its offset among those that wait.
    fn delay(&mut self, level: i32, topic: &str, queue: i32, mut message: Message) -> i64 {
        message.target = (topic.to_owned(), queue);
        let level = level.clamp(1, DELAY_LEVELS_MS.len() as i32) as usize - 1;
        self.durable.delayed[level].push(message);
        self.durable.delayed[level].len() as i64 - 1
    }

    /// The queue of a send; the topic is made if it is not there.
    fn queue_for_send(&mut self, topic: &str, queue: i32) -> Option<i32> {
        self.make_topic(topic, if topic.starts_with('%') { 1 } else { 2 });
        let known = &self.durable.topics[topic];
        if queue >= known.read.max(known.write) {
            return None;
        }
        if queue >= 0 {
            return Some(queue);
        }
        self.turn += 1;
        Some((self.turn % known.write as u32) as i32)
    }

    #[expect(clippy::too_many_arguments)]
    fn send(
        &mut self,
        opaque: i32,
        topic: &str,
        queue: i32,
        mut delay: i32,
        wait: bool,
        retry: Option<(&str, Option<i32>)>,
        message: Message,
    ) -> Answer {
        let Some(mut queue) = self.queue_for_send(topic, queue) else { return Answer::Code(29) };
        let mut topic = topic.to_owned();
        if let Some((group, times_max)) = retry {
            let Some(config) = self.durable.groups.get(group) else { return Answer::Code(26) };
            let max = times_max.filter(|max| *max >= 0).unwrap_or(config.times_max);
            let held = |(of, lock): (&(String, i32), &Lock)| {
                of.0 == group && self.now - lock.renewed <= LOCK_EXPIRY_MS
            };
            if message.times > max || self.locks.iter().any(held) {
                topic = format!("%DLQ%{group}");
                self.make_topic(&topic, 1);
                (queue, delay) = (0, 0);
            }
        }
        if wait {
            self.messages.insert(opaque, self.open);
        }
        let offset = match delay {
            0 => self.push(&topic, queue, message),
            level => self.delay(level, &topic, queue, message),
        };
        Answer::Sent { queue, offset }
    }

    fn batch(&mut self, opaque: i32, topic: &str, queue: i32, tags: &[usize]) -> Answer {
        let Some(queue) = self.queue_for_send(topic, queue) else { return Answer::Code(29) };
        if tags.is_empty() || topic.starts_with('%') {
            return Answer::Code(13);
        }
        self.messages.insert(opaque, self.open);
        let offsets: Vec<i64> = tags
            .iter()
            .enumerate()
            .map(|(i, tag)| {
                let mut message = self.message(opaque, *tag, 0);
                message.body = format!("{opaque}-{i}");
                self.push(topic, queue, message)
            })
            .collect();
        Answer::Sent { queue, offset: offsets[0] }
    }

    fn send_back(&mut self, opaque: i32, step: &Step) -> Option<Answer> {
        let Step::SendBack { group, topic, queue, nth, level, times_max, astray } = step else {
            return None;
        };
        let (group, topic) = (GROUPS[*group], TOPICS[*topic]);
        let visible = self.visible_messages(topic, *queue);
        let mut message = visible.get(nth % visible.len().max(1))?.clone();
        let Some(config) = self.durable.groups.get(group).cloned() else {
            return Some(Answer::Code(26));
        };
        if config.retry_queues == 0 {
            return Some(Answer::Code(0));
        }
        if *astray {
            return Some(Answer::Code(1));
        }
        let max = times_max.filter(|max| *max >= 0).unwrap_or(config.times_max);
        let times = message.times;
        (message.unit, message.start, message.stored) = (self.open, self.start, self.now);
        message.times += 1;
        self.messages.insert(opaque, self.open);
        if times >= max || *level < 0 {
            let topic = format!("%DLQ%{group}");
            self.make_topic(&topic, 1);
            self.push(&topic, 0, message);
        } else {
            let topic = format!("%RETRY%{group}");
            self.make_topic(&topic, config.retry_queues);
            self.turn += 1;
            let level = if *level == 0 { 3 + times } else { *level };
            self.delay(level, &topic, 0, message);
        }
        Some(Answer::Code(0))
    }

    /// `None`: it waits.
    fn pull(&mut self, opaque: i32, pull: &Pull) -> Option<Answer> {
        let (group, topic, queue) = (GROUPS[pull.group], TOPICS[pull.topic], pull.queue);
        self.make_group(group);
        let Some(known) = self.durable.topics.get(topic) else { return Some(Answer::Code(17)) };
        if !known.readable {
            return Some(Answer::Code(16));
        }
        if !(0..known.read).contains(&queue) {
            return Some(Answer::Code(29));
        }
        let tags = match &pull.filter {
            Filter::Tags(tags) => tags.clone(),
            Filter::Subscribed(version) => match self.members.get(group) {
                None => Vec::new(),
                Some(members) => match members.subscriptions.get(topic) {
                    None => return Some(Answer::Code(24)),
                    Some((known, _)) if known < version => Vec::new(),
                    Some((_, tags)) => tags.clone(),
                },
            },
        };
        if let Some(offset) = pull.commit {
            self.commit(group, topic, queue, offset);
        }
        let offset = if pull.from_end { self.visible(topic, queue) } else { 0 } + pull.offset;
        let until = self.now + pull.wait_ms.unwrap_or(0).clamp(0, WAIT_MS_MAX);
        let topic = topic.to_owned();
        let waiting = Waiting { opaque, topic, queue, offset, wanted: pull.wanted, tags, until };
        let (answer, nothing_yet) = self.look(&waiting);
        if nothing_yet && pull.wait_ms.is_some() {
            self.waiting.push(waiting);
            return None;
        }
        Some(answer)
    }

    /// What a pull is answered now, and whether it may wait for something better.
    fn look(&self, pull: &Waiting) -> (Answer, bool) {
        let all = self.visible_messages(&pull.topic, pull.queue);
        let max = all.len() as i64;
        let answer = |code, next, messages| Answer::Pulled { code, next, min: 0, max, messages };
        let start = match usize::try_from(pull.offset) {
            _ if pull.offset == max => return (answer(19, max, Vec::new()), true),
            _ if max == 0 => return (answer(21, 0, Vec::new()), false),
            Err(_) => return (answer(21, 0, Vec::new()), false),
            Ok(_) if pull.offset > max => return (answer(21, max, Vec::new()), false),
            Ok(start) => start,
        };
        let wanted = usize::try_from(pull.wanted).unwrap_or(1).max(1);
        let mut messages = Vec::new();
        let mut next = pull.offset;
        for (offset, message) in all.iter().enumerate().skip(start) {
            next = offset as i64 + 1;
            if pull.tags.is_empty() || pull.tags.contains(&message.tag) {
                messages.push(Seen {
                    offset: offset as i64,
                    body: message.body.clone(),
                    tag: TAGS[message.tag].to_owned(),
                    times: message.times,
                    stored: message.stored,
                });
            }
            if messages.len() == wanted {
                break;
            }
        }
        (answer(if messages.is_empty() { 20 } else { 0 }, next, messages), false)
    }

    fn commit_asked(&mut self, group: &str, topic: &str, queue: i32, offset: i64) -> Answer {
        if !self.durable.groups.contains_key(group) {
            return Answer::Code(26);
        }
        if !self.durable.topics.contains_key(topic) {
            return Answer::Code(17);
        }
        if queue < 0 {
            return Answer::Code(29);
        }
        self.commit(group, topic, queue, offset);
        Answer::Code(0)
    }

    fn commit(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        let Some(known) = self.durable.topics.get(topic) else { return };
        if offset < 0 || !(0..known.read.max(known.write)).contains(&queue) {
            return;
        }
        let offset = offset.min(self.visible(topic, queue));
        let place = (group.to_owned(), topic.to_owned(), queue);
        if self.offsets.insert(place.clone(), offset) != Some(offset) {
            self.dirty.insert(place);
        }
    }

    fn log_offsets(&mut self) {
        for place in std::mem::take(&mut self.dirty) {
            let offset = self.offsets[&place];
            self.durable.offsets.insert(place, offset);
        }
    }

    fn forget(&mut self, gone: impl Fn(&Place) -> bool) {
        self.offsets.retain(|place, _| !gone(place));
        self.durable.offsets.retain(|place, _| !gone(place));
        self.dirty.retain(|place| !gone(place));
    }

    fn on_queue(&self, topic: usize, queue: i32, find: impl Fn(&[Message]) -> usize) -> Answer {
        let topic = TOPICS[topic];
        if !self.durable.topics.contains_key(topic) {
            return Answer::Code(17);
        }
        if queue < 0 {
            return Answer::Code(29);
        }
        Answer::Offset(find(self.visible_messages(topic, queue)) as i64)
    }

    fn delete_topic(&mut self, topic: &str, answers: &mut Answers) {
        if self.durable.topics.remove(topic).is_none() {
            return;
        }
        self.forget(|(_, of, _)| of == topic);
        for pull in self.waiting.extract_if(.., |pull| pull.topic == topic) {
            answers.insert(pull.opaque, Answer::Code(17));
        }
    }

    fn make_group(&mut self, group: &str) {
        let config = Group { times_max: 16, retry_queues: 1 };
        self.durable.groups.entry(group.to_owned()).or_insert(config);
    }

    fn heartbeat(
        &mut self,
        client: usize,
        connection: u64,
        group: usize,
        topics: &[(usize, usize)],
        version: i64,
    ) {
        self.make_group(GROUPS[group]);
        let queues = self.durable.groups[GROUPS[group]].retry_queues;
        if queues > 0 {
            self.make_topic(TOPICS[PLAIN + group], queues);
        }
        let members = self.members.entry(GROUPS[group].to_owned()).or_default();
        members.clients.insert(CLIENTS[client].to_owned(), (connection, self.now));
        let known = &mut members.subscriptions;
        for (topic, tag) in topics {
            let tags = if *tag == 0 { Vec::new() } else { vec![*tag] };
            let subscription = known.entry(TOPICS[*topic].to_owned());
            let subscription = subscription.or_insert((version, tags.clone()));
            if subscription.0 < version {
                *subscription = (version, tags);
            }
        }
        known.retain(|name, _| topics.iter().any(|(topic, _)| TOPICS[*topic] == name));
    }

    fn leave(&mut self, group: &str, client: &str) {
        if let Some(members) = self.members.get_mut(group) {
            members.clients.remove(client);
        }
        self.members.retain(|_, members| !members.clients.is_empty());
    }

    fn disconnect(&mut self, connection: u64) {
        for members in self.members.values_mut() {
            members.clients.retain(|_, (of, _)| *of != connection);
        }
        self.members.retain(|_, members| !members.clients.is_empty());
        self.locks.retain(|_, lock| lock.connection != connection);
    }

    fn lock(&mut self, client: &str, connection: u64, group: &str, queue: i32) -> bool {
        let place = (group.to_owned(), queue);
        let taken = self
            .locks
            .get(&place)
            .is_some_and(|lock| lock.client != client && self.now - lock.renewed <= LOCK_EXPIRY_MS);
        if !taken {
            let lock = Lock { client: client.to_owned(), connection, renewed: self.now };
            self.locks.insert(place, lock);
        }
        !taken
    }

    fn pass(&mut self, ms: i64, answers: &mut Answers) {
        self.now += ms;
        let now = self.now;
        for pull in self.waiting.extract_if(.., |pull| pull.until <= now).collect::<Vec<_>>() {
            answers.insert(pull.opaque, self.look(&pull).0);
        }
        self.deliver();
        if now - self.offsets_logged >= OFFSETS_INTERVAL_MS {
            self.offsets_logged = now;
            self.log_offsets();
        }
        if now - self.expired >= EXPIRY_INTERVAL_MS {
            self.expired = now;
            for members in self.members.values_mut() {
                members.clients.retain(|_, (_, seen)| now - *seen <= CLIENT_EXPIRY_MS);
            }
            self.members.retain(|_, members| !members.clients.is_empty());
        }
    }

    /// Delivers what is due: level by level, those last that have to be read from the disk.
    fn deliver(&mut self) {
        let mut due: Vec<Vec<Message>> = Vec::new();
        for (level, delay) in DELAY_LEVELS_MS.iter().enumerate() {
            let waiting = &self.durable.delayed[level][self.durable.delivered[level]..];
            let is_due = |message: &&Message| {
                message.unit <= self.confirmed && message.stored + delay <= self.now
            };
            due.push(waiting.iter().take_while(is_due).cloned().collect());
        }
        let is_cold = |messages: &[Message]| messages.iter().any(|m| m.start < self.start);
        let (cold, hot): (Vec<_>, Vec<_>) = (0..due.len()).partition(|level| is_cold(&due[*level]));
        for level in hot.into_iter().chain(cold) {
            for mut message in std::mem::take(&mut due[level]) {
                self.durable.delivered[level] += 1;
                let (topic, queue) = message.target.clone();
                let Some(known) = self.durable.topics.get(&topic) else { continue };
                let queue = if queue < known.read.max(known.write) { queue } else { 0 };
                (message.unit, message.start, message.stored) = (self.open, self.start, self.now);
                self.push(&topic, queue, message);
            }
        }
    }

    fn close(&mut self) {
        self.taken.push_back((self.open, self.durable.clone()));
        self.open += 1;
    }

    fn confirm(&mut self, rounds: usize, answers: &mut Answers) {
        let before = self.confirmed;
        self.keep(rounds);
        for pull in std::mem::take(&mut self.waiting) {
            let all = self.visible_messages(&pull.topic, pull.queue);
            let wanted = |message: &Message| {
                message.unit > before && (pull.tags.is_empty() || pull.tags.contains(&message.tag))
            };
            if all.iter().any(wanted) {
                answers.insert(pull.opaque, self.look(&pull).0);
            } else {
                self.waiting.push(pull);
            }
        }
    }

    fn keep(&mut self, rounds: usize) {
        for _ in 0..rounds.min(self.taken.len()) {
            if let Some((unit, state)) = self.taken.pop_front() {
                (self.confirmed, self.confirmed_state) = (unit, state);
            }
        }
    }

    fn reopen(&mut self, rounds: usize) {
        self.keep(rounds);
        self.durable = self.confirmed_state.clone();
        self.taken.clear();
        self.offsets.clone_from(&self.durable.offsets);
        self.dirty.clear();
        (self.offsets_logged, self.expired, self.turn) = (0, 0, 0);
        self.waiting.clear();
        self.members.clear();
        self.locks.clear();
        self.issued.clear();
        self.messages.clear();
        self.start += 1;
        self.confirmed = self.open;
        self.open += 1;
    }
}
