//! A scanner over JSON text: it walks bytes, borrows strings, and builds no tree.
//!
//! In: the JSON header of a frame. Out: its members, one at a time, for
//! [`crate::remoting::frame`]. As lenient as fastjson where clients rely on it: either quote,
//! bare keys, trailing commas.

use std::borrow::Cow;

/// How deep values may nest before they are refused (a header nests two levels).
const DEPTH_MAX: u32 = 32;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad JSON at byte {at}: {why}")]
pub struct JsonError {
    /// Byte position in the text.
    pub at: usize,
    /// What was expected.
    pub why: &'static str,
}

/// A scalar as it stands in a text, or in a binary header: nothing of it is decoded yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw<'a> {
    /// Without its quotes.
    bytes: &'a [u8],
    /// Where it begins in the text, which is never larger than a frame.
    at: u32,
    /// It holds a backslash.
    escaped: bool,
}

/// Where a [`Raw`] stands in its text: small enough to be noted in passing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    at: u32,
    size: u32,
    escaped: bool,
}

impl Span {
    /// What stands there, in the text that it was noted from.
    pub fn of<'a>(&self, text: &'a [u8]) -> Raw<'a> {
        let (at, end) = (self.at as usize, self.at as usize + self.size as usize);
        Raw { bytes: text.get(at..end).unwrap_or_default(), at: self.at, escaped: self.escaped }
    }
}

impl<'a> Raw<'a> {
    /// Where it stands.
    pub fn span(&self) -> Span {
        Span { at: self.at, size: self.bytes.len() as u32, escaped: self.escaped }
    }

    /// What has no escapes.
    pub fn plain(bytes: &'a [u8]) -> Self {
        Raw { bytes, at: 0, escaped: false }
    }

    /// Its bytes, if they need no decoding. They may be no UTF-8.
    #[inline]
    pub fn as_plain(&self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.bytes)
    }

    /// Decoded, for a comparison: what needs no decoding may be no UTF-8.
    #[inline]
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>, JsonError> {
        match self.as_plain() {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.text().map(|text| Cow::Owned(text.into_owned().into_bytes())),
        }
    }

    /// Decoded. Borrowed unless it holds an escape.
    #[inline]
    pub fn text(&self) -> Result<Cow<'a, str>, JsonError> {
        if self.escaped {
            return unescaped(self.bytes, self.at as usize).map(Cow::Owned);
        }
        let text = std::str::from_utf8(self.bytes).map(Cow::Borrowed);
        text.map_err(|_| JsonError { at: self.at as usize, why: "the string is not UTF-8" })
    }

    /// As a whole number.
    #[inline]
    pub fn integer(&self) -> Result<i64, JsonError> {
        match self.as_plain().and_then(short_decimal) {
            Some(number) => Ok(number),
            None => decimal(self.bytes()?.trim_ascii())
                .ok_or(JsonError { at: self.at as usize, why: "an integer was expected" }),
        }
    }
}

/// Reads digits alone, so few that they cannot be too many: as nearly every number is.
#[inline]
fn short_decimal(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |number, byte| {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        (digit < 10).then_some(number * 10 + digit)
    })
}

/// Reads digits with or without a sign.
fn decimal(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |number, byte| {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        let shifted = number.checked_mul(10).filter(|_| digit < 10)?;
        // Downwards for negative ones: their least has no positive counterpart.
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}

/// The text of a string's inside, which begins at `at` of the whole.
fn unescaped(inside: &[u8], at: usize) -> Result<String, JsonError> {
    let mut out = String::with_capacity(inside.len());
    let mut s = Scanner::new(inside);
    s.unescape(&mut out).map_err(|e| JsonError { at: at + e.at, ..e })?;
    Ok(out)
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Scanner { text, at: 0 }
    }

    /// The position, in bytes from the start.
    pub fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub(crate) fn fail<T>(&self, why: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, why })
    }

    /// Skips white space and tells the next byte without taking it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes `byte` if it is next, white space aside.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes `byte` or fails.
    #[inline]
    pub fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { self.fail(why) }
    }

    /// A quoted string, in either quote.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote)?.text(),
            _ => self.fail("a string was expected"),
        }
    }

    /// Steps over a string, whose quote is next. What it holds is not looked at.
    #[inline(always)]
    fn quoted(&mut self, quote: u8) -> Result<Raw<'a>, JsonError> {
        let start = self.at + 1;
        let (mut end, mut escaped) = (start, false);
        loop {
            let Some(found) = special(&self.text[end.min(self.text.len())..], quote) else {
                return self.fail("the string has no end");
            };
            end += found;
            if self.text[end] == quote {
                self.at = end + 1;
                return Ok(Raw { bytes: &self.text[start..end], at: start as u32, escaped });
            }
            // The byte behind a backslash ends nothing.
            escaped = true;
            end += 2;
        }
    }

    /// Decodes all that is left, the inside of a string.
    fn unescape(&mut self, out: &mut String) -> Result<(), JsonError> {
        loop {
            let rest = &self.text[self.at..];
            let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            match std::str::from_utf8(&rest[..plain]) {
                Ok(plain) => out.push_str(plain),
                Err(_) => return self.fail("the string is not UTF-8"),
            }
            self.at += plain + 1;
            let Some(&escape) = self.text.get(self.at) else { return Ok(()) };
            self.at += 1;
            match escape {
                b'n' => out.push('\n'),
                b't' => out.push('\t'),
                b'r' => out.push('\r'),
                b'b' => out.push('\u{8}'),
                b'f' | b'F' => out.push('\u{c}'),
                b'v' => out.push('\u{b}'),
                b'0'..=b'7' => out.push(char::from(escape - b'0')),
                b'x' => {
                    let code = self.hex(2)?;
                    out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                }
                b'u' => {
                    let code = self.utf16()?;
                    out.push(code);
                }
                b'"' | b'\'' | b'\\' | b'/' => out.push(char::from(escape)),
                _ => return self.fail("unknown escape"),
            }
        }
    }

    fn hex(&mut self, digits: usize) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.text.get(self.at).and_then(|b| char::from(*b).to_digit(16));
            let Some(digit) = digit else { return self.fail("a hex digit was expected") };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// One `\u` escape, or two that form a surrogate pair. A lone surrogate becomes U+FFFD, as
    /// Java's UTF-8 encoder would lose it too.
    fn utf16(&mut self) -> Result<char, JsonError> {
        let high = self.hex(4)?;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with(b"\\u") {
            let mark = self.at;
            self.at += 2;
            let low = self.hex(4)?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.at = mark;
        }
        Ok(char::from_u32(high).unwrap_or('\u{fffd}'))
    }

    /// A key: quoted, or bare up to the colon.
    #[inline(always)]
    pub fn key(&mut self) -> Result<Raw<'a>, JsonError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote),
            Some(_) => self.bare(),
            None => self.fail("a key was expected"),
        }
    }

    /// A bare word: number, `true`, `false`, `null`, or an unquoted key.
    pub fn bare(&mut self) -> Result<Raw<'a>, JsonError> {
        let start = self.at;
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"-+._$".contains(b);
        let rest = &self.text[start..];
        let length = rest.iter().position(|b| !is_word(b)).unwrap_or(rest.len());
        if length == 0 {
            return self.fail("a value was expected");
        }
        self.at += length;
        Ok(Raw { bytes: &rest[..length], at: start as u32, escaped: false })
    }

    /// A scalar: the inside of a string, the number or word as it stands, `None` for `null`.
    #[inline(always)]
    pub fn scalar(&mut self) -> Result<Option<Raw<'a>>, JsonError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Some),
            Some(b'{' | b'[') => {
                // Java would hand on its text. No header has such a value.
                let start = self.at;
                self.skip()?;
                let bytes = &self.text[start..self.at];
                Ok(Some(Raw { bytes, at: start as u32, escaped: false }))
            }
            _ => self.bare().map(|word| (word.bytes != b"null").then_some(word)),
        }
    }

    /// An integer, bare or quoted; `null` is 0.
    pub fn integer(&mut self) -> Result<i64, JsonError> {
        self.scalar()?.map_or(Ok(0), |raw| raw.integer())
    }

    /// Steps over one value of any kind.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        self.skip_nested(0)
    }

    fn skip_nested(&mut self, depth: u32) -> Result<(), JsonError> {
        if depth > DEPTH_MAX {
            return self.fail("values nest too deep");
        }
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(drop),
            Some(b'{') => {
                self.at += 1;
                while !self.take(b'}') {
                    match self.peek() {
                        Some(b'{') => self.skip_nested(depth + 1)?,
                        _ => drop(self.key()?),
                    }
                    self.expect(b':', "a colon was expected")?;
                    self.skip_nested(depth + 1)?;
                    self.comma_or(b'}')?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.at += 1;
                while !self.take(b']') {
                    self.skip_nested(depth + 1)?;
                    self.comma_or(b']')?;
                }
                Ok(())
            }
            _ => self.bare().map(drop),
        }
    }

    /// After a member: a comma is taken, the closing byte is left for the loop.
    #[inline]
    pub fn comma_or(&mut self, close: u8) -> Result<(), JsonError> {
        if self.take(b',') || self.peek() == Some(close) {
            return Ok(());
        }
        self.fail("a comma or the end was expected")
    }
}

/// Where the next quote or backslash is. Headers hold short strings: eight bytes at once are faster
/// there than a search by vectors, which first has to be set up.
#[inline(always)]
fn special(text: &[u8], quote: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7f * ONES;
    // The high bit of each byte that is zero.
    let zeros = |word: u64| !(((word & LOW) + LOW) | word | LOW);
    let (quotes, backslashes) = (ONES * u64::from(quote), ONES * u64::from(b'\\'));
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_be_bytes(*word);
        let found = zeros(word ^ quotes) | zeros(word ^ backslashes);
        if found != 0 {
            return Some(at + found.leading_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = text.get(at..)?;
    let found = rest.iter().position(|byte| *byte == quote || *byte == b'\\');
    found.map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_next_quote_is_found_wherever_it_stands(
            text in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'"'), Just(b'\''), Just(b'\\'), Just(b'#')],
                0..40,
            ),
            single: bool,
        ) {
            let quote = if single { b'\'' } else { b'"' };
            let expected = text.iter().position(|byte| *byte == quote || *byte == b'\\');
            prop_assert_eq!(special(&text, quote), expected);
        }

        #[test]
        fn integers_are_those_of_the_standard_library(
            text in prop_oneof!["[ +-]?[0-9]{0,21}x?", any::<i64>().prop_map(|n| n.to_string())],
        ) {
            let raw = Raw::plain(text.as_bytes());
            prop_assert_eq!(raw.integer().ok(), text.trim().parse().ok());
        }
    }

    #[test]
    fn strings_are_borrowed_unless_escaped() {
        let mut s = Scanner::new(br#" "plain" 'it''esc\n\u4f60\ud83d\ude00\"' "#);
        assert!(matches!(s.string(), Ok(Cow::Borrowed("plain"))));
        assert_eq!(s.string().unwrap(), "it");
        assert_eq!(s.string().unwrap(), "esc\n你😀\"");
        assert!(s.string().is_err());
    }

    #[test]
    fn skips_whatever_fastjson_writes() {
        for text in [r#"{0:"a",{"q":1}:[1,2,],b:null,}"#, "[]", "-1.5e3", r#"{"a":{"b":[{}]}}"#] {
            let mut s = Scanner::new(text.as_bytes());
            s.skip().unwrap();
            assert_eq!(s.peek(), None, "{text}");
        }
    }

    #[test]
    fn what_is_skipped_ends_where_it_would_if_it_was_read() {
        for text in [r#""a\"b" 1"#, r#"'it\\' 1"#, r#"{"k\"":'v\'',"u":"\u0001"} 1"#] {
            let mut s = Scanner::new(text.as_bytes());
            s.skip().unwrap();
            assert_eq!(s.integer(), Ok(1), "{text}");
        }
        for text in [r#""no end"#, r#""no end\"#, r#""no end\""#] {
            let refused = Scanner::new(text.as_bytes()).skip().unwrap_err();
            assert_eq!(refused.why, "the string has no end");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_stack_overflow() {
        let text = "[".repeat(100_000);
        assert_eq!(Scanner::new(text.as_bytes()).skip().unwrap_err().why, "values nest too deep");
    }
}
