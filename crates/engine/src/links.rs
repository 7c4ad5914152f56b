//! The links of a snapshot into index blocks: whether they are right, and new ones after the blocks
//! were made again. For `kerolox log`; a broker makes and reads snapshots as they are.

use std::collections::BTreeMap;

use kerolox_log::index::block::{BlockError, Chain, NewBlock, NewQueue};
use kerolox_log::index::lookup::{AskError, Blocks};
use kerolox_log::index::queue::Older;
use kerolox_log::index::verify::{Place, wrong_place};
use kerolox_log::snapshot::Snapshot;

use crate::change::Change;
use crate::keeper::{KeeperError, failed};

/// What is wrong with a snapshot that is whole.
pub fn finding(snapshot: &Snapshot, blocks: &Blocks) -> Result<Option<String>, BlockError> {
    let mut places = Vec::new();
    let read = snapshot.each(|change| {
        if let Some(Change::Queue { topic, queue, known }) = Change::decode(change)
            && let Some(Older { link, .. }) = known.older
        {
            places.push(Place {
                topic: topic.into_owned(),
                queue,
                block: link.block,
                slot: link.slot,
                ordinals: link.ordinal..=link.ordinal,
                there: None,
            });
        }
    });
    match read {
        Ok(()) => wrong_place(blocks, places),
        Err(why) => Ok(Some(why.to_string())),
    }
}

/// The same state with links into the blocks that are there now; `None` if that changes nothing.
pub fn relinked(snapshot: &Snapshot, blocks: &Blocks) -> Result<Option<Vec<Vec<u8>>>, KeeperError> {
    let mut changes = Vec::new();
    let read = snapshot.each(|change| changes.push(change.to_vec()));
    read.map_err(failed("reading a snapshot"))?;
    let mut wanted = NewBlock { begin: snapshot.origin.position.0, ..NewBlock::default() };
    for change in &changes {
        if let Some(Change::Queue { topic, queue, known }) = Change::decode(change)
            && known.older.is_some()
        {
            let first = NewQueue { first: known.next, ..NewQueue::default() };
            wanted.queues.insert((topic.into_owned(), queue), first);
        }
    }
    let older = older(&wanted, blocks).map_err(AskError::from)?;
    let mut changed = false;
    for change in &mut changes {
        let new = match Change::decode(change) {
            Some(Change::Queue { topic, queue, mut known }) if known.older.is_some() => {
                let now = older.get(&(topic.clone().into_owned(), queue));
                known.older = now.map(|(older, _)| *older);
                known.origin = now.map_or(known.origin, |(_, origin)| known.origin.max(*origin));
                Change::Queue { topic, queue, known }.encode()
            }
            _ => continue,
        };
        changed |= *change != new;
        *change = new;
    }
    Ok(changed.then_some(changes))
}

/// Where the older entries of queues are, and each queue's origin.
type OlderOf = BTreeMap<(String, i32), (Older, u64)>;

fn older(wanted: &NewBlock, blocks: &Blocks) -> Result<OlderOf, BlockError> {
    let found = blocks.older(wanted)?;
    // When the last message before each link was stored, block by block.
    let mut links: Vec<_> = found.into_iter().collect();
    links.sort_by_key(|(_, chain)| chain.newest.block);
    let mut older = BTreeMap::new();
    for links in links.chunk_by(|(_, a), (_, b)| a.newest.block == b.newest.block) {
        let Some((_, Chain { newest: first, .. })) = links.first() else { continue };
        let mut block = blocks.block(first.block)?;
        for (at, Chain { newest: link, origin }) in links {
            let last_time = block.row(link.slot)?.last_time;
            older.insert(at.clone(), (Older { link: *link, last_time }, *origin));
        }
    }
    Ok(older)
}
