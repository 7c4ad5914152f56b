//! `--advertise [LISTENER=]HOST[:PORT]`: what clients are told to dial.

use std::net::{IpAddr, ToSocketAddrs};

use kerolox_server::Advertise;

/// Listeners that may be named.
const LISTENERS: [&str; 6] = ["namesrv", "broker", "vip", "proxy", "grpc", "ha"];

/// Reads the flags. Routes name the broker's listener; what is said of the others is checked and
/// kept for those who will be told of them.
pub(crate) fn parse(flags: &[String], broker_ip: Option<&str>) -> Result<Advertise, String> {
    let mut all = broker_ip.map(str::to_owned);
    let mut broker = None;
    for flag in flags {
        match flag.split_once('=') {
            None => {
                check(flag)?;
                if has_port(flag) {
                    return Err(format!(
                        "--advertise {flag}: a port belongs to one listener, say broker={flag}"
                    ));
                }
                all = Some(flag.clone());
            }
            Some((listener, address)) if LISTENERS.contains(&listener) => {
                check(address)?;
                if listener == "broker" {
                    broker = Some(address.to_owned());
                }
            }
            Some((listener, _)) => {
                let known = LISTENERS.join(", ");
                return Err(format!("--advertise {flag}: {listener:?} is none of {known}"));
            }
        }
    }
    let broker = broker.or(all);
    let store_ip = broker.as_deref().map(resolve).transpose()?;
    Ok(Advertise { broker, store_ip })
}

fn check(address: &str) -> Result<(), String> {
    let host = host(address);
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'_');
    if host.is_empty() || !host.bytes().all(legal) {
        return Err(format!("--advertise {address}: not a host name or IP address"));
    }
    Ok(())
}

fn has_port(address: &str) -> bool {
    host(address) != address && !(address.starts_with('[') && address.ends_with(']'))
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; a bare IPv6 address is one, too.
fn host(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => address,
    }
}

/// Message ids hold an IP address.
fn resolve(address: &str) -> Result<IpAddr, String> {
    let host = host(address);
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.map(|address| address.ip()).ok_or_else(|| {
        format!("--advertise {address}: the name {host:?} cannot be resolved here, and message ids need its IP")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        let parse = |flags: &[&str]| {
            parse(&flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>(), None)
        };
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let one = parse(&["10.1.2.3"]).unwrap();
        assert_eq!((one.broker.as_deref(), one.store_ip), (Some("10.1.2.3"), ip("10.1.2.3")));
        let one = parse(&["broker=10.1.2.3:30911", "grpc=x.example:1"]).unwrap();
        assert_eq!((one.broker.as_deref(), one.store_ip), (Some("10.1.2.3:30911"), ip("10.1.2.3")));
        let one = parse(&["broker=[fe80::1]:30911"]).unwrap();
        assert_eq!(one.store_ip, ip("fe80::1"));
        assert_eq!(parse(&[]).unwrap(), Advertise::default());
        for bad in
            ["10.1.2.3:80", "nobody=10.1.2.3", "broker=", "a b", "broker=no-such-host.invalid"]
        {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }
}
