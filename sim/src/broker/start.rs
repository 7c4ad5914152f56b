//! A start: from the files as they are to a broker that goes on.
//!
//! In: a disk. Out: a [`Broker`] and what recovery found, or why there is none. Follows
//! `server/src/start.rs`.

use std::path::Path;
use std::sync::Arc;

use kerolox_engine::keeper::{Found, Keeper};
use kerolox_engine::{Engine, Output};
use kerolox_log::append::Appender;
use kerolox_log::disk::Disk;
use kerolox_log::files::Files;
use kerolox_log::flush::Writer;
use kerolox_log::identity::{self, Identity};
use kerolox_log::recover::{self, Report};
use kerolox_log::tail::Tail;

use crate::broker::Broker;
use crate::broker::housekeeping::Housekeeping;
use crate::broker::rounds::Rounds;
use crate::clock::Clock;
use crate::plan::{self, Plan};
use crate::seam::Seam;

/// The data directory.
pub(crate) const DATA_DIR: &str = "/data";

/// What a start found.
pub(crate) struct Started {
    pub(crate) broker: Broker,
    pub(crate) report: Report,
    /// Where the walk began: what lies before is in snapshots and index blocks.
    pub(crate) walked_from: u64,
    /// Snapshots that could not be read, changes that nobody knows.
    pub(crate) oddities: Vec<String>,
}

/// Opens and recovers the log, and goes on with it.
pub(crate) fn start(
    seam: &Seam,
    plan: &Plan,
    fresh: Identity,
    clock: &Clock,
) -> Result<Started, String> {
    let disk: Arc<dyn Disk> = Arc::new(seam.clone());
    let dir = Path::new(DATA_DIR);
    let config = plan::config();
    disk.create_dir(dir).map_err(|e| e.to_string())?;
    let (identity, file_size) = identity::open(&*disk, dir, Some(plan.file_size), fresh)
        .map_err(|e| format!("identity: {e}"))?;
    let files =
        Files::open(disk.clone(), dir, file_size).map_err(|e| format!("opening the log: {e}"))?;
    let files = Arc::new(files);
    let found = Keeper::open(files.clone(), dir.to_owned(), identity, &config);
    let Found { mut keeper, mut state, origin, mut oddities } =
        found.map_err(|e| format!("snapshots and index: {e}"))?;
    keeper.snapshot_after = plan.snapshot_after;
    // Small ones are made of several parts.
    keeper.snapshot_part = plan.snapshot_after;
    let (resume, report) = recover::recover(&files, dir, &identity, origin, &mut state)
        .map_err(|e| format!("recovery: {e}"))?;
    keeper.settle(&mut state).map_err(|e| format!("the index: {e}"))?;
    if state.unknown_changes > 0 {
        oddities.push(format!("{} unknown changes", state.unknown_changes));
    }
    let mut engine_config = config;
    engine_config.process.copy_from_slice(&fresh.number[..6]);
    let log = Appender::new(identity, file_size, resume);
    let mut engine = Engine::new(engine_config, state, log, keeper.blocks.clone(), &report);
    engine.tail = Tail::new(plan.tail_bytes);
    // Not the log's end: the engine's first state change may have closed a round already.
    let end = engine.confirmed();
    files.claim(end);
    let broker = Broker {
        writer: Writer::new(files.clone(), end),
        housekeeping: Housekeeping {
            identity,
            keeper,
            makes_blocks: true,
            data_dir: dir.to_owned(),
            full: false,
            zero_ahead: plan.zero_ahead,
            unsynced: None,
            synced: end,
            log_bytes_max: plan.log_bytes_max,
            retired: 0,
        },
        engine,
        files,
        out: Output::default(),
        jobs: Default::default(),
        waiting: Default::default(),
        rounds: Rounds::default(),
        durability: plan.durability,
        confirm_unsynced: plan.cheats.confirm_unsynced,
        fetched: Default::default(),
        confirmed: end,
        last_round: clock.elapsed(),
        settled: false,
        failed: false,
        writer_failed: false,
    };
    let walked_from = report.begin.0;
    Ok(Started { broker, report, walked_from, oddities })
}
