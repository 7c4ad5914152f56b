//! A running cluster, looked at from where a client stands; and a folder for data, if one is given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use kerolox_protocol::remoting::admin::perm;
use kerolox_protocol::remoting::codes::{names, request};
use kerolox_protocol::remoting::route::{BrokerData, ClusterInfo, TopicRoute};
use serde::Serialize;
use tokio::net::TcpStream;

use super::Run;
use super::brokers::{Told, behind_by_group, config_of, runtime_info};
use super::topics::all_topics;
use crate::admin::Admin;
use crate::format::now;
use crate::out::Out;

/// A broker's share of its disk from which it will soon refuse sends, and from which it may do so now.
const DISK_WARN: f64 = 0.75;
const DISK_FAIL: f64 = 0.90;
/// From here on a group is far behind, in messages.
const FAR_BEHIND: i64 = 100_000;
/// Clocks may differ by so much, in seconds: a broker tells its time in whole seconds.
const CLOCK_APART: i64 = 5;
/// How long the dial of a port may take.
const DIAL: Duration = Duration::from_secs(3);
/// Fewer open files are too few for a server with many clients.
const OPEN_FILES: u64 = 65_536;
/// Names in a line at most.
const NAMED: usize = 5;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Look at this folder, and at what this process may use, too
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Level {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "warn")]
    Warn,
    #[serde(rename = "FAIL")]
    Fail,
}

impl Level {
    fn text(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        }
    }
}

/// What was looked at, how it is, and what to do.
#[derive(Debug, Serialize)]
struct Check {
    level: Level,
    /// The thing.
    what: String,
    found: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'static str,
}

#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.add(Level::Ok, what, found, "");
    }

    fn add(
        &mut self,
        level: Level,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: &'static str,
    ) {
        let (what, found) = (what.into(), found.into());
        self.0.push(Check { level, what, found, advice });
    }

    /// Ok if it is well, else what it is instead.
    fn expect(
        &mut self,
        is_well: bool,
        else_level: Level,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: &'static str,
    ) {
        match is_well {
            true => self.ok(what, found),
            false => self.add(else_level, what, found, advice),
        }
    }

    fn print(&self, out: &mut Out) {
        for Check { level, what, found, advice } in &self.0 {
            out.line(format!("{:<4} {what}: {found}", level.text()));
            if !advice.is_empty() {
                out.line(format!("     -> {advice}"));
            }
        }
        out.value(&self.0);
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|check| check.level == level).count()
    }
}

impl Run for Doctor {
    async fn run(self, admin: &Admin, out: &mut Out) -> Result<()> {
        let mut checks = Checks::default();
        if let Some(info) = name_servers(admin, &mut checks).await {
            names_of(&info, &mut checks);
            let mut versions = BTreeSet::new();
            // Who does not answer is not asked again: each question would wait its whole time.
            let mut masters_here = Vec::new();
            for data in info.broker_addr_table.values() {
                for (id, address) in &data.broker_addrs {
                    let what = format!("broker {} {id} at {address}", data.broker_name);
                    let answers =
                        broker(admin, &mut checks, &what, *id, address, &mut versions).await;
                    if answers && *id == 0 {
                        masters_here.push(address.as_str());
                    }
                }
            }
            one_version(&versions, &mut checks);
            masters(admin, &info, &mut checks).await;
            groups(admin, &masters_here, &mut checks).await;
        }
        if let Some(dir) = &self.data_dir {
            data_dir(dir, &mut checks);
        }
        checks.print(out);
        let failed = checks.count(Level::Fail);
        if failed > 0 {
            bail!("{failed} of {} checks failed", checks.0.len());
        }
        Ok(())
    }
}

/// Whether each name server answers, and all the same. What the first one knows.
async fn name_servers(admin: &Admin, checks: &mut Checks) -> Option<ClusterInfo> {
    let mut first: Option<(String, ClusterInfo)> = None;
    for server in admin.name_servers() {
        let what = format!("name server {server}");
        let begin = Instant::now();
        let answer = admin.ask(server, names::GET_BROKER_CLUSTER_INFO, &()).await;
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        let info = match answer.and_then(|reply| Ok(reply.json::<ClusterInfo>()?)) {
            Ok(info) => info,
            Err(error) => {
                let advice = "start it, correct its address (-n or NAMESRV_ADDR), or open the way to it (firewall)";
                checks.add(Level::Fail, what, format!("{error:#}"), advice);
                continue;
            }
        };
        checks.ok(&what, format!("answered in {took:.1} ms"));
        let Some((other, known)) = &first else {
            first = Some((server.clone(), info));
            continue;
        };
        checks.expect(
            known.broker_addr_table == info.broker_addr_table,
            Level::Warn,
            what,
            format!("compared with {other}: which brokers it knows"),
            "they know different brokers: give every broker all name servers in namesrvAddr",
        );
    }
    let info = first.map(|(_, info)| info)?;
    if info.broker_addr_table.is_empty() {
        let advice = "start a broker, and give it this name server in namesrvAddr";
        checks.add(Level::Fail, "brokers", "none is registered", advice);
    }
    Some(info)
}

/// Broker names are unique among all clusters of a name server.
fn names_of(info: &ClusterInfo, checks: &mut Checks) {
    let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (cluster, names) in &info.cluster_addr_table {
        for name in names {
            clusters.entry(name).or_default().push(cluster);
        }
    }
    let twice: Vec<String> = clusters
        .iter()
        .filter(|(_, clusters)| clusters.len() > 1)
        .map(|(name, clusters)| format!("{name} in {}", clusters.join(" and ")))
        .collect();
    let found = match twice.is_empty() {
        true => format!("{} of them, each in one cluster", clusters.len()),
        false => few(&twice),
    };
    let advice = "one takes the place of the other: give each broker a brokerName of its own";
    checks.expect(twice.is_empty(), Level::Fail, "broker names", found, advice);
}

/// Some of many names.
fn few(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// One replica: its ports, and what it tells of itself. Whether it answers.
async fn broker(
    admin: &Admin,
    checks: &mut Checks,
    what: &str,
    id: i64,
    address: &str,
    versions: &mut BTreeSet<String>,
) -> bool {
    let asked = now();
    let begin = Instant::now();
    let told = match runtime_info(admin, address).await {
        Ok(told) => Told(told),
        Err(error) => {
            let advice = "clients are sent to this address: set brokerIP1 (in Kerolox, --advertise) to one that they can reach, and open the port";
            checks.add(Level::Fail, what, format!("{error:#}"), advice);
            return false;
        }
    };
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    let version = told.text("brokerVersionDesc");
    checks.ok(what, format!("answered in {took:.1} ms, {version}"));
    versions.insert(version.to_owned());
    loopback(admin, checks, what, address);
    vip(checks, what, address).await;
    clock(checks, what, &told, asked);
    disk(checks, what, &told);
    sends(admin, checks, what, id, address, &told).await;
    true
}

/// A loopback address is nobody's but the machine's own.
fn loopback(admin: &Admin, checks: &mut Checks, what: &str, address: &str) {
    let is_local = |address: &str| {
        ["127.", "localhost", "[::1]"].iter().any(|begin| address.starts_with(begin))
    };
    if is_local(address) && !admin.name_servers().iter().all(|server| is_local(server)) {
        let advice = "other machines cannot reach it: set brokerIP1 (in Kerolox, --advertise)";
        checks.add(Level::Warn, what, "it is registered with a loopback address", advice);
    }
}

/// Old clients dial the port two below, unless they are told not to.
async fn vip(checks: &mut Checks, what: &str, address: &str) {
    let split = address.rsplit_once(':');
    let Some((host, port)) = split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
    else {
        checks.add(Level::Fail, what, "its address is not HOST:PORT", "set brokerIP1 rightly");
        return;
    };
    let Some(port) = port.checked_sub(2) else { return };
    let vip = format!("{host}:{port}");
    let dialled = tokio::time::timeout(DIAL, TcpStream::connect(&vip)).await;
    checks.expect(
        matches!(dialled, Ok(Ok(_))),
        Level::Warn,
        what,
        format!("VIP port {port}"),
        "nobody listens there or the way is closed: clients with vipChannelEnabled=true cannot send",
    );
}

/// The broker's own time in ms, from when it began and for how long it has run. It tells whole seconds.
fn time_of(told: &Told) -> Option<i64> {
    let booted = told.whole("bootTimestamp");
    let mut numbers =
        told.text("runtime").split(|c: char| c.is_ascii_alphabetic()).filter_map(|part| {
            // Java puts the locale's sign between thousands.
            let digits: String = part.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<i64>().ok()
        });
    let mut up: i64 = 0;
    for seconds in [86_400, 3_600, 60, 1] {
        up = up.checked_add(numbers.next()?.checked_mul(seconds)?)?;
    }
    (booted > 0).then(|| booted.checked_add(up.checked_mul(1000)?)).flatten()
}

fn clock(checks: &mut Checks, what: &str, told: &Told, asked: i64) {
    let Some(there) = time_of(told) else {
        checks.ok(what, "its clock cannot be told: it says neither bootTimestamp nor runtime");
        return;
    };
    // It looked at its clock between the question and the answer, and cut off part of a second.
    let answered = now();
    let apart = match there {
        ahead if ahead > answered => ahead - answered,
        late => (late + 999 - asked).min(0),
    };
    let seconds = apart / 1000;
    let found = match seconds {
        0 => "its clock agrees with this machine's".to_owned(),
        _ => format!(
            "its clock is {} s {}",
            seconds.abs(),
            if seconds > 0 { "ahead" } else { "late" }
        ),
    };
    let advice =
        "set the clocks: store times, delays, and how long messages are kept depend on them";
    checks.expect(seconds.abs() <= CLOCK_APART, Level::Warn, what, found, advice);
}

fn disk(checks: &mut Checks, what: &str, told: &Told) {
    let ratio = told.float("commitLogDiskRatio");
    if ratio <= 0.0 {
        checks.ok(what, "its use of the disk cannot be told");
        return;
    }
    let found = format!("its disk is {:.0} % full", ratio * 100.0);
    let advice = "delete what nobody needs, lower fileReservedTime (then deleteExpiredCommitLog), or give it a larger disk: a full one refuses sends";
    let level = if ratio >= DISK_FAIL { Level::Fail } else { Level::Warn };
    checks.expect(ratio < DISK_WARN, level, what, found, advice);
}

/// Whether a master takes messages.
async fn sends(
    admin: &Admin,
    checks: &mut Checks,
    what: &str,
    id: i64,
    address: &str,
    told: &Told,
) {
    if id != 0 {
        return;
    }
    // Brokers of 4.x do not say it.
    if told.text("brokerActive").eq_ignore_ascii_case("false") {
        let advice = "it delivers no delayed messages and checks no transactions: see its log";
        checks.add(Level::Fail, what, "it is not active", advice);
    }
    let from = told.whole("startAcceptSendRequestTimeStamp");
    if from > now() {
        let found = format!("it takes messages only from {} on", crate::format::time(from));
        let advice = "set startAcceptSendRequestTimeStamp to 0, or wait";
        checks.add(Level::Fail, what, found, advice);
    }
    let Ok(config) = config_of(admin, address, request::GET_BROKER_CONFIG).await else {
        checks.ok(
            what,
            "whether it may be written to cannot be told: it does not say its configuration",
        );
        return;
    };
    let bits = config.get("brokerPermission").and_then(|bits| bits.parse::<i32>().ok());
    let bits = bits.unwrap_or(perm::READ | perm::WRITE);
    let found = format!("brokerPermission is {bits}");
    let is_open = bits & perm::WRITE != 0 && bits & perm::READ != 0;
    let advice = "sends or reads are refused: updateBrokerConfig -k brokerPermission -v 6, unless this is meant";
    checks.expect(is_open, Level::Warn, what, found, advice);
}

fn one_version(versions: &BTreeSet<String>, checks: &mut Checks) {
    if versions.len() > 1 {
        let found = few(&versions.iter().cloned().collect::<Vec<_>>());
        checks.add(Level::Warn, "versions", found, "bring all brokers to one version");
    }
}

/// Topics whose every broker is without a master can be read at best.
async fn masters(admin: &Admin, info: &ClusterInfo, checks: &mut Checks) {
    let without: Vec<String> = info
        .broker_addr_table
        .values()
        .filter(|data| !has_master(data))
        .map(|data| data.broker_name.clone())
        .collect();
    if without.is_empty() {
        checks.ok("masters", "every broker has one, so every topic has");
        return;
    }
    let advice = "start the master of each: nothing can be sent to a broker without one";
    checks.add(Level::Warn, "masters", format!("none of {}", few(&without)), advice);
    let (topics, told) = orphans(admin).await;
    if !topics.is_empty() || told.is_ok() {
        let found = match topics.is_empty() {
            true => "each is on a broker with a master".to_owned(),
            false => format!("no master of {}", few(&topics)),
        };
        let advice = "sends to them fail: start the masters";
        checks.expect(topics.is_empty(), Level::Fail, "topics", found, advice);
    }
    if let Err(error) = told {
        let advice = "it cannot be told of all which have no master: see the name server";
        checks.add(Level::Warn, "topics", format!("{error:#}"), advice);
    }
}

fn has_master(data: &BrokerData) -> bool {
    data.broker_addrs.contains_key(&0)
}

/// Topics without a master: those that were found until the name server failed, if it did.
async fn orphans(admin: &Admin) -> (Vec<String>, Result<()>) {
    let mut orphans = Vec::new();
    let find = async {
        for topic in all_topics(admin).await? {
            let is_orphan = |route: TopicRoute| !route.broker_datas.iter().any(has_master);
            if admin.find_route(&topic).await?.is_some_and(is_orphan) {
                orphans.push(topic);
            }
        }
        Ok(())
    };
    let result = find.await;
    (orphans, result)
}

/// How far the groups are on the masters that answer.
async fn groups(admin: &Admin, masters: &[&str], checks: &mut Checks) {
    let mut behind: BTreeMap<String, i64> = BTreeMap::new();
    let mut told = false;
    for address in masters {
        match behind_by_group(admin, address).await {
            Ok(found) => {
                told = true;
                for (group, more) in found {
                    let total = behind.entry(group).or_default();
                    *total = total.saturating_add(more);
                }
            }
            Err(error) => checks.add(
                Level::Warn,
                "groups",
                format!("{error:#}"),
                "it cannot be told how far the groups are: see the broker",
            ),
        }
    }
    // That there are none, nobody said.
    if !told {
        return;
    }
    let far: Vec<String> = behind
        .iter()
        .filter(|(_, messages)| **messages > FAR_BEHIND)
        .map(|(group, messages)| format!("{group} by {messages} messages"))
        .collect();
    let found = match far.is_empty() {
        true => format!("{} of them, none more than {FAR_BEHIND} messages behind", behind.len()),
        false => format!("far behind: {}", few(&far)),
    };
    let advice = "see where with lag -g GROUP: add consumers, or look at what slows them";
    checks.expect(far.is_empty(), Level::Warn, "groups", found, advice);
}

/// A folder for data, and what a server started here may use.
fn data_dir(dir: &Path, checks: &mut Checks) {
    let what = format!("data directory {}", dir.display());
    if dir.is_dir() {
        match probe(dir) {
            Ok(()) => checks.ok(&what, "it is there and can be written to"),
            Err(error) => {
                let advice = "give it to the user that runs the server (chown), or mount it to be written to";
                checks.add(Level::Fail, &what, format!("it cannot be written to: {error}"), advice);
            }
        }
        space(dir, &what, checks);
        newest(dir, &what, checks);
    } else {
        let advice = "create it, or correct --data-dir";
        checks.add(Level::Fail, &what, "it is no directory that can be seen from here", advice);
    }
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let found = open_files.map_or("no limit".to_owned(), |limit| limit.to_string());
    checks.expect(
        open_files.is_none_or(|limit| limit >= OPEN_FILES),
        Level::Warn,
        "open files of this process",
        found,
        "raise it (ulimit -n 65536, or LimitNOFILE of systemd): each client takes one",
    );
}

/// Writes a small file and removes it.
fn probe(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".kerolox-doctor-{}", std::process::id()));
    let written = std::fs::write(&path, b"x");
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

fn space(dir: &Path, what: &str, checks: &mut Checks) {
    let stat = match rustix::fs::statvfs(dir) {
        Ok(stat) => stat,
        Err(error) => {
            let found = format!("its file system does not say its size: {error}");
            checks.add(Level::Warn, what, found, "look at the mount");
            return;
        }
    };
    // As brokers reckon it: what only root may use counts as neither used nor free.
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let free = u128::from(stat.f_bavail) * u128::from(stat.f_frsize);
    let gib = free as f64 / f64::from(1u32 << 30);
    fullness(used, stat.f_bavail, format!("{gib:.1} GiB free"), what, checks);
    // Some file systems have no fixed number of files.
    if stat.f_files > 0 {
        let used = stat.f_files.saturating_sub(stat.f_ffree);
        fullness(used, stat.f_favail, format!("{} more files", stat.f_favail), what, checks);
    }
}

fn fullness(used: u64, free: u64, left: String, what: &str, checks: &mut Checks) {
    let ratio = used as f64 / used.saturating_add(free).max(1) as f64;
    let level = if ratio >= DISK_FAIL { Level::Fail } else { Level::Warn };
    let advice = "make room: a server refuses sends when its disk is nearly full";
    let found = format!("{left}, {:.0} % used", ratio * 100.0);
    checks.expect(ratio < DISK_WARN, level, what, found, advice);
}

/// A clock that was set back shows in files from later than now.
fn newest(dir: &Path, what: &str, checks: &mut Checks) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let changed = entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok());
    let Some(newest) = changed.max() else { return };
    let ahead = newest.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    let found = match ahead {
        0 => "no file is from later than now".to_owned(),
        _ => format!("a file is from {ahead} s later than now"),
    };
    let advice = "this machine's clock was set back: set it before the server starts";
    let is_well = ahead <= CLOCK_APART.unsigned_abs();
    checks.expect(is_well, Level::Warn, what, found, advice);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(boot: &str, runtime: &str) -> Told {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Told([pair("bootTimestamp", boot), pair("runtime", runtime)].into())
    }

    #[test]
    fn a_broker_tells_its_time() {
        let runtime = "[ 1 days, 2 hours, 3 minutes, 4 seconds ]";
        assert_eq!(time_of(&told("1000", runtime)), Some(1000 + 93_784_000));
        let runtime = "[ 1,000 days, 0 hours, 0 minutes, 0 seconds ]";
        assert_eq!(time_of(&told("1000", runtime)), Some(1000 + 86_400_000_000));
        assert_eq!(time_of(&told("0", runtime)), None);
        assert_eq!(time_of(&told("1000", "[ 5 days ]")), None);
        let runtime = "[ 99999999999999999 days, 0 hours, 0 minutes, 0 seconds ]";
        assert_eq!(time_of(&told("1000", runtime)), None);
    }

    #[test]
    fn clocks_apart_are_seen() {
        let level = |apart: i64| {
            let mut checks = Checks::default();
            let boot = (now() + apart).to_string();
            let told = told(&boot, "[ 0 days, 0 hours, 0 minutes, 0 seconds ]");
            clock(&mut checks, "b", &told, now());
            checks.0[0].level
        };
        assert_eq!(level(0), Level::Ok);
        assert_eq!(level(-900), Level::Ok);
        assert_eq!(level(60_000), Level::Warn);
        assert_eq!(level(-60_000), Level::Warn);
    }

    #[test]
    fn a_name_in_two_clusters_and_a_full_disk_fail() {
        let mut checks = Checks::default();
        let mut info = ClusterInfo::default();
        for cluster in ["c1", "c2"] {
            info.cluster_addr_table.insert(cluster.to_owned(), vec!["a".to_owned()]);
        }
        names_of(&info, &mut checks);
        assert_eq!(checks.0[0].found, "a in c1 and c2");
        for ratio in ["0.74", "0.75", "0.9"] {
            let pair = ("commitLogDiskRatio".to_owned(), ratio.to_owned());
            disk(&mut checks, "b", &Told([pair].into()));
        }
        let levels: Vec<_> = checks.0.iter().map(|check| check.level).collect();
        assert_eq!(levels, [Level::Fail, Level::Ok, Level::Warn, Level::Fail]);
    }
}
