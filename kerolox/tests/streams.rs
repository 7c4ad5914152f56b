//! Standard output and standard error that cannot be written: a reader that is gone, a full disk. A broker
//! goes on, an exit code stays what it is, and what was not written is no success.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::process::{Command, Output};

use bytes::Bytes;
use common::call::{ask, put, read, refused};
use common::{Folder, Launch, binary, trial};

/// Makes standard error a pipe that nobody reads.
const READER_GONE: &str = "mkfifo unread && exec 3<>unread 2>unread 3<&-";

/// The log's first line that could not be written aborted the whole broker.
#[tokio::test]
async fn a_log_that_cannot_be_written_ends_no_broker() {
    for before in [READER_GONE, "exec 2>/dev/full"] {
        for format in ["text", "json"] {
            let folder = Folder::new();
            let args = ["--log-format", format, "--log-level", "debug"];
            let server = Launch::after(&folder, before).args(&args).start();
            let connection = server.connect().await;
            put(&connection, "t", 0, "hello").await;
            refused(&ask(&connection, 9999, &[]).await, 3, "9999");
            assert_eq!(server.metric("kerolox_panics_total"), 0);
            if trial::is_possible() {
                // The words of a panic go there, too.
                let victim = server.connect().await;
                assert!(victim.call(trial::PANIC_IN_CONNECTION, &(), Bytes::new()).await.is_err());
                assert_eq!(server.metric("kerolox_panics_total"), 1);
            }
            assert_eq!(read(&connection, "t", 0).await, ["hello"]);
            server.stop();
        }
    }
}

/// Runs the binary in the folder, with the shell's redirections.
fn run(folder: &Folder, redirections: &str, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{redirections}; exec \"$@\"")).arg("sh").arg(binary());
    command.args(args).current_dir(folder.path()).output().unwrap()
}

/// Each of them became 101.
#[test]
fn an_exit_code_holds_where_the_reason_cannot_be_written() {
    let folder = Folder::new();
    std::fs::write(folder.join("b.conf"), "haMasterAddress=x:1\n").unwrap();
    for (args, code) in [
        (&["server", "--set", "nothingLikeAnyKey=1"][..], 2),
        (&["server", "--no-such-flag"], 2),
        (&["config", "show", "-c", "b.conf"], 0),
        (&["log", "check", "nowhere"], 6),
        (&["bench", "consume", "--broker", "127.0.0.1:1"], 1),
        (&["admin", "clusterList", "-n", "127.0.0.1:1"], 1),
    ] {
        for redirections in ["rm -f unread; ".to_owned() + READER_GONE, "exec 2>/dev/full".into()] {
            let output = run(&folder, &redirections, args);
            assert_eq!(output.status.code(), Some(code), "{args:?} {redirections}");
        }
    }
}

/// Completions ended with 0, and a result of the load generator with 101.
#[test]
fn what_could_not_be_written_is_no_success() {
    let folder = Folder::new();
    for args in [
        &["completions", "bash"][..],
        &["config", "keys"],
        &["config", "show", "--json"],
        &["--help"],
        &["--version"],
        &["bench", "probe", "--seconds", "0.05", "--shape", "1x1"],
        &["bench", "probe", "--seconds", "0.05", "--shape", "1x1", "--json"],
    ] {
        let output = run(&folder, "exec >/dev/full", args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("No space left on device"), "{args:?}: {stderr}");
        // Whoever reads may have had enough.
        let unread = "rm -f unread; mkfifo unread && exec 3<>unread >unread 3<&-";
        assert_eq!(run(&folder, unread, args).status.code(), Some(0), "{args:?}");
    }
}
