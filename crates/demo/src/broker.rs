//! The demo's own broker: a whole server on free ports of the loopback address, its data in a folder that
//! goes away with it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context;
use kerolox_server::settings::keys::find;
use kerolox_server::settings::values::Values;
use kerolox_server::{Advertise, Options, Ports, Roles, Server};
use tempfile::TempDir;

use crate::DemoError;

/// The log's files are small: the folder may lie on a small disk.
const FILE_SIZE: &str = "67108864";

/// See the module's documentation.
pub(crate) struct Broker {
    /// Here until it is dropped: before the folder goes, the server must have stopped.
    server: Option<Server>,
    _folder: TempDir,
}

impl Broker {
    /// Starts it.
    pub(crate) fn start() -> Result<Broker, DemoError> {
        let folder = tempfile::Builder::new()
            .prefix("kerolox-demo-")
            .tempdir()
            .context("no folder could be made for the demo's broker; TMPDIR names another place")?;
        let options = options(folder.path()).map_err(anyhow::Error::msg)?;
        let server = Server::start(options)?;
        Ok(Broker { server: Some(server), _folder: folder })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        let port = self.server.as_ref().map_or(0, |server| server.ports.broker);
        format!("{}:{port}", Ipv4Addr::LOCALHOST)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // Whether its log is whole matters to nobody: the folder is removed next.
            let _ = server.stop();
        }
    }
}

fn options(folder: &Path) -> Result<Options, String> {
    let mut values = Values::default();
    let folder = folder.display().to_string();
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST).to_string();
    let set = [
        ("storePathRootDir", folder.as_str()),
        ("bindAddress", localhost.as_str()),
        ("mappedFileSizeCommitLog", FILE_SIZE),
        ("brokerName", "demo"),
    ];
    for (name, text) in set {
        let key = find(name).ok_or_else(|| format!("{name} is not a key"))?;
        values.set(key, text, "kerolox demo".to_owned())?;
    }
    let roles = Roles { names: true, broker: true };
    Options::new(roles, Ports::default(), Advertise::default(), values)
}
