//! Flags, environment, file and defaults become [`Options`].
//!
//! The keys are those of Apache's broker.conf. One table names all that are honoured; it serves
//! `-c`, `--set` and `KEROLOX_...` variables alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kerolox_engine::Config;
use kerolox_server::{Durability, Options, Ports, Retention};

use crate::cli::ServerArgs;
use crate::{advertise, properties};

/// Every honoured key.
const KEYS: [&str; 33] = [
    "accessMessageInMemoryMaxRatio",
    "autoCreateSubscriptionGroup",
    "autoCreateTopicEnable",
    "bindAddress",
    "brokerClusterName",
    "brokerIP1",
    "brokerId",
    "brokerName",
    "brokerPermission",
    "brokerRole",
    "defaultTopicQueueNums",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "diskSpaceCleanForciblyRatio",
    "diskSpaceWarningLevelRatio",
    "fileReservedTime",
    "flushDiskType",
    "flushIntervalCommitLog",
    "kerolox.disk.addedSyncMillis",
    "kerolox.retention.bytes",
    "listenPort",
    "longPollingEnable",
    "mappedFileSizeCommitLog",
    "maxMessageSize",
    "messageDelayLevel",
    "orderMessageEnable",
    "regionId",
    "shortPollingTimeMills",
    "storePathRootDir",
    "traceOn",
    "useServerSideResetOffset",
    "kerolox.shards",
    "kerolox.strict",
];

/// Values by key, each with where it came from.
struct Values(BTreeMap<String, (String, String)>);

impl Values {
    /// A value as text.
    fn text(&self, key: &str) -> Option<&str> {
        debug_assert!(KEYS.contains(&key), "{key} is not in the table");
        self.0.get(key).map(|(value, _)| value.as_str())
    }

    fn wrong(&self, key: &str, want: &str) -> String {
        let (value, from) = &self.0[key];
        format!("{from}: {key}={value} is not {want}")
    }

    fn number(
        &self,
        key: &str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, String> {
        let Some(text) = self.text(key) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            self.wrong(key, &format!("a whole number from {} to {}", range.start(), range.end()))
        })
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.text(key) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }
}

/// What the server is told, and what the user should know of it.
pub(crate) struct Configured {
    pub(crate) options: Options,
    /// The process ends as soon as the log fails.
    pub(crate) strict: bool,
    pub(crate) warnings: Vec<String>,
}

/// Puts everything together.
pub(crate) fn configure(args: &ServerArgs) -> Result<Configured, String> {
    let mut warnings = Vec::new();
    let values = collect(args.config.as_deref(), &args.set, &mut warnings)?;
    let listen = match (args.listen, values.text("bindAddress")) {
        (Some(ip), _) => ip,
        (None, Some(text)) => {
            text.parse().map_err(|_| values.wrong("bindAddress", "an IP address"))?
        }
        (None, None) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let data_dir = data_dir(args.data_dir.as_deref(), &values);
    match values.text("brokerRole") {
        None | Some("ASYNC_MASTER" | "SYNC_MASTER") => {}
        Some("SLAVE") => {
            return Err("brokerRole=SLAVE: replication comes with a later release".to_owned());
        }
        Some(_) => return Err(values.wrong("brokerRole", "ASYNC_MASTER or SYNC_MASTER")),
    }
    let broker_port = values.number("listenPort", 10911, 1..=65535)? as u16;
    let advertise = advertise::parse(&args.advertise, values.text("brokerIP1"))?;
    let options = Options {
        data_dir,
        listen,
        ports: Ports {
            namesrv: args.namesrv_port.unwrap_or(9876),
            broker: args.broker_port.unwrap_or(broker_port),
            grpc: args.grpc_port.unwrap_or(8081),
            proxy: args.proxy_port.unwrap_or(8080),
            http: args.http_port.unwrap_or(8088),
        },
        advertise,
        durability: durability(&values, &mut warnings)?,
        file_size: file_size(&values)?,
        retention: retention(&values)?,
        added_sync: added_sync(&values, &mut warnings)?,
        engine: engine(&values)?,
        broker_id: values.number("brokerId", 0, 0..=0)? as i64,
        order_message: values.flag("orderMessageEnable", false)?,
        shards: shards(&values)?,
    };
    let largest = options.engine.max_message_size as u64;
    let file = options.file_size.unwrap_or(kerolox_server::FILE_SIZE_DEFAULT);
    if largest + (64 << 10) > file {
        return Err(format!(
            "maxMessageSize={largest} does not fit mappedFileSizeCommitLog={file}: a file must hold a message and 64 KiB more"
        ));
    }
    let strict = values.flag("kerolox.strict", false)?;
    Ok(Configured { options, strict, warnings })
}

/// What a server with these arguments would delete, and where.
pub(crate) fn configure_retention(
    dir: Option<&Path>,
    config: Option<&Path>,
    set: &[String],
) -> Result<(PathBuf, Retention), String> {
    // What has no effect is for the server to say.
    let values = collect(config, set, &mut Vec::new())?;
    Ok((data_dir(dir, &values), retention(&values)?))
}

fn data_dir(given: Option<&Path>, values: &Values) -> PathBuf {
    match (given, values.text("storePathRootDir")) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(dir)) => PathBuf::from(dir),
        (None, None) => PathBuf::from("./kerolox-data"),
    }
}

/// Collects keys from file, environment and `--set`, the later over the earlier.
fn collect(
    config: Option<&Path>,
    set: &[String],
    warnings: &mut Vec<String>,
) -> Result<Values, String> {
    let mut values = BTreeMap::new();
    if let Some(path) = config {
        let shown = path.display().to_string();
        let text = std::fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
        let text = String::from_utf8(text)
            .map_err(|_| format!("{shown} is not UTF-8 text; is it a configuration file?"))?;
        let pairs = properties::parse(&text).map_err(|why| format!("{shown}: {why}"))?;
        for (key, value) in pairs {
            if KEYS.contains(&key.as_str()) {
                values.insert(key, (value, shown.clone()));
            } else {
                warnings
                    .push(format!("{shown}: {key} has no effect in this release{}", hint(&key)));
            }
        }
    }
    for (name, value) in std::env::vars() {
        let Some(name) = name.strip_prefix("KEROLOX_") else { continue };
        let plain: String = name.chars().filter(|c| *c != '_').collect();
        let same = |key: &&&str| key.replace('.', "").eq_ignore_ascii_case(&plain);
        if let Some(key) = KEYS.iter().find(same) {
            values.insert((*key).to_owned(), (value, format!("KEROLOX_{name}")));
        }
    }
    for pair in set {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("--set {pair}: KEY=VALUE was expected"));
        };
        if !KEYS.contains(&key) {
            return Err(format!("--set {pair}: {key} is not a key of this release{}", hint(key)));
        }
        values.insert(key.to_owned(), (value.to_owned(), "--set".to_owned()));
    }
    Ok(Values(values))
}

/// The known key that is nearest to an unknown one.
fn hint(key: &str) -> String {
    let nearest = KEYS.iter().min_by_key(|known| distance(known, key));
    match nearest.filter(|known| distance(known, key) <= 3) {
        Some(known) => format!("; is {known} meant?"),
        None => String::new(),
    }
}

/// Edit distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn durability(values: &Values, warnings: &mut Vec<String>) -> Result<Durability, String> {
    let interval_ms = values.number("flushIntervalCommitLog", 500, 1..=3_600_000)?;
    match values.text("flushDiskType") {
        None | Some("SYNC_FLUSH") => Ok(Durability::Sync),
        Some("ASYNC_FLUSH") => {
            warnings.push(format!(
                "flushDiskType=ASYNC_FLUSH: an acknowledged message survives the process, but a power cut may take the last {interval_ms} ms"
            ));
            Ok(Durability::Async { interval_ms })
        }
        Some(_) => Err(values.wrong("flushDiskType", "SYNC_FLUSH or ASYNC_FLUSH")),
    }
}

fn file_size(values: &Values) -> Result<Option<u64>, String> {
    let key = "mappedFileSizeCommitLog";
    let size = values.number(key, 0, 1 << 20..=16 << 30)?;
    if size % 4096 != 0 {
        return Err(values.wrong(key, "a multiple of 4096"));
    }
    Ok((size > 0).then_some(size))
}

fn retention(values: &Values) -> Result<Retention, String> {
    let mut hours = 0;
    for hour in values.text("deleteWhen").unwrap_or("04").split(';') {
        match hour.trim().parse::<u32>() {
            Ok(hour) if hour < 24 => hours |= 1 << hour,
            _ => return Err(values.wrong("deleteWhen", "hours from 00 to 23 with ; between")),
        }
    }
    Ok(Retention {
        age_ms: values.number("fileReservedTime", 72, 1..=1_000_000)? as i64 * 3_600_000,
        bytes: values.number("kerolox.retention.bytes", 0, 0..=u64::MAX)?,
        disk_used_percent: values.number("diskMaxUsedSpaceRatio", 75, 10..=95)?,
        disk_force_percent: values.number("diskSpaceCleanForciblyRatio", 85, 10..=100)?,
        disk_warning_percent: values.number("diskSpaceWarningLevelRatio", 90, 10..=100)?,
        hours,
    })
}

fn added_sync(values: &Values, warnings: &mut Vec<String>) -> Result<Duration, String> {
    let key = "kerolox.disk.addedSyncMillis";
    let ms = values.number(key, 0, 0..=10_000)?;
    if ms > 0 {
        warnings
            .push(format!("{key}={ms}: every sync of the disk takes {ms} ms longer, for a trial"));
    }
    Ok(Duration::from_millis(ms))
}

fn shards(values: &Values) -> Result<usize, String> {
    // The log thread and the kernel want cores, too: see docs/decisions/001.
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    Ok(values.number("kerolox.shards", cores.div_ceil(2).min(64), 1..=64)? as usize)
}

fn engine(values: &Values) -> Result<Config, String> {
    let default = Config::default();
    let ratio = values.number("accessMessageInMemoryMaxRatio", 40, 1..=100)?;
    let memory = rustix::system::sysinfo();
    let total = memory.totalram as u64 * u64::from(memory.mem_unit);
    let name = |key: &str, default: &str| -> Result<bytestring::ByteString, String> {
        let text = values.text(key).unwrap_or(default);
        kerolox_protocol::names::check_topic(text)
            .map_err(|_| values.wrong(key, "a name of letters, digits, %, |, - and _"))?;
        Ok(text.to_owned().into())
    };
    Ok(Config {
        cluster: name("brokerClusterName", &default.cluster)?,
        broker_name: name("brokerName", &default.broker_name)?,
        region: values.text("regionId").unwrap_or(&default.region).to_owned().into(),
        trace_on: values.flag("traceOn", true)?,
        broker_permission: values.number("brokerPermission", 6, 0..=7)? as i32,
        auto_create_topic: values.flag("autoCreateTopicEnable", true)?,
        default_topic_queue_nums: values.number("defaultTopicQueueNums", 8, 1..=1024)? as i32,
        auto_create_group: values.flag("autoCreateSubscriptionGroup", true)?,
        max_message_size: values.number("maxMessageSize", 4 << 20, 1..=15 << 20)? as usize,
        long_polling: values.flag("longPollingEnable", true)?,
        short_polling_ms: values.number("shortPollingTimeMills", 1000, 0..=60_000)? as i64,
        server_side_reset: values.flag("useServerSideResetOffset", true)?,
        delay_levels_ms: delay_levels(values)?,
        hot_bytes: total / 100 * ratio,
        ..default
    })
}

/// `1s 5s 10s 1m 2h 1d`
fn delay_levels(values: &Values) -> Result<Vec<i64>, String> {
    let Some(text) = values.text("messageDelayLevel") else {
        return Ok(kerolox_engine::config::DELAY_LEVELS_MS.to_vec());
    };
    let level = |word: &str| {
        let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let unit = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.parse::<i64>().ok().filter(|n| *n > 0)?.checked_mul(unit)
    };
    let levels: Option<Vec<i64>> = text.split_whitespace().map(level).collect();
    levels.filter(|levels| (1..=64).contains(&levels.len())).ok_or_else(|| {
        values.wrong("messageDelayLevel", "1 to 64 times such as 1s 5m 2h, with blanks between")
    })
}
