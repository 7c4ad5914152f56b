//! The files of the repository: what git tracks, and what it would.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::process;

/// Folders that no commit holds; used only where there is no git to ask.
const NEVER_TRACKED: &[&str] =
    &[".git", "target", "node_modules", ".venv", "__pycache__", ".m2", "kerolox-data"];

pub(super) struct Tree {
    /// Path relative to the root, with `/`, to text. Files that are not UTF-8 are not here.
    pub(super) texts: BTreeMap<String, String>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let paths = if root.join(".git").try_exists()? {
            let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
            let list = process::output(&mut process::command("git", &args, root))?;
            list.split('\0').filter(|path| !path.is_empty()).map(Into::into).collect()
        } else {
            let mut paths = Vec::new();
            walk(root, "", &mut paths)?;
            paths
        };
        let mut texts = BTreeMap::new();
        for path in paths {
            // A deleted file stays in git's list until that is committed.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                texts.insert(path, text);
            }
        }
        Ok(Self { texts })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether it is a file or a folder of the tree.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.texts.contains_key(path) || {
            let folder = format!("{path}/");
            self.texts.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
        }
    }

    /// The sources of crates and tools, with their paths.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        all.filter(|(path, _)| path.ends_with(".rs"))
    }

    /// The number of the first line that holds this text, or 1.
    pub(super) fn line_of(&self, path: &str, needle: &str) -> usize {
        let line = self.text(path).and_then(|text| text.lines().position(|l| l.contains(needle)));
        line.map_or(1, |index| index + 1)
    }
}

fn walk(root: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(below)).with_context(|| format!("reading {below}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if !entry.file_type()?.is_dir() {
            paths.push(path);
        } else if !NEVER_TRACKED.contains(&name.as_str()) {
            walk(root, &path, paths)?;
        }
    }
    Ok(())
}
