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

    pub(crate) fn fail<T>(&self, why: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, why })
    }

    /// Skips white space and tells the next byte without taking it.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes `byte` if it is next, white space aside.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes `byte` or fails.
    pub fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { self.fail(why) }
    }

    /// A quoted string, in either quote. Borrowed unless it holds an escape.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let quote = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => quote,
            _ => return self.fail("a string was expected"),
        };
        self.at += 1;
        let start = self.at;
        let Some(end) = self.special(quote) else {
            return self.fail("the string has no end");
        };
        let head = &self.text[start..end];
        self.at = end;
        let Ok(head) = std::str::from_utf8(head) else {
            return self.fail("the string is not UTF-8");
        };
        if self.text[self.at] == quote {
            self.at += 1;
            return Ok(Cow::Borrowed(head));
        }
        let mut owned = String::with_capacity(head.len() + 16);
        owned.push_str(head);
        self.escaped_rest(quote, &mut owned)?;
        Ok(Cow::Owned(owned))
    }

    /// Where the next quote or backslash is. Headers hold short strings: a plain loop is faster there
    /// than a search by vectors.
    fn special(&self, quote: u8) -> Option<usize> {
        let rest = &self.text[self.at..];
        let found = rest.iter().position(|byte| *byte == quote || *byte == b'\\');
        found.map(|length| self.at + length)
    }

    /// Steps over a quoted string. What it holds is not looked at.
    fn skip_string(&mut self, quote: u8) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            let Some(end) = self.special(quote) else {
                return self.fail("the string has no end");
            };
            if self.text[end] == quote {
                self.at = end + 1;
                return Ok(());
            }
            // The byte behind a backslash ends nothing.
            self.at = (end + 2).min(self.text.len());
        }
    }

    /// The rest of a string from its first backslash on.
    fn escaped_rest(&mut self, quote: u8, out: &mut String) -> Result<(), JsonError> {
        loop {
            let Some(end) = self.special(quote) else {
                return self.fail("the string has no end");
            };
            match std::str::from_utf8(&self.text[self.at..end]) {
                Ok(plain) => out.push_str(plain),
                Err(_) => return self.fail("the string is not UTF-8"),
            }
            self.at = end + 1;
            if self.text[end] == quote {
                return Ok(());
            }
            let Some(&escape) = self.text.get(self.at) else {
                return self.fail("the string has no end");
            };
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
    pub fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        match self.peek() {
            Some(b'"' | b'\'') => self.string(),
            Some(_) => self.bare().map(Cow::Borrowed),
            None => self.fail("a key was expected"),
        }
    }

    /// A bare word: number, `true`, `false`, `null`, or an unquoted key.
    pub fn bare(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let start = self.at;
        while let Some(b) = self.text.get(self.at) {
            match b {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'+' | b'.' | b'_' | b'$' => {
                    self.at += 1;
                }
                _ => break,
            }
        }
        if self.at == start {
            return self.fail("a value was expected");
        }
        // Only ASCII was taken.
        std::str::from_utf8(&self.text[start..self.at])
            .map_err(|_| JsonError { at: start, why: "the value is not UTF-8" })
    }

    /// A scalar as text: the string without its quotes, the number or word as it stands, `None`
    /// for `null`.
    pub fn scalar(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        match self.peek() {
            Some(b'"' | b'\'') => self.string().map(Some),
            Some(b'{' | b'[') => {
                // Java would hand on its text. No header has such a value.
                let start = self.at;
                self.skip()?;
                let text = std::str::from_utf8(&self.text[start..self.at]);
                text.map(|text| Some(Cow::Borrowed(text)))
                    .map_err(|_| JsonError { at: start, why: "the value is not UTF-8" })
            }
            _ => self.bare().map(|word| (word != "null").then_some(Cow::Borrowed(word))),
        }
    }

    /// An integer, bare or quoted.
    pub fn integer(&mut self) -> Result<i64, JsonError> {
        let at = self.at;
        let text = self.scalar()?;
        let number = text.as_deref().map_or(Ok(0), |text| text.trim().parse::<i64>());
        number.map_err(|_| JsonError { at, why: "an integer was expected" })
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
            Some(quote @ (b'"' | b'\'')) => self.skip_string(quote),
            Some(b'{') => {
                self.at += 1;
                while !self.take(b'}') {
                    match self.peek() {
                        Some(b'{') => self.skip_nested(depth + 1)?,
                        Some(quote @ (b'"' | b'\'')) => self.skip_string(quote)?,
                        _ => drop(self.bare()?),
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
    pub fn comma_or(&mut self, close: u8) -> Result<(), JsonError> {
        if self.take(b',') || self.peek() == Some(close) {
            return Ok(());
        }
        self.fail("a comma or the end was expected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
