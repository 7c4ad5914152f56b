//! The body of a batch send: messages back to back.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | size of this message |
//! | 4 | magic, 0 |
//! | 4 | body CRC, 0 |
//! | 4 | flag |
//! | 4 + n | body |
//! | 2 + n | properties |

use crate::record::PROPERTIES_MAX;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

/// Why a batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("message {0} of the batch lies about its size")]
    Size(usize),
    #[error("the batch holds no message")]
    Empty,
}

/// Splits a batch into its messages. All or none: a lie anywhere refuses the whole.
pub fn split(mut bytes: &[u8]) -> Result<Vec<Inner<'_>>, BatchError> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let lie = BatchError::Size(messages.len());
        let (message, rest) = one(bytes).ok_or(lie)?;
        messages.push(message);
        bytes = rest;
    }
    if messages.is_empty() { Err(BatchError::Empty) } else { Ok(messages) }
}

fn one(bytes: &[u8]) -> Option<(Inner<'_>, &[u8])> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let (message, rest) = bytes.split_at_checked(size)?;
    let flag = i32::from_be_bytes(*message.get(12..)?.first_chunk()?);
    let body_size = u32::from_be_bytes(*message.get(16..)?.first_chunk()?) as usize;
    let (body, tail) = message.get(20..)?.split_at_checked(body_size)?;
    let (length, properties) = tail.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length != properties.len() || length > PROPERTIES_MAX {
        return None;
    }
    Some((Inner { flag, body, properties }, rest))
}

/// Appends one message to a batch.
pub fn push(out: &mut Vec<u8>, message: &Inner<'_>) {
    let size = 22 + message.body.len() + message.properties.len();
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&(message.body.len() as u32).to_be_bytes());
    out.extend_from_slice(message.body);
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(message.properties);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_that_lie_refuse_the_whole() {
        let mut good = Vec::new();
        push(&mut good, &Inner { flag: 1, body: b"one", properties: b"A\x01b\x02" });
        push(&mut good, &Inner { flag: 2, body: b"two", properties: b"" });
        assert_eq!(split(&good).unwrap().len(), 2);
        assert_eq!(split(&[]), Err(BatchError::Empty));
        for at in [0, 1, 16, 17, 23] {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                if std::mem::replace(&mut bad[at], value) != value {
                    assert!(split(&bad).is_err(), "byte {at} = {value}");
                }
            }
        }
        assert_eq!(split(&good[..good.len() - 1]), Err(BatchError::Size(1)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = split(&bytes);
        }
    }
}
