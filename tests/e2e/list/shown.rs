//! The table, in pipes and on terminals.

use super::{list, shown};
use crate::support::process::{LIMIT, Running, output_within, text};
use crate::support::py_peer::PyPeer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read as _;
use std::process::Command;
use std::time::Instant;

/// The column headings in a pipe.
pub(super) const HEADINGS: [&str; 10] = [
    "PID/FD",
    "PROGRAM",
    "STATE",
    "LOCAL",
    "PEER",
    "KEEPALIVE",
    "USER-TIMEOUT",
    "NEXT-PROBE",
    "LOST-PROBES",
    "DEAD-AFTER",
];

/// A pseudo-terminal on which `keepalive list` writes.
pub(super) struct Terminal {
    master: File,
    pub(super) running: Running,
    /// The output so far, with the program's line ends.
    pub(super) text: String,
}

impl Terminal {
    /// Starts the command without colours.
    pub(super) fn start(columns: u16, lines: u16, words: &[&str]) -> Self {
        let mut command = list(words);
        command.env("NO_COLOR", "1");
        Self::start_command(columns, lines, command)
    }

    pub(super) fn start_command(columns: u16, lines: u16, mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("a child of the test");
        unlockpt(&master).expect("a child of the test");
        let path = ptsname(&master, Vec::new()).expect("its name");
        let slave = open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("its other end");
        let size = Winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).expect("a size");
        let stderr = slave.try_clone().expect("a second descriptor");
        let running = Running::start(command.stdout(slave).stderr(stderr));
        Self {
            master: master.into(),
            running,
            text: String::new(),
        }
    }

    /// Reads until the text is as wanted, or the writer has ended. Returns whether it is as wanted.
    pub(super) fn read_until(&mut self, is_wanted: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + LIMIT;
        let mut buffer = [0; 4096];
        while !is_wanted(&self.text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("a short time");
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            assert_eq!(
                poll(&mut fds, Some(&left)),
                Ok(1),
                "not within {LIMIT:?}: {}",
                self.text
            );
            // EIO: the other end is closed.
            let Ok(length @ 1..) = self.master.read(&mut buffer) else {
                return false;
            };
            self.text += &String::from_utf8_lossy(&buffer[..length]).replace("\r\n", "\n");
        }
        true
    }
}

/// Returns the output on a terminal of this size.
fn on_terminal(columns: u16, lines: u16, words: &[&str]) -> String {
    written(Terminal::start(columns, lines, words))
}

fn written(mut terminal: Terminal) -> String {
    terminal.read_until(|_| false);
    let status = terminal.running.child.wait().expect("a child of the test");
    assert!(status.success(), "{status}: {}", terminal.text);
    terminal.text
}

#[track_caller]
fn assert_fits(table: &str, columns: u16) {
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(columns.into()), "{columns} columns: {widest:?}\n{table}");
}

const CONNECTIONS: &str = "
listener = listen('::', family=socket.AF_INET6)
for n in range(5):
    kept.extend(pair(listener, '::1', socket.AF_INET6, keepalive=1, idle=32767, interval=32767, count=127))
    kept.extend(pair(listener))
";

#[test]
fn in_a_pipe_each_socket_is_one_line_below_the_heading() {
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTIONS);
    let number = program.pid().to_string();
    let table = shown(&[&number]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 21, "{table}");
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), HEADINGS);
    for line in &lines[1..] {
        let words: Vec<_> = line.split_whitespace().collect();
        assert!(
            words[0].starts_with(&format!("{number}/")) && words[1] == "python3",
            "{line}"
        );
        assert_eq!(words.len(), HEADINGS.len(), "{line}");
        assert!(!line.contains('\x1b') && line.trim_end() == *line, "{line:?}");
    }
    let on = lines.iter().filter(|line| line.contains(" 32767/32767/127 ")).count();
    assert_eq!(on, 5, "{table}");
    assert_eq!(table.matches(" LISTEN ").count(), 1, "{table}");
    assert_eq!(table.matches(" ESTAB ").count(), 20, "{table}");
    // IPv4 connections of the IPv6 listener.
    assert!(table.contains(" 127.0.0.1:") && !table.contains("ffff"), "{table}");
    // Columns begin at their headings.
    let local = lines[0].find("LOCAL").expect("the heading");
    assert!(
        lines[1..].iter().all(|line| line[local..].starts_with(['1', '['])),
        "{table}"
    );
}

#[test]
fn on_a_terminal_of_80_columns_an_ipv4_connection_is_one_line() {
    python!();
    let mut program = PyPeer::called("prometheus-node");
    program.execute(
        "listener = listen('127.123.234.123')
client = own(socket.socket(), keepalive=1, idle=7200, interval=75, count=9)
client.bind(('127.210.111.222', 0))
client.connect(listener.getsockname())
accepted = listener.accept()[0]",
    );
    let number = program.pid().to_string();
    let table = on_terminal(80, 24, &[&number]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_fits(&table, 80);
    let client = program.ask("'%s:%d' % client.getsockname()");
    let peer = program.ask("'%s:%d' % client.getpeername()");
    let row = format!(" ESTAB  {client:<21} {peer:<21} 7200/75/9");
    assert!(table.contains(&row), "{row}\n{table}");
}

#[test]
fn on_a_terminal_no_row_is_folded() {
    python!();
    let mut program = PyPeer::start();
    program.execute(CONNECTIONS);
    let number = program.pid().to_string();
    for columns in [80, 100, 132, 200] {
        let table = on_terminal(columns, 24, &[&number]);
        assert_fits(&table, columns);
        assert_eq!(table.lines().count(), 1 + 21, "{table}");
        assert_eq!(table.matches(" python3 ").count(), 21, "{table}");
        assert!(!table.contains('\x1b'), "{table:?}");
    }
}

#[test]
fn wide_terminal_has_the_same_table_as_a_pipe() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener)");
    let number = program.pid().to_string();
    assert_eq!(on_terminal(300, 24, &[&number]), shown(&[&number]));
    assert_eq!(on_terminal(80, 24, &[&number, "--json"]), shown(&[&number, "--json"]));
    // A terminal without a known size.
    assert_fits(&on_terminal(0, 0, &[&number]), 80);
}

#[test]
fn colours_mark_keepalive_off_only_on_a_terminal() {
    python!();
    let mut program = PyPeer::start();
    program.execute("listener = listen(); client, accepted = pair(listener, keepalive=1, idle=2000)");
    // The output must not change between two runs.
    let number = program.pid().to_string();
    let listening = [&*number, "--listening"];
    let with = |colour: Option<&str>, term: &str| {
        let mut command = list(&listening);
        command.env_remove("NO_COLOR").env("TERM", term);
        if let Some(colour) = colour {
            command.env("NO_COLOR", colour);
        }
        written(Terminal::start_command(120, 24, command))
    };
    for colour in [None, Some("")] {
        let table = with(colour, "xterm");
        assert_eq!(table.matches("\x1b[33moff\x1b[0m").count(), 1, "{table:?}");
        assert_eq!(table.matches('\x1b').count(), 2, "{table:?}");
    }
    let plain = on_terminal(120, 24, &listening);
    assert!(plain.contains(" off ") && !plain.contains('\x1b'), "{plain:?}");
    assert_eq!(with(Some("1"), "xterm"), plain);
    assert_eq!(with(None, "dumb"), plain);
    let mut piped = list(&listening);
    let piped = output_within(LIMIT, piped.env_remove("NO_COLOR").env("TERM", "xterm"));
    assert!(!piped.stdout.contains(&0x1b), "{}", text(&piped.stdout));
}

#[test]
fn wide_characters_in_a_name_keep_the_columns_aligned() {
    // Two characters of two columns each, and a letter with its accent.
    const NAME: &str = "\u{65e5}\u{672c}e\u{301}";
    const NAME_COLUMNS: usize = 5;
    python!();
    let mut program = PyPeer::called(NAME);
    program.execute("listener = listen()");
    let table = shown(&[&program.pid().to_string()]);
    let [heading, row] = table.lines().collect::<Vec<_>>()[..] else {
        panic!("{table}")
    };
    let before = row.find(NAME).expect("the name");
    let behind = row.find("LISTEN").expect("the state") - before - NAME.len();
    assert_eq!(Some(before), heading.find("PROGRAM"), "{table}");
    assert_eq!(Some(before + NAME_COLUMNS + behind), heading.find("STATE"), "{table}");
}

/// Names of programs may contain control characters, which must not reach the terminal.
#[test]
fn control_characters_in_a_name_are_replaced() {
    python!();
    let mut program = PyPeer::called("a\x1b[2J\nb");
    program.execute("listener = listen()");
    let table = shown(&[&program.pid().to_string()]);
    assert!(table.contains(" a\u{fffd}[2J\u{fffd}b "), "{table:?}");
    assert_eq!(program.entry("listener")["program"], "a\x1b[2J\nb");
}
