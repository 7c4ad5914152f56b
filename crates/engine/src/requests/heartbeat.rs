//! 34, 35, 38: who is there. A heartbeat makes its consumer groups and their retry topics.

use std::borrow::Cow;

use kerolox_protocol::names::{check_group, is_system_group, retry_topic};
use kerolox_protocol::remoting::admin::{GroupConfig, perm};
use kerolox_protocol::remoting::client::{ConsumerGroup, ConsumerList, Heartbeat, Unregister};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::change::Change;
use crate::limits::GROUPS_MAX;
use crate::output::Output;
use crate::request::Origin;
use crate::turn::Engine;

/// Longest client id in bytes.
const CLIENT_ID_MAX: usize = 1024;

impl Engine {
    /// 34.
    pub(crate) fn heartbeat(
        &mut self,
        origin: Origin,
        beat: &Heartbeat,
        now: i64,
        out: &mut Output,
    ) {
        if beat.client_id.is_empty() || beat.client_id.len() > CLIENT_ID_MAX {
            let remark =
                format!("the heartbeat's clientID is missing or longer than {CLIENT_ID_MAX} bytes");
            out.reply(origin, Reply::refuse(response::SYSTEM_ERROR, remark));
            return;
        }
        for producer in &beat.producer_data_set {
            if check_group(&producer.group_name).is_ok() {
                let group = &producer.group_name;
                self.members.producer_beats(group, &beat.client_id, origin, now);
            }
        }
        let mut changed = Vec::new();
        let before = self.log.confirm_at();
        for consumer in &beat.consumer_data_set {
            let group = &consumer.group_name;
            if self.config.reject_pull_consumers && consumer.consume_type == "CONSUME_ACTIVELY" {
                continue;
            }
            // As in Apache's broker, one that may not be made is passed over: pulls say why.
            if !self.group_exists(group, now) {
                continue;
            }
            let queues = self.state.groups.get(group).map_or(1, |config| config.retry_queue_nums);
            let retry = retry_topic(group);
            if queues > 0 && self.state.topics.find(&retry).is_none() {
                let made = self.make_topic(&retry, queues, perm::READ | perm::WRITE, now, out);
                if made.is_err() {
                    continue;
                }
            }
            let keep = beat.without_sub;
            let id = &beat.client_id;
            if self.members.consumer_beats(consumer, id, origin, keep, now) {
                changed.push(group);
            }
        }
        // Only what this heartbeat itself changed is waited for: on a disk that takes no changes,
        // consumers go on.
        if self.log.confirm_at() == before {
            out.reply(origin, Reply::ok());
        } else {
            out.reply_at(origin, Reply::ok(), self.log.confirm_at());
        }
        for group in changed {
            self.notify_group(group, out);
        }
    }

    /// Whether a group is there; it is made if that is allowed.
    pub(crate) fn group_exists(&mut self, group: &str, now: i64) -> bool {
        if self.state.groups.get(group).is_some() {
            return true;
        }
        let allowed = self.config.auto_create_group || is_system_group(group);
        let full = self.state.groups.count() >= GROUPS_MAX || self.takes_no_changes().is_some();
        if !allowed || check_group(group).is_err() || full {
            return false;
        }
        let config = GroupConfig { group_name: group.to_owned(), ..GroupConfig::default() };
        self.change(&Change::GroupPut(Cow::Owned(config)), now);
        true
    }

    /// 35.
    pub(crate) fn unregister(&mut self, origin: Origin, header: &Unregister, out: &mut Output) {
        if let Some(group) = &header.producer_group {
            self.members.remove_producer(group, &header.client_id);
        }
        if let Some(group) = &header.consumer_group
            && self.members.remove_consumer(group, &header.client_id)
        {
            self.notify_group(group, out);
        }
        out.reply(origin, Reply::ok());
    }

    /// 38.
    pub(crate) fn consumer_list(
        &mut self,
        origin: Origin,
        header: &ConsumerGroup,
        out: &mut Output,
    ) {
        let reply = match self.members.group(&header.consumer_group) {
            Some(group) => {
                let consumer_id_list = group.clients.keys().cloned().collect();
                Reply::json(&ConsumerList { consumer_id_list })
            }
            None => Reply::refuse(
                response::SYSTEM_ERROR,
                format!("no consumer for this group, {}", header.consumer_group),
            ),
        };
        out.reply(origin, reply);
    }
}
