//! The simulation itself: the same seed gives the same run, and whatever is broken on purpose is
//! noticed within a few seeds.

use crate::campaign::{Mode, STEPS, one};
use crate::events::Events;
use crate::plan::Cheats;
use crate::seam::Lies;

/// The seeds that found something, of the first `seeds`.
fn noticed(cheats: Cheats, seeds: u64) -> Vec<(u64, String)> {
    let run = |seed| one(seed, Mode::Power, STEPS, cheats, &mut Events::none()).err();
    (1..=seeds).filter_map(|seed| run(seed).map(|violation| (seed, violation.0))).collect()
}

#[test]
fn rates() {
    let lies = |lies| Cheats { lies, ..Cheats::default() };
    for (name, cheats) in [
        ("sync", lies(Lies { sync: true, ..Lies::default() })),
        ("sync_dir", lies(Lies { sync_dir: true, ..Lies::default() })),
        ("set_size", lies(Lies { set_size: true, ..Lies::default() })),
        ("remove", lies(Lies { remove: true, ..Lies::default() })),
        ("rewrite", lies(Lies { rewrite: true, ..Lies::default() })),
        ("confirm", Cheats { confirm_unsynced: true, ..Cheats::default() }),
    ] {
        let found = noticed(cheats, 100);
        println!("{name}: {} of 100; first {:?}", found.len(), found.first());
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for (_, text) in &found {
            let text: String = text.chars().filter(|c| !c.is_ascii_digit()).take(40).collect();
            *kinds.entry(text).or_default() += 1;
        }
        println!("   {kinds:?}");
    }
}
