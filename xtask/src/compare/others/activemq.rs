//! Apache ActiveMQ Artemis from Maven: one broker, and `artemis perf`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    About, Amount, Broker, Durability, Outcome, Product, SIZE, Sends, Stored, free_port, java,
    of_samples,
};
use crate::compare::systems::{class_path, started};
use crate::process;

/// As `artemis create` writes them for the broker, and for the tools.
const SERVER_FLAGS: &str = "-XX:AutoBoxCacheMax=20000 -XX:+UseG1GC -XX:+UseStringDeduplication \
    -Xms512m -Xmx2g --add-opens=java.base/jdk.internal.misc=ALL-UNNAMED";
const TOOL_FLAGS: &str =
    "-XX:+UseParallelGC -Xms512m -Xmx1g --add-opens=java.base/jdk.internal.misc=ALL-UNNAMED";

pub(super) struct ActiveMq {
    class_path: String,
}

impl ActiveMq {
    pub(super) fn get(root: &Path, folder: &Path) -> Result<Self> {
        let list = folder.join("classpath");
        let class_path = class_path(root, "bench/others/activemq/pom.xml", &list)
            .context("Maven cannot get Apache ActiveMQ Artemis")?;
        Ok(ActiveMq { class_path })
    }

    /// `artemis`, outside an instance.
    fn artemis(&self, folder: &Path, flags: &str, args: &str) -> Command {
        let flags = format!("{flags} -Dartemis.home={}", folder.display());
        java(folder, &flags, &self.class_path, "org.apache.activemq.artemis.cli.Artemis", args)
    }

    /// Runs `artemis perf`, and returns the rates that it took every second.
    fn perf(&self, broker: &Broker, args: &str, rate: &str) -> Result<Vec<f64>> {
        let report = broker.folder.join("perf.json");
        let args = format!("perf {args} --json {}", report.display());
        broker.tool(&mut self.artemis(&broker.folder, TOOL_FLAGS, &args))?;
        let samples: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
        let samples = samples.as_array().context("artemis perf reports no samples")?.iter();
        Ok(samples.filter_map(|sample| sample[rate].as_f64()).collect())
    }
}

impl Product for ActiveMq {
    fn about(&self) -> About {
        About {
            title: "Apache ActiveMQ Artemis 2.40.0",
            tool: "`artemis perf`, Core protocol",
            broker: "what `artemis create --nio` writes; 2 GiB of heap; 8 queues",
            single: "64 connections × 1 in flight, persistent messages",
            best: "16 connections × 128 in flight, persistent messages",
            consume: "all queues until they are empty, 8 connections; each message is acknowledged",
            synced: "after an `fdatasync` of the journal, which many sends share",
            written: "`artemis create --no-fsync`: after the write to the journal",
        }
    }

    fn start(&self, folder: &Path, durability: Durability) -> Result<Broker> {
        let port = free_port()?;
        let fsync = match durability {
            Durability::Synced => "",
            Durability::Written => "--no-fsync",
        };
        let create = format!(
            "create broker --silent --user bench --password bench --allow-anonymous --no-web --nio \
             --host 127.0.0.1 --default-port {port} --no-amqp-acceptor --no-mqtt-acceptor \
             --no-stomp-acceptor --no-hornetq-acceptor {fsync}"
        );
        process::output(&mut self.artemis(folder, TOOL_FLAGS, &create))?;
        let instance = folder.join("broker");
        let at = instance.display();
        let flags = format!(
            "{SERVER_FLAGS} -Dartemis.instance={at} -Dartemis.instance.etc={at}/etc \
             -Ddata.dir={at}/data -Djava.security.auth.login.config={at}/etc/login.config"
        );
        let mut command = self.artemis(folder, &flags, "run");
        let process = started(&mut command, &folder.join("server.log"), "Server is now active")?;
        let folder = folder.to_path_buf();
        Ok(Broker { process, beside: Vec::new(), port, folder, durability })
    }

    fn produce(
        &self,
        broker: &Broker,
        topic: &str,
        sends: Sends,
        amount: &Amount,
    ) -> Result<Outcome> {
        // So many producers for each of the 8 queues.
        let shape = match sends {
            Sends::Single => "--producers 8 --max-pending 1",
            Sends::Best => "--producers 2 --max-pending 128",
        };
        // Without the window a send counts as done once it is on its way.
        let args = format!(
            "producer --url tcp://{}?confirmationWindowSize=1048576 --persistent --threads 1 \
             --num-destinations 8 {shape} --message-size {SIZE} --duration {} queue://{topic}",
            broker.address(),
            // The last second is cut short.
            amount.warm_up + amount.seconds + 1
        );
        of_samples(&self.perf(broker, &args, "completed")?, amount.warm_up)
    }

    fn consume(&self, broker: &Broker, topic: &str, stored: &Stored) -> Result<Outcome> {
        let args = format!(
            "consumer --url tcp://{} --num-destinations 8 --message-count {} queue://{topic}",
            broker.address(),
            stored.single + stored.best
        );
        of_samples(&self.perf(broker, &args, "received")?, 0)
    }
}
