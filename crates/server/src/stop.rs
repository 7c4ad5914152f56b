//! From a running server to a directory that is at rest, and may be another broker's.
//!
//! Order of a stop: connections, the log with its last seal, replies, threads; then what Apache's broker needs
//! is written beside the log ([`leave`]), here or by `kerolox log hand-over` ([`hand_over`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use kerolox_engine::Engine;
use kerolox_engine::apache::leave::{self, LeaveError};
use kerolox_engine::apache::queues;
use kerolox_log::disk::is_full;
use kerolox_log::disk::real::RealDisk;
use kerolox_log::handover::{self, Mark};

use crate::clock::Clock;
use crate::http::Progress;
use crate::limits::{LEAVE_MESSAGES_MAX, LEAVE_QUEUES_MAX};
use crate::options::{Options, Ports};
use crate::settings::values::Values;
use crate::start::{Recovered, Server, StartError, io_error, lock_directory, recover};

/// Why a stop is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(
        "writing the commit log had failed; see the log above. Nothing was acknowledged after that"
    )]
    Failed,
    #[error(
        "stopped, everything acknowledged is on the disk; but what Apache's broker needs beside it cannot be {}: {why}. Kerolox keeps the directory and can start on it again. For that broker {}, and run kerolox log hand-over {}",
        what_failed(why), what_to_do(why), dir.display()
    )]
    NotLeft { dir: PathBuf, why: LeaveError },
}

/// The index tells what is to be written: what is wrong with it no right to write mends.
fn is_of_index(why: &LeaveError) -> bool {
    matches!(why, LeaveError::Ask(_)) && !why.io().is_some_and(is_full)
}

fn what_failed(why: &LeaveError) -> &'static str {
    if is_of_index(why) { "made from the index" } else { "written" }
}

const MEND_INDEX: &str =
    "see what kerolox log check says, make the index anew with kerolox log repair-index";

fn what_to_do(why: &LeaveError) -> &'static str {
    if why.io().is_some_and(is_full) {
        "free some room"
    } else if is_of_index(why) {
        MEND_INDEX
    } else {
        "see to it that it can be written"
    }
}

/// Behind the reason of a hand-over that failed.
fn advice(why: &LeaveError) -> String {
    if is_of_index(why) { format!("; {MEND_INDEX}, and try again") } else { String::new() }
}

impl Server {
    /// Stops: no new connections, waiting pulls answered, everything written and synced, replies
    /// sent; and leaves the directory to Apache's broker, if that takes but a moment.
    pub fn stop(mut self) -> Result<(), StopError> {
        if let Some(stop) = self.stop_accepting.take() {
            let _ = stop.send(());
        }
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.topics_changed.send_modify(|changes| *changes += 1);
        self.shared.log.wake();
        let join = |thread: Option<JoinHandle<()>>| thread.is_none_or(|t| t.join().is_ok());
        let mut whole = join(self.logger.take());
        whole &= join(self.acceptor.take());
        // With the channels to the shards these end, when what is confirmed has left.
        self.channels.clear();
        for shard in self.shards.drain(..) {
            whole &= join(Some(shard));
        }
        self.shared.readers.stop();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            whole &= join(Some(thread));
        }
        whole &= self.shared.failed().is_none();
        if !whole {
            return Err(StopError::Failed);
        }
        if self.shared.roles.broker { self.leave() } else { Ok(()) }
    }

    /// Leaves the directory to whatever broker starts next. That it cannot be left with what it holds, or as it
    /// is configured, is no failure of the stop.
    fn leave(&self) -> Result<(), StopError> {
        let (blocks, dir) = (&self.blocks, &self.data_dir);
        let (end, now) = (self.shared.confirmed(), self.shared.clock.now_ms());
        let left = self.shared.with_core(|core, _| {
            let amount = leave::amount(&core.engine.state);
            if amount.messages > LEAVE_MESSAGES_MAX || amount.queues > LEAVE_QUEUES_MAX {
                return Ok(Some(amount));
            }
            let terms = terms(&core.settings.now(), &core.engine, now);
            leave::leave(blocks, dir, &core.engine.state, end, &terms).map(|()| None)
        });
        match left {
            Ok(None) => tracing::debug!("the directory is left to whatever broker starts next"),
            Ok(Some(leave::Amount { messages, queues })) => tracing::info!(
                messages,
                queues,
                "Kerolox keeps the directory; kerolox log hand-over leaves it to Apache's broker"
            ),
            Err(
                error @ (LeaveError::Far { .. }
                | LeaveError::Empty { .. }
                | LeaveError::Name { .. }),
            ) => {
                tracing::error!(%error, "Kerolox keeps the directory");
            }
            Err(why) => return Err(StopError::NotLeft { dir: dir.clone(), why }),
        }
        Ok(())
    }
}

/// What a directory is left with.
fn terms(values: &Values, engine: &Engine, now: i64) -> leave::Terms {
    let file_bytes = values.number("mappedFileSizeConsumeQueue");
    leave::Terms {
        queue_file_bytes: file_bytes.next_multiple_of(queues::ENTRY),
        delay_levels_ms: engine.config.delay_levels_ms.clone(),
        now,
        far: false,
        in_rocksdb: values.text("storeType").eq_ignore_ascii_case("defaultRocksDB"),
    }
}

/// Leaves the directory of a stopped or killed server to Apache's broker, however long that takes: what a
/// stop does if it takes but a moment. `None`: it was left before.
pub fn hand_over(options: &Options) -> Result<Option<leave::Amount>, HandOverError> {
    let _lock = lock_directory(&options.data_dir)?;
    let dir = &options.data_dir;
    let guarded =
        handover::is_guarded(&RealDisk, dir).map_err(io_error("looking for the guard"))?;
    if !guarded {
        return match Mark::read(&RealDisk, dir).map_err(io_error("reading the mark"))? {
            Some(_) => Ok(None),
            None => Err(HandOverError::Unguarded { dir: dir.display().to_string() }),
        };
    }
    let Recovered { engine, keeper, settings, .. } =
        recover(options, Ports::default(), &Arc::new(Progress::default()))?;
    let now = Clock::new(engine.log.store_timestamp()).now_ms();
    let terms = leave::Terms { far: true, ..terms(&settings.now(), &engine, now) };
    leave::leave(&keeper.blocks, dir, &engine.state, engine.log.begin(), &terms)?;
    Ok(Some(leave::amount(&engine.state)))
}

/// Why a directory is not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}{advice}", advice = advice(.0))]
    Leave(#[from] LeaveError),
    #[error(
        "{dir} has neither the guard nor the mark of a stop: start Kerolox on it once, and stop it"
    )]
    Unguarded { dir: String },
}
