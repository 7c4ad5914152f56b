//! What a start knows before it walks the log.
//!
//! In: snapshots and index blocks, some of which may be lost or damaged. Out: the state at the end of
//! the last block, and what could not be used. A block is made again from its log file, as long as
//! that is there.

use std::io;
use std::path::Path;

use kerolox_log::PhysicalOffset;
use kerolox_log::files::Files;
use kerolox_log::identity::Identity;
use kerolox_log::index::block::BlockError;
use kerolox_log::index::lookup::{AskError, Blocks};
use kerolox_log::recover::Origin;
use kerolox_log::snapshot::{self, Snapshot};

use crate::config::Config;
use crate::keeper::{KeeperError, failed};
use crate::state::{Part, State};

/// See the module's documentation.
pub(crate) struct Takeover {
    pub(crate) state: State,
    /// Where the walk begins.
    pub(crate) next: Origin,
    /// Bytes of directories and state changes in blocks behind the snapshot, and its size.
    pub(crate) since_snapshot: usize,
    pub(crate) snapshot_bytes: usize,
    /// What could not be used, or is gone.
    pub(crate) oddities: Vec<String>,
    /// Why a block could not be made again.
    pub(crate) stopped_by: Option<AskError>,
}

impl Takeover {
    /// As if there were neither snapshots nor blocks.
    pub(crate) fn nothing(blocks: &Blocks, config: &Config) -> Takeover {
        Takeover {
            state: State::new(config),
            next: beginning(blocks),
            since_snapshot: 0,
            snapshot_bytes: 0,
            oddities: Vec::new(),
            stopped_by: None,
        }
    }

    /// Takes over the newest snapshot that is whole, and the blocks behind it up to a position: a part of
    /// the state that they tell.
    pub(crate) fn run(
        blocks: &Blocks,
        data_dir: &Path,
        identity: &Identity,
        config: &Config,
        until: PhysicalOffset,
        part: Part,
    ) -> Result<Takeover, KeeperError> {
        let files = blocks.files();
        let restore = |snapshot: &Snapshot| {
            let mut state = State::part(config, part);
            snapshot.each(|change| state.restore(change))?;
            Ok((state, snapshot.origin, snapshot.size()))
        };
        let found = snapshot::read_newest(&**files.disk(), data_dir, identity, restore);
        let (snapshot, unreadable) = found.map_err(|why| match why.kind() {
            io::ErrorKind::Unsupported => KeeperError::Newer(why.to_string()),
            _ => failed("reading the snapshots")(why),
        })?;
        let nothing = Takeover::nothing(blocks, config);
        let state = State::part(config, part);
        let mut takeover = Takeover { state, oddities: unreadable, ..nothing };
        if let Some((state, origin, size)) = snapshot {
            takeover.state = state;
            takeover.snapshot_bytes = size as usize;
            takeover.next = origin;
        } else if takeover.next.position.0 > 0 {
            takeover.oddities.push(
                "no snapshot holds the state before the oldest file: settings, offsets and delays of before are lost, topics get default settings".to_owned(),
            );
        }
        takeover.add_blocks(blocks, until)?;
        Ok(takeover)
    }

    fn add_blocks(&mut self, blocks: &Blocks, until: PhysicalOffset) -> Result<(), KeeperError> {
        let first = blocks.files().first().unwrap_or_default();
        while self.next.position < until {
            let at = self.next.position;
            let later = blocks.next_begin(at.0);
            let bad = match self.add(blocks, at) {
                Ok(()) => continue,
                Err(BlockError::Missing(_)) if later.is_none() => return Ok(()),
                Err(newer @ BlockError::Newer(_)) => {
                    return Err(KeeperError::Newer(newer.to_string()));
                }
                Err(bad) => bad,
            };
            if at < first {
                let text = format!("{bad}, as is its log file: what stood there is lost");
                self.oddities.push(text);
                let Some(later) = later else { return Ok(()) };
                self.next = Origin {
                    position: first.min(PhysicalOffset(later)),
                    before: None,
                    ..self.next
                };
                continue;
            }
            let again = blocks.ask(|blocks| blocks.block(at.0)?.check());
            match again.and_then(|()| Ok(self.add(blocks, at)?)) {
                Ok(()) => self.oddities.push(format!("{bad}: it was made again from the log")),
                Err(why) => {
                    self.oddities.push(format!("{bad}, {why}: the log is read from there on"));
                    self.stopped_by = Some(why);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes over one block.
    pub(crate) fn add(&mut self, blocks: &Blocks, at: PhysicalOffset) -> Result<(), BlockError> {
        let mut block = blocks.block(at.0)?;
        self.state.restore_block(&mut block)?;
        self.next = block.head.origin();
        self.since_snapshot += block.head.state_bytes();
        Ok(())
    }

    /// Sees to it that the walk begins in a file that is there.
    pub(crate) fn begin_in_log(&mut self, files: &Files) {
        let first = files.first().unwrap_or_default();
        if self.next.position < first {
            self.oddities.push(format!(
                "the log begins at {first}, but the state ends at {}: what stood between is lost",
                self.next.position
            ));
            self.next = Origin { position: first, before: None, ..self.next };
        }
    }

    /// Says what nobody will walk.
    pub(crate) fn tell_holes(&mut self, files: &Files) {
        self.oddities.extend(holes(files, self.next.position));
    }
}

/// Where the state begins if there is no snapshot: blocks may be left of files that are not.
fn beginning(blocks: &Blocks) -> Origin {
    let first = blocks.files().first().unwrap_or_default();
    Origin::file(blocks.begins().first().map_or(first, |begin| first.min(PhysicalOffset(*begin))))
}

/// Log files before a position that are not there: nobody walks them, so somebody must look.
fn holes(files: &Files, until: PhysicalOffset) -> Vec<String> {
    let Some(first) = files.first() else { return Vec::new() };
    let size = files.file_size();
    let bases = (first.0..until.0).step_by(usize::try_from(size).unwrap_or(usize::MAX));
    let missing = bases.filter(|base| files.at(PhysicalOffset(*base)).is_none());
    let lost = |base| {
        format!(
            "lost to damage on the disk: the log file {base:020} is not there, its messages cannot be read"
        )
    };
    missing.map(lost).collect()
}
