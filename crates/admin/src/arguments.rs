//! Arguments, before they are read: mqadmin does not look at the case of a command's name.

use std::ffi::OsString;

use crate::commands;

/// Where the command stands behind `kerolox admin`: options that all have may stand before it.
pub fn command_at(arguments: &[OsString]) -> Option<usize> {
    let mut is_value = false;
    arguments.iter().position(|argument| {
        let text = argument.to_string_lossy();
        let is_option = text.starts_with('-');
        let is_command = !is_option && !is_value;
        is_value = matches!(&*text, "-n" | "--namesrvAddr" | "--timeout");
        is_command
    })
}

/// Writes a command's name as it is declared: mqadmin does not look at its case. Names that mqadmin has and
/// this release does not are an error that says why.
pub fn canonical(name: &str) -> Result<String, String> {
    if let Some(known) = commands::NAMES.iter().find(|known| known.eq_ignore_ascii_case(name)) {
        return Ok((*known).to_owned());
    }
    let later = commands::LATER
        .iter()
        .find(|(names, _)| names.split(' ').any(|later| later.eq_ignore_ascii_case(name)));
    match later {
        Some((_, why)) => Err(format!("{name}: {why}")),
        None => Ok(name.to_owned()),
    }
}
