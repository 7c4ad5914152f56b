//! Times for people: UTC, to the second.

use kerolox_protocol::time::{Civil, civil};

/// `2026-11-28T20:05:13Z`. `ms`: since 1970.
pub(super) fn utc(ms: i64) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = civil(ms);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
