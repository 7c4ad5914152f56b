//! Attributes of topics and groups (17, 18, 200, 225): which there are, and how a request changes them.
//!
//! In: attributes as they are, and changes: keys with a sign before them, `+key` with a value, `-key` without.
//! Out: attributes as they will be, or a refusal that begins with the words of Apache's broker.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::SETTINGS_BYTES_MAX;

/// Attributes by key.
pub(crate) type Attributes = BTreeMap<String, String>;

/// Which values an attribute takes.
#[derive(Debug, Clone, Copy)]
enum Values {
    OneOf(&'static [&'static str]),
    Number { min: i64, max: i64 },
    Flag,
    Text,
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    key: &'static str,
    /// Whether it can be changed once it is set.
    changeable: bool,
    values: Values,
}

const fn known(key: &'static str, changeable: bool, values: Values) -> Known {
    Known { key, changeable, values }
}

const fn number(min: i64, max: i64) -> Values {
    Values::Number { min, max }
}

/// Those of topics.
pub(crate) const OF_TOPICS: &[Known] = &[
    known("queue.type", false, Values::OneOf(&["BatchCQ", "SimpleCQ"])),
    known("cleanup.policy", false, Values::OneOf(&["DELETE", "COMPACTION"])),
    known(
        MESSAGE_TYPE,
        true,
        Values::OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "PRIORITY",
            "LITE",
            "MIXED",
        ]),
    ),
    known(RESERVE_TIME, true, number(-1, i64::MAX)),
    known("lite.topic.expiration", true, number(-1, 43_200)),
];

/// Those of groups.
pub(crate) const OF_GROUPS: &[Known] = &[
    known("priority.factor", true, number(0, 100)),
    known("lite.bind.topic", true, Values::Text),
    known("lite.sub.client.quota", true, number(-1, i64::MAX)),
    known("lite.sub.model", true, Values::OneOf(&["Shared", "Exclusive"])),
    known("lite.sub.reset.offset.exclusive", true, Values::Flag),
    known("lite.sub.reset.offset.unsubscribe", true, Values::Flag),
    known("lite.sub.client.max.event.cnt", true, number(10, i64::MAX)),
    known("lite.sub.wildcard", true, Values::Text),
];

/// What kind of messages a topic is for.
const MESSAGE_TYPE: &str = "message.type";
/// How long a second storage, which is not there, keeps messages.
const RESERVE_TIME: &str = "reserve.time";

/// Reads the text of a header: `+key=value,-key`.
pub(crate) fn parse(text: &str) -> Result<Attributes, String> {
    let mut changes = Attributes::new();
    for change in text.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        let (key, value) = match change.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(format!(
                    "add/alter attribute format is wrong: {key}; write +{key}=VALUE"
                ));
            }
            Some(pair) => pair,
            None if !change.contains('-') => {
                return Err(format!(
                    "delete attribute format is wrong: {change}; write -{change}, or +{change}=VALUE"
                ));
            }
            None => (change, ""),
        };
        if changes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("key duplication: {key}"));
        }
    }
    Ok(changes)
}

/// Whether a topic would take messages of every kind: Apache's broker refuses that unless it is told otherwise.
pub(crate) fn is_mixed(changes: &Attributes) -> bool {
    changes.get("+message.type").is_some_and(|value| value == "MIXED")
}

/// Applies changes. `current`: `None` if what has the attributes is made now.
pub(crate) fn alter(
    known: &[Known],
    current: Option<&Attributes>,
    changes: &Attributes,
) -> Result<Attributes, String> {
    let mut attributes = current.cloned().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (signed, value) in changes {
        let mut rest = signed.chars();
        let sign = rest.next();
        let key = rest.as_str();
        if key.is_empty() || key.contains(['+', '-']) {
            return Err(format!("kv string format wrong. {signed:?} is neither +key nor -key"));
        }
        if !seen.insert(key) {
            return Err(format!("alter duplication key. key: {key}"));
        }
        let remove = match (sign, current) {
            (Some('+'), _) => false,
            (_, None) => {
                return Err(format!(
                    "only add attribute is supported while creating topic. key: {key}"
                ));
            }
            (Some('-'), Some(current)) if !current.contains_key(key) => {
                return Err(format!("attempt to delete a nonexistent key: {key}"));
            }
            (Some('-'), Some(_)) => true,
            _ => return Err(format!("wrong format key: {key}; write +{key} or -{key}")),
        };
        check(known, key, (!remove).then_some(value), current.is_some())?;
        if remove {
            attributes.remove(key);
        } else {
            attributes.insert(key.to_owned(), value.to_owned());
        }
    }
    let size: usize = attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
    if size > SETTINGS_BYTES_MAX {
        return Err(format!("the attributes have {size} bytes, {SETTINGS_BYTES_MAX} are possible"));
    }
    Ok(attributes)
}

/// `value`: `None` if the attribute is removed. `exists`: what has it is there already.
fn check(known: &[Known], key: &str, value: Option<&String>, exists: bool) -> Result<(), String> {
    let Some(attribute) = known.iter().find(|attribute| attribute.key == key) else {
        let keys: Vec<&str> = known.iter().map(|attribute| attribute.key).collect();
        return Err(format!("unsupported key: {key}; there are {}", keys.join(", ")));
    };
    if exists && !attribute.changeable {
        return Err(format!("attempt to update an unchangeable attribute. key: {key}"));
    }
    if key == RESERVE_TIME {
        return Err("Update topic reserveTime not supported: there is no second storage".to_owned());
    }
    let Some(value) = value else { return Ok(()) };
    let range = |min, max| format!("value is not in range({min}, {max}): {key}={value}");
    match attribute.values {
        Values::OneOf(words) if !words.contains(&value.as_str()) => {
            Err(format!("value is not in set: [{}]: {key}={value}", words.join(", ")))
        }
        Values::Number { min, max } => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(()),
            _ => Err(range(min, max)),
        },
        Values::Flag if !["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
            Err(format!("boolean attribute format is wrong. {key}={value}"))
        }
        _ if key == "queue.type" && value != "SimpleCQ" => {
            Err(format!("queue.type={value} is not supported: there are no queues of batches"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_apaches_broker_refuses_is_refused_in_its_words() {
        let current = map(&[("message.type", "FIFO"), ("cleanup.policy", "DELETE")]);
        for (exists, changes, words) in [
            (false, ("+message.type", "OTHER"), "value is not in set: ["),
            (false, ("message.type", "FIFO"), "only add attribute is supported"),
            (false, ("-message.type", ""), "only add attribute is supported"),
            (false, ("+other", "1"), "unsupported key: other"),
            (false, ("+", "1"), "kv string format wrong."),
            (false, ("+a+b", "1"), "kv string format wrong."),
            (false, ("+lite.topic.expiration", "43201"), "value is not in range(-1, 43200)"),
            (false, ("+lite.topic.expiration", "x"), "value is not in range(-1, 43200)"),
            (false, ("+reserve.time", "1"), "Update topic reserveTime not supported"),
            (false, ("+queue.type", "BatchCQ"), "queue.type=BatchCQ is not supported"),
            (true, ("+cleanup.policy", "COMPACTION"), "attempt to update an unchangeable"),
            (true, ("-cleanup.policy", ""), "attempt to update an unchangeable"),
            (true, ("-queue.type", ""), "attempt to delete a nonexistent key: queue.type"),
            (true, ("message.type", "FIFO"), "rong format key: essage.type"),
        ] {
            let refused = alter(OF_TOPICS, exists.then_some(&current), &map(&[changes]));
            let why = refused.unwrap_err();
            assert!(why.contains(words), "{changes:?}: {why}");
        }
        let flag = map(&[("+lite.sub.reset.offset.exclusive", "yes")]);
        assert!(alter(OF_GROUPS, None, &flag).unwrap_err().starts_with("boolean attribute format"));
        let twice = map(&[("+message.type", "FIFO"), ("-message.type", "")]);
        assert!(alter(OF_TOPICS, Some(&current), &twice).unwrap_err().contains("duplication"));
        for text in ["a=1", "a", "+a=1,+a=2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_changed_is_changed_and_the_rest_stays() {
        let current = map(&[("message.type", "FIFO"), ("lite.topic.expiration", "5")]);
        let changes = parse(" +message.type=DELAY, -lite.topic.expiration ,").unwrap();
        let altered = alter(OF_TOPICS, Some(&current), &changes).unwrap();
        assert_eq!(altered, map(&[("message.type", "DELAY")]));
        let made = map(&[("+queue.type", "SimpleCQ"), ("+message.type", "MIXED")]);
        assert!(is_mixed(&made));
        let made = alter(OF_TOPICS, None, &made).unwrap();
        assert_eq!(made, map(&[("queue.type", "SimpleCQ"), ("message.type", "MIXED")]));
        let of_group = map(&[("+lite.bind.topic", "t"), ("+lite.sub.wildcard", "")]);
        assert_eq!(alter(OF_GROUPS, None, &of_group).unwrap().len(), 2);
        assert_eq!(alter(OF_GROUPS, Some(&current), &Attributes::new()).unwrap(), current);
    }
}
