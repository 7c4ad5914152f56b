//! Which brokers a run talks to. In: `--namesrv` or `--broker`. Out: the topic's masters.

use std::time::Duration;

use anyhow::{Context, ensure};
use kerolox_client::{Client, Form, Master, Options};

/// How a broker is found.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Name servers that know the brokers, with semicolons between.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9876",
        conflicts_with = "broker"
    )]
    pub namesrv: String,
    /// One broker, without a name server.
    #[arg(long, value_name = "HOST:PORT")]
    pub broker: Option<String>,
}

impl Target {
    pub(crate) fn client(&self, form: Form) -> Client {
        let options = Options { form, timeout: Duration::from_secs(10), ..Options::default() };
        Client::new(&self.namesrv, options)
    }

    /// The masters that hold `topic`, which is created with `queues` queues if it is missing.
    pub(crate) async fn masters_or_create(
        &self,
        client: &Client,
        topic: &str,
        queues: i32,
    ) -> anyhow::Result<Vec<Master>> {
        let masters = match &self.broker {
            Some(addr) => {
                vec![client.connection(addr).await?.master_or_create(topic, queues).await?]
            }
            None => client.masters_or_create(topic, queues).await?,
        };
        let writable: Vec<_> = masters.into_iter().filter(|m| m.write_queues > 0).collect();
        ensure!(!writable.is_empty(), "no broker has a queue of {topic} that can be written");
        Ok(writable)
    }

    /// The masters that hold `topic`, which must exist.
    pub(crate) async fn masters(
        &self,
        client: &Client,
        topic: &str,
    ) -> anyhow::Result<Vec<Master>> {
        let masters = match &self.broker {
            Some(addr) => {
                let config = client.connection(addr).await?.topic_config(topic).await?;
                let config = config.with_context(|| format!("{addr} has no topic {topic}"))?;
                vec![Master {
                    broker_name: String::new(),
                    addr: addr.clone(),
                    read_queues: config.read_queue_nums,
                    write_queues: config.write_queue_nums,
                }]
            }
            None => client.masters(topic).await?,
        };
        ensure!(!masters.is_empty(), "name server {} knows no topic {topic}", self.namesrv);
        Ok(masters)
    }
}
