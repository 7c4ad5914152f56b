//! What the server is told at the start. The binary makes this of flags, environment and file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use kerolox_log::retention::Retention;

use crate::settings;
use crate::settings::values::Values;

/// What runs in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub names: bool,
    pub broker: bool,
}

/// When a message counts as confirmed (`flushDiskType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `SYNC_FLUSH`: it is synced to the disk.
    Sync,
    /// `ASYNC_FLUSH`: it is handed to the operating system; synced every so many ms.
    Async { interval_ms: u64 },
}

/// Ports to listen on; 0: any free one. Of what does not run in this process: none, and 0 once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports {
    pub namesrv: u16,
    pub broker: u16,
    pub grpc: u16,
    pub proxy: u16,
    pub http: u16,
}

/// What routes tell clients to dial.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advertise {
    /// `host` or `host:port` of the broker; without it, the address at which the asking
    /// connection arrived.
    pub broker: Option<String>,
    /// The address in message ids.
    pub store_ip: Option<IpAddr>,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Options {
    pub roles: Roles,
    pub ports: Ports,
    pub advertise: Advertise,
    /// The configuration: flags that stand for a key are in it, too.
    pub values: Values,
    pub data_dir: PathBuf,
    pub listen: IpAddr,
    pub durability: Durability,
    /// `mappedFileSizeCommitLog`, if the configuration says so.
    pub file_size: Option<u64>,
    /// `kerolox.disk.addedSyncMillis`: what every sync of the disk takes beyond its own time.
    pub added_sync: Duration,
    /// `brokerId`
    pub broker_id: i64,
    /// `namesrvAddr`: name servers of other processes.
    pub name_servers: Vec<String>,
    /// `registerNameServerPeriod`: how often they are told that the broker lives.
    pub register_every: Duration,
    /// `serverChannelMaxIdleTimeSeconds`: a connection without traffic for so long is closed.
    pub idle: Duration,
    /// `kerolox.shards`: cores to use, one shard each.
    pub shards: usize,
}

impl Options {
    /// Reads what a start needs of the configuration. An error says which key is wrong, and why.
    pub fn new(
        roles: Roles,
        ports: Ports,
        advertise: Advertise,
        mut values: Values,
    ) -> Result<Options, String> {
        let data_dir = PathBuf::from(values.text("storePathRootDir"));
        let log_dir = values.text("storePathCommitLog");
        if !log_dir.is_empty() && data_dir.join("commitlog") != Path::new(log_dir) {
            let own = data_dir.join("commitlog");
            let want = format!("{}: the log lies in the data directory", own.display());
            return Err(values.wrong("storePathCommitLog", &want));
        }
        let given = |key| values.given(key).is_some();
        let file_size =
            given("mappedFileSizeCommitLog").then(|| values.number("mappedFileSizeCommitLog"));
        settings::fits(&values, file_size.unwrap_or(crate::FILE_SIZE_DEFAULT))?;
        // The log thread and the kernel want cores, too: see docs/decisions/001.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = match given("kerolox.shards") {
            true => values.number("kerolox.shards") as usize,
            false => cores.div_ceil(2).min(64),
        };
        let listen = values.text("bindAddress").parse();
        let listen = listen.map_err(|_| values.wrong("bindAddress", "an IP address"))?;
        let port = if roles.broker { ports.broker } else { ports.namesrv };
        values.settle("listenPort", port.to_string());
        values.settle("kerolox.shards", shards.to_string());
        values.settle("storePathCommitLog", data_dir.join("commitlog").display().to_string());
        Ok(Options {
            roles,
            ports,
            advertise,
            data_dir,
            listen,
            durability: match values.text("flushDiskType") {
                "ASYNC_FLUSH" => {
                    Durability::Async { interval_ms: values.number("flushIntervalCommitLog") }
                }
                _ => Durability::Sync,
            },
            file_size,
            added_sync: Duration::from_millis(values.number("kerolox.disk.addedSyncMillis")),
            broker_id: values.number("brokerId") as i64,
            name_servers: settings::addresses(values.text("namesrvAddr")).unwrap_or_default(),
            register_every: Duration::from_millis(values.number("registerNameServerPeriod")),
            idle: Duration::from_secs(values.number("serverChannelMaxIdleTimeSeconds")),
            shards,
            values,
        })
    }
}
