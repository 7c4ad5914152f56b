//! Log lines on stderr.

use tracing_subscriber::filter::LevelFilter;

use crate::cli::LogFormat;

/// Starts logging.
pub(crate) fn start(level: tracing::Level, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from_level(level))
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
