//! Apache ActiveMQ Artemis from Maven: one broker, and `artemis perf`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    About, Amount, Broker, Durability, Outcome, Product, SIZE, Sends, Stored, free_port, java,
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

    /// Runs `artemis perf`. It samples its rate every second, and counts in all.
    fn perf(&self, broker: &Broker, args: &str, rate: &str, total: &str) -> Result<Outcome> {
        let report = broker.folder.join("perf.json");
        let args = format!("perf {args} --json {}", report.display());
        broker.tool(&mut self.artemis(&broker.folder, TOOL_FLAGS, &args))?;
        let report: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
        outcome(&report, rate, total)
    }
}

fn outcome(report: &Value, rate: &str, total: &str) -> Result<Outcome> {
    let samples = report.as_array().context("artemis perf reports no samples")?;
    let messages = samples.last().and_then(|summary| summary[total].as_f64());
    let messages = messages.context("artemis perf reports no sum")?;
    let rates = samples.iter().filter(|sample| sample["warmup"] == false);
    let rates: Vec<f64> = rates.filter_map(|sample| sample[rate].as_f64()).collect();
    // What ends within the first second has no sample.
    let per_second =
        if rates.is_empty() { messages } else { rates.iter().sum::<f64>() / rates.len() as f64 };
    Ok(Outcome { messages, per_second })
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
             --num-destinations 8 {shape} --message-size {SIZE} --warmup {} --duration {} \
             queue://{topic}",
            broker.address(),
            amount.warm_up,
            amount.warm_up + amount.seconds
        );
        self.perf(broker, &args, "completed", "totalCompleted")
    }

    fn consume(&self, broker: &Broker, topic: &str, stored: &Stored) -> Result<Outcome> {
        let args = format!(
            "consumer --url tcp://{} --num-destinations 8 --message-count {} queue://{topic}",
            broker.address(),
            stored.single + stored.best
        );
        self.perf(broker, &args, "received", "totalReceived")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warm_up_does_not_count() -> Result<()> {
        let report = json!([
            {"sampleType": "interval", "warmup": true, "completed": 10},
            {"sampleType": "interval", "warmup": false, "completed": 100},
            {"sampleType": "interval", "warmup": false, "completed": 120},
            {"sampleType": "summary", "totalCompleted": 300},
        ]);
        let measured = outcome(&report, "completed", "totalCompleted")?;
        assert_eq!((measured.messages, measured.per_second), (300.0, 110.0));
        let short = outcome(&json!([{"totalReceived": 7}]), "received", "totalReceived")?;
        assert_eq!((short.messages, short.per_second), (7.0, 7.0));
        Ok(())
    }
}
