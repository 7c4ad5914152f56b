//! A disk whose every sync takes longer: to see on a fast one what a slow one does.
//!
//! In: any [`Disk`]. Out: the same files; a sync of one, or of a folder, returns so much later.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::{Disk, DiskFile, Entry, Open, Space};

/// See the module's documentation.
#[derive(Debug, Clone, Copy)]
pub struct Slow<D> {
    pub disk: D,
    /// What a sync takes beyond its own time.
    pub added: Duration,
}

impl<D: Disk> Disk for Slow<D> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, how)?;
        Ok(Arc::new(SlowFile { file, added: self.added }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)?;
        sleep(self.added);
        Ok(())
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_all(dir)?;
        sleep(self.added);
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.disk.space(dir)
    }
}

struct SlowFile {
    file: Arc<dyn DiskFile>,
    added: Duration,
}

impl DiskFile for SlowFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        self.file.write_at(parts, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        sleep(self.added);
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.file.next_data(at)
    }
}
