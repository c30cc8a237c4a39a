//! Set-user-ID programs, whose loader reads the file too: they load the library only with `--setuid`, and then their
//! users can change only numbers.

use super::test_system::{FILE, TestSystem};
use crate::support::find_program;
use crate::support::process::text;
use crate::support::target::{KERNEL_DEFAULTS, POLICY, POLICY_VALUES, without_library};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// The user nobody and the group nogroup.
const ORDINARY: &str = "65534:65534";

/// The modes that give a program more permissions than its user (execve(2)).
const MODES: [u32; 2] = [0o4755, 0o2755];

/// Runs `/sockets WORDS` in the system, as an ordinary user, under `wrapper`.
fn run(system: &TestSystem, wrapper: &[&str], variables: &[(&str, &str)], words: &[&str]) -> Output {
    let chroot = find_program("chroot").expect("it was there");
    let mut command: Command = match wrapper {
        [] => without_library(&chroot),
        [first, rest @ ..] => {
            let mut command = without_library(&find_program(first).expect("it was asked for"));
            command.args(rest).arg(&chroot);
            command
        }
    };
    command
        .arg(format!("--userspec={ORDINARY}"))
        .arg(system.root.path())
        .arg("/sockets")
        .args(words)
        .envs(POLICY)
        .envs(variables.iter().copied());
    let output = command.output().expect("chroot starts");
    assert!(output.status.success(), "{output:?}");
    output
}

/// Returns the options of a new socket; the program must print no messages.
#[track_caller]
fn socket(system: &TestSystem, variables: &[(&str, &str)]) -> String {
    let output = run(system, &[], variables, &["tcp", "show"]);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let (_, values) = printed.trim_end().split_once(": ").expect("a name and values");
    values.to_owned()
}

fn make(system: &TestSystem, mode: u32) {
    let program = system.root.outside(Path::new("/sockets"));
    fs::set_permissions(program, Permissions::from_mode(mode)).expect("a file of the test");
}

#[test]
fn set_user_id_programs_are_set_only_with_setuid() {
    let system = system!();
    system.succeeds(&["enable"]);
    assert_eq!(socket(&system, &[]), POLICY_VALUES, "an ordinary program");
    for mode in MODES {
        make(&system, mode);
        system.succeeds(&["enable"]);
        assert_eq!(socket(&system, &[]), KERNEL_DEFAULTS, "{mode:o}");
        assert!(system.succeeds(&["status"]).contains("are not served"));

        system.succeeds(&["enable", "--setuid"]);
        assert_eq!(system.mode(&system.copy()), 0o4644);
        assert_eq!(socket(&system, &[]), POLICY_VALUES, "{mode:o} with --setuid");
        assert!(system.succeeds(&["status"]).contains("are served too (--setuid)"));
        assert_eq!(socket(&system, &[("KEEPALIVE", "off")]), KERNEL_DEFAULTS, "{mode:o}");
        assert_eq!(
            socket(&system, &[("KEEPCNT", "99999999999")]),
            "1 61 13 9 0",
            "{mode:o}"
        );

        // Without --setuid they are not set any more.
        system.succeeds(&["enable"]);
        assert_eq!(system.mode(&system.copy()), 0o644);
        assert_eq!(socket(&system, &[]), KERNEL_DEFAULTS, "{mode:o} without --setuid again");
    }
}

#[test]
fn file_in_etc_applies_to_set_user_id_programs() {
    let system = system!();
    make(&system, 0o4755);
    system
        .root
        .write("/etc/keepalive.conf", "default idle=99s user-timeout=9s\n");
    system.succeeds(&["enable", "--setuid"]);
    let output = run(&system, &[], &[], &["tcp", "connect", "show"]);
    assert!(text(&output.stdout).contains("1 61 13 4 9000"), "{output:?}");
}

/// Variables by which a user may try to influence the library, all together.
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

/// Returns every system call of the program with its arguments, without parts that differ between runs.
fn calls(system: &TestSystem, variables: &[(&str, &str)]) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = trace.path().to_str().expect("a UTF-8 path");
    // The layout of memory differs, and the thread's number that set_tid_address(2) returns.
    let filter = "trace=!brk,mmap,munmap,mprotect,getrandom,set_tid_address";
    let wrapper = ["strace", "-f", "-o", path, "-e", filter];
    run(system, &wrapper, variables, &WORDS);
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
        // The byte of a port: \x8c.
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

/// Users of a set-user-ID program can set the timings, but nothing that makes the library open, read, write or log: its
/// system calls are the same whatever else is in the environment.
#[test]
fn no_variable_makes_set_user_id_programs_open_or_log() {
    let system = system!();
    if find_program("strace").is_none() {
        skip!("strace is not installed");
    }
    let open = system.root.path().join("open");
    fs::create_dir(&open).expect("a directory of the test");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a directory of the test");
    system.root.write("/open/conf", "default count=9 user-timeout=9s\n");
    system.succeeds(&["enable", "--setuid"]);

    make(&system, 0o4755);
    let plain = calls(&system, &[]);
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
        assert_same(&calls(&system, &[one]), &plain);
    }
    assert_same(&calls(&system, &HOSTILE), &plain);
    assert!(!system.exists("/open/log"));

    // The counterpart: the calls of an ordinary program differ.
    make(&system, 0o755);
    let ordinary = calls(&system, &HOSTILE);
    assert!(ordinary.iter().any(|call| call.contains("/open/log")), "{ordinary:#?}");
    assert!(ordinary.iter().any(|call| call.contains("/open/conf")), "{ordinary:#?}");
    assert!(system.exists("/open/log"));

    // Without --setuid the library checks the mode of its own file, and does nothing.
    system.succeeds(&["enable"]);
    make(&system, 0o4755);
    let unserved = calls(&system, &HOSTILE);
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
    assert!(system.read(FILE).contains("keepalive-system"));
}
