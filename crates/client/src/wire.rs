//! The two halves of a connection's task. In: bytes from the socket, frames from the outbox. Out:
//! whole frames to [`crate::connection`], many frames a write.

use bytes::{Bytes, BytesMut};
use kerolox_protocol::remoting::frame::{self, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Room asked for before each read.
const READ_SIZE: usize = 64 * 1024;
/// Frames are gathered up to this size before they are written.
const WRITE_SIZE: usize = 256 * 1024;

/// A frame to be written: its head and its body.
pub(crate) struct Outgoing {
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

/// Reads frames and hands each to `each` until the connection ends; tells why it did.
pub(crate) async fn read(mut half: OwnedReadHalf, mut each: impl FnMut(Frame<'_>)) -> String {
    let mut buffer = BytesMut::new();
    loop {
        loop {
            let size = match frame::frame_size(&buffer) {
                Ok(Some(size)) if size <= buffer.len() => size,
                Ok(_) => break,
                Err(e) => return e.to_string(),
            };
            let bytes = buffer.split_to(size).freeze();
            match Frame::parse(&bytes) {
                Ok(frame) => each(frame),
                Err(e) => return e.to_string(),
            }
        }
        buffer.reserve(READ_SIZE);
        match half.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return "the other side closed it".to_owned(),
            Ok(0) => return "the other side closed it in the middle of a frame".to_owned(),
            Ok(_) => {}
            Err(e) => return format!("reading failed: {e}"),
        }
    }
}

/// Writes what the outbox holds until the connection ends; tells why it did.
pub(crate) async fn write(
    mut half: OwnedWriteHalf,
    mut outbox: mpsc::Receiver<Outgoing>,
) -> String {
    let mut buffer = BytesMut::new();
    while let Some(first) = outbox.recv().await {
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            buffer.extend_from_slice(&frame.head);
            buffer.extend_from_slice(&frame.body);
            if buffer.len() < WRITE_SIZE {
                next = outbox.try_recv().ok();
            }
        }
        if let Err(e) = half.write_all_buf(&mut buffer).await {
            return format!("writing failed: {e}");
        }
    }
    "this side closed it".to_owned()
}
