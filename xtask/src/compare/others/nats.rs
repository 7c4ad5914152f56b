//! NATS JetStream from Go modules: one server, and `nats bench`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{
    About, Amount, Broker, Durability, Outcome, Product, SIZE, Sends, Stored, free_port, go_build,
    number_before,
};
use crate::compare::measure::words;
use crate::compare::systems::started;
use crate::process;

pub(super) struct Nats {
    server: PathBuf,
    client: PathBuf,
}

impl Nats {
    pub(super) fn get(root: &Path, folder: &Path) -> Result<Self> {
        let tools = ["github.com/nats-io/nats-server/v2", "github.com/nats-io/natscli/nats"];
        go_build(&root.join("bench/others/nats"), folder, &tools)?;
        Ok(Nats { server: folder.join("nats-server"), client: folder.join("nats") })
    }

    /// Runs `nats bench js`, which prints its rate in its last lines.
    fn bench(&self, broker: &Broker, args: &str, messages: u64) -> Result<Outcome> {
        let mut command = process::command(&self.client, &["bench", "js"], &broker.folder);
        command.args(words(args)).args(words(&format!("--no-progress --msgs {messages}")));
        command.arg("--server").arg(format!("nats://{}", broker.address()));
        // Where it looks for contexts of its own.
        command.env("HOME", &broker.folder).env("XDG_CONFIG_HOME", &broker.folder);
        let said = broker.tool(&mut command)?;
        let last = said.lines().rfind(|line| line.contains("stats:"));
        let rate = last.and_then(|line| number_before(line, "msgs/sec"));
        let per_second = rate.with_context(|| format!("nats bench gives no rate:\n{said}"))?;
        Ok(Outcome { messages: messages as f64, per_second })
    }
}

impl Product for Nats {
    fn about(&self) -> About {
        About {
            title: "NATS JetStream 2.15.2",
            tool: "`nats bench js`",
            broker: "one server, streams in files, one replica",
            single: "64 clients × 1 synchronous publish",
            best: "4 clients, batches of 500: atomic with sync (one acknowledgement and one sync a batch), `fast` without (2 acknowledgements outstanding)",
            consume: "the stream of both, one ordered consumer, which acknowledges nothing",
            synced: "`sync_interval: always`: after a write with `O_SYNC`, one for each message; an atomic batch is acknowledged as one",
            written: "after the write; synced every two minutes",
        }
    }

    fn start(&self, folder: &Path, durability: Durability) -> Result<Broker> {
        let port = free_port()?;
        let sync = match durability {
            Durability::Synced => "sync_interval: always",
            Durability::Written => "",
        };
        let store = folder.join("store");
        let store = store.display();
        let conf = format!(
            "listen: 127.0.0.1:{port}\njetstream {{\n  store_dir: \"{store}\"\n  max_file_store: 1TB\n  {sync}\n}}\n"
        );
        fs::write(folder.join("server.conf"), conf)?;
        let mut command = process::command(&self.server, &["-c", "server.conf"], folder);
        let process = started(&mut command, &folder.join("server.log"), "Server is ready")?;
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
        // Atomic batches are synced once; without syncs, the fast ones are faster.
        let shape = match (sends, broker.durability) {
            (Sends::Single, _) => "pub sync --clients 64",
            (Sends::Best, Durability::Synced) => "pub atomic --clients 4 --batch 500",
            (Sends::Best, Durability::Written) => {
                "pub fast --clients 4 --batch 500 --max-outstanding-acks 2"
            }
        };
        let args =
            format!("{shape} {topic} --stream {topic} --create --maxbytes 30GB --size {SIZE}B");
        self.bench(broker, &args, amount.messages)
    }

    fn consume(&self, broker: &Broker, topic: &str, stored: &Stored) -> Result<Outcome> {
        let args = format!("ordered --stream {topic} --size {SIZE}B");
        self.bench(broker, &args, stored.single + stored.best)
    }
}
