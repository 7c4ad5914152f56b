//! The two systems: started with the same durability on the same disk, frozen, stopped, killed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::process::{self, Running};
use crate::server::Server;

/// A Java broker with 8 GB of heap takes its time.
const READY_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// What name server and broker of Apache RocketMQ print once they serve.
const READY: &str = "boot success";

/// As the scripts of Apache RocketMQ's distribution set them, for a broker.
pub(super) const BROKER_FLAGS: &[&str] = &[
    "-server",
    "-Xms8g",
    "-Xmx8g",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=16m",
    "-XX:G1ReservePercent=25",
    "-XX:InitiatingHeapOccupancyPercent=30",
    "-XX:SoftRefLRUPolicyMSPerMB=0",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:+AlwaysPreTouch",
    "-XX:MaxDirectMemorySize=15g",
    "-XX:-UseLargePages",
];

/// What it needs from a JDK of today.
const JAVA_FLAGS: &[&str] = &[
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flush {
    Sync,
    Async,
    /// Synced, and each sync of the disk takes 5 ms longer.
    SlowSync,
}

impl Flush {
    pub(super) fn key(self) -> &'static str {
        match self {
            Flush::Sync | Flush::SlowSync => "SYNC_FLUSH",
            Flush::Async => "ASYNC_FLUSH",
        }
    }

    /// What a sync takes beyond its own time, in ms.
    pub(super) fn added_ms(self) -> u32 {
        if self == Flush::SlowSync { 5 } else { 0 }
    }
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Kerolox,
    Apache,
    /// An older build of Kerolox, in Apache's place.
    Before,
}

impl Name {
    /// The two of the documents.
    pub(super) const BOTH: [Name; 2] = [Name::Kerolox, Name::Apache];

    pub(super) fn key(self) -> &'static str {
        match self {
            Name::Kerolox => "kerolox",
            Name::Apache => "apache",
            Name::Before => "before",
        }
    }
}

/// What both need to be started.
pub(super) struct Setup {
    pub(super) binary: PathBuf,
    /// What Kerolox is compared with, if it is not Apache RocketMQ.
    before: Option<PathBuf>,
    pub(super) class_path: String,
    /// Makes Apache's syncs slower; made when it is asked for.
    slow_sync: PathBuf,
    slow_sync_source: PathBuf,
}

impl Setup {
    /// Takes Kerolox as it is built, and lets Maven find Apache RocketMQ, whose load tools are used too.
    pub(super) fn new(
        binary: PathBuf,
        before: Option<PathBuf>,
        root: &Path,
        target: &Path,
    ) -> Result<Self> {
        let class_path = class_path(root, "bench/apache/pom.xml", &target.join("apache.classpath"))
            .context("Maven cannot get Apache RocketMQ")?;
        let slow_sync_source = root.join("bench/apache/slow_sync.c");
        let slow_sync = target.join("slow_sync.so");
        Ok(Setup { binary, before, class_path, slow_sync, slow_sync_source })
    }

    /// The two that are compared.
    pub(super) fn both(&self) -> [Name; 2] {
        let other = if self.before.is_some() { Name::Before } else { Name::Apache };
        [Name::Kerolox, other]
    }

    /// The library that makes Apache's syncs slower.
    fn slow_sync(&self) -> Result<&Path> {
        let mut command =
            process::command("cc", &["-shared", "-fPIC", "-O2", "-Wall"], Path::new("."));
        command.arg("-o").arg(&self.slow_sync).arg(&self.slow_sync_source).arg("-ldl");
        process::output(&mut command).context("a C compiler is needed for Apache's slow syncs")?;
        Ok(&self.slow_sync)
    }

    /// `java` with the class path and what a current JDK needs.
    pub(super) fn java(&self, folder: &Path, flags: &[&str], main: &str) -> std::process::Command {
        let mut command = process::command("java", JAVA_FLAGS, folder);
        command.args(flags);
        // Its logs go below the home directory.
        command.arg(format!("-Duser.home={}", folder.display()));
        command.arg("-cp").arg(&self.class_path).arg(main);
        command.env("ROCKETMQ_HOME", folder);
        command
    }
}

/// Lets Maven get what a POM names. `list` keeps the class path.
pub(super) fn class_path(root: &Path, pom: &str, list: &Path) -> Result<String> {
    fs::create_dir_all(list.parent().context("a list lies in a folder")?)?;
    let goal = format!("-Dmdep.outputFile={}", list.display());
    let mvn = |more: &[&str]| {
        let args = ["-q", "-B", "-f", pom, "dependency:build-classpath", &goal];
        process::output(&mut process::command("mvn", &[&args[..], more].concat(), root))
    };
    // What is there already needs no network.
    if mvn(&["-o"]).is_err() {
        mvn(&[])?;
    }
    Ok(fs::read_to_string(list)?.trim().to_string())
}

/// A running system.
pub(crate) struct System {
    pub(super) name: Name,
    what: What,
    folder: PathBuf,
    frozen: bool,
}

enum What {
    Kerolox(Server),
    Apache { broker: Running, namesrv: Running, port: u16, namesrv_port: u16 },
}

/// A key of `broker.conf` and its value.
pub(super) type Setting<'a> = (&'a str, &'a str);

impl System {
    /// Starts it on what is in the folder, and waits until it says that it serves.
    pub(super) fn start(setup: &Setup, name: Name, folder: &Path, flush: Flush) -> Result<Self> {
        System::start_with(setup, name, folder, flush, None)
    }

    /// The same, with one more setting.
    pub(super) fn start_with(
        setup: &Setup,
        name: Name,
        folder: &Path,
        flush: Flush,
        setting: Option<Setting<'_>>,
    ) -> Result<Self> {
        let setting = setting.map(|(key, value)| format!("{key}={value}"));
        fs::create_dir_all(folder)?;
        let what = match name {
            Name::Kerolox | Name::Before => {
                let flush_type = format!("flushDiskType={}", flush.key());
                let added = format!("kerolox.disk.addedSyncMillis={}", flush.added_ms());
                let mut set = vec!["--set", &flush_type, "--set", &added];
                if let Some(setting) = &setting {
                    set.extend(["--set", setting]);
                }
                let before = setup.before.as_ref().filter(|_| name == Name::Before);
                What::Kerolox(Server::start_with(before.unwrap_or(&setup.binary), folder, 0, &set)?)
            }
            Name::Apache => apache(setup, folder, flush, setting)?,
        };
        Ok(System { name, what, folder: folder.to_path_buf(), frozen: false })
    }

    pub(super) fn pid(&self) -> u32 {
        match &self.what {
            What::Kerolox(server) => server.pid(),
            What::Apache { broker, .. } => broker.pid(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        match &self.what {
            What::Kerolox(server) => server.broker_port,
            What::Apache { port, .. } => *port,
        }
    }

    pub(super) fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    pub(super) fn namesrv(&self) -> String {
        let port = match &self.what {
            What::Kerolox(server) => server.namesrv_port,
            What::Apache { namesrv_port, .. } => *namesrv_port,
        };
        format!("127.0.0.1:{port}")
    }

    /// Bytes that it wrote to its log, and those of seals and state among them; Kerolox tells.
    pub(super) fn log_and_seals(&self) -> Result<Option<(f64, f64)>> {
        match &self.what {
            What::Kerolox(server) => Ok(Some((
                server.metric("kerolox_log_bytes_total")?,
                server.metric("kerolox_log_seal_bytes_total")?,
            ))),
            What::Apache { .. } => Ok(None),
        }
    }

    /// A place for what its clients print, and for data of its own.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match &self.what {
            What::Kerolox(server) => server.signal(signal),
            What::Apache { broker, namesrv, .. } => {
                broker.signal(signal)?;
                namesrv.signal(signal)
            }
        }
    }

    /// SIGSTOP, or SIGCONT.
    pub(super) fn freeze(&mut self, frozen: bool) -> Result<()> {
        if self.frozen != frozen {
            self.signal(if frozen { Signal::STOP } else { Signal::CONT })?;
            self.frozen = frozen;
        }
        Ok(())
    }

    /// kill -9. What it has stored stays.
    pub(super) fn kill(self) -> Result<()> {
        match self.what {
            What::Kerolox(server) => server.kill(),
            What::Apache { mut broker, mut namesrv, .. } => {
                broker.kill()?;
                namesrv.kill()
            }
        }
    }

    /// SIGTERM, and it must end.
    pub(super) fn stop(mut self) -> Result<()> {
        self.freeze(false)?;
        match self.what {
            What::Kerolox(server) => server.stop(),
            What::Apache { mut broker, mut namesrv, .. } => {
                for process in [&mut broker, &mut namesrv] {
                    process.signal(Signal::TERM)?;
                    if process.wait_for(STOP_LIMIT)?.is_none() {
                        bail!("Apache RocketMQ does not end");
                    }
                }
                Ok(())
            }
        }
    }
}

fn apache(setup: &Setup, folder: &Path, flush: Flush, more: Option<String>) -> Result<What> {
    // It logs to the console through its own logging, which warns if there is no such folder.
    fs::create_dir_all(folder.join("conf"))?;
    let (port, namesrv_port) = free_ports()?;
    fs::write(folder.join("namesrv.properties"), format!("listenPort={namesrv_port}\n"))?;
    let store = folder.join("store");
    let store = store.display();
    let broker_conf = format!(
        "brokerClusterName=DefaultCluster\nbrokerName=apache\nbrokerId=0\nbrokerIP1=127.0.0.1\n\
         listenPort={port}\nnamesrvAddr=127.0.0.1:{namesrv_port}\nflushDiskType={}\n\
         storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n{}\n",
        flush.key(),
        more.unwrap_or_default()
    );
    fs::write(folder.join("broker.conf"), broker_conf)?;
    let main = "org.apache.rocketmq.namesrv.NamesrvStartup";
    let mut command = setup.java(folder, &["-Xms512m", "-Xmx512m"], main);
    command.args(["-c", "namesrv.properties"]);
    let namesrv = started(&mut command, &folder.join("namesrv.log"), READY)?;
    let mut command = setup.java(folder, BROKER_FLAGS, "org.apache.rocketmq.broker.BrokerStartup");
    command.args(["-c", "broker.conf"]);
    if flush.added_ms() > 0 {
        command.env("LD_PRELOAD", setup.slow_sync()?);
        command.env("ADDED_SYNC_MS", flush.added_ms().to_string());
    }
    let broker = started(&mut command, &folder.join("broker.log"), READY)?;
    Ok(What::Apache { broker, namesrv, port, namesrv_port })
}

/// Starts a server with an empty log, and waits for the words with which it says that it serves.
pub(super) fn started(
    command: &mut std::process::Command,
    log: &Path,
    ready: &str,
) -> Result<Running> {
    fs::write(log, "")?;
    let mut process = Running::start_into(command, log)?;
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        if text.contains(ready) {
            return Ok(process);
        }
        let tail = || text.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev();
        if let Some(status) = process.try_wait()? {
            bail!("the server ended with {status}\n{}", tail().collect::<String>());
        }
        if Instant::now() > deadline {
            bail!("the server is not ready\n{}", tail().collect::<String>());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port for a broker and one for its name server. Apache's broker also takes the second below its
/// port and the one above. They lie below those that the kernel hands out to clients: one of these
/// could be taken before a JVM has started.
fn free_ports() -> Result<(u16, u16)> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    (20_911..32_000)
        .step_by(10)
        .find(|port| [port - 2, *port, port + 1, port + 5].into_iter().all(is_free))
        .map(|port| (port, port + 5))
        .context("there are no free ports for Apache RocketMQ")
}
