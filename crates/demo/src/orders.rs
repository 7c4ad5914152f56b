//! The producer of orders, and its books: which orders the broker has accepted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use kerolox_client::{Connection, Options};
use kerolox_protocol::remoting::send::Send;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// The topic of all orders.
pub(crate) const TOPIC: &str = "orders";
/// Its queues.
pub(crate) const QUEUES: i32 = 4;
/// Orders are placed in steps of this.
const STEP: Duration = Duration::from_millis(2);
/// A slow disk may take its time before the broker answers.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Orders {
    connection: Connection,
    next: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    books: Mutex<HashSet<u64>>,
}

impl Orders {
    /// Connects to the broker and makes the topic.
    pub(crate) async fn open(broker: &str) -> anyhow::Result<Arc<Orders>> {
        let options = Options { timeout: TIMEOUT, ..Options::default() };
        let connection = Connection::connect_with(broker, options).await?;
        connection.master_or_create(TOPIC, QUEUES).await.context("making the topic orders")?;
        Ok(Arc::new(Orders {
            connection,
            next: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            books: Mutex::default(),
        }))
    }

    /// Places one order; its answer comes when the broker has stored it. Returns how long that took,
    /// or nothing if the broker refused it.
    pub(crate) async fn place(&self) -> anyhow::Result<Option<Duration>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let born = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = Send {
            producer_group: "shop".into(),
            topic: TOPIC.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: QUEUES,
            queue_id: (id % QUEUES as u64) as i32,
            born_timestamp: born.as_millis() as i64,
            ..Send::default()
        };
        let begin = Instant::now();
        match self.connection.send(&header, body(id)).await {
            Ok(_) => {
                let took = begin.elapsed();
                self.books.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                self.accepted.fetch_add(1, Ordering::Relaxed);
                Ok(Some(took))
            }
            Err(error) if error.refused_with().is_some() => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("placing order {id}")),
        }
    }

    /// Places orders at a steady rate until `enough` says so of their number, and waits for the answers.
    /// `each` is called as each is placed. The clock decides how many are due, so the rate does not
    /// depend on how fast answers come.
    pub(crate) async fn flow(
        self: &Arc<Self>,
        rate: u32,
        enough: impl Fn(u64) -> bool,
        mut each: impl FnMut(),
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut tick = tokio::time::interval(STEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sends = JoinSet::new();
        let mut placed = 0;
        while !enough(placed) {
            tick.tick().await;
            let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while placed < due && !enough(placed) {
                placed += 1;
                each();
                let orders = self.clone();
                sends.spawn(async move { orders.place().await });
            }
            while let Some(sent) = sends.try_join_next() {
                sent??;
            }
        }
        while let Some(sent) = sends.join_next().await {
            sent??;
        }
        Ok(())
    }

    /// How many the broker has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many it has refused: the shop knows that at once, so they are not lost.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The number that the next order will have.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// The accepted orders from number `from` on, in order.
    pub(crate) fn accepted_from(&self, from: u64) -> Vec<u64> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<u64> = books.iter().copied().filter(|id| *id >= from).collect();
        ids.sort_unstable();
        ids
    }
}

fn body(id: u64) -> Bytes {
    format!("{{\"order\":{id},\"item\":\"teapot\",\"pieces\":1}}").into()
}

/// The number of the order in a message.
pub(crate) fn order_in(body: &[u8]) -> anyhow::Result<u64> {
    let json: serde_json::Value = serde_json::from_slice(body).context("a message is no order")?;
    json["order"].as_u64().context("an order has no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_its_number() {
        assert_eq!(order_in(&body(17)).unwrap(), 17);
        assert!(order_in(b"{}").is_err());
        assert!(order_in(b"tea").is_err());
    }
}
