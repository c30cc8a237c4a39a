//! `keepalive run --verify`: what the process beside the command reports.

use super::{POLICY, run, server, sockets, start};
use crate::support::process::{LIMIT, eventually, output_within, text};
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// The report without line breaks.
fn reported(stderr: &str) -> String {
    stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn options<'a>(engine: &'a str, verify: &'a str) -> Vec<&'a str> {
    [&["--engine", engine, verify], &POLICY[..]].concat()
}

#[test]
fn the_report_comes_when_the_command_has_ended() {
    for (engine, expected) in [
        (
            "preload",
            "1 of 2 connections are set; fd 100 was made by a call that the library does not see: use --engine seccomp",
        ),
        ("seccomp", "all 2 connections are set"),
    ] {
        // On a busy machine a short command ends before it was looked at twice, as the report states then.
        let report = (1..=20).map(|tenths| report_of(engine, Duration::from_millis(100 * tenths)));
        let expected = format!("keepalive: verify: {expected} keepalive: verify: ");
        let mut last = String::new();
        let is_expected = |report: String| {
            last = report;
            last.starts_with(&expected)
        };
        assert!(report.into_iter().any(is_expected), "{last}");
    }
}

/// The report on a command that holds its connections for `time`.
fn report_of(engine: &str, time: Duration) -> String {
    let (_server, port) = server();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let mut command = run(&options(engine, "--verify"), &sockets());
    command.stderr(File::create(&log).expect("a file of ours"));
    let mut program = start(&mut command, &format!("tcp connect={port} raw-tcp raw-connect={port}"));
    let name = fs::read_to_string(format!("/proc/{}/comm", program.pid())).expect("it runs");
    assert_eq!(name, "sockets\n");
    sleep(time);
    assert_eq!(fs::read_to_string(&log).expect("a file of ours"), "");
    program.finish();
    assert_eq!(program.wait_for_end().code(), Some(0));
    let stderr = eventually("the report", LIMIT, || {
        let stderr = fs::read_to_string(&log).ok()?;
        stderr.contains("between").then_some(stderr)
    });
    assert!(stderr.lines().all(|line| line.chars().count() <= 80), "{stderr}");
    reported(&stderr)
}

#[test]
fn the_report_comes_after_a_time() {
    let (_server, port) = server();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let mut command = run(&options("preload", "--verify=300ms"), &sockets());
    command.stderr(File::create(&log).expect("a file of ours"));
    let mut program = start(&mut command, &format!("tcp connect={port} keepalive=0"));
    let stderr = eventually("the report", LIMIT, || {
        let stderr = fs::read_to_string(&log).ok()?;
        stderr.contains("between").then_some(stderr)
    });
    assert!(!program.has_ended());
    assert!(
        reported(&stderr).contains("fd 3: the program switched it off: --mode cap"),
        "{stderr}"
    );
    program.finish();
    program.wait_for_end();
    assert_eq!(fs::read_to_string(&log).expect("a file of ours"), stderr);
}

#[test]
fn the_status_is_that_of_the_command_and_nothing_else_is_printed() {
    for (words, status, stdout) in [
        (&["sh", "-c", "echo out; exit 3"][..], Some(3), "out\n"),
        (&["sh", "-c", "kill -9 $$"], None, ""),
    ] {
        let mut command = run(&options("preload", "--verify"), Path::new(words[0]));
        let output = output_within(LIMIT, command.args(&words[1..]));
        assert_eq!(
            (output.status.code(), text(&output.stdout).as_str()),
            (status, stdout),
            "{output:?}"
        );
        let stderr = reported(&text(&output.stderr));
        assert!(
            stderr.starts_with("keepalive: verify: no connection that the policy concerns"),
            "{stderr}"
        );
    }
    // A command that is not executed has no report: this file's interpreter does not exist.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let broken = directory.path().join("broken");
    fs::write(directory.path().join("text"), "#!/nowhere/interpreter\n").expect("a file of ours");
    crate::support::process::install(&directory.path().join("text"), &broken, 0o755);
    let output = output_within(
        LIMIT,
        run(&options("preload", "--verify"), &broken).stdout(Stdio::null()),
    );
    assert!(matches!(output.status.code(), Some(126 | 127)), "{output:?}");
    assert!(!text(&output.stderr).contains("verify"), "{output:?}");
    for bad in ["--verify=0", "--verify=soon"] {
        let output = output_within(LIMIT, &mut run(&options("preload", bad), Path::new("true")));
        assert_eq!(output.status.code(), Some(125), "{output:?}");
    }
}
