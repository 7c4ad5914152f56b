//! kill -9 under load, again and again on the same directory: at the end every acknowledged message
//! is there, once and in order. `cargo xtask kill` is the long form of this.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, Launch, Server, binary};
use serde_json::Value;

/// The load of one round: what it acknowledges goes into a ledger.
struct Load(Child);

impl Load {
    fn start(folder: &Folder, server: &Server, round: usize) -> Load {
        let said = std::fs::File::create(folder.join(&format!("load-{round}"))).unwrap();
        let child = Command::new(binary())
            .args(["bench", "produce", "--json", "--broker", &server.broker()])
            .args(["--connections", "8", "--in-flight", "4", "--size", "1024"])
            .args(["--duration", "60", "--warm-up", "0", "--queues", "8"])
            .arg("--ledger")
            .arg(folder.join(&format!("ledger-{round}")))
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        Load(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_out_of_order_after_kill_9_under_load() {
    const ROUNDS: usize = 5;
    let folder = Folder::new();
    // Small files: some rounds end at a file's end. The broker keeps its address: the ledgers name
    // it.
    let mut port = 0;
    let mut start = || {
        let server = Launch::on_given_ports(&folder)
            .args(&["--namesrv-port=0", "--grpc-port=0", "--proxy-port=0", "--http-port=0"])
            .args(&["--broker-port", &port.to_string()])
            .args(&common::SMALL)
            .data_dir(&folder.data())
            .start();
        port = server.ports.broker;
        server
    };
    for round in 0..ROUNDS {
        let server = start();
        let mut load = Load::start(&folder, &server, round);
        std::thread::sleep(Duration::from_millis(400 + 130 * round as u64));
        server.kill();
        // It notices that its broker is gone.
        let deadline = Instant::now() + Duration::from_secs(15);
        while load.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the load goes on without a broker");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let server = start();
    assert!(!server.log().contains("lost to damage"), "{}", server.log());
    let mut verify = Command::new(binary());
    verify.args(["bench", "verify", "--json", "--broker", &server.broker()]);
    for round in 0..ROUNDS {
        verify.arg("--ledger").arg(folder.join(&format!("ledger-{round}")));
    }
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    let line = said.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    let books: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {said}"));
    println!("{books}");
    for wrong in ["lost", "doubled", "out_of_order", "damaged", "misplaced", "gaps", "foreign"] {
        assert_eq!(books[wrong], 0, "{books}");
    }
    assert!(books["acknowledged"].as_u64().unwrap() > 100, "{books}");
    server.stop();
}
