//! A look at a log that nobody uses: what a start would believe, cut and report as lost.
//!
//! In: the files, best through [`crate::disk::read_only`]. Out: everything that is good, into a
//! [`Replay`], and a [`Survey`]. Walks as [`crate::recover`] does, and changes nothing.

use crate::PhysicalOffset;
use crate::files::Files;
use crate::identity::Identity;
use crate::recover::{Lost, RecoverError, Replay, Walk, failed, stale_pages};

/// What a start would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Where the walk began: a file's first position.
    pub begin: PhysicalOffset,
    /// Where the log ends.
    pub end: PhysicalOffset,
    /// All before was on the disk once.
    pub proof: PhysicalOffset,
    /// The highest start number in any seal.
    pub start: u64,
    /// Good messages.
    pub records: u64,
    /// Bytes behind the end that are not zero, in pages of 4 KiB: a start would set them aside and
    /// clear them.
    pub behind_end: u64,
    pub lost: Vec<Lost>,
}

/// Walks the whole log, or from the file on that holds `from`. Ends early if `replay` has enough;
/// what lies behind is then not looked at.
pub fn survey(
    files: &Files,
    identity: &Identity,
    from: Option<PhysicalOffset>,
    replay: &mut dyn Replay,
) -> Result<Survey, RecoverError> {
    let first = files.first().unwrap_or_default();
    let mut walk = Walk::new(files, identity, None);
    if let Some(from) = from.filter(|from| *from >= first.plus(files.file_size())) {
        // No round spans files, so one begins there; which seal it names is not known.
        walk.begin_at(PhysicalOffset(from.0 - from.0 % files.file_size()));
    }
    let end = walk.run(replay, PhysicalOffset(u64::MAX))?;
    let behind_end = if replay.has_enough() {
        0
    } else {
        stale_pages(files, end, |_, _| Ok(())).map_err(failed("reading the log's end"))?
    };
    Ok(Survey {
        begin: walk.begin,
        end,
        proof: walk.proof.min(end),
        start: walk.start,
        records: walk.records,
        behind_end,
        lost: walk.lost,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use kerolox_protocol::record::View;

    use super::*;
    use crate::append::{Appender, Resume};
    use crate::disk::Disk;
    use crate::disk::fault::FaultDisk;
    use crate::disk::read_only::ReadOnly;
    use crate::files::DIR;
    use crate::flush::Writer;
    use crate::recover::recover;
    use crate::seal::Link;

    const IDENTITY: Identity = Identity { number: [1; 16], writer: 2 };
    const DATA_DIR: &str = "/data";
    const FILE_SIZE: u64 = 64 << 10;

    #[derive(Default)]
    struct Changes(Vec<Vec<u8>>);

    impl Replay for Changes {
        fn record(&mut self, _: &View<'_>, _: u32) {}
        fn change(&mut self, change: &[u8], _: PhysicalOffset) {
            self.0.push(change.to_vec());
        }
        fn progress(&mut self, _: u64, _: u64) {}
    }

    fn open(disk: &FaultDisk) -> Files {
        let disk: Arc<dyn Disk> = Arc::new(ReadOnly(disk.clone()));
        Files::open(disk, Path::new(DATA_DIR), FILE_SIZE).unwrap()
    }

    /// A log of forty rounds with a change each, and where they begin.
    fn log() -> (FaultDisk, Vec<u64>) {
        let disk = FaultDisk::default();
        let dir = Path::new(DATA_DIR);
        disk.create_dir(dir).unwrap();
        let files = Arc::new(Files::open(Arc::new(disk.clone()), dir, FILE_SIZE).unwrap());
        let resume =
            Resume { next: PhysicalOffset(0), before: Link::NONE, store_timestamp: 0, start: 1 };
        let mut log = Appender::new(IDENTITY, FILE_SIZE, resume);
        let mut writer = Writer::new(files, PhysicalOffset(0));
        let mut begins = Vec::new();
        for i in 0..40 {
            log.change(&vec![i; 5000]);
            for round in log.take_rounds() {
                // A file may end with a seal alone.
                begins.extend((round.bytes.len() > 5000).then_some(round.begin.0));
                writer.write([&round]).unwrap();
            }
            writer.sync().unwrap();
            log.set_flushed(writer.watermarks().flushed);
        }
        (disk, begins)
    }

    #[test]
    fn a_survey_says_what_a_start_finds_and_changes_nothing() {
        let (disk, begins) = log();
        let (damaged, torn) = (begins[7], begins[39]);
        for at in [damaged + 300, torn + 300] {
            let base = at - at % FILE_SIZE;
            let path = Path::new(DATA_DIR).join(DIR).join(format!("{base:020}"));
            disk.flip(&path, (at - base) * 8);
        }
        let calls = disk.calls();
        let mut found = Changes::default();
        let survey = survey(&open(&disk), &IDENTITY, None, &mut found).unwrap();
        assert_eq!(disk.calls(), calls, "something was changed");
        assert_eq!((survey.begin.0, survey.end.0, survey.start), (0, torn, 1));
        assert!(survey.behind_end > 0);
        let lost: Vec<_> = survey.lost.iter().map(|lost| lost.begin.0).collect();
        assert_eq!(lost, [damaged]);
        assert_eq!(found.0.len(), 38);

        let files = Files::open(Arc::new(disk), Path::new(DATA_DIR), FILE_SIZE).unwrap();
        let mut replayed = Changes::default();
        let (_, report) =
            recover(&files, Path::new(DATA_DIR), &IDENTITY, None, &mut replayed).unwrap();
        assert_eq!(
            (report.end, report.proof, &report.lost),
            (survey.end, survey.proof, &survey.lost)
        );
        assert_eq!(report.cut.map(|cut| cut.bytes), Some(survey.behind_end));
        assert_eq!(replayed.0, found.0);
    }

    #[test]
    fn a_survey_from_a_position_begins_with_its_file() {
        let (disk, begins) = log();
        let mut found = Changes::default();
        let from = PhysicalOffset(2 * FILE_SIZE + 77);
        let survey = survey(&open(&disk), &IDENTITY, Some(from), &mut found).unwrap();
        assert_eq!((survey.begin.0, &survey.lost), (2 * FILE_SIZE, &Vec::new()));
        assert_eq!(found.0.len(), begins.iter().filter(|begin| **begin >= 2 * FILE_SIZE).count());
    }
}
