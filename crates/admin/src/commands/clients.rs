//! Clients that are connected: consumers with what they want, and producers.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use kerolox_protocol::remoting::admin::{self, Connection, ProducerGroup, ProducerInfo};
use kerolox_protocol::remoting::codes::{request, version};
use serde::Deserialize;
use serde_json::json;

use super::Run;
use crate::admin::{Admin, Asked, on_each};
use crate::consumers::{is_absent, named_or_holders, online};
use crate::out::{Cell, Column, Out, list};

/// Options of `consumerConnection`.
#[derive(Debug, clap::Args)]
pub struct ConsumerConnection {
    #[arg(short = 'g', long = "consumerGroup", value_name = "GROUP")]
    group: String,
    /// Ask this broker only; without it: all that know the group
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    broker: Option<String>,
}

const CLIENTS: [Column; 4] = [
    Column::left("#ClientId", "clientId", 36).gap(1),
    Column::left("#ClientAddr", "clientAddr", 22).gap(1),
    Column::left("#Language", "language", 10).gap(1),
    Column::left("#Version", "version", 10),
];

const SUBSCRIPTIONS: [Column; 2] = [
    Column::left("#Topic", "topic", 20).gap(1),
    Column::left("#SubExpression", "subExpression", 20),
];

fn row_of(client: &Connection) -> Vec<Cell> {
    vec![
        client.client_id.as_str().into(),
        client.client_addr.as_str().into(),
        client.language.as_str().into(),
        version::name(client.version).into(),
    ]
}

impl Run for ConsumerConnection {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let group = self.group.trim();
        let brokers = named_or_holders(admin, self.broker.as_deref(), group).await?;
        let mut asked = Asked::default();
        let of = online(admin, &brokers, group, &mut asked).await?.group;
        let rows: Vec<_> = of.connection_set.iter().map(row_of).collect();
        let wanted: Vec<Vec<Cell>> = of
            .subscription_table
            .iter()
            .map(|(topic, of)| vec![topic.as_str().into(), of.sub_string.as_str().into()])
            .collect();
        if out.is_json() {
            out.value(json!({
                "clients": list(&CLIENTS, &rows),
                "subscriptions": list(&SUBSCRIPTIONS, &wanted),
                "consumeType": of.consume_type,
                "messageModel": of.message_model,
                "consumeFromWhere": of.consume_from_where,
            }));
            return asked.result();
        }
        out.table(&CLIENTS, &rows);
        out.line("\nBelow is subscription:");
        out.table(&SUBSCRIPTIONS, &wanted);
        out.line("");
        out.line(format!("ConsumeType: {}", of.consume_type));
        out.line(format!("MessageModel: {}", of.message_model));
        out.line(format!("ConsumeFromWhere: {}", of.consume_from_where));
        asked.result()
    }
}

/// Options of `producerConnection`.
#[derive(Debug, clap::Args)]
pub struct ProducerConnection {
    #[arg(short = 'g', long = "producerGroup", value_name = "GROUP")]
    group: String,
    /// The brokers that hold this topic are asked
    #[arg(short = 't', long = "topic")]
    topic: String,
}

const PRODUCERS: [Column; 5] = [
    Column::left("", "index", 4),
    Column::left("", "clientId", 32).gap(1),
    Column::left("", "clientAddr", 22).gap(1),
    Column::left("", "language", 8).gap(1),
    Column::left("", "version", 10),
];

impl Run for ProducerConnection {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (group, topic) = (self.group.trim(), self.topic.trim());
        let brokers = admin.holders(topic).await?;
        let question = ProducerGroup { producer_group: group.into() };
        let mut clients = BTreeMap::new();
        let asked = on_each(&brokers, async |broker| {
            let code = request::GET_PRODUCER_CONNECTION_LIST;
            let found: admin::ProducerConnection =
                match admin.ask(&broker.address, code, &question).await {
                    Ok(reply) => reply.json()?,
                    Err(e) if is_absent(&e) => return Ok(()),
                    Err(e) => return Err(e),
                };
            for client in found.connection_set {
                clients.entry(client.client_id.clone()).or_insert(client);
            }
            Ok(())
        })
        .await;
        if clients.is_empty() {
            asked?;
            bail!(
                "Not found the producer group connection: no client of producer group {group} is connected to a broker that holds {topic}"
            );
        }
        let rows: Vec<Vec<Cell>> = (1..)
            .zip(clients.values())
            .map(|(index, client)| {
                let mut row = vec![Cell::shown(index, format!("{index:04}"))];
                row.extend(row_of(client));
                row
            })
            .collect();
        match out.is_json() {
            true => out.value(list(&PRODUCERS, &rows)),
            false => rows.iter().for_each(|row| out.row(&PRODUCERS, row)),
        }
        asked
    }
}

/// Options of `producer`.
#[derive(Debug, clap::Args)]
pub struct Producer {
    /// Address (or name) of the broker
    #[arg(short = 'b', long = "broker", value_name = "HOST:PORT")]
    broker: String,
}

/// 328.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Producers {
    data: BTreeMap<String, Vec<ProducerInfo>>,
}

impl Run for Producer {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let broker = admin.broker(self.broker.trim()).await?;
        let reply = admin.ask(&broker.address, request::GET_ALL_PRODUCER_INFO, &()).await?;
        let mut groups = reply.json::<Producers>()?.data;
        for (group, clients) in &mut groups {
            clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
            if clients.is_empty() {
                out.line(format!("producer group ({group}) instances are empty"));
            }
            for client in clients {
                out.line(format!(
                    "producer group ({group}) instance : clientId={},remoteIP={}, language={}, version={}, lastUpdateTimestamp={}",
                    client.client_id,
                    client.remote_ip,
                    client.language,
                    client.version,
                    client.last_update_timestamp
                ));
            }
        }
        out.value(&groups);
        Ok(())
    }
}
