//! Where Yama lets a process look into its descendants alone (`kernel.yama.ptrace_scope` 1): keepalive stays, stands in for
//! the command, and the supervisors are between the two.

use super::job_control::{BACKGROUND, INTERRUPT, STOP_AND_CONTINUE, sit_at, terminal};
use super::{Keepalive, LIMIT, Process, line_of, outcome, printed, sockets, start, text};
use crate::support::process::eventually;
use crate::support::target::TREATED;
use crate::support::{PYTHON, find_program};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that seems to have Yama, and a user who is nobody. Yama itself need not be there: what is tested is what
/// keepalive does about it.
const RESTRICTED: &str = "mount -t tmpfs none /proc/sys/kernel && mkdir /proc/sys/kernel/yama && \
                          echo 1 >/proc/sys/kernel/yama/ptrace_scope && \
                          exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";

/// A place where the front is needed.
struct Place {
    keepalive: Keepalive,
    sockets: PathBuf,
}

impl Place {
    fn new() -> Self {
        let keepalive = Keepalive::for_everybody();
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

    /// The front, who stands by, and who serves.
    fn all(&self, front: u32) -> Option<[Process; 3]> {
        let all = self.keepalive.processes();
        let child_of = |parent: u32| all.iter().copied().find(|process| process.parent == parent);
        let first = all.iter().copied().find(|process| process.pid == front)?;
        let standby = child_of(front)?;
        let serving = child_of(standby.pid)?;
        (all.len() == 3).then_some([first, standby, serving])
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a process"), signal).expect("a process of ours");
}

#[test]
fn the_command_is_reached_and_ends_as_it_would() {
    root!();
    let place = Place::new();
    let words = "tcp connect show tcp listen client accept show";
    let mut command = place.seccomp();
    command.arg(&place.sockets).args(words.split(' '));
    assert_eq!(
        printed(&mut command),
        format!("connect: 0\ntcp: {TREATED}\naccept: {TREATED}\n")
    );
    assert_eq!(
        outcome(place.seccomp().args(["sh", "-c", "echo out; echo err >&2; exit 42"])),
        ("out\n".into(), "err\n".into(), Some(42))
    );
    for signal in [1, 2, 6, 9, 10, 15] {
        let mut command = place.seccomp();
        let status = command
            .args(["sh", "-c", &format!("ulimit -c 0; kill -{signal} $$")])
            .status();
        assert_eq!(status.expect("it starts").signal(), Some(signal));
    }
    let (_, message, status) = outcome(place.seccomp().env("PATH", "/usr/bin:/bin").arg("no-such-program"));
    assert_eq!(status, Some(127), "{message}");
}

#[test]
fn who_insists_on_the_process_id_is_refused() {
    root!();
    let place = Place::new();
    let mut command = place.seccomp();
    let (lines, message, status) = outcome(command.args(["--in-place", "echo", "out"]));
    assert_eq!((status, &*lines), (Some(125), ""), "{message}");
    assert!(
        message.contains("ptrace_scope") && message.contains("hint: "),
        "{message}"
    );
}

#[test]
fn signals_are_handed_on() {
    root!();
    let place = Place::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
    ] {
        // Without a handler it ends the command, and so the front.
        let (mut program, mut output) = start(place.seccomp().args(["sh", "-c", "echo up; read x"]));
        assert_eq!(line_of(&mut output), "up\n");
        // Waiting would close it, and end the command in another way.
        let _input = program.child.stdin.take();
        send(program.pid(), signal);
        let status = program.child.wait().expect("a child");
        assert_eq!(status.signal(), Some(signal.as_raw()), "{name}: {status:?}");
        let script = format!("trap 'echo caught; exit 3' {name}; echo up; while :; do sleep 0.05; done");
        let (mut program, mut output) = start(place.seccomp().args(["sh", "-c", &script]));
        assert_eq!(line_of(&mut output), "up\n");
        send(program.pid(), signal);
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "caught\n", "{name}");
        assert_eq!(program.child.wait().expect("a child").code(), Some(3), "{name}");
    }
}

/// Nobody can hand on SIGKILL, which was meant for the command.
#[test]
fn the_command_is_killed_with_the_front() {
    root!();
    for serves_alone in [false, true] {
        let place = Place::new();
        let (mut program, mut output) = start(place.seccomp().args(["sh", "-c", "echo $$; exec sleep 1000"]));
        let command: u32 = line_of(&mut output).trim().parse().expect("its number");
        let command = Process::read(command).expect("it runs");
        let all = eventually("front and supervisors", LIMIT, || place.all(program.pid()));
        if serves_alone {
            all[2].send(Signal::KILL);
            eventually("the victim's end", LIMIT, || all[2].is_dead().then_some(()));
        }
        send(program.pid(), Signal::KILL);
        assert_eq!(program.wait_for_end().signal(), Some(Signal::KILL.as_raw()));
        eventually("the command's end", LIMIT, || {
            Process::read(command.pid).is_none().then_some(())
        });
        eventually("the end of all", LIMIT, || place.keepalive.is_over().then_some(()));
    }
}

#[test]
fn the_command_stops_and_goes_on_with_the_front() {
    root!();
    let place = Place::new();
    let mut command = place.seccomp();
    // In a group of its own, beside its parent's: where nobody is left to let a group go on, SIGTSTP does nothing.
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
    eventually("both go on", LIMIT, || {
        (!is_stopped(command) && !is_stopped(program.pid())).then_some(())
    });
    drop(program.child.stdin.take());
    assert_eq!(program.child.wait().expect("a child").code(), Some(5));
}

#[test]
fn a_daemon_outlives_the_command_and_is_still_reached() {
    root!();
    let place = Place::new();
    let [told, seen] = ["told", "seen"].map(|name| place.keepalive.directory.path().join(name));
    assert!(
        Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&told)
            .status()
            .expect("it starts")
            .success()
    );
    fs::write(&seen, "").expect("a file of ours");
    fs::set_permissions(&seen, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("a file of ours");
    let daemon = r#"read go <"$1" && exec "$2" tcp connect show >"$3""#;
    let script = r#"(setsid sh -c "$0" sh "$@" </dev/null >/dev/null 2>&1 &); exit 6"#;
    let mut command = place.seccomp();
    command
        .args(["sh", "-c", script, daemon])
        .arg(&told)
        .arg(&place.sockets)
        .arg(&seen);
    assert_eq!(outcome(&mut command).2, Some(6));
    assert_eq!(
        place.keepalive.processes().len(),
        2,
        "the supervisors without the front"
    );
    fs::write(&told, "go\n").expect("the daemon waits for it");
    let expected = format!("connect: 0\ntcp: {TREATED}\n");
    eventually("what its socket has", LIMIT, || {
        fs::read_to_string(&seen).ok().filter(|seen| *seen == expected)
    });
    eventually("the end of all", LIMIT, || place.keepalive.is_over().then_some(()));
}

#[test]
fn when_a_supervisor_is_killed_the_other_goes_on_and_the_status_still_arrives() {
    root!();
    for victim in [1, 2] {
        for signal in [Signal::KILL, Signal::STOP] {
            // Nobody looks after who stands by.
            if victim == 1 && signal == Signal::STOP {
                continue;
            }
            let place = Place::new();
            let script = r#""$0" tcp connect show; read x; "$0" tcp connect show; exit 5"#;
            let mut command = place.seccomp();
            command.args(["sh", "-c", script]).arg(&place.sockets);
            let (mut program, mut output) = start(&mut command);
            assert_eq!(line_of(&mut output), "connect: 0\n");
            assert_eq!(line_of(&mut output), format!("tcp: {TREATED}\n"));
            let all = eventually("front and supervisors", LIMIT, || place.all(program.pid()));
            all[victim].send(signal);
            eventually("the victim's end", LIMIT, || all[victim].is_dead().then_some(()));
            drop(program.child.stdin.take());
            let mut rest = Vec::new();
            output.read_to_end(&mut rest).expect("a pipe");
            assert_eq!(
                text(&rest),
                format!("connect: 0\ntcp: {TREATED}\n"),
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
fn a_terminal_is_used_as_without_keepalive() {
    root!();
    if find_program("bash").is_none() || find_program(PYTHON).is_none() {
        skip!("bash or python3 is not installed");
    }
    let place = Place::new();
    for steps in [&INTERRUPT[..], &STOP_AND_CONTINUE, &BACKGROUND] {
        sit_at(&place.keepalive, terminal(&mut place.command(PYTHON.as_ref())), steps);
        eventually("the end of all", LIMIT, || place.keepalive.is_over().then_some(()));
    }
}

/// Nobody has said which engine: the front is used all the same, and the library where it can be.
#[test]
fn auto_uses_it_too() {
    root!();
    let place = Place::new();
    let mut command = place.command(&place.keepalive.path());
    command
        .args(["run", "sh", "-c", "\"$0\" tcp connect show; exit 8"])
        .arg(&place.sockets);
    let (lines, message, status) = outcome(&mut command);
    assert_eq!(
        (&*lines, status),
        (&*format!("connect: 0\ntcp: {TREATED}\n"), Some(8)),
        "{message}"
    );
}
