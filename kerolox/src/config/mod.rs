//! Flags, environment, file and defaults become [`Options`].
//!
//! The keys are those of Apache's broker.conf and namesrv.conf: see
//! [`kerolox_server::settings::keys`]. They serve `-c`, `--set` and `KEROLOX_...` variables alike; a flag
//! that stands for a key sets it over all of these.

pub(crate) mod environment;
mod file;
mod keys;
mod show;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use kerolox_server::settings::keys::{Effect, Key, find, hint};
use kerolox_server::settings::properties::short;
use kerolox_server::settings::values::Values;
use kerolox_server::settings::{properties, retention};
use kerolox_server::{Advertise, Durability, Options, Ports, Retention, Roles};

use crate::advertise;
use crate::cli::{
    BrokerArgs, BrokerRoleArgs, CommonArgs, NamesArgs, NamesrvRoleArgs, Port, ServerArgs,
};
use crate::exit::Failure;

/// A look at the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each value with where it comes from: of a start with these arguments, or of a running server
    Show(Box<show::ShowArgs>),
    /// Every key there is: what it means, what it takes, or why it has no effect
    Keys(keys::KeysArgs),
}

/// Runs it.
pub(crate) fn run(command: ConfigCommand) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Show(args) => show::run(*args),
        ConfigCommand::Keys(args) => keys::run(&args),
    }
}

/// The arguments of any of the three roles.
pub(crate) struct Given<'a> {
    pub(crate) common: &'a CommonArgs,
    pub(crate) names: Option<&'a NamesArgs>,
    pub(crate) broker: Option<&'a BrokerArgs>,
}

impl<'a> From<&'a BrokerRoleArgs> for Given<'a> {
    fn from(args: &'a BrokerRoleArgs) -> Self {
        Given { common: &args.common, names: None, broker: Some(&args.broker) }
    }
}

impl<'a> From<&'a NamesrvRoleArgs> for Given<'a> {
    fn from(args: &'a NamesrvRoleArgs) -> Self {
        Given { common: &args.common, names: Some(&args.names), broker: None }
    }
}

impl<'a> From<&'a ServerArgs> for Given<'a> {
    fn from(args: &'a ServerArgs) -> Self {
        Given { common: &args.common, names: Some(&args.names), broker: Some(&args.broker) }
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
pub(crate) fn configure(given: &Given<'_>) -> Result<Configured, String> {
    let roles = Roles { names: given.names.is_some(), broker: given.broker.is_some() };
    let mut collected = Collected::new(roles);
    collected.file_and_environment(given.common.config.as_deref())?;
    collected.set(&given.common.set)?;
    let Collected { mut values, mut warnings, ignored, .. } = collected;
    warnings.extend(of_ignored(&ignored));

    let mut flag = |key: &str, flag: &str, text: Option<String>| match (find(key), text) {
        (Some(key), Some(text)) => values.set(key, &text, environment::origin_of(flag)),
        _ => Ok(()),
    };
    let common = given.common;
    flag(
        "storePathRootDir",
        "--data-dir",
        common.data_dir.as_ref().map(|d| d.display().to_string()),
    )?;
    flag("bindAddress", "--listen", common.listen.map(|ip| ip.to_string()))?;
    let port = |port: Option<Port>| port.and_then(|port| port.0);
    let names_port = port(given.names.and_then(|names| names.namesrv_port));
    let broker_port = port(given.broker.and_then(|broker| broker.broker_port));
    match given.broker {
        Some(_) => flag("listenPort", "--broker-port", broker_port.map(|port| port.to_string()))?,
        None => flag("listenPort", "--namesrv-port", names_port.map(|port| port.to_string()))?,
    }
    let listen_port = values.given("listenPort").and_then(|port| port.text.parse().ok());
    let of_broker = |get: fn(&BrokerArgs) -> Option<Port>| port(given.broker.and_then(get));
    let ports = Ports {
        namesrv: match roles.broker {
            true => names_port.unwrap_or(9876),
            false => listen_port.unwrap_or(9876),
        },
        broker: listen_port.unwrap_or(10911),
        grpc: of_broker(|broker| broker.grpc_port).unwrap_or(8081),
        proxy: of_broker(|broker| broker.proxy_port).unwrap_or(8080),
        http: port(common.http_port).unwrap_or(8088),
    };
    let advertised = given.broker.map_or(&[][..], |broker| &broker.advertise);
    let advertise = advertise::parse(advertised, values.given("brokerIP1"))?;
    let strict = values.flag("kerolox.strict");
    let is_named = values.given("brokerName").is_some();
    let options = Options::new(roles, ports, advertise, values)?;
    if let Durability::Async { interval_ms } = options.durability {
        warnings.push(format!(
            "flushDiskType=ASYNC_FLUSH: an acknowledged message survives the process, but a power cut may take the last {interval_ms} ms"
        ));
    }
    if roles.broker && options.values.text("brokerRole") == "SYNC_MASTER" {
        warnings.push(
            "brokerRole=SYNC_MASTER: nothing is copied to other machines, replication comes with a later release"
                .to_owned(),
        );
    }
    let added = options.added_sync.as_millis();
    if added > 0 {
        warnings.push(format!(
            "kerolox.disk.addedSyncMillis={added}: every sync of the disk takes {added} ms longer, for a trial"
        ));
    }
    if roles.broker && !roles.names && options.name_servers.is_empty() {
        warnings.push(
            "no name server is told of this broker, so clients will not find it: set namesrvAddr"
                .to_owned(),
        );
    }
    if roles.broker && !is_named && !options.name_servers.is_empty() {
        warnings.push(format!(
            "namesrvAddr is set, and this broker has the name that each has by default, {}: two of one name take each other's place in routes, so give each a brokerName of its own",
            options.values.text("brokerName")
        ));
    }
    Ok(Configured { options, strict, warnings })
}

/// What a server with these arguments would delete, and where.
pub(crate) fn configure_retention(
    dir: Option<&Path>,
    config: Option<&Path>,
    set: &[String],
) -> Result<(std::path::PathBuf, Retention), String> {
    // What has no effect is for the server to say.
    let mut collected = Collected::new(Roles { names: true, broker: true });
    collected.file_and_environment(config)?;
    collected.set(set)?;
    let values = collected.values;
    let dir = dir.map_or_else(|| values.text("storePathRootDir").into(), Path::to_owned);
    Ok((dir, retention(&values)))
}

/// Values from everywhere but the flags, the later over the earlier.
struct Collected {
    roles: Roles,
    values: Values,
    warnings: Vec<String>,
    /// Keys without an effect, by where they stand and why.
    ignored: BTreeMap<(String, &'static str), Vec<&'static str>>,
}

impl Collected {
    fn new(roles: Roles) -> Self {
        Collected {
            roles,
            values: Values::default(),
            warnings: Vec::new(),
            ignored: BTreeMap::new(),
        }
    }

    /// `place`: the file, or what else holds it; `origin`: with its line.
    fn take(
        &mut self,
        key: &'static Key,
        text: &str,
        place: &str,
        origin: String,
    ) -> Result<(), String> {
        let why = match key.effect {
            Effect::Live | Effect::Start if key.matters(self.roles) => {
                return self.values.set(key, text, origin);
            }
            Effect::Live | Effect::Start if self.roles.broker => {
                "no name server runs in this process"
            }
            Effect::Live | Effect::Start => "no broker runs in this process",
            Effect::Only => {
                return key.check(text.trim()).map_err(|want| {
                    format!("{origin}: {}={}, but only {want}", key.name, short(text))
                });
            }
            Effect::None | Effect::Later => key.reason,
        };
        self.ignored.entry((place.to_owned(), why)).or_default().push(key.name);
        Ok(())
    }

    fn file_and_environment(&mut self, file: Option<&Path>) -> Result<(), String> {
        if let Some(path) = file {
            let shown = path.display().to_string();
            let text = file::read(path)?;
            let pairs = properties::parse(&text).map_err(|why| format!("{shown}: {why}"))?;
            for (name, (line, value)) in pairs {
                let origin = format!("{shown}:{line}");
                match find(&name) {
                    Some(key) => self.take(key, &value, &shown, origin)?,
                    None => self.warnings.push(format!(
                        "{origin}: {} is not a key{}",
                        short(&name),
                        hint(&name)
                    )),
                }
            }
        }
        for (variable, key, value) in environment::keys()? {
            self.take(key, &value, &variable, variable.clone())?;
        }
        Ok(())
    }

    fn set(&mut self, pairs: &[String]) -> Result<(), String> {
        for pair in pairs {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("--set {}: KEY=VALUE was expected", short(pair)));
            };
            let Some(key) = find(name) else {
                let (pair, short_name) = (short(pair), short(name));
                return Err(format!("--set {pair}: {short_name} is not a key{}", hint(name)));
            };
            self.take(key, value, "--set", "--set".to_owned())?;
        }
        Ok(())
    }
}

/// One line for each place and reason.
fn of_ignored(
    ignored: &BTreeMap<(String, &'static str), Vec<&'static str>>,
) -> impl Iterator<Item = String> {
    ignored.iter().map(|((place, why), names)| {
        let have = if names.len() == 1 { "has" } else { "have" };
        format!("{place}: {} {have} no effect: {why}", names.join(", "))
    })
}

/// The settings of a stopped server whose directory is handed over: those of a file, if one is given, and of `--set`.
pub(crate) fn configure_hand_over(
    dir: Option<&Path>,
    config: Option<&Path>,
    set: &[String],
) -> Result<Options, String> {
    let roles = Roles { names: true, broker: true };
    // What has no effect is for the server to say.
    let mut collected = Collected::new(roles);
    collected.file_and_environment(config)?;
    collected.set(set)?;
    let mut values = collected.values;
    if let (Some(dir), Some(key)) = (dir, find("storePathRootDir")) {
        values.set(key, &dir.display().to_string(), "DIR".to_owned())?;
    }
    Options::new(roles, Ports::default(), Advertise::default(), values)
}
