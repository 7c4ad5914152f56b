//! The broker's time: the machine's clock, but for the times when that was set back.
//!
//! In: the machine's clocks. Out: milliseconds that never decrease, for store times, timers and
//! retention. While the machine's clock is behind, this one goes on at half its speed until the
//! other has caught up: standing still, no delayed message would become due for as long; following
//! it, store times would decrease. A clock that is set forward is followed at once.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// See the module's documentation.
pub struct Clock {
    reading: Mutex<Reading>,
}

impl Clock {
    /// `not_before`: the last store time in the log, in ms since 1970.
    pub fn new(not_before: i64) -> Self {
        Clock { reading: Mutex::new(Reading { last: not_before, slow_since: None }) }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let wall = wall_ms();
        self.reading.lock().now(wall, Instant::now())
    }

    /// How far the machine's clock is behind this one, in ms.
    pub fn ahead_ms(&self) -> i64 {
        self.now_ms() - wall_ms()
    }
}

/// The machine's clock, in ms since 1970.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    #[cfg(debug_assertions)]
    let wall = wall + crate::trial::clock_set_by();
    wall
}

struct Reading {
    /// What was said last.
    last: i64,
    /// While the machine's clock is behind: from what time on, and since when.
    slow_since: Option<(i64, Instant)>,
}

impl Reading {
    fn now(&mut self, wall: i64, at: Instant) -> i64 {
        let (from, since) = *self.slow_since.get_or_insert((self.last, at));
        let slow = from + at.saturating_duration_since(since).as_millis() as i64 / 2;
        if wall >= slow {
            self.slow_since = None;
        }
        self.last = wall.max(slow);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_follows_the_machine_but_never_back() {
        let start = Instant::now();
        let mut reading = Reading { last: 500, slow_since: None };
        let mut now = |wall, ms| reading.now(wall, start + Duration::from_millis(ms));
        assert_eq!(now(1_000, 0), 1_000);
        // Set forward: followed.
        assert_eq!(now(10_000, 1), 10_000);
        // Set back by 4 s: half as fast, in steps however small, until the other has caught up.
        assert_eq!(now(6_000, 1), 10_000);
        for ms in 2..=2_001 {
            assert_eq!(now(6_000 + ms as i64, ms), 10_000 + (ms as i64 - 1) / 2);
        }
        assert_eq!(now(12_999, 7_000), 13_499);
        assert_eq!(now(14_001, 8_001), 14_001);
        assert_eq!(now(14_101, 8_101), 14_101);
    }

    #[test]
    fn a_log_from_the_future_does_not_stop_it() {
        let start = Instant::now();
        let mut reading = Reading { last: 5_000, slow_since: None };
        assert_eq!(reading.now(1_000, start), 5_000);
        assert_eq!(reading.now(2_000, start + Duration::from_secs(1)), 5_500);
    }
}
