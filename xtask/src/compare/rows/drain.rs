//! A backlog that is not in the page cache any more is read while messages are sent at a rate that
//! both can do.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::pull;
use crate::bench::{self, number};
use crate::compare::measure::{self, Metrics, Sample, words};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, System};

/// Sends per second meanwhile: well below what either can do alone.
const RATE: u32 = 1000;

pub(super) fn row(run: &Run) -> Result<(String, Vec<Case>)> {
    let messages: u64 = if run.quick { 200_000 } else { 8_000_000 };
    let mut pair = run.pair(Flush::Sync, messages * 1300 * 2 + (6 << 30))?;
    pull::fill(run, &mut pair, "Backlog", messages)?;
    pair.stop()?;
    let mut case = Case::new("", Flush::Sync);
    case.notes.push(format!(
        "one round: {messages} messages of 1 KiB lie on the disk once; {RATE} msg/s are sent meanwhile"
    ));
    for name in run.setup.both() {
        let folder = run.dir.join(name.key());
        drop_cache(&folder)?;
        let mut system = System::start(&run.setup, name, &folder, Flush::Sync)?;
        // A start may read what it recovers; Apache maps its files, and must not hold them now.
        warm_up(run, &system)?;
        system.freeze(true)?;
        drop_cache(&folder)?;
        let resident = resident(&folder)?;
        system.freeze(false)?;
        case.notes.push(format!(
            "{}: {} before the drain",
            name.key(),
            resident.map_or("how much was in the page cache is unknown".to_string(), |share| {
                format!("{:.1} % of its data was in the page cache", share * 100.0)
            })
        ));
        let metrics = one(run, &system)?;
        println!("{} {}", name.key(), crate::compare::report::line(&metrics));
        case.rounds.push((name, metrics));
        system.stop()?;
    }
    Ok((
        format!("{messages} messages of 1 KiB are read from the disk, 8 connections, 32 a request"),
        vec![case],
    ))
}

fn warm_up(run: &Run, system: &System) -> Result<()> {
    let seconds = if run.quick { 2 } else { 20 };
    let args = format!(
        "e2e --topic WarmUp --rate {RATE} --warm-up 0 --duration {seconds} --broker {}",
        system.broker()
    );
    measure::bench(&run.setup.binary, &words(&args), &measure::output(system))?;
    Ok(())
}

fn one(run: &Run, system: &System) -> Result<Metrics> {
    let args = format!(
        "drain --topic Backlog --produce-topic Meanwhile --produce-rate {RATE} --consumers 8 \
         --baseline {} --warm-up 1 --broker {}",
        if run.quick { 3.0 } else { run.seconds },
        system.broker()
    );
    let output = measure::output(system);
    let before = Sample::take(system.pid())?;
    let running = bench::start(&run.setup.binary, &words(&args), &output)?;
    let json = bench::end_of(running, 1800, &output)?;
    let mut metrics = Metrics::new();
    metrics.insert("per_second", number(&json, "msg_per_s")?);
    metrics.insert("mb_per_s", number(&json, "mb_per_s")?);
    // The few that are sent cost little beside those that are read.
    before.cost_of(system.pid(), number(&json, "messages")?, &mut metrics)?;
    metrics.remove("write_ratio");
    measure::latencies(&json["pull_latency_us"], &mut metrics)?;
    let (alone, meanwhile) = (&json["produce_alone_us"], &json["produce_meanwhile_us"]);
    let (alone, meanwhile) = (number(alone, "p99")?, number(meanwhile, "p99")?);
    metrics.insert("alone_p99_us", alone);
    metrics.insert("meanwhile_p99_us", meanwhile);
    metrics.insert("meanwhile_ratio", meanwhile / alone.max(1.0));
    let count = |key: &str| number(&json, key);
    metrics.insert("lost", count("gaps")? + count("damaged")?);
    metrics.insert("out_of_order", count("out_of_order")?);
    metrics.insert("errors", count("send_errors")? + count("not_sent")? + count("pull_errors")?);
    measure::memory(system.pid(), &mut metrics)?;
    Ok(metrics)
}

/// All files below it.
fn files(folder: &Path, each: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), each)?;
        } else if kind.is_file() {
            each(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes what is dirty, and asks the kernel to forget the rest.
fn drop_cache(folder: &Path) -> Result<()> {
    files(folder, &mut |path| {
        let file = File::open(path)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    })
}

/// The share of the stored bytes that is in the page cache, if there is a tool that tells.
fn resident(folder: &Path) -> Result<Option<f64>> {
    let (mut stored, mut cached) = (0.0, 0.0);
    let mut known = true;
    files(folder, &mut |path| {
        use std::os::unix::fs::MetadataExt as _;
        stored += fs::metadata(path)?.blocks() as f64 * 512.0;
        let said = Command::new("fincore").args(["-b", "-n", "-o", "RES"]).arg(path).output();
        match said
            .ok()
            .and_then(|said| String::from_utf8_lossy(&said.stdout).trim().parse::<f64>().ok())
        {
            Some(bytes) => cached += bytes,
            None => known = false,
        }
        Ok(())
    })?;
    ensure!(stored > 0.0, "{} holds nothing", folder.display());
    Ok(known.then_some(cached / stored))
}
