//! The table, in pipes and on terminals.

use super::{list, shown};
use crate::support::process::{LIMIT, Running};
use crate::support::puppet::Puppet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read as _;
use std::time::Instant;

/// The heading of the table.
pub(super) const HEADING: [&str; 10] = [
    "PID",
    "PROGRAM",
    "FD",
    "STATE",
    "LOCAL",
    "PEER",
    "KEEPALIVE",
    "TIMEOUT",
    "NEXT",
    "DEAD",
];

/// A pseudo-terminal on which `keepalive list` writes.
pub(super) struct Terminal {
    master: File,
    pub(super) running: Running,
    /// What was written so far, its lines ended as the program ends them.
    pub(super) text: String,
}

impl Terminal {
    pub(super) fn start(columns: u16, lines: u16, words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
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
        let running = Running::start(list(words).stdout(slave).stderr(stderr));
        Self {
            master: master.into(),
            running,
            text: String::new(),
        }
    }

    /// Reads on until the text is as wanted, or the writer has ended; whether it is so.
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
            // EIO: nobody has the other end open any more.
            let Ok(length @ 1..) = self.master.read(&mut buffer) else {
                return false;
            };
            self.text += &String::from_utf8_lossy(&buffer[..length]).replace("\r\n", "\n");
        }
        true
    }
}

/// What is written on a terminal of this size.
fn on_terminal(columns: u16, lines: u16, words: &[&str]) -> String {
    let mut terminal = Terminal::start(columns, lines, words);
    terminal.read_until(|_| false);
    let status = terminal.running.child.wait().expect("a child of ours");
    assert!(status.success(), "{status}: {}", terminal.text);
    terminal.text
}

const CONNECTIONS: &str = "
listener = listen('::', family=socket.AF_INET6)
for n in range(5):
    kept.extend(pair(listener, '::1', socket.AF_INET6, keepalive=1, idle=32767, interval=32767, count=127))
    kept.extend(pair(listener))
";

#[test]
fn in_a_pipe_a_socket_is_a_line_below_the_heading() {
    python!();
    let mut program = Puppet::start();
    program.does(CONNECTIONS);
    let number = program.pid().to_string();
    let table = shown(&[&number]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 21, "{table}");
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), HEADING);
    for line in &lines[1..] {
        assert!(line.trim_start().starts_with(&format!("{number}  python3  ")), "{line}");
        assert!(!line.contains('\x1b') && line.trim_end() == *line, "{line:?}");
    }
    let on = lines.iter().filter(|line| line.contains(" 32767/32767/127 ")).count();
    assert_eq!(on, 5, "{table}");
    // Columns begin where their headings do.
    let local = lines[0].find("LOCAL").expect("the heading");
    assert!(
        lines[1..].iter().all(|line| line[local..].starts_with(['1', '['])),
        "{table}"
    );
}

#[test]
fn on_a_terminal_no_line_is_wider_than_it() {
    python!();
    let mut program = Puppet::start();
    program.does(CONNECTIONS);
    let number = program.pid().to_string();
    for columns in [80, 100, 132, 200] {
        let table = on_terminal(columns, 24, &[&number]);
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns.into()), "{columns} columns: {widest:?}\n{table}");
        assert_eq!(table.matches(" python3 ").count(), 21, "{table}");
        assert!(!table.contains('\x1b'), "{table:?}");
    }
}

#[test]
fn on_a_wide_terminal_the_table_is_that_of_a_pipe() {
    python!();
    let mut program = Puppet::start();
    program.does("listener = listen(); client, accepted = pair(listener)");
    let number = program.pid().to_string();
    assert_eq!(on_terminal(300, 24, &[&number]), shown(&[&number]));
    assert_eq!(on_terminal(80, 24, &[&number, "--json"]), shown(&[&number, "--json"]));
    // A terminal that does not know its size.
    let widest = on_terminal(0, 0, &[&number])
        .lines()
        .map(|line| line.chars().count())
        .max();
    assert!(widest <= Some(80), "{widest:?}");
}

/// Names of programs may be anything, and a terminal must not obey them.
#[test]
fn a_name_cannot_write_over_the_terminal() {
    python!();
    let mut program = Puppet::called("a\x1b[2J\nb");
    program.does("listener = listen()");
    let table = shown(&[&program.pid().to_string()]);
    assert!(table.contains(" a\u{fffd}[2J\u{fffd}b "), "{table:?}");
    assert_eq!(program.entry("listener")["program"], "a\x1b[2J\nb");
}
