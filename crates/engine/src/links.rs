//! The links of a snapshot into index blocks: whether they are right, and new ones after the blocks
//! were made again. For `kerolox log`; a broker makes and reads snapshots as they are.

use std::collections::BTreeMap;

use kerolox_log::index::block::{BlockError, NewBlock, NewQueue};
use kerolox_log::index::lookup::Blocks;
use kerolox_log::index::queue::Older;
use kerolox_log::index::verify::{Place, wrong_place};
use kerolox_log::snapshot::Snapshot;

use crate::change::{Change, QueueKnown};

/// What is wrong with a snapshot that is whole.
pub fn finding(snapshot: &Snapshot, blocks: &Blocks) -> Result<Option<String>, BlockError> {
    let Some(changes) = split(&snapshot.state) else {
        return Ok(Some("its state ends in the middle of a change".to_owned()));
    };
    let places = changes.into_iter().filter_map(|change| match Change::decode(change) {
        Some(Change::Queue { topic, queue, known: QueueKnown { older: Some(older), .. } }) => {
            Some(Place {
                topic: topic.into_owned(),
                queue,
                block: older.link.block,
                slot: older.link.slot,
                ordinals: older.link.ordinal..=older.link.ordinal,
                there: None,
            })
        }
        _ => None,
    });
    wrong_place(blocks, places.collect())
}

/// The same state with links into the blocks that are there now; `None` if that changes nothing.
pub fn relinked(snapshot: &Snapshot, blocks: &Blocks) -> Result<Option<Snapshot>, BlockError> {
    let changes = split(&snapshot.state).unwrap_or_default();
    let mut wanted = NewBlock { begin: snapshot.origin.position.0, ..NewBlock::default() };
    for change in &changes {
        if let Some(Change::Queue { topic, queue, known }) = Change::decode(change)
            && known.older.is_some()
        {
            let first = NewQueue { first: known.next, ..NewQueue::default() };
            wanted.queues.insert((topic.into_owned(), queue), first);
        }
    }
    let found = blocks.older(&wanted)?;
    // When the last message before each link was stored, block by block.
    let mut links: Vec<_> = found.into_iter().collect();
    links.sort_by_key(|(_, (link, _))| link.block);
    let mut older = BTreeMap::new();
    for links in links.chunk_by(|(_, (a, _)), (_, (b, _))| a.block == b.block) {
        let Some((_, (first, _))) = links.first() else { continue };
        let mut block = blocks.block(first.block)?;
        for (at, (link, origin)) in links {
            let last_time = block.row(link.slot)?.last_time;
            older.insert(at.clone(), (Older { link: *link, last_time }, *origin));
        }
    }
    let mut state = Vec::with_capacity(snapshot.state.len());
    for change in changes {
        let changed = match Change::decode(change) {
            Some(Change::Queue { topic, queue, mut known }) if known.older.is_some() => {
                let now = older.get(&(topic.clone().into_owned(), queue));
                known.older = now.map(|(older, _)| *older);
                known.origin = now.map_or(known.origin, |(_, origin)| *origin);
                Change::Queue { topic, queue, known }.encode()
            }
            _ => change.to_vec(),
        };
        state.extend_from_slice(&(changed.len() as u32).to_be_bytes());
        state.extend_from_slice(&changed);
    }
    Ok((state != snapshot.state).then_some(Snapshot { origin: snapshot.origin, state }))
}

/// The changes of a dump; `None` if it is cut.
fn split(mut dump: &[u8]) -> Option<Vec<&[u8]>> {
    let mut changes = Vec::new();
    while !dump.is_empty() {
        let (size, rest) = dump.split_first_chunk::<4>()?;
        let (change, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        changes.push(change);
        dump = rest;
    }
    Some(changes)
}
