//! Log lines on stderr. One that cannot be written is dropped: a broker does not end because nobody reads its log.

use tracing_subscriber::filter::LevelFilter;

use crate::cli::LogFormat;

/// Starts logging.
pub(crate) fn start(level: tracing::Level, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from_level(level))
        .with_writer(std::io::stderr)
        // The word on it would go to stderr as well, and panic where that fails.
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
