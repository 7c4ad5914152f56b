//! 17, 18, 21, 215, 351: topics.

use std::collections::BTreeSet;

use kerolox_protocol::names::{check_topic, is_system_topic};
use kerolox_protocol::remoting::admin::{
    CreateTopic, TopicConfig, TopicConfigs, TopicQuestion, TopicTable, perm,
};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::remoting::route::TopicList;

use crate::change::Change;
use crate::limits::{LIST_MAX, QUEUES_MAX, TOPICS_MAX};
use crate::output::{Answer, Output};
use crate::request::Origin;
use crate::requests::attributes::{self, Attributes, OF_TOPICS};
use crate::turn::Engine;

impl Engine {
    /// 17.
    pub(crate) fn create_topic(
        &mut self,
        origin: Origin,
        header: &CreateTopic,
        now: i64,
        out: &mut Output,
    ) {
        match self.checked_topic(header) {
            Ok(config) => {
                let unchanged = self
                    .state
                    .topics
                    .by_name(&config.topic_name)
                    .is_some_and(|topic| *topic.config == config);
                if !unchanged {
                    self.put_topic(config, now, out);
                }
                out.reply_at(origin, Reply::ok(), self.log.confirm_at());
            }
            Err(refusal) => out.reply(origin, refusal),
        }
    }

    /// 18: all of them, or none.
    pub(crate) fn create_topics(
        &mut self,
        origin: Origin,
        list: &TopicConfigs,
        now: i64,
        out: &mut Output,
    ) {
        let list = &list.topic_config_list;
        let names: BTreeSet<&str> = list.iter().map(|config| &*config.topic_name).collect();
        let new = names.iter().filter(|name| self.state.topics.find(name).is_none()).count();
        let refusal = refuse_list(list.len(), names.len()).or_else(|| {
            let many = self.state.topics.count() + new > TOPICS_MAX;
            many.then(|| format!("no more than {TOPICS_MAX} topics; delete unused ones"))
        });
        if let Some(why) = refusal {
            out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, why));
            return;
        }
        let checked: Result<Vec<TopicConfig>, Reply> =
            list.iter().map(|config| self.checked_config(config)).collect();
        match checked {
            Ok(configs) => {
                for config in configs {
                    let known = self.state.topics.by_name(&config.topic_name);
                    if known.is_none_or(|topic| *topic.config != config) {
                        self.put_topic(config, now, out);
                    }
                }
                out.reply_at(origin, Reply::ok(), self.log.confirm_at());
            }
            Err(refusal) => out.reply(origin, refusal),
        }
    }

    /// Settings as a list brings them: keys of attributes have a sign before them.
    fn checked_config(&self, config: &TopicConfig) -> Result<TopicConfig, Reply> {
        let header = CreateTopic {
            topic: config.topic_name.as_str().into(),
            default_topic: None,
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            perm: config.perm,
            topic_filter_type: Some(config.topic_filter_type.as_str().into()),
            topic_sys_flag: config.topic_sys_flag,
            order: config.order,
            attributes: None,
        };
        self.checked(&header, &config.attributes)
    }

    fn checked_topic(&self, header: &CreateTopic) -> Result<TopicConfig, Reply> {
        let changes = attributes::parse(header.attributes.as_deref().unwrap_or(""));
        let changes = changes.map_err(|why| Reply::refuse(response::SYSTEM_ERROR, why))?;
        self.checked(header, &changes)
    }

    /// `changes`: of attributes.
    fn checked(&self, header: &CreateTopic, changes: &Attributes) -> Result<TopicConfig, Reply> {
        let invalid = |why: String| Reply::refuse(response::INVALID_PARAMETER, why);
        let name = &*header.topic;
        check_topic(name).map_err(invalid)?;
        if self.is_own_topic(name) {
            return Err(invalid(format!("The topic[{name}] is conflict with system topic.")));
        }
        let queues = 1..=QUEUES_MAX;
        for (what, n) in
            [("readQueueNums", header.read_queue_nums), ("writeQueueNums", header.write_queue_nums)]
        {
            if !queues.contains(&n) {
                let why = format!("{what} is {n}; a topic has 1 to {QUEUES_MAX} queues");
                return Err(invalid(why));
            }
        }
        if !(0..=7).contains(&header.perm) {
            let why =
                format!("perm is {}; it is made of 4 (read), 2 (write), 1 (inherit)", header.perm);
            return Err(invalid(why));
        }
        let known = self.state.topics.by_name(name).map(|topic| topic.config.clone());
        if known.is_none() && self.state.topics.count() >= TOPICS_MAX {
            return Err(invalid(format!("no more than {TOPICS_MAX} topics; delete unused ones")));
        }
        if attributes::is_mixed(changes) {
            return Err(invalid("MIXED message type is not supported.".to_owned()));
        }
        let current = known.as_ref().map(|config| &config.attributes);
        let attributes = attributes::alter(OF_TOPICS, current, changes)
            .map_err(|why| Reply::refuse(response::SYSTEM_ERROR, why))?;
        let filter = header.topic_filter_type.as_deref();
        if let Some(other) = filter.filter(|f| !matches!(*f, "SINGLE_TAG" | "MULTI_TAG")) {
            let why = format!("topicFilterType={other} is neither SINGLE_TAG nor MULTI_TAG");
            return Err(Reply::refuse(response::SYSTEM_ERROR, why));
        }
        Ok(TopicConfig {
            attributes,
            order: header.order,
            perm: header.perm & (perm::READ | perm::WRITE | perm::INHERIT),
            read_queue_nums: header.read_queue_nums,
            topic_filter_type: filter.unwrap_or("SINGLE_TAG").to_owned(),
            topic_name: name.to_owned(),
            topic_sys_flag: header.topic_sys_flag,
            write_queue_nums: header.write_queue_nums,
        })
    }

    /// Whether a topic is the system's: those of the cluster's and the broker's names are, too.
    fn is_own_topic(&self, name: &str) -> bool {
        is_system_topic(name) || *self.config.cluster == *name || *self.config.broker_name == *name
    }

    /// 215: the topic, its queues and the groups' offsets in it are gone.
    pub(crate) fn delete_topic(
        &mut self,
        origin: Origin,
        header: &TopicQuestion,
        now: i64,
        out: &mut Output,
    ) {
        let name = &*header.topic;
        if name.trim().is_empty() {
            let remark = "The specified topic is blank.";
            out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, remark));
            return;
        }
        if self.is_own_topic(name) {
            let remark = format!("The topic[{name}] is conflict with system topic.");
            out.reply(origin, Reply::refuse(response::INVALID_PARAMETER, remark));
            return;
        }
        if let Some(id) = self.state.topics.find(name) {
            let topic = self.state.topics.get_mut(id).expect("found by name");
            self.rates.forget_topic(topic);
            let waiting: Vec<_> = topic
                .used_queues_mut()
                .flat_map(|queue| std::mem::take(&mut queue.parked))
                .collect();
            self.change(&Change::TopicDelete { topic: name.into() }, now);
            self.resets.retain(|(_, topic, _), _| topic != name);
            out.topics.push((name.into(), None));
            for parked in waiting {
                self.deadlines.take(parked.number);
                self.counters.parked = self.counters.parked.saturating_sub(1);
                let remark = format!("topic[{name}] was deleted");
                out.reply(parked.origin, Reply::refuse(response::TOPIC_NOT_EXIST, remark));
            }
        }
        out.reply_at(origin, Reply::ok(), self.log.confirm_at());
    }

    /// 351.
    pub(crate) fn topic_config(
        &mut self,
        origin: Origin,
        header: &TopicQuestion,
        out: &mut Output,
    ) {
        let reply = match self.state.topics.by_name(&header.topic) {
            Some(topic) => Reply::json(&*topic.config),
            None => Reply::refuse(
                response::TOPIC_NOT_EXIST,
                format!("No topic in this broker. topic: {}", header.topic),
            ),
        };
        out.reply(origin, reply);
    }

    /// 21.
    pub(crate) fn all_topics(&mut self, origin: Origin, out: &mut Output) {
        let (view, data_version) = (self.state.topics.view(), self.state.topics.version());
        let job = move || {
            let rows = view.iter().map(|(name, config)| (name.to_string(), (**config).clone()));
            Reply::json(&TopicTable { data_version, topic_config_table: rows.collect() })
        };
        out.answer(origin, Answer::Later(Box::new(job)), None);
    }
}

impl Engine {
    /// 305.
    pub(crate) fn system_topics(&mut self, origin: Origin, out: &mut Output) {
        let view = self.state.topics.view();
        let (cluster, broker) = (self.config.cluster.clone(), self.config.broker_name.clone());
        let own = move |name: &str| is_system_topic(name) || *cluster == *name || *broker == *name;
        let job = move || {
            let names = view.keys().filter(|name| own(name)).map(|name| name.to_string());
            Reply::json(&TopicList { broker_addr: None, topic_list: names.collect() })
        };
        out.answer(origin, Answer::Later(Box::new(job)), None);
    }
}

/// Why a list of settings is refused as a whole, if it is.
pub(crate) fn refuse_list(count: usize, different: usize) -> Option<String> {
    if count > LIST_MAX {
        return Some(format!("the list has {count} entries, {LIST_MAX} are possible at once"));
    }
    (different < count).then(|| "a name stands twice in the list".to_owned())
}
