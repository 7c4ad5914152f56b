//! `--advertise [LISTENER=]HOST[:PORT]`: what clients are told to dial.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};

use kerolox_server::Advertise;
use kerolox_server::settings::address::Address;
use kerolox_server::settings::values::Value;

use crate::config::environment;

/// Listeners that may be named.
const LISTENERS: [&str; 6] = ["namesrv", "broker", "vip", "proxy", "grpc", "ha"];

/// Reads the flags, or what their variable holds. Routes name the broker's listener; what is said of the others is
/// checked and kept for those who will be told of them. `broker_ip` was checked as a value of its key.
pub(crate) fn parse(flags: &[String], broker_ip: Option<&Value>) -> Result<Advertise, String> {
    // By listener; that of all has no name.
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    let origin = environment::origin_of("--advertise");
    for flag in flags {
        let (listener, text) = flag.split_once('=').unwrap_or(("", flag));
        if flag.contains('=') && !LISTENERS.contains(&listener) {
            let known = LISTENERS.join(", ");
            return Err(format!("{origin} {flag}: {listener:?} is none of {known}"));
        }
        let Some(address) = Address::parse(text) else {
            return Err(format!(
                "{origin} {flag}: not a host name or IP address, with or without a port from 1 to 65535"
            ));
        };
        if listener.is_empty() && address.port.is_some() {
            return Err(format!(
                "{origin} {flag}: a port belongs to one listener, say broker={flag}"
            ));
        }
        if let Ok(ip) = address.host.parse() {
            dialled(ip).map_err(|why| format!("{origin} {flag}: {why}"))?;
        }
        if let Some(first) = given.insert(listener, text) {
            return Err(format!("{origin} {flag}: {first} was given for the same already"));
        }
    }
    let of_flag = given.get("broker").or(given.get("")).copied();
    let (broker, place) = match (of_flag, broker_ip) {
        (Some(text), _) => (text, format!("{origin} {text}")),
        (None, Some(Value { text, origin })) => (&**text, format!("{origin}: brokerIP1={text}")),
        (None, None) => return Ok(Advertise::default()),
    };
    let store_ip = resolve(broker).map_err(|why| format!("{place}: {why}"))?;
    Ok(Advertise { broker: Some(broker.to_owned()), store_ip: Some(store_ip) })
}

/// Message ids hold an IP address.
fn resolve(address: &str) -> Result<IpAddr, String> {
    let host = Address::parse(address).map_or(address, |address| address.host);
    if let Ok(ip) = host.parse() {
        return dialled(ip);
    }
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut all| all.next());
    let Some(found) = found else {
        return Err(format!(
            "the name {host:?} cannot be resolved here, and message ids need its IP"
        ));
    };
    dialled(found.ip())
}

/// 0.0.0.0 and `::` are for listening.
fn dialled(ip: IpAddr) -> Result<IpAddr, String> {
    match ip.to_canonical().is_unspecified() {
        true => Err(format!("nobody can dial {ip}, which stands for every address of a machine")),
        false => Ok(ip),
    }
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
