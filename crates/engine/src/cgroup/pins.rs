//! What stays in the kernel when the command has ended: a directory in the BPF file system for each cgroup, named by the
//! cgroup's number.
//!
//! `established` is the link that counts: with it the policy is active, without it everything else has no effect. It is
//! made last and removed first, and replaced at once, so that a command that is killed leaves the policy on or off.
//!
//! A command that stays (`--watch`) holds the lock of `watch-PROGRAM` from before its program counts until it ends. The
//! lock's name contains the program's number, so that a command finds the lock of its successor taken as soon as it sees
//! the successor's program.
//!
//! Programs are compiled and verified before the lock is taken, which may take seconds.

use super::entry::{Entry, State, files, pinned_if_there, read_entries};
use super::lock::{Interrupts, lock};
use super::{Obstacle, Programs, Shared};
use crate::policy::Policy;
use keepalive_sys::bpf::call::{
    Hook, detach_link, link_info, link_to_cgroup, map_info, pin, pinned, program_info, replace_program,
};
use keepalive_sys::bpf::file_system;
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::lock::try_exclusive;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Our directory in the BPF file system.
const OURS: &str = "keepalive";
pub(super) const ESTABLISHED: &str = "established";
const CLAMP: &str = "clamp";
const NAMES: &str = "names";
pub(super) const SOCK_SETTINGS: &str = "wishes";
/// Behind it stands the number of the program that the policy belongs to.
pub(super) const POLICY: &str = "policy-";
/// Likewise: a directory, whose lock the command holds that keeps this program.
pub(super) const WATCH: &str = "watch-";

/// A cgroup that is meant.
#[derive(Debug)]
pub struct Target {
    /// Its path in the tree.
    pub name: PathBuf,
    /// Its number, while it is there.
    pub(super) id: Option<u64>,
}

impl Target {
    /// Creates a target from the directory of a cgroup.
    pub fn new(tree: &Tree, directory: &Path) -> Self {
        Self {
            name: tree.name(directory),
            id: cgroup::id(directory).ok(),
        }
    }
}

/// What [`enable`] did beside what it was asked for.
#[derive(Debug)]
pub struct Done {
    /// A BPF file system was mounted.
    pub has_mounted: bool,
    /// A policy was there already.
    pub has_replaced: bool,
    /// The number of the program that is active now.
    pub program: u32,
    /// The lock that tells others, as long as this process has it, that the policy is watched; where that was asked for.
    pub watch: Option<OwnedFd>,
}

/// Applies `policy` for the cgroup in `directory`; `is_watched` where this process goes on to look after it.
///
/// # Errors
/// What is in the way; then nothing is changed.
pub fn enable(
    tree: &Tree,
    directory: &Path,
    policy: &Arc<Policy>,
    is_watched: bool,
    interrupts: Interrupts<'_>,
) -> Result<Done, Obstacle> {
    /// After so many, this command loads its programs while others wait.
    const ATTEMPTS: usize = 5;
    let cgroup = cgroup::open_directory(directory)?;
    let id = cgroup::id(directory)?.to_string();
    let mut mount = file_system::find();
    let mut has_mounted = false;
    let mut attempts = 0;
    loop {
        let held = match &mount {
            Some(mount) if attempts >= ATTEMPTS => Some(make_and_lock(&mount.join(OURS), interrupts)?),
            _ => None,
        };
        let place = mount.as_ref().map(|mount| mount.join(OURS).join(&id));
        let prepared = {
            let (policy, name) = (Arc::clone(policy), tree.name(directory));
            interrupts.run(move || Prepared::new(&policy, &name, is_watched, place.as_deref()))??
        };
        let (mounted, is_new) = match mount.take() {
            Some(mounted) => (mounted, false),
            // Only now, since the engine may be of no use here.
            None => find_or_mount(interrupts)?,
        };
        has_mounted |= is_new;
        let all = mounted.join(OURS);
        mount = Some(mounted);
        let _lock = match held {
            Some(lock) => lock,
            None => make_and_lock(&all, interrupts)?,
        };
        let place = all.join(&id);
        if !prepared.is_current(&place)? {
            attempts += 1;
            continue;
        }
        remove_dangling(&all, tree, &tree.name(directory))?;
        let attached = prepared.attach(tree, directory, &cgroup, &place, is_watched);
        let tidied = tidy(&place);
        if attached.is_err() {
            let _ = fs::remove_dir(&all);
        }
        let (has_replaced, watch) = attached?;
        tidied?;
        return Ok(Done {
            has_mounted,
            has_replaced,
            program: prepared.number,
            watch,
        });
    }
}

/// The BPF file system, and whether this process has mounted it.
fn find_or_mount(interrupts: Interrupts<'_>) -> Result<(PathBuf, bool), Obstacle> {
    let usual = Path::new(file_system::MOUNT);
    loop {
        // Of several processes at once, one mounts it.
        let lock = lock(usual, interrupts)?;
        if let Some(mounted) = file_system::find() {
            return Ok((mounted, false));
        }
        if lock.is_some() || !usual.exists() {
            return match file_system::mount_usual() {
                Ok(mounted) => Ok((mounted, true)),
                Err(error) => Err(Obstacle::NoFileSystem(error)),
            };
        }
    }
}

/// The programs of a policy, loaded, with the maps that were pinned when they were.
struct Prepared {
    programs: Programs,
    /// The number of the program that decides.
    number: u32,
    /// The numbers of the maps that were pinned before.
    names: Option<u32>,
    sock_settings: Option<u32>,
}

impl Prepared {
    fn new(policy: &Policy, name: &Path, is_watched: bool, place: Option<&Path>) -> Result<Self, Obstacle> {
        let find = |name: &str| place.map_or(Ok(None), |place| pinned_if_there(&place.join(name)));
        let old = Shared {
            names: find(NAMES)?,
            sock_settings: find(SOCK_SETTINGS)?,
        };
        let [names, sock_settings] = [number(old.names.as_ref())?, number(old.sock_settings.as_ref())?];
        let programs = Programs::load(policy, name, is_watched, old)?;
        Ok(Self {
            number: program_info(&programs.established)?.id,
            programs,
            names,
            sock_settings,
        })
    }

    /// Whether the maps that the programs need are still those that are pinned: another command may have replaced them.
    fn is_current(&self, place: &Path) -> io::Result<bool> {
        let shared = &self.programs.shared;
        for (name, map, before) in [
            (NAMES, &shared.names, self.names),
            (SOCK_SETTINGS, &shared.sock_settings, self.sock_settings),
        ] {
            if map.is_some() && number(pinned_if_there(&place.join(name))?.as_ref())? != before {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pins and attaches all of it; gives whether a policy was there already, and the lock of [`WATCH`].
    fn attach(
        &self,
        tree: &Tree,
        directory: &Path,
        cgroup: &OwnedFd,
        place: &Path,
        is_watched: bool,
    ) -> Result<(bool, Option<OwnedFd>), Obstacle> {
        let programs = &self.programs;
        make_directory(place)?;
        let watch = if is_watched {
            let watch = place.join(format!("{WATCH}{}", self.number));
            make_directory(&watch)?;
            try_exclusive(&watch)?
        } else {
            None
        };
        pin(&programs.record, &place.join(format!("{POLICY}{}", self.number)))?;
        for (name, map) in [
            (NAMES, &programs.shared.names),
            (SOCK_SETTINGS, &programs.shared.sock_settings),
        ] {
            if let Some(map) = map {
                pin_anew(map, &place.join(name))?;
            }
        }
        // It has no effect before the other program says what is to count.
        if let Some(clamp) = &programs.clamp {
            attach_program(tree, directory, cgroup, clamp, Hook::SetSockOpt, &place.join(CLAMP))?;
        }
        let path = place.join(ESTABLISHED);
        let has_replaced = attach_program(tree, directory, cgroup, &programs.established, Hook::SockOps, &path)?;
        Ok((has_replaced, watch))
    }
}

/// The number of a map.
fn number(map: Option<&OwnedFd>) -> io::Result<Option<u32>> {
    map.map(|map| map_info(map).map(|info| info.id)).transpose()
}

/// Removes what does not belong to the policy that is active; everything where none is.
fn tidy(place: &Path) -> io::Result<()> {
    let Some(entry) = Entry::read(place.to_owned())? else {
        return Ok(());
    };
    let Some(program) = entry.program() else {
        return remove(place);
    };
    // What cannot be read is another version's, perhaps.
    let Some(policy) = &entry.policy else {
        return Ok(());
    };
    let [number, watch] = [POLICY, WATCH].map(|name| format!("{name}{program}"));
    let mut kept = vec![ESTABLISHED, &number, &watch];
    if policy.description.needs_names {
        kept.push(NAMES);
    }
    if policy.description.is_persistent {
        kept.extend([SOCK_SETTINGS, CLAMP]);
    }
    for (name, path) in files(place)? {
        if !kept.contains(&name.as_str()) {
            remove_pin(&name, &path)?;
        }
    }
    Ok(())
}

/// Puts `program` in the place of the one of the link that is pinned there, or makes that link; gives whether there was one.
fn attach_program(
    tree: &Tree,
    directory: &Path,
    cgroup: &OwnedFd,
    program: &OwnedFd,
    hook: Hook,
    path: &Path,
) -> Result<bool, Obstacle> {
    if let Some(link) = pinned_if_there(path)? {
        if link_info(&link)?.cgroup != 0 {
            replace_program(&link, program)?;
            return Ok(true);
        }
        fs::remove_file(path)?;
    }
    let link =
        link_to_cgroup(program, cgroup, hook).map_err(|error| Obstacle::of_attaching(error, tree, directory, hook))?;
    pin(&link, path)?;
    Ok(false)
}

/// Ends the policy of a cgroup, or only the one that has this program; gives whether there was one.
///
/// # Errors
/// What keeps it from being removed.
pub fn disable(
    tree: &Tree,
    target: &Target,
    program: Option<u32>,
    interrupts: Interrupts<'_>,
) -> Result<bool, Obstacle> {
    let Some(all) = directory()? else {
        return Ok(false);
    };
    let Some(_lock) = lock(&all, interrupts)? else {
        return Ok(false);
    };
    let mut was_there = false;
    for entry in read_entries(&all)? {
        if entry.is_of(target) && (program.is_none() || program == entry.program()) {
            remove(&entry.directory)?;
            was_there = true;
        }
    }
    remove_nameless(&all, tree)?;
    // It stays while others are in it.
    let _ = fs::remove_dir(&all);
    Ok(was_there)
}

/// Removes what is left of policies for this path whose cgroup is gone.
fn remove_dangling(all: &Path, tree: &Tree, name: &Path) -> io::Result<()> {
    let gone = Target {
        name: name.to_owned(),
        id: None,
    };
    for entry in read_entries(all)? {
        if entry.state != State::Active && entry.is_of(&gone) {
            remove(&entry.directory)?;
        }
    }
    remove_nameless(all, tree)
}

/// Removes what a killed command has left before it wrote for which cgroup, if there is no such cgroup any more.
fn remove_nameless(all: &Path, tree: &Tree) -> io::Result<()> {
    let mut nameless = read_entries(all)?;
    nameless.retain(|entry| entry.state != State::Active && entry.policy.is_none());
    if nameless.is_empty() {
        return Ok(());
    }
    let there = cgroup::ids_with_all_below(tree.mount());
    nameless.retain(|entry| entry.number().is_none_or(|number| !there.contains(&number)));
    nameless.iter().try_for_each(|entry| remove(&entry.directory))
}

/// Our directory in the BPF file system, if there is one.
///
/// # Errors
/// Others than root and this user can change what is in it.
pub(super) fn directory() -> io::Result<Option<PathBuf>> {
    let Some(mount) = file_system::find() else {
        return Ok(None);
    };
    let all = mount.join(OURS);
    match fs::symlink_metadata(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        about => trust(&all, &about?).map(|()| Some(all)),
    }
}

/// A BPF file system that was mounted without a mode lets every user make directories.
fn trust(all: &Path, about: &fs::Metadata) -> io::Result<()> {
    let path = all.display();
    let wrong = if !about.is_dir() {
        format!("{path} is not a directory")
    } else if about.uid() != 0 && about.uid() != geteuid().as_raw() {
        format!("{path} belongs to user {}", about.uid())
    } else if about.mode() & 0o022 != 0 {
        format!(
            "{path} may be changed by other users: its mode is {:o}",
            about.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(io::Error::other(wrong + "; remove it first"))
}

/// Removes the entry in `place`: first what makes it count, last what says for which cgroup it is.
fn remove(place: &Path) -> io::Result<()> {
    let mut files = files(place)?;
    files.sort_by_key(|(name, _)| (name != ESTABLISHED, name.starts_with(POLICY)));
    for (name, path) in files {
        remove_pin(&name, &path)?;
    }
    fs::remove_dir(place)
}

/// A link has no effect any more when this returns.
fn remove_pin(name: &str, path: &Path) -> io::Result<()> {
    if [ESTABLISHED, CLAMP].contains(&name)
        && let Ok(link) = pinned(path)
    {
        let _ = detach_link(link);
    }
    if name.starts_with(WATCH) {
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Pins `map` there, unless that very map is.
fn pin_anew(map: impl AsFd, path: &Path) -> io::Result<()> {
    match pin(&map, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if map_info(&map)? == map_info(pinned(path)?)? {
                return Ok(());
            }
            fs::remove_file(path)?;
            pin(map, path)
        }
        result => result,
    }
}

/// Makes the directory, unless it is there, and keeps other commands of ours from changing anything in it.
fn make_and_lock(directory: &Path, interrupts: Interrupts<'_>) -> Result<OwnedFd, Obstacle> {
    loop {
        make_directory(directory)?;
        match fs::symlink_metadata(directory) {
            // Another command has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            about => trust(directory, &about?)?,
        }
        if let Some(lock) = lock(directory, interrupts)? {
            return Ok(lock);
        }
    }
}
