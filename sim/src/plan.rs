//! What a seed means: how the broker is set up, how long its lives are.
//!
//! In: a seed. Out: settings that differ from seed to seed, so that files roll, reads go to the
//! disk, and old files are deleted in some runs and not in others.

use kerolox_engine::Config;
use kerolox_engine::limits::SNAPSHOT_AFTER;
use kerolox_log::disk::fault::Rng;
use kerolox_log::identity::Identity;
use kerolox_log::rules::Rule;

use crate::seam::Lies;

/// When a message counts as confirmed, as in the server's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It is synced.
    Sync,
    /// It is written; synced now and then. A power cut may take what was not.
    Async,
}

/// What is broken on purpose, for the tests of the simulation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cheats {
    pub(crate) lies: Lies,
    /// What is written counts as confirmed under [`Durability::Sync`], too.
    pub(crate) confirm_unsynced: bool,
    /// A rule that the log's code does not keep.
    pub(crate) without: Option<Rule>,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) durability: Durability,
    pub(crate) file_size: u64,
    /// Recent rounds in memory: few, so that reads go to the disk, or all.
    pub(crate) tail_bytes: usize,
    /// Bytes of zeros, and files for them, in advance.
    pub(crate) zero_ahead: u64,
    /// Bytes of the log beyond which the oldest file goes; 0: it stays.
    pub(crate) log_bytes_max: u64,
    /// See [`kerolox_engine::keeper::Keeper`].
    pub(crate) snapshot_after: usize,
    /// A sync comes once in so many chances.
    pub(crate) sync_one_in: u64,
    /// Requests of one turn at most.
    pub(crate) turn_max: u64,
    /// One message in so many is large.
    pub(crate) large_one_in: u64,
    /// The wall clock is set back now and then.
    pub(crate) clock_steps: bool,
    /// Starts after the first one.
    pub(crate) lives: u64,
    /// Steps of a life.
    pub(crate) steps: u64,
    pub(crate) cheats: Cheats,
}

fn one_of<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u64) as usize]
}

impl Plan {
    /// The plan of a seed. `steps`: about how many in all.
    pub(crate) fn new(rng: &mut Rng, steps: u64, cheats: Cheats) -> Plan {
        // Small ones, so that they roll often; large ones hold records larger than a round's area.
        let file_size = one_of(rng, &[64 << 10, 64 << 10, 64 << 10, 64 << 10, 128 << 10, 1 << 20]);
        let lives = 2 + rng.below(5);
        Plan {
            durability: if rng.one_in(4) { Durability::Async } else { Durability::Sync },
            file_size,
            tail_bytes: one_of(rng, &[1, 16 << 10, 128 << 10, 8 << 20]),
            zero_ahead: rng.below(3) * rng.below(2 * file_size),
            log_bytes_max: one_of(rng, &[0, 0, 2, 4]) * file_size,
            snapshot_after: SNAPSHOT_AFTER,
            sync_one_in: one_of(rng, &[1, 2, 2, 5]),
            turn_max: one_of(rng, &[1, 4, 16]),
            // Few where large means much.
            large_one_in: one_of(rng, &[6, 20, 60]) * (file_size / (64 << 10)),
            clock_steps: rng.one_in(3),
            lives,
            steps: (steps / lives).max(20),
            cheats,
        }
    }
}

/// Delay levels, in ms: short enough that all of them are seen in a run.
pub(crate) const DELAY_LEVELS_MS: [i64; 4] = [50, 300, 1_000, 4_000];

/// The engine's configuration.
pub(crate) fn config() -> Config {
    Config {
        delay_levels_ms: DELAY_LEVELS_MS.to_vec(),
        default_topic_queue_nums: 4,
        ..Config::default()
    }
}

/// The numbers of a new log, or of a start.
pub(crate) fn fresh_identity(rng: &mut Rng) -> Identity {
    let mut number = [0; 16];
    for half in number.chunks_mut(8) {
        half.copy_from_slice(&rng.next_u64().to_be_bytes());
    }
    Identity { number, writer: rng.next_u64() }
}
