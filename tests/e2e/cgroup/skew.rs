//! Policies that another version of keepalive has applied. Only the text that describes a policy differs between versions;
//! the kernel runs the program as before.

use super::{POLICY, both_ends};
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::bpf::call::{MapKind, create_map, pin, set_value};
use serde_json::{Value, json};
use std::fs;

/// Replaces the file that describes the policy of the cgroup by one in the form of version 0.1.0.
#[track_caller]
fn describe(test_cgroup: &TestCgroup, description: &str) {
    let pins = test_cgroup.pins();
    let mut files = pins.iter().filter(|path| path.contains("/policy-"));
    let path = test_cgroup.file_system().join(files.next().expect("a policy"));
    assert_eq!(files.next(), None, "{pins:?}");
    // The numbers of counters and of bytes of the text; the counters of the default and of refused options; the text.
    let mut content = [2, u32::try_from(description.len()).expect("a number")]
        .map(u32::to_ne_bytes)
        .concat();
    content.extend([4_u64, 0].map(u64::to_ne_bytes).concat());
    content.extend(description.bytes());
    content.resize(content.len().next_multiple_of(8), 0);
    let size = content.len().try_into().expect("a number");
    let map = create_map(MapKind::Single, "ka_policy", size, 1).expect("a map");
    set_value(&map, 0, &content).expect("the value of the map");
    fs::remove_file(&path).expect("it was there");
    pin(&map, &path).expect("it is gone");
}

/// Describes the policy as version 0.1.0 did before it stored when the policy was applied.
#[track_caller]
fn describe_as_before(test_cgroup: &TestCgroup) {
    let description = json!({
        "cgroup": test_cgroup.name(),
        "default": "idle=61s interval=13s count=4",
        "rules": [],
        "reads_fields": true,
        "compared_because": null,
        "is_watched": false,
        "needs_names": false,
        "is_lasting": false,
    });
    describe(test_cgroup, &description.to_string());
}

#[test]
fn policy_of_an_older_version_is_shown_and_taken_over() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    test_cgroup.enable(&POLICY);
    let hash = test_cgroup.status()["hash"].clone();
    describe_as_before(&test_cgroup);
    let status = test_cgroup.status();
    assert_eq!(status["state"], "in-force");
    assert_eq!(
        (&status["hash"], &status["since"], &status["version"]),
        (&hash, &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&status["default_connections"], &status["default_ended"]),
        (&4.into(), &Value::Null)
    );
    let shown = test_cgroup.quiet(&["cgroup", "status"]);
    let hash = hash.as_str().expect("a text");
    assert!(shown.ends_with(&format!("  policy {hash}\n")), "{shown}");
    assert_eq!(test_cgroup.enable(&["--idle=31"]), format!("{name}: replaced\n"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    describe_as_before(&test_cgroup);
    assert_eq!(test_cgroup.disable(), format!("{name}: disabled\n"));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn unreadable_policy_of_another_version_is_reported_and_taken_over() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    test_cgroup.enable(&POLICY);
    describe(&test_cgroup, "{\"form\": 2}");
    let output = test_cgroup.output(&["cgroup", "status", &name]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_eq!(
        text(&output.stdout),
        format!(
            "{name}: active\n  its rules and counters cannot be read: another version of keepalive has applied it\n"
        )
    );
    let status = test_cgroup.status();
    assert_eq!((&status["state"], &status["hash"]), (&"in-force".into(), &Value::Null));
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    assert_eq!(test_cgroup.enable(&["--idle=31"]), format!("{name}: replaced\n"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    describe(&test_cgroup, "{\"form\": 2}");
    assert_eq!(test_cgroup.disable(), format!("{name}: disabled\n"));
    assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}
