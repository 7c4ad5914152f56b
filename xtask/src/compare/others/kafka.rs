//! Apache Kafka from Maven: one node in KRaft mode, and its own producer and consumer tools.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{
    About, Amount, Broker, Durability, Outcome, Product, SIZE, Sends, Stored, free_port, java,
    number_before,
};
use crate::compare::systems::{class_path, started};

/// As the scripts of Kafka's distribution set them, for the server and for the tools.
const SERVER_FLAGS: &str = "-server -Xms1g -Xmx1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent";
const TOOL_FLAGS: &str = "-server -Xmx512m -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
    -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

pub(super) struct Kafka {
    class_path: String,
}

impl Kafka {
    pub(super) fn get(root: &Path, folder: &Path) -> Result<Self> {
        let list = folder.join("classpath");
        let class_path = class_path(root, "bench/others/kafka/pom.xml", &list)
            .context("Maven cannot get Apache Kafka")?;
        Ok(Kafka { class_path })
    }

    fn tool(&self, broker: &Broker, main: &str, args: &str) -> Result<String> {
        let args = format!("--bootstrap-server {} {args}", broker.address());
        let main = format!("org.apache.kafka.tools.{main}");
        broker.tool(&mut java(&broker.folder, TOOL_FLAGS, &self.class_path, &main, &args))
    }
}

impl Product for Kafka {
    fn about(&self) -> About {
        About {
            title: "Apache Kafka 4.3.1",
            tool: "`ProducerPerformance`, `ConsumerPerformance`",
            broker: "one node, broker and controller; 1 GiB of heap; 8 partitions a topic",
            single: "its tool is one producer: 1 connection, one record a request (`batch.size=1`, `acks=all`), 64 requests on their way, of which the broker takes one at a time; one partition",
            best: "1 connection, `acks=all`, `batch.size=65536`, `linger.ms=5`, 8 partitions",
            consume: "the batched topic, one consumer, 1 MiB a fetch; offsets are committed every 5 s",
            synced: "`flush.messages=1`: after an `fsync` of the partition's file, one for each batch",
            written: "after the write to the page cache; Kafka leaves syncs to the system, and durability to replicas",
        }
    }

    fn start(&self, folder: &Path, durability: Durability) -> Result<Broker> {
        let (port, controller) = (free_port()?, free_port()?);
        let flush = match durability {
            Durability::Synced => "log.flush.interval.messages=1\n",
            Durability::Written => "",
        };
        let conf = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\nlog.dirs={}\nnum.partitions=8\n\
             offsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n{flush}",
            folder.join("log").display()
        );
        fs::write(folder.join("server.properties"), conf)?;
        // The id of a cluster is 16 bytes in base64.
        let format = "format -t a2Vyb2xveC1vdGhlcnMtMQ -c server.properties";
        let mut command =
            java(folder, TOOL_FLAGS, &self.class_path, "kafka.tools.StorageTool", format);
        crate::process::output(&mut command)?;
        let mut command =
            java(folder, SERVER_FLAGS, &self.class_path, "kafka.Kafka", "server.properties");
        let process = started(&mut command, &folder.join("server.log"), "Kafka Server started")?;
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
        let (topic, properties) = match sends {
            Sends::Single => {
                let topic = format!("{topic}-single");
                let create = format!("--create --if-not-exists --topic {topic} --partitions 1");
                self.tool(broker, "TopicCommand", &create)?;
                let properties = "batch.size=1 linger.ms=0 enable.idempotence=false \
                    max.in.flight.requests.per.connection=64";
                (topic, properties)
            }
            Sends::Best => (topic.to_string(), "batch.size=65536 linger.ms=5"),
        };
        let messages = amount.messages;
        // The tool leaves out the first records, not the first seconds.
        let warm_up = match amount.warm_up {
            0 => String::new(),
            seconds => {
                let share = messages * u64::from(seconds) / u64::from(seconds + amount.seconds);
                format!("--warmup-records {share}")
            }
        };
        let args = format!(
            "--topic {topic} --num-records {messages} --record-size {SIZE} --throughput -1 \
             {warm_up} --command-property acks=all {properties}"
        );
        let said = self.tool(broker, "ProducerPerformance", &args)?;
        let last = said.lines().rfind(|line| line.contains("records/sec"));
        let rate = last.and_then(|line| number_before(line, "records/sec"));
        let per_second = rate.with_context(|| format!("Kafka's tool gives no rate:\n{said}"))?;
        Ok(Outcome { messages: messages as f64, per_second })
    }

    fn consume(&self, broker: &Broker, topic: &str, stored: &Stored) -> Result<Outcome> {
        let args = format!("--topic {topic} --num-records {}", stored.best);
        let said = self.tool(broker, "ConsumerPerformance", &args)?;
        // Its line of figures: start, end, MB, MB/s, messages, messages/s, rebalance, fetch time,
        // and both rates without the rebalance.
        let fields: Vec<&str> = said.lines().last().unwrap_or_default().split(", ").collect();
        let number = |index: usize| -> Option<f64> { fields.get(index)?.trim().parse().ok() };
        let figures = number(4).zip(number(9));
        let (messages, per_second) =
            figures.with_context(|| format!("Kafka's tool gives no figures:\n{said}"))?;
        Ok(Outcome { messages, per_second })
    }
}
