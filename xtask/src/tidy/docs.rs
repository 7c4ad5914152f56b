//! The documents that must follow the code: the architecture, the dependencies, the change log.

use std::collections::BTreeMap;

use super::Finding;
use super::tree::Tree;
use crate::workspace::Workspace;

const ARCHITECTURE: &str = "docs/architecture.md";
const DEPENDENCIES: &str = "docs/dependencies.md";
const CHANGE_LOG: &str = "CHANGELOG.md";

pub(super) fn check(workspace: &Workspace, tree: &Tree, findings: &mut Vec<Finding>) {
    architecture(workspace, tree, findings);
    dependencies(workspace, tree, findings);
    change_log(tree, findings);
}

fn architecture(workspace: &Workspace, tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(text) = document(tree, ARCHITECTURE, findings) else { return };
    let mut add = |line, what, to_do| {
        findings.push(Finding { path: ARCHITECTURE.into(), line, what, to_do });
    };

    for package in &workspace.packages {
        let folder = package.folder().to_string_lossy();
        let short = folder.trim_start_matches("crates/");
        let named = code_spans(text).any(|(_, span)| {
            let span = span.trim_end_matches('/');
            span == folder || span == short || span == package.name
        });
        if !named {
            let to_do = "say in a line what it is for; its folder stands in backticks";
            add(1, format!("the crate {folder} is not named"), to_do);
        }
    }

    let mut data_path_files = 0;
    let mut heading = String::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            heading = line.to_lowercase();
        }
        let in_data_path = heading.contains("data path") && line.starts_with('|');
        for (_, span) in code_spans(line) {
            for path in paths(span, tree) {
                let places = [path.clone(), format!("crates/{path}"), format!("docs/{path}")];
                if !places.iter().any(|place| tree.has(place)) {
                    let to_do = "name the file that took its place, or remove the line";
                    add(index + 1, format!("`{path}` does not exist"), to_do);
                } else if in_data_path && path.ends_with(".rs") {
                    data_path_files += 1;
                }
            }
        }
    }
    if data_path_files == 0 {
        let to_do = "list there, step by step, the files through which a message goes";
        add(1, "there is no table under a heading with `data path`".into(), to_do);
    }
}

/// The paths that a piece of code names: `a/{b,c}.rs` names two, `a::b` or `/metrics` none.
fn paths(span: &str, tree: &Tree) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || "/._-{},".contains(c);
    let Some((first, _)) = span.split_once('/') else { return Vec::new() };
    let in_tree = !first.is_empty() && (tree.has(first) || tree.has(&format!("crates/{first}")));
    let is_source = [".rs", ".md", ".toml"].iter().any(|end| span.ends_with(end));
    // NNN stands for any number, as in docs/decisions/NNN-title.md.
    if !span.chars().all(is_path) || !(in_tree || is_source) || span.contains("NNN") {
        return Vec::new();
    }
    match (span.split_once('{'), span.rsplit_once('}')) {
        (Some((before, _)), Some((_, after))) => span
            [before.len() + 1..span.len() - after.len() - 1]
            .split(',')
            .map(|name| format!("{before}{}{after}", name.trim()))
            .collect(),
        _ => vec![span.to_string()],
    }
}

/// What stands between backticks in a line, with the line's number; fenced blocks are left out.
fn code_spans(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().flat_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let skip = if fence || fenced { usize::MAX } else { 1 };
        line.split('`').skip(skip).step_by(2).map(move |span| (index + 1, span))
    })
}

fn dependencies(workspace: &Workspace, tree: &Tree, findings: &mut Vec<Finding>) {
    // Name to the first manifest that wants it.
    let mut wanted = BTreeMap::new();
    for package in &workspace.packages {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.local) {
            wanted.entry(dependency.name.as_str()).or_insert(&package.manifest);
        }
    }
    let Some(text) = document(tree, DEPENDENCIES, findings) else { return };
    let explained: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .map(|cell| cell.trim().trim_matches('`'))
        .collect();
    for (name, manifest) in wanted {
        if !explained.contains(&name) {
            let manifest = manifest.to_string_lossy();
            findings.push(Finding {
                line: tree.line_of(&manifest, name),
                path: manifest.into(),
                what: format!("the dependency {name} has no line in {DEPENDENCIES}"),
                to_do: "add `| `name` | version, why it and not less |` to the table there",
            });
        }
    }
}

fn change_log(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(text) = document(tree, CHANGE_LOG, findings) else { return };
    let is_section = |line: &str| {
        line.strip_prefix("## ").is_some_and(|title| {
            let title = title.trim_start_matches(['[', 'v']);
            title.starts_with("Unreleased") || title.starts_with(|c: char| c.is_ascii_digit())
        })
    };
    if !text.lines().any(is_section) {
        findings.push(Finding {
            path: CHANGE_LOG.into(),
            line: 1,
            what: "no section of a version".into(),
            to_do: "begin one with `## Unreleased`",
        });
    }
}

fn document<'a>(tree: &'a Tree, path: &str, findings: &mut Vec<Finding>) -> Option<&'a str> {
    let text = tree.text(path);
    if text.is_none() {
        findings.push(Finding {
            path: path.into(),
            line: 1,
            what: "the document is missing".into(),
            to_do: "write it",
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let files = ["crates/log/src/index/open.rs", "docs/architecture.md"];
        let texts = files.map(|path| (path.to_string(), String::new()));
        let tree = Tree { texts: BTreeMap::from(texts) };
        let found: Vec<_> = code_spans(text).flat_map(|(_, span)| paths(span, &tree)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn paths_in_a_document() {
        check(
            "| `log/src/index/{open,block}.rs` |",
            &["log/src/index/open.rs", "log/src/index/block.rs"],
        );
        check(
            "`crates/log/` and `docs/decisions/001.md`",
            &["crates/log/", "docs/decisions/001.md"],
        );
        check("`/metrics`, `a::b`, `read/write`, `docs/decisions/NNN-title.md`", &[]);
        check("no code: log/src/x.rs", &[]);
        check("```\n`log/src/x.rs`\n```\n", &[]);
    }
}
