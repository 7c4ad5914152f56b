//! The state machine. In: decoded requests, the local broker's topics, connections that closed,
//! the time. Out: answers, KV changes, brokers that left. Each request is in its family's file.

use std::net::IpAddr;

use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::remoting::admin::TopicConfig;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::kv::{Kv, KvChange};
use crate::request::Request;
use crate::table::{Advertised, Departed, Queues, Replica, Rival, Table};

/// Settings, named as in Apache's `namesrv.conf` where that has them.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a broker that says nothing stays, unless its registration names another time.
    pub broker_expiry_ms: u64,
    /// `orderMessageEnable`: routes carry the topic's entry of the KV namespace
    /// `ORDER_TOPIC_CONFIG`.
    pub order_message_enable: bool,
    /// `returnOrderTopicConfigToBroker`: a registration is answered with that namespace.
    pub return_order_topics: bool,
    /// `enableAllTopicList`: 206 is answered.
    pub list_all_topics: bool,
    /// `enableTopicList`: 224 and 311 to 313 are answered.
    pub list_topics: bool,
    /// `autoCreateTopicEnable` of the broker in this process; what others do shows in their topics.
    pub local_auto_create: bool,
    /// `deleteTopicWithBrokerRegistration`: topics that a whole registration does not name are removed.
    pub delete_with_registration: bool,
    /// Until this time (ms since 1970) routes are refused (`needWaitForService`).
    pub no_routes_before_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            broker_expiry_ms: 120_000,
            order_message_enable: false,
            return_order_topics: true,
            list_all_topics: true,
            list_topics: true,
            local_auto_create: true,
            delete_with_registration: false,
            no_routes_before_ms: 0,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The connection's number, never used again after it closed.
    pub connection: u64,
    /// The local address at which the connection arrived.
    pub local_ip: IpAddr,
}

/// The broker in the same process.
#[derive(Debug, Clone)]
pub struct LocalBroker {
    pub cluster: String,
    pub name: String,
    /// 0: the master.
    pub broker_id: i64,
    pub advertised: Advertised,
}

/// What a request comes to.
pub enum Answer {
    /// The reply.
    Now(Reply),
    /// The reply, not made yet because it takes time in proportion to topics or brokers. It works
    /// on a snapshot taken when the request was applied: run it on any thread, at any time.
    Later(Box<dyn FnOnce() -> Reply + Send>),
}

impl Answer {
    pub(crate) fn later(make: impl FnOnce() -> Reply + Send + 'static) -> Answer {
        Answer::Later(Box::new(make))
    }

    /// The reply, made here and now.
    pub fn reply(self) -> Reply {
        match self {
            Answer::Now(reply) => reply,
            Answer::Later(make) => make(),
        }
    }
}

/// A list that is switched off.
fn disabled(key: &str) -> Answer {
    Answer::Now(Reply::refuse(response::SYSTEM_ERROR, format!("disable ({key}=false)")))
}

/// The name server.
pub struct Names {
    pub(crate) options: Options,
    pub(crate) table: Table,
    pub(crate) kv: Kv,
    /// Name and id of the broker in this process.
    local: Option<(String, i64)>,
    /// What the last registration showed.
    pub(crate) rival: Option<Rival>,
}

impl Names {
    /// A name server that knows nothing yet.
    pub fn new(options: Options) -> Names {
        Names { options, table: Table::default(), kv: Kv::default(), local: None, rival: None }
    }

    /// Enters the broker in the same process. It never expires, and no request can remove it.
    /// Call it once, before [`Names::publish_topic`].
    pub fn set_local(&mut self, broker: LocalBroker) {
        debug_assert!(self.local.is_none());
        self.table.open(&broker.name, &broker.cluster);
        self.table.put_replica(&broker.name, broker.broker_id, Replica::local(broker.advertised));
        self.local = Some((broker.name, broker.broker_id));
    }

    /// Takes up other settings.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// What routes say at most of the local broker's topics (`brokerPermission`).
    pub fn set_local_permission(&mut self, allowed: i32) {
        if let Some((name, _)) = &self.local
            && let Some(broker) = self.table.broker_mut(name)
        {
            broker.allowed = allowed;
        }
    }

    /// Enters or changes a topic of the local broker. Without a local broker it does nothing.
    pub fn publish_topic(&mut self, topic: &TopicConfig) {
        if topic.topic_name != STATE_TOPIC
            && let Some((name, _)) = &self.local
            && let Some(broker) = self.table.broker_mut(name)
        {
            broker.put_topic(&topic.topic_name, Queues::of(topic));
        }
    }

    /// Removes a topic of the local broker.
    pub fn retract_topic(&mut self, topic: &str) {
        if let Some((name, _)) = &self.local
            && let Some(broker) = self.table.broker_mut(name)
        {
            broker.remove_topic(topic);
        }
    }

    /// Whether a broker's name and id are those of the broker in this process.
    pub(crate) fn is_local(&self, name: &str, id: i64) -> bool {
        self.local.as_ref().is_some_and(|local| local.0 == name && local.1 == id)
    }

    /// The name of the broker in this process.
    pub(crate) fn local_name(&self) -> Option<&str> {
        self.local.as_ref().map(|local| local.0.as_str())
    }

    /// Applies one request. A change must be in the caller's log before the answer leaves.
    pub fn handle(
        &mut self,
        request: Request,
        caller: &Caller,
        now_ms: u64,
    ) -> (Answer, Option<KvChange>) {
        let answer = match request {
            Request::PutKv(entry) => return self.put_kv(&entry),
            Request::DeleteKv(entry) => return self.delete_kv(&entry),
            Request::GetKv(entry) => self.get_kv(&entry),
            Request::ListKv { namespace } => self.list_kv(&namespace),
            Request::Route { .. } if now_ms < self.options.no_routes_before_ms => {
                let remark = "name server not ready (needWaitForService, waitSecondsForService)";
                Answer::Now(Reply::refuse(response::SYSTEM_ERROR, remark))
            }
            Request::Route { topic, standard_json } => self.route(topic, standard_json, caller),
            Request::Clusters => self.clusters(caller),
            Request::Topics if !self.options.list_all_topics => disabled("enableAllTopicList"),
            Request::TopicsOfCluster { .. } | Request::TopicsWithFlags { .. }
                if !self.options.list_topics =>
            {
                disabled("enableTopicList")
            }
            Request::Topics => self.topics(),
            Request::TopicsOfCluster { cluster } => self.topics_of_cluster(cluster),
            Request::SystemTopics => self.system_topics(caller),
            Request::TopicsWithFlags { of, set } => self.topics_with_flags(of, set),
            Request::DeleteTopic(header) => self.delete_topic(&header),
            Request::Register(registration) => self.register(*registration, caller, now_ms),
            Request::Unregister(header) => self.unregister(&header),
            Request::RegisterTopic { topic, queues } => self.register_topic(&topic, &queues),
            Request::QueryDataVersion { broker, version } => {
                self.query_data_version(&broker, version, now_ms)
            }
            Request::Heartbeat(header) => self.heartbeat(&header, now_ms),
            Request::WipeWritePerm { broker } => self.wipe_write_perm(&broker),
            Request::AddWritePerm { broker } => self.add_write_perm(&broker),
        };
        (answer, None)
    }

    /// Whether the last request was the registration of a broker that calls itself like another. It is told
    /// once of two.
    pub fn take_rival(&mut self) -> Option<Rival> {
        self.rival.take()
    }

    /// Takes up a change that the caller's log holds. At start, before the first request.
    pub fn restore_kv(&mut self, change: KvChange) {
        self.kv.apply(change);
    }

    /// All KV entries, as changes that would make them again: for the caller's snapshot.
    pub fn kv_entries(&self) -> impl Iterator<Item = KvChange> + '_ {
        self.kv.entries()
    }

    /// The brokers that registered last over this connection leave at once.
    pub fn connection_closed(&mut self, connection: u64) -> Vec<Departed> {
        self.table.remove_connection(connection)
    }

    /// The brokers that were silent too long leave. Call it every few seconds; close their
    /// connections, so that a broker that only hung connects and registers again.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Departed> {
        self.table.remove_expired(now_ms)
    }
}
