//! `kerolox log check`: every round against its seal, every seal against the one before; snapshots
//! and index blocks against the log.
//!
//! In: a stopped directory. Out: what is damaged and where, what a start would cut, and an exit
//! code: 0 if nothing that was acknowledged is damaged, 1 if something is.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use kerolox_engine::change::deleted_topic;
use kerolox_engine::links;
use kerolox_log::PhysicalOffset;
use kerolox_log::files::Files;
use kerolox_log::identity::Identity;
use kerolox_log::index::lookup::Blocks;
use kerolox_log::index::verify::{self, Verified, verify};
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

/// Everything that was found.
struct Checked {
    survey: Survey,
    changes: u64,
    index: Verified,
    /// Each names its snapshot.
    snapshots: Vec<String>,
}

/// Runs it.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let Stopped { identity, files, _lock } = Stopped::open(&args.dir)?;
    let mut count = Count::default();
    let survey = survey(&files, &identity, None, &mut count).map_err(Failure::unusable)?;
    let (index, snapshots) = check_index(Arc::new(files), &identity, &args.dir)?;
    let checked = Checked { survey, changes: count.changes, index, snapshots };
    let mut out = io::stdout().lock();
    let shown =
        if args.json { writeln!(out, "{}", checked.as_json()) } else { checked.as_text(&mut out) };
    written(shown)?;
    let Checked { survey, index, snapshots, .. } = &checked;
    let damaged = survey.lost.len() + index.findings.len() + snapshots.len();
    if damaged == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let log_is_whole = survey.lost.is_empty();
    let hint = if log_is_whole { "; kerolox log repair-index makes the index again" } else { "" };
    let shown = args.dir.display();
    Err(Failure::other(format!("{shown} is damaged in {damaged} places{hint}")))
}

/// Holds blocks and snapshots against the log.
fn check_index(
    files: Arc<Files>,
    identity: &Identity,
    dir: &Path,
) -> Result<(Verified, Vec<String>), Failure> {
    let disk = files.disk().clone();
    let blocks = Blocks::open(files.clone(), dir.to_owned(), *identity, deleted_topic)
        .map_err(Failure::unusable)?;
    let (mut whole, mut findings) = (Vec::new(), Vec::new());
    for path in snapshot::paths(&*disk, dir).map_err(Failure::unusable)? {
        match snapshot::read(&*disk, &path, identity) {
            Err(newer) if newer.kind() == io::ErrorKind::Unsupported => {
                return Err(Failure::unusable(newer));
            }
            Err(why) => findings.push(why.to_string()),
            Ok(snapshot) => {
                let finding = links::finding(&snapshot, &blocks).map_err(Failure::unusable)?;
                findings.extend(finding.map(|what| format!("{}: {what}", path.display())));
                whole.push((path, snapshot.origin));
            }
        }
    }
    let needed = whole.last().map_or(PhysicalOffset(0), |(_, origin)| origin.position);
    let verified = verify(&blocks, needed, &mut |_, _| {}).map_err(Failure::unusable)?;
    for (path, origin) in whole {
        if let Err(what) = verify::ends_at(&files, &verified, &origin) {
            findings.push(format!("{}: {what}", path.display()));
        }
    }
    Ok((verified, findings))
}

impl Checked {
    fn as_json(&self) -> serde_json::Value {
        let Checked { survey: found, changes, index, snapshots } = self;
        let lost = found.lost.iter();
        let lost = lost.map(|lost| {
            let (begin, end, bytes) = (lost.begin.0, lost.end.0, lost.bytes());
            json!({"begin": begin, "end": end, "bytes": bytes, "what": lost.what})
        });
        json!({
            "begin": found.begin.0,
            "end": found.end.0,
            "proof": found.proof.0,
            "starts": found.start,
            "records": found.records,
            "changes": changes,
            "damage": lost.collect::<Vec<_>>(),
            "damagedSnapshots": snapshots,
            "indexBlocks": index.blocks,
            "damagedIndex": index.findings,
            "cutBytes": found.behind_end,
        })
    }

    fn as_text(&self, out: &mut impl Write) -> io::Result<()> {
        let Survey { begin, end, proof, start, records, .. } = &self.survey;
        writeln!(out, "log       {begin} to {end}, {start} starts")?;
        writeln!(out, "good      {records} messages, {} state changes", self.changes)?;
        writeln!(out, "proof     {proof}: all before was on the disk once")?;
        writeln!(out, "index     {} blocks", self.index.blocks)?;
        for lost in &self.survey.lost {
            let (begin, end, bytes) = (lost.begin, lost.end, lost.bytes());
            writeln!(out, "damage    {begin} to {end}, {bytes} bytes: {}", lost.what)?;
        }
        for finding in self.snapshots.iter().chain(&self.index.findings) {
            writeln!(out, "damage    {finding}")?;
        }
        if self.survey.behind_end > 0 {
            let bytes = self.survey.behind_end;
            writeln!(
                out,
                "unproven  {bytes} bytes behind {end}: a start sets them aside and cuts them"
            )?;
        }
        Ok(())
    }
}
