//! `--watch`: repeated output until no process or no reader is left.

use super::shown::Terminal;
use super::{list, parsed};
use crate::support::process::Running;
use crate::support::py_peer::PyPeer;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{ChildStdout, Stdio};

const HOME: &str = "\x1b[H";

/// Starts the command with its output in a pipe. Returns it and the reader.
fn watch(words: &[&str]) -> (Running, BufReader<ChildStdout>) {
    let mut running = Running::start(list(words).arg("--watch").stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = running.child.stdout.take().expect("a pipe");
    (running, BufReader::new(stdout))
}

/// Asserts that the command ends with status 0 and without messages.
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
    kill_process(pid, Signal::KILL).expect("a child of the test");
}

#[test]
fn terminal_is_redrawn_in_place() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    let number = program.pid().to_string();
    let mut terminal = Terminal::start(200, 24, &[&number, "--watch"]);
    assert!(terminal.read_until(|text| text.matches(HOME).count() == 2));
    program.execute("own(client, keepalive=1, idle=61, interval=13, count=4)");
    assert!(
        terminal.read_until(|text| text.contains(" 61/13/4 ")),
        "{}",
        terminal.text
    );
    kill(&program);
    assert!(!terminal.read_until(|_| false));
    assert_ends_well(&mut terminal.running);
    // Each screen is the heading and the rows; every line and everything below is cleared.
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
fn lines_that_do_not_fit_are_counted() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); kept.extend(pair(listener) for n in range(30))");
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
fn output_in_a_pipe_repeats_until_the_process_ends() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen()");
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
    // Heading, listener, and an empty line, each time.
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
fn json_prints_an_array_in_one_line_each_time() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen()");
    let number = program.pid().to_string();
    let (mut running, reader) = watch(&[&number, "--json"]);
    let mut lines = reader.lines().map(|line| line.expect("text"));
    for _ in 0..2 {
        let entries = parsed(&lines.next().expect("it continues"));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["pid"], program.pid());
    }
    program.execute("own(listener, keepalive=1, idle=61)");
    assert!(
        lines
            .by_ref()
            .map(|line| parsed(&line))
            .any(|entries| entries[0]["idle_s"] == 61)
    );
    kill(&program);
    // A look after the process's end also prints an array.
    assert!(lines.all(|line| parsed(&line).len() <= 1));
    assert_ends_well(&mut running);
}

#[test]
fn watch_ends_when_the_last_process_ends() {
    python!();
    let (mut first, mut last) = (PyPeer::start(), PyPeer::start());
    first.execute("listener = listen()");
    last.execute("listener = listen()");
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
fn watch_of_a_name_ends_with_its_last_process() {
    python!();
    let name = format!("w {}", std::process::id());
    let mut program = PyPeer::start();
    program.execute("listener = listen()");
    program.execute(&format!("assert ctypes.CDLL(None).prctl(15, {name:?}.encode()) == 0"));
    let (mut running, reader) = watch(&["--program", &name, "--json"]);
    let mut lines = reader.lines().map(|line| parsed(&line.expect("text")));
    assert_eq!(lines.next().map(|entries| entries.len()), Some(1));
    kill(&program);
    program.0.wait_for_end();
    assert!(lines.all(|entries| entries.len() <= 1));
    assert_ends_well(&mut running);
}

#[test]
fn watch_ends_when_the_reader_closes_the_pipe() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen()");
    let number = program.pid().to_string();
    for words in [&[&*number][..], &[&number, "--json"], &["--json"]] {
        let (mut running, mut reader) = watch(words);
        reader.read_line(&mut String::new()).expect("text");
        drop(reader);
        let status = running.wait_for_end();
        assert_eq!(status.code(), Some(0), "{words:?}");
    }
}
