//! `enable --watch`: a policy that follows its file, and cgroups that come and go.

mod file;
mod unread;

use super::{POLICY, both_ends};
use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::target::{TREATED, UNTOUCHED};
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::cgroup;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;

/// A command that watches, with all that it says.
pub(super) struct Watch(LinePeer);

impl Watch {
    pub(super) fn start(test_cgroup: &TestCgroup, words: &[&str]) -> Self {
        Self::under(test_cgroup, &[], words)
    }

    pub(super) fn under(test_cgroup: &TestCgroup, wrapper: &[&str], words: &[&str]) -> Self {
        let mut command = test_cgroup.inside("sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh"]).args(wrapper);
        command
            .arg(keepalive())
            .args(["cgroup", "enable", "--watch"])
            .args(words);
        Self(LinePeer::start(&mut command))
    }

    /// The next line that it prints is this one.
    #[track_caller]
    pub(super) fn says(&mut self, expected: &str) {
        assert_eq!(self.0.answer(), expected);
    }

    /// The number of the process that was started, which may be a wrapper.
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The next line that it prints; empty at the end.
    pub(super) fn answer(&mut self) -> String {
        self.0.answer()
    }

    /// Its exit status.
    pub(super) fn wait_for_end(&mut self) -> Option<i32> {
        self.0.wait_for_end().code()
    }

    #[track_caller]
    fn waits_for(&mut self, name: &str) {
        self.says(&format!(
            "keepalive: waiting for the cgroup '{name}', which is not there"
        ));
    }

    /// Ends it by a signal; it says this, and nothing more.
    #[track_caller]
    pub(super) fn ends(&mut self, signal: Signal, expected: &[String]) {
        send(self.0.pid(), signal);
        for line in expected {
            self.says(line);
        }
        self.says("");
        assert_eq!(self.0.wait_for_end().code(), Some(0));
    }
}

pub(super) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    kill_process(pid, signal).expect("it runs");
}

fn disabled(name: &str) -> [String; 1] {
    [format!("keepalive: {name}: disabled")]
}

/// What a new connection in `directory` has.
fn has(test_cgroup: &TestCgroup, directory: &Path) -> String {
    let mut program = test_cgroup.py_peer_in(directory, &[]);
    program.does("client, accepted = pair(listen())");
    program.has("client")
}

#[test]
fn the_policy_is_active_until_the_command_is_ended() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
        watch.says(&format!("{name}: active"));
        assert_eq!(both_ends(&test_cgroup), [TREATED; 2]);
        watch.ends(signal, &disabled(&name));
        assert_eq!(both_ends(&test_cgroup), [UNTOUCHED; 2]);
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}

#[test]
fn it_waits_for_a_cgroup_that_comes_and_goes() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = test_cgroup.directory().join("late");
    let name = test_cgroup.name_of(&directory);
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.waits_for(&name);
    for _ in 0..2 {
        fs::create_dir(&directory).expect("it is not there");
        watch.says(&format!("{name}: active"));
        assert_eq!(has(&test_cgroup, &directory), TREATED);
        cgroup::remove(&directory).expect("nothing is in it");
        watch.waits_for(&name);
    }
    watch.ends(Signal::TERM, &[]);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn it_may_be_ended_before_there_is_a_cgroup() {
    let test_cgroup = test_cgroup!();
    let name = format!("{}/never", test_cgroup.name());
    let mut watch = Watch::start(&test_cgroup, &[&name]);
    watch.waits_for(&name);
    watch.ends(Signal::TERM, &[]);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// As a unit that is restarted.
#[test]
fn a_cgroup_that_is_made_again_at_once_has_the_policy_again() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = test_cgroup.child("unit");
    let name = test_cgroup.name_of(&directory);
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: active"));
    cgroup::remove(&directory).expect("nothing is in it");
    fs::create_dir(&directory).expect("it is gone");
    watch.says(&format!("{name}: active"));
    assert_eq!(has(&test_cgroup, &directory), TREATED);
    let report = test_cgroup.report();
    assert_eq!(report["cgroups"].as_array().map(Vec::len), Some(1), "{report}");
    watch.ends(Signal::TERM, &disabled(&name));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn a_unit_is_waited_for_by_its_name() {
    let test_cgroup = test_cgroup!();
    python!();
    let unit = format!("keepalive-test-{}-watched.service", std::process::id());
    let mut watch = Watch::start(&test_cgroup, &[&[unit.as_str()], &POLICY[..]].concat());
    watch.waits_for(&unit);
    test_cgroup.child("some.slice");
    let directory = test_cgroup.child(&format!("some.slice/{unit}"));
    let name = test_cgroup.name_of(&directory);
    watch.says(&format!("{name}: active"));
    assert_eq!(has(&test_cgroup, &directory), TREATED);
    watch.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn another_command_takes_over_and_what_it_says_stays() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: active"));
    test_cgroup.enable(&["--idle=31"]);
    watch.says(&format!("keepalive: {name}: another command has taken over"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    watch.ends(Signal::TERM, &[]);
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    assert_eq!(test_cgroup.status()["state"], "in-force");
}

#[test]
fn what_another_command_has_disabled_is_applied_again() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: active"));
    test_cgroup.disable();
    watch.says(&format!("{name}: active"));
    test_cgroup.enable(&["--idle=31"]);
    watch.says(&format!("keepalive: {name}: another command has taken over"));
    test_cgroup.disable();
    watch.says(&format!("{name}: active"));
    assert_eq!(both_ends(&test_cgroup), [TREATED; 2]);
    watch.ends(Signal::TERM, &disabled(&name));
}

#[test]
fn the_policy_outlives_a_command_that_is_killed_and_the_next_takes_it_over() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut first = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    first.says(&format!("{name}: active"));
    send(first.0.pid(), Signal::KILL);
    first.0.wait_for_end();
    assert_eq!(both_ends(&test_cgroup), [TREATED; 2]);
    let mut second = Watch::start(&test_cgroup, &[&name, "--idle=31"]);
    second.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    second.ends(Signal::TERM, &disabled(&name));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn of_two_that_watch_the_later_one_counts_and_the_other_stands_by() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut first = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    first.says(&format!("{name}: active"));
    let mut second = Watch::start(&test_cgroup, &[&name, "--idle=31"]);
    second.says(&format!("{name}: replaced"));
    first.says(&format!("keepalive: {name}: another command has taken over"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    send(second.0.pid(), Signal::KILL);
    first.says(&format!(
        "keepalive: {name}: the command that had taken over has ended without a word"
    ));
    first.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), [TREATED; 2]);
    first.ends(Signal::TERM, &disabled(&name));
}

/// As in a container: signals that a first process does not ask for do nothing to it.
#[test]
fn it_ends_as_the_first_process_of_a_pid_namespace() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for signal in [Signal::TERM, Signal::INT] {
        let mut watch = Watch::under(&test_cgroup, &wrapper, &[&[name.as_str()], &POLICY[..]].concat());
        watch.says(&format!("{name}: active"));
        assert_eq!(both_ends(&test_cgroup), [TREATED; 2]);
        send(family(watch.0.pid())[1], signal);
        watch.says(&format!("keepalive: {name}: disabled"));
        watch.says("");
        assert_eq!(watch.0.wait_for_end().code(), Some(0));
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}
