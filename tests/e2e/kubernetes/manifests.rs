//! The manifests, checked by Kubernetes' schemas and by the command.

use super::{CGROUPFS, EXISTING, METRICS, METRICS_ENDPOINT, Manifests, NRI, packaging, run_successfully, tool, words};
use crate::support::keepalive;
use crate::support::process::{LIMIT, output_within, text};
use serde_json::{Value, json};
use std::process::Command;

/// Versions before and after containers got a field for AppArmor.
pub(super) const WITHOUT_APPARMOR: [&str; 2] = ["1.25.0", "1.29.0"];
pub(super) const WITH_APPARMOR: [&str; 4] = ["1.30.0", "1.33.0", "1.36.0", "1.37.0"];

const EXAMPLE: &str = "examples/cluster";
const CANARY: &str = "examples/canary";

/// Validates against the schemas of this version, strictly: unknown fields are mistakes.
#[track_caller]
pub(super) fn validate(manifests: &Manifests, version: &str) {
    let mut command = Command::new(tool("kubernetes-validate"));
    command
        .args(["--strict", "--kubernetes-version", version])
        .arg(manifests.path());
    let printed = run_successfully(&mut command);
    let passed = printed.lines().filter(|line| line.contains(" passed ")).count();
    assert_eq!(passed, manifests.objects.len(), "{version}: {printed}");
}

#[test]
fn manifests_are_valid_in_every_documented_version() {
    manifests!();
    for manifests in [
        Manifests::with(&[]),
        Manifests::with(&[CGROUPFS]),
        Manifests::with(&[NRI, CGROUPFS]),
        Manifests::of(EXAMPLE),
    ] {
        for version in WITHOUT_APPARMOR.iter().chain(&WITH_APPARMOR) {
            validate(&manifests, version);
        }
    }
    // Fields that these add are in all versions.
    for manifests in [Manifests::with(&[METRICS, METRICS_ENDPOINT]), Manifests::of(CANARY)] {
        validate(&manifests, WITHOUT_APPARMOR[0]);
    }
    for components in [&[EXISTING][..], &[EXISTING, CGROUPFS], &[EXISTING, NRI]] {
        let manifests = Manifests::with(components);
        for version in &WITH_APPARMOR {
            validate(&manifests, version);
        }
    }
}

#[test]
fn base_has_only_these_permissions() {
    manifests!();
    let base = Manifests::with(&[]);
    let (pod, container) = (base.pod(), base.container());
    for none in ["hostPID", "hostIPC", "hostNetwork", "hostUsers", "initContainers"] {
        assert_eq!(pod[none], Value::Null, "{none}");
    }
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    assert_eq!(
        base.object("ServiceAccount")["automountServiceAccountToken"],
        json!(false)
    );
    assert_eq!(
        pod["securityContext"]["seccompProfile"],
        json!({"type": "RuntimeDefault"})
    );
    assert_eq!(
        container["securityContext"],
        json!({
            "runAsUser": 0,
            "runAsGroup": 0,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"]},
        })
    );
    let mounts = container["volumeMounts"].as_array().expect("a list");
    let writable: Vec<&Value> = mounts.iter().filter(|mount| mount["readOnly"] != json!(true)).collect();
    assert_eq!(writable, [&json!({"name": "bpf", "mountPath": "/run/bpf"})]);
    let policy = base.object("NetworkPolicy");
    assert_eq!(
        policy["spec"],
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    );
}

#[test]
fn all_objects_are_in_one_namespace_that_admits_the_pods() {
    manifests!();
    let base = Manifests::with(&[]);
    let namespace = base.object("Namespace");
    assert_eq!(namespace["metadata"]["name"], "keepalive");
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "privileged"
    );
    for object in base.objects.iter().filter(|object| object["kind"] != "Namespace") {
        assert_eq!(object["metadata"]["namespace"], "keepalive", "{object}");
    }
    // The namespace has a quota that covers the pods' priority; some clusters refuse the pods without it.
    let scope = &base.object("ResourceQuota")["spec"]["scopeSelector"]["matchExpressions"][0];
    assert_eq!(scope["values"], json!([base.pod()["priorityClassName"]]));
}

#[test]
fn every_linux_node_runs_a_pod_also_during_updates() {
    manifests!();
    let base = Manifests::with(&[]);
    assert_eq!(base.pod()["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(base.pod()["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    let strategy = &base.object("DaemonSet")["spec"]["updateStrategy"];
    assert_eq!(strategy["rollingUpdate"]["maxUnavailable"], json!(0));
    assert_eq!(strategy["rollingUpdate"]["maxSurge"], "10%");
    // An unready pod of an old revision would be deleted before the new one is ready.
    let probe = &base.container()["readinessProbe"];
    assert!(probe["failureThreshold"].as_u64() >= Some(1_000_000), "{probe}");
}

/// One probe takes so many milliseconds of CPU, most of which the container runtime takes to enter the container.
const PROBE_MS: u64 = 20;

#[test]
fn requested_cpu_suffices_for_the_probe() {
    manifests!();
    let base = Manifests::with(&[]);
    let container = base.container();
    let request = container["resources"]["requests"]["cpu"].as_str().expect("a quantity");
    let request: u64 = request
        .strip_suffix('m')
        .and_then(|number| number.parse().ok())
        .expect("millicores");
    let timeout = container["readinessProbe"]["timeoutSeconds"]
        .as_u64()
        .expect("a number");
    // On a busy node the container has this share of a CPU.
    assert!(
        PROBE_MS * 1000 / request < 1000 * timeout / 4,
        "{request} m, {timeout} s"
    );
}

#[test]
fn component_metrics_adds_only_a_directory() {
    manifests!();
    let mut expected = Manifests::with(&[]).object("DaemonSet").clone();
    let pod = &mut expected["spec"]["template"]["spec"];
    let directory = json!({"path": "/var/lib/node_exporter/textfile_collector", "type": "DirectoryOrCreate"});
    let volumes = pod["volumes"].as_array_mut().expect("a list");
    volumes.push(json!({"name": "metrics", "hostPath": directory}));
    let container = &mut pod["containers"][0];
    push(&mut container["args"], "--metrics-file");
    push(&mut container["args"], "/run/metrics/keepalive.prom");
    let mounts = container["volumeMounts"].as_array_mut().expect("a list");
    mounts.push(json!({"name": "metrics", "mountPath": "/run/metrics"}));
    assert_eq!(Manifests::with(&[METRICS]).object("DaemonSet"), &expected);
}

#[test]
fn config_map_has_a_fixed_name_and_is_mounted_as_a_directory() {
    manifests!();
    for manifests in [Manifests::with(&[]), Manifests::of(EXAMPLE)] {
        let map = manifests.object("ConfigMap");
        assert_eq!(map["metadata"]["name"], "keepalive");
        let volumes = manifests.pod()["volumes"].as_array().expect("a list");
        assert!(
            volumes.contains(&json!({"name": "config", "configMap": {"name": "keepalive"}})),
            "{volumes:?}"
        );
        let mounts = manifests.container()["volumeMounts"].as_array().expect("a list");
        let mount = json!({"name": "config", "mountPath": "/etc/keepalive", "readOnly": true});
        assert!(mounts.contains(&mount), "{mounts:?}");
    }
}

#[test]
fn component_existing_adds_only_required_permissions() {
    manifests!();
    let base = Manifests::with(&[]);
    let mut expected = base.object("DaemonSet").clone();
    let pod = &mut expected["spec"]["template"]["spec"];
    pod["hostPID"] = json!(true);
    let container = &mut pod["containers"][0];
    push(&mut container["args"], "--existing");
    let security = &mut container["securityContext"];
    push(&mut security["capabilities"]["add"], "SYS_ADMIN");
    push(&mut security["capabilities"]["add"], "SYS_PTRACE");
    security["allowPrivilegeEscalation"] = json!(true);
    security["appArmorProfile"] = json!({"type": "Unconfined"});
    assert_eq!(Manifests::with(&[EXISTING]).object("DaemonSet"), &expected);
}

#[track_caller]
fn push(list: &mut Value, word: &str) {
    list.as_array_mut().expect("a list").push(json!(word));
}

#[test]
fn component_cgroupfs_changes_only_the_cgroup() {
    manifests!();
    let base = Manifests::with(&[]).object("DaemonSet").to_string();
    assert_eq!(base.matches("\"/kubepods.slice\"").count(), 2, "{base}");
    let expected: Value = serde_json::from_str(&base.replace("/kubepods.slice", "/kubepods")).expect("JSON");
    assert_eq!(Manifests::with(&[CGROUPFS]).object("DaemonSet"), &expected);
}

#[test]
fn component_nri_adds_a_container_and_a_directory_of_the_node() {
    manifests!();
    let base = Manifests::with(&[]);
    let with_nri = Manifests::with(&[NRI]);
    let (base, pod) = (base.pod(), with_nri.pod());
    let [first, nri] = pod["containers"].as_array().expect("a list").as_slice() else {
        panic!("{pod}");
    };
    assert_eq!(first, &base["containers"][0]);
    for same in ["image", "imagePullPolicy", "securityContext"] {
        assert_eq!(nri[same], first[same], "{same}");
    }
    let volumes = pod["volumes"].as_array().expect("a list");
    let added: Vec<&Value> = volumes
        .iter()
        .skip(base["volumes"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(
        added,
        [
            &json!({"name": "pods", "configMap": {"name": "keepalive-pods"}}),
            &json!({"name": "nri", "hostPath": {"path": "/var/run/nri", "type": "DirectoryOrCreate"}}),
        ]
    );
    // Nothing else of the pod changes: no API token, no namespace of the host.
    let mut rest = pod.clone();
    rest["containers"] = base["containers"].clone();
    rest["volumes"] = base["volumes"].clone();
    assert_eq!(&rest, base);
    let arguments = words(&nri["args"]);
    let output = output_within(LIMIT, Command::new(keepalive()).args(&arguments).arg("--help"));
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let probe = words(&nri["readinessProbe"]["exec"]["command"]);
    let (program, probe) = probe.split_first().expect("a command");
    let output = output_within(LIMIT, Command::new(keepalive()).args(probe).arg("--help"));
    assert!(
        *program == "keepalive" && output.status.success(),
        "{probe:?}: {output:?}"
    );
    let maps = with_nri.all("ConfigMap");
    assert_eq!(maps.len(), 2, "{maps:?}");
    assert!(
        maps.iter().all(|map| map["metadata"]["namespace"] == "keepalive"),
        "{maps:?}"
    );
    assert!(maps.iter().any(|map| map["data"]["pods.conf"].is_string()), "{maps:?}");
}

#[test]
fn components_can_be_in_either_order() {
    manifests!();
    let one = Manifests::with(&[EXISTING, CGROUPFS]);
    let other = Manifests::with(&[CGROUPFS, EXISTING]);
    assert_eq!(one.objects, other.objects);
    // Both append arguments, whose order has no meaning.
    let counts = [&[EXISTING, METRICS], &[METRICS, EXISTING]]
        .map(|components| words(&Manifests::with(components).container()["args"]).len());
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn example_changes_only_the_image_and_the_policy() {
    manifests!();
    let base = Manifests::with(&[]);
    let example = Manifests::of(EXAMPLE);
    let mut expected = base.objects;
    for object in &mut expected {
        if object["kind"] == "ConfigMap" {
            object["data"] = example.object("ConfigMap")["data"].clone();
        } else if object["kind"] == "DaemonSet" {
            let image = &mut object["spec"]["template"]["spec"]["containers"][0]["image"];
            *image = json!(
                image
                    .as_str()
                    .expect("a name")
                    .replace("localhost/", "registry.example/infrastructure/")
            );
        }
    }
    assert_eq!(example.objects, expected);
}

/// Both are in one namespace, and share no object, no pod and no node.
#[test]
fn canary_is_beside_the_cluster() {
    manifests!();
    let [cluster, canary] = [EXAMPLE, CANARY].map(Manifests::of);
    let identity = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let all: Vec<String> = cluster.objects.iter().map(identity).collect();
    for object in &canary.objects {
        assert!(!all.contains(&identity(object)), "{object}");
        assert_eq!(object["metadata"]["namespace"], "keepalive", "{object}");
    }
    let [one, other] = [&cluster, &canary].map(|manifests| manifests.object("DaemonSet"));
    for daemon_set in [one, other] {
        let selector = &daemon_set["spec"]["selector"]["matchLabels"];
        assert_eq!(*selector, daemon_set["spec"]["template"]["metadata"]["labels"]);
    }
    assert_ne!(one["spec"]["selector"], other["spec"]["selector"]);
    // The quota and the network policy of the namespace apply to all pods.
    assert_eq!(cluster.object("NetworkPolicy")["spec"]["podSelector"], json!({}));
    let mut expected = one.clone();
    expected["metadata"] = other["metadata"].clone();
    expected["spec"]["selector"] = other["spec"]["selector"].clone();
    expected["spec"]["template"]["metadata"]["labels"] = other["spec"]["template"]["metadata"]["labels"].clone();
    let pod = &mut expected["spec"]["template"]["spec"];
    pod["serviceAccountName"] = json!("keepalive-canary");
    let term = &mut pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    term["nodeSelectorTerms"][0]["matchExpressions"][1]["operator"] = json!("In");
    for volume in pod["volumes"].as_array_mut().expect("a list") {
        if volume["name"] == "config" {
            volume["configMap"]["name"] = json!("keepalive-canary");
        }
    }
    assert_eq!(*other, expected);
}

#[test]
fn image_version_is_that_of_the_command() {
    manifests!();
    let printed = run_successfully(Command::new(keepalive()).arg("--version"));
    let version = printed.trim_end().rsplit(' ').next().expect("a word");
    for manifests in [Manifests::with(&[]), Manifests::of(EXAMPLE), Manifests::of(CANARY)] {
        let image = manifests.container()["image"].as_str().expect("a name");
        assert_eq!(image.rsplit(':').next(), Some(version), "{image}");
    }
}

#[test]
fn policies_contain_no_mistakes() {
    for file in [
        "base/keepalive.conf",
        "examples/cluster/keepalive.conf",
        "examples/canary/keepalive.conf",
    ] {
        let path = packaging().join(file);
        let output = output_within(LIMIT, Command::new(keepalive()).arg("check").arg(path));
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{file}: {output:?}"
        );
    }
}

#[test]
fn command_accepts_the_arguments_of_the_pods() {
    manifests!();
    let manifests = Manifests::with(&[EXISTING, METRICS, METRICS_ENDPOINT]);
    let container = manifests.container();
    let arguments = words(&container["args"]);
    let probe = words(&container["readinessProbe"]["exec"]["command"]);
    let (program, probe) = probe.split_first().expect("a command");
    assert_eq!(*program, "keepalive");
    for words in [&arguments[..], probe] {
        // Mistakes in earlier arguments are reported first.
        let output = output_within(LIMIT, Command::new(keepalive()).args(words).arg("--help"));
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        let output = output_within(
            LIMIT,
            Command::new(keepalive()).args(words).args(["--no-such", "--help"]),
        );
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
    }
}
