//! Set-user-ID programs, whose loader reads the file too: served only where the administrator says so, and in whose users'
//! hands nothing but numbers is.

use super::stage::{FILE, Stage};
use crate::support::find_program;
use crate::support::process::text;
use crate::support::target::{POLICY, TREATED, UNTOUCHED, bare};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// nobody and nogroup.
const ORDINARY: &str = "65534:65534";

/// The ways to have more rights than the user (execve(2)).
const MODES: [u32; 2] = [0o4755, 0o2755];

/// `/sockets WORDS` there, by an ordinary user, under `wrapper`.
fn run(stage: &Stage, wrapper: &[&str], variables: &[(&str, &str)], words: &[&str]) -> Output {
    let chroot = find_program("chroot").expect("it was there");
    let mut command: Command = match wrapper {
        [] => bare(&chroot),
        [first, rest @ ..] => {
            let mut command = bare(&find_program(first).expect("it was asked for"));
            command.args(rest).arg(&chroot);
            command
        }
    };
    command
        .arg(format!("--userspec={ORDINARY}"))
        .arg(stage.root.path())
        .arg("/sockets")
        .args(words)
        .envs(POLICY)
        .envs(variables.iter().copied());
    let output = command.output().expect("chroot starts");
    assert!(output.status.success(), "{output:?}");
    output
}

/// What a new socket has; the program must say nothing else.
#[track_caller]
fn socket(stage: &Stage, variables: &[(&str, &str)]) -> String {
    let output = run(stage, &[], variables, &["tcp", "show"]);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let (_, values) = printed.trim_end().split_once(": ").expect("a name and values");
    values.to_owned()
}

fn make(stage: &Stage, mode: u32) {
    let program = stage.root.outside(Path::new("/sockets"));
    fs::set_permissions(program, Permissions::from_mode(mode)).expect("a file of ours");
}

#[test]
fn they_are_served_only_where_that_is_said() {
    let stage = system!();
    stage.does(&["enable"]);
    assert_eq!(socket(&stage, &[]), TREATED, "an ordinary program");
    for mode in MODES {
        make(&stage, mode);
        stage.does(&["enable"]);
        assert_eq!(socket(&stage, &[]), UNTOUCHED, "{mode:o}");
        assert!(stage.does(&["status"]).contains("are not served"));

        stage.does(&["enable", "--setuid"]);
        assert_eq!(stage.mode(&stage.copy()), 0o4644);
        assert_eq!(socket(&stage, &[]), TREATED, "{mode:o} with --setuid");
        assert!(stage.does(&["status"]).contains("are served too (--setuid)"));
        assert_eq!(socket(&stage, &[("KEEPALIVE", "off")]), UNTOUCHED, "{mode:o}");
        assert_eq!(socket(&stage, &[("KEEPCNT", "99999999999")]), "1 61 13 9 0", "{mode:o}");

        // And not any more.
        stage.does(&["enable"]);
        assert_eq!(stage.mode(&stage.copy()), 0o644);
        assert_eq!(socket(&stage, &[]), UNTOUCHED, "{mode:o} without --setuid again");
    }
}

#[test]
fn the_administrators_file_counts_for_them() {
    let stage = system!();
    make(&stage, 0o4755);
    stage
        .root
        .write("/etc/keepalive.conf", "default idle=99s user-timeout=9s\n");
    stage.does(&["enable", "--setuid"]);
    let output = run(&stage, &[], &[], &["tcp", "connect", "show"]);
    assert!(text(&output.stdout).contains("1 61 13 4 9000"), "{output:?}");
}

/// Everything that a user may try, all at once.
const HOSTILE: [(&str, &str); 9] = [
    ("KEEPALIVE_LOG", "/open/log"),
    ("KEEPALIVE_CONFIG", "/open/conf"),
    ("KEEPALIVE_RULES", "connect * interval=5s"),
    ("KEEPALIVE_MODE", "enforce"),
    ("KEEPALIVE_USER_TIMEOUT", "2s"),
    ("KEEPALIVE_SUPERVISED", "1"),
    ("LISTEN_FDS", "1000"),
    ("DD_DEBUG", "1"),
    ("LIBKEEPALIVE_DEBUG", "1"),
];

const WORDS: [&str; 4] = ["tcp", "idle=300", "connect", "show"];

/// Every system call of the program, its arguments among them, but for what differs from run to run.
fn calls(stage: &Stage, variables: &[(&str, &str)]) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = trace.path().to_str().expect("a path of ours");
    // The layout of memory differs, and so does the thread's number that set_tid_address(2) returns.
    let filter = "trace=!brk,mmap,munmap,mprotect,getrandom,set_tid_address";
    let wrapper = ["strace", "-f", "-o", path, "-e", filter];
    run(stage, &wrapper, variables, &WORDS);
    let trace = fs::read_to_string(trace.path()).expect("strace wrote it");
    let lines = trace
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, call)| call.trim());
    let program = lines
        .skip_while(|call| !call.starts_with("execve(\"/sockets\""))
        .skip(1);
    program.map(without_addresses).collect()
}

fn without_addresses(call: &str) -> String {
    let is_between = |character: char| !character.is_ascii_alphanumeric() && !matches!(character, '/' | '_' | '.');
    let differs = |word: &str| {
        let is_large = word.parse::<u64>().is_ok_and(|number| number > 1023);
        // A byte of a port: \x8c.
        let is_byte = word.len() == 3 && word.starts_with('x');
        word.is_empty() || word.starts_with("0x") || is_large || is_byte
    };
    let words: Vec<&str> = call.split(is_between).filter(|word| !differs(word)).collect();
    words.join(" ")
}

#[track_caller]
fn assert_same(calls: &[String], plain: &[String]) {
    let first = calls.iter().zip(plain).find(|(call, plain)| call != plain);
    assert_eq!(first, None);
    assert_eq!(calls.len(), plain.len());
}

/// A user of a set-user-ID program can say how long and how often, and nothing that makes it open, read, write or log: its
/// system calls are the same whatever else is in the environment.
#[test]
fn no_variable_makes_them_open_read_write_or_log_anything() {
    let stage = system!();
    if find_program("strace").is_none() {
        skip!("strace is not installed");
    }
    let open = stage.root.path().join("open");
    fs::create_dir(&open).expect("a directory of ours");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a directory of ours");
    stage.root.write("/open/conf", "default count=9 user-timeout=9s\n");
    stage.does(&["enable", "--setuid"]);

    make(&stage, 0o4755);
    let plain = calls(&stage, &[]);
    assert!(
        plain.iter().any(|call| call.contains("setsockopt")),
        "it is served: {plain:#?}"
    );
    assert_eq!(
        plain.iter().filter(|call| call.contains("/etc/keepalive")).count(),
        1,
        "{plain:#?}"
    );
    for one in HOSTILE {
        assert_same(&calls(&stage, &[one]), &plain);
    }
    assert_same(&calls(&stage, &HOSTILE), &plain);
    assert!(!stage.exists("/open/log"));

    // The counterpart: an ordinary program's calls show it.
    make(&stage, 0o755);
    let ordinary = calls(&stage, &HOSTILE);
    assert!(ordinary.iter().any(|call| call.contains("/open/log")), "{ordinary:#?}");
    assert!(ordinary.iter().any(|call| call.contains("/open/conf")), "{ordinary:#?}");
    assert!(stage.exists("/open/log"));

    // Where they are not served, the library asks for its own permission, and is gone.
    stage.does(&["enable"]);
    make(&stage, 0o4755);
    let unserved = calls(&stage, &HOSTILE);
    let about_it = |call: &&String| call.contains("keepalive") && !call.contains("ld.so.preload");
    let asked: Vec<&String> = unserved
        .iter()
        .filter(about_it)
        .filter(|call| call.starts_with("statx"))
        .collect();
    assert_eq!(asked.len(), 1, "{unserved:#?}");
    assert!(
        !unserved
            .iter()
            .any(|call| call.contains("/etc/keepalive") || call.contains("/open")),
        "{unserved:#?}"
    );
    assert!(stage.read(FILE).contains("keepalive-system"));
}
