//! How far each group is in each queue: every commit, and since when the log must hold it.
//!
//! In: commits with the time that had passed; ticks with the log's end. Out: which offsets a
//! broker may name after a crash: the last one that the log must hold, or a later one.

use std::collections::BTreeMap;

use crate::violation::{Checked, ensure};

/// Group, topic, queue.
pub(crate) type Key = (String, String, i32);

/// The broker writes commits at least this often, in ms.
const WRITTEN_AFTER_MS: i64 = 1_000;

#[derive(Debug, Clone, Copy)]
struct Commit {
    /// `None`: there is none.
    value: Option<i64>,
    /// When it was made: the time that had passed.
    at: i64,
    /// The log holds it if it ends here or behind.
    due: Option<u64>,
    /// It is not coalesced: if the log ends before `due`, it never happened.
    exact: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    by_key: BTreeMap<Key, Vec<Commit>>,
}

impl Commits {
    fn history(&mut self, key: &Key) -> &mut Vec<Commit> {
        let none = Commit { value: None, at: 0, due: Some(0), exact: false };
        self.by_key.entry(key.clone()).or_insert_with(|| vec![none])
    }

    /// A group committed an offset. It may be lost for a moment.
    pub(crate) fn commit(&mut self, key: &Key, value: i64, at: i64) {
        let commit = Commit { value: Some(value), at, due: None, exact: false };
        self.history(key).push(commit);
    }

    /// An offset was set, or removed, by something that stands in the log at `due`.
    pub(crate) fn set(&mut self, key: &Key, value: Option<i64>, due: u64) {
        self.history(key).push(Commit { value, at: 0, due: Some(due), exact: true });
    }

    /// A topic is gone, and every group's offsets in it.
    pub(crate) fn drop_topic(&mut self, topic: &str, due: u64) {
        self.drop_where(|key| key.1 == topic, due);
    }

    /// A group is gone, and its offsets.
    pub(crate) fn drop_group(&mut self, group: &str, due: u64) {
        self.drop_where(|key| key.0 == group, due);
    }

    fn drop_where(&mut self, is: impl Fn(&Key) -> bool, due: u64) {
        let gone = Commit { value: None, at: 0, due: Some(due), exact: true };
        for (_, history) in self.by_key.iter_mut().filter(|(key, _)| is(key)) {
            history.push(gone);
        }
    }

    /// The broker ticked: what was committed a second ago is in the log, which is confirmed with
    /// `position`.
    pub(crate) fn ticked(&mut self, elapsed: i64, position: u64) {
        for history in self.by_key.values_mut() {
            for commit in history.iter_mut().rev().take_while(|commit| commit.due.is_none()) {
                if commit.at + WRITTEN_AFTER_MS <= elapsed {
                    commit.due = Some(position);
                }
            }
        }
    }

    /// The wall clock was set back: the broker may count a second anew.
    pub(crate) fn clock_stepped(&mut self, elapsed: i64) {
        for history in self.by_key.values_mut() {
            for commit in history.iter_mut().rev().take_while(|commit| commit.due.is_none()) {
                commit.at = elapsed;
            }
        }
    }

    /// A clean stop: everything is in the log.
    pub(crate) fn stopped(&mut self) {
        self.ticked(i64::MAX, 0);
    }

    /// The log ends here.
    pub(crate) fn truncate(&mut self, end: u64) {
        for history in self.by_key.values_mut() {
            history.retain(|commit| !commit.exact || commit.due.is_none_or(|due| due <= end));
            let held = history.iter().rposition(|commit| commit.due.is_some_and(|due| due <= end));
            history.drain(..held.unwrap_or(0));
        }
    }

    /// Only the broker knows what became of a group's offsets.
    pub(crate) fn doubt(&mut self, group: &str) {
        for (_, history) in self.by_key.iter_mut().filter(|(key, _)| key.0 == group) {
            history.push(Commit { value: None, at: 0, due: None, exact: false });
        }
    }

    /// Every key with a history.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.by_key.keys().cloned().collect()
    }

    /// Compares what the broker says, right after a recovery, and goes on from there.
    pub(crate) fn check(&mut self, key: &Key, actual: Option<i64>, doubtful: bool) -> Checked {
        let history = self.history(key);
        let known = history.iter().any(|commit| commit.value == actual);
        ensure!(
            known || doubtful,
            "the offset of {key:?} is {actual:?}; committed and not overtaken: {:?}",
            history.iter().map(|commit| commit.value).collect::<Vec<_>>()
        );
        history.clear();
        history.push(Commit { value: actual, at: 0, due: Some(0), exact: false });
        Ok(())
    }

    /// Compares what a broker says that was not restarted: exactly the last commit.
    pub(crate) fn check_last(&mut self, key: &Key, actual: Option<i64>) -> Checked {
        let last = self.history(key).last().and_then(|commit| commit.value);
        ensure!(last == actual, "the offset of {key:?} is {actual:?}, committed was {last:?}");
        Ok(())
    }
}
