//! What a start says: version, data, listeners, what clients are told, how safe messages are, what
//! recovery found.

use kerolox_server::{Durability, Options, Server};
use tracing::{info, warn};

/// Writes the banner.
pub(crate) fn show(options: &Options, server: &Server) {
    let ports = &server.ports;
    let roles = match (options.roles.names, options.roles.broker) {
        (true, true) => "name server and broker",
        (false, _) => "a broker",
        (true, false) => "a name server",
    };
    info!("kerolox {} is ready: {roles}", env!("CARGO_PKG_VERSION"));
    info!("data directory: {}", options.data_dir.display());
    let listeners = [
        ("namesrv", ports.namesrv, ""),
        ("broker", ports.broker, ""),
        ("vip", server.vip_port, ""),
        ("proxy", ports.proxy, ""),
        ("grpc", ports.grpc, " (remoting only for now)"),
        ("http", ports.http, ""),
    ];
    let listeners = listeners.iter().filter(|(name, port, _)| *port > 0 || *name == "vip");
    let listeners = listeners.filter(|(name, ..)| options.roles.broker || *name != "vip");
    let listeners: Vec<_> =
        listeners.map(|(name, port, note)| format!("{name} {port}{note}")).collect();
    info!("listening on {}: {}", options.listen, listeners.join(", "));
    if options.roles.broker {
        show_addresses(options);
    }
    if !options.listen.is_loopback() {
        warn!("{} can be reached by others, and there is no authentication yet", options.listen);
    }
    match options.durability {
        Durability::Sync => {
            info!("durability: SYNC_FLUSH, an acknowledged message is on the disk");
        }
        Durability::Async { interval_ms } => info!(
            "durability: ASYNC_FLUSH, synced every {interval_ms} ms; a power cut may take what was acknowledged since"
        ),
    }
    let report = &server.report;
    info!(
        "recovery: {} ms, {} messages, log from {} to {}, start {}",
        server.recovery_time.as_millis(),
        report.records,
        report.begin,
        report.end,
        report.start
    );
    if let Some(cut) = &report.cut {
        warn!(
            "the log's end was not confirmed: {} bytes behind position {} were set aside in {}",
            cut.bytes,
            cut.from,
            cut.set_aside.display()
        );
    }
    for lost in &report.lost {
        warn!("lost to damage on the disk: {lost}");
    }
    for lost in &server.lost_delays.named {
        let due = match lost.due {
            Some(due) => format!("due at {due}"),
            None => "when it was due is not known".to_owned(),
        };
        warn!(
            "lost with its log file: the delayed message {} of level {}, {due}",
            lost.offset, lost.level
        );
    }
    if server.lost_delays.more > 0 {
        warn!("lost with their log files: {} more delayed messages", server.lost_delays.more);
    }
}

/// How clients find the broker.
fn show_addresses(options: &Options) {
    let fixed = options.advertise.broker.as_ref();
    match fixed {
        Some(address) => info!("clients are told to dial {address}"),
        None if options.roles.names => {
            info!("clients are told to dial the address at which they reached the name server");
        }
        // Another name server hands out what it was told.
        None if options.listen.is_unspecified() => info!(
            "clients are told to dial the address from which this broker reaches their name server"
        ),
        None => info!("clients are told to dial {}, where this broker listens", options.listen),
    }
    if fixed.is_none() && options.listen.is_unspecified() {
        warn!(
            "listening on every address without --advertise: clients behind NAT or a container bridge cannot dial what they are told; give --advertise HOST"
        );
    }
    if fixed.is_none() && options.listen.is_loopback() && !options.name_servers.is_empty() {
        warn!(
            "other name servers are told of this broker, which listens on {} alone: give --listen, and --advertise HOST if clients reach it by another address",
            options.listen
        );
    }
}
