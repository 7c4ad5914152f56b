//! Apache's tables below `config/`: topics, groups, offsets of groups, and how far delayed messages are
//! delivered. Read when a directory is taken over, written when it is handed over.
//!
//! Each is a JSON file. With `storeType=defaultRocksDB` 5.5.0 has the first three in databases instead; a file
//! beside them whose version counts higher goes over what they say, as in that broker. What is written are files
//! alone: without its databases that broker takes them as they are.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kerolox_log::disk::{Disk, read_whole, write_new};
use kerolox_log::rocksdb::Database;
use kerolox_protocol::json;
use kerolox_protocol::remoting::admin::{DataVersion, GroupConfig, TopicConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::TABLE_BYTES_MAX;
use crate::state::State;

const DELAYS: &str = "delayOffset.json";
/// The folder.
pub const DIR: &str = "config";
/// All files, by their paths in the data directory.
pub const FILES: [&str; 4] = [
    "config/topics.json",
    "config/subscriptionGroup.json",
    "config/consumerOffset.json",
    "config/delayOffset.json",
];
/// Databases with tables: the one for all of them (`useSingleRocksDBForAllConfigs`), or one for each.
const DATABASES: [&str; 4] = ["metadata", "topics", "subscriptionGroups", "consumerOffsets"];
/// The database of `configManagerVersion=v2`, which no file goes over.
const DATABASE_V2: &str = "rdb";
/// Where a database has the version of its table.
const VERSION_KEY: &[u8] = b"kvDataVersionKey";
/// Topics that groups must not read, by group: only Apache's broker has that.
const FORBIDDEN: &str = "forbidden";

/// What the tables say; `None`: there is no such table.
#[derive(Debug, Default, PartialEq)]
pub struct Tables {
    pub topics: Option<Vec<TopicConfig>>,
    pub groups: Option<Vec<GroupConfig>>,
    pub offsets: Option<Vec<Committed>>,
    /// Level, and offset in its queue.
    pub delays: Option<Vec<(u8, i64)>>,
}

/// Up to where a group has consumed a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    pub group: String,
    pub topic: String,
    pub queue: i32,
    pub offset: i64,
}

/// A table: how its file looks, and where it is in databases.
trait Table: DeserializeOwned {
    type Row: DeserializeOwned;
    const FILE: &'static str;
    /// Folder, family of the rows, and family of the version.
    const FAMILIES: [(&'static str, &'static str, &'static str); 2];
    fn rows(self) -> (DataVersion, BTreeMap<String, Self::Row>);
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TopicFile {
    #[serde(default)]
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, TopicConfig>,
}

impl Table for TopicFile {
    type Row = TopicConfig;
    const FILE: &'static str = "topics.json";
    const FAMILIES: [(&'static str, &'static str, &'static str); 2] =
        [("metadata", "topic", "topicVersion"), ("topics", "default", "kvDataVersion")];
    fn rows(self) -> (DataVersion, BTreeMap<String, TopicConfig>) {
        (self.data_version, self.topic_config_table)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupFile {
    #[serde(default)]
    data_version: DataVersion,
    subscription_group_table: BTreeMap<String, GroupConfig>,
}

impl Table for GroupFile {
    type Row = GroupConfig;
    const FILE: &'static str = "subscriptionGroup.json";
    const FAMILIES: [(&'static str, &'static str, &'static str); 2] = [
        ("metadata", "subscriptionGroup", "subscriptionGroupVersion"),
        ("subscriptionGroups", "default", "kvDataVersion"),
    ];
    fn rows(self) -> (DataVersion, BTreeMap<String, GroupConfig>) {
        (self.data_version, self.subscription_group_table)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OffsetFile {
    #[serde(default)]
    data_version: DataVersion,
    offset_table: BTreeMap<String, BTreeMap<String, i64>>,
}

/// Offsets by queue; in a database that is a row of its own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OffsetRow {
    offset_table: BTreeMap<String, i64>,
}

impl Table for OffsetFile {
    type Row = OffsetRow;
    const FILE: &'static str = "consumerOffset.json";
    const FAMILIES: [(&'static str, &'static str, &'static str); 2] = [
        ("metadata", "consumerOffset", "consumerOffsetVersion"),
        ("consumerOffsets", "default", "kvDataVersion"),
    ];
    fn rows(self) -> (DataVersion, BTreeMap<String, OffsetRow>) {
        let row = |(key, offset_table)| (key, OffsetRow { offset_table });
        (self.data_version, self.offset_table.into_iter().map(row).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DelayFile {
    offset_table: BTreeMap<String, i64>,
}

impl Tables {
    /// Reads the tables of a data directory. A file that is empty or missing is looked for under its name with
    /// `.bak`, as Apache's broker does.
    ///
    /// # Errors
    /// A file or database that cannot be read, or is not what it should be: none of it is guessed.
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<Tables> {
        let dir = data_dir.join(DIR);
        if Database::open(disk, &dir.join(DATABASE_V2))?.is_some() {
            let why =
                "tables of configManagerVersion=v2 are not read; let Apache's broker write v1";
            return Err(at(&dir.join(DATABASE_V2), io::ErrorKind::Unsupported, why));
        }
        let named =
            |(name, config): (String, TopicConfig)| TopicConfig { topic_name: name, ..config };
        let of_group =
            |(name, config): (String, GroupConfig)| GroupConfig { group_name: name, ..config };
        let topics = table::<TopicFile>(disk, &dir)?;
        let groups = table::<GroupFile>(disk, &dir)?;
        let offsets = table::<OffsetFile>(disk, &dir)?;
        let delays: Option<DelayFile> = file(disk, &dir, DELAYS)?;
        Ok(Tables {
            topics: topics.map(|rows| rows.into_iter().map(named).collect()),
            groups: groups.map(|rows| rows.into_iter().map(of_group).collect()),
            offsets: offsets.map(|rows| rows.into_iter().flat_map(committed).collect()),
            delays: delays.map(|file| {
                let level = |(level, offset): (String, i64)| Some((level.parse().ok()?, offset));
                file.offset_table.into_iter().filter_map(level).collect()
            }),
        })
    }
}

/// A table's rows by name, of databases and file.
fn table<T: Table>(disk: &dyn Disk, dir: &Path) -> io::Result<Option<BTreeMap<String, T::Row>>> {
    let in_file = file::<T>(disk, dir, T::FILE)?.map(T::rows);
    let in_database = database::<T>(disk, dir)?;
    Ok(match (in_database, in_file) {
        (None, in_file) => in_file.map(|(_, rows)| rows),
        (Some((known, mut rows)), Some((version, newer))) if version.counter > known.counter => {
            rows.extend(newer);
            Some(rows)
        }
        (Some((_, rows)), _) => Some(rows),
    })
}

type Versioned<R> = (DataVersion, BTreeMap<String, R>);

fn database<T: Table>(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Versioned<T::Row>>> {
    for (folder, family, version_family) in T::FAMILIES {
        let path = dir.join(folder);
        let Some(database) = Database::open(disk, &path)? else { continue };
        let broken = |what: &str, why: String| {
            at(&path, io::ErrorKind::InvalidData, &format!("{what} of {family}: {why}"))
        };
        let version = database.entries(version_family)?.remove(VERSION_KEY);
        let version = version.map_or(Ok(DataVersion::default()), |bytes| json::from_slice(&bytes));
        let version = version.map_err(|why| broken("the version", why))?;
        let mut rows = BTreeMap::new();
        for (key, value) in database.entries(family)? {
            let name = String::from_utf8(key).map_err(|why| broken("a key", why.to_string()))?;
            let row = json::from_slice(&value).map_err(|why| broken(&name, why))?;
            rows.insert(name, row);
        }
        return Ok(Some((version, rows)));
    }
    Ok(None)
}

/// One entry of the table of offsets: `topic@group`, and offsets by queue.
fn committed((key, row): (String, OffsetRow)) -> Vec<Committed> {
    let Some((topic, group)) = key.split_once('@') else { return Vec::new() };
    let of_queue = |(queue, offset): (&String, &i64)| {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Some(Committed { group, topic, queue: queue.parse().ok()?, offset: *offset })
    };
    row.offset_table.iter().filter_map(of_queue).collect()
}

fn file<T: DeserializeOwned>(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<Option<T>> {
    for name in [name.to_owned(), format!("{name}.bak")] {
        let path = dir.join(&name);
        let bytes = match read_whole(disk, &path, TABLE_BYTES_MAX) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes.map_err(|why| at(&path, why.kind(), &why.to_string()))?,
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let parsed = json::from_slice(&bytes);
        return parsed.map(Some).map_err(|why| at(&path, io::ErrorKind::InvalidData, &why));
    }
    Ok(None)
}

fn at(path: &Path, kind: io::ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {why}", path.display()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicsOut<'a> {
    data_version: DataVersion,
    topic_config_table: BTreeMap<&'a str, &'a TopicConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupsOut<'a> {
    data_version: DataVersion,
    forbidden_table: serde_json::Value,
    subscription_group_table: BTreeMap<&'a str, &'a GroupConfig>,
}

/// Writes the files. `version` is newer than any that Apache's broker wrote.
pub fn write(
    disk: &dyn Disk,
    data_dir: &Path,
    state: &State,
    version: DataVersion,
) -> io::Result<()> {
    let dir = data_dir.join(DIR);
    disk.create_dir(&dir)?;
    disk.sync_dir(data_dir)?;
    let topics = state.topics.view();
    let topics = TopicsOut {
        data_version: version,
        topic_config_table: topics.iter().map(|(name, config)| (&**name, &**config)).collect(),
    };
    put(disk, dir.join(TopicFile::FILE), &serde_json::to_vec(&topics).map_err(io::Error::other)?)?;
    let groups = state.groups.view();
    let groups = GroupsOut {
        data_version: version,
        forbidden_table: forbidden(disk, &dir)?,
        subscription_group_table: groups
            .iter()
            .map(|(name, config)| (&**name, &**config))
            .collect(),
    };
    put(disk, dir.join(GroupFile::FILE), &serde_json::to_vec(&groups).map_err(io::Error::other)?)?;
    let version = serde_json::to_string(&version).map_err(io::Error::other)?;
    put(disk, dir.join(OffsetFile::FILE), offsets(state, &version).as_bytes())?;
    let levels = (1..).zip(&state.delayed).map(|(level, offset)| format!("{level}:{offset}"));
    let levels = levels.collect::<Vec<_>>().join(",");
    let delays = format!(r#"{{"dataVersion":{version},"offsetTable":{{{levels}}}}}"#);
    put(disk, dir.join(DELAYS), delays.as_bytes())?;
    // A copy that is older would be taken for a file that cannot be read; what a database holds would stay.
    for name in FILES {
        super::remove_all(disk, &data_dir.join(format!("{name}.bak")))?;
    }
    DATABASES.iter().try_for_each(|name| super::remove_all(disk, &dir.join(name)))
}

fn put(disk: &dyn Disk, path: PathBuf, bytes: &[u8]) -> io::Result<()> {
    write_new(disk, &path, |file| file.write_at(&[bytes], 0))
}

/// The table of offsets. Its integer keys stand bare, as that broker writes them.
fn offsets(state: &State, version: &str) -> String {
    use std::fmt::Write;
    let mut out = format!(r#"{{"dataVersion":{version},"offsetTable":{{"#);
    let mut last = None;
    for (group, topic, queue, offset) in state.offsets.iter() {
        let separator = match &last {
            Some(last) if *last == (group, topic) => ",",
            Some(_) => "},",
            None => "",
        };
        out.push_str(separator);
        if last != Some((group, topic)) {
            let key = serde_json::Value::String(format!("{topic}@{group}"));
            let _ = write!(out, "{key}:{{");
            last = Some((group, topic));
        }
        let _ = write!(out, "{queue}:{offset}");
    }
    out.push_str(if last.is_some() { "}}}" } else { "}}" });
    out
}

/// Which topics groups must not read: it stays as it was.
fn forbidden(disk: &dyn Disk, dir: &Path) -> io::Result<serde_json::Value> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct InFile {
        #[serde(default)]
        forbidden_table: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let in_file: Option<InFile> = file(disk, dir, GroupFile::FILE)?;
    let mut all = in_file.and_then(|file| file.forbidden_table).unwrap_or_default();
    for (folder, _, _) in GroupFile::FAMILIES {
        let Some(database) = Database::open(disk, &dir.join(folder))? else { continue };
        for (group, topics) in database.entries(FORBIDDEN)? {
            if let (Ok(group), Ok(topics)) = (String::from_utf8(group), json::from_slice(&topics)) {
                all.insert(group, topics);
            }
        }
    }
    Ok(serde_json::Value::Object(all))
}
