//! A service: its drop-in, its programs, and its cgroups while it runs.

use super::drop_in::{self, FILE};
use super::file::{self, DropIn, LARGEST, Manager, is_absent, unreadable};
use super::loaded::{LoadedUnit, is_systemd_running, systemctl};
use super::statements::UnitFile;
use super::{Engine, say};
use crate::error::{Error, FAILED};
use keepalive_engine::cgroup::entry;
use keepalive_engine::cgroup::pins::Target;
use keepalive_sys::cgroup::{self, Tree};
use keepalive_sys::program::{self, Program};
use keepalive_sys::rooted::{Attributes, Directory, Place, Root};
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A service, and the path of its drop-in.
pub(in crate::cmd) struct Service {
    pub(in crate::cmd) name: String,
    /// All names of the service, its own name first.
    pub(super) names: Vec<String>,
    pub(super) manager: Manager,
    pub(super) root: Root,
    /// The path of the drop-in inside the system below `root`.
    pub(super) drop_in: PathBuf,
    /// The unit as the running systemd has it; `None` for another system's.
    pub(in crate::cmd) loaded: Option<LoadedUnit>,
}

impl Service {
    /// Creates the service, with its own name if the running systemd knows `name` as an alias. For root, only files that root has created are followed among a user's units:
    /// `--user` under sudo(8) keeps the user's home, whose links would otherwise decide where root writes.
    pub(in crate::cmd) fn new(name: String, manager: Manager, root: Root) -> Result<Self, Error> {
        let directory = manager
            .drop_in_directory()
            .map_err(|why| Error::new(FAILED, format!("cannot find the directory of this user's units: {why}")))?;
        let root = if manager == Manager::User && geteuid().is_root() {
            root.made_by(0)
        } else {
            root
        };
        let loaded = root.is_ours().then(|| LoadedUnit::find(manager, &name)).flatten();
        let names = loaded.as_ref().map_or_else(|| vec![name.clone()], LoadedUnit::names);
        // The cgroup of a service has its own name, whatever the alias in `name`.
        let name = names.first().map_or(name, Clone::clone);
        Ok(Self {
            drop_in: directory.join(format!("{name}.d")).join(FILE),
            name,
            names,
            manager,
            root,
            loaded,
        })
    }

    /// Reads the unit, without the drop-in of keepalive.
    ///
    /// # Errors
    /// There is no such unit, or it cannot be read.
    pub(in crate::cmd) fn unit(&self) -> Result<UnitFile, Error> {
        let own = DropIn {
            path: &self.drop_in,
            text: None,
        };
        file::read(self.manager, &self.root, &self.names, &own)?.ok_or_else(|| {
            Error::new(FAILED, format!("there is no unit '{}'", self.name))
                .hint("systemctl list-unit-files --type service lists them; --user is for your own")
        })
    }

    /// Returns whether the systemd that runs here manages the service.
    pub(in crate::cmd) fn is_managed(&self) -> bool {
        self.root.is_ours() && is_systemd_running()
    }

    /// Returns the processes of the running service.
    pub(in crate::cmd) fn processes(&self) -> Vec<u32> {
        let cgroups = self.cgroups().into_iter();
        cgroups
            .flat_map(|(tree, target)| cgroup::processes(&tree.directory(&target.name)).0)
            .collect()
    }

    /// Returns the directory of the drop-in, `UNIT.d`.
    fn directory(&self) -> &Path {
        self.drop_in.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the place of the drop-in; `None` if its directory does not exist.
    fn place(&self) -> io::Result<Option<Place>> {
        match self.root.directory(self.directory()) {
            Ok(directory) => Ok(Some(Place::new(Rc::new(directory), FILE))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the text of the drop-in; `None` if it does not exist.
    pub(in crate::cmd) fn text(&self) -> Result<Option<String>, Error> {
        let path = self.root.outside(&self.drop_in);
        let place = self
            .place()
            .map_err(|error| super::cannot(&format!("read '{}'", path.display()), &error))?;
        let Some(place) = place else { return Ok(None) };
        match self.root.read(&self.drop_in, LARGEST) {
            Ok(content) => Ok(Some(String::from_utf8_lossy(&content).into_owned())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(unreadable(&place, &error)),
        }
    }

    /// Returns the engine of the drop-in, if it is readable.
    pub(in crate::cmd) fn engine(&self) -> Option<Engine> {
        self.text().ok().flatten().as_deref().map(drop_in::engine)
    }

    /// Writes the drop-in under a temporary name first, so that it exists either completely or not at all.
    pub(in crate::cmd) fn write(&self, text: &str) -> io::Result<()> {
        const PUBLIC: Attributes = Attributes {
            mode: 0o644,
            owner: None,
            label: None,
        };
        let directory = Rc::<Directory>::new(self.root.make_directory(self.directory())?);
        let place = Place::new(directory, FILE);
        let new = place.write_beside(text.as_bytes(), PUBLIC)?;
        let renamed = new.rename(&place);
        if renamed.is_err() {
            let _ = new.remove();
        }
        renamed.and_then(|()| place.directory().sync())
    }

    /// Removes the drop-in, and its directory if that is empty. Returns whether the drop-in existed.
    pub(in crate::cmd) fn remove(&self) -> io::Result<bool> {
        let Some(place) = self.place()? else {
            return Ok(false);
        };
        let was_there = match place.remove() {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        for left in place.unfinished() {
            let _ = left.remove();
        }
        if let (Some(above), Some(name)) = (self.directory().parent(), self.directory().file_name())
            && let Ok(above) = self.root.directory(above)
        {
            // The directory stays while it contains other files.
            let _ = above.remove_directory(name);
        }
        Ok(was_there)
    }

    /// Returns the programs that the service starts, as far as they exist.
    pub(in crate::cmd) fn programs(&self, unit: &UnitFile) -> Vec<Program> {
        let search = OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let is_ours = self.root.is_ours();
        let found = unit.programs().into_iter().map(|path| {
            let path = OsStr::new(path);
            if is_ours {
                program::inspect(&program::find(path, search).ok()?, search).ok()
            } else {
                program::inspect_below(&self.root, &program::find_below(&self.root, path, search).ok()?, search).ok()
            }
        });
        found.flatten().collect()
    }

    /// Makes systemd read its files again, if it is running.
    pub(in crate::cmd) fn reload(&self) {
        if !self.is_managed() {
            return;
        }
        match systemctl(self.manager).arg("daemon-reload").status() {
            Ok(status) if status.success() => {}
            _ => say(&format!(
                "systemd was not told: run systemctl {}daemon-reload",
                self.user_option()
            )),
        }
    }

    /// Returns the option that selects the manager, with a space after it.
    pub(in crate::cmd) fn user_option(&self) -> &'static str {
        if self.manager == Manager::User { "--user " } else { "" }
    }

    pub(in crate::cmd) fn restart(&self) -> String {
        format!("systemctl {}restart {}", self.user_option(), self.name)
    }

    /// Returns the cgroups of the running service: that of the system's manager, or that of this user's
    /// manager, which may have a unit with the same name.
    pub(in crate::cmd) fn cgroups(&self) -> Vec<(Tree, Target)> {
        if !self.root.is_ours() {
            return Vec::new();
        }
        let Ok(tree) = Tree::find() else { return Vec::new() };
        let found = match self.manager {
            Manager::User => tree.named(OsStr::new(&self.name)),
            Manager::System => tree.units(OsStr::new(&self.name)),
        };
        let own = format!("user@{}.service", geteuid().as_raw());
        let is_meant = |target: &Target| {
            let mut parts = target.name.iter().map(OsStr::to_string_lossy);
            match self.manager {
                Manager::User => parts.any(|part| part == own),
                Manager::System => !parts.any(|part| part.starts_with("user@") && part != self.name),
            }
        };
        found
            .iter()
            .map(|directory| (tree.clone(), Target::new(&tree, directory)))
            .filter(|(_, target)| is_meant(target))
            .collect()
    }

    /// Returns the problem if a process of the service runs without the library.
    pub(in crate::cmd) fn without_library(&self, drop_in: &str) -> Option<String> {
        let library = drop_in::library(drop_in)?;
        let pids = self.processes();
        let mut without: Vec<String> = Vec::new();
        let mut hidden: Vec<String> = Vec::new();
        for pid in pids {
            match fs::read_to_string(format!("/proc/{pid}/maps")) {
                Ok(maps) if maps.contains(library) => {}
                Ok(_) => without.push(pid.to_string()),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden.push(pid.to_string()),
                // The process has ended.
                Err(_) => {}
            }
        }
        if !hidden.is_empty() {
            say(&format!(
                "it is not known whether these have the library, as only root and their user can see: {}",
                hidden.join(", ")
            ));
        }
        (!without.is_empty()).then(|| {
            format!(
                "{}: without the library run {}: static, or started before the drop-in",
                self.name,
                without.join(", ")
            )
        })
    }

    /// Returns the problem if the cgroup of the running service has no policy.
    pub(in crate::cmd) fn without_policy(&self) -> Option<String> {
        let entries = entry::entries().ok()?;
        let in_force = |target: &Target| {
            let mut entries = entries.iter();
            entries.any(|entry| entry.is_of(target) && entry.state == entry::State::Active)
        };
        let without: Vec<_> = self
            .cgroups()
            .into_iter()
            .filter(|(tree, target)| {
                !cgroup::processes(&tree.directory(&target.name)).0.is_empty() && !in_force(target)
            })
            .map(|(_, target)| target.name.display().to_string())
            .collect();
        (!without.is_empty()).then(|| format!("{}: no policy is active for {}", self.name, without.join(", ")))
    }
}
