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

use std::io;
use std::path::{Path, PathBuf};

use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{MAGIC_V1, MAGIC_V2, SIZE_MIN, View, peek};

use crate::PhysicalOffset;
use crate::append::{Appender, Resume};
use crate::disk::{DiskFile, Open, is_unreadable, read_full};
use crate::files::Files;
use crate::identity::Identity;
use crate::limits::{ROUND_READ_MAX, SET_ASIDE_MAX};
use crate::rules::{self, Rule};
use crate::seal::{
    BODY_AT, FLAG_END_OF_FILE, Link, Listed, MAGIC, Seal, SealError, changes, list_crc,
};

/// Takes what recovery believes, in the order in which it was written.
pub trait Replay {
    /// A record of a good round.
    fn record(&mut self, record: &View<'_>, crc: u32);
    /// A record of a good round that is not as it was: what it says of itself is perhaps true.
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
    (walk.proof, walk.proof_wanted) = (PhysicalOffset(0), position);
    walk.find_proof(position)?;
    Ok(walk.proof >= position)
}

/// A walk over the rounds of a log. It changes nothing.
pub(crate) struct Walk<'a> {
    files: &'a Files,
    identity: &'a Identity,
    window: Window<'a>,
    pub(crate) begin: PhysicalOffset,
    /// `None`: not known, what the next seal says is taken.
    before: Option<Link>,
    /// The start number in the last good seal. What an earlier start wrote cannot follow it.
    last_start: u64,
    pub(crate) proof: PhysicalOffset,
    /// Whether `proof` covers seals behind the walk, too.
    proof_is_final: bool,
    /// A proof of so much is enough.
    proof_wanted: PhysicalOffset,
    pub(crate) start: u64,
    store_timestamp: i64,
    pub(crate) records: u64,
    pub(crate) lost: Vec<Lost>,
}

/// A round whose seal and records agree.
struct GoodRound {
    seal: Seal,
    seal_at: PhysicalOffset,
    /// Bytes of the round, its seal included.
    size: usize,
}

enum Found {
    Good(GoodRound),
    Bad,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(files: &'a Files, identity: &'a Identity, origin: Option<Origin>) -> Self {
        let first = files.first().unwrap_or_default();
        let origin = origin.unwrap_or(Origin::file(first));
        let begin = origin.position;
        Walk {
            files,
            identity,
            window: Window::new(files, begin),
            begin,
            before: origin.before,
            last_start: origin.start,
            // Snapshots and index blocks are made only of what was synced.
            proof: begin,
            proof_is_final: false,
            proof_wanted: PhysicalOffset(u64::MAX),
            start: origin.start,
            store_timestamp: origin.store_timestamp,
            records: 0,
            lost: Vec::new(),
        }
    }

    /// Begins somewhere else: at a file's first position. What its first seal says is taken.
    pub(crate) fn begin_at(&mut self, begin: PhysicalOffset) {
        self.window = Window::new(self.files, begin);
        self.begin = begin;
        self.before = None;
    }

    /// Walks to the end, or to `until`, and returns where it is.
    pub(crate) fn run(
        &mut self,
        replay: &mut dyn Replay,
        until: PhysicalOffset,
    ) -> Result<PhysicalOffset, RecoverError> {
        let mut at = self.begin;
        let last = self.files.bases().last().map_or(0, |base| base + self.files.file_size());
        let total = last.saturating_sub(self.begin.0);
        loop {
            if at >= until || replay.has_enough() {
                return Ok(at);
            }
            replay.progress(at.0 - self.begin.0, total);
            match self.round_at(at)? {
                Found::Good(round) => {
                    self.replay_round(at, &round, replay);
                    at = self.behind(&round.seal, round.seal_at, at.plus(round.size as u64));
                }
                Found::Bad => {
                    self.find_proof(at)?;
                    if at >= self.proof || !rules::holds(Rule::Proof) {
                        return Ok(at);
                    }
                    match self.step_over_damage(at, replay)? {
                        Some(next) => at = next,
                        None => {
                            // The log ends before what is proven: its end is lost.
                            let (from, to) = (at, self.proof);
                            self.lose(from, to, "the end of the log");
                            return Ok(at);
                        }
                    }
                }
            }
        }
    }

    /// Takes over what a good seal says, and tells where the next round begins.
    fn behind(
        &mut self,
        seal: &Seal,
        seal_at: PhysicalOffset,
        end: PhysicalOffset,
    ) -> PhysicalOffset {
        self.before = Some(Link { position: seal_at.0, list_crc: list_crc(&seal.list) });
        self.last_start = seal.start;
        self.start = self.start.max(seal.start);
        self.believe(seal);
        if seal.flags & FLAG_END_OF_FILE == 0 {
            return end;
        }
        let file_size = self.files.file_size();
        PhysicalOffset(end.0.div_ceil(file_size) * file_size)
    }

    fn believe(&mut self, seal: &Seal) {
        if seal.writer == self.identity.writer {
            self.proof = self.proof.max(seal.flushed);
        }
    }

    /// Reads the round that should begin at `at`.
    fn round_at(&mut self, at: PhysicalOffset) -> Result<Found, RecoverError> {
        let mut list = Vec::new();
        let mut size = 0;
        loop {
            let Some(record) = self.window.record(at, size)? else { return Ok(Found::Bad) };
            let position = at.plus(size as u64);
            if record.physical_offset != position.0 {
                return Ok(Found::Bad);
            }
            if record.topic == STATE_TOPIC {
                match Seal::read(&record, self.identity, position) {
                    Ok(seal) => {
                        let size = size + record.bytes.len();
                        let chained = self.before.is_none_or(|before| before == seal.before)
                            || !rules::holds(Rule::Chain);
                        // An empty seal that a start wrote over another one has the same link.
                        let stale = seal.start < self.last_start && rules::holds(Rule::StaleStart);
                        let agrees = seal.list == list || !rules::holds(Rule::List);
                        if seal.begin == at && agrees && chained && !stale {
                            return Ok(Found::Good(GoodRound { seal, seal_at: position, size }));
                        }
                        return Ok(Found::Bad);
                    }
                    Err(SealError::Damaged) => return Ok(Found::Bad),
                    Err(newer @ SealError::Newer(_)) => return Err(RecoverError::Newer(newer)),
                    Err(SealError::Foreign) => {}
                }
            }
            let bytes = record.bytes;
            list.push(Listed { size: bytes.len() as u32, crc: crc32fast::hash(bytes) });
            size += bytes.len();
        }
    }

    fn replay_round(&mut self, at: PhysicalOffset, round: &GoodRound, replay: &mut dyn Replay) {
        let mut changes = changes(&round.seal.changes).peekable();
        let mut offset = 0;
        for (i, listed) in round.seal.list.iter().enumerate() {
            while let Some((_, change)) = changes.next_if(|(before, _)| *before as usize <= i) {
                replay.change(change, at);
            }
            if let Some(record) = self.window.buffered(at, offset) {
                self.store_timestamp = self.store_timestamp.max(record.store_timestamp);
                self.records += 1;
                replay.record(&record, listed.crc);
            }
            offset += listed.size as usize;
        }
        for (_, change) in changes {
            replay.change(change, at);
        }
        if let Some(seal) = self.window.buffered(at, offset) {
            self.store_timestamp = self.store_timestamp.max(seal.store_timestamp);
        }
    }

    /// Looks at every seal behind `at`, once, until the proof is enough: the highest flushed position
    /// that any names is the proof.
    fn find_proof(&mut self, at: PhysicalOffset) -> Result<(), RecoverError> {
        let mut from = at;
        while !self.proof_is_final && self.proof < self.proof_wanted {
            let Some((seal, end, _)) = next_seal(self.files, self.identity, from)? else {
                self.proof_is_final = true;
                break;
            };
            if rules::holds(Rule::ProofBehind) {
                self.believe(&seal);
            }
            self.start = self.start.max(seal.start);
            from = end;
        }
        Ok(())
    }

    /// A bad round below the proof: replays what is still good of it and tells where to go on.
    fn step_over_damage(
        &mut self,
        at: PhysicalOffset,
        replay: &mut dyn Replay,
    ) -> Result<Option<PhysicalOffset>, RecoverError> {
        let mut from = at;
        let (seal, seal_end, seal_at) = loop {
            match next_seal(self.files, self.identity, from)? {
                Some(found) if found.0.begin >= at => break found,
                // Its round began before: it is not the one at which the walk goes on.
                Some((_, end, _)) => from = end,
                None => return Ok(None),
            }
        };
        if seal.begin == at {
            self.replay_bad_round(at, &seal, replay)?;
            return Ok(Some(self.behind(&seal, seal_at, seal_end)));
        }
        let before = seal.before;
        let proven = (at.0..seal.begin.0).contains(&before.position)
            && self.replay_without_seal(at, before, replay)?;
        let what = if proven { "state changes" } else { "records and state changes" };
        self.lose(at, seal.begin, what);
        self.before = Some(before);
        Ok(Some(seal.begin))
    }

    fn lose(&mut self, begin: PhysicalOffset, end: PhysicalOffset, what: &'static str) {
        if self.lost.len() < LOST_MAX {
            self.lost.push(Lost { begin, end, what });
        }
    }

    /// Under a good seal only the records that do not agree with its list are lost.
    fn replay_bad_round(
        &mut self,
        at: PhysicalOffset,
        seal: &Seal,
        replay: &mut dyn Replay,
    ) -> Result<(), RecoverError> {
        let mut changes = changes(&seal.changes).peekable();
        let mut position = at;
        for (i, listed) in seal.list.iter().enumerate() {
            while let Some((_, change)) = changes.next_if(|(before, _)| *before as usize <= i) {
                replay.change(change, at);
            }
            let bytes = self.window.bytes(position, listed.size as usize)?;
            let end = position.plus(u64::from(listed.size));
            let good = |record: &View<'_>| {
                crc32fast::hash(record.bytes) == listed.crc && rules::holds(Rule::LoseOnlyBad)
            };
            match bytes.and_then(|bytes| View::parse(bytes).ok()) {
                Some(record) if good(&record) => {
                    self.store_timestamp = self.store_timestamp.max(record.store_timestamp);
                    self.records += 1;
                    replay.record(&record, listed.crc);
                }
                damaged => {
                    damaged.iter().for_each(|record| replay.lost(record));
                    self.lose(position, end, "record");
                }
            }
            position = end;
        }
        for (_, change) in changes {
            replay.change(change, at);
        }
        Ok(())
    }

    /// A round whose own seal is damaged, but whose list the next seal proves.
    fn replay_without_seal(
        &mut self,
        at: PhysicalOffset,
        before: Link,
        replay: &mut dyn Replay,
    ) -> Result<bool, RecoverError> {
        let size = (before.position - at.0) as usize;
        if size > ROUND_READ_MAX {
            return Ok(false);
        }
        let mut list = Vec::new();
        let mut offset = 0;
        while offset < size {
            let Some(record) = self.window.record(at, offset)? else { return Ok(false) };
            let bytes = record.bytes;
            list.push(Listed { size: bytes.len() as u32, crc: crc32fast::hash(bytes) });
            offset += bytes.len();
        }
        let fits = list_crc(&list) == before.list_crc || !rules::holds(Rule::NextProves);
        if offset != size || !fits {
            return Ok(false);
        }
        let mut offset = 0;
        for listed in &list {
            if let Some(record) = self.window.buffered(at, offset) {
                self.store_timestamp = self.store_timestamp.max(record.store_timestamp);
                self.records += 1;
                replay.record(&record, listed.crc);
            }
            offset += listed.size as usize;
        }
        Ok(true)
    }
}

/// A stretch of one file in memory, which begins at the round under the walk.
struct Window<'a> {
    files: &'a Files,
    begin: PhysicalOffset,
    bytes: Vec<u8>,
    /// Where `begin` is in `bytes`.
    skip: usize,
    /// The file has no more behind `bytes`.
    ended: bool,
}

/// Bytes of one read.
const READ_SIZE: usize = 1 << 20;

impl<'a> Window<'a> {
    fn new(files: &'a Files, begin: PhysicalOffset) -> Self {
        Window { files, begin, bytes: Vec::new(), skip: 0, ended: false }
    }

    fn held(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }

    /// Moves the window so that it begins at `begin`.
    fn seek(&mut self, begin: PhysicalOffset) {
        if begin == self.begin {
            return;
        }
        let file_size = self.files.file_size();
        let skip = begin.0.checked_sub(self.begin.0).and_then(|skip| usize::try_from(skip).ok());
        match skip.filter(|skip| *skip <= self.held().len()) {
            Some(skip) if begin.0 / file_size == self.begin.0 / file_size => self.skip += skip,
            _ => {
                self.bytes.clear();
                self.skip = 0;
                self.ended = false;
            }
        }
        // Moved only now and then: a round may be much smaller than a read.
        if self.skip > READ_SIZE {
            self.bytes.drain(..self.skip);
            self.skip = 0;
        }
        self.begin = begin;
    }

    /// Reads on until the window holds `size` bytes, or its file ends.
    fn fill(&mut self, size: usize) -> Result<(), RecoverError> {
        while self.held().len() < size && !self.ended {
            let held = self.held().len();
            let room = self.files.file_size() - self.begin.0 % self.files.file_size();
            let left = room - held as u64;
            let want = left.min(READ_SIZE.max(size - held) as u64) as usize;
            let Some((file, place)) = self.files.at(self.begin) else {
                self.ended = true;
                return Ok(());
            };
            let old = self.bytes.len();
            self.bytes.resize(old + want, 0);
            let (read, bad) = read_sound(&*file, &mut self.bytes[old..], place + held as u64)
                .map_err(|e| {
                    let at = self.begin.plus(held as u64);
                    failed(format!("reading the log at {at}"))(e)
                })?;
            self.bytes.truncate(old + read);
            self.ended = bad || read < want || left == want as u64;
        }
        Ok(())
    }

    /// The record `offset` bytes behind `round`, if there is one.
    fn record(
        &mut self,
        round: PhysicalOffset,
        offset: usize,
    ) -> Result<Option<View<'_>>, RecoverError> {
        self.seek(round);
        self.fill(offset + 8)?;
        let Some((size, magic)) = self.held().get(offset..).and_then(peek) else { return Ok(None) };
        let size = size as usize;
        let sane = size >= SIZE_MIN && offset + size <= ROUND_READ_MAX;
        if (magic != MAGIC_V1 && magic != MAGIC_V2) || !sane {
            return Ok(None);
        }
        self.fill(offset + size)?;
        Ok(self.buffered(round, offset))
    }

    /// A record that was read before.
    fn buffered(&self, round: PhysicalOffset, offset: usize) -> Option<View<'_>> {
        debug_assert_eq!(round, self.begin);
        View::parse(self.held().get(offset..)?).ok()
    }

    /// Bytes at a position; `None` if the file has fewer.
    fn bytes(&mut self, at: PhysicalOffset, size: usize) -> Result<Option<&[u8]>, RecoverError> {
        self.seek(at);
        self.fill(size)?;
        Ok(self.held().get(..size))
    }
}

/// Reads as [`read_full`], but up to the first page that the disk cannot read; true if there is
/// one. Such a page is damage, not the end of the start, and what lies before it is sound.
fn read_sound(file: &dyn DiskFile, buf: &mut [u8], at: u64) -> io::Result<(usize, bool)> {
    let mut done = 0;
    let mut most = buf.len();
    while done < buf.len() {
        let place = at + done as u64;
        let end = buf.len().min(done + most);
        match file.read_at(&mut buf[done..end], place) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if is_unreadable(&e) => {
                let page = PAGE - place as usize % PAGE;
                if most <= page {
                    return Ok((done, true));
                }
                // The call may have failed for a page far behind.
                most = page;
                continue;
            }
            Err(e) => return Err(e),
        }
        most = most.max(PAGE);
    }
    Ok((done, false))
}

/// Finds the next good seal whose record begins at or behind `from`: the seal, where its record
/// ends, and where it begins. Looks for seals alone, to the end of the last file: a message body
/// may hold a perfect record, but no client knows the log's number.
fn next_seal(
    files: &Files,
    identity: &Identity,
    from: PhysicalOffset,
) -> Result<Option<(Seal, PhysicalOffset, PhysicalOffset)>, RecoverError> {
    let mut needle = MAGIC.to_vec();
    needle.extend_from_slice(&identity.number);
    let finder = memchr::memmem::Finder::new(&needle);
    let file_size = files.file_size();
    for base in files.bases() {
        if base + file_size <= from.0 {
            continue;
        }
        let Some((file, _)) = files.at(PhysicalOffset(base)) else { continue };
        let mut place = from.0.saturating_sub(base);
        let mut chunk = vec![0; READ_SIZE];
        loop {
            let read_error = failed(format!("looking for seals behind {}", base + place));
            match file.next_data(place) {
                Ok(Some(data)) => place = place.max(data),
                Ok(None) => break,
                Err(e) => return Err(read_error(e)),
            }
            let (read, bad) = read_sound(&*file, &mut chunk, place).map_err(read_error)?;
            for hit in finder.find_iter(&chunk[..read]) {
                let Some(at) = (place + hit as u64).checked_sub(BODY_AT as u64) else { continue };
                let position = PhysicalOffset(base + at);
                if position < from {
                    continue;
                }
                if let Some((seal, size)) = seal_at(&*file, identity, position, at)? {
                    return Ok(Some((seal, position.plus(size), position)));
                }
            }
            if bad {
                place = behind_page(place + read as u64);
                continue;
            }
            if read < needle.len() || place + read as u64 >= file_size {
                break;
            }
            // A needle may lie across two chunks.
            place += (read - (needle.len() - 1)) as u64;
        }
    }
    Ok(None)
}

fn seal_at(
    file: &dyn DiskFile,
    identity: &Identity,
    position: PhysicalOffset,
    place: u64,
) -> Result<Option<(Seal, u64)>, RecoverError> {
    let mut head = [0; 8];
    let what = || format!("reading a seal at {position}");
    if read_sound(file, &mut head, place).map_err(failed(what()))?.0 < head.len() {
        return Ok(None);
    }
    let Some((size, _)) = peek(&head) else { return Ok(None) };
    if size as usize > ROUND_READ_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    if read_sound(file, &mut bytes, place).map_err(failed(what()))?.0 < bytes.len() {
        return Ok(None);
    }
    let Ok(record) = View::parse(&bytes) else { return Ok(None) };
    match Seal::read(&record, identity, position) {
        Ok(seal) => Ok(Some((seal, u64::from(size)))),
        Err(newer @ SealError::Newer(_)) => Err(RecoverError::Newer(newer)),
        Err(_) => Ok(None),
    }
}

const PAGE: usize = 4096;

/// Where the page behind that of a place begins.
fn behind_page(place: u64) -> u64 {
    (place / PAGE as u64 + 1) * PAGE as u64
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
