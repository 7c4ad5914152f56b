//! `kerolox bench` against the real binary: each workload, in both header forms, brings a result in
//! which nothing is lost, doubled or out of order. What it cannot do is refused by the name of its option.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::process::Command;

use common::{Folder, Launch, Server, binary};
use serde_json::Value;

fn bench(server: &Server, args: &[&str]) -> Value {
    let mut command = Command::new(binary());
    command.arg("bench").args(args).arg("--json");
    if args[0] != "probe" {
        command.args(["--broker", &server.broker()]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {}\n{said}\n{errors}", output.status);
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
}

#[test]
fn every_workload_runs_and_its_books_balance() {
    let folder = Folder::new();
    let server = Launch::new(&folder).args(&common::SMALL).start();
    let short = ["--duration", "0.3", "--warm-up", "0.1"];
    for form in [&[][..], &["--binary"]] {
        let topic = if form.is_empty() { "Json" } else { "Binary" };
        let with = |args: &[&'static str]| [args, &["--topic", topic], form].concat();

        let args = with(&["batch", "--messages", "1000", "--batch", "8", "--connections", "3"]);
        let batch =
            bench(&server, &[&args[..], &["--duration", "20", "--warm-up=0", "--verify"]].concat());
        assert_eq!((&batch["sent"], &batch["verify"]["found"]), (&1000.into(), &1000.into()));

        let drain = bench(&server, &with(&["drain", "--baseline", "0.2", "--warm-up", "0.1"]));
        assert!(drain["messages"].as_u64().unwrap() >= 1000, "{drain}");
        assert_eq!(drain["send_errors"], 0, "{drain}");

        let e2e = bench(&server, &[&with(&["e2e", "--rate", "500"])[..], &short].concat());
        assert!(e2e["received"].as_u64().unwrap() > 100, "{e2e}");
        assert_eq!(e2e["received"], e2e["sent"], "{e2e}");
        for wrong in ["lost", "doubled", "out_of_order", "damaged", "foreign"] {
            assert_eq!(e2e[wrong], 0, "{e2e}");
        }

        let topics = bench(&server, &[&with(&["topics", "--queues", "80"])[..], &short].concat());
        assert_eq!((&topics["topics"], &topics["setup"]["not_sent"]), (&10.into(), &0.into()));
        assert!(topics["produce"]["messages"].as_u64().unwrap() > 0, "{topics}");
    }
    let dir = folder.join("probe");
    std::fs::create_dir(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let args = ["probe", "--dir", dir, "--seconds", "0.1", "--file-mib", "4", "--shape", "4x4"];
    let probe = bench(&server, &args);
    assert!(probe["echo"][0]["per_second"].as_f64().unwrap() > 0.0, "{probe}");
    assert!(probe["disk"]["sync"][0]["per_second"].as_f64().unwrap() > 0.0, "{probe}");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "the probe left something");
    server.stop();
}

/// It ended with 0.
#[test]
fn a_run_of_which_nothing_was_acknowledged_ends_with_1() {
    let folder = Folder::new();
    let server = Launch::new(&folder).args(&["--set", "maxMessageSize=100"]).start();
    for args in [
        &["produce", "--duration", "0.2", "--warm-up=0"][..],
        &["batch", "--batch", "2", "--duration", "0.2", "--warm-up=0"],
        &["e2e", "--duration", "0.2", "--warm-up=0", "--grace=0"],
        &["topics", "--queues", "8", "--skip-setup", "--duration", "0.2", "--warm-up=0"],
    ] {
        let mut command = Command::new(binary());
        command.arg("bench").args(args).args(["--json", "--broker", &server.broker()]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}\n{said}\n{errors}");
        assert!(said.contains("\"acknowledged\":0,"), "{args:?}\n{said}\n{errors}");
        // Of every message it is known what became of it.
        assert!(said.contains("\"errors\":{\"13\":"), "{args:?}\n{said}\n{errors}");
    }
    server.stop();
}

/// The size took all memory; the others ended with 1, panicked, or were blamed on another option.
#[test]
fn options_out_of_bounds_end_with_2_and_are_named() {
    let folder = Folder::new();
    let check = |line: &str, why: &str| {
        let mut command = Command::new(binary());
        let command = command.arg("bench").args(line.split(' ')).current_dir(folder.path());
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}\n{errors}");
        assert!(errors.contains(why), "{why:?} is not said of {line}\n{errors}");
        assert!(output.stdout.is_empty() && !errors.contains("panicked"), "{line}\n{errors}");
    };
    let of = |option: &str, value: &str| format!("invalid value '{value}' for '--{option} <");
    for command in ["produce", "batch", "e2e", "drain", "topics"] {
        for size in ["23", "99999999999", "16777216", "-1", "x"] {
            check(&format!("{command} --size={size}"), &of("size", size));
        }
        for seconds in ["nan", "inf", "1e300", "-1", ""] {
            check(&format!("{command} --warm-up={seconds}"), &of("warm-up", seconds));
        }
    }
    for seconds in ["0", "nan", "1e300", "-1"] {
        for command in ["produce", "batch", "consume", "e2e", "topics"] {
            check(&format!("{command} --duration={seconds}"), &of("duration", seconds));
        }
        check(&format!("produce --timeout={seconds}"), &of("timeout", seconds));
        check(&format!("drain --baseline={seconds}"), &of("baseline", seconds));
        check(&format!("probe --seconds={seconds}"), &of("seconds", seconds));
    }
    for rate in ["0", "nan", "-1", "1e-300", "1e300"] {
        for command in ["produce", "batch", "e2e", "topics"] {
            check(&format!("{command} --rate={rate}"), &of("rate", rate));
        }
        check(&format!("drain --produce-rate={rate}"), &of("produce-rate", rate));
    }
    for (line, option, value) in [
        ("produce --messages=0", "messages", "0"),
        ("topics --setup-limit=nan", "setup-limit", "nan"),
        ("e2e --grace=nan", "grace", "nan"),
        ("e2e --surge=0 --surge-for=1", "surge", "0"),
        ("e2e --surge=2 --surge-for=nan", "surge-for", "nan"),
        ("probe --shape=x", "shape", "x"),
        ("probe --shape=1x4097", "shape", "1x4097"),
        ("probe --file-mib=0", "file-mib", "0"),
        ("verify --ledger=l --wait=18446744073709551615", "wait", "18446744073709551615"),
    ] {
        check(line, &of(option, value));
    }
    check("probe --shape=x", "1 to 4096 each, as in 64x1");
    check("batch --batch 4096 --size 8192", "--batch 4096 messages of --size 8192 are more than");
    check("e2e --surge 2 --surge-for 99", "the surge, from 10 s on for 99 s, must lie within");
    for command in ["produce", "batch", "consume", "e2e", "drain", "topics"] {
        let line = format!("{command} --broker 127.0.0.1:1 --namesrv 127.0.0.1:2");
        check(&line, "cannot be used with");
    }
    // A folder was made, and left.
    check("probe --dir no/such/folder", &of("dir", "no/such/folder"));
    std::fs::write(folder.join("file"), "").unwrap();
    check("probe --dir file", "not a folder");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was made");
}
