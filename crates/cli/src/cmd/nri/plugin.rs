//! What the plugin does with the pods that the runtime reports.

use super::{Configuration, Nri};
use crate::annotation;
use crate::error::{Error, FAILED};
use crate::followed::Followed;
use crate::output::{log, sanitize};
use keepalive_engine::cgroup::entry::{State, entries};
use keepalive_engine::cgroup::owned::disable_owned;
use keepalive_engine::cgroup::pins::{self, Target};
use keepalive_engine::cgroup::{Interrupts, Obstacle, Options};
use keepalive_engine::policy::{Owner, Policy};
use keepalive_nri::{Event, PodSandbox};
use keepalive_sys::cgroup::Tree;
use keepalive_sys::signal::SignalFd;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The fewest characters of a pod's UID. Kubernetes makes longer ones.
const SHORTEST_UID: usize = 8;

/// The plugin.
pub(super) struct Plugin<'a> {
    nri: &'a Nri,
    signals: &'a SignalFd,
    tree: Tree,
    configuration: Followed<Configuration>,
    /// The pods that run, by the id of their sandbox.
    pods: BTreeMap<String, PodSandbox>,
    /// The cgroups of those that have a policy.
    directories: BTreeMap<String, PathBuf>,
    /// Those of which the policy is to be applied or checked.
    pending: BTreeSet<String>,
    /// The last failure of each.
    failures: BTreeMap<String, String>,
}

impl<'a> Plugin<'a> {
    pub(super) fn new(nri: &'a Nri, signals: &'a SignalFd, tree: Tree, configuration: Configuration) -> Self {
        Self {
            nri,
            signals,
            tree,
            configuration: Followed::new(configuration),
            pods: BTreeMap::new(),
            directories: BTreeMap::new(),
            pending: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Reacts to what the runtime reports.
    pub(super) fn react(&mut self, event: &Event) {
        match event {
            Event::Configured(..) | Event::Nothing => {}
            Event::Synchronized(pods) => self.synchronize(pods),
            Event::Run(pod) => {
                // A pod that is restarted has a new sandbox in the same cgroup.
                self.pods.retain(|_, other| other.uid != pod.uid);
                let pods = &self.pods;
                self.directories.retain(|sandbox, _| pods.contains_key(sandbox));
                self.pods.insert(pod.id.clone(), pod.clone());
                self.apply(pod);
            }
            Event::Stopped(pod) | Event::Removed(pod) => self.end(&pod.id),
        }
    }

    /// Ends the policy of a pod that has ended.
    fn end(&mut self, id: &str) {
        self.pods.remove(id);
        self.directories.remove(id);
        self.failures.remove(id);
        self.disable(|_, sandbox, _| sandbox == id);
    }

    /// Ends the policies of pods whose cgroup has been removed. containerd 1.7 does not report the end of pods that are older
    /// than its last start (`needsStopping` in `pkg/nri/nri.go`).
    pub(super) fn end_removed(&mut self) {
        let removed = self.directories.iter().filter(|(_, directory)| !directory.is_dir());
        let removed: Vec<String> = removed.map(|(id, _)| id.clone()).collect();
        for id in removed {
            self.end(&id);
        }
    }

    /// Takes over the pods that the runtime knows, and ends the policies of all others.
    fn synchronize(&mut self, pods: &[PodSandbox]) {
        self.pods.clear();
        // The runtime also knows sandboxes that have ended, whose pod may have a new one. Those have no process.
        let mut sorted: Vec<&PodSandbox> = pods.iter().collect();
        sorted.sort_by_key(|pod| pod.pid != 0);
        let newest: BTreeMap<&str, &PodSandbox> = sorted.into_iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        self.pods = newest.into_values().map(|pod| (pod.id.clone(), pod.clone())).collect();
        let pods = &self.pods;
        self.disable(|_, sandbox, state| !pods.contains_key(sandbox) || state == State::Dangling);
        self.directories.retain(|sandbox, _| pods.contains_key(sandbox));
        self.failures.retain(|sandbox, _| pods.contains_key(sandbox));
        self.pending = self.pods.keys().cloned().collect();
    }

    /// Returns whether [`Self::apply_next`] has something to do.
    pub(super) fn is_busy(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Applies the policy of one running pod.
    pub(super) fn apply_next(&mut self) {
        let Some(sandbox) = self.pending.pop_first() else {
            return;
        };
        if let Some(pod) = self.pods.get(&sandbox).cloned() {
            self.apply(&pod);
        }
    }

    /// Reads the files again.
    pub(super) fn read_again(&mut self) {
        let stays = "what the files contained before stays active";
        if self.configuration.update(self.nri.read(), stays) {
            log("the files have changed");
            self.pending = self.pods.keys().cloned().collect();
        }
    }

    /// Applies the policy of a pod, or removes it where the pod has none any more. Reports a failure once.
    fn apply(&mut self, pod: &PodSandbox) {
        self.pending.remove(&pod.id);
        let name = sanitize(&format!("{}/{}", pod.namespace, pod.name));
        self.directories.remove(&pod.id);
        let failure = match self.try_apply(pod) {
            Ok(None) => None,
            Ok(Some((directory, done))) => {
                if let Some(done) = done {
                    log(&format!("pod {name}: {done}"));
                }
                self.directories.insert(pod.id.clone(), directory);
                None
            }
            Err(error) => {
                let message = format!("pod {name} has no policy of its own: {}", error.message());
                Some(error.with_message(message))
            }
        };
        let text = failure.as_ref().map(ToString::to_string);
        if let Some(error) = failure.filter(|_| text.as_ref() != self.failures.get(&pod.id)) {
            error.report();
        }
        match text {
            Some(text) => self.failures.insert(pod.id.clone(), text),
            None => self.failures.remove(&pod.id),
        };
    }

    /// Returns the cgroup that has the policy, and what was done, if anything; `None` if the pod has no policy.
    ///
    /// # Errors
    /// A mistake in the annotation; the pod has no cgroup of its own; the obstacle. Then it has no policy of this plugin.
    fn try_apply(&self, pod: &PodSandbox) -> Result<Option<(PathBuf, Option<&'static str>)>, Error> {
        let selected = match pod.annotations.get(annotation::POLICY) {
            Some(value) => annotation::read(value).map(Some).map_err(Error::from),
            None => Ok(self.configuration.active().defaults.of(pod)),
        };
        let selected = match selected {
            Ok(Some(selected)) => selected,
            other => {
                // Also that of another sandbox of the pod, whose end was not reported.
                self.disable(|uid, _, _| uid == pod.uid);
                return other.map(|_| None);
            }
        };
        let policy = Arc::new(Policy {
            owner: Some(Owner::Pod {
                uid: pod.uid.clone(),
                sandbox: pod.id.clone(),
                name: format!("{}/{}", pod.namespace, pod.name),
            }),
            ..selected.apply(self.configuration.active().policy.clone())
        });
        let directory = cgroup_of(&self.tree, pod)?;
        let target = Target::new(&self.tree, &directory);
        let all = entries().unwrap_or_default();
        let mut active = all.iter().filter(|entry| entry.state == State::Active);
        let current = active
            .find(|entry| entry.is_of(&target))
            .and_then(|entry| entry.policy.as_ref());
        // Replacing it would reset its counters.
        if current.is_some_and(|current| current.description.is_of(&policy)) {
            return Ok(Some((directory, None)));
        }
        let done = pins::enable(&self.tree, &directory, &policy, Options::default(), self.interrupts())
            .map_err(|obstacle| obstacle.error("apply its policy"))?;
        let word = if done.has_replaced { "replaced" } else { "active" };
        Ok(Some((directory, Some(word))))
    }

    /// Ends the policies of pods that `have_ended`, which gets the UID of the pod, the id of the sandbox and the state of
    /// the policy.
    fn disable(&self, have_ended: impl Fn(&str, &str, State) -> bool) {
        let ended = |owner: &Owner, state| match owner {
            Owner::Pod { uid, sandbox, .. } => have_ended(uid, sandbox, state),
            Owner::Container(_) => false,
        };
        match disable_owned(ended, self.interrupts()) {
            Ok(names) => names
                .iter()
                .for_each(|name| log(&format!("{}: disabled", sanitize(name)))),
            Err(Obstacle::Interrupted) => {}
            Err(obstacle) => {
                let error = obstacle.error("remove the policy of a pod that has ended");
                Error::from(error).report();
            }
        }
    }

    fn interrupts(&self) -> Interrupts<'a> {
        Interrupts(Some(self.signals))
    }
}

/// Returns the directory of a pod's cgroup.
///
/// # Errors
/// The runtime names none, or one that is missing or is not the pod's own.
fn cgroup_of(tree: &Tree, pod: &PodSandbox) -> Result<PathBuf, Error> {
    let parent = pod.linux.as_ref().map_or("", |linux| linux.cgroup_parent.as_str());
    let path = Path::new(parent);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The systemd driver writes the UID with underscores, since a dash separates slices.
    let is_own = |uid: &str| uid.len() >= SHORTEST_UID && (name.contains(uid) || name.contains(&uid.replace('-', "_")));
    if !is_own(&pod.uid) {
        let what = format!("its cgroup '{}' is not named by its UID", sanitize(parent));
        return Err(Error::new(FAILED, what)
            .hint("a kubelet makes a cgroup for each pod; other clients of the runtime may not"));
    }
    let directories = [tree.directory(path), tree.directory(&expanded(&name))];
    let directory = directories.into_iter().find(|directory| directory.is_dir());
    directory.ok_or_else(|| {
        let what = format!("there is no cgroup '{}'", sanitize(parent));
        Error::new(FAILED, what).hint("the plugin must see the cgroups of the host, of version 2")
    })
}

/// Returns the path of a slice, whose name contains those of the slices above it (`systemd.slice(5)`).
fn expanded(slice: &str) -> PathBuf {
    let Some(name) = slice.strip_suffix(".slice") else {
        return PathBuf::from(slice);
    };
    let ends = name.match_indices('-').map(|(end, _)| end).chain([name.len()]);
    ends.map(|end| format!("{}.slice", name.get(..end).unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_a_slice_follows_from_its_name() {
        let path = expanded("kubepods-besteffort-pod6a1b_77.slice");
        let expected = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6a1b_77.slice";
        assert_eq!(path, Path::new(expected));
        assert_eq!(expanded("pod6a1b"), Path::new("pod6a1b"));
    }
}
