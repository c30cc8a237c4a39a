//! Programs that the supervisor reaches: every program, however it makes its calls and in every namespace; and only TCP
//! sockets.

use super::{BUILDS, Keepalive, LIMIT, OWN_NETWORK, needed, outcome, printed, sockets, static_target};
use crate::rules;
use crate::support::engine::Engine;
use crate::support::find_program;
use crate::support::go::{GoProgram, timings};
use crate::support::netns::NetNs;
use crate::support::observe::tcp_sockets;
use crate::support::process::{Running, eventually, within};
use crate::support::target::{KERNEL_DEFAULTS, Libc, POLICY_VALUES};
use keepalive_policy::Mode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn every_kind_of_static_program_is_reached() {
    builds!();
    let keepalive = Keepalive::new();
    // A socket is set when it is used: before, it is unknown whether it will be a connection.
    let words = "tcp show connect show tcp6 connect show nonblock tcp connect so_error show tcp listen show client accept \
                 show raw-tcp connect show raw-tcp raw-listen show client accept show tcp dup=70 connect show";
    let expected = format!(
        "tcp: {KERNEL_DEFAULTS}\nconnect: 0\ntcp: {POLICY_VALUES}\nconnect: 0\ntcp6: {POLICY_VALUES}\nconnect: 115\nso_error: 0\n\
         tcp: {POLICY_VALUES}\ntcp: {POLICY_VALUES}\naccept: {POLICY_VALUES}\nconnect: 0\nraw-tcp: {POLICY_VALUES}\nraw-tcp: {POLICY_VALUES}\n\
         accept: {POLICY_VALUES}\nconnect: 0\ntcp: {POLICY_VALUES}\n"
    );
    for libc in BUILDS {
        let mut command = keepalive.seccomp();
        command.arg(static_target(libc, "sockets.c")).args(words.split(' '));
        assert_eq!(printed(&mut command), expected, "{libc:?}");
    }
}

/// Calls by the C library, by syscall(2), by the system call instruction and, in the i386 program, by socketcall(2);
/// also from a thread, a signal handler, and children. The program's own seccomp filter, which would stop the library,
/// does not affect the supervisor.
#[test]
fn every_way_to_make_system_calls_is_reached() {
    builds!();
    let keepalive = Keepalive::new();
    for libc in BUILDS {
        let program = static_target(libc, "calls.c");
        for context in ["main", "handler", "fork", "vfork"] {
            let lines = printed(keepalive.seccomp().arg(&program).arg(context));
            let is_expected = |line: &&str| {
                let (name, has) = line.rsplit_once(": ").expect("a name and what it has");
                let is_unused = ["socket", "prctl", "seccomp", "parent"]
                    .iter()
                    .any(|end| name.ends_with(end));
                has == if is_unused { KERNEL_DEFAULTS } else { POLICY_VALUES }
            };
            let ways = if matches!(libc, Libc::Cross(_)) { 3 } else { 2 };
            let connects = lines.lines().filter(|line| line.contains("connect:")).count();
            assert_eq!(connects, 2 * ways, "{libc:?} {context}:\n{lines}");
            let wrong: Vec<&str> = lines.lines().filter(|line| !is_expected(line)).collect();
            assert!(wrong.is_empty(), "{libc:?} {context}: {wrong:#?}");
        }
    }
}

#[test]
fn connections_opened_by_a_send_are_set() {
    root!();
    builds!();
    let keepalive = Keepalive::new();
    let expected = ["sendto", "sendmsg", "sendmmsg"].map(|way| format!("{way}: {POLICY_VALUES}\n"));
    let expected = expected.concat().repeat(2);
    for libc in BUILDS {
        let mut command = keepalive.environment(Path::new(OWN_NETWORK[0]));
        command.args(&OWN_NETWORK[1..]).arg(keepalive.path());
        command
            .args(["run", "--engine", "seccomp"])
            .arg(static_target(libc, "fastopen.c"));
        assert_eq!(printed(&mut command), expected, "{libc:?}");
    }
}

#[test]
fn connections_of_64_threads_are_set() {
    let keepalive = Keepalive::new();
    let program = static_target(Libc::Host, "connect_load.c");
    let lines = printed(keepalive.seccomp().arg(program).args(["64", "200"]));
    assert_eq!(lines, "12800 made, 0 failed, 0 slow, 0 unset\n");
}

/// More threads wait than the supervisor holds.
#[test]
fn connections_of_1100_threads_are_set() {
    let keepalive = Keepalive::new();
    let program = static_target(Libc::Host, "connect_load.c");
    let lines = printed(keepalive.seccomp().arg(program).args(["1100", "4"]));
    assert_eq!(lines, "4400 made, 0 failed, 0 slow, 0 unset\n");
}

#[test]
fn modes_apply_to_options_that_go_sets() {
    let program = match GoProgram::build() {
        Ok(program) => program,
        Err(why) => skip!("{why}"),
    };
    let keepalive = Keepalive::new();
    for (mode, expected) in program.expected() {
        for engine in ["seccomp", "auto"] {
            let mut command = keepalive.run();
            command
                .args(["--engine", engine, "--mode", mode.name()])
                .arg(program.path());
            assert_eq!(timings(&mut command), [expected; 2], "{mode:?} {engine}");
        }
    }
}

#[test]
fn busybox_is_reached() {
    let busybox = match needed("busybox") {
        Ok(busybox) => busybox,
        Err(why) => skip!("{why}"),
    };
    let keepalive = Keepalive::new();
    for applet in [&["wget", "-q", "-O", "-"][..], &["nc"]] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let there = listener.local_addr().expect("bound");
        let mut command = keepalive.seccomp();
        command.arg(&busybox).args(applet);
        if applet[0] == "wget" {
            command.arg(format!("http://{there}/"));
        } else {
            command.args([there.ip().to_string(), there.port().to_string()]);
        }
        let program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
        let timing = eventually("its connection", LIMIT, || {
            let sockets = tcp_sockets(program.pid());
            let found = sockets.iter().find(|seen| seen.socket.peer == Some(there))?;
            Some(found.timing())
        });
        assert_eq!(timing, (true, 61, 13, 4), "{applet:?}");
    }
}

#[test]
fn children_of_a_script_are_reached() {
    builds!();
    let keepalive = Keepalive::new();
    let script = "for program; do $program tcp connect show & done; wait; exec $1 tcp listen client accept show";
    let mut programs: Vec<PathBuf> = BUILDS.map(|libc| static_target(libc, "sockets.c")).into();
    programs.push(crate::support::target::compile(Libc::Host, "sockets.c", &[]));
    for engine in ["seccomp", "auto"] {
        let mut command = keepalive.run();
        command.args(["--engine", engine, "sh", "-c", script, "sh"]);
        let lines = printed(command.args(&programs));
        let each = format!("connect: 0\ntcp: {POLICY_VALUES}\n");
        let mut lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.pop(), Some(&*format!("accept: {POLICY_VALUES}")), "{engine}");
        lines.sort_unstable();
        let repeated = each.repeat(programs.len());
        let mut expected: Vec<&str> = repeated.lines().collect();
        expected.sort_unstable();
        assert_eq!(lines, expected, "{engine}");
    }
}

/// The supervisor stays in its own namespaces, and reaches processes in others.
#[test]
fn processes_in_other_namespaces_and_of_other_users_are_set() {
    root!();
    let keepalive = Keepalive::for_all_users();
    let program = keepalive.bring(&sockets(), "sockets");
    let up = "ip link set lo up && exec \"$@\"";
    // The kernel's defaults belong to a network: a socket with this network's defaults looks set in the supervisor's.
    let sysctls = "ip link set lo up && cd /proc/sys/net/ipv4 && echo 1000 >tcp_keepalive_time && \
                   echo 50 >tcp_keepalive_intvl && echo 3 >tcp_keepalive_probes && cd / && exec \"$@\"";
    let places: [&[&str]; 8] = [
        &["unshare", "--user", "--map-root-user"],
        &["unshare", "--pid", "--fork"],
        &["unshare", "--net", "sh", "-c", up, "sh"],
        &["unshare", "--net", "sh", "-c", sysctls, "sh"],
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "--net",
            "sh",
            "-c",
            up,
            "sh",
        ],
        &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"],
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /proc && exec \"$@\"",
            "sh",
        ],
    ];
    for place in places {
        let mut command = keepalive.seccomp();
        command.args(place).arg(&program);
        command.args("tcp connect show tcp6 connect show tcp listen client accept show".split(' '));
        assert_eq!(
            printed(&mut command),
            format!("connect: 0\ntcp: {POLICY_VALUES}\nconnect: 0\ntcp6: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n"),
            "{place:?}"
        );
    }
}

#[test]
fn every_feature_works_for_an_unprivileged_user() {
    root!();
    builds!();
    let keepalive = Keepalive::for_all_users();
    for (index, libc) in BUILDS.into_iter().enumerate() {
        let program = keepalive.bring(&static_target(libc, "sockets.c"), &format!("sockets{index}"));
        let mut command = keepalive.seccomp();
        command.uid(65534).gid(65534).current_dir("/");
        // The supervisor must also be permitted to read the program's memory: for socketcall(2) of i386, and for modes.
        command
            .args(["--mode", "cap", "--rule", "connect 10.0.0.0/8 off"])
            .arg(program);
        command.args("tcp connect show idle=600 show idle=30 show tcp listen client accept show".split(' '));
        assert_eq!(
            printed(&mut command),
            format!(
                "connect: 0\ntcp: {POLICY_VALUES}\ntcp: {POLICY_VALUES}\ntcp: 1 30 13 4 0\naccept: {POLICY_VALUES}\n"
            ),
            "{libc:?}"
        );
    }
}

#[test]
fn sockets_that_are_not_tcp_are_unchanged() {
    let keepalive = Keepalive::new();
    let words = "udp connect show udp6 connect show unix show unix-datagram show unix listen client accept show \
                 udp keepalive=1 show unix keepalive=1 show";
    for mode in Mode::ALL {
        let lines = keepalive.words(&["--mode", mode.name()], words);
        let unchanged = "0 -1 -1 -1 -1";
        let own = "1 -1 -1 -1 -1";
        assert_eq!(
            lines,
            format!(
                "connect: 0\nudp: {unchanged}\nconnect: 0\nudp6: {unchanged}\nunix: {unchanged}\n\
                 unix-datagram: {unchanged}\naccept: {unchanged}\nudp: {own}\nunix: {own}\n"
            ),
            "{mode:?}"
        );
    }
}

#[test]
fn inherited_sockets_are_set_before_the_command_starts() {
    let keepalive = Keepalive::new();
    let run = |socket: OwnedFd, words: &str| {
        let mut command = keepalive.seccomp();
        command.arg(sockets()).args(words.split(' ')).stdin(socket);
        let child = command.stdout(Stdio::piped()).spawn().expect("keepalive starts");
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("bound");
    assert_eq!(
        run(listener.into(), "fd=0 show client accept show"),
        format!("fd=0: {POLICY_VALUES}\naccept: {POLICY_VALUES}\n")
    );

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (accepted, _) = listener.accept().expect("a client waits");
    assert_eq!(run(accepted.into(), "fd=0 show"), format!("fd=0: {POLICY_VALUES}\n"));
    drop(client);

    let unused = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
    assert_eq!(run(unused, "fd=0 show"), format!("fd=0: {POLICY_VALUES}\n"));
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody holds the listener any more"
    );
}

/// The table of `rules.rs`.
#[test]
fn rules_match_their_connections() {
    python!();
    if let Some(why) = NetNs::missing() {
        skip!("{why}");
    }
    rules::check(Engine::Supervisor, &[]);
}

#[test]
fn program_rule_matches_children_of_a_script() {
    let keepalive = Keepalive::new();
    let [known, other] = ["known", "other"].map(|name| keepalive.bring(&sockets(), name));
    let script = r#"for program; do "$program" tcp connect show tcp listen client accept show; done"#;
    let mut command = keepalive.seccomp();
    command.args(["--rule", "program known idle=30", "--rule", "program other off"]);
    command.args(["sh", "-c", script, "sh"]).args([known, other, sockets()]);
    let ruled = "1 30 75 9 0";
    let expected =
        [ruled, KERNEL_DEFAULTS, POLICY_VALUES].map(|has| format!("connect: 0\ntcp: {has}\naccept: {has}\n"));
    assert_eq!(printed(&mut command), expected.concat());
}

#[test]
fn user_timeout_is_set_when_the_connection_is_complete() {
    let keepalive = Keepalive::new();
    for (timeout, own, expected) in [
        ("1500ms", "", 1500),
        ("auto", "", 113_000),
        ("auto", "idle=300", 352_000),
        ("off", "", 0),
    ] {
        for kind in ["tcp", "tcp6", "nonblock tcp"] {
            let mut command = keepalive.seccomp();
            let words = format!("{kind} {own} connect hold");
            command.args(["--user-timeout", timeout]).arg(sockets());
            command
                .args(words.split_whitespace())
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            let program = Running::start_with_input(&mut command);
            eventually(&format!("{words} with {timeout}"), LIMIT, || {
                let sockets = tcp_sockets(program.pid());
                let mut timeouts = sockets.iter().filter(|seen| seen.socket.peer.is_some());
                timeouts.any(|seen| seen.user_timeout() == expected).then_some(())
            });
        }
        let words = format!("tcp {own} listen show client accept show");
        let lines = keepalive.words(&["--user-timeout", timeout], &words);
        assert_eq!(
            lines.matches(&format!(" {expected}\n")).count(),
            2,
            "{timeout} {own}: {lines}"
        );
    }
    // A user timeout that the program has set stays.
    let words = "tcp user-timeout=5000 connect show tcp user-timeout=5000 listen client accept show";
    let lines = keepalive.words(&["--user-timeout", "2s"], words);
    assert_eq!(lines.matches(" 5000\n").count(), 2, "{lines}");
}

/// Returns a listener that does not answer until `accept` is called, because its queue is full.
fn silent_listener() -> (TcpListener, TcpStream, SocketAddr) {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let listener = socket.expect("a socket");
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
    listen(&listener, 0).expect("a bound socket can listen");
    let address = SocketAddr::try_from(getsockname(&listener).expect("a bound socket has a name"));
    let address = address.expect("an IPv4 address");
    let first = TcpStream::connect(address).expect("room for one");
    (listener.into(), first, address)
}

#[test]
fn user_timeout_does_not_shorten_an_unanswered_connect() {
    /// Longer than the user timeout, and than the SYN retransmission at which it would end a connect.
    const PATIENCE: Duration = Duration::from_millis(3200);
    let keepalive = Keepalive::new();
    let (listener, _first, address) = silent_listener();
    let mut command = keepalive.seccomp();
    command.args(["--user-timeout", "1s"]).arg(sockets());
    command.args(["tcp", &format!("connect={}", address.port()), "hold"]);
    let program = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let complete = || {
        let sockets = tcp_sockets(program.pid());
        let seen = sockets.into_iter().find(|seen| seen.socket.peer == Some(address))?;
        Some(seen.user_timeout())
    };
    assert_eq!(within(PATIENCE, complete), None, "there is no answer");
    let trying = tcp_sockets(program.pid());
    assert!(!trying.is_empty(), "it has given up");
    assert!(trying.iter().all(|seen| seen.user_timeout() == 0), "{trying:#?}");

    listener.accept().expect("the first client");
    eventually("a connection with the user timeout", LIMIT, || {
        complete().filter(|timeout| *timeout == 1000)
    });
}

#[test]
fn off_changes_nothing() {
    let keepalive = Keepalive::new();
    let words = "tcp connect show tcp listen client accept show";
    let unchanged = format!("connect: 0\ntcp: {KERNEL_DEFAULTS}\naccept: {KERNEL_DEFAULTS}\n");
    let mut command = keepalive.seccomp();
    command.env("KEEPALIVE", "off").arg(sockets()).args(words.split(' '));
    assert_eq!(outcome(&mut command), (unchanged.clone(), String::new(), Some(0)));
    for mode in Mode::ALL {
        let rules = ["--mode", mode.name(), "--rule", "connect off", "--rule", "accept off"];
        assert_eq!(keepalive.words(&rules, words), unchanged, "{mode:?}");
    }
    let mut command = keepalive.seccomp();
    command.env("KEEPALIVE", "skip").arg(sockets()).args(words.split(' '));
    let skipped = "0 61 13 4 0";
    assert_eq!(
        printed(&mut command),
        format!("connect: 0\ntcp: {skipped}\naccept: {skipped}\n")
    );
}

/// With the compilers that `scripts/test-deps` installs.
#[test]
fn static_builds_of_the_targets_have_no_loader() {
    builds!();
    let Some(file) = find_program("readelf") else {
        skip!("readelf is not installed");
    };
    for libc in BUILDS {
        let headers = printed(
            Command::new(&file)
                .args(["--program-headers", "--wide"])
                .arg(static_target(libc, "calls.c")),
        );
        assert!(!headers.contains("INTERP"), "{libc:?}");
    }
}
