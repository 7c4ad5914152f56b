//! What holds: configured, changed, and after a start with another file.

use super::*;

const BOTH: Roles = Roles { names: true, broker: true };

fn values(pairs: &[(&str, &str)]) -> Values {
    let mut values = Values::default();
    for (key, text) in pairs {
        values.set(keys::find(key).unwrap(), text, "test".to_owned()).unwrap();
    }
    values
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::new(values(pairs), BOTH, 9876, 7)
}

/// What the log would hold.
fn change(settings: &mut Settings, body: &str) -> Result<BTreeMap<String, Setting>, Refused> {
    let changes = settings.check(body.as_bytes(), false)?;
    settings.change(changes, 8);
    Ok(settings.changed.clone())
}

#[test]
fn a_change_holds_until_the_configuration_is_edited() {
    let mut running = settings(&[("brokerPermission", "6")]);
    let log = change(&mut running, "brokerPermission=4\n").unwrap();
    assert_eq!(running.now().number("brokerPermission"), 4);
    assert_eq!((running.version().counter, running.version().timestamp), (1, 8));
    for (configured, holds, dropped) in [("6", 4, 0), ("2", 2, 1), ("4", 4, 1)] {
        let mut next = settings(&[("brokerPermission", configured)]);
        assert_eq!(next.restore(&log, 1 << 30).len(), dropped);
        assert_eq!(next.now().number("brokerPermission"), holds);
    }
    let mut next = settings(&[]);
    assert!(next.restore(&log, 1 << 30).is_empty(), "6 is the default, too");
}

#[test]
fn a_value_that_is_configured_anyway_is_not_kept() {
    let mut running = settings(&[]);
    assert_eq!(change(&mut running, "traceOn=false").unwrap().len(), 1);
    assert_eq!(change(&mut running, "traceOn=true").unwrap().len(), 0);
}

#[test]
fn what_cannot_be_changed_is_refused_as_a_whole() {
    let mut running = settings(&[]);
    for (body, code, why) in [
        ("traceOn=false\nlistenPort=1", 16, "Can not update config in black list. listenPort"),
        ("traceOn=false\nmaxMesageSize=1", 29, "is maxMessageSize meant?"),
        ("sendMessageThreadPoolNums=1", 29, "no thread pools"),
        ("aclEnable=true", 29, "authentication and permissions come with"),
        ("maxMessageSize=4MB", 29, "a whole number from 1 to 15728640 (bytes)"),
        ("traceOn=false\ntraceOn=true", 1, "string2Properties error: line 2: traceOn stands"),
        ("traceOn", 1, "string2Properties error"),
    ] {
        let Refused(was, remark) = change(&mut running, body).unwrap_err();
        assert!(was == code && remark.contains(why), "{body:?}: {was} {remark}");
        assert!(running.now().flag("traceOn"), "{body:?} changed something");
    }
    let large = running.check(b"maxMessageSize=2000000", false).unwrap();
    assert!(running.fits(&large, 1 << 20).is_err());
    assert!(running.fits(&large, 4 << 20).is_ok());
}

#[test]
fn lists_are_properties_that_java_reads() {
    let mut running = settings(&[("brokerName", "a"), ("listenPort", "5")]);
    change(&mut running, "brokerPermission=4").unwrap();
    let changes = running.check(b"orderMessageEnable=true", true).unwrap();
    running.change(changes, 8);
    let broker = running.listing(false);
    let names = running.listing(true);
    for line in ["brokerName=a", "brokerPermission=4", "listenPort=5", "kerolox.strict=false"] {
        assert!(broker.lines().any(|l| l == line), "{line}\n{broker}");
    }
    for line in ["orderMessageEnable=true", "listenPort=9876", "bindAddress=127.0.0.1"] {
        assert!(names.lines().any(|l| l == line), "{line}\n{names}");
    }
    assert!(!names.contains("brokerName") && !broker.contains("orderMessageEnable"));
    assert!(broker.lines().is_sorted() && names.lines().is_sorted());
    let read = properties::parse(&broker).unwrap();
    assert_eq!(read["messageDelayLevel"].1.split(' ').count(), 18);
    let origin = |rows: &[Row], key: &str| {
        rows.iter().find(|row| row.key.name == key).map(|row| row.origin.clone()).unwrap()
    };
    let rows = running.rows();
    assert_eq!(origin(&rows, "brokerName"), "test");
    assert_eq!(origin(&rows, "brokerPermission"), "changed while the server ran");
    assert_eq!(origin(&rows, "traceOn"), "default");
}

#[test]
fn files_go_before_their_time_from_the_lower_of_two_ratios_on_unless_that_must_not_be() {
    for (forcibly, ratio, warning, from) in [
        ("true", "85", "90", 85),
        ("true", "85", "40", 40),
        ("true", "100", "40", SPACE_NEVER),
        ("false", "85", "90", SPACE_NEVER),
    ] {
        let values = values(&[
            ("cleanFileForciblyEnable", forcibly),
            ("diskSpaceCleanForciblyRatio", ratio),
            ("diskSpaceWarningLevelRatio", warning),
        ]);
        assert_eq!(retention(&values).disk_force_percent, from, "{ratio} {warning}");
    }
}
