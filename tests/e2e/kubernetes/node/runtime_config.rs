//! The configuration of a container according to a pod's manifest.

use super::*;

/// Returns what a container runtime makes of a pod: config.json of the OCI runtime specification.
pub(super) fn runtime_config(image: &Image, pod: &Value, arguments: &[&str], config: &Path) -> Value {
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    let capabilities: Vec<String> = words(&security["capabilities"]["add"])
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    let mut namespaces = vec!["ipc", "uts", "mount", "network", "cgroup"];
    if pod["hostPID"] != json!(true) {
        namespaces.push("pid");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let command = [words(&image.config["Entrypoint"]), arguments.to_vec()].concat();
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": image.root, "readonly": security["readOnlyRootFilesystem"]},
        "process": {
            "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
            "args": command,
            "env": image.config["Env"],
            "cwd": "/",
            "noNewPrivileges": security["allowPrivilegeEscalation"] == json!(false),
            // No ambient capabilities: runtimes do not set them for Kubernetes.
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": mounts(pod, config),
        "linux": {
            "namespaces": namespaces,
            "seccomp": seccomp(&capabilities),
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts(pod: &Value, config: &Path) -> Vec<Value> {
    let nothing = ["nosuid", "noexec", "nodev"];
    let read_only = ["nosuid", "noexec", "nodev", "ro"];
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": nothing}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": read_only}),
    ];
    let volumes = pod["volumes"].as_array().expect("a list");
    for mount in pod["containers"][0]["volumeMounts"].as_array().expect("a list") {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("{mount} names no volume"));
        let source = match &volume["hostPath"]["path"] {
            Value::Null => json!(config),
            path => path.clone(),
        };
        let access = if mount["readOnly"] == json!(true) { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": mount["mountPath"],
            "type": "bind",
            "source": source,
            "options": ["rbind", "rprivate", access],
        }));
    }
    mounts
}

/// Returns the profile `RuntimeDefault` for a container with these capabilities. The installed profile may be older
/// than the rule that CAP_BPF permits bpf(2) (containers-common 0.60).
fn seccomp(capabilities: &[String]) -> Value {
    let (name, architecture) = architecture().expect("it was known");
    let profile = fs::read_to_string(PROFILE).expect("it was there");
    let profile: Value = serde_json::from_str(&profile).expect("JSON");
    let lists = |list: &Value| -> Vec<String> {
        let words = list.as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let has = |capability: &String| capabilities.contains(capability);
    let mut rules = Vec::new();
    for rule in profile["syscalls"].as_array().expect("a list") {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let architectures = lists(&includes["arches"]);
        let applies = (architectures.is_empty() || architectures.iter().any(|other| other == name))
            && !lists(&excludes["arches"]).iter().any(|other| other == name)
            && lists(&includes["caps"]).iter().all(has)
            && !lists(&excludes["caps"]).iter().any(has);
        let names: Vec<String> = lists(&rule["names"]).into_iter().filter(|name| name != "bpf").collect();
        if applies && !names.is_empty() {
            let mut rule =
                json!({"names": names, "action": rule["action"], "args": rule["args"], "errnoRet": rule["errnoRet"]});
            let rule_map = rule.as_object_mut().expect("an object");
            rule_map.retain(|_, value| !value.is_null());
            rules.push(rule);
        }
    }
    let bpf = capabilities.iter().any(|name| name == "CAP_BPF");
    let bpf = if bpf { "SCMP_ACT_ALLOW" } else { "SCMP_ACT_ERRNO" };
    rules.push(json!({"names": ["bpf"], "action": bpf}));
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [architecture],
        "syscalls": rules,
    })
}
