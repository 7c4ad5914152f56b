//! HTTP/1, by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks for a page, on whatever port.
pub(crate) fn get(port: u16, path: &str) -> Page {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// Sends a request that says `Connection: close` and reads to the end.
pub(crate) fn ask(port: u16, request: &str) -> Page {
    try_ask(port, request).expect("a head and a body")
}

/// As [`ask`]; `None` if the connection ends without an answer.
pub(crate) fn try_ask(port: u16, request: &str) -> Option<Page> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).expect("the limit is not zero");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
        read => read.expect("the server answers and closes"),
    };
    let text = String::from_utf8(bytes).expect("all pages are text");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Some(Page { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() })
}
