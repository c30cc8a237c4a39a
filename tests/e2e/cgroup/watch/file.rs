//! Changes of the rules file.

use super::{Watch, disabled, has};
use crate::cgroup::{both_ends, pair_with};
use crate::support::process::text;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn changes_of_the_file_are_applied() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s\n").expect("a file of the test");
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&name, "--config", path.to_str().expect("a UTF-8 path")]);
    watch.expect_line(&format!("{name}: active"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    fs::write(&path, "default idle=32s\n").expect("a file of the test");
    watch.expect_line(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 32 75 9 0"; 2]);
    // As editors write a file.
    let other = files.path().join("other");
    fs::write(&other, "default idle=33s\n").expect("a file of the test");
    fs::rename(&other, &path).expect("a file of the test");
    watch.expect_line(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 33 75 9 0"; 2]);
    watch.end_by_signal(Signal::TERM, &disabled(&name));
}

/// As the kubelet updates ConfigMap volumes.
#[test]
fn replaced_link_to_a_directory_is_followed() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let inside = |name: &str| files.path().join(name);
    for (directory, text) in [("one", "default idle=31s\n"), ("two", "default idle=32s\n")] {
        fs::create_dir(inside(directory)).expect("a directory of the test");
        fs::write(inside(directory).join("keepalive.conf"), text).expect("a file of the test");
    }
    symlink("one", inside("..data")).expect("a link of the test");
    symlink("..data/keepalive.conf", inside("keepalive.conf")).expect("a link of the test");
    let path = inside("keepalive.conf");
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&name, "--config", path.to_str().expect("a UTF-8 path")]);
    watch.expect_line(&format!("{name}: active"));
    symlink("two", inside("..new")).expect("a link of the test");
    fs::rename(inside("..new"), inside("..data")).expect("a link of the test");
    watch.expect_line(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 32 75 9 0"; 2]);
    watch.end_by_signal(Signal::TERM, &disabled(&name));
}

#[test]
fn mistake_in_the_file_is_reported_once_and_the_previous_policy_stays() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    let shown = path.to_str().expect("a UTF-8 path");
    fs::write(&path, "default idle=31s\n").expect("a file of the test");
    let name = test_cgroup.name();
    let late = test_cgroup.directory().join("late");
    let late_name = test_cgroup.name_of(&late);
    let mut watch = Watch::start(&test_cgroup, &[&name, &late_name, "--config", shown]);
    watch.expect_line(&format!("{name}: active"));
    watch.expect_waiting(&late_name);
    fs::write(&path, "default idel=32s\n").expect("a file of the test");
    let first = watch.0.answer();
    assert!(first.starts_with(&format!("{shown}:1:9: ")), "{first}");
    let mut line = first;
    while line != "keepalive: the policy from before stays active" {
        assert_ne!(line, "");
        line = watch.0.answer();
    }
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    // Cgroups that are created in the meantime have the previous policy, and the mistake is not reported again.
    fs::create_dir(&late).expect("it is not there");
    watch.expect_line(&format!("{late_name}: active"));
    assert_eq!(has(&test_cgroup, &late), "1 31 75 9 0");
    fs::remove_file(&path).expect("a file of the test");
    watch.expect_line(&format!("keepalive: cannot read '{shown}': No such file or directory"));
    watch.expect_line("keepalive: the policy from before stays active");
    fs::write(&path, "default idle=33s\n").expect("a file of the test");
    watch.expect_line(&format!("{name}: replaced"));
    watch.expect_line(&format!("{late_name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 33 75 9 0"; 2]);
    let both = [name.as_str(), &late_name].map(|name| format!("keepalive: {name}: disabled"));
    watch.end_by_signal(Signal::TERM, &both);
}

#[test]
fn mistake_at_the_start_ends_the_command() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    for (words, status, expected) in [
        (["--watch", "--rule=nonsense"], 2, "--rule:1:1: "),
        (["--watch", "--config=/nowhere"], 2, "cannot read '/nowhere'"),
    ] {
        let output = test_cgroup.output(&[&["cgroup", "enable", &name], &words[..]].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    let output = test_cgroup.output(&["cgroup", "enable", "--watch"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn with_existing_each_new_policy_sets_open_connections() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s mode=enforce\n").expect("a file of the test");
    let mut program = pair_with(&test_cgroup, "");
    let name = test_cgroup.name();
    let mut watch = Watch::start(
        &test_cgroup,
        &[&name, "--existing", "--config", path.to_str().expect("a UTF-8 path")],
    );
    watch.expect_line(&format!("{name}: active"));
    watch.expect_line(&format!("{name}: 2 of 2 open sockets changed"));
    assert_eq!(program.has("client"), "1 31 75 9 0");
    fs::write(&path, "default idle=32s mode=enforce\n").expect("a file of the test");
    watch.expect_line(&format!("{name}: replaced"));
    watch.expect_line(&format!("{name}: 2 of 2 open sockets changed"));
    assert_eq!(program.has("client"), "1 32 75 9 0");
    watch.end_by_signal(Signal::TERM, &disabled(&name));
}
