//! Determines the profile that a program would get. The kernel chooses the profile of a path at execve(2),
//! and no other interface reports it. Therefore the program is started traced, which stops it before its
//! first instruction, and is killed there.

use super::{Profile, has_profiles, is_enabled, of_process};
use crate::errno::describe;
use crate::fork::{Side, exit_now, fork, spawn_unwaitable};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

// The types of libc's constants differ between C libraries.
const PTRACE_CONT: libc::c_long = 7;
const PTRACE_SETOPTIONS: libc::c_long = 0x4200;

/// Returns the profile that the program at `path` gets when this process executes it; `None` if the program
/// runs unconfined. No instruction of the program is executed.
///
/// # Errors
/// The profile cannot be observed: this process is confined itself, may not trace (Yama, seccomp), or the
/// program does not start.
pub fn of_program(path: &Path) -> io::Result<Option<Profile>> {
    if !is_enabled() {
        return Ok(None);
    }
    if of_process(std::process::id())?.is_some() {
        return Err(io::Error::other("this process is confined itself"));
    }
    if !has_profiles() {
        return Ok(None);
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let (answer, to_answer) = pipe_with(PipeFlags::CLOEXEC)?;
    // The tracer is a separate process: its child changes nothing that the command of `keepalive run` could see.
    spawn_unwaitable(|| {
        let text = match start_and_observe(&path) {
            Ok(Some(profile)) => format!("+{} ({})", profile.name, profile.mode),
            Ok(None) => String::from("+unconfined"),
            Err(error) => format!("-{}", describe(&error)),
        };
        let _ = File::from(to_answer).write_all(text.as_bytes());
    })?;
    let mut text = String::new();
    File::from(answer).read_to_string(&mut text)?;
    match text.strip_prefix('+') {
        Some(attribute) => Ok(Profile::parse(attribute)),
        None => Err(io::Error::other(text.trim_start_matches('-').to_owned())),
    }
}

fn start_and_observe(path: &CString) -> io::Result<Option<Profile>> {
    let child = match fork()? {
        Side::Parent(child) => child,
        Side::Child => start_traced(path),
    };
    let profile = wait_for_exec(child).and_then(|()| of_process(child.as_raw_nonzero().get().unsigned_abs()));
    let _ = kill_process(child, Signal::KILL);
    let _ = waitpid(Some(child), WaitOptions::empty());
    profile
}

fn start_traced(path: &CString) -> ! {
    // SAFETY: PTRACE_TRACEME (ptrace(2)) takes no other argument, and lets the tracer, which is keepalive, control it.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    if traced == 0 {
        // SAFETY: raise(3) of SIGSTOP runs no code of ours. The tracer sets its options meanwhile.
        unsafe { libc::raise(libc::SIGSTOP) };
        let arguments = [path.as_ptr(), std::ptr::null()];
        let environment = [std::ptr::null()];
        // SAFETY: execve(2) takes a string and two arrays of strings that end with a null pointer; all of them live here.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    }
    exit_now(1)
}

/// Continues the child up to the end of its execve(2). No signal mask or disposition prevents that stop.
fn wait_for_exec(child: Pid) -> io::Result<()> {
    const EXEC: i32 = libc::PTRACE_EVENT_EXEC;
    let failed = || io::Error::other("ptrace does not reach its start");
    let mut is_prepared = false;
    // Other signals may stop the child earlier, and are discarded.
    for _ in 0..16 {
        let Some((_, status)) = waitpid(Some(child), WaitOptions::UNTRACED)? else {
            return Err(failed());
        };
        if !status.stopped() {
            return Err(failed());
        }
        if status.as_raw() >> 16 == EXEC {
            return Ok(());
        }
        if !is_prepared {
            let options = libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
            request(PTRACE_SETOPTIONS, child, options)?;
            is_prepared = true;
        }
        request(PTRACE_CONT, child, 0)?;
    }
    Err(failed())
}

fn request(request: libc::c_long, child: Pid, data: libc::c_int) -> io::Result<()> {
    let data = libc::c_long::from(data);
    // SAFETY: both requests (ptrace(2)) take a number as data, and act on a stopped child.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, child.as_raw_nonzero().get(), 0, data) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
