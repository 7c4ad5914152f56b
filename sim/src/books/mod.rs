//! The books: an account of its own of everything that the broker was asked and answered, and of
//! what must therefore be there after a crash.
//!
//! In: requests and their replies, each with its place in the log; where a recovery let the log
//! end. Out: the first broken promise.
//!
//! The log is a prefix of what was appended: of everything that has a place, what lies below the
//! recovered end must be there, and nothing else. What was acknowledged, or shown to a consumer,
//! is a promise that the end lies behind it.
//!
//! - [`messages`]: what was sent, where it was stored, who saw it.
//! - [`settings`]: topics, groups, KV entries.
//! - [`commits`]: how far groups are.
//! - [`served`]: records as a reply holds them.
//! - [`audit`]: everything that the broker can be asked, compared with all of that.

pub(crate) mod audit;
pub(crate) mod commits;
pub(crate) mod messages;
pub(crate) mod served;
pub(crate) mod settings;

use std::collections::{BTreeMap, BTreeSet};

use crate::books::commits::Commits;
use crate::books::messages::Messages;
use crate::books::settings::Settings;
use crate::violation::{Checked, ensure};

/// Damage that was done on purpose, so that not everything can be there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Damage {
    /// Positions of records that are lost.
    positions: BTreeSet<u64>,
    /// Their queues and queue offsets, by topic.
    places: BTreeMap<String, BTreeSet<(i32, i64)>>,
    /// State changes were lost: settings and offsets may be older than they should.
    pub(crate) state: bool,
}

impl Damage {
    /// A record is lost.
    pub(crate) fn lose(&mut self, position: u64, topic: &str, queue: i32, offset: i64) {
        self.positions.insert(position);
        self.places.entry(topic.to_owned()).or_default().insert((queue, offset));
    }

    /// What a recovery finds is lost from then on.
    pub(crate) fn add(&mut self, more: &Damage) {
        self.positions.extend(&more.positions);
        self.state |= more.state;
        for (topic, places) in &more.places {
            self.places.entry(topic.clone()).or_default().extend(places);
        }
    }

    /// Whether this place of a queue is lost.
    pub(crate) fn took(&self, topic: &str, queue: i32, offset: i64) -> bool {
        self.places.get(topic).is_some_and(|places| places.contains(&(queue, offset)))
    }

    /// Whether the record at this position is lost.
    pub(crate) fn took_position(&self, position: u64) -> bool {
        self.positions.contains(&position)
    }

    /// Whether anything is lost.
    pub(crate) fn is_any(&self) -> bool {
        self.state || !self.positions.is_empty()
    }
}

/// What a recovery must reach.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Duty {
    /// The log must not end before.
    pub(crate) synced: u64,
    /// Nor before this, unless the power went.
    pub(crate) written: u64,
    /// What had been appended: nothing can lie behind it.
    pub(crate) appended: u64,
    /// The power went under a durability that does not outlive that.
    pub(crate) lossy: bool,
    /// The broker was stopped, not killed.
    pub(crate) clean: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) messages: Messages,
    pub(crate) settings: Settings,
    pub(crate) commits: Commits,
    pub(crate) damage: Damage,
    /// Index blocks were damaged in this run.
    pub(crate) index_is_bad: bool,
    /// The disk fails, or did since the start.
    pub(crate) disk_fails: bool,
    /// Messages below this position of the log may be gone, deleted with their file.
    pub(crate) floor: u64,
    /// The highest position that somebody was told of, and how.
    promised: (u64, String),
    seq: u64,
}

impl Books {
    /// Whether a look-up may be refused: a block that is lost cannot be written again.
    pub(crate) fn excuses_look_ups(&self) -> bool {
        self.index_is_bad && self.disk_fails
    }

    /// The next number in the order of events.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Somebody was told of something that ends at this position of the log.
    pub(crate) fn promise(&mut self, position: u64, what: impl FnOnce() -> String) {
        if position > self.promised.0 {
            self.promised = (position, what());
        }
    }

    /// A topic came, changed or went between two positions of the log.
    pub(crate) fn topic(&mut self, name: &str, config: Option<&settings::Topic>, at: (u64, u64)) {
        let seq = self.next_seq();
        if config.is_none() {
            self.commits.drop_topic(name, at.1);
        }
        self.settings.note(seq, at, settings::What::Topic(name.to_owned(), config.cloned()));
    }

    /// A group came, changed or went; `offsets`: its offsets went with it.
    pub(crate) fn group(
        &mut self,
        name: &str,
        config: Option<&settings::Group>,
        offsets: bool,
        at: (u64, u64),
    ) {
        let seq = self.next_seq();
        if config.is_none() && offsets {
            self.commits.drop_group(name, at.1);
        }
        let config = config.cloned().map(Box::new);
        self.settings.note(seq, at, settings::What::Group(name.to_owned(), config));
    }

    /// A KV entry was set or removed.
    pub(crate) fn kv(&mut self, key: (String, String), value: Option<String>, at: u64) {
        let seq = self.next_seq();
        self.settings.note(seq, (at, at), settings::What::Kv(key, value));
    }

    /// A recovery let the log end at `end`: what lies behind never happened.
    pub(crate) fn recovered(&mut self, end: u64, duty: &Duty) -> Checked {
        let must = if duty.lossy { duty.synced } else { duty.synced.max(duty.written) };
        ensure!(end >= must, "the log ends at {end}, but is confirmed up to {must}");
        ensure!(
            end <= duty.appended,
            "the log ends at {end}, but only {} was ever appended",
            duty.appended
        );
        if !duty.lossy {
            let (promised, what) = &self.promised;
            ensure!(end >= *promised, "the log ends at {end}, but at {promised} is {what}");
        }
        self.promised.0 = self.promised.0.min(end);
        self.messages.truncate(end, duty.lossy);
        self.settings.truncate(end);
        self.commits.truncate(end);
        for group in &self.settings.unsure_groups {
            self.commits.doubt(group);
        }
        Ok(())
    }
}
