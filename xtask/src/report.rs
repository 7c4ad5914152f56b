//! The table at the end of `test` and `ci`: step, result, seconds.

use std::time::{Duration, Instant};

use anyhow::Result;

pub(crate) enum Outcome {
    Passed,
    Failed,
    /// Not run, and that is no failure.
    Skipped,
}

struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
    /// Why it failed or was skipped; empty when it passed.
    reason: String,
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Runs a step and notes how it ended. The steps behind a failed one still run.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        println!("\n== {name}");
        let begin = Instant::now();
        let (outcome, reason) = match step() {
            Ok(()) => (Outcome::Passed, String::new()),
            Err(error) => (Outcome::Failed, format!("{error:#}")),
        };
        let passed = reason.is_empty();
        if !passed {
            println!("{name} failed: {reason}");
        }
        self.rows.push(Row { name: name.into(), outcome, took: begin.elapsed(), reason });
        passed
    }

    /// Notes a step that was not run.
    pub(crate) fn without(&mut self, name: &str, outcome: Outcome, reason: String) {
        self.rows.push(Row { name: name.into(), outcome, took: Duration::ZERO, reason });
    }

    /// Prints the table and says whether nothing failed.
    pub(crate) fn finish(self, first_column: &str) -> bool {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(8);
        println!("\n{first_column:width$}  result   seconds");
        for row in &self.rows {
            let result = match row.outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "failed",
                Outcome::Skipped => "skipped",
            };
            let reason = row.reason.lines().next().unwrap_or("");
            let line = format!(
                "{:width$}  {result:7}  {:7.1}  {reason}",
                row.name,
                row.took.as_secs_f64()
            );
            println!("{}", line.trim_end());
        }
        !self.rows.iter().any(|row| matches!(row.outcome, Outcome::Failed))
    }
}
