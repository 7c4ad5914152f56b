//! The files of the commit log: named by their first position (20 digits), all of one size, made
//! sparse at full length before they are needed.
//!
//! In: positions. Out: the file that holds them. Shared by the log thread, which writes, the disk
//! readers, and housekeeping, which makes and deletes files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::PhysicalOffset;
use crate::adopted::Adopted;
use crate::disk::{Disk, DiskFile, Open};
use crate::handover::GUARD;
use crate::limits::{DELETE_STEP, FILES_MAX, ZERO_AHEAD, ZERO_STEP};
use crate::rules::{self, Rule};

/// A file that has no name any more. A sync of the log waits for the file system's work on all that is
/// given back at once, so a large file is better shrunk in steps.
pub struct Deleted {
    file: Option<Arc<dyn DiskFile>>,
}

impl Deleted {
    /// Gives back some room. False: there is no more to do.
    pub fn shrink(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let size = file.size()?;
        if size <= DELETE_STEP {
            self.file = None;
            return Ok(false);
        }
        file.set_size(size - DELETE_STEP)?;
        file.sync()?;
        Ok(true)
    }
}

/// See the module's documentation.
pub struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_size: u64,
    by_base: RwLock<BTreeMap<u64, Arc<dyn DiskFile>>>,
    adopted: RwLock<Arc<Adopted>>,
    ahead: Mutex<Ahead>,
}

/// Who may write where: below `claimed` the log alone, zeros go only above it.
#[derive(Default)]
struct Ahead {
    claimed: u64,
    zeroed: u64,
    /// The file that gets zeros, opened on its own: an error of the disk that a sync of zeros
    /// reports must be reported to the log's sync, too.
    file: Option<(u64, Arc<dyn DiskFile>)>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The folder of the log in a data directory.
pub const DIR: &str = "commitlog";

impl Files {
    /// Opens every file in `data_dir/commitlog`, which is made if it is not there; and reads which
    /// parts of the log Apache's broker wrote.
    pub fn open(disk: Arc<dyn Disk>, data_dir: &Path, file_size: u64) -> io::Result<Files> {
        let dir = data_dir.join(DIR);
        disk.create_dir(&dir)?;
        disk.sync_dir(data_dir)?;
        let adopted = Adopted::read(&*disk, data_dir)?;
        let mut by_base = BTreeMap::new();
        for entry in disk.list(&dir)? {
            if entry.name == GUARD {
                continue;
            }
            let base = Some(&entry.name).filter(|n| n.len() == 20).and_then(|n| n.parse().ok());
            let Some(base) =
                base.filter(|base: &u64| base.is_multiple_of(file_size) && !entry.is_dir)
            else {
                let what = format!(
                    "{}/{} is no file of a commit log with files of {file_size} bytes; move it away",
                    dir.display(),
                    entry.name
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            };
            if by_base.len() == FILES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too many log files"));
            }
            by_base.insert(base, disk.open(&dir.join(&entry.name), Open::Write)?);
        }
        let (by_base, ahead) = (RwLock::new(by_base), Mutex::default());
        let adopted = RwLock::new(Arc::new(adopted));
        Ok(Files { disk, dir, file_size, by_base, adopted, ahead })
    }

    /// Which parts of the log Apache's broker wrote.
    pub fn adopted(&self) -> Arc<Adopted> {
        self.adopted.read().clone()
    }

    /// Tells which parts of the log Apache's broker wrote; nobody else may use the log meanwhile. Kept
    /// only when it is written, too.
    pub fn set_adopted(&self, adopted: Adopted) {
        *self.adopted.write() = Arc::new(adopted);
    }

    /// Bytes of a file.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file system.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// First positions of all files, in order.
    pub fn bases(&self) -> Vec<u64> {
        self.by_base.read().keys().copied().collect()
    }

    /// The first position that is still there.
    pub fn first(&self) -> Option<PhysicalOffset> {
        self.by_base.read().keys().next().map(|base| PhysicalOffset(*base))
    }

    /// The file that holds a position, and the position's place in it.
    pub fn at(&self, position: PhysicalOffset) -> Option<(Arc<dyn DiskFile>, u64)> {
        let place = position.0 % self.file_size;
        let file = self.by_base.read().get(&(position.0 - place)).cloned();
        file.map(|file| (file, place))
    }

    /// The file that holds a position, made if it is not there yet.
    pub fn at_or_make(&self, position: PhysicalOffset) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        if let Some(found) = self.at(position) {
            return Ok(found);
        }
        let place = position.0 % self.file_size;
        let mut by_base = self.by_base.write();
        let base = position.0 - place;
        if let Some(file) = by_base.get(&base) {
            return Ok((file.clone(), place));
        }
        let path = self.path(base);
        let file = match self.disk.open(&path, Open::Create) {
            // Left by an attempt that failed half-way.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.open(&path, Open::Write)?
            }
            other => other?,
        };
        file.set_size(self.file_size)?;
        file.sync()?;
        // The name must be durable before anything in the file is confirmed.
        if rules::holds(Rule::SyncFolder) {
            self.disk.sync_dir(&self.dir)?;
        }
        by_base.insert(base, file.clone());
        Ok((file, place))
    }

    /// The log is about to write up to `end`: no zeros are written below it from now on.
    pub fn claim(&self, end: PhysicalOffset) {
        let mut ahead = self.ahead.lock();
        ahead.claimed = ahead.claimed.max(end.0);
    }

    /// Up to where zeros were written ahead of the log.
    pub fn zeroed(&self) -> PhysicalOffset {
        let ahead = self.ahead.lock();
        PhysicalOffset(ahead.zeroed.max(ahead.claimed))
    }

    /// Whether so little of what was written ahead is left behind `end` that more is needed.
    pub fn is_low(&self, end: PhysicalOffset) -> bool {
        self.zeroed() < end.plus(self.ahead_wanted() / 2)
    }

    /// Bytes of zeros that should stand ahead of the log.
    pub fn ahead_wanted(&self) -> u64 {
        ZERO_AHEAD.min(self.file_size)
    }

    /// Whether there is time to write them step by step, so that nobody waits for the CPU meanwhile.
    pub fn has_time(&self) -> bool {
        let ahead = self.ahead.lock();
        ahead.zeroed > ahead.claimed + self.ahead_wanted() / 4
    }

    /// Writes some more zeros ahead of the log, into the next file if need be, and returns the
    /// file. They are not synced.
    pub fn zero_ahead(&self) -> io::Result<Arc<dyn DiskFile>> {
        static ZEROS: [u8; ZERO_STEP] = [0; ZERO_STEP];
        // A file is made outside the lock: the log thread does not wait for that.
        let made = self.zeroed();
        self.at_or_make(made)?;
        let base = made.0 - made.0 % self.file_size;
        let mut ahead = self.ahead.lock();
        let start = ahead.zeroed.max(ahead.claimed);
        let file = match &ahead.file {
            Some((of, file)) if *of == base => file.clone(),
            _ => {
                let file = self.disk.open(&self.path(base), Open::Write)?;
                ahead.file = Some((base, file.clone()));
                file
            }
        };
        // The log may have gone into the next file meanwhile: then there is nothing to do here.
        if let Some(left) = (base + self.file_size).checked_sub(start).filter(|left| *left > 0) {
            // Under the lock: what the log claims later cannot be hit by these zeros.
            let size = left.min(ZERO_STEP as u64);
            file.write_at(&[&ZEROS[..size as usize]], start - base)?;
            ahead.zeroed = start + size;
        }
        Ok(file)
    }

    /// Deletes the file that begins at `base`: no reader finds it from then on, and no start. Its room
    /// comes back when what is returned is dropped, or step by step before.
    pub fn delete(&self, base: u64) -> io::Result<Deleted> {
        let file = self.by_base.read().get(&base).cloned();
        self.disk.remove(&self.path(base))?;
        self.by_base.write().remove(&base);
        self.disk.sync_dir(&self.dir)?;
        Ok(Deleted { file })
    }

    fn path(&self, base: u64) -> PathBuf {
        self.dir.join(format!("{base:020}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::real::RealDisk;

    #[test]
    fn a_deleted_file_gives_its_room_back_step_by_step() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir(dir.join("commitlog")).unwrap();
        let size = 2 * DELETE_STEP + 4096;
        let path = |number: u64| dir.join("commitlog").join(format!("{:020}", number * size));
        for number in 0..2 {
            std::fs::File::create(path(number)).unwrap().set_len(size).unwrap();
        }
        let reader = std::fs::File::open(path(0)).unwrap();
        let files = Files::open(Arc::new(RealDisk), dir, size).unwrap();
        let mut deleted = files.delete(0).unwrap();
        assert!(files.at(PhysicalOffset(0)).is_none() && !path(0).exists());
        assert_eq!(files.first(), Some(PhysicalOffset(size)));
        let mut sizes = Vec::new();
        while deleted.shrink().unwrap() {
            sizes.push(reader.metadata().unwrap().len());
        }
        assert_eq!(sizes, [DELETE_STEP + 4096, 4096]);
        assert!(!deleted.shrink().unwrap());
    }
}
