//! `cargo xtask test [RING...]`: the test rings, from the inside out.
//!
//! A ring whose toolchain is missing is skipped, with a word on how to install it; where the
//! environment says `CI=true` that is a failure. A failed ring does not stop the next.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::report::{Outcome, Report};
use crate::toolchain::{self, Tool};
use crate::{kill, process, workspace};

#[derive(Args)]
pub(crate) struct Options {
    /// The rings to run; all of them if none is named
    rings: Vec<Ring>,
    /// Download nothing: cargo, mvn, go, pip and npm use what they have
    #[arg(long)]
    pub(crate) offline: bool,
    /// How many seeds the simulation runs
    #[arg(long, default_value_t = 200, value_name = "N")]
    seeds: u64,
    /// The first seed; the output of a failed one says which it was
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Ring {
    /// Tests of the crates, but for those of the real process
    Unit,
    /// Seeded simulation of a broker with a lying disk
    Sim,
    /// The real process: its tests, then five rounds of kill -9 under load
    Process,
    /// Real clients against the real process: java, go, cpp and node
    Compat,
    /// Apache's Java clients
    Java,
    /// Apache's Go client
    Go,
    /// Apache's C++ client, through its Python binding
    Cpp,
    /// A client for Node
    Node,
}

/// The order in which they run.
const ORDER: [Ring; 7] =
    [Ring::Unit, Ring::Sim, Ring::Process, Ring::Java, Ring::Go, Ring::Cpp, Ring::Node];

const KILL_ROUNDS: u32 = 5;

impl Ring {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Sim => "sim",
            Self::Process => "process",
            Self::Compat => "compat",
            Self::Java => "compat java",
            Self::Go => "compat go",
            Self::Cpp => "compat cpp",
            Self::Node => "compat node",
        }
    }

    fn is_compat(self) -> bool {
        matches!(self, Self::Java | Self::Go | Self::Cpp | Self::Node)
    }

    fn tools(self) -> &'static [Tool] {
        match self {
            Self::Java => toolchain::JAVA,
            Self::Go => toolchain::GO,
            Self::Cpp => toolchain::PYTHON,
            Self::Node => toolchain::NODE,
            Self::Unit | Self::Sim | Self::Process | Self::Compat => &[],
        }
    }

    fn needs_binary(self) -> bool {
        self == Self::Process || self.is_compat()
    }
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut report = Report::default();
    rings(options, &mut report);
    Ok(report.finish("ring"))
}

/// Runs the rings that the options name and adds their rows to the report.
pub(crate) fn rings(options: &Options, report: &mut Report) {
    let named = |ring: Ring| {
        options.rings.is_empty()
            || options.rings.contains(&ring)
            || (ring.is_compat() && options.rings.contains(&Ring::Compat))
    };
    let selected: Vec<Ring> = ORDER.into_iter().filter(|ring| named(*ring)).collect();
    let missing = missing_tools(&selected);

    let mut run = Run { root: workspace::root(), options, binary: None };
    if selected.iter().any(|ring| ring.needs_binary()) {
        report.step("build", || {
            run.binary = Some(workspace::release_binary(&run.root, options.offline)?);
            Ok(())
        });
    }
    for (ring, missing) in selected.into_iter().zip(missing) {
        if let Some(missing) = missing {
            let outcome = if in_ci() { Outcome::Failed } else { Outcome::Skipped };
            report.without(ring.name(), outcome, missing);
        } else if ring.needs_binary() && run.binary.is_none() {
            report.without(ring.name(), Outcome::Failed, "there is no binary to test".into());
        } else {
            report.step(ring.name(), || run.ring(ring));
        }
    }
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// The simulation's tests belong to its ring.
const SIM_LATER: [&str; 2] = ["--exclude", "kerolox-sim"];

/// For each ring what it lacks, if anything; said before the first one runs.
fn missing_tools(rings: &[Ring]) -> Vec<Option<String>> {
    if let Some(missing) = toolchain::CARGO.missing() {
        println!("{missing}");
    }
    let missing_tool = |ring: &Ring| ring.tools().iter().find_map(Tool::missing);
    let missing: Vec<_> = rings.iter().map(missing_tool).collect();
    for (ring, missing) in rings.iter().zip(&missing) {
        if let Some(missing) = missing {
            let then = if in_ci() { "fails, because CI is true" } else { "is skipped" };
            println!("{} {then}: {missing}", ring.name());
        }
    }
    missing
}

struct Run<'a> {
    root: PathBuf,
    options: &'a Options,
    /// The release binary, once it is built.
    binary: Option<PathBuf>,
}

impl Run<'_> {
    fn ring(&self, ring: Ring) -> Result<()> {
        match ring {
            Ring::Unit => self.unit(),
            Ring::Sim => self.sim(),
            Ring::Process => self.process(),
            Ring::Compat => Ok(()), // it stands for the next four
            Ring::Java => self.java(),
            Ring::Go => self.go(),
            Ring::Cpp => self.cpp(),
            Ring::Node => self.node(),
        }
    }

    /// The tests of the real process are left to its ring, which runs them against the release binary. The package
    /// stays selected there and here: with others, dependencies have other features, and are compiled once more.
    fn unit(&self) -> Result<()> {
        let tests = test_targets(&members(&self.root.join("crates"))?, |_| true)?;
        if process::exists("cargo-nextest", "--version") {
            let mut nextest = self.cargo(&["nextest", "run", "--workspace", "--lib", "--bins"]);
            process::run(nextest.args(SIM_LATER).args(tests))?;
        } else {
            let args = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins"];
            process::run(self.cargo(&args).args(SIM_LATER).args(tests))?;
        }
        process::run(self.cargo(&["test", "--workspace", "--doc"]).args(SIM_LATER))
    }

    fn sim(&self) -> Result<()> {
        // Its own tests run thousands of seeds: too slow without optimisation.
        process::run(&mut self.cargo(&["test", "--profile", "sim", "-p", "kerolox-sim"]))?;
        let (seeds, from) = (self.options.seeds.to_string(), self.options.from.to_string());
        let mut sim = self.cargo(&["run", "--profile", "sim", "-p", "kerolox-sim"]);
        process::run(sim.args(["--", "--seeds", &seeds, "--from", &from]))
    }

    fn process(&self) -> Result<()> {
        let binary = self.binary.as_ref().context("there is no binary to test")?;
        let package = [self.root.join("kerolox")];
        let cargo = |tests: Vec<String>| {
            let mut cargo = self.cargo(&["test", "--workspace", "--no-fail-fast"]);
            cargo.args(SIM_LATER).args(tests);
            cargo
        };
        let all = test_targets(&package, |_| true)?;
        process::run(cargo(all).env(workspace::BINARY_VARIABLE, binary))?;
        // What they ask of a debug build, such as another clock, the release binary does not do.
        let of_debug = test_targets(&package, |test| test.contains("trial::is_possible"))?;
        if !of_debug.is_empty() {
            process::run(cargo(of_debug).env_remove(workspace::BINARY_VARIABLE))?;
        }
        for async_flush in [false, true] {
            let lost_nothing = kill::rounds(binary, KILL_ROUNDS, async_flush)?;
            anyhow::ensure!(lost_nothing, "kill -9: the messages are not as acknowledged");
        }
        Ok(())
    }

    fn java(&self) -> Result<()> {
        let mut maven = self.compat("java", "mvn", &["--batch-mode", "--no-transfer-progress"]);
        if self.options.offline {
            maven.arg("--offline");
        }
        // One module's failure does not hide the next one's result. Two modules at a time, a test class of each:
        // servers in Java take their time to start.
        process::run(maven.args(["--fail-at-end", "--threads=2", "-Dcompat.forks=1", "test"]))
    }

    fn go(&self) -> Result<()> {
        // Not from the cache: the results depend on the broker, which Go does not look at.
        let mut go = self.compat("go", "go", &["test", "-v", "-count=1", "-timeout=20m", "./..."]);
        if self.options.offline {
            go.env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        }
        process::run(&mut go)
    }

    fn cpp(&self) -> Result<()> {
        let folder = self.root.join("compat/cpp-python");
        let python = folder.join(".venv/bin/python");
        let stamp = folder.join(".venv/installed.txt");
        let wanted = fs::read_to_string(folder.join("requirements.txt"))
            .context("compat/cpp-python/requirements.txt")?;
        let installed = fs::read_to_string(&stamp).unwrap_or_default();
        if installed != wanted || !python.is_file() {
            let venv = ["-m", "venv", "--clear", ".venv"];
            process::run(&mut self.compat("cpp-python", "python3", &venv))?;
            let mut pip = self.compat("cpp-python", &python, &["-m", "pip", "install", "--quiet"]);
            if self.options.offline {
                pip.arg("--no-index");
            }
            process::run(pip.args(["--requirement", "requirements.txt"]))?;
            fs::write(&stamp, wanted)?;
        }
        process::run(&mut self.compat("cpp-python", &python, &["-m", "pytest"]))
    }

    fn node(&self) -> Result<()> {
        let mut npm = self.compat("node", "npm", &["ci", "--no-audit", "--no-fund"]);
        npm.arg(if self.options.offline { "--offline" } else { "--prefer-offline" });
        process::run(&mut npm)?;
        process::run(&mut self.compat("node", "node", &["--test"]))
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = process::command("cargo", args, &self.root);
        if self.options.offline {
            command.env("CARGO_NET_OFFLINE", "true");
        }
        command
    }

    /// A program that runs in a folder of `compat/` and finds the broker.
    fn compat(&self, folder: &str, program: impl AsRef<OsStr>, args: &[&str]) -> Command {
        let folder: &Path = &self.root.join("compat").join(folder);
        let mut command = process::command(program, args, folder);
        if let Some(binary) = &self.binary {
            command.env(workspace::BINARY_VARIABLE, binary);
        }
        command
    }
}

/// The packages in a folder.
fn members(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// `--test NAME` for each file of tests that packages have, whose text is wanted.
fn test_targets(packages: &[PathBuf], is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut args = Vec::new();
    for tests in packages.iter().map(|package| package.join("tests")).filter(|dir| dir.is_dir()) {
        for path in members(&tests)? {
            if let (Some("rs"), Some(name)) = (extension(&path), path.file_stem())
                && is_wanted(&fs::read_to_string(&path)?)
            {
                args.extend(["--test".to_owned(), name.to_string_lossy().into_owned()]);
            }
        }
    }
    Ok(args)
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}
