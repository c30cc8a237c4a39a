//! A Python program that does what it is told (`targets/py_peer.py`), in whatever surroundings.

use super::PYTHON;
use super::line_peer::LinePeer;
use super::observe::{family, has};
use super::process::wrapped;
use std::env;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The program. Its line_peer is for what is told without waiting for the answer.
pub struct PyPeer(pub LinePeer);

impl PyPeer {
    pub fn start() -> Self {
        Self::under(&[])
    }

    /// `wrapper` is a command that becomes the program.
    pub fn under(wrapper: &[&str]) -> Self {
        Self::run(Path::new(PYTHON), wrapper)
    }

    /// By another name of the interpreter.
    pub fn called(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(name);
        symlink(PYTHON, &path).expect("a link in a directory of ours");
        Self::run(&path, &[])
    }

    /// In a network of its own, where 192.0.2.0/24 is silent.
    pub fn in_a_network() -> Self {
        const PREPARE: &str = r#"ip link set lo up && ip route add 192.0.2.0/24 dev lo && exec "$@""#;
        Self::under(&["unshare", "--net", "sh", "-c", PREPARE, "sh"])
    }

    /// The first process among its own, with a network of its own.
    pub fn in_a_world(wrapper: &[&str]) -> Self {
        const WORLD: [&str; 6] = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
        const PREPARE: [&str; 4] = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
        Self::under(&[&WORLD[..], &PREPARE, wrapper].concat())
    }

    /// Another one in the network of this one.
    pub fn beside(&self) -> Self {
        Self::under(&["nsenter", &format!("--net=/proc/{}/ns/net", self.pid())])
    }

    fn run(python: &Path, wrapper: &[&str]) -> Self {
        let mut command = wrapped(wrapper, python);
        command
            .args(["-I", "-S", "-c", include_str!("../../targets/py_peer.py")])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            // Where an ordinary user may be.
            .current_dir("/");
        let mut py_peer = Self(LinePeer::start(&mut command));
        // From now on the wrapper is the program.
        py_peer.does("");
        py_peer
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The command that brings others to where this first process is.
    pub fn world(&self) -> Vec<String> {
        let first = family(self.pid())[1];
        let words = ["nsenter", &format!("--target={first}"), "--net", "--pid", "--mount"];
        words.map(String::from).to_vec()
    }

    /// The value of an expression that it was told.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        let answer = self.0.answer();
        assert!(is_value(&answer), "{answer}");
        answer
    }

    /// Returns the value of an expression.
    #[must_use]
    #[track_caller]
    pub fn ask(&mut self, expression: &str) -> String {
        self.0.tell(expression);
        let answer = self.0.answer();
        assert!(is_value(&answer), "{expression}: {answer}");
        answer
    }

    #[track_caller]
    pub fn number(&mut self, expression: &str) -> u64 {
        let answer = self.ask(expression);
        answer.parse().unwrap_or_else(|_| panic!("{expression}: {answer}"))
    }

    /// Executes lines of Python.
    #[track_caller]
    pub fn does(&mut self, lines: &str) {
        // An ASCII string reads the same in both languages.
        assert_eq!(self.ask(&format!("exec({lines:?})")), "None");
    }

    /// The descriptors of these, by their names in the program.
    #[track_caller]
    pub fn fds<const N: usize>(&mut self, names: [&str; N]) -> [i32; N] {
        let answer = self.ask(&format!("fds({})", names.join(", ")));
        let fds: Vec<i32> = answer.split(' ').map(|fd| fd.parse().expect("a number")).collect();
        fds.try_into().expect("as many as names")
    }

    /// What the socket of this name has (see [`has`]).
    #[track_caller]
    pub fn has(&mut self, name: &str) -> String {
        let [fd] = self.fds([name]);
        has(self.pid(), fd)
    }

    #[track_caller]
    pub fn assert_talks(&mut self, one: &str, other: &str) {
        assert_eq!(self.ask(&format!("talks({one}, {other})")), "True");
    }

    pub fn sysctl(&mut self, name: &str, value: u32) {
        self.does(&format!("open('/proc/sys/net/ipv4/{name}', 'w').write('{value}')"));
    }
}

fn is_value(answer: &str) -> bool {
    !answer.is_empty() && !answer.starts_with("error: ")
}
