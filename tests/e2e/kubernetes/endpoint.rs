//! The component metrics-endpoint: what it adds, and the port of a pod.

use super::image::image;
use super::node::Node;
use super::{METRICS_ENDPOINT, Manifests, TO_JSON, run_successfully, tool};
use crate::support::process::{LIMIT, eventually};
use crate::support::{find_program, repository};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn component_metrics_endpoint_adds_a_port_and_opens_it() {
    manifests!();
    let base = Manifests::with(&[]);
    let with_endpoint = Manifests::with(&[METRICS_ENDPOINT]);
    let mut expected = base.object("DaemonSet").clone();
    let template = &mut expected["spec"]["template"];
    for (name, value) in [("scrape", "true"), ("port", "9464"), ("path", "/metrics")] {
        template["metadata"]["annotations"][format!("prometheus.io/{name}")] = json!(value);
    }
    let container = &mut template["spec"]["containers"][0];
    container["ports"] = json!([{"name": "metrics", "containerPort": 9464, "protocol": "TCP"}]);
    let arguments = container["args"].as_array_mut().expect("a list");
    arguments.extend(["--metrics-listen", "0.0.0.0:9464"].map(Value::from));
    assert_eq!(with_endpoint.object("DaemonSet"), &expected);

    let added: Vec<&Value> = with_endpoint
        .objects
        .iter()
        .filter(|object| object["kind"] != "DaemonSet" && !base.objects.contains(object))
        .collect();
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "metrics", "namespace": "keepalive"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": "metrics"}]}],
        },
    });
    assert_eq!(added, [&policy]);
    assert_eq!(with_endpoint.objects.len(), base.objects.len() + 1);
}

/// The operator's object is not in the schemas of Kubernetes.
#[test]
fn pod_monitor_selects_the_pods_and_their_port() {
    manifests!();
    let file = repository().join("packaging/monitoring/keepalive-podmonitor.yaml");
    let mut command = Command::new(tool("python"));
    let objects: Value =
        serde_json::from_str(&run_successfully(command.args(["-c", TO_JSON]).arg(file))).expect("JSON");
    let monitor = &objects[0];
    let manifests = Manifests::with(&[METRICS_ENDPOINT]);
    let daemon_set = manifests.object("DaemonSet");
    assert_eq!(monitor["metadata"]["namespace"], daemon_set["metadata"]["namespace"]);
    let labels = &daemon_set["spec"]["template"]["metadata"]["labels"];
    let selected = &monitor["spec"]["selector"]["matchExpressions"][0];
    let names = selected["values"].as_array().expect("a list");
    assert!(
        names.contains(&labels[selected["key"].as_str().expect("a label")]),
        "{selected}"
    );
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["port"], manifests.container()["ports"][0]["name"]);
    assert_eq!(endpoint["path"], "/metrics");
}

#[test]
fn pod_serves_its_metrics_on_the_port_of_the_component() {
    node!();
    if find_program("curl").is_none() {
        skip!("curl is not installed");
    }
    let manifests = Manifests::with(&[METRICS_ENDPOINT]);
    let policy = manifests.object("ConfigMap")["data"]["keepalive.conf"].as_str();
    let node = Node::new(policy.expect("a text"));
    let mut pod = node.pod("kubepods.slice", "pod");
    let container = manifests.ready(image(), &node);
    pod.opens();
    let port = &manifests.container()["ports"][0]["containerPort"];
    let get = format!("ip link set lo up && curl --silent --fail --max-time 60 http://127.0.0.1:{port}/metrics");
    eventually("the connection", LIMIT, || {
        let metrics = run_successfully(container.in_its_network().args(["sh", "-c", &get]));
        let line = "keepalive_cgroup_connections_total{cgroup=\"/kubepods.slice\",number=\"0\",\
                    rule=\"default idle=60s interval=15s count=5\"} 2\n";
        metrics.contains(line).then_some(())
    });
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
}
