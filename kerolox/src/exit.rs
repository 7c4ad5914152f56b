//! Exit codes, and the one line that says why.
//!
//! | code | reason |
//! |---|---|
//! | 0 | stopped as asked |
//! | 1 | anything else; of `bench`: messages were lost, doubled, damaged or out of order, or none was acknowledged; of `log check`: something is damaged; of `demo`: an order was lost or done twice |
//! | 2 | the command line or the configuration is wrong |
//! | 3 | a port is in use or cannot be bound |
//! | 4 | the data directory is in use by another process |
//! | 5 | the disk or a quota is full; of a stop: for what Apache's broker needs, nothing is lost |
//! | 6 | the data directory cannot be used: foreign, damaged, of a newer format, read-only |
//! | 7 | the log failed while the server ran |

use std::io::{self, Write as _};
use std::process::ExitCode;

use kerolox_bench::BenchError;
use kerolox_demo::DemoError;
use kerolox_server::{HandOverError, LeaveError, StartError, StopError};

/// Why the program ends.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    why: String,
}

const ENOSPC: i32 = 28;
/// A quota is used up.
const EDQUOT: i32 = 122;

impl Failure {
    /// The command line or the configuration is wrong.
    pub(crate) fn config(why: impl std::fmt::Display) -> Self {
        Failure { code: 2, why: why.to_string() }
    }

    /// The server stopped otherwise than it should.
    pub(crate) fn stop(error: &StopError) -> Self {
        let code = match error {
            StopError::Failed => 7,
            StopError::NotLeft { why, .. } => leave_code(why),
        };
        Failure { code, why: error.to_string() }
    }

    /// A directory was not handed over.
    pub(crate) fn hand_over(error: &HandOverError) -> Self {
        let code = match error {
            HandOverError::Start(start) => return Failure::start(start),
            HandOverError::Leave(why) => leave_code(why),
            HandOverError::Unguarded { .. } => 6,
        };
        Failure { code, why: error.to_string() }
    }

    /// Another process uses the data directory.
    pub(crate) fn in_use(why: impl std::fmt::Display) -> Self {
        Failure { code: 4, why: why.to_string() }
    }

    /// The data directory cannot be used.
    pub(crate) fn unusable(why: impl std::fmt::Display) -> Self {
        Failure { code: 6, why: why.to_string() }
    }

    /// Anything else.
    pub(crate) fn other(why: impl std::fmt::Display) -> Self {
        Failure { code: 1, why: format!("{why:#}") }
    }

    /// The server did not start.
    pub(crate) fn start(error: &StartError) -> Self {
        let code = match error {
            _ if is_full(error.io()) => 5,
            StartError::Port { .. } => 3,
            StartError::Locked { .. } => 4,
            StartError::Identity(_)
            | StartError::Recover(_)
            | StartError::Keeper(_)
            | StartError::Adopt(_)
            | StartError::Io { .. } => 6,
        };
        Failure { code, why: error.to_string() }
    }

    /// The demo did not come to its end.
    pub(crate) fn demo(error: &DemoError) -> Self {
        let code = match error {
            DemoError::Arguments(_) => 2,
            DemoError::Port { .. } => 3,
            DemoError::Start(start) => Failure::start(start).code,
            DemoError::Stopped(_) | DemoError::Other(_) => 1,
        };
        Failure { code, why: error.to_string() }
    }

    /// The load generator did not come to its end.
    pub(crate) fn bench(error: BenchError) -> Self {
        match error {
            BenchError::Arguments(why) => Failure::config(why),
            BenchError::Other(why) => Failure::other(why),
        }
    }

    /// Says why on stderr and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        say(&self.why);
        ExitCode::from(self.code)
    }
}

fn is_full(error: Option<&std::io::Error>) -> bool {
    error.is_some_and(|e| matches!(e.raw_os_error(), Some(ENOSPC | EDQUOT)))
}

fn leave_code(why: &LeaveError) -> u8 {
    if is_full(why.io()) { 5 } else { 1 }
}

/// A line on stderr. The exit code holds also where nobody reads it.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "kerolox: {line}");
}
