//! The supervisors' position in the process tree: no program can wait for them, and they do not delay events at the end
//! of the last process of a session, group or cgroup.

use super::{Keepalive, LIMIT, Process, line_of, outcome, printed, sockets, start};
use crate::support::process::{eventually, output_within, text};
use crate::support::target::POLICY_VALUES;
use crate::support::{PYTHON, find_program};
use keepalive_sys::cgroup::Tree;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CapabilitySet, capabilities};
use std::fs;
use std::io::Write as _;
use std::process::{Command, id};

/// Starts three children and waits until none is left, as the first process of a container or a job manager does.
const WAIT_FOR_ALL: &str = "
import os
for _ in range(3):
    if os.fork() == 0:
        os._exit(7)
seen = 0
try:
    while True:
        os.wait()
        seen += 1
except ChildProcessError:
    print('waited for', seen)
";

/// A child subreaper (PR_SET_CHILD_SUBREAPER) that executes another program.
const SUBREAPER: &str = "
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
";

/// A program that becomes a child subreaper itself.
const BECOMES_SUBREAPER: &str = "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)";

/// A command prefix that creates a pid namespace.
const PID_NAMESPACE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// The engine options with which a supervisor is used.
const ENGINES: [&[&str]; 2] = [&["--engine", "seccomp"], &[]];

/// Returns the command line `keepalive run OPTIONS sh -c 'exec PYTHON -c SCRIPT'`.
fn run<'a>(keepalive: &'a str, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let shell = ["sh", "-c", "exec \"$0\" -c \"$1\"", PYTHON, script];
    [&[keepalive, "run"], options, &["--"], &shell].concat()
}

fn command(keepalive: &Keepalive, words: &[&str]) -> Command {
    let mut command = keepalive.environment(words[0].as_ref());
    command.args(&words[1..]);
    command
}

#[test]
fn first_process_of_a_container_can_wait_for_all_children() {
    root!();
    python!();
    for options in ENGINES {
        let keepalive = Keepalive::new();
        let path = keepalive.path().display().to_string();
        let words = [&PID_NAMESPACE[..], &run(&path, options, WAIT_FOR_ALL)].concat();
        assert_eq!(
            printed(&mut command(&keepalive, &words)),
            "waited for 3\n",
            "{options:?}"
        );
    }
}

#[test]
fn child_subreaper_can_wait_for_all_children() {
    python!();
    let becomes = format!("{BECOMES_SUBREAPER}\n{WAIT_FOR_ALL}");
    for options in ENGINES {
        let keepalive = Keepalive::new();
        let path = keepalive.path().display().to_string();
        let words = [&[PYTHON, "-c", SUBREAPER], &*run(&path, options, WAIT_FOR_ALL)].concat();
        assert_eq!(
            printed(&mut command(&keepalive, &words)),
            "waited for 3\n",
            "{options:?}"
        );
        let words = run(&path, options, &becomes);
        assert_eq!(
            printed(&mut command(&keepalive, &words)),
            "waited for 3\n",
            "{options:?}"
        );
    }
}

/// An ignored SIGCHLD is inherited: the supervisors must still detect each other's end, and end.
#[test]
fn supervisors_end_with_the_command_if_sigchld_is_ignored() {
    let keepalive = Keepalive::new();
    let path = keepalive.path().display().to_string();
    let words = [
        "bash",
        "-c",
        "trap '' CHLD; exec \"$@\"",
        "bash",
        &path,
        "run",
        "--engine",
        "seccomp",
        "sh",
        "-c",
        "exit 3",
    ];
    assert_eq!(
        outcome(&mut command(&keepalive, &words)),
        (String::new(), String::new(), Some(3))
    );
    eventually("the end of all", LIMIT, || keepalive.is_over().then_some(()));
}

#[test]
fn container_with_an_init_ends_with_the_command() {
    root!();
    let mut inits: Vec<&[&str]> = vec![&["sh", "-c", "\"$@\"; exit $?", "sh"]];
    for init in [
        &["tini", "--"][..],
        &["tini", "-s", "-g", "--"],
        &["dumb-init"],
        &["dumb-init", "-c"],
    ] {
        if find_program(init[0]).is_none() {
            skip!("{} is not installed", init[0]);
        }
        inits.push(init);
    }
    for init in inits {
        for options in ENGINES {
            let keepalive = Keepalive::new();
            let path = keepalive.path().display().to_string();
            let script = "\"$0\" tcp connect show; exit 9";
            let sockets = sockets().display().to_string();
            let run = [&[&*path, "run"], options, &["--", "sh", "-c", script, &sockets]].concat();
            let words = [&PID_NAMESPACE[..], init, &run].concat();
            let expected = format!("connect: 0\ntcp: {POLICY_VALUES}\n");
            assert_eq!(
                outcome(&mut command(&keepalive, &words)),
                (expected, String::new(), Some(9)),
                "{init:?}"
            );
        }
    }
}

/// A program is executed in a running container, whose first process waits only for children that it has started.
#[test]
fn command_executed_in_a_container_leaves_no_child() {
    root!();
    python!();
    if find_program("nsenter").is_none() {
        skip!("nsenter is not installed");
    }
    let keepalive = Keepalive::new();
    let path = keepalive.path().display().to_string();
    let sleeper = "import os, sys; print(os.readlink('/proc/self'), flush=True); sys.stdin.read()";
    let mut container = command(&keepalive, &[&PID_NAMESPACE[..], &[PYTHON, "-c", sleeper]].concat());
    let (mut container, mut output) = start(&mut container);
    assert_eq!(line_of(&mut output), "1\n");
    let first = eventually("the first process", LIMIT, || {
        keepalive_sys::proc::children(container.pid()).ok()?.first().copied()
    });
    let target = first.to_string();
    let sockets = sockets().display().to_string();
    for options in ENGINES {
        let script = "\"$0\" tcp connect show; exit 9";
        let run = [&[&*path, "run"], options, &["--", "sh", "-c", script, &sockets]].concat();
        let words = [&["nsenter", "--target", &target, "--pid", "--mount"], &*run].concat();
        let expected = format!("connect: 0\ntcp: {POLICY_VALUES}\n");
        assert_eq!(
            outcome(&mut command(&keepalive, &words)),
            (expected, String::new(), Some(9))
        );
        let children = keepalive_sys::proc::children(first).expect("it runs");
        assert_eq!(children, [0_u32; 0], "{options:?}");
    }
    drop(container.child.stdin.take());
    container.wait_for_end();
}

#[test]
fn supervisors_are_not_in_the_session_or_group_of_the_command() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    let script = "for f in /proc/[0-9]*/stat; do read -r a b c d g s r 2>/dev/null <$f && [ \"$s\" = \"$$\" -o \"$g\" = \"$$\" ] && echo $a; done; \
                  echo end; read x";
    let mut command = {
        command.args(["setsid", "--wait", "bash", "-c", script]);
        command
    };
    let (mut program, mut output) = start(&mut command);
    let mut found = Vec::new();
    loop {
        let line = line_of(&mut output);
        if line == "end\n" {
            break;
        }
        assert_ne!(line, "", "it has ended");
        found.push(line);
    }
    assert_eq!(found.len(), 1, "{found:?}");
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    assert_eq!(serving.session, standby.pid);
    drop(program.child.stdin.take());
    program.wait_for_end();
}

/// Service managers wait for this (`cgroup.events`): no keepalive process stays in the command's cgroup.
#[test]
fn cgroup_is_empty_after_the_command() {
    root!();
    let Ok(tree) = Tree::find() else {
        skip!("there is no cgroup v2")
    };
    let directory = tree.mount().join(format!("keepalive-test-place-{}", id()));
    fs::create_dir(&directory).expect("root makes cgroups");
    let keepalive = Keepalive::new();
    let path = keepalive.path().display().to_string();
    let join = "echo 0 >\"$0/cgroup.procs\" && exec \"$@\"";
    let shown = directory.display().to_string();
    let words = [
        "sh", "-c", join, &shown, &path, "run", "--engine", "seccomp", "sh", "-c", "exit 4",
    ];
    assert_eq!(outcome(&mut command(&keepalive, &words)).2, Some(4));
    eventually("the cgroup is empty", LIMIT, || fs::remove_dir(&directory).ok());
}

/// Returns `/proc/PID/FILE` of the supervisors of a command that waits for input, after `prepare` in a shell.
fn of_supervisors(prepare: &str, files: &[&str]) -> Vec<String> {
    let keepalive = Keepalive::new();
    let path = keepalive.path().display().to_string();
    let script = format!("{prepare}; exec \"$@\"");
    let words = [
        "bash", "-c", &script, "bash", &path, "run", "--engine", "seccomp", "cat",
    ];
    let (mut program, _output) = start(&mut command(&keepalive, &words));
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    let read = |process: Process| {
        let texts = files.iter().map(|file| {
            let path = format!("/proc/{}/{file}", process.pid);
            fs::read_link(&path).map_or_else(
                |_| fs::read_to_string(&path).expect("root reads it"),
                |target| target.display().to_string(),
            )
        });
        texts.collect::<String>()
    };
    let all = vec![read(standby), read(serving)];
    drop(program.child.stdin.take());
    program.wait_for_end();
    all
}

/// Up to the hard limits, which CAP_SYS_RESOURCE raises too.
#[test]
fn limits_of_the_command_do_not_apply_to_its_supervisors() {
    root!();
    let prepare = "ulimit -S -n 64; ulimit -S -t 1; ulimit -S -v 4000000; ulimit -S -f 0; ulimit -S -l 0; \
                   ulimit -S -d 4000000; ulimit -S -u 3; ulimit -S -s 1024; echo 800 >/proc/self/oom_score_adj";
    let may_raise_all = capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_RESOURCE));
    for text in of_supervisors(prepare, &["limits", "oom_score_adj"]) {
        for name in [
            "Max cpu time",
            "Max file size",
            "Max data size",
            "Max stack size",
            "Max processes",
            "Max open files",
            "Max locked memory",
            "Max address space",
            "Max realtime timeout",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
            let [soft, hard, ..] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            assert_eq!(soft, hard, "{name}");
            if may_raise_all && name != "Max open files" {
                assert_eq!(hard, "unlimited", "{name}");
            }
        }
        let score = if may_raise_all { "-1000" } else { "0" };
        assert!(text.ends_with(&format!("\n{score}\n")), "{text}");
    }
}

#[test]
fn supervisors_have_only_the_necessary_privileges() {
    root!();
    for text in of_supervisors("cd /tmp", &["status", "cwd"]) {
        let line = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default();
            line.trim().to_owned()
        };
        // CAP_NET_ADMIN 12, CAP_SYS_PTRACE 19, CAP_SYS_ADMIN 21 (linux/capability.h).
        for name in ["CapPrm:", "CapEff:"] {
            assert_eq!(
                u64::from_str_radix(&line(name), 16),
                Ok(1 << 12 | 1 << 19 | 1 << 21),
                "{name}"
            );
        }
        assert_eq!(line("NoNewPrivs:"), "1");
        assert!(text.ends_with('/'), "the directory of the command is in use: {text}");
    }
}

/// The /proc files of a supervisor that is not dumpable belong to root (`PR_SET_DUMPABLE`).
#[test]
fn ordinary_user_cannot_inspect_a_supervisor() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let path = keepalive.path().display().to_string();
    let drop_privileges = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let words = [&drop_privileges[..], &[&*path, "run", "--engine", "seccomp", "cat"]].concat();
    let mut command = command(&keepalive, &words);
    command.current_dir("/");
    let (mut program, _output) = start(&mut command);
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    for process in [standby, serving] {
        let file = format!("/proc/{}/environ", process.pid);
        let output = output_within(
            LIMIT,
            Command::new(drop_privileges[0])
                .args(&drop_privileges[1..])
                .args(["cat", &file]),
        );
        assert!(text(&output.stderr).contains("Permission denied"), "{output:?}");
    }
    drop(program.child.stdin.take());
    program.wait_for_end();
}

/// Signals other than those that end processes, and a real-time signal, whose default action is to end the process.
#[test]
fn only_sigkill_ends_a_supervisor() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command
        .args(["sh", "-c", "read x; \"$0\" tcp connect show; read x; :"])
        .arg(sockets());
    let (mut program, mut output) = start(&mut command);
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    for process in [standby, serving] {
        let pid = Pid::from_raw(process.pid.cast_signed()).expect("a process");
        for signal in [Signal::SEGV, Signal::ABORT, Signal::BUS, Signal::XCPU] {
            kill_process(pid, signal).expect("a process of the test");
        }
        // SIGRTMIN+4, sent by the shell, because kill(1) may be missing.
        let script = format!("kill -38 {}", process.pid);
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("sh starts").success());
    }
    let mut input = program.child.stdin.take().expect("a pipe");
    input.write_all(b"\n").expect("the command reads");
    assert_eq!(line_of(&mut output), "connect: 0\n");
    assert_eq!(line_of(&mut output), format!("tcp: {POLICY_VALUES}\n"));
    assert_eq!(keepalive.supervisors(), Some((standby, serving)), "they are the same");
    drop(input);
    program.wait_for_end();
}
