//! The ledger: what was acknowledged. In: acknowledgements, from several threads. Out: a file, and
//! the same acknowledgements when it is read.
//!
//! The first line is a [`Header`] in JSON. Records of [`RECORD_SIZE`] bytes follow, in any order:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | queue offset |
//! | 8 | 8 | sequence |
//! | 16 | 4 | queue id |
//! | 20 | 4 | producer |
//! | 24 | 4 | CRC32 of the body |
//! | 28 | 2 | broker: index into the header's list |
//! | 30 | 2 | check: the low half of the CRC32 of the bytes before |
//!
//! It outlives a broker's death, not the generator's: what came in the last moments is in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

const RECORD_SIZE: usize = 32;
/// A header longer than this is none.
const HEADER_MAX: u64 = 1 << 20;
/// Acknowledgements are written in pieces of this many bytes, or at the writer's next tick.
const PIECE_SIZE: usize = 256 * 1024;

/// What the messages of a run have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) run: u64,
    pub(crate) topic: String,
    /// Bytes of each body.
    pub(crate) size: usize,
    /// `host:port` of each master that was written to.
    pub(crate) brokers: Vec<String>,
    /// Queues of the topic on each of them.
    pub(crate) queues: Vec<i32>,
}

/// An acknowledged message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) broker: u16,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) producer: u32,
    pub(crate) sequence: u64,
    pub(crate) crc: u32,
}

impl Ack {
    fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut out = [0; RECORD_SIZE];
        out[..8].copy_from_slice(&self.offset.to_be_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        out[16..20].copy_from_slice(&self.queue.to_be_bytes());
        out[20..24].copy_from_slice(&self.producer.to_be_bytes());
        out[24..28].copy_from_slice(&self.crc.to_be_bytes());
        out[28..30].copy_from_slice(&self.broker.to_be_bytes());
        let check = crc32fast::hash(&out[..30]) as u16;
        out[30..].copy_from_slice(&check.to_be_bytes());
        out
    }

    /// `None` if the check does not hold.
    fn decode(record: &[u8; RECORD_SIZE]) -> Option<Self> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, s0, s1, s2, s3, s4, s5, s6, s7, ..] = *record;
        let [.., q0, q1, q2, q3, p0, p1, p2, p3, c0, c1, c2, c3, b0, b1, k0, k1] = *record;
        let check = crc32fast::hash(&record[..30]) as u16;
        (check == u16::from_be_bytes([k0, k1])).then(|| Ack {
            offset: i64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            sequence: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            queue: i32::from_be_bytes([q0, q1, q2, q3]),
            producer: u32::from_be_bytes([p0, p1, p2, p3]),
            crc: u32::from_be_bytes([c0, c1, c2, c3]),
            broker: u16::from_be_bytes([b0, b1]),
        })
    }
}

/// One thread's way into the ledger.
#[derive(Debug)]
pub(crate) struct Writer {
    file: Arc<Mutex<File>>,
    buffer: Vec<u8>,
}

impl Writer {
    /// Makes a new file, with its header.
    pub(crate) fn create(path: &Path, header: &Header) -> anyhow::Result<Self> {
        let context = || format!("cannot write the ledger {}", path.display());
        let mut file = File::create(path).with_context(context)?;
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        file.write_all(&line).with_context(context)?;
        Ok(Writer { file: Arc::new(Mutex::new(file)), buffer: Vec::new() })
    }

    /// A writer into the same file, for another thread.
    pub(crate) fn another(&self) -> Self {
        Writer { file: self.file.clone(), buffer: Vec::new() }
    }

    pub(crate) fn add(&mut self, ack: &Ack) -> std::io::Result<()> {
        self.buffer.extend_from_slice(&ack.encode());
        if self.buffer.len() >= PIECE_SIZE { self.flush() } else { Ok(()) }
    }

    /// Writes what is still in memory. Every thread must do so at its end.
    pub(crate) fn flush(&mut self) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// A ledger, read.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) header: Header,
    pub(crate) acks: Vec<Ack>,
}

impl Ledger {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read the ledger {}", path.display());
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).with_context(context)?);
        let mut line = Vec::new();
        file.by_ref().take(HEADER_MAX).read_until(b'\n', &mut line).with_context(context)?;
        let header = serde_json::from_slice(&line).with_context(context)?;
        let mut acks = Vec::new();
        let mut record = [0; RECORD_SIZE];
        loop {
            // A torn last record means that the generator died: it never counted.
            match file.read_exact(&mut record) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e).with_context(context),
            }
            let ack = Ack::decode(&record).with_context(|| {
                format!("record {} of the ledger {} is damaged", acks.len(), path.display())
            })?;
            acks.push(ack);
        }
        let ledger = Ledger { header, acks };
        let brokers = ledger.header.brokers.len();
        ensure!(
            brokers == ledger.header.queues.len(),
            "{}: brokers and queues differ",
            path.display()
        );
        let known = |ack: &Ack| usize::from(ack.broker) < brokers;
        ensure!(ledger.acks.iter().all(known), "{} names an unknown broker", path.display());
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            run: u64::MAX - 1,
            topic: "T".into(),
            size: 64,
            brokers: vec!["h:1".into(), "h:2".into()],
            queues: vec![4, 8],
        }
    }

    fn ack(n: u32) -> Ack {
        Ack {
            broker: (n % 2) as u16,
            queue: n as i32 % 7,
            offset: i64::from(n) << 20,
            producer: n,
            sequence: u64::from(n) << 33,
            crc: !n,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut one = Writer::create(&path, &header()).unwrap();
        let mut two = one.another();
        for n in 0..20_000 {
            let writer = if n % 3 == 0 { &mut one } else { &mut two };
            writer.add(&ack(n)).unwrap();
        }
        one.flush().unwrap();
        two.flush().unwrap();
        let mut ledger = Ledger::read(&path).unwrap();
        assert_eq!(ledger.header, header());
        ledger.acks.sort_by_key(|ack| ack.producer);
        assert_eq!(ledger.acks, (0..20_000).map(ack).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_end_is_dropped_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut writer = Writer::create(&path, &header()).unwrap();
        writer.add(&ack(1)).unwrap();
        writer.add(&ack(2)).unwrap();
        writer.flush().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.pop();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().acks, [ack(1)]);
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        Ledger::read(&path).unwrap_err();
    }
}
