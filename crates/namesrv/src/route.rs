//! 105: where a topic lives. In: a topic. Out: its brokers' addresses and queues, or code 17, on
//! which producers ask for `TBW102` next.

use kerolox_protocol::ByteString;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::bare_keys;
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::names::{Answer, Caller, Names};
use crate::suggest;

impl Names {
    pub(crate) fn route(&self, topic: ByteString, standard_json: bool, caller: &Caller) -> Answer {
        let Some(mut route) = self.table.brokers().route(&topic, caller.local_ip) else {
            // The remark looks at all topics.
            let brokers = self.table.brokers().clone();
            let never = self.local_name().filter(|_| !self.options.local_auto_create);
            let never = never.map(str::to_owned);
            return Answer::later(move || {
                let remark = suggest::unknown_topic(&topic, &brokers, never.as_deref());
                Reply::refuse(response::TOPIC_NOT_EXIST, remark)
            });
        };
        if self.options.order_message_enable {
            let conf = self.kv.get(ORDER_TOPIC_CONFIG, &topic);
            route.order_topic_conf = conf.map(|conf| conf.to_string());
        }
        Answer::Now(if standard_json {
            Reply::json(&route)
        } else {
            Reply::body(bare_keys::to_vec(&route))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use expect_test::expect;
    use kerolox_protocol::remoting::admin::TopicConfig;

    use crate::testing::Server;
    use crate::{Advertised, Options};

    fn topic(name: &str) -> TopicConfig {
        let (topic_name, read_queue_nums) = (name.to_owned(), 8);
        TopicConfig { topic_name, read_queue_nums, write_queue_nums: 4, ..TopicConfig::default() }
    }

    #[test]
    fn a_route_names_the_address_at_which_the_client_arrived() {
        let mut server = Server::with_local(Advertised::Local { port: 10911 });
        server.names.publish_topic(&topic("t"));
        server.check(105, &[("topic", "t")], expect![[r#"
            0
            {"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"local","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"local","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":4}]}"#]]);
        for (ip, seen) in [("fe80::1", "[fe80::1]:10911"), ("::ffff:192.0.2.7", "192.0.2.7:10911")]
        {
            server.caller.local_ip = ip.parse::<IpAddr>().unwrap();
            let reply = server.ask(105, &[("topic", "t")], b"");
            assert!(reply.contains(&format!(r#"{{"0":"{seen}"}}"#)), "{reply}");
        }
        server.names.retract_topic("t");
        assert!(server.ask(105, &[("topic", "t")], b"").starts_with("17 "));
    }

    #[test]
    fn old_clients_get_bare_number_keys_unless_they_say_otherwise() {
        let mut server = Server::with_local(Advertised::Fixed("host:1".into()));
        server.names.publish_topic(&topic("t"));
        server.mq_version = 317; // what the Go client says
        let reply = server.ask(105, &[("topic", "t")], b"");
        assert!(reply.contains(r#""brokerAddrs":{0:"host:1"},"brokerName""#), "{reply}");
        let reply = server.ask(105, &[("topic", "t"), ("acceptStandardJsonOnly", "true")], b"");
        assert!(reply.contains(r#""brokerAddrs":{"0":"host:1"}"#), "{reply}");
    }

    #[test]
    fn a_route_joins_brokers_in_order() {
        let mut server = Server::new(Options::default());
        server.register("b", 0, 1, "t:6 u:6");
        server.register("a", 0, 1, "t:4 v:6");
        server.register("a", 1, 1, "");
        assert_eq!(server.route("t"), "a/4 b/6");
        let reply = server.ask(105, &[("topic", "v")], b"");
        assert!(reply.contains(r#""brokerAddrs":{"0":"a:1","1":"a:2"}"#), "{reply}");
        assert!(!reply.contains(r#""brokerName":"b""#), "{reply}");
    }

    #[test]
    fn an_order_configuration_is_there_only_with_the_option() {
        for order_message_enable in [false, true] {
            let mut server = Server::new(Options { order_message_enable, ..Options::default() });
            server.register("a", 0, 1, "t:6 u:6");
            let entry = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "t"), ("value", "a:4")];
            server.check(100, &entry, expect!["0"]);
            let reply = server.ask(105, &[("topic", "t")], b"");
            assert_eq!(reply.contains(r#""orderTopicConf":"a:4""#), order_message_enable);
            assert!(!server.ask(105, &[("topic", "u")], b"").contains("orderTopicConf"));
        }
    }

    #[test]
    fn the_local_brokers_switch_counts_more_than_its_topics() {
        let mut server = Server::with_local(Advertised::Fixed("host:1".into()));
        server.names.publish_topic(&topic("TBW102"));
        let asked = [("topic", "new")];
        let on = "The first message sent to it creates it (autoCreateTopicEnable=true)";
        let off = "Topics are not created by sending (autoCreateTopicEnable=false)";
        assert!(server.ask(105, &asked, b"").contains(on));
        server.names.set_options(Options { local_auto_create: false, ..Options::default() });
        assert!(server.ask(105, &asked, b"").contains(off));
        server.register("other", 0, 1, "TBW102:7 x:6");
        assert!(server.ask(105, &asked, b"").contains(on));
    }

    #[test]
    fn an_unknown_topic_comes_with_help() {
        let mut server = Server::new(Options::default());
        server.check(105, &[("topic", "t")], expect![[r#"
            17 No topic route info in name server for the topic: t
            No broker is registered here: start one that has this name server in its namesrvAddr."#]]);
        server.register("a", 0, 1, "orders:6 order:6 payments:6 %RETRY%ordrs:6");
        server.check(105, &[("topic", "Ordrs")], expect![[r#"
            17 No topic route info in name server for the topic: Ordrs
            Brokers here: a. Did you mean orders? Topics are not created by sending (autoCreateTopicEnable=false): create it with updateTopic -c C -t Ordrs."#]]);
        for i in 0..6 {
            server.register(&format!("b{i}"), 0, 1, "TBW102:7 other:6");
        }
        server.check(105, &[("topic", "new")], expect![[r#"
            17 No topic route info in name server for the topic: new
            Brokers here: a, b0, b1, b2, b3 and 2 more. The first message sent to it creates it (autoCreateTopicEnable=true)."#]]);
        let reply = server.ask(105, &[("topic", &"é".repeat(100_000))], b"");
        assert!(reply.len() < 2000);
        server.check(105, &[], expect![[r#"
            17 No topic route info in name server for the topic: 
            Brokers here: a, b0, b1, b2, b3 and 2 more. No topic can be called that: 1 to 127 of the characters %|a-zA-Z0-9_- are."#]]);
        for (topic, why) in [
            ("a b", "No topic can be called that: 1 to 127"),
            (&"a".repeat(128), "No topic can be called that: 1 to 127"),
            ("SCHEDULE_TOPIC_XXXX", "It is one of the system's own."),
            ("%RETRY%g", "It is made along with its consumer group."),
            ("%DLQ%g", "It is made when its consumer group gives a message up."),
        ] {
            let reply = server.ask(105, &[("topic", topic)], b"");
            assert!(reply.contains(why), "{topic}: {reply}");
            assert!(!reply.contains("creates it"), "{topic}: {reply}");
        }
    }
}
