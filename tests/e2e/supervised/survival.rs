//! Nobody notices the supervisor: neither the command, nor who started it, nor who kills what he finds.

use super::{Keepalive, LIMIT, Process, line_of, outcome, printed, sockets, start, static_target, text};
use crate::support::PYTHON;
use crate::support::process::{Running, eventually};
use crate::support::target::{Libc, TREATED};
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
fn the_exit_status_and_the_output_are_the_commands() {
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
fn what_cannot_be_started_has_the_status_that_it_has_without() {
    let keepalive = Keepalive::new();
    let (_, message, status) = outcome(keepalive.seccomp().arg("no-such-program"));
    assert_eq!(
        (status, &*message),
        (Some(127), "keepalive: cannot run 'no-such-program': no such program\n")
    );

    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file of ours");
    assert_eq!(outcome(keepalive.seccomp().arg(&file)).2, Some(126));
    // Only the kernel finds out, and by then there is a supervisor: somebody may still write to it.
    let busy = keepalive.bring("/bin/true".as_ref(), "busy");
    let _writer = fs::File::options().append(true).open(&busy).expect("a file of ours");
    let (_, message, status) = outcome(keepalive.seccomp().arg(&busy));
    assert_eq!(status, Some(126), "{message}");
    assert!(message.contains("execve: Text file busy"), "{message}");
}

/// What a process can see of itself: its place among processes, whom it could wait for, what it has open, its signals.
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

/// The same, started by something that blocks signals, as service managers and test harnesses do.
const BLOCKED: &str = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM])
os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn the_command_sees_nothing_of_the_supervisor() {
    python!();
    let keepalive = Keepalive::new();
    let seen = |command: &mut Command| {
        let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let pid = child.id();
        let output = child.wait_with_output().expect("a child of ours");
        assert!(output.status.success(), "{command:?}");
        // Its own number is another each time.
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
        let path = path.to_str().expect("a path of ours");
        let bare = seen(&mut start(&[]));
        assert!(bare.contains("no child"), "{bare:?}");
        for engine in ["seccomp", "preload"] {
            assert_eq!(
                seen(&mut start(&[path, "run", "--engine", engine])),
                bare,
                "{engine}, blocks: {blocks}"
            );
        }
    }
}

#[test]
fn a_shell_knows_the_command_by_its_number() {
    let keepalive = Keepalive::new();
    let script = r#""$0" run --engine seccomp sh -c 'echo $$ $PPID; exit 7' >"$1" & echo $! $$; wait $!; echo $?"#;
    let file = keepalive.directory.path().join("seen");
    let mut command = keepalive.environment("sh".as_ref());
    let expected = printed(command.args(["-c", script]).arg(keepalive.path()).arg(&file));
    let seen = fs::read_to_string(file).expect("the command has written it");
    assert_eq!(expected, format!("{seen}7\n"));
}

#[test]
fn two_processes_in_a_session_of_their_own_supervise_until_the_command_ends() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.arg(sockets()).args(["tcp", "connect", "hold"]);
    let mut program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    let ours = Process::read(std::process::id()).expect("this process");
    assert_ne!(standby.session, ours.session);
    assert_ne!(standby.parent, program.pid());
    for process in [standby, serving] {
        let fds = fs::read_dir(format!("/proc/{}/fd", process.pid)).expect("a process of ours");
        let links: Vec<_> = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        let is_own = |link: &std::path::PathBuf| {
            let link = link.to_string_lossy();
            link == "/dev/null" || link.starts_with("anon_inode:")
        };
        assert!(links.iter().all(is_own), "{links:?}");
        let directory = fs::read_link(format!("/proc/{}/cwd", process.pid));
        assert_eq!(directory.expect("a process of ours").to_str(), Some("/"));
    }
    drop(program.child.stdin.take());
    eventually("the end of all", LIMIT, || keepalive.is_over().then_some(()));
    assert!(program.child.wait().expect("a child of ours").success());
}

#[test]
fn a_daemon_that_outlives_the_command_is_still_reached() {
    let keepalive = Keepalive::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [told, seen] = ["told", "seen"].map(|name| directory.path().join(name));
    assert!(
        Command::new("mkfifo")
            .arg(&told)
            .status()
            .expect("mkfifo starts")
            .success()
    );
    let daemon = r#"read go <"$1" && exec "$2" tcp connect show tcp listen client accept show >"$3""#;
    let script = r#"(setsid sh -c "$0" sh "$@" </dev/null >/dev/null 2>&1 &)"#;
    let mut command = keepalive.seccomp();
    command
        .args(["sh", "-c", script, daemon])
        .arg(&told)
        .arg(sockets())
        .arg(&seen);
    assert_eq!(printed(&mut command), "");
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    sleep(Duration::from_secs(2));
    assert_eq!(keepalive.supervisors(), Some((standby, serving)), "the daemon lives");
    fs::write(&told, "go\n").expect("the daemon waits for it");
    let expected = format!("connect: 0\ntcp: {TREATED}\naccept: {TREATED}\n");
    eventually("what its sockets have", LIMIT, || {
        fs::read_to_string(&seen).ok().filter(|seen| *seen == expected)
    });
    eventually("the end of all", LIMIT, || keepalive.is_over().then_some(()));
}

#[test]
fn what_the_command_closes_is_closed() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.args(["sh", "-c", "exec <&- >&- 2>&-; exec sleep 1000"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = Running::start_with_input(&mut command);
    let (told, ends) = channel();
    let (mut output, mut errors) = (
        program.child.stdout.take().unwrap(),
        program.child.stderr.take().unwrap(),
    );
    spawn(move || {
        let mut all = Vec::new();
        let _ = output.read_to_end(&mut all).and_then(|_| errors.read_to_end(&mut all));
        let _ = told.send(all);
    });
    assert_eq!(ends.recv_timeout(LIMIT).map(|all| text(&all)), Ok(String::new()));
    let mut input = program.child.stdin.take().expect("a pipe");
    eventually("nobody reads it any more", LIMIT, || input.write_all(b"x").err());
    assert!(
        program.child.try_wait().expect("a child of ours").is_none(),
        "it still runs"
    );
    assert!(keepalive.supervisors().is_some());
}

#[test]
fn the_signals_that_end_programs_do_not_end_supervisors() {
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
    assert_eq!(lines, format!("holding\nconnect: 0\ntcp: {TREATED}\n"));
}

/// How often supervisors are killed: a hundred times, or as `KEEPALIVE_TEST_KILLS` says.
fn kills() -> u64 {
    std::env::var("KEEPALIVE_TEST_KILLS").map_or(100, |kills| kills.parse().expect("a number"))
}

/// A moment within the time that some hundred connects take.
fn moment() -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is later than 1970");
    Duration::from_micros(u64::from(now.subsec_nanos()) % 9973)
}

/// Sends `signal` to one of the supervisors, again and again, while eight threads connect: no connect fails or hangs. Only
/// the call that is served at that moment may go on without its settings.
#[track_caller]
fn strike(signal: Signal, victim: fn((Process, Process)) -> Process) {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.arg(static_target(Libc::Host, "storm.c")).args(["8", "0"]);
    let (mut program, mut output) = start(&mut command);
    assert_eq!(line_of(&mut output), "ready\n");
    let kills = kills();
    for _ in 0..kills {
        let pair = eventually("two supervisors", LIMIT, || keepalive.supervisors());
        sleep(moment());
        let victim = victim(pair);
        victim.send(signal);
        eventually("the victim's end", LIMIT, || victim.is_dead().then_some(()));
    }
    eventually("two supervisors", LIMIT, || keepalive.supervisors());
    drop(program.child.stdin.take());
    let (told, last) = channel();
    spawn(move || told.send(line_of(&mut output)));
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
fn no_connect_suffers_when_the_process_that_serves_is_killed() {
    strike(Signal::KILL, |(_, serving)| serving);
}

#[test]
fn no_connect_suffers_when_the_process_that_stands_by_is_killed() {
    strike(Signal::KILL, |(standby, _)| standby);
}

#[test]
fn no_connect_suffers_when_the_process_that_serves_is_stopped() {
    strike(Signal::STOP, |(_, serving)| serving);
}

#[test]
fn fifty_children_at_a_time_are_served() {
    let keepalive = Keepalive::new();
    let script = r#"i=0; while [ $i -lt 50 ]; do "$1" tcp connect show & i=$((i + 1)); done; wait"#;
    let lines = printed(keepalive.seccomp().args(["sh", "-c", script, "sh"]).arg(sockets()));
    let treated = format!("tcp: {TREATED}");
    assert_eq!(lines.lines().filter(|line| **line == treated).count(), 50, "{lines}");
}

/// As the manual says: the kernel knows no other answer.
#[test]
fn without_both_supervisors_the_calls_fail_with_enosys() {
    let keepalive = Keepalive::new();
    let mut command = keepalive.seccomp();
    command.arg(sockets()).args(["hold", "tcp", "connect=1"]);
    let (mut program, mut output) = start(&mut command);
    assert_eq!(line_of(&mut output), "holding\n");
    let (standby, serving) = eventually("two supervisors", LIMIT, || keepalive.supervisors());
    // Stopped, it cannot take over.
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

/// As the manual says: a process has one listener, and strict mode none that has a filter.
#[test]
fn a_program_under_the_supervisor_gets_no_listener_and_no_strict_mode() {
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
