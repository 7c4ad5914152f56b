//! A server that the test scripts, for answers that Kerolox never gives.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::Bytes;
use kerolox_protocol::remoting::fields::Header;
use kerolox_protocol::remoting::frame::{FLAG_REPLY, Frame, Head};

use super::call::{Pairs, pairs};
use super::raw::framed;

/// What it says to a request: its header fields, and its body.
pub(crate) type Said = (Pairs, String);

/// A body without header fields.
pub(crate) fn body(text: impl Into<String>) -> Said {
    (pairs(&[]), text.into())
}

/// Listens until the test's process ends, and answers what it is asked with code 0. Its address.
pub(crate) fn listen(answer: impl FnMut(&str, i32, &Pairs) -> Said + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let own = address.clone();
    let mut answer = answer;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, |code, fields| answer(&own, code, fields));
        }
    });
    address
}

/// One connection to its end.
fn serve(mut stream: TcpStream, mut answer: impl FnMut(i32, &Pairs) -> Said) {
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut bytes = length.to_vec();
        bytes.resize(4 + u32::from_be_bytes(length) as usize, 0);
        stream.read_exact(&mut bytes[4..]).expect("clients send whole frames");
        let bytes = Bytes::from(bytes);
        let frame = Frame::parse(&bytes).expect("clients send good frames");
        let fields = Pairs::read(&frame).expect("their fields can be read");
        let (said, body) = answer(frame.code, &fields);
        let head = Head { opaque: frame.opaque, flag: FLAG_REPLY, ..Head::default() };
        stream.write_all(&framed(&head, &said, body.as_bytes())).expect("the client still reads");
    }
}
