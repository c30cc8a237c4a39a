//! `keepalive unit`: a policy for one service of systemd.

mod drop_in;
mod file;
mod warnings;

use crate::cli::PolicyFlags;
use crate::engine::cgroup::entry;
use crate::engine::cgroup::pins::{self, Target};
use crate::engine::cgroup::{Interrupts, out_of_reach};
use crate::engine::preload;
use crate::error::{Error, FAILED, REFUSED, describe};
use crate::output::{WIDTH, harmless_text, print, wrap, write_stderr};
use crate::policy::Policy;
use clap::{Args, Subcommand, ValueEnum};
use file::{Manager, UnitFile, below};
use keepalive_linux::cgroup::{self, Tree};
use keepalive_linux::program::{self, Program};
use keepalive_policy::Settings;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set keepalive for a service of systemd, by a drop-in
///
/// The service is given the policy whenever it starts; its own file is not touched.
#[derive(Debug, Args)]
pub(crate) struct Unit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Enable(Box<Enable>),
    Disable(Disable),
    Status(Status),
}

/// Write the drop-in
#[derive(Debug, Args)]
#[command(after_help = NOTES, override_usage = "keepalive unit enable [OPTIONS] UNIT")]
struct Enable {
    #[command(flatten)]
    which: Which,

    /// How to reach the service
    #[arg(long, value_name = "ENGINE", default_value = "preload")]
    engine: Engine,

    /// Print the drop-in, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    policy: PolicyFlags,
}

/// Remove the drop-in
#[derive(Debug, Args)]
struct Disable {
    #[command(flatten)]
    which: Which,
}

/// Show the drop-in, and whether the service that runs has it
#[derive(Debug, Args)]
#[command(after_help = STATUS_NOTES)]
struct Status {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// A service, with or without .service
    #[arg(value_name = "UNIT")]
    unit: String,

    /// A unit of this user's own manager
    #[arg(long)]
    user: bool,

    /// Units of the system in this directory: of an image, or a chroot
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    root: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// The library, by LD_PRELOAD
    Preload,
    /// A program of the kernel for the service's cgroup, which reaches static programs too
    Cgroup,
}

const NOTES: &str = "\
Without any policy option or file: --idle 60 --interval 15 --count 5. The
environment of this command does not count. The service must be started again;
systemd is told to read its files again.

Exit status: 0; 1 when it could not be done; 2 when the command line or the
policy cannot be used.";

const STATUS_NOTES: &str = "\
Exit status: 0; 1 when there is no drop-in, or a process of the service was
started without it.";

/// Does what is asked for.
///
/// # Errors
/// What cannot be used of the command line or a policy; what could not be done.
pub(crate) fn run(unit: &Unit) -> Result<(), Error> {
    match &unit.action {
        Action::Enable(enable) => enable.run(),
        Action::Disable(disable) => disable.run(),
        Action::Status(status) => status.run(),
    }
}

/// A service, and where things of it are.
struct Service {
    name: String,
    manager: Manager,
    root: PathBuf,
    drop_in: PathBuf,
}

impl Which {
    fn service(&self) -> Result<Service, Error> {
        let refused = |what: &str| Error::new(REFUSED, format!("cannot use '{}': {what}", self.unit));
        let name = match self.unit.rsplit_once('.') {
            Some((_, "service")) => self.unit.clone(),
            Some((_, "slice" | "scope")) => {
                let hint = format!("keepalive cgroup enable {}", self.unit);
                return Err(refused("a slice or scope starts no programs").hint(hint));
            }
            Some((_, "socket" | "mount" | "swap" | "timer" | "path" | "target" | "device" | "automount")) => {
                return Err(refused("only services have programs that connect").hint("name the service that it starts"));
            }
            _ => format!("{}.service", self.unit),
        };
        if name.contains('/') || name.starts_with('.') || name.contains(char::is_whitespace) {
            return Err(refused("not the name of a unit").hint("systemctl list-units --type service lists them"));
        }
        let manager = if self.user { Manager::User } else { Manager::System };
        let root = self.root.clone().unwrap_or_else(|| PathBuf::from("/"));
        let directory = manager
            .drop_in_directory(&root)
            .map_err(|why| Error::new(FAILED, format!("cannot find the directory of this user's units: {why}")))?;
        Ok(Service {
            drop_in: directory.join(format!("{name}.d")).join(drop_in::FILE),
            name,
            manager,
            root,
        })
    }
}

impl Enable {
    fn run(&self) -> Result<(), Error> {
        let service = self.which.service()?;
        let policy = Policy::read(&self.policy, &[], Settings::EVERYWHERE, REFUSED)?;
        let unit = UnitFile::read(service.manager, &service.root, &service.name, &service.drop_in);
        let unit = unit.ok_or_else(|| {
            Error::new(FAILED, format!("there is no unit '{}'", service.name))
                .hint("systemctl list-unit-files --type service lists them; --user is for your own")
        })?;
        let programs = service.programs(&unit);
        let text = match self.engine {
            Engine::Preload => {
                let library =
                    preload::library(programs.first().unwrap_or(&super::doctor::own_program()?)).map_err(failed)?;
                for warning in warnings::of_library(&unit, &library, &programs) {
                    say(&warning);
                }
                drop_in::with_library(&library, &policy, unit.variable("LD_PRELOAD"))
            }
            Engine::Cgroup if service.manager == Manager::User => {
                return Err(
                    Error::new(REFUSED, "cannot use --engine cgroup with --user: it takes root")
                        .hint("--engine preload; or, by root, keepalive cgroup enable user.slice"),
                );
            }
            Engine::Cgroup => {
                let names = out_of_reach(&policy);
                if !names.is_empty() {
                    say(&format!("not set by the cgroup engine: {}", names.join(", ")));
                }
                drop_in::with_cgroup(&own_path()?, &policy)
            }
        };
        if self.dry_run {
            return print(&format!("# {}\n{text}", service.drop_in.display()));
        }
        write(&service.drop_in, &text)
            .map_err(|error| cannot(&format!("write '{}'", service.drop_in.display()), &error))?;
        print(&format!("{}: {}\n", service.name, service.drop_in.display()))?;
        service.reload();
        say(&format!(
            "it counts when the service starts again: {}",
            service.restart()
        ));
        Ok(())
    }
}

impl Disable {
    fn run(&self) -> Result<(), Error> {
        let service = self.which.service()?;
        let was_there = match fs::remove_file(&service.drop_in) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(cannot(&format!("remove '{}'", service.drop_in.display()), &error)),
        };
        if let Some(directory) = service.drop_in.parent() {
            // It stays while others are in it.
            let _ = fs::remove_dir(directory);
        }
        if !was_there {
            say(&format!("{} has no drop-in of keepalive", service.name));
            return Ok(());
        }
        print(&format!("{}: disabled\n", service.name))?;
        service.reload();
        for (tree, target) in service.cgroups() {
            pins::disable(&tree, &target, None, Interrupts::DEFAULT)
                .map_err(|obstacle| obstacle.error(&format!("disable the policy of {}", target.name.display())))?;
        }
        say(&format!(
            "the library leaves when the service starts again: {}",
            service.restart()
        ));
        Ok(())
    }
}

impl Status {
    fn run(&self) -> Result<(), Error> {
        let service = self.which.service()?;
        let text = match fs::read_to_string(&service.drop_in) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!("{} has no drop-in of keepalive", service.name);
                return Err(Error::new(FAILED, what).hint(format!("keepalive unit enable {}", self.which.unit)));
            }
            Err(error) => return Err(cannot(&format!("read '{}'", service.drop_in.display()), &error)),
        };
        let engine = if text.contains("ExecStartPre=") {
            Engine::Cgroup
        } else {
            Engine::Preload
        };
        let mut shown = format!("{}: {}\n", service.name, service.drop_in.display());
        for line in text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            shown.push_str(&wrap(&format!("  {}", harmless_text(line)), WIDTH, 4));
        }
        let problem = match engine {
            Engine::Preload => service.without_library(&text),
            Engine::Cgroup => service.without_policy(),
        };
        print(&shown)?;
        match problem {
            None => Ok(()),
            Some(problem) => Err(Error::new(FAILED, problem).hint(service.restart())),
        }
    }
}

impl Service {
    /// The programs that it starts, as far as they are there.
    fn programs(&self, unit: &UnitFile) -> Vec<Program> {
        let paths = unit.programs();
        let search = OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let found = paths.into_iter().map(|path| {
            let command = if path.contains('/') {
                below(&self.root, path)
            } else {
                program::find(OsStr::new(path), search).ok()?
            };
            program::inspect(&command, search).ok()
        });
        found.flatten().collect()
    }

    /// Tells systemd to read its files again, where it runs.
    fn reload(&self) {
        if self.root != Path::new("/") || !Path::new("/run/systemd/system").is_dir() {
            return;
        }
        let mut command = Command::new("systemctl");
        if self.manager == Manager::User {
            command.arg("--user");
        }
        match command.arg("daemon-reload").status() {
            Ok(status) if status.success() => {}
            _ => say("systemd was not told: run systemctl daemon-reload"),
        }
    }

    fn restart(&self) -> String {
        let user = if self.manager == Manager::User { "--user " } else { "" };
        format!("systemctl {user}restart {}", self.name)
    }

    /// The cgroups of the service that runs.
    fn cgroups(&self) -> Vec<(Tree, Target)> {
        if self.root != Path::new("/") {
            return Vec::new();
        }
        let Ok(tree) = Tree::find() else { return Vec::new() };
        let found = tree.named(OsStr::new(&self.name));
        found
            .iter()
            .map(|directory| (tree.clone(), Target::new(&tree, directory)))
            .collect()
    }

    /// What is wrong where a process of the service runs without the library.
    fn without_library(&self, drop_in: &str) -> Option<String> {
        let library = drop_in
            .split(['"', ':', '='])
            .find(|part| part.ends_with("/libkeepalive.so"))?;
        let pids = self
            .cgroups()
            .into_iter()
            .flat_map(|(tree, target)| cgroup::processes(&tree.directory(&target.name)).0);
        let lacks =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| !maps.contains(library));
        let without: Vec<String> = pids.filter(lacks).map(|pid| pid.to_string()).collect();
        (!without.is_empty()).then(|| {
            format!(
                "{}: without the library run {}: static, or started before the drop-in",
                self.name,
                without.join(", ")
            )
        })
    }

    /// What is wrong where the cgroup of the service that runs has no policy.
    fn without_policy(&self) -> Option<String> {
        let entries = entry::entries().ok()?;
        let in_force = |target: &Target| {
            let mut entries = entries.iter();
            entries.any(|entry| entry.is_of(target) && entry.state == entry::State::InForce)
        };
        let without: Vec<_> = self
            .cgroups()
            .into_iter()
            .filter(|(tree, target)| {
                !cgroup::processes(&tree.directory(&target.name)).0.is_empty() && !in_force(target)
            })
            .map(|(_, target)| target.name.display().to_string())
            .collect();
        (!without.is_empty()).then(|| format!("{}: no policy is in force for {}", self.name, without.join(", ")))
    }
}

/// Writes the file under another name first, so that it is there whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("conf.new");
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn own_path() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|error| cannot("find this command's own file", &error))
}

fn failed(error: Error) -> Error {
    error.with_status(FAILED)
}

fn cannot(action: &str, error: &io::Error) -> Error {
    let message = Error::new(FAILED, format!("cannot {action}: {}", describe(error)));
    match error.kind() {
        io::ErrorKind::PermissionDenied => message.hint("system units are root's; --user is for your own"),
        _ => message,
    }
}

/// A line on standard error.
fn say(text: &str) {
    write_stderr(&wrap(&format!("keepalive: {text}"), WIDTH, 2));
}
