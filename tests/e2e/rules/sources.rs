//! The sources of rules: the environment and a file; and invalid input.

use super::{RULED, RULED_TOO, line, netns};
use crate::support::PYTHON;
use crate::support::engine::Engine;
use crate::support::library;
use crate::support::netns::NetNs;
use crate::support::target::{KERNEL_DEFAULTS, POLICY_VALUES};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const HERE: &str = "10.1.2.3:80";
/// Keepalive is on, and no other setting applies.
const KERNEL_VALUES: &str = "1 7200 75 9 0";

fn expect(netns: &NetNs, connect: &str, accept: &str) {
    assert_eq!(netns.meet(&[HERE]), line(HERE, connect, accept));
}

under_preload_and_cgroup! {
    file_in_etc_applies
    environment_has_precedence_over_the_file_for_each_option
    variables_of_options_are_the_default_of_the_environment
    keepalive_off_disables_the_policy
}

fn file_in_etc_applies(engine: Engine) {
    netns!();
    let file = "# comment\n\ndefault idle=50 count=3  # and more\nconnect 10.0.0.0/8 idle=30\naccept :80 off\n";
    expect(&NetNs::without_policy(engine).with_etc(file), RULED, KERNEL_DEFAULTS);
    let elsewhere = "default idle=50 count=3\nconnect 172.16.0.0/12 idle=30\n";
    expect(
        &NetNs::without_policy(engine).with_etc(elsewhere),
        "1 50 75 3 0",
        "1 50 75 3 0",
    );
}

#[test]
fn named_file_replaces_the_one_in_etc() {
    netns!();
    let netns = NetNs::without_policy(Engine::Library).with_etc("default interval=5");
    let file = netns.write("other.conf", "connect idle=30");
    expect(&netns.with("KEEPALIVE_CONFIG", file), RULED, KERNEL_VALUES);
    // An empty name means no file.
    let netns = NetNs::without_policy(Engine::Library).with_etc("default interval=5");
    expect(&netns.with("KEEPALIVE_CONFIG", ""), KERNEL_VALUES, KERNEL_VALUES);
}

fn environment_has_precedence_over_the_file_for_each_option(engine: Engine) {
    netns!();
    let over = |rules: &str, file: &str| {
        NetNs::without_policy(engine)
            .with("KEEPALIVE_RULES", rules)
            .with_etc(file)
    };
    // Settings that a rule of the environment does not have come from the file: from its matching rule, otherwise from
    // its default.
    expect(
        &over("connect idle=30", "default interval=7 idle=50"),
        "1 30 7 9 0",
        "1 50 7 9 0",
    );
    let file = "accept interval=8\nconnect :80 interval=7 idle=50\ndefault count=3";
    expect(&over("connect idle=30", file), "1 30 7 9 0", "1 7200 8 9 0");
    expect(
        &over("default idle=30", "default idle=50 interval=7"),
        "1 30 7 9 0",
        "1 30 7 9 0",
    );
    // A rule of the file has lower precedence than the environment's default.
    let netns = NetNs::new(engine).with_etc("connect idle=30 interval=5 user-timeout=9s");
    expect(&netns, "1 61 13 4 9000", POLICY_VALUES);
    expect(
        &NetNs::new(engine).with_etc("connect off"),
        KERNEL_DEFAULTS,
        POLICY_VALUES,
    );
}

fn variables_of_options_are_the_default_of_the_environment(engine: Engine) {
    netns!();
    let netns = NetNs::without_policy(engine)
        .with("KEEPIDLE", "70")
        .with("KEEPALIVE_RULES", "default idle=50 interval=7; accept idle=30");
    expect(&netns, "1 70 7 9 0", RULED);
    let netns = NetNs::without_policy(engine)
        .with("KEEPIDLE", "70")
        .with("KEEPALIVE", "skip")
        .with("KEEPALIVE_RULES", "accept idle=30");
    expect(&netns, "0 70 75 9 0", RULED);
}

fn keepalive_off_disables_the_policy(engine: Engine) {
    netns!();
    let netns = NetNs::new(engine)
        .with("KEEPALIVE", "off")
        .with("KEEPALIVE_RULES", "connect idle=30; default idle=40")
        .with_etc("default idle=50 mode=enforce\naccept idle=60");
    expect(&netns, KERNEL_DEFAULTS, KERNEL_DEFAULTS);
    let netns = NetNs::without_policy(engine).with_etc("default off\naccept idle=30");
    expect(&netns, KERNEL_DEFAULTS, RULED);
}

#[test]
fn invalid_lines_are_ignored_and_logged() {
    netns!();
    let text = "default idle=61 interval=13 count=4\nconect off\nconnect 10.0.0.0/33 off\n\n  connect idle=30x # no\n\
                connect :80 idle=30\nconnect :80 idle=0\naccept :80 idle=40";
    let ignored = |log: &str| -> Vec<String> {
        let lines = log.lines().filter_map(|line| line.split_once("]: ignored "));
        lines.map(|(_, rest)| rest.to_owned()).collect()
    };
    let netns = NetNs::without_policy(Engine::Library);
    let (file, log) = (netns.write("rules", text), netns.path("log"));
    let netns = netns.with("KEEPALIVE_CONFIG", &file).with("KEEPALIVE_LOG", &log);
    expect(&netns, RULED, RULED_TOO);
    let written = ignored(&fs::read_to_string(&log).expect("a log was asked for"));
    let lines: Vec<_> = written.iter().filter_map(|line| line.split(" of ").next()).collect();
    assert_eq!(lines, ["line 2", "line 3", "line 5", "line 7"], "{written:#?}");
    let reasons: Vec<_> = written.iter().filter_map(|line| line.split(": ").last()).collect();
    let expected = [
        "unknown keyword",
        "not a prefix length",
        "unknown unit after the number",
        "too small",
    ];
    assert_eq!(reasons, expected);

    let netns = NetNs::without_policy(Engine::Library);
    let log = netns.path("log");
    let netns = netns
        .with("KEEPALIVE_RULES", text.replace('\n', ";").replace(" # no", ""))
        .with("KEEPALIVE_LOG", &log);
    expect(&netns, RULED, RULED_TOO);
    let written = ignored(&fs::read_to_string(&log).expect("a log was asked for"));
    assert_eq!(written.len(), 4, "{written:#?}");
    assert!(
        written
            .iter()
            .all(|line| line.starts_with("line 1 of KEEPALIVE_RULES: ")),
        "{written:#?}"
    );
}

/// The program runs as without a file, and the log has the reason.
#[test]
fn unreadable_file_is_ignored_and_logged() {
    netns!();
    let files = NetNs::new(Engine::Library);
    let closed = files.write("closed", "default idle=50");
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).expect("our own file");
    let fifo = files.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
    let read = [files.write("empty", ""), files.write("comment", "# nothing")];
    let not_read = [
        closed,
        fifo,
        files.path("missing"),
        files.path(""),
        PathBuf::from("/dev/zero"),
    ];
    for (path, is_readable) in read
        .iter()
        .map(|path| (path, true))
        .chain(not_read.iter().map(|path| (path, false)))
    {
        let netns = NetNs::new(Engine::Library);
        let log = netns.path("log");
        let netns = netns
            // Without these capabilities root cannot read every file.
            .under(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"])
            .with("KEEPALIVE_CONFIG", path)
            .with("KEEPALIVE_LOG", &log);
        expect(&netns, POLICY_VALUES, POLICY_VALUES);
        let written = fs::read_to_string(&log).expect("a log was asked for");
        let reason = if path.ends_with("closed") {
            "permission denied, by the file's mode, AppArmor or SELinux"
        } else {
            "not a file that can be read"
        };
        let complains = written.contains(&format!("ignored {}: {reason}", path.display()));
        assert_eq!(complains, !is_readable, "{}: {written}", path.display());
    }
}

/// The log names an unreadable /etc/keepalive.conf, which is used by default: otherwise its policy would be lost
/// without a message.
#[test]
fn unreadable_file_in_etc_is_logged() {
    netns!();
    for (mode, is_readable) in [("0", false), ("644", true)] {
        let netns = NetNs::without_policy(Engine::Library).with_etc("default idle=50");
        let log = netns.path("log");
        let line = format!(
            "chmod {mode} /etc/keepalive.conf; exec setpriv --bounding-set=-dac_override,-dac_read_search \"$@\""
        );
        let netns = netns.under(&["sh", "-c", &line, "sh"]).with("KEEPALIVE_LOG", &log);
        let values = if is_readable { "1 50 75 9 0" } else { KERNEL_VALUES };
        expect(&netns, values, values);
        let written = fs::read_to_string(&log).expect("a log was asked for");
        let names = written.contains("ignored /etc/keepalive.conf: permission denied");
        assert_eq!(names, !is_readable, "{written}");
    }
}

#[test]
fn every_kind_of_line_end_is_accepted() {
    netns!();
    for text in [
        "default idle=40\nconnect idle=30",
        "default idle=40\r\nconnect idle=30\r\n",
        "default idle=40 # comment\r\n\r\nconnect idle=30 \t\r\n",
        "default idle=40;connect idle=30",
        ";;\n\tdefault\tidle=40;\n;connect\tidle=30;",
        "default idle=40\nconnect idle=30\n# no newline behind a comment",
    ] {
        expect(&NetNs::without_policy(Engine::Library).with_etc(text), RULED, RULED_TOO);
    }
}

#[test]
fn large_file_applies_up_to_the_limit_without_a_partial_line() {
    netns!();
    // 300 KB: the first rule is within the first 256 KiB.
    let comment = format!("#{}\n", "x".repeat(99));
    let large = |before: usize, behind: usize| {
        format!(
            "{}connect idle=30\n{}accept idle=40\n",
            comment.repeat(before),
            comment.repeat(behind)
        )
    };
    expect(
        &NetNs::without_policy(Engine::Library).with_etc(&large(1000, 2000)),
        RULED,
        KERNEL_VALUES,
    );
    // The limit of 256 KiB is in the middle of a number.
    let line = "connect idle=3000\n";
    let filling = 256 * 1024 - (line.len() - 3);
    let text = format!("#{}\n{line}", "x".repeat(filling - 2));
    assert!(text.len() > 256 * 1024 && text.as_bytes()[256 * 1024 - 1].is_ascii_digit());
    expect(
        &NetNs::without_policy(Engine::Library).with_etc(&text),
        KERNEL_VALUES,
        KERNEL_VALUES,
    );
    // The file has exactly this size, and its last line no newline.
    let line = "connect idle=30";
    let text = format!("#{}\n{line}", "x".repeat(256 * 1024 - line.len() - 2));
    assert_eq!(text.len(), 256 * 1024);
    expect(
        &NetNs::without_policy(Engine::Library).with_etc(&text),
        RULED,
        KERNEL_VALUES,
    );
}

#[test]
fn program_that_overwrites_its_environment_keeps_its_rules() {
    netns!();
    let netns =
        NetNs::new(Engine::Library).with("KEEPALIVE_RULES", "program python3 connect :80 idle=30; accept idle=40");
    assert_eq!(netns.meet(&["--scrub", HERE]), line(HERE, RULED, RULED_TOO));
}

#[test]
fn variables_of_other_libraries_apply_with_the_lowest_precedence() {
    netns!();
    for (variables, expected) in [
        (
            &[
                ("DD_TCP_KEEPALIVE_TIME", "44"),
                ("DD_TCP_KEEPALIVE_INTVL", "7"),
                ("DD_TCP_KEEPALIVE_PROBES", "3"),
            ][..],
            "1 44 7 3 0",
        ),
        (
            &[("DD_USE_KEEPALIVE", "1"), ("DD_TCP_KEEPALIVE_TIME", "44")],
            "1 44 75 9 0",
        ),
        (
            &[("DD_USE_KEEPALIVE", "0"), ("DD_TCP_KEEPALIVE_TIME", "44")],
            KERNEL_DEFAULTS,
        ),
        (&[("TCP_KEEPIDLE", "44")], "1 44 15 9 179000"),
        (
            &[
                ("TCP_KEEPIDLE", "44"),
                ("TCP_KEEPINTVL", "7"),
                ("TCP_KEEPCNT", "3"),
                ("TCP_USER_TIMEOUT", "0"),
            ],
            "1 44 7 3 0",
        ),
        (&[("TCP_USER_TIMEOUT", "5000")], "1 15 15 9 5000"),
        (
            &[
                ("KEEPIDLE", "61"),
                ("DD_TCP_KEEPALIVE_TIME", "44"),
                ("DD_TCP_KEEPALIVE_INTVL", "7"),
            ],
            "1 61 7 9 0",
        ),
        (
            &[("KEEPALIVE", "on"), ("DD_USE_KEEPALIVE", "0"), ("KEEPCNT", "3")],
            "1 7200 75 3 0",
        ),
        (
            &[
                ("DD_TCP_KEEPALIVE_TIME", "44"),
                ("TCP_KEEPIDLE", "55"),
                ("TCP_USER_TIMEOUT", "0"),
            ],
            "1 44 15 9 0",
        ),
        (
            &[
                ("KEEPALIVE_RULES", "connect idle=30; accept idle=30"),
                ("DD_TCP_KEEPALIVE_TIME", "44"),
            ],
            RULED,
        ),
        (
            &[("KEEPALIVE", "off"), ("DD_USE_KEEPALIVE", "1"), ("TCP_KEEPIDLE", "44")],
            KERNEL_DEFAULTS,
        ),
        (
            &[("KEEPALIVE_RULES", "default idle=50"), ("DD_TCP_KEEPALIVE_TIME", "44")],
            "1 44 75 9 0",
        ),
    ] {
        let netns = variables
            .iter()
            .fold(NetNs::without_policy(Engine::Library), |netns, (name, value)| {
                netns.with(name, value)
            });
        assert_eq!(netns.meet(&[HERE]), line(HERE, expected, expected), "{variables:?}");
    }
}

/// A listener that another process created: options that the creator's default set on it do not count as the program's.
#[test]
fn rules_match_connections_of_an_inherited_listener() {
    netns!();
    let service = "import os, socket
listener = socket.socket(fileno=3)
client = socket.create_connection(listener.getsockname())
accepted = listener.accept()[0]
print([accepted.getsockopt(*option) for option in ((1, 9), (6, 4), (6, 5), (6, 6))])";
    let creator = format!(
        "import os, socket, sys
os.environ['LD_PRELOAD'] = sys.argv[1]
os.environ['LISTEN_FDS'] = '1'
listener = socket.create_server(('127.0.0.1', 0))
os.dup2(os.dup(listener.fileno()), 3)
os.execv({PYTHON:?}, ['python3', '-IS', '-c', {service:?}])"
    );
    let library = library();
    let library = library.to_str().expect("a UTF-8 path");
    for unset in ["LD_PRELOAD", "NOTHING"] {
        let netns = NetNs::new(Engine::Library).with("KEEPALIVE_RULES", "accept idle=30");
        let words = ["-u", unset, PYTHON, "-IS", "-c", &creator, library];
        let printed = netns.run(Path::new("/usr/bin/env"), &words);
        assert_eq!(printed, "[1, 30, 75, 9]\n", "its creator ran without {unset}");
    }
}
