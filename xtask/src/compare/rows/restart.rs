//! Starts: on an empty folder, and on what a kill -9 left behind. Each ends with the first send that
//! is accepted.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::pull;
use crate::compare::measure::{self, Metrics};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, Name, System};
use crate::first_send;

/// From the process's start to the first accepted send.
const LIMIT: Duration = Duration::from_secs(600);
/// Memory is looked at so long after a start.
const SETTLE: Duration = Duration::from_secs(10);

/// How long a start took.
pub(super) struct Took {
    /// Until it said that it serves.
    pub(super) says_ms: f64,
    /// Until it accepted a send.
    pub(super) ready_ms: f64,
}

impl Took {
    pub(super) fn note(&self, metrics: &mut Metrics) {
        metrics.insert("says_ms", self.says_ms);
        metrics.insert("ready_ms", self.ready_ms);
    }
}

/// Starts it, and waits until a send is accepted.
pub(super) fn start(run: &Run, name: Name, folder: &str, flush: Flush) -> Result<(System, Took)> {
    let begin = Instant::now();
    let system = System::start(&run.setup, name, &run.dir.join(folder), flush)?;
    let says_ms = begin.elapsed().as_secs_f64() * 1e3;
    // A broker that has just told that it serves may still refuse.
    while !matches!(first_send::send(system.port()), Ok(true)) {
        if begin.elapsed() > LIMIT {
            bail!("{} accepts no send", name.key());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok((system, Took { says_ms, ready_ms: begin.elapsed().as_secs_f64() * 1e3 }))
}

/// On an empty folder.
pub(super) fn idle(run: &Run) -> Result<(String, Vec<Case>)> {
    run.need(4 << 30)?;
    let mut case = Case::new("", Flush::Sync);
    case.notes.push("Apache is name server and broker, one after the other".to_string());
    for round in 0..run.rounds {
        for name in run.setup.both() {
            let folder = format!("{}-{round}", name.key());
            let (system, took) = start(run, name, &folder, Flush::Sync)?;
            std::thread::sleep(if run.quick { SETTLE / 5 } else { SETTLE });
            let mut metrics = Metrics::new();
            took.note(&mut metrics);
            measure::memory(system.pid(), &mut metrics)?;
            println!("{} {}", name.key(), crate::compare::report::line(&metrics));
            case.rounds.push((name, metrics));
            system.stop()?;
        }
        run.clear()?;
    }
    Ok(("start on an empty folder, memory without load".to_string(), vec![case]))
}

/// With data stored, after kill -9.
pub(super) fn after_kill(run: &Run) -> Result<(String, Vec<Case>)> {
    let sizes: &[u64] = match (run.quick, run.all) {
        (true, _) => &[256 << 20],
        (false, false) => &[1 << 30],
        (false, true) => &[1 << 30, 10 << 30],
    };
    let mut cases = Vec::new();
    for bytes in sizes {
        let mut pair = run.pair(Flush::Sync, bytes * 3 + (4 << 30))?;
        let label = match bytes >> 30 {
            0 => format!("{} MiB stored", bytes >> 20),
            gib => format!("{gib} GiB stored"),
        };
        let mut case = Case::new(&label, Flush::Sync);
        pull::fill(run, &mut pair, "Backlog", bytes / 1024)?;
        let [kerolox, apache] = pair.0;
        kerolox.kill()?;
        apache.kill()?;
        for _ in 0..run.rounds {
            for name in run.setup.both() {
                let (system, took) = start(run, name, name.key(), Flush::Sync)?;
                let mut metrics = Metrics::new();
                took.note(&mut metrics);
                measure::memory(system.pid(), &mut metrics)?;
                println!("{} {}", name.key(), crate::compare::report::line(&metrics));
                case.rounds.push((name, metrics));
                system.kill()?;
            }
        }
        run.clear()?;
        cases.push(case);
    }
    Ok(("from kill -9 with data stored to the first accepted send".to_string(), cases))
}
