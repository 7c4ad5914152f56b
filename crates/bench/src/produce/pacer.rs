//! Wakes an event loop at a given moment. `epoll`'s own timeout counts in milliseconds, too coarse
//! for an open loop; a timer descriptor does not.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

#[cfg(target_os = "linux")]
pub(crate) use timer::Pacer;

#[cfg(not(target_os = "linux"))]
pub(crate) use coarse::Pacer;

#[cfg(target_os = "linux")]
mod timer {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::{Duration, Instant, Registry, Token, io};

    /// One alarm clock.
    #[derive(Debug)]
    pub(crate) struct Pacer {
        timer: OwnedFd,
        set_to: Option<Instant>,
    }

    impl Pacer {
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let timer = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )?;
            // Edge-triggered: each expiry is an edge, so the timer needs no reading.
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Pacer { timer, set_to: None })
        }

        /// The loop is woken at `at`. Tells how long it may sleep beside that.
        pub(crate) fn set(&mut self, at: Instant, now: Instant) -> io::Result<Option<Duration>> {
            if at <= now {
                return Ok(Some(Duration::ZERO));
            }
            if self.set_to != Some(at) {
                // Never 0, which would disarm it.
                let wait = (at - now).max(Duration::from_nanos(1));
                let value = Timespec {
                    tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: wait.subsec_nanos().into(),
                };
                let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
                let spec = Itimerspec { it_interval: zero, it_value: value };
                timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
                self.set_to = Some(at);
            }
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod coarse {
    use super::{Duration, Instant, Registry, Token, io};

    /// Elsewhere the loop's own timeout must do: sends may be a millisecond late.
    #[derive(Debug)]
    pub(crate) struct Pacer;

    impl Pacer {
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Pacer)
        }

        pub(crate) fn set(&mut self, at: Instant, now: Instant) -> io::Result<Option<Duration>> {
            Ok(Some(at.saturating_duration_since(now)))
        }
    }
}
