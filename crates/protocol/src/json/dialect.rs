//! fastjson's dialect → strict JSON, so that serde can read a body.
//!
//! In: a body as a Java, Go or C++ client wrote it. Out: the same text, borrowed when it already
//! is JSON, else rewritten in one pass: bare keys and object keys quoted (an object key becomes a
//! string that holds the object's text), single quotes doubled, trailing commas dropped.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::scan::{JsonError, Scanner};

/// How deep values may nest before a body is refused.
const DEPTH_MAX: u32 = 64;

/// Reads a body in fastjson's dialect. An empty body reads as `{}`, as Java's decoder takes it.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    // Nearly every body is strict JSON: try that first.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = strict(body).map_err(|e| e.to_string())?;
    serde_json::from_slice(&text).map_err(|e| e.to_string())
}

/// As [`from_slice`], of a body that must be an object: a list would pass for one with every member left out.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err("a list, where an object is expected".to_owned()),
        _ => from_slice(body),
    }
}

/// Rewrites `body` into strict JSON.
pub fn strict(body: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let mut out = Vec::with_capacity(body.len() + 16);
    let mut scanner = Scanner::new(body);
    value(&mut scanner, &mut out, 0, false)?;
    if scanner.peek().is_some() {
        return scanner.fail("text behind the value");
    }
    Ok(if out == body { Cow::Borrowed(body) } else { Cow::Owned(out) })
}

fn value(
    s: &mut Scanner<'_>,
    out: &mut Vec<u8>,
    depth: u32,
    in_key: bool,
) -> Result<(), JsonError> {
    if depth > DEPTH_MAX {
        return s.fail("values nest too deep");
    }
    match s.peek() {
        Some(b'{') => {
            s.take(b'{');
            out.push(b'{');
            let mut first = true;
            while !s.take(b'}') {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                if s.peek() == Some(b'{') {
                    // Each level of quoting doubles the escapes of the one inside.
                    if in_key {
                        return s.fail("an object key holds an object key");
                    }
                    let mut key = Vec::new();
                    value(s, &mut key, depth + 1, true)?;
                    quoted(&String::from_utf8_lossy(&key), out);
                } else {
                    quoted(&s.key()?.text()?, out);
                }
                s.expect(b':', "a colon was expected")?;
                out.push(b':');
                value(s, out, depth + 1, in_key)?;
                s.comma_or(b'}')?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            s.take(b'[');
            out.push(b'[');
            let mut first = true;
            while !s.take(b']') {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                value(s, out, depth + 1, in_key)?;
                s.comma_or(b']')?;
            }
            out.push(b']');
        }
        Some(b'"' | b'\'') => quoted(&s.string()?, out),
        _ => out.extend_from_slice(&s.bare()?.bytes()?),
    }
    Ok(())
}

/// Writes `text` as a JSON string.
pub(crate) fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (i, b) in bytes.iter().enumerate() {
        if *b >= 0x20 && *b != b'"' && *b != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..i]);
        plain = i + 1;
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        let strict = strict(input.as_bytes()).unwrap();
        assert_eq!(std::str::from_utf8(&strict).unwrap(), expected);
        serde_json::from_slice::<serde_json::Value>(&strict).unwrap();
    }

    #[test]
    fn a_list_is_no_object() {
        type Map = serde_json::Map<String, serde_json::Value>;
        assert!(object::<Map>(b" [] ").unwrap_err().contains("a list"));
        assert_eq!(object::<Map>(b" {a:1}").map(|map| map.len()), Ok(1));
        assert_eq!(object::<Map>(b"").map(|map| map.len()), Ok(0));
    }

    #[test]
    fn quotes_what_fastjson_leaves_bare() {
        check(r#"{"brokerAddrs":{0:"ip:port"}}"#, r#"{"brokerAddrs":{"0":"ip:port"}}"#);
        check(
            r#"{"t":{{"brokerName":"a","queueId":0}:{"x":1}}}"#,
            r#"{"t":{"{\"brokerName\":\"a\",\"queueId\":0}":{"x":1}}}"#,
        );
        check("{'a':'b',}", r#"{"a":"b"}"#);
        check(r#"{"a":"\u0001\n"}"#, r#"{"a":"\u0001\n"}"#);
    }

    /// Found by fuzzing: 200 bytes took all memory.
    #[test]
    fn object_keys_in_object_keys_are_refused() {
        let nested = |keys: usize| format!("{}\"a\":1{}", "{".repeat(keys + 1), "}:1".repeat(keys));
        assert!(strict(format!("{}}}", nested(1)).as_bytes()).is_ok());
        for keys in [2, 40] {
            let why = strict(format!("{}}}", nested(keys)).as_bytes()).unwrap_err().why;
            assert_eq!(why, "an object key holds an object key");
        }
    }

    #[test]
    fn empty_body_is_an_empty_object() {
        let map: serde_json::Map<String, serde_json::Value> = from_slice(b"").unwrap();
        assert!(map.is_empty());
    }
}
