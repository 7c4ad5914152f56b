//! A walk over the rounds of a log: which of them may be believed, and where to go on behind damage.
//!
//! In: rounds, by [`super::window`]; seals further on, by [`super::seals`]. Out: what a [`Replay`] takes.

use std::sync::Arc;

use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::View;

use super::seals::next_seal;
use super::window::Window;
use super::{LOST_MAX, Lost, Origin, RecoverError, Replay};
use crate::PhysicalOffset;
use crate::adopted::Adopted;
use crate::files::Files;
use crate::identity::Identity;
use crate::limits::ROUND_READ_MAX;
use crate::rules::{self, Rule};
use crate::seal::{FLAG_END_OF_FILE, Link, Listed, Seal, SealError, changes, list_crc};

/// A walk over the rounds of a log. It changes nothing.
pub(crate) struct Walk<'a> {
    pub(super) files: &'a Files,
    identity: &'a Identity,
    adopted: Arc<Adopted>,
    pub(super) window: Window<'a>,
    pub(crate) begin: PhysicalOffset,
    /// `None`: not known, what the next seal says is taken.
    pub(super) before: Option<Link>,
    /// The start number in the last good seal. What an earlier start wrote cannot follow it.
    pub(super) last_start: u64,
    pub(crate) proof: PhysicalOffset,
    /// Whether `proof` covers seals behind the walk, too.
    proof_is_final: bool,
    /// A proof of so much is enough.
    pub(super) proof_wanted: PhysicalOffset,
    pub(crate) start: u64,
    pub(super) store_timestamp: i64,
    pub(crate) records: u64,
    pub(crate) lost: Vec<Lost>,
    /// Bytes to walk at most.
    pub(super) total: u64,
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
        let adopted = files.adopted();
        // Snapshots and index blocks are made only of what was synced, and so is what was adopted.
        let proof = begin.max(adopted.end());
        Walk {
            files,
            identity,
            adopted,
            window: Window::new(files, begin),
            begin,
            before: origin.before,
            last_start: origin.start,
            proof,
            proof_is_final: false,
            proof_wanted: PhysicalOffset(u64::MAX),
            start: origin.start,
            store_timestamp: origin.store_timestamp,
            records: 0,
            lost: Vec::new(),
            total: 0,
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
        self.total = last.saturating_sub(self.begin.0);
        loop {
            if at >= until || replay.has_enough() {
                return Ok(at);
            }
            if let Some(run) = self.adopted.at(at) {
                at = self.walk_run(run, at, until, replay)?;
                continue;
            }
            replay.progress(at.0 - self.begin.0, self.total);
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
    pub(super) fn find_proof(&mut self, at: PhysicalOffset) -> Result<(), RecoverError> {
        let mut from = at;
        while !self.proof_is_final && self.proof < self.proof_wanted {
            let to_the_end = PhysicalOffset(u64::MAX);
            let Some((seal, end, _)) = next_seal(self.files, self.identity, from, to_the_end)?
            else {
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
        // What another broker wrote has no seals, and stands by itself.
        let run = self.adopted.behind(at).map(|run| run.begin);
        let until = run.unwrap_or(PhysicalOffset(u64::MAX));
        let (seal, seal_end, seal_at) = loop {
            match next_seal(self.files, self.identity, from, until)? {
                Some(found) if found.0.begin >= at => break found,
                // Its round began before: it is not the one at which the walk goes on.
                Some((_, end, _)) => from = end,
                None => {
                    if let Some(run) = run {
                        self.lose(at, run, "records and state changes");
                        // Which seal the first one behind names is not known.
                        self.before = None;
                    }
                    return Ok(run);
                }
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

    pub(super) fn lose(&mut self, begin: PhysicalOffset, end: PhysicalOffset, what: &'static str) {
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
                    if let Some(record) = damaged {
                        // Whatever it says, it stands here.
                        replay.lost(&View { physical_offset: position.0, ..record });
                    }
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
