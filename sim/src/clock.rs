//! The time of a run: a wall clock that steps back now and then, and the time that truly passed.

/// See the module's documentation. Both in ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    wall: i64,
    elapsed: i64,
}

/// Where wall clocks begin: some time in 2023.
const BEGIN: i64 = 1_700_000_000_000;

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { wall: BEGIN, elapsed: 0 }
    }

    /// What the broker is told.
    pub(crate) fn now(&self) -> i64 {
        self.wall
    }

    /// Since the run began: never steps back.
    pub(crate) fn elapsed(&self) -> i64 {
        self.elapsed
    }

    /// The latest time that the wall clock ever showed, or later.
    pub(crate) fn latest(&self) -> i64 {
        BEGIN + self.elapsed
    }

    /// Time passes.
    pub(crate) fn advance(&mut self, ms: i64) {
        self.wall += ms;
        self.elapsed += ms;
    }

    /// Someone sets the clock back.
    pub(crate) fn step_back(&mut self, ms: i64) {
        self.wall -= ms;
    }

    /// How far the wall clock is behind the time that passed.
    pub(crate) fn behind(&self) -> i64 {
        self.latest() - self.wall
    }
}
