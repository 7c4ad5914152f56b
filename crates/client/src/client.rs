//! Brokers, found through a name server. In: a topic's name. Out: its masters, and a connection to
//! each, made when first asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kerolox_protocol::remoting::admin::{CreateTopic, perm};
use kerolox_protocol::remoting::route::{BrokerData, TopicRoute};
use tokio::sync::Mutex;

use crate::{Connection, Error, Options, Result};

/// How long a created topic may take to appear at the name server.
const ROUTE_WAIT: Duration = Duration::from_secs(10);

/// A topic's share on one master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    pub broker_name: String,
    /// `host:port`.
    pub addr: String,
    pub read_queues: i32,
    pub write_queues: i32,
}

/// Connections to name servers and brokers, by address.
#[derive(Debug)]
pub struct Client {
    name_servers: Vec<String>,
    options: Options,
    connections: Mutex<HashMap<String, Arc<Connection>>>,
}

impl Client {
    /// Takes the addresses of name servers, with semicolons between, as RocketMQ writes them.
    pub fn new(name_servers: &str, options: Options) -> Self {
        let name_servers = name_servers.split(';').map(str::trim).filter(|addr| !addr.is_empty());
        Client {
            name_servers: name_servers.map(str::to_owned).collect(),
            options,
            connections: Mutex::default(),
        }
    }

    /// The connection to an address: the present one, or a new one.
    pub async fn connection(&self, addr: &str) -> Result<Arc<Connection>> {
        let mut connections = self.connections.lock().await;
        if let Some(connection) = connections.get(addr).filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = Arc::new(Connection::connect_with(addr, self.options.clone()).await?);
        connections.insert(addr.to_owned(), connection.clone());
        Ok(connection)
    }

    /// The connection to the first name server that can be reached.
    pub async fn name_server(&self) -> Result<Arc<Connection>> {
        let mut last = Error::Unknown { addr: "(none)".to_owned(), what: "address".to_owned() };
        for addr in &self.name_servers {
            match self.connection(addr).await {
                Ok(connection) => return Ok(connection),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Where a topic lives; `None` if the name server does not know it.
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRoute>> {
        self.name_server().await?.route(topic).await
    }

    /// The masters that hold a topic; none if it is unknown.
    pub async fn masters(&self, topic: &str) -> Result<Vec<Master>> {
        Ok(self.route(topic).await?.map(|route| masters(&route)).unwrap_or_default())
    }

    /// All masters that the name server knows.
    pub async fn brokers(&self) -> Result<Vec<BrokerData>> {
        let cluster = self.name_server().await?.cluster().await?;
        let brokers = cluster.broker_addr_table.into_values();
        Ok(brokers.filter(|broker| broker.broker_addrs.contains_key(&0)).collect())
    }

    /// The masters that hold a topic. If it is unknown it is created on all of them, with as many
    /// queues on each.
    pub async fn masters_or_create(&self, topic: &str, queues: i32) -> Result<Vec<Master>> {
        let masters = self.masters(topic).await?;
        if !masters.is_empty() {
            return Ok(masters);
        }
        let brokers = self.brokers().await?;
        if brokers.is_empty() {
            return Err(self.unknown("broker").await?);
        }
        for broker in &brokers {
            let connection = self.connection(&broker.broker_addrs[&0]).await?;
            connection.create_topic(&new_topic(topic, queues)).await?;
        }
        let tries = 50;
        for _ in 0..tries {
            let masters = self.masters(topic).await?;
            if masters.len() == brokers.len() {
                return Ok(masters);
            }
            tokio::time::sleep(ROUTE_WAIT / tries).await;
        }
        Err(self
            .unknown(&format!("route to {topic}, which was created {ROUTE_WAIT:?} ago"))
            .await?)
    }

    async fn unknown(&self, what: &str) -> Result<Error> {
        let addr = self.name_server().await?.addr().to_owned();
        Ok(Error::Unknown { addr, what: what.to_owned() })
    }
}

/// A topic with as many read as write queues, and nothing special.
pub fn new_topic(topic: &str, queues: i32) -> CreateTopic {
    CreateTopic {
        topic: topic.into(),
        default_topic: Some("TBW102".into()),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: perm::READ | perm::WRITE,
        topic_filter_type: Some("SINGLE_TAG".into()),
        ..CreateTopic::default()
    }
}

/// The masters in a route, by broker name.
fn masters(route: &TopicRoute) -> Vec<Master> {
    let mut masters = Vec::new();
    for queues in &route.queue_datas {
        let broker = route.broker_datas.iter().find(|b| b.broker_name == queues.broker_name);
        if let Some(addr) = broker.and_then(|b| b.broker_addrs.get(&0)) {
            masters.push(Master {
                broker_name: queues.broker_name.clone(),
                addr: addr.clone(),
                read_queues: queues.read_queue_nums,
                write_queues: queues.write_queue_nums,
            });
        }
    }
    masters.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    masters
}

impl Connection {
    /// How a topic lies on this broker. If it is unknown it is created. Needs no name server.
    pub async fn master_or_create(&self, topic: &str, queues: i32) -> Result<Master> {
        let (read_queues, write_queues) = match self.topic_config(topic).await? {
            Some(config) => (config.read_queue_nums, config.write_queue_nums),
            None => {
                self.create_topic(&new_topic(topic, queues)).await?;
                (queues, queues)
            }
        };
        let addr = self.addr().to_owned();
        Ok(Master { broker_name: String::new(), addr, read_queues, write_queues })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::json;

    #[test]
    fn only_masters_count() {
        let text = br#"{"brokerDatas":[{"brokerAddrs":{0:"h:1",1:"h:2"},"brokerName":"b"},{"brokerAddrs":{1:"h:3"},"brokerName":"a"}],"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":1,"writeQueueNums":1},{"brokerName":"b","perm":6,"readQueueNums":3,"writeQueueNums":2}]}"#;
        let route: TopicRoute = json::from_slice(text).unwrap();
        let expected =
            Master { broker_name: "b".into(), addr: "h:1".into(), read_queues: 3, write_queues: 2 };
        assert_eq!(masters(&route), [expected]);
    }
}
