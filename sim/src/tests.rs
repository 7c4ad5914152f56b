//! The simulation itself: the same seed gives the same run, sound code passes, and whatever is
//! broken on purpose is noticed within a few seeds.

use kerolox_log::rules::Rule;

use crate::campaign::{Mode, STEPS, one, say};
use crate::events::Events;
use crate::plan::Cheats;
use crate::seam::Lies;

const MODES: [Mode; 3] = [Mode::Power, Mode::Spoil, Mode::Damage];

fn events_of(seed: u64, mode: Mode) -> Vec<String> {
    let mut events = Events::kept();
    one(seed, mode, 300, Cheats::default(), &mut events).unwrap();
    events.lines().to_vec()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for mode in MODES {
        let lines = events_of(11, mode);
        assert!(lines.len() > 100, "only {} events", lines.len());
        assert!(lines == events_of(11, mode), "{mode:?}");
        assert!(lines != events_of(12, mode), "{mode:?}");
    }
}

#[test]
fn sound_code_passes() {
    for seed in 0..5 {
        for mode in MODES {
            let run = one(seed, mode, STEPS, Cheats::default(), &mut Events::none());
            assert_eq!(run, Ok(()), "seed {seed} {mode:?}");
        }
    }
}

/// One of the first seeds finds what is broken.
#[track_caller]
fn is_noticed(cheats: Cheats) {
    const SEEDS: u64 = 60;
    let run = |seed| one(seed, Mode::Power, STEPS, cheats, &mut Events::none());
    let found = (1..=SEEDS).find_map(|seed| run(seed).err().map(|violation| (seed, violation)));
    assert!(found.is_some(), "{cheats:?} is not noticed");
}

fn lies(lies: Lies) -> Cheats {
    Cheats { lies, ..Cheats::default() }
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    is_noticed(lies(Lies { sync: true, ..Lies::default() }));
}

#[test]
fn a_folder_that_is_not_synced_is_noticed() {
    is_noticed(lies(Lies { sync_dir: true, ..Lies::default() }));
}

#[test]
fn a_size_that_is_not_set_is_noticed() {
    is_noticed(lies(Lies { set_size: true, ..Lies::default() }));
}

#[test]
fn a_file_that_is_not_removed_is_noticed() {
    is_noticed(lies(Lies { remove: true, ..Lies::default() }));
}

#[test]
fn an_end_that_recovery_does_not_write_again_is_noticed() {
    is_noticed(lies(Lies { rewrite: true, ..Lies::default() }));
}

#[test]
fn an_answer_before_the_sync_is_noticed() {
    is_noticed(Cheats { confirm_unsynced: true, ..Cheats::default() });
}

/// The campaign that a seed is part of finds each rule that the log's code does not keep.
#[test]
fn a_rule_that_is_not_kept_is_noticed() {
    // As many as `cargo xtask test sim` runs.
    const SEEDS: u64 = 200;
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL {
        let cheats = Cheats { without: Some(rule), ..Cheats::default() };
        let runs = (1..=SEEDS).flat_map(|seed| MODES.map(|mode| (seed, mode)));
        let found = runs.into_iter().find_map(|(seed, mode)| {
            let run = one(seed, mode, STEPS, cheats, &mut Events::none());
            run.err().map(|violation| (seed, mode, violation))
        });
        match found {
            Some((seed, mode, violation)) => {
                let text: String = violation.0.chars().take(150).collect();
                say(&format!("without {rule:?}: seed {seed} ({mode:?}): {text}"));
            }
            None => unnoticed.push(rule),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed in {SEEDS} seeds: {unnoticed:?}");
}
