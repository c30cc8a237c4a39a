//! Every program, however it makes its calls and wherever it goes; and nothing but TCP.

use super::{LIMIT, OWN_NETWORK, printed, run, words, words_of};
use crate::support::engine::Engine;
use crate::support::find_program;
use crate::support::go::{GoProgram, timings};
use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually};
use crate::support::target::{BUILDS, Libc, TREATED, UNTOUCHED, compile, static_target};
use keepalive_policy::Mode;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

#[test]
fn programs_of_every_kind_are_reached() {
    kernel!();
    builds!();
    // A listener is left as it is: what it accepts is set.
    let ways = "tcp show connect show tcp6 connect show nonblock tcp connect so_error show tcp listen show client accept \
                show tcp6 listen client accept show tcp bind connect show raw-tcp connect show \
                raw-tcp raw-listen show client pass accept show tcp dup=70 connect show";
    let expected = format!(
        "tcp: {UNTOUCHED}\nconnect: 0\ntcp: {TREATED}\nconnect: 0\ntcp6: {TREATED}\nconnect: 115\nso_error: 0\n\
         tcp: {TREATED}\ntcp: {UNTOUCHED}\naccept: {TREATED}\naccept: {TREATED}\nconnect: 0\ntcp: {TREATED}\n\
         connect: 0\nraw-tcp: {TREATED}\nraw-tcp: {UNTOUCHED}\naccept: {TREATED}\nconnect: 0\ntcp: {TREATED}\n"
    );
    let mut programs: Vec<PathBuf> = BUILDS.map(|libc| static_target(libc, "sockets.c")).into();
    programs.push(compile(Libc::Host, "sockets.c", &[]));
    for program in programs {
        assert_eq!(words_of(&program, &[], ways), expected, "{}", program.display());
    }
}

/// By the C library, by syscall(2), by the system call instruction and, in the program for i386, by socketcall(2); from a
/// handler of signals, and children.
#[test]
fn every_way_to_make_a_system_call_is_reached() {
    kernel!();
    builds!();
    for libc in BUILDS {
        let program = static_target(libc, "calls.c");
        for context in ["main", "handler", "fork", "vfork"] {
            let lines = words_of(&program, &[], context);
            let is_right = |line: &&str| {
                let (name, has) = line.rsplit_once(": ").expect("a name and what it has");
                let is_unused = ["socket", "listen", "prctl", "seccomp", "parent"]
                    .iter()
                    .any(|end| name.ends_with(end));
                has == if is_unused { UNTOUCHED } else { TREATED }
            };
            let ways = if matches!(libc, Libc::Cross(_)) { 3 } else { 2 };
            let connects = lines.lines().filter(|line| line.contains("connect:")).count();
            assert_eq!(connects, 2 * ways, "{libc:?} {context}:\n{lines}");
            let wrong: Vec<&str> = lines.lines().filter(|line| !is_right(line)).collect();
            assert!(wrong.is_empty(), "{libc:?} {context}: {wrong:#?}");
        }
    }
}

#[test]
fn a_send_that_opens_a_connection_is_reached() {
    kernel!();
    let expected = ["sendto", "sendmsg", "sendmmsg"].map(|way| format!("{way}: {TREATED}\n"));
    let expected = expected.concat().repeat(2);
    let program = static_target(Libc::Host, "fastopen.c");
    assert_eq!(printed(run(&[]).args(OWN_NETWORK).arg(&program)), expected);
    // Without a cookie the data is in the SYN, and both ends have the connection before the handshake is over.
    let at_once = "ip link set lo up && echo 1543 >/proc/sys/net/ipv4/tcp_fastopen && exec \"$@\"";
    let network = ["unshare", "--net", "sh", "-c", at_once, "sh"];
    assert_eq!(printed(run(&[]).args(network).arg(&program)), expected);
}

#[test]
fn sixty_four_threads_lose_no_connection() {
    kernel!();
    let storm = static_target(Libc::Host, "storm.c");
    assert_eq!(
        words_of(&storm, &[], "64 200"),
        "12800 made, 0 failed, 0 slow, 0 unset\n"
    );
}

#[test]
fn the_modes_judge_what_go_sets_itself() {
    kernel!();
    let program = match GoProgram::build() {
        Ok(program) => program,
        Err(why) => skip!("{why}"),
    };
    for (mode, expected) in program.expected() {
        let mut command = run(&["--mode", mode.name()]);
        assert_eq!(timings(command.arg(program.path())), [expected; 2], "{mode:?}");
    }
}

#[test]
fn busybox_is_reached() {
    kernel!();
    let Some(busybox) = find_program("busybox") else {
        skip!("busybox is not installed");
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let there = listener.local_addr().expect("bound");
    let mut command = run(&[]);
    command
        .arg(&busybox)
        .args(["nc", "127.0.0.1", &there.port().to_string()]);
    let program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let timing = eventually("its connection", LIMIT, || {
        let sockets = tcp_sockets(program.pid());
        let found = sockets.iter().find(|seen| seen.socket.peer == Some(there))?;
        Some(found.timing())
    });
    assert_eq!(timing, (true, 61, 13, 4));
}

#[test]
fn what_a_script_starts_is_reached_whatever_it_is() {
    kernel!();
    builds!();
    let script = "for program; do $program tcp connect show & done; wait; exec $1 tcp listen client accept show";
    let mut programs: Vec<PathBuf> = BUILDS.map(|libc| static_target(libc, "sockets.c")).into();
    programs.push(compile(Libc::Host, "sockets.c", &[]));
    let lines = printed(run(&[]).args(["sh", "-c", script, "sh"]).args(&programs));
    let count = |line: &str| lines.lines().filter(|printed| *printed == line).count();
    assert_eq!(count(&format!("tcp: {TREATED}")), programs.len(), "{lines}");
    assert_eq!(count(&format!("accept: {TREATED}")), 1, "{lines}");
}

#[test]
fn sockets_that_are_not_tcp_are_left_alone() {
    kernel!();
    let kinds = "udp connect show udp6 connect show unix show unix-datagram show unix listen client accept show \
                 udp connect keepalive=1 show unix keepalive=1 show";
    let untouched = "0 -1 -1 -1 -1";
    let own = "1 -1 -1 -1 -1";
    for mode in Mode::ALL {
        assert_eq!(
            words(&["--mode", mode.name()], kinds),
            format!(
                "connect: 0\nudp: {untouched}\nconnect: 0\nudp6: {untouched}\nunix: {untouched}\n\
                 unix-datagram: {untouched}\naccept: {untouched}\nconnect: 0\nudp: {own}\nunix: {own}\n"
            ),
            "{mode:?}"
        );
    }
}

#[test]
fn what_is_off_is_left_alone() {
    kernel!();
    let both = "tcp connect show tcp listen client accept show";
    let untouched = format!("connect: 0\ntcp: {UNTOUCHED}\naccept: {UNTOUCHED}\n");
    for mode in Mode::ALL {
        let rules = ["--mode", mode.name(), "--rule", "connect off", "--rule", "accept off"];
        assert_eq!(words(&rules, both), untouched, "{mode:?}");
        // The program may do as it likes.
        let own = words(&rules, "tcp connect idle=600 keepalive=1 keepalive=0 show");
        assert_eq!(own, "connect: 0\ntcp: 0 600 75 9 0\n", "{mode:?}");
    }
    for (value, expected) in [("off", UNTOUCHED), ("skip", "0 61 13 4 0")] {
        let mut command = Engine::Kernel.command(&super::sockets());
        let lines = printed(command.env("KEEPALIVE", value).args(both.split(' ')));
        assert_eq!(lines, format!("connect: 0\ntcp: {expected}\naccept: {expected}\n"));
    }
}

/// The library sees that a connection is complete only when the program asks.
#[test]
fn a_user_timeout_is_set_though_the_program_never_asks() {
    kernel!();
    let lines = words(&["--user-timeout=auto"], "nonblock tcp idle=300 connect writable show");
    assert_eq!(lines, "connect: 115\ntcp: 1 300 13 4 352000\n");
}

/// They come too late for what is decided in the handshake, and say so; the rest is set.
#[test]
fn what_cannot_be_set_after_the_handshake_is_named() {
    kernel!();
    for (option, name) in [
        ("syn-count=2", "syn-count"),
        ("max-segment=700", "max-segment"),
        ("window-clamp=9000", "window-clamp"),
        ("defer-accept=5", "defer-accept"),
    ] {
        let mut command = run(&["--rule", &format!("connect idle=30 {option}")]);
        let output = super::output_within(LIMIT, command.arg(super::sockets()).args(["tcp", "connect", "show"]));
        let [lines, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert_eq!(lines, "connect: 0\ntcp: 1 30 75 9 0\n", "{option}");
        assert!(
            errors.starts_with("keepalive: not set by the cgroup engine") && errors.contains(name),
            "{option}: {errors}"
        );
    }
}
