//! The state that stays in the kernel after the command has ended: one directory in the BPF file system for
//! each cgroup, named by the cgroup's number.
//!
//! The link `established` decides: with it the policy is active, and without it everything else has no
//! effect. It is created last, removed first, and replaced atomically. So a command that is killed leaves the
//! policy either on or off.
//!
//! A command that keeps running (`--watch`) holds the lock of `watch-PROGRAM` from before its program is
//! active until it ends. The name of that directory contains the program's number. So a command that sees its
//! successor's program also finds the successor's lock taken.
//!
//! Programs are compiled and verified before the command takes the lock, because that may take seconds.

use super::directory::{OURS, directory, make_and_lock, make_directory};
use super::entry::{Entry, State, files, pinned_if_there, read_entries};
use super::lock::{Interrupts, lock};
pub use super::target::Target;
use super::{Obstacle, Options, Programs, Shared};
use crate::policy::Policy;
use keepalive_sys::bpf::call::{
    Hook, detach_link, link_info, link_to_cgroup, map_info, pin, pinned, program_info, replace_program,
};
use keepalive_sys::bpf::file_system;
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::lock::try_exclusive;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::fstat;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const ESTABLISHED: &str = "established";
const CLAMP: &str = "clamp";
const NAMES: &str = "names";
pub(super) const SOCK_SETTINGS: &str = "wishes";
/// The prefix of a policy's file; the number of its program follows.
pub(super) const POLICY: &str = "policy-";
/// The prefix of a directory whose lock the watching command holds; the number of its program follows.
pub(super) const WATCH: &str = "watch-";
/// The prefix of the file that states why the newest version of a policy is not active; the number of the active
/// program follows.
pub(super) const REFUSED: &str = "refused-";

/// What [`enable`] did in addition to its task.
#[derive(Debug)]
pub struct Done {
    /// The number of the cgroup.
    pub id: u64,
    /// A BPF file system was mounted.
    pub has_mounted: bool,
    /// A policy was active already.
    pub has_replaced: bool,
    /// The number of the program that is active now.
    pub program: u32,
    /// The lock that shows other commands that this process watches the policy, if the caller asked for it.
    pub watch: Option<OwnedFd>,
    /// Why connections that fail are not counted, if [`Options::counts_ended`] asked for it.
    pub uncounted_because: Option<String>,
}

/// Applies `policy` to the cgroup in `directory`.
///
/// # Errors
/// The obstacle; then nothing has changed.
pub fn enable(
    tree: &Tree,
    directory: &Path,
    policy: &Arc<Policy>,
    options: Options,
    interrupts: Interrupts<'_>,
) -> Result<Done, Obstacle> {
    /// After this many attempts, this command loads its programs while it holds the lock.
    const ATTEMPTS: usize = 5;
    let cgroup = cgroup::open_directory(directory)?;
    // The path may lead to another cgroup meanwhile.
    let number = fstat(&cgroup).map_err(io::Error::from)?.st_ino;
    let id = number.to_string();
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
            interrupts.run(move || Prepared::new(&policy, &name, options, place.as_deref()))??
        };
        let (mounted, is_new) = match mount.take() {
            Some(mounted) => (mounted, false),
            // Mounts the file system only now, since the engine may not work here.
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
        let attached = prepared.attach(tree, directory, &cgroup, &place, options.is_watched);
        let tidied = tidy(&place);
        if attached.is_err() {
            let _ = fs::remove_dir(&all);
        }
        let (has_replaced, watch) = attached?;
        tidied?;
        return Ok(Done {
            id: number,
            has_mounted,
            has_replaced,
            program: prepared.number,
            watch,
            uncounted_because: prepared.programs.uncounted_because,
        });
    }
}

/// Returns the BPF file system, and whether this process has mounted it.
fn find_or_mount(interrupts: Interrupts<'_>) -> Result<(PathBuf, bool), Obstacle> {
    let usual = Path::new(file_system::MOUNT);
    loop {
        // If several processes run at once, only one mounts it.
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

/// The loaded programs of a policy, and the numbers of the maps that were pinned at that time.
struct Prepared {
    programs: Programs,
    /// The number of the program that applies the policy.
    number: u32,
    /// The numbers of the maps that were pinned before.
    names: Option<u32>,
    sock_settings: Option<u32>,
}

impl Prepared {
    fn new(policy: &Policy, name: &Path, options: Options, place: Option<&Path>) -> Result<Self, Obstacle> {
        let find = |name: &str| place.map_or(Ok(None), |place| pinned_if_there(&place.join(name)));
        let old = Shared {
            names: find(NAMES)?,
            sock_settings: find(SOCK_SETTINGS)?,
        };
        let [names, sock_settings] = [number(old.names.as_ref())?, number(old.sock_settings.as_ref())?];
        let programs = Programs::load(policy, name, options, old)?;
        Ok(Self {
            number: program_info(&programs.established)?.id,
            programs,
            names,
            sock_settings,
        })
    }

    /// Returns whether the maps that the programs need are still pinned. Another command may have replaced them.
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

    /// Pins and attaches everything. Returns whether a policy was active already, and the lock of [`WATCH`].
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
        // This program has no effect until the other program stores persistent settings.
        if let Some(clamp) = &programs.clamp {
            attach_program(tree, directory, cgroup, clamp, Hook::SetSockOpt, &place.join(CLAMP))?;
        }
        let path = place.join(ESTABLISHED);
        let has_replaced = attach_program(tree, directory, cgroup, &programs.established, Hook::SockOps, &path)?;
        Ok((has_replaced, watch))
    }
}

/// Returns the number of a map.
fn number(map: Option<&OwnedFd>) -> io::Result<Option<u32>> {
    map.map(|map| map_info(map).map(|info| info.id)).transpose()
}

/// Removes files that do not belong to the active policy; removes all files if no policy is active.
fn tidy(place: &Path) -> io::Result<()> {
    let Some(entry) = Entry::read(place.to_owned())? else {
        return Ok(());
    };
    let Some(program) = entry.program() else {
        return remove(place);
    };
    // Another version may have written an unreadable policy.
    let Some(policy) = &entry.policy else {
        return Ok(());
    };
    let numbered = [POLICY, WATCH, REFUSED].map(|name| format!("{name}{program}"));
    let mut kept = vec![ESTABLISHED];
    kept.extend(numbered.iter().map(String::as_str));
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

/// Replaces the program of the pinned link with `program`, or creates and pins that link. Returns whether the
/// link existed.
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

/// Ends the policy of a cgroup, or ends it only if it has this program. Returns whether there was one.
///
/// # Errors
/// The obstacle that keeps the policy from being removed.
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
    // The directory stays while it contains other entries.
    let _ = fs::remove_dir(&all);
    Ok(was_there)
}

/// Removes the remains of policies for this path whose cgroup has been removed.
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

/// Removes what a killed command has left before it stored the cgroup's name, if that cgroup no longer exists.
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

/// Removes the entry in `place`: first the link that makes the policy active, last the file that contains the
/// cgroup's name.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    let mut files = files(place)?;
    files.sort_by_key(|(name, _)| (name != ESTABLISHED, name.starts_with(POLICY)));
    for (name, path) in files {
        remove_pin(&name, &path)?;
    }
    fs::remove_dir(place)
}

/// Removes a pinned object. When this returns, a link no longer has an effect.
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

/// Pins `map` at this path, unless the same map is pinned there already.
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
