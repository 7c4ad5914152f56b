//! The only place that prints. In: lines and results. Out: results on standard output, and lines
//! for a person that watches on standard error.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write as _};

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
            // Without a watcher the run goes on.
            let _ = writeln!(io::stderr(), "{}", line());
        }
    }

    /// Nothing is printed while it runs.
    pub(crate) fn silent() -> Self {
        Output { json: true, live: false }
    }

    /// The result: one JSON object, or text.
    pub(crate) fn result<T: Serialize + std::fmt::Display>(self, result: &T) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            writeln!(out, "{}", serde_json::to_string(result)?)
        } else {
            writeln!(out, "{result}")
        };
        match written {
            // Whoever reads may have had enough.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
            _ => Ok(()),
        }
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
