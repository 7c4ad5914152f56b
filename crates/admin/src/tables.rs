//! Everything that a broker has of topics or of groups: 21 and 201, read a page at a time.
//!
//! Apache's broker cuts its tables where it is asked to, as one answer must fit a frame. Kerolox and older
//! brokers tell all at once.

use anyhow::{Result, bail};
use kerolox_protocol::remoting::admin::{
    GroupPage, GroupPages, GroupTable, TopicPage, TopicPages, TopicTable,
};
use kerolox_protocol::remoting::codes::request;
use serde_json::{Map, Value};

use crate::admin::Admin;

/// Entries of a page at most.
const PAGE: i32 = 2000;
/// How often a table is begun anew that changes while it is read.
const TRIES: usize = 10;

/// Which table.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Topics,
    Groups,
}

/// 21: every topic of a broker.
pub async fn topics(admin: &Admin, address: &str) -> Result<TopicTable> {
    Ok(serde_json::from_value(whole(admin, address, Kind::Topics).await?.into())?)
}

/// 201: every group of a broker.
pub async fn groups(admin: &Admin, address: &str) -> Result<GroupTable> {
    Ok(serde_json::from_value(whole(admin, address, Kind::Groups).await?.into())?)
}

/// A group's settings on a broker as they came: what this release does not know stays in them. 352 would ask
/// for one group alone, but makes it where that is allowed.
pub async fn group(admin: &Admin, address: &str, name: &str) -> Result<Option<Value>> {
    let mut table = whole(admin, address, Kind::Groups).await?;
    let rows = table.get_mut(Kind::Groups.rows()).and_then(Value::as_object_mut);
    Ok(rows.and_then(|rows| rows.remove(name)))
}

impl Kind {
    fn rows(self) -> &'static str {
        match self {
            Kind::Topics => "topicConfigTable",
            Kind::Groups => "subscriptionGroupTable",
        }
    }

    /// Asks for what follows the first entries, and says how many there are in all; brokers that tell all at
    /// once mostly do not.
    async fn page(
        self,
        admin: &Admin,
        address: &str,
        known: i32,
        version: &str,
    ) -> Result<(Map<String, Value>, Option<i32>)> {
        let data_version = version.into();
        let (reply, total) = match self {
            Kind::Topics => {
                let page = TopicPage { topic_seq: known, max_topic_num: PAGE, data_version };
                let code = request::GET_ALL_TOPIC_CONFIG;
                let reply = admin.ask_long(address, code, &page).await?;
                let total = reply.header::<TopicPages>()?.total_topic_num;
                (reply, total)
            }
            Kind::Groups => {
                let page = GroupPage { group_seq: known, max_group_num: PAGE, data_version };
                let code = request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
                let reply = admin.ask(address, code, &page).await?;
                let total = reply.header::<GroupPages>()?.total_group_num;
                (reply, total)
            }
        };
        Ok((reply.json()?, total))
    }
}

fn count(table: &Map<String, Value>, kind: Kind) -> i32 {
    let rows = table.get(kind.rows()).and_then(Value::as_object).map_or(0, Map::len);
    i32::try_from(rows).unwrap_or(i32::MAX)
}

/// A table as of one moment. One that has changed since its first page is begun anew: entries may have moved
/// over the border between two pages.
async fn whole(admin: &Admin, address: &str, kind: Kind) -> Result<Map<String, Value>> {
    for _ in 0..TRIES {
        if let Some(table) = unchanged(admin, address, kind).await? {
            return Ok(table);
        }
    }
    bail!(
        "{address} changes its {} while it tells them, {TRIES} times: try again when less happens there",
        kind.rows()
    )
}

/// A table, or `None` if it changed while it was read.
async fn unchanged(admin: &Admin, address: &str, kind: Kind) -> Result<Option<Map<String, Value>>> {
    let (mut table, total) = kind.page(admin, address, 0, "").await?;
    let version = table.get("dataVersion").cloned().unwrap_or_default();
    let text = version.to_string();
    let total = total.unwrap_or(0);
    while count(&table, kind) < total {
        let known = count(&table, kind);
        let (page, _) = kind.page(admin, address, known, &text).await?;
        if page.get("dataVersion") != Some(&version) {
            return Ok(None);
        }
        for (name, value) in page {
            match (table.get_mut(&name), value) {
                (Some(Value::Object(all)), Value::Object(more)) if name != "dataVersion" => {
                    all.extend(more);
                }
                (_, value) => drop(table.insert(name, value)),
            }
        }
        if count(&table, kind) == known {
            bail!("{address} tells {known} of {total} entries of its {}", kind.rows());
        }
    }
    Ok(Some(table))
}
