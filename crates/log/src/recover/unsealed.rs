//! What Apache's broker wrote: records without seals.
//!
//! In: the files as that broker left them. Out, when a directory changes hands: the runs of records that may
//! be believed ([`find`]), and a log that ends behind them ([`end_with`]). Later, on every walk: the records
//! of such a run, into a [`Replay`].
//!
//! Without seals nothing proves where the log ended but the time in that broker's `checkpoint`: all records
//! up to it were on the disk. A bad record before it is damage, and the walk goes on at the next record that
//! says where it stands, and stands there, with a body of the CRC that it names ([`next_record`]); behind it, it
//! is the end.

use std::io;
use std::path::Path;

use kerolox_protocol::names::STATE_TOPIC;
use kerolox_protocol::record::{
    BLANK_SIZE, MAGIC_BLANK, MAGIC_V1, MAGIC_V2, MASK_CRC, PHYSICAL_OFFSET_AT, SIZE_MIN, View,
    peek, sys_flag, write_blank,
};

use super::search::{Pattern, search};
use super::window::{READ_SIZE, Window, read_sound};
use super::{
    Cut, LOST_MAX, Lost, RecoverError, Replay, Walk, clear_behind, failed, fill_up, rewrite,
    set_aside, stale_pages,
};
use crate::PhysicalOffset;
use crate::adopted::Run;
use crate::disk::DiskFile;
use crate::files::Files;
use crate::limits::RECORD_MAX;

/// Where fewer bytes are left in a file, the log goes on with the next one: a round must fit.
const ROOM_MIN: u64 = 4096;

/// What stands at a position of a run.
enum Next<'a> {
    Record(View<'a>),
    /// The record's frame is whole, its content is not as it was.
    Damaged(View<'a>),
    /// The next file begins here.
    Blank(PhysicalOffset),
    Bad,
}

fn next<'a>(
    files: &Files,
    window: &'a mut Window<'_>,
    at: PhysicalOffset,
) -> Result<Next<'a>, RecoverError> {
    let room = files.file_size() - at.0 % files.file_size();
    if window.bytes(at, BLANK_SIZE)?.is_some_and(|head| is_blank(head, room)) {
        return Ok(Next::Blank(at.plus(room)));
    }
    match window.record(at, 0)? {
        Some(record) if record.physical_offset != at.0 => Ok(Next::Bad),
        Some(record) if record.has_sound_body() => Ok(Next::Record(record)),
        Some(record) => Ok(Next::Damaged(record)),
        None => Ok(Next::Bad),
    }
}

/// Whether the blank stands here that fills the `room` left in a file.
fn is_blank(head: &[u8], room: u64) -> bool {
    peek(head).is_some_and(|(size, magic)| magic == MAGIC_BLANK && u64::from(size) == room)
}

/// What Apache's broker wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub runs: Vec<Run>,
    /// Where the log ends.
    pub end: PhysicalOffset,
    /// What lies behind may not have been on the disk.
    pub synced: PhysicalOffset,
    pub records: u64,
    pub lost: Vec<Lost>,
}

/// What that broker says of what it wrote.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Where it went on.
    pub from: PhysicalOffset,
    /// All records stored before, in ms, were on the disk.
    pub checkpoint: i64,
    /// It was stopped, so that all were.
    pub stopped: bool,
    /// The highest position that one of its queues names, if any names one.
    pub named: Option<PhysicalOffset>,
    /// The queues name all records if it was stopped.
    pub named_all: bool,
}

impl Told {
    /// Whether a record behind damage is one of the log, where those before it are up to `time`. Behind the end
    /// that broker leaves what it had cut once: records that no queue names, and that are, but for a cut after
    /// which nothing was stored, older than those before the end.
    fn is_live(&self, record: &View<'_>, time: i64) -> bool {
        match self.named {
            Some(named) if record.physical_offset <= named.0 => true,
            Some(_) if self.stopped && self.named_all => false,
            _ => record.store_timestamp >= time,
        }
    }
}

/// Sees what is found.
pub trait Watch {
    /// A record of a run.
    fn record(&mut self, record: &View<'_>);
    /// Bytes read, and to read at most.
    fn progress(&mut self, done: u64, total: u64);
}

/// Finds what Apache's broker wrote. Changes nothing.
pub fn find(files: &Files, told: &Told, watch: &mut dyn Watch) -> Result<Found, RecoverError> {
    let &Told { from, checkpoint, stopped, .. } = told;
    let mut window = Window::new(files, from);
    let mut found =
        Found { runs: Vec::new(), end: from, synced: from, records: 0, lost: Vec::new() };
    let last = files.bases().last().map_or(0, |base| base + files.file_size());
    let total = last.saturating_sub(from.0);
    let (mut at, mut begin, mut time) = (from, from, i64::MIN);
    loop {
        watch.progress(at.0 - from.0, total);
        // Where the next one stands, if this one's frame is whole.
        let mut framed = None;
        let stored = match next(files, &mut window, at)? {
            Next::Record(record) => {
                let size = record.bytes.len();
                if size > RECORD_MAX {
                    return Err(RecoverError::RecordTooLarge { at, size });
                }
                watch.record(&record);
                Some((record.store_timestamp, size))
            }
            Next::Blank(behind) => {
                at = behind;
                continue;
            }
            Next::Damaged(record) => {
                framed = Some(at.plus(record.bytes.len() as u64));
                None
            }
            Next::Bad => {
                let head = window.bytes(at, HEAD_SIZE)?.and_then(|bytes| Head::of(bytes, at));
                if let (Some(head), Some((file, place))) = (head, files.at(at)) {
                    head.refuse_too_large(&*file, place, at)?;
                }
                None
            }
        };
        if let Some((stored, size)) = stored {
            found.records += 1;
            time = time.max(stored);
            at = at.plus(size as u64);
            if time < checkpoint {
                found.synced = at;
            }
            continue;
        }
        let proven = stopped || time < checkpoint;
        let behind = if proven {
            let is_live = |record: &View<'_>| told.is_live(record, time);
            let to_the_end = PhysicalOffset(u64::MAX);
            next_record(files, framed.unwrap_or(at.plus(1)), to_the_end, Some(&is_live))?
        } else {
            None
        };
        found.runs.push(Run { begin, end: at });
        let Some(behind) = behind else {
            if time < checkpoint && found.records > 0 {
                lose(&mut found.lost, at, at, "the end of the log");
            }
            found.end = at;
            found.runs.retain(|run| run.begin < run.end);
            return Ok(found);
        };
        lose(&mut found.lost, at, behind, "records");
        (begin, at) = (behind, behind);
    }
}

/// Bytes of a record up to its body.
const HEAD_SIZE: usize = 112;

/// What a record's first bytes tell.
struct Head {
    /// Of the record.
    size: usize,
    body_at: u64,
    body_size: usize,
    body_crc: u32,
}

impl Head {
    /// `None`: they do not agree with each other, or with their place.
    fn of(bytes: &[u8], at: PhysicalOffset) -> Option<Head> {
        let (size, magic) = peek(bytes)?;
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b));
        let place = bytes.get(PHYSICAL_OFFSET_AT..)?.first_chunk().map(|b| u64::from_be_bytes(*b));
        let sys_flag = word(36)? as i32;
        let hosts = [sys_flag::BORN_HOST_V6, sys_flag::STORE_HOST_V6];
        let longer = hosts.iter().filter(|bit| sys_flag & **bit != 0).count() * 12;
        let body_size = word(84 + longer)?;
        // Topic and properties are all that stands behind the body.
        let rest = size.checked_sub(body_size)? as usize;
        let agrees = (SIZE_MIN..SIZE_MIN + longer + (64 << 10)).contains(&rest);
        let is_record = magic == MAGIC_V1 || magic == MAGIC_V2;
        (is_record && place == Some(at.0) && agrees).then_some(Head {
            size: size as usize,
            body_at: 88 + longer as u64,
            body_size: body_size as usize,
            body_crc: word(8)?,
        })
    }

    /// A record that is larger than any that this release can serve must not pass for damage. But what has
    /// not the body that it names is none: a message may hold any such head.
    fn refuse_too_large(
        &self,
        file: &dyn DiskFile,
        place: u64,
        at: PhysicalOffset,
    ) -> Result<(), RecoverError> {
        if self.size <= RECORD_MAX {
            return Ok(());
        }
        let mut crc = crc32fast::Hasher::new();
        let mut piece = vec![0; READ_SIZE];
        let mut done = 0;
        while done < self.body_size {
            let want = READ_SIZE.min(self.body_size - done);
            let (read, _) =
                read_sound(file, &mut piece[..want], place + self.body_at + done as u64)
                    .map_err(failed(format!("reading the log at {at}")))?;
            if read < want {
                return Ok(());
            }
            crc.update(&piece[..want]);
            done += want;
        }
        let is_sound = crc.finalize() & MASK_CRC == self.body_crc;
        if is_sound { Err(RecoverError::RecordTooLarge { at, size: self.size }) } else { Ok(()) }
    }
}

fn lose(lost: &mut Vec<Lost>, begin: PhysicalOffset, end: PhysicalOffset, what: &'static str) {
    if lost.len() < LOST_MAX {
        lost.push(Lost { begin, end, what });
    }
}

/// Where the next record stands that can be believed without a seal, at or behind `from` and before `until`.
///
/// A message may hold bytes like those of a record, but not of one that names the place where they come to
/// stand. Whoever tries to make such ones cannot make this slow: of a file, no more bytes are looked at than it has.
///
/// `is_live`: of a take-over. `None`: all of a run is, and none of it is too large.
fn next_record(
    files: &Files,
    from: PhysicalOffset,
    until: PhysicalOffset,
    is_live: Option<&dyn Fn(&View<'_>) -> bool>,
) -> Result<Option<PhysicalOffset>, RecoverError> {
    let file_size = files.file_size();
    // Nothing before is looked at.
    let mut skip = from;
    let (mut base, mut looked_at) = (0, 0);
    let pattern = Pattern { find: &next_magic, at: 4, head: HEAD_SIZE };
    search(files, from, until, &pattern, &mut |found| {
        let at = found.position;
        let place = at.0 % file_size;
        if at.0 - place != base {
            (base, looked_at) = (at.0 - place, 0);
        }
        if at < skip {
            return Ok(None);
        }
        let Some(head) = Head::of(found.head, at) else {
            let room = file_size - place;
            // What stands behind a blank was cut once.
            if is_blank(found.head, room) {
                skip = at.plus(room);
            }
            return Ok(None);
        };
        let size = head.size;
        // No record reaches into the next file.
        let fits = size as u64 <= file_size - place;
        if !fits || (size > RECORD_MAX && is_live.is_none()) {
            return Ok(None);
        }
        looked_at += size as u64;
        if looked_at > file_size {
            return Ok(None);
        }
        if size > RECORD_MAX {
            head.refuse_too_large(found.file, place, at)?;
            return Ok(None);
        }
        let Some(bytes) = found.bytes(size)? else { return Ok(None) };
        match View::parse(&bytes) {
            Ok(record) if record.has_sound_body() && is_live.is_none_or(|is| is(&record)) => {
                Ok(Some(at))
            }
            // Its frame is whole.
            Ok(_) => {
                skip = at.plus(size as u64);
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    })
}

/// Where the next magic of a record or a blank stands.
fn next_magic(bytes: &[u8]) -> Option<usize> {
    let [record, ..] = MAGIC_V1.to_be_bytes();
    let [blank, ..] = MAGIC_BLANK.to_be_bytes();
    let is_magic = |at: &usize| {
        let word = bytes[*at..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        word.is_some_and(|word| [MAGIC_V1, MAGIC_V2, MAGIC_BLANK].contains(&word))
    };
    memchr::memchr2_iter(record, blank, bytes).find(is_magic)
}

/// Makes `end` the end of the log: what stands behind is set aside and cleared; what may be in the page
/// cache alone is written once more and synced. Returns where the log goes on, which is the next file if
/// there is little room in this one, and what was cut.
pub fn end_with(
    files: &Files,
    data_dir: &Path,
    synced: PhysicalOffset,
    end: PhysicalOffset,
) -> Result<(PhysicalOffset, Option<Cut>), RecoverError> {
    let stale = stale_pages(files, end, |_, _| Ok(())).map_err(failed("reading the log's end"))?;
    let cut = if stale > 0 { Some(set_aside(files, data_dir, end, stale)?) } else { None };
    rewrite(files, synced, end).map_err(failed("writing the log's end once more"))?;
    if stale > 0 {
        clear_behind(files, end).map_err(failed("clearing the log behind its end"))?;
    } else {
        fill_up(files, end).map_err(failed("making the log's last file whole"))?;
    }
    let next = close_file(files, end).map_err(failed("closing the log's last file"))?;
    Ok((next, cut))
}

/// Writes the blank, as Apache's broker would, where no round fits any more.
fn close_file(files: &Files, end: PhysicalOffset) -> io::Result<PhysicalOffset> {
    let room = files.file_size() - end.0 % files.file_size();
    let Some((file, place)) = files.at(end).filter(|_| room < ROOM_MIN) else { return Ok(end) };
    if room >= BLANK_SIZE as u64 {
        let mut blank = Vec::with_capacity(BLANK_SIZE);
        write_blank(room as usize, &mut blank);
        file.write_at(&[&blank], place)?;
        file.sync()?;
    }
    Ok(end.plus(room))
}

impl Walk<'_> {
    /// Replays a run from a position on, to its end or to `until`, and returns where it is.
    pub(super) fn walk_run(
        &mut self,
        run: Run,
        mut at: PhysicalOffset,
        until: PhysicalOffset,
        replay: &mut dyn Replay,
    ) -> Result<PhysicalOffset, RecoverError> {
        while at < until.min(run.end) && !replay.has_enough() {
            replay.progress(at.0 - self.begin.0, self.total);
            let behind = match next(self.files, &mut self.window, at)? {
                Next::Record(record) => {
                    self.store_timestamp = self.store_timestamp.max(record.store_timestamp);
                    // What another log's Kerolox wrote is neither seal nor message here.
                    if record.topic != STATE_TOPIC {
                        self.records += 1;
                        replay.record(&record, crate::record_crc(record.bytes));
                    }
                    at = at.plus(record.bytes.len() as u64);
                    continue;
                }
                Next::Blank(behind) => {
                    at = behind.min(run.end);
                    continue;
                }
                Next::Damaged(record) => {
                    let behind = at.plus(record.bytes.len() as u64);
                    replay.lost(&record);
                    behind
                }
                Next::Bad => {
                    let file_size = self.files.file_size();
                    let file_end = PhysicalOffset((at.0 / file_size + 1) * file_size);
                    let until = file_end.min(run.end);
                    next_record(self.files, at.plus(1), until, None)?.unwrap_or(file_end)
                }
            };
            let behind = behind.min(run.end);
            self.lose(at, behind, "records");
            at = behind;
        }
        Ok(at)
    }
}
