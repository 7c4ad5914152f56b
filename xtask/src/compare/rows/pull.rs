//! A backlog is read from its beginning again and again, from the page cache.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::number;
use crate::compare::bound::{Probe, Shape};
use crate::compare::measure::{self, Metrics, SIZE, Sample, words};
use crate::compare::run::{Case, Pair, Run};
use crate::compare::systems::{Flush, System};

/// Messages a request, and connections.
const PULL: u32 = 32;
const CONNECTIONS: u32 = 8;
/// A backlog that takes longer is none.
const FILL_LIMIT: Duration = Duration::from_secs(1800);

pub(super) fn row(run: &Run) -> Result<(String, Vec<Case>)> {
    let messages: u64 = if run.quick { 200_000 } else { 2_000_000 };
    // How it was written does not matter to who reads it.
    let flush = Flush::Async;
    let mut pair = run.pair(flush, messages * 1300 * 2 + (4 << 30))?;
    fill(run, &mut pair, "Backlog", messages)?;
    for index in 0..2 {
        // Until the JIT has seen it.
        let rounds = if run.quick { 1 } else { 5 };
        for _ in 0..rounds {
            consume(run, pair.alone(index)?, "warm-up")?;
        }
    }
    let mut case = Case::new("", flush);
    let reply = 100 + PULL * 1203;
    let shape = Shape { connections: CONNECTIONS, in_flight: 1, request: 350, reply };
    let bound = |probe: &Probe| probe.pulls(f64::from(PULL));
    run.case(&mut pair, &mut case, Some((shape, &bound)), |system, round| {
        one(run, system, round, messages as f64)
    })?;
    pair.stop()?;
    let title = format!(
        "{messages} messages of 1 KiB are read, {PULL} a request, {CONNECTIONS} connections, 8 queues"
    );
    Ok((title, vec![case]))
}

/// Writes a backlog to both, one after the other while both run: nothing is measured yet. What a
/// broker refuses because it is busy is sent again, as another message.
pub(super) fn fill(run: &Run, pair: &mut Pair, topic: &str, messages: u64) -> Result<()> {
    for system in pair.together()? {
        let begin = Instant::now();
        let mut left = messages;
        while left > 0 {
            let args = format!(
                "batch --topic {topic} --batch 32 --connections 8 --in-flight 2 --messages {left} --warm-up 0 --duration 3600 --timeout 60 --broker {}",
                system.broker()
            );
            let json = filled(run, system, &words(&args))?;
            left = left.saturating_sub(number(&json, "acknowledged")? as u64);
            anyhow::ensure!(
                begin.elapsed() < FILL_LIMIT,
                "{left} messages cannot be written: {json}"
            );
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("{}: {messages} messages written in {seconds:.1} s", system.name.key());
    }
    Ok(())
}

fn filled(run: &Run, system: &System, args: &[String]) -> Result<serde_json::Value> {
    let output = measure::output(system);
    let running = crate::bench::start(&run.setup.binary, args, &output)?;
    crate::bench::end_of(running, 3600, &output)
}

fn consume(run: &Run, system: &System, group: &str) -> Result<serde_json::Value> {
    let args = format!(
        "consume --topic Backlog --connections {CONNECTIONS} --pull-size {PULL} --group {group}"
    );
    let mut args = words(&args);
    args.extend(["--broker".into(), system.broker()]);
    measure::bench(&run.setup.binary, &args, &measure::output(system))
}

/// Reads everything, again and again until the round's time is over.
fn one(run: &Run, system: &System, round: u32, messages: f64) -> Result<Metrics> {
    let mut metrics = Metrics::new();
    let (before, begin) = (Sample::take(system.pid())?, Instant::now());
    let (mut read, mut seconds, mut lost, mut wrong) = (0.0, 0.0, 0.0, 0.0);
    while begin.elapsed().as_secs_f64() < run.seconds {
        let json = consume(run, system, &format!("round-{round}"))?;
        read += number(&json, "messages")?;
        seconds += number(&json, "seconds")?;
        lost += (messages - number(&json, "messages")?).max(0.0);
        wrong +=
            number(&json, "out_of_order")? + number(&json, "gaps")? + number(&json, "damaged")?;
        measure::latencies(&json["pull_latency_us"], &mut metrics)?;
    }
    metrics.insert("per_second", read / seconds.max(0.001));
    before.cost_of(system.pid(), read, &mut metrics)?;
    metrics.remove("write_ratio");
    metrics.insert("mb_per_s", read * SIZE / 1e6 / seconds.max(0.001));
    metrics.insert("lost", lost);
    metrics.insert("out_of_order", wrong);
    measure::memory(system.pid(), &mut metrics)?;
    Ok(metrics)
}
