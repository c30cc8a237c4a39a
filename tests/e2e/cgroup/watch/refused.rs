//! A change of the rules file that is refused, as `status` and a readiness probe see it.

use super::Watch;
use crate::cgroup::both_ends;
use crate::support::process::{LIMIT, eventually, text};
use crate::support::test_cgroup::TestCgroup;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::process::Output;

/// Runs the command of a readiness probe.
fn probe(test_cgroup: &TestCgroup) -> Output {
    test_cgroup.output(&["cgroup", "status", &test_cgroup.name(), "--watched"])
}

/// Waits until the probe has this exit status. Returns its result.
#[track_caller]
fn wait_for_probe(test_cgroup: &TestCgroup, status: i32) -> Output {
    eventually("the probe's result", LIMIT, || {
        let output = probe(test_cgroup);
        (output.status.code() == Some(status)).then_some(output)
    })
}

#[test]
fn refused_file_shows_in_the_readiness_probe_until_it_is_corrected() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    let shown = path.to_str().expect("a UTF-8 path");
    fs::write(&path, "default idle=31s\n").expect("a file of the test");
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&name, "--config", shown]);
    watch.expect_line(&format!("{name}: active"));
    // The command of the test is in the same mount namespace as the watch.
    assert_eq!(probe(&test_cgroup).status.code(), Some(0), "{:?}", probe(&test_cgroup));
    assert_eq!(test_cgroup.status()["error"], Value::Null);
    let hash = test_cgroup.status()["hash"].clone();

    fs::write(&path, "default idle=31s\nconnect 10.0.0.0/8 idel=32s\n").expect("a file of the test");
    let output = wait_for_probe(&test_cgroup, 1);
    let error = text(&output.stderr);
    let place = format!("{shown}:2:20: unknown setting");
    assert!(
        error.starts_with(&format!(
            "keepalive: {name}: the newest policy has been refused since 2"
        )),
        "{error}"
    );
    assert!(
        error.contains(&format!("Z, and the one before it is active:\n{place}\n")),
        "{error}"
    );
    let status = test_cgroup.status();
    assert!(
        status["error"]["message"]
            .as_str()
            .is_some_and(|message| message.starts_with(&place)),
        "{status}"
    );
    assert!(
        status["error"]["since"]
            .as_str()
            .is_some_and(|since| since.ends_with('Z')),
        "{status}"
    );
    assert_eq!(
        (&status["hash"], &status["state"]),
        (&hash, &"in-force".into()),
        "{status}"
    );
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);

    // The same policy as before: nothing is applied, and the error is gone all the same.
    fs::write(&path, "default idle=31s\n").expect("a file of the test");
    wait_for_probe(&test_cgroup, 0);
    assert_eq!(test_cgroup.status()["error"], Value::Null);
    fs::remove_file(&path).expect("a file of the test");
    let error = text(&wait_for_probe(&test_cgroup, 1).stderr);
    assert!(
        error.contains(&format!("keepalive: cannot read '{shown}': No such file or directory")),
        "{error}"
    );
    fs::write(&path, "default idle=33s\n").expect("a file of the test");
    wait_for_probe(&test_cgroup, 0);
    eventually("another policy", LIMIT, || {
        (test_cgroup.status()["hash"] != hash).then_some(())
    });
    watch.end(Signal::TERM);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// The message of a file with thousands of mistakes is cut, and one of a policy that has ended is gone.
#[test]
fn refusal_ends_with_the_policy_and_has_a_limit() {
    let test_cgroup = test_cgroup!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s\n").expect("a file of the test");
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&name, "--config", path.to_str().expect("a UTF-8 path")]);
    watch.expect_line(&format!("{name}: active"));
    fs::write(&path, "default idel=ö\n".repeat(2000)).expect("a file of the test");
    wait_for_probe(&test_cgroup, 1);
    let status = test_cgroup.status();
    let message = status["error"]["message"].as_str().expect("a text");
    assert!(
        message.len() < 4200 && message.ends_with('…'),
        "{} {message}",
        message.len()
    );
    test_cgroup.enable(&["--idle=35"]);
    assert_eq!(test_cgroup.status()["error"], Value::Null);
    test_cgroup.disable();
    // The watch applies its policy again, and stores again why a newer one is not active.
    wait_for_probe(&test_cgroup, 1);
    watch.end(Signal::TERM);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}
