//! Name servers of other processes (`namesrvAddr`) are told of the broker: 103 at the start, whenever its
//! topics change and every period, 322 instead where the list is long, 104 at a stop. In: a thread of its own looks at the engine's published
//! topics. Out: requests. A name server that does not answer or is lost is asked again, after short pauses.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kerolox_client::{Connection, Error, Options as ClientOptions};
use kerolox_engine::topics::TopicsView;
use kerolox_protocol::remoting::admin::{DataVersion, TopicConfig};
use kerolox_protocol::remoting::codes::names;
use kerolox_protocol::remoting::registration::{
    DataVersionReply, QueryDataVersion, RegisterBody, RegisterBroker, TopicConfigs,
    UnregisterBroker,
};

use crate::core::{Shared, route_permission};
use crate::limits::{
    REGISTER_MS, REGISTER_PART, REGISTER_PERIOD_MS_MAX, REGISTER_RETRY_MS, REGISTER_RETRY_MS_MAX,
    REGISTER_WHOLE_EVERY, UNREGISTER_MS,
};
use crate::options::{Options, Ports};
use crate::start::with_port;

/// See the module's documentation.
pub struct Registrar {
    shared: Arc<Shared>,
    servers: Vec<String>,
    every: Duration,
    listen: IpAddr,
    broker_id: i64,
    advertised: Option<String>,
    ports: Ports,
}

/// What the broker says of itself.
struct Told {
    cluster: String,
    name: String,
    topics: TopicsView,
    version: DataVersion,
    /// Bits that no permission exceeds.
    allowed: i32,
}

/// How a name server is reached.
struct Link {
    connection: Connection,
    /// Where it sees the broker.
    address: String,
    told: Option<(DataVersion, i32)>,
}

/// What a wait ended with.
#[derive(PartialEq)]
enum Next {
    /// The topics changed.
    Change,
    /// Nothing did for a period.
    Period,
    /// The connection ended.
    Lost,
}

impl Registrar {
    /// `None`: there is no broker here, or nobody else to tell.
    pub fn new(options: &Options, ports: Ports, shared: Arc<Shared>) -> Option<Registrar> {
        let servers = options.name_servers.clone();
        if !options.roles.broker || servers.is_empty() {
            return None;
        }
        // None of them knows of the broker yet, and some may never answer.
        shared.registered.lock().extend(servers.iter().map(|server| (server.clone(), false)));
        Some(Registrar {
            shared,
            servers,
            every: options.register_every.min(Duration::from_millis(REGISTER_PERIOD_MS_MAX)),
            listen: options.listen,
            broker_id: options.broker_id,
            advertised: options.advertise.broker.clone(),
            ports,
        })
    }

    /// Runs until the server stops.
    pub async fn run(self) {
        let registrar = Arc::new(self);
        let tasks: Vec<_> = registrar
            .servers
            .iter()
            .map(|server| tokio::task::spawn_local(registrar.clone().keep(server.clone())))
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Keeps one name server informed until the server stops.
    async fn keep(self: Arc<Self>, server: String) {
        let link = tokio::sync::Mutex::new(None);
        tokio::select! {
            () = self.keep_telling(&server, &link) => {}
            () = self.stopped() => {}
        }
        if let Some(link) = link.into_inner() {
            let leave = self.leave(&link);
            let _ = tokio::time::timeout(Duration::from_millis(UNREGISTER_MS), leave).await;
        }
    }

    /// Ends when the server stops.
    async fn stopped(&self) {
        let mut changes = self.shared.topics_changed.subscribe();
        while !self.shared.stopping.load(Ordering::Acquire) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends if the name server turns out to be in this process.
    async fn keep_telling(&self, server: &str, link: &tokio::sync::Mutex<Option<Link>>) {
        let mut changes = self.shared.topics_changed.subscribe();
        let (mut failures, mut losses, mut known, mut periods) = (0u32, 0u32, None, 0u32);
        loop {
            changes.mark_unchanged();
            let begin = Instant::now();
            let mut link = link.lock().await;
            let told = self.tell(server, &mut link, periods).await;
            if known != Some(told.is_ok()) {
                known = Some(told.is_ok());
                self.note(server, &told);
            }
            let retry = match told {
                Ok(None) => return,
                Ok(Some(_)) => {
                    failures = 0;
                    match self.next(link.as_ref(), begin.elapsed(), &mut changes).await {
                        Next::Lost => {
                            known = Some(false);
                            self.note_lost(server);
                            losses = (losses + 1).min(10);
                            // One that takes every registration and hangs up after it costs little.
                            retry(losses).min(self.every)
                        }
                        next => {
                            losses = 0;
                            periods = periods.wrapping_add(u32::from(next == Next::Period));
                            continue;
                        }
                    }
                }
                Err(_) => {
                    failures = (failures + 1).min(10);
                    retry(failures).min(Duration::from_millis(REGISTER_RETRY_MS_MAX))
                }
            };
            *link = None;
            drop(link);
            tokio::time::sleep(retry).await;
        }
    }

    /// Waits until there is something to tell. `took`: how long telling took the last time.
    async fn next(
        &self,
        link: Option<&Link>,
        took: Duration,
        changes: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Next {
        let lost = async {
            if let Some(link) = link {
                link.connection.ended().await;
            }
        };
        // Changes come in groups; and a long list is not sent all the time.
        let pause = (took * 4).max(Duration::from_millis(20)).min(self.every);
        let due = async {
            tokio::time::sleep(pause).await;
            match tokio::time::timeout(self.every, changes.changed()).await {
                Ok(_) => Next::Change,
                Err(_) => Next::Period,
            }
        };
        tokio::select! {
            () = lost => Next::Lost,
            next = due => next,
        }
    }

    fn note_lost(&self, server: &str) {
        self.shared.registered.lock().insert(server.to_owned(), false);
        tracing::warn!(
            name_server = server,
            "the connection to the name server ended: the broker is registered again once it answers"
        );
    }

    /// Says that it is registered, or why not; once, until that changes.
    fn note(&self, server: &str, told: &Result<Option<String>, Error>) {
        let mut registered = self.shared.registered.lock();
        registered.insert(server.to_owned(), told.is_ok());
        match told {
            Ok(Some(address)) => {
                tracing::info!(name_server = server, address, "the broker is registered");
            }
            Ok(None) => {
                tracing::info!(name_server = server, "this is the name server in this process");
                registered.remove(server);
            }
            Err(error) => {
                tracing::warn!(name_server = server, %error, "the broker is not registered there: tried again until it is");
            }
        }
    }

    /// Tells it what has changed, or that the broker lives. Gives the address by which the broker is known
    /// there; `None`: it is in this process. `periods`: how often nothing had changed.
    async fn tell(
        &self,
        server: &str,
        link: &mut Option<Link>,
        periods: u32,
    ) -> Result<Option<String>, Error> {
        let link = match link {
            Some(link) if !link.connection.is_closed() => link,
            _ => match self.connect(server).await? {
                Some(made) => link.insert(made),
                None => return Ok(None),
            },
        };
        let told = self.told();
        let now = (told.version, told.allowed);
        let parts = parts(&told);
        // A topic that was lost there comes back with the whole list; a long one is told less often.
        let whole = parts.len() == 1 || periods.is_multiple_of(REGISTER_WHOLE_EVERY);
        if whole || link.told != Some(now) || self.has_forgotten(link, &told).await? {
            self.register(link, &told, parts).await?;
            link.told = Some(now);
        }
        Ok(Some(link.address.clone()))
    }

    async fn connect(&self, server: &str) -> Result<Option<Link>, Error> {
        let timeout = Duration::from_millis(REGISTER_MS);
        let options = ClientOptions { timeout, ..ClientOptions::default() };
        let connection = Connection::connect_with(server, options).await?;
        let (local, peer) = (connection.local_addr().ip(), connection.peer_addr());
        let listens_there = match self.listen {
            listen if listen.is_unspecified() => local == peer.ip(),
            listen => listen == peer.ip(),
        };
        if listens_there && self.ports.namesrv == peer.port() {
            return Ok(None);
        }
        // Where the broker listens; if that is everywhere, where this connection leaves the machine.
        let own = if self.listen.is_unspecified() { local } else { self.listen };
        let host = match (&self.advertised, own.to_canonical()) {
            (Some(host), _) => host.clone(),
            (None, IpAddr::V4(ip)) => ip.to_string(),
            (None, IpAddr::V6(ip)) => format!("[{ip}]"),
        };
        if self.advertised.is_none() && own.is_loopback() && !peer.ip().is_loopback() {
            tracing::warn!(
                name_server = server,
                address = host,
                "clients of this name server are told an address of this machine alone: give --listen, or --advertise HOST"
            );
        }
        let address = with_port(&host, self.ports.broker);
        Ok(Some(Link { connection, address, told: None }))
    }

    fn told(&self) -> Told {
        self.shared.with_core(|core, _| Told {
            cluster: core.engine.config.cluster.to_string(),
            name: core.engine.config.broker_name.to_string(),
            topics: core.engine.state.topics.view(),
            version: core.engine.state.topics.version(),
            allowed: route_permission(core.engine.config.broker_permission),
        })
    }

    /// Says that the broker lives (322). True: it is not known there, or with other topics.
    async fn has_forgotten(&self, link: &Link, told: &Told) -> Result<bool, Error> {
        let header = QueryDataVersion {
            broker_name: told.name.as_str().into(),
            broker_addr: link.address.as_str().into(),
            cluster_name: told.cluster.as_str().into(),
            broker_id: self.broker_id,
        };
        let body = serde_json::to_vec(&told.version).expect("numbers can be written");
        let reply = link.connection.call(names::QUERY_DATA_VERSION, &header, body.into()).await?;
        Ok(reply.success()?.header::<DataVersionReply>()?.changed)
    }

    /// 103, in parts that fit into frames: topics that a part does not name stay.
    async fn register(
        &self,
        link: &Link,
        told: &Told,
        parts: Vec<Vec<Arc<TopicConfig>>>,
    ) -> Result<(), Error> {
        let count = parts.len() as i64;
        // What a part changes counts only if its version is new; the last one has the real one.
        for (part, left) in parts.into_iter().zip((0..count).rev()) {
            let counter = told.version.counter - left;
            let rows = part.iter().map(|topic| {
                let shown = TopicConfig { perm: topic.perm & told.allowed, ..(**topic).clone() };
                (topic.topic_name.clone(), shown)
            });
            let body = RegisterBody {
                topic_config_serialize_wrapper: TopicConfigs {
                    topic_config_table: rows.collect(),
                    data_version: DataVersion { counter, ..told.version },
                },
            };
            let body = serde_json::to_vec(&body).expect("settings hold only text keys and numbers");
            let header = RegisterBroker {
                broker_name: told.name.as_str().into(),
                broker_addr: link.address.as_str().into(),
                cluster_name: told.cluster.as_str().into(),
                // There is nothing to fetch the log from yet; Apache's name server wants the field.
                ha_server_addr: link.address.as_str().into(),
                broker_id: self.broker_id,
                body_crc32: (crc32fast::hash(&body) & 0x7fff_ffff) as i32,
                ..RegisterBroker::default()
            };
            let reply = link.connection.call(names::REGISTER_BROKER, &header, body.into()).await?;
            reply.success()?;
        }
        Ok(())
    }

    /// 104. A name server that does not hear it forgets the broker with the connection.
    async fn leave(&self, link: &Link) {
        let told = self.told();
        let header = UnregisterBroker {
            broker_name: told.name.as_str().into(),
            broker_addr: link.address.as_str().into(),
            cluster_name: told.cluster.as_str().into(),
            broker_id: self.broker_id,
        };
        let _ = link.connection.call(names::UNREGISTER_BROKER, &header, Bytes::new()).await;
    }
}

/// The pause after so many failures in a row.
fn retry(failures: u32) -> Duration {
    Duration::from_millis(REGISTER_RETRY_MS << (failures - 1))
}

/// The topics, in parts that fit into a frame each.
fn parts(told: &Told) -> Vec<Vec<Arc<TopicConfig>>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0;
    for topic in told.topics.values() {
        let attributes: usize = topic.attributes.iter().map(|(k, v)| k.len() + v.len() + 8).sum();
        let size = 2 * topic.topic_name.len() + attributes + 180;
        if bytes + size > REGISTER_PART {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += size;
        part.push(topic.clone());
    }
    parts.push(part);
    parts
}
