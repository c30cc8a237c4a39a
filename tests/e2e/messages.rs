//! Messages: their contents, and that they contain no control characters from foreign names.

use crate::support::process::{LIMIT, Running, output_within, text, wrapped};
use crate::support::py_peer::PyPeer;
use crate::support::target::no_config;
use crate::support::{keepalive, library};
use serde_json::Value;
use std::fs::File;
use std::process::{Command, Output};

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(keepalive());
    command
        .env("KEEPALIVE_LIBRARY", library())
        .env("KEEPALIVE_CONFIG", no_config())
        .args(words);
    command
}

fn run(words: &[&str]) -> Output {
    output_within(LIMIT, &mut command(words))
}

/// A process number that is not in use: above every limit (`pid_max(5)`).
const UNUSED_PID: &str = "4999999";

#[test]
fn messages_contain_no_error_numbers() {
    let pid = std::process::id().to_string();
    let missing = "/no/such/file";
    let policy = ["--config", missing];
    for words in [
        &["run", "--", missing][..],
        &["run", "--", "no-such-program"],
        &["run", "--", "/"],
        &["run", "--config", missing, "true"],
        &["attach", &pid, policy[0], policy[1]],
        &["attach", UNUSED_PID],
        &["list", UNUSED_PID],
        &["explain", policy[0], policy[1]],
        &["check", missing],
        &["check", "/"],
        &["doctor", "--pid", UNUSED_PID],
        &["doctor", "--", missing],
        &["unit", "enable", "no-such-unit", "--root", missing],
        &["unit", "status", "--root", missing],
        &["unit", "disable", "no-such-unit", "--root", missing],
        &["system", "enable", "--root", missing],
        &["system", "status", "--root", missing],
        &["system", "disable", "--root", missing],
        &["cgroup", "enable", missing],
        &["cgroup", "enable", missing, policy[0], policy[1]],
        &["cgroup", "status", missing],
        &["cgroup", "disable", missing],
        &["probe", "127.0.0.1:1"],
        &["probe", "no-such-host.invalid:1"],
    ] {
        let output = run(words);
        let both = text(&output.stdout) + &text(&output.stderr);
        assert!(!both.contains("(os error"), "{words:?}: {both}");
        assert!(!both.is_empty(), "{words:?}");
    }
    let output = output_within(LIMIT, command(&["run", "true"]).env("KEEPALIVE_LIBRARY", missing));
    assert!(!text(&output.stderr).contains("(os error"), "{output:?}");
    for words in [
        &["list"][..],
        &["presets"],
        &["explain"],
        &["doctor"],
        &["check", "/dev/null"],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("it is there");
        let child = command(words).stdout(full).stderr(std::process::Stdio::piped()).spawn();
        let output = child
            .expect("keepalive starts")
            .wait_with_output()
            .expect("a child of the test");
        let error = "keepalive: cannot write to standard output: write: No space left on device\n";
        assert!(text(&output.stderr).contains(error), "{words:?}: {output:?}");
    }
}

#[test]
fn only_an_error_is_printed_for_a_missing_process() {
    let hint = "hint: it has ended, or it is in a pid namespace that is not seen from here\n";
    let other = Running::start(Command::new("sleep").arg("1000"));
    let other = other.pid().to_string();
    for (verb, words) in [
        ("see", &["list", UNUSED_PID][..]),
        ("see", &["list", UNUSED_PID, &other]),
        ("see", &["list", "--watch", UNUSED_PID]),
        ("attach to", &["attach", UNUSED_PID]),
        ("attach to", &["attach", "--dry-run", UNUSED_PID, &other]),
        ("attach to", &["attach", "--watch", UNUSED_PID]),
        ("examine", &["doctor", "--pid", UNUSED_PID]),
    ] {
        let output = run(words);
        let error = format!("keepalive: cannot {verb} process {UNUSED_PID}: there is no such process\n{hint}");
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            (String::new(), error),
            "{words:?}"
        );
        assert_eq!(output.status.code(), Some(1), "{words:?}");
    }
    assert_eq!(text(&run(&["list", "--json", UNUSED_PID]).stdout), "[]\n");
}

/// Characters that move the cursor, change the direction of text or are invisible, and one that is invalid.
const NAMES: [&str; 4] = [
    "a\u{202e}gpj.exe",
    "b\tc\nd\x1b[2J",
    "\u{2066}e\u{200b}\u{feff}",
    "f\u{2028}g\u{9b}h",
];

/// Sets the name of a process by `prctl(PR_SET_NAME)`.
#[test]
fn format_characters_in_a_process_name_are_replaced() {
    python!();
    for name in NAMES {
        let shown: String = name
            .chars()
            .map(|character| {
                if character.is_alphanumeric() || ".[".contains(character) {
                    character
                } else {
                    '\u{fffd}'
                }
            })
            .collect();
        let mut program = PyPeer::called(name);
        let prctl = format!(
            "ctypes.CDLL(None).prctl(15, {:?}.encode().decode('unicode_escape').encode(), 0, 0, 0)",
            escaped(name)
        );
        program.execute(&prctl);
        program.execute("listener = listen()");
        let pid = program.pid().to_string();
        for words in [
            &["list", &pid][..],
            &["attach", "--dry-run", &pid],
            &["doctor", "--pid", &pid],
            &["list", "--json", &pid],
            &["attach", "--json", "--dry-run", &pid],
            &["doctor", "--json", "--pid", &pid],
        ] {
            let output = run(words);
            let both = text(&output.stdout) + &text(&output.stderr);
            let bad: Vec<char> = both.chars().filter(|character| is_foreign(*character)).collect();
            assert!(bad.is_empty(), "{words:?}: {bad:?}: {both:?}");
        }
        let table = text(&run(&["list", &pid]).stdout);
        assert!(table.contains(&format!(" {shown} ")), "{shown:?}: {table}");
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table:?}");
        let column = |line: &str, word: &str| line.find(word).map(|place| line[..place].chars().count());
        assert_eq!(column(lines[0], "STATE"), column(lines[1], "LISTEN"), "{table}");
        let json: Value = serde_json::from_slice(&run(&["list", "--json", &pid]).stdout).expect("JSON");
        assert_eq!(json[0]["program"], name);
    }
}

/// Returns the name as a Python string literal.
fn escaped(name: &str) -> String {
    let escapes = name.chars().map(|character| format!("\\u{:04x}", u32::from(character)));
    escapes.collect::<Vec<_>>().concat()
}

fn is_foreign(character: char) -> bool {
    character != '\n' && character.is_control()
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The kernel's name is shown if the path of the program cannot be read.
#[test]
fn format_characters_in_a_world_readable_name_are_replaced() {
    root!();
    python!();
    let name = NAMES[0];
    let mut program = PyPeer::called(name);
    program.execute("listener = listen()");
    let pid = program.pid().to_string();
    let copy = crate::support::ordinary::Installed::new();
    for words in [
        &["list"][..],
        &["list", &pid],
        &["attach", &pid],
        &["list", "--program", name],
    ] {
        let mut command = wrapped(&crate::support::ordinary::NOBODY, copy.keepalive());
        let output = output_within(
            LIMIT,
            command
                .args(words)
                .env("KEEPALIVE_CONFIG", copy.no_config())
                .current_dir("/"),
        );
        let both = text(&output.stdout) + &text(&output.stderr);
        assert!(!both.contains('\u{202e}'), "{words:?}: {both:?}");
    }
}
