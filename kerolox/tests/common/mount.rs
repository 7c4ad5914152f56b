//! Small file systems, where the machine lets a test mount some, and servers that fill them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kerolox_client::{Connection, OwnedReply};

use super::call::message;
use super::{Folder, Launch, SMALL};

/// A mounted tmpfs. It is unmounted when this goes away.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// A file system with so many MiB; `None` where mounting is not allowed.
    pub(crate) fn new(folder: &Folder, mib: u32) -> Option<Mount> {
        let path = folder.join("small");
        std::fs::create_dir_all(&path).expect("the folder can be written");
        let size = format!("size={mib}m");
        let arguments: [&std::ffi::OsStr; 5] =
            ["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), size.as_ref(), "tmpfs".as_ref()];
        mount(&arguments, &path).then_some(Mount(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Whether writing is allowed.
    pub(crate) fn set_writable(&self, writable: bool) {
        let options = if writable { "remount,rw" } else { "remount,ro" };
        assert!(mount(&["-o".as_ref(), options.as_ref()], &self.0), "mount -o {options}");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file system that can be written");
        for size in [1 << 20, 4096] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&std::ffi::OsStr], path: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Nothing is deleted to make room: the tests want to find it again.
const KEEP: [&str; 2] = ["--set", "diskSpaceCleanForciblyRatio=100"];

/// A small file system, or a word on why there is none.
#[expect(clippy::print_stdout, reason = "which it was belongs to the result of a test")]
pub(crate) fn small(folder: &Folder, mib: u32) -> Option<Mount> {
    let mount = Mount::new(folder, mib);
    match &mount {
        Some(mount) => println!("on a mounted tmpfs of {mib} MiB at {}", mount.path().display()),
        None => println!("mounting is not allowed here: only the seam is tested"),
    }
    mount
}

/// A server on one.
pub(crate) fn launch(folder: &Folder, mount: &Mount) -> Launch {
    Launch::bare(folder).data_dir(&mount.data()).args(&SMALL).args(&KEEP)
}

/// Sends a message, and takes any answer.
pub(crate) async fn send(connection: &Connection, text: &str) -> OwnedReply {
    let body = Bytes::copy_from_slice(text.as_bytes());
    connection.call(310, &message("t", 0), body).await.expect("every request is answered")
}

/// Sends until it is refused, or until it is taken again.
pub(crate) async fn send_until(
    connection: &Connection,
    taken: bool,
    stored: &mut Vec<String>,
) -> OwnedReply {
    let deadline = Instant::now() + Duration::from_secs(20);
    for i in 0.. {
        let text = format!("{i} {}", "x".repeat(10_000));
        let reply = send(connection, &text).await;
        if reply.code == 0 {
            stored.push(text);
        }
        if (reply.code == 0) == taken {
            return reply;
        }
        assert!(Instant::now() < deadline, "{:?}", reply.remark);
        if taken {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    unreachable!("it is sent for ever")
}
