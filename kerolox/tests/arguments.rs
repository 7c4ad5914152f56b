//! Arguments, variables and files that are not what they should be: each is refused with what it is called,
//! and none is understood as something else.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use common::call::{make_topic, put};
use common::{Folder, Launch, binary};

/// Runs the binary in the folder; it must end with this code, and say this on standard error.
#[track_caller]
fn check(folder: &Folder, args: &[&OsStr], variables: &[(&str, &OsStr)], code: i32, why: &str) {
    let mut command = Command::new(binary());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"KEROLOX_"))
    {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied()).current_dir(folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?} {variables:?}\n{said}");
    assert!(said.contains(why), "{why:?} is not the reason of {args:?} {variables:?}\n{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// As [`check`], of arguments that are one text, with exit code 2.
#[track_caller]
fn refused(folder: &Folder, args: &str, why: &str) {
    let args: Vec<&OsStr> = args.split(' ').map(OsStr::new).collect();
    check(folder, &args, &[], 2, why);
}

/// A server with such a directory panicked; with the option last, it stored in another directory.
#[test]
fn a_data_directory_that_is_not_utf_8_is_refused_by_every_command() {
    let folder = Folder::new();
    let dir = OsStr::from_bytes(b"d\xff");
    let why = "the path of a data directory must be UTF-8 text";
    let mut joined = OsString::from("--data-dir=");
    joined.push(dir);
    let text = |text| OsStr::new(text);
    for args in [
        &[text("server"), text("--data-dir"), dir][..],
        &[text("server"), text("--data-dir"), dir, text("--listen"), text("127.0.0.1")],
        &[text("broker"), &joined],
        &[text("namesrv"), &joined],
        &[text("config"), text("show"), &joined],
        &[text("log"), text("check"), dir],
        &[text("log"), text("dump"), dir],
        &[text("log"), text("plan"), dir],
        &[text("log"), text("plan"), &joined],
        &[text("log"), text("repair-index"), dir],
        &[text("log"), text("hand-over"), dir],
    ] {
        check(&folder, args, &[], 2, why);
    }
    check(&folder, &[text("server")], &[("KEROLOX_DATA_DIR", dir)], 2, why);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a directory was made");
}

/// A pipe was waited for, a large file was read to its end, and the error held all of it.
#[test]
fn a_configuration_is_a_file_of_bounded_size_and_is_quoted_in_part() {
    let folder = Folder::new();
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    std::fs::create_dir(folder.join("folder")).unwrap();
    refused(&folder, "config show -c pipe", "pipe is no regular file");
    refused(&folder, "server -c folder", "folder is no regular file");
    refused(&folder, "config show -c missing", "missing: No such file or directory");
    let large = "# 345678\n".repeat((1 << 20) / 9 + 1);
    std::fs::write(folder.join("large"), large).unwrap();
    refused(&folder, "config show -c large", "large has more than 1048576 bytes");
    let long = "x".repeat(500_000);
    let cut = format!("{}...", "x".repeat(80));
    for (text, why) in [
        (long.clone(), format!("long: line 1: \"{cut}\" is not KEY=VALUE")),
        (format!("{long} a=b"), format!("\"{cut}\" is not a key")),
        (format!("{long}=1\n{long}=1"), format!("line 2: {cut} stands in line 1 already")),
        (format!("maxMessageSize={long}"), format!("maxMessageSize={cut} is not a whole number")),
        (format!("aclEnable={long}"), format!("aclEnable={cut}, but only false")),
        (format!("brokerName=\\u{long}"), "...\": four hex digits follow \\u".to_owned()),
    ] {
        std::fs::write(folder.join("long"), text).unwrap();
        refused(&folder, "config show -c long", &why);
    }
    let mut command = Command::new(binary());
    let command = command.args(["config", "show", "-c", "long"]).current_dir(folder.path());
    let output = command.output().unwrap();
    assert!(output.stderr.len() < 300, "{}", output.stderr.len());
}

/// All lines behind the first became part of its value.
#[test]
fn lines_of_a_configuration_may_end_with_cr() {
    let folder = Folder::new();
    for ends in ["\n", "\r\n", "\r"] {
        let text = ["# a", "brokerName=\\", "  of-file", "", "fileReservedTime=5"].join(ends);
        std::fs::write(folder.join("b.conf"), text).unwrap();
        let mut command = Command::new(binary());
        let command = command.args(["config", "show", "--given", "-c", "b.conf"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Vec<&str>> =
            said.lines().map(|line| line.split_whitespace().collect()).collect();
        let name = ["brokerName", "of-file", "b.conf:2"];
        assert_eq!(rows, [name, ["fileReservedTime", "5", "b.conf:5"]], "{ends:?}");
    }
}

#[test]
fn what_clients_cannot_dial_is_not_advertised() {
    let folder = Folder::new();
    let none = "not a host name or IP address, with or without a port from 1 to 65535";
    for advertised in [
        "broker=10.0.0.1:",
        "broker=10.0.0.1:0",
        "broker=10.0.0.1:65536",
        "broker=10.0.0.1:x",
        "grpc=10.0.0.1:+1",
        "broker=[::1]:",
        "broker=a:b:1",
    ] {
        refused(&folder, &format!("config show --advertise {advertised}"), none);
    }
    for host in ["10.0.0.1:", "10.0.0.1:0", "10.0.0.1:80", "a b", "[::1]:80"] {
        let set = format!("brokerIP1={host}");
        let args = ["config", "show", "--set", &set].map(OsStr::new);
        let why = format!("brokerIP1={host} is not a host name or an IP address");
        check(&folder, &args, &[], 2, &why);
    }
    let first = "--advertise 10.0.0.2: 10.0.0.1 was given for the same already";
    refused(&folder, "server --advertise 10.0.0.1,10.0.0.2", first);
    refused(&folder, "server --advertise 10.0.0.1 --advertise 10.0.0.2", first);
    let first = "--advertise grpc=b:2: a:1 was given for the same already";
    refused(&folder, "server --advertise grpc=a:1,10.0.0.1,grpc=b:2", first);
    let any = "which stands for every address of a machine";
    for advertised in ["0.0.0.0", "::", "broker=[::]:1", "grpc=0.0.0.0:1", "::ffff:0.0.0.0"] {
        refused(&folder, &format!("broker --advertise {advertised}"), any);
    }
    refused(&folder, "broker --set brokerIP1=0.0.0.0", any);
}

/// All of them were blamed on `--advertise`.
#[test]
fn a_name_without_an_address_is_blamed_on_where_it_was_given() {
    let folder = Folder::new();
    std::fs::write(folder.join("b.conf"), "\nbrokerIP1=nosuch.invalid\n").unwrap();
    let why = |place: &str| format!("{place}: the name \"nosuch.invalid\" cannot be resolved here");
    refused(&folder, "broker -c b.conf", &why("b.conf:2: brokerIP1=nosuch.invalid"));
    refused(&folder, "broker --advertise nosuch.invalid", &why("--advertise nosuch.invalid"));
    let set = "broker --set brokerIP1=nosuch.invalid";
    refused(&folder, set, &why("--set: brokerIP1=nosuch.invalid"));
    for (variable, place) in [
        ("KEROLOX_BROKER_IP1", "KEROLOX_BROKER_IP1: brokerIP1=nosuch.invalid"),
        ("KEROLOX_ADVERTISE", "KEROLOX_ADVERTISE nosuch.invalid"),
    ] {
        let value = [(variable, OsStr::new("nosuch.invalid"))];
        check(&folder, &[OsStr::new("broker")], &value, 2, &why(place));
    }
}

/// What was told had no brackets, so its last part was taken for the port.
#[tokio::test]
async fn an_ipv6_address_is_advertised_in_brackets() {
    let folder = Folder::new();
    for (advertised, port) in
        [("fe80::1", None), ("[fe80::1]", None), ("broker=[fe80::1]:7", Some(7))]
    {
        let server = Launch::new(&folder).args(&["--advertise", advertised]).start();
        let connection = server.connect().await;
        make_topic(&connection, "t", 1).await;
        let route = connection.route("t").await.unwrap().unwrap();
        let port = port.unwrap_or(server.ports.broker);
        assert_eq!(route.broker_datas[0].broker_addrs[&0], format!("[fe80::1]:{port}"));
        server.stop();
    }
}

/// The flag was blamed, which nobody had given.
#[test]
fn a_wrong_value_is_that_of_the_variable_it_came_from() {
    let folder = Folder::new();
    let (server, show) = ([OsStr::new("server")], ["config", "show"].map(OsStr::new));
    for (variable, value, why) in [
        (
            "KEROLOX_HTTP_PORT",
            "x",
            "invalid value 'x' for 'KEROLOX_HTTP_PORT': x is not in 0..=65535",
        ),
        ("KEROLOX_LISTEN", "here", "invalid value 'here' for 'KEROLOX_LISTEN'"),
        ("KEROLOX_LOG_FORMAT", "xml", "invalid value 'xml' for 'KEROLOX_LOG_FORMAT'"),
        ("KEROLOX_LOG_LEVEL", "loud", "invalid value 'loud' for 'KEROLOX_LOG_LEVEL'"),
    ] {
        check(&folder, &server, &[(variable, value.as_ref())], 2, why);
        check(&folder, &show, &[(variable, value.as_ref())], 2, why);
    }
    // The flag comes first, so it is the wrong one.
    let args = ["server", "--http-port=y"].map(OsStr::new);
    let variable = ("KEROLOX_HTTP_PORT", OsStr::new("x"));
    check(&folder, &args, &[variable], 2, "invalid value 'y' for '--http-port <PORT>'");
}

/// One of them won, and nothing was said.
#[test]
fn two_variables_for_one_key_are_an_error() {
    let folder = Folder::new();
    let variables =
        [("KEROLOX_FILE_RESERVED_TIME", "5".as_ref()), ("KEROLOX_FILERESERVEDTIME", "6".as_ref())];
    let why =
        "KEROLOX_FILE_RESERVED_TIME: fileReservedTime is set by KEROLOX_FILERESERVEDTIME already";
    check(&folder, &["config", "show"].map(OsStr::new), &variables, 2, why);
    check(&folder, &["server"].map(OsStr::new), &variables, 2, why);
    let args = ["config", "show"].map(OsStr::new);
    check(
        &folder,
        &args,
        &[("KEROLOX_SET", "a=1".as_ref())],
        2,
        "KEROLOX_SET: no flag and no key has that name\n",
    );
}

/// They were passed over, with exit code 0.
#[test]
fn the_configuration_of_a_role_takes_the_flags_of_that_role() {
    let folder = Folder::new();
    for (args, flag, role) in [
        ("--role namesrv --broker-port 7", "--broker-port", "namesrv"),
        ("--role namesrv --advertise bad=1", "--advertise", "namesrv"),
        ("--role namesrv --grpc-port=7", "--grpc-port", "namesrv"),
        ("--role broker --namesrv-port 7", "--namesrv-port", "broker"),
    ] {
        let why = format!("kerolox: {flag}: kerolox {role} has no such flag");
        refused(&folder, &format!("config show {args}"), &why);
        let of_role = args.split_once(' ').unwrap().1.split_once(' ').unwrap().1;
        refused(&folder, &format!("{role} {of_role}"), &format!("unexpected argument '{flag}'"));
    }
    // A variable may be there for another process.
    let args = ["config", "show", "--role", "namesrv"].map(OsStr::new);
    check(&folder, &args, &[("KEROLOX_BROKER_PORT", "7".as_ref())], 0, "");
    let args = "config show --role broker --broker-port 7".split(' ').map(OsStr::new);
    check(&folder, &args.collect::<Vec<_>>(), &[], 0, "");
}

/// It stands in the properties of each message, whose ends are control characters.
#[tokio::test]
async fn a_region_has_no_control_characters_and_an_end() {
    let folder = Folder::new();
    let why = "is not a text of 255 bytes or less without control characters";
    for region in ["a\u{1}b", "a\u{2}b", "a\nb", &"x".repeat(256)] {
        let set = format!("regionId={region}");
        check(&folder, &["config", "show", "--set", &set].map(OsStr::new), &[], 2, why);
    }
    std::fs::write(folder.join("b.conf"), "regionId=a\\u0001b\n").unwrap();
    refused(&folder, "server -c b.conf", why);
    let set = format!("regionId={}", "é".repeat(127));
    let server = Launch::new(&folder).args(&["--set", &set]).start();
    put(&server.connect().await, "t", 0, "hello").await;
    server.stop();
}
