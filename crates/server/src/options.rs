//! What the server is told at the start. The binary makes this of flags, environment and file.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kerolox_engine::Config;
pub use kerolox_log::retention::Retention;

/// When a message counts as confirmed (`flushDiskType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `SYNC_FLUSH`: it is synced to the disk.
    Sync,
    /// `ASYNC_FLUSH`: it is handed to the operating system; synced every so many ms.
    Async { interval_ms: u64 },
}

/// Ports to listen on; 0: any free one; `None`: not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    pub data_dir: PathBuf,
    pub listen: IpAddr,
    pub ports: Ports,
    pub advertise: Advertise,
    pub durability: Durability,
    /// `mappedFileSizeCommitLog`, if the configuration says so.
    pub file_size: Option<u64>,
    pub retention: Retention,
    /// What every sync of the disk takes beyond its own time; for trials. Zero: nothing.
    pub added_sync: Duration,
    /// The engine's part. Its `store_ip` and `store_port` are filled in here.
    pub engine: Config,
    /// `brokerId`
    pub broker_id: i64,
    /// `orderMessageEnable` of the name server.
    pub order_message: bool,
    /// Cores to use: one shard each.
    pub shards: usize,
}
