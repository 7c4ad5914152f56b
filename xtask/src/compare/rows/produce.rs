//! Sends as fast as it goes, one by one or in batches; what was acknowledged is read back.

use anyhow::Result;
use serde_json::Value;

use crate::bench::number;
use crate::compare::bound::Shape;
use crate::compare::measure::{self, Load, Metrics, words};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, Name, System};

/// Messages a second that are taken for granted when room on the disk is asked for.
const RATE_MAX: f64 = 200_000.0;
/// Messages of a batch.
const BATCH: u32 = 32;

/// One by one.
pub(super) fn row(
    run: &Run,
    flush: Flush,
    connections: u32,
    in_flight: u32,
) -> Result<(String, Vec<Case>)> {
    let outstanding = f64::from(connections * in_flight);
    // What so many outstanding sends can reach at most, roughly.
    let rate = if in_flight > 1 { RATE_MAX } else { (outstanding * 15_000.0).min(80_000.0) };
    let mut pair = run.pair(flush, bytes(run, rate))?;
    let args = format!("produce --connections {connections} --in-flight {in_flight}");
    warm_up(run, &mut pair, &args)?;
    let mut case = Case::new("", flush);
    let shape = Shape::send(connections, in_flight);
    let bound = |probe: &crate::compare::bound::Probe| probe.sends(outstanding, flush);
    run.case(&mut pair, &mut case, Some((shape, &bound)), |system, round| {
        one(run, system, &args, &format!("Round{round}"))
    })?;
    pair.stop()?;
    let mut title = format!("1 KiB, {connections} connections × {in_flight} in flight");
    if flush.added_ms() > 0 {
        title += &format!(", every sync of the disk {} ms slower", flush.added_ms());
    }
    Ok((title, vec![case]))
}

/// In batches of 32.
pub(super) fn batches(run: &Run) -> Result<(String, Vec<Case>)> {
    let variants: &[Flush] = if run.all { &[Flush::Async, Flush::Sync] } else { &[Flush::Async] };
    let mut cases = Vec::new();
    for flush in variants {
        let mut pair = run.pair(*flush, bytes(run, RATE_MAX))?;
        let args = format!("batch --batch {BATCH} --connections 16 --in-flight 4");
        warm_up(run, &mut pair, &args)?;
        let name = if run.all { flush.key() } else { "" };
        let mut case = Case::new(name, *flush);
        let shape = Shape { request: 200 + BATCH * 1120, reply: 1300, ..Shape::send(16, 4) };
        let bound = |probe: &crate::compare::bound::Probe| probe.batches(f64::from(BATCH));
        run.case(&mut pair, &mut case, Some((shape, &bound)), |system, round| {
            one(run, system, &args, &format!("Round{round}"))
        })?;
        pair.stop()?;
        run.clear()?;
        cases.push(case);
    }
    let title = format!("1 KiB in batches of {BATCH}, 16 connections × 4 in flight");
    Ok((title, cases))
}

/// What all rounds write, with the indexes.
pub(super) fn bytes(run: &Run, rate: f64) -> u64 {
    let rounds = f64::from(run.rounds) * (run.seconds + run.warm_up);
    // Apache's share is small, but it prepares files of 1 GiB.
    ((rounds + 10.0) * rate * 1300.0) as u64 + (4 << 30)
}

/// Until the JIT has seen the load.
pub(super) fn warm_up(run: &Run, pair: &mut crate::compare::run::Pair, args: &str) -> Result<()> {
    for index in 0..2 {
        let system = pair.alone(index)?;
        let mut args = words(args);
        // Apache's rate rises for about so long.
        let seconds = match (run.quick, system.name) {
            (true, _) => 2,
            (false, Name::Kerolox | Name::Before) => 4,
            (false, Name::Apache) => 40,
        };
        args.extend(words(&format!("--topic WarmUp --warm-up 0 --duration {seconds}")));
        args.extend(["--broker".into(), system.broker()]);
        measure::bench(&run.setup.binary, &args, &measure::output(system))?;
    }
    Ok(())
}

pub(super) fn one(run: &Run, system: &System, args: &str, topic: &str) -> Result<Metrics> {
    let mut args = words(args);
    args.extend(words(&format!("--topic {topic} --verify")));
    let load = Load { args, warm_up: run.warm_up, seconds: run.seconds };
    let rate = |json: &Value| number(json, "msg_per_s");
    let (json, mut metrics) = load.run(system, &run.setup.binary, rate)?;
    measure::latencies(&json["latency_us"], &mut metrics)?;
    measure::books(&json["verify"], &mut metrics)?;
    metrics.insert("errors", measure::errors(&json)?);
    metrics.insert("client_cpu_us", client_cpu(&json));
    Ok(metrics)
}

/// Of the load generator, over its whole run.
fn client_cpu(json: &Value) -> f64 {
    let value = |key: &str| json[key].as_f64().unwrap_or(0.0);
    value("generator_cpu_s") / value("acknowledged").max(1.0) * 1e6
}
