//! Filters: which sockets are shown.

use super::{entries, entries_of_all, list, parsed, shown};
use crate::support::process::{LIMIT, Running, output_within, text};
use crate::support::py_peer::PyPeer;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

fn pids(entries: &[Value]) -> BTreeSet<u64> {
    entries.iter().filter_map(|entry| entry["pid"].as_u64()).collect()
}

/// Returns the names in the program of the sockets that are shown with these arguments.
#[track_caller]
fn names(program: &mut PyPeer, words: &[&str]) -> BTreeSet<String> {
    let number = program.pid().to_string();
    let entries = entries(&[words, &[&number]].concat());
    let known =
        program.ask("{end.fileno(): name for name, end in globals().items() if isinstance(end, socket.socket)}");
    let known = known.trim_matches(['{', '}']).replace('\'', "");
    let known: Vec<(&str, &str)> = known.split(", ").filter_map(|pair| pair.split_once(": ")).collect();
    let name = |entry: &Value| {
        let fd = entry["fd"].to_string();
        known
            .iter()
            .find(|(number, _)| *number == fd)
            .expect("one of its sockets")
            .1
            .to_owned()
    };
    entries.iter().map(name).collect()
}

#[test]
fn only_the_named_processes_are_shown() {
    python!();
    let (mut one, mut other) = (PyPeer::start(), PyPeer::start());
    one.execute("listener = listen()");
    other.execute("listener = listen()");
    let [first, second] = [one.pid(), other.pid()].map(|pid| pid.to_string());
    assert_eq!(pids(&entries(&[&first])), [one.pid().into()].into());
    assert_eq!(
        pids(&entries(&[&first, &second])),
        [one.pid().into(), other.pid().into()].into()
    );
    assert_eq!(
        pids(&entries(&[&second, &first])),
        [one.pid().into(), other.pid().into()].into()
    );
    // Each process has its own name, in any order of the arguments.
    assert!(
        entries(&[&second, &first])
            .iter()
            .all(|entry| entry["program"] == "python3")
    );
    assert!(pids(&entries_of_all()).is_superset(&[one.pid().into(), other.pid().into()].into()));
}

#[test]
fn process_named_twice_is_shown_once() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen()");
    let number = program.pid().to_string();
    assert_eq!(entries(&[&number, &number]).len(), 1);
}

#[test]
fn program_matches_by_its_path_and_by_its_own_name() {
    python!();
    let name = format!("odd{}", std::process::id());
    let mut program = PyPeer::called(&name);
    let mut other = PyPeer::start();
    program.execute("listener = listen()");
    other.execute("listener = listen()");
    let found = entries(&["--program", &name]);
    assert_eq!(pids(&found), [program.pid().into()].into());
    assert_eq!(found[0]["program"], *name);

    let renamed = format!("p {}", std::process::id());
    program.execute(&format!(
        "assert ctypes.CDLL(None).prctl(15, {renamed:?}.encode()) == 0"
    ));
    assert_eq!(pids(&entries(&["--program", &renamed])), [program.pid().into()].into());
    assert_eq!(pids(&entries(&["--program", &name])), [program.pid().into()].into());
    let executable = fs::read_link(format!("/proc/{}/exe", program.pid())).expect("its file");
    let executable = executable.file_name().expect("a name").to_str().expect("ASCII");
    let both = [program.pid().into(), other.pid().into()].into();
    assert!(pids(&entries(&["--program", executable])).is_superset(&both));
}

/// A process that ends during the command is not an error, because it was not named by its number.
#[test]
fn processes_of_a_name_may_end_during_the_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name = format!("brief{}", std::process::id());
    let path = directory.path().join(&name);
    symlink("/bin/true", &path).expect("a link in a directory of the test");
    let copies = format!("while :; do {0} & {0} & {0} & wait -n; done", path.display());
    let _running = Running::start(Command::new("bash").args(["-c", &copies]));
    for _ in 0..100 {
        let output = output_within(LIMIT, &mut list(&["--program", &name]));
        let errors = text(&output.stderr);
        assert!(errors.is_empty() || errors.contains("no process is called"), "{errors}");
    }
}

#[test]
fn name_without_a_process_is_an_error() {
    for words in [
        &["--program", "no such\x1bprogram"][..],
        &["--program", "no such\x1bprogram", "--watch"],
    ] {
        let output = output_within(LIMIT, &mut list(words));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let expected = "keepalive: no process is called 'no such\u{fffd}program'\nhint: ";
        assert!(text(&output.stderr).starts_with(expected), "{}", text(&output.stderr));
    }
}

#[test]
fn sockets_are_filtered_by_state_port_and_keepalive() {
    python!();
    let mut program = PyPeer::start();
    program
        .execute("listener = listen(); on, on_peer = pair(listener, keepalive=1); other = own(listen(), keepalive=1)");
    let port = program.ask("listener.getsockname()[1]");
    let from = program.ask("on.getsockname()[1]");
    let mut expect = |words: &[&str], expected: &[&str]| {
        let expected = expected.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(names(&mut program, words), expected, "{words:?}");
    };
    expect(&[], &["listener", "on", "on_peer", "other"]);
    expect(&["--listening"], &["listener", "other"]);
    expect(&["--port", &port], &["listener", "on", "on_peer"]);
    expect(&["--port", &from], &["on", "on_peer"]);
    expect(&["--off"], &["listener", "on_peer"]);
    expect(&["--off", "--listening"], &["listener"]);
    expect(&["--off", "--port", &from], &["on_peer"]);
    expect(&["--off", "--listening", "--port", &from], &[]);
}

#[test]
fn unknown_keepalive_does_not_count_as_off() {
    python!();
    let mut program = PyPeer::start();
    program.execute("mine = listen()");
    let all = entries_of_all();
    let off = output_within(LIMIT, &mut list(&["--off", "--json"]));
    let off = parsed(&text(&off.stdout));
    assert!(off.iter().all(|entry| entry["keepalive"] == false), "{off:?}");
    assert!(pids(&off).contains(&program.pid().into()));
    assert!(all.len() >= off.len() || !off.is_empty());
}

#[test]
fn invalid_arguments_are_refused() {
    for words in [
        &["--port", "0"][..],
        &["--port", "65536"],
        &["--port", "-1"],
        &["--port", "http"],
        &["--port"],
        &["--program"],
        &["--program", "sh", "1"],
        &["0"],
        &["-1"],
        &["1x"],
        &["4294967296"],
        &["--all"],
        &["--json=yes"],
    ] {
        let output = output_within(LIMIT, &mut list(words));
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{words:?}");
        assert!(
            text(&output.stderr).starts_with("keepalive: "),
            "{words:?}: {}",
            text(&output.stderr)
        );
    }
    assert!(shown(&["--help"]).contains("Exit status:\n  0  Success.\n  1  "));
}
