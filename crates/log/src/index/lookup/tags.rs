//! Messages of a queue by tag: no index of their own, as each entry of a queue has its tag's hash.

use std::ops::RangeInclusive;

use super::{Blocks, Of};
use crate::index::block::{BlockError, Chain};
use crate::index::queue::Entry;

/// Entries that are read at once.
const STEP: usize = 4096;

/// Which messages of a queue are sought.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// See [`Entry::tags_code`].
    pub code: i32,
    /// Store times, in ms since 1970.
    pub times: RangeInclusive<i64>,
    /// Messages that are wanted at most.
    pub max: usize,
}

/// How much a search may look through, or has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    pub entries: usize,
    /// Of a sparse queue each block has few entries, and costs a few pages all the same.
    pub blocks: usize,
}

/// What was found, the newest first, and at what effort.
#[derive(Debug, Default)]
pub struct TaggedFound {
    pub entries: Vec<Entry>,
    pub spent: Effort,
}

impl Tagged {
    /// Whether an entry may be of a message that is sought. That of a lost message has no size.
    pub fn is(&self, entry: &Entry) -> bool {
        let in_time = self.times.contains(&entry.store_timestamp);
        entry.tags_code == self.code && entry.place.size > 0 && in_time
    }
}

impl Blocks {
    /// The newest messages of a queue that are sought, at offsets from `min` up to below `end`, as far back as
    /// the effort goes.
    pub fn tagged(
        &self,
        of: (&str, i32),
        chain: Chain,
        (min, mut end): (i64, i64),
        sought: &Tagged,
        most: Effort,
    ) -> Result<TaggedFound, BlockError> {
        if let Some(behind) = sought.times.end().checked_add(1) {
            end = end.min(self.seek_time(of, chain, behind)?.unwrap_or(end));
        }
        let Chain { newest, origin } = chain;
        let of = Of::new(of, origin);
        let mut found = TaggedFound::default();
        let mut at = self.follow(of, newest, end - 1)?;
        while found.spent.blocks < most.blocks {
            let Some((mut block, row)) = at else { break };
            found.spent.blocks += 1;
            let first = row.first.max(min);
            while end > first {
                let step = STEP.min(most.entries - found.spent.entries).min((end - first) as usize);
                let from = end - step as i64;
                let entries = block.entries(&row, from, step)?;
                found.spent.entries += step;
                let here = entries.iter().rev().filter(|entry| entry.place.offset.0 >= origin);
                let room = sought.max - found.entries.len();
                found.entries.extend(here.filter(|entry| sought.is(entry)).take(room));
                let is_older = |entry: &Entry| entry.store_timestamp < *sought.times.start();
                if found.entries.len() >= sought.max
                    || found.spent.entries >= most.entries
                    || entries.first().is_some_and(is_older)
                {
                    return Ok(found);
                }
                end = from;
            }
            if row.first <= min {
                break;
            }
            end = end.min(row.first);
            at = self.step_back(of, &row, |_| false, |_| true)?;
            if let Some((_, older)) = &at {
                end = end.min(older.end());
            }
        }
        Ok(found)
    }
}
