//! The files of the log themselves, before and after a start.
//!
//! In: the disk. Out: whether what recovery cut was set aside first, and whether it left the log as
//! its format wants it: zeros behind the end, files of full length, no file that nobody knows.

use std::collections::BTreeMap;
use std::path::Path;

use kerolox_log::files;
use kerolox_log::recover::Report;

use crate::books::Duty;
use crate::broker::start::DATA_DIR;
use crate::foresee::foresee;
use crate::violation::{Checked, ensure};
use crate::world::World;

/// The log's files by their first position.
pub(crate) type LogFiles = BTreeMap<u64, Vec<u8>>;

impl World<'_> {
    /// The log as it is now; what cannot be read is something else than what it was.
    pub(crate) fn log_files(&self) -> LogFiles {
        let dir = Path::new(DATA_DIR).join(files::DIR);
        let names = self.seam.names(&dir).into_iter();
        let file = |path: std::path::PathBuf| {
            let base = path.file_name()?.to_str()?.parse().ok()?;
            Some((base, self.seam.readable_content(&path)?))
        };
        names.filter_map(file).collect()
    }

    /// Foresees what a start finds in these files if it walks them from `from` on: what lies before
    /// is in snapshots and index blocks, or was made again from the log.
    pub(crate) fn foresee_start(&mut self, before: &LogFiles, from: u64) {
        self.rounds.forget_below(before.keys().next().copied().unwrap_or(0).min(from));
        self.foreseen = foresee(&self.rounds, before, from);
        // What is in an index block by now is not found once more, but lost all the same.
        self.books.damage.add(&self.foreseen.damage);
        let (left, end) = (self.foreseen.left, self.foreseen.end);
        let must = if self.duty.lossy { self.duty.synced } else { self.duty.written };
        let excused = end >= self.stands && left < self.rounds.all().len();
        if self.damaged && end < must && excused {
            // Damage above the proof cannot be told from a torn end.
            self.duty = Duty { synced: end, lossy: true, ..self.duty };
        }
        self.events.add(|| format!("the log will end at {end}, lost: {:?}", self.foreseen.lost));
    }

    /// A start complains of what was damaged and of nothing else; and where a block was made again no
    /// more is lost than the damage to the log explains.
    pub(crate) fn check_oddities(&self, oddities: &[String]) -> Checked {
        let lost = self.foreseen.lost_below.iter();
        let lost: Vec<String> =
            lost.map(|lost| format!("lost to damage on the disk: {lost}")).collect();
        for text in oddities {
            let named = || self.spoiled.iter().any(|at| text.contains(&at.to_string()));
            let known = if text.starts_with("lost") { lost.contains(text) } else { named() };
            ensure!(known, "at the start: {text}; lost is {lost:?}");
        }
        Ok(())
    }

    /// Compares what a start found with what was foreseen. Returns where the rounds end that stand.
    pub(crate) fn check_found(
        &mut self,
        (before, after): (&LogFiles, &LogFiles),
        report: &Report,
    ) -> Checked<u64> {
        let Some(broker) = &mut self.broker else { return Ok(0) };
        let (end, lost) = (self.foreseen.end, &self.foreseen.lost);
        self.events.add(|| format!("lost below the walk: {:?}", self.foreseen.lost_below));
        ensure!(
            report.lost == *lost,
            "reported as lost is {:?}, but lost is {lost:?}",
            report.lost
        );
        ensure!(end <= report.end.0, "the log ends at {}, but should at {end}", report.end);
        for (base, content) in before {
            let kept = content.len() - behind(*base, content, end).len();
            if kept == 0 {
                continue;
            }
            let same =
                after.get(base).and_then(|after| after.get(..kept)) == Some(&content[..kept]);
            ensure!(same, "recovery changed the file {base} before the log's end at {end}");
        }
        let mut rounds = std::mem::take(&mut self.rounds);
        rounds.recovered(self.foreseen.left, after, broker.confirmed().0)?;
        broker.rounds = rounds;
        Ok(end)
    }

    /// Looks at what a start made of the log.
    pub(crate) fn check_files(
        &self,
        (before, after): (&LogFiles, &LogFiles),
        report: &Report,
    ) -> Checked {
        self.check_set_aside(before, report)?;
        let Some(broker) = &self.broker else { return Ok(()) };
        let bases: Vec<u64> = after.keys().copied().collect();
        ensure!(
            bases == broker.files.bases(),
            "the log has the files {bases:?}, known are {:?}",
            broker.files.bases()
        );
        // A cut end is sealed: the log goes on behind that.
        let end = broker.confirmed().0;
        for (base, content) in after {
            let zeros = behind(*base, content, end).iter().all(|byte| *byte == 0);
            ensure!(zeros, "behind the end of the log at {end} the file {base} is not empty");
            let holds_end = (*base..base + self.plan.file_size).contains(&end);
            let size = content.len() as u64;
            ensure!(
                size == self.plan.file_size || !holds_end,
                "the log ends at {end}, in the file {base} of {size} bytes"
            );
        }
        Ok(())
    }

    /// What was cut is in the set-aside file, every byte of it.
    fn check_set_aside(&self, before: &LogFiles, report: &Report) -> Checked {
        let end = report.end.0;
        let set_aside = report.cut.as_ref().and_then(|cut| self.seam.content(&cut.set_aside));
        let set_aside = set_aside.unwrap_or_default();
        let mut aside = BTreeMap::new();
        let mut rest = &set_aside[..];
        while let Some((head, behind)) = rest.split_first_chunk::<12>()
            && let (Some(at), Some(size)) = (head.first_chunk::<8>(), head.last_chunk::<4>())
            && let Some((page, behind)) =
                behind.split_at_checked(u32::from_be_bytes(*size) as usize)
        {
            aside.insert(u64::from_be_bytes(*at), page);
            rest = behind;
        }
        ensure!(rest.is_empty(), "the set-aside file ends in the middle of a page: {report:?}");
        for (base, content) in before {
            let cut = behind(*base, content, end);
            let first = base + (content.len() - cut.len()) as u64;
            let mut copied = vec![0; cut.len()];
            for (at, page) in aside.range(first..first + cut.len() as u64) {
                let from = (at - first) as usize;
                copied[from..from + page.len()].copy_from_slice(page);
            }
            ensure!(copied == cut, "what was cut behind {end} in the file {base} is not set aside");
        }
        Ok(())
    }
}

/// The bytes of a file that lie behind a position of the log.
fn behind(base: u64, content: &[u8], position: u64) -> &[u8] {
    &content[position.saturating_sub(base).min(content.len() as u64) as usize..]
}
