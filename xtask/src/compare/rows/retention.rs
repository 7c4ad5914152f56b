//! Old log files are deleted while messages are sent and received.

use std::fs::{self, FileTimes};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

use super::{e2e, pull};
use crate::compare::run::{Case, Run};
use crate::compare::systems::{Flush, Name, Setting, System};

/// Messages a second meanwhile: well below what either can do alone.
const RATE: f64 = 1000.0;
/// Older than the 72 hours that files are kept.
const OLD: Duration = Duration::from_secs(100 * 3600);

/// Apache's file times are set back: it goes by them, at any hour here. Kerolox, which goes by the
/// times of the messages, is told to keep no more bytes than it must. Both look after their start.
pub(super) fn row(run: &Run) -> Result<(String, Vec<Case>)> {
    let messages: u64 = if run.quick { 1_500_000 } else { 4_000_000 };
    let mut pair = run.pair(Flush::Sync, messages * 1300 * 2 + (6 << 30))?;
    pull::fill(run, &mut pair, "Backlog", messages)?;
    pair.stop()?;
    let mut case = Case::new("", Flush::Sync);
    // Apache looks for the first time after a minute, and then every ten seconds.
    let seconds = if run.quick { 75.0 } else { 90.0 };
    for name in run.setup.both() {
        let folder = run.dir.join(name.key());
        let setting: Setting<'_> = match name {
            Name::Kerolox | Name::Before => ("kerolox.retention.bytes", "1"),
            Name::Apache => ("deleteWhen", &hours()),
        };
        let before = log_files(run, name)?;
        if name == Name::Apache {
            for file in &before {
                let times = FileTimes::new().set_modified(SystemTime::now() - OLD);
                fs::File::options().write(true).open(file)?.set_times(times)?;
            }
        }
        let system = System::start_with(&run.setup, name, &folder, Flush::Sync, Some(setting))?;
        let mut metrics = e2e::one(run, &system, RATE, "Meanwhile", seconds)?;
        let after = log_files(run, name)?;
        let deleted = before.iter().filter(|file| !after.contains(file)).count();
        ensure!(deleted > 0, "{} deleted nothing", name.key());
        metrics.insert("deleted_files", deleted as f64);
        println!("{} {}", name.key(), crate::compare::report::line(&metrics));
        case.rounds.push((name, metrics));
        system.stop()?;
    }
    case.notes.push(format!(
        "one round: {messages} messages of 1 KiB were stored before, {RATE} msg/s are sent and received meanwhile"
    ));
    let title =
        format!("log files of 1 GiB are deleted at {RATE} msg/s, {seconds} s from the start on");
    Ok((title, vec![case]))
}

/// Every hour of the day.
fn hours() -> String {
    let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
    hours.join(";")
}

/// The files of a system's log.
fn log_files(run: &Run, name: Name) -> Result<Vec<PathBuf>> {
    let below = match name {
        Name::Kerolox | Name::Before => "data/commitlog",
        Name::Apache => "store/commitlog",
    };
    let entries = fs::read_dir(run.dir.join(name.key()).join(below))?;
    let files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|path| path.is_file()).collect())
}
