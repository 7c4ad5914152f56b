//! A connection's first bytes say what is spoken, whatever the port.

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// RocketMQ's remoting protocol: a length below 16 MiB comes first.
    Remoting,
    /// HTTP/1.
    Http,
    /// HTTP/2 with prior knowledge: gRPC, which is not there yet.
    Http2,
    /// A TLS handshake, which is not there yet.
    Tls,
    /// Nothing that is known here.
    Unknown,
}

/// Looks at the first bytes; `None`: more are needed.
pub fn sniff(first: &[u8]) -> Option<Spoken> {
    let [a, b, c, d] = *first.first_chunk::<4>()?;
    Some(match [a, b, c, d] {
        [0 | 1, ..] => Spoken::Remoting,
        [0x16, 3, ..] => Spoken::Tls,
        [b'P', b'R', b'I', b' '] => Spoken::Http2,
        _ if matches!(
            &[a, b, c, d],
            b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"PATC" | b"TRAC"
        ) =>
        {
            Spoken::Http
        }
        _ => Spoken::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_protocols_apart() {
        assert_eq!(sniff(&[0, 0, 1]), None);
        assert_eq!(sniff(&[0, 0, 1, 0]), Some(Spoken::Remoting));
        assert_eq!(sniff(b"GET /livez"), Some(Spoken::Http));
        assert_eq!(sniff(b"PRI * HTTP/2.0"), Some(Spoken::Http2));
        assert_eq!(sniff(&[0x16, 3, 1, 0]), Some(Spoken::Tls));
        assert_eq!(sniff(&[0xff; 4]), Some(Spoken::Unknown));
    }
}
