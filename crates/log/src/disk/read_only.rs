//! A disk that refuses every change: for tools that look at a stopped data directory.
//!
//! In: any [`Disk`]. Out: the same files, opened for reading alone, whatever was asked for.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile, Entry, Open, Space};

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOnly<D>(pub D);

fn refused() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl<D: Disk> Disk for ReadOnly<D> {
    /// A folder that is not there is taken for an empty one.
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        match self.0.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        match how {
            Open::Create => Err(refused()),
            Open::Read | Open::Write => Ok(Arc::new(ReadOnlyFile(self.0.open(path, Open::Read)?))),
        }
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    /// Nothing was changed.
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Nothing was changed.
    fn sync_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.0.space(dir)
    }
}

struct ReadOnlyFile(Arc<dyn DiskFile>);

impl DiskFile for ReadOnlyFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn write_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.0.next_data(at)
    }
}
