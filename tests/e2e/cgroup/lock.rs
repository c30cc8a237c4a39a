//! What commands do while another one holds the lock: those that only look do without, those that change something wait, for
//! a bounded time, and name who holds it.

use super::watch::{Watch, send};
use super::{POLICY, both_ends};
use crate::support::arena::{Arena, NO_BPF_FILE_SYSTEM};
use crate::support::dialogue::Dialogue;
use crate::support::keepalive;
use crate::support::observe::family;
use crate::support::process::{LIMIT, eventually, output_within, text};
use crate::support::target::{Libc, TREATED, UNTOUCHED, compile};
use keepalive_sys::lock::try_exclusive;
use rustix::process::Signal;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

const HINT: &str =
    "hint: a command of keepalive holds it for milliseconds: wait for that process, or end it, and try again";

/// The lock, held by the process of the tests.
fn hold(arena: &Arena) -> OwnedFd {
    let lock = try_exclusive(&arena.file_system().join("keepalive"));
    lock.expect("a policy is in force").expect("nobody holds it")
}

/// What is said of this process when it holds the lock.
fn holder() -> String {
    let name = fs::read_to_string("/proc/self/comm").expect("a name");
    let pid = std::process::id();
    format!(
        "process {pid} ({}) has held the lock of /sys/fs/bpf/keepalive for 10 s",
        name.trim_end()
    )
}

/// A command that is held before its first call of this name; how it goes on is its answer.
struct Held(Dialogue);

impl Held {
    fn before(arena: &Arena, call: &str, args: &[&str]) -> Self {
        let killer = compile(Libc::Host, "killed.c", &[]);
        let mut command = arena.inside("env");
        command
            .arg(killer)
            .args(["hold", call, "1"])
            .arg(keepalive())
            .args(args);
        let mut held = Self(Dialogue::start(&mut command));
        let answer = held.0.answer();
        assert!(answer.starts_with(&format!("held before {call}: ")), "{answer}");
        held
    }

    #[track_caller]
    fn goes_on(mut self, expected: &str) {
        self.0.finish();
        assert_eq!(self.0.answer(), expected);
        assert_eq!(self.0.wait_for_end().code(), Some(0));
    }
}

#[test]
fn status_takes_no_lock() {
    let arena = arena!();
    python!();
    arena.enable(&POLICY);
    let free = arena.report();
    let _lock = hold(&arena);
    assert_eq!(arena.report(), free);
    let name = arena.name();
    assert!(
        arena
            .quiet(&["cgroup", "status", &name])
            .starts_with(&format!("{name}: in force\n"))
    );
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}

#[test]
fn who_holds_the_lock_for_long_is_named() {
    let arena = arena!();
    let child = arena.child("child");
    let child = arena.name_of(&child);
    let name = arena.name();
    arena.enable(&POLICY);
    let before = arena.pins();
    let lock = hold(&arena);
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
            let arena = &arena;
            scope.spawn(move || {
                let mut command = arena.inside("env");
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
    assert_eq!(arena.pins(), before);
    drop(lock);
    arena.disable();
    assert!(arena.pins().is_empty(), "{:?}", arena.pins());
}

#[test]
fn who_keeps_others_from_mounting_the_file_system_is_named() {
    root!();
    let arena = match Arena::prepared(NO_BPF_FILE_SYSTEM) {
        Ok(arena) => arena,
        Err(why) => skip!("{why}"),
    };
    let lock = try_exclusive(&arena.file_system())
        .expect("a directory")
        .expect("nobody holds it");
    let name = arena.name();
    let output = arena.output(&["cgroup", "enable", &name]);
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot enable a policy for {name}: {}\n{HINT}\n",
            holder().replace("/keepalive", "")
        )
    );
    assert_eq!(output.status.code(), Some(1));
    drop(lock);
    let output = arena.output(&["cgroup", "enable", &name]);
    assert!(output.status.success(), "{output:?}");
    arena.disable();
}

#[test]
fn a_lock_that_a_child_has_inherited_is_told_from_one_of_a_process() {
    let arena = arena!();
    arena.enable(&POLICY);
    let directory = "/sys/fs/bpf/keepalive";
    // flock(1) ends, and leaves the descriptor to its child.
    let mut command = arena.inside("sh");
    command.args([
        "-c",
        "exec 9< $0; flock --exclusive 9 & wait $!; echo $!; exec cat",
        directory,
    ]);
    let mut holder = Dialogue::start(&mut command);
    let pid = holder.answer();
    let output = arena.output(&["cgroup", "disable", &arena.name()]);
    assert_eq!(
        text(&output.stderr),
        format!(
            "keepalive: cannot disable the policy of {}: process {pid}, which has ended, or one that it has started, has \
             held the lock of {directory} for 10 s\n{HINT}\n",
            arena.name()
        )
    );
}

#[test]
fn commands_wait_for_no_verifier_but_their_own() {
    let arena = arena!();
    python!();
    let child = arena.child("child");
    let child = arena.name_of(&child);
    let name = arena.name();
    let held = Held::before(
        &arena,
        "BPF_PROG_LOAD",
        &[&["cgroup", "enable", &name], &POLICY[..]].concat(),
    );
    // For another cgroup, and for the same.
    assert_eq!(arena.enable_for(&child, &POLICY), format!("{child}: in force\n"));
    assert_eq!(
        arena.enable(&["--idle=31", "--mode=cap"]),
        format!("{name}: in force\n")
    );
    assert_eq!(arena.status()["default"], "idle=31s mode=cap");
    held.goes_on(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), [TREATED; 2]);
    assert_eq!(arena.status()["default"], "idle=61s interval=13s count=4");
}

/// Its map of what goes on to count would be another one than that of the command that has overtaken it.
#[test]
fn a_command_that_was_overtaken_takes_over_what_counts_for_open_connections() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let held = Held::before(
        &arena,
        "BPF_PROG_LOAD",
        &["cgroup", "enable", &name, "--idle=62", "--mode=enforce"],
    );
    arena.enable(&["--idle=61", "--mode=enforce"]);
    let mut program = super::pair_with(&arena, "");
    held.goes_on(&format!("{name}: replaced"));
    program.does("own(client, idle=99)");
    assert_eq!(program.has("client"), "1 61 75 9 0");
}

#[test]
fn who_looks_while_a_policy_is_put_in_force_is_told_that_it_is() {
    let arena = arena!();
    python!();
    let name = arena.name();
    let held = Held::before(
        &arena,
        "BPF_LINK_CREATE",
        &[&["cgroup", "enable", &name], &POLICY[..]].concat(),
    );
    let output = arena.output(&["cgroup", "status", &name]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stdout).starts_with(&format!("{name}: changing\n")),
        "{output:?}"
    );
    assert_eq!(both_ends(&arena), [UNTOUCHED; 2]);
    held.goes_on(&format!("{name}: in force"));
    assert_eq!(arena.status()["state"], "in-force");
    // Nor is one that is replaced ever seen as anything but in force.
    let held = Held::before(&arena, "BPF_LINK_UPDATE", &["cgroup", "enable", &name, "--idle=31"]);
    assert_eq!(arena.status()["default"], "idle=61s interval=13s count=4");
    held.goes_on(&format!("{name}: replaced"));
    let held = Held::before(&arena, "BPF_LINK_DETACH", &["cgroup", "disable", &name]);
    assert_eq!(arena.status()["state"], "in-force");
    held.goes_on(&format!("{name}: disabled"));
}

#[test]
fn a_policy_that_changes_while_the_lock_is_held_is_put_in_force_later() {
    let arena = arena!();
    python!();
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = files.path().join("some.conf");
    fs::write(&path, "default idle=31s\n").expect("a file of ours");
    let name = arena.name();
    let mut watch = Watch::start(&arena, &[&name, "--config", path.to_str().expect("a path of ours")]);
    watch.says(&format!("{name}: in force"));
    let lock = hold(&arena);
    fs::write(&path, "default idle=32s\n").expect("a file of ours");
    watch.says(&format!("keepalive: cannot enable a policy for {name}: {}", holder()));
    watch.says(HINT);
    assert_eq!(both_ends(&arena), ["1 31 75 9 0"; 2]);
    drop(lock);
    watch.says(&format!("{name}: replaced"));
    assert_eq!(both_ends(&arena), ["1 32 75 9 0"; 2]);
    watch.ends(Signal::TERM, &[format!("keepalive: {name}: disabled")]);
}

#[test]
fn a_signal_ends_the_wait_for_the_lock() {
    let arena = arena!();
    python!();
    let child = arena.child("child");
    let name = arena.name();
    arena.enable_for(&arena.name_of(&child), &POLICY);
    let lock = hold(&arena);
    let killer = compile(Libc::Host, "killed.c", &[]);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        // At the third attempt.
        let number = signal.as_raw().to_string();
        let wrapper = [killer.to_str().expect("a path of ours"), &number, "flock", "3"];
        let mut watch = Watch::under(&arena, &wrapper, &[&[name.as_str()], &POLICY[..]].concat());
        let line = watch.answer();
        assert!(line.starts_with("signal before flock"), "{line}");
        watch.says("");
        assert_eq!(watch.wait_for_end(), Some(0));
    }
    drop(lock);
    assert_eq!(both_ends(&arena), [UNTOUCHED; 2]);
    // A policy that cannot be ended is named.
    let mut watch = Watch::start(&arena, &[&[name.as_str()], &POLICY[..]].concat());
    watch.says(&format!("{name}: in force"));
    let _lock = hold(&arena);
    send(watch.pid(), Signal::TERM);
    watch.says(&format!("keepalive: cannot disable the policy of {name}: {}", holder()));
    watch.says(HINT);
    assert_eq!(watch.wait_for_end(), Some(1));
    assert_eq!(both_ends(&arena), [TREATED; 2]);
}

#[test]
fn a_signal_at_any_moment_ends_a_command_that_watches_and_its_policy() {
    let arena = arena!();
    let killer = compile(Libc::Host, "killed.c", &[]);
    let name = arena.name();
    let rule = "--rule=program python3 idle=62 mode=enforce";
    for number in 1.. {
        let number = number.to_string();
        let wrapper = [killer.to_str().expect("a path of ours"), "15", "lasting", &number];
        let mut watch = Watch::under(&arena, &wrapper, &[&name, rule, "--existing"]);
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
        assert!(arena.pins().is_empty(), "{lines:?}: {:?}", arena.pins());
        eventually("nothing is attached", LIMIT, || {
            arena.programs(arena.directory()).is_empty().then_some(())
        });
        if !is_signalled(&lines) {
            assert!(number.parse::<u32>().is_ok_and(|number| number > 5), "{lines:?}");
            return;
        }
    }
}

#[test]
fn a_directory_of_another_user_is_not_trusted() {
    let arena = arena!();
    let name = arena.name();
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
            let mut command = arena.inside("sh");
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
            let output = arena.output(&[&["cgroup"], words].concat());
            assert_eq!(text(&output.stderr), format!("keepalive: cannot {action}: {reason}"));
            assert_eq!(output.status.code(), Some(1));
        }
        assert!(arena.programs(arena.directory()).is_empty());
        prepare("rm -d $0");
    }
    assert!(!Path::new("/tmp/established").exists());
}
