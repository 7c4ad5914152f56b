//! What is asked of the process as a whole rather than of the engine: how it is doing (28), how it is
//! configured (26, 319), and to delete what has expired, now (329). In: a request, on a disk reader. Out: its reply.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kerolox_engine::Engine;
use kerolox_engine::rates::ThreeRates;
use kerolox_log::PhysicalOffset;
use kerolox_log::files::Files;
use kerolox_protocol::names::SCHEDULE_TOPIC;
use kerolox_protocol::record;
use kerolox_protocol::remoting::admin::{ConfigOrigin as Origin, ConfigQuestion, ConfigVersion};
use kerolox_protocol::remoting::codes::{self, request, version};
use kerolox_protocol::remoting::fields::Header as _;
use kerolox_protocol::remoting::frame::Frame;
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};

use crate::core::Shared;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// 28.
    RuntimeInfo,
    /// 329.
    DeleteExpired,
    /// 26, and of the name server 319.
    Config { names: bool, origins: bool },
}

impl Question {
    /// Reads a request; `None`: it is for somebody else.
    pub fn decode(frame: &Frame<'_>) -> Option<Question> {
        match frame.code {
            request::GET_BROKER_RUNTIME_INFO => Some(Question::RuntimeInfo),
            request::DELETE_EXPIRED_COMMITLOG => Some(Question::DeleteExpired),
            request::GET_BROKER_CONFIG => Some(config(frame, false)),
            codes::names::GET_NAMESRV_CONFIG => Some(config(frame, true)),
            _ => None,
        }
    }

    /// Answers it.
    pub fn answer(self, shared: &Shared) -> Reply {
        match self {
            Question::RuntimeInfo => {
                Reply::json(&serde_json::json!({ "table": runtime_info(shared) }))
            }
            Question::DeleteExpired => {
                shared.delete_now.store(true, Ordering::Release);
                shared.wake_housekeeping();
                Reply::ok()
            }
            Question::Config { names, origins } => {
                let settings = shared.with_core(|core, _| core.settings.clone());
                if origins {
                    let rows = settings.rows().into_iter().map(|row| Origin {
                        key: row.key.name.into(),
                        value: row.value,
                        origin: row.origin,
                    });
                    return Reply::json(&rows.collect::<Vec<_>>());
                }
                let body = Reply::body(settings.listing(names));
                let version = serde_json::to_string(settings.version()).unwrap_or_default();
                let header = ConfigVersion { version: version.into() };
                match names {
                    true => body,
                    false => Reply { fields: ReplyFields::Config(header), ..body },
                }
            }
        }
    }
}

/// Our own clients ask where each value comes from.
fn config(frame: &Frame<'_>, names: bool) -> Question {
    let asked = ConfigQuestion::read(frame).unwrap_or_default();
    Question::Config { names, origins: asked.origins }
}

/// What Apache's broker tells of itself, as far as it means anything here. Queues and threads of requests
/// there are none: nothing ever waits in them.
fn runtime_info(shared: &Shared) -> BTreeMap<String, String> {
    let mut table = shared.with_core(|core, _| of_engine(&core.engine));
    let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), value));
    let files = shared.files();
    let (now, booted) = (shared.clock.now_ms(), shared.booted_ms);
    put("bootTimestamp", booted.to_string());
    let up = (now - booted).max(0) / 1000;
    let (days, hours, minutes) = (up / 86_400, up / 3_600 % 24, up / 60 % 60);
    put(
        "runtime",
        format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", up % 60),
    );
    put("brokerVersionDesc", version::CURRENT_NAME.to_owned());
    put("brokerActive", "true".to_owned());
    if let Ok(space) = files.disk().space(files.dir()) {
        // Rounded up to a hundredth, as Apache's broker does.
        let ratio = format!("{:?}", space.used_percent() as f64 / 100.0);
        put(&format!("commitLogDiskRatio_{}", files.dir().display()), ratio.clone());
        put("consumeQueueDiskRatio", ratio.clone());
        put("commitLogDiskRatio", ratio);
        let (all, free) = (readable(space.used + space.free), readable(space.free));
        put("commitLogDirCapacity", format!("Total : {all}, Free : {free}."));
    }
    let first = files.first();
    put("commitLogMinOffset", first.map_or(-1, |first| first.0 as i64).to_string());
    put("earliestMessageTimeStamp", earliest(files, first).to_string());
    for kind in ["send", "pull", "litePull", "query", "ack"] {
        put(&format!("{kind}ThreadPoolQueueSize"), "0".to_owned());
        put(&format!("{kind}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    for none in [
        "EndTransactionQueueSize",
        "dispatchBehindBytes",
        "dispatchMaxBuffer",
        "pageCacheLockTimeMills",
        "timerCongestNum",
        "timerOffsetBehind",
        "timerReadBehind",
    ] {
        put(none, "0".to_owned());
    }
    put("timerDequeueTps", "0.0".to_owned());
    put("timerEnqueueTps", "0.0".to_owned());
    table
}

fn of_engine(engine: &Engine) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), value));
    let (counters, rates) = (&engine.counters, &engine.rates);
    let from = engine.config.accept_sends_from;
    put("startAcceptSendRequestTimeStamp", from.to_string());
    let (messages, bytes) = (counters.messages_in, counters.bytes_in);
    put("putMessageTimesTotal", messages.to_string());
    put("putMessageSizeTotal", bytes.to_string());
    put("putMessageAverageSize", format!("{:?}", bytes as f64 / messages.max(1) as f64));
    let (found, missed) = (rates.found_rates(), rates.missed_rates());
    put("putTps", three(rates.put_rates()));
    put("getFoundTps", three(found));
    put("getMissTps", three(missed));
    put("getTotalTps", three([0, 1, 2].map(|i| found[i] + missed[i])));
    put("getTransferredTps", three(rates.transferred_rates()));
    let mornings = &rates.mornings;
    for (day, (put_total, got_total)) in [
        ("YesterdayMorning", mornings.yesterday),
        ("TodayMorning", mornings.today),
        ("TodayNow", rates.of_users),
    ] {
        put(&format!("msgPutTotal{day}"), put_total.to_string());
        put(&format!("msgGetTotal{day}"), got_total.to_string());
    }
    let end = engine.log.end();
    put("commitLogMaxOffset", engine.confirmed().to_string());
    put("remainHowManyDataToFlush", readable(end.0.saturating_sub(engine.log.flushed().0)));
    if let Some(topic) = engine.state.topics.by_name(SCHEDULE_TOPIC) {
        for (level, delivered) in engine.state.delayed.iter().enumerate() {
            let max = topic.range(level as i32).1;
            if max > 0 {
                put(&format!("scheduleMessageOffset_{}", level + 1), format!("{delivered},{max}"));
            }
        }
    }
    table
}

/// Three figures with a blank between: of the last 10 s, minute and ten minutes.
fn three(rates: ThreeRates) -> String {
    rates.map(|rate| format!("{rate:?}")).join(" ")
}

/// When the first record in the log was stored, in ms; −1 if there is none. The very first ones have no
/// time: nothing was stored before them.
fn earliest(files: &Files, first: Option<PhysicalOffset>) -> i64 {
    const READ: usize = 64 << 10;
    let Some((file, at)) = first.and_then(|first| files.at(first)) else { return -1 };
    let mut bytes = vec![0; READ];
    let read = file.read_at(&mut bytes, at).unwrap_or(0);
    let mut rest = &bytes[..read];
    while let Some(time) = record::stored_at(rest) {
        if time > 0 {
            return time;
        }
        let size = record::peek(rest).map_or(0, |(size, _)| size as usize);
        rest = rest.get(size..).filter(|_| size > 0).unwrap_or_default();
    }
    -1
}

/// `28.4 GiB`.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let check = |bytes: u64, text: &str| assert_eq!(readable(bytes), text);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(30_494_114_000, "28.4 GiB");
        check(u64::MAX, "16384.0 PiB");
    }
}
