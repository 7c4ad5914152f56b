//! 205 and 327: an admin takes a broker out of sending, to stop it without losses, and brings it
//! back. In: a broker name. Out: how many topics that touched; 0 if the broker is unknown.
//!
//! It lasts until the broker says anew what a topic's permission is.

use kerolox_protocol::remoting::registration::{AddReply, WipeReply};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};

use crate::names::{Answer, Names};
use crate::table::Broker;

impl Names {
    /// 205.
    pub(crate) fn wipe_write_perm(&mut self, broker: &str) -> Answer {
        let wipe_topic_count = self.change_perm(broker, Broker::wipe_write);
        Answer::Now(Reply::with(ReplyFields::Wipe(WipeReply { wipe_topic_count })))
    }

    /// 327.
    pub(crate) fn add_write_perm(&mut self, broker: &str) -> Answer {
        let add_topic_count = self.change_perm(broker, Broker::add_write);
        Answer::Now(Reply::with(ReplyFields::Add(AddReply { add_topic_count })))
    }

    fn change_perm(&mut self, name: &str, change: fn(&mut Broker)) -> i32 {
        let Some(broker) = self.table.broker_mut(name) else { return 0 };
        change(broker);
        i32::try_from(broker.topics().len()).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use kerolox_protocol::remoting::admin::TopicConfig;

    use crate::testing::Server;
    use crate::{Advertised, Options};

    #[test]
    fn a_broker_loses_write_and_gets_it_back() {
        let mut server = Server::new(Options::default());
        server.register("a", 0, 1, "t:6 u:4 v:2");
        server.register("b", 0, 1, "t:6 u:6");
        server.check(
            205,
            &[("brokerName", "a")],
            expect![[r#"
            0
            wipeTopicCount=3"#]],
        );
        assert_eq!((server.route("t"), server.route("v")), ("a/4 b/6".into(), "a/0".into()));
        // The same registration again does not undo it; a changed one does.
        server.register("a", 0, 1, "t:6 u:4 v:2");
        assert_eq!(server.route("t"), "a/4 b/6");
        server.check(
            327,
            &[("brokerName", "a")],
            expect![[r#"
            0
            addTopicCount=3"#]],
        );
        assert_eq!((server.route("t"), server.route("u")), ("a/6 b/6".into(), "a/6 b/6".into()));
        server.ask(205, &[("brokerName", "a")], b"");
        server.register("a", 0, 2, "t:6 u:4");
        assert_eq!((server.route("t"), server.route("u")), ("a/6 b/6".into(), "a/4 b/6".into()));
    }

    #[test]
    fn the_local_broker_too_until_it_says_anew() {
        let mut server = Server::with_local(Advertised::Local { port: 1 });
        let topic = TopicConfig { topic_name: "t".into(), ..TopicConfig::default() };
        server.names.publish_topic(&topic);
        server.ask(205, &[("brokerName", "local")], b"");
        assert_eq!(server.route("t"), "local/4");
        server.names.publish_topic(&topic);
        assert_eq!(server.route("t"), "local/6");
    }

    #[test]
    fn an_unknown_broker_has_no_topics() {
        let mut server = Server::new(Options::default());
        server.check(
            205,
            &[("brokerName", "nil")],
            expect![[r#"
            0
            wipeTopicCount=0"#]],
        );
        server.check(
            327,
            &[],
            expect![[r#"
            0
            addTopicCount=0"#]],
        );
    }
}
