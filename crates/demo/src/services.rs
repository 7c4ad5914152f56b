//! The three services, each a consumer group of its own: they pull orders, do them, and commit how far they
//! are afterwards. So a service that stops in between gets some orders again; it recognises them by their
//! numbers. Their books: what was done, and what came again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use kerolox_client::{Connection, Options};
use kerolox_protocol::record;
use kerolox_protocol::remoting::codes::{request, response};
use kerolox_protocol::remoting::offsets::{OffsetReply, QueryConsumerOffset, UpdateConsumerOffset};
use kerolox_protocol::remoting::pull::{Pull, sys_flag};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::orders::{QUEUES, TIMEOUT, TOPIC, order_in};
use crate::store::Store;

/// How long the broker may hold a pull when there is nothing.
const WAIT: Duration = Duration::from_millis(300);
/// How often a queue's offset is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(250);
/// Messages asked for at once.
const BATCH: i32 = 32;

/// What an order costs a service at present.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// Time. Orders do not wait for each other: there are enough workers.
    pub(crate) takes: Duration,
    /// A place in a store that can do only so many a second.
    pub(crate) store: Option<Arc<Store>>,
}

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    /// Also the name of its consumer group.
    pub(crate) name: &'static str,
    broker: String,
    work: Mutex<Work>,
    books: Mutex<Books>,
    consumer: Mutex<Option<Consumer>>,
    /// It crashed and was not started since.
    down: AtomicBool,
    faults: mpsc::UnboundedSender<anyhow::Error>,
}

/// What a service has done. The effects stand apart from what it recognises orders by, so that they can
/// tell whether that was enough.
#[derive(Debug, Default)]
struct Books {
    known: HashSet<u64>,
    /// Times each order was done.
    effects: HashMap<u64, u32>,
    redelivered: u64,
}

/// A running consumer. Dropping it is a crash: connection gone, nothing committed.
#[derive(Debug)]
struct Consumer {
    queues: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// How the books of a service and of the shop agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Accepted, but not done.
    pub(crate) lost: Vec<u64>,
    /// Done more than once.
    pub(crate) twice: Vec<u64>,
}

impl Service {
    pub(crate) fn new(
        name: &'static str,
        broker: &str,
        faults: mpsc::UnboundedSender<anyhow::Error>,
    ) -> Arc<Service> {
        Arc::new(Service {
            name,
            broker: broker.to_owned(),
            work: Mutex::default(),
            books: Mutex::default(),
            consumer: Mutex::default(),
            down: AtomicBool::new(false),
            faults,
        })
    }

    /// Connects, and goes on where the group has committed to be.
    pub(crate) async fn start(self: &Arc<Self>) -> anyhow::Result<()> {
        let options = Options { timeout: TIMEOUT, ..Options::default() };
        let connection = Arc::new(Connection::connect_with(&self.broker, options).await?);
        let (stop, stopped) = watch::channel(false);
        let mut queues = JoinSet::new();
        for queue in 0..QUEUES {
            let reader = Reader {
                service: self.clone(),
                connection: connection.clone(),
                queue,
                offset: committed(&connection, self.name, queue).await?,
                committed: Instant::now(),
                pending: false,
            };
            let (faults, stopped) = (self.faults.clone(), stopped.clone());
            queues.spawn(async move {
                let name = reader.service.name;
                if let Err(error) = reader.run(stopped).await {
                    // Nobody listens if the demo is over anyway.
                    let _ = faults.send(error.context(format!("{name}, queue {queue}")));
                }
            });
        }
        *lock(&self.consumer) = Some(Consumer { queues, stop });
        self.down.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Ends it as a crash would: at once, wherever it is.
    pub(crate) async fn crash(&self) {
        self.down.store(true, Ordering::Relaxed);
        let consumer = lock(&self.consumer).take();
        if let Some(mut consumer) = consumer {
            consumer.queues.shutdown().await;
        }
    }

    /// Ends it: what was begun is done and committed.
    pub(crate) async fn stop(&self) {
        let consumer = lock(&self.consumer).take();
        if let Some(mut consumer) = consumer {
            consumer.stop.send_replace(true);
            while consumer.queues.join_next().await.is_some() {}
        }
    }

    /// Whether it crashed and is not back yet.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// What an order costs from now on.
    pub(crate) fn set_work(&self, work: Work) {
        *lock(&self.work) = work;
    }

    /// A direct call, without a queue: whoever asks waits for it.
    pub(crate) async fn call(&self) {
        let takes = lock(&self.work).takes;
        tokio::time::sleep(takes).await;
    }

    /// How many orders it has done.
    pub(crate) fn done(&self) -> u64 {
        lock(&self.books).effects.len() as u64
    }

    /// How many came again and were recognised.
    pub(crate) fn redelivered(&self) -> u64 {
        lock(&self.books).redelivered
    }

    /// Compares its books with the accepted orders.
    pub(crate) fn audit(&self, accepted: &[u64]) -> Audit {
        lock(&self.books).audit(accepted)
    }

    /// How many messages of the topic the broker says the group has not committed yet.
    pub(crate) async fn left_in_broker(&self) -> anyhow::Result<i64> {
        let connection = Connection::connect(&self.broker).await?;
        let mut left = 0;
        for queue in 0..QUEUES {
            left += connection.max_offset(TOPIC, queue).await?;
            left -= committed(&connection, self.name, queue).await?;
        }
        Ok(left)
    }

    async fn process(&self, records: &[u8]) -> anyhow::Result<()> {
        let work = lock(&self.work).clone();
        if !work.takes.is_zero() {
            tokio::time::sleep(work.takes).await;
        }
        for message in record::walk(records) {
            let id = order_in(message.body)?;
            if lock(&self.books).recognises(id) {
                continue;
            }
            if let Some(store) = &work.store {
                while !store.ask_in_time().await {}
            }
            lock(&self.books).apply(id);
        }
        Ok(())
    }
}

impl Books {
    /// Whether this order was done before; that is counted.
    fn recognises(&mut self, id: u64) -> bool {
        let known = self.known.contains(&id);
        self.redelivered += u64::from(known);
        known
    }

    /// The effect, and what it is recognised by, in one step, as in one transaction of a database.
    fn apply(&mut self, id: u64) {
        *self.effects.entry(id).or_default() += 1;
        self.known.insert(id);
    }

    fn audit(&self, accepted: &[u64]) -> Audit {
        let times = |id: &u64| self.effects.get(id).copied().unwrap_or(0);
        let those = |wanted: fn(u32) -> bool| {
            accepted.iter().copied().filter(|id| wanted(times(id))).collect()
        };
        Audit { lost: those(|times| times == 0), twice: those(|times| times > 1) }
    }
}

/// Reads one queue.
struct Reader {
    service: Arc<Service>,
    connection: Arc<Connection>,
    queue: i32,
    /// The next offset to be read. All before are done.
    offset: i64,
    /// When the last commit was.
    committed: Instant,
    /// Something was done since.
    pending: bool,
}

impl Reader {
    async fn run(mut self, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
        while !*stopped.borrow() {
            let records = self.pull().await?;
            if let Some(records) = records {
                self.service.process(&records.0).await?;
                (self.offset, self.pending) = (records.1, true);
            }
            if self.pending && self.committed.elapsed() >= COMMIT_EVERY {
                self.commit().await?;
            }
        }
        self.commit().await
    }

    /// Records, and the offset behind them.
    async fn pull(&self) -> anyhow::Result<Option<(Bytes, i64)>> {
        let header = Pull {
            consumer_group: self.service.name.into(),
            topic: TOPIC.into(),
            queue_id: self.queue,
            queue_offset: self.offset,
            max_msg_nums: BATCH,
            sys_flag: sys_flag::SUBSCRIPTION | sys_flag::SUSPEND,
            suspend_timeout_millis: WAIT.as_millis() as i64,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            ..Pull::default()
        };
        let reply = self.connection.pull(&header).await?;
        match reply.code {
            response::SUCCESS => Ok(Some((reply.body, reply.offsets.next_begin_offset))),
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => Ok(None),
            code => bail!("pulling at {}: code {code}, which means lost messages", self.offset),
        }
    }

    async fn commit(&mut self) -> anyhow::Result<()> {
        let header = UpdateConsumerOffset {
            consumer_group: self.service.name.into(),
            topic: TOPIC.into(),
            queue_id: Some(self.queue),
            commit_offset: Some(self.offset),
        };
        let reply = self.connection.call(request::UPDATE_CONSUMER_OFFSET, &header, Bytes::new());
        reply.await?.success().context("committing an offset")?;
        (self.committed, self.pending) = (Instant::now(), false);
        Ok(())
    }
}

/// Where a group is in a queue; 0 if it never was there.
async fn committed(connection: &Connection, group: &str, queue: i32) -> anyhow::Result<i64> {
    let header = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: TOPIC.into(),
        queue_id: queue,
        set_zero_if_not_found: None,
    };
    let reply = connection.call(request::QUERY_CONSUMER_OFFSET, &header, Bytes::new()).await?;
    if reply.code == response::QUERY_NOT_FOUND {
        return Ok(0);
    }
    Ok(reply.success()?.header::<OffsetReply>()?.offset)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds one of these locks can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_comes_again_is_recognised() {
        let mut books = Books::default();
        for id in [1, 2, 1] {
            if !books.recognises(id) {
                books.apply(id);
            }
        }
        assert_eq!(books.redelivered, 1);
        assert_eq!(books.audit(&[1, 2]), Audit::default());
    }

    #[test]
    fn books_tell_what_was_lost_and_what_was_done_twice() {
        let mut books = Books::default();
        books.apply(1);
        books.apply(1);
        books.apply(3);
        assert_eq!(books.audit(&[1, 2, 3]), Audit { lost: vec![2], twice: vec![1] });
    }
}
