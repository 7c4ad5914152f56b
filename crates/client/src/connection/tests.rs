//! A connection against a peer that misbehaves.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kerolox_protocol::remoting::frame::{FLAG_REPLY, Frame, Head, encode, frame_size};
use kerolox_protocol::remoting::offsets::OffsetReply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn request(stream: &mut TcpStream, buffer: &mut BytesMut) -> (i32, i32) {
    loop {
        if let Some(size) = frame_size(buffer).unwrap().filter(|size| *size <= buffer.len()) {
            let bytes = buffer.split_to(size).freeze();
            let frame = Frame::parse(&bytes).unwrap();
            return (frame.code, frame.opaque);
        }
        assert_ne!(stream.read_buf(buffer).await.unwrap(), 0);
    }
}

/// Runs `client` against a peer that does `server` with the first connection.
fn against<C, S>(
    options: Options,
    server: impl FnOnce(TcpStream) -> S,
    client: impl FnOnce(Connection) -> C,
) where
    C: Future<Output = ()>,
    S: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let peer = async { server(listener.accept().await.unwrap().0).await };
        let caller =
            async { client(Connection::connect_with(&addr, options).await.unwrap()).await };
        tokio::join!(peer, caller);
    });
}

#[test]
fn replies_find_their_calls_in_any_order() {
    let server = |mut stream: TcpStream| async move {
        let mut buffer = BytesMut::new();
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(request(&mut stream, &mut buffer).await);
        }
        let mut out = BytesMut::new();
        for (code, opaque) in calls.into_iter().rev() {
            for opaque in [opaque, -7] {
                let head = Head { opaque, flag: FLAG_REPLY, ..Head::default() };
                encode(&mut out, &head, &OffsetReply { offset: i64::from(code) }, 0);
            }
        }
        stream.write_all(&out).await.unwrap();
    };
    against(Options::default(), server, async |connection| {
        let ask = async |code| {
            let reply = connection.call(code, &(), Bytes::new()).await.unwrap();
            reply.header::<OffsetReply>().unwrap().offset
        };
        assert_eq!(tokio::join!(ask(30), ask(31), ask(32)), (30, 31, 32));
    });
}

#[test]
fn a_lost_connection_fails_its_calls_and_those_after() {
    let server = |mut stream: TcpStream| async move {
        request(&mut stream, &mut BytesMut::new()).await;
    };
    against(Options::default(), server, async |connection| {
        for _ in 0..2 {
            let error = connection.call(30, &(), Bytes::new()).await.unwrap_err();
            assert!(matches!(error, Error::Closed { .. }), "{error}");
        }
        assert!(connection.is_closed());
    });
}

#[test]
fn a_connection_tells_when_it_ends_without_a_call() {
    let (end, ends) = oneshot::channel::<()>();
    let server = |stream: TcpStream| async move {
        ends.await.unwrap();
        drop(stream);
    };
    against(Options::default(), server, async |connection| {
        let still = tokio::time::timeout(Duration::from_millis(20), connection.ended()).await;
        assert!(still.is_err());
        end.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(10), connection.ended()).await.unwrap();
    });
}

#[test]
fn a_frame_beyond_the_limit_closes_the_connection() {
    let server = |mut stream: TcpStream| async move {
        let mut out = BytesMut::new();
        out.put_u32(16 * 1024 * 1024 + 1);
        stream.write_all(&out).await.unwrap();
        let _ = stream.read_buf(&mut out).await;
    };
    against(Options::default(), server, async |connection| {
        let error = connection.call(30, &(), Bytes::new()).await.unwrap_err();
        assert!(error.to_string().contains("out of range"), "{error}");
    });
}

#[test]
fn a_call_times_out_and_leaves_nothing_behind() {
    let server = |mut stream: TcpStream| async move {
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.unwrap();
    };
    let options =
        Options { timeout: Duration::from_millis(20), in_flight_max: 1, ..Options::default() };
    against(options, server, async |connection| {
        let error = connection.call(30, &(), Bytes::new()).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { request: 30, .. }), "{error}");
        assert!(connection.shared.pending().calls.is_empty());
        connection.oneway(35, &(), Bytes::new()).await.unwrap();
    });
}

#[test]
fn calls_may_move_between_threads() {
    fn movable<T: std::marker::Send>(_: T) {}
    let _ = |connection: Connection| {
        movable(connection.route("t"));
        movable(connection.oneway(35, &(), Bytes::new()));
    };
}
