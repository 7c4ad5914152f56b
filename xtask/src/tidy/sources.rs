//! The text of the sources: how files open, how long the entry files are, what is not called.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::Tree;

const ENTRY_FILE_LINES_MAX: usize = 100;

/// Folders whose code gets time and files only through its arguments.
const PURE: &[&str] =
    &["crates/protocol/src/", "crates/engine/src/", "crates/namesrv/src/", "crates/log/src/"];

/// The file-system seam, the one place in them that may.
const SEAM: &str = "crates/log/src/disk/";

const BANNED: &[(&str, &str)] = &[
    ("SystemTime::now", "take the time as an argument; the caller reads the clock"),
    ("Instant::now", "take the time as an argument; the caller reads the clock"),
    ("std::fs", "go through the file-system seam in crates/log/src/disk/"),
];

/// Written in two halves, so that this file does not hold them.
const UNFINISHED: &[&str] =
    &[concat!("todo", "!"), concat!("unimplemented", "!"), concat!("#[", "ignore")];
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let test_modules = test_modules(tree);
    for (path, text) in tree.rust() {
        let mut add = |line, what, to_do| {
            findings.push(Finding { path: path.into(), line, what, to_do });
        };
        if path.contains("/src/") {
            opening(text, &mut add);
            entry_file(path, text, &mut add);
        }
        unfinished(text, &mut add);
        let pure = PURE.iter().any(|folder| path.starts_with(folder)) && !path.starts_with(SEAM);
        if pure && !test_modules.iter().any(|module| path.starts_with(module.as_str())) {
            banned_calls(text, &mut add);
        }
    }
    for (path, text) in &tree.texts {
        machine_paths(path, text, findings);
    }
}

fn opening(text: &str, add: &mut impl FnMut(usize, String, &'static str)) {
    let first = text.lines().next().unwrap_or("");
    if first.strip_prefix("//!").is_none_or(|rest| rest.trim().is_empty()) {
        let to_do = "say there in a sentence or two what comes in, what goes out, and why";
        add(1, "the file does not open with //!".into(), to_do);
    }
}

fn entry_file(path: &str, text: &str, add: &mut impl FnMut(usize, String, &'static str)) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let lines = text.lines().count();
    if matches!(name, "lib.rs" | "main.rs") && lines > ENTRY_FILE_LINES_MAX {
        let what = format!("{name} has {lines} lines, {ENTRY_FILE_LINES_MAX} are allowed");
        add(lines, what, "move code to modules; keep the purpose, the modules and re-exports");
    }
}

fn unfinished(text: &str, add: &mut impl FnMut(usize, String, &'static str)) {
    for (index, line) in text.lines().enumerate() {
        for mark in UNFINISHED.iter().filter(|mark| code(line).contains(**mark)) {
            add(index + 1, format!("`{mark}`"), "finish it or remove it");
        }
    }
}

fn banned_calls(text: &str, add: &mut impl FnMut(usize, String, &'static str)) {
    for (number, line) in production_lines(text) {
        for (call, to_do) in BANNED.iter().filter(|(call, _)| calls(code(line), call)) {
            add(number, format!("`{call}` in a crate that must not know it"), to_do);
        }
    }
}

fn calls(line: &str, call: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = line
        .match_indices(call)
        .any(|(at, _)| !line[at + call.len()..].chars().next().is_some_and(is_word));
    // `use std::{fs, io}` names it as well.
    let grouped = call == "std::fs"
        && line
            .split_once("std::{")
            .is_some_and(|(_, group)| group.split(|c| !is_word(c)).any(|word| word == "fs"));
    whole || grouped
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The lines that are compiled outside tests, with their numbers. Relies on rustfmt: an item ends
/// at the first closing brace that is indented like its first line.
fn production_lines(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if !line.trim_start().starts_with("#[cfg(test)]") {
            kept.push((index + 1, line));
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        for (_, line) in lines.by_ref() {
            let same_depth = line
                .strip_prefix(indent)
                .filter(|rest| !rest.is_empty() && !rest.starts_with(char::is_whitespace));
            if same_depth.is_some_and(|rest| rest.starts_with('}') || rest.ends_with([';', '}'])) {
                break;
            }
        }
    }
    kept
}

/// Paths of the files (up to their extension) that hold a module declared under `#[cfg(test)]`.
fn test_modules(tree: &Tree) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (path, text) in tree.rust() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_string(),
            _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        let mut previous = "";
        for line in text.lines().map(str::trim) {
            if previous == "#[cfg(test)]"
                && let Some((_, module)) = line.split_once("mod ")
                && let Some(module) = module.strip_suffix(';')
            {
                modules.insert(format!("{folder}/{module}.rs"));
                modules.insert(format!("{folder}/{module}/"));
            }
            previous = line;
        }
    }
    modules
}

fn machine_paths(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (index, line) in text.lines().enumerate() {
        for machine in MACHINE_PATHS {
            let absolute = line.match_indices(machine).any(|(at, _)| {
                // As the middle of a longer path it says nothing about a machine.
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}".contains(c))
            });
            if absolute {
                findings.push(Finding {
                    path: path.into(),
                    line: index + 1,
                    what: format!("`{machine}` is a path of one machine"),
                    to_do: "write it relative to the repository, or take it from the environment",
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_not_production() {
        let text = "use a;\n#[cfg(test)]\nmod tests {\n    fn f() {\n    }\n}\nfn g() {}\n\
                    #[cfg(test)]\nmod more;\nfn h() {\n    #[cfg(test)]\n    {\n        x();\n    }\n}\n";
        let kept: Vec<_> = production_lines(text).into_iter().map(|(number, _)| number).collect();
        assert_eq!(kept, [1, 7, 10, 15]);
    }

    #[test]
    fn calls_are_found() {
        assert!(calls("use std::fs;", "std::fs"));
        assert!(calls("use std::fs::File;", "std::fs"));
        assert!(calls("use std::{fs, io};", "std::fs"));
        assert!(!calls("use std::{io, time};", "std::fs"));
        assert!(!calls("use std::fsync;", "std::fs"));
        assert!(calls("let now = std::time::Instant::now();", "Instant::now"));
        assert!(!code("/// never calls `Instant::now`").contains("Instant"));
    }

    #[test]
    fn paths_of_a_machine() {
        let found = |line: &str| {
            let mut findings = Vec::new();
            machine_paths("a", line, &mut findings);
            !findings.is_empty()
        };
        let path = MACHINE_PATHS[0];
        assert!(found(&format!("see {path}main")));
        assert!(found(&format!("\"{path}\"")));
        assert!(!found(&format!("https://example.org{path}a")));
        assert!(!found("net/workers"));
    }
}
