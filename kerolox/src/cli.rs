//! The command line.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::config::environment::origin_of;
use crate::exit::Failure;
use crate::log::written;

/// A message broker that speaks RocketMQ.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run name server and broker in one process
    Server(ServerArgs),
    /// Run a broker alone, for the name servers of namesrvAddr
    Broker(BrokerRoleArgs),
    /// Run a name server alone
    Namesrv(NamesrvRoleArgs),
    /// Ask and change a cluster, with mqadmin's commands
    Admin(kerolox_admin::AdminArgs),
    /// Write the completions of a shell to standard output
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Look at the configuration, of a start or of a running server
    #[command(subcommand)]
    Config(crate::config::ConfigCommand),
    /// See in a minute what a message queue is for: an order system in three acts
    Demo(kerolox_demo::DemoArgs),
    /// Load a broker (any that speaks RocketMQ) and measure it
    #[command(subcommand)]
    Bench(kerolox_bench::BenchCommand),
    /// Look at the log of a stopped server, or make its index anew
    #[command(subcommand)]
    Log(crate::log::LogCommand),
}

/// The arguments of this process, or its exit code. mqadmin does not look at the case of a command's name.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|command| command == "admin")
        && let Some(at) = kerolox_admin::arguments::command_at(&arguments[2..])
        && let Some(text) = arguments[2 + at].to_str()
    {
        match kerolox_admin::arguments::canonical(text) {
            Ok(name) => arguments[2 + at] = name.into(),
            Err(why) => {
                return Err(say(&Cli::command().error(ErrorKind::InvalidSubcommand, why)));
            }
        }
    }
    Cli::try_parse_from(arguments).map_err(|mut error| {
        name_variable(&mut error);
        say(&error)
    })
}

/// Says what is wrong with the arguments, or the help that they ask for.
fn say(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(e) if !error.use_stderr() && e.kind() != std::io::ErrorKind::BrokenPipe => {
            Failure::other(e).report()
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

/// A wrong value of a flag that nobody gave is that of its variable.
fn name_variable(error: &mut clap::Error) {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return };
    // With the name of its value behind.
    let flag = argument.split(' ').next().unwrap_or_default();
    let origin = ContextValue::String(match origin_of(flag) {
        origin if origin == flag => argument.clone(),
        variable => variable,
    });
    error.insert(ContextKind::InvalidArg, origin);
}

/// A data directory. Its path is a value of the configuration, and those are text.
pub(crate) fn data_dir() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.to_str() {
        Some(_) => Ok(path),
        None => Err("the path of a data directory must be UTF-8 text"),
    })
}

/// Writes the completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "kerolox", &mut text);
    let mut out = std::io::stdout().lock();
    written(out.write_all(&text).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// `kerolox server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

/// `kerolox broker`.
#[derive(Debug, Args)]
pub(crate) struct BrokerRoleArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

/// `kerolox namesrv`.
#[derive(Debug, Args)]
pub(crate) struct NamesrvRoleArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) names: NamesArgs,
}

/// A flag comes before its environment variable, that before the file, that before the default.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Configuration file with the keys of Apache RocketMQ's broker.conf
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "KEROLOX_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where messages are kept [default: ./kerolox-data]
    #[arg(long, value_name = "DIR", env = "KEROLOX_DATA_DIR", value_parser = data_dir())]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP", env = "KEROLOX_LISTEN")]
    pub(crate) listen: Option<IpAddr>,
    /// Set a configuration key
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "KEROLOX_LOG_LEVEL")]
    pub(crate) log_level: tracing::Level,
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "KEROLOX_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Port for health, metrics and version [default: 8088]
    #[arg(long, value_name = "PORT", env = "KEROLOX_HTTP_PORT")]
    pub(crate) http_port: Option<Port>,
    /// Write the ports to this file, as JSON, once the server is ready
    #[arg(long, value_name = "FILE", env = "KEROLOX_PORTS_FILE")]
    pub(crate) ports_file: Option<PathBuf>,
}

/// Flags of the name server.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// Port of the name server; 0 for any free one [default: 9876]
    #[arg(long, value_name = "PORT", env = "KEROLOX_NAMESRV_PORT")]
    pub(crate) namesrv_port: Option<Port>,
}

/// Flags of the broker.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// What clients are told to dial; LISTENER is namesrv, broker, vip, proxy, grpc or ha
    #[arg(
        long,
        value_name = "[LISTENER=]HOST[:PORT]",
        env = "KEROLOX_ADVERTISE",
        value_delimiter = ','
    )]
    pub(crate) advertise: Vec<String>,
    /// Port of the broker; its VIP port is two below [default: 10911]
    #[arg(long, value_name = "PORT", env = "KEROLOX_BROKER_PORT")]
    pub(crate) broker_port: Option<Port>,
    /// Port for gRPC clients; remoting clients are served there until gRPC is [default: 8081]
    #[arg(long, value_name = "PORT", env = "KEROLOX_GRPC_PORT")]
    pub(crate) grpc_port: Option<Port>,
    /// Port of the proxy, where remoting clients are served, too [default: 8080]
    #[arg(long, value_name = "PORT", env = "KEROLOX_PROXY_PORT")]
    pub(crate) proxy_port: Option<Port>,
}

/// A port; none in what Kubernetes puts into `KEROLOX_BROKER_PORT` for a service of the name
/// `kerolox-broker`: `tcp://10.0.0.1:10911`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) Option<u16>);

impl std::str::FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("tcp://") || text.starts_with("udp://") {
            return Ok(Port(None));
        }
        let port = text.parse().map_err(|_| format!("{text} is not in 0..=65535"))?;
        Ok(Port(Some(port)))
    }
}
