//! Apache's JSON files below `config/`: topics, groups, offsets of groups, and how far delayed messages
//! are delivered. Read when a directory is taken over, written when it is handed over.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kerolox_log::disk::{Disk, read_whole, write_new};
use kerolox_protocol::json;
use kerolox_protocol::remoting::admin::{DataVersion, GroupConfig, TopicConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::TABLE_BYTES_MAX;
use crate::state::State;

/// The folder.
pub const DIR: &str = "config";
const TOPICS: &str = "topics.json";
const GROUPS: &str = "subscriptionGroup.json";
const OFFSETS: &str = "consumerOffset.json";
const DELAYS: &str = "delayOffset.json";
/// All files, by their paths in the data directory.
pub const FILES: [&str; 4] = [
    "config/topics.json",
    "config/subscriptionGroup.json",
    "config/consumerOffset.json",
    "config/delayOffset.json",
];

/// What the files say; `None`: there is no such file.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TopicFile {
    topic_config_table: BTreeMap<String, TopicConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupFile {
    subscription_group_table: BTreeMap<String, GroupConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OffsetFile {
    offset_table: BTreeMap<String, BTreeMap<String, i64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DelayFile {
    offset_table: BTreeMap<String, i64>,
}

impl Tables {
    /// Reads the files of a data directory. One that is empty or missing is looked for under its name with
    /// `.bak`, as Apache's broker does.
    ///
    /// # Errors
    /// A file that cannot be read, or is not what it should be: none of it is guessed.
    pub fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<Tables> {
        let dir = data_dir.join(DIR);
        let topics: Option<TopicFile> = file(disk, &dir, TOPICS)?;
        let groups: Option<GroupFile> = file(disk, &dir, GROUPS)?;
        let offsets: Option<OffsetFile> = file(disk, &dir, OFFSETS)?;
        let delays: Option<DelayFile> = file(disk, &dir, DELAYS)?;
        let named =
            |(name, config): (String, TopicConfig)| TopicConfig { topic_name: name, ..config };
        let of_group =
            |(name, config): (String, GroupConfig)| GroupConfig { group_name: name, ..config };
        Ok(Tables {
            topics: topics.map(|file| file.topic_config_table.into_iter().map(named).collect()),
            groups: groups
                .map(|file| file.subscription_group_table.into_iter().map(of_group).collect()),
            offsets: offsets
                .map(|file| file.offset_table.into_iter().flat_map(committed).collect()),
            delays: delays.map(|file| {
                let level = |(level, offset): (String, i64)| Some((level.parse().ok()?, offset));
                file.offset_table.into_iter().filter_map(level).collect()
            }),
        })
    }
}

/// One entry of the table of offsets: `topic@group`, and offsets by queue.
fn committed((key, queues): (String, BTreeMap<String, i64>)) -> Vec<Committed> {
    let Some((topic, group)) = key.split_once('@') else { return Vec::new() };
    let of_queue = |(queue, offset): (&String, &i64)| {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Some(Committed { group, topic, queue: queue.parse().ok()?, offset: *offset })
    };
    queues.iter().filter_map(of_queue).collect()
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
    put(disk, dir.join(TOPICS), &serde_json::to_vec(&topics).map_err(io::Error::other)?)?;
    let groups = state.groups.view();
    let groups = GroupsOut {
        data_version: version,
        forbidden_table: forbidden(disk, &dir),
        subscription_group_table: groups
            .iter()
            .map(|(name, config)| (&**name, &**config))
            .collect(),
    };
    put(disk, dir.join(GROUPS), &serde_json::to_vec(&groups).map_err(io::Error::other)?)?;
    let version = serde_json::to_string(&version).map_err(io::Error::other)?;
    put(disk, dir.join(OFFSETS), offsets(state, &version).as_bytes())?;
    let levels = (1..).zip(&state.delayed).map(|(level, offset)| format!("{level}:{offset}"));
    let levels = levels.collect::<Vec<_>>().join(",");
    let delays = format!(r#"{{"dataVersion":{version},"offsetTable":{{{levels}}}}}"#);
    put(disk, dir.join(DELAYS), delays.as_bytes())
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

/// Which topics groups must not read: only Apache's broker has that, and it stays.
fn forbidden(disk: &dyn Disk, dir: &Path) -> serde_json::Value {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Forbidden {
        #[serde(default)]
        forbidden_table: Option<serde_json::Value>,
    }
    let found: io::Result<Option<Forbidden>> = file(disk, dir, GROUPS);
    let table = found.ok().flatten().and_then(|file| file.forbidden_table);
    table.unwrap_or_else(|| serde_json::json!({}))
}
