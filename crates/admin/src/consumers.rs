//! What brokers know of a consumer group, asked of each of them and put together.
//!
//! A broker that fails is no reason to hide what the others said: functions that merge return what is known,
//! and note in [`Asked`] which brokers failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use kerolox_protocol::names::retry_topic;
use kerolox_protocol::remoting::admin::{ConsumeStatsQuestion, ConsumerConnection, OffsetWrapper};
use kerolox_protocol::remoting::client::{ConsumerGroup, RunningInfo};
use kerolox_protocol::remoting::codes::{request, response};

use crate::admin::{Admin, Asked, Broker, Refusal, addresses, holders, refused_with};
use crate::bodies::ConsumeStats;
use crate::running::Running;

/// The brokers that know a group: those with its retry topic.
pub async fn holders_of_group(admin: &Admin, group: &str) -> Result<Vec<Broker>> {
    let retry = retry_topic(group);
    match admin.find_route(&retry).await? {
        Some(route) => Ok(holders(&route)),
        None => bail!(
            "no broker knows a group {group}: there is no topic {retry}; consumerProgress lists the groups"
        ),
    }
}

/// The broker at an address if one is named, else those that know the group.
pub async fn named_or_holders(
    admin: &Admin,
    address: Option<&str>,
    group: &str,
) -> Result<Vec<Broker>> {
    match address {
        Some(address) => Ok(vec![admin.broker(address.trim()).await?]),
        None => holders_of_group(admin, group).await,
    }
}

/// Those of some brokers that belong to a cluster, if one is named.
pub fn in_cluster(mut brokers: Vec<Broker>, cluster: Option<&str>) -> Result<Vec<Broker>> {
    let Some(cluster) = cluster.map(str::trim) else { return Ok(brokers) };
    let known: BTreeSet<_> = brokers.iter().map(|broker| broker.cluster.clone()).collect();
    brokers.retain(|broker| broker.cluster == cluster);
    ensure!(
        !brokers.is_empty(),
        "-c {cluster}: no broker of this cluster was found; there are brokers of {}",
        known.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(brokers)
}

/// How many messages a group has before it in a queue.
pub fn lag(row: &OffsetWrapper) -> i64 {
    row.broker_offset.saturating_sub(row.consumer_offset)
}

/// How many messages clients have in hand that are not consumed.
pub fn inflight(row: &OffsetWrapper) -> i64 {
    row.pull_offset.saturating_sub(row.consumer_offset)
}

/// A sum that numbers from afar cannot overflow.
pub fn total(numbers: impl Iterator<Item = i64>) -> i64 {
    numbers.fold(0, i64::saturating_add)
}

/// 208 of each broker: how far a group is, in one topic or in all.
pub async fn progress(
    admin: &Admin,
    brokers: &[Broker],
    group: &str,
    topic: Option<&str>,
    asked: &mut Asked,
) -> ConsumeStats {
    let question = ConsumeStatsQuestion {
        consumer_group: group.into(),
        topic: topic.map(Into::into),
        topic_list: None,
    };
    let mut all = ConsumeStats::default();
    let ask = async |broker: &Broker| {
        let code = request::GET_CONSUME_STATS;
        let reply = admin.ask(&broker.address, code, &question).await?;
        let stats: ConsumeStats = reply.json()?;
        all.offset_table.extend(stats.offset_table);
        all.consume_tps += stats.consume_tps;
        Ok(())
    };
    asked.each(brokers, ask).await;
    all
}

/// A group's clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// Each client once, sorted by id.
    pub group: ConsumerConnection,
    /// A broker that each is connected to.
    pub at: BTreeMap<String, String>,
}

impl Clients {
    /// Nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    fn add(&mut self, of: ConsumerConnection, address: &str) {
        let mut merged = std::mem::take(&mut self.group);
        let mut subscriptions = of.subscription_table;
        for client in of.connection_set {
            // A client is connected to every broker, from another port each time: one of them is shown.
            if !self.at.contains_key(&client.client_id) {
                self.at.insert(client.client_id.clone(), address.to_owned());
                merged.connection_set.push(client);
            }
        }
        merged.connection_set.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        subscriptions.append(&mut merged.subscription_table);
        self.group = ConsumerConnection {
            connection_set: merged.connection_set,
            subscription_table: subscriptions,
            consume_from_where: of.consume_from_where,
            consume_type: of.consume_type,
            message_model: of.message_model,
        };
    }
}

/// 203 of each broker: a group's clients. None if it is offline everywhere.
pub async fn clients(admin: &Admin, brokers: &[Broker], group: &str, asked: &mut Asked) -> Clients {
    let question = ConsumerGroup { consumer_group: group.into() };
    let mut all = Clients::default();
    let ask = async |broker: &Broker| {
        let code = request::GET_CONSUMER_CONNECTION_LIST;
        match admin.ask(&broker.address, code, &question).await {
            Ok(reply) => all.add(reply.json()?, &broker.address),
            Err(e) if refused_with(&e) == Some(response::CONSUMER_NOT_ONLINE) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    };
    asked.each(brokers, ask).await;
    all
}

/// [`clients`] of a group that must be online.
pub async fn online(
    admin: &Admin,
    brokers: &[Broker],
    group: &str,
    asked: &mut Asked,
) -> Result<Clients> {
    let clients = clients(admin, brokers, group, asked).await;
    if clients.is_empty() {
        std::mem::take(asked).result()?;
        bail!(
            "Not found the consumer group connection: no client of group {group} is connected to {}",
            addresses(brokers).join(", ")
        );
    }
    Ok(clients)
}

/// A broker waits for a client up to ten seconds before it says that this one does not answer.
const CLIENT_WAIT: Duration = Duration::from_secs(15);

/// 307: what a client is doing, through a broker that it is connected to.
pub async fn running(
    admin: &Admin,
    address: &str,
    group: &str,
    client: &str,
    jstack: bool,
) -> Result<Running> {
    let question = RunningInfo {
        consumer_group: group.into(),
        client_id: client.into(),
        jstack_enable: jstack,
    };
    let code = request::GET_CONSUMER_RUNNING_INFO;
    let reply = admin.ask_within(address, code, &question, admin.patience(CLIENT_WAIT)).await;
    let reply = reply.map_err(|e| anyhow!("client {client} tells nothing of itself: {e:#}"))?;
    Ok(reply.json()?)
}

/// Whether a broker only does not know what it was asked for. There is no code of its own for that in the
/// answers to 204 and 315.
pub fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| {
        refusal.code == response::SYSTEM_ERROR && refusal.remark.contains("not exist")
    })
}
