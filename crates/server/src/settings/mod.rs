//! The configuration while the server runs: what was configured at the start, what was changed since (25,
//! 318), and who is told of it (26, 319).
//!
//! A change is kept in the log, with the value that was configured then. At a start it holds as long as
//! the configuration still says that; if that was edited, what was edited is the newer will.
//!
//! - [`keys`]: every key there is.
//! - [`address`]: what clients are told to dial.
//! - [`values`]: values with their origins.
//! - [`properties`]: the form of files and bodies.

pub mod address;
pub mod keys;
pub mod properties;
pub mod values;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kerolox_engine::Config;
use kerolox_engine::state::Setting;
use kerolox_log::retention::{Retention, SPACE_NEVER};
use kerolox_protocol::remoting::admin::DataVersion;
use kerolox_protocol::remoting::codes::response;
use kerolox_protocol::remoting::reply::Reply;

use self::keys::{Effect, Key};
use self::properties::short;
use self::values::Values;
use crate::options::Roles;

/// Classes of Apache's broker, and of its name server.
const BROKER_CLASSES: &str = "BSNC";
const NAMES_CLASSES: &str = "RN";
/// Bytes of a value that is changed while the server runs.
const VALUE_MAX: usize = 4 << 10;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Settings {
    roles: Roles,
    /// Of the name server, which has the key `listenPort`, too.
    names_port: u16,
    configured: Values,
    changed: BTreeMap<String, Setting>,
    version: DataVersion,
}

/// A refused change.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub i32, pub String);

impl Refused {
    /// As a reply.
    pub fn reply(self) -> Reply {
        Reply::refuse(self.0, self.1)
    }
}

impl Settings {
    /// What was configured, without changes. `now`: ms.
    pub fn new(configured: Values, roles: Roles, names_port: u16, now: i64) -> Settings {
        let version = DataVersion { timestamp: now, ..DataVersion::default() };
        Settings { roles, names_port, configured, changed: BTreeMap::new(), version }
    }

    /// Takes up the changes that the log holds. Those that no longer hold come back, each with the reason.
    pub fn restore(
        &mut self,
        changed: &BTreeMap<String, Setting>,
        file_size: u64,
    ) -> Vec<(String, String)> {
        let mut dropped = Vec::new();
        let is_here = |name: &str| keys::find(name).is_none_or(|key| key.matters(self.roles));
        // Those of the other role are for another start to judge.
        for (name, change) in changed.iter().filter(|(name, _)| is_here(name)) {
            match self.outdated(name, change) {
                None => drop(self.changed.insert(name.clone(), change.clone())),
                Some(why) => dropped.push((name.clone(), why)),
            }
        }
        if let Err(why) = fits(&self.now(), file_size)
            && self.changed.remove("maxMessageSize").is_some()
        {
            dropped.push(("maxMessageSize".to_owned(), format!("{why}: it is dropped")));
        }
        dropped
    }

    /// Why a change that the log holds does not hold any longer, if so.
    fn outdated(&self, name: &str, change: &Setting) -> Option<String> {
        let Setting { value, over } = change;
        let Some(key) = keys::find(name).filter(|key| key.effect == Effect::Live) else {
            return Some(format!(
                "{name}={value} was set while the server ran; this release takes {name} at a start only, or not at all: it is dropped"
            ));
        };
        if let Err(want) = key.check(value) {
            return Some(format!(
                "{name}={value} was set while the server ran, and is not {want}: it is dropped"
            ));
        }
        let configured = self.configured.text(name);
        (configured != over).then(|| format!("{name}={value} was set while the server ran, when {over:?} was configured. The configuration says {configured:?} now: that holds"))
    }

    /// What holds now.
    pub fn now(&self) -> Values {
        let mut values = self.configured.clone();
        for (name, Setting { value, .. }) in &self.changed {
            if let Some(key) = keys::find(name) {
                // Checked when it was changed.
                let _ = values.set(key, value, "changed while the server ran".to_owned());
            }
        }
        values
    }

    /// Checks a change of several keys by 25 or 318 (`names`), and gives each with what is to be kept of it; `None`:
    /// what was configured holds again.
    pub fn check(
        &self,
        body: &[u8],
        names: bool,
    ) -> Result<Vec<(&'static str, Option<Setting>)>, Refused> {
        let wrong = |why: String| Refused(response::SYSTEM_ERROR, why);
        let text = std::str::from_utf8(body)
            .map_err(|_| wrong("string2Properties error: the body is not UTF-8".to_owned()))?;
        let pairs = properties::parse(text)
            .map_err(|why| wrong(format!("string2Properties error: {why}")))?;
        let mut changes = Vec::new();
        for (name, (_, value)) in &pairs {
            let key = changeable(name, self.roles)?;
            // Where both roles are here, each has its request.
            if self.roles.broker && self.roles.names && !is_listed(key, names) {
                let (is_of, command) = match names {
                    true => ("the broker's", "updateBrokerConfig"),
                    false => ("the name server's", "updateNamesrvConfig"),
                };
                return Err(Refused(
                    response::INVALID_PARAMETER,
                    format!("{name} is {is_of} key: use {command}. Nothing was changed"),
                ));
            }
            let value = value.trim();
            let invalid = |want: String| {
                Refused(
                    response::INVALID_PARAMETER,
                    format!("{name}={} is not {want}. Nothing was changed", short(value)),
                )
            };
            if value.len() > VALUE_MAX {
                return Err(invalid(format!("{VALUE_MAX} bytes or less")));
            }
            key.check(value).map_err(invalid)?;
            let over = self.configured.text(name);
            let setting = Setting { value: value.to_owned(), over: over.to_owned() };
            changes.push((key.name, (value != over).then_some(setting)));
        }
        Ok(changes)
    }

    /// Whether the largest message of a checked change fits a log file.
    pub fn fits(
        &self,
        changes: &[(&'static str, Option<Setting>)],
        file_size: u64,
    ) -> Result<(), Refused> {
        if changes.iter().all(|(key, _)| *key != "maxMessageSize") {
            return Ok(());
        }
        let mut changed = self.clone();
        changed.change(changes.to_vec(), 0);
        fits(&changed.now(), file_size).map_err(|why| {
            Refused(response::INVALID_PARAMETER, format!("{why}. Nothing was changed"))
        })
    }

    /// Takes up a checked change. `now`: ms.
    pub fn change(&mut self, changes: Vec<(&'static str, Option<Setting>)>, now: i64) {
        for (name, setting) in changes {
            match setting {
                Some(setting) => drop(self.changed.insert(name.to_owned(), setting)),
                None => drop(self.changed.remove(name)),
            }
        }
        self.version =
            DataVersion { timestamp: now, counter: self.version.counter + 1, ..self.version };
    }

    /// How often it was changed since the start, and when last.
    pub fn version(&self) -> &DataVersion {
        &self.version
    }

    /// The body of the answers to 26 and 319 (`names`): lines sorted by key, as bytes.
    pub fn listing(&self, names: bool) -> String {
        let mut rows = rows(&self.now(), |key| is_listed(key, names));
        rows.sort_by_key(|row| row.key.name);
        let mut text = String::new();
        for Row { key, value, .. } in rows {
            let value = match key.name {
                "listenPort" if names => &self.names_port.to_string(),
                _ => &value,
            };
            let _ = writeln!(text, "{}={value}", key.name);
        }
        text
    }

    /// What holds in this process, with where it comes from, in the order of the keys' table.
    pub fn rows(&self) -> Vec<Row> {
        rows(&self.now(), |key| key.matters(self.roles))
    }
}

/// A value that holds.
#[derive(Debug, Clone)]
pub struct Row {
    pub key: &'static Key,
    pub value: String,
    pub origin: String,
}

/// The values of wanted keys that have an effect and a value.
pub fn rows(values: &Values, wanted: impl Fn(&Key) -> bool) -> Vec<Row> {
    let keys = keys::all().iter().filter(|key| key.has_effect() && wanted(key));
    let rows = keys.map(|key| {
        let origin = values.given(key.name).map_or("default", |value| &value.origin).to_owned();
        Row { key, value: values.text(key.name).to_owned(), origin }
    });
    rows.filter(|row| !row.value.is_empty()).collect()
}

/// Whether 26, or 319 (`names`), tells a key, and 25 or 318 may change it. Kerolox's own are the broker's.
fn is_listed(key: &Key, names: bool) -> bool {
    let classes = if names { NAMES_CLASSES } else { BROKER_CLASSES };
    key.is_of(classes) || (!names && key.classes.is_empty())
}

/// The key, if it may be changed while the server runs.
fn changeable(name: &str, roles: Roles) -> Result<&'static Key, Refused> {
    let unknown = |why: String| Refused(response::INVALID_PARAMETER, why);
    let Some(key) = keys::find(name) else {
        return Err(unknown(format!(
            "{} is not a key of this release{}. Nothing was changed",
            short(name),
            keys::hint(name)
        )));
    };
    match key.effect {
        Effect::Live if key.matters(roles) => Ok(key),
        Effect::Live => Err(unknown(format!(
            "{name} has no effect in this process, which has another role. Nothing was changed"
        ))),
        Effect::Start => Err(Refused(
            response::NO_PERMISSION,
            format!(
                "Can not update config in black list. {name} takes effect at a start: set it in the configuration file, and restart. Nothing was changed"
            ),
        )),
        Effect::Only | Effect::None | Effect::Later => {
            Err(unknown(format!("{name} has no effect here: {}. Nothing was changed", key.reason)))
        }
    }
}

/// What the engine takes of the values; `total` is the machine's memory in bytes.
pub fn fill_engine(config: &mut Config, values: &Values, total: u64) {
    let text = |key| values.text(key).to_owned();
    config.cluster = text("brokerClusterName").into();
    config.broker_name = text("brokerName").into();
    config.region = text("regionId").into();
    config.trace_on = values.flag("traceOn");
    config.trace_topic = values.flag("traceTopicEnable").then(|| text("msgTraceTopicName").into());
    config.broker_permission = values.number("brokerPermission") as i32;
    config.auto_create_topic = values.flag("autoCreateTopicEnable");
    config.default_topic_queue_nums = values.number("defaultTopicQueueNums") as i32;
    config.auto_create_group = values.flag("autoCreateSubscriptionGroup");
    config.max_message_size = values.number("maxMessageSize") as usize;
    config.long_polling = values.flag("longPollingEnable");
    config.short_polling_ms = values.number("shortPollingTimeMills") as i64;
    config.reject_pull_consumers = values.flag("rejectPullConsumerEnable");
    config.notify_groups = values.flag("notifyConsumerIdsChangedEnable");
    config.accept_sends_from = values.number("startAcceptSendRequestTimeStamp") as i64;
    config.client_expiry_ms = values.number("channelExpiredTimeout") as i64;
    config.server_side_reset = values.flag("useServerSideResetOffset");
    config.delay_levels_ms = delay_levels(values.text("messageDelayLevel")).unwrap_or_default();
    config.hot_bytes = total / 100 * values.number("accessMessageInMemoryMaxRatio");
}

/// What the name server takes of the values. `booted_ms`: when the process began to serve.
pub fn names(values: &Values, booted_ms: i64) -> kerolox_namesrv::Options {
    let wait = values.flag("needWaitForService").then(|| values.number("waitSecondsForService"));
    let booted_ms = u64::try_from(booted_ms).unwrap_or(0);
    kerolox_namesrv::Options {
        order_message_enable: values.flag("orderMessageEnable"),
        return_order_topics: values.flag("returnOrderTopicConfigToBroker"),
        list_all_topics: values.flag("enableAllTopicList"),
        list_topics: values.flag("enableTopicList"),
        local_auto_create: values.flag("autoCreateTopicEnable"),
        delete_with_registration: values.flag("deleteTopicWithBrokerRegistration"),
        no_routes_before_ms: wait.map_or(0, |seconds| booted_ms + seconds * 1000),
        ..Default::default()
    }
}

/// When old files go.
pub fn retention(values: &Values) -> Retention {
    let forcibly = values.flag("cleanFileForciblyEnable");
    // What refuses sends makes room as well, unless nothing is to go before its time: it would stay full for days.
    let warning = values.number("diskSpaceWarningLevelRatio");
    Retention {
        age_ms: values.number("fileReservedTime") as i64 * 3_600_000,
        bytes: values.number("kerolox.retention.bytes"),
        disk_used_percent: values.number("diskMaxUsedSpaceRatio"),
        disk_force_percent: match values.number("diskSpaceCleanForciblyRatio") {
            percent @ ..100 if forcibly => percent.min(warning),
            _ => SPACE_NEVER,
        },
        disk_warning_percent: warning,
        hours: hours(values.text("deleteWhen")).unwrap_or_default(),
    }
}

/// Whether the largest message fits a log file.
pub fn fits(values: &Values, file_size: u64) -> Result<(), String> {
    let largest = values.number("maxMessageSize");
    if largest + (64 << 10) > file_size {
        return Err(format!(
            "maxMessageSize={largest} does not fit mappedFileSizeCommitLog={file_size}: a file must hold a message and 64 KiB more"
        ));
    }
    Ok(())
}

/// `04;16`: a bit for each hour.
pub(crate) fn hours(text: &str) -> Option<u32> {
    text.split(';').try_fold(0, |hours, hour| match hour.trim().parse::<u32>() {
        Ok(hour) if hour < 24 => Some(hours | 1 << hour),
        _ => None,
    })
}

/// `1s 5s 10s 1m 2h 1d`, in ms.
pub(crate) fn delay_levels(text: &str) -> Option<Vec<i64>> {
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
    levels.filter(|levels| (1..=64).contains(&levels.len()))
}

/// `host:port;host:port`.
pub(crate) fn addresses(text: &str) -> Option<Vec<String>> {
    let address = |text: &str| {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_host = !host.is_empty() && (bracketed || host.bytes().all(legal));
        (is_host && port.parse::<u16>().is_ok_and(|port| port > 0)).then(|| text.to_owned())
    };
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(address).collect()
}

#[cfg(test)]
mod tests;
