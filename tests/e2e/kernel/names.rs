//! Rules for programs match the kernel's name of the process that connects or listens.

use super::{printed, run, sockets, words_of};
use crate::support::PYTHON;
use crate::support::process::install;
use crate::support::target::POLICY_VALUES;
use std::path::PathBuf;
use tempfile::TempDir;

/// Copies of `targets/sockets.c` under other names.
struct Names(TempDir);

impl Names {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn called(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        install(&sockets(), &path, 0o755);
        path
    }
}

const BOTH: &str = "tcp connect show tcp listen client accept show";

fn both(has: &str) -> String {
    format!("connect: 0\ntcp: {has}\naccept: {has}\n")
}

#[test]
fn program_rule_matches_children_of_a_script() {
    kernel!();
    let names = Names::new();
    let script = format!(r#"for program; do "$program" {BOTH}; done"#);
    let mut command = run(&["--rule", "program known idle=30", "--rule", "program other off"]);
    command.args(["sh", "-c", &script, "sh"]);
    command
        .args(["known", "other"].map(|name| names.called(name)))
        .arg(sockets());
    let expected = ["1 30 75 9 0", crate::support::target::KERNEL_DEFAULTS, POLICY_VALUES].map(both);
    assert_eq!(printed(&mut command), expected.concat());
}

/// The kernel keeps 15 bytes of a name (`TASK_COMM_LEN`).
#[test]
fn names_match_in_fifteen_bytes() {
    kernel!();
    let names = Names::new();
    let rules = [
        "--rule",
        "program a-name-of-many-bytes idle=30",
        "--rule",
        "program a-name-of-many idle=31",
        "--rule",
        "program a-name idle=32",
    ];
    for (name, idle) in [
        ("a-name-of-many-bytes", 30),
        ("a-name-of-many-others", 30),
        ("a-name-of-many-", 30),
        ("a-name-of-many", 31),
        ("a-name", 32),
    ] {
        let has = format!("1 {idle} 75 9 0");
        assert_eq!(words_of(&names.called(name), &rules, BOTH), both(&has), "{name}");
    }
    for name in ["a-name-", "a-nam", "A-name", "b-name-of-many-bytes"] {
        assert_eq!(
            words_of(&names.called(name), &rules, BOTH),
            both(POLICY_VALUES),
            "{name}"
        );
    }
}

/// Connects in the main thread and in others; `name` renames the calling thread (prctl(2)).
const SNIPPET: &str = "
import ctypes, os, socket, threading
def name(text):
    ctypes.CDLL(None).prctl(15, text, 0, 0, 0)
def listen():
    return socket.create_server(('127.0.0.1', 0))
def pair(listener):
    client = socket.create_connection(listener.getsockname())
    return client, listener.accept()[0]
def show(what, ends):
    print(what, *(end.getsockopt(6, 4) for end in ends))
def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
";

fn snippet(rules: &[&str], lines: &str) -> String {
    let rules: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
    let script = format!("{SNIPPET}{lines}");
    printed(run(&rules).args([PYTHON, "-IS", "-c", &script]))
}

/// Java's and Node's threads have names of their own; users know the name of the process.
#[test]
fn name_is_that_of_the_main_thread() {
    kernel!();
    python!();
    let lines = "
listener = listen()
def work():
    name(b'thread')
    show('connected by a thread', pair(listener))
    show('listened by a thread', pair(listen()))
in_a_thread(work)";
    let rules = ["program python3 idle=30", "program thread idle=31"];
    assert_eq!(
        snippet(&rules, lines),
        "connected by a thread 30 30\nlistened by a thread 30 30\n"
    );
}

/// A second listen(2) only changes the length of the queue: the kernel does not report it as a new listener.
#[test]
fn renamed_program_matches_by_its_new_name() {
    kernel!();
    python!();
    let lines = "
listener = listen()
show('before', pair(listener))
name(b'renamed')
show('after', pair(listener))
show('listened elsewhere', pair(listen()))
listener.listen(5)
show('listened again', pair(listener))";
    let rules = ["program python3 idle=30", "program renamed idle=31"];
    assert_eq!(
        snippet(&rules, lines),
        "before 30 30\nafter 31 30\nlistened elsewhere 31 31\nlistened again 31 30\n"
    );
}

/// A server may start other programs for its connections, or rename itself, after it has listened.
#[test]
fn accepted_connections_match_the_program_that_listened() {
    kernel!();
    python!();
    let lines = "
listener = listen()
client = socket.create_connection(listener.getsockname())
if os.fork() == 0:
    name(b'child')
    show('accepted', [listener.accept()[0]])
    show('connected', pair(listener)[:1])
else:
    os.wait()";
    let rules = ["program child idle=31", "program python3 idle=30"];
    assert_eq!(snippet(&rules, lines), "accepted 30\nconnected 31\n");
}

/// A socket that is passed on or inherited gets the name of the program that connects it.
#[test]
fn connections_match_the_program_that_connects() {
    kernel!();
    python!();
    let lines = "
listener = listen()
end = socket.socket()
if os.fork() == 0:
    name(b'child')
    end.connect(listener.getsockname())
    show('connected', [end])
else:
    os.wait()";
    let rules = ["program child idle=31", "program python3 idle=30"];
    assert_eq!(snippet(&rules, lines), "connected 31\n");
}
