//! Which crate may know which: the pure ones know neither sockets nor each other's insides.

use super::Finding;
use super::tree::Tree;
use crate::workspace::{Dependency, Package, Workspace};

struct Layer {
    name: &'static str,
    may_know: &'static [&'static str],
    /// Whether it may depend on tokio, tests included.
    tokio: bool,
}

const LAYERS: &[Layer] = &[
    Layer { name: "kerolox-protocol", may_know: &[], tokio: false },
    Layer { name: "kerolox-log", may_know: &["kerolox-protocol"], tokio: false },
    Layer { name: "kerolox-engine", may_know: &["kerolox-protocol", "kerolox-log"], tokio: false },
    Layer { name: "kerolox-namesrv", may_know: &["kerolox-protocol"], tokio: false },
    Layer {
        name: "kerolox-server",
        may_know: &[
            "kerolox-protocol",
            "kerolox-log",
            "kerolox-engine",
            "kerolox-namesrv",
            "kerolox-client",
        ],
        tokio: true,
    },
    Layer { name: "kerolox-client", may_know: &["kerolox-protocol"], tokio: true },
    Layer { name: "kerolox-admin", may_know: &["kerolox-protocol", "kerolox-client"], tokio: true },
    Layer { name: "kerolox-bench", may_know: &["kerolox-protocol", "kerolox-client"], tokio: true },
    Layer {
        name: "kerolox-demo",
        may_know: &["kerolox-protocol", "kerolox-client", "kerolox-server"],
        tokio: true,
    },
    Layer {
        name: "kerolox",
        may_know: &[
            "kerolox-protocol",
            "kerolox-log",
            "kerolox-engine",
            "kerolox-namesrv",
            "kerolox-server",
            "kerolox-client",
            "kerolox-bench",
            "kerolox-admin",
            "kerolox-demo",
        ],
        tokio: true,
    },
    Layer {
        name: "kerolox-sim",
        may_know: &["kerolox-protocol", "kerolox-log", "kerolox-engine", "kerolox-namesrv"],
        tokio: false,
    },
    Layer {
        name: "kerolox-fuzzing",
        may_know: &["kerolox-protocol", "kerolox-log", "kerolox-engine", "kerolox-namesrv"],
        tokio: false,
    },
    Layer { name: "xtask", may_know: &[], tokio: true },
];

pub(super) fn check(workspace: &Workspace, tree: &Tree, findings: &mut Vec<Finding>) {
    for package in &workspace.packages {
        let manifest = package.manifest.to_string_lossy();
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == package.name) else {
            findings.push(Finding {
                path: manifest.into(),
                line: 1,
                what: format!("no layer is written down for the crate {}", package.name),
                to_do: "say in LAYERS of xtask/src/tidy/layers.rs what it may depend on",
            });
            continue;
        };
        for dependency in &package.dependencies {
            if let Some((what, to_do)) = breach(layer, package, dependency) {
                let line = tree.line_of(&manifest, &dependency.name);
                findings.push(Finding { path: manifest.to_string(), line, what, to_do });
            }
        }
    }
}

fn breach(
    layer: &Layer,
    package: &Package,
    dependency: &Dependency,
) -> Option<(String, &'static str)> {
    let Dependency { name, only_for_tests, local } = dependency;
    // Tests of an outer crate may use any of ours, those of a pure one only what it may know.
    let free = *only_for_tests && layer.tokio;
    if *local && !free && !layer.may_know.contains(&name.as_str()) {
        return Some((
            format!("{} depends on {name}, which its layer does not allow", package.name),
            "move the code to where both are known, or the type down to a crate that both know",
        ));
    }
    if (name == "tokio" || name.starts_with("tokio-")) && !layer.tokio {
        return Some((
            format!("{} depends on {name}", package.name),
            "keep it a state machine: sockets, timers and tasks belong to kerolox-server",
        ));
    }
    None
}
