//! Open loop: when each message is due. A steady rate, and perhaps a surge.

use std::time::{Duration, Instant};

/// More messages than usual for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surge {
    /// After the start.
    pub(crate) from: Duration,
    pub(crate) length: Duration,
    /// How many times as many.
    pub(crate) factor: f64,
}

/// When a worker's messages are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between two messages, outside a surge.
    pub(crate) interval: Duration,
    pub(crate) surge: Option<Surge>,
}

impl Pace {
    /// When message `n` is due.
    pub(crate) fn due_at(&self, start: Instant, n: u64) -> Instant {
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(n));
        let steady = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2));
        start + self.surge.map_or(steady, |surge| surge.due_after(steady))
    }
}

impl Surge {
    /// When what a steady rate would send after `steady` is due.
    fn due_after(&self, steady: Duration) -> Duration {
        let Some(beyond) = steady.checked_sub(self.from) else { return steady };
        // So much of the steady rate's time passes during the surge.
        let during = self.length.mul_f64(self.factor);
        match beyond.checked_sub(during) {
            None => self.from + beyond.div_f64(self.factor),
            Some(behind) => self.from + self.length + behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surge_brings_more_messages_and_the_old_rate_follows() {
        let second = Duration::from_secs(1);
        let surge = Surge { from: second, length: 2 * second, factor: 3.0 };
        let pace = Pace { interval: Duration::from_millis(100), surge: Some(surge) };
        let start = Instant::now();
        let mut of_second = [0; 5];
        for n in 0..90 {
            let due = pace.due_at(start, n) - start;
            if let Some(count) = of_second.get_mut(due.as_secs() as usize) {
                *count += 1;
            }
        }
        assert_eq!(of_second, [10, 30, 30, 10, 10]);
    }
}
