//! Policies that another version of keepalive has applied. Only the text that describes a policy differs between versions;
//! the kernel runs the program as before.

use super::{POLICY, both_ends};
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::bpf::call::{map_info, pinned, set_value, value};
use serde_json::{Value, json};

/// Replaces the text that describes the policy of the cgroup.
#[track_caller]
fn describe(test_cgroup: &TestCgroup, description: &str) {
    let pins = test_cgroup.pins();
    let mut files = pins.iter().filter(|path| path.contains("/policy-"));
    let path = test_cgroup.file_system().join(files.next().expect("a policy"));
    assert_eq!(files.next(), None, "{pins:?}");
    let map = pinned(&path).expect("root may open it");
    let mut content = value(&map, map_info(&map).expect("a map").value_size).expect("a value");
    // Two numbers of four bytes, those of the counters and of the bytes of the text; then counters of eight bytes.
    let [counters, length] =
        [0, 4].map(|at: usize| u32::from_ne_bytes(content[at..at + 4].try_into().expect("4 bytes")));
    let begin = 8 + 8 * usize::try_from(counters).expect("a number");
    assert!(
        description.len() <= usize::try_from(length).expect("a number"),
        "{length}"
    );
    content[4..8].copy_from_slice(&u32::try_from(description.len()).expect("a number").to_ne_bytes());
    content[begin..].fill(0);
    content[begin..begin + description.len()].copy_from_slice(description.as_bytes());
    set_value(&map, 0, &content).expect("the value of the map");
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
            "{name}: active\n  another version of keepalive applied it, in a form that this one cannot read;\n  \
             enable replaces it\n"
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
