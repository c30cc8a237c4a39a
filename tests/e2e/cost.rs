//! What the library costs, in numbers that no other process changes: its instructions, counted by valgrind, and its
//! private pages. A change that exceeds a budget needs a reason, and then another budget. `make bench` measures times.

use crate::support::target::{Libc, compile, output};
use crate::support::{find_program, library};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The names and values of environment variables.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// The timings as `Engine::command` sets them.
const TIMINGS: [(&str, &str); 3] = [("KEEPIDLE", "60"), ("KEEPINTVL", "15"), ("KEEPCNT", "5")];

/// How many sockets or connections are counted after the first, which may parse rules.
const REPETITIONS: u64 = 20;

fn repeat() -> PathBuf {
    compile(Libc::Host, "repeat.c", &["-Wl,-z,now"])
}

/// Returns a program under the library, with no other variables.
fn under_library(program: &Path, variables: Variables<'_>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LD_PRELOAD", library())
        .envs(variables.iter().copied());
    command
}

/// Returns this number of rules for addresses outside of loopback, then one for loopback.
fn rules(count: u8) -> String {
    let networks = (0..count).map(|n| format!("connect 10.0.{n}.0/24 idle=30s interval=10s count=3\n"));
    networks
        .chain(["connect 127.0.0.0/8 idle=30s interval=10s count=3\n".to_owned()])
        .collect()
}

/// Returns the number of instructions in the library that `command` executes.
fn instructions(valgrind: &Path, command: &Command) -> u64 {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let counts = directory.path().join("counts");
    let mut counted = Command::new(valgrind);
    counted
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(command.get_program())
        .args(command.get_args());
    output(&mut counted);
    let text = fs::read_to_string(&counts).expect("callgrind writes its counts");
    let sum = in_object(&text, &library());
    assert!(sum > 0, "callgrind has counted nothing in the library");
    sum
}

/// Returns the instructions in the object at `path`, from the text that callgrind has written ("Callgrind Format
/// Specification" in valgrind's manual).
fn in_object(text: &str, path: &Path) -> u64 {
    let mut number = None;
    let mut is_inside = false;
    let mut is_of_a_call = false;
    let mut sum = 0;
    for line in text.lines() {
        // A name is defined by `(number) name` once, then referred to by its number.
        if let Some(name) = line.strip_prefix("ob=").or_else(|| line.strip_prefix("cob=")) {
            let (this, name) = name.split_once(' ').unwrap_or((name, ""));
            if Path::new(name) == path {
                number = Some(this.to_owned());
            }
            if line.starts_with("ob=") {
                is_inside = number.as_deref() == Some(this);
            }
        } else if line.starts_with("calls=") {
            // The next line is the cost of the called function, which is also counted in its own lines.
            is_of_a_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if is_inside && !is_of_a_call {
                sum += cost.expect("a position and a number");
            }
            is_of_a_call = false;
        }
    }
    sum
}

/// Asserts that `found` is at most the budget, and not so far below that the budget has lost its meaning.
fn expect_within(budget: u64, found: u64, what: &str) {
    println!("{what}: {found} instructions, budget {budget}");
    assert!(
        found <= budget,
        "{what}: {found} instructions exceed the budget of {budget}"
    );
    assert!(
        found * 2 > budget,
        "{what}: {found} instructions; the budget of {budget} can be lower"
    );
}

/// Returns valgrind on the architecture for which the budgets are.
fn valgrind() -> Option<PathBuf> {
    cfg!(target_arch = "x86_64").then(|| find_program("valgrind")).flatten()
}

#[test]
fn start_stays_within_its_budget_of_instructions() {
    let Some(valgrind) = valgrind() else {
        skip!("valgrind is not installed, or the budgets are for x86-64");
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rules");
    let file_name = file.to_str().expect("an ASCII path");
    fs::write(&file, rules(100)).expect("the directory is writable");
    let config = [("KEEPALIVE_CONFIG", file_name)];
    let cases: [(&str, Variables<'_>, u64); 4] = [
        ("off", &[("KEEPALIVE", "off")], 2400),
        ("three timings", &TIMINGS, 6400),
        ("no variable", &[], 4500),
        // The rules are not parsed before a socket is created.
        ("100 rules", &config, 6000),
    ];
    for (what, variables, budget) in cases {
        let found = instructions(&valgrind, &under_library(Path::new("/bin/true"), variables));
        expect_within(budget, found, what);
    }
}

#[test]
fn socket_and_connect_stay_within_their_budgets_of_instructions() {
    let Some(valgrind) = valgrind() else {
        skip!("valgrind is not installed, or the budgets are for x86-64");
    };
    let rules = rules(100);
    let matching = [&TIMINGS[..], &[("KEEPALIVE_RULES", rules.as_str())]].concat();
    let cases: [(&str, &str, Variables<'_>, u64); 4] = [
        ("a socket", "socket", &TIMINGS, 220),
        ("a connection", "connect", &TIMINGS, 360),
        ("a socket with rules", "socket", &matching, 250),
        (
            "a connection that the last of 101 rules matches",
            "connect",
            &matching,
            4000,
        ),
    ];
    for (what, call, variables, budget) in cases {
        let count = |repetitions: u64| {
            let mut command = under_library(&repeat(), variables);
            command.args([call, &repetitions.to_string()]);
            instructions(&valgrind, &command)
        };
        let found = (count(1 + REPETITIONS) - count(1)) / REPETITIONS;
        expect_within(budget, found, what);
    }
}

#[test]
fn first_socket_parses_rules_within_its_budget_of_instructions() {
    let Some(valgrind) = valgrind() else {
        skip!("valgrind is not installed, or the budgets are for x86-64");
    };
    let rules = rules(100);
    let count = |repetitions: &str| {
        let mut command = under_library(&repeat(), &[("KEEPALIVE_RULES", &rules)]);
        command.args(["socket", repetitions]);
        instructions(&valgrind, &command)
    };
    expect_within(350_000, count("1") - count("0"), "the first socket, with 101 rules");
}

/// Returns the KiB of anonymous pages: of the mappings of the library's file, and of all mappings but the stack, whose
/// start within a page is random.
fn anonymous(smaps: &str) -> (u64, u64) {
    let (mut of_library, mut of_all) = (0, 0);
    let mut mapping = "";
    for line in smaps.lines() {
        match line.split_once(':') {
            Some(("Anonymous", size)) => {
                let size: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
                if mapping.ends_with(&*library().to_string_lossy()) {
                    of_library += size;
                }
                if !mapping.ends_with("[stack]") {
                    of_all += size;
                }
            }
            // A mapping begins with its addresses and ends with its name.
            _ if line.contains('-') => mapping = line,
            _ => {}
        }
    }
    (of_library, of_all)
}

#[test]
fn library_has_one_private_page() {
    for call in ["socket", "connect"] {
        let mut command = under_library(&repeat(), &TIMINGS);
        let smaps = output(command.args([call, "3"]));
        assert_eq!(anonymous(&smaps).0, 4, "{smaps}");
        // What the loader needs for any library, an empty one too, is in its own pages.
        let mut without = Command::new(repeat());
        let without = output(without.env_clear().args([call, "3"]));
        let added = anonymous(&smaps).1.saturating_sub(anonymous(&without).1);
        assert!(added <= 8, "{added} KiB");
    }
}
