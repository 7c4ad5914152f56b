//! What tests may do to a running server, in debug builds alone: panics, a clock that is set, syncs
//! that fail, a record of all that is written.
//!
//! In: request codes that no client knows, and an environment variable. Release builds have none of
//! this.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use kerolox_log::disk::record::Recorded;
use kerolox_log::disk::{Disk, DiskFile, Entry, Open, Space};
use kerolox_protocol::remoting::fields::FieldError;
use kerolox_protocol::remoting::frame::Frame;

/// Panics in the connection's code, which costs that connection.
const PANIC_IN_CONNECTION: i32 = 0x7eed_0001;
/// Panics in the engine, which costs the process.
pub const PANIC_IN_ENGINE: i32 = 0x7eed_0002;
/// Sets the machine's clock, as the server sees it, off by the field `ms`.
const SET_CLOCK: i32 = 0x7eed_0003;
/// From now on each sync fails.
const FAIL_SYNCS: i32 = 0x7eed_0004;

/// Names the file in which all that is done to the disk is recorded.
const RECORD: &str = "KEROLOX_TEST_RECORD";

static CLOCK_SET_BY: AtomicI64 = AtomicI64::new(0);
static SYNCS_FAIL: AtomicBool = AtomicBool::new(false);

/// Does what a test asks for. True: it is done.
pub fn done(frame: &Frame<'_>) -> Result<bool, FieldError> {
    match frame.code {
        PANIC_IN_CONNECTION => panic!("asked for by a test"),
        SET_CLOCK => frame.for_each_field(|key, value| {
            if key == "ms" {
                let ms = value.parse().map_err(|_| FieldError::Broken)?;
                CLOCK_SET_BY.store(ms, Ordering::SeqCst);
            }
            Ok(())
        })?,
        FAIL_SYNCS => SYNCS_FAIL.store(true, Ordering::SeqCst),
        _ => return Ok(false),
    }
    Ok(true)
}

/// By how much the machine's clock was set, in ms.
pub fn clock_set_by() -> i64 {
    CLOCK_SET_BY.load(Ordering::SeqCst)
}

/// The disk that a test can make fail, recorded if the environment says so.
///
/// # Errors
/// The record cannot be made.
pub fn disk(disk: Arc<dyn Disk>) -> io::Result<Arc<dyn Disk>> {
    let disk = Failing(disk);
    Ok(match std::env::var_os(RECORD) {
        Some(path) => Arc::new(Recorded::new(disk, path.as_ref())?),
        None => Arc::new(disk),
    })
}

struct Failing(Arc<dyn Disk>);

fn fails() -> io::Result<()> {
    const EIO: i32 = 5;
    if SYNCS_FAIL.load(Ordering::SeqCst) {
        return Err(io::Error::from_raw_os_error(EIO));
    }
    Ok(())
}

impl Disk for Failing {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingFile(self.0.open(path, how)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fails()?;
        self.0.sync_dir(dir)
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        fails()?;
        self.0.sync_all(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.0.space(dir)
    }
}

struct FailingFile(Arc<dyn DiskFile>);

impl DiskFile for FailingFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_size(size)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn write_at(&self, parts: &[&[u8]], at: u64) -> io::Result<()> {
        self.0.write_at(parts, at)
    }

    fn sync(&self) -> io::Result<()> {
        fails()?;
        self.0.sync()
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.0.next_data(at)
    }
}
