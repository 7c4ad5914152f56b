//! Why a demo does not come to its end.

use std::io;

use kerolox_server::StartError;

/// See the module's documentation. The binary makes an exit code of it.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Arguments that do not fit each other.
    #[error("{0}")]
    Arguments(String),
    /// The page's port cannot be had.
    #[error("the page's port {port}: {source}{}", if source.kind() == io::ErrorKind::AddrInUse { "; something else listens there: give another --http-port, or 0 for any free one" } else { "" })]
    Port { port: u16, source: io::Error },
    /// The broker did not start.
    #[error("the demo's broker did not start: {0}")]
    Start(#[from] StartError),
    /// SIGINT, SIGTERM or SIGHUP came before the end.
    #[error("stopped by {0} before the last act was over, so there are no figures")]
    Stopped(&'static str),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        DemoError::Other(error.into())
    }
}
