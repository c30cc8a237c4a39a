//! The paths of cgroups by their numbers, and the containers that the paths name.

use keepalive_sys::cgroup::{self, Tree};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The cgroups that exist or existed while this value did.
#[derive(Debug)]
pub(super) struct Cgroups {
    tree: Option<Tree>,
    paths: HashMap<u64, String>,
    /// When the last reading began, and the time that it took.
    read: Option<(Instant, Duration)>,
}

/// The shortest time between two readings that an unknown number causes.
const PAUSE: Duration = Duration::from_millis(100);
/// These readings take at most one part of this many of the time.
const SHARE: u32 = 20;

impl Cgroups {
    pub(super) fn read() -> Self {
        let mut cgroups = Self {
            tree: Tree::find().ok(),
            paths: HashMap::new(),
            read: None,
        };
        cgroups.refresh();
        cgroups
    }

    /// Adds new cgroups. Those that no longer exist stay: their sockets may end later.
    pub(super) fn refresh(&mut self) {
        let begin = Instant::now();
        let Some(tree) = &self.tree else { return };
        for directory in cgroup::with_all_below(tree.mount()) {
            if let Ok(id) = cgroup::id(&directory) {
                let path = tree.name(&directory).to_string_lossy().into_owned();
                self.paths.insert(id, path);
            }
        }
        self.read = Some((begin, begin.elapsed()));
    }

    /// Returns the path of the cgroup with this number, if known.
    pub(super) fn path(&mut self, id: u64) -> Option<String> {
        let is_due = |(at, cost): (Instant, Duration)| at.elapsed() >= PAUSE.max(SHARE * cost);
        if !self.paths.contains_key(&id) && self.read.is_none_or(is_due) {
            self.refresh();
        }
        self.paths.get(&id).cloned()
    }
}

/// Returns the id of the container in the path of a cgroup. Container engines name the cgroup of a container by its
/// id of 64 hexadecimal digits, alone or as in `docker-ID.scope`, `libpod-ID.scope`, `cri-containerd-ID.scope` or
/// `crio-ID.scope`. The monitor of a container (`libpod-conmon-ID.scope`) is outside of it.
pub fn container(path: &str) -> Option<String> {
    let id = path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let (engine, id) = part.rsplit_once('-').unwrap_or(("", part));
        let is_id = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then_some((engine, id))
    });
    let (engine, id) = id?;
    (!engine.ends_with("conmon")).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_found_in_the_paths_of_all_engines() {
        let id = "0123456789abcdef".repeat(4);
        let pod = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6a1b.slice";
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/system.slice/docker-{id}.scope/init.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"),
            format!("/libpod_parent/libpod-{id}"),
            format!("/{pod}/cri-containerd-{id}.scope"),
            format!("/{pod}/crio-{id}.scope"),
            format!("/kubepods/burstable/pod6a1b-77/{id}"),
            format!("/docker/{}/kubelet/kubepods/pod1/{id}", "f".repeat(64)),
        ] {
            assert_eq!(container(&path).as_deref(), Some(&*id), "{path}");
        }
        for path in [
            String::from("/"),
            String::from("/system.slice/ssh.service"),
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/{pod}/crio-conmon-{id}.scope"),
            format!("/{}", "g".repeat(64)),
            format!("/{id}0"),
        ] {
            assert_eq!(container(&path), None, "{path}");
        }
    }
}
