//! From when a message is to be sent until a consumer has it, both at the same rate: 70 % of what
//! Apache RocketMQ can produce and deliver at once.

use anyhow::Result;
use serde_json::Value;

use crate::bench::{self, number};
use crate::compare::measure::{self, Load, Metrics, words};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, Name, System};

const SHARE: f64 = 0.7;

pub(super) fn row(run: &Run) -> Result<(String, Vec<Case>)> {
    let variants: &[Flush] = if run.all { &[Flush::Sync, Flush::Async] } else { &[Flush::Sync] };
    let mut cases = Vec::new();
    for flush in variants {
        let mut pair = run.pair(*flush, 8 << 30)?;
        let maximum = maximum(run, pair.alone(1)?, (64, 1))?;
        let rate = (maximum * SHARE).round();
        let mut case = Case::new(if run.all { flush.key() } else { "" }, *flush);
        case.notes.push(format!(
            "Apache produced {maximum:.0} msg/s at most while all of it was read; both run at {rate:.0}"
        ));
        for index in 0..2 {
            let seconds = if run.quick { 2.0 } else { 8.0 };
            one(run, pair.alone(index)?, rate, "WarmUp", seconds)?;
        }
        run.case(&mut pair, &mut case, None, |system, round| {
            one(run, system, rate, &format!("Round{round}"), run.seconds)
        })?;
        pair.stop()?;
        run.clear()?;
        cases.push(case);
    }
    Ok(("1 KiB, sent and received at 70 % of what Apache can at most".to_string(), cases))
}

/// Rounds of 50 s each: ten minutes of each system.
const SOAK_ROUNDS: u32 = 12;
const SOAK_SECONDS: f64 = 50.0;
/// Messages a second meanwhile.
const SOAK_RATE: f64 = 2000.0;

/// For long: whether memory grows, and the tail with it.
pub(super) fn soak(run: &Run) -> Result<(String, Vec<Case>)> {
    let (rounds, seconds) = if run.quick { (2, 3.0) } else { (SOAK_ROUNDS, SOAK_SECONDS) };
    let mut pair = run.pair(Flush::Sync, 8 << 30)?;
    let mut case = Case::new("", Flush::Sync);
    for index in 0..2 {
        one(run, pair.alone(index)?, SOAK_RATE, "WarmUp", if run.quick { 2.0 } else { 8.0 })?;
    }
    // One topic and one group for all: what grows, grows.
    run.rounds(&mut pair, &mut case, rounds, &mut |system, _| {
        one(run, system, SOAK_RATE, "Soak", seconds)
    })?;
    for name in run.setup.both() {
        let of = |key: &str| {
            let all: Vec<_> = case.rounds.iter().filter(|(n, _)| *n == name).collect();
            let value = |round: Option<&&(Name, Metrics)>| round?.1.get(key).copied();
            Some((value(all.first())?, value(all.last())?))
        };
        if let (Some(memory), Some(tail)) = (of("rss_mib"), of("p99_9_us")) {
            case.notes.push(format!(
                "{}: after the first round {:.1} MiB resident and p99.9 {:.0} µs, after the last {:.1} MiB and {:.0} µs",
                name.key(), memory.0, tail.0, memory.1, tail.1
            ));
        }
    }
    pair.stop()?;
    let title = format!(
        "1 KiB, {SOAK_RATE} msg/s sent and received for {:.0} s of each",
        f64::from(rounds) * seconds
    );
    Ok((title, vec![case]))
}

/// What a surge is sent into, as a share of the most that a system can do, and how many times that
/// much comes: twice the most.
const CALM: f64 = 0.3;
const SURGE: f64 = 2.0 / CALM;
/// Seconds before the surge, of it, and behind it. What piles up meanwhile takes a system that keeps
/// its rate 14 s.
const SURGE_TIMES: [f64; 3] = [8.0, 10.0, 24.0];
const SURGE_ROUNDS: u32 = 3;
/// Connections and sends in flight on each.
const SURGE_SHAPE: (u32, u32) = (16, 64);

/// More comes than can be done, for a while: what becomes of it, and how long it is felt.
pub(super) fn surge(run: &Run) -> Result<(String, Vec<Case>)> {
    let mut pair = run.pair(Flush::Sync, 20 << 30)?;
    let mut case = Case::new("", Flush::Sync);
    let mut most = [0.0; 2];
    for (index, name) in run.setup.both().into_iter().enumerate() {
        most[index] = maximum(run, pair.alone(index)?, SURGE_SHAPE)?;
        case.notes.push(format!(
            "{}: {:.0} msg/s at most while all of it is read; {:.0} come, and in the surge {:.0}",
            name.key(),
            most[index],
            most[index] * CALM,
            most[index] * CALM * SURGE
        ));
    }
    let [before, during, after] = SURGE_TIMES.map(|s| if run.quick { (s / 4.0).ceil() } else { s });
    let rounds = if run.quick { 1 } else { SURGE_ROUNDS };
    run.rounds(&mut pair, &mut case, rounds, &mut |system, round| {
        let rate = CALM * if system.name == Name::Kerolox { most[0] } else { most[1] };
        let args = words(&format!(
            "e2e --topic Surge{round} --group Surge{round} --rate {rate} --connections 16 --in-flight 64 --consumers 4 --surge {SURGE} --surge-from {before} --surge-for {during}"
        ));
        let seconds = before + during + after;
        let load = Load { args, warm_up: run.warm_up, seconds };
        let (json, mut metrics) = end_to_end(run, system, &load)?;
        let surge = &json["surge"];
        metrics.insert("before_p99_us", number(&surge["before_us"], "p99")?);
        metrics.insert("surge_p99_us", number(&surge["during_us"], "p99")?);
        metrics.insert("recovered_s", surge["recovered_s"].as_f64().unwrap_or(after));
        Ok(metrics)
    })?;
    case.notes.push(format!("one that does not recover counts as {after} s"));
    pair.stop()?;
    let title = format!(
        "1 KiB, sent and received: {before} s at 30 % of what each can, {during} s at twice what it can, {after} s at 30 %"
    );
    Ok((title, vec![case]))
}

/// What a system produces at most while a consumer reads along.
fn maximum(run: &Run, system: &System, (connections, in_flight): (u32, u32)) -> Result<f64> {
    let seconds = if run.quick { 3.0 } else { 8.0 };
    // Apache's rate rises for about so long.
    let warm_up = if run.quick { 2.0 } else { 40.0 };
    let shape = format!("--connections {connections} --in-flight {in_flight}");
    let mut produce = words(&format!("produce --topic Maximum {shape}"));
    produce.extend(words(&format!("--warm-up {warm_up} --duration {seconds}")));
    produce.extend(["--broker".into(), system.broker()]);
    let output = measure::output(system);
    let sending = bench::start(&run.setup.binary, &produce, &output)?;
    // The topic is made by the producer; a consumer that comes too early would find none.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let mut consume = words("consume --topic Maximum --connections 4");
    consume.extend(words(&format!("--duration {}", seconds + warm_up - 1.0)));
    consume.extend(["--broker".into(), system.broker()]);
    let other = system.folder().join("consume.log");
    let reading = bench::start(&run.setup.binary, &consume, &other)?;
    let sent = bench::end_of(sending, 300, &output)?;
    bench::end_of(reading, 300, &other)?;
    number(&sent, "msg_per_s")
}

pub(super) fn one(
    run: &Run,
    system: &System,
    rate: f64,
    topic: &str,
    seconds: f64,
) -> Result<Metrics> {
    let args = words(&format!(
        "e2e --topic {topic} --group {topic} --rate {rate} --connections 16 --in-flight 64 --consumers 4"
    ));
    let load = Load { args, warm_up: run.warm_up, seconds };
    Ok(end_to_end(run, system, &load)?.1)
}

fn end_to_end(run: &Run, system: &System, load: &Load) -> Result<(Value, Metrics)> {
    let per_second = |json: &Value| number(json, "msg_per_s");
    let (json, mut metrics) = load.run(system, &run.setup.binary, per_second)?;
    measure::latencies(&json["latency_us"], &mut metrics)?;
    metrics.insert("produce_p99_us", number(&json["produce_latency_us"], "p99")?);
    for name in ["lost", "doubled", "out_of_order"] {
        metrics.insert(name, number(&json, name)?);
    }
    metrics.insert("errors", measure::errors(&json)? + number(&json, "not_sent")?);
    Ok((json, metrics))
}
