//! Bodies whose map keys are objects, byte for byte as Java writes them: the Go client cuts such
//! a body apart at `,{` and `}:`, so no other spelling will do.

use serde::Serialize;

use super::dialect::quoted;

/// A queue as a map key: `{"brokerName":"a","queueId":0,"topic":"t"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// The broker that holds the queue.
    pub broker_name: String,
    /// The queue's number in its topic.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// Writes `{"NAME":{{queue}:value,…}REST}`, where `rest` is further members, each with its comma.
pub fn by_queue<V: Serialize>(
    name: &str,
    rows: impl IntoIterator<Item = (MessageQueue, V)>,
    rest: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    quoted(name, &mut out);
    out.extend_from_slice(b":{");
    let mut first = true;
    for (queue, value) in rows {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        value_into(&queue, &mut out);
        out.push(b':');
        value_into(&value, &mut out);
    }
    out.push(b'}');
    out.extend_from_slice(rest.as_bytes());
    out.push(b'}');
    out
}

fn value_into<V: Serialize>(value: &V, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("these values hold only strings and numbers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_keys_stand_bare() {
        let queue = MessageQueue { broker_name: "a".into(), queue_id: 3, topic: "t".into() };
        let body = by_queue("offsetTable", [(queue, 7i64)], r#","consumeTps":0.0"#);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"offsetTable":{{"brokerName":"a","queueId":3,"topic":"t"}:7},"consumeTps":0.0}"#
        );
    }
}
