//! Delayed messages: each level is a queue of `SCHEDULE_TOPIC_XXXX`; what is due is stored again
//! under its real topic.
//!
//! The new message and the note that the old one is delivered stand in the same round, so a crash
//! delivers a message neither twice nor never.

use bytes::Bytes;
use bytestring::ByteString;
use kerolox_log::index::block::Chain;
use kerolox_log::index::queue::{Entry, Look};
use kerolox_log::read::Place;
use kerolox_protocol::names::SCHEDULE_TOPIC;
use kerolox_protocol::properties::{self, REAL_QID, REAL_TOPIC};
use kerolox_protocol::record::View;

use crate::change::Change;
use crate::limits::{SCHEDULE_BYTES_MAX, SCHEDULE_STEP_MAX};
use crate::load::Continuation;
use crate::output::{Load, LoadItem, Loaded, Output};
use crate::turn::Engine;

/// Bytes that the note of a delivery takes in a round.
const NOTE_BYTES: usize = 64;
/// After the index could not be read.
const RETRY_MS: i64 = 1_000;

/// Places of messages that were stored until then, up to the limit of one step.
fn due(entries: impl Iterator<Item = (i64, Entry)>, stored_until: i64) -> Vec<Place> {
    let mut bytes = 0;
    entries
        .take_while(|(_, entry)| {
            bytes += entry.place.size as usize;
            let fits = bytes <= SCHEDULE_BYTES_MAX || bytes == entry.place.size as usize;
            fits && entry.store_timestamp <= stored_until
        })
        .map(|(_, entry)| entry.place)
        .collect()
}

impl Engine {
    /// Delivers what is due. Called every few milliseconds.
    pub(crate) fn deliver_due(&mut self, now: i64, out: &mut Output) {
        if self.is_over() {
            return;
        }
        for level in 0..self.config.delay_levels_ms.len() {
            if !self.delivering[level] {
                self.deliver_level(level, now, out);
            }
        }
    }

    /// Whether a message waits for its time.
    pub(crate) fn has_delayed(&self) -> bool {
        let Some(topic) = self.state.topics.by_name(SCHEDULE_TOPIC) else { return false };
        self.state.delayed.iter().enumerate().any(|(level, delivered)| {
            topic.queue(level as i32).is_some_and(|queue| *delivered < queue.index.next())
        })
    }

    pub(crate) fn deliver_level(&mut self, level: usize, now: i64, out: &mut Output) {
        let delay = self.config.delay_levels_ms[level];
        let from = self.state.delayed[level];
        let Some(topic) = self.state.topics.by_name(SCHEDULE_TOPIC) else { return };
        let Some(queue) = topic.queue(level as i32) else { return };
        let min = queue.index.min();
        if from < min && self.takes_no_changes().is_none() {
            // They went with their log files, which was said when it was found.
            self.change(&Change::Delayed { level: level as u8 + 1, offset: min }, now);
        }
        let Some(topic) = self.state.topics.by_name(SCHEDULE_TOPIC) else { return };
        let Some(queue) = topic.queue(level as i32) else { return };
        let from = from.max(min);
        if let Look::Older(chain) = queue.index.look(from) {
            if self.due_at[level] <= now {
                self.delivering[level] = true;
                let token = self.pending.load(Continuation::DelayedEntries { level, from, chain });
                let of = (ByteString::from_static(SCHEDULE_TOPIC), level as i32);
                let item = LoadItem::Entries { of, chain, from, count: SCHEDULE_STEP_MAX };
                out.loads.push(Load { token, items: vec![item] });
            }
            return;
        }
        let entries = queue.index.range(from, queue.visible).take(SCHEDULE_STEP_MAX);
        let due = due(entries, now - delay);
        if due.is_empty() {
            return;
        }
        let hot: Option<Vec<Bytes>> =
            due.iter().map(|place| self.tail.get(place.offset, place.size)).collect();
        if let Some(records) = hot {
            let records: Vec<Loaded> =
                records.into_iter().map(|bytes| Some(bytes).into()).collect();
            self.deliver(level, from, &records, now);
            return;
        }
        if self.due_at[level] > now {
            return; // They could not be read a moment ago.
        }
        self.delivering[level] = true;
        let token = self.pending.load(Continuation::Delayed { level, from });
        out.loads.push(Load { token, items: due.into_iter().map(LoadItem::Place).collect() });
    }

    /// The entries of a level's next messages are here: those that are due are read.
    pub(crate) fn deliver_entries(
        &mut self,
        level: usize,
        (from, chain): (i64, Chain),
        answers: &[Loaded],
        now: i64,
        out: &mut Output,
    ) {
        self.delivering[level] = false;
        let delay = self.config.delay_levels_ms[level];
        let Some(Loaded::Entries(entries)) = answers.first() else {
            // The trouble was reported. It is tried again, but not at once.
            self.due_at[level] = now + RETRY_MS;
            return;
        };
        let Some((first, entry)) = entries.first() else {
            let topic = self.state.topics.by_name(SCHEDULE_TOPIC);
            let Some(queue) = topic.and_then(|topic| topic.queue(level as i32)) else { return };
            // Damage took them; unless the block was deleted meanwhile: then there are other ones.
            if queue.index.look(from) == Look::Older(chain) {
                let offset = queue.index.first_here();
                self.change(&Change::Delayed { level: level as u8 + 1, offset }, now);
            }
            return;
        };
        self.due_at[level] = entry.store_timestamp + delay;
        // Those behind a gap come with the next look: what is delivered is counted on from the first one.
        let run = (*first..).zip(entries).take_while(|(expected, (offset, _))| expected == offset);
        let due = due(run.map(|(_, entry)| *entry), now - delay);
        if due.is_empty() {
            return;
        }
        self.delivering[level] = true;
        let token = self.pending.load(Continuation::Delayed { level, from: *first });
        out.loads.push(Load { token, items: due.into_iter().map(LoadItem::Place).collect() });
    }

    /// The due messages of a level are here. One that is damaged is skipped, which was reported when it was
    /// found; one that could not be read is tried again, with those behind it.
    pub(crate) fn deliver(&mut self, level: usize, from: i64, records: &[Loaded], now: i64) {
        self.delivering[level] = false;
        for (offset, record) in (from + 1..).zip(records) {
            if *record == Loaded::NotNow {
                self.due_at[level] = now + RETRY_MS;
                break;
            }
            let view = record.record().and_then(|record| View::parse(&record.bytes).ok());
            if let Some(view) = view
                && self.deliver_one(&view, now).is_err()
            {
                break; // No room: the rest stays due.
            }
            self.change(&Change::Delayed { level: level as u8 + 1, offset }, now);
        }
    }

    fn deliver_one(
        &mut self,
        view: &View<'_>,
        now: i64,
    ) -> Result<(), kerolox_log::append::AppendError> {
        let real_topic = properties::get(view.properties, REAL_TOPIC).unwrap_or("");
        let real_queue = properties::get(view.properties, REAL_QID).and_then(|q| q.parse().ok());
        // The topic may be gone since: then there is nobody to deliver to.
        let Some(id) = self.state.topics.find(real_topic) else { return Ok(()) };
        let Some(topic) = self.state.topics.get(id) else { return Ok(()) };
        let queues = topic.config.write_queue_nums.max(topic.config.read_queue_nums);
        let queue: i32 = real_queue.filter(|q| (0..queues).contains(q)).unwrap_or(0);
        let name = topic.config.topic_name.clone();
        let mut record = view.to_new();
        record.topic = &name;
        record.queue_id = queue;
        self.log.keep_together(record.size(), 1, NOTE_BYTES);
        let (appended, _) = self.store(id, &record, now)?;
        self.count_stored(id, 1, u64::from(appended.size));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use kerolox_log::append::Appender;
    use kerolox_log::disk::fault::FaultDisk;
    use kerolox_log::files::Files;
    use kerolox_log::identity::Identity;
    use kerolox_log::recover;

    use super::*;
    use crate::config::Config;
    use crate::keeper::{Found, Keeper};
    use crate::turn::Closed;

    fn engine() -> Engine {
        let (dir, config) = (Path::new("/data"), Config::default());
        let identity = Identity { number: [7; 16], writer: 1 };
        let disk = Arc::new(FaultDisk::default());
        let files = Arc::new(Files::open(disk, dir, 64 << 10).unwrap());
        let found = Keeper::open(files.clone(), dir.to_owned(), identity, &config);
        let Found { keeper, mut state, origin, .. } = found.unwrap_or_else(|e| panic!("{e}"));
        let recovered = recover::recover(&files, dir, &identity, origin, &mut state);
        let (resume, report) = recovered.unwrap();
        let log = Appender::new(identity, 64 << 10, resume);
        Engine::new(config, state, log, keeper.blocks, &report)
    }

    /// What is read during a stop came too late for the log, and was noted as delivered all the same.
    #[test]
    fn nothing_is_delivered_behind_the_last_seal() {
        let (mut engine, mut out) = (engine(), Output::default());
        let token = engine.pending.load(Continuation::Delayed { level: 2, from: 0 });
        engine.set_closed(Some(Closed::Over));
        engine.set_closed(None);
        engine.loaded(token, &[Loaded::Nothing], 1000, &mut out);
        engine.deliver_due(1000, &mut out);
        assert_eq!(engine.state.delayed[2], 0);
        assert!(engine.takes_no_changes().is_some());
    }

    /// What the disk did not give now is not given up: the message stays due, with those behind it.
    #[test]
    fn a_delayed_message_that_may_be_read_later_is_not_passed_over() {
        let mut engine = engine();
        engine.deliver(2, 0, &[Loaded::Nothing, Loaded::NotNow, Loaded::Nothing], 1000);
        assert_eq!((engine.state.delayed[2], engine.due_at[2]), (1, 1000 + RETRY_MS));
        engine.deliver(2, 1, &[Loaded::Nothing], 3000);
        assert_eq!(engine.state.delayed[2], 2);
    }
}
