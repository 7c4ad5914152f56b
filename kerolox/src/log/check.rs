//! `kerolox log check`: every round against its seal, every seal against the one before.
//!
//! In: a stopped directory. Out: what is damaged and where, what a start would cut, and an exit
//! code: 0 if nothing that was acknowledged is damaged, 1 if something is.

use std::io::{self, Write};
use std::process::ExitCode;

use kerolox_log::PhysicalOffset;
use kerolox_log::recover::Replay;
use kerolox_log::snapshot;
use kerolox_log::survey::{Survey, survey};
use kerolox_protocol::record::View;
use serde_json::json;

use super::{CheckArgs, Stopped, written};
use crate::exit::Failure;

#[derive(Default)]
struct Count {
    changes: u64,
}

impl Replay for Count {
    fn record(&mut self, _: &View<'_>, _: u32) {}
    fn change(&mut self, _: &[u8], _: PhysicalOffset) {
        self.changes += 1;
    }
    fn progress(&mut self, _: u64, _: u64) {}
}

/// Runs it.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let stopped = Stopped::open(&args.dir)?;
    let mut count = Count::default();
    let found =
        survey(&stopped.files, &stopped.identity, None, &mut count).map_err(Failure::unusable)?;
    let (_, snapshots) =
        snapshot::read_newest(&**stopped.files.disk(), &args.dir, &stopped.identity)
            .map_err(Failure::unusable)?;
    let mut out = io::stdout().lock();
    let shown = if args.json {
        writeln!(out, "{}", as_json(&found, count.changes, &snapshots))
    } else {
        as_text(&mut out, &found, count.changes, &snapshots)
    };
    written(shown)?;
    if found.lost.is_empty() && snapshots.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let damaged = found.lost.len() + snapshots.len();
    Err(Failure::other(format!("{} is damaged in {damaged} places", args.dir.display())))
}

fn as_json(found: &Survey, changes: u64, snapshots: &[String]) -> serde_json::Value {
    let lost = found.lost.iter();
    let lost =
        lost.map(|lost| json!({"begin": lost.begin.0, "end": lost.end.0, "what": lost.what}));
    json!({
        "begin": found.begin.0,
        "end": found.end.0,
        "proof": found.proof.0,
        "starts": found.start,
        "records": found.records,
        "changes": changes,
        "damage": lost.collect::<Vec<_>>(),
        "damagedSnapshots": snapshots,
        "cutBytes": found.behind_end,
    })
}

fn as_text(
    out: &mut impl Write,
    found: &Survey,
    changes: u64,
    snapshots: &[String],
) -> io::Result<()> {
    let Survey { begin, end, proof, start, records, .. } = found;
    writeln!(out, "log       {begin} to {end}, {start} starts")?;
    writeln!(out, "good      {records} messages, {changes} state changes")?;
    writeln!(out, "proof     {proof}: all before was on the disk once")?;
    for lost in &found.lost {
        writeln!(out, "damage    {} to {}: {}", lost.begin, lost.end, lost.what)?;
    }
    for snapshot in snapshots {
        writeln!(out, "damage    {snapshot}")?;
    }
    if found.behind_end > 0 {
        let bytes = found.behind_end;
        writeln!(
            out,
            "unproven  {bytes} bytes behind {end}: a start sets them aside and cuts them"
        )?;
    }
    Ok(())
}
