//! Finds out whether this process, or the examined one, is in a container, from what container engines leave in its files,
//! mounts and cgroups.

use super::finding::Findings;
use keepalive_engine::container::{self, cgroups_of_process, engine_of, id_of};
use keepalive_engine::sockets::Process;
use keepalive_sys::cgroup::Tree;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Adds a finding if this process is in a container.
pub(super) fn examine(findings: &mut Findings) {
    if let Some(kind) = kind() {
        findings.note(
            "container",
            format!("this process is in one ({kind}), with sysctls, processes and cgroups of its own"),
            "on the host, 'keepalive cgroup enable' reaches its connections, and 'keepalive doctor --pid PID' examines its processes",
        );
    }
}

/// Adds a finding on the container of another process.
pub(super) fn of_process(findings: &mut Findings, process: &Process) {
    let link = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let [own, theirs] = [link("self"), link(&process.pid.to_string())];
    // The finding on this process is the finding on that one, too.
    if own.is_some() && own == theirs {
        return;
    }
    match kind_of(process.pid) {
        Some(kind) => findings.note(
            "container",
            format!("the process is in one: {kind}"),
            "on the host, 'keepalive cgroup enable' with --container or --pid reaches its connections",
        ),
        None => findings.fine("container", "the process is in none that its cgroup and mounts show"),
    }
}

/// Returns what is known of the container of a process: its engine, id and name.
fn kind_of(pid: u32) -> Option<String> {
    let paths = cgroups_of_process(pid);
    let tree = Tree::find().ok();
    let described = paths.first().zip(tree.as_ref()).and_then(|(path, tree)| {
        let directory = tree.directory(Path::new(path));
        let above = directory
            .ancestors()
            .take_while(|above| above.starts_with(tree.mount()));
        let above: Vec<_> = above.map(Path::to_owned).collect();
        Some(container::running(tree, &above).first()?.describe())
    });
    let named = || {
        let path = paths.iter().find(|path| engine_of(path).is_some())?;
        let is_container = id_of(path).is_some() || engine_of(path) == Some("lxc");
        is_container.then(|| engine_of(path)).flatten()
    };
    let mounts = mounts_of(pid);
    described.or_else(|| {
        let pod = is_pod(&mounts).then_some("kubernetes");
        named().or(pod).or_else(|| of_root(&mounts)).map(str::to_owned)
    })
}

/// Returns the mounts of a process; at most what its namespace usually has.
fn mounts_of(pid: u32) -> String {
    const LONGEST: u64 = 1 << 20;
    let mut mounts = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/mountinfo")) {
        let _ = file.take(LONGEST).read_to_end(&mut mounts);
    }
    String::from_utf8_lossy(&mounts).into_owned()
}

/// Returns the kind of this container, if it is one.
fn kind() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() || is_pod(&mounts) {
        return Some(String::from("kubernetes"));
    }
    if let Some(kind) = of_first_process(&read("/proc/1/environ")) {
        return Some(kind);
    }
    if Path::new("/run/.containerenv").exists() {
        return Some(String::from("podman"));
    }
    if Path::new("/.dockerenv").exists() {
        return Some(String::from("docker"));
    }
    if let Ok(text) = fs::read_to_string("/run/systemd/container") {
        return Some(text.trim().to_owned());
    }
    let named = of_cgroup(&read("/proc/self/cgroup")).or_else(|| of_root(&mounts));
    // A live system has an overlay as its root too, but the initial pid namespace.
    let layers = || is_overlay(root(&mounts)?).then_some("layers as root, pid namespace of its own");
    named
        .or_else(|| layers().filter(|_| !is_in_first_pid_namespace()))
        .map(str::to_owned)
}

/// Returns the kind that an engine has put into the environment of the first process, as LXC, systemd-nspawn and podman
/// do (systemd's container interface).
fn of_first_process(environment: &str) -> Option<String> {
    let mut entries = environment.split('\0');
    let kind = entries.find_map(|entry| entry.strip_prefix("container="))?;
    // "oci" names no engine.
    let is_word = |kind: &&str| {
        *kind != "oci" && (1..=32).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_graphic())
    };
    Some(kind).filter(is_word).map(str::to_owned)
}

/// Returns whether the kubelet has mounted its files into this mount namespace. On a node itself they are elsewhere.
fn is_pod(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, target) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let is_own = ["/etc/hosts", "/dev/termination-log"].contains(&target) && source.contains("/pods/");
        is_own || target.ends_with("/secrets/kubernetes.io/serviceaccount") && !target.contains("/rootfs/")
    })
}

/// Returns the container engine that the lines of `/proc/PID/cgroup` show.
fn of_cgroup(cgroups: &str) -> Option<&'static str> {
    let mut paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.find_map(engine_of)
}

/// Returns the container engine whose layers are the root file system.
fn of_root(mounts: &str) -> Option<&'static str> {
    let root = root(mounts).filter(|line| is_overlay(line))?;
    [
        ("containerd", "containerd"),
        ("/docker/", "docker"),
        ("/containers/storage/", "podman"),
    ]
    .iter()
    .find(|(mark, _)| root.contains(mark))
    .map(|(_, kind)| *kind)
}

/// Returns the line of the last mount on `/`, which is the one that is seen (proc(5)).
fn root(mounts: &str) -> Option<&str> {
    mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/"))
}

fn is_overlay(line: &str) -> bool {
    let options = line.split_once(" - ").map_or("", |(_, options)| options);
    options.starts_with("overlay ") || options.starts_with("fuse.fuse-overlayfs ")
}

fn is_in_first_pid_namespace() -> bool {
    /// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`).
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").map_or(true, |own| own == Path::new(FIRST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD_ROOT: &str = "612 520 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/containerd/\
        io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs,upperdir=/var/lib/containerd/x/fs";

    #[test]
    fn mounts_of_the_kubelet_are_those_of_a_pod_and_not_of_a_node() {
        let hosts = "626 612 254:1 /var/lib/kubelet/pods/0a1b/etc-hosts /etc/hosts rw - ext4 /dev/vda1 rw";
        let token = "630 612 0:55 / /run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw";
        let node = "90 30 0:55 / /var/lib/kubelet/pods/0a1b/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw";
        assert!(is_pod(hosts) && is_pod(token));
        assert!(!is_pod(node) && !is_pod(CONTAINERD_ROOT) && !is_pod(""));
    }

    #[test]
    fn layers_count_only_as_root() {
        assert_eq!(of_root(CONTAINERD_ROOT), Some("containerd"));
        let elsewhere = CONTAINERD_ROOT.replace(" / / ", " / /run/containerd/rootfs ");
        assert_eq!(of_root(&elsewhere), None);
        assert_eq!(of_root("27 1 254:0 / / rw - ext4 /dev/vda rw"), None);
        let hidden = format!("{CONTAINERD_ROOT}\n700 612 254:0 / / rw - ext4 /dev/containerd rw");
        assert_eq!(of_root(&hidden), None);
    }

    #[test]
    fn cgroup_path_names_the_engine() {
        for (path, kind) in [
            (
                "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-2.scope",
                Some("kubernetes"),
            ),
            ("0::/system.slice/docker-0a.scope", Some("docker")),
            ("4:memory:/docker/0a", Some("docker")),
            ("0::/machine.slice/libpod-0a.scope/container", Some("podman")),
            ("0::/system.slice/docker.service", None),
            ("0::/user.slice/user-0.slice/session-1.scope", None),
            ("0::/", None),
        ] {
            assert_eq!(of_cgroup(path), kind, "{path}");
        }
    }
}
