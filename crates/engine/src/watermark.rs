//! What is confirmed becomes visible. In: the watermark that the log thread moves
//! (`log/src/flush.rs`). Out: higher visible offsets, answers to pulls that waited.

use std::collections::VecDeque;

use kerolox_log::PhysicalOffset;

use crate::output::Output;
use crate::topics::TopicId;
use crate::turn::Engine;

/// A message that is not confirmed yet.
#[derive(Debug, Clone, Copy)]
pub struct Unconfirmed {
    /// Behind its record.
    pub end: PhysicalOffset,
    pub topic: TopicId,
    pub queue: i32,
    pub tags_code: i32,
}

/// Messages in the order of the log.
pub type UnconfirmedQueue = VecDeque<Unconfirmed>;

impl Engine {
    /// Everything below `confirmed` is safe at the level that was promised. Consumers may see it.
    pub fn confirm(&mut self, confirmed: PhysicalOffset, out: &mut Output) {
        debug_assert!(confirmed >= self.confirmed, "the confirmed watermark never goes back");
        self.confirmed = confirmed;
        while let Some(message) = self.unconfirmed.front().copied() {
            if message.end > confirmed {
                break;
            }
            self.unconfirmed.pop_front();
            let Some(topic) = self.state.topics.get_mut(message.topic) else { continue };
            let queue = topic.queue_mut(message.queue);
            queue.visible += 1;
            if !queue.parked.is_empty() {
                self.woken.push((message.topic, message.queue, message.tags_code));
            }
        }
        // All that came with this round is visible now: answer each pull once.
        for (topic, queue, tags_code) in std::mem::take(&mut self.woken) {
            self.wake(topic, queue, tags_code, out);
        }
    }
}
