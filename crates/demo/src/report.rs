//! The figures that were counted: as rows of a table, and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::stage::Stage;

/// Numbers of lost and doubled orders that are named.
const NAMED_MAX: usize = 20;

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Millis(pub(crate) f64);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        // Microseconds are enough to see, and shorter to read in JSON.
        Millis(duration.as_micros() as f64 / 1000.0)
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < 10.0 { write!(f, "{:.1} ms", self.0) } else { write!(f, "{:.0} ms", self.0) }
    }
}

/// Median and 99th percentile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: Millis,
    pub(crate) p99: Millis,
}

impl Spread {
    /// Of times in any order, if there are any.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Spread> {
        times.sort_unstable();
        let at = |percent: usize| {
            // The nearest rank: so many percent are at most this.
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().map(Millis::from)
        };
        Some(Spread { p50: at(50)?, p99: at(99)? })
    }
}

/// The first act.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Decoupling {
    pub(crate) orders: u64,
    pub(crate) seconds_down: f64,
    pub(crate) accepted_while_down: u64,
    pub(crate) greatest_lag: u64,
    pub(crate) catch_up_seconds: f64,
    pub(crate) redelivered: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
}

/// The second act.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Asynchrony {
    pub(crate) orders: u64,
    pub(crate) one_after_the_other_ms: Spread,
    pub(crate) in_parallel_ms: Spread,
    pub(crate) with_the_queue_ms: Spread,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
}

/// The third act.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Levelling {
    pub(crate) orders: u64,
    pub(crate) burst_seconds: f64,
    pub(crate) store_per_second: u32,
    pub(crate) refused_without_the_queue: u64,
    /// By the store, and by the broker.
    pub(crate) refused_with_the_queue: u64,
    pub(crate) greatest_lag: u64,
    pub(crate) drained_seconds: f64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
}

/// A service at the end.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServiceFigures {
    pub(crate) name: &'static str,
    pub(crate) done: u64,
    pub(crate) redelivered: u64,
    pub(crate) left_in_broker: i64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// The first of them.
    pub(crate) lost_orders: Vec<u64>,
    pub(crate) twice_orders: Vec<u64>,
}

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) orders_accepted: u64,
    pub(crate) orders_refused: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) services: Vec<ServiceFigures>,
    pub(crate) decoupling: Option<Decoupling>,
    pub(crate) asynchrony: Option<Asynchrony>,
    pub(crate) levelling: Option<Levelling>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// What is claimed, in the first row about it only.
    pub(crate) about: &'static str,
    pub(crate) what: String,
    pub(crate) figure: String,
}

impl Figures {
    /// Adds what is known only when all acts are over and the services have stopped.
    pub(crate) async fn close(&mut self, stage: &Stage, took: Duration) -> anyhow::Result<()> {
        let accepted = stage.orders.accepted_from(0);
        self.seconds = rounded(took);
        self.orders_accepted = accepted.len() as u64;
        self.orders_refused = stage.orders.refused();
        for service in stage.services() {
            let audit = service.audit(&accepted);
            let first = |ids: &[u64]| ids.iter().copied().take(NAMED_MAX).collect();
            self.services.push(ServiceFigures {
                name: service.name,
                done: service.done(),
                redelivered: service.redelivered(),
                left_in_broker: service.left_in_broker().await?,
                lost: audit.lost.len() as u64,
                twice: audit.twice.len() as u64,
                lost_orders: first(&audit.lost),
                twice_orders: first(&audit.twice),
            });
        }
        self.lost = self.services.iter().map(|service| service.lost).sum();
        self.twice = self.services.iter().map(|service| service.twice).sum();
        Ok(())
    }

    /// Whether every promise was kept.
    pub(crate) fn good(&self) -> bool {
        self.lost == 0 && self.twice == 0
    }

    /// Which orders were lost or done twice, a line for each service and kind.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let list = |ids: &[u64], count: u64| {
            let named: Vec<String> = ids.iter().map(u64::to_string).collect();
            let more = count - named.len() as u64;
            let end = if more > 0 { format!(" and {more} more") } else { String::new() };
            named.join(", ") + &end
        };
        let mut lines = Vec::new();
        for service in &self.services {
            if service.lost > 0 {
                let ids = list(&service.lost_orders, service.lost);
                lines.push(format!("lost by {}: orders {ids}", service.name));
            }
            if service.twice > 0 {
                let ids = list(&service.twice_orders, service.twice);
                lines.push(format!("done twice by {}: orders {ids}", service.name));
            }
        }
        lines
    }

    /// The table, of what is known by now.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(act) = &self.decoupling {
            act.rows(&mut rows);
        }
        if let Some(act) = &self.asynchrony {
            act.rows(&mut rows);
        }
        if let Some(act) = &self.levelling {
            act.rows(&mut rows);
        }
        if !self.services.is_empty() {
            self.books(&mut rows);
        }
        rows
    }

    fn books(&self, rows: &mut Vec<Row>) {
        let mut table =
            Table { about: "The books: what was accepted, and what each service did", rows };
        table.add("orders accepted", number(self.orders_accepted));
        for service in &self.services {
            let again = match service.redelivered {
                0 => String::new(),
                again => format!(" ({} came again, recognised)", number(again)),
            };
            table.add(format!("done by {}", service.name), number(service.done) + &again);
        }
        table.add("lost", number(self.lost));
        table.add("done twice", number(self.twice));
    }
}

impl Decoupling {
    fn rows(&self, rows: &mut Vec<Row>) {
        let mut table = Table { about: "Decoupling: a service goes down, and orders go on", rows };
        let accepted = number(self.accepted_while_down);
        let down = self.seconds_down;
        table.add("accepted while logistics was down", format!("{accepted} in {down:.1} s"));
        table.add("its greatest lag", format!("{} orders", number(self.greatest_lag)));
        table.add("until it had caught up", format!("{:.1} s", self.catch_up_seconds));
        table.faults(self.lost, self.twice);
    }
}

impl Asynchrony {
    fn rows(&self, rows: &mut Vec<Row>) {
        let mut table = Table { about: "Asynchrony: the answer does not wait for the work", rows };
        let mut add = |what: &str, spread: &Spread| {
            table.add(what, format!("{}, p99 {}", spread.p50, spread.p99));
        };
        add("answer, one service after the other", &self.one_after_the_other_ms);
        add("answer, all three in parallel", &self.in_parallel_ms);
        add("answer, with the queue", &self.with_the_queue_ms);
        table.faults(self.lost, self.twice);
    }
}

impl Levelling {
    fn rows(&self, rows: &mut Vec<Row>) {
        let mut table = Table { about: "Levelling: a burst waits, and is not refused", rows };
        let burst = format!("{} in {:.1} s", number(self.orders), self.burst_seconds);
        table.add("orders in the burst", burst);
        table.add("the store can do", format!("{} a second", number(self.store_per_second.into())));
        let part = 100.0 * self.refused_without_the_queue as f64 / self.orders.max(1) as f64;
        let refused = format!("{} ({part:.0} %)", number(self.refused_without_the_queue));
        table.add("refused without the queue", refused);
        table.add("refused with the queue", number(self.refused_with_the_queue));
        table.add("greatest lag", format!("{} orders", number(self.greatest_lag)));
        table.add("until all was done", format!("{:.1} s", self.drained_seconds));
        table.faults(self.lost, self.twice);
    }
}

/// Rows about one thing.
struct Table<'a> {
    about: &'static str,
    rows: &'a mut Vec<Row>,
}

impl Table<'_> {
    fn add(&mut self, what: impl Into<String>, figure: String) {
        let about = std::mem::take(&mut self.about);
        self.rows.push(Row { about, what: what.into(), figure });
    }

    fn faults(&mut self, lost: u64, twice: u64) {
        self.add("lost, done twice", format!("{}, {}", number(lost), number(twice)));
    }
}

/// Seconds, to the millisecond.
pub(crate) fn rounded(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// A number with commas between thousands.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        let texts = [0, 999, 1000, 15_000, 1_234_567].map(number);
        assert_eq!(texts, ["0", "999", "1,000", "15,000", "1,234,567"]);
    }

    #[test]
    fn a_spread_takes_the_nearest_rank() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(Spread::of(times), Some(Spread { p50: Millis(50.0), p99: Millis(99.0) }));
        let one = vec![Duration::from_millis(7)];
        assert_eq!(Spread::of(one), Some(Spread { p50: Millis(7.0), p99: Millis(7.0) }));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn complaints_name_the_orders() {
        let service = ServiceFigures {
            name: "payment",
            done: 3,
            redelivered: 0,
            left_in_broker: 0,
            lost: 30,
            twice: 1,
            lost_orders: vec![1, 2],
            twice_orders: vec![9],
        };
        let figures = Figures { services: vec![service], lost: 30, twice: 1, ..Figures::default() };
        assert!(!figures.good());
        let lines = ["lost by payment: orders 1, 2 and 28 more", "done twice by payment: orders 9"];
        assert_eq!(figures.complaints(), lines);
    }
}
