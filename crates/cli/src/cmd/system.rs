//! `keepalive system`: loads the library into every program of a system, by `/etc/ld.so.preload` (ld.so(8)).
//!
//! A mistake in this file affects every program that starts. Therefore nothing is changed until a real
//! program of each kind has started silently with the library. Files change only by rename: the library first
//! and the line last, and in reverse order when they are removed. Failed changes are undone, and an interrupt
//! at any time leaves a working system.

mod abi;
mod change;
mod disable;
mod enable;
mod library;
mod line;
mod place;
mod probe;
mod refresh;
mod status;

use crate::error::{Error, FAILED, describe};
use crate::help::{Json, Notes, SUCCESS, Status as ExitStatus, USAGE};
use clap::{Args, Subcommand};
use keepalive_sys::rooted::Root;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Load the library into every program of the system, by /etc/ld.so.preload
#[derive(Debug, Args)]
pub(crate) struct System {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Enable(Enable),
    Refresh(Refresh),
    Disable(Disable),
    Status(Status),
}

/// Load the library into every dynamically linked program that starts from now on
///
/// Starts a program of each kind on the system (64-bit, 32-bit) with libkeepalive.so, and refuses if one prints anything.
/// Then copies the library into the library directory of each kind, and adds a line to /etc/ld.so.preload. Starts the
/// programs again, and undoes all changes if one prints anything. An older copy is updated.
#[derive(Debug, Args)]
struct Enable {
    /// Also serve set-user-ID programs and others in secure-execution mode
    #[arg(long)]
    setuid: bool,

    /// A libkeepalive.so to use for its kind of programs; may be repeated
    #[arg(long = "library", value_name = "FILE")]
    libraries: Vec<PathBuf>,

    #[command(flatten)]
    place: Place,
}

/// What does not work while every program loads the library.
const ADDRESS_SANITIZER: &str = "programs that load AddressSanitizer's runtime (-fsanitize=address) do not start with the \
                                 library: set ASAN_OPTIONS=verify_asan_link_order=0 where they are started";

pub(crate) const ENABLE_NOTES: Notes = Notes {
    command: "system enable",
    paragraphs: &[
        "The policy is that of /etc/keepalive.conf, see keepalive.conf(5). Running programs do not change until they are \
         restarted. Static programs, Go programs and programs of musl are not reached: their loaders, if any, do not \
         read /etc/ld.so.preload.",
        "Other lines of the file do not change. The previous file is kept as /etc/ld.so.preload.before-keepalive.",
        "If programs no longer start, type 'echo >/etc/ld.so.preload' in a root shell that is still open. This starts no \
         program.",
    ],
    statuses: &[SUCCESS, UNCHANGED, USAGE],
    examples: &[(
        "Every program that starts from now on; the state; the undo:",
        &[
            "sudo keepalive system enable",
            "keepalive system status",
            "sudo keepalive system disable",
        ],
    )],
    ..Notes::DEFAULT
};

const UNCHANGED: ExitStatus = ("1", "It failed, and nothing has changed.");

/// Update the copies of the library if it is enabled
///
/// For package scripts, after new files were installed. If the library is enabled, this is 'enable' again, with --setuid if
/// that was given. If not, it changes nothing.
#[derive(Debug, Args)]
struct Refresh {
    #[command(flatten)]
    place: Place,
}

pub(crate) const REFRESH_NOTES: Notes = Notes {
    command: "system refresh",
    statuses: &[("0", "The library is up to date, or not enabled."), UNCHANGED, USAGE],
    ..Notes::DEFAULT
};

/// Remove the library from /etc/ld.so.preload
///
/// Removes the line, then the copies of the library that 'enable' made. Starts no program.
#[derive(Debug, Args)]
struct Disable {
    #[command(flatten)]
    place: Place,
}

/// Show whether the library is active, for which programs, and problems
#[derive(Debug, Args)]
struct Status {
    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

pub(crate) const STATUS_NOTES: Notes = Notes {
    command: "system status",
    json: Some(Json {
        heading: "The JSON object has",
        fields: &[
            ("file", "string", "/etc/ld.so.preload"),
            ("target", "string", "where that is a link to"),
            ("tried", "boolean", "whether programs were started: not with --root"),
            ("enabled", "boolean", ""),
            ("setuid", "boolean", "whether set-user-ID programs are served"),
            ("programs[].machine", "string", ""),
            ("programs[].libc", "string", "glibc or musl"),
            ("programs[].loader", "string", ""),
            ("programs[].library", "string", "the copy of the library"),
            ("programs[].version", "string", "of the copy"),
            (
                "programs[].up_to_date",
                "boolean",
                "whether the copy is the library of this command",
            ),
            ("programs[].served", "boolean", "whether they load the copy"),
            ("programs[].state", "string", "the same as a text"),
            ("entries[].line", "number", ""),
            ("entries[].name", "string", "a library that the file names"),
            ("entries[].ours", "boolean", ""),
            ("problems[].what", "string", ""),
            ("problems[].hint", "string", ""),
            ("notes", "array", "what does not work while the library is enabled"),
        ],
        null: "Null means none, or unknown.",
    }),
    statuses: &[
        ("0", "No problem, whether enabled or not."),
        ("1", "There is a problem."),
        USAGE,
    ],
    ..Notes::DEFAULT
};

pub(crate) const DISABLE_NOTES: Notes = Notes {
    command: "system disable",
    ..Notes::DEFAULT
};

#[derive(Args, Debug)]
struct Place {
    /// The root directory of another system, such as an image or a chroot
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

impl Place {
    fn open(&self) -> Result<Root, Error> {
        open_root(&self.root)
    }
}

/// Opens the root directory that `--root` names.
///
/// # Errors
/// The directory cannot be opened; or it is this system's own root directory by another name, such as a link.
pub(super) fn open_root(path: &Path) -> Result<Root, Error> {
    let refused = |reason: &str| {
        let path = path.display();
        Error::new(FAILED, format!("cannot use '{path}' as a root directory: {reason}"))
    };
    let root = Root::open(path).map_err(|error| refused(&describe(&error)))?;
    let is_named_so = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::CurDir));
    if root.is_ours() && !is_named_so {
        return Err(refused("it is this system's own").hint("leave out --root if that is meant"));
    }
    Ok(root)
}

/// Runs the subcommand.
///
/// # Errors
/// The subcommand failed, and nothing has changed; or, for `status`, the problems.
pub(crate) fn run(system: &System) -> Result<(), Error> {
    match &system.action {
        Action::Enable(enable) => enable::run(&enable.place.open()?, &enable.libraries, enable.setuid),
        Action::Refresh(refresh) => refresh::run(&refresh.place.open()?),
        Action::Disable(disable) => disable::run(&disable.place.open()?),
        Action::Status(status) => status::run(&status.place.open()?, status.json),
    }
}

/// Returns the problems of `/etc/ld.so.preload` on this machine, each with a hint.
pub(crate) fn problems() -> Vec<(String, Option<String>)> {
    Root::open(Path::new("/")).map_or_else(|_| Vec::new(), |root| status::problems(&root))
}

/// Returns whether every program of this machine loads the library.
pub(crate) fn is_enabled() -> bool {
    Root::open(Path::new("/")).is_ok_and(|root| status::is_enabled(&root).unwrap_or(false))
}

/// Returns the error for a failed `call` on `path`.
fn failed(what: &str, path: &Path, call: &str, error: &io::Error) -> Error {
    let reason = describe(error);
    let call = if call.is_empty() {
        String::new()
    } else {
        format!("{call}: ")
    };
    let failed = Error::new(FAILED, format!("cannot {what} '{}': {call}{reason}", path.display()));
    match error.kind() {
        io::ErrorKind::CrossesDevices => failed.hint("have the file itself there, or name the other mount with --root"),
        io::ErrorKind::PermissionDenied => failed.hint("only root can change the system: run it as root"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failed.hint("make room there, and run it again"),
        io::ErrorKind::ResourceBusy => {
            failed.hint("it is a mount point, as in some containers: change the file that is mounted there")
        }
        _ => failed,
    }
}
