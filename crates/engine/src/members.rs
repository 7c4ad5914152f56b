//! Who is connected: the clients of each consumer and producer group, by heartbeat. Gone with the
//! connection.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kerolox_protocol::remoting::client::{ConsumerData, SubscriptionData};
use kerolox_protocol::tags::TagFilter;

use crate::limits::{MEMBERS_MAX, SUBSCRIPTIONS_MAX};
use crate::output::ConnectionId;
use crate::request::Origin;

/// A connected client.
#[derive(Debug, Clone)]
pub struct Client {
    pub origin: Origin,
    /// Of its last heartbeat, ms.
    pub seen: i64,
}

/// A consumer group with its clients.
#[derive(Debug, Default)]
pub struct ConsumerGroup {
    pub clients: BTreeMap<String, Client>,
    pub consume_type: String,
    pub message_model: String,
    pub consume_from_where: String,
    pub subscriptions: BTreeMap<String, Subscription>,
}

/// What a group wants of a topic.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub data: SubscriptionData,
    /// The tags, read once.
    pub filter: TagFilter,
}

impl ConsumerGroup {
    /// Whether each client gets every message and keeps its own offsets.
    pub fn is_broadcast(&self) -> bool {
        self.message_model == "BROADCASTING"
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Producer,
    Consumer,
}

/// All connected clients.
#[derive(Debug, Default)]
pub struct Members {
    consumers: HashMap<String, ConsumerGroup>,
    producers: HashMap<String, BTreeMap<String, Client>>,
    by_connection: HashMap<ConnectionId, BTreeSet<(Role, String, String)>>,
}

impl Members {
    /// A consumer group that has clients.
    pub fn group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// The clients of a producer group.
    pub fn producers(&self, group: &str) -> Option<&BTreeMap<String, Client>> {
        self.producers.get(group)
    }

    /// Groups that have clients.
    pub fn groups(&self) -> impl Iterator<Item = (&String, &ConsumerGroup)> {
        self.consumers.iter()
    }

    /// Producer groups that have clients.
    pub fn producer_groups(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, Client>)> {
        self.producers.iter()
    }

    /// A producer's heartbeat.
    pub fn producer_beats(&mut self, group: &str, client_id: &str, origin: Origin, now: i64) {
        let clients = self.producers.entry(group.to_owned()).or_default();
        if clients.len() < MEMBERS_MAX || clients.contains_key(client_id) {
            clients.insert(client_id.to_owned(), Client { origin, seen: now });
            self.note(Role::Producer, group, client_id, origin.connection);
        }
    }

    /// A consumer's heartbeat. True if the group's members or topics changed, so that its clients
    /// must share the queues anew.
    pub fn consumer_beats(
        &mut self,
        data: &ConsumerData,
        client_id: &str,
        origin: Origin,
        keep_subscriptions: bool,
        now: i64,
    ) -> bool {
        let group = self.consumers.entry(data.group_name.clone()).or_default();
        let known = group.clients.get(client_id).map(|client| client.origin.connection);
        if known.is_none() && group.clients.len() >= MEMBERS_MAX {
            return false;
        }
        let mut changed = known != Some(origin.connection);
        group.clients.insert(client_id.to_owned(), Client { origin, seen: now });
        group.consume_type.clone_from(&data.consume_type);
        group.message_model.clone_from(&data.message_model);
        group.consume_from_where.clone_from(&data.consume_from_where);
        if !keep_subscriptions {
            changed |= group.subscribe(&data.subscription_data_set);
        }
        self.note(Role::Consumer, &data.group_name, client_id, origin.connection);
        changed
    }

    fn note(&mut self, role: Role, group: &str, client_id: &str, connection: ConnectionId) {
        let entry = (role, group.to_owned(), client_id.to_owned());
        self.by_connection.entry(connection).or_default().insert(entry);
    }

    /// A client leaves a group. True if it was a member.
    pub fn remove_consumer(&mut self, group: &str, client_id: &str) -> bool {
        let Some(clients) = self.consumers.get_mut(group) else { return false };
        let removed = clients.clients.remove(client_id);
        if clients.clients.is_empty() {
            self.consumers.remove(group);
        }
        if let Some(client) = &removed {
            self.forget(Role::Consumer, group, client_id, client.origin.connection);
        }
        removed.is_some()
    }

    /// A client leaves a producer group.
    pub fn remove_producer(&mut self, group: &str, client_id: &str) {
        let Some(clients) = self.producers.get_mut(group) else { return };
        let removed = clients.remove(client_id);
        if clients.is_empty() {
            self.producers.remove(group);
        }
        if let Some(client) = removed {
            self.forget(Role::Producer, group, client_id, client.origin.connection);
        }
    }

    fn forget(&mut self, role: Role, group: &str, client_id: &str, connection: ConnectionId) {
        if let Some(entries) = self.by_connection.get_mut(&connection) {
            entries.remove(&(role, group.to_owned(), client_id.to_owned()));
            if entries.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    /// A connection is gone. Returns the consumer groups that lost a member.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<String> {
        let mut changed = Vec::new();
        for (role, group, client_id) in self.by_connection.remove(&connection).unwrap_or_default() {
            match role {
                Role::Producer => {
                    let same = self.producers.get(&group).and_then(|c| c.get(&client_id));
                    if same.is_some_and(|client| client.origin.connection == connection) {
                        self.remove_producer(&group, &client_id);
                    }
                }
                Role::Consumer => {
                    let same = self.consumers.get(&group).and_then(|g| g.clients.get(&client_id));
                    // It may be back over another connection already.
                    if same.is_some_and(|client| client.origin.connection == connection)
                        && self.remove_consumer(&group, &client_id)
                    {
                        changed.push(group);
                    }
                }
            }
        }
        changed
    }

    /// Clients without a heartbeat for `expiry_ms` are gone. Returns the groups that lost a member.
    pub fn expire(&mut self, now: i64, expiry_ms: i64) -> Vec<String> {
        let late = |client: &Client| now - client.seen > expiry_ms;
        let mut gone = Vec::new();
        for (group, members) in &self.consumers {
            let late = members.clients.iter().filter(|(_, client)| late(client));
            gone.extend(late.map(|(id, _)| (Role::Consumer, group.clone(), id.clone())));
        }
        for (group, clients) in &self.producers {
            let late = clients.iter().filter(|(_, client)| late(client));
            gone.extend(late.map(|(id, _)| (Role::Producer, group.clone(), id.clone())));
        }
        let mut changed = Vec::new();
        for (role, group, client_id) in gone {
            match role {
                Role::Producer => self.remove_producer(&group, &client_id),
                Role::Consumer => {
                    self.remove_consumer(&group, &client_id);
                    changed.push(group);
                }
            }
        }
        changed.dedup();
        changed
    }
}

impl ConsumerGroup {
    /// Takes over a client's subscriptions. True if a topic came or went; a newer expression on a
    /// known topic is taken without that.
    fn subscribe(&mut self, set: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for data in set.iter().take(SUBSCRIPTIONS_MAX) {
            let filter = TagFilter::parse(&data.sub_string).unwrap_or(TagFilter::All);
            let mut data = data.clone();
            if let TagFilter::Codes(codes) = &filter {
                data.code_set.clone_from(codes);
            }
            match self.subscriptions.get_mut(&data.topic) {
                Some(known) if known.data.sub_version < data.sub_version => {
                    *known = Subscription { data, filter };
                }
                Some(_) => {}
                None => {
                    let topic = data.topic.clone();
                    self.subscriptions.insert(topic, Subscription { data, filter });
                    changed = true;
                }
            }
        }
        let before = self.subscriptions.len();
        let wanted: HashSet<&str> = set.iter().map(|data| data.topic.as_str()).collect();
        self.subscriptions.retain(|topic, _| wanted.contains(topic.as_str()));
        changed || self.subscriptions.len() != before
    }
}
