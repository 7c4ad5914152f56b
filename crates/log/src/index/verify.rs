//! Whether index blocks are what the log says: for `kerolox log check`.
//!
//! In: the blocks of a stopped directory. Out: what is wrong, block by block. Each stretch is read
//! from the log once more, as when its block was made. Changes nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::PhysicalOffset;
use crate::files::Files;
use crate::index::block::{BlockError, BlockFile, NewBlock, Row};
use crate::index::build::stretch_end;
use crate::index::lookup::Blocks;
use crate::recover::{Origin, RecoverError};
use crate::seal::Link;

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Blocks that were looked at.
    pub blocks: usize,
    /// Where stretches end, and the seal before that.
    pub ends: BTreeMap<u64, Option<Link>>,
    /// Where the log is damaged, a block cannot be held against it.
    pub damaged_stretches: usize,
    /// Each names its block.
    pub findings: Vec<String>,
}

/// Findings that are told: an index that is damaged more often is made again as a whole.
const FINDINGS_MAX: usize = 1000;

/// Looks at all blocks. `needed`: stretches below must have a block, because a snapshot counts on
/// them; so must those before any block that is there. `progress`: position, and where it ends.
pub fn verify(
    blocks: &Blocks,
    needed: PhysicalOffset,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, RecoverError> {
    let files = blocks.files();
    let first = files.first().unwrap_or_default();
    let mut verified = Verified::default();
    // A start removes those of files that are gone.
    let mut left: Vec<u64> = blocks.begins().into_iter().filter(|at| *at >= first.0).collect();
    let wanted = left.last().map_or(0, |last| last + 1).max(needed.0);
    let mut at = Origin::file(first);
    while at.position.0 < wanted {
        progress(at.position.0, wanted);
        let begin = at.position;
        let new = blocks.collect(at)?;
        left.retain(|at| *at != begin.0);
        verified.stretch(blocks, &new);
        at = new.origin();
        if at.position < stretch_end(files, begin) {
            // The log ends.
            break;
        }
        verified.ends.insert(at.position.0, at.before);
    }
    for begin in left {
        verified.find(begin, "no stretch of the log begins there");
    }
    Ok(verified)
}

impl Verified {
    fn find(&mut self, begin: u64, what: impl std::fmt::Display) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(format!("index block {begin:020}: {what}"));
        }
    }

    fn stretch(&mut self, blocks: &Blocks, new: &NewBlock) {
        let begin = new.begin;
        self.damaged_stretches += usize::from(!new.lost.is_empty());
        if new.end < stretch_end(blocks.files(), PhysicalOffset(begin)).0 {
            if blocks.begins().binary_search(&begin).is_ok() {
                self.find(begin, "the log ends before the block does");
            }
            return;
        }
        let mut block = match blocks.block(begin) {
            Ok(block) => block,
            Err(BlockError::Missing(_)) => return self.find(begin, "is not there"),
            Err(BlockError::Damaged(_)) => {
                return self.find(begin, "its head or its size is damaged");
            }
            Err(other) => return self.find(begin, other),
        };
        self.blocks += 1;
        if let Some(page) = block.bad_page() {
            return self.find(begin, format_args!("page {page} is damaged"));
        }
        match differs(&mut block, new).and_then(|differs| match differs {
            None => leads_astray(blocks, &mut block),
            differs => Ok(differs),
        }) {
            Ok(None) => {}
            Ok(Some(what)) => self.find(begin, what),
            Err(e) => self.find(begin, e),
        }
    }
}

/// How a block differs from the log. Where the log is damaged, the block may know more.
fn differs(block: &mut BlockFile<'_>, new: &NewBlock) -> Result<Option<String>, BlockError> {
    let whole = new.lost.is_empty();
    let rows = block.directory()?;
    let of_rows = rows.iter().map(|(topic, row)| (topic.as_str(), row.queue));
    let of_log = new.queues.keys().map(|(topic, queue)| (topic.as_str(), *queue));
    let (found, mut wanted) = (block.head.origin(), new.origin());
    // Of what Apache's broker wrote no seal may be known before.
    wanted.before = wanted.before.or(found.before);
    if whole && (found != wanted || !block.has_keys_and_changes_of(new)?) {
        return Ok(Some("its end, keys or state changes are not those of the log".to_owned()));
    }
    if whole && !of_rows.eq(of_log) {
        return Ok(Some("its queues are not those of the log".to_owned()));
    }
    for ((topic, queue), of_log) in &new.queues {
        let different = || Ok(Some(format!("{topic}/{queue} is not as in the log")));
        let at = rows.binary_search_by(|(t, row)| (t, row.queue).cmp(&(topic, *queue)));
        let Some((_, row)) = at.ok().and_then(|at| rows.get(at)) else { return different() };
        if whole && (row.first != of_log.first || row.end() != of_log.end()) {
            return different();
        }
        let entries = block.entries(row, row.first, row.count as usize)?;
        for (offset, entry) in (of_log.first..).zip(&of_log.entries) {
            let at = usize::try_from(offset.saturating_sub(row.first)).unwrap_or(usize::MAX);
            // What damage took of the log may be in the block.
            let lost = !whole && entry.place.size == 0;
            if !lost && entries.get(at) != Some(entry) {
                return different();
            }
        }
    }
    Ok(None)
}

/// A row that leads to a place in an older block which is not the same queue's.
fn leads_astray(blocks: &Blocks, block: &mut BlockFile<'_>) -> Result<Option<String>, BlockError> {
    let mut places = Vec::new();
    for (topic, row) in block.directory()? {
        let Row { queue, ordinal, prev, jump, .. } = row;
        let place = |block, slot, there| Place {
            topic: topic.clone(),
            queue,
            block,
            slot,
            ordinals: 0..=ordinal.saturating_sub(1),
            there,
        };
        places.extend(prev.map(|(block, slot)| place(block, slot, None)));
        places.extend(
            jump.map(|jump| place(jump.block, jump.slot, Some((jump.end, jump.last_time)))),
        );
    }
    wrong_place(blocks, places)
}

/// Where a queue's row should be.
#[derive(Debug, Clone)]
pub struct Place {
    pub topic: String,
    pub queue: i32,
    pub block: u64,
    pub slot: u32,
    pub ordinals: RangeInclusive<u32>,
    /// Behind the queue's last message there, and when that was stored, where that is known.
    pub there: Option<(i64, i64)>,
}

/// The first place at which another row is, if there is one. Blocks that are deleted, or that are
/// told of on their own, are passed over. Each block is read once.
pub fn wrong_place(blocks: &Blocks, mut places: Vec<Place>) -> Result<Option<String>, BlockError> {
    places.sort_by_key(|place| place.block);
    for places in places.chunk_by(|a, b| a.block == b.block) {
        let Some(begin) = places.first().map(|place| place.block) else { continue };
        let rows = match blocks.block(begin).and_then(|mut block| block.directory()) {
            Err(BlockError::Missing(_) | BlockError::Damaged(_)) => continue,
            rows => rows?,
        };
        for Place { topic, queue, slot, ordinals, there, .. } in places {
            let is_there = |(of, row): &(String, Row)| {
                of == topic
                    && row.queue == *queue
                    && ordinals.contains(&row.ordinal)
                    && there.is_none_or(|there| there == (row.end(), row.last_time))
            };
            if !rows.get(*slot as usize).is_some_and(is_there) {
                return Ok(Some(format!("{topic}/{queue} leads to a wrong place in {begin:020}")));
            }
        }
    }
    Ok(None)
}

/// Whether a position is where some stretch ends, as far as that is known; and behind which seal.
pub fn ends_at(files: &Files, verified: &Verified, origin: &Origin) -> Result<(), &'static str> {
    let first = files.first().unwrap_or_default();
    if origin.position <= first || verified.damaged_stretches > 0 {
        return Ok(());
    }
    match verified.ends.get(&origin.position.0) {
        None => Err("its position is not where a stretch of the log ends"),
        // Of what Apache's broker wrote no seal may be known before.
        Some(before) if before.is_some() && *before != origin.before => {
            Err("the seal before its position is not the one of the log")
        }
        Some(_) => Ok(()),
    }
}
