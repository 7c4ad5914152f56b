//! Message ids: the one that names a position in a broker's log, and the unique key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn push_hex(out: &mut String, bytes: &[u8]) {
    for b in bytes {
        out.push(char::from(HEX[usize::from(b >> 4)]));
        out.push(char::from(HEX[usize::from(b & 15)]));
    }
}

fn push_ip(out: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => push_hex(out, &ip.octets()),
        IpAddr::V6(ip) => push_hex(out, &ip.octets()),
    }
}

/// Appends the offset message id: the store host (address, port as i32) and the position in its
/// commit log, in upper-case hex.
pub fn push_offset_id(out: &mut String, host: SocketAddr, physical_offset: u64) {
    push_ip(out, host.ip());
    push_hex(out, &i32::from(host.port()).to_be_bytes());
    push_hex(out, &physical_offset.to_be_bytes());
}

/// Reads an offset message id.
pub fn parse_offset_id(id: &str) -> Option<(SocketAddr, u64)> {
    let mut bytes = Vec::with_capacity(28);
    if !id.is_ascii() || (id.len() != 32 && id.len() != 56) {
        return None;
    }
    for pair in id.as_bytes().chunks(2) {
        let digit = |b: u8| char::from(b).to_digit(16);
        bytes.push((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    }
    let (ip, rest) = if bytes.len() == 16 {
        let (ip, rest) = bytes.split_first_chunk::<4>()?;
        (IpAddr::V4(Ipv4Addr::from(*ip)), rest)
    } else {
        let (ip, rest) = bytes.split_first_chunk::<16>()?;
        (IpAddr::V6(Ipv6Addr::from(*ip)), rest)
    };
    let (port, offset) = rest.split_first_chunk::<4>()?;
    let port = u16::try_from(i32::from_be_bytes(*port)).ok()?;
    Some((SocketAddr::new(ip, port), u64::from_be_bytes(*offset.first_chunk()?)))
}

/// A unique key for a message that came without one: address, 6 bytes that tell one process from
/// another, milliseconds, and a counter, as long as those that clients make.
pub fn unique_key(ip: IpAddr, process: [u8; 6], now_ms: u64, counter: u16) -> String {
    let mut out = String::with_capacity(56);
    push_ip(&mut out, ip);
    push_hex(&mut out, &process);
    push_hex(&mut out, &(now_ms as u32).to_be_bytes());
    push_hex(&mut out, &counter.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_ids_round_trip() {
        for host in ["10.1.2.3:10911", "[fe80::1]:10911"] {
            let host: SocketAddr = host.parse().unwrap();
            let mut id = String::new();
            push_offset_id(&mut id, host, 0x1234_5678_9abc);
            assert_eq!(parse_offset_id(&id), Some((host, 0x1234_5678_9abc)));
        }
        let mut id = String::new();
        push_offset_id(&mut id, "10.1.2.3:10911".parse().unwrap(), 255);
        assert_eq!(id, "0A01020300002A9F00000000000000FF");
        for bad in ["", "0A", &"Z".repeat(32), "0A010203FFFFFFFF00000000000000FF"] {
            assert_eq!(parse_offset_id(bad), None);
        }
    }

    #[test]
    fn unique_keys_have_the_usual_length() {
        let key = unique_key(IpAddr::from([127, 0, 0, 1]), [1; 6], 1 << 40, 7);
        assert_eq!(key, "7F000001010101010101000000000007");
    }
}
