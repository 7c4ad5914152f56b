//! How long and how fast each act is. In: arguments. Out: a plan, whose parts fit each other.

use std::time::Duration;

use crate::DemoArgs;

/// Logistics works this many times as fast as orders come: so it catches up, and one can watch it.
const CATCH_UP_FACTOR: u32 = 3;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Orders a second in the first act.
    pub(crate) rate: u32,
    /// What logistics can do a second in the first act.
    pub(crate) logistics_rate: u32,
    /// How long all is well before logistics goes down, and after it has caught up.
    pub(crate) calm: Duration,
    pub(crate) down: Duration,
    /// Orders of the second act, and how many a second.
    pub(crate) asked: u32,
    pub(crate) asked_rate: u32,
    /// Orders a second in the burst of the third act.
    pub(crate) burst: u32,
    pub(crate) burst_length: Duration,
    /// What the store can do a second.
    pub(crate) store: u32,
    /// How often a line is printed where nothing can be redrawn.
    pub(crate) line_every: Duration,
}

impl Plan {
    /// An error says which arguments do not fit.
    pub(crate) fn new(args: &DemoArgs) -> Result<Plan, String> {
        if args.burst <= args.store {
            return Err(format!(
                "--burst {} is no more than the store can do (--store {}), so nothing would wait: give a larger burst or a smaller store",
                args.burst, args.store
            ));
        }
        let seconds = |given: Option<u32>, quick: u64, usual: u64| match given {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None => Duration::from_millis(if args.quick { quick } else { usual }),
        };
        let either = |quick: u64, usual: u64| if args.quick { quick } else { usual };
        Ok(Plan {
            rate: args.rate,
            logistics_rate: args.rate * CATCH_UP_FACTOR,
            calm: Duration::from_millis(either(300, 2000)),
            down: seconds(args.down, 800, 4000),
            asked: either(20, 100) as u32,
            asked_rate: either(40, 25) as u32,
            burst: args.burst,
            burst_length: seconds(args.burst_seconds, 400, 3000),
            store: args.store,
            line_every: Duration::from_millis(either(250, 1000)),
        })
    }

    /// Orders in the burst.
    pub(crate) fn burst_orders(&self) -> u64 {
        (f64::from(self.burst) * self.burst_length.as_secs_f64()) as u64
    }

    /// The lag that logistics will have when it comes back, about.
    pub(crate) fn lag_of_first_act(&self) -> u64 {
        (f64::from(self.rate) * self.down.as_secs_f64()) as u64
    }

    /// The lag that inventory will have at the end of the burst, about.
    pub(crate) fn lag_of_burst(&self) -> u64 {
        (f64::from(self.burst - self.store) * self.burst_length.as_secs_f64()) as u64
    }
}
