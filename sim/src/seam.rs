//! The disk of a run: the log's [`FaultDisk`], with faults that it does not have, and with lies
//! for the tests of the simulation itself.
//!
//! In: calls of the log, of recovery, of housekeeping. Out: what a disk would do, or less.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kerolox_log::disk::fault::{FaultDisk, Faults, Rng};
use kerolox_log::disk::{Disk, DiskFile, Entry, Open, Space};
use kerolox_log::files;
use parking_lot::Mutex;

/// What a broken disk, or broken code in front of it, leaves out for the log's files. For tests:
/// each must be noticed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lies {
    /// `sync` of a file does nothing.
    pub(crate) sync: bool,
    /// `sync_dir` does nothing.
    pub(crate) sync_dir: bool,
    /// `set_size` does nothing.
    pub(crate) set_size: bool,
    /// `remove` does nothing.
    pub(crate) remove: bool,
    /// Recovery's writes to the log do nothing: what lies beyond the proof is not written again.
    pub(crate) rewrite: bool,
}

/// Faults beside those of [`Faults`].
#[derive(Debug, Clone, Default)]
pub(crate) struct MoreFaults {
    /// The next syncs of folders fail with EIO.
    pub(crate) fail_dir_syncs: u32,
    /// The next changes of a file's size fail with ENOSPC.
    pub(crate) fail_sizes: u32,
}

#[derive(Debug, Default)]
struct State {
    lies: Lies,
    more: MoreFaults,
    /// How often a sync of each file failed. As with Linux, every handle that was open then gets
    /// the error once, from its own next sync.
    failed_syncs: BTreeMap<PathBuf, u32>,
    /// Pages that cannot be read: file, number of the page.
    unreadable: BTreeSet<(PathBuf, u64)>,
    recovering: bool,
    /// The log's files in the order in which they were synced, since anyone asked.
    synced: Vec<PathBuf>,
}

/// See the module's documentation. Clones share the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seam {
    disk: FaultDisk,
    state: Arc<Mutex<State>>,
}

/// The unit that cannot be read: what the page cache holds or does not.
pub(crate) const PAGE: u64 = 4096;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Whether a file is one of the log's.
fn in_log(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with(files::DIR))
}

impl Seam {
    pub(crate) fn new(lies: Lies) -> Self {
        let seam = Seam::default();
        seam.state.lock().lies = lies;
        seam
    }

    /// Sets what goes wrong from now on.
    pub(crate) fn set_faults(&self, faults: Faults, more: MoreFaults) {
        self.disk.set_faults(faults);
        self.state.lock().more = more;
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn heal(&self) {
        self.set_faults(Faults::default(), MoreFaults::default());
    }

    /// Whether the power went.
    pub(crate) fn is_off(&self) -> bool {
        self.disk.is_off()
    }

    /// The process was killed; the page cache is still there.
    pub(crate) fn reopen(&self) {
        self.state.lock().more = MoreFaults::default();
        self.disk.reopen();
    }

    /// The power went and came back.
    pub(crate) fn power_cycle(&self, rng: &mut Rng) {
        self.state.lock().more = MoreFaults::default();
        self.disk.power_cycle(rng);
    }

    /// Tells whether what follows is a recovery.
    pub(crate) fn set_recovering(&self, recovering: bool) {
        self.state.lock().recovering = recovering;
    }

    /// The log's files that were synced since the last question, in order.
    pub(crate) fn take_synced(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.state.lock().synced)
    }

    /// Flips one bit of a file for good.
    pub(crate) fn flip(&self, path: &Path, bit: u64) {
        self.disk.flip(path, bit);
    }

    /// Cuts a file for good.
    pub(crate) fn cut(&self, path: &Path, size: usize) {
        self.disk.cut(path, size);
    }

    /// Takes a file away for good.
    pub(crate) fn take_away(&self, path: &Path) {
        self.disk.take_away(path);
    }

    /// Makes a page of a file unreadable for good.
    pub(crate) fn make_unreadable(&self, path: &Path, page: u64) {
        self.state.lock().unreadable.insert((path.to_owned(), page));
    }

    /// The names in a folder.
    pub(crate) fn names(&self, dir: &Path) -> Vec<PathBuf> {
        let mut names = self.disk.names();
        names.retain(|name| name.parent() == Some(dir));
        names
    }

    /// A file's bytes as they are now; those that cannot be read are not what they were.
    pub(crate) fn readable_content(&self, path: &Path) -> Option<Vec<u8>> {
        let mut content = self.content(path)?;
        for (_, page) in self.state.lock().unreadable.iter().filter(|(of, _)| of == path) {
            let begin = content.len().min((page * PAGE) as usize);
            let end = content.len().min(begin + PAGE as usize);
            content[begin..end].iter_mut().for_each(|byte| *byte = !*byte);
        }
        Some(content)
    }

    /// A file's bytes as they are now.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.disk.content(path)
    }
}

impl Disk for Seam {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        let state = self.state.clone();
        let told = Mutex::new(state.lock().failed_syncs.get(path).copied().unwrap_or(0));
        Ok(Arc::new(SeamFile { file, path: path.to_owned(), state, told }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().unreadable.retain(|(path, _)| path != to);
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.state.lock().lies.remove && in_log(path) {
            return Ok(());
        }
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.lies.sync_dir && dir.ends_with(files::DIR) {
            return Ok(());
        }
        if let Some(left) = state.more.fail_dir_syncs.checked_sub(1) {
            state.more.fail_dir_syncs = left;
            return Err(error(EIO));
        }
        drop(state);
        self.disk.sync_dir(dir)
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_all(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.disk.space(dir)
    }
}

struct SeamFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    state: Arc<Mutex<State>>,
    /// Of how many failed syncs this handle was told, or is older than.
    told: Mutex<u32>,
}

impl SeamFile {
    /// How many bytes can be read at `at`, as the kernel reads them: up to the bad page, and an
    /// error only if that comes first.
    fn readable(&self, at: u64, size: usize) -> io::Result<usize> {
        let state = self.state.lock();
        if state.unreadable.is_empty() || size == 0 {
            return Ok(size);
        }
        let from = (self.path.clone(), at / PAGE);
        let bad = state.unreadable.range(from..).next().filter(|(path, _)| *path == self.path);
        let Some((_, page)) = bad else { return Ok(size) };
        match (page * PAGE).checked_sub(at) {
            None | Some(0) => Err(error(EIO)),
            Some(good) => Ok(size.min(good as usize)),
        }
    }
}

impl DiskFile for SeamFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.lies.set_size && in_log(&self.path) {
            return Ok(());
        }
        if let Some(left) = state.more.fail_sizes.checked_sub(1) {
            state.more.fail_sizes = left;
            return Err(error(ENOSPC));
        }
        drop(state);
        self.file.set_size(size)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let readable = self.readable(at, buf.len())?;
        self.file.read_at(&mut buf[..readable], at)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        let state = self.state.lock();
        if state.lies.rewrite && state.recovering && in_log(&self.path) {
            return Ok(());
        }
        drop(state);
        self.file.write_at(parts, at)
    }

    fn sync(&self) -> io::Result<()> {
        if self.state.lock().lies.sync && in_log(&self.path) {
            return Ok(());
        }
        let synced = self.file.sync();
        let mut state = self.state.lock();
        if in_log(&self.path) {
            state.synced.push(self.path.clone());
        }
        let failed = state.failed_syncs.entry(self.path.clone()).or_insert(0);
        *failed += u32::from(synced.is_err());
        let told = std::mem::replace(&mut *self.told.lock(), *failed);
        if synced.is_ok() && told < *failed { Err(error(EIO)) } else { synced }
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.file.next_data(at)
    }
}
