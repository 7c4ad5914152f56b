//! The configuration keys of Apache RocketMQ 4.9.8 and 5.5.0, and those of Kerolox alone: what each means
//! here, and which values it takes.
//!
//! `keys.tsv` is the table, one key a line, sorted by name; `reasons.tsv` says why keys have no effect.

use std::net::IpAddr;
use std::sync::LazyLock;

use kerolox_protocol::names::check_topic;

use super::address::Address;
use crate::options::Roles;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It takes effect at once when it is changed (25, 318).
    Live,
    /// It takes effect at a start.
    Start,
    /// No other value than the default is taken: going on without it would break a promise.
    Only,
    /// It has no effect here.
    None,
    /// It has none yet.
    Later,
}

impl Effect {
    fn read(text: &str) -> Option<Effect> {
        Some(match text {
            "live" => Effect::Live,
            "start" => Effect::Start,
            "only" => Effect::Only,
            "none" => Effect::None,
            "later" => Effect::Later,
            _ => return None,
        })
    }

    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Live => "live",
            Effect::Start => "start",
            Effect::Only => "only",
            Effect::None => "none",
            Effect::Later => "later",
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    /// The classes of Apache's that have it, a letter each: B BrokerConfig, S MessageStoreConfig, N
    /// NettyServerConfig, C NettyClientConfig, R NamesrvConfig, A AuthConfig. Empty: Kerolox's own.
    pub classes: &'static str,
    /// The digits of the major versions that have it.
    pub versions: &'static str,
    /// Apache's default.
    pub apache_default: &'static str,
    /// The default here, of a key that has an effect; empty: not set.
    pub default: &'static str,
    pub unit: &'static str,
    pub effect: Effect,
    /// Which values it takes: `1..10`, words with blanks between, or the name of a kind of text.
    allowed: &'static str,
    /// Why it has no effect, or not every value of Apache's.
    pub reason: &'static str,
    pub meaning: &'static str,
}

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let reasons: Vec<(&str, &str)> =
        include_str!("reasons.tsv").lines().filter_map(|line| line.split_once('\t')).collect();
    let key = |line: &'static str| {
        let mut fields = line.split('\t');
        let mut field = || fields.next().unwrap_or_default();
        Key {
            name: field(),
            classes: field(),
            versions: field(),
            apache_default: field(),
            default: field(),
            unit: field(),
            effect: Effect::read(field()).unwrap_or(Effect::None),
            allowed: field(),
            reason: match field() {
                "" => "",
                id => reasons.iter().find(|(name, _)| *name == id).map_or("", |(_, text)| text),
            },
            meaning: field(),
        }
    };
    include_str!("keys.tsv").lines().filter(|line| !line.starts_with('#')).map(key).collect()
});

/// Bytes of a text: far more than a name needs, and little of the 32 KiB of a message's properties.
const TEXT_MAX: usize = 255;
/// Bytes of a name that is compared with all keys.
const HINT_MAX: usize = 64;

/// Keys of the store that are not about the log itself, but about what is sent to it.
const OF_MESSAGES: [&str; 3] =
    ["accessMessageInMemoryMaxRatio", "maxMessageSize", "messageDelayLevel"];

/// Every key, by name.
pub fn all() -> &'static [Key] {
    &KEYS
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// `; is X meant?`, if a known key is near to an unknown one.
pub fn hint(name: &str) -> String {
    if name.len() > HINT_MAX {
        return String::new();
    }
    let name = name.to_lowercase();
    let near =
        |key: &'static Key| (strsim::damerau_levenshtein(&key.name.to_lowercase(), &name), key);
    // Of two that are as near, the one that does something.
    let nearest = KEYS.iter().map(near).min_by_key(|(far, key)| (*far, !key.has_effect()));
    // Three other letters make any short word of any other.
    match nearest.filter(|(far, _)| *far <= 3.min(name.len() / 3)) {
        Some((_, key)) => format!("; is {} meant?", key.name),
        None => String::new(),
    }
}

impl Key {
    /// Whether its value matters here.
    pub fn has_effect(&self) -> bool {
        matches!(self.effect, Effect::Live | Effect::Start)
    }

    /// Whether one of the classes (letters) has it.
    pub fn is_of(&self, classes: &str) -> bool {
        self.classes.contains(|class| classes.contains(class))
    }

    /// Whether a process with these roles heeds it. Both keep a log.
    pub fn matters(&self, roles: Roles) -> bool {
        let classes = match (roles.broker, roles.names) {
            (true, true) => return true,
            (true, false) => "BSNC",
            (false, _) if OF_MESSAGES.contains(&self.name) => return false,
            (false, _) => "RNS",
        };
        self.classes.is_empty() || self.is_of(classes)
    }

    /// Which values it takes, in words.
    pub fn takes(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
        match self.allowed {
            "ip" => "an IP address".to_owned(),
            "host" => "a host name or an IP address".to_owned(),
            "name" => "a name of letters, digits, %, |, - and _".to_owned(),
            "text" => format!("a text of {TEXT_MAX} bytes or less without control characters"),
            "path" => "a path".to_owned(),
            "addresses" => "HOST:PORT, more of them with ; between".to_owned(),
            "hours" => "hours from 00 to 23 with ; between".to_owned(),
            "levels" => "1 to 64 times such as 1s 5m 2h, with blanks between".to_owned(),
            "pages" => {
                "a multiple of 4096 from 1048576 to 17179869184 (bytes: 1 MiB to 16 GiB)".to_owned()
            }
            range if range.contains("..") => {
                let (low, high) = range.split_once("..").unwrap_or_default();
                match low == high {
                    true => low.to_owned(),
                    false => format!("a whole number from {low} to {high}{unit}"),
                }
            }
            words => words.replace(' ', " or "),
        }
    }

    /// Says what was wanted if it does not take a value.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let takes = match self.allowed {
            // Without an effect here.
            "" => true,
            // It stands in properties of messages, whose ends are control characters.
            "text" => text.len() <= TEXT_MAX && !text.contains(char::is_control),
            "ip" => text.parse::<IpAddr>().is_ok(),
            "host" => Address::parse(text).is_some_and(|address| address.port.is_none()),
            "path" => !text.is_empty(),
            "name" => check_topic(text).is_ok(),
            "addresses" => super::addresses(text).is_some(),
            "hours" => super::hours(text).is_some(),
            "levels" => super::delay_levels(text).is_some(),
            "pages" => text
                .parse()
                .is_ok_and(|n: u64| n.is_multiple_of(4096) && (1 << 20..=16 << 30).contains(&n)),
            range if range.contains("..") => {
                let (low, high) = range.split_once("..").unwrap_or_default();
                let (low, high) = (low.parse::<u64>(), high.parse::<u64>());
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let within = |n| low.is_ok_and(|low| low <= n) && high.is_ok_and(|high| n <= high);
                digits && text.parse().is_ok_and(within)
            }
            "true false" | "false" => self.allowed.split(' ').any(|w| w.eq_ignore_ascii_case(text)),
            words => words.split(' ').any(|word| word == text),
        };
        match (takes, self.reason) {
            (true, _) => Ok(()),
            (false, "") => Err(self.takes()),
            (false, reason) => Err(format!("{}: {reason}", self.takes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let mut last = String::new();
        for line in include_str!("keys.tsv").lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 10, "{line}");
            let effect = Effect::read(fields[6]);
            assert_eq!(effect.map(Effect::name), Some(fields[6]), "{line}");
            let reasoned = matches!(effect, Some(Effect::Only | Effect::None | Effect::Later));
            assert!(!reasoned || !fields[8].is_empty(), "{line}");
            let name = fields[0].to_lowercase();
            assert!(last < name || find(fields[0]).is_some(), "{line} is out of order");
            last = name;
        }
        for key in all() {
            assert!(!key.meaning.is_empty(), "{}", key.name);
            let named = include_str!("keys.tsv").contains(&format!("{}\t", key.name));
            assert!(
                named && (key.effect != Effect::None || !key.reason.is_empty()),
                "{}",
                key.name
            );
            // What needs the name server's port, or the number of cores.
            if key.has_effect() && !matches!(key.name, "listenPort" | "kerolox.shards") {
                assert!(key.default.is_empty() || key.check(key.default).is_ok(), "{}", key.name);
            }
        }
        for line in include_str!("reasons.tsv").lines() {
            let (id, text) = line.split_once('\t').unwrap();
            assert!(all().iter().any(|key| key.reason == text), "{id} is not used");
        }
    }

    #[test]
    fn values_are_checked_by_kind() {
        let check = |key: &str, text: &str| find(key).unwrap().check(text);
        for (key, good, bad) in [
            ("maxMessageSize", "1", "0"),
            ("kerolox.retention.bytes", "18446744073709551615", "18446744073709551616"),
            ("traceOn", "TRUE", "yes"),
            ("flushDiskType", "SYNC_FLUSH", "sync_flush"),
            ("bindAddress", "::1", "localhost"),
            ("brokerName", "a-b", "a b"),
            ("maxMessageSize", "65536", "+65536"),
            ("brokerIP1", "fe80::1", "10.0.0.1:80"),
            ("regionId", "cn-hangzhou é", "a\u{1}b"),
            ("deleteWhen", "04;23", "24"),
            ("messageDelayLevel", "1s 5m", "1s 5x"),
            ("namesrvAddr", "a:9876;b:9876", "a:9876;b"),
            ("mappedFileSizeCommitLog", "1048576", "1048577"),
            ("aclEnable", "false", "true"),
            ("brokerId", "0", "1"),
        ] {
            assert_eq!(check(key, good), Ok(()), "{key}={good}");
            assert!(check(key, bad).is_err(), "{key}={bad}");
        }
        assert!(check("brokerRole", "SLAVE").unwrap_err().contains("replication comes with"));
        assert!(check("maxMessageSize", "4MB").unwrap_err().ends_with("15728640 (bytes)"));
    }

    #[test]
    fn a_slip_is_named() {
        assert_eq!(hint("maxMesageSize"), "; is maxMessageSize meant?");
        assert_eq!(hint("flushDisktype"), "; is flushDiskType meant?");
        assert_eq!(hint("nothingLikeAnyKey"), "");
    }
}
