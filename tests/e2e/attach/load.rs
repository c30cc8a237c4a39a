//! Busy programs: attach stops, interrupts and loses nothing, and concurrent changes do no harm.

use super::{POLICY, attach, attached};
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, output_within, text, within};
use crate::support::py_peer::PyPeer;
use crate::support::target::{Libc, POLICY_VALUES, compile, without_library};
use keepalive_policy::SocketOption;
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::{proc, sockopt};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The line of `/proc/PID/status` with this key.
fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    line.expect("every kernel has it").to_owned()
}

#[test]
fn busy_program_is_not_stopped_traced_or_interrupted() {
    let mut program = LinePeer::start(&mut without_library(&compile(Libc::Host, "steady.c", &["-lpthread"])));
    assert_eq!(program.answer(), "ready");
    let pid = program.pid();
    thread::scope(|scope| {
        let attaching = scope.spawn(|| {
            for round in 0..40 {
                let idle = format!("--idle={}", 60 + round % 2);
                attached(pid, &["--mode=enforce", &idle, "--interval=13"]);
            }
        });
        let mut rounds = 0;
        while !attaching.is_finished() {
            assert_eq!(status(pid, "TracerPid"), "0");
            for tid in proc::threads(pid).expect("it runs") {
                let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).expect("it runs");
                assert!(!stat.contains(") T ") && !stat.contains(") t "), "{stat}");
            }
            rounds += 1;
        }
        assert!(rounds > 40, "{rounds}");
    });
    program.finish();
    let answer = program.answer();
    assert!(answer.ends_with(" numbers, 0 wrong, 0 interrupted"), "{answer}");
    assert!(!answer.starts_with("0 "), "{answer}");
    program.wait_for_end();
}

#[test]
fn program_that_opens_and_closes_sockets_constantly_is_unharmed() {
    let mut program = LinePeer::start(&mut without_library(&compile(Libc::Host, "churn.c", &[])));
    assert_eq!(program.answer(), "ready");
    let pid = program.pid();
    for round in 0..200 {
        let output = output_within(LIMIT, attach().args(POLICY).arg(pid.to_string()));
        assert!(output.status.success(), "{round}: {output:?}");
        assert!(
            text(&output.stderr).starts_with("keepalive: ") && !output.stdout.is_empty(),
            "{round}: {output:?}"
        );
    }
    program.send_line("");
    let answer = program.answer();
    assert!(answer.ends_with(" steps, 0 touched"), "{answer}");
    let (mut tcp, mut others) = (0, 0);
    for (fd, _) in proc::sockets(pid, pid).expect("it waits") {
        let socket = sockopt::duplicate(pid, fd).expect("it waits");
        if sockopt::protocol(&socket).expect("a socket").is_some() {
            tcp += 1;
        } else {
            others += 1;
            assert_eq!(
                sockopt::get(&socket, SocketOption::Keepalive).expect("a socket"),
                0,
                "descriptor {fd}"
            );
        }
    }
    assert!(tcp > 0 && others > 0, "{tcp} {others}");
    attached(pid, &POLICY);
}

#[test]
fn programs_that_end_during_attach_are_set_or_reported_missing() {
    let sockets = compile(Libc::Host, "sockets.c", &[]);
    for round in 0..100 {
        let mut command = without_library(&sockets);
        let mut program = LinePeer::start(command.args("tcp listen client accept tcp udp hold".split(' ')));
        assert_eq!(program.answer(), "holding");
        let mut command = attach();
        command.args(POLICY).arg(program.pid().to_string());
        let attaching = thread::spawn(move || output_within(LIMIT, &mut command));
        thread::sleep(Duration::from_micros(100 * (round % 50)));
        program.finish();
        program.wait_for_end();
        let output = attaching.join().expect("it ends in time");
        let errors = text(&output.stderr);
        match output.status.code() {
            Some(0) => {}
            Some(1) => assert!(errors.contains("there is no such process"), "{round}: {errors}"),
            _ => panic!("{round}: {output:?}"),
        }
    }
}

#[test]
fn ten_thousand_sockets_are_set() {
    const CONNECTIONS: u32 = 5000;
    root!();
    python!();
    let limit = within(Duration::ZERO, || {
        let output = Command::new("sh").args(["-c", "ulimit -Hn"]).output().ok()?;
        text(&output.stdout).trim().parse::<u32>().ok()
    });
    if limit.is_some_and(|limit| limit < 2 * CONNECTIONS + 100) {
        skip!("a process may have {limit:?} descriptors here");
    }
    let mut program = PyPeer::in_own_network();
    program.execute("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(7)[1]] * 2)");
    program.execute(&format!(
        "listener = listen(); ends = [pair(listener) for _ in range({CONNECTIONS})]"
    ));
    let printed = attached(program.pid(), &POLICY);
    assert_eq!(printed.matches(" fd ").count(), 10_001);
    let handle = PidFd::open(program.pid()).expect("it runs");
    let mut count = 0;
    for (fd, _) in proc::sockets(program.pid(), program.pid()).expect("it runs") {
        let socket = handle.duplicate(fd).expect("it waits");
        assert_eq!(super::show(&socket), POLICY_VALUES, "descriptor {fd}");
        count += 1;
    }
    assert_eq!(count, 10_001);
    assert_eq!(
        program.ask("all(talks(*ends[i]) for i in range(0, len(ends), 100))"),
        "True"
    );
}
