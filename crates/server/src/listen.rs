//! Sockets are bound, and connections handed to the shard with the fewest.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::UnboundedSender;

use crate::core::Shared;
use crate::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED};
use crate::shard::{Accepted, Seat};

/// Binds a port; 0: any free one.
pub fn bind(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without SO_REUSEPORT a second broker on the port fails; with SO_REUSEADDR a restart does not.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds the broker's port, and the one two below it, which old clients dial.
pub fn bind_with_vip(ip: IpAddr, port: u16) -> io::Result<(TcpListener, Option<TcpListener>)> {
    if port != 0 {
        let broker = bind(ip, port)?;
        let vip = port.checked_sub(2).filter(|vip| *vip > 0).map(|vip| bind(ip, vip));
        return match vip {
            Some(Ok(vip)) => Ok((broker, Some(vip))),
            Some(Err(e)) => {
                tracing::warn!(port = port - 2, error = %e, "the VIP port cannot be bound: clients before 4.5 that dial it cannot connect");
                Ok((broker, None))
            }
            None => Ok((broker, None)),
        };
    }
    let mut last = io::Error::other("no pair of free ports found");
    for _ in 0..100 {
        let broker = bind(ip, 0)?;
        let vip = broker.local_addr()?.port().saturating_sub(2);
        match bind(ip, vip) {
            Ok(listener) if vip > 0 => return Ok((broker, Some(listener))),
            Ok(_) => {}
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// As many connections as leave descriptors for the log: without one its next file could not be
/// opened.
fn connections_max() -> usize {
    use rustix::process::{Resource, getrlimit};
    let Some(limit) = getrlimit(Resource::Nofile).current else { return CONNECTIONS_MAX };
    let left = limit.saturating_sub(DESCRIPTORS_RESERVED).max(limit / 2);
    usize::try_from(left).unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX)
}

/// Accepts until the task is ended. A failure (no descriptors, say) is waited out.
pub async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    shards: Vec<(Arc<std::sync::atomic::AtomicUsize>, UnboundedSender<Accepted>)>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener cannot be used");
            return;
        }
    };
    let connections_max = connections_max();
    let mut turn = 0;
    let mut complained: Option<Instant> = None;
    let mut may_complain = move || {
        let now = Instant::now();
        let may = complained.is_none_or(|last| now - last >= Duration::from_secs(1));
        if may {
            complained = Some(now);
        }
        may
    };
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if may_complain() {
                    tracing::warn!(%error, "cannot accept a connection; waiting");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if shared.connections.load(Ordering::Relaxed) >= connections_max {
            if may_complain() {
                tracing::warn!(%peer, connections_max, "too many connections: one is closed");
            }
            continue;
        }
        let Ok(local) = stream.local_addr() else { continue };
        let Ok(stream) = stream.into_std() else { continue };
        let _ = stream.set_nodelay(true);
        // The fewest connections; in turn among equals.
        turn += 1;
        let fewest = (0..shards.len())
            .map(|i| (i + turn) % shards.len())
            .min_by_key(|i| shards[*i].0.load(Ordering::Relaxed));
        if let Some(i) = fewest {
            let (count, shard) = &shards[i];
            let seat = Seat::take(&shared, count);
            let _ = shard.send(Accepted { stream, peer, local, seat });
        }
    }
}
