//! The image, run according to the manifests, on a node with changing pods.

use super::image::{Image, bring, files, image};
use super::node::{Container, Node};
use super::{CGROUPFS, EXISTING, METRICS, Manifests, run_successfully, words};
use crate::support::process::{LIMIT, eventually, text};
use crate::support::repository;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

mod update;

/// The options of both ends of a connection: without a policy, and under the policies of these tests.
const KERNEL_DEFAULTS: [&str; 2] = ["0 7200 75 9"; 2];
const BASE: [&str; 2] = ["1 60 15 5"; 2];
const OTHER: [&str; 2] = ["1 61 13 4"; 2];

const OTHER_POLICY: &str = "default idle=61s interval=13s count=4\n";

/// A thread that opens connections until it is stopped, and records whether both ends have keepalive.
const OPEN_CONNECTIONS: &str = "
opened, goes_on = [], [True]
def open_connections():
    while goes_on:
        ends = pair(listener)
        opened.append([end.getsockopt(SOL, 9) for end in ends])
        for end in ends:
            end.close()
thread = threading.Thread(target=open_connections, daemon=True)
thread.start()
";

/// Creates a node with the base's policy, and the manifests with these components.
fn prepare(components: &[&str]) -> (Manifests, Node) {
    let manifests = Manifests::with(components);
    let policy = manifests.object("ConfigMap")["data"]["keepalive.conf"].as_str();
    let node = Node::new(policy.expect("a text"));
    (manifests, node)
}

impl Manifests {
    /// Starts the manifest's pod on this node.
    fn run<'a>(&self, image: &Image, node: &'a Node) -> Container<'a> {
        node.run(image, self.pod(), &words(&self.container()["args"]))
    }

    /// Starts the pod and waits until it is ready.
    #[track_caller]
    pub(super) fn ready<'a>(&self, image: &Image, node: &'a Node) -> Container<'a> {
        let mut container = self.run(image, node);
        container.wait_until_ready(self.pod());
        container
    }

    /// Runs the pod's command with other arguments, in a pod of its own, until it ends.
    #[track_caller]
    fn once(&self, image: &Image, node: &Node, arguments: &[&str]) -> String {
        let (status, log) = node.run(image, self.pod(), arguments).wait_for_end();
        assert!(status.success(), "{arguments:?}: {log}");
        log
    }
}

#[test]
fn image_contains_only_the_command_and_its_licences() {
    node!();
    let image = image();
    assert_eq!(
        files(image),
        [
            "usr/bin/keepalive",
            "usr/share/doc/keepalive/LICENSE-APACHE",
            "usr/share/doc/keepalive/LICENSE-MIT"
        ]
    );
    assert_eq!(image.config["Entrypoint"], json!(["keepalive"]));
    assert_eq!(image.config["User"], "0:0");
    let label = |name: &str| &image.config["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!(label("licenses"), "MIT OR Apache-2.0");
    let directory = TempDir::new().expect("a temporary directory");
    let command = directory.path().join("keepalive");
    bring(image, &command);
    let version = run_successfully(Command::new(&command).arg("--version"));
    assert_eq!(version.trim_end().rsplit(' ').next(), label("version").as_str());
    let kind = run_successfully(Command::new("readelf").arg("--program-headers").arg(&command));
    assert!(!kind.contains("INTERP"), "it needs a loader: {kind}");
}

/// docs/kubernetes.md: "4.6 MB, 2.1 MB compressed".
#[test]
fn image_has_about_the_documented_size() {
    node!();
    let page = fs::read_to_string(repository().join("docs/kubernetes.md")).expect("a page");
    let line = page
        .lines()
        .find(|line| line.starts_with("The image contains "))
        .expect("the sentence");
    let documented: Vec<f64> = line.split([' ', ':']).filter_map(|word| word.parse().ok()).collect();
    let archive = repository().join("target/image/keepalive.tar");
    let mut compress = Command::new("sh");
    compress
        .args(["-c", r#"cat "$0" | wc -c && gzip -c "$0" | wc -c"#])
        .arg(archive);
    image();
    let sizes = run_successfully(&mut compress);
    let sizes: Vec<f64> = sizes
        .lines()
        .map(|size| size.trim().parse().expect("a number"))
        .collect();
    assert_eq!((documented.len(), sizes.len()), (2, 2), "{line}");
    for (documented, bytes) in documented.iter().zip(sizes) {
        let megabytes = bytes / 1e6;
        assert!(
            (megabytes - documented).abs() < 0.1 * documented,
            "{megabytes} MB, but: {line}"
        );
    }
}

#[test]
fn new_pods_have_the_policy() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut early = node.pod("kubepods.slice", "early");
    let container = manifests.ready(image(), &node);
    assert_eq!(early.opens(), BASE);
    let mut late = node.pod("kubepods.slice", "late");
    assert_eq!(late.opens(), BASE);
    drop(early);
    assert_eq!(late.opens(), BASE);
    let mut elsewhere = node.pod("system.slice", "daemon");
    assert_eq!(elsewhere.opens(), KERNEL_DEFAULTS);
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
}

#[test]
fn pod_is_ready_as_soon_as_the_pods_cgroup_exists() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut container = manifests.run(image(), &node);
    container.wait_for_log("kubepods.slice");
    let probe = container.probe(manifests.pod());
    assert_eq!(probe.status.code(), Some(1), "{probe:?}");
    let mut pod = node.pod("kubepods.slice", "first");
    container.wait_until_ready(manifests.pod());
    assert_eq!(pod.opens(), BASE);
    let log = container.log();
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn new_policy_is_applied_without_a_restart_unless_it_has_a_mistake() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let mut container = manifests.ready(image(), &node);
    assert_eq!(pod.opens(), BASE);

    node.publish(OTHER_POLICY);
    eventually("the new policy", LIMIT, || (pod.opens() == OTHER).then_some(()));
    container.wait_until_ready(manifests.pod());

    // The kubelet shows the output of a failing probe as an event.
    node.publish("default idle=61s\nconnect * idle=0s\n");
    container.wait_for_log("/etc/keepalive/keepalive.conf:2:11");
    let probe = eventually("a failing probe", LIMIT, || {
        let probe = container.probe(manifests.pod());
        (!probe.status.success()).then_some(probe)
    });
    let message = text(&probe.stderr);
    assert!(message.contains("/etc/keepalive/keepalive.conf:2:11: "), "{message}");
    assert_eq!(pod.opens(), OTHER);

    node.publish(
        manifests.object("ConfigMap")["data"]["keepalive.conf"]
            .as_str()
            .expect("a text"),
    );
    eventually("the first policy", LIMIT, || (pod.opens() == BASE).then_some(()));
    container.wait_until_ready(manifests.pod());
}

#[test]
fn component_metrics_writes_a_file_on_the_node() {
    node!();
    let manifests = Manifests::with(&[METRICS]);
    let mut spec = manifests.pod().clone();
    let files = TempDir::new().expect("a temporary directory");
    let volumes = spec["volumes"].as_array_mut().expect("a list");
    let volume = volumes.iter_mut().find(|volume| volume["name"] == "metrics");
    volume.expect("the directory")["hostPath"]["path"] = json!(files.path());
    let policy = manifests.object("ConfigMap")["data"]["keepalive.conf"].as_str();
    let node = Node::new(policy.expect("a text"));
    let _pod = node.pod("kubepods.slice", "pod");
    let mut container = node.run(image(), &spec, &words(&manifests.container()["args"]));
    container.wait_until_ready(&spec);
    let file = files.path().join("keepalive.prom");
    eventually("the metrics", LIMIT, || {
        let metrics = fs::read_to_string(&file).ok()?;
        metrics
            .contains("keepalive_cgroup_policy_active{cgroup=\"/kubepods.slice\"} 1\n")
            .then_some(())
    });
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(fs::read_dir(files.path()).expect("a directory").count(), 0);
}

#[test]
fn policy_with_a_mistake_stops_an_update_and_the_previous_policy_stays() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let _old = manifests.ready(image(), &node);
    node.publish("default idle=0s\n");
    let (status, log) = manifests.run(image(), &node).wait_for_end();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("/etc/keepalive/keepalive.conf:1:9"), "{log}");
    assert_eq!(pod.opens(), BASE);
}

#[test]
fn deleted_pod_leaves_nothing_and_changes_no_connection() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let container = manifests.ready(image(), &node);
    assert_eq!(pod.opens(), BASE);
    assert!(!node.pinned().is_empty(), "nothing is pinned");
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.has(), BASE);
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    assert_eq!(node.pinned(), Vec::<String>::new());
}

#[test]
fn pod_deleted_before_the_cgroup_exists_ends_immediately() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut container = manifests.run(image(), &node);
    container.wait_for_log("kubepods.slice");
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(node.pinned(), Vec::<String>::new());
}

#[test]
fn killed_pod_leaves_the_policy_and_the_next_pod_takes_over() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    manifests.ready(image(), &node).kill();
    assert_eq!(pod.opens(), BASE);

    node.publish(OTHER_POLICY);
    let next = manifests.ready(image(), &node);
    assert_eq!(pod.opens(), OTHER);
    let (status, log) = next.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    assert_eq!(node.pinned(), Vec::<String>::new());
}

#[test]
fn policy_of_a_killed_pod_is_removed_by_one_command() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    manifests.ready(image(), &node).kill();
    manifests.once(image(), &node, &["cgroup", "disable", "/kubepods.slice"]);
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    assert_eq!(node.pinned(), Vec::<String>::new());

    // Removal also works without the command.
    manifests.ready(image(), &node).kill();
    assert_eq!(pod.opens(), BASE);
    run_successfully(node.inside("rm").args(["-r", "/sys/fs/bpf/keepalive"]));
    // The kernel detaches the link of a removed file asynchronously.
    eventually("no policy", LIMIT, || (pod.opens() == KERNEL_DEFAULTS).then_some(()));
}

#[test]
fn policy_of_the_node_applies_without_one_of_the_pods() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let of_the_node = ["cgroup", "enable", "/", "--idle=61", "--interval=13", "--count=4"];
    manifests.once(image(), &node, &of_the_node);
    assert_eq!(pod.opens(), OTHER);
    let container = manifests.ready(image(), &node);
    assert_eq!(pod.opens(), BASE);
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(pod.opens(), OTHER);
}

#[test]
fn recreated_pods_cgroup_has_the_policy() {
    node!();
    let (manifests, node) = prepare(&[]);
    let pod = node.pod("kubepods.slice", "pod");
    let mut container = manifests.ready(image(), &node);
    drop(pod);
    node.remove_cgroup("kubepods.slice");
    let probe = container.probe(manifests.pod());
    assert_eq!(probe.status.code(), Some(1), "{probe:?}");
    let mut pod = node.pod("kubepods.slice", "pod");
    container.wait_until_ready(manifests.pod());
    assert_eq!(pod.opens(), BASE);
}

#[test]
fn component_existing_sets_open_connections() {
    node!();
    let (manifests, node) = prepare(&[EXISTING]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let mut elsewhere = node.pod("system.slice", "daemon");
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    assert_eq!(elsewhere.opens(), KERNEL_DEFAULTS);
    let container = manifests.ready(image(), &node);
    eventually("the policy on an open connection", LIMIT, || {
        (pod.has() == BASE).then_some(())
    });
    pod.program().assert_talks("client", "accepted");
    assert_eq!(elsewhere.has(), KERNEL_DEFAULTS);
    assert_eq!(pod.opens(), BASE);
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
}

/// Returns the component's pod without some of the permissions to inspect other processes.
fn existing_without(take: &dyn Fn(&mut Value)) -> (Manifests, Node, Value) {
    let (manifests, node) = prepare(&[EXISTING]);
    let mut pod = manifests.pod().clone();
    take(&mut pod);
    (manifests, node, pod)
}

#[track_caller]
fn expect_ready_with(log: &str, (manifests, node, spec): &(Manifests, Node, Value)) {
    let mut pod = node.pod("kubepods.slice", "pod");
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    let mut container = node.run(image(), spec, &words(&manifests.container()["args"]));
    container.wait_until_ready(spec);
    container.wait_for_log(log);
    assert_eq!(pod.has(), KERNEL_DEFAULTS);
    assert_eq!(pod.opens(), BASE);
    let (status, log) = container.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(node.pinned(), Vec::<String>::new());
}

#[test]
fn unreachable_open_connections_are_reported_and_new_ones_have_the_policy() {
    node!();
    let without_rights = existing_without(&|pod| {
        let added = &mut pod["containers"][0]["securityContext"]["capabilities"]["add"];
        *added = json!(["BPF", "NET_ADMIN", "PERFMON"]);
    });
    expect_ready_with("out of reach", &without_rights);
    let without_host = existing_without(&|pod| pod["hostPID"] = json!(false));
    expect_ready_with("not of this pid namespace", &without_host);
}

#[test]
fn without_component_existing_open_connections_are_unchanged() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    assert_eq!(pod.opens(), KERNEL_DEFAULTS);
    let _container = manifests.ready(image(), &node);
    assert_eq!(pod.has(), KERNEL_DEFAULTS);
}

#[test]
fn component_cgroupfs_works_with_the_cgroupfs_driver() {
    node!();
    let (manifests, node) = prepare(&[CGROUPFS]);
    let mut pod = node.pod("kubepods", "pod");
    let _container = manifests.ready(image(), &node);
    assert_eq!(pod.opens(), BASE);
}

#[test]
fn base_on_a_cgroupfs_node_names_the_existing_cgroup() {
    node!();
    let (manifests, node) = prepare(&[]);
    let _pod = node.pod("kubepods", "pod");
    let mut container = manifests.run(image(), &node);
    container.wait_for_log("/kubepods is");
    let probe = container.probe(manifests.pod());
    assert_eq!(probe.status.code(), Some(1), "{probe:?}");
}

#[test]
fn permissions_suffice_for_every_feature_of_the_engine() {
    node!();
    let (manifests, node) = prepare(&[]);
    let mut pod = node.pod("kubepods.slice", "pod");
    let container = manifests.ready(image(), &node);
    pod.opens();
    let output = container.exec(&["keepalive", "cgroup", "status", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["obstacle"], Value::Null);
    let cgroup = &status["cgroups"][0];
    assert_eq!(cgroup["cgroup"], "/kubepods.slice");
    assert_eq!(cgroup["state"], "in-force");
    // Reading fields requires CAP_PERFMON.
    assert_eq!(cgroup["reads_fields"], json!(true));
    assert_eq!(cgroup["default_connections"], json!(2), "{cgroup}");
    assert_eq!(cgroup["refused"], json!(0));
}

#[test]
fn missing_bpf_file_system_is_reported_with_a_hint() {
    node!();
    let (manifests, node) = prepare(&[]);
    node.cgroup("kubepods.slice");
    // The machine's own BPF file system is mounted below the node's.
    run_successfully(node.inside("umount").args(["--all", "--types", "bpf"]));
    let (status, log) = manifests.run(image(), &node).wait_for_end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("mount -t bpf bpf /sys/fs/bpf"), "{log}");
}
