//! The pinned counters of other versions.

use super::{PROBED, ended, forget, pair_with, wait_for_end};
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::bpf::call::{MapKind, create_map, map_info, pin, pinned, set_value, value};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Returns the path of the pinned policy.
fn policy(test_cgroup: &TestCgroup) -> PathBuf {
    let pins = test_cgroup.pins();
    let policy = pins.iter().find(|path| path.contains("/policy-"));
    test_cgroup.file_system().join(policy.expect("a policy"))
}

/// Replaces the pinned policy by the record of version 0.1.0: without counters of connections that fail, and without the
/// field that says why.
fn make_older(test_cgroup: &TestCgroup) {
    let path = policy(test_cgroup);
    let map = pinned(&path).expect("a map");
    let now = value(&map, map_info(&map).expect("a map").value_size).expect("a value");
    let number = |index: usize| u32::from_ne_bytes(*now[4 * index..].first_chunk().expect("four bytes"));
    let [counters, length] = [0, 1].map(|index| usize::try_from(number(index)).expect("a length"));
    let begin = 8 + 8 * counters;
    let text = str::from_utf8(&now[begin..begin + length]).expect("text");
    assert!(now.len() > begin + length + 7, "nothing follows the text");
    let text = text.replace(",\"uncounted_because\":null", "");
    assert!(!text.contains("uncounted"), "{text}");
    let mut older = now[..begin].to_vec();
    older[4..8].copy_from_slice(&u32::try_from(text.len()).expect("a length").to_ne_bytes());
    older.extend(text.bytes());
    older.resize(older.len().next_multiple_of(8), 0);
    let size = u32::try_from(older.len()).expect("a length");
    let map = create_map(MapKind::Single, "ka_policy", size, 1).unwrap_or_else(|error| panic!("{:?}", error.error));
    set_value(&map, 0, &older).expect("a map");
    fs::remove_file(&path).expect("a pin");
    pin(&map, &path).expect("a pin");
}

#[test]
fn policy_of_an_older_version_is_shown_and_replaced() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&[&PROBED[..], &["--rule=connect 127.0.0.0/8 idle=9"]].concat());
    let mut program = pair_with(&test_cgroup, "");
    make_older(&test_cgroup);
    let status = test_cgroup.status();
    let rule = &status["rules"][0];
    assert_eq!((&rule["connections"], &rule["ended"]), (&1.into(), &Value::Null));
    assert_eq!(status["default_connections"], 1);
    assert_eq!(status["default_ended"], Value::Null);
    assert_eq!(status["uncounted_because"], Value::Null);
    let name = test_cgroup.name();
    let printed = test_cgroup.enable(&PROBED);
    assert_eq!(printed, format!("{name}: replaced\n"));
    program.execute("client, accepted = pair(listener)");
    forget(&mut program);
    wait_for_end(&mut program);
    assert_eq!(test_cgroup.status()["default_ended"], ended(Some("reset-on-probe"), 1));
    assert_eq!(test_cgroup.pins().len(), 4, "{:?}", test_cgroup.pins());
}

#[test]
fn policy_that_cannot_be_read_is_reported_and_replaced() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&PROBED);
    let path = policy(&test_cgroup);
    fs::remove_file(&path).expect("a pin");
    let name = test_cgroup.name();
    assert_eq!(
        test_cgroup.quiet(&["cgroup", "status", &name]),
        format!(
            "{name}: active\n  its rules and counters cannot be read: another version of keepalive has applied it\n"
        )
    );
    assert_eq!(test_cgroup.enable(&PROBED), format!("{name}: replaced\n"));
    assert_eq!(test_cgroup.status()["default_ended"], ended(None, 0));
}
