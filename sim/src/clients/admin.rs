//! The administrator: topics and groups come and go, offsets are reset, KV entries are set.

use kerolox_engine::{Incoming, Request};
use kerolox_protocol::remoting::admin::{CreateTopic, DeleteGroup, ResetOffset, TopicQuestion};
use kerolox_protocol::remoting::client::{ConsumerData, Heartbeat, SubscriptionData};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::books::settings::Group;
use crate::clients::{Around, Asked, Clients, GROUPS, TOPICS, What, pick};
use crate::violation::{Checked, ensure};

/// The administrator's connection.
const CLIENT: u64 = 90;

impl Clients {
    /// The administrator does something.
    pub(super) fn administrate(&mut self, around: &mut Around<'_>) -> Checked<Option<Incoming>> {
        let rng = &mut *around.rng;
        let (topic, group) = (pick(rng, &TOPICS), pick(rng, &GROUPS));
        let (what, request) = match rng.below(16) {
            0..4 => create_topic(topic, around),
            4 => {
                let question = TopicQuestion { topic: topic.into() };
                (What::DeleteTopic, Request::DeleteTopic(question))
            }
            5..7 => create_group(group, around),
            7 => {
                let offsets = rng.one_in(2);
                let header = DeleteGroup { group_name: group.into(), clean_offset: offsets };
                (What::DeleteGroup { name: group.into(), offsets }, Request::DeleteGroup(header))
            }
            8..10 => match reset(group, topic, around) {
                Some(reset) => reset,
                None => return Ok(None),
            },
            10..13 => heartbeat(group, topic, around),
            _ => {
                self.set_kv(around);
                return Ok(None);
            }
        };
        around.events.add(|| format!("admin: {what:?}"));
        Ok(Some(self.incoming(CLIENT, what, request, around.books)))
    }

    /// Sets or removes an entry of the name server's KV configuration, as the shell does for it.
    fn set_kv(&mut self, around: &mut Around<'_>) {
        let rng = &mut *around.rng;
        let (namespace, key) = (pick(rng, &["n0", "n1"]), pick(rng, &["k0", "k1", "k2"]));
        let value = (!rng.one_in(4)).then(|| rng.below(1_000_000).to_string());
        around.events.add(|| format!("admin: {namespace} {key} = {value:?}"));
        let broker = &mut *around.broker;
        if !broker.takes_changes() {
            return;
        }
        let at = broker.engine.put_kv(namespace, key, value.as_deref(), around.clock.now());
        let request = Request::AllGroups;
        let incoming = self.incoming(CLIENT, What::Kv, request, around.books);
        broker.out.reply_at(incoming.origin, Reply::ok(), at);
        around.books.kv((namespace.into(), key.into()), value, at.0);
    }
}

fn create_topic(topic: &str, around: &mut Around<'_>) -> (What, Request) {
    let rng = &mut *around.rng;
    // Queues are never taken away: what they hold could not be read any more.
    let known = around.books.settings.topics.get(topic).map_or(1, |known| known.read_queue_nums);
    let queues = (known + rng.below(2) as i32).min(4);
    let header = CreateTopic {
        topic: topic.into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        attributes: Some(format!("+lite.topic.expiration={}", rng.below(3)).into()),
        ..CreateTopic::default()
    };
    (What::CreateTopic { name: topic.into(), queues }, Request::CreateTopic(header))
}

fn create_group(group: &str, around: &mut Around<'_>) -> (What, Request) {
    let config = Group {
        group_name: group.into(),
        retry_max_times: 1 + around.rng.below(4) as i32,
        ..Group::default()
    };
    (What::CreateGroup { config: Box::new(config.clone()) }, Request::CreateGroup(config))
}

fn reset(group: &str, topic: &str, around: &mut Around<'_>) -> Option<(What, Request)> {
    let queues = around.books.settings.topics.get(topic)?.read_queue_nums;
    if !around.books.settings.groups.contains_key(group) {
        return None;
    }
    let queue = around.rng.below(queues as u64) as i32;
    let (min, max) = around.broker.engine.state.topics.by_name(topic)?.range(queue);
    let offset = min + around.rng.below((max - min + 1) as u64) as i64;
    let header = ResetOffset {
        group: group.into(),
        topic: topic.into(),
        queue_id: Some(queue),
        offset: Some(offset),
        timestamp: -1,
        is_force: true,
    };
    let what = What::Reset { group: group.into(), topic: topic.into(), queue, offset };
    Some((what, Request::ResetOffset(header)))
}

fn heartbeat(group: &str, topic: &str, around: &mut Around<'_>) -> (What, Request) {
    let subscription = SubscriptionData {
        topic: topic.into(),
        sub_string: "*".into(),
        sub_version: around.clock.now(),
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        group_name: group.into(),
        message_model: "CLUSTERING".into(),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    };
    let beat = Heartbeat {
        client_id: "client".into(),
        consumer_data_set: vec![consumer],
        ..Heartbeat::default()
    };
    (What::Heartbeat, Request::Heartbeat(beat))
}

/// A topic was made: it has what was asked for.
pub(super) fn topic_made(name: &str, queues: i32, around: &mut Around<'_>) -> Checked {
    let known = around.books.settings.topics.get(name);
    ensure!(
        known.is_some_and(|known| known.read_queue_nums == queues),
        "{name} should have {queues} queues: {known:?}"
    );
    Ok(())
}

/// Something that is refused only while nothing can change.
pub(super) fn accepted(asked: &Asked, reply: &Reply, around: &Around<'_>) -> Checked {
    let refused = reply.code == response::SERVICE_NOT_AVAILABLE && !around.broker.takes_changes();
    ensure!(
        reply.code == response::SUCCESS || refused,
        "{asked:?} was refused: {} {:?}",
        reply.code,
        reply.remark
    );
    Ok(())
}
