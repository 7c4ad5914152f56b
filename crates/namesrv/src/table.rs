//! The route table, and nothing of the protocol's requests. In: brokers, replicas, topics. Out:
//! routes, lists, and who left.
//!
//! Topics are kept by broker, not brokers by topic: a broker comes, goes, or loses its write
//! permission in one step, however many topics it has, and there is no second index that could
//! disagree. The price is that a route question asks each broker name, of which there are few.
//!
//! The maps are persistent: a clone costs nothing and stays as it is, so that long answers are
//! written from one while the table moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;
use kerolox_protocol::remoting::admin::{DataVersion, TopicConfig, perm};
use kerolox_protocol::remoting::route::{BrokerData, QueueData, TopicRoute};

/// The id of a master.
pub(crate) const MASTER_ID: i64 = 0;

/// Where clients find a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertised {
    /// `host:port`, the same for everyone.
    Fixed(Arc<str>),
    /// The local address at which the asking connection arrived, with this port: what the client
    /// could reach once it can reach again.
    Local {
        /// The broker's port.
        port: u16,
    },
}

impl Advertised {
    /// The address as someone sees it who arrived at `local_ip`.
    pub(crate) fn seen_at(&self, local_ip: IpAddr) -> String {
        match self {
            Advertised::Fixed(address) => address.to_string(),
            // A dual-stack listener shows IPv4 as ::ffff:a.b.c.d, which old clients cannot read.
            Advertised::Local { port } => {
                SocketAddr::new(local_ip.to_canonical(), *port).to_string()
            }
        }
    }
}

/// A replica that left, because it was silent or its connection closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    pub broker_name: String,
    pub broker_id: i64,
    pub address: String,
    /// The connection over which it registered last.
    pub connection: u64,
}

/// Two brokers that call themselves the same, and take each other's place with each registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    pub cluster: String,
    pub broker_name: String,
    pub broker_id: i64,
    /// Of the one that registered just now.
    pub address: String,
    /// Of the one whose place it took, and which is still connected.
    pub other: String,
}

/// A topic's queues on one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queues {
    pub(crate) perm: i32,
    pub(crate) read: i32,
    pub(crate) write: i32,
    pub(crate) sys_flag: i32,
    /// How often the broker's permissions had been changed as a whole when this was entered:
    /// see [`Broker::perm`].
    entered: u32,
}

impl Queues {
    pub(crate) fn of(topic: &TopicConfig) -> Queues {
        Queues {
            perm: topic.perm,
            read: topic.read_queue_nums,
            write: topic.write_queue_nums,
            sys_flag: topic.topic_sys_flag,
            entered: 0,
        }
    }
}

impl From<&QueueData> for Queues {
    fn from(queues: &QueueData) -> Queues {
        Queues {
            perm: queues.perm,
            read: queues.read_queue_nums,
            write: queues.write_queue_nums,
            sys_flag: queues.topic_sys_flag,
            entered: 0,
        }
    }
}

/// Topic → its queues.
pub(crate) type Topics = OrdMap<Arc<str>, Queues>;

/// One member of a broker name.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) address: Advertised,
    /// Where slaves fetch the log.
    pub(crate) ha_address: Option<Arc<str>>,
    /// Of the topics that it registered last.
    pub(crate) version: DataVersion,
    /// None: it is in this process, and stays.
    pub(crate) lease: Option<Lease>,
    /// The address of another, still connected, whose place it took.
    pub(crate) displaced: Option<Arc<str>>,
}

/// What keeps a replica of another process in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) connection: u64,
    pub(crate) seen_ms: u64,
    pub(crate) timeout_ms: u64,
}

impl Replica {
    pub(crate) fn local(address: Advertised) -> Replica {
        let version = DataVersion::default();
        Replica { address, ha_address: None, version, lease: None, displaced: None }
    }

    /// Whether it registered with this address from another process.
    pub(crate) fn registered_at(&self, address: &str) -> bool {
        self.lease.is_some() && matches!(&self.address, Advertised::Fixed(own) if **own == *address)
    }
}

/// A broker name: one replica set.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    pub(crate) cluster: Arc<str>,
    /// Without a master, the replica with the lowest id stands in for reads.
    pub(crate) acting_master: bool,
    /// By broker id. Never empty once the broker is in the table: an empty address list makes the
    /// Go client panic.
    pub(crate) replicas: BTreeMap<i64, Replica>,
    topics: Topics,
    /// Bits that no topic's permission exceeds.
    pub(crate) allowed: i32,
    /// How often permissions were changed as a whole.
    changes: u32,
    /// The change that gave read and write to all topics entered before it.
    added_at: Option<u32>,
    /// The change that took write from all topics entered before it. Later than `added_at`.
    wiped_at: Option<u32>,
}

impl Broker {
    fn new(cluster: &str) -> Broker {
        Broker {
            cluster: cluster.into(),
            acting_master: false,
            replicas: BTreeMap::new(),
            topics: Topics::new(),
            allowed: i32::MAX,
            changes: 0,
            added_at: None,
            wiped_at: None,
        }
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(crate) fn put_topic(&mut self, topic: &str, queues: Queues) {
        let queues = Queues { entered: self.changes, ..queues };
        match self.topics.get_mut(topic) {
            Some(known) => *known = queues,
            None => drop(self.topics.insert(topic.into(), queues)),
        }
    }

    /// Enters the topics for which `wanted` says so, given whether they are known.
    pub(crate) fn put_topics(&mut self, topics: Topics, wanted: impl Fn(bool) -> bool) {
        if self.topics.is_empty() && self.changes == 0 && wanted(false) {
            self.topics = topics; // a broker's first registration, with all it has
            return;
        }
        for (topic, queues) in &topics {
            if wanted(self.topics.contains_key(topic)) {
                self.topics.insert(topic.clone(), Queues { entered: self.changes, ..*queues });
            }
        }
    }

    /// Removes the topics that are not among `kept`.
    pub(crate) fn retain_topics(&mut self, kept: &Topics) {
        let gone = self.topics.keys().filter(|topic| !kept.contains_key(*topic)).cloned();
        for topic in gone.collect::<Vec<_>>() {
            self.topics.remove(&topic);
        }
    }

    pub(crate) fn remove_topic(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Takes write from all topics that are there now.
    pub(crate) fn wipe_write(&mut self) {
        self.changes += 1;
        self.wiped_at = Some(self.changes);
    }

    /// Gives read and write to all topics that are there now.
    pub(crate) fn add_write(&mut self) {
        self.changes += 1;
        self.added_at = Some(self.changes);
        self.wiped_at = None; // whatever it touched was given back just now
    }

    /// A topic's permission. The changes of all topics are kept once, not at each topic.
    pub(crate) fn perm(&self, queues: &Queues) -> i32 {
        let touched = |change: Option<u32>| change.is_some_and(|at| at > queues.entered);
        let perm = if touched(self.added_at) { perm::READ | perm::WRITE } else { queues.perm };
        let perm = if touched(self.wiped_at) { perm & !perm::WRITE } else { perm };
        perm & self.allowed
    }

    pub(crate) fn data(&self, name: &str, local_ip: IpAddr) -> BrokerData {
        let addresses = self.replicas.iter().map(|(id, r)| (*id, r.address.seen_at(local_ip)));
        BrokerData {
            broker_addrs: addresses.collect(),
            broker_name: name.to_owned(),
            cluster: self.cluster.to_string(),
            enable_acting_master: self.acting_master,
        }
    }
}

/// The brokers by name. A clone is a snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brokers(OrdMap<Arc<str>, Arc<Broker>>);

impl Brokers {
    pub(crate) fn get(&self, name: &str) -> Option<&Broker> {
        self.0.get(name).map(|broker| &**broker)
    }

    /// Whether a broker has a topic.
    pub(crate) fn has(&self, broker: &str, topic: &str) -> bool {
        self.get(broker).is_some_and(|broker| broker.topics.contains_key(topic))
    }

    /// In the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Broker)> {
        self.0.iter().map(|(name, broker)| (name, &**broker))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Topics of all brokers together; one on two brokers counts twice.
    pub(crate) fn topic_rows(&self) -> usize {
        self.0.values().map(|broker| broker.topics.len()).sum()
    }

    /// Where a topic lives; None: nowhere.
    pub(crate) fn route(&self, topic: &str, local_ip: IpAddr) -> Option<TopicRoute> {
        let mut route = TopicRoute::default();
        for (name, broker) in self.iter() {
            let Some(queues) = broker.topics.get(topic) else { continue };
            route.broker_datas.push(broker.data(name, local_ip));
            route.queue_datas.push(QueueData {
                broker_name: name.to_string(),
                perm: broker.perm(queues),
                read_queue_nums: queues.read,
                topic_sys_flag: queues.sys_flag,
                write_queue_nums: queues.write,
            });
        }
        (!route.queue_datas.is_empty()).then_some(route)
    }
}

/// The brokers, and who stands behind which connection.
#[derive(Debug, Default)]
pub(crate) struct Table {
    brokers: Brokers,
    /// Connection, broker name, broker id: one for each lease, so that the end of a client's
    /// connection, which is no broker's, costs one look.
    connections: BTreeSet<(u64, Arc<str>, i64)>,
}

impl Table {
    pub(crate) fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    pub(crate) fn broker_mut(&mut self, name: &str) -> Option<&mut Broker> {
        self.brokers.0.get_mut(name).map(Arc::make_mut)
    }

    /// Names of all brokers, to change each in turn.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.brokers.0.keys().cloned().collect()
    }

    /// The broker of this name, entered if it is new. A replica must follow at once.
    pub(crate) fn open(&mut self, name: &str, cluster: &str) -> &mut Broker {
        if !self.brokers.0.contains_key(name) {
            self.brokers.0.insert(name.into(), Arc::new(Broker::new(cluster)));
        }
        self.broker_mut(name).expect("it was entered above")
    }

    /// Enters or replaces a replica of a broker that is in the table.
    pub(crate) fn put_replica(&mut self, name: &str, id: i64, replica: Replica) {
        let new = replica.lease.map(|lease| lease.connection);
        let Some(broker) = self.broker_mut(name) else { return };
        let old = broker.replicas.insert(id, replica).and_then(|old| old.lease);
        if let Some(old) = old {
            self.connections.remove(&(old.connection, name.into(), id));
        }
        if let Some(connection) = new {
            self.connections.insert((connection, name.into(), id));
        }
    }

    /// Removes a replica of another process, and its broker with all topics if it was the last.
    pub(crate) fn remove_replica(&mut self, name: &str, id: i64) -> Option<Departed> {
        let lease = self.brokers.get(name)?.replicas.get(&id)?.lease?;
        self.connections.remove(&(lease.connection, name.into(), id));
        let broker = self.broker_mut(name)?;
        let replica = broker.replicas.remove(&id)?;
        match broker.replicas.keys().next() {
            None => drop(self.brokers.0.remove(name)),
            // A stand-in serves reads alone.
            Some(&lowest) if lowest != MASTER_ID && broker.acting_master => broker.wipe_write(),
            Some(_) => {}
        }
        let Advertised::Fixed(address) = replica.address else { return None };
        Some(Departed {
            broker_name: name.to_owned(),
            broker_id: id,
            address: address.to_string(),
            connection: lease.connection,
        })
    }

    pub(crate) fn remove_connection(&mut self, connection: u64) -> Vec<Departed> {
        let from = (connection, Arc::from(""), i64::MIN);
        let behind = self.connections.range(from..).take_while(|entry| entry.0 == connection);
        let gone: Vec<_> = behind.map(|(_, name, id)| (name.clone(), *id)).collect();
        self.remove_all(gone)
    }

    pub(crate) fn remove_expired(&mut self, now_ms: u64) -> Vec<Departed> {
        let mut gone = Vec::new();
        for (name, broker) in self.brokers.iter() {
            for (id, replica) in &broker.replicas {
                let expired =
                    |lease: Lease| lease.seen_ms.saturating_add(lease.timeout_ms) < now_ms;
                if replica.lease.is_some_and(expired) {
                    gone.push((name.clone(), *id));
                }
            }
        }
        self.remove_all(gone)
    }

    fn remove_all(&mut self, replicas: Vec<(Arc<str>, i64)>) -> Vec<Departed> {
        replicas.iter().filter_map(|(name, id)| self.remove_replica(name, *id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_those_of_changing_each_topic_in_turn() {
        // All sequences of four steps: enter a topic, wipe, add; against a plain map.
        for code in 0..3usize.pow(4) {
            let mut broker = Broker::new("c");
            let mut plain = BTreeMap::new();
            for step in 0..4u32 {
                match code / 3usize.pow(step) % 3 {
                    0 => {
                        let name = format!("t{step}");
                        let topic = TopicConfig { perm: 7, ..TopicConfig::default() };
                        broker.put_topic(&name, Queues::of(&topic));
                        plain.insert(name, 7);
                    }
                    1 => {
                        broker.wipe_write();
                        plain.values_mut().for_each(|p| *p &= !perm::WRITE);
                    }
                    _ => {
                        broker.add_write();
                        plain.values_mut().for_each(|p| *p = perm::READ | perm::WRITE);
                    }
                }
            }
            let got: BTreeMap<_, _> =
                broker.topics().iter().map(|(t, q)| (t.to_string(), broker.perm(q))).collect();
            assert_eq!(got, plain, "sequence {code}");
        }
    }

    #[test]
    fn a_snapshot_stays_as_it_is() {
        let mut table = Table::default();
        table.open("a", "c").put_topic("t", Queues::of(&TopicConfig::default()));
        let snapshot = table.brokers().clone();
        table.broker_mut("a").unwrap().remove_topic("t");
        assert_eq!((snapshot.topic_rows(), table.brokers().topic_rows()), (1, 0));
    }
}
