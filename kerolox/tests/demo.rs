//! `kerolox demo` as the real binary: its figures add up, on a terminal or not, and as a page.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, binary, http};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A demo on a busy machine may take this long.
const LIMIT: Duration = Duration::from_secs(120);

/// `kerolox demo`, with its data in the folder.
fn demo(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("demo").args(args).env("TMPDIR", folder.path()).stdin(Stdio::null());
    command
}

fn run(folder: &Folder, args: &[&str]) -> Output {
    demo(folder, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_empty(folder: &Folder) -> bool {
    folder.path().read_dir().unwrap().next().is_none()
}

/// A demo that is killed, by its pid, if the test fails.
struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Its exit code.
    fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < LIMIT, "it still runs after {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn figures_add_up() {
    let folder = Folder::new();
    let output = run(&folder, &["--quick", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {figures}"));

    let accepted = count(&figures["orders_accepted"]);
    assert_eq!((&figures["lost"], &figures["twice"]), (&0.into(), &0.into()), "{figures}");
    let services = figures["services"].as_array().unwrap();
    let names: Vec<_> = services.iter().map(|service| service["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["inventory", "logistics", "payment"]);
    for service in services {
        assert_eq!(count(&service["done"]), accepted, "{figures}");
        for wrong in ["lost", "twice", "left_in_broker"] {
            assert_eq!(service[wrong], 0, "{wrong} in {figures}");
        }
    }

    let acts = ["decoupling", "asynchrony", "levelling"].map(|act| &figures[act]);
    let orders: u64 = acts.iter().map(|act| count(&act["orders"])).sum();
    assert_eq!(orders, accepted + count(&figures["orders_refused"]), "{figures}");
    for act in acts {
        assert_eq!((&act["lost"], &act["twice"]), (&0.into(), &0.into()), "{figures}");
    }
    let [decoupling, asynchrony, levelling] = acts;
    assert!(count(&decoupling["accepted_while_down"]) > 0, "{figures}");
    assert!(count(&decoupling["greatest_lag"]) > 0, "{figures}");
    // A service that takes 300 ms cannot have answered before, however fast the machine is.
    assert!(asynchrony["one_after_the_other_ms"]["p50"].as_f64().unwrap() >= 950.0, "{figures}");
    assert!(asynchrony["in_parallel_ms"]["p50"].as_f64().unwrap() >= 450.0, "{figures}");
    assert!(asynchrony["with_the_queue_ms"]["p99"].as_f64().unwrap() > 0.0, "{figures}");
    assert!(count(&levelling["greatest_lag"]) > 0, "{figures}");
    assert!(count(&levelling["refused_without_the_queue"]) > 0, "{figures}");
    assert_eq!(count(&levelling["refused_with_the_queue"]), 0, "{figures}");
    assert!(is_empty(&folder), "the broker's data is still there");
}

#[test]
fn plain_output_tells_the_three_acts_and_ends_with_the_table() {
    let folder = Folder::new();
    let output = run(&folder, &["--quick"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", text(&output.stderr));
    for wanted in [
        "Act 1 of 3: decoupling",
        "Logistics is down",
        "Logistics is back",
        "Act 2 of 3: asynchrony",
        "Act 3 of 3: levelling",
        "refused with the queue",
        "done by payment",
        "none lost, none done twice",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "nothing is redrawn where there is no terminal:\n{said}");
    let wide = said.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "a line is wider than 80 columns");
}

#[test]
fn a_stopped_demo_leaves_nothing_behind() {
    let folder = Folder::new();
    let child = demo(&folder, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Act 1 of 3")));
    assert!(!is_empty(&folder), "the broker keeps its data where TMPDIR says");
    running.signal(Signal::INT);
    assert_eq!(running.ended(), Some(1));
    let mut why = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(why.starts_with("kerolox: stopped by SIGINT"), "{why}");
    assert!(is_empty(&folder), "the broker's data is still there");
}

#[test]
fn a_demo_that_nobody_reads_ends() {
    let folder = Folder::new();
    let child = demo(&folder, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    // The reader has had enough.
    drop(running.0.stdout.take());
    assert_eq!(running.ended(), Some(1));
    let mut why = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(why.contains("nobody would see the demo"), "{why}");
    assert!(is_empty(&folder), "the broker's data is still there");
}

#[test]
fn the_page_shows_the_same_and_stays_until_a_signal() {
    let folder = Folder::new();
    let mut command = demo(&folder, &["--web", "--http-port", "0", "--quick"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let live = lines.find(|line| line.starts_with("Live at ")).unwrap();
    let port = live.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();

    let page = http::get(port, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.to_ascii_lowercase().contains("content-type: text/html"), "{}", page.head);
    assert!(page.body.contains("EventSource(\"/events\")"), "{}", page.body);
    assert!(!page.body.contains("://"), "the page needs nothing from elsewhere");
    assert_eq!(http::get(port, "/other").status, 404);
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(http::ask(port, post).status, 405);

    // Browsers that never read, or never finish to ask, hold nothing up: neither the others nor the end.
    let asked = ["GET /events HTTP/1.1\r\nHost: test\r\n\r\n", "GET / HT"];
    let silent: Vec<TcpStream> = (0..8)
        .map(|i| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(asked[i % 2].as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut events = events(port);
    let first: Value = serde_json::from_str(&events.next().unwrap()).unwrap();
    assert!(first.is_array(), "the curve so far: {first}");
    let mut states = events.map(|json| serde_json::from_str::<Value>(&json).unwrap());
    for act in 1..=3 {
        assert!(states.any(|state| state["act"] == act), "no event of act {act}");
    }
    let last = states.find(|state| state["ended"] == true).unwrap();
    assert_eq!(last["services"].as_array().unwrap().len(), 3, "{last}");
    let rows = last["table"].as_array().unwrap();
    let row = rows.iter().rev().find(|row| row["what"] == "lost").unwrap();
    assert_eq!(row["figure"], "0", "{last}");

    assert!(lines.any(|line| line.contains("until Ctrl-C")));
    // Whoever comes after the end sees the table, too.
    let mut late = self::events(port).skip(1);
    let state: Value = serde_json::from_str(&late.next().unwrap()).unwrap();
    assert_eq!(state["ended"], true);
    running.signal(Signal::TERM);
    assert_eq!(running.ended(), Some(0));
    drop(silent);
    assert!(is_empty(&folder), "the broker's data is still there");
}

/// The data of server-sent events, as they come.
fn events(port: u16) -> impl Iterator<Item = String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
}

#[test]
fn wrong_arguments_end_with_2() {
    let folder = Folder::new();
    let check = |args: &[&str], reason: &str| {
        let output = run(&folder, args);
        let why = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {why}");
        assert!(why.contains(reason), "{args:?}: no {reason:?} in {why}");
        assert!(output.stdout.is_empty(), "{args:?}");
    };
    check(&["--slow"], "--slow");
    check(&["--rate", "0"], "--rate");
    check(&["--burst", "many"], "--burst");
    check(&["--http-port", "70000", "--web"], "--http-port");
    check(&["--http-port", "0"], "--web");
    check(&["--json", "--web"], "--json");
    check(&["--burst", "1000", "--store", "1000"], "give a larger burst or a smaller store");
    assert!(is_empty(&folder));
}

#[test]
fn a_taken_port_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&folder, &["--quick", "--web", "--http-port", &port]);
    let why = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{why}");
    assert!(why.starts_with(&format!("kerolox: the page's port {port}: ")), "{why}");
    assert!(why.contains("give another --http-port"), "{why}");
    assert!(is_empty(&folder));
}
