//! Integers and strings as RocksDB writes them, read one after the other.
//!
//! In: bytes of which nothing is believed. Out: what stands there, or a refusal; never a panic.
//!
//! | name | bytes | meaning |
//! |---|---|---|
//! | fixed | 4 or 8 | little-endian |
//! | varint | 1 to 10 | 7 bits a byte, the lowest first; the top bit says that more follow |
//! | signed varint | 1 to 10 | a varint of 0, -1, 1, -2, 2, … |
//! | string | varint + n | its length, then its bytes |

use super::Refusal;

/// What is left of some bytes.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: u64) -> Result<&'a [u8], Refusal> {
        let n = usize::try_from(n).map_err(|_| ends())?;
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(ends)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Refusal> {
        let (first, rest) = self.rest.split_first().ok_or_else(ends)?;
        self.rest = rest;
        Ok(*first)
    }

    #[expect(clippy::little_endian_bytes, reason = "that is how RocksDB writes integers")]
    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ends)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    #[expect(clippy::little_endian_bytes, reason = "that is how RocksDB writes integers")]
    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ends)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(super) fn varint(&mut self) -> Result<u64, Refusal> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // Of the tenth byte there is room for one bit.
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Refusal::damaged("a number is too long"))
    }

    pub(super) fn varint32(&mut self) -> Result<u32, Refusal> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| Refusal::damaged("a number is too large"))
    }

    pub(super) fn signed_varint(&mut self) -> Result<i64, Refusal> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Refusal> {
        let size = self.varint()?;
        self.take(size)
    }
}

fn ends() -> Refusal {
    Refusal::damaged("it ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<u64>) {
        let mut cursor = Cursor::new(bytes);
        assert_eq!(cursor.varint().ok(), expected);
        assert!(expected.is_none() || cursor.is_empty());
    }

    #[test]
    fn varints() {
        check(&[0], Some(0));
        check(&[0x7f], Some(127));
        check(&[0x80, 1], Some(128));
        check(&[0xac, 2], Some(300));
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(u64::from(u32::MAX)));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Some(u64::MAX));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], None);
        check(&[0x80; 11], None);
        check(&[0x80], None);
        check(&[], None);
    }

    #[test]
    fn a_varint_of_32_bits_is_no_larger() {
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint32().ok(), Some(u32::MAX));
        assert!(Cursor::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).varint32().is_err());
    }

    #[test]
    fn signed_varints() {
        let largest = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let smallest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let all: [(&[u8], i64); 6] = [
            (&[0], 0),
            (&[1], -1),
            (&[2], 1),
            (&[3], -2),
            (&largest, i64::MAX),
            (&smallest, i64::MIN),
        ];
        for (bytes, expected) in all {
            assert_eq!(Cursor::new(bytes).signed_varint().ok(), Some(expected));
        }
    }

    #[test]
    fn a_string_that_says_too_much_is_refused() {
        assert_eq!(Cursor::new(b"\x02abc").string().ok(), Some(b"ab".as_slice()));
        assert!(Cursor::new(b"\x04abc").string().is_err());
        assert!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])
                .string()
                .is_err()
        );
    }
}
