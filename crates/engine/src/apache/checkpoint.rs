//! Apache's file `checkpoint`: up to when everything was synced.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | store time of the log's last synced record, ms |
//! | 8 | 8 | the same for consume queues |
//! | 16 | 8 | the same for index files |
//! | | | zeros, up to 4,096 bytes |

use std::io;
use std::path::Path;

use kerolox_log::disk::{Disk, Open, read_full, write_whole};

/// Name of the file in the data directory.
pub const NAME: &str = "checkpoint";
const SIZE: usize = 4096;

/// Up to when all records were on the disk, in ms; 0 if nothing tells.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<i64> {
    let file = match disk.open(&data_dir.join(NAME), Open::Read) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut word = [0; 8];
    let read = read_full(&*file, &mut word, 0)?;
    Ok(if read == word.len() { i64::from_be_bytes(word) } else { 0 })
}

/// Tells Apache's broker nothing, so that it looks at all records for what it derives from them.
pub fn clear(disk: &dyn Disk, data_dir: &Path) -> io::Result<()> {
    write_whole(disk, &data_dir.join(NAME), &[0; SIZE])
}
