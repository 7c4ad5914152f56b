//! Reads one queue from one offset on. In: pull replies. Out: bodies with records, in order, until
//! the queue is drained.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use kerolox_client::Connection;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::pull::{Pull, sys_flag};

/// How often a broker may ask to come again without any progress.
const STUCK_MAX: u32 = 100;
/// The pause before coming again.
const STUCK_PAUSE: Duration = Duration::from_millis(20);

/// A position in a queue.
#[derive(Debug)]
pub(crate) struct Puller<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue: i32,
    /// The next offset to be read.
    pub(crate) offset: i64,
    /// Messages asked for at once.
    pub(crate) batch: i32,
    /// How long the broker may wait for a message.
    pub(crate) wait: Duration,
    pub(crate) stuck: u32,
}

/// What one pull brought.
#[derive(Debug)]
pub(crate) enum Step {
    /// Records back to back.
    Records(Bytes),
    /// Nothing at this offset; it may have moved on.
    Nothing,
    /// Nothing from this offset on.
    Drained,
}

impl Puller<'_> {
    pub(crate) async fn next(&mut self) -> anyhow::Result<Step> {
        let place = || format!("pulling {} queue {} at {}", self.topic, self.queue, self.offset);
        let suspend = if self.wait.is_zero() { 0 } else { sys_flag::SUSPEND };
        let header = Pull {
            consumer_group: self.group.into(),
            topic: self.topic.into(),
            queue_id: self.queue,
            queue_offset: self.offset,
            max_msg_nums: self.batch,
            sys_flag: sys_flag::SUBSCRIPTION | suspend,
            suspend_timeout_millis: self.wait.as_millis() as i64,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            ..Pull::default()
        };
        let reply = self.connection.pull(&header).await.with_context(place)?;
        let next = reply.offsets.next_begin_offset;
        let moved = next > self.offset;
        let step = match reply.code {
            response::SUCCESS if !moved => bail!("{}: found, yet the next is {next}", place()),
            response::SUCCESS => Step::Records(reply.body),
            response::PULL_NOT_FOUND => return Ok(Step::Drained),
            // The offset is beyond the end.
            response::PULL_OFFSET_MOVED if next < self.offset => return Ok(Step::Drained),
            code if !moved => {
                if self.stuck >= STUCK_MAX {
                    bail!("{}: code {code} {STUCK_MAX} times without progress", place());
                }
                self.stuck += 1;
                tokio::time::sleep(STUCK_PAUSE).await;
                return Ok(Step::Nothing);
            }
            _ => Step::Nothing,
        };
        self.stuck = 0;
        self.offset = next;
        Ok(step)
    }
}
