//! What was measured, written down: JSON for each row, and from all of it one table, plots, and the
//! tables of the document on performance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::measure::Metrics;
use super::plot::{self, Bar};
use super::run::{Case, Row, Run};
use super::systems::{BROKER_FLAGS, Name};
use crate::{proc, process};

/// Figures in the order in which they are told: key, what it is, digits behind the point.
const METRICS: &[(&str, &str, usize)] = &[
    ("per_second", "messages/s", 0),
    ("mb_per_s", "MB/s of bodies", 0),
    ("says_ms", "ms until it says that it serves", 0),
    ("ready_ms", "ms until a send is accepted", 0),
    ("delivered_per_second", "deliveries/s to all groups", 0),
    ("mean_us", "latency, mean, µs", 0),
    ("p50_us", "latency, p50, µs", 0),
    ("p95_us", "p95, µs", 0),
    ("p99_us", "p99, µs", 0),
    ("p99_9_us", "p99.9, µs", 0),
    ("p99_99_us", "p99.99, µs", 0),
    ("max_us", "max, µs", 0),
    ("produce_p99_us", "latency of the sends alone, p99, µs", 0),
    ("alone_p99_us", "p99 of sends without the drain, µs", 0),
    ("meanwhile_p99_us", "p99 of sends with the drain, µs", 0),
    ("meanwhile_ratio", "the latter over the former", 2),
    ("before_p99_us", "p99 before the surge, µs", 0),
    ("surge_p99_us", "p99 of what came in the surge, µs", 0),
    ("recovered_s", "s after the surge until p99 is at most twice what it was", 0),
    ("deleted_files", "log files deleted meanwhile", 0),
    ("cpu_us", "broker CPU per message, µs", 2),
    ("client_cpu_us", "load generator's CPU per message, µs", 2),
    ("rss_mib", "resident memory at the end, MiB", 1),
    ("peak_mib", "its peak, MiB", 1),
    ("bytes_per_queue", "memory per queue beyond an empty broker, B", 0),
    ("queues", "queues in use", 0),
    ("setup_s", "s until they all were", 1),
    ("fixed_per_second", "messages/s at the fixed rate", 0),
    ("fixed_cpu_us", "broker CPU per message at the fixed rate, µs", 2),
    ("fixed_p99_us", "p99 at the fixed rate, µs", 0),
    ("device_ratio", "bytes that the disk wrote per byte of payload", 2),
    ("write_ratio", "the same as counted for the broker's process", 2),
    ("seal_percent", "seals and state, % of the log's bytes", 2),
    ("lost", "lost", 0),
    ("doubled", "doubled", 0),
    ("out_of_order", "out of order", 0),
    ("errors", "refused, unanswered or not sent", 0),
];

/// What Apache RocketMQ reached when this was measured before on two such cores, in messages/s. A
/// run in which it stays below 80 % of that says something about the machine, not about Kerolox.
const APACHE_BEFORE: &[(&str, f64)] = &[
    ("sync-1x1", 506.0),
    ("sync-64x1", 8_639.0),
    ("sync-16x128", 22_088.0),
    ("async-1x1", 5_175.0),
    ("async-64x1", 17_986.0),
    ("async-16x128", 36_328.0),
    ("pull", 351_815.0),
];

const BEGIN: &str = "<!-- begin: written by cargo xtask compare -->";
const END: &str = "<!-- end: written by cargo xtask compare -->";

/// A round's figures in one line.
pub(super) fn line(metrics: &Metrics) -> String {
    let shown = METRICS.iter().filter_map(|(key, label, digits)| {
        let value = metrics.get(key)?;
        Some(format!("{label}: {value:.digits$}"))
    });
    shown.collect::<Vec<_>>().join("; ")
}

/// Writes a row's results to its file.
pub(super) fn keep(results: &Path, root: &Path, run: &Run, row: &Row) -> Result<()> {
    let measured_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let json = json!({
        "row": row.name.key(),
        "title": row.title,
        "quick": run.quick,
        "measured_at": measured_at,
        "commit": commit(root),
        "machine": proc::machine(),
        "load_average_at_the_end": proc::load_average(),
        "rounds": run.rounds,
        "seconds": run.seconds,
        "apache": {"version": "5.5.0", "jvm": BROKER_FLAGS.join(" ")},
        "cases": row.cases.iter().map(|case| case_json(&row.name.key(), case)).collect::<Vec<_>>(),
    });
    fs::create_dir_all(results)?;
    let path = results.join(format!("{}.json", row.name.key()));
    fs::write(&path, format!("{json:#}\n"))?;
    Ok(())
}

/// What a change did: for each figure the medians, the ratio of each pair of rounds, and their median.
pub(super) fn print_ratios(row: &Row) {
    for case in &row.cases {
        println!("\n{} {}", row.name.key(), case.name);
        for (key, label, digits) in METRICS {
            let of = |name: Name| {
                let rounds = case.rounds.iter().filter(move |(n, _)| *n == name);
                rounds.map(|(_, metrics)| metrics.get(key).copied())
            };
            let pairs = of(Name::Kerolox).zip(of(Name::Before));
            let (now, before): (Vec<_>, Vec<_>) =
                pairs.filter_map(|(now, before)| now.zip(before)).unzip();
            if now.is_empty() {
                continue;
            }
            let ratios: Vec<_> = now.iter().zip(&before).map(|(now, then)| now / then).collect();
            println!(
                "{label:58} {:>12.digits$} {:>12.digits$}  {:.3}  of {ratios:.2?}",
                median(&sorted(&before)),
                median(&sorted(&now)),
                median(&sorted(&ratios)),
            );
        }
    }
}

/// The commit that is measured, short.
pub(super) fn commit(root: &Path) -> String {
    let git = ["rev-parse", "--short", "HEAD"];
    let commit = process::output(&mut process::command("git", &git, root)).unwrap_or_default();
    commit.trim().to_string()
}

fn case_json(row: &str, case: &Case) -> Value {
    let mut systems = serde_json::Map::new();
    for name in Name::BOTH {
        let rounds: Vec<_> =
            case.rounds.iter().filter(|(n, _)| *n == name).map(|(_, m)| m).collect();
        let spread = of_rounds(&rounds);
        systems.insert(name.key().to_string(), json!({"rounds": rounds, "of_rounds": spread}));
    }
    let mut notes = case.notes.clone();
    let apache = systems["apache"]["of_rounds"]["per_second"]["median"].as_f64();
    let before = APACHE_BEFORE.iter().find(|(name, _)| *name == row).map(|(_, rate)| *rate);
    if let (Some(now), Some(before)) = (apache, before)
        && now < before * 0.8
    {
        notes.push(format!(
            "Apache reached {now:.0} msg/s, less than 80 % of {before:.0}, which it reached on such a machine before: void unless something explains it"
        ));
    }
    json!({
        "case": case.name,
        "durability": case.flush.key(),
        "bound_per_second": case.bound,
        "probes": case.probes,
        "systems": systems,
        "notes": notes,
    })
}

/// Median, least and most of each figure.
pub(super) fn of_rounds(rounds: &[&Metrics]) -> Value {
    let mut spread = serde_json::Map::new();
    for (key, _, _) in METRICS {
        let mut values: Vec<f64> = rounds.iter().filter_map(|m| m.get(key)).copied().collect();
        if values.is_empty() {
            continue;
        }
        values.sort_by(f64::total_cmp);
        let (min, max) = (values[0], values[values.len() - 1]);
        let of = json!({"median": median(&values), "min": min, "max": max});
        spread.insert((*key).to_string(), of);
    }
    Value::Object(spread)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// A case of a row, as it was kept.
struct Kept {
    row: String,
    title: String,
    case: Value,
}

impl Kept {
    fn label(&self) -> String {
        match self.case["case"].as_str() {
            Some("") | None => self.row.clone(),
            Some(case) => format!("{}, {case}", self.row),
        }
    }

    fn of(&self, name: Name, key: &str, which: &str) -> Option<f64> {
        self.case["systems"][name.key()]["of_rounds"][key][which].as_f64()
    }

    fn median(&self, name: Name, key: &str) -> Option<f64> {
        self.of(name, key, "median")
    }

    fn spread(&self, name: Name, key: &str, digits: usize) -> String {
        spread(&self.case["systems"][name.key()]["of_rounds"][key], digits)
    }

    fn ratio(&self, key: &str) -> String {
        match (self.median(Name::Kerolox, key), self.median(Name::Apache, key)) {
            (Some(a), Some(b)) if b > 0.0 => format!("{:.2}", a / b),
            _ => "–".to_string(),
        }
    }

    /// What each reaches of the bound.
    fn shares(&self) -> String {
        let Some(bound) = self.case["bound_per_second"].as_f64() else { return "–".to_string() };
        let share = |name| match self.median(name, "per_second") {
            Some(rate) => format!("{:.0} %", rate / bound * 100.0),
            None => "–".to_string(),
        };
        format!("{} / {}", share(Name::Kerolox), share(Name::Apache))
    }

    fn both(&self, key: &str, digits: usize, factor: f64) -> String {
        let one = |name| match self.median(name, key) {
            Some(value) => number(value * factor, digits),
            None => "–".to_string(),
        };
        format!("{} / {}", one(Name::Kerolox), one(Name::Apache))
    }
}

/// The median, and in parentheses least and most.
pub(super) fn spread(of_rounds: &Value, digits: usize) -> String {
    let of = |which: &str| of_rounds[which].as_f64();
    match (of("median"), of("min"), of("max")) {
        (Some(median), Some(min), Some(max)) => {
            format!("{} ({}–{})", number(median, digits), number(min, digits), number(max, digits))
        }
        _ => "–".to_string(),
    }
}

/// With a comma between thousands.
pub(super) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((&text[..], None), |(w, r)| (w, Some(r)));
    let mut out = String::new();
    for (i, digit) in whole.chars().enumerate() {
        let left = whole.len() - i;
        if i > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(rest) = rest {
        let _ = write!(out, ".{rest}");
    }
    out
}

/// Writes the table, the plots, and the document's tables from all rows that were kept.
pub(super) fn write(results: &Path, document: Option<&Path>) -> Result<()> {
    let mut files = BTreeMap::new();
    let mut kept = Vec::new();
    for name in super::Name::value_variants() {
        let Ok(text) = fs::read_to_string(results.join(format!("{}.json", name.key()))) else {
            continue;
        };
        let json: Value = serde_json::from_str(&text)?;
        for case in json["cases"].as_array().into_iter().flatten() {
            let title = json["title"].as_str().unwrap_or_default().to_string();
            kept.push(Kept { row: name.key(), title, case: case.clone() });
        }
        files.insert(name.key(), json);
    }
    if kept.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(results)?;
    for (file, title, key, unit) in [
        ("rates.svg", "Messages per second", "per_second", "msg/s"),
        ("latency.svg", "Latency, p99", "p99_us", "µs"),
        ("cpu.svg", "Broker CPU per message", "cpu_us", "µs"),
        ("memory.svg", "Resident memory, peak", "peak_mib", "MiB"),
        ("ready.svg", "Until a send is accepted", "ready_ms", "ms"),
    ] {
        let bars: Vec<_> = kept
            .iter()
            .filter_map(|kept| {
                let (kerolox, apache) =
                    (kept.median(Name::Kerolox, key)?, kept.median(Name::Apache, key));
                Some(Bar { label: kept.label(), kerolox, apache })
            })
            .collect();
        if !bars.is_empty() {
            fs::write(results.join(file), plot::bars(title, unit, &bars))?;
        }
    }
    let table = summary(&kept) + &derived(&kept);
    let mut text = format!(
        "# Kerolox beside Apache RocketMQ\n\nWritten by `cargo xtask compare`; how it is measured stands in \
         [docs/performance.md](../../../docs/performance.md).\nMedians of the rounds; in parentheses \
         the least and the most.\n\n{}\n{table}\n",
        origin(&files)
    );
    for kept in &kept {
        text += &details(kept);
    }
    fs::write(results.join("README.md"), text)?;
    if let Some(document) = document {
        put(document, BEGIN, END, &format!("{}\n{table}", origin(&files)))?;
    }
    Ok(())
}

/// Replaces what stands between the marks.
pub(super) fn put(document: &Path, begin: &str, end: &str, body: &str) -> Result<()> {
    let text = fs::read_to_string(document)
        .with_context(|| format!("{} is missing", document.display()))?;
    let (before, rest) = text.split_once(begin).context("the document has no place for tables")?;
    let (_, after) = rest.split_once(end).context("the document's tables have no end")?;
    fs::write(document, format!("{before}{begin}\n\n{body}\n{end}{after}"))?;
    Ok(())
}

/// The machine, and how rows differ in how they were taken.
fn origin(files: &BTreeMap<String, Value>) -> String {
    let mut out = String::new();
    if let Some(any) = files.values().next() {
        let _ = writeln!(out, "{}", machine(&any["machine"]));
    }
    let mut by = BTreeMap::<(String, u64, u64), Vec<&str>>::new();
    for (row, json) in files {
        let commit = json["commit"].as_str().unwrap_or("unknown").to_string();
        let key = (
            commit,
            json["rounds"].as_u64().unwrap_or(0),
            json["seconds"].as_f64().unwrap_or(0.0) as u64,
        );
        by.entry(key).or_default().push(row);
    }
    for ((commit, rounds, seconds), rows) in by {
        let _ =
            writeln!(out, "Commit {commit}, {rounds} rounds of {seconds} s: {}.", rows.join(", "));
    }
    out
}

/// The machine of a result, in a sentence.
pub(super) fn machine(machine: &Value) -> String {
    let text = |key: &str| match &machine[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!(
        "Machine: {}, {} cores for brokers and load together, {} of memory, Linux {}.",
        text("cpu"),
        text("cores"),
        text("memory"),
        text("kernel")
    )
}

fn summary(kept: &[Kept]) -> String {
    let mut out = String::from(
        "Two figures with a stroke between are Kerolox / Apache.\n\n\
         | row | Kerolox, msg/s | Apache, msg/s | ratio | share of the bound | p99, ms | CPU per message, µs | peak memory, MiB | disk writes per byte | lost and doubled |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for kept in kept.iter().filter(|kept| kept.median(Name::Kerolox, "per_second").is_some()) {
        let wrong = |name| {
            let (lost, doubled) = (kept.of(name, "lost", "max"), kept.of(name, "doubled", "max"));
            match (lost, doubled) {
                (None, None) => "–".to_string(),
                (lost, doubled) => number(lost.unwrap_or(0.0) + doubled.unwrap_or(0.0), 0),
            }
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} / {} |",
            kept.label(),
            kept.spread(Name::Kerolox, "per_second", 0),
            kept.spread(Name::Apache, "per_second", 0),
            kept.ratio("per_second"),
            kept.shares(),
            kept.both("p99_us", 2, 1e-3),
            kept.both("cpu_us", 1, 1.0),
            kept.both("peak_mib", 0, 1.0),
            kept.both("device_ratio", 2, 1.0),
            wrong(Name::Kerolox),
            wrong(Name::Apache),
        );
    }
    let figure =
        |key: &'static str, digits, factor| move |kept: &Kept| kept.both(key, digits, factor);
    let all = |key: &'static str| move |kept: &Kept| kept.spread(Name::Kerolox, key, 0);
    let apache = |kept: &Kept| kept.spread(Name::Apache, "ready_ms", 0);
    out += &table(
        kept,
        "ready_ms",
        &[
            ("Kerolox, ms until a send is accepted", &all("ready_ms")),
            ("Apache, ms", &apache),
            ("ratio", &|kept| kept.ratio("ready_ms")),
            ("memory then, MiB", &figure("rss_mib", 1, 1.0)),
        ],
    );
    out += &table(
        kept,
        "meanwhile_ratio",
        &[
            ("p99 of sends without a drain, ms", &figure("alone_p99_us", 2, 1e-3)),
            ("beside it, ms", &figure("meanwhile_p99_us", 2, 1e-3)),
            ("times as much", &figure("meanwhile_ratio", 2, 1.0)),
        ],
    );
    out += &table(
        kept,
        "bytes_per_queue",
        &[
            ("queues in use", &figure("queues", 0, 1.0)),
            ("memory per queue beyond an empty broker, B", &figure("bytes_per_queue", 0, 1.0)),
            ("CPU per message at the fixed rate, µs", &figure("fixed_cpu_us", 1, 1.0)),
        ],
    );
    out
}

/// A column's title, and its cell in the row of a case.
type Column<'a> = (&'a str, &'a dyn Fn(&Kept) -> String);

/// A table of the cases that have a figure.
fn table(kept: &[Kept], key: &str, columns: &[Column<'_>]) -> String {
    let rows: Vec<_> =
        kept.iter().filter(|kept| kept.median(Name::Kerolox, key).is_some()).collect();
    if rows.is_empty() {
        return String::new();
    }
    let titles: Vec<_> = columns.iter().map(|(title, _)| *title).collect();
    let mut out =
        format!("\n| row | {} |\n|---{}|\n", titles.join(" | "), "|---".repeat(titles.len()));
    for row in rows {
        let cells: Vec<_> = columns.iter().map(|(_, cell)| cell(row)).collect();
        let _ = writeln!(out, "| {} | {} |", row.label(), cells.join(" | "));
    }
    out
}

/// Kerolox that syncs against Apache that does not.
fn derived(kept: &[Kept]) -> String {
    let rate =
        |row: &str, name| kept.iter().find(|kept| kept.label() == row)?.median(name, "per_second");
    let mut rows = String::new();
    for shape in ["1x1", "64x1", "16x128"] {
        let (sync, unsafe_) = (
            rate(&format!("sync-{shape}"), Name::Kerolox),
            rate(&format!("async-{shape}"), Name::Apache),
        );
        if let (Some(sync), Some(unsafe_)) = (sync, unsafe_) {
            let _ = writeln!(
                rows,
                "| {shape} | {} | {} | {:.2} |",
                number(sync, 0),
                number(unsafe_, 0),
                sync / unsafe_
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\n| load | Kerolox, SYNC_FLUSH, msg/s | Apache, ASYNC_FLUSH, msg/s | ratio |\n|---|---|---|---|\n{rows}"
    )
}

/// All figures of a case.
fn details(kept: &Kept) -> String {
    let mut out = format!(
        "## {}\n\n{}; {}.\n\n| figure | Kerolox | Apache | Kerolox / Apache |\n|---|---|---|---|\n",
        kept.label(),
        kept.title,
        kept.case["durability"].as_str().unwrap_or_default()
    );
    for (key, label, digits) in METRICS {
        let known = Name::BOTH.iter().any(|name| kept.median(*name, key).is_some());
        if known {
            let _ = writeln!(
                out,
                "| {label} | {} | {} | {} |",
                kept.spread(Name::Kerolox, key, *digits),
                kept.spread(Name::Apache, key, *digits),
                kept.ratio(key)
            );
        }
    }
    if let Some(bound) = kept.case["bound_per_second"].as_f64() {
        let _ = writeln!(
            out,
            "| share of the bound, {} msg/s | {} | | |",
            number(bound, 0),
            kept.shares()
        );
    }
    for probe in kept.case["probes"].as_array().into_iter().flatten() {
        let _ = write!(out, "\nProbe: {}.\n", probed(probe));
    }
    for note in kept.case["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = write!(out, "\nNote: {note}.\n");
    }
    out.push('\n');
    out
}

/// A probe's figures in a line.
pub(super) fn probed(probe: &Value) -> String {
    let rate = |json: &Value, key: &str| number(json[key].as_f64().unwrap_or(0.0), 0);
    let mut parts = Vec::new();
    for echo in probe["echo"].as_array().into_iter().flatten() {
        let shape = echo["shape"].as_str().unwrap_or_default();
        parts.push(format!("echo {shape} {}/s", rate(echo, "per_second")));
    }
    for sync in probe["disk"]["sync"].as_array().into_iter().flatten() {
        let kib = sync["bytes"].as_f64().unwrap_or(0.0) / 1024.0;
        parts.push(format!("fdatasync of {kib} KiB {}/s", rate(sync, "per_second")));
    }
    for (key, what) in [
        ("write_mb_per_s", "write"),
        ("read_hot_mb_per_s", "read"),
        ("read_cold_mb_per_s", "cold read"),
    ] {
        parts.push(format!("{what} {} MB/s", rate(&probe["disk"], key)));
    }
    parts.push(format!("memcpy {} GB/s", rate(probe, "memcpy_gb_per_s")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::systems::Flush;

    #[test]
    fn numbers_have_commas() {
        for (value, digits, expected) in [
            (0.0, 0, "0"),
            (999.4, 0, "999"),
            (1234.5, 1, "1,234.5"),
            (1_234_567.0, 0, "1,234,567"),
            (-1234.0, 0, "-1,234"),
        ] {
            assert_eq!(number(value, digits), expected);
        }
    }

    #[test]
    fn a_case_tells_median_and_spread() {
        let mut case = Case::new("", Flush::Sync);
        for rate in [3.0, 1.0, 2.0] {
            case.rounds.push((Name::Kerolox, Metrics::from([("per_second", rate * 1000.0)])));
            case.rounds.push((Name::Apache, Metrics::from([("per_second", rate * 100.0)])));
        }
        case.bound = Some(4000.0);
        let kept = Kept { row: "sync-64x1".into(), title: "t".into(), case: case_json("x", &case) };
        assert_eq!(kept.spread(Name::Kerolox, "per_second", 0), "2,000 (1,000–3,000)");
        assert_eq!(
            (kept.ratio("per_second"), kept.shares()),
            ("10.00".into(), "50 % / 5 %".into())
        );
        assert!(
            details(&kept).contains("| messages/s | 2,000 (1,000–3,000) | 200 (100–300) | 10.00 |")
        );
    }
}
