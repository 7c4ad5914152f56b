//! A disk in memory that lies as disks do: what was not synced may be lost sector by sector when
//! the power goes, names too; writes tear; calls fail on demand. All from a seed.
//!
//! A killed process loses nothing here ([`FaultDisk::reopen`] keeps what was written); a power
//! cut ([`FaultDisk::power_cycle`]) decides for each unsynced sector, size and name by the seed.
//! After a failed sync the pages count as clean, as with Linux: they can be read until the power
//! goes, and no later sync saves them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Entry, Open, Space};

/// The unit in which unsynced bytes are kept or lost.
const SECTOR: usize = 512;

/// A small seeded generator (splitmix64): the same seed gives the same run on every machine.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The power goes at this many further changing calls; the call itself is half done.
    pub power_off_in: Option<u64>,
    /// The next syncs fail with EIO.
    pub fail_syncs: u32,
    /// The next writes fail with EIO, half done.
    pub fail_writes: u32,
    /// Bytes that may still be written or reserved before ENOSPC.
    pub room: Option<u64>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Size(u64),
}

#[derive(Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            let end = *at as usize + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at as usize..end].copy_from_slice(bytes);
        }
        Change::Size(size) => content.resize(*size as usize, 0),
    }
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, usize),
    Remove(PathBuf),
    /// From, to, and what was renamed: another file may have the old name after a crash.
    Rename(PathBuf, PathBuf, usize),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Add(path, _) | NameChange::Remove(path) => path.parent(),
            NameChange::Rename(_, to, _) => to.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Add(path, inode) => drop(names.insert(path.clone(), *inode)),
            NameChange::Remove(path) => drop(names.remove(path)),
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    faults: Faults,
    off: bool,
    calls: u64,
    syncs: u64,
    reads: u64,
    /// Inodes, and what of them cannot be read.
    unreadable: Vec<(usize, Range<u64>)>,
}

/// See the module's documentation. Clones share the disk.
#[derive(Debug, Clone)]
pub struct FaultDisk(Arc<Mutex<State>>);

impl Default for FaultDisk {
    fn default() -> Self {
        FaultDisk(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            dirs: BTreeSet::new(),
            faults: Faults::default(),
            off: false,
            calls: 0,
            syncs: 0,
            reads: 0,
            unreadable: Vec::new(),
        })))
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What every call gets after the power went.
fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl FaultDisk {
    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Reads of these bytes of a file fail with EIO from now on.
    pub fn make_unreadable(&self, path: &Path, bytes: Range<u64>) {
        let state = &mut *self.0.lock();
        if let Some(inode) = state.names.get(path) {
            state.unreadable.push((*inode, bytes));
        }
    }

    /// Reads so far, with those that failed.
    pub fn reads(&self) -> u64 {
        self.0.lock().reads
    }

    /// Whether the power went.
    pub fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// Changing calls so far: a range for [`Faults::power_off_in`].
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// The process was killed, the machine was not: everything written is there. Calls by the dead
    /// process's handles go on working, so drop them first.
    pub fn reopen(&self) {
        let mut state = self.0.lock();
        state.faults = Faults::default();
        state.off = false;
    }

    /// The power went and came back: each unsynced sector, size and name is kept or lost.
    pub fn power_cycle(&self, rng: &mut Rng) {
        let state = &mut *self.0.lock();
        state.faults = Faults::default();
        state.off = false;
        // Some cuts keep nearly all, some nearly nothing, most something between.
        let odds = [0, 2, 5, 8, 10][rng.below(5) as usize];
        let mut keep = || rng.below(10) < odds;
        for inode in &mut state.inodes {
            for change in std::mem::take(&mut inode.pending) {
                match &change {
                    Change::Size(_) => {
                        if keep() {
                            apply(&mut inode.durable, &change);
                        }
                    }
                    Change::Write { at, bytes } => {
                        let mut done = 0;
                        while done < bytes.len() {
                            let place = *at as usize + done;
                            let step = (SECTOR - place % SECTOR).min(bytes.len() - done);
                            if keep() {
                                let bytes = bytes[done..done + step].to_vec();
                                let part = Change::Write { at: place as u64, bytes };
                                apply(&mut inode.durable, &part);
                            }
                            done += step;
                        }
                    }
                }
            }
            inode.current = inode.durable.clone();
        }
        for change in std::mem::take(&mut state.pending_names) {
            if keep() {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
    }

    /// Flips one bit of a file, durably. For tests of damage.
    pub fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.0.lock();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        for content in [&mut inode.current, &mut inode.durable] {
            if let Some(byte) = content.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Cuts a file, durably. For tests of damage.
    pub fn cut(&self, path: &Path, size: usize) {
        let mut state = self.0.lock();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        inode.pending.clear();
        inode.current.truncate(size);
        inode.durable = inode.current.clone();
    }

    /// Takes a file away, durably. For tests of damage.
    pub fn take_away(&self, path: &Path) {
        let mut state = self.0.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// A file's bytes as they are now.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.names.get(path).map(|inode| state.inodes[*inode].current.clone())
    }

    /// All names, durable or not.
    pub fn names(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }
}

impl State {
    /// Counts a changing call. `Ok(true)`: the power goes in the middle of it.
    fn change(&mut self) -> io::Result<bool> {
        if self.off {
            return Err(power_is_off());
        }
        self.calls += 1;
        if let Some(left) = &mut self.faults.power_off_in {
            if *left == 0 {
                self.off = true;
                return Ok(true);
            }
            *left -= 1;
        }
        Ok(false)
    }

    fn name_change(&mut self, change: NameChange) -> io::Result<()> {
        let off = self.change()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        if off { Err(power_is_off()) } else { Ok(()) }
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        // Folders are taken as durable: each is synced by its maker, and an empty one is no loss.
        self.0.lock().dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock();
        if state.off {
            return Err(power_is_off());
        }
        let name = |path: &Path| {
            let inside = path.parent() == Some(dir);
            path.file_name().filter(|_| inside).map(|n| n.to_string_lossy().into_owned())
        };
        if !state.dirs.contains(dir) {
            let is_file = state.names.contains_key(dir);
            let why = if is_file { io::ErrorKind::NotADirectory } else { io::ErrorKind::NotFound };
            return Err(why.into());
        }
        let files = state.names.iter().filter_map(|(path, inode)| {
            let size = state.inodes[*inode].current.len() as u64;
            Some(Entry { name: name(path)?, size, is_dir: false })
        });
        let dirs = state
            .dirs
            .iter()
            .filter_map(|path| Some(Entry { name: name(path)?, size: 0, is_dir: true }));
        Ok(files.chain(dirs).collect())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        if state.off {
            return Err(power_is_off());
        }
        let inode = match (state.names.get(path).copied(), how) {
            (Some(_), Open::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Open::Create) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.name_change(NameChange::Add(path.to_owned(), inode))?;
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(FaultFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name_change(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name_change(NameChange::Remove(path.to_owned()))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if self.list(dir)?.is_empty() {
            self.0.lock().dirs.remove(dir);
            return Ok(());
        }
        Err(io::ErrorKind::DirectoryNotEmpty.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        if state.change()? {
            return Err(power_is_off());
        }
        let (synced, rest): (Vec<_>, Vec<_>) =
            state.pending_names.drain(..).partition(|change| change.dir() == Some(dir));
        for change in synced {
            change.apply(&mut state.durable_names);
        }
        state.pending_names = rest;
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        if state.change()? {
            return Err(power_is_off());
        }
        for inode in &mut state.inodes {
            inode.pending.clear();
            inode.durable = inode.current.clone();
        }
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let free = self.0.lock().faults.room.unwrap_or(1 << 40);
        Ok(Space { used: 0, free })
    }
}

struct FaultFile {
    disk: FaultDisk,
    inode: usize,
}

impl FaultFile {
    fn change(&self, state: &mut State, change: Change) {
        let inode = &mut state.inodes[self.inode];
        apply(&mut inode.current, &change);
        inode.pending.push(change);
    }
}

impl DiskFile for FaultFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].current.len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        let off = state.change()?;
        self.change(state, Change::Size(size));
        if off { Err(power_is_off()) } else { Ok(()) }
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let state = &mut *self.disk.0.lock();
        if state.off {
            return Err(power_is_off());
        }
        state.reads += 1;
        let content = &state.inodes[self.inode].current;
        let from = content.get(at as usize..).unwrap_or(&[]);
        let n = from.len().min(buf.len());
        let end = at + n as u64;
        let is_bad = |(inode, bad): &(usize, Range<u64>)| {
            *inode == self.inode && bad.start < end && at < bad.end
        };
        if state.unreadable.iter().any(is_bad) {
            return Err(error(EIO));
        }
        buf[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        let off = state.change()?;
        let mut bytes = parts.concat();
        if let Some(room) = &mut state.faults.room {
            if *room < bytes.len() as u64 {
                bytes.truncate(*room as usize);
                *room = 0;
                self.change(state, Change::Write { at, bytes });
                return Err(error(ENOSPC));
            }
            *room -= bytes.len() as u64;
        }
        let fails = state.faults.fail_writes > 0;
        state.faults.fail_writes = state.faults.fail_writes.saturating_sub(1);
        if off || fails {
            bytes.truncate(bytes.len() / 2);
        }
        self.change(state, Change::Write { at, bytes });
        match (off, fails) {
            (true, _) => Err(power_is_off()),
            (_, true) => Err(error(EIO)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        if state.change()? {
            return Err(power_is_off());
        }
        state.syncs += 1;
        let fails = state.faults.fail_syncs > 0;
        state.faults.fail_syncs = state.faults.fail_syncs.saturating_sub(1);
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            return Err(error(EIO));
        }
        for change in &pending {
            apply(&mut inode.durable, change);
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        Ok((at < self.size()?).then_some(at))
    }
}
