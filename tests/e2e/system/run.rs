//! `keepalive run` on a system where every program has the library already: what it is told counts.

use super::stage::{COMMAND, succeeded};
use crate::support::target::{Libc, compile};
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = r#"
    mkdir -p "$1/proc" "$1/dev"
    mount --bind /proc "$1/proc"
    mount --bind /dev "$1/dev"
    shift
    exec chroot "$@""#;

#[test]
fn what_keepalive_run_is_told_counts_whatever_engine_it_uses() {
    let stage = system!();
    stage.root.install(
        &compile(Libc::Host, "sockets.c", &["-static"]),
        Path::new("/static"),
        0o755,
    );
    stage.root.write("/etc/keepalive.conf", "default idle=99s\n");
    stage.does(&["enable"]);
    let root = stage.root.path();
    for (flags, program, expected) in [
        (&["--idle=33", "--mode=enforce"][..], "/sockets", "1 33 75 9 0"),
        (&["--rule=connect * interval=7"], "/sockets", "1 99 7 9 0"),
        (
            &["--engine=seccomp", "--idle=33", "--mode=enforce"],
            "/sockets",
            "1 33 75 9 0",
        ),
        (
            &["--engine=seccomp", "--rule=connect * interval=7"],
            "/sockets",
            "1 99 7 9 0",
        ),
        (&["--idle=33"], "/static", "1 300 75 9 0"),
        (&["--idle=33", "--mode=enforce"], "/static", "1 33 75 9 0"),
    ] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", SCRIPT, "sh"]).args([root, root]);
        command
            .arg(format!("{COMMAND}/keepalive"))
            .arg("run")
            .args(flags)
            .arg("--")
            .arg(program);
        let words: &[&str] = if expected.contains("99") {
            &["tcp"]
        } else {
            &["tcp", "idle=300"]
        };
        let printed = succeeded(command.args(words).args(["connect", "show"]));
        assert!(printed.trim_end().ends_with(expected), "{flags:?} {program}: {printed}");
    }
}
