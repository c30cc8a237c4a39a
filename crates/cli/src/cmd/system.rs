//! `keepalive system`: the library in every program of a system, by `/etc/ld.so.preload` (ld.so(8)).
//!
//! A mistake there is felt by every program that starts. Hence: nothing is changed before a real program of each kind has
//! been seen to start silently with the library; files change by rename alone, the library first and the line last, and the
//! other way round when they go; what fails is undone, and what was interrupted at any moment leaves a system that works.

mod abi;
mod change;
mod disable;
mod enable;
mod library;
mod line;
mod place;
mod probe;
mod status;

use crate::error::{Error, FAILED, describe};
use clap::{Args, Subcommand};
use keepalive_linux::rooted::Root;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Give keepalive to every program on the system, by /etc/ld.so.preload
#[derive(Debug, Args)]
pub(crate) struct System {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Enable(Enable),
    Disable(Disable),
    Status(Status),
}

/// Load the library into every dynamically linked program that starts from now on
///
/// A copy of libkeepalive.so is put into the library directory of each kind of program that is here (64-bit, 32-bit),
/// and a line into /etc/ld.so.preload, when a program of each kind has been seen to start with it without a word. If one
/// does not afterwards, all is undone. What is enabled already is brought up to date.
#[derive(Debug, Args)]
#[command(after_help = ENABLE_NOTES)]
struct Enable {
    /// Serve set-user-ID programs, and others of secure-execution mode, too
    #[arg(long)]
    setuid: bool,

    /// A libkeepalive.so to use, for its kind of programs; may be given for each kind
    #[arg(long = "library", value_name = "FILE")]
    libraries: Vec<PathBuf>,

    #[command(flatten)]
    place: Place,
}

/// What does not work while every program loads the library.
const ADDRESS_SANITIZER: &str = "programs that load AddressSanitizer's runtime (-fsanitize=address) do not start with the \
                                 library: set ASAN_OPTIONS=verify_asan_link_order=0 where they are started";

const ENABLE_NOTES: &str = "\
Times and exceptions come from /etc/keepalive.conf, see keepalive.conf(5).
Running programs stay as they are until they are restarted. Static programs, Go
programs and those of musl are not reached: their loaders, if any, do not read
/etc/ld.so.preload.

Other lines of the file stay as they are; the file as it was is kept beside it
as /etc/ld.so.preload.before-keepalive.

If programs do not start any more, type this in a root shell that is still open
(it starts no program):  echo >/etc/ld.so.preload

Exit status: 0; 1 when nothing could be changed, and nothing is; 2 usage.";

/// Take the library out of /etc/ld.so.preload again
///
/// The line goes first, then the copies of the library that 'enable' made. No program is started for it.
#[derive(Debug, Args)]
struct Disable {
    #[command(flatten)]
    place: Place,
}

/// Show whether the library is in force, for which programs, and what is wrong
#[derive(Debug, Args)]
#[command(after_help = STATUS_NOTES)]
struct Status {
    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

const STATUS_NOTES: &str = "\
The JSON object has: file, target (what that is a link to), enabled, setuid,
tried (whether programs were started: not with --root), programs (machine, libc,
loader, library, version, up_to_date, served, state), entries (line, name, ours), problems (what, hint). Null is: none, or not known.

Exit status: 0, enabled or not; 1 when there is a problem; 2 usage.";

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
/// It cannot be opened; or it is the root directory of this system by another name, which a link can make of it.
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

/// Does what is asked for.
///
/// # Errors
/// It could not be done, and then nothing has changed; or, of `status`, what is wrong.
pub(crate) fn run(system: &System) -> Result<(), Error> {
    match &system.action {
        Action::Enable(enable) => enable::run(&enable.place.open()?, &enable.libraries, enable.setuid),
        Action::Disable(disable) => disable::run(&disable.place.open()?),
        Action::Status(status) => status::run(&status.place.open()?, status.json),
    }
}

/// What is wrong with `/etc/ld.so.preload` of this machine, each with what helps.
pub(crate) fn problems() -> Vec<(String, Option<String>)> {
    Root::open(Path::new("/")).map_or_else(|_| Vec::new(), |root| status::problems(&root))
}

/// Whether every program of this machine loads the library.
pub(crate) fn is_enabled() -> bool {
    Root::open(Path::new("/")).is_ok_and(|root| status::is_enabled(&root))
}

/// `call` has failed for `path`.
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
