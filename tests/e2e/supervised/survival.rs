//! The supervisor is not noticeable: to the command, to its parent, and when processes are killed.

use super::{Keepalive, LIMIT, Process, line_of, outcome, printed, sockets, start, static_target, text};
use crate::support::PYTHON;
use crate::support::process::{Running, eventually};
use crate::support::target::{Libc, POLICY_VALUES};
use rustix::io::Errno;
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::{Duration, SystemTime};

#[test]
fn exit_status_and_output_are_those_of_the_command() {
    let keepalive = Keepalive::new();
    assert_eq!(
        outcome(
            keepalive
                .seccomp()
                .args(["sh", "-c", "echo out; echo err >&2; exit 42"])
        ),
        ("out\n".into(), "err\n".into(), Some(42))
    );
    for signal in [1, 2, 9, 10, 15] {
        let mut command = keepalive.seccomp();
        let status = command.args(["sh", "-c", &format!("kill -{signal} $$")]).status();
        assert_eq!(status.expect("keepalive starts").signal(), Some(signal));
    }
}

#[test]
fn failed_start_has_the_same_status_as_without_keepalive() {
    let keepalive = Keepalive::new();
    let (_, message, status) = outcome(keepalive.seccomp().arg("no-such-program"));
    assert_eq!(
        (status, &*message),
        (Some(127), "keepalive: cannot run 'no-such-program': no such program\n")
    );

    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file of the test");
    assert_eq!(outcome(keepalive.seccomp().arg(&file)).2, Some(126));
    // Only execve(2) finds that the file is open for writing, and then the supervisor already runs.
    let busy = keepalive.bring("/bin/true".as_ref(), "busy");
    let _writer = fs::File::options()
        .append(true)
        .open(&busy)
        .expect("a file of the test");
    let (_, message, status) = outcome(keepalive.seccomp().arg(&busy));
    assert_eq!(status, Some(126), "{message}");
    assert!(message.contains("execve: Text file busy"), "{message}");
}

/// The state that a process can read of itself: its place among processes, its children, descriptors and signals.
const SELF: &str = "
import os, signal
print(os.getpid(), os.getppid(), os.getsid(0), os.getpgrp(), os.getcwd(), oct(os.umask(0)))
try: print('child', os.waitpid(-1, os.WNOHANG))
except ChildProcessError: print('no child')
for fd in range(1000):
    try: print(fd, os.fstat(fd).st_mode, os.get_inheritable(fd))
    except OSError: pass
for line in open('/proc/self/status'):
    if line.startswith(('SigPnd', 'SigBlk', 'SigIgn', 'SigCgt', 'Shd', 'Threads')): print(line.strip())
print(open('/proc/self/timerslack_ns').read(), os.getpriority(os.PRIO_PROCESS, 0))
";

/// The same, started with blocked signals, as by service managers and test harnesses.
const BLOCKED: &str = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])
os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn supervisor_is_invisible_to_the_command() {
    python!();
    let keepalive = Keepalive::new();
    let seen = |command: &mut Command| {
        let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let pid = child.id();
        let output = child.wait_with_output().expect("a child of the test");
        assert!(output.status.success(), "{command:?}");
        // Removes its process number, which differs each time.
        let seen = text(&output.stdout);
        let rest = seen.strip_prefix(&format!("{pid} "));
        rest.unwrap_or_else(|| panic!("{pid}: {seen}")).to_owned()
    };
    for blocks in [false, true] {
        let start = |run: &[&str]| {
            let mut words = if blocks {
                vec![PYTHON, "-IS", "-c", BLOCKED]
            } else {
                vec![]
            };
            words.extend(run);
            words.extend([PYTHON, "-IS", "-c", SELF]);
            let mut command = keepalive.environment(words[0].as_ref());
            command.args(&words[1..]);
            command
        };
        let path = keepalive.path();
        let path = path.to_str().expect("a UTF-8 path");
        let without = seen(&mut start(&[]));
        assert!(without.contains("no child"), "{without:?}");
        for engine in ["seccomp", "preload"] {
            assert_eq!(
                seen(&mut start(&[path, "run", "--engine", engine])),
                without,
                "{engine}, blocks: {blocks}"
            );
        }
    }
}

#[test]
fn shell_knows_the_command_by_its_process_number() {
    let keepalive = Keepalive::new();
    let script = r#""$0" run --engine seccomp sh -c 'echo $$ $PPID; exit 7' >"$1" & echo $! $$; wait $!; echo $?"#;
    let file = keepalive.directory.path().join("seen");
    let mut command = keepalive.environment("sh".as_ref());
    let expected = printed(command.args(["-c", script]).arg(keepalive.path()).arg(&file));
    let seen = fs::read_to_string(file).expect("the command has written it");
    assert_eq!(expected, format!("{seen}7\n"));
}

#[test]
fn two_supervisors_in_their_own_session_run_until_the_command_ends() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.arg(sockets()).args(["tcp", "connect", "hold"]);
    let mut program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    let test = Process::read(std::process::id()).expect("this process");
    assert_ne!(standby.session, test.session);
    assert_ne!(standby.parent, program.pid());
    for process in [standby, serving] {
        let fds = fs::read_dir(format!("/proc/{}/fd", process.pid)).expect("a process of the test");
        let links: Vec<_> = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        let is_own = |link: &std::path::PathBuf| {
            let link = link.to_string_lossy();
            link == "/dev/null" || link.starts_with("anon_inode:")
        };
        assert!(links.iter().all(is_own), "{links:?}");
        let directory = fs::read_link(format!("/proc/{}/cwd", process.pid));
        assert_eq!(directory.expect("a process of the test").to_str(), Some("/"));
    }
    drop(program.child.stdin.take());
    eventually("the end of all", LIMIT, || keepalive.is_over().then_some(()));
    assert!(program.child.wait().expect("a child of the test").success());
}

#[test]
fn daemon_that_outlives_the_command_is_still_set() {
    let keepalive = Keepalive::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [go, seen] = ["go", "seen"].map(|name| directory.path().join(name));
    assert!(
        Command::new("mkfifo")
            .arg(&go)
            .status()
            .expect("mkfifo starts")
            .success()
    );
    let daemon = r#"read go <"$1" && exec "$2" tcp connect show tcp listen client accept show >"$3""#;
    let script = r#"(setsid sh -c "$0" sh "$@" </dev/null >/dev/null 2>&1 &)"#;
    let mut command = keepalive.seccomp();
    command
        .args(["sh", "-c", script, daemon])
        .arg(&go)
        .arg(sockets())
        .arg(&seen);
    assert_eq!(printed(&mut command), "");
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    sleep(Duration::from_secs(2));
    assert_eq!(keepalive.supervisors(), Some((standby, serving)), "the daemon lives");
    fs::write(&go, "go\n").expect("the daemon waits for it");
    let expected = format!("connect: 0\ntcp: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n");
    eventually("what its sockets have", LIMIT, || {
        fs::read_to_string(&seen).ok().filter(|seen| *seen == expected)
    });
    eventually("the end of all", LIMIT, || keepalive.is_over().then_some(()));
}

#[test]
fn supervisors_do_not_keep_the_descriptors_of_the_command_open() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.args(["sh", "-c", "exec <&- >&- 2>&-; exec sleep 1000"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = Running::start_with_input(&mut command);
    let (sender, ends) = channel();
    let (mut output, mut errors) = (
        program.child.stdout.take().unwrap(),
        program.child.stderr.take().unwrap(),
    );
    spawn(move || {
        let mut all = Vec::new();
        let _ = output.read_to_end(&mut all).and_then(|_| errors.read_to_end(&mut all));
        let _ = sender.send(all);
    });
    assert_eq!(ends.recv_timeout(LIMIT).map(|all| text(&all)), Ok(String::new()));
    let mut input = program.child.stdin.take().expect("a pipe");
    eventually("standard input is closed", LIMIT, || input.write_all(b"x").err());
    assert!(
        program.child.try_wait().expect("a child of the test").is_none(),
        "it still runs"
    );
    assert!(keepalive.supervisors().is_some());
}

#[test]
fn signals_that_end_programs_do_not_end_supervisors() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    let words = "hold tcp connect show";
    command.arg(sockets()).args(words.split(' '));
    let (mut program, mut output) = start(&mut command);
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    let signals = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::PIPE,
        Signal::ALARM,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
    ];
    for process in [standby, serving] {
        for signal in signals {
            process.send(signal);
        }
    }
    drop(program.child.stdin.take());
    let mut lines = String::new();
    output.read_to_string(&mut lines).expect("text");
    assert_eq!(lines, format!("holding\nconnect: 0\ntcp: {POLICY_VALUES}\n"));
}

/// Returns how often supervisors are killed: a hundred times, or `KEEPALIVE_TEST_KILLS`.
fn kills() -> u64 {
    std::env::var("KEEPALIVE_TEST_KILLS").map_or(100, |kills| kills.parse().expect("a number"))
}

/// Returns a random time within the duration of some hundred connects.
fn moment() -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is later than 1970");
    Duration::from_micros(u64::from(now.subsec_nanos()) % 9973)
}

/// Sends `signal` to one of the supervisors repeatedly, while threads connect: no connect fails or hangs. Only the call in
/// progress may return without its settings.
#[track_caller]
fn signal_repeatedly(signal: Signal, threads: &str, kills: u64, victim: fn((Process, Process)) -> Process) {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command
        .arg(static_target(Libc::Host, "connect_load.c"))
        .args([threads, "0"]);
    let (mut program, mut output) = start(&mut command);
    assert_eq!(line_of(&mut output), "ready\n");
    for _ in 0..kills {
        let pair = eventually("two supervisors", LIMIT, || keepalive.supervisors());
        sleep(moment());
        let victim = victim(pair);
        victim.send(signal);
        eventually("the victim's end", LIMIT, || victim.is_dead().then_some(()));
    }
    eventually("two supervisors", LIMIT, || keepalive.supervisors());
    drop(program.child.stdin.take());
    let (sender, last) = channel();
    spawn(move || sender.send(line_of(&mut output)));
    let line = last.recv_timeout(LIMIT).expect("no connect hangs");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [made, failed, slow, unset] = numbers[..] else {
        panic!("{line}")
    };
    println!("{kills} times {signal:?}: {line}");
    assert!(made > 10 * kills, "{line}");
    assert_eq!((failed, slow), (0, 0), "{line}");
    assert!(unset <= kills, "{line}");
}

#[test]
fn killing_the_serving_process_fails_no_connect() {
    signal_repeatedly(Signal::KILL, "8", kills(), |(_, serving)| serving);
}

#[test]
fn killing_the_standby_fails_no_connect() {
    signal_repeatedly(Signal::KILL, "8", kills(), |(standby, _)| standby);
}

#[test]
fn stopping_the_serving_process_fails_no_connect() {
    signal_repeatedly(Signal::STOP, "8", kills(), |(_, serving)| serving);
}

/// While other calls wait, the supervisor does not wait for events.
#[test]
fn killing_a_supervisor_while_300_threads_wait_fails_no_connect() {
    signal_repeatedly(Signal::KILL, "300", 5, |(_, serving)| serving);
    signal_repeatedly(Signal::KILL, "300", 5, |(standby, _)| standby);
}

#[test]
fn fifty_concurrent_children_are_served() {
    let keepalive = Keepalive::new();
    let script = r#"i=0; while [ $i -lt 50 ]; do "$1" tcp connect show & i=$((i + 1)); done; wait"#;
    let lines = printed(keepalive.seccomp().args(["sh", "-c", script, "sh"]).arg(sockets()));
    let expected = format!("tcp: {POLICY_VALUES}");
    assert_eq!(lines.lines().filter(|line| **line == expected).count(), 50, "{lines}");
}

/// As documented: the kernel has no other result for such calls.
#[test]
fn without_both_supervisors_the_calls_fail_with_enosys() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.arg(sockets()).args(["hold", "tcp", "connect=1"]);
    let (mut program, mut output) = start(&mut command);
    assert_eq!(line_of(&mut output), "holding\n");
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    // A stopped standby cannot take over.
    standby.send(Signal::STOP);
    serving.send(Signal::KILL);
    standby.send(Signal::KILL);
    eventually("the end of both", LIMIT, || keepalive.is_over().then_some(()));
    drop(program.child.stdin.take());
    assert_eq!(
        line_of(&mut output),
        format!("connect: {}\n", Errno::NOSYS.raw_os_error())
    );
}

/// As documented: a process can have only one listener, and strict mode is impossible with a filter.
#[test]
fn program_under_the_supervisor_gets_no_listener_and_no_strict_mode() {
    let keepalive = Keepalive::new();
    for (how, answer) in [
        ("listener", "no filter: Device or resource busy\n"),
        ("strict", "no filter: Invalid argument\n"),
    ] {
        let mut command = keepalive.seccomp();
        command.arg(static_target(Libc::Host, "confined.c")).arg(how);
        assert_eq!(outcome(&mut command), (answer.into(), String::new(), Some(1)), "{how}");
    }
}
