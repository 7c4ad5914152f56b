//! Look-ups over blocks as housekeeping makes them.

use std::path::Path;

use super::*;
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, Open};
use crate::files;
use crate::index::block::NewQueue;
use crate::index::keys;
use crate::read::Place;

const DATA_DIR: &str = "/data";
const STRETCH: u64 = 1 << 20;

fn entry(block: u64, n: u64) -> Entry {
    let offset = PhysicalOffset(block * STRETCH + n * 100);
    let place = Place { offset, size: 100, crc: n as u32 };
    Entry { place, tags_code: 0, store_timestamp: (block * 1000 + n) as i64 }
}

/// Blocks as housekeeping makes them; a state change is the name of the topic that it deletes. Queue `q` of the one topic is in every block whose number
/// `q` divides, with two messages each; a key in every block.
fn sparse(disk: &FaultDisk, count: u64, queues: &[i32]) -> (Blocks, Older) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = Path::new(DATA_DIR);
    disk.create_dir(&dir.join(files::DIR)).unwrap();
    // One log file for a few blocks each, or for many: only their names count here.
    let file_size = if count > 100 { 1 << 40 } else { STRETCH };
    for base in (0..count * STRETCH).step_by(file_size as usize) {
        let path = dir.join(files::DIR).join(format!("{base:020}"));
        disk.open(&path, Open::Create).unwrap();
    }
    let files = Arc::new(Files::open(disk, dir, file_size).unwrap());
    let identity = Identity { number: [1; 16], writer: 2 };
    let deleted: DeletedTopic = |change| std::str::from_utf8(change).ok().map(Cow::Borrowed);
    let blocks = Blocks::open(files, dir.to_owned(), identity, deleted).unwrap();
    blocks.reach_to(PhysicalOffset(0));
    let mut older = Older::new();
    for block in 0..count {
        let (begin, end) = (block * STRETCH, (block + 1) * STRETCH);
        let store_timestamp = entry(block, 1).store_timestamp;
        let mut new = NewBlock { begin, end, store_timestamp, ..NewBlock::default() };
        for queue in queues.iter().filter(|queue| block % **queue as u64 == 0) {
            let first = (block / *queue as u64) as i64 * 2;
            let entries = vec![entry(block, 0), entry(block, 1)];
            let queue_of = NewQueue { first, entries, origin: begin, ..NewQueue::default() };
            new.queues.insert(("t".to_owned(), *queue), queue_of);
        }
        // Most queues of a large log are sparse: so many are in this block alone.
        for queue in 0..if count < 10_000 { 0 } else { 10 } {
            let entries = vec![entry(block, 10 + queue as u64)];
            let queue_of = NewQueue { entries, origin: begin, ..NewQueue::default() };
            new.queues.insert((format!("once{block}"), queue), queue_of);
        }
        new.keys.push((keys::hash("t", &format!("k{block}")), begin));
        blocks.lead_back(&mut new, &older).unwrap();
        blocks.add(&new).unwrap();
        for (slot, (at, queue)) in (0..).zip(&new.queues) {
            let newest = Link { block: begin, slot, ordinal: queue.ordinal };
            older.insert(at.clone(), Chain { newest, origin: queue.origin });
        }
    }
    (blocks, older)
}

fn of(queue: i32) -> (&'static str, i32) {
    ("t", queue)
}

fn chain(older: &Older, queue: i32) -> Chain {
    older[&("t".to_owned(), queue)]
}

/// 10,000 blocks, 100,003 queues.
#[test]
fn a_look_up_reads_a_few_pages_of_many_blocks() {
    let (blocks, older) = sparse(&FaultDisk::default(), 10_000, &[1, 7, 500]);
    assert_eq!(older.len(), 100_003);
    let reads = |work: &mut dyn FnMut()| {
        let before = blocks.reads();
        work();
        blocks.reads() - before
    };
    for queue in [1, 7, 500] {
        let last = 9_999 / queue as u64;
        for number in (0..=last).step_by((last / 20).max(1) as usize) {
            let (offset, block) = (number as i64 * 2 + 1, number * queue as u64);
            let chain = chain(&older, queue);
            let needed = reads(&mut || {
                assert_eq!(blocks.entry(of(queue), chain, offset).unwrap(), Some(entry(block, 1)));
            });
            // The head, a row and the entries of at most about the square of the logarithm.
            assert!(needed < 200, "{needed} reads for {queue}:{offset}");
            let time = entry(block, 1).store_timestamp;
            let needed = reads(&mut || {
                assert_eq!(blocks.seek_time(of(queue), chain, time).unwrap(), Some(offset));
            });
            assert!(needed < 400, "{needed} reads for the time of {queue}:{offset}");
        }
    }
    for block in (0..10_000).step_by(997) {
        let (topic, queue) = (format!("once{block}"), (block % 10) as i32);
        let chain = older[&(topic.clone(), queue)];
        let needed = reads(&mut || {
            let found = blocks.entry((&topic, queue), chain, 0).unwrap();
            assert_eq!(found, Some(entry(block, 10 + queue as u64)));
        });
        assert!(needed <= 3, "{needed} reads for {topic}/{queue}");
    }
    let (hash, at) = (keys::hash("t", "k77"), PhysicalOffset(77 * STRETCH));
    let times = 77_000..=77_001;
    assert_eq!(blocks.keys(hash, &times, 10).unwrap(), [at]);
    assert_eq!(blocks.at(at, ("t", 7, 22)).unwrap(), Some(entry(77, 0)));
    assert_eq!(blocks.at(at, ("t", 500, 22)).unwrap(), None);
}

#[test]
fn entries_go_on_over_blocks_and_begin_where_deletion_ended() {
    let (blocks, older) = sparse(&FaultDisk::default(), 40, &[1, 3]);
    let offsets = |queue, from, count| -> Vec<i64> {
        let found = blocks.entries(of(queue), chain(&older, queue), from, count).unwrap();
        found.into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(offsets(3, 5, 4), [5, 6, 7, 8]);
    assert_eq!(offsets(1, 77, 10), [77, 78, 79]);
    assert!(offsets(1, 80, 10).is_empty());
    // A row's jump may lead to what is deleted.
    for block in 0..10 {
        blocks.files().delete(block * STRETCH).unwrap();
        blocks.remove(block * STRETCH).unwrap();
    }
    for from in [0, 5, 19, 20] {
        assert_eq!(offsets(1, from, 2), [20, 21]);
    }
    assert_eq!(offsets(3, 0, 2), [8, 9]);
    assert_eq!(blocks.seek_time(of(1), chain(&older, 1), 0).unwrap(), Some(20));
    assert_eq!(blocks.seek_time(of(1), chain(&older, 1), 39_002).unwrap(), None);
}

#[test]
fn messages_are_found_by_tag_in_sparse_and_dense_blocks() {
    let (blocks, older) = sparse(&FaultDisk::default(), 300, &[1, 3]);
    let find = |queue, range, times, max, scan| {
        let sought = Tagged { code: 0, times, max };
        let most = Effort { entries: scan, blocks: 400 };
        let found = blocks.tagged(of(queue), chain(&older, queue), range, &sought, most).unwrap();
        let at = found.entries.iter().map(|entry| entry.store_timestamp).collect::<Vec<_>>();
        (at, found.spent.entries)
    };
    let always = 0..=i64::MAX;
    // Two in each block: the newest come first, from however many blocks.
    let all: Vec<i64> = (0..300).rev().flat_map(|block| [block * 1000 + 1, block * 1000]).collect();
    assert_eq!(find(1, (0, 600), always.clone(), 1000, 1000), (all.clone(), 600));
    assert_eq!(find(1, (0, 600), always.clone(), 3, 1000).0, all[..3]);
    assert_eq!(find(1, (0, 600), always.clone(), 1000, 201), (all[..201].to_vec(), 201));
    assert_eq!(find(1, (7, 12), always.clone(), 1000, 1000).0, [5001, 5000, 4001, 4000, 3001]);
    assert_eq!(find(3, (0, 200), always.clone(), 2, 1000).0, [297_001, 297_000]);
    // Both ends of the time count, and what lies behind it is not looked through.
    assert_eq!(find(1, (0, 600), 4000..=5000, 9, 3).0, [5000, 4001, 4000]);
    assert_eq!(find(1, (0, 600), 4002..=4999, 9, 9).0, [0; 0]);
    let other = Tagged { code: 1, times: always, max: 9 };
    for (most, spent) in [((1000, 400), (600, 300)), ((1000, 7), (14, 7)), ((5, 400), (5, 3))] {
        let effort = |(entries, blocks)| Effort { entries, blocks };
        let chain = chain(&older, 1);
        let found = blocks.tagged(of(1), chain, (0, 600), &other, effort(most)).unwrap();
        assert_eq!((found.entries.len(), found.spent), (0, effort(spent)));
    }
}

#[test]
fn a_query_by_key_reads_a_bounded_number_of_blocks() {
    const COUNT: u64 = 4 * KEY_BLOCKS_MAX as u64;
    let (blocks, _) = sparse(&FaultDisk::default(), COUNT, &[COUNT as i32]);
    let query = |number: u64, times: RangeInclusive<i64>| {
        let before = blocks.reads();
        let found = blocks.keys(keys::hash("t", &format!("k{number}")), &times, 10).unwrap();
        (found == [PhysicalOffset(number * STRETCH)], blocks.reads() - before)
    };
    let always = i64::MIN..=i64::MAX;
    let (last, old) = (COUNT - 1, COUNT / 8);
    // Nothing is known of the key: a few pages of each block up to the limit.
    let (found, reads) = query(COUNT, always.clone());
    assert!(!found && reads <= 5 * KEY_BLOCKS_MAX as u64, "{reads}");
    assert!(query(last, always.clone()).0);
    assert!(query(COUNT - KEY_BLOCKS_MAX as u64, always.clone()).0);
    assert!(!query(old, always).0);
    // With its time an old one is found all the same, without a look at the newer ones.
    let time = entry(old, 0).store_timestamp;
    let (found, reads) = query(old, time - 1..=time + 1);
    assert!(found && reads < 50, "{reads}");
    let (found, reads) = query(old, time - 1_000_000..=time);
    assert!(found && reads <= 5 * KEY_BLOCKS_MAX as u64, "{reads}");
}

/// A stretch without a message said nothing of its time, and that ended the search.
#[test]
fn a_query_by_key_passes_over_a_block_without_messages() {
    let (blocks, _) = sparse(&FaultDisk::default(), 1, &[1]);
    let (begin, end) = (STRETCH, 2 * STRETCH);
    blocks.files().at_or_make(PhysicalOffset(begin)).unwrap();
    let empty = NewBlock { begin, end, store_timestamp: 9_000, ..NewBlock::default() };
    blocks.add(&empty).unwrap();
    let found = blocks.keys(keys::hash("t", "k0"), &(0..=i64::MAX), 10).unwrap();
    assert_eq!(found, [PhysicalOffset(0)]);
}

/// Seed 85 of the simulation: a jump led to a block that holds the queue no more, and the search
/// ended before the block between.
#[test]
fn a_block_that_was_made_again_without_a_queue_hides_no_other() {
    let disk = FaultDisk::default();
    let (blocks, older) = sparse(&disk, 3, &[1, 2]);
    // Damage to the log took all of queue 1: the other queue stands in its place.
    let entries = vec![entry(0, 0), entry(0, 1)];
    let queues = [(("t".to_owned(), 2), NewQueue { entries, ..NewQueue::default() })].into();
    let again = NewBlock { end: STRETCH, queues, again: true, ..NewBlock::default() };
    blocks.add(&again).unwrap();
    let all = |queue| blocks.entries(of(queue), chain(&older, queue), 0, 10).unwrap();
    let offsets = |queue| all(queue).iter().map(|(offset, _)| *offset).collect::<Vec<_>>();
    assert_eq!((offsets(1), offsets(2)), (vec![2, 3, 4, 5], vec![0, 1, 2, 3]));
    assert_eq!(all(2)[0].1, entry(0, 0));
    assert_eq!(blocks.seek_time(of(1), chain(&older, 1), 0).unwrap(), Some(2));
    // Seed 223: one that follows such a block leads on to what lies before that.
    let queues = [(("t".to_owned(), 2), NewQueue::default())].into();
    let (begin, end) = (2 * STRETCH, 3 * STRETCH);
    let again = NewBlock { begin, end, queues, again: true, ..NewBlock::default() };
    blocks.add(&again).unwrap();
    blocks.files().at_or_make(PhysicalOffset(end)).unwrap();
    let entries = vec![entry(3, 0)];
    let queues = [(("t".to_owned(), 1), NewQueue { first: 6, entries, ..NewQueue::default() })];
    let mut next =
        NewBlock { begin: end, end: end + STRETCH, queues: queues.into(), ..NewBlock::default() };
    blocks.lead_back(&mut next, &older).unwrap();
    assert_eq!(next.queues[&("t".to_owned(), 1)].prev, Some((STRETCH, 0)));
    assert_eq!(blocks.seek_time(of(2), chain(&older, 2), 0).unwrap(), Some(0));
}

/// Adds a block with two messages of queue 1.
fn add(blocks: &Blocks, number: u64, first: i64, older: Option<Chain>) -> (NewBlock, Chain) {
    let (name, begin) = (("t".to_owned(), 1), number * STRETCH);
    let entries = vec![entry(number, 0), entry(number, 1)];
    let queue = NewQueue { first, entries, origin: begin, ..NewQueue::default() };
    let queues = [(name.clone(), queue)].into();
    let mut new = NewBlock { begin, end: begin + STRETCH, queues, ..NewBlock::default() };
    let older = older.into_iter().map(|chain| (name.clone(), chain)).collect();
    blocks.lead_back(&mut new, &older).unwrap();
    blocks.add(&new).unwrap();
    let NewQueue { ordinal, origin, .. } = new.queues[&name];
    (new, Chain { newest: Link { block: begin, slot: 0, ordinal }, origin })
}

/// Seeds 100544 and 101138 of the simulation.
#[test]
fn messages_of_an_earlier_topic_do_not_stand_for_those_that_damage_took() {
    let (blocks, _) = sparse(&FaultDisk::default(), 6, &[7]);
    let (_, old) = add(&blocks, 1, 0, None);
    let (_, old) = add(&blocks, 2, 2, Some(old));
    // The topic was deleted and made again.
    let (first, new) = add(&blocks, 3, 0, None);
    let (_, newer) = add(&blocks, 4, 2, Some(new));
    let offsets = |chain| -> Vec<i64> {
        let found = blocks.entries(of(1), chain, 0, 10).unwrap();
        found.iter().map(|(offset, _)| *offset).collect()
    };
    assert_eq!(offsets(newer), [0, 1, 2, 3]);
    // Damage to the log took the queue from the block that is made again.
    let again = NewBlock { queues: BTreeMap::new(), again: true, ..first };
    blocks.add(&again).unwrap();
    assert_eq!(offsets(newer), [2, 3]);
    assert!(offsets(new).is_empty());
    assert_eq!(blocks.seek_time(of(1), newer, 0).unwrap(), Some(2));
    // What follows leads to neither; nor does what only seems to follow the earlier topic.
    assert_eq!(add(&blocks, 5, 2, Some(new)).0.queues[&("t".to_owned(), 1)].prev, None);
    // Seed 203570: damage took the state changes, too.
    assert_eq!(add(&blocks, 5, 3, Some(old)).0.queues[&("t".to_owned(), 1)].prev, None);
    // The deletion stands in the stretch itself.
    let mut deletes = add(&blocks, 5, 4, None).0;
    deletes.changes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b't']);
    blocks.lead_back(&mut deletes, &[(("t".to_owned(), 1), old)].into()).unwrap();
    assert_eq!(deletes.queues[&("t".to_owned(), 1)].prev, None);
    // A block that was made again without knowing of the deletion leads to a whole one of the earlier topic.
    let (mut astray, behind) = add(&blocks, 5, 4, Some(old));
    assert_eq!(astray.queues[&("t".to_owned(), 1)].prev, Some((2 * STRETCH, 0)));
    astray.again = true;
    blocks.add(&astray).unwrap();
    assert_eq!(offsets(behind), [0, 1, 2, 3, 4, 5]);
    assert_eq!(offsets(Chain { origin: new.origin, ..behind }), [4, 5]);
    // A row that goes on from the earlier topic, in the stretch in which the later one was made.
    let entries = (0..604).map(|n| entry(5, n)).collect();
    let queue = NewQueue { first: 0, entries, ..NewQueue::default() };
    let mixed = NewBlock { queues: [(("t".to_owned(), 1), queue)].into(), ..astray };
    blocks.add(&mixed).unwrap();
    let origin = entry(5, 602).place.offset.0;
    assert_eq!(offsets(Chain { origin, ..behind }), [602, 603]);
}

#[test]
fn a_block_that_is_made_again_leads_to_no_earlier_topic() {
    for deletes in [false, true] {
        let (blocks, _) = sparse(&FaultDisk::default(), 4, &[7]);
        let (_, old) = add(&blocks, 1, 0, None);
        let (begin, end) = (2 * STRETCH, 3 * STRETCH);
        let mut between = NewBlock { begin, end, ..NewBlock::default() };
        if deletes {
            between.changes.extend(begin.to_be_bytes());
            between.changes.extend([0, 0, 0, 1, b't']);
        }
        blocks.add(&between).unwrap();
        // Of the topic that was made again the first two messages are lost.
        let queues = [(("t".to_owned(), 1), NewQueue { first: 2, ..NewQueue::default() })].into();
        let again = NewBlock { begin: end, queues, again: true, ..NewBlock::default() };
        let older = blocks.older(&again).unwrap();
        assert_eq!(older.into_values().next(), (!deletes).then_some(old));
    }
    // Damage took the deletion; the newest block of the earlier topic ends behind this one's begin.
    let (blocks, _) = sparse(&FaultDisk::default(), 5, &[7]);
    let (_, old) = add(&blocks, 1, 0, None);
    add(&blocks, 2, 2, Some(old));
    let queues = [(("t".to_owned(), 1), NewQueue { first: 2, ..NewQueue::default() })].into();
    let again = NewBlock { begin: 4 * STRETCH, end: 5 * STRETCH, queues, ..NewBlock::default() };
    assert!(blocks.older(&again).unwrap().is_empty());
}

#[test]
fn a_block_that_is_gone_is_missed_by_every_look_up() {
    for gone in 0..3 {
        let disk = FaultDisk::default();
        let (blocks, older) = sparse(&disk, 3, &[1]);
        disk.remove(&block::path(&Path::new(DATA_DIR).join(block::DIR), gone * STRETCH)).unwrap();
        let files = blocks.files().clone();
        let identity = Identity { number: [1; 16], writer: 2 };
        let restarted = Blocks::open(files, DATA_DIR.into(), identity, |_| None).unwrap();
        restarted.reach_to(PhysicalOffset(3 * STRETCH));
        let hash = keys::hash("t", &format!("k{gone}"));
        let (offset, at) = (gone as i64 * 2, PhysicalOffset(gone * STRETCH));
        for blocks in [&blocks, &restarted] {
            let missed = |error: Option<BlockError>| {
                let missed = match error {
                    Some(BlockError::Damaged(begin) | BlockError::Missing(begin)) => begin == at.0,
                    _ => false,
                };
                assert!(missed, "block {gone}");
            };
            missed(blocks.entry(of(1), chain(&older, 1), offset).err());
            missed(blocks.keys(hash, &(i64::MIN..=i64::MAX), 10).err());
            missed(blocks.at(at, ("t", 1, offset)).err());
            missed(blocks.check_directories(PhysicalOffset(3 * STRETCH)).err());
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let disk = FaultDisk::default();
    let (blocks, older) = sparse(&disk, 2, &[1]);
    let path = block::path(&Path::new(DATA_DIR).join(block::DIR), STRETCH);
    let whole = disk.content(&path).unwrap();
    let file = disk.open(&path, Open::Write).unwrap();
    for at in (0..whole.len()).step_by(37) {
        file.write_at(&[&[whole[at] ^ 4]], at as u64).unwrap();
        let read = blocks.entry(of(1), chain(&older, 1), 3);
        assert!(matches!(read, Err(BlockError::Damaged(STRETCH))), "{at}: {read:?}");
        file.write_at(&[&whole[at..=at]], at as u64).unwrap();
    }
    assert_eq!(blocks.entry(of(1), chain(&older, 1), 3).unwrap(), Some(entry(1, 1)));
    // Cut, and empty.
    for size in [4095, 0] {
        file.set_size(size).unwrap();
        assert!(matches!(blocks.entry(of(1), chain(&older, 1), 3), Err(BlockError::Damaged(_))));
    }
}

#[test]
fn a_consumer_that_goes_on_finds_what_was_read_ahead() {
    // Two entries of each block are in one page: ten blocks, twenty entries.
    let (blocks, older) = sparse(&FaultDisk::default(), 10, &[1]);
    let take = |from, count| -> Vec<i64> {
        let found = blocks.entries(of(1), chain(&older, 1), from, count).unwrap();
        found.into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(take(4, 1), [4]);
    let before = blocks.reads();
    assert_eq!(take(5, 1), [5]);
    assert_eq!(blocks.reads(), before, "it was read with the one before");
    // Neither does a pull that begins elsewhere get it, nor does one miss what is behind it.
    assert_eq!(take(4, 1), [4]);
    assert_eq!(take(5, 6), [5, 6, 7, 8, 9, 10]);
    assert_eq!(take(11, 30), (11..20).collect::<Vec<_>>());
    assert!(take(20, 3).is_empty());
}
