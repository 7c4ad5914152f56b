//! Java's properties texts, as far as a broker.conf and the bodies of 25 and 26 go: `key=value` lines, `#`
//! and `!` comments, lines that end with LF, CR or both, a backslash at the end of a line joins it with the next, one before a character
//! takes that character, `\uXXXX` any other.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Characters of a text that a message quotes.
const QUOTED_MAX: usize = 80;

/// A value, with the number of its line.
pub type Line = (usize, String);

/// Reads a properties text. A key that stands twice is an error: in Java the last one wins without
/// a word.
pub fn parse(text: &str) -> Result<BTreeMap<String, Line>, String> {
    let mut pairs: BTreeMap<String, Line> = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut lines = text.split(['\n', '\r']).enumerate();
    while let Some((number, line)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.trim_end().is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut goes_on = continues(&line);
        while goes_on {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim_start());
            goes_on = continues(next);
        }
        let number = number + 1;
        let Some(at) = line.find(['=', ':']) else {
            return Err(format!("line {number}: {:?} is not KEY=VALUE", short(line.trim_end())));
        };
        let (key, value) = (line[..at].trim(), line[at + 1..].trim());
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("line {number}: {:?} is not a key", short(key)));
        }
        let unescape = |text| unescape(text).map_err(|why| format!("line {number}: {why}"));
        let (key, value) = (unescape(key)?, unescape(value)?);
        if let Some((first, _)) = pairs.get(&key) {
            return Err(format!("line {number}: {} stands in line {first} already", short(&key)));
        }
        pairs.insert(key, (number, value));
    }
    Ok(pairs)
}

/// A text as a message quotes it: who wrote a long one knows it by its beginning.
pub fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}...", &text[..end]).into(),
    }
}

/// Whether a line ends with a backslash that no other one takes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    // Java writes what does not fit 16 bits as two of these.
    let mut units = Vec::new();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        if escaped == Some('u') {
            let digits =
                chars.as_str().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
            let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
            units.push(
                unit.ok_or_else(|| format!("{:?}: four hex digits follow \\u", short(text)))?,
            );
            chars = chars.as_str()[4..].chars();
            continue;
        }
        out.extend(char::decode_utf16(units.drain(..)).map(|c| c.unwrap_or('\u{fffd}')));
        out.push(match escaped {
            None => c,
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\u{c}',
            Some(other) => other,
        });
    }
    out.extend(char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, usize, String)> {
        let pairs = parse(text).unwrap();
        pairs.into_iter().map(|(key, (line, value))| (key, line, value)).collect()
    }

    #[test]
    fn reads_what_apache_ships() {
        let text = "# comment\nbrokerName = broker-a\r\n\nbrokerIP1=10.0.0.1\nnamesrvAddr=a:9876;b:9876\nlong=one,\\\n  two\nempty=\n";
        let line = |key: &str, line, value: &str| (key.to_owned(), line, value.to_owned());
        let expected = [
            line("brokerIP1", 4, "10.0.0.1"),
            line("brokerName", 2, "broker-a"),
            line("empty", 8, ""),
            line("long", 6, "one,two"),
            line("namesrvAddr", 5, "a:9876;b:9876"),
        ];
        assert_eq!(read(text), expected);
        for ends in ["\r\n", "\r"] {
            assert_eq!(read(&text.replace("\r\n", "\n").replace('\n', ends)), expected, "{ends:?}");
        }
    }

    #[test]
    fn takes_escapes_as_java_does() {
        let value = |text: &str| parse(&format!("k={text}")).unwrap()["k"].1.clone();
        assert_eq!(value(r"a\\b\tc\u0041\=\:"), "a\\b\tcA=:");
        assert_eq!(value(r"\ud83d\ude80!"), "\u{1f680}!");
        assert_eq!(value(r"\ud83d"), "\u{fffd}");
        assert_eq!(value("ends with two\\\\"), "ends with two\\");
        assert!(parse(r"k=\u12").unwrap_err().contains("line 1"));
        assert!(parse("k=\\u12é4").is_err());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse("a=1\n\na=2").unwrap_err(), "line 3: a stands in line 1 already");
        assert!(parse("nonsense").unwrap_err().contains("line 1"));
        assert!(parse("a b=1").is_err());
        let long = "x".repeat(100_000);
        for text in [
            long.clone(),
            format!("{long} y=1"),
            format!("{long}=1\n{long}=1"),
            format!("k={long}\\u"),
        ] {
            assert!(parse(&text).unwrap_err().len() < 200);
        }
        assert_eq!(parse("\u{feff}a=1").unwrap()["a"].1, "1");
    }
}
