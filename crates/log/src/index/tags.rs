//! Messages of a queue by tag: no index of their own, as each entry of a queue has its tag's hash.

use std::ops::RangeInclusive;

use crate::index::block::{BlockError, Chain};
use crate::index::lookup::Blocks;
use crate::index::queue::Entry;

/// Entries that are read at once.
const STEP: i64 = 4096;

/// Which messages of a queue are sought.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// See [`Entry::tags_code`].
    pub code: i32,
    /// Store times, in ms since 1970.
    pub times: RangeInclusive<i64>,
    /// Messages that are wanted at most.
    pub max: usize,
    /// Entries that are looked through at most.
    pub scan: i64,
}

impl Tagged {
    /// Whether an entry may be of a message that is sought. That of a lost message has no size.
    pub fn is(&self, entry: &Entry) -> bool {
        let in_time = self.times.contains(&entry.store_timestamp);
        entry.tags_code == self.code && entry.place.size > 0 && in_time
    }
}

impl Blocks {
    /// The newest messages of a queue that are sought, at offsets from `min` up to below `end`; the newest first.
    pub fn tagged(
        &self,
        of: (&str, i32),
        chain: Chain,
        (min, end): (i64, i64),
        sought: &Tagged,
    ) -> Result<Vec<Entry>, BlockError> {
        let behind = sought.times.end().saturating_add(1);
        let mut end = self.seek_time(of, chain, behind)?.map_or(end, |offset| offset.min(end));
        let Some(first) = self.seek_time(of, chain, *sought.times.start())? else {
            return Ok(Vec::new());
        };
        let min = min.max(first).max(end.saturating_sub(sought.scan));
        let mut found = Vec::new();
        while end > min && found.len() < sought.max {
            let from = min.max(end - STEP);
            let entries = self.entries(of, chain, from, (end - from) as usize)?;
            let here = entries.iter().rev().filter(|(at, entry)| *at < end && sought.is(entry));
            found.extend(here.map(|(_, entry)| *entry).take(sought.max - found.len()));
            end = from;
        }
        Ok(found)
    }
}
