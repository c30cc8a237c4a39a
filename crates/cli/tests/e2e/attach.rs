//! `keepalive attach`: what the sockets of running programs have afterwards, as the kernel tells it and never as attach
//! does.

/// Skips a test of namespaces and other users where it cannot have them.
macro_rules! root {
    () => {
        if !rustix::process::geteuid().is_root() {
            skip!("only root has namespaces and other users");
        }
        for needed in ["unshare", "nsenter", "setpriv", "ip"] {
            if $crate::support::find_program(needed).is_none() {
                skip!("{needed} is not installed");
            }
        }
    };
}

mod judgement;
mod kinds;
mod live;
mod load;
mod nat;
mod permissions;
mod timer;
mod usage;
mod watch;

use crate::support::observe::family;
use crate::support::process::{Running, eventually, output_within};
use crate::support::target::no_config;
use crate::support::{PYTHON, find_program, keepalive};
use keepalive_linux::sockopt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// Longer than anything here takes, also where `--watch` rests for long because the machine has other things to do;
/// nobody waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(180);

/// The policy of tests that need not say another.
const POLICY: [&str; 3] = ["--idle=61", "--interval=13", "--count=4"];
/// What a socket has under it: keepalive, idle, interval, count, user timeout.
const TREATED: &str = "1 61 13 4 0";
const UNTOUCHED: &str = "0 7200 75 9 0";

/// `keepalive attach` under `wrapper`, with no policy but what its arguments will say.
fn attach_under(wrapper: &[&str], keepalive: &Path) -> Command {
    let mut command = match wrapper {
        [] => Command::new(keepalive),
        [program, words @ ..] => {
            let mut command = Command::new(find_program(program).expect("it was there before"));
            command.args(words).arg(keepalive);
            command
        }
    };
    command.env_clear().env("KEEPALIVE_CONFIG", no_config()).arg("attach");
    command
}

fn attach() -> Command {
    attach_under(&[], &keepalive())
}

/// The same, to be run with these arguments.
fn outcome(words: &[&str]) -> Output {
    output_within(LIMIT, attach().args(words))
}

/// What it prints about process `pid` with these arguments; it must succeed.
#[track_caller]
fn attached(pid: u32, words: &[&str]) -> String {
    let output = output_within(LIMIT, attach().args(words).arg(pid.to_string()));
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Keepalive, idle, interval, count and user timeout of a descriptor of `pid`; `-` for what the socket has not.
#[track_caller]
fn has(pid: u32, fd: i32) -> String {
    show(sockopt::duplicate(pid, fd).unwrap_or_else(|error| panic!("descriptor {fd} of {pid}: {error}")))
}

fn show(socket: impl AsFd) -> String {
    let options = sockopt::options(socket).expect("a TCP socket");
    let numbers = [options.idle, options.interval, options.count, options.user_timeout];
    let numbers = numbers.map(|number| number.map_or_else(|| String::from("-"), |number| number.to_string()));
    format!("{} {}", u32::from(options.keepalive), numbers.join(" "))
}

/// The state and the timer of a socket that has an address, as `/proc/PID/net/tcp` tells them.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    /// `include/net/tcp_states.h`: 2 is SYN-SENT.
    state: u8,
    /// 0 is none, 1 retransmission, 2 keepalive.
    timer: u8,
    expires: Duration,
}

#[track_caller]
fn row(pid: u32, fd: i32) -> Option<Row> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("an open descriptor");
    let link = link.to_string_lossy().into_owned();
    let inode = link.trim_start_matches("socket:[").trim_end_matches(']');
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let lines = tables.iter().flatten().flat_map(|table| table.lines());
    let mut rows = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(9) == Some(&inode))?;
    let number = |text: &str| u64::from_str_radix(text, 16).expect("a number of the kernel");
    let (timer, when) = row[5].split_once(':').expect("a timer and its time");
    Some(Row {
        state: number(row[3]).try_into().expect("a state"),
        timer: number(timer).try_into().expect("a kind of timer"),
        // The kernel has a hundred ticks a second here (sysconf(3), _SC_CLK_TCK).
        expires: Duration::from_millis(10 * number(when)),
    })
}

/// The time until the next probe.
#[track_caller]
fn next_probe(pid: u32, fd: i32) -> Option<Duration> {
    let row = row(pid, fd)?;
    (row.timer == 2).then_some(row.expires)
}

/// A running program that is told on its standard input what to do, and answers on its standard output.
struct Dialogue {
    running: Running,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Dialogue {
    fn start(command: &mut Command) -> Self {
        let mut running = Running::start_with_input(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        Self {
            input: running.child.stdin.take(),
            output: BufReader::new(running.child.stdout.take().expect("a pipe")),
            running,
        }
    }

    fn pid(&self) -> u32 {
        self.running.pid()
    }

    fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is open until the end");
        writeln!(input, "{line}").expect("it reads");
    }

    /// The next line that it prints.
    #[track_caller]
    fn answer(&mut self) -> String {
        if self.output.buffer().is_empty() {
            let mut fds = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
            let limit = Timespec::try_from(LIMIT).expect("a short time");
            assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "no answer within {LIMIT:?}");
        }
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Closes its standard input.
    fn finish(&mut self) {
        self.input = None;
    }

    fn wait_for_end(&mut self) {
        eventually("its end", LIMIT, || {
            self.running.child.try_wait().expect("a child of ours")
        });
    }
}

/// A Python program that does what it is told (`targets/puppet.py`).
struct Puppet(Dialogue);

impl Puppet {
    fn start() -> Self {
        Self::under(&[])
    }

    /// `wrapper` is a command that becomes the program.
    fn under(wrapper: &[&str]) -> Self {
        Self::called(PYTHON, wrapper)
    }

    /// The same with another path of the interpreter.
    fn called(python: &str, wrapper: &[&str]) -> Self {
        let words = [
            wrapper,
            &[python, "-I", "-S", "-c", include_str!("../targets/puppet.py")],
        ]
        .concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        command.env("PATH", env::var_os("PATH").unwrap_or_default());
        Self(Dialogue::start(&mut command))
    }

    /// In a network of its own, where 192.0.2.0/24 is silent.
    fn in_a_network() -> Self {
        const PREPARE: &str = r#"ip link set lo up && ip route add 192.0.2.0/24 dev lo && exec "$@""#;
        Self::under(&["unshare", "--net", "sh", "-c", PREPARE, "sh"])
    }

    /// The first process among its own, with a network of its own.
    fn in_a_world(wrapper: &[&str]) -> Self {
        const WORLD: [&str; 6] = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
        const PREPARE: [&str; 4] = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
        Self::under(&[&WORLD[..], &PREPARE, wrapper].concat())
    }

    /// The command that brings others to where this first process is.
    fn world(&mut self) -> Vec<String> {
        // It answers, so that it is there.
        self.ask("os.getpid()");
        let first = family(self.pid())[1];
        let words = ["nsenter", &format!("--target={first}"), "--net", "--pid", "--mount"];
        words.map(String::from).to_vec()
    }

    /// Another one in the network of this one.
    fn beside(&self) -> Self {
        Self::under(&["nsenter", &format!("--net=/proc/{}/ns/net", self.pid())])
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    #[track_caller]
    fn answer(&mut self) -> String {
        let answer = self.0.answer();
        assert!(!answer.is_empty() && !answer.starts_with("error: "), "{answer}");
        answer
    }

    #[track_caller]
    fn ask(&mut self, line: &str) -> String {
        self.0.tell(line);
        self.answer()
    }

    /// The descriptors of these, by their names in the program.
    #[track_caller]
    fn fds<const N: usize>(&mut self, names: [&str; N]) -> [i32; N] {
        let answer = self.ask(&format!("fds({})", names.join(", ")));
        let fds: Vec<i32> = answer.split(' ').map(|fd| fd.parse().expect("a number")).collect();
        fds.try_into().expect("as many as names")
    }

    /// What the socket of this name has.
    #[track_caller]
    fn has(&mut self, name: &str) -> String {
        let [fd] = self.fds([name]);
        has(self.pid(), fd)
    }

    #[track_caller]
    fn assert_talks(&mut self, one: &str, other: &str) {
        assert_eq!(self.ask(&format!("talks({one}, {other})")), "True");
    }

    fn sysctl(&mut self, name: &str, value: u32) {
        self.ask(&format!("open('/proc/sys/net/ipv4/{name}', 'w').write('{value}')"));
    }
}

/// A program with a listener, a connection to it with these options of its own, and what was accepted of that.
fn pair_with(values: &str) -> Puppet {
    let mut program = Puppet::start();
    program.ask(&format!(
        "listener = listen(); client, accepted = pair(listener, {values})"
    ));
    program
}
