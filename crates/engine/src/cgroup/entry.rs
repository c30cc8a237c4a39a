//! Reads the state that stays in the kernel. Readers take no lock: they read the link before and after
//! everything that belongs to it, and start again if the link has changed.

use super::counts::Counted;
use super::directory::directory;
use super::obstacle::name;
use super::pins::{ESTABLISHED, POLICY, SOCK_SETTINGS, Target, WATCH};
use super::refusal::{self, Refusal};
use keepalive_sys::bpf::call::{Attached, Hook, LinkInfo, link_info, map_info, pinned, programs, value};
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::lock::{holder, try_shared};
use rustix::fd::OwnedFd;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// The state that keepalive keeps in the kernel for one cgroup.
#[derive(Debug)]
pub struct Entry {
    pub(super) directory: PathBuf,
    /// Whether the policy is active.
    pub state: State,
    /// The policy; absent if it cannot be read, as that of another version can be.
    pub policy: Option<Counted>,
    /// Why the newest version of the policy is not active, if a command with `--watch` has refused it.
    pub refusal: Option<Refusal>,
    /// Whether another cgroup has the path of the removed one.
    pub is_made_again: bool,
    /// The link that is pinned as [`ESTABLISHED`].
    link: Option<LinkInfo>,
    /// The cgroup's path in the tree, where it is not the stored one.
    path: Option<String>,
    /// The cgroup's directory, if the mount of this process shows it.
    cgroup: Option<PathBuf>,
}

/// The state of a policy. JSON has its name in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The policy is active.
    #[serde(rename = "in-force")]
    Active,
    /// The cgroup has been removed: no new connection gets the policy.
    Dangling,
    /// A command was killed before the policy was active, or after the policy had ended.
    Unfinished,
    /// As [`State::Unfinished`], but another command holds the lock.
    Changing,
}

impl State {
    /// Returns a description for users.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Dangling => "dangling",
            Self::Unfinished => "unfinished",
            Self::Changing => "changing",
        }
    }
}

/// How often a reader checks whether another command has finished, and the pause between two checks.
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Returns all entries. Waits at most a quarter of a second for a command that is changing an entry.
///
/// # Errors
/// `EACCES` if this user may not read the directory. Without a BPF file system the result is empty.
pub fn entries() -> io::Result<Vec<Entry>> {
    let Some(all) = directory()? else {
        return Ok(Vec::new());
    };
    let mut found = read_entries(&all)?;
    for _ in 0..LOOKS {
        let before = unfinished(&found);
        if before.is_empty() {
            return Ok(found);
        }
        // The lock is not kept: a process that is stopped while it holds the lock would block other commands.
        let is_changing = matches!(try_shared(&all), Ok(None));
        found = read_entries(&all)?;
        if !is_changing && unfinished(&found) == before {
            return Ok(found);
        }
        sleep(PAUSE);
    }
    for entry in &mut found {
        if entry.state == State::Unfinished {
            entry.state = State::Changing;
        }
    }
    Ok(found)
}

fn unfinished(entries: &[Entry]) -> Vec<PathBuf> {
    let unfinished = entries.iter().filter(|entry| entry.state == State::Unfinished);
    unfinished.map(|entry| entry.directory.clone()).collect()
}

/// Returns all entries in this directory. If the caller holds the lock, they do not change meanwhile.
pub(super) fn read_entries(all: &Path) -> io::Result<Vec<Entry>> {
    let directories = match fs::read_dir(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        directories => directories?,
    };
    let read = directories
        .flatten()
        .filter_map(|entry| Entry::read(entry.path()).transpose());
    let mut entries: Vec<_> = read.collect::<io::Result<_>>()?;
    if let Ok(tree) = Tree::find() {
        for entry in &mut entries {
            entry.find(&tree);
        }
    }
    entries.sort_by_key(Entry::name);
    Ok(entries)
}

impl Entry {
    /// Returns `None` if the entry no longer exists.
    ///
    /// # Errors
    /// `EPERM` or `EACCES` if this process may not read the entry; any other error that keeps a part of it
    /// from being read.
    pub(super) fn read(directory: PathBuf) -> io::Result<Option<Self>> {
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            let link = established(&directory)?;
            let policy = match link {
                Some(link) => read_policy(&directory, link.program)?,
                // Any policy file that is left contains the name of the cgroup.
                None => left_policy(&directory)?,
            };
            let refusal = match link {
                Some(link) => refusal::read(&directory, link.program)?,
                None => None,
            };
            if established(&directory)? != link {
                continue;
            }
            if !fs::symlink_metadata(&directory).is_ok_and(|about| about.is_dir()) {
                return Ok(None);
            }
            return Ok(Some(Self {
                state: match link {
                    None => State::Unfinished,
                    Some(LinkInfo { cgroup: 0, .. }) => State::Dangling,
                    Some(_) => State::Active,
                },
                directory,
                policy,
                refusal,
                is_made_again: false,
                link,
                path: None,
                cgroup: None,
            }));
        }
        Err(io::Error::other(format!(
            "{} is being changed all the time",
            directory.display()
        )))
    }

    /// Returns the number of the program.
    pub fn program(&self) -> Option<u32> {
        self.link.map(|link| link.program)
    }

    /// Returns whether the entry has not changed since it was read.
    pub fn is_current(&self) -> bool {
        established(&self.directory).is_ok_and(|link| link == self.link)
    }

    /// Returns the path of the cgroup in the tree, or a substitute if the path is unknown.
    pub fn name(&self) -> String {
        match (&self.path, &self.policy) {
            (Some(path), _) => path.clone(),
            (None, Some(policy)) => policy.description.cgroup.clone(),
            (None, None) => format!("cgroup {}", self.directory.file_name().unwrap_or_default().display()),
        }
    }

    /// Returns the directory of the cgroup, if the mount of this process shows it.
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref()
    }

    /// Stores the path that the cgroup has here. The command that applied the policy may have seen another
    /// tree: that of a cgroup namespace, or the one above it.
    fn find(&mut self, tree: &Tree) {
        let number = self.number();
        let is_it = |directory: &PathBuf| cgroup::id(directory).ok() == number;
        let stored = self.policy.as_ref().map(|policy| &policy.description.cgroup);
        let at_path = stored.map(|name| tree.directory(Path::new(name)));
        self.cgroup = at_path.clone().filter(is_it);
        match (self.state, &self.cgroup) {
            // The command was killed after the policy had ended, or is about to remove the other files.
            (State::Dangling, Some(_)) => self.state = State::Unfinished,
            (State::Active, None) => {
                let all = cgroup::with_all_below(tree.mount());
                self.cgroup = all.into_iter().find(is_it);
                self.path = match (&self.cgroup, number) {
                    (Some(directory), _) => Some(tree.name(directory).display().to_string()),
                    // A removed cgroup keeps its program while it has sockets.
                    (None, _) if tree.is_whole() => {
                        self.state = State::Dangling;
                        None
                    }
                    (None, Some(number)) => Some(format!("cgroup {number}, which is not seen from here")),
                    (None, None) => None,
                };
            }
            _ => {}
        }
        self.is_made_again = self.state == State::Dangling && at_path.is_some_and(|directory| directory.is_dir());
    }

    /// Returns whether the entry belongs to this cgroup.
    pub fn is_of(&self, target: &Target) -> bool {
        match &self.policy {
            // The description contains the name as text, even if it is not valid UTF-8.
            Some(policy) if self.state != State::Active => {
                policy.description.cgroup == target.name.display().to_string()
            }
            _ => target.id.is_some() && self.number() == target.id,
        }
    }

    /// Returns the number of the cgroup.
    pub fn number(&self) -> Option<u64> {
        self.directory.file_name()?.to_str()?.parse().ok()
    }

    /// Returns the map of persistent settings, if the policy has one.
    pub fn sock_settings(&self) -> Option<OwnedFd> {
        self.is_persistent()
            .then(|| pinned(&self.directory.join(SOCK_SETTINGS)).ok())?
    }

    fn is_persistent(&self) -> bool {
        self.policy
            .as_ref()
            .is_some_and(|policy| policy.description.is_persistent)
    }

    /// Returns whether the command that watched the policy (`--watch`) has ended without removing the policy.
    pub fn has_lost_its_watch(&self) -> bool {
        let is_watched = |policy: &Counted| policy.description.is_watched;
        self.policy.as_ref().is_some_and(is_watched)
            && self
                .watch()
                .is_some_and(|watch| matches!(try_shared(&watch), Ok(Some(_))))
    }

    /// Returns whether a process of the caller's container watches the policy. A container is identified by
    /// its mount namespace: unlike pid and cgroup namespaces, runtimes never share it.
    pub fn is_watched_from_here(&self) -> bool {
        let mounts = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        let own = mounts("self");
        own.is_some() && own == self.watcher().and_then(|pid| mounts(&pid.to_string()))
    }

    /// Returns the number of the process that watches the policy, if this pid namespace shows it.
    pub fn watcher(&self) -> Option<u32> {
        holder(&self.watch()?).ok().flatten()
    }

    /// Returns the directory whose lock the watching command holds.
    fn watch(&self) -> Option<PathBuf> {
        let program = self.program()?;
        Some(self.directory.join(format!("{WATCH}{program}")))
    }

    /// Returns the foreign programs that also run for the processes of `directory`, in their order: number,
    /// name, and whether they run after this program, so that their values take precedence.
    pub fn others(&self, directory: &Path) -> Vec<(u32, String, bool)> {
        let effective =
            cgroup::open_directory(directory).and_then(|cgroup| programs(&cgroup, Hook::SockOps, Attached::Effective));
        let Ok(effective) = effective else {
            return Vec::new();
        };
        let mut is_after = false;
        let mut others = Vec::new();
        for id in effective.ids {
            if Some(id) == self.program() {
                is_after = true;
            } else {
                others.push((id, name(id), is_after));
            }
        }
        others
    }
}

/// Returns the link that is pinned in this directory, if any.
pub(super) fn established(directory: &Path) -> io::Result<Option<LinkInfo>> {
    let link = pinned_if_there(&directory.join(ESTABLISHED))?;
    link.map(link_info).transpose()
}

/// Returns the object that is pinned at this path, if any.
pub(super) fn pinned_if_there(path: &Path) -> io::Result<Option<OwnedFd>> {
    match pinned(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        object => object.map(Some),
    }
}

/// Returns any policy in `place`.
fn left_policy(place: &Path) -> io::Result<Option<Counted>> {
    for (name, _) in files(place)? {
        if let Some(number) = name.strip_prefix(POLICY).and_then(|number| number.parse().ok())
            && let Some(policy) = read_policy(place, number)?
        {
            return Ok(Some(policy));
        }
    }
    Ok(None)
}

/// Returns the policy of the program with this number; `None` if there is none, or if another version wrote it.
fn read_policy(place: &Path, program: u32) -> io::Result<Option<Counted>> {
    let Some(map) = pinned_if_there(&place.join(format!("{POLICY}{program}")))? else {
        return Ok(None);
    };
    Ok(Counted::parse(&value(&map, map_info(&map)?.value_size)?))
}

/// Returns the files of an entry; none if the entry no longer exists.
pub(super) fn files(place: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?.flatten(),
    };
    Ok(entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect())
}
