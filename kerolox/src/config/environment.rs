//! `KEROLOX_...` variables. Each is that of a flag or names a key; anything else is an error.

use std::sync::LazyLock;

use clap::CommandFactory;
use kerolox_server::settings::keys::{Key, all, hint};

use crate::cli::Cli;

const PREFIX: &str = "KEROLOX_";
/// Left to tests.
const TEST_PREFIX: &str = "KEROLOX_TEST_";

/// The keys that variables name: the variable, its key, its value.
pub(super) fn keys() -> Result<Vec<(String, &'static Key, String)>, String> {
    let mut found: Vec<(String, &'static Key, String)> = Vec::new();
    for (variable, value) in std::env::vars_os() {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let is_known = FLAGS.iter().any(|(_, of_flag)| of_flag == variable)
            || variable.starts_with(TEST_PREFIX);
        let Ok(value) = value.into_string() else {
            return Err(format!("{variable} is not UTF-8 text"));
        };
        if is_known || is_of_kubernetes(variable, &value) {
            continue;
        }
        let name = plain(&variable[PREFIX.len()..]);
        let Some(key) = all().iter().find(|key| plain(key.name) == name) else {
            let hint = hint(&name);
            return Err(format!("{variable}: no flag and no key has that name{hint}"));
        };
        found.push((variable.to_owned(), key, value));
    }
    // By key: what is said of two must not depend on how the environment is ordered.
    found.sort_by(|(a, of_a, _), (b, of_b, _)| (of_a.name, a).cmp(&(of_b.name, b)));
    for pair in found.windows(2) {
        let [(first, key, _), (second, of_second, _)] = pair else { continue };
        if key.name == of_second.name {
            return Err(format!("{second}: {} is set by {first} already", key.name));
        }
    }
    Ok(found)
}

/// Case, underscores and dots do not matter.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '.'));
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// What Kubernetes sets in every container for a service whose name begins with `kerolox`.
pub(crate) fn is_of_kubernetes(variable: &str, value: &str) -> bool {
    let is_link = |text: &str| text.starts_with("tcp://") || text.starts_with("udp://");
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || variable.contains("_TCP")
        || variable.contains("_UDP")
        || (variable.ends_with("_PORT") && is_link(value))
}

/// Every flag of every command that has a variable, and that. Noted once: to make all commands takes a
/// millisecond, and memory that a server would keep.
static FLAGS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let mut found = Vec::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        for argument in command.get_arguments() {
            if let (Some(long), Some(variable)) = (argument.get_long(), argument.get_env()) {
                found.push((format!("--{long}"), variable.to_string_lossy().into_owned()));
            }
        }
        // The many of `admin` have none.
        let others = command.get_subcommands().filter(|command| command.get_name() != "admin");
        commands.extend(others.cloned());
    }
    found
});

/// Whether a flag stands on the command line.
pub(super) fn is_given(flag: &str) -> bool {
    let with_value = format!("{flag}=");
    std::env::args_os()
        .any(|arg| arg == flag || arg.as_encoded_bytes().starts_with(with_value.as_bytes()))
}

/// Where the value of a flag comes from: the flag itself, or its variable.
pub(crate) fn origin_of(flag: &str) -> String {
    if is_given(flag) {
        return flag.to_owned();
    }
    let of_flag = FLAGS.iter().find(|(name, _)| name == flag);
    of_flag.map_or_else(|| flag.to_owned(), |(_, variable)| variable.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_kubernetes_are_known() {
        for (variable, value) in [
            ("KEROLOX_SERVICE_HOST", "10.0.0.1"),
            ("KEROLOX_SERVICE_PORT", "9876"),
            ("KEROLOX_SERVICE_PORT_NAMESRV", "9876"),
            ("KEROLOX_PORT", "tcp://10.0.0.1:9876"),
            ("KEROLOX_BROKER_PORT", "tcp://10.0.0.1:10911"),
            ("KEROLOX_PORT_9876_TCP", "tcp://10.0.0.1:9876"),
            ("KEROLOX_PORT_9876_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_of_kubernetes(variable, value), "{variable}");
        }
        assert!(!is_of_kubernetes("KEROLOX_BROKER_PORT", "10911"));
        assert!(!is_of_kubernetes("KEROLOX_BROKER_NAME", "a"));
    }
}
