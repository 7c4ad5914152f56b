//! What was measured of the others, written down: JSON for each product, and from all of it one table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::{About, Durability, Measured, Name, Run};
use crate::compare::measure::Metrics;
use crate::compare::report::{commit, machine, number, of_rounds, probed, put, spread};
use crate::proc;

const BEGIN: &str = "<!-- begin: written by cargo xtask compare --others -->";
const END: &str = "<!-- end: written by cargo xtask compare --others -->";

const ROWS: [&str; 3] = ["single", "best", "consume"];

/// Writes a product's results to its file.
pub(super) fn keep(
    results: &Path,
    run: &Run,
    name: Name,
    about: &About,
    measured: &Measured,
) -> Result<()> {
    let mut cases = serde_json::Map::new();
    for case in &measured.cases {
        let mut rows = serde_json::Map::new();
        for (row, rounds) in &case.rows {
            let of_rounds = of_rounds(&rounds.iter().collect::<Vec<&Metrics>>());
            rows.insert((*row).to_string(), json!({"rounds": rounds, "of_rounds": of_rounds}));
        }
        cases.insert(case.durability.key().to_string(), Value::Object(rows));
    }
    let json = json!({
        "product": name.key(),
        "title": about.title,
        "tool": about.tool,
        "broker": about.broker,
        "loads": {"single": about.single, "best": about.best, "consume": about.consume},
        "acknowledged": {"synced": about.synced, "written": about.written},
        "quick": run.quick,
        "measured_at": SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        "commit": commit(&run.root),
        "machine": proc::machine(),
        "load_average": {"before": measured.load_average_before, "behind": proc::load_average()},
        "probes": measured.probes,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "cases": cases,
    });
    put_json(results, name, &json)
}

/// Notes that a product cannot be had here, and why.
pub(super) fn keep_absence(results: &Path, run: &Run, name: Name, why: &str) -> Result<()> {
    let json = json!({
        "product": name.key(),
        "commit": commit(&run.root),
        "machine": proc::machine(),
        "not_available": why,
    });
    put_json(results, name, &json)
}

fn put_json(results: &Path, name: Name, json: &Value) -> Result<()> {
    fs::create_dir_all(results)?;
    fs::write(results.join(format!("{}.json", name.key())), format!("{json:#}\n"))?;
    Ok(())
}

/// Writes the table, and the document's part, from all products that were kept.
pub(super) fn write(results: &Path, document: Option<&Path>) -> Result<()> {
    let mut kept = Vec::new();
    for name in Name::value_variants() {
        if let Ok(text) = fs::read_to_string(results.join(format!("{}.json", name.key()))) {
            kept.push(serde_json::from_str::<Value>(&text)?);
        }
    }
    let Some(first) = kept.first() else { return Ok(()) };
    let body = format!(
        "{}\n\n{}\n{}\n{}",
        machine(&first["machine"]),
        table(&kept),
        words(&kept),
        origin(&kept)
    );
    let text = format!(
        "# Kerolox beside products of other kinds\n\nWritten by `cargo xtask compare --others`; how it \
         is measured stands in [docs/performance.md](../../../docs/performance.md).\n\n{body}"
    );
    fs::write(results.join("README.md"), text)?;
    if let Some(document) = document {
        put(document, BEGIN, END, &body)?;
    }
    Ok(())
}

fn title(json: &Value) -> &str {
    json["title"].as_str().or(json["product"].as_str()).unwrap_or_default()
}

/// A product's figures in two lines: with a sync before each acknowledgement, and without.
fn table(kept: &[Value]) -> String {
    let mut out = String::from(
        "Messages per second, 1 KiB: medians of the rounds, in parentheses the least and the most. CPU \
         per message and memory are the broker's; three figures are those of the three loads.\n\n\
         | product | sync before each acknowledgement | 64 × 1, or nearest | pipelined, as it does best | consume | CPU per message, µs | memory, MiB |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for json in kept {
        let title = title(json);
        if let Some(why) = json["not_available"].as_str() {
            let _ = writeln!(out, "| {title} | not available: {why} | – | – | – | – | – |");
            continue;
        }
        for durability in Durability::BOTH {
            let rows = &json["cases"][durability.key()];
            let rate = |row: &str| spread(&rows[row]["of_rounds"]["per_second"], 0);
            let each = |key: &str, digits| {
                let median = |row| rows[row]["of_rounds"][key]["median"].as_f64();
                let one =
                    |row| median(row).map_or("–".to_string(), |value| number(value, digits));
                ROWS.map(one).join(" / ")
            };
            let synced = if durability == Durability::Synced { "yes" } else { "no" };
            let _ = writeln!(
                out,
                "| {title} | {synced} | {} | {} | {} | {} | {} |",
                rate("single"),
                rate("best"),
                rate("consume"),
                each("cpu_us", 1),
                each("rss_mib", 0),
            );
        }
    }
    out
}

/// What each product's loads are, and what its acknowledgement means.
fn words(kept: &[Value]) -> String {
    let mut out = String::from(
        "| product | broker | tool | 64 × 1, or nearest | pipelined | consume | acknowledged, with sync | acknowledged, without |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for json in kept.iter().filter(|json| json["not_available"].is_null()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (loads, acknowledged) = (&json["loads"], &json["acknowledged"]);
        let cells = [
            title(json).to_string(),
            text(&json["broker"]),
            text(&json["tool"]),
            text(&loads["single"]),
            text(&loads["best"]),
            text(&loads["consume"]),
            text(&acknowledged["synced"]),
            text(&acknowledged["written"]),
        ];
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

/// How each product's figures were taken, and the state of the machine meanwhile.
fn origin(kept: &[Value]) -> String {
    let mut out = String::new();
    for json in kept.iter().filter(|json| json["not_available"].is_null()) {
        let load = |when: &str| number(json["load_average"][when].as_f64().unwrap_or(0.0), 1);
        let _ = writeln!(
            out,
            "- {}: commit {}, {} rounds of {} s; load average {} before and {} behind.",
            title(json),
            json["commit"].as_str().unwrap_or("unknown"),
            json["rounds"],
            json["seconds"],
            load("before"),
            load("behind")
        );
        let probes: Vec<_> = json["probes"].as_array().into_iter().flatten().map(probed).collect();
        let _ = writeln!(out, "  Probes: {}.", probes.join("; behind: "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_stands_in_the_table() {
        let figures = json!({"per_second": {"median": 1000.0, "min": 900.0, "max": 1100.0},
            "cpu_us": {"median": 2.5}, "rss_mib": {"median": 20.0}});
        let rows = json!({"single": {"of_rounds": figures}, "best": {"of_rounds": figures}});
        let kept = [
            json!({"product": "a", "title": "A 1", "cases": {"synced": rows, "written": {}}}),
            json!({"product": "b", "not_available": "no package"}),
        ];
        let table = table(&kept);
        let line = "| A 1 | yes | 1,000 (900–1,100) | 1,000 (900–1,100) | – | 2.5 / 2.5 / – | 20 / 20 / – |";
        assert!(table.contains(line), "{table}");
        assert!(table.contains("| b | not available: no package |"), "{table}");
        assert!(!words(&kept).contains("| b |"));
    }
}
