//! `kerolox bench` against the real binary: each workload, in both header forms, brings a result in
//! which nothing is lost, doubled or out of order.

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
    let dir = dir.to_str().unwrap();
    let args = ["probe", "--dir", dir, "--seconds", "0.1", "--file-mib", "4", "--shape", "4x4"];
    let probe = bench(&server, &args);
    assert!(probe["echo"][0]["per_second"].as_f64().unwrap() > 0.0, "{probe}");
    assert!(probe["disk"]["sync"][0]["per_second"].as_f64().unwrap() > 0.0, "{probe}");
    server.stop();
}
