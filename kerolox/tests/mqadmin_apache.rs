//! `kerolox admin` against brokers that answer otherwise than Kerolox, as Apache's do.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail as it does")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::admin::{Done, run};
use common::call::{Pairs, pairs};
use common::peer::{Said, body, listen};
use kerolox_protocol::remoting::codes::{names, request};
use serde_json::{Value, json};

/// What a name server says of broker `a` at an address, which has topic `t` with one queue.
fn route(address: &str) -> Said {
    body(format!(
        r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"a","cluster":"c"}}],"queueDatas":[{{"brokerName":"a","perm":6,"readQueueNums":1,"writeQueueNums":1,"topicSysFlag":0}}]}}"#
    ))
}

/// The only value of a command that must succeed.
#[track_caller]
fn value(address: &str, args: &[&str]) -> Value {
    let Done { code, out, err } = run(address, &[args, &["--json"]].concat());
    assert_eq!((code, &*err), (0, ""), "{args:?}: {out}");
    serde_json::from_str(&out).unwrap()
}

/// A broker with this configuration and group `g`, which is at 2 of 3 messages.
fn configured(config: &'static str) -> String {
    let offset = |offset: &str| (pairs(&[("offset", offset)]), String::new());
    listen(move |address, code, _| match code {
        names::GET_ROUTEINFO_BY_TOPIC => route(address),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
            body(r#"{"subscriptionGroupTable":{"g":{"groupName":"g"}}}"#)
        }
        request::GET_BROKER_CONFIG => body(config),
        request::QUERY_CONSUMER_OFFSET => offset("2"),
        request::GET_MAX_OFFSET => offset("3"),
        _ => panic!("{code} is asked"),
    })
}

#[test]
fn a_dry_run_says_what_the_broker_at_hand_would_do_without_force() {
    let skip = ["skipAccumulatedMessage", "-g", "g", "-t", "t", "--dry-run"];
    let not_forced = [&skip[..], &["-f", "false"]].concat();
    for (config, moves) in [
        // Apache's broker passes force over where it resets by itself, which it does unless it is told not to.
        ("brokerName=a\nuseServerSideResetOffset=true\n", 1),
        ("brokerName=a\nuseServerSideResetOffset=false\n", 0),
        ("brokerName=a\n", 0),
        ("brokerName=a\nkerolox.shards=1\nuseServerSideResetOffset=true\n", 0),
    ] {
        let address = configured(config);
        let would = value(&address, &not_forced);
        assert_eq!(would["queues"].as_array().unwrap().len(), moves, "{config}");
        assert_eq!(would["skipped"], moves, "{config}");
        assert_eq!(value(&address, &skip)["skipped"], 1, "{config}");
    }
}

/// Groups `g0` to `g4` in pages of two. Version `changes` is the last one: each answer to a second page is
/// of a newer version until then.
fn paged(changes: usize, asked: &Arc<AtomicUsize>) -> String {
    let asked = Arc::clone(asked);
    let mut version = 0;
    listen(move |address, code, fields: &Pairs| match code {
        names::GET_BROKER_CLUSTER_INFO => body(format!(
            r#"{{"brokerAddrTable":{{"a":{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"a","cluster":"c"}}}},"clusterAddrTable":{{"c":["a"]}}}}"#
        )),
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => {
            asked.fetch_add(1, Ordering::Relaxed);
            let mut from: usize = fields.get("groupSeq").parse().unwrap();
            assert_eq!(fields.get("maxGroupNum"), "2000");
            if from == 2 && version < changes {
                version += 1;
            }
            let known = json!({"counter": version, "stateVersion": 0, "timestamp": 7});
            // Apache's broker begins anew for who knows another version than there is.
            if from > 0
                && serde_json::from_str::<Value>(fields.get("dataVersion")).unwrap() != known
            {
                from = 0;
            }
            let names = (from..5.min(from + 2)).map(|i| format!("g{i}"));
            let groups: serde_json::Map<_, _> = names
                .map(|name| (name.clone(), json!({"groupName": name, "retryMaxTimes": version})))
                .collect();
            let table = json!({"dataVersion": known, "subscriptionGroupTable": groups, "forbiddenTable": {}});
            (pairs(&[("totalGroupNum", "5")]), table.to_string())
        }
        _ => panic!("{code} is asked"),
    })
}

#[test]
fn a_table_that_changes_between_two_pages_is_read_anew() {
    // Two pages that change, each with the one before it, and three that do not.
    for (changes, pages) in [(0, 3), (2, 7)] {
        let asked = Arc::default();
        let address = paged(changes, &asked);
        let found = value(&address, &["getConsumerConfig", "-g", "g4"]);
        assert_eq!(found[0]["config"]["groupName"], "g4");
        assert_eq!(found[0]["config"]["retryMaxTimes"], changes, "of the newest version");
        assert_eq!(asked.load(Ordering::Relaxed), pages);
    }
    let asked = Arc::default();
    let address = paged(usize::MAX, &asked);
    let done = run(&address, &["getConsumerConfig", "-g", "g4"]);
    assert_eq!((done.code, &*done.out), (1, ""), "{}", done.err);
    let why = "changes its subscriptionGroupTable while it tells them, 10 times: try again";
    assert!(done.err.contains(why), "{}", done.err);
    assert_eq!(asked.load(Ordering::Relaxed), 20);
}

#[test]
fn a_table_of_many_pages_is_exported_whole() {
    let total = 5_001;
    let address = listen(move |_, code, fields| match code {
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => body(r#"{"topicList":[]}"#),
        request::GET_ALL_TOPIC_CONFIG => {
            let number = |key| fields.get(key).parse::<usize>().unwrap();
            let (from, most) = (number("topicSeq"), number("maxTopicNum"));
            let names = (from..total.min(from + most)).map(|i| format!("t{i}"));
            let topics: serde_json::Map<_, _> =
                names.map(|name| (name.clone(), json!({"topicName": name, "perm": 6}))).collect();
            let table = json!({"dataVersion": {"counter": 1}, "topicConfigTable": topics});
            (pairs(&[("totalTopicNum", "5001")]), table.to_string())
        }
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => body(r#"{"subscriptionGroupTable":{}}"#),
        _ => panic!("{code} is asked"),
    });
    let folder = common::Folder::new();
    let to = folder.path().to_str().unwrap();
    value(&address, &["exportMetadata", "-b", &address, "-t", "-f", to]);
    let file = std::fs::read(folder.join("topic.json")).unwrap();
    let topics: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(topics["topicConfigTable"].as_object().unwrap().len(), total);
    assert_eq!(topics["dataVersion"]["counter"], 1);
}
