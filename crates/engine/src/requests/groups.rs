//! 200, 201, 207, 225, 352: consumer groups. 43: all their offsets.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kerolox_protocol::names::{check_group, is_system_group, retry_topic};
use kerolox_protocol::remoting::admin::{
    DeleteGroup, GroupConfig, GroupConfigs, GroupQuestion, GroupTable, TopicQuestion, perm,
};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::change::Change;
use crate::limits::{GROUPS_MAX, QUEUES_MAX, SETTINGS_BYTES_MAX, TOPICS_MAX};
use crate::output::{Answer, Output};
use crate::request::Origin;
use crate::requests::attributes::{self, OF_GROUPS};
use crate::requests::topics::refuse_list;
use crate::turn::Engine;

fn invalid(why: String) -> Reply {
    Reply::refuse(response::INVALID_PARAMETER, why)
}

impl Engine {
    /// 200.
    pub(crate) fn create_group(
        &mut self,
        origin: Origin,
        config: GroupConfig,
        now: i64,
        out: &mut Output,
    ) {
        let config = match self.checked_group(config) {
            Ok(config) => config,
            Err(refusal) => return out.reply(origin, refusal),
        };
        match self.put_group(config, now, out) {
            Ok(()) => out.reply_at(origin, Reply::ok(), self.log.confirm_at()),
            Err(refusal) => out.reply(origin, refusal),
        }
    }

    /// Makes or changes a group, and makes its retry topic.
    fn put_group(&mut self, config: GroupConfig, now: i64, out: &mut Output) -> Result<(), Reply> {
        let (name, queues) = (config.group_name.clone(), config.retry_queue_nums);
        let unchanged = self.state.groups.get(&name).is_some_and(|known| **known == config);
        if !unchanged {
            self.change(&Change::GroupPut(Cow::Owned(config)), now);
        }
        let retry = retry_topic(&name);
        if queues > 0 && self.state.topics.find(&retry).is_none() {
            self.make_topic(&retry, queues, perm::READ | perm::WRITE, now, out)?;
        }
        Ok(())
    }

    /// 225: all of them, or none.
    pub(crate) fn create_groups(
        &mut self,
        origin: Origin,
        list: GroupConfigs,
        now: i64,
        out: &mut Output,
    ) {
        let list = list.group_config_list;
        let names: BTreeSet<&str> = list.iter().map(|config| &*config.group_name).collect();
        let new = names.iter().filter(|name| self.state.groups.get(name).is_none()).count();
        let makes_topic = |config: &&GroupConfig| {
            let retry = retry_topic(&config.group_name);
            config.retry_queue_nums > 0 && self.state.topics.find(&retry).is_none()
        };
        let many = self.state.groups.count() + new > GROUPS_MAX
            || self.state.topics.count() + list.iter().filter(makes_topic).count() > TOPICS_MAX;
        let refusal = refuse_list(list.len(), names.len())
            .or_else(|| many.then(|| "no room for so many groups; delete unused ones".to_owned()));
        let checked = match refusal {
            Some(why) => Err(invalid(why)),
            None => list.into_iter().map(|config| self.checked_group(config)).collect(),
        };
        let list: Vec<GroupConfig> = match checked {
            Ok(list) => list,
            Err(refusal) => return out.reply(origin, refusal),
        };
        for config in list {
            if let Err(refusal) = self.put_group(config, now, out) {
                out.reply(origin, refusal);
                return;
            }
        }
        out.reply_at(origin, Reply::ok(), self.log.confirm_at());
    }

    /// Settings as they will be stored: attributes change those that are known, as Apache's broker does it.
    /// Their keys have a sign before them: `+key` sets, `-key` removes.
    fn checked_group(&self, mut config: GroupConfig) -> Result<GroupConfig, Reply> {
        check_group(&config.group_name).map_err(invalid)?;
        let known = self.state.groups.get(&config.group_name);
        let current = known.map(|known| &known.attributes);
        config.attributes = attributes::alter(OF_GROUPS, current, &config.attributes)
            .map_err(|why| Reply::refuse(response::SYSTEM_ERROR, why))?;
        if config.retry_queue_nums > QUEUES_MAX {
            return Err(invalid(format!(
                "retryQueueNums is {}, at most {QUEUES_MAX} are possible",
                config.retry_queue_nums
            )));
        }
        let size = serde_json::to_vec(&config).map_or(usize::MAX, |json| json.len());
        if size > SETTINGS_BYTES_MAX {
            return Err(invalid(format!(
                "the settings have {size} bytes, {SETTINGS_BYTES_MAX} are possible"
            )));
        }
        if known.is_none() && self.state.groups.count() >= GROUPS_MAX {
            return Err(invalid(format!("no more than {GROUPS_MAX} groups; delete unused ones")));
        }
        Ok(config)
    }

    /// 207: with `cleanOffset` also its offsets, and its retry topic.
    pub(crate) fn delete_group(
        &mut self,
        origin: Origin,
        header: &DeleteGroup,
        now: i64,
        out: &mut Output,
    ) {
        let group = &*header.group_name;
        if is_system_group(group) {
            let remark = format!("the group[{group}] is the system's own");
            out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, remark));
            return;
        }
        // No such group can exist; and its name would go into the log, however long.
        if let Err(why) = check_group(group) {
            out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, why));
            return;
        }
        let clean_offsets = header.clean_offset;
        if self.state.groups.get(group).is_some() || clean_offsets {
            self.change(&Change::GroupDelete { group: group.into(), clean_offsets }, now);
            self.rates.forget_group(group);
        }
        if clean_offsets {
            let header = TopicQuestion { topic: retry_topic(group).into() };
            self.delete_topic(origin, &header, now, out);
            return;
        }
        out.reply_at(origin, Reply::ok(), self.log.confirm_at());
    }

    /// 352.
    pub(crate) fn group_config(
        &mut self,
        origin: Origin,
        header: &GroupQuestion,
        now: i64,
        out: &mut Output,
    ) {
        // Apache's broker makes the group here, too, where that is allowed.
        self.group_exists(&header.group, now);
        let reply = match self.state.groups.get(&header.group) {
            Some(config) => Reply::json(&**config),
            None => Reply::refuse(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("No group in this broker. group: {}", header.group),
            ),
        };
        out.reply_at(origin, reply, self.log.confirm_at());
    }

    /// 201.
    pub(crate) fn all_groups(&mut self, origin: Origin, out: &mut Output) {
        let (view, data_version) = (self.state.groups.view(), self.state.groups.version());
        let job = move || {
            let rows = view.iter().map(|(name, config)| (name.to_string(), (**config).clone()));
            Reply::json(&GroupTable {
                data_version,
                forbidden_table: BTreeMap::new(),
                subscription_group_table: rows.collect(),
            })
        };
        out.answer(origin, Answer::Later(Box::new(job)), None);
    }

    /// 43.
    pub(crate) fn all_offsets(&mut self, origin: Origin, out: &mut Output) {
        let mut table: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
        for (group, topic, queue, offset) in self.state.offsets.iter() {
            table.entry(format!("{topic}@{group}")).or_default().insert(queue, offset);
        }
        out.reply(origin, Reply::json(&serde_json::json!({ "offsetTable": table })));
    }
}
