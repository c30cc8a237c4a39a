//! Replaces this process by another program, which inherits the same state as without keepalive.
//!
//! Rust's runtime changes what a process inherits, before `main`: it ignores SIGPIPE and opens `/dev/null` on
//! closed standard descriptors. A constructor that runs earlier records the inherited state, and [`exec`]
//! restores it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static DESCRIPTORS: OnceLock<Rlimit> = OnceLock::new();
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);
static WAS_CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

extern "C" fn note_inheritance() {
    for (fd, was_closed) in (0..).zip(&WAS_CLOSED) {
        // SAFETY: F_GETFD (fcntl(2)) takes a descriptor, open or not, and nothing else.
        was_closed.store(unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1, Ordering::Relaxed);
    }
    // SAFETY: an all-zero `struct sigaction` is valid, and is overwritten.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: sigaction(2) writes the current action to `action` and changes nothing.
    if unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action) } == 0 {
        SIGPIPE_WAS_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_INHERITANCE: extern "C" fn() = note_inheritance;

/// Lets this process open more descriptors than the program that it becomes: as many as its hard limit
/// allows. [`exec`] restores the limit.
pub fn raise_descriptor_limit() {
    let inherited = *DESCRIPTORS.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: inherited.maximum,
        ..inherited
    };
    // If the kernel refuses this, the inherited limit must suffice.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Replaces this process by the program at `path` with the given arguments (the first is its name) and
/// environment. As in execvp(3), the shell runs a file whose format the kernel does not know. Returns only on
/// failure.
pub fn exec(path: &Path, arguments: &[OsString], environment: &[(OsString, OsString)]) -> io::Error {
    let error = match try_exec(path.as_os_str(), arguments, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    if error.raw_os_error() != Some(libc::ENOEXEC) {
        return error;
    }
    let mut shell = vec![OsString::from("/bin/sh"), path.as_os_str().to_os_string()];
    shell.extend(arguments.iter().skip(1).cloned());
    match try_exec(OsStr::new("/bin/sh"), &shell, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

enum Never {}

fn try_exec(path: &OsStr, arguments: &[OsString], environment: &[(OsString, OsString)]) -> io::Result<Never> {
    let path = CString::new(path.as_bytes())?;
    let arguments = arguments
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let environment = environment
        .iter()
        .map(|(name, value)| {
            let mut entry = name.clone().into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            CString::new(entry)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let arguments = pointers(&arguments);
    let environment = pointers(&environment);
    restore_inheritance();
    // SAFETY: execve(2) takes a string and two arrays of strings that end with a null pointer; all of them live here.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn restore_inheritance() {
    // A reference that makes the linker include the constructor's object file from this library.
    std::hint::black_box(&NOTE_INHERITANCE);
    if let Some(inherited) = DESCRIPTORS.get() {
        // A soft limit can always be lowered.
        let _ = setrlimit(Resource::Nofile, *inherited);
    }
    if !SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed) {
        // SAFETY: signal(2) with SIG_DFL installs no code.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
    for (fd, was_closed) in (0..).zip(&WAS_CLOSED) {
        if was_closed.load(Ordering::Relaxed) {
            // Closed by the exec rather than now: until then an error message must not land in another file.
            // SAFETY: F_SETFD (fcntl(2)) changes a flag of a descriptor that the runtime opened.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}
