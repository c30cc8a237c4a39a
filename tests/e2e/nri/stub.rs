//! Pods of a runtime that speaks the published protocol and does nothing else (`targets/nri_runtime.py`).

use super::{Plugin, Pod, Runtime, policies};
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, eventually};
use crate::support::target::KERNEL_DEFAULTS;
use crate::support::test_cgroup::TestCgroup;
use crate::support::{PYTHON, repository};
use keepalive_sys::cgroup;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// The runtime.
pub(super) struct Stub<'a> {
    test_cgroup: &'a TestCgroup,
    files: TempDir,
    peer: LinePeer,
    /// The number of sandboxes so far.
    sandboxes: usize,
}

impl<'a> Stub<'a> {
    /// Starts the runtime with these options.
    pub(super) fn start(test_cgroup: &'a TestCgroup, options: &[&str]) -> Self {
        let files = TempDir::new().expect("a temporary directory");
        let mut command = test_cgroup.inside(PYTHON);
        command.arg("-B").arg(repository().join("tests/targets/nri_runtime.py"));
        command.arg(files.path().join("nri.sock")).args(options);
        Self {
            peer: LinePeer::start(&mut command),
            test_cgroup,
            files,
            sandboxes: 0,
        }
    }

    /// Starts a plugin, and waits until it has been told all pods.
    pub(super) fn start_plugin(&mut self, options: &[&str]) -> Plugin {
        let plugin = Plugin::start(self.test_cgroup, &self.socket(), options);
        self.wait_for_plugins(1);
        plugin
    }

    /// Waits until this number of plugins is connected.
    pub(super) fn wait_for_plugins(&mut self, number: usize) {
        assert_eq!(self.call(&json!({"plugins": number})), number.to_string());
    }

    /// Calls the plugins. Returns how many have answered.
    #[track_caller]
    pub(super) fn call(&mut self, request: &Value) -> String {
        self.peer.send_line(&request.to_string());
        let answer = self.peer.answer();
        assert_ne!(answer, "", "the runtime has ended: {request}");
        answer
    }
}

impl Runtime for Stub<'_> {
    fn socket(&self) -> PathBuf {
        self.files.path().join("nri.sock")
    }

    fn run(&mut self, pod: &Pod) -> String {
        self.sandboxes += 1;
        let id = format!("sandbox{}", self.sandboxes);
        let about = json!({
            "id": id, "name": pod.name, "uid": pod.uid, "namespace": pod.namespace, "labels": pod.labels,
            "annotations": pod.annotations, "cgroup": self.test_cgroup.name_of(&pod.directory), "pid": 4242,
        });
        self.call(&json!({"run": about}));
        id
    }

    fn stop(&mut self, sandbox: &str) {
        self.call(&json!({"stop": sandbox}));
    }

    fn remove(&mut self, sandbox: &str) {
        self.call(&json!({"remove": sandbox}));
    }
}

fn policy(name: &str, default: &str) -> [String; 3] {
    ["in-force", &format!("pod shop/{name}"), default].map(str::to_owned)
}

#[test]
fn pod_has_its_policy_when_the_runtime_continues() {
    for style in ["calls", "state"] {
        let test_cgroup = test_cgroup!();
        python!();
        let mut runtime = Stub::start(&test_cgroup, &[style]);
        let _plugin = runtime.start_plugin(&[]);
        let pod = Pod::new(&test_cgroup, "web", Some("idle=61s interval=13s count=4"));
        let sandbox = runtime.run(&pod);
        assert_eq!(policies(&test_cgroup), [policy("web", "idle=61s interval=13s count=4")]);
        let mut program = test_cgroup.py_peer_in(&pod.directory, &[]);
        program.execute("client, accepted = pair(listen())");
        assert_eq!(program.has("client"), "1 61 13 4 0");
        runtime.stop(&sandbox);
        assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
        runtime.remove(&sandbox);
    }
}

#[test]
fn capabilities_of_the_component_suffice() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let capabilities = "--bounding-set=-all,+bpf,+net_admin,+perfmon";
    let wrapper = ["setpriv", "--no-new-privs", "--inh-caps=-all", capabilities];
    let plugin = Plugin::under(&wrapper, &test_cgroup, &runtime.socket(), &[]);
    runtime.wait_for_plugins(1);
    let pod = Pod::new(&test_cgroup, "web", Some("idle=61s mode=enforce"));
    let sandbox = runtime.run(&pod);
    assert_eq!(policies(&test_cgroup), [policy("web", "idle=61s mode=enforce")]);
    runtime.stop(&sandbox);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    assert_eq!(plugin.end(Signal::TERM), Some(0));
}

#[test]
fn removal_of_an_old_sandbox_leaves_the_policy_of_the_new_one() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let plugin = runtime.start_plugin(&[]);
    let pod = Pod::new(&test_cgroup, "web", Some("idle=61s"));
    let old = runtime.run(&pod);
    runtime.stop(&old);
    runtime.run(&pod);
    runtime.remove(&old);
    assert_eq!(policies(&test_cgroup), [policy("web", "idle=61s")]);
    let programs = test_cgroup.programs(&pod.directory);
    // A plugin that starts leaves what is right, with its counters.
    plugin.end(Signal::TERM);
    let mut plugin = runtime.start_plugin(&[]);
    runtime.run(&Pod::new(&test_cgroup, "other", Some("idle=31s")));
    plugin.wait_for("pod shop/other: active");
    assert_eq!(test_cgroup.programs(&pod.directory), programs);
}

#[test]
fn policy_of_an_old_sandbox_does_not_stay_for_a_new_one_without() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let _plugin = runtime.start_plugin(&[]);
    let mut pod = Pod::new(&test_cgroup, "web", Some("idle=61s"));
    runtime.run(&pod);
    assert_eq!(policies(&test_cgroup), [policy("web", "idle=61s")]);
    // The runtime has not reported the end of the first sandbox.
    pod.annotations = json!({});
    runtime.run(&pod);
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
}

#[test]
fn files_are_followed_and_mistakes_change_nothing() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let [pods, config] = ["pods.conf", "keepalive.conf"].map(|name| runtime.files.path().join(name));
    fs::write(&pods, "label app=db idle=31s\n").expect("a file of the test");
    fs::write(&config, "default interval=7s count=3\n").expect("a file of the test");
    let options = [
        "--pods",
        pods.to_str().expect("UTF-8"),
        "--config",
        config.to_str().expect("UTF-8"),
    ];
    let mut plugin = runtime.start_plugin(&options);
    let pod = Pod {
        labels: json!({"app": "db"}),
        ..Pod::new(&test_cgroup, "db", None)
    };
    runtime.run(&pod);
    assert_eq!(policies(&test_cgroup), [policy("db", "idle=31s interval=7s count=3")]);
    fs::write(&pods, "label app=db idle=30x\n").expect("a file of the test");
    let mistake = plugin.wait_for("pods.conf:1: ");
    assert!(
        mistake.ends_with(":1: 'idle=30x': unknown unit after the number"),
        "{mistake}"
    );
    fs::write(&pods, "label app=db idle=32s\n").expect("a file of the test");
    plugin.wait_for("pod shop/db: replaced");
    assert_eq!(policies(&test_cgroup), [policy("db", "idle=32s interval=7s count=3")]);
    fs::write(&pods, "label app=web idle=32s\n").expect("a file of the test");
    plugin.wait_for(": disabled");
    assert_eq!(policies(&test_cgroup), [[""; 3]; 0]);
}

#[test]
fn cgroup_that_is_not_the_pods_own_gets_no_policy() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls"]);
    let mut plugin = runtime.start_plugin(&[]);
    let good = Pod::new(&test_cgroup, "web", Some("idle=61s"));
    for directory in [
        test_cgroup.directory().to_owned(),
        test_cgroup
            .directory()
            .join("missing-6a1b77c0-0000-4000-8000-000000000web"),
    ] {
        let pod = Pod {
            directory,
            ..good.clone()
        };
        runtime.run(&pod);
        plugin.wait_for("keepalive: pod shop/web has no policy of its own: ");
    }
    let short = Pod {
        uid: "web".to_owned(),
        ..good.clone()
    };
    runtime.run(&short);
    plugin.wait_for("is not named by its UID");
    assert!(test_cgroup.pins().is_empty(), "{:?}", test_cgroup.pins());
    let mut program = test_cgroup.py_peer_in(&good.directory, &[]);
    program.execute("client, accepted = pair(listen())");
    assert_eq!(program.has("client"), KERNEL_DEFAULTS);
}

#[test]
fn policies_of_pods_that_end_without_a_plugin_are_removed() {
    let test_cgroup = test_cgroup!();
    python!();
    let mut runtime = Stub::start(&test_cgroup, &["calls", "1"]);
    let plugin = runtime.start_plugin(&[]);
    let [gone, left] = ["gone", "left"].map(|name| Pod::new(&test_cgroup, name, Some("idle=61s")));
    let sandbox = runtime.run(&gone);
    runtime.run(&left);
    // A policy of a user is none of the plugin's.
    test_cgroup.enable(&["--idle=41"]);
    plugin.end(Signal::KILL);
    runtime.wait_for_plugins(0);
    runtime.stop(&sandbox);
    runtime.remove(&sandbox);
    cgroup::remove(&gone.directory).expect("nothing is in it");
    let _plugin = runtime.start_plugin(&[]);
    let node = ["in-force", "", "idle=41s"].map(str::to_owned);
    eventually("the policy of the ended pod is removed", LIMIT, || {
        (policies(&test_cgroup) == [node.clone(), policy("left", "idle=61s")]).then_some(())
    });
}
