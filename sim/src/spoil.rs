//! Damage to what is made from the log: index blocks with their state changes, and snapshots.
//!
//! In: the files as they are. Out: flipped bits, cut files, lost files, unreadable pages, but only
//! such that the log, or another snapshot, still tells everything: then nothing may be missing.

use std::path::{Path, PathBuf};

use kerolox_log::index::block;
use kerolox_log::snapshot;

use crate::broker::start::DATA_DIR;
use crate::seam::PAGE;
use crate::world::World;

/// Bytes of a snapshot before its state.
const SNAPSHOT_HEADER: usize = 64;

/// Whether a snapshot's checksum is right: of all before it, at the end.
fn is_whole(content: &[u8]) -> bool {
    let split = content.split_last_chunk::<4>();
    split.is_some_and(|(content, crc)| {
        content.len() >= SNAPSHOT_HEADER && crc32fast::hash(content).to_be_bytes() == *crc
    })
}

/// Files of a folder, without those that are being written.
fn is_named(path: &Path) -> bool {
    path.extension().is_none()
}

/// The position in a file's name; a snapshot's second copy has something behind it.
fn position_of(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.get(..20)?.parse().ok()).unwrap_or(0)
}

impl World<'_> {
    /// Damages up to three files.
    pub(crate) fn spoil_some(&mut self) {
        for _ in 0..1 + self.rng.below(3) {
            self.spoil_one();
        }
    }

    /// Damages one file.
    pub(crate) fn spoil_one(&mut self) {
        if self.seam.is_off() {
            return;
        }
        let mut paths = self.files_of(block::DIR);
        paths.extend(self.spoilable_snapshots());
        if !paths.is_empty() {
            let path = paths.swap_remove(self.rng.below(paths.len() as u64) as usize);
            self.spoil(&path);
        }
    }

    /// Damages an index block, and the log that it was made from.
    pub(crate) fn spoil_with_log(&mut self) {
        let mut paths = self.files_of(block::DIR);
        if paths.is_empty() {
            return;
        }
        let path = paths.swap_remove(self.rng.below(paths.len() as u64) as usize);
        let begin = position_of(&path);
        self.flipped_bits(begin, begin + self.plan.file_size);
        self.spoil(&path);
    }

    fn files_of(&self, dir: &str) -> Vec<PathBuf> {
        let mut paths = self.seam.names(&Path::new(DATA_DIR).join(dir));
        paths.retain(|path| is_named(path));
        paths
    }

    /// Snapshots without which the state must still be known: all, if no log file was deleted yet;
    /// else one, as there must be two that are no older than the last deletion. Then none, until
    /// there are two again.
    fn spoilable_snapshots(&mut self) -> Vec<PathBuf> {
        let snapshots = self.files_of(snapshot::DIR);
        let whole = |path: &&PathBuf| {
            let serves = position_of(path) >= self.snapshots_from;
            serves && self.seam.readable_content(path).is_some_and(|content| is_whole(&content))
        };
        if snapshots.iter().filter(whole).count() > 1 {
            self.last_snapshot = false;
        }
        let all_is_there = self.log_files().keys().next().is_none_or(|first| *first == 0);
        if all_is_there || !self.last_snapshot { snapshots } else { Vec::new() }
    }

    fn spoil(&mut self, path: &Path) {
        let size = self.seam.content(path).map_or(0, |content| content.len() as u64);
        let what = match self.rng.below(5) {
            _ if size == 0 => "is taken away",
            0 => "is taken away",
            1 => {
                self.seam.cut(path, self.rng.below(size) as usize);
                "is cut"
            }
            2 => {
                self.seam.make_unreadable(path, self.rng.below(size.div_ceil(PAGE)));
                "has a page that cannot be read"
            }
            _ => {
                for _ in 0..1 + self.rng.below(3) {
                    self.seam.flip(path, self.rng.below(8 * size));
                }
                "has flipped bits"
            }
        };
        if what == "is taken away" {
            self.seam.take_away(path);
        }
        self.spoiled.insert(position_of(path));
        self.last_snapshot |= path.parent().is_some_and(|dir| dir.ends_with(snapshot::DIR));
        self.books.index_is_bad = true;
        self.events.add(|| format!("{} {what}", path.display()));
    }
}
