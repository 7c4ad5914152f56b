//! The rules of the log, as switches: the simulation proves of each that it would notice if the
//! code broke it.
//!
//! In: a rule. Out: whether the code keeps it. Only with the cargo feature `rules`, which the
//! simulation alone turns on, can one be switched off, and then for one thread. Without the
//! feature the answer is a constant: the program that is shipped has no such switch.

/// A rule of rounds and seals, of what recovery may believe, or of what is made from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A flush syncs every file that it wrote to.
    SyncEveryFile,
    /// Of two files the older one is synced first.
    SyncOlderFirst,
    /// After a failed write or sync nothing is written or synced any more.
    StopAfterFailure,
    /// A new file's folder is synced before anything in it counts.
    SyncFolder,
    /// A round leaves room for its seal and the blank, so that it never spans files.
    RoomForSeal,
    /// The last seal of a file says that the blank follows.
    EndOfFile,
    /// A seal says no more than what is flushed.
    HonestSeal,
    /// Store timestamps never decrease.
    StoreTime,
    /// Each start has a higher number.
    StartNumber,
    /// What belongs together stands in one round.
    KeepTogether,
    /// A record that was read from the disk is checked against the index's CRC.
    CheckRead,
    /// A round's records agree with the sizes and CRCs in its seal.
    List,
    /// A seal's content agrees with its own CRC.
    SealCrc,
    /// A round follows the seal that it names, with the same list.
    Chain,
    /// What an earlier start wrote never follows what a later one did.
    StaleStart,
    /// A round whose own seal is bad is believed only if the next seal's CRC of the list fits.
    NextProves,
    /// Nothing below the proof is cut.
    Proof,
    /// Seals behind a bad round count for the proof, too.
    ProofBehind,
    /// Under a good seal only the records that disagree with it are lost.
    LoseOnlyBad,
    /// What is cut is copied first.
    SetAside,
    /// A seal stands at a new end before anything behind it is cleared.
    SealEnd,
    /// Everything behind a cut is cleared.
    ClearBehind,
    /// What lies between proof and end is written and synced again before the server is ready.
    Rewrite,
    /// Each page of an index block is checked against its CRC.
    PageCrc,
    /// An index block that should be there and is not is made again.
    MissingBlock,
    /// Links into an index block that was made again are followed by name.
    LinkByName,
    /// Before a log file is deleted two snapshots hold what only it and its blocks say.
    SnapshotTwice,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 27] = [
        Rule::SyncEveryFile,
        Rule::SyncOlderFirst,
        Rule::StopAfterFailure,
        Rule::SyncFolder,
        Rule::RoomForSeal,
        Rule::EndOfFile,
        Rule::HonestSeal,
        Rule::StoreTime,
        Rule::StartNumber,
        Rule::KeepTogether,
        Rule::CheckRead,
        Rule::List,
        Rule::SealCrc,
        Rule::Chain,
        Rule::StaleStart,
        Rule::NextProves,
        Rule::Proof,
        Rule::ProofBehind,
        Rule::LoseOnlyBad,
        Rule::SetAside,
        Rule::SealEnd,
        Rule::ClearBehind,
        Rule::Rewrite,
        Rule::PageCrc,
        Rule::MissingBlock,
        Rule::LinkByName,
        Rule::SnapshotTwice,
    ];
}

/// Whether the code keeps a rule.
#[cfg(not(feature = "rules"))]
#[inline(always)]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(feature = "rules")]
pub(crate) use switches::holds;
#[cfg(feature = "rules")]
pub use switches::without;

#[cfg(feature = "rules")]
mod switches {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        /// The one that is off for this thread.
        static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    pub(crate) fn holds(rule: Rule) -> bool {
        OFF.get() != Some(rule)
    }

    /// Runs `work` on this thread while a rule is off.
    pub fn without<T>(rule: Option<Rule>, work: impl FnOnce() -> T) -> T {
        /// Also after a panic the next one finds what was before.
        struct Back(Option<Rule>);
        impl Drop for Back {
            fn drop(&mut self) {
                OFF.set(self.0);
            }
        }
        let _back = Back(OFF.replace(rule));
        work()
    }
}
