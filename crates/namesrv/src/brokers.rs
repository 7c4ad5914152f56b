//! What brokers of other processes say of themselves: 103, 104, 217, 322, 904. In: registrations
//! and heartbeats. Out: the table changed; to a slave, where its master is.

use std::sync::Arc;

use kerolox_protocol::names::{DERIVED_TOPIC_LENGTH_MAX, STATE_TOPIC};
use kerolox_protocol::remoting::admin::DataVersion;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::registration::{
    BrokerHeartbeat, DataVersionReply, QueryDataVersion, RegisterReply, UnregisterBroker,
};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};
use kerolox_protocol::remoting::route::QueueData;

use crate::kv::{self, ORDER_TOPIC_CONFIG};
use crate::limits;
use crate::names::{Answer, Caller, Names};
use crate::registration::Registration;
use crate::suggest::excerpt;
use crate::table::{Advertised, Lease, MASTER_ID, Queues, Replica, Rival};

/// The `MQVersion` (5.0.0) from which on a slave's topics count while there is no master.
const SLAVE_TOPICS_VERSION: i32 = 413;

impl Names {
    /// 103: a registration may hold all topics of the broker or some of them (that is how brokers
    /// tell a change), so topics that it does not name stay.
    pub(crate) fn register(
        &mut self,
        registration: Registration,
        caller: &Caller,
        now_ms: u64,
    ) -> Answer {
        if let Err(remark) = self.check_registration(&registration) {
            let remark = format!("register broker failed: {remark}");
            return Answer::Now(Reply::refuse(response::SYSTEM_ERROR, remark));
        }
        let takes_topics = self.takes_topics(&registration);
        let Registration { header, topics, version, .. } = registration;
        let (name, id, address) = (&*header.broker_name, header.broker_id, &*header.broker_addr);

        // A slave that became master, or the other way round, has one place only.
        let broker = self.table.open(name, &header.cluster_name);
        let elsewhere =
            |(i, r): (&i64, &Replica)| (*i != id && r.registered_at(address)).then_some(*i);
        let former: Vec<i64> = broker.replicas.iter().filter_map(elsewhere).collect();

        let known = broker.replicas.get(&id);
        let displaced = known.and_then(|known| displaced(known, address, caller));
        if let (Some(known), Some(other)) = (known, &displaced)
            && known.displaced.as_deref() != Some(address)
            && !known.registered_at(address)
        {
            self.rival = Some(Rival {
                cluster: broker.cluster.to_string(),
                broker_name: name.to_owned(),
                broker_id: id,
                address: address.to_owned(),
                other: other.to_string(),
            });
        }
        let unchanged = known.is_some_and(|r| r.registered_at(address) && r.version == version);
        let timeout_ms = header.heartbeat_timeout_millis.and_then(|ms| u64::try_from(ms).ok());
        let lease = Lease {
            connection: caller.connection,
            seen_ms: now_ms,
            timeout_ms: timeout_ms.filter(|ms| *ms > 0).unwrap_or(self.options.broker_expiry_ms),
        };
        let ha_address =
            (!header.ha_server_addr.is_empty()).then(|| (&*header.ha_server_addr).into());
        let address = Advertised::Fixed(address.into());
        self.table.put_replica(
            name,
            id,
            Replica { address, ha_address, version, lease: Some(lease), displaced },
        );
        for id in former {
            self.table.remove_replica(name, id);
        }

        let broker = self.table.open(name, &header.cluster_name);
        broker.acting_master = header.enable_acting_master;
        if takes_topics {
            // One topic alone tells a change.
            if self.options.delete_with_registration && topics.len() != 1 {
                broker.retain_topics(&topics);
            }
            broker.put_topics(topics, |known| !unchanged || !known);
            if id != MASTER_ID && broker.acting_master {
                broker.wipe_write(); // a stand-in serves reads alone
            }
        }

        let mut fields = RegisterReply::default();
        if id != MASTER_ID
            && let Some(master) = broker.replicas.get(&MASTER_ID)
        {
            fields.master_addr = Some(master.address.seen_at(caller.local_ip).into());
            fields.ha_server_addr = master.ha_address.as_deref().map(Into::into);
        }
        let fields = ReplyFields::Register(fields);
        if !self.options.return_order_topics {
            return Answer::Now(Reply::with(fields));
        }
        match self.kv.snapshot(ORDER_TOPIC_CONFIG) {
            None => Answer::Now(Reply::with(fields)),
            Some(entries) => {
                Answer::later(move || Reply { fields, ..Reply::json(&kv::table(&entries)) })
            }
        }
    }

    fn check_registration(&self, registration: &Registration) -> Result<(), String> {
        let Registration { header, topics, version, .. } = registration;
        let (name, id, address) = (&*header.broker_name, header.broker_id, &*header.broker_addr);
        for (what, text, max) in [
            ("brokerName", name, limits::NAME_LENGTH_MAX),
            ("clusterName", &*header.cluster_name, limits::NAME_LENGTH_MAX),
            ("brokerAddr", address, limits::ADDRESS_LENGTH_MAX),
            ("haServerAddr", &*header.ha_server_addr, limits::ADDRESS_LENGTH_MAX),
        ] {
            if text.len() > max || (text.is_empty() && what != "haServerAddr") {
                return Err(format!("{what} has {} bytes; 1 to {max} are allowed", text.len()));
            }
        }
        if id < 0 {
            return Err(format!("brokerId {id} is negative"));
        }
        if self.is_local(name, id) {
            return Err(format!(
                "{name} with brokerId {id} is the broker in this process; give {address} another \
                 brokerName or brokerId"
            ));
        }
        let brokers = self.table.brokers();
        let broker = brokers.get(name);
        let known = broker.and_then(|broker| broker.replicas.get(&id));
        if known.is_none() && topics.len() == 1 {
            // It tells a change to a name server that does not know the rest.
            return Err(format!(
                "{name} with brokerId {id} is not known here yet, so its first registration must \
                 hold all its topics"
            ));
        }
        if let Some(known) = known
            && !known.registered_at(address)
            && known.version.state_version > version.state_version
        {
            return Err(format!(
                "{name} with brokerId {id} is registered from another address with a newer state \
                 ({} against {})",
                known.version.state_version, version.state_version
            ));
        }
        if broker.is_none() && brokers.count() >= limits::BROKERS_MAX {
            return Err(format!("{} broker names are known, no more fit", limits::BROKERS_MAX));
        }
        let replicas = broker.map_or(0, |broker| broker.replicas.len());
        if known.is_none() && replicas >= limits::REPLICAS_MAX {
            return Err(format!("{name} has {} replicas, no more fit", limits::REPLICAS_MAX));
        }
        if !self.takes_topics(registration) {
            return Ok(());
        }
        self.check_room(name, topics.len(), || {
            topics.keys().filter(|topic| !brokers.has(name, topic)).count()
        })
    }

    /// Whether a registration's topics are entered: a master's are, and a slave's while no other
    /// replica has a lower id, so that its topics can be read when the master is gone. Slaves of
    /// version 4 never did that.
    fn takes_topics(&self, registration: &Registration) -> bool {
        let Registration { header, mq_version, .. } = registration;
        let id = header.broker_id;
        let broker = self.table.brokers().get(&header.broker_name);
        let mut others = broker.iter().flat_map(|broker| &broker.replicas);
        let is_lowest = others.all(|(i, r)| *i >= id || r.registered_at(&header.broker_addr));
        id == MASTER_ID || (is_lowest && *mq_version >= SLAVE_TOPICS_VERSION)
    }

    /// Whether topics of other processes' brokers fit in. `new` counts those of `offered` that are
    /// not there yet; it is asked only if that matters.
    fn check_room(
        &self,
        name: &str,
        offered: usize,
        new: impl Fn() -> usize,
    ) -> Result<(), String> {
        let brokers = self.table.brokers();
        // What the local broker has is its own matter.
        let own = self.local_name().filter(|local| *local != name);
        let own = own.and_then(|own| brokers.get(own)).map_or(0, |own| own.topics().len());
        let rows = brokers.topic_rows() - own;
        if rows + offered > limits::TOPIC_ROWS_MAX && rows + new() > limits::TOPIC_ROWS_MAX {
            let max = limits::TOPIC_ROWS_MAX;
            return Err(format!("{max} topics of other brokers are known, no more fit"));
        }
        Ok(())
    }

    /// 104: what is not there counts as removed, as in Apache.
    pub(crate) fn unregister(&mut self, header: &UnregisterBroker) -> Answer {
        if let Some(id) = self.replica_at(&header.broker_name, &header.broker_addr) {
            self.table.remove_replica(&header.broker_name, id);
        }
        Answer::Now(Reply::ok())
    }

    /// 217: one topic, on brokers that are known. All of them, or nothing is changed.
    pub(crate) fn register_topic(&mut self, topic: &str, queues: &[QueueData]) -> Answer {
        if let Err(remark) = self.check_topic(topic, queues) {
            return Answer::Now(Reply::refuse(response::SYSTEM_ERROR, remark));
        }
        for queues in queues {
            if let Some(broker) = self.table.broker_mut(&queues.broker_name) {
                broker.put_topic(topic, Queues::from(queues));
            }
        }
        Answer::Now(Reply::ok())
    }

    fn check_topic(&self, topic: &str, queues: &[QueueData]) -> Result<(), String> {
        if topic.is_empty() || topic.len() > DERIVED_TOPIC_LENGTH_MAX || topic == STATE_TOPIC {
            return Err(format!("{:?} is no topic that can be registered", excerpt(topic)));
        }
        for queues in queues {
            let name = queues.broker_name.as_str();
            if self.table.brokers().get(name).is_none() {
                return Err(format!(
                    "the broker {:?} is not known here; it must register itself (103) first",
                    excerpt(name)
                ));
            }
            if self.is_local(name, MASTER_ID) {
                return Err(format!("{name} is the broker in this process; create {topic} there"));
            }
            let brokers = self.table.brokers();
            self.check_room(name, 1, || usize::from(!brokers.has(name, topic)))?;
        }
        Ok(())
    }

    /// 322: whether a broker must register again. It also counts as a sign of life.
    pub(crate) fn query_data_version(
        &mut self,
        header: &QueryDataVersion,
        version: DataVersion,
        now_ms: u64,
    ) -> Answer {
        let stored = self.seen(&header.cluster_name, &header.broker_addr, now_ms);
        let changed = stored != Some(version);
        let fields = ReplyFields::DataVersion(DataVersionReply { changed });
        Answer::Now(match stored {
            Some(stored) => Reply { fields, ..Reply::json(&stored) },
            None => Reply::with(fields),
        })
    }

    /// 904.
    pub(crate) fn heartbeat(&mut self, header: &BrokerHeartbeat, now_ms: u64) -> Answer {
        self.seen(&header.cluster_name, &header.broker_addr, now_ms);
        Answer::Now(Reply::ok())
    }

    /// Notes a sign of life of the broker at an address of a cluster, whatever its name, as in Apache. None: it is
    /// not known.
    fn seen(&mut self, cluster: &str, address: &str, now_ms: u64) -> Option<DataVersion> {
        let (name, id) = self.table.brokers().iter().find_map(|(name, broker)| {
            let mut replicas = broker.replicas.iter().filter(|_| *broker.cluster == *cluster);
            let (id, _) = replicas.find(|(_, replica)| replica.registered_at(address))?;
            Some((name.clone(), *id))
        })?;
        let replica = self.table.broker_mut(&name)?.replicas.get_mut(&id)?;
        replica.lease.as_mut()?.seen_ms = now_ms;
        Some(replica.version)
    }

    /// The id under which a broker of another process registered with this address.
    fn replica_at(&self, name: &str, address: &str) -> Option<i64> {
        let replicas = &self.table.brokers().get(name)?.replicas;
        replicas.iter().find(|(_, replica)| replica.registered_at(address)).map(|(id, _)| *id)
    }
}

/// Whose place a registration takes: the other one's address, as long as that is connected.
fn displaced(known: &Replica, address: &str, caller: &Caller) -> Option<Arc<str>> {
    if known.registered_at(address) {
        return known.displaced.clone();
    }
    // A broker that moves says so over the same connection, or has lost the one before.
    let other = known.lease.filter(|lease| lease.connection != caller.connection);
    match (&known.address, other) {
        (Advertised::Fixed(address), Some(_)) => Some(address.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use kerolox_protocol::remoting::admin::TopicConfig;

    use crate::testing::{Server, registration};
    use crate::{Advertised, Departed, Options};

    fn departed(name: &str, id: i64, connection: u64) -> Departed {
        let address = format!("{name}:{}", 1 + id);
        Departed { broker_name: name.into(), broker_id: id, address, connection }
    }

    #[test]
    fn a_master_brings_its_topics_and_a_slave_learns_of_it() {
        let mut server = Server::new(Options::default());
        assert_eq!(server.register("a", 0, 1, "t:6 u:6"), "0");
        expect![[r#"
            0
            haServerAddr=ha:9
            masterAddr=a:1"#]]
        .assert_eq(&server.register("a", 1, 1, "other:6 another:6"));
        assert_eq!((server.route("t"), server.route("other")), ("a/6".into(), "none".into()));
        // A change holds some topics; the others stay.
        assert_eq!(server.register("a", 0, 2, "u:4"), "0");
        assert_eq!((server.route("t"), server.route("u")), ("a/6".into(), "a/4".into()));
    }

    #[test]
    fn order_configurations_go_to_brokers() {
        let mut server = Server::new(Options::default());
        server.ask(
            100,
            &[("namespace", "ORDER_TOPIC_CONFIG"), ("key", "t"), ("value", "a:4")],
            b"",
        );
        server.register("a", 0, 1, "t:6 u:6");
        expect![[r#"
            0
            haServerAddr=ha:9
            masterAddr=a:1
            {"table":{"t":"a:4"}}"#]]
        .assert_eq(&server.register("a", 1, 1, ""));
    }

    #[test]
    fn an_unchanged_version_enters_only_what_is_missing() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:6");
        server.ask(216, &[("topic", "u")], b"");
        server.register("a", 0, 1, "t:2 u:4");
        assert_eq!((server.route("t"), server.route("u")), ("a/6".into(), "a/4".into()));
    }

    #[test]
    fn a_first_registration_with_one_topic_is_refused() {
        let mut server = Server::new(Options::default());
        let refusal = server.register("a", 0, 1, "t:6");
        assert!(refusal.starts_with("1 register broker failed"), "{refusal}");
        assert_eq!(server.names.table.brokers().count(), 0);
        server.register("a", 0, 1, "");
        assert_eq!(server.register("a", 0, 2, "t:6"), "0");
        assert_eq!(server.route("t"), "a/6");
    }

    #[test]
    fn the_local_broker_cannot_be_replaced_or_removed() {
        let mut server = Server::with_local(Advertised::Fixed("local:1".into()));
        server
            .names
            .publish_topic(&TopicConfig { topic_name: "t".into(), ..TopicConfig::default() });
        let refusal = server.register("local", 0, 1, "x:6 y:6");
        assert!(refusal.contains("is the broker in this process"), "{refusal}");
        server.ask(104, &[("brokerName", "local"), ("brokerAddr", "local:1")], b"");
        let route = r#"{"queueDatas":[{"brokerName":"local","perm":6}]}"#;
        assert!(server.ask(217, &[("topic", "t2")], route.as_bytes()).starts_with("1 "));
        assert!(server.names.expire(u64::MAX).is_empty());
        assert_eq!(server.route("t"), "local/6");
        // Its slave is welcome, learns where its master is, and may go again.
        expect![[r#"
            0
            masterAddr=local:1"#]]
        .assert_eq(&server.register("local", 1, 1, "t:2 u:2"));
        assert_eq!((server.route("t"), server.route("u")), ("local/6".into(), "none".into()));
        assert_eq!(server.names.connection_closed(1), [departed("local", 1, 1)]);
        assert_eq!(server.route("t"), "local/6");
    }

    #[test]
    fn two_brokers_that_call_themselves_the_same_are_told_of_once() {
        let mut server = Server::new(Options::default());
        let register = |server: &mut Server, address: &str, connection: u64| {
            server.caller.connection = connection;
            let fields = [
                ("brokerName", "a"),
                ("brokerAddr", address),
                ("clusterName", "C"),
                ("brokerId", "0"),
            ];
            assert_eq!(server.ask(103, &fields, registration(1, "").as_bytes()), "0");
            server.names.take_rival().map(|rival| format!("{} {}", rival.other, rival.address))
        };
        assert_eq!(register(&mut server, "x:1", 1), None);
        assert_eq!(register(&mut server, "x:2", 1), None, "it moved");
        assert_eq!(register(&mut server, "y:1", 2).as_deref(), Some("x:2 y:1"));
        for (address, connection) in [("y:1", 2), ("x:2", 1), ("y:1", 2), ("x:2", 1)] {
            assert_eq!(register(&mut server, address, connection), None);
        }
        assert_eq!(register(&mut server, "z:1", 3).as_deref(), Some("x:2 z:1"));
        server.names.connection_closed(3);
        assert_eq!(register(&mut server, "x:3", 4), None, "the one before is gone");
    }

    #[test]
    fn bad_headers_are_refused() {
        let mut server = Server::new(Options::default());
        for (field, value) in [
            ("brokerName", ""),
            ("brokerName", &"a".repeat(256)),
            ("clusterName", ""),
            ("brokerAddr", ""),
            ("haServerAddr", &"h".repeat(261)),
            ("brokerId", "-1"),
            ("brokerId", "zero"),
        ] {
            let mut fields = vec![
                ("brokerName", "a"),
                ("brokerAddr", "a:1"),
                ("clusterName", "C"),
                ("brokerId", "0"),
            ];
            fields.push((field, value)); // the last one of a name counts
            let reply = server.ask(103, &fields, b"");
            assert!(reply.starts_with("1 "), "{field}: {reply}");
        }
        assert_eq!(server.names.table.brokers().count(), 0);
    }

    #[test]
    fn an_older_state_does_not_take_the_place_of_a_newer() {
        let mut server = Server::new(Options::default());
        let mut register = |address: &str, state: u32| {
            let fields = [
                ("brokerName", "a"),
                ("brokerAddr", address),
                ("clusterName", "C"),
                ("brokerId", "0"),
            ];
            let state = format!(r#""stateVersion":{state}"#);
            let body = registration(1, "").replace(r#""stateVersion":0"#, &state);
            server.ask(103, &fields, body.as_bytes())
        };
        assert_eq!(register("x:1", 5), "0");
        assert!(register("y:1", 4).starts_with("1 register broker failed"));
        assert_eq!(register("y:1", 5), "0");
    }

    #[test]
    fn a_slave_that_becomes_master_moves() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:6");
        server.register("a", 1, 1, "");
        let fields =
            [("brokerName", "a"), ("brokerAddr", "a:2"), ("clusterName", "C"), ("brokerId", "0")];
        server.ask(103, &fields, registration(2, "t:6 u:6").as_bytes());
        let reply = server.ask(105, &[("topic", "t")], b"");
        assert!(reply.contains(r#""brokerAddrs":{"0":"a:2"}"#), "{reply}");
    }

    #[test]
    fn a_stand_in_serves_reads_alone() {
        let mut server = Server::new(Options::default());
        let fields = |id, address| {
            [
                ("brokerName", "a"),
                ("brokerAddr", address),
                ("clusterName", "C"),
                ("brokerId", id),
                ("enableActingMaster", "true"),
            ]
        };
        let body = registration(1, "t:6 u:6");
        server.ask(103, &fields("0", "m:1"), body.as_bytes());
        server.ask(103, &fields("1", "s:1"), body.as_bytes());
        server.ask(104, &[("brokerName", "a"), ("brokerAddr", "m:1")], b"");
        assert_eq!(server.route("t"), "a/4");
        server.ask(103, &fields("1", "s:1"), registration(2, "t:6 u:6 v:6").as_bytes());
        assert_eq!((server.route("t"), server.route("v")), ("a/4".into(), "a/4".into()));
        server.ask(103, &fields("0", "m:1"), registration(3, "t:6 u:6").as_bytes());
        assert_eq!(server.route("t"), "a/6");
    }

    #[test]
    fn a_slaves_topics_count_while_no_master_is_known_but_not_those_of_version_4() {
        for (mq_version, route) in [(513, "a/6"), (400, "none")] {
            let mut server = Server::new(Options::default());
            server.mq_version = mq_version;
            assert_eq!(server.register("a", 1, 1, "t:6 u:6"), "0");
            assert_eq!(server.route("t"), route);
        }
    }

    #[test]
    fn unregistering_removes_the_broker_with_its_last_replica() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:6");
        server.register("a", 1, 1, "");
        server.register("b", 0, 1, "t:6 u:6");
        server.check(104, &[("brokerName", "a"), ("brokerAddr", "other:1")], expect!["0"]);
        server.check(104, &[("brokerName", "nil"), ("brokerAddr", "a:1")], expect!["0"]);
        server.check(104, &[("brokerName", "a"), ("brokerAddr", "a:1")], expect!["0"]);
        assert_eq!(server.route("t"), "a/6 b/6");
        server.check(104, &[("brokerName", "a"), ("brokerAddr", "a:2")], expect!["0"]);
        assert_eq!(server.route("t"), "b/6");
    }

    #[test]
    fn a_closed_connection_takes_along_who_registered_last_over_it() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:6");
        server.register("b", 0, 1, "t:6 u:6");
        server.caller.connection = 2;
        server.register("a", 0, 1, "t:6 u:6"); // came back over another connection
        server.register("c", 3, 1, "t:6 u:6");
        assert_eq!(server.names.connection_closed(1), [departed("b", 0, 1)]);
        assert_eq!(server.names.connection_closed(1), []);
        assert_eq!(server.route("t"), "a/6 c/6");
        let gone = [departed("a", 0, 2), departed("c", 3, 2)];
        assert_eq!(server.names.connection_closed(2), gone);
        assert_eq!(server.route("t"), "none");
    }

    #[test]
    fn silence_expires_and_each_sign_of_life_counts() {
        let mut server = Server::new(Options::default());
        let at = [("brokerName", "a"), ("brokerAddr", "a:1"), ("clusterName", "C")];
        server.register("a", 0, 1, "t:6 u:6");
        server.now_ms = 100_000;
        server.check(904, &at, expect!["0"]);
        assert_eq!(server.names.expire(220_000), []);
        server.now_ms = 220_000;
        server.ask(322, &at, b"");
        assert_eq!(server.names.expire(340_000), []);
        assert_eq!(server.names.expire(340_001), [departed("a", 0, 1)]);
        assert_eq!(server.names.expire(340_001), []);
        assert_eq!(server.names.connection_closed(1), []);
        server.check(904, &at, expect!["0"]);
        assert_eq!(server.route("t"), "none");
    }

    #[test]
    fn a_broker_may_choose_its_own_expiry() {
        let mut server = Server::new(Options::default());
        let fields = [
            ("brokerName", "a"),
            ("brokerAddr", "a:1"),
            ("clusterName", "C"),
            ("brokerId", "0"),
            ("heartbeatTimeoutMillis", "10"),
        ];
        server.ask(103, &fields, b"");
        assert_eq!(server.names.expire(10), []);
        assert_eq!(server.names.expire(11), [departed("a", 0, 1)]);
    }

    #[test]
    fn a_broker_asks_whether_its_version_is_known() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 3, "t:6 u:6");
        let mut ask = |address, body: &str| {
            let at = [("brokerName", "other"), ("brokerAddr", address), ("clusterName", "C")];
            server.ask(322, &at, body.as_bytes())
        };
        expect![[r#"
            0
            changed=false
            {"counter":3,"stateVersion":0,"timestamp":7}"#]]
        .assert_eq(&ask("a:1", r#"{"counter":3,"stateVersion":0,"timestamp":7}"#));
        expect![[r#"
            0
            changed=true
            {"counter":3,"stateVersion":0,"timestamp":7}"#]]
        .assert_eq(&ask("a:1", r#"{"counter":4,"timestamp":7}"#));
        expect![[r#"
            0
            changed=true"#]]
        .assert_eq(&ask("nil:1", "{}"));
    }

    #[test]
    fn one_topic_is_registered_at_known_brokers() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:6");
        let route = |broker: &str| {
            format!(
                r#"{{"queueDatas":[{{"brokerName":"a","perm":4,"readQueueNums":1}},{{"brokerName":"{broker}","perm":6}}]}}"#
            )
        };
        let reply = server.ask(217, &[("topic", "n")], route("nil").as_bytes());
        assert!(reply.starts_with("1 the broker \"nil\" is not known here"), "{reply}");
        assert_eq!(server.route("n"), "none");
        server.register("b", 0, 1, "");
        assert_eq!(server.ask(217, &[("topic", "n")], route("b").as_bytes()), "0");
        assert_eq!(server.route("n"), "a/4 b/6");
        assert_eq!(server.ask(217, &[("topic", "n")], b""), "0");
        assert!(server.ask(217, &[], route("b").as_bytes()).starts_with("1 "));
    }
}
