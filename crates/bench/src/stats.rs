//! Figures: latencies in a histogram, and the processor time that the generator itself took.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart, in microseconds: a minute.
const LATENCY_MAX: u64 = 60_000_000;

/// Latencies in microseconds. Histograms are merged, percentiles never averaged.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let bounds = "1 µs to a minute with three digits are bounds that a histogram can have";
        Latencies(Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect(bounds))
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: std::time::Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// Adds `other`.
    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// Adds `other`, and empties it.
    pub(crate) fn take(&mut self, other: &mut Latencies) {
        self.add(other);
        other.0.reset();
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Summary {
            mean: (self.0.mean() * 10.0).round() / 10.0,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: self.0.max(),
        }
    }
}

/// Percentiles, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub mean: f64,
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub p99_99: u64,
    pub max: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { mean, p50, p95, p99, p99_9, p99_99, max } = self;
        write!(
            f,
            "mean {mean} · p50 {p50} · p95 {p95} · p99 {p99} · p99.9 {p99_9} · p99.99 {p99_99} · max {max} µs"
        )
    }
}

/// Processor seconds of this process so far, where `/proc` tells them.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the command's name, which may hold spaces: state is the first field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn merged_latencies_are_all_there() {
        let (mut all, mut part) = (Latencies::default(), Latencies::default());
        for n in 1..=1000 {
            part.record(Duration::from_micros(n));
            if n % 300 == 0 {
                all.take(&mut part);
            }
        }
        all.take(&mut part);
        all.take(&mut part);
        let summary = all.summary();
        assert_eq!((summary.p50, summary.p99, summary.max), (500, 990, 1000));
        assert_eq!(summary.mean, 500.5);
    }
}
