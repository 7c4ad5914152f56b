//! RabbitMQ: PerfTest from Maven, and the server with Erlang from Debian's packages, unpacked below
//! `target/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{
    About, Amount, Broker, Durability, Outcome, Product, SIZE, Sends, Stored, free_port, java,
};
use crate::compare::systems::{class_path, started};
use crate::process::{self, Running};

const QUEUES: u32 = 8;
/// Columns of PerfTest's report.
const CONFIRMED: usize = 4;
const RECEIVED: usize = 6;

pub(super) struct RabbitMq {
    class_path: String,
    /// Where the packages are unpacked.
    packages: PathBuf,
}

impl RabbitMq {
    pub(super) fn get(root: &Path, folder: &Path) -> Result<Self> {
        let list = folder.join("classpath");
        let class_path = class_path(root, "bench/others/rabbitmq/pom.xml", &list)
            .context("Maven cannot get RabbitMQ's load tool, `com.rabbitmq:perf-test`")?;
        let packages = folder.join("packages");
        let pinned = fs::read_to_string(root.join("bench/others/rabbitmq/packages.txt"))?;
        // What is there already needs no network.
        let done = folder.join("packages.txt");
        if fs::read_to_string(&done).ok().as_ref() != Some(&pinned) {
            let names: Vec<&str> = pinned.split_whitespace().collect();
            unpack(&packages, &names)
                .context("apt-get cannot get RabbitMQ and Erlang as they are pinned")?;
            fs::write(&done, &pinned)?;
        }
        Ok(RabbitMq { class_path, packages })
    }

    /// The folder of Erlang's runtime.
    fn runtime(&self) -> Result<PathBuf> {
        let erlang = fs::read_dir(self.packages.join("usr/lib/erlang"))?;
        let mut folders = erlang.filter_map(|entry| Some(entry.ok()?.path()));
        let runtime = folders.find(|path| path.join("bin/erlexec").exists());
        runtime.context("Erlang's packages hold no runtime")
    }

    /// Runs PerfTest on the topic's queues, and returns a column of what it reports every second.
    fn perf(&self, broker: &Broker, topic: &str, args: &str, column: usize) -> Result<Vec<f64>> {
        let report = broker.folder.join("perf.csv");
        let kind = match broker.durability {
            Durability::Synced => "x-queue-type=quorum",
            Durability::Written => "x-queue-type=classic,x-queue-version=2",
        };
        let args = format!(
            "--uri amqp://{} --queue-pattern {topic}-%d --queue-pattern-from 1 \
             --queue-pattern-to {QUEUES} --auto-delete false --flag persistent --size {SIZE} \
             --queue-args {kind} --output-file {} {args}",
            broker.address(),
            report.display()
        );
        let main = "com.rabbitmq.perf.PerfTest";
        broker.tool(&mut java(&broker.folder, "-Xmx512m", &self.class_path, main, &args))?;
        let report = fs::read_to_string(&report)?;
        let rate = |line: &str| line.split(',').nth(column)?.trim().parse().ok();
        Ok(report.lines().skip(1).filter_map(rate).collect())
    }
}

/// Downloads the packages and unpacks them into the folder; nothing is installed.
fn unpack(folder: &Path, names: &[&str]) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let debs = folder.join("debs");
    fs::create_dir_all(&debs)?;
    let args = [&["download"][..], names].concat();
    process::output(&mut process::command("apt-get", &args, &debs))?;
    for entry in fs::read_dir(&debs)? {
        let mut command = process::command("dpkg-deb", &["-x"], &debs);
        process::output(command.arg(entry?.path()).arg(folder))?;
    }
    fs::remove_dir_all(&debs)?;
    Ok(())
}

impl Product for RabbitMq {
    fn about(&self) -> About {
        About {
            title: "RabbitMQ 3.10.8",
            tool: "PerfTest, AMQP 0-9-1",
            broker: "Debian 12's packages; one node; 8 queues",
            single: "64 connections × 1 unconfirmed, persistent messages",
            best: "16 connections × 128 unconfirmed, persistent messages",
            consume: "all queues until they are empty, 8 connections, prefetch 500; acknowledged 100 at a time",
            synced: "quorum queues with one member: after an `fdatasync` of the write-ahead log, which many messages share",
            written: "classic queues, version 2: after the write to the queue's file",
        }
    }

    fn start(&self, folder: &Path, durability: Durability) -> Result<Broker> {
        let (port, epmd_port, dist_port) = (free_port()?, free_port()?, free_port()?);
        let runtime = self.runtime()?;
        // Debian's `erl` looks below /usr; without it, the emulator is told where it lies.
        let programs = folder.join("bin");
        fs::create_dir_all(&programs)?;
        symlink(runtime.join("bin/erlexec"), programs.join("erl"))?;
        // Started here, so that it does not outlive the node.
        let mut epmd = process::command(runtime.join("bin/epmd"), &[], folder);
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        let epmd = Running::start_into(&mut epmd, &folder.join("epmd.log"))?;

        let at = folder.display();
        let conf =
            format!("listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.file = false\n");
        fs::write(folder.join("rabbitmq.conf"), conf)?;
        fs::write(folder.join("enabled_plugins"), "[].\n")?;
        let server = self.packages.join("usr/lib/rabbitmq/bin/rabbitmq-server");
        let mut command = process::command(server, &[], folder);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs.display()));
        command.env("ROOTDIR", self.packages.join("usr/lib/erlang"));
        command.env("BINDIR", runtime.join("bin")).env("EMU", "beam").env("PROGNAME", "erl");
        command.env("HOME", folder).env("ERL_EPMD_PORT", epmd_port.to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
        // The script becomes the node, instead of waiting for it.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        for (name, value) in [
            ("NODENAME", "bench@localhost".to_string()),
            ("DIST_PORT", dist_port.to_string()),
            (
                "SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}".to_string(),
            ),
            ("CONFIG_FILE", format!("{at}/rabbitmq")),
            ("ENABLED_PLUGINS_FILE", format!("{at}/enabled_plugins")),
            ("MNESIA_BASE", format!("{at}/data")),
            ("LOG_BASE", format!("{at}/log")),
        ] {
            command.env(format!("RABBITMQ_{name}"), value);
        }
        let process = started(&mut command, &folder.join("server.log"), "Server startup complete")?;
        let folder = folder.to_path_buf();
        Ok(Broker { process, beside: vec![epmd], port, folder, durability })
    }

    fn produce(
        &self,
        broker: &Broker,
        topic: &str,
        sends: Sends,
        amount: &Amount,
    ) -> Result<Outcome> {
        let shape = match sends {
            Sends::Single => "--producers 64 --confirm 1",
            Sends::Best => "--producers 16 --confirm 128",
        };
        // The last second is cut short.
        let seconds = amount.warm_up + amount.seconds + 1;
        let args = format!("{shape} --consumers 0 --time {seconds}");
        of_samples(&self.perf(broker, topic, &args, CONFIRMED)?, amount.warm_up)
    }

    fn consume(&self, broker: &Broker, topic: &str, _: &Stored) -> Result<Outcome> {
        let args = format!(
            "--producers 0 --consumers {QUEUES} --qos 500 --multi-ack-every 100 --exit-when empty"
        );
        let mut samples = self.perf(broker, topic, &args, RECEIVED)?;
        samples.retain(|received| *received > 0.0);
        of_samples(&samples, 0)
    }
}

/// The rate and the number of messages, of what PerfTest counts every second: the mean of the seconds
/// behind the warm-up. The last one is cut short by its end, and left out if it is not alone.
fn of_samples(samples: &[f64], warm_up: u32) -> Result<Outcome> {
    let messages = samples.iter().sum();
    let samples = samples.get(warm_up as usize..).unwrap_or_default();
    ensure!(!samples.is_empty(), "PerfTest reports too few seconds");
    let samples = &samples[..(samples.len() - 1).max(1)];
    Ok(Outcome { messages, per_second: samples.iter().sum::<f64>() / samples.len() as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_leave_out_warm_up_and_the_last() -> Result<()> {
        let outcome = of_samples(&[10.0, 100.0, 110.0, 120.0, 7.0], 1)?;
        assert_eq!((outcome.messages, outcome.per_second), (347.0, 110.0));
        assert_eq!(of_samples(&[10.0, 100.0], 1)?.per_second, 100.0);
        assert!(of_samples(&[10.0, 100.0], 2).is_err());
        Ok(())
    }
}
