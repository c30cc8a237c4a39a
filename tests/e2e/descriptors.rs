//! The library holds no descriptor while the program runs, not even for a moment: another thread would get another
//! number, or none, and a child that is forked in that moment would keep it.

use crate::support::find_program;
use crate::support::process::output_within;
use crate::support::target::{Libc, compile, output, with_library, without_library};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Rules under which the library resets options that it has set before the peer was known.
const RESETTING: [&str; 3] = [
    "connect *:1-65535 off; accept *:1-65535 off",
    "connect *:1-65535 count=3; accept *:1-65535 idle=9s; default idle=60s interval=7s syn-count=2",
    "connect *:1-65535 syn-count=3 mode=cap; accept *:1-65535 off",
];

#[test]
fn threads_get_the_lowest_number_and_children_no_additional_descriptor() {
    let program = compile(Libc::Host, "lowest.c", &["-pthread"]);
    let expected = "another number: 0, none: 0, kept by a child: 0\n";
    assert_eq!(output(&mut without_library(&program)), expected);
    for rules in RESETTING {
        for _ in 0..5 {
            let mut command = with_library(&program);
            assert_eq!(output(command.env("KEEPALIVE_RULES", rules)), expected, "{rules}");
        }
    }
}

/// Returns the calls that create descriptors, as strace(1) shows them, from the program's first socket on.
fn created(strace: &Path, program: &mut Command) -> String {
    const CALLS: &str = "trace=socket,socketpair,open,openat,openat2,creat,dup,dup2,dup3,fcntl,pipe,pipe2,accept,accept4,\
                         epoll_create1,eventfd2,pidfd_open,pidfd_getfd,memfd_create,close";
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = Command::new(strace);
    command.env_clear().args(["-f", "-e", CALLS, "-o"]).arg(log.path());
    for (name, value) in program.get_envs() {
        let mut entry = name.to_owned();
        entry.push("=");
        entry.push(value.expect("only set, not removed"));
        command.arg("-E").arg(entry);
    }
    command.arg(program.get_program()).args(program.get_args());
    let seen = output_within(Duration::from_secs(60), &mut command);
    assert!(seen.status.success(), "{seen:?}");
    let text = fs::read_to_string(log.path()).expect("strace has written it");
    let calls = text
        .lines()
        .map(|line| line.split_once(' ').map_or(line, |(_, call)| call));
    let calls: Vec<_> = calls
        .skip_while(|call| !call.trim_start().starts_with("socket("))
        .collect();
    assert!(calls.len() > 10, "{text}");
    calls.join("\n")
}

/// Sockets that the program creates, inherits, receives, connects, listens with and accepts.
#[test]
fn library_creates_no_descriptor() {
    let Some(strace) = find_program("strace") else {
        skip!("strace is not installed");
    };
    let program = compile(Libc::Host, "sockets.c", &[]);
    let words = "tcp connect so_error tcp listen client accept first tcp pass connect raw-tcp raw-listen client accept \
                 tcp6 idle=7 connect raw-tcp idle=8 listen client accept mptcp connect udp unix listen client accept";
    let words: Vec<_> = words.split_whitespace().collect();
    let expected = created(&strace, without_library(&program).args(&words));
    for rules in RESETTING.into_iter().chain(["default idle=60s"]) {
        for user_timeout in ["off", "auto"] {
            let mut command = with_library(&program);
            command
                .env("KEEPALIVE_RULES", rules)
                .env("KEEPALIVE_USER_TIMEOUT", user_timeout);
            assert_eq!(
                created(&strace, command.args(&words)),
                expected,
                "{rules}, {user_timeout}"
            );
        }
    }
}

/// Returns a command that runs `program` in a network namespace with sysctls of its own.
fn with_sysctls(program: &Command) -> Command {
    let mut command = without_library(&find_program("unshare").expect("it was asked for"));
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = "ip link set lo up && cd /proc/sys/net/ipv4 && echo 601 >tcp_keepalive_time && \
                  echo 33 >tcp_keepalive_intvl && echo 5 >tcp_keepalive_probes && echo 4 >tcp_syn_retries && exec \"$@\"";
    command.args(["sh", "-c", script, "sh", "env", "-i"]);
    for (name, value) in program.get_envs() {
        let mut entry = name.to_owned();
        entry.push("=");
        entry.push(value.expect("only set, not removed"));
        command.arg(entry);
    }
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.arg(program.get_program()).args(program.get_args());
    command
}

/// Options are reset to the kernel's values for this socket, which depend on the sysctls.
#[test]
fn options_are_reset_to_the_values_of_the_kernel() {
    if find_program("unshare").is_none() {
        skip!("unshare is not installed");
    }
    let possible = with_sysctls(&without_library(Path::new("/bin/true")))
        .output()
        .expect("unshare starts");
    if !possible.status.success() {
        skip!("there are no network namespaces with sysctls: {possible:?}");
    }
    let program = compile(Libc::Host, "sockets.c", &[]);
    for (words, expected) in [
        ("tcp connect show", "connect: 0\ntcp: 0 601 33 5 0\n"),
        ("tcp listen client accept show", "accept: 0 601 33 5 0\n"),
        // Options of the program stay; those of a socket that the library does not remember are reset once the kernel's
        // values are known.
        ("tcp idle=77 connect show", "connect: 0\ntcp: 0 77 33 5 0\n"),
        ("tcp raw-tcp connect show", "connect: 0\nraw-tcp: 0 601 33 5 0\n"),
        ("tcp raw-tcp raw-listen client accept show", "accept: 0 601 33 5 0\n"),
    ] {
        let mut command = with_library(&program);
        command.env("KEEPALIVE_RULES", RESETTING[0]).args(words.split(' '));
        assert_eq!(output(&mut with_sysctls(&command)), expected, "{words}");
    }
    // Without rules, the library distinguishes an inherited socket with the kernel's values from one with other values.
    for (words, expected) in [
        ("tcp raw-tcp connect show", "connect: 0\nraw-tcp: 1 61 13 4 0\n"),
        (
            "tcp raw-tcp idle=602 connect show",
            "connect: 0\nraw-tcp: 1 602 13 4 0\n",
        ),
    ] {
        let mut command = with_library(&program);
        command.args(words.split(' '));
        assert_eq!(output(&mut with_sysctls(&command)), expected, "{words}");
    }
}
