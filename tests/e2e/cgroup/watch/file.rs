//! The file of rules, as it changes.

use super::{Watch, disabled, has};
use crate::cgroup::{both_ends, pair_with};
use crate::support::process::text;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn it_follows_changes_of_the_file() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s\n").expect("a file of ours");
    let name = test_cgroup.name();
    let mut watch = Watch::start(
        &test_cgroup,
        &[&name, "--config", path.to_str().expect("a path of ours")],
    );
    watch.says(&format!("{name}: active"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    fs::write(&path, "default idle=32s\n").expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 32 75 9 0"; 2]);
    // As editors write.
    let other = files.path().join("other");
    fs::write(&other, "default idle=33s\n").expect("a file of ours");
    fs::rename(&other, &path).expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 33 75 9 0"; 2]);
    watch.ends(Signal::TERM, &disabled(&name));
}

/// As kubelet puts configuration maps into containers.
#[test]
fn it_follows_a_link_to_a_directory_that_is_swapped() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let inside = |name: &str| files.path().join(name);
    for (directory, text) in [("one", "default idle=31s\n"), ("two", "default idle=32s\n")] {
        fs::create_dir(inside(directory)).expect("a directory of ours");
        fs::write(inside(directory).join("keepalive.conf"), text).expect("a file of ours");
    }
    symlink("one", inside("..data")).expect("a link of ours");
    symlink("..data/keepalive.conf", inside("keepalive.conf")).expect("a link of ours");
    let path = inside("keepalive.conf");
    let name = test_cgroup.name();
    let mut watch = Watch::start(
        &test_cgroup,
        &[&name, "--config", path.to_str().expect("a path of ours")],
    );
    watch.says(&format!("{name}: active"));
    symlink("two", inside("..new")).expect("a link of ours");
    fs::rename(inside("..new"), inside("..data")).expect("a link of ours");
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 32 75 9 0"; 2]);
    watch.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn a_mistake_in_the_file_is_told_once_and_the_policy_from_before_stays() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    let shown = path.to_str().expect("a path of ours");
    fs::write(&path, "default idle=31s\n").expect("a file of ours");
    let name = test_cgroup.name();
    let late = test_cgroup.directory().join("late");
    let late_name = test_cgroup.name_of(&late);
    let mut watch = Watch::start(&test_cgroup, &[&name, &late_name, "--config", shown]);
    watch.says(&format!("{name}: active"));
    watch.waits_for(&late_name);
    fs::write(&path, "default idel=32s\n").expect("a file of ours");
    let first = watch.0.answer();
    assert!(first.starts_with(&format!("{shown}:1:9: ")), "{first}");
    let mut line = first;
    while line != "keepalive: the policy from before stays active" {
        assert_ne!(line, "");
        line = watch.0.answer();
    }
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    // What comes meanwhile has the policy from before, and nobody is told again.
    fs::create_dir(&late).expect("it is not there");
    watch.says(&format!("{late_name}: active"));
    assert_eq!(has(&test_cgroup, &late), "1 31 75 9 0");
    fs::remove_file(&path).expect("a file of ours");
    watch.says(&format!("keepalive: cannot read '{shown}': No such file or directory"));
    watch.says("keepalive: the policy from before stays active");
    fs::write(&path, "default idle=33s\n").expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    watch.says(&format!("{late_name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 33 75 9 0"; 2]);
    let both = [name.as_str(), &late_name].map(|name| format!("keepalive: {name}: disabled"));
    watch.ends(Signal::TERM, &both);
}

#[test]
fn what_is_wrong_at_the_beginning_ends_it() {
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
fn open_connections_are_set_whenever_the_policy_is() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s mode=enforce\n").expect("a file of ours");
    let mut program = pair_with(&test_cgroup, "");
    let name = test_cgroup.name();
    let mut watch = Watch::start(
        &test_cgroup,
        &[&name, "--existing", "--config", path.to_str().expect("a path of ours")],
    );
    watch.says(&format!("{name}: active"));
    watch.says(&format!("{name}: 3 of 3 open sockets changed"));
    assert_eq!(program.has("client"), "1 31 75 9 0");
    fs::write(&path, "default idle=32s mode=enforce\n").expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    watch.says(&format!("{name}: 3 of 3 open sockets changed"));
    assert_eq!(program.has("client"), "1 32 75 9 0");
    watch.ends(Signal::TERM, &disabled(&name));
}
