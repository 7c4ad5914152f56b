//! 321: entries of a queue's index: where its messages lie, and the hash of their tags.

use kerolox_log::index::queue::{Entry, Look};
use kerolox_protocol::remoting::admin::{ConsumeQueue, ConsumeQueueEntry, ConsumeQueueQuestion};
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use crate::limits::PULL_SCAN_MAX;
use crate::output::{Answer, Output};
use crate::request::Origin;
use crate::requests::offsets::unreadable;
use crate::turn::Engine;

impl Engine {
    /// See the module's documentation.
    pub(crate) fn consume_queue(
        &mut self,
        origin: Origin,
        header: &ConsumeQueueQuestion,
        out: &mut Output,
    ) {
        let (name, queue, from) = (&*header.topic, header.queue_id, header.index);
        let topic = self.state.topics.by_name(name);
        let state = topic.and_then(|topic| topic.queue(queue));
        let queues = topic.map_or(0, |t| t.config.read_queue_nums.max(t.config.write_queue_nums));
        // One that was never used is empty.
        if state.is_none() && !(0..queues).contains(&queue) {
            let remark = format!("{queue}@{name} is not exist!");
            out.reply(origin, Reply::refuse(response::SYSTEM_ERROR, remark));
            return;
        }
        let (min, max) = topic.map_or((0, 0), |topic| topic.range(queue));
        let Some(state) = state.filter(|_| (min..max).contains(&from)) else {
            let remark = format!("Index {from} of {queue}@{name} is not exist!");
            out.reply(origin, Reply { remark: Some(remark.into()), ..Reply::ok() });
            return;
        };
        let group = header.consumer_group.as_deref().filter(|group| !group.is_empty());
        let members = group.and_then(|group| self.members.group(group));
        let subscription = members.and_then(|members| members.subscriptions.get(name));
        let filter_data = group.map(|group| match subscription {
            // Data of SQL filters, of which there are none.
            Some(_) => "null".to_owned(),
            None => format!("{group}@{name} is not online!"),
        });
        let mut body = ConsumeQueue {
            filter_data,
            max_queue_index: max,
            min_queue_index: min,
            queue_data: Vec::new(),
            subscription_data: subscription.map(|subscription| subscription.data.clone()),
        };
        let count = (header.count.max(0) as usize).min(PULL_SCAN_MAX).min((max - from) as usize);
        let here: Vec<(i64, Entry)> = state.index.range(from, max).take(count).collect();
        let older = match state.index.look(from) {
            Look::Older(chain) => Some(chain),
            Look::Here(_) => None,
        };
        let (blocks, topic) = (self.blocks.clone(), header.topic.clone());
        let work = move || {
            let ask = |chain| blocks.ask(|b| b.entries((&topic, queue), chain, from, count));
            let older = match older.map(ask).transpose() {
                Ok(older) => older.unwrap_or_default(),
                Err(error) => return unreadable(&error),
            };
            // Whoever asks counts from the first one on: what follows a gap is left out.
            let all = (from..).zip(older.iter().chain(&here));
            let whole = all.take_while(|(expected, (offset, _))| expected == offset);
            body.queue_data = whole.take(count).map(|(_, (_, entry))| row(entry)).collect();
            Reply::json(&body)
        };
        out.answer(origin, Answer::Later(Box::new(work)), None);
    }
}

fn row(entry: &Entry) -> ConsumeQueueEntry {
    ConsumeQueueEntry {
        eval: false,
        physic_offset: entry.place.offset.0 as i64,
        physic_size: entry.place.size as i32,
        tags_code: i64::from(entry.tags_code),
    }
}
