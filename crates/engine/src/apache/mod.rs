//! A data directory changes hands: from Apache's broker to Kerolox and back.
//!
//! - [`adopt`]: at a start, what Apache's broker left becomes the state from which the log goes on.
//! - [`leave`]: at a clean stop, what that broker needs is written beside the log.
//! - [`tables`]: its JSON files. [`queues`]: its consume queues. [`checkpoint`]: how far it had synced.
//!
//! Whose turn it is say guard and mark ([`kerolox_log::handover`]).

pub mod adopt;
pub mod checkpoint;
pub mod leave;
pub mod queues;
pub mod tables;

use std::io;
use std::path::Path;

use kerolox_log::disk::Disk;

/// A file that is there while Apache's broker runs, and after it was killed.
const ABORT: &str = "abort";

/// Removes a file, or a folder with all that is in it.
fn remove_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let entries = match disk.list(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        // It is no folder.
        Err(why) if why.kind() == io::ErrorKind::NotADirectory => return disk.remove(path),
        entries => entries?,
    };
    for entry in entries {
        let path = path.join(&entry.name);
        if entry.is_dir { remove_all(disk, &path)? } else { disk.remove(&path)? }
    }
    disk.remove_dir(path)
}
