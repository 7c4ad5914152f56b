//! What may be believed of a log after a start, replayed in order; and the cut of what may not.
//!
//! In: the files as a crash left them. Out: records and state changes, one after the other, into a
//! [`Replay`]; where the log goes on ([`Resume`]); what was cut and what was lost ([`Report`]).
//!
//! The *proof* is the highest position that a good seal of this node calls flushed. Below it a bad
//! round is damage: the bytes stay, what is bad is reported as lost, and the walk goes on at the
//! next good seal's round. At or above it, a bad round is where the last write ended: everything
//! behind is set aside and cleared. What lies between the proof and the end is written and synced
//! once more, because a killed process leaves it in the page cache alone.

mod seals;
mod search;
pub mod unsealed;
mod walk;
mod window;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kerolox_protocol::record::View;

use crate::PhysicalOffset;
use crate::append::{Appender, Resume};
use crate::disk::{DiskFile, Open, read_full};
use crate::files::Files;
use crate::identity::Identity;
use crate::limits::{RECORD_MAX, SET_ASIDE_MAX};
use crate::rules::{self, Rule};
use crate::seal::{Link, SealError, list_crc};
pub(crate) use walk::Walk;
use window::{PAGE, READ_SIZE, behind_page, read_sound};

/// Takes what recovery believes, in the order in which it was written.
pub trait Replay {
    /// A record of a good round.
    fn record(&mut self, record: &View<'_>, crc: u32);
    /// A record of a good round that is not as it was: what it says of itself is perhaps true, but
    /// for its physical offset, which is.
    fn lost(&mut self, record: &View<'_>) {
        let _ = record;
    }
    /// A state change of a good round that begins at `at`.
    fn change(&mut self, change: &[u8], at: PhysicalOffset);
    /// How far the walk is, in bytes of the log.
    fn progress(&mut self, done: u64, total: u64);
    /// Whether the walk may end here: only for who looks at a log and does not go on with it.
    fn has_enough(&self) -> bool {
        false
    }
}

/// Something that was acknowledged and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub begin: PhysicalOffset,
    pub end: PhysicalOffset,
    pub what: &'static str,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lost { begin, end, what } = self;
        write!(f, "{what} from {begin} to {end}, {} bytes", self.bytes())
    }
}

impl Lost {
    /// Bytes that were passed over.
    pub fn bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.begin.0)
    }
}

/// An unproven end of the log that was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub from: PhysicalOffset,
    /// Bytes that were not zero, in pages of 4 KiB.
    pub bytes: u64,
    /// Where a copy of them lies.
    pub set_aside: PathBuf,
}

/// What a recovery believed, cut and lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub begin: PhysicalOffset,
    pub end: PhysicalOffset,
    pub proof: PhysicalOffset,
    pub start: u64,
    /// Messages replayed.
    pub records: u64,
    pub cut: Option<Cut>,
    pub lost: Vec<Lost>,
}

/// Why a log cannot be recovered. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the log was written by a newer release: {0}")]
    Newer(SealError),
    #[error(
        "the end of the log from position {from} on was not confirmed and must be set aside before the log can go on, but that failed: {source}. Free some room and start again; nothing was changed"
    )]
    SetAside { from: PhysicalOffset, source: io::Error },
    #[error(
        "the record at {at} has {size} bytes; Kerolox takes records of up to {RECORD_MAX} bytes, and leaves this directory as it is"
    )]
    RecordTooLarge { at: PhysicalOffset, size: usize },
}

impl RecoverError {
    /// The operating system's error behind this one, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            RecoverError::Io { source, .. } | RecoverError::SetAside { source, .. } => Some(source),
            RecoverError::Newer(_) | RecoverError::RecordTooLarge { .. } => None,
        }
    }
}

pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> RecoverError {
    let what = what.into();
    move |source| RecoverError::Io { what, source }
}

/// Where the walk begins: a snapshot's position and the seal before it, or the first file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub position: PhysicalOffset,
    /// `None`: not known, what the first seal says is taken.
    pub before: Option<Link>,
    /// The highest start number before it.
    pub start: u64,
    /// The highest store timestamp before it, in ms.
    pub store_timestamp: i64,
}

impl Origin {
    /// A file's first position: which seal stands before it is not known.
    pub fn file(position: PhysicalOffset) -> Origin {
        let before = (position.0 == 0).then_some(Link::NONE);
        Origin { position, before, start: 0, store_timestamp: 0 }
    }
}

/// Lost ranges that a report holds; a log that is damaged more often is beyond help.
pub(crate) const LOST_MAX: usize = 10_000;

/// Recovers the log in `files`.
pub fn recover(
    files: &Files,
    data_dir: &Path,
    identity: &Identity,
    origin: Option<Origin>,
    replay: &mut dyn Replay,
) -> Result<(Resume, Report), RecoverError> {
    let mut walk = Walk::new(files, identity, origin);
    let end = walk.run(replay, PhysicalOffset(u64::MAX))?;
    let proof = walk.proof.min(end);
    let mut resume = Resume {
        next: end,
        before: walk.before.unwrap_or(Link::NONE),
        store_timestamp: walk.store_timestamp,
        start: walk.start + u64::from(rules::holds(Rule::StartNumber)),
    };
    let stale = stale_pages(files, end, |_, _| Ok(())).map_err(failed("reading the log's end"))?;
    let copies = stale > 0 && rules::holds(Rule::SetAside);
    let cut = if copies { Some(set_aside(files, data_dir, end, stale)?) } else { None };
    if rules::holds(Rule::Rewrite) {
        rewrite(files, proof, end).map_err(failed("writing the log's end once more"))?;
    }
    if stale > 0 || !walk.lost.is_empty() {
        // What is cut now may hold the seals by which the rest is believed: a seal at the new end
        // takes their place first.
        let mut behind = end;
        if rules::holds(Rule::SealEnd) {
            (resume, behind) =
                seal_end(files, identity, resume).map_err(failed("sealing the log's end"))?;
        }
        if rules::holds(Rule::ClearBehind) {
            clear_behind(files, behind).map_err(failed("clearing the log behind its end"))?;
        }
    } else {
        fill_up(files, end).map_err(failed("making the log's last file whole"))?;
    }
    let report = Report {
        begin: walk.begin,
        end,
        proof,
        start: resume.start,
        records: walk.records,
        cut,
        lost: walk.lost,
    };
    Ok((resume, report))
}

/// Replays a confirmed and synced stretch of the log for an index block. Returns where it ends, and
/// what of it is damaged.
pub fn fold(
    files: &Files,
    identity: &Identity,
    origin: Option<Origin>,
    until: PhysicalOffset,
    replay: &mut dyn Replay,
) -> Result<(Origin, Vec<Lost>), RecoverError> {
    let mut walk = Walk::new(files, identity, origin);
    walk.proof_wanted = until;
    let position = walk.run(replay, until)?;
    // Not what a seal behind the stretch says.
    let (before, start, store_timestamp) = (walk.before, walk.last_start, walk.store_timestamp);
    Ok((Origin { position, before, start, store_timestamp }, walk.lost))
}

/// Whether some seal proves that all before a position was flushed: recovery never cuts there, so an
/// index block may be made of it.
pub fn is_proven(
    files: &Files,
    identity: &Identity,
    position: PhysicalOffset,
) -> Result<bool, RecoverError> {
    let mut walk = Walk::new(files, identity, Some(Origin::file(position)));
    (walk.proof, walk.proof_wanted) = (files.adopted().end(), position);
    walk.find_proof(position)?;
    Ok(walk.proof >= position)
}

/// State changes that go into the log at a start, before anybody else writes: what was agreed on with
/// another broker's tables. All are believed after a crash once [`Additions::finish`] returned.
pub struct Additions<'a> {
    files: &'a Files,
    log: Appender,
    resume: Resume,
    /// The older first.
    dirty: Vec<Arc<dyn DiskFile>>,
}

impl<'a> Additions<'a> {
    /// Goes on behind what recovery found.
    pub fn new(files: &'a Files, identity: &Identity, resume: Resume) -> Additions<'a> {
        let log = Appender::new(*identity, files.file_size(), resume);
        Additions { files, log, resume, dirty: Vec::new() }
    }

    /// Adds a state change.
    pub fn add(&mut self, change: &[u8]) -> io::Result<()> {
        self.log.change(change);
        if self.log.has_closed() { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        for round in self.log.take_rounds() {
            let (file, place) = self.files.at_or_make(round.begin)?;
            file.write_at(&[&round.bytes], place)?;
            if place == 0 || self.dirty.is_empty() {
                self.dirty.push(file);
            }
            self.resume.next = round.next;
        }
        self.resume.before = self.log.before();
        Ok(())
    }

    /// Writes and syncs what is left. Returns where the log goes on.
    pub fn finish(mut self) -> io::Result<Resume> {
        self.write()?;
        self.dirty.iter().try_for_each(|file| file.sync())?;
        Ok(self.resume)
    }
}

/// Writes and syncs a seal at the new end. Returns where the log goes on, and where the bytes of
/// the seal end.
fn seal_end(
    files: &Files,
    identity: &Identity,
    resume: Resume,
) -> io::Result<(Resume, PhysicalOffset)> {
    let mut log = Appender::new(*identity, files.file_size(), resume);
    let mut resume = resume;
    let mut behind = resume.next;
    for round in log.take_last_seal() {
        let (file, place) = files.at_or_make(round.begin)?;
        file.write_at(&[&round.bytes], place)?;
        file.sync()?;
        behind = round.begin.plus(round.bytes.len() as u64);
        resume.next = round.next;
        resume.before = Link { position: round.begin.0, list_crc: list_crc(&[]) };
    }
    Ok((resume, behind))
}

/// Clears everything behind `end`. The later files first: a crash in between leaves a tail again,
/// not a gap.
fn clear_behind(files: &Files, end: PhysicalOffset) -> io::Result<()> {
    for base in files.bases().into_iter().rev().filter(|base| *base >= end.0) {
        files.delete(base)?;
    }
    if let Some((file, place)) = files.at(end) {
        file.set_size(place)?;
        file.set_size(files.file_size())?;
        file.sync()?;
    }
    Ok(())
}

/// Gives the file under the log's end its full length, if a crash came before it had it.
fn fill_up(files: &Files, end: PhysicalOffset) -> io::Result<()> {
    if let Some((file, _)) = files.at(end)
        && file.size()? != files.file_size()
    {
        file.set_size(files.file_size())?;
        file.sync()?;
    }
    Ok(())
}

/// Calls `page` with every page behind `end` that is not all zeros, and returns their bytes.
pub(crate) fn stale_pages(
    files: &Files,
    end: PhysicalOffset,
    mut page: impl FnMut(PhysicalOffset, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut stale = 0;
    for base in files.bases() {
        if base + files.file_size() <= end.0 {
            continue;
        }
        let Some((file, _)) = files.at(PhysicalOffset(base)) else { continue };
        let mut place = end.0.saturating_sub(base);
        let mut chunk = vec![0; READ_SIZE];
        while let Some(data) = file.next_data(place)? {
            place = place.max(data);
            let (read, bad) = read_sound(&*file, &mut chunk, place)?;
            if read == 0 && bad {
                place = behind_page(place);
                stale += PAGE as u64;
                continue;
            }
            if read == 0 {
                break;
            }
            for (i, bytes) in chunk[..read].chunks(PAGE).enumerate() {
                if bytes.iter().any(|b| *b != 0) {
                    stale += bytes.len() as u64;
                    page(PhysicalOffset(base + place + (i * PAGE) as u64), bytes)?;
                }
            }
            place += read as u64;
        }
    }
    Ok(stale)
}

/// Copies the pages behind `end` into a file: for each its position (8 bytes), its size (4 bytes)
/// and its bytes.
fn set_aside(
    files: &Files,
    data_dir: &Path,
    end: PhysicalOffset,
    stale: u64,
) -> Result<Cut, RecoverError> {
    let disk = files.disk();
    let dir = data_dir.join("set-aside");
    let copy = || -> io::Result<PathBuf> {
        disk.create_dir(&dir)?;
        // A crash may have taken the name of an earlier attempt and left that of a later one.
        let mut number = disk.list(&dir)?.len();
        let (path, file) = loop {
            let path = dir.join(format!("{:020}-{number}", end.0));
            match disk.open(&path, Open::Create) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                file => break (path, file?),
            }
        };
        let (mut at, mut copied) = (0u64, 0u64);
        let whole = stale_pages(files, end, |position, bytes| {
            if copied + bytes.len() as u64 > SET_ASIDE_MAX {
                return Ok(());
            }
            let head = position.0.to_be_bytes();
            let size = (bytes.len() as u32).to_be_bytes();
            file.write_at(&[&head, &size, bytes], at)?;
            at += (12 + bytes.len()) as u64;
            copied += bytes.len() as u64;
            Ok(())
        });
        if let Err(e) = whole.and_then(|_| file.sync()) {
            // Half a copy is of no use, and takes the room that the next start needs.
            let _ = disk.remove(&path);
            return Err(e);
        }
        disk.sync_dir(&dir)?;
        disk.sync_dir(data_dir)?;
        Ok(path)
    };
    let set_aside = copy().map_err(|source| RecoverError::SetAside { from: end, source })?;
    Ok(Cut { from: end, bytes: stale, set_aside })
}

/// Writes the bytes of a range once more and syncs them, the older file first.
fn rewrite(files: &Files, from: PhysicalOffset, end: PhysicalOffset) -> io::Result<()> {
    let file_size = files.file_size();
    let mut at = from;
    while at < end {
        let file_end = PhysicalOffset((at.0 / file_size + 1) * file_size).min(end);
        if let Some((file, place)) = files.at(at) {
            let mut chunk = vec![0; READ_SIZE];
            let (mut place, size) = (place, place + (file_end.0 - at.0));
            while place < size {
                let want = chunk.len().min((size - place) as usize);
                let read = read_full(&*file, &mut chunk[..want], place)?;
                if read == 0 {
                    break;
                }
                file.write_at(&[&chunk[..read]], place)?;
                place += read as u64;
            }
            file.sync()?;
        }
        at = file_end;
    }
    files.disk().sync_dir(files.dir())
}
