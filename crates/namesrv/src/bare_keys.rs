//! JSON as fastjson writes it: `{0:"a"}`, number keys without quotes. The Go client before 2.1 and
//! other old ones read the ids of a route's addresses in no other form.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Writes a body with bare number keys.
pub(crate) fn to_vec(body: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    body.serialize(&mut Serializer::with_formatter(&mut out, BareKeys::Outside))
        .expect("bodies hold only text keys and numbers");
    out
}

/// serde_json opens a string, writes the number and closes the string. So an opening quote waits
/// until it is known what follows.
#[derive(PartialEq)]
enum BareKeys {
    Outside,
    Opened,
    InText,
    InNumber,
}

impl BareKeys {
    fn text<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        if *self == BareKeys::Opened {
            *self = BareKeys::InText;
            out.write_all(b"\"")?;
        }
        Ok(())
    }
}

impl Formatter for BareKeys {
    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        *self = BareKeys::Opened;
        Ok(())
    }

    fn write_i64<W: ?Sized + Write>(&mut self, out: &mut W, value: i64) -> io::Result<()> {
        if *self == BareKeys::Opened {
            *self = BareKeys::InNumber;
        }
        write!(out, "{value}")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.text(out)?;
        out.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.text(out)?;
        serde_json::ser::CompactFormatter.write_char_escape(out, escape)
    }

    fn end_string<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.text(out)?; // an empty string has no fragment
        match std::mem::replace(self, BareKeys::Outside) {
            BareKeys::InNumber => Ok(()),
            _ => out.write_all(b"\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn only_number_keys_lose_their_quotes() {
        let body = (BTreeMap::from([(0i64, ""), (-1, "1")]), BTreeMap::from([("k\"", 5i64)]), "\n");
        assert_eq!(String::from_utf8(to_vec(&body)).unwrap(), r#"[{-1:"1",0:""},{"k\"":5},"\n"]"#);
    }
}
