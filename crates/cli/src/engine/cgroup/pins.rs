//! What stays in the kernel when the command has ended: a directory in the BPF file system for each cgroup, named by the
//! cgroup's number.
//!
//! `established` is the link that counts: with it the policy is in force, without it everything else has no effect. It is
//! made last and removed first, and replaced at once, so that a command that is killed leaves the policy on or off.

use super::obstacle::name;
use super::{Description, Obstacle, Programs, Shared};
use crate::policy::Policy;
use keepalive_linux::bpf::call::{
    Attached, Hook, LinkInfo, detach_link, link_info, link_to_cgroup, map_info, pin, pinned, program_info, programs,
    replace_program, value,
};
use keepalive_linux::bpf::file_system::{self, lock, open_directory, share, try_lock};
use keepalive_linux::bpf::record;
use keepalive_linux::cgroup::{self, Tree};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::fstat;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Our directory in the BPF file system.
const OURS: &str = "keepalive";
const ESTABLISHED: &str = "established";
const CLAMP: &str = "clamp";
const NAMES: &str = "names";
const WISHES: &str = "wishes";
/// Behind it stands the number of the program that the policy belongs to.
const POLICY: &str = "policy-";

/// What we keep in the kernel for one cgroup.
#[derive(Debug)]
pub(crate) struct Entry {
    directory: PathBuf,
    pub(crate) state: State,
    /// Absent where the policy cannot be read.
    pub(crate) policy: Option<Counted>,
    /// The number of the program.
    pub(crate) program: Option<u32>,
}

/// A cgroup that is meant.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its path in the tree.
    pub(crate) name: PathBuf,
    /// Its number, while it is there.
    id: Option<u64>,
}

impl Target {
    pub(crate) fn new(tree: &Tree, directory: &Path) -> Self {
        Self {
            name: tree.name(directory),
            id: cgroup::id(directory).ok(),
        }
    }
}

/// How an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The policy is in force.
    InForce,
    /// The cgroup is gone, and with it the effect.
    Dangling,
    /// A command was killed before the policy was in force, or after it was not any more.
    Unfinished,
}

/// A policy, and how often it was used.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) description: Description,
    /// For each rule.
    pub(crate) rules: Vec<u64>,
    /// Connections that no rule was for.
    pub(crate) default: u64,
    /// Options that the kernel refused.
    pub(crate) refused: u64,
}

/// What [`enable`] did beside what it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// A BPF file system was mounted.
    pub(crate) has_mounted: bool,
    /// A policy was there already.
    pub(crate) has_replaced: bool,
    /// The number of the program that is in force now.
    pub(crate) program: u32,
}

/// Puts `policy` in force for the cgroup in `directory`; `is_watched` where this process goes on to look after it.
///
/// # Errors
/// What is in the way; then nothing is changed.
pub(crate) fn enable(tree: &Tree, directory: &Path, policy: &Policy, is_watched: bool) -> Result<Done, Obstacle> {
    let cgroup = cgroup::open_directory(directory)?;
    let id = cgroup::id(directory)?;
    let (mount, has_mounted) = if let Some(mounted) = file_system::find() {
        (mounted, false)
    } else {
        // Before anything is mounted, whether it is of any use.
        Programs::trial()?;
        file_system::find_or_mount().map_err(Obstacle::NoFileSystem)?
    };
    let all = mount.join(OURS);
    let _lock = make_and_lock(&all)?;
    remove_dangling(&all, tree, &tree.name(directory))?;
    let place = all.join(id.to_string());
    let attached = attach(tree, directory, &cgroup, &place, policy, is_watched);
    let tidied = tidy(&place);
    if attached.is_err() {
        let _ = fs::remove_dir(&all);
    }
    let (has_replaced, program) = attached?;
    tidied?;
    Ok(Done {
        has_mounted,
        has_replaced,
        program,
    })
}

/// Gives whether a policy was there already, and the number of the new one's program.
fn attach(
    tree: &Tree,
    directory: &Path,
    cgroup: &OwnedFd,
    place: &Path,
    policy: &Policy,
    is_watched: bool,
) -> Result<(bool, u32), Obstacle> {
    let old = Shared {
        names: pinned(&place.join(NAMES)).ok(),
        wishes: pinned(&place.join(WISHES)).ok(),
    };
    let programs = Programs::load(policy, &tree.name(directory), is_watched, old)?;
    make_directory(place)?;
    let number = program_info(&programs.established)?.id;
    pin(&programs.record, &place.join(format!("{POLICY}{number}")))?;
    for (name, map) in [(NAMES, &programs.shared.names), (WISHES, &programs.shared.wishes)] {
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
    Ok((has_replaced, number))
}

/// Removes what does not belong to the policy that is in force; everything where none is.
fn tidy(place: &Path) -> io::Result<()> {
    if !place.exists() {
        return Ok(());
    }
    let entry = Entry::read(place.to_owned())?;
    let Some(program) = entry.program else {
        return remove(place);
    };
    // What cannot be read is another version's, perhaps.
    let Some(policy) = &entry.policy else {
        return Ok(());
    };
    let number = format!("{POLICY}{program}");
    let mut kept = vec![ESTABLISHED, &number];
    if policy.description.needs_names {
        kept.push(NAMES);
    }
    if policy.description.is_lasting {
        kept.extend([WISHES, CLAMP]);
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
    if let Ok(link) = pinned(path) {
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
pub(crate) fn disable(tree: &Tree, target: &Target, program: Option<u32>) -> io::Result<bool> {
    let Some(all) = directory() else {
        return Ok(false);
    };
    let Some(_lock) = lock_if_there(&all)? else {
        return Ok(false);
    };
    let mut was_there = false;
    for entry in read_entries(&all)? {
        if entry.is_of(target) && (program.is_none() || program == entry.program) {
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
        if entry.state != State::InForce && entry.is_of(&gone) {
            remove(&entry.directory)?;
        }
    }
    remove_nameless(all, tree)
}

/// Removes what a killed command has left before it wrote for which cgroup, if there is no such cgroup any more.
fn remove_nameless(all: &Path, tree: &Tree) -> io::Result<()> {
    let mut nameless = read_entries(all)?;
    nameless.retain(|entry| entry.state != State::InForce && entry.policy.is_none());
    if nameless.is_empty() {
        return Ok(());
    }
    let there = cgroup::ids_with_all_below(tree.mount());
    nameless.retain(|entry| entry.number().is_none_or(|number| !there.contains(&number)));
    nameless.iter().try_for_each(|entry| remove(&entry.directory))
}

/// Our directory in the BPF file system, if there is one.
fn directory() -> Option<PathBuf> {
    Some(file_system::find()?.join(OURS))
}

/// Everything that we keep in the kernel.
///
/// # Errors
/// `EACCES` where this user may not look; without a BPF file system there is nothing.
pub(crate) fn entries() -> io::Result<Vec<Entry>> {
    let Some(all) = directory() else {
        return Ok(Vec::new());
    };
    // Not in the middle of a change.
    let _shared = match share(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        lock => lock?,
    };
    read_entries(&all)
}

fn read_entries(all: &Path) -> io::Result<Vec<Entry>> {
    let directories = match fs::read_dir(all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        directories => directories?,
    };
    let read = directories.flatten().map(|entry| Entry::read(entry.path()));
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
    /// # Errors
    /// `EPERM` or `EACCES` where this process may not look.
    fn read(directory: PathBuf) -> io::Result<Self> {
        let established = match pinned(&directory.join(ESTABLISHED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            link => Some(link_info(link?)?),
        };
        let state = match established {
            None => State::Unfinished,
            Some(LinkInfo { cgroup: 0, .. }) => State::Dangling,
            Some(_) => State::InForce,
        };
        let program = established.map(|link| link.program);
        // Without the link, any that is left tells of what cgroup it was.
        let policy = match program {
            Some(program) => read_policy(&directory, program),
            None => files(&directory).ok().and_then(|files| {
                let mut numbers = files
                    .iter()
                    .filter_map(|(name, _)| name.strip_prefix(POLICY)?.parse().ok());
                numbers.find_map(|number| read_policy(&directory, number))
            }),
        };
        Ok(Self {
            directory,
            state,
            policy,
            program,
        })
    }

    /// The path of the cgroup in the tree, or what there is in its place.
    pub(crate) fn name(&self) -> String {
        match &self.policy {
            Some(policy) => policy.description.cgroup.clone(),
            None => format!("cgroup {}", self.directory.file_name().unwrap_or_default().display()),
        }
    }

    /// Notes the path that its cgroup has here: the command that has put it in force may have seen another tree, of a
    /// cgroup namespace or above it.
    fn find(&mut self, tree: &Tree) {
        let number = self.number();
        let (State::InForce, Some(policy)) = (self.state, &mut self.policy) else {
            return;
        };
        let name = &mut policy.description.cgroup;
        let is_it = |directory: &PathBuf| cgroup::id(directory).ok() == number;
        if is_it(&tree.directory(Path::new(name))) {
            return;
        }
        let all = cgroup::with_all_below(tree.mount());
        *name = match (all.into_iter().find(is_it), number) {
            (Some(directory), _) => tree.name(&directory).display().to_string(),
            (None, Some(number)) => format!("cgroup {number}, which is not seen from here"),
            (None, None) => return,
        };
    }

    /// Whether it is for this cgroup.
    pub(crate) fn is_of(&self, target: &Target) -> bool {
        match (&self.policy, self.state) {
            (Some(policy), State::Dangling | State::Unfinished) => Path::new(&policy.description.cgroup) == target.name,
            _ => target.id.is_some() && self.number() == target.id,
        }
    }

    /// The number of the cgroup.
    pub(crate) fn number(&self) -> Option<u64> {
        self.directory.file_name()?.to_str()?.parse().ok()
    }

    /// The map of what goes on to count for sockets, where the policy has one.
    pub(crate) fn wishes(&self) -> Option<OwnedFd> {
        self.is_lasting().then(|| pinned(&self.directory.join(WISHES)).ok())?
    }

    fn is_lasting(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.description.is_lasting)
    }

    /// Says that this process looks after the policy, as long as what this gives is there; `None` where another does.
    pub(crate) fn look_after(&self) -> Option<OwnedFd> {
        try_lock(&self.directory)
    }

    /// The programs that run for the processes of `directory` beside this one, in their order: number and name, and whether
    /// they run after it, so that their word is the last.
    pub(crate) fn others(&self, directory: &Path) -> Vec<(u32, String, bool)> {
        let effective =
            cgroup::open_directory(directory).and_then(|cgroup| programs(&cgroup, Hook::SockOps, Attached::Effective));
        let Ok(effective) = effective else {
            return Vec::new();
        };
        let mut is_after = false;
        let mut others = Vec::new();
        for id in effective.ids {
            if Some(id) == self.program {
                is_after = true;
            } else {
                others.push((id, name(id), is_after));
            }
        }
        others
    }
}

/// The policy of the program of this number.
fn read_policy(place: &Path, program: u32) -> Option<Counted> {
    let map = pinned(&place.join(format!("{POLICY}{program}"))).ok()?;
    let value = value(&map, map_info(&map).ok()?.value_size).ok()?;
    let (mut counters, text) = record::read(&value)?;
    let refused = counters.pop()?;
    let default = counters.pop()?;
    Some(Counted {
        description: serde_json::from_str(&text).ok()?,
        rules: counters,
        default,
        refused,
    })
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
    fs::remove_file(path)
}

fn files(place: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(place)?.flatten();
    Ok(entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect())
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
fn make_and_lock(directory: &Path) -> io::Result<OwnedFd> {
    loop {
        make_directory(directory)?;
        if let Some(lock) = lock_if_there(directory)? {
            return Ok(lock);
        }
    }
}

/// The lock of the directory, until it is dropped; `None` where there is none, or another command has removed it meanwhile.
fn lock_if_there(directory: &Path) -> io::Result<Option<OwnedFd>> {
    let lock = match open_directory(directory).and_then(lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    let is_same = |about: fs::Metadata| fstat(&lock).is_ok_and(|locked| locked.st_ino == about.ino());
    let is_there = fs::metadata(directory).is_ok_and(is_same);
    Ok(is_there.then_some(lock))
}
