//! `keepalive trace`: what ends connections, through a real NAT that forgets (scripts/lab).

use crate::support::line_peer::LinePeer;
use crate::support::observe::family;
use crate::support::process::{LIMIT, eventually};
use crate::support::py_peer::PyPeer;
use crate::support::{keepalive, repository};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::Command;
use std::sync::RwLock;

mod causes;
mod lifetime;
mod load;
mod owners;
mod summary;
mod usage;

/// A trace sees all connections of the machine: no other test traces while [`load`] ends very many.
pub(crate) static LOAD: RwLock<()> = RwLock::new(());

/// Skips a test if this machine cannot trace, and keeps the load of [`LOAD`] away until the test ends.
macro_rules! traceable {
    () => {
        crate::trace::traceable!(read);
    };
    ($lock:ident) => {
        root!();
        python!();
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            skip!("this kernel does not publish its types (BTF)");
        }
        let _load = crate::trace::LOAD
            .$lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    };
}
pub(crate) use traceable;

/// `keepalive trace` with JSON output.
pub(crate) struct Tracer(LinePeer, Vec<Value>);

impl Tracer {
    /// Starts it, and waits until it traces.
    pub(crate) fn start(options: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(keepalive());
        let mut tracer = Self(
            LinePeer::start(command.args(["trace", "--json"]).args(options)),
            Vec::new(),
        );
        let line = tracer.0.answer();
        assert!(line.starts_with("keepalive: tracing "), "{line}");
        tracer
    }

    /// Waits for the end of a connection with this text in its line.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        loop {
            let line = self.0.answer();
            assert!(!line.is_empty(), "it has ended");
            let object = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            self.1.push(object);
            if line.contains(text) {
                return;
            }
        }
    }

    /// Ends it by `signal`, and returns the objects and the other lines that it has printed.
    pub(crate) fn end(mut self, signal: Signal) -> (Vec<Value>, String) {
        let pid = Pid::from_raw(self.0.pid().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it runs");
        self.rest()
    }

    /// Returns what it prints until it ends.
    fn rest(&mut self) -> (Vec<Value>, String) {
        let (mut objects, mut text) = (std::mem::take(&mut self.1), String::new());
        // An empty line is in the summary, which the number of its connections follows.
        let mut empty = 0;
        while empty < 2 {
            let line = self.0.answer();
            match serde_json::from_str(&line) {
                Ok(object) => objects.push(object),
                Err(_) => text += &(line.clone() + "\n"),
            }
            empty = if line.is_empty() { empty + 1 } else { 0 };
        }
        assert!(self.0.wait_for_end().success(), "{text}");
        (objects, text)
    }
}

/// A running laboratory, whose network namespaces programs of the test enter.
pub(crate) struct Lab(LinePeer);

impl Lab {
    /// Starts a laboratory whose NAT forgets after `timeout` seconds; returns the reason if that is impossible here.
    pub(crate) fn start(timeout: &str, on_forget: &str) -> Result<Self, String> {
        let mut command = Command::new(repository().join("scripts/lab"));
        command.args(["--timeout", timeout, "--on-forget", on_forget]);
        command.args(["--", "sh", "-c", "echo ready; exec cat"]);
        let mut lab = LinePeer::start(&mut command);
        match lab.answer().as_str() {
            "ready" => Ok(Self(lab)),
            _ => Err(format!("scripts/lab ends with {}", lab.wait_for_end())),
        }
    }

    /// Starts a Python program in a namespace, as a child of this process.
    fn program(&self, namespace: &str) -> PyPeer {
        self.program_under(namespace, &[])
    }

    /// The same, under a command that executes its arguments.
    fn program_under(&self, namespace: &str, wrapper: &[&str]) -> PyPeer {
        let enter = self.enter(namespace);
        PyPeer::under(&[&enter.each_ref().map(String::as_str), wrapper].concat())
    }

    /// Returns the command that executes its arguments in a network namespace.
    pub(crate) fn enter(&self, namespace: &str) -> [String; 2] {
        let file = eventually("the namespace", LIMIT, || {
            let inside = *family(self.0.pid()).last()?;
            let file = format!("/proc/{inside}/root/run/netns/{namespace}");
            std::path::Path::new(&file).exists().then_some(file)
        });
        [String::from("nsenter"), format!("--net={file}")]
    }
}

/// Returns the only object with these values.
#[track_caller]
fn only<'a>(objects: &'a [Value], wanted: &[(&str, Value)]) -> &'a Value {
    let is_wanted = |object: &&Value| wanted.iter().all(|(name, value)| object[*name] == *value);
    let found: Vec<&Value> = objects.iter().filter(is_wanted).collect();
    assert_eq!(found.len(), 1, "{wanted:?} in {objects:#?}");
    found[0]
}
