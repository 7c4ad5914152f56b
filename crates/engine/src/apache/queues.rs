//! Apache's consume queues: for each queue, files of entries of 20 bytes that say where its messages are.
//!
//! Read when a directory is taken over: how long a queue is of which no message is left, and up to where the
//! log was read. Written when it is handed over, of all messages that are left: what that
//! broker derives by itself it takes of the last ten log files alone, and of topics that are gone.
//!
//! `consumequeue/TOPIC/QUEUE/` and the byte position of the file's first entry among all of the queue, in 20
//! digits. An entry: position of the record (8), its size (4; 0: none), hash of its tag (8).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kerolox_log::PhysicalOffset;
use kerolox_log::disk::{Disk, DiskFile, Open, read_full};
use kerolox_log::index::queue::Entry;
use kerolox_log::limits::{QUEUE_OFFSET_MAX, QUEUES_MAX};
use kerolox_log::rocksdb::Database;

/// The folder in the data directory.
const DIR: &str = "consumequeue";
/// Where 5.5.0 keeps the queues in a RocksDB: in that folder, or in one of their own.
const IN_ROCKSDB: [&str; 2] = [DIR, "consumequeue_rocksdb"];
/// Bytes of an entry.
pub const ENTRY: u64 = 20;

type Key = (String, i32);

/// The consume queues of a data directory.
pub struct ConsumeQueues<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    /// For each queue its files: the position of the first entry, and the size.
    files: BTreeMap<Key, Vec<(u64, u64)>>,
}

/// An entry as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Raw {
    position: u64,
    size: i32,
}

impl Raw {
    fn is_there(self) -> bool {
        self.size > 0 && self.position <= i64::MAX as u64
    }
}

impl<'a> ConsumeQueues<'a> {
    /// Lists them. What is no consume queue is passed over.
    pub fn open(disk: &'a dyn Disk, data_dir: &Path) -> io::Result<ConsumeQueues<'a>> {
        let dir = data_dir.join(DIR);
        let mut files = BTreeMap::new();
        for topic in folders(disk, &dir)? {
            for queue in folders(disk, &dir.join(&topic))? {
                let Some(number) = queue.parse().ok().filter(|n| (0..QUEUES_MAX).contains(n))
                else {
                    continue;
                };
                let mut found = Vec::new();
                for entry in disk.list(&dir.join(&topic).join(&queue))? {
                    if let (20, Ok(base)) = (entry.name.len(), entry.name.parse::<u64>())
                        && base % ENTRY == 0
                    {
                        found.push((base, entry.size - entry.size % ENTRY));
                    }
                }
                found.sort_unstable();
                files.insert((topic.clone(), number), found);
            }
        }
        Ok(ConsumeQueues { disk, dir, files })
    }

    /// All queues, and the next offset of each.
    pub fn ends(&self) -> io::Result<BTreeMap<Key, i64>> {
        let end = |queue: &Key| {
            let end = self.end(queue)?.0;
            let end = i64::try_from(end).map_or(0, |end| end.min(QUEUE_OFFSET_MAX));
            Ok((queue.clone(), end))
        };
        self.files.keys().map(end).collect()
    }

    /// The highest position that is the last one of any queue; `None`: no queue has an entry.
    pub fn last_named(&self) -> io::Result<Option<PhysicalOffset>> {
        let mut last = None;
        for queue in self.files.keys() {
            last = last.max(self.end(queue)?.1);
        }
        Ok(last.map(PhysicalOffset))
    }

    /// A queue's next offset, and the position that its last entry names.
    fn end(&self, queue: &Key) -> io::Result<(u64, Option<u64>)> {
        let files = self.files.get(queue).map_or(&[][..], Vec::as_slice);
        let Some((base, size)) = files.last() else { return Ok((0, None)) };
        let file = self.file(queue, *base)?;
        let filled = first_not(size / ENTRY, |at| Ok(entry(&*file, at)?.is_there()))?;
        let last = filled.checked_sub(1).map(|at| entry(&*file, at)).transpose()?;
        Ok((base / ENTRY + filled, last.map(|raw| raw.position)))
    }

    fn file(&self, (topic, queue): &Key, base: u64) -> io::Result<std::sync::Arc<dyn DiskFile>> {
        let path = self.dir.join(topic).join(queue.to_string()).join(format!("{base:020}"));
        self.disk.open(&path, Open::Read)
    }
}

fn folders(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let entries = match disk.list(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
}

fn entry(file: &dyn DiskFile, at: u64) -> io::Result<Raw> {
    let mut bytes = [0; ENTRY as usize];
    if read_full(file, &mut bytes, at * ENTRY)? < bytes.len() {
        return Ok(Raw { position: 0, size: 0 });
    }
    let word =
        |from: usize, to: usize| bytes[from..to].iter().fold(0, |n, b| n << 8 | u64::from(*b));
    Ok(Raw { position: word(0, 8), size: word(8, 12) as i32 })
}

/// The first of `0..count` for which something does not hold that holds for all before.
fn first_not(count: u64, mut holds: impl FnMut(u64) -> io::Result<bool>) -> io::Result<u64> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// Whether Apache's broker has its queues in a RocksDB alone. That one is kept: it goes on behind what it has
/// seen of the log, and only it knows how long queues are of which no message is left.
pub fn are_in_rocksdb(disk: &dyn Disk, data_dir: &Path) -> io::Result<bool> {
    for name in IN_ROCKSDB {
        let dir = data_dir.join(name);
        match disk.open(&dir.join("CURRENT"), Open::Read) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            // Beside files it is but a copy of them.
            found => return found.and_then(|_| Ok(folders(disk, &data_dir.join(DIR))?.is_empty())),
        }
    }
    Ok(false)
}

/// The next offset of each queue as that RocksDB tells it, and the highest position that is the last one of
/// any: what it noted last before it was stopped or killed, which need not be all.
///
/// A row of its family `offset`: length of the topic (4), 1, topic, 1, `max`, 1, queue (4); position of the queue's
/// last record (8), its offset (8).
pub fn ends_in_rocksdb(
    disk: &dyn Disk,
    data_dir: &Path,
) -> io::Result<(BTreeMap<Key, i64>, Option<PhysicalOffset>)> {
    let (mut ends, mut named) = (BTreeMap::new(), None);
    for name in IN_ROCKSDB {
        let Some(database) = Database::open(disk, &data_dir.join(name))? else { continue };
        for (key, value) in database.entries("offset")? {
            let halves =
                value.split_first_chunk().zip(value.get(8..).and_then(<[u8]>::first_chunk));
            if let (Some(at), Some(((position, _), last))) = (last_of(&key), halves) {
                let last = i64::from_be_bytes(*last);
                ends.insert(at, last.saturating_add(1).clamp(0, QUEUE_OFFSET_MAX));
                named = named.max(Some(PhysicalOffset(u64::from_be_bytes(*position))));
            }
        }
    }
    Ok((ends, named))
}

fn last_of(key: &[u8]) -> Option<Key> {
    let (size, rest) = key.split_first_chunk::<4>()?;
    let (topic, rest) =
        rest.strip_prefix(&[1])?.split_at_checked(u32::from_be_bytes(*size) as usize)?;
    let queue = rest.strip_prefix(b"\x01max\x01")?.try_into().ok().map(i32::from_be_bytes)?;
    Some((std::str::from_utf8(topic).ok()?.to_owned(), queue))
}

/// Removes the queues' files.
pub fn forget(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
    if are_in_rocksdb(disk, data_dir)? {
        return Ok(());
    }
    super::remove_all(disk, &data_dir.join(DIR))
}

/// Writes the files of one queue.
pub struct QueueWriter<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    /// Bytes of a file.
    file_size: u64,
    open: Option<(u64, std::sync::Arc<dyn DiskFile>)>,
    waiting: Vec<u8>,
    /// The offset of the next entry.
    next: u64,
}

/// Bytes of entries in one write.
const STEP: usize = 256 << 10;

impl<'a> QueueWriter<'a> {
    /// A queue whose first entry has the offset `min`. `file_size`: bytes of a file, whole entries.
    pub fn new(
        disk: &'a dyn Disk,
        data_dir: &Path,
        (topic, queue): (&str, i32),
        file_size: u64,
        min: i64,
    ) -> io::Result<QueueWriter<'a>> {
        let dir = data_dir.join(DIR).join(topic).join(queue.to_string());
        disk.create_dir(&dir)?;
        let min = min.max(0) as u64;
        let of_file = file_size / ENTRY;
        let next = min - min % of_file;
        let mut writer =
            QueueWriter { disk, dir, file_size, open: None, waiting: Vec::new(), next };
        writer.none_until(min)?;
        Ok(writer)
    }

    /// Adds a message at an offset that is not lower than the last one's. `tag`: the hash of its tag, or
    /// when it is due.
    pub fn put(&mut self, offset: i64, entry: &Entry, tag: i64) -> io::Result<()> {
        self.none_until(offset.max(0) as u64)?;
        let place = entry.place;
        if place.size == 0 {
            return self.add(0, i32::MAX, 0);
        }
        self.add(place.offset.0, i32::try_from(place.size).unwrap_or(i32::MAX), tag)
    }

    /// Ends the queue at `next`. Where its last message is gone the last entry leads nowhere; but it must
    /// be one that Apache's broker counts, and none behind which it would begin to look for messages.
    pub fn finish(mut self, next: i64, is_last_there: bool) -> io::Result<()> {
        let next = next.max(0) as u64;
        if is_last_there {
            return self.flush();
        }
        if self.next == next && next > 0 {
            // What stands for the last one is written anew.
            self.flush()?;
            self.next -= 1;
        }
        self.none_until(next.saturating_sub(1))?;
        self.add(1, 1, 0)?;
        self.flush()
    }

    /// Entries of messages that are gone, as Apache's broker writes them.
    fn none_until(&mut self, offset: u64) -> io::Result<()> {
        while self.next < offset {
            self.add(0, i32::MAX, 0)?;
        }
        Ok(())
    }

    fn add(&mut self, position: u64, size: i32, tag: i64) -> io::Result<()> {
        let place = self.next * ENTRY % self.file_size;
        if self.waiting.len() >= STEP || (place == 0 && !self.waiting.is_empty()) {
            self.flush()?;
        }
        self.waiting.extend_from_slice(&position.to_be_bytes());
        self.waiting.extend_from_slice(&size.to_be_bytes());
        self.waiting.extend_from_slice(&tag.to_be_bytes());
        self.next += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let begin = self.next * ENTRY - self.waiting.len() as u64;
        let base = begin - begin % self.file_size;
        let file = match &self.open {
            Some((of, file)) if *of == base => file.clone(),
            _ => {
                let file = self.disk.open(&self.dir.join(format!("{base:020}")), Open::Create)?;
                file.set_size(self.file_size)?;
                self.open = Some((base, file.clone()));
                file
            }
        };
        file.write_at(&[&self.waiting], begin - base)?;
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kerolox_log::disk::fault::FaultDisk;
    use kerolox_log::read::Place;

    use super::*;

    fn entry_at(position: u64) -> Entry {
        let place = Place { offset: PhysicalOffset(position), size: 100, crc: 0 };
        Entry { place, tags_code: 0, store_timestamp: 0 }
    }

    const FILE_SIZE: u64 = 10 * ENTRY;
    const DATA_DIR: &str = "/data";

    fn written(min: i64, next: i64, messages: &[i64]) -> FaultDisk {
        let disk = FaultDisk::default();
        let of = ("t", 3);
        let mut writer =
            QueueWriter::new(&disk, Path::new(DATA_DIR), of, FILE_SIZE, min.min(next - 1)).unwrap();
        for offset in messages {
            writer.put(*offset, &entry_at(1000 + 100 * *offset as u64), 7).unwrap();
        }
        writer.finish(next, messages.last() == Some(&(next - 1))).unwrap();
        disk
    }

    fn files(disk: &FaultDisk) -> Vec<u64> {
        let entries = disk.list(&Path::new(DATA_DIR).join("consumequeue/t/3")).unwrap();
        assert!(entries.iter().all(|entry| entry.size == FILE_SIZE));
        let mut bases: Vec<u64> = entries.iter().map(|entry| entry.name.parse().unwrap()).collect();
        bases.sort_unstable();
        bases
    }

    #[test]
    fn a_queue_ends_where_it_was_written_to() {
        for (min, next, messages, names) in [
            (0, 3, vec![0, 1, 2], vec![0]),
            (13, 25, (13..25).collect(), vec![200, 400]),
            // None is left.
            (25, 25, vec![], vec![400]),
            (20, 20, vec![], vec![200]),
            (1, 1, vec![], vec![0]),
            // The first and the last one are gone; and one between.
            (0, 20, (1..19).filter(|n| *n != 7).collect(), vec![0, 200]),
        ] {
            let disk = written(min, next, &messages);
            let queues = ConsumeQueues::open(&disk, Path::new(DATA_DIR)).unwrap();
            assert_eq!(queues.ends().unwrap()[&("t".to_owned(), 3)], next, "{min} {next}");
            assert_eq!(files(&disk), names, "{min} {next}");
            let last = messages.last().filter(|last| **last == next - 1);
            let named = last.map_or(1, |last| 1000 + 100 * *last as u64);
            assert_eq!(queues.last_named().unwrap(), Some(PhysicalOffset(named)), "{min} {next}");
        }
    }

    /// Apache's 4.9.8 looks for messages behind the highest end that any queue's last entry names.
    #[test]
    fn no_queue_ends_with_an_entry_that_leads_far() {
        for (next, messages) in [(25, vec![]), (20, vec![]), (20, (0..19).collect::<Vec<_>>())] {
            let disk = written(0, next, &messages);
            let base = *files(&disk).last().unwrap();
            let path = Path::new(DATA_DIR).join("consumequeue/t/3").join(format!("{base:020}"));
            let content = disk.content(&path).unwrap();
            let last = ((next as u64 - 1) * ENTRY - base) as usize;
            assert_eq!(content[last..last + 12], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1], "{next}");
            assert!(content[last + ENTRY as usize..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn nothing_is_no_queue() {
        let disk = FaultDisk::default();
        let queues = ConsumeQueues::open(&disk, Path::new(DATA_DIR)).unwrap();
        assert!(queues.ends().unwrap().is_empty());
        assert_eq!(queues.last_named().unwrap(), None);
    }
}
