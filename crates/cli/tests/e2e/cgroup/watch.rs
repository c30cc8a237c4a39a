//! `enable --watch`: a policy that follows its file, and cgroups that come and go.

use super::{POLICY, both_ends};
use crate::support::arena::Arena;
use crate::support::dialogue::Dialogue;
use crate::support::keepalive;
use crate::support::observe::family;
use crate::support::process::text;
use crate::support::target::{TREATED, UNTOUCHED};
use keepalive_linux::cgroup;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A command that watches, with all that it says.
struct Watch(Dialogue);

impl Watch {
    fn start(arena: &Arena, words: &[&str]) -> Self {
        Self::under(arena, &[], words)
    }

    fn under(arena: &Arena, wrapper: &[&str], words: &[&str]) -> Self {
        let mut command = arena.inside("sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh"]).args(wrapper);
        command
            .arg(keepalive())
            .args(["cgroup", "enable", "--watch"])
            .args(words);
        Self(Dialogue::start(&mut command))
    }

    /// The next line that it prints is this one.
    #[track_caller]
    fn says(&mut self, expected: &str) {
        assert_eq!(self.0.answer(), expected);
    }

    #[track_caller]
    fn waits_for(&mut self, name: &str) {
        self.says(&format!(
            "keepalive: waiting for the cgroup '{name}', which is not there"
        ));
    }

    /// Ends it by a signal; it says this, and nothing more.
    #[track_caller]
    fn ends(&mut self, signal: Signal, expected: &[String]) {
        send(self.0.pid(), signal);
        for line in expected {
            self.says(line);
        }
        self.says("");
        assert_eq!(self.0.wait_for_end().code(), Some(0));
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    kill_process(pid, signal).expect("it runs");
}

fn disabled(name: &str) -> [String; 1] {
    [format!("keepalive: {name}: disabled")]
}

/// What a new connection in `directory` has.
fn has(arena: &Arena, directory: &Path) -> String {
    let mut program = arena.puppet_in(directory, &[]);
    program.does("client, accepted = pair(listen())");
    program.has("client")
}

#[test]
fn the_policy_is_in_force_until_the_command_is_ended() {
    let arena = arena!();
    python!();
    let name = arena.name();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut watch = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
        watch.says(&format!("{name}: in force"));
        assert_eq!(both_ends(&arena), [TREATED; 2]);
        watch.ends(signal, &disabled(&name));
        assert_eq!(both_ends(&arena), [UNTOUCHED; 2]);
        assert!(arena.pins().is_empty(), "{:?}", arena.pins());
    }
}

#[test]
fn it_waits_for_a_cgroup_that_comes_and_goes() {
    let arena = arena!();
    python!();
    let directory = arena.directory().join("late");
    let name = arena.name_of(&directory);
    let mut watch = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    watch.waits_for(&name);
    for _ in 0..2 {
        fs::create_dir(&directory).expect("it is not there");
        watch.says(&format!("{name}: in force"));
        assert_eq!(has(&arena, &directory), TREATED);
        cgroup::remove(&directory).expect("nothing is in it");
        watch.waits_for(&name);
    }
    watch.ends(Signal::TERM, &[]);
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn it_may_be_ended_before_there_is_a_cgroup() {
    let arena = arena!();
    let name = format!("{}/never", arena.name());
    let mut watch = Watch::start(&arena, &[&name]);
    watch.waits_for(&name);
    watch.ends(Signal::TERM, &[]);
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

/// As a unit that is restarted.
#[test]
fn a_cgroup_that_is_made_again_at_once_has_the_policy_again() {
    let arena = arena!();
    python!();
    let directory = arena.child("unit");
    let name = arena.name_of(&directory);
    let mut watch = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: in force"));
    cgroup::remove(&directory).expect("nothing is in it");
    fs::create_dir(&directory).expect("it is gone");
    watch.says(&format!("{name}: in force"));
    assert_eq!(has(&arena, &directory), TREATED);
    let report = arena.report();
    assert_eq!(report["cgroups"].as_array().map(Vec::len), Some(1), "{report}");
    watch.ends(Signal::TERM, &disabled(&name));
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn a_unit_is_waited_for_by_its_name() {
    let arena = arena!();
    python!();
    let unit = format!("keepalive-test-{}-watched.service", std::process::id());
    let mut watch = Watch::start(&arena, &[&[unit.as_str()], &POLICY[..]].concat());
    watch.waits_for(&unit);
    arena.child("some.slice");
    let directory = arena.child(&format!("some.slice/{unit}"));
    let name = arena.name_of(&directory);
    watch.says(&format!("{name}: in force"));
    assert_eq!(has(&arena, &directory), TREATED);
    watch.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn it_follows_changes_of_the_file() {
    let arena = arena!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s\n").expect("a file of ours");
    let name = arena.name();
    let mut watch = Watch::start(&arena, &[&name, "--config", path.to_str().expect("a path of ours")]);
    watch.says(&format!("{name}: in force"));
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    fs::write(&path, "default idle=32s\n").expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), ["1 32 75 9 0"; 2]);
    // As editors write.
    let other = files.path().join("other");
    fs::write(&other, "default idle=33s\n").expect("a file of ours");
    fs::rename(&other, &path).expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), ["1 33 75 9 0"; 2]);
    watch.ends(Signal::TERM, &disabled(&name));
}

/// As kubelet puts configuration maps into containers.
#[test]
fn it_follows_a_link_to_a_directory_that_is_swapped() {
    let arena = arena!();
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
    let name = arena.name();
    let mut watch = Watch::start(&arena, &[&name, "--config", path.to_str().expect("a path of ours")]);
    watch.says(&format!("{name}: in force"));
    symlink("two", inside("..new")).expect("a link of ours");
    fs::rename(inside("..new"), inside("..data")).expect("a link of ours");
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), ["1 32 75 9 0"; 2]);
    watch.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn a_mistake_in_the_file_is_told_once_and_the_policy_from_before_stays() {
    let arena = arena!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    let shown = path.to_str().expect("a path of ours");
    fs::write(&path, "default idle=31s\n").expect("a file of ours");
    let name = arena.name();
    let late = arena.directory().join("late");
    let late_name = arena.name_of(&late);
    let mut watch = Watch::start(&arena, &[&name, &late_name, "--config", shown]);
    watch.says(&format!("{name}: in force"));
    watch.waits_for(&late_name);
    fs::write(&path, "default idel=32s\n").expect("a file of ours");
    let first = watch.0.answer();
    assert!(first.starts_with(&format!("{shown}:1:9: ")), "{first}");
    let mut line = first;
    while line != "keepalive: the policy from before stays in force" {
        assert_ne!(line, "");
        line = watch.0.answer();
    }
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    // What comes meanwhile has the policy from before, and nobody is told again.
    fs::create_dir(&late).expect("it is not there");
    watch.says(&format!("{late_name}: in force"));
    assert_eq!(has(&arena, &late), "1 31 75 9 0");
    fs::remove_file(&path).expect("a file of ours");
    watch.says(&format!(
        "keepalive: cannot read '{shown}': No such file or directory (os error 2)"
    ));
    watch.says("keepalive: the policy from before stays in force");
    fs::write(&path, "default idle=33s\n").expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    watch.says(&format!("{late_name}: replaced"));
    assert_eq!(both_ends(&arena), ["1 33 75 9 0"; 2]);
    let both = [name.as_str(), &late_name].map(|name| format!("keepalive: {name}: disabled"));
    watch.ends(Signal::TERM, &both);
}

#[test]
fn what_is_wrong_at_the_beginning_ends_it() {
    let arena = arena!();
    let name = arena.name();
    for (words, status, expected) in [
        (["--watch", "--rule=nonsense"], 2, "--rule:1:1: "),
        (["--watch", "--config=/nowhere"], 2, "cannot read '/nowhere'"),
    ] {
        let output = arena.output(&[&["cgroup", "enable", &name], &words[..]].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    let output = arena.output(&["cgroup", "enable", "--watch"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn another_command_takes_over_and_what_it_says_stays() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let mut watch = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: in force"));
    arena.enable(&["--idle=31"]);
    watch.says(&format!("keepalive: {name}: another command has taken over"));
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    watch.ends(Signal::TERM, &[]);
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    assert_eq!(arena.status()["state"], "in-force");
}

#[test]
fn what_another_command_has_disabled_is_put_in_force_again() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let mut watch = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: in force"));
    arena.disable();
    watch.says(&format!("{name}: in force"));
    arena.enable(&["--idle=31"]);
    watch.says(&format!("keepalive: {name}: another command has taken over"));
    arena.disable();
    watch.says(&format!("{name}: in force"));
    assert_eq!(both_ends(&arena), [TREATED; 2]);
    watch.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn the_policy_outlives_a_command_that_is_killed_and_the_next_takes_it_over() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let mut first = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    first.says(&format!("{name}: in force"));
    send(first.0.pid(), Signal::KILL);
    first.0.wait_for_end();
    assert_eq!(both_ends(&arena), [TREATED; 2]);
    let mut second = Watch::start(&arena, &[&name, "--idle=31"]);
    second.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    second.ends(Signal::TERM, &disabled(&name));
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn of_two_that_watch_the_later_one_counts_and_the_other_stands_by() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let mut first = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    first.says(&format!("{name}: in force"));
    let mut second = Watch::start(&arena, &[&name, "--idle=31"]);
    second.says(&format!("{name}: replaced"));
    first.says(&format!("keepalive: {name}: another command has taken over"));
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    send(second.0.pid(), Signal::KILL);
    first.says(&format!(
        "keepalive: {name}: the command that had taken over has ended without a word"
    ));
    first.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), [TREATED; 2]);
    first.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn open_connections_are_set_whenever_the_policy_is() {
    let arena = arena!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s mode=enforce\n").expect("a file of ours");
    let mut program = super::pair_with(&arena, "");
    let name = arena.name();
    let mut watch = Watch::start(
        &arena,
        &[&name, "--existing", "--config", path.to_str().expect("a path of ours")],
    );
    watch.says(&format!("{name}: in force"));
    watch.says(&format!("{name}: 3 of 3 open sockets changed"));
    assert_eq!(program.has("client"), "1 31 75 9 0");
    fs::write(&path, "default idle=32s mode=enforce\n").expect("a file of ours");
    watch.says(&format!("{name}: replaced"));
    watch.says(&format!("{name}: 3 of 3 open sockets changed"));
    assert_eq!(program.has("client"), "1 32 75 9 0");
    watch.ends(Signal::TERM, &disabled(&name));
}

/// As in a container: signals that a first process does not ask for do nothing to it.
#[test]
fn it_ends_as_the_first_process_of_a_pid_namespace() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for signal in [Signal::TERM, Signal::INT] {
        let mut watch = Watch::under(&arena, &wrapper, &[&[name.as_str()], &POLICY[..]].concat());
        watch.says(&format!("{name}: in force"));
        assert_eq!(both_ends(&arena), [TREATED; 2]);
        send(family(watch.0.pid())[1], signal);
        watch.says(&format!("keepalive: {name}: disabled"));
        watch.says("");
        assert_eq!(watch.0.wait_for_end().code(), Some(0));
        assert!(arena.pins().is_empty(), "{:?}", arena.pins());
    }
}
