//! The supervisor under the command's resource limits.

use super::{Keepalive, LIMIT, sockets, text};
use crate::support::process::output_within;
use crate::support::target::POLICY_VALUES;
use std::net::TcpListener;
use std::thread::spawn;

/// Starts a server that closes what it accepts. Returns the word that lets a program connect to it.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let connect = format!("connect={}", listener.local_addr().expect("it is bound").port());
    spawn(move || listener.incoming().for_each(drop));
    connect
}

/// The supervisor has a descriptor for each process that it remembers.
#[test]
fn low_limit_of_descriptors_loses_no_connection() {
    let keepalive = Keepalive::new();
    // The programs have the same limit.
    let connect = server();
    let script = r#"ulimit -n "$1"; shift; exec "$@""#;
    let many = r#"i=0; while [ $i -lt 400 ]; do "$1" tcp "$2" show || exit 1; i=$((i + 1)); done"#;
    for limit in ["64", "32", "20"] {
        for options in [
            &[][..],
            &["--user-timeout", "30s"],
            &["--rule", "connect 192.0.2.0/24 off"],
        ] {
            let mut command = keepalive.environment("sh".as_ref());
            command.args(["-c", script, "sh", limit]).arg(keepalive.path());
            command.args(["run", "--engine", "seccomp"]).args(options);
            command.args(["sh", "-c", many, "sh"]).arg(sockets()).arg(&connect);
            let output = output_within(LIMIT, &mut command);
            assert!(output.status.success(), "{limit} {output:?}");
            let lines = text(&output.stdout);
            // The user timeout may already be set.
            let expected = format!("tcp: {}", POLICY_VALUES.trim_end_matches('0'));
            let set = lines.lines().filter(|line| line.starts_with(&expected)).count();
            assert_eq!(set, 400, "{limit} {options:?}");
        }
    }
}

/// With too few descriptors to serve, calls continue unchanged, and no process stays after the program.
#[test]
fn lack_of_descriptors_leaves_no_supervisor() {
    let keepalive = Keepalive::new();
    let connect = server();
    // The first process of a pid namespace sees all others there, and adopts orphans.
    let script = r#"prlimit --nofile="$1:$1" "$2" run --engine seccomp -- "$3" tcp "$4" show; status=$?
        i=0; while [ $i -lt 100 ]; do
            set -- /proc/[0-9]*; [ $# -eq 1 ] && exit $status
            sleep 0.1; i=$((i + 1))
        done; echo "$*" >&2; exit 99"#;
    for limit in 6..12 {
        let mut command = keepalive.environment("unshare".as_ref());
        command.args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command
            .arg(limit.to_string())
            .arg(keepalive.path())
            .arg(sockets())
            .arg(&connect);
        let output = output_within(LIMIT, &mut command);
        assert!(output.status.success(), "{limit} {output:?}");
        assert!(text(&output.stdout).contains("\ntcp: "), "{limit} {output:?}");
    }
}
