//! `cargo xtask ci`: the whole gate. `cargo xtask fix`: what can be put right by itself.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::report::{Outcome, Report};
use crate::{process, test, tidy, workspace};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    test: test::Options,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    let root = workspace::root();
    let cargo = |args: &[&str]| {
        let mut command = process::command("cargo", args, &root);
        if options.test.offline {
            command.env("CARGO_NET_OFFLINE", "true");
        }
        command
    };

    let mut report = Report::default();
    report.step("fmt", || process::run(&mut cargo(&["fmt", "--all", "--check"])));
    report.step("clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        process::run(&mut cargo(&args))
    });
    report.step("tidy", || {
        ensure!(tidy::run()?, "see above");
        Ok(())
    });
    report.step("doc", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
        process::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    deny(cargo(&["deny", "check", "bans", "licenses", "sources"]), &mut report);
    test::rings(&options.test, &mut report);
    Ok(report.finish("step"))
}

fn deny(mut check: Command, report: &mut Report) {
    if process::exists("cargo-deny", "--version") {
        report.step("deny", || process::run(&mut check));
    } else {
        let reason = "cargo-deny is not installed; `cargo install --locked cargo-deny` builds it \
                      and takes several minutes";
        report.without("deny", Outcome::Skipped, reason.into());
    }
}

pub(crate) fn fix() -> Result<bool> {
    let root = workspace::root();
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"];
    process::run(&mut process::command("cargo", &clippy, &root))?;
    // Last, because what clippy writes is not formatted.
    process::run(&mut process::command("cargo", &["fmt", "--all"], &root))?;
    Ok(true)
}
