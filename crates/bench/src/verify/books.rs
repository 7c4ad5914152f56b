//! The comparison itself: pure. In: ledgers, and every message that the queues hold, each queue's
//! in the order of its offsets. Out: a [`Report`].

use std::collections::{HashMap, HashSet};

use kerolox_protocol::record::View;
use serde::Serialize;

use crate::body::{HEADER_SIZE, Identity, filler};
use crate::ledger::{Ack, Ledger};
use crate::set::Set;

/// Violations that are told one by one.
const EXAMPLES_MAX: usize = 10;

/// A queue that the ledgers name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) broker: String,
    pub(crate) queue: i32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} queue {} on {}", self.topic, self.queue, self.broker)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Messages in the ledgers.
    pub acknowledged: u64,
    /// Of those, the ones at their offset with the body that was sent.
    pub found: u64,
    /// Acknowledged, but nowhere.
    pub lost: u64,
    /// Acknowledged, but elsewhere.
    pub misplaced: u64,
    /// Present more often than once, acknowledged or not.
    pub doubled: u64,
    /// Behind a later message of the same connection, in the same queue.
    pub out_of_order: u64,
    /// Present, but the body is not what was sent, or does not agree with its CRC.
    pub damaged: u64,
    /// Offsets without a message between a queue's first and last.
    pub gaps: u64,
    /// Present though never acknowledged: allowed, once each.
    pub unacknowledged_present: u64,
    /// Messages of other runs.
    pub foreign: u64,
    /// The first violations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

impl Report {
    /// What must be 0.
    pub fn violations(&self, allow_reorder: bool) -> u64 {
        let order = if allow_reorder { 0 } else { self.out_of_order };
        self.lost + self.misplaced + self.doubled + self.damaged + self.gaps + order
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { acknowledged, found, lost, misplaced, doubled, out_of_order, .. } = self;
        let Report { damaged, gaps, unacknowledged_present, foreign, .. } = self;
        write!(
            f,
            "verify    {acknowledged} acknowledged, {found} found, {lost} lost, {misplaced} misplaced, \
             {doubled} doubled, {out_of_order} out of order, {damaged} damaged, {gaps} gaps, \
             {unacknowledged_present} unacknowledged but present, {foreign} of other runs"
        )?;
        self.examples.iter().try_for_each(|example| write!(f, "\n          {example}"))
    }
}

/// Everything that was acknowledged, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Books {
    runs: HashMap<u64, Run>,
    places: Vec<Place>,
    /// Sorted by place and offset.
    entries: Vec<Entry>,
    acknowledged: Set,
    seen: Set,
    report: Report,
}

#[derive(Debug)]
struct Run {
    size: usize,
    filler: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    place: usize,
    found: bool,
    run: u64,
    ack: Ack,
}

/// The way through one queue.
#[derive(Debug)]
pub(crate) struct Scan {
    place: usize,
    /// The first entry of this queue that was not passed yet.
    next: usize,
    last_offset: Option<i64>,
    last_sequence: HashMap<(u64, u32), u64>,
}

impl Books {
    pub(crate) fn new(ledgers: &[Ledger]) -> Self {
        let mut runs = HashMap::new();
        let mut places = HashSet::new();
        for Ledger { header, acks } in ledgers {
            let filler = filler(header.run).take(header.size.saturating_sub(HEADER_SIZE)).collect();
            runs.insert(header.run, Run { size: header.size, filler });
            let place = |broker: usize, queue| Place {
                topic: header.topic.clone(),
                broker: header.brokers[broker].clone(),
                queue,
            };
            for (broker, queues) in header.queues.iter().enumerate() {
                places.extend((0..*queues).map(|queue| place(broker, queue)));
            }
            let named: HashSet<_> = acks.iter().map(|ack| (ack.broker, ack.queue)).collect();
            places.extend(named.into_iter().map(|(b, queue)| place(usize::from(b), queue)));
        }
        let mut places: Vec<_> = places.into_iter().collect();
        places.sort_by(|a, b| (&a.topic, &a.broker, a.queue).cmp(&(&b.topic, &b.broker, b.queue)));
        let number: HashMap<_, _> = places
            .iter()
            .enumerate()
            .map(|(i, p)| ((&p.topic[..], &p.broker[..], p.queue), i))
            .collect();
        let mut entries = Vec::new();
        let mut acknowledged = Set::default();
        for Ledger { header, acks } in ledgers {
            for ack in acks {
                let broker = &header.brokers[usize::from(ack.broker)][..];
                let place = number[&(&header.topic[..], broker, ack.queue)];
                acknowledged.insert(header.run, ack.producer, ack.sequence);
                entries.push(Entry { place, found: false, run: header.run, ack: *ack });
            }
        }
        entries.sort_by_key(|entry| (entry.place, entry.ack.offset));
        let report = Report { acknowledged: entries.len() as u64, ..Report::default() };
        Books { runs, places, entries, acknowledged, seen: Set::default(), report }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Starts with the first message of a place, by its number.
    pub(crate) fn scan(&self, place: usize) -> Scan {
        let next = self.entries.partition_point(|entry| entry.place < place);
        Scan { place, next, last_offset: None, last_sequence: HashMap::new() }
    }

    /// Takes the next message of a queue.
    pub(crate) fn see(&mut self, scan: &mut Scan, message: &View<'_>) {
        let offset = message.queue_offset;
        let place = &self.places[scan.place];
        if let Some(last) = scan.last_offset
            && offset != last + 1
        {
            self.report.gaps += 1;
            self.report.example(|| format!("gap: {place} goes from {last} to {offset}"));
        }
        scan.last_offset = Some(offset);
        let run = Identity::read(message.body).and_then(|id| Some((id, self.runs.get(&id.run)?)));
        let Some((id, run)) = run else {
            self.report.foreign += 1;
            return;
        };

        let sound = message.body_is_sound()
            && message.body.len() == run.size
            && message.body[HEADER_SIZE..] == run.filler;
        if !sound {
            self.report.damaged += 1;
            self.report.example(|| format!("damaged: {place} offset {offset}, {id}"));
        }
        if !self.seen.insert(id.run, id.producer, id.sequence) {
            self.report.doubled += 1;
            self.report.example(|| format!("doubled: {place} offset {offset}, {id}"));
        } else if let Some(last) = scan.last_sequence.insert((id.run, id.producer), id.sequence)
            && last > id.sequence
        {
            self.report.out_of_order += 1;
            self.report
                .example(|| format!("out of order: {place} offset {offset}, {id} after {last}"));
            scan.last_sequence.insert((id.run, id.producer), last);
        }
        if !self.acknowledged.contains(id.run, id.producer, id.sequence) {
            self.report.unacknowledged_present += 1;
        }

        let here = |entry: &Entry| entry.place == scan.place;
        while self.entries.get(scan.next).is_some_and(|e| here(e) && e.ack.offset < offset) {
            scan.next += 1;
        }
        let same_offset = self.entries[scan.next..]
            .iter_mut()
            .take_while(|e| e.place == scan.place && e.ack.offset == offset);
        for entry in same_offset {
            let ack = &entry.ack;
            if (entry.run, ack.producer, ack.sequence) == (id.run, id.producer, id.sequence) {
                entry.found = true;
                if sound && crc32fast::hash(message.body) == ack.crc {
                    self.report.found += 1;
                } else if sound {
                    self.report.damaged += 1;
                    self.report.example(|| format!("damaged: {place} offset {offset}, {id}"));
                }
            }
        }
    }

    /// All queues were read.
    pub(crate) fn finish(mut self) -> Report {
        for entry in self.entries.iter().filter(|entry| !entry.found) {
            let Ack { producer, sequence, .. } = entry.ack;
            let id = Identity { run: entry.run, producer, sequence };
            let elsewhere = self.seen.contains(id.run, producer, sequence);
            let (count, what) = match elsewhere {
                true => (&mut self.report.misplaced, "misplaced"),
                false => (&mut self.report.lost, "lost"),
            };
            *count += 1;
            let place = &self.places[entry.place];
            self.report.example(|| format!("{what}: {place} offset {}, {id}", entry.ack.offset));
        }
        self.report
    }
}

#[cfg(test)]
mod tests;
