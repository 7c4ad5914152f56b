//! From options to a running server.
//!
//! Order of a start: lock the directory, bind every port, recover the log (HTTP tells how far it
//! is), then threads, then connections.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kerolox_engine::apache::adopt::{self, AdoptError, Adoption};
use kerolox_engine::keeper::{Found, Keeper, KeeperError, Watch};
use kerolox_engine::lost_delays::LostDelays;
use kerolox_engine::state::ProgressFn;
use kerolox_engine::{Config, Engine, State};
use kerolox_log::append::{Appender, Resume};
use kerolox_log::disk::{Disk, real::RealDisk, slow::Slow};
use kerolox_log::files::Files;
use kerolox_log::identity::{self, Identity, IdentityError};
use kerolox_log::index::lookup::Blocks;
use kerolox_log::recover::{self, Additions, Lost, RecoverError, Report};
use kerolox_namesrv::{Advertised, KvChange, LocalBroker, Names};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::core::Shared;
use crate::housekeeping::Housekeeping;
use crate::http::{Progress, Subject};
use crate::limits::{DESCRIPTORS_RESERVED, READERS};
use crate::listen::{accept, bind, bind_with_vip};
use crate::logger::Logger;
use crate::options::{Options, Ports};
use crate::readers::{self, Kind};
use crate::register::Registrar;
use crate::settings::address::Address;
use crate::settings::{self, Settings};
use crate::shard;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error(
        "the data directory {dir} is in use by another process; stop it, or give another --data-dir"
    )]
    Locked { dir: String },
    #[error("{name} port {port}{}", cannot_bind(*listen, source))]
    Port { name: &'static str, listen: IpAddr, port: u16, source: io::Error },
    #[error("{0}")]
    Recover(#[from] RecoverError),
    #[error("{0}")]
    Keeper(#[from] KeeperError),
    #[error("{0}")]
    Adopt(#[from] AdoptError),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// Why a port cannot be bound, and what may be done about it.
fn cannot_bind(listen: IpAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!(": {source}; is another broker running? Stop it, or give another port")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(" on {listen}: {source}; --listen takes an address of this machine")
        }
        _ => format!(" on {listen}: {source}"),
    }
}

impl StartError {
    /// The operating system's error behind this one, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            StartError::Identity(IdentityError::Io { source, .. })
            | StartError::Keeper(KeeperError::Io { source, .. })
            | StartError::Adopt(AdoptError::Io(source))
            | StartError::Io { source, .. } => Some(source),
            StartError::Recover(why) | StartError::Adopt(AdoptError::Log(why)) => why.io(),
            _ => None,
        }
    }
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// A running server.
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stop_accepting: Option<oneshot::Sender<()>>,
    pub(crate) acceptor: Option<JoinHandle<()>>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) logger: Option<JoinHandle<()>>,
    pub(crate) shards: Vec<JoinHandle<()>>,
    /// The shards live as long as somebody can hand them connections.
    pub(crate) channels: Vec<mpsc::UnboundedSender<shard::Accepted>>,
    /// Where it listens. The VIP port is 0 if it could not be bound.
    pub ports: Ports,
    pub vip_port: u16,
    /// What recovery found, and how long it took.
    pub report: Report,
    /// Delayed messages that went with their log files.
    pub lost_delays: LostDelays,
    pub recovery_time: Duration,
    /// Messages in the index.
    pub indexed: u64,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) data_dir: PathBuf,
    _lock: File,
}

/// The sockets of a server.
struct Listeners {
    namesrv: Option<TcpListener>,
    broker: Option<TcpListener>,
    vip: Option<TcpListener>,
    grpc: Option<TcpListener>,
    proxy: Option<TcpListener>,
    http: TcpListener,
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().map_or(0, |address| address.port())
}

impl Listeners {
    fn bind(options: &Options) -> Result<Listeners, StartError> {
        let (ports, roles) = (&options.ports, options.roles);
        let listen = options.listen;
        let failed = |name, port| move |source| StartError::Port { name, listen, port, source };
        let one = |name, port| bind(listen, port).map_err(failed(name, port));
        let if_here = |here: bool, name, port| here.then(|| one(name, port)).transpose();
        let pair = roles.broker.then(|| bind_with_vip(listen, ports.broker)).transpose();
        let pair = pair.map_err(failed("broker", ports.broker));
        // The fixed ones first: a free one that was given out must not take a later one's place.
        let (broker, vip) = pair?.unzip();
        Ok(Listeners {
            namesrv: if_here(roles.names, "namesrv", ports.namesrv)?,
            broker,
            vip: vip.flatten(),
            grpc: if_here(roles.broker, "grpc", ports.grpc)?,
            proxy: if_here(roles.broker, "proxy", ports.proxy)?,
            http: one("http", ports.http)?,
        })
    }

    fn ports(&self) -> (Ports, u16) {
        let port_of = |listener: &Option<TcpListener>| listener.as_ref().map_or(0, port);
        let ports = Ports {
            namesrv: port_of(&self.namesrv),
            broker: port_of(&self.broker),
            grpc: port_of(&self.grpc),
            proxy: port_of(&self.proxy),
            http: port(&self.http),
        };
        (ports, port_of(&self.vip))
    }

    fn into_rest(self) -> (TcpListener, Vec<TcpListener>) {
        let rest = [self.namesrv, self.broker, self.grpc, self.proxy, self.vip];
        (self.http, rest.into_iter().flatten().collect())
    }
}

/// What recovery hands to the threads.
pub(crate) struct Recovered {
    pub(crate) engine: Engine,
    files: Arc<Files>,
    pub(crate) keeper: Keeper,
    pub(crate) settings: Settings,
    report: Report,
    lost_delays: LostDelays,
}

impl Server {
    /// Starts a server and returns when it is ready.
    pub fn start(options: Options) -> Result<Server, StartError> {
        raise_descriptor_limit();
        let lock = lock_directory(&options.data_dir)?;
        let listeners = Listeners::bind(&options)?;
        let (ports, vip_port) = listeners.ports();
        let (http, rest) = listeners.into_rest();
        let progress = Arc::new(Progress::default());
        let (ready, is_ready) = oneshot::channel();
        let (stop_accepting, stopped) = oneshot::channel();
        let acceptor = {
            let progress = progress.clone();
            thread("kerolox-accept", move || {
                local_runtime(accept_all(http, rest, progress, is_ready, stopped));
            })?
        };
        let begin = Instant::now();
        let recovered = recover(&options, ports, &progress)?;
        let recovery_time = begin.elapsed();
        let report = recovered.report.clone();
        let lost_delays = recovered.lost_delays.clone();
        let mut server = Server::run(options, recovered, ports, lock)?;
        let indexed = report.records;
        server.lost_delays = lost_delays;
        server.acceptor = Some(acceptor);
        server.stop_accepting = Some(stop_accepting);
        (server.vip_port, server.report, server.recovery_time, server.indexed) =
            (vip_port, report, recovery_time, indexed);
        let mut channels = Vec::new();
        for number in 0..server.shared.shards.len() {
            let (send, receive) = mpsc::unbounded_channel();
            let shared = server.shared.clone();
            server.shards.push(thread(&format!("kerolox-shard-{number}"), move || {
                local_runtime(shard::run(number, shared, receive));
            })?);
            channels.push((Arc::new(AtomicUsize::new(0)), send));
        }
        server.shared.ready.store(true, Ordering::Release);
        server.channels = channels.iter().map(|(_, channel)| channel.clone()).collect();
        progress.set_running(server.shared.clone());
        let _ = ready.send((server.shared.clone(), channels));
        Ok(server)
    }

    /// Starts the threads around the core.
    fn run(
        options: Options,
        recovered: Recovered,
        ports: Ports,
        lock: File,
    ) -> Result<Server, StartError> {
        let Recovered { engine, files, keeper, settings, .. } = recovered;
        let end = engine.confirmed();
        let blocks = keeper.blocks.clone();
        let names = names(&options, &engine, ports.broker);
        let shared = Arc::new(Shared::new(engine, names, settings, &options, files.clone()));
        let now = shared.clock.now_ms();
        shared.before_turns(|core| {
            // Name servers remember versions of earlier starts.
            core.engine.state.topics.touch(now);
            core.apply_settings(now);
        });
        files.claim(end);
        let registrar = Registrar::new(&options, ports, shared.clone());
        let retention = shared.with_core(|core, _| settings::retention(&core.settings.now()));
        let data_dir = options.data_dir.clone();
        let housekeeping = Housekeeping {
            shared: shared.clone(),
            files,
            keeper,
            data_dir: options.data_dir,
            retention,
            full: false,
            blocks_failed: None,
            dying: None,
        };
        housekeeping.prepare().map_err(io_error("making room on the disk for the log"))?;
        let house = thread("kerolox-house", move || housekeeping.run())?;
        shared.set_housekeeping(house.thread().clone());
        let logger = Logger::new(shared.clone());
        let logger = thread("kerolox-log", move || logger.run())?;
        let mut threads = vec![house];
        let kinds = (0..READERS).map(|number| (format!("kerolox-read-{number}"), Kind::Reads));
        for (name, kind) in kinds.chain([("kerolox-list".to_owned(), Kind::Lists)]) {
            let (shared, blocks) = (shared.clone(), blocks.clone());
            threads.push(thread(&name, move || readers::run(&shared, &blocks, kind))?);
        }
        if let Some(registrar) = registrar {
            threads.push(thread("kerolox-names", move || local_runtime(registrar.run()))?);
        }
        // The first round says what recovery believed.
        shared.log.wake();
        Ok(Server {
            shared,
            stop_accepting: None,
            acceptor: None,
            threads,
            logger: Some(logger),
            shards: Vec::new(),
            channels: Vec::new(),
            ports,
            vip_port: 0,
            report: Report::default(),
            lost_delays: LostDelays::default(),
            recovery_time: Duration::ZERO,
            indexed: 0,
            blocks,
            data_dir,
            _lock: lock,
        })
    }

    /// Why the log failed, if it did. Nothing is acknowledged any more then.
    pub fn failed(&self) -> Option<&str> {
        self.shared.failed()
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map_err(io_error(format!("starting the thread {name}")))
}

/// Runs a future on a runtime of this thread's own.
fn local_runtime(future: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, future),
        Err(error) => tracing::error!(%error, "a runtime cannot be made"),
    }
}

type Ready = (Arc<Shared>, Vec<(Arc<AtomicUsize>, mpsc::UnboundedSender<shard::Accepted>)>);

/// Until the server is ready only HTTP is served: it tells how far the recovery is.
async fn accept_all(
    http: TcpListener,
    rest: Vec<TcpListener>,
    progress: Arc<Progress>,
    ready: oneshot::Receiver<Ready>,
    stopped: oneshot::Receiver<()>,
) {
    let early = http.try_clone().and_then(tokio::net::TcpListener::from_std);
    let ready = match early {
        Ok(early) => {
            let starting = async {
                loop {
                    let Ok((stream, _)) = early.accept().await else { continue };
                    let subject = Subject::Starting(progress.clone());
                    tokio::task::spawn_local(crate::http::serve_subject(stream, subject));
                }
            };
            tokio::select! {
                ready = ready => ready,
                () = starting => return,
            }
        }
        Err(_) => ready.await,
    };
    // The start failed: the process is about to end.
    let Ok((shared, shards)) = ready else { return };
    for listener in rest.into_iter().chain([http]) {
        tokio::task::spawn_local(accept(listener, shared.clone(), shards.clone()));
    }
    drop(shards);
    let _ = stopped.await;
}

/// Takes the lock on the data directory, which is made if it is not there.
pub(crate) fn lock_directory(dir: &Path) -> Result<File, StartError> {
    let shown = dir.display().to_string();
    std::fs::create_dir_all(dir)
        .map_err(io_error(format!("the data directory {shown} cannot be made")))?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(io_error(format!("the data directory {shown} cannot be written")))?;
    match lock.try_lock() {
        // Apache's broker takes another kind of lock on the same file.
        Ok(()) => match rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(lock),
            Err(Errno::AGAIN | Errno::ACCESS) => Err(StartError::Locked { dir: shown }),
            Err(error) => {
                Err(StartError::Io { what: format!("locking {shown}"), source: error.into() })
            }
        },
        Err(TryLockError::WouldBlock) => Err(StartError::Locked { dir: shown }),
        Err(TryLockError::Error(source)) => {
            Err(StartError::Io { what: format!("locking {shown}"), source })
        }
    }
}

/// Opens and recovers the log.
pub(crate) fn recover(
    options: &Options,
    ports: Ports,
    progress: &Arc<Progress>,
) -> Result<Recovered, StartError> {
    let disk: Arc<dyn Disk> = if options.added_sync.is_zero() {
        Arc::new(RealDisk)
    } else {
        Arc::new(Slow { disk: RealDisk, added: options.added_sync })
    };
    #[cfg(debug_assertions)]
    let disk = crate::trial::disk(disk).map_err(io_error("making a record of what is written"))?;
    let dir = &options.data_dir;
    let fresh = fresh_identity().map_err(io_error("asking for random numbers"))?;
    let (identity, file_size) = identity::open(&*disk, dir, options.file_size, fresh)?;
    let files = Files::open(disk.clone(), dir, file_size)
        .map_err(io_error(format!("opening the commit log in {}", dir.display())))?;
    let files = Arc::new(files);
    if !options.roles.broker && adopt::touched(&files, dir)?.is_some() {
        return Err(AdoptError::NoBroker { dir: dir.clone() }.into());
    }
    let adoption =
        Adoption::begin(&files, dir, identity, &mut |done, total| progress.set(done, total))?;
    let mut watch = StartWatch(progress.clone());
    let mut config = Config::default();
    settings::fill_engine(&mut config, &options.values, 0);
    let for_keeper = files.clone();
    let found = Keeper::open_watched(for_keeper, dir.clone(), identity, &config, &mut watch)?;
    let Found { mut keeper, mut state, origin, oddities, .. } = found;
    for oddity in oddities {
        tracing::error!("{oddity}");
    }
    let progress = progress.clone();
    state.on_progress = Some(ProgressFn(Box::new(move |done, total| progress.set(done, total))));
    let (resume, report) = recover::recover(&files, dir, &identity, origin, &mut state)?;
    state.on_progress = None;
    let resume = match &adoption {
        Some(adoption) => take_over(adoption, &files, &identity, &config, &mut state, resume)?,
        None => resume,
    };
    if options.roles.broker {
        adopt::take(&*disk, dir).map_err(io_error(format!("taking {}", dir.display())))?;
    }
    let lost_delays = keeper.settle(&mut state)?;
    report.lost.iter().for_each(log_lost);
    if state.unknown_changes > 0 {
        tracing::error!(state.unknown_changes, "state changes that this release does not know");
    }
    config.store_ip = options.advertise.store_ip;
    config.store_port = ports.broker;
    config.process = [0; 6];
    config.process.copy_from_slice(&fresh.number[..6]);
    let log = Appender::new(identity, file_size, resume);
    let mut engine = Engine::new(config, state, log, keeper.blocks.clone(), &report);
    let now = Clock::new(engine.log.store_timestamp()).now_ms();
    let mut values = options.values.clone();
    let own = if options.roles.broker { ports.broker } else { ports.namesrv };
    values.settle("listenPort", own.to_string());
    // That of the directory, whatever is configured.
    values.settle("mappedFileSizeCommitLog", file_size.to_string());
    let mut settings = Settings::new(values, options.roles, ports.namesrv, now);
    for (key, why) in settings.restore(&engine.state.settings, file_size) {
        tracing::warn!("{why}");
        engine.put_settings(&[(&key, None)], now);
    }
    Ok(Recovered { engine, files, keeper, settings, report, lost_delays })
}

/// Puts into the log, and into the state, what Apache's broker said.
fn take_over(
    adoption: &Adoption,
    files: &Files,
    identity: &Identity,
    config: &Config,
    state: &mut State,
    resume: Resume,
) -> Result<Resume, StartError> {
    let mut additions = Additions::new(files, identity, resume);
    adoption
        .settle(state, config, &mut |change| additions.add(change))
        .and_then(|()| additions.finish())
        .inspect(|_| {
            let Adoption { from, end, found, cut, .. } = adoption;
            tracing::info!(from = from.0, end = end.0, found.records, "taken over from Apache's broker");
            found.lost.iter().for_each(log_lost);
            if let Some(cut) = cut {
                tracing::warn!(from = cut.from.0, bytes = cut.bytes, set_aside = %cut.set_aside.display(), "what stood behind the last good record was set aside");
            }
            adoption.notes(state).iter().for_each(|note| tracing::warn!("{note}"));
        })
        .map_err(io_error("taking the directory over from Apache's broker"))
}

/// Tells how far the making of index blocks is.
struct StartWatch(Arc<Progress>);

impl Watch for StartWatch {
    fn progress(&mut self, done: u64, total: u64) {
        self.0.set(done, total);
    }
}

fn log_lost(lost: &Lost) {
    tracing::error!("lost to damage on the disk: {lost}");
}

fn fresh_identity() -> io::Result<Identity> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut number = [0; 16];
    number.copy_from_slice(&random[..16]);
    let mut writer = [0; 8];
    writer.copy_from_slice(&random[16..]);
    Ok(Identity { number, writer: u64::from_be_bytes(writer) })
}

/// The name server with this broker in it.
fn names(options: &Options, engine: &Engine, broker_port: u16) -> Names {
    // Its options follow from what holds now: see `Core::apply_settings`.
    let mut names = Names::new(Default::default());
    for ((namespace, key), value) in &engine.state.kv {
        let (namespace, key) = (namespace.clone(), key.clone());
        names.restore_kv(KvChange { namespace, key, value: Some(value.clone()) });
    }
    if !options.roles.broker || !options.roles.names {
        return names;
    }
    let advertised = match &options.advertise.broker {
        Some(host) => Advertised::Fixed(with_port(host, broker_port).into()),
        None => Advertised::Local { port: broker_port },
    };
    names.set_local(LocalBroker {
        cluster: engine.config.cluster.to_string(),
        name: engine.config.broker_name.to_string(),
        broker_id: options.broker_id,
        advertised,
    });
    for config in engine.state.topics.view().values() {
        names.publish_topic(config);
    }
    names
}

/// An advertised `host` with a port.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    // It was checked when it was set.
    Address::parse(host).map_or_else(|| host.to_owned(), |address| address.with_port(port))
}

/// Lets the process open as many descriptors as it may.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    if limit.maximum.is_some_and(|max| max < 4 * DESCRIPTORS_RESERVED) {
        tracing::warn!(
            limit = limit.maximum,
            "few files may be open: few connections are possible"
        );
    }
}
