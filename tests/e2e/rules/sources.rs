//! Where rules are written: the environment, a file, and what becomes of texts that cannot be used.

use super::{RULED, RULED_TOO, line, netns};
use crate::support::PYTHON;
use crate::support::engine::Engine;
use crate::support::library;
use crate::support::netns::NetNs;
use crate::support::target::{TREATED, UNTOUCHED};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const HERE: &str = "10.1.2.3:80";
/// Keepalive is on, and nothing else is said.
const KERNELS: &str = "1 7200 75 9 0";

fn expect(netns: &NetNs, connect: &str, accept: &str) {
    assert_eq!(netns.meet(&[HERE]), line(HERE, connect, accept));
}

with_the_library_and_the_kernel! {
    the_file_in_etc_counts
    the_environment_comes_before_the_file_option_by_option
    the_variables_of_options_are_the_environments_default
    keepalive_off_switches_everything_off
}

fn the_file_in_etc_counts(engine: Engine) {
    netns!();
    let file = "# comment\n\ndefault idle=50 count=3  # and more\nconnect 10.0.0.0/8 idle=30\naccept :80 off\n";
    expect(&NetNs::without_policy(engine).with_etc(file), RULED, UNTOUCHED);
    let elsewhere = "default idle=50 count=3\nconnect 172.16.0.0/12 idle=30\n";
    expect(
        &NetNs::without_policy(engine).with_etc(elsewhere),
        "1 50 75 3 0",
        "1 50 75 3 0",
    );
}

#[test]
fn another_file_counts_instead_of_the_one_in_etc() {
    netns!();
    let netns = NetNs::without_policy(Engine::Library).with_etc("default interval=5");
    let file = netns.write("other.conf", "connect idle=30");
    expect(&netns.with("KEEPALIVE_CONFIG", file), RULED, KERNELS);
    // No file at all is a file that says nothing.
    let netns = NetNs::without_policy(Engine::Library).with_etc("default interval=5");
    expect(&netns.with("KEEPALIVE_CONFIG", ""), KERNELS, KERNELS);
}

fn the_environment_comes_before_the_file_option_by_option(engine: Engine) {
    netns!();
    let over = |rules: &str, file: &str| {
        NetNs::without_policy(engine)
            .with("KEEPALIVE_RULES", rules)
            .with_etc(file)
    };
    // What a rule of the environment leaves open is the file's to say: its rule, else its default.
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
    // A rule of the file does not come before the environment's default.
    let netns = NetNs::new(engine).with_etc("connect idle=30 interval=5 user-timeout=9s");
    expect(&netns, "1 61 13 4 9000", TREATED);
    expect(&NetNs::new(engine).with_etc("connect off"), UNTOUCHED, TREATED);
}

fn the_variables_of_options_are_the_environments_default(engine: Engine) {
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

fn keepalive_off_switches_everything_off(engine: Engine) {
    netns!();
    let netns = NetNs::new(engine)
        .with("KEEPALIVE", "off")
        .with("KEEPALIVE_RULES", "connect idle=30; default idle=40")
        .with_etc("default idle=50 mode=enforce\naccept idle=60");
    expect(&netns, UNTOUCHED, UNTOUCHED);
    let netns = NetNs::without_policy(engine).with_etc("default off\naccept idle=30");
    expect(&netns, UNTOUCHED, RULED);
}

#[test]
fn a_line_that_cannot_be_used_is_left_out_and_named_in_the_log() {
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
    let said = ignored(&fs::read_to_string(&log).expect("a log was asked for"));
    let lines: Vec<_> = said.iter().filter_map(|line| line.split(" of ").next()).collect();
    assert_eq!(lines, ["line 2", "line 3", "line 5", "line 7"], "{said:#?}");
    let reasons: Vec<_> = said.iter().filter_map(|line| line.split(": ").last()).collect();
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
    let said = ignored(&fs::read_to_string(&log).expect("a log was asked for"));
    assert_eq!(said.len(), 4, "{said:#?}");
    assert!(
        said.iter().all(|line| line.starts_with("line 1 of KEEPALIVE_RULES: ")),
        "{said:#?}"
    );
}

/// The program goes on as it would without a file, and the log says why.
#[test]
fn a_file_that_cannot_be_read_is_no_file() {
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
    for (path, print_ignoring_epipe) in read
        .iter()
        .map(|path| (path, true))
        .chain(not_read.iter().map(|path| (path, false)))
    {
        let netns = NetNs::new(Engine::Library);
        let log = netns.path("log");
        let netns = netns
            // Root reads every file, unless it gives that right away.
            .under(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"])
            .with("KEEPALIVE_CONFIG", path)
            .with("KEEPALIVE_LOG", &log);
        expect(&netns, TREATED, TREATED);
        let said = fs::read_to_string(&log).expect("a log was asked for");
        let reason = if path.ends_with("closed") {
            "permission denied, by the file's mode, AppArmor or SELinux"
        } else {
            "not a file that can be read"
        };
        let complains = said.contains(&format!("ignored {}: {reason}", path.display()));
        assert_eq!(complains, !print_ignoring_epipe, "{}: {said}", path.display());
    }
}

/// The log names the file that nothing names, unless there is none: else its policy would be lost unseen.
#[test]
fn the_log_names_a_file_in_etc_that_cannot_be_read() {
    netns!();
    for (mode, print_ignoring_epipe) in [("0", false), ("644", true)] {
        let netns = NetNs::without_policy(Engine::Library).with_etc("default idle=50");
        let log = netns.path("log");
        let line = format!(
            "chmod {mode} /etc/keepalive.conf; exec setpriv --bounding-set=-dac_override,-dac_read_search \"$@\""
        );
        let netns = netns.under(&["sh", "-c", &line, "sh"]).with("KEEPALIVE_LOG", &log);
        let values = if print_ignoring_epipe { "1 50 75 9 0" } else { KERNELS };
        expect(&netns, values, values);
        let written = fs::read_to_string(&log).expect("a log was asked for");
        let names = written.contains("ignored /etc/keepalive.conf: permission denied");
        assert_eq!(names, !print_ignoring_epipe, "{written}");
    }
}

#[test]
fn line_ends_and_the_last_line_may_be_of_any_kind() {
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
fn a_large_file_counts_as_far_as_it_is_read_and_no_line_by_half() {
    netns!();
    // 300 KB: the first rule comes late, but within what is read.
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
        KERNELS,
    );
    // The end of what is read, 256 KiB, falls into a number.
    let line = "connect idle=3000\n";
    let filling = 256 * 1024 - (line.len() - 3);
    let text = format!("#{}\n{line}", "x".repeat(filling - 2));
    assert!(text.len() > 256 * 1024 && text.as_bytes()[256 * 1024 - 1].is_ascii_digit());
    expect(
        &NetNs::without_policy(Engine::Library).with_etc(&text),
        KERNELS,
        KERNELS,
    );
}

#[test]
fn a_program_that_overwrites_its_environment_keeps_its_rules() {
    netns!();
    let netns =
        NetNs::new(Engine::Library).with("KEEPALIVE_RULES", "program python3 connect :80 idle=30; accept idle=40");
    assert_eq!(netns.meet(&["--scrub", HERE]), line(HERE, RULED, RULED_TOO));
}

#[test]
fn other_libraries_variables_count_alone_and_behind_ours() {
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
        (&[("DD_USE_KEEPALIVE", "0"), ("DD_TCP_KEEPALIVE_TIME", "44")], UNTOUCHED),
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
            UNTOUCHED,
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

/// A listener that another process made: what its maker's default set on it is no wish of the program.
#[test]
fn a_listener_from_elsewhere_accepts_by_the_rules() {
    netns!();
    let service = "import os, socket
listener = socket.socket(fileno=3)
client = socket.create_connection(listener.getsockname())
accepted = listener.accept()[0]
print([accepted.getsockopt(*option) for option in ((1, 9), (6, 4), (6, 5), (6, 6))])";
    let maker = format!(
        "import os, socket, sys
os.environ['LD_PRELOAD'] = sys.argv[1]
os.environ['LISTEN_FDS'] = '1'
listener = socket.create_server(('127.0.0.1', 0))
os.dup2(os.dup(listener.fileno()), 3)
os.execv({PYTHON:?}, ['python3', '-IS', '-c', {service:?}])"
    );
    let library = library();
    let library = library.to_str().expect("a path without surprises");
    for unset in ["LD_PRELOAD", "NOTHING"] {
        let netns = NetNs::new(Engine::Library).with("KEEPALIVE_RULES", "accept idle=30");
        let words = ["-u", unset, PYTHON, "-IS", "-c", &maker, library];
        let printed = netns.run(Path::new("/usr/bin/env"), &words);
        assert_eq!(printed, "[1, 30, 75, 9]\n", "its maker ran without {unset}");
    }
}
