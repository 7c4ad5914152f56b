//! Delayed messages that can never be delivered, because their log files are gone.
//!
//! In: the state after a start's walk, and what index blocks of those files are left. Out: which
//! messages, and when they were due, as far as the blocks tell.

use std::collections::BTreeMap;

use kerolox_log::PhysicalOffset;
use kerolox_log::index::block::BlockError;
use kerolox_log::index::lookup::Blocks;
use kerolox_protocol::names::SCHEDULE_TOPIC;

use crate::limits::LOST_DELAYS_MAX;
use crate::state::State;

/// One message. Its own topic stood in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostDelay {
    /// From 1, as in the property `DELAY`.
    pub level: usize,
    /// In the level's queue.
    pub offset: i64,
    /// In ms since 1970, if that is known.
    pub due: Option<i64>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostDelays {
    /// The first ones of each level.
    pub named: Vec<LostDelay>,
    /// How many more there are.
    pub more: u64,
}

impl LostDelays {
    /// Finds them. `first`: where the log begins.
    pub(crate) fn find(
        blocks: &Blocks,
        first: PhysicalOffset,
        state: &State,
        delays_ms: &[i64],
    ) -> LostDelays {
        let mut lost = LostDelays::default();
        let Some(topic) = state.topics.by_name(SCHEDULE_TOPIC) else { return lost };
        for ((at, from), delay_ms) in state.delayed.iter().enumerate().zip(delays_ms) {
            let queue = at as i32;
            let end = topic.queue(queue).map_or(0, |queue| queue.index.min());
            let missing = end.saturating_sub(*from);
            if missing <= 0 {
                continue;
            }
            let room = LOST_DELAYS_MAX - lost.named.len();
            let named = missing.min(room as i64);
            let stored = stored(blocks, first, queue, *from, named as usize);
            lost.named.extend((*from..from + named).map(|offset| {
                let due = stored.get(&offset).map(|stored| stored.saturating_add(*delay_ms));
                LostDelay { level: at + 1, offset, due }
            }));
            lost.more += (missing - named) as u64;
        }
        lost
    }
}

/// When messages of a level were stored, by offset, as far as blocks below `first` tell.
fn stored(
    blocks: &Blocks,
    first: PhysicalOffset,
    queue: i32,
    from: i64,
    count: usize,
) -> BTreeMap<i64, i64> {
    let mut times = BTreeMap::new();
    for begin in blocks.begins().into_iter().take_while(|begin| *begin < first.0) {
        if count == 0 || times.contains_key(&(from + count as i64 - 1)) {
            break;
        }
        let entries = blocks.block(begin).and_then(|mut block| {
            let Some((_, row)) = block.find(SCHEDULE_TOPIC, queue)? else { return Ok(Vec::new()) };
            let at = from.max(row.first);
            let entries = block.entries(&row, at, count)?;
            Ok::<_, BlockError>((at..from + count as i64).zip(entries).collect())
        });
        // A bad block tells nothing, and cannot be made again.
        times.extend(entries.into_iter().flatten().map(|(at, entry)| (at, entry.store_timestamp)));
    }
    times
}
