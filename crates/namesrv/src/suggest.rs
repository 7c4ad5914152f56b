//! The remark of a route question that finds nothing. In: the topic and a snapshot of the table.
//! Out: what clients match on, then what is known and what to do.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kerolox_protocol::names::{
    AUTO_CREATE_TOPIC, DLQ_PREFIX, RETRY_PREFIX, check_topic, is_system_topic,
};

use crate::limits;
use crate::table::Brokers;

/// Broker names and similar topics that are listed at most.
const LISTED_MAX: usize = 5;

/// The remark of code 17. `never`: the broker that creates no topics although it has the one after which they
/// are made, which stays when creation is switched off.
pub(crate) fn unknown_topic(whole: &str, brokers: &Brokers, never: Option<&str>) -> String {
    let topic = excerpt(whole);
    let mut remark = format!("No topic route info in name server for the topic: {topic}\n");
    let Some((_, first)) = brokers.iter().next() else {
        remark.push_str(
            "No broker is registered here: start one that has this name server in its namesrvAddr.",
        );
        return remark;
    };
    let cluster = &first.cluster;
    let names: Vec<_> = brokers.iter().take(LISTED_MAX).map(|(name, _)| &**name).collect();
    let _ = write!(remark, "Brokers here: {}", names.join(", "));
    let more = brokers.count() - names.len();
    if more > 0 {
        let _ = write!(remark, " and {more} more");
    }
    let similar = similar(topic, brokers);
    if !similar.is_empty() {
        let _ = write!(remark, ". Did you mean {}?", similar.join(", "));
    } else {
        remark.push('.');
    }
    let creates = |name: &str| never != Some(name) && brokers.has(name, AUTO_CREATE_TOPIC);
    if let Some(why) = not_made_by_users(whole) {
        remark.push_str(why);
    } else if brokers.iter().any(|(name, _)| creates(name)) {
        remark.push_str(" The first message sent to it creates it (autoCreateTopicEnable=true).");
    } else {
        let _ = write!(
            remark,
            " Topics are not created by sending (autoCreateTopicEnable=false): create it with \
             updateTopic -c {cluster} -t {topic}."
        );
    }
    remark
}

/// Why neither a send nor updateTopic makes a topic of this name, if that is so.
fn not_made_by_users(topic: &str) -> Option<&'static str> {
    if check_topic(topic).is_err() {
        return Some(" No topic can be called that: 1 to 127 of the characters %|a-zA-Z0-9_- are.");
    }
    if is_system_topic(topic) {
        return Some(" It is one of the system's own.");
    }
    if topic.starts_with(RETRY_PREFIX) {
        return Some(" It is made along with its consumer group.");
    }
    let is_dlq = topic.starts_with(DLQ_PREFIX);
    is_dlq.then_some(" It is made when its consumer group gives a message up.")
}

/// Existing topics whose names are nearly this one, the nearest first.
fn similar<'a>(topic: &str, brokers: &'a Brokers) -> Vec<&'a str> {
    if brokers.topic_rows() > limits::SUGGEST_TOPICS_MAX {
        return Vec::new();
    }
    // A third of a short name may be another word altogether.
    let max = (topic.len() / 3).min(2);
    let mut found = BTreeSet::new();
    for (_, broker) in brokers.iter() {
        for name in broker.topics().keys() {
            // Nobody types the names of retry and dead-letter topics.
            if name.starts_with('%') || is_system_topic(name) {
                continue;
            }
            if let Some(distance) = distance(topic.as_bytes(), name.as_bytes(), max) {
                found.insert((distance, &**name));
            }
        }
    }
    found.into_iter().take(LISTED_MAX).map(|(_, name)| name).collect()
}

/// How many letters must be put in, left out or replaced, case aside, to make `b` of `a`; None if
/// more than `max`.
fn distance(a: &[u8], b: &[u8], max: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > max {
        return None;
    }
    // One row of the usual table at a time: row[j] = distance of a[..=i] and b[..j].
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        let mut least = row[0];
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
            least = least.min(row[j + 1]);
        }
        if least > max {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= max)
}

/// The start of a text that someone else wrote, short enough for a remark.
pub(crate) fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::REMARK_ECHO_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, max, expected) in [
            ("orders", "Orders", 0, Some(0)),
            ("orders", "order", 2, Some(1)),
            ("orders", "rodders", 2, Some(2)),
            ("orders", "rodders", 1, None),
            ("orders", "ordres", 2, Some(2)),
            ("", "ab", 2, Some(2)),
            ("", "", 0, Some(0)),
            ("abc", "xyz", 2, None),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes(), max), expected, "{a} {b}");
        }
    }
}
