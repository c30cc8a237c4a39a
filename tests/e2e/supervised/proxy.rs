//! With Yama's `kernel.yama.ptrace_scope` 1 a process can inspect only its descendants: keepalive then stays as a proxy
//! of the command, and the supervisors are between the two.

use super::job_control::{BACKGROUND, INTERRUPT, STOP_AND_CONTINUE, run_at_terminal, terminal};
use super::{Keepalive, LIMIT, Process, line_of, outcome, printed, sockets, start, text};
use crate::support::process::eventually;
use crate::support::target::POLICY_VALUES;
use crate::support::{PYTHON, find_program};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Simulates Yama's sysctl, for the user nobody. Yama itself is not necessary: the tests check what keepalive does
/// because of the sysctl.
const RESTRICTED: &str = "mount -t tmpfs none /proc/sys/kernel && mkdir /proc/sys/kernel/yama && \
                          echo 1 >/proc/sys/kernel/yama/ptrace_scope && \
                          exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";

/// The command where a proxy is necessary.
struct RestrictedKeepalive {
    keepalive: Keepalive,
    sockets: PathBuf,
}

impl RestrictedKeepalive {
    fn new() -> Self {
        let keepalive = Keepalive::for_all_users();
        let sockets = keepalive.bring(&sockets(), "sockets");
        Self { keepalive, sockets }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = self.keepalive.environment("unshare".as_ref());
        command.args(["--mount", "sh", "-c", RESTRICTED, "sh"]).arg(program);
        command.current_dir("/");
        command
    }

    fn seccomp(&self) -> Command {
        let mut command = self.command(&self.keepalive.path());
        command.args(["run", "--engine", "seccomp"]);
        command
    }

    /// Returns the proxy, the standby and the serving process.
    fn all(&self, proxy: u32) -> Option<[Process; 3]> {
        let all = self.keepalive.processes();
        let child_of = |parent: u32| all.iter().copied().find(|process| process.parent == parent);
        let first = all.iter().copied().find(|process| process.pid == proxy)?;
        let standby = child_of(proxy)?;
        let serving = child_of(standby.pid)?;
        (all.len() == 3).then_some([first, standby, serving])
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a process"), signal).expect("a process of the test");
}

#[test]
fn command_is_set_and_its_status_is_returned() {
    root!();
    let restricted = RestrictedKeepalive::new();
    let words = "tcp connect show tcp listen client accept show";
    let mut command = restricted.seccomp();
    command.arg(&restricted.sockets).args(words.split(' '));
    assert_eq!(
        printed(&mut command),
        format!("connect: 0\ntcp: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n")
    );
    assert_eq!(
        outcome(
            restricted
                .seccomp()
                .args(["sh", "-c", "echo out; echo err >&2; exit 42"])
        ),
        ("out\n".into(), "err\n".into(), Some(42))
    );
    for signal in [1, 2, 6, 9, 10, 15] {
        let mut command = restricted.seccomp();
        let status = command
            .args(["sh", "-c", &format!("ulimit -c 0; kill -{signal} $$")])
            .status();
        assert_eq!(status.expect("it starts").signal(), Some(signal));
    }
    let (_, message, status) = outcome(restricted.seccomp().env("PATH", "/usr/bin:/bin").arg("no-such-program"));
    assert_eq!(status, Some(127), "{message}");
}

#[test]
fn in_place_is_refused() {
    root!();
    let restricted = RestrictedKeepalive::new();
    let mut command = restricted.seccomp();
    let (lines, message, status) = outcome(command.args(["--in-place", "echo", "out"]));
    assert_eq!((status, &*lines), (Some(125), ""), "{message}");
    assert!(
        message.contains("ptrace_scope") && message.contains("hint: "),
        "{message}"
    );
}

#[test]
fn signals_are_forwarded() {
    root!();
    let restricted = RestrictedKeepalive::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        // Without a handler the signal ends the command, and so the proxy.
        let (mut program, mut output) = start(restricted.seccomp().args(["sh", "-c", "echo up; read x"]));
        assert_eq!(line_of(&mut output), "up\n");
        // `wait` would close standard input, which also ends the command.
        let _input = program.child.stdin.take();
        send(program.pid(), signal);
        let status = program.child.wait().expect("a child");
        assert_eq!(status.signal(), Some(signal.as_raw()), "{name}: {status:?}");
        let script = format!("trap 'echo caught; exit 3' {name}; echo up; while :; do sleep 0.05; done");
        let (mut program, mut output) = start(restricted.seccomp().args(["sh", "-c", &script]));
        assert_eq!(line_of(&mut output), "up\n");
        send(program.pid(), signal);
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "caught\n", "{name}");
        assert_eq!(program.child.wait().expect("a child").code(), Some(3), "{name}");
    }
}

/// SIGKILL cannot be forwarded, but the command must end.
#[test]
fn command_is_killed_with_the_proxy() {
    root!();
    for serves_alone in [false, true] {
        let restricted = RestrictedKeepalive::new();
        let (mut program, mut output) = start(restricted.seccomp().args(["sh", "-c", "echo $$; exec sleep 1000"]));
        let command: u32 = line_of(&mut output).trim().parse().expect("its number");
        let command = Process::read(command).expect("it runs");
        let all = eventually("proxy and supervisors", LIMIT, || restricted.all(program.pid()));
        if serves_alone {
            all[2].send(Signal::KILL);
            eventually("the victim's end", LIMIT, || all[2].is_dead().then_some(()));
        }
        send(program.pid(), Signal::KILL);
        assert_eq!(program.wait_for_end().signal(), Some(Signal::KILL.as_raw()));
        eventually("the command's end", LIMIT, || {
            Process::read(command.pid).is_none().then_some(())
        });
        eventually("the end of all", LIMIT, || restricted.keepalive.is_over().then_some(()));
    }
}

#[test]
fn command_stops_and_continues_with_the_proxy() {
    root!();
    let restricted = RestrictedKeepalive::new();
    let mut command = restricted.seccomp();
    // In a process group of its own: in an orphaned group SIGTSTP would have no effect.
    command.args(["sh", "-c", "echo $$; read x; exit 5"]).process_group(0);
    let (mut program, mut output) = start(&mut command);
    let command: u32 = line_of(&mut output).trim().parse().expect("its number");
    let is_stopped = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    send(program.pid(), Signal::TSTP);
    eventually("both stop", LIMIT, || {
        (is_stopped(command) && is_stopped(program.pid())).then_some(())
    });
    send(program.pid(), Signal::CONT);
    eventually("both continue", LIMIT, || {
        (!is_stopped(command) && !is_stopped(program.pid())).then_some(())
    });
    drop(program.child.stdin.take());
    assert_eq!(program.child.wait().expect("a child").code(), Some(5));
}

#[test]
fn daemon_that_outlives_the_command_is_still_set() {
    root!();
    let restricted = RestrictedKeepalive::new();
    let [go, seen] = ["go", "seen"].map(|name| restricted.keepalive.directory.path().join(name));
    assert!(
        Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&go)
            .status()
            .expect("it starts")
            .success()
    );
    fs::write(&seen, "").expect("a file of the test");
    fs::set_permissions(&seen, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("a file of the test");
    let daemon = r#"read go <"$1" && exec "$2" tcp connect show >"$3""#;
    let script = r#"(setsid sh -c "$0" sh "$@" </dev/null >/dev/null 2>&1 &); exit 6"#;
    let mut command = restricted.seccomp();
    command
        .args(["sh", "-c", script, daemon])
        .arg(&go)
        .arg(&restricted.sockets)
        .arg(&seen);
    assert_eq!(outcome(&mut command).2, Some(6));
    assert_eq!(
        restricted.keepalive.processes().len(),
        2,
        "the supervisors without the proxy"
    );
    fs::write(&go, "go\n").expect("the daemon waits for it");
    let expected = format!("connect: 0\ntcp: {POLICY_VALUES}\n");
    eventually("what its socket has", LIMIT, || {
        fs::read_to_string(&seen).ok().filter(|seen| *seen == expected)
    });
    eventually("the end of all", LIMIT, || restricted.keepalive.is_over().then_some(()));
}

#[test]
fn killed_supervisor_is_replaced_and_the_status_is_returned() {
    root!();
    for victim in [1, 2] {
        for signal in [Signal::KILL, Signal::STOP] {
            // No process watches the standby.
            if victim == 1 && signal == Signal::STOP {
                continue;
            }
            let restricted = RestrictedKeepalive::new();
            let script = r#""$0" tcp connect show; read x; "$0" tcp connect show; exit 5"#;
            let mut command = restricted.seccomp();
            command.args(["sh", "-c", script]).arg(&restricted.sockets);
            let (mut program, mut output) = start(&mut command);
            assert_eq!(line_of(&mut output), "connect: 0\n");
            assert_eq!(line_of(&mut output), format!("tcp: {POLICY_VALUES}\n"));
            let all = eventually("proxy and supervisors", LIMIT, || restricted.all(program.pid()));
            all[victim].send(signal);
            eventually("the victim's end", LIMIT, || all[victim].is_dead().then_some(()));
            drop(program.child.stdin.take());
            let mut rest = Vec::new();
            output.read_to_end(&mut rest).expect("a pipe");
            assert_eq!(
                text(&rest),
                format!("connect: 0\ntcp: {POLICY_VALUES}\n"),
                "{victim} {signal:?}"
            );
            assert_eq!(
                program.child.wait().expect("a child").code(),
                Some(5),
                "{victim} {signal:?}"
            );
        }
    }
}

#[test]
fn terminal_works_as_without_keepalive() {
    root!();
    if find_program("bash").is_none() || find_program(PYTHON).is_none() {
        skip!("bash or python3 is not installed");
    }
    let restricted = RestrictedKeepalive::new();
    for steps in [&INTERRUPT[..], &STOP_AND_CONTINUE, &BACKGROUND] {
        run_at_terminal(
            &restricted.keepalive,
            terminal(&mut restricted.command(PYTHON.as_ref())),
            steps,
        );
        eventually("the end of all", LIMIT, || restricted.keepalive.is_over().then_some(()));
    }
}

/// Without an engine option too, the proxy is used, and the library where possible.
#[test]
fn auto_uses_the_proxy() {
    root!();
    let restricted = RestrictedKeepalive::new();
    let mut command = restricted.command(&restricted.keepalive.path());
    command
        .args(["run", "sh", "-c", "\"$0\" tcp connect show; exit 8"])
        .arg(&restricted.sockets);
    let (lines, message, status) = outcome(&mut command);
    assert_eq!(
        (&*lines, status),
        (&*format!("connect: 0\ntcp: {POLICY_VALUES}\n"), Some(8)),
        "{message}"
    );
}
