//! What a consumer says of itself (307), and how mqadmin writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use kerolox_protocol::json::write::MessageQueue;
use kerolox_protocol::remoting::client::SubscriptionData;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bodies::{ByQueue, sorted};
use crate::format::time_digits;

/// The body of 307's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jstack: Option<String>,
    pub mq_pop_table: ByQueue<PopQueue>,
    pub mq_table: ByQueue<ProcessQueue>,
    pub properties: BTreeMap<String, Value>,
    pub status_table: BTreeMap<String, Rates>,
    pub subscription_set: Vec<SubscriptionData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_consumer_info: Option<BTreeMap<String, Value>>,
}

/// A queue that a client consumes. Times are in ms since 1970.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessQueue {
    pub commit_offset: i64,
    pub cached_msg_min_offset: i64,
    pub cached_msg_max_offset: i64,
    pub cached_msg_count: i64,
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_size_in_mib: i64,
    pub transaction_msg_min_offset: i64,
    pub transaction_msg_max_offset: i64,
    pub transaction_msg_count: i64,
    pub locked: bool,
    pub try_unlock_times: i64,
    pub last_lock_timestamp: i64,
    /// Sic.
    pub droped: bool,
    pub last_pull_timestamp: i64,
    pub last_consume_timestamp: i64,
}

/// A queue that a client pops.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PopQueue {
    pub wait_ack_count: i64,
    /// Sic.
    pub droped: bool,
    pub last_pop_timestamp: i64,
}

/// How fast a client consumes a topic, and how long that takes in ms.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rates {
    pub consume_failed_msgs: i64,
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

impl ProcessQueue {
    fn text(&self) -> String {
        format!(
            "ProcessQueueInfo [commitOffset={}, cachedMsgMinOffset={}, cachedMsgMaxOffset={}, cachedMsgCount={}, cachedMsgSizeInMiB={}, transactionMsgMinOffset={}, transactionMsgMaxOffset={}, transactionMsgCount={}, locked={}, tryUnlockTimes={}, lastLockTimestamp={}, droped={}, lastPullTimestamp={}, lastConsumeTimestamp={}]",
            self.commit_offset,
            self.cached_msg_min_offset,
            self.cached_msg_max_offset,
            self.cached_msg_count,
            self.cached_msg_size_in_mib,
            self.transaction_msg_min_offset,
            self.transaction_msg_max_offset,
            self.transaction_msg_count,
            self.locked,
            self.try_unlock_times,
            time_digits(self.last_lock_timestamp),
            self.droped,
            time_digits(self.last_pull_timestamp),
            time_digits(self.last_consume_timestamp),
        )
    }
}

impl PopQueue {
    fn text(&self) -> String {
        format!(
            "PopProcessQueueInfo [waitAckCount:{}, droped:{}, lastPopTimestamp:{}]",
            self.wait_ack_count, self.droped, self.last_pop_timestamp
        )
    }
}

/// A property as text.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn queue_text(queue: &MessageQueue) -> String {
    format!(
        "MessageQueue [topic={}, brokerName={}, queueId={}]",
        queue.topic, queue.broker_name, queue.queue_id
    )
}

/// A table of queues with one more column, under a heading.
fn queues<T>(
    text: &mut String,
    heading: [&str; 2],
    widths: [usize; 2],
    rows: &[(MessageQueue, T)],
    show: impl Fn(&T) -> String,
) {
    let [title, last] = heading;
    let [head, row] = widths;
    let _ = writeln!(text, "\n\n#{title}#");
    let line = format!("{:<head$}  {:<32}  {:<4}  {last}", "#Topic", "#Broker Name", "#QID");
    text.push_str(&line);
    for (queue, value) in rows {
        let (topic, broker, id) = (&queue.topic, &queue.broker_name, queue.queue_id);
        let _ = write!(text, "\n{topic:<row$}  {broker:<32}  {id:<4}  {}", show(value));
    }
    text.push('\n');
}

impl Running {
    /// A property's value.
    pub fn property(&self, name: &str) -> String {
        self.properties.get(name).map(shown).unwrap_or_default()
    }

    /// Its queues, those that it pops from too.
    pub fn queues(&self) -> impl Iterator<Item = &String> {
        self.mq_table.keys().chain(self.mq_pop_table.keys())
    }

    /// The subscriptions as they are compared: topic and expression.
    pub fn subscriptions(&self) -> Vec<String> {
        let subscriptions = self.subscription_set.iter();
        let mut all: Vec<_> =
            subscriptions.map(|s| format!("{}@{}", s.topic, s.sub_string)).collect();
        all.sort();
        all
    }

    /// All of it, as mqadmin writes it.
    pub fn text(&self) -> Result<String> {
        let mut text = "#Consumer Properties#".to_owned();
        for (name, value) in &self.properties {
            let _ = write!(text, "\n{name:<40}: {}", shown(value));
        }
        text.push_str("\n\n\n#Consumer Subscription#\n");
        self.push_subscriptions(&mut text);
        let table = sorted(self.mq_table.clone())?;
        queues(&mut text, ["Consumer Offset", "#Consumer Offset"], [64, 32], &table, |queue| {
            queue.commit_offset.to_string()
        });
        let detail = ["Consumer MQ Detail", "#ProcessQueueInfo"];
        queues(&mut text, detail, [64, 64], &table, ProcessQueue::text);
        let detail = ["Consumer Pop Detail", "#ProcessQueueInfo"];
        let table = sorted(self.mq_pop_table.clone())?;
        queues(&mut text, detail, [32, 32], &table, PopQueue::text);
        self.push_rates(&mut text);
        if let Some(info) = &self.user_consumer_info {
            text.push_str("\n\n#User Consume Info#\n");
            for (name, value) in info {
                let _ = writeln!(text, "{name:<40}: {}", shown(value));
            }
        }
        if let Some(stack) = &self.jstack {
            let _ = write!(text, "\n\n#Consumer jstack#\n{stack}");
        }
        Ok(text)
    }

    fn push_subscriptions(&self, text: &mut String) {
        let mut all: Vec<_> = self.subscription_set.iter().collect();
        all.sort_by(|a, b| (&a.topic, &a.sub_string).cmp(&(&b.topic, &b.sub_string)));
        for (i, of) in all.iter().enumerate() {
            let _ = writeln!(
                text,
                "{:03} Topic: {:<40} ClassFilter: {:<8} SubExpression: {}",
                i + 1,
                of.topic,
                of.class_filter_mode,
                of.sub_string
            );
        }
    }

    fn push_rates(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n\n#Consumer RT&TPS#\n{:<64}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}",
            "#Topic",
            "#Pull RT",
            "#Pull TPS",
            "#Consume RT",
            "#ConsumeOK TPS",
            "#ConsumeFailed TPS",
            "#ConsumeFailedMsgsInHour"
        );
        for (topic, r) in &self.status_table {
            let _ = writeln!(
                text,
                "{topic:<32}  {:14.2} {:14.2} {:14.2} {:14.2} {:18.2} {:25}",
                r.pull_rt,
                r.pull_tps,
                r.consume_rt,
                r.consume_ok_tps,
                r.consume_failed_tps,
                r.consume_failed_msgs
            );
        }
    }
}

/// What is wrong in a group, as its clients tell it.
#[derive(Debug, Default)]
pub struct Findings {
    pub same_subscriptions: bool,
    /// A line each: queues that are stuck.
    pub stuck: Vec<String>,
}

/// Subscriptions are compared when all clients had the time to come up with a new one.
const SETTLED_MS: i64 = 120_000;
/// A queue with messages in hand is stuck when nothing was consumed for so long.
const STUCK_MS: i64 = 60_000;

/// Compares a group's clients, and looks for stuck queues, as mqadmin does.
pub fn inspect(clients: &BTreeMap<String, Running>, now: i64) -> Result<Findings> {
    let is_push = |client: &Running| client.property("PROP_CONSUME_TYPE") == "CONSUME_PASSIVELY";
    let Some(first) = clients.values().next() else {
        return Ok(Findings { same_subscriptions: true, stuck: Vec::new() });
    };
    // Who does not say when it was started is taken for an old one.
    let started = first.property("PROP_CONSUMER_START_TIMESTAMP").parse().unwrap_or(0);
    let is_settled = is_push(first) && now.saturating_sub(started) > SETTLED_MS;
    let wanted = first.subscriptions();
    let same_subscriptions =
        !is_settled || clients.values().all(|client| client.subscriptions() == wanted);
    let mut stuck = Vec::new();
    for (id, client) in clients.iter().filter(|(_, client)| is_push(client)) {
        let orderly = client.property("PROP_CONSUMEORDERLY") == "true";
        for (queue, state) in sorted(client.mq_table.clone())? {
            let why = state.stuck(orderly, now);
            stuck.extend(why.map(|why| format!("{id} {} {why}", queue_text(&queue))));
        }
    }
    Ok(Findings { same_subscriptions, stuck })
}

impl ProcessQueue {
    /// Why nothing is consumed, if that is so.
    fn stuck(&self, orderly: bool, now: i64) -> Option<String> {
        let since = |ms: i64| now.saturating_sub(ms);
        if !orderly {
            let ms = since(self.last_consume_timestamp);
            let is_stuck = ms > STUCK_MS && self.cached_msg_count > 0;
            return is_stuck.then(|| format!("can't consume for a while, maybe blocked, {ms}ms"));
        }
        if !self.locked {
            let ms = since(self.last_lock_timestamp);
            return Some(format!("can't lock for a while, {ms}ms"));
        }
        let times = self.try_unlock_times;
        (self.droped && times > 0).then(|| format!("unlock {times} times, still failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn client(subscription: &str, orderly: bool, queue: Value) -> Running {
        let key = r#"{"brokerName":"a","queueId":1,"topic":"t"}"#;
        serde_json::from_value(json!({
            "properties": {
                "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
                "PROP_CONSUMER_START_TIMESTAMP": "0",
                "PROP_CONSUMEORDERLY": orderly.to_string(),
            },
            "subscriptionSet": [{"topic": "t", "subString": subscription}],
            "mqTable": {key: queue},
        }))
        .unwrap()
    }

    #[test]
    fn differing_subscriptions_and_stuck_queues_are_found() {
        let fine = json!({"lastConsumeTimestamp": 200_000, "cachedMsgCount": 5});
        let find = |a: &Running, b: &Running| {
            let clients = [("1".to_owned(), a.clone()), ("2".to_owned(), b.clone())];
            inspect(&clients.into(), 200_000).unwrap()
        };
        let one = client("*", false, fine.clone());
        let found = find(&one, &one);
        assert!(found.same_subscriptions && found.stuck.is_empty());
        assert!(!find(&one, &client("x", false, fine)).same_subscriptions);
        let blocked = client("*", false, json!({"cachedMsgCount": 5}));
        let queue = "2 MessageQueue [topic=t, brokerName=a, queueId=1]";
        for (state, why) in [
            (blocked, "can't consume for a while, maybe blocked, 200000ms"),
            (client("*", true, json!({})), "can't lock for a while, 200000ms"),
            (
                client("*", true, json!({"locked": true, "droped": true, "tryUnlockTimes": 3})),
                "unlock 3 times, still failed",
            ),
        ] {
            assert_eq!(find(&one, &state).stuck, [format!("{queue} {why}")]);
        }
    }

    #[test]
    fn a_client_is_written_as_mqadmin_does() {
        let text = client("*", false, json!({"commitOffset": 7})).text().unwrap();
        let head = "#Consumer Properties#\nPROP_CONSUMEORDERLY                     : false\n";
        assert!(text.starts_with(head), "{text}");
        let row = "\n001 Topic: t                                        ClassFilter: false    SubExpression: *\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("\n#Consumer RT&TPS#\n#Topic  "), "{text}");
        assert!(text.contains("  a                                 1     7\n"), "{text}");
    }
}
