//! Kerolox with `kerolox bench`, which stands among the others for scale.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::{About, Amount, Broker, Durability, Outcome, Product, SIZE, Sends, Stored};
use crate::bench::number;
use crate::compare::measure::{self, words};
use crate::compare::systems::Flush;
use crate::server::Server;

pub(super) struct Kerolox {
    binary: PathBuf,
}

impl Kerolox {
    pub(super) fn new(binary: &Path) -> Self {
        Kerolox { binary: binary.to_path_buf() }
    }

    fn bench(&self, broker: &Broker, args: &str) -> Result<Value> {
        let args = words(&format!("{args} --broker {}", broker.address()));
        measure::bench(&self.binary, &args, &broker.folder.join("tool.log"))
    }
}

impl Product for Kerolox {
    fn about(&self) -> About {
        About {
            title: concat!("Kerolox ", env!("CARGO_PKG_VERSION")),
            tool: "`kerolox bench`",
            broker: "defaults, but for `flushDiskType`",
            single: "64 connections × 1 in flight",
            best: "16 connections × 128 in flight",
            consume: "the pipelined topic, 8 connections, pulls of 32; offsets are kept by the reader",
            synced: "`SYNC_FLUSH`: after an `fdatasync`, which many sends share",
            written: "`ASYNC_FLUSH`: after the write; synced within 500 ms",
        }
    }

    fn start(&self, folder: &Path, durability: Durability) -> Result<Broker> {
        let flush = match durability {
            Durability::Synced => Flush::Sync,
            Durability::Written => Flush::Async,
        };
        let set = format!("flushDiskType={}", flush.key());
        let server = Server::start_with(&self.binary, folder, 0, &["--set", &set])?;
        let (port, folder) = (server.broker_port, folder.to_path_buf());
        Ok(Broker { process: server.into_process(), beside: Vec::new(), port, folder, durability })
    }

    fn produce(
        &self,
        broker: &Broker,
        topic: &str,
        sends: Sends,
        amount: &Amount,
    ) -> Result<Outcome> {
        let (shape, topic) = match sends {
            Sends::Single => ("--connections 64 --in-flight 1", format!("{topic}-single")),
            Sends::Best => ("--connections 16 --in-flight 128", topic.to_string()),
        };
        let json = self.bench(
            broker,
            &format!(
                "produce --topic {topic} --size {SIZE} {shape} --warm-up {} --duration {}",
                amount.warm_up, amount.seconds
            ),
        )?;
        Ok(Outcome {
            messages: number(&json, "acknowledged")?,
            per_second: number(&json, "msg_per_s")?,
        })
    }

    fn consume(&self, broker: &Broker, topic: &str, _: &Stored) -> Result<Outcome> {
        let args = format!("consume --topic {topic} --connections 8 --pull-size 32");
        let json = self.bench(broker, &args)?;
        let messages = number(&json, "messages")?;
        Ok(Outcome { messages, per_second: messages / number(&json, "seconds")?.max(0.001) })
    }
}
