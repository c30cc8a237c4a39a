//! A Python program that tests control step by step (`targets/py_peer.py`), under any wrapper.

use super::PYTHON;
use super::line_peer::LinePeer;
use super::observe::{family, has};
use super::process::wrapped;
use std::env;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The program. Its `LinePeer` is for expressions whose answer is not awaited immediately.
pub struct PyPeer(pub LinePeer);

impl PyPeer {
    pub fn start() -> Self {
        Self::under(&[])
    }

    /// Starts the program. `wrapper` is a command that executes its arguments.
    pub fn under(wrapper: &[&str]) -> Self {
        Self::run(Path::new(PYTHON), wrapper)
    }

    /// Starts the program with another name of the interpreter.
    pub fn called(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(name);
        symlink(PYTHON, &path).expect("a link in a directory of the test");
        Self::run(&path, &[])
    }

    /// Starts the program in its own network, where 192.0.2.0/24 does not answer.
    pub fn in_own_network() -> Self {
        const PREPARE: &str = r#"ip link set lo up && ip route add 192.0.2.0/24 dev lo && exec "$@""#;
        Self::under(&["unshare", "--net", "sh", "-c", PREPARE, "sh"])
    }

    /// Starts the program as the first process of its own pid namespace, with its own network.
    pub fn in_pid_namespace(wrapper: &[&str]) -> Self {
        const NAMESPACES: [&str; 6] = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
        const PREPARE: [&str; 4] = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
        Self::under(&[&NAMESPACES[..], &PREPARE, wrapper].concat())
    }

    /// Starts another program in the network of this one.
    pub fn in_same_network(&self) -> Self {
        Self::under(&["nsenter", &format!("--net=/proc/{}/ns/net", self.pid())])
    }

    fn run(python: &Path, wrapper: &[&str]) -> Self {
        let mut command = wrapped(wrapper, python);
        command
            .args(["-I", "-S", "-c", include_str!("../../targets/py_peer.py")])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            // A directory that is accessible to ordinary users.
            .current_dir("/");
        let mut py_peer = Self(LinePeer::start(&mut command));
        // After this answer, the wrapper has executed the program.
        py_peer.execute("");
        py_peer
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Returns a command prefix that runs commands in the namespaces of this program.
    pub fn enter_namespaces(&self) -> Vec<String> {
        let first = family(self.pid())[1];
        let words = ["nsenter", &format!("--target={first}"), "--net", "--pid", "--mount"];
        words.map(String::from).to_vec()
    }

    /// Returns the value of an expression that was sent with `send_line`.
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
        self.0.send_line(expression);
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
    pub fn execute(&mut self, lines: &str) {
        // Rust's debug format of an ASCII string is also valid Python.
        assert_eq!(self.ask(&format!("exec({lines:?})")), "None");
    }

    /// Returns the descriptors of sockets, by their names in the program.
    #[track_caller]
    pub fn fds<const N: usize>(&mut self, names: [&str; N]) -> [i32; N] {
        let answer = self.ask(&format!("fds({})", names.join(", ")));
        let fds: Vec<i32> = answer.split(' ').map(|fd| fd.parse().expect("a number")).collect();
        fds.try_into().expect("as many as names")
    }

    /// Returns the options of the socket with this name (see [`has`]).
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
        self.execute(&format!("open('/proc/sys/net/ipv4/{name}', 'w').write('{value}')"));
    }
}

fn is_value(answer: &str) -> bool {
    !answer.is_empty() && !answer.starts_with("error: ")
}
