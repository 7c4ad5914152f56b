//! A store that can do so many orders a second and refuses what is more: a token bucket.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Part of a second for which it can save up what it did not do.
const SAVED_UP: f64 = 0.05;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Store {
    per_second: f64,
    state: Mutex<State>,
    /// Whoever waits for the store holds this, so that those who wait do not outrun each other.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Instant,
    refused: u64,
}

impl Store {
    pub(crate) fn new(per_second: u32) -> Store {
        let per_second = f64::from(per_second);
        let state = State { tokens: per_second * SAVED_UP, at: Instant::now(), refused: 0 };
        Store { per_second, state: Mutex::new(state), turn: tokio::sync::Mutex::default() }
    }

    /// Asks it to take one order now. False: it refused, which is counted.
    pub(crate) fn ask(&self) -> bool {
        let mut state = self.filled();
        let takes = state.tokens >= 1.0;
        if takes {
            state.tokens -= 1.0;
        } else {
            state.refused += 1;
        }
        takes
    }

    /// Asks it when it can take one. True if it took it.
    pub(crate) async fn ask_in_time(&self) -> bool {
        let _turn = self.turn.lock().await;
        loop {
            let missing = 1.0 - self.filled().tokens;
            if missing <= 0.0 {
                return self.ask();
            }
            tokio::time::sleep(Duration::from_secs_f64(missing / self.per_second)).await;
        }
    }

    /// How many it has refused.
    pub(crate) fn refused(&self) -> u64 {
        self.filled().refused
    }

    fn filled(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half way.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let grown = now.duration_since(state.at).as_secs_f64() * self.per_second;
        state.tokens = (state.tokens + grown).min(self.per_second * SAVED_UP);
        state.at = now;
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_it_can_do_is_refused_and_counted() {
        let store = Store::new(100);
        let taken = (0..1000).filter(|_| store.ask()).count() as u64;
        assert!(taken >= 5, "what it saved up");
        assert_eq!(store.refused(), 1000 - taken);
    }

    #[tokio::test]
    async fn who_waits_is_not_refused() {
        let store = Store::new(20_000);
        for _ in 0..1200 {
            assert!(store.ask_in_time().await);
        }
        assert_eq!(store.refused(), 0);
    }
}
