//! Small file systems, where the machine lets a test mount some.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Folder;

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
