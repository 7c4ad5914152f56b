//! How much there was lately: in the last minute, hour and day; of each topic, of each topic that a group
//! reads, and in all. In memory only.
//!
//! In: what turns store and hand out. Out: sums and rates, for 28, 202, 208, 315 and 317.
//!
//! Time is cut into stretches (10 s, 10 min, 1 h), as in Apache's broker: what happens in the present one
//! does not show yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::limits::RATES_MAX;
use crate::topics::Topic;

/// What happened in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests, or replies.
    pub times: u64,
    pub messages: u64,
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, more: Count) {
        self.times += more.times;
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

/// The present stretch of `MS` milliseconds and the N − 1 before it.
#[derive(Debug, Clone)]
struct Ring<const N: usize, const MS: i64> {
    /// Number of the newest stretch in which anything happened.
    last: i64,
    counts: [Count; N],
}

impl<const N: usize, const MS: i64> Ring<N, MS> {
    fn new() -> Self {
        Ring { last: 0, counts: [Count::default(); N] }
    }

    fn add(&mut self, now: i64, count: Count) {
        // A clock that is set back does not count twice.
        let at = (now / MS).max(self.last);
        for passed in (at - N as i64 + 1).max(self.last + 1)..=at {
            self.counts[passed as usize % N] = Count::default();
        }
        self.last = at;
        self.counts[at as usize % N].add(count);
    }

    /// Of the last `stretches` that are over.
    fn sum(&self, now: i64, stretches: i64) -> Count {
        let at = (now / MS).max(self.last);
        let mut sum = Count::default();
        for past in (at - stretches).max(self.last - N as i64 + 1).max(0)..at.min(self.last + 1) {
            sum.add(self.counts[past as usize % N]);
        }
        sum
    }
}

/// The last minute, hour and day of something.
#[derive(Debug, Clone)]
pub struct Windows {
    /// When the first was counted, in ms since 1970.
    since: i64,
    minute: Ring<7, 10_000>,
    hour: Ring<7, 600_000>,
    day: Ring<25, 3_600_000>,
}

/// What happened in a stretch of time, and how long it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lately {
    pub count: Count,
    pub ms: i64,
}

impl Lately {
    /// Per second.
    pub fn rate(&self, of: u64) -> f64 {
        of as f64 * 1000.0 / self.ms.max(1) as f64
    }
}

impl Windows {
    fn new(now: i64) -> Self {
        Windows { since: now, minute: Ring::new(), hour: Ring::new(), day: Ring::new() }
    }

    fn add(&mut self, now: i64, count: Count) {
        self.minute.add(now, count);
        self.hour.add(now, count);
        self.day.add(now, count);
    }

    fn lately<const N: usize, const MS: i64>(&self, ring: &Ring<N, MS>, now: i64) -> Lately {
        let most = N as i64 - 1;
        let stretches = (now / MS - self.since / MS).clamp(1, most);
        Lately { count: ring.sum(now, most), ms: stretches * MS }
    }

    /// The last minute.
    pub fn minute(&self, now: i64) -> Lately {
        self.lately(&self.minute, now)
    }

    /// The last hour.
    pub fn hour(&self, now: i64) -> Lately {
        self.lately(&self.hour, now)
    }

    /// The last 24 hours.
    pub fn day(&self, now: i64) -> Lately {
        self.lately(&self.day, now)
    }

    /// Whether nothing happened for a day.
    fn is_idle(&self, now: i64) -> bool {
        now / 3_600_000 > self.day.last + 24
    }
}

/// Everything since midnight (UTC), and before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mornings {
    day: i64,
    /// Messages that had been stored when the day before began, and handed out.
    pub yesterday: (u64, u64),
    pub today: (u64, u64),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Rates {
    /// The last time that the engine was told, in ms since 1970.
    now: i64,
    /// Windows of topics and of groups.
    windows: usize,
    groups: HashMap<Arc<str>, BTreeMap<Arc<str>, Box<Windows>>>,
    /// Messages that were stored, of all topics and of those that are not the system's own.
    pub put: Windows,
    pub put_of_users: Windows,
    /// Messages that were handed out.
    pub got: Windows,
    pub got_of_users: Windows,
    seconds: Box<Seconds>,
    /// Since the process started, without the system's own topics: stored, handed out.
    pub of_users: (u64, u64),
    pub mornings: Mornings,
}

/// The last ten minutes by the second.
#[derive(Debug)]
struct Seconds {
    put: Ring<601, 1000>,
    found: Ring<601, 1000>,
    missed: Ring<601, 1000>,
}

/// Messages or replies a second, in the last 10 s, minute and ten minutes.
pub type ThreeRates = [f64; 3];

impl Rates {
    /// Nothing yet.
    pub fn new() -> Rates {
        let windows = Windows::new(0);
        Rates {
            now: 0,
            windows: 0,
            groups: HashMap::new(),
            put: windows.clone(),
            put_of_users: windows.clone(),
            got: windows.clone(),
            got_of_users: windows,
            seconds: Box::new(Seconds {
                put: Ring::new(),
                found: Ring::new(),
                missed: Ring::new(),
            }),
            of_users: (0, 0),
            mornings: Mornings::default(),
        }
    }

    /// The last time that the engine was told.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Time passes.
    pub fn set_now(&mut self, now: i64) {
        if self.now == 0 {
            for windows in
                [&mut self.put, &mut self.put_of_users, &mut self.got, &mut self.got_of_users]
            {
                windows.since = now;
            }
        }
        self.now = now;
        let day = now / 86_400_000;
        if day > self.mornings.day {
            // Nobody counted before the start.
            let today = if self.mornings.day == 0 { (0, 0) } else { self.of_users };
            self.mornings = Mornings { day, yesterday: self.mornings.today, today };
        }
    }

    /// Messages were stored by one request.
    pub fn stored(&mut self, topic: &mut Topic, messages: u64, bytes: u64) {
        let (now, count) = (self.now, Count { times: 1, messages, bytes });
        self.put.add(now, count);
        self.seconds.put.add(now, count);
        if !topic.is_system {
            self.put_of_users.add(now, count);
            self.of_users.0 += messages;
        }
        if topic.rates.is_none() && self.has_room() {
            self.windows += 1;
            topic.rates = Some(Box::new(Windows::new(now)));
        }
        if let Some(windows) = &mut topic.rates {
            windows.add(now, count);
        }
    }

    /// A pull brought messages.
    pub fn served(&mut self, group: &str, topic: &Topic, messages: u64, bytes: u64) {
        let (is_system, topic) = (topic.is_system, topic.name());
        let (now, count) = (self.now, Count { times: 1, messages, bytes });
        self.got.add(now, count);
        self.seconds.found.add(now, count);
        if !is_system {
            self.got_of_users.add(now, count);
            self.of_users.1 += messages;
        }
        let known = self.groups.get_mut(group).and_then(|topics| topics.get_mut(topic));
        if let Some(windows) = known {
            windows.add(now, count);
        } else if self.has_room() {
            self.windows += 1;
            let mut windows = Box::new(Windows::new(now));
            windows.add(now, count);
            self.groups.entry(group.into()).or_default().insert(topic.into(), windows);
        }
    }

    /// A pull brought nothing.
    pub fn missed(&mut self) {
        self.seconds.missed.add(self.now, Count { times: 1, ..Count::default() });
    }

    /// What a group read of a topic.
    pub fn of_group(&self, group: &str, topic: &str) -> Option<&Windows> {
        self.groups.get(group)?.get(topic).map(|windows| &**windows)
    }

    /// Messages that a group read of a topic in a second of the last minute.
    pub fn read_rate(&self, group: &str, topic: &str) -> f64 {
        let minute = self.of_group(group, topic).map(|windows| windows.minute(self.now));
        minute.map_or(0.0, |minute| minute.rate(minute.count.messages))
    }

    /// A topic is gone.
    pub fn forget_topic(&mut self, topic: &Topic) {
        let mut gone = usize::from(topic.rates.is_some());
        for topics in self.groups.values_mut() {
            gone += usize::from(topics.remove(topic.name()).is_some());
        }
        self.windows -= gone;
    }

    /// A group is gone.
    pub fn forget_group(&mut self, group: &str) {
        self.windows -= self.groups.remove(group).map_or(0, |topics| topics.len());
    }

    /// Whether one more topic can be counted.
    pub fn has_room(&self) -> bool {
        self.windows < RATES_MAX
    }

    /// Forgets one topic's windows if nothing happened there for a day.
    pub fn forget_if_idle(&mut self, topic: &mut Topic) {
        if topic.rates.as_ref().is_some_and(|windows| windows.is_idle(self.now)) {
            topic.rates = None;
            self.windows -= 1;
        }
    }

    /// Forgets what no group has read for a day. There are no more than [`RATES_MAX`].
    pub fn forget_idle_groups(&mut self) {
        let (now, mut gone) = (self.now, 0);
        self.groups.retain(|_, topics| {
            let before = topics.len();
            topics.retain(|_, windows| !windows.is_idle(now));
            gone += before - topics.len();
            !topics.is_empty()
        });
        self.windows -= gone;
    }

    /// Messages stored a second.
    pub fn put_rates(&self) -> ThreeRates {
        self.three(&self.seconds.put, |count| count.messages)
    }

    /// Pulls a second that brought messages.
    pub fn found_rates(&self) -> ThreeRates {
        self.three(&self.seconds.found, |count| count.times)
    }

    /// Pulls a second that brought none.
    pub fn missed_rates(&self) -> ThreeRates {
        self.three(&self.seconds.missed, |count| count.times)
    }

    /// Messages handed out a second.
    pub fn transferred_rates(&self) -> ThreeRates {
        self.three(&self.seconds.found, |count| count.messages)
    }

    fn three(&self, ring: &Ring<601, 1000>, of: impl Fn(Count) -> u64) -> ThreeRates {
        [10, 60, 600].map(|seconds| of(ring.sum(self.now, seconds)) as f64 / seconds as f64)
    }
}

impl Default for Rates {
    fn default() -> Self {
        Rates::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(messages: u64) -> Count {
        Count { times: 1, messages, bytes: 10 * messages }
    }

    #[test]
    fn what_is_over_counts_for_as_long_as_its_window_is() {
        const START: i64 = 1_700_000_000_000 / 3_600_000 * 3_600_000;
        let mut windows = Windows::new(START);
        for second in 0..30 {
            windows.add(START + second * 1000, count(2));
        }
        let minute = |at: i64| windows.minute(START + at * 1000);
        // The stretch that is not over does not count; nor does time before the first.
        assert_eq!(
            minute(29),
            Lately { count: Count { times: 20, messages: 40, bytes: 400 }, ms: 20_000 }
        );
        assert_eq!(minute(29).rate(40), 2.0);
        assert_eq!((minute(30).count.messages, minute(30).ms), (60, 30_000));
        assert_eq!((minute(69).count.messages, minute(69).ms), (60, 60_000));
        assert_eq!(minute(70).count.messages, 40);
        assert_eq!(minute(89).count.messages, 20);
        assert_eq!(minute(90).count, Count::default());
        assert_eq!(windows.hour(START + 599_000).count, Count::default());
        assert_eq!(windows.hour(START + 600_000).count.messages, 60);
        assert_eq!(windows.hour(START + 4_199_000).count.messages, 60);
        assert_eq!(windows.hour(START + 4_200_000).count.messages, 0);
        assert_eq!(windows.day(START + 3_600_000).count.messages, 60);
        assert_eq!(windows.day(START + 25 * 3_600_000).count.messages, 0);
        assert!(
            !windows.is_idle(START + 24 * 3_600_000) && windows.is_idle(START + 25 * 3_600_000)
        );
    }

    #[test]
    fn a_clock_that_steps_counts_nothing_twice() {
        const START: i64 = 1_700_000_000_000;
        let mut windows = Windows::new(START);
        windows.add(START, count(1));
        windows.add(START + 20_000, count(2));
        windows.add(START - 50_000, count(4));
        assert_eq!(windows.minute(START + 30_000).count.messages, 7);
        windows.add(START + 100_000_000, count(8));
        assert_eq!(windows.minute(START + 100_010_000).count.messages, 8);
        assert_eq!(windows.minute(START).count.messages, 0);
    }
}
