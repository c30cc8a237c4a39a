//! `keepalive unit`: sets a policy for one systemd service.

mod check;
pub(in crate::cmd) mod drop_in;
pub(in crate::cmd) mod enable;
mod environment;
mod file;
mod loaded;
pub(in crate::cmd) mod members;
mod sandbox;
pub(in crate::cmd) mod service;
pub(in crate::cmd) mod statements;
mod users;
pub(in crate::cmd) mod warnings;

use crate::error::{Error, FAILED, REFUSED, describe};
use crate::flags::PolicyFlags;
use crate::help::{Notes, POLICY_USAGE, SUCCESS, USAGE};
use crate::output::{WIDTH, print, sanitize_text, wrap, write_stderr};
use clap::{Args, Subcommand, ValueEnum};
use file::Manager;
use keepalive_engine::cgroup::Interrupts;
use keepalive_engine::cgroup::pins;
use service::Service;
use std::io;
use std::path::{Path, PathBuf};

/// Set keepalive for a systemd service, by a drop-in
///
/// The service gets the policy whenever it starts. Its own file does not change.
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
#[command(override_usage = "keepalive unit enable [OPTIONS] UNIT")]
struct Enable {
    #[command(flatten)]
    which: Which,

    /// Engine that reaches the service
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    engine: Engine,

    /// Restart the service, and check that its connections have the policy
    #[arg(long, conflicts_with_all = ["dry_run", "root"])]
    now: bool,

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

/// Show the drop-in, and whether the running service uses it
#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// Name of a service, with or without .service
    #[arg(value_name = "UNIT")]
    unit: String,

    /// A unit of the user's own systemd manager
    #[arg(long)]
    user: bool,

    /// A unit of the system below DIR, such as an image or a chroot
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    root: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cmd) enum Engine {
    /// Choose automatically: the library, or an eBPF program where something is in the way of the library
    Auto,
    /// The library, by LD_PRELOAD
    Preload,
    /// An eBPF program for the service's cgroup; also reaches static programs
    Cgroup,
}

impl Engine {
    /// Returns the name, as in `--engine`.
    pub(in crate::cmd) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Preload => "preload",
            Self::Cgroup => "cgroup",
        }
    }
}

pub(crate) const ENABLE_NOTES: Notes = Notes {
    command: "unit enable",
    paragraphs: &[
        "Without any policy option or file: --idle 60 --interval 15 --count 5. The environment of this command is ignored. \
         The command makes systemd read its files again. The policy counts from the next start of the service.",
    ],
    statuses: &[
        SUCCESS,
        (
            "1",
            "It could not be done, the unit runs nothing itself, or (--now) a connection lacks what the policy wants.",
        ),
        POLICY_USAGE,
    ],
    examples: &[(
        "Print the drop-in; write it, restart the service and check that it has the policy:",
        &[
            "keepalive unit enable --dry-run nginx",
            "sudo keepalive unit enable --now nginx",
        ],
    )],
    ..Notes::DEFAULT
};

pub(crate) const DISABLE_NOTES: Notes = Notes {
    command: "unit disable",
    ..Notes::DEFAULT
};

pub(crate) const STATUS_NOTES: Notes = Notes {
    command: "unit status",
    statuses: &[
        SUCCESS,
        (
            "1",
            "There is no drop-in, or a process of the service was started without it.",
        ),
        USAGE,
    ],
    ..Notes::DEFAULT
};

/// Runs the subcommand.
///
/// # Errors
/// A mistake in the command line or a policy; an action that failed.
pub(crate) fn run(unit: &Unit) -> Result<(), Error> {
    match &unit.action {
        Action::Enable(enable) => enable.run(),
        Action::Disable(disable) => disable.run(),
        Action::Status(status) => status.run(),
    }
}

impl Which {
    fn service(&self) -> Result<Service, Error> {
        let manager = if self.user { Manager::User } else { Manager::System };
        find(&self.unit, manager, self.root.as_deref())
    }
}

/// Returns the system's service of this name.
///
/// # Errors
/// It is not the name of a service.
pub(in crate::cmd) fn find_service(unit: &str) -> Result<Service, Error> {
    find(unit, Manager::System, None)
}

fn find(unit: &str, manager: Manager, root: Option<&Path>) -> Result<Service, Error> {
    let refused = |what: &str| Error::new(REFUSED, format!("cannot use '{unit}': {what}"));
    let name = match unit.rsplit_once('.') {
        Some((_, "service")) => unit.to_owned(),
        Some((_, "slice" | "scope")) => {
            let hint = format!("keepalive cgroup enable {unit}");
            return Err(refused("a slice or scope starts no programs").hint(hint));
        }
        Some((_, "socket" | "mount" | "swap" | "timer" | "path" | "target" | "device" | "automount")) => {
            return Err(refused("only services have programs that connect").hint("name the service that it starts"));
        }
        _ => format!("{unit}.service"),
    };
    if name.contains('/') || name.starts_with('.') || name.contains(char::is_whitespace) {
        return Err(refused("not the name of a unit").hint("systemctl list-units --type service lists them"));
    }
    let root = super::system::open_root(root.unwrap_or(Path::new("/")))?;
    Service::new(name, manager, root)
}

impl Disable {
    fn run(&self) -> Result<(), Error> {
        let service = self.which.service()?;
        let path = service.root.outside(&service.drop_in);
        let engine = service.engine();
        let was_there = service
            .remove()
            .map_err(|error| cannot(&format!("remove '{}'", path.display()), &error))?;
        if !was_there {
            say(&format!("{} has no drop-in of keepalive", service.name));
            return Ok(());
        }
        print(&format!("{}: disabled\n", service.name))?;
        service.reload();
        if engine == Some(Engine::Cgroup) {
            for (tree, target) in service.cgroups() {
                let was_in_force = pins::disable(&tree, &target, None, Interrupts::DEFAULT)
                    .map_err(|obstacle| obstacle.error(&format!("disable the policy of {}", target.name.display())))?;
                if was_in_force {
                    say(&format!(
                        "the policy of {} has ended: new connections do not get it",
                        target.name.display()
                    ));
                }
            }
        } else {
            say(&format!(
                "the library leaves when the service starts again: {}",
                service.restart()
            ));
        }
        Ok(())
    }
}

impl Status {
    fn run(&self) -> Result<(), Error> {
        let service = self.which.service()?;
        let path = service.root.outside(&service.drop_in);
        let Some(text) = service.text()? else {
            let unit = service.unit()?;
            if let Some(meta_unit) = members::meta_unit(&service, &unit) {
                return Err(meta_unit.refusal(&service, "status"));
            }
            let what = format!("{} has no drop-in of keepalive", service.name);
            return Err(Error::new(FAILED, what).hint(format!("keepalive unit enable {}", self.which.unit)));
        };
        let mut shown = format!("{}: {}\n", service.name, path.display());
        for line in text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            shown.push_str(&wrap(&format!("  {}", sanitize_text(line)), WIDTH, 4));
        }
        let problem = match drop_in::engine(&text) {
            Engine::Cgroup => service.without_policy(),
            Engine::Auto | Engine::Preload => service.without_library(&text),
        };
        print(&shown)?;
        match problem {
            None => Ok(()),
            Some(problem) => Err(Error::new(FAILED, problem).hint(service.restart())),
        }
    }
}

/// Returns a text about commands as one about services, which have a drop-in and no supervisor.
pub(in crate::cmd) fn of_services(text: &str) -> String {
    text.replace("--engine seccomp", "--engine cgroup")
        .replace("from keepalive run", "from the drop-in")
}

fn own_path() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|error| cannot("find this command's own file", &error))
}

fn cannot(action: &str, error: &io::Error) -> Error {
    let message = Error::new(FAILED, format!("cannot {action}: {}", describe(error)));
    match error.kind() {
        // For another user's directories, the message already contains more than the kernel's error.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_some() => {
            message.hint("system units are root's; --user is for your own")
        }
        io::ErrorKind::PermissionDenied => message.hint("run it as that user, without sudo"),
        io::ErrorKind::CrossesDevices => {
            message.hint("have the directory itself there, or name the other mount with --root")
        }
        _ => message,
    }
}

/// Prints a line on standard error.
fn say(text: &str) {
    write_stderr(&wrap(&format!("keepalive: {text}"), WIDTH, 2));
}
