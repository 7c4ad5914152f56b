//! 12 by tag: each queue's entries have their tags' hashes, so there is no further index.
//!
//! The entries in memory are looked through between turns, those in blocks on another thread, where the messages
//! are read, too.

use std::collections::VecDeque;
use std::sync::Arc;

use kerolox_log::index::block::Chain;
use kerolox_log::index::lookup::{Blocks, Effort, Tagged};
use kerolox_log::index::queue::Entry;
use kerolox_log::read;
use kerolox_protocol::properties;
use kerolox_protocol::record::View;
use kerolox_protocol::remoting::query::QueryMessage;
use kerolox_protocol::remoting::reply::Reply;
use kerolox_protocol::tags::tags_code;

use crate::limits::{QUERY_CANDIDATES_MAX, QUERY_MESSAGES_MAX, QUERY_TAG_MAX};
use crate::output::{Answer, Output, Work};
use crate::request::Origin;
use crate::requests::offsets::unreadable;
use crate::requests::query::{Found, nothing_found};
use crate::topics::TopicId;
use crate::turn::Engine;

/// Entries in memory that are looked at in one step.
const STEP: usize = 10_000;

/// Where a queue's older entries are: its number, and the offsets from the lowest to below the first in memory.
type OlderQueue = (i32, Chain, (i64, i64));

/// What is known so far.
struct Search {
    header: QueryMessage,
    topic: TopicId,
    sought: Tagged,
    found: Vec<Entry>,
    older: Vec<OlderQueue>,
    /// The queue that is looked at, the offset that comes next, and what was found in it.
    queue: i32,
    next: i64,
    newest: VecDeque<Entry>,
}

impl Engine {
    /// See the module's documentation.
    pub(crate) fn query_by_tag(&mut self, origin: Origin, header: QueryMessage, out: &mut Output) {
        let Some(topic) = self.state.topics.find(&header.topic).filter(|_| !header.key.is_empty())
        else {
            return out.reply(origin, nothing_found());
        };
        let sought = Tagged {
            code: tags_code(&header.key),
            times: header.begin_timestamp..=header.end_timestamp,
            max: QUERY_MESSAGES_MAX,
        };
        let (found, older, newest) = (Vec::new(), Vec::new(), VecDeque::new());
        let search = Search { header, topic, sought, found, older, queue: 0, next: 0, newest };
        let (blocks, mut search) = (self.blocks.clone(), Some(search));
        let steps = move |engine: &Engine| {
            if search.as_mut()?.step(engine) {
                return None;
            }
            let (blocks, search) = (blocks.clone(), search.take()?);
            Some(Box::new(move || search.answer(&blocks)) as Work)
        };
        out.answer(origin, Answer::Steps(Box::new(steps)), None);
    }
}

impl Search {
    /// Looks at some entries in memory; false if there are no more.
    fn step(&mut self, engine: &Engine) -> bool {
        let Some(topic) = engine.state.topics.get(self.topic) else {
            // It was deleted meanwhile.
            self.found.clear();
            self.older.clear();
            return false;
        };
        let Some((queue, state)) = topic.used_queues_from(self.queue).next() else { return false };
        let (min, end) = topic.range(queue);
        let first = state.index.first_here().max(min);
        // At the first look, or if a block has been taken over since the last one.
        if self.next < first {
            let chain = state.index.older_chain();
            self.older.extend(chain.map(|chain| (queue, chain, (min.max(self.next), first))));
        }
        let from = self.next.max(first);
        for (_, entry) in state.index.range(from, end).take(STEP) {
            if self.sought.is(&entry) {
                self.newest.push_back(entry);
            }
            if self.newest.len() > self.sought.max {
                self.newest.pop_front();
            }
        }
        (self.queue, self.next) = (queue, from + STEP as i64);
        if self.next >= end {
            let newest = std::mem::take(&mut self.newest);
            self.keep(newest);
            (self.queue, self.next) = (queue + 1, 0);
        }
        true
    }

    /// A topic has many queues: of all that is found the newest are kept.
    fn keep(&mut self, found: impl IntoIterator<Item = Entry>) {
        self.found.extend(found);
        if self.found.len() > 2 * QUERY_CANDIDATES_MAX {
            self.sort();
            self.found.truncate(QUERY_CANDIDATES_MAX);
        }
    }

    fn sort(&mut self) {
        self.found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.place.offset));
    }

    /// Asks the blocks, and reads what was found.
    fn answer(mut self, blocks: &Arc<Blocks>) -> Reply {
        let topic = self.header.topic.clone();
        // What a short queue does not need of its share is left to the longer ones.
        self.older.sort_by_key(|(_, _, (min, end))| end - min);
        let (mut left, all) = (QUERY_TAG_MAX, std::mem::take(&mut self.older));
        for (done, (queue, chain, range)) in all.iter().enumerate() {
            let (of, queues) = ((&*topic, *queue), all.len() - done);
            let share = Effort { entries: left.entries / queues, blocks: left.blocks / queues };
            let older = match blocks.ask(|b| b.tagged(of, *chain, *range, &self.sought, share)) {
                Ok(older) => older,
                Err(error) => return unreadable(&error),
            };
            left.entries -= older.spent.entries;
            left.blocks -= older.spent.blocks;
            self.keep(older.entries);
        }
        self.sort();
        let mut answer = Found::new(&self.header);
        for entry in self.found.iter().take(QUERY_CANDIDATES_MAX) {
            if answer.is_full() {
                break;
            }
            // What was deleted meanwhile, or is damaged, is not there.
            let Ok(record) = read::record(blocks.files(), entry.place) else { continue };
            if let Ok(view) = View::parse(&record)
                && view.topic == &*topic
                && properties::get(view.properties, properties::TAGS) == Some(&*self.header.key)
            {
                answer.add(&view, entry.place.offset, record.clone());
            }
        }
        answer.reply()
    }
}
