//! How fast memory is copied. In: a time. Out: 10⁹ bytes a second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::report;

/// Far more than any cache holds.
const SIZE: usize = 128 << 20;

pub(super) fn copy_rate(time: Duration) -> f64 {
    let from = vec![1u8; SIZE];
    let mut to = vec![2u8; SIZE];
    let (begin, mut bytes) = (Instant::now(), 0.0);
    while begin.elapsed() < time {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        bytes += SIZE as f64;
    }
    report::round(bytes / begin.elapsed().as_secs_f64() / 1e9)
}
