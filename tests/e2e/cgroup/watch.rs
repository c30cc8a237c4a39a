//! `enable --watch`: a policy that follows its file, and cgroups that are created and removed.

mod file;
mod refused;
mod unread;

use super::{POLICY, both_ends};
use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::process::{LIMIT, eventually, text};
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use crate::support::test_cgroup::TestCgroup;
use keepalive_sys::cgroup;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;

/// A command with `--watch`, and its output.
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

    /// Asserts that the next printed line is this one.
    #[track_caller]
    pub(super) fn expect_line(&mut self, expected: &str) {
        assert_eq!(self.0.answer(), expected);
    }

    /// Waits for this line. Lines before it are about what the command sees meanwhile.
    #[track_caller]
    pub(super) fn wait_for_line(&mut self, expected: &str) {
        loop {
            let line = self.0.answer();
            assert_ne!(line, "", "the command has ended");
            if line == expected {
                return;
            }
        }
    }

    /// Returns the process number of the started program, which may be a wrapper.
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Returns the next printed line; empty at the end.
    pub(super) fn answer(&mut self) -> String {
        self.0.answer()
    }

    /// Returns the exit status.
    pub(super) fn wait_for_end(&mut self) -> Option<i32> {
        self.0.wait_for_end().code()
    }

    #[track_caller]
    fn expect_waiting(&mut self, name: &str) {
        self.expect_line(&format!(
            "keepalive: waiting for the cgroup '{name}', which is not there"
        ));
    }

    /// Ends the command by a signal, whatever it prints.
    #[track_caller]
    pub(super) fn end(&mut self, signal: Signal) {
        send(self.0.pid(), signal);
        while !self.0.answer().is_empty() {}
        assert_eq!(self.0.wait_for_end().code(), Some(0));
    }

    /// Ends the command by a signal. It must print these lines, and no others.
    #[track_caller]
    pub(super) fn end_by_signal(&mut self, signal: Signal, expected: &[String]) {
        send(self.0.pid(), signal);
        for line in expected {
            self.expect_line(line);
        }
        self.expect_line("");
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

/// Returns the options of a new connection in `directory`.
fn has(test_cgroup: &TestCgroup, directory: &Path) -> String {
    let mut program = test_cgroup.py_peer_in(directory, &[]);
    program.execute("client, accepted = pair(listen())");
    program.has("client")
}

#[test]
fn policy_is_active_until_the_command_ends() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
        watch.expect_line(&format!("{name}: active"));
        assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
        watch.end_by_signal(signal, &disabled(&name));
        assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}

#[test]
fn watch_waits_for_a_cgroup_that_is_created_and_removed() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = test_cgroup.directory().join("late");
    let name = test_cgroup.name_of(&directory);
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.expect_waiting(&name);
    for _ in 0..2 {
        fs::create_dir(&directory).expect("it is not there");
        watch.expect_line(&format!("{name}: active"));
        assert_eq!(has(&test_cgroup, &directory), POLICY_VALUES);
        cgroup::remove(&directory).expect("nothing is in it");
        watch.expect_waiting(&name);
    }
    watch.end_by_signal(Signal::TERM, &[]);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn watch_can_be_ended_before_the_cgroup_exists() {
    let test_cgroup = test_cgroup!();
    let name = format!("{}/never", test_cgroup.name());
    let mut watch = Watch::start(&test_cgroup, &[&name]);
    watch.expect_waiting(&name);
    watch.end_by_signal(Signal::TERM, &[]);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

/// As for a unit that is restarted.
#[test]
fn immediately_recreated_cgroup_has_the_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    let directory = test_cgroup.child("unit");
    let name = test_cgroup.name_of(&directory);
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.expect_line(&format!("{name}: active"));
    cgroup::remove(&directory).expect("nothing is in it");
    fs::create_dir(&directory).expect("it is gone");
    watch.expect_line(&format!("{name}: active"));
    assert_eq!(has(&test_cgroup, &directory), POLICY_VALUES);
    eventually("the entry of the removed cgroup is gone", LIMIT, || {
        (test_cgroup.report()["cgroups"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
    watch.end_by_signal(Signal::TERM, &disabled(&name));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn watch_waits_for_a_unit_by_its_name() {
    let test_cgroup = test_cgroup!();
    python!();
    let unit = format!("keepalive-test-{}-watched.service", std::process::id());
    let mut watch = Watch::start(&test_cgroup, &[&[unit.as_str()], &POLICY[..]].concat());
    watch.expect_waiting(&unit);
    test_cgroup.child("some.slice");
    let directory = test_cgroup.child(&format!("some.slice/{unit}"));
    let name = test_cgroup.name_of(&directory);
    watch.expect_line(&format!("{name}: active"));
    assert_eq!(has(&test_cgroup, &directory), POLICY_VALUES);
    watch.end_by_signal(Signal::TERM, &disabled(&name));
}

#[test]
fn second_cgroup_with_the_name_of_a_unit_does_not_end_its_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    let unit = format!("keepalive-test-{}-twice.service", std::process::id());
    let [first, second] = ["one", "two"].map(|above| {
        test_cgroup.child(above);
        test_cgroup.directory().join(above).join(&unit)
    });
    fs::create_dir(&first).expect("it is not there");
    let name = test_cgroup.name_of(&first);
    let mut watch = Watch::start(&test_cgroup, &[&[unit.as_str()], &POLICY[..]].concat());
    watch.expect_line(&format!("{name}: active"));
    fs::create_dir(&second).expect("it is not there");
    watch.expect_line(&format!(
        "keepalive: {name} keeps its policy, although there are 2 cgroups '{unit}'"
    ));
    assert_eq!(has(&test_cgroup, &first), POLICY_VALUES);
    assert_eq!(has(&test_cgroup, &second), KERNEL_DEFAULTS);
    watch.end_by_signal(Signal::TERM, &disabled(&name));
}

#[test]
fn policy_of_another_command_takes_over_and_stays() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.expect_line(&format!("{name}: active"));
    test_cgroup.enable(&["--idle=31"]);
    watch.expect_line(&format!("keepalive: {name}: another command has taken over"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    watch.end_by_signal(Signal::TERM, &[]);
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    assert_eq!(test_cgroup.status()["state"], "in-force");
}

#[test]
fn policy_disabled_by_another_command_is_applied_again() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.expect_line(&format!("{name}: active"));
    let output = test_cgroup.output(&["cgroup", "disable", &name]);
    let note = text(&output.stderr).replace("\n  ", " ");
    let pid = watch.pid();
    let expected = format!(
        "keepalive: {name}: process {pid}, enable --watch, will apply the policy again; end that process to end the policy\n"
    );
    assert_eq!((output.status.code(), note), (Some(0), expected));
    watch.expect_line(&format!("{name}: active"));
    test_cgroup.enable(&["--idle=31"]);
    watch.expect_line(&format!("keepalive: {name}: another command has taken over"));
    test_cgroup.disable();
    watch.expect_line(&format!("{name}: active"));
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    watch.end_by_signal(Signal::TERM, &disabled(&name));
}

#[test]
fn policy_outlives_a_killed_command_and_the_next_command_takes_over() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut first = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    first.expect_line(&format!("{name}: active"));
    assert_eq!(test_cgroup.status()["has_lost_its_watch"], false);
    send(first.0.pid(), Signal::KILL);
    first.0.wait_for_end();
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    assert_eq!(test_cgroup.status()["has_lost_its_watch"], true);
    let shown = test_cgroup.quiet(&["cgroup", "status", &name]);
    assert!(
        shown.ends_with("  enable --watch was killed: nothing follows changes of its rules file\n"),
        "{shown}"
    );
    let mut second = Watch::start(&test_cgroup, &[&name, "--idle=31"]);
    second.expect_line(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    second.end_by_signal(Signal::TERM, &disabled(&name));
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn later_of_two_watches_applies_and_the_other_is_standby() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let mut first = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    first.expect_line(&format!("{name}: active"));
    let mut second = Watch::start(&test_cgroup, &[&name, "--idle=31"]);
    second.expect_line(&format!("{name}: replaced"));
    first.expect_line(&format!("keepalive: {name}: another command has taken over"));
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    send(second.0.pid(), Signal::KILL);
    first.expect_line(&format!(
        "keepalive: {name}: the command that had taken over has ended without a word"
    ));
    first.expect_line(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    first.end_by_signal(Signal::TERM, &disabled(&name));
}

/// As in a container: the kernel ignores signals to a first process that has no handler for them.
#[test]
fn watch_ends_on_a_signal_as_first_process_of_a_pid_namespace() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for signal in [Signal::TERM, Signal::INT] {
        let mut watch = Watch::under(&test_cgroup, &wrapper, &[&[name.as_str()], &POLICY[..]].concat());
        watch.expect_line(&format!("{name}: active"));
        assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
        send(family(watch.0.pid())[1], signal);
        watch.expect_line(&format!("keepalive: {name}: disabled"));
        watch.expect_line("");
        assert_eq!(watch.0.wait_for_end().code(), Some(0));
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    }
}
