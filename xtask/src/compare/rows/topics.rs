//! Many queues in use. Each count is measured on brokers that were started for it, one after the
//! other: what is looked for is what the queues cost.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::restart;
use crate::bench::{self, number};
use crate::compare::measure::{self, Load, Metrics, words};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, Name, System};
use crate::proc;

/// Messages a second, spread evenly, at which CPU per message is compared.
const RATE: u32 = 20_000;
/// Seconds within which topics must be made; what is there then is measured.
const SETUP_LIMIT: u32 = 60;

pub(super) fn row(run: &Run) -> Result<(String, Vec<Case>)> {
    let counts: &[u32] = if run.quick { &[1_000] } else { &[1, 1_000, 10_000, 100_000, 1_000_000] };
    let flush = Flush::Async;
    let mut cases = Vec::new();
    for queues in counts {
        run.need(16 << 30)?;
        let mut case = Case::new(&format!("{queues} queues"), flush);
        for name in run.setup.both() {
            match measured(run, name, flush, *queues, &mut case) {
                Ok(metrics) => {
                    println!("{} {}", name.key(), crate::compare::report::line(&metrics));
                    case.rounds.push((name, metrics));
                }
                // How far it goes is a result.
                Err(error) => case.notes.push(format!("{} gave up: {error:#}", name.key())),
            }
        }
        run.clear()?;
        cases.push(case);
    }
    let title = format!(
        "topics of 8 queues, each with a message and a committed offset; 1 KiB at 64 × 1, then {RATE} msg/s; start after a clean stop"
    );
    Ok((title, cases))
}

/// A system on an empty folder, and its start on what is there then.
fn measured(run: &Run, name: Name, flush: Flush, queues: u32, case: &mut Case) -> Result<Metrics> {
    let folder = run.dir.join(name.key());
    let system = System::start(&run.setup, name, &folder, flush)?;
    let (mut metrics, note) = one(run, &system, queues)?;
    case.notes.extend(note);
    system.stop()?;
    let (system, took) = restart::start(run, name, name.key(), flush)?;
    took.note(&mut metrics);
    system.kill()?;
    Ok(metrics)
}

fn one(run: &Run, system: &System, queues: u32) -> Result<(Metrics, Option<String>)> {
    let empty = proc::memory_mib(system.pid(), "VmRSS")?;
    let output = measure::output(system);
    let limit = if run.quick { 10 } else { SETUP_LIMIT };
    let base = format!("topics --queues {queues} --broker {}", system.broker());
    let setup = format!("{base} --setup-only --setup-limit {limit} --size 24");
    let running = bench::start(&run.setup.binary, &words(&setup), &output)?;
    let json = bench::end_of(running, 1800, &output)?;
    let used = number(&json, "queues")?;
    let note = (used < f64::from(queues))
        .then(|| format!("{}: {used} queues were there after {limit} s", system.name.key()));
    let steps = ["topics_s", "messages_s", "offsets_s"];
    let mut setup_s = 0.0;
    for step in steps {
        setup_s += number(&json["setup"], step)?;
    }
    // What is left of the work for it ends.
    sleep(Duration::from_secs(3));
    let loaded = proc::memory_mib(system.pid(), "VmRSS")?;

    let rate = |json: &Value| number(&json["produce"], "msg_per_s");
    let base = format!("topics --queues {used} --skip-setup");
    let (seconds, warm_up) = (run.seconds, run.warm_up.max(2.0));
    let load = Load { args: words(&base), warm_up, seconds };
    let (json, mut metrics) = load.run(system, &run.setup.binary, rate)?;
    measure::latencies(&json["produce"]["latency_us"], &mut metrics)?;
    metrics.insert("errors", measure::errors(&json["produce"])?);
    let load = Load { args: words(&format!("{base} --rate {RATE}")), warm_up, seconds };
    let (json, fixed) = load.run(system, &run.setup.binary, rate)?;
    metrics.insert("fixed_per_second", rate(&json)?);
    metrics.insert("fixed_p99_us", number(&json["produce"]["latency_us"], "p99")?);
    if let Some(cpu) = fixed.get("cpu_us") {
        metrics.insert("fixed_cpu_us", *cpu);
    }
    measure::memory(system.pid(), &mut metrics)?;
    metrics.insert("queues", used);
    metrics.insert("setup_s", setup_s);
    metrics.insert("bytes_per_queue", (loaded - empty).max(0.0) * f64::from(1 << 20) / used);
    Ok((metrics, note))
}
