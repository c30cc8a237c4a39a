//! `keepalive run` on a system where every program already loads the library: the options of `run` apply.

use super::test_system::{COMMAND, succeeded};
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
fn options_of_run_apply_with_every_engine() {
    let system = system!();
    system.root.install(
        &compile(Libc::Host, "sockets.c", &["-static"]),
        Path::new("/static"),
        0o755,
    );
    system.root.write("/etc/keepalive.conf", "default idle=99s\n");
    system.succeeds(&["enable"]);
    let root = system.root.path();
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
