//! `--ports-file`: which paths are taken, that nothing but a file is replaced, and that nothing is left beside it.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;
use std::process::Command;

use common::{Folder, Launch, Ports};

/// The names in a folder, sorted, but for what each server leaves.
fn names(folder: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.filter(|name| name != "data" && name != "server.log").collect();
    names.sort();
    names
}

#[test]
fn a_path_where_something_else_stands_is_refused_before_the_server_starts() {
    let folder = Folder::new();
    let check = |path: &str, reason: &str| {
        let before = names(folder.path());
        let ended = Launch::new(&folder).env("KEROLOX_PORTS_FILE", path).fails();
        ended.check(2, reason);
        assert!(!ended.stderr.contains("is ready"), "{}", ended.stderr);
        assert_eq!(names(folder.path()), before, "{path}");
        assert!(!folder.data().exists(), "{path}");
    };
    std::fs::create_dir(folder.join("folder")).unwrap();
    check("folder", "--ports-file folder: this is there, and is no regular file");
    check("folder/", "this is there, and is no regular file");
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    check("pipe", "--ports-file pipe: this is there, and is no regular file");
    assert!(std::fs::symlink_metadata(folder.join("pipe")).unwrap().file_type().is_fifo());
    std::fs::write(folder.join("target"), "kept").unwrap();
    for (target, link) in [("target", "link"), ("nowhere", "loose"), ("pipe", "to-pipe")] {
        symlink(target, folder.join(link)).unwrap();
        check(link, "this is a symbolic link; name the file itself");
        assert!(folder.join(link).is_symlink());
    }
    assert_eq!(std::fs::read_to_string(folder.join("target")).unwrap(), "kept");
    check("..", "this names no file");
    check("missing/ports.json", "--ports-file missing/ports.json: No such file or directory");
    check("target/ports.json", "Not a directory");
}

#[test]
fn a_file_is_replaced_and_its_neighbours_are_left() {
    let folder = Folder::new();
    for neighbour in ["ports.tmp", "ports.json.tmp", "ports"] {
        std::fs::write(folder.join(neighbour), "kept").unwrap();
    }
    let path = folder.join("ports.json");
    let launch = Launch::new(&folder);
    std::fs::write(&path, "of an earlier start").unwrap();
    let server = launch.start();
    assert!(Ports::parse(&std::fs::read_to_string(&path).unwrap()).is_some());
    for neighbour in ["ports.tmp", "ports.json.tmp", "ports"] {
        assert_eq!(std::fs::read_to_string(folder.join(neighbour)).unwrap(), "kept");
    }
    assert_eq!(names(folder.path()), ["ports", "ports.json", "ports.json.tmp", "ports.tmp"]);
    server.stop();
}
