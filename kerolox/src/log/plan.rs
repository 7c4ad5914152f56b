//! `kerolox log plan`: what retention will delete, when, by which rule, and whom that concerns.
//!
//! In: a data directory and the settings of its server. Out: each file of the log with what becomes
//! of it, by the function with which a running server decides. Nothing is changed. On a running
//! server's directory no lock is taken: of what it writes meanwhile only whole rounds and whole
//! index blocks are believed, and if it deletes a file, the look is taken once more.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kerolox_engine::change::deleted_topic;
use kerolox_log::PhysicalOffset;
use kerolox_log::disk::read_only::ReadOnly;
use kerolox_log::disk::real::RealDisk;
use kerolox_log::disk::{Disk, Space};
use kerolox_log::index::lookup::Blocks;
use kerolox_log::recover::Origin;
use kerolox_log::retention::{self, Concerned, Fate, Held, Retention, SPACE_NEVER};
use serde_json::{Value, json};

use super::time::utc;
use super::{Lock, PlanArgs, lock, open, written};
use crate::config;
use crate::exit::Failure;

/// How often a running server may delete a file under the look.
const LOOKS: usize = 5;

/// Runs it.
pub(super) fn run(args: &PlanArgs) -> Result<ExitCode, Failure> {
    let of = &args.of;
    let given = of.dir.as_deref().or(of.data_dir.as_deref());
    let (dir, settings) = config::configure_retention(given, of.config.as_deref(), &of.set)
        .map_err(Failure::config)?;
    // Held until the end: a server that starts would delete files under the look.
    let lock = lock(&dir)?;
    let running = matches!(lock, Lock::Taken);
    let mut looks = if running { LOOKS } else { 1 };
    let look = loop {
        looks -= 1;
        match Look::take(&dir) {
            Ok(Some(look)) => break look,
            Err(failure) if looks == 0 => return Err(failure),
            Ok(None) if looks == 0 => {
                let why = format!("{}: files are deleted all the time; try again", dir.display());
                return Err(Failure::other(why));
            }
            _ => {}
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Failure::other)?;
    let now = i64::try_from(now.as_millis()).map_err(Failure::other)?;
    let space = RealDisk.space(&dir).map_err(Failure::unusable)?;
    let held: Vec<Held> = look.files.iter().map(|(held, _)| *held).collect();
    let fates = retention::plan(&held, look.end, now, &settings, space);
    let plan = Plan { look, fates, settings, space, now, running };
    let mut out = io::stdout().lock();
    let shown =
        if args.json { writeln!(out, "{}", plan.as_json()) } else { plan.as_text(&mut out) };
    written(shown)?;
    Ok(ExitCode::SUCCESS)
}

/// The files, with what is in them, and where the log ends.
struct Look {
    files: Vec<(Held, Concerned)>,
    end: PhysicalOffset,
}

impl Look {
    /// `None`: a file was deleted meanwhile.
    fn take(dir: &std::path::Path) -> Result<Option<Look>, Failure> {
        let unusable = |e: io::Error| Failure::unusable(format!("{}: {e}", dir.display()));
        let disk: Arc<dyn Disk> = Arc::new(ReadOnly(RealDisk));
        let (identity, files) = open(dir, disk.clone())?;
        let files = Arc::new(files);
        let blocks = Blocks::open(files.clone(), dir.to_owned(), identity, deleted_topic)
            .map_err(unusable)?;
        let (file_size, bases) = (files.file_size(), files.bases());
        let mut at = Origin::file(files.first().unwrap_or_default());
        let mut found = Vec::new();
        for base in &bases {
            let (begin, next) = (PhysicalOffset(*base), base + file_size);
            // What is missing before it, or not written yet, leaves no gap here.
            if at.position != begin {
                at = Origin { before: None, ..Origin { position: begin, ..at } };
            }
            let contents = retention::contents(&blocks, at, PhysicalOffset(next));
            let contents = contents.map_err(Failure::unusable)?;
            at = contents.end;
            // As the time of the file before, if this one says nothing.
            let last_time = at.store_timestamp;
            let held = Held { begin, bytes: file_size, last_time, finished: false };
            found.push((held, Concerned::new(&contents.messages)));
            if at.position.0 < next {
                // What follows is made ahead.
                break;
            }
        }
        let listed = files.dir().join(format!("{:020}", bases.first().copied().unwrap_or(0)));
        if !bases.is_empty() && !listed.try_exists().map_err(unusable)? {
            return Ok(None);
        }
        let end = at.position;
        for (held, _) in &mut found {
            held.finished = held.begin.0 + file_size < end.0;
        }
        Ok(Some(Look { files: found, end }))
    }
}

struct Plan {
    look: Look,
    fates: Vec<Fate>,
    settings: Retention,
    space: Space,
    now: i64,
    running: bool,
}

impl Plan {
    fn hours(&self) -> Vec<String> {
        let hours = (0..24).filter(|hour| self.settings.hours & (1 << hour) != 0);
        hours.map(|hour| format!("{hour:02}")).collect()
    }

    /// From which use of the disk on the oldest files go before their time; `None`: never.
    fn force_percent(&self) -> Option<u64> {
        Some(self.settings.disk_force_percent).filter(|percent| *percent != SPACE_NEVER)
    }

    fn rows(&self) -> impl Iterator<Item = (&Held, &Concerned, &Fate)> {
        let files = self.look.files.iter().zip(&self.fates);
        files.map(|((held, topics), fate)| (held, topics, fate))
    }

    fn as_json(&self) -> Value {
        let rows = self.rows().map(|(held, topics, fate)| {
            let named = topics.named.iter();
            let named = named.map(|(topic, n)| json!({"topic": topic, "messages": n}));
            let (kept, deleted) = match fate {
                Fate::Open => (Some("open"), None),
                Fate::Kept => (Some("age unknown"), None),
                Fate::Deleted { at, reason, expired } => {
                    let reason = reason.label();
                    (None, Some(json!({"at": at, "reason": reason, "expired": expired})))
                }
            };
            json!({
                "begin": held.begin.0,
                "end": held.begin.0 + held.bytes,
                "bytes": held.bytes,
                "lastStored": (held.last_time > 0).then_some(held.last_time),
                "deleted": deleted,
                "kept": kept,
                "messages": topics.messages(),
                "topics": named.collect::<Vec<_>>(),
                "moreTopics": topics.others,
                "moreMessages": topics.others_messages,
            })
        });
        let settings = &self.settings;
        json!({
            "now": self.now,
            "running": self.running,
            "end": self.look.end.0,
            "diskUsedPercent": self.space.used_percent(),
            "settings": {
                "fileReservedTime": settings.age_ms / 3_600_000,
                "deleteWhen": self.hours().join(";"),
                "kerolox.retention.bytes": settings.bytes,
                "diskMaxUsedSpaceRatio": settings.disk_used_percent,
                "diskSpaceCleanForciblyRatio": self.force_percent(),
            },
            "files": rows.collect::<Vec<_>>(),
        })
    }

    fn as_text(&self, out: &mut impl Write) -> io::Result<()> {
        let Retention { age_ms, bytes, disk_used_percent, .. } = self.settings;
        let (hours, age) = (self.hours().join(";"), age_ms / 3_600_000);
        let forced = self.force_percent().map_or("never".to_owned(), |percent| percent.to_string());
        writeln!(
            out,
            "settings  fileReservedTime={age} deleteWhen={hours} kerolox.retention.bytes={bytes} diskMaxUsedSpaceRatio={disk_used_percent} diskSpaceCleanForciblyRatio={forced}"
        )?;
        let (used, free) = (self.space.used_percent(), self.space.free >> 20);
        writeln!(out, "disk      {used} % used, {free} MiB free")?;
        let first = self.look.files.first().map_or(0, |(held, _)| held.begin.0);
        writeln!(out, "log       {first} to {}, at {}", self.look.end, utc(self.now))?;
        if self.running {
            writeln!(
                out,
                "running   a server uses the directory: what it writes now may be missing"
            )?;
        }
        for (held, topics, fate) in self.rows() {
            let (begin, end, size) = (held.begin, held.begin.0 + held.bytes, held.bytes >> 20);
            let last = match held.last_time {
                0 => "unknown".to_owned(),
                time => utc(time),
            };
            writeln!(out, "file      {begin} to {end}: {size} MiB, last record {last}")?;
            match fate {
                Fate::Open => writeln!(out, "  kept    the log goes on in it")?,
                Fate::Kept => {
                    writeln!(out, "  kept    nothing says how old it is, or the one before it")?;
                }
                Fate::Deleted { at, reason, expired } => {
                    let when = if *at <= self.now { "now".to_owned() } else { utc(*at) };
                    let early = if *expired { "" } else { ", before fileReservedTime" };
                    writeln!(out, "  deleted {when}: {}{early}", reason.name())?;
                }
            }
            writeln!(out, "  topics  {topics}")?;
        }
        Ok(())
    }
}
