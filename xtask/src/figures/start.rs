//! From exec to the first accepted send, on an empty folder: the median of five starts.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::{Bench, Figure};
use crate::first_send::send;
use crate::server::Server;

const STARTS: usize = 5;
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn measure(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let mut took_ms = Vec::new();
    for start in 0..STARTS {
        let folder = bench.scratch.folder(&format!("start-{start}"))?;
        let begin = Instant::now();
        let server = Server::start(bench.binary, &folder)?;
        while !send(server.broker_port)? {
            if begin.elapsed() > LIMIT {
                bail!("no send was accepted in {LIMIT:?}");
            }
        }
        took_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        server.stop()?;
    }
    took_ms.sort_by(f64::total_cmp);
    Ok(vec![Figure {
        name: "exec to first accepted send, empty folder",
        text: format!("{:.1} ms, the median of {STARTS}", took_ms[STARTS / 2]),
        to_reach: "at most 50 ms",
        detail: json!({"ms": took_ms}),
    }])
}
