//! How long `kerolox admin` takes, from exec to exit, against a server of its own.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use super::{Bench, Figure};
use crate::process;
use crate::server::Server;

const ROUNDS: usize = 50;

/// Commands that ask a name server, a broker, all brokers, and nobody.
const COMMANDS: [&[&str]; 5] = [
    &["topicRoute", "-t", "TBW102"],
    &["topicStatus", "-t", "SELF_TEST_TOPIC"],
    &["clusterList"],
    &["brokerStatus", "-c", "DefaultCluster"],
    &["explain", "17"],
];

/// Runs each command in turn, and tells the medians.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let folder = bench.scratch.folder("admin")?;
    let server = Server::start(bench.binary, &folder)?;
    let names = format!("127.0.0.1:{}", server.namesrv_port);
    let mut times = vec![Vec::new(); COMMANDS.len()];
    for _ in 0..ROUNDS {
        for (arguments, times) in COMMANDS.iter().zip(&mut times) {
            let mut command = process::command(bench.binary, &["admin", "-n", &names], &folder);
            command.args(*arguments).stdout(Stdio::null());
            let begin = Instant::now();
            let status = command.status()?;
            times.push(begin.elapsed().as_secs_f64() * 1000.0);
            ensure!(status.success(), "kerolox admin {} ended with {status}", arguments.join(" "));
        }
    }
    server.stop()?;
    let mut slowest = 0.0f64;
    let mut detail = Map::new();
    for (arguments, times) in COMMANDS.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        slowest = slowest.max(median);
        let (name, p95) =
            (arguments.first().copied().unwrap_or_default(), times[ROUNDS * 95 / 100]);
        detail.insert(name.to_owned(), json!({"median_ms": median, "p95_ms": p95}));
    }
    Ok(vec![Figure {
        name: "kerolox admin, exec to exit",
        text: format!("{slowest:.1} ms, the slowest median of {} commands", COMMANDS.len()),
        to_reach: "at most 10 ms",
        detail: Value::Object(detail),
    }])
}
