//! What strace sees: how many messages one fdatasync covers, and that no reply to a send begins
//! before an fdatasync that began after the request was read has returned.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::{Bench, Figure, NOTHING_SET, proc};
use crate::bench::{Load, Outcome};
use crate::process::{self, Running};
use crate::server::Server;

const SECONDS: u64 = 5;
const SIZE: u32 = 1024;
const SYNCS: &str = "trace=fdatasync,fsync";
const SYNCS_AND_SOCKETS: &str = "trace=fdatasync,fsync,read,readv,recvfrom,recvmsg,write,writev,\
                                 sendto,sendmsg";

/// How many messages a call covers.
pub(super) fn calls(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let (trace, _, outcome) = traced(bench, 64, SYNCS)?;
    let syncs = events(&trace).filter(|e| matches!(e, Event::Synced { .. })).count();
    ensure!(syncs > 0, "strace saw no fdatasync");
    let per_second = syncs as f64 / SECONDS as f64;
    let messages = outcome.acknowledged as f64 / syncs as f64;
    Ok(vec![Figure {
        name: "fdatasync under 64x1, traced",
        text: format!("{per_second:.0} calls/s, {messages:.1} messages a call"),
        to_reach: NOTHING_SET,
        detail: json!({"calls_per_second": per_second, "messages_per_call": messages}),
    }])
}

/// Whether a reply ever overtakes its call.
pub(super) fn order(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let (trace, broker_port, _) = traced(bench, 1, SYNCS_AND_SOCKETS)?;
    let Order { replies, early } = replies(&trace, broker_port);
    ensure!(replies > 0, "strace saw no reply to a send");
    ensure!(early == 0, "{early} of {replies} replies began before their fdatasync returned");
    Ok(vec![Figure {
        name: "replies before their fdatasync returned, 1x1, traced",
        text: format!("{early} of {replies}"),
        to_reach: "0",
        detail: json!({"replies": replies, "early": early}),
    }])
}

/// A short load with strace on the broker: the trace, the broker's port, what the load says.
fn traced(bench: &Bench<'_>, connections: u32, calls: &str) -> Result<(String, u16, Outcome)> {
    if !process::exists("strace", "--version") {
        bail!("strace is not installed; on Debian: apt-get install strace");
    }
    let folder = bench.scratch.folder(&format!("trace-{connections}"))?;
    let server = Server::start(bench.binary, &folder)?;
    let trace = folder.join("trace.txt");
    let mut strace = attach(&server, &trace, calls)?;
    let load = Load {
        binary: bench.binary,
        broker: server.address(),
        connections,
        in_flight: 1,
        size: SIZE,
        seconds: SECONDS,
        warm_up_seconds: 0,
        ledger: None,
        verify: false,
    };
    let said = folder.join("bench.log");
    let outcome = load.finish(load.start(&said)?, &said)?;
    strace.signal(Signal::INT)?;
    if strace.wait_for(Duration::from_secs(10))?.is_none() {
        strace.kill()?;
    }
    let broker_port = server.broker_port;
    server.stop()?;
    Ok((String::from_utf8_lossy(&fs::read(&trace)?).into_owned(), broker_port, outcome))
}

fn attach(server: &Server, trace: &Path, calls: &str) -> Result<Running> {
    let pid = server.pid().to_string();
    let folder = trace.parent().unwrap_or(trace);
    // -f: all threads; -yy: addresses of sockets; -s 0: no contents.
    let args = ["-f", "-yy", "-s", "0", "-e", calls, "-p", &pid, "-o"];
    let mut command = process::command("strace", &args, folder);
    let log = folder.join("strace.log");
    let mut strace = Running::start_into(command.arg(trace), &log)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while proc::status(server.pid(), "TracerPid")? == "0" {
        if strace.wait_for(Duration::from_millis(5))?.is_some() || Instant::now() > deadline {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("strace cannot attach to the server: {}", said.trim());
        }
    }
    // The first thread is attached; the others are within a moment.
    std::thread::sleep(Duration::from_millis(200));
    Ok(strace)
}

struct Order {
    replies: u64,
    /// Of these, replies that began too early.
    early: u64,
}

/// A request is a send if it is as large as its body; heartbeats and the like are smaller.
fn replies(trace: &str, broker_port: u16) -> Order {
    let mut order = Order { replies: 0, early: 0 };
    // The latest begin of a sync that has returned.
    let mut synced_from = 0;
    // Socket to bytes read since its last reply, and when the last of them were read.
    let mut requests: HashMap<String, (i64, usize)> = HashMap::new();
    let local = format!(":{broker_port}->");
    for event in events(trace) {
        match event {
            Event::Synced { began } => synced_from = synced_from.max(began),
            Event::Read { at, file, bytes } if file.contains(&local) => {
                let request = requests.entry(file).or_default();
                *request = (request.0 + bytes, at);
            }
            Event::WriteBegins { file } if file.contains(&local) => {
                let Some((bytes, read_at)) = requests.remove(&file) else { continue };
                if bytes >= SIZE.into() {
                    order.replies += 1;
                    order.early += u64::from(synced_from <= read_at);
                }
            }
            Event::Read { .. } | Event::WriteBegins { .. } => {}
        }
    }
    order
}

/// In the order in which strace saw them; times are line numbers, from 1.
#[derive(Debug, PartialEq)]
enum Event {
    /// A sync returned 0.
    Synced {
        began: usize,
    },
    Read {
        at: usize,
        file: String,
        bytes: i64,
    },
    WriteBegins {
        file: String,
    },
}

/// A call that fits on one line begins and ends there; else `<unfinished ...>` is its begin and
/// `<... read resumed>` its end.
fn events(trace: &str) -> impl Iterator<Item = Event> {
    // Thread to the call that it is in: name, file, line.
    let mut unfinished: HashMap<&str, (&str, &str, usize)> = HashMap::new();
    trace.lines().enumerate().flat_map(move |(index, line)| {
        let at = index + 1;
        let (thread, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((name, file, began)) = unfinished.remove(thread) else { return Vec::new() };
            return ended(resumed, name, file, began, at).into_iter().collect();
        }
        let Some((name, arguments)) = rest.split_once('(') else { return Vec::new() };
        let file = arguments.split([',', ')']).next().unwrap_or("").trim();
        let mut events = Vec::new();
        if matches!(name, "write" | "writev" | "sendto" | "sendmsg") {
            events.push(Event::WriteBegins { file: file.into() });
        }
        if rest.ends_with("<unfinished ...>") {
            let file = file.trim_end_matches("<unfinished ...>").trim_end();
            unfinished.insert(thread, (name, file, at));
        } else {
            events.extend(ended(rest, name, file, at, at));
        }
        events
    })
}

fn ended(line: &str, name: &str, file: &str, began: usize, at: usize) -> Option<Event> {
    let (_, result) = line.rsplit_once(" = ")?;
    let result: i64 = result.split(' ').next()?.parse().ok()?;
    match name {
        "fdatasync" | "fsync" if result == 0 => Some(Event::Synced { began }),
        "read" | "readv" | "recvfrom" | "recvmsg" if result > 0 => {
            Some(Event::Read { at, file: file.into(), bytes: result })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "9<TCP:[127.0.0.1:7000->127.0.0.1:40000]>";

    fn check(lines: &[&str], replies_expected: u64, early_expected: u64) {
        let trace = lines.join("\n").replace("SOCK", SOCKET);
        let Order { replies, early } = replies(&trace, 7000);
        assert_eq!((replies, early), (replies_expected, early_expected), "{trace}");
    }

    #[test]
    fn a_reply_behind_its_sync() {
        check(
            &[
                "11 recvfrom(SOCK, \"\"..., 4096, 0, NULL, NULL) = 1200",
                "12 fdatasync(5</data/0>) = 0",
                "11 writev(SOCK, [{iov_base=\"\"..., iov_len=150}], 1) = 150",
            ],
            1,
            0,
        );
        check(
            &[
                "11 recvfrom(SOCK, \"\"..., 4096, 0, NULL, NULL) = 1200",
                "12 fdatasync(5</data/0> <unfinished ...>",
                "11 recvfrom(SOCK, \"\"..., 4096, 0, NULL, NULL) = -1 EAGAIN (Resource ...)",
                "12 <... fdatasync resumed>)          = 0",
                "11 write(SOCK, \"\"..., 150 <unfinished ...>",
                "11 <... write resumed>) = 150",
            ],
            1,
            0,
        );
    }

    #[test]
    fn a_reply_before_its_sync() {
        // The sync began before the request was read, so it does not cover it.
        check(
            &[
                "12 fdatasync(5</data/0> <unfinished ...>",
                "11 read(SOCK, \"\"..., 4096) = 1200",
                "12 <... fdatasync resumed>) = 0",
                "11 write(SOCK, \"\"..., 150) = 150",
            ],
            1,
            1,
        );
        // It has not returned.
        check(
            &[
                "11 read(SOCK, \"\"..., 4096) = 1200",
                "12 fdatasync(5</data/0> <unfinished ...>",
                "11 write(SOCK, \"\"..., 150) = 150",
                "12 <... fdatasync resumed>) = 0",
            ],
            1,
            1,
        );
        // It failed.
        check(
            &[
                "11 read(SOCK, \"\"..., 4096) = 1200",
                "12 fdatasync(5</data/0>) = -1 EIO (Input/output error)",
                "11 write(SOCK, \"\"..., 150) = 150",
            ],
            1,
            1,
        );
    }

    #[test]
    fn heartbeats_and_other_sockets_do_not_count() {
        check(
            &[
                "11 read(SOCK, \"\"..., 4096) = 300",
                "11 write(SOCK, \"\"..., 150) = 150",
                "11 read(8<UNIX-STREAM:[1->2]>, \"\"..., 4096) = 4096",
                "11 write(8<UNIX-STREAM:[1->2]>, \"\"..., 4096) = 4096",
            ],
            0,
            0,
        );
    }
}
