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
    text(&bytes).map_err(|line| {
        format!("{shown}:{line} is not UTF-8 text; is it a configuration file? Save it as UTF-8")
    })
}

/// The text, or the number of the line that is none. Comments may be in any encoding: Java reads each byte as
/// a character.
fn text(bytes: &[u8]) -> Result<String, usize> {
    let mut text = String::with_capacity(bytes.len());
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) if matches!(line.trim_ascii_start().first(), Some(b'#' | b'!')) => {
                text.push('\n')
            }
            Err(_) => return Err(number + 1),
        }
    }
    Ok(text)
}
