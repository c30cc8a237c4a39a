//! What the path of a cgroup shows about a container.

/// Returns the id of the innermost container in the path of a cgroup.
///
/// Engines name the cgroup of a container by its id of 64 hexadecimal digits, alone or as in `docker-ID.scope`,
/// `libpod-ID.scope`, `libpod-payload-ID`, `cri-containerd-ID.scope` or `crio-ID.scope`. The monitor of a container
/// (`libpod-conmon-ID.scope`) is outside of it.
pub fn id_of(path: &str) -> Option<&str> {
    let (prefix, id) = path.rsplit('/').find_map(named_by_id)?;
    (!prefix.ends_with("conmon") && !is_pod_of_podman(path)).then_some(id)
}

/// Returns whether this is the path of the cgroup of a container itself, not of one below it such as podman's
/// `libpod-ID.scope/container`.
pub fn is_own_cgroup(path: &str) -> bool {
    id_of(path).is_some() && path.rsplit('/').next().and_then(named_by_id).is_some()
}

/// Returns whether this is the path of the cgroup of a pod, which podman 4 names by its id alone without systemd.
fn is_pod_of_podman(path: &str) -> bool {
    path.rsplit_once("/libpod_parent/")
        .is_some_and(|(_, name)| named_by_id(name).is_some_and(|(prefix, _)| prefix.is_empty()))
}

/// Returns the prefix and the id in the name of a cgroup.
fn named_by_id(name: &str) -> Option<(&str, &str)> {
    const DIGITS: usize = 64;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.rsplit_once('-').unwrap_or(("", name));
    (id.len() == DIGITS && id.bytes().all(is_digit)).then_some((prefix, id))
}

pub(super) fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Returns the container engine, or Kubernetes, that the path of a cgroup shows. In a cgroup namespace no path does.
///
/// The kernel has no containers: the names that the engines choose are all that a path contains.
pub fn engine_of(path: &str) -> Option<&'static str> {
    const MARKS: [(&str, &str); 9] = [
        ("/kubepods", "kubernetes"),
        ("/docker/", "docker"),
        ("/docker-", "docker"),
        ("/libpod", "podman"),
        ("/cri-containerd", "containerd"),
        ("/nerdctl-", "containerd"),
        ("/crio-", "cri-o"),
        ("/lxc/", "lxc"),
        ("/lxc.payload", "lxc"),
    ];
    let found = MARKS.iter().find(|(mark, _)| path.contains(mark));
    found.map(|(_, engine)| *engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_found_in_the_paths_of_all_engines() {
        let id = "0123456789abcdef".repeat(4);
        let pod = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6a1b.slice";
        for (path, is_own, engine) in [
            (format!("/docker/{id}"), true, Some("docker")),
            (format!("/system.slice/docker-{id}.scope"), true, Some("docker")),
            (
                format!("/system.slice/docker-{id}.scope/init.scope"),
                false,
                Some("docker"),
            ),
            (
                format!("/machine.slice/libpod-{id}.scope/container"),
                false,
                Some("podman"),
            ),
            (
                format!("/system.slice/web.service/libpod-payload-{id}"),
                true,
                Some("podman"),
            ),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"),
                true,
                Some("podman"),
            ),
            (format!("/libpod_parent/libpod-{id}"), true, Some("podman")),
            (
                format!("/libpod_parent/{}/libpod-{id}", "f".repeat(64)),
                true,
                Some("podman"),
            ),
            (format!("/system.slice/nerdctl-{id}.scope"), true, Some("containerd")),
            (format!("/system.slice/crio-{id}.scope"), true, Some("cri-o")),
            (format!("/default/{id}"), true, None),
            (format!("/{pod}/cri-containerd-{id}.scope"), true, Some("kubernetes")),
            (format!("/{pod}/crio-{id}.scope"), true, Some("kubernetes")),
            (format!("/kubepods/burstable/pod6a1b-77/{id}"), true, Some("kubernetes")),
            (
                format!("/docker/{}/kubelet/kubepods/pod1/{id}", "f".repeat(64)),
                true,
                Some("kubernetes"),
            ),
        ] {
            assert_eq!(id_of(&path), Some(&*id), "{path}");
            assert_eq!(is_own_cgroup(&path), is_own, "{path}");
            assert_eq!(engine_of(&path), engine, "{path}");
        }
    }

    #[test]
    fn other_cgroups_are_no_containers() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            String::from("/"),
            String::from("/system.slice/ssh.service"),
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/kubepods.slice/crio-conmon-{id}.scope"),
            format!("/machine.slice/machine-libpod_pod_{id}.slice"),
            format!("/libpod_parent/libpod_pod_{id}"),
            format!("/libpod_parent/{id}"),
            format!("/{}", "g".repeat(64)),
            format!("/{id}0"),
        ] {
            assert_eq!(id_of(&path), None, "{path}");
            assert!(!is_own_cgroup(&path), "{path}");
        }
    }

    #[test]
    fn containers_of_lxc_have_a_name_in_place_of_an_id() {
        for path in ["/lxc.payload.web", "/lxc.payload/web/init.scope", "/lxc/web"] {
            assert_eq!((engine_of(path), id_of(path)), (Some("lxc"), None), "{path}");
        }
    }

    #[test]
    fn services_of_engines_are_no_containers() {
        for path in [
            "/system.slice/docker.service",
            "/system.slice/lxcfs.service",
            "/lxc.monitor.web",
            "/user.slice/user-0.slice/session-1.scope",
            "/",
        ] {
            assert_eq!(engine_of(path), None, "{path}");
        }
    }
}
