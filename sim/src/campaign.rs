//! A campaign: many seeds, one after the other, and what became of them.
//!
//! In: [`Options`]. Out: on standard output a line now and then, for each failing seed what was
//! violated and the command that repeats it, and at the end how many passed.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::{Parser, ValueEnum};
use kerolox_log::rules;

use crate::events::Events;
use crate::plan::Cheats;
use crate::violation::{Checked, Violation};
use crate::world::World;

/// What happens to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Power cuts, kills, failing calls
    Power,
    /// The same, and damage to index blocks and snapshots
    Spoil,
    /// Flipped bits and unreadable pages in the log, and with them in index blocks and snapshots
    Damage,
    /// All of them, one after the other
    All,
}

#[derive(Debug, Parser)]
#[command(about = "Runs the broker on a disk that lies, tears and crashes; one run a seed")]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Steps of a run, about
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
    #[arg(long, value_enum, default_value_t = Mode::All)]
    mode: Mode,
    /// Print every event
    #[arg(long)]
    verbose: bool,
}

/// Steps of a run unless the command says otherwise.
pub(crate) const STEPS: u64 = 1_000;
/// A word every so many seeds.
const WORD_EVERY: u64 = 200;

/// Writes a line. Whoever reads may have had enough.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Runs the campaign. True if every seed passed.
pub(crate) fn run(options: &Options) -> bool {
    let (mut passed, mut failed) = (0u64, 0u64);
    for i in 0..options.seeds {
        let seed = options.from.wrapping_add(i);
        let mut ok = true;
        for mode in [Mode::Power, Mode::Spoil, Mode::Damage] {
            if options.mode != mode && options.mode != Mode::All {
                continue;
            }
            let mut events = if options.verbose { Events::printed() } else { Events::none() };
            if let Err(violation) = one(seed, mode, options.steps, Cheats::default(), &mut events) {
                ok = false;
                report(seed, mode, options.steps, &violation);
            }
        }
        passed += u64::from(ok);
        failed += u64::from(!ok);
        if (i + 1) % WORD_EVERY == 0 && i + 1 < options.seeds {
            say(&format!("{} seeds", i + 1));
        }
    }
    say(&format!("{passed} passed, {failed} failed"));
    failed == 0
}

fn report(seed: u64, mode: Mode, steps: u64, violation: &Violation) {
    say(&format!("seed {seed} ({mode:?}): {violation}"));
    let mode = mode.to_possible_value().map_or_else(String::new, |mode| mode.get_name().to_owned());
    let steps = if steps == STEPS { String::new() } else { format!(" --steps {steps}") };
    say(&format!(
        "  again: cargo run --profile sim -p kerolox-sim -- --seeds 1 --from {seed} --mode {mode}{steps} --verbose"
    ));
}

/// Runs one seed. A panic is a violation, too.
pub(crate) fn one(
    seed: u64,
    mode: Mode,
    steps: u64,
    cheats: Cheats,
    events: &mut Events,
) -> Checked {
    let run = catch_unwind(AssertUnwindSafe(|| {
        rules::without(cheats.without, || {
            let mut world = World::new(seed, steps, mode, cheats, events);
            if mode == Mode::Damage { world.run_damaged() } else { world.run() }
        })
    }));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation(format!("a panic: {}", text.unwrap_or_default())))
    })
}
