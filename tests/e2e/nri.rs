//! `keepalive nri`: policies of pods, as a plugin of their runtime. The tests read options from sockets in the cgroups of
//! the pods.

mod churn;
mod containerd;
mod readiness;
mod stub;

use crate::support::keepalive;
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, eventually, text};
use crate::support::test_cgroup::TestCgroup;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A running plugin, and its log.
struct Plugin(LinePeer);

impl Plugin {
    fn start(test_cgroup: &TestCgroup, socket: &Path, options: &[&str]) -> Self {
        Self::under(&[], test_cgroup, socket, options)
    }

    /// Starts the plugin under a command that changes its permissions.
    fn under(wrapper: &[&str], test_cgroup: &TestCgroup, socket: &Path, options: &[&str]) -> Self {
        let mut command = test_cgroup.inside("sh");
        command
            .args(["-c", "exec \"$@\" 2>&1", "sh"])
            .args(wrapper)
            .arg(keepalive());
        command.arg("nri").arg("--socket").arg(socket).args(options);
        Self(LinePeer::start(&mut command))
    }

    /// Waits for a line that contains this text, and returns the line.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line = self.0.answer();
            assert_ne!(line, "", "the plugin has ended");
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.pid().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("a child of the test");
    }

    /// Ends the plugin. Returns its exit status.
    fn end(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.0.wait_for_end().code()
    }
}

/// Asks the plugin of this mount namespace, as the probe of the component does. Returns what `--status` prints if the plugin is
/// ready, and else the error.
fn status(test_cgroup: &TestCgroup, socket: &Path) -> Result<String, String> {
    let socket = socket.to_str().expect("UTF-8");
    let output = test_cgroup.output(&["nri", "--status", "--socket", socket]);
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(1) => Err(text(&output.stderr)),
        _ => panic!("{output:?}"),
    }
}

/// Waits until the plugin is ready. Returns what `--status` prints.
#[track_caller]
fn wait_until_ready(test_cgroup: &TestCgroup, socket: &Path) -> String {
    eventually("that it is ready", LIMIT, || status(test_cgroup, socket).ok())
}

/// Waits until the plugin is not ready for this reason.
#[track_caller]
fn wait_until_unready(test_cgroup: &TestCgroup, socket: &Path, reason: &str) {
    eventually(reason, LIMIT, || {
        let error = status(test_cgroup, socket).err()?;
        error
            .starts_with(&format!("keepalive: not ready: {reason}"))
            .then_some(())
    });
}

/// A pod, as a kubelet describes it to its runtime.
#[derive(Clone, Debug)]
struct Pod {
    name: String,
    uid: String,
    namespace: &'static str,
    labels: Value,
    annotations: Value,
    directory: PathBuf,
}

impl Pod {
    /// Creates the cgroup of a pod, as a kubelet does before it calls the runtime.
    fn new(test_cgroup: &TestCgroup, name: &str, policy: Option<&str>) -> Self {
        let uid = format!("6a1b77c0-0000-4000-8000-{name:0>12}");
        Self {
            directory: test_cgroup.child(&format!("pod{uid}")),
            uid,
            name: name.to_owned(),
            namespace: "shop",
            labels: json!({}),
            annotations: policy.map_or(json!({}), |policy| json!({"keepalive.io/policy": policy})),
        }
    }
}

/// A container runtime, as a kubelet uses it.
trait Runtime {
    /// Returns the socket for plugins.
    fn socket(&self) -> PathBuf;
    /// Creates and starts a sandbox of the pod. Returns its id.
    fn run(&mut self, pod: &Pod) -> String;
    fn stop(&mut self, sandbox: &str);
    fn remove(&mut self, sandbox: &str);
}

/// Returns the state, owner and default of the policy in each cgroup, as `status --json` reports them.
fn policies(test_cgroup: &TestCgroup) -> Vec<[String; 3]> {
    let report = test_cgroup.report();
    let cgroups = report["cgroups"].as_array().expect("a list").iter();
    let fields =
        |cgroup: &Value| ["state", "owner", "default"].map(|name| cgroup[name].as_str().unwrap_or("").to_owned());
    let mut found: Vec<_> = cgroups.map(fields).collect();
    found.sort();
    found
}
