//! The body of a generated message: who sent it, the how-manyeth it is, and filler.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | [`MAGIC`] |
//! | 4 | 8 | run: random, one for each `bench produce` |
//! | 12 | 4 | producer: number of the connection |
//! | 16 | 8 | sequence: counts a producer's messages from 0 |
//! | 24 | rest | filler: depends on the run alone |

use std::ops::Range;

const MAGIC: [u8; 4] = *b"KBM1";
/// Bytes before the filler; no body is shorter.
pub(crate) const HEADER_SIZE: usize = 24;
/// Where the sequence stands in a body.
pub(crate) const SEQUENCE_AT: Range<usize> = 16..24;

/// Who sent a message. Unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) run: u64,
    pub(crate) producer: u32,
    pub(crate) sequence: u64,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { run, producer, sequence } = self;
        write!(f, "message {sequence} of producer {producer} in run {run:016x}")
    }
}

impl Identity {
    /// Reads the start of a body; `None` if it is none of ours.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let (magic, rest) = body.split_first_chunk::<4>()?;
        let (run, rest) = rest.split_first_chunk::<8>()?;
        let (producer, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, _) = rest.split_first_chunk::<8>()?;
        (*magic == MAGIC).then(|| Identity {
            run: u64::from_be_bytes(*run),
            producer: u32::from_be_bytes(*producer),
            sequence: u64::from_be_bytes(*sequence),
        })
    }

    /// The whole body, of `size` bytes.
    pub(crate) fn body(self, size: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(size);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&self.run.to_be_bytes());
        body.extend_from_slice(&self.producer.to_be_bytes());
        body.extend_from_slice(&self.sequence.to_be_bytes());
        body.extend(filler(self.run).take(size.saturating_sub(HEADER_SIZE)));
        body
    }
}

/// Endless text without a pattern (SplitMix64, six bits a byte).
pub(crate) fn filler(run: u64) -> impl Iterator<Item = u8> {
    let mut state = run;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        b'0' + (z & 63) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_its_sender() {
        let identity = Identity { run: 0xABCD, producer: 7, sequence: 99 };
        let body = identity.body(100);
        assert_eq!(body.len(), 100);
        assert_eq!(Identity::read(&body), Some(identity));
        assert_eq!(body[SEQUENCE_AT], 99u64.to_be_bytes());
        assert!(body[HEADER_SIZE..].iter().all(|b| (b'0'..b'0' + 64).contains(b)));
        assert_eq!(Identity::read(&body[..HEADER_SIZE - 1]), None);
        assert_eq!(Identity::read(b"something else, of another sender"), None);
    }
}
