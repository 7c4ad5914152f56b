//! What cargo says about the workspace, and the release binary.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the repository").to_path_buf()
}

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root.
    pub(crate) manifest: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

impl Package {
    /// Its folder, relative to the root.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest.parent().expect("a manifest lies in a folder")
    }
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) only_for_tests: bool,
    /// A package of this workspace.
    pub(crate) local: bool,
}

pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let args = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
        let text = process::output(&mut process::command("cargo", &args, root))?;
        let json: Value = serde_json::from_str(&text)?;
        let target = json["target_directory"].as_str().context("metadata: no target_directory")?;
        let packages = json["packages"].as_array().context("metadata: no packages")?;
        let packages: Result<Vec<_>> = packages.iter().map(|json| package(root, json)).collect();
        Ok(Self { packages: packages?, target: target.into() })
    }
}

fn package(root: &Path, json: &Value) -> Result<Package> {
    let manifest = Path::new(json["manifest_path"].as_str().context("metadata: no manifest_path")?);
    let dependencies = json["dependencies"].as_array().context("metadata: no dependencies")?;
    Ok(Package {
        name: json["name"].as_str().context("metadata: no name")?.into(),
        manifest: manifest.strip_prefix(root.canonicalize()?).unwrap_or(manifest).into(),
        dependencies: dependencies
            .iter()
            .map(|json| Dependency {
                name: json["name"].as_str().unwrap_or_default().into(),
                only_for_tests: json["kind"].as_str() == Some("dev"),
                local: json["path"].is_string(),
            })
            .collect(),
    })
}

/// The environment variable that names the binary to test, for the suites in `compat/` too.
pub(crate) const BINARY_VARIABLE: &str = "KEROLOX_TEST_BIN";

/// The absolute path of the release binary, which is built first. If `KEROLOX_TEST_BIN` is set, it is
/// taken as it is.
pub(crate) fn release_binary(root: &Path, offline: bool) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        println!("{BINARY_VARIABLE} is set: {} is used, nothing is built", path.display());
        return path
            .canonicalize()
            .with_context(|| format!("{BINARY_VARIABLE} names {}", path.display()));
    }
    let mut build = process::command("cargo", &["build", "--release", "-p", "kerolox"], root);
    if offline {
        build.arg("--offline");
    }
    process::run(&mut build)?;
    let path = Workspace::read(root)?.target.join("release/kerolox");
    path.canonicalize().with_context(|| format!("the build made no {}", path.display()))
}
