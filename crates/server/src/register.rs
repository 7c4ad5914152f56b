//! Name servers of other processes (`namesrvAddr`) are told of the broker: 103 at the start and whenever its
//! topics change, 322 in between, 104 at a stop. In: a thread of its own looks at the engine's published
//! topics. Out: requests. A name server that does not answer is asked again, with growing pauses.

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
use tokio::sync::watch;

use crate::core::{Shared, route_permission};
use crate::limits::{REGISTER_MS, REGISTER_PART, REGISTER_RETRY_MS, UNREGISTER_MS};
use crate::options::{Options, Ports};
use crate::start::with_port;

/// See the module's documentation.
pub struct Registrar {
    shared: Arc<Shared>,
    servers: Vec<String>,
    every: Duration,
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

impl Registrar {
    /// `None`: there is no broker here, or nobody else to tell.
    pub fn new(options: &Options, ports: Ports, shared: Arc<Shared>) -> Option<Registrar> {
        let servers = options.name_servers.clone();
        (options.roles.broker && !servers.is_empty()).then(|| Registrar {
            shared,
            servers,
            every: options.register_every,
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

    /// Keeps one name server informed.
    async fn keep(self: Arc<Self>, server: String) {
        let mut changes = self.shared.topics_changed.subscribe();
        let mut link = None;
        let (mut failures, mut known) = (0u32, None);
        while !self.shared.stopping.load(Ordering::Acquire) {
            let begin = Instant::now();
            let told = self.tell(&server, &mut link).await;
            let took = begin.elapsed();
            if known != Some(told.is_ok()) {
                known = Some(told.is_ok());
                self.shared.registered.lock().insert(server.clone(), told.is_ok());
                match &told {
                    Ok(Some(address)) => {
                        tracing::info!(name_server = server, address, "the broker is registered");
                    }
                    Ok(None) => {
                        tracing::info!(
                            name_server = server,
                            "this is the name server in this process"
                        );
                        self.shared.registered.lock().remove(&server);
                    }
                    Err(error) => {
                        tracing::warn!(name_server = server, %error, "the broker is not registered there: tried again until it is");
                    }
                }
            }
            let pause = match told {
                Ok(None) => return,
                Ok(Some(_)) => {
                    failures = 0;
                    self.every
                }
                Err(_) => {
                    link = None;
                    failures = (failures + 1).min(10);
                    let retry = Duration::from_millis(REGISTER_RETRY_MS << (failures - 1));
                    retry.min(self.every)
                }
            };
            wait(&mut changes, pause, failures > 0).await;
            // Changes come in groups; and a long list is not sent all the time.
            tokio::time::sleep(Duration::from_millis(20).max(took * 4).min(self.every)).await;
        }
        if let Some(link) = link {
            self.leave(&link).await;
        }
    }

    /// Tells it what has changed, or that the broker lives. Gives the address by which the broker is known
    /// there; `None`: it is in this process.
    async fn tell(&self, server: &str, link: &mut Option<Link>) -> Result<Option<String>, Error> {
        let link = match link {
            Some(link) if !link.connection.is_closed() => link,
            _ => match self.connect(server).await? {
                Some(made) => link.insert(made),
                None => return Ok(None),
            },
        };
        let told = self.told();
        let now = (told.version, told.allowed);
        if link.told != Some(now) || self.has_forgotten(link, &told).await? {
            self.register(link, &told).await?;
            link.told = Some(now);
        }
        Ok(Some(link.address.clone()))
    }

    async fn connect(&self, server: &str) -> Result<Option<Link>, Error> {
        let timeout = Duration::from_millis(REGISTER_MS);
        let options = ClientOptions { timeout, ..ClientOptions::default() };
        let connection = Connection::connect_with(server, options).await?;
        let (local, peer) = (connection.local_addr(), connection.peer_addr());
        let ports = [self.ports.namesrv, self.ports.broker, self.ports.grpc, self.ports.proxy];
        if local.ip() == peer.ip() && ports.contains(&peer.port()) {
            return Ok(None);
        }
        let host = match (&self.advertised, local.ip().to_canonical()) {
            (Some(host), _) => host.clone(),
            (None, IpAddr::V4(ip)) => ip.to_string(),
            (None, IpAddr::V6(ip)) => format!("[{ip}]"),
        };
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
    async fn register(&self, link: &Link, told: &Told) -> Result<(), Error> {
        let topics: Vec<&Arc<TopicConfig>> = told.topics.values().collect();
        let mut parts = topics.chunks(REGISTER_PART).rev().enumerate().collect::<Vec<_>>();
        // What a part changes counts only if its version is new; the last one has the real one.
        while let Some((left, part)) = parts.pop() {
            let counter = told.version.counter - left as i64;
            let rows = part.iter().map(|topic| {
                let shown = TopicConfig { perm: topic.perm & told.allowed, ..(***topic).clone() };
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
        let call = link.connection.call(names::UNREGISTER_BROKER, &header, Bytes::new());
        let _ = tokio::time::timeout(Duration::from_millis(UNREGISTER_MS), call).await;
    }
}

/// Until something changes, or the time is over. After a failure only the stop counts: the server is down.
async fn wait(changes: &mut watch::Receiver<u64>, pause: Duration, failed: bool) {
    let changed = async {
        let _ = changes.changed().await;
        if failed {
            tokio::time::sleep(Duration::from_millis(REGISTER_RETRY_MS)).await;
        }
    };
    let _ = tokio::time::timeout(pause, changed).await;
}
