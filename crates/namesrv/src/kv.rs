//! The KV table: 100, 101, 102, 219. In: a namespace, a key, a value. Out: what is there; and each
//! change as a [`KvChange`], because the table lives in the log of whoever calls.
//!
//! Clients know one namespace, [`ORDER_TOPIC_CONFIG`]: topic → `broker-a:4;broker-b:4`.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::registration::{KvKey, KvTable, KvValue};
use kerolox_protocol::remoting::reply::{Reply, ReplyFields};

use crate::limits;
use crate::names::{Answer, Names};
use crate::suggest::excerpt;

/// The namespace of ordered topics.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// A change of the KV table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvChange {
    pub namespace: String,
    pub key: String,
    /// None: the entry is gone.
    pub value: Option<String>,
}

/// A namespace; a clone is a snapshot.
type Entries = OrdMap<Arc<str>, Arc<str>>;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Kv {
    /// No namespace is empty.
    namespaces: BTreeMap<Box<str>, Entries>,
    /// See [`cost`].
    size: usize,
}

/// What an entry counts against the limit.
fn cost(namespace: &str, key: &str, value: &str) -> usize {
    limits::KV_ENTRY_COST + namespace.len() + key.len() + value.len()
}

impl Kv {
    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(|value| &**value)
    }

    pub(crate) fn apply(&mut self, change: KvChange) {
        let KvChange { namespace, key, value } = change;
        if let Some(old) = self.get(&namespace, &key) {
            self.size -= cost(&namespace, &key, old);
        }
        match value {
            Some(value) => {
                self.size += cost(&namespace, &key, &value);
                let entries = self.namespaces.entry(namespace.into()).or_default();
                entries.insert(key.into(), value.into());
            }
            None => {
                if let Some(entries) = self.namespaces.get_mut(&*namespace) {
                    entries.remove(key.as_str());
                    if entries.is_empty() {
                        self.namespaces.remove(&*namespace);
                    }
                }
            }
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = KvChange> + '_ {
        self.namespaces.iter().flat_map(|(namespace, entries)| {
            entries.iter().map(|(key, value)| KvChange {
                namespace: namespace.to_string(),
                key: key.to_string(),
                value: Some(value.to_string()),
            })
        })
    }

    /// A namespace's entries as they are now.
    pub(crate) fn snapshot(&self, namespace: &str) -> Option<Entries> {
        self.namespaces.get(namespace).cloned()
    }
}

/// A namespace as a body.
pub(crate) fn table(entries: &Entries) -> KvTable {
    let rows = entries.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    KvTable { table: rows.collect() }
}

impl Names {
    /// 100.
    pub(crate) fn put_kv(&mut self, entry: &KvKey) -> (Answer, Option<KvChange>) {
        let (namespace, key) = (&*entry.namespace, &*entry.key);
        let Some(value) = entry.value.as_deref() else {
            return refused("the value is null; 102 deletes an entry".to_owned());
        };
        if namespace.is_empty() || key.is_empty() {
            return refused("namespace or key is null".to_owned());
        }
        let size = namespace.len() + key.len() + value.len();
        if size > limits::KV_ENTRY_MAX {
            let max = limits::KV_ENTRY_MAX;
            return refused(format!("the entry has {size} bytes, {max} are possible"));
        }
        let old = self.kv.get(namespace, key).map_or(0, |old| cost(namespace, key, old));
        if self.kv.size - old + cost(namespace, key, value) > limits::KV_SIZE_MAX {
            let max = limits::KV_SIZE_MAX;
            return refused(format!("the KV table is full ({max} bytes); delete entries first"));
        }
        self.change(namespace, key, Some(value))
    }

    /// 102: an entry that is not there is deleted all the same: the one who asks again after a
    /// lost reply is told only when the first deletion is in the log.
    pub(crate) fn delete_kv(&mut self, entry: &KvKey) -> (Answer, Option<KvChange>) {
        let too_long = entry.namespace.len() + entry.key.len() > limits::KV_ENTRY_MAX;
        if entry.namespace.is_empty() || entry.key.is_empty() || too_long {
            return (Answer::Now(Reply::ok()), None); // no such entry can exist
        }
        self.change(&entry.namespace, &entry.key, None)
    }

    fn change(
        &mut self,
        namespace: &str,
        key: &str,
        value: Option<&str>,
    ) -> (Answer, Option<KvChange>) {
        let change = KvChange {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        self.kv.apply(change.clone());
        (Answer::Now(Reply::ok()), Some(change))
    }

    /// 101.
    pub(crate) fn get_kv(&self, entry: &KvKey) -> Answer {
        Answer::Now(match self.kv.get(&entry.namespace, &entry.key) {
            Some(value) => Reply::with(ReplyFields::KvValue(KvValue { value: Some(value.into()) })),
            None => Reply::refuse(
                response::QUERY_NOT_FOUND,
                format!(
                    "No config item, Namespace: {} Key: {}",
                    excerpt(&entry.namespace),
                    excerpt(&entry.key)
                ),
            ),
        })
    }

    /// 219.
    pub(crate) fn list_kv(&self, namespace: &str) -> Answer {
        match self.kv.snapshot(namespace) {
            Some(entries) => Answer::later(move || Reply::json(&table(&entries))),
            None => Answer::Now(Reply::refuse(
                response::QUERY_NOT_FOUND,
                format!("No config item, Namespace: {}", excerpt(namespace)),
            )),
        }
    }
}

fn refused(remark: String) -> (Answer, Option<KvChange>) {
    (Answer::Now(Reply::refuse(response::SYSTEM_ERROR, remark)), None)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::Options;
    use crate::testing::Server;

    #[test]
    fn entries_are_put_read_listed_and_deleted() {
        let mut server = Server::new(Options::default());
        let key = [("namespace", "N"), ("key", "k")];
        server.check(101, &key, expect!["22 No config item, Namespace: N Key: k"]);
        server.check(219, &[("namespace", "N")], expect!["22 No config item, Namespace: N"]);
        server.check(100, &[("namespace", "N"), ("key", "k"), ("value", "v")], expect!["0"]);
        server.check(100, &[("namespace", "N"), ("key", "l"), ("value", "")], expect!["0"]);
        server.check(
            101,
            &key,
            expect![[r#"
            0
            value=v"#]],
        );
        server.check(
            219,
            &[("namespace", "N")],
            expect![[r#"
            0
            {"table":{"k":"v","l":""}}"#]],
        );
        server.check(102, &key, expect!["0"]);
        server.check(102, &key, expect!["0"]);
        server.check(102, &[("namespace", "N"), ("key", "l")], expect!["0"]);
        server.check(219, &[("namespace", "N")], expect!["22 No config item, Namespace: N"]);
        assert_eq!(server.names.kv.size, 0);
    }

    #[test]
    fn the_changes_alone_make_the_table_again() {
        let mut server = Server::new(Options::default());
        for (code, key, value) in
            [(100, "k", "1"), (100, "l", "1"), (102, "k", ""), (100, "l", "2")]
        {
            server.ask(code, &[("namespace", "N"), ("key", key), ("value", value)], b"");
        }
        let mut replayed = Names::new(Options::default());
        server.changes.into_iter().for_each(|change| replayed.restore_kv(change));
        let entries: Vec<_> = server.names.kv_entries().collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(replayed.kv_entries().collect::<Vec<_>>(), entries);
        assert_eq!(replayed.kv.size, server.names.kv.size);
    }

    #[test]
    fn what_is_no_entry_is_refused_and_changes_nothing() {
        let mut server = Server::new(Options::default());
        server.check(
            100,
            &[("namespace", "N"), ("value", "v")],
            expect!["1 namespace or key is null"],
        );
        server.check(
            100,
            &[("namespace", "N"), ("key", "k")],
            expect!["1 the value is null; 102 deletes an entry"],
        );
        server.check(102, &[("namespace", "N")], expect!["0"]);
        let entries = limits::KV_SIZE_MAX / limits::KV_ENTRY_MAX - 1;
        let big = "v".repeat(limits::KV_ENTRY_MAX - 4);
        let keys: Vec<String> = (0..entries).map(|i| format!("{i:03}")).collect();
        let put = |key| [("namespace", "N"), ("key", key), ("value", big.as_str())];
        server.check(100, &put("four"), expect!["1 the entry has 32769 bytes, 32768 are possible"]);
        for key in &keys {
            server.check(100, &put(key), expect!["0"]);
            server.check(100, &put(key), expect!["0"]);
        }
        server.check(
            100,
            &put("l"),
            expect!["1 the KV table is full (2097152 bytes); delete entries first"],
        );
        assert_eq!(server.changes.len(), 2 * entries);
    }
}
