//! The container of the component nri, with a runtime of the test (`targets/nri_runtime.py`).

use super::image::image;
use super::node::Node;
use super::{Manifests, NRI, words};
use crate::support::line_peer::LinePeer;
use crate::support::process::{LIMIT, eventually, text};
use crate::support::{PYTHON, repository};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// Returns the pod with the container of the component alone, and with this directory in place of the node's and of the ConfigMap's.
fn pod(manifests: &Manifests, files: &TempDir) -> Value {
    let mut pod = manifests.pod().clone();
    pod["containers"].as_array_mut().expect("a list").remove(0);
    for volume in pod["volumes"].as_array_mut().expect("a list") {
        if ["nri", "pods"].map(Value::from).contains(&volume["name"]) {
            *volume = json!({"name": volume["name"], "hostPath": {"path": files.path()}});
        }
    }
    pod
}

#[test]
fn container_is_ready_while_the_runtime_has_its_plugin() {
    node!();
    python!();
    let manifests = Manifests::with(&[NRI]);
    let files = TempDir::new().expect("a temporary directory");
    fs::write(files.path().join("pods.conf"), "namespace batch off\n").expect("a file of the test");
    let pod = pod(&manifests, &files);
    let node = Node::new("default idle=60s\n");
    let mut container = node.run(image(), &pod, &words(&pod["containers"][0]["args"]));
    container.wait_for_log("waiting for the runtime at /var/run/nri/nri.sock");
    let probe = container.probe(&pod);
    assert_eq!(probe.status.code(), Some(1), "{probe:?}");
    let expected = "keepalive: not ready: waiting for the runtime at /var/run/nri/nri.sock: No such file or directory";
    assert!(text(&probe.stderr).starts_with(expected), "{probe:?}");

    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(repository().join("tests/targets/nri_runtime.py"));
    let socket = files.path().join("nri.sock");
    let mut runtime = LinePeer::start(command.arg(&socket).arg("calls"));
    runtime.send_line(&json!({"plugins": 1}).to_string());
    assert_eq!(runtime.answer(), "1");
    container.wait_until_ready(&pod);

    drop(runtime);
    eventually("that it is not ready", LIMIT, || {
        (!container.probe(&pod).status.success()).then_some(())
    });
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
}
