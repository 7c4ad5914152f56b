//! The rows: what each loads the systems with.

mod drain;
mod e2e;
mod fan;
mod java;
mod produce;
mod pull;
mod restart;
mod retention;
mod topics;

use anyhow::Result;

use super::Name;
use super::run::{Row, Run};
use super::systems::Flush;
use java::Tool;

/// Measures one row.
pub(super) fn measure(run: &Run, name: Name) -> Result<Row> {
    use Flush::{Async, SlowSync, Sync};
    let (title, cases) = match name {
        Name::Sync1x1 => produce::row(run, Sync, 1, 1)?,
        Name::Sync64x1 => produce::row(run, Sync, 64, 1)?,
        Name::Sync16x128 => produce::row(run, Sync, 16, 128)?,
        Name::Async1x1 => produce::row(run, Async, 1, 1)?,
        Name::Async64x1 => produce::row(run, Async, 64, 1)?,
        Name::Async16x128 => produce::row(run, Async, 16, 128)?,
        Name::Slow1x1 => produce::row(run, SlowSync, 1, 1)?,
        Name::Slow64x1 => produce::row(run, SlowSync, 64, 1)?,
        Name::Batch => produce::batches(run)?,
        Name::Pull => pull::row(run)?,
        Name::E2e => e2e::row(run)?,
        Name::FanIn => fan::many_in(run)?,
        Name::FanOut => fan::many_out(run)?,
        Name::Surge => e2e::surge(run)?,
        Name::Retention => retention::row(run)?,
        Name::Soak => e2e::soak(run)?,
        Name::JavaProducer => java::row(run, Tool::Producer)?,
        Name::JavaBatch => java::row(run, Tool::BatchProducer)?,
        Name::JavaConsumer => java::row(run, Tool::Consumer)?,
        Name::Topics => topics::row(run)?,
        Name::Drain => drain::row(run)?,
        Name::KillStart => restart::after_kill(run)?,
        Name::Idle => restart::idle(run)?,
    };
    Ok(Row { name, title, cases })
}
