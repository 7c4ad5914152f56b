//! A broken promise, and the way to say so.
//!
//! In: what a check found. Out: a text for the report; the run ends with the first one.

use std::fmt;

/// What the broker did that it must not do, or did not do that it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// What a check returns.
pub(crate) type Checked<T = ()> = Result<T, Violation>;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns a [`Violation`] with this text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::violation::Violation(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;
