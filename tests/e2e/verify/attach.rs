//! What `keepalive attach` notes about a program's own choices, and `KEEPALIVE_LOG` reports of them.

use super::{POLICY, command, run, server, sockets, start};
use crate::support::observe::has;
use crate::support::process::{LIMIT, eventually, output_within, text};
use std::fs;

fn attached(pid: u32, options: &[&str]) -> String {
    let pid = pid.to_string();
    let output = output_within(LIMIT, &mut command(&[&["attach"], options, &[&pid]].concat()));
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn attach_notes_changes_by_the_program() {
    let (_server, port) = server();
    let mut bare = std::process::Command::new(sockets());
    let words = format!("tcp connect={port} user-timeout=20000 tcp connect={port}");
    let program = start(bare.env_clear(), &words);
    let printed = attached(program.pid(), &POLICY);
    let note = "note: its own user timeout of 20 s ends it after one lost probe: --user-timeout auto --mode floor";
    assert_eq!(printed.matches(note).count(), 1, "{printed}");
    let options = [&POLICY[..], &["--user-timeout", "auto", "--mode", "floor"]].concat();
    let printed = attached(program.pid(), &options);
    assert!(!printed.contains("note:"), "{printed}");
    assert_eq!(has(program.pid(), 3), "1 61 13 4 113000");

    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    let program = start(
        &mut run(&options, &sockets()),
        &format!("tcp connect={port} keepalive=0"),
    );
    let printed = attached(program.pid(), &POLICY);
    assert!(
        printed.contains("note: the program switched it off: --mode cap"),
        "{printed}"
    );
    assert_eq!(has(program.pid(), 3), "1 61 13 4 0");
}

#[test]
fn the_last_line_of_the_log_about_a_socket_is_what_the_kernel_has() {
    let (_server, port) = server();
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (mode, word, expected, last) in [
        (
            "fill",
            "keepalive=0",
            "0 61 13 4 0",
            "keepalive=off idle=61s interval=13s count=4 user-timeout=0ms",
        ),
        (
            "cap",
            "keepalive=0",
            "1 61 13 4 0",
            "keepalive=on idle=61s interval=13s count=4 user-timeout=0ms",
        ),
        (
            "fill",
            "user-timeout=20000",
            "1 61 13 4 20000",
            "keepalive=on idle=61s interval=13s count=4 user-timeout=20000ms",
        ),
        (
            "floor",
            "idle=1",
            "1 61 13 4 0",
            "keepalive=on idle=61s interval=13s count=4 user-timeout=0ms",
        ),
    ] {
        let log = directory.path().join(format!("{mode}-{word}"));
        let options = [&["--engine", "preload", "--mode", mode], &POLICY[..]].concat();
        let mut command = run(&options, &sockets());
        command.env("KEEPALIVE_LOG", &log);
        let program = start(&mut command, &format!("tcp connect={port} {word}"));
        assert_eq!(has(program.pid(), 3), expected);
        let line = eventually("a line", LIMIT, || {
            let text = fs::read_to_string(&log).ok()?;
            text.lines().rfind(|line| line.contains("socket 3 ")).map(str::to_owned)
        });
        assert!(line.ends_with(&format!("socket 3 changed: {last}")), "{line}");
    }
}

/// An option of a socket that is not TCP is no line.
#[test]
fn the_log_does_not_mention_other_sockets() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let options = [&["--engine", "preload"], &POLICY[..]].concat();
    let mut command = run(&options, &sockets());
    command.env("KEEPALIVE_LOG", &log);
    let _program = start(&mut command, "udp keepalive=1 unix keepalive=1 tcp");
    let text = fs::read_to_string(&log).expect("a line");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("socket 5 created:"), "{text}");
}
