//! What the tests of the process share: a server of the test's own, on free ports of the loopback
//! address and in a folder of its own, ended by its pid; and short ways to talk to it.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kerolox_client::{Connection, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) mod admin;
pub(crate) mod call;
pub(crate) mod http;
pub(crate) mod mount;
pub(crate) mod past;
pub(crate) mod peer;
pub(crate) mod raw;
pub(crate) mod trial;

/// A start may take this long: other tests run at the same time.
const START_LIMIT: Duration = Duration::from_secs(30);
/// So may a stop. What a stop itself may take is for the tests to say.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// So may an answer: a debug build takes its time with large requests.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Small log files, and bodies that fit them: for small mounts, and to roll files quickly.
pub(crate) const SMALL: [&str; 4] =
    ["--set", "mappedFileSizeCommitLog=1048576", "--set", "maxMessageSize=262144"];

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    match std::env::var_os("KEROLOX_TEST_BIN") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_kerolox").into(),
    }
}

/// A folder of one test, on the disk that holds `target/`. It goes away with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        Folder(TempDir::new_in(root).expect("cargo made the folder for tests"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The data directory of servers that are started here.
    pub(crate) fn data(&self) -> PathBuf {
        self.join("data")
    }
}

/// A start of `kerolox server`, in the making.
pub(crate) struct Launch {
    command: Command,
    ports_file: PathBuf,
    log: PathBuf,
}

impl Launch {
    /// On free ports, with its data in the folder.
    pub(crate) fn new(folder: &Folder) -> Launch {
        Launch::bare(folder).data_dir(&folder.data())
    }

    /// As [`Launch::new`], but nothing is said of the data directory.
    pub(crate) fn bare(folder: &Folder) -> Launch {
        Launch::on_given_ports(folder).args(&[
            "--namesrv-port=0",
            "--broker-port=0",
            "--grpc-port=0",
            "--proxy-port=0",
            "--http-port=0",
        ])
    }

    /// As [`Launch::bare`], but the ports are for the test to give.
    pub(crate) fn on_given_ports(folder: &Folder) -> Launch {
        Launch::of("server", folder)
    }

    /// As [`Launch::on_given_ports`], of another role.
    pub(crate) fn of(role: &str, folder: &Folder) -> Launch {
        let command = Command::new(binary());
        Launch::with(command, folder).args(&[role]).ports_file(folder)
    }

    /// Through a shell, which runs `before` and then becomes the server.
    pub(crate) fn after(folder: &Folder, before: &str) -> Launch {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before}; exec \"$@\"")).arg("sh").arg(binary());
        Launch::with(command, folder)
            .args(&["server", "--namesrv-port=0", "--broker-port=0", "--grpc-port=0"])
            .args(&["--proxy-port=0", "--http-port=0"])
            .ports_file(folder)
            .data_dir(&folder.data())
    }

    fn with(mut command: Command, folder: &Folder) -> Launch {
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KEROLOX_") {
                command.env_remove(name);
            }
        }
        Launch { command, ports_file: folder.join("ports.json"), log: folder.join("server.log") }
    }

    fn ports_file(self, folder: &Folder) -> Launch {
        self.ports_at(folder.join("ports.json"))
    }

    /// Where the ports are written to, instead.
    pub(crate) fn ports_at(mut self, path: PathBuf) -> Launch {
        // Of the start before.
        let _ = std::fs::remove_file(&path);
        self.command.env("KEROLOX_PORTS_FILE", &path);
        self.ports_file = path;
        self
    }

    pub(crate) fn data_dir(mut self, dir: &Path) -> Launch {
        self.command.arg("--data-dir").arg(dir);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Launch {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Starts it, and does not wait.
    pub(crate) fn spawn(mut self) -> Server {
        let log = std::fs::File::create(&self.log).expect("the folder can be written");
        let child = self.command.stderr(log).spawn().expect("the binary can be run");
        let (ports_file, log) = (self.ports_file, self.log);
        Server { child, ports_file, log, ports: Ports::default() }
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(self) -> Server {
        let mut server = self.spawn();
        server.wait_until_ready();
        server
    }

    /// Starts it, and waits until it has given up.
    pub(crate) fn fails(self) -> Ended {
        self.spawn().ended(START_LIMIT)
    }
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ports {
    pub(crate) namesrv: u16,
    pub(crate) broker: u16,
    pub(crate) vip: u16,
    pub(crate) grpc: u16,
    pub(crate) proxy: u16,
    pub(crate) http: u16,
}

impl Ports {
    /// From the text of a ports file.
    pub(crate) fn parse(text: &str) -> Option<Ports> {
        let json: Value = serde_json::from_str(text).ok()?;
        let port = |name: &str| json[name].as_u64().and_then(|port| u16::try_from(port).ok());
        Some(Ports {
            namesrv: port("namesrv")?,
            broker: port("broker")?,
            vip: port("vip")?,
            grpc: port("grpc")?,
            proxy: port("proxy")?,
            http: port("http")?,
        })
    }

    /// Each listener that speaks remoting, by name.
    pub(crate) fn remoting(&self) -> [(&'static str, u16); 5] {
        [
            ("namesrv", self.namesrv),
            ("broker", self.broker),
            ("vip", self.vip),
            ("proxy", self.proxy),
            ("grpc", self.grpc),
        ]
    }
}

/// A server process. It is killed, by its pid, when this goes away.
pub(crate) struct Server {
    child: Child,
    ports_file: PathBuf,
    log: PathBuf,
    pub(crate) ports: Ports,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Server {
    /// Starts one in the folder and waits until it is ready.
    pub(crate) fn start(folder: &Folder, args: &[&str]) -> Server {
        Launch::new(folder).args(args).start()
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let text = std::fs::read_to_string(&self.ports_file).unwrap_or_default();
            if let Some(ports) = Ports::parse(&text) {
                self.ports = ports;
                return;
            }
            if let Some(status) = self.child.try_wait().expect("it is a child of this process") {
                panic!("the server ended with {status} at its start\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "the server is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a port of the server is.
    pub(crate) fn address(&self, port: u16) -> String {
        format!("127.0.0.1:{port}")
    }

    /// Where its broker is.
    pub(crate) fn broker(&self) -> String {
        self.address(self.ports.broker)
    }

    /// A connection to the broker's port, with JSON headers.
    pub(crate) async fn connect(&self) -> Connection {
        let options = Options { timeout: ANSWER_LIMIT, ..Options::default() };
        let connection = Connection::connect_with(&self.broker(), options).await;
        connection.expect("the server accepts connections")
    }

    /// What it has logged since its start.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is a child of this process").is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it was not waited for yet");
    }

    /// SIGTERM; it must end with 0.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.ended(STOP_LIMIT);
        assert_eq!(ended.status.code(), Some(0), "after SIGTERM\n{}", ended.stderr);
        ended
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        assert!(self.runs(), "the server had ended by itself\n{}", self.log());
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is a child of this process");
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self, limit: Duration) -> Ended {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is a child of this process") {
                return Ended { status, stderr: self.log(), took: begin.elapsed() };
            }
            assert!(begin.elapsed() < limit, "it still runs after {limit:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A number of `/metrics`: the sum over all labels.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let page = http::get(self.ports.http, "/metrics").body;
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let of_name = lines.filter_map(|line| line.strip_prefix(name));
        let values = of_name.filter(|rest| rest.starts_with([' ', '{']));
        values.filter_map(|rest| rest.rsplit(' ').next()?.parse::<i64>().ok()).sum()
    }

    /// Waits until a number of `/metrics` is what is wanted.
    pub(crate) async fn wait_for_metric(&self, name: &str, wanted: impl Fn(i64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wanted(self.metric(name)) {
            assert!(Instant::now() < deadline, "{name} stays at {}", self.metric(name));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the log holds a text.
    pub(crate) async fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in the log\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("it runs, on Linux");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("the kernel says it in KiB") << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The server must have refused to start, with this exit code, for this reason, which is the
    /// last line.
    #[track_caller]
    pub(crate) fn check(&self, code: i32, reason: &str) {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        let last = self.stderr.trim_end().lines().last().unwrap_or_default();
        assert!(last.starts_with("kerolox: "), "{}", self.stderr);
        assert!(last.contains(reason), "{reason:?} is not the reason\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Every file below a folder with the CRC32 of its content, but for the lock.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, u64, u32)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let entry = entry.expect("the folder can be read");
            let path = entry.path();
            if path.is_dir() {
                files.push((path.clone(), 0, 0));
                folders.push(path);
            } else if entry.file_name() != "lock" {
                let bytes = std::fs::read(&path).expect("the file can be read");
                files.push((path, bytes.len() as u64, crc32fast::hash(&bytes)));
            }
        }
    }
    files.sort();
    files
}
