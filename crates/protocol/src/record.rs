//! A message as it lies in the commit log, and as it travels in the bodies of pulls and queries.
//!
//! In: a message's parts. Out: one record; and the other way round, as a [`View`] that borrows.
//! The log appends records (`log/src/append.rs`).
//!
//! All integers big-endian. With IPv4 hosts:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | size of the whole record |
//! | 4 | 4 | magic: [`MAGIC_V1`], or [`MAGIC_V2`] if the topic is longer than 127 bytes |
//! | 8 | 4 | CRC32 of the body without its highest bit |
//! | 12 | 4 | queue id |
//! | 16 | 4 | flag, the user's own |
//! | 20 | 8 | queue offset |
//! | 28 | 8 | physical offset: position in the commit log |
//! | 36 | 4 | sysFlag, see [`sys_flag`] |
//! | 40 | 8 | born timestamp, ms |
//! | 48 | 8 (20 if IPv6) | born host: address, port as i32 |
//! | 56 | 8 | store timestamp, ms |
//! | 64 | 8 (20 if IPv6) | store host |
//! | 72 | 4 | reconsume times |
//! | 76 | 8 | prepared transaction offset |
//! | 84 | 4 + n | body |
//! | | 1 + n (2 + n in v2) | topic |
//! | | 2 + n | properties |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BufMut;

/// Magic of a record whose topic length takes one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length takes two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank that fills the end of a file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes of a blank's own fields: the room it fills (i32) and its magic.
pub const BLANK_SIZE: usize = 8;
/// Longest encoded properties in bytes: the length field is an i16.
pub const PROPERTIES_MAX: usize = 32767;
/// Bytes of the smallest record there can be.
pub const SIZE_MIN: usize = 91;
/// Position of the physical offset in a record.
pub const PHYSICAL_OFFSET_AT: usize = 28;

/// The bits of a body's CRC that are stored.
pub const MASK_CRC: u32 = 0x7FFF_FFFF;

/// Bits of a record's sysFlag.
pub mod sys_flag {
    pub const COMPRESSED: i32 = 1;
    pub const MULTI_TAGS: i32 = 2;
    pub const PREPARED: i32 = 4;
    pub const COMMIT: i32 = 8;
    /// Rollback, and the mask of the transaction type. Such records get no queue entry.
    pub const ROLLBACK: i32 = 12;
    pub const BORN_HOST_V6: i32 = 16;
    pub const STORE_HOST_V6: i32 = 32;
    pub const NEED_UNWRAP: i32 = 64;
    pub const INNER_BATCH: i32 = 128;
    /// Mask of what a compressed body is packed with; 0, of clients before 5.0, is zlib.
    pub const COMPRESSION: i32 = 7 << 8;
    pub const COMPRESSION_LZ4: i32 = 1 << 8;
    pub const COMPRESSION_ZSTD: i32 = 2 << 8;
    pub const COMPRESSION_ZLIB: i32 = 3 << 8;
}

/// A message about to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    pub flag: i32,
    /// The host bits are set here, whatever they were.
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    /// Encoded as in [`crate::properties`], at most [`PROPERTIES_MAX`] bytes.
    pub properties: &'a [u8],
}

fn host_size(host: SocketAddr) -> usize {
    if host.is_ipv4() { 8 } else { 20 }
}

fn put_host(out: &mut impl BufMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_i32(i32::from(host.port()));
}

impl NewRecord<'_> {
    /// Bytes of the record.
    pub fn size(&self) -> usize {
        let topic_length = if self.topic.len() > 127 { 2 } else { 1 };
        68 + host_size(self.born_host)
            + host_size(self.store_host)
            + (4 + self.body.len())
            + (topic_length + self.topic.len())
            + (2 + self.properties.len())
    }

    /// Appends the record to `out`.
    pub fn write(
        &self,
        queue_offset: i64,
        physical_offset: u64,
        store_timestamp: i64,
        out: &mut impl BufMut,
    ) {
        let mut sys_flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            sys_flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            sys_flag |= sys_flag::STORE_HOST_V6;
        }
        let long_topic = self.topic.len() > 127;
        out.put_u32(self.size() as u32);
        out.put_u32(if long_topic { MAGIC_V2 } else { MAGIC_V1 });
        out.put_u32(crc32fast::hash(self.body) & MASK_CRC);
        out.put_i32(self.queue_id);
        out.put_i32(self.flag);
        out.put_i64(queue_offset);
        out.put_u64(physical_offset);
        out.put_i32(sys_flag);
        out.put_i64(self.born_timestamp);
        put_host(out, self.born_host);
        out.put_i64(store_timestamp);
        put_host(out, self.store_host);
        out.put_i32(self.reconsume_times);
        out.put_i64(self.prepared_transaction_offset);
        out.put_u32(self.body.len() as u32);
        out.put_slice(self.body);
        if long_topic {
            out.put_u16(self.topic.len() as u16);
        } else {
            out.put_u8(self.topic.len() as u8);
        }
        out.put_slice(self.topic.as_bytes());
        out.put_u16(self.properties.len() as u16);
        out.put_slice(self.properties);
    }
}

/// Appends the blank that fills the last `room` bytes of a file, without the bytes behind its
/// fields.
pub fn write_blank(room: usize, out: &mut impl BufMut) {
    out.put_u32(room as u32);
    out.put_u32(MAGIC_BLANK);
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("no record magic")]
    Magic,
    #[error("a length field does not fit the record's size")]
    Length,
    #[error("the topic is not UTF-8")]
    Topic,
}

/// A record, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The whole record.
    pub bytes: &'a [u8],
    pub body_crc: u32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub physical_offset: u64,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: &'a [u8],
    pub topic: &'a str,
    pub properties: &'a [u8],
}

/// A cursor that never reads past its end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(*head)
    }
    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_be_bytes)
    }
    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }
    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }
    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        Ok(SocketAddr::new(ip, self.i32()? as u16))
    }
}

/// The size field and magic at the start of a record or blank; `None` if `bytes` is too short.
pub fn peek(bytes: &[u8]) -> Option<(u32, u32)> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let magic = rest.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*size), u32::from_be_bytes(*magic)))
}

/// When the record at the start of `bytes` was stored, in ms since 1970; its first 76 bytes are enough.
pub fn stored_at(bytes: &[u8]) -> Option<i64> {
    let (_, magic) = peek(bytes)?;
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return None;
    }
    let mut c = Cursor(bytes);
    c.take(36).ok()?;
    let sys_flag = c.i32().ok()?;
    c.i64().ok()?;
    c.host(sys_flag & sys_flag::BORN_HOST_V6 != 0).ok()?;
    c.i64().ok()
}

impl<'a> View<'a> {
    /// Whether the body is the one that was stored.
    pub fn has_sound_body(&self) -> bool {
        crc32fast::hash(self.body) & MASK_CRC == self.body_crc
    }

    /// Reads the record at the start of `bytes`; what follows it is not looked at. Checks the
    /// structure, not the CRC.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (size, magic) = peek(bytes).ok_or(RecordError::Length)?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::Magic);
        }
        let bytes = bytes.get(..size as usize).ok_or(RecordError::Length)?;
        let mut c = Cursor(bytes);
        c.take(8)?;
        let body_crc = c.u32()?;
        let queue_id = c.i32()?;
        let flag = c.i32()?;
        let queue_offset = c.i64()?;
        let physical_offset = c.array().map(u64::from_be_bytes)?;
        let sys_flag = c.i32()?;
        let born_timestamp = c.i64()?;
        let born_host = c.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = c.i64()?;
        let store_host = c.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = c.i32()?;
        let prepared_transaction_offset = c.i64()?;
        let body_size = c.u32()? as usize;
        let body = c.take(body_size)?;
        let topic_size = if magic == MAGIC_V2 {
            usize::from(c.array().map(u16::from_be_bytes)?)
        } else {
            usize::from(c.array::<1>()?[0])
        };
        let topic = std::str::from_utf8(c.take(topic_size)?).map_err(|_| RecordError::Topic)?;
        let properties_size = usize::from(c.array().map(u16::from_be_bytes)?);
        let properties = c.take(properties_size)?;
        if !c.0.is_empty() {
            return Err(RecordError::Length);
        }
        Ok(View {
            bytes,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    /// Whether the body agrees with its CRC.
    pub fn body_is_sound(&self) -> bool {
        crc32fast::hash(self.body) & MASK_CRC == self.body_crc
    }

    /// Transaction type: 0, [`sys_flag::PREPARED`], [`sys_flag::COMMIT`] or
    /// [`sys_flag::ROLLBACK`].
    pub fn transaction_type(&self) -> i32 {
        self.sys_flag & sys_flag::ROLLBACK
    }

    /// The parts, to be stored again.
    pub fn to_new(&self) -> NewRecord<'a> {
        NewRecord {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties,
        }
    }
}

/// Walks records that stand back to back, as in the body of a pull. Ends at the first bytes that
/// are none.
pub fn walk(mut bytes: &[u8]) -> impl Iterator<Item = View<'_>> {
    std::iter::from_fn(move || {
        let view = View::parse(bytes).ok()?;
        bytes = &bytes[view.bytes.len()..];
        Some(view)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            topic in "[a-z%_]{1,200}", queue_id: i32, flag: i32, sys: i32, born: i64,
            born_host in host(), store_host in host(), times: i32, prepared: i64,
            body in proptest::collection::vec(any::<u8>(), 0..300),
            properties in proptest::collection::vec(any::<u8>(), 0..300),
            queue_offset: i64, physical: u64, stored: i64,
        ) {
            let new = NewRecord {
                topic: &topic, queue_id, flag, sys_flag: sys, born_timestamp: born, born_host,
                store_host, reconsume_times: times, prepared_transaction_offset: prepared,
                body: &body, properties: &properties,
            };
            let mut bytes = Vec::new();
            new.write(queue_offset, physical, stored, &mut bytes);
            prop_assert_eq!(bytes.len(), new.size());
            let view = View::parse(&bytes).unwrap();
            prop_assert!(view.body_is_sound());
            prop_assert_eq!((view.topic, view.queue_id, view.flag), (&topic[..], queue_id, flag));
            prop_assert_eq!((view.born_host, view.store_host), (born_host, store_host));
            prop_assert_eq!((view.queue_offset, view.physical_offset), (queue_offset, physical));
            prop_assert_eq!((view.body, view.properties), (&body[..], &properties[..]));
            prop_assert_eq!((view.reconsume_times, view.store_timestamp), (times, stored));
            prop_assert_eq!(stored_at(view.bytes), Some(stored));
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 8..200)) {
            bytes[4..8].copy_from_slice(&MAGIC_V1.to_be_bytes());
            let size = bytes.len() as u32;
            bytes[..4].copy_from_slice(&size.to_be_bytes());
            let _ = View::parse(&bytes);
        }
    }

    /// A record laid out by hand from the field table of Apache's `CommitLog`.
    #[test]
    fn golden_bytes() {
        let new = NewRecord {
            topic: "T",
            queue_id: 3,
            flag: 7,
            sys_flag: 0,
            born_timestamp: 0x1122,
            born_host: "127.0.0.1:9".parse().unwrap(),
            store_host: "10.0.0.2:10911".parse().unwrap(),
            reconsume_times: 1,
            prepared_transaction_offset: 0,
            body: b"hi",
            properties: b"K\x01v\x02",
        };
        let mut bytes = Vec::new();
        new.write(5, 0x99, 0x3344, &mut bytes);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "00000062daa320a7583fe3e9\
             0000000300000007\
             00000000000000050000000000000099\
             00000000\
             00000000000011227f00000100000009\
             00000000000033440a00000200002a9f\
             000000010000000000000000\
             000000026869\
             0154\
             00044b017602"
                .replace("583fe3e9", &format!("{:08x}", crc32fast::hash(b"hi") & MASK_CRC))
        );
        assert_eq!(bytes.len(), SIZE_MIN + 2 + 1 + 4);
    }
}
