//! The text of a configuration file. In: its path. Out: the text, or why this is none.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes of a configuration file; one with every key there is has a tenth of that.
const FILE_MAX: u64 = 1 << 20;

/// Reads it. A pipe or a device may have no end.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let failed = |e: std::io::Error| format!("{shown}: {e}");
    // Before it is opened: opening a pipe waits for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("{shown} has more than {FILE_MAX} bytes; is it a configuration file?"));
    }
    String::from_utf8(bytes)
        .map_err(|_| format!("{shown} is not UTF-8 text; is it a configuration file?"))
}
