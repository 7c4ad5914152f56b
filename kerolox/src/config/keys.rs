//! `kerolox config keys`: the table of all keys.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use kerolox_server::settings::keys::{Key, all};
use serde_json::json;

use crate::exit::Failure;
use crate::log::written;

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// Only keys that have this in their name or their meaning
    pattern: Option<String>,
    /// Print one JSON list
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the tables of docs/configuration.md
    #[arg(long)]
    markdown: bool,
}

/// Runs it.
pub(super) fn run(args: &KeysArgs) -> Result<ExitCode, Failure> {
    let pattern = args.pattern.as_deref().unwrap_or_default().to_lowercase();
    let wanted = |text: &str| text.to_lowercase().contains(&pattern);
    let keys: Vec<&Key> =
        all().iter().filter(|key| wanted(key.name) || wanted(key.meaning)).collect();
    if keys.is_empty() {
        return Err(Failure::other(format!("no key has {pattern:?} in its name or meaning")));
    }
    let mut out = io::stdout().lock();
    written(match (args.json, args.markdown) {
        (true, _) => as_json(&keys, &mut out),
        (_, true) => as_markdown(&keys, &mut out),
        _ => as_text(&keys, &mut out),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(keys: &[&Key], out: &mut impl Write) -> io::Result<()> {
    let keys = keys.iter().map(|key| {
        json!({
            "key": key.name,
            "classes": key.classes,
            "versions": key.versions,
            "effect": key.effect.name(),
            "default": key.default,
            "apacheDefault": key.apache_default,
            "unit": key.unit,
            "takes": if key.has_effect() { key.takes() } else { String::new() },
            "reason": key.reason,
            "meaning": key.meaning,
        })
    });
    writeln!(out, "{}", serde_json::Value::Array(keys.collect()))
}

fn as_text(keys: &[&Key], out: &mut impl Write) -> io::Result<()> {
    for key in keys {
        writeln!(out, "{}", key.name)?;
        writeln!(out, "    {}", key.meaning)?;
        if key.has_effect() {
            let default = if key.default.is_empty() { "none" } else { key.default };
            writeln!(out, "    takes {}; default: {default}", key.takes())?;
        }
        if !key.reason.is_empty() {
            let effect = if key.has_effect() { "" } else { "no effect: " };
            writeln!(out, "    {effect}{}", key.reason)?;
        }
    }
    Ok(())
}

/// A table's cell: no text of a key has a line break.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn as_markdown(keys: &[&Key], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| key | default | Apache's default | takes | changed | meaning |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for key in keys.iter().filter(|key| key.has_effect()) {
        let quoted = |text: &str| match text {
            "" => String::new(),
            text => format!("`{}`", cell(text)),
        };
        let changed = if key.effect.name() == "live" { "while it runs" } else { "at a start" };
        let apache = match key.classes {
            "" => "not Apache's".to_owned(),
            _ if key.apache_default == key.default => "the same".to_owned(),
            _ => quoted(key.apache_default),
        };
        let (name, default) = (key.name, quoted(key.default));
        let (takes, meaning) = (cell(&key.takes()), cell(key.meaning));
        writeln!(out, "| `{name}` | {default} | {apache} | {takes} | {changed} | {meaning} |")?;
    }
    writeln!(out, "\n### Keys without an effect\n")?;
    writeln!(
        out,
        "Each is a key of Apache's 4.9.8, 5.5.0 or both. Of those marked *only*, a start takes no other value than the one given."
    )?;
    writeln!(out, "\n| key | version | Apache's default | unit | meaning | here |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for key in keys.iter().filter(|key| !key.has_effect()) {
        let version = match key.versions {
            "4" => "4.9.8",
            "5" => "5.5.0",
            _ => "both",
        };
        let default = match key.apache_default {
            "" => String::new(),
            text => format!("`{}`", cell(text)),
        };
        let only = match key.effect.name() {
            "only" => format!("*only* `{}`: ", key.default),
            _ => String::new(),
        };
        let (name, unit) = (key.name, key.unit);
        let (meaning, reason) = (cell(key.meaning), cell(key.reason));
        writeln!(
            out,
            "| `{name}` | {version} | {default} | {unit} | {meaning} | {only}{reason} |"
        )?;
    }
    Ok(())
}
