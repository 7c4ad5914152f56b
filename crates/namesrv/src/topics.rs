//! Lists and deletion: 106, 206, 216, 224, 304, 311 to 313. In: nothing, a cluster or a topic. Out: lists, written
//! from a snapshot of the table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use kerolox_protocol::ByteString;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::registration::DeleteTopicInNames;
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::remoting::route::{ClusterInfo, TopicList};

use crate::names::{Answer, Caller, Names};
use crate::table::{Broker, Brokers};
use crate::{bare_keys, limits};

impl Names {
    /// 106.
    pub(crate) fn clusters(&self, caller: &Caller) -> Answer {
        let (brokers, local_ip) = (self.table.brokers().clone(), caller.local_ip);
        // Apache writes number keys bare here whatever the client's version is.
        Answer::later(move || bounded(bare_keys::to_vec(&cluster_info(&brokers, local_ip))))
    }

    /// 206.
    pub(crate) fn topics(&self) -> Answer {
        let brokers = self.table.brokers().clone();
        Answer::later(move || topic_list(&brokers, |_| true))
    }

    /// 224: an unknown cluster has no topics, as in Apache.
    pub(crate) fn topics_of_cluster(&self, cluster: ByteString) -> Answer {
        let brokers = self.table.brokers().clone();
        Answer::later(move || topic_list(&brokers, |broker| *broker.cluster == *cluster))
    }

    /// 304: each cluster has a topic of its name, and so has each broker. The address is a broker's, whom to
    /// ask for the rest (305).
    pub(crate) fn system_topics(&self, caller: &Caller) -> Answer {
        let (brokers, local_ip) = (self.table.brokers().clone(), caller.local_ip);
        Answer::later(move || {
            let info = cluster_info(&brokers, local_ip);
            let addresses = info.broker_addr_table.values().flat_map(|broker| &broker.broker_addrs);
            let broker_addr = addresses.map(|(_, address)| address.clone()).next();
            let clusters = info.cluster_addr_table.into_iter();
            let names: BTreeSet<String> = clusters
                .flat_map(|(cluster, brokers)| brokers.into_iter().chain([cluster]))
                .collect();
            let list = TopicList { broker_addr, topic_list: names.into_iter().collect() };
            bounded(serde_json::to_vec(&list).expect("a list of texts can be written"))
        })
    }

    /// 311, 312, 313.
    pub(crate) fn topics_with_flags(&self, of: i32, set: i32) -> Answer {
        let brokers = self.table.brokers().clone();
        Answer::later(move || {
            let topics = brokers.iter().flat_map(|(_, broker)| broker.topics());
            let wanted = topics.filter(|(_, queues)| queues.sys_flag & of == set);
            let names: BTreeSet<&Arc<str>> = wanted.map(|(topic, _)| topic).collect();
            let topic_list = names.into_iter().map(|topic| topic.to_string()).collect();
            let list = TopicList { broker_addr: None, topic_list };
            bounded(serde_json::to_vec(&list).expect("a list of texts can be written"))
        })
    }

    /// 216: the topics of the broker in this process are left alone: that broker says itself what
    /// it has (with Apache the next registration would bring them back).
    pub(crate) fn delete_topic(&mut self, header: &DeleteTopicInNames) -> Answer {
        let cluster = header.cluster_name.as_deref().filter(|cluster| !cluster.is_empty());
        for name in self.table.names() {
            if self.local_name() != Some(&*name)
                && let Some(broker) = self.table.broker_mut(&name)
                && cluster.is_none_or(|cluster| *broker.cluster == *cluster)
            {
                broker.remove_topic(&header.topic);
            }
        }
        Answer::Now(Reply::ok())
    }
}

fn cluster_info(brokers: &Brokers, local_ip: IpAddr) -> ClusterInfo {
    let mut info = ClusterInfo::default();
    for (name, broker) in brokers.iter() {
        info.broker_addr_table.insert(name.to_string(), broker.data(name, local_ip));
        let members = info.cluster_addr_table.entry(broker.cluster.to_string()).or_default();
        members.push(name.to_string());
    }
    info
}

fn topic_list(brokers: &Brokers, wanted: impl Fn(&Broker) -> bool) -> Reply {
    let wanted = brokers.iter().filter(|(_, broker)| wanted(broker));
    let topics: BTreeSet<&Arc<str>> = wanted.flat_map(|(_, b)| b.topics().keys()).collect();
    let topic_list = topics.into_iter().map(|topic| topic.to_string()).collect();
    let list = TopicList { broker_addr: None, topic_list };
    bounded(serde_json::to_vec(&list).expect("a list of texts can be written"))
}

/// A frame that is too long would cost the client its connection.
fn bounded(body: Vec<u8>) -> Reply {
    if body.len() > limits::BODY_SIZE_MAX {
        let remark = format!(
            "the list has {} bytes, more than the {} that fit in a frame; ask for less, \
             such as the topics of one cluster",
            body.len(),
            limits::BODY_SIZE_MAX
        );
        return Reply::refuse(response::SYSTEM_ERROR, remark);
    }
    Reply::body(body)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use kerolox_protocol::remoting::admin::TopicConfig;

    use super::*;
    use crate::testing::Server;
    use crate::{Advertised, Options};

    fn cluster_d(server: &mut Server) {
        let fields =
            [("brokerName", "d"), ("brokerAddr", "d:1"), ("clusterName", "D"), ("brokerId", "0")];
        let body = crate::testing::registration(1, "t:6 z:6");
        assert_eq!(server.ask(103, &fields, body.as_bytes()), "0");
    }

    #[test]
    fn clusters_and_topics_are_listed() {
        let mut server = Server::with_local(Advertised::Local { port: 5 });
        server.register("a", 0, 1, "t:6 u:6");
        server.register("a", 1, 1, "");
        cluster_d(&mut server);
        server.check(106, &[], expect![[r#"
            0
            {"brokerAddrTable":{"a":{"brokerAddrs":{0:"a:1",1:"a:2"},"brokerName":"a","cluster":"C","enableActingMaster":false},"d":{"brokerAddrs":{0:"d:1"},"brokerName":"d","cluster":"D","enableActingMaster":false},"local":{"brokerAddrs":{0:"10.0.0.1:5"},"brokerName":"local","cluster":"C","enableActingMaster":false}},"clusterAddrTable":{"C":["a","local"],"D":["d"]}}"#]]);
        server.check(
            206,
            &[],
            expect![[r#"
            0
            {"topicList":["t","u","z"]}"#]],
        );
        server.check(
            224,
            &[("cluster", "C")],
            expect![[r#"
            0
            {"topicList":["t","u"]}"#]],
        );
        server.check(
            224,
            &[("cluster", "nil")],
            expect![[r#"
            0
            {"topicList":[]}"#]],
        );
    }

    #[test]
    fn a_late_answer_shows_the_moment_of_the_question() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:6");
        let answer = server.names.topics();
        server.names.connection_closed(1);
        assert_eq!(&answer.reply().body.slices()[0][..], br#"{"topicList":["t","u"]}"#);
        server.check(
            206,
            &[],
            expect![[r#"
            0
            {"topicList":[]}"#]],
        );
    }

    #[test]
    fn a_topic_is_deleted_in_one_cluster_or_all_but_not_here() {
        let mut server = Server::with_local(Advertised::Local { port: 5 });
        server.register("a", 0, 1, "t:6 u:6");
        cluster_d(&mut server);
        let local = TopicConfig { topic_name: "t".into(), ..TopicConfig::default() };
        server.names.publish_topic(&local);
        server.check(216, &[("topic", "t"), ("clusterName", "D")], expect!["0"]);
        assert_eq!(server.route("t"), "a/6 local/6");
        server.check(216, &[("topic", "t"), ("clusterName", "")], expect!["0"]);
        assert_eq!(server.route("t"), "local/6");
        server.check(216, &[("topic", "u")], expect!["0"]);
        server.check(216, &[("topic", "never-was")], expect!["0"]);
        assert_eq!(server.route("u"), "none");
    }

    #[test]
    fn a_list_that_no_frame_can_hold_is_refused() {
        let reply = bounded(vec![b' '; limits::BODY_SIZE_MAX + 1]);
        assert_eq!((reply.code, reply.body.size()), (response::SYSTEM_ERROR, 0));
    }
}
