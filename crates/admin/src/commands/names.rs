//! Name servers: notes by namespace and key, write permissions in their routes, their configuration.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use kerolox_protocol::remoting::admin::perm;
use kerolox_protocol::remoting::codes::{names, response};
use kerolox_protocol::remoting::registration::{AddReply, BrokerName, KvKey, KvValue, WipeReply};
use serde_json::json;

use super::Run;
use super::brokers::{config_of, print_config, property_line};
use super::topics::all_topics;
use crate::admin::{Admin, Failed, refused_with};
use crate::out::Out;

/// Options of `updateKvConfig`.
#[derive(Debug, clap::Args)]
pub struct UpdateKvConfig {
    #[arg(short = 's', long = "namespace")]
    namespace: String,
    #[arg(short = 'k', long = "key")]
    key: String,
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

impl Run for UpdateKvConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (namespace, key) = (self.namespace.trim(), self.key.trim());
        let value = self.value.trim();
        let header =
            KvKey { namespace: namespace.into(), key: key.into(), value: Some(value.into()) };
        let code = names::PUT_KV_CONFIG;
        let (done, result) = admin.tell_all_names(code, &header, Bytes::new()).await;
        out.done("create or update kv config to namespace success.", &done, &result);
        out.value(json!({"namespace": namespace, "key": key, "value": value, "nameServers": done}));
        result
    }
}

/// Options of `deleteKvConfig`.
#[derive(Debug, clap::Args)]
pub struct DeleteKvConfig {
    #[arg(short = 's', long = "namespace")]
    namespace: String,
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Say which value would go, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl Run for DeleteKvConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (namespace, key) = (self.namespace.trim(), self.key.trim());
        let header = KvKey { namespace: namespace.into(), key: key.into(), value: None };
        if self.dry_run {
            return would_delete(admin, out, &header).await;
        }
        let code = names::DELETE_KV_CONFIG;
        let (done, result) = admin.tell_all_names(code, &header, Bytes::new()).await;
        out.done("delete kv config from namespace success.", &done, &result);
        out.value(json!({"namespace": namespace, "key": key, "nameServers": done}));
        result
    }
}

/// Each name server has notes of its own.
async fn would_delete(admin: &Admin, out: &mut Out, header: &KvKey) -> Result<()> {
    let (namespace, key) = (&*header.namespace, &*header.key);
    let mut values = BTreeMap::new();
    let mut failed = Failed::default();
    for server in admin.name_servers() {
        let reply = admin.ask(server, names::GET_KV_CONFIG, header).await;
        match reply.and_then(|reply| Ok(reply.header::<KvValue>()?.value)) {
            Ok(value) => {
                let value = value.unwrap_or_default().to_string();
                out.line(format!("{server} would delete {namespace} {key}={value}"));
                values.insert(server, Some(value));
            }
            Err(error) if refused_with(&error) == Some(response::QUERY_NOT_FOUND) => {
                out.line(format!("{server} has no {key} in {namespace}"));
                values.insert(server, None);
            }
            Err(error) => failed.add(server, &error),
        }
    }
    out.value(json!({"dryRun": true, "namespace": namespace, "key": key, "values": values}));
    failed.result(admin.name_servers().len())
}

/// Options of `wipeWritePerm`.
#[derive(Debug, clap::Args)]
pub struct WipeWritePerm {
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    broker: String,
    /// Say how many topics it would touch, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Options of `addWritePerm`.
#[derive(Debug, clap::Args)]
pub struct AddWritePerm {
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    broker: String,
}

/// 205, or 327 to `add`, of one name server: the topics it touched.
async fn change_perm(admin: &Admin, server: &str, broker: &str, add: bool) -> Result<i32> {
    let header = BrokerName { broker_name: broker.into() };
    let code = if add { names::ADD_WRITE_PERM_OF_BROKER } else { names::WIPE_WRITE_PERM_OF_BROKER };
    let reply = admin.ask(server, code, &header).await?;
    Ok(match add {
        true => reply.header::<AddReply>()?.add_topic_count,
        false => reply.header::<WipeReply>()?.wipe_topic_count,
    })
}

/// Changes a broker's write permission on every name server.
async fn change_everywhere(admin: &Admin, out: &mut Out, broker: &str, add: bool) -> Result<()> {
    let verb = if add { "add" } else { "wipe" };
    let mut topics = BTreeMap::new();
    let mut failed = Failed::default();
    for server in admin.name_servers() {
        let what = format!("{verb} write perm of broker[{broker}] in name server[{server}]");
        match change_perm(admin, server, broker, add).await {
            Ok(count) => {
                out.line(format!("{what} OK, {count}"));
                topics.insert(server, count);
            }
            Err(error) => {
                out.line(format!("{what} Failed"));
                failed.add(server, &error);
            }
        }
    }
    out.value(json!({"broker": broker, "topics": topics}));
    let is_unknown = !topics.is_empty() && topics.values().all(|count| *count == 0);
    failed.result(admin.name_servers().len())?;
    ensure!(!is_unknown, "no topic of a broker {broker:?} is registered: is that its name?");
    Ok(())
}

impl Run for WipeWritePerm {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let broker = self.broker.trim();
        if self.dry_run {
            return would_wipe(admin, out, broker).await;
        }
        change_everywhere(admin, out, broker, false).await
    }
}

impl Run for AddWritePerm {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        change_everywhere(admin, out, self.broker.trim(), true).await
    }
}

async fn would_wipe(admin: &Admin, out: &mut Out, broker: &str) -> Result<()> {
    let info = admin.cluster().await?;
    if !info.broker_addr_table.contains_key(broker) {
        let known: Vec<_> = info.broker_addr_table.into_keys().collect();
        bail!("no broker {broker:?} is registered; these are: {}", known.join(", "));
    }
    let (mut topics, mut writable) = (0, 0);
    for topic in all_topics(admin).await? {
        let Some(route) = admin.find_route(&topic).await? else { continue };
        let queues = route.queue_datas.iter().find(|queues| queues.broker_name == broker);
        topics += usize::from(queues.is_some());
        writable += usize::from(queues.is_some_and(|queues| queues.perm & perm::WRITE != 0));
    }
    out.say(
        format!(
            "would wipe the write perm of broker[{broker}] in {topics} topics; {writable} of them can be written to now"
        ),
        json!({"dryRun": true, "broker": broker, "topics": topics, "writable": writable}),
    );
    Ok(())
}

/// Options of `getNamesrvConfig`.
#[derive(Debug, clap::Args)]
pub struct GetNamesrvConfig {}

impl Run for GetNamesrvConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut all = BTreeMap::new();
        let mut failed = Failed::default();
        for server in admin.name_servers() {
            match config_of(admin, server, names::GET_NAMESRV_CONFIG).await {
                Ok(config) => {
                    out.line(format!("============{server}============"));
                    print_config(&config, out);
                    all.insert(server, config);
                }
                Err(error) => failed.add(server, &error),
            }
        }
        out.value(all);
        failed.result(admin.name_servers().len())
    }
}

/// Options of `updateNamesrvConfig`.
#[derive(Debug, clap::Args)]
pub struct UpdateNamesrvConfig {
    #[arg(short = 'k', long = "key")]
    key: String,
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

impl Run for UpdateNamesrvConfig {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let (key, value) = (self.key.trim(), self.value.trim());
        let body = Bytes::from(property_line(key, value)?);
        let (done, result) = admin.tell_all_names(names::UPDATE_NAMESRV_CONFIG, &(), body).await;
        if !done.is_empty() {
            out.line(format!("update name server config success![{}]", done.join(", ")));
            out.line(format!("{key} : {value}"));
        }
        out.value(json!({"key": key, "value": value, "nameServers": done}));
        result
    }
}
