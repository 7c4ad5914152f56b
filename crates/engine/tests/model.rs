//! The engine against a reference of plain maps and vectors: random requests, time, confirmations
//! and restarts, each answered alike.
//!
//! [`reference`] is what should happen, [`broker`] what does; here are the steps. A failure prints
//! the shortest steps that still fail.

#[path = "model/broker.rs"]
mod broker;
#[path = "model/reference.rs"]
mod reference;

use broker::Broker;
use proptest::prelude::*;
use reference::{Answer, Model};

/// Plain topics, then the retry topics of the groups, then their dead-letter topics.
const TOPICS: [&str; 6] = ["t0", "t1", "%RETRY%g0", "%RETRY%g1", "%DLQ%g0", "%DLQ%g1"];
/// Topics that a client sends to and makes.
const PLAIN: usize = 2;
const GROUPS: [&str; 2] = ["g0", "g1"];
const TAGS: [&str; 3] = ["", "A", "B"];
const CLIENTS: [&str; 3] = ["c0", "c1", "c2"];
/// Response codes of a pull: it brings messages; none that it looked at matched.
const SUCCESS: i32 = 0;
const NO_MATCH: i32 = 20;
const DELAY_LEVELS_MS: [i64; 4] = [1_000, 5_000, 10_000, 30_000];

/// A step. Topics, groups, tags and clients are places in the lists above.
#[derive(Debug, Clone)]
enum Step {
    Send {
        topic: usize,
        queue: i32,
        tag: usize,
        delay: i32,
        wait: bool,
        padding: usize,
    },
    Batch {
        topic: usize,
        queue: i32,
        tags: Vec<usize>,
    },
    /// A client that could not give a message back sends it to the retry topic itself.
    Retry {
        group: usize,
        times: i32,
        times_max: Option<i32>,
        delay: i32,
    },
    Pull(Pull),
    Commit {
        group: usize,
        topic: usize,
        queue: i32,
        offset: i64,
    },
    QueryOffset {
        group: usize,
        topic: usize,
        queue: i32,
        or_zero: Option<bool>,
    },
    MinOffset {
        topic: usize,
        queue: i32,
    },
    MaxOffset {
        topic: usize,
        queue: i32,
    },
    SearchOffset {
        topic: usize,
        queue: i32,
        ms_ago: i64,
    },
    CreateTopic {
        topic: usize,
        read: i32,
        write: i32,
        readable: bool,
    },
    DeleteTopic {
        topic: usize,
    },
    CreateGroup {
        group: usize,
        times_max: i32,
        retries: bool,
    },
    DeleteGroup {
        group: usize,
        clean_offsets: bool,
    },
    Heartbeat {
        client: usize,
        connection: u64,
        group: usize,
        topics: Vec<(usize, usize)>,
        version: i64,
    },
    Unregister {
        client: usize,
        group: usize,
    },
    Consumers {
        group: usize,
    },
    Lock {
        client: usize,
        connection: u64,
        group: usize,
        queues: Vec<i32>,
    },
    Unlock {
        client: usize,
        group: usize,
        queues: Vec<i32>,
    },
    Disconnect {
        connection: u64,
    },
    /// Gives back one of the visible messages of a queue.
    SendBack {
        group: usize,
        topic: usize,
        queue: i32,
        nth: usize,
        level: i32,
        times_max: Option<i32>,
        /// The position is that of no message.
        astray: bool,
    },
    /// Time passes, and the engine is told so.
    Pass {
        ms: i64,
    },
    /// The open round is taken to be written.
    Close,
    /// The oldest of the taken rounds are written and synced.
    Confirm {
        rounds: usize,
    },
    /// The process dies when some of the taken rounds are written, and starts again.
    Reopen {
        rounds: usize,
    },
    /// The process stops as it should, and starts again.
    Restart,
}

#[derive(Debug, Clone)]
struct Pull {
    group: usize,
    topic: usize,
    queue: i32,
    /// From the queue's end, or else from its start.
    from_end: bool,
    offset: i64,
    wanted: i32,
    filter: Filter,
    commit: Option<i64>,
    wait_ms: Option<i64>,
}

/// Which messages a pull wants.
#[derive(Debug, Clone)]
enum Filter {
    /// Those with these tags; none: all.
    Tags(Vec<usize>),
    /// What the group's heartbeats said, in this version or a later one.
    Subscribed(i64),
}

fn queue() -> impl Strategy<Value = i32> {
    prop_oneof![16 => Just(0), 8 => Just(1), 1 => Just(-1), 1 => 2..4i32]
}

/// A plain topic: nearly always the first, so that much happens to it.
fn plain() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 1 => Just(1)]
}

fn topic() -> impl Strategy<Value = usize> {
    prop_oneof![3 => plain(), 2 => PLAIN..TOPICS.len()]
}

fn group() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 1 => Just(1)]
}

fn send() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![3 => Just(0), 1 => 1..6i32];
    let padding = prop_oneof![12 => Just(0usize), 1 => Just(6_000)];
    (plain(), queue(), 0..TAGS.len(), delay, any::<bool>(), padding).prop_map(
        |(topic, queue, tag, delay, wait, padding)| Step::Send {
            topic,
            queue,
            tag,
            delay,
            wait,
            padding,
        },
    )
}

fn pull() -> impl Strategy<Value = Step> {
    let filter = prop_oneof![
        2 => proptest::collection::vec(1..TAGS.len(), 0..3).prop_map(Filter::Tags),
        1 => (0..3i64).prop_map(Filter::Subscribed),
    ];
    let wanted = prop_oneof![3 => Just(32), 1 => -1..3i32];
    let commit = proptest::option::of(-1..5i64);
    let wait_ms = proptest::option::of(0..20_000i64);
    let offset = prop_oneof![3 => Just(0), 2 => -2..3i64];
    let place = (topic(), queue(), any::<bool>(), offset);
    (group(), place, wanted, filter, commit, wait_ms).prop_map(
        |(group, (topic, queue, from_end, offset), wanted, filter, commit, wait_ms)| {
            // The groups' topics have one queue.
            let queue = if topic < PLAIN { queue } else { 0 };
            Step::Pull(Pull {
                group,
                topic,
                queue,
                from_end,
                offset,
                wanted,
                filter,
                commit,
                wait_ms,
            })
        },
    )
}

fn offsets() -> impl Strategy<Value = Step> {
    let place = || (group(), topic(), queue());
    prop_oneof![
        (place(), -1..6i64).prop_map(|((group, topic, queue), offset)| Step::Commit {
            group,
            topic,
            queue,
            offset
        }),
        (place(), proptest::option::of(any::<bool>())).prop_map(
            |((group, topic, queue), or_zero)| Step::QueryOffset { group, topic, queue, or_zero }
        ),
        place().prop_map(|(_, topic, queue)| Step::MinOffset { topic, queue }),
        place().prop_map(|(_, topic, queue)| Step::MaxOffset { topic, queue }),
        (place(), 0..20_000i64).prop_map(|((_, topic, queue), ms_ago)| Step::SearchOffset {
            topic,
            queue,
            ms_ago
        }),
    ]
}

fn settings() -> impl Strategy<Value = Step> {
    let of_topic = || (plain(), 1..4i32, 1..4i32, prop_oneof![5 => Just(true), 1 => Just(false)]);
    let of_group = || (group(), 0..3i32, any::<bool>());
    prop_oneof![
        2 => of_topic().prop_map(|(topic, read, write, readable)| Step::CreateTopic {
            topic,
            read,
            write,
            readable
        }),
        1 => topic().prop_map(|topic| Step::DeleteTopic { topic }),
        2 => of_group().prop_map(|(group, times_max, retries)| Step::CreateGroup {
            group,
            times_max,
            retries
        }),
        1 => of_group().prop_map(|(group, _, clean_offsets)| Step::DeleteGroup {
            group,
            clean_offsets
        }),
    ]
}

fn clients() -> impl Strategy<Value = Step> {
    let who = || (0..CLIENTS.len(), 0..3u64, group());
    let topics = proptest::collection::vec((topic(), 0..TAGS.len()), 0..3);
    let queues = || proptest::collection::vec(0..3i32, 0..3);
    prop_oneof![
        4 => (who(), topics, 0..3i64).prop_map(|((client, connection, group), topics, version)| {
            Step::Heartbeat { client, connection, group, topics, version }
        }),
        1 => who().prop_map(|(client, _, group)| Step::Unregister { client, group }),
        2 => who().prop_map(|(_, _, group)| Step::Consumers { group }),
        2 => (who(), queues()).prop_map(|((client, connection, group), queues)| Step::Lock {
            client,
            connection,
            group,
            queues
        }),
        1 => (who(), queues()).prop_map(|((client, _, group), queues)| Step::Unlock {
            client,
            group,
            queues
        }),
        1 => (0..3u64).prop_map(|connection| Step::Disconnect { connection }),
    ]
}

fn retries() -> impl Strategy<Value = Step> {
    let times_max = || proptest::option::of(-1..4i32);
    let astray = prop_oneof![9 => Just(false), 1 => Just(true)];
    let place = (group(), topic(), 0..2i32, 0..8usize);
    prop_oneof![
        4 => (place, -1..5i32, times_max(), astray).prop_map(
            |((group, topic, queue, nth), level, times_max, astray)| Step::SendBack {
                group,
                topic,
                queue,
                nth,
                level,
                times_max,
                astray
            }
        ),
        1 => (group(), 0..4i32, times_max(), 0..3i32).prop_map(
            |(group, times, times_max, delay)| Step::Retry { group, times, times_max, delay }
        ),
    ]
}

fn log() -> impl Strategy<Value = Step> {
    // The times at which something is due are met exactly now and then.
    let due = vec![0, 1_000, 5_000, 10_000, 30_000, 60_000, 60_001, 120_000, 120_001];
    let ms = prop_oneof![
        3 => proptest::sample::select(due),
        3 => 0..2_000i64,
        1 => 2_000..40_000i64,
        1 => 40_000..200_000i64,
    ];
    prop_oneof![
        8 => ms.prop_map(|ms| Step::Pass { ms }),
        8 => Just(Step::Close),
        8 => (1..4usize).prop_map(|rounds| Step::Confirm { rounds }),
        1 => (0..4usize).prop_map(|rounds| Step::Reopen { rounds }),
        1 => Just(Step::Restart),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => send(),
        1 => (0..PLAIN + 1, queue(), proptest::collection::vec(0..TAGS.len(), 0..4))
            .prop_map(|(topic, queue, tags)| Step::Batch { topic, queue, tags }),
        8 => pull(),
        4 => offsets(),
        1 => settings(),
        3 => clients(),
        6 => retries(),
        16 => log(),
    ]
}

/// A pull that begins in a block looks at so many messages behind it alone: it may bring less than
/// there is, if it gets on, and its client asks again from there.
fn allow_less(expected: &mut Answer, answer: &Answer) {
    let (
        Answer::Pulled { code, next, messages, .. },
        Answer::Pulled { code: found_code, next: found_next, messages: found, .. },
    ) = (expected, answer)
    else {
        return;
    };
    let begin = messages.first().map_or(*next, |first| first.offset);
    let rest = messages.get(found.len()).map_or(*next, |rest| rest.offset);
    let gets_on = found.last().map_or(*found_next > 0, |last| *found_next > last.offset);
    let is_less = messages.starts_with(found) && *found_next <= rest && *found_next < *next;
    let says_so = *found_code == if found.is_empty() { NO_MATCH } else { SUCCESS };
    if gets_on && is_less && says_so && (!found.is_empty() || *found_next <= begin) {
        (*code, *next) = (*found_code, *found_next);
        messages.truncate(found.len());
    }
}

#[track_caller]
fn check(steps: &[Step]) {
    let mut model = Model::new();
    let mut broker = Broker::new();
    for (number, step) in steps.iter().enumerate() {
        let opaque = number as i32;
        // A step that names a message which is not there is left out.
        let Some(expected) = model.step(opaque, step) else { continue };
        let answers = broker.step(opaque, step, &model);
        let mut expected = expected;
        for (opaque, expected) in &mut expected {
            if let Some(answer) = answers.get(opaque) {
                allow_less(expected, answer);
            }
        }
        assert_eq!(answers, expected, "step {number}, {step:?}");
        // A message is acknowledged when its round is confirmed: neither before nor later.
        let waiting = broker.waiting();
        for (message, unit) in model.unconfirmed_messages() {
            assert!(waiting.contains(&message), "{message} of {unit} left early, step {number}");
        }
        for reply in waiting {
            assert!(model.is_unconfirmed(reply), "{reply} is held too long, step {number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_engine_answers_like_the_model(steps in proptest::collection::vec(step(), 1..250)) {
        check(&steps);
    }
}
