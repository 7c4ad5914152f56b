//! `--ports-file FILE`: the ports of a server that is ready, as JSON, for whoever started it.
//!
//! Looked at before the server starts, so that a path that cannot be used costs no start. The text is
//! written aside and renamed: whoever sees the file sees all of it.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kerolox_server::Server;
use serde_json::json;

use crate::exit::Failure;

/// A path where the ports may be written.
pub(crate) struct PortsFile(PathBuf);

impl PortsFile {
    /// Nothing but a file is replaced: a rename would put one in the place of a device, a pipe or a link.
    pub(crate) fn at(path: &Path) -> Result<PortsFile, Failure> {
        let Some(name) = path.file_name() else {
            return Err(refused(path, "this names no file"));
        };
        // Without a slash at its end.
        let file = PortsFile(path.with_file_name(name));
        match fs::symlink_metadata(&file.0) {
            Ok(found) if found.is_symlink() => {
                return Err(refused(path, "this is a symbolic link; name the file itself"));
            }
            Ok(found) if !found.is_file() => {
                return Err(refused(path, "this is there, and is no regular file"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(refused(path, e)),
        }
        // Whether the folder takes a file.
        file.aside().and_then(|(aside, _)| fs::remove_file(aside)).map_err(|e| refused(path, e))?;
        Ok(file)
    }

    /// Writes the ports.
    pub(crate) fn write(&self, server: &Server) -> Result<(), Failure> {
        let ports = &server.ports;
        let text = json!({
            "namesrv": ports.namesrv,
            "broker": ports.broker,
            "vip": server.vip_port,
            "grpc": ports.grpc,
            "proxy": ports.proxy,
            "http": ports.http,
        });
        self.replace(&format!("{text}\n")).map_err(|e| refused(&self.0, e))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let (aside, mut file) = self.aside()?;
        let written = file.write_all(text.as_bytes());
        let renamed = written.and_then(|()| fs::rename(&aside, &self.0));
        if renamed.is_err() {
            // What is told is why the ports could not be written.
            let _ = fs::remove_file(&aside);
        }
        renamed
    }

    /// A new file beside it, under a name that is nobody else's.
    fn aside(&self) -> io::Result<(PathBuf, File)> {
        let random = RandomState::new().hash_one(std::process::id());
        let mut name = self.0.clone().into_os_string();
        name.push(format!(".{random:016x}.tmp"));
        let file = OpenOptions::new().write(true).create_new(true).open(&name)?;
        Ok((name.into(), file))
    }
}

fn refused(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::config(format!("--ports-file {}: {why}", path.display()))
}
