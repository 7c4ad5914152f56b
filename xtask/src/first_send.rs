//! One message over a plain socket: whether a broker takes sends yet. In: its port. Out: yes or no.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

/// Sends one message, as a client does that knows the address already. False if it is refused.
pub(crate) fn send(broker_port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", broker_port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(&frame(b"first message")?)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply)?;
    let (header_length, rest) = reply.split_first_chunk::<4>().context("a short reply")?;
    // The high byte names the encoding; JSON is 0.
    let header = rest.get(..u32::from_be_bytes(*header_length) as usize);
    let header: Value = serde_json::from_slice(header.context("a reply that is no JSON")?)?;
    Ok(header["code"] == 0)
}

/// A SEND_MESSAGE request: lengths, JSON header, body.
fn frame(body: &[u8]) -> Result<Vec<u8>> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let header = json!({
        "code": 10,
        "language": "JAVA",
        "version": 317,
        "opaque": 1,
        "flag": 0,
        "extFields": {
            "producerGroup": "figures",
            "topic": "figures",
            "defaultTopic": "TBW102",
            "defaultTopicQueueNums": "4",
            "queueId": "0",
            "sysFlag": "0",
            "bornTimestamp": now_ms.to_string(),
            "flag": "0",
            "properties": "WAIT\u{1}true\u{2}",
            "reconsumeTimes": "0",
            "unitMode": "false",
            "batch": "false",
        },
    })
    .to_string();
    let mut frame = Vec::new();
    frame.extend(u32::try_from(4 + header.len() + body.len())?.to_be_bytes());
    frame.extend(u32::try_from(header.len())?.to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    Ok(frame)
}
