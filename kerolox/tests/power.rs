//! Power cuts of the real process: all that it writes is recorded; the record is done once more up to
//! some point, on a disk that then loses what was not synced; and a server is started on what is
//! left. Whatever was acknowledged before that point is there.
//!
//! Debug builds alone record. `KEROLOX_TEST_POWER_CUTS` says how often; `KEROLOX_TEST_POWER_SEED` where the
//! choice of points begins.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::call::{make_topic, put, read};
use common::{Folder, Launch, SMALL, Server, trial};
use kerolox_log::disk::fault::{FaultDisk, Rng};
use kerolox_log::disk::record::{self, now_us};

const CUTS: u64 = 8;
const QUEUES: i32 = 3;

/// A message that was acknowledged.
struct Acknowledged {
    queue: i32,
    offset: i64,
    body: String,
    at_us: u64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Sends until told to end, and notes what was acknowledged and when; and everything that was sent.
async fn send(
    server: &Server,
    worker: u64,
    end: Arc<AtomicBool>,
) -> (Vec<Acknowledged>, BTreeSet<String>) {
    let connection = server.connect().await;
    let mut rng = Rng(worker);
    let (mut acknowledged, mut sent) = (Vec::new(), BTreeSet::new());
    while !end.load(Ordering::Relaxed) {
        let queue = rng.below(QUEUES as u64) as i32;
        let size = [10, 500, 3_000, 40_000][rng.below(4) as usize];
        let body = format!("{worker} {} {}", sent.len(), "x".repeat(size));
        sent.insert(body.clone());
        let offset = put(&connection, "t", queue, &body).await.queue_offset;
        acknowledged.push(Acknowledged { queue, offset, body, at_us: now_us() });
    }
    (acknowledged, sent)
}

/// Enough of a body to know it by.
fn start(body: &str) -> &str {
    &body[..body.len().min(20)]
}

/// Writes the disk's files to a folder.
fn export(disk: &FaultDisk, from: &Path, to: &Path) {
    for path in disk.names() {
        let to = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, disk.content(&path).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_the_power_went_is_there() {
    if !trial::is_possible() {
        return;
    }
    let folder = Folder::new();
    let written = folder.join("written");
    let server = Launch::new(&folder).args(&SMALL).env("KEROLOX_TEST_RECORD", &written).start();
    make_topic(&server.connect().await, "t", QUEUES).await;
    let topic_at_us = now_us();
    let end = Arc::new(AtomicBool::new(false));
    let stop = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        end.store(true, Ordering::Relaxed);
    };
    let [a, b, c] = [1, 2, 3].map(|worker| send(&server, worker, end.clone()));
    let (a, b, c, ()) = tokio::join!(a, b, c, stop);
    server.kill();
    let (mut acknowledged, mut sent) = (Vec::new(), BTreeSet::new());
    for (some, bodies) in [a, b, c] {
        acknowledged.extend(some);
        sent.extend(bodies);
    }
    let steps = record::read(&std::fs::read(&written).unwrap());
    let first = steps.partition_point(|step| step.at_us <= topic_at_us) as u64;
    assert!(steps.len() as u64 > first + 100, "{} steps", steps.len());

    let mut rng = Rng(number("KEROLOX_TEST_POWER_SEED", 1));
    let mut found_in_all = 0;
    for cut in 0..number("KEROLOX_TEST_POWER_CUTS", CUTS) {
        let upto = (first + rng.below(steps.len() as u64 - first)) as usize;
        let disk = record::replay(&steps[..upto]).unwrap();
        disk.power_cycle(&mut rng);
        let after = Folder::new();
        export(&disk, &folder.data(), &after.data());
        let server = Server::start(&after, &SMALL);
        let connection = server.connect().await;
        let mut found = BTreeMap::new();
        for queue in 0..QUEUES {
            found.insert(queue, read(&connection, "t", queue).await);
        }
        server.stop();
        let when = format!("cut {cut}, behind step {upto} of {}", steps.len());
        let mut once = BTreeSet::new();
        for body in found.values().flatten() {
            assert!(sent.contains(body), "{when}: nobody has sent {}", start(body));
            assert!(once.insert(body), "{when}: {} is there twice", start(body));
        }
        found_in_all += once.len();
        for message in acknowledged.iter().filter(|message| message.at_us < steps[upto].at_us) {
            let Acknowledged { queue, offset, body, .. } = message;
            let there = found[queue].get(*offset as usize);
            assert!(
                there == Some(body),
                "{when}: queue {queue} has {:?} at {offset}, not {}",
                there.map(|there| start(there)),
                start(body)
            );
        }
    }
    assert!(found_in_all > 0, "no cut left a message: the test shows nothing");
}
