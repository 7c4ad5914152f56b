//! The connections of a run, and how brokers are found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use kerolox_client::{Client, Connection, Error, Options, OwnedReply};
use kerolox_protocol::remoting::fields::Fields;
use kerolox_protocol::remoting::route::{BrokerData, ClusterInfo, TopicRoute};

/// Who is asked, and how long.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct Connect {
    /// Name servers, with ; between
    #[arg(
        short = 'n',
        long = "namesrvAddr",
        value_name = "HOST:PORT[;...]",
        global = true,
        env = "NAMESRV_ADDR",
        default_value = "127.0.0.1:9876",
        hide_env_values = true
    )]
    namesrv: String,
    /// How long an answer may take [default: 5; 60 where a broker has much to do, or asks a client]
    #[arg(long, value_name = "SECONDS", global = true)]
    timeout: Option<u64>,
}

/// A broker, or all of a cluster.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// Address (or name) of the broker
    #[arg(short = 'b', long = "brokerAddr", value_name = "HOST:PORT")]
    pub broker: Option<String>,
    /// Every master of this cluster
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// One replica of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub cluster: String,
    /// Empty: only its address is known.
    pub name: String,
    /// 0: the master.
    pub id: i64,
    pub address: String,
}

/// See the module's documentation.
pub struct Admin {
    client: Client,
    servers: Vec<String>,
    /// How long an answer may take, if that was said.
    timeout: Option<Duration>,
}

/// Unless somebody says so.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that may take longer than the common ones.
pub const LONG: Duration = Duration::from_secs(60);

impl Admin {
    /// Connects when the first question is asked.
    pub fn new(connect: Connect) -> Admin {
        let timeout = connect.timeout.map(|seconds| Duration::from_secs(seconds.max(1)));
        let options = Options { timeout: timeout.unwrap_or(TIMEOUT), ..Options::default() };
        let servers = connect.namesrv.split(';').map(str::trim).filter(|addr| !addr.is_empty());
        let servers: Vec<String> = servers.map(str::to_owned).collect();
        Admin { client: Client::new(&servers.join(";"), options), servers, timeout }
    }

    /// How long an answer may take that takes long: what was said, else the common time for such a one.
    pub fn patience(&self, common: Duration) -> Duration {
        self.timeout.unwrap_or(common)
    }

    /// The name servers' addresses, as they were given.
    pub fn name_servers(&self) -> &[String] {
        &self.servers
    }

    /// The connection to an address.
    pub async fn at(&self, address: &str) -> Result<Arc<Connection>> {
        let connection = self.client.connection(address).await;
        connection.map_err(|e| anyhow!("{e}; does a broker or name server listen there?"))
    }

    /// The connection to the first name server that can be reached.
    pub async fn names(&self) -> Result<Arc<Connection>> {
        ensure!(!self.servers.is_empty(), "no name server is named: -n HOST:PORT or NAMESRV_ADDR");
        let connection = self.client.name_server().await;
        connection.map_err(|e| {
            anyhow!("{e}; say where the name server is, with -n HOST:PORT or NAMESRV_ADDR")
        })
    }

    /// Asks something of an address; a refusal is an error.
    pub async fn ask(
        &self,
        address: &str,
        code: i32,
        header: &(dyn Fields + Sync),
    ) -> Result<OwnedReply> {
        self.tell(address, code, header, Bytes::new()).await
    }

    /// Asks something with a body.
    pub async fn tell(
        &self,
        address: &str,
        code: i32,
        header: &(dyn Fields + Sync),
        body: Bytes,
    ) -> Result<OwnedReply> {
        let reply = self.at(address).await?.call(code, header, body).await;
        reply.and_then(OwnedReply::success).map_err(plain)
    }

    /// Asks something that may take longer than other questions: [`LONG`], unless somebody says how long.
    pub async fn ask_long(
        &self,
        address: &str,
        code: i32,
        header: &(dyn Fields + Sync),
    ) -> Result<OwnedReply> {
        self.ask_within(address, code, header, self.patience(LONG)).await
    }

    /// Asks something that may take so long.
    pub async fn ask_within(
        &self,
        address: &str,
        code: i32,
        header: &(dyn Fields + Sync),
        within: Duration,
    ) -> Result<OwnedReply> {
        let connection = self.at(address).await?;
        let reply = connection.call_within(within, code, header, Bytes::new()).await;
        reply.and_then(OwnedReply::success).map_err(plain)
    }

    /// Asks the name server something.
    pub async fn ask_names(&self, code: i32, header: &(dyn Fields + Sync)) -> Result<OwnedReply> {
        let reply = self.names().await?.call(code, header, Bytes::new()).await;
        reply.and_then(OwnedReply::success).map_err(plain)
    }

    /// Tells every name server: those that did it, and an error that names those that fail.
    pub async fn tell_all_names(
        &self,
        code: i32,
        header: &(dyn Fields + Sync),
        body: Bytes,
    ) -> (Vec<String>, Result<()>) {
        let mut done = Vec::new();
        let mut failed = Failed::default();
        for server in &self.servers {
            match self.tell(server, code, header, body.clone()).await {
                Ok(_) => done.push(server.clone()),
                Err(error) => failed.add(server, &error),
            }
        }
        (done, failed.result(self.servers.len()))
    }

    /// 106: every cluster and broker.
    pub async fn cluster(&self) -> Result<ClusterInfo> {
        self.names().await?.cluster().await.map_err(plain)
    }

    /// 105: where a topic lives; an error, with the name server's advice, if nobody knows it.
    pub async fn route(&self, topic: &str) -> Result<TopicRoute> {
        use kerolox_protocol::remoting::codes::names::GET_ROUTEINFO_BY_TOPIC;
        use kerolox_protocol::remoting::route::RouteQuestion;
        let question = RouteQuestion { topic: topic.into() };
        Ok(self.ask_names(GET_ROUTEINFO_BY_TOPIC, &question).await?.json()?)
    }

    /// [`Admin::route`], or `None`.
    pub async fn find_route(&self, topic: &str) -> Result<Option<TopicRoute>> {
        self.names().await?.route(topic).await.map_err(plain)
    }

    /// Every replica of a cluster, by name and id; of all clusters if none is named.
    pub async fn replicas(&self, cluster: Option<&str>) -> Result<Vec<Broker>> {
        let info = self.cluster().await?;
        if let Some(cluster) = cluster
            && !info.cluster_addr_table.contains_key(cluster)
        {
            let known: Vec<_> = info.cluster_addr_table.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("the name server knows no cluster {cluster:?}; it knows {known}");
        }
        let mut replicas = Vec::new();
        for (of, names) in &info.cluster_addr_table {
            if cluster.is_some_and(|cluster| cluster != of) {
                continue;
            }
            let mut names = names.clone();
            names.sort();
            for name in &names {
                let Some(data) = info.broker_addr_table.get(name) else { continue };
                replicas.extend(data.broker_addrs.iter().map(|(id, address)| Broker {
                    cluster: of.clone(),
                    name: name.clone(),
                    id: *id,
                    address: address.clone(),
                }));
            }
        }
        Ok(replicas)
    }

    /// The replica to ask of each broker of a cluster, or of all: its master, else the lowest id.
    pub async fn one_of_each(&self, cluster: Option<&str>) -> Result<Vec<Broker>> {
        let mut replicas = self.replicas(cluster).await?;
        replicas.dedup_by(|later, first| later.name == first.name);
        ensure!(!replicas.is_empty(), "no broker is registered, so there is nobody to ask");
        Ok(replicas)
    }

    /// The masters of a cluster.
    pub async fn masters(&self, cluster: &str) -> Result<Vec<Broker>> {
        let mut replicas = self.replicas(Some(cluster)).await?;
        replicas.retain(|broker| broker.id == 0);
        ensure!(!replicas.is_empty(), "no master of cluster {cluster} is registered");
        Ok(replicas)
    }

    /// A broker by its address, or by its name.
    pub async fn broker(&self, address: &str) -> Result<Broker> {
        if address.contains(':') {
            return Ok(Broker {
                cluster: String::new(),
                name: String::new(),
                id: 0,
                address: address.to_owned(),
            });
        }
        let replicas = self.replicas(None).await?;
        let named = replicas.into_iter().find(|broker| broker.name == address);
        named.with_context(|| {
            format!("{address:?} is neither HOST:PORT nor the name of a registered broker")
        })
    }

    /// The brokers that are meant: one, or the masters of a cluster. One by name is its master: what is
    /// changed on another replica would not stay.
    pub async fn target(&self, target: &Target) -> Result<Vec<Broker>> {
        match (&target.broker, &target.cluster) {
            (Some(address), _) => {
                let broker = self.broker(address).await?;
                ensure!(broker.id == 0, "{address} has no master at present; give -b HOST:PORT");
                Ok(vec![broker])
            }
            (None, Some(cluster)) => self.masters(cluster).await,
            (None, None) => bail!("give -b HOST:PORT or -c CLUSTER"),
        }
    }

    /// The replica to ask of each broker that holds a topic: its master, else the lowest id.
    pub async fn holders(&self, topic: &str) -> Result<Vec<Broker>> {
        Ok(holders(&self.route(topic).await?))
    }
}

/// Where brokers are.
pub fn addresses(brokers: &[Broker]) -> Vec<&str> {
    brokers.iter().map(|broker| broker.address.as_str()).collect()
}

/// The replica to ask of each broker in a route, by name.
pub fn holders(route: &TopicRoute) -> Vec<Broker> {
    let mut found: Vec<Broker> = route.broker_datas.iter().filter_map(replica_to_ask).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The replica to ask of one broker in a route.
pub fn replica_of(route: &TopicRoute, broker: &str) -> Result<Broker> {
    let data = route.broker_datas.iter().find(|data| data.broker_name == broker);
    data.and_then(replica_to_ask).with_context(|| {
        let known: Vec<_> = route.broker_datas.iter().map(|d| d.broker_name.as_str()).collect();
        format!("no broker {broker:?} holds the topic; these do: {}", known.join(", "))
    })
}

/// The master, else the replica with the lowest id.
pub fn replica_to_ask(data: &BrokerData) -> Option<Broker> {
    let (id, address) = data.broker_addrs.iter().next()?;
    Some(Broker {
        cluster: data.cluster.clone(),
        name: data.broker_name.clone(),
        id: *id,
        address: address.clone(),
    })
}

/// A refusal: the remark says what and why.
#[derive(Debug, thiserror::Error)]
#[error("{addr} refused with code {code}: {remark}")]
pub struct Refusal {
    pub addr: String,
    pub code: i32,
    pub remark: String,
}

/// Something is wrong with one queue; its broker may well answer for others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadQueue(pub String);

/// An error as this program words it.
pub(crate) fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::Refused { addr, code, remark, .. } => {
            Refusal { addr: addr.to_string(), code, remark }.into()
        }
        late @ Error::Timeout { .. } => {
            anyhow!(
                "{late}: either it is busy (--timeout), or something else than RocketMQ listens there"
            )
        }
        other => other.into(),
    }
}

/// The code with which somebody refused, if an error is that.
pub fn refused_with(error: &anyhow::Error) -> Option<i32> {
    error.downcast_ref::<Refusal>().map(|refusal| refusal.code)
}

/// What failed on some of many.
#[derive(Debug, Default)]
pub struct Failed(BTreeMap<String, String>);

impl Failed {
    /// Notes a failure; of several of one thing the first.
    pub fn add(&mut self, what: &str, why: &anyhow::Error) {
        self.0.entry(what.to_owned()).or_insert_with(|| format!("{why:#}"));
    }

    /// Whether nothing failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error if anything failed, of so many.
    pub fn result(self, of: usize) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        if of > 1 {
            let _ = write!(text, "{} of {of} failed: ", self.0.len());
        }
        let whys: Vec<_> = self.0.into_values().collect();
        bail!("{text}{}", whys.join("; "))
    }
}

/// The brokers that a command has asked, about one thing or about many, and the name server if it failed
/// meanwhile. One that fails hides nothing of what the others say, and is named once, at the end.
#[derive(Debug, Default)]
pub struct Asked {
    all: BTreeSet<String>,
    /// Those that gave no answer: they are not asked again, as each question would wait its whole time.
    silent: BTreeSet<String>,
    failed: Failed,
}

impl Asked {
    /// Does something with each broker.
    pub async fn each(
        &mut self,
        brokers: &[Broker],
        mut work: impl AsyncFnMut(&Broker) -> Result<()>,
    ) {
        for broker in brokers {
            let address = &broker.address;
            self.all.insert(address.clone());
            if self.silent.contains(address) {
                continue;
            }
            if let Err(error) = work(broker).await {
                if refused_with(&error).is_none() && !error.is::<BadQueue>() {
                    self.silent.insert(address.clone());
                }
                self.failed.add(address, &error);
            }
        }
    }

    /// Notes that the name server failed while brokers were asked: what they said so far is to be shown.
    pub fn unrouted(&mut self, error: &anyhow::Error) {
        self.all.insert("name server".to_owned());
        self.failed.add("name server", error);
    }

    /// How many of these have given every answer so far, be it a refusal.
    pub fn answering(&self, brokers: &[Broker]) -> usize {
        brokers.iter().filter(|broker| !self.silent.contains(&broker.address)).count()
    }

    /// Whether no broker has failed.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// An error if a broker failed.
    pub fn result(self) -> Result<()> {
        self.failed.result(self.all.len())
    }
}

/// Does something with each broker; those that fail are named when all were asked.
pub async fn on_each(
    brokers: &[Broker],
    work: impl AsyncFnMut(&Broker) -> Result<()>,
) -> Result<()> {
    let mut asked = Asked::default();
    asked.each(brokers, work).await;
    asked.result()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_gives_no_answer_is_not_waited_for_again() {
        let brokers = ["refuses", "stuck", "hangs", "answers"].map(|address| Broker {
            cluster: String::new(),
            name: String::new(),
            id: 0,
            address: address.to_owned(),
        });
        let (mut asked, mut calls) = (Asked::default(), Vec::new());
        for round in 1..=2 {
            let ask = async |broker: &Broker| {
                let addr = broker.address.clone();
                calls.push(format!("{addr} {round}"));
                match addr.as_str() {
                    "refuses" => Err(Refusal { addr, code: 17, remark: round.to_string() }.into()),
                    "stuck" => Err(anyhow!(BadQueue(addr)).context(round)),
                    "hangs" => Err(anyhow!("hangs")),
                    _ => Ok(()),
                }
            };
            asked.each(&brokers, ask).await;
        }
        let first = ["refuses 1", "stuck 1", "hangs 1", "answers 1"];
        assert_eq!(calls, [&first[..], &["refuses 2", "stuck 2", "answers 2"]].concat());
        assert_eq!((asked.answering(&brokers), asked.is_complete()), (3, false));
        assert_eq!(
            asked.result().unwrap_err().to_string(),
            "3 of 4 failed: hangs; refuses refused with code 17: 1; 1: stuck"
        );
    }
}
