//! The seccomp engine: calls that open connections wait until a supervisor has set the options of their sockets.
//!
//! The command keeps the process id of this process. The supervisor is a separate process in its own session.
//! It lives until the last process under the filter has ended.

mod channel;
mod foreign;
mod in_place;
mod journal;
mod memory;
mod pair;
mod progress;
mod proxy;
mod rings;
mod supervisor;
mod threads;
mod unfinished;
mod watch;

use self::channel::{receive, receive_descriptor, send, send_descriptor, socket_pair};
use crate::applier::Inherited;
use crate::error::{Error, describe};
use crate::sockets::{YAMA_2, YAMA_3, is_sandboxed, may_trace, yama_scope};
use keepalive_policy::option::Group;
use keepalive_policy::{Mode, Number, OPTIONS, Settings, SocketOption, Source};
use keepalive_sys::background::{detach, harden};
use keepalive_sys::capability;
use keepalive_sys::fork::{Side, exit_now, fork};
use keepalive_sys::pidfd::PidFd;
use keepalive_sys::proc;
use keepalive_sys::program::Program;
use keepalive_sys::seccomp::{Filter, IoUring, Listener, SetOption, install, is_supervised, sock_filter};
use rustix::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};
use rustix::process::{WaitOptions, getppid, setpriority_process, waitpid};
use rustix::thread::CapabilitySet;
use std::io;

/// Why the engine cannot be used here.
#[derive(Debug)]
pub enum Obstacle {
    /// The engine is already active: this process runs under another keepalive.
    Nested,
    /// Another program already supervises this process through a seccomp listener.
    Foreign,
    /// The supervisor has no ptrace access to the command.
    Restricted(io::Error),
    /// The kernel or a sandbox refuses a call.
    Refused(&'static str, io::Error),
    /// The supervisor was killed while it started: this process cannot continue.
    Lost,
}

impl Obstacle {
    /// Returns whether the command can run without this engine.
    pub fn is_harmless(&self) -> bool {
        !matches!(self, Self::Lost)
    }

    /// Returns the obstacle as a clause.
    pub fn reason(&self) -> String {
        match self {
            Self::Nested => String::from("a keepalive around this one supervises it already"),
            Self::Foreign => String::from("another program supervises the system calls of this process"),
            Self::Restricted(error) => {
                let because = match yama_scope() {
                    Some(scope @ 1..) if (scope == 3 || !may_trace()) && !is_sandboxed() => {
                        format!(" (kernel.yama.ptrace_scope is {scope})")
                    }
                    _ => String::new(),
                };
                format!(
                    "the supervisor may not look into the command{because}: pidfd_getfd: {}",
                    describe(error)
                )
            }
            Self::Refused("seccomp", error) if error.kind() == io::ErrorKind::InvalidInput => format!(
                "the kernel is older than Linux 5.19, or a sandbox refuses: seccomp: {}",
                describe(error)
            ),
            Self::Refused(call, error) if is_limit(error) => format!("a limit is reached: {call}: {}", describe(error)),
            Self::Refused(call, error) => format!("the kernel or a sandbox refuses: {call}: {}", describe(error)),
            Self::Lost => String::from("the supervisor was ended while it started"),
        }
    }

    /// Returns what the user can do.
    fn hint(&self) -> &'static str {
        match self {
            Self::Nested | Self::Lost => "try again",
            Self::Foreign => foreign::hint(),
            Self::Restricted(_) if is_sandboxed() => {
                "a sandbox here denies pidfd_getfd(2), as those of container engines do: start keepalive on the host, or \
                 give the container CAP_SYS_PTRACE"
            }
            Self::Restricted(_) => match yama_scope().unwrap_or(0) {
                0 => {
                    "a security module denies it: run keepalive as root, or use --engine preload, or keepalive cgroup enable"
                }
                1 => {
                    "leave out --in-place: then the supervisor is above the command; or run keepalive as root (CAP_SYS_PTRACE)"
                }
                2 => YAMA_2,
                _ => YAMA_3,
            },
            Self::Refused("seccomp", error) if error.kind() == io::ErrorKind::InvalidInput => {
                "the seccomp engine needs Linux 5.19"
            }
            Self::Refused(_, error) if Errno::from_io_error(error) == Some(Errno::MFILE) => {
                "too many files are open here already: raise the limit (ulimit -n)"
            }
            Self::Refused("fork", error) if Errno::from_io_error(error) == Some(Errno::AGAIN) => {
                "this user has too many processes already: raise the limit (ulimit -u, or pids.max of the cgroup)"
            }
            Self::Refused(..) => {
                "start keepalive outside the sandbox; for a container, on the host: keepalive cgroup enable"
            }
        }
    }

    /// Returns the error for a program that no other engine reaches.
    pub fn refusal(&self, program: &Program) -> Error {
        let command = program.command.display();
        Error::new(format!("cannot supervise '{command}': {}", self.reason())).with_hint(self.hint())
    }
}

/// Why a [`trial`] failed.
#[derive(Debug)]
pub struct Unavailable {
    /// The reason, as a clause.
    pub reason: String,
    /// What the user can do.
    pub hint: String,
}

impl From<Obstacle> for Unavailable {
    fn from(obstacle: Obstacle) -> Self {
        Self {
            reason: obstacle.reason(),
            hint: obstacle.hint().to_owned(),
        }
    }
}

/// Returns whether the error is a limit of descriptors or processes, which the user sets, not a sandbox.
fn is_limit(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN)
    )
}

/// Puts the command under a supervisor. This process becomes the command. With `may_have_proxy`, and if the
/// supervisor has no ptrace access to this process, a child becomes the command.
///
/// # Errors
/// The obstacle. Except after [`Obstacle::Lost`], this process is unchanged.
pub fn supervise(plan: &Plan<'_>, may_have_proxy: bool) -> Result<(), Obstacle> {
    if is_supervised() {
        return Err(Obstacle::Nested);
    }
    // The first process of this pid namespace would become the supervisors' parent, although it did not start
    // this process. This happens when a program is executed in a running container.
    let is_guest = getppid().is_none() && std::process::id() != 1;
    if may_have_proxy && is_guest {
        return proxy::launch(plan);
    }
    match in_place::launch(plan) {
        // A sandbox that forbids the call forbids it to every process, so that a proxy would not help.
        Err(Obstacle::Restricted(_)) if may_have_proxy && !is_sandboxed() => proxy::launch(plan),
        result => result,
    }
}

/// How the command would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Under keepalive's process id.
    InPlace,
    /// Under another process id, with a proxy that runs in its place.
    Front,
}

/// Tests in a separate process whether the engine works here.
///
/// # Errors
/// The reason why the engine does not work.
pub fn trial() -> Result<Place, Unavailable> {
    const IN_PLACE: i32 = 0;
    const FRONT: i32 = 1;
    const FAILED: i32 = 2;
    let (ours, theirs) = socket_pair()?;
    match fork() {
        Err(error) => Err(Obstacle::Refused("fork", error).into()),
        Ok(Side::Child) => {
            let own = std::process::id();
            let plan = Plan {
                sources: &[],
                program: &[],
                io_uring: IoUring::Allow,
            };
            match supervise(&plan, true) {
                Ok(()) => send(&theirs, if own == std::process::id() { IN_PLACE } else { FRONT }),
                Err(obstacle) => {
                    send(&theirs, FAILED);
                    let _ = write(
                        &theirs,
                        format!("{}\0{}", obstacle.reason(), obstacle.hint()).as_bytes(),
                    );
                }
            }
            exit_now(0)
        }
        Ok(Side::Parent(child)) => {
            drop(theirs);
            let outcome = receive(&ours);
            let mut why = [0; 2048];
            let length = if outcome == Some(FAILED) {
                read(&ours, &mut why).unwrap_or(0)
            } else {
                0
            };
            let _ = waitpid(Some(child), WaitOptions::empty());
            match outcome {
                Some(IN_PLACE) => Ok(Place::InPlace),
                Some(FRONT) => Ok(Place::Front),
                Some(_) => {
                    let why = String::from_utf8_lossy(&why[..length]);
                    let (reason, hint) = why.split_once('\0').unwrap_or((&why, ""));
                    Err(Unavailable {
                        reason: reason.to_owned(),
                        hint: hint.to_owned(),
                    })
                }
                None => Err(Obstacle::Lost.into()),
            }
        }
    }
}

/// What a supervisor applies.
pub struct Plan<'a> {
    /// The policy.
    pub sources: &'a [Source<'a>],
    /// The command's name, which rules match.
    pub program: &'a [u8],
    /// Whether the program may use io_uring.
    pub io_uring: IoUring,
}

impl Plan<'_> {
    fn filter(&self) -> Vec<sock_filter> {
        filter(self.sources, self.io_uring).program()
    }
}

/// Puts this process under the supervisors at the other ends of these sockets. At each end, `processes` get the listener.
fn submit(plan: &Plan<'_>, supervisors: &[OwnedFd], processes: usize) -> Result<(), Obstacle> {
    for supervisor in supervisors {
        send(supervisor, std::process::id().cast_signed());
    }
    // The supervisors start meanwhile.
    let code = plan.filter();
    let inherited = Inherited::find();
    for supervisor in supervisors {
        match receive(supervisor) {
            Some(0) => {}
            Some(errno) if errno == Errno::BUSY.raw_os_error() => return Err(Obstacle::Foreign),
            Some(errno) => return Err(Obstacle::Restricted(io::Error::from_raw_os_error(errno))),
            None => return Err(Obstacle::Lost),
        }
    }
    let listener = install(&code, may_keep_privileges()).map_err(|error| {
        if Errno::from_io_error(&error) == Some(Errno::BUSY) {
            Obstacle::Foreign
        } else {
            Obstacle::Refused("seccomp", error)
        }
    })?;
    for supervisor in supervisors {
        for _ in 0..processes {
            // If the supervisor has ended, the question below fails.
            let _ = send_descriptor(supervisor, &listener);
        }
    }
    // From here on only the supervisors have it: if they end before they answer, the question fails, and does not wait.
    drop(listener);
    // The first caught call. Its answer shows that the supervisors are ready and that the standby knows the
    // numbers of the calls.
    if !is_supervised() {
        return Err(Obstacle::Lost);
    }
    // The supervisor would decide about these calls again, and knows nothing of these sockets.
    inherited.apply(plan.sources, plan.program, |socket, option, number| {
        keepalive_sys::sockopt::set_past_supervisor(socket, option, number)
    });
    Ok(())
}

/// Returns whether another listener is installed. The supervisor tests this in a child: the test drops
/// privileges, and the command must not have had a child. The child is under the same filters as the command.
fn is_taken(code: &[sock_filter]) -> bool {
    const TAKEN: u8 = 1;
    if !proc::own_status().is_ok_and(|status| status.is_filtered) {
        return false;
    }
    match fork() {
        Ok(Side::Child) => {
            let result = install(code, false);
            let is_taken = result.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::BUSY));
            exit_now(if is_taken { TAKEN } else { 0 })
        }
        Ok(Side::Parent(child)) => {
            let status = waitpid(Some(child), WaitOptions::empty());
            let status = status.ok().flatten().and_then(|(_, status)| status.exit_status());
            status == Some(TAKEN.into())
        }
        Err(_) => false,
    }
}

/// Where a supervisor is in the process tree, relative to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Not above the command: a sibling or another process.
    Command,
    /// Above the command, which is its descendant.
    Descendant,
}

/// Returns whether Yama denies such a supervisor access to the command (`Documentation/admin-guide/LSM/Yama.rst`).
fn is_restricted(place: Position) -> bool {
    match yama_scope() {
        None | Some(0) => false,
        Some(1) => place == Position::Command && !may_trace(),
        Some(2) => !may_trace(),
        Some(_) => true,
    }
}

/// The highest priority of an ordinary process (setpriority(2)).
const HIGHEST: i32 = -20;

/// Returns the capabilities that a supervisor uses. CAP_SYS_PTRACE allows access to every process. Without
/// it, a supervisor may access processes that have no capability that the supervisor lacks (ptrace(2)), so it
/// keeps all its capabilities.
fn needed_capabilities() -> CapabilitySet {
    if capability::is_effective(CapabilitySet::SYS_PTRACE) {
        // The others are required to enter another network namespace (`netns::of_socket`, `netns::within`).
        CapabilitySet::SYS_PTRACE | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN
    } else {
        CapabilitySet::all()
    }
}

/// The supervisor's side of [`submit`], before the command has a listener: returns the command. By then this process is
/// detached. The process exits if it has no ptrace access to the command, or if the command has ended.
fn accept(socket: &OwnedFd, keep: &[BorrowedFd<'_>], place: Position, plan: &Plan<'_>) -> PidFd {
    let look = || {
        detach(keep)?;
        // Until a call is received, a signal can end it as if its wait had just begun, so the call must be
        // received quickly. Raising the priority requires a privilege; failure does no harm.
        let _ = setpriority_process(None, HIGHEST);
        harden(needed_capabilities())?;
        let pid = receive(socket).ok_or(io::ErrorKind::UnexpectedEof)?;
        // Yama would write its refusal to the kernel's log, so the kernel is not asked.
        if is_restricted(place) {
            return Err(Errno::PERM.into());
        }
        if !may_keep_privileges() && is_taken(&plan.filter()) {
            return Err(Errno::BUSY.into());
        }
        let command = PidFd::open(pid.cast_unsigned())?;
        match command.duplicate(socket.as_raw_fd()) {
            // Success and EBADF both prove that access is allowed: the descriptor may not exist.
            Err(error) if Errno::from_io_error(&error) != Some(Errno::BADF) => Err(error),
            _ => Ok(command),
        }
    };
    let command = look().unwrap_or_else(|error: io::Error| {
        send(socket, error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()));
        exit_now(1);
    });
    send(socket, 0);
    command
}

/// Returns the listener that [`submit`] sends. The process exits if the command has ended, or has no listener.
fn take_over(socket: OwnedFd) -> Listener {
    // The other side closes the socket if it has no listener.
    let listener = receive_descriptor(&socket).unwrap_or_else(|| exit_now(1));
    // The socket may contain the listener of a process that has ended.
    drop(socket);
    Listener::from_fd(listener)
}

fn refused(call: &'static str) -> impl Fn(io::Error) -> Obstacle {
    move |error| Obstacle::Refused(call, error)
}

/// Returns whether set-user-ID programs keep their privileges under the filter.
pub fn may_keep_privileges() -> bool {
    capability::is_effective(CapabilitySet::SYS_ADMIN)
}

/// Returns the filter that catches the calls that these sources require.
fn filter(sources: &[Source<'_>], io_uring: IoUring) -> Filter {
    let all = || {
        let rules = |source: &Source<'_>| source.rules.iter().map(|rule| rule.settings).collect::<Vec<_>>();
        sources
            .iter()
            .flat_map(move |source| std::iter::once(source.default).chain(rules(source)))
    };
    let has_rules = sources.iter().any(|source| !source.rules.is_empty());
    let settings = sources
        .iter()
        .fold(Settings::NONE, |settings, source| settings.or(source.default));
    let action = |option: SocketOption| {
        let is_explicit = settings.number(option).is_some() || settings.written(option) == Number::Auto;
        match settings.mode.unwrap_or_default() {
            _ if option.row().group != Group::Keepalive => SetOption::Pass,
            Mode::Enforce if !has_rules && is_explicit => SetOption::Ask,
            Mode::Enforce if !has_rules => SetOption::Pass,
            _ if all().any(|settings| settings.mode.is_some_and(|mode| mode != Mode::Fill)) => SetOption::Ask,
            // The kernel does not show afterwards that the program has switched keepalive off.
            _ if option == SocketOption::Keepalive => SetOption::Ask,
            _ => SetOption::Pass,
        }
    };
    Filter {
        set_option: OPTIONS.map(action),
        io_uring,
    }
}
