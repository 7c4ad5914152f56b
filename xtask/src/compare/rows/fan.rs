//! Many at once: a thousand producers on one queue, thousands of connections that do nothing beside
//! them, and five groups that read what is sent.

use std::net::TcpStream;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::produce;
use crate::bench::{self, number};
use crate::compare::bound::{Probe, Shape};
use crate::compare::measure::{self, Load, Metrics, words};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, System};

const PRODUCERS: u32 = 1000;
const IDLE: usize = 5000;
const GROUPS: usize = 5;

/// A thousand producers.
pub(super) fn many_in(run: &Run) -> Result<(String, Vec<Case>)> {
    raise_descriptor_limit()?;
    let mut pair = run.pair(Flush::Sync, produce::bytes(run, 100_000.0) * 2)?;
    let shape = Shape::send(PRODUCERS, 1);
    let bound = |probe: &Probe| probe.sends(f64::from(PRODUCERS), Flush::Sync);
    let mut cases = Vec::new();
    for (name, queues, idle) in
        [("1 queue".to_string(), 1, 0), (format!("8 queues, {IDLE} idle connections"), 8, IDLE)]
    {
        let args = format!("produce --connections {PRODUCERS} --in-flight 1 --queues {queues}");
        if cases.is_empty() {
            produce::warm_up(run, &mut pair, &args)?;
        }
        let mut case = Case::new(&name, Flush::Sync);
        run.case(&mut pair, &mut case, Some((shape, &bound)), |system, round| {
            let quiet: Vec<_> = (0..idle)
                .map(|_| TcpStream::connect(system.broker()))
                .collect::<Result<_, _>>()
                .context("the idle connections cannot be made")?;
            let metrics = produce::one(run, system, &args, &format!("Round{round}x{queues}"));
            drop(quiet);
            metrics
        })?;
        cases.push(case);
    }
    pair.stop()?;
    Ok((format!("1 KiB, {PRODUCERS} connections × 1 in flight"), cases))
}

/// Five groups.
pub(super) fn many_out(run: &Run) -> Result<(String, Vec<Case>)> {
    let mut pair = run.pair(Flush::Sync, produce::bytes(run, 80_000.0))?;
    for index in 0..2 {
        deliver(run, pair.alone(index)?, "WarmUp")?;
    }
    let mut case = Case::new("", Flush::Sync);
    case.notes.push(
        "CPU is that of a message with all its deliveries; all share the two cores".to_string(),
    );
    run.case(&mut pair, &mut case, None, |system, round| {
        deliver(run, system, &format!("Round{round}"))
    })?;
    pair.stop()?;
    Ok((
        format!("1 KiB, 64 connections × 1 in flight, read by {GROUPS} groups meanwhile"),
        vec![case],
    ))
}

fn deliver(run: &Run, system: &System, topic: &str) -> Result<Metrics> {
    let binary = &run.setup.binary;
    let broker = system.broker();
    // The topic must be there before its consumers.
    let first = format!("produce --topic {topic} --messages 1 --warm-up 0 --broker {broker}");
    measure::bench(binary, &words(&first), &measure::output(system))?;
    let seconds = run.warm_up + run.seconds + 1.0;
    let mut groups = Vec::new();
    for group in 0..GROUPS {
        let args = format!(
            "consume --topic {topic} --group {topic}-{group} --connections 1 --duration {seconds} --broker {broker}"
        );
        let output = system.folder().join(format!("consume-{group}.log"));
        groups.push((bench::start(binary, &words(&args), &output)?, output));
    }
    let args = words(&format!("produce --topic {topic} --connections 64 --in-flight 1"));
    let load = Load { args, warm_up: run.warm_up, seconds: run.seconds };
    let rate = |json: &Value| number(json, "msg_per_s");
    let (json, mut metrics) = load.run(system, binary, rate)?;
    measure::latencies(&json["latency_us"], &mut metrics)?;
    metrics.insert("errors", measure::errors(&json)?);
    let (mut delivered, mut wrong) = (0.0, 0.0);
    for (running, output) in groups {
        let json = bench::end_of(running, 60, &output)?;
        delivered += number(&json, "messages")? / number(&json, "seconds")?;
        wrong +=
            number(&json, "out_of_order")? + number(&json, "gaps")? + number(&json, "damaged")?;
    }
    metrics.insert("delivered_per_second", delivered);
    metrics.insert("out_of_order", wrong);
    Ok(metrics)
}

/// The idle connections are this process's.
fn raise_descriptor_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}
