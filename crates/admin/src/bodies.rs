//! Bodies of answers that only an admin client reads. Integer keys and keys that are objects come as texts.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use kerolox_protocol::json::write::MessageQueue;
use kerolox_protocol::remoting::admin::{OffsetWrapper, TopicOffset};
use serde::Deserialize;

/// Rows by queue.
pub type ByQueue<T> = BTreeMap<String, T>;

/// A row's queue.
pub fn queue_of(key: &str) -> Result<MessageQueue> {
    serde_json::from_str(key).with_context(|| format!("{key:?} is no queue"))
}

/// Rows sorted as Java sorts queues: topic, broker, number.
pub fn sorted<T>(rows: ByQueue<T>) -> Result<Vec<(MessageQueue, T)>> {
    let rows = rows.into_iter().map(|(key, row)| Ok((queue_of(&key)?, row)));
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    rows.sort_by(|(a, _), (b, _)| {
        (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id))
    });
    Ok(rows)
}

/// 202.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    pub offset_table: ByQueue<TopicOffset>,
    pub topic_put_tps: f64,
}

/// 208.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    pub consume_tps: f64,
    pub offset_table: ByQueue<OffsetWrapper>,
}

/// 222.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reset {
    pub offset_table: ByQueue<i64>,
}

/// 300.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Groups {
    pub group_list: Vec<String>,
}

/// 28.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Table {
    pub table: BTreeMap<String, String>,
}
