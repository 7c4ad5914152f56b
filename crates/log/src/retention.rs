//! Which log files go, when, and by which rule: one decision, for the running broker and for
//! `kerolox log plan`.
//!
//! In: the files and when their last records were stored, where the log ends, the time, the
//! settings, how full the disk is. Out: what becomes of each file ([`plan`]). What a file takes with
//! it its index blocks tell ([`contents`]).

use std::collections::BTreeMap;
use std::fmt;

use crate::PhysicalOffset;
use crate::disk::Space;
use crate::index::build::stretch_end;
use crate::index::lookup::Blocks;
use crate::limits::TOPICS_NAMED;
use crate::recover::{Origin, RecoverError};

/// When old files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `fileReservedTime`, in ms, by the last record of a file.
    pub age_ms: i64,
    /// `kerolox.retention.bytes`: bytes of the log; 0: any.
    pub bytes: u64,
    /// `diskMaxUsedSpaceRatio` in percent: from it on, files that are old enough go at any hour.
    pub disk_used_percent: u64,
    /// `diskSpaceCleanForciblyRatio` in percent: from it on, the oldest files go, old enough or not.
    pub disk_force_percent: u64,
    /// `diskSpaceWarningLevelRatio` in percent: from it on, sends are refused.
    pub disk_warning_percent: u64,
    /// `deleteWhen`: hours of the day (local time is UTC here), a bit each.
    pub hours: u32,
}

/// More than a disk can be full: what is deleted from there on never is.
pub const SPACE_NEVER: u64 = u64::MAX;
/// All hours of the day.
pub const ANY_HOUR: u32 = (1 << 24) - 1;

/// A file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub begin: PhysicalOffset,
    pub bytes: u64,
    /// When its last record was stored, in ms; 0: nothing of it says so.
    pub last_time: i64,
    /// The log goes on in a later file, and this one's index blocks are made or can be.
    pub finished: bool,
}

/// The rule by which a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The log is larger than `kerolox.retention.bytes`.
    Bytes,
    /// Older than `fileReservedTime`, at an hour of `deleteWhen`.
    Age,
    /// Older than `fileReservedTime`, with the disk at `diskMaxUsedSpaceRatio`.
    AgeAndSpace,
    /// The disk is at `diskSpaceCleanForciblyRatio`.
    Space,
}

impl Reason {
    /// In the order of their numbers.
    pub const ALL: [Reason; 4] = [Reason::Bytes, Reason::Age, Reason::AgeAndSpace, Reason::Space];

    /// For programs.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Bytes => "bytes",
            Reason::Age => "age",
            Reason::AgeAndSpace => "age_and_space",
            Reason::Space => "space",
        }
    }

    /// The settings that decide, as they are called.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Bytes => "kerolox.retention.bytes",
            Reason::Age => "fileReservedTime and deleteWhen",
            Reason::AgeAndSpace => "fileReservedTime and diskMaxUsedSpaceRatio",
            Reason::Space => "diskSpaceCleanForciblyRatio",
        }
    }
}

/// What becomes of a file, as things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not finished.
    Open,
    /// Nothing tells how old it is, or the file before it stays for that reason.
    Kept,
    /// It goes at this time, in ms.
    Deleted {
        at: i64,
        reason: Reason,
        /// Its messages are older than `fileReservedTime` then.
        expired: bool,
    },
}

/// What becomes of each file. `files`: the oldest first; `end`: where the log ends. The oldest goes
/// first, so none goes before those in front of it; each gives its bytes back to the disk.
pub fn plan(
    files: &[Held],
    end: PhysicalOffset,
    now: i64,
    retention: &Retention,
    mut space: Space,
) -> Vec<Fate> {
    let mut from = Some(now);
    let fates = files.iter().map(|file| {
        let fate = match from {
            _ if !file.finished => Fate::Open,
            Some(from) => fate(file, end, from, retention, space),
            None => Fate::Kept,
        };
        from = match fate {
            Fate::Deleted { at, .. } => Some(at),
            Fate::Open | Fate::Kept => None,
        };
        space.used = space.used.saturating_sub(file.bytes);
        space.free = space.free.saturating_add(file.bytes);
        fate
    });
    fates.collect()
}

fn fate(file: &Held, end: PhysicalOffset, from: i64, retention: &Retention, space: Space) -> Fate {
    let known = (file.last_time > 0).then_some(file.last_time);
    let expires = known.map(|last| last.saturating_add(retention.age_ms).saturating_add(1));
    let stored = end.0.saturating_sub(file.begin.0);
    let used = space.used_percent();
    let too_large = retention.bytes > 0 && stored > retention.bytes;
    let old = expires.map(|expires| from.max(expires));
    let when = |reason| match reason {
        Reason::Bytes => too_large.then_some(from),
        Reason::Age => old.and_then(|old| retention.allowed_from(old)),
        Reason::AgeAndSpace => old.filter(|_| used >= retention.disk_used_percent),
        Reason::Space => (used >= retention.disk_force_percent).then_some(from),
    };
    let times = Reason::ALL.into_iter().filter_map(|reason| Some((when(reason)?, reason)));
    match times.min_by_key(|(at, _)| *at) {
        Some((at, reason)) => {
            Fate::Deleted { at, reason, expired: expires.is_some_and(|expires| expires <= at) }
        }
        None => Fate::Kept,
    }
}

const HOUR_MS: i64 = 3_600_000;

impl Retention {
    /// The first time at or behind `at` that lies in an hour of `deleteWhen`.
    fn allowed_from(&self, at: i64) -> Option<i64> {
        let hour = at.div_euclid(HOUR_MS);
        let mut hours = hour..=hour.saturating_add(24);
        let allowed = hours.find(|hour| self.hours & (1 << hour.rem_euclid(24)) != 0)?;
        Some(at.max(allowed.saturating_mul(HOUR_MS)))
    }
}

/// What a stretch of the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Where the next stretch begins: behind `until`, or where the log ends.
    pub end: Origin,
    /// Messages by topic, those of topics that are deleted now included.
    pub messages: BTreeMap<String, u64>,
}

/// What the log holds from a file's first position on up to `until`, as index blocks tell it; where
/// one cannot be read, as the log itself does. Changes nothing.
pub fn contents(
    blocks: &Blocks,
    from: Origin,
    until: PhysicalOffset,
) -> Result<Contents, RecoverError> {
    let mut found = Contents { end: from, messages: BTreeMap::new() };
    while found.end.position < until {
        let begin = found.end.position;
        let mut add = |topic: String, count: u64| {
            *found.messages.entry(topic).or_default() += count;
        };
        let by_block = blocks.block(begin.0).and_then(|mut block| {
            let origin = block.head.origin();
            Ok((origin, block.directory()?))
        });
        match by_block {
            Ok((origin, directory)) if origin.position > begin => {
                directory.into_iter().for_each(|(topic, row)| add(topic, u64::from(row.count)));
                found.end = origin;
            }
            _ => {
                let new = blocks.collect(found.end)?;
                let queues = new.queues.iter();
                queues.for_each(|((topic, _), q)| add(topic.clone(), q.entries.len() as u64));
                found.end = new.origin();
                if found.end.position < stretch_end(blocks.files(), begin) {
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// The topics of a file, for people: the ones with the most messages by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Concerned {
    /// The most messages first.
    pub named: Vec<(String, u64)>,
    /// Topics beside them, and their messages.
    pub others: usize,
    pub others_messages: u64,
}

impl Concerned {
    /// Of all topics of a file.
    pub fn new(messages: &BTreeMap<String, u64>) -> Concerned {
        let mut named: Vec<_> = messages.iter().map(|(topic, n)| (topic.clone(), *n)).collect();
        named.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let others = named.split_off(named.len().min(TOPICS_NAMED));
        let others_messages = others.iter().map(|(_, n)| n).sum();
        Concerned { named, others: others.len(), others_messages }
    }

    /// Messages of all topics.
    pub fn messages(&self) -> u64 {
        self.others_messages + self.named.iter().map(|(_, n)| n).sum::<u64>()
    }
}

impl fmt::Display for Concerned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (topic, messages)) in self.named.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{topic} {messages}")?;
        }
        match self.others {
            0 if self.named.is_empty() => f.write_str("none"),
            0 => Ok(()),
            others => write!(f, ", {others} more {}", self.others_messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;
    /// Midnight.
    const NOW: i64 = 20_000 * DAY_MS;
    const FILE: u64 = 100;

    fn settings() -> Retention {
        Retention {
            age_ms: 72 * HOUR_MS,
            bytes: 0,
            disk_used_percent: 75,
            disk_force_percent: 85,
            disk_warning_percent: 90,
            hours: 1 << 4,
        }
    }

    /// Files whose last records were stored so many hours ago; the last one is not finished.
    fn files(hours_ago: &[i64]) -> Vec<Held> {
        let files = hours_ago.iter().enumerate().map(|(i, hours)| Held {
            begin: PhysicalOffset(i as u64 * FILE),
            bytes: FILE,
            last_time: NOW - hours * HOUR_MS,
            finished: i + 1 < hours_ago.len(),
        });
        files.collect()
    }

    /// In hours from now, with the reason and whether it is expired.
    fn check(
        hours_ago: &[i64],
        change: impl Fn(&mut Retention),
        used: u64,
        expected: &[(i64, Reason, bool)],
    ) {
        let mut retention = settings();
        change(&mut retention);
        let files = files(hours_ago);
        let end = PhysicalOffset(files.len() as u64 * FILE - FILE / 2);
        let space = Space { used: used * 10, free: 1000 - used * 10 };
        let mut found = Vec::new();
        for fate in plan(&files, end, NOW, &retention, space) {
            if let Fate::Deleted { at, reason, expired } = fate {
                found.push(((at - NOW).div_euclid(HOUR_MS), reason, expired));
            }
        }
        assert_eq!(found, expected, "{hours_ago:?} at {used} %");
    }

    #[test]
    fn each_rule_says_when() {
        use Reason::{Age, AgeAndSpace, Bytes, Space};
        let same = |_: &mut Retention| {};
        // Old at once, in a day, and in three: always at four o'clock.
        check(&[80, 48, 1, 0], same, 50, &[(4, Age, true), (28, Age, true), (76, Age, true)]);
        // To the millisecond: older than, not as old as.
        check(&[68, 0], same, 50, &[(4, Age, true)]);
        check(&[68, 0], |r| r.age_ms = 72 * HOUR_MS + HOUR_MS, 50, &[(28, Age, true)]);
        // The hours of a day.
        check(&[80, 0], |r| r.hours = 1 | 1 << 23, 50, &[(0, Age, true)]);
        check(&[49, 0], |r| r.hours = 1 << 22 | 1 << 23, 50, &[(23, Age, true)]);
        check(&[80, 0], |r| r.hours = 0, 50, &[]);
        // Room that the first file gives back is counted.
        check(&[80, 79, 0], same, 80, &[(0, AgeAndSpace, true), (4, Age, true)]);
        check(&[80, 1, 0], same, 80, &[(0, AgeAndSpace, true), (76, Age, true)]);
        check(
            &[1, 1, 1, 0],
            same,
            95,
            &[(0, Space, false), (0, Space, false), (71, AgeAndSpace, true)],
        );
        // Three files and a half.
        check(
            &[1, 1, 1, 0],
            |r| r.bytes = 260,
            50,
            &[(0, Bytes, false), (76, Age, true), (76, Age, true)],
        );
        check(
            &[80, 1, 1, 0],
            |r| r.bytes = 349,
            50,
            &[(0, Bytes, true), (76, Age, true), (76, Age, true)],
        );
        check(&[80, 0], |r| r.bytes = 150, 50, &[(4, Age, true)]);
    }

    #[test]
    fn no_file_goes_before_those_in_front_of_it() {
        let mut files = files(&[1, 90, 0]);
        let fates = |files: &[Held]| {
            let space = Space { used: 50, free: 50 };
            plan(files, PhysicalOffset(250), NOW, &settings(), space)
        };
        let (at, reason) = (NOW + 76 * HOUR_MS, Reason::Age);
        let deleted = Fate::Deleted { at, reason, expired: true };
        assert_eq!(fates(&files), [deleted, deleted, Fate::Open]);
        files[0].last_time = 0;
        assert_eq!(fates(&files), [Fate::Kept, Fate::Kept, Fate::Open]);
        assert_eq!(fates(&files[..0]), []);
    }

    #[test]
    fn the_largest_topics_are_named() {
        let shown = |topics: &[(&str, u64)]| {
            let topics = topics.iter().map(|(topic, n)| ((*topic).to_owned(), *n)).collect();
            Concerned::new(&topics).to_string()
        };
        assert_eq!(shown(&[]), "none");
        assert_eq!(shown(&[("a", 1), ("b", 7), ("c", 7)]), "b 7, c 7, a 1");
        let many: BTreeMap<String, u64> = (0..15).map(|i| (format!("t{i:02}"), 100 - i)).collect();
        let concerned = Concerned::new(&many);
        assert_eq!((concerned.named.len(), concerned.others), (TOPICS_NAMED, 5));
        assert!(concerned.to_string().ends_with("t09 91, 5 more 440"), "{concerned}");
        assert_eq!(concerned.messages(), 15 * 100 - 105);
    }
}
