//! `cargo xtask tidy`: what the compiler does not check. Also a test, so that `cargo test` has it.
//!
//! `layers` looks at the manifests, `sources` at the text of the files, `docs` at the documents
//! that must follow the code.

mod docs;
mod layers;
mod sources;
mod tree;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::workspace::{self, Workspace};
use tree::Tree;

pub(crate) fn run() -> Result<bool> {
    let findings = check(&workspace::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} finding(s)", findings.len());
    Ok(findings.is_empty())
}

fn check(root: &Path) -> Result<Vec<Finding>> {
    let workspace = Workspace::read(root)?;
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    layers::check(&workspace, &tree, &mut findings);
    sources::check(&tree, &mut findings);
    docs::check(&workspace, &tree, &mut findings);
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

/// Something that is not as it should be, and what to do.
#[derive(Debug)]
struct Finding {
    path: String,
    line: usize,
    what: String,
    to_do: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, to_do } = self;
        write!(f, "{path}:{line}: {what}; {to_do}")
    }
}

#[test]
fn the_tree_is_tidy() -> Result<()> {
    let findings = check(&workspace::root())?;
    let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
    Ok(())
}
