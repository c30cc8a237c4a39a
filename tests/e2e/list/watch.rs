//! `--watch`: the same again and again, until there is nothing left to see or nobody left who reads.

use super::shown::Terminal;
use super::{list, parsed};
use crate::support::process::Running;
use crate::support::py_peer::PyPeer;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{ChildStdout, Stdio};

const HOME: &str = "\x1b[H";

/// Into a pipe, with its reader.
fn watch(words: &[&str]) -> (Running, BufReader<ChildStdout>) {
    let mut running = Running::start(list(words).arg("--watch").stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = running.child.stdout.take().expect("a pipe");
    (running, BufReader::new(stdout))
}

/// Waits for the end of the command, which must be a good one, and quiet.
#[track_caller]
fn assert_ends_well(running: &mut Running) {
    let status = running.wait_for_end();
    let mut errors = String::new();
    if let Some(stderr) = &mut running.child.stderr {
        stderr.read_to_string(&mut errors).expect("text");
    }
    assert_eq!((status.code(), &*errors), (Some(0), ""));
}

fn kill(program: &PyPeer) {
    let pid = Pid::from_raw(program.pid().cast_signed()).expect("a number of a process");
    kill_process(pid, Signal::KILL).expect("it is ours");
}

#[test]
fn on_a_terminal_it_is_drawn_anew_in_the_same_place() {
    python!();
    let mut program = PyPeer::start();
    program.does("listener = listen(); client, accepted = pair(listener)");
    let number = program.pid().to_string();
    let mut terminal = Terminal::start(200, 24, &[&number, "--watch"]);
    assert!(terminal.read_until(|text| text.matches(HOME).count() == 2));
    program.does("own(client, keepalive=1, idle=61, interval=13, count=4)");
    assert!(
        terminal.read_until(|text| text.contains(" 61/13/4 ")),
        "{}",
        terminal.text
    );
    kill(&program);
    assert!(!terminal.read_until(|_| false));
    assert_ends_well(&mut terminal.running);
    // Each is the heading and the rows, every line cleared to its end, and nothing left below.
    for screen in terminal
        .text
        .split(HOME)
        .skip(1)
        .filter(|screen| screen.contains("python3"))
    {
        assert!(screen.trim_start().starts_with("PID/FD  "), "{screen:?}");
        assert!(screen.ends_with("\x1b[J"), "{screen:?}");
        let lines: Vec<_> = screen.lines().collect();
        assert!(
            lines[..lines.len() - 1].iter().all(|line| line.ends_with("\x1b[K")),
            "{screen:?}"
        );
    }
}

#[test]
fn what_does_not_fit_on_the_terminal_is_counted() {
    python!();
    let mut program = PyPeer::start();
    program.does("listener = listen(); kept.extend(pair(listener) for n in range(30))");
    let number = program.pid().to_string();
    let mut terminal = Terminal::start(200, 24, &[&number, "--watch"]);
    assert!(terminal.read_until(|text| text.matches("\x1b[J").count() == 2));
    let screen = terminal.text.split(HOME).nth(1).expect("the first");
    let lines = screen.lines().filter(|line| line.ends_with("\x1b[K")).count();
    assert!(lines < 24, "{screen:?}");
    let rows = screen.matches(" python3 ").count();
    assert!(screen.contains(&format!("({} more lines)", 61 - rows)), "{screen:?}");
}

#[test]
fn in_a_pipe_it_is_printed_again_until_the_process_ends() {
    python!();
    let mut program = PyPeer::start();
    program.does("listener = listen()");
    let (mut running, mut reader) = watch(&[&program.pid().to_string()]);
    let mut lines = Vec::new();
    while lines.iter().filter(|line: &&String| line.contains("KEEPALIVE")).count() < 3 {
        let mut line = String::new();
        assert_ne!(
            reader.read_line(&mut line).expect("text"),
            0,
            "it ended early: {lines:?}"
        );
        lines.push(line);
    }
    // Heading, listener, and an empty line after each.
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(
        lines[2] == "\n" && lines[5] == "\n" && lines[0] == lines[3] && lines[1] == lines[4],
        "{lines:?}"
    );
    kill(&program);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("text");
    assert!(!rest.contains('\x1b'), "{rest:?}");
    assert_ends_well(&mut running);
}

#[test]
fn as_json_each_look_is_an_array_in_a_line() {
    python!();
    let mut program = PyPeer::start();
    program.does("listener = listen()");
    let number = program.pid().to_string();
    let (mut running, reader) = watch(&[&number, "--json"]);
    let mut lines = reader.lines().map(|line| line.expect("text"));
    for _ in 0..2 {
        let entries = parsed(&lines.next().expect("it goes on"));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["pid"], program.pid());
    }
    program.does("own(listener, keepalive=1, idle=61)");
    assert!(
        lines
            .by_ref()
            .map(|line| parsed(&line))
            .any(|entries| entries[0]["idle_s"] == 61)
    );
    kill(&program);
    // Whatever it still sees is an array as well.
    assert!(lines.all(|line| parsed(&line).len() <= 1));
    assert_ends_well(&mut running);
}

#[test]
fn of_several_processes_the_last_one_counts() {
    python!();
    let (mut first, mut last) = (PyPeer::start(), PyPeer::start());
    first.does("listener = listen()");
    last.does("listener = listen()");
    let (mut running, reader) = watch(&[&first.pid().to_string(), &last.pid().to_string(), "--json"]);
    let mut lines = reader.lines().map(|line| parsed(&line.expect("text")));
    assert_eq!(lines.next().map(|entries| entries.len()), Some(2));
    kill(&first);
    assert!(
        lines
            .by_ref()
            .any(|entries| entries.len() == 1 && entries[0]["pid"] == last.pid())
    );
    kill(&last);
    assert!(lines.all(|entries| entries.len() <= 1));
    assert_ends_well(&mut running);
}

#[test]
fn programs_of_a_name_are_watched_until_the_last_has_ended() {
    python!();
    let name = format!("w {}", std::process::id());
    let mut program = PyPeer::start();
    program.does("listener = listen()");
    program.does(&format!("assert ctypes.CDLL(None).prctl(15, {name:?}.encode()) == 0"));
    let (mut running, reader) = watch(&["--program", &name, "--json"]);
    let mut lines = reader.lines().map(|line| parsed(&line.expect("text")));
    assert_eq!(lines.next().map(|entries| entries.len()), Some(1));
    kill(&program);
    program.0.wait_for_end();
    assert!(lines.all(|entries| entries.len() <= 1));
    assert_ends_well(&mut running);
}

#[test]
fn it_ends_when_the_reader_goes_away() {
    python!();
    let mut program = PyPeer::start();
    program.does("listener = listen()");
    let number = program.pid().to_string();
    for words in [&[&*number][..], &[&number, "--json"], &["--json"]] {
        let (mut running, mut reader) = watch(words);
        reader.read_line(&mut String::new()).expect("text");
        drop(reader);
        let status = running.wait_for_end();
        assert_eq!(status.code(), Some(0), "{words:?}");
    }
}
