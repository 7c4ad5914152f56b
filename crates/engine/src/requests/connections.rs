//! 203, 204, 328: which clients are connected. 345: what a group subscribes to.

use std::collections::BTreeMap;

use kerolox_protocol::remoting::admin::{
    Connection, ConsumerConnection, GroupInTopic, ProducerConnection, ProducerGroup, ProducerInfo,
};
use kerolox_protocol::remoting::client::ConsumerGroup;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::frame::language_name;
use kerolox_protocol::remoting::reply::Reply;

use crate::members::Client;
use crate::output::{Answer, Output};
use crate::request::Origin;
use crate::turn::Engine;

fn connection((id, client): (&String, &Client)) -> Connection {
    Connection {
        client_addr: client.origin.peer.to_string(),
        client_id: id.clone(),
        language: language_name(client.origin.language).to_owned(),
        version: client.origin.version,
    }
}

impl Engine {
    /// 203.
    pub(crate) fn consumer_connections(
        &mut self,
        origin: Origin,
        header: &ConsumerGroup,
        out: &mut Output,
    ) {
        let reply = match self.members.group(&header.consumer_group) {
            Some(group) => Reply::json(&ConsumerConnection {
                connection_set: group.clients.iter().map(connection).collect(),
                consume_from_where: group.consume_from_where.clone(),
                consume_type: group.consume_type.clone(),
                message_model: group.message_model.clone(),
                subscription_table: group
                    .subscriptions
                    .iter()
                    .map(|(topic, subscription)| (topic.clone(), subscription.data.clone()))
                    .collect(),
            }),
            None => Reply::refuse(
                response::CONSUMER_NOT_ONLINE,
                format!(
                    "the consumer group[{}] not online: no client of it is connected to this broker",
                    header.consumer_group
                ),
            ),
        };
        out.reply(origin, reply);
    }

    /// 204.
    pub(crate) fn producer_connections(
        &mut self,
        origin: Origin,
        header: &ProducerGroup,
        out: &mut Output,
    ) {
        let reply = match self.members.producers(&header.producer_group) {
            Some(clients) => Reply::json(&ProducerConnection {
                connection_set: clients.iter().map(connection).collect(),
            }),
            None => Reply::refuse(
                response::SYSTEM_ERROR,
                format!(
                    "the producer group[{}] not exist: no client of it is connected to this broker",
                    header.producer_group
                ),
            ),
        };
        out.reply(origin, reply);
    }

    /// 328: the producers of all groups.
    pub(crate) fn all_producers(&mut self, origin: Origin, out: &mut Output) {
        let info = |(id, client): (&String, &Client)| ProducerInfo {
            client_id: id.clone(),
            language: language_name(client.origin.language).to_owned(),
            last_update_timestamp: client.seen,
            remote_ip: format!("/{}", client.origin.peer),
            version: client.origin.version,
        };
        let groups: BTreeMap<String, Vec<ProducerInfo>> = self
            .members
            .producer_groups()
            .map(|(group, clients)| (group.clone(), clients.iter().map(info).collect()))
            .collect();
        let work = move || Reply::json(&serde_json::json!({ "data": groups }));
        out.answer(origin, Answer::Later(Box::new(work)), None);
    }

    /// 345: what a group's clients want of a topic; nothing if none is connected.
    pub(crate) fn subscription_of_consumer(
        &mut self,
        origin: Origin,
        header: &GroupInTopic,
        out: &mut Output,
    ) {
        let (group, topic) = (&*header.group, &*header.topic);
        let members = self.members.group(group);
        let subscription = members.and_then(|members| members.subscriptions.get(topic));
        let mut body = serde_json::json!({ "group": group, "topic": topic });
        if let Some(subscription) = subscription {
            body["subscriptionData"] = serde_json::json!(subscription.data);
        }
        out.reply(origin, Reply::json(&body));
    }
}
