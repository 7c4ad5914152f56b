//! `kerolox config show`: each value that holds, and where it comes from.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Command, ValueEnum};
use kerolox_client::Connection;
use kerolox_protocol::remoting::admin::{ConfigOrigin, ConfigQuestion};
use kerolox_protocol::remoting::codes::{names, request};
use kerolox_server::settings::rows;

use super::{Given, configure, environment};
use crate::cli::{BrokerArgs, NamesArgs, ServerArgs};
use crate::exit::{self, Failure};
use crate::log::written;

/// What a start would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Server,
    Broker,
    Namesrv,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Of which command
    #[arg(long, default_value = "server")]
    role: Role,
    /// Ask the broker that runs at this address; changes while it ran are in its answer
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "set", "role"])]
    broker: Option<String>,
    /// Ask the name server that runs at this address
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "set", "role", "broker"])]
    namesrv: Option<String>,
    /// Only what is not the default
    #[arg(long)]
    given: bool,
    /// Print one JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub(super) fn run(args: ShowArgs) -> Result<ExitCode, Failure> {
    let mut found = match (&args.broker, &args.namesrv) {
        (Some(address), _) => ask(address, request::GET_BROKER_CONFIG)?,
        (None, Some(address)) => ask(address, names::GET_NAMESRV_CONFIG)?,
        (None, None) => of_start(&args)?,
    };
    found.retain(|row| !args.given || row.origin != "default");
    let mut out = io::stdout().lock();
    written(if args.json {
        writeln!(out, "{}", serde_json::json!(found))
    } else {
        as_text(&found, &mut out)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn of_start(args: &ShowArgs) -> Result<Vec<ConfigOrigin>, Failure> {
    refuse_others(args.role)?;
    let given = Given::from(&args.server);
    let given = match args.role {
        Role::Server => given,
        Role::Broker => Given { names: None, ..given },
        Role::Namesrv => Given { broker: None, ..given },
    };
    let configured = configure(&given).map_err(Failure::config)?;
    for warning in configured.warnings {
        exit::say(warning);
    }
    let options = configured.options;
    let rows = rows(&options.values, |key| key.matters(options.roles));
    let rows = rows.into_iter().map(|row| {
        let key = row.key.name.into();
        ConfigOrigin { key, value: row.value, origin: row.origin }
    });
    Ok(rows.collect())
}

/// Refuses the flags of another role, as the role's own command does. Their variables are passed over
/// there, too.
fn refuse_others(role: Role) -> Result<(), Failure> {
    let (name, others) = match role {
        Role::Server => return Ok(()),
        Role::Broker => ("broker", NamesArgs::augment_args(Command::new("namesrv"))),
        Role::Namesrv => ("namesrv", BrokerArgs::augment_args(Command::new("broker"))),
    };
    let flags = others.get_arguments().filter_map(|argument| argument.get_long());
    match flags.map(|long| format!("--{long}")).find(|flag| environment::is_given(flag)) {
        Some(flag) => Err(Failure::config(format!("{flag}: kerolox {name} has no such flag"))),
        None => Ok(()),
    }
}

fn ask(address: &str, code: i32) -> Result<Vec<ConfigOrigin>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.map_err(Failure::other)?.block_on(async {
        let connection = Connection::connect(address).await?;
        let question = ConfigQuestion { origins: true };
        connection.call(code, &question, Default::default()).await?.success()?.json()
    });
    answer.map_err(|e| Failure::other(format!("{e}; is a Kerolox running at {address}?")))
}

fn as_text(rows: &[ConfigOrigin], out: &mut impl Write) -> io::Result<()> {
    let width = |text: fn(&ConfigOrigin) -> &str| {
        rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0)
    };
    let (keys, values) = (width(|row| &row.key), width(|row| &row.value).min(40));
    for ConfigOrigin { key, value, origin } in rows {
        writeln!(out, "{key:keys$}  {value:values$}  {origin}")?;
    }
    Ok(())
}
