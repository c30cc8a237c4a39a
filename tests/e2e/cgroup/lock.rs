//! Commands while another command holds the lock: status ignores the lock; commands that change something wait for a
//! limited time, and name the holder.

use super::watch::{Watch, send};
use super::{POLICY, both_ends};
use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile};
use crate::support::test_cgroup::{NO_BPF_FILE_SYSTEM, TestCgroup};
use keepalive_sys::lock::try_exclusive;
use rustix::process::Signal;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

const HINT: &str =
    "hint: a command of keepalive holds it for milliseconds: wait for that process, or end it, and try again";

/// Takes the lock in the process of the tests.
fn hold(test_cgroup: &TestCgroup) -> OwnedFd {
    let lock = try_exclusive(&test_cgroup.file_system().join("keepalive"));
    lock.expect("a policy is active").expect("the lock is free")
}

/// Returns what commands print about this process when it holds the lock.
fn holder() -> String {
    let name = fs::read_to_string("/proc/self/comm").expect("a name");
    let pid = std::process::id();
    format!(
        "process {pid} ({}) has held the lock of /sys/fs/bpf/keepalive for 10 s",
        name.trim_end()
    )
}

/// A command that is stopped before its first call of this name.
struct Stopped(LinePeer);

impl Stopped {
    fn before(test_cgroup: &TestCgroup, call: &str, args: &[&str]) -> Self {
        let killer = compile(Libc::Host, "killed.c", &[]);
        let mut command = test_cgroup.inside("env");
        command
            .arg(killer)
            .args(["hold", call, "1"])
            .arg(keepalive())
            .args(args);
        let mut stopped = Self(LinePeer::start(&mut command));
        let answer = stopped.0.answer();
        assert!(answer.starts_with(&format!("held before {call}: ")), "{answer}");
        stopped
    }

    #[track_caller]
    fn expect_continues(mut self, expected: &str) {
        self.0.finish();
        assert_eq!(self.0.answer(), expected);
        assert_eq!(self.0.wait_for_end().code(), Some(0));
    }
}

#[test]
fn status_takes_no_lock() {
    let test_cgroup = test_cgroup!();
    python!();
    test_cgroup.enable(&POLICY);
    let free = test_cgroup.report();
    let _lock = hold(&test_cgroup);
    assert_eq!(test_cgroup.report(), free);
    let name = test_cgroup.name();
    assert!(
        test_cgroup
            .quiet(&["cgroup", "status", &name])
            .starts_with(&format!("{name}: active\n"))
    );
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}

#[test]
fn process_that_holds_the_lock_for_long_is_named() {
    let test_cgroup = test_cgroup!();
    let child = test_cgroup.child("child");
    let child = test_cgroup.name_of(&child);
    let name = test_cgroup.name();
    test_cgroup.enable(&POLICY);
    let before = test_cgroup.pins();
    let lock = hold(&test_cgroup);
    let in_pid_namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let unseen = "a process that this pid namespace does not show has held the lock of /sys/fs/bpf/keepalive for 10 s";
    let cases = [
        (
            &[][..],
            ["enable", &name],
            format!("enable a policy for {name}"),
            holder(),
        ),
        (
            &[],
            ["enable", &child],
            format!("enable a policy for {child}"),
            holder(),
        ),
        (
            &[],
            ["disable", &name],
            format!("disable the policy of {name}"),
            holder(),
        ),
        (
            &in_pid_namespace,
            ["disable", &name],
            format!("disable the policy of {name}"),
            unseen.to_owned(),
        ),
    ];
    thread::scope(|scope| {
        for (wrapper, words, action, who) in &cases {
            let test_cgroup = &test_cgroup;
            scope.spawn(move || {
                let mut command = test_cgroup.inside("env");
                command.args(*wrapper).arg(keepalive()).arg("cgroup").args(words);
                let output = output_within(LIMIT, &mut command);
                assert_eq!(
                    text(&output.stderr),
                    format!("keepalive: cannot {action}: {who}\n{HINT}\n")
                );
                assert_eq!(output.status.code(), Some(1));
                assert_eq!(text(&output.stdout), "");
            });
        }
    });
    assert_eq!(test_cgroup.pins(), before);
    drop(lock);
    test_cgroup.disable();
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn process_that_prevents_mounting_is_named() {
    root!();
    let test_cgroup = match TestCgroup::prepared(NO_BPF_FILE_SYSTEM) {
        Ok(test_cgroup) => test_cgroup,
        Err(why) => skip!("{why}"),
    };
    let lock = try_exclusive(&test_cgroup.file_system())
        .expect("a directory")
        .expect("the lock is free");
    let name = test_cgroup.name();
    let output = test_cgroup.output(&["cgroup", "enable", &name]);
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {name}: {}\n{HINT}\n",
            holder().replace("/keepalive", "")
        )
    );
    assert_eq!(output.status.code(), Some(1));
    drop(lock);
    let output = test_cgroup.output(&["cgroup", "enable", &name]);
    assert!(output.status.success(), "{output:?}");
    test_cgroup.disable();
}

#[test]
fn inherited_lock_is_reported_as_such() {
    let test_cgroup = test_cgroup!();
    test_cgroup.enable(&POLICY);
    let directory = "/sys/fs/bpf/keepalive";
    // flock(1) ends, and its child inherits the descriptor.
    let mut command = test_cgroup.inside("sh");
    command.args([
        "-c",
        "exec 9< $0; flock --exclusive 9 & wait $!; echo $!; exec cat",
        directory,
    ]);
    let mut holder = LinePeer::start(&mut command);
    let pid = holder.answer();
    let output = test_cgroup.output(&["cgroup", "disable", &test_cgroup.name()]);
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot disable the policy of {}: process {pid}, which has ended, or one that it has started, has \
             held the lock of {directory} for 10 s\n{HINT}\n",
            test_cgroup.name()
        )
    );
}

#[test]
fn commands_do_not_wait_for_the_verifier_of_other_commands() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    let child = test_cgroup.name_of(&child);
    let name = test_cgroup.name();
    let stopped = Stopped::before(
        &test_cgroup,
        "BPF_PROG_LOAD",
        &[&["cgroup", "enable", &name], &POLICY[..]].concat(),
    );
    // Both another cgroup and the same cgroup can be enabled.
    assert_eq!(test_cgroup.enable_for(&child, &POLICY), format!("{child}: active\n"));
    assert_eq!(
        test_cgroup.enable(&["--idle=31", "--mode=cap"]),
        format!("{name}: active\n")
    );
    assert_eq!(test_cgroup.status()["default"], "idle=31s mode=cap");
    stopped.expect_continues(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
    assert_eq!(test_cgroup.status()["default"], "idle=61s interval=13s count=4");
}

/// Its map of persistent settings would be another one than that of the command that has overtaken it.
#[test]
fn overtaken_command_keeps_the_persistent_settings_of_open_connections() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let stopped = Stopped::before(
        &test_cgroup,
        "BPF_PROG_LOAD",
        &["cgroup", "enable", &name, "--idle=62", "--mode=enforce"],
    );
    test_cgroup.enable(&["--idle=61", "--mode=enforce"]);
    let mut program = super::pair_with(&test_cgroup, "");
    stopped.expect_continues(&format!("{name}: replaced"));
    program.execute("own(client, idle=99)");
    assert_eq!(program.has("client"), "1 61 75 9 0");
}

#[test]
fn status_reports_a_policy_as_active_during_its_replacement() {
    let test_cgroup = test_cgroup!();
    python!();
    let name = test_cgroup.name();
    let stopped = Stopped::before(
        &test_cgroup,
        "BPF_LINK_CREATE",
        &[&["cgroup", "enable", &name], &POLICY[..]].concat(),
    );
    let output = test_cgroup.output(&["cgroup", "status", &name]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stdout).starts_with(&format!("{name}: changing\n")),
        "{output:?}"
    );
    assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
    stopped.expect_continues(&format!("{name}: active"));
    assert_eq!(test_cgroup.status()["state"], "in-force");
    // A policy that is replaced is always reported as active.
    let stopped = Stopped::before(
        &test_cgroup,
        "BPF_LINK_UPDATE",
        &["cgroup", "enable", &name, "--idle=31"],
    );
    assert_eq!(test_cgroup.status()["default"], "idle=61s interval=13s count=4");
    stopped.expect_continues(&format!("{name}: replaced"));
    let stopped = Stopped::before(&test_cgroup, "BPF_LINK_DETACH", &["cgroup", "disable", &name]);
    assert_eq!(test_cgroup.status()["state"], "in-force");
    stopped.expect_continues(&format!("{name}: disabled"));
}

#[test]
fn changed_policy_is_applied_when_the_lock_is_released() {
    let test_cgroup = test_cgroup!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s\n").expect("a file of the test");
    let name = test_cgroup.name();
    let mut watch = Watch::start(&test_cgroup, &[&name, "--config", path.to_str().expect("a UTF-8 path")]);
    watch.expect_line(&format!("{name}: active"));
    let lock = hold(&test_cgroup);
    fs::write(&path, "default idle=32s\n").expect("a file of the test");
    watch.expect_line(&format!("keepalive: cannot enable a policy for {name}: {}", holder()));
    watch.expect_line(HINT);
    assert_eq!(both_ends(&test_cgroup), ["1 31 75 9 0"; 2]);
    drop(lock);
    watch.expect_line(&format!("{name}: replaced"));
    assert_eq!(both_ends(&test_cgroup), ["1 32 75 9 0"; 2]);
    watch.end_by_signal(Signal::TERM, &[format!("keepalive: {name}: disabled")]);
}

#[test]
fn a_signal_ends_the_wait_for_the_lock() {
    let test_cgroup = test_cgroup!();
    python!();
    let child = test_cgroup.child("child");
    let name = test_cgroup.name();
    test_cgroup.enable_for(&test_cgroup.name_of(&child), &POLICY);
    let lock = hold(&test_cgroup);
    let killer = compile(Libc::Host, "killed.c", &[]);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        // The signal arrives at the third attempt.
        let number = signal.as_raw().to_string();
        let wrapper = [killer.to_str().expect("a UTF-8 path"), &number, "flock", "3"];
        let mut watch = Watch::under(&test_cgroup, &wrapper, &[&[name.as_str()], &POLICY[..]].concat());
        let line = watch.answer();
        assert!(line.starts_with("signal before flock"), "{line}");
        watch.expect_line("");
        assert_eq!(watch.wait_for_end(), Some(0));
    }
    drop(lock);
    assert_eq!(both_ends(&test_cgroup), [KERNEL_DEFAULTS; 2]);
    // A policy that cannot be disabled is named.
    let mut watch = Watch::start(&test_cgroup, &[&[name.as_str()], &POLICY[..]].concat());
    watch.expect_line(&format!("{name}: active"));
    let _lock = hold(&test_cgroup);
    send(watch.pid(), Signal::TERM);
    watch.expect_line(&format!("keepalive: cannot disable the policy of {name}: {}", holder()));
    watch.expect_line(HINT);
    assert_eq!(watch.wait_for_end(), Some(1));
    assert_eq!(both_ends(&test_cgroup), [POLICY_VALUES; 2]);
}

#[test]
fn signal_at_any_call_ends_watch_and_its_policy() {
    let test_cgroup = test_cgroup!();
    let killer = compile(Libc::Host, "killed.c", &[]);
    let name = test_cgroup.name();
    let rule = "--rule=program python3 idle=62 mode=enforce";
    for number in 1.. {
        let number = number.to_string();
        let wrapper = [killer.to_str().expect("a UTF-8 path"), "15", "lasting", &number];
        let mut watch = Watch::under(&test_cgroup, &wrapper, &[&name, rule, "--existing"]);
        let mut lines = Vec::new();
        let is_signalled = |lines: &[String]| lines.iter().any(|line: &String| line.starts_with("signal before "));
        let is_done = |line: &str| line.ends_with("open sockets changed");
        loop {
            let line = watch.answer();
            if line.is_empty() {
                break;
            }
            lines.push(line);
            if !is_signalled(&lines) && lines.last().is_some_and(|line| is_done(line)) {
                send(*family(watch.pid()).last().expect("the command"), Signal::TERM);
            }
        }
        assert_eq!(watch.wait_for_end(), Some(0), "{lines:?}");
        assert!(test_cgroup.pins().is_empty(), "{lines:?}: {:?}", test_cgroup.pins());
        eventually("nothing is attached", LIMIT, || {
            test_cgroup.programs(test_cgroup.directory()).is_empty().then_some(())
        });
        if !is_signalled(&lines) {
            assert!(number.parse::<u32>().is_ok_and(|number| number > 5), "{lines:?}");
            return;
        }
    }
}

#[test]
fn directory_of_another_user_is_refused() {
    let test_cgroup = test_cgroup!();
    let name = test_cgroup.name();
    for (lines, wrong) in [
        ("mkdir $0; chown 65534 $0", "belongs to user 65534"),
        (
            "mkdir $0; chmod 777 $0",
            "may be changed by other users: its mode is 777",
        ),
        ("ln -s /tmp $0", "is not a directory"),
    ] {
        let path = "/sys/fs/bpf/keepalive";
        let prepare = |script: &str| {
            let mut command = test_cgroup.inside("sh");
            let output = output_within(LIMIT, command.args(["-ec", script, path]));
            assert!(output.status.success(), "{output:?}");
        };
        prepare(lines);
        let reason = format!("{path} {wrong}; remove it first\n");
        for (words, action) in [
            (&["enable", &name][..], format!("enable a policy for {name}")),
            (&["disable", &name], format!("disable the policy of {name}")),
            (&["status"], "see the policies in the BPF file system".to_owned()),
        ] {
            let output = test_cgroup.output(&[&["cgroup"], words].concat());
            assert_eq!(text(&output.stderr), format!("keepalive: cannot {action}: {reason}"));
            assert_eq!(output.status.code(), Some(1));
        }
        assert!(test_cgroup.programs(test_cgroup.directory()).is_empty());
        prepare("rm -d $0");
    }
    assert!(!Path::new("/tmp/established").exists());
}
