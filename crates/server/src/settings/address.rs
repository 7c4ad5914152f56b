//! What clients may be told to dial: `host`, `host:port`, `[v6]` or `[v6]:port`; a bare IPv6 address is a
//! host, too. In: a text. Out: its parts, if it is one of these.

use std::net::Ipv6Addr;

/// A host, and the port if it names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// Without brackets.
    pub host: &'a str,
    pub port: Option<u16>,
}

impl<'a> Address<'a> {
    /// Reads one.
    pub fn parse(text: &'a str) -> Option<Address<'a>> {
        let is_v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
        if let Some(rest) = text.strip_prefix('[') {
            let (host, behind) = rest.split_once(']').filter(|(host, _)| is_v6(host))?;
            let port = match behind {
                "" => None,
                behind => Some(port(behind.strip_prefix(':')?)?),
            };
            return Some(Address { host, port });
        }
        if is_v6(text) {
            return Some(Address { host: text, port: None });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, text)) => (host, Some(port(text)?)),
            None => (text, None),
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        (!host.is_empty() && host.bytes().all(legal)).then_some(Address { host, port })
    }

    /// `host:port`, with this port if it names none.
    pub fn with_port(&self, port: u16) -> String {
        let port = self.port.unwrap_or(port);
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }
}

/// Nobody can dial port 0.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_and_nothing_else() {
        for (text, with_port) in [
            ("10.1.2.3", "10.1.2.3:7"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("a-b_c.example:65535", "a-b_c.example:65535"),
            ("fe80::1", "[fe80::1]:7"),
            ("[fe80::1]", "[fe80::1]:7"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(Address::parse(text).unwrap().with_port(7), with_port, "{text}");
        }
        for text in [
            "", ":80", "a:", "a:0", "a:65536", "a:+1", "a:b", "a:1:2", "a b", "a\u{1}", "[a]",
            "[::1", "[::1]80", "[::1]:", "[::1]:0", "é",
        ] {
            assert_eq!(Address::parse(text), None, "{text:?}");
        }
    }
}
