//! A message's properties: `name 0x01 value 0x02 …`, as they travel and as they are stored.
//!
//! They stay bytes: a broker looks at a handful of names and copies the rest.

/// Between a name and its value.
pub const NAME_END: u8 = 1;
/// Behind a value. Clients may leave out the last one.
pub const VALUE_END: u8 = 2;

pub const KEYS: &str = "KEYS";
pub const TAGS: &str = "TAGS";
pub const DELAY: &str = "DELAY";
pub const WAIT: &str = "WAIT";
pub const UNIQ_KEY: &str = "UNIQ_KEY";
pub const TRAN_MSG: &str = "TRAN_MSG";
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
pub const REAL_TOPIC: &str = "REAL_TOPIC";
pub const REAL_QID: &str = "REAL_QID";
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
pub const MSG_REGION: &str = "MSG_REGION";
pub const TRACE_ON: &str = "TRACE_ON";
pub const CLUSTER: &str = "CLUSTER";
pub const POP_CK: &str = "POP_CK";
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";

/// Walks the properties in order. As in Java, an entry without a separator, shorter than three
/// bytes, or without a value is stepped over.
pub fn iter(properties: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    properties.split(|b| *b == VALUE_END).filter_map(|entry| {
        let at = memchr::memchr(NAME_END, entry)?;
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// The value of one property. Of two with the same name the last counts, as in Java's map.
pub fn get<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    let value = |entry: &'a [u8]| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(&[NAME_END])?;
        (!value.is_empty()).then_some(value)
    };
    let mut values = properties.split(|b| *b == VALUE_END).filter_map(value);
    values.next_back().and_then(|value| std::str::from_utf8(value).ok())
}

/// Appends one property to encoded properties.
pub fn push(out: &mut Vec<u8>, name: &str, value: &str) {
    if out.last().is_some_and(|last| *last != VALUE_END) {
        out.push(VALUE_END);
    }
    out.extend_from_slice(name.as_bytes());
    out.push(NAME_END);
    out.extend_from_slice(value.as_bytes());
    out.push(VALUE_END);
}

/// Appends `properties` to `out`, without those that `drop` names.
pub fn copy_without(properties: &[u8], drop: &[&str], out: &mut Vec<u8>) {
    for (name, value) in iter(properties) {
        if drop.iter().any(|dropped| dropped.as_bytes() == name) {
            continue;
        }
        out.extend_from_slice(name);
        out.push(NAME_END);
        out.extend_from_slice(value);
        out.push(VALUE_END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROPERTIES: &[u8] = b"KEYS\x01a b\x02TAGS\x01t\x02\x02X\x01\x02bare\x02WAIT\x01true";

    #[test]
    fn finds_and_copies() {
        assert_eq!(get(PROPERTIES, KEYS), Some("a b"));
        assert_eq!(get(PROPERTIES, WAIT), Some("true"));
        assert_eq!(get(PROPERTIES, "X"), None);
        assert_eq!(get(PROPERTIES, "KEY"), None);
        let mut out = Vec::new();
        copy_without(PROPERTIES, &[TAGS], &mut out);
        assert_eq!(out, b"KEYS\x01a b\x02WAIT\x01true\x02");
        push(&mut out, DELAY, "3");
        assert_eq!(get(&out, DELAY), Some("3"));
    }

    #[test]
    fn of_two_values_the_last_one_counts_that_is_not_empty() {
        let properties = b"K\x01a\x02KEY\x01x\x02K\x01b\x01c\x02K\x01\x02";
        assert_eq!(get(properties, "K"), Some("b\x01c"));
        assert_eq!(get(properties, "EY"), None);
    }

    #[test]
    fn a_missing_end_is_mended_before_more_is_added() {
        let mut out = b"A\x01b".to_vec();
        push(&mut out, "C", "d");
        assert_eq!(out, b"A\x01b\x02C\x01d\x02");
    }
}
