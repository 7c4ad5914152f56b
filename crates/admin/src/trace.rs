//! What clients wrote about a message's way: the records in a trace message's body. Records end with byte
//! 2, their fields with byte 1.

use serde_json::{Value, json};

use crate::format::Message;

/// One step of a message's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// It was consumed; else it was sent.
    pub consumed: bool,
    pub group: String,
    /// Address of the client.
    pub host: String,
    /// In ms since 1970.
    pub time: i64,
    /// How long it took, in ms.
    pub cost: i64,
    pub success: bool,
}

impl Step {
    /// `success`, `failed`.
    pub fn status(&self) -> &'static str {
        if self.success { "success" } else { "failed" }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "type": if self.consumed { "Sub" } else { "Pub" },
            "group": self.group,
            "clientHost": self.host,
            "time": self.time,
            "costTime": self.cost,
            "status": self.status(),
        })
    }
}

/// The steps of one message that a trace message tells of. Records of other kinds, and broken ones, are
/// stepped over: one client's error must not hide what others wrote.
pub fn steps(trace: &Message, id: &str) -> Vec<Step> {
    let text = String::from_utf8_lossy(&trace.body);
    let records = text.split('\u{2}').map(|record| record.split('\u{1}').collect::<Vec<_>>());
    records.filter_map(|fields| step(trace, id, &fields)).collect()
}

fn step(trace: &Message, id: &str, fields: &[&str]) -> Option<Step> {
    let field = |at: usize| fields.get(at).copied();
    let host = trace.born_host.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
    match *fields.first()? {
        "Pub" if field(5) == Some(id) => Some(Step {
            consumed: false,
            group: field(3)?.to_owned(),
            host,
            time: field(1)?.parse().ok()?,
            cost: field(10)?.parse().ok()?,
            // Old clients do not tell the id of the place, which stands before it.
            success: field(if fields.len() == 13 { 12 } else { 13 })? == "true",
        }),
        "SubAfter" if field(2) == Some(id) => Some(Step {
            consumed: true,
            group: field(8).unwrap_or_default().to_owned(),
            host,
            // Old clients tell neither time nor group.
            time: field(7).map_or(Some(trace.born_timestamp), |time| time.parse().ok())?,
            cost: field(3)?.parse().ok()?,
            success: field(4)? == "true",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(records: &[&[&str]]) -> Message {
        let records = records.iter().map(|fields| fields.join("\u{1}"));
        Message {
            born_timestamp: 77,
            body: (records.collect::<Vec<_>>().join("\u{2}") + "\u{2}").into_bytes(),
            ..crate::format::tests::message()
        }
    }

    #[test]
    fn steps_of_new_and_old_clients_are_read_and_others_stepped_over() {
        let old = ["Pub", "5", "r", "g", "t", "ID", "", "k", "h", "9", "3", "0", "true"];
        let new = ["Pub", "6", "r", "g", "t", "ID", "", "k", "h", "9", "4", "0", "OFF", "false"];
        let message = trace(&[
            &old,
            &new,
            &["Pub", "6", "r", "g", "t", "OTHER", "", "k", "h", "9", "4", "0", "OFF", "true"],
            &["Pub", "6", "r", "g", "t", "ID"],
            &["Pub", "x", "r", "g", "t", "ID", "", "k", "h", "9", "4", "0", "OFF", "true"],
            &["SubBefore", "1", "r", "g", "q", "ID", "0", "k"],
            &["SubAfter", "q", "ID", "8", "true", "k", "0", "99", "c"],
            &["SubAfter", "q", "ID", "8", "true", "k"],
            &[],
        ]);
        let steps = steps(&message, "ID");
        let told: Vec<_> = steps
            .iter()
            .map(|s| (s.consumed, s.group.as_str(), s.time, s.cost, s.status()))
            .collect();
        assert_eq!(
            told,
            [
                (false, "g", 5, 3, "success"),
                (false, "g", 6, 4, "failed"),
                (true, "c", 99, 8, "success"),
                (true, "", 77, 8, "success"),
            ]
        );
        assert!(steps.iter().all(|step| step.host == "10.0.0.7"));
    }
}
