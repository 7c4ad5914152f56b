//! The clients: producers, consumers and an administrator, each over one connection, whose
//! requests are handled in the order in which they were sent.
//!
//! In: the seed's choices, and replies. Out: requests; entries in the books.
//!
//! A reply is looked at twice. When the engine makes it ([`Clients::made`]), the books learn what
//! stands where in the log; when it leaves ([`Clients::left`]), the client knows, and what it was
//! told is a promise.

mod admin;
pub(crate) mod body;
mod consumer;
mod producer;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kerolox_engine::{Completion, ConnectionId, Incoming, Origin, Request};
use kerolox_log::disk::fault::Rng;
use kerolox_protocol::remoting::reply::Reply;

use crate::books::Books;
use crate::books::messages::Again;
use crate::books::settings::Group;
use crate::broker::Broker;
use crate::clients::consumer::Consumer;
use crate::clock::Clock;
use crate::events::Events;
use crate::plan::Plan;
use crate::violation::Checked;

/// A request that was not answered yet.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// When it was asked, in the order of events.
    seq: u64,
    what: What,
}

/// What was asked.
#[derive(Debug, Clone)]
enum What {
    Send { ids: Vec<u64>, batch: bool, topic: &'static str, queue: i32 },
    Pull { consumer: usize, queue: i32, from: i64, filter: &'static str },
    MaxOffset { topic: String, queue: i32 },
    Commit,
    SendBack { again: Again },
    CreateTopic { name: String, queues: i32 },
    DeleteTopic,
    CreateGroup { config: Box<Group> },
    DeleteGroup { name: String, offsets: bool },
    Reset { group: String, topic: String, queue: i32, offset: i64 },
    Kv,
    Heartbeat,
}

/// Everything that a client looks at.
pub(crate) struct Around<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) books: &'a mut Books,
    pub(crate) broker: &'a mut Broker,
    pub(crate) clock: &'a Clock,
    pub(crate) plan: &'a Plan,
    pub(crate) events: &'a mut Events,
}

/// See the module's documentation.
pub(crate) struct Clients {
    consumers: Vec<Consumer>,
    asked: BTreeMap<i32, Asked>,
    last_opaque: i32,
    /// Connections are new in each life.
    life: u64,
    /// Offsets that a reset imposes on the next pull: commits do not count until then.
    resets: Vec<(String, String, i32)>,
}

/// Topics that producers send to. With a long name a delivered record is larger than it was while
/// it waited.
const TOPICS: [&str; 4] =
    ["t0", "t1", "t2", "t3_with_a_name_that_is_longer_than_that_of_the_topic_of_delayed_messages"];
/// Consumer groups.
const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
const TAGS: [&str; 4] = ["", "TagA", "TagB", "TagC"];
const PRODUCERS: u64 = 3;

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

impl Clients {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Clients {
            consumers: Consumer::all(rng),
            asked: BTreeMap::new(),
            last_opaque: 0,
            life: 0,
            resets: Vec::new(),
        }
    }

    /// The broker is gone, and every connection with it. `lossy`: what was read may be gone, too.
    pub(crate) fn lost_connection(&mut self, rng: &mut Rng, lossy: bool) {
        self.asked.clear();
        self.resets.clear();
        self.life += 1;
        for consumer in &mut self.consumers {
            consumer.lost_connection(lossy || rng.one_in(2));
        }
    }

    /// Requests that wait for an answer.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        self.asked.values().map(|asked| format!("{:?}", asked.what)).collect()
    }

    /// One more request. `None`: nobody wants anything right now.
    pub(crate) fn ask(&mut self, around: &mut Around<'_>) -> Checked<Option<Incoming>> {
        match around.rng.below(100) {
            0..50 => self.send(around).map(Some),
            50..94 => self.consume(around),
            _ => self.administrate(around),
        }
    }

    /// Notes a request and makes its origin.
    fn incoming(
        &mut self,
        client: u64,
        what: What,
        request: Request,
        books: &mut Books,
    ) -> Incoming {
        self.last_opaque += 1;
        let seq = books.next_seq();
        self.asked.insert(self.last_opaque, Asked { seq, what });
        let peer = match client {
            // One producer speaks IPv6: its records are longer.
            1 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::new(10, 0, 0, client as u8)),
        };
        let origin = Origin {
            connection: ConnectionId(self.life * 100 + client + 1),
            opaque: self.last_opaque,
            form: Default::default(),
            oneway: false,
            language: 0,
            version: 500,
            peer: (peer, 4000).into(),
            local_ip: Ipv4Addr::LOCALHOST.into(),
            cost: 0,
        };
        Incoming { origin, request }
    }

    /// The engine made a reply: the books learn what stands where. `at`: the ends of the log
    /// before and behind the turn.
    pub(crate) fn made(
        &mut self,
        completion: &Completion,
        reply: &Reply,
        at: (u64, u64),
        around: &mut Around<'_>,
    ) -> Checked {
        let Some(asked) = self.asked.get(&completion.origin.opaque).cloned() else { return Ok(()) };
        let confirm_at = completion.confirm_at.map(|at| at.0);
        let exact = confirm_at.unwrap_or(at.1);
        match &asked.what {
            What::Send { ids, batch, topic, queue } => {
                let sent = producer::Sends { ids, batch: *batch, topic, queue: *queue };
                producer::made(&sent, reply, confirm_at, around)
            }
            What::SendBack { again } => {
                consumer::given_back(again, reply, (at.0, exact), around);
                Ok(())
            }
            What::CreateTopic { name, queues } if reply.code == 0 => {
                admin::topic_made(name, *queues, around)
            }
            What::Reset { group, topic, queue, offset } => {
                let key = (group.clone(), topic.clone(), *queue);
                if reply.code == 0 {
                    around.books.commits.set(&key, Some(*offset), exact);
                    self.resets.push(key);
                }
                Ok(())
            }
            What::CreateGroup { config } if reply.code == 0 => {
                around.books.group(&config.group_name, Some(config), false, (at.0, exact));
                Ok(())
            }
            What::DeleteGroup { name, offsets } if reply.code == 0 => {
                around.books.group(name, None, *offsets, (at.0, exact));
                Ok(())
            }
            What::Pull { consumer, queue, .. } => self.pull_made(*consumer, *queue, reply, around),
            What::MaxOffset { topic, queue } if reply.code == 0 => {
                let max = crate::books::audit::offset(reply)?;
                consumer::told(topic, *queue, max, around)
            }
            _ => Ok(()),
        }
    }

    /// A reply left: the client knows.
    pub(crate) fn left(
        &mut self,
        completion: &Completion,
        reply: &Reply,
        around: &mut Around<'_>,
    ) -> Checked {
        let Some(asked) = self.asked.remove(&completion.origin.opaque) else { return Ok(()) };
        around.events.add(|| {
            let code = reply.code;
            let remark = reply.remark.as_deref().unwrap_or("");
            format!("  answered {code} {remark} {:?} to {:?}", reply.fields, asked.what)
        });
        if let Some(at) = completion.confirm_at {
            around.books.promise(at.0, || format!("the answer to {:?}", asked.what));
        }
        match &asked.what {
            What::Pull { consumer, queue, from, filter } => {
                self.pulled(*consumer, (*queue, *from), filter, reply, asked.seq, around)
            }
            What::CreateTopic { .. }
            | What::DeleteTopic
            | What::CreateGroup { .. }
            | What::DeleteGroup { .. }
            | What::Kv
            | What::Heartbeat => admin::accepted(&asked, reply, around),
            _ => Ok(()),
        }
    }
}
