//! `kerolox log dump`: the records of a log, one a line.
//!
//! In: a stopped directory, and which records are wanted. Out: what they say of themselves, without
//! their bodies. What cannot be read is a line, too.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use kerolox_engine::change::Change;
use kerolox_log::PhysicalOffset;
use kerolox_log::recover::Replay;
use kerolox_log::survey::survey;
use kerolox_protocol::properties;
use kerolox_protocol::record::View;
use serde_json::{Value, json};

use super::{DumpArgs, Stopped, written};
use crate::exit::Failure;

/// Runs it.
pub(super) fn run(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let stopped = Stopped::open(&args.dir)?;
    let out = BufWriter::new(io::stdout().lock());
    let mut dump = Dump { args, out, left: args.limit.unwrap_or(u64::MAX), at: 0, broken: Ok(()) };
    let from = Some(PhysicalOffset(args.from));
    let found =
        survey(&stopped.files, &stopped.identity, from, &mut dump).map_err(Failure::unusable)?;
    for lost in &found.lost {
        if lost.end.0 > args.from && dump.left > 0 {
            let (begin, end, what) = (lost.begin.0, lost.end.0, lost.what);
            let bytes = lost.bytes();
            dump.line(
                || format!("{begin:>14} lost      up to {end}, {bytes} bytes: {what}"),
                || json!({"kind": "lost", "position": begin, "end": end, "bytes": bytes, "what": what}),
            );
        }
    }
    written(dump.broken.and_then(|()| dump.out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

struct Dump<'a, W> {
    args: &'a DumpArgs,
    out: W,
    /// Lines that are still wanted.
    left: u64,
    /// Behind the last record.
    at: u64,
    broken: io::Result<()>,
}

impl<W: Write> Dump<'_, W> {
    fn line(&mut self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        if self.left == 0 || self.broken.is_err() {
            return;
        }
        self.left -= 1;
        let line = if self.args.json { json().to_string() } else { text() };
        self.broken = writeln!(self.out, "{line}");
    }
}

impl<W: Write> Replay for Dump<'_, W> {
    fn record(&mut self, record: &View<'_>, crc: u32) {
        let position = record.physical_offset;
        self.at = position + record.bytes.len() as u64;
        let wanted = self.args.topic.as_ref().is_none_or(|topic| topic == record.topic);
        if position < self.args.from || !wanted {
            return;
        }
        let View { topic, queue_id, queue_offset, born_timestamp, store_timestamp, .. } = *record;
        let (size, body) = (record.bytes.len(), record.body.len());
        let property = |name| properties::get(record.properties, name).unwrap_or_default();
        let keys = property(properties::KEYS);
        let tags = property(properties::TAGS);
        let unique = property(properties::UNIQ_KEY);
        self.line(
            || {
                format!(
                    "{position:>14} {topic}/{queue_id}:{queue_offset} size={size} body={body} born={born_timestamp} stored={store_timestamp} keys={keys:?} tags={tags:?} unique={unique:?}"
                )
            },
            || {
                json!({
                    "kind": "record",
                    "position": position,
                    "topic": topic,
                    "queue": queue_id,
                    "offset": queue_offset,
                    "size": size,
                    "body": body,
                    "crc": crc,
                    "sysFlag": record.sys_flag,
                    "times": record.reconsume_times,
                    "born": born_timestamp,
                    "bornHost": record.born_host.to_string(),
                    "stored": store_timestamp,
                    "keys": keys,
                    "tags": tags,
                    "unique": unique,
                })
            },
        );
    }

    fn change(&mut self, change: &[u8], round: PhysicalOffset) {
        // Behind the last record before it, which may lie in a round before.
        let at = self.at.max(round.0);
        if !self.args.state || at < self.args.from {
            return;
        }
        let shown = match Change::decode(change) {
            Some(known) => format!("{known:?}"),
            None => format!("unknown to this release: tag {:?}", change.first()),
        };
        self.line(
            || format!("{at:>14} change    {shown}"),
            || json!({"kind": "change", "position": at, "change": shown}),
        );
    }

    fn progress(&mut self, _: u64, _: u64) {}

    fn has_enough(&self) -> bool {
        self.left == 0 || self.broken.is_err()
    }
}
