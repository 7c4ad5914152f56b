//! A `kerolox server` process on free ports: started, killed, stopped in order; and the folder
//! that it and its client work in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::{self, Running};
use crate::workspace::{self, Workspace};

const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running broker. It is killed, by its pid, when this goes away.
pub(crate) struct Server {
    process: Running,
    log: PathBuf,
    /// The port of the broker's own listener, on 127.0.0.1.
    pub(crate) broker_port: u16,
    pub(crate) namesrv_port: u16,
    http_port: u16,
}

impl Server {
    /// Starts it on the data in `folder` and waits until it is ready.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Result<Self> {
        Self::start_with(binary, folder, 0, &[])
    }

    /// The same, with the broker on a given port (0: any free one), and more options.
    pub(crate) fn start_with(
        binary: &Path,
        folder: &Path,
        broker_port: u16,
        options: &[&str],
    ) -> Result<Self> {
        let ports_file = folder.join("ports.json");
        if ports_file.try_exists()? {
            fs::remove_file(&ports_file)?;
        }
        let log = folder.join("server.log");
        let mut command = process::command(binary, &["server"], folder);
        command.arg("--data-dir").arg(folder.join("data"));
        command.arg("--ports-file").arg(&ports_file);
        for listener in ["namesrv", "grpc", "proxy", "http"] {
            command.arg(format!("--{listener}-port")).arg("0");
        }
        command.arg("--broker-port").arg(broker_port.to_string()).args(options);
        let process = Running::start_into(&mut command, &log)?;
        let mut server = Self { process, log, broker_port: 0, namesrv_port: 0, http_port: 0 };
        server.wait_until_ready(&ports_file)?;
        Ok(server)
    }

    /// A number of `/metrics`: the sum over all labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: kerolox\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    fn wait_until_ready(&mut self, ports_file: &Path) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            // It may be read while it is written; then it is no JSON yet.
            let text = fs::read_to_string(ports_file).unwrap_or_default();
            if let Ok(ports) = serde_json::from_str::<Value>(&text) {
                let port = |name: &str| {
                    let port = ports[name].as_u64();
                    let port = port.with_context(|| format!("the ports file names no {name}"))?;
                    Ok::<u16, anyhow::Error>(port.try_into()?)
                };
                self.broker_port = port("broker")?;
                self.namesrv_port = port("namesrv")?;
                self.http_port = port("http")?;
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended at its start with {status}\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("the server was not ready in {READY_LIMIT:?}\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process alone, for who handles brokers of several kinds.
    pub(crate) fn into_process(self) -> Running {
        self.process
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the server had ended by itself with {status}\n{}", self.log_tail());
        }
        self.process.kill()
    }

    /// SIGTERM, and its exit status must be 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the server had ended by itself with {status}\n{}", self.log_tail());
        }
        self.process.signal(Signal::TERM)?;
        match self.process.wait_for(STOP_LIMIT)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                bail!("the server ended with {status} after SIGTERM\n{}", self.log_tail())
            }
            None => bail!("the server still ran {STOP_LIMIT:?} after SIGTERM\n{}", self.log_tail()),
        }
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(4000)..];
        format!("its log ends:\n{}", String::from_utf8_lossy(tail))
    }
}

/// A new folder below `target/`, on a real disk. It is removed when this goes away, unless kept.
pub(crate) struct Scratch {
    folder: PathBuf,
    keep: bool,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let target = Workspace::read(&workspace::root())?.target;
        Self::below(&target.join(name))
    }

    /// A new folder below another one.
    pub(crate) fn below(folder: &Path) -> Result<Self> {
        let folder = folder.join(std::process::id().to_string());
        fs::create_dir_all(&folder)?;
        let scratch = Self { folder, keep: false };
        let kind = rustix::fs::statfs(scratch.path())?.f_type;
        ensure!(
            !MEMORY_FILE_SYSTEMS.contains(&(kind as u64)),
            "{} lies in memory, where an fsync costs nothing; name a folder on a disk (CARGO_TARGET_DIR, --dir)",
            scratch.path().display()
        );
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// A new, empty folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    pub(crate) fn keep(&mut self) {
        self.keep = true;
        println!("kept for a look: {}", self.folder.display());
    }
}

/// tmpfs and ramfs, as statfs(2) numbers them.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            println!("{} is still there: {error}", self.folder.display());
        }
    }
}
