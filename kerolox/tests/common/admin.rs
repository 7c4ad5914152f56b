//! `kerolox admin`, run and looked at.

use std::process::Command;

use serde_json::Value;

use super::{Server, binary};

/// How a command ended.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `kerolox admin` with the server's name server.
pub(crate) fn command(server: &Server, args: &[&str]) -> Command {
    command_at(&server.address(server.ports.namesrv), args)
}

fn command_at(names: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("admin").args(args).env("NAMESRV_ADDR", names);
    command
}

/// Runs it.
pub(crate) fn admin(server: &Server, args: &[&str]) -> Done {
    run(&server.address(server.ports.namesrv), args)
}

/// Runs it with the name server at an address.
pub(crate) fn run(names: &str, args: &[&str]) -> Done {
    let output = command_at(names, args).output().expect("the binary can be run");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    let code = output.status.code().expect("no signal ends it");
    Done { code, out: text(output.stdout), err: text(output.stderr) }
}

/// The output of a command that must succeed.
#[track_caller]
pub(crate) fn text(server: &Server, args: &[&str]) -> String {
    let done = admin(server, args);
    assert_eq!(done.code, 0, "{args:?}: {}{}", done.out, done.err);
    assert_eq!(done.err, "", "{args:?}");
    done.out
}

/// The only value of a command that must succeed.
#[track_caller]
pub(crate) fn json(server: &Server, args: &[&str]) -> Value {
    let out = text(server, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{out}"))
}

/// A command that must fail, with this in its error.
#[track_caller]
pub(crate) fn fails(server: &Server, args: &[&str], code: i32, why: &str) {
    let done = admin(server, args);
    assert_eq!(done.code, code, "{args:?}: {}{}", done.out, done.err);
    assert!(done.err.contains(why), "{args:?}: {why:?} is not in {}", done.err);
    assert!(!done.err.contains("panicked"), "{}", done.err);
}
