//! Every program, however it makes its calls and in every namespace; and only TCP sockets.

use super::{LIMIT, OWN_NETWORK, printed, run, words, words_of};
use crate::support::engine::Engine;
use crate::support::find_program;
use crate::support::go::{GoProgram, timings};
use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually};
use crate::support::target::{BUILDS, KERNEL_DEFAULTS, Libc, POLICY_VALUES, compile, static_target};
use keepalive_policy::Mode;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

#[test]
fn every_kind_of_program_is_reached() {
    kernel!();
    builds!();
    // Listeners are unchanged; the connections that they accept are set.
    let ways = "tcp show connect show tcp6 connect show nonblock tcp connect so_error show tcp listen show client accept \
                show tcp6 listen client accept show tcp bind connect show raw-tcp connect show \
                raw-tcp raw-listen show client pass accept show tcp dup=70 connect show";
    let expected = format!(
        "tcp: {KERNEL_DEFAULTS}\nconnect: 0\ntcp: {POLICY_VALUES}\nconnect: 0\ntcp6: {POLICY_VALUES}\nconnect: 115\nso_error: 0\n\
         tcp: {POLICY_VALUES}\ntcp: {KERNEL_DEFAULTS}\naccept: {POLICY_VALUES}\naccept: {POLICY_VALUES}\nconnect: 0\ntcp: {POLICY_VALUES}\n\
         connect: 0\nraw-tcp: {POLICY_VALUES}\nraw-tcp: {KERNEL_DEFAULTS}\naccept: {POLICY_VALUES}\nconnect: 0\ntcp: {POLICY_VALUES}\n"
    );
    let mut programs: Vec<PathBuf> = BUILDS.map(|libc| static_target(libc, "sockets.c")).into();
    programs.push(compile(Libc::Host, "sockets.c", &[]));
    for program in programs {
        assert_eq!(words_of(&program, &[], ways), expected, "{}", program.display());
    }
}

/// Calls by the C library, by syscall(2), by the system call instruction and, in the i386 program, by socketcall(2);
/// also from a signal handler and in children.
#[test]
fn every_way_to_make_system_calls_is_reached() {
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
                has == if is_unused { KERNEL_DEFAULTS } else { POLICY_VALUES }
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
fn connections_opened_by_a_send_are_set() {
    kernel!();
    let expected = ["sendto", "sendmsg", "sendmmsg"].map(|way| format!("{way}: {POLICY_VALUES}\n"));
    let expected = expected.concat().repeat(2);
    let program = static_target(Libc::Host, "fastopen.c");
    assert_eq!(printed(run(&[]).args(OWN_NETWORK).arg(&program)), expected);
    // Without a cookie the data is in the SYN, and both ends have a socket before the handshake is complete.
    let at_once = "ip link set lo up && echo 1543 >/proc/sys/net/ipv4/tcp_fastopen && exec \"$@\"";
    let network = ["unshare", "--net", "sh", "-c", at_once, "sh"];
    assert_eq!(printed(run(&[]).args(network).arg(&program)), expected);
}

#[test]
fn connections_of_64_threads_are_set() {
    kernel!();
    let program = static_target(Libc::Host, "connect_load.c");
    assert_eq!(
        words_of(&program, &[], "64 200"),
        "12800 made, 0 failed, 0 slow, 0 unset\n"
    );
}

#[test]
fn modes_apply_to_options_that_go_sets() {
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
fn children_of_a_script_are_reached() {
    kernel!();
    builds!();
    let script = "for program; do $program tcp connect show & done; wait; exec $1 tcp listen client accept show";
    let mut programs: Vec<PathBuf> = BUILDS.map(|libc| static_target(libc, "sockets.c")).into();
    programs.push(compile(Libc::Host, "sockets.c", &[]));
    let lines = printed(run(&[]).args(["sh", "-c", script, "sh"]).args(&programs));
    let count = |line: &str| lines.lines().filter(|printed| *printed == line).count();
    assert_eq!(count(&format!("tcp: {POLICY_VALUES}")), programs.len(), "{lines}");
    assert_eq!(count(&format!("accept: {POLICY_VALUES}")), 1, "{lines}");
}

#[test]
fn sockets_that_are_not_tcp_are_unchanged() {
    kernel!();
    let kinds = "udp connect show udp6 connect show unix show unix-datagram show unix listen client accept show \
                 udp connect keepalive=1 show unix keepalive=1 show";
    let unchanged = "0 -1 -1 -1 -1";
    let own = "1 -1 -1 -1 -1";
    for mode in Mode::ALL {
        assert_eq!(
            words(&["--mode", mode.name()], kinds),
            format!(
                "connect: 0\nudp: {unchanged}\nconnect: 0\nudp6: {unchanged}\nunix: {unchanged}\n\
                 unix-datagram: {unchanged}\naccept: {unchanged}\nconnect: 0\nudp: {own}\nunix: {own}\n"
            ),
            "{mode:?}"
        );
    }
}

#[test]
fn off_changes_nothing() {
    kernel!();
    let both = "tcp connect show tcp listen client accept show";
    let unchanged = format!("connect: 0\ntcp: {KERNEL_DEFAULTS}\naccept: {KERNEL_DEFAULTS}\n");
    for mode in Mode::ALL {
        let rules = ["--mode", mode.name(), "--rule", "connect off", "--rule", "accept off"];
        assert_eq!(words(&rules, both), unchanged, "{mode:?}");
        // No mode applies to calls of the program.
        let own = words(&rules, "tcp connect idle=600 keepalive=1 keepalive=0 show");
        assert_eq!(own, "connect: 0\ntcp: 0 600 75 9 0\n", "{mode:?}");
    }
    for (value, expected) in [("off", KERNEL_DEFAULTS), ("skip", "0 61 13 4 0")] {
        let mut command = Engine::Kernel.command(&super::sockets());
        let lines = printed(command.env("KEEPALIVE", value).args(both.split(' ')));
        assert_eq!(lines, format!("connect: 0\ntcp: {expected}\naccept: {expected}\n"));
    }
}

/// The library notices an established connection only at a later call of the program.
#[test]
fn user_timeout_is_set_without_a_call_of_the_program() {
    kernel!();
    let lines = words(&["--user-timeout=auto"], "nonblock tcp idle=300 connect writable show");
    assert_eq!(lines, "connect: 115\ntcp: 1 300 13 4 352000\n");
}

/// These options are too late after the handshake, and a message says so; the others are set.
#[test]
fn options_that_cannot_be_set_after_the_handshake_are_named() {
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
