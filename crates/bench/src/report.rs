//! The only place that prints. In: lines and results. Out: results on standard output, and lines
//! for a person that watches on standard error.

#![expect(clippy::print_stdout, reason = "this module writes the commands' output")]
#![expect(clippy::print_stderr, reason = "a result can be piped while a person watches")]

use std::collections::BTreeMap;
use std::io::IsTerminal;

use serde::Serialize;

/// Where a command's output goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    live: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Output { json, live: std::io::stderr().is_terminal() }
    }

    /// A line for a person that watches.
    pub(crate) fn progress(self, line: impl FnOnce() -> String) {
        if self.live {
            eprintln!("{}", line());
        }
    }

    /// Nothing is printed while it runs.
    pub(crate) fn silent() -> Self {
        Output { json: true, live: false }
    }

    /// The result: one JSON object, or text.
    pub(crate) fn result<T: Serialize + std::fmt::Display>(self, result: &T) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(result)?);
        } else {
            println!("{result}");
        }
        Ok(())
    }
}

/// Error codes and how often each came, for people.
pub(crate) fn codes(errors: &BTreeMap<i32, u64>) -> String {
    if errors.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<_> = errors.iter().map(|(code, n)| format!("code {code}: {n}")).collect();
    each.join(", ")
}

/// Rounded, so that JSON stays readable.
pub(crate) fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
